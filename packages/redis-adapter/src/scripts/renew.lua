-- Extends a lease, or takes back one that ended and that nobody took: an invalidation would have removed the flight.
--
-- KEYS[1] lease      string `id token`
-- KEYS[2] state      hash n, fl, f, t, rec, a
-- KEYS[3] waiters    hash waiter id -> min
-- ARGV[1] id
-- ARGV[2] token
-- ARGV[3] lease_ms
-- ARGV[4] state_ms   how long the state lives after this, at least
--
-- Returns
--   {'held', floor, or 0 where there was no invalidation, waiters}
--   {'detached', floor, or '' where it is unknown}

local lease = KEYS[1]
local state = KEYS[2]
local waiters = KEYS[3]
local id = ARGV[1]
local token = ARGV[2]
local lease_ms = ARGV[3]
local state_ms = tonumber(ARGV[4])

local stored = redis.call('HMGET', state, 'fl', 'f', 't')
if stored[2] ~= id or stored[3] ~= token then return {'detached', stored[1] or ''} end

redis.call('SET', lease, id .. ' ' .. token, 'PX', lease_ms)
if redis.call('PTTL', state) < state_ms then redis.call('PEXPIRE', state, state_ms) end
return {'held', stored[1] or '0', redis.call('HLEN', waiters)}
