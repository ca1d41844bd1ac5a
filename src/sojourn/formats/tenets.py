"""Import of Tenets' ``tenets.db``: its named sessions as contexts, what they gathered as artifacts, which one was active.

The source is read as of one moment and never changed. Ids are derived from the source's, so that a second import finds what
the first one stored and adds only what has come since.
"""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from sojourn.core.batch import Change, Create, Guard, NewEntry, Point, Refusal, Write
from sojourn.core.codec import Json
from sojourn.core.ids import derived_id, home_number
from sojourn.core.session import Session
from sojourn.errors import ConflictError, CorruptError, LimitError
from sojourn.formats.report import PRESENT, ImportReport, Progress, Tally
from sojourn.formats.source import Value, columns, foreign_file, open_source, tables
from sojourn.formats.values import Reading, beside
from sojourn.kinds.contexts import rules
from sojourn.kinds.contexts.rules import KIND, NewArtifact
from sojourn.shell.bridge import run_sync
from sojourn.shell.unit import perform

if TYPE_CHECKING:
    from sojourn.store import AsyncStore
    from sojourn.sync.store import Store

FORMAT: Final = "tenets"
SESSIONS: Final = "sessions"
ARTIFACTS: Final = "session_context"

_COLUMNS: Final = {
    SESSIONS: ("id", "name", "created_at", "metadata"),
    ARTIFACTS: ("id", "session_id", "kind", "content", "created_at"),
}
_PAGE: Final = 200
_PAGE_BYTES: Final = 4_000_000
_THROUGH: Final = "imported_through"
_OURS: Final = ("active", "updated_at", "resumed_at", "ended_at")
"""Metadata that is a field of a context here."""


@dataclass(slots=True)
class _Work:
    """A context that is to be."""

    table: str
    row: str
    id: str
    name: str
    created_at: int
    reading: Reading
    metadata: dict[str, Json]
    stamps: dict[str, int] = field(default_factory=dict)
    active: bool = False

    @property
    def newest(self) -> tuple[int, str]:
        """By which the newest of several that say ``active`` is found."""
        return max(self.stamps.get("resumed_at", 0), self.stamps.get("updated_at", 0), self.created_at), self.id


@dataclass(frozen=True, slots=True)
class _Item:
    """An artifact, and its number in the source."""

    number: int
    new: NewArtifact
    created_at: int


def import_tenets(
    store: Store,
    path: str | os.PathLike[str],
    *,
    scope: str | int | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> ImportReport:
    """Import a Tenets database (or the directory that holds its ``tenets.db``) into a scope; what became of every row.

    The source is never changed. May be repeated, also after it was killed: a context is seen whole or not at all, and what is
    stored already is left as it is. `InvalidValueError`: there is no such file; `CorruptError`: it is no Tenets database.
    """
    return run_sync(aimport_tenets(store._aio, path, scope=scope, dry_run=dry_run, progress=progress))


async def aimport_tenets(
    store: AsyncStore,
    path: str | os.PathLike[str],
    *,
    scope: str | int | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> ImportReport:
    """`import_tenets` for asynchronous stores. The source is read on the event loop, a page of artifacts at a time."""
    place = rules.check_scope(scope)
    file = foreign_file(path, "tenets.db", getattr(store._unit.engine, "path", None))
    with open_source(file) as connection:
        for table, needed in _COLUMNS.items():
            if not columns(connection, table).issuperset(needed):
                found = ", ".join(tables(connection)) or "none"
                raise CorruptError(f"this is no Tenets database; its tables: {found}.", hint="Give the path of tenets.db.")
        counts = {name: connection.execute(f"select count(*) from {name}").fetchone()[0] for name in _COLUMNS}  # noqa: S608
        tally = Tally(FORMAT, str(path), counts, dry_run=dry_run, progress=progress)
        await _Import(store, connection, tally, place, dry_run=dry_run).run()
        return tally.report()


class _Import:
    """One run."""

    def __init__(self, store: AsyncStore, connection: sqlite3.Connection, tally: Tally, scope: str, *, dry_run: bool) -> None:
        self._unit = store._unit
        self._reader = store.contexts._reader
        self._contents = store.contexts._contents
        self._policy = store._settings.contexts
        self._connection = connection
        self._tally = tally
        self._scope = scope
        self._dry_run = dry_run
        self._home = home_number(store.tenant, scope)

    async def run(self) -> None:
        """Every context, the oldest first; then which one is active."""
        for name in tables(self._connection):
            if name not in _COLUMNS:
                self._tally.note(name, "all", "unknown to this import: left alone")
        rows = self._connection.execute("select id, name, created_at, metadata from sessions")
        works = {row[0]: self._work(*row) for row in rows}
        for (number,) in self._connection.execute("select distinct session_id from session_context").fetchall():
            if number not in works:
                works[number] = self._orphans(number)
        for number, work in sorted(works.items(), key=lambda item: (item[1].created_at, item[1].id)):
            await self._import(number, work)
        await self._activate([work for work in works.values() if work.active])

    # -- reading ---------------------------------------------------------------------------------------------------

    def _work(self, number: object, name: Value, created_at: Value, metadata: Value) -> _Work:
        reading = Reading()
        label = _name(reading, name) or f"session {number}"
        created = reading.moment("created_at", created_at) or 1
        given = reading.document("metadata", metadata)
        stamps: dict[str, int] = {}
        for key in ("updated_at", "resumed_at", "ended_at"):
            if given.get(key) is not None:
                moment = reading.moment(key, given[key])
                if moment is not None:
                    stamps[key] = moment
        about = {"session_id": number, **reading.raw}
        kept = beside({key: value for key, value in given.items() if key not in _OURS}, FORMAT, about)
        id = derived_id(created // 1000, self._home, f"{FORMAT}/{self._scope}/{number}/{name!r}/{created_at!r}")
        work = _Work(SESSIONS, f"{number} {label}", id, label, created, reading, kept, stamps)
        work.active = given.get("active") in (True, 1, "true")
        return work

    def _orphans(self, number: object) -> _Work:
        """What was gathered for a session that is gone."""
        reading = Reading()
        first = "select created_at from session_context where session_id is ? order by id limit 1"
        created = reading.moment("created_at", self._connection.execute(first, (number,)).fetchone()[0]) or 1
        id = derived_id(created // 1000, self._home, f"{FORMAT}/{self._scope}/orphans of {number!r}")
        metadata = {FORMAT: {"session_id": number if isinstance(number, (int, str)) else None}}
        return _Work(ARTIFACTS, f"of session {number}", id, f"recovered session {number}"[:128], created, reading, metadata)

    def _items(self, number: object, work: _Work, through: int) -> Iterator[_Item]:
        """The artifacts behind ``through``; what cannot be taken is skipped with its reason."""
        rows = self._connection.execute(
            "select id, kind, content, created_at from session_context where session_id is ? and id > ? order by id",
            (number, through),
        )
        last = work.created_at
        for row, kind, content, created_at in rows:
            reading = Reading()
            label = _kind(reading, kind)
            text = reading.text("content", content, needed=True)
            last = reading.moment("created_at", created_at) or last
            metadata = beside({}, FORMAT, reading.raw)
            try:
                new = rules.new_artifact(self._policy, label, text, metadata)
            except LimitError as error:
                self._tally.skip(ARTIFACTS, f"row {row}", f"too large: {error.message}")
                continue
            for remark in reading.remarks:
                self._tally.note(ARTIFACTS, f"row {row}", remark)
            yield _Item(row, new, last)

    # -- storing ---------------------------------------------------------------------------------------------------

    async def _import(self, number: object, work: _Work) -> None:
        session = (await self._unit.engine.load(self._unit.tenant, work.id)).session
        through = -1 if session is None else session.counters.get(_THROUGH, -1)
        if session is not None and session.state == "ended":
            count = "select count(*) from session_context where session_id is ? and id > ?"
            later = self._connection.execute(count, (number, through)).fetchone()[0]
            self._tally.skip(ARTIFACTS, f"of {work.row}", "it came after its context was closed here", later)
            fate = PRESENT
        else:
            fate = await self._pages(number, work, session, through)
        known = "select count(*) from session_context where session_id is ? and id <= ?"
        present = self._connection.execute(known, (number, through)).fetchone()[0] if session is not None else 0
        self._tally.skip(ARTIFACTS, f"of {work.row}", PRESENT, present)
        if work.table == SESSIONS:
            if fate:
                self._tally.skip(SESSIONS, work.row, fate)
            else:
                self._tally.imported(SESSIONS)
        elif not fate:
            self._tally.note(ARTIFACTS, work.row, "their session is gone: kept as a context of its own")
        if not fate:
            for remark in work.reading.remarks:
                self._tally.note(work.table, work.row, remark)
        self._tally.tell()

    async def _pages(self, number: object, work: _Work, session: Session | None, through: int) -> str:
        """Store the artifacts page by page; why the context itself was not imported, empty when it was."""
        fate = "" if session is None or session.state == "pending" else PRESENT
        pages = _paged(self._items(number, work, through))
        page: list[_Item] = next(pages, [])
        while True:
            following = next(pages, None)
            if page or not fate:
                if not self._dry_run and not await self._store(work, page, last=following is None):
                    deleted = "its context was deleted here"
                    left = len(page) + len(following or []) + sum(map(len, pages))
                    self._tally.skip(ARTIFACTS, f"of {work.row}", deleted, left)
                    return deleted
                self._tally.imported(ARTIFACTS, len(page))
                self._tally.tell()
            if following is None:
                return fate
            page = following

    async def _store(self, work: _Work, page: list[_Item], *, last: bool) -> bool:
        """One commit; False when the context was deleted here. It is seen from the last page on, with its name."""

        async def step() -> bool | Refusal:
            session = (await self._unit.engine.load(self._unit.tenant, work.id)).session
            entries, contents = await self._entries(page)
            begun = session is None or session.state == "pending"
            named = await self._named(work) if last and begun else ()
            if session is None:
                first: Change = self._create(work, page, entries, last=last)
            else:
                first = self._extend(work, page, entries, session, activated=last and begun)
            answer = await self._unit.attempt(self._scope, first, *named, *contents)
            if answer.refusal is None:
                return True
            if answer.refusal.reason == "present" and answer.refusal.id == work.id:
                found = (await self._unit.engine.load(self._unit.tenant, work.id)).session
                if found is None:
                    return False
                raise ConflictError(f"another import is at work on {work.name!r}.", hint="Wait for it, then import again.")
            return answer.refusal

        return await perform(step, KIND)

    async def _entries(self, page: list[_Item]) -> tuple[tuple[NewEntry, ...], list[Change]]:
        """The entries of a page, and the changes that keep its large contents."""
        uses = Counter(item.new.digest for item in page if item.new.large)
        places: dict[str, str | None] = {}
        changes: list[Change] = []
        for item in page:
            if item.new.large and item.new.digest not in places:
                places[item.new.digest], more = await self._contents.use(self._scope, item.new, uses[item.new.digest])
                changes.extend(more)
        made = (item.new.entry(places.get(item.new.digest), created_at=item.created_at) for item in page)
        return tuple(made), changes

    async def _named(self, work: _Work) -> tuple[Point, ...]:
        """The name, or the next free one."""
        wanted, number = work.name, 2
        while True:
            alias = (await self._reader.follow(self._scope, work.name)).alias
            assert alias is not None  # noqa: S101  # follow always gives one
            if alias.target is None:
                break
            work.name, number = f"{wanted[:115]} (tenets {number - 1})", number + 1
        if work.name != wanted:
            self._tally.note(work.table, work.row, f"the name is taken here: imported as {work.name!r}")
        return (Point(alias.key, work.id, alias.epoch),)

    def _create(self, work: _Work, page: list[_Item], entries: tuple[NewEntry, ...], *, last: bool) -> Create:
        stamps = {name: at for name, at in work.stamps.items() if name != "updated_at"}
        newest = max([work.stamps.get("updated_at", 0), work.created_at, *(item.created_at for item in page)])
        counters = {"artifacts": len(page), "bytes": sum(item.new.size for item in page), **stamps, _THROUGH: _top(page)}
        return Create(
            work.id,
            KIND,
            self._scope,
            "active" if last else "pending",
            rules.document(work.name, work.metadata),
            counters,
            _tags(page),
            entries=entries,
            bucket=rules.BUCKET,
            created_at=work.created_at,
            active_at=newest,
            search=self._policy.search,
        )

    def _extend(
        self, work: _Work, page: list[_Item], entries: tuple[NewEntry, ...], session: Session, *, activated: bool
    ) -> Write:
        return Write(
            work.id,
            Guard(version=session.version),
            entries,
            set=((("name",), work.name),) if activated else (),
            add=(("artifacts", len(page)), ("bytes", sum(item.new.size for item in page))),
            put=((_THROUGH, _top(page)),) if page else (),
            tag=_tags(page),
            state="active" if activated else None,
            search=self._policy.search,
            change="imported",
        )

    async def _activate(self, works: list[_Work]) -> None:
        """The newest of those that say so is the active one, unless the scope has or had one here."""
        works.sort(key=lambda work: work.newest)
        for older in works[:-1]:
            self._tally.note(SESSIONS, older.row, "it said active, and a newer one did too: not the active one")
        if not works or self._dry_run:
            return
        alias = (await self._reader.active(self._scope)).alias
        assert alias is not None  # noqa: S101  # follow always gives one
        session = (await self._unit.find(works[-1].id, KIND)).session
        if alias.epoch == 0 and session is not None and session.state == "active":
            answer = await self._unit.attempt(self._scope, Point(alias.key, session.id, 0))
            if answer.refusal is None:
                return
        if alias.target != works[-1].id:
            self._tally.note(SESSIONS, works[-1].row, "it said active; which one is active here was left as it is")


def _paged(items: Iterator[_Item]) -> Iterator[list[_Item]]:
    page: list[_Item] = []
    size = 0
    for item in items:
        page.append(item)
        size += item.new.size
        if len(page) >= _PAGE or size >= _PAGE_BYTES:
            yield page
            page, size = [], 0
    if page:
        yield page


def _top(page: list[_Item]) -> int:
    return max((item.number for item in page), default=-1)


def _tags(page: list[_Item]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(tag for item in page for tag in item.new.tags))


def _name(reading: Reading, value: Value) -> str:
    """A name that contexts may have; empty when nothing is left."""
    text = reading.text("name", value)
    clean = "".join(character if character.isprintable() else " " for character in text).strip()[: rules.LONGEST_NAME].strip()
    if clean != text:
        reading.remarks.append("name had blanks around it, control characters, or was too long: changed, kept in metadata")
        reading.raw.setdefault("name", text)
    return clean


def _kind(reading: Reading, value: Value) -> str:
    """A kind that artifacts may have."""
    text = reading.text("kind", value)
    clean = "".join(character if character.isprintable() else " " for character in text).strip()[:64].strip() or "artifact"
    if clean != text:
        reading.remarks.append("kind was empty, too long or had control characters: changed, kept in metadata")
        reading.raw.setdefault("kind", text)
    return clean
