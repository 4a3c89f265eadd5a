-- Fences a key: what was begun before answers only those who called before. Sent again it fences again.
-- Waiters stay: the flight that is running still answers them, and only them.
--
-- KEYS[1] lease      string `id token`
-- KEYS[2] state      hash n, fl, f, t, rec, a
-- KEYS[3] value      hash t, o, at, d: the value that was stored on request
-- KEYS[4] failure    hash t, o, at, d: the error that was stored on request
-- ARGV[1] key        the key's hash, for messages
-- ARGV[2] broadcast  the namespace's channel
-- ARGV[3] floor_ms   how long the floor is remembered
--
-- Returns
--   {'invalidated', floor}

local lease = KEYS[1]
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

-- First a write that needs no memory: after it a full server does not refuse the floor.
redis.call('DEL', lease)
redis.call('HDEL', state, 'f', 't', 'rec', 'a')
redis.call('DEL', value, failure)
redis.call('HSET', state, 'n', token, 'fl', token)
redis.call('PEXPIRE', state, floor_ms)
redis.call('PUBLISH', broadcast, '1 invalidated ' .. key .. ' ' .. token .. '\n')
return {'invalidated', token}
