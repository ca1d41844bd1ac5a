"""The interface of ``openjarvis.sessions.session`` on conversations: `SessionStore`, `Session` and its parts.

What differs from the original on purpose: a summary stands before what follows it, not at the end; messages that were folded
stay stored; order is by sequence, never by a clock; links that race are all kept; a failing engine raises. The docs have the
whole table.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from time import time
from typing import Any, Final, TypeAlias

from sojourn.compat.origin import opened
from sojourn.core.ids import is_id
from sojourn.core.query import READABLE_STATES, SessionQuery
from sojourn.errors import ConflictError, NotFoundError
from sojourn.formats.openjarvis import former_id, import_openjarvis
from sojourn.formats.openjarvis_plan import FORMAT
from sojourn.formats.report import Progress
from sojourn.kinds.conversations.api import AsyncConversations
from sojourn.kinds.conversations.model import Conversation, ConversationPolicy, Message, Messages
from sojourn.kinds.conversations.rules import KIND, fold_threshold
from sojourn.kinds.conversations.summary import HEADING, extractive
from sojourn.shell.bridge import run_sync
from sojourn.sync.conversations import Conversations
from sojourn.sync.store import Store

__all__ = ["Session", "SessionIdentity", "SessionMessage", "SessionStore"]

Source: TypeAlias = "Store | str | os.PathLike[str]"

DEFAULT_PATH: Final = Path("~/.openjarvis/sessions.db")
SUMMARY: Final = "Session history summary:"

_OWN_HANDLE: Final = "openjarvis.handle."
"""Metadata that keeps a handle which belongs to another user: known on this conversation only."""


@dataclass
class SessionIdentity:
    """Who a session is with."""

    user_id: str
    display_name: str = ""
    channel_ids: dict[str, str] = field(default_factory=dict)


@dataclass
class SessionMessage:
    """One message; ``timestamp`` is seconds since 1970."""

    role: str
    content: str
    channel: str = ""
    timestamp: float = 0.0
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass
class Session:
    """A session as of one read; times are seconds since 1970."""

    session_id: str = ""
    identity: SessionIdentity | None = None
    messages: list[SessionMessage] = field(default_factory=list)
    created_at: float = 0.0
    last_activity: float = 0.0
    metadata: dict[str, Any] = field(default_factory=dict)

    def add_message(self, role: str, content: str, *, channel: str = "") -> None:
        """Add to this object only; `SessionStore.save_message` stores."""
        now = time()
        self.messages.append(SessionMessage(role, content, channel, now))
        self.last_activity = now


class SessionStore:
    """Sessions across channels, as OpenJarvis keeps them. Usable from any thread.

    ``db_path``: the path of a ``sessions.db``, a URL, or an open `sojourn.Store`. An original database is left untouched: it
    is imported once into ``<name>.sojourn.db`` beside it. After ``max_age_hours`` without a message the next
    `get_or_create` begins a new session; above ``consolidation_threshold`` visible messages the older half is folded.
    """

    def __init__(
        self, db_path: Source = DEFAULT_PATH, *, max_age_hours: float = 24.0, consolidation_threshold: int = 100
    ) -> None:
        policy = ConversationPolicy(
            max_age=_hours(max_age_hours),
            fold_above=consolidation_threshold,
            carry_summary=False,
            summarise=_summary,
        )
        self._max_age = _hours(max_age_hours)
        self._threshold = fold_threshold(policy)
        self._store, self._owned = opened(db_path, table="sessions", column="channel_ids", bring=_bring)
        self._aio = AsyncConversations(self._store._aio._unit, policy)
        self._talks = Conversations(self._aio)
        self._former: dict[str, str] = {}

    def close(self) -> None:
        """Let go of the store, unless it was given; idempotent."""
        if self._owned:
            self._store.close()

    def get_or_create(self, user_id: str, *, channel: str = "", channel_user_id: str = "", display_name: str = "") -> Session:
        """The user's session with its visible messages; a new one when there is none or it is past its age.

        A handle that another user holds is recorded on this session only.
        """
        handle = channel_user_id if channel else ""
        try:
            found = self._talks.get_or_create(
                user_id, channel=channel if handle else "", channel_user_id=handle, display_name=display_name
            )
        except ConflictError as error:
            if error.holder is None:
                raise
            mine = self._talks.get_or_create(user_id, display_name=display_name)
            self._talks.update(mine.id, {_OWN_HANDLE + channel: handle})
            found = self._whole(mine.id)
        else:
            if handle and _OWN_HANDLE + channel in found.metadata:  # another one before, which somebody else holds
                self._talks.update(found.id, unset=[_OWN_HANDLE + channel])
                found = self._whole(found.id)
        return as_session(found, found.messages)

    def save_message(
        self,
        session_id: str,
        role: str,
        content: str,
        *,
        channel: str = "",
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Store a message, and fold before returning when there are more than the threshold; unknown: `NotFoundError`."""
        id = self._id(session_id)
        self._talks.append(id, role, content, channel=channel, metadata=metadata)
        if self._is_due(id):
            self._talks.consolidate(id)

    def consolidate(self, session_id: str) -> None:
        """Fold the older half into one summary, which stands where it was; an unknown session: nothing."""
        try:
            id = self._id(session_id)
        except NotFoundError:
            return
        self._talks.consolidate(id)

    def decay(self, max_age_hours: float | None = None) -> int:
        """Remove from every list what has had no message for so long (0: everything); how many. It stays readable."""
        return self._talks.decay(self._max_age if max_age_hours is None else _hours(max_age_hours))

    def link_channel(self, session_id: str, channel: str, channel_user_id: str) -> None:
        """Link a handle; an unknown session: nothing. One that another user holds is recorded on this session only."""
        try:
            id = self._id(session_id)
        except NotFoundError:
            return
        try:
            linked = self._talks.link_channel(id, channel, channel_user_id)
        except NotFoundError:
            return
        except ConflictError as error:
            if error.holder is None:
                raise
            self._talks.update(id, {_OWN_HANDLE + channel: channel_user_id})
            return
        if _OWN_HANDLE + channel in linked.metadata:
            self._talks.update(id, unset=[_OWN_HANDLE + channel])

    def list_sessions(self, *, active_only: bool = True, limit: int = 50) -> list[Session]:
        """Sessions without their messages, newest activity first; ``active_only``: those that are not past their age."""
        since = run_sync(self._store._aio._unit.engine.now()) / 1e6 - self._max_age.total_seconds()
        found: list[Session] = []
        for item in self._all():
            if len(found) >= limit or (active_only and item.last_activity_at.timestamp() <= since):
                break
            found.append(as_session(item, Messages()))
        return found

    # -- steps -----------------------------------------------------------------------------------------------------

    def _all(self) -> Iterator[Conversation]:
        """Every conversation that was not archived, newest activity first."""
        after: str | None = None
        while True:
            page = self._talks.list(active_only=False, limit=100, after=after)
            yield from (item for item in page.items if item.state != "archived")
            if page.next is None:
                return
            after = page.next

    def _whole(self, id: str) -> Conversation:
        found = self._talks.get(id, with_messages=True)
        if found is None:
            raise NotFoundError(f"there is no session {id!r}.")
        return found

    def _is_due(self, id: str) -> bool:
        session = run_sync(self._aio._reader.session(id))
        return self._threshold is not None and session.counters.get(self._threshold[0], 0) > self._threshold[1]

    def _id(self, session_id: str) -> str:
        """The conversation of an id of this store, or of one that an import brought."""
        known = self._former.get(session_id)
        if known is None and is_id(session_id) and self._talks.get(session_id) is not None:
            known = self._former[session_id] = session_id
        if known is None:
            unit = self._store._aio._unit
            query = SessionQuery(unit.tenant, (KIND,), READABLE_STATES, tag=former_id(session_id), order="created", limit=1)
            rows = run_sync(unit.engine.list(query))
            if not rows:
                raise NotFoundError(f"there is no session {session_id!r}.", hint="See list_sessions().")
            known = self._former[session_id] = rows[0].id
        return known


def _bring(store: Store, file: Path, progress: Progress) -> None:
    import_openjarvis(store, file, progress=progress)


def _hours(age: float) -> timedelta:
    """An age; one below nothing is nothing."""
    return timedelta(hours=max(0.0, age))


def _summary(messages: Messages) -> str:
    return SUMMARY + extractive(messages).removeprefix(HEADING)


def as_session(talk: Conversation, messages: Iterable[Message]) -> Session:
    """A conversation as the original shows it: an imported one under the id it had there."""
    metadata = dict(talk.metadata)
    about = metadata.pop(FORMAT, None)
    known = about if isinstance(about, dict) else {}
    channels = {str(channel): str(handle) for channel, handle in known.get("unlinked", ())}
    channels.update(talk.identity.channel_ids)
    for name in [name for name in metadata if name.startswith(_OWN_HANDLE)]:
        channels[name.removeprefix(_OWN_HANDLE)] = metadata.pop(name)
    return Session(
        known.get("session_id") or talk.id,
        SessionIdentity(talk.identity.user_id, talk.identity.display_name, channels),
        [_message(message) for message in messages],
        talk.created_at.timestamp(),
        talk.last_activity_at.timestamp(),
        metadata,
    )


def _message(message: Message) -> SessionMessage:
    return SessionMessage(message.role, message.text, message.channel, message.created_at.timestamp(), dict(message.metadata))
