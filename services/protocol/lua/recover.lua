-- Hands entries of a processing list back to the end of their queue that claims take from, the oldest to be claimed first.
-- KEYS[1] heartbeat of the list's owner  KEYS[2] processing list  KEYS[3] home queue  KEYS[4] recovery counts (hash)
-- ARGV[1] what the heartbeat must hold ('' means: it must be absent)  ARGV[2] most entries (up to 4,000)
-- ARGV[3] '1' to count a recovery for each entry  ARGV[4] seconds that the counts are kept
-- Returns the number handed back, or -1 when the heartbeat is another.
local value = redis.call('GET', KEYS[1]) or ''
if value ~= ARGV[1] then
  return -1
end
for index, wanted in pairs({[2] = 'list', [3] = 'list', [4] = 'hash'}) do
  local kind = redis.call('TYPE', KEYS[index]).ok
  if kind ~= wanted and kind ~= 'none' then
    return redis.error_reply('WRONGTYPE ' .. KEYS[index] .. ' is a ' .. kind .. ', not a ' .. wanted)
  end
end
-- Newest first, so that the oldest comes to stand at the very right.
local entries = redis.call('LRANGE', KEYS[2], 0, ARGV[2] - 1)
if #entries == 0 then
  return 0
end
-- Out of the list first: a Redis that is full refuses a script whose first write takes memory, and would stay full.
redis.call('LTRIM', KEYS[2], #entries, -1)
redis.call('RPUSH', KEYS[3], unpack(entries))
if ARGV[3] == '1' then
  for _, entry in ipairs(entries) do
    redis.call('HINCRBY', KEYS[4], redis.sha1hex(entry), 1)
  end
  redis.call('EXPIRE', KEYS[4], ARGV[4])
end
return #entries
