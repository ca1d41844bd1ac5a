-- Every statement of the SQLite engine's hot paths by name; lists are put together in reads.py from the pieces there.

-- name: draft
-- A session as a commit works on it.
select n, tenant, id, kind, home, owner, state, version, phase, created_at, mark, active_at, bucket, deadline, ended_at,
  last_sequence, counters, base_id, base_at, lineage, last_event
from sojourn_session where tenant = ? and id = ?;

-- name: data
-- What a session keeps besides counters.
select data from sojourn_data where n = ?;

-- name: load
-- A session as a rule is shown it.
select n, tenant, s.id, kind, home, owner, state, version, phase, created_at, mark, active_at, bucket, deadline, ended_at,
  last_sequence, counters, base_id, base_at, lineage, last_event, data
from sojourn_session s join sojourn_data using (n) where tenant = ? and s.id = ? and state <> 'deleted';

-- name: insert_session
-- A new session.
insert into sojourn_session (tenant, id, kind, home, owner, state, version, phase, created_at, mark, active_at, bucket,
  deadline, ended_at, last_sequence, counters, base_id, base_at, lineage, last_event)
values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: insert_data
-- Its data.
insert into sojourn_data (n, data) values (?, ?);

-- name: update_data
-- Its data, patched.
update sojourn_data set data = ? where n = ?;

-- name: advance
-- A commit that moves no list: version, counters, sequence. No index changes.
update sojourn_session set version = ?, phase = ?, mark = ?, active_at = ?, last_sequence = ?, counters = ?,
  last_event = ? where n = ?;

-- name: move
-- A commit that also moves state, activity bucket or deadline, and with them the lists.
update sojourn_session set version = ?, phase = ?, mark = ?, active_at = ?, last_sequence = ?, counters = ?,
  last_event = ?, state = ?,
  bucket = ?, deadline = ?, ended_at = ? where n = ?;

-- name: move_tags
-- The same for the lists by tag.
update sojourn_tag set state = ?, bucket = ? where n = ?;

-- name: insert_tag
-- A tag; having it already is fine.
insert or ignore into sojourn_tag (n, tag, tenant, kind, state, bucket, id) values (?, ?, ?, ?, ?, ?, ?);

-- name: delete_tag
-- A tag taken off.
delete from sojourn_tag where n = ? and tag = ?;

-- name: tags
-- The tags of a session.
select tag from sojourn_tag
where n = (select n from sojourn_session where tenant = ? and id = ?) and state <> 'deleted' order by tag;

-- name: insert_share
-- A log that a fork reads.
insert into sojourn_share (log, session, through) values (?, ?, ?);

-- name: insert_entry
-- One entry of a log.
insert into sojourn_entry (id, type, label, topic, author, text, data, key, fingerprint, span, counted, phase, version,
  created_at, first, last)
values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: keyed
-- The entry an operation id was remembered with.
select id & 4294967295, span, version, phase, fingerprint from sojourn_entry where id >> 32 = ? and key = ?;

-- name: spoken
-- Whether an author has a counted entry in a phase.
select 1 from sojourn_entry where counted and id >> 32 = ? and phase = ? and author = ? limit 1;

-- name: redact
-- Empty an entry; its place stays.
update sojourn_entry set text = null, data = null, author = null, redacted = 1 where id = ?;

-- name: alias
-- An alias by its name.
select home, target, epoch, previous, moved_at from sojourn_alias where tenant = ? and namespace = ? and key = ?;

-- name: aliases_at
-- Which aliases point at a target. Without statistics SQLite would rather walk every alias of the tenant.
select namespace, key, home, target, epoch, previous, moved_at from sojourn_alias indexed by sojourn_alias_target
where tenant = ? and target = ? order by namespace, key;

-- name: put_alias
-- Move an alias.
insert into sojourn_alias (tenant, namespace, key, home, target, epoch, previous, moved_at)
values (?, ?, ?, ?, ?, ?, ?, ?)
on conflict do update set target = excluded.target, epoch = excluded.epoch, previous = excluded.previous,
  moved_at = excluded.moved_at;

-- name: lease
-- A lease by its home and name.
select holder, fence, expires_at from sojourn_lease where tenant = ? and home = ? and name = ?;

-- name: put_lease
-- Take, renew or give back a lease.
insert into sojourn_lease (tenant, home, name, holder, fence, expires_at) values (?, ?, ?, ?, ?, ?)
on conflict do update set holder = excluded.holder, fence = excluded.fence, expires_at = excluded.expires_at;

-- name: operation
-- The first answer of an operation id.
select fingerprint, answer from sojourn_operation where tenant = ? and home = ? and id = ?;

-- name: put_operation
-- Remember it.
insert into sojourn_operation (tenant, home, id, fingerprint, answer, at) values (?, ?, ?, ?, ?, ?);

-- name: tip
-- The number of the last event.
select max(n) from sojourn_event;

-- name: oldest
-- The number of the first event that is kept.
select min(n) from sojourn_event;

-- name: oldest_events
-- The events that are purged first, below a number.
select n, at from sojourn_event where n < ? order by n limit ?;

-- name: purgeable
-- Deleted sessions that have something to purge: whose log nobody shares, or which has entries behind what is shared.
select n from sojourn_session s where state = 'deleted' and (
  not exists (select 1 from sojourn_share where log = s.n)
  or exists (select 1 from sojourn_entry where id <= (s.n << 32) + 4294967295
    and id > (s.n << 32) + (select max(through) from sojourn_share where log = s.n)))
limit ?;

-- name: insert_event
-- A committed change.
insert into sojourn_event (n, tenant, session, id, kind, change, version, first, last, at, reason, deferred, before)
values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: events
-- Events behind a cursor; whatever does not fit the filter is passed over by the reader.
select n, tenant, id, kind, change, version, first, last, at, reason from sojourn_event where n > ? order by n limit ?;

-- name: last_event
-- Where a session's chain of events begins; what is deleted has no history any more.
select last_event from sojourn_session where tenant = ? and id = ? and state <> 'deleted';

-- name: event
-- One event of a chain, and the one before it.
select n, tenant, id, kind, change, version, first, last, at, reason, before from sojourn_event where n = ?;

-- name: due
-- Active sessions past their deadline, earliest first, of one tenant or of all.
select n, tenant, s.id, kind, home, owner, state, version, phase, created_at, mark, active_at, bucket, deadline, ended_at,
  last_sequence, counters, base_id, base_at, lineage, last_event, data
from sojourn_session s join sojourn_data using (n)
where deadline is not null and state = 'active' and deadline <= ? and (? is null or tenant = ?)
order by deadline limit ?;

-- name: insert_words
-- The words of an entry.
insert into sojourn_words (rowid, words) values (?, ?);

-- name: insert_word
-- Which entry they are of.
insert into sojourn_word (n, entry) values (?, ?);

-- name: last_word
-- The number of the entry that was indexed last.
select max(n) from sojourn_word;

-- name: word_of
-- Where an entry is indexed.
select n from sojourn_word where entry = ?;

-- name: delete_words
-- Take an entry's words out of the index (which keeps no text, so they are named).
insert into sojourn_words (sojourn_words, rowid, words) values ('delete', ?, ?);

-- name: delete_word
-- And forget where they were.
delete from sojourn_word where n = ?;

-- name: meta
-- A value about the store itself.
select value from sojourn_meta where name = ?;

-- name: put_meta
-- Set it.
insert into sojourn_meta (name, value) values (?, ?) on conflict do update set value = excluded.value;

-- name: unindexed
-- Commits whose entries wait for the index, oldest first.
select e.n, e.session, e.first, e.last from sojourn_event e where e.deferred and e.n > ? order by e.n limit ?;

-- name: searchable
-- The text of a range of a log, with what its index words need; of a deleted session's, what forks share.
select e.id, e.text, s.tenant, s.kind, s.owner from sojourn_entry e join sojourn_session s on s.n = ?1
where e.id between ?2 and ?3 and e.text is not null
  and (s.state <> 'deleted' or e.id & 4294967295 <= (select max(through) from sojourn_share where log = ?1));

-- name: indexed
-- What the words of an entry were made of.
select e.text, s.tenant, s.kind, s.owner from sojourn_entry e join sojourn_session s on s.n = e.id >> 32
where e.id = ? and e.text is not null;

-- name: match
-- Indexed entries with these words, newest first, each in the session that wrote it or, when that one (w) is deleted, in the
-- oldest fork that shares it.
select s.id, e.id & 4294967295, e.type, e.label, e.topic, e.author, e.text, e.data, e.key, e.phase, e.version, e.created_at,
  e.first, e.last, e.redacted
from sojourn_words join sojourn_word r on r.n = sojourn_words.rowid join sojourn_entry e on e.id = r.entry
  join sojourn_session w on w.n = e.id >> 32
  join sojourn_session s on s.n = iif(w.state <> 'deleted', w.n, (
    select h.session from sojourn_share h join sojourn_session f on f.n = h.session
    where h.log = w.n and h.through >= e.id & 4294967295 and f.state in ('active', 'ended', 'archived')
      and f.kind = ?3 and (?4 is null or f.owner = ?4)
    order by h.session limit 1))
where sojourn_words match ?1 and w.tenant = ?2 and w.kind = ?3 and (?4 is null or w.owner = ?4)
  and (?5 is null or e.topic = ?5) and (?6 is null or e.type in (select value from json_each(?6)))
  and s.state in ('active', 'ended', 'archived') order by sojourn_words.rowid desc limit ?7;

-- name: tail
-- Entries that wait for the index, newest first, in the same sessions. Cross joins keep the order: from the few events to
-- their entries.
select s.id, e.id & 4294967295, e.type, e.label, e.topic, e.author, e.text, e.data, e.key, e.phase, e.version, e.created_at,
  e.first, e.last, e.redacted
from sojourn_event v cross join sojourn_session w on w.n = v.session
  cross join sojourn_entry e on e.id between (v.session << 32) + v.first and (v.session << 32) + v.last
  cross join sojourn_session s on s.n = iif(w.state <> 'deleted', w.n, (
    select h.session from sojourn_share h join sojourn_session f on f.n = h.session
    where h.log = w.n and h.through >= e.id & 4294967295 and f.state in ('active', 'ended', 'archived')
      and f.kind = ?3 and (?4 is null or f.owner = ?4)
    order by h.session limit 1))
where v.deferred and v.n > ?1 and v.tenant = ?2 and v.kind = ?3 and s.state in ('active', 'ended', 'archived')
  and (?4 is null or w.owner = ?4) and (?5 is null or e.topic = ?5) and e.text is not null
  and (?6 is null or e.type in (select value from json_each(?6)))
  and not exists (select 1 from sojourn_word where entry = e.id)
order by v.n desc, e.id desc;
