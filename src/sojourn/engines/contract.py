"""What every engine promises: the verbs, and the promises as sentences.

Each sentence of `PROMISES` is proven by the test of the same name in `sojourn.testing.conformance`; an engine that passes
them in both colours may be used by every kind. What an engine cannot do it declares in its `Capabilities` and answers with
`UnsupportedError`; nothing else excuses a missing test.

Verbs are coroutines in both colours. A blocking engine's coroutines never suspend (`shell.bridge.run_sync` drives them); an
asynchronous engine's suspend only while they wait. One verb is one round trip.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, TypeAlias

from sojourn.core.batch import Answer, Batch
from sojourn.core.query import EntryQuery, SearchQuery, SessionQuery
from sojourn.core.session import Alias, AliasKey, Entry, EventRow, Session, Snapshot

PROMISES: Final = {
    "atomic": "All changes of a batch become visible together or not at all.",
    "home": "What a batch names lives in its home; what crosses homes is refused. Without a home it is one append, or has no "
    "operation id.",
    "durable": "What was acknowledged survives the death of the process.",
    "absent": "Two creates of one id: one wins, the other is refused as present.",
    "open": "Nothing is appended to a session that ended or was archived; the refusal says which.",
    "timely": "A guard on the deadline is decided at the engine's time, inside the commit.",
    "version": "Two commits under one version: one wins, the other learns the current version and stores nothing.",
    "phase": "Commits of one phase never conflict with each other; a commit of another phase is refused.",
    "sequences": "Sequences are given inside the commit, in its order, without gaps, and never again.",
    "operation": "The same operation id again returns the first answer and stores nothing, before all guards. An id is known "
    "per session for appends, per home for everything else. Of an append the places are the first ones, state, deadline and "
    "counters those of now.",
    "operation_payload": "The same operation id for something else is refused as key.",
    "answer": "The answer carries versions, sequences, the counters it moved and the engine's time.",
    "counters": "Counters are whole numbers up to 2^53 - 1; what would pass that raises LimitError, and nothing is stored.",
    "distinct_authors": "Counted entries give the number of distinct authors of the phase, zeroed when the phase moves.",
    "aliases": "An alias is unique by tenant, namespace and key, and moves only from the epoch it was seen at.",
    "aliases_freed": "Deleting a session frees the aliases of its home that point at it, and their epochs keep counting.",
    "touch": "A touch moves activity and deadline forward only, moves no version, makes no event, and revives nothing.",
    "lists": "Lists are paged by key without gaps or repeats, in each order, by kind, state, owner and tag.",
    "counts": "Sessions active since an instant are counted without those past their deadline, by an index.",
    "due": "Due sessions are those past their deadline at the engine's time, earliest first.",
    "due_ahead": "Asked ahead, due sessions are also those whose deadline comes within that time, earliest first.",
    "due_above": "A counter that ends above its threshold makes the session due, and an earlier deadline stays.",
    "events": "Every commit that moves a version makes one event per session, numbered in commit order, without gaps. Read, "
    "they come in commit order per session (per shard), whatever comes between.",
    "events_gap": "A cursor older than what is kept says gap.",
    "events_cursor": "A cursor that has not one number for each shard of the store raises InvalidCursorError.",
    "leases": "One holder at a time; every new holder gets a higher fencing number; a stale number is refused.",
    "leases_home": "A lease is unique by tenant, home and name: the same name in another home is another lease.",
    "time": "Within a session the engine's time never runs backwards.",
    "tenants": "Nothing of one tenant is seen from another.",
    "pending": "A pending session is in no list and makes no event until it is activated.",
    "forks": "A fork shares its parent's entries up to its base, and both go on separately.",
    "redact": "A redacted entry is empty in every session that shares it, and is not found by search.",
    "delete": "A deleted session is invisible at once; purging removes its rows and keeps what forks share.",
    "search": "All words must match, the last may be a prefix, newest first, whatever is not yet indexed included.",
    "search_of_forks": "What forks share is found in the session that wrote it; when that is deleted, in the oldest fork.",
    "isolation": "One operation of a coalesced group that fails neither sinks nor falsely acknowledges the others.",
    "text": "Text comes back as it was given, whatever characters it has; NUL and lone surrogates are refused before anything "
    "is queued.",
}

Changed: TypeAlias = Literal["now", "timeout"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What an engine can do beyond the promises, and which promises it cannot keep."""

    engine: str
    search: bool = True
    durable: bool = True
    """Commits survive the process (False for memory)."""
    processes: bool = True
    """Several processes may open the same store."""
    backup: bool = False


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events after a cursor. ``cursor`` continues where this page ends; ``gap`` says that some before it are gone."""

    events: list[EventRow]
    cursor: tuple[int, ...]
    gap: bool = False


@dataclass(frozen=True, slots=True)
class Hit:
    """An entry that a search found, and the session it is in."""

    session: str
    entry: Entry


@dataclass(frozen=True, slots=True)
class ErasedRows:
    """What an erasure removed."""

    sessions: int
    entries: int
    aliases: int
    leases: int
    complete: bool
    """False while rows are left for the next call."""
    settled: bool = True
    """Whether, once complete, no file of the store has what was removed any more; while False, purging tries again."""
    outside: tuple[str, ...] = ()
    """What this engine itself keeps for a while and cannot be told to forget, for the receipt."""


class Background(Protocol):
    """Work that runs beside the caller."""

    async def join(self) -> None:
        """Wait until it has returned; raises what it raised."""
        ...


class Engine(Protocol):
    """The verbs. ``tenant`` narrows every one of them; times are microseconds; ids are whole."""

    @property
    def capabilities(self) -> Capabilities:
        """What this engine can do."""
        ...

    async def commit(self, batch: Batch) -> Answer:
        """Carry out ``batch`` whole or not at all; a refusal is an answer, not an exception."""
        ...

    async def load(self, tenant: str, session: str, entries: EntryQuery | None = None) -> Snapshot:
        """A session, with the entries that are asked for. Pending ones are shown, deleted ones not."""
        ...

    async def follow(self, tenant: str, alias: AliasKey) -> Snapshot:
        """An alias and the session it points at (None where it points at no session)."""
        ...

    async def aliases(self, tenant: str, *, target: str, home: str | None = None) -> builtins.list[Alias]:
        """The aliases that point at ``target``."""
        ...

    async def tags(self, tenant: str, session: str) -> builtins.list[str]:
        """The tags of a session, sorted."""
        ...

    async def list(self, query: SessionQuery) -> builtins.list[Session]:
        """One page of sessions, by an index."""
        ...

    async def count(
        self,
        tenant: str,
        kind: str,
        *,
        tag: str | None = None,
        owner: str | None = None,
        home: str | None = None,
        active_after: int | None = None,
    ) -> int:
        """How many active sessions of a kind there are, with a tag or of an owner (then also: of a home, as in lists).

        With ``active_after``: only those whose activity bucket begins at this instant or later, and that are not past their
        deadline.
        """
        ...

    async def due(self, tenant: str | None, limit: int, ahead: int = 0) -> builtins.list[Session]:
        """Sessions that are active and past their deadline (or will be, ``ahead`` microseconds from now), earliest first."""
        ...

    async def tip(self) -> tuple[int, ...]:
        """The cursor behind the last event."""
        ...

    async def events(
        self, tenant: str, after: tuple[int, ...], limit: int, *, kind: str | None = None, session: str | None = None
    ) -> EventPage:
        """Events behind a cursor, in commit order per session; of one session, its shard alone is asked (its id says which)."""
        ...

    async def history(self, tenant: str, session: str, limit: int) -> builtins.list[EventRow]:
        """The newest events of one session that are still kept, oldest first."""
        ...

    async def changed(self, after: tuple[int, ...], timeout: float, *, session: str | None = None) -> Changed:
        """Return ``now`` as soon as there may be events behind ``after`` (of ``session``), ``timeout`` after the seconds."""
        ...

    async def search(self, query: SearchQuery) -> builtins.list[Hit]:
        """Entries with these words, newest first."""
        ...

    async def index(self, limit: int) -> int:
        """Bring the search index forward by at most ``limit`` commits; how many were indexed."""
        ...

    async def purge(self, limit: int) -> int:
        """Remove at most ``limit`` rows of deleted sessions, old events and old operation ids; how many were removed."""
        ...

    async def erase(self, tenant: str, owner: str, limit: int) -> ErasedRows:
        """Remove what belongs to ``owner``, at most ``limit`` rows a call, and empty the entries they wrote elsewhere."""
        ...

    async def now(self) -> int:
        """The engine's time."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait, in this engine's colour."""
        ...

    def spawn(self, body: Callable[[], Coroutine[Any, Any, None]]) -> Background:
        """Run ``body`` beside the caller, in this engine's colour: a thread, or a task of the running loop."""
        ...

    async def facts(self) -> dict[str, Any]:
        """Names and values for ``doctor``: version, settings, sizes."""
        ...

    async def close(self) -> None:
        """Flush and let go; idempotent."""
        ...


Clock: TypeAlias = Callable[[], int]
"""Gives microseconds since 1970."""
