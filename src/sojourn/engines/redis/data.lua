-- A session's data: patched as text, at paths. It is compact JSON from one encoder, so a key has one spelling and a value can
-- be cut out by its brackets; what it means is never looked at.

function data_part()
  local function string_end(json, from)
    local place, escaped = from, false
    repeat
      place = string.find(json, '["\\]', place + 1)
      escaped = string.sub(json, place, place) == '\\'
      if escaped then
        place = place + 1
      end
    until not escaped
    return place
  end

  local function value_end(json, from)
    local first = string.sub(json, from, from)
    if first == '"' then
      return string_end(json, from)
    elseif first ~= '{' and first ~= '[' then
      return string.find(json, '[,%]}]', from) - 1
    end
    local depth, place = 1, from
    while depth > 0 do
      place = string.find(json, '["%[%]{}]', place + 1)
      local mark = string.sub(json, place, place)
      if mark == '"' then
        place = string_end(json, place)
      elseif mark == '{' or mark == '[' then
        depth = depth + 1
      else
        depth = depth - 1
      end
    end
    return place
  end

  -- Where the member of an object with this (quoted) key lies: its first character, that of its value, its last one.
  local function member(json, key)
    local place = 2
    while string.sub(json, place, place) == '"' do
      local key_end = string_end(json, place)
      local last = value_end(json, key_end + 2)
      if string.sub(json, place, key_end) == key then
        return place, key_end + 2, last
      end
      place = last + 2
    end
  end

  -- ``json`` with ``value`` at the path that remains from ``depth`` on; objects that are missing on the way are made.
  local function with(json, path, depth, value)
    local key = path[depth]
    if not key then
      return value
    elseif not json or string.sub(json, 1, 1) ~= '{' then
      json = '{}'
    end
    local _, first, last = member(json, key)
    if first then
      return string.sub(json, 1, first - 1) .. with(string.sub(json, first, last), path, depth + 1, value)
        .. string.sub(json, last + 1)
    end
    local comma = json == '{}' and '' or ','
    return string.sub(json, 1, -2) .. comma .. key .. ':' .. with(nil, path, depth + 1, value) .. '}'
  end

  -- ``json`` without the member at that path.
  local function without(json, path, depth)
    if string.sub(json, 1, 1) ~= '{' then
      return json
    end
    local start, first, last = member(json, path[depth])
    if not start then
      return json
    elseif path[depth + 1] then
      return string.sub(json, 1, first - 1) .. without(string.sub(json, first, last), path, depth + 1)
        .. string.sub(json, last + 1)
    end
    local before, after = string.sub(json, 1, start - 1), string.sub(json, last + 1)
    if string.sub(after, 1, 1) == ',' then
      after = string.sub(after, 2)
    elseif string.sub(before, -1) == ',' then
      before = string.sub(before, 1, -2)
    end
    return before .. after
  end

  local function value_at(draft, key)
    local value = draft.patch[key]
    if value == nil and not draft.fresh then
      value = call('HGET', mine .. 's:' .. draft.id, key)
    end
    return value or nil
  end

  local function put(draft, path, value)
    if path[2] then
      value = with(value_at(draft, path[1]), path, 2, value)
    end
    draft.patch[path[1]] = value
  end

  local function cut(draft, path)
    local value = path[2] and value_at(draft, path[1])
    if value then
      draft.patch[path[1]] = without(value, path, 2)
    elseif not path[2] then
      draft.patch[path[1]] = false
    end
  end

  -- Carries out what a change says about data. ``first``: the sequence of its first entry.
  return function(draft, change, first)
    draft.patch = draft.patch or {}
    for _, path in ipairs(change.unset or {}) do
      cut(draft, path)
    end
    for _, item in ipairs(change.set or {}) do
      put(draft, item[1], ARGV[item[2]])
    end
    for _, path in ipairs(change.mark or {}) do
      put(draft, path, whole(first))
    end
  end
end
