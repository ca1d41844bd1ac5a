"""Every race that is claimed to be won is won, in every order that its seeds find and with a crash after every step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from tests.simulation.conftest import Race


def test_every_race_is_won(race: Race) -> None:
    race.run()


@pytest.mark.campaign
def test_every_race_is_won_in_very_many_orders(race: Race) -> None:
    race.run(race.seeds * 50)
