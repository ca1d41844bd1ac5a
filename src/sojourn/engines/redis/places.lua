-- The lists that a session is in, by activity and by creation: of all of its kind and state, of its owner, of each of its tags.

local function place_part()
  -- Calls ``verb`` (ZADD or ZREM) for a session in each of its lists, or only in those by activity.
  return function(verb, session, state, bucket, tags, everything)
    local head = escape(session.kind) .. ':' .. state
    local groups = { '' }
    if session.owner then
      groups[2] = ':o:' .. escape(session.owner)
    end
    for _, tag in ipairs(cjson.decode(tags)) do
      groups[#groups + 1] = ':t:' .. escape(tag)
    end
    for _, group in ipairs(groups) do
      local active = string.format('%016.0f', bucket) .. session.id
      if verb == 'ZADD' then
        call(verb, mine .. 'a:' .. head .. group, 0, active)
      else
        call(verb, mine .. 'a:' .. head .. group, active)
      end
      if everything and verb == 'ZADD' then
        call(verb, mine .. 'c:' .. head .. group, 0, session.id)
      elseif everything then
        call(verb, mine .. 'c:' .. head .. group, session.id)
      end
    end
  end
end
