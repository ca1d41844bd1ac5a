"""Every guard is needed: with it taken out, a race that it wins is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sojourn.testing.simulation import GUARDS, RaceLostError

if TYPE_CHECKING:
    from tests.simulation.conftest import Race


def test_without_its_guard_a_race_is_lost(race: Race, guard: str) -> None:
    with pytest.raises(RaceLostError) as caught:
        race.run(without=guard)
    assert caught.value.steps


def test_every_guard_wins_a_race(races: dict[str, Race]) -> None:
    assert {guard for race in races.values() for guard in race.guards} == set(GUARDS)
