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
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from sojourn.core.batch import Answer, Batch
from sojourn.engines.postgres import wire
from sojourn.engines.postgres.attempts import Attempts
from sojourn.engines.postgres.commits import Queue, Sending, Slot, carry_out
from sojourn.engines.postgres.driver import PATIENCE, Rows, place_of
from sojourn.engines.postgres.faults import translate
from sojourn.engines.postgres.limits import TimedConnection
from sojourn.engines.postgres.settings import Settings
from sojourn.engines.postgres.statements import SQL
from sojourn.engines.postgres.watching import MARKED, ThreadWatching
from sojourn.engines.sqlite.forks import watch_forks
from sojourn.errors import EngineError, OutcomeUnknownError, ReadOnlyError, UnavailableError

LANES: Final = 2
"""How many commits may be under way at once; more would travel in smaller groups."""

Pool = ConnectionPool[TimedConnection]


class BlockingDriver:
    """Statements and waiting for threads."""

    def __init__(self, settings: Settings, *, lanes: int = LANES) -> None:
        self.where: str = place_of(settings.url)
        self.settings: Settings = settings
        self._lanes = lanes
        self._begin()
        self._inherited: list[object] = []
        watch_forks(self)

    def _begin(self) -> None:
        self._tried = threading.Event()
        self._attempts = Attempts(self.settings.url, self._tried)
        self._pool = self._make_pool()
        self._opened = False
        self._opening = threading.Lock()
        self._commits = ThreadCommits(self, self._lanes, self.settings.timeout)
        self._watching = ThreadWatching(self.settings)

    def _make_pool(self) -> Pool:
        settings = self.settings

        def configure(connection: TimedConnection) -> None:
            connection.limit = settings.timeout
            connection.heed()
            connection.prepare_threshold = 5 if settings.prepare else None

        return ConnectionPool(
            settings.url,
            connection_class=TimedConnection,
            min_size=1,
            max_size=settings.connections,
            timeout=settings.timeout,
            reconnect_timeout=settings.timeout,  # its pauses double: a server that was away for long would be missed as long
            kwargs={"autocommit": True, "connect_timeout": max(2, round(settings.timeout)), "attempts": self._attempts},
            configure=configure,
            name="sojourn",
            open=False,
        )

    async def open(self) -> None:
        """See `Driver.open`."""
        limit = time.monotonic() + self.settings.timeout
        try:
            self._pool.open()
            self._tried.wait(self.settings.timeout)
            if self._attempts.hopeless:
                self._attempts.check()
            try:
                self._pool.wait(max(0.0, limit - time.monotonic()))
            except PoolTimeout:
                self._attempts.check()
                raise
            self._opened = True
        except BaseException as error:
            self._pool.close()
            if isinstance(error, Exception):
                raise translate(error, self.where) from error
            raise

    async def fetch(self, statement: str, values: Sequence[Any] | dict[str, Any] = ()) -> Rows:
        """See `Driver.fetch`."""
        return self._fetch(statement, values)

    def _fetch(self, statement: str, values: Sequence[Any] | dict[str, Any]) -> Rows:
        connection = self._get()
        try:
            return connection.execute(self.settings.names.text(statement), values).fetchall()
        except psycopg.Error as error:
            raise translate(error, self.where) from error
        finally:
            self._pool.putconn(connection)

    async def load(self, tenant: str, session: str) -> tuple[Any, ...]:
        """See `Driver.load`; in blocking code every thread asks for itself."""
        clock = None if self.settings.clock is None else self.settings.clock()
        return self._fetch(SQL["load"], (clock, tenant, session))[0]

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

    def call(self, slots: list[Slot]) -> bool:
        """Decide a group on one connection; whether watchers are to be told."""
        try:
            connection = self._get()
        except Exception as error:
            for slot in slots:
                slot.error = error
            return False

        async def send(statement: str, values: tuple[Any, ...]) -> Any:
            return connection.execute(statement, values).fetchall()[0][0]

        sending = Sending(send, self.settings, self.where)
        try:
            carry_out(slots, sending).send(None)
        except StopIteration:
            pass  # its end: it never suspends, since `send` does not
        finally:
            self._pool.putconn(connection)
        return sending.watched

    def notify(self) -> None:
        """Tell watchers; what they were not told they see a moment later, so a fault here is nobody's."""
        try:
            self._fetch(SQL["notify"], (self.settings.names.channel,))
        except EngineError:
            self._watching.heard = False

    def _get(self) -> TimedConnection:
        """A connection that was alive a moment ago; one that the server closed while it was idle is not used."""
        try:
            if not self._opened:
                self._reopen()
            while True:
                connection = self._given()
                if not gone(connection.pgconn.socket):
                    return connection
                connection.close()
                self._pool.putconn(connection)
        except Exception as error:
            raise translate(error, self.where) from error

    def _given(self) -> TimedConnection:
        """A connection of the pool. It forgets whoever asks in the moment in which it closes, so nobody waits long."""
        limit = time.monotonic() + self.settings.timeout
        while True:
            left = limit - time.monotonic()
            try:
                return self._pool.getconn(min(left, PATIENCE))
            except PoolTimeout:
                if self._pool.closed:
                    raise PoolClosed from None
                if left <= PATIENCE:
                    self._attempts.check()
                    raise

    def _reopen(self) -> None:
        """In a forked child, at first use."""
        with self._opening:
            if not self._opened:
                self._pool.open()
                self._opened = True

    # -- watching --------------------------------------------------------------------------------------------------

    async def told(self, after: Sequence[int], shard: int | None, seconds: float) -> bool:
        """See `Driver.told`."""
        limit = time.monotonic() + seconds
        watching = self._watching
        while True:
            rings = watching.bell.rings
            if self._fetch(SQL["changed"], {"after": list(after), "shard": shard})[0][0]:
                return True
            left = limit - time.monotonic()
            if left <= 0:
                return False
            if watching.mark_is_old():
                self._mark()
            watching.wait(rings, min(left, watching.pause))

    def _mark(self) -> None:
        """Say that somebody watches, so that commits tell."""
        try:
            self._fetch(SQL["watch"], (MARKED,))
        except ReadOnlyError:
            self._watching.may_mark = False

    async def wait(self, seconds: float) -> None:
        """See `Driver.wait`."""
        time.sleep(seconds)

    async def close(self) -> None:
        """See `Driver.close`."""
        self._watching.close()
        self._pool.close()

    # -- forks -----------------------------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """See `forks`: nothing is waited for, because the child uses nothing of what it inherits."""

    def after_fork_in_parent(self) -> None:
        """See `forks`."""

    def after_fork_in_child(self) -> None:
        """See `forks`: connections of its own. Those of the parent are kept unused, so that nothing says good-bye on them."""
        self._inherited.extend((self._pool, self._commits, self._watching))
        self._begin()


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
        watched = False
        try:
            watched = self._driver.call(group)
        finally:
            self._hand_over()
            for slot in group:
                if slot is not own:
                    slot.waker.release()
        if watched:
            self._driver.notify()

    def _hand_over(self) -> None:
        """Make whoever waits longest the next leader, or free the lane."""
        with self._mutex:
            following = self._queue.take_one()
            if following is None:
                self._free += 1
                return
            following.lead = True
        following.waker.release()
