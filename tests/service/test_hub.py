"""One reader for all streams: what each is given is what it would have read for itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import timedelta
from typing import Any

import pytest

import sojourn
from sojourn import AsyncStore, Event
from sojourn.engines.contract import EventPage
from sojourn.service import hub as module
from sojourn.service.hub import Hub


async def _take(
    hub: Hub, after: str, count: int, *, kind: str | None = None, session: str | None = None, slow: int = 0
) -> list[Event]:
    """So many events; a slow one lets the others run between two batches."""
    found: list[Event] = []
    async with aclosing(hub.follow(kind, session, after, 5)) as following:
        async for batch in following:
            found += batch
            for _ in range(slow):
                await asyncio.sleep(0)
            if len(found) >= count:
                break
    return found


async def _watched(store: AsyncStore, after: str, count: int, **more: Any) -> list[Event]:
    """The same by the store's own watch."""
    found: list[Event] = []
    watching: AsyncIterator[Event] = store.watch(after=after, **more)
    async for event in watching:
        found.append(event)
        if len(found) == count:
            break
    await watching.aclose()  # type: ignore[attr-defined]
    return found


async def _write(store: AsyncStore, users: int, messages: int) -> list[str]:
    talks = [await store.conversations.create(f"user {number}") for number in range(users)]

    async def say(id: str) -> None:
        for number in range(messages):
            await store.conversations.append(id, "user", str(number))
            await asyncio.sleep(0)

    await asyncio.gather(*(say(talk.id) for talk in talks))
    return [talk.id for talk in talks]


@pytest.mark.parametrize("most", [module.MOST, 3])
@pytest.mark.parametrize("url", ["memory:", "sqlite"])
def test_streams_that_come_at_any_time_see_everything_once(
    url: str, most: int, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST", most)  # 3: every stream falls behind and reads for itself, again and again

    async def scene() -> None:
        place = f"sqlite:///{tmp_path}/app.db" if url == "sqlite" else url
        async with sojourn.aopen(place) as store:
            hub, begin = Hub(store), await store.tip()
            early = [asyncio.create_task(_take(hub, begin, 84, slow=slow)) for slow in (0, 0, 20)]
            writing = asyncio.create_task(_write(store, 4, 20))
            await asyncio.sleep(0.01)
            late = [asyncio.create_task(_take(hub, begin, 84, slow=slow)) for slow in (0, 50)]
            ids = await writing
            wanted = await _watched(store, begin, 84)
            for found in await asyncio.gather(*early, *late):
                assert found == wanted
            half = wanted[40].cursor
            assert await _take(hub, half, 43) == wanted[41:]
            mine = [event for event in wanted if event.id == ids[0]]
            assert [event.sequences for event in await _take(hub, begin, 21, session=ids[0])] == [
                event.sequences for event in mine
            ]
            await hub.close()

    asyncio.run(scene())


def test_a_stream_of_one_kind_goes_on_from_any_of_its_cursors() -> None:
    async def scene() -> None:
        async with sojourn.aopen("memory:") as store:
            hub, begin = Hub(store), await store.tip()
            for number in range(3):
                await _write(store, 1, 5)
                await store.contexts.create(f"work {number}")
                await store.contexts.add(f"work {number}", "note", "n")
            seen = [event async for event in store.watch("context", after=begin, timeout=timedelta(0))]
            assert len(seen) >= 6
            for place, event in enumerate(seen[:-1]):
                rest = await _take(hub, event.cursor, len(seen) - place - 1, kind="context")
                assert [(other.id, other.version) for other in rest] == [
                    (other.id, other.version) for other in seen[place + 1 :]
                ]
            await hub.close()

    asyncio.run(scene())


def test_nobody_is_told_nothing_too_often() -> None:
    async def scene() -> None:
        async with sojourn.aopen("memory:") as store:
            hub = Hub(store)
            async with aclosing(hub.follow("game", None, await store.tip(), 0.05)) as following:
                assert await anext(following) == []
                await _write(store, 2, 10)
                assert await anext(following) == []
            await hub.close()

    asyncio.run(scene())


def test_it_reads_only_while_somebody_follows() -> None:
    async def scene() -> None:
        async with sojourn.aopen("memory:") as store:
            hub, begin = Hub(store), await store.tip()
            await _write(store, 1, 2)
            assert len(await _take(hub, begin, 3)) == 3
            reading = hub._reading
            assert reading is not None
            await asyncio.wait_for(reading, 10)
            assert hub._reading is None
            assert len(await _take(hub, begin, 3)) == 3
            await hub.close()

    asyncio.run(scene())


def test_a_store_that_is_closed_ends_the_streams() -> None:
    async def scene() -> None:
        async with sojourn.aopen("memory:") as store:
            hub = Hub(store)
            taking = asyncio.create_task(_take(hub, await store.tip(), 1))
            while hub._reading is None:  # noqa: ASYNC110  # it joins
                await asyncio.sleep(0)
            await store.close()
            assert await asyncio.wait_for(taking, 10) == []

    asyncio.run(scene())


def test_an_engine_that_is_away_ends_the_streams_and_they_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object, **__: object) -> None:
        raise sojourn.UnavailableError("it is away.")

    async def scene() -> None:
        async with sojourn.aopen("memory:") as store:
            hub, begin = Hub(store), await store.tip()
            with monkeypatch.context() as patch:
                patch.setattr(store._unit.engine, "changed", away)
                assert await asyncio.wait_for(_take(hub, begin, 1), 10) == []
            await _write(store, 1, 2)
            assert len(await _take(hub, begin, 3)) == 3
            await hub.close()

    asyncio.run(scene())


def test_a_gap_is_told() -> None:
    async def scene() -> None:
        async with sojourn.aopen("memory:") as store:
            hub, begin = Hub(store), await store.tip()
            await _write(store, 1, 3)
            page = EventPage([], (3,), gap=True)
            real = store._unit.engine.events

            async def gone(tenant: str, after: tuple[int, ...], limit: int, **more: Any) -> Any:
                return page if after == (0,) else await real(tenant, after, limit, **more)

            store._unit.engine.events = gone  # type: ignore[method-assign]
            found = await _take(hub, begin, 2)
            assert [event.change for event in found] == ["gap", "appended"]
            await hub.close()

    asyncio.run(scene())
