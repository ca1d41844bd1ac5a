"""Logins as commands show them, and what all of these commands need."""

from __future__ import annotations

import os
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sojourn.cli.call import Call
from sojourn.cli.exits import UsageError
from sojourn.cli.output import standard_text
from sojourn.cli.text import moment
from sojourn.errors import NotFoundError, UnsupportedError
from sojourn.kinds.logins.model import AuditEntry, Login
from sojourn.sync.logins import Logins
from sojourn.sync.store import Store

KIND = "login"


def document(shown: Login | AuditEntry) -> dict[str, Any]:
    """A login, or an entry of its history, as a JSON object; there is no secret in either."""
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in asdict(shown).items()}


def device(login: Login) -> str:
    """What signed in, from where, in a few words."""
    return " · ".join(part for part in (login.client_type, login.user_agent or "", login.ip or "") if part)


def until(login: Login) -> str:
    """When a login ends by itself."""
    return "never" if login.expires_at is None else moment(login.expires_at)


def who(store: Store, user: str) -> str:
    """A user as people know them: by name, where the store's own directory has one."""
    try:
        found = store.directory.user(user)
    except UnsupportedError:  # --any-user: the application keeps its own
        return user
    return user if found is None else found.username


def user_of(store: Store | None, user: str | None, username: str | None) -> str | None:
    """The id of the user that was named, by id or by name; None when none was."""
    if username is None:
        return user
    if user is not None:
        raise UsageError("give the user's id or --username NAME, not both.", hint="The store knows which name has which id.")
    found = None if store is None else store.directory.user_id(username)
    if found is None:
        raise NotFoundError(
            f"there is no user of the name {username!r}.", hint="The application may keep its own; give the id."
        )
    return found


def token_from_input() -> str:
    """The token on standard input. It is never an argument: others on the machine can read those."""
    text = standard_text().strip()
    if not text:
        raise UsageError("there is no token on standard input.", hint="For example: sojourn login rotate < token.txt")
    return text


def acting(call: Call, store: Store) -> Logins:
    """The logins, with changes noted as done by whoever types: ``--session``, or the user of this machine."""
    return store.logins.acting(by=call.options.session or f"cli:{_user()}")


def _user() -> str:
    from getpass import getuser

    try:
        return getuser()
    except (KeyError, OSError, ImportError):  # nobody has a name here, as in some containers
        return str(os.getuid()) if hasattr(os, "getuid") else "unknown"
