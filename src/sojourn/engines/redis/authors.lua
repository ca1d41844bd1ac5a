-- Who wrote in logs that are not their own.

-- Counts the entries of a log by an author who is not its owner: so an erasure finds them.
local function wrote(log, owner, author, times)
  if author ~= owner then
    local written = mine .. 'u:' .. escape(author)
    if call('HINCRBY', written, log, times) <= 0 then
      call('HDEL', written, log)
    end
  end
end
