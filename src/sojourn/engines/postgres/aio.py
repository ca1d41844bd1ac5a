"""The driver for event loops, and the engine on it.

Commits and loads that are asked for at one moment of the loop travel together. A call is under way on each lane; what is
queued meanwhile travels with the next one.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

import psycopg

from sojourn.core.batch import Answer, Batch
from sojourn.engines.background import TaskBackground
from sojourn.engines.contract import Background
from sojourn.engines.postgres import wire
from sojourn.engines.postgres.attempts import Attempts
from sojourn.engines.postgres.commits import MOST, SPLIT, Queue, Sending, Slot, carry_out
from sojourn.engines.postgres.driver import Driver, Rows, place_of
from sojourn.engines.postgres.engine import PostgresEngine
from sojourn.engines.postgres.faults import translate
from sojourn.engines.postgres.limits import AsyncTimedConnection
from sojourn.engines.postgres.pool import LoopPool
from sojourn.engines.postgres.settings import Settings
from sojourn.engines.postgres.statements import SQL
from sojourn.engines.postgres.watching import MARKED, LoopWatching
from sojourn.engines.sqlite.forks import watch_forks
from sojourn.errors import EngineError, ReadOnlyError

LANES: Final = 2
"""How many commits, and how many loads, may be under way at once; more would travel in smaller groups."""

MOST_LOADS: Final = 512
"""Sessions in one load."""


class AsyncDriver:
    """Statements and waiting for one event loop."""

    def __init__(self, settings: Settings, *, lanes: int = LANES) -> None:
        self.where: str = place_of(settings.url)
        self.settings: Settings = settings
        self._lanes = lanes
        self._inherited: list[object] = []
        self._begin()
        watch_forks(self)

    async def _connect(self) -> AsyncTimedConnection:
        settings = self.settings
        connection = await AsyncTimedConnection.connect(
            settings.url, autocommit=True, connect_timeout=self._attempts.patience(settings.timeout), attempts=self._attempts
        )
        connection.limit = settings.timeout
        connection.heed()
        connection.prepare_threshold = 5 if settings.prepare else None
        return connection

    def _begin(self) -> None:
        self._attempts = Attempts(self.settings.url)
        self._pool = LoopPool(self._connect, self._attempts, self.settings.connections, self.settings.timeout)
        self._watching = LoopWatching(self.settings)
        self._commits = Queue()
        self._committing = 0
        self._dispatching = False
        self._loads: deque[_Load] = deque()
        self._loading = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """See `Driver.open`."""
        try:
            self._pool.put(await self._pool.take(patient=False))
        except BaseException as error:
            self._pool.close()
            if isinstance(error, Exception):
                raise translate(error, self.where) from error
            raise

    async def fetch(self, statement: str, values: Sequence[Any] | dict[str, Any] = ()) -> Rows:
        """See `Driver.fetch`."""
        connection = await self._get()
        try:
            cursor = await connection.execute(self.settings.names.text(statement), values)
            return await cursor.fetchall()
        except psycopg.Error as error:
            raise translate(error, self.where) from error
        finally:
            self._pool.put(connection)

    async def script(self, text: str) -> None:
        """See `Driver.script`."""
        connection = await self._get()
        try:
            await connection.execute(text)
        except psycopg.Error as error:
            raise translate(error, self.where) from error
        finally:
            self._pool.put(connection)

    async def _get(self) -> AsyncTimedConnection:
        """A connection that was alive a moment ago; one that the server closed while it was idle is not used."""
        try:
            return await self._pool.take()
        except Exception as error:
            raise translate(error, self.where) from error

    # -- commits ---------------------------------------------------------------------------------------------------

    async def commit(self, batch: Batch) -> Answer:
        """See `Driver.commit`; a cancelled one that was sent is waited for, at most for the time limit."""
        slot = Slot(wire.pack(batch))
        loop = asyncio.get_running_loop()
        slot.waker = loop.create_future()
        self._commits.put(slot)
        if not self._dispatching and self._committing < self._lanes:
            self._dispatching = True
            loop.call_soon(self._dispatch)
        try:
            await slot.waker
        except asyncio.CancelledError:
            if not slot.decided and not self._commits.withdraw(slot):
                slot.waker = loop.create_future()
                await asyncio.wait([slot.waker], timeout=self.settings.timeout)
            raise
        return slot.outcome()

    def _dispatch(self) -> None:
        """Send what has been queued since; split among the free lanes, so that one is packed while another is carried out."""
        self._dispatching = False
        waiting, free = len(self._commits), self._lanes - self._committing
        lanes = min(free, max(1, waiting // SPLIT))
        for _ in range(lanes if waiting else 0):
            self._committing += 1
            self._start(self._send_commits(min(MOST, -(-waiting // lanes))), self._end_commits)

    async def _send_commits(self, most: int) -> None:
        """One lane: call after call, as long as anybody waits; ``most`` in the first."""
        while group := self._commits.take(most=most):
            await self._call(group)
            most = MOST

    def _end_commits(self) -> None:
        """A lane has ended: maybe because somebody cancelled it, also before it began, and others still wait."""
        self._committing -= 1
        if self._commits and not self._dispatching:
            self._dispatch()

    async def _call(self, group: list[Slot]) -> None:
        watched = False
        try:
            connection = await self._get()
            try:

                async def send(statement: str, values: tuple[Any, ...]) -> Any:
                    cursor = await connection.execute(statement, values)
                    return (await cursor.fetchall())[0][0]

                sending = Sending(send, self.settings, self.where)
                await carry_out(group, sending)
                watched = sending.watched
            finally:
                self._pool.put(connection)
        except Exception as error:
            for slot in group:
                slot.error = slot.error or error
        finally:
            for slot in group:
                slot.leave()
                if not slot.waker.done():
                    slot.waker.set_result(None)
        if watched:
            await self._notify()

    async def _notify(self) -> None:
        """Tell watchers; what they were not told they see a moment later, so a fault here is nobody's."""
        try:
            await self.fetch(SQL["notify"], (self.settings.names.channel,))
        except EngineError:
            self._watching.heard = False

    # -- loads -----------------------------------------------------------------------------------------------------

    async def load(self, tenant: str, session: str) -> tuple[Any, ...]:
        """See `Driver.load`."""
        loop = asyncio.get_running_loop()
        wanted = _Load(tenant, session, loop.create_future())
        self._loads.append(wanted)
        if self._loading < self._lanes:
            self._loading += 1
            loop.call_soon(self._start_loads)
        row: tuple[Any, ...] = await wanted.found
        return row

    def _start_loads(self) -> None:
        self._start(self._send_loads(), self._end_loads)

    async def _send_loads(self) -> None:
        while group := self._next_loads():
            try:
                await self._load(group)
            except asyncio.CancelledError:
                self._loads.extendleft(reversed(group))
                raise

    def _next_loads(self) -> list[_Load]:
        """Those that are still waited for."""
        group: list[_Load] = []
        while self._loads and len(group) < MOST_LOADS:
            wanted = self._loads.popleft()
            if not wanted.found.done():
                group.append(wanted)
        return group

    def _end_loads(self) -> None:
        """As `_end_commits`."""
        if self._loads:
            self._start_loads()
        else:
            self._loading -= 1

    async def _load(self, group: list[_Load]) -> None:
        try:
            clock = None if self.settings.clock is None else self.settings.clock()
            if len(group) == 1:
                rows = await self.fetch(SQL["load"], (clock, group[0].tenant, group[0].session))
            else:
                names = [wanted.tenant for wanted in group], [wanted.session for wanted in group]
                rows = await self.fetch(SQL["load_many"], (clock, *names))
        except Exception as error:  # handed to those who wait
            for wanted in group:
                wanted.fail(error)
            return
        for wanted, row in zip(group, rows, strict=True):
            if not wanted.found.done():
                wanted.found.set_result(row)

    # -- watching --------------------------------------------------------------------------------------------------

    async def told(self, after: Sequence[int], shard: int | None, seconds: float) -> bool:
        """See `Driver.told`."""
        loop = asyncio.get_running_loop()
        limit = loop.time() + seconds
        watching = self._watching
        while True:
            rings = watching.bell.rings
            if (await self.fetch(SQL["changed"], {"after": list(after), "shard": shard}))[0][0]:
                return True
            left = limit - loop.time()
            if left <= 0:
                return False
            if watching.mark_is_old():
                await self._mark()
            await watching.wait(rings, min(left, watching.pause))

    async def _mark(self) -> None:
        """Say that somebody watches, so that commits tell."""
        try:
            await self.fetch(SQL["watch"], (MARKED,))
        except ReadOnlyError:
            self._watching.may_mark = False

    # -- life ------------------------------------------------------------------------------------------------------

    def _start(self, work: Coroutine[Any, Any, None], end: Callable[[], None]) -> None:
        """In a task of its own; ``end`` is called when that has ended, however it did."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            end()

        task.add_done_callback(ended)

    async def wait(self, seconds: float) -> None:
        """See `Driver.wait`."""
        await asyncio.sleep(seconds)

    async def close(self) -> None:
        """See `Driver.close`; what was queued is sent first."""
        if self._dispatching:
            self._dispatch()
        limit = time.monotonic() + self.settings.timeout
        while self._tasks and (left := limit - time.monotonic()) > 0:
            await asyncio.wait(self._tasks, timeout=left)
        await self._watching.close()
        self._pool.close()

    # -- forks -----------------------------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """See `forks`: nothing is waited for, because the child uses nothing of what it inherits."""

    def after_fork_in_parent(self) -> None:
        """See `forks`."""

    def after_fork_in_child(self) -> None:
        """See `forks`: connections of its own, for a loop of its own; those of the parent are kept unused."""
        self._inherited.extend((self._pool, self._watching, self._tasks))
        self._begin()


class _Load:
    """A session that somebody waits for."""

    __slots__ = ("found", "session", "tenant")

    def __init__(self, tenant: str, session: str, found: asyncio.Future[tuple[Any, ...]]) -> None:
        self.tenant = tenant
        self.session = session
        self.found = found

    def fail(self, error: Exception) -> None:
        if not self.found.done():
            self.found.set_exception(error)


class AsyncPostgresEngine(PostgresEngine):
    """One PostgreSQL database, for the event loop it was opened in."""

    @staticmethod
    def _make_driver(settings: Settings) -> Driver:
        return AsyncDriver(settings)

    def spawn(self, body: Callable[[], Coroutine[Any, Any, None]]) -> Background:
        """See `contract.Engine.spawn`."""
        return TaskBackground(body)
