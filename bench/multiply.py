"""Many people on PostgreSQL, soon: one who was made through the library, multiplied in SQL with every row that belongs to them.

A copy has its own name, ids (with the bits of its home), numbers, token digests and times; all else is the form's. `compare`
holds a copy against somebody who was made through the library, column by column.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg import sql

from sojourn.core.ids import ALPHABET, home_number, millis_of
from sojourn.core.times import MINUTE, SECOND
from sojourn.engines.postgres.names import Names
from sojourn.engines.postgres.wire import SHARDS

TENANT: Final = "default"
FORM: Final = "who-0"
"""The name of the one who is multiplied; theirs is the only text in which it occurs. The copies are who-1, who-2, ..."""
WORLD: Final = "world-0"
PER_WORLD: Final = 100
NAMES: Final = Names()
SECRET: Final = "A" * 43
"""Of every copy's token."""
AT_ONCE: Final = 1_000_000
"""Sessions of one transaction; from so many on, indexes are made after the rows."""

_SCAFFOLD: Final = f"""
create unlogged table bench_copy (k bigint, name text, pair text, shard smallint, rank bigint, ago bigint, world text);
create unlogged table bench_made (k bigint, slot bigint, n bigint, id text, origin bigint);
create function bench_id(millis bigint, pair text, n bigint) returns text language sql immutable
return {" || ".join(f"substr('{ALPHABET}', ((millis >> {45 - 5 * place}) & 31)::integer + 1, 1)" for place in range(10))}
  || pair || upper(left(md5(n::text), 14));
create table bench_form as
  select row_number() over (order by s.n) - 1 as slot, s.n, s.id, 0::bigint as millis
  from sojourn_session s where s.tenant = '{TENANT}' and s.home = '{FORM}';
create table bench_session as select s.* from sojourn_session s join bench_form f on f.n = s.n;
create table bench_data as select s.* from sojourn_data s join bench_form f on f.n = s.n;
create table bench_tag as select s.* from sojourn_tag s join bench_form f on f.n = s.n;
create table bench_entry as
  select e.*, row_number() over (partition by e.found is null order by e.found) - 1 as place
  from sojourn_entry e join bench_form f on f.n = e.log;
create table bench_word as
  select w.log, w.sequence, tsvector_to_array(w.words) as words, e.place
  from sojourn_word w join bench_entry e on e.log = w.log and e.sequence = w.sequence;
create table bench_alias as select a.*, f.slot from sojourn_alias a join bench_form f on f.id = a.target;
create table bench_event as
  select e.*, row_number() over (order by e.number) as place from sojourn_event e join bench_form f on f.n = e.session;
"""
"""What the copies are made from."""

_MADE: Final = """
truncate bench_made;
insert into bench_made
select c.k, f.slot, %(n)s + (c.k - %(first)s) * %(width)s + f.slot,
  bench_id(f.millis - c.ago / 1000, c.pair, %(n)s + (c.k - %(first)s) * %(width)s + f.slot), f.n
from bench_copy c cross join bench_form f order by c.k, f.slot
"""

_FILL: Final = f"""
insert into sojourn_session (
  n, shard, version, phase, created_at, mark, active_at, bucket, deadline, ended_at, last_sequence, base_at, tenant, id, kind,
  home, owner, state, base_id, counters, lineage
)
select m.n, c.shard, s.version, s.phase, s.created_at - c.ago, s.mark - c.ago, s.active_at - c.ago, s.bucket - c.ago,
  s.deadline - c.ago, s.ended_at - c.ago, s.last_sequence, s.base_at, s.tenant, m.id, s.kind, c.name, c.name, s.state,
  s.base_id, case s.kind
    when 'login' then s.counters || jsonb_build_object(
      'authenticated_at', (s.counters ->> 'authenticated_at')::bigint - c.ago,
      'renewed_at', (s.counters ->> 'renewed_at')::bigint - c.ago
    )
    when 'user' then s.counters || jsonb_build_object('last_login', (s.counters ->> 'last_login')::bigint - c.ago)
    else s.counters || jsonb_build_object(
      'message_at', (s.counters ->> 'message_at')::bigint - c.ago,
      'interaction_at', (s.counters ->> 'interaction_at')::bigint - c.ago
    )
  end, s.lineage
from bench_made m join bench_copy c on c.k = m.k join bench_session s on s.n = m.origin order by m.n;

insert into sojourn_data (n, data)
select m.n, replace(replace(
    case when s.kind <> 'login' then d.data::text else replace(d.data::text, d.data ->> 'secret', 'sjh0_' || translate(
      rtrim(encode(sha256(convert_to('sjl_' || m.id || '.{SECRET}', 'UTF8')), 'base64'), '='), '+/', '-_'
    )) end, '{FORM}', c.name), '{WORLD}', c.world)::json
from bench_made m join bench_copy c on c.k = m.k join bench_data d on d.n = m.origin join bench_session s on s.n = m.origin
order by m.n;

insert into sojourn_tag (n, bucket, tag, tenant, kind, state, id)
select m.n, t.bucket - c.ago, replace(replace(t.tag, '{FORM}', c.name), '{WORLD}', c.world), t.tenant, t.kind, t.state, m.id
from bench_made m join bench_copy c on c.k = m.k join bench_tag t on t.n = m.origin order by m.n;

insert into sojourn_entry (
  log, sequence, phase, version, created_at, first, last, found, span, counted, redacted, type, label, topic, author, text,
  data, key, fingerprint
)
select m.n, e.sequence, e.phase, e.version, e.created_at - c.ago, e.first, e.last,
  case when e.found is not null then %(found)s + (c.k - %(first)s) * %(searched)s + e.place end, e.span, e.counted, e.redacted,
  e.type, e.label, e.topic, replace(e.author, '{FORM}', c.name), e.text,
  replace(replace(e.data, '{FORM}', c.name), '{WORLD}', c.world), e.key, e.fingerprint
from bench_made m join bench_copy c on c.k = m.k join bench_entry e on e.log = m.origin order by m.n, e.sequence;

insert into sojourn_word (number, log, sequence, words)
select %(found)s + (c.k - %(first)s) * %(searched)s + w.place, m.n, w.sequence, array_to_tsvector(array_replace(
    w.words, sojourn_owner_word(s.tenant, s.kind, s.owner), sojourn_owner_word(s.tenant, s.kind, c.name)
  ))
from bench_made m join bench_copy c on c.k = m.k join bench_word w on w.log = m.origin join bench_session s on s.n = m.origin
order by 1;

insert into sojourn_alias (tenant, namespace, key, home, target, epoch, previous, moved_at)
select a.tenant, a.namespace, replace(a.key, '{FORM}', c.name), c.name, m.id, a.epoch, a.previous, a.moved_at - c.ago
from bench_alias a join bench_made m on m.slot = a.slot join bench_copy c on c.k = m.k order by c.k;

insert into sojourn_event (
  shard, number, session, version, first, last, at, deferred, tenant, id, kind, change, reason
)
select c.shard, h.number + c.rank * %(events)s + e.place, m.n, e.version, e.first, e.last, e.at - c.ago, e.deferred, e.tenant,
  m.id, e.kind, e.change, e.reason
from bench_made m join bench_copy c on c.k = m.k join bench_event e on e.session = m.origin
  join sojourn_shard h on h.shard = c.shard
order by c.k, e.place;

update sojourn_shard h set number = h.number + %(events)s * (select count(*) from bench_copy c where c.shard = h.shard);
update sojourn_indexed i set number = h.number from sojourn_shard h where h.shard = i.shard;
select setval('sojourn_session_number', (select max(n) from bench_made));
select setval('sojourn_entry_number', %(found)s + %(copies)s * %(searched)s);
"""


@dataclass(frozen=True, slots=True)
class Multiplier:
    """Makes copies of the one person of a store, whose times lie in the hours from ``oldest`` to one before now."""

    connection: psycopg.Connection[Any]
    most: int
    """How many copies there will be in the end: the last are the newest."""
    oldest: int

    def prepare(self) -> None:
        """Take the form."""
        self.connection.execute(_SCAFFOLD)
        for n, id in self.connection.execute("select n, id from bench_form").fetchall():
            self.connection.execute("update bench_form set millis = %s where n = %s", (millis_of(id), n))
        unknown = self.connection.execute(
            "select (select count(*) from sojourn_share) + (select count(*) from sojourn_lease) "
            "+ (select count(*) from sojourn_operation) + (select count(*) from sojourn_alias where target is null)"
        ).fetchone()
        assert unknown == (0,), "rows that are not multiplied"

    def fill(self, first: int, last: int) -> None:
        """Make the copies from ``first`` to ``last``."""
        width, searched, events = self._row(
            "select (select count(*) from bench_form), (select count(*) from bench_entry where found is not null), "
            "(select count(*) from bench_event)"
        )
        many = (last - first + 1) * width >= AT_ONCE
        self.connection.execute("set synchronous_commit = off")
        self.connection.execute("set work_mem = '256MB'")
        with without_indexes(self.connection, many=many):
            for start in range(first, last + 1, AT_ONCE // width):
                end = min(last, start + AT_ONCE // width - 1)
                self._copies(start, end)
                n, found = self._row(
                    "select s.last_value + 1, e.last_value + 1 from sojourn_session_number s, sojourn_entry_number e"
                )
                values = {"n": n, "found": found, "first": start, "width": width, "searched": searched, "events": events}
                with self.connection.transaction():
                    for statement in NAMES.text(f"{_MADE};{_FILL}").split(";\n"):
                        if statement.strip():
                            self.connection.execute(statement, {**values, "copies": end - start + 1}, prepare=False)
        self.connection.execute("vacuum analyze")
        self.connection.execute("checkpoint")

    def _copies(self, start: int, end: int) -> None:
        self.connection.execute("truncate bench_copy")
        ranks = [0] * SHARDS
        span = self.oldest * 60 - 60
        with self.connection.cursor().copy("copy bench_copy from stdin") as copy:
            for k in range(start, end + 1):
                home = home_number(TENANT, f"who-{k}")
                shard = home % SHARDS
                ago = (60 + span * (self.most - k) // self.most) * MINUTE
                pair = ALPHABET[home >> 5] + ALPHABET[home & 31]
                copy.write_row((k, f"who-{k}", pair, shard, ranks[shard], ago, f"world-{k // PER_WORLD}"))
                ranks[shard] += 1
        self.connection.execute("analyze bench_copy")

    def _row(self, statement: str) -> tuple[int, ...]:
        row = self.connection.execute(statement).fetchone()
        assert row is not None
        return tuple(map(int, row))


@contextmanager
def without_indexes(connection: psycopg.Connection[Any], *, many: bool) -> Generator[None]:
    """Without those that are no primary key, which are made anew at the end; for few rows as it is."""
    found = connection.execute(
        "select c.relname, pg_get_indexdef(c.oid) from pg_index i join pg_class c on c.oid = i.indexrelid "
        "join pg_class t on t.oid = i.indrelid where t.relname like 'sojourn%' and not i.indisprimary"
    ).fetchall()
    for name, _ in found if many else ():
        connection.execute(sql.SQL("drop index {}").format(sql.Identifier(name)))
    yield
    connection.execute("set maintenance_work_mem = '1GB'")
    for _, definition in found if many else ():
        connection.execute(definition)


# -- is a copy what it copies? ------------------------------------------------------------------------------------------

_TABLES: Final = {
    "sojourn_session": "n",
    "sojourn_data": "n",
    "sojourn_tag": "n",
    "sojourn_entry": "log",
    "sojourn_word": "log",
    "sojourn_event": "session",
}


def compare(connection: psycopg.Connection[Any], copy: str, real: str) -> int:
    """Hold every row of one person against every row of another; how many there were of each."""
    one, other = list(_rows(connection, copy)), list(_rows(connection, real))
    assert sorted(one) == sorted(other), "\n".join(sorted(set(one) ^ set(other)))
    gaps = connection.execute(
        "select count(*) from sojourn_shard h where h.number <> (select count(*) from sojourn_event e where e.shard = h.shard) "
        "or h.number <> coalesce((select max(e.number) from sojourn_event e where e.shard = h.shard), 0)"
    ).fetchone()
    assert gaps == (0,), "events are numbered without a gap"
    return len(one)


def _rows(connection: psycopg.Connection[Any], name: str) -> Iterator[str]:
    """Every row of a person as text, with names and numbers of their own replaced, and times by that they are times."""
    sessions = connection.execute(
        "select n, id, shard from sojourn_session where tenant = %s and owner = %s order by n", (TENANT, name)
    ).fetchall()
    shards = {home_number(TENANT, name) % SHARDS}
    places = {n: place for place, (n, _, _) in enumerate(sessions)}
    words = {id: f"<id {place}>" for place, (_, id, _) in enumerate(sessions)} | {name: "<name>"}
    assert {shard for _, _, shard in sessions} == shards
    for table, column in _TABLES.items():
        found = connection.execute(
            sql.SQL("select to_jsonb(t) from {} t where t.{} = any (%s)").format(sql.Identifier(table), sql.Identifier(column)),
            (list(places),),
        )
        for (row,) in found.fetchall():
            row[column] = places[row[column]]
            yield f"{table} {_plain(row, words)}"
    for (row,) in connection.execute("select to_jsonb(a) from sojourn_alias a where a.home = %s", (name,)).fetchall():
        yield f"sojourn_alias {_plain(row, words)}"
    owned = NAMES.text(
        "select kind, array_agg(distinct words @@ quote_literal(sojourn_owner_word(s.tenant, s.kind, s.owner))::tsquery) "
        "from sojourn_word w join sojourn_session s on s.n = w.log where s.n = any (%s) group by kind"
    )
    for kind, owner in connection.execute(owned, (list(places),)).fetchall():
        yield f"found by owner, {kind}: {owner}"


def _plain(value: Any, words: dict[str, str], name: str = "") -> str:
    if isinstance(value, dict):
        kept = {key: _plain(inner, words, key) for key, inner in sorted(value.items()) if key not in ("number", "shard")}
        return json.dumps(kept)
    if isinstance(value, int) and value > 10**15:
        return "time" if name != "bucket" else f"bucket, whole seconds: {value % SECOND == 0}"
    if name in ("found", "secret", "words", "world", "world_id"):
        return f"{name}, {len(str(value)) if name == 'secret' else value is not None}"
    text = json.dumps(value)
    for word, plain in words.items():
        text = text.replace(word, plain)
    return "<world>" if "world" in text else text
