-- What is done to a session as a whole: create, redact, delete.

function making_part()
  local part, show, emptying = {}, shown_part(), emptying_part()
  answers = answers or answers_part()

  local function lineage_of(draft)
    if draft.fresh then
      return draft.lineage
    end
    return call('HGET', mine .. 's:' .. draft.id, 'l') or nil
  end

  -- Where a fork's shared entries are read.
  local function share(draft, base)
    local parent = find(base[1])
    if not parent then
      return refuse('missing', base[1])
    end
    local at = math.min(base[2], parent.last)
    local lineage = {}
    for _, log in ipairs(show.logs_of(parent.id, lineage_of(parent), at)) do
      lineage[#lineage + 1] = '["' .. log[1] .. '",' .. math.min(log[3], at) .. ']'
    end
    draft.base = '["' .. parent.id .. '",' .. at .. ']'
    draft.lineage = '[' .. table.concat(lineage, ',') .. ']'
    draft.last = at
  end

  function part.create(change)
    local existing = drafts[change.id] or read(change.id)
    if existing then
      return answers.refuse('present', existing)
    elseif answers.clash(nil, change.entries) then
      return refuse('key', change.id)
    end
    local created = change.created or now
    local active = change.active or created
    local ended = change.ended or (change.state == 'ended' or change.state == 'archived') and now or nil
    local draft = {
      id = change.id, kind = change.kind, home = batch.home, owner = change.owner, state = change.state, version = 1,
      phase = 0, created = created, mark = now, active = active, bucket = active - active % change.bucket, ended = ended,
      last = 0, counters = change.counters, tags = '[]', event = 0, fresh = true, tag = change.tags, patch = {},
    }
    local refusal = change.base and share(draft, change.base)
    if refusal then
      return refusal
    end
    for _, name in ipairs(change.stamp or {}) do
      draft.counters[name] = now
    end
    for _, item in ipairs(change.data or {}) do
      draft.patch[item[1]] = ARGV[item[2]]
    end
    draft.deadline = new_deadline(change.deadline, nil)
    local first, last = append(draft, change.entries, change.by)
    drafts[draft.id] = draft
    drafts[#drafts + 1] = draft
    report(draft, first, last)
    if draft.state ~= 'pending' then
      note(draft, change.change, first, last, '')
    end
  end

  function part.redact(change)
    local draft, refusal = guarded(change)
    if not draft then
      return refusal
    end
    redacted[#redacted + 1] = { draft, change.sequences }
    report(draft, 0, 0)
    if draft.state ~= 'pending' then
      note(draft, 'redacted', change.first, change.last, '')
    end
  end

  function part.delete(change)
    local draft, refusal = guarded(change)
    if not draft then
      return refusal
    end
    local was_shown = draft.state ~= 'pending'
    draft.state, draft.deadline, draft.ended = 'deleted', nil, draft.ended or now
    names = names or names_part()
    names.free(draft)
    report(draft, 0, 0)
    if was_shown then
      note(draft, 'deleted', 0, 0, '')
    end
  end

  function part.empty(draft, sequences)
    local logs = show.logs_of(draft.id, lineage_of(draft), draft.last)
    for _, sequence in ipairs(sequences) do
      for _, log in ipairs(logs) do
        if sequence > log[2] and sequence <= log[3] then
          emptying.empty(log[1], sequence - log[2] - 1)
        end
      end
    end
  end

  return part
end
