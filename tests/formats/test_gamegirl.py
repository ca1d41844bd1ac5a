"""The import of GameGirl Color: the sample key by key, from a dump and from a live server, and what is wrong in a source."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest

import sojourn
from sojourn import CorruptError, GamePolicy, InvalidValueError, NotFoundError, UnavailableError
from sojourn.formats.gamegirl import aimport_gamegirl, import_gamegirl
from sojourn.formats.gamegirl_source import shown
from sojourn.formats.report import ImportReport
from sojourn.testing.servers import Server, ServerMissingError, find_redis, redis_server

DATA: Final = Path(__file__).parent / "data" / "gamegirl"
SAMPLE: Final = DATA / "redis.json"
EXPECTED: Final = json.loads((DATA / "expected.json").read_text(encoding="utf-8"))
AT: Final = 1795150000.5


def adds_up(report: ImportReport) -> None:
    """Every row is imported or skipped with a reason."""
    for name, counts in report.tables.items():
        assert counts.read == counts.imported + counts.skipped, name
        assert counts.skipped == sum(item.rows for item in report.skipped if item.table == name)


def said(report: ImportReport, text: str) -> list[str]:
    """The rows that a note or a reason with this text is about."""
    notes = [note.row for note in report.notes if text in note.text]
    return notes + [item.row for item in report.skipped if text in item.reason]


def document(own: str, channel: str, **more: Any) -> dict[str, Any]:
    """What the program keeps of a game."""
    return {
        "game_id": own,
        "game_name": f"Game {own}",
        "channel_id": channel,
        "active": True,
        "turn_number": 0,
        "title_screen_url": "",
        "crown_holder": None,
        "players": {},
        **more,
    }


def person(user: str, **more: Any) -> dict[str, Any]:
    return {"user_id": user, "user_name": user.title(), "joined_turn": 0, "last_active": AT, **more}


def turns(*numbers: int, user: str = "ana") -> list[str]:
    return [
        json.dumps({"turn": n, "choices": {user: f"choice {n}"}, "narrative_summary": f"told {n}", "timestamp": AT + n})
        for n in numbers
    ]


def live(own: str, channel: str, **more: Any) -> dict[str, str]:
    """The hash of a channel: everything is text."""
    row = document(
        own, channel, **{"crown_holder": "", "active": "1", "pending_choices": {}, "countdown_started": "5.5", **more}
    )
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in row.items()}


def dump(path: Path, keys: dict[str, Any]) -> Path:
    """A dump of these keys."""
    file = path / "redis.json"
    types: dict[type, str] = {str: "string", list: "list", dict: "hash"}
    rows = [{"key": key, "type": types[type(value)], "ttl": -1, "value": value} for key, value in keys.items()]
    file.write_text(json.dumps(rows), encoding="utf-8")
    return file


def content(store: sojourn.Store) -> list[Any]:
    """All that a reader sees, without ids of this store's own."""
    games = sorted(store.games.list(limit=1000, order="name").items, key=lambda game: game.id)
    return [(game, store.games.history(None, game_id=game.id, count=1000)) for game in games]


@pytest.fixture(params=["memory:", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sojourn.Store]:
    url = request.param if request.param == "memory:" else f"sqlite:///{tmp_path}/store.db"
    with sojourn.open(url) as made:
        yield made


# -- the sample ----------------------------------------------------------------------------------------------------------


def as_expected(store: sojourn.Store) -> None:
    """What the sample's own list says is there."""
    lost = EXPECTED["swapped"]["lost"]
    for row in EXPECTED["games"]:
        game = store.games.load(row["game_id"])
        assert (game.name, game.turn, len(game.players), game.last_channel_id) == (
            row["name"],
            row["turns"],
            row["players"] if row["turns"] else 0,  # the program wrote a roster with a turn: before the first there is none
            row["channel_id"],
        )
        numbers = [turn.number for turn in store.games.history(None, game_id=game.id, count=100)]
        assert numbers == list(range(max(1, row["turns"] - 49), row["turns"] + 1))
        assert (game.state, game.channel_id) == (("lobby", None) if row["game_id"] == lost else ("active", row["channel_id"]))
    now = store.games.get(EXPECTED["swapped"]["channel"])
    assert now is not None
    assert now.id == store.games.load(EXPECTED["swapped"]["now"]).id
    assert (now.name, now.turn, store.games.history(None, game_id=now.id)) == ("Swapped in", 0, [])
    assert len(store.games.list(limit=100)) == len(EXPECTED["games"]) + 1


def test_the_sample_is_accounted_for(store: sojourn.Store) -> None:
    report = import_gamegirl(store, SAMPLE)
    adds_up(report)
    assert {name: (counts.read, counts.imported) for name, counts in report.tables.items()} == {
        "game:index": (10, 10),
        "game:session": (9, 9),
        "game:session:history": (128, 128),
        "sg:game_session": (8, 8),
        "other keys": (0, 0),
    }
    as_expected(store)
    assert said(report, "its state is lost") == [EXPECTED["swapped"]["lost"]]
    exited = {f"sg:game_session:{row['channel_id']}" for row in EXPECTED["games"] if row["exited"]}
    assert exited <= {f"sg:game_session:{row.rpartition(':')[2]}" for row in said(report, "exited game")}


def test_every_turn_is_as_it_was(store: sojourn.Store) -> None:
    import_gamegirl(store, SAMPLE)
    for key in json.loads(SAMPLE.read_text(encoding="utf-8")):
        if not key["key"].endswith(":history"):
            continue
        channel = key["key"].split(":")[2]
        for one in store.games.list(channel_id=channel).items:
            kept = store.games.history(None, game_id=one.id, count=100)
            if not kept:
                continue
            rows = [json.loads(row) for row in key["value"]]
            assert [(turn.number, turn.choices, turn.narrative_summary) for turn in kept] == [
                (row["turn"], row["choices"], row["narrative_summary"]) for row in rows
            ]
            assert [turn.closed_at.timestamp() for turn in kept] == pytest.approx([row["timestamp"] for row in rows])
            assert {turn.state for turn in kept} == {"resolved"}


def test_what_was_chosen_waits_in_a_paused_window_with_a_full_countdown(store: sojourn.Store) -> None:
    import_gamegirl(store, SAMPLE)
    game = store.games.load("2ac3f0aa1e62")
    window, channel = game.window, game.channel_id or ""
    assert window is not None
    assert (window.paused, window.remaining, window.deadline, window.choices_made) == (True, timedelta(seconds=10), None, 1)
    store.sweep()
    assert store.games.load(game.id).window == window
    pressed = store.games.submit_choice(channel, "u41", "Player 1", "sing")
    assert (pressed.status, pressed.first, pressed.turn, pressed.remaining) == ("accepted", False, 8, timedelta(seconds=10))
    again = store.games.load(game.id).window
    assert again is not None
    assert not again.paused
    assert store.games.submit_choice(channel, "u40", "Player 0", "hide").status == "replaced"
    assert store.games.close(channel).choices == {"u41": "sing", "u40": "hide"}
    assert store.games.narrate(channel).turn.number == 8


def test_importing_again_imports_nothing(store: sojourn.Store, tmp_path: Path) -> None:
    keys: dict[str, Any] = {
        "game:session:c": json.dumps(document("a1", "c", turn_number=2, players={"ana": person("ana")})),
        "game:session:c:history": turns(1, 2),
    }
    assert import_gamegirl(store, dump(tmp_path, keys)).imported == 3
    store.games.submit_choice("c", "ben", "Ben", "on it goes here")
    store.games.close("c")
    before = content(store)
    keys["game:session:c:history"] += turns(3)
    again = import_gamegirl(store, dump(tmp_path, keys))
    adds_up(again)
    assert (again.imported, again.present) == (0, 3)
    assert said(again, "played after their game was imported") == ["of channel c"]
    assert content(store) == before


def test_a_dry_run_stores_nothing(store: sojourn.Store) -> None:
    report = import_gamegirl(store, SAMPLE, dry_run=True)
    adds_up(report)
    assert report.imported == 155
    assert len(store.games.list()) == 0


def test_the_other_colour(tmp_path: Path) -> None:
    async def run() -> None:
        async with sojourn.aopen(f"sqlite:///{tmp_path}/other.db") as store:
            assert (await aimport_gamegirl(store, SAMPLE)).imported == 155

    asyncio.run(run())
    with sojourn.open(f"sqlite:///{tmp_path}/other.db") as store:
        as_expected(store)


# -- a live server -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    try:
        find_redis()
    except ServerMissingError as error:
        pytest.skip(str(error))
    with redis_server() as running:
        yield running


def filled(server: Server, rows: list[dict[str, Any]]) -> Any:
    """A client of the server, which has these keys and no others."""
    client = pytest.importorskip("redis").Redis.from_url(server.url)
    client.flushall()
    for row in rows:
        if row["type"] == "string":
            client.set(row["key"], row["value"])
        elif row["type"] == "list":
            client.rpush(row["key"], *row["value"])
        else:
            client.hset(row["key"], mapping=row["value"])
        if row["ttl"] > 0:
            client.expire(row["key"], row["ttl"])
    return client


@pytest.mark.slow
def test_a_live_server_gives_what_its_dump_gives_and_is_not_written_to(store: sojourn.Store, server: Server) -> None:
    rows = json.loads(SAMPLE.read_text(encoding="utf-8"))
    with filled(server, rows) as client:
        client.set("another program's key", "x")
        client.zadd("game:session:odd", {"a": 1})
        client.set("game:session:raw", b"\xff\xfe")
        before = {key: client.dump(key) for key in client.scan_iter()}
        client.config_resetstat()
        report = import_gamegirl(store, server.url)
        adds_up(report)
        as_expected(store)
        assert said(report, "not of its type (zset)") == ["game:session:odd"]
        assert said(report, "malformed") == ["game:session:raw"]
        assert {key: client.dump(key) for key in client.scan_iter()} == before
        used = {name.removeprefix("cmdstat_") for name in client.info("commandstats")}
        assert used - {"hello", "auth", "select", "dump", "info", "config|resetstat"} <= {
            "scan", "type", "get", "lrange", "hgetall", "client|setinfo",
        }  # fmt: skip
        assert import_gamegirl(store, server.url).imported == 0
    with sojourn.open("memory:") as other:
        import_gamegirl(other, SAMPLE)
        assert [(game.name, len(turns)) for game, turns in content(other)] == [
            (game.name, len(turns)) for game, turns in content(store)
        ]


@pytest.mark.slow
def test_a_server_that_is_not_there_or_wants_a_password(server: Server) -> None:
    pytest.importorskip("redis")
    with sojourn.open("memory:") as store:
        with pytest.raises(UnavailableError) as nobody:
            import_gamegirl(store, "redis://:secret@127.0.0.1:1/0")
        assert "secret" not in str(nobody.value)
        with pytest.raises(UnavailableError):
            import_gamegirl(store, server.url.replace("redis://", "redis://nobody:wrong@"))


def test_a_report_names_no_password() -> None:
    assert shown("redis://user:secret@host:6379/2?password=secret") == "redis://host:6379/2"


# -- what is wrong in a source -------------------------------------------------------------------------------------------


def test_a_history_of_two_games_is_taken_apart(store: sojourn.Store, tmp_path: Path) -> None:
    index = {
        "old1": json.dumps({"game_name": "Old", "channel_id": "c", "turn_number": 4, "active": True, "title_screen_url": ""}),
        "new1": json.dumps({"game_name": "New", "channel_id": "c", "turn_number": 2, "active": True, "title_screen_url": ""}),
    }
    keys = {
        "game:index": index,
        "game:session:c": json.dumps(document("new1", "c", turn_number=2, players={"ben": person("ben")})),
        "game:session:c:history": [*turns(2, 3, 4), *turns(1, 2, user="ben")],
    }
    report = import_gamegirl(store, dump(tmp_path, keys))
    adds_up(report)
    assert report.imported == 8
    new, old = store.games.load("new1"), store.games.load("old1")
    assert [turn.choices for turn in store.games.history("c")] == [{"ben": "choice 1"}, {"ben": "choice 2"}]
    assert [turn.number for turn in store.games.history(None, game_id=old.id)] == [2, 3, 4]
    assert (new.channel_id, old.channel_id, old.state, list(old.players)) == ("c", None, "lobby", ["ana"])
    swapped = store.games.swap("c", game_id="old1")
    assert (swapped.game.id, swapped.shelved and swapped.shelved.id) == (old.id, new.id)
    store.games.submit_choice("c", "ana", "Ana", "on")
    assert store.games.close("c").number == 5


def test_turns_that_nothing_names_become_games_of_their_own(store: sojourn.Store, tmp_path: Path) -> None:
    keys = {"game:session:c:history": [*turns(1, 2), *turns(1, 2, 3, user="ben")]}
    file = dump(tmp_path, keys)
    report = import_gamegirl(store, file)
    adds_up(report)
    assert sorted((game.name, game.turn, game.state) for game in store.games.list()) == [
        ("Recovered from channel c", 2, "lobby"),
        ("Recovered from channel c", 3, "lobby"),
    ]
    assert import_gamegirl(store, file).imported == 0


def test_an_index_row_without_anything_is_said_to_be_lost(store: sojourn.Store, tmp_path: Path) -> None:
    row = json.dumps({"game_name": "Gone", "channel_id": "c", "turn_number": 9, "active": True})
    keys = {
        "game:index": {"gone1": row, "gone2": row.replace('"c"', '"d"')},
        "game:session:c": json.dumps(document("here", "c")),
    }
    report = import_gamegirl(store, dump(tmp_path, keys))
    adds_up(report)
    assert said(report, "holds game here now") == ["gone1"]
    assert said(report, "holds no game") == ["gone2"]
    with pytest.raises(NotFoundError):
        store.games.load("gone1")


def test_the_hash_is_newer_than_the_document(store: sojourn.Store, tmp_path: Path) -> None:
    players = {"ana": person("ana"), "ben": person("ben", consecutive_skips=3)}
    keys = {
        "game:session:c": json.dumps(document("a", "c", turn_number=1, crown_holder="ana", players={"ana": person("ana")})),
        "sg:game_session:c": live("a", "c", turn_number=2, crown_holder="ben", players=players),
        "game:session:d": json.dumps(document("b", "d")),
        "sg:game_session:d": live("b", "d", active="0", pending_choices={"ana": "too late"}),
        "game:session:e": json.dumps(document("older", "e", turn_number=5)),
        "sg:game_session:e": live("newer", "e"),
    }
    report = import_gamegirl(store, dump(tmp_path, keys))
    adds_up(report)
    first, over = store.games.get("c"), store.games.load("b")
    assert first is not None
    assert (first.turn, first.crown_holder, list(first.players)) == (2, "ben", ["ana", "ben"])
    assert first.players["ben"].consecutive_skips == 3
    assert (over.state, over.window, store.games.get("d")) == ("ended", None, None)
    shown_in_e = store.games.get("e")
    assert shown_in_e is not None
    assert (shown_in_e.name, store.games.load("older").state) == ("Game newer", "lobby")
    assert store.games.resume("b").state == "active"


def test_what_is_malformed_is_kept_or_said(store: sojourn.Store, tmp_path: Path) -> None:
    keys = {
        "game:index": {"x1": "{", "x2": "[]", "x3": '{"channel_id": null}'},
        "game:session:bad": "no json",
        "game:session:c": json.dumps(
            document(
                "ok",
                "c",
                game_name="  two\nlines ",
                turn_number="1",
                crown_holder="nobody",
                title_screen_url="\0",
                players={"ana": person("ana", last_active="never", consecutive_skips=-4), "ben": 7, "a\nb": person("x")},
            )
        ),
        "game:session:c:history": ["{", "7", '{"turn": "one"}', json.dumps({"turn": 3, "choices": [], "timestamp": 1e30})],
        "sg:game_session:d": {"game_id": "h", "game_name": "x" * 300, "players": "{", "pending_choices": "[1]"},
        "game:session:e:history": "not a list",
        "unknown": "key",
    }
    report = import_gamegirl(store, dump(tmp_path, keys))
    adds_up(report)
    assert len(said(report, "malformed: no JSON object with a turn's number")) == 3
    assert said(report, "malformed: it does not say which channel") == ["x1", "x2", "x3"]
    assert sorted(said(report, "malformed: no JSON object")) == [*(f"c, entry {n}" for n in (1, 2, 3)), "game:session:bad"]
    assert said(report, "not a key of GameGirl Color") == ["game:session:e:history", "unknown"]
    game = store.games.load("ok")
    assert (game.name, game.turn, game.crown_holder, game.title_screen_url) == ("two lines", 3, None, "\ufffd")
    assert list(game.players) == ["ana", "a b"]
    assert game.players["ana"].consecutive_skips == 0
    assert game.metadata["gamegirl"]["players"] == {"ben": 7}
    assert len(store.games.load("h").name) == 128
    assert store.games.history("c")[0].choices == {}


def test_a_channel_that_shows_a_game_here_keeps_it(store: sojourn.Store, tmp_path: Path) -> None:
    mine = store.games.boot("c", "Mine", game_id="a")
    keys = {"game:session:c": json.dumps(document("a", "c", turn_number=1)), "game:session:c:history": turns(1)}
    report = import_gamegirl(store, dump(tmp_path, keys))
    adds_up(report)
    showing = store.games.get("c")
    assert showing is not None
    assert showing.id == mine.id == store.games.load("a").id
    other = next(game for game in store.games.list() if game.id != mine.id)
    assert (other.state, other.turn) == ("lobby", 1)
    assert len(said(report, "imported as shelved")) == 1
    assert len(said(report, "is another game's here")) == 1


def test_what_was_deleted_here_is_not_brought_back(store: sojourn.Store) -> None:
    import_gamegirl(store, SAMPLE)
    store.games.delete("2ac3f0aa1e62")
    report = import_gamegirl(store, SAMPLE)
    adds_up(report)
    assert said(report, "deleted here")
    with pytest.raises(NotFoundError):
        store.games.load("2ac3f0aa1e62")


def test_names_and_choices_of_every_script_come_through(store: sojourn.Store, tmp_path: Path) -> None:
    name, choice = "\u05e2\u05d5\u05dc\u05dd \U0001f3ae", "\u202eabc \U0001f468\u200d\U0001f680"
    players = {name: person(name, user_name=name)}
    keys = {"sg:game_session:c": live("g", "c", game_name=name, players=players, pending_choices={name: choice})}
    import_gamegirl(store, dump(tmp_path, keys))
    assert store.games.load("g").players[name].user_name == name
    assert store.games.close("c").choices == {name: choice}


def test_the_policy_of_the_store_is_the_games(tmp_path: Path) -> None:
    policy = GamePolicy(countdown=timedelta(seconds=33), close_when="all")
    players = {"ana": person("ana"), "ben": person("ben")}
    keys = {"sg:game_session:c": live("g", "c", players=players, pending_choices={"ana": "go"})}
    with sojourn.open("memory:", games=policy) as store:
        import_gamegirl(store, dump(tmp_path, keys))
        game = store.games.get("c")
        assert game is not None
        assert game.window is not None
        assert (game.window.remaining, game.window.expected) == (policy.countdown, ("ana", "ben"))
        assert store.games.submit_choice("c", "ben", "Ben", "go").status == "accepted"
        assert store.games.history("c")[0].reason == "all"


@pytest.mark.parametrize(
    ("text", "error"), [(None, InvalidValueError), ("{", CorruptError), ("{}", CorruptError), ("[1]", CorruptError)]
)
def test_what_is_no_dump_is_refused(store: sojourn.Store, tmp_path: Path, text: str | None, error: type[Exception]) -> None:
    file = tmp_path / "dump.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(error):
        import_gamegirl(store, file)


# -- kills ---------------------------------------------------------------------------------------------------------------

CHILD: Final = """
import os, signal, sys, sojourn
from sojourn.formats.gamegirl import import_gamegirl
from sojourn.shell.unit import Unit

left, attempt = int(sys.argv[3]), Unit.attempt


async def counted(self, *given, **more):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return await attempt(self, *given, **more)


Unit.attempt = counted
with sojourn.open(sys.argv[1]) as store:
    import_gamegirl(store, sys.argv[2])
"""


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_a_killed_import_shows_whole_games_only_and_is_completed_by_the_next(tmp_path: Path, seed: int) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    commits = random.Random(seed).randrange(1, 20)  # of twenty: ten games, ten names
    killed = subprocess.run([sys.executable, "-c", CHILD, url, str(SAMPLE), str(commits)], check=False)
    assert killed.returncode == -9
    with sojourn.open("memory:") as whole, sojourn.open(url) as store:
        import_gamegirl(whole, SAMPLE)
        expected = {game.id: (game.turn, len(turns)) for game, turns in content(whole)}
        half = {game.id: (game.turn, len(turns)) for game, turns in content(store)}
        assert half.items() <= expected.items()
        report = import_gamegirl(store, SAMPLE)
        adds_up(report)
        assert {game.id: (game.turn, len(turns)) for game, turns in content(store)} == expected
        as_expected(store)
