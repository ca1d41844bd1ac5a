"""The project of the working directory as ``store.workspaces`` asks for it: `sojourn.kinds.workspaces.places.Places`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

from sojourn.errors import PointerError
from sojourn.project import caller, files, holds, identity
from sojourn.project.identity import PREVIOUS
from sojourn.project.locks import Alone
from sojourn.project.pointers import SPOTS, point, pointer_path
from sojourn.project.root import require

if TYPE_CHECKING:
    from sojourn.kinds.workspaces.places import Grip, Spot

_LOCK = "pointers.lock"


class Working:
    """Asked anew at each call: the directory and the environment may change while a program runs."""

    def project_id(self) -> str:
        """The id of the project; `NoProjectError`, `UnsafeProjectError`, `CopiedProjectError`."""
        return identity.project_of(require())

    def chosen(self) -> str | None:
        """What ``SOJOURN_SESSION`` says; None when it is unset or blank."""
        return caller.chosen()

    def keyed_by(self) -> Literal["agent", "terminal"] | None:
        """What the ``terminal`` pointer belongs to here."""
        found = caller.caller()
        if found is None:
            return None
        return "agent" if found.kind == "agent" else "terminal"

    def read(self, spot: Spot) -> str | None:
        """What a pointer says; None when there is none, or it is blank."""
        path = pointer_path(require(), spot)
        return None if path is None else files.read_text(path) or None

    def write(self, spot: Spot, session: str) -> None:
        """Point at a session; what was there is `previous` from now on."""
        with _Changing(spot) as path:
            point(path, files.read_text(path) or None, session)

    def swap(self, spot: Spot, before: str | None, session: str) -> bool:
        """As `write`, if the pointer still says ``before``."""
        with _Changing(spot) as path:
            found = files.read_text(path) or None
            if found != before:
                return False
            point(path, found, session)
            return True

    def clear(self, spot: Spot) -> None:
        """Remove a pointer; idempotent."""
        with _Changing(spot) as path:
            files.remove(path)

    def previous(self) -> str | None:
        """The session before the present one, of the agent's or terminal's pointer where there is one, or the project's."""
        root = require()
        for spot in SPOTS:
            path = pointer_path(root, spot)
            if path is not None and files.read_text(path):
                return files.read_text(path + PREVIOUS) or None
        return None

    def where(self, spot: Spot) -> str:
        """The path of a pointer's file."""
        path = pointer_path(require(), spot)
        return "a pointer of an agent or a terminal" if path is None else path

    def host(self) -> str:
        """This host as it runs now."""
        return holds.host()

    def hold(self, session: str) -> Grip:
        """Hold a session as this process, until it lets go or ends."""
        return holds.hold(session)

    def held(self, session: str) -> bool | None:
        """Whether a living process of this host holds a session; None where that cannot be told."""
        return holds.held(session)


class _Changing:
    """A pointer while it is changed, by nobody else meanwhile; gives the path of its file."""

    def __init__(self, spot: Spot) -> None:
        root = require()
        identity.project_of(root)
        path = pointer_path(root, spot)
        if path is None:
            raise PointerError(
                "there is no pointer of an agent or a terminal here: none of them says which it is.",
                hint="Set SOJOURN_AGENT to a name of your own, or use the project's pointer.",
            )
        self._root = root
        self._path = path
        self._alone = Alone(os.path.join(root.state, _LOCK))

    def __enter__(self) -> str:
        self._alone.__enter__()
        try:
            identity.settle(self._root)
            files.make_directory(os.path.dirname(self._path))
        except BaseException:
            self._alone.__exit__(None, None, None)
            raise
        return self._path

    def __exit__(self, *error: object) -> None:
        self._alone.__exit__(None, None, None)
