-- Version 1 of the schema. Every name begins with sojourn_, so that an application may keep its own tables beside it.
-- Text that is compared or ordered has the collation "C", so that every server sorts ids and names the same way.

-- Names and values about the store itself: its schema version.
create table sojourn_meta (
  name text collate "C" primary key,
  value text not null
);

-- Gives sessions their numbers, which entries, tags and events know them by.
create sequence sojourn_session_number;

-- One row per session: what a commit needs, and nothing that can grow. Pages are left with room, so that a commit that
-- moves no list touches no index (a heap-only update).
create table sojourn_session (
  n bigint primary key,
  shard smallint not null,
  version bigint not null,
  phase bigint not null,
  created_at bigint not null,
  mark bigint not null,
  active_at bigint not null,
  bucket bigint not null,
  deadline bigint,
  ended_at bigint,
  last_sequence bigint not null,
  base_at bigint,
  tenant text collate "C" not null,
  id text collate "C" not null,
  kind text collate "C" not null,
  home text collate "C" not null,
  owner text collate "C",
  state text collate "C" not null,
  base_id text collate "C",
  counters jsonb not null,
  lineage bigint[]
) with (fillfactor = 70);
create unique index sojourn_session_id on sojourn_session (tenant, id);
-- Lists are ordered by an id with a letter before it where another index could give the same order: so each list has one index.
create index sojourn_session_activity on sojourn_session (tenant, kind, state, bucket, id);
create index sojourn_session_created on sojourn_session (tenant, kind, state, ('c' || id));
create index sojourn_session_owner_activity on sojourn_session (tenant, owner, kind, state, bucket, ('o' || id))
  where owner is not null;
create index sojourn_session_owner_created on sojourn_session (tenant, owner, kind, state, ('o' || id))
  where owner is not null;
create index sojourn_session_due on sojourn_session (deadline, tenant, id)
  where deadline is not null and state = 'active';
create index sojourn_session_deleted on sojourn_session (n) where state = 'deleted';

-- A session's data, apart from it because an append never reads or writes it. As json and not jsonb, which would turn
-- 1e300 into a whole number and sort the keys.
create table sojourn_data (
  n bigint primary key,
  data json not null
) with (fillfactor = 80);

-- Which sessions carry a tag, in the orders that lists are read in.
create table sojourn_tag (
  n bigint not null,
  bucket bigint not null,
  tag text collate "C" not null,
  tenant text collate "C" not null,
  kind text collate "C" not null,
  state text collate "C" not null,
  id text collate "C" not null,
  primary key (n, tag)
);
create index sojourn_tag_activity on sojourn_tag (tenant, tag, kind, state, bucket, id);
create index sojourn_tag_created on sojourn_tag (tenant, tag, kind, state, id);

-- Gives entries that can be searched the number they are found in the order of.
create sequence sojourn_entry_number;

-- The logs; a log has the number of its session.
create table sojourn_entry (
  log bigint not null,
  sequence bigint not null,
  phase bigint not null,
  version bigint not null,
  created_at bigint not null,
  first bigint,
  last bigint,
  found bigint,
  span integer not null,
  counted boolean not null,
  redacted boolean not null default false,
  type text collate "C" not null,
  label text collate "C" not null,
  topic text collate "C" not null,
  author text collate "C",
  text text,
  data text,
  key text collate "C",
  fingerprint text collate "C",
  primary key (log, sequence)
);
create unique index sojourn_entry_key on sojourn_entry (log, key) where key is not null;
create index sojourn_entry_counted on sojourn_entry (log, phase, author) where counted;
create index sojourn_entry_author on sojourn_entry (author) where author is not null;

-- Which logs a fork reads besides its own: a log that is shared is not purged.
create table sojourn_share (
  log bigint not null,
  session bigint not null,
  through bigint not null,
  primary key (log, session)
);
create index sojourn_share_session on sojourn_share (session);

create table sojourn_alias (
  tenant text collate "C" not null,
  namespace text collate "C" not null,
  key text collate "C" not null,
  home text collate "C" not null,
  target text collate "C",
  epoch bigint not null,
  previous text collate "C",
  moved_at bigint not null,
  primary key (tenant, namespace, key)
);
create index sojourn_alias_target on sojourn_alias (tenant, target) where target is not null;
create index sojourn_alias_previous on sojourn_alias (tenant, previous) where previous is not null;
create index sojourn_alias_home on sojourn_alias (tenant, home);

create table sojourn_lease (
  tenant text collate "C" not null,
  home text collate "C" not null,
  name text collate "C" not null,
  holder text collate "C",
  fence bigint not null,
  expires_at bigint not null,
  primary key (tenant, home, name)
);

-- Answers of operations that are remembered with their home, for a day.
create table sojourn_operation (
  tenant text collate "C" not null,
  home text collate "C" not null,
  id text collate "C" not null,
  fingerprint text collate "C" not null,
  at bigint not null,
  answer json not null,
  primary key (tenant, home, id)
);
create index sojourn_operation_at on sojourn_operation (at);

-- How many events each shard has given out. A commit moves its shards last and holds them until it is done, so that
-- numbers become visible in their order and none is ever left out.
create table sojourn_shard (
  shard smallint primary key,
  number bigint not null
);
insert into sojourn_shard (shard, number) select shard, 0 from generate_series(0, 15) shard;

-- Through which event of each shard the search index has come. Apart from the counters, which commits wait for.
create table sojourn_indexed (
  shard smallint primary key,
  number bigint not null
);
insert into sojourn_indexed (shard, number) select shard, 0 from generate_series(0, 15) shard;

-- Search: the words of entries. They are made by the client, the same on every engine, so nothing is parsed here.
create table sojourn_word (
  number bigint primary key,
  log bigint not null,
  sequence bigint not null,
  words tsvector not null
);
create unique index sojourn_word_entry on sojourn_word (log, sequence);
-- Without a list of what is yet to be sorted in, which every search would walk through.
create index sojourn_word_words on sojourn_word using gin (words) with (fastupdate = off);

-- What watchers read.
create table sojourn_event (
  shard smallint not null,
  number bigint not null,
  session bigint not null,
  version bigint not null,
  first bigint not null,
  last bigint not null,
  at bigint not null,
  deferred boolean not null,
  tenant text collate "C" not null,
  id text collate "C" not null,
  kind text collate "C" not null,
  change text collate "C" not null,
  reason text collate "C" not null,
  primary key (shard, number)
);
create index sojourn_event_deferred on sojourn_event (shard, number) where deferred;
create index sojourn_event_session on sojourn_event (session, number);
