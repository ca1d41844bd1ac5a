"""Back to the original: what an export writes is what the original would have, and importing it gives the same."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import sojourn
from sojourn import InvalidValueError, Store, UnavailableError
from sojourn.compat.game_session import GameSession
from sojourn.compat.openjarvis_sessions import SessionStore
from sojourn.compat.tenets_sessions import SessionDB
from sojourn.formats.gamegirl import import_gamegirl
from sojourn.formats.gamegirl_export import export_gamegirl
from sojourn.formats.openjarvis import import_openjarvis
from sojourn.formats.openjarvis_export import export_openjarvis
from sojourn.formats.tenets import import_tenets
from sojourn.formats.tenets_export import export_tenets
from sojourn.testing.clocks import ManualClock
from sojourn.testing.servers import Server, ServerMissingError, find_redis, redis_server

DATA = Path(__file__).parent.parent / "formats" / "data"
OPENJARVIS = DATA / "openjarvis" / "sessions.db"
TENETS = DATA / "tenets" / "tenets.db"
GAMEGIRL = DATA / "gamegirl" / "redis.json"
LONG = 24 * 365 * 100.0


def rows(file: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(file)) as connection:
        return connection.execute(sql).fetchall()


@pytest.fixture
def other(clock: ManualClock) -> Iterator[Store]:
    """Another store, which the export is imported into."""
    with sojourn.open("memory:", clock=clock) as opened:
        yield opened


# -- OpenJarvis --------------------------------------------------------------------------------------------------------


def _talks(file: Path) -> dict[str, list[tuple[Any, ...]]]:
    """The messages of each session as OpenJarvis reads them, summaries where they belong: before what was kept."""
    found: dict[str, list[tuple[Any, ...]]] = {}
    sql = "select session_id, role, content, channel, round(timestamp, 3), metadata from session_messages order by id"
    for session, role, content, channel, at, metadata in rows(file, sql):
        carried = role == "system" and content.startswith("Session history summary:")
        kept = found.setdefault(session, [])
        kept.append((not carried, len(kept), role, content, channel, at, json.loads(metadata)))
    return {session: [row[2:] for row in sorted(kept, key=lambda row: row[:2])] for session, kept in found.items()}


def test_openjarvis_gets_its_rows_back(store: Store, tmp_path: Path) -> None:
    import_openjarvis(store, OPENJARVIS)
    report = export_openjarvis(store, tmp_path / "sessions.db")
    sql = (
        "select session_id, user_id, display_name, json(channel_ids), round(created_at, 3), round(last_activity, 3), "
        "json(metadata) from sessions order by session_id"
    )
    was, now = ({row[0]: row for row in rows(file, sql)} for file in (OPENJARVIS, tmp_path / "sessions.db"))
    newest = "bf2c1102b560407e"  # of alice, whose handle her older session has: here it is hers, whatever she talks in
    assert now.pop(newest)[3] == '{"web":"w1000"}'
    assert was.pop(newest)[3] == "{}"
    assert now == was
    assert _talks(tmp_path / "sessions.db") == _talks(OPENJARVIS)
    assert report.tables == {"sessions": 27, "session_messages": 1351}
    assert (tmp_path / "sessions.db").stat().st_mode & 0o077 == 0
    columns = "select name from pragma_table_info('{}') order by cid"
    for table in ("sessions", "session_messages"):
        assert rows(tmp_path / "sessions.db", columns.format(table)) == rows(OPENJARVIS, columns.format(table))


def test_an_openjarvis_export_imported_again_gives_the_same(store: Store, other: Store, tmp_path: Path) -> None:
    import_openjarvis(store, OPENJARVIS)
    here = SessionStore(store, max_age_hours=LONG, consolidation_threshold=10)
    new = here.get_or_create("nora", channel="telegram", channel_user_id="t77", display_name="Nora")
    for number in range(14):
        here.save_message(new.session_id, "user", f"message {number}", channel="telegram", metadata={"n": number})
    here.get_or_create("otto", channel="telegram", channel_user_id="t77")  # a handle of somebody else
    report = export_openjarvis(store, tmp_path / "sessions.db")
    assert any("stay here" in note.text and note.row == new.session_id for note in report.notes)
    first = rows(
        tmp_path / "sessions.db",
        f"select role, content from session_messages where session_id = '{new.session_id}' order by id",
    )
    assert first[0][0] == "system"
    assert first[0][1].startswith("Session history summary:\n")
    import_openjarvis(other, tmp_path / "sessions.db")
    there = SessionStore(other, max_age_hours=LONG, consolidation_threshold=10**6)
    here = SessionStore(store, max_age_hours=LONG, consolidation_threshold=10**6)
    for user in ("nora", "bob", "göran", "otto", "alice"):
        before, after = here.get_or_create(user), there.get_or_create(user)
        assert (after.session_id, after.identity, after.metadata) == (before.session_id, before.identity, before.metadata)
        assert [(item.role, item.content, item.channel) for item in after.messages] == [
            (item.role, item.content, item.channel) for item in before.messages
        ]
    there.save_message(new.session_id, "user", "it goes on")
    assert there.get_or_create("nora").messages[-1].content == "it goes on"


def test_what_openjarvis_would_not_have_is_named(store: Store, tmp_path: Path) -> None:
    sessions = SessionStore(store)
    sessions.get_or_create("old")
    sessions.decay(0)
    sessions.get_or_create("new")
    report = export_openjarvis(store, tmp_path / "sessions.db")
    assert [row[0] for row in rows(tmp_path / "sessions.db", "select user_id from sessions")] == ["new"]
    assert [note.text for note in report.notes] == ["archived by age: there it would be gone"]
    assert any("archived by age" in line for line in report.lines())
    assert report.document()["tables"] == {"sessions": 1, "session_messages": 0}


def test_channel_sessions_go_back_to_their_table(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "source.db"
    with closing(sqlite3.connect(source)) as connection:
        connection.execute(
            "create table channel_sessions (sender_id text not null, channel_type text not null, "
            "conversation_history text not null default '[]', preferred_notification_channel text, pending_response text, "
            "created_at timestamp, updated_at timestamp, primary key (sender_id, channel_type))"
        )
        history = json.dumps([{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}])
        row = ("s1", "sms", history, "mail", "an answer", "2026-11-20 04:59:32", "2026-11-20 05:59:32")
        connection.execute("insert into channel_sessions values (?, ?, ?, ?, ?, ?, ?)", row)
        connection.commit()
    import_openjarvis(store, source)
    report = export_openjarvis(store, tmp_path / "sessions.db")
    assert rows(tmp_path / "sessions.db", "select * from channel_sessions") == [row]
    assert report.tables["channel_sessions"] == 1
    assert rows(tmp_path / "sessions.db", "select * from sessions") == []


# -- Tenets ------------------------------------------------------------------------------------------------------------


def test_tenets_gets_its_rows_back(store: Store, other: Store, tmp_path: Path) -> None:
    import_tenets(store, TENETS)
    report = export_tenets(store, tmp_path / "tenets.db")
    sql = "select id, name, created_at, json(metadata) from sessions where id <> 8 order by id"
    assert [(*row[:3], json.loads(row[3])) for row in rows(tmp_path / "tenets.db", sql)] == [
        (*row[:3], json.loads(row[3])) for row in rows(TENETS, sql)
    ]
    sql = "select session_id, kind, content, created_at from session_context order by session_id, id"
    assert rows(tmp_path / "tenets.db", sql) == rows(TENETS, sql)
    assert rows(tmp_path / "tenets.db", "select name from sessions where id = 8") == [("recovered session 8",)]
    assert report.tables == {"sessions": 10, "session_context": 50}
    import_tenets(other, tmp_path / "tenets.db")
    here, there = SessionDB(store), SessionDB(other)
    assert there.list_sessions() == here.list_sessions()
    assert there.get_active_session() == here.get_active_session()
    for record in here.list_sessions():
        assert there.get_context(record.name) == here.get_context(record.name)


def test_tenets_gets_what_came_another_way_too(store: Store, tmp_path: Path, clock: ManualClock) -> None:
    db = SessionDB(store)
    db.create_session("one", {"ticket": 7})
    clock.advance(timedelta(seconds=1))
    store.contexts.create("from the library")
    store.contexts.add("from the library", "note", "kept", metadata={"of": "the library"})
    store.contexts.create("elsewhere", scope="other")
    db.set_active("one", True)
    report = export_tenets(store, tmp_path / "tenets.db")
    found = rows(tmp_path / "tenets.db", "select id, name, metadata from sessions order by id")
    assert [row[:2] for row in found] == [(1, "one"), (2, "from the library")]
    assert json.loads(found[0][2])["ticket"] == 7
    assert json.loads(found[0][2])["active"] is True
    assert [note.row for note in report.notes] == ["of from the library"]
    export_tenets(store, tmp_path / "scope.db", scope="other")
    assert rows(tmp_path / "scope.db", "select name from sessions") == [("elsewhere",)]


# -- GameGirl Color ----------------------------------------------------------------------------------------------------


def _games(store: Store) -> dict[str, tuple[Any, ...]]:
    """Every game that a channel holds, as its program sees it."""
    found = {}
    page = store.games.list(limit=100)
    for game in [store.games.load(item.id) for item in page.items]:
        if game.channel_id is not None:
            played = [
                (turn.number, turn.choices, turn.narrative_summary, turn.closed_at)
                for turn in store.games.history(None, count=50, game_id=game.id)
            ]
            players = {user: (who.user_name, who.joined_turn, who.consecutive_skips) for user, who in game.players.items()}
            pending = None if game.window is None else (game.window.choices_made, game.window.paused)
            shown = (game.name, game.turn, game.crown_holder, game.title_screen_url, players, pending, played)
            found[game.channel_id] = shown
    return found


def test_gamegirl_gets_its_keys_back(store: Store, other: Store, tmp_path: Path) -> None:
    import_gamegirl(store, GAMEGIRL)
    report = export_gamegirl(store, tmp_path / "redis.json")
    before = {row["key"]: row for row in json.loads(GAMEGIRL.read_text())}
    after = {row["key"]: row for row in json.loads((tmp_path / "redis.json").read_text())}
    lost = "1471559521843619947"  # the source has mixed two games there
    assert {key for key in after if lost not in key} >= {key for key in before if lost not in key}
    for key, row in before.items():
        if lost in key or row["type"] == "hash":
            continue
        kept = after[key]
        assert (kept["type"], kept["ttl"]) == (row["type"], row["ttl"])
        if row["type"] == "list":
            close = [json.loads(item) for item in row["value"]], [json.loads(item) for item in kept["value"]]
            for was, now in zip(*close, strict=True):
                assert now == {**was, "timestamp": pytest.approx(was["timestamp"], abs=1e-5)}
        else:
            was, now = json.loads(row["value"]), json.loads(kept["value"])
            assert was.keys() == now.keys()
            assert {**was, "players": None} == {**now, "players": None}
            assert was["players"].keys() == now["players"].keys()
    assert before["game:index"]["value"].keys() == after["game:index"]["value"].keys()
    assert report.tables["game:session"] == 9
    import_gamegirl(other, tmp_path / "redis.json")
    assert _games(other) == _games(store)


def test_a_game_that_is_open_goes_back_with_what_was_chosen(store: Store, other: Store, tmp_path: Path) -> None:
    store.games.boot("c1", "Salt", game_id="0123456789ab")
    store.games.submit_choice("c1", "u1", "Una", "north")
    store.games.set_crown("c1", "u1")
    store.games.boot("c2", "Ended", game_id="aaaaaaaaaaaa")
    store.games.exit("c2")
    store.games.swap("c3", "Shelved")
    store.games.swap("c3", "Shown")
    report = export_gamegirl(store, tmp_path / "redis.json")
    kept = {row["key"]: row for row in json.loads((tmp_path / "redis.json").read_text())}
    back = GameSession.from_redis(kept["sg:game_session:c1"]["value"])
    assert (back.game_id, back.active, back.crown_holder, back.pending_choices) == ("0123456789ab", True, "u1", {"u1": "north"})
    assert (kept["sg:game_session:c1"]["ttl"], kept["sg:game_session:c1"]["value"]["countdown_started"]) == (14400, "0.0")
    assert "sg:game_session:c2" not in kept
    assert json.loads(kept["game:session:c2"]["value"])["active"] is False
    assert json.loads(kept["game:session:c3"]["value"])["game_name"] == "Shown"
    assert ["Shelved" in note.row for note in report.notes] == [True]
    import_gamegirl(other, tmp_path / "redis.json")
    game = other.games.load("0123456789ab")
    assert (game.window is not None and game.window.choices_made, game.crown_holder) == (1, "u1")
    assert other.games.load("aaaaaaaaaaaa").state == "ended"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A Redis of the game's own."""
    try:
        find_redis()
    except ServerMissingError as error:
        pytest.skip(str(error))
    with redis_server() as started:
        yield started


def test_gamegirl_is_given_to_a_server_without_its_keys(store: Store, other: Store, server: Server, tmp_path: Path) -> None:
    import redis

    import_gamegirl(store, GAMEGIRL)
    with redis.Redis.from_url(server.url) as client:
        client.flushdb()
        client.set("somebody:else", "stays")
        export_gamegirl(store, server.url)
        assert client.ttl("game:index") == -1
        channel = "1471559009343097598"
        assert 14000 < int(str(client.ttl(f"sg:game_session:{channel}"))) <= 14400
        fields: Any = client.hgetall(f"sg:game_session:{channel}")  # bytes, as clients give them
        back = GameSession.from_redis(fields)
        assert (back.game_name, back.turn_number, len(back.players)) == ("Seven Doors Down 8", 7, 2)
        before = client.dbsize()
        with pytest.raises(InvalidValueError, match="has games of that program already"):
            export_gamegirl(store, server.url)
        assert client.dbsize() == before
        assert client.get("somebody:else") == b"stays"
    import_gamegirl(other, server.url)
    assert _games(other) == _games(store)


def test_a_server_that_does_not_answer_is_named_without_its_password(tmp_path: Path) -> None:
    with sojourn.open("memory:") as empty:
        empty.games.boot("c1", "Salt")
        with pytest.raises(UnavailableError) as caught:
            export_gamegirl(empty, "redis://:secret@127.0.0.1:1/0")
    assert "secret" not in str(caught.value)


# -- files -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("export", [export_openjarvis, export_tenets, export_gamegirl])
def test_a_file_that_is_there_is_left_alone(export: Any, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("the original's own")
    with sojourn.open("memory:") as empty:
        with pytest.raises(InvalidValueError, match="exists"):
            export(empty, target)
        with pytest.raises(InvalidValueError, match="no directory"):
            export(empty, tmp_path / "none" / "target")
    assert target.read_text() == "the original's own"


@pytest.mark.parametrize("export", [export_openjarvis, export_tenets, export_gamegirl])
def test_an_export_that_fails_leaves_nothing(export: Any, tmp_path: Path) -> None:
    def stop(done: int, all: int) -> None:
        raise KeyboardInterrupt

    with sojourn.open("memory:") as full:
        full.conversations.create("u")
        full.contexts.create("a")
        full.games.boot("c1", "Salt")
        with pytest.raises(KeyboardInterrupt):
            export(full, tmp_path / "target", progress=stop)
        assert list(tmp_path.iterdir()) == []
        export(full, tmp_path / "target")
    assert [file.name for file in tmp_path.iterdir()] == ["target"]
