"""What is read: the statements of lists and counts, and rows as values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sojourn.core.query import EntryQuery, SessionQuery
from sojourn.core.session import Alias, AliasKey, Entry, EventRow, Snapshot
from sojourn.engines.contract import EventPage
from sojourn.engines.postgres import wire
from sojourn.engines.postgres.statements import SQL

_SESSION: Final = (
    "s.tenant, s.id, s.kind, s.home, s.owner, s.state, s.version, s.phase, s.created_at, s.mark, s.active_at, s.deadline, "
    "s.ended_at, s.last_sequence, s.counters, d.data, s.base_id, s.base_at, s.bucket"
)

EVERYTHING: Final = (1, (1 << 62))

_RANGE: Final = "(values (%(first)s::bigint, %(last)s::bigint))"
_RANGES: Final = "unnest(%(firsts)s::bigint[], %(lasts)s::bigint[])"
"""How many an array has, the server learns with its values: it would plan for them anew each time, which takes longer than the
read. One range, the usual, is therefore said as one row."""

_ENTRIES: Final = {
    (forward, one): SQL["load_entries"]
    .replace("{direction}", "asc" if forward else "desc")
    .replace("{wanted}", _RANGE if one else _RANGES)
    for forward in (True, False)
    for one in (True, False)
}


def snapshot_of(row: Sequence[Any]) -> Snapshot:
    """A row of ``load`` as a snapshot."""
    now = row[0]
    if row[1] is None:
        return Snapshot(now, None)
    session = wire.read_session(row[1:])
    return Snapshot(max(now, session.mark), session)


def entries_statement(tenant: str, session: str, query: EntryQuery, clock: int | None) -> tuple[str, dict[str, Any]]:
    """A session with some of its entries, read from the end when only the last are wanted."""
    ranges = query.ranges if query.ranges is not None else (EVERYTHING,)
    firsts, lasts = [int(first) for first, _ in ranges], [int(last) for _, last in ranges]
    one = len(ranges) == 1
    values = {
        "clock": clock,
        "tenant": tenant,
        "id": session,
        **({"first": firsts[0], "last": lasts[0]} if one else {"firsts": firsts, "lasts": lasts}),
        "types": None if query.types is None else list(query.types),
        "labels": None if query.labels is None else list(query.labels),
        "topic": query.topic,
        "most": query.limit if query.last is None else query.last,
    }
    return _ENTRIES[query.last is None, one], values


def snapshot_with_entries(row: Sequence[Any], query: EntryQuery) -> Snapshot:
    """A row of ``load_entries`` as a snapshot."""
    snapshot = snapshot_of(row)
    found = tuple(Entry(*item) for item in row[-1] or ())
    if query.last is not None:
        found = found[::-1]
    return Snapshot(snapshot.now, snapshot.session, found)


def followed(row: Sequence[Any], key: AliasKey) -> Snapshot:
    """A row of ``follow`` as a snapshot."""
    now, target, epoch, previous, moved_at = row[:5]
    alias = Alias(key, None, 0) if epoch is None else Alias(key, target, epoch, previous, moved_at)
    session = None if row[5] is None else wire.read_session(row[5:])
    return Snapshot(now if session is None else max(now, session.mark), session, alias=alias)


class _Values:
    """The values of a list, and how its statement names each."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def put(self, value: str | int) -> str:
        """Name a value; numbers are told from text by what they are compared with."""
        self.texts.append(str(value))
        return f"($1)[{len(self.texts)}]" + ("::bigint" if isinstance(value, int) else "")


def list_statement(query: SessionQuery) -> tuple[str, list[str]]:
    """One page of a list: a walk of at most ``limit`` index rows for each kind and state, merged."""
    values = _Values()
    tagged, owned = query.tag is not None, query.owner is not None and query.tag is None
    table = "sojourn_tag" if tagged else "sojourn_session"
    ascending = query.order in ("idle", "oldest")
    by_bucket = query.order in ("activity", "idle")
    letter = "o" if owned else "c" if not (tagged or by_bucket) else ""
    columns = (["bucket"] if by_bucket else []) + [f"('{letter}' || id)" if letter else "id"]
    direction, sign = ("asc", ">") if ascending else ("desc", "<")
    order = ", ".join(f"{column} {direction}" for column in columns)
    limit = values.put(query.limit)
    where = [f"tenant = {values.put(query.tenant)}"]
    if query.tag is not None:
        where.append(f"tag = {values.put(query.tag)}")
    if query.owner is not None:
        where.append(
            f"owner = {values.put(query.owner)}" if owned else _of_session(f"owner = {values.put(query.owner)}", table)
        )
    if query.home is not None:
        where.append(_of_session(f"home = {values.put(query.home)}", table))
    if query.after is not None:
        places = [values.put(query.after[0])] if by_bucket else []
        places.append(values.put(letter + query.after[1]))
        where.append(f"({', '.join(columns)}) {sign} ({', '.join(places)})")
    if query.active_before is not None:
        before = values.put(query.active_before)
        where += [f"bucket < {before}"] if by_bucket else []
        where.append(_of_session(f"active_at < {before}", table))
    kinds = [values.put(kind) for kind in query.kinds]
    states = [values.put(state) for state in query.states]
    walks = [
        f"(select n, bucket, id from {table} w where {' and '.join(where)} and kind = {kind} and state = {state} "  # noqa: S608
        f"order by {order} limit {limit})"
        for kind in kinds
        for state in states
    ]
    page = " union all ".join(walks) or "select 0::bigint as n, 0::bigint as bucket, '' as id where false"
    sorting = f"p.bucket {direction}, p.id {direction}" if by_bucket else f"p.id {direction}"
    sql = (
        f"select {_SESSION} from (select * from ({page}) p order by {sorting} limit {limit}) p "  # noqa: S608
        f"join sojourn_session s on s.n = p.n join sojourn_data d on d.n = p.n order by {sorting}"
    )
    return sql, values.texts


def _of_session(condition: str, table: str) -> str:
    if table == "sojourn_session":
        return condition
    return f"exists (select from sojourn_session o where o.n = w.n and o.{condition})"


def due_statement(tenant: str | None, limit: int, clock: int | None, ahead: int = 0) -> tuple[str, list[str]]:
    """Active sessions past their deadline, earliest first, of one tenant or of all."""
    values = _Values()
    most, of = values.put(limit), "" if tenant is None else f" and tenant = {values.put(tenant)}"
    now = "sojourn_time(null)" if clock is None else values.put(clock)
    sql = (
        f"select {_SESSION} from (select n, deadline, tenant, id from sojourn_session "  # noqa: S608
        f"where deadline is not null and state = 'active' and deadline <= (select {now}) + {values.put(ahead)}{of} "
        f"order by deadline, tenant, id limit {most}) p "
        "join sojourn_session s on s.n = p.n join sojourn_data d on d.n = p.n order by p.deadline, p.tenant, p.id"
    )
    return sql, values.texts


def count_recent_statement(
    tenant: str, kind: str, tag: str | None, owner: str | None, home: str | None, active_after: int, clock: int | None
) -> tuple[str, list[Any]]:
    """How many active sessions since an instant, less the few among the due ones that are as recent.

    Deadlines are in no list's index (a touch would have to move them there), so what is due is counted from its own. The time
    is the statement's, which the planner knows: it would expect a third of all to be due, and walk all that are active.
    """
    recent, values = count_statement(tenant, kind, tag, owner, home)
    now = "(extract(epoch from statement_timestamp()) * 1000000)::bigint" if clock is None else "%s"
    due = (
        "select count(*) from sojourn_session w where deadline is not null and state = 'active' "  # noqa: S608
        f"and deadline <= {now} and tenant = %s and kind = %s and bucket >= %s"
    )
    late: list[Any] = [*([] if clock is None else [clock]), tenant, kind, active_after]
    if tag is not None:
        due += " and exists (select from sojourn_tag t where t.n = w.n and t.tag = %s)"
        late.append(tag)
    elif owner is not None:
        due += " and owner = %s"
        late.append(owner)
    if home is not None:
        due += " and home = %s"
        late.append(home)
    return f"select ({recent} and bucket >= %s) - ({due})", [*values, active_after, *late]


def count_statement(
    tenant: str, kind: str, tag: str | None, owner: str | None, home: str | None = None
) -> tuple[str, list[str]]:
    """How many active sessions, from an index alone where no home is asked for."""
    table, where, values = "sojourn_session", "", [tenant, kind]
    if tag is not None:
        table, where = "sojourn_tag", " and tag = %s"
        values.append(tag)
    elif owner is not None:
        where = " and owner = %s"
        values.append(owner)
    if home is not None:
        where += " and " + _of_session("home = %s", table)
        values.append(home)
    return f"select count(*) from {table} w where tenant = %s and kind = %s and state = 'active'{where}", values  # noqa: S608


def page_of(
    rows: list[tuple[Any, ...]], after: tuple[int, ...], limit: int, tenant: str, kind: str | None, session: str | None
) -> EventPage:
    """Rows of ``events`` as a page; those of others are passed over."""
    cursor, gap = list(after), False
    found: list[EventRow] = []
    for shard, missed, history, begins, number, owner, identifier, which, *rest, _ in rows:
        gap = gap or missed
        cursor[wire.SHARDS] = history
        if missed and number is None:
            cursor[shard] = begins
        if number is None:
            continue
        if len(found) >= limit:
            break
        cursor[shard] = number
        if owner == tenant and kind in (None, which) and session in (None, identifier):
            found.append(EventRow(shard, number, identifier, which, *rest))
    if gap and session is not None and cursor[wire.SHARDS] != after[wire.SHARDS]:
        # Another history: what the shards that were not asked have given their numbers to is not known, so they begin anew.
        asked = {row[0] for row in rows}
        cursor[: wire.SHARDS] = [number if shard in asked else 0 for shard, number in enumerate(cursor[: wire.SHARDS])]
    return EventPage(found, tuple(cursor), gap)
