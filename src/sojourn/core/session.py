"""What an engine keeps: sessions, entries, aliases, leases and events, as plain immutable values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

from sojourn.core.codec import Json

State: TypeAlias = Literal["pending", "active", "ended", "archived", "deleted"]
"""``pending``: made, not yet reachable (no list, count or event shows it). ``active``: open. ``ended`` and ``archived``
(ended by age): closed, readable. ``deleted``: gone for every reader, its rows not yet purged."""


@dataclass(frozen=True, slots=True)
class Session:
    """One durable record as a rule is shown it. Times are microseconds since 1970."""

    tenant: str
    id: str
    kind: str
    home: str
    owner: str | None
    state: State
    version: int
    phase: int
    created_at: int
    mark: int
    """Highest engine time a commit to this session has seen; the session's own clock never falls behind it."""
    active_at: int
    deadline: int | None
    ended_at: int | None
    last_sequence: int
    counters: dict[str, int]
    data: dict[str, Json] = field(repr=False)
    """Not in the repr: an error that ends in a log names a session, not what people keep in it."""
    base: tuple[str, int] | None = None
    """For a fork: the id of the session it branched from and the last sequence the two share."""
    bucket: int = 0
    """Activity as lists are ordered by it (part of a page's cursor)."""


class Entry(NamedTuple):
    """One item of a session's append-only log (a tuple, because fifty of them are made for every window that is read)."""

    sequence: int
    type: str
    label: str
    topic: str
    author: str | None
    text: str | None
    data: str | None
    """JSON text of whatever the columns do not hold; None when there is nothing more."""
    key: str | None
    phase: int
    version: int
    created_at: int
    first: int | None
    last: int | None
    """The range it stands for or belongs to; None for most."""
    redacted: bool = False

    @property
    def covers(self) -> tuple[int, int] | None:
        """The range as a pair."""
        return None if self.first is None or self.last is None else (self.first, self.last)


@dataclass(frozen=True, slots=True)
class AliasKey:
    """Where an alias lives: unique by (tenant, namespace, key); ``home`` is a function of the two and routes it."""

    home: str
    namespace: str
    key: str


@dataclass(frozen=True, slots=True)
class Alias:
    """A unique name that points at one session (or, across homes, at a principal), moved by compare-and-set.

    ``epoch`` counts the moves and is 0 for a name that was never set; a freed name has ``target`` None and keeps counting.
    """

    key: AliasKey
    target: str | None
    epoch: int
    previous: str | None = None
    moved_at: int = 0


@dataclass(frozen=True, slots=True)
class LeaseState:
    """A named lock with an expiry, unique by (tenant, home, name). ``fence`` grows by one with every new holder and is never
    given twice.
    """

    name: str
    holder: str | None
    fence: int
    expires_at: int


@dataclass(frozen=True, slots=True)
class EventRow:
    """A committed change as the engine numbers it: ids and the kind of change, never content."""

    shard: int
    number: int
    session: str
    kind: str
    change: str
    version: int
    first: int
    last: int
    at: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one read saw: the engine's time, the session, and the entries or the alias that were asked for."""

    now: int
    session: Session | None
    entries: tuple[Entry, ...] = field(default=())
    alias: Alias | None = None
