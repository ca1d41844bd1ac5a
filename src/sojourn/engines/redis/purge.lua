-- Removes rows that nobody can see any more: of deleted sessions, operations of yesterday, events of last week.
-- KEYS: the shard's operations by age, deleted sessions, event stream, what is left of erased events, how far events were
-- trimmed. ARGV[2]: what the shard's keys begin with. ARGV[3]: how many rows. ARGV[4], ARGV[5]: how long, in microseconds,
-- operations and events live. ARGV[6]: what the names of a session's leases begin with, a JSON list. Answers how many were removed.

local limit, now = tonumber(ARGV[3]), time()
local shard, removed = ARGV[2], 0
local emptying = emptying_part()

-- A session that is purged was in no list but these.
local function remove(id, member, row)
  local home, owner, kind = row[1], row[2], row[3]
  cut_leases(id, home, ARGV[6])
  if owner then
    call('ZREM', mine .. 'i:' .. escape(kind) .. ':deleted:o:' .. escape(owner), 'c' .. id)
  end
  for _, log in ipairs(row[4] and cjson.decode(row[4]) or {}) do
    call('ZREM', mine .. 'f:' .. log[1], id)
    if call('HGET', mine .. 's:' .. log[1], 's') == 'deleted' then
      call('ZADD', KEYS[2], now, string.sub(member, 1, -27) .. log[1])
    end
  end
  call('UNLINK', mine .. 's:' .. id, mine .. 'e:' .. id, mine .. 'k:' .. id, mine .. 'p:' .. id, mine .. 'r:' .. id)
end

local function purge_session(member)
  local id = string.sub(member, -26)
  mine = shard .. string.sub(member, 1, -27)
  local row = call('HMGET', mine .. 's:' .. id, 'h', 'o', 'k', 'l')
  local kept = shared_of(id, row[4])
  local count, left = cut(id, kept, limit - removed, emptying)
  removed = removed + count
  if left > 0 or kept == 0 and removed >= limit then
    return
  end
  call('ZREM', KEYS[2], member)
  if kept == 0 then
    remove(id, member, row)
    removed = removed + 1
  end
end

-- One after the other, because the end of a fork may make its parent one of them.
while removed < limit do
  local member = call('ZRANGE', KEYS[2], 0, 0)[1]
  if not member then
    break
  end
  purge_session(member)
end

-- -- operations --------------------------------------------------------------------------------------------------------

for _, member in ipairs(removed < limit
  and call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. whole(now - ARGV[4]), 'LIMIT', 0, limit - removed) or {}) do
  local tenant, home, operation = string.match(member, '^([^:]*):([^:]*):([^:]*)$')
  call('HDEL', shard .. tenant .. ':o:' .. home, operation)
  call('ZREM', KEYS[1], member)
  removed = removed + 1
end

-- -- events ------------------------------------------------------------------------------------------------------------

-- The oldest only, up to the first that stays: times may go back, and a hole would be no gap.
local trimmed = tonumber(call('GET', KEYS[5]) or '0')
local last, erased = trimmed, call('EXISTS', KEYS[4]) == 1
for _ = removed + 1, limit do
  local event = erased and call('HGET', KEYS[4], whole(last + 1))
  if not event then
    local row = call('XRANGE', KEYS[3], whole(last + 1), whole(last + 1))[1]
    event = row and row[2][2]
  end
  if not event or cjson.decode(event)[8] >= now - ARGV[5] then
    break
  end
  last, removed = last + 1, removed + 1
  if erased then
    call('HDEL', KEYS[4], whole(last))
  end
end
if last > trimmed then
  call('XTRIM', KEYS[3], 'MINID', whole(last + 1))
  call('SET', KEYS[5], whole(last))
end
return removed
