-- Takes dead letters out of their list, byte for byte as they were seen, and pushes what follows from each: all of them,
-- or, where one is gone or a destination is full, none. Safe to repeat: the second time nothing is found.
-- KEYS[1] dead letters (list)  KEYS[2..] destinations (lists)
-- ARGV[1] 1 or -1: the end of the list to look from  ARGV[2..#KEYS] each destination's cap (0: none)
-- then for each letter: its bytes, number n of pushes, and n times: number of a destination (from 1), bytes
-- Returns {0, letters taken}, {1, numbers (from 1) of letters that are gone ...}, or {2, number of a full destination}.
for i = 1, #KEYS do
  local kind = redis.call('TYPE', KEYS[i]).ok
  if kind ~= 'list' and kind ~= 'none' then
    return redis.error_reply('WRONGTYPE ' .. KEYS[i] .. ' is a ' .. kind .. ', not a list')
  end
end
for i = 2, #KEYS do
  local cap = tonumber(ARGV[i])
  if cap > 0 and redis.call('LLEN', KEYS[i]) >= cap then
    return {2, i - 1}
  end
end
local letters, gone = {}, {1}
local at = #KEYS + 1
while at <= #ARGV do
  letters[#letters + 1] = at
  if not redis.call('LPOS', KEYS[1], ARGV[at], 'RANK', ARGV[1]) then
    gone[#gone + 1] = #letters
  end
  at = at + 2 + 2 * tonumber(ARGV[at + 1])
end
if #gone > 1 then
  return gone
end
for _, first in ipairs(letters) do
  redis.call('LREM', KEYS[1], ARGV[1], ARGV[first])
  for push = 1, tonumber(ARGV[first + 1]) do
    local place = first + 2 * push
    redis.call('LPUSH', KEYS[1 + tonumber(ARGV[place])], ARGV[place + 1])
  end
end
return {0, #letters}
