"""Finding a person's conversation, making one, and what it says about itself."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

import pytest

from sojourn import ConflictError, Conversation, InvalidValueError, Message, NotFoundError
from sojourn.core.ids import is_id

if TYPE_CHECKING:
    from tests.conversations.conftest import Lab


async def test_a_new_conversation_says_all_about_itself(lab: Lab) -> None:
    made = await lab.talks.get_or_create("ann", display_name="Ann")
    assert is_id(made.id)
    assert (made.identity.user_id, made.identity.display_name, made.identity.channel_ids) == ("ann", "Ann", {})
    assert (made.title, made.state, made.message_count, made.folded_through) == ("", "active", 0, 0)
    assert made.created_at == made.last_activity_at == lab.clock()
    assert made.created_at.utcoffset() == timedelta(0)
    assert (made.last_interaction_at, made.ended_at, made.previous_id, made.forked_from) == (None, None, None, None)
    assert (made.metadata, list(made.messages)) == ({}, [])


async def test_the_same_person_finds_the_same_conversation(lab: Lab) -> None:
    made = await lab.talks.get_or_create("ann")
    lab.later(hours=23)
    assert (await lab.talks.get_or_create("ann")).id == made.id
    assert (await lab.talks.get_or_create("bob")).id != made.id


async def test_a_user_id_may_be_a_number_and_is_kept_as_text(lab: Lab) -> None:
    made = await lab.talks.get_or_create(42)
    assert made.identity.user_id == "42"
    assert (await lab.talks.get_or_create("42")).id == made.id


async def test_the_conversation_comes_with_its_messages_unless_told_otherwise(lab: Lab) -> None:
    made = await lab.talks.get_or_create("ann")
    await lab.talks.append(made.id, "user", "hello")
    assert lab.shown((await lab.talks.get_or_create("ann")).messages) == ["hello"]
    assert list((await lab.talks.get_or_create("ann", with_messages=False)).messages) == []


async def test_a_handle_alone_finds_or_makes_its_person(lab: Lab) -> None:
    made = await lab.talks.get_or_create(channel="telegram", channel_user_id="t1")
    assert made.identity.channel_ids == {"telegram": "t1"}
    assert made.identity.user_id == await lab.talks.resolve("telegram", "t1")
    assert (await lab.talks.get_or_create(channel="telegram", channel_user_id="t1")).id == made.id
    assert (await lab.talks.get_or_create(made.identity.user_id)).id == made.id
    assert (await lab.talks.get_or_create(channel="telegram", channel_user_id="t2")).id != made.id
    assert (await lab.talks.get_or_create(channel="discord", channel_user_id="t1")).id != made.id


async def test_a_handle_may_be_a_number_and_is_kept_as_text(lab: Lab) -> None:
    made = await lab.talks.get_or_create("ann", channel="telegram", channel_user_id=123)
    assert made.identity.channel_ids == {"telegram": "123"}
    assert await lab.talks.resolve("telegram", "123") == "ann"
    assert await lab.talks.resolve("telegram", 123) == "ann"


async def test_user_and_handle_together_link_the_handle(lab: Lab) -> None:
    made = await lab.talks.get_or_create("ann")
    linked = await lab.talks.get_or_create("ann", channel="telegram", channel_user_id="t1")
    assert (linked.id, linked.identity.channel_ids) == (made.id, {"telegram": "t1"})
    assert (await lab.talks.get_or_create(channel="telegram", channel_user_id="t1")).id == made.id


async def test_a_new_handle_in_a_channel_replaces_and_frees_the_old_one(lab: Lab) -> None:
    await lab.talks.get_or_create("ann", channel="telegram", channel_user_id="t1")
    await lab.talks.get_or_create("ann", channel="discord", channel_user_id="d1")
    found = await lab.talks.get_or_create("ann", channel="telegram", channel_user_id="t2")
    assert found.identity.channel_ids == {"telegram": "t2", "discord": "d1"}
    assert await lab.talks.resolve("telegram", "t1") is None
    assert await lab.talks.resolve("telegram", "t2") == "ann"
    other = await lab.talks.get_or_create("bob", channel="telegram", channel_user_id="t1")
    assert other.identity.channel_ids == {"telegram": "t1"}


async def test_a_handle_of_another_person_is_a_conflict_and_nothing_changes(lab: Lab) -> None:
    ann = await lab.talks.get_or_create("ann", channel="telegram", channel_user_id="t1")
    before = await lab.events()
    with pytest.raises(ConflictError) as caught:
        await lab.talks.get_or_create("bob", channel="telegram", channel_user_id="t1", display_name="Bob")
    assert (caught.value.code, caught.value.holder) == ("conflict", "ann")
    assert "t1" in caught.value.message
    assert caught.value.hint
    assert await lab.events() == before
    assert await lab.talks.resolve("telegram", "t1") == "ann"
    assert [found.id for found in await lab.talks.list()] == [ann.id]


async def test_a_conflict_leaves_the_old_handle_and_name_of_an_existing_person(lab: Lab) -> None:
    await lab.talks.get_or_create("ann", channel="telegram", channel_user_id="t1")
    await lab.talks.get_or_create("bob", channel="telegram", channel_user_id="t2", display_name="Bob")
    with pytest.raises(ConflictError):
        await lab.talks.get_or_create("bob", channel="telegram", channel_user_id="t1", display_name="Robert")
    bob = await lab.talks.get_or_create("bob")
    assert (bob.identity.display_name, bob.identity.channel_ids) == ("Bob", {"telegram": "t2"})
    assert await lab.talks.resolve("telegram", "t2") == "bob"


async def test_a_display_name_is_stored_and_an_empty_one_leaves_it(lab: Lab) -> None:
    await lab.talks.get_or_create("ann", display_name="Ann")
    assert (await lab.talks.get_or_create("ann")).identity.display_name == "Ann"
    assert (await lab.talks.get_or_create("ann", display_name="Anna")).identity.display_name == "Anna"
    assert (await lab.talks.get_or_create("ann")).identity.display_name == "Anna"


async def test_finding_without_any_change_stores_nothing(lab: Lab) -> None:
    found: dict[str, Any] = {"channel": "telegram", "channel_user_id": "t1", "display_name": "Ann"}
    made = await lab.talks.get_or_create("ann", **found)
    before = await lab.events()
    again = await lab.talks.get_or_create("ann", **found)
    assert again == made
    assert await lab.events() == before


async def test_a_group_has_a_conversation_under_its_own_key(lab: Lab) -> None:
    made = await lab.talks.get_or_create("discord:guild/thread")
    assert made.identity.user_id == "discord:guild/thread"
    assert (await lab.talks.get_or_create("discord:guild/thread")).id == made.id


async def test_however_many_ask_at_once_there_is_one_conversation(lab: Lab) -> None:
    found = await lab.together(*[lambda: lab.talks.get_or_create("ann") for _ in range(8)])
    assert len({conversation.id for conversation in found}) == 1
    assert len(await lab.talks.list(active_only=False)) == 1


async def test_however_many_ask_by_one_handle_there_is_one_person(lab: Lab) -> None:
    found = await lab.together(*[lambda: lab.talks.get_or_create(channel="telegram", channel_user_id="t1") for _ in range(8)])
    assert len({(conversation.id, conversation.identity.user_id) for conversation in found}) == 1
    assert len(await lab.talks.list(active_only=False)) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"channel": "telegram"},
        {"channel_user_id": "t1"},
        {"user_id": "ann", "channel_user_id": "t1"},
        {"user_id": ""},
        {"user_id": True},
        {"user_id": 1.5},
        {"user_id": b"ann"},
        {"user_id": "a\nb"},
        {"user_id": "a\0b"},
        {"user_id": "\ud800"},
        {"user_id": "x" * 513},
        {"user_id": "ann", "channel": 1.5, "channel_user_id": "t1"},
        {"user_id": "ann", "channel": "tele\ngram", "channel_user_id": "t1"},
        {"user_id": "ann", "channel": "telegram", "channel_user_id": "\0"},
        {"user_id": "ann", "channel": "telegram", "channel_user_id": None},
        {"user_id": "ann", "display_name": None},
        {"user_id": "ann", "display_name": "\0"},
        {"user_id": "ann", "display_name": "\udfff"},
    ],
)
async def test_who_is_meant_must_be_said_in_full_and_as_text(lab: Lab, arguments: dict[str, object]) -> None:
    from sojourn import LimitError

    with pytest.raises((InvalidValueError, LimitError)) as caught:
        await lab.talks.get_or_create(**arguments)  # type: ignore[arg-type]
    assert caught.value.message
    assert await lab.events() == []
    assert await lab.talks.resolve("telegram", "t1") is None


# -- superseding -------------------------------------------------------------------------------------------------------


async def test_a_conversation_past_its_age_is_superseded(lab: Lab) -> None:
    old = await lab.talks.get_or_create("ann", channel="telegram", channel_user_id="t1", display_name="Ann")
    await lab.talks.append(old.id, "user", "I will be in Lisbon on 12 May.", channel="telegram")
    lab.later(hours=24)
    new = await lab.talks.get_or_create("ann")
    assert new.id != old.id
    assert new.previous_id == old.id
    assert (new.identity.display_name, new.identity.channel_ids) == ("Ann", {"telegram": "t1"})
    assert (new.state, new.message_count, new.created_at) == ("active", 0, lab.clock())
    assert (await lab.talks.get_or_create(channel="telegram", channel_user_id="t1")).id == new.id
    assert (await lab.talks.get_or_create("ann")).id == new.id


async def test_a_minute_before_its_age_it_is_still_the_current_one(lab: Lab) -> None:
    made = await lab.talks.get_or_create("ann")
    lab.later(hours=23, minutes=59, seconds=59)
    assert (await lab.talks.get_or_create("ann")).id == made.id


async def test_a_summary_of_the_old_one_opens_the_new_one(lab: Lab) -> None:
    old = await lab.talk("I will be in Lisbon on 12 May.", "Noted.")
    lab.later(hours=25)
    new = await lab.talks.get_or_create("ann")
    (first,) = new.messages
    assert (first.sequence, first.role, first.channel, first.summary, first.covers) == (1, "system", "", True, None)
    assert "Lisbon" in first.text
    assert "12 May" in first.text
    assert new.previous_id == old
    assert new.last_interaction_at is None
    added = await lab.talks.append(new.id, "user", "hello")
    assert added.sequence == 2


async def test_an_empty_conversation_leaves_no_summary(lab: Lab) -> None:
    old = await lab.talks.get_or_create("ann")
    lab.later(hours=24)
    new = await lab.talks.get_or_create("ann")
    assert (new.previous_id, list(new.messages)) == (old.id, [])


async def test_summaries_are_carried_on_through_generations(lab: Lab) -> None:
    await lab.talk("The code word is zanzibar.")
    for _ in range(3):
        lab.later(hours=25)
        found = await lab.talks.get_or_create("ann")
        assert "zanzibar" in found.messages[0].text


async def test_what_was_folded_is_in_the_summary_that_is_carried(lab: Lab) -> None:
    old = await lab.talk("The code word is zanzibar.", *lab.numbered(150))
    await lab.talks.consolidate(old)
    lab.later(hours=25)
    new = await lab.talks.get_or_create("ann")
    assert "zanzibar" in new.messages[0].text
    assert "message 150" in new.messages[0].text


async def test_nothing_is_carried_when_the_policy_says_so(lab: Lab) -> None:
    talks = lab.under(carry_summary=False).conversations
    old = await lab.talk("I will be in Lisbon on 12 May.")
    await talks.link_channel(old, "telegram", "t1")
    lab.later(hours=25)
    new = await talks.get_or_create("ann")
    assert (new.previous_id, list(new.messages)) == (old, [])
    assert new.identity.channel_ids == {"telegram": "t1"}


async def test_a_superseded_conversation_takes_appends_until_it_is_archived(lab: Lab) -> None:
    old = await lab.talk("hello")
    lab.later(hours=25)
    new = await lab.talks.get_or_create("ann")
    await lab.talks.append(new.id, "user", "keeps the new one")
    assert (await lab.talks.append(old, "user", "late")).sequence == 2
    found = await lab.talks.get(old)
    assert found is not None
    assert found.state == "active"
    assert (await lab.talks.get_or_create("ann")).id == new.id


async def test_age_runs_from_the_last_message(lab: Lab) -> None:
    made = await lab.talks.get_or_create("ann")
    lab.later(hours=23)
    await lab.talks.append(made.id, "assistant", "still there?")
    lab.later(hours=23)
    assert (await lab.talks.get_or_create("ann")).id == made.id
    lab.later(hours=1)
    assert (await lab.talks.get_or_create("ann")).id != made.id


async def test_age_does_not_run_from_a_summary_or_any_other_change(lab: Lab) -> None:
    made = await lab.long_talk(60)
    lab.later(hours=23)
    await lab.talks.consolidate(made)
    await lab.talks.update(made, {"mood": "good"})
    await lab.talks.link_channel(made, "telegram", "t1")
    await lab.talks.checkpoint(made, "here")
    lab.later(hours=1)
    new = await lab.talks.get_or_create("ann")
    assert new.previous_id == made


async def test_a_carried_summary_does_not_make_a_conversation_younger(lab: Lab) -> None:
    await lab.talk("hello")
    lab.later(hours=25)
    second = await lab.talks.get_or_create("ann")
    lab.later(hours=24)
    assert (await lab.talks.get_or_create("ann")).previous_id == second.id


async def test_reset_daily_supersedes_when_the_day_has_changed(lab: Lab) -> None:
    talks = lab.under(reset="daily").conversations
    made = await talks.get_or_create("ann")
    lab.later(hours=11, minutes=59)
    assert (await talks.get_or_create("ann")).id == made.id
    lab.later(minutes=1)
    assert (await talks.get_or_create("ann")).id != made.id


async def test_reset_never_and_no_age_supersede_nothing(lab: Lab) -> None:
    never, ageless = lab.under(reset="never").conversations, lab.under(max_age=None).conversations
    made = await never.get_or_create("ann")
    lab.later(days=4000)
    assert (await never.get_or_create("ann")).id == made.id
    assert (await ageless.get_or_create("ann")).id == made.id
    assert (await lab.talks.get_or_create("ann")).id != made.id


async def test_an_ended_conversation_is_followed_by_a_new_one(lab: Lab) -> None:
    old = await lab.talk("The code word is zanzibar.")
    await lab.talks.link_channel(old, "telegram", "t1")
    await lab.talks.end(old)
    new = await lab.talks.get_or_create(channel="telegram", channel_user_id="t1")
    assert new.previous_id == old
    assert new.identity.user_id == "ann"
    assert new.identity.channel_ids == {"telegram": "t1"}
    assert "zanzibar" in new.messages[0].text


async def test_links_outlive_a_deleted_conversation(lab: Lab) -> None:
    old = await lab.talk("hello")
    await lab.talks.link_channel(old, "telegram", "t1")
    await lab.talks.link_channel(old, "discord", "d1")
    await lab.talks.delete(old)
    new = await lab.talks.get_or_create("ann")
    assert (new.previous_id, list(new.messages)) == (None, [])
    assert new.identity.channel_ids == {"telegram": "t1", "discord": "d1"}
    assert (await lab.talks.get_or_create(channel="telegram", channel_user_id="t1")).id == new.id


async def test_superseding_by_many_at_once_makes_one_conversation(lab: Lab) -> None:
    old = await lab.talk("hello")
    lab.later(hours=25)
    found = await lab.together(*[lambda: lab.talks.get_or_create("ann") for _ in range(8)])
    assert {conversation.previous_id for conversation in found} == {old}
    assert len({conversation.id for conversation in found}) == 1


# -- making, reading, patching -----------------------------------------------------------------------------------------


async def test_create_makes_a_new_one_that_becomes_the_current_one(lab: Lab) -> None:
    old = await lab.talks.get_or_create("ann", channel="telegram", channel_user_id="t1", display_name="Ann")
    new = await lab.talks.create("ann", title="Trip", metadata={"mood": "good"})
    assert (new.title, new.metadata, new.previous_id) == ("Trip", {"mood": "good"}, old.id)
    assert (new.identity.display_name, new.identity.channel_ids) == ("Ann", {"telegram": "t1"})
    assert (await lab.talks.get_or_create("ann")).id == new.id
    assert (await lab.talks.get_or_create(channel="telegram", channel_user_id="t1")).id == new.id
    former = await lab.talks.get(old.id)
    assert former is not None
    assert former.state == "active"
    await lab.talks.append(old.id, "user", "still open")


async def test_create_links_a_handle_and_stores_a_name(lab: Lab) -> None:
    made = await lab.talks.create("ann", display_name="Ann", channel="telegram", channel_user_id="t1")
    assert (made.identity.display_name, made.identity.channel_ids) == ("Ann", {"telegram": "t1"})
    assert await lab.talks.resolve("telegram", "t1") == "ann"
    with pytest.raises(ConflictError):
        await lab.talks.create("bob", channel="telegram", channel_user_id="t1")
    assert [found.identity.user_id for found in await lab.talks.list(active_only=False)] == ["ann"]


async def test_get_gives_a_conversation_whatever_its_state_or_none(lab: Lab) -> None:
    made = await lab.talk("hello", "hi")
    found = await lab.talks.get(made)
    assert found is not None
    assert (found.id, list(found.messages)) == (made, [])
    filled = await lab.talks.get(made, with_messages=True)
    assert filled is not None
    assert lab.shown(filled.messages) == ["hello", "hi"]
    await lab.talks.end(made)
    ended = await lab.talks.get(made)
    assert ended is not None
    assert ended.state == "ended"
    await lab.talks.delete(made)
    assert await lab.talks.get(made) is None
    assert await lab.talks.get("nothing") is None
    assert await lab.talks.get(made[:-1] + ("0" if made[-1] != "0" else "1")) is None


async def test_update_patches_metadata_by_key(lab: Lab) -> None:
    made = await lab.talk(metadata={"a": 1, "b": {"deep": [1, 2]}, "c": None})
    changed = await lab.talks.update(made, {"a": 2, "d": "new"}, ["c", "missing"])
    assert changed.metadata == {"a": 2, "b": {"deep": [1, 2]}, "d": "new"}
    assert (await lab.talks.update(made, None, ["a"])).metadata == {"b": {"deep": [1, 2]}, "d": "new"}
    assert (await lab.talks.update(made, title="Trip")).title == "Trip"
    assert (await lab.talks.update(made, title="")).title == ""


async def test_update_loses_nothing_when_others_patch_other_keys(lab: Lab) -> None:
    made = await lab.talk()
    await lab.each("abcdefgh", lambda name: lab.talks.update(made, {name: 1}))
    found = await lab.talks.get(made)
    assert found is not None
    assert found.metadata == dict.fromkeys("abcdefgh", 1)


async def test_update_of_what_is_not_there_is_not_found(lab: Lab) -> None:
    with pytest.raises(NotFoundError) as caught:
        await lab.talks.update("0" * 26, {"a": 1})
    assert caught.value.code == "session.not_found"
    assert caught.value.hint


async def test_the_columns_of_a_conversation_are_kept_by_the_append(lab: Lab) -> None:
    made = await lab.talks.get_or_create("ann")
    lab.later(minutes=1)
    await lab.talks.append(made.id, "user", "hello")
    asked_at = lab.clock()
    lab.later(minutes=1)
    await lab.talks.append(made.id, "assistant", "hi")
    (found,) = await lab.talks.list()
    assert (found.message_count, found.last_interaction_at, found.last_activity_at) == (2, asked_at, lab.clock())
    assert (found.created_at, list(found.messages)) == (made.created_at, [])


async def test_a_conversation_is_a_value_that_cannot_be_changed(memory_lab: Lab) -> None:
    made = await memory_lab.talks.get_or_create("ann")
    with pytest.raises(AttributeError):
        made.title = "x"  # type: ignore[misc]
    assert isinstance(made, Conversation)
    message = await memory_lab.talks.append(made.id, "user", "hello")
    assert isinstance(message, Message)
    with pytest.raises(AttributeError):
        message.content = "x"  # type: ignore[misc]


# -- listing -----------------------------------------------------------------------------------------------------------


async def test_lists_are_by_activity_or_by_creation(lab: Lab) -> None:
    first, second, third = [await lab.talk(user=user) for user in ("ann", "bob", "cat")]
    lab.later(minutes=1)
    await lab.talks.append(second, "user", "hello")
    lab.later(minutes=1)
    await lab.talks.append(first, "user", "hello")
    assert [found.id for found in await lab.talks.list()] == [first, second, third]
    assert {found.id for found in await lab.talks.list(order="created")} == {first, second, third}


async def test_lists_by_creation_are_newest_first(lab: Lab) -> None:
    from sojourn.core.ids import make_id

    made = iter([make_id(1_900_000_000_000 + number, 0, number) for number in range(1, 10)])
    store = lab.open(ids=lambda: next(made))
    ids = [(await store.conversations.create(f"user {number}")).id for number in range(4)]
    assert [found.id for found in await store.conversations.list(order="created")] == ids[::-1]


async def test_lists_are_paged_without_gaps_or_repeats(lab: Lab) -> None:
    made = []
    for number in range(25):
        made.append(await lab.talk(user=f"user {number}"))
        if number % 3 == 0:
            lab.later(seconds=1)
    orders: tuple[Literal["activity", "created"], ...] = ("activity", "created")
    for order in orders:
        seen: list[str] = []
        after, pages = None, 0
        while True:
            page = await lab.talks.list(order=order, limit=7, after=after)
            seen.extend(found.id for found in page)
            pages += 1
            assert len(page) == (7 if page.next else 4)
            if page.next is None:
                break
            after = page.next
        assert (sorted(seen), pages) == (sorted(made), 4)


async def test_a_last_page_that_is_full_has_no_next(lab: Lab) -> None:
    for user in ("ann", "bob"):
        await lab.talk(user=user)
    assert (await lab.talks.list(limit=2)).next is None
    assert (await lab.talks.list(limit=1)).next is not None


async def test_lists_may_be_of_one_person(lab: Lab) -> None:
    first = await lab.talk(user="ann")
    second = await lab.talk(user="ann")
    await lab.talk(user="bob")
    assert {found.id for found in await lab.talks.list(user_id="ann")} == {first, second}
    assert len(await lab.talks.list(user_id="nobody")) == 0
    number = await lab.talk(user=7)
    assert [found.id for found in await lab.talks.list(user_id=7)] == [number]


async def test_lists_may_be_of_one_channel_linked_or_used(lab: Lab) -> None:
    linked, used, other = await lab.talk(user="ann"), await lab.talk(user="bob"), await lab.talk(user="cat")
    await lab.talks.link_channel(linked, "telegram", "t1")
    await lab.talks.append(used, "user", "hello", channel="telegram")
    await lab.talks.append(other, "user", "hello", channel="discord")
    assert {found.id for found in await lab.talks.list(channel="telegram")} == {linked, used}
    assert {found.id for found in await lab.talks.list(channel="telegram", user_id="bob")} == {used}
    assert len(await lab.talks.list(channel="matrix")) == 0


async def test_lists_leave_out_what_is_closed_unless_asked(lab: Lab) -> None:
    active, ended, gone = await lab.talk(user="ann"), await lab.talk(user="bob"), await lab.talk(user="cat")
    await lab.talks.end(ended)
    await lab.talks.delete(gone)
    assert [found.id for found in await lab.talks.list()] == [active]
    assert {found.id for found in await lab.talks.list(active_only=False)} == {active, ended}


@pytest.mark.parametrize("limit", [0, -1, 1001, "5", None, True, 2.0])
async def test_a_page_has_from_1_to_1000_rows(lab: Lab, limit: object) -> None:
    with pytest.raises(InvalidValueError):
        await lab.talks.list(limit=limit)  # type: ignore[arg-type]


@pytest.mark.parametrize("cursor", ["", "x", "!!", "eyJ9", "WzFd", 5, "\ud800", "WyJhIiwiYiJd"])
async def test_a_cursor_that_no_page_gave_is_invalid(lab: Lab, cursor: object) -> None:
    from sojourn import InvalidCursorError

    with pytest.raises(InvalidCursorError) as caught:
        await lab.talks.list(after=cursor)  # type: ignore[arg-type]
    assert (caught.value.code, bool(caught.value.hint)) == ("cursor.invalid", True)


async def test_an_order_that_does_not_exist_is_invalid(lab: Lab) -> None:
    with pytest.raises(InvalidValueError):
        await lab.talks.list(order="name")  # type: ignore[arg-type]


async def test_ages_are_by_the_clock_of_the_store(lab: Lab) -> None:
    talks = lab.under(max_age=timedelta(minutes=5)).conversations
    made = await talks.get_or_create("ann")
    lab.later(minutes=4)
    assert (await talks.get_or_create("ann")).id == made.id
    lab.later(minutes=1)
    assert (await talks.get_or_create("ann")).previous_id == made.id
