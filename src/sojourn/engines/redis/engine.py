"""The Redis and Valkey engine in both colours.

One script call carries out a commit; a read of one session is one script call; what asks all homes asks 64 shards in one
pipeline. Both colours share everything but the driver.
"""

from __future__ import annotations

import builtins
import json
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import replace
from heapq import merge
from typing import Any, Final

from sojourn.core.batch import Answer, Batch, Change, Create, Delete, Lend, Point, Redact, Touch, Write, Yield
from sojourn.core.query import EntryQuery, SearchQuery, SessionQuery
from sojourn.core.session import Alias, AliasKey, EventRow, Session, Snapshot
from sojourn.engines.background import TaskBackground, ThreadBackground
from sojourn.engines.checks import check_cursor
from sojourn.engines.contract import Background, Capabilities, Changed, Clock, ErasedRows, EventPage, Hit
from sojourn.engines.redis import wire
from sojourn.engines.redis.commands import Command, scripts
from sojourn.engines.redis.driver import BlockingDriver, Driver, Reply
from sojourn.engines.redis.faults import translate
from sojourn.engines.redis.keys import Shard, escape, shard_of_home, shard_of_id, shards_of
from sojourn.errors import InvalidValueError, UnsupportedError

POLL: Final = 0.05
"""Seconds between looks for events, while somebody watches."""

_STAMP: Final = 16
"""Digits of an activity bucket, which stands before the id in a list by activity."""


class RedisEngine:
    """One Redis or Valkey server, for blocking code; any number of threads and processes may share it.

    ``clock`` is for tests: the time is the server's otherwise. ``prefix`` begins the name of every key.
    """

    def __init__(self, url: str, *, clock: Clock | None = None, prefix: str = "sojourn", timeout: float = 10.0) -> None:
        self._where = _without_secrets(url)
        self._clock = clock
        self._shards = shards_of(prefix)
        self._scripts = scripts()
        self._driver = self._make_driver(url, timeout)

    def _make_driver(self, url: str, timeout: float) -> Driver:
        return BlockingDriver(url, timeout)

    @property
    def capabilities(self) -> Capabilities:
        """No search."""
        return Capabilities(engine="redis", search=False)

    # -- talking ---------------------------------------------------------------------------------------------------

    def _time(self) -> bytes:
        return b"" if self._clock is None else b"%d" % self._clock()

    async def _ask(self, command: Command) -> Reply:
        """The reply to one reading command."""
        return (await self._ask_all([command], wide=False))[0]

    async def _ask_all(self, commands: Sequence[Command], *, wide: bool = True) -> builtins.list[Reply]:
        """The replies to reading commands; the first error is raised."""
        replies = await self._driver.ask(commands, wide=wide) if commands else []
        for reply in replies:
            if isinstance(reply, Exception):
                raise translate(reply, self._where, writing=False) from reply
        return replies

    # -- commits ---------------------------------------------------------------------------------------------------

    async def commit(self, batch: Batch) -> Answer:
        """See `contract.Engine.commit`."""
        shard = self._shards[_shard_of(batch)]
        command = self._scripts.commit.call(
            (shard.counter, shard.events, shard.due),
            self._time(),
            shard.tenant(batch.tenant).encode(),
            *wire.write_batch(batch),
        )
        reply = (await self._driver.ask([command]))[0]
        if isinstance(reply, Exception):
            raise translate(reply, self._where, writing=True, key=batch.operation) from reply
        return wire.read_answer(batch.tenant, reply)

    # -- one session -----------------------------------------------------------------------------------------------

    async def load(self, tenant: str, session: str, entries: EntryQuery | None = None) -> Snapshot:
        """See `contract.Engine.load`."""
        number = shard_of_id(session)
        if number is None:
            return Snapshot(await self.now(), None)
        shard = self._shards[number]
        command = self._scripts.load.call(
            (shard.session(tenant, session),),
            self._time(),
            shard.tenant(tenant).encode(),
            session.encode(),
            wire.write_query(entries),
        )
        now, row, sequences, found = json.loads(await self._ask(command))
        if row is None:
            return Snapshot(now, None)
        lines = tuple(wire.read_entry(sequence, line) for sequence, line in zip(sequences, found, strict=True))
        return Snapshot(now, wire.read_session(tenant, session, row), lines)

    async def follow(self, tenant: str, alias: AliasKey) -> Snapshot:
        """See `contract.Engine.follow`; a session in another home's shard costs a second round trip."""
        shard = self._shards[shard_of_home(tenant, alias.home)]
        command = self._scripts.follow.call(
            (shard.alias(tenant, alias.namespace, alias.key),), self._time(), shard.tenant(tenant).encode()
        )
        now, row, seen = json.loads(await self._ask(command))
        found = wire.read_alias(alias, row)
        if found.target is None:
            return Snapshot(now, None, alias=found)
        if seen is not None:
            return Snapshot(now, wire.read_session(tenant, found.target, seen), alias=found)
        elsewhere = shard_of_id(found.target)
        if elsewhere is None or elsewhere == shard.number:
            return Snapshot(now, None, alias=found)
        return replace(await self.load(tenant, found.target), alias=found)

    async def aliases(self, tenant: str, *, target: str, home: str | None = None) -> builtins.list[Alias]:
        """See `contract.Engine.aliases`; without a home, every shard is asked."""
        asked = self._shards if home is None else [self._shards[shard_of_home(tenant, home)]]
        commands = [
            self._scripts.aliases.call((shard.pointing(tenant, target),), b"", shard.tenant(tenant).encode()) for shard in asked
        ]
        found = [
            wire.read_alias(AliasKey(*name), row)
            for reply in await self._ask_all(commands, wide=home is None)
            for name, row in json.loads(reply)
        ]
        return sorted(
            (alias for alias in found if home in (None, alias.key.home)),
            key=lambda alias: (alias.key.namespace, alias.key.key),
        )

    async def tags(self, tenant: str, session: str) -> builtins.list[str]:
        """See `contract.Engine.tags`."""
        number = shard_of_id(session)
        if number is None:
            return []
        state, tags = await self._ask(Command(b"HMGET", self._shards[number].session(tenant, session), b"s", b"t"))
        return [] if tags is None or state == b"deleted" else sorted(json.loads(tags))

    # -- all homes -------------------------------------------------------------------------------------------------

    async def list(self, query: SessionQuery) -> builtins.list[Session]:
        """See `contract.Engine.list`: the shards' first rows in one round trip, the sessions in another."""
        descending = query.order in ("activity", "created")
        arguments = (
            b"1" if descending else b"",
            _start_of(query).encode(),
            b"%d" % query.limit,
            (query.owner or "").encode() if query.tag is not None else b"",
            b"" if query.active_before is None else b"%d" % query.active_before,
            (query.home or "").encode(),
        )
        asked = self._asked(query.tenant, query.home)
        replies = await self._ask_all(
            [
                self._scripts.page.call(_lists(shard, query), b"", shard.tenant(query.tenant).encode(), *arguments)
                for shard in asked
            ],
            wide=len(asked) > 1,
        )
        width = wire.ID if query.order in ("created", "oldest") else _STAMP + wire.ID
        rows = sorted((row for reply in replies for row in _cut(reply.decode(), width)), reverse=descending)
        found = await self._show((query.tenant, row[-wire.ID :]) for row in rows[: query.limit])
        return [session for session in found if session.state in query.states]

    def _asked(self, tenant: str, home: str | None) -> Sequence[Shard]:
        """The shards that may have what is asked for: one when the home is known."""
        return self._shards if home is None else (self._shards[shard_of_home(tenant, home)],)

    async def _show(self, wanted: Iterable[tuple[str, str]]) -> builtins.list[Session]:
        """Sessions by tenant and id, in this order; what is gone is left out."""
        names = list(wanted)
        by_shard: dict[int, list[tuple[str, str]]] = {}
        for name in names:
            by_shard.setdefault(shard_of_id(name[1]) or 0, []).append(name)
        replies = await self._ask_all(
            [
                self._scripts.show.call([self._shards[number].session(*name) for name in group], b"", b"")
                for number, group in by_shard.items()
            ]
        )
        found: dict[tuple[str, str], Session] = {}
        for group, reply in zip(by_shard.values(), replies, strict=True):
            for name, row in zip(group, json.loads(reply), strict=True):
                if row is not None:
                    found[name] = wire.read_session(*name, row)
        return [found[name] for name in names if name in found]

    async def count(
        self,
        tenant: str,
        kind: str,
        *,
        tag: str | None = None,
        owner: str | None = None,
        home: str | None = None,
        active_after: int | None = None,
    ) -> int:
        """See `contract.Engine.count`; of a home, its sessions are looked at, since several homes share a shard."""
        if active_after is not None:
            return await self._count_recent(tenant, kind, tag, owner, home, active_after)
        if home is not None:
            return await self._count_in(SessionQuery(tenant, (kind,), owner=owner, tag=tag, order="oldest", home=home))
        replies = await self._ask_all(
            [
                Command(b"ZCARD", shard.list(tenant, kind, "active", created=True, owner=owner, tag=tag))
                for shard in self._shards
            ]
        )
        return sum(replies)

    async def _count_in(self, query: SessionQuery) -> int:
        shard = self._shards[shard_of_home(query.tenant, query.home or "")]
        command = self._scripts.counted.call(
            _lists(shard, query), b"", shard.tenant(query.tenant).encode(), (query.home or "").encode()
        )
        found: int = await self._ask(command)
        return found

    async def _count_recent(
        self, tenant: str, kind: str, tag: str | None, owner: str | None, home: str | None, active_after: int
    ) -> int:
        since, only = f"{max(0, active_after):0{_STAMP}}".encode(), escape(tenant).encode()
        commands = []
        for shard in self._shards if home is None else (self._shards[shard_of_home(tenant, home)],):
            lists = [shard.list(tenant, kind, "active", created=made, owner=owner, tag=tag) for made in (False, True)]
            own = shard.tenant(tenant).encode()
            commands.append(
                self._scripts.recent.call([*lists, shard.due], self._time(), own, since, only, (home or "").encode())
            )
        return sum(int(reply) for reply in await self._ask_all(commands))

    async def due(self, tenant: str | None, limit: int, ahead: int = 0) -> builtins.list[Session]:
        """See `contract.Engine.due`: the shards' first rows in one round trip, the sessions in another."""
        only = b"" if tenant is None else escape(tenant).encode()
        replies = await self._ask_all(
            [
                self._scripts.due.call((shard.due,), self._time(), b"", b"%d" % limit, only, b"%d" % ahead)
                for shard in self._shards
            ]
        )
        rows = sorted((deadline, member) for reply in replies for deadline, member in json.loads(reply))
        return await self._show(_unescaped(member) for _, member in rows[:limit])

    # -- events ----------------------------------------------------------------------------------------------------

    async def tip(self) -> tuple[int, ...]:
        """See `contract.Engine.tip`: a number for each shard."""
        found = await self._ask(Command(b"MGET", *(shard.counter for shard in self._shards)))
        return tuple(int(number or 0) for number in found)

    async def events(
        self, tenant: str, after: tuple[int, ...], limit: int, *, kind: str | None = None, session: str | None = None
    ) -> EventPage:
        """See `contract.Engine.events`; the order holds per session, across shards it is that of their times."""
        words = (tenant.encode(), (kind or "").encode(), (session or "").encode())
        cursor, asked = list(check_cursor(after, len(self._shards))), self._watched(session)
        replies = await self._ask_all(
            [
                self._scripts.events.call(
                    (shard.counter, shard.events), b"", b"", b"%d" % after[shard.number], b"%d" % limit, *words
                )
                for shard in asked
            ],
            wide=len(asked) > 1,
        )
        pages = [json.loads(reply) for reply in replies]
        rows: list[builtins.list[EventRow]] = []
        for shard, (through, _, found) in zip(asked, pages, strict=True):
            cursor[shard.number] = through
            rows.append([wire.read_event(shard.number, number, row) for number, row in found])
        ordered: list[EventRow] = list(merge(*rows, key=lambda row: row.at))
        for row in reversed(ordered[limit:]):
            cursor[row.shard] = row.number - 1
        return EventPage(ordered[:limit], tuple(cursor), any(gap for _, gap, _ in pages))

    def _watched(self, session: str | None) -> Sequence[Shard]:
        """The shards whose events a watcher sees: that of one session, which its id carries, or all."""
        number = None if session is None else shard_of_id(session)
        return self._shards if number is None else (self._shards[number],)

    async def history(self, tenant: str, session: str, limit: int) -> builtins.list[EventRow]:
        """See `contract.Engine.history`."""
        number = shard_of_id(session)
        if number is None:
            return []
        shard = self._shards[number]
        command = self._scripts.history.call((shard.session(tenant, session), shard.events), b"", b"", b"%d" % limit)
        return [wire.read_event(number, place, row) for place, row in reversed(json.loads(await self._ask(command)))]

    async def changed(self, after: tuple[int, ...], timeout: float, *, session: str | None = None) -> Changed:
        """See `contract.Engine.changed`; looks every `POLL` seconds."""
        limit, asked = time.monotonic() + timeout, self._watched(session)
        seen = [check_cursor(after, len(self._shards))[shard.number] for shard in asked]
        while True:
            found = await self._ask(Command(b"MGET", *(shard.counter for shard in asked)))
            if any(int(number or 0) > before for number, before in zip(found, seen, strict=True)):
                return "now"
            left = limit - time.monotonic()
            if left <= 0:
                return "timeout"
            await self.sleep(min(left, POLL))

    # -- not yet ---------------------------------------------------------------------------------------------------

    async def search(self, query: SearchQuery) -> builtins.list[Hit]:
        """Not on Redis."""
        del query
        raise _not_yet("search")

    async def index(self, limit: int) -> int:
        """Not on Redis."""
        del limit
        raise _not_yet("search")

    async def purge(self, limit: int) -> int:
        """Not yet."""
        del limit
        raise _not_yet("purging")

    async def erase(self, tenant: str, owner: str, limit: int) -> ErasedRows:
        """Not yet."""
        del tenant, owner, limit
        raise _not_yet("erasing")

    # -- life ------------------------------------------------------------------------------------------------------

    async def now(self) -> int:
        """See `contract.Engine.now`."""
        if self._clock is not None:
            return self._clock()
        seconds, micros = await self._ask(Command(b"TIME"))
        return int(seconds) * 1_000_000 + int(micros)

    async def sleep(self, seconds: float) -> None:
        """See `contract.Engine.sleep`."""
        await self._driver.sleep(seconds)

    def spawn(self, body: Callable[[], Coroutine[Any, Any, None]]) -> Background:
        """See `contract.Engine.spawn`."""
        return ThreadBackground(body)

    async def facts(self) -> dict[str, Any]:
        """See `contract.Engine.facts`."""
        text: bytes = await self._ask(Command(b"INFO"))
        info = dict(line.split(":", 1) for line in text.decode().splitlines() if ":" in line)
        wanted = ("redis_version", "valkey_version", "used_memory", "maxmemory", "maxmemory_policy", "role")
        return {
            "engine": "redis",
            "url": self._where,
            "shards": len(self._shards),
            **{name: info[name] for name in (*wanted, "aof_enabled", "connected_slaves") if name in info},
        }

    async def close(self) -> None:
        """See `contract.Engine.close`."""
        await self._driver.close()


class AsyncRedisEngine(RedisEngine):
    """The same for event loops: what waits at the same moment travels in one pipeline."""

    def _make_driver(self, url: str, timeout: float) -> Driver:
        from sojourn.engines.redis.aio import LoopDriver

        return LoopDriver(url, timeout)

    def spawn(self, body: Callable[[], Coroutine[Any, Any, None]]) -> Background:
        """See `contract.Engine.spawn`."""
        return TaskBackground(body)


def _without_secrets(url: str) -> str:
    """A URL as messages may show it."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"


def _not_yet(what: str) -> UnsupportedError:
    return UnsupportedError(f"{what} is not yet on Redis.", hint="Use SQLite or PostgreSQL where it is needed.")


def _shard_of(batch: Batch) -> int:
    """The one shard of a batch: that of its sessions' ids, since a caller may know no more than an id."""
    found = {number for change in batch.changes for number in _shards_named(batch, change)}
    if not found:
        return shard_of_home(batch.tenant, batch.home)
    if len(found) > 1:
        raise InvalidValueError(
            "a batch whose sessions, aliases and leases are not of one home.",
            hint="What crosses homes is a sequence of commits.",
        )
    return found.pop()


def _shards_named(batch: Batch, change: Change) -> Iterable[int]:
    match change:
        case Create() | Write() | Touch() | Redact() | Delete():
            number = shard_of_id(change.id)
            if number is None:
                raise InvalidValueError(f"{change.id!r} is not an id.")
            yield number
            if isinstance(change, Create) and change.base is not None and (base := shard_of_id(change.base[0])) is not None:
                yield base
        case Point():
            yield shard_of_home(batch.tenant, change.alias.home)
        case Lend() | Yield():
            yield shard_of_home(batch.tenant, batch.home)


def _lists(shard: Shard, query: SessionQuery) -> list[bytes]:
    created = query.order in ("created", "oldest")
    return [
        shard.list(query.tenant, kind, state, created=created, owner=query.owner, tag=query.tag)
        for kind in query.kinds
        for state in query.states
    ]


def _start_of(query: SessionQuery) -> str:
    """The member of a list that a page starts behind."""
    if query.order in ("created", "oldest"):
        return "" if query.after is None else query.after[1]
    start = "" if query.after is None else f"{query.after[0]:0{_STAMP}}{query.after[1]}"
    if query.order == "activity" and query.active_before is not None:
        # Buckets are never later than the activity they stand for, so nothing before this one is wanted.
        edge = f"{query.active_before:0{_STAMP}}"
        return min(start, edge) if start else edge
    return start


def _cut(text: str, width: int) -> list[str]:
    return [text[start : start + width] for start in range(0, len(text), width)]


def _unescaped(member: str) -> tuple[str, str]:
    """Tenant and id of a member of the due index."""
    tenant, _, identifier = member.rpartition(":")
    return tenant.replace("%3A", ":").replace("%25", "%"), identifier
