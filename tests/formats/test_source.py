"""A foreign SQLite file is read as of one moment, whatever a crash or a running program left beside it, and never changed."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

import sojourn
from sojourn.errors import CorruptError, InvalidValueError, UnavailableError
from sojourn.formats.openjarvis import import_openjarvis
from sojourn.formats.source import open_source

WRITER = """
import os, signal, sqlite3, sys
path, mode = sys.argv[1:]
connection = sqlite3.connect(path, isolation_level=None)
connection.execute(f"pragma journal_mode = {mode}")
connection.execute("pragma wal_autocheckpoint = 0")
connection.execute("pragma cache_size = 1")
connection.execute("pragma cache_spill = 1")
connection.execute("create table note (text)")
connection.execute("insert into note values ('committed')")
connection.execute("begin")
connection.executemany("insert into note values (?)", [("never committed" * 500,) for _ in range(200)])
os.kill(os.getpid(), signal.SIGKILL)
"""


def crashed(path: Path, mode: str) -> dict[str, bytes]:
    """A database whose writer was killed in the middle of a transaction; the files it left."""
    subprocess.run([sys.executable, "-c", WRITER, str(path), mode], check=False)
    return files(path)


def files(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(path.parent.iterdir())}


def notes(path: Path) -> list[str]:
    with open_source(path) as connection:
        return [row[0] for row in connection.execute("select text from note")]


@pytest.mark.parametrize(("mode", "beside"), [("delete", "note.db-journal"), ("wal", "note.db-wal")])
def test_what_a_crash_left_is_read_from_a_copy_and_stays_as_it_is(tmp_path: Path, mode: str, beside: str) -> None:
    path = tmp_path / "note.db"
    left = crashed(path, mode)
    assert left[beside]  # else the test proves nothing

    assert notes(path) == ["committed"]
    assert files(path) == left


def test_a_file_at_rest_in_wal_mode_gets_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "note.db"
    crashed(path, "wal")
    connection = sqlite3.connect(path)
    connection.execute("pragma wal_checkpoint(truncate)")
    connection.close()
    assert list(files(path)) == ["note.db"]

    assert notes(path) == ["committed"]
    assert list(files(path)) == ["note.db"]


def test_a_file_that_keeps_changing_while_it_is_copied_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "note.db"
    crashed(path, "wal")
    copyfile = shutil.copyfile

    def meddle(origin: Path, target: Path) -> None:
        copyfile(origin, target)
        if origin == path:
            with path.open("ab") as file:
                file.write(b"\0" * 4096)

    monkeypatch.setattr(shutil, "copyfile", meddle)
    with pytest.raises(UnavailableError, match="being written"):
        notes(path)


def test_a_missing_file_is_not_created(tmp_path: Path) -> None:
    with sojourn.open("memory:") as store, pytest.raises(InvalidValueError, match="there is no file"):
        import_openjarvis(store, tmp_path / "sessions.db")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    path.write_bytes(b"not a database at all" * 100)
    with sojourn.open("memory:") as store, pytest.raises(CorruptError, match="cannot be read"):
        import_openjarvis(store, path)


@pytest.mark.parametrize("content", [b"", None])
def test_a_database_of_another_program_is_refused_with_its_tables(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "note.db"
    if content is None:
        crashed(path, "delete")
    else:
        path.write_bytes(content)
    with sojourn.open("memory:") as store, pytest.raises(CorruptError, match="none" if content == b"" else "note"):
        import_openjarvis(store, path)


def test_a_store_is_not_imported_into_itself(tmp_path: Path) -> None:
    with sojourn.open(f"sqlite:///{tmp_path / 'store.db'}") as store, pytest.raises(InvalidValueError, match="itself"):
        import_openjarvis(store, tmp_path / "store.db")


def test_a_damaged_source_is_an_error_and_not_an_empty_import(sample: Path) -> None:
    content = bytearray(sample.read_bytes())
    content[8192:40_960] = b"\xff" * (40_960 - 8192)
    sample.write_bytes(content)
    with sojourn.open("memory:") as store, pytest.raises(CorruptError, match="cannot be read"):
        import_openjarvis(store, sample)
