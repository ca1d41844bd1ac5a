"""The PostgreSQL engine on a real server, in both colours: the four operations that the contract was drawn up for, batches
decided exactly as the embedded engines decide them, groups, events read while others commit, and broken connections."""

from __future__ import annotations

import asyncio
import random
import re
import tempfile
from collections.abc import Awaitable, Callable, Coroutine, Generator
from dataclasses import replace
from itertools import count
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from sojourn.core.batch import (
    Answer,
    Batch,
    Change,
    Create,
    Deadline,
    Delete,
    Guard,
    Lend,
    NewEntry,
    Point,
    Redact,
    Touch,
    Write,
    Yield,
)
from sojourn.core.ids import new_id
from sojourn.core.query import EntryQuery, SessionQuery
from sojourn.core.session import Alias, AliasKey, EventRow
from sojourn.core.times import DAY, MINUTE, SECOND, to_datetime
from sojourn.engines.contract import Capabilities, Clock, Engine
from sojourn.engines.memory import MemoryEngine
from sojourn.engines.postgres import schema
from sojourn.engines.postgres.aio import AsyncDriver, AsyncPostgresEngine
from sojourn.engines.postgres.blocking import BlockingDriver
from sojourn.engines.postgres.commits import Queue, Sending, Slot, carry_out
from sojourn.engines.postgres.engine import PostgresEngine, _shard_of
from sojourn.engines.postgres.settings import Settings
from sojourn.engines.postgres.wire import PLACES, pack
from sojourn.errors import (
    ClosedError,
    InvalidCursorError,
    InvalidValueError,
    LimitError,
    OutcomeUnknownError,
    SchemaError,
    UnavailableError,
    UnsupportedError,
)
from sojourn.shell.bridge import run_sync
from sojourn.testing.clocks import ManualClock
from sojourn.testing.conformance import EngineConformance, promised_tests
from sojourn.testing.conformance.lab import HOME, KIND, TENANT, Lab, alias, drive, lines
from sojourn.testing.faults import FaultProxy
from sojourn.testing.servers import Server

Story = Callable[[Lab], Coroutine[Any, Any, None]]
Tell = Callable[[Story], None]

_schemas = count(1)


@pytest.fixture(scope="module")
def server(postgres: Server) -> Server:
    return postgres


@pytest.fixture
def url(server: Server) -> Generator[str]:
    """An empty store: a schema of its own."""
    yield from fresh_schema(server)


def fresh_schema(server: Server) -> Generator[str]:
    name = f"store_{next(_schemas)}"
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(f"create schema {name}")
    yield f"{server.url}?options=-csearch_path%3D{name}"
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(f"drop schema {name} cascade")


@pytest.fixture(params=["blocking", "async"])
def blocking(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "blocking")


@pytest.fixture
def tell(url: str, blocking: bool) -> Tell:
    """Runs a story in one colour, on a fresh store with a clock that stands still."""
    return teller(url, blocking)


@pytest.fixture
def tell_in_real_time(url: str, blocking: bool) -> Tell:
    """The same by the server's clock."""
    return teller(url, blocking, real_time=True)


def teller(url: str, blocking: bool, *, real_time: bool = False) -> Tell:
    async def open_engine(clock: Clock) -> Engine:
        kind = PostgresEngine if blocking else AsyncPostgresEngine
        return await kind.open(url, None if real_time else clock)

    def tell(story: Story) -> None:
        async def whole() -> None:
            lab = Lab(open_engine, blocking=blocking)
            try:
                await lab.open()
                await story(lab)
            finally:
                await lab.close()

        drive(whole(), blocking=blocking)

    return tell


# -- the whole contract ----------------------------------------------------------------------------------------------


class TestConformance(EngineConformance):
    """All promises, in blocking code."""

    blocking = True
    capabilities = Capabilities(engine="postgres")

    @pytest.fixture
    def place(self, reused_url: str) -> str:
        return reused_url

    async def open_engine(self, place: str, clock: Clock) -> Engine:
        return await PostgresEngine.open(place, clock)


class TestAsyncConformance(TestConformance):
    """The same under an event loop."""

    blocking = False

    async def open_engine(self, place: str, clock: Clock) -> Engine:
        return await AsyncPostgresEngine.open(place, clock)


@pytest.mark.parametrize("suite", [TestConformance, TestAsyncConformance])
def test_nothing_of_the_suite_is_left_out(suite: type[EngineConformance]) -> None:
    """As many tests as on SQLite, in both colours: no capability is missing."""
    found = sorted(name for name in dir(suite) if name.startswith("test_") and callable(getattr(suite, name)))
    assert found == sorted(promised_tests(Capabilities(engine="all")))


# -- 1: append to a conversation -------------------------------------------------------------------------------------


def appended(session: str, text: str, *, fold_above: int = 1000) -> Write:
    return Write(
        session,
        Guard(),
        entries=(NewEntry("message", label="user", author="ann", text=text),),
        add=(("messages", 1), ("bytes", len(text))),
        stamp=("last_at",),
        due_above=("messages", fold_above),
        active=MINUTE,
        search="deferred",
        change="appended",
    )


def test_append(tell: Tell) -> None:
    async def story(lab: Lab) -> None:
        made = await lab.create(counters={"messages": 0})
        first = await lab.commit(appended(made, "hello", fold_above=1), operation="k1", fingerprint="f")
        lab.later(seconds=5)
        second = await lab.commit(appended(made, "again", fold_above=1), operation="k2", fingerprint="f")
        assert [(a.moved[0].version, a.moved[0].first, a.moved[0].last) for a in (first, second)] == [(2, 1, 1), (3, 2, 2)]
        assert first.moved[0].deadline is None
        assert second.moved[0].deadline == second.now, "above its threshold it is due for a fold"
        assert second.moved[0].counters == {"messages": 2, "bytes": 10, "last_at": second.now}
        assert [found.id for found in await lab.engine.due(TENANT, 10)] == [made]

    tell(story)


def test_append_asked_again(tell: Tell) -> None:
    async def story(lab: Lab) -> None:
        made = await lab.create()
        first = await lab.commit(appended(made, "hello"), operation="k1", fingerprint="f")
        await lab.done(Write(made, state="ended"))
        again = await lab.commit(appended(made, "hello"), operation="k1", fingerprint="f")
        other = await lab.commit(appended(made, "other"), operation="k1", fingerprint="g")
        assert again.replayed
        assert replace(again.moved[0], state="active") == first.moved[0]
        assert other.refusal is not None
        assert other.refusal.reason == "key"
        refusal = await lab.refused(appended(made, "late"))
        assert refusal.reason == "ended"
        assert await lab.texts(made) == ["hello"]

    tell(story)


def test_appends_of_eight_callers_are_numbered_without_gaps(tell: Tell) -> None:
    async def story(lab: Lab) -> None:
        made = await lab.create()
        given: list[int] = []

        async def caller(name: int) -> None:
            for turn in range(50):
                answer = await lab.commit(appended(made, f"{name}.{turn}"), operation=f"{name}.{turn}")
                given.append(answer.moved[0].first)

        await lab.together(*(lambda n=n: caller(n) for n in range(8)))
        assert sorted(given) == list(range(1, 401))
        stored = await lab.entries(made, EntryQuery())
        assert [entry.sequence for entry in stored] == list(range(1, 401))
        assert [entry.version for entry in stored] == list(range(2, 402))
        session = await lab.session(made)
        assert (session.version, session.counters["messages"]) == (401, 400)

    tell(story)


def test_appends_to_many_conversations_travel_together(url: str) -> None:
    """50 tasks, 50 homes: far fewer calls than appends, and every one is stored once."""

    async def story() -> None:
        driver = AsyncDriver(Settings(url=url, connections=4))
        await driver.open()
        await schema.ensure(driver, migrate=True)
        engine = AsyncPostgresEngine(driver)
        lab = Lab(lambda _: _given(engine), blocking=False)
        await lab.open()
        homes = [f"home {number}" for number in range(50)]
        made = [await lab.create(home=home) for home in homes]
        groups: list[int] = []
        call = driver._call

        async def counted(group: list[Slot]) -> None:
            groups.append(len(group))
            await call(group)

        driver._call = counted  # type: ignore[method-assign]  # what is counted still happens

        async def caller(number: int) -> None:
            for turn in range(10):
                batch = Batch(TENANT, homes[number], (appended(made[number], str(turn)),), f"{turn}")
                assert (await engine.commit(batch)).moved[0].first == turn + 1

        await asyncio.gather(*map(caller, range(50)))
        assert sum(groups) == 500
        assert len(groups) <= 60
        for session in made:
            assert await lab.texts(session) == [str(turn) for turn in range(10)]
        await engine.close()

    asyncio.run(story())


async def _given(engine: Engine) -> Engine:
    return engine


def test_a_lone_caller_waits_for_nobody(url: str) -> None:
    """While one call is held up by a lock, another caller's commit is stored."""

    async def story() -> None:
        engine = await AsyncPostgresEngine.open(url)
        lab = Lab(lambda _: _given(engine), blocking=False)
        await lab.open()
        held, free = await lab.create(), await lab.create()
        async with await psycopg.AsyncConnection.connect(url) as blocker:
            await blocker.execute("select 1 from sojourn_session where id = %s for update", (held,))
            waiting = asyncio.ensure_future(lab.append(held, "a"))
            await until_blocked(url)
            assert (await lab.append(free, "b")).refusal is None
            assert not waiting.done()
            await blocker.rollback()
            assert (await waiting).refusal is None
        await engine.close()

    asyncio.run(story())


async def until_blocked(url: str) -> None:
    """Return when somebody waits for a lock."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        while True:
            cursor = await connection.execute("select count(*) from pg_locks where not granted")
            if (await cursor.fetchall())[0][0]:
                return


# -- 2: a login is authenticated -------------------------------------------------------------------------------------


def test_touch_moves_activity_and_deadline_forward_only(tell: Tell) -> None:
    async def story(lab: Lab) -> None:
        login = await lab.create(kind="login", deadline=Deadline(after=30 * MINUTE))
        start, before = lab.clock.micros(), await lab.engine.tip()
        lab.later(minutes=10)
        seen = (await lab.engine.load(TENANT, login)).session
        assert seen is not None
        idle = Deadline(after=30 * MINUTE, cap=start + 35 * MINUTE)
        answer = await lab.done(Touch(login, MINUTE, idle))
        assert answer.moved[0].deadline == start + 35 * MINUTE
        assert answer.moved[0].version == seen.version
        assert (await lab.done(Touch(login, MINUTE, Deadline(after=MINUTE)))).moved[0].deadline == start + 35 * MINUTE
        after = await lab.session(login)
        assert (after.version, after.active_at, after.bucket) == (1, start + 10 * MINUTE, start + 10 * MINUTE)
        assert await lab.events(before) == []
        lab.later(minutes=-5)
        await lab.done(Touch(login, MINUTE))
        assert (await lab.session(login)).active_at == start + 10 * MINUTE

    tell(story)


def test_touch_never_revives(tell: Tell) -> None:
    async def story(lab: Lab) -> None:
        expired = await lab.create(deadline=Deadline(after=SECOND))
        ended = await lab.create()
        await lab.done(Write(ended, state="ended"))
        lab.later(seconds=1)
        assert (await lab.refused(Touch(expired, deadline=Deadline(after=DAY)))).reason == "expired"
        assert (await lab.refused(Touch(ended, deadline=Deadline(after=DAY)))).reason == "ended"
        assert (await lab.refused(Touch(lab.new_id()))).reason == "missing"

    tell(story)


def test_touches_race_with_the_end(tell: Tell) -> None:
    async def story(lab: Lab) -> None:
        for _ in range(20):
            login = await lab.create(deadline=Deadline(after=MINUTE))

            async def touch(login: str = login) -> Answer:
                return await lab.commit(Touch(login, deadline=Deadline(after=DAY)))

            async def end(login: str = login) -> Answer:
                return await lab.commit(Write(login, state="ended"))

            answers = await lab.together(touch, end, touch, touch)
            assert answers[1].refusal is None
            assert {a.refusal.reason for a in answers if a.refusal is not None} <= {"ended"}
            assert (await lab.session(login)).state == "ended"

    tell(story)


# -- 3: a game's turn ------------------------------------------------------------------------------------------------


def choice(game: str, player: str, phase: int) -> Write:
    return Write(
        game,
        Guard(timely=True, phase=phase, silent=player),
        entries=(NewEntry("choice", author=player, text="north", counted=True),),
        deadline=Deadline(after=30 * SECOND, if_none=True),
    )


def closing(game: str, phase: int) -> Write:
    return Write(game, Guard(phase=phase), deadline=Deadline(), next_phase=True, change="closed")


def test_submit_and_close(tell: Tell) -> None:
    async def story(lab: Lab) -> None:
        game = await lab.create(kind="game")
        first = (await lab.done(choice(game, "ann", 0))).moved[0]
        lab.later(seconds=10)
        second = (await lab.done(choice(game, "bob", 0))).moved[0]
        assert (first.counters["authors"], second.counters["authors"]) == (1, 2)
        assert first.deadline == second.deadline, "the first choice starts the countdown"
        assert (await lab.refused(choice(game, "ann", 0))).reason == "spoken"
        closed = (await lab.done(closing(game, 0))).moved[0]
        assert (closed.phase, closed.deadline, closed.counters["authors"]) == (1, None, 0)
        assert (await lab.refused(choice(game, "cy", 0))).reason == "phase"
        assert (await lab.done(choice(game, "ann", 1))).moved[0].counters["authors"] == 1
        lab.later(seconds=30)
        assert (await lab.refused(choice(game, "bob", 1))).reason == "expired"

    tell(story)


def test_of_two_closes_one_wins_and_a_late_choice_is_refused(tell: Tell) -> None:
    async def story(lab: Lab) -> None:
        game = await lab.create(kind="game")
        for phase in range(25):
            players = [f"p{number}" for number in range(6)]

            async def submit(player: str, phase: int = phase) -> Answer:
                return await lab.commit(choice(game, player, phase))

            async def close(phase: int = phase) -> Answer:
                return await lab.commit(closing(game, phase))

            works: list[Callable[[], Awaitable[Answer]]] = [lambda p=p: submit(p) for p in players]  # type: ignore[misc]
            *submitted, one, other = await lab.together(*works, close, close)
            assert sorted(a.refusal is None for a in (one, other)) == [False, True]
            assert {a.refusal.reason for a in (*submitted, one, other) if a.refusal is not None} == {"phase"} or all(
                a.refusal is None for a in submitted
            )
            accepted = {player for player, a in zip(players, submitted, strict=True) if a.refusal is None}
            stored = await lab.entries(game, EntryQuery())
            assert {entry.author for entry in stored if entry.phase == phase} == accepted
            assert (await lab.session(game)).phase == phase + 1

    tell(story)


# -- 4: one per home -------------------------------------------------------------------------------------------------


def test_a_cap_of_one_is_never_broken(tell: Tell) -> None:
    """200 races of 8 processes' engines: create a new one, take the alias from the epoch it was seen at, end the old one – in
    one batch. Every fourth race begins with a name that was never used, so that there is no row to wait for."""

    async def story(lab: Lab) -> None:
        engines = [await lab.another() for _ in range(8)]
        for number in range(200):
            owner, current = f"owner {number // 4}", alias(f"current {number // 4}")
            seen = (await lab.engine.follow(TENANT, current)).alias
            assert seen is not None

            async def take(engine: Engine, owner: str = owner, current: AliasKey = current, seen: Alias = seen) -> str | None:
                made = lab.new_id()
                changes: list[Change] = [Create(made, KIND, owner=owner), Point(current, made, seen.epoch)]
                if seen.target is not None:
                    changes.append(Write(seen.target, Guard(open=False), state="ended"))
                answer = await engine.commit(Batch(TENANT, HOME, tuple(changes)))
                assert answer.refusal is None or answer.refusal.reason == "epoch"
                assert await engine.count(TENANT, KIND, owner=owner) == 1
                return made if answer.refusal is None else None

            outcomes = await lab.together(*(lambda e=engine: take(e) for engine in engines))
            (winner,) = [made for made in outcomes if made is not None]
            found = await lab.engine.list(SessionQuery(TENANT, (KIND,), owner=owner))
            assert [session.id for session in found] == [winner]

    tell(story)


# -- decisions as in the embedded engines ----------------------------------------------------------------------------


class Random:
    """Batches over few names, so that they meet."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._homes = ["h1", "h2"]
        self._creating = False
        self._ids = {home: [f"{home}-{number}" for number in range(3)] for home in self._homes}

    def batch(self) -> Batch:
        r = self._random
        home, self._creating = r.choice(self._homes), False
        changes = tuple(self._change(home) for _ in range(r.choice((0, 1, 1, 1, 1, 2, 3))))
        operation = r.choice((None, None, f"op{r.randrange(12)}"))
        return Batch(r.choice(("t", "t", "u")), home, changes, operation, r.choice(("f", "f", "f", "g")))

    def _change(self, home: str) -> Change:
        r = self._random
        session = r.choice(self._ids[home])
        match r.randrange(13):
            case 0 | 1:
                self._creating = True
                return Create(
                    session,
                    r.choice(("k1", "k2")),
                    owner=r.choice((None, "ann", "bob")),
                    state=r.choice(("active", "active", "pending", "ended")),
                    data={"a": {"b": 1.5}, "n": r.randrange(9)},
                    counters={"c": 1},
                    tags=self._tags(),
                    deadline=self._deadline(),
                    entries=self._entries(),
                    base=r.choice((None, (r.choice(self._ids[home]), r.randrange(5)))),
                    bucket=r.choice((1, SECOND)),
                    created_at=r.choice((None, 5 * DAY)),
                    ended_at=r.choice((None, 6 * DAY)),
                    stamp=r.choice(((), ("s",))),
                )
            case 2 | 3 | 4 | 5 | 6:
                return self._write(session, home)
            case 7:
                return Touch(session, SECOND, self._deadline())
            case 8:
                return Redact(session, (r.randrange(1, 6),), self._guard(home))
            case 9:
                return Delete(session, self._guard(home)) if r.random() < 0.5 else self._write(session, home)
            case 10:
                target = r.choice((session, None))
                return Point(AliasKey(home, "name", f"{home}{r.randrange(2)}"), target, r.choice((None, r.randrange(4))))
            case 11:
                return Lend(f"{home}/l", r.choice(("x", "y")), r.choice((1, MINUTE)), r.choice((None, r.randrange(1, 4))))
            case _:
                return Yield(f"{home}/l", r.randrange(1, 4))

    def _write(self, session: str, home: str) -> Write:
        r = self._random
        paths = (("n",), ("a", "b"), ("a", "c", "d"), ("n", "x"), ("0",))
        return Write(
            session,
            self._guard(home),
            entries=self._entries(),
            set=tuple((r.choice(paths), r.choice((None, 1, 2.5, "x", [1], {"y": {}}))) for _ in range(r.randrange(3))),
            unset=tuple(r.choice(paths) for _ in range(r.choice((0, 0, 1)))),
            mark=r.choice(((), (("a", "m"),))),
            add=tuple((r.choice("cd"), r.randrange(-2, 5)) for _ in range(r.randrange(3))),
            put=r.choice(((), (("p", 7), ("c", 3)))),
            stamp=r.choice(((), ("s",))),
            tag=self._tags(),
            untag=() if self._creating else self._tags(),  # the model forgets what is untagged in the batch that creates
            state=r.choice((None, None, None, "active", "ended", "archived")),
            deadline=self._deadline(),
            due_above=r.choice((None, ("c", 3), ("none", 1))),
            next_phase=r.random() < 0.2,
            active=r.choice((None, SECOND)),
            reason=r.choice(("", "because")),
        )

    def _guard(self, home: str) -> Guard:
        r = self._random
        return Guard(
            open=r.random() < 0.6,
            timely=r.random() < 0.2,
            due=r.random() < 0.1,
            version=r.choice((None,) * 4 + (2, 3)),
            phase=r.choice((None, None, 0, 1)),
            silent=r.choice((None, None, "ann")),
            lease=r.choice((None,) * 5 + ((f"{home}/l", r.randrange(1, 4)),)),
            fence=r.choice((None,) * 4 + (("far", r.randrange(3)),)),
        )

    def _entries(self) -> tuple[NewEntry, ...]:
        r = self._random
        return tuple(
            NewEntry(
                "m",
                text=r.choice((None, "hello", 'quo"te\\u0000')),
                author=r.choice((None, "ann", "bob")),
                counted=r.random() < 0.5,
                data=r.choice((None, '{"x": 1}')),
                covers=r.choice((None, (1, 2))),
                key=r.choice((None,) * 6 + ("k1", "k2", "op1")),
            )
            for _ in range(r.choice((0, 1, 1, 2)))
        )

    def _tags(self) -> tuple[str, ...]:
        return tuple(self._random.sample(("red", "blue", "green"), self._random.choice((0, 0, 1, 2))))

    def _deadline(self) -> Deadline | None:
        r = self._random
        wanted = (
            None,
            None,
            Deadline(),
            Deadline(after=r.choice((0, MINUTE))),
            Deadline(at=5 * DAY, if_none=True),
            Deadline(after=DAY, cap=60 * 365 * DAY),
        )
        return r.choice(wanted)


async def everything(engine: Engine) -> list[Any]:
    """All that readers see."""
    seen: list[Any] = []
    for tenant in ("t", "u"):
        for home in ("h1", "h2"):
            for number in range(3):
                session = f"{home}-{number}"
                found = await engine.load(tenant, session, EntryQuery())
                seen.append(found)
                seen.append(await engine.load(tenant, session, EntryQuery(last=2, types=("m",))))
                seen.append(await engine.load(tenant, session, EntryQuery(ranges=((1, 1), (3, 4)), limit=2)))
                if found.session is not None:
                    seen.append(await engine.tags(tenant, session))
                seen.append(await engine.aliases(tenant, target=session))
            seen.extend([await engine.follow(tenant, AliasKey(home, "name", f"{home}{n}")) for n in range(2)])
        for tag, owner in ((None, None), ("red", None), (None, "ann"), ("blue", "bob")):
            for order in ("activity", "created", "idle", "oldest"):
                query = SessionQuery(tenant, ("k1", "k2"), ("active", "ended"), owner, tag, order)
                seen.append(await engine.list(query))
            if tag is None or owner is None:
                recent = await engine.now() - 30 * SECOND
                seen.append(await engine.count(tenant, "k1", tag=tag, owner=owner))
                seen.append(await engine.count(tenant, "k1", tag=tag, owner=owner, active_after=recent))
        seen.append(await engine.due(tenant, 10))
    return seen


async def history(engine: Engine, start: tuple[int, ...]) -> dict[tuple[str, str], list[EventRow]]:
    """The events of each session, without the numbers that each engine gives its own way."""
    found: dict[tuple[str, str], list[EventRow]] = {}
    for tenant in ("t", "u"):
        for event in (await engine.events(tenant, start, 100_000)).events:
            found.setdefault((tenant, event.session), []).append(replace(event, shard=0, number=0))
    return found


@pytest.mark.parametrize("seed", range(12))
def test_batches_are_decided_as_in_memory(url: str, seed: int) -> None:
    clock = ManualClock()
    model, engine = MemoryEngine(clock.micros), run_sync(PostgresEngine.open(url, clock.micros))
    made, moves = Random(seed), random.Random(seed)
    for _ in range(150):
        batch = made.batch()
        assert run_sync(engine.commit(batch)) == run_sync(model.commit(batch)), batch
        clock.set(to_datetime(clock.micros() + moves.choice((0, 0, SECOND, 40 * SECOND, -20 * SECOND))))
    assert run_sync(everything(engine)) == run_sync(everything(model))
    assert run_sync(history(engine, (0,) * PLACES)) == run_sync(history(model, (0,)))
    run_sync(engine.close())


@pytest.mark.parametrize("seed", range(12))
def test_groups_are_decided_as_one_by_one_in_memory(url: str, seed: int) -> None:
    """Whatever travels together, each batch is decided as if it had come alone, in the order of its group."""
    clock = ManualClock()
    model, engine = MemoryEngine(clock.micros), run_sync(PostgresEngine.open(url, clock.micros))
    made, moves = Random(100 + seed), random.Random(seed)
    with psycopg.connect(url, autocommit=True) as connection:

        async def send(statement: str, values: tuple[Any, ...]) -> Any:
            return connection.execute(statement, values).fetchall()[0][0]

        sizes: list[int] = []
        for _ in range(20):
            queue = Queue()
            batches: dict[Slot, Batch] = {}
            for _ in range(12):
                batch = made.batch()
                slot = Slot(pack(batch))
                batches[slot] = batch
                queue.put(slot)
            while group := queue.take():
                sizes.append(len(group))
                run_sync(carry_out(group, Sending(send, Settings(url=url, clock=clock.micros), "here")))
                for slot in group:
                    assert slot.outcome() == run_sync(model.commit(batches[slot])), batches[slot]
            clock.set(to_datetime(clock.micros() + moves.choice((0, SECOND, 40 * SECOND, -20 * SECOND))))
    assert max(sizes) >= 6
    assert run_sync(everything(engine)) == run_sync(everything(model))
    assert run_sync(history(engine, (0,) * PLACES)) == run_sync(history(model, (0,)))
    run_sync(engine.close())


# -- groups ----------------------------------------------------------------------------------------------------------


def test_an_error_of_the_server_is_its_own_callers_only(tell: Tell) -> None:
    """A counter that outgrows its range fails in the server, and the whole call with it; the others are stored all the same."""

    async def story(lab: Lab) -> None:
        made = [await lab.create(counters={"n": 2**53 - 1}) for _ in range(8)]

        async def add(number: int) -> Answer:
            return await lab.commit(Write(made[number], add=(("n", number % 2),)))

        outcomes = await lab.outcomes(*(lambda n=n: add(n) for n in range(8)))
        assert [isinstance(outcome, LimitError) for outcome in outcomes] == [bool(n % 2) for n in range(8)]
        assert [(await lab.session(session)).version for session in made] == [2, 1] * 4

    tell(story)


def test_a_key_that_is_too_long_for_an_index_is_refused(tell: Tell) -> None:
    async def story(lab: Lab) -> None:
        text = "".join(map(chr, random.Random(1).choices(range(0x4E00, 0x9FFF), k=3000)))
        with pytest.raises(LimitError):
            await lab.commit(Point(alias(text), "x", None))

    tell(story)


def test_groups_in_any_order_lose_nothing_and_never_deadlock(tell: Tell, server: Server) -> None:
    """Engines of four processes name the same sessions, and the same homes, in any order."""

    async def story(lab: Lab) -> None:
        engines = [await lab.another() for _ in range(4)]
        homes = [f"home {number}" for number in range(16)]
        made = [await lab.create(home=HOME) for _ in range(6)]
        theirs = {home: await lab.create(home=home) for home in homes}
        order = random.Random(7)

        async def work(number: int) -> None:
            engine = engines[number % 4]
            for _ in range(15):
                names = order.sample(made, 4)
                batch = Batch(TENANT, HOME, tuple(Write(name, entries=lines("x")) for name in names))
                assert (await engine.commit(batch)).refusal is None
                home = order.choice(homes)
                points = tuple(Point(alias(key, home, home), "x", None) for key in ("one", "two"))
                assert (await engine.commit(Batch(TENANT, home, points))).refusal is None
                assert (await engine.commit(Batch(TENANT, home, (Write(theirs[home]),)))).refusal is None

        before = deadlocks(server)
        await lab.together(*(lambda n=n: work(n) for n in range(40)))
        assert sum([(await lab.session(name)).version - 1 for name in made]) == 40 * 15 * 4
        assert sum([(await lab.session(name)).version - 1 for name in theirs.values()]) == 40 * 15
        for key in ("one", "two"):
            found = [(await lab.engine.follow(TENANT, alias(key, home, home))).alias for home in homes]
            assert sum(each.epoch for each in found if each is not None) == 40 * 15
        assert deadlocks(server) == before

    tell(story)


def deadlocks(server: Server) -> int:
    """How many the server has broken up since it started."""
    with psycopg.connect(server.url, autocommit=True) as connection:
        row = connection.execute("select sum(deadlocks)::int from pg_stat_database").fetchone()
    return row[0] if row is not None else 0


def test_what_json_cannot_say_is_refused_before_it_is_sent(tell: Tell) -> None:
    async def story(lab: Lab) -> None:
        made = await lab.create()
        for text in ("nul\0", "lone \ud800 surrogate"):
            with pytest.raises(InvalidValueError):
                await lab.append(made, text)
        for text in ("\\u0000", "\\\\u0000", "\x01\x1f\x7f", "\U0001f600\u2028\ufffe"):
            await lab.append(made, text)
        assert await lab.texts(made) == ["\\u0000", "\\\\u0000", "\x01\x1f\x7f", "\U0001f600\u2028\ufffe"]

    tell(story)


# -- events ----------------------------------------------------------------------------------------------------------


def test_a_reader_behind_concurrent_commits_misses_nothing(tell_in_real_time: Tell) -> None:
    """Eight commit to sessions of many homes while one reads: every event is seen once, each shard without a gap."""

    async def story(lab: Lab) -> None:
        made = [await lab.create(home=f"home {number}") for number in range(16)]
        start = await lab.engine.tip()
        reader = await lab.another()
        wanted = 8 * 60
        seen: list[EventRow] = []

        async def write(name: int) -> None:
            for turn in range(60):
                await lab.append(made[(name + turn) % 16], "x", home="")

        async def read() -> None:
            cursor = start
            while len(seen) < wanted:
                page = await reader.events(TENANT, cursor, 50)
                assert not page.gap
                seen.extend(page.events)
                cursor = page.cursor
                await reader.sleep(0)

        await lab.together(read, *(lambda n=n: write(n) for n in range(8)))
        numbers: dict[int, list[int]] = {}
        for event in seen:
            numbers.setdefault(event.shard, []).append(event.number)
        for shard, given in numbers.items():
            assert given == list(range(start[shard] + 1, start[shard] + 1 + len(given)))
        versions: dict[str, list[int]] = {}
        for event in seen:
            versions.setdefault(event.session, []).append(event.version)
        assert all(given == sorted(given) for given in versions.values())
        assert len(seen) == wanted

    tell_in_real_time(story)


def test_an_uncommitted_event_holds_its_shard_back(url: str) -> None:
    """The number is taken last and held to the end, so that a later number is never visible before an earlier one."""
    engine = run_sync(PostgresEngine.open(url))
    lab = Lab(lambda _: _given(engine), blocking=True)
    run_sync(lab.open())
    made = run_sync(lab.create())
    with psycopg.connect(url) as early:
        parcel = pack(Batch(TENANT, HOME, (Write(run_sync(lab.create()), entries=lines("early")),)))
        slot = Slot(parcel)

        async def send(statement: str, values: tuple[Any, ...]) -> Any:
            return early.execute(statement, values).fetchall()[0][0]

        before = run_sync(engine.tip())
        run_sync(carry_out([slot], Sending(send, Settings(url=url), "here")))

        async def race() -> None:
            late = await AsyncPostgresEngine.open(url)
            waiting = asyncio.ensure_future(late.commit(Batch(TENANT, HOME, (Write(made, entries=lines("late")),))))
            await until_blocked(url)
            assert await late.tip() == before
            assert not waiting.done()
            early.commit()
            assert (await waiting).refusal is None
            await late.close()

        asyncio.run(race())
    texts = [(event.session == made) for event in run_sync(engine.events(TENANT, before, 10)).events]
    assert texts == [False, True]
    run_sync(engine.close())


def test_a_look_at_one_session_in_another_history_hides_nothing_of_the_others(url: str) -> None:
    """The cursor it gives may be gone on with for all: what the shards that were not asked have is told from its beginning."""
    engine = run_sync(PostgresEngine.open(url))
    made = []
    for number in range(40):
        session = new_id(f"home {number}", tenant=TENANT)
        assert run_sync(engine.commit(Batch(TENANT, f"home {number}", (Create(session, KIND),)))).refusal is None
        made.append(session)
    tip = run_sync(engine.tip())
    page = run_sync(engine.events(TENANT, (*tip[:-1], tip[-1] + 1), 1000, session=made[0]))
    assert page.gap
    after = run_sync(engine.events(TENANT, page.cursor, 1000))
    assert not after.gap
    told = {event.session for event in (*page.events, *after.events)}
    assert {session for session in made if _shard_of(session) != _shard_of(made[0])} <= told
    run_sync(engine.close())


def test_a_cursor_of_another_engine_is_refused(tell: Tell) -> None:
    async def story(lab: Lab) -> None:
        with pytest.raises(InvalidCursorError):
            await lab.engine.events(TENANT, (0,), 10)

    tell(story)


# -- time ------------------------------------------------------------------------------------------------------------


def test_the_time_is_the_servers_and_read_after_the_locks(url: str) -> None:
    """A commit that waited for a lock is dated when it got it: never before what made it wait."""
    engine = run_sync(PostgresEngine.open(url))
    lab = Lab(lambda _: _given(engine), blocking=True)
    run_sync(lab.open())
    made = run_sync(lab.create())

    async def race() -> None:
        other = await AsyncPostgresEngine.open(url)
        async with await psycopg.AsyncConnection.connect(url) as blocker:
            await blocker.execute("select 1 from sojourn_session where id = %s for update", (made,))
            waiting = asyncio.ensure_future(other.commit(Batch(TENANT, HOME, (Write(made),))))
            await until_blocked(url)
            released = run_sync(engine.now())
            await blocker.rollback()
            assert (await waiting).now >= released
        await other.close()

    asyncio.run(race())
    run_sync(engine.close())


# -- schema ----------------------------------------------------------------------------------------------------------


def test_many_open_an_empty_store_at_once(url: str) -> None:
    async def story() -> None:
        engines = await asyncio.gather(*[AsyncPostgresEngine.open(url, connections=1) for _ in range(6)])
        assert {(await engine.facts())["schema"] for engine in engines} == {schema.VERSION}
        for engine in engines:
            await engine.close()

    asyncio.run(story())


def test_without_migrating_an_empty_store_is_refused(url: str) -> None:
    with pytest.raises(SchemaError, match="no Sojourn tables"):
        run_sync(PostgresEngine.open(url, migrate=False))
    run_sync(run_sync(PostgresEngine.open(url)).close())
    run_sync(run_sync(PostgresEngine.open(url, migrate=False)).close())


def test_a_newer_store_is_refused_unless_it_serves_this_release(url: str) -> None:
    run_sync(run_sync(PostgresEngine.open(url)).close())
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("update sojourn_meta set value = '2' where name = 'schema'")
        run_sync(run_sync(PostgresEngine.open(url)).close())
        connection.execute("update sojourn_meta set value = '2' where name = 'serves'")
        with pytest.raises(SchemaError, match="Upgrade"):
            run_sync(PostgresEngine.open(url))


def test_another_isolation_level_is_refused(url: str) -> None:
    run_sync(run_sync(PostgresEngine.open(url)).close())
    strict = f"{url} -cdefault_transaction_isolation%3Dserializable".replace(" ", "%20")
    with pytest.raises(UnsupportedError, match="read committed"):
        run_sync(PostgresEngine.open(strict))


# -- cost ------------------------------------------------------------------------------------------------------------


def test_a_verb_is_one_round_trip(url: str) -> None:
    """Counted in what the client library itself sends: one Sync (or one simple Query) per verb."""
    engine = run_sync(PostgresEngine.open(url, connections=1))
    lab = Lab(lambda _: _given(engine), blocking=True)
    run_sync(lab.open())
    made = run_sync(lab.create("a", "b", tags=("red",), owner="ann"))
    fork = lab.new_id()
    start = run_sync(engine.tip())
    key = alias("k")
    verbs: dict[str, Callable[[], Coroutine[Any, Any, Any]]] = {
        "commit": lambda: lab.commit(appended(made, "c"), operation="o"),
        "commit of many": lambda: lab.commit(
            Create(fork, KIND, base=(made, 1)),
            Point(key, fork, None),
            Lend("l", "me", MINUTE),
            Write(made, Guard(lease=("l", 1)), set=((("a",), 1),)),
            operation="p",
        ),
        "load": lambda: engine.load(TENANT, made),
        "load with entries": lambda: engine.load(TENANT, fork, EntryQuery(last=5)),
        "follow": lambda: engine.follow(TENANT, key),
        "aliases": lambda: engine.aliases(TENANT, target=fork),
        "tags": lambda: engine.tags(TENANT, made),
        "list": lambda: engine.list(SessionQuery(TENANT, (KIND, "game"), ("active", "ended"), tag="red")),
        "count": lambda: engine.count(TENANT, KIND, owner="ann"),
        "due": lambda: engine.due(None, 10),
        "tip": engine.tip,
        "events": lambda: engine.events(TENANT, start, 10),
        "now": engine.now,
    }
    pool = engine._driver._pool  # type: ignore[attr-defined]
    trips: dict[str, int] = {}
    for name, verb in verbs.items():
        run_sync(verb())
        with tempfile.TemporaryFile("w+") as trace:
            connection = pool.getconn()
            connection.pgconn.trace(trace.fileno())
            pool.putconn(connection)
            run_sync(verb())
            connection.pgconn.untrace()
            trace.seek(0)
            sent = [line.split("\t")[1:] for line in trace if "\tF\t" in line]
        trips[name] = sum(line[2].split()[0] in ("Sync", "Query") for line in sent)
    assert trips == dict.fromkeys(verbs, 1)
    run_sync(engine.close())


# -- what fails ------------------------------------------------------------------------------------------------------


@pytest.fixture
def proxied(server: Server, url: str) -> Generator[tuple[FaultProxy, str]]:
    with FaultProxy("127.0.0.1", server.port) as proxy:
        parts = urlsplit(url)
        yield proxy, f"{proxy.url(server.url)}?{parts.query}"


def test_a_lost_answer_is_found_by_asking_again(proxied: tuple[FaultProxy, str], blocking: bool) -> None:
    proxy, through = proxied

    async def story(lab: Lab) -> None:
        made = await lab.create()
        await lab.append(made, "warm")
        proxy.cut("to_client")
        with pytest.raises(OutcomeUnknownError) as lost:
            await lab.commit(appended(made, "once"), operation="k1")
        assert lost.value.key == "k1"
        again = await lab.commit(appended(made, "once"), operation="k1")
        assert again.replayed
        assert await lab.texts(made) == ["warm", "once"]

    teller(through, blocking)(story)


def test_a_connection_closed_while_idle_is_not_used(server: Server, url: str, blocking: bool) -> None:
    """A restarted server costs no caller an unknown outcome: nothing was sent on what had gone."""

    async def story(lab: Lab) -> None:
        made = await lab.create()
        with psycopg.connect(server.url, autocommit=True) as connection:
            for turn in range(3):
                connection.execute(
                    "select pg_terminate_backend(pid, 5000) from pg_stat_activity "
                    "where pid <> pg_backend_pid() and backend_type = 'client backend'"
                )
                await lab.append(made, str(turn))
        assert await lab.texts(made) == ["0", "1", "2"]

    teller(url, blocking)(story)


def test_nobody_home(blocking: bool) -> None:
    kind = PostgresEngine if blocking else AsyncPostgresEngine
    with pytest.raises(UnavailableError, match=re.escape("127.0.0.1:9/nothing")) as refused:
        drive(kind.open("postgresql://me:secret@127.0.0.1:9/nothing", timeout=0.3), blocking=blocking)
    assert "secret" not in str(refused.value)


def test_a_closed_engine_says_so(tell: Tell) -> None:
    async def story(lab: Lab) -> None:
        other = await lab.another()
        await other.close()
        await other.close()
        with pytest.raises(ClosedError):
            await other.load(TENANT, "x")

    tell(story)


def test_leaders_and_lanes(url: str) -> None:
    """Among threads, whoever finds no free lane travels with a leader; none is left waiting."""
    for lanes in (1, 2, 8):
        driver = BlockingDriver(Settings(url=url, connections=8), lanes=lanes)
        run_sync(driver.open())
        run_sync(schema.ensure(driver, migrate=True))
        engine = PostgresEngine(driver)
        lab = Lab(lambda _, engine=engine: _given(engine), blocking=True)
        run_sync(lab.open())
        made = run_sync(lab.create())

        async def caller(lab: Lab = lab, made: str = made) -> None:
            for _ in range(20):
                await lab.append(made, "x")

        run_sync(lab.together(*[caller] * 8))
        assert run_sync(lab.session(made)).last_sequence == 160
        run_sync(engine.close())
