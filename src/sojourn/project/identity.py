"""Which project a directory is: an id in ``.sojourn/project`` that goes with the directory when it is moved.

Beside it, ``place`` says where the directory was when it was last written to: its path, device and inode. A directory that is
found elsewhere was moved, unless the place it comes from still is the same project: then one of the two is a copy, and
somebody must say what it is to be, because both would speak for the same sessions.
"""

from __future__ import annotations

import os
import stat

from sojourn.errors import CopiedProjectError, InvalidValueError, NoProjectError, PointerError
from sojourn.project.files import create_text, make_directory, read_bytes, read_text, remove, write_text
from sojourn.project.root import STATE, Root, check_safe

ID = "project"
PLACE = "place"
IGNORE = ".gitignore"
POINTER = "session"
PREVIOUS = ".previous"
POINTERS = "pointers"
WORKTREES = "worktrees"
LONGEST = 128

_DIGITS = 60

_ALLOWED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")


def make(directory: str, project: str | None = None) -> Root:
    """Make a project of a directory: ``.sojourn/`` (0700) with its id. One that is made already is left as it is."""
    root = Root(os.path.realpath(directory))
    if project is not None:
        project = check_id(project)
    if not os.path.isdir(root.directory):
        raise InvalidValueError(f"there is no directory {directory}.", hint="Make it first.")
    if os.path.lexists(root.state) and not os.path.isdir(root.state):
        raise InvalidValueError(f"{root.state} is no directory.", hint="Move it away: a project keeps its files there.")
    check_safe(root.directory)
    make_directory(root.state)
    check_safe(root.state)
    create_text(os.path.join(root.state, IGNORE), "*\n")
    if create_text(os.path.join(root.state, ID), project or _new_id()):
        stamp(root)
    found = id_of(root)
    if project is not None and found != project:
        raise InvalidValueError(
            f"{root.directory} is project {found} already.", hint=f"To give it another id: sojourn init --id {project} --renew"
        )
    return root


def renew(root: Root, project: str | None = None) -> None:
    """Make a copy a project of its own: a new id, and none of the pointers that came with it."""
    wanted = _new_id() if project is None else check_id(project)
    forget_pointers(root)
    write_text(os.path.join(root.state, ID), wanted)
    stamp(root)


def adopt(root: Root) -> None:
    """Let this directory be the project that it says, wherever it was before."""
    id_of(root)
    stamp(root)


def forget_pointers(root: Root) -> None:
    """Remove the project's pointers: those of agents, terminals and worktrees too."""
    for name in (POINTER, POINTER + PREVIOUS):
        remove(os.path.join(root.state, name))
    for folder in (POINTERS, WORKTREES):
        for path, _, names in os.walk(os.path.join(root.state, folder)):
            for name in names:
                remove(os.path.join(path, name))


def id_of(root: Root) -> str:
    """The id that a directory says, whatever place it is in."""
    path = os.path.join(root.state, ID)
    found = read_text(path)
    if found is None:
        raise NoProjectError(f"{root.state} is there, but was not set up as a project.", hint="Set it up with 'sojourn init'.")
    if not is_project_id(found):
        raise NoProjectError(
            f"{path} does not hold an id of a project: {found[:80]!r}.",
            hint="Write the id back, or remove the file and run 'sojourn init' for a new one.",
        )
    return found


def project_of(root: Root) -> str:
    """The id of a project, when this directory may speak for it; `CopiedProjectError` for a copy. Writes nothing."""
    found = id_of(root)
    original = copied_from(root, found)
    if original:
        raise CopiedProjectError(
            f"{root.directory} is a copy of the project in {original}: both have the id {found}.",
            hint="To make the copy a project of its own: sojourn init --renew\n"
            "To let both speak for the same sessions: sojourn init --keep",
        )
    return found


def settle(root: Root) -> None:
    """Write down where a project is now, when it was moved there."""
    path, device, inode = _recorded(root)
    there = os.stat(root.state)
    if (path, device, inode) != (root.directory, there.st_dev, there.st_ino):
        stamp(root)


def stamp(root: Root) -> None:
    """Write down where the project is."""
    there = os.stat(root.state)
    write_text(os.path.join(root.state, PLACE), f"{there.st_dev} {there.st_ino} {root.directory}")


def copied_from(root: Root, project: str) -> str:
    """The directory whose copy this is; empty when this is the project itself, moved or mounted elsewhere perhaps.

    The same path or the same inode is the same project: a backup that was put back, a container's mount, a renamed directory.
    Device numbers alone change with a restart.
    """
    path, device, inode = _recorded(root)
    if not path or path == root.directory:
        return ""
    try:
        here, there = os.stat(root.state), os.stat(os.path.join(path, STATE))
    except OSError:
        return ""
    if (here.st_dev, here.st_ino) in ((device, inode), (there.st_dev, there.st_ino)) or not stat.S_ISDIR(there.st_mode):
        return ""
    try:
        return path if read_text(os.path.join(path, STATE, ID)) == project else ""
    except PointerError:  # not ours to read: so it is not ours
        return ""


def _recorded(root: Root) -> tuple[str, int, int]:
    """Where the project was when that was last written down; an empty path when nobody knows."""
    device, _, rest = os.fsdecode(read_bytes(os.path.join(root.state, PLACE)) or b"").partition(" ")
    inode, _, path = rest.partition(" ")
    if not (device + inode).isdecimal() or len(device + inode) > _DIGITS or "\0" in path:
        return "", 0, 0
    return path, int(device or 0), int(inode or 0)


def check_id(project: str) -> str:
    """An id for a project, chosen by its user."""
    if not is_project_id(project):
        raise InvalidValueError(
            f"{project!r} is no id for a project.", hint=f"Use 1 to {LONGEST} letters, digits, dots, hyphens and underscores."
        )
    return project


def is_project_id(text: str) -> bool:
    """Whether ``text`` may be the id of a project."""
    return 0 < len(text) <= LONGEST and _ALLOWED.issuperset(text)


def _new_id() -> str:
    from sojourn.core.ids import new_id  # late: who only asks for an id needs no random numbers

    return new_id()
