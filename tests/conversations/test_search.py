"""Search: all the words, wherever they are, indexed or not, and nothing that should not be found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from sojourn import Hit, InvalidValueError, LimitError, UnsupportedError

if TYPE_CHECKING:
    from tests.conversations.conftest import Lab


pytestmark = pytest.mark.search


def found(hits: list[Hit]) -> list[int]:
    """Where the hits are."""
    return [hit.message.sequence for hit in hits]


@pytest.fixture(params=["commit", "deferred", "deferred and indexed"])
def way(request: pytest.FixtureRequest) -> str:
    """How messages come into the index."""
    return str(request.param)


async def filled(lab: Lab, way: str, *texts: str, **more: Any) -> tuple[Any, str]:
    """A store under that policy, and a conversation of these texts."""
    store = lab.under(search=way.split()[0])
    made = await lab.talk(*texts, talks=store.conversations, **more)
    if "indexed" in way:
        await store.sweep()
    return store, made


async def test_all_words_must_be_there(lab: Lab, way: str) -> None:
    store, made = await filled(lab, way, "the red house", "the red door", "a blue house")
    search = store.conversations.search
    assert found(await search("red")) == [2, 1]
    assert found(await search("red house")) == [1]
    assert found(await search("HOUSE Red ")) == [1]
    assert found(await search("red house blue")) == []
    assert [hit.conversation_id for hit in await search("blue")] == [made]


async def test_the_last_word_may_be_a_beginning(lab: Lab, way: str) -> None:
    store, _ = await filled(lab, way, "reddish", "red", "bored")
    search = store.conversations.search
    assert found(await search("red")) == [2, 1]
    assert found(await search("red ")) == [2]
    assert found(await search("reddi")) == [1]


async def test_words_are_folded_as_unicode_says(lab: Lab, way: str) -> None:
    store, _ = await filled(lab, way, "Straße in ZÜRICH", "ﬁne ｗｉｄｅ letters", "ДОМ дома", "你好 世界")
    search = store.conversations.search
    assert found(await search("STRASSE zürich")) == [1]
    assert found(await search("fine wide")) == [2]
    assert found(await search("дом")) == [3]
    assert found(await search("世界")) == [4]


async def test_newest_come_first_and_no_more_than_asked_for(lab: Lab, way: str) -> None:
    store, _ = await filled(lab, way, *[f"word {number}" for number in range(30)])
    hits = await store.conversations.search("word", limit=5)
    assert found(hits) == [30, 29, 28, 27, 26]
    assert len(await store.conversations.search("word")) == 20


async def test_a_hit_shows_the_message_and_the_words_in_it(lab: Lab, way: str) -> None:
    store, made = await filled(lab, way, "x " * 200 + "the needle is here " + "y " * 200)
    (hit,) = await store.conversations.search("needle")
    assert (hit.conversation_id, hit.message.sequence, hit.message.role) == (made, 1, "user")
    assert "needle" in hit.snippet
    assert len(hit.snippet) < 150
    assert hit.snippet.startswith("…")


async def test_folded_and_hidden_messages_are_found_and_say_so(lab: Lab, way: str) -> None:
    store, made = await filled(lab, way, "needle", *lab.numbered(59))
    await store.conversations.consolidate(made, summarise=lab.brief)
    await store.conversations.hide(made, 60)
    (hit,) = await store.conversations.search("needle")
    assert (hit.message.folded, hit.message.hidden) == (True, False)
    (other,) = await store.conversations.search("message 59")
    assert (other.message.folded, other.message.hidden) == (False, True)


async def test_a_search_may_be_in_one_persons_or_one_channels(lab: Lab, way: str) -> None:
    store = lab.under(search=way.split()[0])
    talks = store.conversations
    ann, bob = await lab.talk(talks=talks), await lab.talk(user="bob", talks=talks)
    await talks.append(ann, "user", "needle", channel="telegram")
    await talks.append(ann, "user", "needle", channel="discord")
    await talks.append(bob, "user", "needle", channel="telegram")
    if "indexed" in way:
        await store.sweep()
    assert len(await talks.search("needle")) == 3
    assert {(hit.conversation_id, hit.message.sequence) for hit in await talks.search("needle", user_id="ann")} == {
        (ann, 1), (ann, 2),
    }  # fmt: skip
    assert {hit.conversation_id for hit in await talks.search("needle", channel="telegram")} == {ann, bob}
    assert [hit.conversation_id for hit in await talks.search("needle", user_id="bob", channel="telegram")] == [bob]
    assert await talks.search("needle", user_id="bob", channel="discord") == []
    assert await talks.search("needle", user_id="nobody") == []


async def test_what_is_not_yet_indexed_is_found_beside_what_is(lab: Lab) -> None:
    made = await lab.talk("needle one")
    await lab.store.sweep()
    await lab.talks.append(made, "user", "needle two")
    assert found(await lab.talks.search("needle")) == [2, 1]
    await lab.store.sweep()
    assert found(await lab.talks.search("needle")) == [2, 1]
    assert (await lab.store.sweep())["indexed"] == 0


async def test_policies_of_search_may_change_over_time(lab: Lab) -> None:
    made = await lab.talk("needle off", talks=lab.under(search="off").conversations)
    await lab.under(search="commit").conversations.append(made, "user", "needle commit")
    await lab.under(search="deferred").conversations.append(made, "user", "needle deferred")
    await lab.under(search="commit").conversations.append(made, "user", "needle again")
    assert sorted(found(await lab.talks.search("needle"))) == [2, 3, 4]
    await lab.store.sweep()
    assert sorted(found(await lab.talks.search("needle"))) == [2, 3, 4]


async def test_a_search_finds_what_forks_share_once(lab: Lab, way: str) -> None:
    store, made = await filled(lab, way, "needle")
    fork = await store.conversations.fork(made)
    await store.conversations.append(fork.id, "user", "needle too")
    hits = await store.conversations.search("needle")
    assert {(hit.conversation_id, hit.message.sequence) for hit in hits} == {(made, 1), (fork.id, 2)}


async def test_what_a_fork_shares_is_found_when_the_parent_is_gone(lab: Lab, way: str) -> None:
    store, made = await filled(lab, way, "needle")
    fork = await store.conversations.fork(made)
    await store.conversations.delete(made)
    hits = await store.conversations.search("needle")
    assert [(hit.conversation_id, hit.message.sequence) for hit in hits] == [(fork.id, 1)]


async def test_what_a_user_types_is_never_syntax(lab: Lab, way: str) -> None:
    store, _ = await filled(lab, way, "near and or not words", 'say "hello" world', "a*b c:d e-f (g)")
    search = store.conversations.search
    for query in (
        '"',
        "a OR b",
        "near(",
        "words:",
        "-words",
        "NOT words",
        "wo*",
        "'; drop table x; --",
        "a:b",
        "(",
        "^a",
        "{a}",
    ):
        try:
            await search(query)
        except InvalidValueError:
            continue
    assert found(await search("NOT words")) == [1]
    assert found(await search('"hello" (world)')) == [2]
    assert found(await search("c:d")) == [3]


async def test_only_the_beginning_of_a_long_message_is_searched(lab: Lab, way: str) -> None:
    store, _ = await filled(lab, way, "early " + "x " * 140_000 + " late")
    assert found(await store.conversations.search("early")) == [1]
    assert found(await store.conversations.search("late")) == []


async def test_summaries_are_not_found_but_what_they_stand_for_is(lab: Lab, way: str) -> None:
    store, made = await filled(lab, way, "needle", *lab.numbered(59))
    await store.conversations.consolidate(made)
    await store.sweep()
    assert found(await store.conversations.search("needle")) == [1]


async def test_a_store_without_search_says_so(lab: Lab) -> None:
    talks = lab.under(search="off").conversations
    with pytest.raises(UnsupportedError) as caught:
        await talks.search("x")
    assert (caught.value.code, bool(caught.value.hint)) == ("engine.unsupported", True)


@pytest.mark.parametrize(
    ("query", "more"),
    [
        ("", {}), (" ", {}), ("?!", {}), (5, {}), (None, {}), ("\0", {}), ("\ud800", {}), ("x" * 4097, {}),
        ("x", {"limit": 0}), ("x", {"limit": 1001}), ("x", {"limit": "5"}), ("x", {"limit": True}),
        ("x", {"user_id": ""}), ("x", {"user_id": 1.5}), ("x", {"channel": 1.5}), ("x", {"channel": "\0"}),
    ],
)  # fmt: skip
async def test_what_is_searched_for_is_checked(lab: Lab, query: Any, more: dict[str, Any]) -> None:
    await lab.talk("x")
    with pytest.raises((InvalidValueError, LimitError)):
        await lab.talks.search(query, **more)
