"""Large contents: each kept once for its scope, found by its digest, gone with its last use.

A content is a hidden session of the scope's home, so one commit stores an artifact, its content, and that it is used.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sojourn.core.batch import Answer, Change, Delete, Guard, Point
from sojourn.core.query import EntryQuery
from sojourn.core.session import Entry, Session
from sojourn.errors import CorruptError
from sojourn.kinds.contexts import rules
from sojourn.kinds.contexts.model import ContextPolicy
from sojourn.kinds.contexts.rules import CONTENT, NewArtifact
from sojourn.shell.unit import Unit


class Contents:
    """The large contents of one store and tenant."""

    def __init__(self, unit: Unit, policy: ContextPolicy) -> None:
        self._unit = unit
        self._policy = policy

    async def use(self, scope: str, new: NewArtifact, uses: int = 1) -> tuple[str | None, tuple[Change, ...]]:
        """Where the content of an artifact is to be kept, None for with it, and the changes that keep it there."""
        if not new.large:
            return None, ()
        key = rules.content_key(scope, new.digest)
        found = await self._unit.follow(scope, key.namespace, key.key)
        if found.session is not None:
            return found.session.id, (rules.use_content(found.session.id, uses),)
        made = self._unit.new_id(scope)
        epoch = 0 if found.alias is None else found.alias.epoch
        return made, (rules.new_content(made, scope, new, self._policy, uses), Point(key, made, epoch))

    async def text(self, id: str) -> str:
        """A content."""
        found = await self._unit.engine.load(self._unit.tenant, id, EntryQuery(limit=1))
        if not found.entries or found.entries[0].text is None:
            raise CorruptError(f"the content {id} of an artifact is not there.", hint="Restore a backup; see 'sojourn doctor'.")
        return found.entries[0].text

    async def texts(self, entries: Iterable[Entry]) -> list[str]:
        """The contents of artifacts; one that several share is read once."""
        known: dict[str, str] = {}
        found = []
        for entry in entries:
            place = rules.stored_in(entry)
            if place is None:
                found.append(entry.text or "")
                continue
            if place not in known:
                known[place] = await self.text(place)
            found.append(known[place])
        return found

    async def clear(self, scope: str, answer: Answer) -> None:
        """Remove the contents whose last use a commit has taken back; what is used again meanwhile stays."""
        for moved in answer.moved:
            if "free" in moved.counters and rules.is_free(moved.counters):
                await self._unit.attempt(scope, Delete(moved.id, Guard(version=moved.version)))

    async def clear_due(self, session: Session) -> bool:
        """Remove one that nobody uses; False when it is used again."""
        if session.kind != CONTENT or not rules.is_free(session.counters):
            return False
        answer = await self._unit.attempt(session.home, Delete(session.id, Guard(version=session.version)))
        return answer.refusal is None


def releases(uses: Mapping[str, int]) -> tuple[Change, ...]:
    """The changes that take back uses."""
    return tuple(rules.release_content(id, count) for id, count in uses.items())
