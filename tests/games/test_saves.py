"""Saves, forks and rewinds share what was played."""

from __future__ import annotations

import pytest

from sojourn import InvalidValueError, KeyReusedError, NotFoundError
from tests.games.conftest import HERE, Table


async def played(table, turns=4):
    game = await table.boot("ann", "bob")
    for number in range(1, turns + 1):
        await table.play("ann", choice=f"choice {number}")
        await table.games.record_turn(HERE, number, f"story {number}")
    return game


def told(turns):
    return [(turn.number, turn.choices["ann"], turn.narrative_summary) for turn in turns]


async def test_a_fork_shares_what_was_played_and_goes_on_by_itself(lab):
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


async def test_a_fork_outlives_its_parent(lab):
    table = Table(lab)
    game = await played(table)
    fork = await table.games.fork(HERE, at_turn=3)
    assert await table.games.delete(game.id)
    await table.store.sweep()
    assert [row[0] for row in told(await table.games.history(None, game_id=fork.id))] == [1, 2, 3]


async def test_forking_again_with_a_key(lab):
    table = Table(lab)
    await played(table, 2)
    fork = await table.games.fork(HERE, at_turn=1, key="f")
    assert (await table.games.fork(HERE, at_turn=1, key="f")).id == fork.id
    with pytest.raises(KeyReusedError):
        await table.games.fork(HERE, at_turn=2, key="f")


@pytest.mark.parametrize("wrong", [9, -1, "two"])
async def test_there_is_no_fork_of_what_was_not_played(lab, wrong):
    table = Table(lab)
    await played(table, 1)
    for operation in (lambda: table.games.fork(HERE, at_turn=wrong), lambda: table.games.rewind(HERE, wrong)):
        with pytest.raises((NotFoundError, InvalidValueError)):
            await operation()


async def test_rewinding_hides_later_turns_and_numbers_go_on(lab):
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


async def test_rewinding_past_noted_turns(lab):
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


async def test_a_slot_holds_the_last_save(lab):
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
