"""Locks of the bot's game session module: one for each session, in this process."""

from __future__ import annotations

import asyncio
from typing import Literal


class GameSessionLockRegistry:
    """Locks of this process, one for each session."""

    def __init__(self) -> None:
        self._locks: dict[str, _Lock] = {}

    async def get_session_lock(self, session_id: str) -> asyncio.Lock:
        """The lock of a session: the same object each time."""
        return self._locks.setdefault(session_id, _Lock())

    async def cleanup_session(self, session_id: str) -> None:
        """Forget a session's lock, so that the next is a new one; never while it is held, or waited for. Unknown: nothing."""
        lock = self._locks.get(session_id)
        if lock is not None and not lock.users:
            del self._locks[session_id]


class _Lock(asyncio.Lock):
    """A lock that knows how many have it or wait for it: between two of them it looks free."""

    def __init__(self) -> None:
        super().__init__()
        self.users: int = 0

    async def acquire(self) -> Literal[True]:
        """As the lock's own."""
        self.users += 1
        try:
            return await super().acquire()
        except BaseException:
            self.users -= 1
            raise

    def release(self) -> None:
        """As the lock's own."""
        super().release()
        self.users -= 1
