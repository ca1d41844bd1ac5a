"""``sojourn export FORMAT TARGET``: back to the program that the sessions came from."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.conftest import User

DATA = Path(__file__).parent.parent / "formats" / "data"


def count(user: User, name: str, table: str) -> int:
    with closing(sqlite3.connect(user.project / name)) as connection:
        found: int = connection.execute(f"select count(*) from {table}").fetchone()[0]
        return found


def test_what_was_imported_is_given_back(user: User) -> None:
    user.fine("import", "openjarvis", str(DATA / "openjarvis" / "sessions.db"))
    user.fine("import", "tenets", str(DATA / "tenets" / "tenets.db"), "--scope", "ours")
    user.fine("import", "gamegirl", str(DATA / "gamegirl" / "redis.json"))
    assert "27 written" in user.fine("export", "openjarvis", "sessions.db").out
    assert count(user, "sessions.db", "session_messages") == 1351
    assert user.fine("export", "tenets", "tenets.db", "--scope", "ours", "--json").data["tables"]["session_context"] == 50
    assert user.fine("export", "tenets", "none.db", "--json").data["tables"] == {"sessions": 0, "session_context": 0}
    out = user.fine("export", "gamegirl", "redis.json").out
    assert "its channel holds another game there" in out
    assert len(json.loads((user.project / "redis.json").read_text())) > 20
    again = user.fine("import", "tenets", "tenets.db", "--store", "again.db", "--json").data
    assert again["tables"]["sessions"] == {"read": 10, "imported": 10, "skipped": 0}


def test_a_dry_run_writes_nothing(user: User, talk: str) -> None:
    before = sorted(user.project.iterdir())
    result = user.fine("export", "openjarvis", "sessions.db", "--dry-run")
    assert result.out + result.err == "Would write 1 row of sessions, 3 rows of session_messages to sessions.db.\n"
    assert sorted(user.project.iterdir()) == before


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["openjarvis"], "needs a TARGET"),
        (["openjarvis", "there"], "there exists"),
        (["gamegirl", "none/redis.json"], "no directory"),
        (["openjarvis", "new.db", "--scope", "x"], "--scope belongs to tenets"),
        (["--scope", "x"], "--scope belongs to tenets"),
        (["tenets", "new.db", "--owner", "alice"], "do not go with tenets"),
        (["mud", "new.db"], "no format 'mud'"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_written(user: User, talk: str, words: list[str], says: str) -> None:
    (user.project / "there").write_text("the original's own")
    result = user("export", *words)
    assert result.code != 0
    assert says in result.err
    assert (user.project / "there").read_text() == "the original's own"
    assert not (user.project / "new.db").exists()
