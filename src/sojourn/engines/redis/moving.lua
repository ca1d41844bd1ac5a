-- What moves a session elsewhere: another phase, state, deadline, activity bucket, tags, data. Also what saves a new one.
-- Lists: see places.lua. A deleted session is in its owner's by creation, for an erasure, and in that of the shard's deleted
-- sessions, for purging.

function moving_part()
  local part, place = {}, place_part()

  local function add(list, more)
    for _, word in ipairs(more or {}) do
      list[#list + 1] = word
    end
    return list
  end

  -- The phase, state and tags that a change asks for.
  function part.move(draft, change)
    if change.tag or change.untag then
      draft.tag, draft.untag = add(draft.tag or {}, change.tag), add(draft.untag or {}, change.untag)
    end
    if change.state and change.state ~= draft.state then
      draft.state = change.state
      draft.ended = (change.state == 'ended' or change.state == 'archived') and (draft.ended or now) or nil
    end
    if change.next_phase then
      draft.phase, draft.heard = draft.phase + 1, nil
      if counters_of(draft).authors then
        draft.counters.authors = 0
      end
    end
  end

  local function tags_after(draft)
    local kept, list = {}, {}
    for _, tags in ipairs({ cjson.decode(draft.tags), draft.tag or {} }) do
      for _, tag in ipairs(tags) do
        kept[tag] = true
      end
    end
    for _, tag in ipairs(draft.untag or {}) do
      kept[tag] = nil
    end
    for tag in pairs(kept) do
      list[#list + 1] = quote(tag)
    end
    table.sort(list)
    return '[' .. table.concat(list, ',') .. ']'
  end

  -- Puts a session where its lists have it now.
  local function save_place(draft, set)
    if not draft.fresh then
      local row = call('HMGET', mine .. 's:' .. draft.id, 'o', 't')
      draft.owner, draft.tags = row[1] or nil, row[2] or '[]'
    end
    local tags = tags_after(draft)
    local everything = draft.state ~= draft.was_state or tags ~= draft.tags
    if not draft.fresh then
      place('ZREM', draft, draft.was_state, draft.was_bucket, draft.tags, everything)
    end
    if draft.state == 'deleted' then
      call('ZADD', KEYS[5], now, escape(batch.tenant) .. ':' .. draft.id)
      if draft.owner then
        call('ZADD', mine .. 'i:' .. escape(draft.kind) .. ':deleted:o:' .. escape(draft.owner), 0, 'c' .. draft.id)
      end
    else
      place('ZADD', draft, draft.state, draft.bucket, tags, everything)
    end
    add(set, { 's', draft.state, 'b', draft.bucket })
    if tags ~= draft.tags then
      add(set, { 't', tags })
    end
  end

  local function save_due(draft)
    local before = draft.was_state == 'active' and draft.was_deadline or nil
    local after = draft.state == 'active' and draft.deadline or nil
    if before ~= after then
      local name = escape(batch.tenant) .. ':' .. draft.id
      if after then
        call('ZADD', KEYS[3], after, name)
      else
        call('ZREM', KEYS[3], name)
      end
    end
  end

  -- Adds the fields of a draft that moved to those that are set, and removes those that are gone.
  function part.save(draft, key, set)
    local fields = { d = draft.deadline or false, e = draft.ended or false }
    if draft.fresh then
      fields.k, fields.h, fields.o, fields.c = draft.kind, draft.home, draft.owner, draft.created
      fields.f, fields.l = draft.base, draft.lineage
      call('SADD', mine .. 'kinds', draft.kind)
      for _, log in ipairs(draft.lineage and cjson.decode(draft.lineage) or {}) do
        call('ZADD', mine .. 'f:' .. log[1], log[2], draft.id)
      end
    end
    if draft.phase ~= draft.was_phase then
      fields.p = draft.phase
      call('UNLINK', mine .. 'p:' .. draft.id)
    end
    for name, value in pairs(draft.patch or {}) do
      fields[name] = value
    end
    local gone = {}
    for name, value in pairs(fields) do
      if value then
        add(set, { name, value })
      elseif not draft.fresh then
        gone[#gone + 1] = name
      end
    end
    in_parts('HDEL', key, gone)
    if draft.state ~= draft.was_state or draft.bucket ~= draft.was_bucket or draft.tag then
      save_place(draft, set)
    end
    save_due(draft)
  end

  return part
end
