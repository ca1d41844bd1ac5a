-- How the scripts read and show whole sessions.

local function shown_part()
  local part = {}

  -- The own fields of a stored session by their letters, all of them text, and the JSON of its data by their quoted keys.
  function part.stored(key)
    local row = call('HGETALL', key)
    local session, data = {}, {}
    for i = 1, #row, 2 do
      if #row[i] == 1 then
        session[row[i]] = row[i + 1]
      else
        data[row[i]] = row[i + 1]
      end
    end
    return session, data
  end

  -- A session as the JSON list that wire.read_session takes.
  function part.shown(s, data)
    local members = {}
    for key, value in pairs(data) do
      members[#members + 1] = key .. ':' .. value
    end
    return '[' .. table.concat({
      quote(s.k), quote(s.h), quote(s.o), quote(s.s), s.v, s.p, s.c, s.m, s.a, s.d or 'null', s.e or 'null', s.q, s.n,
      '{' .. table.concat(members, ',') .. '}', s.f or 'null', s.b,
    }, ',') .. ']'
  end

  -- What a session's log reads, oldest first: {log, sequences before its first own entry, last sequence taken from it}.
  function part.logs_of(id, lineage, last)
    local logs, before = {}, 0
    for _, shared in ipairs(lineage and cjson.decode(lineage) or {}) do
      logs[#logs + 1] = { shared[1], before, shared[2] }
      before = math.max(before, shared[2])
    end
    logs[#logs + 1] = { id, before, last }
    return logs
  end

  return part
end
