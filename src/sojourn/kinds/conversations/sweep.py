"""What a sweep does for conversations: folds that are due, and decay."""

from __future__ import annotations

from collections import Counter

from sojourn.core.batch import Deadline, Guard, Lend, Write, Yield
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
        """Fold a conversation that is due; claimed first, so that of many processes one asks the summariser.

        An append makes it due again at once, so the claim is a lease; the deadline keeps it out of the way meanwhile.
        """
        now = await self._unit.engine.now()
        name = f"fold/{session.id}"
        postpone = Write(session.id, Guard(due=True), deadline=Deadline(at=now + CLAIM), change="fold_claimed")
        claim = await self._unit.attempt(session.home, Lend(name, "sweep", CLAIM), postpone)
        if claim.refusal is not None:
            return Counter()
        (fence,) = claim.fences
        try:
            folded = await self._conversations.consolidate(session.id)
        except SummariserError:
            later = Write(session.id, Guard(), deadline=Deadline(at=now + RETRY), change="fold_failed")
            await self._unit.attempt(session.home, Lend(name, "sweep", RETRY, fence), later)
            return Counter(fold_failed=1)
        except (ConflictError, EndedError, NotFoundError):  # others changed, closed or deleted it meanwhile
            folded = None
        await self._unit.attempt(session.home, Yield(name, fence))
        return Counter(folded=folded is not None)

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
