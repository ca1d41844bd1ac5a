"""A clock that moves when a test says so, and never by itself: no test needs to sleep."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Final

from sojourn.core.times import to_datetime, to_micros

START: Final = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)


class ManualClock:
    """A time that a test sets.

    Called, it gives an aware datetime in UTC (what ``clock=`` of a store takes); `micros` gives what engines take. It may
    go backwards, as the clock of a machine may. Any thread may read and move it.
    """

    def __init__(self, start: datetime = START) -> None:
        self._lock = threading.Lock()
        self._now = to_micros(start)

    def __call__(self) -> datetime:
        """The time as an aware datetime."""
        return to_datetime(self._now)

    def __repr__(self) -> str:
        return f"ManualClock({self()!r})"

    def micros(self) -> int:
        """Microseconds since 1970."""
        return self._now

    def set(self, moment: datetime) -> None:
        """It is ``moment`` now; an aware datetime, earlier or later than before."""
        self._now = to_micros(moment)

    def advance(self, duration: timedelta) -> datetime:
        """It is ``duration`` later (a negative one: earlier) now; what it says then."""
        with self._lock:
            self._now += duration // timedelta(microseconds=1)
            return to_datetime(self._now)
