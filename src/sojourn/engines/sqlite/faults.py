"""What SQLite says went wrong, as Sojourn's errors."""

from __future__ import annotations

import sqlite3

from sojourn.errors import (
    CorruptError,
    EngineError,
    FullError,
    LimitError,
    OutcomeUnknownError,
    ReadOnlyError,
    UnavailableError,
)

BUSY = 5
LOCKED = 6
_PRIMARY = 0xFF


def code_of(error: sqlite3.Error) -> int:
    """The primary result code, 0 when the error carries none."""
    return getattr(error, "sqlite_errorcode", 0) & _PRIMARY


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another connection has the lock, now."""
    return code_of(error) in (BUSY, LOCKED)


def translate(error: sqlite3.Error, path: str, *, committing: bool = False, key: str | None = None) -> EngineError | LimitError:
    """The Sojourn error for ``error``; the caller raises it from the driver's."""
    name = getattr(error, "sqlite_errorname", "") or type(error).__name__
    detail = f"{error} ({name})"
    match code_of(error):
        case 5 | 6:
            return UnavailableError(f"{path} is busy: {detail}.", hint="Another process is writing; try again.")
        case 8:
            return ReadOnlyError(f"{path} is read-only: {detail}.", hint="Nothing was stored. Make it writable.")
        case 13:
            return FullError(f"no room to write to {path}: {detail}.", hint="Nothing was stored. Free some space.")
        case 10 if committing:
            return OutcomeUnknownError(
                f"{path} failed while committing: {detail}.",
                hint="It may have been stored or not: ask again with the same key.",
                key=key,
            )
        case 10:
            return UnavailableError(f"{path} could not be read or written: {detail}.", hint="Check the disk.")
        case 11 | 26:
            return CorruptError(
                f"{path} is not a Sojourn store or is damaged: {detail}.",
                hint="Check the path; 'sojourn doctor' looks closer, 'sojourn restore' brings a backup back.",
            )
        case 14:
            return UnavailableError(
                f"{path} cannot be opened: {detail}.", hint="Does its directory exist, and may this user write there?"
            )
        case 18:
            return LimitError(f"SQLite refused a value as too large: {detail}.")
        case _:
            return EngineError(f"SQLite failed on {path}: {detail}.")
