"""``sojourn backup`` and ``sojourn restore``: nothing is lost by mistake."""

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import User

_IDLE = """
import sojourn, sys
with sojourn.open(sys.argv[1]) as store:
    store.sessions.list()
    print("open", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def backup(user: User, talk: str) -> Path:
    """A backup of the store with three messages; a fourth one is said afterwards."""
    user.fine("backup", "monday.db")
    user.append("after the backup")
    return user.project / "monday.db"


def count(user: User, talk: str) -> int:
    found: int = user.fine("conversation", "show", talk, "--json").data["message_count"]
    return found


def test_a_backup_is_a_private_store_of_its_own(user: User, talk: str, backup: Path) -> None:
    assert backup.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in user.project.iterdir()) == [".sojourn", "monday.db"]
    data = user.fine("conversation", "show", talk, "--store", str(backup), "--json").data
    assert data["message_count"] == 3


def test_a_backup_replaces_a_file_only_with_a_yes_and_never_the_store(user: User, talk: str, backup: Path) -> None:
    assert user("backup", "monday.db").code == 2
    user.fine("backup", "monday.db", "--yes")
    for name in (str(user.path), ".sojourn/sojourn.db", ".sojourn/../.sojourn/sojourn.db"):
        result = user("backup", name, "--yes")
        assert (result.code, "is the store itself" in result.err) == (7, True)
    os.link(user.path, user.project / "same.db")
    assert user("backup", "same.db", "--yes").code == 7
    assert user("backup", "missing/monday.db").code == 3
    assert count(user, talk) == 4


def test_a_backup_to_a_directory_gets_a_name_with_the_time(user: User, talk: str) -> None:
    path = Path(user.fine("backup", ".", "--json").data["path"])
    assert path.name.startswith("sojourn-20")
    assert path.exists()


def test_restore_brings_back_what_was(user: User, talk: str, backup: Path) -> None:
    result = user("restore", "monday.db")
    assert (result.code, count(user, talk)) == (2, 4)
    assert "(1 session)" in result.err
    assert user.fine("restore", "monday.db", "--yes").out == f"Restored 1 session from monday.db to {user.path}.\n"
    assert count(user, talk) == 3
    assert backup.exists()
    user.append("life goes on")
    assert count(user, talk) == 4
    assert user.path.stat().st_mode & 0o777 == 0o600


def test_restore_makes_a_store_that_is_missing(user: User, talk: str, backup: Path) -> None:
    assert user.fine("restore", "monday.db", "--store", "new/place/app.db").code == 0
    assert (user.project / "new/place/app.db").stat().st_mode & 0o777 == 0o600
    assert user.fine("conversation", "list", "-q", "--store", "new/place/app.db").lines == [talk]
    assert not list((user.project / "new").rglob("*.partial"))


@pytest.mark.parametrize("what", ["text", "empty", "another database", "a newer store", "damaged", "cut", "the store itself"])
def test_what_is_no_sound_store_is_never_restored(user: User, talk: str, backup: Path, what: str) -> None:
    bad = user.project / "bad.db"
    shutil.copy(backup, bad)
    codes = {1}
    if what == "text":
        bad.write_text("hello " * 1000)
    elif what == "empty":
        bad.write_bytes(b"")
    elif what == "damaged":
        with bad.open("r+b") as file:
            file.seek(4096 * 3)
            file.write(os.urandom(4096 * 8))
    elif what == "cut":
        with bad.open("r+b") as file:
            file.truncate(4096 * 5)
    elif what == "the store itself":
        bad, codes = user.path, {7}
    else:
        bad.unlink() if what == "another database" else None
        connection = sqlite3.connect(bad)
        with connection:
            connection.execute("create table t (x)" if what == "another database" else "update sojourn_meta set value = '99'")
        connection.close()
        codes = {1} if what == "another database" else {78}
    result = user("restore", str(bad), "--yes")
    assert result.code in codes, result.err
    assert "Traceback" not in result.err
    assert count(user, talk) == 4


def test_a_store_that_another_program_has_open_is_not_replaced(user: User, talk: str, backup: Path) -> None:
    """Also when that program does nothing at the moment."""
    command = [sys.executable, "-c", _IDLE, f"sqlite:///{user.path}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        result = user("restore", "monday.db", "--yes", "--json")
        assert (result.code, result.error["code"]) == (7, "engine.in_use")
        process.communicate()
    assert count(user, talk) == 4
    user.fine("restore", "monday.db", "--yes")
    assert count(user, talk) == 3


def test_a_store_that_is_damaged_beyond_opening_is_replaced(user: User, talk: str, backup: Path) -> None:
    user.path.write_text("not a database at all " * 100)
    user.path.with_name("sojourn.db-wal").write_bytes(b"old log")
    result = user("restore", "monday.db")
    assert "it cannot be read" in result.err
    user.fine("restore", "monday.db", "--yes")
    assert count(user, talk) == 3
    assert user.fine("doctor", "--json").data["problems"] == 0


def test_a_copy_with_its_log_beside_it_is_restored_whole(user: User, talk: str) -> None:
    """Somebody copied the files of a live store, the write-ahead log among them."""
    with user.store() as store:
        store.conversations.append(talk, "user", "only in the log")
        for ending in ("", "-wal"):
            shutil.copy(f"{user.path}{ending}", user.project / f"copied.db{ending}")
    user.fine("restore", "copied.db", "--store", "new.db")
    assert user.fine("conversation", "show", talk, "--store", "new.db", "--json").data["message_count"] == 4
    user.fine("restore", "copied.db", "--store", "new.db", "--yes")
    assert user.fine("conversation", "show", talk, "--store", "new.db", "--json").data["message_count"] == 4


def test_restore_is_for_files(user: User, talk: str, backup: Path) -> None:
    assert user("restore", "monday.db", "--store", "memory:").code == 78
    assert user("restore", "monday.db", "--store", f"sqlite:///{user.path}?mode=ro").code == 78
