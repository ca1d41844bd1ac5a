-- How many sessions of a list are of one home.
-- KEYS[1]: the list. ARGV[3]: the home.

local count = 0
for _, id in ipairs(call('ZRANGEBYLEX', KEYS[1], '[c', '(d')) do
  if call('HGET', mine .. 's:' .. string.sub(id, 2), 'h') == ARGV[3] then
    count = count + 1
  end
end
return count
