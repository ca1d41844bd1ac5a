"""The simulator itself: orders come from seeds, crashes are like a dead process, and mistakes are named."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from sojourn import UnsupportedError
from sojourn.testing.simulation import GUARDS, Outcome, RaceLostError, Simulation, explore, explore_crashes, interleaved, pause


async def counting(simulation: Simulation) -> None:
    """A program with a race in it: it reads, waits, and writes."""
    talks = simulation.store().conversations
    talk = (await talks.create("ann", metadata={"count": 0})).id

    async def add_one() -> None:
        found = await talks.get(talk)
        assert found is not None
        await talks.update(talk, {"count": found.metadata["count"] + 1})

    await simulation.race(add_one, add_one)
    found = await talks.get(talk)
    assert found is not None
    assert found.metadata["count"] == 2


def test_a_lost_update_in_a_users_own_code_is_found() -> None:
    with pytest.raises(RaceLostError) as caught:
        explore(counting, seeds=100)
    assert f"seed={caught.value.seed}" in str(caught.value)
    assert any("commit (Write updated)" in step for step in caught.value.steps)
    assert isinstance(caught.value.__cause__, AssertionError)


def test_the_same_seed_brings_the_same_steps() -> None:
    def steps(seed: int) -> tuple[str, ...]:
        simulation = Simulation(seed)
        try:
            simulation.run(counting)
        except RaceLostError:
            pass
        return tuple(simulation.steps)

    assert [steps(seed) for seed in range(20)] == [steps(seed) for seed in range(20)]
    assert len({steps(seed) for seed in range(20)}) > 5


def test_ids_and_times_come_from_the_seed_too() -> None:
    made: list[tuple[str, object]] = []

    async def scenario(simulation: Simulation) -> None:
        found = await simulation.store().conversations.create("ann")
        made.append((found.id, found.created_at))

    for _ in range(2):
        explore(scenario, seeds=[7])
    assert made[0] == made[1]


def test_an_operation_may_be_dropped_after_each_of_its_steps() -> None:
    lengths: list[int] = []

    async def scenario(simulation: Simulation) -> None:
        talks = simulation.store().conversations
        talk = (await talks.create("ann")).id
        outcome = await simulation.alone(lambda: talks.append(talk, "user", "x"), crash=True)
        assert outcome.crashed == simulation.crashed != outcome.done
        lengths.append(len(await talks.messages(talk)))

    assert explore_crashes(scenario, seeds=1) == 3
    assert lengths == [0, 0, 1, 1]


def test_what_is_dropped_reaches_the_store_no_more_like_a_dead_process() -> None:
    async def scenario(simulation: Simulation) -> None:
        talks = simulation.store().conversations
        talk = (await talks.create("ann")).id

        async def work() -> None:
            try:
                async with talks.run_lease(talk, "worker"):
                    await pause()
            finally:
                await talks.append(talk, "user", "only when it got so far")

        await simulation.alone(work, crash=True)
        got_so_far = "0: after commit (Write appended)" in simulation.steps
        assert len(await talks.messages(talk)) == got_so_far

    assert explore_crashes(scenario, seeds=1) == 10


def test_results_and_errors_of_a_race_are_in_order() -> None:
    async def scenario(simulation: Simulation) -> None:
        async def fine() -> str:
            await pause()
            return "fine"

        async def wrong() -> None:
            await pause()
            raise KeyError("wrong")

        one, two, three = await simulation.race(fine, wrong, fine)
        assert (one.result(), three.result(), two.done) == ("fine", "fine", False)
        with pytest.raises(KeyError):
            two.result()

    explore(scenario, seeds=20)
    with pytest.raises(AssertionError):
        Outcome(crashed=True).result()


def test_what_waits_for_an_event_loop_is_named() -> None:
    async def scenario(simulation: Simulation) -> None:
        class Waits:
            def __await__(self):  # type: ignore[no-untyped-def]
                yield 5

        async def work() -> None:
            await Waits()

        await simulation.race(work)

    with pytest.raises(RaceLostError, match="cannot be simulated"):
        explore(scenario, seeds=1)


def test_what_never_ends_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sojourn.testing.simulation._MOST_STEPS", 50)

    async def scenario(simulation: Simulation) -> None:
        async def spin() -> None:
            while True:
                await pause()

        await simulation.race(spin)

    async def alone(simulation: Simulation) -> None:
        while True:
            await pause()

    for endless in (scenario, alone):
        with pytest.raises(RaceLostError, match="never end"):
            explore(endless, seeds=1)


def test_time_passes_only_when_the_scenario_says_so() -> None:
    async def scenario(simulation: Simulation) -> None:
        store = simulation.store()
        before = simulation.clock()
        await store.conversations.create("ann")
        watch = store.watch(timeout=timedelta(0))
        assert [event async for event in watch] == []
        await simulation.engine.sleep(3600)
        assert simulation.clock() == before

    explore(scenario, seeds=1)


def test_several_stores_share_one_place() -> None:
    async def scenario(simulation: Simulation) -> None:
        one, two = simulation.store(), simulation.store(tenant="other")
        made = await one.conversations.create("ann")
        assert await two.conversations.get(made.id) is None
        assert await simulation.store().conversations.get(made.id) is not None
        assert one.capabilities.engine == "memory"

    explore(scenario, seeds=1)


def test_nothing_runs_beside_a_simulation() -> None:
    async def scenario(simulation: Simulation) -> None:
        async with simulation.store().runner():
            raise AssertionError("it cannot be entered")

    with pytest.raises(RaceLostError) as caught:
        explore(scenario, seeds=1)
    assert isinstance(caught.value.__cause__, UnsupportedError)


def test_only_known_guards_can_be_taken_out() -> None:
    from sojourn.engines.memory import MemoryEngine

    engine = MemoryEngine(lambda: 0)
    for guard in (None, *GUARDS):
        assert interleaved(engine, without=guard).capabilities.engine == "memory"
    with pytest.raises(ValueError, match="gossip"):
        interleaved(engine, without="gossip")


def test_outside_of_a_simulation_a_pause_is_an_error() -> None:
    async def program() -> None:
        await pause()

    with pytest.raises(RuntimeError):
        asyncio.run(program())
