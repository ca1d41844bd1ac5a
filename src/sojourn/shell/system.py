"""The clock and the random ids, and a caller's own in their place (tests)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from sojourn.core.ids import home_number, is_id, millis_of, random_id, with_home
from sojourn.core.times import to_micros
from sojourn.engines.contract import Clock
from sojourn.errors import InvalidValueError

UserClock: TypeAlias = Callable[[], datetime]
UserIds: TypeAlias = Callable[[], str]


def clock_of(user: UserClock | None) -> Clock | None:
    """An engine clock of a callable that gives aware datetimes; None without one: the time is the engine's."""
    if user is None:
        return None
    chosen = user

    def clock() -> int:
        return to_micros(chosen())

    return clock


@dataclass(frozen=True, slots=True)
class Ids:
    """Where new ids come from: the system's random numbers, or a caller's own generator."""

    user: UserIds | None = None

    def new(self, tenant: str, home: str, *, after: str = "") -> str:
        """An id for a session of this home, later than ``after`` (the session it branches from).

        A caller's own id gets the home's two characters, by which engines route.
        """
        number = home_number(tenant, home)
        if self.user is None:
            millis = time.time_ns() // 1_000_000
            return random_id(max(millis, millis_of(after) + 1) if after else millis, number)
        made = self.user()
        if not is_id(made):
            raise InvalidValueError(
                f"ids= gave {made!r}; an id has 26 characters of Crockford base 32.", hint="See sojourn.new_id()."
            )
        return with_home(made, number)
