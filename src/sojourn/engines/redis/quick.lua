-- The plain append, in one go: what most commits are, at half the price of what follows, which can do it as well. A batch that
-- the client calls quick is one change that appends entries, moves counters and activity, and asks for no more than an open
-- session in a phase; whatever else turns out here (asked before, refused, due, another bucket) is left to the rest.

local batch, now = cjson.decode(ARGV[3]), time()
-- A slot of a Cluster that is being moved key by key: what is not here may be there. A key that is nowhere tells.
if batch.probes and type(redis.pcall('EXISTS', mine .. '?')) == 'table' then
  return redis.error_reply('TRYAGAIN the slot is being moved')
end

-- A counter within its range: whole numbers beyond it are not exact here.
local function countable(name, value)
  if math.abs(value) > 9007199254740991 then
    error({ err = 'LIMIT counter ' .. name .. ' would be ' .. string.format('%.0f', value) })
  end
  return value
end
local clock = now -- as it was before any session raised it: leases and due marks go by it

if batch.quick then
  local change = batch.changes[1]
  local id, guard, above = change.id, change.guard, change.due_above
  local key, names = mine .. 's:' .. id, mine .. 'k:' .. id
  local row = call('HMGET', key, 's', 'v', 'p', 'm', 'a', 'b', 'd', 'q', 'n', 'x', 'k', 'h', 'o')
  local known = batch.append and call('HEXISTS', names, batch.operation) == 1
  local mark = row[1] and tonumber(row[4]) or 0
  local at = now > mark and now or mark
  local width = change.active
  if not known and row[1] == 'active' and (batch.home == '' or batch.home == row[12]) and not (guard.phase and guard.phase ~= tonumber(row[3]))
    and not (guard.timely and row[7] and at >= tonumber(row[7]))
    and not (width and at - at % width > tonumber(row[6])) then
    local version, phase, last, stamp = row[2] + 1, row[3], tonumber(row[8]), whole(at)
    local counters = row[9]
    if change.add or change.stamp then
      local values, list = cjson.decode(counters), {}
      for _, item in ipairs(change.add or {}) do
        values[item[1]] = countable(item[1], (values[item[1]] or 0) + item[2])
      end
      for _, name in ipairs(change.stamp or {}) do
        values[name] = at
      end
      for name, value in pairs(values) do
        list[#list + 1] = quote(name) .. ':' .. (value == at and stamp or whole(value))
      end
      counters = '{' .. table.concat(list, ',') .. '}'
      above = above and (values[above[1]] or 0) > above[2]
    else
      above = above and (cjson.decode(counters)[above[1]] or 0) > above[2]
    end
    if not above then
      local first, entries, lines = last + 1, change.entries, {}
      for i = 1, #entries do
        lines[i] = ARGV[entries[i].text] .. ',' .. version .. ',' .. phase .. ',' .. whole(entries[i].at or at) .. ']'
      end
      last = last + #entries
      local number = call('INCR', KEYS[1])
      local active = width and at > tonumber(row[5]) and stamp or row[5]
      call('HSET', key, 'v', version, 'm', stamp, 'a', active, 'q', last, 'n', counters, 'x', number)
      local torn = redis.pcall('XADD', KEYS[2], number .. '-0', 'e', '[' .. quote(batch.tenant) .. ',"' .. id .. '",'
        .. quote(row[11]) .. ',' .. quote(change.change) .. ',' .. version .. ',' .. first .. ',' .. last .. ',' .. stamp .. ','
        .. quote(change.reason or '') .. ',' .. (row[10] or 0) .. ']')
      if type(torn) ~= 'table' then
        torn = redis.pcall('RPUSH', mine .. 'e:' .. id, unpack(lines))
      end
      if batch.append and type(torn) ~= 'table' then
        torn = redis.pcall('HSET', names, batch.operation, first .. ' ' .. #entries .. ' ' .. version .. ' ' .. phase .. ' '
          .. batch.fingerprint)
      end
      for author, times in pairs(change.by or {}) do
        if type(torn) ~= 'table' and author ~= row[13] then
          torn = redis.pcall('HINCRBY', mine .. 'u:' .. escape(author), id, times)
        end
      end
      if type(torn) == 'table' then
        return redis.error_reply('TORN ' .. torn.err)
      end
      return '{"now":' .. stamp .. ',"moved":[["' .. id .. '",' .. version .. ',' .. phase .. ',' .. first .. ',' .. last
        .. ',"active",' .. (row[7] or 'null') .. ',' .. counters .. ']],"epochs":[],"fences":[]}'
    end
  end
end
