"""Fixtures for tests of programs that use Sojourn: a store in memory and a clock that is moved by hand.

For example::

    def test_a_day_later(sojourn_store, sojourn_clock):
        talk = sojourn_store.conversations.get_or_create("alice")
        sojourn_clock.advance(timedelta(days=2))
        assert sojourn_store.conversations.get_or_create("alice").id != talk.id
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from sojourn.sync.store import Store
    from sojourn.testing.clocks import ManualClock


@pytest.fixture
def sojourn_clock() -> ManualClock:
    """A clock that stands still until it is moved: ``advance(timedelta)``, ``set(datetime)``."""
    from sojourn.testing.clocks import ManualClock

    return ManualClock()


@pytest.fixture
def sojourn_store(sojourn_clock: ManualClock) -> Iterator[Store]:
    """An empty store in memory under `sojourn_clock`, for blocking code."""
    from sojourn.sync.opening import open as open_store

    with open_store("memory:", clock=sojourn_clock) as store:
        yield store
