-- Aliases and leases of the home: each home has a hash of its aliases and one of its leases. A set of names for each target says
-- which aliases point there, or did before they moved last.

function names_part()
  local part = {}

  local function alias_text(alias)
    return '[' .. quote(alias.target) .. ',' .. alias.epoch .. ',' .. quote(alias.previous) .. ',' .. whole(alias.moved) .. ']'
  end

  local function alias_of(key, name)
    local alias = aliases[key]
    if not alias then
      alias = { key = key, name = name, epoch = 0, moved = 0 }
      local row = call('HGET', mine .. 'n:' .. escape(batch.home), key)
      if row then
        local target, epoch, previous, moved = unpack(cjson.decode(row))
        alias.target = target ~= cjson.null and target or nil
        alias.previous = previous ~= cjson.null and previous or nil
        alias.epoch, alias.moved = epoch, moved
      end
      alias.was, alias.was_previous = alias.target, alias.previous
    end
    return alias
  end

  local function move(alias, target)
    if not aliases[alias.key] then
      aliases[alias.key] = alias
      aliases[#aliases + 1] = alias
    end
    alias.previous, alias.target, alias.epoch, alias.moved = alias.target, target, alias.epoch + 1, now
  end

  function part.point(change)
    local alias = alias_of(change.alias, change.name)
    if change.epoch and alias.epoch ~= change.epoch then
      return refuse('epoch', '', 'alias', '[' .. alias.name .. ',' .. alias_text(alias) .. ']')
    end
    move(alias, change.target)
    epochs[#epochs + 1] = alias.epoch
  end

  -- Frees the aliases of its home that point at a session.
  function part.free(draft)
    local held = {}
    for _, name in ipairs(call('SMEMBERS', mine .. 'r:' .. draft.id)) do
      local words = cjson.decode(name)
      if words[1] == batch.home then
        held[#held + 1] = alias_of(escape(words[2]) .. ':' .. escape(words[3]), name)
      end
    end
    for _, alias in ipairs(aliases) do
      held[#held + 1] = alias
    end
    for _, alias in ipairs(held) do
      if alias.target == draft.id then
        move(alias, nil)
      end
    end
  end

  function part.lease_of(name)
    local lease = leases[name]
    if not lease then
      local row = call('HGET', mine .. 'l:' .. escape(batch.home), name)
      lease = { name = name, fence = 0, expires = 0 }
      if row then
        local fence, expires, held, holder = string.match(row, '^(%d+) (%d+) (%d)(.*)$')
        lease.fence, lease.expires, lease.holder = tonumber(fence), tonumber(expires), held == '1' and holder or nil
      end
    end
    return lease
  end

  function part.refuse_lease(reason, id, lease)
    return refuse(reason, id, 'lease', '[' .. quote(lease.name) .. ',' .. quote(lease.holder) .. ',' .. whole(lease.fence)
      .. ',' .. whole(lease.expires) .. ']')
  end

  local function hold(lease, holder, fence, expires)
    if not leases[lease.name] then
      leases[lease.name] = lease
      leases[#leases + 1] = lease
    end
    lease.holder, lease.fence, lease.expires = holder, fence, expires
  end

  function part.lend(change)
    local lease = part.lease_of(change.name)
    local current = lease.holder and clock < lease.expires
    if change.fence then
      if not current or lease.fence ~= change.fence then
        return part.refuse_lease('fence', '', lease)
      end
    elseif current then
      return part.refuse_lease('held', '', lease)
    end
    hold(lease, change.holder, change.fence or lease.fence + 1, clock + change.ttl)
    fences[#fences + 1] = lease.fence
  end

  function part.yield(change)
    local lease = part.lease_of(change.name)
    if lease.fence == change.fence and lease.holder then
      hold(lease, nil, lease.fence, clock)
    end
  end

  function part.save()
    for _, alias in ipairs(aliases) do
      call('HSET', mine .. 'n:' .. escape(batch.home), alias.key, alias_text(alias))
      for _, target in pairs({ alias.was, alias.was_previous }) do
        if target ~= alias.target and target ~= alias.previous then
          call('SREM', mine .. 'r:' .. escape(target), alias.name)
        end
      end
      for _, target in pairs({ alias.target, alias.previous }) do
        call('SADD', mine .. 'r:' .. escape(target), alias.name)
      end
    end
    for _, lease in ipairs(leases) do
      call('HSET', mine .. 'l:' .. escape(batch.home), lease.name,
        whole(lease.fence) .. ' ' .. whole(lease.expires) .. (lease.holder and ' 1' .. lease.holder or ' 0'))
    end
  end

  return part
end
