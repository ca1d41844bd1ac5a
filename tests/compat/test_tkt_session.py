"""A program written for tkt's session package, on Sojourn."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

import sojourn
from sojourn import NameTakenError, Store
from sojourn.compat import tkt_session as tkt
from sojourn.errors import InvalidNameError, NotFoundError, PointerError, UnknownRoleError
from sojourn.testing.clocks import ManualClock


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project's directory."""
    made = tmp_path / "project"
    made.mkdir()
    return made


def _pointer(root: Path) -> Path:
    return root / ".sojourn" / "session"


def test_a_session_is_created_and_pointed_at(store: Store, root: Path, clock: ManualClock) -> None:
    made = tkt.create(tkt.ROLE_ARCHITECT, "planner", store, root)
    assert made == tkt.Session(made.id, "architect", "planner", clock(), clock(), None, "architect")
    assert _pointer(root).read_text() == made.id
    clock.advance(timedelta(minutes=5))
    loaded = tkt.load_active(root, store)
    assert (loaded.id, loaded.last_active) == (made.id, clock())


def test_an_empty_name_is_a_random_one(store: Store, root: Path) -> None:
    made = tkt.create("implementer", "", store, root)
    tkt.validate_name(made.name)


def test_the_pointer_is_replaced(store: Store, root: Path) -> None:
    tkt.create("architect", "one", store, root)
    two = tkt.create("implementer", "two", store, root)
    assert tkt.load_active(root, store).id == two.id


def test_names_and_roles_are_checked(store: Store, root: Path) -> None:
    tkt.create("architect", "one", store, root)
    with pytest.raises(NameTakenError):
        tkt.create("implementer", "one", store, root)
    with pytest.raises(UnknownRoleError):
        tkt.create("juggler", "two", store, root)
    with pytest.raises(InvalidNameError):
        tkt.create("architect", "Two\n", store, root)
    assert tkt.count_active(store) == {"architect": 1}


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("", "empty"),
        ("a" * 33, "at most 32"),
        ("Name", "a-z"),
        ("name\n", "a-z"),
        ("-name", "begin"),
        ("name-", "end"),
        ("na--me", "two hyphens"),
    ],
)
def test_each_rule_of_names_has_its_message(name: str, says: str) -> None:
    with pytest.raises(InvalidNameError, match=says):
        tkt.validate_name(name)


def test_names_and_ids_are_made(store: Store) -> None:
    assert tkt.generate_name("given") == "given"
    tkt.validate_name(tkt.generate_name(""))
    first, second = tkt.generate_ulid(), tkt.generate_ulid()
    assert first != second
    assert len(first) == 26


def test_a_program_has_no_pointer_and_is_not_counted(store: Store, root: Path) -> None:
    tkt.create_system(tkt.ROLE_MONITOR, store)
    assert tkt.count_active(store) == {}
    assert not _pointer(root).exists()
    with pytest.raises(UnknownRoleError):
        tkt.create_system("juggler", store)


def test_no_pointer_a_blank_one_and_one_to_nothing_are_told_apart(store: Store, root: Path) -> None:
    for work in (tkt.load_active, tkt.end):
        with pytest.raises(tkt.NoSessionError):
            work(root, store)
    tkt.create("architect", "one", store, root)
    _pointer(root).write_text(" \n")
    with pytest.raises(tkt.NoSessionError):
        tkt.load_active(root, store)
    _pointer(root).write_text(tkt.generate_ulid())
    for work in (tkt.load_active, tkt.end):
        with pytest.raises(tkt.OrphanPointerError) as caught:
            work(root, store)
        assert not isinstance(caught.value, tkt.NoSessionError)


def test_an_end_is_kept(store: Store, root: Path, clock: ManualClock) -> None:
    made = tkt.create("architect", "one", store, root)
    ended_at = clock()
    assert tkt.end(root, store) == made.id
    clock.advance(timedelta(hours=1))
    assert tkt.end(root, store) == made.id
    with pytest.raises(tkt.ExpiredSessionError) as caught:
        tkt.load_active(root, store)
    assert (caught.value.session.id, caught.value.session.expired_at) == (made.id, ended_at)
    assert tkt.count_active(store) == {}
    assert tkt.create("architect", "one", store, root).id != made.id


def test_a_stale_session_is_expired(store: Store, root: Path, clock: ManualClock) -> None:
    tkt.create("architect", "one", store, root)
    clock.advance(timedelta(hours=5))
    with pytest.raises(tkt.ExpiredSessionError) as caught:
        tkt.load_active(root, store)
    assert caught.value.session.expired_at is not None
    assert tkt.count_active(store) == {}


def test_expire_by_id(store: Store, root: Path) -> None:
    made = tkt.create("architect", "one", store, root)
    tkt.expire_by_id("no such id", store)
    tkt.expire_by_id(made.id, store)
    tkt.expire_by_id(made.id, store)
    with pytest.raises(tkt.ExpiredSessionError):
        tkt.load_active(root, store)


def test_counts_are_by_base_role(store: Store, root: Path) -> None:
    tkt.create("architect", "one", store, root)
    store.workspaces.add_role("reviewer", base="architect", project_id="tkt")
    made = tkt.create("reviewer", "two", store, root)
    tkt.create("implementer", "three", store, root)
    assert made.effective_role == "architect"
    assert tkt.count_active(store) == {"architect": 2, "implementer": 1}


def test_nothing_is_left_when_the_pointer_cannot_be_written(store: Store, root: Path) -> None:
    tkt.create("architect", "one", store, root)
    _pointer(root).unlink()
    _pointer(root).mkdir()
    with pytest.raises(PointerError):
        tkt.create("implementer", "two", store, root)
    assert tkt.count_active(store) == {"architect": 1}


def test_the_environment_does_not_count(store: Store, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = tkt.create("architect", "one", store, root)
    monkeypatch.setenv("SOJOURN_SESSION", "somebody-else")
    monkeypatch.setenv("SOJOURN_AGENT", "agent-7")
    assert tkt.load_active(root, store).id == made.id


def test_a_store_in_a_project_is_that_project(root: Path) -> None:
    from sojourn.project.identity import id_of, make

    place = make(str(root))
    with sojourn.open(f"sqlite:///{place.state}/sojourn.db") as store:
        made = tkt.create("architect", "one", store, root)
        found = store.workspaces.get(made.id)
        assert found is not None
        assert found.project_id == id_of(place)


def test_many_who_create_at_once_are_all_there(store: Store, root: Path) -> None:
    tkt.create("architect", "first", store, root)
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda number: tkt.create("implementer", f"worker-{number}", store, root), range(16)))
    assert tkt.count_active(store) == {"architect": 1, "implementer": 16}
    assert _pointer(root).read_text() in {session.id for session in made}


def test_an_unknown_session_is_not_found_by_others_names() -> None:
    assert issubclass(tkt.OrphanPointerError, NotFoundError)


def test_the_end_of_what_is_over_is_its_id(store: Store, root: Path, clock: ManualClock) -> None:
    made = tkt.create("architect", "one", store, root)
    clock.advance(timedelta(hours=5))
    assert tkt.end(root, store) == made.id
    with pytest.raises(tkt.ExpiredSessionError) as caught:
        tkt.load_active(root, store)
    assert caught.value.session.expired_at is not None
    assert caught.value.session.expired_at <= clock()


@pytest.mark.parametrize("id", ["", " ", "no such id", "01M7W40082HS4BJZHK380F2DNN"])
def test_expiring_what_is_not_there_is_nothing(store: Store, id: str) -> None:
    tkt.expire_by_id(id, store)
    assert tkt.count_active(store) == {}
