"""Sweeps and runners: what is due is done once, in bounded passes, beside the program or on request."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from sojourn import InvalidValueError, Messages, NotFoundError, Swept

if TYPE_CHECKING:
    from tests.conversations.conftest import Lab


async def test_a_sweep_does_all_that_is_due_and_counts_it(lab: Lab) -> None:
    await lab.talk("a", user="old")
    lab.later(hours=24)
    await lab.long_talk(101)
    gone = await lab.talk("x", user="bob")
    await lab.talks.delete(gone)
    swept = await lab.store.sweep()
    assert isinstance(swept, Swept)
    assert (swept["folded"], swept["archived"], swept["nothing"]) == (1, 1, 0)
    assert swept["purged"] >= 1
    assert swept.total == sum(swept.counts.values())
    again = await lab.store.sweep()
    assert again["folded"] == again["archived"] == again["purged"] == 0


async def test_a_dry_run_changes_nothing(lab: Lab) -> None:
    await lab.talk("a", user="old")
    lab.later(hours=24)
    await lab.long_talk(101)
    before = await lab.events()
    swept = await lab.store.sweep(dry_run=True)
    assert (swept["due"], swept["archived"]) == (1, 1)
    assert await lab.events() == before


async def test_a_sweep_is_bounded(lab: Lab) -> None:
    for number in range(7):
        await lab.talk("a", user=f"user {number}")
    lab.later(hours=24)
    assert (await lab.store.sweep(3))["archived"] == 3
    assert (await lab.store.sweep(limit=3))["archived"] == 3
    assert (await lab.store.sweep(3))["archived"] == 1


async def test_sweeps_at_once_do_everything_once(lab: Lab) -> None:
    for number in range(4):
        await lab.long_talk(101, user=f"user {number}")
    swept = await lab.together(*[lab.store.sweep for _ in range(3)])
    assert sum(one["folded"] for one in swept) == 4
    for found in await lab.talks.list():
        assert (await lab.texts(found.id))[0] == "[1-50]"


async def test_a_conversation_deleted_while_it_is_summarised_harms_no_sweep(lab: Lab) -> None:
    made: list[str] = []

    def summarise(_: Messages) -> str:
        if lab.blocking:
            lab.in_thread(lambda: lab.talks.delete(made[0]))
        return "summary"

    async def think(_: Messages) -> str:
        await lab.talks.delete(made[0])
        return "summary"

    store = lab.under(summarise=summarise if lab.blocking else think)
    made.append(await lab.long_talk(101, talks=store.conversations))
    assert (await store.sweep())["folded"] == 0
    assert await lab.talks.get(made[0]) is None


async def test_a_conversation_ended_while_it_is_summarised_harms_no_sweep(lab: Lab) -> None:
    made: list[str] = []

    def summarise(_: Messages) -> str:
        if lab.blocking:
            lab.in_thread(lambda: lab.talks.end(made[0]))
        return "summary"

    async def think(_: Messages) -> str:
        await lab.talks.end(made[0])
        return "summary"

    store = lab.under(summarise=summarise if lab.blocking else think)
    made.append(await lab.long_talk(101, talks=store.conversations))
    assert (await store.sweep())["folded"] == 0
    assert len(await lab.texts(made[0])) == 101


async def test_a_sweep_of_one_tenant_leaves_the_others_alone(lab: Lab) -> None:
    other = lab.store.for_tenant("other")
    await lab.long_talk(101)
    await lab.long_talk(101, talks=other.conversations)
    assert (await lab.store.sweep())["folded"] == 1
    assert (await other.sweep())["folded"] == 1


async def test_a_runner_folds_beside_the_program(lab: Lab) -> None:
    store = lab.under(summarise=lab.brief)
    made = await lab.long_talk(60, talks=store.conversations)
    cursor = (await lab.events())[-1].cursor
    async with store.runner(every=timedelta(seconds=20)) as runner:
        await store.conversations.extend(made, lab.in_turn(lab.numbered(60, 61)))
        async for event in store.watch(id=made, after=cursor, timeout=timedelta(seconds=30)):
            if event.change == "folded":
                break
        else:
            raise AssertionError("nothing was folded")
    assert runner.passes >= 1
    assert runner.last_error is None
    assert (await lab.texts(made))[0] == "[1-60]"


async def test_a_runner_goes_on_when_a_summariser_fails(lab: Lab) -> None:
    tried = threading.Event()

    def fail(messages: Messages) -> str:
        if messages[0].text == "bad":
            tried.set()
            raise ValueError("out of order")
        return "summary"

    store = lab.under(summarise=fail)
    await lab.talk("bad", *lab.numbered(100), talks=store.conversations)
    cursor = (await lab.events())[-1].cursor
    async with store.runner(every=timedelta(seconds=20)) as runner:
        made = await lab.long_talk(101, user="bob", talks=store.conversations)
        async for event in store.watch(id=made, after=cursor, timeout=timedelta(seconds=30)):
            if event.change == "folded":
                break
    assert tried.is_set()
    assert runner.last_error is None


async def test_a_runner_says_why_the_store_cannot_be_swept_and_goes_on(lab: Lab) -> None:
    from sojourn import UnavailableError

    inner: Any = lab.store._inner._aio._engine if lab.blocking else lab.store._engine  # type: ignore[attr-defined]
    failed, healed = threading.Event(), threading.Event()
    due, broken = inner.due, [True]

    async def flaky(*args: Any) -> Any:
        if broken[0]:
            failed.set()
            raise UnavailableError("down for maintenance.")
        healed.set()
        return await due(*args)

    inner.due = flaky
    async with lab.store.runner(every=timedelta(milliseconds=50)) as runner:
        await until(lab, failed)
        while runner.last_error is None:
            await turn(lab)
        assert getattr(runner.last_error, "code", None) == "engine.unavailable"
        broken[0] = False
        await until(lab, healed)
        while runner.last_error is not None:
            await turn(lab)


async def until(lab: Lab, event: threading.Event) -> None:
    """Wait for something that the runner does."""
    if lab.blocking:
        assert event.wait(30)
    else:
        while not event.is_set():
            await turn(lab)


async def turn(lab: Lab) -> None:
    """Let the runner go on."""
    if lab.blocking:
        give_way()
    else:
        await asyncio.sleep(0)


def give_way() -> None:
    """To another thread."""
    time.sleep(0)


async def test_a_runner_stops_when_it_is_left(lab: Lab) -> None:
    async with lab.store.runner() as runner:
        pass
    passes = runner.passes
    await lab.long_talk(101)
    assert runner.passes == passes


async def test_a_program_may_go_on_while_runners_run(lab: Lab) -> None:
    store = lab.under(fold_above=10, summarise=lab.brief)
    made = await lab.talk(talks=store.conversations)
    async with store.runner(), store.runner():
        for number in range(100):
            await store.conversations.append(made, "user", f"message {number + 1}")
    while (await store.sweep()).total:
        pass
    everything = await lab.talks.messages(made, include_folded=True)
    assert [message.text for message in everything if message.covers is None] == lab.numbered(100)
    shown = await lab.texts(made)
    assert len(shown) <= 12
    assert [text for text in shown if text.startswith("[")] == shown[:1]


@pytest.mark.parametrize("limit", [0, -1, "5", None, True, 1.5, 10**9])
async def test_a_limit_is_a_number(lab: Lab, limit: Any) -> None:
    with pytest.raises(InvalidValueError):
        await lab.store.sweep(limit)
    with pytest.raises(InvalidValueError):
        lab.store.runner(limit=limit)


async def test_sweeping_finds_nothing_in_an_empty_store(lab: Lab) -> None:
    assert (await lab.store.sweep()).counts == {}
    with pytest.raises(NotFoundError):
        await lab.talks.messages("0" * 26)


async def test_a_runner_of_blocking_code_says_that_a_summariser_must_not_wait(lab: Lab) -> None:
    if not lab.blocking:
        return

    class Wait:
        def __await__(self) -> Any:
            yield

    async def summarise(_: Messages) -> str:
        await Wait()
        return "never"

    store = lab.under(summarise=summarise)
    made = await lab.long_talk(101, talks=store.conversations)
    cursor = (await lab.events())[-1].cursor

    async def run() -> None:
        async with store.runner():
            async for event in store.watch(id=made, after=cursor, timeout=timedelta(seconds=30)):
                assert event.change == "fold_claimed"
                break

    with pytest.raises(RuntimeError, match="plain function"):
        await run()
