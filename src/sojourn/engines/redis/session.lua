-- What the scripts share: put in front of each of them.
-- ARGV[1]: the time in microseconds when a test gives it, '' otherwise. ARGV[2]: the tenant's keys of this shard begin so.
--
-- A session is a hash. Its own fields have one letter: k kind, h home, o owner, s state, v version, p phase, c created, m mark,
-- a active, b bucket, d deadline, e ended, q last sequence, n counters (JSON), f base of a fork, l lineage of a fork, t tags,
-- x number of its last event; what is not set is not there. Every other field is a key of its data, quoted as in JSON, with its
-- value as JSON text: no script decodes a user's JSON, since cjson keeps 14 digits of a number and turns [] into {}.
--
-- Functions cost time in every call, more so with each local they use from outside; so there are few, and what is rare is
-- inside of a function that makes the others (*_part).

local call, mine = redis.call, ARGV[2]

-- The time of this call.
local function time()
  if ARGV[1] ~= '' then
    return tonumber(ARGV[1])
  end
  local read = call('TIME')
  return read[1] * 1000000 + read[2]
end

-- A whole number as text, or null. Where this is not used, numbers are small: put into text as they are, 14 digits are kept.
local function whole(number)
  return number and string.format('%.0f', number) or 'null'
end

-- A word as JSON, or null.
local function quote(word)
  if not word then
    return 'null'
  elseif string.find(word, '[^%w_. -]') then
    return cjson.encode(word)
  end
  return '"' .. word .. '"'
end

-- A word of a key, in which ':' separates words.
local function escape(word)
  if string.find(word, '[%%:]') then
    word = string.gsub(word, '[%%:]', { ['%'] = '%25', [':'] = '%3A' })
  end
  return word
end
