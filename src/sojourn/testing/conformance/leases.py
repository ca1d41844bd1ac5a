"""Leases: one holder at a time, and a fencing number that tells the current one from all before."""

from __future__ import annotations

from sojourn.core.batch import Delete, Guard, Lend, Write, Yield
from sojourn.core.session import LeaseState
from sojourn.core.times import SECOND, to_micros
from sojourn.testing.clocks import START
from sojourn.testing.conformance.lab import Lab, lines

NOW = to_micros(START)
CALLERS = 8


class Leases:
    """What leases promise."""

    async def test_leases(self, lab: Lab) -> None:
        """While somebody has it others are refused and learn who; when it has run out, the next number is given."""
        assert (await lab.done(Lend("lock", "ann", SECOND))).fences == (1,)
        lab.later(seconds=1, microseconds=-1)
        refusal = await lab.refused(Lend("lock", "bob", SECOND))
        assert (refusal.reason, refusal.lease) == ("held", LeaseState("lock", "ann", 1, NOW + SECOND))
        lab.later(microseconds=1)
        assert (await lab.done(Lend("lock", "bob", SECOND))).fences == (2,)

    async def test_leases_raced(self, lab: Lab) -> None:
        """Of many who want it at the same time one gets it; numbers grow by one with every holder."""
        for fence in range(1, 11):

            async def take(name: str, fence: int = fence) -> str | LeaseState:
                answer = await lab.commit(Lend("lock", name, SECOND))
                if answer.refusal is None:
                    assert answer.fences == (fence,)
                    return name
                assert answer.refusal.reason == "held"
                assert answer.refusal.lease is not None
                return answer.refusal.lease

            taken = await lab.together(*(lambda n=str(n): take(n) for n in range(CALLERS)))
            winners = [name for name in taken if isinstance(name, str)]
            assert len(winners) == 1
            learned = {(lease.holder, lease.fence) for lease in taken if isinstance(lease, LeaseState)}
            assert learned == {(winners[0], fence)}
            lab.later(seconds=1)

    async def test_leases_fence_out_those_who_lost_them(self, lab: Lab) -> None:
        """A write under a lease passes for its current holder only, and only until it runs out."""
        made = await lab.create()
        await lab.done(Lend("turn", "ann", SECOND))
        await lab.done(Write(made, guard=Guard(lease=("turn", 1)), entries=lines("ann")))
        lab.later(seconds=1)
        refusal = await lab.refused(Write(made, guard=Guard(lease=("turn", 1)), entries=lines("late")))
        assert (refusal.reason, refusal.lease) == ("fence", LeaseState("turn", "ann", 1, NOW + SECOND))
        await lab.done(Lend("turn", "bob", SECOND))
        for fence in (0, 1, 3):
            assert (await lab.refused(Write(made, guard=Guard(lease=("turn", fence))))).reason == "fence"
        await lab.done(Write(made, guard=Guard(lease=("turn", 2)), entries=lines("bob")))
        assert (await lab.refused(Write(made, guard=Guard(lease=("never lent", 0))))).reason == "fence"
        assert await lab.texts(made) == ["ann", "bob"]

    async def test_leases_fence_under_races(self, lab: Lab) -> None:
        """Many take the lease in turn and write under it: what is stored is ordered by fencing number."""
        made = await lab.create()

        async def work(name: str) -> None:
            for _ in range(6):
                taken = await lab.commit(Lend("lock", name, SECOND))
                if taken.refusal is None:
                    fence = taken.fences[0]
                    await lab.append(made, f"{fence}", guard=Guard(lease=("lock", fence)))
                    lab.later(seconds=1)
                    late = await lab.append(made, f"{fence}", guard=Guard(lease=("lock", fence)))
                    assert late.refusal is not None
                    assert late.refusal.reason == "fence"

        await lab.together(*(lambda n=str(n): work(n) for n in range(CALLERS)))
        fences = [int(text or "") for text in await lab.texts(made)]
        assert fences == sorted(set(fences))

    async def test_leases_are_renewed_by_their_number(self, lab: Lab) -> None:
        """Renewing moves the expiry and keeps the number; what ran out or was taken over cannot be renewed."""
        await lab.done(Lend("lock", "ann", SECOND))
        now = lab.later(milliseconds=900)
        assert (await lab.done(Lend("lock", "ann", SECOND, fence=1))).fences == (1,)
        lab.later(milliseconds=999)
        refusal = await lab.refused(Lend("lock", "bob", SECOND))
        assert refusal.lease == LeaseState("lock", "ann", 1, now + SECOND)
        assert (await lab.refused(Lend("lock", "ann", SECOND, fence=2))).reason == "fence"
        lab.later(milliseconds=1)
        assert (await lab.refused(Lend("lock", "ann", SECOND, fence=1))).reason == "fence"
        await lab.done(Lend("lock", "bob", SECOND))
        assert (await lab.refused(Lend("lock", "ann", SECOND, fence=1))).reason == "fence"
        assert (await lab.refused(Lend("never lent", "ann", SECOND, fence=0))).reason == "fence"

    async def test_leases_are_given_back_by_their_number(self, lab: Lab) -> None:
        """Given back, the next one gets it at once, with a higher number; a stale number gives nothing back."""
        await lab.done(Lend("lock", "ann", SECOND))
        await lab.done(Yield("lock", 7), Yield("never lent", 1))
        assert (await lab.refused(Lend("lock", "bob", SECOND))).reason == "held"
        await lab.done(Yield("lock", 1))
        await lab.done(Yield("lock", 1))
        assert (await lab.done(Lend("lock", "bob", SECOND))).fences == (2,)
        await lab.done(Yield("lock", 1))
        assert (await lab.refused(Lend("lock", "cy", SECOND))).reason == "held"

    async def test_leases_go_by_the_clock_that_gave_them(self, lab: Lab) -> None:
        """After the clock went back a session's time stays ahead, and a lease just taken holds for it all the same."""
        made = await lab.create()
        lab.later(hours=1)
        await lab.append(made, "ahead")
        lab.later(hours=-1)
        await lab.done(Lend("turn", "ann", SECOND))
        await lab.done(Write(made, guard=Guard(lease=("turn", 1)), entries=lines("ann")))
        await lab.done(Write(made), Lend("turn", "ann", SECOND, fence=1), Write(made, guard=Guard(lease=("turn", 1))))
        lab.later(seconds=1)
        assert (await lab.refused(Write(made, guard=Guard(lease=("turn", 1))))).reason == "fence"
        assert (await lab.done(Lend("turn", "bob", SECOND))).fences == (2,)

    async def test_leases_of_one_batch(self, lab: Lab) -> None:
        """A lease may be taken, written under and given back in one commit; asked for twice, nothing is stored."""
        made = await lab.create()
        answer = await lab.done(
            Lend("lock", "ann", SECOND), Write(made, guard=Guard(lease=("lock", 1)), entries=lines("a")), Yield("lock", 1)
        )
        assert answer.fences == (1,)
        assert (await lab.refused(Lend("lock", "bob", SECOND), Lend("lock", "cy", SECOND))).reason == "held"
        assert (await lab.done(Lend("lock", "dan", SECOND))).fences == (2,)

    async def test_leases_kept_elsewhere(self, lab: Lab) -> None:
        """Of a lease of another home a session remembers the highest number it has seen, and refuses lower ones."""
        made = await lab.create()

        async def write(name: str, fence: int) -> str | None:
            answer = await lab.append(made, f"{fence}", guard=Guard(fence=(name, fence)))
            return None if answer.refusal is None else answer.refusal.reason

        assert [await write("far", fence) for fence in (2, 2, 1, 5, 4)] == [None, None, "fence", None, "fence"]
        assert await write("other", 1) is None
        refusal = await lab.refused(Write(made, guard=Guard(fence=("far", 3))))
        assert refusal.lease is not None
        assert refusal.lease.fence == 5
        await lab.refused(Write(made, guard=Guard(fence=("far", 9))), Write(made, guard=Guard(version=99)))
        assert await write("far", 6) is None

    async def test_leases_home(self, lab: Lab) -> None:
        """The same name in two homes is two locks, each with its own holder and numbers; a guard asks for that of its home."""
        near, far = await lab.create(), await lab.create(home="far")
        await lab.done(Lend("lock", "ann", SECOND))
        await lab.done(Yield("lock", 1))
        assert (await lab.done(Lend("lock", "ann", SECOND))).fences == (2,)
        assert (await lab.done(Lend("lock", "bob", SECOND), home="far")).fences == (1,)
        refusal = await lab.refused(Lend("lock", "cy", SECOND), home="far")
        assert refusal.lease == LeaseState("lock", "bob", 1, NOW + SECOND)
        await lab.done(Write(near, guard=Guard(lease=("lock", 2))))
        await lab.done(Write(far, guard=Guard(lease=("lock", 1))), home="far")
        assert (await lab.refused(Write(near, guard=Guard(lease=("lock", 1))))).reason == "fence"
        assert (await lab.refused(Write(far, guard=Guard(lease=("lock", 2))), home="far")).reason == "fence"
        await lab.done(Yield("lock", 2))
        assert (await lab.refused(Lend("lock", "dan", SECOND), home="far")).reason == "held"

    async def test_leases_home_of_one_name_raced(self, lab: Lab) -> None:
        """Taken at the same time in as many homes as there are callers: everybody gets theirs."""
        homes = [f"home {number}" for number in range(CALLERS)]
        taken = await lab.together(*(lambda h=home: lab.commit(Lend("lock", h, SECOND), home=h) for home in homes))
        assert [answer.fences for answer in taken] == [(1,)] * CALLERS

    async def test_leases_of_a_session_go_with_it(self, lab: Lab) -> None:
        """What is locked for a session in its home is gone once it is purged; a lease of another home and that name is not."""
        made = await lab.create(owner="ann")
        name = f"fold/{made}"
        for home in ("home", "far"):
            await lab.done(Lend(name, "ann", SECOND), home=home)
        await lab.done(Delete(made))
        await lab.purge_all()
        assert (await lab.done(Lend(name, "bob", SECOND))).fences == (1,)
        assert (await lab.refused(Lend(name, "bob", SECOND), home="far")).reason == "held"

    async def test_leases_make_no_event(self, lab: Lab) -> None:
        """Taking, renewing and giving back are nobody's news."""
        tip = await lab.engine.tip()
        await lab.done(Lend("lock", "ann", SECOND), Lend("lock", "ann", SECOND, fence=1), Yield("lock", 1))
        assert await lab.engine.tip() == tip
