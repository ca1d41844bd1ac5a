"""Time: deadlines decided at the engine's time, touches, and a clock that never runs backwards within a session."""

from __future__ import annotations

from sojourn.core.batch import Create, Deadline, Delete, Guard, Point, Redact, Touch, Write
from sojourn.core.query import SessionQuery
from sojourn.core.times import DAY, MINUTE, SECOND, to_micros
from sojourn.testing.clocks import START
from sojourn.testing.conformance.lab import KIND, TENANT, Lab, alias, lines

NOW = to_micros(START)

TIMELY = Guard(timely=True)
DUE = Guard(due=True)


class Times:
    """What deadlines, touches and the engine's time promise."""

    # -- deadlines -------------------------------------------------------------------------------------------------

    async def test_timely(self, lab: Lab) -> None:
        """Until its deadline a session is in time, from that microsecond on it is due."""
        made = await lab.create(deadline=Deadline(after=SECOND))
        lab.later(seconds=1, microseconds=-1)
        await lab.done(Write(made, guard=TIMELY, entries=lines("in time")))
        assert (await lab.refused(Write(made, guard=DUE))).reason == "early"
        lab.later(microseconds=1)
        refusal = await lab.refused(Write(made, guard=TIMELY, entries=lines("late")))
        assert refusal.reason == "expired"
        assert refusal.session == await lab.session(made)
        await lab.done(Write(made, guard=DUE))
        await lab.done(Write(made, entries=lines("not asked")))
        assert await lab.texts(made) == ["in time", "not asked"]

    async def test_timely_without_a_deadline(self, lab: Lab) -> None:
        """What has no deadline is always in time and never due."""
        made = await lab.create()
        lab.later(days=10_000)
        await lab.done(Write(made, guard=TIMELY))
        assert (await lab.refused(Write(made, guard=DUE))).reason == "early"

    async def test_timely_deadlines_are_set_in_many_ways(self, lab: Lab) -> None:
        """At an instant, after a time, capped, only where there is none, and taken away."""
        made = await lab.create()

        async def deadline(wanted: Deadline | None) -> int | None:
            answer = await lab.done(Write(made, deadline=wanted))
            stored = (await lab.session(made)).deadline
            assert answer.moved[0].deadline == stored
            return stored

        assert await deadline(None) is None
        assert await deadline(Deadline(after=SECOND, if_none=True)) == NOW + SECOND
        assert await deadline(Deadline(after=MINUTE, if_none=True)) == NOW + SECOND
        assert await deadline(None) == NOW + SECOND
        assert await deadline(Deadline(at=NOW + 5)) == NOW + 5
        assert await deadline(Deadline(after=MINUTE, cap=NOW + SECOND)) == NOW + SECOND
        assert await deadline(Deadline(at=NOW + 3, cap=NOW + SECOND)) == NOW + 3
        assert await deadline(Deadline()) is None
        capped = await lab.create(deadline=Deadline(after=DAY, cap=NOW + MINUTE))
        assert (await lab.session(capped)).deadline == NOW + MINUTE

    async def test_timely_raced(self, lab: Lab) -> None:
        """A write in time and the close of what is due never both succeed at one time."""
        for seconds in (0, 1):
            made = await lab.create(deadline=Deadline(after=SECOND))
            lab.later(seconds=seconds)

            async def write(made: str = made) -> bool:
                return (await lab.append(made, "x", guard=TIMELY)).refusal is None

            async def close(made: str = made) -> bool:
                return (await lab.commit(Write(made, guard=DUE, state="ended"))).refusal is None

            results = await lab.together(write, close, write, close, write)
            assert results == [seconds == 0, False, seconds == 0, False, seconds == 0] or (
                seconds == 1 and results[0::2] == [False] * 3 and sum(results[1::2]) == 1
            )

    async def test_due_above(self, lab: Lab) -> None:
        """Above its threshold, not at it, a counter makes the session due."""
        made = await lab.create()
        for amount, deadline in ((2, None), (1, None), (1, NOW)):
            answer = await lab.done(Write(made, add=(("size", amount),), due_above=("size", 3)))
            assert answer.moved[0].deadline == deadline
        assert [found.id for found in await lab.engine.due(TENANT, 10)] == [made]

    async def test_due_above_keeps_an_earlier_deadline(self, lab: Lab) -> None:
        """A later deadline is brought forward, an earlier one stays."""
        early = await lab.create(deadline=Deadline(after=SECOND))
        late = await lab.create(deadline=Deadline(after=MINUTE))
        now = lab.later(seconds=2)
        for made, deadline in ((early, NOW + SECOND), (late, now)):
            answer = await lab.done(Write(made, put=(("size", 4),), due_above=("size", 3)))
            assert answer.moved[0].deadline == deadline
        nothing = await lab.done(Write(await lab.create(), due_above=("size", 0)))
        assert nothing.moved[0].deadline is None

    # -- touch -----------------------------------------------------------------------------------------------------

    async def test_touch(self, lab: Lab) -> None:
        """Activity and deadline move; version, data, entries and events do not."""
        made = await lab.create("a", deadline=Deadline(after=MINUTE))
        before, tip = await lab.session(made), await lab.engine.tip()
        now = lab.later(seconds=30)
        answer = await lab.done(Touch(made, deadline=Deadline(after=MINUTE)))
        after = await lab.session(made)
        assert (after.active_at, after.deadline) == (now, now + MINUTE)
        assert (after.version, after.data, after.last_sequence) == (before.version, before.data, before.last_sequence)
        moved = answer.moved[0]
        assert (moved.version, moved.first, moved.last, moved.deadline) == (1, 0, 0, now + MINUTE)
        assert await lab.engine.tip() == tip

    async def test_touch_never_goes_back(self, lab: Lab) -> None:
        """Neither an earlier deadline nor an earlier clock moves anything back."""
        made = await lab.create(deadline=Deadline(after=MINUTE))
        later = lab.later(seconds=10)
        await lab.done(Touch(made, deadline=Deadline(after=SECOND)))
        assert (await lab.session(made)).deadline == NOW + MINUTE
        lab.later(hours=-1)
        await lab.done(Touch(made, deadline=Deadline(after=SECOND)))
        found = await lab.session(made)
        assert (found.active_at, found.deadline) == (later, NOW + MINUTE)
        ahead = await lab.create(active_at=later + MINUTE)
        await lab.done(Touch(ahead), Write(ahead, active=1))
        assert (await lab.session(ahead)).active_at == later + MINUTE

    async def test_touch_gives_no_deadline_where_there_is_none(self, lab: Lab) -> None:
        """A touch prolongs; it neither sets a deadline nor takes one away."""
        made, bound = await lab.create(), await lab.create(deadline=Deadline(after=SECOND))
        await lab.done(Touch(made, deadline=Deadline(after=SECOND)), Touch(bound, deadline=Deadline()))
        assert (await lab.session(made)).deadline is None
        assert (await lab.session(bound)).deadline == NOW + SECOND

    async def test_touch_revives_nothing(self, lab: Lab) -> None:
        """What ended, was archived or deleted, or is past its deadline is refused and not moved."""
        ended, archived = await lab.create(state="ended"), await lab.create(state="archived")
        expired, deleted = await lab.create(deadline=Deadline(after=SECOND)), await lab.create()
        await lab.done(Delete(deleted))
        lab.later(seconds=1)
        expected = ((ended, "ended"), (archived, "archived"), (expired, "expired"), (deleted, "missing"))
        for made, reason in expected:
            refusal = await lab.refused(Touch(made, deadline=Deadline(after=DAY)))
            assert refusal.reason == reason
        for made in (ended, archived, expired):
            assert (await lab.session(made)).active_at == NOW
        assert (await lab.session(expired)).deadline == NOW + SECOND

    async def test_touch_moves_lists_by_bucket_only(self, lab: Lab) -> None:
        """Within a bucket of activity the order of lists does not change; the next bucket comes first."""
        one, two = await lab.create(bucket=MINUTE), await lab.create(bucket=MINUTE)
        query = SessionQuery(TENANT, (KIND,))

        async def order() -> list[str]:
            return [found.id for found in await lab.engine.list(query)]

        assert await order() == [two, one]
        lab.later(seconds=59)
        await lab.done(Touch(one, bucket=MINUTE))
        assert await order() == [two, one]
        lab.later(seconds=1)
        await lab.done(Touch(one, bucket=MINUTE))
        assert await order() == [one, two]

    async def test_touch_raced(self, lab: Lab) -> None:
        """A touch and an end at the same time: whichever is second, the session stays ended and its entries whole."""
        for _ in range(8):
            made = await lab.create(deadline=Deadline(after=SECOND))

            async def touch(made: str = made) -> None:
                await lab.commit(Touch(made, deadline=Deadline(after=DAY)))

            async def end(made: str = made) -> None:
                await lab.done(Write(made, state="ended", entries=lines("bye"), deadline=Deadline()))

            await lab.together(touch, end, touch, touch)
            found = await lab.session(made)
            assert (found.state, found.deadline, found.version) == ("ended", None, 2)
            assert await lab.texts(made) == ["bye"]

    # -- the engine's time -----------------------------------------------------------------------------------------

    async def test_time(self, lab: Lab) -> None:
        """Every answer and every snapshot carries the time; entries, events and records are stamped with it."""
        made = await lab.create()
        now = lab.later(seconds=7)
        answer = await lab.append(made, "a", active=1, stamp=("seen",))
        snapshot = await lab.engine.load(TENANT, made)
        assert answer.now == snapshot.now == await lab.engine.now() == now
        found = await lab.session(made)
        assert (found.created_at, found.mark, found.active_at, found.counters) == (NOW, now, now, {"seen": now})
        assert (await lab.entries(made))[0].created_at == now
        assert [event.at for event in await lab.events(lab.start)] == [NOW, now]
        assert (await lab.engine.load(TENANT, lab.new_id())).now == now
        assert (await lab.engine.follow(TENANT, alias("a"))).now == now

    async def test_time_never_runs_backwards_in_a_session(self, lab: Lab) -> None:
        """When the clock goes back, the session's own time stands still until the clock is there again."""
        made, latest = await lab.create(deadline=Deadline(at=NOW + MINUTE)), lab.later(minutes=1)
        await lab.done(Write(made, guard=DUE, entries=lines("a"), active=1), Point(alias("a"), made, 0))
        lab.later(hours=-1)
        answer = await lab.append(made, "b", active=1, stamp=("at",))
        assert answer.now == latest
        found = await lab.session(made)
        assert (found.mark, found.active_at, found.counters) == (latest, latest, {"at": latest})
        assert [entry.created_at for entry in await lab.entries(made)] == [latest, latest]
        assert [event.at for event in await lab.events(lab.start)] == [NOW, latest, latest]
        for snapshot in (await lab.engine.load(TENANT, made), await lab.engine.follow(TENANT, alias("a"))):
            assert snapshot.now == latest

    async def test_time_never_brings_an_expired_session_back(self, lab: Lab) -> None:
        """What a commit saw as expired stays expired, whatever the clock says; the refusal's time says why."""
        made = await lab.create(deadline=Deadline(after=SECOND))
        latest = lab.later(seconds=1)
        await lab.done(Write(made, guard=DUE))
        lab.later(hours=-1)
        for change in (Write(made, guard=TIMELY), Touch(made)):
            answer = await lab.commit(change)
            assert answer.refusal is not None
            assert answer.refusal.reason == "expired"
            assert answer.now == latest

    async def test_time_of_other_sessions_is_their_own(self, lab: Lab) -> None:
        """A session that saw a later time does not move the others."""
        fast, slow = await lab.create(), await lab.create()
        lab.later(hours=1)
        await lab.done(Write(fast))
        lab.later(hours=-1)
        await lab.done(Write(slow))
        assert (await lab.session(slow)).mark == NOW
        assert (await lab.engine.load(TENANT, slow)).now == NOW

    async def test_time_of_imports_is_their_own(self, lab: Lab) -> None:
        """Sessions and entries recorded elsewhere keep their times; the engine's time of the commit is the mark."""
        made = lab.new_id()
        entry = lines("old")[0]
        old = type(entry)(entry.type, text=entry.text, created_at=5)
        await lab.done(Create(made, KIND, created_at=3, active_at=7, entries=(old,)))
        found = await lab.session(made)
        assert (found.created_at, found.active_at, found.mark) == (3, 7, NOW)
        assert [entry.created_at for entry in await lab.entries(made)] == [5]
        assert [event.at for event in await lab.events(lab.start)] == [NOW]

    async def test_time_is_kept_by_every_change(self, lab: Lab) -> None:
        """Touching, redacting and deleting move a session's time as writing does."""
        made = await lab.create("a")
        for change in (Touch(made), Redact(made, (1,))):
            now = lab.later(seconds=1)
            await lab.done(change)
            assert (await lab.session(made)).mark == now
