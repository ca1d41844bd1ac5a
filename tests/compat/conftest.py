"""Where programs of the originals run: a blocking store on each engine, and copies of their own databases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import sojourn
from sojourn import Store
from sojourn.testing.clocks import ManualClock
from sojourn.testing.engines import EnginePlaces, Place

ENGINES = EnginePlaces.available()


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
