"""Workers that are killed while they play: every acknowledged choice is in exactly one turn, and in the one it was told.

`tests.games.killing` is the program that plays, kills and checks; it is run in a process of its own. A server engine is put
to the same by adding its URL to ``urls``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]


@pytest.fixture(params=["sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of an empty store, by engine."""
    urls = {"sqlite": f"sqlite:///{tmp_path}/kills.db"}
    return urls[request.param]


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
    assert {"deadline", "all", "gm"} <= set(report["closed_by"])
    assert (report["failed"], report["why"]) == (0, {})
    assert report["errors"] == 0, report["sample"]


@pytest.mark.slow
@pytest.mark.parametrize("skew", [0, 5])
def test_no_choice_is_lost_or_counted_twice_by_a_kill(url: str, skew: int) -> None:
    holds(campaign(url, "--kills", 40, "--skew", skew), 40)


@pytest.mark.slow
def test_without_transactions_the_checker_finds_what_is_broken(tmp_path: Path) -> None:
    report = campaign(f"sqlite:///{tmp_path}/torn.db", "--kills", 40, "--broken", "transaction")
    assert report["errors"] > 0


@pytest.mark.slow
def test_without_the_high_water_mark_the_checker_finds_what_is_broken(tmp_path: Path) -> None:
    report = campaign(f"sqlite:///{tmp_path}/back.db", "--kills", 20, "--skew", 0.5, "--broken", "mark")
    assert report["errors"] > 0


@pytest.mark.campaign
@pytest.mark.parametrize("skew", [0, 5])
def test_five_hundred_kills(url: str, skew: int) -> None:
    holds(campaign(url, "--kills", 500, "--skew", skew), 500)


@pytest.mark.campaign
@pytest.mark.parametrize(("broken", "skew"), [("transaction", 0), ("mark", 5)])
def test_the_same_without_a_guard_fails(tmp_path: Path, broken: str, skew: int) -> None:
    report = campaign(f"sqlite:///{tmp_path}/broken.db", "--kills", 100, "--skew", skew, "--broken", broken)
    assert report["errors"] > 0
