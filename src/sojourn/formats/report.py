"""What an import did, row by row: every row of the source is imported, or skipped with a reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

from sojourn.core.codec import Json

Progress: TypeAlias = Callable[[int, int], None]
"""Told after every commit: rows done, and rows there are."""

PRESENT: Final = "present: stored here already"

_NAMED: Final = 5
"""How many rows of one reason are named in the lines; the document names all."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A row that was not imported, or several of one table that share a reason."""

    table: str
    row: str
    reason: str
    rows: int = 1


@dataclass(frozen=True, slots=True)
class Note:
    """What was done to a row that could not be taken as it was."""

    table: str
    row: str
    text: str


@dataclass(frozen=True, slots=True)
class Counts:
    """The rows of one table: ``read == imported + skipped``."""

    read: int
    imported: int
    skipped: int


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did, or with ``dry_run`` would do."""

    format: str
    path: str
    dry_run: bool
    tables: dict[str, Counts]
    skipped: list[Skipped]
    notes: list[Note]

    @property
    def rows_read(self) -> int:
        """Rows of all tables."""
        return sum(counts.read for counts in self.tables.values())

    @property
    def imported(self) -> int:
        """Rows that are in the store because of this import."""
        return sum(counts.imported for counts in self.tables.values())

    @property
    def present(self) -> int:
        """Rows, of those that were skipped, that an earlier import had stored."""
        return sum(item.rows for item in self.skipped if item.reason == PRESENT)

    def document(self) -> dict[str, Json]:
        """The whole report as a JSON object."""
        return {
            "format": self.format,
            "path": self.path,
            "dry_run": self.dry_run,
            "tables": {
                name: {"read": counts.read, "imported": counts.imported, "skipped": counts.skipped}
                for name, counts in self.tables.items()
            },
            "skipped": [
                {"table": item.table, "row": item.row, "reason": item.reason, "rows": item.rows} for item in self.skipped
            ],
            "notes": [{"table": note.table, "row": note.row, "text": note.text} for note in self.notes],
        }

    def lines(self) -> list[str]:
        """To read: the counts of each table, then reasons and notes with the first rows they are about."""
        width = max(map(len, self.tables), default=0)
        verb = "to import" if self.dry_run else "imported"
        found = [
            f"{name:<{width}}  {counts.read:>9,} read  {counts.imported:>9,} {verb}  {counts.skipped:>9,} skipped"
            for name, counts in self.tables.items()
        ]
        found += _grouped("skipped", ((item.table, item.reason, item.row, item.rows) for item in self.skipped))
        return found + _grouped("note", ((note.table, note.text, note.row, 1) for note in self.notes))


def _grouped(word: str, items: Iterable[tuple[str, str, str, int]]) -> list[str]:
    """One line for each table and text, with how many rows it is about and the first of them."""
    counts: Counter[tuple[str, str]] = Counter()
    named: dict[tuple[str, str], list[str]] = {}
    for table, text, row, rows in items:
        counts[table, text] += rows
        names = named.setdefault((table, text), [])
        if len(names) <= _NAMED:
            names.append(row)
    found = []
    for (table, text), names in named.items():
        shown = ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
        where = "" if text == PRESENT else f" ({shown})"
        found.append(f"{word}: {table}, {counts[table, text]:,} x {text}{where}")
    return found


class Tally:
    """A report while it is made."""

    def __init__(self, format: str, path: str, read: dict[str, int], *, dry_run: bool, progress: Progress | None) -> None:
        self._format = format
        self._path = path
        self._read = read
        self._dry_run = dry_run
        self._progress = progress
        self._imported: Counter[str] = Counter()
        self._skipped: Counter[str] = Counter()
        self._skips: list[Skipped] = []
        self._notes: list[Note] = []
        self._total = sum(read.values())

    def imported(self, table: str, rows: int = 1) -> None:
        """These rows are in the store."""
        self._imported[table] += rows

    def skip(self, table: str, row: str, reason: str, rows: int = 1) -> None:
        """These rows are not imported, and why."""
        if rows:
            self._skipped[table] += rows
            self._skips.append(Skipped(table, row, reason, rows))

    def note(self, table: str, row: str, text: str) -> None:
        """What was done to a row."""
        self._notes.append(Note(table, row, text))

    def tell(self) -> None:
        """Tell whoever watches how far the import is."""
        if self._progress is not None:
            self._progress(self._imported.total() + self._skipped.total(), self._total)

    def report(self) -> ImportReport:
        """The finished report."""
        tables = {name: Counts(read, self._imported[name], self._skipped[name]) for name, read in self._read.items()}
        return ImportReport(self._format, self._path, self._dry_run, tables, self._skips, self._notes)
