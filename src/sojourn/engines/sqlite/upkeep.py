"""Background work on the store itself: the search index, purging, erasing. Bounded, each call a transaction of its own."""

from __future__ import annotations

import sqlite3
from typing import Any

from sojourn.engines.contract import ErasedRows
from sojourn.engines.embedded import EVENT_LIFE, OPERATION_LIFE, leases_of
from sojourn.engines.sqlite.transaction import (
    LOG_BITS,
    SQL,
    STALE_LOG,
    STALE_WORDS,
    Writing,
    entry_number,
    index_entries,
    index_words,
    mark_log,
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
        mark_log(connection)
    if len(numbers) >= limit or shared:
        return len(numbers)
    connection.execute("delete from sojourn_tag where n = ?", (log,))
    _remove_leases(connection, log)
    connection.execute("delete from sojourn_share where session = ?", (log,))
    connection.execute("delete from sojourn_data where n = ?", (log,))
    connection.execute("delete from sojourn_session where n = ?", (log,))
    return len(numbers) + 1


def _remove_leases(connection: sqlite3.Connection, log: int) -> int:
    """Remove the leases that are named after a session, in its home; how many."""
    tenant, home, identifier = connection.execute("select tenant, home, id from sojourn_session where n = ?", (log,)).fetchone()
    return sum(
        connection.execute(
            "delete from sojourn_lease where tenant = ? and home = ? and name = ?", (tenant, home, name)
        ).rowcount
        for name in leases_of(identifier)
    )


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


def stale_log(connection: sqlite3.Connection) -> str | None:
    """The mark that says that the write-ahead log is to be emptied, once nothing is left to be merged away."""
    words = connection.execute(SQL["meta"], (STALE_WORDS,)).fetchone()
    found = connection.execute(SQL["meta"], (STALE_LOG,)).fetchone()
    return None if found is None or (words is not None and words[0] != "none") else found[0]


def settle(connection: sqlite3.Connection, mark: str) -> None:
    """The log was emptied since this mark was set; a newer one stays."""
    connection.execute("delete from sojourn_meta where name = ? and value = ?", (STALE_LOG, mark))


class Erasure:
    """One bounded transaction of an erasure: it counts what it does, and stops when ``left`` is used up."""

    def __init__(self, writing: Writing, connection: sqlite3.Connection, tenant: str, owner: str, limit: int) -> None:
        self._writing = writing
        self._connection = connection
        self._tenant = tenant
        self._owner = owner
        self._left = limit
        self._sessions = self._entries = self._aliases = self._leases = 0

    def run(self) -> ErasedRows:
        """Do as much as may be done in one transaction; complete when nothing was left to do."""
        complete = self._erase_sessions() and self._erase_elsewhere() and not _compact(self._connection)
        return ErasedRows(self._sessions, self._entries, self._aliases, self._leases, complete=complete)

    def _erase_sessions(self) -> bool:
        mine = self._connection.execute(
            "select n, id from sojourn_session where tenant = ? and owner = ? limit ?", (self._tenant, self._owner, self._left)
        ).fetchall()
        return all(self._erase_session(log, identifier) for log, identifier in mine) and self._left > 0

    def _erase_session(self, log: int, identifier: str) -> bool:
        entries = (
            "select id from sojourn_entry where id between ? and ? and redacted = 0 limit ?",
            (entry_number(log, 1), entry_number(log, _LOG_END), self._left),
        )
        if not (self._redact(*entries) and self._erase_events(log) and self._forget_aliases(identifier)):
            return False
        connection = self._connection
        connection.execute("delete from sojourn_tag where n = ?", (log,))
        self._leases += _remove_leases(connection, log)
        connection.execute("update sojourn_data set data = '{}' where n = ?", (log,))
        connection.execute(
            "update sojourn_session set state = 'deleted', owner = null, deadline = null, counters = '{}', "
            "home = '', version = version + 1 where n = ?",
            (log,),
        )
        mark_log(connection)
        self._sessions += 1
        self._left -= 1
        return self._left > 0

    def _erase_events(self, log: int) -> bool:
        """Leave of a session's events no more than their numbers; its chain is cut off behind what was done."""
        connection = self._connection
        number = connection.execute("select last_event from sojourn_session where n = ?", (log,)).fetchone()[0]
        while number and self._left > 0:
            row = connection.execute("select before from sojourn_event where n = ?", (number,)).fetchone()
            if row is None:
                number = 0
                break
            connection.execute("update sojourn_event set id = '', reason = '', change = 'erased' where n = ?", (number,))
            number = row[0]
            self._left -= 1
        connection.execute("update sojourn_session set last_event = ? where n = ?", (number, log))
        return self._left > 0

    def _erase_elsewhere(self) -> bool:
        """What others keep of the owner; a home that they share (a project, a channel) has names and leases of others."""
        tenant, owner = self._tenant, self._owner
        written = (
            "select e.id from sojourn_entry e join sojourn_session s on s.n = e.id >> 32 "
            "where e.author = ? and s.tenant = ? limit ?",
            (owner, tenant, self._left),
        )
        if not (self._redact(*written) and self._forget_aliases(owner)):
            return False
        self._aliases += self._remove("alias", "namespace, key", "home = ?", owner)
        self._leases += self._remove("lease", "home, name", "home = ?", owner)
        self._remove("operation", "home, id", "home = ?", owner)
        return self._left > 0

    def _redact(self, select: str, values: tuple[Any, ...]) -> bool:
        numbers = self._connection.execute(select, values).fetchall()
        for (number,) in numbers:
            self._writing.redact_row(number)
        self._entries += len(numbers)
        self._left -= len(numbers)
        return self._left > 0

    def _forget_aliases(self, target: str) -> bool:
        """Aliases that point there, or did until they were freed, go; one that points elsewhere by now forgets where it did."""
        self._aliases += self._remove("alias", "namespace, key", "target = ?", target)
        self._aliases += self._remove("alias", "namespace, key", "previous = ? and target is null", target)
        self._connection.execute(
            "update sojourn_alias set previous = null where tenant = ? and previous = ?", (self._tenant, target)
        )
        return self._left > 0

    def _remove(self, table: str, key: str, where: str, value: str) -> int:
        if self._left <= 0:
            return 0
        count = self._connection.execute(
            f"delete from sojourn_{table} where tenant = ? and ({key}) in "  # noqa: S608  # names from this module
            f"(select {key} from sojourn_{table} where tenant = ? and {where} limit ?)",
            (self._tenant, self._tenant, value, self._left),
        ).rowcount
        self._left -= count
        return count


def erase(writing: Writing, connection: sqlite3.Connection, tenant: str, owner: str, limit: int) -> ErasedRows:
    """Remove what belongs to ``owner``; call again until it is complete."""
    return Erasure(writing, connection, tenant, owner, limit).run()
