"""``sojourn export`` and ``sojourn load``: a store as JSON lines, and back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sojourn.cli.call import Call
from sojourn.cli.exits import MissingFileError, UsageError
from sojourn.cli.files import write_file
from sojourn.cli.output import Progress, standard_lines
from sojourn.cli.parser import Parser
from sojourn.cli.text import many, size
from sojourn.errors import CorruptError, InvalidValueError, SojournError
from sojourn.sessions import KINDS

if TYPE_CHECKING:
    from sojourn.sync.store import Store

FORMATS: Final = ("openjarvis", "tenets", "gamegirl")
"""Programs that Sojourn can hand its sessions back to."""


def fill(name: str, parser: Parser) -> None:
    """Add what the command takes."""
    if name == "export":
        parser.description = (
            "Write sessions as JSON lines, as they are stored: ids, entries, links, everything that load needs\n"
            "to make the same sessions in another store. With FORMAT: what another program keeps, as that program does,\n"
            "in a new file or, for gamegirl, on a Redis server without its keys; what it has no place for is named."
        )
        parser.examples(
            "sojourn export --output all.jsonl\nsojourn export --owner alice > alice.jsonl\n"
            "sojourn export openjarvis sessions.db\nsojourn export gamegirl redis://localhost:6379/1"
        )
        parser.add_argument("format", metavar="FORMAT", nargs="?", choices=FORMATS, help=f"one of: {', '.join(FORMATS)}")
        parser.add_argument(
            "target", metavar="TARGET", nargs="?", help="the new file, or the server, that FORMAT is written to"
        )
        parser.add_argument("--scope", metavar="SCOPE", help="with tenets: the scope (default: the scope 'default')")
        parser.add_argument("--owner", metavar="USER", help="only this person's")
        parser.add_argument("--kind", metavar="KIND", action="append", choices=KINDS, help="only this kind; may be repeated")
        parser.add_argument(
            "--output", metavar="FILE", help="write it there (readable by you alone) instead of standard output"
        )
        parser.set_defaults(run=export)
        return
    parser.description = (
        "Read what export wrote, under the same ids. What is in the store already is left as it is, so it may be repeated.\n"
        "A store that does not exist yet is made."
    )
    parser.examples(
        "sojourn load all.jsonl --store sqlite:///copy.db\nsojourn export --store a.db | sojourn load - --store b.db"
    )
    parser.add_argument("file", metavar="FILE", help="a file that export wrote; - is standard input")
    parser.set_defaults(run=load)


def export(call: Call) -> None:
    """``export``."""
    given = call.arguments
    if given.format is not None:
        from sojourn.cli.exports import export_as

        export_as(call)
        return
    if given.scope is not None:
        raise UsageError("--scope belongs to tenets.", hint="sojourn export tenets tenets.db --scope my-project")
    store = call.store()
    lines = store.export(kinds=given.kind or KINDS, owner=given.owner)
    if given.output is None:
        for line in lines:
            call.output.raw(line, json=True)
        return
    target = Path(given.output)
    if call.dry_run:
        sessions = sum(line.startswith('{"type":"session"') for line in lines)
        call.output.would(f"write {many(sessions, 'session')} to {target}")
        return
    with call.output.progress("lines written") as progress:
        written = write_file(call, target, _counted(lines, progress))
    call.output.answer({"path": str(target), "bytes": written}, [], f"The export is in {target} ({size(written)}).")


def _counted(lines: Iterable[str], progress: Progress) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        if number % 1000 == 0:
            progress(number)
        yield line


def load(call: Call) -> None:
    """``load``."""
    name = call.arguments.file
    if name == "-":
        _load(call, standard_lines())
        return
    path = Path(name)
    if not path.exists():
        raise MissingFileError(
            f"there is no file {name}.", hint="Name a file that 'sojourn export' wrote; - is standard input."
        )
    with path.open("rb") as file:
        _load(call, file)


def _load(call: Call, lines: Iterable[bytes]) -> None:
    name = "standard input" if call.arguments.file == "-" else call.arguments.file
    try:
        text = _checked(_decoded(lines), name)
    except InvalidValueError as error:
        error.message = f"{name}: {error.message}"
        raise
    with call.output.progress("lines read") as progress:
        store = call.scratch() if call.dry_run else call.store(create=True)
        seen = _Seen(store)
        try:
            found = store.load(seen.lines(_counted(text, progress)))
        except SojournError as error:
            error.message = f"{name}: {error.message}"
            if not call.dry_run:
                stored = seen.stored()
                kept = f"{many(stored, 'session')} before it {'is' if stored == 1 else 'are'} in the store"
                error.hint = f"{error.hint} {kept}; loading again goes on behind.".lstrip()
            raise
    what = f"{many(found.sessions, 'session')} with {many(found.entries, 'entry', 'entries')} and {many(seen.links, 'link')}"
    document = {"sessions": found.sessions, "entries": found.entries, "links": seen.links, "present": found.present}
    if call.dry_run:
        call.output.answer(document, [], f"The file has {what}; those that the store has already would be left as they are.")
        return
    kept = f"; {many(found.present, 'session')} left as found, being there already" if found.present else ""
    call.output.answer(document, [], f"Loaded {what}{kept}.")
    if found.left_out:
        forks = f"{many(len(found.left_out), 'fork')} left out, since what it shares is not here"
        call.output.note(f"{forks}: {', '.join(found.left_out[:5])}{', …' if len(found.left_out) > 5 else ''}")


class _Seen:
    """What has gone by of an export: its sessions, and the channel handles that the store had not."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._ids: list[str] = []
        self.links = 0

    def stored(self) -> int:
        """How many of its sessions are in the store, whole."""
        found = (self._store.sessions.get(identifier) for identifier in self._ids)
        return sum(session is not None for session in found)

    def lines(self, lines: Iterable[str]) -> Iterator[str]:
        """The same lines."""
        for line in lines:
            if line.startswith(('{"type":"session"', '{"type":"alias"')):
                self._look(line)
            yield line

    def _look(self, line: str) -> None:
        from sojourn.kinds.conversations.rules import HANDLE, handle_of

        try:
            row = json.loads(line)
            if row["type"] == "session":
                self._ids.append(str(row["id"]))
            elif row["namespace"] == HANDLE:
                self.links += self._store.conversations.resolve(*handle_of(row["key"])) is None
        except (ValueError, KeyError, TypeError, SojournError):  # the load says what is wrong with it
            return


def _checked(lines: Iterator[str], name: str) -> Iterator[str]:
    """The same lines, once the first one says that they are an export: before a store is made for them."""
    from sojourn.transfer import FORMAT

    first = next(lines, "")
    try:
        head = json.loads(first)
    except ValueError:
        head = None
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise CorruptError(f"{name} is not a Sojourn export.", hint="Load what 'sojourn export' wrote. Nothing was stored.")
    return chain([first], lines)


def _decoded(lines: Iterable[bytes]) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        try:
            yield line.decode()
        except UnicodeDecodeError as error:
            raise InvalidValueError(f"line {number} is not UTF-8 text.", hint="Load what 'sojourn export' wrote.") from error
