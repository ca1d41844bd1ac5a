"""What callers of workspaces see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, TypeAlias, cast

from sojourn.core.codec import Json, check_number
from sojourn.core.times import span
from sojourn.errors import InvalidValueError
from sojourn.kinds.workspaces.places import Source
from sojourn.kinds.workspaces.standing import WorkspaceState

Pointed: TypeAlias = Literal["agent", "terminal", "project"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Workspace:
    """A session of somebody at work in a project."""

    id: str
    role: str
    base_role: str
    """The built-in role that it counts under."""
    name: str
    system: bool
    """A program's own session, not somebody's: it has no pointer and is not counted."""
    project_id: str
    state: WorkspaceState
    """``active`` or ``idle`` (live), ``lost`` (its holder is gone), ``expired`` or ``ended`` (over)."""
    created_at: datetime
    last_activity_at: datetime
    expires_at: datetime | None
    """When it goes stale unless something is done in it; None where the policy lets none."""
    ended_at: datetime | None
    end_reason: str
    actor: str | None
    """Who delegated the work; `erase` of that person removes the session."""
    held: bool
    """A living process holds it."""
    metadata: dict[str, Json] = field(default_factory=dict)
    version: int = 0
    pointer: Pointed | None = None
    """Only in the answer of what points at it (`start`, `use`, `resume`): which pointer does now."""
    hint: str = ""
    """Only in such an answer: how to go on where no pointer was moved."""

    @property
    def live(self) -> bool:
        """Whether it is active or idle."""
        return self.state in ("active", "idle")


@dataclass(frozen=True, slots=True)
class Resolved:
    """A session, and what led to it."""

    workspace: Workspace
    source: Source


@dataclass(frozen=True, slots=True)
class Role:
    """A role of a project; ``base`` is the built-in role it counts under (itself for a built-in one)."""

    name: str
    base: str
    builtin: bool


@dataclass(frozen=True, slots=True)
class Claim:
    """What a session has claimed. Claims of other sessions that overlap are refused until it is free."""

    resource: str
    """A path in the project, which covers what is below it, or any other name."""
    session_id: str
    name: str
    """The session's name."""
    fence: int
    """The fencing number: higher than that of every earlier claim in the project."""
    expires_at: datetime
    ttl: timedelta
    project_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkspacePolicy:
    """When sessions go idle and stale, and how many there may be. None in a limit means there is none."""

    stale_after: timedelta | None = timedelta(hours=4)
    """A session expires when nothing was done in it for so long."""
    idle_after: timedelta | None = timedelta(minutes=15)
    """A live session shows as idle when nothing was done in it for so long."""
    heartbeat_every: timedelta = timedelta(seconds=30)
    """`load_active` marks activity at most so often; a holder does always, and is lost when it has missed three."""
    max_active_per_role: Mapping[str, int] = field(default_factory=dict)
    """At most so many live sessions of a role, or of the roles that count under it; system sessions are not counted."""
    max_claims: int | None = 1000
    """At most so many claims in a project."""
    max_metadata: int | None = 256_000
    """Bytes of metadata as JSON."""

    def __post_init__(self) -> None:
        for name in ("stale_after", "idle_after", "heartbeat_every"):
            value: timedelta | None = getattr(self, name)
            if value is None and name != "heartbeat_every":
                continue
            if span(cast("timedelta", value), name) == 0:
                raise InvalidValueError(f"{name} must be longer than nothing.")
        for name in ("max_claims", "max_metadata"):
            if getattr(self, name) is not None:
                check_number(getattr(self, name), name)
        if not isinstance(self.max_active_per_role, Mapping):
            raise InvalidValueError(f"max_active_per_role must map roles to numbers, got {self.max_active_per_role!r}.")
        for role, most in self.max_active_per_role.items():
            check_number(most, f"max_active_per_role[{role!r}]")
