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

-- Entries with these words that are indexed, newest first, and those that wait for the index, which the caller looks through.
-- Each offset 0 has the planner begin with the words, and with what waits (it is few, whatever is expected), and never walk the
-- sessions for their owner.
--
-- The beginning of a word makes the index gather everybody's entries with such a word, however few are the owner's. An owner of
-- no more than 2,000 entries is therefore looked up alone, and the words are looked for in what that gives.
create function sojourn_search(
  wanted text, of_tenant text, of_kind text, of_owner text, of_topic text, of_types text[], most integer, tail integer
) returns table (
  waits boolean, found bigint, session text, sequence bigint, type text, label text, topic text, author text, text text,
  data text, key text, phase bigint, version bigint, created_at bigint, first bigint, last bigint, redacted boolean
) language plpgsql stable
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
#variable_conflict use_column
declare
  asked tsquery := wanted::tsquery;
  mine tsquery := quote_literal(sojourn_owner_word(of_tenant, of_kind, of_owner))::tsquery;
  sought tsquery := asked;
begin
  if of_owner is not null then
    if exists (select from sojourn_word w where w.words @@ (select mine) offset 2000) then
      sought := asked && mine;
    else
      sought := mine;
    end if;
  end if;
  return query
  (
    select false as waits, e.found, s.id, e.sequence, e.type, e.label, e.topic, e.author, e.text, e.data, e.key, e.phase,
      e.version, e.created_at, e.first, e.last, e.redacted
    from (
      select w.number, w.log, w.sequence from sojourn_word w
      where w.words @@ (select sought) and ts_match_vq(w.words, asked)
      offset 0
    ) w
      join sojourn_entry e on e.log = w.log and e.sequence = w.sequence
      join sojourn_session s on s.n = w.log
    where s.tenant = of_tenant and s.kind = of_kind and s.state in ('active', 'ended', 'archived')
      and (of_owner is null or s.owner = of_owner) and (of_topic is null or e.topic = of_topic)
      and (of_types is null or e.type = any (of_types))
    order by w.number desc limit most
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
        select s.id from sojourn_session s
        where s.n = v.session and s.state in ('active', 'ended', 'archived') and (of_owner is null or s.owner = of_owner)
        offset 0
      ) s
      cross join lateral (
        select e.* from sojourn_entry e
        where e.log = v.session and e.sequence between v.first and v.last and e.found is not null and e.text is not null
        offset 0
      ) e
    where (of_topic is null or e.topic = of_topic) and (of_types is null or e.type = any (of_types))
      and not exists (select from sojourn_word w where w.log = e.log and w.sequence = e.sequence)
    order by e.found desc limit tail
  );
end $$;
