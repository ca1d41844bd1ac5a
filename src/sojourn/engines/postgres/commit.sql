-- What one call carries: three lists of rows (`wire.py` writes them) and, for tests, a clock.
--
-- The names that the group's changes use, each once, and in `sessions`, `aliases` and `leases` which of them (from 1) each
-- change uses, in the order of the changes.
create type sojourn_frame as (
  locks text[],
  tenants text[],
  ids text[],
  sessions integer[],
  alias_tenants text[],
  alias_namespaces text[],
  alias_keys text[],
  alias_homes text[],
  aliases integer[],
  lease_tenants text[],
  lease_homes text[],
  lease_names text[],
  leases integer[],
  asked_batches integer[],
  asked_sessions integer[],
  asked_keys text[],
  worded boolean
);

-- One change of a batch; what it does not say is null. The fields of its batch are on the first one.
create type sojourn_change as (
  verb text,
  opens boolean,
  closes boolean,
  tenant text,
  home text,
  operation text,
  fingerprint text,
  keyed boolean,
  -- guard
  must_open boolean,
  timely boolean,
  due boolean,
  version bigint,
  phase bigint,
  silent text,
  leased boolean,
  fence bigint,
  fence_counter text,
  fence_seen bigint,
  -- what happens to a session
  id text,
  entries integer,
  voices text[],
  stamp text[],
  add_names text[],
  add_amounts bigint[],
  put_names text[],
  put_values bigint[],
  sets json,
  unsets json,
  marks json,
  entry_keys text[],
  tag text[],
  untag text[],
  state text,
  deadline boolean,
  deadline_at bigint,
  deadline_after bigint,
  deadline_cap bigint,
  deadline_if_none boolean,
  due_counter text,
  due_above bigint,
  next_phase boolean,
  bucket bigint,
  deferred boolean,
  change text,
  reason text,
  sequences bigint[],
  -- a new session
  shard smallint,
  kind text,
  owner text,
  data json,
  counters jsonb,
  base_id text,
  base_at bigint,
  created_at bigint,
  active_at bigint,
  ended_at bigint,
  -- an alias or a lease
  target text,
  epoch bigint,
  name text,
  holder text,
  ttl bigint
);

create type sojourn_new_entry as (
  type text,
  label text,
  topic text,
  author text,
  text text,
  data text,
  first bigint,
  last bigint,
  counted boolean,
  created_at bigint,
  key text,
  searched boolean,
  words text[]
);

-- A session while the group is decided: its row, and what became of it. Nothing is written before all is decided.
create type sojourn_draft as (
  n bigint,
  shard smallint,
  version bigint,
  phase bigint,
  created_at bigint,
  mark bigint,
  active_at bigint,
  bucket bigint,
  deadline bigint,
  ended_at bigint,
  last_sequence bigint,
  base_at bigint,
  tenant text,
  id text,
  kind text,
  home text,
  owner text,
  state text,
  base_id text,
  counters jsonb,
  lineage bigint[],
  data json,
  heard text[],
  fresh boolean,
  dirty boolean,
  placed boolean,
  patched boolean
);

-- An alias, a lease, an answer to be remembered and an event while the group is decided. Types of their own and not those of
-- the tables, which a later release may widen while this one still runs.
create type sojourn_name as (
  tenant text,
  namespace text,
  key text,
  home text,
  target text,
  epoch bigint,
  previous text,
  moved_at bigint
);

create type sojourn_lock as (
  tenant text,
  home text,
  name text,
  holder text,
  fence bigint,
  expires_at bigint
);

create type sojourn_done as (
  tenant text,
  home text,
  id text,
  fingerprint text,
  at bigint,
  answer json
);

create type sojourn_note as (
  shard smallint,
  number bigint,
  session bigint,
  version bigint,
  first bigint,
  last bigint,
  at bigint,
  deferred boolean,
  tenant text,
  id text,
  kind text,
  change text,
  reason text
);

-- What a commit gave to an entry.
create type sojourn_place as (
  log bigint,
  sequence bigint,
  phase bigint,
  version bigint,
  at bigint,
  key text,
  fingerprint text,
  span integer
);

-- An operation that is remembered with its first entry.
create type sojourn_asked as (
  sequence bigint,
  span integer,
  version bigint,
  phase bigint,
  fingerprint text
);

-- The engine's time in microseconds, read when it is asked for; a test's clock in its place.
create function sojourn_time(clock bigint) returns bigint language sql volatile
return coalesce(clock, (extract(epoch from clock_timestamp()) * 1000000)::bigint);

-- The deadline after a change: an instant, or a time from now, never after the cap; neither clears it.
create function sojourn_deadline(
  current bigint, wanted boolean, at bigint, after bigint, cap bigint, if_none boolean, moment bigint
) returns bigint language sql immutable
return case
  when wanted is null or (if_none and current is not null) then current
  when after is not null then least(moment + after, cap)
  when at is not null then least(at, cap)
end;

-- Refuse a batch that names a session of another home than its own.
create function sojourn_astray(home text, d sojourn_draft) returns void language plpgsql immutable as $$
begin
  raise exception 'a batch of home % names session % of home %', home, d.id, d.home using errcode = 'invalid_parameter_value';
end $$;

-- A counter within its range, which is what every engine counts exactly.
create function sojourn_counted(name text, value bigint) returns bigint language plpgsql immutable as $$
begin
  if value between -9007199254740991 and 9007199254740991 then
    return value;
  end if;
  raise exception 'counter % would be %', name, value using errcode = 'numeric_value_out_of_range';
end $$;

-- A session as a refusal shows it.
create function sojourn_shown(d sojourn_draft) returns json language sql stable
return json_build_array(
  d.tenant, d.id, d.kind, d.home, d.owner, d.state, d.version, d.phase, d.created_at, d.mark, d.active_at, d.deadline,
  d.ended_at, d.last_sequence, d.counters, coalesce(d.data, (select s.data from sojourn_data s where s.n = d.n)),
  d.base_id, d.base_at, d.bucket
);

-- Why a session refuses, with what it is now; of a deleted one nothing is shown.
create function sojourn_refusal(reason text, d sojourn_draft) returns json language sql stable
return case when d.state = 'deleted' then json_build_object('reason', reason, 'id', d.id)
  else json_build_object('reason', reason, 'id', d.id, 'session', sojourn_shown(d))
end;

-- Data with a value put at a path; whatever on the way is not an object becomes one. Everything else stays as it was
-- written, numbers and the order of keys included.
create function sojourn_set(data json, path text[], given json) returns json language plpgsql immutable as $$
begin
  if cardinality(path) > 1 then
    given := sojourn_set(
      case when json_typeof(data -> path[1]) = 'object' then data -> path[1] else '{}' end, path[2:], given
    );
  end if;
  return (
    select json_object_agg(item.key, item.value order by item.place)
    from (
      select old.key, case when old.key = path[1] then given else old.value end as value, old.place
      from json_each(data) with ordinality old (key, value, place)
      union all
      select path[1], given, null where data -> path[1] is null
    ) item
  );
end $$;

-- Data without what is at a path, if that leads through objects only.
create function sojourn_unset(data json, path text[]) returns json language plpgsql immutable as $$
begin
  if cardinality(path) > 1 then
    if json_typeof(data -> path[1]) is distinct from 'object' then
      return data;
    end if;
    return sojourn_set(data, path[:1], sojourn_unset(data -> path[1], path[2:]));
  end if;
  return coalesce(
    (
      select json_object_agg(old.key, old.value order by old.place)
      from json_each(data) with ordinality old (key, value, place) where old.key <> path[1]
    ),
    '{}'
  );
end $$;

-- Data with all that one change unsets and sets, and the number of its first entry where that is to be marked.
create function sojourn_patched(data json, unsets json, sets json, marks json, first bigint)
returns json language plpgsql immutable as $$
declare
  step json;
begin
  for step in select value from json_array_elements(coalesce(unsets, '[]')) loop
    data := sojourn_unset(data, array(select json_array_elements_text(step)));
  end loop;
  for step in select value from json_array_elements(coalesce(sets, '[]')) loop
    data := sojourn_set(data, array(select json_array_elements_text(step -> 0)), step -> 1);
  end loop;
  for step in select value from json_array_elements(coalesce(marks, '[]')) loop
    data := sojourn_set(data, array(select json_array_elements_text(step)), to_json(first));
  end loop;
  return data;
end $$;

-- Where the sequences of a session lie: pieces of shared logs first, its own log last. The pairs are counted by unnesting them,
-- which the planner takes for a few rows: of a series it would expect a thousand, and plan each read of entries anew.
create function sojourn_pieces(n bigint, lineage bigint[], last_sequence bigint)
returns table (log bigint, low bigint, high bigint) language sql immutable
begin atomic
  select part.log,
    1 + coalesce(max(part.through) over (order by part.place rows between unbounded preceding and 1 preceding), 0),
    part.through
  from (
    select lineage[2 * place - 1] as log, lineage[2 * place] as through, place
    from unnest(lineage) with ordinality pair (item, place) where 2 * place <= cardinality(lineage)
    union all
    select n, last_sequence, 2147483647
  ) part;
end;

-- The index word that stands for one owner's entries of a kind or, without an owner, for all of that kind of a tenant, so that a
-- search among them does not walk through everybody's. It begins with a private-use character, so no word of a text is one; that
-- two may be the same matters not, since what is found is looked at.
create function sojourn_owner_word(tenant text, kind text, owner text) returns text language sql immutable
return chr(57344) || left(md5(tenant || chr(31) || kind || chr(31) || coalesce(owner, '')), 16);

-- The words of a session's entry: those of its text, and those it is looked for among.
create function sojourn_words_of(words text[], tenant text, kind text, owner text) returns tsvector language sql immutable
return array_to_tsvector(words || sojourn_owner_word(tenant, kind, owner) || sojourn_owner_word(tenant, kind, null));

-- Carry out a group of batches in one transaction: lock, read the clock, decide every batch in turn, then write.
--
-- Batches of a group may name the same sessions, aliases and leases: a decision sees what was decided before it. Other
-- dependencies (the same operation id, tags of one session, deletions) never meet in a group; `wire.py` sees to that. A
-- refused batch changes nothing. Any error is an error of the whole call, and the caller tries the batches one by one.
--
-- Waits for locks so many milliseconds; lazy: does not wait for the disk. Answers one row per batch: [time, refusal, replayed,
-- moved, epochs, fences], and last whether somebody watches.
create function sojourn_commit(frame json, changes json, entries json, clock bigint, patience integer, lazy boolean)
returns json language plpgsql volatile
-- Plans are made once per connection and must stay right while tables grow from nothing.
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
#variable_conflict use_column
declare
  f sojourn_frame := json_populate_record(null::sojourn_frame, frame);
  c sojourn_change;
  d sojourn_draft;
  parent sojourn_draft;
  a sojourn_name;
  l sojourn_lock;
  found_session record;
  found_asked record;
  drafts sojourn_draft[];
  aliases sojourn_name[];
  leases sojourn_lock[];
  asked sojourn_asked[];
  first_answer record;
  -- where in the lists we are
  batch integer := 0;
  session_place integer := 0;
  alias_place integer := 0;
  lease_place integer := 0;
  entry_place integer := 0;
  slot integer;
  parent_slot integer;
  -- the batch in hand
  settled boolean;
  refusal json;
  reason text;
  tenant text;
  home text;
  operation text;
  fingerprint text;
  remembered text;
  engine_time bigint;
  moment bigint;
  moved json[];
  epochs bigint[];
  fences bigint[];
  -- to undo it: what its changes found
  several boolean;
  kept_slots integer[];
  kept sojourn_draft[];
  kept_alias_slots integer[];
  kept_aliases sojourn_name[];
  kept_lease_slots integer[];
  kept_leases sojourn_lock[];
  entries_before integer;
  events_before integer;
  shard_events_before integer[];
  tags_before integer;
  untags_before integer;
  redactions_before integer;
  aliases_before integer;
  leases_before integer;
  -- the change in hand
  born boolean;
  first bigint;
  last bigint;
  voice text;
  name text;
  place integer;
  before bigint;
  -- what is to be written
  answers json[] := '{}';
  places sojourn_place[];
  events sojourn_note[] := '{}';
  tag_slots integer[] := '{}';
  tags text[] := '{}';
  untag_slots integer[] := '{}';
  untags text[] := '{}';
  redacted_slots integer[] := '{}';
  redacted bigint[] := '{}';
  entry_logs bigint[] := '{}';
  entry_keys text[] := '{}';
  alias_slots integer[] := '{}';
  lease_slots integer[] := '{}';
  operations sojourn_done[] := '{}';
  shard_events integer[] := array_fill(0, array[16]);
  shard_numbers bigint[] := array_fill(0::bigint, array[16]);
  any_fresh boolean := false;
  any_dirty boolean := false;
  any_placed boolean := false;
  any_patched boolean := false;
  any_replayed boolean := false;
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception 'a commit needs the isolation level read committed' using errcode = 'feature_not_supported';
  end if;

  perform set_config('lock_timeout', patience::text, true);
  if lazy then
    perform set_config('synchronous_commit', 'off', true);
  end if;

  -- Lock, in an order that all share: homes and leases by their hash, sessions by their number, event shards last.
  if f.locks is not null then
    perform pg_advisory_xact_lock(key)
    from (select distinct hashtextextended(lock_name, 7350) as key from unnest(f.locks) lock_name order by 1) named;
  end if;
  if cardinality(f.ids) = 1 then
    select s.n, s.shard, s.version, s.phase, s.created_at, s.mark, s.active_at, s.bucket, s.deadline, s.ended_at, s.last_sequence,
      s.base_at, s.tenant, s.id, s.kind, s.home, s.owner, s.state, s.base_id, s.counters, s.lineage,
      null, null, false, false, false, false
    into d
    from sojourn_session s where s.tenant = f.tenants[1] and s.id = f.ids[1]
    for update;
    drafts[1] := d;
  elsif f.ids is not null then
    for found_session in
      select row (
        s.n, s.shard, s.version, s.phase, s.created_at, s.mark, s.active_at, s.bucket, s.deadline, s.ended_at, s.last_sequence,
        s.base_at, s.tenant, s.id, s.kind, s.home, s.owner, s.state, s.base_id, s.counters, s.lineage,
        null, null, false, false, false, false
      )::sojourn_draft as draft, named.slot
      from unnest(f.tenants, f.ids) with ordinality named (tenant, id, slot)
        join sojourn_session s on s.tenant = named.tenant and s.id = named.id
      order by s.n
      for update of s
    loop
      drafts[found_session.slot] := found_session.draft;
    end loop;
  end if;
  engine_time := sojourn_time(clock);

  -- Read what else the decisions need.
  if f.alias_keys is not null then
    select array_agg(
        row (
          named.tenant, named.namespace, named.key, named.home, found.target, coalesce(found.epoch, 0), found.previous,
          coalesce(found.moved_at, 0)
        )::sojourn_name
        order by named.slot
      )
    into aliases
    from unnest(f.alias_tenants, f.alias_namespaces, f.alias_keys, f.alias_homes)
        with ordinality named (tenant, namespace, key, home, slot)
      left join sojourn_alias found
        on found.tenant = named.tenant and found.namespace = named.namespace and found.key = named.key;
  end if;
  if f.lease_names is not null then
    select array_agg(
        row (
          named.tenant, named.home, named.name, found.holder, coalesce(found.fence, 0), coalesce(found.expires_at, 0)
        )::sojourn_lock
        order by named.slot
      )
    into leases
    from unnest(f.lease_tenants, f.lease_homes, f.lease_names) with ordinality named (tenant, home, name, slot)
      left join sojourn_lease found
        on found.tenant = named.tenant and found.home = named.home and found.name = named.name;
  end if;
  if f.asked_keys is not null then
    for found_asked in
      select named.batch, e.sequence, e.span, e.version, e.phase, coalesce(e.fingerprint, '') as fingerprint
      from unnest(f.asked_batches, f.asked_sessions, f.asked_keys) named (batch, slot, key)
        join sojourn_entry e on e.log = (drafts[named.slot]).n and e.key = named.key
    loop
      asked[found_asked.batch] := row (
        found_asked.sequence, found_asked.span, found_asked.version, found_asked.phase, found_asked.fingerprint
      );
    end loop;
  end if;

  -- Decide.
  for c in select * from json_populate_recordset(null::sojourn_change, changes) loop
    if c.opens then
      batch := batch + 1;
      settled := false;
      several := c.closes is null;
      tenant := c.tenant;
      home := c.home;
      operation := c.operation;
      fingerprint := c.fingerprint;
      remembered := null;
      moment := engine_time;
      moved := '{}';
      epochs := null;
      fences := null;
      if several then
        kept_slots := '{}';
        kept := '{}';
        kept_alias_slots := '{}';
        kept_aliases := '{}';
        kept_lease_slots := '{}';
        kept_leases := '{}';
        entries_before := entry_place;
        events_before := cardinality(events);
        shard_events_before := shard_events;
        tags_before := cardinality(tags);
        untags_before := cardinality(untags);
        redactions_before := cardinality(redacted);
        aliases_before := cardinality(alias_slots);
        leases_before := cardinality(lease_slots);
      end if;
    end if;
    refusal := null;

    -- Which session, alias and lease it names.
    slot := null;
    if c.id is not null then
      session_place := session_place + 1;
      slot := f.sessions[session_place];
      d := drafts[slot];
    end if;
    if c.base_id is not null then
      session_place := session_place + 1;
      parent_slot := f.sessions[session_place];
    end if;
    if c.verb = 'point' then
      alias_place := alias_place + 1;
    end if;
    if c.leased then
      lease_place := lease_place + 1;
      l := leases[f.leases[lease_place]];
    end if;
    if settled then
      entry_place := entry_place + coalesce(c.entries, 0);
      continue;
    end if;

    -- The operation id: asked before? Then the first answer.
    if c.opens and operation is not null then
      if c.keyed then
        if asked[batch] is not null then
          settled := true;
          any_replayed := true;
          if (asked[batch]).fingerprint <> '' and (asked[batch]).fingerprint is distinct from fingerprint then
            answers := array_append(answers, json_build_array(
              moment, sojourn_refusal('key', d), false, null, null, null
            ));
          else
            answers := array_append(answers, json_build_array(
              greatest(moment, d.mark), null, true,
              json_build_array(json_build_array(
                d.id, (asked[batch]).version, (asked[batch]).phase, (asked[batch]).sequence,
                (asked[batch]).sequence + (asked[batch]).span - 1, d.state, d.deadline, d.counters
              )),
              null, null
            ));
          end if;
        else
          remembered := operation;
        end if;
      else
        select o.fingerprint, o.answer into first_answer from sojourn_operation o
        where o.tenant = c.tenant and o.home = c.home and o.id = c.operation;
        if found then
          settled := true;
          any_replayed := true;
          if first_answer.fingerprint is distinct from fingerprint then
            answers := array_append(answers, json_build_array(
              moment, json_build_object('reason', 'key'), false, null, null, null
            ));
          else
            answers := array_append(answers, json_build_array(
              moment, null, true, first_answer.answer -> 0, first_answer.answer -> 1, first_answer.answer -> 2
            ));
          end if;
        end if;
      end if;
      if settled then
        entry_place := entry_place + coalesce(c.entries, 0);
        continue;
      end if;
    end if;

    -- The guard. That the session exists is always required.
    if slot is not null and c.verb <> 'create' then
      if d.n is null or d.state = 'deleted' then
        refusal := json_build_object('reason', 'missing', 'id', c.id);
      else
        if home <> d.home and home <> '' then
          perform sojourn_astray(home, d);
        end if;
        moment := greatest(moment, d.mark);
        reason := case
          when c.must_open and d.state not in ('active', 'pending') then
            case d.state when 'archived' then 'archived' else 'ended' end
          when c.version <> d.version then 'version'
          when c.phase <> d.phase then 'phase'
          when c.timely and moment >= d.deadline then 'expired'
          when c.due and (d.deadline is null or moment < d.deadline) then 'early'
        end;
        if reason is null and c.silent is not null then
          if c.silent = any (d.heard) or exists (
            select from sojourn_entry e
            where e.counted and e.log = d.n and e.phase = d.phase and e.author = c.silent
          ) then
            reason := 'spoken';
          end if;
        end if;
        if reason is not null then
          refusal := sojourn_refusal(reason, d);
        elsif c.leased and (l.fence <> c.fence or l.holder is null or engine_time >= l.expires_at) then
          refusal := json_build_object(
            'reason', 'fence', 'id', d.id, 'lease', json_build_array(l.name, l.holder, l.fence, l.expires_at)
          );
        elsif coalesce((d.counters ->> c.fence_counter)::bigint, 0) > c.fence_seen then
          refusal := json_build_object('reason', 'fence', 'id', d.id, 'lease', json_build_array(
            substr(c.fence_counter, 7), null, (d.counters ->> c.fence_counter)::bigint, 0
          ));
        elsif c.fence_counter is not null then
          d.counters := d.counters || jsonb_build_object(c.fence_counter, c.fence_seen);
        end if;
      end if;
    end if;

    if refusal is not null then
      entry_place := entry_place + coalesce(c.entries, 0);

    elsif c.verb = 'write' or c.verb = 'create' then
      if c.verb = 'create' then
        parent := null;
        if c.base_id is not null then
          parent := drafts[parent_slot];
        end if;
        if d.n is not null then
          refusal := sojourn_refusal('present', d);
        elsif cardinality(c.entry_keys) > (select count(distinct key) from unnest(c.entry_keys) key) then
          refusal := json_build_object('reason', 'key', 'id', c.id);
        elsif c.base_id is not null and (parent.n is null or parent.state = 'deleted') then
          refusal := json_build_object('reason', 'missing', 'id', c.base_id);
        elsif parent.home <> home then
          perform sojourn_astray(home, parent);
        end if;
      elsif c.entry_keys is not null then
        -- The keys that its entries bring are new to the session: among themselves, in this batch, in its log.
        if cardinality(c.entry_keys) > (select count(distinct key) from unnest(c.entry_keys) key) or exists (
          select from sojourn_entry e where e.log = d.n and e.key = any (c.entry_keys)
        ) or exists (
          select from unnest(entry_logs, entry_keys) given (log, key)
          where given.log = d.n and given.key = any (c.entry_keys)
        ) then
          refusal := sojourn_refusal('key', d);
        end if;
      end if;
      if refusal is not null then
        entry_place := entry_place + coalesce(c.entries, 0);
      else
        if several then
          kept_slots := array_append(kept_slots, slot);
          kept := array_append(kept, drafts[slot]);
        end if;
        born := false;
        if c.verb = 'create' then
          d := row (
            nextval('sojourn_session_number'), c.shard, 1, 0, coalesce(c.created_at, moment), moment,
            coalesce(c.active_at, c.created_at, moment), 0, null,
            coalesce(c.ended_at, case when c.state in ('ended', 'archived') then moment end), 0, c.base_at, tenant, c.id,
            c.kind, home, c.owner, c.state, c.base_id, c.counters, null, c.data, null, true, true, false, false
          );
          d.bucket := d.active_at - d.active_at % c.bucket;
          if c.base_id is not null then
            d.last_sequence := least(c.base_at, parent.last_sequence);
            d.base_at := d.last_sequence;
            d.lineage := array(
              select unnest(array[p.log, least(p.high, d.last_sequence)])
              from sojourn_pieces(parent.n, parent.lineage, parent.last_sequence) p
            );
          end if;
          any_fresh := true;
        else
          born := d.state = 'pending';
          d.mark := moment;
          d.version := d.version + 1;
          d.dirty := true;
          any_dirty := true;
          if c.next_phase then
            d.phase := d.phase + 1;
            d.heard := null;
            if d.counters ? 'authors' then
              d.counters := d.counters || '{"authors": 0}';
            end if;
          end if;
        end if;

        -- Entries get their sequences, and their authors are counted.
        first := 0;
        last := 0;
        if c.entries is not null then
          first := d.last_sequence + 1;
          last := d.last_sequence + c.entries;
          for number in 1 .. c.entries loop
            entry_place := entry_place + 1;
            places[entry_place] := row (
              d.n, d.last_sequence + number, d.phase, d.version, moment,
              case when number = 1 then remembered end,
              case when number = 1 and remembered is not null then fingerprint end,
              case when number = 1 and remembered is not null then c.entries else 1 end
            );
          end loop;
          d.last_sequence := last;
          if c.entry_keys is not null then
            entry_logs := entry_logs || array_fill(d.n, array[cardinality(c.entry_keys)]);
            entry_keys := entry_keys || c.entry_keys;
          end if;
          if c.voices is not null then
            foreach voice in array c.voices loop
              if not coalesce(voice = any (d.heard), false) then
                if d.fresh or not exists (
                  select from sojourn_entry e
                  where e.counted and e.log = d.n and e.phase = d.phase and e.author = voice
                ) then
                  d.counters := d.counters
                    || jsonb_build_object('authors', coalesce((d.counters ->> 'authors')::bigint, 0) + 1);
                end if;
                d.heard := array_append(d.heard, voice);
              end if;
            end loop;
          end if;
        end if;

        -- Counters.
        if c.add_names is not null then
          for number in 1 .. cardinality(c.add_names) loop
            name := c.add_names[number];
            d.counters := d.counters || jsonb_build_object(
              name, sojourn_counted(name, coalesce((d.counters ->> name)::bigint, 0) + c.add_amounts[number])
            );
          end loop;
        end if;
        if c.put_names is not null then
          for number in 1 .. cardinality(c.put_names) loop
            d.counters := d.counters || jsonb_build_object(c.put_names[number], c.put_values[number]);
          end loop;
        end if;
        if c.stamp is not null then
          foreach name in array c.stamp loop
            d.counters := d.counters || jsonb_build_object(name, moment);
          end loop;
        end if;

        -- Data, tags, state, deadline, activity.
        if c.sets is not null or c.unsets is not null or c.marks is not null then
          if d.data is null then
            select s.data into d.data from sojourn_data s where s.n = d.n;
          end if;
          d.data := sojourn_patched(d.data, c.unsets, c.sets, c.marks, first);
          d.patched := true;
          any_patched := true;
        end if;
        if c.tag is not null then
          foreach name in array c.tag loop
            tag_slots := array_append(tag_slots, slot);
            tags := array_append(tags, name);
          end loop;
        end if;
        if c.untag is not null then
          foreach name in array c.untag loop
            untag_slots := array_append(untag_slots, slot);
            untags := array_append(untags, name);
          end loop;
        end if;
        if c.verb = 'write' then
          if c.state <> d.state then
            d.state := c.state;
            d.ended_at := case when c.state in ('ended', 'archived') then coalesce(d.ended_at, moment) end;
            d.placed := true;
            any_placed := true;
          end if;
          if c.bucket is not null and moment > d.active_at then
            d.active_at := moment;
            if moment - moment % c.bucket > d.bucket then
              d.bucket := moment - moment % c.bucket;
              d.placed := true;
              any_placed := true;
            end if;
          end if;
        end if;
        d.deadline := sojourn_deadline(
          d.deadline, c.deadline, c.deadline_at, c.deadline_after, c.deadline_cap, c.deadline_if_none, moment
        );
        if c.due_counter is not null and coalesce((d.counters ->> c.due_counter)::bigint, 0) > c.due_above then
          d.deadline := least(d.deadline, engine_time);
        end if;

        drafts[slot] := d;
        moved := array_append(moved, json_build_array(
          d.id, d.version, d.phase, first, last, d.state, d.deadline, d.counters
        ));
        if d.state <> 'pending' then
          if born and d.last_sequence > 0 then
            first := coalesce(d.base_at, 0) + 1;
            last := d.last_sequence;
          end if;
          shard_events[d.shard + 1] := shard_events[d.shard + 1] + 1;
          events := array_append(events, row (
            d.shard, shard_events[d.shard + 1], d.n, d.version, first, last, moment,
            (coalesce(c.deferred, false) or born) and last > 0, tenant, d.id, d.kind,
            case when born then 'created' else c.change end, coalesce(c.reason, '')
          )::sojourn_note);
        end if;
      end if;

    elsif slot is not null then
      -- Touch, redact, delete.
      if several then
        kept_slots := array_append(kept_slots, slot);
        kept := array_append(kept, d);
      end if;
      born := d.state = 'pending';
      d.mark := moment;
      d.dirty := true;
      any_dirty := true;
      if c.verb = 'touch' then
        if moment > d.active_at then
          d.active_at := moment;
          if moment - moment % c.bucket > d.bucket then
            d.bucket := moment - moment % c.bucket;
            d.placed := true;
            any_placed := true;
          end if;
        end if;
        d.deadline := greatest(d.deadline, case when d.deadline is not null then sojourn_deadline(
          d.deadline, c.deadline, c.deadline_at, c.deadline_after, c.deadline_cap, c.deadline_if_none, moment
        ) end);
      else
        d.version := d.version + 1;
        if c.verb = 'redact' then
          redacted_slots := redacted_slots || array_fill(slot, array[cardinality(c.sequences)]);
          redacted := redacted || c.sequences;
          first := (select min(sequence) from unnest(c.sequences) sequence);
          last := (select max(sequence) from unnest(c.sequences) sequence);
        else
          d.state := 'deleted';
          d.deadline := null;
          d.ended_at := coalesce(d.ended_at, moment);
          d.placed := true;
          any_placed := true;
          first := 0;
          last := 0;
          -- The aliases of its home that point at it are freed: those that this group moved as it left them, and others.
          for a in
            select s.tenant, s.namespace, s.key, s.home, s.target, s.epoch, s.previous, s.moved_at from sojourn_alias s
            where s.tenant = c.tenant and s.target = c.id and s.home = c.home and not exists (
              select from unnest(aliases) known
              where known.tenant = s.tenant and known.namespace = s.namespace and known.key = s.key
            )
          loop
            aliases[coalesce(cardinality(aliases), 0) + 1] := a;
          end loop;
          for place in 1 .. coalesce(cardinality(aliases), 0) loop
            a := aliases[place];
            if a.target = c.id and a.home = c.home and a.tenant = c.tenant then
              if several then
                kept_alias_slots := array_append(kept_alias_slots, place);
                kept_aliases := array_append(kept_aliases, a);
              end if;
              a.epoch := a.epoch + 1;
              a.target := null;
              a.previous := c.id;
              a.moved_at := moment;
              aliases[place] := a;
              alias_slots := array_append(alias_slots, place);
            end if;
          end loop;
        end if;
        if not born then
          shard_events[d.shard + 1] := shard_events[d.shard + 1] + 1;
          events := array_append(events, row (
            d.shard, shard_events[d.shard + 1], d.n, d.version, first, last, moment, false, tenant, d.id, d.kind,
            case c.verb when 'redact' then 'redacted' else 'deleted' end, ''
          )::sojourn_note);
        end if;
      end if;
      drafts[slot] := d;
      moved := array_append(moved, json_build_array(
        d.id, d.version, d.phase, 0, 0, d.state, d.deadline, d.counters
      ));

    elsif c.verb = 'point' then
      place := f.aliases[alias_place];
      a := aliases[place];
      if c.epoch <> a.epoch then
        refusal := json_build_object('reason', 'epoch', 'alias', json_build_array(
          a.home, a.namespace, a.key, a.target, a.epoch, a.previous, a.moved_at
        ));
      else
        if several then
          kept_alias_slots := array_append(kept_alias_slots, place);
          kept_aliases := array_append(kept_aliases, a);
        end if;
        a.previous := a.target;
        a.target := c.target;
        a.epoch := a.epoch + 1;
        a.moved_at := moment;
        aliases[place] := a;
        alias_slots := array_append(alias_slots, place);
        epochs := array_append(epochs, a.epoch);
      end if;

    elsif c.verb = 'lend' or c.verb = 'yield' then
      place := f.leases[lease_place];
      if c.verb = 'yield' then
        if l.fence = c.fence and l.holder is not null then
          refusal := null;
        else
          place := null;
        end if;
      elsif c.fence is null then
        if l.holder is not null and engine_time < l.expires_at then
          reason := 'held';
        else
          reason := null;
        end if;
      elsif l.holder is null or engine_time >= l.expires_at or l.fence <> c.fence then
        reason := 'fence';
      else
        reason := null;
      end if;
      if c.verb = 'lend' and reason is not null then
        refusal := json_build_object(
          'reason', reason, 'lease', json_build_array(l.name, l.holder, l.fence, l.expires_at)
        );
      elsif place is not null then
        if several then
          kept_lease_slots := array_append(kept_lease_slots, place);
          kept_leases := array_append(kept_leases, l);
        end if;
        if c.verb = 'lend' then
          if c.fence is null then
            l.fence := l.fence + 1;
          end if;
          l.holder := c.holder;
          l.expires_at := engine_time + c.ttl;
          fences := array_append(fences, l.fence);
        else
          l.holder := null;
          l.expires_at := engine_time;
        end if;
        leases[place] := l;
        lease_slots := array_append(lease_slots, place);
      end if;
    end if;

    if refusal is not null then
      settled := true;
      answers := array_append(answers, json_build_array(moment, refusal, false, null, null, null));
      if several then
        for number in reverse cardinality(kept_slots) .. 1 loop
          drafts[kept_slots[number]] := kept[number];
        end loop;
        for number in reverse cardinality(kept_alias_slots) .. 1 loop
          aliases[kept_alias_slots[number]] := kept_aliases[number];
        end loop;
        for number in reverse cardinality(kept_lease_slots) .. 1 loop
          leases[kept_lease_slots[number]] := kept_leases[number];
        end loop;
        for number in entries_before + 1 .. entry_place loop
          places[number] := null;
        end loop;
        events := events[:events_before];
        shard_events := shard_events_before;
        tag_slots := tag_slots[:tags_before];
        tags := tags[:tags_before];
        untag_slots := untag_slots[:untags_before];
        untags := untags[:untags_before];
        redacted_slots := redacted_slots[:redactions_before];
        redacted := redacted[:redactions_before];
        alias_slots := alias_slots[:aliases_before];
        lease_slots := lease_slots[:leases_before];
      end if;
    elsif c.closes then
      answers := array_append(answers, json_build_array(
        moment, null, false, array_to_json(moved), array_to_json(epochs), array_to_json(fences)
      ));
      if operation is not null and remembered is null then
        operations := array_append(operations, row (
          tenant, home, operation, fingerprint, moment, json_build_array(
            array_to_json(moved), array_to_json(epochs), array_to_json(fences)
          )
        )::sojourn_done);
      end if;
    end if;
  end loop;

  -- Write.
  if any_fresh then
    insert into sojourn_session (
      n, shard, version, phase, created_at, mark, active_at, bucket, deadline, ended_at, last_sequence, base_at, tenant,
      id, kind, home, owner, state, base_id, counters, lineage
    )
    select
      w.n, w.shard, w.version, w.phase, w.created_at, w.mark, w.active_at, w.bucket, w.deadline, w.ended_at,
      w.last_sequence, w.base_at, w.tenant, w.id, w.kind, w.home, w.owner, w.state, w.base_id, w.counters, w.lineage
    from unnest(drafts) w where w.fresh;
    insert into sojourn_data (n, data) select w.n, w.data from unnest(drafts) w where w.fresh;
    insert into sojourn_share (log, session, through)
    select w.lineage[2 * pair - 1], w.n, w.lineage[2 * pair]
    from unnest(drafts) w cross join lateral generate_series(1, cardinality(w.lineage) / 2) pair
    where w.fresh and w.lineage is not null
    on conflict do nothing;
  end if;
  if any_dirty then
    update sojourn_session s
    set version = w.version, phase = w.phase, mark = w.mark, active_at = w.active_at, bucket = w.bucket,
      deadline = w.deadline, ended_at = w.ended_at, last_sequence = w.last_sequence, state = w.state,
      counters = w.counters
    from unnest(drafts) w where w.dirty and not w.fresh and s.n = w.n;
  end if;
  if any_patched then
    update sojourn_data s set data = w.data from unnest(drafts) w where w.patched and not w.fresh and s.n = w.n;
  end if;
  if any_placed then
    update sojourn_tag s set state = w.state, bucket = w.bucket
    from unnest(drafts) w where w.placed and not w.fresh and s.n = w.n;
  end if;
  if cardinality(tags) > 0 then
    insert into sojourn_tag (n, bucket, tag, tenant, kind, state, id)
    select t.n, t.bucket, t.tag, t.tenant, t.kind, t.state, t.id
    from (
      select (drafts[named.slot]).*, named.tag from unnest(tag_slots, tags) named (slot, tag)
    ) t
    on conflict do nothing;
  end if;
  if cardinality(untags) > 0 then
    delete from sojourn_tag s
    using unnest(untag_slots, untags) named (slot, tag)
    where s.n = (drafts[named.slot]).n and s.tag = named.tag;
  end if;
  if places is not null then
    insert into sojourn_entry (
      log, sequence, phase, version, created_at, first, last, found, span, counted, type, label, topic, author, text, data,
      key, fingerprint
    )
    select
      (given.place).log, (given.place).sequence, (given.place).phase, (given.place).version,
      coalesce(given.created_at, (given.place).at), given.first, given.last,
      case when given.searched then nextval('sojourn_entry_number') end, (given.place).span,
      coalesce(given.counted, false), given.type, coalesce(given.label, ''), coalesce(given.topic, ''), given.author,
      given.text, given.data, coalesce((given.place).key, given.key), (given.place).fingerprint
    from (
      select e.*, places[e.ordinality::integer] as place
      from json_populate_recordset(null::sojourn_new_entry, entries) with ordinality e
      offset 0
    ) given
    where (given.place).log is not null;
  end if;
  if f.worded and places is not null then
    insert into sojourn_word (number, log, sequence, words)
    select e.found, e.log, e.sequence, sojourn_words_of(given.words, s.tenant, s.kind, s.owner)
    from (
      select w.words, places[w.ordinality::integer] as place
      from json_populate_recordset(null::sojourn_new_entry, entries) with ordinality w
      offset 0
    ) given
      join sojourn_entry e on e.log = (given.place).log and e.sequence = (given.place).sequence
      join sojourn_session s on s.n = e.log
    where given.words is not null;
  end if;
  if cardinality(redacted) > 0 then
    update sojourn_entry e set text = null, data = null, author = null, redacted = true
    from (
      select piece.log, named.sequence
      from unnest(redacted_slots, redacted) named (slot, sequence)
        cross join lateral sojourn_pieces(
          (drafts[named.slot]).n, (drafts[named.slot]).lineage, (drafts[named.slot]).last_sequence
        ) piece
      where named.sequence between piece.low and piece.high
    ) place
    where e.log = place.log and e.sequence = place.sequence;
    delete from sojourn_word w
    using unnest(redacted_slots, redacted) named (slot, sequence)
      cross join lateral sojourn_pieces(
        (drafts[named.slot]).n, (drafts[named.slot]).lineage, (drafts[named.slot]).last_sequence
      ) piece
    where named.sequence between piece.low and piece.high and w.log = piece.log and w.sequence = named.sequence;
  end if;
  if cardinality(alias_slots) > 0 then
    insert into sojourn_alias (tenant, namespace, key, home, target, epoch, previous, moved_at)
    select (aliases[named.slot]).* from (select distinct slot from unnest(alias_slots) slot) named
    on conflict (tenant, namespace, key) do update
    set target = excluded.target, epoch = excluded.epoch, previous = excluded.previous, moved_at = excluded.moved_at;
  end if;
  if cardinality(lease_slots) > 0 then
    insert into sojourn_lease (tenant, home, name, holder, fence, expires_at)
    select (leases[named.slot]).* from (select distinct slot from unnest(lease_slots) slot) named
    on conflict (tenant, home, name) do update
    set holder = excluded.holder, fence = excluded.fence, expires_at = excluded.expires_at;
  end if;
  if cardinality(operations) > 0 then
    insert into sojourn_operation (tenant, home, id, fingerprint, at, answer)
    select o.tenant, o.home, o.id, o.fingerprint, o.at, o.answer from unnest(operations) o;
  end if;

  -- Number the events, last: whoever holds a shard's counter is done in a moment.
  if cardinality(events) > 0 then
    for place in 1 .. cardinality(shard_events) loop
      if shard_events[place] > 0 then
        update sojourn_shard s set number = s.number + shard_events[place] where s.shard = place - 1
        returning s.number - shard_events[place] into before;
        shard_numbers[place] := before;
      end if;
    end loop;
    insert into sojourn_event (
      shard, number, session, version, first, last, at, deferred, tenant, id, kind, change, reason
    )
    select e.shard, shard_numbers[e.shard + 1] + e.number, e.session, e.version, e.first, e.last, e.at, e.deferred, e.tenant,
      e.id, e.kind, e.change, e.reason
    from unnest(events) e;
  end if;

  -- What was done before may be here alone, when the wait for a synchronous standby was cut short. A transaction that writes
  -- nothing waits for no standby (one that locked a session has written), so one that repeats an answer writes a word to the log.
  if any_replayed and current_setting('synchronous_standby_names') <> '' then
    perform pg_logical_emit_message(true, 'sojourn', '');
  end if;

  -- Last, whether the client is to tell those who watch.
  answers := array_append(answers, to_json(cardinality(events) > 0 and exists (
    select from sojourn_meta m where m.name = 'watched' and m.value::bigint > sojourn_time(null)
  )));
  return array_to_json(answers);
end $$;
