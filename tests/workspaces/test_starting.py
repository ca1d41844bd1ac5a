"""A session starts under a name that nobody has, in a role that is known, and something points at it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from sojourn import (
    InvalidNameError,
    InvalidValueError,
    KeyReusedError,
    LimitError,
    NameTakenError,
    NoProjectError,
    NoSessionError,
    NotFoundError,
    PointerError,
    PointerHeldError,
    UnknownRoleError,
    WorkspacePolicy,
    validate_name,
)
from sojourn.testing.places import Directory, MemoryPlaces

if TYPE_CHECKING:
    from tests.conversations.conftest import Lab

HOUR = timedelta(hours=1)


async def test_a_session_says_who_is_at_work(lab: Lab) -> None:
    made = await lab.workspaces.start("implementer", "lead", actor="ann", metadata={"task": "T-1"})
    assert (made.role, made.base_role, made.name, made.system) == ("implementer", "implementer", "lead", False)
    assert (made.project_id, made.state, made.actor, made.held, made.live) == ("project-1", "active", "ann", False, True)
    assert made.metadata == {"task": "T-1"}
    assert made.created_at == made.last_activity_at == lab.clock()
    assert made.expires_at == lab.clock() + 4 * HOUR
    assert (made.ended_at, made.end_reason, made.pointer, made.hint) == (None, "", "agent", "")
    assert await lab.workspaces.get(made.id) == replace(made, pointer=None)


async def test_a_name_is_generated_and_gets_a_suffix_after_clashes(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    made = await lab.workspaces.start("implementer")
    assert validate_name(made.name) == made.name
    assert len(made.name.split("-")) == 2
    monkeypatch.setattr("sojourn.core.names.secrets.choice", lambda words: words[0])
    names = [(await lab.workspaces.start("implementer")).name for _ in range(3)]
    assert names[0] == "amber-acorn"
    assert all(name.startswith("amber-acorn-") and len(name) == len("amber-acorn-") + 4 for name in names[1:])
    assert len(set(names)) == 3


async def test_a_name_belongs_to_one_session_and_is_free_when_that_is_over(lab: Lab) -> None:
    first = await lab.workspaces.start("architect", "lead")
    with pytest.raises(NameTakenError, match=r"lead.*active.*architect") as taken:
        await lab.workspaces.start("implementer", "lead")
    assert taken.value.record.id == first.id == taken.value.holder
    await lab.workspaces.end(first.id)
    second = await lab.workspaces.start("implementer", "lead")
    assert second.id != first.id
    lab.later(hours=5)
    third = await lab.workspaces.start("implementer", "lead")  # nothing has swept the second
    old = await lab.workspaces.get(second.id)
    assert old is not None
    assert (old.state, old.ended_at) == ("expired", second.expires_at)
    assert (await lab.workspaces.resolve("lead")).workspace.id == third.id


async def test_a_name_is_free_when_the_session_was_ended_from_outside_the_kind(lab: Lab) -> None:
    first = await lab.workspaces.start("architect", "lead")
    await lab.store.sessions.end(first.id)
    assert (await lab.workspaces.start("architect", "lead")).id != first.id


async def test_projects_do_not_share_names(lab: Lab) -> None:
    await lab.workspaces.start("architect", "lead")
    other = await lab.workspaces.start("architect", "lead", project_id="project-2")
    assert [one.id for one in await lab.workspaces.list(project_id="project-2")] == [other.id]
    assert len(await lab.workspaces.list()) == 1


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("-a", "begin with a hyphen"),
        ("a-", "end with a hyphen"),
        ("a--b", "two hyphens"),
        ("Lead", "'L'"),
        ("lead\n", r"'\\n'"),
        ("a" * 33, "at most 32 characters, this one has 33"),
        (7, "text, not int"),
    ],
)
async def test_each_broken_rule_of_names_is_named(lab: Lab, name: str, says: str) -> None:
    with pytest.raises(InvalidNameError, match=says):
        await lab.workspaces.start("architect", name)
    assert not len(await lab.workspaces.list())


async def test_an_unknown_role_is_refused_with_those_that_there_are(lab: Lab) -> None:
    with pytest.raises(UnknownRoleError, match=r"no role 'tester'.*architect, implementer, monitor.*add_role"):
        await lab.workspaces.start("tester")


async def test_a_limit_holds_for_a_role_and_those_that_count_under_it(lab: Lab) -> None:
    few = lab.at_work(max_active_per_role={"implementer": 2})
    await few.add_role("tester", base="implementer")
    first = await few.start("implementer")
    await few.start("tester")
    with pytest.raises(LimitError, match=r"2 live sessions of role implementer; the limit is 2"):
        await few.start("implementer")
    with pytest.raises(LimitError):
        await few.start("tester")
    await few.start("architect")
    await few.start_system("implementer")
    await few.end(first.id)
    await few.start("tester")


async def test_the_same_key_starts_one_session(lab: Lab) -> None:
    first = await lab.workspaces.start("implementer", key="k")
    again = await lab.workspaces.start("implementer", key="k")
    assert again == first
    with pytest.raises(KeyReusedError):
        await lab.workspaces.start("architect", key="k")
    assert len(await lab.workspaces.list()) == 1


# -- pointers ----------------------------------------------------------------------------------------------------------


async def test_each_agent_and_terminal_has_its_own_pointer(lab: Lab) -> None:
    shared = lab.places.directory
    callers = [lab.places, MemoryPlaces(shared, agent="bob"), MemoryPlaces(shared, terminal="tty1")]
    kinds = [lab.at_work(places) for places in callers]
    made = [await kind.start("implementer") for kind in kinds]
    assert [one.pointer for one in made] == ["agent", "agent", "terminal"]
    for kind, own in zip(kinds, made, strict=True):
        found = await kind.resolve()
        assert (found.workspace.id, found.source) == (own.id, own.pointer)


async def test_without_a_key_the_projects_pointer_is_taken_unless_somebody_is_at_work_behind_it(lab: Lab) -> None:
    kind = lab.at_work(MemoryPlaces())
    first = await kind.start("implementer", "first")
    assert first.pointer == "project"
    second = await kind.start("implementer", "second")
    assert second.pointer is None
    assert "first" in second.hint
    assert f"SOJOURN_SESSION={second.id}" in second.hint
    assert (await kind.resolve()).workspace.id == first.id
    await kind.end(first.id)
    third = await kind.start("implementer")
    assert third.pointer == "project"


async def test_a_live_session_behind_the_projects_pointer_is_displaced_only_on_request(lab: Lab) -> None:
    kind = lab.at_work(MemoryPlaces())
    first = await kind.start("implementer", "first")
    with pytest.raises(PointerHeldError, match=r"first .*at work.*replace=True") as held:
        await kind.start("implementer", pointer="project")
    assert held.value.record.id == first.id
    assert len(await kind.list()) == 1
    second = await kind.start("implementer", pointer="project", replace=True)
    assert (await kind.resolve()).workspace.id == second.id
    assert (await kind.resolve("-")).workspace.id == first.id


@pytest.mark.parametrize("pointer", ["auto", "project"])
async def test_the_pointer_that_a_session_has_is_no_reason_against_it(lab: Lab, pointer: Any) -> None:
    kind = lab.at_work(MemoryPlaces())
    first = await kind.start("implementer", "lead", pointer=pointer, key="k")
    assert await kind.start("implementer", "lead", pointer=pointer, key="k") == first
    for again in (kind.resume, kind.use):
        found = await again("lead", pointer=pointer)
        assert (found.id, found.pointer, found.hint) == (first.id, "project", "")


async def test_a_key_points_at_nothing_that_is_over(lab: Lab) -> None:
    kind = lab.at_work(MemoryPlaces())
    first = await kind.start("implementer", "lead", pointer="project", key="k")
    await kind.end(first.id)
    second = await kind.start("implementer")
    again = await kind.start("implementer", "lead", pointer="project", key="k")
    assert (again.id, again.state, again.pointer) == (first.id, "ended", None)
    assert (await kind.resolve()).workspace.id == second.id


async def test_a_lost_session_does_not_keep_the_projects_pointer(lab: Lab) -> None:
    places = MemoryPlaces()
    kind = lab.at_work(places)
    first = await kind.start("implementer")
    async with kind.hold(first.id):
        places.host_of.kill(first.id)
        assert (await kind.start("implementer", pointer="project")).pointer == "project"


async def test_no_pointer_is_moved_when_none_is_asked_for(lab: Lab) -> None:
    made = await lab.workspaces.start("implementer", pointer=None)
    assert made.pointer is None
    assert made.id in made.hint
    with pytest.raises(NoSessionError):
        await lab.workspaces.resolve()


async def test_a_session_whose_pointer_cannot_be_written_is_removed(lab: Lab) -> None:
    lab.places.directory.writable = False
    with pytest.raises(PointerError, match="cannot write"):
        await lab.workspaces.start("implementer", "lead")
    lab.places.directory.writable = True
    assert not len(await lab.workspaces.list(active_only=False))
    assert (await lab.workspaces.start("implementer", "lead")).name == "lead"


async def test_a_terminals_pointer_needs_a_terminal(lab: Lab) -> None:
    kind = lab.at_work(MemoryPlaces())
    with pytest.raises(InvalidValueError, match="SOJOURN_AGENT"):
        await kind.start("implementer", pointer="terminal")
    with pytest.raises(InvalidValueError, match="'auto', 'terminal', 'project' or None"):
        await kind.start("implementer", pointer="here")  # type: ignore[arg-type]


async def test_a_project_named_by_its_id_has_no_pointers_and_no_environment(lab: Lab) -> None:
    mine = await lab.workspaces.start("implementer")
    made = await lab.workspaces.start("implementer", project_id="project-1")
    assert made.pointer is None
    assert (await lab.workspaces.resolve()).workspace.id == mine.id
    lab.places.session = mine.id
    with pytest.raises(NoSessionError, match="no session was named"):
        await lab.workspaces.resolve(project_id="project-1")
    with pytest.raises(InvalidValueError, match="working directory"):
        await lab.workspaces.start("implementer", pointer="project", project_id="project-1")


async def test_a_directory_without_a_project_says_so(lab: Lab) -> None:
    kind = lab.at_work(MemoryPlaces(Directory(project=None)))
    with pytest.raises(NoProjectError, match="sojourn init"):
        await kind.start("implementer")
    with pytest.raises(NoProjectError):
        await kind.resolve()
    assert (await kind.start("implementer", project_id="p")).project_id == "p"


async def test_a_system_session_touches_no_pointer_and_is_not_counted(lab: Lab) -> None:
    made = await lab.workspaces.start_system("monitor")
    assert (made.system, made.role, made.pointer) == (True, "monitor", None)
    assert await lab.workspaces.count_active() == {}
    with pytest.raises(NoSessionError):
        await lab.workspaces.resolve()
    with pytest.raises(UnknownRoleError):
        await lab.workspaces.start_system("tester")


async def test_a_session_that_is_not_there_is_not_found(lab: Lab) -> None:
    assert await lab.workspaces.get("nothing") is None
    made = await lab.workspaces.start("implementer")
    assert await lab.workspaces.get(made.id, project_id="project-2") is None
    with pytest.raises(NotFoundError, match="another project"):
        await lab.workspaces.heartbeat(made.id, project_id="project-2")
    with pytest.raises(NotFoundError):
        await lab.workspaces.heartbeat("nothing")


def test_a_policy_checks_what_it_is_given() -> None:
    rows: tuple[dict[str, Any], ...] = (
        {"stale_after": timedelta(0)},
        {"heartbeat_every": None},
        {"max_active_per_role": {"x": -1}},
        {"max_claims": -1},
    )
    for wrong in rows:
        with pytest.raises(InvalidValueError):
            WorkspacePolicy(**wrong)
    assert WorkspacePolicy(stale_after=None, idle_after=None).stale_after is None
