"""What callers see of a game: frozen values, times as aware datetimes."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Literal, TypeAlias

from sojourn.core.codec import Json, check_number, check_text
from sojourn.core.times import span
from sojourn.errors import InvalidValueError

GameState: TypeAlias = Literal["lobby", "active", "paused", "ended"]
Role: TypeAlias = Literal["player", "gm", "spectator"]
Tier: TypeAlias = Literal["active", "idle", "dormant"]
ChoiceStatus: TypeAlias = Literal[
    "accepted", "replaced", "duplicate", "locked", "late", "carried", "paused", "not_seated", "invalid", "rate_limited"
]
CloseReason: TypeAlias = Literal["deadline", "all", "quorum", "gm"]

SUMMARY: Final = 500
"""Characters of a narration that a history shows."""


@dataclass(frozen=True, slots=True)
class Window:
    """The open turn, as of one read."""

    turn: int
    opened_at: datetime
    deadline: datetime | None
    """When it closes at the latest; None while it is paused, and where the policy has no countdown."""
    remaining: timedelta | None
    """Until the deadline; while it is paused, what will be left when it goes on."""
    choices_made: int
    """Players who have chosen."""
    expected: tuple[str, ...]
    """Who is waited for, fixed when it opened."""
    paused: bool
    options: tuple[str, ...] | None = None
    """The only valid choices; None where any text is one."""
    default: str | None = None
    """What is chosen for who does not choose, under ``on_timeout="default"``."""


@dataclass(frozen=True, slots=True)
class Player:
    """Somebody in the roster of a game."""

    user_id: str
    user_name: str
    joined_turn: int
    """Turns that were closed when they joined."""
    last_active_at: datetime
    last_active_turn: int
    consecutive_skips: int
    role: Role
    seat: int | None
    """From 1; None for who does not play."""


@dataclass(frozen=True, slots=True)
class Game:
    """One saved playthrough, as of one read."""

    id: str
    name: str
    channel_id: str | None
    """Where it is shown; None when it is shelved or ended."""
    last_channel_id: str
    state: GameState
    turn: int
    """Closed turns so far."""
    players: dict[str, Player]
    """By user id, in join order."""
    crown_holder: str | None
    title_screen_url: str
    window: Window | None
    seed: int
    metadata: dict[str, Json]
    created_at: datetime
    last_activity_at: datetime
    version: int
    damaged: str = ""
    """What of the stored record cannot be understood; empty for a sound one."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A closed turn."""

    number: int
    choices: dict[str, str]
    """By user id, in the order of the presses; what was filled in on timeout comes last."""
    narrative_summary: str
    """The first 500 characters of the narration; empty until there is one."""
    opened_at: datetime
    closed_at: datetime
    closed_by: str | None
    """Who brought the last choice or closed it by hand; None for the house and for the deadline."""
    reason: CloseReason
    state: Literal["closed", "narrating", "resolved"]
    deadline: datetime | None = None
    """What its deadline was when it closed."""
    filled: tuple[str, ...] = ()
    """Who did not choose, and has a choice by the policy."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """What became of a press. ``turn`` is the turn it counts in, or else the one that is open or comes next."""

    status: ChoiceStatus
    first: bool
    """True for exactly one press of a turn."""
    remaining: timedelta | None
    """Until the turn's deadline."""
    turn: int


@dataclass(frozen=True, slots=True)
class Swapped:
    """What a swap put on the shelf, if the channel showed a game, and what the channel shows now."""

    shelved: Game | None
    game: Game


@dataclass(frozen=True, slots=True)
class Narration:
    """A claim on a closed turn: pass ``token`` to `record_turn`, which refuses it once the claim has run out."""

    turn: Turn
    token: int
    expires_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class GamePolicy:
    """How a game is played; kept with the game when it is booted. None in a limit means there is none."""

    countdown: timedelta | None = timedelta(seconds=10)
    """From the opening of a window to its deadline; None: it closes by the others' choices or by hand."""
    open_on: Literal["first_choice", "turn_start", "manual"] = "first_choice"
    """What opens a window: a press; the narration of the turn before (the first: somebody who joins); `open_window` only."""
    close_when: Literal["deadline", "all", "quorum"] = "deadline"
    """What closes a window before its deadline: nothing; everybody expected has chosen; ``quorum`` players have."""
    quorum: int | None = None
    """How many players close a window under ``close_when="quorum"``; never more than are expected."""
    grace: timedelta = timedelta(0)
    """So long after the deadline a press still counts."""
    change: Literal["last_wins", "first_locks"] = "last_wins"
    """What becomes of a second press of one player in a turn: it replaces the first, or is refused as ``locked``."""
    late: Literal["next", "reject"] = "next"
    """What becomes of a press after the deadline: it counts in the next turn, or nowhere."""
    on_timeout: Literal["skip", "default", "repeat", "random"] = "skip"
    """What is chosen for who was expected and did not choose: nothing, the window's default, their choice of the turn before,
    one of the window's options by the game's seed."""
    history_limit: int | None = 50
    """Turns that a history shows at most; older ones stay stored."""
    active_within: tuple[int, timedelta] = (2, timedelta(minutes=15))
    """A player is active within so many turns, or so much time, of their last press."""
    idle_within: tuple[int, timedelta] = (5, timedelta(hours=1))
    """A player is idle, and not dormant, within so many turns, or so much time. Dormant players are not waited for."""
    gm_name: str = "the GM"
    """What the house is called where nobody wears the crown."""
    max_players: int | None = 200
    """Players in a game; game masters and spectators do not count."""
    max_choice_length: int | None = 2_000
    """Characters of a choice."""
    max_text: int | None = 1_000_000
    """Bytes of a narration."""
    max_metadata: int | None = 256_000
    """Bytes of metadata, as JSON."""
    seated_only: bool = False
    """Only who has joined may choose; otherwise a press joins."""
    min_interval: timedelta | None = None
    """Between two presses of one player."""
    shelve_after: timedelta | None = None
    """A game without activity for so long leaves its channel."""

    def __post_init__(self) -> None:
        self._check_words()
        for name in ("history_limit", "max_players", "max_choice_length", "max_text", "max_metadata", "quorum"):
            if getattr(self, name) is not None:
                check_number(getattr(self, name), name, 1)
        for name in ("countdown", "grace", "min_interval", "shelve_after"):
            if getattr(self, name) is not None:
                span(getattr(self, name), name)
        for name in ("active_within", "idle_within"):
            turns, duration = getattr(self, name)
            check_number(turns, name)
            span(duration, name)
        check_text(self.gm_name, "gm_name", 128)
        if (self.close_when == "quorum") != (self.quorum is not None):
            raise InvalidValueError('close_when="quorum" and quorum=… belong together.')

    def _check_words(self) -> None:
        allowed = {
            "open_on": ("first_choice", "turn_start", "manual"),
            "close_when": ("deadline", "all", "quorum"),
            "change": ("last_wins", "first_locks"),
            "late": ("next", "reject"),
            "on_timeout": ("skip", "default", "repeat", "random"),
            "seated_only": (True, False),
        }
        for name, words in allowed.items():
            if getattr(self, name) not in words:
                raise InvalidValueError(f"{name} must be one of {', '.join(map(str, words))}, got {getattr(self, name)!r}.")


@dataclass(frozen=True, slots=True)
class Press:
    """A choice that was asked for, as it is decided on."""

    user_id: str
    user_name: str
    choice: str
    expect_turn: int | None = None
    key: str | None = None
    fingerprint: str = ""
    unfit: str = field(default="", compare=False)
    """Why no window could take it; empty for a plain choice."""
