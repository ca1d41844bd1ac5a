-- Carries out one batch whole or not at all (core/batch.py says what a batch is, engines/embedded.py how it is decided).
-- KEYS: the shard's event counter, event stream, due index, operations by age, deleted sessions. ARGV[3]: the batch. ARGV[4], ...:
-- texts that are stored as they are (entries, JSON values); the batch names them by their place in ARGV.
-- quick.lua, which stands before this, has read the batch and the time.
--
-- First everything is decided on drafts, with reads only; a guard that does not hold ends the call. Then the drafts are
-- written. Nothing else runs in between: the server runs one script at a time.

local OPERATION_LIFE = 48 * 60 * 60 * 1000 -- milliseconds: a net below purging, which removes what is a day old
local REDACTED, COUNTED = 1, 2 -- what stands last in an entry that is one of these

local drafts, aliases, leases = {}, {}, {} -- each by name, and in the order of their first use
local moved, epochs, fences, noted, redacted = {}, {}, {}, {}, {}
-- Made when they are needed, each in the file of its name.
local answers_part, data_part, making_part, moving_part, names_part
local answers, patch, making, moving, names

-- -- drafts ------------------------------------------------------------------------------------------------------------

-- A session to work on. Owner, tags, home, creation and lineage are read where they are needed.
local function read(id)
  local row = call('HMGET', mine .. 's:' .. id, 'k', 's', 'v', 'p', 'm', 'a', 'b', 'd', 'e', 'q', 'n', 'x', 'h')
  if not row[1] then
    return nil
  end
  local phase, bucket = tonumber(row[4]), tonumber(row[7])
  local deadline, ended = row[8] and tonumber(row[8]) or nil, row[9] and tonumber(row[9]) or nil
  return {
    id = id, kind = row[1], state = row[2], version = tonumber(row[3]), phase = phase, mark = tonumber(row[5]),
    active = tonumber(row[6]), bucket = bucket, deadline = deadline, ended = ended, last = tonumber(row[10]),
    counted = row[11], event = row[12] or 0, home = row[13],
    was_state = row[2], was_phase = phase, was_bucket = bucket, was_deadline = deadline, was_ended = ended,
  }
end

local function find(id)
  local draft = drafts[id]
  if not draft then
    draft = read(id)
    if draft then
      drafts[id] = draft
      drafts[#drafts + 1] = draft
    end
  end
  if draft and draft.state ~= 'deleted' then
    if batch.home ~= '' and draft.home ~= batch.home then
      error({ err = 'HOME a batch of home ' .. batch.home .. ' names session ' .. id .. ' of home ' .. draft.home })
    end
    return draft
  end
end

local function counters_of(draft)
  if not draft.counters then
    draft.counters = cjson.decode(draft.counted)
  end
  return draft.counters
end

-- The counters as JSON text.
local function counted(draft)
  if draft.counters then
    local list = {}
    for name, value in pairs(draft.counters) do
      list[#list + 1] = quote(name) .. ':' .. whole(value)
    end
    draft.counted = '{' .. table.concat(list, ',') .. '}'
  end
  return draft.counted
end

-- -- guards ------------------------------------------------------------------------------------------------------------

local function refuse(reason, id, what, value)
  local found = what and ',"' .. what .. '":' .. value or ''
  return '{"reason":"' .. reason .. '","id":"' .. id .. '"' .. found .. '}'
end

-- Whether an author has a counted entry in this phase.
local function spoken(draft, author)
  return draft.heard and draft.heard[author]
    or not draft.fresh and draft.phase == draft.was_phase and call('HEXISTS', mine .. 'p:' .. draft.id, author) == 1
end

-- The refusal of a guard that does not hold.
local function refused(draft, guard)
  local reason
  now = math.max(now, draft.mark)
  if guard.open and draft.state ~= 'active' and draft.state ~= 'pending' then
    reason = draft.state == 'archived' and 'archived' or 'ended'
  elseif guard.version and draft.version ~= guard.version then
    reason = 'version'
  elseif guard.phase and draft.phase ~= guard.phase then
    reason = 'phase'
  elseif guard.timely and draft.deadline and now >= draft.deadline then
    reason = 'expired'
  elseif guard.due and (not draft.deadline or now < draft.deadline) then
    reason = 'early'
  elseif guard.silent and spoken(draft, guard.silent) then
    reason = 'spoken'
  end
  if reason then
    answers = answers or answers_part()
    return answers.refuse(reason, draft)
  elseif guard.fence or guard.lease then
    names = names or names_part()
  end
  if guard.lease then
    local lease = names.lease_of(guard.lease[1])
    if lease.fence ~= guard.lease[2] or not lease.holder or clock >= lease.expires then
      return names.refuse_lease('fence', draft.id, lease)
    end
  end
  if guard.fence then
    local name, counters = 'fence:' .. guard.fence[1], counters_of(draft)
    if (counters[name] or 0) > guard.fence[2] then
      return names.refuse_lease('fence', draft.id, { name = guard.fence[1], fence = counters[name], expires = 0 })
    end
    counters[name] = guard.fence[2]
  end
end

-- The draft of a change whose guards hold, at its next version; or nil and the refusal.
local function guarded(change)
  local draft = find(change.id)
  if not draft then
    return nil, refuse('missing', change.id)
  end
  local refusal = refused(draft, change.guard)
  if not refusal and change.keyed then
    answers = answers or answers_part()
    refusal = answers.clash(draft, change.entries) and answers.refuse('key', draft) or nil
  end
  if refusal then
    return nil, refusal
  end
  draft.mark, draft.moved = now, true -- the session's time: never behind what an earlier commit saw
  draft.version = draft.version + 1
  return draft
end

-- -- steps of changes --------------------------------------------------------------------------------------------------

local function report(draft, first, last)
  moved[#moved + 1] = '["' .. draft.id .. '",' .. draft.version .. ',' .. draft.phase .. ',' .. first .. ',' .. last .. ',"'
    .. draft.state .. '",' .. whole(draft.deadline) .. ',' .. counted(draft) .. ']'
end

local function note(draft, change, first, last, reason)
  noted[#noted + 1] = draft
  noted[#noted + 1] = '[' .. quote(batch.tenant) .. ',"' .. draft.id .. '",' .. quote(draft.kind) .. ',' .. quote(change) .. ','
    .. draft.version .. ',' .. first .. ',' .. last .. ',' .. whole(now) .. ',' .. quote(reason) .. ','
end

local function new_deadline(wanted, current)
  if not wanted or (wanted.if_none and current) then
    return current
  end
  local moment = wanted.after and now + wanted.after or wanted.at
  if moment and wanted.cap and wanted.cap < moment then
    moment = wanted.cap
  end
  return moment
end

-- Forward only.
local function activity(draft, width)
  if now > draft.active then
    draft.active = now
    draft.bucket = math.max(draft.bucket, now - now % width)
  end
end

local function append(draft, entries, by)
  if not entries then
    return 0, 0
  end
  for author, times in pairs(by or {}) do
    draft.by = draft.by or {}
    draft.by[author] = (draft.by[author] or 0) + times
  end
  local first, lines, keys = draft.last + 1, draft.lines or {}, draft.keys or {}
  for i = 1, #entries do
    local entry, author = entries[i], entries[i].author
    draft.last = draft.last + 1
    if author then
      local counters, heard = counters_of(draft), draft.heard or {}
      if not spoken(draft, author) then
        counters.authors = (counters.authors or 0) + 1
      end
      heard[author] = (heard[author] or 0) + 1
      draft.heard = heard
    end
    lines[#lines + 1] = ARGV[entry.text] .. ',' .. draft.version .. ',' .. draft.phase .. ',' .. whole(entry.at or now)
      .. (author and ',' .. COUNTED .. ']' or ']')
    if entry.key then
      local kept = batch.append and i == 1
      keys[#keys + 1] = entry.key
      keys[#keys + 1] = draft.last .. ' ' .. (kept and #entries or 1) .. ' ' .. draft.version .. ' ' .. draft.phase .. ' '
        .. (kept and batch.fingerprint or '')
      draft.names = draft.names or {}
      draft.names[entry.key] = true
    end
  end
  draft.lines, draft.keys = lines, keys
  return first, draft.last
end

-- -- changes -----------------------------------------------------------------------------------------------------------

local function count(draft, change)
  local counters = counters_of(draft)
  for _, item in ipairs(change.add or {}) do
    counters[item[1]] = countable(item[1], (counters[item[1]] or 0) + item[2])
  end
  for _, item in ipairs(change.put or {}) do
    counters[item[1]] = item[2]
  end
  for _, name in ipairs(change.stamp or {}) do
    counters[name] = now
  end
end

local function write(change)
  local draft, refusal = guarded(change)
  if not draft then
    return refusal
  end
  local born = draft.state == 'pending'
  if change.next_phase or change.state or change.tag or change.untag then
    moving = moving or moving_part()
    moving.move(draft, change)
  end
  local first, last = append(draft, change.entries, change.by)
  if change.add or change.put or change.stamp then
    count(draft, change)
  end
  if change.set or change.unset or change.mark then
    patch = patch or data_part()
    patch(draft, change, first)
  end
  draft.deadline = new_deadline(change.deadline, draft.deadline)
  if change.due_above and (counters_of(draft)[change.due_above[1]] or 0) > change.due_above[2] then
    draft.deadline = math.min(draft.deadline or clock, clock)
  end
  if change.active then
    activity(draft, change.active)
  end
  report(draft, first, last)
  if draft.state ~= 'pending' then
    if born and draft.last > 0 then
      local base = draft.base or call('HGET', mine .. 's:' .. draft.id, 'f')
      first, last = (base and tonumber(string.match(base, '(%d+)%]$')) or 0) + 1, draft.last
    end
    note(draft, born and 'created' or change.change, first, last, change.reason or '')
  end
end

local function touch(change)
  local draft = find(change.id)
  if not draft then
    return refuse('missing', change.id)
  end
  local refusal = refused(draft, { open = true, timely = true })
  if refusal then
    return refusal
  end
  draft.mark, draft.moved = now, true
  activity(draft, change.bucket)
  if change.deadline and draft.deadline then
    draft.deadline = math.max(draft.deadline, new_deadline(change.deadline, draft.deadline) or 0)
  end
  report(draft, 0, 0)
end

-- -- writing -----------------------------------------------------------------------------------------------------------

-- Lua passes at most some thousand values to a call.
local function in_parts(verb, key, values)
  for i = 1, #values, 1000 do
    call(verb, key, unpack(values, i, math.min(i + 999, #values)))
  end
end

local function save(draft)
  local key = mine .. 's:' .. draft.id
  local set = {
    'v', draft.version, 'm', draft.mark, 'a', draft.active, 'q', draft.last, 'n', counted(draft), 'x', draft.event,
  }
  if draft.state ~= draft.was_state or draft.bucket ~= draft.was_bucket or draft.phase ~= draft.was_phase or draft.patch
    or draft.tag or draft.deadline ~= draft.was_deadline or draft.ended ~= draft.was_ended then
    moving = moving or moving_part()
    moving.save(draft, key, set)
  end
  in_parts('HSET', key, set)
  for author, times in pairs(draft.heard or {}) do
    call('HINCRBY', mine .. 'p:' .. draft.id, author, times)
  end
  for author, times in pairs(draft.by or {}) do
    wrote(draft.id, draft.owner or not draft.fresh and call('HGET', key, 'o'), author, times)
  end
  if draft.lines then
    in_parts('RPUSH', mine .. 'e:' .. draft.id, draft.lines)
    in_parts('HSET', mine .. 'k:' .. draft.id, draft.keys)
  end
end

-- Gives the events of this commit their numbers. Each names the one before it of its session.
local function publish()
  local number = call('INCRBY', KEYS[1], #noted / 2) - #noted / 2
  for i = 1, #noted, 2 do
    local draft = noted[i]
    number = number + 1
    call('XADD', KEYS[2], number .. '-0', 'e', noted[i + 1] .. draft.event .. ']')
    draft.event = number
  end
end

-- The answer of an operation, with its home, and in the shard's list of operations by their age.
local function remember(operation_key, body)
  local name = escape(batch.operation)
  call('HSET', operation_key, name, #batch.fingerprint .. ' ' .. batch.fingerprint .. body)
  call('PEXPIRE', operation_key, OPERATION_LIFE)
  call('ZADD', KEYS[4], now, escape(batch.tenant) .. ':' .. escape(batch.home) .. ':' .. name)
end

local function save_all(operation_key, body)
  if noted[1] then
    publish()
  end
  for i = 1, #drafts do
    if drafts[i].moved or drafts[i].fresh then
      save(drafts[i])
    end
  end
  for _, item in ipairs(redacted) do
    making.empty(item[1], item[2])
  end
  if names then
    names.save()
  end
  if operation_key then
    remember(operation_key, body)
  end
end
