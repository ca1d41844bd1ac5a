"""What a sweep does for games: windows that are due are closed, games that nobody plays leave their channel."""

from __future__ import annotations

from collections import Counter

from sojourn.core.query import SessionQuery
from sojourn.core.session import Session
from sojourn.errors import ConflictError, NotFoundError
from sojourn.kinds.games.api import AsyncGames
from sojourn.kinds.games.record import KIND, SHELF_TAG
from sojourn.shell.unit import Unit


class GameSweep:
    """The games' part of ``store.sweep()``. Nothing is kept for a game that is not due: a deadline is data."""

    kind = KIND

    def __init__(self, unit: Unit, games: AsyncGames) -> None:
        self._unit = unit
        self._games = games

    async def due(self, session: Session) -> Counter[str]:
        """Close a window whose time has passed; of many processes one does, the others find it closed."""
        return Counter(closed=await self._games._close_due(session))

    async def age(self, limit: int, *, dry_run: bool) -> Counter[str]:
        """Shelve what is shown and has aged by its own policy, longest idle first."""
        shelved, after = 0, None
        while shelved < limit:
            query = SessionQuery(self._unit.tenant, (KIND,), tag=SHELF_TAG, order="idle", limit=limit, after=after)
            rows = await self._unit.engine.list(query)
            for row in rows:
                shelved += await self._shelved(row, dry_run=dry_run)
            if len(rows) < limit:
                break
            after = (rows[-1].bucket, rows[-1].id)
        return Counter(shelved=shelved)

    async def _shelved(self, session: Session, *, dry_run: bool) -> bool:
        try:
            return await self._games._shelve_idle(session, dry_run=dry_run)
        except (ConflictError, NotFoundError):  # others shelved, moved or ended it meanwhile
            return False
