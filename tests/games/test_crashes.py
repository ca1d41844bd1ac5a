"""A process dies after any step of anything: what is left is one of the rows of the table, and whoever comes next goes on."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from sojourn import AsyncStore, ConflictError, GamePolicy, NotFoundError
from sojourn.testing.simulation import RaceLostError, Scenario, Simulation, explore_crashes
from tests.games.checking import Ledger, check, every_window_can_close, rows, shown

pytestmark = pytest.mark.slow

HERE, THERE, YONDER = "here", "there", "yonder"
PEOPLE = ("ann", "bob")


async def playing(simulation: Simulation, channel: str = HERE, name: str = "One", **policy: Any) -> tuple[AsyncStore, str]:
    """A store with a game in which one of two has pressed."""
    store = simulation.store(games=GamePolicy(**policy))
    game = await store.games.boot(channel, name)
    for person in PEOPLE:
        await store.games.join(channel, person, person.title())
    await store.games.submit_choice(channel, "ann", "Ann", f"before in {name}", key=f"ann in {name}")
    return store, game.id


async def all_is_well(simulation: Simulation, ledger: Ledger | None = None, games: tuple[str, ...] = ()) -> None:
    """Every promise holds, no game is lost, and every window can close."""
    store = simulation.store()
    for channel in (HERE, THERE, YONDER):
        await store.games.get(channel)  # whoever reads a channel finishes what was begun with it
    await check(store, ledger, channels=(HERE, THERE, YONDER))
    known = {session.id: session for session in await rows(store)}
    for id in games:
        assert id in known, "a game is lost"
        pressed = (await store.games.load(id)).window
        assert pressed is None or pressed.choices_made >= 1
    await every_window_can_close(store, simulation.clock)
    await check(store, ledger)


async def a_press_that_closes(simulation: Simulation) -> None:
    """Rows 1, 2 and 4: before the commit nothing, after it the choice, after the close the turn."""
    store, _ = await playing(simulation, close_when="all")
    ledger = Ledger()
    outcome = await simulation.alone(
        lambda: simulation.store().games.submit_choice(HERE, "bob", "Bob", "last", key="k"), crash=True
    )
    if outcome.done:
        ledger.note("k", "bob", "last", outcome.result())
    again = ledger.note("k", "bob", "last", await simulation.store().games.submit_choice(HERE, "bob", "Bob", "last", key="k"))
    assert again.turn == 1
    assert again.status in ("accepted", "duplicate")
    simulation.clock.advance(timedelta(seconds=20))
    (turn,) = await store.games.history(HERE)
    assert turn.choices == {"ann": "before in One", "bob": "last"}
    retry = ledger.note("k", "bob", "last", await store.games.submit_choice(HERE, "bob", "Bob", "last", key="k"))
    assert (retry.status, retry.turn) == ("duplicate", 1)
    await all_is_well(simulation, ledger)


async def the_only_waiter(simulation: Simulation) -> None:
    """Row 3: a window past its deadline; any submit, read or sweep closes it."""
    store, _ = await playing(simulation)
    simulation.clock.advance(timedelta(seconds=10))
    await simulation.alone(lambda: simulation.store().games.wait_for_countdown(HERE), crash=True)
    closer = simulation.random.choice(["submit", "read", "sweep"])
    if closer == "submit":
        assert (await store.games.submit_choice(HERE, "bob", "Bob", "next")).turn == 2
    elif closer == "sweep":
        await store.sweep()
    (turn,) = await store.games.history(HERE)
    assert (turn.choices, turn.reason) == ({"ann": "before in One"}, "deadline")
    await all_is_well(simulation)


async def a_watcher_reads_on(simulation: Simulation) -> None:
    """Row 4: the event of a close is there, whoever has died before telling anyone."""
    store, _ = await playing(simulation)
    begin = await store.tip()
    await simulation.alone(lambda: simulation.store().games.close(HERE), crash=True)
    closed = (await shown(store.games, HERE)).turn
    seen = [event.change async for event in store.games.watch(HERE, after=begin, timeout=timedelta(0))]
    assert seen.count("closed") == closed
    await all_is_well(simulation)


async def a_narrator(simulation: Simulation) -> None:
    """Row 5: a claim with a lease; the next claimer has a higher number."""
    store, _ = await playing(simulation)
    await store.games.close(HERE)

    async def tell(text: str) -> int:
        games = simulation.store().games
        claim = await games.narrate(HERE, ttl=timedelta(seconds=30))
        await games.record_turn(HERE, claim.turn.number, text, token=claim.token)
        return claim.token

    await simulation.alone(lambda: tell("first"), crash=True)
    simulation.clock.advance(timedelta(seconds=30))
    (turn,) = await store.games.history(HERE)
    if turn.state == "resolved":
        assert turn.narrative_summary == "first"
        with pytest.raises(NotFoundError):
            await store.games.narrate(HERE)
    else:
        await tell("second")
        (turn,) = await store.games.history(HERE)
        assert (turn.state, turn.narrative_summary) == ("resolved", "second")
    game = await shown(store.games, HERE)
    assert [player.consecutive_skips for player in game.players.values()] == [0, 1]
    await all_is_well(simulation)


async def a_swap_at_home(simulation: Simulation) -> None:
    store, one = await playing(simulation)
    await simulation.alone(lambda: simulation.store().games.swap(HERE, "Two"), crash=True)
    assert (await shown(store.games, HERE)).name in ("One", "Two")
    await all_is_well(simulation, games=(one,))


async def a_swap_between_homes(simulation: Simulation) -> None:
    """The game that goes and the one that comes live in two other homes than the channel's."""
    store, one = await playing(simulation, HERE, "One")
    _, two = await playing(simulation, THERE, "Two")
    for channel in (HERE, THERE):
        await store.games.shelve(channel)
    await store.games.resume(one, YONDER)
    outcome = await simulation.alone(lambda: simulation.store().games.swap(YONDER, game_id=two), crash=True)
    shown = await store.games.get(YONDER)
    assert shown is not None, "the channel shows none"
    assert shown.id == two or not outcome.done
    await all_is_well(simulation, games=(one, two))


async def a_press_is_sent_again_after_a_swap_between_homes(simulation: Simulation) -> None:
    """Whoever finishes the swap leaves behind which game was there, so that a press of it is known."""
    store, one = await playing(simulation, HERE, "One")
    _, two = await playing(simulation, THERE, "Two")
    for channel in (HERE, THERE):
        await store.games.shelve(channel)
    await store.games.resume(one, YONDER)
    await store.games.submit_choice(YONDER, "ann", "Ann", "north", key="k")
    await simulation.alone(lambda: simulation.store().games.swap(YONDER, game_id=two), crash=True)
    again = await simulation.store().games.submit_choice(YONDER, "ann", "Ann", "north", key="k")
    assert again.status == "duplicate", "the press was taken twice"
    await all_is_well(simulation, games=(one, two))


async def a_swap_for_a_new_game_between_homes(simulation: Simulation) -> None:
    store, one = await playing(simulation, HERE, "One")
    await store.games.shelve(HERE)
    await store.games.resume(one, YONDER)
    await simulation.alone(lambda: simulation.store().games.swap(YONDER, "Three"), crash=True)
    assert (await shown(store.games, YONDER)).name in ("One", "Three")
    await all_is_well(simulation, games=(one,))


async def an_exit_between_homes(simulation: Simulation) -> None:
    store, one = await playing(simulation, HERE, "One")
    await store.games.shelve(HERE)
    await store.games.resume(one, YONDER)
    await simulation.alone(lambda: simulation.store().games.exit(YONDER), crash=True)
    shown = await store.games.get(YONDER)
    state = (await store.games.load(one)).state
    assert (shown is None) == (state == "ended")
    if shown is None:
        assert (await store.games.boot(YONDER, "Next")).name == "Next"
    await all_is_well(simulation, games=(one,))


async def a_resume_between_homes(simulation: Simulation) -> None:
    store, one = await playing(simulation, HERE, "One")
    ending = simulation.random.random() < 0.5
    await (store.games.exit(HERE) if ending else store.games.shelve(HERE))
    outcome = await simulation.alone(lambda: simulation.store().games.resume(one, YONDER, key="k"), crash=True)
    if outcome.done or simulation.random.random() < 0.5:
        assert (await simulation.store().games.resume(one, YONDER, key="k")).channel_id == YONDER
    place = simulation.random.choice([YONDER, THERE])
    if await store.games.get(YONDER) is None:
        assert (await store.games.resume(one, place)).channel_id == place
    await all_is_well(simulation, games=(one,))


async def a_boot_with_an_id_of_its_own(simulation: Simulation) -> None:
    store = simulation.store()
    await simulation.alone(lambda: simulation.store().games.boot(HERE, "One", game_id="mine"), crash=True)
    if await store.games.get(HERE) is None:
        await store.games.boot(HERE, "One", game_id="mine")
    game = await shown(store.games, HERE)
    assert (await store.games.load("mine")).id == game.id
    assert len(await store.games.list()) == 1
    await all_is_well(simulation, games=())


async def a_delete(simulation: Simulation) -> None:
    store = simulation.store()
    game = await store.games.boot(HERE, "One", game_id="mine")
    await store.games.invite(HERE)
    await simulation.alone(lambda: simulation.store().games.delete(game.id), crash=True)
    await simulation.store().games.delete(game.id)
    assert await store.games.get(HERE) is None
    assert (await store.games.boot(HERE, "Two", game_id="mine")).name == "Two"
    await all_is_well(simulation)


SCENARIOS = [
    a_press_that_closes, the_only_waiter, a_watcher_reads_on, a_narrator, a_swap_at_home, a_swap_between_homes,
    a_press_is_sent_again_after_a_swap_between_homes,
    a_swap_for_a_new_game_between_homes, an_exit_between_homes, a_resume_between_homes, a_boot_with_an_id_of_its_own, a_delete,
]  # fmt: skip


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_a_crash_after_any_step(scenario: Scenario) -> None:
    assert explore_crashes(scenario, seeds=8) > 8


async def two_channels_want_one_game(simulation: Simulation) -> None:
    """Two channels claim the same saved game, and one of them dies on the way: it is shown in one of them, or can be."""
    store, one = await playing(simulation, HERE, "One")
    await store.games.shelve(HERE)
    _, two = await playing(simulation, THERE, "Two")
    outcomes = await simulation.race(
        lambda: simulation.store().games.resume(one, YONDER),
        lambda: simulation.store().games.swap(THERE, game_id=one),
        crash=0,
    )
    for outcome in outcomes:
        assert outcome.done or outcome.crashed or isinstance(outcome.error, ConflictError), repr(outcome.error)
    await all_is_well(simulation, games=(one, two))


def test_two_channels_that_want_one_game() -> None:
    assert explore_crashes(two_channels_want_one_game, seeds=60) > 60


@pytest.mark.parametrize(
    ("scenario", "guard"),
    [(a_swap_at_home, "atomicity"), (a_press_that_closes, "operation"), (two_channels_want_one_game, "version")],
    ids=["a swap needs one commit", "a retry needs its key", "a claim needs the version"],
)
def test_a_crash_loses_something_without(scenario: Scenario, guard: str) -> None:
    with pytest.raises(RaceLostError):
        explore_crashes(scenario, seeds=60, without=guard)
