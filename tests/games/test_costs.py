"""What operations cost, in round trips: counted, not timed."""

from __future__ import annotations

from collections import Counter
from typing import Any

import sojourn
from sojourn import GamePolicy
from sojourn.shell.bridge import run_sync
from sojourn.store import AsyncStore, make_async_store
from tests.games.conftest import HERE


class Counted:
    """An engine that counts its verbs, and what a commit sends and gives back."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self.verbs: Counter[str] = Counter()
        self.batches: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._engine, name)
        if not callable(value):
            return value

        def call(*args: Any, **named: Any) -> Any:
            self.verbs[name] += 1
            if name == "commit":
                self.batches.append(args[0])
            return value(*args, **named)

        return call

    def taken(self) -> dict[str, int]:
        """The verbs since the last look."""
        found = dict(self.verbs)
        self.verbs.clear()
        return found


def counted(url: str = "memory:", **options: Any) -> tuple[sojourn.Store, Counted]:
    """A blocking store on a counting engine."""
    made = run_sync(make_async_store(url, blocking=True, **options))
    engine = Counted(made._engine)
    return sojourn.Store(AsyncStore(engine, made._settings)), engine


def seated(count: int = 3, **policy: Any) -> tuple[sojourn.Store, Counted]:
    store, engine = counted(games=GamePolicy(**policy))
    store.games.boot(HERE, "Game")
    for number in range(count):
        store.games.join(HERE, number, f"Player {number}")
    engine.taken()
    return store, engine


def test_a_press_takes_one_round_trip_to_a_known_game_and_two_otherwise() -> None:
    store, engine = seated()
    trips = []
    for number in (0, 1, 2):
        store.games.submit_choice(HERE, number, f"Player {number}", "north", key=f"k{number}")
        trips.append(engine.taken())
    assert trips == [{"follow": 1, "commit": 1}, {"commit": 1}, {"commit": 1}]
    store.games.submit_choice(HERE, 1, "Player 1", "south")
    assert engine.taken() == {"commit": 1}
    store.games.submit_choice(HERE, "new", "Somebody new", "south")
    assert engine.taken() == {"commit": 1}
    store.close()


def test_the_press_that_completes_a_window_reads_its_choices_and_closes_it() -> None:
    store, engine = seated(2, close_when="all")
    store.games.submit_choice(HERE, 0, "Player 0", "north")
    engine.taken()
    store.games.submit_choice(HERE, 1, "Player 1", "north")
    assert engine.taken() == {"commit": 2, "load": 1}
    for number in (0, 1):  # the next turn begins from what the close has left
        store.games.submit_choice(HERE, number, f"Player {number}", "on")
        assert engine.taken() == ({"commit": 1} if number == 0 else {"commit": 2, "load": 1})
    store.close()


def test_a_press_carries_little() -> None:
    """What a press sends does not grow with the roster or the history: it touches no document."""
    sizes = []
    for count in (2, 150):
        store, engine = seated(count)
        for number in (0, 1):
            store.games.submit_choice(HERE, number, f"Player {number}", "north")
        write = engine.batches[-1].changes[0]
        assert (write.set, write.unset, write.tag, write.untag) == ((), (), (), ())
        assert write.guard.version is None
        sizes.append(len(repr(write)))
        store.close()
    assert abs(sizes[0] - sizes[1]) < 16


def test_a_claim_and_a_narration_are_one_commit_each() -> None:
    store, engine = seated()
    store.games.submit_choice(HERE, 0, "Player 0", "north")
    store.games.close(HERE)
    engine.taken()
    claim = store.games.narrate(HERE)
    assert engine.taken()["commit"] == 1
    store.games.record_turn(HERE, 1, "Told.", token=claim.token)
    assert engine.taken()["commit"] == 1
    store.close()


def test_a_swap_at_home_is_one_commit() -> None:
    store, engine = seated()
    store.games.submit_choice(HERE, 0, "Player 0", "north")
    engine.taken()
    swapped = store.games.swap(HERE, "Two")
    assert engine.taken()["commit"] == 1
    assert swapped.shelved is not None
    store.games.swap(HERE, game_id=swapped.shelved.id)
    assert engine.taken()["commit"] == 1
    store.games.exit(HERE)
    assert engine.taken()["commit"] == 1
    store.close()


def test_a_page_of_the_lobby_is_one_read_however_many_games_there_are() -> None:
    store, engine = counted()
    for number in range(300):
        store.games.boot(f"c{number}", f"Game {number}")
    engine.taken()
    questions: tuple[dict[str, Any], ...] = ({}, {"channel_id": "c7"}, {"state": "active"}, {"name": "game 9"})
    for wanted in questions:
        store.games.list(limit=50, **wanted)
        assert engine.taken() == {"list": 1, "now": 1}
    store.close()


def test_nothing_is_kept_for_idle_games() -> None:
    """No entry, task or timer for a game that nobody presses in; and never more than a few hundred for those they do."""
    store, engine = counted()
    for number in range(600):
        store.games.boot(f"c{number}", f"Game {number}")
    play = store._aio.games._play
    assert len(play._known) == 0
    for number in range(600):
        store.games.submit_choice(f"c{number}", "ann", "Ann", "north")
    assert len(play._known) <= 256
    engine.taken()
    swept = store.sweep()
    assert swept["closed"] == 0
    assert sum(engine.taken().values()) <= 8
    store.close()
