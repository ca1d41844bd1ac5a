"""The Redis engine on a real server, in both colours: the operations that the contract was drawn up for.

1. append to a conversation, 2. a login's authenticate with touch, 3. a game's submit and close, 4. a cap of one per home;
then what only an engine behind a network has: events read while others commit, forgotten scripts, broken connections, and
batches decided exactly as the embedded engines decide them.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import threading
from collections.abc import Callable, Coroutine, Generator, Iterable
from contextlib import suppress
from copy import deepcopy
from dataclasses import replace
from itertools import count
from typing import Any, TypeVar
from urllib.parse import urlsplit

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
    Refusal,
    Touch,
    Write,
    Yield,
)
from sojourn.core.ids import home_number, make_id, random_id
from sojourn.core.query import EntryQuery, SessionQuery
from sojourn.core.session import AliasKey, EventRow, Session
from sojourn.core.times import DAY, MINUTE, SECOND
from sojourn.engines.contract import Clock, Engine
from sojourn.engines.memory import MemoryEngine
from sojourn.engines.redis import driver as driver_module
from sojourn.engines.redis.address import read_url
from sojourn.engines.redis.commands import Command
from sojourn.engines.redis.engine import AsyncRedisEngine, RedisEngine
from sojourn.engines.redis.keys import SHARDS, Shards
from sojourn.errors import (
    ClosedError,
    CorruptError,
    EngineError,
    FullError,
    InvalidValueError,
    LimitError,
    OutcomeUnknownError,
    UnavailableError,
)
from sojourn.shell.bridge import run_sync
from sojourn.testing.faults import FaultProxy
from sojourn.testing.servers import Server, ServerMissingError, find_redis, redis_server

T = TypeVar("T")

TENANT, HOME = "acme", "ann"
NOW = 1_900_000_000_123_456
STARTED = "workers that started together hang"
PLACES = SHARDS + 1
"""Numbers of a cursor."""

_numbers = count(1)


class Clockwork:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> int:
        return self.now


class Colour:
    """How a test runs an engine: in threads or under an event loop."""

    def __init__(self, url: str, prefix: str, *, blocking: bool) -> None:
        self.url, self.prefix, self.blocking = url, prefix, blocking
        self.port = urlsplit(url).port or 0

    def open(self, clock: Clock | None = None, url: str = "", timeout: float = 10.0) -> RedisEngine:
        made = RedisEngine if self.blocking else AsyncRedisEngine
        return made(read_url(url or self.url, {"prefix": self.prefix}, timeout), clock=clock)

    def run(self, body: Coroutine[Any, Any, T]) -> T:
        return run_sync(body) if self.blocking else asyncio.run(body)

    async def together(self, *bodies: Coroutine[Any, Any, T]) -> list[T]:
        """Run these at the same time."""
        return _in_threads(bodies) if self.blocking else list(await asyncio.gather(*bodies))


def _in_threads(bodies: tuple[Coroutine[Any, Any, T], ...]) -> list[T]:
    start, results, errors = threading.Barrier(len(bodies)), {}, []

    def work(place: int, body: Coroutine[Any, Any, T]) -> None:
        try:
            start.wait(60)
            results[place] = run_sync(body)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=item, daemon=True) for item in enumerate(bodies)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    finally:
        sys.setswitchinterval(interval)
    if errors:
        raise errors[0]
    assert len(results) == len(bodies), STARTED
    return [results[place] for place in range(len(bodies))]


@pytest.fixture(scope="module")
def server() -> Generator[Server]:
    try:
        find_redis()
    except ServerMissingError as missing:
        pytest.skip(str(missing))
    with redis_server() as running:
        yield running


@pytest.fixture(params=["blocking", "async"])
def colour(request: pytest.FixtureRequest, server: Server) -> Colour:
    return Colour(server.url, f"t{next(_numbers)}", blocking=request.param == "blocking")


def driven(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[[Colour], None]:
    """A test that is written once and run in the colour it is given."""

    def run(colour: Colour) -> None:
        colour.run(test(colour))

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


def shard_of(home: str) -> int:
    return Shards("any").of_home(TENANT, home).number


def new_id(home: str = HOME, tenant: str = TENANT) -> str:
    return random_id(NOW // 1000, home_number(tenant, home))


async def commit(engine: Engine, *changes: Change, home: str = HOME, key: str | None = None, mark: str = "") -> Answer:
    return await engine.commit(Batch(TENANT, home, changes, key, mark))


async def done(engine: Engine, *changes: Change, **how: Any) -> Answer:
    answer = await commit(engine, *changes, **how)
    assert answer.refusal is None
    return answer


async def refused(engine: Engine, *changes: Change, **how: Any) -> Refusal:
    answer = await commit(engine, *changes, **how)
    assert answer.refusal is not None
    return answer.refusal


async def session_of(engine: Engine, session: str) -> Session:
    found = (await engine.load(TENANT, session)).session
    assert found is not None
    return found


async def all_events(engine: Engine, after: tuple[int, ...] = (0,) * PLACES) -> list[EventRow]:
    return (await engine.events(TENANT, after, 100_000)).events


# -- 1. append to a conversation -----------------------------------------------------------------------------------------


def message(session: str, text: str, *, bucket: int = SECOND) -> Write:
    """What an append is: one commit without a read before it."""
    return Write(
        session,
        entries=(NewEntry("message", "user", author="ann", text=text, data='{"tokens":3}'),),
        add=(("entries", 1), ("tokens", 3)),
        stamp=("last",),
        active=bucket,
        due_above=("tokens", 1500),
        change="appended",
    )


@driven
async def test_append(colour: Colour) -> None:
    clock = Clockwork()
    engine = colour.open(clock)
    made = new_id()
    await done(engine, Create(made, "conversation", owner="ann", data={"title": "é"}, bucket=SECOND))
    clock.now += 5 * SECOND
    answer = await done(engine, message(made, "hello"), key="op-1", mark="f1")
    assert answer.now == clock.now
    assert answer.moved[0].counters == {"entries": 1, "tokens": 3, "last": clock.now}
    assert (answer.moved[0].version, answer.moved[0].first, answer.moved[0].last) == (2, 1, 1)
    again = await done(engine, message(made, "hello"), key="op-1", mark="f1")
    assert again.replayed
    assert again.moved == answer.moved
    assert (await refused(engine, message(made, "other"), key="op-1", mark="f2")).reason == "key"
    found = await engine.load(TENANT, made, EntryQuery())
    assert found.session is not None
    assert found.session.data == {"title": "é"}
    assert found.session.active_at == clock.now
    assert [(entry.sequence, entry.text, entry.key) for entry in found.entries] == [(1, "hello", "op-1")]
    await done(engine, Write(made, put=(("tokens", 1499),)))
    assert (await done(engine, message(made, "over"))).moved[0].deadline == clock.now
    assert [session.id for session in await engine.due(TENANT, 10)] == [made]
    await done(engine, Write(made, state="ended"))
    assert (await refused(engine, message(made, "late"))).reason == "ended"
    assert (await refused(engine, message(new_id(), "nobody"))).reason == "missing"
    await engine.close()


@driven
async def test_append_by_eight_at_once(colour: Colour) -> None:
    """Sequences 1 to 400 without a gap, though the server is made to forget its scripts again and again."""
    engine = colour.open()
    made = new_id()
    await done(engine, Create(made, "conversation"))

    async def append(worker: int) -> list[int]:
        found = []
        for number in range(50):
            answer = await done(engine, message(made, f"{worker}/{number}"), key=f"{worker}-{number}")
            found.append(answer.moved[0].first)
            if number % 10 == worker:
                await forget_scripts(engine)
        return found

    found = await colour.together(*(append(worker) for worker in range(8)))
    assert sorted(number for mine in found for number in mine) == list(range(1, 401))
    assert all(mine == sorted(mine) for mine in found)
    snapshot = await engine.load(TENANT, made, EntryQuery())
    assert [entry.sequence for entry in snapshot.entries] == list(range(1, 401))
    assert snapshot.session is not None
    assert (snapshot.session.version, snapshot.session.counters["entries"]) == (401, 400)
    await engine.close()


async def forget_scripts(engine: RedisEngine) -> None:
    await engine.talk.ask(Command(b"SCRIPT", b"FLUSH"))


@driven
async def test_same_operation_at_once_is_stored_once(colour: Colour) -> None:
    engine = colour.open()
    made = new_id()
    await done(engine, Create(made, "conversation"))
    answers = await colour.together(*(commit(engine, message(made, "once"), key="k", mark="m") for _ in range(8)))
    assert sorted(answer.replayed for answer in answers) == [False] + [True] * 7
    assert len({answer.moved for answer in map(_plain, answers)}) == 1
    assert (await session_of(engine, made)).last_sequence == 1
    await engine.close()


def _plain(answer: Answer) -> Any:
    class Plain:
        moved = tuple((moved.id, moved.version, moved.first, moved.last) for moved in answer.moved)

    return Plain


# -- 2. authenticate, with touch -----------------------------------------------------------------------------------------


@driven
async def test_authenticate(colour: Colour) -> None:
    """Load by id; touch moves activity and deadline forward only, in one conditional commit without version or event."""
    clock = Clockwork()
    engine = colour.open(clock)
    made = new_id()
    deadline = Deadline(after=30 * MINUTE, cap=NOW + DAY)
    await done(engine, Create(made, "login", owner="ann", data={"digest": "x" * 43}, deadline=deadline, bucket=MINUTE))
    before, tip = await session_of(engine, made), await engine.tip()
    clock.now += 10 * MINUTE
    touched = await done(engine, Touch(made, MINUTE, deadline))
    assert (touched.moved[0].version, touched.moved[0].deadline) == (1, clock.now + 30 * MINUTE)
    after = await session_of(engine, made)
    assert (after.active_at, after.bucket) == (clock.now, clock.now - clock.now % MINUTE)
    assert (after.version, after.data) == (before.version, before.data)
    assert [found.id for found in await engine.list(SessionQuery(TENANT, ("login",)))] == [made]
    await done(engine, Touch(made, MINUTE, Deadline(after=MINUTE)))  # would be earlier
    assert await session_of(engine, made) == after
    clock.now -= 20 * MINUTE  # a clock that went back
    await done(engine, Touch(made, MINUTE, deadline))
    assert await session_of(engine, made) == after
    assert await engine.tip() == tip
    clock.now = NOW + 40 * MINUTE
    assert (await refused(engine, Touch(made, MINUTE, deadline))).reason == "expired"
    assert (await session_of(engine, made)).deadline == after.deadline
    ended = new_id()
    await done(engine, Create(ended, "login", state="ended", deadline=deadline))
    assert (await refused(engine, Touch(ended, MINUTE, deadline))).reason == "ended"
    await engine.close()


@driven
async def test_touch_under_load_never_goes_back(colour: Colour) -> None:
    engine = colour.open()
    made = new_id()
    await done(engine, Create(made, "login", deadline=Deadline(after=DAY)))

    async def touch() -> list[int]:
        return [
            moved.deadline or 0 for _ in range(25) for moved in (await done(engine, Touch(made, 1, Deadline(after=DAY)))).moved
        ]

    for deadlines in await colour.together(*(touch() for _ in range(8))):
        assert deadlines == sorted(deadlines)
    assert (await session_of(engine, made)).version == 1
    await engine.close()


# -- 3. submit and close -------------------------------------------------------------------------------------------------


def choice(session: str, phase: int, author: str, text: str = "north") -> Write:
    return Write(
        session,
        Guard(timely=True, phase=phase),
        entries=(NewEntry("choice", author=author, text=text, counted=True),),
        deadline=Deadline(after=MINUTE, if_none=True),
        active=1,
        change="chosen",
    )


def close_turn(session: str, phase: int) -> Write:
    return Write(
        session, Guard(phase=phase), next_phase=True, deadline=Deadline(), set=((("turn",), phase + 1),), change="closed"
    )


@driven
async def test_submit_and_close(colour: Colour) -> None:
    clock = Clockwork()
    engine = colour.open(clock)
    made = new_id()
    await done(engine, Create(made, "game", data={"turn": 0}))
    opened = (await done(engine, choice(made, 0, "ann"))).moved[0]
    assert (opened.counters["authors"], opened.deadline) == (1, NOW + MINUTE)
    clock.now += 30 * SECOND
    second = (await done(engine, choice(made, 0, "bob"))).moved[0]
    assert (second.counters["authors"], second.deadline) == (2, NOW + MINUTE)
    assert (await done(engine, choice(made, 0, "ann", "south"))).moved[0].counters["authors"] == 2
    assert (await refused(engine, Write(made, Guard(silent="bob")))).reason == "spoken"
    clock.now += 30 * SECOND
    assert (await refused(engine, choice(made, 0, "eve"))).reason == "expired"

    races = await colour.together(*(commit(engine, close_turn(made, 0)) for _ in range(2)))
    won = [answer for answer in races if answer.refusal is None]
    lost = [answer.refusal for answer in races if answer.refusal is not None]
    assert len(won) == len(lost) == 1
    assert (won[0].moved[0].phase, won[0].moved[0].counters["authors"], won[0].moved[0].deadline) == (1, 0, None)
    assert lost[0].reason == "phase"
    assert lost[0].session is not None
    assert (lost[0].session.phase, lost[0].session.data) == (1, {"turn": 1})
    late = await refused(engine, choice(made, 0, "eve"))
    assert (late.reason, (await session_of(engine, made)).last_sequence) == ("phase", 3)
    assert (await done(engine, choice(made, 1, "bob"))).moved[0].counters["authors"] == 1
    await engine.close()


@driven
async def test_choices_of_many_are_each_in_one_turn(colour: Colour) -> None:
    """Eight players, and a close between them at any moment: every choice stored is in the phase it named."""
    engine = colour.open()
    made = new_id()
    await done(engine, Create(made, "game"))

    async def play(player: int) -> int:
        stored = phase = 0
        for number in range(20):
            answer = await commit(engine, choice(made, phase, f"p{player}", f"{phase}"))
            if answer.refusal is None:
                stored += 1
            elif answer.refusal.session is not None:
                phase = answer.refusal.session.phase
            if number % 8 == player:
                await commit(engine, close_turn(made, phase))
        return stored

    stored = sum(await colour.together(*(play(player) for player in range(8))))
    snapshot = await engine.load(TENANT, made, EntryQuery())
    assert len(snapshot.entries) == stored
    assert all(entry.text == str(entry.phase) for entry in snapshot.entries)
    found = snapshot.session
    assert found is not None
    now_playing = {entry.author for entry in snapshot.entries if entry.phase == found.phase}
    assert found.counters.get("authors", 0) == len(now_playing)
    await engine.close()


# -- 4. a cap of one -----------------------------------------------------------------------------------------------------


@driven
async def test_cap_of_one(colour: Colour) -> None:
    """200 creates by 8 workers: one commit ends the old session, makes the new one and moves the alias by its epoch."""
    engine = colour.open()
    slot = AliasKey(HOME, "current", HOME)

    async def take_over() -> int:
        losses = 0
        for _ in range(25):
            while True:
                seen = await engine.follow(TENANT, slot)
                assert seen.alias is not None
                made = new_id()
                changes: list[Change] = []
                if seen.session is not None:
                    changes.append(Write(seen.session.id, state="ended", change="ended"))
                changes += [Create(made, "login", owner=HOME), Point(slot, made, seen.alias.epoch)]
                answer = await commit(engine, *changes)
                if answer.refusal is None:
                    break
                assert answer.refusal.reason in ("epoch", "ended")
                losses += 1
        return losses

    losses = await colour.together(*(take_over() for _ in range(8)))
    active: set[str] = set()
    created = 0
    for event in await all_events(engine):
        if event.change == "created":
            active.add(event.session)
            created += 1
        else:
            active.remove(event.session)
        assert len(active) <= 1
    assert created == 200
    assert await engine.count(TENANT, "login", owner=HOME) == 1
    followed = await engine.follow(TENANT, slot)
    assert followed.alias is not None
    assert (followed.alias.epoch, {followed.alias.target}) == (200, active)
    assert sum(losses) >= 0
    await engine.close()


# -- events --------------------------------------------------------------------------------------------------------------


@driven
async def test_a_tailing_reader_misses_nothing(colour: Colour) -> None:
    """Eight writers in sixteen homes, and a reader that follows them: every event once, each session's in its order."""
    engine, reader = colour.open(), colour.open()
    homes = [f"home{number}" for number in range(16)]
    sessions = {home: new_id(home) for home in homes}
    for home, made in sessions.items():
        await done(engine, Create(made, "conversation"), home=home)
    wanted = 16 + 8 * 40

    async def write(worker: int) -> list[EventRow]:
        for number in range(40):
            home = homes[(worker + number) % len(homes)]
            await done(engine, message(sessions[home], "x"), home=home)
        return []

    async def tail() -> list[EventRow]:
        found: list[EventRow] = []
        cursor: tuple[int, ...] = (0,) * PLACES
        while len(found) < wanted:
            page = await reader.events(TENANT, cursor, 7)
            assert not page.gap
            assert page.events or page.cursor == cursor or await reader.changed(page.cursor, 30) == "now"
            if not page.events:
                assert await reader.changed(page.cursor, 30) == "now"
            found += page.events
            cursor = page.cursor
        return found

    *_, found = await colour.together(*(write(worker) for worker in range(8)), tail())
    assert len(found) == len({(event.shard, event.number) for event in found}) == wanted
    for home, made in sessions.items():
        mine = [event for event in found if event.session == made]
        assert [event.version for event in mine] == list(range(1, len(mine) + 1))
        assert {event.shard for event in mine} == {shard_of(home)}
    assert sum((await reader.tip())[:SHARDS]) == wanted
    await engine.close()
    await reader.close()


# -- broken connections --------------------------------------------------------------------------------------------------


@driven
async def test_a_lost_answer_is_found_by_asking_again(colour: Colour) -> None:
    """The connection breaks after the commit was sent: the outcome is unknown, and the same operation id tells it."""
    with FaultProxy("127.0.0.1", colour.port) as proxy:
        engine = colour.open(url=proxy.url(colour.url))
        made = new_id()
        await done(engine, Create(made, "conversation"))
        proxy.cut("to_client")
        with pytest.raises(OutcomeUnknownError) as caught:
            await commit(engine, message(made, "x"), key="k1")
        assert caught.value.key == "k1"
        answer = await done(engine, message(made, "x"), key="k1")
        assert answer.replayed
        assert answer.moved[0].first == 1
        proxy.cut("to_client")
        assert (await session_of(engine, made)).last_sequence == 1  # a read is asked again
        proxy.refuse()
        with pytest.raises(UnavailableError):
            await engine.load(TENANT, made)
        with pytest.raises(UnavailableError):
            await commit(engine, message(made, "y"), key="k2")
        proxy.heal()
        assert not (await done(engine, message(made, "y"), key="k2")).replayed
        assert (await session_of(engine, made)).last_sequence == 2
        await engine.close()
        with pytest.raises(ClosedError):
            await engine.load(TENANT, made)


@driven
async def test_a_silent_server_is_given_up_in_time(colour: Colour) -> None:
    with FaultProxy("127.0.0.1", colour.port) as proxy:
        engine = colour.open(url=proxy.url(colour.url), timeout=0.8)
        patient = colour.open()
        made = new_id()
        await done(patient, Create(made, "conversation"))
        seen = None
        while seen is None:  # so that it has a connection, which is then waited for in vain
            with suppress(UnavailableError):
                seen = await session_of(engine, made)
        proxy.stall("to_client")
        with pytest.raises(OutcomeUnknownError):
            await commit(engine, message(made, "x"), key="k")
        proxy.heal()
        await done(patient, message(made, "x"), key="k")
        assert (await session_of(patient, made)).last_sequence == 1
        for one in (engine, patient):
            await one.close()


def test_idle_connections_that_the_server_closed_are_not_used(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is sent on a connection that is known to be dead, so nothing is left unknown after a restart."""
    monkeypatch.setattr(driver_module, "IDLE", -1.0)  # however soon the server was stopped
    with redis_server() as other:
        engine = RedisEngine(other.url)
        made = new_id()
        run_sync(done(engine, Create(made, "conversation")))
        other.stop()
        with pytest.raises(UnavailableError):
            run_sync(commit(engine, message(made, "x")))
        other.start()
        assert run_sync(refused(engine, message(made, "x"))).reason == "missing"
        run_sync(engine.close())


@driven
async def test_a_full_server_says_so_and_stores_nothing(colour: Colour) -> None:
    with redis_server(maxmemory="3mb", maxmemory_policy="noeviction") as small:
        engine = colour.open(url=small.url)
        made = new_id()
        await done(engine, Create(made, "conversation"))
        stored = 0
        while stored < 1000:
            try:
                await done(engine, message(made, "x" * 20_000))
            except FullError:
                break
            stored += 1
        assert 0 < stored < 1000
        assert (await session_of(engine, made)).last_sequence == stored
        assert sum((await engine.tip())[:SHARDS]) == stored + 1
        await engine.close()


@driven
async def test_who_is_not_let_in_is_told(colour: Colour) -> None:
    """Also where the client library hangs up after the first of many replies."""
    with redis_server() as locked:
        first = colour.open(url=locked.url)
        await first.talk.ask(Command(b"CONFIG", b"SET", b"requirepass", b"secret"))
        await first.close()
        engine = colour.open(url=locked.url)
        with pytest.raises(EngineError, match="does not let this user in"):
            await engine.count(TENANT, "login")
        with pytest.raises(EngineError, match="does not let this user in"):
            await commit(engine, Create(new_id(), "login"))
        await engine.close()
        inside = colour.open(url=locked.url.replace("//", "//:secret@"))
        assert await inside.count(TENANT, "login") == 0
        assert "secret" not in str(await inside.facts())
        await inside.close()


def test_a_forked_child_has_connections_of_its_own(server: Server) -> None:
    engine = RedisEngine(server.url + "?prefix=forked")
    made = new_id()
    run_sync(done(engine, Create(made, "conversation")))
    child = os.fork()
    if child == 0:
        stored = [run_sync(commit(engine, message(made, "child"))).refusal is None for _ in range(20)]
        os._exit(0 if all(stored) else 1)
    for _ in range(20):
        run_sync(done(engine, message(made, "parent")))
    assert os.waitpid(child, 0)[1] == 0
    assert run_sync(session_of(engine, made)).last_sequence == 40
    run_sync(engine.close())


@driven
async def test_an_error_in_the_middle_of_writing_is_said(colour: Colour) -> None:
    """Only somebody else's key of a wrong type can do this; it must not look like a success or like nothing."""
    engine = colour.open()
    made = new_id()
    await done(engine, Create(made, "conversation"))
    shard = engine.talk.shards.of_id(made)
    assert shard is not None
    await engine.talk.ask(Command(b"SET", f"{shard.tenant(TENANT)}e:{made}".encode(), b"not a list"))
    with pytest.raises(CorruptError):
        await commit(engine, message(made, "x"))
    await engine.close()


@driven
async def test_what_crosses_shards_is_refused_before_it_is_sent(colour: Colour) -> None:
    engine = colour.open()
    far = next(home for home in map(str, range(1000)) if shard_of(home) != shard_of(HOME))
    made = new_id()
    with pytest.raises(InvalidValueError):
        await commit(engine, Create(made, "login"), Create(new_id(far), "login"))
    with pytest.raises(InvalidValueError):
        await commit(engine, Create(made, "login"), Point(AliasKey(far, "n", "k"), made, 0))
    await done(engine, Create(made, "login"))
    await done(engine, Point(AliasKey(far, "n", "k"), made, 0), home=far)
    followed = await engine.follow(TENANT, AliasKey(far, "n", "k"))
    assert followed.session == await session_of(engine, made)
    await engine.close()


@driven
async def test_one_of_a_pipeline_does_not_sink_the_others(colour: Colour) -> None:
    """Operations that travel together keep their own answers, refusals and errors."""
    engine = colour.open()
    made = new_id()
    await done(engine, Create(made, "conversation", data={"a": {"b": []}}))
    far = new_id("elsewhere")

    async def one(number: int) -> str:
        try:
            if number % 4 == 0:
                return (await refused(engine, message(far, "x"))).reason
            if number % 4 == 1:
                await commit(engine, Create(far, "x"), Point(AliasKey("another", "n", "k"), far, 0), home="elsewhere")
            if number % 4 == 2:
                await engine.load(TENANT, made)
                return "loaded"
            await done(engine, message(made, "x"))
            return "stored"
        except InvalidValueError:
            return "invalid"

    found = await colour.together(*(one(number) for number in range(32)))
    assert [found.count(word) for word in ("missing", "invalid", "loaded", "stored")] == [8, 8, 8, 8]
    assert (await session_of(engine, made)).last_sequence == 8
    await engine.close()


def test_what_waits_together_travels_together(server: Server) -> None:
    """A hundred operations at one moment are one round trip; a lone one does not wait for company."""

    async def body() -> None:
        engine = AsyncRedisEngine(server.url + "?prefix=together")
        made = new_id()
        await done(engine, Create(made, "conversation"))
        before = engine.talk.driver.trips
        await asyncio.gather(*(done(engine, message(made, "x")) for _ in range(100)))
        assert engine.talk.driver.trips - before == 1
        await done(engine, message(made, "x"))
        assert engine.talk.driver.trips - before == 2
        await engine.close()

    asyncio.run(body())


def test_a_cancelled_commit_is_settled_first(server: Server) -> None:
    """One that is on its way is waited for; one that still waits for a connection never leaves."""

    async def body(proxy: FaultProxy) -> None:
        engine = AsyncRedisEngine(proxy.url(server.url) + "?prefix=cancelled")
        made = new_id()
        await done(engine, Create(made, "conversation"))
        proxy.stall("to_client")
        sent = asyncio.ensure_future(done(engine, message(made, "sent")))
        before = proxy.carried["to_server"]
        while proxy.carried["to_server"] == before:  # noqa: ASYNC110 - the proxy has no event for it
            await asyncio.sleep(0)
        sent.cancel()
        await asyncio.sleep(0)
        assert not sent.done()
        proxy.heal()
        with pytest.raises(asyncio.CancelledError):
            await sent
        assert (await session_of(engine, made)).last_sequence == 1
        await engine.close()

        proxy.stall()
        fresh = AsyncRedisEngine(proxy.url(server.url) + "?prefix=cancelled")
        waiting = asyncio.ensure_future(done(fresh, message(made, "waiting")))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        proxy.heal()
        assert (await session_of(fresh, made)).last_sequence == 1
        await fresh.close()

    with FaultProxy("127.0.0.1", server.port) as proxy:
        asyncio.run(body(proxy))


# -- data ----------------------------------------------------------------------------------------------------------------

AWKWARD: tuple[Any, ...] = (
    [],
    {},
    None,
    True,
    0,
    -0.0,
    0.1 + 0.2,
    1e300,
    2**63 + 1,
    1_900_000_000_123_456,
    "",
    'quote " and \\ and / and \u2028 and é and 🎲 and \x01',
    "}{][,:",
    {"a": {"b": [[], {}, [{}], "]}"]}},
    [[[[[[1]]]]]],
    {"": "empty", "a:b": 1, 'k"ey': 2, "back\\slash": 3},
)


@driven
async def test_data_come_back_as_they_were(colour: Colour) -> None:
    """A user's JSON is never decoded on the server: [] stays [], numbers keep their digits, nesting has no limit of ours."""
    engine = colour.open()
    deep: Any = 1
    for _ in range(500):
        deep = [deep]
    data = {f"k{number}": value for number, value in enumerate(AWKWARD)} | {"deep": deep, 'a"b': 1, "": 2}
    made, patched = new_id(), new_id()
    await done(engine, Create(made, "context", data=data))
    assert repr(sorted((await session_of(engine, made)).data.items())) == repr(sorted(data.items()))
    await done(engine, Create(patched, "context"))
    await done(engine, Write(patched, set=tuple((("in", "side", name), value) for name, value in data.items())))
    assert (await session_of(engine, patched)).data == {"in": {"side": data}}
    await done(engine, Write(patched, unset=tuple(("in", "side", name) for name in data if name != "deep")))
    assert (await session_of(engine, patched)).data == {"in": {"side": {"deep": deep}}}
    await engine.close()


@driven
async def test_counters_are_exact_or_refused(colour: Colour) -> None:
    engine = colour.open()
    made = new_id()
    await done(engine, Create(made, "context", counters={"n": 2**53 - 2, "m": 1 - 2**53}))
    assert (await done(engine, Write(made, add=(("n", 1),)))).moved[0].counters == {"n": 2**53 - 1, "m": 1 - 2**53}
    for change in (
        Write(made, put=(("n", 2**53),)),
        Write(made, add=(("n", 1),)),
        Create(new_id(), "context", counters={"n": -(2**60)}),
    ):
        with pytest.raises(LimitError):
            await commit(engine, change)
    await engine.close()


# -- the same decisions as the embedded engines --------------------------------------------------------------------------

KINDS = ("conversation", "game")
USERS = ("ann", "bob:1", "é%")
TAGS = ("red", "b:lue", "green")
NAMES = ("title", "a", "b", 'q"')
VALUES: tuple[Any, ...] = ([], {}, {"a": {"b": 1}}, {"b": [1, {"a": []}]}, "text", 7, None, 0.1)


class Dice:
    """Makes batches of all kinds about a few sessions of one home, most of which are carried out and many refused."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        number = home_number(TENANT, HOME)
        self.ids = [make_id(NOW // 1000 + place, number, self.random.getrandbits(70)) for place in range(6)]

    def some(self, choices: Iterable[T]) -> tuple[T, ...]:
        return tuple(choice for choice in choices if self.random.random() < 0.3)

    def maybe(self, *choices: T) -> T | None:
        return self.random.choice(choices) if self.random.random() < 0.3 else None

    def path(self) -> tuple[str, ...]:
        return tuple(self.random.choice(NAMES) for _ in range(self.random.choice((1, 1, 2, 3))))

    def entries(self) -> tuple[NewEntry, ...]:
        pick = self.random.choice
        return tuple(
            NewEntry(
                pick(("message", 'odd"type')),
                pick(("", "user")),
                pick(("", "general")),
                pick((None, *USERS)),
                pick((None, "text", "línea\n")),
                pick((None, "{}", "[]")),
                pick((None, (1, 2))),
                pick((True, False)),
                pick((None, None, NOW - 5)),
                self.maybe("key1", "key2", "key3"),
            )
            for _ in range(pick((0, 1, 1, 2, 3)))
        )

    def deadline(self) -> Deadline | None:
        pick = self.random.choice
        return pick(
            (
                None,
                None,
                Deadline(),
                Deadline(at=NOW + pick((-5, 5, 50)) * SECOND),
                Deadline(after=pick((0, 10, 20)) * SECOND, cap=self.maybe(NOW + 30 * SECOND), if_none=pick((True, False))),
            )
        )

    def guard(self) -> Guard:
        pick = self.random.choice
        return Guard(
            open=pick((True, True, False)),
            timely=pick((True, False, False, False)),
            due=self.random.random() < 0.05,
            version=self.maybe(1, 2, 3, 4),
            phase=self.maybe(0, 0, 1),
            silent=self.maybe(*USERS) if self.random.random() < 0.5 else None,
            lease=self.maybe(("turn", 1), ("turn", 2)) if self.random.random() < 0.4 else None,
            fence=self.maybe(("far", 1), ("far", 2)) if self.random.random() < 0.4 else None,
        )

    def create(self) -> Create:
        pick = self.random.choice
        return Create(
            pick(self.ids),
            pick(KINDS),
            owner=pick((None, *USERS)),
            state=pick(("active", "active", "pending", "ended")),
            data={name: deepcopy(pick(VALUES)) for name in self.some(NAMES)},
            counters={"n": pick((0, 3)), "big": NOW},
            tags=self.some(TAGS),
            deadline=self.deadline(),
            entries=self.entries(),
            base=self.maybe((pick(self.ids), pick((0, 1, 3, 99)))),
            bucket=pick((1, SECOND)),
            created_at=self.maybe(NOW - 100 * SECOND),
            active_at=self.maybe(NOW - 50 * SECOND),
            ended_at=self.maybe(NOW - 20 * SECOND),
            stamp=self.some(("at",)),
        )

    def write(self) -> Write:
        pick = self.random.choice
        return Write(
            pick(self.ids),
            self.guard(),
            entries=self.entries(),
            set=tuple((self.path(), deepcopy(pick(VALUES))) for _ in range(pick((0, 0, 1, 3)))),
            unset=tuple(self.path() for _ in range(pick((0, 0, 1)))),
            mark=tuple(self.path() for _ in range(pick((0, 0, 0, 1)))),
            add=tuple((name, pick((1, 2, -5))) for name in self.some(("n", "m"))),
            put=tuple((name, pick((0, NOW))) for name in self.some(("p",))),
            stamp=self.some(("at",)),
            tag=self.some(TAGS),
            untag=self.some(TAGS),
            state=self.maybe("active", "active", "ended", "archived", "pending"),
            deadline=self.deadline(),
            due_above=self.maybe(("n", 4)),
            next_phase=self.random.random() < 0.2,
            active=self.maybe(1, SECOND),
            change=pick(("updated", "turned")),
            reason=pick(("", "why")),
        )

    def append(self) -> Write:
        """What most commits are, and what the script has a short way for."""
        pick = self.random.choice
        entry = NewEntry("message", pick(("", "user")), text="text", created_at=pick((None, NOW)), covers=pick((None, (1, 2))))
        return Write(
            pick(self.ids),
            Guard(timely=pick((True, False)), phase=pick((None, None, 0, 1))),
            entries=tuple(entry for _ in range(pick((1, 1, 3)))),
            add=self.some((("n", 2), ("m", -3))),
            stamp=self.some(("at", "p")),
            due_above=pick((None, ("n", 6))),
            active=pick((None, 10 * SECOND)),
            reason=pick(("", "why")),
        )

    def change(self) -> Change:
        pick = self.random.choice
        alias = AliasKey(HOME, pick(("name", "na:me")), pick(("a", "b%")))
        return pick(
            (
                self.create,
                self.create,
                self.write,
                self.write,
                self.write,
                self.append,
                self.append,
                self.append,
                lambda: Touch(pick(self.ids), pick((1, SECOND)), self.deadline()),
                lambda: Redact(pick(self.ids), (pick((1, 2)), pick((1, 4))), self.guard()),
                lambda: Delete(pick(self.ids), self.guard()) if pick((True, False)) else self.write(),
                lambda: Point(alias, pick((None, *self.ids, "somebody")), pick((None, 0, 1, 2))),
                lambda: Lend("turn", pick(USERS), 10 * SECOND, self.maybe(1, 2)),
                lambda: Yield("turn", pick((1, 2))),
            )
        )()

    def batch(self) -> Batch:
        changes = tuple(self.change() for _ in range(self.random.choice((1, 1, 1, 2, 3))))
        if any(isinstance(change, Create) for change in changes):  # who makes a session does not take tags from it
            changes = tuple(replace(change, untag=()) if isinstance(change, Write) else change for change in changes)
        operation = self.maybe("op1", "op2", "op3", "key1")
        return Batch(TENANT, HOME, changes, operation, self.random.choice(("f", "f", "g")))


async def everything(engine: Engine, dice: Dice) -> dict[str, Any]:
    """All that can be read of a home."""
    found: dict[str, Any] = {}
    for session in dice.ids:
        found[session] = await engine.load(TENANT, session, EntryQuery()), await engine.tags(TENANT, session)
        found[f"history of {session}"] = [plain(row) for row in await engine.history(TENANT, session, 7)]
        found[f"aliases of {session}"] = await engine.aliases(TENANT, target=session)
        for query in (
            EntryQuery(last=2),
            EntryQuery(types=("message",), limit=2),
            EntryQuery(types=('odd"type',), labels=("user",), last=1),
            EntryQuery(ranges=((2, 3), (5, 9)), topic="general"),
        ):
            found[f"{session} {query}"] = (await engine.load(TENANT, session, query)).entries
    states = ("active", "pending", "ended", "archived")
    for order in ("activity", "created", "idle", "oldest"):
        for options in ({}, {"owner": "bob:1"}, {"tag": "b:lue"}, {"tag": "red", "owner": "ann"}, {"active_before": NOW}):
            query_all = SessionQuery(TENANT, KINDS, states, order=order, **options)  # type: ignore[arg-type]
            rows = await engine.list(query_all)
            found[f"list {order} {options}"] = rows
            if rows:
                after = (rows[0].bucket, rows[0].id)
                more = SessionQuery(TENANT, KINDS, states, order=order, after=after, limit=2, **options)  # type: ignore[arg-type]
                found[f"more {order} {options}"] = await engine.list(more)
    for tag in (None, *TAGS):
        for since in (None, 0, NOW):
            found[f"count {tag} {since}"] = [await engine.count(TENANT, kind, tag=tag, active_after=since) for kind in KINDS]
    found["due"] = await engine.due(TENANT, 10), await engine.due(None, 10)
    for namespace in ("name", "na:me"):
        for key in ("a", "b%"):
            found[f"{namespace}/{key}"] = await engine.follow(TENANT, AliasKey(HOME, namespace, key))
    return found


def plain(row: EventRow) -> tuple[Any, ...]:
    return (row.number, row.session, row.kind, row.change, row.version, row.first, row.last, row.at, row.reason)


@pytest.mark.parametrize("seed", range(25))
def test_batches_are_decided_as_the_embedded_engines_decide_them(server: Server, seed: int) -> None:
    """The same random batches on both: the same answers, refusals and times, and the same to be read afterwards."""
    clock = Clockwork()
    dice = Dice(seed)
    memory, engine = MemoryEngine(clock), RedisEngine(f"{server.url}?prefix=same{seed}", clock=clock)
    refusals = 0
    for number in range(60):
        clock.now += dice.random.choice((0, 1, 7 * SECOND, -3 * SECOND))
        batch = dice.batch()
        wanted, found = run_sync(memory.commit(batch)), run_sync(engine.commit(batch))
        assert found == wanted, f"batch {number}: {batch}"
        refusals += wanted.refusal is not None
        if number % 6 == 5:
            assert run_sync(everything(engine, dice)) == run_sync(everything(memory, dice))
    assert 5 < refusals < 55
    seen = run_sync(engine.events(TENANT, (0,) * PLACES, 10_000)).events
    assert [plain(row) for row in seen] == [plain(row) for row in run_sync(memory.events(TENANT, (0,), 10_000)).events]
    run_sync(engine.close())


@pytest.mark.parametrize("crowd", [0, 1, 8])
def test_pages_of_many_shards_are_those_of_one(server: Server, crowd: int) -> None:
    """Sessions in 40 homes, and as many more in ``crowd`` of these: every page in every order is as on memory."""
    clock = Clockwork()
    memory, engine = MemoryEngine(clock), RedisEngine(f"{server.url}?prefix=crowd{crowd}", clock=clock)
    dice = random.Random(crowd)
    homes = [f"home {number}" for number in range(40)] + [f"home {number % crowd}" for number in range(120 if crowd else 0)]
    dice.shuffle(homes)
    for home in homes:
        made = Create(new_id(home), "note", owner="ann", active_at=NOW - dice.randrange(9) * MINUTE, bucket=MINUTE)
        for one in (memory, engine):
            assert run_sync(one.commit(Batch(TENANT, home, (made,)))).refusal is None
    run_sync(engine.list(SessionQuery(TENANT, ("note",))))  # now the server knows the scripts
    for order in ("activity", "created", "idle", "oldest"):
        for limit in (1, 7, 50, 500):
            after = None
            while True:
                query = SessionQuery(TENANT, ("note",), order=order, limit=limit, after=after)
                wanted = run_sync(memory.list(query))
                before = engine.talk.driver.trips
                assert run_sync(engine.list(query)) == wanted
                assert engine.talk.driver.trips - before <= 3
                if len(wanted) < limit:
                    break
                after = (wanted[-1].bucket, wanted[-1].id)
    run_sync(engine.close())
