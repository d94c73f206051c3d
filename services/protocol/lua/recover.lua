-- Hands entries of a processing list back to the end of their queue that claims take from, the oldest to be claimed first.
-- KEYS[1] heartbeat of the list's owner  KEYS[2] processing list  KEYS[3] home queue  KEYS[4] recovery counts (hash)
-- ARGV[1] what the heartbeat must hold ('' means: it must be absent)  ARGV[2] most entries
-- ARGV[3] '1' to count a recovery for each entry  ARGV[4] seconds that the counts are kept
-- Returns the number handed back, or -1 when the heartbeat is another.
local value = redis.call('GET', KEYS[1]) or ''
if value ~= ARGV[1] then
  return -1
end
for _, key in ipairs({KEYS[2], KEYS[3]}) do
  local kind = redis.call('TYPE', key).ok
  if kind ~= 'list' and kind ~= 'none' then
    return redis.error_reply('WRONGTYPE ' .. key .. ' is a ' .. kind .. ', not a list')
  end
end
-- Newest first, so that the oldest comes to stand at the very right.
local moved = 0
for _ = 1, tonumber(ARGV[2]) do
  local entry = redis.call('LMOVE', KEYS[2], KEYS[3], 'LEFT', 'RIGHT')
  if not entry then
    break
  end
  moved = moved + 1
  if ARGV[3] == '1' then
    redis.call('HINCRBY', KEYS[4], redis.sha1hex(entry), 1)
  end
end
if moved > 0 and ARGV[3] == '1' then
  redis.call('EXPIRE', KEYS[4], ARGV[4])
end
return moved
