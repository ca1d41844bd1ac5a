"""A runner rests until the next deadline, not until the end of its interval."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

import sojourn
from sojourn.shell.sweeper import AsyncRunner


@pytest.mark.parametrize("url", ["memory:", "sqlite:///{path}/runner.db"])
def test_a_window_is_closed_when_it_is_due(url: str, tmp_path: Path) -> None:
    with sojourn.open(url.format(path=tmp_path), games=sojourn.GamePolicy(countdown=timedelta(milliseconds=300))) as store:
        store.games.boot("c", "Game")
        with store.runner(every=timedelta(hours=1)):
            store.games.submit_choice("c", "ann", "Ann", "north")
            for event in store.games.watch("c", timeout=timedelta(seconds=30)):
                if event.change == "closed":
                    break
            else:
                pytest.fail("the window was not closed before the hour of the runner was over")


def test_what_a_pass_has_left_past_its_deadline_is_not_waited_for() -> None:
    from sojourn.shell.bridge import run_sync
    from sojourn.testing.clocks import ManualClock

    clock = ManualClock()
    with sojourn.open("memory:", clock=clock) as store:
        engine = store._aio._engine
        runner = AsyncRunner(engine, "default", (), 500, 60.0)
        assert run_sync(runner._until_due()) == 60.0
        store.games.boot("c", "Game", policy=sojourn.GamePolicy(countdown=timedelta(seconds=7)))
        store.games.submit_choice("c", "ann", "Ann", "north")
        assert run_sync(runner._until_due()) == 7.0
        clock.advance(timedelta(seconds=8))
        assert run_sync(runner._until_due()) == 60.0
