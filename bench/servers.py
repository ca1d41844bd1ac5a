"""What the contract costs on a server: operations of the public API beside the raw driver, in turns on one server.

"raw" does one bare thing and keeps no promise: one insert of a row, or one select by key (psycopg, a pool of ten); one small
script that counts and pushes, or one GET (redis-py). Ours does all that its operation promises.

PostgreSQL runs as it is installed, ``fsync`` and ``synchronous_commit`` on; Redis as it is started by hand, nothing on disk.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from importlib.util import find_spec
from typing import Any, Final, Literal, TypeAlias

import psycopg
import redis
import redis.asyncio
from psycopg_pool import AsyncConnectionPool, ConnectionPool

import sojourn
from bench.conversations import NO_FOLD, TEXT
from bench.measure import Row, in_turns, versus
from sojourn.testing.places import MemoryPlaces, standing
from sojourn.testing.servers import ServerMissingError, postgres_server, redis_server

CALLERS: Final = (1, 64)
TASKS: Final = 50
"""Of the bars, and how many connections the drivers beside them have:"""
CONNECTIONS: Final = 10
ROUNDS: Final = 5
SECONDS: Final = 0.3
"""How long each of both works in each round."""

TABLE: Final = "create table bare (id bigint generated always as identity primary key, session text, body text, at timestamptz)"
INSERT: Final = "insert into bare (session, body, at) values (%s, %s, now())"
SELECT: Final = "select * from bare where id = %s"
SCRIPT: Final = "local n = redis.call('INCR', KEYS[1]) redis.call('RPUSH', KEYS[2], ARGV[1]) return n"
GAMES: Final = sojourn.GamePolicy(countdown=timedelta(hours=9))

Kind: TypeAlias = Literal["write", "read"]
Work: TypeAlias = Callable[[int], Any]
"""One operation of a caller, given its number; a coroutine in the asynchronous colour."""
Driver: TypeAlias = tuple[Mapping[Kind, Work], Callable[[], Coroutine[Any, Any, Any]]]
"""What a raw driver does, and how it is closed."""


# -- what is measured --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Place:
    """What one caller works on, so that callers do not wait for each other's rows."""

    user: str
    talk: str
    read: str
    """A conversation of a hundred messages that nobody appends to."""
    login: str
    token: str
    workspace: str


Operation: TypeAlias = Callable[[Any, Place], Any]
"""What a caller does with a store of either colour: the names are the same."""

OPERATIONS: Final[Mapping[str, tuple[Kind, Operation]]] = {
    "conversation append": ("write", lambda store, at: store.conversations.append(at.talk, "user", TEXT)),
    "conversation get": ("read", lambda store, at: store.conversations.get(at.read)),
    "conversation messages(last=20)": ("read", lambda store, at: store.conversations.messages(at.read, last=20)),
    "context add": ("write", lambda store, at: store.contexts.add("work", "note", TEXT, scope=at.user)),
    "login create": ("write", lambda store, at: store.logins.create(at.user)),
    "login authenticate": ("read", lambda store, at: store.logins.authenticate(at.token)),
    "login touch": ("write", lambda store, at: store.logins.touch(at.login)),
    "game submit_choice": ("write", lambda store, at: store.games.submit_choice(at.user, at.user, at.user, TEXT)),
    "workspace heartbeat": ("write", lambda store, at: store.workspaces.heartbeat(at.workspace)),
}


def places(url: str) -> list[Place]:
    """What each caller works on, made by one blocking caller."""
    with sojourn.open(url, conversations=NO_FOLD, directory=False) as opened:
        store = standing(opened, MemoryPlaces(agent="ada"))
        return [_place(store, f"user {number}") for number in range(max(CALLERS))]


def _place(store: sojourn.Store, user: str) -> Place:
    read = store.conversations.create(user).id
    store.conversations.extend(read, [{"role": "user", "content": TEXT} for _ in range(100)])
    store.contexts.create("work", scope=user)
    store.games.boot(user, "Bench", policy=GAMES)
    made = store.logins.create(user)
    workspace = store.workspaces.start("implementer")
    return Place(user, store.conversations.create(user).id, read, made.login.id, str(made.token), workspace.id)


# -- who measures ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Side:
    """A store and its raw driver in one colour, and how their rates are taken."""

    name: str
    store: Any
    raw: Mapping[Kind, Work]
    rate: Callable[[Work, int], float]
    """How many a second, by this many callers."""


def in_threads(work: Work, callers: int) -> float:
    """How many a second, by threads that begin together."""
    gate = threading.Barrier(callers)

    def one(number: int) -> int:
        gate.wait()
        end, done = time.perf_counter() + SECONDS, 0
        while time.perf_counter() < end:
            work(number)
            done += 1
        return done

    with ThreadPoolExecutor(callers) as threads:
        start = time.perf_counter()
        return sum(threads.map(one, range(callers))) / (time.perf_counter() - start)


async def in_tasks(work: Work, callers: int) -> float:
    """How many a second, by tasks of one loop."""
    start = time.perf_counter()

    async def one(number: int) -> int:
        done = 0
        while time.perf_counter() < start + SECONDS:
            await work(number)
            done += 1
        return done

    return sum(await asyncio.gather(*map(one, range(callers)))) / (time.perf_counter() - start)


@contextmanager
def blocking_postgres(url: str) -> Generator[Side]:
    """psycopg: a pool of ten."""
    pool = ConnectionPool(url, min_size=CONNECTIONS, max_size=CONNECTIONS, kwargs={"autocommit": True}, open=True)

    def write(number: int) -> None:
        with pool.connection() as connection:
            connection.execute(INSERT, (f"{number}", TEXT))

    def read(number: int) -> None:
        with pool.connection() as connection:
            connection.execute(SELECT, (number + 1,)).fetchone()

    pool.wait()
    with pool, sojourn.open(url, conversations=NO_FOLD, directory=False) as store:
        yield Side("postgres, blocking", store, {"write": write, "read": read}, in_threads)


@contextmanager
def blocking_redis(url: str) -> Generator[Side]:
    """redis-py: its own pool, as many connections as there are callers."""
    client = redis.Redis.from_url(url)
    script = client.script_load(SCRIPT)
    raw: dict[Kind, Work] = {
        "write": lambda number: client.evalsha(script, 2, f"n{number}", f"l{number}", TEXT),
        "read": lambda _: client.get("plain"),
    }
    with client, sojourn.open(url, conversations=NO_FOLD, directory=False) as store:
        yield Side("redis, blocking", store, raw, in_threads)


@contextmanager
def in_a_loop(name: str, url: str, driver: Callable[[str], Coroutine[Any, Any, Driver]]) -> Generator[Side]:
    """A store and a raw driver in one loop, which stands still between two measurements."""
    with asyncio.Runner() as runner:
        raw, close = runner.run(driver(url))
        store = runner.run(_opened(url))
        try:
            yield Side(name, store, raw, lambda work, callers: runner.run(in_tasks(work, callers)))
        finally:
            runner.run(store.close())
            runner.run(close())


async def _opened(url: str) -> sojourn.AsyncStore:
    return await sojourn.aopen(url, conversations=NO_FOLD, directory=False)


async def psycopg_pool(url: str) -> Driver:
    """psycopg: a pool of ten."""
    pool = AsyncConnectionPool(
        url, min_size=CONNECTIONS, max_size=CONNECTIONS, kwargs={"autocommit": True}, open=False, timeout=30
    )
    await pool.open(wait=True)

    async def write(number: int) -> None:
        async with pool.connection() as connection:
            await connection.execute(INSERT, (f"{number}", TEXT))

    async def read(number: int) -> None:
        async with pool.connection() as connection:
            await (await connection.execute(SELECT, (number + 1,))).fetchone()

    return {"write": write, "read": read}, pool.close


async def asyncpg_pool(url: str) -> Driver:
    """asyncpg, the fastest driver there is: a pool of ten. Nothing else here uses it."""
    import asyncpg

    pool = await asyncpg.create_pool(url, min_size=CONNECTIONS, max_size=CONNECTIONS)
    insert, select = INSERT.replace("%s", "$1", 1).replace("%s", "$2"), SELECT.replace("%s", "$1")
    raw: dict[Kind, Work] = {
        "write": lambda number: pool.execute(insert, f"{number}", TEXT),
        "read": lambda number: pool.fetchrow(select, number + 1),
    }
    return raw, pool.close


async def redis_asyncio(url: str) -> Driver:
    """redis-py in a loop: as many connections as there are callers."""
    client = redis.asyncio.Redis.from_url(url)
    script = await client.script_load(SCRIPT)
    raw: dict[Kind, Work] = {
        "write": lambda number: client.evalsha(script, 2, f"n{number}", f"l{number}", TEXT),
        "read": lambda _: client.get("plain"),
    }
    return raw, client.aclose


# -- rows --------------------------------------------------------------------------------------------------------------


def servers() -> Iterator[Row]:
    """The bars, then every operation on both servers, in both colours, from one caller and from many."""
    try:
        yield from on_postgres()
        yield from on_redis()
    except ServerMissingError as missing:
        yield Row("servers", 0.0, "× raw", detail=f"not measured: {missing}")


def on_postgres() -> Iterator[Row]:
    """PostgreSQL as it is installed."""
    with postgres_server(fsync=True) as server:
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute(TABLE)
            connection.execute("insert into bare (session, body) select 'x', %s from generate_series(1, 100)", (TEXT,))
        at = places(server.url)
        if find_spec("asyncpg") is None:
            yield Row("postgres: beside asyncpg", 0.0, "× raw", detail="not measured: asyncpg is not installed")
        else:
            with in_a_loop("postgres", server.url, asyncpg_pool) as side:
                bars = {"conversation append": 3, "conversation get": 5, "conversation messages(last=20)": None}
                yield from against(side, at, TASKS, bars, "asyncpg, pool of 10")
        with blocking_postgres(server.url) as side:
            yield from matrix(side, at)
        with in_a_loop("postgres, async", server.url, psycopg_pool) as side:
            yield from matrix(side, at)


def on_redis() -> Iterator[Row]:
    """Redis or Valkey, nothing on disk."""
    with redis_server() as server:
        with redis.Redis.from_url(server.url) as client:
            client.set("plain", TEXT)
        at = places(server.url)
        with in_a_loop("redis", server.url, redis_asyncio) as side:
            yield from against(side, at, TASKS, {"conversation append": 2}, "redis.asyncio")
        with blocking_redis(server.url) as side:
            yield from matrix(side, at)
        with in_a_loop("redis, async", server.url, redis_asyncio) as side:
            yield from matrix(side, at)


def matrix(side: Side, at: list[Place]) -> Iterator[Row]:
    """Every operation, from one caller and from many."""
    for callers in CALLERS:
        yield from against(side, at, callers, dict.fromkeys(OPERATIONS))


def against(side: Side, at: list[Place], callers: int, bars: Mapping[str, float | None], other: str = "") -> Iterator[Row]:
    """Operations from so many callers beside the bare thing from as many."""
    store = standing(side.store, MemoryPlaces(agent="ada"))
    for name, bar in bars.items():
        kind, operation = OPERATIONS[name]
        raw = side.raw[kind]

        def ours(number: int, operation: Operation = operation) -> Any:
            return operation(store, at[number])

        side.rate(ours, callers)  # connections, statements and scripts are made before the first round
        side.rate(raw, callers)
        outcome = in_turns(ROUNDS, lambda: side.rate(raw, callers), lambda: side.rate(ours, callers))  # noqa: B023
        row = versus(f"{side.name}, {callers}: {name}", bar, outcome)
        yield replace(row, detail=f"{row.detail} ({other})" if other else row.detail)
