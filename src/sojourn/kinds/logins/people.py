"""The user's record: one hidden session in each user's home, by which what concerns several logins of a user is decided.

Its version moves with every sign-in and every change of who holds which character, so a commit that was decided from a list
of the user's logins names the version it had seen before it looked. Its phase moves with a revocation of all, so that a
sign-in that was decided before is decided again. In the store's own directory it also has the user's name and characters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sojourn.core.batch import Change, Create, Deadline, Guard, Point, Write
from sojourn.core.codec import Json, Schema
from sojourn.core.session import Alias, AliasKey, Session
from sojourn.shell.unit import Unit

USER: Final = "user"
"""The kind of the record."""
RECORD: Final = "login.user"
SCHEMA: Final = Schema(1)


@dataclass(frozen=True, slots=True)
class Person:
    """A user's record as one read saw it."""

    user: str
    now: int
    alias: Alias
    session: Session | None

    @property
    def data(self) -> dict[str, Json]:
        """The record's document."""
        return {} if self.session is None else SCHEMA.read(self.session.data)

    @property
    def generation(self) -> int:
        """How often everything of the user was revoked."""
        return 0 if self.session is None else self.session.phase

    @property
    def leaving(self) -> bool:
        """The user is being removed."""
        return bool(self.data.get("leaving"))

    @property
    def version(self) -> int | None:
        """The record's version, None when there is none yet."""
        return None if self.session is None else self.session.version


class People:
    """The records of one store and tenant."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit

    async def person(self, user: str) -> Person:
        """A user's record, one round trip.

        The time is the clock's, by which the user's logins are judged; that of the record may be ahead of it, when the record
        was changed before a clock was set back. Then it is one more.
        """
        found = await self._unit.follow(user, RECORD, user)
        behind = found.session is not None and found.now <= found.session.mark
        now = await self._unit.engine.now() if behind else found.now
        alias = found.alias or Alias(AliasKey(user, RECORD, user), None, 0)
        return Person(user, now, alias, found.session)

    def changed(
        self,
        person: Person,
        change: str,
        *,
        exact: bool = True,
        values: tuple[tuple[tuple[str, ...], Json], ...] = (),
        unset: tuple[tuple[str, ...], ...] = (),
        revoking: bool = False,
        deadline: Deadline | None = None,
        stamp: tuple[str, ...] = (),
    ) -> tuple[Change, ...]:
        """Move a user's record on; refused when it moved meanwhile (unless ``exact``: only when all was revoked meanwhile)."""
        if person.session is not None:
            guard = Guard(phase=person.session.phase, version=person.session.version if exact else None)
            return (
                Write(
                    person.session.id,
                    guard,
                    set=values,
                    unset=unset,
                    next_phase=revoking,
                    deadline=deadline,
                    stamp=stamp,
                    change=change,
                ),
            )
        data: dict[str, Any] = {"v": SCHEMA.version}
        for path, value in values:
            inner = data
            for step in path[:-1]:
                inner = inner.setdefault(step, {})
            inner[path[-1]] = value
        made = Create(
            self._unit.new_id(person.user), USER, person.user, data=data, stamp=stamp, deadline=deadline, change=change
        )
        return made, Point(person.alias.key, made.id, person.alias.epoch)
