-- Looks for an id in part of a list of dead letters, so that no whole list crosses the network.
-- KEYS[1] dead letters (list)
-- ARGV[1] text to find  ARGV[2] first index  ARGV[3] last index
-- Returns {entries looked at, index, entry, index, entry, ...}.
local entries = redis.call('LRANGE', KEYS[1], ARGV[2], ARGV[3])
local found = {#entries}
for place, entry in ipairs(entries) do
  if string.find(entry, ARGV[1], 1, true) then
    found[#found + 1] = tonumber(ARGV[2]) + place - 1
    found[#found + 1] = entry
  end
end
return found
