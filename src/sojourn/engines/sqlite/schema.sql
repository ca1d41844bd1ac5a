-- Version 2 of the schema. Every name begins with sojourn_, so that an application may keep its own tables in the file.

-- Names and values about the store itself: schema version, how far search is indexed.
create table sojourn_meta (
  name text primary key,
  value text not null
) without rowid;

-- One row per session: what a commit needs, and nothing that can grow. n is never given again: events, shares and the
-- search index still name it after the session was purged.
create table sojourn_session (
  n integer primary key autoincrement,
  tenant text not null,
  id text not null,
  kind text not null,
  home text not null,
  owner text,
  state text not null,
  version integer not null,
  phase integer not null,
  created_at integer not null,
  mark integer not null,
  active_at integer not null,
  bucket integer not null,
  deadline integer,
  ended_at integer,
  last_sequence integer not null,
  counters text not null,
  base_id text,
  base_at integer,
  lineage text,
  last_event integer not null default 0
);
create unique index sojourn_session_id on sojourn_session (tenant, id);
create index sojourn_session_activity on sojourn_session (tenant, kind, state, bucket, id);
create index sojourn_session_created on sojourn_session (tenant, kind, state, id);
create index sojourn_session_owner_activity on sojourn_session (tenant, owner, kind, state, bucket, id)
  where owner is not null;
create index sojourn_session_owner_created on sojourn_session (tenant, owner, kind, state, id) where owner is not null;
create index sojourn_session_due on sojourn_session (deadline, tenant) where deadline is not null and state = 'active';
create index sojourn_session_deleted on sojourn_session (n) where state = 'deleted';

-- A session's data, apart from it because an append never reads or writes it.
create table sojourn_data (
  n integer primary key,
  data text not null
);

-- Which sessions carry a tag, in the orders that lists are read in.
create table sojourn_tag (
  n integer not null,
  tag text not null,
  tenant text not null,
  kind text not null,
  state text not null,
  bucket integer not null,
  id text not null,
  primary key (n, tag)
) without rowid;
create index sojourn_tag_activity on sojourn_tag (tenant, tag, kind, state, bucket, id);
create index sojourn_tag_created on sojourn_tag (tenant, tag, kind, state, id);

-- The logs. id = session's n * 2^32 + sequence, so that a session's entries lie together in order.
create table sojourn_entry (
  id integer primary key,
  type text not null,
  label text not null,
  topic text not null,
  author text,
  text text,
  data text,
  key text,
  fingerprint text,
  span integer not null,
  counted integer not null,
  phase integer not null,
  version integer not null,
  created_at integer not null,
  first integer,
  last integer,
  redacted integer not null default 0
);
create unique index sojourn_entry_key on sojourn_entry (id >> 32, key) where key is not null;
create index sojourn_entry_counted on sojourn_entry (id >> 32, phase, author) where counted;
create index sojourn_entry_author on sojourn_entry (author) where author is not null;

-- Which logs a fork reads besides its own: a log that is shared is not purged.
create table sojourn_share (
  log integer not null,
  session integer not null,
  through integer not null,
  primary key (log, session)
) without rowid;
create index sojourn_share_session on sojourn_share (session);

create table sojourn_alias (
  tenant text not null,
  namespace text not null,
  key text not null,
  home text not null,
  target text,
  epoch integer not null,
  previous text,
  moved_at integer not null,
  primary key (tenant, namespace, key)
) without rowid;
create index sojourn_alias_target on sojourn_alias (tenant, target) where target is not null;
create index sojourn_alias_previous on sojourn_alias (tenant, previous) where previous is not null;
create index sojourn_alias_home on sojourn_alias (tenant, home);

create table sojourn_lease (
  tenant text not null,
  home text not null,
  name text not null,
  holder text,
  fence integer not null,
  expires_at integer not null,
  primary key (tenant, home, name)
) without rowid;

-- Answers of operations that are remembered with their home, for a day.
create table sojourn_operation (
  tenant text not null,
  home text not null,
  id text not null,
  fingerprint text not null,
  answer text not null,
  at integer not null,
  primary key (tenant, home, id)
) without rowid;
create index sojourn_operation_at on sojourn_operation (at);

-- What watchers read. n is given in commit order, without gaps, and never again: the newest row is never removed.
-- before is the event of the same session before this one: a session's history is a chain from its last_event, and no index
-- has to be written with every commit (ADR 005).
create table sojourn_event (
  n integer primary key,
  tenant text not null,
  session integer not null,
  id text not null,
  kind text not null,
  change text not null,
  version integer not null,
  first integer not null,
  last integer not null,
  at integer not null,
  reason text not null,
  deferred integer not null,
  before integer not null
);

-- Search: the words of entries, in the order they were indexed (so that the newest come first without sorting).
create table sojourn_word (
  n integer primary key,
  entry integer not null
);
create unique index sojourn_word_entry on sojourn_word (entry);
create virtual table sojourn_words using fts5 (words, content = '', tokenize = 'ascii', detail = 'none', prefix = '3 5');
