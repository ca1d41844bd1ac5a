-- Sessions of this shard that are past their deadline, earliest first.
-- KEYS[1]: the due index. ARGV[3]: how many. ARGV[4]: only of this tenant (as keys carry it), '' for all. ARGV[5]: so many
-- microseconds ahead.
-- Answers [[deadline, member], ...]; a member is tenant:id.

local now, limit, tenant = time(), tonumber(ARGV[3]), ARGV[4]
local found, skipped = {}, 0
repeat
  local rows = call('ZRANGEBYSCORE', KEYS[1], '-inf', whole(now + tonumber(ARGV[5])), 'WITHSCORES', 'LIMIT', skipped, limit)
  for i = 1, #rows, 2 do
    if #found < limit and (tenant == '' or string.sub(rows[i], 1, -28) == tenant) then
      found[#found + 1] = '[' .. rows[i + 1] .. ',' .. quote(rows[i]) .. ']'
    end
  end
  skipped = skipped + limit
until #rows < 2 * limit or #found >= limit
return '[' .. table.concat(found, ',') .. ']'
