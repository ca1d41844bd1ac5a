-- How many sessions of a list have been active since an instant and are not past their deadline, in this shard.
-- KEYS[1]: the list. KEYS[2]: the due index. ARGV[3]: the instant, as the list's members have it. ARGV[4]: what members of the
-- due index begin with (the tenant). ARGV[5]: only of this home ('' for all). Answers the number.

local now, since, own, home = time(), tonumber(ARGV[3]), ARGV[4], ARGV[5]
local found = 0

local function counts(id)
  local row = call('HMGET', mine .. 's:' .. id, 'b', 'h')
  return tonumber(row[1]) >= since and (home == '' or row[2] == home)
end

if home == '' then
  found = call('ZLEXCOUNT', KEYS[1], '[a' .. ARGV[3], '(b')
else
  for _, member in ipairs(call('ZRANGEBYLEX', KEYS[1], '[a' .. ARGV[3], '(b')) do
    if counts(string.sub(member, -26)) then
      found = found + 1
    end
  end
end
for _, member in ipairs(found > 0 and call('ZRANGEBYSCORE', KEYS[2], '-inf', whole(now)) or {}) do
  local id = string.sub(member, -26)
  if string.sub(member, 1, -28) == own and call('ZSCORE', KEYS[1], 'c' .. id) and counts(id) then
    found = found - 1
  end
end
return found
