"""Conversations of other programs on their way into a store.

A short one arrives in a single commit. A long one is made pending, filled page by page, and activated with its last page, so
that half of it is never seen; a counter says how far it came, and an import that was killed goes on from there. The same
counter lets a later import add what the source has gained since.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from sojourn.core.batch import Change, Create, Guard, NewEntry, Point, Refusal, Write
from sojourn.core.codec import Json
from sojourn.core.session import AliasKey, Session
from sojourn.errors import ConflictError
from sojourn.kinds.conversations import rules
from sojourn.kinds.conversations.model import ConversationPolicy
from sojourn.shell.unit import Unit, perform

PAGE: Final = 1000
"""Messages of one commit, at most."""

_PAGE_BYTES: Final = 4_000_000
_THROUGH: Final = "imported_through"
_TOP: Final = "imported_top"
_LOWEST: Final = -(2**53)

Landed: TypeAlias = Callable[[int], None]
Outcome: TypeAlias = Literal["landed", "present", "deleted"]
"""``present``: another import was first. ``deleted``: it was removed here a while ago, and is not brought back."""


@dataclass(frozen=True, slots=True)
class Item:
    """An entry and its number in the source, which only grows."""

    number: int
    entry: NewEntry

    @property
    def summary(self) -> bool:
        """It stands for older messages."""
        return self.entry.type == rules.CARRIED


@dataclass(frozen=True, slots=True)
class Arrival:
    """A conversation before its messages. ``top`` is the number of the last message its source has now."""

    id: str
    user: str
    data: dict[str, Json]
    created_at: int
    active_at: int
    current: bool
    top: int
    tags: tuple[str, ...] = ()
    """By which a program finds it under the name it had."""


@dataclass(frozen=True, slots=True)
class Stage:
    """How far an earlier import brought a conversation: all up to ``through``, and the summaries up to ``top``."""

    session: Session
    through: int
    top: int

    @property
    def pending(self) -> bool:
        """It was interrupted."""
        return self.session.state == "pending"

    def lacks(self, number: int, *, summary: bool) -> bool:
        """Whether a message of the source is still to come; summaries come with the first page, whatever their numbers."""
        return number > (max(self.through, self.top) if summary else self.through)


class Arrivals:
    """Stores conversations of other programs in one store."""

    def __init__(self, unit: Unit, policy: ConversationPolicy, *, dry_run: bool = False) -> None:
        self._unit = unit
        self._dry_run = dry_run
        self._search: Literal["off", "deferred"] = "off" if policy.search == "off" else "deferred"
        self._threshold = rules.fold_threshold(policy)

    async def stage(self, id: str) -> Stage | None:
        """What an earlier import left of a conversation; None when it is not there."""
        session = (await self._unit.engine.load(self._unit.tenant, id)).session
        if session is None:
            return None
        counters = session.counters
        return Stage(session, counters.get(_THROUGH, _LOWEST), counters.get(_TOP, _LOWEST))

    # -- channel handles -------------------------------------------------------------------------------------------

    async def held(self, user: str) -> dict[str, str]:
        """The handles that point at a person, by channel."""
        aliases = await self._unit.engine.aliases(self._unit.tenant, target=user)
        return dict(rules.handle_of(alias.key.key) for alias in aliases if alias.key.namespace == rules.HANDLE)

    async def claim(self, user: str, channel: str, handle: str) -> str:
        """Point a free handle at ``user``; who holds it then."""
        name = rules.handle_key(channel, handle)

        async def step() -> str | Refusal:
            alias = (await self._unit.follow(name, rules.HANDLE, name)).alias
            assert alias is not None  # noqa: S101  # follow always gives one
            if alias.target is not None:
                return alias.target
            if self._dry_run:
                return user
            answer = await self._unit.attempt(name, Point(alias.key, user, alias.epoch))
            return answer.refusal or user

        return await perform(step, "channel handle")

    # -- conversations ---------------------------------------------------------------------------------------------

    async def store(self, arrival: Arrival, stage: Stage | None, items: Iterable[Item], landed: Landed) -> Outcome:
        """Store ``items``: of a new conversation all, of one that is there those behind its stage.

        ``landed`` is told how many after each commit.
        """
        pages = _paged(items)
        page: list[Item] = next(pages, [])
        while True:
            following = next(pages, None)
            last = following is None
            if not self._dry_run:
                if stage is None:
                    outcome = await self._create(arrival, page, last)
                    if outcome != "landed":
                        return outcome
                elif page or stage.pending:
                    await self._extend(arrival, stage, page, last)
                if following is not None:
                    stage = await self._stage(arrival)
            landed(len(page))
            if following is None:
                return "landed"
            page = following

    async def _stage(self, arrival: Arrival) -> Stage:
        stage = await self.stage(arrival.id)
        if stage is None:
            raise ConflictError(f"conversation {arrival.id} was removed while it was imported.", hint="Import again.")
        return stage

    async def _create(self, arrival: Arrival, page: list[Item], last: bool) -> Outcome:
        entries = tuple(item.entry for item in page)
        channels = (*arrival.data["identity"]["channels"], *(entry.topic for entry in entries if entry.topic))
        made = Create(
            arrival.id,
            rules.KIND,
            arrival.user,
            "active" if last else "pending",
            arrival.data,
            {**dict(_sums(entries)), **_marks(arrival, page, {}, last)},
            (*dict.fromkeys(f"channel:{channel}" for channel in channels), *arrival.tags),
            entries=entries,
            bucket=rules.BUCKET,
            created_at=arrival.created_at,
            active_at=arrival.active_at,
            search=self._search,
        )

        async def step() -> Outcome | Refusal:
            answer = await self._unit.attempt(arrival.user, made, *await self._current(arrival, last))
            if answer.refusal is None or answer.refusal.reason != "present":
                return answer.refusal or "landed"
            found = await self.stage(arrival.id)
            if found is not None and found.pending:
                raise _another(arrival)
            return "deleted" if found is None else "present"

        return await perform(step, rules.KIND)

    async def _extend(self, arrival: Arrival, stage: Stage, page: list[Item], last: bool) -> None:
        """Add a page, unless another import has moved the stage; others may write to an active conversation meanwhile."""
        entries = tuple(item.entry for item in page)
        channels = dict.fromkeys(f"channel:{entry.topic}" for entry in entries if entry.topic)

        async def step() -> bool | Refusal:
            now = await self._stage(arrival)
            if (now.through, now.top, now.pending) != (stage.through, stage.top, stage.pending):
                raise _another(arrival)
            activated = last and stage.pending
            write = Write(
                arrival.id,
                Guard(version=now.session.version),
                entries,
                add=_sums(entries),
                put=tuple(_marks(arrival, page, now.session.counters, last).items()),
                tag=tuple(channels),
                state="active" if activated else None,
                due_above=None if stage.pending else self._threshold,
                search=self._search,
                change="imported",
            )
            answer = await self._unit.attempt(arrival.user, write, *await self._current(arrival, activated))
            return answer.refusal or True

        await perform(step, rules.KIND)

    async def _current(self, arrival: Arrival, activated: bool) -> tuple[Change, ...]:
        """Makes it the person's current conversation with the commit that shows it, unless a newer one is."""
        if not (arrival.current and activated):
            return ()
        found = await self._unit.follow(arrival.user, rules.CURRENT, arrival.user)
        if found.session is not None and found.session.active_at > arrival.active_at:
            return ()
        epoch = 0 if found.alias is None else found.alias.epoch
        return (Point(AliasKey(arrival.user, rules.CURRENT, arrival.user), arrival.id, epoch),)

    async def newer(self, arrival: Arrival) -> str | None:
        """The person's current conversation, where it is another and newer one."""
        found = await self._unit.follow(arrival.user, rules.CURRENT, arrival.user)
        if found.session is None or found.session.id == arrival.id or found.session.active_at <= arrival.active_at:
            return None
        return found.session.id


def _another(arrival: Arrival) -> ConflictError:
    return ConflictError(
        f"conversation {arrival.id} was changed while it was imported: another import is at work.",
        hint="Wait for that one; importing again then does what is left.",
    )


def _paged(items: Iterable[Item]) -> Iterator[list[Item]]:
    page: list[Item] = []
    size = 0
    for item in items:
        page.append(item)
        size += len(item.entry.text or "") + len(item.entry.data or "")
        full = len(page) >= PAGE or size >= _PAGE_BYTES
        if full and item.entry.type == rules.MESSAGE:  # all summaries are in the first page
            yield page
            page, size = [], 0
    if page:
        yield page


def _sums(entries: tuple[NewEntry, ...]) -> tuple[tuple[str, int], ...]:
    """What the entries add to a conversation's counters: summaries are listed, and are not messages."""
    listed, tokens, turns = rules.tally(entries)
    messages = sum(entry.type == rules.MESSAGE for entry in entries)
    return ("messages", messages), ("unfolded", listed), ("tokens", tokens), ("turns", turns)


def _marks(arrival: Arrival, page: list[Item], counters: dict[str, int], last: bool) -> dict[str, int]:
    """The counters that a page sets: when the last message and the last of a person came, and how far the import is."""
    found: dict[str, int] = {}
    for item in page:
        entry = item.entry
        if entry.type == rules.MESSAGE and entry.created_at is not None:
            found["message_at"] = max(found.get("message_at", 0), entry.created_at)
            if entry.label == "user":
                found["interaction_at"] = max(found.get("interaction_at", 0), entry.created_at)
    found = {name: max(at, counters.get(name, 0)) for name, at in found.items()}
    if last:
        return {**found, _THROUGH: arrival.top, _TOP: arrival.top}
    top = counters.get(_TOP, arrival.top)
    came = (item.number for item in page if item.entry.type == rules.MESSAGE or item.number > top)
    return {**found, _THROUGH: max(came, default=counters.get(_THROUGH, _LOWEST)), _TOP: top}
