"""Many people at once, in asynchronous code: one store, one coroutine for each message, a runner beside them.

What to look at: the store is opened once, and nobody waits for anybody else's commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import sojourn

Reply: TypeAlias = Callable[[sojourn.Messages], Awaitable[str]]


async def slow_model(history: sojourn.Messages) -> str:
    """Stands for a language model."""
    await asyncio.sleep(0.01)
    return f"That was message {len(history)}."


async def handle(store: sojourn.AsyncStore, user: str, text: str, reply: Reply) -> sojourn.Message:
    """What a web framework or a chat platform calls for each message."""
    talk = await store.conversations.get_or_create(user, with_messages=False)
    await store.conversations.append(talk.id, "user", text)
    window = await store.conversations.window(talk.id, budget=4000)
    return await store.conversations.append(talk.id, "assistant", await reply(window))


async def count_changes(store: sojourn.AsyncStore, until: int) -> dict[str, int]:
    """Watch until so many changes were seen; how many of each."""
    seen: dict[str, int] = {}
    async for event in store.watch("conversation"):
        seen[event.change] = seen.get(event.change, 0) + 1
        if sum(seen.values()) >= until:
            break
    return seen


async def main(people: int = 30) -> dict[str, int]:
    """Let people write at the same time; the changes that a watcher saw."""
    async with sojourn.aopen("sqlite:///async_chat.db") as store, store.runner():
        watching = asyncio.create_task(count_changes(store, until=people * 3))
        await asyncio.sleep(0)  # the watcher takes its place before the first change
        answers = await asyncio.gather(*(handle(store, f"user {n}", "Hello", slow_model) for n in range(people)))
        changes = await watching
    print(f"{len(answers)} answers; changes: {dict(sorted(changes.items()))}")
    return changes


if __name__ == "__main__":
    asyncio.run(main())
