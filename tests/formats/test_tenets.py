"""The import of Tenets: the sample row by row, what is wrong in a source, and importing again."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import sojourn
from sojourn import CorruptError, InvalidValueError
from sojourn.formats.report import ImportReport
from sojourn.formats.tenets import aimport_tenets, import_tenets

DATA = Path(__file__).parent / "data" / "tenets"
SAMPLE = DATA / "tenets.db"
SCHEMA = (
    "create table sessions (id integer primary key, name text unique, created_at timestamp, metadata text);"
    "create table session_context (id integer primary key, session_id integer, kind text, content text, created_at timestamp);"
)
WHEN = "2026-11-20T04:59:04.5+00:00"


def source(path: Path, sessions: list[tuple[Any, ...]], artifacts: list[tuple[Any, ...]]) -> Path:
    """A database with these rows."""
    file = path / "tenets.db"
    connection = sqlite3.connect(file)
    if not connection.execute("select 1 from sqlite_master").fetchone():
        connection.executescript(SCHEMA)
    connection.executemany("insert into sessions values (?, ?, ?, ?)", sessions)
    connection.executemany("insert into session_context values (?, ?, ?, ?, ?)", artifacts)
    connection.commit()
    connection.close()
    return file


def adds_up(report: ImportReport) -> None:
    """Every row is imported or skipped with a reason."""
    for name, counts in report.tables.items():
        assert counts.read == counts.imported + counts.skipped
        assert counts.skipped == sum(item.rows for item in report.skipped if item.table == name)


def texts(store: sojourn.Store, name: str) -> list[str]:
    return [item.content for item in store.contexts.artifacts(name, limit=1000)]


@pytest.fixture(params=["memory:", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    url = request.param if request.param == "memory:" else f"sqlite:///{tmp_path}/store.db"
    with sojourn.open(url) as made:
        yield made


def test_the_sample_is_accounted_for(store: sojourn.Store) -> None:
    expected = json.loads((DATA / "expected.json").read_text(encoding="utf-8"))
    report = import_tenets(store, SAMPLE)
    adds_up(report)
    assert {name: (counts.read, counts.imported) for name, counts in report.tables.items()} == {
        "sessions": (9, 9),
        "session_context": (50, 50),
    }
    found = {item.name: item for item in store.contexts.list(limit=100)}
    assert {name: {"artifacts": found[name].artifact_count} for name in expected["sessions"]} == expected["sessions"]
    orphans = [item for name, item in found.items() if name not in expected["sessions"]]
    assert [item.artifact_count for item in orphans] == [expected["orphaned_artifacts"]]
    assert orphans[0].name == "recovered session 8"
    active = store.contexts.active()
    assert active is not None
    assert active.name == expected["active"]
    assert active.metadata["ticket"] == "ICS-12"
    assert active.metadata["pinned_files"] == ["/home/dev/ics/parser.py"]
    assert active.resumed_at == datetime(2026, 11, 20, 4, 59, 4, tzinfo=UTC)
    assert found["bug-4411"].ended_at == active.resumed_at


def test_every_row_is_as_it_was(store: sojourn.Store) -> None:
    import_tenets(store, SAMPLE)
    connection = sqlite3.connect(f"{SAMPLE.as_uri()}?mode=ro&immutable=1", uri=True)
    rows = connection.execute(
        "select s.name, c.kind, c.content, c.created_at from session_context c join sessions s on s.id = c.session_id "
        "order by c.id"
    ).fetchall()
    connection.close()
    found = {
        name: [(item.kind, item.content, item.created_at.isoformat()) for item in store.contexts.artifacts(name)]
        for name in {row[0] for row in rows}
    }
    for name in found:
        assert found[name] == [row[1:] for row in rows if row[0] == name]


def test_importing_again_adds_only_what_has_come_since(store: sojourn.Store, tmp_path: Path) -> None:
    file = source(
        tmp_path, [(1, "a", WHEN, '{"active": true}')], [(1, 1, "note", "one", WHEN), (2, 1, "file", "L" * 9000, WHEN)]
    )
    import_tenets(store, file)
    store.contexts.set_active("a", False)
    source(tmp_path, [], [(3, 1, "note", "three", WHEN), (4, 1, "file", "L" * 9000, WHEN)])
    again = import_tenets(store, file)
    adds_up(again)
    assert (again.imported, again.present) == (2, 3)
    assert texts(store, "a") == ["one", "L" * 9000, "three", "L" * 9000]
    assert store.contexts.active() is None
    lines = list(store.export())
    assert import_tenets(store, file).imported == 0
    assert list(store.export()) == lines
    store.contexts.delete("a")
    assert len(list(store.export())) == 1


def test_a_dry_run_stores_nothing(store: sojourn.Store) -> None:
    report = import_tenets(store, SAMPLE, dry_run=True)
    assert report.imported == 59
    assert len(store.contexts.list()) == 0


def test_of_several_active_ones_the_newest_wins(store: sojourn.Store, tmp_path: Path) -> None:
    rows = [(n, f"c{n}", f"2026-11-0{n} 10:00:00", json.dumps({"active": n != 4})) for n in range(1, 5)]
    report = import_tenets(store, source(tmp_path, rows, []))
    active = store.contexts.active()
    assert active is not None
    assert (active.name, active.created_at.day) == ("c3", 3)
    assert sorted(note.row for note in report.notes if "said active" in note.text) == ["1 c1", "2 c2"]


def test_what_is_wrong_is_kept_and_said(store: sojourn.Store, tmp_path: Path) -> None:
    sessions = [(1, "  bad\nname ", "yesterday", "{not json"), (2, "", WHEN, "[1]"), (3, "x" * 200, WHEN, None)]
    artifacts = [(1, 1, "", b"\xff\0", WHEN), (2, 2, "a\nb", "fine", "never"), (3, None, "note", "of nobody", WHEN)]
    report = import_tenets(store, source(tmp_path, sessions, artifacts))
    adds_up(report)
    assert report.imported == 6
    names = {item.name for item in store.contexts.list()}
    assert names == {"bad name", "session 2", "x" * 128, "recovered session None"}
    kept = store.contexts.get("bad name")
    assert kept is not None
    assert kept.metadata["tenets"]["name"] == "  bad\nname "
    assert kept.metadata["tenets"]["metadata"] == "{not json"
    (item,) = store.contexts.artifacts("bad name")
    assert (item.kind, item.content) == ("artifact", "\ufffd\ufffd")
    assert len(report.notes) >= 8


def test_a_taken_name_gets_another(store: sojourn.Store) -> None:
    store.contexts.add("onboarding", "note", "mine")
    store.contexts.set_active("onboarding")
    report = import_tenets(store, SAMPLE)
    assert texts(store, "onboarding") == ["mine"]
    assert len(texts(store, "onboarding (tenets 1)")) == 3
    active = store.contexts.active()
    assert active is not None
    assert active.name == "onboarding"
    assert any("left as it is" in note.text for note in report.notes)


def test_what_was_deleted_here_is_not_brought_back(store: sojourn.Store) -> None:
    import_tenets(store, SAMPLE)
    store.contexts.delete("cache layer")
    report = import_tenets(store, SAMPLE)
    adds_up(report)
    assert store.contexts.get("cache layer") is None
    assert {item.reason for item in report.skipped} == {"present: stored here already", "its context was deleted here"}


def test_an_import_that_was_cut_short_is_completed(store: sojourn.Store, tmp_path: Path) -> None:
    file = source(tmp_path, [(1, "a", WHEN, "{}")], [(n, 1, "note", f"artifact {n}", WHEN) for n in range(1, 1001)])

    class Cut(Exception):  # noqa: N818  # what a kill would be
        pass

    def cut(done: int, total: int) -> None:
        if done >= 400:
            raise Cut

    with pytest.raises(Cut):
        import_tenets(store, file, progress=cut)
    assert len(store.contexts.list()) == 0
    report = import_tenets(store, file)
    adds_up(report)
    assert texts(store, "a") == [f"artifact {n}" for n in range(1, 1001)]
    assert store.contexts.search("artifact 77 ")[0].artifact.content == "artifact 77"


def test_the_other_colour_and_another_scope(tmp_path: Path) -> None:
    async def run() -> None:
        async with sojourn.aopen(f"sqlite:///{tmp_path}/other.db") as store:
            report = await aimport_tenets(store, DATA, scope="web")
            assert report.imported == 59
            assert len(await store.contexts.list(scope="web")) == 10
            assert len(await store.contexts.list()) == 0

    asyncio.run(run())


def test_what_is_no_tenets_database_is_refused(store: sojourn.Store, tmp_path: Path) -> None:
    with pytest.raises(InvalidValueError):
        import_tenets(store, tmp_path / "nothing.db")
    other = tmp_path / "other.db"
    connection = sqlite3.connect(other)
    connection.execute("create table sessions (id)")
    connection.commit()
    connection.close()
    with pytest.raises(CorruptError):
        import_tenets(store, other)
    own = tmp_path / "store.db"
    if own.exists():
        with pytest.raises(InvalidValueError):
            import_tenets(store, own)
