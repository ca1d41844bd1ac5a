-- How many sessions of a list are of one home.
-- KEYS[1]: the list by creation. ARGV[3]: the home.

local count = 0
for _, id in ipairs(call('ZRANGE', KEYS[1], 0, -1)) do
  if call('HGET', mine .. 's:' .. id, 'h') == ARGV[3] then
    count = count + 1
  end
end
return count
