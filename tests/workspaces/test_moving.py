"""Workspaces go with a store: exported and loaded, listed and removed with sessions of every kind, erased with a person."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from sojourn import AsyncStore, CorruptError, NameTakenError, RoleInUseError, SojournError, WorkspacePolicy

if TYPE_CHECKING:
    from sojourn import Workspace
    from tests.conversations.conftest import Lab


async def lines_of(store: AsyncStore, **only: Any) -> list[str]:
    return [line async for line in store.export(**only)]


async def filled(lab: Lab) -> dict[str, str]:
    """Sessions in each state that a store keeps, a role, a claim."""
    kind = lab.workspaces
    await kind.add_role("tester", base="implementer")
    made = {name: (await kind.start("tester", name, actor="ann", metadata={"n": 1})).id for name in ("ended", "expired")}
    await kind.end(made["ended"], reason="done")
    await kind.expire(made["expired"])
    for name in ("live", "renamed"):
        made[name] = (await kind.start("tester", name)).id
    await kind.rename(made["renamed"], "other")
    await kind.claim(made["live"], "src", ttl=timedelta(days=1))
    return made


async def test_an_export_is_loaded_whole(lab: Lab) -> None:
    made = await filled(lab)
    lines = await lines_of(lab.store)
    other = lab.elsewhere()
    loaded = await other.load(lines)
    assert (loaded.sessions, loaded.present, loaded.left_out) == (5, 0, ())
    kind = other.workspaces
    for id in made.values():
        there = await kind.get(id)
        assert there is not None
        assert replace(there, version=0) == replace(await kept(lab, id), version=0)  # versions begin anew
    names = {"other": "renamed", "renamed": "renamed", "ended": "ended", made["live"][-6:]: "live"}
    for name, id in names.items():
        assert (await kind.resolve(name, project_id="project-1")).workspace.id == made[id]
    assert [role.name for role in await kind.roles(project_id="project-1")][-1] == "tester"
    assert [claim.session_id for claim in await kind.claims(project_id="project-1")] == [made["live"]]
    with pytest.raises(NameTakenError):
        await kind.start("tester", "live", project_id="project-1")
    with pytest.raises(RoleInUseError):
        await kind.remove_role("tester", project_id="project-1")
    assert (await kind.start("tester", "ended", project_id="project-1")).base_role == "implementer"
    assert (await kind.claim(made["renamed"], "docs")).fence == 2
    assert (await other.load(lines)).sessions == 0


async def test_a_loaded_session_never_takes_a_name_from_somebody_at_work(lab: Lab) -> None:
    loaded = await lab.workspaces.start("implementer", "lead")
    lines = await lines_of(lab.store)
    store = lab.elsewhere()
    other = store.workspaces
    there = await other.start("implementer", "lead", project_id="project-1")
    await store.load(lines)
    assert (await other.resolve("lead", project_id="project-1")).workspace.id == there.id
    await other.rename(loaded.id, "second")
    await other.end(loaded.id)
    with pytest.raises(NameTakenError):
        await other.start("implementer", "lead", project_id="project-1")
    assert (await other.start("implementer", "second", project_id="project-1")).name == "second"


async def kept(lab: Lab, id: str) -> Workspace:
    """A session as it is at home."""
    found = await lab.workspaces.get(id)
    assert found is not None
    return found


async def test_what_no_export_has_written_is_refused(lab: Lab) -> None:
    await filled(lab)
    rows = [json.loads(line) for line in await lines_of(lab.store, kinds=["workspace"])]
    for path, wrong in (("name", "A\n"), ("role", "x"), ("base", "tester"), ("metadata", []), ("name", None)):
        broken = json.loads(json.dumps(rows))
        session = next(row for row in broken if row.get("kind") == "workspace")
        session["data"][path] = wrong
        with pytest.raises(SojournError) as raised:
            await lab.store.for_tenant(f"other-{path}").load(map(json.dumps, broken))
        assert isinstance(raised.value, CorruptError | ValueError)


async def test_sessions_of_every_kind_have_workspaces_among_them(lab: Lab) -> None:
    made = await filled(lab)
    listed = {row.id for row in await lab.store.sessions.list("kind:workspace state:all")}
    assert listed == set(made.values())
    mine = await lab.store.sessions.list("kind:workspace owner:ann state:all")
    assert {row.id for row in mine} == {made["ended"], made["expired"]}
    assert {row.id for row in await lab.store.sessions.list("tag:project:project-1")} == {made["live"], made["renamed"]}
    await lab.store.sessions.end(made["live"], reason="from outside")
    found = await lab.workspaces.get(made["live"])
    assert found is not None
    assert found.state == "ended"
    assert await lab.workspaces.claims() == []


async def test_a_deleted_session_leaves_no_name_no_claim_and_no_lease(lab: Lab) -> None:
    made = await lab.workspaces.start("implementer", "lead")
    await lab.workspaces.claim(made.id, "src")
    async with lab.workspaces.hold(made.id):
        pass
    assert await lab.store.sessions.delete(made.id)
    assert await lab.workspaces.get(made.id) is None
    assert await lab.workspaces.claims() == []
    assert (await lab.workspaces.start("implementer", "lead")).id != made.id
    await lab.store.sweep()
    if lab.engine == "sqlite":
        connection = sqlite3.connect(lab.path)
        assert connection.execute("select count(*) from sojourn_lease").fetchone() == (0,)
        connection.close()


async def test_the_work_of_an_erased_person_is_gone(lab: Lab) -> None:
    hers = await lab.workspaces.start("implementer", "hers", actor="ann")
    other = await lab.workspaces.start("implementer", "other", actor="bob")
    await lab.workspaces.claim(hers.id, "src")
    assert (await lab.store.erase("ann")).sessions == 1
    assert await lab.workspaces.get(hers.id) is None
    assert [one.id for one in await lab.workspaces.list()] == [other.id]
    assert (await lab.workspaces.claim(other.id, "src")).session_id == other.id
    assert (await lab.workspaces.start("implementer", "hers")).name == "hers"


def test_a_policy_of_another_type_is_refused() -> None:
    import sojourn

    with pytest.raises(sojourn.InvalidValueError, match="WorkspacePolicy"):
        sojourn.open("memory:", workspaces={"stale_after": 1})  # type: ignore[arg-type]
    with sojourn.open("memory:", workspaces=WorkspacePolicy(stale_after=None)) as store:
        assert store.workspaces.start("implementer", project_id="p").expires_at is None
