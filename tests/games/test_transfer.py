"""Games that are exported and loaded elsewhere go on where they were."""

from __future__ import annotations

from datetime import timedelta

import pytest

import sojourn
from sojourn import CorruptError, InvalidValueError, SojournError
from sojourn.testing.clocks import ManualClock

HERE = "channel"


def test_a_game_goes_on_in_the_store_it_was_loaded_into() -> None:
    clock = ManualClock()
    policy = sojourn.GamePolicy(close_when="all")
    with sojourn.open("memory:", clock=clock) as store:
        game = store.games.boot(HERE, "Game", game_id="mine", policy=policy)
        for user in ("ann", "bob"):
            store.games.join(HERE, user, user.title())
        for user in ("ann", "bob"):
            store.games.submit_choice(HERE, user, user.title(), "first", key=f"first {user}")
        store.games.record_turn(HERE, 1, "Told.")
        store.games.submit_choice(HERE, "ann", "Ann", "second", key="second ann")
        fork = store.games.fork(HERE)
        before, turns = store.games.get(HERE), store.games.history(HERE)
        lines = list(store.export())
    clock.advance(timedelta(seconds=3))
    with sojourn.open("memory:", clock=clock) as store:
        loaded = store.load(lines)
        assert (loaded.sessions, loaded.left_out) == (2, ())
        after = store.games.get(HERE)
        assert before is not None
        assert before.window is not None
        assert after is not None
        assert after.window is not None
        assert (after.players, after.window.deadline, after.window.choices_made) == (
            before.players, before.window.deadline, 1
        )  # fmt: skip
        assert store.games.history(HERE) == turns
        assert store.games.load("mine").id == game.id
        assert [turn.choices for turn in store.games.history(None, game_id=fork.id)] == [turns[0].choices]
        assert store.games.submit_choice(HERE, "ann", "Ann", "second", key="second ann").status == "duplicate"
        assert store.games.submit_choice(HERE, "ann", "Ann", "changed").status == "replaced"
        assert store.games.submit_choice(HERE, "bob", "Bob", "second").status == "accepted"
        assert store.games.history(HERE)[-1].choices == {"ann": "changed", "bob": "second"}
        assert store.load(lines).present == 2


@pytest.mark.parametrize("damage", [("players", 3), ("policy", {"countdown": "soon"}), ("turn", "two"), ("window", {})])
def test_a_document_that_is_none_is_not_loaded(damage: tuple[str, object]) -> None:
    import json

    with sojourn.open("memory:") as store:
        store.games.boot(HERE, "Game")
        lines = [json.loads(line) for line in store.export()]
    next(line for line in lines if line.get("kind") == "game")["data"][damage[0]] = damage[1]
    with sojourn.open("memory:") as store:
        with pytest.raises(SojournError) as caught:
            store.load([json.dumps(line) for line in lines])
        assert isinstance(caught.value, InvalidValueError | CorruptError)
        assert len(store.games.list()) == 0
