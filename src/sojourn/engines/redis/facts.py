"""What the servers say about themselves, for `doctor`."""

from __future__ import annotations

import time
from typing import Any, Final

from sojourn.engines.redis.commands import Command
from sojourn.engines.redis.talk import Talk

_WANTED: Final = (
    "redis_version",
    "valkey_version",
    "redis_mode",
    "role",
    "used_memory",
    "maxmemory",
    "maxmemory_policy",
    "evicted_keys",
    "connected_clients",
    "aof_enabled",
    "aof_last_write_status",
    "rdb_last_bgsave_status",
    "connected_slaves",
)
_SETTINGS: Final = (b"appendfsync", b"save", b"min-replicas-to-write")


async def facts(talk: Talk) -> dict[str, Any]:
    """See `contract.Engine.facts`. Of a Cluster, the server of the first shard speaks; what is forbidden to ask is left out."""
    place = talk.place
    key = talk.shards[0].counter
    before = time.time_ns() // 1000
    text, clock, *settings = await talk.driver.ask(
        [
            Command(b"INFO", key=key),
            Command(b"TIME", key=key),
            *(Command(b"CONFIG", b"GET", name, key=key) for name in _SETTINGS),
        ]
    )
    after = time.time_ns() // 1000
    found: dict[str, Any] = {
        "engine": "redis",
        "url": place.shown,
        "way": place.kind,
        "prefix": place.prefix,
        "shards": len(talk.shards),
        "wait": place.wait,
    }
    if isinstance(text, bytes):
        info = dict(line.split(":", 1) for line in text.decode().splitlines() if ":" in line)
        found.update((name, _number(info[name])) for name in _WANTED if name in info)
    if isinstance(clock, list):
        there = int(clock[0]) * 1_000_000 + int(clock[1])
        found["clock"] = there
        found["clock_ahead"] = max(0, before - there) or min(0, after - there)
    for name, reply in zip(_SETTINGS, settings, strict=True):
        if isinstance(reply, list) and len(reply) > 1:
            found[name.decode().replace("-", "_")] = _number(reply[1].decode())
    return found


def _number(text: str) -> str | int:
    return int(text) if text.isdigit() else text
