"""A program written for OpenJarvis's session module, on Sojourn."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import pytest

from sojourn import InvalidValueError, NotFoundError, SojournError, Store
from sojourn.compat.openjarvis_sessions import Session, SessionIdentity, SessionMessage, SessionStore
from sojourn.testing.clocks import ManualClock

DATA = Path(__file__).parent.parent / "formats" / "data" / "openjarvis"
HEADING = "Session history summary:\n"


@pytest.fixture
def sessions(store: Store) -> SessionStore:
    """The drop-in on a store."""
    return SessionStore(store)


def test_values_have_the_originals_defaults() -> None:
    assert SessionIdentity("u") == SessionIdentity("u", "", {})
    assert SessionMessage("user", "hi") == SessionMessage("user", "hi", "", 0.0, {})
    empty = Session()
    assert (empty.session_id, empty.identity, empty.messages, empty.created_at, empty.metadata) == ("", None, [], 0.0, {})


def test_a_message_added_to_the_object_is_only_there(sessions: SessionStore) -> None:
    session = sessions.get_or_create("u")
    session.add_message("user", "in memory", channel="cli")
    assert [(item.role, item.content, item.channel) for item in session.messages] == [("user", "in memory", "cli")]
    assert session.messages[0].timestamp > 0
    assert sessions.get_or_create("u").messages == []


def test_one_session_for_a_user_over_channels(sessions: SessionStore, clock: ManualClock) -> None:
    first = sessions.get_or_create("u", channel="telegram", channel_user_id="t1", display_name="Una")
    sessions.save_message(first.session_id, "user", "hi", channel="telegram", metadata={"n": 1})
    again = sessions.get_or_create("u", channel="discord", channel_user_id="d1")
    assert again.session_id == first.session_id
    assert again.identity == SessionIdentity("u", "Una", {"telegram": "t1", "discord": "d1"})
    now = clock().timestamp()
    assert again.messages == [SessionMessage("user", "hi", "telegram", now, {"n": 1})]
    assert (again.created_at, again.last_activity) == (now, now)


def test_a_channel_without_a_handle_links_nothing(sessions: SessionStore) -> None:
    session = sessions.get_or_create("u", channel="telegram")
    assert session.identity == SessionIdentity("u", "", {})


def test_past_its_age_a_new_session_begins(sessions: SessionStore, clock: ManualClock) -> None:
    first = sessions.get_or_create("u")
    sessions.save_message(first.session_id, "user", "hi")
    clock.advance(timedelta(hours=23, minutes=59))
    assert sessions.get_or_create("u").session_id == first.session_id
    clock.advance(timedelta(minutes=2))
    later = sessions.get_or_create("u")
    assert later.session_id != first.session_id
    assert later.messages == []


def test_an_unknown_session(sessions: SessionStore) -> None:
    for unknown in ("", "0123456789abcdef", "01M7W40082HS4BJZHK380F2DNN"):
        with pytest.raises(NotFoundError):
            sessions.save_message(unknown, "user", "hi")
        sessions.link_channel(unknown, "telegram", "t1")


def test_the_threshold_is_crossed_exactly(store: Store) -> None:
    sessions = SessionStore(store, consolidation_threshold=10)
    id = sessions.get_or_create("u").session_id
    for number in range(10):
        sessions.save_message(id, "user", f"message {number}")
    assert len(sessions.get_or_create("u").messages) == 10
    sessions.save_message(id, "user", "message 10")
    messages = sessions.get_or_create("u").messages
    assert [item.content for item in messages[1:]] == [f"message {number}" for number in range(5, 11)]
    assert messages[0].role == "system"
    assert messages[0].content.startswith(HEADING)
    assert all(f"message {number}" in messages[0].content for number in range(5))


def test_nothing_that_was_folded_is_gone(store: Store) -> None:
    sessions = SessionStore(store, consolidation_threshold=4)
    id = sessions.get_or_create("u").session_id
    for number in range(30):
        sessions.save_message(id, "user", f"message {number}")
    sessions.consolidate(id)
    kept = store.conversations.messages(id, include_folded=True)
    assert [item.content for item in kept if not item.summary] == [f"message {number}" for number in range(30)]


def test_a_handle_of_somebody_else_is_known_on_this_session_only(sessions: SessionStore) -> None:
    sessions.get_or_create("one", channel="web", channel_user_id="w1")
    two = sessions.get_or_create("two", channel="web", channel_user_id="w1")
    assert two.identity == SessionIdentity("two", "", {"web": "w1"})
    assert two.metadata == {}
    sessions.link_channel(two.session_id, "web", "w1")
    one = sessions.get_or_create("one")
    assert one.identity == SessionIdentity("one", "", {"web": "w1"})
    assert one.session_id != two.session_id


def test_no_link_is_lost_when_many_are_made(sessions: SessionStore) -> None:
    id = sessions.get_or_create("u").session_id
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda number: sessions.link_channel(id, f"channel{number}", f"h{number}"), range(24)))
    identity = sessions.get_or_create("u").identity
    assert identity is not None
    assert identity.channel_ids == {f"channel{number}": f"h{number}" for number in range(24)}


def test_decay_removes_from_every_list(sessions: SessionStore, clock: ManualClock) -> None:
    old = sessions.get_or_create("old").session_id
    sessions.save_message(old, "user", "hi")
    clock.advance(timedelta(hours=25))
    sessions.get_or_create("new")
    assert [item.session_id for item in sessions.list_sessions()] != [old]
    assert len(sessions.list_sessions(active_only=False)) == 2
    assert sessions.decay() == 1
    assert old not in [item.session_id for item in sessions.list_sessions(active_only=False)]
    assert sessions.decay(0) == 1
    assert sessions.list_sessions(active_only=False) == []
    assert sessions.decay(0) == 0


def test_lists_are_newest_first_without_messages(sessions: SessionStore, clock: ManualClock) -> None:
    ids = []
    for user in ("a", "b", "c"):
        ids.append(sessions.get_or_create(user).session_id)
        clock.advance(timedelta(seconds=2))
    sessions.save_message(ids[0], "user", "hi")
    listed = sessions.list_sessions()
    assert [item.session_id for item in listed] == [ids[0], ids[2], ids[1]]
    assert all(item.messages == [] for item in listed)
    assert len(sessions.list_sessions(limit=2)) == 2


def test_threads_share_a_store(sessions: SessionStore) -> None:
    id = sessions.get_or_create("u").session_id
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: sessions.save_message(id, "user", f"m{number}"), range(80)))
    assert sorted(item.content for item in sessions.get_or_create("u").messages) == sorted(f"m{n}" for n in range(80))


def test_the_handle_that_was_told_last_is_shown(sessions: SessionStore) -> None:
    sessions.get_or_create("one", channel="web", channel_user_id="w1")
    two = sessions.get_or_create("two", channel="web", channel_user_id="w2")
    for told in ("w1", "w3"):
        two = sessions.get_or_create("two", channel="web", channel_user_id=told)
        assert two.identity == SessionIdentity("two", "", {"web": told})
        assert two.metadata == {}
    sessions.link_channel(two.session_id, "web", "w1")
    sessions.link_channel(two.session_id, "web", "w4")
    assert sessions.get_or_create("two").identity == SessionIdentity("two", "", {"web": "w4"})
    assert sessions.get_or_create("one").identity == SessionIdentity("one", "", {"web": "w1"})


def test_an_age_of_nothing_or_less(store: Store) -> None:
    sessions = SessionStore(store, max_age_hours=0)
    first = sessions.get_or_create("u").session_id
    assert sessions.get_or_create("u").session_id != first
    assert sessions.list_sessions() == []
    assert len(sessions.list_sessions(active_only=False)) == 2
    assert sessions.decay(-5) == 2
    assert SessionStore(store, max_age_hours=-1).get_or_create("u").messages == []


def test_consolidating_what_is_not_there_or_short_is_nothing(sessions: SessionStore) -> None:
    for unknown in ("", "0123456789abcdef", "01M7W40082HS4BJZHK380F2DNN"):
        sessions.consolidate(unknown)
    id = sessions.get_or_create("u").session_id
    sessions.consolidate(id)
    sessions.save_message(id, "user", "only one")
    sessions.consolidate(id)
    assert [item.content for item in sessions.get_or_create("u").messages] == ["only one"]


def test_more_messages_than_a_page_are_all_loaded(store: Store) -> None:
    sessions = SessionStore(store, consolidation_threshold=10_000)
    id = sessions.get_or_create("u").session_id
    for number in range(420):
        store.conversations.append(id, "user", str(number))
    assert [item.content for item in sessions.get_or_create("u").messages] == [str(number) for number in range(420)]


def test_what_is_wrong_is_said(store: Store) -> None:
    with pytest.raises(InvalidValueError, match="from 2"):
        SessionStore(store, consolidation_threshold=1)
    sessions = SessionStore(store)
    with pytest.raises(InvalidValueError, match="user_id must not be empty"):
        sessions.get_or_create("")
    closed = SessionStore("memory:")
    closed.close()
    closed.close()
    with pytest.raises(SojournError):
        closed.get_or_create("u")


# -- its own database --------------------------------------------------------------------------------------------------


def test_an_original_database_goes_on_and_stays_as_it_is(tmp_path: Path) -> None:
    original = tmp_path / "sessions.db"
    shutil.copyfile(DATA / "sessions.db", original)
    before = sha256(original.read_bytes()).hexdigest()
    users = json.loads((DATA / "expected.json").read_text())["users"]
    for run in range(2):
        sessions = SessionStore(original, max_age_hours=24 * 365 * 100)
        for user, expected in users.items():
            session = sessions.get_or_create(user)
            assert session.session_id == expected.get("newer_session_id", expected["session_id"])
            assert session.identity is not None
            if "newer_session_id" not in expected:
                assert session.identity.channel_ids == expected["channels"]
                assert len(session.messages) == expected["stored"] + (run if user == "bob" else 0)
        sessions.save_message(users["bob"]["session_id"], "user", "one more")
        sessions.close()
    assert sha256(original.read_bytes()).hexdigest() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["sessions.db", "sessions.sojourn.db"]
