"""Importing into a store that is in use, importing again, and two imports at once (databases written by hand)."""

from __future__ import annotations

import sqlite3
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import sojourn
from sojourn.formats import arrivals
from sojourn.formats.openjarvis import import_openjarvis
from sojourn.testing.clocks import ManualClock

if TYPE_CHECKING:
    from tests.formats.conftest import Handwritten

NOW = 1794300000.0
SUMMARY = "Session history summary:\n[user] earlier"


def session(key: str = "s1", user: str = "alice", channels: str = "{}", active: float = NOW) -> tuple[Any, ...]:
    return (key, user, "Alice", channels, NOW - 60, active, "{}")


def said(number: int, text: str, key: str = "s1", role: str = "user") -> tuple[Any, ...]:
    return (number, key, role, text, "web", NOW + number, "{}")


def texts(store: sojourn.Store, user: str = "alice") -> list[str]:
    (talk,) = store.conversations.list(user_id=user, active_only=False)
    return [message.text for message in store.conversations.messages(talk.id)]


@pytest.fixture(autouse=True)
def short_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a few messages make several commits."""
    monkeypatch.setattr(arrivals, "PAGE", 3)


def test_what_has_come_since_is_added_once(store: sojourn.Store, handwritten: Handwritten) -> None:
    path = handwritten("python", sessions=[session()], session_messages=[said(n, f"m{n}") for n in range(1, 6)])
    import_openjarvis(store, path)
    talk = store.conversations.list(user_id="alice").items[0]
    store.conversations.append(talk.id, "user", "written here")

    handwritten(session_messages=[said(n, f"m{n}") for n in range(6, 13)])
    report = import_openjarvis(store, path)
    assert (report.imported, report.present) == (7, 6)
    assert texts(store) == [*(f"m{n}" for n in range(1, 6)), "written here", *(f"m{n}" for n in range(6, 13))]
    assert import_openjarvis(store, path).imported == 0
    assert store.conversations.list(user_id="alice").items[0].message_count == 13


def test_a_summary_that_has_come_since_stands_before_what_came_with_it(store: sojourn.Store, handwritten: Handwritten) -> None:
    rows = [said(1, "a"), said(2, "b"), said(3, SUMMARY, role="system"), said(4, "c")]
    path = handwritten("python", sessions=[session()], session_messages=rows)
    import_openjarvis(store, path)
    assert texts(store) == [SUMMARY, "a", "b", "c"]

    with sqlite3.connect(path) as connection:
        connection.execute("delete from session_messages where id < 3")
    connection.close()
    handwritten(session_messages=[said(5, SUMMARY + " still", role="system"), *(said(n, f"m{n}") for n in range(6, 10))])
    import_openjarvis(store, path)
    assert texts(store) == [SUMMARY, "a", "b", "c", SUMMARY + " still", "m6", "m7", "m8", "m9"]
    assert import_openjarvis(store, path).imported == 0


def test_a_new_session_of_a_known_person_becomes_the_current_one(store: sojourn.Store, handwritten: Handwritten) -> None:
    path = handwritten("python", sessions=[session()], session_messages=[said(1, "a")])
    import_openjarvis(store, path)
    (old,) = store.conversations.list(user_id="alice")

    handwritten(sessions=[session("s2", active=NOW + 500)])
    assert import_openjarvis(store, path).imported == 1
    new, _ = store.conversations.list(user_id="alice")
    assert new.previous_id == old.id


def test_messages_for_a_conversation_that_was_closed_here_are_named(store: sojourn.Store, handwritten: Handwritten) -> None:
    path = handwritten("python", sessions=[session()], session_messages=[said(1, "a")])
    import_openjarvis(store, path)
    store.conversations.decay(timedelta(0))

    handwritten(session_messages=[said(2, "late"), said(3, "later")])
    report = import_openjarvis(store, path)
    assert [(item.rows, item.reason) for item in report.skipped if "closed" in item.reason] == [
        (2, "it came after its conversation was closed here")
    ]
    assert texts(store) == ["a"]


def test_what_was_deleted_here_is_not_brought_back_at_once(store: sojourn.Store, handwritten: Handwritten) -> None:
    path = handwritten("python", sessions=[session()], session_messages=[said(n, f"m{n}") for n in range(1, 9)])
    import_openjarvis(store, path)
    store.conversations.delete(store.conversations.list().items[0].id)

    report = import_openjarvis(store, path)
    assert len(store.conversations.list(active_only=False)) == 0
    assert report.imported == 0
    assert sum(item.rows for item in report.skipped) == report.rows_read == 9
    while store.sweep()["purged"]:
        continue
    assert import_openjarvis(store, path).imported == 9


def test_a_newer_conversation_here_stays_the_current_one(
    store: sojourn.Store, handwritten: Handwritten, clock: ManualClock
) -> None:
    mine = store.conversations.get_or_create("alice")
    store.conversations.append(mine.id, "user", "I am here already")
    report = import_openjarvis(store, handwritten("python", sessions=[session()], session_messages=[said(1, "a")]))

    assert store.conversations.get_or_create("alice").id == mine.id
    assert any("stays the current one" in note.text for note in report.notes)
    assert len(store.conversations.list(user_id="alice")) == 2


def test_a_handle_held_here_is_not_stolen(store: sojourn.Store, handwritten: Handwritten) -> None:
    store.conversations.get_or_create("bob", channel="web", channel_user_id="w1")
    store.conversations.get_or_create("carol", channel="web", channel_user_id="w9")
    rows = [session(channels='{"web": "w1", "irc": "i1"}'), session("s2", "carol", '{"web": "w2"}')]
    report = import_openjarvis(store, handwritten("python", sessions=rows))

    assert store.conversations.resolve("web", "w1") == "bob"
    assert store.conversations.resolve("irc", "i1") == "alice"
    assert store.conversations.resolve("web", "w2") is None
    assert [(note.row, note.text.partition(":")[0]) for note in report.notes if "handle" in note.text] == [
        ("web w1 of alice: bob", "handle held by somebody else here"),
        ("web w2 of carol: w9", "the person has another handle in this channel here"),
    ]
    (talk,) = store.conversations.list(user_id="alice")
    assert talk.identity.channel_ids == {"irc": "i1"}
    assert talk.metadata["openjarvis"]["unlinked"] == [["web", "w1"]]


def test_of_two_people_with_one_handle_the_newer_has_it(store: sojourn.Store, handwritten: Handwritten) -> None:
    rows = [
        session("s1", "alice", '{"web": "w1"}', NOW + 1),
        session("s2", "bob", '{"web": "w1"}', NOW + 9),
        session("s3", "bob", '{"web": "w0", "irc": "i1"}', NOW + 2),
    ]
    report = import_openjarvis(store, handwritten("python", sessions=rows))

    assert store.conversations.resolve("web", "w1") == "bob"
    assert store.conversations.resolve("web", "w0") is None
    assert sorted(note.row for note in report.notes) == ["web w0 of bob: w1", "web w1 of alice: bob"]


def test_a_handle_unlinked_here_is_not_linked_again(store: sojourn.Store, handwritten: Handwritten) -> None:
    path = handwritten("python", sessions=[session(channels='{"web": "w1"}')])
    import_openjarvis(store, path)
    store.conversations.unlink_channel(store.conversations.list().items[0].id, "web")

    import_openjarvis(store, path)
    assert store.conversations.resolve("web", "w1") is None


def test_a_conversation_of_many_pages_is_seen_whole_or_not_at_all(store: sojourn.Store, handwritten: Handwritten) -> None:
    path = handwritten("python", sessions=[session()], session_messages=[said(n, f"m{n}") for n in range(1, 11)])
    seen = []
    import_openjarvis(store, path, progress=lambda done, total: seen.append(len(store.conversations.list())))

    assert seen == [0, 0, 0, 1, 1]
    assert texts(store) == [f"m{n}" for n in range(1, 11)]
    assert len(store.conversations.search("m", limit=100)) == 10


def test_an_import_that_stopped_between_pages_is_finished_by_the_next(store: sojourn.Store, handwritten: Handwritten) -> None:
    rows = [*(said(n, f"m{n}") for n in range(1, 9)), said(9, SUMMARY, role="system")]
    path = handwritten("python", sessions=[session()], session_messages=rows)
    for _ in range(2):
        _stopped_after(store, path, rows=3)
        assert len(store.conversations.list(active_only=False)) == 0

    handwritten(session_messages=[said(10, SUMMARY + " newer", role="system"), said(11, "m11")])
    report = import_openjarvis(store, path)
    assert texts(store) == [SUMMARY, *(f"m{n}" for n in range(1, 9)), SUMMARY + " newer", "m11"]
    assert (report.imported, report.present) == (6, 6)
    assert store.conversations.list().items[0].message_count == 9
    assert import_openjarvis(store, path).imported == 0


class _StoppedError(Exception):
    pass


def _stopped_after(store: sojourn.Store, path: Path, rows: int) -> None:
    def stop(done: int, total: int) -> None:
        if done >= rows:
            raise _StoppedError

    with pytest.raises(_StoppedError):
        import_openjarvis(store, path, progress=stop)


def test_of_two_imports_of_one_conversation_one_gives_way(store: sojourn.Store, handwritten: Handwritten) -> None:
    path = handwritten("python", sessions=[session()], session_messages=[said(n, f"m{n}") for n in range(1, 11)])
    inner: list[int] = []

    def meanwhile(done: int, total: int) -> None:
        if not inner:
            inner.append(0)
            inner.append(import_openjarvis(store, path).imported)

    with pytest.raises(sojourn.ConflictError, match="another import"):
        import_openjarvis(store, path, progress=meanwhile)
    assert inner[1] == 8
    assert texts(store) == [f"m{n}" for n in range(1, 11)]
