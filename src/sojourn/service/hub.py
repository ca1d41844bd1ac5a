"""One reader of a tenant's events for all who follow them: a commit is read once, however many streams are open.

A stream first reads for itself what is behind its cursor, and joins the reader where that ends. One that is too slow falls back
to reading for itself, from where it is. So memory is bounded, nothing is lost and nothing comes twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Iterable
from typing import Final, TypeAlias

from sojourn.core.session import EventRow
from sojourn.core.times import to_datetime
from sojourn.engines.contract import EventPage
from sojourn.errors import ClosedError, SojournError
from sojourn.shell.feed import HIDDEN, PAGE, Event, cursor_position, cursor_text, event_of
from sojourn.store import AsyncStore

_log = logging.getLogger("sojourn.service")

MOST: Final = 5_000
"""Events that wait for one stream; more, and it reads for itself."""

_AT_ONCE: Final = 100

Position: TypeAlias = tuple[int, ...]


class Subscriber:
    """What waits for one stream."""

    def __init__(self, begin: Position) -> None:
        self.begin: Position = begin
        """Everything behind this position comes here."""
        self.rows: deque[EventRow] = deque()
        self.behind: bool = False
        """It has to read for itself again."""
        self.over: bool = False
        self._wake = asyncio.Event()

    def put(self, rows: Iterable[EventRow], *, gap: bool) -> None:
        """Events to be taken."""
        self.rows.extend(rows)
        if gap or len(self.rows) > MOST:
            self.behind = True
            self.rows.clear()
        self._wake.set()

    def end(self) -> None:
        """Nothing comes any more."""
        self.over = True
        self._wake.set()

    async def wait(self, seconds: float) -> bool:
        """Whether there is something to take, or it is over; False after so long without."""
        if self.rows:
            return True
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return False
        self._wake.clear()
        return True


class _Place:
    """Where a stream is, and what it is about."""

    def __init__(self, at: Position, kind: str | None, session: str | None) -> None:
        self.at: Position = at
        self.kind: str | None = kind
        self.session: str | None = session

    def has_reached(self, begin: Position) -> bool:
        """Whether everything up to a position was seen."""
        return all(at >= wanted for at, wanted in zip(self.at, begin, strict=True))

    def taken(self, rows: deque[EventRow], most: int = _AT_ONCE) -> list[Event]:
        """The next of the rows, of which each is seen once."""
        found: list[Event] = []
        while rows and len(found) < most:
            row = rows.popleft()
            if row.number > self.at[row.shard]:
                self.at = (*self.at[: row.shard], row.number, *self.at[row.shard + 1 :])
                if row.kind not in HIDDEN and self.kind in (None, row.kind) and self.session in (None, row.session):
                    found.append(event_of(row, self.at))
        return found


class Hub:
    """Of one tenant. It reads while somebody follows."""

    def __init__(self, store: AsyncStore) -> None:
        self._engine = store._unit.engine
        self._tenant = store.tenant
        self._followers: set[Subscriber] = set()
        self._reading: asyncio.Task[None] | None = None
        self._position: Position = ()
        self._joining = asyncio.Lock()
        self._stopped = False

    def stop(self) -> None:
        """End every stream, also those that are about to begin."""
        self._stopped = True
        self._end_all()

    def _end_all(self) -> None:
        for follower in self._followers:
            follower.end()

    async def close(self) -> None:
        """Stop reading."""
        self.stop()
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    async def follow(self, kind: str | None, session: str | None, after: str, beat: float) -> AsyncGenerator[list[Event], None]:
        """Events behind a cursor, so many at a time, until it is stopped; none of them after ``beat`` seconds without one."""
        loop = asyncio.get_running_loop()
        place = _Place(cursor_position(after, len(await self._engine.tip())), kind, session)
        while True:
            mine = await self._join()
            try:
                while not mine.over and not place.has_reached(mine.begin):
                    if found := await self._own_page(place):
                        yield found
                since = loop.time()
                while not mine.over and not mine.behind:
                    found = place.taken(mine.rows) if await mine.wait(beat) else []
                    if found or loop.time() - since >= beat:
                        since = loop.time()
                        yield found
                    await asyncio.sleep(0)  # a burst for one is no wait for the others
                if mine.over:
                    return
            finally:
                self._followers.discard(mine)

    async def _own_page(self, place: _Place) -> list[Event]:
        page = await self._engine.events(self._tenant, place.at, PAGE, kind=place.kind, session=place.session)
        found: list[Event] = []
        if page.gap:
            place.at = _before(page)
            now = to_datetime(await self._engine.now())
            found.append(Event(cursor_text(place.at), place.kind or "", place.session or "", "gap", 0, None, now))
        found += place.taken(deque(page.events), len(page.events))
        place.at = page.cursor
        return found

    async def _join(self) -> Subscriber:
        async with self._joining:
            if self._reading is None or self._reading.done():
                self._position = await self._engine.tip()
                self._reading = asyncio.create_task(self._read())
            mine = Subscriber(self._position)
            self._followers.add(mine)
            if self._stopped:
                mine.end()
            return mine

    async def _read(self) -> None:
        """Read until nobody follows."""
        try:
            while True:
                page = await self._engine.events(self._tenant, self._position, PAGE)
                for follower in self._followers:
                    if page.events or page.gap:
                        follower.put(page.events, gap=page.gap)
                moved = page.cursor != self._position or bool(page.events)
                self._position = page.cursor
                if not moved:
                    await self._engine.changed(self._position, 1.0)
                    if not self._followers and not self._joining.locked():
                        return
        except ClosedError:
            return
        except SojournError as error:
            _log.warning("events of a tenant cannot be read: %s", error.code)
        finally:
            self._reading = None
            self._end_all()


def _before(page: EventPage) -> Position:
    """The position in front of the events of a page."""
    position = list(page.cursor)
    for row in reversed(page.events):
        position[row.shard] = row.number - 1
    return tuple(position)
