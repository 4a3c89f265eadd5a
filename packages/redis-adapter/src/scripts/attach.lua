-- Notes that a key carries a tag, and says when the tag was last invalidated. Sent again it notes the same.
--
-- KEYS[1] members     sorted set: the hash of each key that carries the tag, by when its note ends in ms
-- KEYS[2] invalidated string: the token with which the tag was last invalidated
-- ARGV[1] key         the key's hash
-- ARGV[2] lives_ms    how long the note lives; 0 notes nothing
--
-- Returns
--   {'attached', token, '0' where the tag was not invalidated for as long as a load may run}

local members = KEYS[1]
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
return {'attached', redis.call('GET', invalidated) or '0'}
