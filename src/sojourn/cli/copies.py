"""``sojourn copy``: everything of a tenant from one store to another, of the same engine or not."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from sojourn.cli.call import Call, as_url
from sojourn.cli.exits import FAILED, OK, UsageError
from sojourn.cli.parser import Parser
from sojourn.cli.text import many
from sojourn.errors import InvalidValueError
from sojourn.shell.bridge import run_sync

if TYPE_CHECKING:
    from sojourn.copying import Tally, Verified
    from sojourn.transfer import Loaded


def fill(_: str, parser: Parser) -> None:
    """Add what the command takes."""
    parser.description = (
        "Copy every session of the tenant from SOURCE to TARGET, whatever engines they are on, and compare both afterwards.\n"
        "The source is only read, and may be in use. What the target has already is left as it is, so a copy that was stopped\n"
        "or killed is taken up by the same command. Events, leases and the keys of the last day stay behind (those of\n"
        "entries come along)."
    )
    parser.examples(
        "sojourn copy app.db postgresql://user@host/app\nsojourn copy postgresql://host/app sqlite:///app.db --dry-run\n"
        "sojourn copy app.db postgresql://host/app --rate 2000"
    )
    parser.add_argument("source", metavar="SOURCE", help="the store to copy: a URL or a path")
    parser.add_argument("target", metavar="TARGET", help="the store to copy to; made when it does not exist")
    parser.add_argument("--rate", metavar="N", type=int, help="lines (sessions, entries, names) a second at most")
    parser.add_argument("--no-verify", action="store_true", help="do not read both stores again to compare them")
    parser.set_defaults(run=copy)


def copy(call: Call) -> int:
    """``copy``."""
    from sojourn.copying import Copying

    given = call.arguments
    source_url, target_url = as_url(given.source), as_url(given.target)
    if source_url == target_url:
        raise InvalidValueError("source and target are the same store.", hint="Name two.")
    if given.rate is not None and given.rate < 1:
        raise UsageError("--rate must be 1 or more.", hint="Lines a second.")
    source = call.store_at(source_url)
    if call.dry_run:
        return _dry_run(call, source, source_url, target_url)
    target = call.store_at(target_url, create=True)
    copying = Copying(source._aio._unit, target._aio._unit, given.rate)
    with call.output.progress("sessions looked at") as progress:
        progress(0)
        copying.told = progress
        counts = run_sync(copying.count())
        loaded = run_sync(copying.run(counts.total()))
    verified: list[Verified] = []
    if not given.no_verify:
        with call.output.progress("sessions compared") as progress:
            copying.told = progress
            verified = run_sync(copying.verify(counts.total()))
    bad = [part for part in verified if not part.alike]
    call.output.answer(_document(loaded, verified), [], "\n".join(_lines(loaded, verified)))
    if bad:
        call.output.note(
            "Sessions that were changed in the source while they were copied differ: stop who writes there, and copy to an "
            "empty store."
        )
    return FAILED if bad else OK


def _dry_run(call: Call, source: Any, source_url: str, target_url: str) -> int:
    """Say what would be copied; a target that does not exist, or is no store yet, has nothing."""
    from sojourn.copying import Copying

    target = call.store_if_there(target_url)
    unit = source._aio._unit
    copying = Copying(unit, unit if target is None else target._aio._unit)
    counts: Counter[str] = run_sync(copying.count() if target is None else copying.missing())
    parts = ", ".join(f"{many(count, 'session')} of kind {kind}" for kind, count in counts.items() if count) or "nothing"
    call.output.would(f"copy {parts} from {_shown(source_url)} to {_shown(target_url)}", **counts)
    return OK


def _shown(url: str) -> str:
    from sojourn.engines.locate import shown_url

    return shown_url(url)


def _document(loaded: Loaded, verified: list[Verified]) -> dict[str, Any]:
    return {
        "sessions": loaded.sessions,
        "entries": loaded.entries,
        "names": loaded.aliases,
        "left_out": list(loaded.left_out),
        "verified": [
            {
                "part": part.part,
                "alike": part.alike,
                "source": _tally(part.source),
                "target": _tally(part.target),
                "differing": list(part.differing),
            }
            for part in verified
        ],
    }


def _tally(tally: Tally) -> dict[str, Any]:
    return {"count": tally.sessions, "lines": tally.lines, "checksum": f"{tally.checksum:032x}"}


def _lines(loaded: Loaded, verified: list[Verified]) -> list[str]:
    lines = [
        f"Copied {many(loaded.sessions, 'session')} with {many(loaded.entries, 'entry', 'entries')} and "
        f"{many(loaded.aliases, 'name')}.",
    ]
    if loaded.left_out:
        lines.append(f"Left out, because what they branch from is not there: {', '.join(loaded.left_out)}.")
    for part in verified:
        if not part.source.sessions:
            continue
        verdict = "the same" if part.alike else "NOT THE SAME"
        lines.append(f"{part.part:<18}{part.source.sessions:>9,}  {part.source.checksum:032x}  {verdict}")
        lines.extend(f"{'':<18}differs: {id}" for id in part.differing)
    return lines
