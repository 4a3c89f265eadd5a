-- One node's part in an invalidation by the quorum. Refused where the node knows a higher token: what it fences must be
-- below it. Sent again with the same token it fences again.
--
-- KEYS[1] lease      string `id token`
-- KEYS[2] state      hash n, fl, f, t, rec, a
-- ARGV[1] key        the key's hash, for messages
-- ARGV[2] broadcast  the namespace's channel
-- ARGV[3] token      the new floor
-- ARGV[4] floor_ms   how long the floor is remembered
--
-- Returns
--   {'invalidated', floor}
--   {'behind', highest token known}

local lease = KEYS[1]
local state = KEYS[2]
local key = ARGV[1]
local broadcast = ARGV[2]
local token = tonumber(ARGV[3])
local floor_ms = ARGV[4]

local stored = redis.call('HMGET', state, 'n', 'fl')
local _, held_token = string.match(redis.call('GET', lease) or '', '^(%S+) (%d+)$')
local highest = math.max(tonumber(stored[1] or 0), tonumber(held_token or 0))
local floor = string.format('%.0f', token)
if token <= highest and stored[2] ~= floor then return {'behind', string.format('%.0f', highest)} end

redis.call('DEL', lease)
redis.call('HDEL', state, 'f', 't', 'rec', 'a')
redis.call('HSET', state, 'n', string.format('%.0f', math.max(token, highest)), 'fl', floor)
redis.call('PEXPIRE', state, floor_ms)
redis.call('PUBLISH', broadcast, '1 invalidated ' .. key .. ' ' .. floor .. '\n')
return {'invalidated', floor}
