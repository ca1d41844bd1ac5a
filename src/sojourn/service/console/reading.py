"""What the views read beyond the kinds' own operations: counts, newest events, entries and names of any session."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sojourn.core.query import EntryQuery, SessionQuery
from sojourn.core.session import Alias
from sojourn.core.times import to_datetime
from sojourn.kinds.games import record as game_record
from sojourn.kinds.logins import rules as login_rules
from sojourn.sessions import KINDS
from sojourn.shell.feed import HIDDEN, Event, event_of
from sojourn.store import AsyncStore

_SECRET: Final = frozenset({login_rules.TOKEN, login_rules.TOKEN_USER, game_record.CODE})
"""Namespaces of aliases that are made of secrets, and shown to nobody."""
_BEHIND: Final = 60
ENTRIES: Final = 50


@dataclass(frozen=True, slots=True)
class EntryRow:
    """An entry of any kind's log."""

    sequence: int
    type: str
    label: str
    topic: str
    author: str | None
    text: str
    at: datetime


async def counts(store: AsyncStore) -> dict[str, int]:
    """How many sessions of each kind are active."""
    unit = store._unit
    return {kind: await unit.engine.count(unit.tenant, kind) for kind in KINDS}


async def newest_events(store: AsyncStore, limit: int = 25) -> list[Event]:
    """The newest events, newest first."""
    unit = store._unit
    tip = await unit.engine.tip()
    begin = tuple(max(0, number - _BEHIND) for number in tip)
    page = await unit.engine.events(unit.tenant, begin, _BEHIND * len(tip))
    rows = sorted((row for row in page.events if row.kind not in HIDDEN), key=lambda row: (row.at, row.number))[-limit:]
    return [event_of(row, (*tip[: row.shard], row.number, *tip[row.shard + 1 :])) for row in reversed(rows)]


async def entries(store: AsyncStore, id: str, before: int | None) -> tuple[list[EntryRow], int | None]:
    """The newest entries of a session before a sequence, oldest first; and where older ones end, None without any."""
    ranges = None if before is None else ((1, max(1, before - 1)),)
    snapshot = await store._unit.engine.load(store.tenant, id, EntryQuery(ranges, last=ENTRIES))
    rows = [
        EntryRow(
            item.sequence,
            item.type,
            item.label,
            item.topic,
            item.author,
            item.text or item.data or "",
            to_datetime(item.created_at),
        )
        for item in snapshot.entries
    ]
    first = rows[0].sequence if rows else 1
    return rows, first if first > 1 else None


async def projects(store: AsyncStore) -> list[tuple[str, int]]:
    """The projects with live sessions among the newest thousand, and how many each has."""
    query = SessionQuery(store.tenant, ("workspace",), order="activity", limit=1000)
    found = Counter(row.home for row in await store._unit.engine.list(query))
    return found.most_common()


async def names(store: AsyncStore, id: str) -> tuple[list[Alias], list[str]]:
    """The aliases that point at a session, and its tags."""
    unit = store._unit
    aliases = await unit.engine.aliases(unit.tenant, target=id)
    return [alias for alias in aliases if alias.key.namespace not in _SECRET], await unit.engine.tags(unit.tenant, id)
