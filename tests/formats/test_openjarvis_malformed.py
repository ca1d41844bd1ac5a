"""Rows that are not as they should be, written by hand: each is kept as far as it can be, and the report says what was done."""

from __future__ import annotations

import base64
import json
import sqlite3
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import sojourn
from sojourn.core.times import to_datetime
from sojourn.formats.openjarvis import import_openjarvis
from sojourn.formats.report import ImportReport
from sojourn.testing.clocks import ManualClock

if TYPE_CHECKING:
    from tests.formats.conftest import Handwritten

NOW = 1794300000.0


def session(key: str | None = "s1", user: object = "alice", **more: Any) -> tuple[Any, ...]:
    return (
        key,
        user,
        more.get("name", "Alice"),
        more.get("channels", "{}"),
        more.get("created", NOW),
        more.get("active", NOW + 60),
        more.get("metadata", "{}"),
    )


def message(number: int, content: object = "Hello", key: str = "s1", **more: Any) -> tuple[Any, ...]:
    return (
        number,
        key,
        more.get("role", "user"),
        content,
        more.get("channel", "web"),
        more.get("at", NOW + number),
        more.get("metadata", "{}"),
    )


def adds_up(report: ImportReport) -> bool:
    named = sum(item.rows for item in report.skipped)
    return report.rows_read == report.imported + named and all(
        counts.read == counts.imported + counts.skipped for counts in report.tables.values()
    )


def alices(store: sojourn.Store) -> sojourn.Conversation:
    (talk,) = store.conversations.list(user_id="alice")
    return talk


def notes(report: ImportReport) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for note in report.notes:
        found.setdefault(note.row, []).append(note.text)
    return found


@pytest.mark.parametrize(
    ("content", "kept", "raw"),
    [
        pytest.param("a\0b", "a\ufffdb", b"a\0b", id="nul"),
        pytest.param(b"caf\xe9", "caf\ufffd", b"caf\xe9", id="blob that is no text"),
        pytest.param(b"caf\xc3\xa9", "café", None, id="blob that is text"),
        pytest.param(b"\xed\xa0\x80", "\ufffd" * 3, b"\xed\xa0\x80", id="surrogate"),
        pytest.param(None, "", None, id="null"),
        pytest.param(12, "12", None, id="number"),
        pytest.param("", "", None, id="empty"),
        pytest.param("𝄞 🎲 \u202e", "𝄞 🎲 \u202e", None, id="any text"),
    ],
)
def test_content_that_no_engine_stores_is_repaired_and_kept_raw(
    store: sojourn.Store, handwritten: Handwritten, content: object, kept: str, raw: bytes | None
) -> None:
    path = handwritten("python", sessions=[session()], session_messages=[message(1, content)])
    report = import_openjarvis(store, path)

    (found,) = store.conversations.messages(alices(store).id)
    assert found.content == kept
    if raw is not None:
        assert base64.b64decode(found.metadata["openjarvis"]["content"]["base64"]) == raw
    assert bool(report.notes) == (content != kept)
    assert adds_up(report)


def test_text_that_is_not_utf8_is_repaired(store: sojourn.Store, handwritten: Handwritten) -> None:
    path = handwritten("python", sessions=[session()], session_messages=[message(1)])
    with sqlite3.connect(path) as connection:
        connection.execute("update session_messages set content = cast(x'ff41' as text)")
    connection.close()
    import_openjarvis(store, path)

    (found,) = store.conversations.messages(alices(store).id)
    assert found.content == "\ufffdA"
    assert base64.b64decode(found.metadata["openjarvis"]["content"]["base64"]) == b"\xffA"


@pytest.mark.parametrize(
    ("role", "kept"),
    [
        ("tool", "tool"),
        ("User", "User"),
        (" user ", "user"),
        ("", "unknown"),
        (None, "unknown"),
        ("a\nb", "unknown"),
        ("r" * 65, "unknown"),
    ],
)
def test_odd_roles_are_kept_where_they_are_roles(
    store: sojourn.Store, handwritten: Handwritten, role: object, kept: str
) -> None:
    report = import_openjarvis(store, handwritten("python", sessions=[session()], session_messages=[message(1, role=role)]))

    (found,) = store.conversations.messages(alices(store).id)
    assert found.role == kept
    if kept == "unknown":
        assert found.metadata["openjarvis"]["role"] == (role or "")
    assert bool(report.notes) == (role != kept)


@pytest.mark.parametrize(
    ("at", "seconds"),
    [
        (NOW + 5, NOW + 5),
        (int((NOW + 5) * 1000), NOW + 5),
        (int((NOW + 5) * 1_000_000), NOW + 5),
        (str(NOW + 5), NOW + 5),
        ("2026-11-10T08:40:05+00:00", NOW + 5),
        ("2026-11-10 08:40:05", NOW + 5),
        (None, NOW + 1),
        (0.0, NOW + 1),
        (-5.0, NOW + 1),
        (9e999, NOW + 1),
        (1e30, NOW + 1),
        ("yesterday", NOW + 1),
        (b"\x00", NOW + 1),
    ],
)
def test_a_time_is_read_in_any_unit_and_otherwise_taken_from_the_message_before(
    store: sojourn.Store, handwritten: Handwritten, at: object, seconds: float
) -> None:
    rows = [message(1), message(2, at=at), message(3)]
    report = import_openjarvis(store, handwritten("python", sessions=[session()], session_messages=rows))

    found = store.conversations.messages(alices(store).id)
    assert found[1].created_at == to_datetime(round(seconds * 1_000_000))
    assert [m.sequence for m in found] == [1, 2, 3]
    told = " ".join(notes(report).get("id 2", []))
    assert ("took that of the message before" in told) == (seconds == NOW + 1)
    assert ("was read as" in told) == (isinstance(at, int))


def test_order_is_by_id_whatever_the_times_say(store: sojourn.Store, handwritten: Handwritten) -> None:
    rows = [message(3, "c", at=NOW), message(1, "a", at=NOW + 9), message(2, "b", at=NOW), message(4, "d", at=NOW)]
    import_openjarvis(store, handwritten("python", sessions=[session()], session_messages=rows))

    assert [m.text for m in store.conversations.messages(alices(store).id)] == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    "raw", ['{"a": 1', "[1, 2]", '"text"', "NaN", '{"a": NaN}', '{"a": "\\u0000"}', '{"a": "\\ud800"}', "[" * 20_000]
)
def test_metadata_that_is_no_storable_object_is_kept_as_text(store: sojourn.Store, handwritten: Handwritten, raw: str) -> None:
    path = handwritten("python", sessions=[session(metadata=raw)], session_messages=[message(1, metadata=raw)])
    report = import_openjarvis(store, path)

    talk = alices(store)
    assert talk.metadata["openjarvis"]["metadata"] == raw
    (found,) = store.conversations.messages(talk.id)
    assert found.metadata == {"openjarvis": {"metadata": raw}}
    assert set(notes(report)) == {"s1", "id 1"}


@pytest.mark.parametrize("raw", ["{broken", '["web"]', '{"web": "\\u0000"}'])
def test_channel_ids_that_cannot_be_read_are_kept_as_text(store: sojourn.Store, handwritten: Handwritten, raw: str) -> None:
    report = import_openjarvis(store, handwritten("python", sessions=[session(channels=raw)]))

    talk = alices(store)
    assert talk.identity.channel_ids == {}
    assert talk.metadata["openjarvis"]["channel_ids"] == raw
    assert notes(report)["s1"]


def test_handles_that_are_none_are_kept_beside_those_that_are(store: sojourn.Store, handwritten: Handwritten) -> None:
    channels = {"web": 12, "": "x", "mail": "", "irc": None, "sms": True, "fax": {"no": 1}, "tg": "t\u0007", "ok": "w1"}
    report = import_openjarvis(store, handwritten("python", sessions=[session(channels=json.dumps(channels))]))

    talk = alices(store)
    assert talk.identity.channel_ids == {"web": "12", "tg": "t ", "ok": "w1"}
    kept = talk.metadata["openjarvis"]
    assert dict(kept["unlinked"]) == {name: channels[name] for name in ("", "mail", "irc", "sms", "fax")}
    assert kept["channel_user_id"] == "t\u0007"
    assert store.conversations.resolve("web", 12) == "alice"
    assert len(notes(report)["s1"]) == 6


def test_metadata_that_uses_our_name_is_not_overwritten(store: sojourn.Store, handwritten: Handwritten) -> None:
    rows = [session(metadata='{"openjarvis": "theirs"}')]
    import_openjarvis(store, handwritten("python", sessions=rows))

    assert alices(store).metadata == {"openjarvis": "theirs", "openjarvis_2": {"session_id": "s1"}}


def test_a_session_without_a_person_has_one_of_its_own(store: sojourn.Store, handwritten: Handwritten) -> None:
    rows = [session("s1", None), session("s2", ""), session(None, "carol"), session(None, None)]
    report = import_openjarvis(store, handwritten("python", sessions=rows, session_messages=[message(1), message(2, key="s2")]))

    people = sorted(talk.identity.user_id for talk in store.conversations.list())
    assert people == ["carol", "openjarvis-row 4", "openjarvis-s1", "openjarvis-s2"]
    assert adds_up(report)
    assert import_openjarvis(store, handwritten()).imported == 0


@pytest.mark.parametrize(
    ("user", "kept"),
    [(7, "7"), ("al\nice", "al ice"), (b"alice", "alice"), ("a" * 600, None), ("discord:guild/thread", "discord:guild/thread")],
)
def test_odd_people_are_kept_under_a_name_that_can_be_one(
    store: sojourn.Store, handwritten: Handwritten, user: object, kept: str | None
) -> None:
    report = import_openjarvis(store, handwritten("python", sessions=[session(user=user)]))

    (talk,) = store.conversations.list()
    assert kept in (None, talk.identity.user_id)
    assert len(talk.identity.user_id) <= 512
    assert bool(report.notes) == (user not in (7, "discord:guild/thread"))
    assert store.conversations.get_or_create(talk.identity.user_id).identity.user_id == talk.identity.user_id


def test_a_session_without_times_takes_those_of_its_messages_or_of_the_import(
    store: sojourn.Store, handwritten: Handwritten, clock: ManualClock
) -> None:
    rows = [session("s1", created=None, active=None), session("s2", "bob", created=0, active="never")]
    path = handwritten("python", sessions=rows, session_messages=[message(1), message(9)])
    report = import_openjarvis(store, path)

    talk = alices(store)
    assert (talk.created_at, talk.last_activity_at) == (to_datetime(1794300001_000000), to_datetime(1794300009_000000))
    (bobs,) = store.conversations.list(user_id="bob")
    assert bobs.created_at == clock()
    assert len(notes(report)["s2"]) == 2
    clock.advance(timedelta(hours=1))
    assert import_openjarvis(store, path).imported == 0


def test_a_message_longer_than_the_limit_is_named_and_left_out(tmp_path: Path, handwritten: Handwritten) -> None:
    rows = [message(1), message(2, "x" * 2_000), message(3, metadata='{"a": "' + "x" * 2_000 + '"}'), message(4, b"y" * 2_000)]
    path = handwritten("python", sessions=[session()], session_messages=rows)
    policy = sojourn.ConversationPolicy(max_content=1_000)
    with sojourn.open("memory:", conversations=policy) as store:
        first, second = import_openjarvis(store, path), import_openjarvis(store, path)
        assert alices(store).message_count == 1

    for report, imported in ((first, 2), (second, 0)):
        assert [(item.row, "limit of 1,000" in item.reason) for item in report.skipped if item.reason.startswith("its")] == [
            ("id 2", True),
            ("id 3", True),
            ("id 4", True),
        ]
        assert report.imported == imported
        assert adds_up(report)


def test_tables_and_columns_of_a_later_release_are_named(store: sojourn.Store, handwritten: Handwritten) -> None:
    path = handwritten("python", sessions=[session()])
    with sqlite3.connect(path) as connection:
        connection.executescript("alter table sessions add column mood; create table moods (x)")
    connection.close()
    report = import_openjarvis(store, path)

    assert [(note.table, note.row) for note in report.notes] == [("moods", "all"), ("sessions", "mood")]


def test_a_source_without_ids_columns_or_index_is_read_all_the_same(store: sojourn.Store, tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    with sqlite3.connect(path) as connection:
        connection.executescript(
            "create table sessions (session_id, user_id);"
            "create table session_messages (session_id, role, content);"
            "insert into sessions values ('s1', 'alice'), ('s2', 'bob');"
            "insert into session_messages values ('s1', 'user', 'a'), ('s2', 'user', 'b'), ('s1', 'assistant', 'c');"
        )
    connection.close()
    import_openjarvis(store, path)

    assert [m.text for m in store.conversations.messages(alices(store).id)] == ["a", "c"]
