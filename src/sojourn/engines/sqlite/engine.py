"""The SQLite engine in both colours.

Bounded reads run where they are called (4–18 µs; a thread hop costs 51), on the event loop too. Unbounded ones (search,
counts) leave the loop for a thread. Commits go to the committer: a leader among threads, a writer thread under loops.
"""

from __future__ import annotations

import builtins
import os
import sqlite3
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from sojourn.core.batch import Answer, Batch
from sojourn.core.query import EntryQuery, SearchQuery, SessionQuery
from sojourn.core.session import Alias, AliasKey, EventRow, Session, Snapshot
from sojourn.engines.background import TaskBackground, ThreadBackground
from sojourn.engines.bell import Bell
from sojourn.engines.contract import Background, Capabilities, Changed, Clock, ErasedRows, EventPage, Hit
from sojourn.engines.sqlite import reads, schema, upkeep
from sojourn.engines.sqlite.commits import Committer, LoopCommits, ThreadCommits
from sojourn.engines.sqlite.connections import Connections, Durability, facts
from sojourn.engines.sqlite.faults import translate
from sojourn.engines.sqlite.forks import watch_forks
from sojourn.engines.sqlite.transaction import SQL, aliases_at
from sojourn.errors import ClosedError, UnavailableError

T = TypeVar("T")

POLL = 0.05
"""Seconds between looks for commits of other processes, while somebody watches."""


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
        return Capabilities(engine="sqlite", backup=True)

    @property
    def path(self) -> str:
        """Where the file is."""
        return self._connections.path

    # -- commits ---------------------------------------------------------------------------------------------------

    async def commit(self, batch: Batch) -> Answer:
        """See `contract.Engine.commit`."""
        self._check_open()
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
        count: int = await self._commits.submit(lambda _, connection: upkeep.purge(connection, limit, now))
        return count

    async def erase(self, tenant: str, owner: str, limit: int) -> ErasedRows:
        """See `contract.Engine.erase`."""
        self._check_open()
        rows: ErasedRows = await self._commits.submit(
            lambda writing, connection: upkeep.erase(writing, connection, tenant, owner, limit)
        )
        if rows.complete:
            await self._away(_checkpoint, one_moment=False)
        return rows

    # -- bounded reads: here and now -------------------------------------------------------------------------------

    async def load(self, tenant: str, session: str, entries: EntryQuery | None = None) -> Snapshot:
        """See `contract.Engine.load`."""
        self._check_open()
        # Two statements must see one moment: an entry may be redacted, and a session purged, between them.
        lent = self._connections.reader() if entries is None else self._connections.snapshot()
        with lent as connection:
            draft = reads.read_draft(connection, tenant, session)
            now = self._clock()
            if draft is None:
                return Snapshot(now, None)
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

    async def due(self, tenant: str | None, limit: int) -> builtins.list[Session]:
        """See `contract.Engine.due`."""
        self._check_open()
        with self._connections.reader() as connection:
            rows = connection.execute(SQL["due"], (self._clock(), tenant, tenant, limit))
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

    async def count(self, tenant: str, kind: str, *, tag: str | None = None, owner: str | None = None) -> int:
        """See `contract.Engine.count`."""
        sql, values = reads.count_statement(tenant, kind, tag, owner)
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

    async def backup(self, target: str) -> int:
        """Copy the whole store, as of one moment and while it is in use, to a new file; its size in bytes."""
        return await self._away(lambda connection: self._backup(connection, Path(target)))

    def _backup(self, connection: sqlite3.Connection, target: Path) -> int:
        partial = target.with_name(target.name + ".partial")
        try:
            os.close(os.open(partial, os.O_CREAT | os.O_RDWR | os.O_TRUNC, 0o600))
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
            partial.replace(target)
        except sqlite3.Error as error:
            partial.unlink(missing_ok=True)
            raise translate(error, str(target)) from error
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        return target.stat().st_size

    async def _away(self, work: Callable[[sqlite3.Connection], T], *, one_moment: bool = True) -> T:
        """Run an unbounded read where it does not hold anybody up; in blocking code that is here."""
        return self._read(work, one_moment=one_moment)

    def _read(self, work: Callable[[sqlite3.Connection], T], *, one_moment: bool) -> T:
        self._check_open()
        with self._connections.snapshot() if one_moment else self._connections.reader() as connection:
            return work(connection)

    # -- waiting ---------------------------------------------------------------------------------------------------

    async def changed(self, after: tuple[int, ...], timeout: float) -> Changed:
        """See `contract.Engine.changed`; commits of other processes are seen within `POLL` seconds."""
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
        if not self._closed:
            self._closed = True
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
        if not self._closed:
            import asyncio

            self._closed = True
            await asyncio.get_running_loop().run_in_executor(None, self._commits.close)
            self._committer.close()
            self._connections.close()


def _checkpoint(connection: sqlite3.Connection) -> None:
    """Copy the write-ahead log back and empty it, so that what was erased is in no file; who reads at this moment delays it."""
    connection.execute("pragma wal_checkpoint(truncate)")
