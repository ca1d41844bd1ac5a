-- The aliases of one shard that point at a target.
-- KEYS[1]: the set of their names, each the JSON list [home, namespace, key], and of those that pointed there before. ARGV[3]:
-- the target. Answers [[name, alias], ...].

local found = {}
for _, name in ipairs(call('SMEMBERS', KEYS[1])) do
  local words = cjson.decode(name)
  local alias = call('HGET', mine .. 'n:' .. escape(words[1]), escape(words[2]) .. ':' .. escape(words[3]))
  if alias and cjson.decode(alias)[1] == ARGV[3] then
    found[#found + 1] = '[' .. name .. ',' .. alias .. ']'
  end
end
return '[' .. table.concat(found, ',') .. ']'
