"""Batches as they travel to PostgreSQL, and answers and rows as they come back.

A batch is written as JSON when it is handed in, by its own caller: what cannot be said fails there, and alone. A group is
then put together from ready pieces of text: `commit.sql` says what each field means.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

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
    Point,
    Redact,
    Refusal,
    Touch,
    Write,
    Yield,
    only_append,
)
from sojourn.core.ids import home_number, home_of, is_id
from sojourn.core.session import Alias, AliasKey, LeaseState, Session
from sojourn.engines.checks import check_batch
from sojourn.engines.postgres.search import indexed
from sojourn.errors import CorruptError, InvalidValueError

SHARDS: Final = 16
"""Event shards, a part of the schema."""

PLACES: Final = SHARDS + 1
"""Numbers of a cursor: one for each shard, and last the server's history that these were given in (0: any)."""

Row: TypeAlias = dict[str, Any]
Claim: TypeAlias = tuple[str, ...]

_SEPARATOR: Final = "\x1f"

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), check_circular=False).encode


@dataclass(slots=True)
class Parcel:
    """One batch, ready to travel: its rows as JSON text, and the names that a group numbers."""

    operation: str | None
    changes: str = ""
    entries: str = ""
    sessions: list[tuple[str, str]] = field(default_factory=list)
    aliases: list[tuple[str, str, str, str]] = field(default_factory=list)
    leases: list[tuple[str, str, str]] = field(default_factory=list)
    locks: list[str] = field(default_factory=list)
    asked: str | None = None
    """The operation id, when it is remembered with the first entry of the batch's one session."""
    claims: list[Claim] = field(default_factory=list)
    """What no other batch of its group may claim or share: there, a decision would not see what was decided before it."""
    shares: list[Claim] = field(default_factory=list)
    """What no other batch of its group may claim."""
    alone: bool = False
    worded: bool = False
    """Whether an entry brings its words for the index."""

    @property
    def size(self) -> int:
        """About how much it carries."""
        return len(self.changes) + len(self.entries)


def pack(batch: Batch) -> Parcel:
    """The batch as a parcel; `InvalidValueError` for what JSON or PostgreSQL cannot say."""
    check_batch(batch)
    parcel = Parcel(batch.operation)
    entries: list[Row] = []
    rows: list[Row] = [_PACKERS[type(change)](parcel, batch, change, entries) for change in batch.changes]
    if not rows:
        rows.append({"verb": "none"})
    _address(rows[0], parcel, batch)
    rows[-1]["closes"] = True
    parcel.changes = _text(rows)
    if entries:
        parcel.entries = _text(entries)
    return parcel


def _address(first: Row, parcel: Parcel, batch: Batch) -> None:
    """Say on the first row which batch begins."""
    first["opens"] = True
    first["tenant"] = batch.tenant
    first["home"] = batch.home
    if batch.operation is None:
        return
    first["operation"] = batch.operation
    first["fingerprint"] = batch.fingerprint
    append = only_append(batch)
    if append is None:
        parcel.claims.append(("operation", batch.tenant, batch.home, batch.operation))
    else:
        first["keyed"] = True
        parcel.asked = batch.operation
        parcel.claims.append(("key", batch.tenant, append.id, batch.operation))


def _text(rows: list[Row]) -> str:
    """Rows as JSON without the brackets, so that those of several batches can be joined."""
    try:
        text = _encode(rows)
        if not text.isascii():
            text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidValueError(f"the batch is not plain JSON: {error}.") from error
    if "\\u0000" in text and _has_nul(rows):
        raise InvalidValueError("the batch contains a NUL character.", hint="Remove it: no engine stores NUL in text.")
    return text[1:-1]


def _has_nul(value: object) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any(_has_nul(key) or _has_nul(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return any(map(_has_nul, value))
    return False


# -- changes ---------------------------------------------------------------------------------------------------------


def _pack_create(parcel: Parcel, batch: Batch, change: Create, entries: list[Row]) -> Row:
    parcel.sessions.append((batch.tenant, change.id))
    row: Row = {
        "verb": "create",
        "id": change.id,
        "shard": shard_of(change.id, batch.tenant, batch.home),
        "kind": change.kind,
        "state": change.state,
        "data": change.data,
        "counters": change.counters,
        "bucket": change.bucket,
        "change": change.change,
    }
    if change.owner is not None:
        row["owner"] = change.owner
    if change.base is not None:
        row["base_id"], row["base_at"] = change.base
        parcel.sessions.append((batch.tenant, change.base[0]))
    if change.created_at is not None:
        row["created_at"] = change.created_at
    if change.active_at is not None:
        row["active_at"] = change.active_at
    if change.ended_at is not None:
        row["ended_at"] = change.ended_at
    if change.stamp:
        row["stamp"] = change.stamp
    if change.tags:
        row["tag"] = change.tags
        parcel.claims.append(("tags", batch.tenant, change.id))
    if change.search == "deferred":
        row["deferred"] = True
    _pack_deadline(row, change.deadline)
    _pack_entries(row, change, parcel, batch, entries)
    return row


def _pack_write(parcel: Parcel, batch: Batch, change: Write, entries: list[Row]) -> Row:
    parcel.sessions.append((batch.tenant, change.id))
    row: Row = {"verb": "write", "id": change.id, "change": change.change}
    _pack_guard(row, change.guard, parcel, batch)
    _pack_patch(row, change)
    _pack_counts(row, change)
    if change.tag or change.untag:
        row["tag"], row["untag"] = change.tag, change.untag
        parcel.claims.append(("tags", batch.tenant, change.id))
    if change.state is not None:
        row["state"] = change.state
    if change.next_phase:
        row["next_phase"] = True
    if change.active is not None:
        row["bucket"] = change.active
    if change.search == "deferred":
        row["deferred"] = True
    if change.reason:
        row["reason"] = change.reason
    _pack_deadline(row, change.deadline)
    _pack_entries(row, change, parcel, batch, entries)
    return row


def _pack_patch(row: Row, change: Write) -> None:
    if change.set:
        row["sets"] = change.set
    if change.unset:
        row["unsets"] = change.unset
    if change.mark:
        row["marks"] = change.mark


def _pack_counts(row: Row, change: Write) -> None:
    if change.add:
        row["add_names"], row["add_amounts"] = zip(*change.add, strict=True)
    if change.put:
        row["put_names"], row["put_values"] = zip(*change.put, strict=True)
    if change.stamp:
        row["stamp"] = change.stamp
    if change.due_above is not None:
        row["due_counter"], row["due_above"] = change.due_above


def _pack_touch(parcel: Parcel, batch: Batch, change: Touch, _: list[Row]) -> Row:
    parcel.sessions.append((batch.tenant, change.id))
    row: Row = {"verb": "touch", "id": change.id, "must_open": True, "timely": True, "bucket": change.bucket}
    _pack_deadline(row, change.deadline)
    return row


def _pack_redact(parcel: Parcel, batch: Batch, change: Redact, _: list[Row]) -> Row:
    parcel.sessions.append((batch.tenant, change.id))
    parcel.alone = True
    row: Row = {"verb": "redact", "id": change.id, "sequences": change.sequences}
    _pack_guard(row, change.guard, parcel, batch)
    return row


def _pack_delete(parcel: Parcel, batch: Batch, change: Delete, _: list[Row]) -> Row:
    parcel.sessions.append((batch.tenant, change.id))
    parcel.locks.append(_home_lock(batch.tenant, batch.home))
    parcel.claims.append(("home", batch.tenant, batch.home))
    row: Row = {"verb": "delete", "id": change.id, "tenant": batch.tenant, "home": batch.home}
    _pack_guard(row, change.guard, parcel, batch)
    return row


def _pack_point(parcel: Parcel, batch: Batch, change: Point, _: list[Row]) -> Row:
    alias = change.alias
    parcel.aliases.append((batch.tenant, alias.namespace, alias.key, alias.home))
    parcel.locks.append(_home_lock(batch.tenant, alias.home))
    parcel.shares.append(("home", batch.tenant, alias.home))
    return {"verb": "point", "target": change.target, "epoch": change.epoch}


def _pack_lend(parcel: Parcel, batch: Batch, change: Lend, _: list[Row]) -> Row:
    _name_lease(parcel, batch, change.name)
    return {"verb": "lend", "leased": True, "holder": change.holder, "ttl": change.ttl, "fence": change.fence}


def _pack_yield(parcel: Parcel, batch: Batch, change: Yield, _: list[Row]) -> Row:
    _name_lease(parcel, batch, change.name)
    return {"verb": "yield", "leased": True, "fence": change.fence}


def _name_lease(parcel: Parcel, batch: Batch, name: str) -> None:
    parcel.leases.append((batch.tenant, batch.home, name))
    parcel.locks.append(_SEPARATOR.join(("lease", batch.tenant, batch.home, name)))


def _home_lock(tenant: str, home: str) -> str:
    return _SEPARATOR.join(("home", tenant, home))


def _pack_guard(row: Row, guard: Guard, parcel: Parcel, batch: Batch) -> None:
    if guard.open:
        row["must_open"] = True
    if guard.timely:
        row["timely"] = True
    if guard.due:
        row["due"] = True
    if guard.version is not None:
        row["version"] = guard.version
    if guard.phase is not None:
        row["phase"] = guard.phase
    if guard.silent is not None:
        row["silent"] = guard.silent
    if guard.fence is not None:
        row["fence_counter"], row["fence_seen"] = f"fence:{guard.fence[0]}", guard.fence[1]
    if guard.lease is not None:
        name, row["fence"] = guard.lease
        row["leased"] = True
        _name_lease(parcel, batch, name)


def _pack_deadline(row: Row, deadline: Deadline | None) -> None:
    if deadline is None:
        return
    row["deadline"] = True
    if deadline.after is not None:
        row["deadline_after"] = deadline.after
    elif deadline.at is not None:
        row["deadline_at"] = deadline.at
    if deadline.cap is not None:
        row["deadline_cap"] = deadline.cap
    if deadline.if_none:
        row["deadline_if_none"] = True


def _pack_entries(row: Row, change: Create | Write, parcel: Parcel, batch: Batch, entries: list[Row]) -> None:
    session, new, search = change.id, change.entries, change.search
    if not new:
        return
    row["entries"] = len(new)
    voices: list[str] = []
    keys: list[str] = []
    for entry in new:
        packed = _pack_entry(entry)
        if search != "off" and entry.text is not None:
            packed["searched"] = True
            if search == "commit":
                packed["words"] = indexed(entry.text)
                parcel.worded = True
        entries.append(packed)
        if entry.counted and entry.author is not None:
            voices.append(entry.author)
        if entry.key is not None:
            keys.append(entry.key)
            parcel.claims.append(("key", batch.tenant, session, entry.key))
    if voices:
        row["voices"] = voices
    if keys:
        row["entry_keys"] = keys


def _pack_entry(entry: NewEntry) -> Row:
    row: Row = {"type": entry.type}
    if entry.label:
        row["label"] = entry.label
    if entry.topic:
        row["topic"] = entry.topic
    if entry.author is not None:
        row["author"] = entry.author
    if entry.text is not None:
        row["text"] = entry.text
    if entry.data is not None:
        row["data"] = entry.data
    if entry.covers is not None:
        row["first"], row["last"] = entry.covers
    if entry.counted:
        row["counted"] = True
    if entry.created_at is not None:
        row["created_at"] = entry.created_at
    if entry.key is not None:
        row["key"] = entry.key
    return row


_PACKERS: Final[dict[type, Any]] = {
    Create: _pack_create,
    Write: _pack_write,
    Touch: _pack_touch,
    Redact: _pack_redact,
    Delete: _pack_delete,
    Point: _pack_point,
    Lend: _pack_lend,
    Yield: _pack_yield,
}


def shard_of(session: str, tenant: str, home: str) -> int:
    """The event shard of a session: by its home's bits in its id, where a watcher of it looks."""
    return (home_of(session) if is_id(session) else home_number(tenant, home)) % SHARDS


# -- groups ----------------------------------------------------------------------------------------------------------


class Group:
    """Parcels that travel together, none of which depends on another in a way that one call cannot see."""

    __slots__ = ("_alone", "_claims", "_shares", "size")

    def __init__(self) -> None:
        self._claims: set[Claim] = set()
        self._shares: set[Claim] = set()
        self._alone = False
        self.size: int = 0

    def admits(self, parcel: Parcel) -> bool:
        """Whether ``parcel`` may join; if so it has."""
        if self._alone or (parcel.alone and self.size):
            return False
        claims, shares = self._claims, self._shares
        for claim in parcel.claims:
            if claim in claims or claim in shares:
                return False
        for share in parcel.shares:
            if share in claims:
                return False
        claims.update(parcel.claims)
        shares.update(parcel.shares)
        self._alone = parcel.alone
        self.size += parcel.size
        return True


def assemble(parcels: Sequence[Parcel]) -> tuple[str, str, str]:
    """The three JSON texts of a call: frame, changes, entries."""
    sessions, aliases, leases = _Names(), _Names(), _Names()
    locks: list[str] = []
    asked: list[tuple[int, int, str]] = []
    worded = False
    for number, parcel in enumerate(parcels, 1):
        sessions.use(parcel.sessions)
        aliases.use(parcel.aliases)
        leases.use(parcel.leases)
        locks.extend(parcel.locks)
        worded |= parcel.worded
        if parcel.asked is not None:
            asked.append((number, sessions.used[-1], parcel.asked))
    frame: Row = {"locks": locks} if locks else {}
    frame |= sessions.columns("sessions", "tenants", "ids")
    frame |= aliases.columns("aliases", "alias_tenants", "alias_namespaces", "alias_keys", "alias_homes")
    frame |= leases.columns("leases", "lease_tenants", "lease_homes", "lease_names")
    if asked:
        frame["asked_batches"], frame["asked_sessions"], frame["asked_keys"] = zip(*asked, strict=True)
    if worded:
        frame["worded"] = True
    changes = ",".join([parcel.changes for parcel in parcels])
    entries = ",".join([parcel.entries for parcel in parcels if parcel.entries])
    return _encode(frame), f"[{changes}]", f"[{entries}]"


class _Names:
    """Names in the order of their first use, and the places of their uses."""

    __slots__ = ("places", "used")

    def __init__(self) -> None:
        self.places: dict[tuple[str, ...], int] = {}
        self.used: list[int] = []

    def use(self, names: Iterable[tuple[str, ...]]) -> None:
        """Note a use of each."""
        places = self.places
        for name in names:
            self.used.append(places.setdefault(name, len(places) + 1))

    def columns(self, uses: str, *parts: str) -> Row:
        """The uses and the parts of the names, each under its heading; nothing where there are none."""
        if not self.used:
            return {}
        return {uses: self.used, **dict(zip(parts, zip(*self.places, strict=True), strict=True))}


# -- answers and rows ------------------------------------------------------------------------------------------------


def read_answer(row: list[Any]) -> Answer:
    """One row of a commit's answers."""
    now, refusal, replayed, moved, epochs, fences = row
    if refusal is not None:
        return Answer(now, _read_refusal(refusal))
    return Answer(now, None, replayed, tuple([Moved(*item) for item in moved or ()]), tuple(epochs or ()), tuple(fences or ()))


def _read_refusal(found: Row) -> Refusal:
    session = found.get("session")
    alias = found.get("alias")
    lease = found.get("lease")
    return Refusal(
        found["reason"],
        found.get("id", ""),
        None if session is None else read_session(session),
        None if alias is None else read_alias(alias),
        None if lease is None else LeaseState(*lease),
    )


def read_session(row: Sequence[Any]) -> Session:
    """A session of the columns that `sojourn_shown` and the statements of sessions give."""
    base_id = row[16]
    return Session(*(*row[:16], None if base_id is None else (base_id, row[17]), row[18]))


def read_alias(row: Sequence[Any]) -> Alias:
    """An alias of (home, namespace, key, target, epoch, previous, moved_at)."""
    home, namespace, key, target, epoch, previous, moved_at = row
    return Alias(AliasKey(home, namespace, key), target, epoch, previous, moved_at)


def answers_of(rows: object, count: int) -> tuple[bool, Iterator[Answer]]:
    """Whether watchers are to be told of a call, and its answers, one per batch of its group."""
    if not isinstance(rows, list) or len(rows) != count + 1:
        raise CorruptError("the store answered something that is not the answer of a commit.")
    return bool(rows.pop()), map(read_answer, rows)
