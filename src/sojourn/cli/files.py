"""Files that commands write: private, whole or not at all, and never in place of another without a yes."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from sojourn.cli.call import Call
from sojourn.cli.exits import MissingFileError, SystemFault


def write_file(call: Call, target: Path, pieces: Iterable[str]) -> int:
    """Write text to ``target``, asking before it replaces something; how many bytes."""
    return write_bytes(call, target, (piece.encode() for piece in pieces))


def write_bytes(call: Call, target: Path, pieces: Iterable[bytes]) -> int:
    """The same with bytes."""
    allow(call, target)
    partial = target.with_name(target.name + ".partial")
    size = 0
    try:
        with open(make_private(partial), "wb") as file:
            for piece in pieces:
                size += file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return size


def make_private(path: Path) -> int:
    """A new file that only this user can read; what an earlier run left there, or somebody put there, is not used."""
    path.unlink(missing_ok=True)
    return os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)


def allow(call: Call, target: Path) -> None:
    """Ask before a file is replaced; refuse what is no place for a file."""
    if target.is_dir():
        raise SystemFault(f"{target} is a directory.", hint="Name a file in it.")
    if not target.absolute().parent.is_dir():
        raise MissingFileError(f"there is no directory {target.absolute().parent}.", hint="Make it first.")
    if target.exists():
        call.output.confirm(f"{target} exists. Replace it?", yes=call.options.yes, advice="Add --yes to replace it.")
