"""A store as JSON Lines, and back: what `Store.export` writes, `Store.load` reads.

A line for the format, then for each session one for itself and one for each of its entries; its aliases last. Loading keeps
ids, sequences and times, and leaves alone what is already there, so that it may be repeated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sojourn.core.batch import Create, Deadline, Guard, NewEntry, Point, Redact, Write
from sojourn.core.codec import Json, decode, encode
from sojourn.core.query import READABLE_STATES, EntryQuery, SessionQuery
from sojourn.core.session import Alias, AliasKey, Entry, Session
from sojourn.core.times import SECOND
from sojourn.errors import CorruptError, InvalidValueError, SojournError
from sojourn.kinds.conversations import rules as conversations
from sojourn.kinds.games import record as games
from sojourn.kinds.logins import registry
from sojourn.kinds.logins import rules as logins
from sojourn.kinds.logins.people import USER
from sojourn.kinds.workspaces import rules as workspaces
from sojourn.sessions import KINDS
from sojourn.shell.unit import Unit

FORMAT: Final = "sojourn"
VERSION: Final = 1
_PAGE: Final = 200
_CHECKS: Final = {
    conversations.KIND: conversations.check_document,
    games.KIND: games.check_document,
    workspaces.KIND: workspaces.check_document,
}
_COUNTED: Final = {games.KIND: games.is_counted}
"""Which entries of a kind count their author in the phase that the session is in."""
_BESIDE: Final = {"context": ("content",), "workspace": ("project",), logins.KIND: (USER, registry.WORLD)}
_LEAVING: Final = {logins.KIND: logins.exported, USER: registry.exported}
"""What leaves the store of a kind's sessions, where that is not all of them."""
_STAYING: Final = frozenset({logins.TOKEN, logins.TOKEN_USER})
"""Namespaces of aliases that do not leave the store."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a load did: sessions and entries stored, sessions that were there already, and forks that were left out.

    A fork is left out when what it branches from is not here, or is shorter here than where it was exported.
    """

    sessions: int
    entries: int
    aliases: int
    present: int
    left_out: tuple[str, ...] = ()


async def export_lines(unit: Unit, kinds: Iterable[str] = KINDS, owner: str | None = None) -> AsyncIterator[str]:
    """Every readable session of these kinds as lines of JSON, oldest first, so that a fork follows what it shares."""
    yield first_line(unit)
    owners: set[str] = set()
    for kind in [one for wanted in kinds for one in (*_BESIDE.get(wanted, ()), wanted)]:
        after: tuple[int, str] | None = None
        while True:
            query = SessionQuery(unit.tenant, (kind,), READABLE_STATES, owner, None, "oldest", limit=_PAGE, after=after)
            rows = await unit.engine.list(query)
            for session in rows:
                owners.add(session.owner or "")
                async for line in _session_lines(unit, session):
                    yield line
            if len(rows) < _PAGE:
                break
            after = (0, rows[-1].id)
    async for line in name_lines(unit, owners - {""}):
        yield line


async def _session_lines(unit: Unit, session: Session, *, whole: bool = False) -> AsyncIterator[str]:
    row: dict[str, Json] = {"type": "session", "tags": await unit.engine.tags(unit.tenant, session.id)}
    for name in _SESSION_FIELDS:
        row[name] = getattr(session, name)
    row["counters"], row["data"] = dict(sorted(session.counters.items())), dict(sorted(session.data.items()))  # on any engine
    base = session.base
    if base is not None and (await unit.engine.load(unit.tenant, base[0])).session is None:
        base = None  # what it branched from was deleted: the fork is written whole
    row["base"] = None if base is None else list(base)
    leaving = None if whole else _LEAVING.get(session.kind)
    yield encode(row if leaving is None else leaving(row)) + "\n"
    first = 1 if base is None else base[1] + 1
    while first <= session.last_sequence:
        last = min(first + _PAGE - 1, session.last_sequence)
        snapshot = await unit.engine.load(unit.tenant, session.id, EntryQuery(((first, last),)))
        for entry in snapshot.entries:
            yield encode(_entry_line(session.id, entry)) + "\n"
        first = last + 1
    async for line in name_lines(unit, (session.id,), whole=whole):
        yield line


_SESSION_FIELDS: Final = (
    "id",
    "kind",
    "home",
    "owner",
    "state",
    "created_at",
    "active_at",
    "bucket",
    "deadline",
    "ended_at",
    "counters",
    "data",
)
_ENTRY_FIELDS: Final = ("sequence", "label", "topic", "author", "text", "data", "key", "created_at")


def _entry_line(session: str, entry: Entry) -> dict[str, Json]:
    row: dict[str, Json] = {"type": "entry", "session": session, "entry": entry.type}
    for name in _ENTRY_FIELDS:
        value = getattr(entry, name)
        if value not in (None, "", False):
            row[name] = value
    if entry.redacted:
        row["redacted"] = True  # not every engine's own word for it
    if entry.covers is not None:
        row["covers"] = list(entry.covers)
    return row


def _alias_line(alias: Alias) -> dict[str, Json]:
    return {
        "type": "alias",
        "home": alias.key.home,
        "namespace": alias.key.namespace,
        "key": alias.key.key,
        "target": alias.target,
    }


async def load_lines(unit: Unit, lines: Iterable[str]) -> Loaded:
    """Store what `export_lines` wrote; sessions that are there already are left as they are."""
    return await _Loading(unit).run(lines)


async def load_each(unit: Unit, lines: AsyncIterator[str]) -> Loaded:
    """As `load_lines`, of lines that are read while they are stored."""
    loading, number = _Loading(unit), 0
    async for text in lines:
        number += 1
        await loading.line(text, number)
    return await loading.end(number)


def first_line(unit: Unit) -> str:
    """The line that an export begins with."""
    return encode({"format": FORMAT, "version": VERSION, "tenant": unit.tenant}) + "\n"


def session_lines(unit: Unit, session: Session) -> AsyncIterator[str]:
    """The lines of one session, whatever may not leave the store included: itself, its entries, the names that point at it."""
    return _session_lines(unit, session, whole=True)


async def name_lines(unit: Unit, targets: Iterable[str], *, whole: bool = False) -> AsyncIterator[str]:
    """The lines of the names that point at these: people, or sessions."""
    for target in sorted(targets):
        for alias in await unit.engine.aliases(unit.tenant, target=target):
            if whole or alias.key.namespace not in _STAYING:
                yield encode(_alias_line(alias)) + "\n"


def all_kinds() -> tuple[str, ...]:
    """Every kind, each behind the hidden ones that it needs."""
    return tuple(one for kind in KINDS for one in (*_BESIDE.get(kind, ()), kind))


class _Loading:
    """One load: the session at hand, its entries in batches, aliases as they come."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit
        self._counts: Counter[str] = Counter()
        self._session: dict[str, Json] | None = None
        self._entries: list[dict[str, Json]] = []
        self._created = False
        self._left_out: list[str] = []

    async def run(self, lines: Iterable[str]) -> Loaded:
        if isinstance(lines, (str, bytes)) or not isinstance(lines, Iterable):
            raise InvalidValueError(f"lines must be lines of text, not {type(lines).__name__}.", hint="Pass an open file.")
        number = 0
        for number, text in enumerate(lines, 1):
            await self.line(text, number)
        return await self.end(number)

    async def line(self, text: str, number: int) -> None:
        """Take the next line."""
        if not isinstance(text, str):
            raise InvalidValueError(f"line {number} must be text, not {type(text).__name__}.")
        if text.strip():
            await self._understood(self._take(self._read(text, number), number), number)

    async def end(self, number: int) -> Loaded:
        """Store what is left behind the last line."""
        await self._understood(self._finish(), number)
        counts = self._counts
        return Loaded(counts["sessions"], counts["entries"], counts["aliases"], counts["present"], tuple(self._left_out))

    async def _understood(self, step: Coroutine[Any, Any, None], number: int) -> None:
        """Take a step; what is missing or of another type in a line means that no export wrote it."""
        try:
            await step
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, SojournError):
                raise
            raise CorruptError(f"what ends in line {number} is not as an export writes it: {error!r}.") from error

    def _read(self, text: str, number: int) -> dict[str, Json]:
        row = decode(text, f"line {number}")
        if not isinstance(row, dict):
            raise CorruptError(f"line {number} is not a JSON object.", hint="Load what 'export' wrote.")
        if number == 1 and (row.get("format") != FORMAT or row.get("version") != VERSION):
            raise CorruptError("this is not a Sojourn export of a version this release reads.")
        return row

    async def _take(self, row: dict[str, Json], number: int) -> None:
        match row.get("type"):
            case "session":
                await self._finish()
                self._session, self._created = row, False
            case "entry":
                if self._session is None or row["session"] != self._session["id"]:
                    raise CorruptError(f"line {number} has an entry of another session than the one before it.")
                self._entries.append(row)
                if len(self._entries) >= _PAGE:
                    await self._store(last=False)
            case "alias":
                await self._finish()
                await self._alias(row)
            case None if number == 1:
                return
            case other:
                raise CorruptError(f"line {number} has the unknown type {other!r}.")

    async def _alias(self, row: Mapping[str, Any]) -> None:
        key = AliasKey(row["home"], row["namespace"], row["key"])
        found = (await self._unit.engine.follow(self._unit.tenant, key)).alias
        if found is not None and found.target is not None:
            return
        answer = await self._unit.attempt(key.home, Point(key, row["target"], 0 if found is None else found.epoch))
        self._counts["aliases"] += answer.refusal is None

    async def _finish(self) -> None:
        if self._session is not None:
            await self._store(last=True)
        self._session, self._entries = None, []

    async def _store(self, *, last: bool) -> None:
        """Store what has come of the session; it is activated with the last part, so that half of it is never seen."""
        row, entries = self._session, self._entries
        assert row is not None  # noqa: S101  # callers looked
        self._entries = []
        if row.get("settled"):
            return
        row.setdefault("redacted", []).extend(entry["sequence"] for entry in entries if entry.get("redacted"))
        if not self._created:
            row["settled"] = not await self._can_share(row)
            if row["settled"]:
                self._left_out.append(row["id"])
                return
            found = await self._create(row)
            if found is None:
                row["settled"] = True
                self._counts["present"] += 1
                return
            self._created, row["stored"] = True, found
        await self._append(row, entries)
        if last:
            await self._activate(row)

    async def _can_share(self, row: dict[str, Json]) -> bool:
        """Whether what a fork shares is here: otherwise its own messages would stand behind others than they answered."""
        base = row["base"]
        if base is None or (await self._unit.engine.load(self._unit.tenant, row["id"])).session is not None:
            return True
        parent = (await self._unit.engine.load(self._unit.tenant, base[0])).session
        return parent is not None and parent.last_sequence >= base[1]

    async def _create(self, row: dict[str, Json]) -> int | None:
        """Make the session, pending; the last sequence that is stored of it (a load that was stopped is taken up), or None."""
        base, check = row["base"], _CHECKS.get(row["kind"])
        if check is not None:
            check(row["data"], row["counters"])
        made = Create(
            row["id"],
            row["kind"],
            row["owner"],
            "pending",
            row["data"],
            row["counters"],
            tuple(row["tags"]),
            base=None if base is None else (base[0], base[1]),
            bucket=_width(row["active_at"], row["bucket"]),
            created_at=row["created_at"],
            active_at=row["active_at"],
            ended_at=row["ended_at"],
        )
        answer = await self._unit.attempt(row["home"], made)
        if answer.refusal is None:
            return 0 if base is None else int(base[1])
        found = answer.refusal.session
        return found.last_sequence if found is not None and found.state == "pending" else None

    async def _append(self, row: dict[str, Json], entries: list[dict[str, Json]]) -> None:
        new = [entry for entry in entries if entry["sequence"] > row["stored"]]
        if not new:
            return
        expected = list(range(row["stored"] + 1, row["stored"] + 1 + len(new)))
        if [entry["sequence"] for entry in new] != expected:
            raise CorruptError(f"session {row['id']} has a gap after entry {row['stored']}.")
        write = Write(row["id"], entries=tuple(_new_entry(entry, row) for entry in new), search="deferred")
        await self._unit.commit(row["home"], write)
        row["stored"] += len(new)
        self._counts["entries"] += len(new)

    async def _activate(self, row: dict[str, Json]) -> None:
        activate = Write(
            row["id"],
            Guard(open=False),
            state=row["state"],
            deadline=Deadline(at=row["deadline"]),
            put=tuple(row["counters"].items()),
            search="deferred",
        )
        redact = (Redact(row["id"], tuple(row["redacted"])),) if row["redacted"] else ()
        await self._unit.commit(row["home"], activate, *redact)
        self._counts["sessions"] += 1


def _width(active_at: int, bucket: int) -> int:
    """A width of buckets that puts this activity where it was; a second where that cannot be."""
    return bucket if 0 < bucket <= active_at < 2 * bucket else SECOND


def _new_entry(row: Mapping[str, Any], session: Mapping[str, Any]) -> NewEntry:
    covers, counts = row.get("covers"), _COUNTED.get(session["kind"])
    return NewEntry(
        row["entry"],
        row.get("label", ""),
        row.get("topic", ""),
        row.get("author"),
        row.get("text"),
        row.get("data"),
        None if covers is None else (covers[0], covers[1]),
        counted=counts is not None and counts(session["data"], row["entry"], row["sequence"]),
        created_at=row["created_at"],
        key=row.get("key"),
    )
