-- Aliases and leases of the home.

function names_part()
  local part = {}

  local function alias_text(alias)
    return '[' .. quote(alias.target) .. ',' .. alias.epoch .. ',' .. quote(alias.previous) .. ',' .. whole(alias.moved) .. ']'
  end

  local function alias_of(key, name)
    local alias = aliases[key]
    if not alias then
      alias = { key = key, name = name, epoch = 0, moved = 0 }
      local row = call('GET', mine .. 'n:' .. key)
      if row then
        local target, epoch, previous, moved = unpack(cjson.decode(row))
        alias.target = target ~= cjson.null and target or nil
        alias.previous = previous ~= cjson.null and previous or nil
        alias.epoch, alias.moved = epoch, moved
      end
      alias.was = alias.target
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
      held[#held + 1] = alias_of(escape(words[2]) .. ':' .. escape(words[3]), name)
    end
    for _, alias in ipairs(aliases) do
      held[#held + 1] = alias
    end
    local home = call('HGET', mine .. 's:' .. draft.id, 'h') or batch.home
    for _, alias in ipairs(held) do
      if alias.target == draft.id and cjson.decode(alias.name)[1] == home then
        move(alias, nil)
      end
    end
  end

  function part.lease_of(name)
    local lease = leases[name]
    if not lease then
      local row = call('GET', mine .. 'l:' .. escape(batch.home) .. ':' .. escape(name))
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
      call('SET', mine .. 'n:' .. alias.key, alias_text(alias))
      if alias.was ~= alias.target then
        if alias.was then
          call('SREM', mine .. 'r:' .. escape(alias.was), alias.name)
        end
        if alias.target then
          call('SADD', mine .. 'r:' .. escape(alias.target), alias.name)
        end
      end
    end
    for _, lease in ipairs(leases) do
      call('SET', mine .. 'l:' .. escape(batch.home) .. ':' .. escape(lease.name),
        whole(lease.fence) .. ' ' .. whole(lease.expires) .. (lease.holder and ' 1' .. lease.holder or ' 0'))
    end
  end

  return part
end
