"""What a sweep does for workspaces: those that went stale expire."""

from __future__ import annotations

from collections import Counter

from sojourn.core.session import Session
from sojourn.kinds.workspaces import rules
from sojourn.shell.unit import Unit


class WorkspaceSweep:
    """The workspaces' part of ``store.sweep()``."""

    kind = rules.KIND

    def __init__(self, unit: Unit) -> None:
        self._unit = unit

    async def due(self, session: Session) -> Counter[str]:
        """Expire one that nothing was done in; looked at again inside the commit, so that one that is touched stays."""
        answer = await self._unit.attempt(session.home, rules.expired(session, due=True))
        return Counter(expired=answer.refusal is None)

    async def age(self, limit: int, *, dry_run: bool) -> Counter[str]:
        """Nothing but the deadline ends a workspace."""
        del limit, dry_run
        return Counter()
