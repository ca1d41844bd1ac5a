"""PostgreSQL whose disk is full, or does not sync: where its tables are, a commit is refused; where its log is, it panics.

The faults are those of the shim, loaded into the server: what it writes reports ENOSPC, as a full disk does.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Generator

import pytest

from sojourn.core.batch import Batch, Create, NewEntry, Point, Write
from sojourn.core.ids import new_id
from sojourn.core.session import AliasKey
from sojourn.engines.contract import Engine
from sojourn.errors import FullError, OutcomeUnknownError, UnavailableError
from sojourn.shell.bridge import run_sync
from sojourn.testing.faults import DiskFault, FaultShim, ShimUnavailableError
from sojourn.testing.servers import Server, ServerFailedError, ServerMissingError, postgres_server
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


def long_text(number: int) -> str:
    """Text that soon needs another page, as it cannot be compressed, and is not moved to a table of its own."""
    return f"{number} {random.Random(number).randbytes(800).hex()}"


@pytest.fixture(params=["blocking", "async"])
def blocking(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "blocking")


@contextlib.contextmanager
def faulty(path: str, *, fsync: bool = False) -> Generator[tuple[Server, FaultShim]]:
    """A server whose files below ``path`` can be made to fail."""
    try:
        with FaultShim(path_contains=path) as shim, postgres_server(environment=shim.environment, fsync=fsync) as server:
            try:
                yield server, shim
            finally:
                shim.clear()
    except (ShimUnavailableError, ServerMissingError) as missing:
        pytest.skip(str(missing))


def recovered(server: Server) -> None:
    """Return when the server answers: one that panicked starts itself again, unless its recovery needed room too."""
    try:
        server.wait_until(lambda: b"ready" in (server.directory / "data" / "postmaster.pid").read_bytes(), "it has recovered")
    except ServerFailedError:
        server.start()


def long_line(session: str, number: int) -> Batch:
    return Batch(TENANT, "", (Write(session, entries=(NewEntry("line", text=long_text(number)),)),), str(number))


async def numbers(engine: Engine, session: str) -> list[str]:
    return [(text or "").partition(" ")[0] for text in await texts(engine, session)]


# -- tables ----------------------------------------------------------------------------------------------------------


def test_a_full_disk_refuses_a_commit_whole_and_takes_it_when_there_is_room(blocking: bool) -> None:
    """Reads go on, what was acknowledged is there, and of what was refused there is nothing, and no hole where it was."""

    async def story(server: Server, shim: FaultShim) -> None:
        engine = await opened(server.url, blocking=blocking)
        session = await made(engine)
        done = list(range(20))
        for number in done:
            assert (await engine.commit(long_line(session, number))).refusal is None
        shim.set(DiskFault.DISK_IS_FULL)
        refused, told = list[int](), set[tuple[bool, str]]()
        for number in range(20, 80):
            try:
                await engine.commit(long_line(session, number))
                done.append(number)  # there was room in a page
            except FullError as error:
                told.add(("has no room left: could not extend file" in str(error), error.hint))
                refused.append(number)
        assert len(refused) > 20
        assert told == {(True, "Nothing was stored. Free some space.")}
        assert await numbers(engine, session) == list(map(str, done))
        shim.clear()
        for number in refused:
            assert not (await engine.commit(long_line(session, number))).replayed
        assert await numbers(engine, session) == list(map(str, done + refused))
        await engine.close()

    with faulty("/base/") as (server, shim):
        drive(story(server, shim), blocking=blocking)


def test_a_batch_of_several_tables_is_refused_whole(blocking: bool) -> None:
    """The session and its alias fit, its entries do not: there is neither."""

    async def story(server: Server, shim: FaultShim) -> None:
        engine = await opened(server.url, blocking=blocking)
        await made(engine)
        made_up, alias = new_id(HOME, tenant=TENANT), AliasKey(HOME, "names", "full")
        entries = tuple(NewEntry("line", text=long_text(number)) for number in range(40))
        batch = Batch(TENANT, HOME, (Create(made_up, "note", entries=entries), Point(alias, made_up, None)), "several")
        before = await engine.tip()
        shim.set(DiskFault.DISK_IS_FULL)
        with pytest.raises(FullError):
            await engine.commit(batch)
        assert (await engine.load(TENANT, made_up)).session is None
        found = await engine.follow(TENANT, alias)
        assert found.alias is not None
        assert found.alias.target is None
        assert await engine.tip() == before
        shim.clear()
        assert not (await engine.commit(batch)).replayed
        assert (await engine.follow(TENANT, alias)).session is not None
        await engine.close()

    with faulty("/base/") as (server, shim):
        drive(story(server, shim), blocking=blocking)


def test_of_many_at_once_each_is_told_for_itself() -> None:
    """Commits that travel together: who needs room is refused, and each of the others has its answer."""

    async def story(server: Server, shim: FaultShim) -> None:
        engine = await opened(server.url, blocking=False)
        sessions = [await made(engine) for _ in range(30)]
        for session in sessions:
            await append(engine, session, "first")
        shim.set(DiskFault.DISK_IS_FULL)
        outcomes = await asyncio.gather(
            *(engine.commit(long_line(session, 1)) if place % 2 else append(engine, session, "small")
              for place, session in enumerate(sessions)),
            return_exceptions=True,
        )  # fmt: skip
        assert {type(outcome) for outcome in outcomes if isinstance(outcome, BaseException)} == {FullError}
        for session, outcome in zip(sessions, outcomes, strict=True):
            assert len(await texts(engine, session)) == (1 if isinstance(outcome, FullError) else 2)
        shim.clear()
        refused = sum(isinstance(outcome, FullError) for outcome in outcomes)
        assert 0 < refused < len(outcomes), "some of them found room in a page"
        await engine.close()

    with faulty("/base/") as (server, shim):
        asyncio.run(story(server, shim))


# -- the log ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [DiskFault.DISK_IS_FULL, DiskFault.SYNC_FAILS])
def test_a_server_that_panics_in_a_commit_leaves_it_unknown_and_the_key_tells(fault: DiskFault, blocking: bool) -> None:
    """It says why it goes, but not that nothing was stored: what was written and not synced is there after its recovery."""

    async def story(server: Server, shim: FaultShim) -> None:
        engine = await opened(server.url, blocking=blocking, timeout=2.0)
        session = await answered(lambda: made(engine))
        await answered(lambda: append(engine, session, "a"))
        shim.set(fault)
        with pytest.raises(OutcomeUnknownError) as unknown:
            await append(engine, session, "b")
        assert unknown.value.key == "b"
        with pytest.raises((UnavailableError, OutcomeUnknownError)):
            await append(engine, session, "c")
        shim.clear()
        recovered(server)
        answer = None
        for _ in range(20):
            with contextlib.suppress(UnavailableError):
                answer = await append(engine, session, "b")
                break
        assert answer is not None
        assert answer.replayed == (fault is DiskFault.SYNC_FAILS)
        await answered(lambda: append(engine, session, "c"))
        assert await answered(lambda: texts(engine, session)) == ["a", "b", "c"]

    with faulty("/pg_wal/", fsync=True) as (server, shim):
        drive(story(server, shim), blocking=blocking)


def test_a_log_that_is_full_in_mid_load_loses_nothing_that_was_acknowledged() -> None:
    """Threads append with keys; the server panics again and again while there is no room, and then they go on."""
    with faulty("/pg_wal/", fsync=True) as (server, shim):
        engine = run_sync(opened_by_hand(server.url, timeout=1.0))
        with Load(engine, 6) as load:
            for _ in range(2):
                load.go_on()
                before = sum(load.again)
                shim.set(DiskFault.DISK_IS_FULL)
                server.wait_until(lambda before=before: sum(load.again) > before + 6, "all were refused")  # type: ignore[misc]
                shim.clear()
                recovered(server)
            load.go_on()
        load.check()
        run_sync(engine.close())
