"""The bars of logins on SQLite: authenticate beside a raw read, and what must not depend on how many there are."""

from __future__ import annotations

import hashlib
import hmac
import multiprocessing
import sqlite3
import time
from collections.abc import Iterator
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path

import sojourn
from bench.conversations import ROUNDS, commit_all
from bench.measure import Row, in_turns, per_call, rate
from sojourn.core.batch import Batch, Create, Deadline
from sojourn.core.times import MINUTE, SECOND
from sojourn.kinds.logins import rules
from sojourn.kinds.logins.model import Character, LoginPolicy
from sojourn.kinds.logins.rules import Draft, Origin

POLICY = LoginPolicy()
WORLDS = 100
MANY = 50_000
LARGE = 500_000
SWEPT = 20_000
SWEPT_LARGE = 1_000_000


def logins(directory: Path, *, large: bool = False) -> Iterator[Row]:
    """Every bar, and what else is worth knowing."""
    yield authenticating(directory)
    yield from changing(directory)
    yield from among_many(directory, LARGE if large else MANY)
    yield from sweeping(directory, SWEPT_LARGE if large else SWEPT)


def authenticating(directory: Path) -> Row:
    """One blocking caller; beside it one indexed read of a plain table of sessions, SHA-256, and a comparison."""
    store = sojourn.open(f"sqlite:///{directory}/auth.db", directory=False)
    tokens = [str(store.logins.create(f"user {number}").token) for number in range(1000)]
    plain = sqlite3.connect(directory / "plain.db", isolation_level=None)
    plain.execute("pragma journal_mode = wal")
    plain.execute(
        "create table session (id text primary key, secret blob, user text, client text, character text, world text, created "
        "integer, authenticated integer, active integer, expires integer, ip text, agent text, amr text, metadata text)"
    )
    for token in tokens:
        row = (
            token[4:30],
            hashlib.sha256(token.encode()).digest(),
            "user",
            "web",
            None,
            None,
            1,
            1,
            1,
            1,
            "::1",
            "x",
            "[]",
            "{}",
        )
        plain.execute(f"insert into session values ({', '.join('?' * len(row))})", row)

    def raw() -> float:
        def work() -> None:
            for token in tokens:
                digest = hashlib.sha256(token.encode()).digest()
                row = plain.execute("select * from session where id = ?", (token[4:30],)).fetchone()
                assert hmac.compare_digest(digest, row[1])

        return rate(1000, work)

    def ours() -> float:
        def work() -> None:
            for token in tokens:
                store.logins.authenticate(token)

        return rate(1000, work)

    ratio, one, other = in_turns(ROUNDS * 3, raw, ours)
    plain.close()
    store.close()
    detail = f"{1e6 / other:.1f} µs beside {1e6 / one:.1f} µs"
    return Row("authenticate, against a raw read and SHA-256", 1 / ratio, "×", 2, True, detail)


def changing(directory: Path) -> Iterator[Row]:
    """Durable writes, to know: touch, create; and ending a thousand logins of one user."""
    store = sojourn.open(f"sqlite:///{directory}/change.db", directory=False)
    made = store.logins.create("ann")
    yield Row("touch", per_call(300, lambda: store.logins.touch(made.login.id)), "µs")
    yield Row("create", per_call(300, lambda: store.logins.create("bob")), "µs")
    for _ in range(1000):
        store.logins.create("many")
    start = time.perf_counter()
    ended = store.logins.revoke_user("many")
    took = (time.perf_counter() - start) * 1000
    store.close()
    yield Row("revoke_user with 1,000 logins", took, "ms", detail=f"{ended} ended, in commits of at most 500")


def fill(store: sojourn.Store, count: int, *, expired: bool = False) -> None:
    """Make logins in bulk, through the engine: a tenth of them active within the window, in a hundred worlds."""
    unit = store._aio._unit
    now = time.time_ns() // 1000
    for start in range(0, count, 50_000):
        batches = []
        for number in range(start, min(count, start + 50_000)):
            user, world = f"user {number}", f"world {number % WORLDS}"
            draft = Draft("web", Character(f"c{number}", user, world, f"name {number}"), Origin(), (), {})
            active = now - (number % 10) * 60 * MINUTE
            batches.append(Batch(unit.tenant, user, (_made(unit.new_id(user), user, draft, active, now, expired=expired),)))
        commit_all(unit.engine, batches)


def _made(id: str, user: str, draft: Draft, active: int, now: int, *, expired: bool) -> Create:
    return Create(
        id,
        rules.KIND,
        user,
        data=draft.document("sjh0_x"),
        counters={"generation": 0, "authenticated_at": active, "renewed_at": active},
        tags=draft.tags,
        deadline=Deadline(at=now - SECOND if expired else now + 600 * MINUTE),
        bucket=MINUTE,
        created_at=active,
        active_at=active,
    )


def among_many(directory: Path, count: int) -> Iterator[Row]:
    """Counting and listing who is there; the same among few, for what must not depend on the total."""
    few = sojourn.open(f"sqlite:///{directory}/few.db", durability="normal", directory=False)
    fill(few, 1000)
    store = sojourn.open(f"sqlite:///{directory}/many.db", durability="normal", directory=False)
    fill(store, count)
    active = count // 10
    whole = per_call(5, lambda: store.logins.count_active())
    assert store.logins.count_active() == active
    yield Row(
        f"count_active among {count:,}", whole / active * 1000, "ns each", 200, True, f"{whole / 1000:.1f} ms for {active:,}"
    )
    yield Row("count_active of one world", per_call(20, lambda: store.logins.count_active(world_id="world 0")), "µs")
    took = per_call(3, lambda: store.logins.active_characters(world_id="world 0"))
    names = len(store.logins.active_characters(world_id="world 0"))
    yield Row(
        f"active_characters among {count:,}", took / names, "µs each", 60, True, f"{took / 1000:.1f} ms for {names:,} names"
    )
    window = timedelta(minutes=10)
    took = per_call(5, lambda: store.logins.active_characters(world_id="world 0", within=window))
    yield Row("active_characters within ten minutes", took / 1000, "ms")
    one, other = _device_list(few), _device_list(store)
    yield Row(f"device list: among {count:,} against 1,000", other / one, "×", 1.5, True, f"{other:.0f} µs")
    few.close()
    store.close()


def _device_list(store: sojourn.Store) -> float:
    return per_call(200, lambda: store.logins.list(user_id="user 7"))


def _touch_on(path: str, talk: Connection) -> None:
    """Another process that writes, alone and then while somebody sweeps, and says how long its commits took."""
    with sojourn.open(path, durability="normal", directory=False) as other:
        made = other.logins.create("writer")

        def waited() -> float:
            start = time.perf_counter()
            other.logins.touch(made.login.id)
            took = time.perf_counter() - start
            time.sleep(0.001)
            return took

        alone = [waited() for _ in range(2000)]
        talk.send("begin")
        beside: list[float] = []
        while not talk.poll():
            beside.append(waited())
    talk.send((alone, beside))


def sweeping(directory: Path, count: int) -> Iterator[Row]:
    """Closing what has expired, 500 a pass, while another writer commits."""
    path = f"sqlite:///{directory}/swept.db"
    store = sojourn.open(path, durability="normal", directory=False)
    fill(store, count, expired=True)
    ours, theirs = multiprocessing.Pipe()
    writer = multiprocessing.get_context("spawn").Process(target=_touch_on, args=(path, theirs))
    writer.start()
    ours.recv()
    start, closed = time.perf_counter(), 0
    for _ in range(10):
        closed += store.sweep(500)["expired"]
    took = time.perf_counter() - start
    ours.send("enough")
    alone, beside = (sorted(waits) for waits in ours.recv())
    writer.join()
    store.close()
    yield Row(f"sweep among {count:,} expired", closed / took, "/s", detail=f"{closed:,} closed in ten passes")
    detail = f"p99 {beside[-len(beside) // 100] * 1000:.1f} ms of {len(beside):,} touches; alone {alone[-1] * 1000:.1f}"
    yield Row("another process's worst wait meanwhile", beside[-1] * 1000, "ms", 30, True, detail)
