"""What a commit of the embedded engines works on: sessions as drafts, what it appends and notes, and the port it reads by."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from sojourn.core.batch import (
    NewEntry,
    Search,
)
from sojourn.core.codec import Json
from sojourn.core.session import Alias, AliasKey, LeaseState, Session, State


@dataclass(slots=True)
class Draft:
    """A session while a commit works on it. ``row`` is the engine's own number for it, ``log`` for its entries."""

    row: int
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
    active_at: int
    bucket: int
    """Activity as lists are ordered by it: microseconds, rounded down to the kind's bucket."""
    deadline: int | None
    ended_at: int | None
    last_sequence: int
    counters: dict[str, int]
    base: tuple[str, int] | None
    lineage: tuple[tuple[int, int], ...] = ()
    """Where shared entries are read: (log, last sequence taken from it), oldest first; the own log follows."""
    data: dict[str, Json] | None = None
    """None until a change needs it."""
    last_event: int = 0
    """The number of the last event about it, where the engine keeps a session's events as a chain."""
    text: str = ""
    """The data as it is stored, where it changes."""
    parent: Draft | None = None
    """Of a new fork: where its lineage comes from, when that is stored."""
    fresh: bool = False
    changed: bool = False
    data_changed: bool = False
    placed: bool = False
    """State or activity bucket moved, so that lists must move it too."""
    due_moved: bool = False
    tag: list[str] = field(default_factory=list)
    untag: list[str] = field(default_factory=list)

    def again(self) -> Draft:
        """The same session for the next commit to work on, as this one leaves it; its data is read anew when it is needed."""
        return Draft(
            self.row,
            self.tenant,
            self.id,
            self.kind,
            self.home,
            self.owner,
            self.state,
            self.version,
            self.phase,
            self.created_at,
            self.mark,
            self.active_at,
            self.bucket,
            self.deadline,
            self.ended_at,
            self.last_sequence,
            self.counters.copy(),
            self.base,
            self.lineage,
            None,
            self.last_event,
        )

    def session(self) -> Session:
        """The immutable value of this draft."""
        return Session(
            self.tenant,
            self.id,
            self.kind,
            self.home,
            self.owner,
            self.state,
            self.version,
            self.phase,
            self.created_at,
            self.mark,
            self.active_at,
            self.deadline,
            self.ended_at,
            self.last_sequence,
            dict(self.counters),
            self.data or {},
            self.base,
            self.bucket,
        )


class Appended(NamedTuple):
    """An entry as it goes into the log: what was asked for and what the commit gave it."""

    draft: Draft
    sequence: int
    entry: NewEntry
    key: str | None
    fingerprint: str
    span: int
    """How many entries its operation appended (on the first of them), for the answer of a replay."""
    version: int
    phase: int
    created_at: int
    search: Search


class Noted(NamedTuple):
    """An event to be numbered when the transaction commits."""

    draft: Draft
    change: str
    version: int
    first: int
    last: int
    at: int
    reason: str
    deferred: bool
    """Its entries wait for the search index."""


@dataclass(frozen=True, slots=True)
class Keyed:
    """An operation that is remembered with its first entry."""

    first: int
    span: int
    version: int
    phase: int
    fingerprint: str


class Transaction(Protocol):
    """What a commit reads and writes; one at a time may be open in a store."""

    def draft(self, tenant: str, session: str) -> Draft | None: ...
    def data(self, draft: Draft) -> dict[str, Json]: ...
    def keyed(self, draft: Draft, key: str) -> Keyed | None: ...
    def spoken(self, draft: Draft, author: str) -> bool: ...
    def alias(self, tenant: str, alias: AliasKey) -> Alias: ...
    def aliases_at(self, tenant: str, home: str, target: str) -> list[Alias]: ...
    def lease(self, tenant: str, home: str, name: str) -> LeaseState | None: ...
    def operation(self, tenant: str, home: str, operation: str) -> tuple[str, str] | None: ...

    def insert(self, draft: Draft) -> None: ...
    def update(self, draft: Draft) -> None: ...
    def append(self, entries: list[Appended]) -> None: ...
    def redact(self, draft: Draft, sequences: tuple[int, ...]) -> None: ...
    def point(self, tenant: str, alias: Alias) -> None: ...
    def lend(self, tenant: str, home: str, lease: LeaseState) -> None: ...
    def remember(self, tenant: str, home: str, operation: str, fingerprint: str, answer: str, at: int) -> None: ...
    def note(self, event: Noted) -> None: ...


def spans(
    row: int, lineage: tuple[tuple[int, int], ...], last: int, ranges: tuple[tuple[int, int], ...] | None
) -> list[tuple[int, int, int]]:
    """Where the wanted sequences of a session lie, as (log, first, last), ascending: shared logs first, then its own."""
    found: list[tuple[int, int, int]] = []
    start = 1
    for log, through in (*lineage, (row, last)):
        for first, end in ranges if ranges is not None else ((1, last),):
            low, high = max(first, start), min(end, through)
            if low <= high:
                found.append((log, low, high))
        start = max(start, through + 1)
    return found
