"""Background work on the store itself: the search index, purging, erasing. Bounded, each call a transaction of its own."""

from __future__ import annotations

import sqlite3

from sojourn.engines.contract import ErasedRows
from sojourn.engines.embedded import EVENT_LIFE, OPERATION_LIFE
from sojourn.engines.sqlite.transaction import (
    LOG_BITS,
    SQL,
    STALE_WORDS,
    Writing,
    entry_number,
    index_entries,
    index_words,
    unindex,
)

_LOG_END = (1 << LOG_BITS) - 1
_MERGE = 500
"""Index pages that one pass may rewrite."""


def index(connection: sqlite3.Connection, limit: int) -> int:
    """Index the entries of at most ``limit`` waiting commits and move the mark; how many commits were indexed."""
    through = int((connection.execute(SQL["meta"], ("indexed_through",)).fetchone() or ("0",))[0])
    waiting = connection.execute(SQL["unindexed"], (through, limit)).fetchall()
    if not waiting:
        return 0
    found: list[tuple[int, str]] = []
    for _, log, first, last in waiting:
        rows = connection.execute(SQL["searchable"], (log, entry_number(log, first), entry_number(log, last)))
        found.extend(
            (number, index_words(tenant, kind, owner, text))
            for number, text, tenant, kind, owner in rows
            if connection.execute(SQL["word_of"], (number,)).fetchone() is None
        )
    index_entries(connection, found)
    connection.execute(SQL["put_meta"], ("indexed_through", str(waiting[-1][0])))
    return len(waiting)


def purge(connection: sqlite3.Connection, limit: int, now: int) -> int:
    """Remove at most about ``limit`` rows that nobody can see any more, and the words of what was removed."""
    removed = _compact(connection)
    for (log,) in connection.execute(SQL["purgeable"], (limit,)).fetchall():
        removed += _purge_session(connection, log, limit - removed)
        if removed >= limit:
            return removed
    removed += connection.execute(
        "delete from sojourn_operation where (tenant, home, id) in "
        "(select tenant, home, id from sojourn_operation where at < ? limit ?)",
        (now - OPERATION_LIFE, limit - removed),
    ).rowcount
    if removed >= limit:
        return removed
    return removed + _purge_events(connection, limit - removed, now)


def _compact(connection: sqlite3.Connection) -> int:
    """Merge the parts of the search index that still hold removed words, a bounded piece at a time; 1 while there are some.

    FTS5 notes what was deleted and forgets it when its segments are merged. A negative number of pages begins such a merge of
    everything, positive ones go on with it, and fewer than two changes say that it is done (SQLite, FTS5, 6.8).
    """
    state = connection.execute(SQL["meta"], (STALE_WORDS,)).fetchone()
    if state is None or state[0] == "none":
        return 0
    before = connection.total_changes
    pages = -_MERGE if state[0] == "some" else _MERGE
    connection.execute("insert into sojourn_words (sojourn_words, rank) values ('merge', ?)", (pages,))
    done = state[0] == "merging" and connection.total_changes - before < 2
    connection.execute(SQL["put_meta"], (STALE_WORDS, "none" if done else "merging"))
    return 0 if done else 1


def _purge_session(connection: sqlite3.Connection, log: int, limit: int) -> int:
    shared = connection.execute("select max(through) from sojourn_share where log = ?", (log,)).fetchone()[0] or 0
    first, last = entry_number(log, shared + 1), entry_number(log, _LOG_END)
    numbers = connection.execute(
        "select id from sojourn_entry where id between ? and ? limit ?", (first, last, limit)
    ).fetchall()
    for (number,) in numbers:
        unindex(connection, number)
    if numbers:
        connection.execute("delete from sojourn_entry where id between ? and ?", (numbers[0][0], numbers[-1][0]))
    if len(numbers) >= limit or shared:
        return len(numbers)
    connection.execute("delete from sojourn_tag where n = ?", (log,))
    connection.execute("delete from sojourn_share where session = ?", (log,))
    connection.execute("delete from sojourn_data where n = ?", (log,))
    connection.execute("delete from sojourn_session where n = ?", (log,))
    return len(numbers) + 1


def _purge_events(connection: sqlite3.Connection, limit: int, now: int) -> int:
    """Events past their life, but never one whose entries wait for the index, nor the newest (numbers go on from it)."""
    through = int((connection.execute(SQL["meta"], ("indexed_through",)).fetchone() or ("0",))[0])
    tip = connection.execute(SQL["tip"]).fetchone()[0] or 0
    waiting = connection.execute(SQL["unindexed"], (through, 1)).fetchone()
    end = tip if waiting is None else min(tip, waiting[0])
    last = 0  # the oldest only, up to the first that stays: times may go back, and a hole would be no gap
    for number, at in connection.execute(SQL["oldest_events"], (end, limit)):
        if at >= now - EVENT_LIFE:
            break
        last = number
    return connection.execute("delete from sojourn_event where n <= ?", (last,)).rowcount


def _erase_events(connection: sqlite3.Connection, log: int) -> None:
    """Leave of a session's events no more than their numbers."""
    number = connection.execute("select last_event from sojourn_session where n = ?", (log,)).fetchone()[0]
    while number:
        row = connection.execute("select before from sojourn_event where n = ?", (number,)).fetchone()
        if row is None:
            return
        connection.execute("update sojourn_event set id = '', reason = '', change = 'erased' where n = ?", (number,))
        number = row[0]


def erase(writing: Writing, connection: sqlite3.Connection, tenant: str, owner: str, limit: int) -> ErasedRows:
    """Remove what belongs to ``owner``; call again until it is complete."""
    left, entries, sessions = limit, 0, 0
    mine = connection.execute(
        "select n, id from sojourn_session where tenant = ? and owner = ? limit ?", (tenant, owner, limit)
    ).fetchall()
    aliases = leases = 0
    for log, identifier in mine:
        numbers = connection.execute(
            "select id from sojourn_entry where id between ? and ? and redacted = 0 limit ?",
            (entry_number(log, 1), entry_number(log, _LOG_END), left),
        ).fetchall()
        for (number,) in numbers:
            writing.redact_row(number)
        entries += len(numbers)
        left -= len(numbers)
        if left <= 0:
            return ErasedRows(sessions, entries, aliases, leases, complete=False)
        aliases += connection.execute(
            "delete from sojourn_alias indexed by sojourn_alias_target where tenant = ? and target = ?", (tenant, identifier)
        ).rowcount
        connection.execute("delete from sojourn_tag where n = ?", (log,))
        connection.execute("update sojourn_data set data = '{}' where n = ?", (log,))
        _erase_events(connection, log)
        connection.execute(
            "update sojourn_session set state = 'deleted', owner = null, deadline = null, counters = '{}', "
            "home = '', version = version + 1 where n = ?",
            (log,),
        )
        sessions += 1
    if len(mine) >= limit:
        return ErasedRows(sessions, entries, aliases, leases, complete=False)
    written = connection.execute(
        "select e.id from sojourn_entry e join sojourn_session s on s.n = e.id >> 32 "
        "where e.author = ? and s.tenant = ? limit ?",
        (owner, tenant, left),
    ).fetchall()
    for (number,) in written:
        writing.redact_row(number)
    aliases += connection.execute("delete from sojourn_alias where tenant = ? and target = ?", (tenant, owner)).rowcount
    # The owner's own home goes. A home they share (a project, a channel) has names and leases of others.
    aliases += connection.execute("delete from sojourn_alias where tenant = ? and home = ?", (tenant, owner)).rowcount
    leases += connection.execute("delete from sojourn_lease where tenant = ? and home = ?", (tenant, owner)).rowcount
    connection.execute("delete from sojourn_operation where tenant = ? and home = ?", (tenant, owner))
    complete = len(written) < left
    if complete:
        connection.execute("insert into sojourn_words (sojourn_words) values ('optimize')")
        connection.execute(SQL["put_meta"], (STALE_WORDS, "none"))
    return ErasedRows(sessions, entries + len(written), aliases, leases, complete=complete)
