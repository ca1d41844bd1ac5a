"""``sojourn import``: another program's data, as sessions."""

from __future__ import annotations

from pathlib import Path

from sojourn.cli.call import Call
from sojourn.cli.exits import FileExistsAlreadyError, MissingFileError
from sojourn.cli.parser import Parser


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


def openjarvis(call: Call) -> None:
    """``import openjarvis``."""
    from sojourn.formats.openjarvis import FILE, check_openjarvis, import_openjarvis

    source = Path(call.arguments.source).expanduser()
    file = source / FILE if source.is_dir() else source
    if not file.is_file():
        raise MissingFileError(f"there is no file {file}.", hint="Name the file that OpenJarvis keeps its sessions in.")
    path = call.path
    if path is not None and path.exists() and path.samefile(file):
        raise FileExistsAlreadyError(f"{file} is the store itself.", hint="Name another store with --store.")
    check_openjarvis(file)
    store = call.scratch() if call.dry_run and not call.exists else call.store(create=not call.dry_run)
    with call.output.progress("imported") as progress:
        report = import_openjarvis(store, source, dry_run=call.dry_run, progress=progress)
    call.output.answer(report.document(), [], "\n".join(report.lines()))
