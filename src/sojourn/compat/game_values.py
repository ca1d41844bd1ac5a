"""What the bot's game session module hands around: tiers, players, turns."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import Enum
from typing import Any


class ActivityTier(Enum):
    """How present a player is."""

    ACTIVE = "active"
    IDLE = "idle"
    DORMANT = "dormant"


@dataclass
class PlayerState:
    """A player; ``last_active`` is seconds since 1970."""

    user_id: str
    user_name: str
    joined_turn: int = 0
    last_active: float = field(default_factory=time.time)
    last_active_turn: int = 0
    consecutive_skips: int = 0

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> PlayerState:
        """From what `to_dict` gave; unknown keys are ignored."""
        return cls(**_known(cls, data))


@dataclass
class TurnRecord:
    """A turn that is over; ``timestamp`` is seconds since 1970."""

    turn: int
    choices: dict[str, str]
    narrative_summary: str = ""
    timestamp: float = field(default_factory=time.time)

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TurnRecord:
        """From what `to_dict` gave; unknown keys are ignored."""
        return cls(**_known(cls, data))


def _known(cls: type[Any], data: Mapping[str, Any]) -> dict[str, Any]:
    names = {item.name for item in fields(cls)}
    return {key: value for key, value in data.items() if key in names}
