"""The transaction port on SQLite: what a commit reads and writes, inside one ``BEGIN IMMEDIATE``."""

from __future__ import annotations

import json
import sqlite3
from hashlib import blake2b
from secrets import token_hex
from typing import Any, Final

from sojourn.core import words
from sojourn.core.codec import Json, decode
from sojourn.core.session import Alias, AliasKey, LeaseState, Session
from sojourn.engines.drafts import Appended, Draft, Keyed, Noted, spans
from sojourn.engines.statements import read_statements

SQL: Final = read_statements("sojourn.engines.sqlite", "statements.sql")

_DRAFT = SQL["draft"]
_ADVANCE = SQL["advance"]
_MOVE = SQL["move"]
_INSERT_ENTRY = SQL["insert_entry"]
_INSERT_EVENT = SQL["insert_event"]

_counters = json.JSONEncoder(separators=(",", ":")).encode

LOG_BITS: Final = 32
STALE_WORDS: Final = "stale_words"
"""Whether the index still holds words of removed entries: none, some, or merging."""
STALE_LOG: Final = "stale_log"
"""There, with a value of its own, from when text was removed until the write-ahead log that may hold it was emptied."""


def entry_number(log: int, sequence: int) -> int:
    """The row id of an entry."""
    return (log << LOG_BITS) | sequence


def draft_of(row: tuple[Any, ...]) -> Draft:
    """A session row as a draft."""
    lineage = row[19]
    values: list[Any] = [
        *row[:16],
        decode(row[16], "counters"),
        None if row[17] is None else (row[17], row[18]),
        () if lineage is None else tuple((log, through) for log, through in json.loads(lineage)),
        None if len(row) == 21 else decode(row[21]),
        row[20],
    ]
    return Draft(*values)


def session_of_row(row: tuple[Any, ...]) -> Session:
    """A session row with its data as what a rule is shown, without the way over a draft: every request reads one."""
    base = None if row[17] is None else (row[17], row[18])
    counters, data = decode(row[16], "counters"), decode(row[21])
    values: list[Any] = [*row[1:12], row[13], row[14], row[15], counters, data, base, row[12]]
    return Session(*values)


def index_words(tenant: str, kind: str, owner: str | None, text: str) -> str:
    """The words of an entry as the index keeps them, with a mark for its owner.

    A mark begins with a private-use character, so no word of a text is one.
    """
    return " ".join([mark(tenant, kind, owner or ""), *words.words(text)])


def mark(tenant: str, kind: str, owner: str) -> str:
    """The index word that stands for one owner's entries, so that a search among them does not walk through everybody's."""
    return "\ue000" + blake2b(f"{tenant}\0{kind}\0{owner}".encode(), digest_size=8).hexdigest()


class Memory:
    """What this connection's last commits left, so that the next one need not read it: sessions, and the last event's number.

    Good only while nobody else has written to the file: SQLite's ``data_version`` says so, asked inside the transaction.
    """

    MOST = 2048
    """Sessions kept."""

    def __init__(self) -> None:
        self.drafts: dict[tuple[str, str], Draft] = {}
        self.number: int | None = None
        self._seen: int | None = None

    def check(self, connection: sqlite3.Connection) -> None:
        """Forget everything when another connection has committed since."""
        seen = connection.execute("pragma data_version").fetchone()[0]
        if seen != self._seen or len(self.drafts) > self.MOST:
            self.forget()
            self._seen = seen

    def forget(self) -> None:
        """Whatever is known may be wrong."""
        self.drafts.clear()
        self.number = self._seen = None


class Writing:
    """One write transaction: the operations of a group in turn, then their events and search rows together."""

    def __init__(self, connection: sqlite3.Connection, memory: Memory) -> None:
        self._execute = connection.execute
        self._connection = connection
        self._memory = memory
        self._events: list[tuple[int, int, Noted]] = []
        self._searched: list[Appended] = []
        self._number: int | None = None
        self._removed = False

    # -- what a commit reads ---------------------------------------------------------------------------------------

    def draft(self, tenant: str, session: str) -> Draft | None:
        known = self._memory.drafts.get((tenant, session))
        if known is not None:
            return known.again()
        row = self._execute(_DRAFT, (tenant, session)).fetchone()
        return None if row is None else draft_of(row)

    def data(self, draft: Draft) -> dict[str, Json]:
        if draft.fresh:
            return draft.data or {}
        data: dict[str, Json] = decode(self._execute(SQL["data"], (draft.row,)).fetchone()[0])
        return data

    def keyed(self, draft: Draft, key: str) -> Keyed | None:
        row = self._execute(SQL["keyed"], (draft.row, key)).fetchone()
        return None if row is None else Keyed(row[0], row[1], row[2], row[3], row[4] or "")

    def spoken(self, draft: Draft, author: str) -> bool:
        return self._execute(SQL["spoken"], (draft.row, draft.phase, author)).fetchone() is not None

    def alias(self, tenant: str, alias: AliasKey) -> Alias:
        row = self._execute(SQL["alias"], (tenant, alias.namespace, alias.key)).fetchone()
        return Alias(alias, None, 0) if row is None else Alias(alias, row[1], row[2], row[3], row[4])

    def aliases_at(self, tenant: str, home: str, target: str) -> list[Alias]:
        return [alias for alias in aliases_at(self._connection, tenant, target) if alias.key.home == home]

    def lease(self, tenant: str, home: str, name: str) -> LeaseState | None:
        row = self._execute(SQL["lease"], (tenant, home, name)).fetchone()
        return None if row is None else LeaseState(name, row[0], row[1], row[2])

    def operation(self, tenant: str, home: str, operation: str) -> tuple[str, str] | None:
        row: tuple[str, str] | None = self._execute(SQL["operation"], (tenant, home, operation)).fetchone()
        return row

    # -- what it writes --------------------------------------------------------------------------------------------

    def insert(self, draft: Draft) -> None:
        base_id, base_at = draft.base or (None, None)
        cursor = self._execute(
            SQL["insert_session"],
            (
                draft.tenant,
                draft.id,
                draft.kind,
                draft.home,
                draft.owner,
                draft.state,
                draft.version,
                draft.phase,
                draft.created_at,
                draft.mark,
                draft.active_at,
                draft.bucket,
                draft.deadline,
                draft.ended_at,
                draft.last_sequence,
                _counters(draft.counters),
                base_id,
                base_at,
                _counters(draft.lineage) if draft.lineage else None,
                draft.last_event,
            ),
        )
        assert cursor.lastrowid is not None  # noqa: S101  # an insert into a rowid table always has one
        draft.row = cursor.lastrowid
        self._execute(SQL["insert_data"], (draft.row, draft.text))
        for log, through in draft.lineage:
            self._execute(SQL["insert_share"], (log, draft.row, through))
        self._tag(draft)

    def update(self, draft: Draft) -> None:
        head = (
            draft.version,
            draft.phase,
            draft.mark,
            draft.active_at,
            draft.last_sequence,
            _counters(draft.counters),
            draft.last_event,
        )
        if draft.placed or draft.due_moved:
            self._execute(_MOVE, (*head, draft.state, draft.bucket, draft.deadline, draft.ended_at, draft.row))
            if draft.placed:
                self._execute(SQL["move_tags"], (draft.state, draft.bucket, draft.row))
        else:
            self._execute(_ADVANCE, (*head, draft.row))
        self._memory.drafts[draft.tenant, draft.id] = draft
        if draft.data_changed:
            self._execute(SQL["update_data"], (draft.text, draft.row))
        if draft.tag or draft.untag:
            self._tag(draft)
        draft.data, draft.text, draft.parent = None, "", None  # it is remembered, and need not hold what is read anew

    def _tag(self, draft: Draft) -> None:
        for tag in draft.tag:
            self._execute(
                SQL["insert_tag"],
                (draft.row, tag, draft.tenant, draft.kind, draft.state, draft.bucket, draft.id),
            )
        for tag in draft.untag:
            self._execute(SQL["delete_tag"], (draft.row, tag))

    def append(self, entries: list[Appended]) -> None:
        for item in entries:
            new = item.entry
            first, last = new.covers or (None, None)
            self._execute(
                _INSERT_ENTRY,
                (
                    (item.draft.row << LOG_BITS) | item.sequence,
                    new.type,
                    new.label,
                    new.topic,
                    new.author,
                    new.text,
                    new.data,
                    item.key,
                    item.fingerprint or None,
                    item.span,
                    new.counted,
                    item.phase,
                    item.version,
                    item.created_at,
                    first,
                    last,
                ),
            )
            if item.search == "commit" and new.text is not None:
                self._searched.append(item)

    def redact(self, draft: Draft, sequences: tuple[int, ...]) -> None:
        for sequence in sequences:
            for log, first, _ in spans(draft.row, draft.lineage, draft.last_sequence, ((sequence, sequence),)):
                self.redact_row(entry_number(log, first))

    def redact_row(self, number: int) -> None:
        """Empty the entry of this row id, its search words first (they are found by its text)."""
        unindex(self._connection, number)
        self._execute(SQL["redact"], (number,))
        if not self._removed:
            self._removed = True
            mark_log(self._connection)

    def point(self, tenant: str, alias: Alias) -> None:
        key = alias.key
        self._execute(
            SQL["put_alias"],
            (tenant, key.namespace, key.key, key.home, alias.target, alias.epoch, alias.previous, alias.moved_at),
        )

    def lend(self, tenant: str, home: str, lease: LeaseState) -> None:
        self._execute(SQL["put_lease"], (tenant, home, lease.name, lease.holder, lease.fence, lease.expires_at))

    def remember(self, tenant: str, home: str, operation: str, fingerprint: str, answer: str, at: int) -> None:
        self._execute(SQL["put_operation"], (tenant, home, operation, fingerprint, answer, at))

    def note(self, event: Noted) -> None:
        """Number an event; nobody sees it before the commit, and nobody else can take a number until then."""
        number = self._number
        if number is None:
            number = self._memory.number
        if number is None:
            number = self._execute(SQL["tip"]).fetchone()[0] or 0
        self._number = number + 1
        self._events.append((number + 1, event.draft.last_event, event))
        event.draft.last_event = number + 1

    # -- once for the whole group ----------------------------------------------------------------------------------

    def finish(self) -> bool:
        """Write the events and the search rows of the whole group; whether there were events."""
        if self._searched:
            self._index()
        if not self._events:
            return False
        rows = []
        for number, before, event in self._events:
            draft = event.draft
            rows.append(
                (
                    number,
                    draft.tenant,
                    draft.row,
                    draft.id,
                    draft.kind,
                    event.change,
                    event.version,
                    event.first,
                    event.last,
                    event.at,
                    event.reason,
                    event.deferred,
                    before,
                )
            )
        self._connection.executemany(_INSERT_EVENT, rows)
        self._memory.number = self._number
        return True

    def _index(self) -> None:
        found = [
            (
                entry_number(item.draft.row, item.sequence),
                index_words(item.draft.tenant, item.draft.kind, item.draft.owner, item.entry.text or ""),
            )
            for item in self._searched
        ]
        index_entries(self._connection, found)


def index_entries(connection: sqlite3.Connection, found: list[tuple[int, str]]) -> None:
    """Add (entry row id, words) to the search index."""
    number = connection.execute(SQL["last_word"]).fetchone()[0] or 0
    connection.executemany(SQL["insert_words"], [(number + place, text) for place, (_, text) in enumerate(found, 1)])
    connection.executemany(SQL["insert_word"], [(number + place, entry) for place, (entry, _) in enumerate(found, 1)])


def unindex(connection: sqlite3.Connection, entry: int) -> None:
    """Take an entry out of the search index while its text is still there."""
    where = connection.execute(SQL["word_of"], (entry,)).fetchone()
    if where is None:
        return
    row = connection.execute(SQL["indexed"], (entry,)).fetchone()
    if row is not None:
        text, tenant, kind, owner = row
        connection.execute(SQL["delete_words"], (where[0], index_words(tenant, kind, owner, text)))
    connection.execute(SQL["delete_word"], where)
    connection.execute(SQL["put_meta"], (STALE_WORDS, "some"))


def mark_log(connection: sqlite3.Connection) -> None:
    """Say that the write-ahead log may hold what was removed in this transaction."""
    connection.execute(SQL["put_meta"], (STALE_LOG, token_hex(8)))


def aliases_at(connection: sqlite3.Connection, tenant: str, target: str) -> list[Alias]:
    """The aliases that point at ``target``."""
    return [
        Alias(AliasKey(home, namespace, key), found, epoch, previous, moved_at)
        for namespace, key, home, found, epoch, previous, moved_at in connection.execute(SQL["aliases_at"], (tenant, target))
    ]
