"""``sojourn export FORMAT TARGET``: sessions as another program keeps them, so that it can go on with them."""

from __future__ import annotations

import tempfile
from pathlib import Path

from sojourn.cli.call import Call
from sojourn.cli.exits import FileExistsAlreadyError, MissingFileError, UsageError
from sojourn.cli.output import Progress
from sojourn.cli.text import many
from sojourn.formats.exported import ExportReport


def export_as(call: Call) -> None:
    """Write what the named program keeps; with ``--dry-run`` to a place that is thrown away."""
    from sojourn.formats.gamegirl_source import shown

    given = call.arguments
    if given.target is None:
        raise UsageError(
            f"export {given.format} needs a TARGET.", hint=f"sojourn export {given.format} {_EXAMPLES[given.format]}"
        )
    if given.owner is not None or given.kind is not None or given.output is not None:
        raise UsageError(f"--owner, --kind and --output do not go with {given.format}.", hint="They are for JSON lines.")
    if given.scope is not None and given.format != "tenets":
        raise UsageError("--scope belongs to tenets.", hint="sojourn export tenets tenets.db --scope my-project")
    target = _target(given.format, given.target)
    with call.output.progress("exported") as progress:
        if call.dry_run:
            with tempfile.TemporaryDirectory(prefix="sojourn-export-") as place:
                report = _written(call, Path(place) / "target", progress)
            rows = ", ".join(f"{many(count, 'row')} of {name}" for name, count in report.tables.items())
            call.output.would(f"write {rows} to {shown(target)}")
            return
        report = _written(call, target, progress)
    call.output.answer(report.document(), [], "\n".join(report.lines()))


def _target(format: str, given: str) -> str | Path:
    """A server, or a file that does not exist yet: one that does may be the other program's own."""
    from sojourn.formats.gamegirl_source import is_url

    if format == "gamegirl" and is_url(given):
        return given
    file = Path(given).expanduser()
    if file.exists():
        raise FileExistsAlreadyError(f"{file} exists.", hint="Name a file that does not, and put it in place yourself.")
    if not file.absolute().parent.is_dir():
        raise MissingFileError(f"there is no directory {file.absolute().parent}.", hint="Make it first.")
    return file


def _written(call: Call, target: str | Path, progress: Progress) -> ExportReport:
    store = call.store()
    match call.arguments.format:
        case "openjarvis":
            from sojourn.formats.openjarvis_export import export_openjarvis

            return export_openjarvis(store, target, progress=progress)
        case "tenets":
            from sojourn.formats.tenets_export import export_tenets

            return export_tenets(store, target, scope=call.arguments.scope, progress=progress)
        case _:
            from sojourn.formats.gamegirl_export import export_gamegirl

            return export_gamegirl(store, target, progress=progress)


_EXAMPLES = {"openjarvis": "sessions.db", "tenets": "tenets.db", "gamegirl": "redis.json"}
