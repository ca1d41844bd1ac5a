-- Answers other than that of a commit that was carried out: refusals that show a session, and first answers given again.

function answers_part()
  local part, show = {}, shown_part()

  -- A refusal that shows the session as its draft is.
  function part.refuse(reason, draft)
    if draft.state == 'deleted' then
      return refuse(reason, draft.id)
    end
    local session, data = show.stored(mine .. 's:' .. draft.id)
    if draft.fresh then
      session = { k = draft.kind, h = draft.home, o = draft.owner, c = whole(draft.created), f = draft.base }
    end
    session.s, session.v, session.p, session.q = draft.state, draft.version, draft.phase, draft.last
    session.m, session.a, session.b = whole(draft.mark), whole(draft.active), whole(draft.bucket)
    session.d, session.e, session.n = whole(draft.deadline), whole(draft.ended), counted(draft)
    for key, value in pairs(draft.patch or {}) do
      data[key] = value or nil
    end
    return refuse(reason, draft.id, 'session', show.shown(session, data))
  end

  -- Whether an entry brings a key that another entry of its session has; ``draft`` is nil for a new session.
  function part.clash(draft, entries)
    local seen = {}
    for _, entry in ipairs(entries or {}) do
      local key = entry.given
      if key then
        if seen[key] or draft and (draft.names and draft.names[key]
          or not draft.fresh and call('HEXISTS', mine .. 'k:' .. draft.id, key) == 1) then
          return true
        end
        seen[key] = true
      end
    end
    return false
  end

  -- Of an operation that is remembered with its first entry.
  function part.of_entry(id, kept)
    local draft = read(id)
    if not draft then
      return nil
    end
    local first, span, version, phase, fingerprint = string.match(kept, '^(%d+) (%d+) (%d+) (%d+) (.*)$')
    if fingerprint ~= '' and fingerprint ~= batch.fingerprint then -- a key that came with an import has none
      return '"refusal":' .. part.refuse('key', draft)
    end
    now = math.max(now, draft.mark)
    draft.version, draft.phase = version, phase
    report(draft, first, first + span - 1)
    return '"replayed":true,"moved":[' .. moved[1] .. '],"epochs":[],"fences":[]'
  end

  -- Of an operation that is remembered with its home.
  function part.of_home(kept)
    local length, rest = string.match(kept, '^(%d+) (.*)$')
    if string.sub(rest, 1, tonumber(length)) ~= batch.fingerprint then
      return '"refusal":' .. refuse('key', '')
    end
    return '"replayed":true,' .. string.sub(rest, tonumber(length) + 1)
  end

  return part
end
