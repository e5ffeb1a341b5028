-- Applies one shard's part of a fold, or changes nothing.
--
-- KEYS[1]  {s<n>}:positions
-- ARGV[1]  MessagePack: { places, gaps, cells }, as write.rs packs it
-- ARGV[2]  fields of a breakdown from which on no value of a large dimension is added
-- ARGV[3]  breakdowns of one tenant's links in this shard from which on links get none
--
-- Scripts do not roll back. So positions advance first, and whatever fails behind that is counted and told, never tried
-- again: trying again would count what did not fail twice.

-- unpack() takes some 8,000 values.
local MOST = 4000

local positions = KEYS[1]
local prefix = string.match(positions, '^{.-}:')
local batch = cmsgpack.unpack(ARGV[1])
local places, gaps, cells = batch[1], batch[2], batch[3]
local most_fields, most_breakdowns = tonumber(ARGV[2]), tonumber(ARGV[3])

-- 1. Where the shard stands.
local asked = { 'held_from' }
for i = 1, #places, 3 do
    asked[#asked + 1] = places[i]
end
local stands = redis.call('HMGET', positions, unpack(asked))
local moved = gaps
for i = 1, #places, 3 do
    if stands[(i + 2) / 3 + 1] ~= places[i + 1] then
        return { 'mismatch' }
    end
    moved[#moved + 1] = places[i]
    moved[#moved + 1] = places[i + 2]
end

-- 2. Where it stands now. Refused where memory is full, and then nothing has changed.
if #moved > 0 then
    redis.call('HSET', positions, unpack(moved))
end

-- 3. The counts.
local errors, first_error = 0, ''
local function run(...)
    local answer = redis.pcall(...)
    if type(answer) == 'table' and answer.err then
        errors = errors + 1
        first_error = answer.err
        return false
    end
    return answer
end

-- A number as text, without the seventeen digits that Redis would print and round for it.
local texts = {}
local function text(number)
    local known = texts[number]
    if not known then
        known = string.format('%d', number)
        texts[number] = known
    end
    return known
end

local function set(key, fields)
    for from = 1, #fields, MOST do
        run('HSET', key, unpack(fields, from, math.min(from + MOST - 1, #fields)))
    end
end

-- What a hash holds in the fields of a flat list of fields and numbers.
local function known(key, fields)
    local found, names = {}, {}
    for i = 1, #fields, 2 do
        names[#names + 1] = fields[i]
    end
    for from = 1, #names, MOST do
        local part = run('HMGET', key, unpack(names, from, math.min(from + MOST - 1, #names)))
        for i = 1, part and #part or 0 do
            found[from + i - 1] = part[i]
        end
    end
    return found
end

-- Adds a flat list of fields and numbers to a hash.
local function add(key, fields)
    if #fields == 0 then
        return
    end
    local found = known(key, fields)
    for i = 1, #fields / 2 do
        if found[i] then
            fields[2 * i] = text(found[i] + fields[2 * i])
        end
    end
    set(key, fields)
end

-- Adds values of large dimensions while there is room; what has none is counted under its dimension alone.
local function add_within(key, fields, length)
    local found = known(key, fields)
    local taken, left = {}, {}
    for i = 1, #fields / 2 do
        local field, count = fields[2 * i - 1], fields[2 * i]
        if found[i] then
            taken[#taken + 1] = field
            taken[#taken + 1] = text(found[i] + count)
        elseif length < most_fields then
            length = length + 1
            taken[#taken + 1] = field
            taken[#taken + 1] = count
        else
            local where, who = string.match(field, '^(-?%d+%a)([:!])')
            local name = where .. (who == ':' and '+' or '-')
            left[name] = (left[name] or 0) + count
        end
    end
    set(key, taken)
    local rest = {}
    for name, count in pairs(left) do
        rest[#rest + 1] = name
        rest[#rest + 1] = text(count)
    end
    add(key, rest)
end

-- Whether the subject has a breakdown in this hour; one that begins without room stays without for the whole hour.
local function has_breakdown(cell, totals, breakdown, length)
    if cell.top == nil or length > 0 then
        return true
    end
    if run('HEXISTS', totals, 'x') == 1 then
        return false
    end
    if tonumber(run('HGET', prefix .. 'breakdowns', cell.tenant) or 0) >= most_breakdowns then
        run('HSET', totals, 'x', '1')
        return false
    end
    run('HINCRBY', prefix .. 'breakdowns', cell.tenant, 1)
    return true
end

local scratch = prefix .. 'scratch'
local function add_visitors(cell)
    local key = prefix .. (cell.top and 'link:' or 'tenant:') .. cell.name .. ':uv:'
    for _, hour in ipairs(cell.visitors) do
        run('PFADD', key .. hour[1], unpack(hour, 2))
        run('PFADD', key .. string.sub(hour[1], 1, 10), unpack(hour, 2))
    end
    for _, hour in ipairs(cell.sketches) do
        run('SET', scratch, hour[2])
        run('PFMERGE', key .. hour[1], scratch)
        run('PFMERGE', key .. string.sub(hour[1], 1, 10), scratch)
        run('DEL', scratch)
    end
end

local registered = {}
local held_from = tonumber(stands[1] or 0)
for _, packed in ipairs(cells) do
    local cell = {
        name = packed[1], hour = packed[2], tenant = packed[3], totals = packed[4], first = packed[5], last = packed[6],
        small = packed[7], large = packed[8], visitors = packed[9], sketches = packed[10], top = packed[11], label = packed[12],
    }
    if tonumber(cell.hour) >= held_from then
        local totals = prefix .. 'totals:' .. cell.name .. ':' .. cell.hour
        add(totals, cell.totals)
        if cell.first then
            local seen = run('HMGET', totals, 'f', 'l') or {}
            local first, last = seen[1], seen[2]
            if not first or tonumber(cell.first) < tonumber(first) then first = cell.first end
            if not last or tonumber(cell.last) > tonumber(last) then last = cell.last end
            run('HSET', totals, 'f', first, 'l', last)
        end
        if #cell.small > 0 then
            local breakdown = prefix .. 'cell:' .. cell.name .. ':' .. cell.hour
            local length = run('HLEN', breakdown) or 0
            if has_breakdown(cell, totals, breakdown, length) then
                if length == 0 and (#cell.small + #cell.large) / 2 <= most_fields then
                    set(breakdown, cell.small)
                    set(breakdown, cell.large)
                else
                    add(breakdown, cell.small)
                    if length + (#cell.small + #cell.large) / 2 <= most_fields then
                        add(breakdown, cell.large)
                    else
                        add_within(breakdown, cell.large, run('HLEN', breakdown) or most_fields)
                    end
                end
                add_visitors(cell)
            end
        end
        if cell.top then
            local top = prefix .. 'top:' .. cell.tenant .. ':' .. cell.hour
            for i = 1, #cell.top, 2 do
                run('ZINCRBY', top, cell.top[i + 1], cell.top[i])
            end
        end
        local registry = prefix .. 'tenants:' .. cell.hour
        if not registered[registry .. cell.tenant] then
            registered[registry .. cell.tenant] = true
            run('SADD', registry, cell.tenant)
        end
        if cell.label then
            -- It begins with the stamp that tells which of two is the later one.
            local key = prefix .. 'label:' .. cell.name
            local there = run('GET', key)
            if not there or there < cell.label then
                run('SET', key, cell.label)
            end
        end
    end
end
return { 'applied', errors, first_error }
