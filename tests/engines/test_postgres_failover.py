"""PostgreSQL with a standby that takes over under load: what is kept, what is lost, and who is told.

With a synchronous standby nothing that was acknowledged is lost. Without one, what had not been streamed is: then keys are
free again, sequences have no hole, and watchers are told of a gap, also when the new server has long passed their cursor.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import psycopg
import pytest

import sojourn
from sojourn.cli.doctor import _postgres as server_findings
from sojourn.core.batch import Answer, Batch, Lend
from sojourn.engines.contract import Engine
from sojourn.engines.locate import EngineOptions
from sojourn.engines.postgres.engine import PostgresEngine
from sojourn.errors import OutcomeUnknownError, ReadOnlyError, UnavailableError
from sojourn.shell.bridge import run_sync
from sojourn.shell.feed import cursor_text
from sojourn.testing.faults import FaultProxy
from sojourn.testing.servers import Server, ServerMissingError, postgres_server, postgres_standby
from tests.engines.test_postgres_faults import (
    HOME,
    TENANT,
    Load,
    answered,
    append,
    drive,
    made,
    opened,
    opened_by_hand,
    texts,
)

pytestmark = pytest.mark.slow

WITHIN = 3.0
"""Seconds an operation may take: longer than a connection, shorter than a test."""


@dataclass
class Pair:
    """A primary, its standby, and the link between them."""

    primary: Server
    standby: Server
    link: FaultProxy

    @property
    def url(self) -> str:
        """Whichever of the two can be written to."""
        places = f"127.0.0.1:{self.primary.port},127.0.0.1:{self.standby.port}"
        return f"postgresql://postgres@{places}/postgres?target_session_attrs=read-write"

    def lag(self) -> None:
        """From now on nothing reaches the standby."""
        self.link.stall("to_client")

    @contextlib.contextmanager
    def somebody_ends_the_wait(self) -> Generator[None]:
        """An administrator cancels the next statement that waits for the standby."""
        ends = "select count(pg_cancel_backend(pid)) > 0 from pg_stat_activity where wait_event = 'SyncRep'"
        with psycopg.connect(self.primary.url, autocommit=True) as connection:

            def end() -> None:
                self.primary.wait_until(lambda: connection.execute(ends).fetchone() == (True,), "somebody waits", 30)

            ending = threading.Thread(target=end)
            ending.start()
            try:
                yield
            finally:
                ending.join()

    def fail_over(self) -> None:
        """The primary dies, and the standby takes its place."""
        self.primary.kill()
        with psycopg.connect(self.standby.url, autocommit=True) as connection:
            assert connection.execute("select pg_promote()").fetchone() == (True,)

    def come_back(self) -> None:
        """The old primary is there again, as a standby."""
        (self.primary.directory / "data" / "standby.signal").touch()
        self.primary.start()

    def catch_up(self) -> None:
        """Return when the standby has what is acknowledged by now."""
        with psycopg.connect(self.primary.url) as primary, psycopg.connect(self.standby.url, autocommit=True) as standby:
            here = primary.execute("select pg_current_wal_flush_lsn()").fetchone()
            there = "select coalesce(pg_last_wal_replay_lsn() >= %s, false)"
            self.standby.wait_until(lambda: standby.execute(there, here).fetchone() == (True,), "the standby caught up")


@contextlib.contextmanager
def pair(*, synchronous: bool) -> Generator[Pair]:
    """A primary and a standby; ``synchronous``: a commit waits until the standby has it."""
    names = "standby" if synchronous else ""
    try:
        with (
            postgres_server(fsync=True, synchronous_standby_names=names) as primary,
            FaultProxy("127.0.0.1", primary.port) as link,
            postgres_standby(primary, port=link.port) as standby,
        ):
            yield Pair(primary, standby, link)
    except ServerMissingError as missing:
        pytest.skip(str(missing))


@pytest.fixture(params=["blocking", "async"])
def blocking(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "blocking")


# -- a standby that has everything -----------------------------------------------------------------------------------


def until_it_hits(fail_over: Callable[[], int]) -> None:
    """Some time a kill meets somebody who waits for an answer; on a busy machine not each one does."""
    assert any(fail_over() for _ in range(5)), "the kills hit nothing"


@pytest.mark.timeout(400)
def test_with_a_synchronous_standby_nothing_acknowledged_is_lost() -> None:
    """Threads append with keys, the primary is killed, the standby takes over, and the threads go on with the same store."""
    until_it_hits(threads_go_on)


def threads_go_on() -> int:
    with pair(synchronous=True) as servers:
        engine = run_sync(opened_by_hand(servers.url, timeout=WITHIN))
        with Load(engine, 6) as load:
            load.go_on(200)
            servers.fail_over()
            load.go_on(200)
        load.check()
        for session, keys in zip(load.sessions, load.acknowledged, strict=True):
            for key in keys[::10]:
                assert run_sync(append(engine, session, key)).replayed
        load.check()
        run_sync(engine.close())
    return sum(load.again)


def test_tasks_go_on_with_the_server_that_took_over() -> None:
    """The same under an event loop."""
    until_it_hits(tasks_go_on)


def tasks_go_on() -> int:
    moved, over = asyncio.Event(), asyncio.Event()

    async def work(engine: Engine, session: str, done: list[str]) -> int:
        again = 0
        while not over.is_set():
            key = str(len(done))
            try:
                await append(engine, session, key)
            except (OutcomeUnknownError, UnavailableError):
                again += 1
                continue
            done.append(key)
            moved.set()
        return again

    async def story(servers: Pair) -> int:
        engine = await opened_by_hand(servers.url, blocking=False, timeout=WITHIN)
        done: dict[str, list[str]] = {await answered(lambda: made(engine)): [] for _ in range(20)}
        working = asyncio.gather(*(work(engine, session, keys) for session, keys in done.items()))

        async def go_on(appends: int) -> None:
            wanted = sum(map(len, done.values())) + appends
            while sum(map(len, done.values())) < wanted:
                moved.clear()
                await asyncio.wait_for(moved.wait(), 30)

        await go_on(200)
        await asyncio.to_thread(servers.fail_over)
        await go_on(200)
        over.set()
        hit = sum(await working)
        for session, keys in done.items():
            stored = await answered(partial(texts, engine, session))
            assert stored[: len(keys)] == keys
            assert len(stored) <= len(keys) + 1  # what nobody asked for again when the test was over
        await engine.close()
        return hit

    with pair(synchronous=True) as servers:
        return asyncio.run(story(servers))


def test_a_commit_that_no_standby_confirmed_is_not_acknowledged(blocking: bool) -> None:
    """An administrator ends the wait for the standby: the server says "committed", and warns that only it has it. Asked again
    with the key it has it still, and still nobody else, so that is no answer either.
    """

    async def story(servers: Pair) -> None:
        engine = await opened(servers.url, blocking=blocking)  # whose wait is ended long before its time limit
        session = await made(engine)
        assert not (await append(engine, session, "a")).replayed
        lease = Batch(TENANT, HOME, (Lend("lock", "me", 60_000_000),), "c")
        servers.lag()
        for _ in range(2):
            for commit in (append(engine, session, "b"), engine.commit(lease)):
                with servers.somebody_ends_the_wait():
                    with pytest.raises(OutcomeUnknownError, match="no standby confirmed") as unknown:
                        await commit
                    assert unknown.value.key in ("b", "c")
        servers.link.heal()
        assert (await _patiently(engine, session, "b")).replayed
        assert (await engine.commit(lease)).replayed
        servers.fail_over()
        assert (await _patiently(engine, session, "b")).replayed
        assert await texts(engine, session) == ["a", "b"]
        assert (await engine.commit(lease)).replayed
        await engine.close()

    with pair(synchronous=True) as servers:
        drive(story(servers), blocking=blocking)


async def _patiently(engine: Engine, session: str, key: str) -> Answer:
    for _ in range(20):
        with contextlib.suppress(OutcomeUnknownError, UnavailableError):
            return await append(engine, session, key)
    return await append(engine, session, key)


@pytest.mark.parametrize(
    ("setting", "lazy", "waits"),
    [("on", False, True), ("remote_write", False, True), ("remote_apply", False, True),
     ("local", False, False), ("off", False, False), ("on", True, False)],
)  # fmt: skip
def test_which_settings_wait_for_the_standby(lonely: Pair, setting: str, lazy: bool, waits: bool) -> None:
    """``synchronous_commit`` up to ``local``, and a store with durability ``normal``, acknowledge what no standby has."""
    url = f"{lonely.url}&options=-csynchronous_commit%3D{setting}"
    engine = run_sync(opened_by_hand(url, timeout=2, lazy=lazy))
    if waits:
        with pytest.raises(OutcomeUnknownError):
            run_sync(made(engine))
    else:
        run_sync(answered(lambda: made(engine)))
    facts = run_sync(answered(engine.facts))
    said = {finding.name: finding.text for finding in server_findings(facts)}["durability"]
    assert ("a synchronous standby has it" in said) == (waits or lazy)  # what the server says; the store is not looked at
    run_sync(engine.close())
    lonely.primary.wait_until(partial(nobody_waits, lonely), "who waits for the standby was sent away")


def nobody_waits(servers: Pair) -> bool:
    """Whoever works and will come to wait is sent away, too: it would hold its locks until then."""
    ended = """select count(pg_terminate_backend(pid)) from pg_stat_activity
        where backend_type = 'client backend' and state <> 'idle' and pid <> pg_backend_pid()"""
    with psycopg.connect(servers.primary.url) as connection:
        return connection.execute(ended).fetchone() == (0,)


@pytest.fixture(scope="module")
def lonely() -> Generator[Pair]:
    """A primary whose synchronous standby hears nothing any more."""
    with pair(synchronous=True) as servers:
        run_sync(run_sync(PostgresEngine.open(servers.url)).close())
        servers.lag()
        yield servers


# -- a standby that lags ---------------------------------------------------------------------------------------------


Lagged = tuple[Pair, Load, list[int], tuple[int, ...], tuple[int, ...]]


@pytest.fixture(scope="module")
def lagged() -> Generator[Lagged]:
    """Under load a lagging standby takes over; with how much of each worker it had got, and cursors from before."""
    with pair(synchronous=False) as servers:
        engine = run_sync(opened_by_hand(servers.url, timeout=WITHIN))
        with Load(engine, 4) as load:
            load.go_on(100)
            streamed = run_sync(engine.tip())
            kept = list(map(len, load.acknowledged))
            servers.catch_up()
            servers.lag()
            load.go_on(200)
            ahead = run_sync(engine.tip())
            servers.fail_over()
            promoted = run_sync(PostgresEngine.open(servers.standby.url))
            page = run_sync(promoted.events(TENANT, ahead, 10))
            assert page.gap, "a cursor ahead of all that is there"
            run_sync(promoted.close())
            load.go_on(1500)
        assert not load.broken
        yield servers, load, kept, streamed, ahead
        run_sync(engine.close())


def test_a_lagging_standby_loses_what_it_had_not_got_and_no_more(lagged: Lagged) -> None:
    """The last acknowledged appends before the promotion are gone; those before and after are there once, without a hole."""
    _, load, kept, _, _ = lagged
    lost = 0
    for session, keys, had in zip(load.sessions, load.acknowledged, kept, strict=True):
        stored = run_sync(texts(load.engine, session))  # looks at the sequences too
        missing = [key for key in keys if key not in set(stored)]
        lost += len(missing)
        assert len(stored) == len(set(stored))
        begin = keys.index(missing[0]) if missing else len(keys)
        assert begin >= had
        assert missing == keys[begin : begin + len(missing)]
        assert stored[: len(keys) - len(missing)] == [key for key in keys if key not in set(missing)]
    assert lost > 50


def test_what_was_lost_is_done_once_when_it_is_asked_for_again(lagged: Lagged) -> None:
    _, load, _, _, _ = lagged
    session, keys = load.sessions[0], load.acknowledged[0]
    stored = run_sync(texts(load.engine, session))
    missing = [key for key in keys if key not in set(stored)][:3]
    assert missing
    for key in missing:
        assert not run_sync(append(load.engine, session, key)).replayed
        assert run_sync(append(load.engine, session, key)).replayed
    assert run_sync(texts(load.engine, session)) == [*stored, *missing]


def test_watchers_are_told_of_a_gap_also_when_their_cursor_was_passed(lagged: Lagged) -> None:
    """The new server has given the numbers behind the cursor anew, to other events: no number tells, but whose they are."""
    _, load, _, streamed, ahead = lagged
    now = run_sync(load.engine.tip())
    assert all(new >= old for new, old in zip(now, ahead, strict=True))
    assert sum(now) > sum(ahead)
    for cursor in (ahead, streamed):  # who may have missed something, and who has not, which nobody knows
        assert run_sync(load.engine.changed(cursor, 0)) == "now"
        page = run_sync(load.engine.events(TENANT, cursor, 10_000))
        assert page.gap
        shard = page.events[0].shard
        assert [event.number for event in page.events] == list(range(cursor[shard] + 1, now[shard] + 1))
        assert page.cursor == now
    assert not run_sync(load.engine.events(TENANT, now, 10)).gap
    assert run_sync(load.engine.changed(now, 0)) == "timeout"


def test_a_watch_that_is_taken_up_begins_with_the_gap(lagged: Lagged) -> None:
    servers, _, _, _, ahead = lagged
    with sojourn.open(servers.url, engine=EngineOptions(timeout=WITHIN), tenant=TENANT) as store:
        seen = list(store.watch(after=cursor_text(ahead), timeout=timedelta(0)))
        assert seen[0].change == "gap"
        assert "gap" not in [event.change for event in seen[1:]]
        behind = list(store.watch(after=seen[0].cursor, timeout=timedelta(0)))
        assert [event.cursor for event in behind] == [event.cursor for event in seen[1:]]


def test_an_old_primary_that_comes_back_as_a_standby_takes_no_writes(lagged: Lagged, blocking: bool) -> None:
    """Named alone it can be read, and says why it cannot be written; named with the new one it is passed over."""
    servers, load, _, _, _ = lagged
    if not servers.primary.running:
        servers.come_back()

    async def story() -> None:
        old = await opened(servers.primary.url, blocking=blocking, migrate=False)
        session = load.sessions[1]
        before = await texts(old, session)
        for commit in (append(old, session, "new"), append(old, session, load.acknowledged[1][-1]), made(old)):
            with pytest.raises(ReadOnlyError, match="is read-only") as refused:
                await commit
            assert refused.value.hint == "Nothing was stored. Connect to the primary."
        assert await texts(old, session) == before
        assert await old.changed(await old.tip(), 0.01) == "timeout"
        await old.close()
        found = await opened(servers.url, blocking=blocking, timeout=WITHIN)
        key = f"written {blocking}"
        assert not (await append(found, session, key)).replayed
        assert (await texts(found, session))[-1] == key
        await found.close()

    drive(story(), blocking=blocking)


def test_where_no_server_can_be_written_to_that_is_said(lagged: Lagged) -> None:
    servers = lagged[0]
    if not servers.primary.running:
        servers.come_back()
    url = f"{servers.primary.url}?target_session_attrs=read-write"
    with pytest.raises(UnavailableError):
        sojourn.open(url, engine=EngineOptions(timeout=1.0))
