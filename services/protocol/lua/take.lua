-- Takes a name for this run: sets a heartbeat or lease that nobody refreshes, or whoever holds it.
-- KEYS[1] heartbeat
-- ARGV[1] token  ARGV[2] time to live (ms)  ARGV[3] '1': only where there is none
-- Returns 1: taken, 0: there is one.
if ARGV[3] == '1' and redis.call('EXISTS', KEYS[1]) == 1 then
  return 0
end
-- A script whose first write frees memory is not refused in the middle by a Redis that is full: one that emptied no
-- queue could never become less full.
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
