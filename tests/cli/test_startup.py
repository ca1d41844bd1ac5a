"""What a command imports; milliseconds differ from machine to machine, this does not."""

import json
import subprocess
import sys

import pytest

from sojourn.cli.program import GROUPS

_LIST = """
import io, json, sys
from contextlib import redirect_stderr, redirect_stdout
before = set(sys.modules)
from sojourn.cli import main
with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
    code = main(sys.argv[1:])
print(json.dumps([code, sorted(set(sys.modules) - before)]))
"""

HEAVY = {"asyncio", "msgspec", "sqlite3", "rich", "shtab", "ssl", "email", "logging", "psycopg", "redis", "pytest"}


def imported(*words: str) -> set[str]:
    """The modules that a command imports, in an interpreter of its own."""
    run = subprocess.run([sys.executable, "-c", _LIST, *words], capture_output=True, text=True, check=True)
    code, names = json.loads(run.stdout)
    assert code == 0, words
    return set(names)


def test_the_version_needs_no_parser_and_nothing_heavy() -> None:
    names = imported("--version")
    assert not names & (HEAVY | {"argparse", "json", "dataclasses", "inspect", "datetime"})
    assert {name for name in names if name.startswith("sojourn")} == {"sojourn", "sojourn.cli"}


def test_help_needs_no_command() -> None:
    names = imported("--help")
    assert not names & HEAVY
    ours = {name for name in names if name.startswith("sojourn.")}
    assert ours <= {"sojourn.errors", "sojourn.cli", *(name for name in ours if name.startswith("sojourn.cli."))}
    assert not any(
        name.removeprefix("sojourn.cli.") in {command for _, group in GROUPS for command, _ in group} for name in ours
    )


@pytest.mark.parametrize(
    "words",
    [
        ["conversation"],
        ["conversation", "append"],
        ["session", "list"],
        ["sweep"],
        ["doctor"],
        ["import"],
        ["export"],
        ["workspace"],
        ["status"],
        ["init"],
    ],
)
def test_help_for_a_command_needs_no_kind_and_no_database(words: list[str]) -> None:
    names = imported(*words, "--help")
    assert not names & HEAVY
    assert not [
        name for name in names if name.startswith(("sojourn.kinds", "sojourn.sync", "sojourn.store", "sojourn.engines.s"))
    ]


def test_a_list_needs_neither_an_event_loop_nor_a_table_drawer(tmp_path: object) -> None:
    names = imported("conversation", "list", "--store", f"{tmp_path}/none.db")
    assert not names & (HEAVY - {"sqlite3"})
    assert "sqlite3" not in names, "there is no store to open"
