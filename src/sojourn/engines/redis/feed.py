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
MIXED: Final = 1 << 32
"""In place of a history: what was read at once is of several, as another server took over meanwhile. It fits none."""
NOWHERE: Final = 1 << 53
"""In place of a number, behind all that are given out: where this shard was left is not known any more."""


class Feed:
    """The events of a store.

    A cursor has a number for each shard, and behind these the history they were given in (``replication.lua``; 0: any). On a
    Cluster that is one for each shard: a node that fails over is no gap in what the others have.
    """

    def __init__(self, talk: Talk) -> None:
        self._talk = talk

    async def tip(self) -> tuple[int, ...]:
        """See `contract.Engine.tip`."""
        told = await self._told(tuple(self._talk.shards))
        histories = [history for history, _ in told]
        return (*[number for _, number in told], *(histories if self._talk.driver.divided else histories[:1]))

    @property
    def _places(self) -> int:
        """How many numbers a cursor has."""
        return len(self._talk.shards) + (len(self._talk.shards) if self._talk.driver.divided else 1)

    def _place(self, shard: Shard) -> int:
        """Where in a cursor the history of a shard is."""
        return len(self._talk.shards) + (shard.number if self._talk.driver.divided else 0)

    async def _told(self, shards: Sequence[Shard]) -> list[tuple[int, int]]:
        """For each shard the history of its server, and how many events it has given out."""
        talk, keys = self._talk, [shard.counter for shard in shards]
        groups = [[key] for key in keys] if talk.driver.divided else [keys]
        replies = await talk.ask_all([talk.scripts.tip.call(group, b"", b"") for group in groups], wide=len(groups) > 1)
        return [(history, number) for history, *numbers in replies for number in numbers]

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
        cursor, asked = list(check_cursor(after, self._places)), self._watched(session)
        replies = await talk.ask_all(
            [
                talk.scripts.events.call(
                    (shard.counter, shard.events, shard.erased, shard.trimmed),
                    b"",
                    b"",
                    b"%d" % after[shard.number],
                    b"%d" % limit,
                    *words,
                    b"%d" % after[self._place(shard)],
                )
                for shard in asked
            ],
            wide=len(asked) > 1,
        )
        pages = [json.loads(reply) for reply in replies]
        rows: list[list[EventRow]] = []
        histories = {history for _, _, history, _ in pages}
        if not talk.driver.divided and after[-1] and histories != {after[-1]}:  # the same for shards that were not asked
            cursor[:-1] = [number and NOWHERE for number in after[:-1]]
        for shard, (through, _, history, found) in zip(asked, pages, strict=True):
            cursor[shard.number] = through
            cursor[self._place(shard)] = history if talk.driver.divided or len(histories) == 1 else MIXED
            rows.append([wire.read_event(shard.number, number, row) for number, row in found])
        ordered: list[EventRow] = list(merge(*rows, key=lambda row: row.at))
        for row in reversed(ordered[limit:]):
            cursor[row.shard] = row.number - 1
        return EventPage(ordered[:limit], tuple(cursor), any(gap for _, gap, *_ in pages))

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
        check_cursor(after, self._places)
        driver = self._talk.driver
        looked = tuple(self._talk.shards) if driver.shared and not driver.divided else asked
        woken = False
        told = dict(zip(looked, await self._told(looked), strict=True))
        if any(told[shard][0] != after[self._place(shard)] and told[shard][0] and after[self._place(shard)] for shard in asked):
            return "now"
        found = {shard: number for shard, (_, number) in told.items()}
        while True:
            if any(found[shard] > after[shard.number] for shard in asked):
                return "now"
            left = limit - time.monotonic()
            if left <= 0:
                return "timeout"
            woken = await self._wait(found, left, woken=woken)
            found = dict(zip(looked, await self._numbers(looked), strict=True))

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
