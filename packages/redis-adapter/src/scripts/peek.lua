-- Reads the value that is stored, of whatever age. Registers nobody and changes nothing.
--
-- KEYS[1] state      hash n, fl, f, t, rec, a
-- KEYS[2] value      hash t, o, at, d, l: the value that was stored on request
-- ARGV[1] seen       the highest floor that the reader knows
--
-- Returns
--   {'stored', token, age in ms, load time in ms, lifetimes, frame}
--   {'nothing'}

local state = KEYS[1]
local value = KEYS[2]
local seen = tonumber(ARGV[1])

local kept = redis.call('HMGET', value, 't', 'o', 'at', 'd', 'l')
if not kept[1] then return {'nothing'} end

local floor = math.max(seen, tonumber(redis.call('HGET', state, 'fl') or 0))
if tonumber(kept[1]) <= floor then return {'nothing'} end

local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
return {'stored', kept[1], math.max(0, now_ms - tonumber(kept[3])), kept[4], kept[5] or '', kept[2]}
