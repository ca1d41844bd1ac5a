-- What a shard has of somebody who is to be erased.
-- KEYS: the kinds of session there are, the logs they wrote in, the names that point at them, their home's aliases, leases and
-- operations. ARGV[3]: who. ARGV[4]: how many sessions. Answers [ids of their sessions, whether there is anything].

local limit, found = tonumber(ARGV[4]), {}
for _, kind in ipairs(call('SMEMBERS', KEYS[1])) do
  for _, state in ipairs({ 'active', 'pending', 'ended', 'archived', 'deleted' }) do
    local list = mine .. 'i:' .. escape(kind) .. ':' .. state .. ':o:' .. escape(ARGV[3])
    for _, id in ipairs(#found < limit and call('ZRANGEBYLEX', list, '[c', '(d', 'LIMIT', 0, limit - #found) or {}) do
      found[#found + 1] = '"' .. string.sub(id, 2) .. '"'
    end
  end
end
local anything = #found > 0 or call('EXISTS', unpack(KEYS, 2)) > 0
return '[[' .. table.concat(found, ',') .. '],' .. tostring(anything) .. ']'
