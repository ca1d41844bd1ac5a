"""Export to OpenJarvis's ``sessions.db``: what its program would have, had it been there all the time.

The Python program's variant is written, with what the drop-in shows: visible messages, summaries as ``system`` messages in
their places, the ids that programs know.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final

from sojourn.compat.openjarvis_sessions import SUMMARY, SessionMessage, as_session
from sojourn.formats.exported import ExportReport, new_database, new_file
from sojourn.formats.openjarvis_plan import FORMAT
from sojourn.formats.openjarvis_source import CHANNELS, MESSAGES, SESSIONS
from sojourn.formats.report import Note, Progress
from sojourn.kinds.conversations.model import Conversation, Message
from sojourn.shell.bridge import run_sync

if TYPE_CHECKING:
    from sojourn.store import AsyncStore
    from sojourn.sync.store import Store

_SCHEMA: Final = """
create table sessions (session_id text primary key, user_id text, display_name text default '', channel_ids text default '{}',
  created_at real, last_activity real, metadata text default '{}');
create table session_messages (id integer primary key, session_id text not null, role text not null, content text not null,
  channel text default '', timestamp real, metadata text default '{}',
  foreign key (session_id) references sessions(session_id));
create index idx_messages_session on session_messages(session_id);
create index idx_sessions_user on sessions(user_id);
"""
_CHANNELS: Final = """
create table if not exists channel_sessions (sender_id text not null, channel_type text not null,
  conversation_history text not null default '[]', preferred_notification_channel text, pending_response text,
  created_at timestamp default (datetime('now')), updated_at timestamp default (datetime('now')),
  primary key (sender_id, channel_type));
"""
_ROW: Final = "insert into sessions values (?, ?, ?, ?, ?, ?, ?)"
_MESSAGE: Final = (
    "insert into session_messages (session_id, role, content, channel, timestamp, metadata) values (?, ?, ?, ?, ?, ?)"
)
_CHANNEL: Final = "insert or replace into channel_sessions values (?, ?, ?, ?, ?, ?, ?)"


def export_openjarvis(store: Store, path: str | os.PathLike[str], *, progress: Progress | None = None) -> ExportReport:
    """Write every conversation that was not archived to a new database of OpenJarvis's; what was written.

    The store is only read. ``progress`` is told conversations done, twice. `InvalidValueError`: there is a file already.
    """
    return run_sync(aexport_openjarvis(store._aio, path, progress=progress))


async def aexport_openjarvis(
    store: AsyncStore, path: str | os.PathLike[str], *, progress: Progress | None = None
) -> ExportReport:
    """`export_openjarvis` for asynchronous stores. The file is written on the event loop, a conversation at a time."""
    file = new_file(path)
    with new_database(file, _SCHEMA) as connection:
        run = _Export(connection)
        done = 0
        async for talk in _all(store):
            await run.conversation(store, talk)
            done += 1
            if progress is not None:
                progress(done, done)
    return ExportReport(FORMAT, str(path), run.tables, run.notes)


async def _all(store: AsyncStore) -> AsyncIterator[Conversation]:
    """Every conversation, the oldest first: of a person's several, the program takes the newest activity."""
    found: list[Conversation] = []
    after: str | None = None
    while True:
        page = await store.conversations.list(active_only=False, order="created", limit=200, after=after)
        found += page.items
        if page.next is None:
            break
        after = page.next
    for talk in reversed(found):
        yield talk


class _Export:
    """One run."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.tables = {SESSIONS: 0, MESSAGES: 0}
        self.notes: list[Note] = []

    async def conversation(self, store: AsyncStore, talk: Conversation) -> None:
        """Write one, with its messages."""
        if talk.state == "archived":
            self.notes.append(Note(SESSIONS, talk.id, "archived by age: there it would be gone"))
            return
        whole = await store.conversations.get(talk.id, with_messages=True)
        if whole is None:  # removed since it was listed
            return
        about: Any = whole.metadata.get(FORMAT)
        known: dict[str, Any] = about if isinstance(about, dict) else {}
        shown = as_session(whole, whole.messages)
        messages = [_written(kept, message) for kept, message in zip(whole.messages, shown.messages, strict=True)]
        if any(item.covers is not None for item in whole.messages):
            self.notes.append(Note(MESSAGES, shown.session_id, "older messages stand behind a summary: they stay here"))
        if "sender_id" in known and "channel_type" in known:
            self._channel(whole, known, messages)
            return
        if shown.identity is None:  # as_session always gives one
            return
        if not known.get("recovered"):
            self._connection.execute(
                _ROW,
                (
                    shown.session_id,
                    shown.identity.user_id,
                    shown.identity.display_name,
                    _json(shown.identity.channel_ids),
                    shown.created_at,
                    shown.last_activity,
                    _json(shown.metadata),
                ),
            )
            self.tables[SESSIONS] += 1
        else:
            self.notes.append(Note(MESSAGES, shown.session_id, "their session was gone there too"))
        self._connection.executemany(
            _MESSAGE,
            (
                (shown.session_id, item.role, item.content, item.channel, item.timestamp, _json(item.metadata))
                for item in messages
            ),
        )
        self.tables[MESSAGES] += len(messages)

    def _channel(self, talk: Conversation, known: dict[str, Any], messages: list[SessionMessage]) -> None:
        self._connection.execute(_CHANNELS)
        history = [{"role": item.role, "content": item.content} for item in messages]
        stamps = (f"{at:%Y-%m-%d %H:%M:%S}" for at in (talk.created_at, talk.last_activity_at))
        preferred, pending = known.get("preferred_notification_channel"), known.get("pending_response")
        row = (known["sender_id"], known["channel_type"], _json(history), preferred, pending, *stamps)
        self._connection.execute(_CHANNEL, row)
        self.tables[CHANNELS] = self.tables.get(CHANNELS, 0) + 1


def _written(kept: Message, message: SessionMessage) -> SessionMessage:
    """A message as the program would have it: a summary under its heading, without metadata of an import."""
    metadata = {name: value for name, value in message.metadata.items() if name not in (FORMAT, "carried_from")}
    role, content = message.role, message.content
    if kept.summary:
        role, content = "system", content if content.startswith(SUMMARY) else f"{SUMMARY}\n{content}"
    return SessionMessage(role, content, message.channel, message.timestamp, metadata)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
