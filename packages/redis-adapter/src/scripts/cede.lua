-- Hands this node's vote to another claimer: who holds a minority gives way, so that one of them gets a majority at once.
-- The heir is told, and gives the vote back if it has no use for it any more.
--
-- KEYS[1] lease      string `id token`
-- KEYS[2] state      hash n, fl, f, t, rec, a
-- KEYS[3] waiters    hash waiter id -> min
-- ARGV[1] key        the key's hash, for messages
-- ARGV[2] id         who gives way
-- ARGV[3] heir       the id that gets the vote
-- ARGV[4] heir_token the token of the heir's flight where it leads by a majority; 0 where that is not decided yet: then the
--                    vote keeps its own token, which was above everything known here, and the heir has to raise its own
-- ARGV[5] waiters_ms
--
-- Returns
--   {'ceded'}
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
local token = string.format('%.0f', heir_token > 0 and heir_token or tonumber(held_token))
if tonumber(token) <= tonumber(redis.call('HGET', state, 'fl') or 0) then return {'kept'} end

redis.call('SET', lease, heir .. ' ' .. token, 'PX', math.max(1, redis.call('PTTL', lease)))
redis.call('HSET', state, 'f', heir, 't', token)
redis.call('HDEL', waiters, heir)
redis.call('HSET', waiters, id, token)
redis.call('PEXPIRE', waiters, waiters_ms)
local inbox, sequence = string.match(heir, '^([^#]*)#(.*)$')
if inbox then redis.call('PUBLISH', inbox, '1 woken ' .. key .. ' ' .. sequence .. '\n') end
return {'ceded'}
