-- Removes a worker's heartbeat at its orderly end, unless another run has taken the name.
-- KEYS[1] heartbeat
-- ARGV[1] token
-- Returns 1 when removed, else 0.
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
