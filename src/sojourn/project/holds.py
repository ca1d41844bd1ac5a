"""Which sessions living processes of this host hold: a lock file for each, locked while its holder lives.

In a project the files are in ``.sojourn/held``, so that whatever may write in the project may hold its sessions, and in the
user's data directory too where that can be written; elsewhere only there. So who holds a session from outside of its project
and who holds it inside meet in one file. A file stays when its holder dies, and says so by not being locked.
"""

from __future__ import annotations

import os
import time

from sojourn.core.ids import is_id
from sojourn.errors import InvalidValueError, LeaseHeldError, NoProjectError, PointerError, UnsafeProjectError
from sojourn.project.files import failed, make_directory
from sojourn.project.locks import close_lock, open_lock, try_lock
from sojourn.project.root import find, user_data_directory

_HELD = "held"
_GLANCE = 0.5
"""Seconds to wait for others who only look whether a session is held."""
_PAUSE = 0.002


class Held:
    """A session that this process holds."""

    def __init__(self) -> None:
        self._locks: list[tuple[str, int]] = []
        self._process = os.getpid()

    def add(self, path: str) -> None:
        """Lock this file too."""
        self._locks.append((path, _locked(path)))

    def let_go(self) -> None:
        """Hold it no more; idempotent. In a forked child there is nothing to let go of."""
        locks, self._locks = self._locks, []
        if os.getpid() != self._process:
            return
        for path, number in locks:
            try:
                os.unlink(path)  # first, while nobody else can have it
            except OSError:  # not needed: without a lock on it, it says that its holder is gone
                pass
            close_lock(number)


def hold(session: str) -> Held:
    """Hold a session until it is let go or the process ends; `LeaseHeldError` when another process of this host does."""
    if not is_id(session):
        raise InvalidValueError(f"{session!r} is not the id of a session.")
    grip = Held()
    try:
        for place, directory in enumerate(_places()):
            try:
                make_directory(directory)
                grip.add(os.path.join(directory, session))
            except PointerError:
                if place == 0:
                    raise
    except BaseException:
        grip.let_go()
        raise
    return grip


def _locked(path: str) -> int:
    """The number of a lock file that is locked by this process now."""
    limit = time.monotonic() + _GLANCE
    while True:
        try:
            number = open_lock(path)
        except OSError as error:
            raise failed(path, "opened", error) from error
        assert number is not None  # noqa: S101  # it is made
        try:
            if try_lock(number):
                if _is_there(path, number):
                    return number
                alone = True
            else:
                alone = try_lock(number, shared=True)  # then others only look
        except OSError as error:
            close_lock(number)
            raise failed(path, "locked", error) from error
        close_lock(number)
        if not alone or time.monotonic() > limit:
            raise LeaseHeldError(
                f"session {os.path.basename(path)} is held by another process of this host.",
                hint="Wait until it has ended, or start your own.",
            )
        time.sleep(_PAUSE)


def held(session: str) -> bool | None:
    """Whether a living process of this host holds a session; None when nobody here holds or left it so."""
    if not is_id(session):
        return None
    left = None
    for directory in _places():
        path = os.path.join(directory, session)
        try:
            number = open_lock(path, create=False)
        except OSError:
            continue
        if number is None:
            continue
        try:
            if not try_lock(number, shared=True):
                return True
            left = False
        except OSError:
            continue
        finally:
            close_lock(number)
    return left


def host() -> str:
    """This host as it runs now: another after a restart, when nobody holds what was held before."""
    import socket

    return f"{socket.gethostname()}/{_boot()}"


def _boot() -> str:
    """What Linux makes anew at each start; elsewhere nothing, and a restart is noticed by the silence of the holder."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def _places() -> list[str]:
    """Where lock files are: the place that must be writable first."""
    own = os.path.join(user_data_directory(), _HELD)
    try:
        found = find()
    except (NoProjectError, UnsafeProjectError):  # whoever names a project by its id needs none here
        found = None
    return [own] if found is None else [os.path.join(found.state, _HELD), own]


def _is_there(path: str, number: int) -> bool:
    """Whether the file we have locked is the one others find: the holder before us removes it when it lets go."""
    try:
        there = os.stat(path, follow_symlinks=False)
    except OSError:
        return False
    return os.path.samestat(there, os.fstat(number))
