"""Presses and closes: whoever may close a window does, one wins, and the others read the same turn."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from sojourn.core.batch import Answer, Refusal
from sojourn.core.session import Session
from sojourn.errors import ConflictError, EndedError, KeyReusedError, NotFoundError, UnavailableError
from sojourn.kinds.games import windows
from sojourn.kinds.games.model import ChoiceStatus, CloseReason, Press, Submitted, Turn
from sojourn.kinds.games.placement import Operation, Placement
from sojourn.kinds.games.reader import Reader
from sojourn.kinds.games.record import KIND, NEED, RETRY, View, after, view_of, window_of
from sojourn.kinds.games.transitions import step
from sojourn.shell.unit import STALE, TRIES, Unit, refused

_KNOWN: Final = 256
"""How many channels a store remembers the game of, so that a press takes one round trip."""
_UNKNOWN: Final = -1
"""The version of a view whose document may be behind: no guard on it ever holds."""

_PLAIN: Final = Operation()
"""An operation without an id."""


@dataclass(slots=True)
class Seen:
    """What this store knows of the game of a channel. ``fresh``: as of a read of this operation, not of an earlier one."""

    view: View
    fresh: bool
    spoken: set[str] = field(default_factory=set)
    """Who is known to have chosen in this phase."""


class Play:
    """Takes presses and closes windows for the games of one store and tenant."""

    def __init__(self, unit: Unit, reader: Reader, placement: Placement) -> None:
        self._unit = unit
        self._reader = reader
        self._placement = placement
        self._known: dict[tuple[str, str], Seen] = {}

    # -- what is known ---------------------------------------------------------------------------------------------

    def forget(self) -> None:
        """Know nothing of any game: the next press reads."""
        self._known.clear()

    def renew(self, place: tuple[str, str], view: View) -> None:
        """Know a game as an operation of this store has left it, if it is known at all: the next press need not fail first."""
        seen = self._known.get(place)
        if seen is not None and (seen.view.id, seen.view.session.phase) == (view.id, view.session.phase):
            self._learn(place, Seen(view, fresh=False, spoken=seen.spoken))

    async def _read(self, place: tuple[str, str]) -> Seen:
        kind, name = place
        view = await (self._placement.current(name) if kind == "channel" else self._reader.load(name))
        if view.policy.min_interval is not None:
            view = await self._reader.with_activity(view)
        return Seen(view, fresh=True, spoken={entry.author for entry in view.choices if entry.author is not None})

    def _learn(self, place: tuple[str, str], seen: Seen) -> None:
        if seen.view.policy.min_interval is not None:
            return  # when somebody pressed last is always read
        if len(self._known) >= _KNOWN and place not in self._known:
            self._known.clear()
        spoken = seen.spoken
        self._known[place] = Seen(replace(seen.view, choices=()), fresh=False, spoken=spoken)

    # -- pressing --------------------------------------------------------------------------------------------------

    async def submit(self, place: tuple[str, str], press: Press) -> Submitted:
        """Take a press in the window that is open, or opens with it."""
        seen = self._known.pop(place, None)
        carried = False
        for _ in range(TRIES):
            found = await self._found(place, press) if seen is None else seen
            if isinstance(found, Submitted):
                return found
            seen = found
            decision = windows.decide(seen.view, press, carried=carried, spoken=_speaks_again(seen, press))
            if isinstance(decision, windows.CloseFirst):
                closed, carried = await self.close(seen.view, "deadline", None), True
                seen = Seen(closed, fresh=True) if _is_there(place, closed) else None
                continue
            outcome = await self._pressed(place, seen, press, decision)
            if isinstance(outcome, Submitted):
                return outcome
            seen = outcome
        raise UnavailableError(f"the game was changed by others {TRIES} times in a row.", hint="Nothing was stored; try again.")

    async def _pressed(
        self, place: tuple[str, str], seen: Seen, press: Press, decision: windows.Refused | windows.Commit
    ) -> Submitted | Seen | None:
        """The answer of a press; or the game to decide on anew, None to read it first."""
        if isinstance(decision, windows.Refused):
            if not seen.fresh:  # nobody is refused for what may have changed
                return None
            answered = await self._duplicate(seen.view, press)
            if answered is None and seen.view.place == "ended":
                step("ended", "press")
            self._learn(place, seen)
            return answered or _answer(decision.status, seen.view)
        earlier = await self._earlier(seen.view, press)
        if earlier is not None:
            return earlier
        home = seen.view.session.home
        answer = await self._unit.attempt(home, decision.write, key=press.key, fingerprint=press.fingerprint)
        if answer.refusal is not None:
            return self._refused(place, answer.refusal, answer.now, seen, press)
        return await self._taken(place, seen, press, decision, answer)

    async def _found(self, place: tuple[str, str], press: Press) -> Seen | Submitted:
        """The game, or the answer that a press sent again got before its game left the channel."""
        try:
            return await self._read(place)
        except NotFoundError:
            kind, channel = place
            if kind == "channel" and press.key is not None:
                spot = await self._placement.spot(channel)
                last = spot.alias.target or spot.alias.previous
                view = None if last is None or spot.alias.moved_at <= spot.now - RETRY else await self._reader.find(last)
                answer = None if view is None else await self._duplicate(view, press)
                if answer is not None:
                    return answer
            raise

    async def _earlier(self, view: View, press: Press) -> Submitted | None:
        """A press sent again that a game took which the channel showed before this one."""
        if press.key is None:
            return None
        for id, at in view.data["before"]:
            if at > view.now - RETRY:
                turn = await self._reader.asked(id, press.key, press.fingerprint)
                if turn is not None:
                    return Submitted("duplicate", False, None, turn)
        return None

    async def _duplicate(self, view: View, press: Press) -> Submitted | None:
        """The answer of a press that was taken already, whatever would become of it now."""
        if press.key is None:
            return None
        turn = await self._reader.asked(view.id, press.key, press.fingerprint)
        if turn is None:
            return await self._earlier(view, press)
        return Submitted("duplicate", False, None, turn)

    def _refused(self, place: tuple[str, str], refusal: Refusal, now: int, seen: Seen, press: Press) -> Seen | Submitted | None:
        """What a refusal teaches: the game as the commit found it (None: read it again), or the answer."""
        if refusal.reason == "key":
            raise KeyReusedError(
                f"the key {press.key!r} was used for another choice.", hint="Use a new key for a new choice.", record=None
            )
        session: Session | None = refusal.session
        unread = seen.view.policy.min_interval is not None
        if session is None or unread or refusal.reason in ("ended", "archived", "missing", "fence"):
            return None
        view = view_of(session, now)
        if not _is_there(place, view):
            return None
        same = session.phase == seen.view.session.phase
        learned = Seen(view, fresh=True, spoken=seen.spoken if same else set())
        if refusal.reason == "spoken":
            learned.spoken.add(press.user_id)
            if view.policy.change == "first_locks":
                return _answer("locked", view)
        return learned

    async def _taken(
        self, place: tuple[str, str], seen: Seen, press: Press, decision: windows.Commit, answer: Answer
    ) -> Submitted:
        """The answer of a press that was taken; whoever brings the last one that is needed closes the window."""
        moved = answer.moved[0]
        if answer.replayed:
            return Submitted("duplicate", False, None, await self._reader.turn_at(seen.view.id, moved.first))
        view = after(seen.view, decision.write, moved, answer.now)
        if moved.version != seen.view.session.version + 1:  # others came between: the document may be behind
            view = replace(view, session=replace(view.session, version=_UNKNOWN))
        again = _speaks_again(seen, press)
        seen.spoken.add(press.user_id)
        self._learn(place, Seen(view, fresh=False, spoken=seen.spoken))
        status: ChoiceStatus = "carried" if decision.carried else "replaced" if again else "accepted"
        first = not again and moved.counters.get("authors", 0) == 1
        window = window_of(view)
        result = Submitted(status, first, None if window is None else window.remaining, view.closed + 1)
        need = moved.counters.get(NEED, 0)
        if 0 < need <= moved.counters.get("authors", 0):
            reason: CloseReason = "quorum" if view.policy.close_when == "quorum" else "all"
            closed = await self.close(view, reason, press.user_id)
            self._learn(place, Seen(closed, fresh=False))
        return result

    # -- closing ---------------------------------------------------------------------------------------------------

    async def close(self, view: View, reason: CloseReason, by: str | None, operation: Operation = _PLAIN) -> View:
        """Close the window of this phase, if nobody has; the game as it is then.

        Nothing is closed before its time: where the deadline has moved, or the choices that completed it have gone, the
        game is given as it is.
        """
        phase = view.session.phase
        for _ in range(TRIES):
            view = await self._reader.with_choices(view)
            if view.session.phase != phase or view.window is None or not self._may_close(view, reason):
                await self._unit.remember(view.session.home, operation.key, operation.mark)
                return view
            write = windows.closed(view, reason, by, await self._reader.choices_before(view))
            answer = await self._unit.attempt(view.session.home, write, key=operation.key, fingerprint=operation.mark)
            if answer.refusal is None:
                return after(view, write, answer.moved[0], answer.now)
            if answer.refusal.reason not in STALE | {"early", "ended"}:
                raise refused(answer.refusal, KIND)
        raise UnavailableError(f"the game was changed by others {TRIES} times in a row.", hint="Nothing was stored; try again.")

    @staticmethod
    def _may_close(view: View, reason: CloseReason) -> bool:
        if reason == "gm":
            return view.place in ("open", "held")
        return view.overdue if reason == "deadline" else view.complete is not None

    async def settled(self, view: View) -> View:
        """The game with its window closed, if that was due or complete."""
        if view.overdue:
            return await self.close(view, "deadline", None)
        if view.complete is not None:
            return await self.close(view, view.complete, None)
        return view

    async def start(self, view: View) -> View:
        """The game with its next window open, where the policy opens one at the start of a turn."""
        for _ in range(TRIES):
            if not windows.starts(view):
                return view
            write = windows.opened(view, None, None)
            answer = await self._unit.attempt(view.session.home, write)
            if answer.refusal is None:
                return after(view, write, answer.moved[0], answer.now)
            view = await self._reader.load(view.id)
        return view

    # -- waiting ---------------------------------------------------------------------------------------------------

    async def wait(self, view: View, turn: int | None) -> Turn:
        """The record of a turn, as soon as its window is closed; whoever waits closes it when its time has come."""
        wanted = turn
        if wanted is None:
            wanted = view.closed + 1 if view.window is not None and view.place != "ended" else view.closed
        engine, phase = self._unit.engine, view.session.phase
        while True:
            view = await self.settled(view)
            if view.closed >= wanted:
                return await self._reader.turn(view, wanted)
            if view.window is None or wanted != view.closed + 1:
                raise self._nothing(view, wanted, cancelled=view.session.phase != phase)
            tip, now = await engine.tip(), view.session.phase
            view = await self._reader.load(view.id)
            if view.session.phase == now and not view.overdue and view.complete is None:
                await engine.changed(tip, self._patience(view), session=view.id)
                view = await self._reader.load(view.id)

    @staticmethod
    def _patience(view: View) -> float:
        """Seconds until there is something to look at."""
        if view.session.deadline is None:
            return 1.0
        return min(1.0, max(0.001, (view.session.deadline - view.now) / 1_000_000))

    @staticmethod
    def _nothing(view: View, wanted: int, *, cancelled: bool) -> Exception:
        if view.place == "ended":
            return EndedError(f"the game ended before turn {wanted} was closed.")
        if cancelled:
            return ConflictError(f"the window of turn {wanted} was cancelled.")
        return NotFoundError(f"turn {wanted} of game {view.id} is neither open nor closed.", hint=f"{view.closed} are closed.")


def _is_there(place: tuple[str, str], view: View) -> bool:
    """Whether a game is still the one that is meant: a channel may show another one by now."""
    kind, name = place
    return kind == "game" or view.data["channel"] == name


def _speaks_again(seen: Seen, press: Press) -> bool:
    """Whether a press changes one that is known; what is not known, and what locks, the commit finds out."""
    return press.user_id in seen.spoken and seen.view.policy.change == "last_wins"


def _answer(status: ChoiceStatus, view: View) -> Submitted:
    window = None if view.place in ("shelved", "ended") else window_of(view)
    return Submitted(status, False, None if window is None else window.remaining, view.closed + 1)
