"""The scenarios: races that are claimed to be won, each with the guards that it is won by.

A scenario runs under many seeds and must hold; with one of its guards taken out it must fail (`test_guards`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import pytest

from sojourn import AsyncConversations, ConflictError, EndedError, LeaseHeldError, LeaseLostError, Messages, NotFoundError
from sojourn.core.batch import Batch, Create, Deadline, Guard, NewEntry, Write
from sojourn.core.ids import new_id
from sojourn.core.query import EntryQuery
from sojourn.core.times import SECOND, to_micros
from sojourn.testing.simulation import GUARDS, Outcome, Scenario, Simulation, explore, explore_crashes, pause


@dataclass(frozen=True)
class Race:
    """A scenario, how often it runs, and what it is won by."""

    scenario: Scenario
    seeds: int
    crashes: bool
    guards: tuple[str, ...]

    def run(self, seeds: int | None = None, *, without: str | None = None) -> None:
        """Run it under its seeds; raises `RaceLostError` when it is lost."""
        if self.crashes:
            assert explore_crashes(self.scenario, seeds=seeds or self.seeds, without=without) > 0
        else:
            explore(self.scenario, seeds=seeds or self.seeds, without=without)


RACES: Final[dict[str, Race]] = {}


def race(*guards: str, seeds: int = 150, crashes: bool = False) -> Callable[[Scenario], Scenario]:
    """Mark a scenario; with ``crashes``, its first operation is dropped after each of its steps."""

    def mark(scenario: Scenario) -> Scenario:
        assert set(guards) <= set(GUARDS)
        RACES[scenario.__name__] = Race(scenario, seeds, crashes, guards)
        return scenario

    return mark


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests that take a ``race``, or a ``race`` and a ``guard`` that it needs."""
    if "guard" in metafunc.fixturenames:
        pairs = [(race, guard) for race in RACES.values() for guard in race.guards]
        metafunc.parametrize(("race", "guard"), pairs, ids=[f"{one.scenario.__name__}-{guard}" for one, guard in pairs])
    elif "race" in metafunc.fixturenames:
        metafunc.parametrize("race", RACES.values(), ids=RACES)


@pytest.fixture
def races() -> dict[str, Race]:
    """All scenarios."""
    return RACES


# -- a person and their conversation -----------------------------------------------------------------------------------


@race("epoch", "unique", "atomicity")
async def one_person_has_one_conversation(simulation: Simulation) -> None:
    talks = simulation.store().conversations
    outcomes = await simulation.race(*[lambda: talks.get_or_create("ann", display_name="Ann")] * 3)
    assert len({outcome.result().id for outcome in outcomes}) == 1
    assert len(await talks.list(active_only=False)) == 1


@race("epoch", "unique", "atomicity")
async def one_handle_has_one_person(simulation: Simulation) -> None:
    talks = simulation.store().conversations
    outcomes = await simulation.race(*[lambda: talks.get_or_create(channel="tg", channel_user_id="t1")] * 3)
    assert len({(outcome.result().id, outcome.result().identity.user_id) for outcome in outcomes}) == 1
    assert len(await talks.list(active_only=False)) == 1


@race("atomicity")
async def one_conversation_supersedes_another(simulation: Simulation) -> None:
    talks = simulation.store().conversations
    old = await talks.create("ann")
    await talks.append(old.id, "user", "hello")
    simulation.clock.advance(timedelta(hours=25))
    outcomes = await simulation.race(
        lambda: talks.get_or_create("ann"),
        lambda: talks.get_or_create("ann"),
        lambda: talks.append(old.id, "user", "late"),
    )
    new, same, late = (outcome.result() for outcome in outcomes)
    assert new.id == same.id
    current = await talks.get_or_create("ann")
    assert current.id == new.id
    if new.id != old.id:
        assert current.previous_id == old.id
        assert len(await talks.list(active_only=False)) == 2
    assert late.sequence == 2


@race("version")
async def what_supersedes_knows_all_that_was_said_and_linked(simulation: Simulation) -> None:
    talks = simulation.store().conversations
    old = await talks.create("ann")
    await talks.append(old.id, "user", "hello")
    simulation.clock.advance(timedelta(hours=25))
    await simulation.race(
        lambda: talks.get_or_create("ann"),
        lambda: talks.link_channel(old.id, "tg", "t1"),
        lambda: talks.update(old.id, {"a": 1}),
    )
    current = await talks.get_or_create("ann")
    assert current.previous_id == old.id
    assert current.identity.channel_ids == {"tg": "t1"}


@race("atomicity", seeds=8, crashes=True)
async def who_asks_and_dies_leaves_one_conversation_for_who_asks_again(simulation: Simulation) -> None:
    talks = simulation.store().conversations
    await simulation.race(
        lambda: talks.get_or_create("ann", channel="tg", channel_user_id="t1"), lambda: talks.get_or_create("ann"), crash=0
    )
    again = await talks.get_or_create("ann", channel="tg", channel_user_id="t1")
    assert again.identity.channel_ids == {"tg": "t1"}
    assert (await talks.get_or_create("ann")).id == again.id
    assert [found.id for found in await talks.list(active_only=False)] == [again.id]


@race("operation", seeds=15, crashes=True)
async def what_is_created_with_a_key_is_created_once(simulation: Simulation) -> None:
    talks = simulation.store().conversations

    def create() -> Any:
        return talks.create("ann", channel="tg", channel_user_id="t1", title="Trip", key="k1")

    await simulation.alone(create, crash=True)
    await create()
    await create()
    assert len(await talks.list(active_only=False)) == 1
    assert await talks.resolve("tg", "t1") == "ann"


# -- handles -----------------------------------------------------------------------------------------------------------


async def handles_agree(talks: AsyncConversations, users: list[str], handles: list[str], channel: str = "tg") -> None:
    """What resolve says and what records say is the same, for these people and handles."""
    held: dict[str, set[str]] = {user: set() for user in users}
    for handle in handles:
        user = await talks.resolve(channel, handle)
        if user is not None:
            held[user].add(handle)
    for user in users:
        named = (await talks.get_or_create(user)).identity.channel_ids.get(channel)
        assert held[user] == ({named} if named else set()), f"{user} has {held[user]} and is named by {named}"


@race("unique")
async def of_two_people_one_gets_a_handle(simulation: Simulation) -> None:
    talks = simulation.store().conversations
    ann, bob = [(await talks.create(user)).id for user in ("ann", "bob")]
    outcomes = await simulation.race(
        lambda: talks.link_channel(ann, "tg", "t1"),
        lambda: talks.link_channel(bob, "tg", "t1"),
        lambda: talks.resolve("tg", "t1"),
    )
    assert sorted(isinstance(outcome.error, ConflictError) for outcome in outcomes[:2]) == [False, True]
    assert await talks.resolve("tg", "t1") == ("ann" if outcomes[0].done else "bob")
    await handles_agree(talks, ["ann", "bob"], ["t1"])


@race("epoch", seeds=300)
async def of_links_and_unlinks_of_one_person_one_stands(simulation: Simulation) -> None:
    talks = simulation.store().conversations
    ann = (await talks.create("ann", channel="tg", channel_user_id="t0")).id
    choices = [
        lambda: talks.link_channel(ann, "tg", "t0"),
        lambda: talks.link_channel(ann, "tg", "t1"),
        lambda: talks.link_channel(ann, "tg", "t2"),
        lambda: talks.unlink_channel(ann, "tg"),
        lambda: talks.get_or_create("ann", channel="tg", channel_user_id="t1"),
        lambda: talks.create("ann"),
    ]
    for outcome in await simulation.race(*simulation.random.sample(choices, 3)):
        outcome.result()
    await handles_agree(talks, ["ann"], ["t0", "t1", "t2"])


@race(seeds=150)
async def a_handle_that_one_lets_go_another_may_take(simulation: Simulation) -> None:
    talks = simulation.store().conversations
    ann = (await talks.create("ann", channel="tg", channel_user_id="t1")).id
    bob = (await talks.create("bob", channel="tg", channel_user_id="t2")).id
    outcomes = await simulation.race(
        lambda: talks.link_channel(ann, "tg", "t3"),
        lambda: talks.link_channel(bob, "tg", "t1"),
        lambda: talks.unlink_channel(ann, "tg"),
    )
    assert outcomes[0].done
    assert outcomes[1].done or isinstance(outcomes[1].error, ConflictError)
    await handles_agree(talks, ["ann", "bob"], ["t1", "t2", "t3"])
    if outcomes[1].done:
        assert await talks.resolve("tg", "t1") == "bob"
        assert await talks.resolve("tg", "t2") is None
    else:
        assert await talks.resolve("tg", "t2") == "bob"


@race("version")
async def links_of_different_channels_never_lose_one_another(simulation: Simulation) -> None:
    talks = simulation.store().conversations
    ann = (await talks.create("ann")).id
    simulation.clock.advance(timedelta(hours=25))
    await simulation.race(
        lambda: talks.link_channel(ann, "a", "1"),
        lambda: talks.link_channel(ann, "b", "2"),
        lambda: talks.get_or_create("ann", channel="c", channel_user_id="3"),
    )
    current = await talks.get_or_create("ann")
    assert current.identity.channel_ids == {"a": "1", "b": "2", "c": "3"}


async def after_a_crash(simulation: Simulation, talks: AsyncConversations, dying: Any, other: Any) -> None:
    """Let one operation die beside another, do the next one of this person on the channel, and look."""
    await simulation.race(dying, other, crash=0)
    ann = (await talks.get_or_create("ann")).id
    following = simulation.random.choice(
        [
            dying,
            lambda: talks.link_channel(ann, "tg", "t1"),
            lambda: talks.link_channel(ann, "tg", "t2"),
            lambda: talks.unlink_channel(ann, "tg"),
            lambda: talks.get_or_create(channel="tg", channel_user_id="t1"),
        ]
    )
    found = await following()
    if found.identity.user_id == "ann":
        await handles_agree(talks, ["ann"], ["t1", "t2", "t3"])
    current = await talks.get_or_create("ann")
    assert current.identity.channel_ids.get("other") == "o1"
    assert await talks.resolve("other", "o1") == "ann"
    bob = await talks.get_or_create("bob")
    assert bob.identity.channel_ids == {"tg": "b1"}
    assert await talks.resolve("tg", "b1") == "bob"


async def with_links(simulation: Simulation) -> tuple[AsyncConversations, str]:
    """Two people with links; the conversation of one of them."""
    talks = simulation.store().conversations
    ann = (await talks.create("ann", channel="tg", channel_user_id="t1")).id
    await talks.link_channel(ann, "other", "o1")
    await talks.create("bob", channel="tg", channel_user_id="b1")
    return talks, ann


@race(seeds=5, crashes=True)
async def a_link_that_dies_is_put_right_by_the_next_operation(simulation: Simulation) -> None:
    talks, ann = await with_links(simulation)
    await after_a_crash(
        simulation, talks, lambda: talks.link_channel(ann, "tg", "t2"), lambda: talks.get_or_create("ann", display_name="A")
    )


@race(seeds=5, crashes=True)
async def a_link_that_dies_beside_another_is_put_right_by_the_next_operation(simulation: Simulation) -> None:
    talks, ann = await with_links(simulation)
    await after_a_crash(
        simulation, talks, lambda: talks.link_channel(ann, "tg", "t2"), lambda: talks.link_channel(ann, "tg", "t3")
    )


@race(seeds=5, crashes=True)
async def an_unlink_that_dies_is_put_right_by_the_next_operation(simulation: Simulation) -> None:
    talks, ann = await with_links(simulation)
    await after_a_crash(simulation, talks, lambda: talks.unlink_channel(ann, "tg"), lambda: talks.link_channel(ann, "tg", "t3"))


@race(seeds=5, crashes=True)
async def an_unlink_that_dies_beside_a_new_conversation_is_put_right_too(simulation: Simulation) -> None:
    talks, ann = await with_links(simulation)
    await after_a_crash(simulation, talks, lambda: talks.unlink_channel(ann, "tg"), lambda: talks.create("ann"))


@race("operation", seeds=8, crashes=True)
async def a_link_with_a_key_that_dies_is_finished_by_asking_again(simulation: Simulation) -> None:
    talks, ann = await with_links(simulation)

    def link() -> Any:
        return talks.link_channel(ann, "tg", "t2", key="k1")

    await simulation.alone(link, crash=True)
    await link()
    await handles_agree(talks, ["ann", "bob"], ["t1", "t2", "b1"])
    assert await talks.resolve("tg", "t2") == "ann"
    await talks.unlink_channel(ann, "tg")
    await link()
    assert await talks.resolve("tg", "t2") is None


# -- folding -----------------------------------------------------------------------------------------------------------


async def folded_once(talks: AsyncConversations, talk: str, store: Any) -> None:
    """Summaries cover each message at most once, and what is counted is what is seen."""
    visible = await talks.messages(talk)
    summaries = [message for message in visible if message.covers]
    plain = [message for message in visible if not message.covers]
    covered = [number for summary in summaries if summary.covers for number in range(summary.covers[0], summary.covers[1] + 1)]
    assert len(covered) == len(set(covered))
    assert not set(covered) & {message.sequence for message in plain}
    counters = (await store.sessions.get(talk)).counters
    assert counters["unfolded"] == len(plain)
    everything = await talks.messages(talk, include_folded=True, include_hidden=True)
    stored = [message.sequence for message in everything if not message.covers]
    assert stored == sorted(set(stored))
    assert len(stored) == counters["messages"]


@race("phase")
async def two_consolidates_fold_once(simulation: Simulation) -> None:
    store = simulation.store()
    talks = store.conversations
    talk = (await talks.create("ann")).id
    await talks.extend(talk, [{"role": "user", "content": f"{number}"} for number in range(60)])

    async def summarise(messages: Messages) -> str:
        await pause("the summariser thinks")
        return f"summary of {len(messages)}"

    outcomes = await simulation.race(
        *[lambda: talks.consolidate(talk, summarise=summarise)] * 2, lambda: talks.append(talk, "user", "meanwhile")
    )
    *answers, appended = (outcome.result() for outcome in outcomes)
    (summary,) = {answer.sequence: answer for answer in answers if answer is not None}.values()
    assert summary.covers == (1, 30)
    assert {summary.sequence, appended.sequence} == {61, 62}
    await folded_once(talks, talk, store)


@race("phase")
async def what_is_hidden_or_redacted_is_in_no_summary_made_meanwhile(simulation: Simulation) -> None:
    store = simulation.store()
    talks = store.conversations
    talk = (await talks.create("ann")).id
    await talks.extend(talk, [{"role": "user", "content": f"({number})"} for number in range(60)])

    async def summarise(messages: Messages) -> str:
        await pause("the summariser thinks")
        return messages.as_text()

    outcomes = await simulation.race(
        lambda: talks.consolidate(talk, summarise=summarise), lambda: talks.hide(talk, 5), lambda: talks.redact(talk, 10)
    )
    summary = outcomes[0].result()
    events = [event async for event in store.watch(after=_beginning(), timeout=timedelta(0))]
    changes = [event.change for event in events]
    if changes.index("folded") > changes.index("hidden"):
        assert "(4)" not in summary.text
    if changes.index("folded") > changes.index("redacted"):
        assert "(9)" not in summary.text
    await folded_once(talks, talk, store)


def _beginning() -> str:
    from sojourn.shell.feed import cursor_text

    return cursor_text((0,))


@race(seeds=100)
async def sweeps_at_once_ask_the_summariser_once(simulation: Simulation) -> None:
    calls: list[int] = []

    async def summarise(messages: Messages) -> str:
        calls.append(len(messages))
        await pause("the summariser thinks")
        return "summary"

    from sojourn import ConversationPolicy

    store = simulation.store(conversations=ConversationPolicy(fold_above=4, summarise=summarise))
    talk = (await store.conversations.create("ann")).id
    await store.conversations.extend(talk, [{"role": "user", "content": f"{number}"} for number in range(5)])
    await simulation.race(store.sweep, store.sweep, lambda: store.conversations.append(talk, "user", "x"))
    assert calls == [2] or calls == [3]
    await folded_once(store.conversations, talk, store)


@race(seeds=8, crashes=True)
async def a_fold_that_dies_changes_nothing_or_everything(simulation: Simulation) -> None:
    from sojourn import ConversationPolicy

    store = simulation.store(conversations=ConversationPolicy(fold_above=4))
    talks = store.conversations
    talk = (await talks.create("ann")).id
    await talks.extend(talk, [{"role": "user", "content": f"{number}"} for number in range(5)])
    await simulation.race(store.sweep, lambda: talks.append(talk, "user", "x"), crash=0)
    await folded_once(talks, talk, store)
    simulation.clock.advance(timedelta(minutes=3))
    await store.sweep()
    found = await talks.get(talk)
    assert found is not None
    assert found.folded_through >= 2
    await folded_once(talks, talk, store)


# -- the window --------------------------------------------------------------------------------------------------------


async def order_of(store: Any, *changes: str) -> list[str]:
    """In which order these changes were committed."""
    return [event.change async for event in store.watch(after=_beginning(), timeout=timedelta(0)) if event.change in changes]


@race("version")
async def a_rewind_hides_exactly_what_was_there(simulation: Simulation) -> None:
    store = simulation.store()
    talks = store.conversations
    talk = (await talks.create("ann")).id
    await talks.extend(talk, [{"role": "user", "content": f"{number}"} for number in range(5)])
    await simulation.race(lambda: talks.rewind(talk, 3), lambda: talks.append(talk, "user", "new"), lambda: talks.hide(talk, 1))
    seen = [message.sequence for message in await talks.messages(talk)]
    order = await order_of(store, "rewound", "appended")
    assert seen == ([2, 3] if order[-1] == "rewound" else [2, 3, 6])
    await talks.undo_rewind(talk)
    assert [message.sequence for message in await talks.messages(talk)] == [2, 3, 4, 5, 6]
    await folded_once(talks, talk, store)


@race("version")
async def a_pop_takes_the_last_message(simulation: Simulation) -> None:
    store = simulation.store()
    talks = store.conversations
    talk = (await talks.create("ann")).id
    await talks.extend(talk, [{"role": "user", "content": f"{number}"} for number in range(3)])
    outcomes = await simulation.race(
        lambda: talks.pop(talk), lambda: talks.pop(talk), lambda: talks.append(talk, "user", "new")
    )
    popped = {outcome.result().sequence for outcome in outcomes[:2]}
    assert {message.sequence for message in await talks.messages(talk)} == {1, 2, 3, 4} - popped
    order = await order_of(store, "hidden", "appended")
    assert popped == ({2, 3} if order[-1] == "appended" else {3, 4})
    await folded_once(talks, talk, store)


@race("phase")
async def hides_at_once_hide_all(simulation: Simulation) -> None:
    store = simulation.store()
    talks = store.conversations
    talk = (await talks.create("ann")).id
    await talks.extend(talk, [{"role": "user", "content": f"{number}"} for number in range(5)])
    await simulation.race(lambda: talks.hide(talk, 1), lambda: talks.hide(talk, 3), lambda: talks.hide(talk, 5))
    assert [message.sequence for message in await talks.messages(talk)] == [2, 4]
    await folded_once(talks, talk, store)


@race("version")
async def checkpoints_name_the_place_where_they_were_made(simulation: Simulation) -> None:
    store = simulation.store()
    talks = store.conversations
    talk = (await talks.create("ann")).id
    here, there, _ = await simulation.race(
        lambda: talks.checkpoint(talk, "here"), lambda: talks.checkpoint(talk, "there"), lambda: talks.append(talk, "user", "x")
    )
    kept = {checkpoint.label: checkpoint.sequence for checkpoint in await talks.checkpoints(talk)}
    assert kept == {"here": here.result().sequence, "there": there.result().sequence}
    order = await order_of(store, "checkpoint", "appended")
    assert sum(kept.values()) == 2 - order.index("appended")


# -- appends -----------------------------------------------------------------------------------------------------------


@race("operation")
async def one_key_stores_one_message(simulation: Simulation) -> None:
    talks = simulation.store().conversations
    talk = (await talks.create("ann")).id
    outcomes = await simulation.race(*[lambda: talks.append(talk, "user", "x", key="k1")] * 3)
    assert len({outcome.result().sequence for outcome in outcomes}) == 1
    assert len(await talks.messages(talk)) == 1


@race("operation", seeds=15, crashes=True)
async def who_lost_the_answer_asks_again(simulation: Simulation) -> None:
    talks = simulation.store().conversations
    talk = (await talks.create("ann")).id
    await talks.append(talk, "user", "a")
    operations: list[Callable[[], Any]] = [
        lambda: talks.append(talk, "user", "x", key="k1"),
        lambda: talks.fork(talk, key="k1"),
        lambda: talks.pop(talk, key="k1"),
    ]
    operation = simulation.random.choice(operations)
    await simulation.alone(operation, crash=True)
    first, second = await operation(), await operation()
    assert getattr(first, "id", None) == getattr(second, "id", None)
    assert getattr(first, "sequence", None) == getattr(second, "sequence", None)
    assert len(await talks.list()) <= 2
    assert len(await talks.messages(talk, include_hidden=True)) <= 2
    assert len(await talks.messages(talk)) <= 2


@race("version")
async def of_two_who_expect_one_version_one_appends(simulation: Simulation) -> None:
    talks = simulation.store().conversations
    talk = await talks.create("ann")
    outcomes = await simulation.race(*[lambda: talks.append(talk.id, "user", "x", expected_version=talk.version)] * 3)
    assert [outcome.done for outcome in outcomes].count(True) == 1
    assert len(await talks.messages(talk.id)) == 1


@race("open")
async def nothing_is_appended_after_the_end(simulation: Simulation) -> None:
    store = simulation.store()
    talks = store.conversations
    talk = (await talks.create("ann")).id
    outcomes = await simulation.race(
        lambda: talks.end(talk), lambda: talks.append(talk, "user", "x"), lambda: talks.append(talk, "user", "y")
    )
    assert outcomes[0].done
    assert all(outcome.done or isinstance(outcome.error, EndedError) for outcome in outcomes)
    assert (await order_of(store, "ended", "appended"))[-1] == "ended"


@race("version", "open")
async def what_just_got_a_message_does_not_decay(simulation: Simulation) -> None:
    talks = simulation.store().conversations
    talk = (await talks.create("ann")).id
    await talks.append(talk, "user", "old")
    simulation.clock.advance(timedelta(hours=25))
    decay, append = await simulation.race(talks.decay, lambda: talks.append(talk, "user", "new"))
    found = await talks.get(talk)
    assert found is not None
    assert (found.state, decay.result()) == (("active", 0) if append.done else ("archived", 1))
    assert append.done or isinstance(append.error, EndedError)


@race("version")
async def what_just_got_a_message_is_not_deleted_by_age(simulation: Simulation) -> None:
    from sojourn import ConversationPolicy

    talks = simulation.store(conversations=ConversationPolicy(archive=False)).conversations
    talk = (await talks.create("ann")).id
    simulation.clock.advance(timedelta(hours=25))
    decay, append = await simulation.race(talks.decay, lambda: talks.append(talk, "user", "new"))
    assert (await talks.get(talk) is not None) == append.done == (decay.result() == 0)
    assert append.done or isinstance(append.error, NotFoundError)


@race(seeds=100)
async def forks_are_whole_whatever_happens_to_the_parent(simulation: Simulation) -> None:
    store = simulation.store()
    talks = store.conversations
    talk = (await talks.create("ann")).id
    await talks.extend(talk, [{"role": "user", "content": f"{number}"} for number in range(3)])
    fork, delete, _ = await simulation.race(lambda: talks.fork(talk), lambda: talks.delete(talk), store.sweep)
    assert delete.result()
    await store.sweep()
    if fork.done:
        assert [message.text for message in await talks.messages(fork.result().id)] == ["0", "1", "2"]
    else:
        assert isinstance(fork.error, NotFoundError)


# -- leases ------------------------------------------------------------------------------------------------------------


async def fenced(simulation: Simulation, take: Callable[[Any, str, str], Any]) -> None:
    """Two runs whose leases may run out at any moment: whoever stored last had the highest number throughout."""
    store = simulation.store()
    talks = store.conversations
    talk = (await talks.create("ann")).id

    async def work(owner: str) -> int:
        async with take(store, talk, owner) as lease:
            for _ in range(2):
                await talks.append(talk, "assistant", str(lease.fence), lease=lease)
            return int(lease.fence)

    async def time_passes() -> None:
        await pause("time")
        simulation.clock.advance(timedelta(minutes=6))

    outcomes: list[Outcome[Any]] = await simulation.race(lambda: work("one"), lambda: work("two"), time_passes)
    for outcome in outcomes:
        assert outcome.done or isinstance(outcome.error, (LeaseHeldError, LeaseLostError))
    fences = [int(message.text) for message in await talks.messages(talk)]
    assert fences == sorted(fences)


@race("lease")
async def who_lost_a_run_stores_nothing_any_more(simulation: Simulation) -> None:
    await fenced(simulation, lambda store, talk, owner: store.conversations.run_lease(talk, owner))


@race("lease")
async def who_lost_a_lease_of_the_store_stores_nothing_any_more(simulation: Simulation) -> None:
    await fenced(simulation, lambda store, talk, owner: store.lease("nightly", timedelta(minutes=5), owner=owner))


@race(seeds=8, crashes=True)
async def a_run_that_dies_is_over_when_its_time_is(simulation: Simulation) -> None:
    talks = simulation.store().conversations
    talk = (await talks.create("ann")).id

    async def work(owner: str) -> int:
        async with talks.run_lease(talk, owner) as lease:
            await talks.append(talk, "assistant", owner, lease=lease)
        return lease.fence

    died = await simulation.alone(lambda: work("one"), crash=True)
    simulation.clock.advance(timedelta(minutes=5))
    fence = await work("two")
    if died.done:
        assert fence > died.result()
    assert [message.text for message in await talks.messages(talk)][-1] == "two"


# -- deadlines: on the verbs, for the kinds whose sessions have them ----------------------------------------------------


async def with_deadline(simulation: Simulation) -> str:
    """A session whose deadline is in ten seconds."""
    simulation.store()
    made = Create(new_id("home", tenant="t"), "note", deadline=Deadline(after=10 * SECOND))
    answer = await simulation.engine.commit(Batch("t", "home", (made,)))
    assert answer.refusal is None
    return made.id


@race("timely")
async def nothing_is_written_past_a_deadline(simulation: Simulation) -> None:
    session = await with_deadline(simulation)
    limit = to_micros(simulation.clock()) + 10 * SECOND

    async def time_passes() -> None:
        await pause("time")
        simulation.clock.advance(timedelta(seconds=10))

    write = Write(session, Guard(timely=True), (NewEntry("line", text="x"),))
    await simulation.race(*[lambda: simulation.engine.commit(Batch("t", "home", (write,)))] * 3, time_passes)
    entries = (await simulation.engine.load("t", session, EntryQuery())).entries
    assert all(entry.created_at < limit for entry in entries)


@race("due")
async def what_is_due_is_claimed_once(simulation: Simulation) -> None:
    session = await with_deadline(simulation)
    claim = Write(session, Guard(due=True), deadline=Deadline(after=60 * SECOND), add=(("claims", 1),))

    async def sweep() -> None:
        for found in await simulation.engine.due("t", 10):
            await simulation.engine.commit(Batch("t", "home", (claim,)))
            assert found.id == session

    await simulation.race(sweep, sweep)
    simulation.clock.advance(timedelta(seconds=10))
    await simulation.race(sweep, sweep, sweep)
    found = (await simulation.engine.load("t", session)).session
    assert found is not None
    assert found.counters["claims"] == 1
