"""``sojourn import``: another program's data, as sessions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sojourn.cli.call import Call
from sojourn.cli.exits import FileExistsAlreadyError, MissingFileError
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
    made = parser.command(
        "gamegirl",
        "take over the games of GameGirl Color",
        gamegirl,
        examples="sojourn import gamegirl redis://localhost:6379/0 --dry-run\n"
        "sojourn import gamegirl redis.json --store sqlite:///games.db",
        more="Says what was taken over and what was left out, and why. A store that does not exist yet is made. From a\n"
        "server, only commands that read are sent.",
    )
    made.add_argument("source", metavar="SRC", help="the URL of its Redis server, or a dump of it: a JSON file")
    made = parser.command(
        "mud",
        "take over the users and sessions of the PipeWorks MUD server, as logins",
        mud,
        examples="sojourn import mud mud.db --dry-run\nsojourn import mud mud.db --store sqlite:///app.db",
        more="Who is signed in stays signed in: tokens are found by their digests and not stored. Passwords are not read.\n"
        "Says what was taken over and what was left out, and why. A store that does not exist yet is made.",
    )
    made.add_argument("source", metavar="SRC", help="its database")
    made = parser.command(
        "tkt",
        "take over who was at work, from a project's .tkt directory",
        tkt,
        examples="sojourn import tkt . --dry-run\nsojourn import tkt ~/src/app",
        more="Into the project of the working directory (see: sojourn init), whose pointer is set to the session that tkt's\n"
        "names. Says what was taken over and what was left out, and why. A store that does not exist yet is made.",
    )
    made.add_argument("source", metavar="SRC", help="the project, its .tkt, or the database in it")


def openjarvis(call: Call) -> None:
    """``import openjarvis``."""
    from sojourn.formats.openjarvis import FILE, check_openjarvis, import_openjarvis

    source = _source(call, "OpenJarvis", FILE)
    check_openjarvis(source)
    store = _store(call)
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


def gamegirl(call: Call) -> None:
    """``import gamegirl``."""
    from sojourn.formats.gamegirl import import_gamegirl
    from sojourn.formats.gamegirl_source import is_url

    given = call.arguments.source
    source = given if is_url(given) else Path(given).expanduser()
    if isinstance(source, Path) and not source.is_file():
        hint = "Name a dump of its Redis, or the server itself: redis://localhost:6379/0"
        raise MissingFileError(f"there is no file {source}.", hint=hint)
    store = _store(call)
    with call.output.progress("imported") as progress:
        report = import_gamegirl(store, source, dry_run=call.dry_run, progress=progress)
    call.output.answer(report.document(), [], "\n".join(report.lines()))


def mud(call: Call) -> None:
    """``import mud``."""
    from sojourn.formats.mud import FILE, import_mud

    source, store = _source(call, "the MUD server", FILE), _store(call)
    with call.output.progress("imported") as progress:
        report = import_mud(store, source, dry_run=call.dry_run, progress=progress)
    call.output.answer(report.document(), [], "\n".join(report.lines()))


def tkt(call: Call) -> None:
    """``import tkt``."""
    from sojourn.formats.tkt import database, import_tkt
    from sojourn.project import here

    here().project_id()  # before a store is made
    call.arguments.source = str(database(call.arguments.source))
    source, store = _source(call, "tkt"), _store(call)
    with call.output.progress("imported") as progress:
        report = import_tkt(store, source, dry_run=call.dry_run, progress=progress)
    call.output.answer(report.document(), [], "\n".join(report.lines()))


def _source(call: Call, program: str, name: str = "") -> Path:
    """The source's file, checked before a store is opened: it is never the store itself."""
    source = Path(call.arguments.source).expanduser()
    file = source / name if name and source.is_dir() else source
    if not file.is_file():
        raise MissingFileError(f"there is no file {file}.", hint=f"Name the file that {program} keeps its sessions in.")
    path = call.path
    if path is not None and path.exists() and path.samefile(file):
        raise FileExistsAlreadyError(f"{file} is the store itself.", hint="Name another store with --store.")
    return file


def _store(call: Call) -> Store:
    return call.scratch() if call.dry_run and not call.exists else call.store(create=not call.dry_run)
