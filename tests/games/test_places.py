"""Which game a channel shows: boot, swap, exit, shelf, resume, within a home and between homes."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from sojourn import ConflictError, EndedError, GamePolicy, InvalidValueError, KeyReusedError, NotFoundError
from tests.games.checking import shown, window_of
from tests.games.conftest import HERE, Table

if TYPE_CHECKING:
    from tests.conversations.conftest import Lab

THERE = "channel-8"


async def test_a_fresh_game(lab: Lab) -> None:
    games = Table(lab).games
    game = await games.boot(HERE, "  The Sunken \n Library ", title_screen_url="https://example.org/t.png")
    assert (game.name, game.state, game.turn, game.players, game.crown_holder, game.window) == (
        "The Sunken Library", "active", 0, {}, None, None
    )  # fmt: skip
    assert (game.channel_id, game.last_channel_id, game.title_screen_url) == (HERE, HERE, "https://example.org/t.png")
    assert await games.get(HERE) == game
    assert await games.load(game.id) == game
    assert await games.get(THERE) is None


async def test_a_channel_shows_one_game(lab: Lab) -> None:
    games = Table(lab).games
    game = await games.boot(HERE, "One")
    with pytest.raises(ConflictError, match="swap") as caught:
        await games.boot(HERE, "Two")
    assert caught.value.holder == game.id
    assert (await shown(games, HERE)).name == "One"


async def test_booting_again_with_a_key_gives_the_first_game(lab: Lab) -> None:
    games = Table(lab).games
    game = await games.boot(HERE, "One", key="b")
    assert await games.boot(HERE, "One", key="b") == game
    with pytest.raises(KeyReusedError):
        await games.boot(HERE, "Two", key="b")
    assert len(await games.list()) == 1


async def test_an_id_of_ones_own(lab: Lab) -> None:
    games = Table(lab).games
    game = await games.boot(HERE, "One", game_id="a1b2c3d4e5f6")
    assert (await games.load("a1b2c3d4e5f6")).id == game.id
    with pytest.raises(ConflictError, match="a1b2c3d4e5f6"):
        await games.boot(THERE, "Two", game_id="a1b2c3d4e5f6")
    assert await games.get(THERE) is None
    await games.exit(HERE)
    assert (await games.resume("a1b2c3d4e5f6")).id == game.id
    await games.delete("a1b2c3d4e5f6")
    again = await games.boot(THERE, "Two", game_id="a1b2c3d4e5f6")
    assert (await games.load("a1b2c3d4e5f6")).id == again.id


async def test_an_id_whose_boot_was_refused_is_free(lab: Lab) -> None:
    games = Table(lab).games
    await games.boot(HERE, "One")
    with pytest.raises(ConflictError):
        await games.boot(HERE, "Two", game_id="mine")
    with pytest.raises(NotFoundError):
        await games.load("mine")
    assert (await games.boot(THERE, "Two", game_id="mine")).name == "Two"


async def test_of_two_boots_with_one_id_one_is_made(lab: Lab) -> None:
    games = Table(lab).games
    outcomes = await lab.outcomes(*[lambda place=place: games.boot(f"c{place}", "One", game_id="mine") for place in range(4)])
    assert sum(isinstance(outcome, ConflictError) for outcome in outcomes) == 3
    assert len(await games.list()) == 1


async def test_swapping_keeps_both_games_whole(lab: Lab) -> None:
    table = Table(lab)
    one = await table.boot("ann", "bob")
    await table.play("ann", "bob", choice="dig")
    await table.press("ann", "north")
    table.later(seconds=3)
    swapped = await table.games.swap(HERE, "Two")
    assert swapped.shelved is not None
    assert (swapped.shelved.id, swapped.shelved.state, swapped.shelved.channel_id) == (one.id, "lobby", None)
    kept = window_of(swapped.shelved)
    assert (kept.remaining, kept.choices_made) == (timedelta(seconds=7), 1)
    assert (swapped.game.turn, swapped.game.players, await table.games.history(HERE)) == (0, {}, [])
    await table.play("zoe", choice="swim")
    table.later(days=2)
    back = await table.games.swap(HERE, game_id=one.id)
    assert back.shelved is not None
    assert (back.shelved.id, back.game.id) == (swapped.game.id, one.id)
    assert (window_of(back.game).remaining, set(back.game.players)) == (timedelta(seconds=7), {"ann", "bob"})
    assert [turn.choices for turn in await table.games.history(HERE)] == [{"ann": "dig", "bob": "dig"}]
    await table.press("bob", "south")
    table.later(seconds=7)
    turn = await table.games.wait_for_countdown(HERE)
    assert turn.choices == {"ann": "north", "bob": "south"}
    two = await table.games.history(None, game_id=back.shelved.id)
    assert [turn.choices for turn in two] == [{"zoe": "swim"}]


async def test_swapping_where_nothing_is_shown(lab: Lab) -> None:
    games = Table(lab).games
    swapped = await games.swap(HERE, "One")
    assert (swapped.shelved, swapped.game.name) == (None, "One")


async def test_swapping_again_with_a_key_does_nothing(lab: Lab) -> None:
    games = Table(lab).games
    one = await games.boot(HERE, "One")
    first = await games.swap(HERE, "Two", key="s")
    again = await games.swap(HERE, "Two", key="s")
    assert again.shelved is not None
    assert (again.game.id, again.shelved.id) == (first.game.id, one.id)
    assert len(await games.list()) == 2


async def test_a_swap_names_one_game(lab: Lab) -> None:
    games = Table(lab).games
    one = await games.boot(HERE, "One")
    both: dict[str, Any] = {"name": "Two", "game_id": one.id}
    for wrong in ({}, both):
        with pytest.raises(InvalidValueError):
            await games.swap(HERE, **wrong)
    with pytest.raises(ConflictError, match="already"):
        await games.swap(HERE, game_id=one.id)
    with pytest.raises(NotFoundError):
        await games.swap(HERE, game_id="nobody")
    assert (await shown(games, HERE)).id == one.id


async def test_a_game_of_another_channel_is_swapped_in(lab: Lab) -> None:
    table = Table(lab)
    one = await table.boot("ann", channel=HERE)
    await table.press("ann", channel=HERE)
    two = await table.boot("bob", channel=THERE)
    with pytest.raises(ConflictError, match=HERE):
        await table.games.swap(THERE, game_id=one.id)
    await table.games.shelve(HERE)
    swapped = await table.games.swap(THERE, game_id=one.id)
    assert swapped.shelved is not None
    assert (swapped.shelved.id, swapped.game.id, swapped.game.channel_id) == (two.id, one.id, THERE)
    assert window_of(swapped.game).remaining == timedelta(seconds=10)
    assert await table.games.get(HERE) is None
    assert (await table.press("ann", "again", channel=THERE)).status == "replaced"
    third = await table.games.swap(THERE, "Three")
    assert third.shelved is not None
    assert (third.shelved.id, third.shelved.channel_id) == (one.id, None)
    back = await table.games.swap(THERE, game_id=one.id)
    assert back.shelved is not None
    assert (back.shelved.id, window_of(back.game).choices_made) == (third.game.id, 1)
    assert (await table.games.exit(THERE)).state == "ended"
    assert await table.games.get(THERE) is None


async def test_an_exited_game_stays_ended_and_keeps_its_choices(disk_lab: Lab) -> None:
    table = Table(disk_lab)
    one = await table.boot("ann")
    await table.play("ann")
    await table.press("ann", "unfinished", key="k")
    ended = await table.games.exit(HERE)
    assert (ended.state, ended.channel_id, ended.window, ended.turn) == ("ended", None, None, 1)
    other = disk_lab.open()
    assert await other.games.get(HERE) is None
    assert (await other.games.load(one.id)).state == "ended"
    with pytest.raises(NotFoundError):
        await table.press("ann")
    with pytest.raises(EndedError):
        await table.press("ann", channel=None, game_id=one.id)
    again = await table.press("ann", "unfinished", key="k")
    assert (again.status, again.turn) == ("duplicate", 2)


async def test_a_resumed_game_is_as_it_was(lab: Lab) -> None:
    table = Table(lab)
    one = await table.boot("ann", "bob")
    await table.games.set_crown(HERE, "bob")
    await table.play("ann")
    await table.press("ann", "unfinished")
    await table.games.exit(HERE)
    game = await table.games.resume(one.id)
    assert (game.state, game.channel_id, game.turn, game.crown_holder, game.window) == ("active", HERE, 1, "bob", None)
    assert list(game.players) == ["ann", "bob"]
    assert len(await table.games.history(HERE)) == 1
    assert (await table.games.resume(one.id)).version == game.version
    press = await table.press("bob", "on")
    assert (press.status, press.turn, press.first) == ("accepted", 2, True)
    turn = await table.games.close(HERE)
    assert turn.choices == {"bob": "on"}


async def test_resuming_in_another_channel(lab: Lab) -> None:
    table = Table(lab)
    one = await table.boot("ann", channel=HERE)
    await table.boot("bob", channel=THERE)
    await table.games.exit(HERE)
    with pytest.raises(ConflictError, match="swap"):
        await table.games.resume(one.id, THERE)
    await table.games.shelve(THERE)
    game = await table.games.resume(one.id, THERE)
    assert (game.channel_id, game.last_channel_id) == (THERE, THERE)
    assert await table.games.get(HERE) is None
    with pytest.raises(ConflictError, match=THERE):
        await table.games.resume(one.id, HERE)
    assert [game.id for game in await table.games.list(channel_id=THERE, state="active")] == [one.id]


async def test_a_paused_game_stays_paused_on_the_shelf(lab: Lab) -> None:
    table = Table(lab)
    one = await table.boot("ann")
    await table.press("ann")
    await table.games.pause(HERE)
    await table.games.shelve(HERE)
    game = await table.games.resume(one.id)
    window = window_of(game)
    assert (game.state, window.paused, window.remaining) == ("paused", True, timedelta(seconds=10))
    assert window_of(await table.games.unpause(HERE)).remaining == timedelta(seconds=10)


async def test_a_window_that_was_due_is_closed_before_its_game_goes(lab: Lab) -> None:
    table = Table(lab)
    one = await table.boot("ann")
    await table.press("ann")
    table.later(seconds=10)
    swapped = await table.games.swap(HERE, "Two")
    assert swapped.shelved is not None
    assert (swapped.shelved.turn, swapped.shelved.window) == (1, None)
    assert [turn.choices for turn in await table.games.history(None, game_id=one.id)] == [{"ann": "north"}]


async def test_a_press_sent_again_after_a_swap_is_no_press_in_the_new_game(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("ann")
    await table.press("ann", key="k")
    await table.games.swap(HERE, "Two")
    again = await table.press("ann", key="k")
    assert (again.status, again.turn) == ("duplicate", 1)
    assert (await shown(table.games, HERE)).window is None
    await table.games.swap(HERE, "Three")
    assert (await table.press("ann", key="k")).status == "duplicate"
    await table.games.exit(HERE)
    await table.games.boot(HERE, "Four")
    assert (await table.press("ann", key="k")).status == "duplicate"


async def test_a_press_on_the_shelf_counts_nowhere(lab: Lab) -> None:
    table = Table(lab)
    one = await table.boot("ann")
    await table.games.shelve(HERE)
    assert (await table.press("ann", channel=None, game_id=one.id)).status == "paused"


async def test_idle_games_leave_their_channel(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("ann", channel="a", shelve_after=timedelta(hours=2))
    await table.boot("bob", channel="b")
    await table.boot("cem", channel="c", shelve_after=timedelta(hours=9))
    await table.press("ann", channel="a")
    table.later(hours=3)
    assert (await table.store.sweep(dry_run=True))["shelved"] == 1
    assert (await table.store.sweep())["shelved"] == 1
    assert await table.games.get("a") is None
    assert await table.games.get("b") is not None
    table.later(hours=9)
    assert (await table.store.sweep(1))["shelved"] == 1
    assert await table.games.get("c") is None
    assert (await table.store.sweep())["shelved"] == 0


async def test_metadata_is_patched_by_key(lab: Lab) -> None:
    table = Table(lab)
    await table.boot()
    await table.games.update(HERE, {"mood": "grim", "dice": [1, 2]})
    game = await table.games.update(HERE, {"mood": "merry"}, ["dice"])
    assert game.metadata == {"mood": "merry"}


async def test_a_lock_has_one_holder(lab: Lab) -> None:
    games = Table(lab).games
    async with games.lock(HERE) as lease:
        with pytest.raises(ConflictError):
            async with games.lock(HERE):
                pass
    async with games.lock(HERE) as again:
        assert again.fence > lease.fence


async def test_what_happens_in_a_channel_is_watched_across_swaps(lab: Lab) -> None:
    table = Table(lab)
    begin = await table.store.tip()
    await table.boot("ann")
    await table.press("ann", "secret plans")
    await table.games.close(HERE)
    await table.games.record_turn(HERE, 1, "Told.")
    await table.games.set_crown(HERE, "ann")
    await table.boot("bob", channel=THERE)
    await table.games.swap(HERE, "Two")
    await table.press("ann")
    seen = [event async for event in table.games.watch(HERE, after=begin, timeout=timedelta(0))]
    two = (await shown(table.games, HERE)).id
    assert "secret" not in repr(seen)
    assert [event.change for event in seen if event.id == two] == ["booted", "chose"]
    assert [event.change for event in seen if event.id != two] == [
        "booted", "joined", "chose", "closed", "narrated", "crowned", "shelved"
    ]  # fmt: skip


async def test_a_watcher_sees_what_comes_after_it_began(lab: Lab) -> None:
    table = Table(lab)
    one = await table.boot("ann", "bob", close_when="all")
    begin = await table.store.tip()
    for step in (
        lambda: table.press("ann"), lambda: table.press("bob"),
        lambda: table.games.record_turn(HERE, 1, "Told."), lambda: table.games.set_crown(HERE, "bob"),
    ):  # fmt: skip
        await step()
    seen = [event async for event in table.games.watch(HERE, after=begin, timeout=timedelta(0))]
    assert [(event.change, event.id) for event in seen] == [
        (change, one.id) for change in ("chose", "chose", "closed", "narrated", "crowned")
    ]


async def test_a_policy_must_be_one(lab: Lab) -> None:
    wrong: Any = {"countdown": 3}
    with pytest.raises(InvalidValueError):
        await Table(lab).games.boot(HERE, "One", policy=wrong)
    assert GamePolicy().countdown == timedelta(seconds=10)


async def test_a_game_that_was_closed_as_any_session_is_over_and_can_be_resumed(lab: Lab) -> None:
    table = Table(lab)
    game = await table.boot("ann", "bob")
    await table.press("ann", "unfinished", key="k")
    await table.store.sessions.end(game.id)
    assert await table.games.get(HERE) is None
    assert (await table.press("ann", "unfinished", key="k")).status == "duplicate"
    assert (await table.games.load(game.id)).state == "ended"
    table.later(hours=1)
    assert (await table.store.sweep())["closed"] == 0
    back = await table.games.resume(game.id)
    assert (back.state, back.window, set(back.players)) == ("active", None, {"ann", "bob"})
    assert (await table.press("bob")).turn == 1
    assert (await table.games.close(HERE)).choices == {"bob": "north"}
    table.later(hours=1)
    assert (await table.store.sweep())["closed"] == 0


async def test_another_game_is_booted_where_one_was_closed_as_any_session(lab: Lab) -> None:
    table = Table(lab)
    game = await table.boot("ann")
    await table.store.sessions.end(game.id)
    assert (await table.games.load(game.id)).channel_id is None
    assert (await table.games.resume(game.id, THERE)).channel_id == THERE
    await table.store.sessions.end(game.id)
    assert (await table.games.boot(HERE, "Next")).name == "Next"
    assert (await table.games.resume(game.id, THERE)).channel_id == THERE


async def test_an_id_of_ones_own_may_not_look_like_an_id_of_the_store(lab: Lab) -> None:
    games = Table(lab).games
    game = await games.boot(HERE, "One")
    with pytest.raises(InvalidValueError, match="game_id"):
        await games.boot(THERE, "Two", game_id=game.id)
    assert await games.get(THERE) is None


@pytest.mark.parametrize("how", ["swap", "exit", "shelve", "again"])
async def test_a_watcher_that_comes_back_reads_what_happened_before_the_game_left(lab: Lab, how: Any) -> None:
    table = Table(lab)
    game = await table.boot("ann")
    begin = await table.store.tip()
    await table.press("ann")
    await table.games.close(HERE)
    table.later(minutes=1)
    if how == "swap":
        await table.games.swap(HERE, "Other")
    elif how == "again":
        await table.games.swap(HERE, "Other")
        await table.games.join(HERE, "bob", "Bob")
        await table.games.exit(HERE)
        table.later(minutes=5)
    else:
        await getattr(table.games, how)(HERE)
    left = await table.store.tip()
    table.later(minutes=5)
    await table.games.resume(game.id, THERE)
    await table.games.join(THERE, "zoe", "Zoe")
    seen = [event async for event in table.games.watch(HERE, after=begin, timeout=timedelta(0))]
    mine = [event.change for event in seen if event.id == game.id]
    assert mine == ["chose", "closed", "exited" if how == "exit" else "shelved"]
    if how == "again":
        assert [event.change for event in seen if event.id != game.id] == ["booted", "joined", "exited"]
    assert [event async for event in table.games.watch(HERE, after=left, timeout=timedelta(0))] == []


@pytest.mark.parametrize("how", ["exit", "shelve"])
async def test_a_game_of_another_home_leaves_once_by_its_key(lab: Lab, how: Any) -> None:
    table = Table(lab)
    game = await table.boot("ann")
    await table.games.shelve(HERE)
    await table.games.resume(game.id, THERE)
    leave = getattr(table.games, how)
    gone = await leave(THERE, key="k")
    assert (gone.id, gone.channel_id) == (game.id, None)
    assert await leave(THERE, key="k") == gone
    await table.boot("bob", channel=THERE, name="Next")
    assert await leave(THERE, key="k") == gone
    assert (await shown(table.games, THERE)).name == "Next"


@pytest.mark.parametrize("own", [None, "mine"])
async def test_boots_at_once_with_one_key_make_one_game_and_all_are_given_it(lab: Lab, own: str | None) -> None:
    games = Table(lab).games
    outcomes = await lab.outcomes(*[lambda: games.boot(HERE, "One", game_id=own, key="k") for _ in range(4)])
    made = await games.get(HERE)
    assert made is not None
    assert [getattr(outcome, "id", outcome) for outcome in outcomes] == [made.id] * 4
    assert [game.id for game in (await games.list()).items] == [made.id]
    if own is not None:
        assert (await games.load(own)).id == made.id


async def test_a_boot_that_was_refused_may_be_asked_again_under_its_key(lab: Lab) -> None:
    games = Table(lab).games
    await games.boot(HERE, "One")
    with pytest.raises(ConflictError):
        await games.boot(HERE, "Two", game_id="mine", key="k")
    await games.exit(HERE)
    made = await games.boot(HERE, "Two", game_id="mine", key="k")
    assert (await games.boot(HERE, "Two", game_id="mine", key="k")).id == made.id
    assert (await games.load("mine")).id == made.id
