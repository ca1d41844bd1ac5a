"""What came of the attempts to connect; psycopg's pool, of blocking code, makes them out of sight and only logs it."""

from __future__ import annotations

import os
import re
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final, Protocol

import psycopg
from psycopg.conninfo import conninfo_to_dict

_NAMES: Final = re.compile(r"\"[^\"]*\"|'[^']*'")
"""Hosts, users and databases in an error's words: they may be called anything."""

_NOBODY_THERE: Final = ("connection refused", "failed to resolve", "no such file or directory")
_NOT_LET_IN: Final = (
    "password authentication failed",
    "no password supplied",
    "does not exist",
    "pg_hba.conf",
    "not permitted",
)
_WRONG_URL: Final = ("definition of service", "does not support ssl", "certificate")


class Signal(Protocol):
    """What waits for an attempt, as `threading.Event`."""

    def set(self) -> None:
        """Wake whoever waits."""
        ...


class Attempts:
    """The last attempt of a pool, and that there was one."""

    def __init__(self, url: str, made: Signal | None = None) -> None:
        self.failure: Exception | None = None
        self._made = made
        self._servers = _servers(url)

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
            if self._made is not None:
                self._made.set()

    def patience(self, timeout: float) -> int:
        """Seconds for each of the servers that a URL names, so that a silent one leaves time for others; 2 at least (libpq)."""
        return max(2, int(timeout / self._servers))

    @property
    def hopeless(self) -> bool:
        """Whether waiting would not help, as far as the last attempt tells.

        Only what is known is hopeless: a server, or a pooler before it, that is starting or full says so in many words, and in
        many languages. Of several servers, another may be about to take over.
        """
        return self.failure is not None and self._servers == 1 and advice(str(self.failure)) is not None

    def check(self) -> None:
        """Raises the last attempt's error, as another of the same words: somebody else may have raised that one."""
        if self.failure is not None:
            raise psycopg.OperationalError(str(self.failure)) from None


def advice(text: str) -> str | None:
    """What to do about an attempt that failed with these words; None where it may go well a little later."""
    text = _NAMES.sub("", text).lower()
    if any(words in text for words in _NOBODY_THERE):
        return "Is the server up, and this its address?"
    if any(words in text for words in _NOT_LET_IN):
        return "Check user, password and database."
    if any(words in text for words in _WRONG_URL):
        return "Check the URL."
    return None


def _servers(url: str) -> int:
    """How many servers there are behind a URL; a service may name any number, which counts as two."""
    known = conninfo_to_dict(url)
    if known.get("service") or os.environ.get("PGSERVICE"):
        return 2
    return 1 + str(known.get("host") or known.get("hostaddr") or os.environ.get("PGHOST") or "").count(",")
