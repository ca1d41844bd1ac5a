"""Connections for the tasks of one event loop (ADR 021).

Whoever needs a connection and finds none idle makes one, in its own task, or waits until one is given back. Nothing runs beside
those who ask: what is cancelled ends, and a loop that ends has nothing of ours left to wait for.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import psycopg
from psycopg.pq import TransactionStatus
from psycopg_pool import PoolClosed, PoolTimeout

from sojourn.engines.postgres.attempts import Attempts
from sojourn.engines.postgres.blocking import gone
from sojourn.engines.postgres.limits import AsyncTimedConnection

FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 1.0
"""Seconds between two attempts to connect, of somebody who still has time; they double."""

UNUSED: Final = 600.0
"""Seconds after which a connection that nobody needed is given up, all but the last one."""
LIFETIME: Final = 3600.0
"""Seconds after which a connection is made anew: the server keeps more for an old one."""


class LoopPool:
    """At most ``most`` connections, which ``connect`` makes; whoever cannot have one within ``timeout`` seconds is told."""

    def __init__(
        self, connect: Callable[[], Awaitable[AsyncTimedConnection]], attempts: Attempts, most: int, timeout: float
    ) -> None:
        self._connect = connect
        self._attempts = attempts
        self._most = most
        self._timeout = timeout
        self._idle: list[tuple[float, AsyncTimedConnection]] = []
        """With when each was given back; the one that was used last is used next."""
        self._made: dict[AsyncTimedConnection, float] = {}
        """When each one was made that is idle or in somebody's hands."""
        self._places = 0
        """Connections that there are, or that somebody is about to make."""
        self._waiting: deque[asyncio.Future[AsyncTimedConnection | None]] = deque()
        """Those who get the next connection that is given back, or (None) the place of one that is no more."""
        self.closed: bool = False

    async def take(self, *, patient: bool = True) -> AsyncTimedConnection:
        """A connection that was alive a moment ago, to be `put` back; not ``patient``: not if waiting would not help.

        Raises the last attempt's error, `PoolTimeout` where all are in use, `PoolClosed`.
        """
        limit = time.monotonic() + self._timeout
        if self.closed:
            raise PoolClosed
        if (idle := self._take_idle()) is not None:
            return idle
        if self._places < self._most:
            self._places += 1
            return await self._make(limit, patient=patient)
        try:
            given = await self._wait(limit)
        except TimeoutError:
            self._attempts.check()
            raise PoolTimeout("all connections are in use") from None
        return given or await self._make(limit, patient=patient)

    def put(self, connection: AsyncTimedConnection) -> None:
        """Give back what was taken, in whatever state it is."""
        if connection not in self._made:
            return  # of the pool of a process that this one was forked from
        sound = not connection.closed and connection.pgconn.transaction_status == TransactionStatus.IDLE
        if not sound or self.closed or time.monotonic() - self._made[connection] > LIFETIME:
            self._drop(connection)
        else:
            self._give(connection)

    def close(self) -> None:
        """Nobody gets a connection any more; those in somebody's hands are closed when they come back."""
        self.closed = True
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_exception(PoolClosed())
        while self._idle:
            self._drop(self._idle.pop()[1])

    # -- making and waiting ----------------------------------------------------------------------------------------

    async def _make(self, limit: float, *, patient: bool) -> AsyncTimedConnection:
        """A connection for a place that is ours, which somebody else has if none can be had."""
        try:
            connection = await self._attempt(limit, patient=patient)
        except BaseException:
            self._leave()
            raise
        self._made.setdefault(connection, time.monotonic())
        if self.closed:
            self._drop(connection)
            raise PoolClosed
        return connection

    async def _attempt(self, limit: float, *, patient: bool) -> AsyncTimedConnection:
        """A new connection; or, while none can be made, one that somebody else gives back."""
        pause, failed = FIRST_PAUSE, False
        while True:
            try:
                async with asyncio.timeout(max(0.0, limit - time.monotonic())):
                    return await self._connected()
            except TimeoutError:
                if failed:
                    self._attempts.check()
                raise psycopg.errors.ConnectionTimeout("connection timeout expired") from None
            except psycopg.Error:
                failed = True
                if time.monotonic() >= limit or not (patient or not self._attempts.hopeless):
                    raise
            given = await self._rest(min(limit, time.monotonic() + pause))
            if given is not None:
                self._leave()
                return given
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _rest(self, until: float) -> AsyncTimedConnection | None:
        """Until then, or until there is a connection that somebody gave back."""
        if self.closed:
            raise PoolClosed
        if (idle := self._take_idle()) is not None:
            return idle
        try:
            given = await self._wait(until)
        except TimeoutError:
            return None
        if given is None:
            self._leave()  # a second place
        return given

    async def _connected(self) -> AsyncTimedConnection:
        """A cancelled attempt must not live on in the traceback of its cancellation: what it had of a connection would, too."""
        try:
            return await self._connect()
        except asyncio.CancelledError as cancelled:
            words = cancelled.args
        raise asyncio.CancelledError(*words)

    async def _wait(self, limit: float) -> AsyncTimedConnection | None:
        """What somebody gives back; None: the place of a connection that is no more. `TimeoutError`."""
        waiter: asyncio.Future[AsyncTimedConnection | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout(max(0.0, limit - time.monotonic())):
                return await waiter
        except BaseException:
            with suppress(ValueError):
                self._waiting.remove(waiter)
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:  # it came just then: for somebody else
                given = waiter.result()
                if given is None:
                    self._leave()
                else:
                    self.put(given)
            raise

    # -- giving back -----------------------------------------------------------------------------------------------

    def _take_idle(self) -> AsyncTimedConnection | None:
        """One that is alive, the one that was used last."""
        self._drop_unused()
        while self._idle:
            _, connection = self._idle.pop()
            if not gone(connection.pgconn.socket):
                return connection
            self._drop(connection)
        return None

    def _give(self, connection: AsyncTimedConnection) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return
        self._idle.append((time.monotonic(), connection))
        self._drop_unused()

    def _drop_unused(self) -> None:
        now = time.monotonic()
        while len(self._idle) > 1 and now - self._idle[0][0] > UNUSED:
            self._drop(self._idle.pop(0)[1])

    def _drop(self, connection: AsyncTimedConnection) -> None:
        del self._made[connection]
        connection.pgconn.finish()
        self._leave()

    def _leave(self) -> None:
        """There is room for another connection: of those who wait the last may make one, who has the most time left for it."""
        while self._waiting and not self.closed:
            waiter = self._waiting.pop()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._places -= 1
