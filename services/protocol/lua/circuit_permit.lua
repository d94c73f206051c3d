-- Tells whether a request may be sent now; takes the probe's lease where the circuit is due for a probe.
-- KEYS: 1 state  2 failures  3 opened_at  4 generation  5 probe's lease  6 alert queue (list)  7 waiting retries (zset)
-- ARGV: 1 open time in ms  2 lease in ms  3 the asker's token
-- Returns {state, generation, 1 = may send / 0 = not, ms to wait before asking again}.
-- A HALF_OPEN answer with 1 is a permission for one request: the caller holds the lease until it reports a result.
local open_ms = tonumber(ARGV[1])
local state = redis.call('GET', KEYS[1])
local generation = tonumber(redis.call('GET', KEYS[4]) or '0')
if state ~= 'OPEN' and state ~= 'HALF_OPEN' then
  return {'CLOSED', generation, 1, 0}
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if state == 'OPEN' then
  local opened = tonumber(redis.call('GET', KEYS[3]) or '')
  if not opened or opened * 1000 > now then
    -- Opened by hand, or the timestamp was lost, or the clock was set back: its time begins now.
    opened = now / 1000
    redis.call('DEL', KEYS[3]) -- first what frees memory: see below
    redis.call('SET', KEYS[3], string.format('%.3f', opened))
  end
  local left = opened * 1000 + open_ms - now
  if left > 0 then
    return {'OPEN', generation, 0, math.ceil(left)}
  end
end

local holder = redis.call('GET', KEYS[5])
if holder == ARGV[3] and state == 'HALF_OPEN' then
  return {'HALF_OPEN', generation, 1, 0}
end
if holder then
  return {state, generation, 0, math.max(1, redis.call('PTTL', KEYS[5]))}
end
local waiting = redis.call('LLEN', KEYS[6])
  + redis.call('ZCOUNT', KEYS[7], '-inf', string.format('%.0f', now))
if waiting == 0 then
  return {state, generation, 0, 0}
end
redis.call('DEL', KEYS[5]) -- first what frees memory: a Redis that is full lets the script write then
redis.call('SET', KEYS[5], ARGV[3], 'PX', ARGV[2])
redis.call('SET', KEYS[1], 'HALF_OPEN')
return {'HALF_OPEN', redis.call('INCR', KEYS[4]), 1, 0}
