-- Asks to lead a key. Sent again with the same id it finds its own lease and answers as before, with the same token.
-- An outcome with token t may answer a waiter if and only if t >= its min.
--
-- KEYS[1] lease      string `id token`: who leads; the key's expiry is the lease
-- KEYS[2] state      hash n, fl, f, t, rec, a
-- KEYS[3] waiters    hash waiter id -> min
-- KEYS[4] outcome    hash t, o: the newest outcome that somebody waited for
-- KEYS[5] value      hash t, o, at, d, l: the value that was stored on request; absent where none may answer
-- KEYS[6] failure    hash t, o, at, d: the error that was stored on request; absent with the value
-- ARGV[1] id         `inbox#sequence`, chosen by the claimer
-- ARGV[2] min        the lowest token that may answer it; 0 when it asks for the first time
-- ARGV[3] seen       the highest floor that the claimer knows
-- ARGV[4] takeover   the leader's process was seen to be gone: 0 nobody says so, 1 this server may decide,
--                    else the inbox that the claimer found without a subscriber on any server
-- ARGV[5] lease_ms
-- ARGV[6] state_ms   how long the state lives after a claim, at least
-- ARGV[7] floor_ms   how long a floor is remembered, at least
-- ARGV[8] waiters_ms
-- ARGV[9] strict     1: only a load that starts later may answer it
-- ARGV[10] accepts   how old stored outcomes may be, in ms: `fresh fresh-error stale stale-if-error revalidate`, or '' where
--                    none may. Of a value with lifetimes of its own (l: `fresh, while-revalidate, if-error`) the lower counts
--
-- Returns
--   {'lead', token, floor, attempt} and, where a stored value may be of use, its token, age, load time, lifetimes, frame
--   {'follow', min, floor, lease left in ms, leader's id}
--   {'settled', token, floor, frame}
--   {'cached', token, floor, age in ms, load time in ms, lifetimes, frame}
--   {'stale', token, floor, age in ms, load time in ms, lifetimes, frame}: somebody else loads, nothing is registered

local lease = KEYS[1]
local state = KEYS[2]
local waiters = KEYS[3]
local outcome = KEYS[4]
local value = KEYS[5]
local failure = KEYS[6]
local id = ARGV[1]
local min = tonumber(ARGV[2])
local seen = tonumber(ARGV[3])
local takeover = ARGV[4]
local lease_ms = ARGV[5]
local state_ms = tonumber(ARGV[6])
local floor_ms = tonumber(ARGV[7])
local waiters_ms = ARGV[8]
local strict = ARGV[9]
local accepts = ARGV[10]

-- A floor must outlive the loads that it fences, so an expiry is only ever moved further away.
local function keep(ms)
  if redis.call('PTTL', state) < ms then redis.call('PEXPIRE', state, ms) end
end

local function integer(number)
  return string.format('%.0f', number)
end

-- PUBSUB sees this server only, which is all there is on standalone and Sentinel. Where it may not be asked nobody is gone.
local function is_gone(holder)
  if takeover == '0' then return false end
  local inbox = string.match(holder, '^[^#]*')
  if takeover ~= '1' then return takeover == inbox end
  local subscribers = redis.pcall('PUBSUB', 'NUMSUB', inbox, string.match(id, '^[^#]*'))
  return not subscribers.err and tonumber(subscribers[2]) == 0 and tonumber(subscribers[4]) > 0
end

local stored = redis.call('HMGET', state, 'n', 'fl', 'f', 't', 'a')
local is_new = not stored[1]
local issued = tonumber(stored[1] or 0)
local floor = tonumber(stored[2] or 0)
local flight = stored[3]
local flight_token = tonumber(stored[4] or 0)
local attempt = tonumber(stored[5] or 0) + 1
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])

local holder, held_token = string.match(redis.call('GET', lease) or '', '^(%S+) (%d+)$')
held_token = tonumber(held_token or 0)

local dropped = false
-- The claimer knows of an invalidation that this server lost.
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
  -- A missing state is not created here: it has to start just below a new token.
  if not is_new then
    issued = math.max(issued, seen)
    redis.call('HSET', state, 'n', integer(issued), 'fl', integer(floor))
    keep(floor_ms)
  end
end

-- The claimer has its answer: it waits no more, and a lease that an earlier copy of its claim took is nobody's.
local function abandon()
  redis.call('HDEL', waiters, id)
  if flight ~= id then return end
  redis.call('DEL', lease)
  redis.call('HDEL', state, 'f', 't', 'rec')
end

if min > 0 then
  local newest = redis.call('HMGET', outcome, 't', 'o')
  if newest[1] and tonumber(newest[1]) >= min then
    abandon()
    return {'settled', newest[1], integer(floor), newest[2]}
  end
end

-- An entry that the claimer's min and the key's floor allow; one from before an invalidation is removed.
local function entry(where)
  local kept = redis.call('HMGET', where, 't', 'o', 'at', 'd', 'l')
  if not kept[1] then return nil end
  if tonumber(kept[1]) <= floor then
    redis.call('DEL', where)
    return nil
  end
  if tonumber(kept[1]) < min then return nil end
  local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  return { token = kept[1], frame = kept[2], age = math.max(0, now_ms - tonumber(kept[3])), load = kept[4], own = kept[5] or '' }
end

local function answer(tag, found)
  return {tag, found.token, integer(floor), found.age, found.load, found.own, found.frame}
end

-- What a claimer gets of a value: what it accepts, or the lower of that and what the value allows itself.
local function limits(found, fresh_ms, stale_ms, stale_if_error_ms)
  local own_fresh, own_stale, own_error = string.match(found and found.own or '', '^(%d+) (%d+) (%d+)$')
  if not own_fresh then return fresh_ms, stale_ms, stale_if_error_ms end
  local fresh = math.min(fresh_ms, tonumber(own_fresh))
  local stale_more = math.min(math.max(0, stale_ms - fresh_ms), tonumber(own_stale))
  local error_more = math.min(math.max(0, stale_if_error_ms - fresh_ms), tonumber(own_error))
  return fresh, fresh + stale_more, fresh + error_more
end

local stale = nil
if accepts ~= '' then
  local a, b, c, d, e = string.match(accepts, '^(%d+) (%d+) (%d+) (%d+) (%d+)$')
  local found = entry(value)
  local fresh_error_ms, revalidate_ms = tonumber(b), tonumber(e)
  local fresh_ms, stale_ms, stale_if_error_ms = limits(found, tonumber(a), tonumber(c), tonumber(d))
  if found and found.age < fresh_ms then
    abandon()
    return answer('cached', found)
  end
  -- A stale value is better than an error, fresh as the error may be.
  local failed = entry(failure)
  if failed and failed.age >= fresh_error_ms then failed = nil end
  local is_loading = holder and holder ~= id and not is_gone(holder)
  if found and found.age < stale_ms and (is_loading or failed) then return answer('stale', found) end
  if failed and not (found and found.age < stale_if_error_ms) then
    abandon()
    return answer('cached', failed)
  end
  if found and found.age < math.max(stale_ms, stale_if_error_ms, revalidate_ms) then stale = found end
end

local function lead(with)
  if not stale then return {'lead', integer(with), integer(floor), attempt} end
  return {'lead', integer(with), integer(floor), attempt, stale.token, stale.age, stale.load, stale.own, stale.frame}
end

if holder == id then
  redis.call('PEXPIRE', lease, lease_ms)
  keep(state_ms)
  return lead(held_token)
end

if holder and not is_gone(holder) then
  -- The min never grows, or a waiter could be passed over for ever.
  -- The time, too: after a failover to a lagging copy the lease may be older than a load that has started since.
  local offered = strict == '1' and math.max(held_token + 1, now) or held_token
  local lowest = math.min(offered, tonumber(redis.call('HGET', waiters, id) or offered))
  if min > 0 then lowest = math.min(lowest, min) end
  redis.call('HSET', waiters, id, integer(lowest))
  redis.call('PEXPIRE', waiters, waiters_ms)
  return {'follow', integer(lowest), integer(floor), redis.call('PTTL', lease), holder}
end

-- Others may be waiting whom this server does not know: then the outcome is stored even if nobody is registered.
local recovery = (is_new or dropped or min > 0 or flight) and '1' or '0'
local token = math.max(now, issued + 1, min + 1, seen + 1, held_token + 1)
if is_new then floor = token - 1 end

if holder then redis.call('DEL', lease) end
redis.call('SET', lease, id .. ' ' .. integer(token), 'NX', 'PX', lease_ms)
redis.call('HSET', state, 'n', integer(token), 'fl', integer(floor), 'f', id, 't', integer(token), 'rec', recovery)
if is_new then redis.call('PEXPIRE', state, state_ms) else keep(state_ms) end
redis.call('HDEL', waiters, id)
return lead(token)
