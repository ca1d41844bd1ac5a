"""Any sequence of operations, under a clock that jumps both ways: every promise holds after each step."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from sojourn import ConflictError, EndedError, FullError, GamePolicy, LeaseHeldError, NotFoundError
from sojourn.shell.bridge import run_sync
from sojourn.store import AsyncStore, make_async_store
from sojourn.testing.clocks import ManualClock
from tests.games.checking import TAKEN, Ledger, check

CHANNELS = ("here", "there")
PEOPLE = ("ann", "bob", "cem", "dan")
REFUSED = (ConflictError, EndedError, FullError, LeaseHeldError, NotFoundError)

channels = st.sampled_from(CHANNELS)
people = st.sampled_from(PEOPLE)
acts = st.sampled_from(["open", "close", "pause", "unpause", "extend", "exit", "shelve", "swap", "sweep"])
policies = st.builds(
    GamePolicy,
    close_when=st.sampled_from(["deadline", "all"]),
    change=st.sampled_from(["last_wins", "first_locks"]),
    late=st.sampled_from(["next", "reject"]),
    open_on=st.sampled_from(["first_choice", "turn_start", "manual"]),
    on_timeout=st.sampled_from(["skip", "repeat"]),
    grace=st.sampled_from([timedelta(0), timedelta(seconds=3)]),
    max_players=st.sampled_from([2, 3, 200]),
)


class Evenings(RuleBasedStateMachine):
    """Two channels, four people, two stores that know different things."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        made = run_sync(make_async_store("memory:", blocking=True, clock=self.clock))
        self.stores = [made, AsyncStore(made._engine, made._settings, owns_engine=False)]
        self.ledger = Ledger()
        self.games: list[str] = []
        self.keys = 0
        self._where: dict[str, str] = {}
        self.chosen: dict[tuple[str, int], dict[str, str]] = {}
        """By game and turn what was taken from whom, newest."""

    def teardown(self) -> None:
        run_sync(self.stores[0].close())

    def attempt(self, make: Any) -> Any:
        """What an operation gives; None when a rule refuses it."""
        try:
            return run_sync(make())
        except REFUSED:
            return None

    @initialize(policy=policies)
    def begin(self, policy: GamePolicy) -> None:
        self.boot("here", policy)

    @rule(channel=channels, policy=policies)
    def boot(self, channel: str, policy: GamePolicy) -> None:
        game = self.attempt(lambda: self.stores[0].games.boot(channel, f"Game {len(self.games)}", policy=policy))
        if game is not None:
            self.games.append(game.id)

    @rule(store=st.sampled_from([0, 1]), channel=channels, user=people, twice=st.booleans())
    def press(self, store: int, channel: str, user: str, twice: bool) -> None:
        self.keys += 1
        self._press(store, channel, user, f"k{self.keys}", f"choice {self.keys}")
        if twice:
            self._press(1 - store, channel, user, f"k{self.keys}", f"choice {self.keys}")

    @rule(store=st.sampled_from([0, 1]), channel=channels, back=st.integers(0, 5))
    def press_again(self, store: int, channel: str, back: int) -> None:
        """Somebody sends again what they sent before, perhaps to a channel that shows another game by now."""
        key = f"k{self.keys - back}"
        if key in self.ledger.who:
            user, choice = self.ledger.who[key]
            if any(answer.status in TAKEN for answer in self.ledger.answers[key]) and channel == self._where.get(key):
                self._press(store, channel, user, key, choice)

    def _press(self, store: int, channel: str, user: str, key: str, choice: str) -> None:
        games = self.stores[store].games
        answer = self.attempt(lambda: games.submit_choice(channel, user, user.title(), choice, key=key))
        if answer is None:
            return
        self.ledger.note(key, user, choice, answer)
        self._where[key] = channel
        if answer.status in TAKEN:
            game = run_sync(games.get(channel))
            if game is not None:
                self.chosen.setdefault((game.id, answer.turn), {})[user] = choice

    @rule(channel=channels, user=people, act=st.sampled_from(["join", "leave", "kick", "crown"]))
    def people_move(self, channel: str, user: str, act: str) -> None:
        games = self.stores[1].games
        self.attempt(
            {
                "join": lambda: games.join(channel, user, user.title()),
                "leave": lambda: games.leave(channel, user),
                "kick": lambda: games.kick(channel, user),
                "crown": lambda: games.set_crown(channel, user),
            }[act]
        )

    @rule(
        channel=channels,
        act=st.sampled_from(["open", "close", "pause", "unpause", "extend", "exit", "shelve", "swap", "sweep"]),
    )
    def the_house_acts(self, channel: str, act: str) -> None:
        games = self.stores[1].games
        made = self.attempt(
            {
                "open": lambda: games.open_window(channel),
                "close": lambda: games.close(channel),
                "pause": lambda: games.pause(channel),
                "unpause": lambda: games.unpause(channel),
                "extend": lambda: games.extend(channel, timedelta(seconds=5)),
                "exit": lambda: games.exit(channel),
                "shelve": lambda: games.shelve(channel),
                "swap": lambda: games.swap(channel, f"Game {len(self.games)}"),
                "sweep": lambda: self.stores[0].sweep(),
            }[act]
        )
        if act == "swap" and made is not None:
            self.games.append(made.game.id)

    @rule(channel=channels, number=st.integers(0, 20), resume=st.booleans())
    def bring_back(self, channel: str, number: int, resume: bool) -> None:
        games, id = self.stores[0].games, self.games[number % len(self.games)]
        self.attempt(lambda: games.resume(id, channel) if resume else games.swap(channel, game_id=id))

    @rule(channel=channels, told=st.booleans())
    def narrate(self, channel: str, told: bool) -> None:
        games = self.stores[0].games
        claim = self.attempt(lambda: games.narrate(channel))
        if claim is not None and told:
            turn = run_sync(games.record_turn(channel, claim.turn.number, "Told.", token=claim.token))
            assert turn.state == "resolved"

    @rule(seconds=st.sampled_from([1, 5, 9, 10, 11, 60, 7200, -5, -3600]))
    def time_jumps(self, seconds: int) -> None:
        self.clock.advance(timedelta(seconds=seconds))

    @invariant()
    def every_promise_holds(self) -> None:
        run_sync(check(self.stores[0], self.ledger, channels=CHANNELS))

    @invariant()
    def turns_have_what_was_taken(self) -> None:
        for id in self.games:
            turns = run_sync(self.stores[0].games.history(None, count=50, game_id=id))
            for turn in turns:
                taken = self.chosen.get((id, turn.number), {})
                pressed = {user: text for user, text in turn.choices.items() if user not in turn.filled}
                assert {user: pressed.get(user) for user in taken if user in pressed} == pressed
            game = run_sync(self.stores[0].games.load(id))
            assert game.crown_holder is None or game.crown_holder in game.players
            seats = [player.seat for player in game.players.values() if player.role == "player"]
            assert len(set(seats)) == len(seats)


Evenings.TestCase.settings = settings(
    max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestEvenings = Evenings.TestCase
