-- Background work on the store itself, in bounded steps.

-- Remove the leases that are named after a session, in its home; how many.
create function sojourn_unlease(session_number bigint) returns integer language plpgsql volatile as $$
declare
  gone integer;
begin
  delete from sojourn_lease l using sojourn_session s
  where s.n = session_number and l.tenant = s.tenant and l.home = s.home
    and l.name in ('fold/' || s.id, 'conversation/' || s.id, 'narration/' || s.id, 'workspace/' || s.id);
  get diagnostics gone = row_count;
  return gone;
end $$;

-- Remove at most about this many rows that nobody can see any more; how many were removed. What a commit works on now is
-- passed over.
create function sojourn_purge(most integer, operation_life bigint, event_life bigint, clock bigint)
returns integer language plpgsql volatile
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
declare
  moment bigint := sojourn_time(clock);
  removed integer := 0;
  gone integer;
  shared bigint;
  log_number bigint;
  through bigint;
begin
  -- Deleted sessions: entries that no fork reads, then the rest of them when no fork reads anything.
  for log_number in
    select s.n from sojourn_session s
    where s.state = 'deleted' and (
      not exists (select from sojourn_share h where h.log = s.n) or exists (
        select from sojourn_entry e
        where e.log = s.n and e.sequence > (select max(h.through) from sojourn_share h where h.log = s.n)
      )
    )
    order by s.n limit most for update skip locked
  loop
    shared := coalesce((select max(h.through) from sojourn_share h where h.log = log_number), 0);
    through := (
      select max(part.sequence)
      from (
        select p.sequence from sojourn_entry p
        where p.log = log_number and p.sequence > shared order by p.sequence limit most - removed
      ) part
    );
    delete from sojourn_word w where w.log = log_number and w.sequence > shared and w.sequence <= through;
    delete from sojourn_entry e where e.log = log_number and e.sequence > shared and e.sequence <= through;
    get diagnostics gone = row_count;
    removed := removed + gone;
    if removed >= most then
      return removed;
    end if;
    if shared = 0 then
      perform sojourn_unlease(log_number);
      delete from sojourn_tag t where t.n = log_number;
      delete from sojourn_share h where h.session = log_number;
      delete from sojourn_data d where d.n = log_number;
      delete from sojourn_session s where s.n = log_number;
      removed := removed + 1;
    end if;
    if removed >= most then
      return removed;
    end if;
  end loop;

  delete from sojourn_operation o
  where (o.tenant, o.home, o.id) in (
    select p.tenant, p.home, p.id from sojourn_operation p where p.at < moment - operation_life limit most - removed
  );
  get diagnostics gone = row_count;
  removed := removed + gone;

  -- Of each shard the oldest events only, up to the first that stays: times may go back, and a hole would be no gap. One
  -- whose entries wait for the index stays, too.
  for place in 0 .. 15 loop
    exit when removed >= most;
    select coalesce(min(part.number) filter (where part.at >= moment - event_life or part.waits) - 1, max(part.number))
    into through
    from (
      select e.number, e.at, e.deferred and e.number > (select i.number from sojourn_indexed i where i.shard = place) as waits
      from sojourn_event e where e.shard = place order by e.number limit most - removed
    ) part;
    delete from sojourn_event e where e.shard = place and e.number <= through;
    get diagnostics gone = row_count;
    removed := removed + gone;
  end loop;
  return removed;
end $$;

-- Remove what belongs to an owner and empty what they wrote elsewhere, at most about this many rows:
-- [sessions, entries, aliases, leases, complete].
create function sojourn_erase(of_tenant text, of_owner text, most integer) returns json language plpgsql volatile
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
declare
  mine record;
  numbers bigint[];
  sessions integer := 0;
  entries integer := 0;
  aliases integer := 0;
  leases integer := 0;
  gone integer;
begin
  -- Aliases are moved under the lock of their home, so they are freed under it, too.
  perform pg_advisory_xact_lock(key)
  from (
    select distinct hashtextextended(concat_ws(e'\x1f', 'home', of_tenant, homes.home), 7350) as key
    from (
      select a.home
      from (
        select s.id from sojourn_session s where s.tenant = of_tenant and s.owner = of_owner limit most
      ) owned
        join sojourn_alias a on a.tenant = of_tenant and a.target = owned.id
      union all
      select a.home from sojourn_alias a where a.tenant = of_tenant and (a.target = of_owner or a.home = of_owner)
    ) homes
    order by 1
  ) named;
  for mine in
    select s.n, s.id
    from (select o.n from sojourn_session o where o.tenant = of_tenant and o.owner = of_owner limit most) found
      join sojourn_session s on s.n = found.n
    order by s.n for update of s
  loop
    delete from sojourn_word w
    where w.log = mine.n and w.sequence in (
      select p.sequence from sojourn_entry p
      where p.log = mine.n and not p.redacted order by p.sequence limit most - entries
    );
    update sojourn_entry e set text = null, data = null, author = null, redacted = true
    where e.log = mine.n and e.sequence in (
      select p.sequence from sojourn_entry p
      where p.log = mine.n and not p.redacted order by p.sequence limit most - entries
    );
    get diagnostics gone = row_count;
    entries := entries + gone;
    if entries >= most then
      return json_build_array(sessions, entries, aliases, leases, false);
    end if;
    delete from sojourn_alias a
    where a.tenant = of_tenant and (a.target = mine.id or a.target is null and a.previous = mine.id);
    get diagnostics gone = row_count;
    update sojourn_alias a set previous = null where a.tenant = of_tenant and a.previous = mine.id;
    aliases := aliases + gone;
    leases := leases + sojourn_unlease(mine.n);
    delete from sojourn_tag t where t.n = mine.n;
    update sojourn_data d set data = '{}' where d.n = mine.n;
    update sojourn_event e set id = '', reason = '', change = 'erased' where e.session = mine.n;
    update sojourn_session s
    set state = 'deleted', owner = null, home = '', deadline = null, counters = '{}', version = s.version + 1
    where s.n = mine.n;
    sessions := sessions + 1;
  end loop;
  if sessions >= most then
    return json_build_array(sessions, entries, aliases, leases, false);
  end if;

  with written as (
    update sojourn_entry e set text = null, data = null, author = null, redacted = true
    where (e.log, e.sequence) in (
      select p.log, p.sequence from sojourn_entry p join sojourn_session s on s.n = p.log
      where p.author = of_owner and s.tenant = of_tenant order by p.log, p.sequence limit most - entries for update of p
    )
    returning e.log, e.sequence
  ), forgotten as (
    delete from sojourn_word w using written where w.log = written.log and w.sequence = written.sequence
  )
  select count(*) into gone from written;
  entries := entries + gone;
  -- The owner's own home goes. A home they share (a project, a channel) has names and leases of others.
  -- A freed name still says whose it was.
  update sojourn_alias a set previous = null
  where a.tenant = of_tenant and a.previous = of_owner and a.target is not null and a.target <> of_owner;
  delete from sojourn_alias a where a.tenant = of_tenant and (a.target = of_owner or a.home = of_owner or a.previous = of_owner);
  get diagnostics gone = row_count;
  aliases := aliases + gone;
  delete from sojourn_lease l where l.tenant = of_tenant and l.home = of_owner;
  get diagnostics gone = row_count;
  leases := leases + gone;
  delete from sojourn_operation o where o.tenant = of_tenant and o.home = of_owner;
  return json_build_array(sessions, entries, aliases, leases, entries < most);
end $$;

-- Bring the search index forward: store the words of entries (their logs, sequences and words as JSON) that are still there,
-- and the events that it has come through. Fails rather than wait for whoever redacts one of them now.
create function sojourn_index(given json, shards smallint[], numbers bigint[]) returns void language plpgsql volatile
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
begin
  insert into sojourn_word (number, log, sequence, words)
  select there.found, there.log, there.sequence, there.words
  from (
    select e.found, e.log, e.sequence, sojourn_words_of(g.words, s.tenant, s.kind, s.owner) as words
    from json_to_recordset(given) g (log bigint, sequence bigint, words text[])
      join sojourn_entry e on e.log = g.log and e.sequence = g.sequence and e.text is not null
      join sojourn_session s on s.n = e.log
        and (s.state <> 'deleted' or e.sequence <= (select max(h.through) from sojourn_share h where h.log = e.log))
    order by e.log, e.sequence
    for share of e nowait
  ) there
  on conflict do nothing;
  update sojourn_indexed i set number = greatest(i.number, n.number)
  from (select * from unnest(shards, numbers) named (shard, number) order by 1) n
  where i.shard = n.shard;
end $$;
