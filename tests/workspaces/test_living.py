"""A session goes idle, is lost with its holder, comes back by touch, goes stale, or ends; each once and for all to see."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

import pytest

from sojourn import EndedError, ExpiredError, LeaseHeldError, LeaseLostError, LimitError, NameTakenError, NotFoundError
from sojourn.testing.places import Host, MemoryPlaces

if TYPE_CHECKING:
    from sojourn import AsyncWorkspaces, Held
    from tests.conversations.conftest import Lab


def elsewhere(lab: Lab, **more: Any) -> AsyncWorkspaces:
    """The same project as another host sees it."""
    return lab.at_work(MemoryPlaces(lab.places.directory, Host("there"), agent="bob"), **more)


async def test_a_quiet_session_is_idle_and_still_live(lab: Lab) -> None:
    made = await lab.workspaces.start("implementer")
    lab.later(minutes=15)
    found = (await lab.workspaces.resolve()).workspace
    assert (found.state, found.live) == ("idle", True)
    assert await lab.workspaces.count_active() == {"implementer": 1}
    assert (await lab.workspaces.heartbeat(made.id)).state == "active"


async def test_what_nobody_holds_is_never_lost(lab: Lab) -> None:
    made = await lab.workspaces.start("implementer")
    lab.later(hours=3, minutes=59)
    found = await lab.workspaces.get(made.id)
    assert found is not None
    assert found.state == "idle"


async def test_a_held_session_is_lost_at_once_when_its_holder_is_gone(lab: Lab) -> None:
    made = await lab.workspaces.start("implementer")
    async with lab.workspaces.hold(made.id) as held:
        assert held.workspace.held
        lab.places.host_of.kill(made.id)
        found = await lab.workspaces.get(made.id)
        assert found is not None
        assert (found.state, found.live, found.held) == ("lost", False, False)
        assert await lab.workspaces.count_active() == {}
        seen = await elsewhere(lab).get(made.id)  # another host goes by heartbeats
        assert seen is not None
        assert seen.state == "active"
        lab.later(seconds=90)
        seen = await elsewhere(lab).get(made.id)
        assert seen is not None
        assert seen.state == "lost"


async def test_a_lost_session_comes_back_by_touch(lab: Lab) -> None:
    for touch in ("heartbeat", "load_active", "resume", "rename", "update", "claim"):
        made = await lab.workspaces.start("implementer", touch.replace("_", "-"))
        async with lab.workspaces.hold(made.id):
            lab.places.host_of.kill(made.id)
            arguments: dict[str, list[Any]] = {"rename": ["another-name"], "update": [{"a": 1}], "claim": ["src/" + touch]}
            more = arguments.get(touch, [])
            await getattr(lab.workspaces, touch)(made.id, *more)
            back = await lab.workspaces.get(made.id)
            assert back is not None
            assert (back.state, back.held) == ("active", False), touch


async def test_what_is_held_is_held_once(lab: Lab) -> None:
    made = await lab.workspaces.start("implementer")
    async with lab.workspaces.hold(made.id):
        with pytest.raises(LeaseHeldError):
            async with lab.workspaces.hold(made.id):
                pass
        with pytest.raises(LeaseHeldError, match="here/"):
            async with elsewhere(lab).hold(made.id):
                pass
    found = await lab.workspaces.get(made.id)
    assert found is not None
    assert (found.held, found.state) == (False, "active")
    async with elsewhere(lab).hold(made.id) as again:
        assert again.lease.fence == 2


async def test_a_dead_holder_is_followed_at_once_on_its_host(lab: Lab) -> None:
    made = await lab.workspaces.start("implementer")
    async with lab.workspaces.hold(made.id) as first:
        lab.places.host_of.kill(made.id)
        async with lab.workspaces.hold(made.id) as second:
            assert second.lease.fence == first.lease.fence + 1
            with pytest.raises(LeaseLostError):
                await lab.workspaces.update(made.id, {"by": "first"}, lease=first.lease)
            updated = await lab.workspaces.update(made.id, {"by": "second"}, lease=second.lease)
        assert updated.metadata == {"by": "second"}
    found = await lab.workspaces.get(made.id)
    assert found is not None
    assert not found.held


async def test_a_holder_that_was_stopped_past_its_lease_cannot_commit(lab: Lab) -> None:
    made = await lab.workspaces.start("implementer")
    async with lab.workspaces.hold(made.id) as held:
        await lab.workspaces.heartbeat(made.id, lease=held.lease)
        lab.later(seconds=90)
        for refused in (
            lambda: lab.workspaces.update(made.id, {"a": 1}, lease=held.lease),
            lambda: lab.workspaces.heartbeat(made.id, lease=held.lease),
            lambda: lab.workspaces.claim(made.id, "src", lease=held.lease),
        ):
            with pytest.raises(LeaseLostError):
                await refused()
        found = await lab.workspaces.get(made.id)
        assert found is not None
        assert (found.state, found.metadata) == ("lost", {})
        assert await lab.workspaces.claims() == []


def pulse(lab: Lab, kind: AsyncWorkspaces, hold: Any) -> Any:
    """A hold whose heartbeats a test gives by hand, beneath the blocking face."""
    return hold._inner._context if lab.blocking else hold


async def beat(lab: Lab, hold: Any, held: Held) -> None:
    """One heartbeat."""
    held.error = await pulse(lab, lab.workspaces, hold)._renew(held)


async def test_heartbeats_keep_a_session_and_its_number(lab: Lab) -> None:
    made = await lab.workspaces.start("implementer")
    hold = lab.workspaces.hold(made.id)
    async with hold as held:
        for _ in range(5):
            lab.later(seconds=60)
            await beat(lab, hold, held)
        found = await elsewhere(lab).get(made.id)
        assert found is not None
        assert (found.state, found.held, found.last_activity_at) == ("active", True, lab.clock())
        assert (held.lease.fence, held.lost, held.lease.expires_at) == (1, False, lab.clock() + timedelta(seconds=90))


async def test_a_holder_that_wakes_up_takes_its_session_again_under_a_new_number(lab: Lab) -> None:
    made = await lab.workspaces.start("implementer")
    hold = lab.workspaces.hold(made.id)
    async with hold as held:
        old = held.lease
        lab.later(minutes=10)
        await beat(lab, hold, held)
        assert (held.lost, held.error, held.lease.fence) == (False, None, 2)
        with pytest.raises(LeaseLostError):
            await lab.workspaces.heartbeat(made.id, lease=old)
        found = await lab.workspaces.get(made.id)
        assert found is not None
        assert (found.state, found.held) == ("active", True)


async def test_a_holder_that_wakes_up_too_late_is_told(lab: Lab) -> None:
    made = await lab.workspaces.start("implementer")
    hold = lab.workspaces.hold(made.id)
    async with hold as held:
        lab.later(minutes=10)
        async with elsewhere(lab).hold(made.id) as other:
            await beat(lab, hold, held)
            assert held.lost
            assert isinstance(held.error, LeaseHeldError)
            await elsewhere(lab).heartbeat(made.id, lease=other.lease)
    for over, error in (("end", EndedError), ("expire", ExpiredError)):
        made = await lab.workspaces.start("implementer")
        hold = lab.workspaces.hold(made.id)
        async with hold as held:
            await getattr(lab.workspaces, over)(made.id)
            await beat(lab, hold, held)
            assert held.lost
            assert isinstance(held.error, error)


async def test_heartbeats_go_on_beside_the_caller(lab: Lab) -> None:
    kind = lab.at_work(heartbeat_every=timedelta(milliseconds=1))
    made = await kind.start("implementer")
    async with kind.hold(made.id) as held:
        first = held.lease.expires_at
        lab.later(microseconds=500)
        engine = pulse(lab, kind, kind.hold(made.id))._unit.engine
        for _ in range(60_000):
            if held.lease.expires_at > first:
                break
            await engine.sleep(0.001)
        assert held.lease.expires_at > first


async def test_coming_back_does_not_break_a_limit(lab: Lab) -> None:
    few = lab.at_work(max_active_per_role={"implementer": 1})
    first = await few.start("implementer")
    async with few.hold(first.id):
        lab.places.host_of.kill(first.id)
        second = await few.start("implementer")
        with pytest.raises(LimitError):
            await few.heartbeat(first.id)
        await few.end(second.id)
        assert (await few.heartbeat(first.id)).state == "active"


# -- over --------------------------------------------------------------------------------------------------------------


async def test_end_is_idempotent_and_keeps_the_first_time(lab: Lab) -> None:
    made = await lab.workspaces.start("implementer")
    first = await lab.workspaces.end(reason="done")
    lab.later(minutes=1)
    second = await lab.workspaces.end(reason="again")
    assert second == first
    assert (first.id, first.state, first.end_reason, first.ended_at) == (made.id, "ended", "done", made.created_at)
    assert [event.change for event in await lab.events()] == ["created", "ended"]
    assert (await lab.workspaces.resolve()).workspace.state == "ended"  # the pointer stays


async def test_the_same_key_ends_one_session_whatever_is_pointed_at_by_then(lab: Lab) -> None:
    first = await lab.workspaces.start("implementer")
    await lab.workspaces.end(key="k")
    second = await lab.workspaces.start("implementer")
    assert (await lab.workspaces.end(key="k")).id == first.id
    found = await lab.workspaces.get(second.id)
    assert found is not None
    assert found.live


async def test_what_is_over_does_not_come_back(lab: Lab) -> None:
    ended = await lab.workspaces.start("implementer", "ended")
    await lab.workspaces.end(ended.id)
    expired = await lab.workspaces.start("implementer", "expired")
    assert await lab.workspaces.expire(expired.id)
    for made, error in ((ended, EndedError), (expired, ExpiredError)):
        for touch in (
            lambda id: lab.workspaces.heartbeat(id),
            lambda id: lab.workspaces.resume(id),
            lambda id: lab.workspaces.use(id),
            lambda id: lab.workspaces.rename(id, "other"),
            lambda id: lab.workspaces.update(id, {"a": 1}),
            lambda id: lab.workspaces.claim(id, "src"),
            lambda id: lab.workspaces.hold(id).__aenter__(),
        ):
            with pytest.raises(error) as raised:
                await touch(made.id)
            assert raised.value.record.id == made.id


async def test_expire_says_whether_it_is_expired(lab: Lab) -> None:
    made = await lab.workspaces.start("implementer", "lead")
    assert await lab.workspaces.expire(made.id, project_id="project-2") is False
    assert await lab.workspaces.expire(made.id) is True
    first = await lab.workspaces.get(made.id)
    lab.later(minutes=1)
    assert await lab.workspaces.expire(made.id) is True
    assert await lab.workspaces.get(made.id) == first
    assert first is not None
    assert (first.state, first.ended_at) == ("expired", made.created_at)
    assert await lab.workspaces.expire("nothing") is False
    other = await lab.workspaces.start("implementer", "lead")
    await lab.workspaces.end(other.id)
    assert await lab.workspaces.expire(other.id) is False


async def test_the_stale_expire_once_and_only_they(lab: Lab) -> None:
    old = [await lab.workspaces.start("implementer") for _ in range(3)]
    await lab.workspaces.start("implementer", project_id="project-2")
    lab.later(hours=3)
    await lab.workspaces.heartbeat(old[0].id)
    lab.later(hours=1)
    assert await lab.workspaces.expire_stale(dry_run=True) == 2
    assert await lab.workspaces.expire_stale(dry_run=True) == 2
    assert await lab.workspaces.expire_stale() == 2
    assert await lab.workspaces.expire_stale() == 0
    assert [one.id for one in await lab.workspaces.list()] == [old[0].id]
    found = await lab.workspaces.get(old[1].id)
    assert found is not None
    assert (found.state, found.ended_at) == ("expired", old[1].expires_at)


async def test_a_sweep_expires_the_stale_of_every_project(lab: Lab) -> None:
    await lab.workspaces.start("implementer")
    await lab.workspaces.start("implementer", project_id="project-2")
    lab.later(hours=4)
    assert (await lab.store.sweep(dry_run=True))["due"] == 2
    assert (await lab.store.sweep())["expired"] == 2
    assert (await lab.store.sweep())["expired"] == 0


async def test_without_a_limit_nothing_goes_stale(lab: Lab) -> None:
    kind = lab.at_work(stale_after=None, idle_after=None)
    made = await kind.start("implementer")
    lab.later(days=999)
    assert made.expires_at is None
    assert (await kind.heartbeat(made.id)).state == "active"


async def test_ending_what_went_stale_says_expired(lab: Lab) -> None:
    made = await lab.workspaces.start("implementer")
    lab.later(hours=5)
    assert (await lab.workspaces.end()).state == "expired"
    found = await lab.workspaces.get(made.id)
    assert found is not None
    assert found.ended_at == made.expires_at


# -- changing ----------------------------------------------------------------------------------------------------------


async def test_a_name_is_exchanged_for_one_that_is_free(lab: Lab) -> None:
    one = await lab.workspaces.start("implementer", "one")
    two = await lab.workspaces.start("implementer", "two")
    with pytest.raises(NameTakenError, match="two"):
        await lab.workspaces.rename(one.id, "two")
    assert (await lab.workspaces.rename(one.id, "three", key="k")).name == "three"
    assert (await lab.workspaces.rename(two.id, "one")).name == "one"
    assert (await lab.workspaces.rename(one.id, "three", key="k")).name == "three"
    assert (await lab.workspaces.rename(one.id, "three")).name == "three"
    await lab.workspaces.end(two.id)
    assert (await lab.workspaces.rename(one.id, "one")).name == "one"
    with pytest.raises(NotFoundError):
        await lab.workspaces.rename("nothing", "x")


async def test_a_name_of_a_stale_session_can_be_taken_by_a_rename(lab: Lab) -> None:
    await lab.workspaces.start("implementer", "old")
    lab.later(hours=4)
    new = await lab.workspaces.start("implementer", "new")
    assert (await lab.workspaces.rename(new.id, "old")).name == "old"
    with pytest.raises(NameTakenError):
        await lab.workspaces.start("implementer", "old")


async def test_metadata_is_patched_key_by_key(lab: Lab) -> None:
    made = await lab.workspaces.start("implementer", metadata={"a": 1, "b": 2})
    await lab.workspaces.update(made.id, {"c": 3}, ["a"], key="k")
    await lab.workspaces.update(made.id, {"b": 4})
    found = await lab.workspaces.update(made.id, {"c": 3}, ["a"], key="k")
    assert found.metadata == {"b": 4, "c": 3}
    with pytest.raises(LimitError):
        await lab.at_work(max_metadata=20).update(made.id, {"long": "x" * 30})
    await lab.each(range(15), lambda number: lab.workspaces.update(made.id, {f"k{number}": number}))
    found = cast("Any", await lab.workspaces.get(made.id))
    assert len(found.metadata) == 17
