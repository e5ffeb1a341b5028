-- Applies one shard's part of a fold, or changes nothing.
--
-- KEYS[1]  {s<n>}:positions
-- ARGV[1]  MessagePack: { places, gaps, cells }, as pack.rs packs it
-- ARGV[2]  fields of a breakdown from which on no value of a large dimension is added
-- ARGV[3]  breakdowns of one tenant's links in this shard from which on links get none
-- ARGV[4]  members of a set of visitors above which they are too many, and nobody is added
-- ARGV[5]  samples of an address in a minute above which it is suspected
-- ARGV[6]  the minute of received time in which the fold ends
-- ARGV[7]  minutes behind which addresses that were not seen since are forgotten
-- ARGV[8]  addresses from which on they are as well
-- ARGV[9]  the field in which suspected clicks are counted, behind the quarter
--
-- Scripts do not roll back. So positions advance first, and whatever fails behind that is counted and told, never tried
-- again: trying again would count what did not fail twice.

-- unpack() takes some 8,000 values.
local MOST = 4000

local positions = KEYS[1]
local prefix = string.match(positions, '^{.-}:')
local batch = cmsgpack.unpack(ARGV[1])
local places, gaps, cells = batch[1], batch[2], batch[3]
local most_fields, most_breakdowns, most_visitors = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local most_samples, minute = tonumber(ARGV[5]), tonumber(ARGV[6])
local followed_minutes, most_addresses, suspected = tonumber(ARGV[7]), tonumber(ARGV[8]), ARGV[9]

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
    local names = {}
    for i = 1, #fields / 2 do
        names[i] = fields[2 * i - 1]
    end
    if #names <= MOST then
        return run('HMGET', key, unpack(names)) or {}
    end
    local found = {}
    for from = 1, #names, MOST do
        local part = run('HMGET', key, unpack(names, from, math.min(from + MOST - 1, #names))) or {}
        for i = 1, #part do
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

-- Adds those from a place on while there is room; what has none is counted under its dimension alone.
local function add_within(key, fields, large, length)
    local found = known(key, fields)
    local taken, left = {}, {}
    for i = 1, #fields / 2 do
        local field, count = fields[2 * i - 1], fields[2 * i]
        if found[i] then
            taken[#taken + 1] = field
            taken[#taken + 1] = text(found[i] + count)
        elseif i < large or length < most_fields then
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

-- Adds a subject's totals, and widens the time from its first to its last click. Returns whether its breakdown is left out.
local function add_totals(key, fields, first, last)
    local count = #fields
    fields[count + 1], fields[count + 2] = 'f', first or ''
    fields[count + 3], fields[count + 4] = 'l', last or ''
    fields[count + 5], fields[count + 6] = 'x', ''
    local found = known(key, fields)
    for i = 1, count / 2 do
        if found[i] then
            fields[2 * i] = text(found[i] + fields[2 * i])
        end
    end
    local was_first, was_last, left_out = found[count / 2 + 1], found[count / 2 + 2], found[count / 2 + 3]
    for i = count + 1, count + 6 do
        fields[i] = nil
    end
    if first then
        if was_first and tonumber(was_first) < tonumber(first) then first = was_first end
        if was_last and tonumber(was_last) > tonumber(last) then last = was_last end
        fields[count + 1], fields[count + 2], fields[count + 3], fields[count + 4] = 'f', first, 'l', last
    end
    set(key, fields)
    return left_out
end

-- Breakdowns of each tenant's links in this shard.
local breakdowns = {}
local function room_for(tenant)
    if not breakdowns[tenant] then
        breakdowns[tenant] = tonumber(run('HGET', prefix .. 'breakdowns', tenant) or 0)
    end
    if breakdowns[tenant] >= most_breakdowns then
        return false
    end
    breakdowns[tenant] = breakdowns[tenant] + 1
    return true
end

local scratch = prefix .. 'scratch'
local function add_visitors(key, few, many)
    for _, hour in ipairs(few) do
        run('PFADD', key .. hour[1], unpack(hour, 2))
        run('PFADD', key .. string.sub(hour[1], 1, 10), unpack(hour, 2))
    end
    for _, hour in ipairs(many) do
        run('SET', scratch, hour[2])
        run('PFMERGE', key .. hour[1], scratch)
        run('PFMERGE', key .. string.sub(hour[1], 1, 10), scratch)
        run('DEL', scratch)
    end
end

-- Members are whole numbers, which Redis keeps in eight bytes each.
local function add_to_sets(key, days, is_new)
    for _, day in ipairs(days) do
        local set = key .. day[1]
        if is_new or (run('SCARD', set) or 0) <= most_visitors then
            run('SADD', set, unpack(day, 2))
        end
    end
end

-- Spans of milliseconds, '<first>:<last>' or '<first>', apart by spaces.
local function add_spans(spans, text)
    for first, last in string.gmatch(text, '(-?%d+):?(-?%d*)') do
        spans[#spans + 1] = { tonumber(first), tonumber(last) or tonumber(first) }
    end
end

-- Two texts of spans as one. A span that joins another begins with a repeat, which is told by its quarter.
local function joined(one, other, window, repeats)
    local spans, texts, first, last = {}, {}, nil, nil
    local function finish()
        texts[#texts + 1] = string.format(last > first and '%d:%d' or '%d', first, last)
    end
    add_spans(spans, one)
    add_spans(spans, other)
    table.sort(spans, function(a, b) return a[1] < b[1] end)
    for _, span in ipairs(spans) do
        if first and span[1] <= last + window then
            local quarter = math.floor(span[1] / 900000)
            repeats[quarter] = (repeats[quarter] or 0) + 1
            last = math.max(last, span[2])
        else
            if first then finish() end
            first, last = span[1], span[2]
        end
    end
    finish()
    return table.concat(texts, ' ')
end

-- Visits of this fold by received hour: who, when, and of which link.
local visited = {}
local function gather_visits(hour, visits, totals_key, repeats)
    local of_hour = visited[hour]
    if not of_hour then
        of_hour = { fields = {}, links = {} }
        visited[hour] = of_hour
    end
    local fields, links = of_hour.fields, of_hour.links
    local link = { window = tonumber(visits[1]), totals_key = totals_key, repeats = repeats }
    for i = 1, #visits[3], 2 do
        fields[#fields + 1], fields[#fields + 2] = visits[3][i], visits[3][i + 1]
        links[#links + 1] = link
    end
end

-- Adds when visitors clicked, and counts what became a repeat with it. What is compared lives on for two hours behind the
-- last of them: one of these may be what is left of the hour of receipt.
local function add_visits(hour, fields, links)
    local key = prefix .. 'visits:' .. hour
    local found = known(key, fields)
    for i = 1, #fields / 2 do
        if found[i] then
            local link, late = links[i], {}
            fields[2 * i] = joined(found[i], fields[2 * i], link.window, late)
            for quarter, count in pairs(late) do
                run('HINCRBY', link.totals_key, text(quarter) .. 'r', text(count))
                link.repeats[quarter] = (link.repeats[quarter] or 0) + count
            end
        end
    end
    set(key, fields)
    run('EXPIRE', key, 7200)
end

-- Minutes of addresses of this fold: which, samples and clicks, and where they are counted once they are suspected.
local minutes_of, cells_of = {}, {}
local function gather_rates(key, minutes)
    for i = 1, #minutes, 4 do
        local at = #cells_of + 1
        minutes_of[2 * at - 1] = minutes[i]
        cells_of[at] = { samples = minutes[i + 1], clicks = minutes[i + 2], key = key, field = minutes[i + 3] .. suspected }
    end
end

-- Samples and clicks of an address are one number: the former from this bit on.
local SAMPLES = 2 ^ 26
-- Adds what came of addresses; a minute that exceeds the pace is suspected with all clicks that were told of.
local function add_rates()
    local rates, before = prefix .. 'rates', prefix .. 'rates:before'
    local began, addresses = tonumber(run('HGET', rates, '') or nil), run('HLEN', rates) or 0
    if not began or minute - began >= followed_minutes or addresses > most_addresses then
        run('UNLINK', before)
        if began then
            run('RENAME', rates, before)
        end
        run('HSET', rates, '', text(minute))
    end
    for i = 1, #cells_of do
        minutes_of[2 * i] = ''
    end
    local now, earlier = known(rates, minutes_of), known(before, minutes_of)
    for i = 1, #cells_of do
        local cell = cells_of[i]
        local sum = tonumber(now[i] or earlier[i] or 0) + SAMPLES * cell.samples + cell.clicks
        minutes_of[2 * i] = string.format('%d', sum)
        local samples = math.floor(sum / SAMPLES)
        if samples > most_samples then
            local all = samples - cell.samples > most_samples and cell.clicks or sum % SAMPLES
            run('HINCRBY', cell.key, cell.field, text(all))
        end
    end
    set(rates, minutes_of)
end

local registered, repeated = {}, {}
local held_from = tonumber(stands[1] or 0)
for _, cell in ipairs(cells) do
    local name, hour, tenant, totals, first, last = cell[1], cell[2], cell[3], cell[4], cell[5], cell[6]
    local values, large, few, many, top, label = cell[7], cell[8], cell[9], cell[10], cell[11], cell[12]
    local days, visits, minutes = cell[13], cell[14], cell[15]
    if tonumber(hour) >= held_from then
        local totals_key = prefix .. 'totals:' .. name .. ':' .. hour
        local left_out = add_totals(totals_key, totals, first, last)
        if visits then
            local key = prefix .. 'repeats:' .. tenant .. ':' .. hour
            local repeats = repeated[key] or {}
            repeated[key] = repeats
            for i = 1, #visits[2], 2 do
                local quarter = tonumber(visits[2][i])
                repeats[quarter] = (repeats[quarter] or 0) + visits[2][i + 1]
            end
            gather_visits(hour, visits, totals_key, repeats)
        end
        if #values > 0 and not left_out then
            local key = prefix .. 'cell:' .. name .. ':' .. hour
            local length = run('HLEN', key) or 0
            -- A breakdown that begins without room stays away for the whole hour.
            if length == 0 and top and not room_for(tenant) then
                run('HSET', totals_key, 'x', '1')
            else
                if length + #values / 2 > most_fields then
                    add_within(key, values, large, length)
                elseif length == 0 then
                    set(key, values)
                else
                    add(key, values)
                end
                add_visitors(prefix .. (top and 'link:' or 'tenant:') .. name .. ':uv:', few, many)
                add_to_sets(prefix .. 'visitors:' .. name .. ':' .. hour .. ':', days, length == 0)
                gather_rates(key, minutes)
            end
        end
        if top then
            local key = prefix .. 'top:' .. tenant .. ':' .. hour
            for i = 1, #top, 2 do
                run('ZINCRBY', key, top[i + 1], top[i])
            end
        end
        local registry = prefix .. 'tenants:' .. hour
        if not registered[registry .. tenant] then
            registered[registry .. tenant] = true
            run('SADD', registry, tenant)
        end
        if label then
            -- It begins with the stamp that tells which of two is the later one.
            local key = prefix .. 'label:' .. name
            local there = run('GET', key)
            if not there or there < label then
                run('SET', key, label)
            end
        end
    end
end
for hour, of_hour in pairs(visited) do
    add_visits(hour, of_hour.fields, of_hour.links)
end
if #cells_of > 0 then
    add_rates()
end
for key, quarters in pairs(repeated) do
    for quarter, count in pairs(quarters) do
        run('HINCRBY', key, text(quarter), text(count))
    end
end
for tenant, count in pairs(breakdowns) do
    run('HSET', prefix .. 'breakdowns', tenant, text(count))
end
return { 'applied', errors, first_error }
