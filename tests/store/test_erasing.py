"""Erasing a person: gone from every record, log, index, event and file, with a receipt."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from sojourn import InvalidValueError, LimitError, NotFoundError

if TYPE_CHECKING:
    from tests.conversations.conftest import Lab


async def test_a_person_is_gone_from_everything(lab: Lab) -> None:
    made = await lab.talk("needle", "other")
    fork = await lab.talks.fork(made)
    await lab.talks.link_channel(made, "telegram", "t1")
    theirs = await lab.talk("hello", user="bob")
    await lab.talks.append(theirs, "user", "needle of ann", author="ann")
    await lab.talks.append(theirs, "user", "needle of bob", author="bob")
    await lab.store.sweep()
    receipt = await lab.store.erase("ann")
    assert (receipt.principal, receipt.sessions, receipt.entries) == ("ann", 2, 3)
    assert receipt.aliases >= 2
    assert receipt.outside
    for talk in (made, fork.id):
        assert await lab.talks.get(talk) is None
        with pytest.raises(NotFoundError):
            await lab.talks.messages(talk)
    assert await lab.talks.resolve("telegram", "t1") is None
    if lab.searches:
        assert [hit.message.text for hit in await lab.talks.search("needle")] == ["needle of bob"]
    assert await lab.texts(theirs) == ["hello", "", "needle of bob"]
    assert len(await lab.talks.list(user_id="ann", active_only=False)) == 0
    assert not {made, fork.id} & {event.id for event in await lab.events()}


async def test_erasing_again_finds_nothing(lab: Lab) -> None:
    await lab.talk("a")
    await lab.store.erase("ann")
    receipt = await lab.store.erase("ann")
    assert (receipt.sessions, receipt.entries, receipt.aliases, receipt.leases) == (0, 0, 0, 0)


async def test_who_was_erased_may_come_back_as_somebody_new(lab: Lab) -> None:
    await lab.talks.get_or_create("ann", channel="telegram", channel_user_id="t1", display_name="Ann")
    await lab.store.erase("ann")
    new = await lab.talks.get_or_create("ann", channel="telegram", channel_user_id="t1")
    assert (new.previous_id, new.identity.display_name, list(new.messages)) == (None, "", [])
    assert new.identity.channel_ids == {"telegram": "t1"}


async def test_others_are_left_as_they_are(lab: Lab) -> None:
    await lab.talk("a")
    theirs = await lab.talks.get_or_create("bob", channel="telegram", channel_user_id="t2", display_name="Bob")
    await lab.talks.append(theirs.id, "user", "b", key="k1")
    before = await lab.talks.get(theirs.id, with_messages=True)
    await lab.store.erase("ann")
    assert await lab.talks.get(theirs.id, with_messages=True) == before
    assert await lab.talks.resolve("telegram", "t2") == "bob"


async def test_a_person_with_much_is_erased_whole(lab: Lab) -> None:
    talks = lab.under(fold_above=None).conversations
    for _ in range(3):
        await lab.long_talk(1500, talks=talks)
    receipt = await lab.store.erase("ann")
    assert (receipt.sessions, receipt.entries) == (3, 4500)
    assert len(await talks.list(active_only=False)) == 0


async def test_a_number_may_be_erased(lab: Lab) -> None:
    await lab.talk("a", user=7)
    assert (await lab.store.erase(7)).sessions == 1


async def test_a_run_of_who_is_erased_is_over(lab: Lab) -> None:
    made = await lab.talk("a")
    async with lab.talks.run_lease(made, "worker"):
        receipt = await lab.store.erase("ann")
    assert receipt.leases == 1


async def test_nothing_of_an_erased_person_is_in_the_files(disk_lab: Lab) -> None:
    lab = disk_lab
    words = {
        "text": "xylophonquartz", "title": "titlewombat", "name": "namenarwhal", "meta": "metagnu", "handle": "handleibex",
        "check": "checkpuma", "reason": "reasonlynx", "key": "keybadger", "author": "authorquux", "user": "userwalrus",
        "holder": "holderstoat", "call": "callmarten",
    }  # fmt: skip
    user = words["user"]
    made = await lab.talks.create(
        user, title=words["title"], display_name=words["name"], metadata={"m": words["meta"]}, key="create " + words["key"]
    )
    await lab.talks.link_channel(made.id, "telegram", words["handle"])
    await lab.talks.extend(made.id, lab.in_turn([words["text"]] * 60), key=words["key"])
    await lab.talks.append(made.id, "tool", "x", author=words["author"], tool_call_id=words["call"])
    await lab.talks.checkpoint(made.id, words["check"])
    await lab.talks.consolidate(made.id)
    other = await lab.talk("public talk", user="bob")
    await lab.talks.append(other, "user", words["text"], author=user)
    await lab.store.sweep()
    await lab.talks.append(made.id, "user", words["text"] + " once more")
    await lab.talks.run_lease(made.id, words["holder"]).__aenter__()
    await lab.talks.end(made.id, reason=words["reason"])
    await lab.talks.get_or_create(user)
    before = lab.on_disk().lower()
    assert {name for name, word in words.items() if word.encode() not in before} == set()
    await lab.store.erase(user)
    left = lab.on_disk().lower()
    assert {name for name, word in words.items() if word.encode() in left} == set()
    assert b"public talk" in left
    assert await lab.store.check() == []


async def test_a_fork_that_somebody_else_owns_is_emptied_of_what_it_shares(lab: Lab) -> None:
    made = await lab.talk("a", "b")
    fork = await lab.talks.fork(made)
    assert fork.identity.user_id == "ann"
    assert (await lab.store.erase("ann")).sessions == 2


@pytest.mark.parametrize("principal", ["", None, 1.5, True, "a\nb", "\0", "\ud800", "x" * 513])
async def test_who_is_erased_must_be_said(lab: Lab, principal: Any) -> None:
    await lab.talk("a")
    with pytest.raises((InvalidValueError, LimitError)):
        await lab.store.erase(principal)
    assert len(await lab.talks.list()) == 1


async def test_the_receipt_says_when_a_reader_keeps_the_log(disk_lab: Lab) -> None:
    lab = disk_lab
    await lab.talk("secret")
    reader = sqlite3.connect(lab.path)
    reader.execute("begin")
    reader.execute("select count(*) from sojourn_entry").fetchone()
    receipt = await lab.store.erase("ann")
    reader.close()
    assert any("write-ahead log" in place for place in receipt.outside)
    assert not any("write-ahead log" in place for place in (await lab.store.erase("bob")).outside)
