-- Tells the circuit how requests ended, in the order in which they ended; results of an older generation are ignored.
-- Safe to repeat: a report that counted a failure counts it once.
-- KEYS: 1 state  2 failures  3 opened_at  4 generation  5 probe's lease  6 last report of each teller that counted a failure
--       in this generation (hash)
-- ARGV: 1 failures in a row that open  2 the teller's token  3 number of its report, higher than that of the one before
--       4.. pairs of (generation in which the request began, result)
--   result: w = Moogsoft is well, f = it failed, m = misconfigured (opens at once), u = unknown (gives the lease back)
-- Returns {state, generation}.
local threshold = tonumber(ARGV[1])
local state = redis.call('GET', KEYS[1])
if state ~= 'OPEN' and state ~= 'HALF_OPEN' then
  state = 'CLOSED'
end
local generation = tonumber(redis.call('GET', KEYS[4]) or '0')

local function open()
  local time = redis.call('TIME')
  state = 'OPEN'
  redis.call('SET', KEYS[1], state)
  redis.call('SET', KEYS[3], string.format('%d.%06d', time[1], time[2]))
  redis.call('DEL', KEYS[5], KEYS[6])
  generation = redis.call('INCR', KEYS[4])
end

local function close()
  state = 'CLOSED'
  redis.call('SET', KEYS[1], state)
  redis.call('DEL', KEYS[2], KEYS[3], KEYS[5], KEYS[6])
  generation = redis.call('INCR', KEYS[4])
end

if tonumber(redis.call('HGET', KEYS[6], ARGV[2]) or '0') >= tonumber(ARGV[3]) then
  return {state, generation}
end

-- Changes nothing, but a Redis that is full lets a script go on writing whose first write takes no memory: the results
-- have to be told before any alert can be settled.
redis.call('PERSIST', KEYS[1])
local counted = false
for index = 4, #ARGV, 2 do
  if tonumber(ARGV[index]) == generation then
    local result = ARGV[index + 1]
    if state == 'CLOSED' then
      if result == 'w' then
        redis.call('DEL', KEYS[2])
      elseif result == 'f' then
        counted = true
        if redis.call('INCR', KEYS[2]) >= threshold then
          open()
        end
      elseif result == 'm' then
        open()
      end
    elseif state == 'HALF_OPEN' then
      if result == 'w' then
        close()
      elseif result == 'u' then
        redis.call('DEL', KEYS[5])
      else
        open()
      end
    end
  end
end
if counted and state == 'CLOSED' then
  redis.call('HSET', KEYS[6], ARGV[2], ARGV[3])
  redis.call('EXPIRE', KEYS[6], 3600)
end
return {state, generation}
