-- Closes a circuit whose open time is over when nothing is left that could be its probe.
-- KEYS: 1 state  2 failures  3 opened_at  4 generation  5 probe's lease  6 alert queue (list)  7 waiting retries (zset)
--       8 dead letters (list)
-- ARGV: 1 open time in ms
-- Returns 'closed' (it is closed now), 'empty' (its time is over, nothing waits, but there are dead letters: release
-- one as the probe) or 'wait' (not over, or an alert waits, or a probe is under way, or it was closed already).
local state = redis.call('GET', KEYS[1])
if state ~= 'OPEN' and state ~= 'HALF_OPEN' then
  return 'wait'
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local opened = tonumber(redis.call('GET', KEYS[3]) or '')
if state == 'OPEN' and (not opened or opened * 1000 > now) then
  -- Opened by hand, or the timestamp was lost, or the clock was set back: its time begins now.
  redis.call('DEL', KEYS[3]) -- first what frees memory: a Redis that is full lets the script write then
  redis.call('SET', KEYS[3], string.format('%.3f', now / 1000))
  return 'wait'
end
if state == 'OPEN' and opened * 1000 + ARGV[1] > now then
  return 'wait'
end
if redis.call('EXISTS', KEYS[5]) == 1 or redis.call('LLEN', KEYS[6]) > 0 or redis.call('ZCARD', KEYS[7]) > 0 then
  return 'wait'
end
if redis.call('LLEN', KEYS[8]) > 0 then
  return 'empty'
end
redis.call('DEL', KEYS[2], KEYS[3])
redis.call('SET', KEYS[1], 'CLOSED')
redis.call('INCR', KEYS[4])
return 'closed'
