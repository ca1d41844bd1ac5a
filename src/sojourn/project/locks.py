"""File locks of this process (flock): the system lets go of them when the process ends, however it ends.

A lock belongs to the open file, and a forked child inherits that: it would keep the lock after its parent was killed, for as
long as it lives itself (seen for seconds). So a child closes what it inherited at once, and a program that is started never
gets it (close on exec).
"""

from __future__ import annotations

import os
import threading
import time
from types import TracebackType

from sojourn.errors import PointerError
from sojourn.project.files import failed

PATIENCE = 5.0
"""Seconds to wait for another process's change of a pointer, which takes less than a millisecond."""

_PAUSE = 0.001

_numbers: set[int] = set()
_forking = threading.RLock()


def open_lock(path: str, *, create: bool = True) -> int | None:
    """The number of an open lock file that no child inherits; None when there is none and it is not to be made."""
    with _forking:
        try:
            flags = (os.O_CREAT | os.O_RDWR) if create else os.O_RDONLY
            number = os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0), 0o600)
        except FileNotFoundError:
            if not create:
                return None
            raise
        _numbers.add(number)
        return number


def close_lock(number: int) -> None:
    """Close it, which lets go of the lock."""
    with _forking:
        _numbers.discard(number)
        os.close(number)


def _after_in_child() -> None:
    for number in _numbers:
        os.close(number)
    _numbers.clear()
    _forking.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_forking.acquire, after_in_parent=_forking.release, after_in_child=_after_in_child)


def try_lock(number: int, *, shared: bool = False) -> bool:
    """Lock an open file if that needs no waiting."""
    import fcntl

    try:
        fcntl.flock(number, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class Alone:
    """The only one to change the pointers of a project, while entered."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._number = -1

    def __enter__(self) -> None:
        try:
            number = open_lock(self._path)
        except OSError as error:
            raise failed(self._path, "opened", error) from error
        assert number is not None  # noqa: S101  # it is made
        try:
            limit = time.monotonic() + PATIENCE
            while not try_lock(number):
                if time.monotonic() > limit:
                    raise PointerError(
                        f"another process has kept {self._path} locked for {PATIENCE:g} s.",
                        hint="It was stopped, perhaps (Ctrl-Z). Find it with 'fuser' or 'lsof', and let it go on.",
                    )
                time.sleep(_PAUSE)
        except OSError as error:
            close_lock(number)
            raise failed(self._path, "locked", error) from error
        except BaseException:
            close_lock(number)
            raise
        self._number = number

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        close_lock(self._number)
