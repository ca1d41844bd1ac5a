"""A user at a command line: a home and a project of their own, and commands that run in this process."""

import io
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import sojourn
from sojourn.cli import main
from sojourn.project import caller

EVIL = "red \x1b[31m title \x1b]0;owned\x07 c1 \x9b31m turned \u202eabc bell \x07"
"""What a person may write to steer the terminal of whoever reads it."""


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@dataclass(frozen=True)
class Result:
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        envelope = json.loads(self.out)
        assert envelope["schema_version"] == 1
        return envelope["data"]

    @property
    def error(self) -> dict[str, Any]:
        envelope = json.loads(self.err)
        assert envelope["schema_version"] == 1
        found: dict[str, Any] = envelope["error"]
        return found

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


class User:
    """Types commands, in a project directory whose store is ``.sojourn/sojourn.db``."""

    def __init__(self, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.project = project
        self.path = project / ".sojourn" / "sojourn.db"
        self._monkeypatch = monkeypatch

    def __call__(self, *words: object, stdin: bytes | str = b"", terminal: bool = False) -> Result:
        raw = stdin.encode() if isinstance(stdin, str) else stdin
        out, err = (Terminal(), Terminal()) if terminal else (io.StringIO(), io.StringIO())
        typed = Terminal(raw.decode()) if terminal else io.TextIOWrapper(io.BytesIO(raw))
        with self._monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", typed)
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            code = main([str(word) for word in words])
        return Result(code, out.getvalue(), err.getvalue())

    def fine(self, *words: object, **more: Any) -> Result:
        """A command that must be fine."""
        result = self(*words, **more)
        assert result.code == 0, result.err
        return result

    def append(self, text: str = "Hello", *more: object, user: str = "alice", role: str = "user") -> str:
        """Say something; the id of the conversation."""
        return self.fine("conversation", "append", "--user", user, role, "-q", *more, "--", text).out.strip()

    @contextmanager
    def store(self, **more: Any) -> Iterator[sojourn.Store]:
        """The store, as a program opens it."""
        with sojourn.open(f"sqlite:///{self.path}", **more) as store:
            yield store


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> User:
    return at_home(tmp_path, monkeypatch)


def at_home(directory: Path, monkeypatch: pytest.MonkeyPatch) -> User:
    """Somebody in a project of their own, with nothing of the world outside."""
    project = directory / "project"
    (project / ".sojourn").mkdir(parents=True, mode=0o700)
    home = directory / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("TERM", "xterm-256color")
    outside = ("TMUX_PANE", "ZELLIJ_PANE_ID", "WINDOW", *caller.AGENT_VARIABLES)
    ours = (name for name in os.environ if name.startswith("SOJOURN_"))
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", *outside, *ours):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(caller, "_controlling", lambda: ("", ""))
    monkeypatch.chdir(project)
    return User(project, monkeypatch)


@pytest.fixture
def talk(user: User) -> str:
    return begin_talk(user)


def begin_talk(user: User) -> str:
    """The id of a conversation with three messages."""
    user.append("Hello")
    user.append("Hi Alice. The invoice for April is 42 euro.", role="assistant")
    return user.append("Thank you", "--channel", "telegram")


@pytest.fixture(scope="session")
def ten_thousand(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A store with ten thousand conversations, and their ids, newest first."""
    path = tmp_path_factory.mktemp("large") / "large.db"
    with sojourn.open(f"sqlite:///{path}", durability="normal") as store:
        made = [store.conversations.create(f"user{number}").id for number in range(10_000)]
    return path, sorted(made, reverse=True)


@pytest.fixture
def many_talks(user: User, ten_thousand: tuple[Path, list[str]]) -> list[str]:
    """Ten thousand conversations in the user's store; their ids, newest first."""
    path, made = ten_thousand
    shutil.copy(path, user.path)
    return made
