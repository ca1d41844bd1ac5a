"""Channel handles: who they belong to, and that no link is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sojourn import ConflictError, InvalidValueError, NotFoundError

if TYPE_CHECKING:
    from tests.conversations.conftest import Lab


async def test_a_handle_belongs_to_the_person_of_the_conversation_it_was_linked_to(lab: Lab) -> None:
    made = await lab.talk()
    linked = await lab.talks.link_channel(made, "telegram", "t1")
    assert (linked.id, linked.identity.channel_ids) == (made, {"telegram": "t1"})
    assert await lab.talks.resolve("telegram", "t1") == "ann"
    assert await lab.talks.resolve("discord", "t1") is None
    assert (await lab.talks.get_or_create(channel="telegram", channel_user_id="t1")).id == made


async def test_linking_again_changes_nothing(lab: Lab) -> None:
    made = await lab.talk()
    first = await lab.talks.link_channel(made, "telegram", "t1")
    before = await lab.events()
    assert await lab.talks.link_channel(made, "telegram", "t1") == first
    assert await lab.events() == before


async def test_linking_a_new_handle_frees_the_old_one(lab: Lab) -> None:
    made = await lab.talk()
    await lab.talks.link_channel(made, "telegram", "t1")
    linked = await lab.talks.link_channel(made, "telegram", "t2")
    assert linked.identity.channel_ids == {"telegram": "t2"}
    assert await lab.talks.resolve("telegram", "t1") is None
    bob = await lab.talk(user="bob")
    assert (await lab.talks.link_channel(bob, "telegram", "t1")).identity.channel_ids == {"telegram": "t1"}


async def test_linking_a_handle_of_somebody_else_is_a_conflict_and_nothing_changes(lab: Lab) -> None:
    ann, bob = await lab.talk(user="ann"), await lab.talk(user="bob")
    await lab.talks.link_channel(ann, "telegram", "t1")
    await lab.talks.link_channel(bob, "telegram", "t2")
    before = await lab.events()
    with pytest.raises(ConflictError) as caught:
        await lab.talks.link_channel(bob, "telegram", "t1")
    assert caught.value.holder == "ann"
    assert await lab.events() == before
    assert await lab.talks.resolve("telegram", "t1") == "ann"
    assert await lab.talks.resolve("telegram", "t2") == "bob"


async def test_a_link_through_an_older_conversation_counts_for_the_current_one(lab: Lab) -> None:
    old = await lab.talk()
    new = await lab.talks.create("ann")
    await lab.talks.link_channel(old, "telegram", "t1")
    found = await lab.talks.get_or_create(channel="telegram", channel_user_id="t1")
    assert (found.id, found.identity.channel_ids) == (new.id, {"telegram": "t1"})


async def test_an_ended_conversation_may_still_be_linked(lab: Lab) -> None:
    made = await lab.talk()
    await lab.talks.end(made)
    assert (await lab.talks.link_channel(made, "telegram", "t1")).identity.channel_ids == {"telegram": "t1"}
    assert (await lab.talks.get_or_create("ann")).identity.channel_ids == {"telegram": "t1"}


async def test_unlinking_frees_the_handle(lab: Lab) -> None:
    made = await lab.talk()
    await lab.talks.link_channel(made, "telegram", "t1")
    await lab.talks.link_channel(made, "discord", "d1")
    found = await lab.talks.unlink_channel(made, "telegram")
    assert found.identity.channel_ids == {"discord": "d1"}
    assert await lab.talks.resolve("telegram", "t1") is None
    assert await lab.talks.resolve("discord", "d1") == "ann"
    assert (await lab.talks.get_or_create("ann")).identity.channel_ids == {"discord": "d1"}


async def test_unlinking_what_is_not_linked_is_fine(lab: Lab) -> None:
    made = await lab.talk()
    before = await lab.events()
    assert (await lab.talks.unlink_channel(made, "telegram")).identity.channel_ids == {}
    assert await lab.events() == before


async def test_unlinking_through_an_older_conversation_unlinks_the_current_one(lab: Lab) -> None:
    old = await lab.talk()
    await lab.talks.link_channel(old, "telegram", "t1")
    new = await lab.talks.create("ann")
    assert new.identity.channel_ids == {"telegram": "t1"}
    await lab.talks.unlink_channel(old, "telegram")
    assert (await lab.talks.get_or_create("ann")).identity.channel_ids == {}
    assert await lab.talks.resolve("telegram", "t1") is None


async def test_a_reused_handle_never_leads_to_the_thread_of_the_person_who_had_it(lab: Lab) -> None:
    ann = await lab.talks.get_or_create(channel="telegram", channel_user_id="t1")
    await lab.talks.append(ann.id, "user", "my secret")
    await lab.talks.unlink_channel(ann.id, "telegram")
    bob = await lab.talks.get_or_create(channel="telegram", channel_user_id="t1")
    assert bob.id != ann.id
    assert bob.identity.user_id != ann.identity.user_id
    assert (bob.previous_id, list(bob.messages)) == (None, [])


async def test_a_handle_freed_by_a_new_one_starts_afresh_for_the_next_person(lab: Lab) -> None:
    ann = await lab.talks.get_or_create(channel="telegram", channel_user_id="t1")
    await lab.talks.link_channel(ann.id, "telegram", "t2")
    bob = await lab.talks.get_or_create(channel="telegram", channel_user_id="t1")
    assert bob.identity.user_id != ann.identity.user_id
    assert (await lab.talks.get_or_create(channel="telegram", channel_user_id="t2")).id == ann.id


async def test_no_link_is_lost_when_60_race(lab: Lab) -> None:
    made = await lab.talk()
    await lab.each(range(60), lambda n: lab.talks.link_channel(made, f"channel {n}", f"handle {n}"))
    found = await lab.talks.get(made)
    assert found is not None
    assert found.identity.channel_ids == {f"channel {n}": f"handle {n}" for n in range(60)}
    assert [await lab.talks.resolve(f"channel {n}", f"handle {n}") for n in range(60)] == ["ann"] * 60


async def test_of_two_people_who_want_one_handle_exactly_one_gets_it(lab: Lab) -> None:
    talks = {user: await lab.talk(user=user) for user in ("ann", "bob")}
    outcomes = await lab.outcomes(
        lambda: lab.talks.link_channel(talks["ann"], "telegram", "t1"),
        lambda: lab.talks.link_channel(talks["bob"], "telegram", "t1"),
    )
    assert sorted(isinstance(outcome, ConflictError) for outcome in outcomes) == [False, True]
    holder = await lab.talks.resolve("telegram", "t1")
    for user, talk in talks.items():
        found = await lab.talks.get(talk)
        assert found is not None
        assert found.identity.channel_ids == ({"telegram": "t1"} if user == holder else {})


async def test_handles_raced_in_one_channel_leave_exactly_one(lab: Lab) -> None:
    made = await lab.talk()
    await lab.each(range(6), lambda n: lab.talks.link_channel(made, "telegram", f"t{n}"))
    found = await lab.talks.get(made)
    assert found is not None
    holders = {f"t{n}": await lab.talks.resolve("telegram", f"t{n}") for n in range(6)}
    assert {handle for handle, user in holders.items() if user} == {found.identity.channel_ids["telegram"]}


async def test_separators_in_channels_and_handles_cannot_be_forged(lab: Lab) -> None:
    ann = await lab.talk(user="ann")
    await lab.talks.link_channel(ann, "a", 'b","c')
    assert await lab.talks.resolve('a","b', "c") is None
    assert await lab.talks.resolve("a", "b") is None
    assert await lab.talks.resolve("a", 'b","c') == "ann"


@pytest.mark.parametrize("channel", ["", None, 1.5, True, "a\nb", "a\0b", "\ud800"])
async def test_a_channel_must_be_text_without_control_characters(lab: Lab, channel: object) -> None:
    made = await lab.talk()
    before = await lab.events()
    for attempt in (
        lambda: lab.talks.link_channel(made, channel, "t1"),  # type: ignore[arg-type]
        lambda: lab.talks.unlink_channel(made, channel),  # type: ignore[arg-type]
        lambda: lab.talks.resolve(channel, "t1"),  # type: ignore[arg-type]
    ):
        with pytest.raises(InvalidValueError):
            await attempt()
    assert await lab.events() == before


@pytest.mark.parametrize("handle", ["", None, 1.5, True, "a\nb", "a\0b", "\ud800"])
async def test_a_handle_must_be_text_or_a_number(lab: Lab, handle: object) -> None:
    made = await lab.talk()
    for attempt in (
        lambda: lab.talks.link_channel(made, "telegram", handle),  # type: ignore[arg-type]
        lambda: lab.talks.resolve("telegram", handle),  # type: ignore[arg-type]
    ):
        with pytest.raises(InvalidValueError):
            await attempt()


async def test_linking_to_what_is_not_there_is_not_found_and_takes_no_handle(lab: Lab) -> None:
    with pytest.raises(NotFoundError):
        await lab.talks.link_channel("0" * 26, "telegram", "t1")
    with pytest.raises(NotFoundError):
        await lab.talks.unlink_channel("0" * 26, "telegram")
    assert await lab.talks.resolve("telegram", "t1") is None
