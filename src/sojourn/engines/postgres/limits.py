"""Time limits of ours on statements under way: a link that was cut without a word would be waited on for ever."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any

import psycopg


class LateError(psycopg.OperationalError):
    """No answer within the time limit; the connection was dropped, and nobody knows what became of the statement."""


class TimedConnection(psycopg.Connection[Any]):
    """A connection whose statements end within ``limit`` seconds, one way or the other."""

    limit: float = 10.0

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

    async def wait(self, gen: Generator[Any, Any, Any], *rest: Any, **more: Any) -> Any:
        """As psycopg's, for so long."""
        try:
            return await super().wait(_limited(gen, self.limit), *rest, **more)
        except LateError:
            self.pgconn.finish()
            raise


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
