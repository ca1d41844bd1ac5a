"""Races that are won because of a guard, and lost without it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from sojourn import (
    Claim,
    EndedError,
    ExpiredError,
    KeyReusedError,
    LeaseHeldError,
    LimitError,
    NameTakenError,
    NotFoundError,
    PointerError,
    RoleInUseError,
    UnknownRoleError,
    WorkspacePolicy,
)
from sojourn.core.batch import Batch, Write
from sojourn.errors import SojournError
from sojourn.store import AsyncStore
from sojourn.testing.places import Directory, Host, MemoryPlaces
from sojourn.testing.simulation import RaceLostError, Simulation, explore, explore_crashes, pause

pytestmark = pytest.mark.slow

Scenario = Callable[[Simulation], Coroutine[Any, Any, None]]


def at_work(simulation: Simulation, places: MemoryPlaces | None = None, **policy: Any) -> Any:
    """Workspaces of the simulation's store, in a place."""
    store = simulation.store()
    where = places or MemoryPlaces(agent="ada")
    settings = replace(store._settings, workspaces=WorkspacePolicy(**policy), places=lambda: where)
    return AsyncStore(store._engine, settings).workspaces


def expected(outcomes: list[Any], *errors: type[SojournError]) -> list[Any]:
    """What was given, where nothing but these errors was raised."""
    for outcome in outcomes:
        assert outcome.error is None or isinstance(outcome.error, errors), outcome.error
    return [outcome.value for outcome in outcomes if outcome.done]


async def a_name_is_wanted_by_several(simulation: Simulation) -> None:
    kind = at_work(simulation)
    outcomes = await simulation.race(*[lambda: kind.start("implementer", "lead")] * 3)
    won = expected(outcomes, NameTakenError)
    assert [one.id for one in won] == [one.id for one in await kind.list()]
    assert len(won) == 1


async def a_claim_meets_an_end(simulation: Simulation) -> None:
    """Whoever comes too late is told so about the session, with the session as callers see it."""
    kind = at_work(simulation)
    made = await kind.start("implementer", "lead")
    claimed, ended = await simulation.race(lambda: kind.claim(made.id, "src"), lambda: kind.end(made.id))
    assert ended.done
    expected([claimed], EndedError)
    if claimed.error is not None:
        assert isinstance(claimed.error, EndedError)
        assert claimed.error.record == ended.value
        assert "workspace lead" in str(claimed.error)
    assert await kind.claims() == []


async def a_name_changes_hands(simulation: Simulation) -> None:
    """Ended, renamed away and wanted by others at the same time: at most one open session ever has it."""
    kind = at_work(simulation)
    first = await kind.start("implementer", "lead")
    other = await kind.start("implementer", "other")
    outcomes = await simulation.race(
        lambda: kind.end(first.id),
        lambda: kind.start("implementer", "lead"),
        lambda: kind.rename(other.id, "lead"),
    )
    expected(outcomes, NameTakenError)
    names = Counter([one.name for one in await kind.list()])
    assert names.most_common(1)[0][1] == 1, names
    for one in await kind.list():
        assert (await kind.resolve(one.name)).workspace.id == one.id


async def a_stale_name_is_wanted_while_its_session_is_touched(simulation: Simulation) -> None:
    """Its deadline passes between a look and a commit; whoever has the name is open, and only one is."""
    kind = at_work(simulation, stale_after=timedelta(hours=1))
    first = await kind.start("implementer", "lead")
    simulation.clock.advance(timedelta(minutes=59))

    async def time_passes() -> None:
        await pause()
        simulation.clock.advance(timedelta(minutes=2))
        await pause()

    outcomes = await simulation.race(lambda: kind.start("implementer", "lead"), lambda: kind.heartbeat(first.id), time_passes)
    open_ = [one for one in await kind.list() if one.name == "lead"]
    assert len(open_) <= 1
    if outcomes[0].done:
        assert open_[0].id == outcomes[0].result().id


async def a_session_is_renamed_twice(simulation: Simulation) -> None:
    """It has one of the names, and the others are free."""
    kind = at_work(simulation)
    one = await kind.start("implementer", "first")
    expected(await simulation.race(lambda: kind.rename(one.id, "second"), lambda: kind.rename(one.id, "third")))
    kept: str = (await kind.get(one.id)).name
    for name in {"first", "second", "third"} - {kept}:
        assert (await kind.start("implementer", name)).name == name
    with pytest.raises(NameTakenError):
        await kind.start("implementer", kept)


async def a_role_has_its_limit(simulation: Simulation) -> None:
    kind = at_work(simulation, max_active_per_role={"implementer": 2})
    outcomes = await simulation.race(*[lambda: kind.start("implementer")] * 4)
    assert len(expected(outcomes, LimitError)) == 2
    assert await kind.count_active() == {"implementer": 2}


async def a_role_is_removed_while_one_starts_in_it(simulation: Simulation) -> None:
    kind = at_work(simulation)
    await kind.add_role("tester", base="implementer")
    started, removed = await simulation.race(lambda: kind.start("tester"), lambda: kind.remove_role("tester"))
    expected([started, removed], UnknownRoleError, RoleInUseError)
    known = {role.name for role in await kind.roles()}
    assert {one.role for one in await kind.list()} <= known
    assert started.done != removed.done


async def claims_overlap(simulation: Simulation) -> None:
    kind = at_work(simulation)
    one, two, three = [(await kind.start("implementer")).id for _ in range(3)]
    await kind.claim(one, "docs")
    outcomes = await simulation.race(
        lambda: kind.claim(one, "src/"), lambda: kind.claim(two, "src/a.py"), lambda: kind.claim(three, "src")
    )
    won: list[Claim] = expected(outcomes, LeaseHeldError)
    assert await kind.claims("src") == won
    assert len(won) == 1


async def the_first_claims_overlap(simulation: Simulation) -> None:
    """The project's record is made by one of them."""
    kind = at_work(simulation)
    one, two = [(await kind.start("implementer")).id for _ in range(2)]
    outcomes = await simulation.race(lambda: kind.claim(one, "src"), lambda: kind.claim(two, "."))
    assert await kind.claims() == expected(outcomes, LeaseHeldError)


async def fencing_numbers_grow(simulation: Simulation) -> None:
    kind = at_work(simulation)
    ids = [(await kind.start("implementer")).id for _ in range(3)]
    outcomes = await simulation.race(*[lambda id=id, name=f"r{n}": kind.claim(id, name) for n, id in enumerate(ids)])
    assert sorted(claim.fence for claim in expected(outcomes)) == [1, 2, 3]


async def a_session_ends_while_it_claims(simulation: Simulation) -> None:
    """A claim that was given was given to a session that was open; afterwards it does not count."""
    kind = at_work(simulation)
    one = await kind.start("implementer")
    claimed, ended = await simulation.race(lambda: kind.claim(one.id, "src"), lambda: kind.end(one.id))
    assert ended.done
    assert claimed.done or claimed.error is not None
    assert await kind.claims() == []
    changes = [event.change for event in await simulation.store().sessions.events(one.id)]
    assert changes[-1] == "ended"


async def a_stale_one_is_touched_while_it_is_swept(simulation: Simulation) -> None:
    """A clock that was ahead is put right between a sweep's look and its commit: what is touched by then stays."""
    kind = at_work(simulation, stale_after=timedelta(hours=1))
    one = await kind.start("implementer")
    simulation.clock.advance(timedelta(hours=2))

    async def put_right() -> None:
        await pause()
        simulation.clock.advance(timedelta(minutes=-90))

    touched, swept, _ = await simulation.race(lambda: kind.heartbeat(one.id), kind.expire_stale, put_right)
    found = await kind.get(one.id)
    assert swept.done
    assert swept.value == (found.state == "expired")
    assert not (touched.done and swept.value)


async def the_projects_pointer_is_wanted(simulation: Simulation) -> None:
    """Of shells without keys that start at once one has the project's pointer, and nobody live is displaced."""
    directory = Directory()
    kinds = [at_work(simulation, MemoryPlaces(directory)) for _ in range(3)]
    outcomes = await simulation.race(*[lambda kind=kind: kind.start("implementer") for kind in kinds])
    made = expected(outcomes)
    assert sorted(one.pointer or "" for one in made) == ["", "", "project"]
    pointed = next(one for one in made if one.pointer)
    assert directory.pointers["project", ""] == pointed.id


async def two_hold_at_once(simulation: Simulation) -> None:
    """On different hosts, where only the lease tells them apart."""
    directory = Directory()
    one = await at_work(simulation, MemoryPlaces(directory)).start("implementer")
    holds = [at_work(simulation, MemoryPlaces(directory, Host(name))).hold(one.id) for name in ("h1", "h2", "h3")]
    taken = []
    for hold in holds:
        hold._home = one.project_id
        taken.append(hold._take)
    outcomes = await simulation.race(*taken)
    assert len(expected(outcomes, LeaseHeldError)) == 1


async def a_lost_session_comes_back_while_another_host_takes_it(simulation: Simulation) -> None:
    """Whoever holds it in the end is seen to hold it."""
    kind = at_work(simulation)
    one = await kind.start("implementer")
    await mark_as_held(simulation, one.id)
    simulation.clock.advance(timedelta(seconds=90))
    hold = at_work(simulation, MemoryPlaces(Directory(), Host("other"))).hold(one.id)
    hold._home = one.project_id
    back, taken = await simulation.race(lambda: kind.heartbeat(one.id), hold._take)
    assert back.done
    assert taken.done
    assert (await kind.get(one.id)).held


async def mark_as_held(simulation: Simulation, id: str) -> None:
    """A process of a host that is gone held it."""
    mark = {"host": "elsewhere", "ttl": 90_000_000}
    await simulation.engine.commit(Batch("default", "project-1", (Write(id, set=((("hold",), mark),)),)))


async def a_lost_session_is_taken_from_while_it_comes_back(simulation: Simulation) -> None:
    """Its claim goes to another only as long as it is lost; at the end nobody has what overlaps."""
    places = MemoryPlaces(agent="ada")
    kind = at_work(simulation, places)
    one, two = [(await kind.start("implementer")).id for _ in range(2)]
    await kind.claim(one, "src")
    await mark_as_held(simulation, one)
    simulation.clock.advance(timedelta(seconds=90))
    outcomes = await simulation.race(
        lambda: kind.heartbeat(one), lambda: kind.claim(two, "src/a.py"), lambda: kind.claim(one, "src/b.py")
    )
    expected(outcomes, LeaseHeldError)
    held = await kind.claims()
    for first in held:
        for second in held:
            if first.session_id != second.session_id:
                assert not first.resource.startswith(second.resource)


WON = [
    a_name_is_wanted_by_several,
    a_name_changes_hands,
    a_claim_meets_an_end,
    a_stale_name_is_wanted_while_its_session_is_touched,
    a_session_is_renamed_twice,
    a_role_has_its_limit,
    a_role_is_removed_while_one_starts_in_it,
    claims_overlap,
    the_first_claims_overlap,
    fencing_numbers_grow,
    a_session_ends_while_it_claims,
    a_stale_one_is_touched_while_it_is_swept,
    the_projects_pointer_is_wanted,
    two_hold_at_once,
    a_lost_session_comes_back_while_another_host_takes_it,
    a_lost_session_is_taken_from_while_it_comes_back,
]


@pytest.mark.parametrize("scenario", WON, ids=lambda scenario: scenario.__name__)
def test_won(scenario: Scenario) -> None:
    explore(scenario, seeds=300)


@pytest.mark.parametrize(
    ("scenario", "guard"),
    [
        (a_name_is_wanted_by_several, "epoch"),
        (a_name_is_wanted_by_several, "unique"),
        (a_name_changes_hands, "epoch"),
        (a_lost_session_comes_back_while_another_host_takes_it, "version"),
        (a_role_has_its_limit, "version"),
        (a_role_is_removed_while_one_starts_in_it, "phase"),
        (a_role_is_removed_while_one_starts_in_it, "version"),
        (claims_overlap, "version"),
        (fencing_numbers_grow, "version"),
        (a_stale_one_is_touched_while_it_is_swept, "due"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_lost_without_its_guard(scenario: Scenario, guard: str) -> None:
    with pytest.raises(RaceLostError):
        explore(scenario, seeds=1000, without=guard)


async def a_start_is_cut_short(simulation: Simulation) -> None:
    """Whatever step it dies at, the name is either free or belongs to an open session that can be found by it."""
    kind = at_work(simulation)
    await simulation.alone(lambda: kind.start("implementer", "lead"), crash=True)
    there = list(await kind.list())
    if there:
        assert (await kind.resolve("lead")).workspace.id == there[0].id
        await kind.end("lead")
    assert (await kind.start("implementer", "lead")).live


async def an_end_is_cut_short(simulation: Simulation) -> None:
    """It is over and its name free, or neither."""
    kind = at_work(simulation)
    one = await kind.start("implementer", "lead")
    await simulation.alone(lambda: kind.end(one.id), crash=True)
    found = await kind.get(one.id)
    outcome = await simulation.alone(lambda: kind.start("implementer", "lead"))
    assert outcome.done == (found.state == "ended")


@pytest.mark.parametrize("scenario", [a_start_is_cut_short, an_end_is_cut_short], ids=lambda scenario: scenario.__name__)
def test_a_crash_leaves_nothing_half(scenario: Scenario) -> None:
    assert explore_crashes(scenario, seeds=10) > 10


# -- one request sent twice, beside others -----------------------------------------------------------------------------


def alike(outcomes: list[Any], *errors: type[SojournError]) -> None:
    """Two calls under one key were told the same: one answer, or that it cannot be."""
    one, two = outcomes[:2]
    expected([one, two], *errors)
    assert one.done == two.done, (one, two)
    assert getattr(one.value, "id", one.value) == getattr(two.value, "id", two.value)


async def a_start_fails_to_point_beside_its_twin(simulation: Simulation) -> None:
    """Whoever was given the session goes on in it."""
    directory = Directory()
    broken = MemoryPlaces(directory)

    def refuse(*_: Any) -> bool:
        raise PointerError("read-only")

    broken.swap = refuse  # type: ignore[assignment,method-assign]
    places = [broken, MemoryPlaces(directory)]
    outcomes = await simulation.race(
        *[lambda one=one: at_work(simulation, one).start("implementer", "lead", key="k") for one in places]
    )
    found = await at_work(simulation).get(outcomes[1].result().id)
    assert found.live


async def a_claim_is_released_twice(simulation: Simulation) -> None:
    kind = at_work(simulation)
    claim = await kind.claim((await kind.start("implementer")).id, "src")
    twins = [lambda: at_work(simulation).release(claim, key="k")] * 2
    alike(await simulation.race(*twins, lambda: kind.release(claim)))


async def a_role_is_removed_twice(simulation: Simulation) -> None:
    kind = at_work(simulation)
    await kind.add_role("tester", base="implementer")
    twins = [lambda: at_work(simulation).remove_role("tester", key="k")] * 2
    alike(await simulation.race(*twins, lambda: kind.remove_role("tester")))


async def a_session_expires_twice_beside_its_end(simulation: Simulation) -> None:
    kind = at_work(simulation)
    id = (await kind.start("implementer")).id
    twins = [lambda: at_work(simulation).expire(id, key="k")] * 2
    alike(await simulation.race(*twins, lambda: kind.end(id)))


async def an_end_by_the_beginning_of_a_name_meets_another(simulation: Simulation) -> None:
    kind = at_work(simulation)
    id = (await kind.start("implementer", "lead")).id
    twins = [lambda: at_work(simulation).end("le", key="k")] * 2
    alike(await simulation.race(*twins, lambda: kind.end(id)), NotFoundError)


async def an_end_by_the_beginning_of_a_name_meets_a_rename(simulation: Simulation) -> None:
    kind = at_work(simulation)
    id = (await kind.start("implementer", "lead")).id
    twins = [lambda: at_work(simulation).end("le", key="k")] * 2
    alike(await simulation.race(*twins, lambda: kind.rename(id, "other")), NotFoundError, EndedError)


async def a_session_is_used_twice_beside_its_end(simulation: Simulation) -> None:
    directory = Directory()
    kind = at_work(simulation, MemoryPlaces(directory, agent="ada"))
    id = (await kind.start("implementer", "lead")).id
    twins = [lambda: at_work(simulation, MemoryPlaces(directory, agent="ada")).use("lead", key="k")] * 2
    alike(await simulation.race(*twins, lambda: kind.end(id)), EndedError)


async def a_session_keeps_its_name_twice_beside_its_expiry(simulation: Simulation) -> None:
    kind = at_work(simulation)
    id = (await kind.start("implementer", "lead")).id
    twins = [lambda: at_work(simulation).rename(id, "lead", key="k")] * 2
    alike(await simulation.race(*twins, lambda: kind.expire(id)), ExpiredError)


TOLD_ALIKE = [
    a_start_fails_to_point_beside_its_twin,
    a_claim_is_released_twice,
    a_role_is_removed_twice,
    a_session_expires_twice_beside_its_end,
    an_end_by_the_beginning_of_a_name_meets_another,
    an_end_by_the_beginning_of_a_name_meets_a_rename,
    a_session_is_used_twice_beside_its_end,
    a_session_keeps_its_name_twice_beside_its_expiry,
]


@pytest.mark.parametrize("scenario", TOLD_ALIKE, ids=lambda scenario: scenario.__name__)
def test_one_request_sent_twice_is_told_the_same(scenario: Scenario) -> None:
    explore(scenario, seeds=600)


async def the_one_before_is_used_and_what_was_left_is_deleted(simulation: Simulation) -> None:
    """Cut short once the pointer was moved, and asked again when what "-" means by then is gone."""
    directory = Directory()
    kind = at_work(simulation, MemoryPlaces(directory, agent="ada"))
    one, two = [await kind.start("implementer", name) for name in ("one", "two")]
    await simulation.alone(lambda: kind.use("-", key="k"), crash=True)
    if (await kind.resolve()).workspace.id != one.id:
        return
    await simulation.store().sessions.delete(two.id)
    assert (await kind.use("-", key="k")).id == one.id


def test_the_session_before_is_the_one_that_was_meant_first() -> None:
    assert explore_crashes(the_one_before_is_used_and_what_was_left_is_deleted, seeds=3) > 3


@pytest.mark.parametrize("other", [{"pointer": None}, {"replace": True}], ids=lambda value: next(iter(value)))
def test_a_start_with_another_pointer_is_another_request(other: dict[str, Any]) -> None:
    async def scenario(simulation: Simulation) -> None:
        kind = at_work(simulation)
        await kind.start("implementer", "lead", key="k")
        with pytest.raises(KeyReusedError):
            await kind.start("implementer", "lead", key="k", **other)

    Simulation().run(scenario)
