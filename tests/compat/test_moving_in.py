"""The originals' data, imported on each engine and then used through the drop-ins."""

from __future__ import annotations

import asyncio
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import sojourn
from sojourn import AsyncStore, Store
from sojourn.compat import game_session as bot
from sojourn.compat import mud_sessions as mud
from sojourn.compat import tkt_session as tkt
from sojourn.compat.game_session import GameSession
from sojourn.compat.openjarvis_sessions import SessionStore
from sojourn.compat.tenets_sessions import SessionDB
from sojourn.errors import InvalidValueError
from sojourn.formats.gamegirl import aimport_gamegirl
from sojourn.formats.mud import import_mud
from sojourn.formats.openjarvis import import_openjarvis
from sojourn.formats.tenets import import_tenets
from sojourn.formats.tkt import import_tkt
from sojourn.testing.clocks import ManualClock
from sojourn.testing.engines import Place
from sojourn.testing.servers import ServerMissingError, find_redis, redis_server
from tests.compat.conftest import Play

DATA = Path(__file__).parent.parent / "formats" / "data"
LONG = 24 * 365 * 100.0


def expected(name: str) -> Any:
    return json.loads((DATA / name / "expected.json").read_text(encoding="utf-8"))


@pytest.fixture
def clock() -> ManualClock:
    """An hour after the samples were made."""
    return ManualClock(datetime(2026, 11, 20, 6, tzinfo=UTC))


def test_who_is_signed_in_to_the_mud_stays_signed_in(store: Store, tmp_path: Path, clock: ManualClock) -> None:
    shutil.copyfile(DATA / "mud" / "mud.db", tmp_path / "mud.db")
    import_mud(store, tmp_path / "mud.db")
    mud.configure(store)
    known = expected("mud")
    assert mud.get_active_characters(world_id=known["world"]) == known["active_characters"]
    for token, who in known["live_tokens"].items():
        row = mud.get_session_by_id(token)
        assert row is not None
        assert (row["session_id"], row["character_id"]) == (token, who["character_id"])
        assert isinstance(row["user_id"], int)
        clock.advance(timedelta(seconds=1))
        assert mud.update_session_activity(token) is True
    for token in known["expired_tokens"]:
        assert mud.update_session_activity(token) is False
    token, who = next((token, who) for token, who in known["live_tokens"].items() if who["character_id"] is not None)
    others = sum(other["character_id"] == who["character_id"] for other in known["live_tokens"].values())
    assert mud.remove_sessions_for_character_count(who["character_id"]) == others
    assert mud.get_session_by_id(token) is None
    assert mud.create_session(who["username"], "a-token-of-its-own", character_id=who["character_id"]) is True


def test_the_artifacts_of_tenets_read_back(store: Store) -> None:
    import_tenets(store, DATA / "tenets" / "tenets.db")
    db, known = SessionDB(store), expected("tenets")
    for name, counts in known["sessions"].items():
        assert len(db.get_context(name)) == counts["artifacts"]
    active = db.get_active_session()
    assert active is not None
    assert (active.id, active.name) == (2, known["active"])
    db.add_context("auth-refactor", "note", "one more")
    assert db.get_context("auth-refactor")[-1][:2] == ("note", "one more")
    assert db.create_session("new").id > 10
    assert db.set_active("new", True) is True
    left = db.get_session(known["active"])
    assert left is not None
    assert left.metadata["active"] is False


def test_a_history_of_openjarvis_goes_on(store: Store) -> None:
    import_openjarvis(store, DATA / "openjarvis" / "sessions.db")
    sessions, users = SessionStore(store, max_age_hours=LONG), expected("openjarvis")["users"]
    for user, known in users.items():
        session = sessions.get_or_create(user)
        assert session.session_id == known.get("newer_session_id", known["session_id"])
        if "newer_session_id" not in known:
            assert len(session.messages) == known["stored"]
            assert session.identity is not None
            assert session.identity.channel_ids == known["channels"]
    bob = users["bob"]["session_id"]
    sessions.save_message(bob, "user", "and then?", channel="slack")
    messages = sessions.get_or_create("bob").messages
    assert messages[-1].content == "and then?"
    assert messages[0].content.startswith("Session history summary:\n")
    assert all(message.role != "system" for message in messages[len(messages) // 2 :])
    listed = {item.session_id for item in sessions.list_sessions(limit=100)}
    assert bob in listed
    sessions.decay(0)
    assert sessions.list_sessions(active_only=False) == []


def test_a_game_of_the_bot_goes_on_at_its_turn_in_its_channel(play: Play, clock: ManualClock) -> None:
    clock.advance(timedelta(days=1))  # the sample of the game is younger than the others

    async def scene(store: AsyncStore) -> None:
        await aimport_gamegirl(store, DATA / "gamegirl" / "redis.json")
        known = {game["game_id"]: game for game in expected("gamegirl")["games"]}
        rows = {row["game_id"]: row for row in await bot.list_all_games(store)}
        assert set(known) <= set(rows)
        game = next(game for game in known.values() if game["turns"] == 7 and not game["exited"])
        session = await bot.get_or_restore_session(game["channel_id"], store)
        assert session is not None
        assert (session.game_id, session.game_name, session.turn_number) == (game["game_id"], game["name"], 7)
        assert len(session.players) == game["players"]
        before = await session.get_turn_history(store)
        assert [turn.turn for turn in before] == list(range(1, 8))
        user = next(iter(session.players))
        await session.submit_choice(user, "Somebody", "go on")
        clock.advance(timedelta(seconds=11))
        choices = await session.wait_for_countdown()
        assert choices[user] == "go on"
        await session.record_turn(choices, "It goes on.", store)
        last = (await session.get_turn_history(store))[-1]
        assert (last.turn, last.choices, last.narrative_summary) == (8, choices, "It goes on.")
        await session.exit_game(store)
        lost = expected("gamegirl")["swapped"]["lost"]
        found = await bot.load_by_game_id(lost, store)
        assert found is not None
        assert (found.active, found.turn_number) == (False, 55)

    play(scene)


def test_the_session_that_tkts_pointer_names_is_at_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sojourn.project.identity import make

    project = tmp_path / "project"
    shutil.copytree(DATA / "tkt" / "project", project)
    place, known = make(str(project)), expected("tkt")
    monkeypatch.chdir(project)
    clock = ManualClock(datetime(2026, 11, 20, 6, tzinfo=UTC))
    with sojourn.open(f"sqlite:///{place.state}/sojourn.db", clock=clock) as store:
        import_tkt(store, project)
        session = tkt.load_active(project, store)
        named = next(row for row in known["sessions"] if row["id"] == known["pointer"])
        assert (session.name, session.role, session.expired_at) == (named["name"], named["role"], None)
        assert session.last_active == clock()
        assert tkt.count_active(store) == {"architect": 1, "implementer": 2}
        assert tkt.end(project, store) == session.id
        with pytest.raises(tkt.ExpiredSessionError):
            tkt.load_active(project, store)


def test_the_sessions_of_tkt_are_there_on_every_engine(store: Store, tmp_path: Path) -> None:
    import_tkt(store, DATA / "tkt" / "project", project_id="tkt")
    assert tkt.count_active(store) == {"architect": 1, "implementer": 2}
    made = tkt.create("implementer", "new-one", store, tmp_path)
    assert tkt.load_active(tmp_path, store).id == made.id
    with pytest.raises(sojourn.NameTakenError):
        tkt.create("architect", "blue-otter", store, tmp_path)


# -- an original's own file, a URL, a client ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["openjarvis", "tenets"])
def test_an_original_that_several_open_at_once_is_imported_once(name: str, tmp_path: Path) -> None:
    file = tmp_path / ("sessions.db" if name == "openjarvis" else "tenets.db")
    shutil.copyfile(DATA / name / file.name, file)

    def count(_: int) -> int:
        if name == "openjarvis":
            sessions = SessionStore(file, max_age_hours=LONG)
            found = len(sessions.get_or_create("bob").messages)
            sessions.close()
            return found
        db = SessionDB(file)
        found = len(db.get_context("auth-refactor"))
        db.close()
        return found

    with ThreadPoolExecutor(4) as pool:
        counts = set(pool.map(count, range(8)))
    assert counts == {64 if name == "openjarvis" else 6}


def test_a_store_beside_an_original_may_be_named_itself(tmp_path: Path) -> None:
    first = SessionDB(tmp_path / "tenets.db")
    first.create_session("a")
    first.close()
    second = SessionDB(tmp_path / "tenets.sojourn.db")
    assert [record.name for record in second.list_sessions()] == ["a"]
    second.close()
    SessionDB(tmp_path / "other.sojourn.db").close()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["other.sojourn.db", "tenets.sojourn.db"]


@pytest.mark.parametrize("clients", ["redis.asyncio", "redis"])
def test_a_redis_client_and_its_url_mean_one_store(clients: str, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        find_redis()
    except ServerMissingError as error:
        pytest.skip(str(error))
    monkeypatch.setattr(bot, "_sessions", {})

    async def scene(url: str) -> None:
        import redis
        import redis.asyncio

        kind: Any = redis.asyncio.Redis if clients == "redis.asyncio" else redis.Redis
        client, another = kind.from_url(url), kind.from_url(url, decode_responses=True)
        session = GameSession("c1")
        await asyncio.gather(session.boot("Game", client), bot.list_all_games(another))
        assert [row["game_id"] for row in await bot.list_all_games(another)] == [session.game_id]
        assert [row["game_id"] for row in await bot.list_all_games(url)] == [session.game_id]
        restored = await bot.get_or_restore_session("c1", another)
        assert restored is not None
        assert restored.game_id == session.game_id
        await session.submit_choice("u1", "Una", "north")
        assert (await GameSession.load_from_redis("c1", client) or session).pending_choices == {"u1": "north"}
        await bot.close_stores()
        assert [row["game_id"] for row in await bot.list_all_games(client)] == [session.game_id]
        await bot.close_stores()
        await bot.close_stores()
        for each in (client, another):
            closed = each.close() if clients == "redis" else each.aclose()
            if closed is not None:
                await closed

    with redis_server() as server:
        asyncio.run(scene(server.url))


def test_the_server_of_a_client_is_told_whole() -> None:
    import redis
    import redis.asyncio

    from sojourn.compat.game_stores import url_of

    assert url_of(redis.asyncio.Redis(host="h", port=7, db=3)) == "redis://h:7/3"
    assert url_of(redis.Redis(username="a b", password="p@/", ssl=True)) == "rediss://a%20b:p%40%2F@localhost:6379/0"
    for cannot in (redis.Redis(unix_socket_path="/tmp/x"), redis.Redis(ssl=True, ssl_ca_certs="/ca.pem")):
        with pytest.raises(InvalidValueError) as caught:
            url_of(cannot)
        assert "aopen" in caught.value.hint


def test_a_url_that_opens_nothing_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bot, "_sessions", {})
    place = tmp_path / "later"
    place.write_text("in the way")

    async def scene() -> None:
        url = f"sqlite:///{place}/games.db"
        with pytest.raises(sojourn.UnavailableError):
            await bot.list_all_games(url)
        place.unlink()
        place.mkdir()
        assert await bot.list_all_games(url) == []
        await bot.close_stores()

    asyncio.run(scene())


def test_a_blocking_store_is_refused_by_the_bot(place: Place) -> None:
    with sojourn.open(place.url, engine=place.options) as store, pytest.raises(InvalidValueError, match="aopen"):
        asyncio.run(bot.list_all_games(store))
