"""Export and load: a store as lines of JSON and back, whole, and as often as one likes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from sojourn import AsyncStore, CorruptError, InvalidValueError

if TYPE_CHECKING:
    from tests.conversations.conftest import Lab


async def lines_of(store: AsyncStore, **only: Any) -> list[str]:
    """An export as a list."""
    return [line async for line in store.export(**only)]


def another(lab: Lab) -> AsyncStore:
    """An empty store of the same engine at another place."""
    return lab.elsewhere()


async def filled(lab: Lab) -> list[str]:
    """Conversations with everything in them."""
    made = await lab.talks.create("ann", title="Trip", display_name="Ann", metadata={"mood": "good"})
    await lab.talks.link_channel(made.id, "telegram", "t1")
    await lab.talks.extend(made.id, lab.in_turn(lab.numbered(59)), key="k1")
    await lab.talks.append(
        made.id, "assistant", [{"text": "parts"}], tool_calls=[{"id": "c1"}], metadata={"a": 1}, author="bot",
        channel="telegram", tokens=4, turn="t",
    )  # fmt: skip
    lab.later(minutes=5)
    await lab.talks.consolidate(made.id)
    await lab.talks.repair(made.id)
    await lab.talks.extend(made.id, lab.in_turn(lab.numbered(30, 61)))
    await lab.talks.consolidate(made.id)
    await lab.talks.hide(made.id, 70)
    await lab.talks.redact(made.id, 71)
    await lab.talks.checkpoint(made.id, "here")
    fork = await lab.talks.fork(made.id, at=80, title="What if")
    await lab.talks.append(fork.id, "user", "own way")
    await lab.talks.rewind(fork.id, 60)
    ended = await lab.talk("over", user="bob")
    lab.later(minutes=5)
    await lab.talks.end(ended, reason="done")
    lab.later(hours=25)
    old = await lab.talk("young", user="cat")
    await lab.talks.decay()
    return [made.id, fork.id, ended, old]


async def picture(store: AsyncStore, talks: list[str]) -> list[Any]:
    """All that can be seen of conversations."""
    found: list[Any] = []
    for talk in talks:
        conversation: Any = await store.conversations.get(talk)
        found.append(
            {name: getattr(conversation, name) for name in conversation.__slots__ if name not in ("version", "messages")}
        )
        found.append(list(await store.conversations.messages(talk)))
        found.append(list(await store.conversations.messages(talk, include_folded=True, include_hidden=True)))
        found.append([(c.label, c.sequence, c.created_at) for c in await store.conversations.checkpoints(talk)])
    return found


async def test_what_is_loaded_is_what_was_exported(lab: Lab) -> None:
    talks = await filled(lab)
    lines = await lines_of(lab.store)
    assert json.loads(lines[0])["format"] == "sojourn"
    assert all(isinstance(json.loads(line), dict) and line.endswith("\n") for line in lines)
    other = another(lab)
    loaded = await other.load(lines)
    assert (loaded.sessions, loaded.present) == (4, 0)
    assert loaded.entries > 90
    assert await picture(other, talks) == await picture(lab.store, talks)
    assert await other.conversations.resolve("telegram", "t1") == "ann"
    for store in (lab.store, other):
        assert [found.id for found in await store.conversations.list(active_only=False, order="created")] == [
            found.id for found in await lab.talks.list(active_only=False, order="created")
        ]
    assert (await other.conversations.get_or_create("cat")).id == talks[3]
    if lab.searches:
        hits = await other.conversations.search("own way")
        assert [hit.conversation_id for hit in hits] == [talks[1]]
    assert await lines_of(other) == lines


async def test_what_was_loaded_goes_on_where_it_stopped(lab: Lab) -> None:
    talks = await filled(lab)
    other = another(lab)
    await other.load(await lines_of(lab.store))
    for store in (lab.store, other):
        fork = await store.conversations.fork(talks[0])
        await store.conversations.append(fork.id, "user", "next")
        summary = (await store.conversations.messages(fork.id))[0]
        await store.conversations.expand(fork.id, summary.sequence)
        assert len(await store.conversations.messages(fork.id)) > 60


async def test_loading_again_changes_nothing(lab: Lab) -> None:
    talks = await filled(lab)
    lines = await lines_of(lab.store)
    other = another(lab)
    await other.load(lines)
    before = await picture(other, talks)
    again = await other.load(lines)
    assert (again.sessions, again.entries, again.aliases, again.present) == (0, 0, 0, 4)
    assert await picture(other, talks) == before


async def test_a_load_that_was_stopped_is_taken_up(lab: Lab) -> None:
    made = await lab.talk(*lab.numbered(450), talks=lab.under(fold_above=None).conversations)
    lines = await lines_of(lab.store)
    other = another(lab)

    def broken() -> Any:
        yield from lines[:300]
        raise EOFError

    with pytest.raises(EOFError):
        await other.load(broken())
    assert await other.conversations.get(made) is None
    assert len(await other.conversations.list(active_only=False)) == 0
    loaded = await other.load(lines)
    assert loaded.sessions == 1
    assert len(await other.conversations.messages(made, include_folded=True)) >= 450


async def test_a_load_leaves_alone_what_is_there(lab: Lab) -> None:
    made = await lab.talk("a")
    lines = await lines_of(lab.store)
    await lab.talks.append(made, "user", "b")
    loaded = await lab.store.load(lines)
    assert loaded.present == 1
    assert await lab.texts(made) == ["a", "b"]


async def test_a_fork_whose_parent_was_deleted_is_exported_whole(lab: Lab) -> None:
    made = await lab.talk("a", "b")
    fork = await lab.talks.fork(made)
    await lab.talks.append(fork.id, "user", "c")
    await lab.talks.delete(made)
    await lab.store.sweep()
    other = another(lab)
    await other.load(await lines_of(lab.store))
    assert lab.shown(await other.conversations.messages(fork.id)) == ["a", "b", "c"]


async def test_an_export_may_be_of_one_person_or_of_some_kinds(lab: Lab) -> None:
    made = await lab.talk("a")
    await lab.talk("b", user="bob")
    lines = [json.loads(line) for line in await lines_of(lab.store, owner="ann")]
    assert {line["id"] for line in lines if line.get("type") == "session"} == {made}
    assert len(await lines_of(lab.store, kinds=["login"])) == 1
    with pytest.raises(InvalidValueError):
        await lines_of(lab.store, kinds=["gossip"])


async def test_one_tenant_may_be_loaded_into_another(lab: Lab) -> None:
    made = await lab.talk("a")
    lines = await lines_of(lab.store)
    other = another(lab).for_tenant("acme")
    if lab.engine == "redis":  # an id carries the shard of its tenant and home
        with pytest.raises(InvalidValueError, match="does not belong to home"):
            await other.load(lines)
        return
    await other.load(lines)
    assert lab.shown(await other.conversations.messages(made)) == ["a"]
    assert (await other.conversations.get_or_create("ann")).id == made


async def test_keys_are_remembered_with_their_messages(lab: Lab) -> None:
    made = await lab.talk()
    first = await lab.talks.append(made, "user", "x", key="k1")
    other = another(lab)
    await other.load(await lines_of(lab.store))
    assert await other.conversations.append(made, "user", "x", key="k1") == first


async def test_an_empty_store_is_exported_as_one_line(lab: Lab) -> None:
    lines = await lines_of(lab.store)
    assert len(lines) == 1
    loaded = await another(lab).load(lines)
    assert (loaded.sessions, loaded.entries) == (0, 0)


HEAD = '{"format": "sojourn", "version": 1, "tenant": "default"}'


@pytest.mark.parametrize(
    "lines",
    [
        ["not json"], ["[]"], ["5"], ['{"format": "other", "version": 1}'], ['{"format": "sojourn", "version": 99}'],
        [HEAD, "not json"], [HEAD, "[]"], [HEAD, "{}"], [HEAD, '{"type": "gossip"}'], [HEAD, '{"type": "session"}'],
        [HEAD, '{"type": "entry", "session": "x", "sequence": 1}'], [HEAD, '{"type": "alias"}'],
        [HEAD, '{"type": "session", "id": 5, "kind": 5}'], ["{}"],
    ],
)  # fmt: skip
async def test_what_is_no_export_is_refused_and_nothing_is_stored(lab: Lab, lines: list[str]) -> None:
    with pytest.raises(CorruptError) as caught:
        await lab.store.load(lines)
    assert caught.value.code == "engine.corrupt"
    assert await lab.events() == []


async def test_an_export_with_a_gap_is_refused(lab: Lab) -> None:
    made = await lab.talk("a", "b", "c")
    lines = await lines_of(lab.store)
    other = another(lab)
    with pytest.raises(CorruptError):
        await other.load(line for line in lines if '"sequence":2' not in line)
    assert await other.conversations.get(made) is None


@pytest.mark.parametrize("lines", [None, 5, [5], [None], [b"x"]])
async def test_an_export_is_lines_of_text(lab: Lab, lines: Any) -> None:
    with pytest.raises((InvalidValueError, CorruptError)):
        await lab.store.load(lines)
