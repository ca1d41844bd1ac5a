"""A program written for the bot's game session module, on Sojourn."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest

import sojourn
from sojourn import AsyncStore, GamePolicy
from sojourn.compat import game_session as bot
from sojourn.compat.game_session import ActivityTier, GameSession, GameSessionLockRegistry, PlayerState, TurnRecord
from sojourn.testing.clocks import ManualClock
from tests.compat.conftest import Play


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Countdowns that are short enough to be waited for, where the time is the machine's."""
    monkeypatch.setattr(bot, "_POLICY", GamePolicy(countdown=timedelta(milliseconds=600), gm_name=bot.HOUSE))


async def closed(session: GameSession, clock: ManualClock) -> dict[str, str]:
    """What was chosen in the turn, once its countdown has run."""
    clock.advance(timedelta(seconds=11))
    return await session.wait_for_countdown()


# -- values ------------------------------------------------------------------------------------------------------------


def test_values_go_there_and_back_and_ignore_what_they_do_not_know() -> None:
    player = PlayerState("u1", "Una", 2, 12.5, 3, 1)
    assert PlayerState.from_dict({**player.to_dict(), "later": 1}) == player
    assert player.to_dict()["last_active"] == 12.5
    turn = TurnRecord(3, {"u1": "north"}, "they went", 99.0)
    assert TurnRecord.from_dict({**turn.to_dict(), "later": 1}) == turn
    fresh = PlayerState("u1", "Una")
    assert (fresh.joined_turn, fresh.last_active_turn, fresh.consecutive_skips) == (0, 0, 0)
    assert fresh.last_active > 0
    assert [tier.value for tier in ActivityTier] == ["active", "idle", "dormant"]


def test_a_session_goes_there_and_back() -> None:
    session = GameSession("c1", "Salt & Static")
    assert len(session.game_id) == 12
    int(session.game_id, 16)
    session.register_player("u1", "Una")
    session.set_crown("u1")
    session.active, session.turn_number, session.pending_choices = True, 4, {"u1": "north"}
    kept = json.loads(json.dumps(session.to_dict()))
    assert GameSession.from_dict({**kept, "later": 1}).to_dict() == session.to_dict()
    hashed = session.to_redis()
    assert all(isinstance(value, str) for value in hashed.values())
    assert (hashed["active"], hashed["crown_holder"], hashed["countdown_started"]) == ("1", "u1", "0.0")
    for form in (hashed, {key.encode(): value.encode() for key, value in hashed.items()}):
        back = GameSession.from_redis(form)
        assert back.to_dict() == session.to_dict()
        assert back.pending_choices == {"u1": "north"}
    assert GameSession.from_redis({"channel_id": "c1"}).active is False
    assert GameSession.from_redis({"crown_holder": ""}).crown_holder is None


def test_crowns_and_tiers_need_no_store() -> None:
    session = GameSession("c1", "Game")
    assert session.get_crown_holder_name() == "Stargazer"
    session.set_crown("u1")
    assert session.get_crown_holder_name() == "Unknown"
    session.register_player("u1", "Una")
    assert session.get_crown_holder_name() == "Una"
    assert session.is_crown_holder("u1")
    assert not session.is_crown_holder("u2")
    session.set_crown(None)
    assert not session.is_crown_holder("u1")
    session.players["u2"] = PlayerState("u2", "Bo", last_active=0.0)
    session.players["u3"] = PlayerState("u3", "Cy", last_active=0.0)
    session.turn_number, session.players["u2"].last_active_turn = 5, 1
    tiers = [(player.user_id, tier) for player, tier in session.get_all_players_tiered()]
    assert tiers == [("u1", ActivityTier.ACTIVE), ("u2", ActivityTier.IDLE), ("u3", ActivityTier.IDLE)]
    session.turn_number = 6
    assert list(session.get_active_players(inactive_hours=0.0)) == ["u1", "u2"]


# -- playing -----------------------------------------------------------------------------------------------------------


def test_a_game_from_boot_to_exit(play: Play, clock: ManualClock) -> None:
    async def scene(store: AsyncStore) -> None:
        session = GameSession("c1")
        text = await session.boot("Salt & Static", store)
        assert all(part in text for part in (bot.DEFAULT_TITLE_SCREEN, "Salt & Static", session.game_id))
        assert (session.active, session.turn_number, session.players) == (True, 0, {})
        first, remaining = await session.submit_choice("u1", "Una", "north")
        assert first
        assert remaining == 10.0
        assert (await session.submit_choice("u2", "Bo", "south"))[0] is False
        assert (await session.submit_choice("u1", "Una", "east"))[0] is False
        assert session.pending_choices == {"u1": "east", "u2": "south"}
        other = await bot.load_by_game_id(session.game_id, store)
        assert other is not None
        choices, same = await asyncio.gather(closed(session, clock), other.wait_for_countdown())
        assert choices == same == {"u1": "east", "u2": "south"}
        assert (session.turn_number, session.pending_choices) == (1, {})
        await session.record_turn(choices, "They part ways." * 60, store)
        (turn,) = await session.get_turn_history(store)
        assert (turn.turn, turn.choices) == (1, choices)
        assert len(turn.narrative_summary) == 500
        text = await session.exit_game(store)
        assert all(part in text for part in ("Salt & Static", "1 turns", "2 players"))
        assert session.active is False
        assert await bot.get_or_restore_session("c1", store) is None
        again = await bot.load_by_game_id(session.game_id, store)
        assert again is not None
        assert (again.active, again.turn_number, list(again.players)) == (False, 1, ["u1", "u2"])

    play(scene)


def test_nobody_pressed(play: Play, clock: ManualClock) -> None:
    async def scene(store: AsyncStore) -> None:
        session = GameSession("c1")
        await session.boot("Game", store)
        assert await closed(session, clock) == {}

    play(scene)


def test_a_turn_with_given_choices(play: Play) -> None:
    async def scene(store: AsyncStore) -> None:
        session = GameSession("c1")
        await session.boot("Game", store)
        await session.record_turn({"u1": "north", "u2": "south"}, "given", store)
        await session.record_turn({}, "nobody", store)
        assert session.turn_number == 2
        turns = await session.get_turn_history(store)
        assert [(turn.turn, turn.choices, turn.narrative_summary) for turn in turns] == [
            (1, {"u1": "north", "u2": "south"}, "given"),
            (2, {}, "nobody"),
        ]
        assert [turn.turn for turn in await session.get_turn_history(store, count=1)] == [2]
        assert await session.get_turn_history(None) == []

    play(scene)


def test_without_a_store_nothing_is_persisted(play: Play, short: None) -> None:
    async def scene(store: AsyncStore) -> None:
        session = GameSession("c1")
        await session.boot("Game")
        await session.submit_choice("u1", "Una", "north")
        choices = await session.wait_for_countdown()
        assert choices == {"u1": "north"}
        await session.record_turn(choices, "they went")
        assert await session.get_turn_history() == []
        assert await bot.get_or_restore_session("c1", None) is None
        assert await bot.list_all_games(store) == []

    play(scene)


def test_an_occupied_channel_is_swapped_and_keeps_both(play: Play) -> None:
    async def scene(store: AsyncStore) -> None:
        one, two = GameSession("c1"), GameSession("c1")
        await one.boot("One", store)
        await one.record_turn({"u1": "north"}, "one", store)
        await two.boot("Two", store)
        assert await two.get_turn_history(store) == []
        assert [turn.narrative_summary for turn in await one.get_turn_history(store)] == ["one"]
        listed = await bot.list_all_games(store)
        assert [(row["game_id"], row["game_name"], row["turn_number"], row["active"]) for row in listed] == [
            (one.game_id, "One", 1, False),
            (two.game_id, "Two", 0, True),
        ]
        assert {row["channel_id"] for row in listed} == {"c1"}

    play(scene)


def test_a_used_id_is_minted_anew(play: Play) -> None:
    async def scene(store: AsyncStore) -> None:
        session = GameSession("c1", game_id="0123456789ab")
        await session.boot("Game", store)
        assert session.game_id == "0123456789ab"
        await session.boot("Again", store)
        assert session.game_id != "0123456789ab"
        assert len(await bot.list_all_games(store)) == 2

    play(scene)


def test_what_was_set_is_stored_with_the_next_call(play: Play) -> None:
    async def scene(store: AsyncStore) -> None:
        session = GameSession("c1")
        await session.boot("Game", store)
        session.register_player("u1", "Una")
        session.set_crown("u1")
        await bot.persist_session("c1", session, store)
        fresh = await GameSession.load_from_redis("c1", store)
        assert fresh is not None
        assert (list(fresh.players), fresh.crown_holder, fresh.get_crown_holder_name()) == (["u1"], "u1", "Una")
        await bot.persist_session("c1", session, None)

    play(scene)


def test_restoring(play: Play) -> None:
    async def scene(store: AsyncStore) -> None:
        assert await bot.get_or_restore_session("c1", store) is None
        assert await GameSession.load_from_redis("c1", store) is None
        session = GameSession("c1")
        await session.boot("Game", store)
        restored = await bot.get_or_restore_session("c1", store)
        assert restored is not None
        assert restored.game_id == session.game_id
        assert await bot.get_or_restore_session("c1", store) is restored
        assert bot.get_session("c1") is restored
        bot.set_session("c1", session)
        assert bot.get_session("c1") is session
        bot.remove_session("c1")
        bot.remove_session("c1")
        assert bot.get_session("c1") is None
        await session.exit_game(store)
        last = await GameSession.load_from_redis("c1", store)
        assert last is not None
        assert (last.game_id, last.active) == (session.game_id, False)
        await GameSession.delete_from_redis("c1", store)
        assert await bot.list_all_games(store) == []
        assert await bot.load_by_game_id("nothing", store) is None

    play(scene)


def test_an_exited_game_cancels_its_task(play: Play) -> None:
    async def scene(store: AsyncStore) -> None:
        session = GameSession("c1")
        await session.boot("Game", store)
        task = session.countdown_task = asyncio.ensure_future(asyncio.Event().wait())
        await session.exit_game(store)
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()
        assert session.countdown_task is None

    play(scene)


def test_ten_who_press_at_once_are_all_in_one_turn(play: Play, clock: ManualClock) -> None:
    async def scene(store: AsyncStore) -> None:
        session = GameSession("c1")
        await session.boot("Game", store)
        answers = await asyncio.gather(*(session.submit_choice(f"u{n}", f"Player {n}", "go") for n in range(10)))
        choices = await closed(session, clock)
        assert sum(first for first, _ in answers) == 1
        assert choices == {f"u{n}": "go" for n in range(10)}
        assert session.turn_number == 1

    play(scene)


def test_locks_are_one_for_each_session() -> None:
    async def scene() -> None:
        registry = GameSessionLockRegistry()
        lock = await registry.get_session_lock("s1")
        assert await registry.get_session_lock("s1") is lock
        assert await registry.get_session_lock("s2") is not lock
        await registry.cleanup_session("unknown")
        async with lock:
            await registry.cleanup_session("s1")
            assert await registry.get_session_lock("s1") is lock
        await registry.cleanup_session("s1")
        assert await registry.get_session_lock("s1") is not lock

    asyncio.run(scene())


def test_what_is_no_store_is_told() -> None:
    async def scene() -> None:
        thing: Any = object()
        with pytest.raises(sojourn.InvalidValueError, match="a store, a URL or a Redis client"):
            await bot.list_all_games(thing)

    asyncio.run(scene())


def test_who_waits_for_a_game_that_ends_gets_nothing(play: Play) -> None:
    async def scene(store: AsyncStore) -> None:
        session = GameSession("c1")
        await session.boot("Game", store)
        await session.submit_choice("u1", "Una", "north")
        other = await bot.load_by_game_id(session.game_id, store)
        assert other is not None
        waiting = asyncio.ensure_future(other.wait_for_countdown())
        await asyncio.sleep(0)
        await session.exit_game(store)
        assert await waiting == {}
        assert other.active is False

    play(scene)


def test_who_waits_for_a_game_that_is_swapped_out_does_not_wait_for_ever(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bot, "_LOOK", 0.01)

    async def scene(store: AsyncStore) -> None:
        session = GameSession("c1")
        await session.boot("Game", store)
        await session.submit_choice("u1", "Una", "north")
        waiting = asyncio.ensure_future(session.wait_for_countdown())
        await asyncio.sleep(0)
        await GameSession("c1").boot("Another", store)
        assert await waiting == {}
        assert await session.wait_for_countdown() == {}
        assert session.pending_choices == {"u1": "north"}

    play(scene)


# -- what is set on the object ------------------------------------------------------------------------------------------


def test_names_title_and_activity_that_were_set_are_stored(play: Play) -> None:
    async def scene(store: AsyncStore) -> None:
        session = GameSession("c1")
        await session.boot("Game", store)
        session.game_name, session.title_screen_url = "The Game", "https://example.org/title.png"
        session.register_player("u1", "Una")
        await bot.persist_session("c1", session, store)
        session.register_player("u1", "Una Maris")
        await bot.persist_session("c1", session, store)
        fresh = await bot.load_by_game_id(session.game_id, store)
        assert fresh is not None
        assert (fresh.game_name, fresh.title_screen_url) == ("The Game", "https://example.org/title.png")
        assert fresh.players["u1"].user_name == "Una Maris"
        (listed,) = await bot.list_all_games(store)
        assert (listed["game_name"], listed["title_screen_url"]) == ("The Game", "https://example.org/title.png")
        assert (await store.games.list(name="the game")).items[0].name == "The Game"
        assert (await store.games.list(name="game")).items == []
        del session.players["u1"]
        await bot.persist_session("c1", session, store)
        assert (await store.games.load(session.game_id)).players == {}

    play(scene)


def test_what_is_set_while_a_call_is_on_its_way_is_not_lost(play: Play) -> None:
    async def scene(store: AsyncStore) -> None:
        session = GameSession("c1")
        await session.boot("Game", store)
        pressing = asyncio.ensure_future(session.submit_choice("u1", "Una", "north"))
        await asyncio.sleep(0)
        session.register_player("u2", "Bo")
        session.set_crown("u2")
        session.title_screen_url = "https://example.org/late.png"
        await pressing
        assert set(session.players) == {"u1", "u2"}
        await bot.persist_session("c1", session, store)
        game = await store.games.load(session.game_id)
        assert (set(game.players), game.crown_holder) == ({"u1", "u2"}, "u2")
        assert game.title_screen_url == "https://example.org/late.png"

    play(scene)


def test_a_crown_on_a_stranger_stays_on_the_object(play: Play) -> None:
    async def scene(store: AsyncStore) -> None:
        session = GameSession("c1")
        await session.boot("Game", store)
        session.set_crown("u9")
        await bot.persist_session("c1", session, store)
        assert session.get_crown_holder_name() == "Unknown"
        session.register_player("u9", "Nine")
        await bot.persist_session("c1", session, store)
        assert (await store.games.load(session.game_id)).crown_holder == "u9"

    play(scene)


def test_an_object_from_values_is_adopted_as_it_is(play: Play, clock: ManualClock) -> None:
    async def scene(store: AsyncStore) -> None:
        session = GameSession("c1", "Salt", "0123456789ab")
        session.register_player("u1", "Una")
        session.active, session.turn_number, session.crown_holder = True, 7, "u1"
        session.pending_choices = {"u1": "north"}
        again = GameSession.from_redis(session.to_redis())
        await bot.persist_session("c1", again, store)
        found = await GameSession.load_from_redis("c1", store)
        assert found is not None
        assert (found.game_id, found.active, found.turn_number, found.crown_holder) == ("0123456789ab", True, 7, "u1")
        assert (list(found.players), found.pending_choices) == (["u1"], {"u1": "north"})
        first, _ = await found.submit_choice("u2", "Bo", "south")
        assert first is False
        assert await closed(found, clock) == {"u1": "north", "u2": "south"}
        assert found.turn_number == 8

    play(scene)


def test_an_old_copy_takes_nothing_away(play: Play) -> None:
    async def scene(store: AsyncStore) -> None:
        session = GameSession("c1")
        await session.boot("Game", store)
        kept = session.to_dict()
        await session.submit_choice("u1", "Una", "north")
        session.title_screen_url = "https://example.org/title.png"
        await bot.persist_session("c1", session, store)
        old = GameSession.from_dict(kept)
        await bot.persist_session("c1", old, store)
        game = await store.games.load(session.game_id)
        assert (list(game.players), game.title_screen_url) == (["u1"], "https://example.org/title.png")
        assert list(old.players) == ["u1"]

    play(scene)


def test_a_game_that_was_played_without_a_store_moves_into_one(play: Play, short: None) -> None:
    async def scene(store: AsyncStore) -> None:
        session = GameSession("c1")
        await session.boot("Game")
        await session.submit_choice("u1", "Una", "north")
        await session.record_turn(await session.wait_for_countdown(), "she went")
        await session.submit_choice("u1", "Una", "south")
        await bot.persist_session("c1", session, store)
        moved = await bot.load_by_game_id(session.game_id, store)
        assert moved is not None
        assert (moved.active, moved.turn_number) == (True, 1)
        (turn,) = await moved.get_turn_history(store)
        assert (turn.choices, turn.narrative_summary) == ({"u1": "north"}, "she went")

    play(scene)


def test_active_set_to_false_ends_the_game(play: Play) -> None:
    async def scene(store: AsyncStore) -> None:
        session = GameSession("c1")
        await session.boot("Game", store)
        session.turn_number = 5
        session.active = False
        await bot.persist_session("c1", session, store)
        assert (await store.games.load(session.game_id)).state == "ended"
        assert session.turn_number == 0
        session.active = True
        await bot.persist_session("c1", session, store)
        assert session.active is False

    play(scene)


# -- edges -------------------------------------------------------------------------------------------------------------


def test_without_a_store_everything_is_absent(play: Play) -> None:
    async def scene(store: AsyncStore) -> None:
        session = GameSession("c1")
        await session.boot("Game", store)
        bot.set_session("c1", session)
        assert await bot.list_all_games(None) == []
        assert await bot.load_by_game_id(session.game_id, None) is None
        assert await GameSession.load_from_redis("c1", None) is None
        await GameSession.delete_from_redis("c1", None)
        assert await bot.get_or_restore_session("c1", None) is session
        assert len(await bot.list_all_games(store)) == 1

    play(scene)


def test_what_cannot_be_taken_is_not_acknowledged(play: Play) -> None:
    async def scene(store: AsyncStore) -> None:
        session, other = GameSession("c1"), GameSession("c1")
        await session.boot("One", store)
        with pytest.raises(sojourn.InvalidValueError, match="not empty"):
            await session.submit_choice("u1", "Una", " ")
        await other.boot("Two", store)
        with pytest.raises(sojourn.ConflictError, match="on the shelf"):
            await session.submit_choice("u1", "Una", "north")
        await other.exit_game(store)
        with pytest.raises(sojourn.EndedError):
            await other.submit_choice("u1", "Una", "north")

    play(scene)


def test_a_long_choice_of_a_long_name_is_taken_whole(play: Play, clock: ManualClock) -> None:
    async def scene(store: AsyncStore) -> None:
        session = GameSession("c1")
        await session.boot("Game", store)
        await session.submit_choice("u1", "Una", "x" * 5000)
        assert await closed(session, clock) == {"u1": "x" * 5000}

    play(scene)


def test_the_last_turn_is_told_by_whoever_has_its_choices(play: Play, clock: ManualClock) -> None:
    async def scene(store: AsyncStore) -> None:
        session = GameSession("c1")
        await session.boot("Game", store)
        await session.submit_choice("u1", "Una", "north")
        choices = await closed(session, clock)
        other = await bot.load_by_game_id(session.game_id, store)
        assert other is not None
        await other.record_turn(choices, "told by another", store)
        assert [turn.turn for turn in await other.get_turn_history(store)] == [1]
        await session.record_turn(choices, "told by another", store)
        assert [turn.narrative_summary for turn in await session.get_turn_history(store)] == ["told by another"]

    play(scene)


@pytest.mark.slow
def test_a_history_has_fifty_turns_and_the_given_count(play: Play) -> None:
    async def scene(store: AsyncStore) -> None:
        session = GameSession("c1")
        await session.boot("Game", store)
        for number in range(1, 53):
            await session.record_turn({"u1": f"choice {number}"}, f"told {number}", store)
        turns = await session.get_turn_history(store, count=100)
        assert [turn.turn for turn in turns] == list(range(3, 53))
        assert [turn.turn for turn in await session.get_turn_history(store)] == list(range(43, 53))
        assert await session.get_turn_history(store, count=0) == []

    play(scene)


def test_an_index_entry_that_dangles_is_no_game(play: Play) -> None:
    async def scene(store: AsyncStore) -> None:
        session = GameSession("c1")
        await session.boot("Game", store)
        await store.games.delete((await store.games.load(session.game_id)).id)
        assert await bot.load_by_game_id(session.game_id, store) is None
        assert await bot.list_all_games(store) == []
        assert await session.get_turn_history(store) == []
        await session.boot("Game again", store)
        assert [row["game_name"] for row in await bot.list_all_games(store)] == ["Game again"]

    play(scene)


def test_exit_from_within_the_countdown_does_not_cancel_itself(play: Play) -> None:
    async def scene(store: AsyncStore) -> None:
        session = GameSession("c1")
        await session.boot("Game", store)

        async def countdown() -> str:
            return await session.exit_game(store)

        task = session.countdown_task = asyncio.ensure_future(countdown())
        assert "Game" in await task
        assert session.active is False

    play(scene)


def test_a_swapped_out_game_is_exited_alone(play: Play) -> None:
    async def scene(store: AsyncStore) -> None:
        one, two = GameSession("c1"), GameSession("c1")
        await one.boot("One", store)
        await two.boot("Two", store)
        await one.exit_game(store)
        assert one.active is False
        shown = await bot.get_or_restore_session("c1", store)
        assert shown is not None
        assert shown.game_id == two.game_id
        again = await bot.load_by_game_id(one.game_id, store)
        assert again is not None
        assert again.active is False

    play(scene)


def test_a_start_of_ours_is_kept_and_one_of_the_original_dropped() -> None:
    kept = GameSession("c1").to_redis()
    assert (
        GameSession.from_redis({**kept, "countdown_started": "1795150778.5"}).to_redis()["countdown_started"] == "1795150778.5"
    )
    assert GameSession.from_redis({**kept, "countdown_started": "81234.5"}).to_redis()["countdown_started"] == "0.0"


def test_the_countdown_that_runs_is_in_the_hash(play: Play, clock: ManualClock) -> None:
    async def scene(store: AsyncStore) -> None:
        session = GameSession("c1")
        await session.boot("Game", store)
        assert session.to_redis()["countdown_started"] == "0.0"
        await session.submit_choice("u1", "Una", "north")
        assert float(session.to_redis()["countdown_started"]) == clock().timestamp()
        await closed(session, clock)
        assert session.to_redis()["countdown_started"] == "0.0"

    play(scene)


def test_a_lock_that_is_waited_for_is_not_forgotten() -> None:
    async def scene() -> None:
        registry = GameSessionLockRegistry()
        lock = await registry.get_session_lock("s1")
        await lock.acquire()
        waiting = asyncio.ensure_future(lock.acquire())
        await asyncio.sleep(0)
        lock.release()  # handed over, and for a moment nobody's
        assert not lock.locked()
        await registry.cleanup_session("s1")
        assert await registry.get_session_lock("s1") is lock
        await waiting
        late = asyncio.ensure_future(lock.acquire())
        await asyncio.sleep(0)
        late.cancel()
        await asyncio.gather(late, return_exceptions=True)
        lock.release()
        await registry.cleanup_session("s1")
        assert await registry.get_session_lock("s1") is not lock

    asyncio.run(scene())
