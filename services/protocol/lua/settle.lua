-- Settles claimed entries: removes each from the processing list and, only for those that were still there, pushes what
-- follows from it. Safe to repeat: the second time nothing is found, so nothing is pushed.
-- KEYS[1] heartbeat  KEYS[2] processing list  KEYS[3] recovery counts (hash)
-- KEYS[4] registry of unmatched patterns (sorted set by expiry)  KEYS[5] counter for patterns past the cap
-- KEYS[6..] destinations, counters and samples, by the indices below
-- ARGV[1] token  ARGV[2] number n of entries  then n entries, the oldest claim first
-- then: number of pushes, and for each: entry index (from 1), key index, 'L' (LPUSH) | 'R' (RPUSH) | delay in ms (ZADD,
--       due on Redis's clock), payload
-- then: number of groups, one for each pattern; when > 0: threshold, expiry (s), cap, key index of the alert queue,
--       of the pending audit, and for each group: key index of its counter, of its sample hash, of its hash by hour,
--       template, sample, meta-alert (pushed to both), index of the entry that it is made for or 0, number k of
--       entries, k entry indices
-- Returns {status, found, meta-alerts pushed, {indices not found}}: status 0 when the heartbeat holds another token.
-- {2, 0, 0, {entry indices}} when patterns would reach the threshold by entries for which no meta-alert is made: nothing
-- is settled, and the worker comes again with theirs.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return {0, 0, 0, {}}
end

local at = 2
local function take()
  at = at + 1
  return ARGV[at - 1]
end

local now
local function now_ms()
  if not now then
    local time = redis.call('TIME')
    now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  end
  return now
end

local count = tonumber(take())
local first = at
at = at + count

-- Everything that could fail is checked before the first write.
local wanted = {}
local pushes = tonumber(take())
local pushes_at = at
for _ = 1, pushes do
  local op = ARGV[at + 2]
  wanted[KEYS[tonumber(ARGV[at + 1])]] = (op == 'L' or op == 'R') and 'list' or 'zset'
  at = at + 4
end
local groups = tonumber(take())
local threshold, expiry, cap, alert_queue, pending
local groups_at, room
local fresh, past, crossing = {}, {}, {}
if groups > 0 then
  threshold, expiry, cap = tonumber(take()), tonumber(take()), tonumber(take())
  alert_queue, pending = KEYS[tonumber(take())], KEYS[tonumber(take())]
  groups_at = at
  wanted[KEYS[4]], wanted[KEYS[5]], wanted[alert_queue], wanted[pending] = 'zset', 'string', 'list', 'list'
end
for group = 1, groups do
  local counter, size = KEYS[tonumber(ARGV[at])], tonumber(ARGV[at + 7])
  local value = redis.pcall('GET', counter)
  if type(value) == 'table' then
    wanted[counter] = 'string'
    value = nil
  elseif value and not string.find(value, '^%d+$') then
    return redis.error_reply('ERR ' .. counter .. ' holds no number: delete it')
  elseif not value then
    room = room or cap - redis.call('ZCOUNT', KEYS[4], string.format('(%.0f', now_ms()), '+inf')
    fresh[group], past[group] = room > 0, room <= 0
    room = room - 1
  end
  if not past[group] then
    wanted[KEYS[tonumber(ARGV[at + 2])]] = 'hash'
    if fresh[group] then
      wanted[KEYS[tonumber(ARGV[at + 1])]] = 'hash'
    end
    local missed = threshold - tonumber(value or 0)
    if missed > 0 and missed <= size and ARGV[at + 7 + missed] ~= ARGV[at + 6] then
      crossing[#crossing + 1] = tonumber(ARGV[at + 7 + missed])
    end
  end
  at = at + 8 + size
end
for key, kind in pairs(wanted) do
  local found = redis.call('TYPE', key).ok
  if found ~= kind and found ~= 'none' then
    return redis.error_reply('WRONGTYPE ' .. key .. ' is a ' .. found .. ', not a ' .. kind)
  end
end
if #crossing > 0 then
  return {2, 0, 0, crossing}
end

-- One trim when the list's old end is this batch byte for byte, else one by one.
local found, missing, total = {}, {}, 0
local tail = redis.call('LRANGE', KEYS[2], -count, -1)
local same = #tail == count
for i = 1, count do
  if not same then
    break
  end
  same = tail[count - i + 1] == ARGV[first + i - 1]
end
if same then
  total = count
  redis.call('LTRIM', KEYS[2], 0, -(count + 1))
else
  for i = 1, count do
    if redis.call('LREM', KEYS[2], -1, ARGV[first + i - 1]) == 1 then
      found[i] = true
      total = total + 1
    else
      missing[#missing + 1] = i
    end
  end
end
local function is_found(index)
  return same or found[index]
end

if redis.call('EXISTS', KEYS[3]) == 1 then
  for i = 1, count do
    if is_found(i) then
      redis.call('HDEL', KEYS[3], redis.sha1hex(ARGV[first + i - 1]))
    end
  end
end

at = pushes_at
for _ = 1, pushes do
  local index, key, op, payload = tonumber(take()), KEYS[tonumber(take())], take(), take()
  if is_found(index) then
    if op == 'L' then
      redis.call('LPUSH', key, payload)
    elseif op == 'R' then
      redis.call('RPUSH', key, payload)
    else
      redis.call('ZADD', key, string.format('%.0f', now_ms() + tonumber(op)), payload)
    end
  end
end

if groups == 0 then
  return {1, total, 0, missing}
end

-- A field for each hour since 1970, 24 at most; it outlives its counter by no more than one lifetime.
local function count_hour(key, hits)
  local hour = math.floor(now_ms() / 3600000)
  if redis.call('HINCRBY', key, string.format('%d', hour), hits) == hits then
    for _, each in ipairs(redis.call('HKEYS', key)) do
      if (tonumber(each) or 0) <= hour - 24 then
        redis.call('HDEL', key, each)
      end
    end
  end
  redis.call('EXPIRE', key, math.min(expiry, 86400))
end

redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', now_ms())
at = groups_at
local metas, overflow = 0, 0
for group = 1, groups do
  local counter, info, hours = KEYS[tonumber(take())], KEYS[tonumber(take())], KEYS[tonumber(take())]
  local template, sample, meta, _, size = take(), take(), take(), take(), tonumber(take())
  local hits = size
  if not same then
    hits = 0
    for i = at, at + size - 1 do
      if found[tonumber(ARGV[i])] then
        hits = hits + 1
      end
    end
  end
  at = at + size
  if past[group] then
    overflow = overflow + hits
  elseif hits > 0 then
    local reached = redis.call('INCRBY', counter, hits)
    count_hour(hours, hits)
    if fresh[group] then
      redis.call('EXPIRE', counter, expiry)
      redis.call('ZADD', KEYS[4], string.format('%.0f', now_ms() + expiry * 1000), counter)
      redis.call('HSET', info, 'template', template, 'sample', sample)
      redis.call('EXPIRE', info, expiry)
    end
    if reached >= threshold and reached - hits < threshold then
      redis.call('LPUSH', alert_queue, meta)
      redis.call('LPUSH', pending, meta)
      metas = metas + 1
    end
  end
end
if overflow > 0 and redis.call('INCRBY', KEYS[5], overflow) == overflow then
  redis.call('EXPIRE', KEYS[5], expiry)
end
return {1, total, metas, missing}
