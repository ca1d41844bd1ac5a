"""``make bench``: every bar as a ratio in one run. ``--large``: a million conversations. ``--json``: for machines."""

from __future__ import annotations

import argparse
import json
import platform
import sqlite3
import tempfile
from dataclasses import asdict
from itertools import chain
from pathlib import Path

from bench.contexts import contexts
from bench.conversations import conversations
from bench.games import games
from bench.logins import logins
from bench.workspaces import workspaces


def main() -> None:
    """Print a row as soon as it is measured."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--large", action="store_true", help="grow to a million conversations and 100,000 games")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--directory", type=Path, help="where to put the databases (default: a temporary directory)")
    options = parser.parse_args()
    if not options.json:
        print(f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}; ratios of one run, medians of rounds.")
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        place = Path(directory)
        rows = chain(
            contexts(place),
            logins(place, large=options.large),
            workspaces(place),
            games(place, large=options.large),
            conversations(place, large=options.large),
        )
        for row in rows:
            print(json.dumps({**asdict(row), "met": row.met}) if options.json else row.line(), flush=True)


if __name__ == "__main__":
    main()
