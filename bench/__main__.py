"""``make bench``: every bar as a ratio in one run, on SQLite; ``--servers`` and ``--growth``: on PostgreSQL and Redis."""

from __future__ import annotations

import argparse
import json
import platform
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from bench.contexts import contexts
from bench.conversations import conversations
from bench.games import games
from bench.growth import growth
from bench.logins import logins
from bench.measure import Row
from bench.servers import servers
from bench.service import service
from bench.workspaces import workspaces


def main() -> None:
    """Print a row as soon as it is measured."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--servers", action="store_true", help="on PostgreSQL and Redis, beside their drivers")
    parser.add_argument("--growth", action="store_true", help="on PostgreSQL with ever more; bytes of a record everywhere")
    parser.add_argument("--large", action="store_true", help="grow further: to a million conversations, to ten million logins")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--directory", type=Path, help="where to put the databases (default: a temporary directory)")
    options = parser.parse_args()
    if not options.json:
        print(f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}; ratios of one run, medians of rounds.")
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        rows = on_servers(options) if options.servers or options.growth else on_sqlite(Path(directory), large=options.large)
        for row in rows:
            print(json.dumps({**asdict(row), "met": row.met}) if options.json else row.line(), flush=True)


def on_sqlite(place: Path, *, large: bool) -> Iterator[Row]:
    """Every kind, and the service."""
    yield from contexts(place)
    yield from logins(place, large=large)
    yield from workspaces(place)
    yield from service(place)
    yield from games(place, large=large)
    yield from conversations(place, large=large)


def on_servers(options: argparse.Namespace) -> Iterator[Row]:
    """What was asked for."""
    if options.servers:
        yield from servers()
    if options.growth:
        yield from growth(large=options.large)


if __name__ == "__main__":
    main()
