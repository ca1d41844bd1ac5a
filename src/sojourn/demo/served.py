"""A service in a process of its own, asked by the tour."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import sojourn

_WITHIN = 20.0
"""Seconds that an answer, or the end, may take."""


@dataclass(frozen=True, slots=True)
class Served:
    """Where it is, and a key for everything."""

    address: str
    key: str

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None, headers: dict[str, str] | None = None) -> Any:
        """The JSON of an answer; `OSError` for one that is none."""
        request = Request(  # our own server
            self.address + path,
            data=None if body is None else json.dumps(body).encode(),
            headers={"authorization": f"Bearer {self.key}", "content-type": "application/json", **(headers or {})},
            method=method,
        )
        with build_opener(ProxyHandler({})).open(request, timeout=_WITHIN) as answer:
            return json.load(answer)

    def status(self, path: str, *, key: str) -> int:
        """The status of an answer to a key."""
        try:
            Served(self.address, key).ask("GET", path)
        except HTTPError as error:
            with error:
                return error.code
        return 200


@contextmanager
def serving(url: str) -> Generator[Served, None, None]:
    """`sojourn serve` over a store, until the block ends."""
    key = secrets.token_urlsafe(32)
    path = os.pathsep.join([str(Path(sojourn.__file__).parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    words = ["serve", "--store", url, "--port", "0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "sojourn", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path, "SOJOURN_ADMIN_SECRET": key},
    )
    with process:
        try:
            yield Served(_address(process), key)
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.communicate(timeout=_WITHIN)
            except subprocess.TimeoutExpired:
                process.kill()


def _address(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None  # noqa: S101  # it is a pipe
    for line in process.stdout:
        found = re.search(r"API +(http://\S+)/v1", line)
        if found is not None:
            return found[1]
    raise OSError("the service did not start.")
