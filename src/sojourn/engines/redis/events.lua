-- Events of this shard behind a cursor, oldest first.
-- KEYS[1]: their counter. KEYS[2]: their stream. ARGV[3]: the cursor. ARGV[4]: how many. ARGV[5]: the tenant. ARGV[6]: the
-- kind or ''. ARGV[7]: the session or ''.
-- Answers [through, gap, [[number, event], ...]]; everything up to ``through`` was looked at.

local STEP, MOST = 500, 5000
local after, limit = tonumber(ARGV[3]), tonumber(ARGV[4])
local tip = tonumber(call('GET', KEYS[1]) or '0')
local first = call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
local oldest = first and tonumber(string.match(first[1], '^%d+')) - 1 or tip
local gap = after < oldest or after > tip
local through = gap and oldest or after
local found, looked = {}, 0

local function wanted(event)
  if ARGV[7] ~= '' and not string.find(event, ARGV[7], 1, true) then
    return false
  end
  local row = cjson.decode(event)
  return row[1] == ARGV[5] and (ARGV[6] == '' or row[3] == ARGV[6]) and (ARGV[7] == '' or row[2] == ARGV[7])
end

while through < tip and #found < limit and looked < MOST do
  local rows = call('XRANGE', KEYS[2], whole(through + 1), '+', 'COUNT', math.min(STEP, limit))
  if #rows == 0 then
    break
  end
  for _, row in ipairs(rows) do
    local number, event = string.match(row[1], '^%d+'), row[2][2]
    through = tonumber(number)
    if wanted(event) then
      found[#found + 1] = '[' .. number .. ',' .. event .. ']'
      if #found >= limit then
        break
      end
    end
  end
  looked = looked + #rows
end
return '[' .. whole(through) .. ',' .. tostring(gap) .. ',[' .. table.concat(found, ',') .. ']]'
