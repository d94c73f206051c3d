-- Takes what several requests brought: looks at the memory and the cap, pushes, counts. All of it or none of a request.
--
-- KEYS  1 ingest queue, 2 quarantine (lists); 3 minute, 4 hour, 5 day of accepted events, 6 good events of the hour
--       (counters)
-- ARGV  1 cap of the queue, 2 percentage of maxmemory past which nothing is taken (0: do not look this time),
--       3 most entries of the quarantine, 4 to 7 seconds that KEYS[3] to KEYS[6] live,
--       8 number of single events S, 9 number of batches B, then for each batch two numbers: its events, its rejected
--       records; then S entries; then for each batch its events and its rejected records
-- Returns {1 when the memory forbids it else 0, depth of the queue, single events taken, batches taken,
--          entries that fell off the quarantine, share of maxmemory that is used (per mille, 0: without a limit, -1: not
--          looked at)}; what was taken is the first so many of each kind.
local FIXED, CHUNK = 9, 4000 -- unpack takes about 8,000 values at most

for at = 1, 2 do
  local kind = redis.call('TYPE', KEYS[at]).ok
  if kind ~= 'list' and kind ~= 'none' then
    return redis.error_reply('WRONGTYPE ' .. KEYS[at] .. ' is a ' .. kind .. ' and has to be a list')
  end
end

local depth = redis.call('LLEN', KEYS[1])
local share, permille = tonumber(ARGV[2]), -1
if share > 0 then
  permille = 0
  local info = '\n' .. redis.call('INFO', 'memory')
  local used = tonumber(info:match('\nused_memory:(%d+)'))
  local most = tonumber(info:match('\nmaxmemory:(%d+)'))
  if used and most and most > 0 then
    permille = math.floor(used * 1000 / most)
    if used * 100 > most * share then
      return {1, depth, 0, 0, 0, permille}
    end
  end
end

local function push(key, first, count)
  local last = first + count - 1
  for from = first, last, CHUNK do
    redis.call('LPUSH', key, unpack(ARGV, from, math.min(from + CHUNK - 1, last)))
  end
end

local cap, singles, batches = tonumber(ARGV[1]), tonumber(ARGV[8]), tonumber(ARGV[9])
local at = FIXED + 2 * batches + 1
local taken = math.max(0, math.min(singles, cap - depth))
push(KEYS[1], at, taken)
depth = depth + taken
at = at + singles

local events, quarantined, admitted = taken, 0, 0
for batch = 1, batches do
  if depth >= cap then break end
  local good = tonumber(ARGV[FIXED + 2 * batch - 1])
  local bad = tonumber(ARGV[FIXED + 2 * batch])
  push(KEYS[1], at, good)
  push(KEYS[2], at + good, bad)
  at = at + good + bad
  depth = depth + good
  events, quarantined, admitted = events + good, quarantined + bad, batch
end

local dropped = 0
if quarantined > 0 then
  local most = tonumber(ARGV[3])
  dropped = math.max(0, redis.call('LLEN', KEYS[2]) - most)
  if dropped > 0 then redis.call('LTRIM', KEYS[2], 0, most - 1) end
end

if events > 0 then
  for counter = 3, 6 do
    -- pcall: a counter that somebody has overwritten must not undo the reply of a push that has happened.
    if redis.pcall('INCRBY', KEYS[counter], events) == events then
      redis.pcall('EXPIRE', KEYS[counter], ARGV[counter + 1])
    end
  end
end
return {0, depth, taken, admitted, dropped, permille}
