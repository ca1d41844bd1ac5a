"""What a page shows, runs: its Python, its commands, and what they print.

The blocks of one page run in order, in one namespace and one empty directory:

    ```python                    runs
    ```python file=bot.py        is written to that file, for the commands that follow
    ```python no-run             is compiled only; a comment in it says why
    ```python signature          is compiled only
    ```console                   each line that begins with "$ " runs; the lines below it are what it prints
    ```text output               is what the Python block above it prints

"..." in what is printed stands for anything.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from sojourn.project.caller import AGENT_VARIABLES

if TYPE_CHECKING:
    from tests.docs.conftest import Block, Page

BASH: Final = shutil.which("bash")
MARK: Final = "== command ended with"
"""Printed between the commands of a block, so that their outputs can be told apart."""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory to work in, and a home of its own, so that no store of the machine is touched."""
    home = tmp_path / "home"
    here = tmp_path / "here"
    home.mkdir()
    here.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in [*os.environ]:
        if name in AGENT_VARIABLES or name.startswith(("SOJOURN_", "TMUX", "ZELLIJ", "WINDOW", "GIT_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(here)
    return here


def test_the_blocks_of_a_page_run_and_print_what_it_says(page: Page, place: Path) -> None:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    printed = ""
    for block in page.blocks:
        where = f"{page}, line {block.line}"
        match (block.language, *block.flags):
            case ("python", "no-run"):
                compile(block.text, where, "exec")
                assert "#" in block.text, f"{where}: a comment must say why this is not run"
            case ("python", "signature"):
                compile(block.text, where, "exec")
            case ("python", flag) if flag.startswith("file="):
                compile(block.text, where, "exec")
                (place / flag.removeprefix("file=")).write_text(block.text, encoding="utf-8")
            case ("python",):
                printed = run_python(page, block, namespace)
            case ("console",):
                run_console(block, where)
            case ("text", "output"):
                assert_like(block.text, printed, where)
            case (("python" | "console"), *flags):
                pytest.fail(f"{where}: there is no flag {' '.join(flags)}")


def run_python(page: Page, block: Block, namespace: dict[str, Any]) -> str:
    """Run a block as if it were the page, so that an error names the page's line; what it prints."""
    code = compile("\n" * (block.line - 1) + block.text, str(page.path), "exec")
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(code, namespace)  # noqa: S102  # the page's own code is what is tested
    return out.getvalue()


def run_console(block: Block, where: str) -> None:
    """Run the commands of a block in one shell; each must succeed, and print what follows it."""
    if BASH is None:
        pytest.skip("there is no bash, which console blocks are written for")
    commands = commands_of(block)
    assert commands, f"{where}: no line begins with '$ '"
    script = "".join(f"{command}\necho '{MARK}' $?\n" for command, _ in commands)
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "NO_COLOR": "1",
        "COLUMNS": "80",
        "PYTHONWARNINGS": "error",
    }
    ran = subprocess.run(
        [BASH, "-c", script],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    rest = ran.stdout
    for command, expected in commands:
        printed, _, rest = rest.partition(MARK)
        status, _, rest = rest.partition("\n")
        assert status.strip() == "0", f"{where}: $ {command}\nended with {status.strip() or 'nothing'}:\n{printed}"
        if expected:
            assert_like(expected, printed, f"{where}: $ {command}")


def commands_of(block: Block) -> list[tuple[str, str]]:
    """The commands of a console block, each with what it is to print."""
    found: list[tuple[str, str]] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            found.append((line.removeprefix("$ "), ""))
        elif line.startswith("> ") and found and found[-1][0].endswith("\\"):
            found[-1] = (found[-1][0] + "\n" + line.removeprefix("> "), "")
        elif found:
            found[-1] = (found[-1][0], found[-1][1] + line + "\n")
    return found


def assert_like(expected: str, printed: str, where: str) -> None:
    """What is printed is what was said, but for trailing blanks."""
    wanted, got = tidy(expected), tidy(printed)
    if not doctest.OutputChecker().check_output(wanted, got, doctest.ELLIPSIS):
        pytest.fail(f"{where}\nsays:\n{wanted}\nprinted:\n{got}")


def tidy(text: str) -> str:
    """Lines without trailing blanks, and one end."""
    return "\n".join(line.rstrip() for line in text.strip().splitlines()) + "\n"
