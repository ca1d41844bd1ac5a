"""The working directory's project: its root, its id, who is asking, pointers, and what living processes hold.

`here` is what ``store.workspaces`` asks. Everything in this package is a few system calls and imports little (and what only
some calls need, late), because commands that sit in prompts and hooks use it. Files are read and written, and nothing in
``.sojourn/`` is ever executed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sojourn.project.working import Working

__all__ = ["here"]


def here() -> Working:
    """The project of the working directory, looked up anew at each call, so that a program may change its directory."""
    from sojourn.project.working import Working

    return Working()
