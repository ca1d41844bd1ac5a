"""Making contexts, adding to them, reading back."""

from __future__ import annotations

import json
from hashlib import sha256
from io import BytesIO
from typing import TYPE_CHECKING, Any, cast
from zipfile import ZipFile

import pytest

from sojourn import (
    ContextPolicy,
    EndedError,
    InvalidCursorError,
    InvalidValueError,
    LimitError,
    NameTakenError,
    NotFoundError,
    SojournError,
    UnsupportedError,
)

if TYPE_CHECKING:
    from tests.conversations.conftest import Lab


async def texts(lab: Lab, name: str, **more: Any) -> list[str]:
    return [item.content for item in await lab.contexts.artifacts(name, limit=1000, **more)]


async def test_a_context_is_what_was_put_in(lab: Lab) -> None:
    made = await lab.contexts.create("  auth refactor ", metadata={"ticket": 7})
    assert (made.name, made.scope, made.metadata, made.active) == ("auth refactor", "default", {"ticket": 7}, False)
    assert (made.artifact_count, made.bytes, made.resumed_at, made.ended_at) == (0, 0, None, None)
    lab.later(minutes=1)
    first = await lab.contexts.add("auth refactor", "note", "Grüße", metadata={"by": "me"})
    second = await lab.contexts.add("auth refactor", "diff", "+ a")
    assert (first.sequence, second.sequence) == (1, 2)
    assert first.digest == sha256("Grüße".encode()).hexdigest()
    assert (await lab.contexts.artifacts("auth refactor")).items == [first, second]
    assert await lab.contexts.artifact("auth refactor", 2) == second
    found = await lab.contexts.get("auth refactor")
    assert found is not None
    assert (found.id, found.artifact_count, found.bytes, found.updated_at > made.updated_at) == (made.id, 2, 10, True)


async def test_a_taken_name_is_said(lab: Lab) -> None:
    made = await lab.contexts.create("a", metadata={"n": 1})
    with pytest.raises(NameTakenError) as caught:
        await lab.contexts.create("a ")
    assert caught.value.holder == made.id
    assert await lab.contexts.create("a", metadata={"n": 2}, exist_ok=True) == made


async def test_names_are_unique_in_their_scope_only(lab: Lab) -> None:
    one = await lab.contexts.create("a")
    other = await lab.contexts.create("a", scope="project")
    third = await lab.contexts.create("a", scope=7)
    assert len({one.id, other.id, third.id}) == 3
    assert [item.scope for item in await lab.contexts.list(scope="7")] == ["7"]
    assert await lab.contexts.get("a", scope="elsewhere") is None


async def test_lists_are_paged_newest_first(lab: Lab) -> None:
    names = [f"c{number}" for number in range(7)]
    for name in names:
        await lab.contexts.create(name)
    await lab.contexts.create("other", scope="p")
    seen, cursor = [], None
    while True:
        page = await lab.contexts.list(limit=3, after=cursor)
        seen += [item.id for item in page]
        cursor = page.next
        if cursor is None:
            break
    assert len(seen) == 7
    assert seen == sorted(seen, reverse=True)


async def test_add_makes_what_is_absent(lab: Lab) -> None:
    await lab.contexts.add("new", "note", "hello")
    assert await texts(lab, "new") == ["hello"]


async def test_artifacts_are_paged_filtered_and_cut(lab: Lab) -> None:
    for number in range(1, 8):
        await lab.contexts.add("a", "note" if number % 2 else "diff", str(number))
    page = await lab.contexts.artifacts("a", limit=3)
    assert [item.content for item in page] == ["1", "2", "3"]
    page = await lab.contexts.artifacts("a", limit=4, after=page.next)
    assert ([item.content for item in page], page.next) == (["4", "5", "6", "7"], None)
    assert await texts(lab, "a", kind="diff") == ["2", "4", "6"]
    assert await texts(lab, "a", last=2) == ["6", "7"]
    assert await texts(lab, "a", last=0) == []
    page = await lab.contexts.artifacts("a", kind="note", limit=2)
    assert [item.content for item in await lab.contexts.artifacts("a", kind="note", after=page.next)] == ["5", "7"]


async def test_without_a_name_the_active_one_is_read(lab: Lab) -> None:
    await lab.contexts.add("a", "note", "x")
    with pytest.raises(NotFoundError):
        await lab.contexts.artifacts()
    await lab.contexts.set_active("a")
    assert [item.content for item in await lab.contexts.artifacts()] == ["x"]
    made = await lab.contexts.get("a")
    assert made is not None
    assert [item.content for item in await lab.contexts.artifacts(id=made.id)] == ["x"]


async def test_metadata_is_patched_per_key(lab: Lab) -> None:
    await lab.contexts.create("a", metadata={"one": 1, "two": 2})
    assert (await lab.contexts.update("a", {"three": [3]}, ["one"])).metadata == {"two": 2, "three": [3]}
    assert (await lab.contexts.update_metadata("a", {"two": None})).metadata == {"two": None, "three": [3]}


async def test_rename_frees_the_old_name(lab: Lab) -> None:
    made = await lab.contexts.create("a")
    await lab.contexts.create("taken")
    with pytest.raises(NameTakenError):
        await lab.contexts.rename("a", "taken")
    assert (await lab.contexts.rename("a", "b")).id == made.id
    assert await lab.contexts.get("a") is None
    await lab.contexts.add("a", "note", "to a new one")
    await lab.contexts.add("b", "note", "to the renamed one")
    assert (await texts(lab, "a"), await texts(lab, "b")) == (["to a new one"], ["to the renamed one"])
    assert (await lab.contexts.rename("b", "b")).name == "b"


async def test_a_store_that_knows_an_old_name_is_not_fooled(disk_lab: Lab) -> None:
    """One store has added to a name; another renames it and gives the name to somebody else."""
    lab, other = disk_lab, disk_lab.open().contexts
    await lab.contexts.add("a", "note", "one")
    await other.rename("a", "b")
    await other.create("a")
    await lab.contexts.add("a", "note", "two")
    assert (await texts(lab, "a"), await texts(lab, "b")) == (["two"], ["one"])
    await other.delete("a")
    await lab.contexts.add("a", "note", "three")
    await other.delete("a", purge=False)
    await lab.contexts.add("a", "note", "four")
    assert await texts(lab, "a") == ["four"]


async def test_a_branch_shares_and_goes_on_separately(lab: Lab) -> None:
    for number in range(1, 6):
        await lab.contexts.add("a", "note", f"{number}" * number)
    await lab.contexts.pin("a", 1)
    await lab.contexts.pin("a", 4)
    await lab.contexts.update("a", {"k": 1})
    made = await lab.contexts.branch("a", "b", at=3)
    assert (made.artifact_count, made.bytes, made.metadata) == (3, 6, {"k": 1})
    await lab.contexts.add("b", "note", "b")
    await lab.contexts.add("a", "note", "a")
    assert await texts(lab, "b") == ["1", "22", "333", "b"]
    assert [item.pinned for item in await lab.contexts.artifacts("b")] == [True, False, False, False]
    assert (await lab.contexts.branch("a", "c")).artifact_count == 6
    await lab.contexts.delete("a")
    assert await texts(lab, "b") == ["1", "22", "333", "b"]
    with pytest.raises(NameTakenError):
        await lab.contexts.branch("b", "c")
    with pytest.raises(InvalidValueError):
        await lab.contexts.branch("b", "d", at=5)
    assert (await lab.contexts.branch("b", "empty", at=0)).artifact_count == 0


@pytest.mark.search
async def test_search_finds_artifacts_by_their_words(lab: Lab) -> None:
    await lab.contexts.add("a", "note", "The parser drops a line")
    await lab.contexts.add("b", "diff", "parser: keep the line")
    await lab.contexts.add("b", "note", "parser of another scope", scope="p")
    assert {(hit.name, hit.artifact.sequence) for hit in await lab.contexts.search("PARSER lin")} == {("a", 1), ("b", 1)}
    assert [hit.name for hit in await lab.contexts.search("parser", kind="diff")] == ["b"]
    assert [hit.snippet for hit in await lab.contexts.search("another", scope="p")] == ["parser of another scope"]
    await lab.contexts.delete("a", purge=False)
    assert [hit.name for hit in await lab.contexts.search("parser")] == ["b"]
    with pytest.raises(UnsupportedError):
        await lab.gathering(search="off").search("parser")


async def test_exports_say_everything(lab: Lab) -> None:
    await lab.contexts.add("a", "note", "with ``` a fence", metadata={"n": 1})
    await lab.contexts.add("a", "file", "x" * 10_000)
    await lab.contexts.pin("a", 1)
    document = json.loads(await lab.contexts.export("a"))
    assert document["context"]["name"] == "a"
    assert [row["content"][:4] for row in document["artifacts"]] == ["with", "xxxx"]
    assert [row.get("pinned") for row in document["artifacts"]] == [True, None]
    lines = cast("str", await lab.contexts.export("a", "jsonl")).splitlines()
    assert [json.loads(line).get("sequence") for line in lines] == [None, 1, 2]
    assert "````\nwith ``` a fence\n````" in cast("str", await lab.contexts.export("a", "md"))
    packed = cast("bytes", await lab.contexts.export("a", "zip"))
    assert packed == await lab.contexts.export("a", "zip")
    with ZipFile(BytesIO(packed)) as archive:
        assert archive.namelist() == ["artifacts/00001-note.md", "artifacts/00002-file.txt", "context.json"]
        assert archive.read("artifacts/00002-file.txt") == b"x" * 10_000


async def test_what_was_closed_takes_nothing_more(lab: Lab) -> None:
    await lab.contexts.add("a", "note", "x")
    made = await lab.contexts.get("a")
    assert made is not None
    await lab.store.sessions.end(made.id)
    for work in (lab.contexts.add("a", "note", "y"), lab.contexts.set_active("a"), lab.contexts.resume("a")):
        with pytest.raises(EndedError):
            await work
    assert await texts(lab, "a") == ["x"]
    assert await lab.contexts.delete("a")


BAD: list[tuple[type[SojournError], str, tuple[Any, ...], dict[str, Any]]] = [
    (NotFoundError, "update", ("nobody", {}), {}),
    (NotFoundError, "update_metadata", ("nobody", {"a": 1}), {}),
    (NotFoundError, "set_active", ("nobody",), {}),
    (NotFoundError, "set_active", ("nobody", False), {}),
    (NotFoundError, "resume", ("nobody",), {}),
    (NotFoundError, "resume", (), {"scope": "never"}),
    (NotFoundError, "rename", ("nobody", "b"), {}),
    (NotFoundError, "branch", ("nobody", "b"), {}),
    (NotFoundError, "artifacts", ("nobody",), {}),
    (NotFoundError, "artifacts", (), {"id": "x"}),
    (NotFoundError, "artifact", ("a", 2), {}),
    (NotFoundError, "artifact", ("a", True), {}),
    (NotFoundError, "pin", ("a", 9), {}),
    (NotFoundError, "assemble", ("nobody",), {"budget": 10}),
    (NotFoundError, "export", ("nobody",), {}),
    (InvalidValueError, "update", ("a", {"x": object()}), {}),
    (InvalidValueError, "update", ("nobody", {"x": float("nan")}), {}),
    (InvalidValueError, "update", ("a", [1]), {}),
    (InvalidValueError, "update", ("a", {}, "key"), {}),
    (InvalidValueError, "update", ("a", {1: 2}), {}),
    (InvalidValueError, "add", ("a", "", "x"), {}),
    (InvalidValueError, "add", ("a", "note\n", "x"), {}),
    (InvalidValueError, "add", ("a", "note", b"x"), {}),
    (InvalidValueError, "add", ("a", "note", "\0"), {}),
    (InvalidValueError, "add", ("a", "note", "\ud800"), {}),
    (InvalidValueError, "add", ("a", "note", "x"), {"metadata": 3}),
    (InvalidValueError, "add", ("a", "note", "x"), {"scope": ""}),
    (InvalidValueError, "add", ("a", "note", "x"), {"key": ""}),
    (InvalidValueError, "artifacts", ("a",), {"limit": 0}),
    (InvalidValueError, "artifacts", ("a",), {"last": -1}),
    (InvalidValueError, "artifacts", ("a",), {"id": "x"}),
    (InvalidValueError, "list", (), {"limit": 1001}),
    (InvalidValueError, "assemble", ("a",), {"budget": 0}),
    (InvalidValueError, "assemble", ("a",), {"budget": 5, "kinds": "note"}),
    (InvalidValueError, "search", ("?!",), {}),
    (InvalidValueError, "export", ("a", "pdf"), {}),
    (InvalidCursorError, "list", (), {"after": "x"}),
    (InvalidCursorError, "artifacts", ("a",), {"after": "x"}),
    (LimitError, "add", ("a", "note", "x" * 16_000_001), {}),
    (LimitError, "add", ("a", "note", "x"), {"metadata": {"x": "y" * 256_001}}),
    (LimitError, "update", ("a", {"x": "y" * 256_001}), {}),
]


@pytest.mark.parametrize("case", range(len(BAD)))
async def test_every_bad_input_has_its_error_and_changes_nothing(memory_lab: Lab, case: int) -> None:
    error, operation, arguments, named = BAD[case]
    await memory_lab.contexts.add("a", "note", "x")
    before = [line async for line in memory_lab.store.export()]
    with pytest.raises(error):
        await getattr(memory_lab.contexts, operation)(*arguments, **named)
    assert [line async for line in memory_lab.store.export()] == before


async def test_metadata_has_a_limit_as_a_whole(memory_lab: Lab) -> None:
    contexts = memory_lab.gathering(max_metadata=20)
    await contexts.create("a", metadata={"k": "1234567"})
    with pytest.raises(LimitError):
        await contexts.update("a", {"l": "1234567"})
    await contexts.update("a", {"l": "1234567"}, ["k"])


@pytest.mark.parametrize(
    "policy", [{"inline": -1}, {"inline": None}, {"max_content": True}, {"max_metadata": "1"}, {"search": "on"}]
)
def test_a_policy_is_checked(policy: dict[str, Any]) -> None:
    with pytest.raises(InvalidValueError):
        ContextPolicy(**policy)


async def test_tenants_do_not_see_each_other(lab: Lab) -> None:
    await lab.contexts.add("a", "note", "x" * 9000)
    other = lab.store.for_tenant("other").contexts
    assert await other.get("a") is None
    await other.add("a", "note", "x" * 9000)
    await lab.contexts.delete("a")
    assert len((await other.artifacts("a")).items[0].content) == 9000
