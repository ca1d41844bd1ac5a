"""Each of these was seen in a system that people use. None may happen here, on any engine, in any colour."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from sojourn import ConflictError, Message, Messages, NotFoundError

if TYPE_CHECKING:
    from tests.conversations.conftest import Lab


async def test_a_summary_after_the_newer_messages(lab: Lab) -> None:
    made = await lab.long_talk(60)
    for start in (61, 91):
        await lab.talks.consolidate(made, keep=30)
        for listing in (
            await lab.talks.messages(made),
            await lab.talks.messages(made, last=5000),
            await lab.talks.messages(made, include_folded=True),
            await lab.talks.window(made, budget=100_000),
        ):
            places = [message.place for message in listing]
            assert places == sorted(places)
            assert listing[0].covers is not None
            assert listing[-1].covers is None
        await lab.talks.extend(made, lab.in_turn(lab.numbered(30, start)))


async def test_messages_deleted_because_their_timestamps_were_equal(lab: Lab) -> None:
    made = await lab.long_talk(200, talks=lab.under(fold_above=None).conversations)
    for _ in range(3):
        await lab.talks.consolidate(made)
    everything = await lab.talks.messages(made, include_folded=True)
    originals = [message for message in everything if message.covers is None]
    assert len({message.created_at for message in originals}) == 1
    assert [message.text for message in originals] == lab.numbered(200)


async def test_order_by_a_clock(lab: Lab) -> None:
    made = await lab.talk()
    for number in range(1, 61):
        lab.later(hours=(-7, 3, 0, 11, -9)[number % 5])
        await lab.talks.append(made, "user", f"message {number}")
        if number == 40:
            await lab.talks.consolidate(made, keep=10)
    assert await lab.texts(made) == ["[1-30]", *lab.numbered(30, 31)]
    assert await lab.texts(made, last=3) == lab.numbered(3, 58)
    assert lab.shown(await lab.talks.window(made, budget=12)) == lab.numbered(4, 57)
    await lab.talks.rewind(made, 50)
    assert (await lab.texts(made))[-1] == "message 49"


async def test_folded_facts_gone_for_good(lab: Lab) -> None:
    """Of 2,000 messages one system kept a mention of 107."""
    made = await lab.talk()
    for start in range(1, 2001, 50):
        await lab.talks.extend(made, lab.in_turn([f"fact {number} is kept" for number in range(start, start + 50)]))
        await lab.store.sweep()
    found = await lab.talks.get(made)
    assert found is not None
    assert (found.message_count, found.folded_through > 1900) == (2000, True)
    everything = await lab.talks.messages(made, include_folded=True)
    assert [message.text for message in everything if message.covers is None] == [f"fact {n} is kept" for n in range(1, 2001)]
    for number in (1, 107, 1234, 1999) if lab.searches else ():
        (hit,) = await lab.talks.search(f"fact {number} is kept")
        assert hit.message.text == f"fact {number} is kept"
    shown = await lab.talks.messages(made)
    assert len(shown) <= 101
    while shown[0].covers is not None:
        await lab.talks.expand(made, shown[0].sequence)
        shown = await lab.talks.messages(made)
    assert [message.text for message in shown] == [f"fact {n} is kept" for n in range(1, 2001)]


async def test_a_lost_channel_link(lab: Lab) -> None:
    made = await lab.talk()
    links = {f"channel {number}": f"handle {number}" for number in range(12)}

    async def link(channel: str, handle: str) -> Any:
        return await lab.talks.link_channel(made, channel, handle)

    async def live() -> Any:
        for number in range(12):
            await lab.talks.append(made, "user", "x", channel=f"channel {number}")
            await lab.talks.update(made, {"n": number}, title=f"{number}")
            await lab.talks.get_or_create("ann", display_name=f"Ann {number}")

    await lab.together(live, *[partial(link, channel, handle) for channel, handle in links.items()])
    await lab.talks.create("ann")
    lab.later(hours=25)
    await lab.talks.decay()
    current = await lab.talks.get_or_create("ann")
    assert current.identity.channel_ids == links
    for channel, handle in links.items():
        assert await lab.talks.resolve(channel, handle) == "ann"


async def test_two_current_conversations_for_one_person(lab: Lab) -> None:
    for hours in (0, 25, 25):
        lab.later(hours=hours)
        found = await lab.together(
            *[lambda: lab.talks.get_or_create("ann", channel="telegram", channel_user_id="t1") for _ in range(4)],
            *[lambda: lab.talks.get_or_create(channel="telegram", channel_user_id="t1") for _ in range(4)] if hours else [],
        )
        assert len({conversation.id for conversation in found}) == 1
    assert len(await lab.talks.list(user_id="ann", active_only=False)) == 3


async def test_a_window_that_begins_with_an_orphan_tool_result(lab: Lab) -> None:
    made = await lab.talk()
    for number in range(20):
        await lab.talks.append(made, "user", f"question {number}")
        await lab.talks.append(made, "assistant", "", tool_calls=[{"id": f"c{number}"}])
        await lab.talks.append(made, "tool", f"result {number}", tool_call_id=f"c{number}")
        await lab.talks.append(made, "assistant", f"answer {number}")
    for budget in range(1, 120):
        window = await lab.talks.window(made, budget=budget)
        called: set[str] = set()
        for message in window:
            if message.tool_call_id is not None:
                assert message.tool_call_id in called
                called.remove(message.tool_call_id)
            called.update(call["id"] for call in message.tool_calls or ())
        assert not called


async def test_one_orphan_call_that_disables_folding_for_ever(lab: Lab) -> None:
    made = await lab.talk()
    for number in range(300):
        calls = [{"id": f"orphan {number}"}] if number % 7 == 0 else None
        await lab.talks.append(made, "assistant", f"message {number}", tool_calls=calls)
        if number % 60 == 0:
            await lab.store.sweep()
    while (await lab.store.sweep())["folded"]:
        pass
    found = await lab.talks.get(made)
    assert found is not None
    assert found.folded_through >= 200
    assert len(await lab.talks.messages(made)) <= 101


async def test_another_persons_thread_because_a_channel_identifier_was_reused(lab: Lab) -> None:
    """By unlinking, by moving on to another identifier, by deletion, by age, and by erasure."""
    seen: set[str] = set()
    for way in ("unlink", "move", "delete", "age", "erase", "unlink"):
        found = await lab.talks.get_or_create(channel="telegram", channel_user_id="t1")
        user = found.identity.user_id
        assert user not in seen
        assert (found.previous_id, list(found.messages)) == (None, [])
        seen.add(user)
        await lab.talks.append(found.id, "user", "a secret")
        if way == "unlink":
            await lab.talks.unlink_channel(found.id, "telegram")
        elif way == "move":
            await lab.talks.link_channel(found.id, "telegram", f"new {user}")
        elif way == "erase":
            await lab.store.erase(user)
        else:
            if way == "delete":
                await lab.talks.delete(found.id)
            lab.later(hours=25)
            await lab.talks.decay()
            new = await lab.talks.get_or_create(user)
            await lab.talks.unlink_channel(new.id, "telegram")


async def test_another_persons_thread_because_a_handle_was_taken_over(lab: Lab) -> None:
    ann = await lab.talks.get_or_create("ann", channel="telegram", channel_user_id="t1")
    with pytest.raises(ConflictError):
        await lab.talks.get_or_create("bob", channel="telegram", channel_user_id="t1")
    await lab.talks.link_channel(ann.id, "telegram", "t2")
    bob = await lab.talks.get_or_create("bob", channel="telegram", channel_user_id="t1")
    assert bob.id != ann.id
    assert (await lab.talks.get_or_create(channel="telegram", channel_user_id="t1")).id == bob.id
    assert (await lab.talks.get_or_create(channel="telegram", channel_user_id="t2")).id == ann.id


async def test_an_append_dropped_because_the_id_was_unknown(lab: Lab) -> None:
    made = await lab.talk("a")
    deleted = await lab.talk("a", user="bob")
    await lab.talks.delete(deleted)
    other = (await lab.store.for_tenant("other").conversations.create("ann")).id
    for unknown in ("0" * 26, made.lower(), made[:-1], made + "0", f" {made}", deleted, other, "", "telegram:t1"):
        with pytest.raises(NotFoundError):
            await lab.talks.append(unknown, "user", "is this stored?")
        with pytest.raises(NotFoundError):
            await lab.talks.extend(unknown, [{"role": "user", "content": "is this stored?"}])
    if lab.searches:
        assert await lab.talks.search("stored") == []


async def test_an_append_that_waits_for_a_language_model(lab: Lab) -> None:
    """While a summariser is at work in a sweep, in `consolidate` and in a runner, appends are stored."""
    if lab.blocking:
        thinking, finished = threading.Semaphore(0), threading.Event()

        def summarise(_: Messages) -> str:
            thinking.release()
            assert finished.wait(60)
            return "slow"

        store = lab.under(summarise=summarise, fold_above=10)
        made = [await lab.talk(*lab.numbered(11), user=f"user {n}", talks=store.conversations) for n in range(2)]

        async def append() -> Any:
            for _ in range(2):
                assert thinking.acquire(timeout=60)
            stored = [await store.conversations.append(talk, "user", "meanwhile") for talk in made for _ in range(20)]
            finished.set()
            return stored

        works: list[Any] = [store.sweep, lambda: store.conversations.consolidate(made[1]), append]
    else:
        entered, over = asyncio.Semaphore(0), asyncio.Event()

        async def think(_: Messages) -> str:
            entered.release()
            await over.wait()
            return "slow"

        store = lab.under(summarise=think, fold_above=10)
        made = [await lab.talk(*lab.numbered(11), user=f"user {n}", talks=store.conversations) for n in range(2)]

        async def append_meanwhile() -> Any:
            for _ in range(2):
                await entered.acquire()
            stored = [await store.conversations.append(talk, "user", "meanwhile") for talk in made for _ in range(20)]
            over.set()
            return stored

        works = [store.sweep, lambda: store.conversations.consolidate(made[1]), append_meanwhile]
    *_, stored = await lab.together(*works)
    assert all(isinstance(message, Message) for message in stored)
    for talk in made:
        everything = await lab.talks.messages(talk, include_folded=True)
        assert [message.text for message in everything if message.covers is None] == [*lab.numbered(11), *["meanwhile"] * 20]


async def test_an_append_by_a_person_whose_conversation_has_aged_is_not_lost(lab: Lab) -> None:
    made = await lab.talk("a")
    lab.later(hours=30)
    await lab.talks.append(made, "user", "late, but here")
    assert (await lab.talks.get_or_create("ann")).id == made
    assert await lab.talks.decay(timedelta(hours=1)) == 0
    assert await lab.texts(made) == ["a", "late, but here"]
