"""Where programs of the originals run: a store on each engine, and copies of their own databases."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

import sojourn
from sojourn import AsyncStore, Store
from sojourn.compat import game_session as bot
from sojourn.testing.clocks import ManualClock
from sojourn.testing.engines import EnginePlaces, Place

ENGINES = EnginePlaces.available()

Scene: TypeAlias = Callable[[AsyncStore], Awaitable[None]]
Play: TypeAlias = Callable[[Scene], None]


@pytest.fixture
def clock() -> ManualClock:
    """The time of the stores here, which stands still."""
    return ManualClock()


@pytest.fixture(scope="session")
def places() -> Iterator[EnginePlaces]:
    """Fresh places on every engine, servers included."""
    with EnginePlaces() as found:
        yield found


@pytest.fixture(params=ENGINES)
def place(request: pytest.FixtureRequest, tmp_path: Path, places: EnginePlaces) -> Place:
    """A fresh place on each engine."""
    return places.fresh(request.param, tmp_path)


@pytest.fixture
def store(place: Place, clock: ManualClock) -> Iterator[Store]:
    """A fresh store on each engine."""
    with sojourn.open(place.url, clock=clock, engine=place.options) as opened:
        yield opened


@pytest.fixture
def play(place: Place, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> Play:
    """Runs a scene with a fresh store on each engine, in a process of the bot of its own."""
    monkeypatch.setattr(bot, "_sessions", {})

    def run(scene: Scene) -> None:
        async def whole() -> None:
            async with sojourn.aopen(place.url, clock=clock, engine=place.options) as store:
                await scene(store)

        asyncio.run(whole())

    return run
