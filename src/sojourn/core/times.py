"""Instants are integers: microseconds since 1970 in UTC. People see aware datetimes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sojourn.errors import InvalidValueError

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
LONGEST = 1000 * 365 * DAY

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_datetime(micros: int) -> datetime:
    """The aware UTC datetime of ``micros``."""
    return _EPOCH + timedelta(0, 0, micros)


def maybe_datetime(micros: int | None) -> datetime | None:
    """`to_datetime`, keeping None."""
    return None if micros is None else _EPOCH + timedelta(microseconds=micros)


def to_micros(moment: datetime) -> int:
    """Microseconds of an aware datetime; a naive one is refused, since its zone would be a guess."""
    if moment.tzinfo is None:
        raise InvalidValueError(
            f"a time without a time zone: {moment!r}.", hint="Use an aware datetime, for example datetime.now(UTC)."
        )
    return (moment - _EPOCH) // _MICROSECOND


def span(duration: timedelta, name: str = "duration") -> int:
    """Microseconds of a duration that may not be negative."""
    if not isinstance(duration, timedelta):
        raise InvalidValueError(f"{name} must be a timedelta, not {type(duration).__name__}.")
    micros = duration // _MICROSECOND
    if not 0 <= micros <= LONGEST:
        raise InvalidValueError(f"{name} must lie between nothing and 1,000 years, got {duration}.")
    return micros
