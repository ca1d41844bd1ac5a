"""Workers that are killed while they play: every acknowledged choice is in exactly one turn, and in the one it was told.

`tests.games.killing` is the program that plays, kills and checks; it is run in a process of its own. Another server engine is
put to the same by adding it to ``SERVERS``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from sojourn.testing.servers import ServerMissingError, postgres_server, redis_server

pytestmark = pytest.mark.slow

ROOT: Final = Path(__file__).resolve().parents[2]


SERVERS: Final = {"postgres": postgres_server, "redis": redis_server}


@dataclass(frozen=True)
class Place:
    """An empty store of an engine, and how often one may kill there: a worker needs longer to connect to a server."""

    url: str
    between: tuple[float, float] = (0.060, 0.150)


@pytest.fixture(params=["sqlite", *SERVERS])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """By engine."""
    if request.param == "sqlite":
        yield Place(f"sqlite:///{tmp_path}/kills.db")
        return
    with ExitStack() as running:
        try:
            server = running.enter_context(SERVERS[request.param]())
        except ServerMissingError as missing:
            pytest.skip(str(missing))
        yield Place(server.url, (0.25, 0.6))


def campaign(url: str, *more: object) -> dict[str, Any]:
    """One run; its report."""
    words = [sys.executable, "-m", "tests.games.killing", url, *map(str, more)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    print(json.dumps(report, indent=2))  # noqa: T201  # what a campaign has done is to be read
    return report


def holds(report: dict[str, Any], kills: int) -> None:
    """It did kill, and the game went on, and nothing is wrong."""
    assert report["kills"] >= kills
    assert report["turns"] > kills
    assert report["acknowledged"] > report["turns"]
    assert report["answers"]["duplicate"] > 0
    assert {"deadline", "gm"} <= set(report["closed_by"])
    assert (report["failed"], report["why"]) == (0, {})
    assert report["errors"] == 0, report["sample"]


@pytest.mark.slow
def test_no_choice_is_lost_or_counted_twice_by_a_kill(place: Place) -> None:
    report = campaign(place.url, "--kills", 25, "--between", *place.between)
    holds(report, 25)


@pytest.mark.slow
def test_nor_where_every_clock_is_wrong(tmp_path: Path) -> None:
    report = campaign(f"sqlite:///{tmp_path}/skewed.db", "--kills", 40, "--skew", 5)
    holds(report, 40)


@pytest.mark.slow
def test_without_transactions_the_checker_finds_what_is_broken(tmp_path: Path) -> None:
    report = campaign(f"sqlite:///{tmp_path}/torn.db", "--kills", 40, "--broken", "transaction")
    assert report["errors"] > 0


@pytest.mark.slow
def test_without_the_high_water_mark_the_checker_finds_what_is_broken(tmp_path: Path) -> None:
    report = campaign(f"sqlite:///{tmp_path}/back.db", "--kills", 20, "--skew", 0.5, "--broken", "mark")
    assert report["errors"] > 0


@pytest.mark.campaign
def test_five_hundred_kills(place: Place) -> None:
    holds(campaign(place.url, "--kills", 500, "--between", *place.between), 500)


@pytest.mark.campaign
def test_five_hundred_kills_where_every_clock_is_wrong(tmp_path: Path) -> None:
    holds(campaign(f"sqlite:///{tmp_path}/skewed.db", "--kills", 500, "--skew", 5), 500)


@pytest.mark.campaign
@pytest.mark.parametrize(("broken", "skew"), [("transaction", 0), ("mark", 5)])
def test_the_same_without_a_guard_fails(tmp_path: Path, broken: str, skew: int) -> None:
    report = campaign(f"sqlite:///{tmp_path}/broken.db", "--kills", 100, "--skew", skew, "--broken", broken)
    assert report["errors"] > 0
