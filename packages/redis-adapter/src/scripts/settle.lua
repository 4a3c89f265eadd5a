-- Ends a flight and answers those who wait for it. Sent again it finds nobody left to serve and publishes nothing.
-- The id says whether the flight still holds the key, the token whom its outcome may answer.
--
-- KEYS[1] lease      string `id token`
-- KEYS[2] state      hash n, fl, f, t, rec, a
-- KEYS[3] waiters    hash waiter id -> min
-- KEYS[4] outcome    hash t, o: the newest outcome that somebody waited for
-- KEYS[5] value      hash t, o, at, d, l: the value that was stored on request; absent where nothing is to be stored
-- KEYS[6] failure    hash t, o, at, d: the error that was stored on request; absent with the value
-- KEYS[7] payload    string: on Cluster the frame, put there by a SET in the same write; absent elsewhere
-- ARGV[1] key        the key's hash, for messages
-- ARGV[2] id
-- ARGV[3] token
-- ARGV[4] given      the frame; on Cluster, where tracing would show it, the one to use when nothing is under the payload key
-- ARGV[5] retain_ms
-- ARGV[6] recovery_ms how long the outcome is kept when nobody is registered: as long as an unknown waiter may take to ask
-- ARGV[7] inline_max how many bytes of frame a message may carry
-- ARGV[8] hears_all  1: PUBLISH says whether anybody listens; 0: on Cluster it counts this node's only
-- ARGV[9] store      what to store and for how long, in ms: `value ms load-ms age-ms lifetimes` or `error ms load-ms 0 `, or ''
--                    for nothing; lifetimes, where the value has its own: `fresh while-revalidate if-error`
--
-- Returns
--   {'settled', floor, or '' where it is unknown}
--   {'detached', floor, or '' where it is unknown}

local lease = KEYS[1]
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

-- First a write that needs no memory: after it a full server does not stop this script half way.
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
    -- Refused by a full server: waiters are told all the same, who comes to fetch it loads for itself.
    local kept = redis.pcall('HSET', outcome, 't', token, 'o', frame)
    if type(kept) ~= 'table' then redis.call('PEXPIRE', outcome, #inboxes > 0 and retain_ms or recovery_ms) end
  end
end

for _, inbox in ipairs(inboxes) do
  local ids = table.concat(served[inbox], ',')
  if #frame <= inline_max then
    redis.call('PUBLISH', inbox, '1 settled ' .. key .. ' ' .. token .. ' ' .. ids .. '\n' .. frame)
  else
    redis.call('PUBLISH', inbox, '1 woken ' .. key .. ' ' .. ids .. '\n')
  end
end

if owns then
  redis.call('DEL', lease)
  redis.call('HDEL', state, 'f', 't', 'rec', 'a')
end

-- Stored only by the flight that owns its key, and never what was begun before an invalidation. An error is stored beside
-- the last value, which may still be served stale; a value removes the error.
local what, store_ms, load_ms, age_ms, own
if store ~= '' then what, store_ms, load_ms, age_ms, own = string.match(store, '^(%a+) (%d+) (%d+) (%d+) ([%d ]*)$') end
if what and sent and owns and stored[3] == token and tonumber(token) > tonumber(stored[1]) then
  local where = what == 'value' and value or failure
  local time = redis.call('TIME')
  local at = string.format('%.0f', tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000) - tonumber(age_ms))
  if what == 'value' then redis.call('DEL', failure) end
  local kept = redis.pcall('HSET', where, 't', token, 'o', sent, 'at', at, 'd', load_ms, 'l', own)
  if type(kept) ~= 'table' then redis.call('PEXPIRE', where, store_ms) end
  -- The floor outlives what it fences: a state that was made anew would begin above the stored token and hide the entry.
  if redis.call('PTTL', state) < tonumber(store_ms) then redis.call('PEXPIRE', state, store_ms) end
end
if payload then redis.call('DEL', payload) end

-- Those who are left wait for a later flight. The first whose inbox has a listener is chosen to lead it.
if left > 0 and redis.call('EXISTS', lease) == 0 then
  for _, waiter in ipairs(redis.call('HKEYS', waiters)) do
    local inbox, sequence = string.match(waiter, '^([^#]*)#(.*)$')
    if inbox then
      local listeners = redis.call('PUBLISH', inbox, '1 woken ' .. key .. ' ' .. sequence .. '\n')
      if listeners > 0 or hears_all == '0' then break end
    end
  end
end

return {(owns and stored[3] == token) and 'settled' or 'detached', floor}
