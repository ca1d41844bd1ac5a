"""A foreign SQLite file, read as of one moment and never changed.

A file that is at rest is opened read-only. One that a crash left with a journal, or that keeps a write-ahead log, cannot be
read without SQLite writing beside it, so a private copy is read instead.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Generator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Final, TypeAlias

from sojourn.errors import CorruptError, InvalidValueError, UnavailableError

Value: TypeAlias = str | bytes | int | float | None
"""What a column of any type may hold; text that is not UTF-8 arrives as bytes."""

_SIDES: Final = ("-wal", "-journal")
_TRIES: Final = 5


@contextmanager
def open_source(path: str | os.PathLike[str], default: str = "") -> Generator[sqlite3.Connection]:
    """A connection to ``path`` (in a directory: to the file named ``default``) whose reads all see the same moment."""
    file = source_file(path, default)
    with ExitStack() as stack:
        try:
            yield stack.enter_context(closing(_open(file, stack)))
        except sqlite3.Error as error:
            raise CorruptError(f"{file} cannot be read: {error}.", hint="Is it a whole SQLite database?") from error


def source_file(path: str | os.PathLike[str], default: str = "") -> Path:
    """The file to read; `InvalidValueError` when there is none."""
    file = Path(path).expanduser()
    if default and file.is_dir():
        file /= default
    if not file.is_file():
        raise InvalidValueError(f"there is no file {file}.", hint="Give the path of the database to import.")
    return file


def foreign_file(path: str | os.PathLike[str], default: str, own: str | None) -> Path:
    """The file to read, unless it is the store's own: closing that one would drop the engine's locks on it."""
    file = source_file(path, default)
    if own is not None and Path(own).exists() and file.samefile(own):
        raise InvalidValueError(f"{file} is the store itself.", hint=f"Give the path of the {default} to import.")
    return file


def _open(file: Path, stack: ExitStack) -> sqlite3.Connection:
    if not _at_rest(file):
        return _connect(_copy(file, stack), "rw")
    try:
        return _connect(file, "ro")
    except sqlite3.OperationalError:  # whoever writes to it has begun just now
        return _connect(_copy(file, stack), "rw")


def _connect(file: Path, mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{file.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None)
    try:
        connection.text_factory = _text
        connection.execute("begin")
        connection.execute("select count(*) from sqlite_master").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def _text(raw: bytes) -> str | bytes:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def _at_rest(file: Path) -> bool:
    """Whether nothing beside the file belongs to it, and nothing would be made beside it by reading."""
    try:
        if any(side.exists() and side.stat().st_size for side in _beside(file)):
            return False
        with file.open("rb") as content:
            header = content.read(20)
    except OSError as error:
        raise UnavailableError(f"{file} cannot be read: {error.strerror}.") from error
    return header[18:20] != b"\x02\x02"  # the file format's mark of a write-ahead log


def _beside(file: Path) -> list[Path]:
    return [file.with_name(file.name + side) for side in _SIDES]


def _copy(file: Path, stack: ExitStack) -> Path:
    """A private copy with what belongs to it; taken again when the file was written to meanwhile."""
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sojourn-import-")))
    copy = directory / "source.db"
    try:
        for _ in range(_TRIES):
            before = _state(file)
            shutil.copyfile(file, copy)
            for side, target in zip(_beside(file), _beside(copy), strict=True):
                target.unlink(missing_ok=True)
                if side.exists():
                    shutil.copyfile(side, target)
            if _state(file) == before:
                return copy
    except OSError as error:
        raise UnavailableError(f"{file} cannot be copied to be read: {error}.") from error
    raise UnavailableError(f"{file} is being written to.", hint="Stop the program it belongs to, then import again.")


def _state(file: Path) -> tuple[object, ...]:
    """What changes when the file is written to, or when its journal or log comes, goes, or is another one."""
    kept = file.stat()
    sides = [side.stat().st_ino if side.exists() else None for side in _beside(file)]
    return (kept.st_ino, kept.st_size, kept.st_mtime_ns, *sides)


def columns(connection: sqlite3.Connection, table: str) -> frozenset[str]:
    """The names of a table's columns; empty when there is no such table."""
    return frozenset(str(row[0]) for row in connection.execute("select name from pragma_table_info(?)", (table,)))


def tables(connection: sqlite3.Connection) -> list[str]:
    """The names of all tables but SQLite's own, sorted."""
    rows = connection.execute("select name from sqlite_master where type = 'table' order by name")
    return [str(row[0]) for row in rows if not str(row[0]).startswith("sqlite_")]
