-- One node's part in an invalidation by the quorum. Refused where the node knows a higher token: what it fences must be
-- below it. Sent again with the same token it is refused: that could be another's.
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

local issued = tonumber(redis.call('HGET', state, 'n') or 0)
local _, held_token = string.match(redis.call('GET', lease) or '', '^(%S+) (%d+)$')
local highest = math.max(issued, tonumber(held_token or 0))
local floor = string.format('%.0f', token)
if token <= highest then return {'behind', string.format('%.0f', highest)} end

redis.call('DEL', lease)
redis.call('HDEL', state, 'f', 't', 'rec', 'a')
redis.call('HSET', state, 'n', floor, 'fl', floor)
redis.call('PEXPIRE', state, floor_ms)
redis.call('PUBLISH', broadcast, '1 invalidated ' .. key .. ' ' .. floor .. '\n')
return {'invalidated', floor}
