"""Places in a conversation: forks, rewinds, checkpoints, and single messages hidden or shown."""

from __future__ import annotations

from itertools import count
from typing import Final

from sojourn.core.batch import Create, Guard, Redact, Refusal, Write
from sojourn.core.codec import Json, check_number, check_text
from sojourn.core.query import EntryQuery
from sojourn.core.session import Session
from sojourn.errors import LimitError
from sojourn.kinds.conversations import rules
from sojourn.kinds.conversations.reader import Reader
from sojourn.kinds.conversations.rules import KIND
from sojourn.kinds.conversations.view import Fold, View
from sojourn.shell.unit import Unit, fingerprint, perform

_MOST_CHECKPOINTS: Final = 1000
_EXACT: Final = 8
"""How often a change of the window waits for a moment without appends, so that it stands in the log where it took effect.

In a busier conversation it then takes effect as of its read: what was appended meanwhile stays, as if it had come after.
"""


class Places:
    """Forks, rewinds, checkpoints and hides in conversations of one store and tenant."""

    def __init__(self, unit: Unit, reader: Reader) -> None:
        self._unit = unit
        self._reader = reader

    async def fork(self, id: str, at: int | None, title: str | None, operation: str | None) -> str:
        """Make a session on the shared log; its id."""
        mark = fingerprint("fork", id, at, title)

        async def step() -> str | Refusal:
            session = await self._reader.session(id)
            place = session.last_sequence if at is None else at
            check_number(place, "at", 0, session.last_sequence)
            view = await self._forked_view(session, place)
            counters = await self._forked_counters(session, view, place)
            data: dict[str, Json] = {**rules.data_of(session), "view": view.document(), "forked_from": session.id}
            data["checkpoints"] = {label: kept for label, kept in data.get("checkpoints", {}).items() if kept[0] <= place}
            data["repairs"] = {
                name: row for name, row in data.get("repairs", {}).items() if row["first"] + row["count"] - 1 <= place
            }
            data.pop("previous_id", None)
            if title is not None:
                data["title"] = check_text(title, "title", 1024)
            made = Create(
                self._unit.new_id(session.home, after=session.id),
                KIND,
                session.owner,
                data=data,
                counters=counters,
                tags=tuple(f"channel:{channel}" for channel in data["identity"]["channels"]),
                base=(session.id, place),
                bucket=rules.BUCKET,
                change="forked",
            )
            answer = await self._unit.attempt(session.home, made, key=operation, fingerprint=mark)
            return answer.refusal or answer.moved[0].id

        return await perform(step, KIND)

    async def _forked_view(self, session: Session, at: int) -> View:
        """The view clipped to ``at``; a fold that reaches beyond gives way to what it was built on."""
        view = rules.view_of(session)
        kept: list[Fold] = []
        open_folds = list(view.folds)
        while open_folds:
            fold = open_folds.pop()
            if fold.summary <= at and fold.last <= at:
                kept.append(fold)
            elif fold.first <= at:
                (entry,) = await self._reader.at(session.id, (fold.summary,))
                open_folds.extend(rules.inner_folds(entry))
        return view.forked(kept, at)

    async def _forked_counters(self, session: Session, view: View, at: int) -> dict[str, int]:
        counters = dict(session.counters)
        if at < session.last_sequence:
            later = await self._reader.entries(session.id, EntryQuery(((at + 1, session.last_sequence),), rules.LISTED))
            counters["messages"] = counters.get("messages", 0) - sum(entry.type == rules.MESSAGE for entry in later)
            shown = view.ranges(1, at)
            tallied = (
                rules.tally(await self._reader.entries(session.id, EntryQuery(shown, rules.LISTED))) if shown else (0, 0, 0)
            )
            counters["unfolded"], counters["tokens"], counters["turns"] = tallied
        return counters

    async def rewind(self, id: str, to: int | str, operation: str | None) -> None:
        """Hide what lies behind a place, opening the folds that reach across it."""
        mark = fingerprint("rewind", id, to)
        tries = count()

        async def step() -> bool | Refusal:
            session = await self._reader.session(id)
            repeat = await self._unit.replayed(session, operation, mark)
            if repeat is not None:
                return True
            place = rules.place_of(session, to)
            if place >= session.last_sequence:
                await self._unit.remember(session.home, operation, mark)
                return True
            view = await self._opened(session, place)
            later = view.rewind(place, session.last_sequence)
            if later.invisible() == view.invisible():  # nothing is left to hide, and undoing must reach the rewind before
                await self._unit.remember(session.home, operation, mark)
                return True
            write = rules.change_view(
                session, later, await self._reader.difference(session, later), "rewound", exact=next(tries) < _EXACT
            )
            answer = await self._unit.attempt(session.home, write, key=operation, fingerprint=mark)
            return answer.refusal or True

        await perform(step, KIND)

    async def undo_rewind(self, id: str, operation: str | None) -> None:
        """Show what the last rewind hid."""
        mark = fingerprint("undo_rewind", id)
        tries = count()

        async def step() -> bool | Refusal:
            session = await self._reader.session(id)
            if await self._unit.replayed(session, operation, mark) is not None:
                return True
            view = rules.view_of(session)
            if not view.rewinds:
                await self._unit.remember(session.home, operation, mark)
                return True
            back = view.undo_rewind()
            write = rules.change_view(
                session, back, await self._reader.difference(session, back), "rewind_undone", exact=next(tries) < _EXACT
            )
            answer = await self._unit.attempt(session.home, write, key=operation, fingerprint=mark)
            return answer.refusal or True

        await perform(step, KIND)

    async def _opened(self, session: Session, place: int) -> View:
        """The view with every fold across ``place`` opened, so that what lies before it is visible."""
        view = rules.view_of(session)
        while across := [fold for fold in view.folds if fold.first <= place < fold.last]:
            (entry,) = await self._reader.at(session.id, (across[0].summary,))
            view = view.unfold(across[0], rules.inner_folds(entry))
        return view

    async def checkpoint(self, id: str, name: str, operation: str | None) -> tuple[int, int]:
        """Keep the last sequence under a name; that sequence and the time."""
        mark = fingerprint("checkpoint", id, name)
        tries = count()

        async def step() -> tuple[int, int] | Refusal:
            snapshot = await self._unit.load(id, KIND)
            session = snapshot.session
            assert session is not None  # noqa: S101  # load raised otherwise
            known = rules.data_of(session).get("checkpoints", {})
            if name not in known and len(known) >= _MOST_CHECKPOINTS:
                raise LimitError(f"a conversation has at most {_MOST_CHECKPOINTS:,} checkpoints.")
            write = Write(
                session.id,
                Guard(version=session.version if next(tries) < _EXACT else None),
                set=((("checkpoints", name), [session.last_sequence, snapshot.now]),),
                put=(("checkpoint", session.last_sequence), ("checkpoint_at", snapshot.now)),
                change="checkpoint",
            )
            answer = await self._unit.attempt(session.home, write, key=operation, fingerprint=mark)
            if answer.refusal is not None:
                return answer.refusal
            counters = answer.moved[0].counters
            return counters["checkpoint"], counters["checkpoint_at"]

        return await perform(step, KIND)

    async def redact(self, id: str, sequence: int, operation: str | None) -> None:
        """Empty a message; the phase moves, so that a summary of it that is being made is not stored."""
        mark = fingerprint("redact", id, sequence)

        async def step() -> bool | Refusal:
            session = await self._reader.session(id)
            rules.check_sequence(session, sequence)
            if await self._unit.replayed(session, operation, mark) is not None:
                return True
            shown = any(first <= sequence <= last for first, last in rules.view_of(session).ranges(1, session.last_sequence))
            _, tokens, _ = rules.tally(await self._reader.at(id, (sequence,)))
            left = Write(
                session.id,
                Guard(open=False, phase=session.phase),
                add=(("tokens", 1 - tokens if shown and tokens else 0),),
                next_phase=True,
                change="window_changed",
            )
            gone = Redact(session.id, (sequence,), Guard(open=False, phase=session.phase))
            answer = await self._unit.attempt(session.home, gone, left, key=operation, fingerprint=mark)
            return answer.refusal or True

        await perform(step, KIND)

    async def pop(self, id: str, operation: str | None) -> int:
        """Hide the last visible message; its sequence, 0 when there is none."""
        mark = fingerprint("pop", id)
        tries = count()

        async def step() -> int | Refusal:
            session = await self._reader.session(id)
            repeat = await self._unit.replayed(session, operation, mark)
            if repeat is not None:
                return repeat.moved[0].counters["popped"] if repeat.moved else 0
            shown = rules.view_of(session).ranges(1, session.last_sequence)
            entries = await self._reader.entries(id, EntryQuery(shown, rules.LISTED, last=1)) if shown else ()
            if not entries:
                await self._unit.remember(session.home, operation, mark)
                return 0
            sequence = entries[0].sequence
            view = rules.view_of(session).hide(sequence, sequence)
            messages, tokens, turns = rules.tally(entries)
            write = rules.change_view(
                session, view, (-messages, -tokens, -turns), "hidden", exact=next(tries) < _EXACT, put=(("popped", sequence),)
            )
            answer = await self._unit.attempt(session.home, write, key=operation, fingerprint=mark)
            return answer.refusal or sequence

        return await perform(step, KIND)

    async def show(self, id: str, sequence: int, operation: str | None, *, hidden: bool) -> None:
        """Hide or show one message."""
        name = "hidden" if hidden else "unhidden"
        mark = fingerprint(name, id, sequence)

        async def step() -> bool | Refusal:
            session = await self._reader.session(id)
            rules.check_sequence(session, sequence)
            if await self._unit.replayed(session, operation, mark) is not None:
                return True
            view = rules.view_of(session)
            later = view.hide(sequence, sequence) if hidden else view.unhide(sequence)
            if later == view:
                await self._unit.remember(session.home, operation, mark)
                return True
            write = rules.change_view(session, later, await self._reader.difference(session, later), name)
            answer = await self._unit.attempt(session.home, write, key=operation, fingerprint=mark)
            return answer.refusal or True

        await perform(step, KIND)
