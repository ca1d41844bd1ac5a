"""``sojourn import``: another program's data, as sessions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sojourn.cli.call import Call
from sojourn.cli.exits import MissingFileError
from sojourn.cli.parser import Parser

if TYPE_CHECKING:
    from sojourn.sync.store import Store


def fill(_: str, parser: Parser) -> None:
    """Add the formats."""
    parser.description = "Take over another program's data. The source is only read, and importing twice stores nothing twice."
    parser.commands("FORMAT")
    made = parser.command(
        "openjarvis",
        "take over the conversations of OpenJarvis",
        openjarvis,
        examples="sojourn import openjarvis ~/.openjarvis/sessions.db --dry-run\n"
        "sojourn import openjarvis ~/.openjarvis/sessions.db --store sqlite:///app.db",
        more="Says what was taken over and what was left out, and why. A store that does not exist yet is made.",
    )
    made.add_argument("source", metavar="SRC", help="its session database")
    made = parser.command(
        "tenets",
        "take over the sessions of Tenets, as contexts",
        tenets,
        examples="sojourn import tenets tenets.db --dry-run\nsojourn import tenets tenets.db --scope my-project",
        more="Says what was taken over and what was left out, and why. A store that does not exist yet is made.",
    )
    made.add_argument("source", metavar="SRC", help="its session database")
    made.add_argument("--scope", metavar="SCOPE", help="the scope the contexts get (default: the scope 'default')")


def openjarvis(call: Call) -> None:
    """``import openjarvis``."""
    from sojourn.formats.openjarvis import import_openjarvis

    source, store = _source(call, "OpenJarvis"), _store(call)
    with call.output.progress("imported") as progress:
        report = import_openjarvis(store, source, dry_run=call.dry_run, progress=progress)
    call.output.answer(report.document(), [], "\n".join(report.lines()))


def tenets(call: Call) -> None:
    """``import tenets``."""
    from sojourn.formats.tenets import import_tenets

    source, store = _source(call, "Tenets"), _store(call)
    with call.output.progress("imported") as progress:
        report = import_tenets(store, source, scope=call.arguments.scope, dry_run=call.dry_run, progress=progress)
    call.output.answer(report.document(), [], "\n".join(report.lines()))


def _source(call: Call, program: str) -> Path:
    source = Path(call.arguments.source).expanduser()
    if not source.exists():
        raise MissingFileError(f"there is no {source}.", hint=f"Name the file that {program} keeps its sessions in.")
    return source


def _store(call: Call) -> Store:
    return call.scratch() if call.dry_run and not call.exists else call.store(create=not call.dry_run)
