"""Hearing of commits as they happen: LISTEN and NOTIFY, as a hint on top of the numbers of events.

PostgreSQL holds a lock of the whole database while it commits a NOTIFY, so commits carry none. Who watches says so in the
store's table of values, for half a minute; a commit that made events answers whether anybody does, and then its client
notifies in a statement of its own. Nothing depends on it: watchers look at the numbers every `POLL` seconds until they have
heard something, and every `REST` seconds after that. A pooler by transaction swallows notifications, and nobody notices.
"""

from __future__ import annotations

import threading
import time
from typing import Any, Final

import psycopg

from sojourn.engines.bell import Bell
from sojourn.engines.postgres.settings import Settings

POLL: Final = 0.05
"""Seconds between looks for new events, while somebody watches and has not heard a notification yet."""
REST: Final = 1.0
"""Seconds between looks once notifications were heard."""
MARKED: Final = 30_000_000
"""Microseconds that a mark says that somebody watches."""
MARK_EVERY: Final = 10.0
"""Seconds after which a watcher renews the mark."""


class Watching:
    """What both colours know: when to look, and when to say that somebody watches."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._listen = f'listen "{settings.names.channel}"'
        self._marked: float | None = None
        self.bell: Bell = Bell()
        self.heard: bool = False
        """Whether notifications arrive here."""
        self.may_mark: bool = True
        """Whether this user may say that somebody watches; who may only read looks more often instead."""

    @property
    def pause(self) -> float:
        """Seconds until the next look."""
        return REST if self.heard else POLL

    def mark_is_old(self) -> bool:
        """Whether to say again that somebody watches; from then on it was said."""
        now = time.monotonic()
        if not self.may_mark or (self._marked is not None and now - self._marked < MARK_EVERY):
            return False
        self._marked = now
        return True


class ThreadWatching(Watching):
    """For threads: one of those who wait reads what the server says, and rings for the others."""

    heard: bool

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._reading = threading.Lock()
        self._connection: psycopg.Connection[Any] | None = None

    def wait(self, seen: int, seconds: float) -> None:
        """Until the bell rang more than ``seen`` times, at most so long."""
        if not self._reading.acquire(blocking=False):
            self.bell.wait(seen, seconds)
            return
        try:
            if self.bell.rings > seen:
                return
            try:
                if self._read(seconds):
                    self.heard = True
                    self.bell.ring()
            except psycopg.Error:  # no more than a hint: whoever looks at the numbers next learns what is wrong
                self.heard = False
                self._drop()
                self.bell.wait(seen, seconds)
        finally:
            self._reading.release()

    def _read(self, seconds: float) -> bool:
        if self._connection is None:
            self._connection = psycopg.connect(
                self._settings.url, autocommit=True, connect_timeout=max(2, round(self._settings.timeout))
            )
            self._connection.execute(self._listen)
        return any(True for _ in self._connection.notifies(timeout=seconds, stop_after=1))

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def close(self) -> None:
        """Wake who waits, and let go of the connection."""
        self.bell.ring()
        with self._reading:
            self._drop()


class LoopWatching(Watching):
    """The same for the tasks of a loop."""

    heard: bool

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._reading = False
        self._connection: psycopg.AsyncConnection[Any] | None = None

    async def wait(self, seen: int, seconds: float) -> None:
        """Until the bell rang more than ``seen`` times, at most so long."""
        if self._reading:
            await self.bell.wait_async(seen, seconds)
            return
        self._reading = True
        try:
            if self.bell.rings > seen:
                return
            try:
                if await self._read(seconds):
                    self.heard = True
                    self.bell.ring()
            except psycopg.Error:  # no more than a hint: whoever looks at the numbers next learns what is wrong
                self.heard = False
                await self._drop()
                await self.bell.wait_async(seen, seconds)
        finally:
            self._reading = False

    async def _read(self, seconds: float) -> bool:
        if self._connection is None:
            self._connection = await psycopg.AsyncConnection.connect(
                self._settings.url, autocommit=True, connect_timeout=max(2, round(self._settings.timeout))
            )
            await self._connection.execute(self._listen)
        async for _ in self._connection.notifies(timeout=seconds, stop_after=1):
            return True
        return False

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def close(self) -> None:
        """Wake who waits, and let go of the connection."""
        self.bell.ring()
        await self._drop()
