"""Decay, ending and deleting: three ways a conversation closes, each said as what it is."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from sojourn import EndedError, InvalidValueError, LimitError, NotFoundError

if TYPE_CHECKING:
    from tests.conversations.conftest import Lab


async def test_decay_archives_what_is_older_than_the_age(lab: Lab) -> None:
    old = await lab.talk("a", user="ann")
    lab.later(hours=1)
    young = await lab.talk("b", user="bob")
    lab.later(hours=23)
    assert await lab.talks.decay() == 1
    archived, active = await lab.talks.get(old), await lab.talks.get(young)
    assert archived is not None
    assert active is not None
    assert (archived.state, archived.ended_at, active.state) == ("archived", lab.clock(), "active")
    assert [found.id for found in await lab.talks.list()] == [young]
    assert {found.id for found in await lab.talks.list(active_only=False)} == {old, young}
    assert await lab.texts(old) == ["a"]
    with pytest.raises(EndedError):
        await lab.talks.append(old, "user", "late")
    assert await lab.talks.decay() == 0


async def test_decay_may_be_told_an_age(lab: Lab) -> None:
    await lab.talk("a", user="ann")
    lab.later(minutes=10)
    await lab.talk("b", user="bob")
    assert await lab.talks.decay(timedelta(minutes=11)) == 0
    assert await lab.talks.decay(timedelta(minutes=10)) == 1
    assert await lab.talks.decay(max_age=timedelta(minutes=10)) == 0


async def test_no_age_at_all_means_everything(lab: Lab) -> None:
    made = [await lab.talk("a", user=f"user {number}") for number in range(5)]
    empty = await lab.talk(user="empty")
    assert await lab.talks.decay(timedelta(0)) == 6
    assert len(await lab.talks.list()) == 0
    assert {found.id for found in await lab.talks.list(active_only=False)} == {*made, empty}


async def test_everything_includes_what_the_clock_went_back_behind(lab: Lab) -> None:
    await lab.talk("a")
    lab.later(hours=-5)
    await lab.talk("b", user="bob")
    assert await lab.talks.decay(timedelta(0)) == 2


async def test_decay_works_through_any_number(lab: Lab) -> None:
    for number in range(250):
        await lab.talks.create(f"user {number}")
    lab.later(hours=24)
    assert await lab.talks.decay(limit=30) == 30
    assert await lab.talks.decay(limit=0) == 0
    assert await lab.talks.decay() == 220


async def test_decay_may_delete_instead(lab: Lab) -> None:
    talks = lab.under(archive=False).conversations
    made = await lab.talk("a")
    await lab.talks.link_channel(made, "telegram", "t1")
    lab.later(hours=24)
    assert await talks.decay() == 1
    assert await talks.get(made) is None
    assert await talks.resolve("telegram", "t1") == "ann"
    new = await talks.get_or_create("ann")
    assert (new.previous_id, new.identity.channel_ids) == (None, {"telegram": "t1"})


async def test_decay_is_by_the_last_message_not_by_other_changes(lab: Lab) -> None:
    made = await lab.long_talk(60)
    lab.later(hours=23)
    await lab.talks.update(made, {"a": 1})
    await lab.talks.consolidate(made)
    lab.later(hours=1)
    assert await lab.talks.decay() == 1


async def test_what_just_got_a_message_stays(lab: Lab) -> None:
    made = await lab.talk("a")
    lab.later(hours=24)
    await lab.talks.append(made, "user", "b")
    assert await lab.talks.decay() == 0
    found = await lab.talks.get(made)
    assert found is not None
    assert found.state == "active"


async def test_decay_leaves_alone_what_has_no_age(lab: Lab) -> None:
    await lab.talk("a")
    lab.later(days=4000)
    assert await lab.under(max_age=None).conversations.decay() == 0
    assert await lab.under(reset="never").conversations.decay() == 0
    assert await lab.under(reset="never").conversations.decay(timedelta(days=1)) == 1


async def test_decay_of_a_daily_reset_is_by_the_day(lab: Lab) -> None:
    store = lab.under(reset="daily")
    made = await lab.talk("a", talks=store.conversations)
    lab.later(hours=11, minutes=59)
    assert await store.conversations.decay() == 0
    lab.later(minutes=1)
    assert (await store.sweep(dry_run=True))["archived"] == 1
    assert await store.conversations.decay() == 1
    assert (await store.conversations.get_or_create("ann")).previous_id == made


async def test_a_sweep_decays(lab: Lab) -> None:
    await lab.talk("a")
    lab.later(hours=24)
    assert (await lab.store.sweep(dry_run=True))["archived"] == 1
    assert len(await lab.talks.list()) == 1
    assert (await lab.store.sweep())["archived"] == 1
    assert len(await lab.talks.list()) == 0


async def test_an_archived_conversation_is_superseded_with_its_summary(lab: Lab) -> None:
    old = await lab.talk("The code word is zanzibar.")
    await lab.talks.link_channel(old, "telegram", "t1")
    lab.later(hours=24)
    await lab.talks.decay()
    new = await lab.talks.get_or_create(channel="telegram", channel_user_id="t1")
    assert new.previous_id == old
    assert new.identity.channel_ids == {"telegram": "t1"}
    assert "zanzibar" in new.messages[0].text


async def test_decays_at_once_archive_each_once(lab: Lab) -> None:
    for number in range(20):
        await lab.talk("a", user=f"user {number}")
    lab.later(hours=24)
    assert sum(await lab.together(*[lab.talks.decay for _ in range(4)])) == 20


@pytest.mark.parametrize("age", [5, "1h", timedelta(seconds=-1), 0, True])
async def test_an_age_is_a_duration(lab: Lab, age: Any) -> None:
    await lab.talk("a")
    with pytest.raises(InvalidValueError):
        await lab.talks.decay(age)
    assert len(await lab.talks.list()) == 1


@pytest.mark.parametrize("limit", [-1, "5", 1.5, True])
async def test_a_limit_of_a_decay_is_a_number(lab: Lab, limit: Any) -> None:
    with pytest.raises(InvalidValueError):
        await lab.talks.decay(limit=limit)


# -- ending ------------------------------------------------------------------------------------------------------------


async def test_an_ended_conversation_can_be_read_and_not_written(lab: Lab) -> None:
    made = await lab.talk("a", "b")
    lab.later(minutes=5)
    ended = await lab.talks.end(made, reason="solved")
    assert (ended.state, ended.ended_at) == ("ended", lab.clock())
    assert await lab.texts(made) == ["a", "b"]
    assert lab.shown(await lab.talks.window(made, budget=100)) == ["a", "b"]
    if lab.searches:
        assert [hit.message.sequence for hit in await lab.talks.search("a")] == [1]
    with pytest.raises(EndedError):
        await lab.talks.append(made, "user", "late")
    assert [found.id for found in await lab.talks.list(active_only=False)] == [made]
    assert (await lab.events())[-1].reason == "solved"


async def test_ending_twice_keeps_the_first_end(lab: Lab) -> None:
    made = await lab.talk("a")
    first = await lab.talks.end(made)
    lab.later(minutes=5)
    before = await lab.events()
    assert await lab.talks.end(made, reason="again") == first
    assert await lab.events() == before


async def test_ending_what_was_archived_leaves_it_archived(lab: Lab) -> None:
    made = await lab.talk("a")
    lab.later(hours=24)
    await lab.talks.decay()
    assert (await lab.talks.end(made)).state == "archived"


@pytest.mark.parametrize("reason", [5, None, "\0", "\ud800", "x" * 1025])
async def test_a_reason_is_text(lab: Lab, reason: Any) -> None:
    made = await lab.talk("a")
    with pytest.raises((InvalidValueError, LimitError)):
        await lab.talks.end(made, reason=reason)
    found = await lab.talks.get(made)
    assert found is not None
    assert found.state == "active"


# -- deleting ----------------------------------------------------------------------------------------------------------


async def test_a_deleted_conversation_is_gone_for_everybody_at_once(lab: Lab) -> None:
    made = await lab.talk("findable words")
    assert await lab.talks.delete(made) is True
    assert await lab.talks.get(made) is None
    assert await lab.talks.delete(made) is False
    assert len(await lab.talks.list(active_only=False)) == 0
    if lab.searches:
        assert await lab.talks.search("findable") == []
    for operation in (lab.talks.messages(made), lab.talks.append(made, "user", "x"), lab.talks.fork(made), lab.talks.end(made)):
        with pytest.raises(NotFoundError):
            await operation


async def test_deleting_what_is_not_there_says_so(lab: Lab) -> None:
    for unknown in ("0" * 26, "nothing", "", 5, None):
        assert await lab.talks.delete(unknown) is False  # type: ignore[arg-type]
        assert await lab.talks.delete(unknown, key="k") is False  # type: ignore[arg-type]


async def test_deleting_at_once_deletes_once(lab: Lab) -> None:
    made = await lab.talk("a")
    assert sorted(await lab.together(*[lambda: lab.talks.delete(made) for _ in range(4)])) == [False, False, False, True]


async def test_ended_and_archived_conversations_can_be_deleted(lab: Lab) -> None:
    ended, archived = await lab.talk("a", user="ann"), await lab.talk("b", user="bob")
    await lab.talks.end(ended)
    lab.later(hours=24)
    await lab.talks.decay()
    assert await lab.talks.delete(ended)
    assert await lab.talks.delete(archived)


async def test_the_person_of_a_deleted_conversation_starts_afresh(lab: Lab) -> None:
    made = await lab.talk("a secret")
    await lab.talks.delete(made)
    new = await lab.talks.get_or_create("ann")
    assert (new.previous_id, list(new.messages)) == (None, [])
