"""What operations cost: an engine verb is one round trip, and each operation makes as few as its promise says."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from sojourn import AsyncConversations
from sojourn.testing.simulation import Simulation

COSTS: dict[str, tuple[Callable[[AsyncConversations, str], Awaitable[Any]], list[str]]] = {
    "append": (lambda talks, talk: talks.append(talk, "user", "x"), ["commit (Write appended)"]),
    "append with everything": (
        lambda talks, talk: talks.append(talk, "user", "x", channel="telegram", metadata={"a": 1}, key="k", expected_version=2),
        ["commit (Write appended)"],
    ),
    "extend": (
        lambda talks, talk: talks.extend(talk, [{"role": "user", "content": "x"}] * 50, key="k"),
        ["commit (Write appended)"],
    ),
    "get": (lambda talks, talk: talks.get(talk), ["load"]),
    "the last messages": (lambda talks, talk: talks.messages(talk, last=50), ["load"]),
    "all messages": (lambda talks, talk: talks.messages(talk), ["load", "load"]),
    "a page of them": (lambda talks, talk: talks.messages(talk, before=50, last=10), ["load", "load"]),
    "window": (lambda talks, talk: talks.window(talk, budget=100), ["load", "load"]),
    "list": (lambda talks, _: talks.list(), ["list"]),
    "resolve": (lambda talks, _: talks.resolve("telegram", "t1"), ["follow"]),
    "checkpoints": (lambda talks, talk: talks.checkpoints(talk), ["load"]),
    "get_or_create of who is there": (lambda talks, _: talks.get_or_create("ann", with_messages=False), ["follow"]),
    "get_or_create with messages": (lambda talks, _: talks.get_or_create("ann"), ["follow", "load"]),
    "end": (lambda talks, talk: talks.end(talk), ["load", "commit (Write ended)", "load"]),
    "search": (lambda talks, _: talks.search("message"), ["search", "load"]),
}


@pytest.mark.parametrize("name", COSTS)
def test_an_operation_makes_no_more_round_trips_than_it_says(name: str) -> None:
    operation, expected = COSTS[name]

    async def scenario(simulation: Simulation) -> None:
        talks = simulation.store().conversations
        talk = (await talks.create("ann")).id
        await talks.extend(talk, [{"role": "user", "content": f"message {number}"} for number in range(100)])
        (await simulation.alone(lambda: operation(talks, talk))).result()
        assert verbs(simulation) == expected

    Simulation().run(scenario)


def test_the_last_messages_of_a_folded_conversation_are_one_round_trip_too() -> None:
    async def scenario(simulation: Simulation) -> None:
        talks = simulation.store().conversations
        talk = (await talks.create("ann")).id
        await talks.extend(talk, [{"role": "user", "content": f"message {number}"} for number in range(100)])
        await talks.consolidate(talk)
        outcome = await simulation.alone(lambda: talks.messages(talk, last=50))
        assert len(outcome.result()) == 50
        assert verbs(simulation) == ["load"]

    Simulation().run(scenario)


def verbs(simulation: Simulation) -> list[str]:
    """Which engine verbs were called in the last race."""
    return [step.removeprefix("0: before ") for step in simulation.steps if step.startswith("0: before ")]
