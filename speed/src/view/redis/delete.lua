-- What the scripts that delete have in common: how a shard stands, and what there is of one subject.
--
-- KEYS[1]  {s<n>}:positions

local positions = KEYS[1]
local prefix = string.match(positions, '^{.-}:')

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
    local fields = redis.pcall('HKEYS', totals)
    if fields.err then
        -- A key of another type holds no counts, and is in the way of some: it goes like one that does.
        return true
    end
    for _, field in ipairs(fields) do
        local quarter = string.match(field, '^(-?%d+)$')
        if quarter then
            local date, date_and_hour = text_of(math.floor((hour * 4 + quarter) / 4))
            into[date], into[date_and_hour] = true, true
        end
    end
    return #fields > 0
end

-- Deletes what was received of a subject in an hour. What hours from `below` up to `last` speak of, too, stays.
local function delete(kind, name, tenant, hour, below, last)
    local gone, stay, goes_on = {}, {}, false
    local totals = prefix .. 'totals:' .. name .. ':'
    if not sketches(totals .. hour, hour, gone) then
        return
    end
    for later = below, last do
        goes_on = sketches(totals .. later, later, stay) or goes_on
    end
    for sketch in pairs(gone) do
        -- A date's visitors are of this received hour alone; its sketch is of all.
        if #sketch == 10 then
            redis.call('UNLINK', prefix .. 'visitors:' .. name .. ':' .. hour .. ':' .. sketch)
        end
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
