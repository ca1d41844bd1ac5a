"""Where a conformance test works: one engine, its clock, and the same helpers in both colours."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from itertools import count
from typing import Any, Final, Protocol, TypeAlias, TypeVar

from sojourn.core.batch import Answer, Batch, Change, Create, Guard, NewEntry, Refusal, Search, Write
from sojourn.core.ids import home_number, make_id
from sojourn.core.query import EntryQuery
from sojourn.core.session import AliasKey, Entry, EventRow, Session
from sojourn.core.times import to_micros
from sojourn.engines.contract import Clock, Engine
from sojourn.shell.bridge import run_sync
from sojourn.testing.clocks import START, ManualClock

T = TypeVar("T")

Work: TypeAlias = Callable[[], Awaitable[T]]
"""Something to do at the same time as other things: a function that makes a coroutine."""

Test: TypeAlias = Callable[[Any, "Lab"], Coroutine[Any, Any, None]]
"""A test as it is written: a method that takes a lab."""

TENANT: Final = "t"
HOME: Final = "home"
KIND: Final = "note"
INDEXING: Final[tuple[Search, ...]] = ("commit", "deferred")
"""Each way of indexing; what search finds must not depend on it."""
HUNG: Final = 60.0
"""Seconds after which threads that run together count as hung."""

_numbers = count(1)


class Opener(Protocol):
    """Opens an engine on the place of the test; each time it is called, another one on the same place."""

    async def __call__(self, clock: Clock) -> Engine:
        """Open it with this clock."""
        ...


def needs(*capabilities: str) -> Callable[[Test], Test]:
    """Mark a test that only engines with these capabilities (fields of `Capabilities`) must pass."""

    def mark(test: Test) -> Test:
        test.__dict__["needs"] = capabilities
        return test

    return mark


def needed_by(test: Test) -> tuple[str, ...]:
    """What a test was marked to need."""
    needed: tuple[str, ...] = getattr(test, "needs", ())
    return needed


def drive(coroutine: Coroutine[Any, Any, T], *, blocking: bool) -> T:
    """Run a coroutine in a colour."""
    return run_sync(coroutine) if blocking else asyncio.run(coroutine)


class Lab:
    """One engine on a fresh place. ``clock`` is the engine's time, and stands still unless it is moved."""

    def __init__(self, opener: Opener, *, blocking: bool) -> None:
        self.clock: ManualClock = ManualClock()
        self.blocking = blocking
        self.engine: Engine
        self.start: tuple[int, ...]
        """The cursor before the first event."""
        self._opener = opener
        self._opened: list[Engine] = []

    async def open(self) -> None:
        """Open the first engine."""
        self.engine = await self.another()
        self.start = await self.engine.tip()

    async def another(self) -> Engine:
        """One more engine on the same place, as another process would open it."""
        engine = await self._opener(self.clock.micros)
        self._opened.append(engine)
        return engine

    async def reopen(self) -> None:
        """Go on with a new engine, as after the death of the process: the one before is not even closed."""
        self.engine = await self.another()

    async def close(self) -> None:
        """Close every engine that was opened."""
        for engine in self._opened:
            await engine.close()

    # -- at the same time ------------------------------------------------------------------------------------------

    async def together(self, *works: Work[T]) -> list[T]:
        """Do these at the same time, in threads or in tasks; the results in order, or the first error."""
        results: list[T] = []
        for outcome in await self.outcomes(*works):
            if isinstance(outcome, BaseException):
                raise outcome
            results.append(outcome)
        return results

    async def outcomes(self, *works: Work[T]) -> list[T | BaseException]:
        """As `together`, with each error in the place of its result."""
        if self.blocking:
            return _in_threads(works)
        return await asyncio.gather(*(work() for work in works), return_exceptions=True)

    async def interrupted(self, work: Work[T]) -> T | None:
        """Begin ``work`` and interrupt it at once: a task is cancelled. In blocking code nothing can be, so it ends."""
        if self.blocking:
            return await work()
        task: asyncio.Task[T] = asyncio.ensure_future(_awaiting(work))
        await asyncio.sleep(0)
        task.cancel()
        try:
            return await task
        except asyncio.CancelledError:
            return None

    # -- short ways to say things ----------------------------------------------------------------------------------

    def new_id(self, home: str = HOME, tenant: str = TENANT) -> str:
        """An id of a home; later ones sort behind earlier ones."""
        number = next(_numbers)
        return make_id(to_micros(START) // 1000 + number, home_number(tenant, home), number)

    def later(self, **duration: float) -> int:
        """Move the clock (``seconds=5``, or backwards: ``seconds=-5``); what it says then."""
        self.clock.advance(timedelta(**duration))
        return self.clock.micros()

    async def commit(
        self,
        *changes: Change,
        home: str = HOME,
        tenant: str = TENANT,
        operation: str | None = None,
        fingerprint: str = "",
    ) -> Answer:
        """Commit these changes, whatever the answer."""
        return await self.engine.commit(Batch(tenant, home, changes, operation, fingerprint))

    async def done(self, *changes: Change, home: str = HOME, tenant: str = TENANT) -> Answer:
        """Commit these changes, which must not be refused."""
        answer = await self.commit(*changes, home=home, tenant=tenant)
        assert answer.refusal is None
        return answer

    async def refused(self, *changes: Change, home: str = HOME, tenant: str = TENANT) -> Refusal:
        """Commit these changes, which must be refused."""
        answer = await self.commit(*changes, home=home, tenant=tenant)
        assert answer.refusal is not None
        assert (answer.moved, answer.epochs, answer.fences) == ((), (), ())
        return answer.refusal

    async def create(self, *texts: str, home: str = HOME, tenant: str = TENANT, **fields: Any) -> str:
        """The id of a new session with entries of these texts; ``fields`` are those of `Create`."""
        values: dict[str, Any] = {"id": self.new_id(home, tenant), "kind": KIND, "entries": lines(*texts), **fields}
        made = Create(**values)
        await self.done(made, home=home, tenant=tenant)
        return made.id

    async def append(self, session: str, *texts: str, home: str = HOME, tenant: str = TENANT, **fields: Any) -> Answer:
        """Append entries of these texts, whatever the answer; ``fields`` are those of `Write`."""
        return await self.commit(Write(session, entries=lines(*texts), **fields), home=home, tenant=tenant)

    async def session(self, session: str, tenant: str = TENANT) -> Session:
        """A session that must be there."""
        found = (await self.engine.load(tenant, session)).session
        assert found is not None
        return found

    async def gone(self, session: str, tenant: str = TENANT) -> bool:
        """Whether a session cannot be seen."""
        return (await self.engine.load(tenant, session)).session is None

    async def entries(self, session: str, query: EntryQuery | None = None, tenant: str = TENANT) -> tuple[Entry, ...]:
        """The entries of a session."""
        return (await self.engine.load(tenant, session, query or EntryQuery())).entries

    async def texts(self, session: str, query: EntryQuery | None = None) -> list[str | None]:
        """Their texts."""
        return [entry.text for entry in await self.entries(session, query)]

    async def events(self, after: tuple[int, ...], tenant: str = TENANT, **only: Any) -> list[EventRow]:
        """All events behind a cursor."""
        return (await self.engine.events(tenant, after, 10_000, **only)).events

    async def purge_all(self) -> None:
        """Purge until there is nothing left to remove."""
        while await self.engine.purge(100):
            pass

    async def index_all(self) -> None:
        """Index until everything is indexed."""
        while await self.engine.index(100):
            pass


def lines(*texts: str, author: str | None = None, counted: bool = False) -> tuple[NewEntry, ...]:
    """New entries with these texts."""
    return tuple(NewEntry("line", author=author, text=text, counted=counted) for text in texts)


def alias(key: str, namespace: str = "name", home: str = HOME) -> AliasKey:
    """Where an alias lives."""
    return AliasKey(home, namespace, key)


def at_version(version: int) -> Guard:
    """A guard on the version."""
    return Guard(version=version)


def in_phase(phase: int) -> Guard:
    """A guard on the phase."""
    return Guard(phase=phase)


async def _awaiting(work: Work[T]) -> T:
    return await work()


def _in_threads(works: tuple[Work[T], ...]) -> list[T | BaseException]:
    """Run each in a thread of its own; they start at one moment and are switched often, so that races happen."""
    start = threading.Barrier(len(works))
    outcomes: dict[int, T | BaseException] = {}

    def run(place: int, work: Work[T]) -> None:
        try:
            start.wait(HUNG)
            outcomes[place] = run_sync(_awaiting(work))
        except BaseException as error:  # handed to the test
            outcomes[place] = error

    threads = [threading.Thread(target=run, args=item, daemon=True) for item in enumerate(works)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(HUNG)
    finally:
        sys.setswitchinterval(interval)
    assert len(outcomes) == len(works), "some of the threads hang"
    return [outcomes[place] for place in range(len(works))]
