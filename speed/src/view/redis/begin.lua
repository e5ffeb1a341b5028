-- Begins partitions in a shard that has no position of them.
--
-- KEYS[1]  {s<n>}:positions
-- ARGV[1]  the hour from which on nothing is missing; it never goes back
-- ARGV[2…] a partition's field, its position, and so on
--
-- When an empty shard is begun, it is noted: what readers keep of it is of no other one.

local held_from = tonumber(redis.call('HGET', KEYS[1], 'held_from') or '')
if not held_from then
    local now = redis.call('TIME')
    local begun_at = now[1] .. string.format('%06d', now[2])
    redis.call('HSET', KEYS[1], 'held_from', ARGV[1], 'kept_from', ARGV[1], 'begun_at', begun_at)
elseif held_from < tonumber(ARGV[1]) then
    redis.call('HSET', KEYS[1], 'held_from', ARGV[1])
end
for i = 2, #ARGV, 2 do
    redis.call('HSETNX', KEYS[1], ARGV[i], ARGV[i + 1])
end
return 'begun'
