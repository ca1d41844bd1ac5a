"""The rules of a window: how it opens, takes presses, stands still and closes once. Pure: no clock, no random, no I/O.

A press commits only while the phase it was decided in lasts, before the deadline, and while nothing has moved that it must
have seen (`record.RULES`). A close is one commit under the version that its choices were read at, and moves the phase: so
what it records is exactly what was accepted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Final, TypeAlias

from sojourn.core.batch import Deadline, Guard, NewEntry, Path, Write
from sojourn.core.codec import Json, check_text, encode
from sojourn.core.session import Session
from sojourn.core.times import LONGEST
from sojourn.errors import ConflictError, InvalidValueError, SojournError
from sojourn.kinds.games import roster
from sojourn.kinds.games.model import ChoiceStatus, CloseReason, Press
from sojourn.kinds.games.record import (
    BUCKET,
    CHOICE,
    NEED,
    OPENED,
    RULES,
    RULES_COUNTER,
    STRIDE,
    TURN,
    View,
    is_told,
    merged,
    retagged,
    span_of,
)
from sojourn.kinds.games.transitions import step

MAX_OPTIONS: Final = 1000


@dataclass(frozen=True, slots=True)
class Refused:
    """The press is not taken."""

    status: ChoiceStatus


@dataclass(frozen=True, slots=True)
class CloseFirst:
    """The window's time has passed: it must be closed before anything else."""


@dataclass(frozen=True, slots=True)
class Commit:
    """The press as it is to be committed; ``carried`` says that it was meant for a turn that is over."""

    write: Write
    carried: bool


Decision: TypeAlias = Refused | CloseFirst | Commit


# -- presses -----------------------------------------------------------------------------------------------------------


def check_press(user: object, name: object, choice: object, expect_turn: object) -> Press:
    """A press as it is decided on; a choice that no window could take is kept with the reason, for that is an answer."""
    who = roster.check_user(user)
    shown = roster.check_user_name(name, who)
    if expect_turn is not None and (not isinstance(expect_turn, int) or isinstance(expect_turn, bool) or expect_turn < 1):
        raise InvalidValueError(f"expect_turn must be a turn's number, got {expect_turn!r}.")
    try:
        text = check_text(choice, "choice")
    except SojournError as error:
        if not isinstance(choice, str):
            raise
        return Press(who, shown, "", expect_turn, unfit=str(error))
    return Press(who, shown, text, expect_turn, unfit="" if text.strip() else "the choice is empty.")


def decide(view: View, press: Press, *, carried: bool = False, spoken: bool = False) -> Decision:
    """What becomes of a press. ``carried``: its window closed under it. ``spoken``: the player has chosen in this window."""
    place = view.place
    if place in ("shelved", "paused", "ended") or (place == "held" and not _wakes(view)):
        return Refused("paused")
    row = step(place, "press")
    if view.overdue:
        return CloseFirst()
    late = _late(view, press)
    if late is not None:
        return Refused(late)
    carried = carried if press.expect_turn is None else press.expect_turn <= view.closed
    if carried and view.policy.late == "reject":
        return Refused("late")
    window = view.window
    refused = _unfit(view, press) or _unseated(view, press)
    if refused is None and window is None and view.policy.open_on != "first_choice" and not _begun(view):
        refused = "late"
    if refused is None and window is not None and window["options"] is not None and press.choice not in window["options"]:
        refused = "invalid"
    if refused is None and _too_soon(view, press):
        refused = "rate_limited"
    if refused is not None:
        return Refused(refused)
    return Commit(_press(view, press, row.change, spoken=spoken), carried)


def _wakes(view: View) -> bool:
    """The window came with an import, and goes on with the next press."""
    return bool(view.window and view.window.get("hold")) and not view.data["paused"]


def _late(view: View, press: Press) -> ChoiceStatus | None:
    if press.expect_turn is None or press.expect_turn == view.closed + 1:
        return None
    if press.expect_turn > view.closed + 1:
        return "invalid"
    return "late" if view.policy.late == "reject" else None


def _unfit(view: View, press: Press) -> ChoiceStatus | None:
    limit = view.policy.max_choice_length
    return "invalid" if press.unfit or (limit is not None and len(press.choice) > limit) else None


def _unseated(view: View, press: Press) -> ChoiceStatus | None:
    known = view.players.get(press.user_id)
    if known is not None:
        return None if known["role"] == "player" else "not_seated"
    return "not_seated" if view.policy.seated_only or roster.is_full(view) else None


def _too_soon(view: View, press: Press) -> bool:
    if view.policy.min_interval is None:
        return False
    last = view.players.get(press.user_id, {}).get("pressed")
    for entry in view.choices:
        if entry.author == press.user_id:
            last = entry.created_at
    return last is not None and view.now - last < span_of(view.policy.min_interval)


def _press(view: View, press: Press, change: str, *, spoken: bool) -> Write:
    """The commit of a press. What opens or wakes a window, or brings somebody new, is decided under the version."""
    known = view.players.get(press.user_id)
    window = view.window
    put: list[tuple[Path, Json]] = []
    if known is None:
        who = roster.Joining(press.user_id, press.user_name)
        put.extend(roster.arrival(view, who))
    elif known["name"] != press.user_name:
        put.append((("players", press.user_id, "name"), press.user_name))
    exact = known is None or window is None or view.place == "held" or view.policy.min_interval is not None
    counters: tuple[tuple[str, int], ...] = ()
    add: tuple[tuple[str, int], ...] = ()
    stamp: tuple[str, ...] = ()
    deadline: Deadline | None = None
    if window is None:
        waited = roster.expected(view)
        if known is None:
            waited.append(press.user_id)
        put.append((("window",), window_document(view.session, waited)))
        counters, stamp, deadline = ((NEED, need(view, waited)),), (OPENED,), countdown(view)
    else:
        if view.place == "held":
            put.extend(((("window", "left"), None), (("window", "hold"), False)))
            deadline = _resumed(view)
        if view.policy.close_when == "all" and not spoken and press.user_id not in window["expected"]:
            add = ((NEED, 1),)
    return Write(
        view.id,
        Guard(
            timely=True,
            phase=view.session.phase,
            version=view.session.version if exact else None,
            silent=None if spoken else press.user_id,
            fence=(RULES, view.session.counters.get(RULES_COUNTER, 0)),
        ),
        entries=(NewEntry(CHOICE, str(view.closed + 1), author=press.user_id, text=press.choice, counted=True),),
        set=tuple(put),
        add=add,
        put=counters,
        stamp=stamp,
        tag=(roster.player_tag(press.user_id),) if known is None else (),
        deadline=deadline,
        active=BUCKET,
        change=change,
        reason=" ".join(("joined",) * (known is None) + ("opened",) * (window is None)),
    )


# -- opening -----------------------------------------------------------------------------------------------------------


def window_document(
    session: Session, waited: list[str], options: list[str] | None = None, default: str | None = None
) -> dict[str, Json]:
    """A window as it is stored; its deadline is the session's, and its choices begin behind what is there now."""
    return {
        "first": session.last_sequence + 1,
        "expected": waited,
        "options": options,
        "default": default,
        "left": None,
    }


def need(view: View, waited: list[str]) -> int:
    """With how many distinct players a window is complete; 0 for never."""
    if view.policy.close_when == "quorum":
        return max(1, min(view.policy.quorum or 1, len(waited)))
    return len(waited) if view.policy.close_when == "all" else 0


def countdown(view: View) -> Deadline | None:
    """The deadline of a window that opens now."""
    policy = view.policy
    return None if policy.countdown is None else Deadline(after=span_of(policy.countdown) + span_of(policy.grace))


def check_options(options: object, default: object, limit: int | None) -> tuple[list[str] | None, str | None]:
    """What may be chosen in a window, and what is chosen for who does not."""
    found: list[str] | None = None
    if options is not None:
        if isinstance(options, str) or not isinstance(options, (list, tuple)) or not options:
            raise InvalidValueError(f"options must be a list of texts, got {options!r:.200}.")
        found = [_choice(option, "an option", limit) for option in options]
        if len(set(found)) < len(found) or len(found) > MAX_OPTIONS:
            raise InvalidValueError(f"options must be at most {MAX_OPTIONS} different texts.")
    kept = None if default is None else _choice(default, "default", limit)
    if found is not None and kept is not None and kept not in found:
        raise InvalidValueError(f"the default {kept!r} is not one of the options.")
    return found, kept


def _choice(text: object, name: str, limit: int | None) -> str:
    kept = check_text(text, name)
    if not kept.strip() or (limit is not None and len(kept) > limit):
        raise InvalidValueError(f"{name} must have 1 to {limit or 'any number of'} characters.")
    return kept


def opened(view: View, options: list[str] | None, default: str | None) -> Write:
    """A window is opened by hand; where one is open, what it offers is replaced."""
    row = step(view.place, "open")
    guard = Guard(version=view.session.version)
    if view.window is not None:
        put: tuple[tuple[Path, Json], ...] = ((("window", "options"), options), (("window", "default"), default))
        return Write(view.id, guard, set=put, add=((RULES_COUNTER, 1),), change=row.change)
    waited = roster.expected(view)
    return Write(
        view.id,
        guard,
        set=((("window",), window_document(view.session, waited, options, default)),),
        put=((NEED, need(view, waited)),),
        stamp=(OPENED,),
        deadline=countdown(view),
        active=BUCKET,
        change=row.change,
    )


def starts(view: View) -> bool:
    """Whether the next window opens by itself now: at the start of a turn, with somebody there."""
    return _begun(view) and any(kept["role"] == "player" for kept in view.players.values())


def _begun(view: View) -> bool:
    """Whether a turn has begun whose window the policy opens: there is none yet, or the one before is narrated."""
    if view.policy.open_on != "turn_start" or view.place != "between":
        return False
    return view.closed == 0 or is_told(view.data, view.closed)


# -- standing still ----------------------------------------------------------------------------------------------------


def left(view: View) -> int | None:
    """What is left of the countdown, without the grace; None where there is none."""
    window = view.window
    if window is None:
        return None
    if view.place != "open" or view.session.deadline is None:
        kept: int | None = window["left"]
        return kept
    return max(0, view.session.deadline - span_of(view.policy.grace) - view.now)


def _resumed(view: View) -> Deadline | None:
    rest = left(view)
    return None if rest is None else Deadline(after=rest + span_of(view.policy.grace))


def halted(view: View) -> tuple[list[tuple[Path, Json]], tuple[Path, ...]]:
    """What stops the game's time: the window keeps what is left, the roster what the players have done."""
    put, gone = roster.folded(view, view.closed + 1)
    found = [*put, *_told(view)]
    if view.window is not None:
        found.append((("window", "left"), left(view)))
    if view.data["still"] is None:
        found.append((("still",), view.now))
    return found, gone


def _told(view: View) -> tuple[tuple[Path, Json], ...]:
    if not view.data["told"]:
        return ()
    return ((("through",), merged(view.data["through"], map(int, view.data["told"]))),)


def going(view: View) -> list[tuple[Path, Json]]:
    """What lets the game's time go on."""
    if view.data["still"] is None:
        return []
    return [(("stood",), view.data["stood"] + max(0, view.now - view.data["still"])), (("still",), None)]


def paused(view: View) -> Write:
    """The game stands still: presses are refused, the window keeps what is left."""
    row = step(view.place, "pause")
    put, gone = halted(view)
    write = Write(
        view.id,
        Guard(version=view.session.version),
        set=(*put, (("paused",), True)),
        unset=gone,
        add=((RULES_COUNTER, 1),),
        deadline=Deadline(),
        change=row.change,
    )
    return retagged(write, view, view.data["channel"], "paused")


def unpaused(view: View) -> Write:
    """The game goes on with what was left."""
    row = step(view.place, "unpause")
    put = [*going(view), (("paused",), False)]
    deadline = None
    if view.window is not None:
        put.extend(((("window", "left"), None), (("window", "hold"), False)))
        deadline = _resumed(view)
    write = Write(
        view.id,
        Guard(version=view.session.version),
        set=tuple(put),
        add=((RULES_COUNTER, 1),),
        deadline=deadline,
        change=row.change,
    )
    return retagged(write, view, view.data["channel"], "active")


def extended(view: View, more: int) -> Write:
    """The countdown is longer."""
    row = step(view.place, "extend")
    guard = Guard(version=view.session.version)
    rest = left(view)
    if rest is None:
        raise ConflictError("the window has no countdown to extend.", hint="Policy: countdown=None.")
    if rest + more > LONGEST:
        raise InvalidValueError("a countdown lasts 1,000 years at most.")
    if view.place == "held":
        return Write(view.id, guard, set=((("window", "left"), rest + more),), change=row.change)
    assert view.session.deadline is not None  # noqa: S101  # left() has just seen it
    return Write(view.id, guard, deadline=Deadline(at=view.session.deadline + more), change=row.change)


# -- closing -----------------------------------------------------------------------------------------------------------


def closed(view: View, reason: CloseReason, by: str | None, before: Mapping[str, str]) -> Write:
    """The turn and the end of its window: what was chosen, what is filled in, who was active. ``before``: the last turn's."""
    row = step(view.place, "close")
    number = view.closed + 1
    put, gone = roster.folded(view, number)
    changes = [*put, *_told(view), (("turn",), number), (("window",), None)]
    return Write(
        view.id,
        Guard(phase=view.session.phase, version=view.session.version, due=reason == "deadline"),
        entries=(_turn_entry(view, number, reason, by, before),),
        set=tuple(changes),
        unset=gone,
        mark=((("marks", str(number // STRIDE)),) if number % STRIDE == 0 else ()),
        put=((NEED, 0),),
        deadline=Deadline(),
        next_phase=True,
        change=row.change,
        reason=reason,
    )


def _turn_entry(view: View, number: int, reason: CloseReason, by: str | None, before: Mapping[str, str]) -> NewEntry:
    window = view.window or {}
    deadline = view.session.deadline
    if deadline is not None:
        deadline -= span_of(view.policy.grace)
    numbers = {user: kept["n"] for user, kept in view.players.items()}
    kept: dict[str, Json] = {
        "opened": view.session.counters.get(OPENED, view.session.created_at),
        "deadline": deadline,
        "reason": reason,
        "by": numbers.get(by) if by is not None else None,
        "expected": [numbers[user] for user in window["expected"] if user in numbers],
    }
    filled = _filled(view, number, before)
    if filled:
        kept["filled"] = {str(numbers[user]): text for user, text in filled.items()}
    first, last = window["first"], view.session.last_sequence
    return NewEntry(TURN, str(number), data=encode(kept, "turn"), covers=(first, last) if first <= last else None)


def _filled(view: View, number: int, before: Mapping[str, str]) -> dict[str, str]:
    """What who was expected and has not chosen gets by the policy."""
    window = view.window or {}
    chosen = {entry.author for entry in view.choices}
    silent = [user for user in window["expected"] if user not in chosen and user in view.players]
    way, options, default = view.policy.on_timeout, window["options"], window["default"]
    if way == "default" and default is not None:
        return {user: default for user in silent}  # noqa: C420  # its values are texts
    if way == "repeat":
        return {user: before[user] for user in silent if user in before and (options is None or before[user] in options)}
    if way == "random" and options:
        seed = view.data["seed"]
        return {user: Random(f"{seed}/{number}/{user}").choice(options) for user in silent}  # noqa: S311  # a game's dice
    return {}
