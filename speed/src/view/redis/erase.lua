-- Deletes what a shard received of an erased subject before an hour, some of it at a time; behind delete.lua.
--
-- KEYS[1]  {s<n>}:positions
-- ARGV[1]  the tenant
-- ARGV[2]  the link, or nothing for all of the tenant
-- ARGV[3]  the hour
-- ARGV[4]  subjects to delete at most
--
-- Returns 1 while something is left. Sketches do not tell when a visitor came: those that an erased click is in go as a
-- whole, whatever later clicks they count.

local tenant, link, left = ARGV[1], ARGV[2], tonumber(ARGV[4])
if not held_from then
    return 0
end
local below = math.min(tonumber(ARGV[3]), newest + 1)

for hour = kept_from, below - 1 do
    local top = prefix .. 'top:' .. tenant .. ':' .. hour
    if link ~= '' then
        local name = tenant .. '/' .. link
        for _, field in ipairs(redis.call('HKEYS', prefix .. 'totals:' .. name .. ':' .. hour)) do
            local quarter = string.match(field, '^(-?%d+)[bp]?$')
            if quarter then
                local member = math.floor((hour * 4 + quarter) / 4) .. '|' .. link
                redis.call('ZREM', top, member, member .. '|b', member .. '|p')
            end
        end
        delete('link:', name, tenant, hour, below, below - 1)
    else
        while left > 0 do
            local popped = redis.call('ZPOPMIN', top, math.min(left, 100))
            if #popped == 0 then
                break
            end
            for i = 1, #popped, 2 do
                local name = tenant .. '/' .. string.match(popped[i], '^[^|]*|(%d+)')
                delete('link:', name, tenant, hour, below, below - 1)
            end
            left = left - #popped / 2
        end
        if left <= 0 then
            return 1
        end
        delete('tenant:', tenant, tenant, hour, below, below - 1)
        redis.call('UNLINK', prefix .. 'repeats:' .. tenant .. ':' .. hour)
        redis.call('SREM', prefix .. 'tenants:' .. hour, tenant)
    end
end
return 0
