-- Claims a batch: moves entries from the right end of a queue to the left end of this worker's processing list.
-- KEYS[1] heartbeat  KEYS[2] processing list  KEYS[3] queue  KEYS[4] recovery counts (hash)
-- KEYS[5..] queues whose depth the caller wants to know
-- ARGV[1] token  ARGV[2] most entries  ARGV[3] most bytes  ARGV[4] SHA-1 of an entry claimed just before ('' if none)
-- ARGV[5] most entries of a batch of those that were recovered once
-- Returns {status, recoveries, depths, entries}: status 1, or 0 when the heartbeat holds another token; recoveries says
-- how often each of the entries was recovered. A batch holds entries that never were, or few that were once, or one that
-- was more often: so an entry that kills its worker is soon claimed alone, and no other gathers more than two of its counts.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return {0, 0, {}, {}}
end

local depths = {}
for i = 5, #KEYS do
  local kind = redis.call('TYPE', KEYS[i]).ok
  if kind == 'list' then
    depths[#depths + 1] = redis.call('LLEN', KEYS[i])
  elseif kind == 'zset' then
    depths[#depths + 1] = redis.call('ZCARD', KEYS[i])
  else
    depths[#depths + 1] = 0
  end
end

local counted = redis.call('EXISTS', KEYS[4]) == 1
if counted and ARGV[4] ~= '' then
  local count = redis.call('HGET', KEYS[4], ARGV[4])
  if count then
    return {1, tonumber(count), depths, {}}
  end
end

local most = tonumber(ARGV[2])
if most < 1 then
  return {1, 0, depths, {}}
end
local tail = redis.call('LRANGE', KEYS[3], -most, -1)
local together, most_bytes = tonumber(ARGV[5]), tonumber(ARGV[3])
local taken, size, bytes, recoveries = {}, 0, 0, 0
for i = #tail, 1, -1 do
  local entry = tail[i]
  if counted then
    local count = tonumber(redis.call('HGET', KEYS[4], redis.sha1hex(entry)) or '0')
    if size == 0 and ARGV[4] == '' then
      recoveries = count
    elseif count ~= recoveries or count > 1 or (count == 1 and size >= together) then
      break
    end
  end
  bytes = bytes + #entry
  if size > 0 and bytes > most_bytes then
    break
  end
  size = size + 1
  taken[size] = entry
end

if size > 0 then
  local kind = redis.call('TYPE', KEYS[2]).ok
  if kind ~= 'list' and kind ~= 'none' then
    return redis.error_reply('WRONGTYPE ' .. KEYS[2] .. ' is a ' .. kind .. ', not a list')
  end
  -- Out of the queue first: a Redis that is full refuses a script whose first write takes memory, and would stay full.
  redis.call('LTRIM', KEYS[3], 0, -(size + 1))
  redis.call('LPUSH', KEYS[2], unpack(taken))
end
return {1, recoveries, depths, taken}
