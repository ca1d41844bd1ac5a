"""Batches on their way to the commit script, and answers on their way back.

A batch travels as JSON without nulls (Lua has no value for them) and without a user's own JSON and text: those travel beside
it as arguments of their own, which the script stores as they are.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from sojourn.core.batch import (
    Answer,
    Batch,
    Create,
    Deadline,
    Delete,
    Guard,
    Lend,
    Moved,
    NewEntry,
    Path,
    Point,
    Redact,
    Refusal,
    Touch,
    Write,
    Yield,
    only_append,
)
from sojourn.core.codec import encode
from sojourn.core.ids import LENGTH
from sojourn.core.query import EntryQuery
from sojourn.core.session import Alias, AliasKey, Entry, EventRow, LeaseState, Session
from sojourn.engines.checks import check_batch
from sojourn.engines.redis.keys import escape
from sojourn.errors import InvalidValueError

_compact = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

ID: Final = LENGTH
"""Characters of an id."""

FIRST_TEXT: Final = 4
"""The place of the first text among the script's arguments, as Lua counts."""

_REDACTED: Final = 1


class _Texts(list[bytes]):
    """Texts that are stored as they are."""

    def put(self, text: str) -> int:
        """Its place among the script's arguments."""
        self.append(to_bytes(text))
        return FIRST_TEXT + len(self) - 1


def to_bytes(text: str) -> bytes:
    """UTF-8."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidValueError(f"text with a lone surrogate at position {error.start}.") from error


def write_batch(batch: Batch, *, waits: bool = False, probes: bool = False) -> list[bytes]:
    """The arguments of the commit script that say what to do.

    ``waits``: replicas are waited for, also for what an earlier call did. ``probes``: the slot may be on its way to another
    server, and then nothing is to be done.
    """
    check_batch(batch)
    texts = _Texts()
    remembered_with = only_append(batch)
    appends = batch.operation is not None and remembered_with is not None
    key = batch.operation if appends else None
    changes = [_WRITERS[type(change)](change, texts, key) for change in batch.changes]
    written: dict[str, Any] = {
        "tenant": batch.tenant,
        "home": batch.home,
        "fingerprint": batch.fingerprint,
        "changes": changes,
    }
    if batch.operation is not None:
        written["operation"] = batch.operation
        written["append"] = appends
    if remembered_with is not None and _is_quick(changes[0]):
        written["quick"] = True
    if waits:
        written["waits"] = True
    if probes:
        written["probes"] = True
    return [to_bytes(_compact(written)), *texts]


def _create(change: Create, texts: _Texts, key: str | None) -> dict[str, Any]:
    return {
        "verb": "create",
        "id": change.id,
        "kind": change.kind,
        "state": change.state,
        "counters": change.counters,
        "bucket": change.bucket,
        "change": change.change,
        **_given(
            owner=change.owner,
            created=change.created_at,
            active=change.active_at,
            ended=change.ended_at or None,
            base=change.base,
            deadline=_deadline(change.deadline),
            data=[(_key(name), texts.put(encode(value, name))) for name, value in change.data.items()] or None,
            tags=change.tags or None,
            stamp=change.stamp or None,
            entries=_entries(change.entries, texts, key),
            by=_authors(change.entries),
        ),
    }


def _write(change: Write, texts: _Texts, key: str | None) -> dict[str, Any]:
    row: dict[str, Any] = {"verb": "write", "id": change.id, "guard": _guard(change.guard), "change": change.change}
    if change.entries:
        row["entries"] = _entries(change.entries, texts, key)
        if by := _authors(change.entries):
            row["by"] = by
        if any(entry.key is not None for entry in change.entries):
            row["keyed"] = True
    if change.set:
        row["set"] = [(_path(path), texts.put(encode(value, "value"))) for path, value in change.set]
    for name in ("unset", "mark"):
        if paths := getattr(change, name):
            row[name] = [_path(path) for path in paths]
    for name in _AS_THEY_ARE:
        if value := getattr(change, name):
            row[name] = value
    row.update(_given(active=change.active, deadline=_deadline(change.deadline)))
    return row


_AS_THEY_ARE: Final = ("add", "put", "stamp", "tag", "untag", "state", "due_above", "next_phase", "reason")

_QUICK: Final = frozenset({"verb", "id", "guard", "change", "entries", "by", "add", "stamp", "due_above", "reason", "active"})
_QUICK_GUARD: Final = frozenset({"open", "timely", "phase"})


def _is_quick(row: dict[str, Any]) -> bool:
    """Whether a change is a plain append, for which the script has a short way."""
    return (
        _QUICK.issuperset(row)
        and "entries" in row
        and len(row["entries"]) < 100
        and _QUICK_GUARD.issuperset(row["guard"])
        and not any("author" in entry for entry in row["entries"])
    )


def _touch(change: Touch, _texts: _Texts, _key: str | None) -> dict[str, Any]:
    return {
        "verb": "touch",
        "id": change.id,
        "bucket": change.bucket,
        **_given(deadline=_deadline(change.deadline)),
    }


def _redact(change: Redact, _texts: _Texts, _key: str | None) -> dict[str, Any]:
    return {
        "verb": "redact",
        "id": change.id,
        "sequences": change.sequences,
        "first": min(change.sequences),
        "last": max(change.sequences),
        "guard": _guard(change.guard),
    }


def _delete(change: Delete, _texts: _Texts, _key: str | None) -> dict[str, Any]:
    return {"verb": "delete", "id": change.id, "guard": _guard(change.guard)}


def _point(change: Point, _texts: _Texts, _key: str | None) -> dict[str, Any]:
    alias = change.alias
    return {
        "verb": "point",
        "alias": f"{escape(alias.namespace)}:{escape(alias.key)}",
        "name": _compact((alias.home, alias.namespace, alias.key)),
        **_given(target=change.target, epoch=change.epoch),
    }


def _lend(change: Lend, _texts: _Texts, _key: str | None) -> dict[str, Any]:
    return {
        "verb": "lend",
        "name": change.name,
        "holder": change.holder,
        "ttl": change.ttl,
        **_given(fence=change.fence),
    }


def _yield(change: Yield, _texts: _Texts, _key: str | None) -> dict[str, Any]:
    return {"verb": "yield", "name": change.name, "fence": change.fence}


_WRITERS: Final[dict[type, Callable[[Any, _Texts, str | None], dict[str, Any]]]] = {
    Create: _create,
    Write: _write,
    Touch: _touch,
    Redact: _redact,
    Delete: _delete,
    Point: _point,
    Lend: _lend,
    Yield: _yield,
}


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _guard(guard: Guard) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if guard.open:
        found["open"] = True
    if guard.timely:
        found["timely"] = True
    if guard.due:
        found["due"] = True
    if guard.version is not None:
        found["version"] = guard.version
    if guard.phase is not None:
        found["phase"] = guard.phase
    if guard.silent is not None:
        found["silent"] = guard.silent
    if guard.lease is not None:
        found["lease"] = guard.lease
    if guard.fence is not None:
        found["fence"] = guard.fence
    return found


def _deadline(deadline: Deadline | None) -> dict[str, Any] | None:
    if deadline is None:
        return None
    return _given(at=deadline.at, after=deadline.after, cap=deadline.cap, if_none=deadline.if_none or None)


def _entries(entries: tuple[NewEntry, ...], texts: _Texts, key: str | None) -> list[dict[str, Any]] | None:
    if not entries:
        return None
    found: list[dict[str, Any]] = []
    for entry in entries:
        kept = key or entry.key
        row = (entry.type, entry.label, entry.topic, entry.author, entry.text, entry.data, entry.covers, kept)
        written: dict[str, Any] = {"text": texts.put(_compact(row)[:-1])}
        if entry.counted and entry.author is not None:
            written["author"] = entry.author
        if entry.created_at is not None:
            written["at"] = entry.created_at
        if entry.key is not None:
            written["given"] = entry.key
        if kept is not None:
            written["key"] = kept
        found.append(written)
        key = None
    return found


def _authors(entries: tuple[NewEntry, ...]) -> dict[str, int] | None:
    """Who wrote them, and how many each."""
    return Counter([entry.author for entry in entries if entry.author is not None]) or None


def _key(name: str) -> str:
    """A key of an object as JSON writes it: data are stored under it, so that it has one spelling."""
    return _compact(name)


def _path(path: Path) -> list[str]:
    return [_key(name) for name in path]


class EntryPages:
    """The entries that a query asks for, taken in several replies where there are many."""

    def __init__(self, query: EntryQuery | None) -> None:
        self._query = query
        self._ranges = None if query is None else query.ranges
        self._found: list[Entry] = []
        self.now: int = 0
        """The time of the first reply, and the session as that showed it."""
        self.row: list[Any] = []

    def question(self) -> bytes:
        """The query for the load script, of what is still missing."""
        query, found = self._query, len(self._found)
        if query is None:
            return b""
        return to_bytes(
            _compact(
                _given(
                    ranges=self._ranges and [(int(first), int(last)) for first, last in self._ranges],
                    types=query.types,
                    labels=query.labels,
                    topic=query.topic,
                    last=query.last and query.last - found,
                    limit=query.limit and query.limit - found,
                )
            )
        )

    def take(self, now: int, row: list[Any], sequences: list[int], lines: list[Any], following: int | None) -> bool:
        """Take a reply; whether nothing is missing."""
        if not self.row:
            self.now, self.row = now, row
        page = [read_entry(sequence, line) for sequence, line in zip(sequences, lines, strict=True)]
        backward = self._query is not None and self._query.last is not None
        self._found = [*page, *self._found] if backward else [*self._found, *page]
        if following is None:
            return True
        low, high = (1, following) if backward else (following, self.row[_LAST])
        ranges = self._ranges or ((1, self.row[_LAST]),)
        self._ranges = tuple((max(low, first), min(high, last)) for first, last in ranges if first <= high and last >= low)
        return not self._ranges

    def entries(self) -> tuple[Entry, ...]:
        """All of them, in order."""
        return tuple(self._found)


_LAST: Final = 11
"""The place of the last sequence in a session as the scripts show it."""


# -- back ----------------------------------------------------------------------------------------------------------------


def read_answer(tenant: str, reply: bytes) -> Answer:
    """What the commit script answered."""
    found = json.loads(reply)
    refusal = found.get("refusal")
    if refusal is not None:
        return Answer(found["now"], _refusal(tenant, refusal))
    return Answer(
        found["now"],
        None,
        "replayed" in found,
        tuple([Moved(*row) for row in found["moved"]]),
        tuple(found["epochs"]),
        tuple(found["fences"]),
    )


def _refusal(tenant: str, found: dict[str, Any]) -> Refusal:
    session, alias, lease = found.get("session"), found.get("alias"), found.get("lease")
    return Refusal(
        found["reason"],
        found["id"],
        None if session is None else read_session(tenant, found["id"], session),
        None if alias is None else read_alias(AliasKey(*alias[0]), alias[1]),
        None if lease is None else LeaseState(*lease),
    )


def read_session(tenant: str, identifier: str, row: list[Any]) -> Session:
    """A session as the scripts show it."""
    base = row[14]
    fields: Any = (*row[:14], None if base is None else (base[0], base[1]), row[15])
    return Session(tenant, identifier, *fields)


def read_entry(sequence: int, row: list[Any]) -> Entry:
    """An entry as it is stored."""
    kind, label, topic, author, text, data, covers, key, version, phase, at = row[:11]
    first, last = covers or (None, None)
    redacted = len(row) > 11 and row[11] == _REDACTED
    return Entry(sequence, kind, label, topic, author, text, data, key, phase, version, at, first, last, redacted)


def read_alias(key: AliasKey, row: list[Any] | None) -> Alias:
    """An alias as it is stored; one that was never set has epoch 0."""
    return Alias(key, None, 0) if row is None else Alias(key, *row)


def read_event(shard: int, number: int, row: list[Any]) -> EventRow:
    """An event as it is stored: between tenant and the number of the session's event before it."""
    return EventRow(shard, number, *row[1:-1])
