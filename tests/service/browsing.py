"""A real `sojourn serve` in a process of its own, and a real Chromium that looks at it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserContext, Page, sync_playwright

from sojourn.testing.browser import OPTIONS, find_chromium

SECRET = "a-secret-of-the-test-that-is-long-enough"


@dataclass
class Serving:
    """A server process."""

    process: subprocess.Popen[str]
    address: str
    link: str

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.communicate()

    def stop(self) -> int:
        """SIGINT, as Ctrl-C; its exit code."""
        self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=30)
        return self.process.returncode


def serve(url: str, *, port: int = 0, tenant: str = "default") -> Serving:
    """Start `sojourn serve` and read what it prints."""
    words = ["serve", "--store", url, "--port", str(port), "--tenant", tenant]
    environment = {**os.environ, "SOJOURN_ADMIN_SECRET": SECRET, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "sojourn", *words], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, env=environment
    )
    assert process.stdout is not None
    text = ""
    while "stops." not in text:
        line = process.stdout.readline()
        assert line, f"the server ended: {text}"
        text += line
    address = re.search(r"API +(http://\S+)/v1", text)
    link = re.search(r"Console +(http://\S+)", text)
    assert address is not None
    assert link is not None
    return Serving(process, address[1], link[1])


@contextmanager
def serving(url: str, **more: Any) -> Iterator[Serving]:
    """`serve`, ended with the block."""
    server = serve(url, **more)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.kill()


class Watched:
    """A browser's context in which nothing may run that is not ours."""

    def __init__(self, context: BrowserContext) -> None:
        self.context = context
        self.trouble: list[str] = []

    def page(self) -> Page:
        """A tab; errors, dialogs and refused resources are remembered."""
        page = self.context.new_page()
        page.on("pageerror", lambda error: self.trouble.append(f"error: {error}"))
        page.on("dialog", lambda dialog: self.trouble.append(f"dialog: {dialog.message}"))
        page.on("console", lambda said: self.trouble.append(f"{said.type}: {said.text}") if said.type == "error" else None)
        return page


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(find_chromium()), args=list(OPTIONS))
        try:
            yield browser
        finally:
            browser.close()


def artefacts(name: str) -> Path:
    """Where screenshots go: build/console, unless SOJOURN_ARTEFACTS names another place."""
    place = Path(os.environ.get("SOJOURN_ARTEFACTS", Path(__file__).parents[2] / "build" / "console"))
    place.mkdir(parents=True, exist_ok=True)
    return place / f"{name}.png"
