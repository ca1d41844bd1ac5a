"""The house narrator: a game goes on by itself while somebody looks at it, whoever tells it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

import sojourn
from sojourn import AsyncStore
from sojourn.errors import UnavailableError
from sojourn.service.house import STORY_POLICY, House, Scene
from sojourn.story import GREY_POINT, Moment, Told
from sojourn.testing.clocks import ManualClock


def play(scene: Callable[[AsyncStore, ManualClock, str], Awaitable[None]]) -> None:
    """A booted story with one player, in a fresh store."""

    async def whole() -> None:
        clock = ManualClock()
        async with sojourn.aopen("memory:", clock=clock) as store:
            game = await store.games.boot("table", "Grey", policy=STORY_POLICY)
            await store.games.join("table", "ann", "Ann")
            await scene(store, clock, game.id)

    asyncio.run(whole())


async def _settled(house: House, store: AsyncStore, id: str) -> Scene:
    """Look until nothing is being told."""
    scene = await house.look(store, id)
    while house._working:
        await asyncio.gather(*house._working.values())
        scene = await house.look(store, id)
    return scene


def test_a_turn_from_its_opening_to_its_narration() -> None:
    async def scene(store: AsyncStore, _: ManualClock, id: str) -> None:
        house = House()
        shown = await _settled(house, store, id)
        assert shown.told.startswith(GREY_POINT.start.name)
        assert shown.need == "choices"
        assert shown.game.window is not None
        options = shown.game.window.options or ()
        assert options == tuple(GREY_POINT.start.ways)
        await store.games.submit_choice("table", "ann", "Ann", options[0])
        shown = await _settled(house, store, id)
        assert shown.last is not None
        assert (shown.last.number, shown.last.state, shown.need) == (1, "resolved", "choices")
        assert shown.told.startswith(GREY_POINT.start.ways[options[0]])

    play(scene)


def test_many_houses_tell_a_turn_once() -> None:
    async def scene(store: AsyncStore, _: ManualClock, id: str) -> None:
        told: list[int] = []

        def narrator(moment: Moment) -> Told:
            told.append(moment.turn)
            return Told(f"turn {moment.turn}", ("on",))

        houses = [House(narrator) for _ in range(5)]
        await asyncio.gather(*(_settled(house, store, id) for house in houses))
        await store.games.submit_choice("table", "ann", "Ann", "on")
        await asyncio.gather(*(_settled(house, store, id) for house in houses))
        turns = await store.games.history("table")
        assert [(turn.number, turn.narrative_summary) for turn in turns] == [(1, "turn 1")]
        assert told.count(1) <= len(houses)
        game = await store.games.load(id)
        assert game.window is not None
        assert game.window.turn == 2

    play(scene)


def test_nobody_chose_and_it_waits_for_somebody() -> None:
    async def scene(store: AsyncStore, clock: ManualClock, id: str) -> None:
        house = House()
        await _settled(house, store, id)
        clock.advance(timedelta(minutes=1))
        await store.sweep()
        shown = await _settled(house, store, id)
        assert shown.need == "players"
        assert shown.game.window is None
        await house.look(store, id, awake=True)
        assert (await _settled(house, store, id)).need == "choices"

    play(scene)


@pytest.mark.parametrize("kind", ["coroutine", "function"])
def test_a_narrator_that_takes_its_time_holds_nobody_up(kind: str) -> None:
    async def scene(store: AsyncStore, _: ManualClock, id: str) -> None:
        may, gate = asyncio.Event(), threading.Event()

        async def slowly(moment: Moment) -> Told:
            await may.wait()
            return Told(f"turn {moment.turn}", ("on",))

        def blocking(moment: Moment) -> Told:
            gate.wait(20)
            return Told(f"turn {moment.turn}", ("on",))

        house = House(slowly if kind == "coroutine" else blocking)
        shown = await house.look(store, id)
        assert (shown.told, shown.game.window) == ("", None)
        shown = await house.look(store, id)
        assert len(house._working) == 1
        may.set()
        gate.set()
        shown = await _settled(house, store, id)
        assert shown.told == "turn 0"
        assert shown.game.window is not None

    play(scene)


def test_a_narrator_that_fails_is_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    async def scene(store: AsyncStore, _: ManualClock, id: str) -> None:
        failures = iter([RuntimeError("the model is away"), None])

        def narrator(moment: Moment) -> Any:
            failure = next(failures, None)
            if failure is not None:
                raise failure
            return Told(f"turn {moment.turn}", ("on",))

        house = House(narrator)
        await house.look(store, id)
        await asyncio.gather(*house._working.values())
        assert "the model is away" in caplog.text
        assert (await _settled(house, store, id)).told == "turn 0"

    play(scene)


def test_a_narrator_that_gives_something_else_is_told_so(caplog: pytest.LogCaptureFixture) -> None:
    async def scene(store: AsyncStore, _: ManualClock, id: str) -> None:
        house = House(lambda moment: "once upon a time")  # type: ignore[arg-type]
        await house.look(store, id)
        await asyncio.gather(*house._working.values())
        assert "a narrator gives a Told, not str" in caplog.text

    play(scene)


def test_a_house_that_closes_leaves_the_turn_to_others() -> None:
    async def scene(store: AsyncStore, clock: ManualClock, id: str) -> None:
        begun = asyncio.Event()

        async def never(moment: Moment) -> Told:
            if moment.turn == 0:
                return Told("begin", ("on",))
            begun.set()
            await asyncio.Event().wait()
            raise AssertionError

        house = House(never)
        await _settled(house, store, id)
        await store.games.submit_choice("table", "ann", "Ann", "on")
        await house.look(store, id)
        await begun.wait()
        await house.close()
        assert not house._working
        clock.advance(timedelta(minutes=30))  # its claim runs out
        shown = await _settled(House(), store, id)
        assert shown.last is not None
        assert shown.last.state == "resolved"

    play(scene)


def test_a_game_that_stands_still_or_is_gone() -> None:
    async def scene(store: AsyncStore, _: ManualClock, id: str) -> None:
        house = House()
        await _settled(house, store, id)
        await store.games.pause("table")
        assert (await _settled(house, store, id)).need == "nothing"
        await store.games.delete(id)
        with pytest.raises(sojourn.NotFoundError):
            await house.look(store, id)

    play(scene)


def test_a_store_that_is_away_while_it_tells_is_logged_and_asked_again(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(store: AsyncStore, _: ManualClock, id: str) -> None:
        async def away(*_: object, **__: object) -> None:
            raise UnavailableError("it is away.")

        house = House()
        with monkeypatch.context() as patch:
            patch.setattr(store.games, "open_window", away)
            await house.look(store, id)
            assert "it is away" in caplog.text
        assert (await _settled(house, store, id)).need == "choices"

    play(scene)
