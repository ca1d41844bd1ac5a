"""Options that every command has, and the sorts of value that options take."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from sojourn.cli.exits import UsageError
from sojourn.cli.output import Mode

if TYPE_CHECKING:
    from sojourn.cli.call import Call

Run: TypeAlias = "Callable[[Call], int | None]"

IN_SHORT: Final = (
    "options of every command, before or behind it (sojourn --help explains them):\n"
    "  --store URL  --tenant NAME  --session REF  --json  --jsonl  -q  -y  --dry-run  --no-color\n"
    "  --trust-root"
)

IN_FULL: Final = """\
options of every command, before or behind it:
  --store URL       which store: sqlite:///relative.db, sqlite:////absolute.db, or a path with a slash or ending in .db.
                    Without it SOJOURN_URL, else the project's (.sojourn/sojourn.db here or above), else your own
  --tenant NAME     whose sessions (default: default)
  --session REF     which workspace session is meant: an id, the end of one, a name, the beginning of one, - for the
                    one before. Without it SOJOURN_SESSION, else the agent's, terminal's or project's pointer
  --json            one JSON document: {"schema_version":1,"data":...}; errors too, on standard error
  --jsonl           one JSON document a line
  -q, --quiet       whole ids only, one a line
  -y, --yes         do not ask before something is removed
  --dry-run         say what would be done, and do nothing
  --no-color        no colours (as NO_COLOR in the environment)
  --trust-root      use a project that belongs to somebody else (as SOJOURN_TRUST_ROOT=1), in containers
  --version         the version
  -h, --help        this, or a command's own help"""


@dataclass(frozen=True)
class Options:
    """What the options of every command said."""

    store: str | None = None
    tenant: str = "default"
    session: str | None = None
    mode: Mode = "human"
    yes: bool = False
    dry_run: bool = False
    colour: bool = True
    trust_root: bool = False


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the options to one parser; each level has them, and only what was given is set."""
    for names, takes_value, _ in _GLOBAL:
        dest = "global_" + names[-1].removeprefix("--").replace("-", "_")
        if takes_value:
            parser.add_argument(*names, dest=dest, default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        else:
            parser.add_argument(*names, dest=dest, action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def reveal(parser: argparse.ArgumentParser) -> None:
    """Give these options their help, which is left out of each command's own (shell completion offers what has one)."""
    known = {names[-1]: text for names, _, text in _GLOBAL}
    for action in parser._actions:
        if action.help is argparse.SUPPRESS and action.option_strings:
            action.help = known.get(action.option_strings[-1], action.help)


_GLOBAL: Final = (
    (("--store",), True, "which store"),
    (("--tenant",), True, "whose sessions"),
    (("--session",), True, "which workspace session"),
    (("--json",), False, "one JSON document"),
    (("--jsonl",), False, "one JSON document a line"),
    (("-q", "--quiet"), False, "whole ids only"),
    (("-y", "--yes"), False, "do not ask"),
    (("--dry-run",), False, "do nothing, and say what would be done"),
    (("--no-color",), False, "no colours"),
    (("--trust-root",), False, "use a project that belongs to somebody else"),
)


def of_namespace(found: argparse.Namespace) -> Options:
    """The options in what was parsed."""
    given = {name: value for name, value in vars(found).items() if name.startswith("global_")}
    modes: list[Mode] = [mode for mode in _MODES if given.get(f"global_{mode}")]
    if len(modes) > 1:
        raise UsageError(f"--{modes[0]} and --{modes[1]} exclude each other.", hint="Choose one.")
    return Options(
        given.get("global_store"),
        given.get("global_tenant", "default"),
        given.get("global_session"),
        modes[0] if modes else "human",
        given.get("global_yes", False),
        given.get("global_dry_run", False),
        not given.get("global_no_color", False),
        given.get("global_trust_root", False),
    )


_MODES: Final[tuple[Mode, ...]] = ("json", "jsonl", "quiet")


def mode_of(words: Sequence[str]) -> Mode:
    """How errors are told while nothing has been parsed yet."""
    given = list(words[: words.index("--")] if "--" in words else words)
    return "json" if "--json" in given or "--jsonl" in given else "human"


# -- values ----------------------------------------------------------------------------------------------------------


def whole(least: int = 1, most: int | None = None) -> Callable[[str], int]:
    """A whole number within limits."""

    def read(text: str) -> int:
        if not re.fullmatch(r"\d{1,18}", text, re.ASCII) or int(text) < least or (most is not None and int(text) > most):
            limits = f"from {least}" if most is None else f"from {least} to {most}"
            raise argparse.ArgumentTypeError(f"must be a whole number {limits}, got {text!r}")
        return int(text)

    return read


def page_size(parser: argparse.ArgumentParser, what: str, default: int = 50) -> None:
    """``--limit`` and ``--after`` of a list."""
    parser.add_argument(
        "--limit",
        type=whole(1, 1000),
        metavar="N",
        help=f"at most so many {what} (1 to 1000; default {default}, and all to a file or pipe with -q or --jsonl)",
    )
    parser.add_argument("--after", metavar="CURSOR", help="go on behind a page: the cursor that was printed with it")


def duration(text: str) -> timedelta:
    """``90s``, ``5m``, ``24h``, ``7d``; ``0`` is none at all."""
    match = re.fullmatch(r"(\d{1,9})([smhd])|0", text, re.ASCII)
    if match is None:
        raise argparse.ArgumentTypeError(f"must be a duration such as 90s, 5m, 24h or 7d, got {text!r}")
    number, unit = match.groups()
    seconds = int(number or 0) * _SECONDS.get(unit, 0)
    if seconds > _CENTURY:
        raise argparse.ArgumentTypeError(f"must be a hundred years at most, got {text!r}")
    return timedelta(seconds=seconds)


_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_CENTURY: Final = 36_500 * 86_400


def json_object(text: str) -> dict[str, Any]:
    """A JSON object."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise argparse.ArgumentTypeError(f"is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise argparse.ArgumentTypeError('must be a JSON object such as {"lang":"en"}')
    return found
