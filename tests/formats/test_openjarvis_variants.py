"""What the sample has none of, from databases written by hand: channel sessions, and the tables of the Rust program."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import sojourn
from sojourn.core.times import to_datetime
from sojourn.formats.openjarvis import import_openjarvis

if TYPE_CHECKING:
    from tests.formats.conftest import Handwritten

ALICE = "0a8e6b6c-0f6e-4a5e-9d44-0c8fd6e0a001"
BOB = "0a8e6b6c-0f6e-4a5e-9d44-0c8fd6e0a002"
HISTORY = [{"role": "user", "content": "Is the tap fixed?"}, {"role": "assistant", "content": "On Friday."}]


def only(store: sojourn.Store, user: str) -> sojourn.Conversation:
    (talk,) = store.conversations.list(user_id=user)
    return talk


def texts(store: sojourn.Store, talk: sojourn.Conversation) -> list[str]:
    return [message.text for message in store.conversations.messages(talk.id)]


# -- channel_sessions --------------------------------------------------------------------------------------------------


def channel_row(sender: str, channel: str, history: Any = HISTORY, **more: Any) -> tuple[Any, ...]:
    return (
        sender,
        channel,
        history if isinstance(history, str) else json.dumps(history),
        more.get("preferred"),
        more.get("pending"),
        more.get("created", "2026-11-10 08:00:00"),
        more.get("updated", "2026-11-10 09:30:00"),
    )


def test_a_channel_session_becomes_a_conversation_found_by_its_handle(store: sojourn.Store, handwritten: Handwritten) -> None:
    row = channel_row("+4670", "imessage", preferred="email", pending="and there is more")
    report = import_openjarvis(store, handwritten("channels", channel_sessions=[row]))

    assert report.tables["channel_sessions"].imported == report.rows_read == 1
    person = store.conversations.resolve("imessage", "+4670")
    assert person is not None
    talk = only(store, person)
    assert [(m.role, m.content, m.channel) for m in store.conversations.messages(talk.id)] == [
        (item["role"], item["content"], "imessage") for item in HISTORY
    ]
    assert talk.created_at == datetime(2026, 11, 10, 8, 0, tzinfo=UTC)
    assert talk.last_activity_at == talk.last_interaction_at == datetime(2026, 11, 10, 9, 30, tzinfo=UTC)
    assert talk.metadata == {
        "openjarvis": {
            "sender_id": "+4670",
            "channel_type": "imessage",
            "preferred_notification_channel": "email",
            "pending_response": "and there is more",
        }
    }
    found = store.conversations.list(channel="imessage")
    assert [talk.id for talk in found] == [only(store, person).id]
    again = import_openjarvis(store, handwritten())
    assert (again.imported, again.present) == (0, 1)


def test_a_channel_session_of_a_linked_handle_goes_to_the_person_the_source_names(
    store: sojourn.Store, handwritten: Handwritten
) -> None:
    path = handwritten(
        "python",
        "channels",
        sessions=[("s1", "alice", "Alice", '{"slack": "U1"}', 1794300000.0, 1794300000.0, "{}")],
        session_messages=[(1, "s1", "user", "Hello", "slack", 1794300000.0, "{}")],
        channel_sessions=[channel_row("U1", "slack"), channel_row("U2", "slack")],
    )
    import_openjarvis(store, path)

    talks = store.conversations.list(user_id="alice")
    assert [len(store.conversations.messages(talk.id)) for talk in talks] == [2, 1]
    assert talks.items[0].previous_id == talks.items[1].id
    stranger = store.conversations.resolve("slack", "U2")
    assert stranger not in (None, "alice", "U2")


def test_a_handle_that_somebody_holds_here_gives_nobody_a_strangers_thread(
    store: sojourn.Store, handwritten: Handwritten
) -> None:
    bob = store.conversations.get_or_create("bob", channel="slack", channel_user_id="U1")
    path = handwritten("channels", channel_sessions=[channel_row("U1", "slack")])
    report = import_openjarvis(store, path)

    assert store.conversations.resolve("slack", "U1") == "bob"
    assert [talk.id for talk in store.conversations.list(user_id="bob")] == [bob.id]
    (note,) = report.notes
    assert "held by somebody else here" in note.text
    assert note.row.endswith(": bob")
    (other,) = [talk for talk in store.conversations.list() if talk.id != bob.id]
    assert other.metadata["openjarvis"]["unlinked"] == [["slack", "U1"]]
    assert import_openjarvis(store, path).imported == 0


def test_an_expired_channel_session_is_kept_for_its_preference(store: sojourn.Store, handwritten: Handwritten) -> None:
    row = channel_row("U1", "slack", "[]", preferred="email")
    import_openjarvis(store, handwritten("channels", channel_sessions=[row]))

    (talk,) = store.conversations.list()
    assert talk.message_count == 0
    assert talk.metadata["openjarvis"]["preferred_notification_channel"] == "email"


def test_a_history_that_cannot_be_read_is_kept_as_text(store: sojourn.Store, handwritten: Handwritten) -> None:
    rows = [
        channel_row("U1", "slack", '[{"role": "user", "content": "cut of'),
        channel_row("U2", "slack", '{"role": "user"}'),
        channel_row("U3", "slack", ["bare text", {"content": "no role", "tone": 3}, {"role": "user", "content": ["a", "b"]}]),
        channel_row("U4", "slack", [{"role": "user", "content": {"x": 1}}, {"role": "assistant", "content": None}]),
        channel_row("U5", "slack", '[{"role": "user", "content": "half \\ud800 a pair"}]'),
    ]
    report = import_openjarvis(store, handwritten("channels", channel_sessions=rows))

    def of(handle: str) -> sojourn.Conversation:
        return only(store, store.conversations.resolve("slack", handle) or "")

    assert of("U1").metadata["openjarvis"]["conversation_history"] == rows[0][2]
    assert of("U2").metadata["openjarvis"]["conversation_history"] == rows[1][2]
    assert of("U5").metadata["openjarvis"]["conversation_history"] == rows[4][2]
    bare, tone, parts = store.conversations.messages(of("U3").id)
    assert (bare.role, bare.content) == ("unknown", "bare text")
    assert (tone.content, tone.metadata["openjarvis"]["tone"]) == ("no role", 3)
    assert (parts.content, parts.text) == (["a", "b"], "a\nb")
    assert texts(store, of("U4")) == ['{"x":1}', ""]
    assert {note.row.split(",")[0] for note in report.notes} == {"slack U1", "slack U2", "slack U3", "slack U4", "slack U5"}
    assert report.tables["channel_sessions"].imported == 5


# -- the Rust program --------------------------------------------------------------------------------------------------


def rust_rows() -> dict[str, list[tuple[Any, ...]]]:
    return {
        "sessions": [
            (ALICE, "alice", "Alice", 1794300000.0, 1794300400.0, '{"plan": "pro"}'),
            (BOB, "bob", "Bob", 1794300100.0, 1794300100.0, "{}"),
        ],
        "session_messages": [
            (3, ALICE, "user", "one", "slack", 1794300200.0, '{"n": 1}'),
            (4, ALICE, "assistant", "two", "slack", 1794300200.0, "{}"),
            (5, ALICE, "user", "three", "discord", 1794300100.0, "{}"),
            (6, ALICE, "system", "[consolidated 7 earlier messages]", "", 1794300300.0, "{}"),
            (7, ALICE, "assistant", "four", "discord", 1794300400.0, "{}"),
        ],
        "channel_links": [(ALICE, "slack", "U1"), (ALICE, "discord", "D1"), (ALICE, "slack", "U9"), (BOB, "", "")],
        "session_checkpoints": [
            ("c1", ALICE, "start", 0, 1794300150.0),
            ("c2", ALICE, "after two", 2, 1794300250.0),
            ("c3", ALICE, "after the summary", 4, 1794300350.0),
            ("c4", ALICE, "end", 99, 1794300450.0),
            ("c5", ALICE, "end", 5, 1794300460.0),
            ("c6", "gone", "lost", 1, 1794300460.0),
        ],
    }


def test_the_rust_variant_is_told_apart_by_its_columns(store: sojourn.Store, handwritten: Handwritten) -> None:
    report = import_openjarvis(store, handwritten("rust", **rust_rows()))

    alice = only(store, "alice")
    assert alice.metadata == {"plan": "pro", "openjarvis": {"session_id": ALICE, "unlinked": [["slack", "U1"]]}}
    assert alice.identity.channel_ids == {"slack": "U9", "discord": "D1"}
    found = store.conversations.messages(alice.id)
    assert [message.text for message in found] == ["[consolidated 7 earlier messages]", "one", "two", "three", "four"]
    assert [message.summary for message in found] == [True, False, False, False, False]
    assert found[1].metadata == {"n": 1}
    assert only(store, "bob").identity.channel_ids == {}
    for counts in report.tables.values():
        assert counts.read == counts.imported + counts.skipped
    assert report.rows_read == report.imported + sum(item.rows for item in report.skipped)


def test_links_that_are_not_made_are_named_with_their_reason(store: sojourn.Store, handwritten: Handwritten) -> None:
    report = import_openjarvis(store, handwritten("rust", **rust_rows()))

    assert {(item.table, item.row.split(",")[0], item.reason) for item in report.skipped} == {
        ("channel_links", "row 1", "the person has a newer handle in this channel: not linked"),
        ("channel_links", "row 4", "it names no channel or no handle"),
        ("session_checkpoints", "row 6", "its session is not there"),
    }
    assert store.conversations.resolve("slack", "U1") is None
    assert store.conversations.resolve("slack", "U9") == "alice"


def test_checkpoints_stand_behind_the_messages_they_count(store: sojourn.Store, handwritten: Handwritten) -> None:
    report = import_openjarvis(store, handwritten("rust", **rust_rows()))

    alice = only(store, "alice").id
    found = store.conversations.checkpoints(alice)
    assert [(mark.label, mark.sequence) for mark in found] == [
        ("start", 0),
        ("after two", 3),
        ("after the summary", 4),
        ("end", 5),
        ("end (again)", 5),
    ]
    assert found[1].created_at == to_datetime(1794300250_000000)
    assert any(note.table == "session_checkpoints" and note.row == "row 4" for note in report.notes)
    store.conversations.rewind(alice, "after two")
    assert texts(store, only(store, "alice"))[1:] == ["one", "two"]


def test_a_second_import_of_the_rust_variant_stores_nothing(store: sojourn.Store, handwritten: Handwritten) -> None:
    path = handwritten("rust", **rust_rows())
    import_openjarvis(store, path)
    before = list(store.export())

    again = import_openjarvis(store, path)
    assert again.imported == 0
    assert again.rows_read == sum(item.rows for item in again.skipped)
    assert list(store.export()) == before


def test_links_and_checkpoints_of_a_recovered_conversation_are_kept(store: sojourn.Store, handwritten: Handwritten) -> None:
    rows = rust_rows()
    rows["sessions"] = []
    report = import_openjarvis(store, handwritten("rust", **rows))

    person = store.conversations.resolve("slack", "U9")
    assert person == f"openjarvis-{ALICE}"
    assert len(store.conversations.checkpoints(only(store, person).id)) == 5
    assert report.tables["session_messages"].imported == 5
