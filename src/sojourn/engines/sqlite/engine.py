"""The SQLite engine in both colours.

Bounded reads run where they are called (4–18 µs; a thread hop costs 51), on the event loop too. Unbounded ones (search,
counts) leave the loop for a thread. Commits go to the committer: a leader among threads, a writer thread under loops.
"""

from __future__ import annotations

import builtins
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from secrets import token_hex
from typing import Any, Final, TypeVar

from sojourn.core.batch import Answer, Batch
from sojourn.core.query import EntryQuery, SearchQuery, SessionQuery
from sojourn.core.session import Alias, AliasKey, EventRow, Session, Snapshot
from sojourn.engines.background import TaskBackground, ThreadBackground
from sojourn.engines.bell import Bell
from sojourn.engines.checks import check_batch, check_cursor
from sojourn.engines.contract import Background, Capabilities, Changed, Clock, ErasedRows, EventPage, Hit
from sojourn.engines.drafts import Draft
from sojourn.engines.sqlite import reads, schema, upkeep
from sojourn.engines.sqlite.commits import Committer, LoopCommits, ThreadCommits
from sojourn.engines.sqlite.connections import Connections, Durability, facts
from sojourn.engines.sqlite.faults import translate
from sojourn.engines.sqlite.forks import watch_forks
from sojourn.engines.sqlite.transaction import SQL, Writing, aliases_at, session_of_row
from sojourn.errors import ClosedError, InvalidValueError, UnavailableError

T = TypeVar("T")

POLL = 0.05
"""Seconds between looks for commits of other processes, while somebody watches."""

_WIDE: Final = 2_000
_LOAD: Final = SQL["load"]
_MARK: Final = 10
"""Where a row of it has the session's own time."""
"""Entries that a read takes on the event loop; more are read in a thread."""

_CHECKPOINT_WAIT: Final = 20
"""Milliseconds that one attempt to empty the log waits for readers."""
_CHECKPOINT_TRIES: Final = 10
_CHECKPOINT_PAUSE: Final = 0.02
"""Seconds between attempts, for those who commit."""

_COMPANIONS: Final = ("", "-wal", "-shm", "-journal")
"""What SQLite keeps beside a database, by how the name ends."""


CAPABILITIES: Final = Capabilities(engine="sqlite", backup=True)


class SqliteEngine:
    """One SQLite file, for blocking code; any number of threads and processes may share it."""

    def __init__(
        self,
        path: str,
        clock: Clock,
        *,
        durability: Durability = "full",
        timeout: float = 10.0,
        migrate: bool = True,
        read_only: bool = False,
    ) -> None:
        self._clock = clock
        self._timeout = timeout
        self._durability = durability
        self._connections = Connections(path, durability=durability, timeout=timeout, read_only=read_only)
        self._connections.prepare(create=migrate)
        self._bell = Bell()
        self._committer = Committer(self._connections, clock, self._bell)
        self._commits: ThreadCommits | LoopCommits = self._make_commits()
        self._closed = False
        self._closing = threading.Lock()
        watch_forks(self)
        try:
            with self._connections.reader() as connection:
                if not read_only and migrate:
                    self._connections.to_wal(connection)
                schema.ensure(self._connections, connection, migrate=migrate)
        except BaseException:
            self._connections.close()
            raise

    def _make_commits(self) -> ThreadCommits | LoopCommits:
        return ThreadCommits(self._committer, self._timeout)

    @property
    def capabilities(self) -> Capabilities:
        """Everything, and backups while live."""
        return CAPABILITIES

    @property
    def path(self) -> str:
        """Where the file is."""
        return self._connections.path

    # -- commits ---------------------------------------------------------------------------------------------------

    async def commit(self, batch: Batch) -> Answer:
        """See `contract.Engine.commit`."""
        self._check_open()
        check_batch(batch)
        answer: Answer = await self._commits.submit(batch)
        return answer

    async def index(self, limit: int) -> int:
        """See `contract.Engine.index`."""
        self._check_open()
        count: int = await self._commits.submit(lambda _, connection: upkeep.index(connection, limit))
        return count

    async def purge(self, limit: int) -> int:
        """See `contract.Engine.purge`."""
        self._check_open()
        now = self._clock()

        def work(_: Writing, connection: sqlite3.Connection) -> tuple[int, str | None]:
            removed = upkeep.purge(connection, limit, now)
            return removed, upkeep.stale_log(connection) if removed < limit else None

        removed: int
        removed, stale = await self._commits.submit(work)
        if stale is not None:
            await self._empty_log(stale)
        return removed

    async def erase(self, tenant: str, owner: str, limit: int) -> ErasedRows:
        """See `contract.Engine.erase`."""
        self._check_open()

        def work(writing: Writing, connection: sqlite3.Connection) -> tuple[ErasedRows, str | None]:
            rows = upkeep.erase(writing, connection, tenant, owner, limit)
            return rows, upkeep.stale_log(connection) if rows.complete else None

        rows: ErasedRows
        rows, stale = await self._commits.submit(work)
        if stale is not None and not await self._empty_log(stale):
            return replace(rows, settled=False)
        return rows

    async def _empty_log(self, stale: str) -> bool:
        """Empty the write-ahead log; whether it could be. If not, the mark stays and the next purge tries again."""
        if not await self._away(self._checkpoint, one_moment=False):
            return False
        await self._commits.submit(lambda _, connection: upkeep.settle(connection, stale))
        return True

    def _checkpoint(self, connection: sqlite3.Connection) -> bool:
        """Copy the write-ahead log back and empty it, so that what was removed is in no file; not while somebody reads there.

        Writers are kept out while it waits for readers, so it waits little, and several times.
        """
        connection.execute(f"pragma busy_timeout = {_CHECKPOINT_WAIT}")
        try:
            for attempt in range(_CHECKPOINT_TRIES):
                if attempt:
                    time.sleep(_CHECKPOINT_PAUSE)
                if connection.execute("pragma wal_checkpoint(truncate)").fetchone()[0] == 0:
                    return True
            return False
        finally:
            connection.execute(f"pragma busy_timeout = {int(self._timeout * 1000)}")

    # -- bounded reads: here and now -------------------------------------------------------------------------------

    async def load(self, tenant: str, session: str, entries: EntryQuery | None = None) -> Snapshot:
        """See `contract.Engine.load`."""
        self._check_open()
        if entries is None:
            with self._connections.reader() as connection:
                row = connection.execute(_LOAD, (tenant, session)).fetchone()
                now = self._clock()
            return Snapshot(now, None) if row is None else Snapshot(max(now, row[_MARK]), session_of_row(row))
        # Two statements must see one moment: an entry may be redacted, and a session purged, between them.
        with self._connections.snapshot() as connection:
            draft = reads.read_draft(connection, tenant, session)
            if draft is None:
                return Snapshot(self._clock(), None)
            if reads.most_entries(draft, entries) <= _WIDE:
                return self._snapshot(connection, draft, entries)
        wanted = entries
        return await self._away(lambda connection: self._load(connection, tenant, session, wanted))

    def _load(self, connection: sqlite3.Connection, tenant: str, session: str, entries: EntryQuery) -> Snapshot:
        draft = reads.read_draft(connection, tenant, session)
        return Snapshot(self._clock(), None) if draft is None else self._snapshot(connection, draft, entries)

    def _snapshot(self, connection: sqlite3.Connection, draft: Draft, entries: EntryQuery | None) -> Snapshot:
        now = self._clock()
        found = () if entries is None else reads.read_entries(connection, draft, entries)
        return Snapshot(max(now, draft.mark), draft.session(), found)

    async def follow(self, tenant: str, alias: AliasKey) -> Snapshot:
        """See `contract.Engine.follow`."""
        self._check_open()
        with self._connections.snapshot() as connection:
            row = connection.execute(SQL["alias"], (tenant, alias.namespace, alias.key)).fetchone()
            now = self._clock()
            found = Alias(alias, None, 0) if row is None else Alias(alias, row[1], row[2], row[3], row[4])
            draft = None if found.target is None else reads.read_draft(connection, tenant, found.target)
            if draft is None:
                return Snapshot(now, None, alias=found)
            return Snapshot(max(now, draft.mark), draft.session(), alias=found)

    async def aliases(self, tenant: str, *, target: str, home: str | None = None) -> builtins.list[Alias]:
        """See `contract.Engine.aliases`."""
        self._check_open()
        with self._connections.reader() as connection:
            found = aliases_at(connection, tenant, target)
        return [alias for alias in found if home in (None, alias.key.home)]

    async def tags(self, tenant: str, session: str) -> builtins.list[str]:
        """See `contract.Engine.tags`."""
        self._check_open()
        with self._connections.reader() as connection:
            return [row[0] for row in connection.execute(SQL["tags"], (tenant, session))]

    async def list(self, query: SessionQuery) -> builtins.list[Session]:
        """See `contract.Engine.list`."""
        self._check_open()
        sql, values = reads.list_statement(query)
        with self._connections.reader() as connection:
            return [reads.session_of(row) for row in connection.execute(sql, values)]

    async def due(self, tenant: str | None, limit: int, ahead: int = 0) -> builtins.list[Session]:
        """See `contract.Engine.due`."""
        self._check_open()
        with self._connections.reader() as connection:
            rows = connection.execute(SQL["due"], (self._clock() + ahead, tenant, tenant, limit))
            return [reads.session_of(row) for row in rows]

    async def tip(self) -> tuple[int, ...]:
        """See `contract.Engine.tip`."""
        return (self._tip(),)

    def _tip(self) -> int:
        self._check_open()
        with self._connections.reader() as connection:
            return int(connection.execute(SQL["tip"]).fetchone()[0] or 0)

    async def events(
        self, tenant: str, after: tuple[int, ...], limit: int, *, kind: str | None = None, session: str | None = None
    ) -> EventPage:
        """See `contract.Engine.events`."""
        self._check_open()
        check_cursor(after, 1)
        with self._connections.snapshot() as connection:
            return reads.read_events(connection, tenant, after[0], limit, kind, session)

    async def history(self, tenant: str, session: str, limit: int) -> builtins.list[EventRow]:
        """See `contract.Engine.history`."""
        self._check_open()
        with self._connections.reader() as connection:
            return reads.read_history(connection, tenant, session, limit)

    async def now(self) -> int:
        """See `contract.Engine.now`."""
        return self._clock()

    # -- unbounded reads: a thread of their own under a loop -------------------------------------------------------

    async def count(
        self,
        tenant: str,
        kind: str,
        *,
        tag: str | None = None,
        owner: str | None = None,
        home: str | None = None,
        active_after: int | None = None,
    ) -> int:
        """See `contract.Engine.count`."""
        sql: str
        values: list[Any]
        if active_after is None:
            sql, values = reads.count_statement(tenant, kind, tag, owner, home)
        else:
            sql, values = reads.count_recent_statement(tenant, kind, tag, owner, home, active_after, self._clock())
        return await self._away(lambda connection: int(connection.execute(sql, values).fetchone()[0]))

    async def search(self, query: SearchQuery) -> builtins.list[Hit]:
        """See `contract.Engine.search`."""
        return await self._away(lambda connection: reads.search(connection, query))

    async def facts(self) -> dict[str, Any]:
        """See `contract.Engine.facts`."""
        return await self._away(self._facts)

    def _facts(self, connection: sqlite3.Connection) -> dict[str, Any]:
        path = Path(self.path)
        wal = path.with_name(path.name + "-wal")
        found = {
            "engine": "sqlite",
            "path": self.path,
            "sqlite_version": sqlite3.sqlite_version,
            "schema": schema.version_of(connection),
            "durability": self._durability,
            **facts(connection),
            "bytes": path.stat().st_size,
            "wal_bytes": wal.stat().st_size if wal.exists() else 0,
            "mode": oct(path.stat().st_mode & 0o777),
        }
        for name, table in (("sessions", "session"), ("entries", "entry"), ("events", "event")):
            found[name] = connection.execute(f"select count(*) from sojourn_{table}").fetchone()[0]  # noqa: S608
        through = connection.execute(SQL["meta"], ("indexed_through",)).fetchone()
        found["unindexed"] = connection.execute(
            "select count(*) from sojourn_event where deferred and n > ?", (int(through[0]) if through else 0,)
        ).fetchone()[0]
        return found

    async def check(self) -> builtins.list[str]:
        """What SQLite's own integrity check finds wrong; empty when all is well."""
        rows = await self._away(lambda connection: connection.execute("pragma integrity_check(20)").fetchall())
        return [row[0] for row in rows if row[0] != "ok"]

    async def backup(self, target: str, *, replace: bool = True) -> int:
        """Copy the whole store, as of one moment and while it is in use, to a file; its size in bytes.

        Never over a database that is in use, its log, or any file when not ``replace``: `InvalidValueError`.
        """
        return await self._away(lambda connection: self._backup(connection, Path(target), replace=replace))

    def _backup(self, connection: sqlite3.Connection, target: Path, *, replace: bool) -> int:
        _check_target(Path(self.path), target, replace=replace)
        partial = target.with_name(f"{target.name}.{token_hex(4)}.partial")
        try:
            os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        except OSError as error:
            raise UnavailableError(f"{partial} cannot be written: {error.strerror}.") from error
        try:
            copy = sqlite3.connect(partial, isolation_level=None)
            try:
                connection.backup(copy)
                copy.execute("pragma journal_mode = delete")
            finally:
                copy.close()
            with partial.open("rb") as file:
                os.fsync(file.fileno())
            _check_target(Path(self.path), target, replace=replace)  # made meanwhile
            partial.replace(target)
        except sqlite3.Error as error:
            raise translate(error, str(target)) from error
        finally:
            partial.unlink(missing_ok=True)
        return target.stat().st_size

    async def _away(self, work: Callable[[sqlite3.Connection], T], *, one_moment: bool = True) -> T:
        """Run an unbounded read where it does not hold anybody up; in blocking code that is here."""
        return self._read(work, one_moment=one_moment)

    def _read(self, work: Callable[[sqlite3.Connection], T], *, one_moment: bool) -> T:
        self._check_open()
        with self._connections.snapshot() if one_moment else self._connections.reader() as connection:
            return work(connection)

    # -- waiting ---------------------------------------------------------------------------------------------------

    async def changed(self, after: tuple[int, ...], timeout: float, *, session: str | None = None) -> Changed:  # noqa: ARG002  # one shard
        """See `contract.Engine.changed`; commits of other processes are seen within `POLL` seconds."""
        check_cursor(after, 1)
        limit = time.monotonic() + timeout
        while True:
            seen = self._bell.rings
            if self._tip() > after[0]:
                return "now"
            left = limit - time.monotonic()
            if left <= 0:
                return "timeout"
            await self._wait(seen, min(left, POLL))

    async def _wait(self, seen: int, timeout: float) -> None:
        self._bell.wait(seen, timeout)

    async def sleep(self, seconds: float) -> None:
        """See `contract.Engine.sleep`."""
        time.sleep(seconds)

    def spawn(self, body: Callable[[], Coroutine[Any, Any, None]]) -> Background:
        """See `contract.Engine.spawn`."""
        return ThreadBackground(body)

    # -- life ------------------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """See `contract.Engine.close`."""
        self._closed = True
        self._shut()

    def _shut(self) -> None:
        """Commit what was queued and let go; once, and whoever asks again waits for it."""
        with self._closing:
            self._commits.close()
            self._committer.close()
            self._connections.close()

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError("this store was closed.", hint="Open it again.")

    def before_fork(self) -> None:
        """See `forks`: let go of every connection."""
        self._committer.pause()
        self._connections.pause()

    def after_fork_in_parent(self) -> None:
        """See `forks`: go on."""
        self._connections.resume()
        self._committer.resume()

    def after_fork_in_child(self) -> None:
        """See `forks`: nothing of the parent's connections, locks and threads is used."""
        self._connections.check_process()
        self._closing = threading.Lock()
        self._bell = Bell()
        self._committer = Committer(self._connections, self._clock, self._bell)
        self._commits = self._make_commits()


class AsyncSqliteEngine(SqliteEngine):
    """The same file for event loops."""

    def _make_commits(self) -> LoopCommits:
        return LoopCommits(self._committer, self._timeout)

    async def _away(self, work: Callable[[sqlite3.Connection], T], *, one_moment: bool = True) -> T:
        import asyncio

        return await asyncio.get_running_loop().run_in_executor(None, lambda: self._read(work, one_moment=one_moment))

    async def _wait(self, seen: int, timeout: float) -> None:
        await self._bell.wait_async(seen, timeout)

    async def sleep(self, seconds: float) -> None:
        """See `contract.Engine.sleep`."""
        import asyncio

        await asyncio.sleep(seconds)

    def spawn(self, body: Callable[[], Coroutine[Any, Any, None]]) -> Background:
        """See `contract.Engine.spawn`."""
        return TaskBackground(body)

    async def close(self) -> None:
        """See `contract.Engine.close`; what was queued is committed first, off the loop."""
        import asyncio

        self._closed = True
        await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, self._shut))  # cancelled or not, it ends


def _check_target(store: Path, target: Path, *, replace: bool) -> None:
    """Refuse to write a backup over a store: who has it open would go on in a file that has no name any more."""
    own = [store.with_name(store.name + ending) for ending in _COMPANIONS]
    if target.absolute() in [path.absolute() for path in own] or any(_same(target, path) for path in own):
        raise InvalidValueError(f"{target} is the store itself.", hint="Name another file.")
    if not replace and os.path.lexists(target):
        raise InvalidValueError(f"{target} exists.", hint="Name a new file.")
    real = target.resolve()
    for place in {target, real}:
        for ending in _COMPANIONS[1:]:
            if os.path.lexists(place.with_name(place.name + ending)):
                raise InvalidValueError(f"{target} is in use: there is a {target.name}{ending}.", hint="Name a new file.")


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False
