"""A project in a directory of its own, and an environment in which nobody is asking."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sojourn.project import caller, identity

FROM_OUTSIDE = (
    "SOJOURN_URL",
    "SOJOURN_SESSION",
    "SOJOURN_AGENT",
    "SOJOURN_TRUST_ROOT",
    "SOJOURN_CEILING_DIRS",
    *caller.AGENT_VARIABLES,
    "TMUX",
    "TMUX_PANE",
    "ZELLIJ_PANE_ID",
    "ZELLIJ_SESSION_NAME",
    "WINDOW",
    "STY",
)


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No agent, no multiplexer, no terminal, and a home of our own."""
    for name in FROM_OUTSIDE:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(caller, "_controlling", lambda: ("", ""))
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))


@pytest.fixture
def project(tmp_path: Path, nobody: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project, which is the working directory."""
    directory = Path(os.path.realpath(tmp_path)) / "project"
    directory.mkdir()
    identity.make(str(directory))
    monkeypatch.chdir(directory)
    return directory
