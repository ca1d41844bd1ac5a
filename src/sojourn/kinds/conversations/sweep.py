"""What a sweep does for conversations: folds that are due, and decay."""

from __future__ import annotations

from collections import Counter

from sojourn.core.batch import Deadline, Guard, Write
from sojourn.core.query import SessionQuery
from sojourn.core.session import Session
from sojourn.core.times import MINUTE
from sojourn.errors import ConflictError, EndedError, NotFoundError, SummariserError
from sojourn.kinds.conversations import rules
from sojourn.kinds.conversations.api import AsyncConversations
from sojourn.kinds.conversations.model import ConversationPolicy
from sojourn.shell.unit import Unit

CLAIM = 2 * MINUTE
"""How long one process may take to summarise before another tries."""

RETRY = 5 * MINUTE
"""How long a failed summariser is left alone."""


class ConversationSweep:
    """The conversations' part of ``store.sweep()``."""

    kind = rules.KIND

    def __init__(self, unit: Unit, policy: ConversationPolicy, conversations: AsyncConversations) -> None:
        self._unit = unit
        self._policy = policy
        self._conversations = conversations

    async def due(self, session: Session) -> Counter[str]:
        """Fold a conversation that is due; claimed first, so that of many processes one asks the summariser."""
        now = await self._unit.engine.now()
        if not await self._postpone(session, Guard(version=session.version, due=True), now + CLAIM):
            return Counter()
        try:
            folded = await self._conversations.consolidate(session.id)
        except SummariserError:
            await self._postpone(session, Guard(), now + RETRY)
            return Counter(fold_failed=1)
        except (ConflictError, EndedError, NotFoundError):  # others changed, closed or deleted it meanwhile
            return Counter()
        return Counter(folded=folded is not None)

    async def _postpone(self, session: Session, guard: Guard, until: int) -> bool:
        write = Write(session.id, guard, deadline=Deadline(at=until), change="fold_claimed")
        return (await self._unit.attempt(session.home, write)).refusal is None

    async def age(self, limit: int, *, dry_run: bool) -> Counter[str]:
        """Decay what is past its age, at most ``limit`` conversations."""
        if not dry_run:
            done = await self._conversations.decay(limit=limit)
            return Counter({"archived" if self._policy.archive else "deleted": done})
        before = rules.decay_cutoff(await self._unit.engine.now(), self._policy)
        if before is None:
            return Counter()
        query = SessionQuery(self._unit.tenant, (rules.KIND,), order="idle", active_before=before, limit=limit)
        rows = await self._unit.engine.list(query)
        due = sum(rules.last_message_at(row) < before for row in rows)
        return Counter({"archived" if self._policy.archive else "deleted": due})
