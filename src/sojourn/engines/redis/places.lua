-- The lists that a session is in: of all of its kind and state, of its owner, of each of its tags. Each list has it twice, once by
-- activity ('a', bucket, id) and once by creation ('c', id), since a key of its own costs more than a member.

local function place_part()
  -- Calls ``verb`` (ZADD or ZREM) for a session in each of its lists, or only for its activity there.
  return function(verb, session, state, bucket, tags, everything)
    local head = escape(session.kind) .. ':' .. state
    local groups = { '' }
    if session.owner then
      groups[2] = ':o:' .. escape(session.owner)
    end
    for _, tag in ipairs(cjson.decode(tags)) do
      groups[#groups + 1] = ':t:' .. escape(tag)
    end
    local active, made = 'a' .. string.format('%016.0f', bucket) .. session.id, 'c' .. session.id
    for _, group in ipairs(groups) do
      local list = mine .. 'i:' .. head .. group
      if verb == 'ZREM' then
        call('ZREM', list, active, everything and made or active)
      elseif everything then
        call('ZADD', list, 0, active, 0, made)
      else
        call('ZADD', list, 0, active)
      end
    end
  end
end
