"""Opening a store: the driver for its place, and the one key that says which release wrote it and with how many shards."""

from __future__ import annotations

import time
from typing import Final

from redis.exceptions import NoPermissionError, ResponseError

from sojourn.engines.contract import Clock, Engine
from sojourn.engines.locate import Opening
from sojourn.engines.redis.address import Place, read_url
from sojourn.engines.redis.commands import Command
from sojourn.engines.redis.engine import AsyncRedisEngine, RedisEngine
from sojourn.engines.redis.faults import translate
from sojourn.engines.redis.keys import COUNTS, SHARDS
from sojourn.engines.redis.talk import Talk
from sojourn.errors import CorruptError, EngineError, InvalidValueError, SchemaError, UnsupportedError

SCHEMA: Final = 1
OLDEST: Final = 7
"""The first version of Redis whose scripts can say that they do not write, so that a full server still reads."""


async def open_redis(opening: Opening) -> Engine:
    """The engine of a ``redis:`` or ``valkey:`` URL, of a Sentinel or a Cluster too."""
    place = read_url(opening.url, opening.options.more, opening.options.timeout)
    return await open_place(place, blocking=opening.blocking, clock=opening.clock, migrate=opening.migrate)


async def open_place(place: Place, *, blocking: bool, clock: Clock | None = None, migrate: bool = True) -> RedisEngine:
    """An engine on a store that is there, or is made."""
    engine = (RedisEngine if blocking else AsyncRedisEngine)(place, clock=clock)
    try:
        await _prepare(engine.talk, migrate=migrate)
    except BaseException:
        await engine.close()
        raise
    return engine


async def _prepare(talk: Talk, *, migrate: bool) -> None:
    place = talk.place
    key = f"{place.prefix}:store".encode()
    info, found = await talk.driver.ask([Command(b"INFO", b"server", key=key), Command(b"HGETALL", key)])
    _check_server(talk, info)
    store = _read(talk, found)
    if not store:
        if not migrate:
            raise SchemaError(
                f"{place.shown} has no Sojourn store yet.", hint="Run 'sojourn migrate', or open it with migrate=True."
            )
        shards = place.shards or SHARDS
        rows = (b"schema", SCHEMA, b"shards", shards, b"made", time.time_ns() // 1000)
        words = [word if isinstance(word, bytes) else b"%d" % word for word in rows]
        store = _read(talk, await talk.ask(talk.scripts.make.call((key,), b"", b"", *words)))  # another may have been first
    _check_store(talk, store)
    talk.use_shards(store["shards"])


async def schema_of(place: Place) -> int:
    """The schema of the store that is there; 0 where there is none yet."""
    engine = RedisEngine(place)
    try:
        key = f"{place.prefix}:store".encode()
        (reply,) = await engine.talk.driver.ask([Command(b"HGETALL", key)])
        return _read(engine.talk, reply).get("schema", 0)
    finally:
        await engine.close()


def _check_server(talk: Talk, info: object) -> None:
    """Refuse a server that is too old; one that does not say what it is, is taken as it is."""
    if isinstance(info, NoPermissionError):
        return
    if isinstance(info, Exception):
        raise translate(info, talk.place.shown, writing=False) from info
    if isinstance(info, bytes):
        lines = dict(line.split(":", 1) for line in info.decode().splitlines() if ":" in line)
        version = lines.get("redis_version", "")
        if version.partition(".")[0].isdigit() and int(version.partition(".")[0]) < OLDEST:
            raise UnsupportedError(
                f"{talk.place.shown} is Redis {version}.", hint=f"Sojourn needs Redis {OLDEST} or newer, or Valkey."
            )


def _read(talk: Talk, reply: object) -> dict[str, int]:
    if isinstance(reply, ResponseError) and str(reply).startswith("WRONGTYPE"):
        raise _foreign(talk) from reply
    if isinstance(reply, Exception):
        raise translate(reply, talk.place.shown, writing=False) from reply
    if not isinstance(reply, list):
        raise EngineError(f"{talk.place.shown} answered with {reply!r} when it was asked for a hash.")
    words = [bytes(word).decode("utf-8", "replace") for word in reply]
    if not all(value.isdigit() for value in words[1::2]):
        raise _foreign(talk)
    return {name: int(value) for name, value in zip(words[::2], words[1::2], strict=True)}


def _check_store(talk: Talk, store: dict[str, int]) -> None:
    place = talk.place
    schema, shards = store.get("schema", 0), store.get("shards", 0)
    if schema > SCHEMA and store.get("serves", schema) > SCHEMA:
        raise SchemaError(f"{place.shown} has schema {schema}; this release knows up to {SCHEMA}.", hint="Upgrade Sojourn.")
    if not schema or shards not in COUNTS:
        raise _foreign(talk)
    if place.shards not in (None, shards):
        raise InvalidValueError(
            f"{place.shown} has {shards} shards, not {place.shards}.",
            hint="The number is settled when a store is made; leave it out, or choose another prefix.",
        )


def _foreign(talk: Talk) -> CorruptError:
    return CorruptError(
        f"{talk.place.shown}: {talk.place.prefix}:store is not what Sojourn wrote.",
        hint="Another program uses this prefix; choose one of your own: ?prefix=…",
    )
