"""Watching: committed changes in commit order, none missed, from a cursor that goes on anywhere."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from sojourn import Event, InvalidCursorError, InvalidValueError

if TYPE_CHECKING:
    from tests.conversations.conftest import Lab

NOW = timedelta(0)
LONG = timedelta(seconds=30)


async def test_a_watcher_sees_what_is_committed_from_now_on(lab: Lab) -> None:
    made = await lab.talk("before")
    watch = lab.store.watch(timeout=NOW)
    first: list[Event] = [event async for event in watch]
    assert first == []
    after = (await lab.events())[-1].cursor
    await lab.talks.append(made, "user", "hello")
    await lab.talks.end(made, reason="done")
    events = [event async for event in lab.store.watch(after=after, timeout=NOW)]
    assert [(event.id, event.kind, event.change) for event in events] == [
        (made, "conversation", "appended"), (made, "conversation", "ended"),
    ]  # fmt: skip
    assert [event.sequences for event in events] == [(2, 2), None]
    assert (events[1].reason, events[1].at) == ("done", lab.clock())
    assert events[1].version == events[0].version + 1


async def test_a_watcher_goes_on_behind_a_cursor(lab: Lab) -> None:
    made = await lab.talk()
    for number in range(5):
        await lab.talks.append(made, "user", f"{number}")
    events = await lab.events()
    for place, event in enumerate(events):
        rest = [later async for later in lab.store.watch(after=event.cursor, timeout=NOW)]
        assert rest == events[place + 1 :]


async def test_events_of_one_commit_each_have_a_cursor_of_their_own(lab: Lab) -> None:
    await lab.talk()
    await lab.talks.create("ann")
    events = await lab.events()
    assert len({event.cursor for event in events}) == len(events)


async def test_a_watcher_may_follow_one_conversation_or_one_kind(lab: Lab) -> None:
    one, two = await lab.talk(user="ann"), await lab.talk(user="bob")
    await lab.talks.append(one, "user", "x")
    await lab.talks.append(two, "user", "x")
    assert {event.id for event in await lab.events(id=one)} == {one}
    assert {event.id for event in await lab.events(kind="conversation")} == {one, two}
    assert await lab.events(kind="login") == []
    with pytest.raises(InvalidValueError):
        lab.store.watch(kind="gossip")


async def test_events_carry_no_content(lab: Lab) -> None:
    made = await lab.talk("my secret", title="my secret", metadata={"a": "my secret"})
    await lab.talks.link_channel(made, "telegram", "my secret")
    await lab.talks.update(made, title="my secret too")
    assert "my secret" not in repr(await lab.events())


async def test_every_change_makes_an_event_of_its_name(lab: Lab) -> None:
    made = await lab.long_talk(60)
    talks = lab.talks
    summary = await talks.consolidate(made)
    assert summary is not None
    await talks.expand(made, summary.sequence)
    await talks.hide(made, 1)
    await talks.unhide(made, 1)
    await talks.pop(made)
    await talks.rewind(made, 40)
    await talks.undo_rewind(made)
    await talks.checkpoint(made, "x")
    await talks.link_channel(made, "telegram", "t1")
    await talks.unlink_channel(made, "telegram")
    await talks.update(made, {"a": 1})
    await talks.redact(made, 1)
    await talks.fork(made)
    await talks.end(made)
    await talks.delete(made)
    changes = [event.change for event in await lab.events() if event.change != "window_changed"]
    assert changes == [
        "created", "appended", "folded", "unfolded", "hidden", "unhidden", "hidden", "rewound", "rewind_undone", "checkpoint",
        "linked", "unlinked", "updated", "redacted", "forked", "ended", "deleted",
    ]  # fmt: skip


@pytest.mark.parametrize("cursor", ["", "x", "!", 5, "\ud800", "WyJldmVudHMiXQ", "WyJldmVudHMiLC0xXQ", "WyJ4IiwxXQ"])
async def test_a_cursor_that_no_event_gave_is_invalid(lab: Lab, cursor: Any) -> None:
    with pytest.raises(InvalidCursorError):
        [event async for event in lab.store.watch(after=cursor, timeout=NOW)]


async def test_a_cursor_older_than_what_is_kept_says_gap(lab: Lab) -> None:
    made = await lab.talk("a")
    first = (await lab.events())[0].cursor
    lab.later(days=8)
    await lab.talks.create("bob")
    await lab.store.sweep()
    await lab.talks.append(made, "user", "b") if (await lab.talks.get(made)).state == "active" else None  # type: ignore[union-attr]
    lab.later(days=8)
    await lab.talks.create("cat")
    await lab.store.sweep()
    events = [event async for event in lab.store.watch(after=lab.beginning, timeout=NOW)]
    assert events[0].change == "gap"
    assert "gap" not in {event.change for event in events[1:]}
    again = [event async for event in lab.store.watch(after=events[0].cursor, timeout=NOW)]
    assert again == events[1:]
    assert first != events[0].cursor


async def test_a_cursor_from_before_the_store_was_set_back_says_gap(lab: Lab) -> None:
    from sojourn.shell.feed import cursor_text

    await lab.talk("a")
    events = [event async for event in lab.store.watch(after=cursor_text((999,) * lab.place.numbers), timeout=NOW)]
    assert events[0].change == "gap"


async def test_a_waiting_watcher_is_woken_by_a_commit(lab: Lab) -> None:
    made = await lab.talk()
    cursor = (await lab.events())[-1].cursor

    async def follow() -> list[str]:
        seen: list[str] = []
        async for event in lab.store.watch(id=made, after=cursor, timeout=LONG):
            seen.append(event.change)
            if event.change == "ended":
                break
        return seen

    async def commit() -> list[str]:
        for number in range(20):
            await lab.talks.append(made, "user", f"{number}")
        await lab.talks.end(made)
        return []

    seen, _ = await lab.together(follow, commit)
    assert seen == ["appended"] * 20 + ["ended"]


async def test_watchers_of_racing_writers_miss_nothing_and_see_it_once(lab: Lab) -> None:
    talks = [await lab.talk(user=f"user {number}") for number in range(4)]
    cursor = (await lab.events())[-1].cursor

    async def write(talk: str) -> list[tuple[str, int]]:
        return [(talk, (await lab.talks.append(talk, "user", f"{number}")).sequence) for number in range(25)]

    async def follow() -> list[tuple[str, int]]:
        seen: list[tuple[str, int]] = []
        async for event in lab.store.watch(after=cursor, timeout=LONG):
            assert event.sequences is not None
            seen.extend((event.id, number) for number in range(event.sequences[0], event.sequences[1] + 1))
            if len(seen) == 100:
                break
        return seen

    *written, one, two = await lab.together(*[partial(write, talk) for talk in talks], follow, follow)
    everything = sorted(row for rows in written for row in rows)
    assert sorted(one) == sorted(two) == everything
    for talk in talks:
        assert [number for name, number in one if name == talk] == list(range(1, 26))


async def test_a_watcher_ends_when_the_store_is_closed(lab: Lab) -> None:
    store = lab.open()
    if lab.blocking:
        begun = threading.Event()
        seen: list[Event] = []
        errors: list[BaseException] = []

        def follow() -> None:
            try:
                begun.set()
                seen.extend(store._inner.watch())  # type: ignore[attr-defined]
            except BaseException as error:  # shown by the test
                errors.append(error)

        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        assert begun.wait(30)
        await store.close()
        thread.join(30)
        assert (thread.is_alive(), seen, errors) == (False, [], [])
    else:

        async def watch() -> list[Event]:
            return [event async for event in store.watch()]

        task = asyncio.ensure_future(watch())
        await asyncio.sleep(0)
        await store.close()
        assert await asyncio.wait_for(task, 30) == []


async def test_a_watcher_of_a_store_that_is_closed_ends_at_once(lab: Lab) -> None:
    store = lab.open()
    watch = store.watch()
    await store.close()
    assert [event async for event in watch] == []


async def test_the_newest_events_of_one_session_are_kept_with_their_cursors(lab: Lab) -> None:
    made = await lab.talk()
    for number in range(6):
        await lab.talks.append(made, "user", f"{number}")
        await lab.talk(user=f"other {number}")
    events = await lab.store.sessions.events(made, limit=4)
    assert [event.sequences for event in events] == [(3, 3), (4, 4), (5, 5), (6, 6)]
    assert len(await lab.store.sessions.events(made)) == 7
    following = [event async for event in lab.store.watch(id=made, after=events[1].cursor, timeout=NOW)]
    assert following == events[2:]
    assert await lab.store.sessions.events("0" * 26) == []
