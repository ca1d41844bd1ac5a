"""Following a channel: the events of the game it shows, whichever that is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Final

from sojourn.core.times import MINUTE, to_micros
from sojourn.kinds.games.record import KIND, SHOWN
from sojourn.shell.feed import Event, follow
from sojourn.shell.unit import Unit

_MOVES: Final = frozenset({"booted", "shown", "shelved", "exited", "deleted", "gap"})
"""After these a channel may show another game."""
_GOES: Final = frozenset({"shelved", "exited", "deleted"})
"""The last event of a game in a channel; it is stored a moment after its game was looked at."""


async def follow_channel(
    unit: Unit, channel: str, *, after: str | None, timeout: timedelta | None, closing: list[bool]
) -> AsyncIterator[Event]:
    """Events of the games that a channel shows, from the cursor on; of those that it has shown since, too."""
    shown = await _shown(unit, channel)
    gone = {} if after is None else await _gone(unit, channel)
    events = follow(unit.engine, unit.tenant, kind=KIND, session=None, after=after, timeout=timeout, closing=closing)
    async for event in events:
        mine = event.id == shown or event.change == "gap" or _was_there(event, gone)
        if event.change in _MOVES:
            shown = await _shown(unit, channel)
            mine = mine or event.id == shown
        if mine:
            yield event


def _was_there(event: Event, gone: dict[str, int]) -> bool:
    """Whether an event is from before its game left the channel, or is its leaving."""
    until, at = gone.get(event.id), to_micros(event.at)
    return until is not None and (at <= until or (event.change in _GOES and at <= until + MINUTE))


async def _gone(unit: Unit, channel: str) -> dict[str, int]:
    """The games that a channel has shown lately, and until when."""
    found = await unit.follow(channel, SHOWN, channel)
    alias = found.alias
    last = None if alias is None else alias.target or alias.previous
    if alias is None or last is None:
        return {}
    session = found.session or (await unit.find(last, KIND)).session
    games: dict[str, int] = {} if alias.target is not None else {last: alias.moved_at}
    for game, at in [] if session is None else session.data.get("before", []):
        games.setdefault(game, at)
    return games


async def _shown(unit: Unit, channel: str) -> str | None:
    alias = (await unit.follow(channel, SHOWN, channel)).alias
    return None if alias is None else alias.target
