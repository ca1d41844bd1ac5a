-- Emptying entries: what somebody wrote goes, and with it every trace of who it was; the places stay.

local function emptying_part()
  local part = {}
  local REDACTED, COUNTED = 1, 2 -- what stands last in an entry that is one of these

  -- An entry without what somebody wrote; its place, type and key stay.
  local function emptied(row)
    local covers = row[7] ~= cjson.null and '[' .. row[7][1] .. ',' .. row[7][2] .. ']' or 'null'
    local key = row[8] ~= cjson.null and quote(row[8]) or 'null'
    return '[' .. table.concat({
      quote(row[1]), quote(row[2]), quote(row[3]), 'null', 'null', 'null', covers, key, row[9], row[10], whole(row[11]),
      REDACTED,
    }, ',') .. ']'
  end

  -- Forgets that the author of an entry of this log wrote it, and that they spoke in this phase, unless other entries say so.
  function part.forget(log, row)
    local author = row[4]
    if author == cjson.null then
      return
    end
    local session = call('HMGET', mine .. 's:' .. log, 'o', 'p')
    wrote(log, session[1], author, -1)
    local heard = mine .. 'p:' .. log
    if row[12] == COUNTED and row[10] == tonumber(session[2]) and call('HINCRBY', heard, author, -1) <= 0 then
      call('HDEL', heard, author)
    end
  end

  -- Empties the entry at a place of a log; whether there was something to empty.
  function part.empty(log, place)
    local entry = call('LINDEX', mine .. 'e:' .. log, place)
    local row = entry and cjson.decode(entry)
    if not row or row[12] == REDACTED then
      return false
    end
    call('LSET', mine .. 'e:' .. log, place, emptied(row))
    part.forget(log, row)
    return true
  end

  return part
end
