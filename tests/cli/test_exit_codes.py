"""One table says which error has which exit code, and nothing is missing from it."""

import pytest

import sojourn
from sojourn import errors
from sojourn.cli import exits
from sojourn.cli.exits import EXIT_CODES, MEANINGS
from sojourn.errors import SojournError
from tests.cli.conftest import User


def _codes(module: object) -> set[str]:
    kinds = [kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, SojournError)]
    return {kind.code for kind in kinds}


def test_every_error_has_an_exit_code_and_no_exit_code_is_for_nothing() -> None:
    known = _codes(errors) | _codes(exits)
    assert known - EXIT_CODES.keys() == set()
    assert EXIT_CODES.keys() - known == {"interrupted"}


def test_every_exit_code_has_a_meaning_from_the_documented_list() -> None:
    assert set(EXIT_CODES.values()) <= set(MEANINGS)
    assert sorted(MEANINGS) == [0, 1, 2, 3, 4, 5, 6, 7, 69, 77, 78, 130]


def test_nothing_wrong_is_ever_answered_with_0() -> None:
    assert 0 not in EXIT_CODES.values()


@pytest.mark.parametrize(
    ("words", "code", "name"),
    [
        (["conversation", "list", "--limit", "0"], 2, "usage"),
        (["conversation", "lst"], 2, "usage"),
        (["conversation", "show", "ab"], 2, "usage"),
        (["conversation", "show", "01234567890123456789012345"], 3, "session.not_found"),
        (["conversation", "show", "ZZZZ"], 3, "session.not_found"),
        (["conversation", "list", "--after", "nonsense"], 2, "cursor.invalid"),
        (["session", "list", "kind:nothing"], 2, "value.invalid"),
        (["backup", "copy.db", "--store", "memory:"], 78, "engine.unsupported"),
        (["conversation", "list", "--store", "postgresql://127.0.0.1:1/db"], 69, "engine.unavailable"),
        (["conversation", "list", "--store", "nonsense:"], 2, "value.invalid"),
        (["restore", "nothing.db"], 3, "file.missing"),
        (["load", "nothing.jsonl"], 3, "file.missing"),
        (["erase", "alice"], 2, "confirmation.needed"),
    ],
)
def test_a_command_that_fails_says_so_with_its_code(user: User, talk: str, words: list[str], code: int, name: str) -> None:
    result = user(*words, "--json")
    assert (result.code, result.error["code"]) == (code, name)
    assert result.out == ""


def test_what_has_ended_is_answered_with_5(user: User, talk: str) -> None:
    user.fine("session", "end", talk)
    result = user("conversation", "append", talk, "user", "still there?", "--json")
    assert (result.code, result.error["code"]) == (5, "session.ended")


def test_a_conflict_is_answered_with_7(user: User, talk: str) -> None:
    bob = user.append(user="bob")
    user.fine("conversation", "link", bob, "telegram", "t1")
    result = user("conversation", "link", talk, "telegram", "t1")
    assert result.code == 7
    assert "bob" in result.err


def test_an_engine_that_cannot_be_reached_is_answered_with_69(user: User) -> None:
    (user.project / "file").write_text("not a directory")
    assert user("conversation", "append", "--user", "alice", "user", "x", "--store", "file/x.db").code == 69


def test_a_store_of_a_newer_release_is_answered_with_78(user: User, talk: str) -> None:
    import sqlite3

    connection = sqlite3.connect(user.path)
    with connection:
        connection.execute("update sojourn_meta set value = '99'")
    connection.close()
    result = user("conversation", "list")
    assert result.code == 78
    assert "Upgrade" in result.err


def test_a_read_only_store_is_answered_with_78(user: User, talk: str) -> None:
    result = user("conversation", "append", talk, "user", "x", "--store", f"sqlite:///{user.path}?mode=ro")
    assert result.code == 78


def test_the_version_is_the_package_s(user: User) -> None:
    assert user.fine("--version").out == f"sojourn {sojourn.__version__}\n"
    assert user.fine("-V").out == user.fine("--json", "--version").out
