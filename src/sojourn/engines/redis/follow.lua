-- An alias and, where it is in this shard, the session it points at.
-- KEYS[1]: the home's aliases. ARGV[3]: the alias. Answers [now, alias or null, session or null].

local show = shown_part()
local alias = call('HGET', KEYS[1], ARGV[3])
local now = time()
local seen = 'null'
if alias then
  local target = cjson.decode(alias)[1]
  if target ~= cjson.null then
    local session, data = show.stored(mine .. 's:' .. target)
    if session.k and session.s ~= 'deleted' then
      now = math.max(now, tonumber(session.m))
      seen = show.shown(session, data)
    end
  end
end
return '[' .. whole(now) .. ',' .. (alias or 'null') .. ',' .. seen .. ']'
