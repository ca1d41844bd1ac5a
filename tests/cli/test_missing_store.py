"""Looking never makes a store, and says where it looked."""

import sqlite3

import pytest

from tests.cli.conftest import User

EMPTY = [
    (["conversation", "list"], "conversation append --user"),
    (["conversation", "search", "hello"], "conversation append --user"),
    (["session", "list"], "conversation append --user"),
    (["login", "list"], "login create --username"),
    (["game", "list"], "game boot"),
    (["context", "list"], "context create"),
]
NOTHING = [
    ["conversation", "show", "ABCD"],
    ["conversation", "append", "ABCD", "user", "Hello"],
    ["conversation", "fork", "ABCD"],
    ["conversation", "rewind", "ABCD", "1"],
    ["conversation", "link", "ABCD", "telegram", "t1"],
    ["conversation", "consolidate", "ABCD"],
    ["conversation", "decay", "--yes"],
    ["conversation", "export", "ABCD"],
    ["conversation", "tail", "--all", "--no-follow"],
    ["session", "show", "ABCD"],
    ["session", "events", "ABCD"],
    ["session", "end", "ABCD"],
    ["session", "rm", "ABCD", "--yes"],
    ["export"],
    ["backup", "copy.db"],
    ["erase", "alice", "--yes"],
    ["doctor"],
]


@pytest.mark.parametrize(("words", "first"), EMPTY, ids=[" ".join(words) for words, _ in EMPTY])
def test_a_list_without_a_store_is_empty_and_says_which_command_fills_it(user: User, words: list[str], first: str) -> None:
    result = user.fine(*words)
    assert result.out == ""
    assert str(user.path) in result.err
    assert f"sojourn {first}" in result.err
    assert user.fine(*words, "--json").data == []
    assert not user.path.exists()


@pytest.mark.parametrize("words", NOTHING, ids=" ".join)
def test_what_needs_something_there_is_answered_with_3(user: User, words: list[str]) -> None:
    result = user(*words, "--json")
    assert (result.code, result.error["code"]) == (3, "engine.missing")
    assert str(user.path) in result.error["message"]
    assert not user.path.exists()


def test_a_sweep_without_a_store_has_nothing_to_do(user: User) -> None:
    for words in (["sweep"], ["sweep", "--apply"]):
        assert user.fine(*words, "--json").data["counts"] == {}
    assert not user.path.exists()


def test_an_empty_file_is_no_store_and_reading_makes_none_of_it(user: User) -> None:
    user.path.touch()
    assert user.fine("conversation", "list", "--json").data == []
    assert user("doctor").code == 3
    assert user.path.stat().st_size == 0
    user.append()
    assert len(user.fine("conversation", "list", "-q").lines) == 1


def test_a_database_without_sojourn_s_tables_is_left_alone_until_it_is_migrated(user: User) -> None:
    connection = sqlite3.connect(user.path)
    connection.execute("create table mine (x)")
    connection.close()
    user.path.chmod(0o600)
    before = user.path.read_bytes()
    result = user("conversation", "list")
    assert (result.code, "sojourn migrate" in result.err) == (78, True)
    assert user("doctor").code == 1
    assert user("doctor", "--fix").code == 1
    assert user.path.read_bytes() == before
    user.fine("migrate")
    assert user.fine("conversation", "list", "--json").data == []


def test_the_first_message_makes_the_store_private(user: User) -> None:
    user.append()
    assert user.path.stat().st_mode & 0o777 == 0o600


def test_without_a_project_the_store_is_the_user_s_own(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    user.path.parent.rmdir()
    user.append()
    found = list((user.project.parent / "home").rglob("sojourn.db"))
    assert len(found) == 1
    assert found[0].parent.stat().st_mode & 0o777 == 0o700
