"""A program written for the MUD server's session module, on Sojourn."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

import sojourn
from sojourn import Store
from sojourn.compat import mud_sessions as mud
from sojourn.testing.clocks import ManualClock

DATA = Path(__file__).parent.parent / "formats" / "data" / "mud"


@pytest.fixture
def token() -> str:
    """A token as the server makes them."""
    return str(uuid4())


@pytest.fixture
def people(store: Store) -> dict[str, str]:
    """Users, worlds and characters."""
    mud.configure(store)
    ann, bo = store.directory.add_user("ann"), store.directory.add_user("bo")
    store.directory.add_world("web", "The Web")
    store.directory.add_world("deep", "The Deep")
    return {
        "ann": ann,
        "bo": bo,
        "reed": store.directory.add_character(ann, "web", "Ann of the Reeds"),
        "iron": store.directory.add_character(bo, "web", "Bo Ironhand"),
        "lost": store.directory.add_character(ann, None, "Ann the Lost"),
    }


def test_a_session_of_an_account(people: dict[str, str], token: str, clock: ManualClock) -> None:
    assert mud.create_session("ann", token, client_type="  Browser ") is True
    assert mud.get_session_by_id(token) == {
        "user_id": people["ann"],
        "character_id": None,
        "world_id": None,
        "session_id": token,
        "created_at": "2030-01-01 12:00:00",
        "last_activity": "2030-01-01 12:00:00",
        "expires_at": "2030-01-01 20:00:00",
        "client_type": "browser",
    }


@pytest.mark.parametrize("blank", ["", "   ", "unknown"])
def test_a_blank_client_is_unknown(people: dict[str, str], token: str, blank: str) -> None:
    assert mud.create_session("ann", token, client_type=blank) is True
    row = mud.get_session_by_id(token)
    assert row is not None
    assert row["client_type"] == "unknown"


def test_a_session_of_a_character(people: dict[str, str], token: str) -> None:
    assert mud.create_session("ann", token, character_id=people["reed"]) is True  # type: ignore[arg-type]  # text here
    row = mud.get_session_by_id(token)
    assert row is not None
    assert (row["character_id"], row["world_id"]) == (people["reed"], "web")


def test_an_account_only_session_has_no_world(people: dict[str, str], token: str) -> None:
    assert mud.create_session("ann", token, world_id="web") is True
    row = mud.get_session_by_id(token)
    assert row is not None
    assert row["world_id"] is None


def test_who_is_unknown_is_false_or_an_error(people: dict[str, str], token: str) -> None:
    assert mud.create_session("nobody", token) is False
    assert mud.create_session("ann", token, character_id="none") is False  # type: ignore[arg-type]
    assert mud.create_session("ann", token, character_id=people["lost"]) is False  # type: ignore[arg-type]
    with pytest.raises(mud.DatabaseWriteError) as caught:
        mud.create_session(4711, token)
    assert caught.value.context.operation == "sessions.create_session"
    assert isinstance(caught.value, mud.DatabaseOperationError)
    assert isinstance(caught.value, RuntimeError)
    assert caught.value.cause is not None
    assert token not in str(caught.value)
    assert mud.get_session_by_id(token) is None


def test_a_foreign_character_another_world_and_a_taken_token(people: dict[str, str], token: str) -> None:
    with pytest.raises(mud.DatabaseWriteError):
        mud.create_session("ann", token, character_id=people["iron"])  # type: ignore[arg-type]
    with pytest.raises(mud.DatabaseWriteError):
        mud.create_session("ann", token, character_id=people["reed"], world_id="deep")  # type: ignore[arg-type]
    assert mud.create_session("ann", token) is True
    with pytest.raises(mud.DatabaseWriteError) as caught:
        mud.create_session("bo", token)
    assert token not in str(caught.value)
    row = mud.get_session_by_id(token)
    assert row is not None
    assert row["user_id"] == people["ann"]


def test_a_character_is_bound_later(people: dict[str, str], token: str) -> None:
    mud.create_session("ann", token)
    assert mud.set_session_character(token, people["reed"], world_id="web") is True  # type: ignore[arg-type]
    row = mud.get_session_by_id(token)
    assert row is not None
    assert row["character_id"] == people["reed"]
    assert mud.set_session_character(str(uuid4()), people["reed"], world_id="web") is False  # type: ignore[arg-type]
    with pytest.raises(mud.DatabaseWriteError):
        mud.set_session_character(token, people["iron"], world_id="web")  # type: ignore[arg-type]


def test_a_character_may_be_shared(people: dict[str, str]) -> None:
    tokens = [str(uuid4()) for _ in range(3)]
    for one in tokens:
        assert mud.create_session("ann", one, character_id=people["reed"]) is True  # type: ignore[arg-type]
    assert mud.remove_sessions_for_character_count(people["reed"]) == 3  # type: ignore[arg-type]
    assert all(mud.get_session_by_id(one) is None for one in tokens)
    assert mud.remove_sessions_for_character(people["reed"]) is False  # type: ignore[arg-type]


def test_removed_is_removed(people: dict[str, str], token: str) -> None:
    mud.create_session("ann", token)
    assert mud.remove_session_by_id(token) is True
    assert mud.remove_session_by_id(token) is False
    assert mud.get_session_by_id(token) is None
    assert mud.update_session_activity(token) is False


def test_every_session_of_a_user(people: dict[str, str]) -> None:
    tokens = [str(uuid4()) for _ in range(4)]
    for one in tokens:
        mud.create_session("ann", one)
    other = str(uuid4())
    mud.create_session("bo", other)
    assert mud.remove_sessions_for_user(people["ann"]) is True  # type: ignore[arg-type]
    assert mud.remove_sessions_for_user(people["ann"]) is False  # type: ignore[arg-type]
    assert mud.get_session_by_id(other) is not None


def test_activity_slides_and_revives_nothing(people: dict[str, str], token: str, clock: ManualClock) -> None:
    mud.create_session("ann", token)
    clock.advance(timedelta(hours=7))
    assert mud.update_session_activity(token) is True
    row = mud.get_session_by_id(token)
    assert row is not None
    assert (row["last_activity"], row["expires_at"]) == ("2030-01-01 19:00:00", "2030-01-02 03:00:00")
    clock.advance(timedelta(hours=9))
    assert mud.update_session_activity(token) is False
    row = mud.get_session_by_id(token)
    assert row is not None
    assert row["expires_at"] == "2030-01-02 03:00:00"
    assert mud.remove_session_by_id(token) is True
    assert mud.get_session_by_id(token) is None


def test_without_sliding_the_end_stays(store: Store, people: dict[str, str], token: str, clock: ManualClock) -> None:
    mud.configure(store, sliding_expiration=False, ttl_minutes=60)
    mud.create_session("ann", token)
    clock.advance(timedelta(minutes=30))
    assert mud.update_session_activity(token) is True
    row = mud.get_session_by_id(token)
    assert row is not None
    assert row["expires_at"] == "2030-01-01 13:00:00"


@pytest.mark.parametrize("minutes", [0, -5])
def test_no_time_is_for_ever(store: Store, people: dict[str, str], token: str, minutes: int, clock: ManualClock) -> None:
    mud.configure(store, ttl_minutes=minutes)
    mud.create_session("ann", token)
    clock.advance(timedelta(days=4000))
    row = mud.get_session_by_id(token)
    assert row is not None
    assert row["expires_at"] is None
    assert mud.cleanup_expired_sessions() == 0


def test_one_session_for_each_user(store: Store, people: dict[str, str]) -> None:
    mud.configure(store, allow_multiple_sessions=False)
    tokens = [str(uuid4()) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda one: mud.create_session("ann", one), tokens))
    assert sum(mud.get_session_by_id(one) is not None for one in tokens) == 1


def test_counts_and_names(people: dict[str, str], clock: ManualClock) -> None:
    mud.create_session("ann", str(uuid4()), character_id=people["reed"])  # type: ignore[arg-type]
    mud.create_session("bo", str(uuid4()), character_id=people["iron"])  # type: ignore[arg-type]
    mud.create_session("bo", str(uuid4()))
    assert mud.get_active_session_count() == 3
    assert mud.get_active_characters(world_id="web") == ["Ann of the Reeds", "Bo Ironhand"]
    assert mud.get_active_characters(world_id="deep") == []
    clock.advance(timedelta(minutes=45))
    assert mud.get_active_session_count() == 0
    assert mud.get_active_characters(world_id="web") == ["Ann of the Reeds", "Bo Ironhand"]
    clock.advance(timedelta(hours=8))
    assert mud.get_active_characters(world_id="web") == []
    assert mud.cleanup_expired_sessions() == 3


def test_everything_is_cleared(people: dict[str, str]) -> None:
    tokens = [str(uuid4()) for _ in range(3)]
    for one in tokens:
        mud.create_session("ann", one)
    assert mud.clear_all_sessions() == 3
    assert mud.clear_all_sessions() == 0
    assert all(mud.get_session_by_id(one) is None for one in tokens)


@pytest.mark.parametrize("name", ["", "nobody", "a\0b", "x" * 5000])
def test_what_nobody_is_called_is_unknown(people: dict[str, str], token: str, name: str) -> None:
    assert mud.create_session(name, token) is False


def test_of_the_others_that_are_replaced_expired_ones_go_too(
    store: Store, people: dict[str, str], token: str, clock: ManualClock
) -> None:
    mud.create_session("ann", "expired")
    mud.create_session("bo", "another's")
    clock.advance(timedelta(hours=9))
    mud.configure(store, allow_multiple_sessions=False)
    assert mud.get_session_by_id("expired") is not None
    assert mud.create_session("ann", token) is True
    assert mud.get_session_by_id("expired") is None
    assert mud.get_session_by_id("another's") is not None


def test_activity_is_exact_and_logins_are_recorded(
    store: Store, people: dict[str, str], token: str, clock: ManualClock
) -> None:
    mud.create_session("ann", token)
    ann = store.directory.user(people["ann"])
    assert ann is not None
    assert ann.last_login_at == clock()
    for _ in range(3):
        clock.advance(timedelta(seconds=2))
        assert mud.update_session_activity(token) is True
        row = mud.get_session_by_id(token)
        assert row is not None
        assert row["last_activity"] == f"{clock():%Y-%m-%d %H:%M:%S}"


def test_an_expired_session_gets_no_character(people: dict[str, str], token: str, clock: ManualClock) -> None:
    mud.create_session("ann", token)
    clock.advance(timedelta(hours=9))
    assert mud.set_session_character(token, people["reed"], world_id="web") is False  # type: ignore[arg-type]  # text here
    assert mud.clear_all_sessions() == 1


def test_nothing_is_done_without_a_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mud, "_configured", [])
    with pytest.raises(mud.DatabaseReadError, match="configure"):
        mud.get_active_session_count()
    with pytest.raises(mud.DatabaseWriteError, match="configure"):
        mud.clear_all_sessions()


def test_a_store_that_fails_raises(people: dict[str, str], store: Store, token: str) -> None:
    store.close()
    with pytest.raises(mud.DatabaseReadError) as caught:
        mud.get_session_by_id(token)
    assert caught.value.context.operation == "sessions.get_session_by_id"
    with pytest.raises(mud.DatabaseWriteError):
        mud.remove_session_by_id(token)


def test_tokens_that_were_live_keep_working(tmp_path: Path) -> None:
    from sojourn.formats.mud import import_mud

    shutil.copyfile(DATA / "mud.db", tmp_path / "mud.db")
    expected = json.loads((DATA / "expected.json").read_text())
    with sojourn.open(f"sqlite:///{tmp_path}/app.db") as store:
        import_mud(store, tmp_path / "mud.db")
        mud.configure(store)
        for one, known in expected["live_tokens"].items():
            row = mud.get_session_by_id(one)
            assert row is not None
            assert row["character_id"] == known["character_id"]
            assert isinstance(row["user_id"], int)
        for one in expected["expired_tokens"]:
            row = mud.get_session_by_id(one)
            assert row is None or not mud.update_session_activity(one)
        assert mud.get_active_characters(world_id=expected["world"]) == expected["active_characters"]
    raw = b"".join(file.read_bytes() for file in tmp_path.glob("app.db*"))
    assert not any(one.encode() in raw for one in expected["live_tokens"])
