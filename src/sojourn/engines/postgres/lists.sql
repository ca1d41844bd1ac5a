-- Lists, with a planner that has no choice: each order is that of one index alone (schema.sql), and whatever would walk or sort
-- a table instead is off. What the statistics say of a new store, or of a rare state of a common kind, then does not matter.

-- The rows of a statement of `reads.py`, whose values it names as ($1)[1], ($1)[2], ...
create function sojourn_list(statement text, given text[]) returns table (
  tenant text, id text, kind text, home text, owner text, state text, version bigint, phase bigint, created_at bigint,
  mark bigint, active_at bigint, deadline bigint, ended_at bigint, last_sequence bigint, counters jsonb, data json,
  base_id text, base_at bigint, bucket bigint
) language plpgsql stable
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set enable_incremental_sort = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
begin
  return query execute statement using given;
end $$;

-- Which history of the server this is: each promotion, and each recovery to a point in time, begins another. 0 where that is
-- not known: on a standby, which may still follow another, and on servers that do not tell.
create function sojourn_history() returns bigint language plpgsql stable
as $$
begin
  if pg_is_in_recovery() then
    return 0;
  end if;
  return ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::bigint;
exception when others then
  return 0;
end $$;

-- The session in which an entry is found: the one that wrote it or, when that one is deleted, the oldest fork that shares it.
-- Each offset 0 has the planner go by number, and never walk the sessions by their states.
create function sojourn_holder(
  writer sojourn_session, of_sequence bigint, of_kind text, of_owner text
) returns table (id text) language sql stable
as $$
  select s.id from (
    select s.id, s.state from sojourn_session s
    where s.n = case
      when writer.state <> 'deleted' then writer.n
      else (
        select h.session from sojourn_share h
          cross join lateral (select f.state, f.kind, f.owner from sojourn_session f where f.n = h.session offset 0) f
        where h.log = writer.n and h.through >= of_sequence and f.state in ('active', 'ended', 'archived')
          and f.kind = of_kind and (of_owner is null or f.owner = of_owner)
        order by h.session limit 1
      ) end
    offset 0
  ) s
  where s.state in ('active', 'ended', 'archived')
$$;

-- Entries with these words that are indexed, and those that wait for the index, which the caller looks through: of each the
-- newest, in no order. Each offset 0 has the planner begin with the words, and with what waits (it is few, whatever is
-- expected), go from there by number, and never walk the sessions of an owner or a tenant. Sorting is forbidden where an index
-- has the order; what the index of words has found can only be sorted.
--
-- The beginning of a word makes the index gather everybody's entries with such a word, however few are the owner's. An owner of
-- no more than 2,000 entries is therefore looked up alone, and the words are looked for in what that gives.
--
-- Of words that more than 2,000 entries have, most likely there are enough among the newest 20,000 entries, so those are looked
-- through first, one by one, and what the index has found is fetched only when they had too few: the second half of a union is
-- not begun while its first half gives as many rows as are taken. That the rows come in order rests on plain nested loops in one
-- process: sojourn_holder is not to be marked parallel safe.
create function sojourn_search(
  wanted text, of_tenant text, of_kind text, of_owner text, of_topic text, of_types text[], most integer, tail integer
) returns table (
  waits boolean, found bigint, session text, sequence bigint, type text, label text, topic text, author text, text text,
  data text, key text, phase bigint, version bigint, created_at bigint, first bigint, last bigint, redacted boolean
) language plpgsql stable
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_sort = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
#variable_conflict use_column
declare
  asked tsquery := wanted::tsquery;
  mine tsquery := quote_literal(sojourn_owner_word(of_tenant, of_kind, of_owner))::tsquery;
  sought tsquery := asked && mine;
  newest bigint;
begin
  if of_owner is not null and not exists (select from sojourn_word w where w.words @@ (select mine) offset 2000) then
    sought := mine;
  end if;
  if exists (select from sojourn_word w where w.words @@ (select sought) offset 2000) then
    newest := (select max(w.number) from sojourn_word w) - 20000;
  end if;
  return query
  (
    select false as waits, e.found, e.id, e.sequence, e.type, e.label, e.topic, e.author, e.text, e.data, e.key, e.phase,
      e.version, e.created_at, e.first, e.last, e.redacted
    from (
      (
        select w.number, w.log, w.sequence from sojourn_word w
        where w.number > newest and ts_match_vq(w.words, sought)
        order by w.number desc offset 0
      )
      union all
      (
        select w.number, w.log, w.sequence from (
          select w.number, w.log, w.sequence from sojourn_word w
          where w.words @@ (select sought) and ts_match_vq(w.words, asked) and (newest is null or w.number <= newest)
          offset 0
        ) w
        order by w.number desc offset 0
      )
    ) w
      cross join lateral (
        select s.id, e.* from (select s as writer from sojourn_session s where s.n = w.log offset 0) o
          cross join lateral (
            select e.* from sojourn_entry e where e.log = w.log and e.sequence = w.sequence offset 0
          ) e
          cross join lateral sojourn_holder(o.writer, w.sequence, of_kind, of_owner) s
        where (o.writer).tenant = of_tenant and (o.writer).kind = of_kind and (of_owner is null or (o.writer).owner = of_owner)
          and (of_topic is null or e.topic = of_topic) and (of_types is null or e.type = any (of_types))
        offset 0
      ) e
    limit most
  )
  union all
  (
    select true, e.found, s.id, e.sequence, e.type, e.label, e.topic, e.author, e.text, e.data, e.key, e.phase, e.version,
      e.created_at, e.first, e.last, e.redacted
    from sojourn_indexed i
      cross join lateral (
        select v.session, v.first, v.last from sojourn_event v
        where v.shard = i.shard and v.deferred and v.number > i.number and v.tenant = of_tenant and v.kind = of_kind
        offset 0
      ) v
      cross join lateral (
        select s as writer from sojourn_session s where s.n = v.session and (of_owner is null or s.owner = of_owner)
        offset 0
      ) w
      cross join lateral (
        select e.* from sojourn_entry e
        where e.log = v.session and e.sequence between v.first and v.last and e.found is not null and e.text is not null
        offset 0
      ) e
      cross join lateral sojourn_holder(w.writer, e.sequence, of_kind, of_owner) s
    where (of_topic is null or e.topic = of_topic) and (of_types is null or e.type = any (of_types))
      and not exists (select from sojourn_word w where w.log = e.log and w.sequence = e.sequence)
    order by e.found desc limit tail
  );
end $$;
