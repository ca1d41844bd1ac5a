"""Every operation that changes something takes a key: asked again it gives the first answer and does nothing."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

import pytest

from sojourn import AsyncWorkspaces, KeyReusedError

if TYPE_CHECKING:
    from sojourn import Workspace
    from tests.conversations.conftest import Lab

READS: Final = {"resolve", "load_active", "get", "list", "count_active", "claims", "roles", "hold"}
"""What changes nothing, marks activity as it reads, or is entered and left."""

Call = Callable[[Any, Any, str], Awaitable[Any]]

CHANGES: Final[dict[str, tuple[Call, Call]]] = {
    "start": (lambda w, m, k: w.start("architect", key=k), lambda w, m, k: w.start("implementer", key=k)),
    "start_system": (
        lambda w, m, k: w.start_system("monitor", key=k),
        lambda w, m, k: w.start_system("architect", key=k),
    ),
    "heartbeat": (lambda w, m, k: w.heartbeat(m.id, key=k), lambda w, m, k: w.end(m.id, key=k)),
    "resume": (lambda w, m, k: w.resume(m.id, key=k), lambda w, m, k: w.resume("lead", key=k)),
    "use": (lambda w, m, k: w.use(m.id, key=k), lambda w, m, k: w.use("lead", key=k)),
    "rename": (lambda w, m, k: w.rename(m.id, "a", key=k), lambda w, m, k: w.rename(m.id, "b", key=k)),
    "update": (lambda w, m, k: w.update(m.id, {"a": 1}, key=k), lambda w, m, k: w.update(m.id, {"a": 2}, key=k)),
    "end": (lambda w, m, k: w.end(m.id, key=k), lambda w, m, k: w.end(m.id, reason="x", key=k)),
    "expire": (lambda w, m, k: w.expire(m.id, key=k), lambda w, m, k: w.end(m.id, key=k)),
    "expire_stale": (lambda w, m, k: w.expire_stale(key=k), lambda w, m, k: w.end(m.id, key=k)),
    "claim": (lambda w, m, k: w.claim(m.id, "a", key=k), lambda w, m, k: w.claim(m.id, "b", key=k)),
    "add_role": (
        lambda w, m, k: w.add_role("tester", base="architect", key=k),
        lambda w, m, k: w.add_role("tester", base="monitor", key=k),
    ),
    "remove_role": (lambda w, m, k: w.remove_role("own", key=k), lambda w, m, k: w.remove_role("other", key=k)),
}


def test_every_operation_that_changes_something_takes_a_key() -> None:
    public = {name for name in vars(AsyncWorkspaces) if not name.startswith("_")}
    assert public == READS | CHANGES.keys() | {"release"}
    for name in public - READS:
        assert inspect.signature(getattr(AsyncWorkspaces, name)).parameters["key"].default is None


async def prepared(lab: Lab) -> Workspace:
    await lab.workspaces.add_role("own", base="implementer")
    await lab.workspaces.start("implementer", "stale")
    lab.later(hours=4)
    return await lab.workspaces.start("implementer", "lead")


@pytest.mark.parametrize("name", CHANGES)
async def test_asked_again_it_does_nothing(lab: Lab, name: str) -> None:
    call, other = CHANGES[name]
    made = await prepared(lab)
    first = await call(lab.workspaces, made, "k")
    before = await lab.events()
    lab.later(seconds=40)
    again = await call(lab.workspaces, made, "k")
    if name in ("resume", "use"):
        assert again.id == first.id
    else:
        assert again == first
    assert await lab.events() == before
    found = await lab.workspaces.get(made.id)
    assert found is not None
    assert found.last_activity_at < lab.clock()
    with pytest.raises(KeyReusedError):
        await other(lab.workspaces, made, "k")


async def test_a_release_is_remembered(lab: Lab) -> None:
    made = await prepared(lab)
    first = await lab.workspaces.claim(made.id, "a")
    assert await lab.workspaces.release(first, key="k") is True
    assert await lab.workspaces.release(first, key="k") is True
    second = await lab.workspaces.claim(made.id, "b")
    with pytest.raises(KeyReusedError):
        await lab.workspaces.release(second, key="k")
    assert await lab.workspaces.release(first, key="l") is False
    assert await lab.workspaces.release(first, key="l") is False


async def test_the_pointer_that_was_moved_by_a_key_stays_where_it_is_by_then(lab: Lab) -> None:
    one = await lab.workspaces.start("implementer", "one")
    two = await lab.workspaces.start("implementer", "two")
    await lab.workspaces.use("one", key="k")
    await lab.workspaces.use("two")
    assert (await lab.workspaces.use("one", key="k")).id == one.id
    assert (await lab.workspaces.resolve()).workspace.id == two.id


async def test_nothing_to_do_is_remembered_too(lab: Lab) -> None:
    assert await lab.workspaces.remove_role("own", key="k") is False
    await lab.workspaces.add_role("own", base="architect", key="l")
    assert await lab.workspaces.remove_role("own", key="k") is False
    assert await lab.workspaces.expire_stale(key="m") == 0
    await lab.workspaces.start("implementer")
    lab.later(hours=5)
    assert await lab.workspaces.expire_stale(key="m") == 0
    assert await lab.workspaces.expire_stale() == 1
