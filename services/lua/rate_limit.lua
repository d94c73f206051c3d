-- Takes as many of the wanted tokens as the sliding window has left; the window is (now - period, now].
-- KEYS: 1 the window (sorted set, one member a token, score = microseconds of Redis's clock)
-- ARGV: 1 limit (tokens a period)  2 period in microseconds  3 tokens wanted  4 a text that no other call uses
-- Returns {tokens granted, milliseconds until one more token is free (0: all were granted), now in microseconds}.
local limit, period, wanted = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local function score(number)
  return string.format('%.0f', number)
end

redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', score(now - period))
-- A clock set back, as by a fail-over, leaves tokens of the future, which would block until it is reached again.
redis.call('ZREMRANGEBYSCORE', KEYS[1], '(' .. score(now), '+inf')
local used = redis.call('ZCARD', KEYS[1])
local granted = math.max(0, math.min(wanted, limit - used))
local members, at = {}, score(now)
for index = 1, granted do
  members[#members + 1] = at
  members[#members + 1] = ARGV[4] .. ':' .. index
  if #members == 1000 or index == granted then
    redis.call('ZADD', KEYS[1], unpack(members))
    members = {}
  end
end
if granted > 0 then
  redis.call('PEXPIRE', KEYS[1], math.ceil(period / 1000) + 1000)
end
if granted == wanted then
  return {granted, 0, now}
end
-- The next token is free when so many have left the window that fewer than the limit stay.
local leaving = redis.call('ZRANGE', KEYS[1], used + granted - limit, used + granted - limit, 'WITHSCORES')
return {granted, math.max(1, math.ceil((leaving[2] + period - now) / 1000)), now}
