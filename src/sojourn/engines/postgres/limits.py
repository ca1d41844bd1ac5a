"""Connections that end what takes too long, and hear what the server only warns of.

A link that was cut without a word would be waited on for ever. And a commit whose wait for a synchronous standby was ended, by
a time limit of the server's or by an administrator, is reported as done, with a warning that no standby has it.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any, Final, Self

import psycopg
from psycopg.errors import Diagnostic

from sojourn.engines.postgres.attempts import Attempts


class LateError(psycopg.OperationalError):
    """No answer within the time limit; the connection was dropped, and nobody knows what became of the statement."""


class UnconfirmedError(psycopg.OperationalError):
    """The server has committed a statement, and no standby has confirmed it, although one has to."""


class TimedConnection(psycopg.Connection[Any]):
    """A connection whose statements end within ``limit`` seconds, one way or the other."""

    limit: float = 10.0
    unconfirmed: bool = False

    @classmethod
    def connect(cls, conninfo: str = "", *, attempts: Attempts, **more: Any) -> Self:  # type: ignore[override]
        """As psycopg's; ``attempts`` is told what came of it."""
        with attempts.one():
            return super().connect(conninfo, **more)

    def heed(self) -> None:
        """Listen to the server's warnings, from now on."""
        self.add_notice_handler(self._heard)

    def _heard(self, notice: Diagnostic) -> None:
        self.unconfirmed |= notice.source_function == _WAITS_FOR_STANDBYS

    def execute(self, *words: Any, **more: Any) -> psycopg.Cursor[Any]:
        """As psycopg's; `UnconfirmedError` after a commit that no standby confirmed."""
        self.unconfirmed = False
        cursor: psycopg.Cursor[Any] = super().execute(*words, **more)
        if self.unconfirmed:
            raise UnconfirmedError(_UNCONFIRMED)
        return cursor

    def wait(self, gen: Generator[Any, Any, Any], *rest: Any, **more: Any) -> Any:
        """As psycopg's, for so long."""
        try:
            return super().wait(_limited(gen, self.limit), *rest, **more)
        except LateError:
            self.pgconn.finish()
            raise


class AsyncTimedConnection(psycopg.AsyncConnection[Any]):
    """The same under an event loop."""

    limit: float = 10.0
    unconfirmed: bool = False

    @classmethod
    async def connect(cls, conninfo: str = "", *, attempts: Attempts, **more: Any) -> Self:  # type: ignore[override]
        """As psycopg's; ``attempts`` is told what came of it."""
        with attempts.one():
            return await super().connect(conninfo, **more)

    def heed(self) -> None:
        """Listen to the server's warnings, from now on."""
        self.add_notice_handler(self._heard)

    def _heard(self, notice: Diagnostic) -> None:
        self.unconfirmed |= notice.source_function == _WAITS_FOR_STANDBYS

    async def execute(self, *words: Any, **more: Any) -> psycopg.AsyncCursor[Any]:
        """As psycopg's; `UnconfirmedError` after a commit that no standby confirmed."""
        self.unconfirmed = False
        cursor: psycopg.AsyncCursor[Any] = await super().execute(*words, **more)
        if self.unconfirmed:
            raise UnconfirmedError(_UNCONFIRMED)
        return cursor

    async def wait(self, gen: Generator[Any, Any, Any], *rest: Any, **more: Any) -> Any:
        """As psycopg's, for so long."""
        try:
            return await super().wait(_limited(gen, self.limit), *rest, **more)
        except LateError:
            self.pgconn.finish()
            raise


_WAITS_FOR_STANDBYS: Final = "SyncRepWaitForLSN"
"""The place in PostgreSQL that warns: its words are translated, and its code is that of every warning."""

_UNCONFIRMED: Final = "no standby confirmed what was committed"


def _limited(gen: Generator[Any, Any, Any], seconds: float) -> Generator[Any, Any, Any]:
    """psycopg's own steps; it takes one with nothing ready every tenth of a second."""
    limit = time.monotonic() + seconds
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() > limit:
                raise LateError(f"no answer for {seconds:g} s")
            wanted = gen.send(ready)
    except StopIteration as stop:
        return stop.value
