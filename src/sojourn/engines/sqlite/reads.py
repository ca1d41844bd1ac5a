"""What is read: sessions and entries by index, lists put together from one limited walk per state."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Final

from sojourn.core import words
from sojourn.core.codec import DAMAGED, encode
from sojourn.core.query import EntryQuery, SearchQuery, SessionQuery
from sojourn.core.session import Entry, EventRow, Session
from sojourn.engines.contract import EventPage, Hit
from sojourn.engines.drafts import Draft, spans
from sojourn.engines.sqlite.transaction import SQL, draft_of, entry_number, mark
from sojourn.errors import CorruptError

_SESSION: Final = (
    "s.n, s.tenant, s.id, s.kind, s.home, s.owner, s.state, s.version, s.phase, s.created_at, s.mark, s.active_at, s.bucket, "
    "s.deadline, s.ended_at, s.last_sequence, s.counters, s.base_id, s.base_at, s.lineage, s.last_event, d.data"
)
_ENTRY: Final = (
    "select id & 4294967295, type, label, topic, author, text, data, key, phase, version, created_at, first, last, redacted "
    "from sojourn_entry where id between ? and ?"
)
_TAGGED: Final = "from sojourn_session o where o.n = sojourn_tag.n"


_entry: Final[Callable[[tuple[Any, ...]], Entry]] = partial(tuple.__new__, Entry)  # what Entry._make does, in C


def session_of(row: tuple[Any, ...]) -> Session:
    """A row of a list as a session. One whose data cannot be read says so in its data (`codec.DAMAGED`), and hides no other."""
    try:
        session = draft_of(row).session()
    except CorruptError as error:
        return draft_of((*row[:21], encode({DAMAGED: str(error)}))).session()
    if type(session.data) is not dict:
        return replace(session, data={DAMAGED: f"the data of session {session.id} is no JSON object."})
    return session


def entry_of(row: tuple[Any, ...]) -> Entry:
    """A row of a log as an entry: the columns are its fields."""
    return _entry(row)


def read_draft(connection: sqlite3.Connection, tenant: str, session: str) -> Draft | None:
    """A session with its data, None when it is missing or deleted."""
    row = connection.execute(SQL["load"], (tenant, session)).fetchone()
    return None if row is None else draft_of(row)


def read_entries(connection: sqlite3.Connection, draft: Draft, query: EntryQuery) -> tuple[Entry, ...]:
    """Entries of a session: one range scan for each piece of a log."""
    pieces = spans(draft.row, draft.lineage, draft.last_sequence, query.ranges)
    where, values = _filters(query)
    most = query.limit if query.last is None else query.last
    backwards = query.last is not None
    sql = f"{_ENTRY}{where} order by id {'desc' if backwards else 'asc'}" + ("" if most is None else " limit ?")
    found: list[Entry] = []
    for log, first, last in reversed(pieces) if backwards else pieces:
        left = () if most is None else (most - len(found),)
        if left and left[0] <= 0:
            break
        rows = connection.execute(sql, (entry_number(log, first), entry_number(log, last), *values, *left))
        found.extend(map(_entry, rows))
    return tuple(reversed(found)) if backwards else tuple(found)


def most_entries(draft: Draft, query: EntryQuery) -> int:
    """How many entries a query may bring at most."""
    width = sum(last - first + 1 for _, first, last in spans(draft.row, draft.lineage, draft.last_sequence, query.ranges))
    return min(width, *(limit for limit in (query.last, query.limit, width) if limit is not None))


def _filters(query: EntryQuery) -> tuple[str, list[str]]:
    where = ""
    values: list[str] = []
    for column, wanted in (("type", query.types), ("label", query.labels)):
        if wanted is not None:
            where += f" and {column} in ({', '.join('?' * len(wanted))})"
            values.extend(wanted)
    if query.topic is not None:
        where += " and topic = ?"
        values.append(query.topic)
    return where, values


def list_statement(query: SessionQuery) -> tuple[str, list[Any]]:
    """One page of a list: a walk of at most ``limit`` index rows for each kind and state, merged."""
    table, prefix, scope = "sojourn_session", "tenant = ?", [query.tenant]
    if query.tag is not None:
        table, prefix = "sojourn_tag", "tenant = ? and tag = ?"
        scope.append(query.tag)
    elif query.owner is not None:
        prefix = "tenant = ? and owner = ?"
        scope.append(query.owner)
    ascending = query.order in ("idle", "oldest")
    direction, sign = ("asc", ">") if ascending else ("desc", "<")
    by_bucket = query.order in ("activity", "idle")
    order = f"bucket {direction}, id {direction}" if by_bucket else f"id {direction}"
    # By name: with two bounds on the bucket the planner would rather walk through everybody's sessions than the owner's.
    owned = "_owner" if table == "sojourn_session" and query.owner is not None else ""
    index = f"{table}{owned}_{'activity' if by_bucket else 'created'}"
    active_at = "active_at" if table == "sojourn_session" else f"(select active_at {_TAGGED})"
    walks: list[str] = []
    values: list[Any] = []
    for kind in query.kinds:
        for state in query.states:
            walk = f"select n, bucket, id from {table} indexed by {index} where {prefix} and kind = ? and state = ?"  # noqa: S608
            values.extend([*scope, kind, state])
            if query.after is not None:
                walk += f" and (bucket, id) {sign} (?, ?)" if by_bucket else f" and id {sign} ?"
                values.extend(query.after if by_bucket else query.after[1:])
            if query.active_before is not None:
                if by_bucket:
                    walk += " and bucket < ?"
                    values.append(query.active_before)
                walk += f" and {active_at} < ?"
                values.append(query.active_before)
            if query.tag is not None and query.owner is not None:
                walk += f" and (select owner {_TAGGED}) = ?"
                values.append(query.owner)
            if query.home is not None:
                walk += " and home = ?" if query.tag is None else f" and (select home {_TAGGED}) = ?"
                values.append(query.home)
            walks.append(f"select * from ({walk} order by {order} limit ?)")  # noqa: S608
            values.append(query.limit)
    page = " union all ".join(walks)
    sql = (
        f"select {_SESSION} from ({page}) p join sojourn_session s on s.n = p.n join sojourn_data d on d.n = p.n "  # noqa: S608
        f"order by {', '.join(f'p.{part.strip()}' for part in order.split(','))} limit ?"
    )
    return sql, [*values, query.limit]


def count_recent_statement(
    tenant: str, kind: str, tag: str | None, owner: str | None, home: str | None, active_after: int, now: int
) -> tuple[str, list[Any]]:
    """How many active sessions since an instant, from an index alone, less the few among the due ones that are as recent.

    Deadlines are in no list's index (a touch would have to move them there), so what is due is counted from its own.
    """
    recent, values = count_statement(tenant, kind, tag, owner, home)
    table = "sojourn_session" if tag is None else "sojourn_tag"
    index = "sojourn_session_owner_activity" if tag is None and owner is not None else f"{table}_activity"
    recent = recent.replace(f"from {table} ", f"from {table} indexed by {index} ", 1)
    due = (
        "select count(*) from sojourn_session s indexed by sojourn_session_due where deadline is not null "
        "and state = 'active' and deadline <= ? and tenant = ? and kind = ? and bucket >= ?"
    )
    late: list[Any] = [now, tenant, kind, active_after]
    if tag is not None:
        due += " and exists (select 1 from sojourn_tag t where t.n = s.n and t.tag = ?)"
        late.append(tag)
    elif owner is not None:
        due += " and owner = ?"
        late.append(owner)
    if home is not None:
        due += " and home = ?"
        late.append(home)
    return f"select ({recent} and bucket >= ?) - ({due})", [*values, active_after, *late]


def count_statement(
    tenant: str, kind: str, tag: str | None, owner: str | None, home: str | None = None
) -> tuple[str, list[str]]:
    """How many active sessions, from an index alone where no home is asked for."""
    table, where, values = "session", "", [tenant, kind]
    if tag is not None:
        table, where = "tag", " and tag = ?"
        values.append(tag)
    elif owner is not None:
        where = " and owner = ?"
        values.append(owner)
    if home is not None:
        where += " and home = ?" if tag is None else f" and (select home {_TAGGED}) = ?"
        values.append(home)
    return f"select count(*) from sojourn_{table} where tenant = ? and kind = ? and state = 'active'{where}", values  # noqa: S608


def read_events(
    connection: sqlite3.Connection, tenant: str, after: int, limit: int, kind: str | None, session: str | None
) -> EventPage:
    """Events behind a cursor; at most 1,000 others are passed over in one call, so that a read stays bounded."""
    tip = connection.execute(SQL["tip"]).fetchone()[0] or 0
    oldest = connection.execute(SQL["oldest"]).fetchone()[0] or tip + 1
    gap = after < oldest - 1 or after > tip
    cursor = oldest - 1 if gap else after
    found: list[EventRow] = []
    for row in connection.execute(SQL["events"], (cursor, max(limit, 1000))):
        if len(found) >= limit:
            break
        cursor = row[0]
        if row[1] == tenant and kind in (None, row[3]) and session in (None, row[2]):
            found.append(_event_of(row))
    return EventPage(found, (cursor,), gap)


def read_history(connection: sqlite3.Connection, tenant: str, session: str, limit: int) -> list[EventRow]:
    """The newest events of a session, oldest first, back along its chain."""
    row = connection.execute(SQL["last_event"], (tenant, session)).fetchone()
    number: int = 0 if row is None else row[0]
    found: list[EventRow] = []
    while number and len(found) < limit:
        row = connection.execute(SQL["event"], (number,)).fetchone()
        if row is None:
            break
        found.append(_event_of(row[:10]))
        number = row[10]
    return found[::-1]


def _event_of(row: tuple[Any, ...]) -> EventRow:
    number, _, identifier, kind, change, version, first, last, at, reason = row
    return EventRow(0, number, identifier, kind, change, version, first, last, at, reason)


def search(connection: sqlite3.Connection, query: SearchQuery) -> list[Hit]:
    """Indexed entries and those that still wait for the index; the waiting ones are newer, so they come first."""
    indexed_through = int((connection.execute(SQL["meta"], ("indexed_through",)).fetchone() or ("0",))[0])
    found: list[Hit] = []
    tail = connection.execute(SQL["tail"], (indexed_through, *_filter_values(query)))
    for row in tail:
        if len(found) >= query.limit:
            return found
        if words.matches(words.words(row[6]), query.words, prefix=query.prefix):
            found.append(Hit(row[0], entry_of(row[1:])))
    limit = query.limit - len(found)
    found.extend(Hit(row[0], entry_of(row[1:])) for row in _matching(connection, query, limit))
    return found


def _matching(connection: sqlite3.Connection, query: SearchQuery, limit: int) -> sqlite3.Cursor:
    return connection.execute(SQL["match"], (_expression(query), *_filter_values(query), limit))


def _filter_values(query: SearchQuery) -> tuple[str | None, ...]:
    types = None if query.types is None else encode(list(query.types))
    return query.tenant, query.kind, query.owner, query.topic, types


def _expression(query: SearchQuery) -> str:
    """The match expression: every word quoted, so that nothing in it is read as syntax."""
    wanted = () if query.owner is None else (mark(query.tenant, query.kind, query.owner),)
    terms = [f'"{word}"' for word in (*wanted, *query.words)]
    return " ".join(terms) + ("*" if query.prefix else "")
