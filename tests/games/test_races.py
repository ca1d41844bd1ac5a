"""Races of games, thousands of interleavings each; and the same lost when a guard is taken out."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest

import sojourn
from sojourn import (
    AsyncGames,
    AsyncStore,
    ConflictError,
    EndedError,
    Game,
    GamePolicy,
    LeaseHeldError,
    NotFoundError,
    SojournError,
    Submitted,
    Swapped,
    Turn,
)
from sojourn.kinds.games.reader import Reader
from sojourn.kinds.games.record import View
from sojourn.testing.simulation import Operation, RaceLostError, Simulation, explore
from tests.games.checking import Ledger, check, every_window_can_close, shown

pytestmark = pytest.mark.slow

HERE = "here"
SEEDS = 400
MANY = pytest.mark.parametrize("seeds", [SEEDS, pytest.param(range(SEEDS, 6000), marks=pytest.mark.campaign, id="campaign")])


def pressing(
    games: AsyncGames, ledger: Ledger, user: str, choice: str = "north", key: str | None = None, **more: Any
) -> Operation[Submitted]:
    """An operation that presses and notes the answer."""
    key = key or f"{user}/{choice}"

    async def press() -> Submitted:
        answer = await games.submit_choice(HERE, user, user.title(), choice, key=key, **more)
        return ledger.note(key, user, choice, answer)

    return press


async def seated(
    simulation: Simulation, *people: str, warm: bool = True, **policy: Any
) -> tuple[AsyncStore, dict[str, AsyncStore]]:
    """A store for each of the people, with a game they sit in."""
    first = simulation.store(games=GamePolicy(**policy))
    await first.games.boot(HERE, "Race")
    stores = {}
    for person in people:
        stores[person] = simulation.store()
        await stores[person].games.join(HERE, person, person.title())
    return first, stores


async def the_last_two_press_at_once(simulation: Simulation) -> None:
    first, stores = await seated(simulation, "ann", "bob", "cem", close_when="all", countdown=None)
    ledger = Ledger()
    await pressing(stores["cem"].games, ledger, "cem")()
    presses = await simulation.race(*(pressing(stores[who].games, ledger, who) for who in ("ann", "bob")))
    assert [outcome.result().status for outcome in presses] == ["accepted", "accepted"]
    (turn,) = await first.games.history(HERE)
    assert set(turn.choices) == {"ann", "bob", "cem"}
    assert turn.reason == "all"
    await check(first, ledger, channels=(HERE,))


@MANY
def test_the_last_two_press_at_once_and_the_turn_always_closes(seeds: int | Iterable[int]) -> None:
    explore(the_last_two_press_at_once, seeds=seeds)


async def everybody_opens_the_window(simulation: Simulation) -> None:
    first, stores = await seated(simulation, "ann", "bob", "cem")
    ledger = Ledger()
    presses = await simulation.race(*(pressing(store.games, ledger, who) for who, store in stores.items()))
    answers = [outcome.result() for outcome in presses]
    assert sum(answer.first for answer in answers) == 1
    assert {answer.turn for answer in answers} == {1}
    game = await first.games.get(HERE)
    assert game is not None
    assert game.window is not None
    assert game.window.choices_made == 3
    assert game.window.expected == ("ann", "bob", "cem")
    await check(first, ledger)


@MANY
def test_one_press_is_the_first(seeds: int | Iterable[int]) -> None:
    explore(everybody_opens_the_window, seeds=seeds)


def test_one_press_is_the_first_only_thanks_to_the_version() -> None:
    with pytest.raises(RaceLostError):
        explore(everybody_joins_and_presses, seeds=SEEDS, without="version")


async def everybody_joins_and_presses(simulation: Simulation) -> None:
    first = simulation.store(games=GamePolicy(close_when="all", countdown=None))
    await first.games.boot(HERE, "Race")
    ledger = Ledger()
    people = ("ann", "bob", "cem")
    await simulation.race(*(pressing(simulation.store().games, ledger, who) for who in people))
    game = await first.games.get(HERE)
    assert game is not None
    assert set(game.players) == set(people)
    assert sorted(player.seat or 0 for player in game.players.values()) == [1, 2, 3]
    await check(first, ledger)


@MANY
def test_everybody_joins_by_pressing(seeds: int | Iterable[int]) -> None:
    explore(everybody_joins_and_presses, seeds=seeds)


async def a_press_meets_the_deadline(simulation: Simulation) -> None:
    """Some press, one brings the time on, some wait, one sweeps: every press is in one turn, the one it was told."""
    first, stores = await seated(simulation, "ann", "bob", "cem")
    ledger = Ledger()
    await pressing(stores["ann"].games, ledger, "ann")()

    async def time_passes() -> None:
        simulation.clock.advance(timedelta(seconds=10))

    outcomes = await simulation.race(
        pressing(stores["bob"].games, ledger, "bob"),
        pressing(stores["cem"].games, ledger, "cem"),
        time_passes,
        lambda: first.sweep(),
        lambda: simulation.store().games.history(HERE),
        pressing(stores["ann"].games, ledger, "ann", "south", expect_turn=1),
    )
    for outcome in outcomes:
        outcome.result()
    await check(first, ledger, channels=(HERE,))


@MANY
def test_a_press_at_the_deadline_is_in_one_turn(seeds: int | Iterable[int]) -> None:
    explore(a_press_meets_the_deadline, seeds=seeds)


@pytest.mark.parametrize("guard", ["timely", "phase"])
def test_a_press_at_the_deadline_needs_its_guards(guard: str) -> None:
    with pytest.raises(RaceLostError):
        explore(a_stale_press, seeds=SEEDS, without=guard)


async def a_stale_press(simulation: Simulation) -> None:
    """The deadline passes, or the turn is closed by hand, under presses that were decided before; locks are not moved."""
    first, stores = await seated(simulation, "ann", "bob")
    ledger = Ledger()
    for who in ("ann", "bob"):
        await pressing(stores[who].games, ledger, who)()
    gone = simulation.random.random() < 0.5

    async def close() -> None:
        if gone:
            simulation.clock.advance(timedelta(seconds=10))
        else:
            await simulation.store().games.close(HERE)

    await simulation.race(close, *(pressing(stores[who].games, ledger, who, "south") for who in ("ann", "bob")))
    if gone:
        simulation.clock.advance(timedelta(seconds=0))
        await first.sweep()
    for turn in await first.games.history(HERE):
        for answer in ledger.answers["ann/south"] + ledger.answers["bob/south"]:
            assert answer.status in ("replaced", "carried", "accepted")
        if turn.number == 1 and turn.reason == "deadline" and turn.deadline is not None:
            entries = await _pressed_in(first, 1)
            assert all(at < turn.deadline for at in entries), "a press after the deadline counted"
    await check(first, ledger)


async def _pressed_in(store: AsyncStore, turn: int) -> list[datetime]:
    from sojourn.core.times import to_datetime
    from tests.games.checking import log, rows

    (session,) = await rows(store)
    entries = await log(store, session)
    return [to_datetime(entry.created_at) for entry in entries if entry.type == "choice" and entry.label == str(turn)]


@MANY
def test_a_stale_press_is_carried(seeds: int | Iterable[int]) -> None:
    explore(a_stale_press, seeds=seeds)


async def a_stormy_evening(simulation: Simulation) -> None:
    """Six press, one closes, one swaps, one exits, time passes, and a narrator tells."""
    people = ("ann", "bob", "cem", "dan", "eve", "fay")
    first, stores = await seated(simulation, *people, close_when="all")
    ledger = Ledger()
    saved = await first.games.swap(HERE, "The other")
    assert saved.shelved is not None
    await first.games.swap(HERE, game_id=saved.shelved.id)

    async def close() -> Turn:
        return await simulation.store().games.close(HERE)

    async def swap() -> Swapped:
        return await simulation.store().games.swap(HERE, game_id=saved.game.id)

    async def leave() -> Game:
        simulation.clock.advance(timedelta(seconds=4))
        return await simulation.store().games.exit(HERE)

    async def tell() -> Turn:
        games = simulation.store().games
        claim = await games.narrate(HERE)
        return await games.record_turn(HERE, claim.turn.number, "Told.", token=claim.token)

    outcomes = await simulation.race(
        *(pressing(store.games, ledger, who) for who, store in stores.items()), close, swap, leave, tell
    )
    for outcome in outcomes:
        if outcome.error is not None:
            assert isinstance(outcome.error, ConflictError | NotFoundError | EndedError | LeaseHeldError), repr(outcome.error)
    await check(first, ledger, channels=(HERE,))
    for who, store in stores.items():  # everybody sends again what they sent
        again = pressing(store.games, ledger, who)
        try:
            await again()
        except NotFoundError:
            assert not ledger.answers[f"{who}/north"]
    await check(first, ledger, channels=(HERE,))
    await every_window_can_close(first, simulation.clock)
    await check(first, ledger)


@MANY
def test_a_stormy_evening_loses_nothing(seeds: int | Iterable[int]) -> None:
    explore(a_stormy_evening, seeds=seeds)


@pytest.mark.parametrize("guard", ["version", "atomicity", "operation"])
def test_a_stormy_evening_needs_every_guard(guard: str) -> None:
    with pytest.raises(RaceLostError):
        explore(a_stormy_evening, seeds=5 * SEEDS, without=guard)


async def one_channel_for_many_games(simulation: Simulation) -> None:
    """Some boot, one resumes, one swaps: the channel shows one game, and each that was told so has been shown."""
    first = simulation.store()
    saved = await first.games.boot(HERE, "Saved")
    await first.games.shelve(HERE)
    outcomes = await simulation.race(
        lambda: simulation.store().games.boot(HERE, "One"),
        lambda: simulation.store().games.boot(HERE, "Two"),
        lambda: simulation.store().games.resume(saved.id),
    )
    assert sum(outcome.done for outcome in outcomes) == 1
    for outcome in outcomes:
        assert outcome.done or isinstance(outcome.error, ConflictError), repr(outcome.error)
    await check(first, channels=(HERE,))


@MANY
def test_one_channel_shows_one_game(seeds: int | Iterable[int]) -> None:
    explore(one_channel_for_many_games, seeds=seeds)


def test_one_channel_shows_one_game_only_thanks_to_the_epoch() -> None:
    with pytest.raises(RaceLostError):
        explore(one_channel_for_many_games, seeds=SEEDS, without="epoch")


async def pausing_under_presses(simulation: Simulation) -> None:
    """What is pressed after the pause is refused, whatever a store remembers; the rest is there when the game goes on."""
    first, stores = await seated(simulation, "ann", "bob", "cem", close_when="all")
    ledger = Ledger()
    for who in ("ann", "bob"):
        await pressing(stores[who].games, ledger, who)()
    paused: list[int] = []

    async def pause() -> None:
        await simulation.store().games.pause(HERE)
        paused.append(len(await _pressed_in(first, 1)))

    await simulation.race(pause, *(pressing(stores[who].games, ledger, who, "south") for who in ("ann", "bob")))
    assert len(await _pressed_in(first, 1)) == paused[0], "a press counted in a paused game"
    await first.games.unpause(HERE)
    await pressing(stores["cem"].games, ledger, "cem")()
    await check(first, ledger)
    assert (await shown(first.games, HERE)).turn == 1


@MANY
def test_pausing_stops_every_press(seeds: int | Iterable[int]) -> None:
    explore(pausing_under_presses, seeds=seeds)


def test_pausing_stops_every_press_only_thanks_to_the_fence() -> None:
    with pytest.raises(RaceLostError):
        explore(pausing_under_presses, seeds=SEEDS, without="lease")


async def two_narrators(simulation: Simulation) -> None:
    first, stores = await seated(simulation, "ann")
    await stores["ann"].games.submit_choice(HERE, "ann", "Ann", "x")
    await first.games.close(HERE)

    def narrator(number: int) -> Operation[str]:
        async def tell() -> str:
            games = simulation.store().games
            claim = await games.narrate(HERE, ttl=timedelta(seconds=5))
            if simulation.random.random() < 0.5:
                simulation.clock.advance(timedelta(seconds=5))
            turn = await games.record_turn(HERE, 1, f"story {number}", token=claim.token)
            return turn.narrative_summary

        return tell

    outcomes = await simulation.race(*map(narrator, range(4)))
    kept = [outcome.value for outcome in outcomes if outcome.done]
    assert len(kept) <= 1
    for outcome in outcomes:
        assert outcome.done or isinstance(outcome.error, SojournError)
    (turn,) = await first.games.history(HERE)
    assert turn.narrative_summary == (kept[0] if kept else "")


@MANY
def test_of_many_narrators_one_result_is_kept(seeds: int | Iterable[int]) -> None:
    explore(two_narrators, seeds=seeds)


async def people_come_and_go(simulation: Simulation) -> None:
    """Who is waited for changes while others press: the window closes as soon as nobody is waited for."""
    first, stores = await seated(simulation, "ann", "bob", "cem", "dan", close_when="all", countdown=None)
    ledger = Ledger()
    await pressing(stores["ann"].games, ledger, "ann")()
    await simulation.race(
        pressing(stores["bob"].games, ledger, "bob"),
        lambda: simulation.store().games.leave(HERE, "cem"),
        lambda: simulation.store().games.substitute(HERE, "dan", "zoe", "Zoe"),
        pressing(simulation.store().games, ledger, "yan"),
    )
    assert (await shown(first.games, HERE)).turn == 0
    await pressing(simulation.store().games, ledger, "zoe")()
    (turn,) = await first.games.history(HERE)
    assert set(turn.choices) == {"ann", "bob", "yan", "zoe"}
    await check(first, ledger)


@MANY
def test_who_comes_and_goes_never_freezes_a_window(seeds: int | Iterable[int]) -> None:
    explore(people_come_and_go, seeds=seeds)


async def a_game_of_another_home_is_swapped_under_presses(simulation: Simulation, *, saved: bool) -> None:
    """The swap of a channel whose game lives elsewhere is done once, whoever finishes it, and says so."""
    first = simulation.store()
    other = await first.games.boot("elsewhere", "Other")
    await first.games.swap("elsewhere", "A third")
    await first.games.resume(other.id, HERE)
    third = await first.games.get("elsewhere")
    assert third is not None
    await first.games.shelve("elsewhere")
    ledger = Ledger()

    async def swap() -> Swapped:
        games = simulation.store().games
        return await (games.swap(HERE, game_id=third.id) if saved else games.swap(HERE, "New"))

    swapped, *presses = await simulation.race(
        swap,
        *(pressing(simulation.store().games, ledger, who) for who in ("ann", "bob")),
        lambda: simulation.store().games.get(HERE),
    )
    done = swapped.result()
    assert (done.shelved.id, done.game.id) == (other.id, (await shown(first.games, HERE)).id)
    assert len(await first.games.list()) == (2 if saved else 3)
    for outcome in presses:
        assert outcome.done or isinstance(outcome.error, NotFoundError), repr(outcome.error)
    await check(first, ledger, channels=(HERE,))


@pytest.mark.parametrize("saved", [True, False])
@MANY
def test_a_swap_between_homes_under_presses_is_done_once(seeds: int | Iterable[int], saved: bool) -> None:
    explore(partial(a_game_of_another_home_is_swapped_under_presses, saved=saved), seeds=seeds)


def test_whoever_waits_rests_also_when_the_turn_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []
    load = Reader.load

    async def counted(self: Reader, game_id: str) -> View:
        looks.append(game_id)
        assert len(looks) < 50, "whoever waits looks again and again"
        return await load(self, game_id)

    async def play() -> None:
        async with await sojourn.aopen("memory:", games=GamePolicy(countdown=None)) as store:
            await store.games.boot(HERE, "Race")
            await store.games.submit_choice(HERE, "ann", "Ann", "north")
            waiter = asyncio.create_task(store.games.wait_for_countdown(HERE))
            await turns_of_the_loop()
            monkeypatch.setattr(Reader, "load", counted)
            await store.games.rewind(HERE, 0)
            await store.games.submit_choice(HERE, "ann", "Ann", "south")
            await turns_of_the_loop()
            await store.games.close(HERE)
            assert (await waiter).choices == {"ann": "south"}

    async def turns_of_the_loop() -> None:
        for _ in range(200):
            await asyncio.sleep(0)

    asyncio.run(play())
