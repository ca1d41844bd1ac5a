-- The first members, in order, of this shard's part of a list.
-- KEYS: lists (places.lua). ARGV[3]: '1' for descending. ARGV[4]: the member to start
-- behind, '' for the beginning. ARGV[5]: how many. ARGV[6]: only of this owner. ARGV[7]: only active before this instant.
-- ARGV[8]: only of this home. ARGV[9]: 'a' by activity, 'c' by creation.
-- Answers the members without that letter, all of one width, put together.

local descending, limit = ARGV[3] == '1', tonumber(ARGV[5])
local owner, before, home = ARGV[6], tonumber(ARGV[7]), ARGV[8]
local found, stopped = {}, {}
local first, behind = '[' .. ARGV[9], '(' .. string.char(string.byte(ARGV[9]) + 1)

local function walk(key, start)
  local rows
  if descending then
    rows = call('ZREVRANGEBYLEX', key, start == '' and behind or '(' .. ARGV[9] .. start, first, 'LIMIT', 0, limit)
  else
    rows = call('ZRANGEBYLEX', key, start == '' and first or '(' .. ARGV[9] .. start, behind, 'LIMIT', 0, limit)
  end
  for i, row in ipairs(rows) do
    rows[i] = string.sub(row, 2)
  end
  return rows
end

local function wanted(member)
  if owner == '' and not before and home == '' then
    return true
  end
  local row = call('HMGET', mine .. 's:' .. string.sub(member, -26), 'o', 'a', 'h')
  return (owner == '' or row[1] == owner) and (not before or tonumber(row[2]) < before) and (home == '' or row[3] == home)
end

for _, key in ipairs(KEYS) do
  local start, kept = ARGV[4], 0
  repeat
    local members = walk(key, start)
    for _, member in ipairs(members) do
      if not descending and #member > 26 and before and tonumber(string.sub(member, 1, -27)) >= before then
        members = stopped
        break
      end
      if kept < limit and wanted(member) then
        found[#found + 1] = member
        kept = kept + 1
      end
    end
    start = members[#members]
  until #members < limit or kept >= limit
end
if #KEYS > 1 then
  table.sort(found, function(a, b)
    if descending then
      return a > b
    end
    return a < b
  end)
end
return table.concat(found, '', 1, math.min(limit, #found))
