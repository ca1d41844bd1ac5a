"""One request sent twice at once while somebody else does another thing: whoever is told what it came to is told the same."""

from __future__ import annotations

from collections.abc import Awaitable
from itertools import product
from typing import Any, Final

import pytest

from sojourn import AsyncGames, ConflictError, Game, NotFoundError, SojournError, Swapped
from sojourn.testing.simulation import Outcome, Simulation, explore, explore_crashes
from tests.simulation.test_keys_at_once import CASES, DIFFERENT, LATER, POLICIES, Room, identity

pytestmark = pytest.mark.slow

HERE: Final = "here"
THERE: Final = "there"

BY_CONTEXT: Final = {"Contexts.add", "Contexts.add to a new name", "Contexts.add what is large"}
"""Their keys are known in the context: by another name it is another one."""

AS_IT_IS: Final = {"Conversations.expand", "Conversations.unfold", "Logins.clear"}
"""The first two show what is there by now; of what the third has removed nothing can be asked."""

PAIRS: Final = [
    (one, other)
    for one, other in product(CASES, CASES)
    if one.partition(".")[0] == other.partition(".")[0]
    and CASES[one][0] is CASES[other][0]
    and not {one, other} & {*DIFFERENT, *LATER, *POLICIES, *BY_CONTEXT, *AS_IT_IS}
]


class Keyed:
    """A store whose operations take another key than the one they are given."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not callable(found):
            return Keyed(found)

        def call(*arguments: Any, **named: Any) -> Any:
            return found(*arguments, **{**named, "key": "another"})

        return call


def about(answer: Any) -> Any:
    """What an answer is about, whatever others have made of that by the time it is shown."""
    if isinstance(answer, list | tuple):
        return [about(part) for part in answer]
    names = ("id", "sequence", "label", "number", "turn", "user_id", "resource")
    found = next((name for name in names if hasattr(answer, name)), None)
    return answer if found is None else about(getattr(answer, found))


def done(outcome: Outcome[Any]) -> list[Any]:
    """What somebody was told, unless it was that it could not be done."""
    if outcome.error is not None:
        assert isinstance(outcome.error, SojournError), repr(outcome.error)
        return []
    return [about(identity(outcome.value))]


async def sent_twice_beside(simulation: Simulation, one: str, other: str) -> None:
    room = Room(simulation, one)
    prepared = await room.prepare()
    first, second, _ = await simulation.race(
        lambda: room.call(prepared),
        lambda: room.call(prepared),
        lambda: CASES[other][1](Keyed(room.store()), prepared),  # type: ignore[arg-type]
    )
    third = await simulation.alone(lambda: room.call(prepared))
    told = [*done(first), *done(second), *done(third)]
    assert told == told[:1] * len(told)


@pytest.mark.parametrize("one", sorted({one for one, _ in PAIRS}))
@pytest.mark.parametrize("times", [1, pytest.param(60, marks=pytest.mark.campaign, id="campaign")])
def test_nobody_is_told_two_things(one: str, times: int) -> None:
    """Beside every third of the others, each time; beside each of them in a campaign."""
    beside = [other for first, other in PAIRS if first == one]
    for number, other in enumerate(beside):
        if times > 1 or (number + len(one)) % 3 == 0:
            explore(lambda simulation, other=other: sent_twice_beside(simulation, one, other), seeds=times)  # type: ignore[misc]


# -- games -------------------------------------------------------------------------------------------------------------


async def two_boots_while_the_channel_is_freed(simulation: Simulation) -> None:
    """Who finds the channel taken does not give back the id that its twin makes the game with."""
    games = simulation.store().games
    await games.boot(HERE, "Old")

    def boot() -> Awaitable[Game]:
        return simulation.store().games.boot(HERE, "New", game_id="mine", key="k")

    outcomes = await simulation.race(boot, boot, lambda: simulation.store().games.shelve(HERE))
    for outcome in outcomes[:2]:
        assert outcome.done or isinstance(outcome.error, ConflictError)
    made = await boot()
    assert {outcome.value.id for outcome in outcomes[:2] if outcome.value is not None} <= {made.id}
    assert (await games.load("mine")).id == made.id
    assert len((await games.list()).items) == 2


async def two_boots_after_one_was_refused(simulation: Simulation) -> None:
    games = simulation.store().games
    await games.boot(HERE, "Old")

    def boot() -> Awaitable[Game]:
        return simulation.store().games.boot(HERE, "New", game_id="mine", key="k")

    with pytest.raises(ConflictError):
        await boot()
    await games.shelve(HERE)
    one, two = await simulation.race(boot, boot)
    assert one.result().id == two.result().id == (await games.load("mine")).id


async def two_swaps_between_homes_while_the_game_goes(simulation: Simulation) -> None:
    games: AsyncGames = simulation.store().games
    one = await games.boot(HERE, "One")
    await games.shelve(HERE)
    await games.resume(one.id, THERE)

    def swap() -> Awaitable[Swapped]:
        return simulation.store().games.swap(THERE, "New", key="k")

    outcomes = await simulation.race(swap, swap, lambda: simulation.store().games.exit(THERE))
    for outcome in outcomes[:2]:
        outcome.result()
    assert outcomes[2].done or isinstance(outcomes[2].error, NotFoundError)
    assert len({outcome.result().game.id for outcome in outcomes[:2]}) == 1
    assert len((await games.list()).items) == 2


@pytest.mark.parametrize(
    "scenario",
    [two_boots_while_the_channel_is_freed, two_boots_after_one_was_refused, two_swaps_between_homes_while_the_game_goes],
)
def test_of_two_requests_one_game_is_made(scenario: Any) -> None:
    explore(scenario, seeds=400)


def test_a_close_sent_again_after_a_swap_closes_no_window_of_the_new_game() -> None:
    async def scene(simulation: Simulation) -> None:
        games = simulation.store().games
        await games.boot(HERE, "One")
        await games.submit_choice(HERE, "ann", "Ann", "north")
        closed = await games.close(HERE, key="k")
        await games.swap(HERE, "Two")
        await games.submit_choice(HERE, "ann", "Ann", "south")
        assert await games.close(HERE, key="k") == closed
        shown = await games.get(HERE)
        assert shown is not None
        assert (shown.name, shown.turn) == ("Two", 0)

    explore(scene, seeds=1)


# -- contexts ----------------------------------------------------------------------------------------------------------


async def a_deletion_dies_and_the_name_is_used_again(simulation: Simulation) -> None:
    contexts = simulation.store().contexts
    await contexts.add("a", "note", "old")
    await simulation.alone(lambda: simulation.store().contexts.delete("a", key="k"), crash=True)
    there = await contexts.get("a")
    if there is None:
        await contexts.add("a", "note", "new")
    assert await simulation.store().contexts.delete("a", key="k")
    assert await simulation.store().contexts.delete("a", key="k")
    assert (await contexts.get("a") is None) == (there is not None)


def test_a_deletion_sent_again_removes_nothing_that_was_made_since() -> None:
    assert explore_crashes(a_deletion_dies_and_the_name_is_used_again, seeds=2) > 5
