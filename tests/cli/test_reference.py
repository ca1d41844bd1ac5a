"""The reference page says what the program does."""

import re
from pathlib import Path

from sojourn.cli import exits
from sojourn.cli.exits import EXIT_CODES, MEANINGS, CommandError
from tests.cli.test_every_command import commands

TEXT = (Path(__file__).parents[2] / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")


def test_every_exit_code_is_on_the_page_with_its_meaning() -> None:
    found = dict(re.findall(r"^\| (\d+) \| ([^|]+) \|", TEXT, re.MULTILINE))
    assert found == {str(code): meaning for code, meaning in MEANINGS.items()}


def test_every_error_of_the_command_line_is_on_the_page_with_its_exit_code() -> None:
    found = {name: int(code) for name, code in re.findall(r"^\| `([\w.]+)` \| (\d+) \|", TEXT, re.MULTILINE)}
    kinds = [kind for kind in vars(exits).values() if isinstance(kind, type) and issubclass(kind, CommandError)]
    assert found == {kind.code: EXIT_CODES[kind.code] for kind in kinds if kind is not CommandError}


def test_every_option_is_in_the_line_of_its_command() -> None:
    lines = {line.split("`")[1]: line for line in TEXT.splitlines() if line.startswith("| `sojourn ")}
    general = TEXT.split("## Commands")[0]
    for name, parser in commands():
        (line,) = [text for start, text in lines.items() if f"{start} ".startswith(f"sojourn {name} ")]
        for action in parser._actions:
            missing = [option for option in action.option_strings if f"`{option}" not in line + general]
            assert not missing, (name, missing)
