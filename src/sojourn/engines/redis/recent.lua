-- How many sessions of a list have been active since an instant and are not past their deadline, in this shard.
-- KEYS[1]: the list by activity. KEYS[2]: the same list by creation. KEYS[3]: the due index. ARGV[3]: the instant, as the
-- list's members begin with it. ARGV[4]: what members of the due index begin with (the tenant). Answers the number.

local found = call('ZLEXCOUNT', KEYS[1], '[' .. ARGV[3], '+')
local now, since, own = time(), tonumber(ARGV[3]), ARGV[4]
for _, member in ipairs(found > 0 and call('ZRANGEBYSCORE', KEYS[3], '-inf', whole(now)) or {}) do
  local id = string.sub(member, -26)
  if string.sub(member, 1, -28) == own and call('ZSCORE', KEYS[2], id) then
    if tonumber(call('HGET', mine .. 's:' .. id, 'b')) >= since then
      found = found - 1
    end
  end
end
return found
