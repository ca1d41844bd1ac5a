"""Every transition of a game, in one place; the rules ask it, and the diagram of the docs is drawn from it.

A game is in one of six states. Three of them show a window: ``open`` (its deadline runs), ``held`` (its deadline stands
still, what was left is stored) and, unseen, ``shelved`` (a window is kept as it was). A transition that moves the phase ends
a chapter: whatever was decided before it is refused by the engine after it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from sojourn.errors import ConflictError, EndedError

Place: TypeAlias = Literal["between", "open", "held", "paused", "shelved", "ended"]
"""``between``: shown, no window. ``open``: a window runs. ``held``: a window stands still. ``paused``: no window may open."""


@dataclass(frozen=True, slots=True)
class Transition:
    """One row: in ``before``, ``act`` leads to one of ``after`` and makes the event ``change``."""

    before: Place
    act: str
    after: tuple[Place, ...]
    change: str
    phase: bool = False
    """It moves the phase."""


TRANSITIONS: Final = (
    Transition("between", "press", ("open",), "chose"),
    Transition("between", "open", ("open",), "opened"),
    Transition("between", "pause", ("paused",), "paused"),
    Transition("between", "shelve", ("shelved",), "shelved"),
    Transition("between", "exit", ("ended",), "exited", phase=True),
    Transition("between", "rewind", ("between",), "rewound", phase=True),
    Transition("open", "press", ("open",), "chose"),
    Transition("open", "open", ("open",), "offered"),
    Transition("open", "extend", ("open",), "extended"),
    Transition("open", "close", ("between",), "closed", phase=True),
    Transition("open", "pause", ("held",), "paused"),
    Transition("open", "shelve", ("shelved",), "shelved"),
    Transition("open", "exit", ("ended",), "exited", phase=True),
    Transition("open", "rewind", ("between",), "rewound", phase=True),
    Transition("held", "press", ("open",), "chose"),
    Transition("held", "extend", ("held",), "extended"),
    Transition("held", "close", ("between", "paused"), "closed", phase=True),
    Transition("held", "unpause", ("open",), "unpaused"),
    Transition("held", "shelve", ("shelved",), "shelved"),
    Transition("held", "exit", ("ended",), "exited", phase=True),
    Transition("held", "rewind", ("between", "paused"), "rewound", phase=True),
    Transition("paused", "unpause", ("between",), "unpaused"),
    Transition("paused", "shelve", ("shelved",), "shelved"),
    Transition("paused", "exit", ("ended",), "exited", phase=True),
    Transition("paused", "rewind", ("paused",), "rewound", phase=True),
    Transition("shelved", "show", ("between", "open", "held", "paused"), "shown"),
    Transition("shelved", "rewind", ("shelved",), "rewound", phase=True),
    Transition("ended", "show", ("between",), "shown"),
)
"""``press`` in ``held``: only of a window that came with an import, which waits for one."""

_ROWS: Final = {(row.before, row.act): row for row in TRANSITIONS}

_WHY: Final = {
    "between": "no window is open",
    "open": "a window is open",
    "held": "the window is paused",
    "paused": "the game is paused",
    "shelved": "the game is on the shelf",
    "ended": "the game has ended",
}


def step(before: Place, act: str) -> Transition:
    """The row of the table; `ConflictError` (`EndedError` for an ended game) where there is none."""
    row = _ROWS.get((before, act))
    if row is not None:
        return row
    if before == "ended":
        raise EndedError(f"cannot {act}: the game has ended.", hint="resume() reopens it.")
    raise ConflictError(f"cannot {act}: {_WHY[before]}.")


def diagram() -> str:
    """The table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", "    [*] --> between: boot"]
    for row in TRANSITIONS:
        label = f"{row.act} (phase)" if row.phase else row.act
        lines.extend(f"    {row.before} --> {after}: {label}" for after in row.after)
    return "\n".join(lines)
