-- Reads a worker's own processing list, in which there may be entries that it does not know of; changes nothing.
-- KEYS[1] heartbeat  KEYS[2] processing list  KEYS[3] recovery counts (hash)
-- ARGV[1] token
-- Returns {status, entries, recoveries}: status 0 when the heartbeat holds another token, since the list is another
-- run's then; recoveries is empty when none is on record, else a count for each entry.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return {0, {}, {}}
end
local entries, recoveries = redis.call('LRANGE', KEYS[2], 0, -1), {}
if redis.call('EXISTS', KEYS[3]) == 1 then
  for i, entry in ipairs(entries) do
    recoveries[i] = tonumber(redis.call('HGET', KEYS[3], redis.sha1hex(entry)) or '0')
  end
end
return {1, entries, recoveries}
