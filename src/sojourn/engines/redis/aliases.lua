-- The aliases of one shard that point at a target.
-- KEYS[1]: the set of their names, each the JSON list [home, namespace, key]. Answers [[name, alias], ...].

local found = {}
for _, name in ipairs(call('SMEMBERS', KEYS[1])) do
  local words = cjson.decode(name)
  local alias = call('GET', mine .. 'n:' .. escape(words[2]) .. ':' .. escape(words[3]))
  if alias then
    found[#found + 1] = '[' .. name .. ',' .. alias .. ']'
  end
end
return '[' .. table.concat(found, ',') .. ']'
