"""Faults on purpose, each with what the user sees: a typed error that is true, and after it nothing lost or done twice."""

from __future__ import annotations

import asyncio
import os
import signal
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Generator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import pytest
import redis
import time_machine

import sojourn
from sojourn.core.batch import Answer, Batch, Create, NewEntry, Write
from sojourn.core.ids import home_number, random_id
from sojourn.core.query import EntryQuery
from sojourn.engines.contract import Engine
from sojourn.engines.redis.address import read_url
from sojourn.engines.redis.engine import AsyncRedisEngine, RedisEngine
from sojourn.errors import EngineError, OutcomeUnknownError, UnavailableError
from sojourn.shell.bridge import run_sync
from sojourn.testing.faults import Direction, DiskFault, FaultProxy, FaultShim, ShimUnavailableError
from sojourn.testing.servers import Server, ServerMissingError, redis_server
from tests.engines.redis_audit import audit

T = TypeVar("T")
TENANT, HOME = "acme", "ann"

_numbers = count(1)


@pytest.fixture(scope="module")
def server() -> Generator[Server]:
    try:
        with redis_server(enable_debug_command="local") as running:
            yield running
    except ServerMissingError as missing:
        pytest.skip(str(missing))


class Colour:
    """One of the two ways to run an engine, on a fresh prefix."""

    def __init__(self, *, blocking: bool) -> None:
        self.blocking = blocking
        self.prefix = f"f{next(_numbers)}"

    def open(self, url: str, *, timeout: float = 10.0, **more: Any) -> RedisEngine:
        place = read_url(url, {"prefix": self.prefix, **more}, timeout)
        return RedisEngine(place) if self.blocking else AsyncRedisEngine(place)

    def run(self, body: Coroutine[Any, Any, T]) -> T:
        return run_sync(body) if self.blocking else asyncio.run(body)


@pytest.fixture(params=["blocking", "async"])
def colour(request: pytest.FixtureRequest) -> Colour:
    return Colour(blocking=request.param == "blocking")


def new_id() -> str:
    return random_id(1, home_number(TENANT, HOME))


async def create(engine: Engine) -> str:
    made = new_id()
    answer = await engine.commit(Batch(TENANT, HOME, (Create(made, "note"),)))
    assert answer.refusal is None
    return made


def line(made: str, text: str) -> Batch:
    return Batch(TENANT, "", (Write(made, entries=(NewEntry("line", text=text),)),), f"key {text}")


async def append(engine: Engine, made: str, text: str) -> Answer:
    answer = await engine.commit(line(made, text))
    assert answer.refusal is None
    return answer


async def texts(engine: Engine, made: str) -> list[str | None]:
    return [entry.text for entry in (await engine.load(TENANT, made, EntryQuery())).entries]


# -- the link ------------------------------------------------------------------------------------------------------------


async def until_answered(engine: Engine, made: str) -> None:
    """Ask until there is an answer, for an engine that gives each try little time."""
    limit = time.monotonic() + 30
    while True:
        try:
            await texts(engine, made)
            return
        except UnavailableError:
            if time.monotonic() > limit:
                raise


async def cut_at(colour: Colour, url: str, proxy: FaultProxy, step: int) -> tuple[int, int]:
    """Cut the link at every ``step``-th byte of a commit, and of its answer; how many were unknown, and stored all the same."""
    engine = colour.open(proxy.url(url))
    made = await create(engine)
    await append(engine, made, "first")
    unknown = stored = 0
    wanted: list[str | None] = ["first"]
    for direction in _DIRECTIONS:
        for after in range(0, 100_000, step):
            text = f"{direction} {after:05}"
            wanted.append(text)
            struck = proxy.cuts
            proxy.cut(direction, after)
            try:
                await append(engine, made, text)
            except OutcomeUnknownError as error:
                assert (error.key, proxy.cuts) == (f"key {text}", struck + 1)  # noqa: PT017 - until there is no byte left
            else:
                break  # the commit, or its answer, has no more bytes
            finally:
                proxy.heal()
            unknown += 1
            answer = await append(engine, made, text)
            stored += answer.replayed
            assert answer.replayed == (direction == "to_client")
    assert await texts(engine, made) == wanted
    await engine.close()
    return unknown, stored


_DIRECTIONS: tuple[Direction, ...] = ("to_server", "to_client")


def test_a_commit_that_was_cut_is_found_by_its_key(colour: Colour, server: Server) -> None:
    with FaultProxy("127.0.0.1", server.port) as proxy:
        unknown, stored = colour.run(cut_at(colour, server.url, proxy, 23))
    assert unknown > stored > 3


def test_connections_may_break_any_number_of_times(colour: Colour, server: Server) -> None:
    """The client library's pool would make a hundred in all."""

    async def body(proxy: FaultProxy) -> None:
        engine = colour.open(proxy.url(server.url))
        made = await create(engine)
        for number in range(130):
            await engine.load(TENANT, made)  # connects
            proxy.cut("to_client")
            with pytest.raises(OutcomeUnknownError):
                await append(engine, made, str(number))
        assert len(await texts(engine, made)) == 130
        await engine.close()

    with FaultProxy("127.0.0.1", server.port) as proxy:
        colour.run(body(proxy))


LOOPS = """
import asyncio, sys, warnings
from sojourn.engines.redis.engine import AsyncRedisEngine
warnings.simplefilter("ignore", ResourceWarning)  # connections end with their loops
engine = AsyncRedisEngine(sys.argv[1])
for _ in range(60):
    assert len(asyncio.run(engine.tip())) == 65
asyncio.run(engine.close())
print("served")
"""


def test_one_store_serves_many_event_loops(server: Server) -> None:
    """In a program of its own, as what is left of a loop that has ended is collected at any later moment."""
    ran = subprocess.run([sys.executable, "-c", LOOPS, server.url], capture_output=True, text=True, check=False)
    assert ran.stdout == "served\n", ran.stderr


@pytest.mark.campaign
def test_a_commit_that_was_cut_at_every_byte(colour: Colour, server: Server) -> None:
    with FaultProxy("127.0.0.1", server.port) as proxy:
        unknown, stored = colour.run(cut_at(colour, server.url, proxy, 1))
    assert unknown > stored > 50


def test_a_server_that_stops_is_given_up_in_the_time_that_was_asked_for(colour: Colour, server: Server) -> None:
    """The time limit is ours: a read is unavailable, of a commit nobody knows, and afterwards its key tells."""

    async def body() -> None:
        patient = colour.open(server.url)
        made = await create(patient)
        await append(patient, made, "x")
        engine = colour.open(server.url, timeout=1)
        await until_answered(engine, made)  # so that it has a connection, which is then waited for in vain
        os.kill(server.pid, signal.SIGSTOP)
        try:
            with pytest.raises(OutcomeUnknownError, match=r"did not answer: \w"):
                await append(engine, made, "y")
            with pytest.raises(UnavailableError, match=r"cannot be reached: \w"):
                await append(engine, made, "z")  # there is no other connection to be had
            with pytest.raises(UnavailableError, match=r"cannot be reached: \w"):
                await engine.load(TENANT, made)
        finally:
            os.kill(server.pid, signal.SIGCONT)
        await append(patient, made, "y")
        assert await texts(patient, made) == ["x", "y"]
        await engine.close()
        await patient.close()

    colour.run(body())


def test_a_pool_that_is_used_up_says_so(server: Server) -> None:
    """Two connections at most, and both wait for a server that does not answer: the third is told before anything was sent."""
    with FaultProxy("127.0.0.1", server.port) as proxy:
        engine = Colour(blocking=True).open(proxy.url(server.url), timeout=1, max_connections=2)
        patient = Colour(blocking=True).open(server.url)
        made = run_sync(create(patient))
        run_sync(until_answered(engine, made))
        proxy.stall()
        outcomes: list[BaseException] = []

        def work(number: int) -> None:
            try:
                run_sync(append(engine, made, str(number)))
            except EngineError as error:
                outcomes.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        proxy.heal()
        used_up = [error for error in outcomes if "all 2 connections are in use" in str(error)]
        assert used_up
        assert {type(error) for error in used_up} == {UnavailableError}
        assert {type(error) for error in outcomes} == {UnavailableError, OutcomeUnknownError}
        for number in range(6):
            run_sync(append(patient, made, str(number)))
        assert sorted(run_sync(texts(patient, made))) == list("012345")  # type: ignore[type-var]
        for one in (engine, patient):
            run_sync(one.close())


def test_what_is_no_redis_is_told(colour: Colour) -> None:
    """It answers, but with what no Redis would say; nobody asks it again and again."""
    asked: list[bytes] = []

    class Oops(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            while data := self.request.recv(65536):
                asked.append(data)
                self.request.sendall(b":oops\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Oops) as other:
        other.daemon_threads = True
        threading.Thread(target=other.serve_forever, daemon=True).start()
        engine = colour.open(f"redis://127.0.0.1:{other.server_address[1]}/0")
        with pytest.raises(UnavailableError):
            colour.run(engine.load(TENANT, new_id()))
        assert 0 < len(asked) < 10
        other.shutdown()


def test_a_server_with_no_room_for_clients_is_unavailable(colour: Colour) -> None:
    with redis_server(maxclients=2) as small:
        held = [redis.Redis.from_url(small.url) for _ in range(2)]
        for client in held:
            client.ping()
        engine = colour.open(small.url)
        with pytest.raises(UnavailableError):  # which says why, unless the server hung up before it was asked
            colour.run(create(engine))
        for client in held:
            client.close()


# -- the server ----------------------------------------------------------------------------------------------------------


def test_a_server_that_loads_its_data_is_not_ready(colour: Colour, server: Server) -> None:
    """LOADING: nothing was done, and it is said that it is worth another try."""

    async def body() -> None:
        engine = colour.open(server.url)
        made = await create(engine)
        with redis.Redis.from_url(server.url) as client:
            for number in range(300):
                client.set(f"filler {number}", "x" * 4096)
            client.config_set("key-load-delay", "3000")
            client.config_set("loading-process-events-interval-bytes", "1024")
            seen = 0
            for _ in range(5):  # until somebody asked while it was loading
                reloading = threading.Thread(target=client.execute_command, args=("DEBUG", "RELOAD"))
                reloading.start()
                while reloading.is_alive():
                    try:
                        await append(engine, made, "x")
                    except UnavailableError as error:
                        assert "is not ready" in str(error)  # noqa: PT017 - it need not be raised each time
                        seen += 1
                reloading.join()
                if seen:
                    break
            client.config_set("key-load-delay", "0")
            client.execute_command("DEL", *(f"filler {number}" for number in range(300)))
        await append(engine, made, "x")
        assert await texts(engine, made) == ["x"]
        assert seen
        await engine.close()

    colour.run(body())


def test_a_server_that_is_busy_with_a_script_is_unavailable(colour: Colour, server: Server) -> None:
    async def body() -> None:
        engine = colour.open(server.url)
        made = await create(engine)
        with redis.Redis.from_url(server.url) as client, redis.Redis.from_url(server.url) as other:
            client.config_set("busy-reply-threshold", "20")

            def hang() -> None:
                with pytest.raises(redis.ResponseError):
                    other.eval("while true do end", 0)

            hanging = threading.Thread(target=hang)
            hanging.start()
            await _until_busy(client, engine)
            with pytest.raises(UnavailableError, match="BUSY"):
                await append(engine, made, "x")
            client.script_kill()
            hanging.join(30)
        await append(engine, made, "x")
        assert await texts(engine, made) == ["x"]
        await engine.close()

    colour.run(body())


async def _until_busy(client: Any, engine: Engine) -> None:
    while True:
        try:
            client.ping()
        except redis.ResponseError as error:
            assert "BUSY" in str(error)  # noqa: PT017 - what is waited for
            return
        await engine.sleep(0)


def test_a_clock_that_is_wrong_here_decides_nothing(server: Server) -> None:
    """A client whose clock is an hour ahead: times and deadlines are the server's, and `facts` says how far off it is."""
    url = f"{server.url}?prefix=clock{next(_numbers)}"
    sojourn.open(url).close()
    with time_machine.travel(datetime.now(UTC) + timedelta(hours=1)), sojourn.open(url) as store:
        made = store.conversations.create("ann")
        message = store.conversations.append(made.id, "user", "x")
        ahead = store.facts()["clock_ahead"]
    now = datetime.now(UTC)
    assert abs(message.created_at - now) < timedelta(minutes=1)
    assert timedelta(minutes=59) < timedelta(microseconds=ahead) < timedelta(minutes=61)
    with sojourn.open(url) as store:
        found = store.conversations.get(made.id)
        assert found is not None
        assert abs(found.last_activity_at - now) < timedelta(minutes=1)
        assert abs(store.facts()["clock_ahead"]) < 10_000_000


# -- death ---------------------------------------------------------------------------------------------------------------


def kill_in_mid_load(colour: Colour, rounds: int, **settings: Any) -> tuple[list[int], list[int]]:
    """Kill and restart a server while six workers append; how many each round were acknowledged, and how many are there."""
    acknowledged, found = [], []
    with redis_server(**settings) as server:
        for _ in range(rounds):
            colour.prefix = f"k{next(_numbers)}"
            known, there = _kill_once(colour, server)
            acknowledged.append(known)
            found.append(there)
    return acknowledged, found


def _kill_once(colour: Colour, server: Server) -> tuple[int, int]:
    engine = colour.open(server.url, timeout=5.0)
    dead = threading.Event()

    async def worker(made: str, known: list[str]) -> None:
        number = 0
        while not dead.is_set():
            text = f"{len(known)} {number}"
            try:
                await append(engine, made, text)
                known.append(text)
            except (UnavailableError, OutcomeUnknownError):
                number += 1
            await asyncio.sleep(0) if not colour.blocking else None

    def strike(known: list[list[str]]) -> None:
        while sum(map(len, known)) < 150:
            time.sleep(0.001)
        server.kill()
        dead.set()

    async def body() -> dict[str, list[str]]:
        sessions = {await create(engine): list[str]() for _ in range(6)}
        striking = threading.Thread(target=strike, args=(list(sessions.values()),))
        striking.start()
        await _together(colour, [partial(worker, *item) for item in sessions.items()])
        striking.join()
        await engine.close()
        return sessions

    sessions = colour.run(body())
    server.start()
    after = RedisEngine(read_url(server.url, {"prefix": colour.prefix}))
    known = there = 0
    for made, wanted in sessions.items():
        stored = run_sync(texts(after, made))
        known += len(wanted)
        there += len(set(wanted) & set(stored))
        assert len(stored) == len(set(stored))
    audit(server.url, colour.prefix)
    run_sync(after.close())
    return known, there


async def _together(colour: Colour, works: Sequence[Callable[[], Coroutine[Any, Any, None]]]) -> None:
    if not colour.blocking:
        await asyncio.gather(*(work() for work in works))
        return
    threads = [threading.Thread(target=lambda work=work: run_sync(work())) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)


@pytest.mark.slow
@pytest.mark.parametrize("fsync", ["always", "everysec"])
def test_a_server_that_is_killed_loses_nothing_that_was_acknowledged(colour: Colour, fsync: str) -> None:
    """With an append-only file; ``everysec`` keeps the death of the process as well, and may lose a second to a power cut."""
    known, there = kill_in_mid_load(colour, 3, appendonly=True, appendfsync=fsync)
    assert there == known
    assert min(known) >= 150


@pytest.mark.campaign
def test_a_server_that_is_killed_again_and_again(colour: Colour) -> None:
    known, there = kill_in_mid_load(colour, 40, appendonly=True, appendfsync="always")
    assert there == known


@pytest.mark.slow
def test_a_server_without_persistence_loses_everything_and_watchers_are_told(colour: Colour) -> None:
    known, there = kill_in_mid_load(colour, 1)
    assert known[0] >= 150
    assert there == [0]

    with redis_server() as server:
        engine = Colour(blocking=True).open(server.url)
        made = run_sync(create(engine))
        cursor = run_sync(engine.tip())
        server.kill()
        server.start()
        assert run_sync(engine.load(TENANT, made)).session is None
        run_sync(create(engine))
        run_sync(create(engine))
        page = run_sync(engine.events(TENANT, tuple(number + 5 for number in cursor), 10))
        assert page.gap
        run_sync(engine.close())


@pytest.mark.slow
def test_a_disk_that_is_full(colour: Colour, tmp_path: Path) -> None:
    """With ``appendfsync always`` the server would rather die than acknowledge; nothing acknowledged is lost."""
    try:
        shim = FaultShim(path_contains="appendonly")
    except ShimUnavailableError as missing:
        pytest.skip(str(missing))
    with shim, redis_server(environment=shim.environment, appendonly=True, appendfsync="always") as server:

        async def body() -> tuple[str, list[str]]:
            engine = colour.open(server.url, timeout=30)
            made, known = await create(engine), []
            for number in range(20):
                if number == 10:
                    shim.set(DiskFault.DISK_IS_FULL)
                try:
                    await append(engine, made, str(number))
                    known.append(str(number))
                except (UnavailableError, OutcomeUnknownError):
                    continue
            await engine.close()
            return made, known

        made, known = colour.run(body())
        assert known == [str(number) for number in range(10)]
        shim.clear()
        server.kill()
        server.start()
        after = RedisEngine(read_url(server.url, {"prefix": colour.prefix}))
        assert set(run_sync(texts(after, made))) >= set(known)
        run_sync(after.close())


@pytest.mark.slow
def test_a_server_that_cannot_save_refuses_to_be_written(colour: Colour) -> None:
    """Where snapshots fail, the server takes no more (``stop-writes-on-bgsave-error``), and reads go on."""

    async def body() -> None:
        with redis_server(save="3600 1") as server, redis.Redis.from_url(server.url) as client:
            engine = colour.open(server.url)
            made = await create(engine)
            client.config_set("rdbcompression", "no")
            (server.directory / "dump.rdb").mkdir()  # so that no snapshot can take its place
            with pytest.raises(redis.ResponseError):
                client.save()
            client.bgsave()
            while client.info("persistence")["rdb_bgsave_in_progress"]:
                await engine.sleep(0.001)
            with pytest.raises(UnavailableError, match="MISCONF"):
                await append(engine, made, "x")
            assert await texts(engine, made) == []
            await engine.close()
            server.kill()  # it would not shut down without a snapshot

    colour.run(body())
