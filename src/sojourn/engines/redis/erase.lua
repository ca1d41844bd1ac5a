-- Erases what a shard has of somebody, a bounded number of rows at a time: first their sessions, then what they wrote in those of
-- others, then what their home has. Their names are forgotten before (forget.lua), since these are in all shards.
-- KEYS: the shard's event stream, due index, operations by age, deleted sessions, what is left of erased events.
-- ARGV[3]: who. ARGV[4]: how many rows. ARGV[5]: the sessions, a JSON list. ARGV[6]: the tenant. ARGV[7]: what the names of a
-- session's leases begin with, a JSON list.
-- Answers [sessions, entries, aliases, leases, whether all is done].

local owner, left = ARGV[3], tonumber(ARGV[4])
local sessions, entries, aliases, leases = 0, 0, 0, 0
local emptying, place, now = emptying_part(), place_part(), time()
local STEP, LOOKS = 200, 100 -- entries read at once; so many that are looked at count as a row

-- -- a session ---------------------------------------------------------------------------------------------------------

-- Hides a session as deleting it does, and removes its data, tags, counters and who has spoken.
local function strip(id, row)
  local key, member = mine .. 's:' .. id, escape(ARGV[6]) .. ':' .. id
  local session = { id = id, kind = row[1], owner = owner }
  if row[2] ~= 'deleted' then
    place('ZREM', session, row[2], tonumber(row[3]), row[4] or '[]', true)
    call('ZADD', mine .. 'i:' .. escape(row[1]) .. ':deleted:o:' .. escape(owner), 0, 'c' .. id)
    call('ZREM', KEYS[2], member)
  end
  call('ZREM', KEYS[4], member)
  for _, name in ipairs(call('HKEYS', key)) do
    if #name > 1 or name == 'd' then
      call('HDEL', key, name)
    end
  end
  call('HSET', key, 's', 'deleted', 'n', '{}', 't', '[]', 'v', row[8] + 1, 'z', 0)
  call('UNLINK', mine .. 'p:' .. id)
end

-- Leaves of a session's events no more than their numbers; whether all of them were reached.
local function erase_events(key, number)
  while number > 0 and left > 0 do
    local row = call('XRANGE', KEYS[1], whole(number), whole(number))[1]
    if not row then
      number = 0
      break
    end
    local event = cjson.decode(row[2][2])
    call('HSET', KEYS[5], whole(number), '[' .. quote(event[1]) .. ',"",' .. quote(event[3]) .. ',"erased",' .. event[5] .. ','
      .. event[6] .. ',' .. event[7] .. ',' .. whole(event[8]) .. ',"",0]')
    call('XDEL', KEYS[1], row[1])
    number, left = event[10], left - 1
  end
  call('HSET', key, 'x', whole(number))
  return number == 0
end

-- Empties what forks still read of a log; whether it came to the end.
local function empty_rest(id, key, from)
  local length = call('LLEN', mine .. 'e:' .. id)
  while from < length and left > 0 do
    entries = entries + (emptying.empty(id, from) and 1 or 0)
    from, left = from + 1, left - 1
  end
  call('HSET', key, 'z', from)
  return from >= length
end

local function erase_session(id)
  local key = mine .. 's:' .. id
  local row = call('HMGET', key, 'k', 's', 'b', 't', 'h', 'l', 'o', 'v', 'x', 'z')
  if row[7] ~= owner then
    return true
  elseif not row[10] then
    strip(id, row)
  end
  local count, rest = cut(id, shared_of(id, row[6]), left, emptying)
  entries, left = entries + count, left - count
  if rest > 0 or not empty_rest(id, key, tonumber(row[10] or 0)) or not erase_events(key, tonumber(row[9] or 0)) or left <= 0 then
    return false
  end
  leases = leases + cut_leases(id, row[5], ARGV[7])
  call('ZREM', mine .. 'i:' .. escape(row[1]) .. ':deleted:o:' .. escape(owner), 'c' .. id)
  call('HDEL', key, 'o', 'z')
  call('HSET', key, 'h', '')
  call('ZADD', KEYS[4], now, escape(ARGV[6]) .. ':' .. id)
  sessions, left = sessions + 1, left - 1
  return true
end

-- -- elsewhere ---------------------------------------------------------------------------------------------------------

-- Empties what they wrote in one log, from where an earlier call left off; whether it came to the end.
local function empty_log(id, progress)
  local log, from, looked = mine .. 'e:' .. id, tonumber(call('HGET', progress, id) or '0'), 0
  repeat
    local rows = call('LRANGE', log, from, from + STEP - 1)
    for i = 1, #rows do
      if left <= 0 then
        break
      elseif cjson.decode(rows[i])[4] == owner then
        emptying.empty(id, from)
        entries, left = entries + 1, left - 1
      end
      from, looked = from + 1, looked + 1
      left = looked % LOOKS == 0 and left - 1 or left
    end
  until #rows < STEP or left <= 0
  call('HSET', progress, id, from)
  return from >= call('LLEN', log)
end

local function erase_written()
  local written, progress = mine .. 'u:' .. escape(owner), mine .. 'w:' .. escape(owner)
  while left > 0 do
    local id = call('HRANDFIELD', written)
    if not id then
      call('UNLINK', progress)
      return true
    end
    if empty_log(id, progress) then
      call('HDEL', written, id)
      call('HDEL', progress, id)
    end
  end
  return false
end

-- The names of a target that are those of an alias.
local function unname(target, home, key)
  for _, name in ipairs(target ~= cjson.null and call('SMEMBERS', mine .. 'r:' .. escape(target)) or {}) do
    local words = cjson.decode(name)
    if words[1] == home and escape(words[2]) .. ':' .. escape(words[3]) == key then
      call('SREM', mine .. 'r:' .. escape(target), name)
    end
  end
end

local function erase_home()
  local home = escape(owner)
  for _, key in ipairs(call('HKEYS', mine .. 'n:' .. home)) do
    if left <= 0 then
      return false
    end
    local row = cjson.decode(call('HGET', mine .. 'n:' .. home, key))
    unname(row[1], owner, key)
    unname(row[3], owner, key)
    call('HDEL', mine .. 'n:' .. home, key)
    aliases, left = aliases + 1, left - 1
  end
  for _, operation in ipairs(call('HKEYS', mine .. 'o:' .. home)) do
    if left <= 0 then
      return false
    end
    call('ZREM', KEYS[3], escape(ARGV[6]) .. ':' .. home .. ':' .. operation)
    call('HDEL', mine .. 'o:' .. home, operation)
    left = left - 1
  end
  leases = leases + call('HLEN', mine .. 'l:' .. home)
  call('UNLINK', mine .. 'l:' .. home)
  return true
end

local done = true
for _, id in ipairs(cjson.decode(ARGV[5])) do
  done = done and erase_session(id)
end
done = done and erase_written() and erase_home() and left > 0
return '[' .. sessions .. ',' .. entries .. ',' .. aliases .. ',' .. leases .. ',' .. tostring(done) .. ']'
