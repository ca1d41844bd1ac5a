"""Take SQLite's guards out, one at a time: without it, the sentence it holds up is broken.

The guards of the contract itself are taken out in ``tests/simulation/test_guards.py``.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from sojourn.core.batch import Batch, Create, NewEntry, Write
from sojourn.core.ids import new_id
from sojourn.core.query import EntryQuery
from sojourn.engines.embedded import Commit, host_clock
from sojourn.engines.sqlite import commits as commits_module
from sojourn.engines.sqlite import transaction
from sojourn.engines.sqlite.commits import Committer, Slot
from sojourn.engines.sqlite.connections import Connections
from sojourn.engines.sqlite.engine import SqliteEngine
from sojourn.errors import SojournError
from sojourn.shell.bridge import run_sync

Patch = Callable[[pytest.MonkeyPatch], None]


def engine(path: Path) -> SqliteEngine:
    return SqliteEngine(str(path / "store.db"), host_clock, timeout=5)


def create(opened: SqliteEngine) -> str:
    session = new_id("home")
    assert run_sync(opened.commit(Batch("t", "home", (Create(session, "note", owner="o"),)))).refusal is None
    return session


def append(session: str, text: str, key: str | None = None) -> Batch:
    return Batch("t", "home", (Write(session, entries=(NewEntry("note", text=text),)),), key)


def texts(opened: SqliteEngine, session: str) -> list[str | None]:
    return [entry.text for entry in run_sync(opened.load("t", session, EntryQuery())).entries]


def two_stores_take_turns(path: Path) -> None:
    """Two engines on one file append by turns: nothing is lost, sequences have no gap."""
    with ExitStack() as stack:
        both = [engine(path), engine(path)]
        for one in both:
            stack.callback(run_sync, one.close())
        session = create(both[0])
        for number in range(6):
            answer = run_sync(both[number % 2].commit(append(session, str(number))))
            assert answer.refusal is None
            assert answer.moved[0].first == number + 1
        assert texts(both[0], session) == [str(number) for number in range(6)]


def two_stores_at_once(path: Path) -> None:
    """Two engines on one file append at once, each behind what it read before: all are stored."""
    with ExitStack() as stack:
        both = [engine(path), engine(path)]
        for one in both:
            stack.callback(run_sync, one.close())
        session = create(both[0])
        errors: list[BaseException] = []

        def work(one: SqliteEngine, name: str) -> None:
            try:
                for number in range(150):
                    run_sync(one.commit(append(session, f"{name}{number}")))
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=work, args=(one, name)) for one, name in zip(both, "ab", strict=True)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors
        assert len(texts(both[0], session)) == 300


def half_a_batch_fails(path: Path) -> None:
    """A batch that fails while it is written leaves nothing of itself."""
    with ExitStack() as stack:
        opened = engine(path)
        stack.callback(run_sync, opened.close())
        session = create(opened)
        insert = transaction._INSERT_ENTRY
        opened._committer._memory.forget()
        broken = pytest.MonkeyPatch()
        broken.setattr(transaction, "_INSERT_ENTRY", "insert into missing_table values (1)")
        with pytest.raises(SojournError):
            run_sync(opened.commit(append(session, "lost")))
        broken.undo()
        assert insert == transaction._INSERT_ENTRY
        found = run_sync(opened.load("t", session)).session
        assert found is not None
        assert (found.version, found.last_sequence) == (1, 0)


def one_of_a_group_fails(path: Path) -> None:
    """One operation of a group fails while it is written: the others are stored, it alone is told."""
    with ExitStack() as stack:
        opened = engine(path)
        stack.callback(run_sync, opened.close())
        session = create(opened)

        def fails(writing: transaction.Writing, connection: sqlite3.Connection) -> None:
            raise sqlite3.OperationalError("a failing device")

        slots = [Slot(append(session, "one")), Slot(fails), Slot(append(session, "two"))]
        opened._committer.run(slots)
        assert [slot.error is None for slot in slots] == [True, False, True]
        assert texts(opened, session) == ["one", "two"]


def asked_again(path: Path) -> None:
    """The same operation id, asked again by another process: the first answer, stored once."""
    with ExitStack() as stack:
        both = [engine(path), engine(path)]
        for one in both:
            stack.callback(run_sync, one.close())
        session = create(both[0])
        first = run_sync(both[0].commit(append(session, "once", key="k")))
        again = run_sync(both[1].commit(append(session, "once", key="k")))
        assert again.moved[0].first == first.moved[0].first
        assert texts(both[0], session) == ["once"]


def begin_with(statement: str) -> Patch:
    def patch(patcher: pytest.MonkeyPatch) -> None:
        def begin(self: Connections, connection: sqlite3.Connection) -> None:
            if statement:
                connection.execute(statement)

        patcher.setattr(Connections, "begin", begin)

    return patch


def trust_memory(patcher: pytest.MonkeyPatch) -> None:
    """What this connection knows is believed, whoever has written since."""
    patcher.setattr(transaction.Memory, "check", lambda self, connection: None)


def sink_the_group(patcher: pytest.MonkeyPatch) -> None:
    """A group that fails is not run again one by one."""

    def run(self: Committer, slots: list[Slot]) -> None:
        try:
            self._together(slots)
        except Exception as error:
            commits_module._fail(slots, error)

    patcher.setattr(Committer, "run", run)


def forget_operations(patcher: pytest.MonkeyPatch) -> None:
    """Operation ids are not looked up."""
    patcher.setattr(Commit, "_first_answer", lambda self, operation, with_entry: None)
    patcher.setattr(Commit, "_clash", lambda self, draft, entries: False)
    insert = transaction._INSERT_ENTRY
    patcher.setattr(transaction, "_INSERT_ENTRY", insert.replace("insert into", "insert or ignore into"))


GUARDS: list[tuple[str, Callable[[Path], None], Patch]] = [
    ("the transaction", half_a_batch_fails, begin_with("")),
    ("the immediate lock", two_stores_at_once, begin_with("begin deferred")),
    ("waiting for the lock", two_stores_at_once, begin_with("begin immediate")),
    ("SQLite's word that nobody else has written", two_stores_take_turns, trust_memory),
    ("running a failed group one by one", one_of_a_group_fails, sink_the_group),
    ("the operation id", asked_again, forget_operations),
]


@pytest.mark.parametrize(("guard", "scenario", "patch"), GUARDS, ids=[row[0] for row in GUARDS])
def test_the_sentence_holds_with_the_guard(guard: str, scenario: Callable[[Path], None], patch: Patch, tmp_path: Path) -> None:
    scenario(tmp_path)


@pytest.mark.parametrize(("guard", "scenario", "patch"), GUARDS, ids=[row[0] for row in GUARDS])
def test_and_is_broken_without_it(
    guard: str, scenario: Callable[[Path], None], patch: Patch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch(monkeypatch)
    with pytest.raises((AssertionError, SojournError, sqlite3.Error, pytest.fail.Exception)):
        scenario(tmp_path)
