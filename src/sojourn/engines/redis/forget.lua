-- Removes aliases that point at what is erased, or did until they were freed; one that points elsewhere by now forgets where it
-- did. KEYS: the sets of names of each target. ARGV[3]: the targets, a JSON list. ARGV[4]: how many at most.
-- Answers [how many were removed, whether none is left].

local limit, removed = tonumber(ARGV[4]), 0

local function forget(name, wanted)
  local words = cjson.decode(name)
  local home, key = mine .. 'n:' .. escape(words[1]), escape(words[2]) .. ':' .. escape(words[3])
  local row = call('HGET', home, key)
  if not row then
    return
  end
  local target, epoch, previous, moved = unpack(cjson.decode(row))
  if target == wanted or target == cjson.null and previous == wanted then
    call('HDEL', home, key)
    for _, other in ipairs({ target, previous }) do
      if other ~= cjson.null then
        call('SREM', mine .. 'r:' .. escape(other), name)
      end
    end
    removed = removed + 1
  elseif previous == wanted then
    local text = '[' .. quote(target ~= cjson.null and target) .. ',' .. epoch .. ',null,' .. whole(moved) .. ']'
    call('HSET', home, key, text)
  end
end

for place, wanted in ipairs(cjson.decode(ARGV[3])) do
  for _, name in ipairs(call('SMEMBERS', KEYS[place])) do
    if removed >= limit then
      return '[' .. removed .. ',false]'
    end
    forget(name, wanted)
    call('SREM', KEYS[place], name)
  end
end
return '[' .. removed .. ',true]'
