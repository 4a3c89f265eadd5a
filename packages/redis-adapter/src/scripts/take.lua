-- Takes invalidated keys out of a batch and gives the next of it. A key leaves the batch after it was invalidated, never
-- before: whoever breaks off, the next invalidation of the tag finds it. Sent again it gives the same.
--
-- KEYS[1] batches    set: the names of what is set aside
-- KEYS[2] batch      sorted set: hashes of keys, by when their note ends in ms
-- ARGV[1] name       of that batch
-- ARGV[2] done       hashes of keys that were invalidated, between commas
-- ARGV[3] taken_max  how many to give
--
-- Returns
--   {'taken', key, …}: none when the batch is done

local batches = KEYS[1]
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
return taken
