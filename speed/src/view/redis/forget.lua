-- Deletes what a shard received before an hour, some of it at a time; behind delete.lua.
--
-- KEYS[1]  {s<n>}:positions
-- ARGV[1]  the hour, or 'all' to empty the shard
-- ARGV[2]  subjects to delete at most
-- ARGV[3…] fields of gaps that are told no longer
--
-- Returns 1 while something is left. Readers learn first that it goes: held_from is raised before anything is deleted.
-- kept_from is the oldest hour of which something may be left, so that what a crash leaves is deleted the next time.

local left = tonumber(ARGV[2])
if not held_from then
    return 0
end
local below = ARGV[1] == 'all' and newest + 1 or tonumber(ARGV[1])
if held_from < below then
    redis.call('HSET', positions, 'held_from', below)
end
if #ARGV > 2 then
    redis.call('HDEL', positions, unpack(ARGV, 3))
end

while kept_from < below do
    local registry = prefix .. 'tenants:' .. kept_from
    local tenant = redis.call('SRANDMEMBER', registry)
    while tenant do
        local top = prefix .. 'top:' .. tenant .. ':' .. kept_from
        while left > 0 do
            local popped = redis.call('ZPOPMIN', top, math.min(left, 100))
            if #popped == 0 then
                break
            end
            for i = 1, #popped, 2 do
                delete('link:', tenant .. '/' .. string.match(popped[i], '^[^|]*|(%d+)'), tenant, kept_from, below, newest)
            end
            left = left - #popped / 2
        end
        if left <= 0 then
            return 1
        end
        delete('tenant:', tenant, tenant, kept_from, below, newest)
        redis.call('UNLINK', prefix .. 'repeats:' .. tenant .. ':' .. kept_from)
        redis.call('SREM', registry, tenant)
        left = left - 1
        tenant = redis.call('SRANDMEMBER', registry)
    end
    redis.call('UNLINK', prefix .. 'visits:' .. kept_from)
    kept_from = kept_from + 1
    redis.call('HSET', positions, 'kept_from', kept_from)
end
if ARGV[1] == 'all' then
    redis.call('UNLINK', positions, prefix .. 'rates', prefix .. 'rates:before')
end
return 0
