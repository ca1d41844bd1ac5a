"""The example programs run, and so do the examples in docstrings."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Final

import pytest

import sojourn

EXAMPLES: Final = Path(__file__).resolve().parents[2] / "docs" / "examples"

PRINTS: Final = {
    "chat_bot.py": "You said: Hello (1 messages so far)\nYou said: Hello again (3 messages so far)\n",
    "async_chat.py": "30 answers; changes: {'appended': 60, 'created': 30}\n",
    "model_summaries.py": "A conversation of 6 questions.\nSummary of the conversation so far:\n",
    "follow_changes.py": "{'appended': 1}\n{'appended': 2}\n{'appended': 3}\n",
    "sign_in_app.py": "nobody: 401\nwrong password: 403\nsigned in: 303\nsigned in: 303\n"
    "devices: 2 - this one: 1 - escaped: True\nwithout the token of the form: 403\nsigned out everywhere: 303\n"
    "the phone: session.ended\n",
    "nightly.py": "backup: True, swept: {'indexed': 1}, problems: []\n",
}
"""What each program prints when it is told "Hello" and "Hello again"."""


def test_every_example_is_here_and_in_the_readme() -> None:
    found = {path.name for path in EXAMPLES.glob("*.py")}
    assert found == PRINTS.keys()
    readme = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert all(f"({name})" in readme for name in found)


def run(name: str, folder: Path) -> str:
    """What an example prints."""
    ran = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / name)],
        input="Hello\nHello again\n",
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert not ran.stderr
    return ran.stdout


@pytest.mark.parametrize("name", PRINTS)
def test_an_example_runs(name: str, tmp_path: Path) -> None:
    assert run(name, tmp_path) == PRINTS[name]


def test_a_message_that_is_delivered_twice_is_stored_once(tmp_path: Path) -> None:
    for _ in range(2):
        run("chat_bot.py", tmp_path)
    with sojourn.open(f"sqlite:///{tmp_path / 'chat_bot.db'}") as store:
        (talk,) = store.conversations.list()
        assert talk.message_count == 4


def modules() -> list[ModuleType]:
    """Every module of the package that can be imported here; what needs a package that is missing has no examples to run."""
    found = pkgutil.walk_packages(sojourn.__path__, "sojourn.")
    return [importlib.import_module(info.name) for info in found if not info.name.endswith("__main__")]


def test_the_examples_in_docstrings_run() -> None:
    runner, finder = doctest.DocTestRunner(), doctest.DocTestFinder(exclude_empty=True)
    for module in modules():
        for example in finder.find(module, module.__name__):
            if example.examples:
                runner.run(example)
    assert runner.summarize().failed == 0
