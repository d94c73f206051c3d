-- Refreshes a worker's heartbeat only while it is still this run's own.
-- KEYS[1] heartbeat
-- ARGV[1] token  ARGV[2] time to live (ms)
-- Returns 1: refreshed, 0: absent (expired), -1: another run's token stands there.
local value = redis.call('GET', KEYS[1])
if not value then
  return 0
end
if value ~= ARGV[1] then
  return -1
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
