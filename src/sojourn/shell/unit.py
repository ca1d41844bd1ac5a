"""Commit and conflict: how an operation carries a decision to the engine, and how a refusal becomes an error.

`Unit` is what a kind works with: one engine, one tenant. `commit` raises for whatever a retry cannot mend; operations that
decide from a snapshot call `perform`, which reads again and decides again when somebody else was first.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final, TypeVar

from sojourn.core.batch import (
    Answer,
    Batch,
    Change,
    Create,
    Delete,
    Guard,
    Lend,
    NewEntry,
    Point,
    Reason,
    Refusal,
    Write,
    Yield,
)
from sojourn.core.codec import check_key, told
from sojourn.core.ids import is_id
from sojourn.core.query import EntryQuery
from sojourn.core.session import AliasKey, Session, Snapshot
from sojourn.engines.contract import Engine
from sojourn.errors import (
    AmbiguousError,
    BindingError,
    ConflictError,
    EndedError,
    EngineError,
    ExpiredError,
    GameFullError,
    KeyReusedError,
    LeaseHeldError,
    LeaseLostError,
    LimitError,
    NotFoundError,
    SojournError,
    UnavailableError,
)
from sojourn.shell.system import Ids

T = TypeVar("T")

TRIES: Final = 64
"""How often an operation decides again after losing to others before it gives up; each loss means that somebody won."""

REFUSED: Final = (
    AmbiguousError,
    BindingError,
    ConflictError,
    EndedError,
    ExpiredError,
    GameFullError,
    LimitError,
    NotFoundError,
)
"""Errors that say how something stands, which the same call may have changed a moment ago."""

_WHILE: Final = 10_000_000
"""How long a turn lasts at most, in microseconds: so long whoever asks again after a crash waits."""

_PATIENCE: Final = tuple(min(0.01 * 1.5**turn, 0.5) for turn in range(34))
"""How long to wait for a turn, in seconds, one after the other: longer than one lasts."""

NEVER: Final = Guard(open=False, version=-1)

STALE: Final[frozenset[Reason]] = frozenset({"present", "version", "phase", "epoch"})
"""Refusals that mean the snapshot was stale, so that deciding again may help."""


@dataclass(frozen=True, slots=True)
class Unit:
    """One engine and tenant as a kind sees them."""

    engine: Engine
    tenant: str
    ids: Ids

    async def commit(
        self, home: str, *changes: Change, key: str | None = None, fingerprint: str = "", what: str = "session"
    ) -> Answer:
        """Carry out changes of one home; a refusal is raised as the error it means."""
        answer = await self.engine.commit(Batch(self.tenant, home, changes, key, fingerprint))
        if answer.refusal is not None:
            raise refused(answer.refusal, what)
        return answer

    async def attempt(self, home: str, *changes: Change, key: str | None = None, fingerprint: str = "") -> Answer:
        """Carry out changes of one home; a refusal is in the answer."""
        return await self.engine.commit(Batch(self.tenant, home, changes, key, fingerprint))

    async def replayed(self, session: Session, operation: str | None, mark: str, *, with_entry: bool = False) -> Answer | None:
        """The answer an operation id already has, for rules that would find their own first run's changes and decide otherwise.

        ``with_entry``: the operation appends, so its id is remembered with its first entry. Asked with a guard that never
        holds, so that nothing is stored.
        """
        if operation is None:
            return None
        probe = Write(session.id, NEVER, (NewEntry(""),) if with_entry else ())
        answer = await self.attempt(session.home, probe, key=operation, fingerprint=mark)
        if answer.refusal is None:
            return answer
        if answer.refusal.reason == "key":
            raise refused(answer.refusal, session.kind)
        return None

    async def asked(self, home: str, operation: str | None, mark: str, what: str = "session") -> Answer | None:
        """The answer an operation id has in a home already; None when it has none.

        `KeyReusedError` when it was used for something else. Asked with a guard that never holds, so that nothing is stored.
        """
        if operation is None:
            return None
        probe = Point(AliasKey(home, "never", home), None, -1)
        answer = await self.attempt(home, probe, key=operation, fingerprint=mark)
        if answer.refusal is None:
            return answer
        if answer.refusal.reason == "key":
            raise refused(answer.refusal, what)
        return None

    async def answered(
        self,
        home: str,
        operation: str | None,
        mark: str,
        do: Callable[[], Awaitable[T]],
        again: Callable[[Answer], Awaitable[T]],
        what: str = "session",
    ) -> T:
        """What an operation id has been answered already, by ``again``; otherwise what ``do`` gives now.

        Where ``do`` is refused, a call with the same id may have been faster and have changed what it looked at, so the id is
        asked once more.
        """
        before = await self.asked(home, operation, mark, what)
        if before is not None:
            return await again(before)
        try:
            return await do()
        except REFUSED:
            before = await self.asked(home, operation, mark, what)
            if before is None:
                raise
            return await again(before)

    async def note(self, home: str, operation: str | None, mark: str, **results: int) -> dict[str, int]:
        """Keep what an operation id of several commits came to, as the counters of a session that nobody ever sees.

        Gives what is kept: what another call with the same id has noted first, where there was one.
        """
        if operation is None:
            return results
        made = self.new_id(home)
        kept = Create(made, "note", state="pending", counters=results)
        return (await self.commit(home, kept, Delete(made), key=operation, fingerprint=mark)).moved[0].counters

    async def once(self, home: str, operation: str | None, mark: str, do: Callable[[], Awaitable[int]], what: str) -> int:
        """What an operation of several commits comes to; asked again under its operation id, what it came to.

        A call with the same id that is under way is waited for. One that was cut short before what it came to was noted is
        done again, and counts the rest.
        """
        before = await self.asked(home, operation, mark, what)
        if before is not None:
            return before.moved[0].counters["done"]
        if operation is None:
            return await do()
        name = f"keyed/{int(fingerprint(operation)[0], 16)}"
        fence = await self._turn(home, name)
        try:
            before = await self.asked(home, operation, mark, what)
            if before is not None:
                return before.moved[0].counters["done"]
            done = int(await do())
            return max(done, (await self.note(home, operation, mark, done=done))["done"])
        finally:
            if fence is not None:
                with suppress(EngineError):  # what was done was done; the turn ends by itself
                    await self.attempt(home, Yield(name, fence))

    async def _turn(self, home: str, name: str) -> int | None:
        """A turn at the operations of several commits of a home; None when it does not come in time.

        It is for the answers' sake only: who goes on without a turn does nothing twice, but may count what another did. A few
        names for all, since a name of a lease stays.
        """
        for pause in _PATIENCE:
            answer = await self.attempt(home, Lend(name, self.new_id(home), _WHILE))
            if answer.refusal is None:
                return answer.fences[0]
            await self.engine.sleep(pause)
        return None

    async def remember(self, home: str, operation: str | None, mark: str) -> Answer | None:
        """Keep an operation id whose operation has nothing to commit, so that asking again does nothing later either.

        Gives what is kept under it: the answer of another call with the same id, where that was first.
        """
        return None if operation is None else await self.commit(home, key=operation, fingerprint=mark)

    async def load(self, session: str, kind: str, entries: EntryQuery | None = None) -> Snapshot:
        """A session of a kind; `NotFoundError` when there is none."""
        snapshot = await self.find(session, kind, entries)
        if snapshot.session is None:
            raise not_found(session, kind)
        return snapshot

    async def find(self, session: str, kind: str, entries: EntryQuery | None = None) -> Snapshot:
        """As `load`, with None in the snapshot when there is none. What is not shaped like an id is not looked up."""
        if not is_id(session):
            return Snapshot(0, None)
        snapshot = await self.engine.load(self.tenant, session, entries)
        found = snapshot.session
        if found is None or found.kind != kind or found.state == "pending":
            return Snapshot(snapshot.now, None)
        return snapshot

    async def follow(self, home: str, namespace: str, key: str) -> Snapshot:
        """An alias and the session it points at."""
        return await self.engine.follow(self.tenant, AliasKey(home, namespace, key))

    def new_id(self, home: str, *, after: str = "") -> str:
        """A fresh id in this home, later than ``after``."""
        return self.ids.new(self.tenant, home, after=after)


async def perform(step: Callable[[], Awaitable[T | Refusal]], what: str = "session") -> T:
    """Run ``step`` (read, decide, commit) until it is not refused for a stale snapshot."""
    for _ in range(TRIES):
        result = await step()
        if not isinstance(result, Refusal):
            return result
        if result.reason not in STALE:
            raise refused(result, what)
    raise UnavailableError(f"the {what} was changed by others {TRIES} times in a row.", hint="Nothing was stored; try again.")


def not_found(session: object, kind: str) -> NotFoundError:
    """There is no such session."""
    return NotFoundError(f"there is no {kind} {told(session)}.", hint="Check the id and the tenant.")


def refused(refusal: Refusal, what: str = "session") -> SojournError:
    """The error that a refusal means."""
    session, name = refusal.session, f"{what} {refusal.id}".rstrip()
    match refusal.reason:
        case "missing":
            return not_found(refusal.id, what)
        case "ended":
            return EndedError(f"{name} has ended.", hint="It can be read, not written.", record=session)
        case "archived":
            return EndedError(f"{name} was archived by age.", hint="It can be read, not written.", record=session)
        case "expired":
            return ExpiredError(f"{name} has expired.", record=session)
        case "key":
            return KeyReusedError(
                "this key was used for a different operation or with different arguments.",
                hint="Use a new key for a new operation.",
                record=session,
            )
        case "held" | "fence":
            return _lease_error(refusal)
        case "epoch":
            holder = None if refusal.alias is None else refusal.alias.target
            return ConflictError(f"the alias was moved by somebody else; it points at {holder!r} now.", holder=holder)
        case reason:
            return _conflict(reason, name, session)


def _lease_error(refusal: Refusal) -> SojournError:
    lease = refusal.lease
    holder = None if lease is None else lease.holder
    name = "?" if lease is None else lease.name
    if refusal.reason == "held":
        return LeaseHeldError(f"{name} is held by {holder!r}.", hint="Wait until it is free.", holder=holder)
    return LeaseLostError(
        f"the lease {name} ran out or was taken over by {holder!r}.", hint="Nothing was stored.", holder=holder
    )


def _conflict(reason: str, name: str, session: Session | None) -> ConflictError:
    version = None if session is None else session.version
    phase = None if session is None else session.phase
    texts = {
        "version": f"{name} is at version {version} now.",
        "phase": f"{name} is in phase {phase} now.",
        "present": f"{name} exists already.",
        "early": f"{name} has not reached its deadline.",
        "spoken": f"the author has already spoken in this phase of {name}.",
    }
    return ConflictError(texts[reason], hint="Nothing was stored.", record=session, version=version, phase=phase)


def operation_key(key: object | None) -> str | None:
    """A caller's operation id, checked."""
    return None if key is None else check_key(key, "key", 256)


def fingerprint(operation: str, *arguments: Any) -> str:
    """What tells one request from another under the same operation id; arguments are plain JSON, without secrets."""
    text = json.dumps([operation, *arguments], sort_keys=True, default=str, ensure_ascii=True)
    return blake2b(text.encode(), digest_size=9).hexdigest()
