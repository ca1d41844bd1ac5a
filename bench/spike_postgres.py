"""PostgreSQL: what a commit with the whole contract costs beside what people write by hand, in one run on one server.

    PYTHONPATH=src python bench/spike_postgres.py [seconds per figure] [fsync]

Each figure is the median of rounds in which ours and theirs take turns, so that a busy machine slows both. Theirs does less:
one bare insert (no guard, counters, record, event or operation id), one bare select. Needs asyncpg, which nothing else uses.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import asyncpg
import psycopg
from psycopg_pool import ConnectionPool

from sojourn.core.batch import Batch, Create, Guard, NewEntry, Point, Write
from sojourn.core.ids import home_number, random_id
from sojourn.core.session import AliasKey
from sojourn.engines.postgres.aio import AsyncDriver, AsyncPostgresEngine
from sojourn.engines.postgres.blocking import BlockingDriver
from sojourn.engines.postgres.engine import PostgresEngine
from sojourn.engines.postgres.settings import Settings
from sojourn.shell.bridge import run_sync
from sojourn.testing.servers import postgres_server

TENANT = "t"
TASKS = 50
THREADS = 8
TEXT = "what somebody says in a message of the usual size, which is some eighty characters"
BARE = "create table bare (id bigint generated always as identity primary key, session text, body text, at timestamptz)"
BY_HAND = """
create table hand_session (id text primary key, version bigint, last bigint, counters jsonb, mark bigint);
create table hand_entry (session text, sequence bigint, key text, author text, body text, primary key (session, sequence));
create unique index on hand_entry (session, key);
create table hand_event (number bigint generated always as identity primary key, session text, version bigint)
"""
INSERT = "insert into bare (session, body, at) values ($1, $2, now())"
ROUNDS = 5

Session = tuple[str, str]
Work = Callable[[int], Awaitable[Any]]


def new_id(home: str) -> str:
    return random_id(time.time_ns() // 1_000_000, home_number(TENANT, home))


def creation(home: str, session: str) -> Batch:
    made = Create(session, "conversation", owner=home, data={"title": "talk"}, counters={"messages": 0}, tags=("web",))
    return Batch(TENANT, home, (made,))


def append(home: str, session: str) -> Batch:
    """An append as a conversation makes it: open, counted, stamped, due for a fold at some number, with an operation id."""
    change = Write(
        session,
        Guard(),
        entries=(NewEntry("message", label="user", author=home, text=TEXT),),
        add=(("messages", 1), ("bytes", len(TEXT))),
        stamp=("last_at",),
        due_above=("messages", 1_000_000),
        active=60_000_000,
    )
    return Batch(TENANT, home, (change,), new_id(home), "append")


# -- measuring -------------------------------------------------------------------------------------------------------


async def rate(work: Work, seconds: float, tasks: int = TASKS) -> float:
    """How many a second, by this many tasks; ``work`` is given the number of its task."""
    done = 0
    end = time.perf_counter() + seconds

    async def one(number: int) -> None:
        nonlocal done
        while time.perf_counter() < end:
            await work(number)
            done += 1

    start = time.perf_counter()
    await asyncio.gather(*map(one, range(tasks)))
    return done / (time.perf_counter() - start)


def thread_rate(work: Callable[[int], Any], seconds: float, threads: int = THREADS) -> float:
    """The same for threads."""
    done = [0] * threads
    end = time.perf_counter() + seconds

    def one(number: int) -> None:
        while time.perf_counter() < end:
            work(number)
            done[number] += 1

    running = [threading.Thread(target=one, args=(number,)) for number in range(threads)]
    start = time.perf_counter()
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return sum(done) / (time.perf_counter() - start)


def show(what: str, ours: Sequence[float], theirs: Sequence[float], other: str) -> None:
    mine, other_rate = statistics.median(ours), statistics.median(theirs)
    print(f"{what:<58} {mine:>9,.0f}/s   {other:<36} {other_rate:>9,.0f}/s   {mine / other_rate:5.2f} x", flush=True)


# -- figures ---------------------------------------------------------------------------------------------------------


async def hand_written(pool: Any, name: str) -> None:
    """An append with the same guarantees, as people write it: a transaction of five statements."""
    async with pool.acquire() as connection, connection.transaction():
        found = await connection.fetchrow("select version, last from hand_session where id = $1 for update", name)
        key = new_id("x")
        await connection.fetchrow("select sequence from hand_entry where session = $1 and key = $2", name, key)
        await connection.execute("insert into hand_entry values ($1, $2, $3, 'user', $4)", name, found["last"] + 1, key, TEXT)
        await connection.execute(
            "update hand_session set version = version + 1, last = last + 1, counters = counters || $2 where id = $1",
            name,
            f'{{"messages": {found["last"]}}}',
        )
        await connection.execute("insert into hand_event (session, version) values ($1, $2)", name, found["version"])


async def under_a_loop(url: str, seconds: float) -> None:
    engine = await AsyncPostgresEngine.open(url)
    pool = await asyncpg.create_pool(url, min_size=10, max_size=10)
    people = await make_people(engine, "user")
    rows = await pool.fetch("insert into bare (session) select 'x' from generate_series(1, 50) returning id")
    await pool.executemany("insert into hand_session values ($1, 0, 0, '{}', 0)", [(f"s{n}",) for n in range(TASKS)])

    async def load(number: int) -> None:
        assert (await engine.load(TENANT, people[number][1])).session is not None

    works: dict[str, Work] = {
        "append": lambda number: engine.commit(append(*people[number])),
        "bare insert": lambda number: pool.execute(INSERT, people[number][1], TEXT),
        "append to one": lambda _: engine.commit(append(*people[0])),
        "by hand": lambda number: hand_written(pool, f"s{number}"),
        "load": load,
        "bare select": lambda number: pool.fetchrow("select * from bare where id = $1", rows[number]["id"]),
    }
    found = await in_turns(works, seconds)
    alone = await in_turns({name: works[name] for name in ("append", "bare insert")}, seconds / 2, tasks=1)
    await engine.close()
    await pool.close()
    bare, peer = found["bare insert"], "asyncpg pool of 10, bare insert"
    show("append, 50 tasks, 50 conversations", found["append"], bare, peer)
    show("append, 50 tasks, 50 conversations", found["append"], found["by hand"], "asyncpg pool of 10, the same by hand")
    show("append, 50 tasks, one conversation", found["append to one"], bare, peer)
    show("load by id, 50 tasks", found["load"], found["bare select"], "asyncpg pool of 10, bare select")
    show("append, one task", alone["append"], alone["bare insert"], "asyncpg, one task, bare insert")


async def in_turns(works: dict[str, Work], seconds: float, tasks: int = TASKS) -> dict[str, list[float]]:
    """The rates of each work, measured in turns after one round that does not count."""
    found: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(ROUNDS + 1):
        for name, work in works.items():
            figure = await rate(work, seconds / ROUNDS, tasks)
            if turn:
                found[name].append(figure)
    return found


async def make_people(engine: Any, name: str) -> list[Session]:
    """A conversation for each task."""
    people = [(f"{name}{number}", new_id(f"{name}{number}")) for number in range(TASKS)]
    for home, session in people:
        await engine.commit(creation(home, session))
    return people


async def lanes_under_a_loop(url: str, seconds: float) -> None:
    works: dict[str, Work] = {}
    engines: list[AsyncPostgresEngine] = []
    for lanes in (1, 2, 4, 8):
        driver = AsyncDriver(Settings(url=url), lanes=lanes)
        await driver.open()
        engines.append(AsyncPostgresEngine(driver))
        people = await make_people(engines[-1], f"lane{lanes}/")
        works[f"{lanes} lane(s)"] = partial(append_as, engines[-1], people)
    for name, found in (await in_turns(works, seconds)).items():
        print(f"  append, 50 tasks, {name}: {statistics.median(found):,.0f}/s", flush=True)
    for engine in engines:
        await engine.close()


def append_as(engine: AsyncPostgresEngine, people: Sequence[Session], number: int) -> Awaitable[Any]:
    return engine.commit(append(*people[number]))


def among_threads(url: str, seconds: float) -> None:
    share = seconds / ROUNDS
    engines: dict[int, PostgresEngine] = {}
    for lanes in (1, 2, 8):
        driver = BlockingDriver(Settings(url=url), lanes=lanes)
        run_sync(driver.open())
        engines[lanes] = PostgresEngine(driver)
    people = [(f"thread{number}", new_id(f"thread{number}")) for number in range(THREADS)]
    for home, session in people:
        run_sync(engines[1].commit(creation(home, session)))
    raw = psycopg.connect(url, autocommit=True)
    pool = ConnectionPool(url, min_size=8, max_size=8, kwargs={"autocommit": True}, open=True)
    insert = INSERT.replace("$1", "%s").replace("$2", "%s")

    def pooled(number: int) -> None:
        with pool.connection() as connection:
            connection.execute(insert, (people[number][1], TEXT))

    for number in range(THREADS):
        raw.execute("insert into hand_session values (%s, 0, 0, '{}', 0)", (f"t{number}",))

    def by_hand(number: int) -> None:
        """The same guarantees as people write them: a transaction of five statements, seven round trips."""
        name = f"t{number}"
        with pool.connection() as connection, connection.transaction():
            found = connection.execute("select version, last from hand_session where id = %s for update", (name,)).fetchone()
            assert found is not None
            key = new_id("x")
            connection.execute("select sequence from hand_entry where session = %s and key = %s", (name, key)).fetchone()
            connection.execute("insert into hand_entry values (%s, %s, %s, 'user', %s)", (name, found[1] + 1, key, TEXT))
            connection.execute(
                "update hand_session set version = version + 1, last = last + 1, counters = counters || %s::jsonb "
                "where id = %s",
                (f'{{"messages": {found[1]}}}', name),
            )
            connection.execute("insert into hand_event (session, version) values (%s, %s)", (name, found[0] + 1))

    figures: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        for name, work, threads in (
            ("hand", by_hand, 1),
            ("hands", by_hand, THREADS),
            ("lone", lambda number: run_sync(engines[2].commit(append(*people[number]))), 1),
            ("lone raw", lambda number: raw.execute(insert, (people[number][1], TEXT)), 1),
            ("load", lambda number: run_sync(engines[2].load(TENANT, people[number][1])), 1),
            ("load raw", lambda _: raw.execute("select * from bare where id = %s", (1,)).fetchone(), 1),
            ("pooled", pooled, THREADS),
            *(
                (
                    f"{lanes} lanes",
                    lambda number, lanes=lanes: run_sync(engines[lanes].commit(append(*people[number]))),
                    THREADS,
                )
                for lanes in engines
            ),
        ):
            figures.setdefault(name, []).append(thread_rate(work, share, threads))
    show("append, one blocking caller", figures["lone"], figures["lone raw"], "psycopg, bare insert")
    show("append, one blocking caller", figures["lone"], figures["hand"], "psycopg, the same by hand")
    show("load by id, one blocking caller", figures["load"], figures["load raw"], "psycopg, bare select")
    for lanes in engines:
        show(
            f"append, {THREADS} threads, {lanes} lane(s)",
            figures[f"{lanes} lanes"],
            figures["pooled"],
            "psycopg pool of 8, bare insert",
        )
    show(f"append, {THREADS} threads, 2 lane(s)", figures["2 lanes"], figures["hands"], "psycopg pool of 8, the same by hand")
    for engine in engines.values():
        run_sync(engine.close())
    raw.close()
    pool.close()


def homes_and_shards(url: str, seconds: float) -> None:
    """What waits for what: eight connections that never share a call, so that only the locks are seen."""
    share = seconds / ROUNDS
    driver = BlockingDriver(Settings(url=url, connections=THREADS), lanes=THREADS)
    run_sync(driver.open())
    engine = PostgresEngine(driver)
    together = [("shared", new_id("shared")) for _ in range(THREADS)]
    apart = [(f"apart{number}", new_id(f"apart{number}")) for number in range(THREADS)]
    for home, session in (*together, *apart):
        run_sync(engine.commit(creation(home, session)))
    raw = psycopg.connect(url, autocommit=True)

    def appending(people: Sequence[Session]) -> Callable[[int], Any]:
        return lambda number: run_sync(engine.commit(append(*people[number])))

    def pointing(people: Sequence[Session]) -> Callable[[int], Any]:
        def work(number: int) -> None:
            home, session = people[number]
            batch = append(home, session)
            changes = (*batch.changes, Point(AliasKey(home, "bench", session), session, None))
            run_sync(engine.commit(Batch(TENANT, home, changes)))

        return work

    figures: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        for name, work in (
            ("appends to 8 sessions of 8 homes", appending(apart)),
            ("appends to 8 sessions of one home (row locks only)", appending(together)),
            ("with an alias each, of 8 homes", pointing(apart)),
            ("with an alias each, of one home (home lock)", pointing(together)),
            ("appends to one session", appending(together[:1] * THREADS)),
        ):
            figures.setdefault(name, []).append(thread_rate(work, share))
        raw.execute("update sojourn_session set shard = 0 where home like 'apart%'")
        figures.setdefault("8 homes, all their events in one shard", []).append(thread_rate(appending(apart), share))
        raw.execute("update sojourn_session set shard = right(home, 1)::int where home like 'apart%'")
    for name, found in figures.items():
        print(f"  8 connections, no coalescing: {name:<52} {statistics.median(found):>8,.0f}/s", flush=True)
    run_sync(engine.close())
    raw.close()


def followed(read: Callable[[], int], work: Callable[[int], Any], seconds: float) -> int:
    """How many a reader saw that followed while eight threads did ``work``, and until nothing more came."""
    seen, done = 0, threading.Event()

    def follow() -> None:
        nonlocal seen
        while True:
            finished, found = done.is_set(), read()
            seen += found
            if finished and not found:
                return

    follower = threading.Thread(target=follow)
    follower.start()
    thread_rate(work, seconds)
    done.set()
    follower.join()
    return seen


def tailing_a_column(url: str, seconds: float) -> None:
    """What an identity column hides from a reader that follows it."""
    connections = [psycopg.connect(url, autocommit=True) for _ in range(THREADS)]
    reader = psycopg.connect(url, autocommit=True)
    reader.execute("create table plain (n bigint generated always as identity primary key, body text)")
    last = 0

    def read() -> int:
        nonlocal last
        rows = reader.execute("select n from plain where n > %s order by n", (last,)).fetchall()
        last = rows[-1][0] if rows else last
        return len(rows)

    def write(number: int) -> None:
        connections[number].execute("insert into plain (body) select %s from generate_series(1, 20)", (TEXT,))

    seen = followed(read, write, seconds)
    row = reader.execute("select count(*) from plain").fetchone()
    stored = row[0] if row else 0
    print(f"  tailing an identity column, 20 rows a commit: {stored - seen:,} of {stored:,} never seen", flush=True)
    for connection in (*connections, reader):
        connection.close()


def tailing_events(url: str, seconds: float) -> None:
    """The same for our events."""
    engines = [run_sync(PostgresEngine.open(url, connections=1)) for _ in range(THREADS)]
    people = [(f"tail{number}", new_id(f"tail{number}")) for number in range(THREADS)]
    for home, session in people:
        run_sync(engines[0].commit(creation(home, session)))
    watcher = run_sync(PostgresEngine.open(url, connections=1))
    start = cursor = run_sync(watcher.tip())

    def read() -> int:
        nonlocal cursor
        page = run_sync(watcher.events(TENANT, cursor, 1000))
        cursor = page.cursor
        return len(page.events)

    seen = followed(read, lambda number: run_sync(engines[number].commit(append(*people[number]))), seconds)
    made = sum(run_sync(watcher.tip())) - sum(start)
    print(f"  tailing our events: {made - seen:,} of {made:,} never seen", flush=True)
    for engine in (*engines, watcher):
        run_sync(engine.close())


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 3.0
    fsync = "fsync" in sys.argv[2:]
    with postgres_server("wheel", fsync=fsync) as server:
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute(f"{BARE}; {BY_HAND}")
            row = connection.execute("show server_version").fetchone()
        print(f"PostgreSQL {row[0] if row else '?'}, fsync {'on' if fsync else 'off'}, ours and theirs in turns")
        asyncio.run(under_a_loop(server.url, seconds))
        asyncio.run(lanes_under_a_loop(server.url, seconds / 2))
        among_threads(server.url, seconds / 2)
        homes_and_shards(server.url, seconds / 2)
        tailing_a_column(server.url, seconds / 2)
        tailing_events(server.url, seconds / 2)


if __name__ == "__main__":
    main()
