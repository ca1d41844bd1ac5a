"""What the originals get wrong, each as a test that would have failed there; the docstring says how."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

import sojourn
from sojourn import AsyncStore, ConflictError, EndedError, Store
from sojourn.compat import game_session as bot
from sojourn.compat import mud_sessions as mud
from sojourn.compat import tkt_session as tkt
from sojourn.compat.game_session import GameSession
from sojourn.compat.openjarvis_sessions import SessionStore
from sojourn.compat.tenets_sessions import SessionDB
from sojourn.testing.clocks import ManualClock
from tests.compat.conftest import Play

# -- the MUD server ----------------------------------------------------------------------------------------------------


def test_an_expired_session_is_not_revived_by_activity(store: Store, clock: ManualClock) -> None:
    """There, activity after the end moved the end: whoever kept an old token was in again."""
    mud.configure(store, ttl_minutes=60)
    store.directory.add_user("ann")
    mud.create_session("ann", "an-old-token")
    clock.advance(timedelta(minutes=61))
    for _ in range(3):
        assert mud.update_session_activity("an-old-token") is False
    assert mud.get_active_session_count() == 0
    assert mud.cleanup_expired_sessions() == 1


def test_one_session_for_a_user_is_one_whoever_races(store: Store) -> None:
    """However many sign in at once: each replaces the ones before it in its own commit."""
    mud.configure(store, allow_multiple_sessions=False)
    store.directory.add_user("ann")
    tokens = [f"token-{number}" for number in range(12)]
    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(lambda token: mud.create_session("ann", token), tokens))
    assert sum(mud.get_session_by_id(token) is not None for token in tokens) == 1


def test_a_stolen_store_opens_no_session(tmp_path: Path) -> None:
    """There, tokens were in the database as they are."""
    with sojourn.open(f"sqlite:///{tmp_path}/app.db") as opened:
        mud.configure(opened)
        opened.directory.add_user("ann")
        mud.create_session("ann", "795b929e-9a9a-40fd-aa7b-5bf55eb561a4")
    raw = b"".join(file.read_bytes() for file in tmp_path.glob("app.db*"))
    assert b"795b929e-9a9a-40fd-aa7b-5bf55eb561a4" not in raw


# -- tkt ---------------------------------------------------------------------------------------------------------------


def test_the_first_end_is_kept(store: Store, tmp_path: Path, clock: ManualClock) -> None:
    """There, ending again wrote the time anew."""
    tkt.create("architect", "one", store, tmp_path)
    at = clock()
    tkt.end(tmp_path, store)
    clock.advance(timedelta(hours=2))
    tkt.end(tmp_path, store)
    with pytest.raises(tkt.ExpiredSessionError) as caught:
        tkt.load_active(tmp_path, store)
    assert caught.value.session.expired_at == at


def test_a_pointer_is_whole_while_it_is_replaced(store: Store, tmp_path: Path) -> None:
    """The file is replaced, never written in place: no reader finds it empty or half written."""
    tkt.create("architect", "first", store, tmp_path)
    seen: list[str] = []
    with ThreadPoolExecutor(4) as pool:
        making = [pool.submit(tkt.create, "implementer", f"worker-{number}", store, tmp_path) for number in range(12)]
        while not all(task.done() for task in making):
            seen.append((tmp_path / ".sojourn" / "session").read_text())
    assert all(len(text) == 26 for text in seen)


# -- the bot -----------------------------------------------------------------------------------------------------------


def test_an_exited_game_is_not_resurrected(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    """There, whoever still had the object wrote it as active again, and a restart brought it back."""

    async def scene(store: AsyncStore) -> None:
        session = GameSession("c1")
        await session.boot("Game", store)
        stale = await bot.load_by_game_id(session.game_id, store)
        assert stale is not None
        old = GameSession.from_dict(session.to_dict())
        await session.exit_game(store)
        for late in (stale, old):
            assert late.active is True
            await bot.persist_session("c1", late, store)
            assert late.active is False
        with pytest.raises(EndedError):
            await stale.submit_choice("u1", "Una", "north")
        monkeypatch.setattr(bot, "_sessions", {})  # a restart
        assert await bot.get_or_restore_session("c1", store) is None
        assert [row["active"] for row in await bot.list_all_games(store)] == [False]

    play(scene)


def test_a_turn_is_counted_once(play: Play, clock: ManualClock) -> None:
    """There, two who waited both counted the turn, and wrote it twice."""

    async def scene(store: AsyncStore) -> None:
        session = GameSession("c1")
        await session.boot("Game", store)
        await session.submit_choice("u1", "Una", "north")
        other = await bot.load_by_game_id(session.game_id, store)
        assert other is not None
        clock.advance(timedelta(seconds=11))
        one, two = await asyncio.gather(session.wait_for_countdown(), other.wait_for_countdown())
        assert one == two == {"u1": "north"}
        await session.record_turn(one, "She goes north.", store)
        with pytest.raises(ConflictError):
            await other.record_turn(two, "She went north, they say.", store)
        assert [turn.narrative_summary for turn in await session.get_turn_history(store)] == ["She goes north."]
        assert (await store.games.load(session.game_id)).turn == 1

    play(scene)


def test_changing_ones_mind_does_not_start_the_countdown_anew(play: Play, clock: ManualClock) -> None:
    """The window is a record with a deadline, not a task in memory: a press in it never opens another."""

    async def scene(store: AsyncStore) -> None:
        session = GameSession("c1")
        await session.boot("Game", store)
        firsts = []
        for choice in ("north", "south", "east"):
            first, remaining = await session.submit_choice("u1", "Una", choice)
            firsts.append((first, remaining))
            clock.advance(timedelta(seconds=3))
        assert firsts == [(True, 10.0), (False, 7.0), (False, 4.0)]
        clock.advance(timedelta(seconds=3))
        assert await session.wait_for_countdown() == {"u1": "east"}
        assert session.turn_number == 1

    play(scene)


def test_a_choice_survives_the_process(play: Play, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """There, a choice was durable only with the next write of the whole session."""

    async def scene(store: AsyncStore) -> None:
        session = GameSession("c1")
        await session.boot("Game", store)
        await session.submit_choice("u1", "Una", "north")
        monkeypatch.setattr(bot, "_sessions", {})  # a restart
        restored = await bot.get_or_restore_session("c1", store)
        assert restored is not None
        assert (restored.pending_choices, list(restored.players)) == ({"u1": "north"}, ["u1"])
        clock.advance(timedelta(seconds=11))
        assert await restored.wait_for_countdown() == {"u1": "north"}

    play(scene)


def test_a_swap_loses_no_game_and_mixes_no_history(play: Play) -> None:
    """There, the channel's key was written over, and both games shared one list of turns."""

    async def scene(store: AsyncStore) -> None:
        one, two = GameSession("c1"), GameSession("c1")
        await one.boot("One", store)
        await one.record_turn({"u1": "north"}, "of the first", store)
        await two.boot("Two", store)
        await two.record_turn({"u2": "south"}, "of the second", store)
        back = await bot.load_by_game_id(one.game_id, store)
        assert back is not None
        assert (back.game_name, back.turn_number, list(back.players)) == ("One", 1, ["u1"])
        assert [turn.narrative_summary for turn in await back.get_turn_history(store)] == ["of the first"]
        assert [turn.narrative_summary for turn in await two.get_turn_history(store)] == ["of the second"]

    play(scene)


def test_a_game_is_there_after_four_hours(play: Play, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """There, the live state had expired."""

    async def scene(store: AsyncStore) -> None:
        session = GameSession("c1")
        await session.boot("Game", store)
        session.register_player("u1", "Una")
        await bot.persist_session("c1", session, store)
        clock.advance(timedelta(days=30))
        monkeypatch.setattr(bot, "_sessions", {})
        restored = await bot.get_or_restore_session("c1", store)
        assert restored is not None
        assert list(restored.players) == ["u1"]

    play(scene)


def test_a_store_that_fails_is_not_passed_over(play: Play) -> None:
    """There, an error was logged, and the game went on in memory."""

    async def scene(store: AsyncStore) -> None:
        session = GameSession("c1")
        await session.boot("Game", store)
        await store.close()
        with pytest.raises(sojourn.SojournError):
            await bot.persist_session("c1", session, store)
        with pytest.raises(sojourn.SojournError):
            await session.submit_choice("u1", "Una", "north")
        assert session.pending_choices == {}

    play(scene)


# -- OpenJarvis --------------------------------------------------------------------------------------------------------


def test_links_that_race_are_all_kept(store: Store) -> None:
    """There, each link read the whole JSON and wrote it back: the last one won."""
    sessions = SessionStore(store)
    id = sessions.get_or_create("u").session_id
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: sessions.link_channel(id, f"channel{number}", "h"), range(32)))
    identity = sessions.get_or_create("u").identity
    assert identity is not None
    assert len(identity.channel_ids) == 32


def test_a_summary_stands_before_what_follows_it(store: Store) -> None:
    """There, it was appended with a new id, so that what is oldest came last."""
    sessions = SessionStore(store, consolidation_threshold=6)
    id = sessions.get_or_create("u").session_id
    for number in range(25):
        sessions.save_message(id, "user", f"message {number}")
    messages = sessions.get_or_create("u").messages
    roles = [message.role for message in messages]
    assert roles == ["system", *["user"] * (len(messages) - 1)]
    assert messages[-1].content == "message 24"
    assert [message.content for message in messages[1:]] == [f"message {n}" for n in range(26 - len(messages), 25)]


def test_order_is_not_that_of_a_clock(store: Store, clock: ManualClock) -> None:
    """A clock that is set back puts no answer before its question."""
    sessions = SessionStore(store)
    id = sessions.get_or_create("u").session_id
    sessions.save_message(id, "user", "question")
    clock.advance(timedelta(seconds=-30))
    sessions.save_message(id, "assistant", "answer")
    assert [message.content for message in sessions.get_or_create("u").messages] == ["question", "answer"]


def test_a_decayed_session_is_not_revived_by_a_late_message(store: Store) -> None:
    """There, a message of a session that was gone made an orphan: the sample has some."""
    sessions = SessionStore(store)
    id = sessions.get_or_create("u").session_id
    assert sessions.decay(0) == 1
    with pytest.raises(EndedError):
        sessions.save_message(id, "user", "late")
    assert sessions.list_sessions(active_only=False) == []


def test_two_who_ask_at_once_get_one_session(store: Store) -> None:
    """There, looking and making were two steps: both found none, and each made one."""
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: SessionStore(store).get_or_create("u").session_id, range(16)))
    assert len(set(found)) == 1


# -- Tenets ------------------------------------------------------------------------------------------------------------


def test_there_are_never_two_active_sessions(store: Store) -> None:
    """There, a scan rewrote flags: two at once left two active, or none."""
    db = SessionDB(store)
    for number in range(5):
        db.create_session(f"s{number}")
    with ThreadPoolExecutor(5) as pool:
        list(pool.map(lambda number: SessionDB(store).set_active(f"s{number % 5}", True), range(25)))
    flags = [record.metadata.get("active") for record in db.list_sessions()]
    assert flags.count(True) == 1


def test_no_metadata_key_is_lost(store: Store) -> None:
    """There, each update read the whole JSON and wrote it back."""
    SessionDB(store).create_session("a", {"first": 0})
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda n: SessionDB(store).update_session_metadata("a", {f"k{n}": n}), range(24)))
    record = SessionDB(store).get_session("a")
    assert record is not None
    assert json.loads(json.dumps(record.metadata)) == {"first": 0, **{f"k{n}": n for n in range(24)}}


def test_the_displaced_session_is_ended(store: Store, clock: ManualClock) -> None:
    """There, only its flag was cleared: nothing said when it had stopped."""
    db = SessionDB(store)
    db.create_session("a")
    db.create_session("b")
    db.set_active("a", True)
    clock.advance(timedelta(minutes=5))
    db.set_active("b", True)
    left = db.get_session("a")
    assert left is not None
    assert left.metadata["ended_at"] == clock().isoformat(timespec="seconds")
