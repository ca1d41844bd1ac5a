"""Fold with a model of your own, with a time limit and a way out when the model is down.

What to look at: a summariser is a plain class here, so that it can be given its model and be tested without one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import sojourn

PROMPT = "Summarise this conversation. Keep every name, number, date and decision. At most ten sentences."


@dataclass(frozen=True)
class ModelSummariser:
    """Summaries by a model; by the built-in summariser when it takes too long or fails."""

    ask: Callable[[str], Awaitable[str]]
    patience: float = 20.0

    async def __call__(self, messages: sojourn.Messages) -> str:
        """The text that stands for these messages."""
        try:
            async with asyncio.timeout(self.patience):
                return await self.ask(f"{PROMPT}\n\n{messages.as_text()}")
        except (TimeoutError, OSError):
            return sojourn.extractive(messages)


async def toy_model(prompt: str) -> str:
    """Stands for a model: says how much it was asked to read."""
    await asyncio.sleep(0)
    return f"A conversation of {prompt.count('user: ')} questions."


async def dead_model(prompt: str) -> str:
    """A model that cannot be reached."""
    raise ConnectionError(f"nobody read {len(prompt)} characters")


async def summary_by(ask: Callable[[str], Awaitable[str]]) -> str:
    """Fold a conversation of twelve messages; the first line of the summary."""
    policy = sojourn.ConversationPolicy(fold_above=10, summarise=ModelSummariser(ask))
    async with sojourn.aopen("memory:", conversations=policy) as store:
        talk = await store.conversations.get_or_create("alice")
        asked: list[dict[str, Any]] = [{"role": "user", "content": f"Question {number}?"} for number in range(12)]
        await store.conversations.extend(talk.id, asked)
        swept = await store.sweep()
        assert swept["folded"] == 1
        summary = (await store.conversations.messages(talk.id))[0]
    return summary.text.splitlines()[0]


async def main() -> None:
    """Once with a model, once without."""
    print(await summary_by(toy_model))
    print(await summary_by(dead_model))


if __name__ == "__main__":
    asyncio.run(main())
