"""The window a model is given: the newest messages that fit a token budget, cut where it is safe."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from sojourn.core.codec import Json
from sojourn.kinds.conversations.model import Message, message_text
from sojourn.kinds.conversations.rules import answers, call_id


def fit(messages: Sequence[Message], budget: int, count: Callable[[str], int]) -> list[Message]:
    """The summaries that fit, then the newest messages that fit in what they leave, in order.

    Summaries leave half of the budget to messages, or what all of them need when that is less. A tool call and its results
    are one piece: they are in together or out together. A result whose call is not there is left out; of a message whose
    call has no result the call is left out, and the message with it when it says nothing else.
    """
    pieces = _pieces([message for message in messages if not message.summary])
    costs = [sum(count(message_text(message)) for message in piece) for piece in pieces]
    left, needed = budget, sum(costs)
    kept: list[Message] = []
    for summary in reversed([message for message in messages if message.summary]):
        cost = count(message_text(summary))
        if cost <= left - min(needed, (left + 1) // 2):
            kept.append(summary)
            left -= cost
    kept.reverse()
    first = len(pieces)
    while first and costs[first - 1] <= left:
        first -= 1
        left -= costs[first]
    return [*kept, *(message for piece in pieces[first:] for message in piece)]


def _pieces(messages: Sequence[Message]) -> list[list[Message]]:
    """Messages in order, each call with its results right behind it."""
    found = answers(messages)
    pieces: list[list[Message]] = []
    for message in messages:
        if message.tool_call_id is None:
            results = found.get(message.sequence, {})
            shown = _with_calls(message, results)
            if shown is not None:
                pieces.append([shown, *(replace(result, tool_calls=None) for result in results.values())])
    return pieces


def _with_calls(message: Message, results: Mapping[str, Message]) -> Message | None:
    """The message with those of its calls that have a result; None when it would say nothing."""
    if not message.tool_calls:
        return message
    kept: dict[str, Json] = {}
    for call in message.tool_calls:
        name = call_id(call)
        if name in results:
            kept.setdefault(name, call)
    if len(kept) == len(message.tool_calls):
        return message
    return replace(message, tool_calls=list(kept.values()) or None) if kept or message.text else None
