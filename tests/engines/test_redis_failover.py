"""What watchers are told when a Redis that lacks the last events takes over, or comes back: their numbers are given out again.

A watcher whose cursor the new server has passed cannot see that by numbers; so a cursor says in which history they were given.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Generator, Sequence
from datetime import timedelta
from typing import Any

import pytest
import redis

import sojourn
from sojourn.core.session import EventRow
from sojourn.engines.redis.engine import RedisEngine
from sojourn.engines.redis.feed import MIXED
from sojourn.engines.redis.routes import _slot_of
from sojourn.errors import InvalidCursorError
from sojourn.shell.bridge import run_sync
from sojourn.shell.feed import cursor_text
from sojourn.testing.faults import FaultProxy
from sojourn.testing.needed import needed
from sojourn.testing.servers import (
    RedisCluster,
    RedisSentinel,
    Server,
    find_redis,
    redis_cluster,
    redis_sentinel,
    redis_server,
)
from tests.engines.test_redis_many import IMPATIENT, PATIENT, TENANT, Colour, Pair, append, command, create

pytestmark = pytest.mark.slow

Cursor = tuple[int, ...]
HOMES = [f"home {number}" for number in range(12)]


@pytest.fixture(params=["blocking", "async"])
def colour(request: pytest.FixtureRequest) -> Colour:
    return Colour(blocking=request.param == "blocking")


@pytest.fixture
def server() -> Generator[Server]:
    with redis_server(needed(find_redis).origin) as running:
        yield running


@pytest.fixture
def pair(server: Server) -> Generator[Pair]:
    with (
        FaultProxy("127.0.0.1", server.port) as link,
        redis_server(replicaof=f"127.0.0.1 {link.port}") as replica,
    ):
        replica.wait_until(lambda: command(replica, "ROLE")[3] == "connected", "it follows")
        yield Pair(server, replica, link)


@pytest.fixture
def sentinel() -> Generator[RedisSentinel]:
    with redis_sentinel(needed(find_redis).origin, down_after_ms=PATIENT) as running:
        yield running


@pytest.fixture
def cluster() -> Generator[RedisCluster]:
    with redis_cluster(needed(find_redis).origin, replicas=1, node_timeout_ms=IMPATIENT) as running:
        running.set_node_timeout(PATIENT)
        yield running


async def make_all(engine: RedisEngine) -> list[str]:
    return [await create(engine, home) for home in HOMES]


async def append_all(engine: RedisEngine, sessions: Sequence[str], text: str) -> None:
    for made in sessions:
        await append(engine, made, text)


async def behind(engine: RedisEngine, cursor: Cursor) -> tuple[list[EventRow], Cursor, list[bool]]:
    """The events behind a cursor, page by page; where they end, and which pages say gap."""
    found: list[EventRow] = []
    gaps: list[bool] = []
    while True:
        page = await engine.events(TENANT, cursor, 5)
        found += page.events
        gaps.append(page.gap)
        cursor = page.cursor
        if not page.events:
            return found, cursor, gaps


def numbers_of(events: Sequence[EventRow]) -> list[tuple[int, int]]:
    return sorted((event.shard, event.number) for event in events)


def numbers_behind(engine: RedisEngine, cursor: Cursor, tip: Cursor) -> list[tuple[int, int]]:
    return [
        (shard.number, number)
        for shard in engine.talk.shards
        for number in range(cursor[shard.number] + 1, tip[shard.number] + 1)
    ]


async def check_gap(engine: RedisEngine, cursor: Cursor, *, kept: Cursor | None = None) -> None:
    """A cursor that was passed is a gap; then comes all that is there behind ``kept``, once."""
    tip, shards = await engine.tip(), len(engine.talk.shards)
    assert all(now >= then for now, then in zip(tip[:shards], cursor[:shards], strict=True)), "no number tells"
    assert await engine.changed(cursor, 0) == "now"
    found, end, (first, *others) = await behind(engine, cursor)
    assert first
    assert not any(others)
    assert numbers_of(found) == numbers_behind(engine, kept or (0,) * shards, tip)
    assert end == tip
    assert await behind(engine, tip) == ([], tip, [False])
    assert await engine.changed(tip, 0) == "timeout"


async def check_no_gap(engine: RedisEngine, cursor: Cursor, sessions: Sequence[str], text: str) -> Cursor:
    """What is appended comes behind the cursor, and nothing else."""
    assert await engine.changed(cursor, 0) == "timeout"
    await append_all(engine, sessions, text)
    assert await engine.changed(cursor, 0) == "now"
    found, end, gaps = await behind(engine, cursor)
    assert not any(gaps)
    assert numbers_of(found) == numbers_behind(engine, cursor, end)
    assert sorted(event.session for event in found) == sorted(sessions)
    return end


# -- servers that lack the last events -----------------------------------------------------------------------------------


def test_a_replica_that_lagged_takes_over_and_passes_the_cursor(colour: Colour, pair: Pair) -> None:
    async def body() -> Cursor:
        engine = await colour.open(pair.primary.url)
        sessions = await make_all(engine)
        command(pair.primary, "WAIT", 1, 5000)
        before = await engine.tip()
        pair.link.stall()
        await append_all(engine, sessions, "lost")
        ahead = await engine.tip()
        await engine.close()
        pair.primary.kill()
        command(pair.replica, "REPLICAOF", "NO", "ONE")
        engine = await colour.open(pair.replica.url)
        assert (await engine.events(TENANT, ahead, 10)).gap, "ahead of all that is there"
        for text in ("new", "newer"):
            await append_all(engine, sessions, text)
        for cursor in (ahead, before):  # who may have missed something, and who has not, which nobody knows
            await check_gap(engine, cursor)
        await engine.close()
        return ahead

    ahead = cursor_text(colour.run(body()))
    with sojourn.open(f"{pair.replica.url}?prefix={colour.prefix}", tenant=TENANT, directory=False) as store:
        seen = list(store.watch(after=ahead, timeout=timedelta(0)))
        assert [event.change for event in seen].index("gap") == 0
        assert [event.change for event in seen].count("gap") == 1
        assert len(seen) == 1 + 3 * len(HOMES)
        again = list(store.watch(after=seen[0].cursor, timeout=timedelta(0)))
        assert [event.cursor for event in again] == [event.cursor for event in seen[1:]]


def test_an_open_store_hears_of_it_when_the_sentinels_replace_the_primary(colour: Colour, sentinel: RedisSentinel) -> None:
    """The replica is held, loses its link, and goes on when the primary is dead."""

    async def body() -> None:
        engine = await colour.open(sentinel.store_url)
        sessions = await make_all(engine)
        command(sentinel.master, "WAIT", 1, 5000)
        await lose(engine, sentinel.master, sentinel.replicas[0], sessions)
        ahead = await engine.tip()
        sentinel.set_down_after(IMPATIENT)
        sentinel.master.kill()
        os.kill(sentinel.replicas[0].pid, signal.SIGCONT)
        for text in ("new", "newer"):
            await append_all(engine, sessions, text)
        await check_gap(engine, ahead)
        await engine.close()

    colour.run(body())


async def lose(engine: RedisEngine, primary: Server, replica: Server, sessions: Sequence[str]) -> None:
    """Append what the replica does not get; it is left stopped."""
    os.kill(replica.pid, signal.SIGSTOP)
    command(primary, "CLIENT", "KILL", "TYPE", "replica")
    await append_all(engine, sessions, "lost")


def test_a_server_that_comes_back_with_an_older_snapshot(colour: Colour, server: Server) -> None:
    """Nobody took over, but what was acknowledged since then is gone all the same."""

    async def body() -> None:
        engine = await colour.open(server.url)
        sessions = await make_all(engine)
        command(server, "SAVE")
        await append_all(engine, sessions, "lost")
        ahead = await engine.tip()
        server.kill()
        server.start()
        for text in ("new", "newer"):
            await append_all(engine, sessions, text)
        await check_gap(engine, ahead)
        await engine.close()

    colour.run(body())


def test_a_node_of_a_cluster_that_lost_something_is_a_gap_in_its_shards_only(colour: Colour, cluster: RedisCluster) -> None:
    async def body() -> None:
        engine = await colour.open(cluster.store_url)
        sessions = await make_all(engine)
        for master in cluster.masters:
            command(master, "WAIT", 1, 5000)
        victim = cluster.masters[0]
        mine = {
            shard.number
            for shard in engine.talk.shards
            if engine.talk.driver._slots[_slot_of(shard.counter)] == ("127.0.0.1", victim.port)  # type: ignore[attr-defined]
        }
        lucky = [made for made in sessions if (await engine.history(TENANT, made, 1))[0].shard not in mine]
        unlucky = [made for made in sessions if made not in lucky]
        assert lucky
        assert unlucky
        replica = next(node for node in cluster.replicas if command(node, "ROLE")[2] == victim.port)
        await lose(engine, victim, replica, sessions)
        ahead = await engine.tip()
        victim.kill()
        os.kill(replica.pid, signal.SIGCONT)
        cluster.set_node_timeout(IMPATIENT)
        replica.wait_until(lambda: command(replica, "ROLE")[0] == "master", "the replica takes over")
        cluster.set_node_timeout(PATIENT)
        for text in ("new", "newer"):
            await append_all(engine, sessions, text)
        kept = tuple(0 if shard.number in mine else ahead[shard.number] for shard in engine.talk.shards)
        await check_gap(engine, ahead, kept=kept)
        for made in sessions:
            page = await engine.events(TENANT, ahead, 100, session=made)
            assert page.gap == (made in unlucky)
            versions = [1, 2, 3] if made in unlucky else [3, 4]
            assert [event.version for event in page.events] == versions
            if made in lucky:
                assert (await engine.events(TENANT, page.cursor, 100)).gap, "what was not asked is as it was"
        await engine.close()

    colour.run(body())


# -- what a cursor carries -----------------------------------------------------------------------------------------------


def test_who_watched_one_session_is_told_of_the_gap_in_all_others_too(colour: Colour, server: Server) -> None:
    """The cursor of its gap stands for all shards, of which one was asked."""

    async def body() -> None:
        engine = await colour.open(server.url)
        sessions = await make_all(engine)
        *numbers, history = await engine.tip()
        old = (*numbers, history + 1)
        assert await engine.changed(old, 0, session=sessions[0]) == "now"
        page = await engine.events(TENANT, old, 10, session=sessions[0])
        assert page.gap
        assert [event.session for event in page.events] == [sessions[0]]
        assert not (await engine.events(TENANT, page.cursor, 10, session=sessions[0])).gap
        found, end, gaps = await behind(engine, page.cursor)
        assert gaps[0]
        assert not any(gaps[1:])
        shard_of = engine.talk.shards.of_id
        others = [made for made in sessions if shard_of(made) is not shard_of(sessions[0])]
        assert sorted(event.session for event in found) == sorted(others)
        assert end == await engine.tip()
        await engine.close()

    colour.run(body())


def test_who_has_seen_nothing_has_missed_nothing(colour: Colour, server: Server) -> None:
    async def body() -> None:
        engine = await colour.open(server.url)
        empty = await engine.tip()
        assert empty[-1]
        await make_all(engine)
        for history in (0, empty[-1] + 1):
            page = await engine.events(TENANT, (*empty[:-1], history), 100)
            assert (page.gap, len(page.events), page.cursor) == (False, len(HOMES), await engine.tip())
        await engine.close()

    colour.run(body())


def test_pages_of_two_histories_are_of_none(colour: Colour, server: Server) -> None:
    """Another server takes over between the replies to one look: the next look is a gap, whoever answers it."""

    async def body() -> None:
        engine = await colour.open(server.url)
        await make_all(engine)
        tip, ask_all = await engine.tip(), engine.talk.ask_all

        async def two(commands: Any, *, wide: bool = True) -> Any:
            first, *others = await ask_all(commands, wide=wide)
            return [first.replace(b"%d" % tip[-1], b"7"), *others]

        engine.talk.ask_all = two  # type: ignore[method-assign]
        mixed = (await engine.events(TENANT, tip, 10)).cursor
        engine.talk.ask_all = ask_all  # type: ignore[method-assign]
        assert mixed == (*tip[:-1], MIXED)
        await check_gap(engine, mixed)
        await engine.close()

    colour.run(body())


def test_a_server_that_does_not_tell_is_gone_by_its_numbers_alone(colour: Colour, server: Server) -> None:
    """A user who may not ask for INFO."""

    async def body() -> None:
        engine = await colour.open(server.url)
        sessions = await make_all(engine)
        tip = await engine.tip()
        command(server, "ACL", "SETUSER", "default", "-info")
        blind = await colour.open(server.url)
        assert await blind.tip() == (*tip[:-1], 0)
        for history in (tip[-1], 0):
            tip = await check_no_gap(blind, (*tip[:-1], history), sessions, f"of {history}")
            assert tip[-1] == history
            assert (await blind.events(TENANT, tuple(number + 1 for number in tip), 10)).gap
        await blind.close()
        await engine.close()

    colour.run(body())


def test_a_cursor_of_an_earlier_release_is_none(server: Server) -> None:
    with sojourn.open(f"{server.url}?prefix=old", directory=False) as store:
        with pytest.raises(InvalidCursorError, match="not a cursor of events"):
            list(store.watch(after=cursor_text((0,) * 64), timeout=timedelta(0)))
        engine: Any = store._aio._engine
        for verb in (engine.events(TENANT, (0,) * 64, 10), engine.changed((0,) * 64, 0)):
            with pytest.raises(InvalidCursorError, match=r"has 65 number\(s\), this one has 64"):
                run_sync(verb)


# -- where nothing is lost -----------------------------------------------------------------------------------------------


def test_what_loses_nothing_is_no_gap(colour: Colour, pair: Pair) -> None:
    """Connections that break, scripts that are forgotten, a store that is opened again, a replica that comes back."""

    async def body() -> None:
        engine = await colour.open(pair.primary.url)
        sessions = await make_all(engine)
        cursor = await check_no_gap(engine, await engine.tip(), sessions, "one")
        with redis.Redis(port=pair.primary.port) as client:
            client.client_kill_filter(_type="normal", skipme=True)
        cursor = await check_no_gap(engine, cursor, sessions, "two")
        command(pair.primary, "SCRIPT", "FLUSH")
        cursor = await check_no_gap(engine, cursor, sessions, "three")
        await engine.close()
        engine = await colour.open(pair.primary.url)
        cursor = await check_no_gap(engine, cursor, sessions, "four")
        pair.replica.kill()
        cursor = await check_no_gap(engine, cursor, sessions, "five")
        pair.replica.start()
        pair.replica.wait_until(lambda: command(pair.replica, "ROLE")[3] == "connected", "it follows again")
        cursor = await check_no_gap(engine, cursor, sessions, "six")
        await engine.close()

    colour.run(body())


def test_on_a_cluster_what_loses_nothing_is_no_gap(colour: Colour, cluster: RedisCluster) -> None:
    async def body() -> None:
        engine = await colour.open(cluster.store_url)
        sessions = await make_all(engine)
        cursor = await check_no_gap(engine, await engine.tip(), sessions, "one")
        for node in cluster.masters:
            with redis.Redis(port=node.port) as client:
                client.client_kill_filter(_type="normal", skipme=True)
            command(node, "SCRIPT", "FLUSH")
        cursor = await check_no_gap(engine, cursor, sessions, "two")
        await engine.close()
        engine = await colour.open(cluster.store_url)
        await check_no_gap(engine, cursor, sessions, "three")
        await engine.close()

    colour.run(body())
