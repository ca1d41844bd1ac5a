-- The newest events of one session, newest first: each names the one before it, so nothing is searched.
-- KEYS[1]: the session. KEYS[2]: the event stream. ARGV[3]: how many. Answers [[number, event], ...].

local kept = call('HMGET', KEYS[1], 'x', 's')
local number = kept[2] ~= 'deleted' and kept[1]
local found = {}
while number and #found < tonumber(ARGV[3]) do
  local row = call('XRANGE', KEYS[2], number, number)[1]
  if not row then
    break
  end
  found[#found + 1] = '[' .. number .. ',' .. row[2][2] .. ']'
  local before = cjson.decode(row[2][2])[10]
  number = before > 0 and whole(before)
end
return '[' .. table.concat(found, ',') .. ']'
