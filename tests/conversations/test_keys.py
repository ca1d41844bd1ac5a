"""Operation ids: the same key again gives the first answer and does nothing; for anything else it is refused."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from sojourn import AsyncConversations, ConflictError, InvalidValueError, KeyReusedError, LimitError

if TYPE_CHECKING:
    from tests.conversations.conftest import Lab

Operation = Callable[[AsyncConversations, str, str], Awaitable[Any]]
"""Takes the conversations, the id of one, and a key."""


async def prepared(lab: Lab) -> str:
    """A conversation on which every operation below has something to do."""
    made = await lab.long_talk(60)
    await lab.talks.consolidate(made, keep=40)
    await lab.talks.append(made, "assistant", "", tool_calls=[{"id": "c1"}])
    await lab.talks.hide(made, 30)
    await lab.talks.rewind(made, 58)
    await lab.talks.append(made, "assistant", "", tool_calls=[{"id": "c2"}])
    await lab.talks.link_channel(made, "discord", "d1")
    return made


OF_NO_ONE = ("create", "create with a handle", "get_or_create", "decay")
"""Operations that are of no one conversation."""

OPERATIONS: dict[str, tuple[Operation, Operation]] = {
    "create": (
        lambda talks, _, key: talks.create("ann", title="Trip", key=key),
        lambda talks, _, key: talks.create("ann", title="Other", key=key),
    ),
    "get_or_create": (
        lambda talks, _, key: talks.get_or_create("ann", channel="telegram", channel_user_id="t1", key=key),
        lambda talks, _, key: talks.get_or_create("ann", channel="telegram", channel_user_id="t2", key=key),
    ),
    "decay": (
        lambda talks, _, key: talks.decay(timedelta(0), limit=1, key=key),
        lambda talks, _, key: talks.decay(timedelta(0), limit=2, key=key),
    ),
    "create with a handle": (
        lambda talks, _, key: talks.create("ann", channel="telegram", channel_user_id="t1", key=key),
        lambda talks, _, key: talks.create("ann", channel="telegram", channel_user_id="t2", key=key),
    ),
    "update": (
        lambda talks, talk, key: talks.update(talk, {"a": 1}, ["b"], key=key),
        lambda talks, talk, key: talks.update(talk, {"a": 2}, ["b"], key=key),
    ),
    "append": (
        lambda talks, talk, key: talks.append(talk, "user", "hello", channel="telegram", metadata={"a": 1}, key=key),
        lambda talks, talk, key: talks.append(talk, "user", "hello", channel="discord", metadata={"a": 1}, key=key),
    ),
    "extend": (
        lambda talks, talk, key: talks.extend(talk, [{"role": "user", "content": text} for text in "abc"], key=key),
        lambda talks, talk, key: talks.extend(talk, [{"role": "user", "content": text} for text in "abd"], key=key),
    ),
    "consolidate": (
        lambda talks, talk, key: talks.consolidate(talk, keep=20, key=key),
        lambda talks, talk, key: talks.consolidate(talk, keep=21, key=key),
    ),
    "fold": (
        lambda talks, talk, key: talks.fold(talk, keep=20, key=key),
        lambda talks, talk, key: talks.fold(talk, keep=21, key=key),
    ),
    "expand": (
        lambda talks, talk, key: talks.expand(talk, 61, key=key),
        lambda talks, talk, key: talks.expand(talk, 62, key=key),
    ),
    "unfold": (
        lambda talks, talk, key: talks.unfold(talk, 61, key=key),
        lambda talks, talk, key: talks.unfold(talk, 62, key=key),
    ),
    "repair": (
        lambda talks, talk, key: talks.repair(talk, key=key),
        lambda talks, talk, key: talks.repair(talk, key=key),
    ),
    "link_channel": (
        lambda talks, talk, key: talks.link_channel(talk, "telegram", "t1", key=key),
        lambda talks, talk, key: talks.link_channel(talk, "telegram", "t2", key=key),
    ),
    "unlink_channel": (
        lambda talks, talk, key: talks.unlink_channel(talk, "discord", key=key),
        lambda talks, talk, key: talks.unlink_channel(talk, "telegram", key=key),
    ),
    "end": (
        lambda talks, talk, key: talks.end(talk, reason="done", key=key),
        lambda talks, talk, key: talks.end(talk, reason="over", key=key),
    ),
    "fork": (
        lambda talks, talk, key: talks.fork(talk, at=5, key=key),
        lambda talks, talk, key: talks.fork(talk, at=6, key=key),
    ),
    "rewind": (
        lambda talks, talk, key: talks.rewind(talk, 50, key=key),
        lambda talks, talk, key: talks.rewind(talk, 40, key=key),
    ),
    "undo_rewind": (
        lambda talks, talk, key: talks.undo_rewind(talk, key=key),
        lambda talks, talk, key: talks.rewind(talk, 40, key=key),
    ),
    "clear": (
        lambda talks, talk, key: talks.clear(talk, key=key),
        lambda talks, talk, key: talks.rewind(talk, 1, key=key),
    ),
    "checkpoint": (
        lambda talks, talk, key: talks.checkpoint(talk, "here", key=key),
        lambda talks, talk, key: talks.checkpoint(talk, "there", key=key),
    ),
    "pop": (
        lambda talks, talk, key: talks.pop(talk, key=key),
        lambda talks, talk, key: talks.hide(talk, 45, key=key),
    ),
    "hide": (
        lambda talks, talk, key: talks.hide(talk, 45, key=key),
        lambda talks, talk, key: talks.hide(talk, 46, key=key),
    ),
    "unhide": (
        lambda talks, talk, key: talks.unhide(talk, 30, key=key),
        lambda talks, talk, key: talks.unhide(talk, 46, key=key),
    ),
    "redact": (
        lambda talks, talk, key: talks.redact(talk, 45, key=key),
        lambda talks, talk, key: talks.redact(talk, 46, key=key),
    ),
    "delete": (
        lambda talks, talk, key: talks.delete(talk, key=key),
        lambda talks, talk, key: talks.delete(talk, key=key),
    ),
}


def identified(answer: Any) -> Any:
    """An answer without what later changes may show in it."""
    return answer.id if hasattr(answer, "identity") else answer


@pytest.mark.parametrize("name", OPERATIONS)
async def test_the_same_key_again_gives_the_first_answer_and_stores_nothing(lab: Lab, name: str) -> None:
    operation, _ = OPERATIONS[name]
    made = await prepared(lab)
    first = await operation(lab.talks, made, "k1")
    before = await lab.events()
    for _ in range(2):
        assert identified(await operation(lab.talks, made, "k1")) == identified(first)
    assert await lab.events() == before


# A repair has no other payload, and neither has a delete.
@pytest.mark.parametrize("name", [name for name in OPERATIONS if name not in ("delete", "repair")])
async def test_the_same_key_for_anything_else_is_refused_and_stores_nothing(memory_lab: Lab, name: str) -> None:
    lab, (operation, other) = memory_lab, OPERATIONS[name]
    made = await prepared(lab)
    await operation(lab.talks, made, "k1")
    before = await lab.events()
    with pytest.raises(KeyReusedError) as caught:
        await other(lab.talks, made, "k1")
    assert (caught.value.code, bool(caught.value.hint)) == ("key.reused", True)
    assert isinstance(caught.value, ConflictError)
    assert await lab.events() == before


@pytest.mark.parametrize("name", OPERATIONS)
async def test_another_key_is_another_operation(memory_lab: Lab, name: str) -> None:
    lab, (operation, _) = memory_lab, OPERATIONS[name]
    made = await prepared(lab)
    await operation(lab.talks, made, "k1")
    if name in ("expand", "unfold"):
        with pytest.raises(ConflictError):
            await operation(lab.talks, made, "k2")
    else:
        await operation(lab.talks, made, "k2")


@pytest.mark.parametrize("name", [name for name in OPERATIONS if name not in OF_NO_ONE])
async def test_a_key_used_in_one_conversation_does_not_answer_for_another(memory_lab: Lab, name: str) -> None:
    lab, (operation, _) = memory_lab, OPERATIONS[name]
    made = await prepared(lab)
    fork = await lab.talks.fork(made)
    await operation(lab.talks, made, "k1")
    try:
        answer = await operation(lab.talks, fork.id, "k1")
    except KeyReusedError:
        return
    if name == "delete":
        assert answer is True
        assert await lab.talks.get(fork.id) is None
        return
    assert {event.id for event in (await lab.events())[-1:]} <= {fork.id, getattr(answer, "id", fork.id)}


async def test_a_key_is_remembered_when_there_was_nothing_to_do(lab: Lab) -> None:
    """What was asked in vain once is not done later, when the answer got lost and the same is asked again."""
    made = await lab.long_talk(4)
    talks = lab.talks
    assert await talks.consolidate(made, key="fold") is None
    await talks.rewind(made, 9, key="rewind")
    await talks.undo_rewind(made, key="undo")
    assert await talks.repair(made, key="repair") == 0
    await talks.unhide(made, 2, key="unhide")
    await talks.unlink_channel(made, "telegram", key="unlink")
    empty = await lab.talk(user="bob")
    assert await talks.pop(empty, key="pop") is None

    await talks.append(empty, "user", "hello")
    await talks.extend(made, lab.in_turn(lab.numbered(80, 5)))
    await talks.append(made, "assistant", "", tool_calls=[{"id": "c1"}])
    await talks.hide(made, 2)
    await talks.rewind(made, 84)
    await talks.append(made, "assistant", "", tool_calls=[{"id": "c2"}])
    await talks.link_channel(made, "telegram", "t1")

    before = await lab.events()
    assert await talks.consolidate(made, key="fold") is None
    await talks.rewind(made, 9, key="rewind")
    await talks.undo_rewind(made, key="undo")
    assert await talks.repair(made, key="repair") == 0
    assert (await talks.unhide(made, 2, key="unhide")).hidden
    await talks.unlink_channel(made, "telegram", key="unlink")
    assert await talks.pop(empty, key="pop") is None
    assert await lab.events() == before


async def test_a_conversation_that_a_key_has_found_is_found_again_past_its_age(lab: Lab) -> None:
    found = await lab.talks.get_or_create("ann", key="k1")
    await lab.talks.create("ann")
    assert (await lab.talks.get_or_create("ann", key="k1")).id == found.id
    assert (await lab.talks.get_or_create("ann", key="k2")).id != found.id


async def test_a_hide_that_was_undone_is_not_repeated_by_its_key(lab: Lab) -> None:
    made = await lab.long_talk(4)
    await lab.talks.hide(made, 2, key="k1")
    await lab.talks.unhide(made, 2)
    await lab.talks.hide(made, 2, key="k1")
    assert await lab.texts(made) == lab.numbered(4)


async def test_a_handle_that_was_moved_on_is_not_taken_back_by_an_old_key(lab: Lab) -> None:
    made = await lab.talks.create("ann", channel="telegram", channel_user_id="t1", key="k1")
    await lab.talks.link_channel(made.id, "discord", "d1", key="k2")
    await lab.talks.unlink_channel(made.id, "telegram")
    await lab.talks.unlink_channel(made.id, "discord")
    await lab.talks.create("ann", channel="telegram", channel_user_id="t1", key="k1")
    await lab.talks.link_channel(made.id, "discord", "d1", key="k2")
    assert await lab.talks.resolve("telegram", "t1") is None
    assert await lab.talks.resolve("discord", "d1") is None


async def test_a_checkpoint_that_was_moved_is_answered_as_it_was(lab: Lab) -> None:
    made = await lab.long_talk(2)
    first = await lab.talks.checkpoint(made, "here", key="k1")
    await lab.talks.append(made, "user", "third")
    await lab.talks.checkpoint(made, "here")
    assert await lab.talks.checkpoint(made, "here", key="k1") == first
    assert [checkpoint.sequence for checkpoint in await lab.talks.checkpoints(made)] == [3]


async def test_an_append_is_answered_again_after_the_end(lab: Lab) -> None:
    made = await lab.talk("hello")
    first = await lab.talks.append(made, "user", "last words", key="k1")
    await lab.talks.end(made)
    assert await lab.talks.append(made, "user", "last words", key="k1") == first


async def test_an_append_is_answered_again_whatever_version_is_expected(lab: Lab) -> None:
    made = await lab.talk("hello")
    found = await lab.talks.get(made)
    assert found is not None
    first = await lab.talks.append(made, "user", "x", key="k1", expected_version=found.version)
    assert await lab.talks.append(made, "user", "x", key="k1", expected_version=found.version) == first


async def test_one_key_at_once_stores_once(lab: Lab) -> None:
    made = await lab.talk()
    stored = await lab.together(*[lambda: lab.talks.append(made, "user", "x", key="k1") for _ in range(6)])
    assert {message.sequence for message in stored} == {1}
    assert await lab.texts(made) == ["x"]
    forks = await lab.together(*[lambda: lab.talks.fork(made, key="k2") for _ in range(6)])
    assert len({fork.id for fork in forks}) == 1
    popped = await lab.together(*[lambda: lab.talks.pop(made, key="k3") for _ in range(6)])
    assert {None if message is None else message.sequence for message in popped} == {1}


async def test_a_key_of_a_message_is_kept_as_long_as_the_message(lab: Lab) -> None:
    made = await lab.talk()
    first = await lab.talks.append(made, "user", "x", key="k1")
    lab.clock.advance(timedelta(days=400))
    await lab.store.sweep()
    assert (await lab.talks.append(made, "user", "x", key="k1")).sequence == first.sequence


async def test_a_key_of_anything_else_is_kept_for_a_day(lab: Lab) -> None:
    made = await lab.long_talk(6)
    first = await lab.talks.pop(made, key="k1")
    lab.clock.advance(timedelta(hours=23))
    await lab.store.sweep()
    assert await lab.talks.pop(made, key="k1") == first
    lab.clock.advance(timedelta(hours=2))
    await lab.under(max_age=None).sweep()
    again = await lab.under(max_age=None).conversations.pop(made, key="k1")
    assert again is not None
    assert again.sequence == 5


async def test_keys_of_different_conversations_and_tenants_are_different(lab: Lab) -> None:
    one, two = await lab.talk(), await lab.talk(user="bob")
    other = lab.store.for_tenant("other").conversations
    three = (await other.create("ann")).id
    await lab.talks.append(one, "user", "x", key="k1")
    await lab.talks.append(two, "user", "y", key="k1")
    await other.append(three, "user", "z", key="k1")
    assert await lab.texts(two) == ["y"]
    assert lab.shown(await other.messages(three)) == ["z"]


async def test_the_key_of_a_message_is_on_the_message(lab: Lab) -> None:
    made = await lab.talk()
    await lab.talks.append(made, "user", "x", key="k1")
    await lab.talks.extend(made, [{"role": "user", "content": "y"}, {"role": "user", "content": "z"}], key="k2")
    assert [message.key for message in await lab.talks.messages(made)] == ["k1", "k2", None]


@pytest.mark.parametrize("name", OPERATIONS)
async def test_a_key_is_text_of_at_most_256_bytes(memory_lab: Lab, name: str) -> None:
    lab, (operation, _) = memory_lab, OPERATIONS[name]
    made = await prepared(lab)
    before = await lab.events()
    for key in ("", "a\nb", "\0", "x" * 257, "\ud800", 1.5, True):
        with pytest.raises((InvalidValueError, LimitError)):
            await operation(lab.talks, made, key)  # type: ignore[arg-type]
    assert await lab.events() == before
