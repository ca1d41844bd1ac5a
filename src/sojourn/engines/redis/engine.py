"""The Redis and Valkey engine in both colours.

One script call carries out a commit; a read of one session is one script call; what asks all homes asks every shard in one
pipeline. Both colours share everything but the driver.
"""

from __future__ import annotations

import builtins
import json
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, Final

from sojourn.core.batch import Answer, Batch, Create, Delete, Redact, Touch, Write
from sojourn.core.query import EntryQuery, SearchQuery, SessionQuery
from sojourn.core.session import Alias, AliasKey, EventRow, Session, Snapshot
from sojourn.engines.background import TaskBackground, ThreadBackground
from sojourn.engines.contract import Background, Capabilities, Changed, Clock, ErasedRows, EventPage, Hit
from sojourn.engines.redis import wire
from sojourn.engines.redis.address import Place, read_url
from sojourn.engines.redis.commands import Command
from sojourn.engines.redis.driver import BlockingNodes, Driver, Nodes
from sojourn.engines.redis.facts import facts
from sojourn.engines.redis.faults import too_few_replicas, translate
from sojourn.engines.redis.feed import Feed
from sojourn.engines.redis.keys import Shard, Shards, escape
from sojourn.engines.redis.lists import Lists
from sojourn.engines.redis.routes import ClusterDriver, SentinelDriver
from sojourn.engines.redis.talk import Talk
from sojourn.engines.redis.upkeep import Upkeep
from sojourn.errors import InvalidValueError, UnsupportedError

CAPABILITIES: Final = Capabilities(engine="redis", search=False)


class RedisEngine:
    """A store on Redis or Valkey, for blocking code; any number of threads and processes may share it.

    ``clock`` is for tests: the time is the server's otherwise.
    """

    def __init__(self, place: Place | str, *, clock: Clock | None = None) -> None:
        place = read_url(place) if isinstance(place, str) else place
        self.talk: Talk = Talk(place, self._driver(place), clock)
        self._lists = Lists(self.talk)
        self._feed = Feed(self.talk)
        self._upkeep = Upkeep(self.talk)

    def _driver(self, place: Place) -> Driver:
        nodes = self._nodes()
        if place.kind == "sentinel":
            return SentinelDriver(place, nodes)
        if place.kind == "cluster":
            return ClusterDriver(place, nodes)
        return nodes.open(place, place.addresses[0])

    def _nodes(self) -> Nodes:
        return BlockingNodes()

    @property
    def capabilities(self) -> Capabilities:
        """No search."""
        return CAPABILITIES

    # -- commits ---------------------------------------------------------------------------------------------------

    async def commit(self, batch: Batch) -> Answer:
        """See `contract.Engine.commit`."""
        talk, place = self.talk, self.talk.place
        shard = _shard_of(batch, talk.shards)
        commands: builtins.list[Command] = [
            talk.scripts.commit.call(
                (shard.counter, shard.events, shard.due, shard.operations, shard.deleted),
                talk.time(),
                shard.tenant(batch.tenant).encode(),
                *wire.write_batch(batch, waits=place.wait > 0, probes=talk.driver.divided),
            )
        ]
        if place.wait:
            millis = b"%d" % max(1, int(place.wait_timeout * 1000))
            commands.append(Command(b"WAIT", b"%d" % place.wait, millis, key=shard.counter, follows=True))
        reply, *waited = await talk.driver.ask(commands)
        if isinstance(reply, Exception):
            raise translate(reply, place.shown, writing=True, key=batch.operation) from reply
        answer = wire.read_answer(batch.tenant, reply)
        if waited and answer.refusal is None:
            self._check_replicas(batch, waited[0])
        return answer

    def _check_replicas(self, batch: Batch, reply: Any) -> None:
        """What was committed is acknowledged only when so many replicas have it as were asked for."""
        place = self.talk.place
        if isinstance(reply, Exception):
            raise translate(reply, place.shown, writing=True, key=batch.operation) from reply
        if reply < place.wait:
            raise too_few_replicas(place.shown, reply, place.wait, batch.operation)

    # -- one session -----------------------------------------------------------------------------------------------

    async def load(self, tenant: str, session: str, entries: EntryQuery | None = None) -> Snapshot:
        """See `contract.Engine.load`; a long log comes in several replies, so that the server is never held for long."""
        talk = self.talk
        shard = talk.shards.of_id(session)
        if shard is None:
            return Snapshot(await self.now(), None)
        pages = wire.EntryPages(entries)
        while True:
            command = talk.scripts.load.call(
                (shard.session(tenant, session),),
                talk.time(),
                shard.tenant(tenant).encode(),
                session.encode(),
                pages.question(),
            )
            now, row, *page = json.loads(await talk.ask(command))
            if row is None:
                return Snapshot(now, None)
            if pages.take(now, row, *page):
                return Snapshot(pages.now, wire.read_session(tenant, session, pages.row), pages.entries())

    async def follow(self, tenant: str, alias: AliasKey) -> Snapshot:
        """See `contract.Engine.follow`; a session in another home's shard costs a second round trip."""
        talk = self.talk
        shard = talk.shards.of_home(tenant, alias.home)
        command = talk.scripts.follow.call(
            (shard.aliases(tenant, alias.home),),
            talk.time(),
            shard.tenant(tenant).encode(),
            f"{escape(alias.namespace)}:{escape(alias.key)}".encode(),
        )
        now, row, seen = json.loads(await talk.ask(command))
        found = wire.read_alias(alias, row)
        if found.target is None:
            return Snapshot(now, None, alias=found)
        if seen is not None:
            return Snapshot(now, wire.read_session(tenant, found.target, seen), alias=found)
        elsewhere = talk.shards.of_id(found.target)
        if elsewhere is None or elsewhere is shard:
            return Snapshot(now, None, alias=found)
        return replace(await self.load(tenant, found.target), alias=found)

    async def aliases(self, tenant: str, *, target: str, home: str | None = None) -> builtins.list[Alias]:
        """See `contract.Engine.aliases`; without a home, every shard is asked."""
        talk, wanted = self.talk, target.encode()
        commands = [
            talk.scripts.aliases.call((shard.pointing(tenant, target),), b"", shard.tenant(tenant).encode(), wanted)
            for shard in talk.asked(tenant, home)
        ]
        found = [
            wire.read_alias(AliasKey(*name), row)
            for reply in await talk.ask_all(commands, wide=home is None)
            for name, row in json.loads(reply)
        ]
        return sorted(
            (alias for alias in found if home in (None, alias.key.home)),
            key=lambda alias: (alias.key.namespace, alias.key.key),
        )

    async def tags(self, tenant: str, session: str) -> builtins.list[str]:
        """See `contract.Engine.tags`."""
        shard = self.talk.shards.of_id(session)
        if shard is None:
            return []
        state, tags = await self.talk.ask(Command(b"HMGET", shard.session(tenant, session), b"s", b"t"))
        return [] if tags is None or state == b"deleted" else sorted(json.loads(tags))

    # -- all homes -------------------------------------------------------------------------------------------------

    async def list(self, query: SessionQuery) -> builtins.list[Session]:
        """See `contract.Engine.list`."""
        return await self._lists.page(query)

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
        """See `contract.Engine.count`."""
        if active_after is not None:
            return await self._lists.recent(tenant, kind, tag, owner, home, active_after)
        return await self._lists.count(tenant, kind, tag, owner, home)

    async def due(self, tenant: str | None, limit: int, ahead: int = 0) -> builtins.list[Session]:
        """See `contract.Engine.due`."""
        return await self._lists.due(tenant, limit, ahead)

    async def tip(self) -> tuple[int, ...]:
        """See `contract.Engine.tip`: a number for each shard."""
        return await self._feed.tip()

    async def events(
        self, tenant: str, after: tuple[int, ...], limit: int, *, kind: str | None = None, session: str | None = None
    ) -> EventPage:
        """See `contract.Engine.events`."""
        return await self._feed.events(tenant, after, limit, kind=kind, session=session)

    async def history(self, tenant: str, session: str, limit: int) -> builtins.list[EventRow]:
        """See `contract.Engine.history`."""
        return await self._feed.history(tenant, session, limit)

    async def changed(self, after: tuple[int, ...], timeout: float, *, session: str | None = None) -> Changed:
        """See `contract.Engine.changed`."""
        return await self._feed.changed(after, timeout, session=session)

    async def search(self, query: SearchQuery) -> builtins.list[Hit]:
        """Not on Redis."""
        del query
        raise UnsupportedError(
            f"{self.talk.place.shown}: there is no search on Redis.",
            hint="Keep what is to be searched on SQLite or PostgreSQL; store.capabilities.search says where there is one.",
        )

    async def index(self, limit: int) -> int:
        """Nothing to do: there is no search."""
        del limit
        return 0

    async def purge(self, limit: int) -> int:
        """See `contract.Engine.purge`."""
        return await self._upkeep.purge(limit)

    async def erase(self, tenant: str, owner: str, limit: int) -> ErasedRows:
        """See `contract.Engine.erase`."""
        return await self._upkeep.erase(tenant, owner, limit)

    # -- life ------------------------------------------------------------------------------------------------------

    async def now(self) -> int:
        """See `contract.Engine.now`."""
        if self.talk.clock is not None:
            return self.talk.clock()
        seconds, micros = await self.talk.ask(Command(b"TIME", key=self.talk.shards[0].counter))
        return int(seconds) * 1_000_000 + int(micros)

    async def sleep(self, seconds: float) -> None:
        """See `contract.Engine.sleep`."""
        await self.talk.driver.sleep(seconds)

    def spawn(self, body: Callable[[], Coroutine[Any, Any, None]]) -> Background:
        """See `contract.Engine.spawn`."""
        return ThreadBackground(body)

    async def facts(self) -> dict[str, Any]:
        """See `contract.Engine.facts`."""
        return await facts(self.talk)

    async def close(self) -> None:
        """See `contract.Engine.close`."""
        await self.talk.driver.close()


class AsyncRedisEngine(RedisEngine):
    """The same for event loops: what waits at the same moment travels in one pipeline."""

    def _nodes(self) -> Nodes:
        from sojourn.engines.redis.aio import LoopNodes

        return LoopNodes()

    def spawn(self, body: Callable[[], Coroutine[Any, Any, None]]) -> Background:
        """See `contract.Engine.spawn`."""
        return TaskBackground(body)


def _shard_of(batch: Batch, shards: Shards) -> Shard:
    """The one shard of a batch: that of its sessions' ids, since a caller may know no more than an id."""
    home = shards.of_home(batch.tenant, batch.home) if batch.home else None
    found: Shard | None = None
    for change in batch.changes:
        shard = home
        if isinstance(change, _NAMING):
            shard = shards.of_id(change.id)
            if shard is None:
                raise InvalidValueError(f"{change.id!r} is not an id.")
        if isinstance(change, Create):
            _check_place(batch, change, shard, home, shards)
        if found is not None and shard is not found:
            raise InvalidValueError(
                "a batch whose sessions, aliases and leases are not of one home.",
                hint="What crosses homes is a sequence of commits.",
            )
        found = shard
    return found or shards.of_home(batch.tenant, batch.home)


_NAMING: Final = (Create, Write, Touch, Redact, Delete)


def _check_place(batch: Batch, change: Create, shard: Shard | None, home: Shard | None, shards: Shards) -> None:
    """A session is made where its home is, and so is a fork."""
    if shard is not home:
        raise InvalidValueError(
            f"the id {change.id} does not belong to home {batch.home!r} of tenant {batch.tenant!r}.",
            hint="An id carries the shard of its tenant and home; make it with new_id(home, tenant=…).",
        )
    if change.base is not None and shards.of_id(change.base[0]) not in (None, home):
        raise InvalidValueError(
            f"a session of home {batch.home!r} branches from one of another home.", hint="A fork lives in its parent's home."
        )
