"""Which state a workspace is in: from what is stored, the time, and what its holder's host says. Pure; imports nothing heavy.

Only an end is ever stored. Idle, lost and stale follow from times, so nothing has to run for them to come about, and a prompt
can tell them from one row.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

WorkspaceState: TypeAlias = Literal["active", "idle", "lost", "expired", "ended"]

IDLE_AFTER = 15 * 60 * 1_000_000
"""The default of ``WorkspacePolicy.idle_after`` in microseconds."""


def is_open(stored: str, deadline: int | None, now: int) -> bool:
    """Whether a session is neither ended nor expired, swept or not. ``stored`` is the state in its row."""
    return stored == "active" and (deadline is None or now < deadline)


def is_lost(active_at: int, hold_ttl: int | None, now: int, gripped: bool | None) -> bool:
    """Whether the process that held it is gone: nothing on its host holds it, or it has missed its heartbeats.

    ``hold_ttl``: how long a holder may be silent, None for what nobody holds, which is never lost. ``gripped``: whether a
    process of this host holds it, None where another host has to know.
    """
    return hold_ttl is not None and (gripped is False or now - active_at >= hold_ttl)


def state_of(
    stored: str,
    active_at: int,
    deadline: int | None,
    now: int,
    *,
    hold_ttl: int | None = None,
    gripped: bool | None = None,
    idle_after: int | None = IDLE_AFTER,
) -> WorkspaceState:
    """The state, all times in microseconds. ``now`` must not be before the session's own ``mark``."""
    if stored == "ended":
        return "ended"
    if not is_open(stored, deadline, now):
        return "expired"
    if is_lost(active_at, hold_ttl, now, gripped):
        return "lost"
    return "idle" if idle_after is not None and now - active_at >= idle_after else "active"


def over_at(state: WorkspaceState, deadline: int | None, ended_at: int | None) -> int | None:
    """When it was over: an expired one when it went stale, whenever that was noticed."""
    if state != "expired":
        return ended_at
    return min(moment for moment in (deadline, ended_at) if moment is not None)
