-- Makes the owner the holder of the task and returns the claim: the epoch, which grows with every claim, and the owner.
-- KEYS: claims.  ARGV: task, owner.
local claim = redis.call('HGET', KEYS[1], ARGV[1])
local epoch = claim and tonumber(string.match(claim, '^%d+')) or 0
claim = string.format('%d', epoch + 1) .. ' ' .. ARGV[2]
redis.call('HSET', KEYS[1], ARGV[1], claim)
return claim
