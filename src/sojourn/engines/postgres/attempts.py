"""What came of the attempts to connect, which psycopg's pool makes out of sight and only logs."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Final, Protocol

import psycopg
from psycopg.conninfo import conninfo_to_dict

FATAL: Final = "FATAL:"
"""What stands before the words with which a server sends somebody away; the same in every language but its own."""

_PASSING: Final = (
    "starting up",
    "shutting down",
    "terminating",
    "recovery",
    "standby",
    "read-only",
    "too many",
    "connection slots",
)


class Signal(Protocol):
    """An event of `threading` or `asyncio`."""

    def set(self) -> None:
        """Wake whoever waits."""
        ...


class Attempts:
    """The last attempt of a pool, and that there was one."""

    def __init__(self, url: str, made: Signal) -> None:
        self.failure: Exception | None = None
        self._made = made
        self._several = "," in str(conninfo_to_dict(url).get("host") or "")

    @contextmanager
    def one(self) -> Generator[None]:
        """Around an attempt."""
        try:
            yield
        except psycopg.Error as error:
            self.failure = error
            raise
        else:
            self.failure = None
        finally:
            self._made.set()

    @property
    def hopeless(self) -> bool:
        """Whether there is nothing to wait for, as far as the last attempt tells.

        A server that is starting or full may have room in a moment; of several, another may be about to take over.
        """
        return self.failure is not None and not self._several and not is_passing(str(self.failure))

    def check(self) -> None:
        """Raises the last attempt's error; the pool keeps the first one, so this is another of the same words."""
        if self.failure is not None:
            raise psycopg.OperationalError(str(self.failure)) from None


def is_passing(text: str) -> bool:
    """Whether a server that sends somebody away may let them in a little later."""
    return any(words in text for words in _PASSING)
