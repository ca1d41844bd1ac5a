"""psycopg's pool for event loops, whose workers end when they are cancelled.

Its own take a cancellation in the middle of an attempt to connect for the failure of the attempt, and go on. `asyncio.run`
cancels what is left of a program and waits until it has ended, so with a server that does not answer, a program that has not
closed its store would never end.
"""

from __future__ import annotations

import asyncio
from typing import Any

from psycopg_pool import AsyncConnectionPool

from sojourn.engines.postgres.limits import AsyncTimedConnection


def cancellations() -> int:
    """How often the task that runs was cancelled; there are waits that forget it when what they wait for comes just then."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


class LoopPool(AsyncConnectionPool[AsyncTimedConnection]):
    """Connections for one event loop."""

    @classmethod
    async def worker(cls, q: Any) -> None:
        """As psycopg's, until it is cancelled."""
        heeding: Any = _UntilCancelled(q)
        await super().worker(heeding)


class _UntilCancelled:
    """A worker's queue, which has no more for a worker that was cancelled."""

    def __init__(self, queue: asyncio.Queue[Any]) -> None:
        self._queue = queue

    async def get(self) -> Any:
        if cancellations():
            raise asyncio.CancelledError
        return await self._queue.get()
