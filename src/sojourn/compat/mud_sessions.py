"""The interface of ``mud_server.db.sessions_repo`` on logins: plain functions on one configured store.

What differs from the original on purpose: tokens are kept as digests, never as they are; an expired session stays expired,
whatever touches it; a failing store always raises. The docs have the whole table.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, ParamSpec, TypeVar

from sojourn.core.codec import check_key
from sojourn.errors import EndedError, ExpiredError, InvalidValueError, LimitError, NotFoundError, SojournError
from sojourn.kinds.logins.api import AsyncLogins
from sojourn.kinds.logins.model import Login, LoginPolicy
from sojourn.shell.bridge import run_sync, settle
from sojourn.sync.logins import Logins
from sojourn.sync.store import Store

__all__ = [
    "DatabaseError",
    "DatabaseOperationContext",
    "DatabaseOperationError",
    "DatabaseReadError",
    "DatabaseWriteError",
    "cleanup_expired_sessions",
    "clear_all_sessions",
    "configure",
    "create_session",
    "get_active_characters",
    "get_active_session_count",
    "get_session_by_id",
    "remove_session_by_id",
    "remove_sessions_for_character",
    "remove_sessions_for_character_count",
    "remove_sessions_for_user",
    "set_session_character",
    "update_session_activity",
]

P = ParamSpec("P")
R = TypeVar("R")


# -- errors ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DatabaseOperationContext:
    """Which operation failed, and on what."""

    operation: str
    details: str | None = None


class DatabaseError(RuntimeError):
    """Whatever the session store raises."""


class DatabaseOperationError(DatabaseError):
    """An operation failed; ``context`` says which, ``cause`` is the error behind it."""

    def __init__(self, message: str, *, context: DatabaseOperationContext, cause: Exception | None = None) -> None:
        super().__init__(message)
        self.context = context
        self.cause = cause


class DatabaseReadError(DatabaseOperationError):
    """Nothing could be read."""


class DatabaseWriteError(DatabaseOperationError):
    """Nothing was written."""


def _failing(kind: type[DatabaseOperationError]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Errors of a function as the original's; nothing of a token is in them."""

    def wrap(function: Callable[P, R]) -> Callable[P, R]:
        name = f"sessions.{function.__name__}"

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return function(*args, **kwargs)
            except SojournError as error:
                context = DatabaseOperationContext(name, f"{error.code}: {error.message}")
                raise kind(f"{name} failed: {error}", context=context, cause=error) from error

        return call

    return wrap


_reading: Final = _failing(DatabaseReadError)
_writing: Final = _failing(DatabaseWriteError)


# -- configuration -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Configured:
    store: Store
    aio: AsyncLogins
    logins: Logins = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "logins", Logins(self.aio))


_configured: list[_Configured] = []


def configure(
    store: Store,
    *,
    ttl_minutes: int = 480,
    sliding_expiration: bool = True,
    allow_multiple_sessions: bool = True,
    active_window_minutes: int = 30,
) -> None:
    """Say where sessions are kept, and how: once, before anything else. ``ttl_minutes`` of 0 or less: they never expire."""
    idle = timedelta(minutes=ttl_minutes) if ttl_minutes > 0 else None
    policy = LoginPolicy(
        idle=idle,
        touch_every=timedelta(0),
        absolute=None,
        sliding=sliding_expiration,
        active_window=timedelta(minutes=active_window_minutes),
        max_per_user=None if allow_multiple_sessions else 1,
        min_token_bits=None,
    )
    aio = store._aio
    _configured[:] = [_Configured(store, AsyncLogins(aio._unit, policy, aio._settings.directory))]


def _here() -> _Configured:
    if not _configured:
        raise InvalidValueError("no store was configured.", hint="Call configure(store) first.")
    return _configured[0]


# -- sessions ----------------------------------------------------------------------------------------------------------


@_writing
def create_session(
    user_id: int | str,
    session_id: str,
    *,
    client_type: str = "unknown",
    character_id: int | None = None,
    world_id: str | None = None,
) -> bool:
    """A new session under the caller's own token; a text ``user_id`` is a username.

    False for an unknown username and for an unknown or worldless character. An unknown user's number, a token that is taken,
    somebody else's character and another world than the character's: `DatabaseWriteError`.
    """
    here, by_name = _here(), isinstance(user_id, str)
    if by_name and not _may_be_a_name(user_id):
        return False
    try:
        made = here.logins.create(
            None if by_name else user_id,
            username=str(user_id) if by_name else None,
            client_type=(client_type or "").strip() or "unknown",
            character_id=character_id,
            world_id=None if character_id is None else world_id,
            on_conflict="share",
            token=session_id,
        )
    except NotFoundError:  # of the username or of the character; a number that is nobody's is an error
        if by_name or (character_id is not None and _is_user(user_id)):
            return False
        raise
    if here.aio._policy.max_per_user is not None:  # of the user's others, those that had expired go too
        _removed(login for login in _all(user_id=made.login.user_id) if login.state == "expired")
    return True


@_writing
def set_session_character(session_id: str, character_id: int, *, world_id: str) -> bool:
    """Bind a session to a character in its world; False when there is no such session, or it is over."""
    found = _found(session_id)
    if found is None:
        return False
    try:
        _here().logins.bind_character(found.id, character_id, world_id=world_id, on_conflict="share")
    except (EndedError, ExpiredError):
        return False
    return True


@_writing
def remove_session_by_id(session_id: str) -> bool:
    """Remove a session: its token never answers again. False when there was none."""
    found = _found(session_id)
    return found is not None and _removed([found]) > 0


@_writing
def remove_sessions_for_user(user_id: int) -> bool:
    """Remove every session of a user; False when there was none."""
    here, user = _here(), check_key(user_id, "user_id")
    return here.logins.revoke_user(user) + _removed(_all(user_id=user)) > 0


@_writing
def remove_sessions_for_character(character_id: int) -> bool:
    """Remove every session that holds a character; False when there was none."""
    return _of_character(character_id) > 0


@_writing
def remove_sessions_for_character_count(character_id: int) -> int:
    """Remove every session that holds a character; how many there were."""
    return _of_character(character_id)


@_writing
def update_session_activity(session_id: str) -> bool:
    """Activity now; False for a session that is none, was removed, or has expired: that one stays expired."""
    found = _found(session_id)
    return found is not None and _here().logins.touch(found.id)


@_reading
def get_session_by_id(session_id: str) -> dict[str, Any] | None:
    """A session as the original's row, an expired one too; None for one that is none or was removed."""
    found = _found(session_id)
    if found is None:
        return None
    return {
        "user_id": _number(found.user_id),
        "character_id": _number(found.character_id),
        "world_id": found.world_id,
        "session_id": session_id,
        "created_at": _shown(found.created_at),
        "last_activity": _shown(found.last_activity_at),
        "expires_at": _shown(found.expires_at),
        "client_type": found.client_type,
    }


@_reading
def get_active_session_count() -> int:
    """How many sessions are live and were active within the window."""
    return _here().logins.count_active()


@_reading
def get_active_characters(*, world_id: str) -> list[str]:
    """The names of characters with a live session in a world, sorted."""
    return _here().logins.active_characters(world_id=world_id)


@_writing
def cleanup_expired_sessions() -> int:
    """Remove the sessions that have expired; how many."""
    return _here().logins.delete_expired()


@_writing
def clear_all_sessions() -> int:
    """Remove every session; how many."""
    return _here().logins.clear()


# -- steps -------------------------------------------------------------------------------------------------------------


def _may_be_a_name(name: object) -> bool:
    """Whether anybody can be called this: what no directory takes is nobody's name."""
    try:
        check_key(name, "username", 512)
    except (InvalidValueError, LimitError):
        return False
    return True


def _is_user(user_id: object) -> bool:
    here, user = _here(), check_key(user_id, "user_id")
    directory = here.store._aio._settings.directory
    if directory is None:
        return here.store.directory.user(user) is not None
    return directory is False or bool(run_sync(settle(directory.user_exists(user))))


def _found(session_id: object) -> Login | None:
    """The login of a token that was not removed."""
    if not isinstance(session_id, str):
        return None
    found = _here().logins.find(session_id)
    return None if found is None or found.state == "ended" else found


def _all(**of: str) -> list[Login]:
    found: list[Login] = []
    after: str | None = None
    while True:
        page = _here().logins.list(**of, active_only=False, limit=200, after=after)
        found += [login for login in page.items if login.state != "ended"]
        if page.next is None:
            return found
        after = page.next


def _removed(logins: Iterable[Login]) -> int:
    """Remove live and expired ones; how many there were."""
    here, done = _here(), 0
    for login in logins:
        done += here.logins.revoke(login.id, reason="removed") or here.store.sessions.delete(login.id)
    return done


def _of_character(character_id: object) -> int:
    character = check_key(character_id, "character_id")
    return _here().logins.revoke_character(character) + _removed(_all(character_id=character))


def _number(id: str | None) -> int | str | None:
    """An id as the original had it: a number where it is one."""
    return int(id) if id is not None and id.isascii() and id.isdigit() and len(id) < 19 else id


def _shown(at: datetime | None) -> str | None:
    return None if at is None else at.strftime("%Y-%m-%d %H:%M:%S")
