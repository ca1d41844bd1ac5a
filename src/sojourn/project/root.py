"""The root of a project: the nearest directory upwards that has a ``.sojourn/``.

The walk ends at the directories of ``SOJOURN_CEILING_DIRS``, at the border of a file system and at ``/``. In a linked git
worktree the main working tree is looked at too, so that all worktrees of a repository share one store.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator

from sojourn.errors import NoProjectError, UnsafeProjectError

STATE = ".sojourn"
STORE = "sojourn.db"
TRUST = "SOJOURN_TRUST_ROOT"
CEILINGS = "SOJOURN_CEILING_DIRS"

_LINK_LIMIT = 4096
"""Bytes of a ``.git`` file or of one of git's own files that are read; a path is shorter."""


class Root:
    """A project's root: ``directory`` holds ``state``; ``worktree`` tells the linked git worktree we came from, or is empty.

    ``top`` is the root as it is seen from where we came: in a linked worktree the directory there that corresponds.
    """

    __slots__ = ("directory", "state", "top", "worktree")

    def __init__(self, directory: str, worktree: str = "", top: str = "") -> None:
        self.directory: str = directory
        self.top: str = top or directory
        self.state: str = os.path.join(directory, STATE)
        self.worktree: str = worktree

    @property
    def store(self) -> str:
        """The file of the project's own store."""
        return os.path.join(self.state, STORE)


def find(start: str | None = None, *, mending: bool = False) -> Root | None:
    """The project that ``start`` (by default the working directory) lies in; None where there is none.

    `UnsafeProjectError` for one that belongs to somebody else, or in which anybody may write: but for that, for whoever is
    ``mending`` it.
    """
    begin = working_directory() if start is None else start
    found = None if "\0" in begin else _look(os.path.realpath(begin))
    if found is not None:
        check_safe(found.directory, mending=mending)
        check_safe(found.state, mending=mending)
    return found


def require(start: str | None = None) -> Root:
    """As `find`; `NoProjectError` where there is none."""
    found = find(start)
    if found is None:
        place = working_directory() if start is None else start
        raise NoProjectError(f"{place} is in no project.", hint="Make one with 'sojourn init', or change the directory.")
    return found


def default_url(*, mending: bool = False) -> str:
    """The store of the project found upwards (``.sojourn/sojourn.db``), else the one in the user's data directory."""
    from urllib.parse import quote

    found = find(mending=mending)
    return "sqlite:///" + quote(os.path.join(user_data_directory(), STORE) if found is None else found.store)


def user_data_directory() -> str:
    """Where this system keeps a user's application data."""
    home = os.path.expanduser("~")
    if sys.platform == "win32":
        return os.path.join(home, "AppData", "Local", "sojourn")
    if sys.platform == "darwin":
        return os.path.join(home, "Library", "Application Support", "sojourn")
    return os.path.join(home, ".local", "share", "sojourn")


def working_directory() -> str:
    """The working directory; `NoProjectError` when it was removed."""
    try:
        return os.getcwd()
    except OSError as error:
        raise NoProjectError(
            f"the working directory cannot be told: {error.strerror}.", hint="It was removed, perhaps. Change to another one."
        ) from error


# -- the walk ----------------------------------------------------------------------------------------------------------


def _look(start: str) -> Root | None:
    worktree = ""
    for directory in _upwards(start):
        if _is_directory(os.path.join(directory, STATE)):
            return Root(directory, worktree)
        main, private = ("", "") if worktree else _linked(directory)
        if main:
            worktree = f"{private}\0{_made_at(private)}"  # a worktree may be moved, and another one get its name
            for candidate in _same_place(main, os.path.relpath(start, directory)):
                if _is_directory(os.path.join(candidate, STATE)):
                    below = os.path.relpath(candidate, main)
                    return Root(candidate, worktree, os.path.normpath(os.path.join(directory, below)))
    return None


def below(root: Root, path: str) -> str | None:
    """``path`` (from the working directory) as seen from the project's root, ``.`` for the root; None outside of it.

    Links on the way are followed, but the last step is not: it may be the very link that is meant.
    """
    if "\0" in path:
        return None
    whole = os.path.normpath(os.path.join(working_directory(), path))
    whole = os.path.join(os.path.realpath(os.path.dirname(whole)), os.path.basename(whole))
    found = os.path.relpath(whole, root.top)
    return None if found == os.pardir or found.startswith(os.pardir + os.sep) else found


def _upwards(start: str) -> Iterator[str]:
    """``start`` and the directories above it. Where the walk begins is always looked at."""
    ceilings = {os.path.realpath(name) for name in os.environ.get(CEILINGS, "").split(os.pathsep) if os.path.isabs(name)}
    device = _device(start)
    directory = start
    while True:
        yield directory
        parent = os.path.dirname(directory)
        if parent == directory or directory in ceilings or parent in ceilings or _device(parent) != device:
            return
        directory = parent


def _same_place(main: str, below: str) -> Iterator[str]:
    """The directory of the main working tree that corresponds to ours, and those above it up to its top."""
    parts = [] if below == os.curdir else below.split(os.sep)
    while parts:
        yield os.path.join(main, *parts)
        parts.pop()
    yield main


def _linked(directory: str) -> tuple[str, str]:
    """The main working tree, and git's own directory, of the linked worktree whose top is ``directory``; empty when it is none.

    Read as git reads it (gitrepository-layout): ``.git`` is a file that names the worktree's own directory, which names the
    common one and points back. Of a bare repository named ``.bare`` it is the directory that holds it.
    """
    link = os.path.join(directory, ".git")
    text = _line(link)
    if not text.startswith("gitdir: "):
        return "", ""
    private = os.path.realpath(os.path.join(directory, text[8:]))
    common, back = _line(os.path.join(private, "commondir")), _line(os.path.join(private, "gitdir"))
    if not common or os.path.realpath(os.path.join(private, back)) != os.path.realpath(link):
        return "", ""
    shared = os.path.realpath(os.path.join(private, common))
    return (os.path.dirname(shared), private) if os.path.basename(shared) in (".git", ".bare") else ("", "")


def working_tree(start: str) -> str:
    """The top of the git working tree that ``start`` lies in, of a linked one that of its main tree; empty when in none."""
    for directory in _upwards(os.path.realpath(start)):
        if os.path.exists(os.path.join(directory, ".git")):
            return _linked(directory)[0] or directory
    return ""


def _line(path: str) -> str:
    """The first line of one of git's files; empty when there is none."""
    try:
        number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except OSError:
        return ""
    try:
        if not stat.S_ISREG(os.fstat(number).st_mode):
            return ""
        line = os.fsdecode(os.read(number, _LINK_LIMIT)).partition("\n")[0].rstrip("\r")
        return "" if "\0" in line else line
    except OSError:
        return ""
    finally:
        os.close(number)


def _is_directory(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def _device(path: str) -> int:
    try:
        return os.stat(path).st_dev
    except OSError:
        return -1


def _made_at(private: str) -> int:
    """When git made a linked worktree, in nanoseconds: it writes this file then, and never again. Inodes are used again."""
    try:
        return os.stat(os.path.join(private, "commondir")).st_mtime_ns
    except OSError:
        return 0


# -- safety ------------------------------------------------------------------------------------------------------------


def check_safe(path: str, *, mending: bool = False) -> None:
    """`UnsafeProjectError` when somebody else could have put there what is found, or could change it under us.

    As git's safe.directory (CVE-2022-24765). ``SOJOURN_TRUST_ROOT=1`` (``--trust-root``) is for containers, where a mounted
    directory often belongs to a user of the host.
    """
    if os.environ.get(TRUST, "") not in ("", "0") or not hasattr(os, "geteuid"):
        return
    link, target = os.lstat(path), os.stat(path)
    for found in (link, target):
        if found.st_uid != os.geteuid():
            raise UnsafeProjectError(
                f"{path} belongs to user {found.st_uid}, and you are user {os.geteuid()}: it is not trusted.",
                hint="If it is yours all the same (in a container, for example), say so with --trust-root or "
                f"{TRUST}=1. To look no further up than a directory, name that in {CEILINGS}.",
            )
    if target.st_mode & stat.S_IWOTH and not mending:
        raise UnsafeProjectError(
            f"anybody may write in {path}: it is not trusted.",
            hint=f"Take the right away (chmod o-w), or trust it with --trust-root or {TRUST}=1. To look no further up "
            f"than a directory, name that in {CEILINGS}.",
        )
