-- Removing what nobody sees any more from a log's end, a bounded number of entries at a time.

-- How many own entries of a log others still read.
local function shared_of(id, lineage)
  local through = tonumber(call('ZREVRANGE', mine .. 'f:' .. id, 0, 0, 'WITHSCORES')[2] or 0)
  local before = 0
  for _, log in ipairs(lineage and cjson.decode(lineage) or {}) do
    before = math.max(before, log[2])
  end
  return math.max(0, through - before)
end

-- Cuts at most ``most`` entries off a log's end, and what says that they were there; how many were cut off, how many are left to be.
local function cut(id, kept, most, emptying)
  local log = mine .. 'e:' .. id
  local length = call('LLEN', log)
  local count = math.min(length - kept, most)
  if count > 0 then
    for _, entry in ipairs(call('LRANGE', log, -count, -1)) do
      local row = cjson.decode(entry)
      if row[8] ~= cjson.null then
        call('HDEL', mine .. 'k:' .. id, row[8])
      end
      emptying.forget(id, row)
    end
    call('LTRIM', log, 0, -count - 1)
  end
  count = math.max(count, 0)
  return count, length - kept - count
end

-- Removes the leases that are named after a session, by what such names begin with; how many.
local function cut_leases(id, home, beginnings)
  local names = {}
  for i, beginning in ipairs(cjson.decode(beginnings)) do
    names[i] = beginning .. id
  end
  return call('HDEL', mine .. 'l:' .. escape(home or ''), unpack(names))
end
