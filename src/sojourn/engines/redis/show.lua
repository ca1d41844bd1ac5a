-- Sessions of one shard by their keys. Answers a list of sessions, null for what is not there or was deleted.

local show = shown_part()
local found = {}
for i, key in ipairs(KEYS) do
  local session, data = show.stored(key)
  if session.k and session.s ~= 'deleted' then
    found[i] = show.shown(session, data)
  else
    found[i] = 'null'
  end
end
return '[' .. table.concat(found, ',') .. ']'
