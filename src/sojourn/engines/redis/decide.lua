-- The batch: asked before, or decided change by change, and then written.

if batch.waits then
  call('INCRBY', KEYS[1], 0) -- a write, so that WAIT waits also for what was done when this was asked before
end

local operation_key
if batch.append then
  local kept = call('HGET', mine .. 'k:' .. batch.changes[1].id, batch.operation)
  local first = kept and answers_part().of_entry(batch.changes[1].id, kept)
  if first then
    return '{"now":' .. whole(now) .. ',' .. first .. '}'
  end
elseif batch.operation then
  operation_key = mine .. 'o:' .. escape(batch.home)
  local kept = call('HGET', operation_key, escape(batch.operation))
  if kept then
    return '{"now":' .. whole(now) .. ',' .. answers_part().of_home(kept) .. '}'
  end
end

for i = 1, #batch.changes do
  local change, refusal = batch.changes[i], nil
  local verb = change.verb
  if verb == 'write' then
    refusal = write(change)
  elseif verb == 'touch' then
    refusal = touch(change)
  elseif verb == 'create' or verb == 'redact' or verb == 'delete' then
    making = making or making_part()
    refusal = making[verb](change)
  else
    names = names or names_part()
    refusal = names[verb](change)
  end
  if refusal then
    return '{"now":' .. whole(now) .. ',"refusal":' .. refusal .. '}'
  end
end

local body = '"moved":[' .. table.concat(moved, ',') .. '],"epochs":[' .. table.concat(epochs, ',') .. '],"fences":['
  .. table.concat(fences, ',') .. ']'
local written, fault = pcall(save_all, operation_key, body)
if not written then
  return redis.error_reply('TORN ' .. tostring(type(fault) == 'table' and fault.err or fault))
end
return '{"now":' .. whole(now) .. ',' .. body .. '}'
