"""Deleting: for good, or only the name; and what it costs."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from sojourn import KeyReusedError, NotFoundError

if TYPE_CHECKING:
    import sqlite3

    from tests.conversations.conftest import Lab


async def test_what_is_deleted_is_gone(lab: Lab) -> None:
    made = await lab.contexts.create("a")
    await lab.contexts.add("a", "note", "x")
    assert (await lab.contexts.delete("a"), await lab.contexts.delete("a")) == (True, False)
    assert await lab.contexts.get("a") is None
    with pytest.raises(NotFoundError):
        await lab.contexts.artifacts(id=made.id)
    assert await lab.contexts.purge(made.id) == 0
    await lab.contexts.create("a")


async def test_what_is_kept_is_read_by_its_id(lab: Lab) -> None:
    made = await lab.contexts.create("a")
    await lab.contexts.add("a", "note", "x")
    await lab.contexts.set_active("a")
    assert await lab.contexts.delete("a", purge=False)
    assert (await lab.contexts.get("a"), await lab.contexts.active()) == (None, None)
    assert len(await lab.contexts.list()) == 0
    assert [item.content for item in await lab.contexts.artifacts(id=made.id)] == ["x"]
    assert (await lab.contexts.artifact(None, 1, id=made.id)).content == "x"
    await lab.contexts.add("a", "note", "another context")
    assert [item.content for item in await lab.contexts.artifacts(id=made.id)] == ["x"]
    assert (await lab.contexts.purge(made.id), await lab.contexts.purge(made.id)) == (1, 0)
    assert [item.content for item in await lab.contexts.artifacts("a")] == ["another context"]


async def test_purge_leaves_what_has_a_name(lab: Lab) -> None:
    made = await lab.contexts.create("a")
    assert await lab.contexts.purge(made.id) == 0
    assert await lab.contexts.purge("no id") == 0
    assert await lab.contexts.get("a") is not None


async def test_delete_all_counts_what_had_a_name(lab: Lab) -> None:
    for number in range(5):
        await lab.contexts.create(f"c{number}")
    await lab.contexts.create("other", scope="p")
    kept = (await lab.contexts.list()).items[0].id
    await lab.contexts.delete("c4", purge=False)
    assert await lab.contexts.delete_all(purge=False) == 4
    assert await lab.contexts.delete_all(purge=False) == 0
    await lab.contexts.create("new")
    assert await lab.contexts.delete_all() == 1
    with pytest.raises(NotFoundError):
        await lab.contexts.artifacts(id=kept)
    assert len(await lab.contexts.list(scope="p")) == 1
    assert await lab.contexts.delete_all() == 0


async def test_a_delete_and_an_add_at_once_leave_one_whole_context(lab: Lab) -> None:
    for _ in range(6):
        await lab.contexts.add("a", "note", "first")
        await lab.together(
            lambda: lab.contexts.delete("a"),
            *[lambda n=n: lab.contexts.add("a", "note", str(n)) for n in range(4)],
        )
        found = await lab.contexts.get("a")
        count = 0 if found is None else found.artifact_count
        texts = [] if found is None else [item.content for item in await lab.contexts.artifacts("a")]
        assert count == len(texts)
        assert len(set(texts)) == len(texts)
        await lab.contexts.delete("a")


# -- asking again --------------------------------------------------------------------------------------------------------


async def test_every_change_can_be_asked_for_again(lab: Lab) -> None:
    c = lab.contexts
    one = await c.create("a", key="create")
    assert await c.create("a", key="create") == one
    first = await c.add("a", "note", "x", key="add")
    assert await c.add("a", "note", "x", key="add") == first
    await c.update("a", {"n": 1}, key="update")
    await c.update("a", {"n": 2})
    assert (await c.update("a", {"n": 1}, key="update")).metadata == {"n": 2}
    await c.pin("a", 1, key="pin")
    await c.pin("a", 1, pinned=False)
    assert not (await c.pin("a", 1, key="pin")).pinned
    await c.set_active("a", key="on")
    await c.set_active("a", False)
    assert not (await c.set_active("a", key="on")).active
    await c.resume(key="again")
    await c.set_active("a", False, key="off")
    assert not (await c.resume(key="again")).active
    assert not (await c.set_active("a", False, key="off")).active
    branch = await c.branch("a", "b", key="branch")
    assert (await c.branch("a", "b", key="branch")).id == branch.id
    await c.rename("a", "z", key="rename")
    assert (await c.rename("a", "z", key="rename")).name == "z"
    assert [await c.delete("z", key="delete"), await c.delete("z", key="delete")] == [True, True]
    assert [await c.delete("none", key="none"), await c.delete("none", key="none")] == [False, False]
    assert [await c.delete_all(key="all"), await c.delete_all(key="all"), await c.delete_all()] == [1, 1, 0]
    made = await c.add("k", "note", "x")
    kept = await c.get("k")
    assert kept is not None
    assert made.sequence == 1
    await c.delete("k", purge=False)
    assert [await c.purge(kept.id, key="purge"), await c.purge(kept.id, key="purge")] == [1, 1]


@pytest.mark.parametrize("first", ["small", "L" * 9000])
@pytest.mark.parametrize("existing", [True, False])
async def test_a_key_adds_once_however_it_was_stored(lab: Lab, first: str, existing: bool) -> None:
    if existing:
        await lab.contexts.create("a")
    made = await lab.contexts.add("a", "note", first, key="k", metadata={"n": 1})
    assert await lab.contexts.add("a", "note", first, key="k", metadata={"n": 1}) == made
    for other in ("other", "O" * 9000):
        with pytest.raises(KeyReusedError):
            await lab.contexts.add("a", "note", other, key="k", metadata={"n": 1})
    assert len(await lab.contexts.artifacts("a")) == 1


async def test_a_key_of_another_operation_is_refused(lab: Lab) -> None:
    await lab.contexts.create("a", key="k")
    for work in (
        lab.contexts.update("a", {}, key="k"),
        lab.contexts.set_active("a", key="k"),
        lab.contexts.delete("a", key="k"),
    ):
        with pytest.raises(KeyReusedError):
            await work


# -- cost ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What SQLite is asked from here on."""
    from sojourn.engines.sqlite.connections import Connections

    seen: list[str] = []
    connect = Connections.connect

    def traced(self: Connections) -> sqlite3.Connection:
        made = connect(self)
        made.set_trace_callback(lambda sql: seen.append(" ".join(sql.split())))
        return made

    monkeypatch.setattr(Connections, "connect", traced)
    return seen


def reading(seen: list[str]) -> list[str]:
    return [sql for sql in seen if sql.lower().startswith(("select", "with"))]


async def test_the_active_one_costs_one_read_by_an_index(disk_lab: Lab, statements: list[str]) -> None:
    import sqlite3

    for number in range(200):
        await disk_lab.contexts.create(f"c{number}")
    await disk_lab.contexts.set_active("c7")
    await disk_lab.contexts.active()
    statements.clear()
    assert await disk_lab.contexts.active() is not None
    assert 1 <= len(reading(statements)) <= 2  # the alias, and the session it points at
    connection = sqlite3.connect(disk_lab.path)
    plans = [row[3] for sql in reading(statements) for row in connection.execute(f"explain query plan {sql}")]
    connection.close()
    assert plans
    assert all(plan.startswith("SEARCH") for plan in plans)


async def test_deleting_costs_in_proportion_to_what_is_deleted(disk_lab: Lab, statements: list[str]) -> None:
    costs: dict[int, Counter[str]] = {}
    for others in (0, 400):
        for number in range(others):
            await disk_lab.contexts.add(f"other {number % 10}", "note", f"artifact {number}")
        for number in range(5):
            await disk_lab.contexts.add("small", "note", f"artifact {number}")
        await disk_lab.store.sweep()
        statements.clear()
        assert await disk_lab.contexts.delete("small")
        while (await disk_lab.store.sweep())["purged"]:
            continue
        costs[others] = Counter(sql.split()[0].lower() for sql in statements if "sojourn_entry" in sql)
    assert costs[0] == costs[400]


async def test_deleting_walks_no_alias_but_its_own(disk_lab: Lab, statements: list[str]) -> None:
    import sqlite3

    await disk_lab.contexts.add("a", "note", "x")
    statements.clear()
    assert await disk_lab.contexts.delete("a")
    connection = sqlite3.connect(disk_lab.path)
    looks = [sql for sql in reading(statements) if "from sojourn_alias" in sql]
    plans = [row[3] for sql in looks for row in connection.execute(f"explain query plan {sql}")]
    connection.close()
    assert any("sojourn_alias_target (tenant=? AND target=?)" in plan for plan in plans)
    assert not any(plan.endswith("PRIMARY KEY (tenant=?)") for plan in plans)


async def test_adding_to_a_known_name_is_one_round_trip(memory_lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    await memory_lab.contexts.add("a", "note", "x")
    inner: Any = memory_lab.store
    engine = inner._inner._aio._engine
    asked: list[str] = []
    for verb in ("commit", "follow", "load"):
        monkeypatch.setattr(engine, verb, _counted(getattr(engine, verb), verb, asked))
    await memory_lab.contexts.add("a", "note", "y")
    assert asked == ["commit"]


def _counted(verb: Any, name: str, asked: list[str]) -> Any:
    async def counted(*arguments: Any, **named: Any) -> Any:
        asked.append(name)
        return await verb(*arguments, **named)

    return counted
