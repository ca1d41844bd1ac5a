"""What a player types: single keys on a terminal, lines from a file or a pipe."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Protocol


class Keys(Protocol):
    """Where keys come from."""

    @property
    def ended(self) -> bool:
        """Whether nothing comes any more."""
        ...

    def wait(self, seconds: float, *, hungry: bool) -> list[str]:
        """What was typed within so many seconds, at once when there is something. Lines come one by one, when ``hungry``."""
        ...


class TerminalKeys:
    """Keys of a terminal, each as it is pressed."""

    ended = False

    def __init__(self, number: int) -> None:
        self._number = number

    def wait(self, seconds: float, *, hungry: bool) -> list[str]:
        """The keys that were pressed; an arrow or a function key is none."""
        del hungry
        ready, _, _ = select.select([self._number], [], [], seconds)
        if not ready:
            return []
        raw = os.read(self._number, 64)
        if not raw:
            return ["q"]
        text = raw.decode(errors="ignore")
        return [] if text.startswith("\x1b") else [key for key in text if key.isprintable() or key == "\x04"]


class LineKeys:
    """Lines of a file or a pipe, one for each choice."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._rest = b""
        self.ended: bool = False

    def wait(self, seconds: float, *, hungry: bool) -> list[str]:
        """The next line, when one is wanted."""
        if not hungry or (self.ended and not self._rest):
            select.select([], [], [], seconds)
            return []
        if b"\n" not in self._rest and not self.ended:
            ready, _, _ = select.select([self._number], [], [], seconds)
            if not ready:
                return []
            more = os.read(self._number, 4096)
            self.ended = not more
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\n")
        word = line.decode(errors="replace").strip()
        return [word] if word else []


@contextmanager
def keys_of(terminal: bool) -> Generator[Keys]:
    """The keys of standard input; a terminal gives each as it is pressed, and is put back at the end."""
    number = sys.stdin.fileno()
    if not (terminal and sys.stdin.isatty()):
        yield LineKeys(number)
        return
    import termios
    import tty

    before = termios.tcgetattr(number)
    try:
        tty.setcbreak(number)
        yield TerminalKeys(number)
    finally:
        termios.tcsetattr(number, termios.TCSADRAIN, before)
