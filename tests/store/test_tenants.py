"""Tenants: the same names in different ones never meet, in any operation."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from sojourn import InvalidValueError, LimitError, NotFoundError

if TYPE_CHECKING:
    from tests.conversations.conftest import Lab


async def test_a_store_says_whose_it_is(lab: Lab) -> None:
    assert lab.store.tenant == "default"
    other = lab.store.for_tenant("other")
    assert other.tenant == "other"
    assert other.for_tenant("third").tenant == "third"
    assert lab.open(tenant="acme").tenant == "acme"


async def test_one_person_has_a_conversation_in_each_tenant(lab: Lab) -> None:
    other = lab.store.for_tenant("other").conversations
    here = await lab.talks.get_or_create("ann", channel="telegram", channel_user_id="t1", display_name="Ann")
    there = await other.get_or_create("ann")
    assert here.id != there.id
    assert (there.identity.display_name, there.identity.channel_ids) == ("", {})
    assert await other.resolve("telegram", "t1") is None
    bob = await other.get_or_create("bob", channel="telegram", channel_user_id="t1")
    assert bob.identity.channel_ids == {"telegram": "t1"}
    assert await lab.talks.resolve("telegram", "t1") == "ann"


async def test_nothing_of_another_tenant_is_found_by_its_id(lab: Lab) -> None:
    other = lab.store.for_tenant("other")
    made = await lab.long_talk(60)
    before = await lab.events()
    talks: Any = other.conversations
    assert await talks.get(made) is None
    assert await talks.delete(made) is False
    assert await other.sessions.get(made) is None
    assert await other.sessions.delete(made) is False
    assert await other.sessions.events(made) == []
    for operation in (
        talks.messages(made), talks.messages(made, last=5), talks.window(made, budget=5), talks.append(made, "user", "x"),
        talks.extend(made, [{"role": "user", "content": "x"}]), talks.update(made, {"a": 1}), talks.consolidate(made),
        talks.expand(made, 1), talks.repair(made), talks.link_channel(made, "telegram", "t1"),
        talks.unlink_channel(made, "telegram"), talks.end(made), talks.fork(made), talks.rewind(made, 1),
        talks.undo_rewind(made), talks.checkpoint(made, "x"), talks.checkpoints(made), talks.pop(made), talks.hide(made, 1),
        talks.unhide(made, 1), talks.redact(made, 1), talks.clear(made), talks.export(made), other.sessions.end(made),
    ):  # fmt: skip
        with pytest.raises(NotFoundError):
            await operation
    with pytest.raises(NotFoundError):
        async with talks.run_lease(made, "worker"):
            raise AssertionError("not theirs")
    assert await lab.events() == before
    assert await talks.resolve("telegram", "t1") is None


async def test_nothing_of_another_tenant_is_listed_found_or_watched(lab: Lab) -> None:
    other = lab.store.for_tenant("other")
    made = await lab.talk("needle")
    await lab.talks.append(made, "user", "needle", channel="telegram")
    for search in ("deferred", "indexed"):
        if search == "indexed":
            await lab.store.sweep()
        if lab.searches:
            assert await other.conversations.search("needle") == []
            assert await other.conversations.search("needle", user_id="ann", channel="telegram") == []
    assert len(await other.conversations.list(active_only=False)) == 0
    assert len(await other.conversations.list(user_id="ann", channel="telegram")) == 0
    assert len(await other.sessions.list("state:all")) == 0
    watch = other.watch(after=lab.beginning, timeout=timedelta(0))
    assert [event async for event in watch] == []
    assert [line async for line in other.export()][1:] == []


async def test_nothing_of_another_tenant_decays_is_swept_or_erased(lab: Lab) -> None:
    other = lab.store.for_tenant("other")
    made = await lab.talk("a")
    await lab.talks.link_channel(made, "telegram", "t1")
    assert await other.conversations.decay(timedelta(0)) == 0
    erased = await other.erase("ann")
    assert (erased.sessions, erased.entries, erased.aliases) == (0, 0, 0)
    lab.later(hours=24)
    assert (await other.sweep())["archived"] == 0
    assert await lab.texts(made) == ["a"]
    assert await lab.talks.resolve("telegram", "t1") == "ann"


async def test_leases_of_one_name_in_two_tenants_do_not_meet(lab: Lab) -> None:
    minute = timedelta(minutes=1)
    async with lab.store.lease("nightly", minute), lab.store.for_tenant("other").lease("nightly", minute):
        assert lab.store.tenant == "default"


async def test_closing_a_tenants_store_closes_nothing_else(lab: Lab) -> None:
    other = lab.store.for_tenant("other")
    await other.close()
    await lab.talk("a")


@pytest.mark.parametrize("name", ["", None, 1.5, True, "a\nb", "\0", "\ud800", "x" * 129])
async def test_a_tenant_is_text(lab: Lab, name: Any) -> None:
    with pytest.raises((InvalidValueError, LimitError)):
        lab.store.for_tenant(name)
    with pytest.raises((InvalidValueError, LimitError)):
        lab.open(tenant=name)
