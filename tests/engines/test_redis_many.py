"""Several servers: a primary behind sentinels, and a Cluster. Servers die, step down and hand slots over; nothing that was
acknowledged is lost but what the setting of the store says may be.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator
from itertools import count
from typing import Any, TypeVar

import pytest
import redis

from sojourn.core.batch import Answer, Batch, Create, NewEntry, Write
from sojourn.core.ids import home_number, random_id
from sojourn.core.query import EntryQuery
from sojourn.engines.contract import Engine
from sojourn.engines.redis.address import read_url
from sojourn.engines.redis.engine import RedisEngine
from sojourn.engines.redis.opening import open_place
from sojourn.engines.redis.routes import _slot_of
from sojourn.errors import OutcomeUnknownError, UnavailableError
from sojourn.shell.bridge import run_sync
from sojourn.testing.faults import FaultProxy
from sojourn.testing.servers import (
    RedisCluster,
    RedisSentinel,
    Server,
    ServerFailedError,
    ServerMissingError,
    redis_cluster,
    redis_sentinel,
    redis_server,
)

pytestmark = pytest.mark.slow
T = TypeVar("T")
TENANT = "acme"
WITHIN = 30.0
"""Seconds an operation may wait for another server to take over, on a machine that has other work."""
IMPATIENT, PATIENT = 1_000, 20_000
"""Milliseconds after which a node is taken for dead: where one dies, and where none is to be because the machine is busy."""

_numbers = count(1)


@pytest.fixture(scope="module")
def cluster() -> Generator[RedisCluster]:
    try:
        with redis_cluster(masters=3, replicas=1, node_timeout_ms=IMPATIENT) as running:
            running.set_node_timeout(PATIENT)
            yield running
    except ServerMissingError as missing:
        pytest.skip(str(missing))


@pytest.fixture
def sentinel() -> Generator[RedisSentinel]:
    try:
        with redis_sentinel(down_after_ms=PATIENT) as running:
            yield running
    except ServerMissingError as missing:
        pytest.skip(str(missing))


class Colour:
    """One of the two ways to run an engine, on a fresh prefix."""

    def __init__(self, *, blocking: bool) -> None:
        self.blocking = blocking
        self.prefix = f"m{next(_numbers)}"

    async def open(self, url: str, *, timeout: float = WITHIN, **more: Any) -> RedisEngine:
        return await open_place(read_url(url, {"prefix": self.prefix, **more}, timeout), blocking=self.blocking)

    def run(self, body: Coroutine[Any, Any, T]) -> T:
        return run_sync(body) if self.blocking else asyncio.run(body)

    async def together(self, works: list[Callable[[], Awaitable[T]]]) -> list[T]:
        if not self.blocking:
            return list(await asyncio.gather(*(work() for work in works)))
        results: dict[int, T | BaseException] = {}

        def run(number: int, work: Callable[[], Awaitable[T]]) -> None:
            async def body() -> T:
                return await work()

            try:
                results[number] = run_sync(body())
            except BaseException as error:  # raised below
                results[number] = error

        threads = [threading.Thread(target=run, args=item, daemon=True) for item in enumerate(works)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(110)
        found: list[T] = []
        for number in range(len(works)):
            result = results[number]
            if isinstance(result, BaseException):
                raise result
            found.append(result)
        return found


@pytest.fixture(params=["blocking", "async"])
def colour(request: pytest.FixtureRequest) -> Colour:
    return Colour(blocking=request.param == "blocking")


def new_id(home: str) -> str:
    return random_id(1, home_number(TENANT, home))


async def create(engine: Engine, home: str) -> str:
    made = new_id(home)
    answer = await engine.commit(Batch(TENANT, home, (Create(made, "note"),)))
    assert answer.refusal is None
    return made


async def append(engine: Engine, made: str, text: str) -> Answer:
    """Append under a key, asking again while nobody knows what came of it, as a program would."""
    batch = Batch(TENANT, "", (Write(made, entries=(NewEntry("line", text=text),)),), f"key {text}")
    while True:
        try:
            return await engine.commit(batch)
        except OutcomeUnknownError:
            continue


async def texts(engine: Engine, made: str) -> list[str | None]:
    return [entry.text for entry in (await engine.load(TENANT, made, EntryQuery())).entries]


class Load:
    """Workers that append in homes of their own, and what was acknowledged to them."""

    def __init__(self, colour: Colour, engine: RedisEngine, workers: int = 6) -> None:
        self.colour, self.engine = colour, engine
        self.homes = [f"home {number}" for number in range(workers)]
        self.sessions: dict[str, str] = {}
        self.acknowledged: dict[str, list[str]] = {home: [] for home in self.homes}
        self.before, self.after = 25, 25

    async def run(self, disturb: Callable[[], None]) -> None:
        """Each appends, then the disturbance strikes while all go on appending."""
        for home in self.homes:
            self.sessions[home] = await create(self.engine, home)
        struck = threading.Event()

        async def work(home: str) -> None:
            for number in range(self.before + self.after):
                text = f"{home} {number}"
                answer = await append(self.engine, self.sessions[home], text)
                assert answer.refusal is None
                self.acknowledged[home].append(text)
                if home == self.homes[0] and number == self.before and not struck.is_set():
                    struck.set()
                    disturb()

        await self.colour.together([lambda home=home: work(home) for home in self.homes])  # type: ignore[misc]

    async def check(self) -> None:
        """What was acknowledged is there, once and in order."""
        for home, made in self.sessions.items():
            assert await texts(self.engine, made) == self.acknowledged[home]
            assert len(self.acknowledged[home]) == self.before + self.after


def command(server: Server, *words: Any) -> Any:
    with redis.Redis(port=server.port, decode_responses=True) as client:
        return client.execute_command(*words)


# -- sentinels -----------------------------------------------------------------------------------------------------------


def test_a_primary_that_dies_is_replaced_by_the_sentinels(colour: Colour, sentinel: RedisSentinel) -> None:
    """Under load; with one replica waited for, nothing that was acknowledged is lost."""

    async def body() -> None:
        safe = await colour.open(sentinel.store_url, wait=1)
        load = Load(colour, safe)
        replica = sentinel.replicas[0]

        def strike() -> None:
            sentinel.set_down_after(IMPATIENT)
            sentinel.master.kill()  # from here on there is no replica to wait for
            safe.talk.place = read_url(sentinel.store_url, {"prefix": colour.prefix}, WITHIN)

        await load.run(strike)
        await load.check()
        assert command(replica, "ROLE")[0] == "master"
        await safe.close()

    colour.run(body())


def test_a_primary_that_steps_down_is_left(sentinel: RedisSentinel) -> None:
    """The sentinels are asked to change over: the old primary lives on as a replica, and refuses what it is asked to write.

    In one colour, because sentinels take ten seconds to turn the old primary round.
    """
    colour = Colour(blocking=False)

    async def body() -> None:
        engine = await colour.open(sentinel.store_url)
        load = Load(colour, engine)
        sentinel.sentinels[0].wait_until(lambda: _may_fail_over(sentinel), "a failover may be asked for")
        await load.run(lambda: command(sentinel.sentinels[0], "SENTINEL", "FAILOVER", sentinel.name))
        sentinel.master.wait_until(lambda: command(sentinel.master, "ROLE")[0] == "slave", "the old primary follows")
        await append(engine, load.sessions["home 0"], "at last")
        assert (await texts(engine, load.sessions["home 0"]))[-1] == "at last"
        await engine.close()

    colour.run(body())


def _may_fail_over(sentinel: RedisSentinel) -> bool:
    return bool(command(sentinel.replicas[0], "INFO", "replication")["master_link_status"] == "up")


def test_what_the_sentinels_do_not_know_is_unavailable(sentinel: RedisSentinel) -> None:
    url = sentinel.store_url.replace(f"/{sentinel.name}", "/nobody")
    with pytest.raises(UnavailableError, match="watch nothing called 'nobody'"):
        run_sync(open_place(read_url(url, {}, 2), blocking=True))
    sentinel.sentinels[0].kill()
    run_sync(run_sync(open_place(read_url(sentinel.store_url, {}, WITHIN), blocking=True)).close())


# -- a Cluster -----------------------------------------------------------------------------------------------------------


def _see_through(replica: Server) -> None:
    """A server of a busy machine may give a failover up that took it too long (five seconds); then it is asked for again."""
    for _ in range(5):
        try:
            replica.wait_until(lambda: command(replica, "ROLE")[0] == "master", "the replica took over", within=6)
        except ServerFailedError:
            command(replica, "CLUSTER", "FAILOVER")
        else:
            return
    raise AssertionError("the replica never took over")


def test_a_node_of_a_cluster_that_steps_down_is_left(colour: Colour, cluster: RedisCluster) -> None:
    """A replica takes the slots over while all go on: MOVED says where they are, nothing is lost, nobody sees an error."""

    async def body() -> None:
        cluster.settle()
        engine = await colour.open(cluster.store_url)
        load = Load(colour, engine, 9)
        replicas = [node for node in cluster.nodes if command(node, "ROLE")[0] == "slave"]
        await load.run(lambda: command(replicas[0], "CLUSTER", "FAILOVER"))
        _see_through(replicas[0])
        await load.check()
        assert sum((await engine.tip())[:64]) == 9 + 9 * 50
        await engine.close()

    colour.run(body())


def test_a_slot_that_moves_is_followed(colour: Colour, cluster: RedisCluster) -> None:
    """Half-way, when some keys are here and some there, nothing is written; once it has moved, everything goes on there."""

    async def body() -> None:
        cluster.settle()
        engine = await colour.open(cluster.store_url)
        made = await create(engine, "mover")
        shard = engine.talk.shards.of_id(made)
        assert shard is not None
        slot, nodes = _slot_of(shard.counter), {address: node for node in cluster.nodes for address in [node.port]}
        await append(engine, made, "one")
        tip = await engine.tip()
        address = engine.talk.driver._slots[slot]  # type: ignore[attr-defined]
        source = nodes[address[1]]
        target = next(node for node in nodes.values() if node is not source and command(node, "ROLE")[0] == "master")
        identities = {node: command(node, "CLUSTER", "MYID") for node in (source, target)}
        command(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", identities[source])
        command(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", identities[target])
        try:
            hasty = await colour.open(cluster.store_url)
            assert await texts(hasty, made) == ["one"]
            hasty.talk.driver._place = read_url(cluster.store_url, {}, 0.3)  # type: ignore[attr-defined]
            with pytest.raises(UnavailableError, match="being moved"):
                await append(hasty, made, "hasty")
            await hasty.close()
        finally:
            keys = command(source, "CLUSTER", "GETKEYSINSLOT", slot, 100)
            command(source, "MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
            for node in (target, source):
                command(node, "CLUSTER", "SETSLOT", slot, "NODE", identities[target])
        await append(engine, made, "two")
        assert await texts(engine, made) == ["one", "two"]
        assert engine.talk.driver._slots[slot] == ("127.0.0.1", target.port)  # type: ignore[attr-defined]
        page = await engine.events(TENANT, tip, 10)
        assert (page.gap, [event.version for event in page.events]) == (True, [1, 2, 3]), "numbers of another server"
        await engine.close()

    colour.run(body())


def test_a_node_of_a_cluster_that_dies_is_replaced(colour: Colour, cluster: RedisCluster) -> None:
    """Its replica is elected within the node time-out; until then operations wait, and go on where they can."""

    async def body() -> None:
        cluster.settle()
        cluster.set_node_timeout(IMPATIENT)
        engine = await colour.open(cluster.store_url, wait=1)
        load = Load(colour, engine, 9)
        victim = next(node for node in cluster.nodes if command(node, "ROLE")[0] == "master" and command(node, "ROLE")[2])

        def strike() -> None:
            victim.kill()
            engine.talk.place = read_url(cluster.store_url, {"prefix": colour.prefix}, WITHIN)

        await load.run(strike)
        await load.check()
        await engine.close()
        victim.start()
        victim.wait_until(lambda: _follows(victim), "it follows the one that took over")
        cluster.set_node_timeout(PATIENT)

    colour.run(body())


def _follows(node: Server) -> bool:
    role = command(node, "ROLE")
    return bool(role[0] == "slave" and role[3] == "connected")


def test_a_part_of_a_cluster_that_is_gone_takes_no_other_with_it(cluster: RedisCluster) -> None:
    """Homes whose slots are on other nodes go on; those of the dead node are unavailable in the time that was asked for."""
    with redis_cluster(masters=3, replicas=0, node_timeout_ms=1000) as other:
        patient = run_sync(open_place(read_url(other.store_url, {}, WITHIN), blocking=True))
        sessions = {home: run_sync(create(patient, home)) for home in map(str, range(12))}
        run_sync(patient.close())
        engine = run_sync(open_place(read_url(other.store_url, {}, 2), blocking=True))
        other.masters[0].kill()
        outcomes = []
        for made in sessions.values():
            try:
                run_sync(append(engine, made, "x"))
                outcomes.append("stored")
            except UnavailableError:
                outcomes.append("unavailable")
        assert set(outcomes) == {"stored", "unavailable"}
        run_sync(engine.close())


# -- replicas ------------------------------------------------------------------------------------------------------------


class Pair:
    """A primary, and a replica that follows it through a link that can be held."""

    def __init__(self, primary: Server, replica: Server, link: FaultProxy) -> None:
        self.primary, self.replica, self.link = primary, replica, link


@pytest.fixture
def pair() -> Generator[Pair]:
    try:
        with (
            redis_server() as primary,
            FaultProxy("127.0.0.1", primary.port) as link,
            redis_server(replicaof=f"127.0.0.1 {link.port}") as replica,
        ):
            replica.wait_until(lambda: command(replica, "INFO", "replication")["master_link_status"] == "up", "it follows")
            yield Pair(primary, replica, link)
    except ServerMissingError as missing:
        pytest.skip(str(missing))


def test_a_replica_that_lagged_has_lost_what_nobody_waited_for(colour: Colour, pair: Pair) -> None:
    """Without waiting, a commit is acknowledged by the primary alone; with it, none is that the replica has not."""

    async def body() -> None:
        quick = await colour.open(pair.primary.url)
        made = await create(quick, "ann")
        safe = await colour.open(pair.primary.url, wait=1, wait_timeout=1)
        assert (await append(safe, made, "kept")).refusal is None
        pair.link.stall()
        for number in range(5):
            await append(quick, made, f"lost {number}")
        waited = Batch(TENANT, "", (Write(made, entries=(NewEntry("line", text="unsure"),)),), "k2")
        for _ in range(2):  # also when it is a replay
            with pytest.raises(OutcomeUnknownError, match="0 of 1 replicas") as caught:
                await safe.commit(waited)
            assert caught.value.key == "k2"
        assert (await texts(quick, made))[-1] == "unsure"
        await quick.close()
        await safe.close()
        pair.primary.kill()
        command(pair.replica, "REPLICAOF", "NO", "ONE")
        after = await colour.open(pair.replica.url)
        assert await texts(after, made) == ["kept"]
        await after.close()

    colour.run(body())


def test_a_replica_that_catches_up_makes_the_answer_sure(colour: Colour, pair: Pair) -> None:
    async def body() -> None:
        slow = await colour.open(pair.primary.url, wait=1, wait_timeout=20)
        made = await create(slow, "ann")
        engine = await colour.open(pair.primary.url, wait=1, wait_timeout=1)
        os.kill(pair.replica.pid, signal.SIGSTOP)
        try:
            batch = Batch(TENANT, "", (Write(made, entries=(NewEntry("line", text="x"),)),), "k")
            with pytest.raises(OutcomeUnknownError):
                await engine.commit(batch)
        finally:
            os.kill(pair.replica.pid, signal.SIGCONT)
        answer = await slow.commit(batch)
        assert (answer.refusal, answer.replayed) == (None, True)
        await engine.close()
        await slow.close()
        assert command(pair.replica, "LLEN", _log(engine, made)) == 1

    colour.run(body())


def _log(engine: RedisEngine, made: str) -> str:
    shard = engine.talk.shards.of_id(made)
    assert shard is not None
    return f"{shard.tenant(TENANT)}e:{made}"


def test_a_replica_refuses_to_be_written(colour: Colour, pair: Pair) -> None:
    from sojourn.errors import ReadOnlyError

    async def body() -> None:
        engine = await colour.open(pair.primary.url)
        made = await create(engine, "ann")
        command(pair.primary, "WAIT", 1, 5000)
        await engine.close()
        reader = await colour.open(pair.replica.url)
        assert await texts(reader, made) == []
        with pytest.raises(ReadOnlyError, match="is a replica"):
            await append(reader, made, "x")
        await reader.close()

    colour.run(body())
