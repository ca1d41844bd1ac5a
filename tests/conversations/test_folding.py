"""Folding: a summary stands for the older half, nothing is lost, and it can be undone."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from sojourn import ConflictError, EndedError, InvalidValueError, Message, Messages, NotFoundError, SummariserError, extractive

if TYPE_CHECKING:
    from tests.conversations.conftest import Lab


async def test_the_older_half_is_folded_into_one_summary(lab: Lab) -> None:
    made = await lab.long_talk(100)
    summary = await lab.talks.consolidate(made)
    assert summary is not None
    assert (summary.role, summary.channel, summary.covers, summary.summary) == ("system", "", (1, 50), True)
    assert summary.sequence == 101
    assert await lab.texts(made) == ["[1-50]", *lab.numbered(50, 51)]
    found = await lab.talks.get(made)
    assert found is not None
    assert (found.id, found.folded_through, found.message_count) == (made, 50, 100)


async def test_the_half_of_an_odd_number_is_its_floor(lab: Lab) -> None:
    made = await lab.long_talk(61)
    summary = await lab.talks.consolidate(made)
    assert summary is not None
    assert summary.covers == (1, 30)


@pytest.mark.parametrize(("keep", "covered"), [(0.5, 5), (0.3, 7), (0.9, 1), (0.8, 2), (0.7, 3), (0.25, 7), (0.99, None)])
async def test_fold_keep_is_the_share_that_stays(lab: Lab, keep: float, covered: int | None) -> None:
    talks = lab.under(fold_above=4, fold_keep=keep).conversations
    made = await lab.long_talk(10)
    summary = await talks.consolidate(made)
    assert (None if summary is None else summary.covers) == (None if covered is None else (1, covered))


async def test_nothing_is_folded_at_or_under_half_of_fold_above(lab: Lab) -> None:
    made = await lab.long_talk(50)
    before = await lab.events()
    assert await lab.talks.consolidate(made) is None
    assert await lab.events() == before
    await lab.talks.append(made, "user", "one more")
    summary = await lab.talks.consolidate(made)
    assert summary is not None
    assert summary.covers == (1, 25)


async def test_an_odd_fold_above_has_half_a_message(lab: Lab) -> None:
    talks = lab.under(fold_above=5).conversations
    made = await lab.long_talk(2)
    assert await talks.consolidate(made) is None
    await talks.append(made, "user", "third")
    assert await talks.consolidate(made) is not None


async def test_keep_says_how_many_messages_stay(lab: Lab) -> None:
    made = await lab.long_talk(10)
    summary = await lab.talks.consolidate(made, keep=3)
    assert summary is not None
    assert summary.covers == (1, 7)
    assert await lab.talks.consolidate(made, keep=3) is None
    assert await lab.talks.consolidate(made, keep=99) is None
    everything = await lab.talks.consolidate(made, keep=0)
    assert everything is not None
    assert everything.covers == (1, 10)
    assert await lab.texts(made) == ["[1-10]"]
    assert await lab.talks.consolidate(made, keep=0) is None


async def test_an_empty_conversation_has_nothing_to_fold(lab: Lab) -> None:
    made = await lab.talk()
    assert await lab.talks.consolidate(made) is None
    assert await lab.talks.consolidate(made, keep=0) is None


async def test_a_fold_is_triggered_strictly_above(lab: Lab) -> None:
    made = await lab.long_talk(100)
    assert (await lab.store.sweep())["folded"] == 0
    await lab.talks.append(made, "user", "message 101")
    assert (await lab.store.sweep())["folded"] == 1
    assert await lab.texts(made) == ["[1-50]", *lab.numbered(51, 51)]
    assert (await lab.store.sweep())["folded"] == 0


async def test_a_fold_is_triggered_by_one_batch_of_many(lab: Lab) -> None:
    made = await lab.long_talk(101)
    assert (await lab.store.sweep())["folded"] == 1
    found = await lab.talks.get(made)
    assert found is not None
    assert found.folded_through == 50


async def test_the_next_read_folds_what_is_due(lab: Lab) -> None:
    made = await lab.long_talk(101)
    window = await lab.talks.window(made, budget=100_000)
    assert lab.shown(window) == ["[1-50]", *lab.numbered(51, 51)]
    other = await lab.long_talk(101, user="bob")
    assert await lab.texts(other) == ["[1-50]", *lab.numbered(51, 51)]
    third = await lab.long_talk(101, user="cat")
    assert (await lab.texts(third, last=2)) == lab.numbered(2, 100)
    assert (await lab.texts(third, before=2)) == ["[1-50]"]
    fourth = await lab.long_talk(101, user="dan")
    found = await lab.talks.get(fourth, with_messages=True)
    assert found is not None
    assert (found.folded_through, len(found.messages)) == (50, 52)
    fifth = await lab.long_talk(101, user="eve")
    current = await lab.talks.get_or_create("eve")
    assert (current.id, current.folded_through, len(current.messages)) == (fifth, 50, 52)


async def test_a_read_never_runs_a_custom_summariser(lab: Lab) -> None:
    def summarise(_: Messages) -> str:
        raise AssertionError("a read must not summarise")

    talks = lab.under(summarise=summarise).conversations
    made = await lab.long_talk(101, talks=talks)
    assert len(await talks.messages(made)) == 101
    assert len(await talks.window(made, budget=100_000)) == 101


async def test_no_fold_is_due_when_there_is_no_threshold(lab: Lab) -> None:
    store = lab.under(fold_above=None)
    made = await lab.long_talk(300, talks=store.conversations)
    assert (await store.sweep())["folded"] == 0
    assert len(await store.conversations.messages(made)) == 300
    summary = await store.conversations.consolidate(made)
    assert summary is not None
    assert summary.covers == (1, 150)


async def test_folds_may_be_by_tokens(lab: Lab) -> None:
    store = lab.under(fold_above=100, fold_by="tokens")
    made = await lab.talk(*["x" * 80] * 5, talks=store.conversations)
    assert (await store.sweep())["folded"] == 0
    await store.conversations.append(made, "user", "x" * 4)
    assert (await store.sweep())["folded"] == 1
    assert (await lab.texts(made))[0] == "[1-2]"


async def test_folds_may_be_by_turns(lab: Lab) -> None:
    store = lab.under(fold_above=3, fold_by="turns")
    made = await lab.talk(talks=store.conversations)
    for number in range(4):
        assert (await store.sweep())["folded"] == 0
        for role in ("user", "assistant", "assistant"):
            await store.conversations.append(made, role, f"{role} {number}")
    assert (await store.sweep())["folded"] == 1
    assert (await store.conversations.messages(made))[1].sequence == 7


async def test_originals_stay_stored(lab: Lab) -> None:
    made = await lab.long_talk(60)
    before = list(await lab.talks.messages(made))
    await lab.talks.consolidate(made)
    after = await lab.talks.messages(made, include_folded=True)
    assert [(m.sequence, m.content, m.created_at) for m in after if m.covers is None] == [
        (m.sequence, m.content, m.created_at) for m in before
    ]


async def test_appends_after_a_fold_go_on_counting(lab: Lab) -> None:
    made = await lab.long_talk(60)
    await lab.talks.consolidate(made)
    assert (await lab.talks.append(made, "user", "next")).sequence == 62


async def test_a_later_fold_builds_on_the_earlier_one(lab: Lab) -> None:
    made = await lab.long_talk(60)
    seen: list[list[str]] = []

    def summarise(messages: Messages) -> str:
        seen.append(lab.shown(messages))
        return f"summary {len(seen)}"

    await lab.talks.consolidate(made, summarise=summarise)
    await lab.talks.extend(made, lab.in_turn(lab.numbered(30, 61)))
    second = await lab.talks.consolidate(made, summarise=summarise)
    assert second is not None
    assert second.covers == (1, 60)
    assert seen == [lab.numbered(30), ["[1-30]", *lab.numbered(30, 31)]]
    assert await lab.texts(made) == ["[1-60]", *lab.numbered(30, 61)]
    assert await lab.texts(made, include_folded=True) == ["[1-60]", *lab.numbered(90)]


async def test_a_custom_summariser_gives_the_text(lab: Lab) -> None:
    made = await lab.long_talk(60)
    summary = await lab.talks.consolidate(made, summarise=lab.brief)
    assert summary is not None
    assert summary.text == "summary of 30"
    other = await lab.long_talk(60, user="bob")
    ruled = await lab.under(summarise=lambda messages: "by policy").conversations.consolidate(other)
    assert ruled is not None
    assert ruled.text == "by policy"


async def test_fold_and_unfold_are_other_names(lab: Lab) -> None:
    made = await lab.long_talk(60)
    summary = await lab.talks.fold(made, keep=50, summarise=lab.brief)
    assert summary is not None
    assert summary.covers == (1, 10)
    assert lab.shown(await lab.talks.unfold(made, summary.sequence)) == lab.numbered(10)


async def test_a_coroutine_may_summarise_for_asynchronous_code(lab: Lab) -> None:
    if lab.blocking:
        return

    async def summarise(messages: Messages) -> str:
        await asyncio.sleep(0)
        return f"thought about {len(messages)}"

    made = await lab.long_talk(60)
    summary = await lab.talks.consolidate(made, summarise=summarise)
    assert summary is not None
    assert summary.text == "thought about 30"


async def test_a_coroutine_that_waits_cannot_summarise_for_blocking_code(lab: Lab) -> None:
    if not lab.blocking:
        return

    class Wait:
        def __await__(self) -> Any:
            yield

    async def summarise(_: Messages) -> str:
        await Wait()
        return "never"

    made = await lab.long_talk(60)
    before = await lab.events()
    with pytest.raises((SummariserError, RuntimeError)):
        await lab.talks.consolidate(made, summarise=summarise)
    assert await lab.events() == before


@pytest.mark.parametrize("answer", [None, "", "  \n", 5, b"text", ["text"], "a\0b", "\ud800"])
async def test_a_summary_must_be_text(lab: Lab, answer: Any) -> None:
    made = await lab.long_talk(60)
    before = await lab.events()
    with pytest.raises((SummariserError, InvalidValueError)) as caught:
        await lab.talks.consolidate(made, summarise=lambda _: answer)
    assert caught.value.code == "fold.summariser"
    assert await lab.events() == before
    assert await lab.texts(made) == lab.numbered(60)


async def test_a_failed_summariser_changes_nothing(lab: Lab) -> None:
    made = await lab.long_talk(60)
    before, record = await lab.events(), await lab.talks.get(made)

    def fail(_: Messages) -> str:
        raise ValueError("out of order")

    with pytest.raises(SummariserError, match="out of order") as caught:
        await lab.talks.consolidate(made, summarise=fail)
    assert isinstance(caught.value.__cause__, ValueError)
    assert (await lab.events(), await lab.talks.get(made)) == (before, record)
    assert await lab.talks.consolidate(made) is not None


async def test_a_failed_summariser_changes_nothing_in_a_sweep_and_is_tried_again_later(lab: Lab) -> None:
    calls = []

    def fail(_: Messages) -> str:
        calls.append(1)
        raise ValueError("out of order")

    store = lab.under(summarise=fail)
    made = await lab.long_talk(101, talks=store.conversations)
    assert (await store.sweep())["fold_failed"] == 1
    assert (await store.sweep())["fold_failed"] == 0
    assert len(await store.conversations.messages(made)) == 101
    lab.later(minutes=6)
    assert (await store.sweep())["fold_failed"] == 1
    assert len(calls) == 2
    lab.later(minutes=6)
    assert (await lab.store.sweep())["folded"] == 1


async def test_two_at_once_fold_once(lab: Lab) -> None:
    made = await lab.long_talk(100)
    answers = await lab.together(*[lambda: lab.talks.consolidate(made) for _ in range(4)])
    messages = await lab.talks.messages(made)
    summaries = [message for message in messages if message.covers]
    assert [message.covers for message in summaries] == [(1, 50)]
    assert {answer.sequence for answer in answers if answer is not None} == {summaries[0].sequence}
    stored = await lab.talks.messages(made, include_folded=True)
    assert len(stored) == 101


async def test_sweeps_at_once_ask_the_summariser_once(lab: Lab) -> None:
    calls = []

    def summarise(_: Messages) -> str:
        calls.append(1)
        return "summary"

    store = lab.under(summarise=summarise)
    await lab.long_talk(101, talks=store.conversations)
    swept = await lab.together(*[store.sweep for _ in range(4)])
    assert sum(one["folded"] for one in swept) == len(calls) == 1


async def test_appends_during_a_slow_summariser_are_not_lost_and_do_not_wait(lab: Lab) -> None:
    made = await lab.long_talk(60)
    if lab.blocking:
        started, finish = threading.Event(), threading.Event()

        def summarise(_: Messages) -> str:
            started.set()
            assert finish.wait(30)
            return "slow"

        async def append() -> Message | None:
            assert started.wait(30)
            message = await lab.talks.append(made, "user", "meanwhile")
            finish.set()
            return message

        folded, appended = await lab.together(lambda: lab.talks.consolidate(made, summarise=summarise), append)
    else:
        begun, end = asyncio.Event(), asyncio.Event()

        async def think(_: Messages) -> str:
            begun.set()
            await end.wait()
            return "slow"

        async def append_meanwhile() -> Message | None:
            await begun.wait()
            message = await lab.talks.append(made, "user", "meanwhile")
            end.set()
            return message

        folded, appended = await lab.together(lambda: lab.talks.consolidate(made, summarise=think), append_meanwhile)
    assert folded is not None
    assert appended is not None
    assert (folded.covers, appended.sequence, folded.sequence) == ((1, 30), 61, 62)
    assert await lab.texts(made) == ["[1-30]", *lab.numbered(30, 31), "meanwhile"]


async def test_a_message_hidden_while_it_is_summarised_is_not_in_the_summary(lab: Lab) -> None:
    made = await lab.long_talk(60)
    seen: list[int] = []

    def summarise(messages: Messages) -> str:
        seen.append(len(messages))
        return "\n".join(messages.as_text().splitlines())

    if lab.blocking:
        started, finish = threading.Event(), threading.Event()

        def slow(messages: Messages) -> str:
            if not seen:
                started.set()
                assert finish.wait(30)
            return summarise(messages)

        async def hide() -> None:
            assert started.wait(30)
            await lab.talks.hide(made, 7)
            finish.set()

        summary, _ = await lab.together(lambda: lab.talks.consolidate(made, summarise=slow), hide)
    else:
        begun, end = asyncio.Event(), asyncio.Event()

        async def think(messages: Messages) -> str:
            if not seen:
                begun.set()
                await end.wait()
            return summarise(messages)

        async def hide_meanwhile() -> None:
            await begun.wait()
            await lab.talks.hide(made, 7)
            end.set()

        summary, _ = await lab.together(lambda: lab.talks.consolidate(made, summarise=think), hide_meanwhile)
    assert isinstance(summary, Message)
    assert "message 7\n" not in summary.text
    assert "message 8\n" in summary.text


async def test_a_message_redacted_while_it_is_summarised_is_not_in_the_summary(lab: Lab) -> None:
    made = await lab.long_talk(60)
    calls: list[int] = []

    def summarise(messages: Messages) -> str:
        calls.append(1)
        if len(calls) == 1:
            if lab.blocking:
                lab.in_thread(lambda: lab.talks.redact(made, 7))
            else:
                raise AssertionError("a coroutine is used")
        return messages.as_text()

    async def think(messages: Messages) -> str:
        calls.append(1)
        if len(calls) == 1:
            await lab.talks.redact(made, 7)
        return messages.as_text()

    summary = await lab.talks.consolidate(made, summarise=summarise if lab.blocking else think)
    assert summary is not None
    assert "message 7\n" not in summary.text
    assert "message 8\n" in summary.text


async def test_one_orphan_call_never_disables_folding(lab: Lab) -> None:
    made = await lab.talk()
    await lab.talks.append(made, "assistant", "", tool_calls=[{"id": "c1"}])
    await lab.talks.extend(made, lab.in_turn(lab.numbered(100)))
    assert (await lab.store.sweep())["folded"] == 1
    assert (await lab.texts(made))[0] == "[1-50]"


async def test_a_boundary_never_parts_a_call_from_its_results(lab: Lab) -> None:
    made = await lab.long_talk(49)
    await lab.talks.append(made, "assistant", "", tool_calls=[{"id": "c1"}, {"id": "c2"}])
    await lab.talks.append(made, "tool", "one", tool_call_id="c1")
    await lab.talks.append(made, "tool", "two", tool_call_id="c2")
    await lab.talks.extend(made, lab.in_turn(lab.numbered(48)))
    summary = await lab.talks.consolidate(made)
    assert summary is not None
    assert summary.covers == (1, 52)


async def test_calls_that_never_end_do_not_fold_everything(lab: Lab) -> None:
    made = await lab.long_talk(40)
    await lab.talks.append(made, "assistant", "", tool_calls=[{"id": "c1"}])
    await lab.talks.extend(made, lab.in_turn(lab.numbered(59, 42)))
    summary = await lab.talks.consolidate(made)
    assert summary is not None
    assert summary.covers == (1, 50)


# -- the built-in summariser -------------------------------------------------------------------------------------------


async def test_the_built_in_summary_mentions_every_message_with_role_and_gist(lab: Lab) -> None:
    made = await lab.talk()
    for number in range(60):
        await lab.talks.append(made, ("user", "assistant")[number % 2], f"topic{number} and some more words about it")
    summary = await lab.talks.consolidate(made)
    assert summary is not None
    for number in range(30):
        assert f"- {('user', 'assistant')[number % 2]}: topic{number} " in summary.text
    assert "topic30" not in summary.text


async def test_the_built_in_summary_keeps_what_matters_first(memory_lab: Lab) -> None:
    made = await memory_lab.talk()
    filler = "This is a long and rather empty sentence that goes on for quite a while without any point. " * 6
    for fact in (
        "We decided to take the train.",
        "It costs 1249 euros.",
        "See https://example.org/plan now.",
        "Ask Beatrix there.",
    ):
        await memory_lab.talks.append(made, "user", filler + fact + " " + filler)
    for _ in range(150):
        await memory_lab.talks.append(made, "assistant", filler)
    summary = await memory_lab.talks.consolidate(made, keep=0)
    assert summary is not None
    for fact in ("decided", "1249", "https://example.org/plan", "Beatrix"):
        assert fact in summary.text


async def test_the_built_in_summary_is_bounded_and_deterministic(memory_lab: Lab) -> None:
    made = await memory_lab.talk()
    await memory_lab.talks.extend(made, memory_lab.in_turn(["word " * 200] * 600))
    messages = await memory_lab.under(fold_above=None).conversations.messages(made, include_folded=True)
    one, two = extractive(messages), extractive(messages)
    assert one == two
    assert len(one) <= 32_000
    assert extractive(Messages()) == extractive([])


async def test_the_built_in_summary_keeps_earlier_facts_through_generations(lab: Lab) -> None:
    made = await lab.talk("We decided that the code word is zanzibar.")
    for _ in range(4):
        await lab.talks.extend(made, lab.in_turn(lab.numbered(100)))
        assert await lab.talks.consolidate(made) is not None
    (summary, *_) = await lab.talks.messages(made)
    assert "zanzibar" in summary.text


# -- expand ------------------------------------------------------------------------------------------------------------


async def test_expand_brings_the_originals_back(lab: Lab) -> None:
    made = await lab.long_talk(60)
    summary = await lab.talks.consolidate(made)
    assert summary is not None
    back = await lab.talks.expand(made, summary.sequence)
    assert lab.shown(back) == lab.numbered(30)
    assert await lab.texts(made) == lab.numbered(60)
    found = await lab.talks.get(made)
    assert found is not None
    assert found.folded_through == 0


async def test_expand_goes_back_through_every_generation(lab: Lab) -> None:
    made = await lab.long_talk(60)
    for start in (61, 91, 121):
        await lab.talks.consolidate(made, keep=30, summarise=lab.brief)
        await lab.talks.extend(made, lab.in_turn(lab.numbered(30, start)))
    third = (await lab.talks.messages(made))[0]
    assert third.covers == (1, 91 + 0) or third.covers is not None
    newest = lab.numbered(60, 91)
    assert await lab.texts(made) == ["[1-91]", *newest] or (await lab.texts(made))[0].startswith("[1-")
    generations = 0
    while (top := (await lab.talks.messages(made))[0]).covers is not None:
        shown = await lab.talks.expand(made, top.sequence)
        generations += 1
        assert lab.shown(shown)[0].startswith("[1-") or generations == 3
    assert generations == 3
    assert await lab.texts(made) == lab.numbered(150)


async def test_what_was_expanded_can_be_folded_again(lab: Lab) -> None:
    made = await lab.long_talk(60)
    first = await lab.talks.consolidate(made)
    assert first is not None
    await lab.talks.expand(made, first.sequence)
    second = await lab.talks.consolidate(made)
    assert second is not None
    assert (second.covers, second.sequence) == ((1, 30), 62)
    assert await lab.texts(made, include_folded=True) == ["[1-30]", *lab.numbered(60)]


async def test_only_a_listed_summary_can_be_expanded(lab: Lab) -> None:
    made = await lab.long_talk(60)
    first = await lab.talks.consolidate(made)
    await lab.talks.extend(made, lab.in_turn(lab.numbered(30, 61)))
    second = await lab.talks.consolidate(made)
    assert first is not None
    assert second is not None
    with pytest.raises(ConflictError) as caught:
        await lab.talks.expand(made, first.sequence)
    assert caught.value.hint
    for wrong in (1, 999, 0, -1, "1", None, True):
        with pytest.raises(NotFoundError):
            await lab.talks.expand(made, wrong)  # type: ignore[arg-type]
    await lab.talks.expand(made, second.sequence)
    with pytest.raises(ConflictError):
        await lab.talks.expand(made, second.sequence)
    await lab.talks.expand(made, first.sequence)
    assert await lab.texts(made) == lab.numbered(90)


async def test_counts_are_right_after_folds_and_expands(lab: Lab) -> None:
    made = await lab.long_talk(100)
    summary = await lab.talks.consolidate(made)
    assert summary is not None
    await lab.talks.expand(made, summary.sequence)
    assert (await lab.store.sweep())["folded"] == 0
    await lab.talks.append(made, "user", "message 101")
    assert (await lab.store.sweep())["folded"] == 1
    for number in range(49):
        await lab.talks.append(made, "user", f"message {102 + number}")
    assert (await lab.store.sweep())["folded"] == 0
    await lab.talks.append(made, "user", "message 151")
    assert (await lab.store.sweep())["folded"] == 1


# -- repair ------------------------------------------------------------------------------------------------------------


async def test_repair_closes_orphaned_calls_for_good(lab: Lab) -> None:
    made = await lab.talk()
    await lab.talks.append(made, "user", "Weather?")
    await lab.talks.append(made, "assistant", "", tool_calls=[{"id": "c1"}, {"id": "c2"}, {"id": "c3"}])
    await lab.talks.append(made, "tool", "sunny", tool_call_id="c2")
    await lab.talks.append(made, "user", "Hello?")
    assert await lab.talks.repair(made) == 2
    assert await lab.talks.repair(made) == 0
    messages = await lab.talks.messages(made)
    closed = [message for message in messages if message.sequence > 4]
    assert [(message.role, message.tool_call_id) for message in closed] == [("tool", "c1"), ("tool", "c3")]
    assert [message.sequence for message in messages] == [1, 2, 5, 6, 3, 4]
    found = await lab.talks.get(made)
    assert found is not None
    assert found.message_count == 4


async def test_repair_of_what_is_whole_stores_nothing(lab: Lab) -> None:
    made = await lab.talk("hello")
    before = await lab.events()
    assert await lab.talks.repair(made) == 0
    assert await lab.events() == before


async def test_a_call_whose_id_was_used_before_is_repaired_too(lab: Lab) -> None:
    made = await lab.talk()
    await lab.talks.append(made, "assistant", "", tool_calls=[{"id": "call_0"}])
    await lab.talks.append(made, "tool", "one", tool_call_id="call_0")
    await lab.talks.append(made, "assistant", "", tool_calls=[{"id": "call_0"}])
    await lab.talks.append(made, "user", "Hello?")
    assert await lab.talks.repair(made) == 1
    assert [message.sequence for message in await lab.talks.messages(made)] == [1, 2, 3, 5, 4]


async def test_a_repaired_conversation_folds_its_older_half_and_no_more(lab: Lab) -> None:
    made = await lab.long_talk(9)
    await lab.talks.append(made, "assistant", "", tool_calls=[{"id": "c1"}])
    await lab.talks.extend(made, lab.in_turn(lab.numbered(90, 11)))
    await lab.talks.repair(made)
    summary = await lab.talks.consolidate(made)
    assert summary is not None
    assert summary.covers == (1, 50)
    assert await lab.texts(made) == ["[1-50]", *lab.numbered(50, 51)]
    back = await lab.talks.expand(made, summary.sequence)
    assert [message.sequence for message in back][8:12] == [9, 10, 101, 11]


async def test_a_repair_right_before_the_boundary_does_not_move_it(lab: Lab) -> None:
    made = await lab.long_talk(49)
    await lab.talks.append(made, "assistant", "", tool_calls=[{"id": "c1"}])
    await lab.talks.extend(made, lab.in_turn(lab.numbered(50, 51)))
    await lab.talks.repair(made)
    summary = await lab.talks.consolidate(made)
    assert summary is not None
    assert summary.covers == (1, 50)
    assert await lab.texts(made) == ["[1-50]", *lab.numbered(50, 51)]


# -- what is refused ---------------------------------------------------------------------------------------------------


async def test_an_ended_conversation_is_not_folded(lab: Lab) -> None:
    made = await lab.long_talk(60)
    await lab.talks.end(made)
    for operation in (lab.talks.consolidate(made), lab.talks.repair(await _with_orphan(lab))):
        with pytest.raises(EndedError):
            await operation
    assert await lab.texts(made) == lab.numbered(60)


async def _with_orphan(lab: Lab) -> str:
    made = await lab.talk(user="bob")
    await lab.talks.append(made, "assistant", "", tool_calls=[{"id": "c1"}])
    await lab.talks.end(made)
    return made


async def test_folding_what_is_not_there_is_not_found(lab: Lab) -> None:
    for operation in (
        lab.talks.consolidate("0" * 26), lab.talks.expand("0" * 26, 1), lab.talks.repair("0" * 26), lab.talks.fold("x"),
    ):  # fmt: skip
        with pytest.raises(NotFoundError):
            await operation


@pytest.mark.parametrize("keep", [-1, 1.5, "3", True])
async def test_keep_is_a_whole_number(lab: Lab, keep: Any) -> None:
    made = await lab.long_talk(60)
    with pytest.raises(InvalidValueError):
        await lab.talks.consolidate(made, keep=keep)
