"""Forks: they share what came before without copying it, and live on by themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from sojourn import InvalidValueError, LimitError

if TYPE_CHECKING:
    from tests.conversations.conftest import Lab


async def test_a_fork_shares_what_came_before_and_goes_on_separately(lab: Lab) -> None:
    made = await lab.talk("a", "b", "c", title="Trip", metadata={"mood": "good"})
    await lab.talks.link_channel(made, "telegram", "t1")
    fork = await lab.talks.fork(made)
    assert fork.id != made
    assert (fork.forked_from, fork.previous_id, fork.title, fork.metadata) == (made, None, "Trip", {"mood": "good"})
    assert (fork.identity.user_id, fork.identity.channel_ids) == ("ann", {"telegram": "t1"})
    assert (fork.message_count, fork.state, fork.created_at) == (3, "active", lab.clock())
    assert (await lab.talks.append(fork.id, "user", "one way")).sequence == 4
    assert (await lab.talks.append(made, "user", "another way")).sequence == 4
    assert await lab.texts(fork.id) == ["a", "b", "c", "one way"]
    assert await lab.texts(made) == ["a", "b", "c", "another way"]


async def test_a_fork_is_not_the_current_conversation(lab: Lab) -> None:
    made = await lab.talk("a")
    await lab.talks.fork(made)
    assert (await lab.talks.get_or_create("ann")).id == made


async def test_a_fork_may_begin_earlier_and_have_a_title_of_its_own(lab: Lab) -> None:
    made = await lab.talk("a", "b", "c", title="Trip")
    fork = await lab.talks.fork(made, at=2, title="What if")
    assert (fork.message_count, fork.title) == (2, "What if")
    assert await lab.texts(fork.id) == ["a", "b"]
    empty = await lab.talks.fork(made, at=0)
    assert (empty.message_count, await lab.texts(empty.id)) == (0, [])
    assert (await lab.talks.append(empty.id, "user", "x")).sequence == 1


async def test_forks_of_forks_share_all_generations(lab: Lab) -> None:
    made = await lab.talk("a", "b", "c")
    child = await lab.talks.fork(made, at=2)
    await lab.talks.append(child.id, "user", "d")
    grandchild = await lab.talks.fork(child.id)
    await lab.talks.append(grandchild.id, "user", "e")
    early = await lab.talks.fork(grandchild.id, at=1)
    assert await lab.texts(grandchild.id) == ["a", "b", "d", "e"]
    assert await lab.texts(early.id) == ["a"]
    assert await lab.texts(grandchild.id, last=2) == ["d", "e"]
    assert await lab.texts(grandchild.id, after=1, before=4) == ["b", "d"]
    assert (grandchild.forked_from, early.forked_from) == (child.id, grandchild.id)


async def test_a_fork_copies_nothing(lab: Lab) -> None:
    made = await lab.long_talk(500, talks=lab.under(fold_above=None).conversations)
    before = (await lab.store.facts()).get("entries")  # Redis does not count them
    await lab.talks.fork(made)
    assert (await lab.store.facts()).get("entries") == before


async def test_a_fork_outlives_its_parent_however_often_it_is_purged(lab: Lab) -> None:
    made = await lab.talk("a", "b", "c")
    child = await lab.talks.fork(made, at=2)
    await lab.talks.append(child.id, "user", "d")
    grandchild = await lab.talks.fork(child.id)
    await lab.talks.delete(made)
    for _ in range(3):
        await lab.store.sweep()
        assert await lab.texts(child.id) == ["a", "b", "d"]
    await lab.talks.delete(child.id)
    for _ in range(3):
        await lab.store.sweep()
        assert await lab.texts(grandchild.id) == ["a", "b", "d"]
    assert (await lab.talks.append(grandchild.id, "user", "e")).sequence == 4
    assert (await lab.talks.fork(grandchild.id, at=1)).message_count == 1


async def test_folded_history_of_a_deleted_parent_can_still_be_expanded(lab: Lab) -> None:
    made = await lab.long_talk(60)
    summary = await lab.talks.consolidate(made)
    assert summary is not None
    fork = await lab.talks.fork(made)
    await lab.talks.delete(made)
    await lab.store.sweep()
    assert await lab.texts(fork.id) == ["[1-30]", *lab.numbered(30, 31)]
    assert lab.shown(await lab.talks.expand(fork.id, summary.sequence)) == lab.numbered(30)
    assert await lab.texts(fork.id) == lab.numbered(60)


async def test_folds_are_shared_and_then_separate(lab: Lab) -> None:
    made = await lab.long_talk(60)
    summary = await lab.talks.consolidate(made)
    assert summary is not None
    fork = await lab.talks.fork(made)
    assert fork.folded_through == 30
    await lab.talks.expand(made, summary.sequence)
    assert (await lab.texts(fork.id))[0] == "[1-30]"
    await lab.talks.extend(fork.id, lab.in_turn(lab.numbered(30, 61)))
    await lab.talks.consolidate(fork.id)
    assert await lab.texts(made) == lab.numbered(60)
    assert await lab.texts(fork.id) == ["[1-60]", *lab.numbered(30, 61)]


async def test_a_fork_from_before_a_fold_was_made_shows_what_it_covered(lab: Lab) -> None:
    made = await lab.long_talk(60)
    await lab.talks.consolidate(made)
    fork = await lab.talks.fork(made, at=40)
    assert await lab.texts(fork.id) == lab.numbered(40)
    assert (fork.folded_through, fork.message_count) == (0, 40)
    inside = await lab.talks.fork(made, at=10)
    assert await lab.texts(inside.id) == lab.numbered(10)


async def test_a_fork_between_two_folds_keeps_the_earlier_one(lab: Lab) -> None:
    made = await lab.long_talk(60)
    await lab.talks.consolidate(made)
    await lab.talks.extend(made, lab.in_turn(lab.numbered(30, 61)))
    await lab.talks.consolidate(made)
    fork = await lab.talks.fork(made, at=80)
    assert await lab.texts(fork.id) == ["[1-30]", *lab.numbered(49, 31)]
    assert fork.folded_through == 30


async def test_a_fork_sees_hidden_what_was_hidden(lab: Lab) -> None:
    made = await lab.long_talk(6)
    await lab.talks.hide(made, 2)
    await lab.talks.rewind(made, 5)
    fork = await lab.talks.fork(made)
    assert [message.sequence for message in await lab.talks.messages(fork.id)] == [1, 3, 4, 5]
    await lab.talks.unhide(fork.id, 2)
    assert [message.sequence for message in await lab.talks.messages(fork.id)] == [1, 2, 3, 4, 5]
    assert [message.sequence for message in await lab.talks.messages(made)] == [1, 3, 4, 5]


async def test_a_fork_of_a_rewound_conversation_keeps_its_summaries(lab: Lab) -> None:
    made = await lab.long_talk(60)
    await lab.talks.consolidate(made)
    await lab.talks.rewind(made, 50)
    shown = await lab.texts(made)
    fork = await lab.talks.fork(made)
    assert await lab.texts(fork.id) == shown == ["[1-30]", *lab.numbered(20, 31)]


async def test_a_fork_of_a_cleared_conversation_is_clear(lab: Lab) -> None:
    made = await lab.long_talk(60)
    await lab.talks.consolidate(made)
    await lab.talks.clear(made)
    fork = await lab.talks.fork(made)
    assert await lab.texts(fork.id) == []
    await lab.talks.undo_rewind(fork.id)
    assert await lab.texts(fork.id) == []


async def test_a_fork_keeps_the_checkpoints_it_reaches(lab: Lab) -> None:
    made = await lab.long_talk(2)
    await lab.talks.checkpoint(made, "early")
    await lab.talks.append(made, "user", "third")
    await lab.talks.checkpoint(made, "late")
    fork = await lab.talks.fork(made, at=2)
    assert [checkpoint.label for checkpoint in await lab.talks.checkpoints(fork.id)] == ["early"]
    await lab.talks.append(fork.id, "user", "other third")
    await lab.talks.rewind(fork.id, "early")
    assert await lab.texts(fork.id) == lab.numbered(2)


async def test_an_ended_conversation_may_be_forked(lab: Lab) -> None:
    made = await lab.talk("a")
    await lab.talks.end(made)
    fork = await lab.talks.fork(made)
    assert fork.state == "active"
    await lab.talks.append(fork.id, "user", "goes on")
    assert await lab.texts(made) == ["a"]


async def test_counts_of_a_fork_are_its_own(lab: Lab) -> None:
    made = await lab.long_talk(100)
    fork = await lab.talks.fork(made, at=99)
    await lab.talks.append(fork.id, "user", "hundredth")
    assert (await lab.store.sweep())["folded"] == 0
    await lab.talks.append(fork.id, "user", "message 101")
    assert (await lab.store.sweep())["folded"] == 1
    assert (await lab.texts(fork.id))[0] == "[1-50]"
    assert await lab.texts(made) == lab.numbered(100)


async def test_a_fork_begins_its_age_anew_and_decays_by_itself(lab: Lab) -> None:
    made = await lab.talk("a")
    lab.later(hours=23)
    fork = await lab.talks.fork(made)
    lab.later(hours=1)
    assert await lab.talks.decay() == 1
    left = await lab.talks.get(fork.id)
    assert left is not None
    assert left.state == "active"
    lab.later(hours=23)
    assert await lab.talks.decay() == 1


async def test_forks_at_once_are_all_made(lab: Lab) -> None:
    made = await lab.long_talk(5)
    forks = await lab.together(*[lambda: lab.talks.fork(made) for _ in range(6)])
    assert len({fork.id for fork in forks}) == 6
    for fork in forks:
        assert await lab.texts(fork.id) == lab.numbered(5)


@pytest.mark.parametrize(
    "wrong",
    [{"at": -1}, {"at": 3}, {"at": 1.5}, {"at": "1"}, {"at": True}, {"title": 5}, {"title": "\0"}, {"title": "x" * 1025}],
)
async def test_a_fork_begins_somewhere_in_the_conversation(lab: Lab, wrong: dict[str, Any]) -> None:
    made = await lab.talk("a", "b")
    before = await lab.events()
    with pytest.raises((InvalidValueError, LimitError)):
        await lab.talks.fork(made, **wrong)
    assert await lab.events() == before
