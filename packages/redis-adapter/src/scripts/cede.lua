-- Hands this node's vote to another claimer: who holds a minority gives way, so that one of them gets a majority at once.
-- The heir is told, and gives the vote back if it has no use for it any more.
--
-- KEYS[1] lease      string `id token`
-- KEYS[2] state      hash n, fl, f, t, rec, a, and pn: the highest token known before this node voted
-- KEYS[3] waiters    hash waiter id -> min
-- ARGV[1] key        the key's hash, for messages
-- ARGV[2] id         who gives way
-- ARGV[3] heir       the id that gets the vote
-- ARGV[4] heir_token the token of the heir's flight where it leads by a majority: the vote is only good for it where that
--                    is above what this node knew before it voted; 0 where nothing is decided yet: the vote keeps its own
--                    token, which was, and the heir has to raise the others
-- ARGV[5] waiters_ms
--
-- Returns
--   {'ceded'}
--   {'dropped'}
--   {'kept'}

local lease = KEYS[1]
local state = KEYS[2]
local waiters = KEYS[3]
local key = ARGV[1]
local id = ARGV[2]
local heir = ARGV[3]
local heir_token = tonumber(ARGV[4])
local waiters_ms = ARGV[5]

local holder, held_token = string.match(redis.call('GET', lease) or '', '^(%S+) (%d+)$')
if holder ~= id then return {'kept'} end
local stored = redis.call('HMGET', state, 'n', 'pn', 'fl')
local token = heir_token > 0 and heir_token or tonumber(held_token)
if token <= tonumber(stored[2] or 0) or token <= tonumber(stored[3] or 0) then
  redis.call('DEL', lease)
  redis.call('HDEL', state, 'f', 't', 'rec')
  return {'dropped'}
end

token = string.format('%.0f', token)
local highest = string.format('%.0f', math.max(tonumber(stored[1] or 0), tonumber(token)))
redis.call('SET', lease, heir .. ' ' .. token, 'PX', math.max(1, redis.call('PTTL', lease)))
redis.call('HSET', state, 'n', highest, 'f', heir, 't', token)
redis.call('HDEL', waiters, heir)
redis.call('HSET', waiters, id, token)
redis.call('PEXPIRE', waiters, waiters_ms)
local inbox, sequence = string.match(heir, '^([^#]*)#(.*)$')
if inbox then redis.call('PUBLISH', inbox, '1 woken ' .. key .. ' ' .. sequence .. '\n') end
return {'ceded'}
