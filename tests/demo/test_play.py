"""The demo that stays, as a process: alive, killed in the middle of a countdown, started again, stopped."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from sojourn.demo import main

pytestmark = pytest.mark.slow

PROGRAM = Path(sys.executable).with_name("sojourn")


@dataclass
class Playing:
    """A running demo."""

    process: subprocess.Popen[str]
    said: str

    def found(self, pattern: str) -> str:
        match = re.search(pattern, self.said)
        assert match is not None, self.said
        return match[1]

    @property
    def address(self) -> str:
        return self.found(r"Play +(http://[^/]+)/play")

    def ask(self, path: str, **more: Any) -> Any:
        key = self.found(r"Bearer (\S+)'")
        return httpx.get(self.address + path, headers={"authorization": f"Bearer {key}"}, timeout=30, **more).json()

    def stop(self) -> str:
        self.process.send_signal(signal.SIGINT)
        out, err = self.process.communicate(timeout=40)
        assert (self.process.returncode, err) == (0, ""), err
        return out

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


def start(tmp: Path, *words: str) -> Playing:
    process = subprocess.Popen(
        [PROGRAM, "demo", "--play", "--port", "0", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp), "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    said = ""
    while "Ctrl-C stops" not in said:
        line = process.stdout.readline()
        assert line, process.stderr.read() if process.stderr else said
        said += line
    return Playing(process, said)


def _window(playing: Playing) -> Any:
    """The open window of the table, as soon as one is."""
    for _ in range(200):
        window = playing.ask("/v1/games/channels/the-lamp").get("window")
        if window is not None:
            return window
        time.sleep(0.1)
    raise AssertionError("no window opens")


def test_it_is_alive_killed_goes_on_and_leaves_nothing(tmp_path: Path) -> None:
    playing = start(tmp_path)
    assert len(playing.said.splitlines()) <= 24
    assert max(map(len, playing.said.splitlines())) <= 128
    kinds: set[str] = set()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        kinds = {row["kind"] for row in playing.ask("/v1/sessions", params={"limit": 200})["items"]}
        if kinds == {"conversation", "context", "game", "login", "workspace"}:
            break
        time.sleep(0.3)
    assert kinds == {"conversation", "context", "game", "login", "workspace"}
    assert httpx.get(playing.found(r"Play +(\S+)"), timeout=30).status_code == 200
    code, window = playing.found(r"/play/([A-Z0-9]+)"), _window(playing)
    playing.kill()

    playing = start(tmp_path)
    assert "goes on where it was killed" in playing.said
    assert playing.found(r"/play/([A-Z0-9]+)") == code
    now = _window(playing)  # before the turns: one that closes meanwhile is then among them
    turns = playing.ask("/v1/games/channels/the-lamp/turns")["items"]
    closed = [turn for turn in turns if turn["number"] == window["turn"]]
    if closed:
        assert closed[0]["deadline"] == window["deadline"]
    else:
        assert (now["turn"], now["deadline"]) == (window["turn"], window["deadline"])
    with start(tmp_path).process as second:  # beside the first: in a place of its own
        second.send_signal(signal.SIGTERM)
        out, err = second.communicate(timeout=40)
        assert (second.returncode, err) == (0, ""), out
    assert playing.ask("/v1/games/channels/the-lamp")["id"]
    assert "Nothing is left of it." in playing.stop()
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_is_kept_stays(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    playing = start(tmp_path, "--keep", str(kept))
    assert f"--keep {kept}" in playing.said
    assert str(kept / "demo.db") in playing.stop()
    assert (kept / "demo.db").exists()
    again = start(tmp_path, "--keep", str(kept))
    assert again.found(r"/play/([A-Z0-9]+)") == playing.found(r"/play/([A-Z0-9]+)")
    again.stop()


def test_what_is_missing_or_taken_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["--play", "--port", str(port)]) == 1
    assert f"port {port}" in capsys.readouterr().err
    for name in [name for name in sys.modules if name.startswith(("sojourn.service", "sojourn.demo.live"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert main(["--play"]) == 1
    assert "pip install 'sojourn[service]'" in capsys.readouterr().err
