"""The driver for event loops, and the engine on it.

Commits and loads that are asked for at one moment of the loop travel together. A call is under way on each lane; what is
queued meanwhile travels with the next one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

import psycopg
from psycopg_pool import AsyncConnectionPool

from sojourn.core.batch import Answer, Batch
from sojourn.engines.background import TaskBackground
from sojourn.engines.contract import Background, Clock
from sojourn.engines.postgres import wire
from sojourn.engines.postgres.blocking import gone
from sojourn.engines.postgres.commits import MOST, SPLIT, Queue, Slot, carry_out
from sojourn.engines.postgres.driver import Driver, Rows, place_of
from sojourn.engines.postgres.engine import PostgresEngine
from sojourn.engines.postgres.faults import translate
from sojourn.engines.postgres.statements import SQL
from sojourn.errors import SojournError

LANES: Final = 2
"""How many commits, and how many loads, may be under way at once; more would travel in smaller groups."""

MOST_LOADS: Final = 512
"""Sessions in one load."""


class AsyncDriver:
    """Statements and waiting for one event loop."""

    def __init__(self, url: str, clock: Clock | None, *, connections: int, timeout: float, lanes: int = LANES) -> None:
        self.where: str = place_of(url)
        self._clock = clock
        self._timeout = timeout
        self._pool = AsyncConnectionPool(
            url,
            min_size=1,
            max_size=connections,
            timeout=timeout,
            kwargs={"autocommit": True, "connect_timeout": max(2, round(timeout))},
            name="sojourn",
            open=False,
        )
        self._lanes = lanes
        self._commits = Queue()
        self._committing = 0
        self._dispatching = False
        self._loads: deque[_Load] = deque()
        self._loading = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """See `Driver.open`."""
        try:
            await self._pool.open(wait=True, timeout=self._timeout)
        except Exception as error:
            await self._pool.close()
            raise translate(error, self.where) from error

    async def fetch(self, statement: str, values: Sequence[Any] | dict[str, Any] = ()) -> Rows:
        """See `Driver.fetch`."""
        connection = await self._get()
        try:
            cursor = await connection.execute(statement, values)
            return await cursor.fetchall()
        except psycopg.Error as error:
            raise translate(error, self.where) from error
        finally:
            await self._pool.putconn(connection)

    async def script(self, text: str) -> None:
        """See `Driver.script`."""
        connection = await self._get()
        try:
            await connection.execute(text)
        except psycopg.Error as error:
            raise translate(error, self.where) from error
        finally:
            await self._pool.putconn(connection)

    async def _get(self) -> psycopg.AsyncConnection:
        """A connection that was alive a moment ago; one that the server closed while it was idle is not used."""
        try:
            while True:
                connection = await self._pool.getconn()
                if not gone(connection.pgconn.socket):
                    return connection
                await connection.close()
                await self._pool.putconn(connection)
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
                await asyncio.wait([slot.waker], timeout=self._timeout)
            raise
        return slot.outcome()

    def _dispatch(self) -> None:
        """Send what has been queued since; split among the free lanes, so that one is packed while another is carried out."""
        self._dispatching = False
        waiting, free = len(self._commits), self._lanes - self._committing
        lanes = min(free, max(1, waiting // SPLIT))
        for _ in range(lanes if waiting else 0):
            group = self._commits.take(most=min(MOST, -(-waiting // lanes)))
            if group:
                self._committing += 1
                self._start(self._send_commits(group))

    async def _send_commits(self, group: list[Slot]) -> None:
        """One lane: call after call, as long as anybody waits."""
        try:
            while group:
                await self._call(group)
                group = self._commits.take()
        finally:
            self._committing -= 1

    async def _call(self, group: list[Slot]) -> None:
        try:
            connection = await self._get()
            try:

                async def send(statement: str, values: tuple[Any, ...]) -> Any:
                    cursor = await connection.execute(statement, values)
                    return (await cursor.fetchall())[0][0]

                await carry_out(group, send, self._clock, self.where)
            finally:
                await self._pool.putconn(connection)
        except Exception as error:
            for slot in group:
                slot.error = slot.error or error
        finally:
            for slot in group:
                if not slot.waker.done():
                    slot.waker.set_result(None)

    # -- loads -----------------------------------------------------------------------------------------------------

    async def load(self, tenant: str, session: str) -> tuple[Any, ...]:
        """See `Driver.load`."""
        loop = asyncio.get_running_loop()
        wanted = _Load(tenant, session, loop.create_future())
        self._loads.append(wanted)
        if self._loading < self._lanes:
            self._loading += 1
            loop.call_soon(self._start, self._send_loads())
        row: tuple[Any, ...] = await wanted.found
        return row

    async def _send_loads(self) -> None:
        try:
            while self._loads:
                group = [self._loads.popleft() for _ in range(min(len(self._loads), MOST_LOADS))]
                await self._load(group)
        finally:
            self._loading -= 1

    async def _load(self, group: list[_Load]) -> None:
        clock = None if self._clock is None else self._clock()
        try:
            if len(group) == 1:
                rows = await self.fetch(SQL["load"], (clock, group[0].tenant, group[0].session))
            else:
                names = [wanted.tenant for wanted in group], [wanted.session for wanted in group]
                rows = await self.fetch(SQL["load_many"], (clock, *names))
        except SojournError as error:
            for wanted in group:
                wanted.fail(error)
            return
        for wanted, row in zip(group, rows, strict=True):
            if not wanted.found.done():
                wanted.found.set_result(row)

    # -- life ------------------------------------------------------------------------------------------------------

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def wait(self, seconds: float) -> None:
        """See `Driver.wait`."""
        await asyncio.sleep(seconds)

    async def close(self) -> None:
        """See `Driver.close`; what was queued is sent first."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._timeout)
        await self._pool.close()


class _Load:
    """A session that somebody waits for."""

    __slots__ = ("found", "session", "tenant")

    def __init__(self, tenant: str, session: str, found: asyncio.Future[tuple[Any, ...]]) -> None:
        self.tenant = tenant
        self.session = session
        self.found = found

    def fail(self, error: SojournError) -> None:
        if not self.found.done():
            self.found.set_exception(error)


class AsyncPostgresEngine(PostgresEngine):
    """One PostgreSQL database, for the event loop it was opened in."""

    @staticmethod
    def _make_driver(url: str, clock: Clock | None, connections: int, timeout: float) -> Driver:
        return AsyncDriver(url, clock, connections=connections, timeout=timeout)

    def spawn(self, body: Callable[[], Coroutine[Any, Any, None]]) -> Background:
        """See `contract.Engine.spawn`."""
        return TaskBackground(body)
