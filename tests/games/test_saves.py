"""Saves, forks and rewinds share what was played."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any

import pytest

from sojourn import Game, InvalidValueError, KeyReusedError, NotFoundError, Turn
from tests.games.conftest import HERE, Table

if TYPE_CHECKING:
    from tests.conversations.conftest import Lab


async def played(table: Table, turns: int = 4) -> Game:
    game = await table.boot("ann", "bob")
    for number in range(1, turns + 1):
        await table.play("ann", choice=f"choice {number}")
        await table.games.record_turn(HERE, number, f"story {number}")
    return game


def told(turns: Iterable[Turn]) -> list[tuple[int, str, str]]:
    return [(turn.number, turn.choices["ann"], turn.narrative_summary) for turn in turns]


async def test_a_fork_shares_what_was_played_and_goes_on_by_itself(lab: Lab) -> None:
    table = Table(lab)
    game = await played(table)
    fork = await table.games.fork(HERE, at_turn=2, name="What if")
    assert (fork.name, fork.state, fork.turn, list(fork.players)) == ("What if", "lobby", 2, ["ann", "bob"])
    shared = [(1, "choice 1", "story 1"), (2, "choice 2", "story 2")]
    assert told(await table.games.history(None, game_id=fork.id)) == shared
    await table.games.swap(HERE, game_id=fork.id)
    await table.play("ann", choice="another way")
    assert told(await table.games.history(HERE)) == [*shared, (3, "another way", "")]
    assert told(await table.games.history(None, game_id=game.id))[2:] == [
        (3, "choice 3", "story 3"), (4, "choice 4", "story 4")
    ]  # fmt: skip
    claim = await table.games.narrate(HERE)
    assert claim.turn.number == 3
    again = await table.games.fork(HERE, at_turn=1)
    assert told(await table.games.history(None, game_id=again.id)) == shared[:1]
    row = await table.row(fork.id)
    assert row.base is not None
    assert row.base[0] == game.id


async def test_a_fork_outlives_its_parent(lab: Lab) -> None:
    table = Table(lab)
    game = await played(table)
    fork = await table.games.fork(HERE, at_turn=3)
    assert await table.games.delete(game.id)
    await table.store.sweep()
    assert [row[0] for row in told(await table.games.history(None, game_id=fork.id))] == [1, 2, 3]


async def test_forking_again_with_a_key(lab: Lab) -> None:
    table = Table(lab)
    await played(table, 2)
    fork = await table.games.fork(HERE, at_turn=1, key="f")
    assert (await table.games.fork(HERE, at_turn=1, key="f")).id == fork.id
    with pytest.raises(KeyReusedError):
        await table.games.fork(HERE, at_turn=2, key="f")


@pytest.mark.parametrize("wrong", [9, -1, "two"])
async def test_there_is_no_fork_of_what_was_not_played(lab: Lab, wrong: Any) -> None:
    table = Table(lab)
    await played(table, 1)
    operations: tuple[Callable[[], Awaitable[Game]], ...] = (
        lambda: table.games.fork(HERE, at_turn=wrong),
        lambda: table.games.rewind(HERE, wrong),
    )
    for operation in operations:
        with pytest.raises((NotFoundError, InvalidValueError)):
            await operation()


async def test_rewinding_hides_later_turns_and_numbers_go_on(lab: Lab) -> None:
    table = Table(lab)
    await played(table)
    await table.press("bob", "in the open window", key="k")
    game = await table.games.rewind(HERE, 2)
    assert (game.turn, game.window) == (2, None)
    kept = [(1, "choice 1", "story 1"), (2, "choice 2", "story 2")]
    assert told(await table.games.history(HERE)) == kept
    await table.play("ann", choice="another way")
    assert told(await table.games.history(HERE)) == [*kept, (3, "another way", "")]
    assert (await table.games.narrate(HERE)).turn.choices == {"ann": "another way"}
    await table.games.record_turn(HERE, 3, "another story")
    assert told(await table.games.history(HERE)) == [*kept, (3, "another way", "another story")]
    assert await table.games.narration(HERE, 3) == "another story"
    assert (await table.press("bob", "in the open window", key="k")).status == "duplicate"
    await table.games.rewind(HERE, 0)
    assert await table.games.history(HERE) == []
    await table.play("ann", choice="afresh")
    assert told(await table.games.history(HERE)) == [(1, "afresh", "")]


async def test_rewinding_past_noted_turns(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("ann")
    for number in range(1, 131):
        await table.play("ann", choice=f"choice {number}")
    await table.games.rewind(HERE, 70)
    for number in range(71, 140):
        await table.play("ann", choice=f"second {number}")
    for number, word in ((64, "choice"), (70, "choice"), (71, "second"), (128, "second"), (139, "second")):
        turn = await table.games.wait_for_countdown(HERE, turn=number)
        assert turn.choices == {"ann": f"{word} {number}"}


async def test_the_turns_before_a_cut_are_found_one_by_one(lab: Lab) -> None:
    table = Table(lab)
    await played(table, 10)
    await table.games.rewind(HERE, 5)
    fork = await table.games.fork(HERE, at_turn=4)
    assert (await table.games.wait_for_countdown(HERE)).choices == {"ann": "choice 5"}
    assert await table.games.narration(HERE, 5) == "story 5"
    assert [turn.number for turn in await table.games.history(HERE, before=5, count=2)] == [3, 4]
    assert await table.games.narration(None, 4, game_id=fork.id) == "story 4"
    await table.play("ann", choice="second 6")
    for number, choice in ((5, "choice 5"), (6, "second 6")):
        assert (await table.games.wait_for_countdown(HERE, turn=number)).choices == {"ann": choice}


async def test_a_turn_that_nobody_has_told_is_claimed_after_a_rewind(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("ann")
    for number in range(1, 5):
        await table.play("ann", choice=f"choice {number}")
    await table.games.rewind(HERE, 2)
    claim = await table.games.narrate(HERE)
    assert (claim.turn.number, claim.turn.choices) == (1, {"ann": "choice 1"})


async def test_a_slot_holds_the_last_save(lab: Lab) -> None:
    table = Table(lab)
    game = await played(table, 2)
    first = await table.games.save(HERE, "before the bridge")
    assert (first.turn, first.state) == (2, "lobby")
    await table.play("ann", choice="choice 3")
    second = await table.games.save(HERE, "before the bridge")
    assert second.turn == 3
    with pytest.raises(NotFoundError):
        await table.games.load(first.id)
    await table.games.swap(HERE, game_id=second.id)
    await table.games.swap(HERE, game_id=game.id)
    third = await table.games.save(HERE, "before the bridge")
    assert (await table.games.load(second.id)).turn == 3
    assert third.id != second.id
    assert len(await table.games.list()) == 3
