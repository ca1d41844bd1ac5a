"""At most one context is active in a scope, whoever races, and what was active can be resumed."""

from __future__ import annotations

import multiprocessing
import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import sojourn
from sojourn import Contexts, NotFoundError

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

    from tests.conversations.conftest import Lab

NAMES = [f"name {number}" for number in range(20)]


async def active_names(lab: Lab) -> list[str]:
    return [item.name for item in await lab.contexts.list(limit=1000) if item.active]


async def test_one_is_active_and_stamps_say_since_when(lab: Lab) -> None:
    for name in "abc":
        await lab.contexts.create(name)
    assert await lab.contexts.active() is None
    first = await lab.contexts.set_active("a")
    assert (first.active, first.resumed_at, first.ended_at) == (True, first.updated_at, None)
    lab.later(minutes=1)
    second = await lab.contexts.set_active("b")
    displaced = await lab.contexts.get("a")
    assert displaced is not None
    assert (displaced.active, displaced.ended_at) == (False, second.resumed_at)
    assert await active_names(lab) == ["b"]
    active = await lab.contexts.active()
    assert active is not None
    assert (active.name, active.active) == ("b", True)
    assert (await lab.contexts.set_active("b", False)).ended_at is not None
    assert (await lab.contexts.set_active("c", active=False)).ended_at is None
    assert await lab.contexts.active() is None


async def test_each_scope_has_its_own(lab: Lab) -> None:
    for scope in (None, "p"):
        await lab.contexts.create("a", scope=scope)
        await lab.contexts.set_active("a", scope=scope)
    await lab.contexts.set_active("a", False, scope="p")
    assert await lab.contexts.active(scope="p") is None
    assert await lab.contexts.active() is not None


async def test_an_absent_name_leaves_the_active_one_alone(lab: Lab) -> None:
    await lab.contexts.create("a")
    before = await lab.contexts.set_active("a")
    with pytest.raises(NotFoundError):
        await lab.contexts.set_active("b")
    assert await lab.contexts.active() == before


async def test_resume_takes_the_last_active_one(lab: Lab) -> None:
    for name in "abc":
        await lab.contexts.create(name)
        await lab.contexts.set_active(name)
        lab.later(minutes=1)
    assert (await lab.contexts.resume()).name == "c"
    await lab.contexts.set_active("c", False)
    await lab.contexts.add("a", "note", "later activity elsewhere")
    assert (await lab.contexts.resume()).name == "c"
    assert (await lab.contexts.resume("a")).name == "a"
    assert await active_names(lab) == ["a"]


@pytest.mark.parametrize("purge", [True, False])
async def test_resume_after_the_last_active_one_was_deleted(lab: Lab, purge: bool) -> None:
    for name in "abc":
        await lab.contexts.create(name)
        await lab.contexts.set_active(name)
        lab.later(minutes=1)
    await lab.contexts.delete("c", purge=purge)
    assert await lab.contexts.active() is None
    assert (await lab.contexts.resume()).name == "b"


async def test_resume_after_another_store_was_opened(disk_lab: Lab) -> None:
    await disk_lab.contexts.add("a", "note", "x")
    await disk_lab.contexts.set_active("a")
    await disk_lab.contexts.set_active("a", False)
    assert (await disk_lab.open().contexts.resume()).name == "a"


async def test_twelve_at_once_leave_one(lab: Lab) -> None:
    for name in NAMES[:12]:
        await lab.contexts.create(name)
    for _ in range(3):
        await lab.together(*[lambda name=name: lab.contexts.set_active(name) for name in NAMES[:12]])
        assert len(await active_names(lab)) == 1
        active = await lab.contexts.active()
        assert active is not None
        assert [active.name] == await active_names(lab)


async def test_deletes_and_renames_between_never_leave_two(lab: Lab) -> None:
    for round_ in range(4):
        for name in "abcd":
            await lab.contexts.create(name, exist_ok=True)
        await lab.outcomes(
            lambda: lab.contexts.set_active("a"),
            lambda: lab.contexts.set_active("b"),
            lambda: lab.contexts.delete("a"),
            lambda name=f"b {round_}": lab.contexts.rename("b", name),  # type: ignore[misc]
            lambda: lab.contexts.delete("c", purge=False),
            lambda: lab.contexts.set_active("c"),
        )
        names = await active_names(lab)
        assert len(names) <= 1
        active = await lab.contexts.active()
        assert [active.name] == names if active is not None else not names


# -- processes -----------------------------------------------------------------------------------------------------------


def in_processes(path: Path, count: int, work: Callable[[Contexts, int, Any], None]) -> None:
    """Let so many processes work on one file at the same time."""
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Barrier(count)
    running: list[SpawnProcess] = [
        spawn.Process(target=run, args=(str(path), number, barrier, work)) for number in range(count)
    ]
    for process in running:
        process.start()
    for process in running:
        process.join(100)
    assert [process.exitcode for process in running] == [0] * count


def run(path: str, number: int, barrier: Any, work: Callable[[Contexts, int, Any], None]) -> None:
    with sojourn.open(f"sqlite:///{path}", durability="normal") as store:
        work(store.contexts, number, barrier)


def race_to_be_active(contexts: Contexts, number: int, barrier: Any) -> None:
    dice = random.Random(number)
    for _ in range(20):
        barrier.wait(60)
        contexts.set_active(dice.choice(NAMES))
        barrier.wait(60)
        names = [item.name for item in contexts.list(limit=50) if item.active]
        active = contexts.active()
        assert active is not None
        assert names == [active.name]


def write_metadata(contexts: Contexts, number: int, barrier: Any) -> None:
    barrier.wait(60)
    for place in range(15):
        contexts.update("shared", {f"key {number} {place}": [number, place]})


@pytest.mark.slow
def test_six_processes_race_for_twenty_names_and_one_is_active_after_each_round(tmp_path: Path) -> None:
    path = tmp_path / "race.db"
    with sojourn.open(f"sqlite:///{path}") as store:
        for name in NAMES:
            store.contexts.create(name)
    in_processes(path, 6, race_to_be_active)


@pytest.mark.slow
def test_four_processes_write_fifteen_keys_each_and_none_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "keys.db"
    with sojourn.open(f"sqlite:///{path}") as store:
        store.contexts.create("shared", metadata={"before": True})
        in_processes(path, 4, write_metadata)
        found = store.contexts.get("shared")
        assert found is not None
        expected = {f"key {number} {place}": [number, place] for number in range(4) for place in range(15)}
        assert found.metadata == {"before": True, **expected}


async def test_metadata_of_tasks_and_threads_is_not_lost(lab: Lab) -> None:
    await lab.contexts.create("a")
    await lab.together(*[lambda n=n: lab.contexts.update("a", {f"k{n}": n}) for n in range(20)])
    found = await lab.contexts.get("a")
    assert found is not None
    assert found.metadata == {f"k{number}": number for number in range(20)}


@pytest.mark.parametrize("size", [10, 9000])
async def test_twenty_callers_add_to_an_absent_name(lab: Lab, size: int) -> None:
    texts = [f"{number:03}" * size for number in range(20)]
    await lab.together(*[lambda t=text: lab.contexts.add("new", "note", t) for text in texts])
    (made,) = await lab.contexts.list()
    assert (made.name, made.artifact_count) == ("new", 20)
    found = await lab.contexts.artifacts("new")
    assert sorted(item.content for item in found) == texts
    assert [item.sequence for item in found] == list(range(1, 21))


async def test_twenty_callers_create_one_name(lab: Lab) -> None:
    found = await lab.outcomes(*[lambda: lab.contexts.create("a")] * 20)
    assert sum(not isinstance(one, BaseException) for one in found) == 1
    again = await lab.together(*[lambda: lab.contexts.create("b", exist_ok=True)] * 20)
    assert len({one.id for one in again}) == 1
