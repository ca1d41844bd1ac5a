"""What is asked for and cannot be had, what fails half-way, and what is more than fits one page."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

import pytest

from sojourn import (
    InvalidValueError,
    Lease,
    LimitError,
    NoSessionError,
    NotFoundError,
    PointerError,
    PointerHeldError,
    UnavailableError,
)
from sojourn.testing.places import Directory, MemoryPlaces

if TYPE_CHECKING:
    from tests.conversations.conftest import Lab


async def test_the_session_before_is_one_of_the_directory(lab: Lab) -> None:
    with pytest.raises(NoSessionError, match="before the present one"):
        await lab.workspaces.resolve("-")
    one = await lab.workspaces.start("implementer")
    await lab.workspaces.start("implementer")
    assert (await lab.workspaces.resolve("-")).workspace.id == one.id
    with pytest.raises(NoSessionError, match="project's id has none"):
        await lab.workspaces.resolve("-", project_id="project-1")
    await lab.store.sessions.delete(one.id)
    with pytest.raises(NotFoundError, match=one.id):
        await lab.workspaces.resolve("-")


async def test_use_is_for_pointers(lab: Lab) -> None:
    made = await lab.workspaces.start("implementer", "lead")
    for more in ({"project_id": "project-1"}, {"pointer": None}):
        with pytest.raises(InvalidValueError, match="no pointer to move"):
            await lab.workspaces.use(made.id, **cast("Any", more))
    shell = lab.at_work(MemoryPlaces(lab.places.directory))
    assert (await shell.use(made.id)).pointer == "project"
    assert (await shell.use(made.id)).pointer == "project"
    other = await lab.workspaces.start("implementer")
    with pytest.raises(PointerHeldError, match="lead"):
        await shell.use(other.id)
    assert (await shell.resume(other.id)).pointer is None
    assert (await shell.use(other.id, replace=True)).pointer == "project"


async def test_a_whole_id_is_found_without_a_project(lab: Lab) -> None:
    made = await lab.workspaces.start("implementer", "lead")
    nowhere = lab.at_work(MemoryPlaces(Directory(project=None)))
    assert (await nowhere.resolve(made.id)).workspace == (await lab.workspaces.resolve(made.id)).workspace
    with pytest.raises(NotFoundError):
        await nowhere.resolve("lead")
    assert (await nowhere.end(made.id, key="k")).state == "ended"


async def test_a_start_whose_pointer_could_not_be_written_is_finished_by_asking_again(lab: Lab) -> None:
    lab.places.directory.writable = False
    with pytest.raises(PointerError):
        await lab.workspaces.start("implementer", key="k")
    lab.places.directory.writable = True
    made = await lab.workspaces.start("implementer", key="k")
    assert [one.id for one in await lab.workspaces.list(active_only=False)] == [made.id]
    assert (await lab.workspaces.resolve()).workspace.id == made.id


async def test_a_start_that_was_answered_before_is_not_undone(lab: Lab) -> None:
    made = await lab.workspaces.start("implementer", key="k")
    lab.places.directory.writable = False
    with pytest.raises(PointerError):
        await lab.workspaces.start("implementer", key="k")
    assert await lab.workspaces.get(made.id) is not None


async def test_the_projects_pointer_that_never_rests_is_given_up(lab: Lab) -> None:
    places = MemoryPlaces()
    places.swap = lambda *_: False  # type: ignore[method-assign]
    with pytest.raises(PointerHeldError, match="moved by others"):
        await lab.at_work(places).start("implementer")
    assert not len(await lab.workspaces.list(active_only=False))


async def test_somebody_who_was_first_keeps_the_projects_pointer(lab: Lab) -> None:
    places = MemoryPlaces()
    first = await lab.workspaces.start("implementer", "first")
    swap = places.swap

    def beaten(*arguments: Any) -> bool:
        places.swap = swap  # type: ignore[method-assign]
        places.write("project", first.id)
        return False

    for pointer in ("auto", "project"):
        places.directory.pointers.clear()
        places.swap = beaten  # type: ignore[method-assign,assignment]
        if pointer == "auto":
            made = await lab.at_work(places).start("implementer")
            assert (made.pointer, "first" in made.hint) == (None, True)
        else:
            with pytest.raises(PointerHeldError):
                await lab.at_work(places).start("implementer", pointer="project")
    assert len(await lab.workspaces.list()) == 2


async def test_a_heartbeat_that_fails_is_told_and_tried_again(lab: Lab) -> None:
    kind = lab.at_work(heartbeat_every=timedelta(milliseconds=1))
    made = await kind.start("implementer")
    hold = kind.hold(made.id)
    inner: Any = cast("Any", hold)._inner._context if lab.blocking else hold
    renew, failing = inner._renew, [True]

    async def flaky(held: Any) -> Any:
        if failing[0]:
            raise UnavailableError("the engine is away.")
        return await renew(held)

    inner._renew = flaky
    async with hold as held:

        async def until(failed: bool) -> None:
            for _ in range(60_000):
                if isinstance(held.error, UnavailableError) is failed:
                    return
                await inner._unit.engine.sleep(0.001)
            raise AssertionError("it never came about")

        await until(True)
        assert not held.lost
        failing[0] = False
        await until(False)


async def test_a_hold_that_does_not_begin_leaves_nothing(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    made = await lab.workspaces.start("implementer")
    hold = lab.workspaces.hold(made.id)
    inner = hold._inner._context if lab.blocking else hold  # type: ignore[attr-defined]
    engine = inner._unit.engine

    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(type(engine), "spawn", refuse)
        with pytest.raises(RuntimeError):
            async with hold:
                pass
    found = await lab.workspaces.get(made.id)
    assert found is not None
    assert (found.held, found.state) == (False, "active")
    async with lab.workspaces.hold(made.id) as held:
        assert held.lease.fence == 2


async def test_a_session_that_is_deleted_while_it_is_held(lab: Lab) -> None:
    made = await lab.workspaces.start("implementer")
    async with lab.workspaces.hold(made.id):
        await lab.store.sessions.delete(made.id)
    assert lab.places.held(made.id) is False


async def test_arguments_of_another_sort_are_refused(lab: Lab) -> None:
    made = await lab.workspaces.start("implementer")
    refused: list[dict[str, Any]] = [{"metadata": [1]}, {"metadata": {"a": object()}}, {"actor": ""}, {"project_id": "\n"}]
    for more in refused:
        with pytest.raises(InvalidValueError):
            await lab.workspaces.start("implementer", **more)
    with pytest.raises(InvalidValueError, match="unset"):
        await lab.workspaces.update(made.id, None, "abc")
    with pytest.raises(InvalidValueError, match="longer than nothing"):
        await lab.workspaces.claim(made.id, "src", ttl=timedelta(0))
    free = Lease("x", "me", 1, lab.clock(), timedelta(1), free=True)
    for lease in ("lease", free):
        with pytest.raises(InvalidValueError, match="that of a hold"):
            await lab.workspaces.heartbeat(made.id, lease=cast("Any", lease))
    with pytest.raises(LimitError):
        await lab.workspaces.end(made.id, reason="x" * 1025)


async def test_more_sessions_than_one_page(memory_lab: Lab) -> None:
    kind = memory_lab.workspaces
    made = [await kind.start("implementer") for _ in range(205)]
    await kind.end(made[0].id)
    assert await kind.count_active() == {"implementer": 204}
    page = await kind.list(limit=200)
    rest = await kind.list(limit=200, after=page.next)
    assert {one.id for one in (*page, *rest)} == {one.id for one in made[1:]}
    memory_lab.later(hours=4)
    assert await kind.expire_stale() == 204
