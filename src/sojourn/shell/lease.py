"""Leases: named locks with an expiry and a fencing number that only grows.

A holder that stops (a long pause, a dead process) simply runs out; whoever comes next gets a higher number, and what the old
one still tries to commit under its number is refused by the engine (Kleppmann, "How to do distributed locking", 2016).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import TracebackType

from sojourn.core.batch import Lend, Yield
from sojourn.core.codec import check_key
from sojourn.core.ids import new_id
from sojourn.core.times import span, to_datetime
from sojourn.errors import InvalidValueError, LeaseHeldError
from sojourn.shell.unit import Unit


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease as it was taken or renewed. Pass it as ``lease=`` to what must not be stored without it."""

    name: str
    holder: str
    fence: int
    """The fencing number: higher than that of every earlier holder."""
    expires_at: datetime
    ttl: timedelta
    free: bool = False
    """A lease of the store, not of a session's home: sessions refuse numbers lower than the highest they have seen."""
    home: str = field(default="", repr=False)


class Holding:
    """Takes a lease on entry, gives it back on exit. `LeaseHeldError` on entry while somebody else has it."""

    def __init__(self, unit: Unit, home: str, name: str, owner: str, ttl: timedelta, *, free: bool = False) -> None:
        self._free = free
        self._unit = unit
        self._home = home
        self._name = check_key(name, "lease name")
        self._owner = check_key(owner, "owner")
        self._ttl = ttl
        if span(ttl, "ttl") == 0:
            raise InvalidValueError("ttl must be longer than nothing.")
        self._fence: int | None = None

    async def __aenter__(self) -> Lease:
        return await self.take()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.give_back()

    async def take(self) -> Lease:
        """Take it. Whoever is interrupted or cancelled meanwhile does not keep it."""
        ttl = span(self._ttl)
        lend, operation = Lend(self._name, self._owner, ttl), new_id(self._home)
        try:
            answer = await self._unit.commit(self._home, lend, key=operation, fingerprint=self._name, what="lease")
        except LeaseHeldError:
            raise
        except BaseException:
            again = await self._unit.attempt(self._home, lend, key=operation, fingerprint=self._name)
            if again.refusal is None:
                await self._unit.attempt(self._home, Yield(self._name, again.fences[0]))
            raise
        self._fence = answer.fences[0]
        expires_at = to_datetime(answer.now + ttl)
        return Lease(self._name, self._owner, self._fence, expires_at, self._ttl, self._free, self._home)

    async def give_back(self) -> None:
        """Give it back; nothing happens when it has run out and somebody else has it."""
        if self._fence is not None:
            fence, self._fence = self._fence, None
            await self._unit.commit(self._home, Yield(self._name, fence), what="lease")


async def renew(unit: Unit, lease: Lease) -> Lease:
    """The lease with its time begun anew, under the same fencing number."""
    ttl = span(lease.ttl)
    answer = await unit.commit(lease.home, Lend(lease.name, lease.holder, ttl, lease.fence), what="lease")
    return replace(lease, expires_at=to_datetime(answer.now + ttl))
