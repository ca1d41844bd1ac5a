-- A session, and those of its entries that are asked for.
-- KEYS[1]: the session. ARGV[3]: its id. ARGV[4]: an entry query, '' for no entries.
-- Answers [now, session or null, sequences, entries, where to go on or null]: not all at once, so that others need not wait.

local show = shown_part()
local session, data = show.stored(KEYS[1])
local now = time()
if not session.k or session.s == 'deleted' then
  return '[' .. whole(now) .. ',null]'
end

local ENTRIES, LOOKS, BYTES, STEP = 1000, 5000, 1000000, 200
local found, sequences, query
local looked, bytes, following = 0, 0, nil

local function among(list, word)
  for _, wanted in ipairs(list) do
    if wanted == word then
      return true
    end
  end
  return false
end

-- Type, label and topic stand first in an entry; where one of them holds a quote or a backslash, it is decoded whole.
local function wanted(entry)
  local kind, label, topic = string.match(entry, '^%["([^"\\]*)","([^"\\]*)","([^"\\]*)"')
  if not kind then
    local row = cjson.decode(entry)
    kind, label, topic = row[1], row[2], row[3]
  end
  return (not query.types or among(query.types, kind))
    and (not query.labels or among(query.labels, label))
    and (not query.topic or query.topic == topic)
end

-- Takes from one log the entries with these sequences, up to ``most`` in all.
local function take(log, before, first, last, most)
  local filtered = query.types or query.labels or query.topic
  while first <= last and #found < most do
    if #found >= ENTRIES or looked >= LOOKS or bytes >= BYTES then
      following = query.last and last or first
      return
    end
    local step = filtered and STEP or math.min(STEP, most - #found)
    local low, high = first, math.min(last, first + step - 1)
    if query.last then
      low, high = math.max(first, last - step + 1), last
    end
    local entries = call('LRANGE', mine .. 'e:' .. log, whole(low - before - 1), whole(high - before - 1))
    for i = 1, #entries do
      local place = query.last and #entries + 1 - i or i
      looked = looked + 1
      if not filtered or wanted(entries[place]) then
        found[#found + 1] = entries[place]
        bytes = bytes + #entries[place]
        sequences[#sequences + 1] = whole(low + place - 1)
        if #found >= most then
          break
        end
      end
    end
    if query.last then
      last = low - 1
    else
      first = high + 1
    end
  end
end

local function turn(list)
  local turned = {}
  for i = #list, 1, -1 do
    turned[#turned + 1] = list[i]
  end
  return turned
end

found, sequences = {}, {}
if ARGV[4] ~= '' then
  query = cjson.decode(ARGV[4])
  local pieces = {}
  local last = tonumber(session.q)
  for _, log in ipairs(show.logs_of(ARGV[3], session.l, last)) do
    for _, range in ipairs(query.ranges or { { 1, last } }) do
      local low, high = math.max(range[1], log[2] + 1), math.min(range[2], log[3])
      if low <= high then
        pieces[#pieces + 1] = { log[1], log[2], low, high }
      end
    end
  end
  local most = query.last or query.limit or last
  for _, piece in ipairs(query.last and turn(pieces) or pieces) do
    take(piece[1], piece[2], piece[3], piece[4], most)
    if following then
      break
    end
  end
  if query.last then
    found, sequences = turn(found), turn(sequences)
  end
end

return '[' .. whole(math.max(now, tonumber(session.m))) .. ',' .. show.shown(session, data)
  .. ',[' .. table.concat(sequences, ',') .. '],[' .. table.concat(found, ',') .. '],'
  .. whole(following) .. ']'
