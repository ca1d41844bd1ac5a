"""The classes for blocking code are what the generator writes, and mirror every public coroutine."""

from __future__ import annotations

import inspect
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import sojourn

ROOT = Path(__file__).resolve().parent.parent.parent

PAIRS = [
    (sojourn.AsyncStore, sojourn.Store),
    (sojourn.AsyncConversations, sojourn.Conversations),
    (sojourn.AsyncSessions, sojourn.Sessions),
    (sojourn.AsyncRunner, sojourn.Runner),
]


def test_the_committed_files_have_not_drifted() -> None:
    run = subprocess.run([sys.executable, "tools/facade.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_both_colours_have_the_same_names_and_parameters(one: type, other: type) -> None:
    public = {name for name in vars(one) if not name.startswith("_")}
    assert public <= set(dir(other))
    for name in public:
        first, second = getattr(one, name), getattr(other, name)
        if inspect.isfunction(first):
            assert list(inspect.signature(first).parameters) == list(inspect.signature(second).parameters)
            assert inspect.getdoc(first) == inspect.getdoc(second)


def test_a_hand_made_change_is_noticed(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    for name in ("src", "tools"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    generated = copy / "src" / "sojourn" / "sync" / "sessions.py"
    generated.write_text(generated.read_text() + "\n# by hand\n")
    api = copy / "src" / "sojourn" / "sessions.py"
    api.write_text(api.read_text() + '\n\nclass Forgotten:\n    async def work(self) -> None:\n        """Nothing."""\n')
    run = subprocess.run([sys.executable, "tools/facade.py", "--check"], cwd=copy, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "sessions.py has drifted" in run.stderr
    assert "Forgotten has public coroutines and no mirror" in run.stderr
