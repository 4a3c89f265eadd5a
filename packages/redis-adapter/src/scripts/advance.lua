-- Begins the invalidation of a tag: one step of the namespace's tag clock.
--
-- KEYS[1] clock      string: the last token
-- ARGV[1] floor_ms   how long it is remembered: longer than any load may run
--
-- Returns
--   {'advanced', token}

local clock = KEYS[1]
local floor_ms = ARGV[1]

local last = tonumber(redis.call('GET', clock) or 0)
local time = redis.call('TIME')
local token = string.format('%.0f', math.max(tonumber(time[1]) * 1000000 + tonumber(time[2]), last + 1))
redis.call('SET', clock, token, 'PX', floor_ms)
return {'advanced', token}
