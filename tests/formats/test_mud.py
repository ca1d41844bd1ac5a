"""The import of the MUD server: the sample row by row, what is wrong in a source, importing again, and being cut short."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import sojourn
from sojourn import ConflictError, CorruptError, EndedError, ExpiredError, InvalidValueError, NotFoundError, UnsupportedError
from sojourn.formats.mud import aimport_mud, import_mud
from sojourn.formats.report import PRESENT, ImportReport
from sojourn.testing.clocks import ManualClock
from sojourn.testing.engines import EnginePlaces

DATA = Path(__file__).parent / "data" / "mud"
SAMPLE = DATA / "mud.db"
EXPECTED: dict[str, Any] = json.loads((DATA / "expected.json").read_text(encoding="utf-8"))
TOKENS: list[str] = [*EXPECTED["live_tokens"], *EXPECTED["expired_tokens"]]

SCHEMA = """
create table users (id integer primary key, username text, password_hash text, role text default 'player',
  is_active integer default 1, is_guest integer default 0, tombstoned_at timestamp);
create table characters (id integer primary key, user_id integer, name text, world_id text);
create table worlds (id text primary key, name text);
create table sessions (id integer primary key, user_id integer, character_id integer, world_id text, session_id text,
  created_at timestamp, last_activity timestamp, expires_at timestamp, client_type text);
"""
WHEN, LATER, PAST = "2026-11-20 05:00:00", "2036-11-20 05:00:00", "2026-11-20 05:30:00"


@pytest.fixture
def clock() -> ManualClock:
    """Hours after the sample was written."""
    return ManualClock(datetime(2026, 11, 20, 8, tzinfo=UTC))


def uuid(number: int) -> str:
    """A token as that server makes them."""
    return f"{number:08x}-aaaa-4bbb-8ccc-{number:012x}"


def source(path: Path, **rows: list[tuple[Any, ...]]) -> Path:
    """A database with these rows; a second call adds some."""
    file = path / "mud.db"
    connection = sqlite3.connect(file)
    if not connection.execute("select 1 from sqlite_master").fetchone():
        connection.executescript(SCHEMA)
    widths = {"users": "id, username, role, is_active, is_guest, tombstoned_at"}
    for table, values in rows.items():
        for row in values:
            names = widths.get(table, "")
            chosen = f"({', '.join(names.split(', ')[: len(row)])})" if names else ""
            connection.execute(f"insert into {table} {chosen} values ({', '.join('?' * len(row))})", row)
    connection.commit()
    connection.close()
    return file


def session(id: int, user: Any, token: Any = None, **more: Any) -> tuple[Any, ...]:
    """A row of sessions."""
    given = {"character": None, "world": None, "created": WHEN, "active": WHEN, "expires": LATER, "client": "tui", **more}
    kept = uuid(id) if token is None else token
    return (id, user, given["character"], given["world"], kept, *(given[n] for n in ("created", "active", "expires", "client")))


def adds_up(report: ImportReport) -> None:
    """Every row is imported or skipped with a reason."""
    for name, counts in report.tables.items():
        assert counts.read == counts.imported + counts.skipped
        assert counts.skipped == sum(item.rows for item in report.skipped if item.table == name)


def skipped(report: ImportReport, table: str) -> dict[str, str]:
    return {item.row: item.reason for item in report.skipped if item.table == table}


def whole(store: sojourn.Store) -> list[Any]:
    """What readers see of everything."""
    logins = sorted(repr(login) for login in store.logins.list(active_only=False, limit=1000))
    users = [repr(store.directory.user(number)) for number in range(1, 20)]
    characters = [repr(store.directory.character(number)) for number in range(1, 30)]
    return [logins, users, characters, repr(store.directory.world("pipeworks_web"))]


# -- the sample --------------------------------------------------------------------------------------------------------


def test_the_sample_is_accounted_for(store: sojourn.Store) -> None:
    report = import_mud(store, SAMPLE)
    adds_up(report)
    tables = {name: (counts.read, counts.imported) for name, counts in report.tables.items()}
    assert tables == {"worlds": (1, 1), "users": (8, 8), "characters": (17, 17), "sessions": (22, 22)}
    shared = {note.row for note in report.notes if "imported as shared" in note.text}
    assert shared == {"1 Aldis of the Reeds", "2 Brenna of the Reeds", "10 Eamon of the Reeds", "14 Garrick Ironhand"}
    assert {note.row for note in report.notes if note.text == "it had expired: imported as that"} == {"row 7", "row 22"}
    assert {note.row for note in report.notes if "superuser" in note.text} == {"row 1"}
    assert "chat_messages" in {note.row for note in report.notes if note.table == "other tables"}


def test_tokens_that_were_live_keep_working_and_expired_ones_do_not(store: sojourn.Store) -> None:
    import_mud(store, SAMPLE)
    for token, expected in EXPECTED["live_tokens"].items():
        login = store.logins.authenticate(token)
        user = store.directory.user(login.user_id)
        assert user is not None
        assert user.username == expected["username"]
        held = expected["character_id"]
        assert (login.character_id, login.world_id) == ((str(held), EXPECTED["world"]) if held else (None, None))
    for token in EXPECTED["expired_tokens"]:
        with pytest.raises(ExpiredError):
            store.logins.authenticate(token)
    assert store.logins.active_characters(world_id=EXPECTED["world"]) == EXPECTED["active_characters"]


def test_rows_are_as_they_were(store: sojourn.Store) -> None:
    import_mud(store, SAMPLE)
    connection = sqlite3.connect(f"{SAMPLE.as_uri()}?mode=ro&immutable=1", uri=True)
    connection.row_factory = sqlite3.Row
    rows = connection.execute("select * from sessions").fetchall()
    holders = [row["character_id"] for row in rows if row["expires_at"] is None or row["expires_at"] > "2026-11-19"]
    for row in rows:
        login = store.logins.find(row["session_id"])
        assert login is not None
        assert (login.user_id, login.client_type) == (str(row["user_id"]), row["client_type"])
        assert login.created_at == login.authenticated_at == datetime.fromisoformat(row["created_at"] + "+00:00")
        assert login.last_activity_at == datetime.fromisoformat(row["last_activity"] + "+00:00")
        end = row["expires_at"]
        assert login.expires_at == (None if end is None else datetime.fromisoformat(end + "+00:00"))
        assert login.shared_character == (row["character_id"] is not None and holders.count(row["character_id"]) > 1)
        assert login.metadata["mud"]["session"] == row["id"]
        (first, *_) = store.logins.history(login.id)
        assert (first.change, first.by) == ("imported", "import mud")
    for row in connection.execute("select * from characters"):
        character = store.directory.character(row["id"])
        assert character == sojourn.Character(str(row["id"]), str(row["user_id"]), row["world_id"], row["name"])
    connection.close()
    aldis = store.directory.user(1)
    assert aldis is not None
    assert aldis.last_login_at == datetime(2026, 11, 20, 4, 59, 32, tzinfo=UTC)
    assert [found.metadata["mud"]["role"] for found in store.logins.list(user_id=1)] == ["superuser", "superuser"]


def test_the_ends_are_kept_whatever_the_policy_and_whatever_is_done(tmp_path: Path) -> None:
    policy = sojourn.LoginPolicy(idle=timedelta(minutes=5), absolute=timedelta(hours=1), max_per_user=1, peppers={1: b"p" * 16})
    with sojourn.open("memory:", logins=policy) as store:
        import_mud(store, SAMPLE)
        assert len(store.logins.list(limit=100)) == 20  # nobody was evicted
        for token in EXPECTED["live_tokens"]:
            before = store.logins.find(token)
            assert before is not None
            assert store.logins.touch(before.id)
            assert store.logins.authenticate(token).expires_at == before.expires_at
        one = next(iter(EXPECTED["live_tokens"]))
        made = store.logins.rotate(one, reauthenticated=True)
        assert made.login.expires_at is not None
        assert made.login.expires_at.year == 2036


def test_plaintext_is_nowhere(tmp_path: Path) -> None:
    file = tmp_path / "store.db"
    with sojourn.open(f"sqlite:///{file}") as store:
        report = import_mud(store, SAMPLE)
        store.logins.authenticate(TOKENS[0])
        texts = [repr(report), json.dumps(report.document()), "\n".join(report.lines()), "".join(store.export())]
        texts += [repr(store.logins.list(active_only=False, limit=1000)), repr(store.sessions.list("state:all", limit=1000))]
        stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())  # with the log beside it
    stored += b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"Aldis of the Reeds" in stored
    for token in TOKENS:
        for shape in (token, token.upper(), token.replace("-", "")):
            assert shape.encode() not in stored
            assert not any(shape in text for text in texts)
    assert b"$2b$" not in stored  # the beginning of a password's hash


# -- again -------------------------------------------------------------------------------------------------------------


def test_a_second_run_imports_nothing(store: sojourn.Store) -> None:
    import_mud(store, SAMPLE)
    before, seen = list(store.export()), whole(store)
    again = import_mud(store, SAMPLE)
    adds_up(again)
    assert (again.imported, again.present) == (0, 48)
    assert list(store.export()) == before
    assert whole(store) == seen
    assert not any("shared" in note.text or "expired" in note.text for note in again.notes)


def test_what_has_come_since_is_added_and_shares(store: sojourn.Store, tmp_path: Path) -> None:
    file = source(
        tmp_path,
        worlds=[("w", "World")],
        users=[(1, "a")],
        characters=[(1, 1, "A", "w")],
        sessions=[session(1, 1, character=1, world="w")],
    )
    import_mud(store, file)
    assert not store.logins.authenticate(uuid(1)).shared_character
    source(tmp_path, users=[(2, "b")], sessions=[session(2, 1, character=1, world="w"), session(3, 2)])
    report = import_mud(store, file)
    adds_up(report)
    assert (report.imported, report.present) == (3, 4)
    assert all(store.logins.authenticate(uuid(number)).shared_character for number in (1, 2))


def test_what_was_removed_here_is_not_brought_back(store: sojourn.Store) -> None:
    import_mud(store, SAMPLE)
    first, second, *_ = EXPECTED["live_tokens"]
    store.directory.remove_user(2)
    store.directory.remove_character(14)
    store.directory.move_character(10, 6)
    store.logins.revoke_token(first)
    other = store.logins.find(second)
    assert other is not None
    store.sessions.delete(other.id)
    seen = whole(store)
    report = import_mud(store, SAMPLE)
    adds_up(report)
    assert report.imported == 0
    assert whole(store) == seen
    assert (
        skipped(report, "users")["row 2"] == skipped(report, "characters")["row 14"] == "it was removed here: not brought back"
    )
    assert skipped(report, "sessions")["row 2"] == "it was removed here: not brought back"
    assert skipped(report, "sessions")["row 3"] == "its user was removed here"
    assert {note.row for note in report.notes if "another user here" in note.text} <= {"row 10"}
    with pytest.raises(EndedError):
        store.logins.authenticate(first)
    with pytest.raises(NotFoundError):
        store.logins.authenticate(second)
    store.logins.clear()
    assert import_mud(store, SAMPLE).imported == 0
    assert len(store.logins.list(active_only=False)) == 0


def test_who_is_here_under_that_name_or_id_is_left_alone(store: sojourn.Store, tmp_path: Path) -> None:
    mine = store.directory.add_user("brenna")
    file = source(tmp_path, users=[(1, "aldis"), (2, "brenna")], sessions=[session(1, 1), session(2, 2)])
    report = import_mud(store, file)
    adds_up(report)
    assert skipped(report, "users") == {"row 2": "the username 'brenna' is taken here"}
    assert skipped(report, "sessions") == {"row 2": "its user was not imported"}
    assert store.directory.user_id("brenna") == mine
    (tmp_path / "other").mkdir()
    other = source(tmp_path / "other", users=[(1, "someone")], sessions=[session(9, 1)])
    report = import_mud(store, other)
    assert skipped(report, "users") == {"row 1": "user '1' is another one here"}
    assert skipped(report, "sessions") == {"row 9": "its user was not imported"}


def test_a_token_that_is_in_use_here_is_left_alone(store: sojourn.Store, tmp_path: Path) -> None:
    mine = store.directory.add_user("mine")
    token = "T0ken-of-a-callers-own_with-enough-bits-0123456789"
    made = store.logins.create(mine, token=token)
    report = import_mud(store, source(tmp_path, users=[(1, "a")], sessions=[session(1, 1, token)]))
    adds_up(report)
    assert skipped(report, "sessions") == {"row 1": "this token is another login's."}
    assert store.logins.authenticate(token).id == made.login.id
    with pytest.raises(ConflictError):
        store.logins.create(mine, token=token)


def test_a_dry_run_stores_nothing(store: sojourn.Store) -> None:
    before = list(store.export())
    report = import_mud(store, SAMPLE, dry_run=True)
    adds_up(report)
    assert report.imported == 48
    assert list(store.export()) == before


# -- what is wrong -----------------------------------------------------------------------------------------------------


def test_rows_that_cannot_be_taken_are_named_with_their_reason(store: sojourn.Store, tmp_path: Path) -> None:
    users = [
        (1, "a"),
        (2, "gone", "player", 1, 0, WHEN),
        (3, "off", "admin", 0),
        (4, ""),
        (5, "guest", "player", 1, 1),
        (6, b"\xff\xfe"),
    ]
    characters = [(1, 1, "A", "w"), (2, None, "Nobody's", "w"), (3, 1, "B", "elsewhere"), (4, 2, "C", "w"), (5, 5, "G", "w")]
    sessions = [
        session(1, 1),
        session(2, 2),
        session(3, 3),
        session(4, 4),
        session(5, 99),
        session(6, None),
        session(7, 1, ""),
        session(8, 1, "sjl_" + "0" * 26 + "." + "A" * 43),
        session(9, 1, "short"),
        session(10, 1, b"\x00\xff"),
        session(11, 1, "x" * 600),
        session(12, 1, expires="soon"),
        session(13, 1, created=None, active=None),
        session(14, 1, created=None),
        session(15, 1, character=5, world="w"),
        session(16, 1, character=1, world="other"),
        session(17, 1, character=77, world="w"),
        session(18, 1, world="w"),
        session(19, 1, client="\x1b[31m" + "x" * 90),
        session(20, 5, client=None, expires=None),
        session(21, 1, "sjh0_" + "A" * 43),
    ]
    file = source(tmp_path, worlds=[("w", "World")], users=users, characters=characters, sessions=sessions)
    report = import_mud(store, file)
    adds_up(report)
    assert set(skipped(report, "users")) == {"row 2", "row 4"}
    assert set(skipped(report, "characters")) == {"row 2", "row 3", "row 4"}
    out = skipped(report, "sessions")
    assert set(out) == {f"row {number}" for number in (2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 21)}
    assert (out["row 2"], out["row 3"]) == ("its user was deleted there", "its user is not active there")
    assert (out["row 5"], out["row 6"]) == ("there is no user '99'", "it belongs to nobody")
    assert "might have expired" in out["row 12"]
    for row in sessions:
        if isinstance(row[4], str) and len(row[4]) > 4:
            assert not any(row[4] in reason for reason in out.values())
    for number in (15, 16, 17, 18):
        assert store.logins.authenticate(uuid(number)).character_id is None
    assert store.logins.authenticate(uuid(19)).client_type == "unknown"
    guest = store.logins.authenticate(uuid(20))
    assert (guest.client_type, guest.expires_at, guest.metadata["mud"]["guest"]) == ("unknown", None, True)
    assert store.directory.user_id("off") == "3"  # the name stays taken
    again = import_mud(store, file)
    adds_up(again)
    assert again.imported == 0


def test_what_is_no_such_database_is_refused(store: sojourn.Store, tmp_path: Path) -> None:
    with pytest.raises(InvalidValueError):
        import_mud(store, tmp_path / "nothing.db")
    other = tmp_path / "other.db"
    connection = sqlite3.connect(other)
    connection.execute("create table sessions (id)")
    connection.commit()
    connection.close()
    with pytest.raises(CorruptError):
        import_mud(store, other)
    (tmp_path / "text.db").write_text("no database at all, but long enough to look like something")
    with pytest.raises(CorruptError):
        import_mud(store, tmp_path / "text.db")


def test_a_store_without_users_of_its_own_is_refused() -> None:
    with sojourn.open("memory:", directory=False) as store, pytest.raises(UnsupportedError, match="directory"):
        import_mud(store, SAMPLE)


def test_the_source_is_not_changed(store: sojourn.Store, tmp_path: Path) -> None:
    copy = Path(shutil.copy(SAMPLE, tmp_path / "mud.db"))
    before = copy.read_bytes()
    import_mud(store, copy)
    assert copy.read_bytes() == before


def test_the_other_colour_and_another_tenant(tmp_path: Path) -> None:
    async def run() -> None:
        async with sojourn.aopen(f"sqlite:///{tmp_path}/other.db") as store:
            one = store.for_tenant("one")
            told: list[int] = []
            report = await aimport_mud(one, DATA, progress=lambda done, _: told.append(done))
            assert report.imported == 48
            assert told[-1] == 48
            assert len(await one.logins.list(limit=100)) == 20
            assert len(await store.logins.list()) == 0

    asyncio.run(run())


@pytest.mark.slow
@pytest.mark.parametrize("engine", EnginePlaces.available())
def test_every_engine_takes_the_sample(engine: str, tmp_path: Path, clock: ManualClock) -> None:
    with EnginePlaces() as places:
        place = places.fresh(engine, tmp_path)
        with sojourn.open(place.url, engine=place.options, clock=clock) as store:
            assert import_mud(store, SAMPLE).imported == 48
            for token in EXPECTED["live_tokens"]:
                store.logins.authenticate(token)
            for token in EXPECTED["expired_tokens"]:
                with pytest.raises(ExpiredError):
                    store.logins.authenticate(token)
            assert store.logins.active_characters(world_id=EXPECTED["world"]) == EXPECTED["active_characters"]
            assert import_mud(store, SAMPLE).imported == 0


# -- cut short ---------------------------------------------------------------------------------------------------------


class Killed(Exception):  # noqa: N818  # what a kill would be
    pass


def killed_after(store: sojourn.Store, commits: int, path: Path) -> bool:
    """Run an import that stops after so many commits, as a kill would stop it; False when it was done before."""
    engine = store._aio._engine
    commit = engine.commit
    left = commits

    async def counted(batch: Any) -> Any:
        nonlocal left
        if left == 0:
            raise Killed
        left -= 1
        return await commit(batch)

    engine.commit = counted  # type: ignore[method-assign]
    try:
        import_mud(store, path)
    except Killed:
        return True
    finally:
        engine.commit = commit  # type: ignore[method-assign]
    return False


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Every sort of row once or twice."""
    return source(
        tmp_path,
        worlds=[("w", "World")],
        users=[(1, "a"), (2, "b")],
        characters=[(1, 1, "A", "w"), (2, 2, "B", "w")],
        sessions=[
            session(1, 1, character=1, world="w"),
            session(2, 1, character=1, world="w"),
            session(3, 2, expires=PAST, created=WHEN, character=2, world="w"),
            session(4, 2),
        ],
    )


def test_wherever_it_is_cut_short_the_next_one_completes_it(small: Path) -> None:
    with sojourn.open("memory:") as store:
        import_mud(store, small)
        expected = _settled(store)
    stops = 0
    for commits in range(100):
        with sojourn.open("memory:") as store:
            if not killed_after(store, commits, small):
                break
            if commits % 2:
                killed_after(store, 1, small)  # killed again, right after it went on
            report = import_mud(store, small)
            adds_up(report)
            assert _settled(store) == expected
            assert import_mud(store, small).imported == 0
            stops += 1
    assert stops > 10


def _settled(store: sojourn.Store) -> list[Any]:
    """What readers see, but for what differs from run to run."""
    users = [store.directory.user(number) for number in (1, 2)]
    logins = [store.logins.find(uuid(number)) for number in (1, 2, 3, 4)]
    return [users, logins, store.directory.character(1), store.directory.character(2), store.directory.world("w")]


@pytest.mark.slow
@pytest.mark.parametrize("rows", [3, 20, 31, 40])
def test_a_killed_process_is_completed_by_the_next(tmp_path: Path, rows: int) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    code = (
        "import sys, sojourn\nfrom sojourn.formats.mud import import_mud\n"
        "with sojourn.open(sys.argv[1]) as store:\n"
        "    import_mud(store, sys.argv[2], progress=lambda done, total: print(done, flush=True))\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code, url, str(SAMPLE)], stdout=subprocess.PIPE, text=True)
    with child:
        assert child.stdout is not None
        for line in child.stdout:
            if int(line) == rows:
                child.kill()
                break
    with sojourn.open(url) as store:
        report = import_mud(store, SAMPLE)
        adds_up(report)
        assert report.imported + report.present == 48
        assert all(item.reason == PRESENT for item in report.skipped)
        for token in EXPECTED["live_tokens"]:
            store.logins.authenticate(token)
        assert store.logins.active_characters(world_id=EXPECTED["world"]) == EXPECTED["active_characters"]
