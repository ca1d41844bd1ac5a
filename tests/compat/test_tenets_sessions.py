"""A program written for Tenets' session module, on Sojourn."""

from __future__ import annotations

import shutil
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import pytest

from sojourn import NameTakenError, Store
from sojourn.compat.tenets_sessions import SessionDB, SessionRecord
from sojourn.errors import CorruptError, InvalidNameError, InvalidValueError
from sojourn.testing.clocks import ManualClock

SAMPLE = Path(__file__).parent.parent / "formats" / "data" / "tenets" / "tenets.db"


@pytest.fixture
def db(store: Store) -> SessionDB:
    """The drop-in on a store."""
    return SessionDB(store)


def test_a_session_is_created_and_found(db: SessionDB, clock: ManualClock) -> None:
    made = db.create_session("auth", {"ticket": 7, "tags": ["a"]})
    assert made == SessionRecord(1, "auth", clock(), {"ticket": 7, "tags": ["a"]})
    assert db.get_session("auth") == made
    assert made.created_at.tzinfo is UTC
    assert db.get_session("other") is None


def test_numbers_grow_and_are_never_given_twice(db: SessionDB, store: Store) -> None:
    first, second = db.create_session("a"), db.create_session("b")
    db.delete_session("b")
    assert first.id < second.id < db.create_session("b").id
    assert SessionDB(store).create_session("c").id > second.id
    numbers = [record.id for record in db.list_sessions()]
    assert len(set(numbers)) == len(numbers)


def test_a_taken_name_is_what_sqlite_said(db: SessionDB) -> None:
    db.create_session("auth", {"kept": True})
    with pytest.raises(sqlite3.IntegrityError) as caught:
        db.create_session("auth", {"kept": False})
    assert isinstance(caught.value, NameTakenError)
    record = db.get_session("auth")
    assert record is not None
    assert record.metadata == {"kept": True}


def test_lists_are_newest_first(db: SessionDB, clock: ManualClock) -> None:
    for name in ("one", "two", "three"):
        db.create_session(name)
        clock.advance(timedelta(seconds=1))
    assert [record.name for record in db.list_sessions()] == ["three", "two", "one"]


def test_more_sessions_than_a_page(db: SessionDB) -> None:
    for number in range(205):
        db.create_session(f"session {number}")
    assert len(db.list_sessions()) == 205
    assert db.delete_all_sessions() == 205
    assert db.list_sessions() == []


def test_at_most_one_is_active(db: SessionDB, clock: ManualClock) -> None:
    db.create_session("a")
    db.create_session("b")
    assert db.get_active_session() is None
    assert db.set_active("a", True) is True
    resumed = clock().isoformat(timespec="seconds")
    clock.advance(timedelta(seconds=5))
    assert db.set_active("b", True) is True
    active = db.get_active_session()
    assert active is not None
    assert active.name == "b"
    left = db.get_session("a")
    assert left is not None
    now = clock().isoformat(timespec="seconds")
    assert left.metadata == {"active": False, "updated_at": now, "resumed_at": resumed, "ended_at": now}
    assert active.metadata == {"active": True, "updated_at": now, "resumed_at": now}
    assert db.set_active("b", False) is True
    assert db.get_active_session() is None
    assert db.set_active("nobody", True) is False


def test_two_who_activate_at_once_leave_one_active(store: Store) -> None:
    names = [f"session {number}" for number in range(6)]
    for name in names:
        SessionDB(store).create_session(name)
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda name: SessionDB(store).set_active(name, True), names * 4))
    active = [record.name for record in SessionDB(store).list_sessions() if record.metadata.get("active")]
    assert len(active) == 1


def test_metadata_is_merged_and_active_moves_the_alias(db: SessionDB) -> None:
    db.create_session("a", {"one": 1})
    db.create_session("b", {"active": True})
    assert db.update_session_metadata("a", {"two": [2], "active": True}) is True
    record = db.get_active_session()
    assert record is not None
    assert record.name == "a"
    assert {"one": 1, "two": [2], "active": True}.items() <= record.metadata.items()
    assert db.update_session_metadata("a", {"active": False}) is True
    assert db.get_active_session() is None
    assert db.update_session_metadata("nobody", {"one": 1}) is False


def test_facts_cannot_be_written_over(db: SessionDB) -> None:
    db.create_session("a", {"updated_at": "yesterday", "resumed_at": "then", "ended_at": "never"})
    record = db.get_session("a")
    assert record is not None
    assert record.metadata == {}


def test_no_key_is_lost_when_many_write(store: Store) -> None:
    SessionDB(store).create_session("a")
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda key: SessionDB(store).update_session_metadata("a", {f"k{key}": key}), range(30)))
    record = SessionDB(store).get_session("a")
    assert record is not None
    assert record.metadata == {f"k{key}": key for key in range(30)}


def test_adding_makes_the_session(db: SessionDB, clock: ManualClock) -> None:
    db.add_context("new", "note", "first")
    db.add_context("new", "context_result", '{"files": []}')
    assert db.get_context("new") == [("note", "first", clock()), ("context_result", '{"files": []}', clock())]
    assert db.get_context("new", "note") == [("note", "first", clock())]
    assert db.get_context("nobody") == []
    record = db.get_session("new")
    assert record is not None
    assert record.id == 1


def test_twenty_who_add_at_once_make_one_session(store: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: SessionDB(store).add_context("new", "note", str(number)), range(20)))
    db = SessionDB(store)
    assert len(db.list_sessions()) == 1
    assert sorted(int(content) for _, content, _ in db.get_context("new")) == list(range(20))


def test_everything_that_was_gathered_comes_back(db: SessionDB) -> None:
    for number in range(230):
        db.add_context("long", "note", f"note {number}")
    assert [content for _, content, _ in db.get_context("long")] == [f"note {number}" for number in range(230)]


def test_deletion_with_and_without_what_was_gathered(db: SessionDB, store: Store) -> None:
    db.add_context("a", "note", "kept")
    db.add_context("b", "note", "gone")
    kept = store.contexts.get("a")
    assert kept is not None
    assert db.delete_session("a", purge_context=False) is True
    assert db.delete_session("b") is True
    assert db.delete_session("b") is False
    assert [item.content for item in store.contexts.artifacts(id=kept.id).items] == ["kept"]
    db.create_session("c")
    assert db.delete_all_sessions() == 1
    assert store.contexts.purge(kept.id) == 0


def test_a_context_that_came_another_way_gets_a_number_once(db: SessionDB, store: Store) -> None:
    store.contexts.create("from the library")
    first, again = db.get_session("from the library"), db.get_session("from the library")
    assert first is not None
    assert first == again
    assert first.metadata == {}


def test_bad_input_says_what_is_wrong(db: SessionDB) -> None:
    with pytest.raises(InvalidNameError, match="must not be empty"):
        db.create_session("")
    with pytest.raises(InvalidValueError, match="number of a session"):
        db.create_session("a", {"tenets": 1})
    with pytest.raises(InvalidValueError, match="kind must be text"):
        db.add_context("a", "", "text")
    with pytest.raises(InvalidValueError, match="a store, a URL or a path"):
        SessionDB(7)


@pytest.mark.parametrize("name", ["", "x" * 200, "a\nb"])
def test_what_nothing_can_be_called_is_absent(db: SessionDB, name: str) -> None:
    assert db.get_session(name) is None
    assert db.set_active(name, True) is False
    assert db.update_session_metadata(name, {"a": 1}) is False
    assert db.delete_session(name) is False
    assert db.get_context(name) == []
    with pytest.raises(InvalidNameError):
        db.create_session(name)


def test_an_end_that_is_over_stays_known(db: SessionDB, clock: ManualClock) -> None:
    db.create_session("a")
    stamps = []
    for active in (True, False, True):
        clock.advance(timedelta(seconds=5))
        db.set_active("a", active)
        stamps.append(clock().isoformat(timespec="seconds"))
    record = db.get_session("a")
    assert record is not None
    assert record.metadata == {"active": True, "updated_at": stamps[2], "resumed_at": stamps[2], "ended_at": stamps[1]}


def test_scopes_are_apart(store: Store) -> None:
    SessionDB(store, scope="one").create_session("a")
    assert SessionDB(store, scope="two").get_session("a") is None


# -- its own database --------------------------------------------------------------------------------------------------


def test_an_original_database_goes_on_and_stays_as_it_is(tmp_path: Path) -> None:
    original = tmp_path / "tenets.db"
    shutil.copyfile(SAMPLE, original)
    before = sha256(original.read_bytes()).hexdigest()
    config = SimpleNamespace(cache=SimpleNamespace(directory=tmp_path))
    for run in range(2):
        db = SessionDB(config)
        active = db.get_active_session()
        assert active is not None
        assert (active.id, active.name) == (2, "ics-parser")
        assert active.metadata["ticket"] == "ICS-12"
        assert len(db.get_context("auth-refactor")) == 6 + run
        db.add_context("auth-refactor", "note", "one more")
        assert db.create_session(f"run {run}").id > 10
        db.close()
    assert sha256(original.read_bytes()).hexdigest() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["tenets.db", "tenets.sojourn.db"]


def test_a_new_path_and_a_url(tmp_path: Path) -> None:
    for source in (tmp_path / "tenets.db", f"sqlite:///{tmp_path}/by-url.db"):
        db = SessionDB(source)
        db.create_session("a")
        db.close()
        db.close()
        again = SessionDB(source)
        assert [record.name for record in again.list_sessions()] == ["a"]
        again.close()
    assert not (tmp_path / "tenets.db").exists()


def test_a_file_that_is_neither_is_left_alone(tmp_path: Path) -> None:
    other = tmp_path / "notes.txt"
    other.write_text("not a database at all, only some notes" * 100)
    with pytest.raises(CorruptError):
        SessionDB(other)
    assert other.read_text().startswith("not a database")


def test_times_are_the_originals(tmp_path: Path) -> None:
    shutil.copyfile(SAMPLE, tmp_path / "tenets.db")
    db = SessionDB(tmp_path / "tenets.db")
    record = db.get_session("auth-refactor")
    assert record is not None
    assert record.created_at == datetime(2026, 11, 20, 4, 59, 4, 466077, tzinfo=UTC)
    db.close()
