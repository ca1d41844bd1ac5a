"""Tests of games work in the laboratory of the conversations (memory and SQLite, both colours), with short ways to play."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pytest

from sojourn import AsyncGames, AsyncStore, Game, GamePolicy, Submitted
from sojourn.core.session import Session

NAME = "tests.conversations.conftest"
HERE: Final = "channel-7"
ALL: Final = GamePolicy(close_when="all")
SECOND: Final = timedelta(seconds=1)


def _laboratory() -> ModuleType:
    """The module, whichever of its users is loaded first."""
    if NAME not in sys.modules:
        spec = importlib.util.spec_from_file_location(NAME, Path(__file__).parent.parent / "conversations" / "conftest.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[NAME] = module
        spec.loader.exec_module(module)
    return sys.modules[NAME]


_module = _laboratory()
lab, disk_lab, memory_lab = _module.lab, _module.disk_lab, _module.memory_lab
engine_places = _module.engine_places
pytest_pyfunc_call = _module.pytest_pyfunc_call
pytest_generate_tests = _module.pytest_generate_tests


class Table:
    """A channel with people at it."""

    def __init__(self, lab: Any) -> None:
        self.lab = lab

    @property
    def store(self) -> AsyncStore:
        """The laboratory's store."""
        store: AsyncStore = self.lab.store
        return store

    @property
    def games(self) -> AsyncGames:
        """Its games."""
        return self.store.games

    async def boot(self, *people: str, channel: str = HERE, name: str = "The Sunken Library", **policy: Any) -> Game:
        """A game with these people in it."""
        await self.games.boot(channel, name, policy=GamePolicy(**policy))
        for person in people:
            await self.games.join(channel, person, person.title())
        game = await self.games.get(channel)
        assert game is not None
        return game

    async def press(self, person: str, choice: str = "north", *, channel: str | None = HERE, **more: Any) -> Submitted:
        """A press of somebody."""
        return await self.games.submit_choice(channel, person, person.title(), choice, **more)

    async def play(self, *people: str, channel: str = HERE, choice: str = "north") -> int:
        """A whole turn: these press, the window is closed by hand; its number."""
        for person in people:
            await self.press(person, choice, channel=channel)
        return (await self.games.close(channel)).number

    def later(self, **duration: float) -> None:
        """Move the clock."""
        self.lab.later(**duration)

    async def row(self, game: str) -> Session:
        """A game as it is stored."""
        aio = getattr(self.store, "_inner", self.store)
        aio = getattr(aio, "_aio", aio)
        unit = aio._unit
        session: Session | None = (await unit.engine.load(unit.tenant, game)).session
        assert session is not None
        return session


@pytest.fixture
def table(lab: Any) -> Callable[[], Table]:
    """Makes the table of a laboratory."""
    return lambda: Table(lab)
