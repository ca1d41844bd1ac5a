"""Following committed changes from a cursor."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sojourn.core.query import make_cursor, read_cursor
from sojourn.core.session import EventRow
from sojourn.core.times import span, to_datetime
from sojourn.engines.contract import Engine, EventPage
from sojourn.errors import ClosedError, InvalidCursorError

PAGE = 200

HIDDEN: Final = frozenset({"content", "project", "user", "world"})
"""Kinds of session that are a part of others and concern no watcher."""


@dataclass(frozen=True, slots=True)
class Event:
    """A committed change: ids and the kind of change, never content.

    ``change`` is ``gap`` when events before it are gone (older than what the store keeps): read anew what you follow.
    """

    cursor: str
    """Pass it as ``after=`` to go on behind this event, also in another process."""
    kind: str
    id: str
    change: str
    version: int
    sequences: tuple[int, int] | None
    """First and last sequence it appended."""
    at: datetime
    reason: str = ""


def cursor_text(position: tuple[int, ...]) -> str:
    """A feed position as an opaque cursor."""
    return make_cursor("events", *position)


def cursor_position(cursor: str, shards: int) -> tuple[int, ...]:
    """The position of a cursor of this store."""
    try:
        name, *numbers = read_cursor(cursor, str, *[int] * shards)
    except InvalidCursorError as error:
        raise _no_cursor(cursor) from error
    position = tuple(int(number) for number in numbers)
    if name != "events" or min(position) < 0 or max(position) >= 1 << 63:
        raise _no_cursor(cursor)
    return position


def _no_cursor(cursor: object) -> InvalidCursorError:
    return InvalidCursorError(f"not a cursor of events: {cursor!r}.", hint="Pass an event's 'cursor', unchanged.")


def event_of(row: EventRow, position: tuple[int, ...]) -> Event:
    """What watchers see of a stored event."""
    sequences = (row.first, row.last) if row.last else None
    return Event(
        cursor_text(position), row.kind, row.session, row.change, row.version, sequences, to_datetime(row.at), row.reason
    )


async def follow(
    engine: Engine,
    tenant: str,
    *,
    kind: str | None,
    session: str | None,
    after: str | None,
    timeout: timedelta | None,
    closing: list[bool],
) -> AsyncIterator[Event]:
    """Events behind ``after`` (None: from now on); ends after ``timeout`` without one, or when ``closing`` is filled."""
    try:
        async for event in _follow(engine, tenant, kind, session, after, timeout, closing):
            yield event
    except ClosedError:
        return


async def _follow(
    engine: Engine,
    tenant: str,
    kind: str | None,
    session: str | None,
    after: str | None,
    timeout: timedelta | None,
    closing: list[bool],
) -> AsyncIterator[Event]:
    tip = await engine.tip()
    position = tip if after is None else cursor_position(after, len(tip))
    patience = None if timeout is None else span(timeout, "timeout") / 1_000_000
    since = time.monotonic()
    while not closing:
        page = await engine.events(tenant, position, PAGE, kind=kind, session=session)
        if page.gap:
            position = _before(page)
            yield Event(cursor_text(position), kind or "", session or "", "gap", 0, None, to_datetime(await engine.now()))
        for row in page.events:
            position = _advanced(position, row)
            if row.kind not in HIDDEN:
                yield event_of(row, position)
        if page.events or page.gap:
            since = time.monotonic()
        moved = page.cursor != position or bool(page.events)
        position = page.cursor
        left = 1.0 if patience is None else since + patience - time.monotonic()
        if left <= 0:  # also while others are busy with what is not watched
            return
        if not moved:
            await engine.changed(position, min(left, 1.0), session=session)


def _before(page: EventPage) -> tuple[int, ...]:
    """The position in front of the events of a page."""
    position = list(page.cursor)
    for row in reversed(page.events):
        position[row.shard] = row.number - 1
    return tuple(position)


def _advanced(position: tuple[int, ...], row: EventRow) -> tuple[int, ...]:
    return (*position[: row.shard], row.number, *position[row.shard + 1 :])
