"""Where programs of the originals run: a blocking store on each engine, and copies of their own databases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import sojourn
from sojourn import Store
from sojourn.testing.clocks import ManualClock

ENGINES = ("memory", "sqlite")


@pytest.fixture
def clock() -> ManualClock:
    """The time of the stores here, which stands still."""
    return ManualClock()


@pytest.fixture(params=ENGINES)
def store(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> Iterator[Store]:
    """A fresh store on each engine."""
    url = "memory:" if request.param == "memory" else f"sqlite:///{tmp_path}/store.db"
    with sojourn.open(url, clock=clock) as opened:
        yield opened
