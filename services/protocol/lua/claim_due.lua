-- Claims what is due in a set of waiting retries: moves it to the left end of this worker's processing list.
-- KEYS[1] heartbeat  KEYS[2] processing list  KEYS[3] waiting retries (sorted set: score = due in ms of Redis's clock,
--         member = 36 characters of event id, then the entry)
-- ARGV[1] token  ARGV[2] most entries  ARGV[3] most bytes
-- Returns {status, ms until the next is due (-1: none waits), entries}: status 0 when the heartbeat holds another token.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return {0, -1, {}}
end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local due = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', string.format('%.0f', now), 'LIMIT', 0, ARGV[2])
local members, entries, bytes = {}, {}, 0
for _, member in ipairs(due) do
  -- What somebody put there without an id is moved whole: it is not read here, only not to be lost.
  local entry = string.sub(member, 37, 37) == '{' and string.sub(member, 37) or member
  bytes = bytes + #entry
  if #entries > 0 and bytes > tonumber(ARGV[3]) then
    break
  end
  members[#members + 1] = member
  entries[#entries + 1] = entry
end
if #entries > 0 then
  local kind = redis.call('TYPE', KEYS[2]).ok
  if kind ~= 'list' and kind ~= 'none' then
    return redis.error_reply('WRONGTYPE ' .. KEYS[2] .. ' is a ' .. kind .. ', not a list')
  end
  -- Out of the set first: a Redis that is full refuses a script whose first write takes memory, and would stay full.
  redis.call('ZREM', KEYS[3], unpack(members))
  redis.call('LPUSH', KEYS[2], unpack(entries))
end
local following = redis.call('ZRANGE', KEYS[3], 0, 0, 'WITHSCORES')
if not following[2] then
  return {1, -1, entries}
end
return {1, math.max(0, math.ceil(following[2] - now)), entries}
