"""OpenJarvis's messages as entries of a conversation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from sojourn.core.batch import NewEntry
from sojourn.core.codec import Json, encode
from sojourn.formats.arrivals import Item, Stage
from sojourn.formats.openjarvis_plan import FORMAT, Talk
from sojourn.formats.openjarvis_source import MESSAGES, SUMMARY, MessageRow, Stat
from sojourn.formats.report import Tally
from sojourn.formats.source import Value
from sojourn.formats.values import Reading, beside
from sojourn.kinds.conversations import rules
from sojourn.kinds.conversations.model import parts_text

_UNKNOWN: Final = "unknown"


class Messages:
    """The messages of one session on their way: first those that stand for older ones, then by id."""

    def __init__(self, tally: Tally, talk: Talk, stat: Stat, limit: int | None) -> None:
        self.stat = stat
        self.present: int = 0
        """How many an earlier import had stored."""
        self.unfit: int = 0
        """How many are too long for this store."""
        self._tally = tally
        self._talk = talk
        self._limit = limit
        self._at = talk.created_at

    def in_order(self, summaries: Iterable[MessageRow], rows: Iterable[MessageRow]) -> Iterator[MessageRow]:
        """All of them: what stands for older messages goes before all that was kept."""
        yield from summaries
        for row in rows:
            if row.id not in self.stat.summaries:
                yield row

    def lacking(self, stage: Stage, rows: Iterable[MessageRow]) -> Iterator[MessageRow]:
        """Those that are not stored yet."""
        for row in rows:
            if stage.lacks(row.id, summary=row.id in self.stat.summaries):
                yield row
            elif self._fits(row):
                self.present += 1

    def items(self, rows: Iterable[MessageRow]) -> Iterator[Item]:
        """As they are stored; one that is too long is named in the report."""
        for row in rows:
            if self._fits(row):
                yield Item(row.id, self._entry(row))

    def _fits(self, row: MessageRow) -> bool:
        limit = self._limit
        if limit is None:
            return True
        for name, value in (("content", row.content), ("metadata", row.metadata)):
            size = _size(value)
            if size > limit:
                self._tally.skip(MESSAGES, f"id {row.id}", f"its {name} is longer than this store's limit of {limit:,} bytes")
                self.unfit += 1
                return False
        return True

    def _entry(self, row: MessageRow) -> NewEntry:
        reading = Reading()
        carried = row.id in self.stat.summaries
        at = reading.moment("timestamp", row.timestamp)
        if at is None:
            at = self._at
            reading.remarks[-1] += ", took that of the message before"
        elif not carried:
            self._at = at
        metadata = reading.document("metadata", row.metadata)
        if carried:
            reading.raw["id"] = row.id
        channel = reading.key("channel", row.channel, 256)
        entry = _entry(reading, self._talk, row.role, row.content, channel, at, metadata, carried=carried)
        for remark in reading.remarks:
            self._tally.note(MESSAGES, f"id {row.id}", remark)
        return entry


def history_items(tally: Tally, talk: Talk) -> list[Item]:
    """The messages in the history of a channel session. They have no times of their own: all get that of its last update."""
    channel = talk.links[0].channel if talk.links else ""
    found = []
    for number, item in enumerate(talk.history, 1):
        reading = Reading()
        fields: dict[str, Any] = item if isinstance(item, dict) else {"content": item}
        if fields is not item:
            reading.remarks.append("it was no object with role and content: kept as the content of a message")
        more = {name: value for name, value in fields.items() if name not in ("role", "content")}
        reading.raw.update(more)
        content = fields.get("content")
        carried = fields.get("role") == "system" and isinstance(content, str) and content.startswith(SUMMARY)
        entry = _entry(reading, talk, fields.get("role"), content, channel, talk.active_at, {}, carried=carried)
        found.append(Item(number, entry))
        for remark in reading.remarks:
            tally.note(talk.table, f"{talk.row}, message {number}", remark)
    return sorted(found, key=lambda item: not item.summary)


def _entry(
    reading: Reading, talk: Talk, role: Json, content: Json, channel: str, at: int, metadata: dict[str, Json], *, carried: bool
) -> NewEntry:
    label = _role(reading, role)
    more: dict[str, Json] = {}
    if isinstance(content, list):
        more["parts"] = content
        text = parts_text(content)
    elif isinstance(content, dict):
        reading.remarks.append("content was an object: kept as JSON text")
        text = encode(content)
    else:
        text = reading.text("content", content, needed=True)
    if carried:
        metadata = {**metadata, "carried_from": f"{FORMAT}:{talk.row}"}
    metadata = beside(metadata, FORMAT, reading.raw)
    if metadata:
        more["metadata"] = metadata
    kind = rules.CARRIED if carried else rules.MESSAGE
    return NewEntry(kind, label, channel, None, text, encode(more) if more else None, created_at=at)


def _role(reading: Reading, value: Value) -> str:
    """A role that is one; anything else becomes ``unknown``."""
    text = reading.text("role", value)
    label = text.strip()
    if not label or len(label) > 64 or not label.isprintable():
        reading.remarks.append(f"role was no role: kept as {_UNKNOWN!r}, the raw text kept in metadata")
        reading.raw.setdefault("role", text)
        return _UNKNOWN
    if label != text:
        reading.remarks.append("role had blanks around it: taken off")
    return label


def _size(value: Value) -> int:
    """Bytes of UTF-8, at least as good as exact where it matters."""
    if isinstance(value, str):
        return len(value) if value.isascii() else len(value.encode())
    return len(value) if isinstance(value, bytes) else 0
