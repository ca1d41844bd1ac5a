"""Commits: all or nothing, guards decided inside, and sequences without gaps."""

from __future__ import annotations

from sojourn.core.batch import Answer, Create, Deadline, Delete, Guard, Lend, Point, Redact, Touch, Write
from sojourn.core.query import EntryQuery, SessionQuery
from sojourn.core.session import Alias, State
from sojourn.core.times import SECOND, to_micros
from sojourn.testing.clocks import START
from sojourn.testing.conformance.lab import KIND, TENANT, Lab, alias, at_version, in_phase, lines, needs

NOW = to_micros(START)
CALLERS = 8


class Commits:
    """What a commit promises."""

    # -- atomic ----------------------------------------------------------------------------------------------------

    async def test_atomic(self, lab: Lab) -> None:
        """A batch whose last change is refused leaves nothing behind."""
        old, new = await lab.create("one"), lab.new_id()
        before = await lab.session(old), await lab.engine.tip()
        refusal = await lab.refused(
            Create(new, KIND, owner="ann", tags=("red",), entries=lines("two"), deadline=Deadline(at=NOW - 1)),
            Point(alias("a"), new, 0),
            Lend("lock", "ann", SECOND),
            Write(old, entries=lines("three"), set=((("x",), 1),), add=(("n", 1),)),
            Redact(old, (1,)),
            Write(old, guard=at_version(77)),
        )
        assert refusal.reason == "version"
        assert await lab.gone(new)
        assert (await lab.session(old), await lab.engine.tip()) == before
        assert await lab.texts(old) == ["one"]
        assert (await lab.engine.follow(TENANT, alias("a"))).alias == Alias(alias("a"), None, 0)
        assert (await lab.done(Lend("lock", "bob", SECOND))).fences == (1,)
        assert await lab.engine.list(SessionQuery(TENANT, (KIND,), owner="ann")) == []
        assert await lab.engine.count(TENANT, KIND, tag="red") == 0
        assert await lab.engine.due(TENANT, 10) == []

    async def test_atomic_when_nothing_is_refused(self, lab: Lab) -> None:
        """A batch over several sessions, an alias and a lease is there as a whole."""
        old, new = await lab.create(), lab.new_id()
        answer = await lab.done(
            Write(old, state="ended"),
            Create(new, KIND, entries=lines("hello")),
            Point(alias("a"), new, 0),
            Lend("lock", "ann", SECOND),
        )
        assert [moved.id for moved in answer.moved] == [old, new]
        assert (answer.epochs, answer.fences) == ((1,), (1,))
        assert (await lab.session(old)).state == "ended"
        followed = await lab.engine.follow(TENANT, alias("a"))
        assert followed.session == await lab.session(new)
        assert await lab.texts(new) == ["hello"]

    async def test_atomic_wherever_the_refused_change_stands(self, lab: Lab) -> None:
        """First, in the middle or last: one refused change is enough."""
        kept = await lab.create()
        tip = await lab.engine.tip()
        for place in range(3):
            changes = [Create(lab.new_id(), KIND), Create(lab.new_id(), KIND), Create(lab.new_id(), KIND)]
            changes[place] = Create(kept, KIND)
            assert (await lab.refused(*changes)).reason == "present"
            missing = [change.id for change in changes if change.id != kept and await lab.gone(change.id)]
            assert len(missing) == 2
        assert await lab.engine.tip() == tip

    async def test_atomic_changes_of_one_batch_see_each_other(self, lab: Lab) -> None:
        """Each change is decided on what the ones before it did."""
        made = lab.new_id()
        answer = await lab.done(
            Create(made, KIND, data={"n": {"a": 1}}),
            Write(made, guard=at_version(1), set=((("n", "b"), 2),), entries=lines("one", author="ann", counted=True)),
            Write(made, guard=Guard(version=2, phase=0), entries=lines("two"), next_phase=True),
            Point(alias("a"), made, 0),
            Point(alias("a"), None, 1),
        )
        assert [moved.version for moved in answer.moved] == [1, 2, 3]
        assert [(moved.first, moved.last) for moved in answer.moved] == [(0, 0), (1, 1), (2, 2)]
        assert answer.epochs == (1, 2)
        assert (await lab.session(made)).data == {"n": {"a": 1, "b": 2}}
        again = await lab.refused(
            Write(made, entries=lines("three", author="ann", counted=True)), Write(made, guard=Guard(silent="ann"))
        )
        assert again.reason == "spoken"

    async def test_atomic_for_readers(self, lab: Lab) -> None:
        """Whoever reads while others commit sees each batch whole: alias and session, record and entries."""
        pair = [await lab.create(data={"current": True}), await lab.create(data={"current": False})]
        log = await lab.create(*(str(number) for number in range(60)), counters={"redacted": 0})
        await lab.done(Point(alias("current"), pair[0], 0))
        writing = [True]

        async def write() -> None:
            for turn in range(1, 61):
                await lab.done(
                    Point(alias("current"), pair[turn % 2], turn),
                    Write(pair[turn % 2], set=((("current",), True),)),
                    Write(pair[(turn + 1) % 2], set=((("current",), False),)),
                    Write(log, add=(("redacted", 1),)),
                    Redact(log, (turn,)),
                )
                await lab.engine.sleep(0)
            writing[0] = False

        async def read() -> None:
            while writing[0]:
                followed = await lab.engine.follow(TENANT, alias("current"))
                assert followed.session is not None
                assert followed.session.data == {"current": True}
                seen = await lab.engine.load(TENANT, log, EntryQuery())
                assert seen.session is not None
                assert sum(entry.redacted for entry in seen.entries) == seen.session.counters["redacted"]
                await lab.engine.sleep(0)

        async def guarded_write() -> None:
            try:
                await write()
            finally:
                writing[0] = False

        await lab.together(guarded_write, read, read)

    # -- durable ---------------------------------------------------------------------------------------------------

    @needs("durable")
    async def test_durable(self, lab: Lab) -> None:
        """All of what was acknowledged is there after the process has gone without closing the store."""
        made = await lab.create("one", "two", data={"x": [1, "é"]}, tags=("red",), owner="ann", counters={"n": 3})
        await lab.done(Point(alias("a"), made, 0), Lend("lock", "ann", SECOND))
        keyed = await lab.commit(Write(made, entries=lines("three")), operation="k")
        seen = await lab.session(made), await lab.entries(made), await lab.events(lab.start)
        await lab.reopen()
        assert (await lab.session(made), await lab.entries(made), await lab.events(lab.start)) == seen
        assert (await lab.engine.follow(TENANT, alias("a"))).session == seen[0]
        assert (await lab.refused(Lend("lock", "bob", SECOND))).reason == "held"
        assert (await lab.commit(Write(made, entries=lines("three")), operation="k")).moved[0].first == keyed.moved[0].first
        assert [found.id for found in await lab.engine.list(SessionQuery(TENANT, (KIND,), tag="red"))] == [made]

    @needs("durable")
    async def test_durable_after_closing(self, lab: Lab) -> None:
        """Closing loses nothing, twice neither, and a new engine goes on where the old one ended."""
        made = await lab.create("one")
        await lab.engine.close()
        await lab.engine.close()
        await lab.reopen()
        assert (await lab.append(made, "two")).moved[0].first == 2
        assert await lab.texts(made) == ["one", "two"]

    # -- absent ----------------------------------------------------------------------------------------------------

    async def test_absent(self, lab: Lab) -> None:
        """The second create of an id is refused, learns what is there, and changes nothing of it."""
        made = await lab.create("one", data={"by": "first"})
        refusal = await lab.refused(Create(made, KIND, data={"by": "second"}, entries=lines("two")))
        assert (refusal.reason, refusal.id) == ("present", made)
        assert refusal.session == await lab.session(made)
        assert (await lab.session(made)).data == {"by": "first"}
        assert await lab.texts(made) == ["one"]

    async def test_absent_raced(self, lab: Lab) -> None:
        """Of many who create one id at the same time, one wins, and what is stored is the winner's."""
        for _ in range(10):
            made = lab.new_id()

            async def create(name: str, made: str = made) -> str | None:
                answer = await lab.commit(Create(made, KIND, data={"by": name}, entries=lines(name)))
                assert answer.refusal is None or answer.refusal.reason == "present"
                return name if answer.refusal is None else None

            won = await lab.together(*(lambda n=str(n): create(n) for n in range(CALLERS)))
            winners = [name for name in won if name is not None]
            assert len(winners) == 1
            assert (await lab.session(made)).data == {"by": winners[0]}
            assert await lab.texts(made) == winners

    async def test_absent_after_deleting(self, lab: Lab) -> None:
        """The id of a deleted session cannot be used again, and the refusal shows nothing of what was deleted."""
        made = await lab.create("secret", data={"secret": 1})
        await lab.done(Delete(made))
        refusal = await lab.refused(Create(made, KIND))
        assert refusal.reason == "present"
        assert refusal.session is None
        assert await lab.gone(made)

    # -- open ------------------------------------------------------------------------------------------------------

    async def test_open(self, lab: Lab) -> None:
        """Closed sessions take no entries; ended and archived are two answers, with the session in them."""
        closed: tuple[State, ...] = ("ended", "archived")
        for state in closed:
            made = await lab.create("one")
            await lab.done(Write(made, state=state))
            answer = await lab.append(made, "two")
            assert answer.refusal is not None
            assert answer.refusal.reason == state
            assert answer.refusal.session == await lab.session(made)
            assert await lab.texts(made) == ["one"]

    async def test_open_is_a_guard_that_can_be_waived(self, lab: Lab) -> None:
        """What is allowed on a closed session says so; when it ended stays, and opening it clears that."""
        made = await lab.create(state="ended")
        assert (await lab.session(made)).ended_at == NOW
        later = lab.later(seconds=5)
        await lab.done(Write(made, guard=Guard(open=False), set=((("seen",), True),), state="archived"))
        archived = await lab.session(made)
        assert (archived.state, archived.ended_at, archived.mark) == ("archived", NOW, later)
        await lab.done(Write(made, guard=Guard(open=False), state="active"))
        assert (await lab.session(made)).ended_at is None
        await lab.done(Write(made, entries=lines("again")))

    async def test_open_is_not_missing(self, lab: Lab) -> None:
        """A session that never was is neither ended nor archived."""
        never = lab.new_id()
        fork = Create(lab.new_id(), KIND, base=(never, 1))
        for change in (Write(never), Touch(never), Redact(never, (1,)), Delete(never), fork):
            refusal = await lab.refused(change)
            assert (refusal.reason, refusal.id, refusal.session) == ("missing", never, None)

    # -- version ---------------------------------------------------------------------------------------------------

    async def test_version(self, lab: Lab) -> None:
        """A commit under a version that has passed is refused with the session as it is now."""
        made = await lab.create()
        await lab.done(Write(made, guard=at_version(1), set=((("by",), "ann"),)))
        refusal = await lab.refused(Write(made, guard=at_version(1), set=((("by",), "bob"),), entries=lines("lost")))
        assert refusal.reason == "version"
        now = await lab.session(made)
        assert (now.version, now.data) == (2, {"by": "ann"})
        assert refusal.session == now
        assert await lab.texts(made) == []

    async def test_version_raced(self, lab: Lab) -> None:
        """Of many commits under one version, one is stored; the others learn the version that it made."""
        made = await lab.create()
        for version in range(1, 11):

            async def write(name: str, version: int = version) -> Answer:
                return await lab.append(made, name, guard=at_version(version))

            answers = await lab.together(*(lambda n=str(n): write(n) for n in range(CALLERS)))
            refusals = [answer.refusal for answer in answers if answer.refusal is not None]
            assert len(refusals) == CALLERS - 1
            assert {refusal.reason for refusal in refusals} == {"version"}
            assert {refusal.session.version for refusal in refusals if refusal.session} == {version + 1}
            assert len(await lab.texts(made)) == version

    async def test_version_loses_no_update(self, lab: Lab) -> None:
        """Callers who read, change, and try again when refused: every change counts."""
        made = await lab.create(data={"sum": 0})

        async def increase() -> None:
            for _ in range(5):
                while True:
                    seen = await lab.session(made)
                    change = Write(made, guard=at_version(seen.version), set=((("sum",), seen.data["sum"] + 1),))
                    if (await lab.commit(change)).refusal is None:
                        break

        await lab.together(*[increase] * CALLERS)
        assert (await lab.session(made)).data == {"sum": 5 * CALLERS}

    # -- phase -----------------------------------------------------------------------------------------------------

    async def test_phase(self, lab: Lab) -> None:
        """Commits of one phase pass whatever the version; after the phase moved they are refused."""
        made = await lab.create()
        for name in ("a", "b"):
            await lab.done(Write(made, guard=in_phase(0), entries=lines(name)))
        await lab.done(Write(made, guard=in_phase(0), next_phase=True))
        refusal = await lab.refused(Write(made, guard=in_phase(0), entries=lines("late")))
        assert refusal.reason == "phase"
        assert refusal.session is not None
        assert (refusal.session.phase, refusal.session.version) == (1, 4)
        await lab.done(Write(made, guard=in_phase(1), entries=lines("c")))
        assert [(entry.text, entry.phase) for entry in await lab.entries(made)] == [("a", 0), ("b", 0), ("c", 1)]

    async def test_phase_raced(self, lab: Lab) -> None:
        """Entries race with many who close the phase: it closes once, and every accepted entry is in it."""
        made = await lab.create()
        for phase in range(8):

            async def speak(name: str, phase: int = phase) -> bool:
                return (await lab.append(made, name, guard=in_phase(phase))).refusal is None

            async def close(phase: int = phase) -> bool:
                return (await lab.commit(Write(made, guard=in_phase(phase), next_phase=True))).refusal is None

            results = await lab.together(*(lambda n=str(n): speak(n) for n in range(6)), close, close, close)
            assert sum(results[6:]) == 1
            stored = {entry.text for entry in await lab.entries(made) if entry.phase == phase}
            assert stored == {str(n) for n in range(6) if results[n]}
        assert (await lab.session(made)).phase == 8

    # -- sequences -------------------------------------------------------------------------------------------------

    async def test_sequences(self, lab: Lab) -> None:
        """Entries are numbered from 1 in the order they are committed, each session for itself."""
        one, two = await lab.create("a", "b"), await lab.create()
        answer = await lab.done(
            Write(two, entries=lines("x")), Write(one, entries=lines("c", "d")), Write(two, entries=lines("y"))
        )
        assert [(moved.first, moved.last) for moved in answer.moved] == [(1, 1), (3, 4), (2, 2)]
        assert [(entry.sequence, entry.text) for entry in await lab.entries(one)] == [
            (1, "a"),
            (2, "b"),
            (3, "c"),
            (4, "d"),
        ]
        assert (await lab.session(one)).last_sequence == 4

    async def test_sequences_raced(self, lab: Lab) -> None:
        """Many append at once: no number is missing or given twice, and each answer says where its entries are."""
        made = await lab.create()

        async def append(name: str) -> list[tuple[int, str]]:
            found: list[tuple[int, str]] = []
            for turn in range(6):
                texts = [f"{name}.{turn}.{part}" for part in range(turn % 3 + 1)]
                moved = (await lab.append(made, *texts)).moved[0]
                assert moved.last - moved.first + 1 == len(texts)
                found.extend(enumerate(texts, moved.first))
            return found

        given = await lab.together(*(lambda n=str(n): append(n) for n in range(CALLERS)))
        stored = [(entry.sequence, entry.text) for entry in await lab.entries(made)]
        assert [sequence for sequence, _ in stored] == list(range(1, 12 * CALLERS + 1))
        assert stored == sorted(item for items in given for item in items)

    async def test_sequences_can_be_marked_in_the_data(self, lab: Lab) -> None:
        """A commit may store the sequence of its first entry, which only the commit knows, in the session's data."""
        made = await lab.create("a", data={"at": {"old": 1}})
        await lab.done(Write(made, entries=lines("b", "c"), set=((("at", "new"), 0),), mark=(("at", "new"), ("last",))))
        assert (await lab.session(made)).data == {"at": {"old": 1, "new": 2}, "last": 2}

    async def test_sequences_are_not_used_by_what_is_refused(self, lab: Lab) -> None:
        """A refused append takes no number."""
        made = await lab.create("a")
        await lab.refused(Write(made, entries=lines("b", "c")), Write(made, guard=at_version(9)))
        assert (await lab.append(made, "d")).moved[0].first == 2

    async def test_sequences_are_not_given_again(self, lab: Lab) -> None:
        """The number of an entry that was redacted stays its own, also after purging."""
        made = await lab.create("a", "b")
        await lab.done(Redact(made, (2,)))
        await lab.purge_all()
        assert (await lab.append(made, "c")).moved[0].first == 3
        assert await lab.texts(made) == ["a", None, "c"]
