-- How many events shards have given out, and in which history of their server.
-- KEYS: their counters. Answers [history, number, ...].

local found = call('MGET', unpack(KEYS))
for i = 1, #found do
  found[i] = tonumber(found[i] or '0')
end
table.insert(found, 1, history())
return found
