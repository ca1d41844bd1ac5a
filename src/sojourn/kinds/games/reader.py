"""What operations read of games: by id, with the window's choices, and closed turns."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sojourn.core.batch import NewEntry, Write
from sojourn.core.codec import check_key
from sojourn.core.ids import is_id
from sojourn.core.query import EntryQuery
from sojourn.core.session import Entry, Session
from sojourn.errors import NotFoundError
from sojourn.kinds.games import record
from sojourn.kinds.games.model import Turn
from sojourn.kinds.games.record import CHOICE, FULL, KIND, NARRATION, STRIDE, TURN, View, view_of
from sojourn.shell.unit import NEVER, Unit, refused

_END: Final = (1 << 31) - 1
_NEAR: Final = 8
"""So many of the last turns are read from the end of the log."""


class Reader:
    """Reads games of one store and tenant."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit

    # -- one game --------------------------------------------------------------------------------------------------

    async def find(self, game_id: str | int) -> View | None:
        """A game by its id or by a caller's own; None when there is none."""
        name = check_key(game_id, "game_id")
        if is_id(name):
            snapshot = await self._unit.find(name, KIND)
        else:
            key = record.own_key(name)
            snapshot = await self._unit.follow(key.home, key.namespace, key.key)
            target = None if snapshot.alias is None else snapshot.alias.target
            if snapshot.session is None and target is not None:
                snapshot = await self._unit.find(target, KIND)
        return None if snapshot.session is None else view_of(snapshot.session, snapshot.now)

    async def load(self, game_id: str | int) -> View:
        """A game; `NotFoundError` when there is none."""
        view = await self.find(game_id)
        if view is None:
            raise NotFoundError(f"there is no game {game_id!r}.", hint="Check the id and the tenant; list() has them all.")
        return view

    async def with_choices(self, view: View) -> View:
        """The game anew, with the choices of its open window, as of one moment."""
        while True:
            if view.window is None:
                snapshot = await self._unit.load(view.id, KIND)
                entries: tuple[Entry, ...] = ()
            else:
                query = EntryQuery(((view.window["first"], _END),), (CHOICE,))
                snapshot = await self._unit.load(view.id, KIND, query)
                entries = snapshot.entries
            assert snapshot.session is not None  # noqa: S101  # load raises
            fresh = view_of(snapshot.session, snapshot.now, entries)
            if fresh.window is None:
                return view_of(snapshot.session, snapshot.now)
            if view.window is not None and fresh.window["first"] == view.window["first"]:
                return fresh
            view = fresh

    async def with_activity(self, view: View) -> View:
        """As `with_choices`, without a read where nobody has chosen yet."""
        return await self.with_choices(view) if view.window is not None and view.authors else view

    async def asked(self, id: str, key: str | None, mark: str) -> int | None:
        """The turn in which an operation id was taken by a game; None when the game does not know it."""
        if key is None:
            return None
        probe = Write(id, NEVER, (NewEntry(""),))
        answer = await self._unit.attempt("", probe, key=key, fingerprint=mark)
        if answer.refusal is None:
            return await self.turn_at(id, answer.moved[0].first)
        if answer.refusal.reason == "key":
            raise refused(answer.refusal, KIND)
        return None

    async def turn_at(self, id: str, sequence: int) -> int:
        """The turn that a choice was made in."""
        snapshot = await self._unit.load(id, KIND, EntryQuery(((sequence, sequence),)))
        return int(snapshot.entries[0].label)

    # -- turns -----------------------------------------------------------------------------------------------------

    async def turn(self, view: View, number: int) -> Turn:
        """One closed turn; `NotFoundError` when there is none of this number."""
        entry = await self._turn_entry(view, number)
        (turn,) = await self._turns(view, [entry])
        return turn

    async def _turn_entry(self, view: View, number: int) -> Entry:
        if 1 <= number <= view.closed:
            for entry in reversed(await self._around(view, number)):
                if int(entry.label) == number and not record.is_hidden(view.data, entry.sequence, number):
                    return entry
        raise NotFoundError(f"game {view.id} has no closed turn {number}.", hint=f"It has {view.closed}.")

    async def _around(self, view: View, number: int) -> tuple[Entry, ...]:
        """Turn entries among which one is: the last few, or those between the marks before and behind it."""
        while True:
            newer = view.closed - number + 1
            if newer > _NEAR or view.data.get("cuts"):  # behind a cut, the last ones may be those that are not seen
                marks = view.data["marks"]
                start, end = marks.get(str(number // STRIDE), 1), marks.get(str(number // STRIDE + 1), _END)
                return (await self._unit.load(view.id, KIND, EntryQuery(((start, end),), (TURN,)))).entries
            snapshot = await self._unit.load(view.id, KIND, EntryQuery(None, (TURN,), last=newer))
            assert snapshot.session is not None  # noqa: S101  # load raises
            fresh = view_of(snapshot.session, snapshot.now)
            if fresh.closed == view.closed:
                return snapshot.entries
            view = fresh  # turns were closed since it was read: those are the last ones now

    async def entries(self, view: View, number: int) -> tuple[Entry, tuple[Entry, ...]]:
        """A closed turn as it is stored: its entry and its choices."""
        entry = await self._turn_entry(view, number)
        return entry, await self._choices(view.session, [entry])

    async def history(self, view: View, count: int, before: int | None) -> list[Turn]:
        """The last turns before a number, oldest first."""
        last = view.closed if before is None else min(before - 1, view.closed)
        if last < 1 or count < 1:
            return []
        end = _END if before is None else (await self._turn_entry(view, last)).sequence
        found: list[Entry] = []
        while len(found) < count and end >= 1:
            wanted = count - len(found)
            rows = (await self._unit.load(view.id, KIND, EntryQuery(((1, end),), (TURN,), last=wanted))).entries
            seen = [row for row in rows if not record.is_hidden(view.data, row.sequence, int(row.label))]
            found = [*(row for row in seen if int(row.label) <= last), *found]
            if len(rows) < wanted:
                break
            end = rows[0].sequence - 1
        return await self._turns(view, found)

    async def _turns(self, view: View, entries: list[Entry]) -> list[Turn]:
        """Turns from their entries: their choices and narrations are read for all of them at once."""
        if not entries:
            return []
        choices = await self._choices(view.session, entries)
        told = await self._narrations(view, entries)
        people, telling = record.people_of(view.data), view.data.get("telling")
        found = []
        for entry in entries:
            first, last = entry.covers or (1, 0)
            mine = [choice for choice in choices if first <= choice.sequence <= last]
            busy = telling is not None and telling[0] == int(entry.label) and telling[1] > view.now
            found.append(record.turn_of(entry, mine, people, told.get(int(entry.label)), telling=busy))
        return found

    async def _choices(self, session: Session, entries: Iterable[Entry]) -> tuple[Entry, ...]:
        ranges = tuple(entry.covers for entry in entries if entry.covers is not None)
        if not ranges:
            return ()
        return (await self._unit.load(session.id, KIND, EntryQuery(ranges, (CHOICE,)))).entries

    async def _narrations(self, view: View, entries: list[Entry]) -> dict[int, str]:
        """The narrations of these turns, as a history shows them."""
        told = [int(entry.label) for entry in entries if record.is_told(view.data, int(entry.label))]
        if not told:
            return {}
        first = next(entry.sequence for entry in entries if int(entry.label) == told[0])
        whole = None if view.data.get("cuts") else len(told)
        query = EntryQuery(((first, _END),), (NARRATION,), tuple(map(str, told)), limit=whole)
        rows = (await self._unit.load(view.id, KIND, query)).entries
        return {int(row.label): row.text or "" for row in rows if not record.is_hidden(view.data, row.sequence, int(row.label))}

    async def narration(self, view: View, number: int) -> str:
        """The whole narration of a turn; `NotFoundError` when there is none."""
        entry = await self._turn_entry(view, number)
        if record.is_told(view.data, number):
            query = EntryQuery(((entry.sequence, _END),), (NARRATION, FULL), (str(number),))
            rows = (await self._unit.load(view.id, KIND, query)).entries
            seen = [row for row in rows if not record.is_hidden(view.data, row.sequence, number)]
            if seen:
                return seen[-1].text or ""
        raise NotFoundError(f"turn {number} of game {view.id} has no narration.")

    async def choices_before(self, view: View) -> dict[str, str]:
        """What was chosen in the last closed turn, where the policy repeats it."""
        if view.policy.on_timeout != "repeat" or view.closed == 0:
            return {}
        return (await self.turn(view, view.closed)).choices
