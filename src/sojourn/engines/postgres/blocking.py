"""The driver for blocking code: psycopg's connections and pool, and a leader among threads for commits.

Its coroutines never suspend. The first thread that wants to commit leads: it sends its own batch and those that queued
meanwhile, then hands over. As many may lead at once as there are lanes.
"""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Sequence
from typing import Any, Final

import psycopg
from psycopg_pool import ConnectionPool

from sojourn.core.batch import Answer, Batch
from sojourn.engines.contract import Clock
from sojourn.engines.postgres import wire
from sojourn.engines.postgres.commits import Queue, Slot, carry_out
from sojourn.engines.postgres.driver import Rows, place_of
from sojourn.engines.postgres.faults import translate
from sojourn.engines.postgres.statements import SQL
from sojourn.errors import OutcomeUnknownError, UnavailableError

LANES: Final = 2
"""How many commits may be under way at once; more would travel in smaller groups."""


class BlockingDriver:
    """Statements and waiting for threads."""

    def __init__(self, url: str, clock: Clock | None, *, connections: int, timeout: float, lanes: int = LANES) -> None:
        self.where: str = place_of(url)
        self._clock = clock
        self._timeout = timeout
        self._pool = ConnectionPool(
            url,
            min_size=1,
            max_size=connections,
            timeout=timeout,
            kwargs={"autocommit": True, "connect_timeout": max(2, round(timeout))},
            name="sojourn",
            open=False,
        )
        self._commits = ThreadCommits(self, lanes, timeout)

    async def open(self) -> None:
        """See `Driver.open`."""
        try:
            self._pool.open(wait=True, timeout=self._timeout)
        except Exception as error:
            self._pool.close()
            raise translate(error, self.where) from error

    async def fetch(self, statement: str, values: Sequence[Any] | dict[str, Any] = ()) -> Rows:
        """See `Driver.fetch`."""
        connection = self._get()
        try:
            return connection.execute(statement, values).fetchall()
        except psycopg.Error as error:
            raise translate(error, self.where) from error
        finally:
            self._pool.putconn(connection)

    async def load(self, tenant: str, session: str) -> tuple[Any, ...]:
        """See `Driver.load`; in blocking code every thread asks for itself."""
        clock = None if self._clock is None else self._clock()
        return (await self.fetch(SQL["load"], (clock, tenant, session)))[0]

    async def script(self, text: str) -> None:
        """See `Driver.script`."""
        connection = self._get()
        try:
            connection.execute(text)
        except psycopg.Error as error:
            raise translate(error, self.where) from error
        finally:
            self._pool.putconn(connection)

    async def commit(self, batch: Batch) -> Answer:
        """See `Driver.commit`."""
        return self._commits.submit(Slot(wire.pack(batch)))

    def call(self, slots: list[Slot]) -> None:
        """Decide a group on one connection."""
        try:
            connection = self._get()
        except Exception as error:
            for slot in slots:
                slot.error = error
            return

        async def send(statement: str, values: tuple[Any, ...]) -> Any:
            return connection.execute(statement, values).fetchall()[0][0]

        try:
            carry_out(slots, send, self._clock, self.where).send(None)
        except StopIteration:
            pass  # its end: it never suspends, since `send` does not
        finally:
            self._pool.putconn(connection)

    def _get(self) -> psycopg.Connection:
        """A connection that was alive a moment ago; one that the server closed while it was idle is not used."""
        try:
            while True:
                connection = self._pool.getconn()
                if not gone(connection.pgconn.socket):
                    return connection
                connection.close()
                self._pool.putconn(connection)
        except Exception as error:
            raise translate(error, self.where) from error

    async def wait(self, seconds: float) -> None:
        """See `Driver.wait`."""
        time.sleep(seconds)

    async def close(self) -> None:
        """See `Driver.close`."""
        self._pool.close()


def gone(socket: int) -> bool:
    """Whether an idle connection has something to say, which can only be good-bye."""
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(socket, select.POLLIN)
        return bool(poll.poll(0))
    return bool(select.select([socket], (), (), 0)[0])


class ThreadCommits:
    """Who sends among threads.

    A leader sends one group, its own batch in it, and no more: leading for ever would serve others at its own expense.
    """

    def __init__(self, driver: BlockingDriver, lanes: int, timeout: float) -> None:
        self._driver = driver
        self._timeout = timeout
        self._mutex = threading.Lock()
        self._queue = Queue()
        self._free = lanes

    def submit(self, slot: Slot) -> Answer:
        """Send ``slot``, or wait until somebody did."""
        with self._mutex:
            if self._free > 0:
                self._free -= 1
                slot.lead = True
            else:
                slot.waker = threading.Lock()
                slot.waker.acquire()
                self._queue.put(slot)
        if not slot.lead:
            self._wait(slot)
        if slot.lead and not slot.decided:
            self._lead(slot)
        return slot.outcome()

    def _wait(self, slot: Slot) -> None:
        """Until there is an outcome, or this thread was made a leader. What was sent is waited for, whatever is raised."""
        try:
            woken = slot.waker.acquire(timeout=self._timeout * 2)
        except BaseException:
            if not self._withdraw(slot):
                slot.waker.acquire(timeout=self._timeout * 2)
            if slot.lead and not slot.decided:
                self._hand_over()
            raise
        if woken:
            return
        if self._withdraw(slot):
            raise UnavailableError(f"{self._driver.where} was busy for {self._timeout * 2:g} s.", hint="Nothing was stored.")
        if not slot.waker.acquire(timeout=self._timeout):
            raise OutcomeUnknownError(
                "the commit did not end in time.", hint="Ask again with the same key.", key=slot.parcel.operation
            )

    def _withdraw(self, slot: Slot) -> bool:
        with self._mutex:
            return self._queue.withdraw(slot)

    def _lead(self, own: Slot) -> None:
        with self._mutex:
            group = self._queue.take(own)
        try:
            self._driver.call(group)
        finally:
            self._hand_over()
            for slot in group:
                if slot is not own:
                    slot.waker.release()

    def _hand_over(self) -> None:
        """Make whoever waits longest the next leader, or free the lane."""
        with self._mutex:
            following = self._queue.take_one()
            if following is None:
                self._free += 1
                return
            following.lead = True
        following.waker.release()
