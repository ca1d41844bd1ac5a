"""Hiding, popping, rewinding, clearing, redacting: what leaves the window, what comes back, and what never does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from sojourn import EndedError, InvalidValueError, NotFoundError

if TYPE_CHECKING:
    from tests.conversations.conftest import Lab


async def test_a_hidden_message_leaves_the_window_and_comes_back(lab: Lab) -> None:
    made = await lab.long_talk(4)
    hidden = await lab.talks.hide(made, 2)
    assert (hidden.sequence, hidden.hidden, hidden.text) == (2, True, "message 2")
    assert await lab.texts(made) == ["message 1", "message 3", "message 4"]
    shown = await lab.talks.unhide(made, 2)
    assert (shown.sequence, shown.hidden) == (2, False)
    assert await lab.texts(made) == lab.numbered(4)


async def test_hiding_twice_is_hiding_once(lab: Lab) -> None:
    made = await lab.long_talk(4)
    await lab.talks.hide(made, 2)
    before = await lab.events()
    assert (await lab.talks.hide(made, 2)).hidden
    assert await lab.events() == before
    await lab.talks.unhide(made, 2)
    before = await lab.events()
    assert not (await lab.talks.unhide(made, 2)).hidden
    assert await lab.events() == before


async def test_hiding_at_once_hides_all(lab: Lab) -> None:
    made = await lab.long_talk(10)
    await lab.each((1, 3, 5, 7, 9), lambda n: lab.talks.hide(made, n))
    assert [message.sequence for message in await lab.talks.messages(made)] == [2, 4, 6, 8, 10]


async def test_a_summary_can_be_hidden_and_shown(lab: Lab) -> None:
    made = await lab.long_talk(60)
    summary = await lab.talks.consolidate(made)
    assert summary is not None
    hidden = await lab.talks.hide(made, summary.sequence)
    assert hidden.hidden
    assert await lab.texts(made) == lab.numbered(30, 31)
    assert lab.shown(await lab.talks.window(made, budget=10_000)) == lab.numbered(30, 31)
    await lab.talks.unhide(made, summary.sequence)
    assert (await lab.texts(made))[0] == "[1-30]"


async def test_pop_takes_the_last_message_and_never_reuses_its_sequence(lab: Lab) -> None:
    made = await lab.long_talk(3)
    popped = await lab.talks.pop(made)
    assert popped is not None
    assert (popped.sequence, popped.text, popped.hidden) == (3, "message 3", True)
    assert (await lab.talks.append(made, "user", "next")).sequence == 4
    assert await lab.texts(made) == ["message 1", "message 2", "next"]
    assert [(await lab.talks.pop(made)).sequence for _ in range(3)] == [4, 2, 1]  # type: ignore[union-attr]
    assert await lab.talks.pop(made) is None
    await lab.talks.unhide(made, 3)
    assert await lab.texts(made) == ["message 3"]


async def test_pop_takes_no_summary(lab: Lab) -> None:
    made = await lab.long_talk(60)
    await lab.talks.consolidate(made, keep=1)
    popped = await lab.talks.pop(made)
    assert popped is not None
    assert popped.sequence == 60
    assert await lab.talks.pop(made) is None
    assert await lab.texts(made) == ["[1-59]"]


async def test_pops_at_once_take_different_messages(lab: Lab) -> None:
    made = await lab.long_talk(6)
    popped = await lab.together(*[lambda: lab.talks.pop(made) for _ in range(4)])
    assert sorted(message.sequence for message in popped if message is not None) == [3, 4, 5, 6]
    assert await lab.texts(made) == ["message 1", "message 2"]


async def test_rewind_hides_what_comes_after_a_place_and_can_be_undone(lab: Lab) -> None:
    made = await lab.long_talk(6)
    found = await lab.talks.rewind(made, 4)
    assert (found.id, found.message_count) == (made, 6)
    assert await lab.texts(made) == lab.numbered(4)
    await lab.talks.undo_rewind(made)
    assert await lab.texts(made) == lab.numbered(6)
    assert (await lab.talks.append(made, "user", "next")).sequence == 7


async def test_what_is_appended_after_a_rewind_stays_visible(lab: Lab) -> None:
    made = await lab.long_talk(6)
    await lab.talks.rewind(made, 4)
    await lab.talks.append(made, "user", "another way")
    assert await lab.texts(made) == [*lab.numbered(4), "another way"]
    await lab.talks.undo_rewind(made)
    assert await lab.texts(made) == [*lab.numbered(6), "another way"]


async def test_rewinds_are_undone_one_by_one(lab: Lab) -> None:
    made = await lab.long_talk(6)
    await lab.talks.rewind(made, 5)
    await lab.talks.rewind(made, 3)
    await lab.talks.append(made, "user", "seventh")
    await lab.talks.rewind(made, 1)
    shown = []
    for _ in range(4):
        shown.append([message.sequence for message in await lab.talks.messages(made)])
        await lab.talks.undo_rewind(made)
    assert shown == [[1], [1, 2, 3, 7], [1, 2, 3, 4, 5, 7], [1, 2, 3, 4, 5, 6, 7]]
    assert await lab.texts(made) == [*lab.numbered(6), "seventh"]


async def test_undoing_no_rewind_is_fine(lab: Lab) -> None:
    made = await lab.long_talk(3)
    before = await lab.events()
    assert (await lab.talks.undo_rewind(made)).id == made
    assert (await lab.talks.rewind(made, 3)).id == made
    assert (await lab.talks.rewind(made, 99)).id == made
    assert await lab.events() == before


async def test_undoing_a_rewind_leaves_hidden_what_was_hidden(lab: Lab) -> None:
    made = await lab.long_talk(6)
    await lab.talks.hide(made, 5)
    await lab.talks.rewind(made, 4)
    await lab.talks.undo_rewind(made)
    assert [message.sequence for message in await lab.talks.messages(made)] == [1, 2, 3, 4, 6]


async def test_one_message_of_a_rewind_may_be_shown(lab: Lab) -> None:
    made = await lab.long_talk(6)
    await lab.talks.rewind(made, 2)
    await lab.talks.unhide(made, 4)
    assert [message.sequence for message in await lab.talks.messages(made)] == [1, 2, 4]
    await lab.talks.undo_rewind(made)
    assert await lab.texts(made) == lab.numbered(6)


async def test_clear_hides_everything_and_can_be_undone(lab: Lab) -> None:
    made = await lab.long_talk(6)
    assert (await lab.talks.clear(made)).message_count == 6
    assert await lab.texts(made) == []
    assert list(await lab.talks.window(made, budget=1000)) == []
    await lab.talks.append(made, "user", "fresh")
    assert await lab.texts(made) == ["fresh"]
    await lab.talks.undo_rewind(made)
    assert await lab.texts(made) == [*lab.numbered(6), "fresh"]


async def test_a_rewind_keeps_the_summaries_of_what_came_before(lab: Lab) -> None:
    made = await lab.long_talk(60)
    await lab.talks.consolidate(made)
    await lab.talks.rewind(made, 40)
    assert await lab.texts(made) == ["[1-30]", *lab.numbered(10, 31)]
    await lab.talks.append(made, "user", "next")
    assert await lab.texts(made) == ["[1-30]", *lab.numbered(10, 31), "next"]
    assert lab.shown(await lab.talks.window(made, budget=10_000))[0] == "[1-30]"
    await lab.talks.undo_rewind(made)
    assert await lab.texts(made) == ["[1-30]", *lab.numbered(30, 31), "next"]


async def test_a_rewind_into_a_fold_opens_it(lab: Lab) -> None:
    made = await lab.long_talk(60)
    await lab.talks.consolidate(made)
    await lab.talks.rewind(made, 10)
    assert await lab.texts(made) == lab.numbered(10)
    await lab.talks.undo_rewind(made)
    assert await lab.texts(made) == lab.numbered(60)


async def test_a_rewind_into_a_fold_keeps_what_it_was_built_on(lab: Lab) -> None:
    made = await lab.long_talk(60)
    await lab.talks.consolidate(made)
    await lab.talks.extend(made, lab.in_turn(lab.numbered(30, 61)))
    second = await lab.talks.consolidate(made)
    assert second is not None
    assert second.covers == (1, 60)
    await lab.talks.rewind(made, 45)
    assert await lab.texts(made) == ["[1-30]", *lab.numbered(15, 31)]
    await lab.talks.undo_rewind(made)
    assert await lab.texts(made) == ["[1-30]", *lab.numbered(60, 31)]


async def test_clearing_and_undoing_leaves_folds_as_they_were(lab: Lab) -> None:
    made = await lab.long_talk(60)
    await lab.talks.consolidate(made)
    shown = await lab.texts(made)
    await lab.talks.clear(made)
    assert await lab.texts(made) == []
    await lab.talks.undo_rewind(made)
    assert await lab.texts(made) == shown


async def test_a_fold_after_a_rewind_and_its_undoing_lose_nothing(lab: Lab) -> None:
    made = await lab.long_talk(60)
    await lab.talks.rewind(made, 58)
    await lab.talks.consolidate(made)
    assert await lab.texts(made) == ["[1-29]", *lab.numbered(29, 30)]
    await lab.talks.undo_rewind(made)
    assert await lab.texts(made) == ["[1-29]", *lab.numbered(31, 30)]
    found = await lab.talks.messages(made, include_folded=True, include_hidden=True)
    assert [message.sequence for message in found if message.covers is None] == list(range(1, 61))


async def test_a_rewind_may_name_a_checkpoint(lab: Lab) -> None:
    made = await lab.long_talk(4)
    checkpoint = await lab.talks.checkpoint(made, "before the trip")
    assert (checkpoint.label, checkpoint.sequence, checkpoint.created_at) == ("before the trip", 4, lab.clock())
    await lab.talks.append(made, "user", "fifth")
    await lab.talks.rewind(made, "before the trip")
    assert await lab.texts(made) == lab.numbered(4)
    with pytest.raises(NotFoundError):
        await lab.talks.rewind(made, "nowhere")


async def test_checkpoints_are_listed_earliest_first_and_move_when_set_again(lab: Lab) -> None:
    made = await lab.long_talk(2)
    await lab.talks.checkpoint(made, "a")
    await lab.talks.append(made, "user", "x")
    await lab.talks.checkpoint(made, "b")
    await lab.talks.append(made, "user", "x")
    assert [(c.label, c.sequence) for c in await lab.talks.checkpoints(made)] == [("a", 2), ("b", 3)]
    assert (await lab.talks.checkpoint(made, "a")).sequence == 4
    assert [(c.label, c.sequence) for c in await lab.talks.checkpoints(made)] == [("b", 3), ("a", 4)]
    assert await lab.talks.checkpoints(await lab.talk(user="bob")) == []


async def test_checkpoints_at_once_are_all_kept(lab: Lab) -> None:
    made = await lab.long_talk(2)
    await lab.each(range(8), lambda n: lab.talks.checkpoint(made, f"label {n}"))
    assert len(await lab.talks.checkpoints(made)) == 8


# -- redaction ---------------------------------------------------------------------------------------------------------


async def test_redact_empties_a_message_and_keeps_its_place(lab: Lab) -> None:
    made = await lab.talk()
    await lab.talks.append(
        made, "user", "my number is 4711", author="ann", channel="telegram", metadata={"a": 1}, turn="t", tokens=3
    )
    await lab.talks.append(made, "assistant", "noted")
    redacted = await lab.talks.redact(made, 1)
    assert (redacted.sequence, redacted.role, redacted.content, redacted.redacted) == (1, "user", "", True)
    assert (redacted.author, redacted.metadata, redacted.turn, redacted.tokens) == (None, {}, None, None)
    assert await lab.texts(made) == ["", "noted"]
    found = await lab.talks.get(made)
    assert found is not None
    assert found.message_count == 2


async def test_redact_reaches_every_fork(lab: Lab) -> None:
    made = await lab.talk("public", "secret", "end")
    child = await lab.talks.fork(made)
    grandchild = await lab.talks.fork(child.id)
    await lab.talks.append(grandchild.id, "user", "own")
    await lab.talks.redact(made, 2)
    for talk in (made, child.id, grandchild.id):
        assert (await lab.texts(talk))[:3] == ["public", "", "end"]


async def test_redact_through_a_fork_reaches_the_parent(lab: Lab) -> None:
    made = await lab.talk("public", "secret")
    child = await lab.talks.fork(made)
    await lab.talks.append(child.id, "user", "own secret")
    await lab.talks.redact(child.id, 2)
    await lab.talks.redact(child.id, 3)
    assert await lab.texts(made) == ["public", ""]
    assert await lab.texts(child.id) == ["public", "", ""]


@pytest.mark.search
async def test_redact_reaches_the_search_indexed_or_not(lab: Lab) -> None:
    for search in ("commit", "deferred"):
        store = lab.under(search=search)
        made = await lab.talk("secretly said", "secretly meant", user=search, talks=store.conversations)
        await store.conversations.redact(made, 1)
        assert [hit.message.sequence for hit in await store.conversations.search("secretly", user_id=search)] == [2]
        await store.sweep()
        await store.conversations.redact(made, 2)
        assert await store.conversations.search("secretly", user_id=search) == []
        await store.sweep()
        assert await store.conversations.search("secretly", user_id=search) == []


async def test_redact_of_a_folded_message_and_of_its_summary(lab: Lab) -> None:
    made = await lab.talk("the secret is zanzibar", *lab.numbered(59))
    summary = await lab.talks.consolidate(made)
    assert summary is not None
    assert "zanzibar" in summary.text
    await lab.talks.redact(made, 1)
    await lab.talks.redact(made, summary.sequence)
    everything = await lab.talks.messages(made, include_folded=True)
    assert "zanzibar" not in everything.as_text()
    back = await lab.talks.expand(made, summary.sequence)
    assert [message.text for message in back][:2] == ["", "message 1"]


async def test_expanding_a_redacted_summary_goes_back_to_what_it_was_built_on(lab: Lab) -> None:
    made = await lab.long_talk(60)
    first = await lab.talks.consolidate(made)
    await lab.talks.extend(made, lab.in_turn(lab.numbered(30, 61)))
    second = await lab.talks.consolidate(made)
    assert first is not None
    assert second is not None
    await lab.talks.redact(made, second.sequence)
    shown = lab.shown(await lab.talks.expand(made, second.sequence))
    assert shown in (["[1-30]", *lab.numbered(30, 31)], lab.numbered(60))


async def test_redacting_twice_or_when_ended_is_fine(lab: Lab) -> None:
    made = await lab.talk("secret", "other")
    await lab.talks.redact(made, 1)
    await lab.talks.end(made)
    assert (await lab.talks.redact(made, 1)).redacted
    assert (await lab.talks.redact(made, 2)).redacted
    assert await lab.texts(made) == ["", ""]


@pytest.mark.parametrize("search", ["deferred", "commit", "off"])
@pytest.mark.parametrize("indexed", [True, False])
async def test_after_redact_nothing_of_it_is_in_the_files(disk_lab: Lab, search: str, indexed: bool) -> None:
    lab, store = disk_lab, disk_lab.under(search=search)
    made = await lab.talk("public talk", talks=store.conversations)
    await store.conversations.append(
        made, "user", "the word is Xylophonquartz", author="Authorquux", metadata={"m": "Metawombat"}, turn="Turnnarwhal"
    )
    await lab.talks.fork(made)
    if indexed:
        await store.sweep()
    assert b"Xylophonquartz" in lab.on_disk()
    await store.conversations.redact(made, 2)
    await store.sweep()
    left = lab.on_disk().lower()
    for word in (b"xylophonquartz", b"authorquux", b"metawombat", b"turnnarwhal"):
        assert word not in left
    assert b"public talk" in left


async def test_after_a_purge_nothing_of_a_deleted_conversation_is_in_the_files(disk_lab: Lab) -> None:
    lab = disk_lab
    made = await lab.talk("the word is Xylophonquartz", title="Titlewombat", metadata={"m": "Metawombat"})
    await lab.store.sweep()
    await lab.talks.delete(made)
    while (await lab.store.sweep())["purged"]:
        pass
    left = lab.on_disk().lower()
    for word in (b"xylophonquartz", b"titlewombat", b"metawombat"):
        assert word not in left


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sequence", [0, -1, 3, 999, 10**30, "1", None, True, 1.0])
async def test_a_message_that_is_not_there_is_not_found(lab: Lab, sequence: Any) -> None:
    made = await lab.talk("a", "b")
    before = await lab.events()
    for operation in (lab.talks.hide, lab.talks.unhide, lab.talks.redact):
        with pytest.raises(NotFoundError):
            await operation(made, sequence)
    assert await lab.events() == before


@pytest.mark.parametrize("to", [-1, 1.5, None, True, b"x", ["a"]])
async def test_a_place_to_rewind_to_is_a_sequence_or_a_label(lab: Lab, to: Any) -> None:
    made = await lab.talk("a", "b")
    with pytest.raises(InvalidValueError):
        await lab.talks.rewind(made, to)
    assert await lab.texts(made) == ["a", "b"]


@pytest.mark.parametrize("label", ["", 1.5, None, True, "a\nb", "\0", "\ud800"])
async def test_a_label_is_text(lab: Lab, label: Any) -> None:
    made = await lab.talk("a")
    with pytest.raises(InvalidValueError):
        await lab.talks.checkpoint(made, label)
    assert await lab.talks.checkpoints(made) == []


async def test_what_is_not_there_cannot_be_changed(lab: Lab) -> None:
    talks, nothing = lab.talks, "0" * 26
    for operation in (
        talks.hide(nothing, 1), talks.unhide(nothing, 1), talks.pop(nothing), talks.rewind(nothing, 1), talks.clear(nothing),
        talks.undo_rewind(nothing), talks.redact(nothing, 1), talks.checkpoint(nothing, "a"), talks.checkpoints(nothing),
        talks.end(nothing), talks.fork(nothing),
    ):  # fmt: skip
        with pytest.raises(NotFoundError):
            await operation


async def test_what_has_ended_is_not_rewound(lab: Lab) -> None:
    made = await lab.talk("a", "b")
    await lab.talks.end(made)
    talks = lab.talks
    for operation in (
        talks.hide(made, 1),
        talks.pop(made),
        talks.rewind(made, 1),
        talks.clear(made),
        talks.checkpoint(made, "a"),
    ):
        with pytest.raises(EndedError):
            await operation
    assert await lab.texts(made) == ["a", "b"]
