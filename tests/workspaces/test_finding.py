"""A session is found by what people and programs have: an id, the end of one, a name, a pointer; never by another's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sojourn import (
    AmbiguousError,
    EndedError,
    ExpiredError,
    InvalidValueError,
    LimitError,
    NoSessionError,
    NotFoundError,
    OrphanPointerError,
    new_id,
)
from sojourn.core.ids import make_id
from sojourn.testing.places import MemoryPlaces

if TYPE_CHECKING:
    from tests.conversations.conftest import Lab


async def test_a_reference_is_an_id_a_tail_a_name_or_the_beginning_of_one(lab: Lab) -> None:
    made = await lab.workspaces.start("architect", "brave-heron")
    await lab.workspaces.start("implementer", "calm-otter")
    for reference in (
        made.id,
        made.id.lower(),
        made.id[-4:],
        made.id[-8:].lower(),
        "brave-heron",
        "brave",
        "b",
        f" {made.id}\n",
    ):
        found = await lab.workspaces.resolve(reference)
        assert (found.workspace.id, found.source) == (made.id, "argument"), reference


async def test_a_reference_that_fits_nothing_is_not_found(lab: Lab) -> None:
    made = await lab.workspaces.start("architect", "brave-heron")
    for reference in (new_id(), made.id[-3:], made.id[:8], "heron", "brave-heron-2", "nobody", "..", "*", "%", "ä"):
        with pytest.raises(NotFoundError, match="workspace list"):
            await lab.workspaces.resolve(reference)
    for blank in ("", "  ", "\n"):
        with pytest.raises(NoSessionError):
            await lab.workspaces.resolve(blank)
    for wrong in (7, "a\0b", "x" * 600):
        with pytest.raises((InvalidValueError, LimitError)):
            await lab.workspaces.resolve(wrong)  # type: ignore[arg-type]


async def test_an_ambiguous_reference_lists_the_candidates(lab: Lab) -> None:
    one = await lab.workspaces.start("architect", "brave-heron")
    two = await lab.workspaces.start("implementer", "brave-otter")
    with pytest.raises(AmbiguousError, match=r"fits 2 workspaces.*brave-heron.*brave-otter") as raised:
        await lab.workspaces.resolve("brave")
    assert {candidate.id for candidate in raised.value.candidates} == {one.id, two.id}


async def test_the_end_of_an_id_may_be_ambiguous_too(lab: Lab) -> None:
    numbers = iter(range(100))
    store = lab.open(ids=lambda: make_id(0, 0, (next(numbers) << 40) + 7))
    kind = store.workspaces
    one, two = [await kind.start_system("monitor", project_id="p") for _ in range(2)]
    with pytest.raises(AmbiguousError) as raised:
        await kind.resolve(one.id[-4:], project_id="p")
    assert {candidate.id for candidate in raised.value.candidates} == {one.id, two.id}
    longest = next(length for length in range(4, 27) if one.id[-length:] != two.id[-length:])
    assert (await kind.resolve(one.id[-longest:], project_id="p")).workspace.id == one.id


async def test_a_whole_name_goes_before_longer_ones_and_before_past_ones(lab: Lab) -> None:
    old = await lab.workspaces.start("architect", "lead")
    await lab.workspaces.end(old.id)
    await lab.workspaces.start("architect", "lead-two")
    assert (await lab.workspaces.resolve("lead")).workspace.id == old.id  # the last that had it
    new = await lab.workspaces.start("architect", "lead")
    assert (await lab.workspaces.resolve("lead")).workspace.id == new.id


async def test_an_old_name_stays_findable(lab: Lab) -> None:
    made = await lab.workspaces.start("architect", "first")
    await lab.workspaces.rename(made.id, "second")
    for name in ("first", "second"):
        assert (await lab.workspaces.resolve(name)).workspace.id == made.id
    other = await lab.workspaces.start("architect", "first")
    assert (await lab.workspaces.resolve("first")).workspace.id == other.id


async def test_what_is_chosen_goes_before_what_is_pointed_at(lab: Lab) -> None:
    project = lab.at_work(MemoryPlaces(lab.places.directory))
    shared = await project.start("implementer", "shared")
    found = await lab.workspaces.resolve()
    assert (found.workspace.id, found.source) == (shared.id, "project")
    own = await lab.workspaces.start("implementer", "own")
    found = await lab.workspaces.resolve()
    assert (found.workspace.id, found.source) == (own.id, "agent")
    lab.places.session = shared.id
    found = await lab.workspaces.resolve()
    assert (found.workspace.id, found.source) == (shared.id, "environment")
    found = await lab.workspaces.resolve("own")
    assert (found.workspace.id, found.source) == (own.id, "argument")
    lab.places.session = "  "
    assert (await lab.workspaces.resolve()).source == "agent"


async def test_an_explicit_choice_that_fails_never_falls_through(lab: Lab) -> None:
    await lab.workspaces.start("implementer", "own")
    for fails in ("gone", new_id(), "-", ""):
        with pytest.raises(NotFoundError):
            await lab.workspaces.resolve(fails)
    lab.places.session = "gone"
    for operation in (lab.workspaces.resolve, lab.workspaces.load_active, lab.workspaces.end):
        with pytest.raises(NotFoundError, match="gone"):
            await operation()


async def test_nobody_at_work_says_how_to_begin(lab: Lab) -> None:
    for operation in (lab.workspaces.resolve, lab.workspaces.load_active, lab.workspaces.end):
        with pytest.raises(NoSessionError, match=r"workspace start.*SOJOURN_SESSION"):
            await operation()
    lab.places.directory.pointers["terminal", "ada"] = " \n"
    with pytest.raises(NoSessionError):
        await lab.workspaces.load_active()


@pytest.mark.parametrize("text", ["01M7W4M5THH9D6CYVWSHZV35Y8", "nonsense", "../../etc/passwd", "x" * 5000])
async def test_a_pointer_to_nothing_says_where_it_is_and_how_to_repair_it(lab: Lab, text: str) -> None:
    lab.places.directory.pointers["terminal", "ada"] = text
    for operation in (lab.workspaces.resolve, lab.workspaces.load_active, lab.workspaces.end):
        with pytest.raises(OrphanPointerError, match=r"\.sojourn/pointers/1f0c.*remove the file"):
            await operation()


async def test_a_pointer_to_another_projects_session_is_not_followed(lab: Lab) -> None:
    other = await lab.workspaces.start("implementer", project_id="project-2")
    lab.places.directory.pointers["terminal", "ada"] = other.id
    with pytest.raises(OrphanPointerError, match="another project"):
        await lab.workspaces.load_active()
    lab.places.session = other.id
    with pytest.raises(NotFoundError, match="another project"):
        await lab.workspaces.load_active()


async def test_what_is_over_is_told_apart(lab: Lab) -> None:
    made = await lab.workspaces.start("implementer", "lead")
    await lab.workspaces.end(reason="done")
    with pytest.raises(EndedError, match=r"lead.*was ended at 2030-01-01 12:00 UTC.*Start another") as ended:
        await lab.workspaces.load_active()
    assert (ended.value.record.id, ended.value.record.end_reason) == (made.id, "done")
    other = await lab.workspaces.start("implementer", "next")
    lab.later(hours=4)
    with pytest.raises(ExpiredError, match=r"next.*expired at 2030-01-01 16:00 UTC") as expired:
        await lab.workspaces.load_active()
    assert (expired.value.record.id, expired.value.record.state) == (other.id, "expired")
    assert (await lab.workspaces.resolve()).workspace.state == "expired"


async def test_load_active_marks_activity_but_not_each_time(lab: Lab) -> None:
    made = await lab.workspaces.start("implementer")
    before = len(await lab.events())
    lab.later(seconds=29)
    assert (await lab.workspaces.load_active()).last_activity_at == made.created_at
    lab.later(seconds=1)
    marked = await lab.workspaces.load_active()
    assert marked.last_activity_at == lab.clock()
    assert marked.expires_at is not None
    assert made.expires_at is not None
    assert (marked.expires_at - made.expires_at).total_seconds() == 30
    assert len(await lab.events()) == before


async def test_resolving_reads_only(memory_lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    await memory_lab.workspaces.start("implementer", "lead")
    inner = memory_lab.workspaces._inner._aio._unit.engine  # type: ignore[attr-defined]

    def refuse(*_: object) -> None:
        raise AssertionError("a commit")

    monkeypatch.setattr(type(inner), "commit", refuse)
    memory_lab.later(hours=3)
    for reference in (None, "lead", "le"):
        assert (await memory_lab.workspaces.resolve(reference)).workspace.state == "idle"


async def test_use_moves_a_pointer_and_dash_leads_back(lab: Lab) -> None:
    one = await lab.workspaces.start("implementer", "one")
    two = await lab.workspaces.start("implementer", "two")
    assert (await lab.workspaces.use("one")).pointer == "agent"
    assert (await lab.workspaces.resolve()).workspace.id == one.id
    assert (await lab.workspaces.use("-")).id == two.id
    assert (await lab.workspaces.use("-")).id == one.id
    await lab.workspaces.end("two")
    with pytest.raises(EndedError):
        await lab.workspaces.use("-")


async def test_lists_are_paged_newest_first(lab: Lab) -> None:
    made = [(await lab.workspaces.start("implementer")).id for _ in range(5)]
    made.sort(reverse=True)
    await lab.workspaces.end(made[1])
    page = await lab.workspaces.list(limit=3)
    assert [one.id for one in page] == [made[0], made[2], made[3]]
    rest = await lab.workspaces.list(limit=3, after=page.next)
    assert ([one.id for one in rest], rest.next) == ([made[4]], None)
    assert [one.id for one in await lab.workspaces.list(active_only=False)] == made
    await lab.workspaces.start("architect")
    assert [one.role for one in await lab.workspaces.list(role="architect")] == ["architect"]
    lab.later(hours=5)
    assert not len(await lab.workspaces.list())
    assert len(await lab.workspaces.list(active_only=False)) == 6


async def test_the_projects_record_is_in_no_list_and_no_event(lab: Lab) -> None:
    await lab.workspaces.add_role("tester", base="implementer")
    made = await lab.workspaces.start("tester")
    await lab.workspaces.claim(made.id, "src/")
    assert [row.id for row in await lab.store.sessions.list("state:all")] == [made.id]
    assert {event.kind for event in await lab.events()} == {"workspace"}
