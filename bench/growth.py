"""What must not depend on how much there is, on PostgreSQL; and what a record takes on each engine.

Each operation is timed in turns with a bare insert or select on the same server, among ever more records. The factor says how
many times as much it takes, beside the bare thing, as among 10,000: flat is within 2. Filling is done with
``synchronous_commit`` off, measuring with the settings of an installed server.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias

import psycopg
import redis
from psycopg import sql

import sojourn
from bench.conversations import TEXT
from bench.measure import Row
from bench.multiply import FORM, PER_WORLD, SECRET, Multiplier, compare
from bench.servers import INSERT, SELECT, TABLE
from sojourn.core.times import HOUR, MINUTE
from sojourn.testing.servers import ServerMissingError, postgres_server, redis_server

SIZES: Final = {"logins": (10_000, 100_000, 1_000_000), "conversations": (10_000, 100_000)}
LARGE: Final = {"logins": 10_000_000, "conversations": 1_000_000}
EACH: Final = 10
"""Logins of a user."""
ACTIVE: Final = 1000
"""Logins that are online, however many there are."""
DUE: Final = 1000
FLAT: Final = 2.0
LOGINS: Final = sojourn.LoginPolicy(idle=timedelta(days=30), absolute=timedelta(days=90))
HOURS: Final = {"logins": 6 * 24, "conversations": 20}
"""How long ago the oldest was made: before events are purged, or conversations decay."""


def growth(*, large: bool) -> Iterator[Row]:
    """Logins, then conversations, each in a database of its own; then bytes."""
    try:
        with postgres_server(fsync=True) as server:
            for name, measured in (("logins", logins), ("conversations", conversations)):
                sizes = (*SIZES[name], *([LARGE[name]] if large else []))
                with database(server.url, f"bench_{name}") as url:
                    yield from Growing(url, name, sizes, measured).rows()
    except ServerMissingError as missing:
        yield Row("growth on PostgreSQL", 0.0, "×", detail=f"not measured: {missing}")
    yield from bytes_elsewhere()


@contextmanager
def database(url: str, name: str) -> Iterator[str]:
    """A database that is there meanwhile."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("alter system set max_wal_size = '8GB'")  # the filling's, which would be checkpoints else
        connection.execute("select pg_reload_conf()")
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        yield f"{url.rpartition('/')[0]}/{name}"
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


# -- who is there ------------------------------------------------------------------------------------------------------


class Application:
    """The directory of an application: everybody has one character, a hundred of them in each world."""

    def user_id(self, username: str) -> str:
        """Names are ids."""
        return username

    def user_exists(self, user_id: str) -> bool:
        """Whoever comes."""
        return bool(user_id)

    def character(self, character_id: str) -> sojourn.Character:
        """The one character of a user."""
        user = character_id.removeprefix("hero-")
        return sojourn.Character(character_id, user, f"world-{int(user.rpartition('-')[2]) // PER_WORLD}", f"Hero {user}")

    def world_exists(self, world_id: str) -> bool:
        """Every world."""
        return bool(world_id)

    def names(self, character_ids: list[str]) -> dict[str, str]:
        """Their names."""
        return {id: self.character(id).name for id in character_ids}


def sign_in(store: sojourn.Store, user: str) -> None:
    """A user with ten logins, of which one plays a character."""
    store.logins.create(user, character_id=f"hero-{user}", client_type="web")
    for _ in range(EACH - 1):
        store.logins.create(user, client_type="web")


def talk(store: sojourn.Store, user: str) -> None:
    """A person with a conversation of one message."""
    made = store.conversations.get_or_create(user)
    store.conversations.append(made.id, "user", TEXT, channel="web")


Make: TypeAlias = Callable[[sojourn.Store, str], None]
MAKERS: Final[dict[str, Make]] = {"logins": sign_in, "conversations": talk}


def opened(url: str) -> sojourn.Store:
    """A store beside the application's own tables."""
    return sojourn.open(url, logins=LOGINS, directory=Application())


# -- measuring ---------------------------------------------------------------------------------------------------------


@dataclass
class Growing:
    """One kind among ever more of it."""

    url: str
    kind: str
    sizes: tuple[int, ...]
    measured: Callable[[Growing], None]
    first: dict[str, float] = field(default_factory=dict)
    """What each operation took, beside the bare thing, among the fewest."""
    found: list[Row] = field(default_factory=list)
    size: int = 0
    people: int = 0

    def rows(self) -> Iterator[Row]:
        """Every size, and the bytes."""
        self.store = opened(self.url)
        make = MAKERS[self.kind]
        make(self.store, FORM)
        self.store.sweep()
        self.connection = psycopg.connect(self.url, autocommit=True)
        self.connection.execute(TABLE)
        self.connection.execute("insert into bare (session, body) select 'x', %s from generate_series(1, 1000)", (TEXT,))
        each = EACH if self.kind == "logins" else 1
        many = Multiplier(self.connection, self.sizes[-1] // each, HOURS[self.kind])
        many.prepare()
        for size in self.sizes:
            start, before = time.perf_counter(), self.people
            self.size, self.people = size, size // each
            many.fill(before + 1, self.people)
            self.connection.execute("set synchronous_commit = on")
            if not before:
                yield self._compared(make)
            yield self._bytes(time.perf_counter() - start)
            self.random = random.Random(size)
            self.measured(self)
            yield from self.found
            self.found.clear()
        self.connection.close()
        self.store.close()

    def _compared(self, make: Make) -> Row:
        make(self.store, "real-1")
        self.store.sweep()
        rows = compare(self.connection, "who-7", "real-1")
        assert not self.store.check()
        return Row(f"{self.kind}: rows of a copy, all as the library writes them", rows, "rows")

    def _bytes(self, took: float) -> Row:
        sizes = self.connection.execute(
            "select substr(relname, 9), pg_total_relation_size(oid)::bigint from pg_class "
            "where relkind = 'r' and relname like 'sojourn\\_%' order by 2 desc"
        ).fetchall()
        total = sum(size for _, size in sizes) / self.size
        parts = ", ".join(f"{name} {size / self.size:,.0f}" for name, size in sizes if size / self.size >= 1)
        return Row(
            f"bytes each of {self.size:,} {self.kind}, PostgreSQL", total, "B", detail=f"{parts}; filled in {took:.0f} s"
        )

    def time(self, name: str, calls: int, work: Callable[[], object], raw: str, before: Callable[[], object] = int) -> None:
        """Time an operation in turns with the bare thing (select or insert); ``before`` is done before each, untimed."""
        took, bare = [], []
        for _ in range(calls):
            before()
            start = time.perf_counter()
            work()
            took.append(time.perf_counter() - start)
            for _ in range(1 if calls > 20 else 50):
                start = time.perf_counter()
                self._bare(raw)
                bare.append(time.perf_counter() - start)
        mine, theirs = _quiet(took), _quiet(bare)
        beside = mine / theirs
        base = self.first.setdefault(name, beside)
        detail = f"{_time(mine)} beside {_time(theirs)}"
        if self.size == self.sizes[0]:
            self.found.append(Row(f"{name}: {self.size:,}", beside, "× bare", detail=detail))
        else:
            title = f"{name}: {self.size:,} against {self.sizes[0]:,}"
            self.found.append(Row(title, beside / base, "×", FLAT, True, detail))

    def _bare(self, raw: str) -> None:
        if raw == "insert":
            self.connection.execute(INSERT, ("x", TEXT))
        else:
            self.connection.execute(SELECT, (self.random.randint(1, 1000),)).fetchone()

    def anyone(self) -> str:
        """Somebody's name."""
        return f"who-{self.random.randint(1, self.people)}"

    def ids(self, count: int, which: str = "min") -> list[str]:
        """The ids of sessions of so many different people, all of them copies."""
        names = [f"who-{number}" for number in self.random.sample(range(1, self.people + 1), count)]
        rows = self.connection.execute(
            f"select {which}(id) from sojourn_session where tenant = 'default' and owner = any (%s) and kind = %s "
            "and state = 'active' and created_at < %s group by owner",
            (names, self.kind.removesuffix("s"), time.time_ns() // 1000 - 55 * MINUTE),
        )
        return [row[0] for row in rows.fetchall()]


def _quiet(took: list[float]) -> float:
    """The lower quartile, which says what an operation takes when nothing else is done on the machine."""
    return sorted(took)[len(took) // 4]


def _time(seconds: float) -> str:
    return f"{seconds * 1e6:,.0f} µs" if seconds < 0.01 else f"{seconds * 1e3:,.0f} ms"


def logins(at: Growing) -> None:
    """Signing in, being there, leaving."""
    store, connection = at.store.logins, at.connection
    for table in ("sojourn_session", "sojourn_tag"):  # nobody was here lately, but for the thousand
        connection.execute(
            f"update {table} set bucket = bucket - %s where kind = 'login' and state = 'active' and bucket > %s",
            (HOUR, time.time_ns() // 1000 - HOUR),
        )
    ids = at.ids(min(ACTIVE, at.people - 1))
    touched = iter(ids)
    at.time("touch", len(ids), lambda: store.touch(next(touched)), "insert")
    ours = iter(ids)
    at.time("authenticate", 300, lambda: store.authenticate(f"sjl_{next(ours)}.{SECRET}"), "select")
    others = iter(at.ids(250, "max"))
    at.time("authenticate, with a touch", 200, lambda: store.authenticate(f"sjl_{next(others)}.{SECRET}"), "insert")
    at.time("list of a user's 10", 200, lambda: store.list(user_id=at.anyone()), "select")
    at.time("list, a page of 50", 100, lambda: store.list(limit=50), "select")
    at.time("sessions.list, a page of 50", 100, lambda: at.store.sessions.list(limit=50), "select")
    at.time("count_active of the thousand", 50, lambda: store.count_active(), "select")
    world = f"world-{at.people // 200}"
    at.time("count_active of a world", 50, lambda: store.count_active(world_id=world), "select")
    at.time("active_characters, 100 of a world", 50, lambda: store.active_characters(world_id=world), "select")
    at.time("create", 100, lambda: store.create(at.anyone()), "insert")
    at.time("revoke_user with 10", 20, lambda: store.revoke_user(at.anyone()), "insert")
    _drain(at)
    at.time("sweep with nothing due", 20, at.store.sweep, "insert")
    expire = partial(_expire, at)
    at.time(f"sweep of {DUE:,} that have expired", 3, lambda: at.store.sweep(2 * DUE), "insert", expire)
    at.time(f"delete_expired of {DUE:,}", 3, store.delete_expired, "insert", expire)


def _expire(at: Growing) -> None:
    """Let a thousand logins of five hundred users be past their deadline."""
    changed = at.connection.execute(
        "update sojourn_session set deadline = active_at where n in (select n from sojourn_session where tenant = 'default' "
        "and owner = any (%s) and kind = 'login' and state = 'active' order by n limit %s)",
        ([at.anyone() for _ in range(DUE // 2)], DUE),
    )
    assert changed.rowcount == DUE


def conversations(at: Growing) -> None:
    """Finding one's conversation, saying something, looking around."""
    store = at.store.conversations
    busy = f"busy {at.size}"
    for _ in range(60):
        store.create(busy)
    ids = iter(at.ids(600))
    at.time("get_or_create of a known person", 200, lambda: store.get_or_create(at.anyone()), "select")
    at.time("get_or_create of a new person", 100, lambda: store.get_or_create(f"new {at.random.random()}"), "insert")
    at.time("append", 300, lambda: store.append(next(ids), "user", TEXT), "insert")
    at.time("messages(last=20)", 200, lambda: store.messages(next(ids), last=20), "select")
    at.time("list of a person, a page of 50", 100, lambda: store.list(user_id=busy), "select")
    at.time("list, a page of 50", 100, lambda: store.list(limit=50), "select")
    at.time("list of a channel, a page of 50", 100, lambda: store.list(channel="web"), "select")
    at.time("sessions.list, a page of 50", 100, lambda: at.store.sessions.list(limit=50), "select")
    at.time("search among a person's own", 100, lambda: store.search("harbour", user_id=at.anyone()), "select")
    at.time("search for a word that everybody used", 40, lambda: store.search("harbour "), "select")
    _drain(at)
    at.time("sweep with nothing due", 20, at.store.sweep, "insert")


def _drain(at: Growing) -> None:
    """Sweep until nothing is left to do."""
    while at.store.sweep(2000).total:
        continue


# -- bytes -------------------------------------------------------------------------------------------------------------


def bytes_elsewhere() -> Iterator[Row]:
    """The same people on SQLite and on Redis, made through the library."""
    count = SIZES["logins"][0]
    for kind, make in MAKERS.items():
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory, "bytes.db")
            size = partial(_size, path)
            empty = _made(f"sqlite:///{path}", kind, make, 0, size)
            total = _made(f"sqlite:///{path}", kind, make, count, size)
        yield Row(f"bytes each of {count:,} {kind}, SQLite", (total - empty) / count, "B")
    try:
        for kind, make in MAKERS.items():
            with redis_server() as server, redis.Redis.from_url(server.url) as client:
                total = _made(server.url, kind, make, count, partial(_usage, client))
                parts = ", ".join(f"{name} {size / count:,.0f}" for name, size in _parts(client) if size >= count)
                yield Row(f"bytes each of {count:,} {kind}, Redis", total / count, "B", detail=f"{parts} (by MEMORY USAGE)")
    except ServerMissingError as missing:
        yield Row("bytes on Redis", 0.0, "B", detail=f"not measured: {missing}")


def _made(url: str, kind: str, make: Make, count: int, size: Callable[[], int]) -> int:
    with sojourn.open(url, durability="normal", logins=LOGINS, directory=Application()) as store:
        for number in range(count // (EACH if kind == "logins" else 1)):
            make(store, f"who-{number}")
        while count and store.sweep(2000).total:
            continue
    return size()


def _size(path: Path) -> int:
    return path.stat().st_size


def _usage(client: Any) -> int:
    return sum(size for _, size in _parts(client))


def _parts(client: Any) -> list[tuple[str, int]]:
    """Bytes by the sort of a key, most first."""
    found: Counter[str] = Counter()
    for key in client.scan_iter(count=10_000):
        name = key.decode().partition("}:")[2].split(":")
        found[name[1] if len(name) > 2 else name[-1]] += client.memory_usage(key, samples=0) or 0
    return found.most_common()
