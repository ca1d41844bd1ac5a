"""Events: reading them, and waiting for more."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from heapq import merge
from typing import Final

from sojourn.core.session import EventRow
from sojourn.engines.checks import check_cursor
from sojourn.engines.contract import Changed, EventPage
from sojourn.engines.redis import wire
from sojourn.engines.redis.commands import Command
from sojourn.engines.redis.keys import Shard
from sojourn.engines.redis.talk import Talk

POLL: Final = 0.02
"""Seconds between looks for events where the server cannot be asked to say when there are some."""
PATIENCE: Final = 1.0
"""Seconds, at most, that the server is asked to wait for events at once."""


class Feed:
    """The events of a store."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk

    async def tip(self) -> tuple[int, ...]:
        """See `contract.Engine.tip`: a number for each shard."""
        return await self._numbers(tuple(self._talk.shards))

    async def _numbers(self, shards: Sequence[Shard]) -> tuple[int, ...]:
        talk, keys = self._talk, [shard.counter for shard in shards]
        if talk.driver.divided:
            found = await talk.ask_all([Command(b"GET", key) for key in keys], wide=len(keys) > 1)
        else:
            found = await talk.ask(Command(b"MGET", *keys))
        return tuple(int(number or 0) for number in found)

    async def events(
        self, tenant: str, after: tuple[int, ...], limit: int, *, kind: str | None = None, session: str | None = None
    ) -> EventPage:
        """See `contract.Engine.events`; the order holds per session, across shards it is that of their times."""
        talk = self._talk
        words = (tenant.encode(), (kind or "").encode(), (session or "").encode())
        cursor, asked = list(check_cursor(after, len(talk.shards))), self._watched(session)
        replies = await talk.ask_all(
            [
                talk.scripts.events.call(
                    (shard.counter, shard.events, shard.erased, shard.trimmed),
                    b"",
                    b"",
                    b"%d" % after[shard.number],
                    b"%d" % limit,
                    *words,
                )
                for shard in asked
            ],
            wide=len(asked) > 1,
        )
        pages = [json.loads(reply) for reply in replies]
        rows: list[list[EventRow]] = []
        for shard, (through, _, found) in zip(asked, pages, strict=True):
            cursor[shard.number] = through
            rows.append([wire.read_event(shard.number, number, row) for number, row in found])
        ordered: list[EventRow] = list(merge(*rows, key=lambda row: row.at))
        for row in reversed(ordered[limit:]):
            cursor[row.shard] = row.number - 1
        return EventPage(ordered[:limit], tuple(cursor), any(gap for _, gap, _ in pages))

    def _watched(self, session: str | None) -> Sequence[Shard]:
        """The shards whose events a watcher sees: that of one session, which its id carries, or all."""
        shard = None if session is None else self._talk.shards.of_id(session)
        return tuple(self._talk.shards) if shard is None else (shard,)

    async def history(self, tenant: str, session: str, limit: int) -> list[EventRow]:
        """See `contract.Engine.history`."""
        shard = self._talk.shards.of_id(session)
        if shard is None:
            return []
        keys = (shard.session(tenant, session), shard.events)
        command = self._talk.scripts.history.call(keys, b"", b"", b"%d" % limit)
        rows = json.loads(await self._talk.ask(command))
        return [wire.read_event(shard.number, place, row) for place, row in reversed(rows)]

    async def changed(self, after: tuple[int, ...], timeout: float, *, session: str | None = None) -> Changed:
        """See `contract.Engine.changed`: the server says when there are events, on a Cluster it is asked again and again."""
        limit, asked = time.monotonic() + timeout, self._watched(session)
        check_cursor(after, len(self._talk.shards))
        driver = self._talk.driver
        looked = tuple(self._talk.shards) if driver.shared and not driver.divided else asked
        woken = False
        while True:
            found = dict(zip(looked, await self._numbers(looked), strict=True))
            if any(found[shard] > after[shard.number] for shard in asked):
                return "now"
            left = limit - time.monotonic()
            if left <= 0:
                return "timeout"
            woken = await self._wait(found, left, woken=woken)

    async def _wait(self, found: dict[Shard, int], left: float, *, woken: bool) -> bool:
        """Wait for events behind these numbers, or a moment; whether there were some."""
        talk = self._talk
        if talk.driver.divided or woken or left <= POLL:  # woken: by others' events, and perhaps there are many of them
            await talk.driver.sleep(min(left, POLL))
            return False
        millis = b"%d" % (min(left, PATIENCE, talk.place.timeout / 2) * 1000)
        names = [shard.events for shard in found]
        ids = [b"%d-0" % number for number in found.values()]
        reply = await talk.driver.block(
            Command(b"XREAD", b"COUNT", b"1", b"BLOCK", millis, b"STREAMS", *names, *ids, key=names[0])
        )
        if isinstance(reply, Exception):
            await talk.driver.sleep(min(left, POLL))  # what it was, the next look will say
        return True
