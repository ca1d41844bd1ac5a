"""OpenJarvis's ``sessions.db`` as it is: which tables it has, in which of its two variants, and their rows in order.

The Python program keeps ``channel_ids`` and ``metadata`` as JSON columns of ``sessions``; the Rust one has ``metadata_json``,
``channel_links`` and ``session_checkpoints``. They are told apart by the names of their columns.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from sojourn.errors import CorruptError
from sojourn.formats.source import Value, columns, tables

SUMMARY: Final = "Session history summary:"
"""How the Python program begins the message that stands for what it has thrown away."""

SESSIONS: Final = "sessions"
MESSAGES: Final = "session_messages"
CHANNELS: Final = "channel_sessions"
LINKS: Final = "channel_links"
CHECKPOINTS: Final = "session_checkpoints"

_TABLES: Final = {
    SESSIONS: (("session_id", "user_id"), ("display_name", "channel_ids", "created_at", "last_activity")),
    MESSAGES: (("session_id", "role", "content"), ("id", "channel", "timestamp")),
    CHANNELS: (
        ("sender_id", "channel_type", "conversation_history"),
        ("preferred_notification_channel", "pending_response", "created_at", "updated_at"),
    ),
    LINKS: (("session_id", "channel", "channel_user_id"), ()),
    CHECKPOINTS: (("session_id", "label", "message_count"), ("checkpoint_id", "created_at")),
}
"""The tables that are read: the columns by which each is known, and those that it may have."""

_IS_SUMMARY: Final = (
    "(role = 'system' and typeof(content) = 'text' and (substr(content, 1, 24) = 'Session history summary:' "
    "or content glob '[[]consolidated [0-9]* earlier messages]'))"
)


class SessionRow(NamedTuple):
    """A row of ``sessions``."""

    number: int
    session_id: Value
    user_id: Value
    display_name: Value
    channel_ids: Value
    created_at: Value
    last_activity: Value
    metadata: Value


class MessageRow(NamedTuple):
    """A row of ``session_messages``."""

    session_id: Value
    id: int
    role: Value
    content: Value
    channel: Value
    timestamp: Value
    metadata: Value


class ChannelRow(NamedTuple):
    """A row of ``channel_sessions``."""

    number: int
    sender_id: Value
    channel_type: Value
    history: Value
    preferred: Value
    pending: Value
    created_at: Value
    updated_at: Value


class LinkRow(NamedTuple):
    """A row of ``channel_links``."""

    number: int
    session_id: Value
    channel: Value
    handle: Value


class CheckpointRow(NamedTuple):
    """A row of ``session_checkpoints``."""

    number: int
    session_id: Value
    checkpoint_id: Value
    label: Value
    message_count: Value
    created_at: Value


@dataclass(frozen=True, slots=True)
class Stat:
    """The messages of one session id at a glance: how many, the highest id, which are summaries, first and last time."""

    count: int = 0
    top: int = 0
    summaries: frozenset[int] = frozenset()
    first_at: Value = None
    last_at: Value = None


def known_tables(connection: sqlite3.Connection) -> list[str]:
    """The tables that are read; `CorruptError` when there are none, since then it is another program's database."""
    known = [name for name, (needed, _) in _TABLES.items() if columns(connection, name).issuperset(needed)]
    if not known:
        found = ", ".join(tables(connection)) or "none"
        raise CorruptError(f"this is no OpenJarvis database; its tables: {found}.", hint="Give the path of sessions.db.")
    return known


class Source:
    """One ``sessions.db``."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._columns = {name: columns(connection, name) for name in _TABLES}
        self.known: list[str] = known_tables(connection)
        """The tables that are read."""
        self._metadata = {
            name: "metadata_json" if "metadata_json" in self._columns[name] else "metadata" for name in (SESSIONS, MESSAGES)
        }
        self._show_messages()

    def counts(self) -> dict[str, int]:
        """How many rows each table has."""
        return {name: self._connection.execute(f"select count(*) from {name}").fetchone()[0] for name in self.known}  # noqa: S608  # names of ours

    def unread(self) -> list[tuple[str, str]]:
        """Tables, and (table, column) where one has more than is known, that are left alone."""
        found = [(name, "") for name in tables(self._connection) if name not in self.known]
        for name in self.known:
            needed, more = _TABLES[name]
            known = {*needed, *more, self._metadata.get(name, "")}
            found += [(name, column) for column in sorted(self._columns[name] - known)]
        return found

    def sessions(self) -> Iterator[SessionRow]:
        """Every row, in order of its number."""
        names = ("session_id", "user_id", "display_name", "channel_ids", "created_at", "last_activity")
        return map(SessionRow._make, self._rows(SESSIONS, (*names, self._metadata[SESSIONS]), "order by rowid"))

    def channels(self) -> Iterator[ChannelRow]:
        """Every row, in order of its number."""
        names = ("sender_id", "channel_type", "conversation_history", "preferred_notification_channel", "pending_response")
        return map(ChannelRow._make, self._rows(CHANNELS, (*names, "created_at", "updated_at"), "order by rowid"))

    def links(self) -> Iterator[LinkRow]:
        """Every row, in order of its number."""
        return map(LinkRow._make, self._rows(LINKS, ("session_id", "channel", "channel_user_id"), "order by rowid"))

    def checkpoints(self) -> Iterator[CheckpointRow]:
        """Every row, in order of its number."""
        names = ("session_id", "checkpoint_id", "label", "message_count", "created_at")
        return map(CheckpointRow._make, self._rows(CHECKPOINTS, names, "order by rowid"))

    def stats(self) -> dict[object, Stat]:
        """The messages of each session id at a glance."""
        when = "case when typeof(timestamp) in ('real', 'integer') and timestamp > 0 then timestamp end"
        rows = self._connection.execute(
            f"select session_id, count(*), max(id), group_concat(case when {_IS_SUMMARY} then id end), "  # noqa: S608
            f"min({when}), max({when}) from temp.sojourn_message group by session_id collate binary"
        )
        return {key: Stat(count, top, _numbers(ids), first, last) for key, count, top, ids, first, last in rows}

    def messages(self, session_id: object) -> Iterator[MessageRow]:
        """The messages of one session in the order of their ids, never of their timestamps."""
        sql = "select * from temp.sojourn_message where session_id is ? order by id"
        return map(MessageRow._make, self._connection.execute(sql, (session_id,)))

    def some_messages(self, ids: frozenset[int]) -> list[MessageRow]:
        """The messages with these ids, in order."""
        sql = "select * from temp.sojourn_message where id = ?"
        return [MessageRow._make(self._connection.execute(sql, (number,)).fetchone()) for number in sorted(ids)]

    def summaries_among_first(self, session_id: object, count: int) -> int:
        """How many of the first messages of a session are summaries."""
        first = "select role, content from temp.sojourn_message where session_id is ? order by id limit ?"
        sql = f"select count(*) from ({first}) where {_IS_SUMMARY}"  # noqa: S608
        return int(self._connection.execute(sql, (session_id, count)).fetchone()[0])

    def _show_messages(self) -> None:
        """Show the messages under the names of `MessageRow`; as a copy with an index, where the source has lost its own."""
        names = ("role", "content", "channel", "timestamp")
        number = "id" if "id" in self._columns[MESSAGES] else "rowid"
        picked = [*(f"{self._column(MESSAGES, name)} as {name}" for name in names)]
        picked += [f"{self._column(MESSAGES, self._metadata[MESSAGES])} as metadata"]
        sql = f"select session_id, {number} as id, {', '.join(picked)} from main.session_messages"  # noqa: S608
        if MESSAGES not in self.known:
            sql = f"select {', '.join(f'null as {name}' for name in MessageRow._fields)} where false"
        indexed = self._connection.execute(
            "select 1 from pragma_index_list('session_messages') l, pragma_index_info(l.name) i "
            "where i.seqno = 0 and i.name = 'session_id'"
        ).fetchone()
        self._connection.execute(f"create temp {'view' if indexed else 'table'} sojourn_message as {sql}")
        if not indexed:
            self._connection.execute("create index temp.sojourn_message_by_session on sojourn_message (session_id, id)")

    def _rows(self, table: str, names: tuple[str, ...], clause: str) -> Iterator[tuple[Value, ...]]:
        if table not in self.known:
            return iter(())
        picked = ", ".join(self._column(table, name) for name in names)
        return self._connection.execute(f"select rowid, {picked} from {table} {clause}")  # noqa: S608  # names of ours

    def _column(self, table: str, name: str) -> str:
        return name if name in self._columns[table] else "null"


def _numbers(ids: str | None) -> frozenset[int]:
    return frozenset(map(int, ids.split(","))) if ids else frozenset()


def name_of(value: object) -> str:
    """A session id as text, whatever it is kept as."""
    if value is None:
        return ""
    return value.hex() if isinstance(value, bytes) else str(value)
