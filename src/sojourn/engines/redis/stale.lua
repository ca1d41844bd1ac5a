-- Whether a shard has rows to purge: KEYS, ARGV[4] and ARGV[5] as for purging. Answers 1 or 0.

local now = time()
if call('EXISTS', KEYS[2]) == 1 or #call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. whole(now - ARGV[4]), 'LIMIT', 0, 1) > 0 then
  return 1
end
local next = tonumber(call('GET', KEYS[5]) or '0') + 1
local oldest = call('HGET', KEYS[4], whole(next)) or (call('XRANGE', KEYS[3], '-', '+', 'COUNT', 1)[1] or { false, {} })[2][2]
return oldest and cjson.decode(oldest)[8] < now - ARGV[5] and 1 or 0
