"""A turn, from the first press to the narration, as players see it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from sojourn import ConflictError, GamePolicy, InvalidValueError, KeyReusedError, NotFoundError, Submitted, Turn
from sojourn.kinds.games import windows
from tests.games.checking import shown, window_of
from tests.games.conftest import HERE, Table

if TYPE_CHECKING:
    from tests.conversations.conftest import Lab


async def test_a_turn_from_the_first_press_to_the_narration(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("ann", "bob")
    first = await table.press("ann", "go north")
    assert (first.status, first.first, first.remaining, first.turn) == ("accepted", True, timedelta(seconds=10), 1)
    table.later(seconds=4)
    second = await table.press("bob", "go south")
    assert (second.status, second.first, second.remaining, second.turn) == ("accepted", False, timedelta(seconds=6), 1)
    table.later(seconds=6)
    turn = await table.games.wait_for_countdown(HERE)
    assert (turn.number, turn.choices, turn.reason, turn.state) == (
        1, {"ann": "go north", "bob": "go south"}, "deadline", "closed"
    )  # fmt: skip
    claim = await table.games.narrate(HERE)
    assert claim.turn.state == "narrating"
    told = await table.games.record_turn(HERE, 1, "They split up.", token=claim.token)
    assert (told.state, told.narrative_summary) == ("resolved", "They split up.")
    game = await shown(table.games, HERE)
    assert (game.turn, game.window) == (1, None)
    assert await table.games.history(HERE) == [told]


async def test_the_window_says_what_is_waited_for(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("ann", "bob")
    await table.press("ann")
    table.later(seconds=1)
    window = window_of(await table.games.get(HERE))
    assert (window.turn, window.choices_made, window.expected, window.paused) == (1, 1, ("ann", "bob"), False)
    assert window.remaining == timedelta(seconds=9)
    assert window.deadline is not None
    assert window.deadline - window.opened_at == timedelta(seconds=10)


async def test_a_change_of_mind_replaces_the_choice(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("ann", "bob", close_when="all")
    await table.press("ann", "go north")
    again = await table.press("ann", "go south")
    assert (again.status, again.first, again.turn) == ("replaced", False, 1)
    await table.press("bob", "wait")
    (turn,) = await table.games.history(HERE)
    assert turn.choices == {"ann": "go south", "bob": "wait"}


async def test_a_change_of_mind_is_seen_by_a_store_that_has_not_seen_the_first(disk_lab: Lab) -> None:
    table = Table(disk_lab)
    await table.boot("ann", "bob", close_when="all")
    await table.press("ann", "go north")
    other = disk_lab.open()
    again = await other.games.submit_choice(HERE, "ann", "Ann", "go south")
    assert (again.status, again.first) == ("replaced", False)
    assert window_of(await other.games.get(HERE)).choices_made == 1


async def test_the_first_choice_locks_where_the_policy_says_so(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("ann", "bob", change="first_locks")
    await table.press("ann", "go north")
    assert [(await table.press("ann", choice)).status for choice in ("go south", "go north")] == ["locked", "locked"]
    turn = await table.games.close(HERE)
    assert turn.choices == {"ann": "go north"}


@pytest.mark.parametrize(("when", "quorum", "closes_after"), [("deadline", None, None), ("all", None, 3), ("quorum", 2, 2)])
async def test_what_closes_a_window_before_its_deadline(
    lab: Lab, when: str, quorum: int | None, closes_after: int | None
) -> None:
    table = Table(lab)
    await table.boot("ann", "bob", "cem", close_when=when, quorum=quorum)
    for count, person in enumerate(("ann", "bob", "cem"), 1):
        await table.press(person)
        closed = (await shown(table.games, HERE)).turn
        assert closed == (closes_after is not None and count >= closes_after)
        if closed:
            (turn,) = await table.games.history(HERE)
            assert (turn.reason, turn.closed_by) == (when, person)
            break


async def test_a_press_after_the_deadline_counts_in_the_next_turn(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("ann", "bob")
    await table.press("ann", "go north")
    table.later(seconds=10)
    late = await table.press("bob", "go south")
    assert (late.status, late.turn, late.first) == ("carried", 2, True)
    (turn,) = await table.games.history(HERE)
    assert turn.choices == {"ann": "go north"}


async def test_a_press_after_the_deadline_counts_nowhere_where_the_policy_says_so(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("ann", "bob", late="reject")
    await table.press("ann")
    table.later(seconds=10)
    late = await table.press("bob")
    assert (late.status, late.turn) == ("late", 2)
    game = await shown(table.games, HERE)
    assert (game.turn, game.window) == (1, None)


async def test_within_the_grace_a_press_still_counts(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("ann", "bob", grace=timedelta(seconds=2))
    await table.press("ann")
    table.later(seconds=11)
    press = await table.press("bob")
    assert (press.status, press.turn, press.remaining) == ("accepted", 1, timedelta(0))
    table.later(seconds=1)
    turn = await table.games.wait_for_countdown(HERE)
    assert set(turn.choices) == {"ann", "bob"}
    assert turn.deadline is not None
    assert turn.deadline - turn.opened_at == timedelta(seconds=10)


async def test_expecting_a_turn_that_is_over(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("ann", "bob")
    await table.play("ann")
    carried = await table.press("bob", expect_turn=1)
    assert (carried.status, carried.turn) == ("carried", 2)
    assert (await table.press("bob", expect_turn=3)).status == "invalid"
    assert (await table.press("bob", expect_turn=2)).status == "replaced"


async def test_expecting_a_turn_that_is_over_is_late_where_the_policy_says_so(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("ann", "bob", late="reject")
    await table.play("ann")
    assert (await table.press("bob", expect_turn=1)).status == "late"


async def test_a_press_sent_again_counts_once(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("ann", "bob")
    first = await table.press("ann", key="k1")
    again = await table.press("ann", key="k1")
    assert (first.status, again.status, again.turn, again.first) == ("accepted", "duplicate", 1, False)
    await table.games.close(HERE)
    for _ in range(2):
        after = await table.press("ann", key="k1")
        assert (after.status, after.turn, after.first) == ("duplicate", 1, False)
    assert (await shown(table.games, HERE)).window is None
    with pytest.raises(KeyReusedError):
        await table.press("ann", "another", key="k1")


async def test_a_window_opened_by_hand_offers_what_may_be_chosen(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("ann", "bob", open_on="manual", on_timeout="default")
    assert (await table.press("ann")).status == "late"
    window = await table.games.open_window(HERE, options=["north", "south"], default="south")
    assert (window.options, window.default, window.turn) == (("north", "south"), "south", 1)
    assert (await table.press("ann", "up")).status == "invalid"
    assert (await table.press("ann", "north")).status == "accepted"
    table.later(seconds=10)
    turn = await table.games.wait_for_countdown(HERE)
    assert (turn.choices, turn.filled) == ({"ann": "north", "bob": "south"}, ("bob",))


async def test_what_is_offered_may_change_while_the_window_is_open(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("ann", "bob")
    await table.press("ann", "anything")
    await table.games.open_window(HERE, options=["north"])
    assert (await table.press("bob", "south")).status == "invalid"
    assert (await table.press("bob", "north")).status == "accepted"


async def test_on_timeout_the_last_choice_is_repeated(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("ann", "bob", "cem", on_timeout="repeat")
    await table.play("ann", "bob", choice="dig")
    for _ in range(2):
        await table.press("ann", "rest")
        turn = await table.games.close(HERE)
        assert (turn.choices, turn.filled) == ({"ann": "rest", "bob": "dig"}, ("bob",))


async def test_on_timeout_the_dice_are_those_of_the_game(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("ann", *(f"p{number}" for number in range(8)), on_timeout="random")
    await table.games.open_window(HERE, options=["a", "b", "c"])
    await table.press("ann", "a")
    turn = await table.games.close(HERE)
    assert len(turn.choices) == 9
    assert set(turn.choices.values()) <= {"a", "b", "c"}
    game = await shown(table.games, HERE)
    from random import Random

    for user in turn.filled:
        assert turn.choices[user] == Random(f"{game.seed}/1/{user}").choice(["a", "b", "c"])


async def test_the_next_window_opens_with_the_narration(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("ann", "bob", open_on="turn_start", close_when="all")
    assert window_of(await table.games.get(HERE)).expected == ("ann",)
    await table.press("ann")
    assert (await shown(table.games, HERE)).window is None
    assert (await table.press("ann")).status == "late"
    await table.games.record_turn(HERE, 1, "On it goes.")
    assert window_of(await table.games.get(HERE)).expected == ("ann", "bob")


async def test_pausing_keeps_what_is_left(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("ann", "bob", close_when="all")
    await table.press("ann")
    table.later(seconds=3)
    game = await table.games.pause(HERE)
    window = window_of(game)
    assert (game.state, window.paused, window.remaining, window.deadline) == ("paused", True, timedelta(seconds=7), None)
    table.later(hours=5)
    assert (await table.press("bob")).status == "paused"
    assert (await table.games.extend(HERE, timedelta(seconds=5))).remaining == timedelta(seconds=12)
    game = await table.games.unpause(HERE)
    window = window_of(game)
    assert (game.state, window.remaining, window.choices_made) == ("active", timedelta(seconds=12), 1)
    assert (await table.press("bob")).status == "accepted"
    (turn,) = await table.games.history(HERE)
    assert turn.choices == {"ann": "north", "bob": "north"}


async def test_pausing_between_turns(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("ann")
    assert (await table.games.pause(HERE)).state == "paused"
    assert (await table.games.pause(HERE)).state == "paused"
    assert (await table.press("ann")).status == "paused"
    assert (await table.games.unpause(HERE)).state == "active"
    assert (await table.press("ann")).status == "accepted"


async def test_extending_moves_the_deadline(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("ann", "bob")
    await table.press("ann")
    window = await table.games.extend(HERE, timedelta(seconds=20), key="more")
    assert window.remaining == timedelta(seconds=30)
    assert (await table.games.extend(HERE, timedelta(seconds=20), key="more")).remaining == timedelta(seconds=30)
    table.later(seconds=29)
    assert (await table.press("bob")).status == "accepted"


async def test_without_a_countdown_a_window_waits(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("ann", "bob", countdown=None, close_when="all")
    press = await table.press("ann")
    assert press.remaining is None
    table.later(days=300)
    assert window_of(await table.games.get(HERE)).choices_made == 1
    with pytest.raises(ConflictError, match="no countdown"):
        await table.games.extend(HERE, timedelta(seconds=1))
    await table.press("bob")
    assert (await shown(table.games, HERE)).turn == 1


async def test_waiting_gives_everybody_the_same_turn(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("ann", "bob")
    with pytest.raises(NotFoundError):
        await table.games.wait_for_countdown(HERE)
    await table.press("ann")
    table.later(seconds=10)
    turns = await lab.together(*[lambda: table.games.wait_for_countdown(HERE)] * 8)
    assert len(set(map(repr, turns))) == 1
    assert await table.games.wait_for_countdown(HERE, turn=1) == turns[0]
    assert await table.games.wait_for_countdown(HERE) == turns[0]
    with pytest.raises(NotFoundError):
        await table.games.wait_for_countdown(HERE, turn=7)


async def test_a_waiter_is_woken_by_the_press_that_completes_the_window(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("ann", "bob", close_when="all")
    await table.press("ann")
    turn, press = await lab.together(lambda: table.games.wait_for_countdown(HERE), lambda: table.press("bob"))
    assert isinstance(turn, Turn)
    assert isinstance(press, Submitted)
    assert (turn.number, set(turn.choices), press.status) == (1, {"ann", "bob"}, "accepted")


async def test_who_joins_after_the_window_opened_is_not_waited_for(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("ann", "bob", close_when="all")
    await table.press("ann")
    await table.games.join(HERE, "cem", "Cem")
    assert (await table.press("dan")).status == "accepted"
    assert (await shown(table.games, HERE)).turn == 0
    await table.press("dan", "again")
    assert (await shown(table.games, HERE)).turn == 0
    await table.press("bob")
    (turn,) = await table.games.history(HERE)
    assert set(turn.choices) == {"ann", "bob", "dan"}


async def test_who_leaves_is_not_waited_for(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("ann", "bob", "cem", close_when="all")
    await table.press("ann")
    await table.games.leave(HERE, "ann")
    assert (await shown(table.games, HERE)).turn == 0
    await table.press("bob")
    assert (await shown(table.games, HERE)).turn == 0
    await table.games.kick(HERE, "cem")
    (turn,) = await table.games.history(HERE)
    assert (turn.choices, turn.reason) == ({"ann": "north", "bob": "north"}, "all")


async def test_who_takes_over_a_seat_is_waited_for(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("ann", "bob", close_when="all")
    await table.press("ann")
    player = await table.games.substitute(HERE, "bob", "zoe", "Zoe")
    assert (player.user_id, player.seat) == ("zoe", 2)
    assert window_of(await table.games.get(HERE)).expected == ("ann", "zoe")
    await table.press("zoe", "dance")
    (turn,) = await table.games.history(HERE)
    assert turn.choices == {"ann": "north", "zoe": "dance"}


async def test_only_who_has_a_seat_may_press_where_the_policy_says_so(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("ann", seated_only=True)
    await table.games.join(HERE, "eve", "Eve", role="spectator")
    assert [(await table.press(person)).status for person in ("bob", "eve", "ann")] == ["not_seated", "not_seated", "accepted"]


async def test_presses_may_not_come_too_fast(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("ann", "bob", min_interval=timedelta(seconds=2))
    assert (await table.press("ann")).status == "accepted"
    assert (await table.press("ann")).status == "rate_limited"
    assert (await table.press("bob")).status == "accepted"
    table.later(seconds=2)
    assert (await table.press("ann")).status == "replaced"
    await table.games.close(HERE)
    assert (await table.press("ann")).status == "rate_limited"


async def test_closing_by_hand(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("ann", "bob")
    with pytest.raises(ConflictError, match="no window is open"):
        await table.games.close(HERE)
    await table.press("ann")
    with pytest.raises(ConflictError, match="crown"):
        await table.games.close(HERE, by="bob")
    await table.games.set_crown(HERE, "bob")
    turn = await table.games.close(HERE, by="bob")
    assert (turn.reason, turn.closed_by, turn.choices) == ("gm", "bob", {"ann": "north"})


async def test_a_policy_is_kept_with_its_game(disk_lab: Lab) -> None:
    table = Table(disk_lab)
    await table.boot("ann", countdown=timedelta(seconds=33))
    other = disk_lab.open(games=GamePolicy(countdown=timedelta(seconds=1)))
    press = await other.games.submit_choice(HERE, "ann", "Ann", "x")
    assert press.remaining == timedelta(seconds=33)


@pytest.mark.parametrize(
    "wrong",
    [
        {"close_when": "never"}, {"close_when": "quorum"}, {"quorum": 3}, {"max_players": 0}, {"countdown": 10},
        {"open_on": "sunday"}, {"active_within": (2, 15)}, {"history_limit": -1}, {"on_timeout": None},
    ],
)  # fmt: skip
def test_a_policy_that_means_nothing_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidValueError):
        GamePolicy(**wrong)


async def test_a_press_that_expects_the_turn_after_one_that_is_due_is_in_time(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("ann", late="reject")
    await table.press("ann")
    table.later(seconds=10)
    answer = await table.press("ann", expect_turn=2)
    assert (answer.status, answer.first, answer.turn) == ("accepted", True, 2)
    table.later(seconds=10)
    assert (await table.press("ann", expect_turn=2)).status == "late"
    assert (await table.press("ann")).status == "accepted"


async def test_a_choice_that_is_not_offered_any_more_is_not_repeated(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("ann", "bob", open_on="manual", on_timeout="repeat")
    for options, filled in ((["left", "right"], {}), (["right", "back"], {"bob": "right"}), (["up", "down"], {})):
        await table.games.open_window(HERE, options=options)
        if not filled:
            await table.press("ann", options[0])
        if options[0] == "left":
            await table.press("bob", "right")
        turn = await table.games.close(HERE)
        assert {user: turn.choices[user] for user in turn.filled if user == "bob"} == filled


async def test_whoever_joins_before_the_narration_does_not_open_the_next_turn(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("ann", open_on="turn_start")
    await table.play("ann")
    await table.games.join(HERE, "bob", "Bob")
    assert (await shown(table.games, HERE)).window is None
    assert (await table.press("bob")).status == "late"
    await table.games.record_turn(HERE, 1, "Told.")
    assert window_of(await table.games.get(HERE)).expected == ("ann", "bob")


@pytest.mark.parametrize("how", ["pause", "shelve", "exit", "swap", "rewind"])
async def test_a_turn_that_opens_by_itself_does_so_whatever_came_between(lab: Lab, how: Any) -> None:
    table = Table(lab)
    games, game = table.games, await table.boot("ann", open_on="turn_start")
    await table.play("ann")
    ways: dict[str, tuple[Callable[[], Awaitable[object]], Callable[[], Awaitable[object]]]] = {
        "pause": (lambda: games.pause(HERE), lambda: games.unpause(HERE)),
        "shelve": (lambda: games.shelve(HERE), lambda: games.resume(game.id)),
        "exit": (lambda: games.exit(HERE), lambda: games.resume(game.id)),
        "swap": (lambda: games.swap(HERE, "Other"), lambda: games.swap(HERE, game_id=game.id)),
        "rewind": (lambda: games.get(HERE), lambda: games.rewind(HERE, 1)),
    }
    stop, go = ways[how]
    await stop()
    await games.record_turn(None, 1, "Told.", game_id=game.id)
    await go()
    assert window_of(await games.get(HERE)).turn == 2
    assert (await table.press("ann")).status == "accepted"


async def test_a_press_opens_the_turn_whose_narrator_died_before_opening_it(lab: Lab, monkeypatch: Any) -> None:
    table = Table(lab)
    await table.boot("ann", open_on="turn_start")
    await table.play("ann")
    with monkeypatch.context() as dead:
        dead.setattr(windows, "starts", lambda view: False)
        await table.games.record_turn(HERE, 1, "Told.")
    assert (await shown(table.games, HERE)).window is None
    answer = await table.press("ann")
    assert (answer.status, answer.first, answer.turn) == ("accepted", True, 2)


async def test_a_read_closes_a_window_that_is_due(lab: Lab) -> None:
    table = Table(lab)
    game = await table.boot("ann")
    reads: list[Callable[[], Awaitable[object]]] = [
        lambda: table.games.get(HERE),
        lambda: table.games.load(game.id),
        lambda: table.games.players(HERE),
        lambda: table.games.active_players(HERE),
    ]
    for number, read in enumerate(reads, 1):
        await table.press("ann")
        table.later(seconds=10)
        await read()
        assert (await table.row(game.id)).data["turn"] == number


async def test_a_countdown_ends_before_the_calendar_does(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("ann")
    await table.press("ann")
    with pytest.raises(InvalidValueError, match="1,000 years"):
        await table.games.extend(HERE, timedelta(days=365 * 1000))
    await table.games.extend(HERE, timedelta(days=365 * 999))
    await table.games.pause(HERE)
    with pytest.raises(InvalidValueError, match="1,000 years"):
        await table.games.extend(HERE, timedelta(days=365 * 999))
    remaining = window_of(await table.games.unpause(HERE)).remaining
    assert remaining is not None
    assert remaining > timedelta(days=365 * 998)
