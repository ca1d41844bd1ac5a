"""What the Redis engine costs beside the client library alone: ratios from interleaved rounds against one server.

    PYTHONPATH=src python -m bench.redis_engine

"raw" is redis-py with one small script per operation (a counter and a push, no guards, no index, no event).
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from itertools import count
from typing import Any

import redis
import redis.asyncio

from sojourn.core.batch import Batch, Create, Deadline, NewEntry, Point, Touch, Write
from sojourn.core.ids import home_number, random_id
from sojourn.core.query import EntryQuery, SessionQuery
from sojourn.core.session import AliasKey
from sojourn.engines.redis.engine import AsyncRedisEngine, RedisEngine
from sojourn.shell.bridge import run_sync
from sojourn.testing.servers import find_redis, redis_server

TASKS, ROUNDS, SECONDS = 50, 5, 0.5
TENANT = "acme"
SMALL = "local n = redis.call('INCR', KEYS[1]) redis.call('RPUSH', KEYS[2], ARGV[1]) return n"
TEXT = "What shall we do about the door that does not open? " * 4
DATA = {"title": "The door", "channels": {"web": "u1", "telegram": "42"}, "policy": {"reset": "daily"}, "folded": 0}

_keys = count()


def new_id(home: str) -> str:
    return random_id(time.time_ns() // 1_000_000, home_number(TENANT, home))


def create(home: str, **more: Any) -> Batch:
    made = Create(new_id(home), "conversation", owner=home, data=DATA, bucket=60_000_000, **more)
    return Batch(TENANT, home, (made,))


def append(session: str, *, key: bool = True) -> Batch:
    entry = NewEntry("message", "user", author="ann", text=TEXT, data='{"tokens":52}')
    write = Write(
        session,
        entries=(entry,),
        add=(("entries", 1), ("tokens", 52)),
        stamp=("last",),
        active=60_000_000,
        due_above=("tokens", 10**9),
        change="appended",
    )
    return Batch(TENANT, "", (write,), f"key-{next(_keys)}" if key else None, "f" * 18)


Rate = tuple[float, float]
"""Operations per second, and microseconds of this process's CPU for each."""


def rate(done: int, start: float, cpu: float) -> Rate:
    return done / (time.perf_counter() - start), (time.process_time() - cpu) / done * 1e6


def rate_of_one(work: Callable[[], Any]) -> Rate:
    done, start, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - start < SECONDS:
        work()
        done += 1
    return rate(done, start, cpu)


async def rate_of_tasks(work: Callable[[int], Awaitable[Any]]) -> Rate:
    done, start, cpu = 0, time.perf_counter(), time.process_time()

    async def one(number: int) -> None:
        nonlocal done
        while time.perf_counter() - start < SECONDS:
            await work(number)
            done += 1

    await asyncio.gather(*(one(number) for number in range(TASKS)))
    return rate(done, start, cpu)


def show(what: str, ours: list[Rate], raw: list[Rate]) -> None:
    ratios = sorted(a[0] / b[0] for a, b in zip(ours, raw, strict=True))
    best, cpu = (max(rate[0] for rate in rates) for rates in (ours, raw)), [min(r[1] for r in rates) for rates in (ours, raw)]
    print(
        f"{what:42} × {statistics.median(ratios):.2f} ({ratios[0]:.2f}–{ratios[-1]:.2f})"
        f"  best {next(best):7,.0f}/s, raw {next(best):7,.0f}/s  CPU here {cpu[0]:3.0f} µs, raw {cpu[1]:3.0f} µs"
    )


async def async_figures(url: str) -> None:
    engine, raw = AsyncRedisEngine(url), redis.asyncio.Redis.from_url(url)
    made = [create(f"user{number}") for number in range(TASKS)]
    for batch in made:
        await engine.commit(batch)
    ids = [batch.changes[0].id for batch in made]  # type: ignore[union-attr]
    small = await raw.script_load(SMALL)
    await raw.set("plain", TEXT)

    async def raw_append(number: int) -> None:
        await raw.evalsha(small, 2, f"n{number}", f"l{number}", TEXT)

    pairs: list[tuple[str, Callable[[int], Awaitable[Any]], Callable[[int], Awaitable[Any]]]] = [
        ("append, 50 tasks", lambda number: engine.commit(append(ids[number])), raw_append),
        ("append without operation id, 50 tasks", lambda number: engine.commit(append(ids[number], key=False)), raw_append),
        ("load by id, 50 tasks; raw GET", lambda number: engine.load(TENANT, ids[number]), lambda _: raw.get("plain")),
        ("touch, 50 tasks; raw GET", lambda number: engine.commit(touch(ids[number])), lambda _: raw.get("plain")),
    ]
    for what, ours, other in pairs:
        rounds = [(await rate_of_tasks(ours), await rate_of_tasks(other)) for _ in range(ROUNDS)]
        show(what, *map(list, zip(*rounds, strict=True)))
    start = time.perf_counter()
    for _ in range(300):
        await engine.load(TENANT, ids[0])
    lone = (time.perf_counter() - start) / 300
    start = time.perf_counter()
    for _ in range(300):
        await raw.get("plain")
    print(f"{'load by id, one lone task':52} {lone * 1e6:9.0f} µs raw GET {(time.perf_counter() - start) / 300 * 1e6:6.0f} µs")
    await engine.close()
    await raw.aclose()


def touch(session: str) -> Batch:
    return Batch(TENANT, "", (Touch(session, 60_000_000, Deadline(after=60_000_000)),))


def blocking_figures(url: str) -> None:
    engine, raw = RedisEngine(url), redis.Redis.from_url(url)
    made = create("blocking", deadline=Deadline(after=10**9))
    run_sync(engine.commit(made))
    session = made.changes[0].id  # type: ignore[union-attr]
    small = raw.script_load(SMALL)
    raw.set("plain", TEXT)
    pairs: list[tuple[str, Callable[[], Any], Callable[[], Any]]] = [
        (
            "append, one blocking caller",
            lambda: run_sync(engine.commit(append(session))),
            lambda: raw.evalsha(small, 2, "n", "l", TEXT),
        ),
        ("load by id, one blocking caller; raw GET", lambda: run_sync(engine.load(TENANT, session)), lambda: raw.get("plain")),
        ("touch, one blocking caller; raw GET", lambda: run_sync(engine.commit(touch(session))), lambda: raw.get("plain")),
    ]
    for what, ours, other in pairs:
        rounds = [(rate_of_one(ours), rate_of_one(other)) for _ in range(ROUNDS)]
        show(what, *map(list, zip(*rounds, strict=True)))
    run_sync(engine.close())
    raw.close()


def sizes(url: str) -> None:
    raw, engine = redis.Redis.from_url(url), AsyncRedisEngine(url + "?prefix=sizes")
    sessions, entries = 4000, 20_000

    def memory() -> int:
        return int(raw.info("memory")["used_memory"])

    async def fill() -> None:
        await engine.commit(create("first"))  # connections and scripts are not counted
        start = memory()
        made = [create(f"user{number % 500}") for number in range(sessions)]
        await asyncio.gather(*(engine.commit(batch) for batch in made))
        shard = next(shard for shard in range(64) if raw.xlen(f"sizes{{{shard:02}}}:events") > 20)
        events = raw.xlen(f"sizes{{{shard:02}}}:events")
        per_event = (raw.memory_usage(f"sizes{{{shard:02}}}:events", samples=0) or 0) / events
        print(f"{'bytes per session (4 keys of data, its lists)':52} {(memory() - start) / sessions - per_event:9,.0f}")
        key = f"sizes{{{home_number(TENANT, 'user7') >> 4:02}}}:{TENANT}:s:{made[7].changes[0].id}"  # type: ignore[union-attr]
        print(f"{'  of which its hash, ' + str(raw.object('encoding', key)):52} {raw.memory_usage(key):9,}")
        print(f"{'bytes per event':52} {per_event:9,.0f}")
        bare = [
            Batch(TENANT, "", (Write(batch.changes[0].id, entries=(NewEntry("message", text=TEXT),)),))  # type: ignore[union-attr]
            for batch in made[:200]
        ]
        for keyed in (False, True):
            start = memory()
            for _ in range(entries // len(bare) // 2):
                batches = [replace(batch, operation=f"key-{next(_keys)}" if keyed else None) for batch in bare]
                await asyncio.gather(*(engine.commit(batch) for batch in batches))
            print(
                f"{f'bytes per entry with {len(TEXT)} of text' + (' and an operation id' if keyed else ''):52}"
                f" {(memory() - start) / (entries // 2) - per_event:9,.0f}"
            )
        await engine.close()

    asyncio.run(fill())
    raw.close()


def login_sizes(url: str) -> None:
    """What a login costs: a session with an owner and a deadline, one for each of many users, its lists included."""
    raw, engine = redis.Redis.from_url(url), AsyncRedisEngine(url + "?prefix=logins")
    users = 20_000

    def login(number: int) -> Batch:
        home = f"user{number}"
        made = Create(
            new_id(home), "login", owner=home, data={"agent": "Firefox"}, deadline=Deadline(after=10**12), bucket=60_000_000
        )
        return Batch(TENANT, home, (made,))

    async def fill() -> None:
        await engine.commit(login(users))
        start = int(raw.info("memory")["used_memory"])
        for first in range(0, users, 1000):
            await asyncio.gather(*(engine.commit(login(number)) for number in range(first, first + 1000)))
        total = (int(raw.info("memory")["used_memory"]) - start) / users
        kinds: dict[str, float] = {}
        for key in raw.scan_iter("logins*", count=10_000):
            name = key.decode().partition("}:")[2].split(":")
            kind = name[0] if len(name) == 1 else f"{name[1]}{' of an owner' if ':o:' in key.decode() else ''}"
            kinds[kind] = kinds.get(kind, 0) + (raw.memory_usage(key, samples=0) or 0)
        print(f"{'bytes per login, all in all':52} {total:9,.0f}")
        for kind, size in sorted(kinds.items(), key=lambda item: -item[1]):
            print(f"{'  of which ' + kind:52} {size / users:9,.1f}")
        await engine.close()

    asyncio.run(fill())
    raw.close()


def trips_and_times(url: str) -> None:
    engine, raw = RedisEngine(url + "?prefix=sizes"), redis.Redis.from_url(url)
    alias = AliasKey("user1", "current", "user1")
    made = create("user1")
    session = made.changes[0].id  # type: ignore[union-attr]
    run_sync(engine.commit(made))
    run_sync(engine.commit(Batch(TENANT, "user1", (Point(alias, session, 0),))))
    tip = run_sync(engine.tip())
    behind = tuple(max(0, number - 2) for number in tip)
    verbs: dict[str, Callable[[], Any]] = {
        "commit (append)": lambda: engine.commit(append(session)),
        "load": lambda: engine.load(TENANT, session),
        "load with the last 20 entries": lambda: engine.load(TENANT, session, EntryQuery(last=20)),
        "follow": lambda: engine.follow(TENANT, alias),
        "aliases of one home": lambda: engine.aliases(TENANT, target=session, home="user1"),
        "aliases of all homes": lambda: engine.aliases(TENANT, target=session),
        "list, 50 of 4,000": lambda: engine.list(SessionQuery(TENANT, ("conversation",))),
        "list of an owner": lambda: engine.list(SessionQuery(TENANT, ("conversation",), owner="user1")),
        "count": lambda: engine.count(TENANT, "conversation"),
        "due": lambda: engine.due(None, 100),
        "tip": lambda: engine.tip(),
        "events, 100": lambda: engine.events(TENANT, behind, 100),
        "history, 20": lambda: engine.history(TENANT, session, 20),
        "now": lambda: engine.now(),
    }
    for _ in range(25):
        run_sync(engine.commit(append(session)))
    for name, verb in verbs.items():
        run_sync(verb())
        before, times = engine.talk.driver.trips, []
        for _ in range(30):
            start = time.perf_counter()
            run_sync(verb())
            times.append(time.perf_counter() - start)
        trips = (engine.talk.driver.trips - before) / 30
        print(f"{name:52} {trips:9.0f} round trips {statistics.median(times) * 1e6:8,.0f} µs")
    run_sync(engine.close())
    raw.close()


async def server_figures(url: str) -> None:
    """The server's own CPU for each operation, a thousand at a time in pipelines."""
    engine, raw = AsyncRedisEngine(url + "?prefix=cpu"), redis.asyncio.Redis.from_url(url)
    made = [create(f"user{number}", deadline=Deadline(after=10**9)) for number in range(TASKS)]
    ids = [batch.changes[0].id for batch in made]  # type: ignore[union-attr]
    await asyncio.gather(*(engine.commit(batch) for batch in made))
    small = await raw.script_load(SMALL)

    async def used() -> float:
        info = await raw.info("cpu")
        return float(info["used_cpu_user_main_thread"] + info["used_cpu_sys_main_thread"])

    async def figure(name: str, work: Callable[[int], Awaitable[Any]]) -> None:
        before = await used()
        for _ in range(ROUNDS):
            await asyncio.gather(*(work(number % TASKS) for number in range(1000)))
        print(f"{'server CPU: ' + name:52} {(await used() - before) / ROUNDS / 1000 * 1e6:9.1f} µs")

    async def small_scripts() -> None:
        pipe = raw.pipeline(transaction=False)
        for number in range(1000):
            pipe.evalsha(small, 2, f"n{number % TASKS}", f"l{number % TASKS}", TEXT)
        await pipe.execute()

    def deep(session: str) -> Batch:
        return Batch(TENANT, "", (Write(session, set=((("notes", "note9"), next(_keys)),)),))

    await figure("append with an operation id", lambda number: engine.commit(append(ids[number])))
    await figure("append", lambda number: engine.commit(append(ids[number], key=False)))
    await figure("touch", lambda number: engine.commit(touch(ids[number])))
    await figure("create", lambda number: engine.commit(create(f"user{number}")))
    await figure("load", lambda number: engine.load(TENANT, ids[number]))
    before = await used()
    for _ in range(ROUNDS):
        await small_scripts()
    print(f"{'server CPU: the small script':52} {(await used() - before) / ROUNDS / 1000 * 1e6:9.1f} µs")
    for size in (1, 10, 100):
        notes = {f"note{number}": "a note of some length " * 2 for number in range(size * 18)}
        await asyncio.gather(
            *(engine.commit(Batch(TENANT, "", (Write(session, set=((("notes",), notes),)),))) for session in ids)
        )
        await figure(f"set a path in an object of {size} kB", lambda number: engine.commit(deep(ids[number])))
    await engine.close()
    await raw.aclose()


def main() -> None:
    print(find_redis(), "; redis-py", redis.__version__)
    with redis_server() as server:
        sizes(server.url)
        login_sizes(server.url)
        trips_and_times(server.url)
        asyncio.run(server_figures(server.url))
    with redis_server() as server:
        asyncio.run(async_figures(server.url))
        blocking_figures(server.url)


if __name__ == "__main__":
    main()
