-- Moves dead letters: takes each out of its list and, only where it was still there, puts new bytes behind its
-- destination. Safe to repeat: the second time nothing is found, so nothing is pushed.
-- KEYS[1] lease  KEYS[2] circuit state  KEYS[3] dead letters (list)  KEYS[4..] destinations (lists)
-- ARGV[1] token  ARGV[2] '1': only while the circuit is closed
-- ARGV[3..] triples, the oldest first: the entry as it lies there, number of its destination (from 1), new bytes
-- Returns the number moved, -1 when the lease is another's, -2 when the circuit is not closed.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return -1
end
if ARGV[2] == '1' then
  local state = redis.call('GET', KEYS[2])
  if state == 'OPEN' or state == 'HALF_OPEN' then
    return -2
  end
end
for i = 3, #KEYS do
  local kind = redis.call('TYPE', KEYS[i]).ok
  if kind ~= 'list' and kind ~= 'none' then
    return redis.error_reply('WRONGTYPE ' .. KEYS[i] .. ' is a ' .. kind .. ', not a list')
  end
end
local moved = 0
for i = 3, #ARGV, 3 do
  if redis.call('LREM', KEYS[3], -1, ARGV[i]) == 1 then
    redis.call('LPUSH', KEYS[3 + tonumber(ARGV[i + 1])], ARGV[i + 2])
    moved = moved + 1
  end
end
return moved
