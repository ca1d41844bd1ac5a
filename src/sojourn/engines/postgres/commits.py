"""Group commit: what is queued at this moment travels in one call; a lone caller waits for nobody.

The queue and what is sent are the same in both colours; who sends differs (`blocking`, `aio`). The server decides each batch
for itself, and its errors are errors of the whole call, which then was rolled back: each batch is tried again alone, so that
only the one at fault fails.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, cast

import psycopg

from sojourn.core.batch import Answer
from sojourn.engines.postgres import wire
from sojourn.engines.postgres.faults import UNIQUE_VIOLATION, is_lost, translate
from sojourn.engines.postgres.settings import Settings
from sojourn.engines.postgres.statements import SQL
from sojourn.errors import OutcomeUnknownError, SojournError

MOST: Final = 256
"""Batches in one call at most, so that nobody waits long for the locks it holds."""

SPLIT: Final = 8
"""Batches that are worth a call of their own while a lane is free: smaller groups travel as one."""

MOST_TEXT: Final = 4_000_000
"""Characters in one call at most, as long as it carries more than one batch."""

LOOK_AHEAD: Final = 64
"""Batches that do not fit a call and are passed over before it is sent."""

_COMMIT: Final = SQL["commit"]

Send: TypeAlias = Callable[[str, tuple[Any, ...]], Awaitable[Any]]
"""Run a statement on the connection of a call and give its one value."""


class Slot:
    """One waiting batch and, once it is decided, its outcome."""

    __slots__ = ("again", "answer", "error", "lead", "parcel", "waker")

    def __init__(self, parcel: wire.Parcel) -> None:
        self.parcel: wire.Parcel = parcel
        self.answer: Answer | None = None
        self.error: BaseException | None = None
        self.lead: bool = False
        self.again: bool = False
        self.waker: Any = None
        """What the colour waits with: a lock among threads, a future under a loop."""

    @property
    def decided(self) -> bool:
        """Whether there is an outcome."""
        return self.answer is not None or self.error is not None

    def leave(self) -> None:
        """Nobody works on it any more: what is not decided now, was interrupted."""
        if not self.decided:
            self.error = _unknown(self.parcel.operation)

    def outcome(self) -> Answer:
        """The answer, or the error raised."""
        self.leave()
        if self.error is not None:
            raise self.error
        return cast("Answer", self.answer)


class Queue:
    """Batches that wait, in the order they came."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: deque[Slot] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, slot: Slot) -> None:
        """Wait at the end."""
        self._waiting.append(slot)

    def withdraw(self, slot: Slot) -> bool:
        """Take back a batch that was not sent; False when it was."""
        try:
            self._waiting.remove(slot)
        except ValueError:
            return False
        return True

    def take_one(self) -> Slot | None:
        """Whoever waits longest."""
        return self._waiting.popleft() if self._waiting else None

    def take(self, first: Slot | None = None, most: int = MOST) -> list[Slot]:
        """A group: ``first`` or whoever waits longest, and those behind it that may travel along.

        Who may not keeps its place, and is the first of a later group. They all wait at the same time, so nobody is
        promised to come before another.
        """
        waiting, group = self._waiting, wire.Group()
        taken: list[Slot] = []
        passed: list[Slot] = []
        if first is not None and group.admits(first.parcel):
            taken.append(first)
        while waiting and len(taken) < most and group.size < MOST_TEXT and len(passed) < LOOK_AHEAD:
            slot = waiting.popleft()
            (taken if group.admits(slot.parcel) else passed).append(slot)
        waiting.extendleft(reversed(passed))
        return taken


@dataclass(slots=True)
class Sending:
    """The connection of a call, and what it learned besides the answers."""

    send: Send
    settings: Settings
    where: str
    watched: bool = False
    """Whether there were events and somebody watches, who is to be told."""

    async def call(self, parcels: list[wire.Parcel]) -> Iterator[Answer]:
        """The answers of one call."""
        settings = self.settings
        clock = None if settings.clock is None else settings.clock()
        values = (*wire.assemble(parcels), clock, settings.patience, settings.lazy)
        rows = await self.send(settings.names.text(_COMMIT), values)
        watched, answers = wire.answers_of(rows, len(parcels))
        self.watched |= watched
        return answers


async def carry_out(slots: list[Slot], sending: Sending) -> None:
    """Decide every slot. Raises nothing but what is not an `Exception`; slots then may be undecided."""
    try:
        answers = await sending.call([slot.parcel for slot in slots])
        for slot, answer in zip(slots, answers, strict=True):
            slot.answer = answer
    except Exception as error:
        await _after_error(slots, sending, error)


async def _after_error(slots: list[Slot], sending: Sending, error: Exception) -> None:
    rolled_back = isinstance(error, psycopg.Error) and not is_lost(error)
    if rolled_back and len(slots) > 1:
        for slot in slots:
            await carry_out([slot], sending)
    elif rolled_back and getattr(error, "sqlstate", None) == UNIQUE_VIOLATION and not slots[0].again:
        slots[0].again = True  # somebody made the same thing a moment ago: now it is there to be found
        await carry_out(slots, sending)
    else:
        for slot in slots:
            slot.error = _translated(error, sending.where, slot.parcel.operation)


def _translated(error: Exception, where: str, key: str | None) -> BaseException:
    known: SojournError = translate(error, where, committing=True, key=key)
    if known is not error:
        known.__cause__ = error
    return known


def _unknown(key: str | None) -> OutcomeUnknownError:
    return OutcomeUnknownError(
        "the commit was interrupted.", hint="It may have been stored or not: ask again with the same key.", key=key
    )
