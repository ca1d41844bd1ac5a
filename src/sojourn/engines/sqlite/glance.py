"""One session of a store's file, read in a millisecond by whoever must not pay for an engine (prompts, hooks).

Nothing is changed: no schema, no log, not even a file beside the store. A database in write-ahead mode cannot be opened
read-only without SQLite making these files where there are none, so a store that nobody has open is read as one that cannot
change (``immutable``), and looked at again afterwards: if somebody has begun to write meanwhile, it is read with them.
"""

from __future__ import annotations

import os
import sqlite3

from sojourn.engines.sqlite.faults import translate

_SCHEMA = "select value from sojourn_meta where name = 'schema'"
_SESSION = (
    "select s.kind, s.home, s.state, s.created_at, s.mark, s.active_at, s.deadline, s.ended_at, d.data "
    "from sojourn_session s join sojourn_data d using (n) "
    "where s.tenant = ? and s.id = ? and s.state not in ('deleted', 'pending')"
)
KNOWN = "2"
"""The schema that these statements are for; a store of another one is left to the engine, which knows what to say."""

_TRIES = 5


class Glanced:
    """What is stored of a session, times in microseconds; ``data`` is JSON text."""

    __slots__ = ("active_at", "created_at", "data", "deadline", "ended_at", "home", "kind", "mark", "state")

    def __init__(
        self,
        kind: str,
        home: str,
        state: str,
        created_at: int,
        mark: int,
        active_at: int,
        deadline: int | None,
        ended_at: int | None,
        data: str,
    ) -> None:
        self.kind: str = kind
        self.home: str = home
        self.state: str = state
        self.created_at: int = created_at
        self.mark: int = mark
        self.active_at: int = active_at
        self.deadline: int | None = deadline
        self.ended_at: int | None = ended_at
        self.data: str = data


def glance(path: str, tenant: str, session: str) -> Glanced | None:
    """A session of the store at ``path``; None when it is not there, or the store is not one that can be read so simply.

    `UnavailableError` and its kin when the file cannot be read.
    """
    try:
        for _ in range(_TRIES):
            before = _state(path)
            if before is None:
                return None
            found = _read(path, tenant, session, alone=not before[0])
            if before[0] or _state(path) == before:
                return found
    except sqlite3.Error as error:
        raise translate(error, path) from error
    return None


def _read(path: str, tenant: str, session: str, *, alone: bool) -> Glanced | None:
    place = "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in os.fsencode(os.path.abspath(path)))
    uri = f"file:{place}?mode=ro" + ("&immutable=1" if alone else "")
    connection = sqlite3.connect(uri, uri=True, timeout=1.0, isolation_level=None)
    try:
        meta = connection.execute("select 1 from sqlite_master where name = 'sojourn_meta'").fetchone()
        if meta is None or connection.execute(_SCHEMA).fetchone() != (KNOWN,):
            return None
        row = connection.execute(_SESSION, (tenant, session)).fetchone()
        return None if row is None else Glanced(*row)
    finally:
        connection.close()


def _state(path: str) -> tuple[bool, int, int, int] | None:
    """Whether somebody has the store open or left a log behind, and what changes with the file; None without one."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return os.path.exists(f"{path}-wal") or os.path.exists(f"{path}-journal"), found.st_ino, found.st_size, found.st_mtime_ns


_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/._-~")
