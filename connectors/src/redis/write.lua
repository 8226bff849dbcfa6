-- Writes balances over those of lower offsets and moves positions, if the claim still holds; returns 0 if it does not.
-- KEYS: claims, positions.  ARGV: task, claim, key prefix of balances, number of positions,
-- then (field, position) for each position and (account, version, available, pending, currency, last_updated) for each
-- balance.
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then
  return 0
end
local at = 5
for _ = 1, tonumber(ARGV[4]) do
  redis.call('HSET', KEYS[2], ARGV[at], ARGV[at + 1])
  at = at + 2
end
while at <= #ARGV do
  local key = ARGV[3] .. ARGV[at]
  local version = redis.call('HGET', key, 'version')
  if not version or tonumber(version) < tonumber(ARGV[at + 1]) then
    redis.call('HSET', key, 'version', ARGV[at + 1], 'available', ARGV[at + 2], 'pending', ARGV[at + 3],
      'currency', ARGV[at + 4], 'last_updated', ARGV[at + 5])
  end
  at = at + 6
end
return 1
