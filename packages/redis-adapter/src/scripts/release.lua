-- Gives up a claim, led or followed, that nobody needs any more. Sent again it finds nothing of its own.
--
-- KEYS[1] lease      string `id token`
-- KEYS[2] state      hash n, fl, f, t, rec, a
-- KEYS[3] waiters    hash waiter id -> min
-- ARGV[1] key        the key's hash, for messages
-- ARGV[2] id
-- ARGV[3] failed     1: the load failed with an error that is not shared
-- ARGV[4] state_ms   how long the state lives after a failure, at least
-- ARGV[5] hears_all  1: PUBLISH says whether anybody listens; 0: on Cluster it counts this node's only
--
-- Returns
--   {'released'}

local lease = KEYS[1]
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

-- Nobody leads and somebody waits: the first whose inbox has a listener is chosen.
if redis.call('EXISTS', lease) == 0 then
  for _, waiter in ipairs(redis.call('HKEYS', waiters)) do
    local inbox, sequence = string.match(waiter, '^([^#]*)#(.*)$')
    if inbox then
      local listeners = redis.call('PUBLISH', inbox, '1 woken ' .. key .. ' ' .. sequence .. '\n')
      if listeners > 0 or hears_all == '0' then break end
    end
  end
end

return {'released'}
