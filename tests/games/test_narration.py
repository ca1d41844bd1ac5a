"""Telling what happened: claims, fencing, once each."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from sojourn import ConflictError, LeaseHeldError, LeaseLostError, LimitError, NotFoundError
from tests.games.conftest import HERE, Table

if TYPE_CHECKING:
    from tests.conversations.conftest import Lab


async def test_claims_go_oldest_first_and_one_at_a_time(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("ann")
    with pytest.raises(NotFoundError):
        await table.games.narrate(HERE)
    await table.play("ann", choice="one")
    await table.play("ann", choice="two")
    claim = await table.games.narrate(HERE, holder="worker 1")
    assert (claim.turn.number, claim.turn.choices) == (1, {"ann": "one"})
    with pytest.raises(LeaseHeldError) as caught:
        await table.games.narrate(HERE)
    assert caught.value.holder == "worker 1"
    await table.games.record_turn(HERE, 1, "Told.", token=claim.token)
    second = await table.games.narrate(HERE)
    assert (second.turn.number, second.token > claim.token) == (2, True)


async def test_a_narrator_stopped_past_its_lease_is_refused(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("ann")
    await table.play("ann")
    slow = await table.games.narrate(HERE, ttl=timedelta(seconds=30))
    table.later(seconds=30)
    assert [turn.state for turn in await table.games.history(HERE)] == ["closed"]
    quick = await table.games.narrate(HERE, ttl=timedelta(seconds=30))
    assert quick.token > slow.token
    with pytest.raises(LeaseLostError):
        await table.games.record_turn(HERE, 1, "The slow one's.", token=slow.token)
    assert [turn.state for turn in await table.games.history(HERE)] == ["narrating"]
    await table.games.record_turn(HERE, 1, "The quick one's.", token=quick.token)
    with pytest.raises(ConflictError):
        await table.games.record_turn(HERE, 1, "The slow one's.", token=slow.token)
    (turn,) = await table.games.history(HERE)
    assert (turn.state, turn.narrative_summary) == ("resolved", "The quick one's.")


async def test_a_turn_is_narrated_once(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("ann", "bob")
    await table.play("ann")
    outcomes = await lab.outcomes(*[lambda n=n: table.games.record_turn(HERE, 1, f"version {n}") for n in range(6)])
    kept = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
    assert len(kept) == 1
    assert all(isinstance(outcome, ConflictError) for outcome in outcomes if isinstance(outcome, BaseException))
    again = await table.games.record_turn(HERE, 1, kept[0].narrative_summary)
    assert again == kept[0]
    assert [player.consecutive_skips for player, _ in await table.games.players(HERE)] == [0, 1]


async def test_turns_may_be_told_out_of_order(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("ann")
    for _ in range(4):
        await table.play("ann")
    for number in (3, 1):
        await table.games.record_turn(HERE, number, f"story {number}")
    assert [turn.narrative_summary for turn in await table.games.history(HERE)] == ["story 1", "", "story 3", ""]
    for wanted in (2, 4):
        claim = await table.games.narrate(HERE)
        assert claim.turn.number == wanted
        await table.games.record_turn(HERE, wanted, "…", token=claim.token)
        await table.play("ann")
    with pytest.raises(NotFoundError):
        await table.games.record_turn(HERE, 7, "There is none.")


async def test_a_history_shows_the_beginning_and_the_whole_is_kept(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("ann", max_text=3_000)
    await table.play("ann")
    story = "Es war 🌊 " * 200
    turn = await table.games.record_turn(HERE, 1, story)
    assert turn.narrative_summary == story[:500]
    assert await table.games.narration(HERE, 1) == story
    await table.play("ann")
    with pytest.raises(NotFoundError):
        await table.games.narration(HERE, 2)
    with pytest.raises(LimitError):
        await table.games.record_turn(HERE, 2, "x" * 21_000_000)
    assert await table.games.history(HERE, count=1) == [await table.games.wait_for_countdown(HERE, turn=2)]


async def test_an_ended_game_can_still_be_told(lab: Lab) -> None:
    table = Table(lab)
    game = await table.boot("ann")
    await table.play("ann")
    await table.games.exit(HERE)
    claim = await table.games.narrate(None, game_id=game.id)
    turn = await table.games.record_turn(None, 1, "The end.", token=claim.token, game_id=game.id)
    assert turn.state == "resolved"


async def test_history_is_paged_and_older_turns_stay_stored(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("ann", history_limit=5)
    for number in range(1, 141):
        await table.play("ann", choice=f"choice {number}")
    numbers = [turn.number for turn in await table.games.history(HERE, count=99)]
    assert numbers == [136, 137, 138, 139, 140]
    older = await table.games.history(HERE, count=3, before=66)
    assert [(turn.number, turn.choices) for turn in older] == [(n, {"ann": f"choice {n}"}) for n in (63, 64, 65)]
    for number in (1, 63, 64, 65, 127, 128, 140):
        assert (await table.games.wait_for_countdown(HERE, turn=number)).choices == {"ann": f"choice {number}"}
    assert await table.games.history(HERE, before=1) == []
    assert await table.games.history(HERE, count=0) == []


async def test_the_claim_on_a_turn_that_was_rewound_is_not_one_on_its_successor(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("ann")
    await table.play("ann", choice="north")
    claim = await table.games.narrate(HERE)
    await table.games.rewind(HERE, 0)
    await table.play("ann", choice="south")
    with pytest.raises(LeaseLostError):
        await table.games.record_turn(HERE, 1, "They went north.", token=claim.token)
    assert (await table.games.history(HERE))[0].state == "closed"
