"""The interface of ``tenets.storage.session_db`` on contexts: `SessionDB`, `SessionRecord`.

What differs from the original on purpose: at most one session is active, whoever races; metadata keys that different
processes write are all kept; the session that another displaces as the active one gets its ``ended_at``; ``active``,
``updated_at``, ``resumed_at`` and ``ended_at`` are facts that cannot be written over (writing ``active`` moves it); errors
are raised. The docs have the whole table.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TypeAlias

from sojourn.compat.numbers import allot
from sojourn.compat.origin import opened
from sojourn.core.codec import Json
from sojourn.errors import InvalidNameError, InvalidValueError, KeyReusedError, NameTakenError, NotFoundError
from sojourn.formats.report import Progress
from sojourn.formats.tenets import FORMAT, import_tenets
from sojourn.kinds.contexts.model import Context
from sojourn.sync.contexts import Contexts
from sojourn.sync.store import Store

__all__ = ["SessionDB", "SessionExistsError", "SessionRecord"]

Source: TypeAlias = "Store | str | os.PathLike[str] | object"

_OURS: Final = ("active", "updated_at", "resumed_at", "ended_at")
_NUMBER: Final = "session_id"


class SessionExistsError(NameTakenError, sqlite3.IntegrityError):
    """There is a session of this name: what the original let SQLite say."""


@dataclass(frozen=True)
class SessionRecord:
    """A session as the original shows it."""

    id: int
    name: str
    created_at: datetime
    metadata: dict[str, Any]


class SessionDB:
    """Named sessions and what they gathered, as Tenets keeps them.

    ``source``: an open `sojourn.Store`, a URL, the path of a ``tenets.db``, or a configuration whose ``cache.directory`` has
    one. An original database is left untouched: it is imported once into ``<name>.sojourn.db`` beside it. ``scope`` keeps
    several projects of one store apart.
    """

    def __init__(self, source: Source, *, scope: str | int | None = None) -> None:
        cache = getattr(getattr(source, "cache", None), "directory", None)
        place = source if cache is None else Path(cache) / "tenets.db"
        self._scope = scope
        self._numbered_before = False
        """Whether a number was asked for: what an import brought may be higher than what was allotted."""
        self._store, self._owned = opened(place, table="sessions", column="metadata", bring=self._bring)

    def _bring(self, store: Store, file: Path, progress: Progress) -> None:
        import_tenets(store, file, scope=self._scope, progress=progress)

    def close(self) -> None:
        """Let go of the store, unless it was given; idempotent."""
        if self._owned:
            self._store.close()

    # -- sessions --------------------------------------------------------------------------------------------------

    def create_session(self, name: str, metadata: Mapping[str, Any] | None = None) -> SessionRecord:
        """A new session; `SessionExistsError` (a `NameTakenError`, and an `sqlite3.IntegrityError`) when there is one."""
        given = dict(metadata or {})
        active = given.get("active")
        try:
            made = self._contexts.create(name, metadata=self._numbered(_plain(given)), scope=self._scope)
        except NameTakenError as error:
            raise SessionExistsError(error.message, hint="Choose another name.", holder=error.holder) from error
        if active:
            made = self._contexts.set_active(made.name, True, scope=self._scope)
        return self._record(made)

    def get_session(self, name: str) -> SessionRecord | None:
        """The session of this name; None when there is none."""
        try:
            found = self._contexts.get(name, scope=self._scope)
        except InvalidNameError:  # what nothing can be called, nothing is
            return None
        return None if found is None else self._record(found)

    def list_sessions(self) -> list[SessionRecord]:
        """Every session, newest first."""
        found = [self._record(item) for item in sorted(self._all(), key=lambda item: (item.created_at, item.id))]
        return sorted(found, key=lambda record: (record.created_at, record.id), reverse=True)

    def get_active_session(self) -> SessionRecord | None:
        """The active session; None when there is none."""
        found = self._contexts.active(scope=self._scope)
        return None if found is None else self._record(found)

    def set_active(self, name: str, active: bool) -> bool:
        """Make it the active one, in place of the one that is, or not any more; False when there is no such session."""
        try:
            self._contexts.set_active(name, bool(active), scope=self._scope)
        except (NotFoundError, InvalidNameError):
            return False
        return True

    def update_session_metadata(self, name: str, updates: Mapping[str, Any]) -> bool:
        """Set these keys of the metadata, leaving the others; False when there is no such session."""
        given = dict(updates)
        try:
            self._contexts.update(name, _plain(given), scope=self._scope)
            if "active" in given:
                self._contexts.set_active(name, bool(given["active"]), scope=self._scope)
        except (NotFoundError, InvalidNameError):
            return False
        return True

    def delete_session(self, name: str, purge_context: bool = True) -> bool:
        """Remove a session, with what it gathered unless told otherwise; False when there was none."""
        try:
            return self._contexts.delete(name, purge=bool(purge_context), scope=self._scope)
        except InvalidNameError:
            return False

    def delete_all_sessions(self, purge_context: bool = True) -> int:
        """Remove every session, and with ``purge_context`` what earlier deletes kept; how many sessions there were."""
        return self._contexts.delete_all(purge=bool(purge_context), scope=self._scope)

    # -- what they gathered ----------------------------------------------------------------------------------------

    def add_context(self, session_name: str, kind: str, content: str) -> None:
        """Add to a session, which is made when there is none."""
        if self._contexts.get(session_name, scope=self._scope) is None:
            self._contexts.create(session_name, metadata=self._numbered({}), exist_ok=True, scope=self._scope)
        self._contexts.add(session_name, kind, content, scope=self._scope)  # makes it, if it was deleted meanwhile

    def get_context(self, session_name: str, kind: str | None = None) -> list[tuple[str, str, datetime]]:
        """What a session gathered, in order: kind, content and when. Empty when there is no such session."""
        found: list[tuple[str, str, datetime]] = []
        after: str | None = None
        while True:
            try:
                page = self._contexts.artifacts(session_name, kind=kind, limit=200, after=after, scope=self._scope)
            except (NotFoundError, InvalidNameError):
                return found
            found.extend((item.kind, item.content, item.created_at) for item in page.items)
            if page.next is None:
                return found
            after = page.next

    # -- steps -----------------------------------------------------------------------------------------------------

    @property
    def _contexts(self) -> Contexts:
        return self._store.contexts

    def _all(self) -> Iterator[Context]:
        after: str | None = None
        while True:
            page = self._contexts.list(scope=self._scope, limit=200, after=after)
            yield from page.items
            if page.next is None:
                return
            after = page.next

    def _numbered(self, metadata: dict[str, Json]) -> dict[str, Json]:
        return {**metadata, FORMAT: {_NUMBER: self._allot()}}

    def _allot(self) -> int:
        highest = 0
        if not self._numbered_before:
            highest = max((number_of(item.metadata)[1] or 0 for item in self._all()), default=0)
            self._numbered_before = True
        return allot(self._store._aio._unit, f"{FORMAT}/{self._scope}", highest)

    def _record(self, context: Context) -> SessionRecord:
        where, number = number_of(context.metadata)
        if number is None:
            number = self._number_now(context)
        shown = {key: value for key, value in context.metadata.items() if key not in (where, FORMAT)}
        shown.update(facts_of(context))
        return SessionRecord(number, context.name, context.created_at, shown)

    def _number_now(self, context: Context) -> int:
        """Number a context that came another way; whoever asks at the same time gets the same number."""
        number = self._allot()
        try:
            self._contexts.update(
                context.name, {FORMAT: {_NUMBER: number}}, scope=self._scope, key=f"{FORMAT}/number/{context.id}"
            )
        except KeyReusedError:
            found = self._contexts.get(context.name, scope=self._scope)
            return number if found is None else number_of(found.metadata)[1] or number
        return number


def _plain(metadata: dict[str, Any]) -> dict[str, Json]:
    """Metadata without what is a fact here."""
    if FORMAT in metadata:
        raise InvalidValueError(
            f"the metadata key {FORMAT!r} is where the number of a session is kept.", hint="Use another key."
        )
    return {key: value for key, value in metadata.items() if key not in _OURS}


def number_of(metadata: Mapping[str, Json]) -> tuple[str, int | None]:
    """Where a session's number is, and what it is: an import puts it beside metadata of the same name."""
    for key, value in metadata.items():
        if key.startswith(FORMAT) and isinstance(value, dict) and isinstance(value.get(_NUMBER), int):
            return key, value[_NUMBER]
    return FORMAT, None


def facts_of(context: Context) -> dict[str, Any]:
    """The facts that the original keeps as metadata: only of a session that was active once."""
    stamps = {"resumed_at": context.resumed_at, "ended_at": context.ended_at}
    known = {name: at for name, at in stamps.items() if at is not None}
    if not known:
        return {}
    texts = {name: at.isoformat(timespec="seconds") for name, at in known.items()}
    return {"active": context.active, "updated_at": max(known.values()).isoformat(timespec="seconds"), **texts}
