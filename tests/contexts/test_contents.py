"""Large contents are stored once for a scope, and are gone with their last use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from sojourn import Contexts

if TYPE_CHECKING:
    from tests.conversations.conftest import Lab

LARGE = "zeppelin " * 2000
OTHER = "balloon " * 2000


async def stored(lab: Lab) -> int:
    """How many large contents there are."""
    unit = inner(lab)._unit
    from sojourn.core.query import SessionQuery

    return len(await unit.engine.list(SessionQuery(unit.tenant, ("content",), limit=100)))


def inner(lab: Lab) -> Any:
    """The asynchronous store below the face."""
    store: Any = lab.store
    return store._inner._aio if lab.blocking else store


async def test_one_content_is_stored_once_for_its_scope(lab: Lab) -> None:
    for name in "abc":
        for _ in range(2):
            await lab.contexts.add(name, "file", LARGE)
    assert await stored(lab) == 1
    await lab.contexts.add("a", "file", LARGE, scope="elsewhere")
    assert await stored(lab) == 2
    assert [item.content for item in await lab.contexts.artifacts("a")] == [LARGE, LARGE]


async def test_callers_at_once_store_it_once(lab: Lab) -> None:
    for number in range(10):
        await lab.contexts.create(f"c{number}")
    await lab.together(*[lambda n=n: lab.contexts.add(f"c{n}", "file", LARGE) for n in range(10)])
    assert await stored(lab) == 1
    await lab.contexts.delete_all()
    assert await stored(lab) == 0


async def test_the_last_use_takes_it_away(lab: Lab) -> None:
    await lab.contexts.add("a", "file", LARGE)
    await lab.contexts.add("a", "file", LARGE)
    await lab.contexts.add("b", "file", LARGE)
    await lab.contexts.delete("a")
    assert await stored(lab) == 1
    assert (await lab.contexts.artifact("b", 1)).content == LARGE
    await lab.contexts.delete("b")
    assert await stored(lab) == 0
    await lab.contexts.add("b", "file", LARGE)
    assert (await lab.contexts.artifact("b", 1)).content == LARGE


async def test_a_branch_uses_what_it_shares(lab: Lab) -> None:
    await lab.contexts.add("a", "file", LARGE)
    await lab.contexts.add("a", "file", OTHER)
    await lab.contexts.branch("a", "b", at=1)
    await lab.contexts.delete("a")
    assert await stored(lab) == 1
    assert (await lab.contexts.artifact("b", 1)).content == LARGE
    await lab.contexts.delete("b")
    assert await stored(lab) == 0


async def test_what_is_kept_keeps_its_contents(lab: Lab) -> None:
    made = await lab.contexts.create("a")
    await lab.contexts.add("a", "file", LARGE)
    await lab.contexts.delete("a", purge=False)
    await lab.store.sweep()
    assert [item.content for item in await lab.contexts.artifacts(id=made.id)] == [LARGE]
    assert await lab.contexts.purge(made.id) == 1
    assert await stored(lab) == 0


async def test_adds_and_deletes_at_once_lose_nothing(lab: Lab) -> None:
    for _ in range(5):
        await lab.contexts.add("old", "file", LARGE)
        await lab.together(
            lambda: lab.contexts.delete("old"),
            lambda: lab.contexts.add("new", "file", LARGE),
            lambda: lab.contexts.add("old", "file", LARGE),
        )
        assert (await lab.contexts.artifact("new", 1)).content == LARGE
        await lab.contexts.delete_all()
        assert await stored(lab) == 0


async def test_a_sweep_removes_what_a_killed_delete_left(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    from sojourn.kinds.contexts.contents import Contents

    async def killed(*_: object) -> None:
        return

    await lab.contexts.add("a", "file", LARGE)
    with monkeypatch.context() as patch:
        patch.setattr(Contents, "clear", killed)
        await lab.contexts.delete("a")
    assert await stored(lab) == 1
    assert (await lab.store.sweep(dry_run=True))["due"] == 1
    assert (await lab.store.sweep())["freed"] == 1
    assert await stored(lab) == 0


async def test_a_sweep_leaves_what_is_used_again(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    from sojourn.kinds.contexts.contents import Contents

    async def killed(*_: object) -> None:
        return

    await lab.contexts.add("a", "file", LARGE)
    with monkeypatch.context() as patch:
        patch.setattr(Contents, "clear", killed)
        await lab.contexts.delete("a")
    await lab.contexts.add("b", "file", LARGE)
    assert (await lab.store.sweep())["freed"] == 0
    assert (await lab.contexts.artifact("b", 1)).content == LARGE


@pytest.mark.search
async def test_large_contents_are_searched(lab: Lab) -> None:
    await lab.contexts.add("a", "file", LARGE)
    await lab.contexts.add("b", "diff", LARGE)
    await lab.contexts.add("c", "note", "a small zeppelin")
    assert {hit.name for hit in await lab.contexts.search("zeppelin")} == {"a", "b", "c"}
    await lab.store.sweep()
    (hit,) = await lab.contexts.search("zeppelin", kind="diff")
    assert (hit.name, hit.artifact.content) == ("b", LARGE)
    await lab.contexts.delete("b")
    assert {hit.name for hit in await lab.contexts.search("zeppelin")} == {"a", "c"}


async def test_the_hidden_sessions_stay_hidden(lab: Lab) -> None:
    await lab.contexts.add("a", "file", LARGE)
    assert [item.kind for item in await lab.store.sessions.list()] == ["context"]
    assert {event.kind for event in await lab.events()} == {"context"}
    from sojourn.core.query import SessionQuery

    unit = inner(lab)._unit
    (hidden,) = await unit.engine.list(SessionQuery(unit.tenant, ("content",)))
    assert await lab.store.sessions.get(hidden.id) is None
    assert not await lab.store.sessions.delete(hidden.id)
    (shown,) = await lab.store.sessions.list()
    assert await lab.store.sessions.delete(shown.id)
    assert await stored(lab) == 0


async def test_exports_carry_them_over(lab: Lab) -> None:
    await lab.contexts.add("a", "file", LARGE)
    await lab.contexts.branch("a", "b")
    await lab.contexts.add("b", "file", OTHER)
    await lab.contexts.set_active("b")
    lines = [line async for line in lab.store.export(kinds=["context"])]
    copy = lab.elsewhere()
    await copy.load(lines)
    assert [item.content for item in await copy.contexts.artifacts("b")] == [LARGE, OTHER]
    active = await copy.contexts.active()
    assert active is not None
    assert active.name == "b"
    await copy.contexts.delete_all()
    assert len([line async for line in copy.export()]) == 1


async def test_an_erased_scope_is_gone_with_its_contents(disk_lab: Lab) -> None:
    await disk_lab.contexts.add("a", "file", "unmistakable " * 1000, scope="ann")
    await disk_lab.contexts.add("b", "file", LARGE, scope="bob")
    receipt = await disk_lab.store.erase("ann")
    assert (receipt.sessions, receipt.entries) == (2, 2)
    assert await disk_lab.contexts.get("a", scope="ann") is None
    assert (await disk_lab.contexts.artifact("b", 1, scope="bob")).content == LARGE
    await disk_lab.contexts.add("a", "file", "something else", scope="ann")
    await disk_lab.store.close()
    assert b"unmistakable" not in disk_lab.on_disk()


def test_the_two_colours_have_one_face() -> None:
    from sojourn import AsyncContexts

    assert {name for name in vars(Contexts) if name[0] != "_"} == {name for name in vars(AsyncContexts) if name[0] != "_"}
