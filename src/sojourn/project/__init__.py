"""The working directory's project: its root, its id, who is asking, pointers, and what living processes hold.

`here` is what ``store.workspaces`` asks. Everything in this package is a few system calls and imports little, because
commands that sit in prompts and hooks use it. Files are read and written, and nothing in ``.sojourn/`` is ever executed.
"""

from sojourn.project.root import default_url as default_url
from sojourn.project.working import Working as Working


def here() -> Working:
    """The project of the working directory, looked up anew at each call, so that a program may change its directory."""
    return Working()


__all__ = ["Working", "default_url", "here"]
