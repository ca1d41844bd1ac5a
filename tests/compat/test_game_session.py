"""A program written for the bot's game session module, on Sojourn."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import sojourn
from sojourn import AsyncStore, GamePolicy
from sojourn.compat import game_session as bot
from sojourn.compat.game_session import ActivityTier, GameSession, GameSessionLockRegistry, PlayerState, TurnRecord

Scene = Callable[[AsyncStore], Awaitable[None]]


@pytest.fixture(params=("memory", "sqlite"))
def play(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Scene], None]:
    """Runs a scene on each engine, with countdowns that are short enough to be waited for."""
    monkeypatch.setattr(bot, "_POLICY", GamePolicy(countdown=timedelta(milliseconds=60), gm_name=bot.HOUSE))
    monkeypatch.setattr(bot, "_sessions", {})
    url = "memory:" if request.param == "memory" else f"sqlite:///{tmp_path}/games.db"

    @asynccontextmanager
    async def opened() -> AsyncIterator[AsyncStore]:
        async with sojourn.aopen(url) as store:
            yield store

    def run(scene: Scene) -> None:
        async def whole() -> None:
            async with opened() as store:
                await scene(store)

        asyncio.run(whole())

    return run


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


def test_a_game_from_boot_to_exit(play: Callable[[Scene], None]) -> None:
    async def scene(store: AsyncStore) -> None:
        session = GameSession("c1")
        text = await session.boot("Salt & Static", store)
        assert all(part in text for part in (bot.DEFAULT_TITLE_SCREEN, "Salt & Static", session.game_id))
        assert (session.active, session.turn_number, session.players) == (True, 0, {})
        first, remaining = await session.submit_choice("u1", "Una", "north")
        assert first
        assert 0 < remaining <= 0.06
        assert (await session.submit_choice("u2", "Bo", "south"))[0] is False
        assert (await session.submit_choice("u1", "Una", "east"))[0] is False
        assert session.pending_choices == {"u1": "east", "u2": "south"}
        other = await bot.load_by_game_id(session.game_id, store)
        assert other is not None
        choices, same = await asyncio.gather(session.wait_for_countdown(), other.wait_for_countdown())
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


def test_nobody_pressed(play: Callable[[Scene], None]) -> None:
    async def scene(store: AsyncStore) -> None:
        session = GameSession("c1")
        await session.boot("Game", store)
        assert await session.wait_for_countdown() == {}

    play(scene)


def test_a_turn_with_given_choices(play: Callable[[Scene], None]) -> None:
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


def test_without_a_store_nothing_is_persisted(play: Callable[[Scene], None]) -> None:
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


def test_an_occupied_channel_is_swapped_and_keeps_both(play: Callable[[Scene], None]) -> None:
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


def test_a_used_id_is_minted_anew(play: Callable[[Scene], None]) -> None:
    async def scene(store: AsyncStore) -> None:
        session = GameSession("c1", game_id="0123456789ab")
        await session.boot("Game", store)
        assert session.game_id == "0123456789ab"
        await session.boot("Again", store)
        assert session.game_id != "0123456789ab"
        assert len(await bot.list_all_games(store)) == 2

    play(scene)


def test_what_was_set_is_stored_with_the_next_call(play: Callable[[Scene], None]) -> None:
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


def test_restoring(play: Callable[[Scene], None]) -> None:
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


def test_an_exited_game_cancels_its_task(play: Callable[[Scene], None]) -> None:
    async def scene(store: AsyncStore) -> None:
        session = GameSession("c1")
        await session.boot("Game", store)
        task = session.countdown_task = asyncio.ensure_future(asyncio.Event().wait())
        await session.exit_game(store)
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()
        assert session.countdown_task is None

    play(scene)


def test_ten_who_press_at_once_are_all_in_one_turn(play: Callable[[Scene], None]) -> None:
    async def scene(store: AsyncStore) -> None:
        session = GameSession("c1")
        await session.boot("Game", store)
        answers = await asyncio.gather(*(session.submit_choice(f"u{n}", f"Player {n}", "go") for n in range(10)))
        choices = await session.wait_for_countdown()
        turns = await store.games.history(None, game_id=session.game_id)
        pressed = {user for turn in turns for user in turn.choices}
        if session.turn_number == 1:
            assert sum(first for first, _ in answers) == 1
            assert len(choices) == 10
        assert len(pressed) == 10

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
