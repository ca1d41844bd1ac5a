"""Following a channel: the events of the game it shows, whichever that is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Final

from sojourn.kinds.games.record import KIND, SHOWN
from sojourn.shell.feed import Event, follow
from sojourn.shell.unit import Unit

_MOVES: Final = frozenset({"booted", "shown", "shelved", "exited", "deleted", "gap"})
"""After these a channel may show another game."""


async def follow_channel(
    unit: Unit, channel: str, *, after: str | None, timeout: timedelta | None, closing: list[bool]
) -> AsyncIterator[Event]:
    """Events of the games that a channel shows, from the cursor on."""
    shown = await _shown(unit, channel)
    events = follow(unit.engine, unit.tenant, kind=KIND, session=None, after=after, timeout=timeout, closing=closing)
    async for event in events:
        mine = event.id == shown or event.change == "gap"
        if event.change in _MOVES:
            shown = await _shown(unit, channel)
            mine = mine or event.id == shown
        if mine:
            yield event


async def _shown(unit: Unit, channel: str) -> str | None:
    alias = (await unit.follow(channel, SHOWN, channel)).alias
    return None if alias is None else alias.target
