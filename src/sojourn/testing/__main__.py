"""``python -m sojourn.testing``: what this machine lacks of what the tests use.

A test that cannot run here is skipped; this is printed last, so that nobody takes it for one that passed.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from functools import partial

from sojourn.engines import memory
from sojourn.engines.contract import Capabilities
from sojourn.engines.postgres import engine as postgres
from sojourn.engines.redis import engine as redis
from sojourn.engines.sqlite import engine as sqlite
from sojourn.testing.browser import BrowserMissingError, find_chromium
from sojourn.testing.conformance import EngineConformance, promised_tests
from sojourn.testing.conformance.lab import needed_by
from sojourn.testing.faults import ShimUnavailableError, find_compiler
from sojourn.testing.servers import (
    ServerMissingError,
    find_other_postgres,
    find_other_redis,
    find_pgbouncer,
    find_postgres,
    find_redis,
)


def _program(name: str) -> str:
    """Where a program is; tools/packages.sh installs it."""
    found = shutil.which(name)
    if found is None:
        raise ServerMissingError(f"there is no {name} on the PATH. Install it: make test does, where it needs no password.")
    return found


_LOOKUPS: dict[str, Callable[[], object]] = {
    "PostgreSQL": find_postgres,
    "another one": find_other_postgres,
    "PgBouncer": find_pgbouncer,
    "Redis": find_redis,
    "another": find_other_redis,
    "Chromium": find_chromium,
    "disk faults": find_compiler,
    "zsh": partial(_program, "zsh"),
    "fish": partial(_program, "fish"),
}


def _promises() -> list[str]:
    """How many tests of the engines' promises there are for each, and what excuses the missing ones."""
    whole = promised_tests(Capabilities(engine="all", backup=True))
    lines = ["", f"Tests of an engine's promises, of {len(whole)}:"]
    for declared in (memory.CAPABILITIES, sqlite.CAPABILITIES, postgres.CAPABILITIES, redis.CAPABILITIES):
        found = promised_tests(declared)
        lacks = sorted({need for name in set(whole) - set(found) for need in needed_by(getattr(EngineConformance, name))})
        lines.append(f"  {declared.engine:<12} {len(found)}" + (f", declared missing: {', '.join(lacks)}" if lacks else ""))
    return lines


def main() -> int:
    """Prints one line for each thing the tests use, and a loud last one when something is missing."""
    missing: list[str] = []
    lines = ["", "What the tests ran against (memory and SQLite need nothing):"]
    for name, look_up in _LOOKUPS.items():
        try:
            lines.append(f"  {name:<12} {look_up()}")
        except (BrowserMissingError, ServerMissingError, ShimUnavailableError) as error:
            missing.append(name)
            lines.append(f"  {name:<12} MISSING: {error}")
    lines += _promises()
    if missing:
        lines.append(f"!!! NOT TESTED HERE: {', '.join(missing)}. What to do is said above.")
    sys.stdout.write("\n".join([*lines, ""]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
