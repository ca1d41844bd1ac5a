"""Waking those who wait for a commit, whatever thread or event loop they wait in."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress


class Bell:
    """Counts rings; a waiter names the count it has seen, so that a ring between looking and waiting is not missed."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._rings = 0
        self._waiting = 0
        self._callbacks: set[Callable[[], None]] = set()

    @property
    def rings(self) -> int:
        """How often it has rung."""
        return self._rings

    def ring(self) -> None:
        """Wake everybody."""
        self._rings += 1
        if self._callbacks or self._waiting:  # who waits says so before looking at the rings: no lock for a mere look
            with self._condition:
                self._condition.notify_all()
                for callback in self._callbacks:
                    callback()

    def wait(self, seen: int, timeout: float) -> bool:
        """Block until it has rung more than ``seen`` times; False after ``timeout`` seconds."""
        with self._condition:
            self._waiting += 1
            try:
                return self._condition.wait_for(lambda: self._rings > seen, timeout)
            finally:
                self._waiting -= 1

    async def wait_async(self, seen: int, timeout: float) -> bool:
        """As `wait`, suspending the task instead of the thread."""
        import asyncio

        loop = asyncio.get_running_loop()
        woken = asyncio.Event()

        def wake() -> None:
            with suppress(RuntimeError):  # the loop was closed: nobody waits there any more
                loop.call_soon_threadsafe(woken.set)

        with self._condition:
            self._callbacks.add(wake)
        try:
            if self._rings > seen:
                return True
            async with asyncio.timeout(timeout):  # wait_for forgets a cancellation that comes with the ring (Python 3.11)
                await woken.wait()
        except TimeoutError:
            return self._rings > seen
        finally:
            with self._condition:
                self._callbacks.discard(wake)
        return True
