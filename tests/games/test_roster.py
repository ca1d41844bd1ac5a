"""Who plays: seats, roles, tiers, skips and the crown."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from sojourn import ConflictError, FullError, GameFullError, NotFoundError
from tests.games.checking import shown, window_of
from tests.games.conftest import HERE, Table

if TYPE_CHECKING:
    from tests.conversations.conftest import Lab


async def test_joining_is_idempotent_and_refreshes_name_and_activity(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("ann")
    table.later(minutes=5)
    again = await table.games.join(HERE, "ann", "Annabel")
    assert (again.user_name, again.seat, again.joined_turn) == ("Annabel", 1, 0)
    ((player, tier),) = await table.games.players(HERE)
    assert (player, tier) == (again, "active")
    assert player.last_active_at == table.lab.clock()


async def test_ten_at_once_have_ten_seats(lab: Lab) -> None:
    table = Table(lab)
    await table.boot()
    await lab.each(range(10), lambda number: table.games.join(HERE, number, f"Player {number}"))
    assert sorted(player.seat or 0 for player, _ in await table.games.players(HERE)) == list(range(1, 11))


async def test_seats_are_chosen_freed_and_limited(lab: Lab) -> None:
    table = Table(lab)
    await table.boot(max_players=3)
    assert (await table.games.join(HERE, "ann", "Ann", seat=2)).seat == 2
    with pytest.raises(ConflictError) as caught:
        await table.games.join(HERE, "bob", "Bob", seat=2)
    assert caught.value.holder == "ann"
    assert (await table.games.join(HERE, "bob", "Bob")).seat == 1
    assert (await table.games.join(HERE, "cem", "Cem")).seat == 3
    with pytest.raises(FullError) as full:
        await table.games.join(HERE, "dan", "Dan")
    assert type(full.value) is GameFullError, "told apart from a disk that is full"
    assert (await table.press("dan")).status == "not_seated"
    assert (await table.games.join(HERE, "dan", "Dan", role="spectator")).seat is None
    assert await table.games.leave(HERE, "ann")
    assert not await table.games.leave(HERE, "ann")
    assert (await table.games.join(HERE, "dan", "Dan")).seat == 2


async def test_spectators_and_game_masters_are_not_waited_for(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("ann", close_when="all")
    await table.games.join(HERE, "gil", "Gil", role="gm")
    await table.games.join(HERE, "eve", "Eve", role="spectator")
    assert (await table.press("gil")).status == "not_seated"
    await table.press("ann")
    assert (await shown(table.games, HERE)).turn == 1
    await table.press("ann")
    assert (await shown(table.games, HERE)).turn == 2
    await table.games.open_window(HERE, by="gil")
    with pytest.raises(ConflictError):
        await table.games.close(HERE, by="eve")
    assert (await table.games.close(HERE, by="gil")).closed_by == "gil"


async def test_tiers_follow_turns_or_time_whichever_is_kinder(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("ann", "bob")
    await table.play("ann", "bob")

    async def tier(user: str) -> str:
        return next(tier for player, tier in await table.games.players(HERE) if player.user_id == user)

    table.later(minutes=20)
    for turns, wanted in ((2, "active"), (5, "idle"), (8, "idle")):
        while (await shown(table.games, HERE)).turn < turns + 1:
            await table.play("ann")
        assert await tier("bob") == wanted
    table.later(hours=1)
    assert await tier("bob") == "dormant"
    assert await tier("ann") == "active"
    assert list(await table.games.active_players(HERE)) == ["ann"]
    await table.press("bob")
    assert await tier("bob") == "active"
    assert list(await table.games.active_players(HERE, within=timedelta(minutes=1))) == ["bob"]


async def test_time_does_not_run_while_a_game_is_paused(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("ann", "bob", active_within=(0, timedelta(minutes=15)), idle_within=(0, timedelta(hours=1)))
    await table.play("ann")
    table.later(minutes=10)
    await table.games.pause(HERE)
    table.later(hours=9)
    assert [tier for _, tier in await table.games.players(HERE)] == ["active", "active"]
    await table.games.unpause(HERE)
    table.later(minutes=4)
    assert [tier for _, tier in await table.games.players(HERE)] == ["active", "active"]
    await table.games.shelve(HERE)
    table.later(days=3)
    games = [game.id for game in await table.games.list()]
    await table.games.resume(games[0])
    table.later(minutes=2)
    assert [tier for _, tier in await table.games.players(HERE)] == ["active", "idle"]


async def test_dormant_players_are_kept_and_not_waited_for(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("ann", "bob", close_when="all", idle_within=(0, timedelta(0)), active_within=(0, timedelta(0)))
    await table.play("ann")
    table.later(seconds=1)
    await table.press("ann")
    assert (await shown(table.games, HERE)).turn == 2
    assert list((await shown(table.games, HERE)).players) == ["ann", "bob"]


async def test_skips_are_counted_with_the_narration(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("ann", "bob")

    async def skips() -> list[int]:
        return [player.consecutive_skips for player, _ in await table.games.players(HERE)]

    for turn in (1, 2):
        await table.play("ann")
        assert await skips() == [0, turn - 1]
        await table.games.record_turn(HERE, turn, "So it goes.")
        await table.games.record_turn(HERE, turn, "So it goes.")
        assert await skips() == [0, turn]
    await table.games.join(HERE, "bob", "Bob")
    assert await skips() == [0, 2]
    await table.press("bob")
    assert await skips() == [0, 0]
    await table.games.close(HERE)
    assert await skips() == [0, 0]
    await table.games.record_turn(HERE, 3, "So it goes.")
    assert await skips() == [1, 0]


async def test_a_late_narration_counts_no_skip_for_who_has_chosen_since(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("ann", "bob")
    await table.play("ann")
    await table.press("bob")
    await table.games.record_turn(HERE, 1, "Late.")
    assert [player.consecutive_skips for player, _ in await table.games.players(HERE)] == [0, 0]
    await table.games.close(HERE)
    await table.games.record_turn(HERE, 2, "In time.")
    assert [player.consecutive_skips for player, _ in await table.games.players(HERE)] == [1, 0]


async def test_who_joined_after_the_window_opened_skips_nothing(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("ann")
    await table.press("ann")
    await table.games.join(HERE, "bob", "Bob")
    await table.games.close(HERE)
    await table.games.record_turn(HERE, 1, "Told.")
    assert [player.consecutive_skips for player, _ in await table.games.players(HERE)] == [0, 0]


async def test_the_crown(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("ann", "bob", "cem", gm_name="the house")
    assert await table.games.crown_holder_name(HERE) == "the house"
    with pytest.raises(NotFoundError):
        await table.games.set_crown(HERE, "zoe")
    await table.games.set_crown(HERE, "cem")
    assert await table.games.crown_holder_name(HERE) == "Cem"
    assert await table.games.is_crown_holder(HERE, "cem")
    await table.games.leave(HERE, "cem")
    assert (await shown(table.games, HERE)).crown_holder == "ann"
    await table.games.substitute(HERE, "ann", "zoe", "Zoe")
    assert (await shown(table.games, HERE)).crown_holder == "zoe"
    await table.games.set_crown(HERE, None)
    assert not await table.games.is_crown_holder(HERE, "zoe")


async def test_the_crown_goes_to_nobody_when_nobody_is_there(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("ann")
    await table.games.set_crown(HERE, "ann")
    await table.games.leave(HERE, "ann")
    assert (await shown(table.games, HERE)).crown_holder is None


async def test_a_substitution_keeps_both_in_the_history(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("ann", "bob")
    await table.play("ann", "bob", choice="dig")
    player = await table.games.substitute(HERE, "bob", "zoe")
    again = await table.games.substitute(HERE, "bob", "zoe")
    assert player == again
    await table.play("zoe", choice="swim")
    assert [turn.choices for turn in await table.games.history(HERE)] == [{"ann": "dig", "bob": "dig"}, {"zoe": "swim"}]
    with pytest.raises(NotFoundError):
        await table.games.substitute(HERE, "nobody", "yan")
    with pytest.raises(ConflictError):
        await table.games.substitute(HERE, "ann", "zoe")


async def test_a_name_is_refreshed_by_a_press(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("ann")
    await table.games.submit_choice(HERE, "ann", "Queen Ann 👑", "rule")
    assert (await shown(table.games, HERE)).players["ann"].user_name == "Queen Ann 👑"


async def test_a_person_is_erased_from_every_game(disk_lab: Lab) -> None:
    table = Table(disk_lab)
    await table.boot("ann", "bob", on_timeout="default")
    await table.games.set_crown(HERE, "bob")
    await table.play("ann", "bob", choice="dig")
    await table.games.substitute(HERE, "bob", "zoe", "Zoe")
    await table.games.join(HERE, "bob", "Bob the Second")
    await table.press("bob", "secret")
    await table.store.erase("bob")
    game = await shown(table.games, HERE)
    assert list(game.players) == ["ann", "zoe"]
    assert [turn.choices for turn in await table.games.history(HERE)] == [{"ann": "dig"}]
    disk = disk_lab.on_disk()
    for trace in (b"Bob the Second", b'"bob"', b"secret"):
        assert trace not in disk


async def test_who_becomes_a_spectator_is_not_waited_for(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("ann", "bob", "cem", close_when="all", countdown=None)
    await table.press("ann")
    await table.games.join(HERE, "bob", "Bob", role="spectator")
    assert window_of(await table.games.get(HERE)).expected == ("ann", "cem")
    await table.games.join_by_code(await table.games.invite(HERE), "cem", "Cem", role="gm")
    assert (await shown(table.games, HERE)).turn == 1
    assert list((await table.games.history(HERE))[0].choices) == ["ann"]


async def test_the_choice_of_who_has_left_counts_for_a_quorum(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("ann", "bob", "cem", "dan", close_when="quorum", quorum=3, countdown=None)
    await table.press("ann")
    await table.games.leave(HERE, "ann")
    await table.press("bob")
    assert (await shown(table.games, HERE)).turn == 0
    await table.games.leave(HERE, "dan")
    await table.press("cem")
    (turn,) = await table.games.history(HERE)
    assert set(turn.choices) == {"ann", "bob", "cem"}


async def test_who_has_chosen_left_and_taken_over_a_seat_is_not_waited_for_twice(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("ann", "bob", "cem", close_when="all", countdown=None)
    await table.press("cem")
    await table.games.leave(HERE, "cem")
    await table.games.substitute(HERE, "ann", "cem", "Cem")
    await table.press("bob")
    (turn,) = await table.games.history(HERE)
    assert (turn.reason, set(turn.choices)) == ("all", {"bob", "cem"})


async def test_joining_again_with_the_key_of_who_has_left_says_so(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("zoe")
    code = await table.games.invite(HERE)
    joins: list[Callable[[], Awaitable[object]]] = [
        lambda: table.games.join(HERE, "ann", "Ann", key="one"),
        lambda: table.games.join_by_code(code, "ann", "Ann", key="two"),
        lambda: table.games.substitute(HERE, "zoe", "ann", "Ann", key="three"),
    ]
    for join in joins:
        await join()
        await table.games.leave(HERE, "ann")
        with pytest.raises(NotFoundError, match="ann"):
            await join()
