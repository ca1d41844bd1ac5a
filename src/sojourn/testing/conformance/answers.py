"""Answers: what a commit says, and that asking again with the same operation id says it again."""

from __future__ import annotations

import pytest

from sojourn.core.batch import Answer, Create, Deadline, Delete, Guard, Lend, NewEntry, Point, Write
from sojourn.core.query import SessionQuery
from sojourn.core.times import SECOND
from sojourn.engines.checks import LARGEST
from sojourn.errors import LimitError
from sojourn.testing.conformance.lab import HOME, KIND, TENANT, Lab, alias, at_version, in_phase, lines

CALLERS = 8


class Answers:
    """What the answer of a commit promises."""

    # -- operation ids ---------------------------------------------------------------------------------------------

    async def test_operation(self, lab: Lab) -> None:
        """Asking again returns the first answer and stores nothing, even when a guard would refuse by now."""
        made = lab.new_id()
        changes = (Create(made, KIND, entries=lines("a")), Point(alias("a"), made, 0), Lend("lock", "ann", SECOND))
        first = await lab.commit(*changes, operation="boot")
        await lab.done(Write(made, state="ended", add=(("n", 1),)))
        tip = await lab.engine.tip()
        lab.later(seconds=3)
        again = await lab.commit(*changes, operation="boot")
        assert (again.refusal, again.replayed) == (None, True)
        assert (again.moved, again.epochs, again.fences) == (first.moved, first.epochs, first.fences)
        assert again.now == lab.clock.micros()
        assert await lab.engine.tip() == tip
        assert (await lab.session(made)).version == 2

    async def test_operation_of_an_append(self, lab: Lab) -> None:
        """An append is remembered with its first entry, however many it has."""
        made = await lab.create()
        first = await lab.commit(Write(made, entries=lines("a", "b")), operation="k", fingerprint="f")
        await lab.append(made, "c", next_phase=True)
        await lab.done(Write(made, state="ended"))
        again = await lab.commit(Write(made, entries=lines("a", "b")), operation="k", fingerprint="f")
        assert (again.refusal, again.replayed) == (None, True)
        moved = again.moved[0]
        assert (moved.id, moved.version, moved.phase, moved.first, moved.last) == (made, 2, 0, 1, 2)
        assert first.moved[0].last == 2
        assert await lab.texts(made) == ["a", "b", "c"]
        assert [entry.key for entry in await lab.entries(made)] == ["k", None, None]

    async def test_operation_raced(self, lab: Lab) -> None:
        """Many ask with one id at the same time: it is done once, and all get that answer."""
        made = await lab.create()
        for turn in range(5):

            async def append(turn: int = turn) -> Answer:
                return await lab.commit(Write(made, entries=lines(f"{turn}")), operation=f"append {turn}")

            async def create(turn: int = turn) -> Answer:
                return await lab.commit(Create(lab.new_id(), KIND), operation=f"create {turn}")

            appended = await lab.together(*[append] * CALLERS)
            created = await lab.together(*[create] * CALLERS)
            for answers in (appended, created):
                assert sum(not answer.replayed for answer in answers) == 1
                assert len({(answer.moved[0].id, answer.moved[0].first) for answer in answers}) == 1
        assert await lab.texts(made) == [str(turn) for turn in range(5)]
        assert len(await lab.engine.list(SessionQuery(TENANT, (KIND,)))) == 6

    async def test_operation_that_was_refused_is_not_remembered(self, lab: Lab) -> None:
        """A refusal stores nothing, so the same id may succeed later."""
        made = await lab.create()
        for change in (Write(made, guard=at_version(2)), Write(made, guard=at_version(2), entries=lines("a"))):
            assert (await lab.commit(change, operation="k")).refusal is not None
        await lab.done(Write(made))
        assert (await lab.commit(Write(made, guard=at_version(2)), operation="k")).refusal is None

    async def test_operation_is_remembered_for_a_day(self, lab: Lab) -> None:
        """Purging does not forget an operation within 24 hours, nor an append as long as its entry is there."""
        made = await lab.create()
        await lab.commit(Write(made, add=(("n", 1),)), operation="k")
        await lab.commit(Write(made, entries=lines("a")), operation="k")
        lab.later(hours=23, minutes=59)
        await lab.purge_all()
        assert (await lab.commit(Write(made, add=(("n", 1),)), operation="k")).replayed
        lab.later(days=30)
        await lab.purge_all()
        assert (await lab.commit(Write(made, entries=lines("a")), operation="k")).replayed
        assert (await lab.session(made)).counters == {"n": 1}

    async def test_operation_ids_belong_to_a_home(self, lab: Lab) -> None:
        """The same id in another home, tenant or session is another operation."""
        made = await lab.create()
        assert not (await lab.commit(Write(made, entries=lines("a")), operation="k")).replayed
        assert not (await lab.commit(Write(await lab.create(), entries=lines("a")), operation="k")).replayed
        for home, tenant in ((HOME, TENANT), ("elsewhere", TENANT), (HOME, "other")):
            change = Create(lab.new_id(home, tenant), KIND)
            assert not (await lab.commit(change, home=home, tenant=tenant, operation="k")).replayed

    async def test_operation_payload(self, lab: Lab) -> None:
        """Another request under an id that was used is refused, and nothing of it is stored."""
        made = await lab.create()
        await lab.commit(Point(alias("a"), made, 0), operation="k", fingerprint="this")
        answer = await lab.commit(Point(alias("a"), None, 1), operation="k", fingerprint="that")
        assert answer.refusal is not None
        assert answer.refusal.reason == "key"
        assert (await lab.engine.follow(TENANT, alias("a"))).session is not None

    async def test_operation_payload_of_an_append(self, lab: Lab) -> None:
        """Another append under the key of an entry is refused, also in a session that ended."""
        made = await lab.create()
        await lab.commit(Write(made, entries=lines("a")), operation="k", fingerprint="this")
        await lab.done(Write(made, state="ended"))
        answer = await lab.commit(Write(made, entries=lines("b")), operation="k", fingerprint="that")
        assert answer.refusal is not None
        assert (answer.refusal.reason, answer.refusal.id) == ("key", made)
        assert answer.refusal.session == await lab.session(made)
        assert await lab.texts(made) == ["a"]

    async def test_operation_payload_of_entries_that_bring_their_keys(self, lab: Lab) -> None:
        """An entry cannot be appended under a key that another entry of its session has; in other sessions it can."""
        keyed = (NewEntry("line", text="a", key="k"),)
        made = await lab.create(entries=keyed)
        await lab.create(entries=keyed)
        assert (await lab.refused(Write(made, entries=keyed))).reason == "key"
        assert (await lab.refused(Create(lab.new_id(), KIND, entries=keyed * 2))).reason == "key"
        assert await lab.texts(made) == ["a"]

    async def test_operation_with_nothing_to_do(self, lab: Lab) -> None:
        """A batch without changes is remembered all the same, so that asking again does nothing later either."""
        made, tip = await lab.create(), await lab.engine.tip()
        first = await lab.commit(operation="k", fingerprint="this")
        assert (first.refusal, first.replayed, first.moved, first.epochs, first.fences) == (None, False, (), (), ())
        assert (await lab.commit(operation="k", fingerprint="this")).replayed
        assert (await lab.commit(Write(made), operation="k", fingerprint="this")).replayed
        other = await lab.commit(Write(made), operation="k", fingerprint="that")
        assert other.refusal is not None
        assert other.refusal.reason == "key"
        assert (await lab.session(made)).version == 1
        assert await lab.engine.tip() == tip
        nothing = await lab.commit()
        assert (nothing.refusal, nothing.replayed) == (None, False)

    async def test_operation_of_what_is_gone_at_once(self, lab: Lab) -> None:
        """Made pending and deleted in one commit: nobody ever sees it, and its counters are in the answer as often as asked."""
        start, made = await lab.engine.tip(), lab.new_id()
        changes = (Create(made, KIND, state="pending", counters={"removed": 3}), Delete(made))
        first = await lab.commit(*changes, operation="k")
        assert [moved.counters for moved in first.moved] == [{"removed": 3}] * 2
        assert first.moved[1].state == "deleted"
        await lab.purge_all()
        again = await lab.commit(*changes, operation="k")
        assert (again.replayed, again.moved) == (True, first.moved)
        assert await lab.gone(made)
        assert await lab.engine.tags(TENANT, made) == []
        assert await lab.engine.history(TENANT, made, 10) == []
        assert await lab.engine.tip() == start

    async def test_operation_of_an_append_tells_how_it_is_now(self, lab: Lab) -> None:
        """A replayed append has its own sequences, version and phase; state, deadline and counters are today's."""
        made = await lab.create()
        await lab.commit(Write(made, entries=lines("a"), add=(("n", 1),)), operation="k")
        await lab.done(Write(made, add=(("n", 4),), state="ended", deadline=Deadline(after=SECOND), next_phase=True))
        moved = (await lab.commit(Write(made, entries=lines("a"), add=(("n", 1),)), operation="k")).moved[0]
        assert (moved.version, moved.phase, moved.first, moved.last) == (2, 0, 1, 1)
        assert (moved.state, moved.deadline) == ("ended", lab.clock.micros() + SECOND)
        assert moved.counters == {"n": 5}

    # -- answers ---------------------------------------------------------------------------------------------------

    async def test_answer(self, lab: Lab) -> None:
        """The answer says what the caller needs next, for each change in order."""
        made = await lab.create(counters={"n": 1})
        now = lab.later(seconds=1)
        answer = await lab.done(
            Write(
                made,
                entries=lines("a", "b"),
                add=(("n", 2), ("m", -1)),
                put=(("p", 9),),
                stamp=("at",),
                deadline=Deadline(after=SECOND),
                next_phase=True,
            ),
            Write(made, state="ended"),
        )
        assert answer.now == now
        first, second = answer.moved
        assert (first.id, first.version, first.phase, first.first, first.last) == (made, 2, 1, 1, 2)
        assert (first.state, first.deadline) == ("active", now + SECOND)
        assert first.counters == {"n": 3, "m": -1, "p": 9, "at": now}
        assert (second.version, second.first, second.last, second.state) == (3, 0, 0, "ended")
        assert (await lab.session(made)).counters == second.counters

    async def test_answer_of_a_refusal_carries_the_time(self, lab: Lab) -> None:
        """A refused caller learns the engine's time too."""
        now = lab.later(seconds=1)
        assert (await lab.commit(Write(lab.new_id()))).now == now

    async def test_answer_shares_nothing_with_the_store(self, lab: Lab) -> None:
        """Changing what was given or what was answered changes nothing that is stored."""
        data: dict[str, list[int]] = {"list": [1]}
        counters = {"n": 1}
        made = await lab.create(data=data, counters=counters)
        data["list"].append(2)
        counters["n"] = 2
        answer = await lab.done(Write(made))
        answer.moved[0].counters["n"] = 3
        seen = await lab.session(made)
        seen.data["list"].append(3)
        seen.counters["n"] = 4
        stored = await lab.session(made)
        assert (stored.data, stored.counters) == ({"list": [1]}, {"n": 1})

    async def test_answer_of_a_mark(self, lab: Lab) -> None:
        """A mark writes the sequence of the first appended entry into the data, after what is set; objects are made for it."""
        made = await lab.create("a", "b")
        change = Write(made, entries=lines("c", "d"), set=((("at",), "x"), (("kept",), 1)), mark=(("at",), ("deep", "er")))
        answer = await lab.done(change)
        assert answer.moved[0].first == 3
        assert (await lab.session(made)).data == {"at": 3, "kept": 1, "deep": {"er": 3}}
        await lab.done(Write(made, mark=(("none",),)))
        assert (await lab.session(made)).data["none"] == 0

    # -- counters --------------------------------------------------------------------------------------------------

    async def test_counters(self, lab: Lab) -> None:
        """Up to 2^53 - 1 and down to its negative they count exactly; what would pass that stores nothing of its batch."""
        made = await lab.create(counters={"up": LARGEST - 1, "down": -LARGEST})
        assert (await lab.done(Write(made, add=(("up", 1), ("n", LARGEST))))).moved[0].counters["up"] == LARGEST
        before = await lab.session(made)
        assert before.counters == {"up": LARGEST, "down": -LARGEST, "n": LARGEST}
        for change in (
            Write(made, add=(("up", 1),)),
            Write(made, add=(("n", LARGEST),)),
            Write(made, add=(("down", -1),), entries=lines("x")),
            Write(made, add=(("up", 1),), entries=lines("x"), active=SECOND),
            Write(made, put=(("p", LARGEST + 1),)),
            Write(made, guard=Guard(fence=("far", LARGEST + 1))),
            Create(lab.new_id(), KIND, counters={"n": 1 << 64}),
        ):
            for changes in ((change,), (Write(made), change)):
                with pytest.raises(LimitError):
                    await lab.commit(*changes)
        assert await lab.session(made) == before
        assert await lab.texts(made) == []
        assert (await lab.done(Write(made, put=(("up", -LARGEST),), add=(("down", 1),)))).refusal is None
        assert (await lab.session(made)).counters["up"] == -LARGEST

    async def test_counters_beyond_their_range_are_one_callers_error(self, lab: Lab) -> None:
        """Among callers at the same time, only those whose counter would be too large are refused."""
        full, free = await lab.create(counters={"n": LARGEST}), await lab.create()

        async def count(place: int) -> Answer:
            return await lab.commit(Write(full if place % 2 else free, add=(("n", 1),)))

        outcomes = await lab.outcomes(*(lambda n=n: count(n) for n in range(CALLERS)))
        assert [isinstance(outcome, LimitError) for outcome in outcomes] == [bool(n % 2) for n in range(CALLERS)]
        assert (await lab.session(free)).counters == {"n": CALLERS // 2}
        assert (await lab.session(full)).counters == {"n": LARGEST}

    # -- authors ---------------------------------------------------------------------------------------------------

    async def test_distinct_authors(self, lab: Lab) -> None:
        """Authors are counted once in a phase, by their counted entries, and again in the next one."""
        made = await lab.create()

        async def speak(author: str, *, counted: bool = True) -> int:
            answer = await lab.done(Write(made, entries=lines("x", author=author, counted=counted)))
            return answer.moved[0].counters.get("authors", 0)

        assert await speak("ann", counted=False) == 0
        assert [await speak(author) for author in ("ann", "bob", "ann", "cy", "bob")] == [1, 2, 2, 3, 3]
        assert (await lab.done(Write(made, next_phase=True))).moved[0].counters["authors"] == 0
        assert [await speak(author) for author in ("bob", "bob", "ann")] == [1, 1, 2]

    async def test_distinct_authors_may_be_held_to_one_entry(self, lab: Lab) -> None:
        """A guard that an author was silent is decided inside the commit: of many entries at once, one is stored."""
        made = await lab.create()
        for phase in range(4):

            async def speak(author: str) -> bool:
                entries = lines("x", author=author, counted=True)
                answer = await lab.commit(Write(made, guard=Guard(silent=author), entries=entries))
                assert answer.refusal is None or answer.refusal.reason == "spoken"
                return answer.refusal is None

            spoken = await lab.together(*(lambda n=n: speak("ab"[n % 2]) for n in range(CALLERS)))
            assert sum(spoken[0::2]) == sum(spoken[1::2]) == 1
            ended = await lab.done(Write(made, guard=in_phase(phase), entries=lines("y", author="a", counted=True)))
            assert ended.moved[0].counters["authors"] == 2
            await lab.done(Write(made, next_phase=True))

    async def test_distinct_authors_of_one_batch(self, lab: Lab) -> None:
        """Several entries of one commit count their authors once."""
        made = lab.new_id()
        spoken = (*lines("x", "y", author="ann", counted=True), *lines("z", author="bob", counted=True))
        answer = await lab.done(Create(made, KIND, entries=spoken), Write(made, entries=spoken))
        assert [moved.counters["authors"] for moved in answer.moved] == [2, 2]
