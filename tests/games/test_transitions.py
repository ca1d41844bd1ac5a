"""The table of transitions: what the rules do is in it, and the diagram of the docs is drawn from it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

import sojourn
from sojourn import ConflictError, EndedError, GamePolicy
from sojourn.kinds.games.record import place_of
from sojourn.kinds.games.transitions import TRANSITIONS, diagram, step
from sojourn.shell.bridge import run_sync
from sojourn.testing.clocks import ManualClock

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "how-a-turn-closes.md"
HERE = "channel"


def test_the_diagram_of_the_docs_is_the_table() -> None:
    assert f"```mermaid\n{diagram()}\n```" in PAGE.read_text(encoding="utf-8")


def test_each_row_is_there_once() -> None:
    assert len({(row.before, row.act) for row in TRANSITIONS}) == len(TRANSITIONS)


ROADS = {
    "between": [],
    "open": ["press"],
    "held": ["press", "pause"],
    "paused": ["pause"],
    "shelved": ["press", "shelve"],
    "ended": ["press", "exit"],
}

ACTS = {
    "press": lambda g, id: g.submit_choice(None, "ann", "Ann", "x", game_id=id),
    "open": lambda g, id: g.open_window(None, options=["x"], game_id=id),
    "extend": lambda g, id: g.extend(None, timedelta(seconds=1), game_id=id),
    "close": lambda g, id: g.close(None, game_id=id),
    "pause": lambda g, id: g.pause(None, game_id=id),
    "unpause": lambda g, id: g.unpause(None, game_id=id),
    "shelve": lambda g, id: g.shelve(HERE),
    "exit": lambda g, id: g.exit(HERE),
    "show": lambda g, id: g.resume(id),
    "rewind": lambda g, id: g.rewind(None, 0, game_id=id),
}


def placed(store: sojourn.Store, id: str) -> str:
    unit = store._aio._unit
    session = run_sync(unit.engine.load(unit.tenant, id)).session
    assert session is not None
    return place_of(session)


@pytest.mark.parametrize("before", ROADS)
@pytest.mark.parametrize("act", ACTS)
def test_what_is_done_is_in_the_table_and_nothing_else(before: str, act: str) -> None:
    """Every act in every place: where the table has a row it leads where the row says, and elsewhere nothing moves."""
    with sojourn.open("memory:", clock=ManualClock(), games=GamePolicy()) as store:
        id = store.games.boot(HERE, "Game").id
        for way in ROADS[before]:
            ACTS[way](store.games, id)
        assert placed(store, id) == before
        begin = store.tip()
        row = next((row for row in TRANSITIONS if (row.before, row.act) == (before, act)), None)
        refused = None
        try:
            ACTS[act](store.games, id)
        except (sojourn.SojournError, LookupError) as error:
            refused = error
        changes = [event.change for event in store.watch(after=begin, timeout=timedelta(0))]
        if row is None or (before, act) in UNREACHED:
            assert placed(store, id) == before
            assert not changes or act in IDEMPOTENT
        else:
            assert refused is None
            assert placed(store, id) in row.after
            assert row.change in changes


UNREACHED = {("held", "press")}
"""A held window that a press wakes comes with an import only."""

IDEMPOTENT = {"show", "pause", "unpause"}


def test_what_is_not_in_the_table_says_why() -> None:
    with pytest.raises(ConflictError, match="no window is open"):
        step("between", "close")
    with pytest.raises(EndedError, match="resume"):
        step("ended", "press")
