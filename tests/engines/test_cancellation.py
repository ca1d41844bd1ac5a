"""A task that is cancelled ends, also when what it waited for comes in the same moment (`asyncio.wait_for` of Python 3.11
gives what came and forgets the cancellation: a task that then goes on waiting cannot be ended any more).
"""

from __future__ import annotations

import ast
import asyncio
from collections.abc import Generator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import sojourn
from sojourn import AsyncStore
from sojourn.engines.bell import Bell
from sojourn.engines.postgres.aio import AsyncDriver, AsyncPostgresEngine
from sojourn.engines.postgres.pool import LoopPool
from sojourn.engines.postgres.settings import settings_of
from sojourn.errors import UnavailableError
from sojourn.testing.engines import EnginePlaces
from sojourn.testing.faults import FaultProxy
from sojourn.testing.places import MemoryPlaces
from sojourn.testing.servers import Server
from tests.engines.test_postgres_faults import opened_by_hand

MOMENTS = range(8)
"""Turns of the event loop between what a task waits for and its cancellation."""


async def cancelled(task: asyncio.Task[Any], turns: int) -> bool:
    """Cancel after so many turns; whether it had ended before."""
    for _ in range(turns):
        await asyncio.sleep(0)
    if task.done():
        return True
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    return False


def test_nothing_of_ours_uses_what_forgets_cancellations() -> None:
    for path in Path(sojourn.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            assert not (isinstance(node, ast.Attribute) and ast.unparse(node) == "asyncio.wait_for"), path


@pytest.mark.parametrize("turns", MOMENTS)
def test_a_waiter_that_is_cancelled_when_the_bell_rings_is_cancelled(turns: int) -> None:
    async def story() -> bool:
        bell = Bell()
        task = asyncio.create_task(bell.wait_async(bell.rings, 60))
        await asyncio.sleep(0)
        bell.ring()
        return await cancelled(task, turns)

    assert asyncio.run(story()) or turns < max(MOMENTS), "it never ended by itself"


@pytest.mark.parametrize("turns", MOMENTS)
def test_who_is_cancelled_while_a_store_is_opened_is_cancelled(store_url: str, turns: int) -> None:
    """In the moment in which the pool has its first connection."""

    async def story() -> None:
        driver = AsyncDriver(settings_of(store_url))
        pool: Any = driver._pool  # which says when it has made one
        connect, made = pool._connect, asyncio.Event()

        async def said() -> Any:
            connection = await connect()
            made.set()
            return connection

        pool._connect = said
        task = asyncio.create_task(driver.open())
        await made.wait()
        await cancelled(task, turns)
        await driver.close()

    asyncio.run(story())


@pytest.mark.parametrize("turns", MOMENTS)
def test_a_reader_that_is_cancelled_when_it_gets_a_connection_is_cancelled(store_url: str, turns: int) -> None:
    """And gives the connection back."""

    async def story() -> None:
        engine = await AsyncPostgresEngine.open(store_url, connections=1)
        pool: LoopPool = engine._driver._pool  # type: ignore[attr-defined]  # whose only connection is taken here
        held = await pool.take()
        task = asyncio.create_task(engine.tip())
        while not pool._waiting:  # noqa: ASYNC110  # of a pool that has no event for it
            await asyncio.sleep(0)
        pool.put(held)
        await cancelled(task, turns)
        assert await engine.tip()
        assert (len(pool._idle), pool._places) == (1, 1)
        await engine.close()

    asyncio.run(story())


@pytest.mark.timeout(60)
@pytest.mark.parametrize("later", [0.0, 0.3, 1.2])
def test_a_program_that_did_not_close_its_store_ends(store_url: str, postgres: Server, later: float) -> None:
    """Also while the pool tries to connect to a server that does not answer."""

    async def story() -> None:
        engine = await opened_by_hand(proxy.url(store_url), blocking=False, connections=2, timeout=1)
        proxy.stall("to_client")
        with pytest.raises(UnavailableError):
            await engine.tip()
        await asyncio.sleep(later)  # the pool may be trying, or resting from it

    with FaultProxy("127.0.0.1", postgres.port) as proxy:
        asyncio.run(story())


MANY = 30


@pytest.fixture(scope="module")
def places() -> Generator[EnginePlaces]:
    with EnginePlaces() as found:
        yield found


@pytest.mark.timeout(60)
@pytest.mark.parametrize("turns", range(5))
@pytest.mark.parametrize("engine", EnginePlaces.available())
def test_a_store_goes_on_when_every_task_of_its_loop_was_cancelled(
    places: EnginePlaces, engine: str, tmp_path: Path, turns: int
) -> None:
    """As programs do that shut down, with a last word to write: the tasks that an engine has made are among them."""
    place = places.fresh(engine, tmp_path)

    async def story() -> None:
        async with await sojourn.aopen(place.url, engine=replace(place.options, timeout=300)) as store:
            talks = store.conversations
            talk = await talks.create("ann")

            def ask(number: int) -> tuple[asyncio.Task[Any], asyncio.Task[Any]]:
                said = talks.append(talk.id, "user", str(number), key=str(number))
                return asyncio.create_task(said), asyncio.create_task(talks.get(talk.id))

            tasks = [task for number in range(MANY) for task in ask(number)]
            for _ in range(turns):
                await asyncio.sleep(0)
            everybody_else_is_cancelled()
            for outcome in await asyncio.gather(*tasks, return_exceptions=True):
                assert not isinstance(outcome, Exception), outcome  # answered or cancelled
            for number in range(MANY):
                await asyncio.gather(*ask(number))
            seen = [message.text for message in await talks.messages(talk.id, last=2 * MANY)]
            assert sorted(seen) == sorted(map(str, range(MANY)))

    asyncio.run(story())


@pytest.mark.timeout(60)
@pytest.mark.parametrize("turns", range(5))
@pytest.mark.parametrize("engine", EnginePlaces.available())
def test_a_program_that_ends_in_the_middle_of_its_commits_ends_at_once(
    places: EnginePlaces, engine: str, tmp_path: Path, turns: int
) -> None:
    """Nobody waits for the answer to what was never sent."""
    place = places.fresh(engine, tmp_path)
    asked: list[asyncio.Task[Any]] = []

    async def story() -> AsyncStore:
        store = await sojourn.aopen(place.url, engine=replace(place.options, timeout=300))
        talk = await store.conversations.create("ann")
        asked.extend(asyncio.create_task(store.conversations.append(talk.id, "user", str(n))) for n in range(MANY))
        asked.extend(asyncio.create_task(store.conversations.get(talk.id)) for _ in range(MANY))
        for _ in range(turns):
            await asyncio.sleep(0)
        return store

    with asyncio.Runner() as runner:
        store = runner.run(story())
        for task in asyncio.all_tasks(runner.get_loop()):  # as its end does
            task.cancel()
        runner.run(ended(asked))
        runner.run(store.close())


async def ended(tasks: list[asyncio.Task[Any]]) -> None:
    """Wait for them, whatever became of them."""
    await asyncio.wait(tasks)


def everybody_else_is_cancelled(*spared: asyncio.Task[Any]) -> None:
    """As programs do that shut down."""
    for task in asyncio.all_tasks() - {asyncio.current_task(), *spared}:
        task.cancel()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("engine", EnginePlaces.available())
def test_who_leaves_a_runner_or_a_hold_that_was_cancelled_is_not_cancelled(
    places: EnginePlaces, engine: str, tmp_path: Path
) -> None:
    """And the lease is given back."""
    place = places.fresh(engine, tmp_path)

    async def story() -> None:
        where = MemoryPlaces()
        async with sojourn.aopen(place.url, engine=place.options) as opened:
            store = AsyncStore(opened._engine, replace(opened._settings, places=lambda: where), owns_engine=False)
            made = await store.workspaces.start("implementer")
            async with store.runner(), store.workspaces.hold(made.id):
                everybody_else_is_cancelled()
                await asyncio.sleep(0)
            found = await store.workspaces.get(made.id)
            assert found is not None
            assert not found.held

    asyncio.run(story())


@pytest.mark.timeout(60)
@pytest.mark.parametrize("engine", EnginePlaces.available())
@pytest.mark.parametrize("turns", range(4))
def test_who_watches_and_was_not_cancelled_goes_on_watching(
    places: EnginePlaces, engine: str, tmp_path: Path, turns: int
) -> None:
    place = places.fresh(engine, tmp_path)

    async def story() -> None:
        async with sojourn.aopen(place.url, engine=replace(place.options, timeout=300)) as store:
            cursor = await store.tip()

            async def watch() -> str:
                while True:
                    with suppress(UnavailableError):  # what it had asked for may be lost with who was asking
                        async for event in store.watch("conversation", after=cursor):
                            return event.id

            watching = asyncio.create_task(watch())
            for _ in range(turns):
                await asyncio.sleep(0)
            everybody_else_is_cancelled(watching)
            for _ in range(turns):
                await asyncio.sleep(0)
            made = await store.conversations.create("ann")
            assert await watching == made.id

    asyncio.run(story())
