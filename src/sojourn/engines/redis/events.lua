-- Events of this shard behind a cursor, oldest first.
-- KEYS: their counter, their stream, what is left of erased ones, how far they were trimmed. ARGV[3]: the cursor. ARGV[4]: how
-- many. ARGV[5]: the tenant. ARGV[6]: the kind or ''. ARGV[7]: the session or ''. ARGV[8]: the history that the cursor's number was
-- given in, 0 for any. In another one it may have been given to another event, and everything may be missing.
-- Answers [through, gap, history, [[number, event], ...]]; everything up to ``through`` was looked at.

local STEP, MOST = 500, 5000
local after, limit = tonumber(ARGV[3]), tonumber(ARGV[4])
local tip = tonumber(call('GET', KEYS[1]) or '0')
local oldest = math.min(tonumber(call('GET', KEYS[4]) or '0'), tip)
local given, now = tonumber(ARGV[8]), history()
local other = given ~= 0 and now ~= 0 and now ~= given and after > 0 -- who has seen nothing has missed nothing
local gap = other or after < oldest or after > tip
local through = gap and oldest or after
local found, looked = {}, 0

local function wanted(event)
  if ARGV[7] ~= '' and not string.find(event, ARGV[7], 1, true) then
    return false
  end
  local row = cjson.decode(event)
  return row[1] == ARGV[5] and (ARGV[6] == '' or row[3] == ARGV[6]) and (ARGV[7] == '' or row[2] == ARGV[7])
end

-- Looks at the next event; false when there are enough.
local function look(number, event)
  if #found >= limit then
    return false
  end
  through, looked = number, looked + 1
  if event and wanted(event) then
    found[#found + 1] = '[' .. whole(number) .. ',' .. event .. ']'
  end
  return true
end

-- Looks at what is left of erased events up to a number.
local function look_between(last)
  for number = through + 1, last do
    if looked > MOST or not look(number, call('HGET', KEYS[3], whole(number))) then
      return false
    end
  end
  return true
end

while through < tip and #found < limit and looked < MOST do
  local rows = call('XRANGE', KEYS[2], whole(through + 1), '+', 'COUNT', math.min(STEP, limit))
  for _, row in ipairs(rows) do
    local number = tonumber(string.match(row[1], '^%d+'))
    if not (look_between(number - 1) and look(number, row[2][2])) then
      break
    end
  end
  if #rows == 0 then
    look_between(tip)
  end
end
now = whole(now ~= 0 and now or given)
return '[' .. whole(through) .. ',' .. tostring(gap) .. ',' .. now .. ',[' .. table.concat(found, ',') .. ']]'
