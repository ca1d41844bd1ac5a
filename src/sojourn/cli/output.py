"""What a command says: data on standard output, everything else on standard error."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TextIO, TypeAlias

from sojourn.cli.exits import AmbiguousError, DeclinedError, Mistake, UnconfirmedError
from sojourn.cli.text import columns_wide, json_safe, one_line, visible
from sojourn.errors import InvalidValueError, SojournError

Mode: TypeAlias = Literal["human", "json", "jsonl", "quiet"]

SCHEMA_VERSION: Final = 1
"""Of the JSON that is printed; a change that could break a reader makes it 2."""

_STYLES: Final = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


@dataclass(frozen=True)
class Listing:
    """A list to be shown: one document a row for programs, one cell a column for people."""

    documents: Sequence[Any]
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    ids: Sequence[str]
    next: str | None = None
    paged: bool = False
    numbers: frozenset[str] = field(default=frozenset())
    """The columns that are set to the right."""


class Output:
    """Says things in the way that was asked for."""

    def __init__(self, mode: Mode = "human", *, colour: bool = True) -> None:
        self.mode = mode
        plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb" or not colour
        self.colour: bool = not plain and _is_terminal(sys.stdout)
        self._error_colour = not plain and _is_terminal(sys.stderr)

    @property
    def human(self) -> bool:
        """Whether a person reads it."""
        return self.mode == "human"

    @property
    def terminal(self) -> bool:
        """Whether a person sits before it and reads it as it comes."""
        return self.human and _is_terminal(sys.stdout)

    @property
    def for_programs(self) -> bool:
        """Whether a program takes it line by line."""
        return self.mode in ("jsonl", "quiet") and not _is_terminal(sys.stdout)

    # -- data ------------------------------------------------------------------------------------------------------

    def write(self, text: str) -> None:
        """Text on standard output as it is."""
        sys.stdout.write(text)

    def flush(self) -> None:
        """Let a reader see what was written so far."""
        sys.stdout.flush()

    def raw(self, text: str, *, json: bool = False) -> None:
        """Text in a format of its own (an export): to a file or a program as it is, to a terminal without what steers it."""
        if _is_terminal(sys.stdout):
            text = json_safe(text) if json else visible(text)
        self.write(text)

    def line(self, text: str = "") -> None:
        """A line for people."""
        self.write(visible(text) + "\n")

    def paint(self, text: str, style: str) -> str:
        """``text`` made visible and, on a terminal, in a style."""
        return f"\x1b[{_STYLES[style]}m{visible(text)}\x1b[0m" if self.colour else visible(text)

    def answer(self, document: Any, ids: Sequence[str], human: str | Callable[[], None]) -> None:
        """The outcome of a command, once for each sort of reader."""
        if self.mode == "json":
            self._json({"schema_version": SCHEMA_VERSION, "data": document})
        elif self.mode == "jsonl":
            self.item(document)
        elif self.mode == "quiet":
            for identifier in ids:
                self.line(identifier)
        elif callable(human):
            human()
        else:
            self.line(human)

    def would(self, what: str, **facts: Any) -> None:
        """What a dry run has found."""
        self.answer({"dry_run": True, "would": what, **facts}, [], f"Would {what}.")

    def item(self, document: Any) -> None:
        """One line of JSON."""
        self.write(self._dump(document) + "\n")

    def listing(self, found: Listing) -> None:
        """A list; an empty one is ``[]`` in JSON and nothing at all for people."""
        if self.mode == "json":
            envelope: dict[str, Any] = {"schema_version": SCHEMA_VERSION, "data": list(found.documents)}
            if found.paged:
                envelope["next"] = found.next
            self._json(envelope)
        elif self.mode == "jsonl":
            for document in found.documents:
                self.item(document)
        elif self.mode == "quiet":
            for identifier in found.ids:
                self.line(identifier)
        elif found.rows:
            self._table(found)

    def _json(self, document: Any) -> None:
        self.write(self._dump(document, indent=2 if _is_terminal(sys.stdout) else None) + "\n")

    def _dump(self, document: Any, indent: int | None = None) -> str:
        wide = "utf" in (getattr(sys.stdout, "encoding", None) or "utf-8").lower()
        separators = (",", ":") if indent is None else None
        return json_safe(json.dumps(document, ensure_ascii=not wide, indent=indent, separators=separators))

    def _table(self, found: Listing) -> None:
        if _is_terminal(sys.stdout) and os.environ.get("TERM") != "dumb":
            try:
                from sojourn.cli.tables import show
            except ImportError:  # rich is optional
                pass
            else:
                show(found, colour=self.colour)
                return
        cells = [[one_line(cell) for cell in row] for row in (found.columns, *found.rows)]
        widths = [max(columns_wide(row[place]) for row in cells) for place in range(len(found.columns))]
        for row in cells:
            padded = []
            for name, cell, width in zip(found.columns, row, widths, strict=True):
                gap = " " * (width - columns_wide(cell))
                padded.append(gap + cell if name in found.numbers else cell + gap)
            self.write("  ".join(padded).rstrip() + "\n")

    # -- everything else -------------------------------------------------------------------------------------------

    def note(self, text: str) -> None:
        """Something worth knowing beside the data; left out with ``--quiet``."""
        if self.mode != "quiet":
            _say(visible(text))

    def remark(self, text: str) -> None:
        """Something without which the data would mislead; said with ``--quiet`` too."""
        _say(visible(text))

    def failure(self, error: SojournError) -> None:
        """What went wrong, and what to do about it."""
        if self.mode in ("json", "jsonl"):
            document: dict[str, Any] = {"code": error.code, "message": error.message, "hint": error.hint}
            if isinstance(error, AmbiguousError):
                document["candidates"] = error.candidates
            elif isinstance(error, Mistake):
                document["trace"] = error.trace
            envelope = {"schema_version": SCHEMA_VERSION, "error": document}
            _say(json_safe(json.dumps(envelope, ensure_ascii=False, separators=(",", ":"))))
            return
        name = "\x1b[31msojourn:\x1b[0m" if self._error_colour else "sojourn:"
        lines = visible(error.message).splitlines() or [""]
        hints = [f"  {line}" for line in visible(error.hint).splitlines()]
        if isinstance(error, Mistake):
            hints += ["", *visible(error.trace).splitlines()]
        _say("\n".join([f"{name} {lines[0]}", *[f"  {line}" for line in lines[1:]], *hints]))

    def interrupted(self) -> None:
        """Leave the line on which the terminal shows ``^C``."""
        if _is_terminal(sys.stderr):
            _say("")

    def confirm(self, question: str, *, yes: bool, advice: str = "") -> None:
        """Go on when the answer is yes. With nobody to ask it is no, and the error says what to add."""
        if yes:
            return
        if not _is_terminal(sys.stdin):
            raise UnconfirmedError(
                f"{question} Nobody can be asked here, so nothing was changed.",
                hint=advice or "Add --yes to go on, or --dry-run to see what would be done.",
            )
        sys.stderr.write(f"{visible(question)} [y/N] ")
        sys.stderr.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise DeclinedError("nothing was changed.")

    def progress(self, label: str) -> Progress:
        """Shows how far something is, on a terminal."""
        return Progress(label, shown=_is_terminal(sys.stderr) and self.human)


class Progress:
    """One line on standard error that is written again and again, and taken away at the end; nothing elsewhere."""

    def __init__(self, label: str, *, shown: bool) -> None:
        self._label = label
        self._shown = shown
        self._wide = 0

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        if self._wide:
            sys.stderr.write("\r" + " " * self._wide + "\r")
            sys.stderr.flush()

    def __call__(self, done: int, total: int = 0) -> None:
        """``done`` of ``total``; 0 when nobody knows the total."""
        if not self._shown:
            return
        part = f" of {total:,} ({100 * done // total} %)" if total else ""
        text = f"{self._label}: {done:,}{part}"
        sys.stderr.write("\r" + text.ljust(self._wide))
        sys.stderr.flush()
        self._wide = max(self._wide, len(text))


def standard_input() -> bytes:
    """All of standard input; on a terminal, the user is told how to end it."""
    if _is_terminal(sys.stdin):
        _say("Type the text; end with Ctrl-D on a line of its own.")
    stream = getattr(sys.stdin, "buffer", None)
    return stream.read() if stream is not None else sys.stdin.read().encode()


def standard_text() -> str:
    """Standard input as text, without its last line end."""
    try:
        text = standard_input().decode()
    except UnicodeDecodeError as error:
        raise InvalidValueError(
            f"standard input is not UTF-8 text (byte {error.start + 1}).", hint="Convert it first, for example with iconv."
        ) from error
    return text.removesuffix("\n").removesuffix("\r")


def standard_lines() -> Iterable[bytes]:
    """Standard input line by line."""
    stream = getattr(sys.stdin, "buffer", None)
    return stream if stream is not None else (line.encode() for line in sys.stdin)


def _say(text: str) -> None:
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except BrokenPipeError:  # nobody listens; the exit code still says it
        pass


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed
        return False
