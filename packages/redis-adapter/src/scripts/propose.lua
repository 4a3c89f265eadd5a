-- One node's vote on a claim of the quorum. The claimer brings the token; the node grants the lease only if the token is
-- above everything it knows, so that two majorities, which share a node, never agree on tokens out of order.
--
-- KEYS[1] lease      string `id token`: whom this node voted for; the key's expiry is the lease
-- KEYS[2] state      hash n, fl, f, t, rec, a, and pn: the highest token known before this node voted
-- KEYS[3] waiters    hash waiter id -> min
-- KEYS[4] outcome    hash t, o: the newest outcome that somebody waited for
-- ARGV[1] id         `inbox#sequence`, chosen by the claimer
-- ARGV[2] min        the lowest token that may answer it; 0 when it asks for the first time
-- ARGV[3] seen       the highest floor that the claimer knows
-- ARGV[4] gone       the inbox that the claimer found without a subscriber on a majority of nodes; 0 for none
-- ARGV[5] token      the token that it proposes
-- ARGV[6] raise      1: its lease here takes the proposed token too, if that is above everything known
-- ARGV[7] lease_ms
-- ARGV[8] state_ms   how long the state lives after a claim, at least
-- ARGV[9] floor_ms   how long a floor is remembered, at least
-- ARGV[10] waiters_ms
-- ARGV[11] strict    1: only a load that starts later may answer it
--
-- Returns
--   floor is '' where this node knows nothing of the key
--   {'lead', token, floor, attempt, highest token known}
--   {'follow', token of the lease, floor, lease left in ms, leader's id}
--   {'settled', token, floor, frame}
--   {'behind', highest token known, floor}

local lease = KEYS[1]
local state = KEYS[2]
local waiters = KEYS[3]
local outcome = KEYS[4]
local id = ARGV[1]
local min = tonumber(ARGV[2])
local seen = tonumber(ARGV[3])
local gone = ARGV[4]
local token = tonumber(ARGV[5])
local raise = ARGV[6]
local lease_ms = ARGV[7]
local state_ms = tonumber(ARGV[8])
local floor_ms = tonumber(ARGV[9])
local waiters_ms = ARGV[10]
local strict = ARGV[11]

-- Clocks of claimers that are this far behind would give tokens below those of flights that this node has forgotten.
local SKEW_US_MAX = 1000000

local function keep(ms)
  if redis.call('PTTL', state) < ms then redis.call('PEXPIRE', state, ms) end
end

local function integer(number)
  return string.format('%.0f', number)
end

local stored = redis.call('HMGET', state, 'n', 'fl', 'f', 't', 'a')
local is_new = not stored[1]
local issued = tonumber(stored[1] or 0)
local floor = tonumber(stored[2] or 0)
local flight = stored[3]
local flight_token = tonumber(stored[4] or 0)
local attempt = tonumber(stored[5] or 0) + 1

local holder, held_token = string.match(redis.call('GET', lease) or '', '^(%S+) (%d+)$')
held_token = tonumber(held_token or 0)

local dropped = false
-- The claimer knows of an invalidation that this node missed.
if seen > floor then
  floor = seen
  if holder and held_token <= seen then
    redis.call('DEL', lease)
    holder = nil
  end
  if flight and flight_token <= seen then
    redis.call('HDEL', state, 'f', 't', 'rec')
    flight = false
    dropped = true
  end
  issued = math.max(issued, seen)
  redis.call('HSET', state, 'n', integer(issued), 'fl', integer(floor))
  keep(floor_ms)
end
local known_floor = (floor > 0 or not is_new) and integer(floor) or ''

if min > 0 then
  local newest = redis.call('HMGET', outcome, 't', 'o')
  if newest[1] and tonumber(newest[1]) >= min then
    redis.call('HDEL', waiters, id)
    return {'settled', newest[1], known_floor, newest[2]}
  end
end

local highest = math.max(issued, min, seen, held_token)

if holder == id then
  if raise == '1' and token > highest then
    held_token = token
    highest = token
    redis.call('SET', lease, id .. ' ' .. integer(token), 'PX', lease_ms)
    redis.call('HSET', state, 'n', integer(token), 'f', id, 't', integer(token))
  end
  redis.call('PEXPIRE', lease, lease_ms)
  keep(state_ms)
  redis.call('HDEL', waiters, id)
  return {'lead', integer(held_token), known_floor, attempt, integer(highest)}
end

if holder and string.match(holder, '^[^#]*') ~= gone then
  local offered = strict == '1' and held_token + 1 or held_token
  local lowest = math.min(offered, tonumber(redis.call('HGET', waiters, id) or offered))
  if min > 0 then lowest = math.min(lowest, min) end
  redis.call('HSET', waiters, id, integer(lowest))
  redis.call('PEXPIRE', waiters, waiters_ms)
  return {'follow', integer(held_token), known_floor, redis.call('PTTL', lease), holder}
end

if is_new then
  local time = redis.call('TIME')
  highest = math.max(highest, tonumber(time[1]) * 1000000 + tonumber(time[2]) - SKEW_US_MAX)
end
if token <= highest then return {'behind', integer(highest), known_floor} end

local recovery = (is_new or dropped or min > 0 or flight) and '1' or '0'
if holder then redis.call('DEL', lease) end
redis.call('SET', lease, id .. ' ' .. integer(token), 'NX', 'PX', lease_ms)
redis.call('HSET', state, 'n', integer(token), 'pn', integer(highest), 'f', id, 't', integer(token), 'rec', recovery)
keep(state_ms)
redis.call('HDEL', waiters, id)
return {'lead', integer(token), known_floor, attempt, integer(token)}
