"""The interface of tkt's package ``session`` on workspaces: plain functions over a store and a root directory.

One store is one project, as one ``.tkt/db.sqlite`` was: the project whose ``.sojourn/`` the store is in, else ``tkt``. Only the
project's pointer (``.sojourn/session``) is read and written; neither the environment nor the terminal counts.

What differs on purpose: the first end time is kept; a pointer is never seen empty or half written; a pointer to a session
that is not there is an error of its own. The docs have the whole table.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from sojourn.core.ids import new_id
from sojourn.core.names import generate_name as _made_name
from sojourn.core.names import validate_name as _valid_name
from sojourn.errors import EndedError, ExpiredError, NoSessionError, OrphanPointerError
from sojourn.kinds.workspaces.model import Workspace
from sojourn.project.files import read_text, write_text
from sojourn.project.identity import id_of, make
from sojourn.project.root import STATE, Root
from sojourn.sync.store import Store

__all__ = [
    "ROLE_ARCHITECT",
    "ROLE_IMPLEMENTER",
    "ROLE_MONITOR",
    "ExpiredSessionError",
    "NoSessionError",
    "OrphanPointerError",
    "Session",
    "count_active",
    "create",
    "create_system",
    "end",
    "expire_by_id",
    "generate_name",
    "generate_ulid",
    "load_active",
    "validate_name",
]

ROLE_ARCHITECT: Final = "architect"
ROLE_IMPLEMENTER: Final = "implementer"
ROLE_MONITOR: Final = "monitor"

_POINTER: Final = "session"
_PROJECT: Final = "tkt"


@dataclass(frozen=True)
class Session:
    """Who is at work, as tkt shows it."""

    id: str
    role: str
    name: str
    created_at: datetime
    last_active: datetime
    expired_at: datetime | None
    effective_role: str
    """The built-in role that ``role`` counts under."""


class ExpiredSessionError(ExpiredError):
    """The session that the pointer names has expired or was ended; ``session`` is that one."""

    def __init__(self, session: Session) -> None:
        super().__init__(f"session {session.name} is over.", hint="Create a new one.", record=session)
        self.session = session


def create(role: str, name: str, store: Store, root: str | os.PathLike[str]) -> Session:
    """A new session, under a random name for an empty one, and the project's pointer to it, whatever that named before.

    `UnknownRoleError`, `NameTakenError`, `InvalidNameError`. When the pointer cannot be written there is no session either.
    """
    place = make(os.fspath(root))
    made = store.workspaces.start(role, name, pointer=None, project_id=_project(store))
    try:
        write_text(os.path.join(place.state, _POINTER), made.id)
    except BaseException:
        store.sessions.delete(made.id)
        raise
    return _session(made)


def create_system(role: str, store: Store) -> Session:
    """A new session of a program, in any registered role; no pointer leads to it, and no count has it."""
    return _session(store.workspaces.start_system(role, project_id=_project(store)))


def load_active(root: str | os.PathLike[str], store: Store) -> Session:
    """The session that the project's pointer names, marked as active now.

    `NoSessionError` without a pointer or with a blank one, `OrphanPointerError` for one to nothing, `ExpiredSessionError`
    (carries the session) for one that is over.
    """
    found = _pointed(root, store)
    try:
        return _session(store.workspaces.heartbeat(found.id))
    except (EndedError, ExpiredError) as error:
        now = store.workspaces.get(found.id)
        raise ExpiredSessionError(_session(found if now is None else now)) from error


def end(root: str | os.PathLike[str], store: Store) -> str:
    """End the session that the project's pointer names; its id. Idempotent: the first end time is kept."""
    found = _pointed(root, store)
    return store.workspaces.end(found.id, project_id=_project(store)).id


def expire_by_id(id: str, store: Store) -> None:
    """Have a session go stale now; nothing for one that is not there."""
    store.workspaces.expire(id)


def count_active(store: Store) -> dict[str, int]:
    """How many sessions are at work by built-in role; roles with none are absent, programs' sessions are not counted."""
    return store.workspaces.count_active(project_id=_project(store))


def generate_name(name: str) -> str:
    """``name`` as it was given, or a random one for an empty one."""
    return name or _made_name()


def generate_ulid() -> str:
    """A new id, time-ordered."""
    return new_id()


def validate_name(name: str) -> None:
    """Raise `InvalidNameError`, with a message of its own for each rule, unless a name keeps them all."""
    _valid_name(name)


# -- steps -------------------------------------------------------------------------------------------------------------


def _project(store: Store) -> str:
    path = getattr(store._aio._unit.engine, "path", None)
    if path is not None and Path(path).absolute().parent.name == STATE:
        return id_of(Root(str(Path(path).absolute().parent.parent)))
    return _PROJECT


def _pointed(root: str | os.PathLike[str], store: Store) -> Workspace:
    """The session that the pointer names, in whatever state."""
    path = os.path.join(os.fspath(root), STATE, _POINTER)
    text = (read_text(path) or "").strip()
    if not text:
        raise NoSessionError(f"no session: {path} names none.", hint="Create one.")
    found = store.workspaces.get(text, project_id=_project(store))
    if found is None:
        raise OrphanPointerError(f"{path} names {text[:64]!r}, which is not in the store.", hint="Create a new session.")
    return found


def _session(workspace: Workspace) -> Session:
    over = {"ended": workspace.ended_at, "expired": workspace.ended_at or workspace.expires_at}
    return Session(
        workspace.id,
        workspace.role,
        workspace.name,
        workspace.created_at,
        workspace.last_activity_at,
        over.get(workspace.state),
        workspace.base_role,
    )
