"""Events: numbered in commit order without gaps, so that no watcher misses a late one; and sessions that make none yet."""

from __future__ import annotations

import pytest

from sojourn.core.batch import Create, Deadline, Delete, Lend, Point, Redact, Touch, Write
from sojourn.core.query import READABLE_STATES, EntryQuery, SessionQuery
from sojourn.core.session import EventRow
from sojourn.core.times import SECOND
from sojourn.errors import InvalidCursorError
from sojourn.testing.conformance.lab import KIND, TENANT, Lab, alias, at_version, lines

CALLERS = 8


class Events:
    """What watchers are promised."""

    async def test_events(self, lab: Lab) -> None:
        """Every commit makes one event for each session it changed, with what changed and where, and no content."""
        start = await lab.engine.tip()
        one = await lab.create("a", kind="note")
        two = await lab.create(kind="task")
        now = lab.later(seconds=1)
        await lab.done(
            Write(one, entries=lines("b", "c"), change="said", reason="why"), Write(two, state="ended", change="ended")
        )
        await lab.done(Redact(one, (1, 2)))
        await lab.done(Delete(two))
        events = await lab.events(start)
        assert [_short(event) for event in events] == [
            (one, "note", "created", 1, 1, 1),
            (two, "task", "created", 1, 0, 0),
            (one, "note", "said", 2, 2, 3),
            (two, "task", "ended", 2, 0, 0),
            (one, "note", "redacted", 3, 1, 2),
            (two, "task", "deleted", 3, 0, 0),
        ]
        assert [event.at for event in events[2:]] == [now] * 4
        assert [event.reason for event in events] == ["", "", "why", "", "", ""]
        assert _without_gaps(events, start)

    async def test_events_come_from_what_moves_a_version_only(self, lab: Lab) -> None:
        """Refusals, replays, touches, names and leases make none."""
        made = await lab.create()
        await lab.commit(Write(made, add=(("n", 1),)), operation="k")
        tip = await lab.engine.tip()
        await lab.refused(Write(made, guard=at_version(9)))
        assert (await lab.commit(Write(made, add=(("n", 1),)), operation="k")).replayed
        await lab.done(Touch(made), Point(alias("a"), made, 0), Lend("lock", "ann", SECOND))
        assert await lab.engine.tip() == tip
        assert await lab.events(tip) == []

    async def test_events_raced(self, lab: Lab) -> None:
        """Many commit at once while others watch: every watcher sees every event once, in the order of the numbers."""
        start = await lab.engine.tip()
        made = [await lab.create() for _ in range(CALLERS)]
        total = CALLERS + CALLERS * 10

        async def write(session: str) -> None:
            for _ in range(10):
                await lab.append(session, "x")

        async def watch() -> list[EventRow]:
            seen: list[EventRow] = []
            cursor = start
            while len(seen) < total:
                assert await lab.engine.changed(cursor, 30) == "now"
                page = await lab.engine.events(TENANT, cursor, 7)
                assert not page.gap
                seen.extend(page.events)
                cursor = page.cursor
            return seen

        writers = [lambda s=session: write(s) for session in made]
        watched = (await lab.together(watch, watch, *writers))[:2]
        stored = await lab.events(start)
        assert watched == [stored, stored]
        assert _without_gaps(stored, start)
        for session in made:
            assert [event.version for event in stored if event.session == session] == list(range(1, 12))

    async def test_events_are_read_in_pages(self, lab: Lab) -> None:
        """A page continues where the one before ended, whatever its size; an empty one stays where it is."""
        start = await lab.engine.tip()
        for _ in range(5):
            await lab.create()
        whole = await lab.events(start)
        for size in (1, 2, 5):
            cursor = start
            seen: list[EventRow] = []
            while page := (await lab.engine.events(TENANT, cursor, size)).events:
                seen.extend(page)
                cursor = (await lab.engine.events(TENANT, cursor, size)).cursor
            assert seen == whole
            assert cursor == await lab.engine.tip()

    async def test_events_by_kind_and_session(self, lab: Lab) -> None:
        """A watcher of one kind, session or tenant passes over the others, and its cursor with them."""
        start = await lab.engine.tip()
        one, two = await lab.create(kind="a"), await lab.create(kind="b")
        await lab.create(tenant="other", kind="a")
        await lab.done(Write(one), Write(two))
        assert [event.session for event in await lab.events(start, kind="a")] == [one, one]
        assert [event.session for event in await lab.events(start, session=two)] == [two, two]
        assert await lab.events(start, kind="a", session=two) == []
        page = await lab.engine.events(TENANT, start, 10, kind="none")
        assert (page.events, page.cursor, page.gap) == ([], await lab.engine.tip(), False)

    async def test_events_of_one_session_are_its_history(self, lab: Lab) -> None:
        """The newest events of a session, oldest first, among however many of others; what was purged is missing."""
        made = await lab.create()
        for turn in range(5):
            await lab.create()
            await lab.append(made, "x", change=f"said {turn}")
        whole = await lab.events(lab.start, session=made)
        assert [event.change for event in whole] == ["created", *(f"said {turn}" for turn in range(5))]
        for limit in (1, 3, 6, 50):
            assert await lab.engine.history(TENANT, made, limit) == whole[-limit:]
        assert await lab.engine.history("other", made, 9) == []
        assert await lab.engine.history(TENANT, lab.new_id(), 9) == []
        lab.later(days=8)
        await lab.append(made, "x")
        await lab.purge_all()
        assert [event.version for event in await lab.engine.history(TENANT, made, 9)] == [7]
        await lab.done(Delete(made))
        assert await lab.engine.history(TENANT, made, 9) == []

    async def test_events_are_watched_beside_the_caller(self, lab: Lab) -> None:
        """What an engine spawns runs beside the caller, and joining it waits for it and raises what it raised."""
        tip = await lab.engine.tip()
        seen: list[str] = []

        async def watch() -> None:
            seen.append(await lab.engine.changed(tip, 30))
            raise LookupError("seen")

        beside = lab.engine.spawn(watch)
        await lab.create()
        try:
            await beside.join()
        except LookupError:
            seen.append("raised")
        assert seen == ["now", "raised"]

    async def test_events_wake_a_watcher(self, lab: Lab) -> None:
        """Who waits is woken by a commit; who asks late is answered at once; without commits the time passes."""
        tip = await lab.engine.tip()
        assert await lab.engine.changed(tip, 0) == "timeout"

        async def watch() -> str:
            return await lab.engine.changed(tip, 30)

        async def write() -> str:
            return await lab.create()

        assert (await lab.together(watch, watch, write))[:2] == ["now", "now"]
        assert await lab.engine.changed(tip, 0) == "now"
        assert await lab.engine.changed(await lab.engine.tip(), 0.001) == "timeout"

    async def test_events_of_another_engine_wake_a_watcher(self, lab: Lab) -> None:
        """Commits that come through another engine on the same place are seen."""
        other = await lab.another()
        tip = await other.tip()

        async def watch() -> str:
            return await other.changed(tip, 30)

        async def write() -> str:
            return await lab.create()

        assert (await lab.together(watch, write))[0] == "now"
        assert [event.change for event in (await other.events(TENANT, tip, 10)).events] == ["created"]

    async def test_events_gap(self, lab: Lab) -> None:
        """Events are kept for seven days; who comes with an older cursor is told that some are gone."""
        start = await lab.engine.tip()
        await lab.create()
        lab.later(days=3)
        middle = await lab.engine.tip()
        await lab.create()
        lab.later(days=4, seconds=1)
        await lab.create()
        await lab.purge_all()
        page = await lab.engine.events(TENANT, start, 10)
        assert page.gap
        assert [event.version for event in page.events] == [1, 1]
        page = await lab.engine.events(TENANT, middle, 10)
        assert (page.gap, len(page.events), page.cursor) == (False, 2, await lab.engine.tip())

    async def test_events_gap_when_none_are_left(self, lab: Lab) -> None:
        """Numbers go on from where they were, and who has seen the last event misses nothing."""
        start = await lab.engine.tip()
        for _ in range(3):
            await lab.create()
        tip = await lab.engine.tip()
        lab.later(days=8)
        await lab.purge_all()
        assert await lab.engine.tip() == tip
        assert (await lab.engine.events(TENANT, start, 10)).gap
        assert not (await lab.engine.events(TENANT, tip, 10)).gap
        await lab.create()
        assert _without_gaps(await lab.events(tip), tip)

    async def test_events_gap_of_a_cursor_from_the_future(self, lab: Lab) -> None:
        """A cursor that this store never gave (of one that was lost, say) is a gap, and starts anew."""
        await lab.create()
        ahead = tuple(number + 5 for number in await lab.engine.tip())
        page = await lab.engine.events(TENANT, ahead, 10)
        assert (page.gap, len(page.events), page.cursor) == (True, 1, await lab.engine.tip())

    async def test_events_gap_never_hides_between_two_events(self, lab: Lab) -> None:
        """Purging takes the oldest only, also when the clock has gone back: whoever is told no gap sees every event."""
        start = await lab.engine.tip()
        made = await lab.create()
        lab.later(days=10)
        await lab.done(Write(made))
        lab.later(days=-10)
        await lab.create()
        lab.later(days=8)
        cursors = [start, *[(await lab.engine.events(TENANT, start, size)).cursor for size in (1, 2)]]
        await lab.purge_all()
        tip = await lab.engine.tip()
        for cursor in cursors:
            page = await lab.engine.events(TENANT, cursor, 10)
            assert page.gap or len(page.events) == sum(tip) - sum(cursor)

    async def test_events_cursor(self, lab: Lab) -> None:
        """A cursor of another store's shape is refused, whoever asks; the beginning is as many noughts as tip has numbers."""
        made = await lab.create()
        shards = len(await lab.engine.tip())
        for cursor in ((), (0,) * (shards + 1), (0,) * (shards * 2)):
            with pytest.raises(InvalidCursorError):
                await lab.engine.events(TENANT, cursor, 10)
            with pytest.raises(InvalidCursorError):
                await lab.engine.changed(cursor, 0)
        page = await lab.engine.events(TENANT, (0,) * shards, 10)
        assert [event.session for event in page.events] == [made]

    async def test_events_come_in_commit_order_per_session(self, lab: Lab) -> None:
        """Of sessions in many homes, at times that go back, every page has each session's events in the order of commit."""
        start = await lab.engine.tip()
        homes = [f"home {number}" for number in range(12)]
        made = {home: await lab.create(home=home) for home in homes}
        for turn in range(4):
            lab.later(seconds=-7 if turn % 2 else 3)
            for home, session in made.items():
                await lab.done(Write(session), home=home)
        for size in (1, 7, 1000):
            seen: dict[str, list[int]] = {}
            cursor = start
            while True:
                page = await lab.engine.events(TENANT, cursor, size)
                for event in page.events:
                    seen.setdefault(event.session, []).append(event.version)
                if page.cursor == cursor:
                    break
                cursor = page.cursor
            assert seen == {session: [1, 2, 3, 4, 5] for session in made.values()}

    async def test_events_of_one_session_wake_who_watches_it(self, lab: Lab) -> None:
        """Watching one session's events: they are found, the cursor passes what was looked at, and a commit of it wakes."""
        made = await lab.create()
        others = [await lab.create(home=f"home {number}") for number in range(6)]
        page = await lab.engine.events(TENANT, lab.start, 50, session=made)
        assert [event.session for event in page.events] == [made]
        again = await lab.engine.events(TENANT, page.cursor, 50, session=made)
        assert (again.events, again.gap) == ([], False)
        cursor = again.cursor

        async def watch() -> str:
            return await lab.engine.changed(cursor, 30, session=made)

        async def write() -> str:
            await lab.append(made, "x")
            return ""

        assert (await lab.together(watch, write))[0] == "now"
        assert await lab.engine.changed(cursor, 0, session=made) == "now"
        assert [event.version for event in (await lab.engine.events(TENANT, cursor, 50, session=made)).events] == [2]
        seen = await lab.events(lab.start)
        assert sorted(event.session for event in seen if event.session != made) == sorted(others)

    # -- pending ---------------------------------------------------------------------------------------------------

    async def test_pending(self, lab: Lab) -> None:
        """Who knows a pending session can load and write it; no list, count, deadline or event shows it."""
        start = await lab.engine.tip()
        made = await lab.create("a", state="pending", owner="ann", tags=("red",), deadline=Deadline(after=0))
        await lab.append(made, "b", active=1)
        assert (await lab.session(made)).state == "pending"
        assert await lab.texts(made) == ["a", "b"]
        assert not await _listed(lab)
        assert await lab.engine.count(TENANT, KIND, tag="red") == 0
        assert await lab.engine.due(TENANT, 10) == []
        assert await lab.engine.tip() == start

    async def test_pending_until_activated(self, lab: Lab) -> None:
        """Activating makes the one event, as created and of all entries so far, and shows the session everywhere."""
        start = await lab.engine.tip()
        made = await lab.create("a", state="pending", owner="ann", tags=("red",), deadline=Deadline(after=0))
        await lab.done(Write(made, state="active", change="whatever"))
        assert [_short(event) for event in await lab.events(start)] == [(made, KIND, "created", 2, 1, 1)]
        assert await _listed(lab)
        assert await lab.engine.count(TENANT, KIND, tag="red") == 1
        assert [found.id for found in await lab.engine.due(TENANT, 10)] == [made]

    async def test_pending_sessions_may_go_without_a_trace(self, lab: Lab) -> None:
        """One that is redacted or deleted before it is activated makes no event either."""
        start = await lab.engine.tip()
        made = await lab.create("a", state="pending")
        await lab.done(Redact(made, (1,)))
        assert await lab.texts(made) == [None]
        await lab.done(Delete(made))
        assert await lab.gone(made)
        assert await lab.events(start) == []
        assert await lab.engine.tip() == start

    async def test_pending_in_the_batch_that_activates_it(self, lab: Lab) -> None:
        """Made and activated in one commit, it is created once."""
        start = await lab.engine.tip()
        made = lab.new_id()
        await lab.done(Create(made, KIND, state="pending", entries=lines("a")), Write(made, state="active"))
        assert [event.change for event in await lab.events(start)] == ["created"]
        assert len((await lab.engine.load(TENANT, made, EntryQuery())).entries) == 1


def _short(event: EventRow) -> tuple[str, str, str, int, int, int]:
    return event.session, event.kind, event.change, event.version, event.first, event.last


def _without_gaps(events: list[EventRow], behind: tuple[int, ...]) -> bool:
    """Whether the events of each shard are numbered one by one behind a cursor."""
    last = list(behind)
    for event in events:
        last[event.shard] += 1
        if event.number != last[event.shard]:
            return False
    return True


async def _listed(lab: Lab) -> bool:
    queries = (
        SessionQuery(TENANT, (KIND,), READABLE_STATES),
        SessionQuery(TENANT, (KIND,), READABLE_STATES, owner="ann", order="created"),
        SessionQuery(TENANT, (KIND,), READABLE_STATES, tag="red", order="idle"),
    )
    shown = [bool(await lab.engine.list(query)) for query in queries]
    assert len(set(shown)) == 1
    return shown[0]
