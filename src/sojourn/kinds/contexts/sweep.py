"""What a sweep does for contexts: large contents that nobody uses any more."""

from __future__ import annotations

from collections import Counter

from sojourn.core.session import Session
from sojourn.kinds.contexts import rules
from sojourn.kinds.contexts.contents import Contents
from sojourn.kinds.contexts.model import ContextPolicy
from sojourn.shell.unit import Unit


class ContentSweep:
    """The contexts' part of ``store.sweep()``."""

    kind = rules.CONTENT

    def __init__(self, unit: Unit, policy: ContextPolicy) -> None:
        self._contents = Contents(unit, policy)

    async def due(self, session: Session) -> Counter[str]:
        """Remove what a delete that was cut short has left."""
        return Counter(freed=await self._contents.clear_due(session))

    async def age(self, limit: int, *, dry_run: bool) -> Counter[str]:
        """Contexts do not age."""
        del limit, dry_run
        return Counter()
