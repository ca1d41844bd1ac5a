"""PostgreSQL when things go wrong: links cut at any byte or stalled, a server that is killed, clocks that differ, forks."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from functools import partial
from typing import Any, Literal, TypeVar

import psycopg
import pytest

import sojourn
from sojourn.core.batch import Answer, Batch, Create, NewEntry, Write
from sojourn.core.ids import new_id
from sojourn.core.query import EntryQuery
from sojourn.engines.contract import Engine
from sojourn.engines.locate import EngineOptions
from sojourn.engines.postgres import settings as settings_module
from sojourn.engines.postgres.aio import AsyncPostgresEngine
from sojourn.engines.postgres.engine import PostgresEngine
from sojourn.engines.postgres.settings import Settings
from sojourn.errors import ClosedError, OutcomeUnknownError, SojournError, UnavailableError
from sojourn.shell.bridge import run_sync
from sojourn.testing.faults import FaultProxy
from sojourn.testing.servers import Server, postgres_server

T = TypeVar("T")

TENANT, HOME = "t", "home"
STEP = 7
"""Of the bytes of a commit, every so many is where a link is cut; the campaign takes every one."""

Direction = Literal["to_server", "to_client"]
Drive = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=["blocking", "async"])
def blocking(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "blocking")


def drive(coroutine: Coroutine[Any, Any, None], *, blocking: bool) -> None:
    """Run a test's story, and close what it has opened however it ends: the next test must not hear of it."""

    async def whole() -> None:
        try:
            await coroutine
        finally:
            while _OPEN:
                await _OPEN.pop().close()

    if blocking:
        run_sync(whole())
    else:
        asyncio.run(whole())


_OPEN: list[Engine] = []


async def opened(url: str, *, blocking: bool, **settings: Any) -> PostgresEngine:
    """An engine for a story; its tables are made first, by one who has time for it."""
    engine = await opened_by_hand(url, blocking=blocking, **settings)
    _OPEN.append(engine)
    return engine


async def opened_by_hand(url: str, *, blocking: bool = True, **settings: Any) -> PostgresEngine:
    """The same, for whoever closes it."""
    kind = PostgresEngine if blocking else AsyncPostgresEngine
    await (await kind.open(url, timeout=30)).close()
    return await answered(lambda: kind.open(url, **settings))


async def answered(ask: Callable[[], Awaitable[T]]) -> T:
    """The result, asked for until it comes, as a program would that gives each try a second."""
    limit = time.monotonic() + 30
    while True:
        try:
            return await ask()
        except (UnavailableError, OutcomeUnknownError):
            if time.monotonic() > limit:
                raise


async def made(engine: Engine) -> str:
    session = new_id(HOME, tenant=TENANT)
    assert (await engine.commit(Batch(TENANT, HOME, (Create(session, "note"),)))).refusal is None
    return session


async def append(engine: Engine, session: str, key: str) -> Answer:
    return await engine.commit(Batch(TENANT, "", (Write(session, entries=(NewEntry("line", text=key),)),), key))


async def texts(engine: Engine, session: str) -> list[str | None]:
    found = await engine.load(TENANT, session, EntryQuery())
    assert [entry.sequence for entry in found.entries] == list(range(1, 1 + len(found.entries)))
    return [entry.text for entry in found.entries]


# -- links -----------------------------------------------------------------------------------------------------------


def proxied(url: str, server: Server) -> tuple[FaultProxy, Callable[[], str]]:
    proxy = FaultProxy("127.0.0.1", server.port)
    return proxy, lambda: proxy.url(url)


async def cut_everywhere(url: str, server: Server, direction: Direction, step: int, *, blocking: bool) -> tuple[int, int]:
    """Cut a link at every ``step``-th byte of an append; each time the key tells what became of it. (unknown, done) counts."""
    proxy, through = proxied(url, server)
    with proxy:
        engine = await opened(through(), blocking=blocking, connections=1)
        session = await made(engine)
        for turn in range(8):  # until the statement is prepared, and all commits are alike
            await append(engine, session, f"warm {turn}")
        sizes: list[int] = []
        for turn in range(5):  # the least of several is one answer
            before = proxy.carried[direction]
            await append(engine, session, f"size {turn}")
            server.wait_until(lambda before=before: proxy.carried[direction] > before, "it is counted")  # type: ignore[misc]
            sizes.append(proxy.carried[direction] - before)
        size = min(found for found in sizes if found)
        kept = await texts(engine, session)
        unknown = 0
        for place in range(0, size + 1, step):
            key = f"cut {place}"
            struck = proxy.cuts
            proxy.cut(direction, after=place)
            try:
                assert not (await append(engine, session, key)).replayed
            except OutcomeUnknownError as error:
                unknown += (error.key, proxy.cuts) == (key, struck + 1)
            proxy.heal()
            again = await append(engine, session, key)
            assert again.refusal is None
            kept.append(key)
            for turn in range(6):  # the connection is a new one: prepared again
                await engine.load(TENANT, f"nobody {turn}")
        assert await texts(engine, session) == kept
        return unknown, size


@pytest.mark.slow
@pytest.mark.parametrize("direction", ["to_server", "to_client"])
def test_a_link_cut_in_a_commit_leaves_nothing_that_the_key_does_not_tell(
    store_url: str, postgres: Server, direction: Direction, blocking: bool
) -> None:
    async def story() -> None:
        unknown, size = await cut_everywhere(store_url, postgres, direction, STEP * 5, blocking=blocking)
        assert size > 100
        assert unknown >= size // (STEP * 5) - 1

    drive(story(), blocking=blocking)


@pytest.mark.campaign
@pytest.mark.parametrize("direction", ["to_server", "to_client"])
def test_a_link_cut_at_every_byte_of_a_commit(store_url: str, postgres: Server, direction: Direction) -> None:
    async def story() -> None:
        unknown, size = await cut_everywhere(store_url, postgres, direction, 1, blocking=True)
        assert unknown >= size - 1

    run_sync(story())


def test_a_link_that_stalls_ends_within_our_time_limit(store_url: str, postgres: Server, blocking: bool) -> None:
    """Nothing is reset and nothing answers: reads are unavailable, a commit's outcome is unknown, and the key finds it."""

    async def story() -> None:
        proxy, through = proxied(store_url, postgres)
        with proxy:
            engine = await opened(through(), blocking=blocking, connections=2, timeout=1)
            session = await answered(lambda: made(engine))
            proxy.stall("to_client")
            started = time.monotonic()
            with pytest.raises(OutcomeUnknownError) as unknown:
                await append(engine, session, "k")
            assert unknown.value.key == "k"
            with pytest.raises(UnavailableError):
                await engine.load(TENANT, session)
            with pytest.raises(UnavailableError):  # nor can a new connection be had
                await engine.tip()
            assert time.monotonic() - started < 30
            proxy.heal()
            assert (await answered(lambda: append(engine, session, "k"))).replayed
            assert await answered(lambda: texts(engine, session)) == ["k"]

    drive(story(), blocking=blocking)


def test_a_slow_link_is_waited_for_within_the_limit(store_url: str, postgres: Server, blocking: bool) -> None:
    async def story() -> None:
        proxy, through = proxied(store_url, postgres)
        with proxy:
            engine = await opened(through(), blocking=blocking, connections=1)
            proxy.delay(0.03, 0.02)
            session = await made(engine)
            await append(engine, session, "a")
            assert await texts(engine, session) == ["a"]

    drive(story(), blocking=blocking)


# -- a busy server ---------------------------------------------------------------------------------------------------


def test_a_commit_that_waits_too_long_for_a_lock_is_refused_and_not_done_later(
    store_url: str, blocking: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server gives up before we do, so it is known that nothing was stored."""
    assert Settings(url="", timeout=1).patience == 800
    monkeypatch.setattr(settings_module, "LOCKED_FOR", 0.1)  # long before, so that a busy machine changes nothing

    async def story() -> None:
        engine = await opened(store_url, blocking=blocking)
        session = await answered(lambda: made(engine))
        with psycopg.connect(store_url) as blocker:
            blocker.execute("select 1 from sojourn_session for update")
            with pytest.raises(UnavailableError, match="too busy"):
                await append(engine, session, "k")
            blocker.rollback()
        assert await texts(engine, session) == []
        assert not (await append(engine, session, "k")).replayed

    drive(story(), blocking=blocking)


def test_whoever_asks_in_the_moment_in_which_the_pool_closes_is_told(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """psycopg's pool looks whether it is closed, and then lets the caller wait; between the two another thread may close it."""
    engine = run_sync(PostgresEngine.open(store_url, connections=1))
    pool: Any = engine._driver._pool  # type: ignore[attr-defined]
    look = pool._check_open_getconn

    def closed_after_the_look() -> None:
        look()
        pool.close()

    with monkeypatch.context() as patch:
        patch.setattr(pool, "_check_open_getconn", closed_after_the_look)
        with pytest.raises(ClosedError):
            run_sync(engine.load(TENANT, new_id(HOME, tenant=TENANT)))
    run_sync(engine.close())


def test_an_exhausted_pool_is_unavailable(store_url: str, blocking: bool) -> None:
    """Somebody has the only connection: who cannot have it in time is told so, and that nothing was stored."""

    async def story() -> None:
        engine = await opened(store_url, blocking=blocking, connections=1, timeout=1)
        session = await answered(lambda: made(engine))
        pool: Any = engine._driver._pool  # type: ignore[attr-defined]  # whose only connection is taken here
        held = pool.getconn() if blocking else await pool.take()
        for verb in (engine.load(TENANT, session), append(engine, session, "k"), engine.tip()):
            with pytest.raises(UnavailableError, match="no connection in time"):
                await verb
        _ = pool.putconn(held) if blocking else pool.put(held)
        assert await answered(lambda: texts(engine, session)) == []
        assert not (await append(engine, session, "k")).replayed

    drive(story(), blocking=blocking)


# -- a server that dies ----------------------------------------------------------------------------------------------


class Load:
    """Threads that append one after the other, each to a session of its own, and ask again when they were not answered."""

    def __init__(self, engine: Engine, workers: int) -> None:
        self.engine = engine
        self.sessions = [run_sync(answered(lambda: made(engine))) for _ in range(workers)]
        self.acknowledged: list[list[str]] = [[] for _ in range(workers)]
        self.again = [0] * workers
        self.broken: list[BaseException] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(place,)) for place in range(workers)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _work(self, place: int) -> None:
        try:
            while not self._stop.is_set():
                key = f"{place}.{len(self.acknowledged[place])}"
                try:
                    run_sync(append(self.engine, self.sessions[place], key))
                except (OutcomeUnknownError, UnavailableError):
                    self.again[place] += 1
                    continue  # with the same key
                self.acknowledged[place].append(key)
        except BaseException as error:  # looked at by `check`
            self.broken.append(error)

    def go_on(self, appends: int = 60) -> None:
        """Return after so many more."""
        wanted = sum(map(len, self.acknowledged)) + appends
        while sum(map(len, self.acknowledged)) < wanted and not self.broken:
            time.sleep(0.01)

    def check(self) -> None:
        """What was acknowledged is there, once and in order, and at most one more that nobody was told of."""
        assert not self.broken
        for session, keys in zip(self.sessions, self.acknowledged, strict=True):
            stored = run_sync(answered(partial(texts, self.engine, session)))
            assert stored[: len(keys)] == keys
            assert len(stored) <= len(keys) + 1


def kill_in_mid_load(rounds: int, *, workers: int = 6) -> tuple[int, int]:
    """Kill a server with its default durability under load; nothing acknowledged is lost. (acknowledged, asked again)

    So often at least, and until a kill has hit somebody in the middle of a commit.
    """
    with postgres_server(fsync=True) as server:
        engine = run_sync(opened_by_hand(server.url, timeout=3.0))
        with Load(engine, workers) as load:
            for turn in range(10 * rounds):
                if turn >= rounds and any(load.again):
                    break
                load.go_on()
                server.kill()
                server.start()
            load.go_on()
        load.check()
        run_sync(engine.close())
        return sum(map(len, load.acknowledged)), sum(load.again)


@pytest.mark.slow
@pytest.mark.usefixtures("postgres")
def test_a_server_killed_in_mid_load_loses_nothing_that_was_acknowledged() -> None:
    done, again = kill_in_mid_load(2)
    assert done >= 120
    assert again > 0, "no kill hit anything"


@pytest.mark.campaign
@pytest.mark.usefixtures("postgres")
def test_a_server_killed_again_and_again() -> None:
    done, again = kill_in_mid_load(25)
    assert done >= 25 * 60
    assert again > 0


@pytest.mark.slow
@pytest.mark.usefixtures("postgres")
def test_a_server_that_was_away_for_long_is_found_again_at_once(blocking: bool) -> None:
    """However long it was away, a connection is tried for as long as somebody waits for one, and no more seldom with time."""

    async def story(server: Server) -> None:
        engine = await opened(server.url, blocking=blocking, timeout=1)
        session = await answered(lambda: made(engine))
        server.kill()
        away, refused = time.monotonic(), 0
        while time.monotonic() - away < 10:
            try:
                await engine.load(TENANT, session)  # its processes may answer for a moment after the first of them was killed
            except UnavailableError:
                refused += 1
        assert refused > 0
        server.start()
        back = time.monotonic()
        await answered(lambda: engine.load(TENANT, session))
        assert time.monotonic() - back < 9  # pauses that double would have been as long as it was away

    with postgres_server() as server:
        drive(story(server), blocking=blocking)


# -- clocks and forks ------------------------------------------------------------------------------------------------


def test_a_clients_clock_that_is_an_hour_off_moves_nothing(
    store_url: str, schema_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records, deadlines and leases go by the server's time."""
    real, real_ns = time.time, time.time_ns
    monkeypatch.setattr(time, "time", lambda: real() + 3600)
    monkeypatch.setattr(time, "time_ns", lambda: real_ns() + 3_600_000_000_000)
    with sojourn.open(store_url) as store, psycopg.connect(store_url) as server:
        talk = store.conversations.create("ann")
        store.conversations.append(talk.id, "user", "hello")
        found = store.conversations.messages(talk.id)[0]
        row = server.execute("select clock_timestamp()").fetchone()
        assert row is not None
        assert abs(row[0] - found.created_at) < timedelta(minutes=1)
        with store.lease("lock", timedelta(seconds=30)) as lease:
            assert lease.expires_at - row[0] < timedelta(minutes=1)
            with pytest.raises(sojourn.LeaseHeldError), store.lease("lock", timedelta(seconds=30)):
                pass
        assert abs(store.facts()["clock"] - row[0].timestamp() * 1_000_000) < 60_000_000
    assert schema_name in store_url


def test_a_forked_child_goes_on_with_connections_of_its_own(store_url: str) -> None:
    with sojourn.open(store_url) as store:
        talk = store.conversations.create("ann")
        store.conversations.append(talk.id, "user", "before")
        for name in ("one", "two"):
            child = os.fork()
            if child == 0:
                try:
                    store.conversations.append(talk.id, "user", name)
                    os._exit(0)
                except BaseException:
                    os._exit(1)
            store.conversations.append(talk.id, "user", f"beside {name}")
            assert os.waitpid(child, 0)[1] == 0
        seen = [message.text for message in store.conversations.messages(talk.id)]
        assert seen[0] == "before"
        assert sorted(seen[1:]) == ["beside one", "beside two", "one", "two"]


# -- what users get wrong --------------------------------------------------------------------------------------------


def test_a_server_that_is_not_there_is_unavailable(postgres: Server) -> None:
    options = EngineOptions(timeout=0.5)
    for url in (f"postgresql://127.0.0.1:1/{TENANT}", postgres.url.replace("/postgres", "/nowhere", 1)):
        with pytest.raises(UnavailableError):
            sojourn.open(url.replace("postgres@", "postgres@"), engine=options)


@pytest.mark.parametrize(
    ("url", "options", "message"),
    [
        ("postgresql://host/db?nonsense=1", {}, "cannot be read"),
        ("postgresql://host/db", {"pool": 3}, "no option 'pool'"),
        ("postgresql://host/db", {"schema": "drop table"}, "no plain name"),
        ("postgresql://host/db", {"prefix": ""}, "no plain name"),
        ("postgresql://host/db", {"connections": 0}, "whole number"),
        ("postgresql://host/db", {"prepare": "yes"}, "True or False"),
    ],
)
def test_what_cannot_be_understood_is_said_before_anything_is_tried(url: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(sojourn.InvalidValueError, match=message):
        sojourn.open(url, engine=EngineOptions(more=options))


def test_errors_never_show_a_password(postgres: Server) -> None:
    url = postgres.url.replace("postgres@", "postgres:hunter2@").replace(f":{postgres.port}", ":1")
    with pytest.raises(SojournError) as caught:
        sojourn.open(url, engine=EngineOptions(timeout=0.5))
    assert "hunter2" not in str(caught.value)
