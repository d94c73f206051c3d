-- Looks for ids in part of a list of dead letters, so that no whole list crosses the network.
-- KEYS[1] dead letters (list)
-- ARGV[1] first index  ARGV[2] last index  ARGV[3..] ids; an empty one takes every entry, whatever it is
-- Returns {entries looked at, index, entry, index, entry, ...}.
local wanted = {}
for i = 3, #ARGV do
  wanted[ARGV[i]] = true
end
local entries = redis.call('LRANGE', KEYS[1], ARGV[1], ARGV[2])
local found = {#entries}
for place, entry in ipairs(entries) do
  -- An entry of MUTT's begins with its own members, so the first id in it is its own.
  if wanted[''] or wanted[string.match(entry, '"event_id"%s*:%s*"([^"]*)"') or 0] then
    found[#found + 1] = tonumber(ARGV[1]) + place - 1
    found[#found + 1] = entry
  end
end
return found
