"""The window: what a model is given fits its budget and begins and ends where it is safe."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sojourn
from sojourn import ConversationPolicy, InvalidValueError, Message, approximate_tokens
from sojourn.core.codec import encode

if TYPE_CHECKING:
    from tests.conversations.conftest import Lab


def cost(messages: Any, count: Callable[[str], int] = approximate_tokens) -> int:
    """What a model would be charged for these."""
    return sum(count(message.text + (encode(message.tool_calls) if message.tool_calls else "")) for message in messages)


async def test_the_newest_messages_that_fit_are_kept_in_order(lab: Lab) -> None:
    made = await lab.talk(*["x" * 40] * 9, "y" * 40)
    window = await lab.talks.window(made, budget=35)
    assert [message.sequence for message in window] == [8, 9, 10]
    assert cost(window) <= 35
    assert [message.sequence for message in await lab.talks.window(made, budget=10)] == [10]
    assert list(await lab.talks.window(made, budget=9)) == []
    assert len(await lab.talks.window(made, budget=10_000)) == 10


async def test_tokens_are_counted_as_the_caller_says(lab: Lab) -> None:
    made = await lab.talk("one two three", "four five", "six")
    window = await lab.talks.window(made, budget=3, count=lambda text: len(text.split()))
    assert lab.shown(window) == ["four five", "six"]


async def test_summaries_come_first(lab: Lab) -> None:
    made = await lab.long_talk(60)
    await lab.talks.consolidate(made, summarise=lab.brief)
    window = await lab.talks.window(made, budget=60)
    assert lab.shown(window)[0] == "[1-30]"
    assert lab.shown(window)[-1] == "message 60"
    assert cost(window) <= 60


async def test_the_summary_that_was_carried_over_comes_first_however_long_the_new_conversation_is(lab: Lab) -> None:
    talks = lab.under(fold_above=None).conversations
    await lab.talk("The code word is zanzibar.")
    lab.later(hours=25)
    new = await talks.get_or_create("ann")
    await talks.extend(new.id, lab.in_turn(lab.numbered(500)))
    window = await talks.window(new.id, budget=500)
    assert "zanzibar" in window[0].text
    assert window[-1].text == "message 500"


async def test_a_summary_that_fits_beside_all_messages_is_never_left_out(lab: Lab) -> None:
    made = await lab.long_talk(60)
    await lab.talks.consolidate(made, keep=2, summarise=lambda _: "s" * 400)
    window = await lab.talks.window(made, budget=110)
    assert lab.shown(window) == ["[1-58]", "message 59", "message 60"]


async def test_a_summary_leaves_room_for_the_newest_message(lab: Lab) -> None:
    made = await lab.long_talk(60)
    await lab.talks.append(made, "user", "x" * 400)
    await lab.talks.consolidate(made, keep=1, summarise=lambda _: "s" * 400)
    assert lab.shown(await lab.talks.window(made, budget=199)) == ["x" * 400]
    assert lab.shown(await lab.talks.window(made, budget=200)) == ["[1-60]", "x" * 400]


async def test_a_call_and_its_results_are_in_together_or_out_together(lab: Lab) -> None:
    made = await lab.talk()
    await lab.talks.append(made, "user", "Weather?")
    await lab.talks.append(made, "assistant", "", tool_calls=[{"id": "c1"}])
    await lab.talks.append(made, "tool", "sunny " * 20, tool_call_id="c1")
    await lab.talks.append(made, "assistant", "Sunny.")
    whole = await lab.talks.window(made, budget=1000)
    assert [message.sequence for message in whole] == [1, 2, 3, 4]
    assert [m.sequence for m in await lab.talks.window(made, budget=cost(whole[2:]))] == [4]
    assert [m.sequence for m in await lab.talks.window(made, budget=cost(whole[1:]))] == [2, 3, 4]


async def test_a_call_that_never_got_its_result_is_left_out(lab: Lab) -> None:
    made = await lab.talk()
    await lab.talks.append(made, "user", "Weather?")
    await lab.talks.append(made, "assistant", "Looking.", tool_calls=[{"id": "c1"}, {"id": "c2"}])
    await lab.talks.append(made, "tool", "sunny", tool_call_id="c2")
    await lab.talks.append(made, "assistant", "", tool_calls=[{"id": "c3"}])
    await lab.talks.append(made, "user", "Hello?")
    window = await lab.talks.window(made, budget=1000)
    assert [(message.text, message.tool_calls) for message in window] == [
        ("Weather?", None), ("Looking.", [{"id": "c2"}]), ("sunny", None), ("Hello?", None),
    ]  # fmt: skip


async def test_a_result_whose_call_is_not_there_is_left_out(lab: Lab) -> None:
    made = await lab.talk()
    await lab.talks.append(made, "tool", "early", tool_call_id="c1")
    await lab.talks.append(made, "assistant", "x", tool_calls=[{"id": "c1"}])
    await lab.talks.append(made, "tool", "sunny", tool_call_id="c9")
    await lab.talks.append(made, "user", "Hello?")
    assert lab.shown(await lab.talks.window(made, budget=1000)) == ["x", "Hello?"]


async def test_a_call_folded_away_takes_its_results_with_it(lab: Lab) -> None:
    made = await lab.long_talk(29)
    await lab.talks.append(made, "assistant", "", tool_calls=[{"id": "c1"}, {"id": "c2"}])
    await lab.talks.append(made, "tool", "one", tool_call_id="c1")
    await lab.talks.append(made, "tool", "two", tool_call_id="c2")
    await lab.talks.extend(made, lab.in_turn(lab.numbered(28, 33)))
    summary = await lab.talks.consolidate(made)
    assert summary is not None
    assert summary.covers == (1, 32)
    window = await lab.talks.window(made, budget=10_000)
    assert [message.tool_call_id for message in window] == [None] * 29


async def test_ids_of_calls_that_are_used_again_still_find_their_results(lab: Lab) -> None:
    made = await lab.talk()
    for number in (1, 2, 3):
        await lab.talks.append(made, "user", f"question {number}")
        await lab.talks.append(made, "assistant", "", tool_calls=[{"id": "call_0"}])
        await lab.talks.append(made, "tool", f"result {number}", tool_call_id="call_0")
    window = await lab.talks.window(made, budget=10_000)
    assert [message.text for message in window if message.tool_call_id] == ["result 1", "result 2", "result 3"]
    assert [message.sequence for message in window] == list(range(1, 10))


async def test_hidden_messages_are_not_in_the_window(lab: Lab) -> None:
    made = await lab.long_talk(4)
    await lab.talks.hide(made, 2)
    await lab.talks.pop(made)
    assert lab.shown(await lab.talks.window(made, budget=1000)) == ["message 1", "message 3"]


async def test_repairs_are_in_the_window_behind_their_calls(lab: Lab) -> None:
    made = await lab.talk()
    await lab.talks.append(made, "assistant", "", tool_calls=[{"id": "c1"}])
    await lab.talks.append(made, "user", "Hello?")
    await lab.talks.repair(made)
    window = await lab.talks.window(made, budget=1000)
    assert [(message.role, message.tool_call_id) for message in window] == [("assistant", None), ("tool", "c1"), ("user", None)]


async def test_a_long_conversation_is_not_read_whole_for_a_small_window(lab: Lab) -> None:
    talks = lab.under(fold_above=None).conversations
    made = await lab.long_talk(3000, talks=talks)
    counted: list[str] = []

    def count(text: str) -> int:
        counted.append(text)
        return 1

    assert len(await talks.window(made, budget=20, count=count)) == 20
    assert len(counted) < 1000
    assert len(await talks.window(made, budget=5000, count=lambda _: 1)) == 3000


@pytest.mark.parametrize("budget", [0, -1, "5", None, True, 1.5])
async def test_a_budget_is_a_whole_number_from_1(lab: Lab, budget: object) -> None:
    made = await lab.talk("hello")
    with pytest.raises(InvalidValueError):
        await lab.talks.window(made, budget=budget)  # type: ignore[arg-type]


# -- whatever the messages are -----------------------------------------------------------------------------------------

IDS = st.sampled_from(["c1", "c2", "c3"])
TEXT = st.text("abcdef ü", max_size=60)
PLAIN = st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "system"]), "content": TEXT})
CALLS = st.builds(
    lambda text, ids: {"role": "assistant", "content": text, "tool_calls": [{"id": id} for id in ids]},
    TEXT,
    st.lists(IDS, min_size=1, max_size=3, unique=True),
)
RESULT = st.builds(lambda text, id: {"role": "tool", "content": text, "tool_call_id": id}, TEXT, IDS)
TURN = st.builds(
    lambda call, texts: [
        call,
        *(
            {"role": "tool", "content": text, "tool_call_id": made["id"]}
            for made, text in zip(call["tool_calls"], texts, strict=False)
        ),
    ],
    CALLS,
    st.lists(TEXT, max_size=3),
)
TALK = st.lists(st.one_of(PLAIN.map(lambda row: [row]), CALLS.map(lambda row: [row]), RESULT.map(lambda row: [row]), TURN)).map(
    lambda parts: [row for part in parts for row in part]
)


def made_of(rows: list[dict[str, Any]], folds: list[int], hidden: list[int]) -> tuple[sojourn.Store, str]:
    """A conversation of these messages, folded after some and with some hidden."""
    store = sojourn.open("memory:", conversations=ConversationPolicy(summarise=lambda messages: f"summary of {len(messages)}"))
    talk = store.conversations.create("ann").id
    for place, row in enumerate(rows, 1):
        store.conversations.extend(talk, [row])
        if place in folds:
            store.conversations.consolidate(talk, keep=2)
    for sequence in hidden:
        if sequence <= len(rows):
            store.conversations.hide(talk, sequence)
    return store, talk


@settings(max_examples=150, deadline=None)
@given(
    TALK,
    st.integers(1, 200),
    st.lists(st.integers(1, 20), max_size=3),
    st.lists(st.integers(1, 20), max_size=3),
    st.booleans(),
)
def test_whatever_was_said_a_window_is_safe_and_fits(
    rows: list[dict[str, Any]], budget: int, folds: list[int], hidden: list[int], repaired: bool
) -> None:
    store, talk = made_of(rows, folds, hidden)
    if repaired:
        store.conversations.repair(talk)
    window = list(store.conversations.window(talk, budget=budget))
    whole = list(store.conversations.window(talk, budget=1_000_000))
    assert cost(window) <= budget
    for shown in (window, whole):
        no_orphans(shown)
        in_order(shown)
    assert_newest(window, whole, budget)
    store.close()


def no_orphans(window: list[Message]) -> None:
    """Each call is answered before anybody else speaks, and each result answers a call that is open."""
    open_calls: list[Any] = []
    for message in window:
        if message.tool_call_id is not None:
            assert message.tool_call_id in open_calls, "a result without its call"
            open_calls.remove(message.tool_call_id)
        else:
            assert not open_calls, "a call without its result"
            open_calls = [call["id"] for call in message.tool_calls or ()]
    assert not open_calls, "a call without its result at the end"


def in_order(window: list[Message]) -> None:
    """Summaries first, then messages by sequence, but that results stand behind their calls."""
    kinds = [message.summary for message in window]
    assert kinds == sorted(kinds, reverse=True)
    for part in ([m for m in window if m.summary], [m for m in window if not m.summary and m.tool_call_id is None]):
        assert [message.place for message in part] == sorted(message.place for message in part)


def assert_newest(window: list[Message], whole: list[Message], budget: int) -> None:
    """What is kept of the messages is the end of what there is, and what comes before it would not have fitted."""
    kept = [message for message in window if not message.summary]
    all_messages = [message for message in whole if not message.summary]
    assert kept == all_messages[len(all_messages) - len(kept) :]
    if len(kept) < len(all_messages):
        piece = [all_messages[len(all_messages) - len(kept) - 1]]
        while piece[0].tool_call_id is not None:
            piece.insert(0, all_messages[len(all_messages) - len(kept) - len(piece) - 1])
        assert cost(window) + cost(piece) > budget


@given(st.text())
def test_about_one_token_for_four_bytes(text: str) -> None:
    assert approximate_tokens(text) == max(1, -(-len(text.encode(errors="replace")) // 4))
