"""What PostgreSQL and its driver say went wrong, as Sojourn's errors."""

from __future__ import annotations

from typing import Final

import psycopg
from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests

from sojourn.engines.postgres.attempts import advice
from sojourn.engines.postgres.limits import UnconfirmedError
from sojourn.errors import (
    ClosedError,
    CorruptError,
    EngineError,
    FullError,
    InvalidValueError,
    LimitError,
    OutcomeUnknownError,
    ReadOnlyError,
    SchemaError,
    SojournError,
    UnavailableError,
    UnsupportedError,
)

UNIQUE_VIOLATION: Final = "23505"
LOCK_NOT_AVAILABLE: Final = "55P03"

_ASK_AGAIN: Final = "It may have been stored or not: ask again with the same key."
_UNCONFIRMED: Final = "It is lost should another server take over now: ask again with the same key until a standby answers."
_NOTHING: Final = "Nothing was stored."


def translate(error: Exception, where: str, *, committing: bool = False, key: str | None = None) -> SojournError:
    """The Sojourn error for ``error``; the caller raises it from the driver's.

    ``committing``: a commit had been sent. When its answer is lost, nobody here knows what became of it.
    """
    if isinstance(error, SojournError):
        return error
    if isinstance(error, PoolClosed):
        return ClosedError("this store was closed.", hint="Open it again.")
    if isinstance(error, PoolTimeout | TooManyRequests):
        return UnavailableError(f"{where}: no connection in time.", hint=f"{_NOTHING} Is the server up, the pool large enough?")
    if isinstance(error, UnconfirmedError):
        return OutcomeUnknownError(f"{where}: {error}.", hint=_UNCONFIRMED, key=key)
    if is_lost(error):
        return _lost(error, where, committing=committing, key=key)
    return _refused(error, getattr(error, "sqlstate", None) or "", where)


def is_lost(error: Exception) -> bool:
    """Whether the connection is gone, or the server is going: then nobody here knows what became of what was sent.

    A server that panics (its log cannot be written or synced) says why, but may find the commit in its log when it is back.
    """
    state = getattr(error, "sqlstate", None)
    if state is None or state[:2] == "08" or state[:3] == "57P":
        return True
    return isinstance(error, psycopg.Error) and error.diag.severity_nonlocalized == "PANIC"


def _lost(error: Exception, where: str, *, committing: bool, key: str | None) -> SojournError:
    """The connection is gone, or the server is going."""
    if getattr(error, "sqlstate", None) is None and not isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return EngineError(f"{where}: {error}.")
    if committing:
        return OutcomeUnknownError(
            f"{where}: the connection broke in a commit: {_first_line(error)}.", hint=_ASK_AGAIN, key=key
        )
    what = _first_line(error)
    return UnavailableError(f"{where} cannot be reached: {what}.", hint=f"{_NOTHING} {advice(what) or 'Try again.'}")


def _refused(error: Exception, state: str, where: str) -> SojournError:
    """The server answered with an error, and the transaction was rolled back whole."""
    kind, what, hint = _MEANINGS.get(state) or _MEANINGS.get(state[:2]) or (EngineError, "failed", "")
    return kind(f"{where} {what}: {_first_line(error)} ({state}).", hint=hint)


_MEANINGS: Final[dict[str, tuple[type[SojournError], str, str]]] = {
    "25006": (ReadOnlyError, "is read-only", f"{_NOTHING} Connect to the primary."),
    "53100": (FullError, "has no room left", f"{_NOTHING} Free some space."),
    "XX001": (CorruptError, "is damaged", "See the server's log; restore a backup."),
    "XX002": (CorruptError, "is damaged", "See the server's log; rebuild the index, or restore a backup."),
    "42P01": (SchemaError, "has not the schema of this release", "Run 'sojourn migrate'."),
    "42883": (SchemaError, "has not the schema of this release", "Run 'sojourn migrate'."),
    "42703": (SchemaError, "has not the schema of this release", "Run 'sojourn migrate'."),
    "42704": (SchemaError, "has not the schema of this release", "Run 'sojourn migrate'."),
    "42501": (EngineError, "did not permit that", "Grant this user the rights that the manual names."),
    "0A000": (UnsupportedError, "cannot do that", "Set default_transaction_isolation to 'read committed'."),
    "54000": (LimitError, "refused a value as too large", _NOTHING),
    "22003": (LimitError, "refused a value as too large", _NOTHING),
    "22": (InvalidValueError, "refused a value", _NOTHING),
    "28": (UnavailableError, "let nobody in", "Check user, password and database."),
    "3D": (UnavailableError, "let nobody in", "Check user, password and database."),
    "40": (UnavailableError, "was too busy", f"{_NOTHING} Try again."),
    "53": (UnavailableError, "was too busy", f"{_NOTHING} Try again."),
    "55": (UnavailableError, "was too busy", f"{_NOTHING} Try again."),
    "57": (UnavailableError, "was too busy", f"{_NOTHING} Try again."),
}
"""What PostgreSQL's codes, or the classes of them, mean here."""


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
