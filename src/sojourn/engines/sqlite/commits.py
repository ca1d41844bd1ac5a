"""Group commit: whatever waits at this moment is committed together; a lone caller waits for nobody.

`Committer` carries out a group in one transaction. Who calls it differs by colour: among threads the first one to come leads
(`ThreadCommits`), under event loops a writer thread does (`LoopCommits`).

Every operation of a group decides before it writes (`engines.embedded`), so a refusal leaves nothing to undo. An error while
writing is an error of the whole transaction, which SQLite may already have rolled back: the group is abandoned and each of
its operations runs again alone, so that only the one at fault fails. Every waiter is answered, whatever is raised.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from copy import copy
from itertools import islice
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from sojourn.core.batch import Batch
from sojourn.engines.bell import Bell
from sojourn.engines.contract import Clock
from sojourn.engines.embedded import Commit
from sojourn.engines.sqlite.connections import Connections
from sojourn.engines.sqlite.faults import code_of, translate
from sojourn.engines.sqlite.forks import QUIET
from sojourn.engines.sqlite.transaction import Memory, Writing
from sojourn.errors import ClosedError, OutcomeUnknownError, SojournError, UnavailableError

if TYPE_CHECKING:
    import asyncio

Job: TypeAlias = Callable[[Writing, sqlite3.Connection], Any]
"""Work in a transaction of its own that is not a batch: indexing, purging, erasing."""

MOST: Final = 512
"""Operations in one transaction at most, so that other processes get their turn."""

LOST: Final = 0.05
"""Seconds after which a waiting thread looks whether it missed being woken."""

_IOERR: Final = 10


class Slot:
    """One waiting operation and, once it is decided, its outcome."""

    __slots__ = ("answered", "begun", "error", "future", "loop", "result", "waker", "work")

    def __init__(self, work: Batch | Job) -> None:
        self.work: Batch | Job = work
        self.result: Any = None
        self.error: BaseException | None = None
        self.answered: bool = False
        self.begun: bool = False
        self.waker: threading.Lock = threading.Lock()
        self.loop: asyncio.AbstractEventLoop | None = None
        self.future: asyncio.Future[Any] | None = None


class Committer:
    """Runs groups of operations, one transaction each, on the one writing connection of this process's store."""

    def __init__(self, connections: Connections, clock: Clock, bell: Bell) -> None:
        self._connections = connections
        self._clock = clock
        self._bell = bell
        self._connection: sqlite3.Connection | None = None
        self._memory = Memory()
        self._running = threading.Lock()
        self._held: list[tuple[Slot, Any]] = []
        self._begun = self._committing = self._paused = False
        self._forking = threading.Lock()
        self._pauses = 0

    def run(self, slots: list[Slot]) -> None:
        """Decide every slot. Raises only what is not an `Exception` (KeyboardInterrupt); slots then may be undecided."""
        with self._running:
            for group in _split(slots):
                stuck = self._run(group)
                if stuck is not None:  # and so would be the others: they do not wait once more
                    _fail(slots, stuck)
                    return

    def pause(self) -> None:
        """Before a fork: let the group that runs end, begin no other, and let go of the connection. Forks may overlap."""
        with self._forking:
            self._pauses += 1
            if not self._paused and self._running.acquire(timeout=QUIET):
                self._paused = True
                self.close()

    def resume(self) -> None:
        """After a fork, in the parent; the last of several lets commits go on."""
        with self._forking:
            self._pauses -= 1
            if self._paused and not self._pauses:
                self._paused = False
                self._running.release()

    def _run(self, slots: list[Slot]) -> Exception | None:
        """Decide a group; what kept a transaction from beginning at all, if something did."""
        if len(slots) == 1:
            return self._alone(slots[0])
        try:
            self._together(slots)
        except Exception as error:
            if not self._begun or isinstance(error, OutcomeUnknownError):
                _fail(slots, error)
                return None if self._begun else error
            for slot in slots:
                stuck = None if slot.answered else self._alone(slot)
                if stuck is not None:
                    return stuck
        return None

    def close(self) -> None:
        """Let go of the connection; nothing runs any more."""
        if self._connection is not None and not self._connections.check_process():
            self._drop(self._connection)

    def _alone(self, slot: Slot) -> Exception | None:
        """Decide one; what kept the transaction from beginning at all, if something did."""
        try:
            self._together([slot])
        except Exception as error:
            _fail([slot], error)
            return None if self._begun else error
        return None

    def _together(self, slots: list[Slot]) -> None:
        self._held, self._begun, self._committing = [], False, False
        connection = self._writing()
        try:
            self._connections.begin(connection)
            self._begun = True
            self._memory.check(connection)
            writing = Writing(connection, self._memory)
            now = self._clock()
            for slot in slots:
                self._held.append((slot, self._perform(slot.work, writing, connection, now)))
            rang = writing.finish()
            self._committing = True
            connection.execute("commit")
            self._answer_held()
        except BaseException as error:
            self._settle(connection, error)
            raise
        if rang:
            self._bell.ring()

    def _perform(self, work: Batch | Job, writing: Writing, connection: sqlite3.Connection, now: int) -> Any:
        if isinstance(work, Batch):
            return Commit(work, writing, now).run()
        self._memory.forget()
        return work(writing, connection)

    def _settle(self, connection: sqlite3.Connection, error: BaseException) -> None:
        """After an error: either the commit had happened (then it counts), or nothing of it is left."""
        self._memory.forget()
        if connection.in_transaction:
            try:
                connection.execute("rollback")
            except sqlite3.Error:
                self._drop(connection)
        elif self._committing and not isinstance(error, sqlite3.Error):
            self._answer_held()
            self._bell.ring()
            return
        if isinstance(error, sqlite3.Error):
            if code_of(error) == _IOERR:
                self._drop(connection)
            raise translate(error, self._connections.path, committing=self._committing) from error

    def _answer_held(self) -> None:
        for slot, result in self._held:
            slot.result, slot.answered = result, True

    def _writing(self) -> sqlite3.Connection:
        if self._connections.check_process():
            self._connection = None
        if self._connection is None:
            self._memory.forget()
            self._connection = self._connections.writer()
        return self._connection

    def _drop(self, connection: sqlite3.Connection) -> None:
        """A connection whose state is unknown is not used again."""
        self._connection = None
        self._connections.forget(connection)


def _split(slots: list[Slot]) -> list[list[Slot]]:
    """The groups of these, in their order: batches together, but what is no batch alone.

    It reads and removes rows, which the batches before it must have written to the last one (`Writing.finish`).
    """
    groups: list[list[Slot]] = []
    for slot in slots:
        if groups and isinstance(slot.work, Batch) and isinstance(groups[-1][0].work, Batch):
            groups[-1].append(slot)
        else:
            groups.append([slot])
    return groups


def _fail(slots: list[Slot], error: Exception) -> None:
    """Answer who has no answer with an error of their own, which names their own operation id where that matters."""
    for slot in slots:
        if slot.answered:
            continue
        own = copy(error)
        own.__cause__ = error.__cause__
        if isinstance(own, OutcomeUnknownError) and isinstance(slot.work, Batch):
            own.key = slot.work.operation
        slot.error, slot.answered = own, True


def _closed() -> ClosedError:
    return ClosedError("this store was closed.", hint="Open it again.")


class ThreadCommits:
    """For blocking code: who comes while nobody commits leads, and commits for all who wait; then the next one leads.

    An interrupt (KeyboardInterrupt) may strike at any line. So an operation stays in the queue until it is answered, and who
    leads is said by nothing but a lock that a ``with`` holds; a wake-up that an interrupt swallowed costs `LOST` seconds.
    """

    def __init__(self, committer: Committer, timeout: float) -> None:
        self._committer = committer
        self._timeout = timeout
        self.reset()

    def reset(self) -> None:
        """A forked child starts with nobody waiting."""
        self._mutex = threading.Lock()
        self._leading = threading.Lock()
        self._waiting: deque[Slot] = deque()
        self._closed = False

    async def submit(self, work: Batch | Job) -> Any:
        """Carry out ``work`` in some group; never suspends, blocks the thread."""
        slot = Slot(work)
        slot.waker.acquire()
        try:
            with self._mutex:
                if self._closed:
                    raise _closed()
                self._waiting.append(slot)
            self._settle(slot)
        except BaseException as error:
            if not isinstance(error, Exception):
                self._withdraw(slot)
            raise
        if slot.error is not None:
            raise slot.error
        return slot.result

    def _settle(self, slot: Slot) -> None:
        """Lead, or wait for who leads, until the operation is answered."""
        limit = 0.0
        while not slot.answered:
            if not self._leading.locked():
                with self._leading:
                    if not slot.answered:
                        self._lead()
                self._nudge()
            elif not slot.waker.acquire(timeout=LOST):
                limit = limit or time.monotonic() + self._timeout * 2
                if time.monotonic() > limit:
                    self._give_up(slot)

    def _lead(self) -> None:
        """Commit for those who wait, the longest waiting first. The lead is held."""
        with self._mutex:
            group = _begin(self._waiting)
        try:
            if group:
                self._committer.run(group)
        finally:
            with self._mutex:
                _drop_answered(self._waiting)
            _tell(group)

    def _nudge(self) -> None:
        """Nobody leads now: wake who waits longest to do it."""
        if self._waiting:
            with self._mutex:
                first = next((slot for slot in self._waiting if not slot.answered), None)
            if first is not None:
                _wake_thread(first)

    def _withdraw(self, slot: Slot) -> None:
        """The caller goes away: what has not begun is taken back, what has is waited for."""
        with self._leading, self._mutex:
            if slot in self._waiting:
                self._waiting.remove(slot)
        self._nudge()

    def _give_up(self, slot: Slot) -> None:
        with self._mutex:
            if not slot.begun and not slot.answered:
                self._waiting.remove(slot)
                raise UnavailableError(
                    f"the store was busy for {self._timeout * 2:g} s.", hint="Nothing was stored; try again."
                )
        if not slot.waker.acquire(timeout=self._timeout) and not slot.answered:
            unknown = OutcomeUnknownError("the commit did not end in time.", hint="Ask again with the same key.")
            _fail([slot], unknown)

    def close(self) -> None:
        """Nobody comes any more; what was asked for is committed."""
        with self._mutex:
            self._closed = True
        with self._leading:
            self._lead_all()

    def _lead_all(self) -> None:
        while self._waiting:
            self._lead()


# Loops that run while a lock is held are functions of their own: on Python 3.13 an interrupt that strikes where a loop turns
# passes by the ``with`` and the ``finally`` around the loop (https://github.com/python/cpython/issues/130279), but not around a
# call.


def _begin(waiting: Iterable[Slot]) -> list[Slot]:
    """The first group of those who wait for an answer."""
    group = [slot for slot in islice(waiting, MOST) if not slot.answered]
    for slot in group:
        slot.begun = True
    return group


def _drop_answered(waiting: deque[Slot]) -> None:
    while waiting and waiting[0].answered:
        waiting.popleft()


def _tell(group: list[Slot]) -> None:
    """Whoever of a group has an answer wakes; the others have to begin anew."""
    for slot in group:
        if slot.answered:
            _wake_thread(slot)
        else:
            slot.begun = False


def _wake_thread(slot: Slot) -> None:
    try:
        slot.waker.release()
    except RuntimeError:  # woken before, and not looked yet
        return


class LoopCommits:
    """For event loops, one or several: a writer thread commits whatever the loops have queued meanwhile."""

    def __init__(self, committer: Committer, timeout: float) -> None:
        self._committer = committer
        self._timeout = timeout
        self.reset()

    def reset(self) -> None:
        """A forked child has no writer thread until it needs one."""
        self._mutex = threading.Lock()
        self._queue: SimpleQueue[Slot | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closed = False

    async def submit(self, work: Batch | Job) -> Any:
        """Carry out ``work`` in some group; suspends until it is decided, cancelled or not once it may have begun."""
        import asyncio

        slot = Slot(work)
        loop = slot.loop = asyncio.get_running_loop()
        slot.future = loop.create_future()
        self._enqueue(slot)
        try:
            await slot.future
        except asyncio.CancelledError:
            await self._settle(slot, loop)
            raise
        if slot.error is not None:
            raise slot.error
        return slot.result

    async def _settle(self, slot: Slot, loop: asyncio.AbstractEventLoop) -> None:
        import asyncio

        if not slot.answered:
            slot.future = loop.create_future()
            await asyncio.wait([slot.future], timeout=self._timeout)

    def _enqueue(self, slot: Slot) -> None:
        with self._mutex:  # so that nothing is queued behind the end
            if self._closed:
                raise _closed()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="sojourn-writer", daemon=True)
                self._thread.start()
            self._queue.put(slot)

    def _run(self) -> None:
        queue, stop = self._queue, False
        while not stop:
            first = queue.get()
            if first is None:
                return
            group = [first]
            try:
                while len(group) < MOST:
                    slot = queue.get_nowait()
                    if slot is None:
                        stop = True
                        break
                    group.append(slot)
            except Empty:
                pass
            try:
                self._committer.run(group)
            except BaseException as error:
                for slot in group:
                    if not slot.answered:
                        slot.error, slot.answered = _unknown(error), True
            finally:
                _deliver(group)

    def close(self) -> None:
        """Finish what was queued, then stop the thread."""
        with self._mutex:
            self._closed = True
            thread, self._thread = self._thread, None
        if thread is not None:
            self._queue.put(None)
            thread.join()


def _unknown(error: BaseException) -> SojournError:
    unknown = OutcomeUnknownError(f"the writer was interrupted: {error!r}.", hint="Ask again with the same key.")
    unknown.__cause__ = error
    return unknown


def _deliver(group: list[Slot]) -> None:
    """Wake the waiters, each loop once."""
    loops: dict[asyncio.AbstractEventLoop, list[Slot]] = {}
    for slot in group:
        if slot.loop is not None:
            loops.setdefault(slot.loop, []).append(slot)
    for loop, slots in loops.items():
        try:
            loop.call_soon_threadsafe(_wake, slots)
        except RuntimeError:  # the loop was closed: nobody waits there any more
            continue


def _wake(slots: list[Slot]) -> None:
    for slot in slots:
        future = slot.future
        if future is not None and not future.done():
            future.set_result(None)
