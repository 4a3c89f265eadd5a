-- Gives the leader of the quorum this node's vote too, where it has none yet or lost it with the node's memory.
--
-- KEYS[1] lease      string `id token`
-- KEYS[2] state      hash n, pn, fl, f, t, rec, a
-- ARGV[1] id
-- ARGV[2] token      that a majority agreed on
-- ARGV[3] lease_ms
-- ARGV[4] state_ms   how long the state lives after this, at least
--
-- Returns
--   {'joined'}
--   {'kept'}

local lease = KEYS[1]
local state = KEYS[2]
local id = ARGV[1]
local token = ARGV[2]
local lease_ms = ARGV[3]
local state_ms = tonumber(ARGV[4])

if redis.call('EXISTS', lease) == 1 then return {'kept'} end
local highest = redis.call('HGET', state, 'n') or '0'
if tonumber(highest) >= tonumber(token) then return {'kept'} end

redis.call('SET', lease, id .. ' ' .. token, 'PX', lease_ms)
redis.call('HSET', state, 'n', token, 'pn', highest, 'f', id, 't', token, 'rec', '1')
if redis.call('PTTL', state) < state_ms then redis.call('PEXPIRE', state, state_ms) end
return {'joined'}
