"""``sojourn sweep``, ``erase`` and ``migrate``."""

import sqlite3
from datetime import UTC, datetime, timedelta

import pytest

import sojourn
from sojourn.engines.sqlite.schema import VERSION
from tests.cli.conftest import User


def _old(user: User, count: int = 2) -> None:
    then = datetime.now(UTC) - timedelta(days=3)
    with user.store(clock=lambda: then, durability="normal") as store:
        for number in range(count):
            made = store.conversations.create(f"old{number}")
            store.conversations.append(made.id, "user", "long ago")


def _due_for_folding(user: User) -> str:
    policy = sojourn.ConversationPolicy(fold_above=10)
    with user.store(conversations=policy) as store:
        talk = store.conversations.get_or_create("talker")
        for number in range(120):
            store.conversations.append(talk.id, "user", f"message {number}")
    return talk.id


# -- sweep -----------------------------------------------------------------------------------------------------------


def test_sweep_says_first_and_does_it_only_when_told(user: User) -> None:
    _old(user)
    _due_for_folding(user)
    result = user.fine("sweep", "--max-age", "24h")
    assert "2  would be archived" in result.out
    assert "1  due for folding" in result.out
    assert "sojourn sweep --apply" in result.err
    assert len(user.fine("conversation", "list", "-q").lines) == 3
    data = user.fine("sweep", "--apply", "--json", "--max-age", "24h").data
    assert data["applied"] is True
    assert (data["counts"]["archived"], data["counts"]["folded"]) == (2, 1)
    assert len(user.fine("conversation", "list", "-q").lines) == 1
    assert user.fine("sweep", "--apply", "--max-age", "24h").out == "Nothing was due.\n"
    assert user.fine("sweep", "--max-age", "24h").out == "Nothing is due.\n"


def test_a_dry_run_wins_over_apply(user: User) -> None:
    _old(user)
    assert user.fine("sweep", "--apply", "--dry-run", "--json", "--max-age", "24h").data == {
        "applied": False,
        "counts": {"archived": 2, "indexed": 2},
    }
    assert len(user.fine("conversation", "list", "-q").lines) == 2


def test_sweep_archives_by_the_age_it_is_told(user: User) -> None:
    _old(user)
    for age in ("never", "7d"):
        assert "archived" not in user.fine("sweep", "--apply", "--max-age", age, "--json").data["counts"]
    assert user.fine("sweep", "--apply", "--max-age", "1h", "--json").data["counts"]["archived"] == 2


def test_sweep_goes_on_until_nothing_is_due(user: User) -> None:
    _old(user, 600)
    assert user.fine("sweep", "--apply", "--json", "--max-age", "24h").data["counts"]["archived"] == 600


# -- erase -----------------------------------------------------------------------------------------------------------


def test_erase_prints_a_receipt_and_leaves_nothing(user: User, talk: str) -> None:
    bob = user.append("hello", "--author", "alice", user="bob")
    user.fine("conversation", "link", talk, "telegram", "t1")
    refused = user("erase", "alice")
    assert refused.code == 2
    assert "1 conversation of alice" in refused.err
    assert "--yes" in refused.err
    receipt = user.fine("erase", "alice", "--yes", "--json").data
    assert (receipt["principal"], receipt["tenant"], receipt["sessions"]) == ("alice", "default", 1)
    assert "backups" in receipt["outside"]
    assert user.fine("conversation", "list", "--all", "-q").lines == [bob]
    assert user.fine("conversation", "search", "invoice", "--json").data == []
    for file in user.path.parent.iterdir():
        assert b"invoice" not in file.read_bytes()


def test_erase_of_nobody_is_fine_and_says_so(user: User, talk: str) -> None:
    result = user.fine("erase", "nobody", "--yes")
    assert "0  sessions removed" in result.out
    assert "Nothing of nobody was stored here" in result.err


@pytest.mark.parametrize(("typed", "code"), [("y\n", 0), ("n\n", 1)])
def test_erase_asks_on_a_terminal(user: User, talk: str, typed: str, code: int) -> None:
    assert user("erase", "alice", stdin=typed, terminal=True).code == code
    assert bool(user.fine("conversation", "list", "-q").lines) == bool(code)


# -- migrate ---------------------------------------------------------------------------------------------------------


def test_migrate_makes_a_store_and_is_content_with_one(user: User) -> None:
    assert user.fine("migrate").out == f"{user.path} is ready, with schema {VERSION}.\n"
    assert "nothing to do" in user.fine("migrate").out
    assert user.fine("migrate", "--json").data == {"path": str(user.path), "from": VERSION, "to": VERSION}
    assert user.fine("conversation", "list", "--json").data == []


def test_migrate_prints_statements_that_make_the_same_store(user: User) -> None:
    script = user.fine("migrate", "--sql").out
    assert not user.path.exists()
    connection = sqlite3.connect(user.path)
    connection.executescript(script)
    connection.close()
    talk = user.append("by hand")
    assert user.fine("conversation", "list", "-q").lines == [talk]
    assert user.fine("migrate", "--sql").out == ""


def test_migrate_leaves_an_application_s_own_tables_alone(user: User) -> None:
    connection = sqlite3.connect(user.path)
    connection.executescript("create table mine (x); insert into mine values (42);")
    connection.close()
    assert user("conversation", "list").code == 78
    user.fine("migrate")
    connection = sqlite3.connect(user.path)
    assert connection.execute("select x from mine").fetchall() == [(42,)]
    connection.close()
    assert user.fine("conversation", "list", "--json").data == []


def test_migrate_of_what_is_no_file_says_so(user: User) -> None:
    assert user("migrate", "--store", "memory:").code == 78
