"""Leases: one run at a time, and nothing is stored by who has lost theirs."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from sojourn import ConflictError, InvalidValueError, LeaseHeldError, LeaseLostError, LimitError, NotFoundError

if TYPE_CHECKING:
    from tests.conversations.conftest import Lab

MINUTE = timedelta(minutes=1)


async def test_a_run_has_the_conversation_for_itself(lab: Lab) -> None:
    made = await lab.talk("a")
    async with lab.talks.run_lease(made, "worker 1", ttl=MINUTE) as lease:
        assert (lease.holder, lease.expires_at, lease.ttl) == ("worker 1", lab.clock() + MINUTE, MINUTE)
        with pytest.raises(LeaseHeldError) as caught:
            async with lab.talks.run_lease(made, "worker 2"):
                raise AssertionError("two runs at once")
        assert (caught.value.holder, caught.value.code) == ("worker 1", "lease.held")
        assert "worker 1" in caught.value.message
        assert isinstance(caught.value, ConflictError)
        assert (await lab.talks.append(made, "assistant", "b", lease=lease)).sequence == 2
    async with lab.talks.run_lease(made, "worker 2") as second:
        assert second.fence > lease.fence


async def test_turn_is_another_name(lab: Lab) -> None:
    made = await lab.talk("a")
    async with lab.talks.turn(made, "worker 1", ttl=MINUTE):
        with pytest.raises(LeaseHeldError):
            async with lab.talks.run_lease(made, "worker 2"):
                raise AssertionError("two runs at once")


async def test_runs_of_different_conversations_do_not_meet(lab: Lab) -> None:
    one, two = await lab.talk("a"), await lab.talk("b")
    async with lab.talks.run_lease(one, "worker 1"), lab.talks.run_lease(two, "worker 2"):
        assert await lab.texts(one) == ["a"]


async def test_a_lease_is_given_back_when_the_run_fails(lab: Lab) -> None:
    made = await lab.talk("a")
    with pytest.raises(ZeroDivisionError):
        async with lab.talks.run_lease(made, "worker 1"):
            raise ZeroDivisionError
    async with lab.talks.run_lease(made, "worker 2"):
        pass


async def test_who_has_lost_the_lease_stores_nothing(lab: Lab) -> None:
    made = await lab.talk("a")
    async with lab.talks.run_lease(made, "worker 1", ttl=MINUTE) as lease:
        lab.later(minutes=1)
        with pytest.raises(LeaseLostError) as caught:
            await lab.talks.append(made, "assistant", "too late", lease=lease)
        assert (caught.value.code, bool(caught.value.hint)) == ("lease.lost", True)
        with pytest.raises(LeaseLostError):
            await lab.talks.extend(made, [{"role": "assistant", "content": "too late"}], lease=lease)
    assert await lab.texts(made) == ["a"]


async def test_who_comes_after_is_not_disturbed_by_who_was_before(lab: Lab) -> None:
    made = await lab.talk("a")
    async with lab.talks.run_lease(made, "worker 1", ttl=MINUTE) as first:
        lab.later(minutes=2)
        async with lab.talks.run_lease(made, "worker 2", ttl=MINUTE) as second:
            with pytest.raises(LeaseLostError) as caught:
                await lab.talks.append(made, "assistant", "from 1", lease=first)
            assert caught.value.holder == "worker 2"
            await lab.talks.append(made, "assistant", "from 2", lease=second)
    assert await lab.texts(made) == ["a", "from 2"]


async def test_giving_back_a_lost_lease_leaves_the_next_holder_theirs(lab: Lab) -> None:
    made = await lab.talk("a")
    async with lab.talks.run_lease(made, "worker 1", ttl=MINUTE):
        lab.later(minutes=2)
        second = lab.talks.run_lease(made, "worker 2", ttl=MINUTE)
        held = await second.__aenter__()
    await lab.talks.append(made, "assistant", "from 2", lease=held)
    await second.__aexit__(None, None, None)


async def test_a_lease_that_was_given_back_is_not_accepted(lab: Lab) -> None:
    made = await lab.talk("a")
    async with lab.talks.run_lease(made, "worker 1") as lease:
        pass
    with pytest.raises(LeaseLostError):
        await lab.talks.append(made, "assistant", "later", lease=lease)


async def test_a_lease_can_be_renewed_while_it_is_held(lab: Lab) -> None:
    made = await lab.talk("a")
    async with lab.talks.run_lease(made, "worker 1", ttl=MINUTE) as lease:
        lab.later(seconds=59)
        renewed = await lab.store.renew(lease)
        assert (renewed.fence, renewed.expires_at) == (lease.fence, lab.clock() + MINUTE)
        lab.later(seconds=59)
        await lab.talks.append(made, "assistant", "b", lease=lease)
        lab.later(seconds=1)
        with pytest.raises(LeaseLostError):
            await lab.store.renew(renewed)
    assert await lab.texts(made) == ["a", "b"]


async def test_appends_without_a_lease_are_not_held_up(lab: Lab) -> None:
    made = await lab.talk("a")
    async with lab.talks.run_lease(made, "worker 1"):
        await lab.talks.append(made, "user", "b")
    assert await lab.texts(made) == ["a", "b"]


async def test_of_many_who_want_a_lease_one_gets_it(lab: Lab) -> None:
    made = await lab.talk("a")
    leases = [lab.talks.run_lease(made, f"worker {number}") for number in range(6)]
    outcomes = await lab.outcomes(*[lease.__aenter__ for lease in leases])
    assert sum(not isinstance(outcome, LeaseHeldError) for outcome in outcomes) == 1


async def test_a_lease_of_the_store_fences_what_is_stored_under_it(lab: Lab) -> None:
    made = await lab.talk("a")
    async with lab.store.lease("nightly", MINUTE, owner="worker 1") as first:
        await lab.talks.append(made, "assistant", "from 1", lease=first)
        lab.later(minutes=2)
        async with lab.store.lease("nightly", MINUTE, owner="worker 2") as second:
            assert second.fence > first.fence
            await lab.talks.append(made, "assistant", "from 2", lease=second)
            with pytest.raises(LeaseLostError):
                await lab.talks.append(made, "assistant", "late from 1", lease=first)
    assert await lab.texts(made) == ["a", "from 1", "from 2"]


async def test_leases_of_the_store_are_known_by_their_name_and_say_who_holds_them(lab: Lab) -> None:
    async with lab.store.lease("nightly", MINUTE) as lease, lab.store.lease("daily", MINUTE):
        with pytest.raises(LeaseHeldError) as caught:
            async with lab.store.lease("nightly", MINUTE):
                raise AssertionError("two holders at once")
        assert caught.value.holder == lease.holder
        assert lease.holder


async def test_a_run_of_what_is_not_there_is_not_found(lab: Lab) -> None:
    with pytest.raises(NotFoundError):
        async with lab.talks.run_lease("0" * 26, "worker"):
            raise AssertionError("there is no such conversation")


@pytest.mark.parametrize(
    ("owner", "ttl"),
    [("", MINUTE), (None, MINUTE), (1.5, MINUTE), ("x" * 513, MINUTE), ("w", timedelta(0)), ("w", -MINUTE), ("w", 60)],
)
async def test_a_run_has_an_owner_and_a_time(lab: Lab, owner: Any, ttl: Any) -> None:
    made = await lab.talk("a")
    with pytest.raises((InvalidValueError, LimitError)):
        async with lab.talks.run_lease(made, owner, ttl=ttl):
            raise AssertionError("what has no owner or no time is no lease")
    async with lab.talks.run_lease(made, "worker"):
        pass
