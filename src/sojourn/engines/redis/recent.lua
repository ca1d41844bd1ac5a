-- How many sessions of a list have been active since an instant and are not past their deadline, in this shard.
-- KEYS[1]: the list by activity. KEYS[2]: the same list by creation. KEYS[3]: the due index. ARGV[3]: the instant, as the
-- list's members begin with it. ARGV[4]: what members of the due index begin with (the tenant). ARGV[5]: only of this home
-- ('' for all). Answers the number.

local now, since, own, home = time(), tonumber(ARGV[3]), ARGV[4], ARGV[5]
local found = 0

local function counts(id)
  local row = call('HMGET', mine .. 's:' .. id, 'b', 'h')
  return tonumber(row[1]) >= since and (home == '' or row[2] == home)
end

if home == '' then
  found = call('ZLEXCOUNT', KEYS[1], '[' .. ARGV[3], '+')
else
  for _, member in ipairs(call('ZRANGEBYLEX', KEYS[1], '[' .. ARGV[3], '+')) do
    if counts(string.sub(member, -26)) then
      found = found + 1
    end
  end
end
for _, member in ipairs(found > 0 and call('ZRANGEBYSCORE', KEYS[3], '-inf', whole(now)) or {}) do
  local id = string.sub(member, -26)
  if string.sub(member, 1, -28) == own and call('ZSCORE', KEYS[2], id) and counts(id) then
    found = found - 1
  end
end
return found
