"""Removing contexts: for good, or only their names."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from sojourn.core.batch import Change, Delete, Guard, Point, Refusal
from sojourn.core.query import READABLE_STATES, SessionQuery
from sojourn.core.session import Session
from sojourn.errors import NotFoundError
from sojourn.kinds.contexts import rules
from sojourn.kinds.contexts.contents import Contents, releases
from sojourn.kinds.contexts.reader import Reader
from sojourn.kinds.contexts.rules import KIND
from sojourn.shell.unit import Unit, perform

_PAGE: Final = 100
_AGAIN: Final = Refusal("version")


class Removal:
    """Removes contexts of one store and tenant."""

    def __init__(self, unit: Unit, contents: Contents, reader: Reader) -> None:
        self._unit = unit
        self._contents = contents
        self._reader = reader

    async def remove(self, id: str) -> Session | None:
        """Remove a context with all it has; as it was, or None when it was gone."""

        async def step() -> list[Session] | Refusal:
            session = (await self._unit.find(id, KIND)).session
            if session is None:
                return []
            try:
                uses = rules.uses_of(await self._reader.stored(session))
            except NotFoundError:  # somebody else has removed it since
                return []
            gone = Delete(session.id, Guard(open=False, version=session.version))
            answer = await self._unit.attempt(session.home, gone, *releases(uses))
            if answer.refusal is not None:
                return _AGAIN
            await self._contents.clear(session.home, answer)
            return [session]

        return next(iter(await perform(step, KIND)), None)

    async def keep(self, id: str) -> bool:
        """Take a context's name away; False when it had none."""

        async def step() -> bool | Refusal:
            session = (await self._unit.find(id, KIND)).session
            if session is None or rules.is_kept(session):
                return False
            name = rules.data_of(session)["name"]
            alias = (await self._reader.follow(session.home, name)).alias
            active = (await self._reader.active(session.home)).alias
            assert alias is not None and active is not None  # noqa: S101, PT018  # follow always gives one
            freed: list[Change] = []
            if alias.target == id:
                freed.append(Point(alias.key, None, alias.epoch))
            if active.target == id:
                freed.append(Point(active.key, None, active.epoch))
            changed = rules.keep(session, active=active.target == id)
            answer = await self._unit.attempt(session.home, changed, *freed)
            return True if answer.refusal is None else _AGAIN

        return await perform(step, KIND)

    async def everything(self, scope: str) -> AsyncIterator[Session]:
        """Every context of a scope, what was kept included."""
        after: tuple[int, str] | None = None
        while True:
            query = SessionQuery(
                self._unit.tenant, (KIND,), READABLE_STATES, scope, None, "created", limit=_PAGE, after=after, home=scope
            )
            rows = await self._unit.engine.list(query)
            for row in rows:
                yield row
            if len(rows) < _PAGE:
                return
            after = (0, rows[-1].id)
