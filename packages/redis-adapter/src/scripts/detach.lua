-- Marks a tag as invalidated and sets the keys noted so far aside, to be invalidated one by one. Keys that are noted from
-- now on are told of the token. Sent again, with another batch, it sets aside what was noted in between.
--
-- KEYS[1] members     sorted set: the hash of each key that carries the tag, by when its note ends in ms
-- KEYS[2] invalidated string: the token with which the tag was last invalidated
-- KEYS[3] batches     set: the names of what is set aside
-- KEYS[4] batch       where to set it aside; a new key each time
-- ARGV[1] name        of that batch
-- ARGV[2] token
-- ARGV[3] floor_ms    how long the token is remembered: longer than any load may run
--
-- Returns
--   {'detached', name, …}: all batches that wait, those of an invalidation that was broken off too

local members = KEYS[1]
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
return waiting
