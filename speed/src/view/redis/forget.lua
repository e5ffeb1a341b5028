-- Deletes what a shard received before an hour, some of it at a time.
--
-- KEYS[1]  {s<n>}:positions
-- ARGV[1]  the hour, or 'all' to empty the shard
-- ARGV[2]  subjects to delete at most
-- ARGV[3…] fields of gaps that are told no longer
--
-- Returns 1 while something is left. Readers learn first that it goes: held_from is raised before anything is deleted.
-- kept_from is the oldest hour of which something may be left, so that what a crash leaves is deleted the next time.

local positions = KEYS[1]
local prefix = string.match(positions, '^{.-}:')
local left = tonumber(ARGV[2])

local held_from, kept_from, newest = nil, nil, 0
local state = redis.call('HGETALL', positions)
for i = 1, #state, 2 do
    local received = string.match(state[i + 1], ':(-?%d+)$')
    if state[i] == 'held_from' then
        held_from = tonumber(state[i + 1])
    elseif state[i] == 'kept_from' then
        kept_from = tonumber(state[i + 1])
    elseif received then
        newest = math.max(newest, math.floor(received / 3600000))
    end
end
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

-- The UTC date of an hour since 1970 and its hour of the day (the proleptic Gregorian calendar, counted from 0000-03-01).
local function text_of(hour)
    local days = math.floor(hour / 24)
    local z = days + 719468
    local era = math.floor(z / 146097)
    local day_of_era = z - era * 146097
    local year_of_era = math.floor((day_of_era - math.floor(day_of_era / 1460) + math.floor(day_of_era / 36524)
        - math.floor(day_of_era / 146096)) / 365)
    local day_of_year = day_of_era - (365 * year_of_era + math.floor(year_of_era / 4) - math.floor(year_of_era / 100))
    local month = math.floor((5 * day_of_year + 2) / 153)
    local day = day_of_year - math.floor((153 * month + 2) / 5) + 1
    month = month < 10 and month + 3 or month - 9
    local year = year_of_era + era * 400 + (month <= 2 and 1 or 0)
    local date = string.format('%04d-%02d-%02d', year, month, day)
    return date, string.format('%sT%02d', date, hour - days * 24)
end

-- The sketches that a subject's totals of a received hour speak of, by name.
local function sketches(totals, hour, into)
    local fields = redis.call('HKEYS', totals)
    for _, field in ipairs(fields) do
        local quarter = string.match(field, '^(-?%d+)$')
        if quarter then
            local date, date_and_hour = text_of(math.floor((hour * 4 + quarter) / 4))
            into[date], into[date_and_hour] = true, true
        end
    end
    return #fields > 0
end

local function delete(kind, name, tenant, hour)
    local gone, stay, goes_on = {}, {}, false
    local totals = prefix .. 'totals:' .. name .. ':'
    if not sketches(totals .. hour, hour, gone) then
        return
    end
    for later = below, newest do
        goes_on = sketches(totals .. later, later, stay) or goes_on
    end
    for sketch in pairs(gone) do
        if not stay[sketch] then
            redis.call('UNLINK', prefix .. kind .. name .. ':uv:' .. sketch)
        end
    end
    if not goes_on then
        redis.call('UNLINK', prefix .. 'label:' .. name)
    end
    redis.call('UNLINK', totals .. hour)
    if redis.call('UNLINK', prefix .. 'cell:' .. name .. ':' .. hour) == 1 and kind == 'link:' then
        if redis.call('HINCRBY', prefix .. 'breakdowns', tenant, -1) <= 0 then
            redis.call('HDEL', prefix .. 'breakdowns', tenant)
        end
    end
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
                delete('link:', tenant .. '/' .. string.match(popped[i], '^[^|]*|(%d+)'), tenant, kept_from)
            end
            left = left - #popped / 2
        end
        if left <= 0 then
            return 1
        end
        delete('tenant:', tenant, tenant, kept_from)
        redis.call('SREM', registry, tenant)
        left = left - 1
        tenant = redis.call('SRANDMEMBER', registry)
    end
    kept_from = kept_from + 1
    redis.call('HSET', positions, 'kept_from', kept_from)
end
if ARGV[1] == 'all' then
    redis.call('UNLINK', positions)
end
return 0
