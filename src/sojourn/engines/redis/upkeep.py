"""Background work on the store itself: purging and erasing. Bounded, each call of a script a transaction of its own."""

from __future__ import annotations

import json
from typing import Final

from sojourn.engines.contract import ErasedRows
from sojourn.engines.embedded import EVENT_LIFE, OPERATION_LIFE, leases_of
from sojourn.engines.redis.keys import Shard
from sojourn.engines.redis.talk import Talk

_LIVES: Final = (b"%d" % OPERATION_LIFE, b"%d" % EVENT_LIFE)
_LEASES: Final = json.dumps(leases_of("")).encode()
_FILES: Final = ("the append-only file and the snapshots of the server and its replicas, until they are written anew",)
_MOST: Final = 500
"""Rows that one call of a script removes: the server does nothing else meanwhile."""
_SESSIONS: Final = 100
"""Sessions of one shard that one step of an erasure looks at."""


class Upkeep:
    """Purging and erasing on all shards: one round trip says which have work, then each of these is asked."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk

    async def purge(self, limit: int) -> int:
        """See `contract.Engine.purge`."""
        talk, removed = self._talk, 0
        keys = [(shard.operations, shard.deleted, shard.events, shard.erased, shard.trimmed) for shard in talk.shards]
        stale = await talk.ask_all([talk.scripts.stale.call(names, talk.time(), b"", b"", *_LIVES) for names in keys])
        busy = [(shard, names) for shard, names, found in zip(talk.shards, keys, stale, strict=True) if found]
        for shard, names in busy:
            while removed < limit:
                most = min(limit - removed, _MOST)
                command = talk.scripts.purge.call(names, talk.time(), shard.start.encode(), b"%d" % most, *_LIVES, _LEASES)
                count = int(await talk.ask(command))
                removed += count
                if count < most:
                    break
        return removed

    async def erase(self, tenant: str, owner: str, limit: int) -> ErasedRows:
        """See `contract.Engine.erase`. Names go first, since those of one session may be in all shards."""
        talk, most = self._talk, min(limit, _SESSIONS)
        who = owner.encode()
        found = await talk.ask_all(
            [
                talk.scripts.owned.call(shard.owned(tenant, owner), b"", shard.tenant(tenant).encode(), who, b"%d" % most)
                for shard in talk.shards
            ]
        )
        busy: list[tuple[Shard, list[str]]] = []
        for shard, reply in zip(talk.shards, found, strict=True):
            sessions, anything = json.loads(reply)
            if anything:
                busy.append((shard, sessions))
        if not busy:
            return ErasedRows(0, 0, 0, 0, complete=True, outside=_FILES)
        names, done = await self._forget(tenant, [owner, *(one for _, sessions in busy for one in sessions)], limit)
        counts = [0, 0, names, 0]
        left = limit - names
        for shard, sessions in busy:
            if left <= 0:
                done = False
                break
            rows, whole = await self._erase(shard, tenant, owner, sessions, left)
            counts = [count + more for count, more in zip(counts, rows, strict=True)]
            left -= sum(rows)
            done = done and whole and len(sessions) < most
        removed, entries, aliases, leases = counts
        return ErasedRows(removed, entries, aliases, leases, complete=done, outside=_FILES)

    async def _forget(self, tenant: str, targets: list[str], limit: int) -> tuple[int, bool]:
        talk, named = self._talk, json.dumps(targets, ensure_ascii=False).encode()
        replies = await talk.ask_all(
            [
                talk.scripts.forget.call(
                    [shard.pointing(tenant, target) for target in targets],
                    b"",
                    shard.tenant(tenant).encode(),
                    named,
                    b"%d" % limit,
                )
                for shard in talk.shards
            ]
        )
        rows = [json.loads(reply) for reply in replies]
        return sum(removed for removed, _ in rows), all(done for _, done in rows)

    async def _erase(self, shard: Shard, tenant: str, owner: str, sessions: list[str], left: int) -> tuple[list[int], bool]:
        command = self._talk.scripts.erase.call(
            (shard.events, shard.due, shard.operations, shard.deleted, shard.erased),
            self._talk.time(),
            shard.tenant(tenant).encode(),
            owner.encode(),
            b"%d" % min(left, _MOST),
            json.dumps(sessions).encode(),
            tenant.encode(),
            _LEASES,
        )
        *rows, whole = json.loads(await self._talk.ask(command))
        return rows, whole
