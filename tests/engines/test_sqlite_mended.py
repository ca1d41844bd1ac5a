"""Faults of the SQLite engine that a review found, each with what must hold instead."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sojourn.core.batch import Batch, Create, Delete, Lend, NewEntry, Redact, Write
from sojourn.core.query import EntryQuery
from sojourn.core.times import SECOND
from sojourn.engines.sqlite import reads
from sojourn.engines.sqlite.commits import Committer, Job
from sojourn.engines.sqlite.engine import AsyncSqliteEngine, SqliteEngine
from sojourn.engines.sqlite.transaction import STALE_LOG, Writing
from sojourn.errors import CorruptError, InvalidValueError
from sojourn.shell.bridge import run_sync
from sojourn.testing.clocks import ManualClock
from sojourn.testing.conformance.lab import HOME, KIND, TENANT, Lab, lines

SOON = 10.0


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "sessions.db")


@pytest.fixture
def lab(path: str) -> Iterator[Lab]:
    async def open_engine(clock: Callable[[], int]) -> Any:
        return SqliteEngine(path, clock)

    lab = Lab(open_engine, blocking=True)
    run_sync(lab.open())
    yield lab
    run_sync(lab.close())


@pytest.fixture
def engine(lab: Lab) -> SqliteEngine:
    assert isinstance(lab.engine, SqliteEngine)
    return lab.engine


def rows(path: str, sql: str, *values: Any) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql, values).fetchall()


def batch(*changes: Any) -> Batch:
    return Batch(TENANT, HOME, changes)


def together(path: str, *works: Callable[[AsyncSqliteEngine], Any]) -> list[Any]:
    """Ask for all of these while the writer is busy, so that they are one group; in an engine of its own."""

    async def whole() -> list[Any]:
        engine = AsyncSqliteEngine(path, ManualClock().micros)
        go = threading.Event()

        def gate(writing: Writing, connection: sqlite3.Connection) -> None:
            assert go.wait(SOON)

        held: Job = gate
        asked = [asyncio.ensure_future(engine._commits.submit(held))]
        await asyncio.sleep(0)
        for work in works:
            asked.append(asyncio.ensure_future(work(engine)))
            await asyncio.sleep(0)
        go.set()
        outcomes = await asyncio.gather(*asked)
        await engine.close()
        return list(outcomes[1:])

    return asyncio.run(whole())


# -- upkeep inside a group -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("search", ["commit", "deferred"])
def test_an_erasure_behind_appends_of_its_group_leaves_neither_words_nor_events(path: str, lab: Lab, search: Any) -> None:
    made = run_sync(lab.create(owner="ann"))
    other = run_sync(lab.create())
    write = Write(made, entries=lines("zebra crossing"), search=search)
    together(
        path,
        lambda engine: engine.commit(batch(Write(other, entries=lines("other")))),
        lambda engine: engine.commit(batch(write)),
        lambda engine: engine.commit(batch(write)),
        lambda engine: engine.erase(TENANT, "ann", 100),
    )
    assert rows(path, "select n from sojourn_event where id = ? and change <> 'erased'", made) == []
    run_sync(lab.purge_all())
    run_sync(lab.index_all())
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("create virtual table temp.seen using fts5vocab('main', 'sojourn_words', 'row')")
        assert connection.execute("select term from temp.seen where term in ('zebra', 'crossing')").fetchall() == []


def test_events_are_numbered_once_around_upkeep_in_a_group(path: str, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    failed: list[BaseException] = []
    settle = Committer._settle

    def note(self: Committer, connection: sqlite3.Connection, error: BaseException) -> None:
        failed.append(error)
        settle(self, connection, error)

    monkeypatch.setattr(Committer, "_settle", note)
    made = run_sync(lab.create())
    append = batch(Write(made, entries=lines("x")))
    works: list[Callable[[AsyncSqliteEngine], Any]] = [
        lambda engine: engine.commit(append),
        lambda engine: engine.purge(10),
        lambda engine: engine.commit(append),
        lambda engine: engine.index(10),
        lambda engine: engine.commit(append),
    ]
    answers = together(path, *works)
    assert [answer.moved[0].first for answer in answers[::2]] == [1, 2, 3]
    assert [event.number for event in run_sync(lab.events((0,)))] == [1, 2, 3, 4]
    assert failed == []  # no group was thrown away and decided again one by one


# -- backups -------------------------------------------------------------------------------------------------------------


def test_a_backup_never_replaces_the_store_or_what_belongs_to_it(
    path: str, tmp_path: Path, engine: SqliteEngine, lab: Lab
) -> None:
    made = run_sync(lab.create("one"))
    (tmp_path / "soft.db").symlink_to(path)
    os.link(path, tmp_path / "hard.db")
    (tmp_path / "sub").mkdir()
    for target in (path, path + "-wal", path + "-shm", path + "-journal", "soft.db", "hard.db", "sub/../sessions.db"):
        with pytest.raises(InvalidValueError):
            run_sync(engine.backup(str(tmp_path / target)))
    run_sync(lab.append(made, "two"))
    other = SqliteEngine(path, lab.clock.micros)
    assert [entry.text for entry in run_sync(other.load(TENANT, made, EntryQuery())).entries] == ["one", "two"]
    assert run_sync(other.check()) == []
    run_sync(other.close())


def test_a_backup_replaces_no_store_in_use_and_no_file_unless_it_may(path: str, tmp_path: Path, engine: SqliteEngine) -> None:
    used = SqliteEngine(str(tmp_path / "used.db"), ManualClock().micros)
    with pytest.raises(InvalidValueError):
        run_sync(engine.backup(used.path))
    run_sync(used.close())
    target = tmp_path / "old.db"
    target.write_text("an older copy")
    with pytest.raises(InvalidValueError):
        run_sync(engine.backup(str(target), replace=False))
    assert target.read_text() == "an older copy"
    assert run_sync(engine.backup(str(target))) == target.stat().st_size
    assert run_sync(engine.backup(str(tmp_path / "new.db"), replace=False)) > 0
    assert not list(tmp_path.glob("*partial*"))


def test_a_backup_leaves_what_another_one_is_writing(tmp_path: Path, engine: SqliteEngine) -> None:
    other = tmp_path / "copy.db.partial"
    other.write_text("half")
    run_sync(engine.backup(str(tmp_path / "copy.db")))
    assert other.read_text() == "half"


# -- what was removed, and where it may still be -------------------------------------------------------------------------


def found_in(path: str, text: bytes) -> list[str]:
    return [ending for ending in ("", "-wal") if text in Path(path + ending).read_bytes()]


def test_what_was_redacted_is_in_no_file_after_purging(path: str, engine: SqliteEngine, lab: Lab) -> None:
    made = run_sync(lab.create("CARDNUMBER"))
    run_sync(lab.done(Redact(made, (1,))))
    assert found_in(path, b"CARDNUMBER")
    run_sync(lab.purge_all())
    assert found_in(path, b"CARDNUMBER") == []
    assert rows(path, "select 1 from sojourn_meta where name = ?", STALE_LOG) == []


def test_an_erasure_beside_a_reader_says_that_it_is_not_settled_and_purging_ends_it(
    path: str, engine: SqliteEngine, lab: Lab
) -> None:
    run_sync(lab.create("SECRETTEXT", owner="ann"))
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("begin")
        reader.execute("select count(*) from sojourn_entry").fetchone()
        erased = run_sync(engine.erase(TENANT, "ann", 100))
        while not erased.complete:
            erased = run_sync(engine.erase(TENANT, "ann", 100))
        assert not erased.settled
        run_sync(lab.purge_all())
        assert found_in(path, b"SECRETTEXT")
    run_sync(engine.purge(100))
    assert found_in(path, b"SECRETTEXT") == []
    assert run_sync(engine.erase(TENANT, "ann", 100)).settled


def test_an_erasure_that_nobody_holds_up_is_settled(path: str, engine: SqliteEngine, lab: Lab) -> None:
    run_sync(lab.create("SECRETTEXT", owner="ann"))
    erased = run_sync(engine.erase(TENANT, "ann", 100))
    while not erased.complete:
        erased = run_sync(engine.erase(TENANT, "ann", 100))
    assert erased.settled
    assert found_in(path, b"SECRETTEXT") == []


def test_one_call_of_an_erasure_does_no_more_than_its_limit(path: str, engine: SqliteEngine, lab: Lab) -> None:
    made = run_sync(lab.create(owner="ann"))
    for number in range(50):
        run_sync(lab.append(made, f"word{number}"))
    seen: list[str] = []
    engine._committer._writing().set_trace_callback(seen.append)
    done, calls, total = False, 0, 0
    while not done:
        erased = run_sync(engine.erase(TENANT, "ann", 10))
        done, calls, total = erased.complete, calls + 1, total + erased.entries
        left = rows(path, "select count(*) from sojourn_event where id = ?", made)[0][0]
        emptied = rows(path, "select count(*) from sojourn_entry where redacted")[0][0]
        assert 51 - left + emptied <= calls * 10
        assert calls < 100
    assert total == 50
    assert rows(path, "select 1 from sojourn_event where id = ?", made) == []
    assert not [sql for sql in seen if "optimize" in sql]


def test_leases_named_after_a_session_are_purged_with_it(path: str, lab: Lab) -> None:
    made = run_sync(lab.create())
    for name in (f"fold/{made}", f"conversation/{made}", "mine"):
        run_sync(lab.done(Lend(name, "ann", SECOND)))
    run_sync(lab.done(Delete(made)))
    run_sync(lab.purge_all())
    assert rows(path, "select name from sojourn_lease") == [("mine",)]


# -- connections, forks, memory ------------------------------------------------------------------------------------------


def test_forks_that_overlap_let_everybody_go_on(engine: SqliteEngine, lab: Lab) -> None:
    made = run_sync(lab.create())
    read, written = threading.Event(), threading.Event()

    def look() -> None:
        run_sync(engine.load(TENANT, made))
        read.set()

    def write() -> None:
        run_sync(engine.commit(batch(Write(made, entries=lines("x")))))
        written.set()

    engine.before_fork()
    threads = [threading.Thread(target=work, daemon=True) for work in (look, write)]
    for thread in threads:
        thread.start()
    assert not read.wait(0.05)
    engine.before_fork()
    engine.after_fork_in_parent()
    assert not read.wait(0.05)
    assert not written.is_set()
    engine.after_fork_in_parent()
    assert read.wait(SOON)
    assert written.wait(SOON)


def test_a_cancelled_close_is_finished_all_the_same(path: str) -> None:
    async def whole() -> None:
        engine = AsyncSqliteEngine(path, ManualClock().micros)
        await engine.commit(batch(Create("0" * 26, KIND)))
        closing_ = asyncio.ensure_future(engine.close())
        await asyncio.sleep(0)
        closing_.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing_
        await engine.close()
        assert engine._connections._open == []

    asyncio.run(whole())
    assert not Path(path + "-wal").exists()


def test_remembered_sessions_hold_no_data(engine: SqliteEngine, lab: Lab) -> None:
    made = run_sync(lab.create())
    run_sync(lab.done(Write(made, set=((("note",), "x" * 10_000),))))
    kept = engine._committer._memory.drafts[TENANT, made]
    assert (kept.data, kept.text, kept.parent) == (None, "", None)


def test_a_connection_that_cannot_write_is_closed(engine: SqliteEngine, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(connection: sqlite3.Connection) -> None:
        error = sqlite3.DatabaseError("file is not a database")
        error.sqlite_errorcode = sqlite3.SQLITE_NOTADB
        raise error

    made = run_sync(lab.create())
    engine._committer.close()
    monkeypatch.setattr(engine._connections, "to_wal", refuse)
    before = len(engine._connections._open)
    for _ in range(5):
        with pytest.raises(CorruptError):
            run_sync(engine.commit(batch(Write(made, entries=lines("x")))))
    assert len(engine._connections._open) <= before


def test_wide_reads_leave_the_event_loop(path: str, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    made = run_sync(lab.create())
    run_sync(lab.done(Write(made, entries=tuple(NewEntry("line", text="x") for _ in range(2_001)))))
    where: list[int] = []
    original = reads.read_entries

    def read(*values: Any) -> Any:
        where.append(threading.get_ident())
        return original(*values)

    monkeypatch.setattr(reads, "read_entries", read)

    async def whole() -> None:
        engine = AsyncSqliteEngine(path, lab.clock.micros)
        wide = (EntryQuery(), EntryQuery(limit=5_000), EntryQuery(last=2_001))
        narrow = (EntryQuery(last=20), EntryQuery(limit=2_000), EntryQuery(ranges=((1, 2_000),)))
        here = threading.get_ident()
        for queries, on_the_loop, length in ((wide, False, 2_001), (narrow, True, None)):
            for query in queries:
                where.clear()
                snapshot = await engine.load(TENANT, made, query)
                assert length in (None, len(snapshot.entries))
                assert [place == here for place in where] == [on_the_loop]
        await engine.close()

    asyncio.run(whole())
