"""Coalescing: many callers may be committed together, and none of them notices."""

from __future__ import annotations

from sojourn.core.batch import Answer, Batch, Change, Create, Deadline, Guard, Lend, Point, Reason, Write
from sojourn.core.query import SessionQuery
from sojourn.core.times import SECOND
from sojourn.engines.contract import Engine
from sojourn.errors import ClosedError
from sojourn.testing.conformance.lab import HOME, KIND, TENANT, Lab, alias, at_version, in_phase, lines

CALLERS = 24


class Coalescing:
    """What callers are promised who come at the same time."""

    async def test_isolation(self, lab: Lab) -> None:
        """Among many callers at once some are refused, each for its own reason; the others are stored."""
        ended, expired = await lab.create(state="ended"), await lab.create(deadline=Deadline(after=0))
        good = await lab.create()
        await lab.done(Point(alias("a"), good, 0), Lend("lock", "ann", SECOND))
        for turn in range(6):
            requests: list[tuple[Change, Reason]] = [
                (Write(ended), "ended"),
                (Write(expired, guard=Guard(timely=True)), "expired"),
                (Write(good, guard=at_version(1000)), "version"),
                (Write(good, guard=in_phase(7)), "phase"),
                (Write(lab.new_id()), "missing"),
                (Create(good, KIND), "present"),
                (Point(alias("a"), None, 5), "epoch"),
                (Lend("lock", "bob", SECOND), "held"),
            ]

            asked: list[tuple[Change, Reason | None]] = [
                requests[place // 2 % 8] if place % 2 else (Write(good, entries=lines(f"{turn}.{place}")), None)
                for place in range(CALLERS)
            ]
            answers = await lab.together(*(lambda change=change: lab.commit(change) for change, _ in asked))
            for answer, (_, reason) in zip(answers, asked, strict=True):
                assert reason == (None if answer.refusal is None else answer.refusal.reason)
        wanted = {f"{turn}.{place}" for turn in range(6) for place in range(0, CALLERS, 2)}
        assert set(await lab.texts(good)) == wanted
        assert (await lab.session(good)).version == 1 + len(wanted)

    async def test_isolation_of_one_that_raises(self, lab: Lab) -> None:
        """A batch that cannot be stored at all raises to its own caller only, wherever in it the fault is."""
        made = await lab.create()
        for turn in range(6):

            async def ask(place: int, turn: int = turn) -> Answer:
                changes: list[Change] = [
                    Write(made, entries=lines(f"{turn}.{place}")),
                    Create(lab.new_id(), KIND, tags=("new",)),
                ]
                if place % 4 == 1:
                    changes.append(Create(lab.new_id(), KIND, data={"cannot": object()}))
                if place % 4 == 3:
                    changes.append(Write(made, set=((("cannot",), float("nan")),)))
                return await lab.commit(*changes)

            outcomes = await lab.outcomes(*(lambda n=n: ask(n) for n in range(CALLERS)))
            for place, outcome in enumerate(outcomes):
                assert isinstance(outcome, Exception) == bool(place % 2)
        wanted = {f"{turn}.{place}" for turn in range(6) for place in range(0, CALLERS, 2)}
        assert set(await lab.texts(made)) == wanted
        assert await lab.engine.count(TENANT, KIND, tag="new") == len(wanted)
        assert (await lab.session(made)).data == {}
        assert len(await lab.engine.list(SessionQuery(TENANT, (KIND,), limit=1000))) == 1 + len(wanted)

    async def test_isolation_of_answers(self, lab: Lab) -> None:
        """Each caller gets the answer to its own batch, and finds what it says."""

        async def work(name: str) -> None:
            for turn in range(4):
                made = lab.new_id()
                first = await lab.commit(Create(made, KIND, owner=name), operation=f"{name}.{turn}")
                assert [moved.id for moved in first.moved] == [made]
                second = await lab.append(made, name, add=(("n", turn),))
                assert (second.moved[0].id, second.moved[0].version) == (made, 2)
                assert second.moved[0].counters == {"n": turn}
                found = await lab.session(made)
                assert (found.owner, found.version) == (name, 2)
                assert await lab.texts(made) == [name]

        await lab.together(*(lambda n=str(n): work(n) for n in range(CALLERS)))

    async def test_isolation_reads_what_it_wrote(self, lab: Lab) -> None:
        """What was acknowledged is seen by the next read of anybody."""
        made = await lab.create()

        async def work() -> None:
            for _ in range(10):
                version = (await lab.append(made, "x")).moved[0].version
                assert (await lab.session(made)).version >= version

        await lab.together(*[work] * 6)
        assert (await lab.session(made)).version == 61

    async def test_isolation_of_one_that_is_interrupted(self, lab: Lab) -> None:
        """A cancelled commit is settled when the cancellation is reported: stored or not, and never later."""
        made = await lab.create()
        for turn in range(10):

            async def interrupted(turn: int = turn) -> None:
                await lab.interrupted(lambda: lab.append(made, f"cut {turn}"))
                seen = await lab.texts(made)
                await lab.append(made, "after")
                assert (await lab.texts(made)).count(f"cut {turn}") == seen.count(f"cut {turn}")

            async def other() -> None:
                assert (await lab.append(made, "other")).refusal is None

            await lab.together(other, interrupted, other, other)
        texts = await lab.texts(made)
        assert (texts.count("other"), texts.count("after")) == (30, 10)
        assert (await lab.session(made)).last_sequence == len(texts)

    async def test_isolation_of_engines_on_one_place(self, lab: Lab) -> None:
        """Two engines on one place, as of two processes, decide the same guards."""
        one, two = lab.engine, await lab.another()
        made = await lab.create(data={"sum": 0})

        async def increase(store: Engine) -> None:
            for _ in range(10):
                while True:
                    seen = (await store.load(TENANT, made)).session
                    assert seen is not None
                    change = Write(made, guard=at_version(seen.version), set=((("sum",), seen.data["sum"] + 1),))
                    if (await store.commit(_batch(change))).refusal is None:
                        break

        await lab.together(lambda: increase(one), lambda: increase(two), lambda: increase(two))
        assert (await lab.session(made)).data == {"sum": 30}

    async def test_isolation_of_closing(self, lab: Lab) -> None:
        """Closing while others commit: what was acknowledged is stored, and who comes after is told."""
        made = await lab.create()
        other = await lab.another()
        acknowledged: list[str] = []

        async def work(name: str) -> None:
            for turn in range(50):
                try:
                    await other.commit(_batch(Write(made, entries=lines(f"{name}.{turn}"))))
                except ClosedError:
                    return
                acknowledged.append(f"{name}.{turn}")

        async def close() -> None:
            await other.sleep(0)
            await other.close()

        await lab.together(*(lambda n=str(n): work(n) for n in range(6)), close)
        assert set(acknowledged) <= set(await lab.texts(made))
        for verb in (other.commit(_batch(Write(made))), other.load(TENANT, made), other.tip()):
            try:
                await verb
            except ClosedError:
                continue
            raise AssertionError("a closed engine answers")


def _batch(*changes: Change) -> Batch:
    return Batch(TENANT, HOME, changes)
