"""What a sweep does for logins: expired ones are closed, old ones deleted, and what was cut short is finished."""

from __future__ import annotations

from collections import Counter

from sojourn.core.session import Session
from sojourn.kinds.logins import rules
from sojourn.kinds.logins.people import USER, People
from sojourn.kinds.logins.registry import Registry
from sojourn.kinds.logins.revocation import Revocation


class LoginSweep:
    """The logins' part of ``store.sweep()``."""

    kind = rules.KIND

    def __init__(self, revocation: Revocation) -> None:
        self._revocation = revocation

    async def due(self, session: Session) -> Counter[str]:
        """Close a login that is past its deadline, with an event and an entry in its history."""
        return Counter(expired=await self._revocation.expire(session))

    async def age(self, limit: int, *, dry_run: bool) -> Counter[str]:
        """Delete what ended longer ago than the policy keeps it."""
        return Counter(deleted=await self._revocation.aged(limit, dry_run=dry_run))


class UserSweep:
    """What was begun with a user's logins or characters and was cut short."""

    kind = USER

    def __init__(self, people: People, registry: Registry) -> None:
        self._people = people
        self._registry = registry

    async def due(self, session: Session) -> Counter[str]:
        """Finish it."""
        return Counter(resumed=await self._registry.resume(await self._people.person(session.home)))

    async def age(self, limit: int, *, dry_run: bool) -> Counter[str]:
        """Users do not age."""
        del limit, dry_run
        return Counter()
