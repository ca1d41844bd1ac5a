"""The rules of saves, forks and rewinds: what was played is shared, never copied, and what lies behind a cut is not seen."""

from __future__ import annotations

from typing import Any

from sojourn.core.batch import Create, Deadline, Guard, NewEntry, Write
from sojourn.core.codec import Json, check_number
from sojourn.errors import NotFoundError
from sojourn.kinds.games.record import BUCKET, CANCELLED, KIND, NEED, STRIDE, View, tags_of
from sojourn.kinds.games.roster import folded, player_tag
from sojourn.kinds.games.transitions import step


def check_turn(view: View, turn: object, name: str) -> int:
    """A number of closed turns that the game has had, 0 for its beginning."""
    number = check_number(turn, name)
    if number > view.closed:
        raise NotFoundError(f"game {view.id} has no turn {number}.", hint=f"It has closed {view.closed}.")
    return number


def _until(view: View, turn: int) -> dict[str, Json]:
    """The parts of a document that say what was played, as of a turn."""
    data = view.data
    put, _ = folded(view, view.closed + 1)
    players = {**data["players"], **{path[1]: kept for path, kept in put}}
    return {
        "turn": turn,
        "window": None,
        "players": {user: _as_of(kept, turn) for user, kept in players.items()},
        "told": {name: missed for name, missed in data["told"].items() if int(name) <= turn},
        "through": [[first, min(last, turn)] for first, last in data["through"] if first <= turn],
        "marks": {name: sequence for name, sequence in data["marks"].items() if int(name) * STRIDE <= turn},
    }


def _as_of(kept: dict[str, Json], turn: int) -> dict[str, Json]:
    """Somebody in the roster, who cannot have done anything after the turn."""
    return {**kept, **{name: min(kept[name], turn) for name in ("turn", "chose", "joined")}}


def forked(view: View, id: str, turn: int, name: str, slot: str | None = None) -> Create:
    """A new game on the shelf that shares what was played until a turn."""
    data: dict[str, Any] = {**view.data, **_until(view, turn), "name": name}
    for gone in ("telling", "coming", "going", "invites", "slot"):
        data.pop(gone, None)
    data |= {
        "status": "lobby",
        "channel": None,
        "paused": False,
        "before": [],
        "still": view.data["still"] if view.data["still"] is not None else view.now,
        "cuts": [*data.get("cuts", []), [view.session.last_sequence, turn]],
        "forked_from": view.id,
    }
    if slot is not None:
        data["slot"] = slot
    tags = (*tags_of(name, data["last_channel"], "lobby", view.policy), *(player_tag(user) for user in data["players"]))
    return Create(
        id,
        KIND,
        data=data,
        counters={"authors": 0, NEED: 0},
        tags=tags,
        base=(view.id, view.session.last_sequence),
        bucket=BUCKET,
        change="forked",
    )


def rewound(view: View, turn: int) -> Write:
    """The game is as it was after a turn: later ones stay stored and are not seen; an open window is cancelled."""
    row = step(view.place, "rewind")
    window, last = view.window, view.session.last_sequence
    entries: tuple[NewEntry, ...] = ()
    if window is not None:
        covers = (window["first"], last) if window["first"] <= last else None
        entries = (NewEntry(CANCELLED, str(view.closed + 1), covers=covers),)
    changed = _until(view, turn)
    cuts = [*view.data.get("cuts", []), [last, turn]]
    return Write(
        view.id,
        Guard(version=view.session.version),
        entries=entries,
        set=(*(((name,), value) for name, value in changed.items()), (("cuts",), cuts)),
        unset=(("telling",),),
        put=((NEED, 0),),
        deadline=Deadline(),
        next_phase=True,
        change=row.change,
    )
