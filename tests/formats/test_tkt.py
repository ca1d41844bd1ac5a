"""The import of tkt: the sample row by row, what is wrong in a source, and importing again."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import sojourn
from sojourn import CorruptError, InvalidValueError
from sojourn.formats.report import ImportReport
from sojourn.formats.tkt import aimport_tkt, import_tkt
from sojourn.project import caller, identity
from sojourn.testing.clocks import ManualClock

DATA = Path(__file__).parent / "data" / "tkt"
SAMPLE = DATA / "project"
EXPECTED: dict[str, Any] = json.loads((DATA / "expected.json").read_text(encoding="utf-8"))
SOON_AFTER = datetime(2026, 11, 20, 5, 10, tzinfo=UTC)

SCHEMA = """
create table roles (name text primary key, base_role text not null, is_builtin integer not null default 0, created_at datetime);
create table sessions (id text primary key, role text not null, name text not null unique, created_at datetime,
  last_active datetime, expired_at datetime null);
insert into roles values ('architect', 'architect', 1, ''), ('implementer', 'implementer', 1, ''),
  ('monitor', 'monitor', 1, '');
"""


def source(
    path: Path, *sessions: tuple[Any, ...], roles: tuple[tuple[Any, ...], ...] = (), pointer: bytes | None = None
) -> Path:
    """A .tkt directory with these rows; a second call adds rows."""
    directory = path / "tkt-project" / ".tkt"
    new = not directory.exists()
    directory.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(directory / "db.sqlite")
    if new:
        connection.executescript(SCHEMA)
    connection.executemany("insert into roles values (?, ?, 0, '')", roles)
    connection.executemany("insert into sessions values (?, ?, ?, ?, ?, ?)", sessions)
    connection.commit()
    connection.close()
    if pointer is not None:
        (directory / "session").write_bytes(pointer)
    return directory.parent


def adds_up(report: ImportReport) -> None:
    """Every row is imported or skipped with a reason."""
    for name, counts in report.tables.items():
        assert counts.read == counts.imported + counts.skipped
        assert counts.skipped == sum(item.rows for item in report.skipped if item.table == name)


def everybody(store: sojourn.Store) -> dict[str, sojourn.Workspace]:
    return {item.name: item for item in store.workspaces.list(active_only=False, limit=1000)}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(SOON_AFTER)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in (*caller.AGENT_VARIABLES, "TMUX_PANE", "SOJOURN_SESSION", "SOJOURN_AGENT", "SOJOURN_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(caller, "_controlling", lambda: ("", ""))
    directory = tmp_path / "project"
    directory.mkdir()
    identity.make(str(directory), "the-project")
    monkeypatch.chdir(directory)
    return directory


@pytest.fixture(params=["memory:", "sqlite"])
def store(request: pytest.FixtureRequest, project: Path, clock: ManualClock) -> Any:
    url = request.param if request.param == "memory:" else f"sqlite:///{project}/.sojourn/sojourn.db"
    with sojourn.open(url, clock=clock) as made:
        yield made


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_the_sample_is_accounted_for(store: sojourn.Store, project: Path) -> None:
    report = import_tkt(store, SAMPLE)
    adds_up(report)
    assert {name: (counts.read, counts.imported) for name, counts in report.tables.items()} == {
        "roles": (3, 0),
        "sessions": (4, 4),
    }
    assert {item.reason for item in report.skipped} == {"built in"}
    found = everybody(store)
    assert set(found) == {row["name"] for row in EXPECTED["sessions"]}
    for row in EXPECTED["sessions"]:
        made = found[row["name"]]
        assert (made.role, made.base_role) == (row["role"], row["role"])
        assert made.project_id == "the-project"
        assert (made.created_at, made.last_activity_at) == (at(row["created_at"]), at(row["last_active"]))
        assert made.metadata["tkt"]["id"] == row["id"]
        if row["expired_at"] is None:
            assert (made.state, made.ended_at) == ("active", None)
            assert made.expires_at == made.last_activity_at + timedelta(hours=4)
        else:
            assert (made.state, made.ended_at) == ("ended", at(row["expired_at"]))
    pointed = store.workspaces.resolve()
    assert pointed.source == "project"
    assert pointed.workspace.metadata["tkt"]["id"] == EXPECTED["pointer"]
    assert (project / ".sojourn" / "session").read_text() == pointed.workspace.id
    assert store.workspaces.count_active() == {"architect": 1, "implementer": 2}


def test_a_second_import_stores_nothing(store: sojourn.Store) -> None:
    import_tkt(store, SAMPLE)
    store.workspaces.end("blue-otter", reason="done here")
    lines = list(store.export())
    report = import_tkt(store, SAMPLE)
    adds_up(report)
    assert (report.imported, report.present) == (0, 4)
    assert list(store.export()) == lines
    assert everybody(store)["blue-otter"].end_reason == "done here"


def test_the_source_is_never_changed(store: sojourn.Store, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(SAMPLE, copy)

    def state() -> dict[str, str]:
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in copy.rglob("*") if path.is_file()}

    before = state()
    import_tkt(store, copy)
    assert state() == before


@pytest.mark.parametrize("path", ["", ".tkt", ".tkt/db.sqlite"])
def test_the_project_its_directory_or_the_database_may_be_named(store: sojourn.Store, path: str) -> None:
    assert import_tkt(store, SAMPLE / path).imported == 4


def test_a_dry_run_stores_nothing_and_moves_no_pointer(store: sojourn.Store, project: Path) -> None:
    report = import_tkt(store, SAMPLE, dry_run=True)
    assert report.imported == 4
    assert everybody(store) == {}
    assert not (project / ".sojourn" / "session").exists()


def test_an_end_is_told_from_going_stale(store: sojourn.Store, tmp_path: Path, clock: ManualClock) -> None:
    file = source(
        tmp_path,
        ("01A", "architect", "ended", "2026-11-19 08:00:00", "2026-11-19 09:00:00", "2026-11-19 09:30:00"),
        ("01B", "architect", "stale", "2026-11-19 08:00:00", "2026-11-19 09:00:00", "2026-11-19 13:00:00"),
        ("01C", "architect", "forgotten", "2026-11-01 08:00:00", "2026-11-01 09:00:00", None),
        ("01D", "architect", "fresh", "2026-11-20 05:00:00", "2026-11-20 05:05:00", None),
    )
    adds_up(import_tkt(store, file))
    found = everybody(store)
    assert {name: one.state for name, one in found.items()} == {
        "ended": "ended",
        "stale": "expired",
        "forgotten": "expired",
        "fresh": "active",
    }
    assert found["forgotten"].ended_at == at("2026-11-01 13:00:00")
    assert store.workspaces.expire_stale() == 1
    assert {one.name for one in store.workspaces.list()} == {"fresh"}


def test_very_old_rows_have_a_name_as_their_id(store: sojourn.Store, tmp_path: Path) -> None:
    file = source(
        tmp_path,
        ("old-hand", "architect", "old-hand", "2026-11-20 05:00:00", "2026-11-20 05:00:00", None),
        ("Big Bob", "implementer", "Big Bob", "2026-11-20 05:00:00", "2026-11-20 05:00:00", None),
        pointer=b"Big Bob\n",
    )
    report = import_tkt(store, file)
    adds_up(report)
    assert set(everybody(store)) == {"old-hand", "big-bob"}
    assert store.workspaces.resolve().workspace.name == "big-bob"
    assert everybody(store)["big-bob"].metadata["tkt"] == {"id": "Big Bob", "name": "Big Bob"}
    assert any("is none here: imported as big-bob" in note.text for note in report.notes)


def test_roles_come_with_their_bases(store: sojourn.Store, tmp_path: Path) -> None:
    file = source(
        tmp_path,
        ("01A", "tester", "one", "2026-11-20 05:00:00", "2026-11-20 05:00:00", None),
        ("01B", "gone_role", "two", "2026-11-20 05:00:00", "2026-11-20 05:00:00", None),
        roles=(("tester", "implementer"), ("Bad Role", "architect"), ("odd", "tester")),
    )
    report = import_tkt(store, file)
    adds_up(report)
    assert [(role.name, role.base) for role in store.workspaces.roles() if not role.builtin] == [
        ("odd", "implementer"),
        ("tester", "implementer"),
    ]
    found = everybody(store)
    assert (found["one"].role, found["one"].base_role) == ("tester", "implementer")
    assert (found["two"].role, found["two"].metadata["tkt"]["role"]) == ("implementer", "gone_role")
    assert import_tkt(store, file).imported == 0


def test_a_role_that_the_project_has_otherwise_is_left(store: sojourn.Store, tmp_path: Path) -> None:
    store.workspaces.add_role("tester", base="architect")
    file = source(
        tmp_path,
        ("01A", "tester", "one", "2026-11-20 05:00:00", "2026-11-20 05:00:00", None),
        roles=(("tester", "implementer"),),
    )
    report = import_tkt(store, file)
    assert [item.reason for item in report.skipped if item.row == "tester"] == ["the project has it, counted under architect"]
    assert everybody(store)["one"].base_role == "architect"


def test_a_name_of_somebody_at_work_is_not_taken(store: sojourn.Store) -> None:
    mine = store.workspaces.start("architect", "fast-lane")
    report = import_tkt(store, SAMPLE)
    adds_up(report)
    found = everybody(store)
    assert found["fast-lane"].id == mine.id
    assert found["fast-lane-2"].metadata["tkt"]["id"] == EXPECTED["pointer"]
    assert store.workspaces.resolve().workspace.id == mine.id
    assert any("stays with fast-lane, who is at work" in note.text for note in report.notes)


def test_a_name_of_somebody_who_went_stale_is_taken(store: sojourn.Store, clock: ManualClock, tmp_path: Path) -> None:
    gone = store.workspaces.start("architect", "one", pointer=None)
    clock.advance(timedelta(hours=5))
    file = source(tmp_path, ("01A", "architect", "one", "2026-11-20 10:00:00", "2026-11-20 10:00:00", None))
    import_tkt(store, file)
    assert store.workspaces.resolve("one").workspace.id != gone.id
    assert [one.name for one in store.workspaces.list()] == ["one"]


def test_a_name_that_somebody_at_work_had_before_is_free(store: sojourn.Store, tmp_path: Path) -> None:
    mine = store.workspaces.start("architect", "one", pointer=None)
    store.workspaces.rename(mine.id, "another")
    report = import_tkt(
        store, source(tmp_path, ("01A", "architect", "one", "2026-11-20 10:00:00", "2026-11-20 10:00:00", None))
    )
    assert sorted(one.name for one in store.workspaces.list()) == ["another", "one"]
    assert not [note for note in report.notes if "has the name" in note.text]


def test_what_is_wrong_is_kept_and_said(store: sojourn.Store, tmp_path: Path) -> None:
    file = source(
        tmp_path,
        ("01A", "architect", "--", "never", None, None),
        ("01B", b"\xff", "x" * 200, "2026-11-20 05:00:00", "2026-11-19 05:00:00", "soon"),
        (7, "architect", "a\nb\0c", 0, 0, None),
        (None, "architect", "nobody", "2026-11-20 05:00:00", "2026-11-20 05:00:00", None),
        pointer=b"\xff\xfe",
    )
    report = import_tkt(store, file)
    adds_up(report)
    assert report.tables["sessions"].imported == 4
    assert {len(name) <= 32 for name in everybody(store)} == {True}
    assert len(report.notes) >= 7
    assert any("names no session of the source" in note.text for note in report.notes)
    adds_up(import_tkt(store, file))


def test_what_was_deleted_here_is_not_brought_back(store: sojourn.Store) -> None:
    import_tkt(store, SAMPLE)
    store.sessions.delete(everybody(store)["blue-otter"].id)
    report = import_tkt(store, SAMPLE)
    adds_up(report)
    assert "blue-otter" not in everybody(store)
    assert {item.reason for item in report.skipped if item.table == "sessions"} == {
        "present: stored here already",
        "it was deleted here",
    }


KILLED = """
import os, signal, sys
import sojourn
from sojourn.formats.tkt import import_tkt

def cut(done, total):
    if done >= 3 + int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)

with sojourn.open() as store:
    import_tkt(store, sys.argv[1], progress=cut)
"""


@pytest.mark.parametrize("rows", [1, 7, 49])
def test_an_import_that_was_killed_is_completed(project: Path, tmp_path: Path, rows: int) -> None:
    made = [(f"01{n:04}", "architect", f"agent-{n}", "2026-11-20 05:00:00", "2026-11-20 05:00:00", None) for n in range(50)]
    file = source(tmp_path, *made, pointer=b"010049")
    ran = subprocess.run([sys.executable, "-c", KILLED, str(file), str(rows)], check=False)
    assert ran.returncode == -signal.SIGKILL
    with sojourn.open(clock=ManualClock(SOON_AFTER)) as store:
        assert len(everybody(store)) == rows
        report = import_tkt(store, file)
        adds_up(report)
        assert (report.imported, report.present) == (50 - rows, rows)
        assert set(everybody(store)) == {f"agent-{n}" for n in range(50)}
        assert store.workspaces.resolve().workspace.name == "agent-49"


def test_a_project_may_be_named_and_then_no_pointer_moves(tmp_path: Path) -> None:
    async def run() -> None:
        async with sojourn.aopen(f"sqlite:///{tmp_path}/other.db", clock=ManualClock(SOON_AFTER)) as store:
            report = await aimport_tkt(store, SAMPLE, project_id="elsewhere")
            assert report.imported == 4
            assert len(await store.workspaces.list(project_id="elsewhere")) == 3

    asyncio.run(run())
    assert os.listdir(tmp_path) == ["other.db"]


def test_what_is_no_database_of_tkt_is_refused(store: sojourn.Store, tmp_path: Path, project: Path) -> None:
    with pytest.raises(InvalidValueError):
        import_tkt(store, tmp_path / "nothing")
    other = tmp_path / "other.db"
    connection = sqlite3.connect(other)
    connection.execute("create table sessions (id)")
    connection.commit()
    connection.close()
    with pytest.raises(CorruptError):
        import_tkt(store, other)
    own = project / ".sojourn" / "sojourn.db"
    if own.exists():
        with pytest.raises(InvalidValueError):
            import_tkt(store, own)
