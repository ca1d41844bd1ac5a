"""Sessions of all kinds: listed by a filter, looked at, ended and deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from sojourn import InvalidCursorError, InvalidValueError, KeyReusedError, NotFoundError
from sojourn.sessions import filter_term

if TYPE_CHECKING:
    from tests.conversations.conftest import Lab


async def listed(lab: Lab, filter: str = "", **more: Any) -> list[str]:
    """The ids that a filter lists."""
    return [found.id for found in await lab.store.sessions.list(filter, **more)]


async def test_a_session_shows_what_is_stored(lab: Lab) -> None:
    made = await lab.talk("a", "b", title="Trip")
    found = await lab.store.sessions.get(made)
    assert found is not None
    assert (found.id, found.kind, found.owner, found.state, found.entries) == (made, "conversation", "ann", "active", 2)
    assert (found.created_at, found.last_activity_at) == (lab.clock(), lab.clock())
    assert (found.deadline, found.ended_at, found.version) == (None, None, 2)
    assert found.counters["messages"] == 2
    assert found.data["title"] == "Trip"
    for unknown in ("0" * 26, "x", "", None, 5):
        assert await lab.store.sessions.get(unknown) is None  # type: ignore[arg-type]


async def test_lists_are_newest_activity_first(lab: Lab) -> None:
    made = []
    for number in range(3):
        made.append(await lab.talk("a", user=f"user {number}"))
        lab.later(seconds=2)
    await lab.talks.append(made[0], "user", "b")
    assert await listed(lab) == [made[0], made[2], made[1]]


async def test_every_term_of_a_filter_must_hold(lab: Lab) -> None:
    ann, bob, ended = await lab.talk("a"), await lab.talk("b", user="bob"), await lab.talk("c", user="ann")
    await lab.talks.end(ended)
    await lab.talks.append(bob, "user", "hi", channel="telegram")
    assert set(await listed(lab, "kind:conversation")) == {ann, bob}
    assert await listed(lab, "kind:login") == []
    assert await listed(lab, "owner:ann") == [ann]
    assert set(await listed(lab, "owner:ann state:all")) == {ann, ended}
    assert await listed(lab, "state:ended") == [ended]
    assert await listed(lab, "state:archived") == []
    assert set(await listed(lab, "state:active")) == {ann, bob}
    assert await listed(lab, "tag:channel:telegram") == [bob]
    assert await listed(lab, "tag:channel:telegram owner:ann") == []
    assert await listed(lab, "  kind:conversation   owner:bob tag:channel:telegram state:all ") == [bob]


async def test_idle_sessions_are_listed_longest_idle_first(lab: Lab) -> None:
    made = []
    for number in range(3):
        made.append(await lab.talk("a", user=f"user {number}"))
        lab.later(minutes=10)
    assert await listed(lab, "idle>10m") == made
    assert await listed(lab, "idle>11m") == made[:2]
    assert await listed(lab, "idle>20m owner:user") == []
    assert await listed(lab, "idle>30m") == made[:1]
    assert await listed(lab, "idle>1800s") == made[:1]
    assert await listed(lab, "idle>1h") == await listed(lab, "idle>1d") == []
    lab.later(days=2)
    assert await listed(lab, "idle>2d idle>1h kind:conversation") == made


@pytest.mark.parametrize("owner", ["ann lee", 'a"b', '"', '"x" y', "a\\b c", "x\u00a0y", 'say "no" or', "end\\ "])
async def test_a_value_with_blanks_stands_in_quotes(lab: Lab, owner: str) -> None:
    made = await lab.talk("a", user=owner)
    await lab.talk("b", user="ann")
    term = filter_term("owner", owner)
    assert await listed(lab, f"kind:conversation {term} state:all") == [made]


@pytest.mark.parametrize("filter", ["", "idle>1s", "kind:conversation state:all", "tag:channel:telegram"])
async def test_lists_are_paged_without_gaps_or_repeats(lab: Lab, filter: str) -> None:
    made = []
    for number in range(11):
        made.append(await lab.talk(user=f"user {number}"))
        await lab.talks.append(made[-1], "user", "x", channel="telegram")
        lab.later(seconds=number % 3)
    lab.later(minutes=1)
    seen: list[str] = []
    after = None
    while True:
        page = await lab.store.sessions.list(filter, limit=4, after=after)
        seen.extend(found.id for found in page)
        if page.next is None:
            break
        after = page.next
    assert sorted(seen) == sorted(made)
    assert len(seen) == 11


@pytest.mark.parametrize(
    "filter",
    ["x", "kind:gossip", "state:gone", "idle>5", "idle>5w", "idle<5m", "owner:", "kind", "tag:", "owner:a;b:c d", 5, None],
)
async def test_a_filter_that_cannot_be_read_says_what_can(lab: Lab, filter: Any) -> None:
    with pytest.raises(InvalidValueError) as caught:
        await lab.store.sessions.list(filter)
    assert caught.value.message


async def test_a_list_is_asked_for_with_a_limit_and_a_cursor(lab: Lab) -> None:
    for limit in (0, 1001, "5", None, True):
        with pytest.raises(InvalidValueError):
            await lab.store.sessions.list(limit=limit)  # type: ignore[arg-type]
        with pytest.raises(InvalidValueError):
            await lab.store.sessions.events("0" * 26, limit=limit)  # type: ignore[arg-type]
    for cursor in ("x", "", 5):
        with pytest.raises(InvalidCursorError):
            await lab.store.sessions.list(after=cursor)  # type: ignore[arg-type]


async def test_any_session_can_be_ended_once(lab: Lab) -> None:
    made = await lab.talk("a")
    ended = await lab.store.sessions.end(made, reason="by hand")
    assert (ended.state, ended.ended_at) == ("ended", lab.clock())
    lab.later(hours=1)
    assert await lab.store.sessions.end(made) == ended
    assert (await lab.events())[-1].reason == "by hand"
    with pytest.raises(NotFoundError):
        await lab.store.sessions.end("0" * 26)


@pytest.mark.parametrize("reason", [5, None, "\0", "\ud800"])
async def test_a_reason_is_text(lab: Lab, reason: Any) -> None:
    made = await lab.talk("a")
    with pytest.raises(InvalidValueError):
        await lab.store.sessions.end(made, reason=reason)
    assert await listed(lab) == [made]


async def test_any_session_can_be_deleted(lab: Lab) -> None:
    made = await lab.talk("a")
    assert await lab.store.sessions.delete(made) is True
    assert await lab.store.sessions.delete(made) is False
    assert await lab.store.sessions.delete("nothing") is False
    assert await lab.talks.get(made) is None
    assert await listed(lab, "state:all") == []


async def test_the_same_key_again_gives_the_first_answer(lab: Lab) -> None:
    made = await lab.talk("hello")
    other = await lab.talk("hello", user="bob")
    sessions = lab.store.sessions
    ended = await sessions.end(made, reason="by hand", key="k1")
    assert await sessions.end(made, reason="by hand", key="k1") == ended
    with pytest.raises(KeyReusedError):
        await sessions.end(made, reason="otherwise", key="k1")
    assert await sessions.delete(other, key="k2") is True
    assert await sessions.delete(other, key="k2") is True
    assert await sessions.delete(other, key="k3") is False
