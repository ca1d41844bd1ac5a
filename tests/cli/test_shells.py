"""The prompt and the completions in real shells, typed at real terminals."""

import os
import pty
import re
import select
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sojourn.cli.prompt import SHELLS
from tests.cli.conftest import User

pytestmark = pytest.mark.slow

_READY = "READY> "
_CONTROL = re.compile(r"\x1b\[[0-9;?<>=]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[=>()][0-9A-Z]?|[\x07\x08]")
_RC = {
    "bash": ("bashrc", ["--rcfile", "{rc}", "-i"], f"PS1='{_READY}'\n" + 'eval "$(sojourn prompt bash)"\n'),
    "zsh": (".zshrc", ["-i"], f"PROMPT='{_READY}'\nunsetopt prompt_sp\n" + 'eval "$(sojourn prompt zsh)"\n'),
    "fish": ("fish/config.fish", ["-i"], f"function fish_prompt; echo -n '{_READY}'; end\nsojourn prompt fish | source\n"),
}
"""Where each shell reads its beginning, how it is started, and what a user writes there, with a prompt that a test knows."""


class Shell:
    """A shell at a terminal; ``typed`` gives what a line printed and the prompt that followed."""

    def __init__(self, name: str, home: Path, project: Path) -> None:
        file, words, text = _RC[name]
        rc = home / file
        rc.parent.mkdir(parents=True, exist_ok=True)
        rc.write_text(text)
        program = shutil.which(name)
        if program is None and os.environ.get("CI"):
            raise AssertionError(f"there is no {name} here: tools/packages.sh installs it")
        if program is None:
            pytest.skip(f"there is no {name} here")
        self._lines = 0
        self._seen = ""
        self.process, self._screen = pty.fork()
        if self.process == 0:
            os.chdir(project)
            bin_first = f"{home / 'bin'}:{os.environ['PATH']}"
            known = {"PATH": bin_first, "HOME": str(home), "ZDOTDIR": str(home), "XDG_CONFIG_HOME": str(home), "TERM": "dumb"}
            os.execve(program, [name, *(word.format(rc=rc) for word in words)], known)
        self.first = self._until_ready()

    def typed(self, line: str) -> tuple[str, str]:
        """Type a line. What is typed differs from what it prints at its end, so the echo is not taken for it."""
        self._lines += 1
        os.write(self._screen, f"{line}; echo EN''D{self._lines}:\r".encode())
        mark = f"END{self._lines}:"
        self._read(lambda: mark in self._seen)
        printed, _, self._seen = self._seen.partition(mark)
        return printed, self._until_ready()

    def _until_ready(self) -> str:
        self._read(lambda: _READY in self._seen)
        before, _, self._seen = self._seen.rpartition(_READY)
        return before.rpartition("\n")[2]

    def _read(self, enough: object) -> None:
        limit = time.monotonic() + 60
        assert callable(enough)
        while not enough():
            ready, _, _ = select.select([self._screen], [], [], max(0.0, limit - time.monotonic()))
            assert ready, f"nothing more came: {self._seen!r}"
            raw = os.read(self._screen, 65536)
            assert raw, f"the shell has ended: {self._seen!r}"
            if b"\x1b[c" in raw or b"\x1b[0c" in raw:
                os.write(self._screen, b"\x1b[?1;2c")  # what terminals answer who asks for their kind
            self._seen += _CONTROL.sub("", raw.decode(errors="replace")).replace("\r", "\n")

    def close(self) -> None:
        """Hang up."""
        os.close(self._screen)
        os.waitpid(self.process, 0)


@pytest.fixture(params=SHELLS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def shell(name: str, user: User, tmp_path: Path) -> Iterator[Shell]:
    """In an empty directory. ``sojourn`` is a script that counts how often it is started."""
    commands = tmp_path / "home" / "bin"
    commands.mkdir()
    script = f'#!/bin/sh\necho x >> {tmp_path / "count"}\nexec {sys.executable} -m sojourn "$@"\n'
    (commands / "sojourn").write_text(script)
    (commands / "sojourn").chmod(0o755)
    empty = tmp_path / "empty"
    empty.mkdir()
    found = Shell(name, tmp_path / "home", empty)
    yield found
    found.close()


def started(tmp_path: Path) -> int:
    return (tmp_path / "count").read_text().count("x")


def test_the_prompt_says_who_one_is(shell: Shell, name: str, tmp_path: Path) -> None:
    """Beginning with a directory that is no project yet; and it starts nothing while nothing changes."""
    assert shell.first == ""
    status = "$status" if name == "fish" else "$?"
    assert shell.typed("sojourn init -q")[1] == ""
    printed, prompt = shell.typed("sojourn workspace start --role architect --name scout -q")
    assert prompt == "[architect:scout] ", printed
    before = started(tmp_path)
    for _ in range(3):
        assert shell.typed("true")[1] == "[architect:scout] "
    assert started(tmp_path) == before
    assert shell.typed("cd /")[1] == ""
    assert shell.typed(f"cd {tmp_path / 'empty'}")[1] == "[architect:scout] "
    shell.typed("sojourn workspace rename ranger -q")
    assert shell.typed("true")[1] == "[architect:ranger] "
    printed, prompt = shell.typed(f"sojourn workspace show nobody; echo code {status}")
    assert "code 3" in printed
    assert shell.typed("sojourn workspace end -q")[1] == "[architect:ranger (ended)] "


@pytest.mark.parametrize("name", ["bash", "zsh"])
def test_a_word_is_completed(shell: Shell, name: str) -> None:
    pytest.importorskip("shtab")
    if name == "zsh":
        shell.typed("autoload -Uz compinit && compinit -D")
    shell.typed(f'eval "$(sojourn completion {name})"')
    printed, _ = shell.typed("sojourn conversation sea\t--help")
    assert "usage: sojourn conversation search" in printed
