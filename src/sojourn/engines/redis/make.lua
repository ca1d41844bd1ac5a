-- Makes a store, unless it is there: what says so comes into being at once, so that nobody reads a part of it.
-- KEYS[1]: the key that says so. ARGV[3], ...: its fields and values. Answers all of them as they are now.

if call('EXISTS', KEYS[1]) == 0 then
  call('HSET', KEYS[1], unpack(ARGV, 3))
end
return call('HGETALL', KEYS[1])
