"""The bars of conversations on SQLite with full durability, beside a raw ``sqlite3`` loop of one insert per commit."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import sojourn
from bench.measure import Row, in_turns, per_call, rate, versus
from sojourn.core.batch import Batch, Point
from sojourn.core.session import AliasKey
from sojourn.engines.contract import Engine
from sojourn.engines.embedded import Commit
from sojourn.engines.sqlite.engine import SqliteEngine
from sojourn.engines.sqlite.transaction import Writing
from sojourn.formats.openjarvis import import_openjarvis
from sojourn.kinds.conversations import rules
from sojourn.shell.bridge import run_sync

TEXT = "The quick brown fox jumps over the lazy dog while twelve agents argue about lunch in the old harbour town. " * 2
ROUNDS = 5
NO_FOLD = sojourn.ConversationPolicy(fold_above=None)


def conversations(directory: Path, *, large: bool) -> Iterator[Row]:
    """Every bar, and what else is worth knowing."""
    raw = Raw(directory / "raw.db")
    yield from appends(directory, raw)
    yield from reads(directory, raw)
    yield from growth(directory, large=large)
    yield from others(directory)


class Raw:
    """The yardstick: one connection, one table, one insert per commit, WAL and synchronous=full."""

    def __init__(self, path: Path) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None)
        self.connection.execute("pragma journal_mode = wal")
        self.connection.execute("pragma synchronous = full")
        self.connection.execute("create table message (id integer primary key, body text)")

    def inserts(self, count: int) -> float:
        """Rows per second."""
        execute = self.connection.execute

        def work() -> None:
            for _ in range(count):
                execute("insert into message (body) values (?)", (TEXT,))

        return rate(count, work)


def appends(directory: Path, raw: Raw) -> Iterator[Row]:
    """One blocking caller, one task, fifty tasks, and fifty with search rows in the commit."""
    store = sojourn.open(f"sqlite:///{directory}/one.db", conversations=NO_FOLD)
    talk = store.conversations.create("u")

    def one_caller() -> float:
        def work() -> None:
            for _ in range(2000):
                store.conversations.append(talk.id, "user", TEXT)

        return rate(2000, work)

    yield versus("append, one blocking caller", 0.7, in_turns(ROUNDS, lambda: raw.inserts(2000), one_caller))
    store.close()
    for name, bar, search, tasks in (
        ("append, one task", 0.5, "deferred", 1),
        ("append, 50 tasks on 50 conversations", 2.5, "deferred", 50),
        ('append, 50 tasks, search="commit"', 1.5, "commit", 50),
    ):
        policy = sojourn.ConversationPolicy(fold_above=None, search=search)  # type: ignore[arg-type]
        url = f"sqlite:///{directory}/{search}-{tasks}.db"
        yield versus(name, bar, in_turns(ROUNDS, lambda: raw.inserts(2000), lambda: asyncio.run(many(url, policy, tasks))))  # noqa: B023


async def many(url: str, policy: sojourn.ConversationPolicy, tasks: int) -> float:
    """Appends per second of this many tasks, each on a conversation of its own."""
    each = 1500 if tasks == 1 else 200
    async with sojourn.aopen(url, conversations=policy) as store:
        talks = [await store.conversations.create(f"user {number}") for number in range(tasks)]

        async def talk(id: str) -> None:
            for _ in range(each):
                await store.conversations.append(id, "user", TEXT)

        start = time.perf_counter()
        await asyncio.gather(*(talk(one.id) for one in talks))
        return tasks * each / (time.perf_counter() - start)


def reads(directory: Path, raw: Raw) -> Iterator[Row]:
    """The newest 50 of 1,000 messages, decoded."""
    store = sojourn.open(f"sqlite:///{directory}/reads.db", conversations=NO_FOLD)
    talk = store.conversations.create("u")
    store.conversations.extend(talk.id, [{"role": "user", "content": TEXT} for _ in range(1000)])
    execute = raw.connection.execute
    execute("create table log (id integer primary key, talk integer, body text)")
    execute("create index log_talk on log (talk, id)")
    body = json.dumps({"role": "user", "content": TEXT, "created_at": 1_790_000_000.5})
    raw.connection.executemany("insert into log (talk, body) values (1, ?)", [(body,)] * 1000)

    def plain() -> float:
        def work() -> None:
            for _ in range(500):
                rows = execute("select body from log where talk = 1 order by id desc limit 50").fetchall()
                [json.loads(row[0]) for row in reversed(rows)]

        return rate(500, work)

    def ours() -> float:
        def work() -> None:
            for _ in range(500):
                store.conversations.messages(talk.id, last=50)

        return rate(500, work)

    yield versus("newest 50 of 1,000 messages, decoded", 0.7, in_turns(ROUNDS, plain, ours))
    store.close()


def fill(store: sojourn.Store, count: int, first: int = 0) -> list[str]:
    """Make conversations in bulk, through the engine, with their links as ``create`` makes them; their ids."""
    unit = store._aio._unit
    made = []
    for number in range(first, first + count):
        user = f"user {number}"
        new = rules.create(unit.new_id(user), user, rules.document(), None)
        batch = Batch(unit.tenant, user, (new, Point(AliasKey(user, rules.CURRENT, user), new.id, 0)))
        made.append((new.id, batch))
    commit_all(unit.engine, [batch for _, batch in made])
    return [id for id, _ in made]


def commit_all(engine: Engine, batches: list[Batch]) -> None:
    """Commit many batches, a few hundred a transaction (what the coalescer does with that many callers)."""
    assert isinstance(engine, SqliteEngine)
    for place in range(0, len(batches), 500):
        group = batches[place : place + 500]
        run_sync(engine._commits.submit(partial(_bulk, group, engine._clock())))


def _bulk(group: list[Batch], now: int, writing: Writing, _: sqlite3.Connection) -> None:
    for batch in group:
        Commit(batch, writing, now).run()


def growth(directory: Path, *, large: bool) -> Iterator[Row]:
    """What must not depend on how much there is: a page of a list, an append."""
    store = sojourn.open(f"sqlite:///{directory}/growth.db", conversations=NO_FOLD)

    def page() -> float:
        return per_call(200, lambda: store.conversations.list(limit=50))

    def append_to(id: str) -> float:
        return per_call(1000, lambda: store.conversations.append(id, "user", TEXT))

    few = fill(store, 1000)
    small_page, small_append = page(), append_to(few[0])
    fill(store, 99_000, 1000)
    yield Row("list of 50: among 100,000 against among 1,000", page() / small_page, "×", 1.3, at_most=True)
    if large:
        fill(store, 900_000, 100_000)
        name = "append: among 1,000,000 conversations against 1,000"
    else:
        name = "append: among 100,000 conversations against 1,000"
    yield Row(name, append_to(few[1]) / small_append, "×", 1.2, at_most=True)
    long = few[2]
    store.conversations.extend(long, [{"role": "user", "content": TEXT} for _ in range(100)])
    short_append = append_to(long)
    for _ in range(98):
        store.conversations.extend(long, [{"role": "user", "content": TEXT} for _ in range(1000)])
    yield Row("append: to 100,000 messages against to 100", append_to(long) / short_append, "×", 1.2, at_most=True)
    yield from searching(store)
    store.close()


def searching(store: sojourn.Store) -> Iterator[Row]:
    """Search among the 100,000 messages of the long conversation."""
    while store.sweep(limit=2000)["indexed"]:
        continue
    rare = store.conversations.create("searcher")
    store.conversations.append(rare.id, "user", "an unmistakable zeppelin")
    store.sweep(limit=2000)
    yield Row("search: one rare word among 100,000 messages", per_call(50, lambda: store.conversations.search("zeppel")), "µs")
    yield Row("search: two common words among 100,000", per_call(20, lambda: store.conversations.search("harbour fox")), "µs")


def others(directory: Path) -> Iterator[Row]:
    """get_or_create, memory of an open store, import."""
    store = sojourn.open(f"sqlite:///{directory}/others.db")
    store.conversations.get_or_create("alice")
    yield Row("get_or_create: known person", per_call(500, lambda: store.conversations.get_or_create("alice")), "µs")
    numbers = iter(range(1_000_000))
    new = per_call(500, lambda: store.conversations.get_or_create(f"new {next(numbers)}"))
    yield Row("get_or_create: new person", new, "µs")
    store.close()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    again = sojourn.open(f"sqlite:///{directory}/others.db")
    again.conversations.list()
    yield Row("memory of an open store (Python's share)", (tracemalloc.get_traced_memory()[0] - before) / 1024, "kB")
    tracemalloc.stop()
    again.close()
    yield from importing(directory)


def importing(directory: Path) -> Iterator[Row]:
    """Messages per second from a made OpenJarvis database."""
    source = directory / "source.db"
    old = sqlite3.connect(source)
    old.executescript(
        "create table sessions (session_id text primary key, user_id text, display_name text, channel_ids text,"
        " created_at real, last_activity real, metadata text);"
        "create table session_messages (id integer primary key, session_id text, role text, content text, channel text,"
        " timestamp real, metadata text);"
    )
    now = datetime.now(UTC).timestamp()
    for number in range(100):
        old.execute("insert into sessions values (?, ?, '', '{}', ?, ?, '{}')", (f"{number:016x}", f"u{number}", now, now))
        rows = [(f"{number:016x}", "user", TEXT, "web", now) for _ in range(200)]
        old.executemany(
            "insert into session_messages (session_id, role, content, channel, timestamp, metadata) values (?,?,?,?,?,'{}')",
            rows,
        )
    old.commit()
    old.close()
    with sojourn.open(f"sqlite:///{directory}/target.db") as store:
        work: Callable[[], object] = lambda: import_openjarvis(store, source)  # noqa: E731  # one call, timed
        yield Row("import of OpenJarvis: 100 × 200 messages", rate(20_000, work), "per s")
