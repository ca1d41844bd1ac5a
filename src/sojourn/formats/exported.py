"""What an export to another program's format wrote, and files that are whole or not there."""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sojourn.core.codec import Json
from sojourn.errors import InvalidValueError, UnavailableError
from sojourn.formats.report import Note


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What was written for another program: rows of each table, and what that program has no place for."""

    format: str
    target: str
    tables: dict[str, int]
    notes: list[Note]

    def document(self) -> dict[str, Json]:
        """The whole report as a JSON object."""
        return {
            "format": self.format,
            "target": self.target,
            "tables": dict(self.tables),
            "notes": [{"table": note.table, "row": note.row, "text": note.text} for note in self.notes],
        }

    def lines(self) -> list[str]:
        """To read: the rows of each table, then each note with how many rows it is about and the first of them."""
        width = max(map(len, self.tables), default=0)
        found = [f"{name:<{width}}  {rows:>9,} written" for name, rows in self.tables.items()]
        counts = Counter((note.table, note.text) for note in self.notes)
        for (table, text), count in counts.items():
            rows = [note.row for note in self.notes if (note.table, note.text) == (table, text)]
            shown = ", ".join(rows[:5]) + (", ..." if count > 5 else "")
            found.append(f"note: {table}, {count:,} x {text} ({shown})")
        return found


def new_file(path: str | os.PathLike[str]) -> Path:
    """Where a new file is to be; `InvalidValueError` where there is one: it may be the other program's."""
    file = Path(path).expanduser()
    if file.exists():
        raise InvalidValueError(f"{file} exists.", hint="Name a file that does not exist, and put it in place yourself.")
    if not file.absolute().parent.is_dir():
        raise InvalidValueError(f"there is no directory {file.absolute().parent}.", hint="Make it first.")
    return file


@contextmanager
def whole_file(file: Path) -> Generator[Path]:
    """A place beside ``file`` that becomes it when all is written; readable by its owner alone."""
    partial = file.with_name(file.name + ".partial")
    try:
        partial.unlink(missing_ok=True)
        os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        yield partial
        os.link(partial, file)  # unlike a rename it replaces nothing
    except OSError as error:
        raise UnavailableError(f"{file} cannot be written: {error.strerror or error}.") from error
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def new_database(file: Path, schema: str) -> Generator[sqlite3.Connection]:
    """A new SQLite database with these tables, in one transaction."""
    with whole_file(file) as partial, closing(sqlite3.connect(partial)) as connection:
        try:
            connection.executescript(schema)
            yield connection
            connection.commit()
        except sqlite3.Error as error:
            raise UnavailableError(f"{file} cannot be written: {error}.") from error
