"""What must never happen to a game; each was seen in a system that people use."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from sojourn import ConflictError, EngineError, LeaseHeldError, LimitError, NotFoundError
from sojourn.errors import UnavailableError
from tests.games.checking import shown, window_of
from tests.games.conftest import HERE, Table

if TYPE_CHECKING:
    from tests.conversations.conftest import Lab


async def test_an_exited_game_is_not_back_after_a_restart(disk_lab: Lab) -> None:
    table = Table(disk_lab)
    game = await table.boot("ann")
    await table.press("ann")
    await table.games.exit(HERE)
    await table.store.close()
    games = disk_lab.open().games
    assert await games.get(HERE) is None
    assert (await games.load(game.id)).state == "ended"
    assert [row.id for row in await games.list(state="active")] == []


async def test_acknowledged_choices_are_not_lost_in_a_crash(disk_lab: Lab) -> None:
    """The store that acknowledged them is never closed: another one reads what is on the disk."""
    table = Table(disk_lab)
    await table.boot("ann", "bob", close_when="all")
    await table.press("ann", "go north", key="k")
    games = disk_lab.open().games
    assert window_of(await games.get(HERE)).choices_made == 1
    await games.submit_choice(HERE, "bob", "Bob", "go south")
    assert (await games.history(HERE))[0].choices == {"ann": "go north", "bob": "go south"}
    assert (await games.submit_choice(HERE, "ann", "Ann", "go north", key="k")).status == "duplicate"


async def test_a_countdown_is_not_measured_on_a_clock_that_a_restart_resets(disk_lab: Lab) -> None:
    table = Table(disk_lab)
    await table.boot("ann", "bob")
    await table.press("ann")
    deadline = window_of(await table.games.get(HERE)).deadline
    table.later(seconds=6)
    await table.store.close()
    games = disk_lab.open().games
    window = window_of(await games.get(HERE))
    assert (window.deadline, window.remaining) == (deadline, timedelta(seconds=4))
    table.later(seconds=4)
    assert (await games.wait_for_countdown(HERE)).closed_at == deadline


async def test_a_turn_is_not_advanced_twice_because_somebody_changed_their_mind(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("ann", "bob", close_when="all")
    answers = await lab.each(range(8), lambda n: table.press("ann", f"choice {n}"))
    assert sum(answer.first for answer in answers) == 1
    assert {answer.turn for answer in answers} == {1}
    assert (await shown(table.games, HERE)).turn == 0
    await table.press("bob")
    assert (await shown(table.games, HERE)).turn == 1


async def test_a_press_is_not_in_two_turns_or_in_none(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("ann", "bob")
    for turn in range(1, 6):
        await table.press("ann", f"ann {turn}", key=f"a{turn}")
        table.later(seconds=10)
        late = await table.press("bob", f"bob {turn}", key=f"b{turn}")
        assert (late.status, late.turn) == ("carried", turn + 1)
        for key, user, wanted in ((f"a{turn}", "ann", turn), (f"b{turn}", "bob", turn + 1)):
            again = await table.press(user, f"{user} {turn}", key=key)
            assert (again.status, again.turn) == ("duplicate", wanted)
        await table.games.close(HERE)
        turns = [turn.choices for turn in await table.games.history(HERE, count=50)]
        assert sum(f"bob {turn}" in choices.values() for choices in turns) == 1
        await table.games.rewind(HERE, turn)


async def test_a_game_loaded_by_id_is_that_one(lab: Lab) -> None:
    table = Table(lab)
    ids = {}
    for number in range(4):
        ids[f"Game {number}"] = (await table.games.swap(HERE, f"Game {number}")).game.id
    for name, id in ids.items():
        assert (await table.games.load(id)).name == name
    last = next(iter(ids.values()))
    with pytest.raises(NotFoundError):
        await table.games.load(last[:-1] + ("1" if last[-1] == "0" else "0"))


async def test_a_swapped_game_is_not_overwritten_nor_shown_in_the_new_one(lab: Lab) -> None:
    table = Table(lab)
    one = await table.boot("ann")
    await table.play("ann", choice="of the first")
    await table.games.record_turn(HERE, 1, "story of the first")
    before = await shown(table.games, HERE)
    two = (await table.games.swap(HERE, "Two")).game
    assert (two.players, two.turn, await table.games.history(HERE)) == ({}, 0, [])
    await table.press("zoe", "of the second")
    after = await table.games.load(one.id)
    assert (after.players, after.turn, after.crown_holder) == (before.players, 1, before.crown_holder)
    assert [turn.narrative_summary for turn in await table.games.history(None, game_id=one.id)] == ["story of the first"]


async def test_no_window_is_frozen(lab: Lab) -> None:
    """Whoever comes by closes it: a sweep, a reader, somebody who presses; also when everybody waited for has left."""
    table = Table(lab)
    closers: dict[str, Callable[[], Awaitable[object]]] = {
        "sweep": lambda: table.store.sweep(),
        "history": lambda: table.games.history("history"),
        "press": lambda: table.press("bob", channel="press"),
        "wait": lambda: table.games.wait_for_countdown("wait", turn=1),
        "join": lambda: table.games.join("join", "zoe", "Zoe"),
    }
    for channel in closers:
        await table.boot("ann", "bob", channel=channel)
        await table.press("ann", channel=channel)
    table.later(seconds=10)
    for channel, close in reversed(closers.items()):
        await close()
        assert (await shown(table.games, channel)).turn == 1, channel
    await table.boot("ann", "bob", channel="left", close_when="all", countdown=None)
    await table.press("ann", channel="left")
    await table.games.leave("left", "bob")
    assert (await shown(table.games, "left")).turn == 1


async def test_a_press_after_the_deadline_does_not_count(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("ann", "bob", late="reject")
    await table.press("ann")
    table.later(seconds=10, microseconds=-1)
    assert (await table.press("bob", "in time")).status == "accepted"
    table.later(microseconds=1)
    assert (await table.press("bob", "too late")).status == "late"
    (turn,) = await table.games.history(HERE)
    assert turn.choices["bob"] == "in time"


async def test_who_had_just_joined_has_no_skip(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("ann")
    await table.press("ann")
    await table.games.join(HERE, "bob", "Bob")
    await table.games.close(HERE)
    await table.games.join(HERE, "cem", "Cem")
    await table.games.record_turn(HERE, 1, "Told.")
    assert {p.user_id: p.consecutive_skips for p, _ in await table.games.players(HERE)} == {"ann": 0, "bob": 0, "cem": 0}


async def test_a_crown_is_not_on_nobody(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("ann", "bob", "cem")
    with pytest.raises(NotFoundError):
        await table.games.set_crown(HERE, "zoe")
    await table.games.set_crown(HERE, "bob")
    for gone, then in (("bob", "ann"), ("ann", "cem"), ("cem", None)):
        await (table.games.kick if gone == "ann" else table.games.leave)(HERE, gone)
        game = await shown(table.games, HERE)
        assert game.crown_holder == then
        assert then is None or then in game.players
    assert await table.games.crown_holder_name(HERE) == "the GM"


async def test_nothing_is_said_to_be_saved_while_the_engine_is_down(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table(lab)
    await table.boot("ann")
    await table.press("ann")
    aio = getattr(table.store, "_inner", table.store)
    engine = getattr(aio, "_aio", aio)._engine

    async def down(*_args: Any, **_named: Any) -> None:
        raise UnavailableError("the engine is down.")

    with monkeypatch.context() as patched:
        patched.setattr(engine, "commit", down)
        for operation in (
            lambda: table.press("ann", "lost?"), lambda: table.games.close(HERE), lambda: table.games.exit(HERE),
            lambda: table.games.swap(HERE, "Two"), lambda: table.games.save(HERE, "slot"),
            lambda: table.games.join(HERE, "bob", "Bob"), lambda: table.games.boot("elsewhere", "Three"),
        ):  # fmt: skip
            with pytest.raises(EngineError):
                await operation()
    turn = await table.games.close(HERE)
    assert turn.choices == {"ann": "north"}
    assert len(await table.games.list()) == 1


async def test_a_lock_has_one_holder_also_while_it_is_cleaned_up(lab: Lab) -> None:
    table = Table(lab)
    async with table.games.lock(HERE, ttl=timedelta(seconds=5)) as slow:
        table.later(seconds=5)
        async with table.games.lock(HERE, ttl=timedelta(seconds=5)) as quick:
            assert quick.fence > slow.fence
            with pytest.raises(LeaseHeldError):
                async with table.games.lock(HERE):
                    pass
            holding = table.games.lock(HERE)
            with pytest.raises(LeaseHeldError):
                await holding.__aenter__()
    async with table.games.lock(HERE):
        with pytest.raises(ConflictError):
            async with table.games.lock(HERE):
                pass


async def test_no_history_entry_has_21_megabytes(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("ann")
    await table.play("ann")
    with pytest.raises(LimitError):
        await table.games.record_turn(HERE, 1, "x" * 21_000_000)
    await table.games.record_turn(HERE, 1, "y" * 900_000)
    (turn,) = await table.games.history(HERE)
    assert len(turn.narrative_summary) == 500
    assert (await table.press("ann", "z" * 10_000_000)).status == "invalid"
