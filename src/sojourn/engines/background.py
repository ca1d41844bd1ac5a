"""Work beside the caller: a thread for blocking engines, a task for asynchronous ones."""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

Body = Callable[[], Coroutine[Any, Any, None]]


class ThreadBackground:
    """A daemon thread that drives a coroutine which never suspends."""

    def __init__(self, body: Body) -> None:
        self._body = body
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="sojourn-background", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        coroutine = self._body()
        try:
            coroutine.send(None)
        except StopIteration:
            return
        except BaseException as error:
            self._error = error
        else:
            coroutine.close()
            self._error = RuntimeError(
                "a coroutine suspended in blocking code: a callback given to a blocking store must be a plain function"
            )

    async def join(self) -> None:
        """Wait until it has returned; raises what it raised."""
        self._thread.join()
        if self._error is not None:
            raise self._error


class TaskBackground:
    """A task of the running loop."""

    def __init__(self, body: Body) -> None:
        import asyncio

        self._task: asyncio.Task[None] = asyncio.get_running_loop().create_task(body())

    async def join(self) -> None:
        """Wait until it has returned, or somebody has cancelled it; raises what it raised."""
        import asyncio

        try:
            await asyncio.wait([self._task])
        except asyncio.CancelledError:
            self._task.cancel()
            await asyncio.wait([self._task])
            raise
        if not self._task.cancelled():
            self._task.result()
