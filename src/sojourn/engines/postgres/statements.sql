-- The statements of the verbs by name; lists are put together in reads.py from the pieces there.

-- name: commit
-- Carry out a group of batches.
select sojourn_commit(%s, %s, %s, %s, %s, %s);

-- name: load
-- A session with its data, which may be missing.
select sojourn_time(%s) as now, s.tenant, s.id, s.kind, s.home, s.owner, s.state, s.version, s.phase, s.created_at, s.mark,
  s.active_at, s.deadline, s.ended_at, s.last_sequence, s.counters, d.data, s.base_id, s.base_at, s.bucket
from (select) always left join (sojourn_session s join sojourn_data d on d.n = s.n)
  on s.tenant = %s and s.id = %s and s.state <> 'deleted';

-- name: load_many
-- The same for several, one row for each in the order they are asked for.
select sojourn_time(%s) as now, s.tenant, s.id, s.kind, s.home, s.owner, s.state, s.version, s.phase, s.created_at, s.mark,
  s.active_at, s.deadline, s.ended_at, s.last_sequence, s.counters, d.data, s.base_id, s.base_at, s.bucket
from unnest(%s::text[], %s::text[]) with ordinality named (tenant, id, place)
  left join (sojourn_session s join sojourn_data d on d.n = s.n)
    on s.tenant = named.tenant and s.id = named.id and s.state <> 'deleted'
order by named.place;

-- name: load_entries
-- A session with a range of its entries: at most %(most)s from each piece of its log, then from all of them.
select sojourn_time(%(clock)s) as now, s.tenant, s.id, s.kind, s.home, s.owner, s.state, s.version, s.phase, s.created_at,
  s.mark, s.active_at, s.deadline, s.ended_at, s.last_sequence, s.counters, d.data, s.base_id, s.base_at, s.bucket, (
    select json_agg(json_build_array(
      e.sequence, e.type, e.label, e.topic, e.author, e.text, e.data, e.key, e.phase, e.version, e.created_at, e.first, e.last,
      e.redacted
    ))
    from (
      select found.*
      from sojourn_pieces(s.n, s.lineage, s.last_sequence) piece
        cross join {wanted} wanted (first, last)
        cross join lateral (
          select * from sojourn_entry
          where log = piece.log and sequence between greatest(piece.low, wanted.first) and least(piece.high, wanted.last)
            and (%(types)s::text[] is null or type = any (%(types)s))
            and (%(labels)s::text[] is null or label = any (%(labels)s))
            and (%(topic)s::text is null or topic = %(topic)s)
          order by sequence {direction} limit %(most)s
        ) found
      order by found.sequence {direction} limit %(most)s
    ) e
  )
from (select) always left join (sojourn_session s join sojourn_data d on d.n = s.n)
  on s.tenant = %(tenant)s and s.id = %(id)s and s.state <> 'deleted';

-- name: follow
-- An alias and the session it points at, either of which may be missing.
select sojourn_time(%s) as now, a.target, a.epoch, a.previous, a.moved_at, s.tenant, s.id, s.kind, s.home, s.owner, s.state,
  s.version, s.phase, s.created_at, s.mark, s.active_at, s.deadline, s.ended_at, s.last_sequence, s.counters, d.data,
  s.base_id, s.base_at, s.bucket
from (select) always
  left join sojourn_alias a on a.tenant = %s and a.namespace = %s and a.key = %s
  left join (sojourn_session s join sojourn_data d on d.n = s.n)
    on s.tenant = a.tenant and s.id = a.target and s.state <> 'deleted';

-- name: aliases
-- Which aliases point at a target.
select home, namespace, key, target, epoch, previous, moved_at from sojourn_alias
where tenant = %s and target = %s and (%s::text is null or home = %s)
order by namespace, key;

-- name: tags
-- The tags of a session.
select t.tag from sojourn_session s join sojourn_tag t on t.n = s.n
where s.tenant = %s and s.id = %s and s.state <> 'deleted' order by t.tag;

-- name: list
-- The sessions of a list.
select * from sojourn_list(%s, %s);

-- name: tip
-- How many events each shard has given out, and in which history.
select array_agg(number order by shard) || sojourn_history() from sojourn_shard;

-- name: changed
-- Whether a shard has given out others than these, or another history has begun.
select exists (
  select from sojourn_shard s
  where s.number <> (%(after)s::bigint[])[s.shard + 1] and (%(shard)s::integer is null or s.shard = %(shard)s)
) or exists (
  select from (select sojourn_history() as now, (%(after)s::bigint[])[17] as given offset 0) h
  where h.now <> h.given and 0 not in (h.now, h.given)
);

-- name: watch
-- Say that somebody watches, for so many microseconds.
insert into sojourn_meta as m (name, value) values ('watched', (sojourn_time(null) + %s)::text)
on conflict (name) do update set value = greatest(m.value::bigint, excluded.value::bigint)::text
returning value;

-- name: notify
-- Tell those who watch.
select pg_notify(%s, '');

-- name: events
-- For each shard its bounds, where reading begins, and the events behind that; oldest first, but each shard in its order. In
-- another history than the cursor's its numbers may have been given to other events, and everything may be missing.
select s.shard, begins.gap or history.other, history.now, begins.after, e.number, e.tenant, e.id, e.kind, e.change,
  e.version, e.first, e.last, e.at, e.reason, max(e.at) over (partition by s.shard order by e.number) as turn
from sojourn_shard s
  cross join (
    select coalesce(nullif(h.now, 0), h.given) as now, h.now <> h.given and 0 not in (h.now, h.given) as other
    from (select sojourn_history() as now, (%(after)s::bigint[])[17] as given offset 0) h
  ) history
  cross join lateral (
    select coalesce((select min(number) from sojourn_event k where k.shard = s.shard), s.number + 1) - 1 as oldest
  ) kept
  cross join lateral (
    select given.after < kept.oldest or given.after > s.number as gap,
      case when given.after < kept.oldest or given.after > s.number then kept.oldest else given.after end as after
    from (select (%(after)s::bigint[])[s.shard + 1] as after) given
  ) begins
  left join lateral (
    select * from sojourn_event n where n.shard = s.shard and n.number > begins.after order by n.number limit %(most)s
  ) e on true
where %(shard)s::integer is null or s.shard = %(shard)s
order by turn nulls first, s.shard, e.number
limit %(most)s + 16;

-- name: history
-- The newest events of a session.
select e.shard, e.number, e.id, e.kind, e.change, e.version, e.first, e.last, e.at, e.reason
from sojourn_session s join sojourn_event e on e.session = s.n
where s.tenant = %s and s.id = %s and s.state <> 'deleted' order by e.session desc, e.number desc limit %s;

-- name: unindexed
-- Commits whose entries wait for the index, the oldest of each shard first, with those of their entries that have text.
select v.shard, v.number, e.log, e.sequence, left(e.text, 262144)
from (
  select i.shard, d.number, d.session, d.first, d.last
  from sojourn_indexed i
    cross join lateral (
      select v.number, v.session, v.first, v.last from sojourn_event v
      where v.shard = i.shard and v.deferred and v.number > i.number order by v.number limit %(most)s
    ) d
  order by d.number, i.shard limit %(most)s
) v
  left join sojourn_entry e
    on e.log = v.session and e.sequence between v.first and v.last and e.found is not null and e.text is not null
    and not exists (select from sojourn_word w where w.log = e.log and w.sequence = e.sequence);

-- name: index
-- Store their words.
select sojourn_index(%s, %s::smallint[], %s::bigint[]);

-- name: search
-- Entries with these words that are indexed, newest first, and those that wait for the index, which the caller looks through.
select * from sojourn_search(
  %(wanted)s, %(tenant)s, %(kind)s, %(owner)s, %(topic)s, %(types)s, %(limit)s, %(tail)s
);

-- name: purge
-- Remove what nobody can see any more.
select sojourn_purge(%s, %s, %s, %s);

-- name: erase
-- Remove what belongs to an owner.
select sojourn_erase(%s, %s, %s);

-- name: now
-- The engine's time.
select sojourn_time(null);

-- name: schema
-- The schema's version and the oldest release it serves; null where Sojourn has no tables yet.
select to_regclass('sojourn_meta') is not null, current_setting('server_encoding'), current_setting('server_version_num')::int,
  current_setting('default_transaction_isolation');

-- name: meta
-- A value about the store itself.
select value from sojourn_meta where name = %s;

-- name: put_meta
-- Set it.
insert into sojourn_meta (name, value) values (%s, %s) on conflict (name) do update set value = excluded.value;

-- name: facts
-- What doctor shows.
select sojourn_time(null), current_setting('server_version'), current_setting('synchronous_commit'), current_setting('fsync'),
  current_setting('full_page_writes'), current_setting('synchronous_standby_names'), current_setting('max_connections')::int,
  pg_is_in_recovery(),
  (select count(*) from sojourn_session), (select count(*) from sojourn_entry), (select count(*) from sojourn_event),
  (
    select count(*) from sojourn_indexed i join sojourn_event v on v.shard = i.shard and v.deferred and v.number > i.number
  ),
  (select coalesce(sum(pg_total_relation_size(r)), 0)::bigint
    from unnest(
        array['session', 'data', 'tag', 'entry', 'share', 'alias', 'lease', 'operation', 'event', 'shard', 'indexed', 'word']
      ) t
      cross join lateral to_regclass('sojourn_' || t) r);
