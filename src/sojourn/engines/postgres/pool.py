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

    def __init__(self, *words: Any, **more: Any) -> None:
        super().__init__(*words, **more)
        self.ended: bool = False
        """Whether its workers were cancelled, as programs do with all tasks when they shut down; nothing comes back to it."""
        vars(self)["worker"] = self._work  # what psycopg starts as its workers

    async def _work(self, queue: asyncio.Queue[Any]) -> None:
        heeding: Any = _UntilCancelled(queue)
        try:
            await super().worker(heeding)
        except asyncio.CancelledError:
            self.ended = True
            raise

    async def close(self, timeout: float = 5.0) -> None:
        """As psycopg's, also when its workers were cancelled."""
        idle = []
        if self.ended and not self.closed:
            while self.get_stats()["pool_available"]:
                idle.append(await self.getconn())
        before = cancellations()
        try:
            await super().close(timeout)
        except asyncio.CancelledError:
            if not self.ended or cancellations() > before:
                raise
        finally:
            for connection in idle:
                await connection.close()


class _UntilCancelled:
    """A worker's queue, which has no more for a worker that was cancelled."""

    def __init__(self, queue: asyncio.Queue[Any]) -> None:
        self._queue = queue

    async def get(self) -> Any:
        if cancellations():
            raise asyncio.CancelledError
        return await self._queue.get()
