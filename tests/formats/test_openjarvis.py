"""What becomes of the database that OpenJarvis wrote itself (``expected.json`` says what must come out)."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import sojourn
from sojourn.core.times import to_datetime
from sojourn.formats.openjarvis import aimport_openjarvis, import_openjarvis
from sojourn.testing.clocks import ManualClock

EXPECTED: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "openjarvis" / "expected.json").read_text("utf-8"))
PEOPLE: dict[str, dict[str, Any]] = EXPECTED["users"]


def of_session(store: sojourn.Store, user: str, session: str) -> sojourn.Conversation:
    (found,) = [
        talk
        for talk in store.conversations.list(user_id=user, active_only=False)
        if talk.metadata["openjarvis"]["session_id"] == session
    ]
    return found


def kept_messages(path: Path, session: str) -> list[tuple[str, str, str, float, dict[str, Any]]]:
    """What the source has of a session, by id."""
    with sqlite3.connect(path) as connection:
        rows = connection.execute(
            "select role, content, channel, timestamp, metadata from session_messages where session_id = ? order by id",
            (session,),
        ).fetchall()
    connection.close()
    return [(*row[:4], json.loads(row[4])) for row in rows]


def is_summary(content: str) -> bool:
    return content.startswith("Session history summary:")


def test_every_row_is_imported(store: sojourn.Store, sample: Path) -> None:
    report = import_openjarvis(store, sample)

    assert {name: (counts.read, counts.imported, counts.skipped) for name, counts in report.tables.items()} == {
        "sessions": (EXPECTED["sessions"], EXPECTED["sessions"], 0),
        "session_messages": (EXPECTED["messages"], EXPECTED["messages"], 0),
    }
    assert report.skipped == []
    assert report.rows_read == report.imported


def test_everybody_has_their_conversation_with_its_messages_and_channels(store: sojourn.Store, sample: Path) -> None:
    import_openjarvis(store, sample)

    for user, expected in PEOPLE.items():
        talk = of_session(store, user, expected["session_id"])
        assert talk.identity.channel_ids == expected["channels"]
        assert len(store.conversations.messages(talk.id)) == expected["stored"]
        for channel, handle in expected["channels"].items():
            assert store.conversations.resolve(channel, handle) == user


@pytest.mark.parametrize("user", ["bob", "lena", "zoë"])
def test_messages_keep_their_order_times_and_metadata_behind_the_summaries(
    store: sojourn.Store, sample: Path, user: str
) -> None:
    import_openjarvis(store, sample)

    source = kept_messages(sample, PEOPLE[user]["session_id"])
    wanted = sorted(source, key=lambda row: not is_summary(row[1]))  # stable: all else stays in order
    found = store.conversations.messages(of_session(store, user, PEOPLE[user]["session_id"]).id)
    assert [(message.role, message.content, message.channel) for message in found] == [row[:3] for row in wanted]
    assert [message.created_at for message in found] == [to_datetime(round(row[3] * 1_000_000)) for row in wanted]
    assert [message.summary for message in found] == [is_summary(row[1]) for row in wanted]
    assert [message.metadata for message in found if not message.summary] == [
        row[4] for row in wanted if not is_summary(row[1])
    ]


def test_a_summary_stands_before_everything_that_was_kept(store: sojourn.Store, sample: Path) -> None:
    import_openjarvis(store, sample)

    talk = of_session(store, "bob", PEOPLE["bob"]["session_id"])
    first, second, *others = store.conversations.messages(talk.id)
    assert (first.summary, second.summary, any(message.summary for message in others)) == (True, True, False)
    assert first.metadata == {"carried_from": "openjarvis:d84edeabc2cd4407", "openjarvis": {"id": 262}}
    assert talk.message_count == len(others)
    window = store.conversations.window(talk.id, budget=400)
    assert window[0].summary
    assert window[-1] == others[-1]


def test_times_of_a_conversation_are_those_of_its_session(store: sojourn.Store, sample: Path) -> None:
    import_openjarvis(store, sample)

    talk = of_session(store, "alice", "75e48f9460d549f2")
    assert talk.created_at == to_datetime(1794376331501931)
    assert talk.last_activity_at == to_datetime(1794378841782566)
    assert talk.last_interaction_at is not None
    assert talk.last_interaction_at <= talk.last_activity_at
    ids = [talk.id for talk in store.conversations.list(order="created", limit=100)]
    assert ids == sorted(ids, reverse=True)


def test_the_newest_session_is_the_current_conversation(store: sojourn.Store, sample: Path, clock: ManualClock) -> None:
    import_openjarvis(store, sample)
    newer = of_session(store, "alice", PEOPLE["alice"]["newer_session_id"])

    clock.set(newer.last_activity_at + timedelta(hours=1))
    assert store.conversations.get_or_create("alice").id == newer.id
    assert newer.previous_id == of_session(store, "alice", PEOPLE["alice"]["session_id"]).id
    assert newer.identity.channel_ids == {"web": "w1000"}
    assert store.conversations.get_or_create(channel="web", channel_user_id="w1000").id == newer.id


def test_orphans_are_kept_in_a_recovered_conversation_and_reported(store: sojourn.Store, sample: Path) -> None:
    report = import_openjarvis(store, sample)

    (note,) = report.notes
    assert (note.table, note.row) == ("session_messages", "of session deadbeefdeadbeef")
    assert "recovered" in note.text
    talk = of_session(store, "openjarvis-deadbeefdeadbeef", "deadbeefdeadbeef")
    assert talk.title == "Recovered from session deadbeefdeadbeef"
    found = store.conversations.messages(talk.id)
    assert [message.content for message in found] == [row[1] for row in kept_messages(sample, "deadbeefdeadbeef")]


def test_search_finds_what_was_imported_before_and_after_it_is_indexed(store: sojourn.Store, sample: Path) -> None:
    import_openjarvis(store, sample)

    def sent() -> int:
        return len(store.conversations.search("garden sensor", user_id="bob", limit=100))

    wanted = sum("garden sensor" in row[1].lower() for row in kept_messages(sample, PEOPLE["bob"]["session_id"]))
    assert sent() == wanted
    while store.sweep()["indexed"]:
        continue
    assert sent() == wanted


def test_imported_conversations_are_listed_until_they_decay(store: sojourn.Store, sample: Path, clock: ManualClock) -> None:
    clock.set(datetime(2026, 11, 12, tzinfo=UTC))
    import_openjarvis(store, sample)
    listed = {talk.id for talk in store.conversations.list(limit=100)}
    assert len(listed) == EXPECTED["sessions"] + 1

    clock.set(datetime(2026, 11, 13, 23, 0, tzinfo=UTC))
    archived = store.conversations.decay()
    left = store.conversations.list(limit=100)
    assert archived + len(left) == len(listed)
    day = timedelta(hours=24)
    assert {talk.identity.user_id for talk in left} == {"zoë", "alice", "openjarvis-deadbeefdeadbeef"}
    assert all(clock() - (talk.last_interaction_at or talk.created_at) < day for talk in left)


def test_an_imported_conversation_past_its_age_is_superseded_with_its_summary(
    store: sojourn.Store, sample: Path, clock: ManualClock
) -> None:
    import_openjarvis(store, sample)
    clock.set(datetime(2026, 12, 1, tzinfo=UTC))
    old = of_session(store, "bob", PEOPLE["bob"]["session_id"])

    new = store.conversations.get_or_create("bob")
    assert new.previous_id == old.id
    assert new.identity == old.identity
    assert new.messages[0].summary


def test_a_second_import_stores_nothing_and_says_why(store: sojourn.Store, sample: Path) -> None:
    first = import_openjarvis(store, sample)
    before = list(store.export())

    second = import_openjarvis(store, sample)
    assert list(store.export()) == before
    assert second.imported == 0
    assert second.present == second.rows_read == first.rows_read
    assert all(counts.read == counts.skipped for counts in second.tables.values())


def test_a_dry_run_says_the_same_and_stores_nothing(store: sojourn.Store, sample: Path) -> None:
    dry = import_openjarvis(store, sample, dry_run=True)
    assert len(store.conversations.list()) == 0
    assert store.conversations.resolve("web", "w1000") is None

    report = import_openjarvis(store, sample)
    assert dry.tables == report.tables
    assert dry.notes == report.notes


def test_the_source_is_not_touched(store: sojourn.Store, sample: Path) -> None:
    before = hashlib.sha256(sample.read_bytes()).digest(), sample.stat()

    import_openjarvis(store, sample)
    assert hashlib.sha256(sample.read_bytes()).digest() == before[0]
    assert sample.stat().st_mtime_ns == before[1].st_mtime_ns
    assert [path.name for path in sample.parent.iterdir()] == ["sessions.db"]


def test_a_directory_stands_for_its_sessions_db(store: sojourn.Store, sample: Path) -> None:
    assert import_openjarvis(store, sample.parent).imported == EXPECTED["sessions"] + EXPECTED["messages"]


def test_progress_is_told_up_to_the_last_row(store: sojourn.Store, sample: Path) -> None:
    told: list[tuple[int, int]] = []
    report = import_openjarvis(store, sample, progress=lambda done, total: told.append((done, total)))

    assert told == sorted(told)
    assert {total for _, total in told} == {report.rows_read}
    assert told[-1][0] == report.rows_read


def test_a_report_is_text_and_json(store: sojourn.Store, sample: Path) -> None:
    report = import_openjarvis(store, sample)

    document = json.loads(json.dumps(report.document()))
    assert document["tables"]["sessions"] == {"read": 27, "imported": 27, "skipped": 0}
    assert document["format"] == "openjarvis"
    lines = report.lines()
    assert "1,351 imported" in lines[1]
    assert "deadbeefdeadbeef" in lines[-1]
    assert any("1,351 x present" in line for line in import_openjarvis(store, sample).lines())


@pytest.mark.parametrize("url", ["memory:", "sqlite:///{}"])
def test_an_asynchronous_store_imports_the_same(sample: Path, tmp_path: Path, url: str) -> None:
    async def run() -> tuple[int, int, list[str]]:
        async with sojourn.aopen(url.format(tmp_path / "async.db")) as store:
            first = await aimport_openjarvis(store, sample)
            second = await aimport_openjarvis(store, sample)
            page = await store.conversations.list(limit=100)
            return first.imported, second.imported, [talk.id for talk in page]

    first, second, ids = asyncio.run(run())
    assert (first, second) == (EXPECTED["sessions"] + EXPECTED["messages"], 0)
    with sojourn.open("memory:") as store:
        import_openjarvis(store, sample)
        assert {talk.id for talk in store.conversations.list(limit=100)} == set(ids)


def test_a_tenant_has_ids_of_its_own(store: sojourn.Store, sample: Path) -> None:
    other = store.for_tenant("other")
    import_openjarvis(store, sample)
    assert import_openjarvis(other, sample).present == 0
    assert len(other.conversations.list(limit=100)) == len(store.conversations.list(limit=100))
