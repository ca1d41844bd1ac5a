"""A project has roles of its own beside the built-in ones, and each session counts under one of these."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sojourn import InvalidNameError, NameTakenError, Role, RoleInUseError, UnknownRoleError

if TYPE_CHECKING:
    from tests.conversations.conftest import Lab


async def test_a_role_counts_under_its_base(lab: Lab) -> None:
    assert await lab.workspaces.add_role("tester", base="implementer") == Role("tester", "implementer", builtin=False)
    assert await lab.workspaces.add_role("tester", base="implementer") == Role("tester", "implementer", builtin=False)
    made = await lab.workspaces.start("tester")
    assert (made.role, made.base_role) == ("tester", "implementer")
    await lab.workspaces.start("implementer")
    await lab.workspaces.start_system("tester")
    assert await lab.workspaces.count_active() == {"implementer": 2}


async def test_the_built_in_roles_come_first(lab: Lab) -> None:
    for name in ("writer", "auditor"):
        await lab.workspaces.add_role(name, base="architect")
    assert [role.name for role in await lab.workspaces.roles()] == ["architect", "implementer", "monitor", "auditor", "writer"]
    assert len(await lab.workspaces.roles(project_id="project-2")) == 3


async def test_a_role_has_one_base(lab: Lab) -> None:
    await lab.workspaces.add_role("tester", base="implementer")
    with pytest.raises(NameTakenError, match="counts under implementer"):
        await lab.workspaces.add_role("tester", base="architect")
    with pytest.raises(NameTakenError, match="built in"):
        await lab.workspaces.add_role("architect", base="architect")
    with pytest.raises(UnknownRoleError, match="base is one of architect, implementer, monitor"):
        await lab.workspaces.add_role("second", base="tester")


@pytest.mark.parametrize("wrong", ["", "a", "A_b", "1ab", "_ab", "a-b", "ab\n", "a" * 65, "ä_b", 7])
async def test_a_roles_name_keeps_its_rules(lab: Lab, wrong: str) -> None:
    with pytest.raises(InvalidNameError):
        await lab.workspaces.add_role(wrong, base="architect")


async def test_a_role_in_use_or_built_in_stays(lab: Lab) -> None:
    await lab.workspaces.add_role("tester", base="implementer")
    made = await lab.workspaces.start("tester", "lead")
    with pytest.raises(RoleInUseError, match=r"lead.*active.*End its sessions") as used:
        await lab.workspaces.remove_role("tester")
    assert used.value.record.id == made.id
    with pytest.raises(InvalidNameError, match="built in"):
        await lab.workspaces.remove_role("monitor")
    await lab.workspaces.end(made.id)
    assert await lab.workspaces.remove_role("tester") is True
    assert await lab.workspaces.remove_role("tester") is False
    with pytest.raises(UnknownRoleError):
        await lab.workspaces.start("tester")
    found = await lab.workspaces.get(made.id)
    assert found is not None
    assert found.base_role == "implementer"
