"""One tenant's sessions from one store to another, whatever their engines: resumable, and verified.

A session is made pending in the target and activated with its last entry, so half of one is never seen; what is there already
is passed over. So a copy that was stopped, or killed, is taken up by asking again. The source is only read.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final

from sojourn.core.codec import decode
from sojourn.core.query import READABLE_STATES, SessionQuery
from sojourn.core.session import Session
from sojourn.shell.unit import Unit
from sojourn.transfer import Loaded, all_kinds, first_line, load_each, name_lines, session_lines

NAMES: Final = "names of people"
"""What points at people and not at sessions, as a part of its own."""

_PAGE: Final = 200
_DIGEST: Final = 16
_SHOWN: Final = 20


@dataclass(slots=True)
class Tally:
    """How much of a part there is, and a checksum that does not depend on the order it is read in."""

    sessions: int = 0
    lines: int = 0
    checksum: int = 0

    def add(self, lines: list[str]) -> None:
        """One more session."""
        self.sessions += 1
        self.lines += len(lines)
        self.checksum ^= int.from_bytes(blake2b("\n".join(lines).encode(), digest_size=_DIGEST).digest(), "big")


@dataclass(frozen=True, slots=True)
class Verified:
    """One part of a store beside its copy."""

    part: str
    source: Tally
    target: Tally
    differing: tuple[str, ...] = ()
    """Ids of the first sessions that are not alike, or not there."""

    @property
    def alike(self) -> bool:
        """Whether the source has nothing that the copy has not, in number and by checksum."""
        return self.source == self.target


def _nobody(done: int, total: int) -> None:
    """Hears nothing."""


@dataclass(slots=True)
class Copying:
    """One copy. ``rate``: lines a second at most. ``told`` hears how many sessions were looked at, and of how many."""

    source: Unit
    target: Unit
    rate: int | None = None
    told: Callable[[int, int], None] = _nobody
    _owners: set[str] = field(default_factory=set)

    async def count(self) -> Counter[str]:
        """How many sessions of each kind the source has."""
        found: Counter[str] = Counter()
        for kind in all_kinds():
            async for _ in _sessions(self.source, kind):
                found[kind] += 1
        return found

    async def missing(self) -> Counter[str]:
        """How many of them the target has not, or only begun."""
        found: Counter[str] = Counter()
        for kind in all_kinds():
            async for session in _sessions(self.source, kind):
                found[kind] += not await self._there(session)
        return found

    async def run(self, total: int) -> Loaded:
        """Copy what is not there yet."""
        return await load_each(self.target, self._lines(total))

    async def _lines(self, total: int) -> AsyncIterator[str]:
        yield first_line(self.source)
        pace, done = _Pace(self.rate), 0
        for kind in all_kinds():
            async for session in _sessions(self.source, kind):
                self._owners.add(session.owner or "")
                # Of what is there its names still: a copy may have been stopped between a session and them.
                there = await self._there(session)
                lines = name_lines(self.source, (session.id,), whole=True) if there else session_lines(self.source, session)
                async for line in lines:
                    yield line
                    await self._rest(pace)
                done += 1
                self.told(done, total)
        async for line in name_lines(self.source, self._owners - {""}, whole=True):
            yield line
            await self._rest(pace)

    async def _rest(self, pace: _Pace) -> None:
        seconds = pace.next()
        if seconds > 0:
            await self.source.engine.sleep(seconds)

    async def _there(self, session: Session) -> bool:
        found = (await self.target.engine.load(self.target.tenant, session.id)).session
        return found is not None and found.state != "pending"

    async def verify(self, total: int) -> list[Verified]:
        """Read both sides, and compare number and checksum of each part. What only the target has is its own."""
        found: list[Verified] = []
        owners: set[str] = set()
        done = 0
        for kind in all_kinds():
            ours, theirs, differing = Tally(), Tally(), list[str]()
            async for session in _sessions(self.source, kind):
                owners.add(session.owner or "")
                lines = await _plain(session_lines(self.source, session))
                ours.add(lines)
                copy = (await self.target.engine.load(self.target.tenant, session.id)).session
                there = [] if copy is None else await _plain(session_lines(self.target, copy))
                if copy is not None:
                    theirs.add(there)
                if there != lines and len(differing) < _SHOWN:
                    differing.append(session.id)
                done += 1
                self.told(done, total)
            found.append(Verified(kind, ours, theirs, tuple(differing)))
        names, copied = Tally(), Tally()
        for owner in sorted(owners - {""}):
            for unit, tally in ((self.source, names), (self.target, copied)):
                lines = await _plain(name_lines(unit, (owner,), whole=True))
                if lines:
                    tally.add(lines)
        found.append(Verified(NAMES, names, copied))
        return found


async def _plain(lines: AsyncIterator[str]) -> list[str]:
    """Lines as they can be compared: not every engine keeps the order of an object's keys."""
    return [json.dumps(decode(line), sort_keys=True, ensure_ascii=False, separators=(",", ":")) async for line in lines]


class _Pace:
    """Spreads lines over time."""

    def __init__(self, rate: int | None) -> None:
        self._rate = rate
        self._started = time.monotonic()
        self._lines = 0

    def next(self) -> float:
        """Seconds to wait before the next line."""
        if self._rate is None:
            return 0.0
        self._lines += 1
        return self._started + self._lines / self._rate - time.monotonic()


async def _sessions(unit: Unit, kind: str) -> AsyncIterator[Session]:
    """Every readable session of a kind, oldest first, so that a fork follows what it shares."""
    after: tuple[int, str] | None = None
    while True:
        query = SessionQuery(unit.tenant, (kind,), READABLE_STATES, None, None, "oldest", limit=_PAGE, after=after)
        rows = await unit.engine.list(query)
        for session in rows:
            yield session
        if len(rows) < _PAGE:
            return
        after = (0, rows[-1].id)
