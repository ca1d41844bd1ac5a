"""``sojourn backup`` and ``sojourn restore``."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sojourn.cli.call import Call
from sojourn.cli.exits import FileExistsAlreadyError, MissingFileError, StoreInUseError
from sojourn.cli.files import allow, make_private
from sojourn.cli.parser import Parser
from sojourn.cli.text import many, size
from sojourn.engines.sqlite.faults import is_busy, translate
from sojourn.engines.sqlite.schema import VERSION, version_of
from sojourn.errors import CorruptError, ReadOnlyError, SchemaError, UnsupportedError

_DAMAGED = (11, 26)
"""SQLITE_CORRUPT and SQLITE_NOTADB."""


def fill(name: str, parser: Parser) -> None:
    """Add what the command takes."""
    if name == "backup":
        parser.description = (
            "Copy the whole store (all tenants) to a file, as of one moment, while it is in use. The copy is readable by you\n"
            "alone and is a store itself. A directory gets a file with the time in its name."
        )
        parser.examples("sojourn backup backups/\nsojourn backup monday.db --yes")
        parser.add_argument("target", metavar="PATH", help="the file to write, or a directory")
        parser.set_defaults(run=backup)
        return
    parser.description = (
        "Put a backup in the place of the store that --store names. The backup is checked first, and nothing is changed\n"
        "when it is not a sound Sojourn store, or when another program has the store open. The backup itself stays."
    )
    parser.examples("sojourn restore monday.db --store sqlite:///app.db")
    parser.add_argument("backup", metavar="BACKUP", help="a file that backup wrote")
    parser.set_defaults(run=restore)


def backup(call: Call) -> None:
    """``backup``."""
    store = call.store()
    target = Path(call.arguments.target)
    if target.is_dir():
        target = target / f"sojourn-{call.now:%Y%m%dT%H%M%SZ}.db"
    _not_itself(call, target)
    if not store.capabilities.backup:
        raise UnsupportedError(
            "this engine makes no backups.", hint=f"Use the server's own tools, or: {call.command('export')}"
        )
    if call.dry_run:
        call.output.would(f"copy {call.place} to {target}")
        return
    allow(call, target)
    written = store.backup(target, replace=True)
    call.output.answer({"path": str(target), "bytes": written}, [], f"The backup is in {target} ({size(written)}).")


def _not_itself(call: Call, other: Path) -> None:
    path = call.path
    if path is not None and path.exists() and other.exists() and path.samefile(other):
        raise FileExistsAlreadyError(f"{other} is the store itself.", hint="Name another file.")


# -- restore ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Facts:
    """What is known of a file that holds, or should hold, a store."""

    schema: int
    sessions: int

    def __str__(self) -> str:
        return many(self.sessions, "session")


def restore(call: Call) -> None:
    """``restore``."""
    source, path = Path(call.arguments.backup), call.path
    if path is None:
        raise UnsupportedError(
            f"{call.place} is not a file.", hint="restore works on sqlite:/// stores. Elsewhere: sojourn load FILE"
        )
    if "mode=ro" in call.url:
        raise ReadOnlyError(f"{call.place} is named read-only.", hint="Leave ?mode=ro out.")
    if not source.is_file():
        raise MissingFileError(f"there is no file {source}.", hint="Name a file that 'sojourn backup' wrote.")
    _not_itself(call, source)
    facts = _examined(source)
    if call.dry_run:
        instead = f", in place of what is there ({_described(path)})" if path.exists() else ""
        call.output.would(f"restore {source} ({facts}) to {path}{instead}")
        return
    if path.exists():
        question = f"Replace the store at {path} ({_described(path)}) with {source} ({facts})?"
        call.output.confirm(question, yes=call.options.yes)
        _replace(source, path)
    else:
        path.absolute().parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _copy_whole(source, path, replace=False)
    document = {"path": str(path), "from": str(source), "schema": facts.schema, "sessions": facts.sessions}
    call.output.answer(document, [], f"Restored {facts} from {source} to {path}.")
    if facts.schema < VERSION:
        call.output.note(f"It has schema {facts.schema}. To bring it to {VERSION}: {call.command('migrate')}")


def _examined(source: Path) -> _Facts:
    """Refuse what is not a sound Sojourn store of a schema that this release knows."""
    try:
        with closing(_connect(source, "ro")) as connection:
            damage = connection.execute("pragma quick_check(1)").fetchone()[0]
            if damage != "ok":
                raise CorruptError(f"{source} is damaged: {damage}.", hint="Nothing was restored. Use an older backup.")
            found = version_of(connection)
            if not found:
                raise CorruptError(f"{source} is a database, but not a Sojourn store.", hint="Nothing was restored.")
            if found > VERSION:
                raise SchemaError(
                    f"{source} has schema {found}; this release knows up to {VERSION}.",
                    hint="Nothing was restored. Upgrade Sojourn.",
                )
            return _facts(connection, found)
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED:
            raise CorruptError(
                f"{source} is not a Sojourn store, or is damaged: {error}.", hint="Nothing was restored."
            ) from error
        raise translate(error, str(source)) from error


def _facts(connection: sqlite3.Connection, schema: int) -> _Facts:
    count = "select count(*) from sojourn_session where state not in ('deleted', 'pending')"
    return _Facts(schema, connection.execute(count).fetchone()[0])


def _described(path: Path) -> str:
    """What is at the store's place now, in a word."""
    try:
        with closing(_connect(path, "rw")) as connection:
            found = version_of(connection)
            return str(_facts(connection, found)) if found else "no Sojourn store"
    except (sqlite3.Error, CorruptError):
        return "it cannot be read"


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=0.5, isolation_level=None)


def _replace(source: Path, path: Path) -> None:
    """Write the backup over the store in one transaction, under a lock that nobody else can share.

    The file itself stays: a program that waits for it meanwhile finds the restored store, not an unlinked one. Only what
    SQLite cannot open at all is replaced as a file.
    """
    try:
        with _alone(path) as store, closing(_connect(source, "ro")) as found:
            found.backup(store)
    except sqlite3.Error as error:
        if is_busy(error):
            raise StoreInUseError(
                f"another program has {path} open.", hint="Stop what uses it, and try again. Nothing was changed."
            ) from error
        if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _DAMAGED:
            raise translate(error, str(path)) from error
        for ending in ("-wal", "-shm", "-journal"):  # they would be replayed over the restored file
            path.with_name(path.name + ending).unlink(missing_ok=True)
        _copy_whole(source, path, replace=True)


@contextmanager
def _alone(path: Path) -> Generator[sqlite3.Connection]:
    """The store's file with its exclusive lock, which even an idle connection of another program refuses us."""
    with closing(_connect(path, "rw")) as connection:
        connection.execute("pragma locking_mode = exclusive")
        connection.execute("pragma synchronous = full")
        connection.execute("pragma secure_delete = on")
        connection.execute("pragma journal_mode = delete")
        connection.execute("begin exclusive")
        connection.execute("commit")
        yield connection


def _copy_whole(source: Path, path: Path, *, replace: bool) -> None:
    """A new file beside the place, then moved there: whole or not at all. What a log beside the source holds comes along."""
    partial = path.with_name(path.name + ".partial")
    try:
        os.close(make_private(partial))
        with closing(_connect(source, "ro")) as found, closing(_connect(partial, "rw")) as copy:
            found.backup(copy)
            copy.execute("pragma journal_mode = delete")
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        if replace:
            partial.replace(path)
        else:
            os.link(partial, path)  # which, other than a rename, fails when a store has been made there meanwhile
            partial.unlink()
        _sync_directory(path.absolute().parent)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _sync_directory(directory: Path) -> None:
    number = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
