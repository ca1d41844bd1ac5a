"""The rules of where a game is shown: on a channel, on the shelf, or over. Pure: no clock, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sojourn.core.batch import Create, Deadline, Guard, NewEntry, Path, Write
from sojourn.core.codec import Json, check_text, encode
from sojourn.core.session import Alias
from sojourn.errors import InvalidValueError
from sojourn.kinds.games.model import GamePolicy
from sojourn.kinds.games.record import (
    BUCKET,
    CANCELLED,
    KIND,
    NEED,
    RETRY,
    RULES_COUNTER,
    View,
    document,
    retagged,
    span_of,
    tags_of,
)
from sojourn.kinds.games.transitions import step
from sojourn.kinds.games.windows import going, halted

KEPT: Final = 3
"""How many of the games that a channel has shown before are remembered, for presses that are sent again."""


def check_name(name: object) -> str:
    """A game's name: one line of at most 128 characters."""
    text = " ".join(check_text(name, "name").split())
    if not 0 < len(text) <= 128:
        raise InvalidValueError(f"a game's name has 1 to 128 characters, this one has {len(text)}.")
    return text


def check_title(url: object) -> str:
    """Where the title screen is; empty for none."""
    return check_text(url, "title_screen_url", 2048)


def check_metadata(metadata: object, policy: GamePolicy) -> dict[str, Json]:
    """A JSON object within the policy's limit."""
    if not isinstance(metadata, Mapping):
        raise InvalidValueError(f"metadata must be a JSON object (dict), not {type(metadata).__name__}.")
    plain = dict(metadata)
    encode(plain, "metadata", policy.max_metadata)
    return plain


def shown_before(alias: Alias, last: View | None, now: int) -> list[list[Json]]:
    """The games that a channel has shown lately, newest first; ``last`` is the last of them."""
    if last is None:
        return []
    earlier: list[list[Any]] = last.data["before"]
    at = now if alias.target is not None else alias.moved_at
    known: list[list[Any]] = [[last.id, at], *earlier]
    return [pair for pair in known if pair[1] > now - RETRY][:KEPT]


def create(
    id: str, name: str, channel: str, title: str, policy: GamePolicy, seed: int, before: list[list[Json]], *, shown: bool = True
) -> Create:
    """A new game, shown in its channel; or on the shelf, to be shown by what follows."""
    data = document(name, channel, title, policy, seed, {})
    data["before"] = before
    if not shown:
        data |= {"status": "lobby", "channel": None, "coming": channel}
    tags = tags_of(name, channel, "active" if shown else "lobby", policy)
    return Create(id, KIND, data=data, counters={"authors": 0, NEED: 0}, tags=tags, bucket=BUCKET, change="booted")


def coming(view: View, channel: str, before: list[list[Json]]) -> Write:
    """The intent to show a game of another home in this channel, before anything else is moved; and what was shown there."""
    guard = Guard(open=False, version=view.session.version)
    return Write(view.id, guard, set=((("coming",), channel), (("before",), before)), change="coming")


def shelved(view: View, *, goes: tuple[str, str] | None = None) -> Write:
    """The game leaves its channel as it is; its window keeps what is left. ``goes``: the channel, and who takes its place."""
    row = step(view.place, "shelve")
    put, gone = halted(view)
    more: list[tuple[Path, Json]] = [(("status",), "lobby"), (("channel",), None)]
    if goes is not None:
        more.append((("going",), list(goes)))
    write = Write(
        view.id,
        Guard(version=view.session.version),
        set=(*put, *more),
        unset=gone,
        add=((RULES_COUNTER, 1),),
        deadline=Deadline(),
        change=row.change,
    )
    return retagged(write, view, view.data["last_channel"], "lobby")


def shown(view: View, channel: str, before: list[list[Json]] | None = None) -> Write:
    """The game is shown in a channel; a window that the shelf has stopped goes on, one that was paused stays so."""
    row = step(view.place, "show")
    put: list[tuple[Path, Json]] = [(("status",), "active"), (("channel",), channel), (("last_channel",), channel)]
    if before is not None:
        put.append((("before",), before))
    window, halted_by_hand = view.window, view.data["paused"]
    deadline = Deadline()
    if row.before == "ended":  # whoever ended it may not have known what a window is
        window, halted_by_hand = None, False
        put.extend(((("window",), None), (("paused",), False)))
    if not halted_by_hand:
        put.extend(going(view))
        if window is not None and not window.get("hold"):
            put.append((("window", "left"), None))
            left = window["left"]
            deadline = Deadline(after=None if left is None else left + span_of(view.policy.grace))
    write = Write(
        view.id,
        Guard(open=False, version=view.session.version),
        set=tuple(put),
        unset=(("coming",), ("going",)),
        add=((RULES_COUNTER, 1),),
        state="active",
        deadline=deadline,
        active=BUCKET,
        change=row.change,
    )
    return retagged(write, view, channel, "paused" if halted_by_hand else "active")


def exited(view: View) -> Write:
    """The game is over: its window is cancelled (what was chosen stays, as cancelled), its place free."""
    row = step(view.place, "exit")
    put, gone = halted(view)
    window = view.window
    kept = tuple(item for item in put if item[0][0] != "window")
    entries: tuple[NewEntry, ...] = ()
    if window is not None:
        first, last = window["first"], view.session.last_sequence
        entries = (NewEntry(CANCELLED, str(view.closed + 1), covers=(first, last) if first <= last else None),)
    over = ((("status",), "ended"), (("channel",), None), (("window",), None), (("paused",), False))
    write = Write(
        view.id,
        Guard(version=view.session.version),
        entries=entries,
        set=(*kept, *over),
        unset=(*gone, ("coming",), ("going",)),
        put=((NEED, 0),),
        state="ended",
        deadline=Deadline(),
        next_phase=True,
        change=row.change,
    )
    return retagged(write, view, view.data["last_channel"], "ended")
