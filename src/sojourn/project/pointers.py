"""The files that pointers are."""

from __future__ import annotations

import os

from sojourn.project import caller, files
from sojourn.project.identity import POINTER, POINTERS, PREVIOUS, WORKTREES
from sojourn.project.root import Root

SPOTS = ("terminal", "project")
"""The pointers that lead from a directory to a session, in the order in which they are asked."""


def pointer_path(root: Root, spot: str, who: caller.Caller | None = None) -> str | None:
    """The file of a pointer; None for that of an agent or terminal where there is none (``who``, when that is known)."""
    if spot == "terminal":
        found = who or caller.caller()
        return None if found is None else os.path.join(root.state, POINTERS, found.key)
    if not root.worktree:
        return os.path.join(root.state, POINTER)
    return os.path.join(root.state, WORKTREES, caller.key_of(root.worktree), POINTER)


def pointed(root: Root) -> tuple[str, str] | None:
    """What the first pointer that says something says, and whose it is; None where nobody is pointed at."""
    who = caller.caller()
    for spot in SPOTS:
        path = pointer_path(root, spot, who)
        text = files.read_text(path) if path else None
        if text:
            return text, who.kind if spot == "terminal" and who is not None else "project"
    return None


def point(path: str, before: str | None, session: str) -> None:
    """Let a pointer name a session; what it said before is kept beside it."""
    if before is not None and before != session:
        files.write_text(path + PREVIOUS, before, durable=False)
    files.write_text(path, session)


def left_behind(root: Root, before: float) -> dict[str, str]:
    """The pointers of agents and terminals that nobody has moved since ``before`` (seconds since 1970), and what they say."""
    found: dict[str, str] = {}
    try:
        entries = list(os.scandir(os.path.join(root.state, POINTERS)))
    except FileNotFoundError:
        return found
    for entry in entries:
        if not entry.name.endswith(PREVIOUS) and entry.is_file(follow_symlinks=False) and entry.stat().st_mtime < before:
            found[entry.path] = files.read_text(entry.path) or ""
    return found


def drop(path: str) -> None:
    """Remove a pointer, and what it said before."""
    files.remove(path + PREVIOUS)
    files.remove(path)
