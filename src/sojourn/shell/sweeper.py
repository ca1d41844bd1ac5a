"""The sweep: one bounded background pass over what is due, and the runner that repeats it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Protocol

from sojourn.core.session import Session
from sojourn.core.times import LONGEST
from sojourn.engines.contract import Background, Engine
from sojourn.errors import UnavailableError

_COMING: Final = 20
"""How many sessions are looked at for the next deadline."""


class KindSweep(Protocol):
    """One kind's part of a sweep."""

    @property
    def kind(self) -> str:
        """Which sessions it is given."""
        ...

    async def due(self, session: Session) -> Counter[str]:
        """Act on a session past its deadline."""
        ...

    async def age(self, limit: int, *, dry_run: bool) -> Counter[str]:
        """Act on sessions that have aged."""
        ...


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep did, or with ``dry_run`` would do: counts by name, for example ``folded``, ``archived``, ``indexed``."""

    counts: dict[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """All of them together."""
        return sum(self.counts.values())

    def __getitem__(self, name: str) -> int:
        """How many; 0 for a name that did not occur."""
        return self.counts.get(name, 0)


async def sweep(engine: Engine, tenant: str, kinds: Sequence[KindSweep], limit: int, *, dry_run: bool) -> Swept:
    """One pass, at most ``limit`` of each sort. A session that fails holds up no other: its error is raised at the end."""
    by_kind = {kind.kind: kind for kind in kinds}
    counts: Counter[str] = Counter()
    failed: Exception | None = None
    for session in await engine.due(tenant, limit):
        handler = by_kind.get(session.kind)
        if handler is None:
            continue
        if dry_run:
            counts["due"] += 1
            continue
        try:
            counts += await handler.due(session)
        except UnavailableError:
            raise
        except Exception as error:
            failed = failed or error
    for kind in kinds:
        counts += await kind.age(limit, dry_run=dry_run)
    if not dry_run:
        counts["indexed"] += await engine.index(limit)
        counts["purged"] += await engine.purge(limit)
    if failed is not None:
        raise failed
    return Swept({name: count for name, count in sorted(counts.items()) if count})


class AsyncRunner:
    """Sweeps continuously beside the program, at once when something is committed and at least every ``every`` seconds.

    A context manager. A pass that fails (``last_error``) is tried again after ``every`` seconds, at most.
    """

    def __init__(self, engine: Engine, tenant: str, kinds: Sequence[KindSweep], limit: int, every: float) -> None:
        self._engine = engine
        self._tenant = tenant
        self._kinds = kinds
        self._limit = limit
        self._every = every
        self._stopping = False
        self._background: Background | None = None
        self.last_error: Exception | None = None
        """Why the last pass failed; None when it did not."""
        self.passes: int = 0

    async def __aenter__(self) -> AsyncRunner:
        self._stopping = False
        self._background = self._engine.spawn(self._run)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping = True
        if self._background is not None:
            await self._background.join()

    async def _run(self) -> None:
        while not self._stopping:
            try:
                position = await self._engine.tip()
                swept = await sweep(self._engine, self._tenant, self._kinds, self._limit, dry_run=False)
                self.last_error = None
                self.passes += 1
                if not swept.total:
                    await self._rest(position)
            except Exception as error:
                self.last_error = error
                await self._pause()

    async def _pause(self) -> None:
        """After a failure: the interval, in short steps, so that stopping is prompt."""
        waited = 0.0
        while not self._stopping and waited < self._every:
            await self._engine.sleep(min(0.1, self._every))
            waited += 0.1

    async def _rest(self, position: tuple[int, ...]) -> None:
        """Until something is committed or due, or the interval has passed; in short steps, so that stopping is prompt."""
        end = time.monotonic() + await self._until_due()
        while not self._stopping and (left := end - time.monotonic()) > 0:
            if await self._engine.changed(position, min(0.1, left)) == "now":
                return

    async def _until_due(self) -> float:
        """Seconds until the next deadline, at most the interval; what a pass has left past its deadline is not waited for."""
        coming = await self._engine.due(self._tenant, _COMING, int(self._every * 1_000_000))
        now = await self._engine.now() if coming else 0
        waits = (session.deadline - now for session in coming if session.deadline is not None and session.deadline > now)
        return min(self._every, next(waits, LONGEST) / 1_000_000)
