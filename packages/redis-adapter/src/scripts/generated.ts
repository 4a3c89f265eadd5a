// Made by scripts/generate-lua.mjs from the .lua files beside it. Do not edit.

export const advance = {
  name: 'advance',
  keys: ['clock'],
  args: ['floorMs'],
  sha1: '8d1509006e4e520876511b8e039b2f2edd3faba3',
  lua: `local clock = KEYS[1]
local floor_ms = ARGV[1]
local last = tonumber(redis.call('GET', clock) or 0)
local time = redis.call('TIME')
local token = string.format('%.0f', math.max(tonumber(time[1]) * 1000000 + tonumber(time[2]), last + 1))
redis.call('SET', clock, token, 'PX', floor_ms)
return {'advanced', token}`,
} as const;

export const attach = {
  name: 'attach',
  keys: ['members', 'invalidated'],
  args: ['key', 'livesMs'],
  sha1: '2e8c390c2ee9ffc29ed61c50011dc8caa1e0e789',
  lua: `local members = KEYS[1]
local invalidated = KEYS[2]
local key = ARGV[1]
local lives_ms = tonumber(ARGV[2])
if lives_ms > 0 then
  local time = redis.call('TIME')
  local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  redis.call('ZREMRANGEBYSCORE', members, '-inf', now_ms)
  redis.call('ZADD', members, 'GT', now_ms + lives_ms, key)
  if redis.call('PTTL', members) < lives_ms then redis.call('PEXPIRE', members, lives_ms) end
end
return {'attached', redis.call('GET', invalidated) or '0'}`,
} as const;

export const cede = {
  name: 'cede',
  keys: ['lease', 'state', 'waiters'],
  args: ['key', 'id', 'heir', 'heirToken', 'waitersMs'],
  sha1: 'f26270077d6e055853bf5a87cc89b958d532556e',
  lua: `local lease = KEYS[1]
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
if inbox then redis.call('PUBLISH', inbox, '1 woken ' .. key .. ' ' .. sequence .. '\\n') end
return {'ceded'}`,
} as const;

export const claim = {
  name: 'claim',
  keys: ['lease', 'state', 'waiters', 'outcome', 'value', 'failure'],
  args: ['id', 'min', 'seen', 'takeover', 'leaseMs', 'stateMs', 'floorMs', 'waitersMs', 'strict', 'accepts'],
  sha1: '42b312a0fdf5946b19961b723487704d8476d95a',
  lua: `local lease = KEYS[1]
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
local function keep(ms)
  if redis.call('PTTL', state) < ms then redis.call('PEXPIRE', state, ms) end
end
local function integer(number)
  return string.format('%.0f', number)
end
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
  if not is_new then
    issued = math.max(issued, seen)
    redis.call('HSET', state, 'n', integer(issued), 'fl', integer(floor))
    keep(floor_ms)
  end
end
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
  local offered = strict == '1' and math.max(held_token + 1, now) or held_token
  local lowest = math.min(offered, tonumber(redis.call('HGET', waiters, id) or offered))
  if min > 0 then lowest = math.min(lowest, min) end
  redis.call('HSET', waiters, id, integer(lowest))
  redis.call('PEXPIRE', waiters, waiters_ms)
  return {'follow', integer(lowest), integer(floor), redis.call('PTTL', lease), holder}
end
local recovery = (is_new or dropped or min > 0 or flight) and '1' or '0'
local token = math.max(now, issued + 1, min + 1, seen + 1, held_token + 1)
if is_new then floor = token - 1 end
if holder then redis.call('DEL', lease) end
redis.call('SET', lease, id .. ' ' .. integer(token), 'NX', 'PX', lease_ms)
redis.call('HSET', state, 'n', integer(token), 'fl', integer(floor), 'f', id, 't', integer(token), 'rec', recovery)
if is_new then redis.call('PEXPIRE', state, state_ms) else keep(state_ms) end
redis.call('HDEL', waiters, id)
return lead(token)`,
} as const;

export const detach = {
  name: 'detach',
  keys: ['members', 'invalidated', 'batches', 'batch'],
  args: ['name', 'token', 'floorMs'],
  sha1: 'ad9873ec04385e2b9b2a211079960086240dfc47',
  lua: `local members = KEYS[1]
local invalidated = KEYS[2]
local batches = KEYS[3]
local batch = KEYS[4]
local name = ARGV[1]
local token = tonumber(ARGV[2])
local floor_ms = ARGV[3]
local last = tonumber(redis.call('GET', invalidated) or 0)
redis.call('SET', invalidated, string.format('%.0f', math.max(last, token)), 'PX', floor_ms)
local left_ms = redis.call('PTTL', members)
if left_ms > 0 then
  redis.call('RENAME', members, batch)
  redis.call('SADD', batches, name)
  if redis.call('PTTL', batches) < left_ms then redis.call('PEXPIRE', batches, left_ms) end
end
local waiting = redis.call('SMEMBERS', batches)
table.insert(waiting, 1, 'detached')
return waiting`,
} as const;

export const fence = {
  name: 'fence',
  keys: ['lease', 'state'],
  args: ['key', 'broadcast', 'token', 'floorMs'],
  sha1: 'f514be26c8f122b3f6e47c6c2f8c2dd46f12ddca',
  lua: `local lease = KEYS[1]
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
redis.call('PUBLISH', broadcast, '1 invalidated ' .. key .. ' ' .. floor .. '\\n')
return {'invalidated', floor}`,
} as const;

export const invalidate = {
  name: 'invalidate',
  keys: ['lease', 'state', 'value', 'failure'],
  args: ['key', 'broadcast', 'floorMs'],
  sha1: '00952b15250e9d57ddf80b9fac9678c2dd7a8a04',
  lua: `local lease = KEYS[1]
local state = KEYS[2]
local value = KEYS[3]
local failure = KEYS[4]
local key = ARGV[1]
local broadcast = ARGV[2]
local floor_ms = ARGV[3]
local _, held_token = string.match(redis.call('GET', lease) or '', '^(%S+) (%d+)$')
local issued = tonumber(redis.call('HGET', state, 'n') or 0)
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local token = string.format('%.0f', math.max(now, issued + 1, tonumber(held_token or 0) + 1))
redis.call('DEL', lease)
redis.call('HDEL', state, 'f', 't', 'rec', 'a')
redis.call('DEL', value, failure)
redis.call('HSET', state, 'n', token, 'fl', token)
redis.call('PEXPIRE', state, floor_ms)
redis.call('PUBLISH', broadcast, '1 invalidated ' .. key .. ' ' .. token .. '\\n')
return {'invalidated', token}`,
} as const;

export const peek = {
  name: 'peek',
  keys: ['state', 'value'],
  args: ['seen'],
  sha1: 'ddab7e84270f8a8f54b7daf4de6e766bcfb70a2a',
  lua: `local state = KEYS[1]
local value = KEYS[2]
local seen = tonumber(ARGV[1])
local kept = redis.call('HMGET', value, 't', 'o', 'at', 'd', 'l')
if not kept[1] then return {'nothing'} end
local floor = math.max(seen, tonumber(redis.call('HGET', state, 'fl') or 0))
if tonumber(kept[1]) <= floor then return {'nothing'} end
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
return {'stored', kept[1], math.max(0, now_ms - tonumber(kept[3])), kept[4], kept[5] or '', kept[2]}`,
} as const;

export const propose = {
  name: 'propose',
  keys: ['lease', 'state', 'waiters', 'outcome'],
  args: ['id', 'min', 'seen', 'gone', 'token', 'raise', 'leaseMs', 'stateMs', 'floorMs', 'waitersMs', 'strict'],
  sha1: '8bc721e248a2402caf8c453086799d2efd304511',
  lua: `local lease = KEYS[1]
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
return {'lead', integer(token), known_floor, attempt, integer(token)}`,
} as const;

export const rejoin = {
  name: 'rejoin',
  keys: ['lease', 'state'],
  args: ['id', 'token', 'leaseMs', 'stateMs'],
  sha1: 'acd172c55433fbc91bf85cc7ab32696d6adfad7f',
  lua: `local lease = KEYS[1]
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
return {'joined'}`,
} as const;

export const release = {
  name: 'release',
  keys: ['lease', 'state', 'waiters'],
  args: ['key', 'id', 'failed', 'stateMs', 'hearsAll'],
  sha1: '575dc90460ee28a8a67e97aec9598062890eb638',
  lua: `local lease = KEYS[1]
local state = KEYS[2]
local waiters = KEYS[3]
local key = ARGV[1]
local id = ARGV[2]
local failed = ARGV[3]
local state_ms = tonumber(ARGV[4])
local hears_all = ARGV[5]
redis.call('HDEL', waiters, id)
if redis.call('HGET', state, 'f') == id then
  redis.call('DEL', lease)
  redis.call('HDEL', state, 'f', 't', 'rec')
  if failed == '1' then
    redis.call('HINCRBY', state, 'a', 1)
    if redis.call('PTTL', state) < state_ms then redis.call('PEXPIRE', state, state_ms) end
  end
end
if redis.call('EXISTS', lease) == 0 then
  for _, waiter in ipairs(redis.call('HKEYS', waiters)) do
    local inbox, sequence = string.match(waiter, '^([^#]*)#(.*)$')
    if inbox then
      local listeners = redis.call('PUBLISH', inbox, '1 woken ' .. key .. ' ' .. sequence .. '\\n')
      if listeners > 0 or hears_all == '0' then break end
    end
  end
end
return {'released'}`,
} as const;

export const renew = {
  name: 'renew',
  keys: ['lease', 'state', 'waiters'],
  args: ['id', 'token', 'leaseMs', 'stateMs'],
  sha1: '0aac9dad391e265d1126b1b63783be248c22017b',
  lua: `local lease = KEYS[1]
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
return {'held', stored[1] or '0', redis.call('HLEN', waiters)}`,
} as const;

export const settle = {
  name: 'settle',
  keys: ['lease', 'state', 'waiters', 'outcome', 'value', 'failure', 'payload'],
  args: ['key', 'id', 'token', 'given', 'retainMs', 'recoveryMs', 'inlineMax', 'hearsAll', 'store'],
  sha1: 'd2568edae9d0974be23cd306716d39d089b86f31',
  lua: `local lease = KEYS[1]
local state = KEYS[2]
local waiters = KEYS[3]
local outcome = KEYS[4]
local value = KEYS[5]
local failure = KEYS[6]
local payload = KEYS[7]
local key = ARGV[1]
local id = ARGV[2]
local token = ARGV[3]
local given = ARGV[4]
local retain_ms = ARGV[5]
local recovery_ms = ARGV[6]
local inline_max = tonumber(ARGV[7])
local hears_all = ARGV[8]
local store = ARGV[9]
redis.call('HDEL', waiters, id)
local sent = given
if payload then sent = redis.call('GET', payload) end
local frame = sent or given
local stored = redis.call('HMGET', state, 'fl', 'f', 't', 'rec')
local floor = stored[1] or ''
local owns = stored[2] == id
local served = {}
local inboxes = {}
local waiting = redis.call('HGETALL', waiters)
local left = 0
for i = 1, #waiting, 2 do
  if tonumber(waiting[i + 1]) > tonumber(token) then
    left = left + 1
  else
    redis.call('HDEL', waiters, waiting[i])
    local inbox, sequence = string.match(waiting[i], '^([^#]*)#(.*)$')
    if inbox then
      if not served[inbox] then
        served[inbox] = {}
        inboxes[#inboxes + 1] = inbox
      end
      table.insert(served[inbox], sequence)
    end
  end
end
if #inboxes > 0 or (owns and stored[4] == '1') then
  local newest = redis.call('HGET', outcome, 't')
  if not newest or tonumber(newest) < tonumber(token) then
    local kept = redis.pcall('HSET', outcome, 't', token, 'o', frame)
    if type(kept) ~= 'table' then redis.call('PEXPIRE', outcome, #inboxes > 0 and retain_ms or recovery_ms) end
  end
end
for _, inbox in ipairs(inboxes) do
  local ids = table.concat(served[inbox], ',')
  if #frame <= inline_max then
    redis.call('PUBLISH', inbox, '1 settled ' .. key .. ' ' .. token .. ' ' .. ids .. '\\n' .. frame)
  else
    redis.call('PUBLISH', inbox, '1 woken ' .. key .. ' ' .. ids .. '\\n')
  end
end
if owns then
  redis.call('DEL', lease)
  redis.call('HDEL', state, 'f', 't', 'rec', 'a')
end
local what, store_ms, load_ms, age_ms, own
if store ~= '' then what, store_ms, load_ms, age_ms, own = string.match(store, '^(%a+) (%d+) (%d+) (%d+) ([%d ]*)$') end
if what and sent and owns and stored[3] == token and tonumber(token) > tonumber(stored[1]) then
  local where = what == 'value' and value or failure
  local time = redis.call('TIME')
  local at = string.format('%.0f', tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000) - tonumber(age_ms))
  if what == 'value' then redis.call('DEL', failure) end
  local kept = redis.pcall('HSET', where, 't', token, 'o', sent, 'at', at, 'd', load_ms, 'l', own)
  if type(kept) ~= 'table' then redis.call('PEXPIRE', where, store_ms) end
  if redis.call('PTTL', state) < tonumber(store_ms) then redis.call('PEXPIRE', state, store_ms) end
end
if payload then redis.call('DEL', payload) end
if left > 0 and redis.call('EXISTS', lease) == 0 then
  for _, waiter in ipairs(redis.call('HKEYS', waiters)) do
    local inbox, sequence = string.match(waiter, '^([^#]*)#(.*)$')
    if inbox then
      local listeners = redis.call('PUBLISH', inbox, '1 woken ' .. key .. ' ' .. sequence .. '\\n')
      if listeners > 0 or hears_all == '0' then break end
    end
  end
end
return {(owns and stored[3] == token) and 'settled' or 'detached', floor}`,
} as const;

export const take = {
  name: 'take',
  keys: ['batches', 'batch'],
  args: ['name', 'done', 'takenMax'],
  sha1: '6a0aa85b3255128b4d6203d1480cc0914d24adf0',
  lua: `local batches = KEYS[1]
local batch = KEYS[2]
local name = ARGV[1]
local done = ARGV[2]
local taken_max = tonumber(ARGV[3])
for key in string.gmatch(done, '[^,]+') do redis.call('ZREM', batch, key) end
local time = redis.call('TIME')
redis.call('ZREMRANGEBYSCORE', batch, '-inf', tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000))
local taken = redis.call('ZRANGE', batch, 0, taken_max - 1)
if #taken == 0 then redis.call('SREM', batches, name) end
table.insert(taken, 1, 'taken')
return taken`,
} as const;
