-- Which history of the server this is: another one begins with each promotion of a replica and each start of a server, and then
-- numbers may be given out again. 0 where that is not told.

local function history()
  local told = redis.pcall('INFO', 'replication')
  local id = type(told) == 'string' and string.match(told, 'master_replid:(%x%x%x%x%x%x%x%x)')
  return id and tonumber(id, 16) or 0
end
