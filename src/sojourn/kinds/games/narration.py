"""Telling what happened: a closed turn is claimed by a lease with a fencing number, so that one result is kept."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Final

from sojourn.core.batch import Answer, Change, Guard, Lend, NewEntry, Path, Refusal, Write, Yield
from sojourn.core.codec import Json, check_text
from sojourn.core.session import Entry
from sojourn.core.times import span, to_datetime
from sojourn.errors import ConflictError, InvalidValueError, LeaseLostError, NotFoundError
from sojourn.kinds.games import record
from sojourn.kinds.games.model import SUMMARY, Narration, Turn
from sojourn.kinds.games.placement import Operation
from sojourn.kinds.games.reader import Reader
from sojourn.kinds.games.record import FULL, KIND, NARRATION, View
from sojourn.shell.unit import Unit, perform, refused

AGAIN: Final = Refusal("version")


class Narrating:
    """Claims turns and keeps their narrations, once each."""

    def __init__(self, unit: Unit, reader: Reader) -> None:
        self._unit = unit
        self._reader = reader

    async def claim(self, view: View, holder: str, ttl: timedelta, operation: Operation) -> Narration:
        """The oldest closed turn without narration, for so long; `NotFoundError` when there is none."""
        length = span(ttl, "ttl")
        if length == 0:
            raise InvalidValueError("ttl must be longer than nothing.")

        asked = await self._unit.asked(view.session.home, operation.key, operation.mark, KIND)
        if asked is not None:
            return await self._claimed_before(await self._reader.load(view.id), asked.fences[0])

        async def step() -> tuple[View, int, int, int] | Refusal:
            nonlocal view
            number = record.oldest_untold(view.data)
            if number is None:
                raise NotFoundError(f"every closed turn of game {view.id} is narrated.", hint=f"{view.closed} are closed.")
            until = view.now + length
            lend = Lend(record.narration_lease(view.id), holder, length)
            mark = Write(view.id, _under(view), set=((("telling",), [number, until]),), change="claimed")
            answer = await self._unit.attempt(view.session.home, lend, mark, key=operation.key, fingerprint=operation.mark)
            if answer.refusal is not None:
                if answer.refusal.reason in ("held", "missing"):
                    raise refused(answer.refusal, KIND)
                view = await self._reader.load(view.id)
                return AGAIN
            return view, number, answer.fences[0], answer.now + length

        seen, number, fence, until = await perform(step, KIND)
        turn = await self._reader.turn(seen, number)
        return Narration(replace(turn, state="narrating"), fence, to_datetime(until))

    async def _after(self, view: View, write: Write, answer: Answer) -> View:
        """The game as the commit has left it; read, where others have committed before it."""
        moved = answer.moved[0]
        if moved.version == view.session.version + 1:
            return record.after(view, write, moved, answer.now)
        return await self._reader.load(view.id)

    async def _claimed_before(self, view: View, fence: int) -> Narration:
        """The claim that an operation id has made, while it lasts."""
        telling = view.data.get("telling")
        if telling is None or telling[1] <= view.now:
            raise LeaseLostError(
                "the claim of this key has run out, or its turn is narrated.", hint="Claim again with a new key."
            )
        turn = await self._reader.turn(view, telling[0])
        return Narration(turn, fence, to_datetime(telling[1]))

    async def record(self, view: View, number: int, narration: str, token: int | None) -> tuple[View, Turn]:
        """Keep a narration, and count who missed the turn; the game and the turn.

        The same narration again changes nothing; another one is a `ConflictError`, one under a claim that has run out
        `LeaseLostError`.
        """
        text = check_text(narration, "narration", view.policy.max_text)

        async def step() -> tuple[View, Turn] | Refusal:
            nonlocal view
            if record.is_told(view.data, number):
                if await self._reader.narration(view, number) != text:
                    raise ConflictError(f"turn {number} of game {view.id} is narrated already.", hint="history() has it.")
                return view, await self._reader.turn(view, number)
            if token is not None and view.data.get("telling", (0,))[0] != number:  # as after a rewind
                raise LeaseLostError(f"the claim on turn {number} is not the last one.", hint="narrate() claims the next turn.")
            entry, choices = await self._reader.entries(view, number)
            people = record.people_of(view.data)
            chosen = {choice.author for choice in choices}
            missed = [one for one in record.expected_in(entry) if people.get(one) not in chosen]
            changes = _told(view, number, entry, missed, text, token)
            answer = await self._unit.attempt(view.session.home, *changes)
            if answer.refusal is None:
                told = record.turn_of(entry, choices, people, text[:SUMMARY], telling=False)
                return await self._after(view, changes[0], answer), told
            view = await self._reader.load(view.id)
            if answer.refusal.reason in ("key", "phase", "version"):
                return AGAIN
            if record.is_told(view.data, number) and await self._reader.narration(view, number) == text:
                return AGAIN  # by a call like this one, which has given the claim back
            raise refused(answer.refusal, KIND)

        return await perform(step, KIND)


def _under(view: View) -> Guard:
    return Guard(open=False, phase=view.session.phase, version=view.session.version)


def _told(
    view: View, number: int, entry: Entry, missed: list[int], text: str, token: int | None
) -> tuple[Write, *tuple[Change, ...]]:
    """The narration, kept under a key of its turn so that there is one, and what ends the claim."""
    name = record.narration_lease(view.id)
    entries = [NewEntry(NARRATION, str(number), text=text[:SUMMARY], key=f"narration/{entry.sequence}")]
    if len(text) > SUMMARY:
        entries.append(NewEntry(FULL, str(number), text=text))
    put: tuple[tuple[Path, Json], ...] = ((("told", str(number)), missed),)
    guard = Guard(open=False, phase=view.session.phase, lease=None if token is None else (name, token))
    telling = view.data.get("telling")
    gone: tuple[Path, ...] = (("telling",),) if telling is not None and telling[0] == number else ()
    write = Write(view.id, guard, tuple(entries), set=put, unset=gone, change="narrated")
    return (write,) if token is None else (write, Yield(name, token))
