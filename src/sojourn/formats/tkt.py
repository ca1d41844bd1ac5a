"""Import of tkt's ``.tkt/`` directory: who was at work in a project, in which roles, and whom its pointer named.

The source is read as of one moment and never changed. Ids are derived from the source's, so that a second import finds what
the first one stored. A session and its name are one commit: killed between two of them, an import is completed by the next.
"""

from __future__ import annotations

import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sojourn.core.batch import Change, Deadline, Point, Refusal
from sojourn.core.codec import Json
from sojourn.core.ids import derived_id, home_number, is_id
from sojourn.core.session import State
from sojourn.core.times import HOUR, MINUTE
from sojourn.errors import CorruptError, InvalidNameError
from sojourn.formats.report import PRESENT, ImportReport, Progress, Tally
from sojourn.formats.source import Value, columns, foreign_file, open_source, tables
from sojourn.formats.values import Reading, beside
from sojourn.kinds.workspaces import rules
from sojourn.kinds.workspaces.rules import KIND, NewWorkspace
from sojourn.shell.bridge import run_sync
from sojourn.shell.unit import perform

if TYPE_CHECKING:
    from sojourn.store import AsyncStore
    from sojourn.sync.store import Store

FORMAT: Final = "tkt"
DIRECTORY: Final = ".tkt"
FILE: Final = "db.sqlite"
POINTER: Final = "session"
SESSIONS: Final = "sessions"
ROLES: Final = "roles"
_VERSION: Final = "schema_version"
_COLUMNS: Final = {
    SESSIONS: ("id", "role", "name", "created_at", "last_active", "expired_at"),
    ROLES: ("name", "base_role", "is_builtin", "created_at"),
}
_RECENT: Final = 4 * HOUR - MINUTE
"""A session that was closed sooner after its last activity was ended; one that was idle for longer had gone stale."""
_POINTER_LIMIT: Final = 256


@dataclass(slots=True)
class _Work:
    """A session that is to be."""

    row: str
    old: Value
    id: str
    role: str
    name: str
    created_at: int
    active_at: int
    ended_at: int | None
    state: State
    reading: Reading


def import_tkt(
    store: Store,
    path: str | os.PathLike[str],
    *,
    project_id: str | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> ImportReport:
    """Import a project's ``.tkt/`` (its path, the project's, or that of its database) into a project; what became of each row.

    Without ``project_id`` into the project of the working directory, whose pointer is set to the session that tkt's named, if
    nobody at work has it. The source is never changed. May be repeated, also after it was killed. `InvalidValueError`: there
    is no such file; `CorruptError`: it is no database of tkt.
    """
    return run_sync(aimport_tkt(store._aio, path, project_id=project_id, dry_run=dry_run, progress=progress))


async def aimport_tkt(
    store: AsyncStore,
    path: str | os.PathLike[str],
    *,
    project_id: str | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> ImportReport:
    """`import_tkt` for asynchronous stores."""
    project = store.workspaces._reader.project_id(project_id)
    file = foreign_file(database(path), FILE, getattr(store._unit.engine, "path", None))
    with open_source(file) as connection:
        for table, needed in _COLUMNS.items():
            if not columns(connection, table).issuperset(needed):
                found = ", ".join(tables(connection)) or "none"
                raise CorruptError(f"this is no database of tkt; its tables: {found}.", hint="Give the path of .tkt.")
        counts = {name: connection.execute(f"select count(*) from {name}").fetchone()[0] for name in (ROLES, SESSIONS)}  # noqa: S608
        tally = Tally(FORMAT, str(path), counts, dry_run=dry_run, progress=progress)
        run = _Import(store, connection, tally, project, dry_run=dry_run)
        await run.run()
        if project_id is None:
            await run.point(file.parent / POINTER)
        return tally.report()


def database(path: str | os.PathLike[str]) -> Path:
    """The database that a path means: a project, its ``.tkt``, or the file itself."""
    place = Path(path).expanduser()
    if (place / DIRECTORY).is_dir():
        place /= DIRECTORY
    return place / FILE if place.is_dir() else place


class _Import:
    """One run."""

    def __init__(self, store: AsyncStore, connection: sqlite3.Connection, tally: Tally, project: str, *, dry_run: bool) -> None:
        self._workspaces = store.workspaces
        self._reader = store.workspaces._reader
        self._unit = store._unit
        self._policy = store._settings.workspaces
        self._connection = connection
        self._tally = tally
        self._project = project
        self._dry_run = dry_run
        self._home = home_number(store.tenant, project)
        self._bases: dict[str, str] = {name: name for name in rules.BUILTIN}
        self._ids: dict[str, str] = {}
        """The ids that the source's sessions have here, by theirs."""

    async def run(self) -> None:
        """The roles, then the sessions, the oldest first."""
        for name in tables(self._connection):
            if name not in (*_COLUMNS, _VERSION):
                self._tally.note(name, "all", "not about sessions: left alone")
        rows = self._connection.execute(
            "select name, base_role, is_builtin from roles order by is_builtin desc, name"
        ).fetchall()
        for name, base, _ in rows:
            await self._role(name, base)
            self._tally.tell()
        found = self._connection.execute(f"select {', '.join(_COLUMNS[SESSIONS])} from sessions order by rowid").fetchall()  # noqa: S608
        for work in sorted((self._work(*row) for row in found), key=lambda work: (work.created_at, work.id)):
            await self._session(work)
            self._tally.tell()

    # -- roles -----------------------------------------------------------------------------------------------------

    async def _role(self, name: Value, base: Value) -> None:
        row = str(name)
        if row in rules.BUILTIN:
            self._tally.skip(ROLES, row, "built in")
            return
        try:
            rules.check_role(name)
        except InvalidNameError as error:
            self._tally.skip(ROLES, row, f"no name for a role here: {error.message}")
            return
        under = str(base) if base in rules.BUILTIN else rules.BUILTIN[1]
        if under != base:
            self._tally.note(ROLES, row, f"counted under {str(base)!r}, which is not built in: under {under} here")
        known = (await self._reader.project(self._project)).own_roles.get(row)
        if known is not None:
            self._bases[row] = known
            self._tally.skip(ROLES, row, PRESENT if known == under else f"the project has it, counted under {known}")
            return
        self._bases[row] = under
        if not self._dry_run:
            await self._workspaces.add_role(row, base=under, project_id=self._project)
        self._tally.imported(ROLES)

    # -- sessions --------------------------------------------------------------------------------------------------

    def _work(self, old: Value, role: Value, name: Value, created: Value, active: Value, expired: Value) -> _Work:
        reading = Reading()
        began = reading.moment("created_at", created) or 1
        last = max(reading.moment("last_active", active) or began, began)
        over = None if expired is None else reading.moment("expired_at", expired) or last
        state: State = "active"
        if over is not None:
            state = "ended" if over - last < _RECENT else "archived"
        key = reading.text("id", old, needed=True)
        id = derived_id(began // 1000, self._home, f"{FORMAT}/{self._project}/{key!r}")
        label = name if isinstance(name, str) else repr(name)
        made = _Work(f"{key} {label}", old, id, str(role), _name(reading, name, key), began, last, over, state, reading)
        made.role = self._known(made, role)
        return made

    def _known(self, work: _Work, role: Value) -> str:
        """A role that this project has; one that the source has lost is kept as an implementer, and said."""
        if isinstance(role, str) and role in self._bases:
            return role
        work.reading.raw["role"] = str(role)
        work.reading.remarks.append(f"its role {str(role)[:64]!r} is none of the project's: kept as implementer")
        return rules.BUILTIN[1]

    async def _session(self, work: _Work) -> None:
        self._ids[str(work.old)] = work.id
        existing = (await self._unit.engine.load(self._unit.tenant, work.id)).session
        if existing is not None:
            self._tally.skip(SESSIONS, work.row, PRESENT)
            return
        if not self._dry_run and not await self._store(work):
            self._tally.skip(SESSIONS, work.row, "it was deleted here")
            return
        self._tally.imported(SESSIONS)
        for remark in work.reading.remarks:
            self._tally.note(SESSIONS, work.row, remark)

    async def _store(self, work: _Work) -> bool:
        """One commit: the session, and its name when it is still at work. False when it was deleted here."""
        wanted = work.name

        async def step() -> bool | Refusal:
            name, changes = wanted, list[Change]()
            if work.state == "active":
                name, changes = await self._free(work, wanted)
            about: dict[str, Json] = {"id": str(work.old), **work.reading.raw}
            new = NewWorkspace(work.role, name, None, beside({}, FORMAT, about), system=False)
            create = rules.create(
                work.id,
                self._project,
                new,
                self._bases[work.role],
                name,
                self._deadline(work),
                state=work.state,
                created_at=work.created_at,
                active_at=work.active_at,
                ended_at=work.ended_at,
            )
            answer = await self._unit.attempt(self._project, create, *changes)
            if answer.refusal is None:
                return True
            if answer.refusal.reason == "present" and answer.refusal.id == work.id:
                return (await self._reader.find(work.id)).session is not None  # another import was first
            return answer.refusal

        return await perform(step, KIND)

    def _deadline(self, work: _Work) -> Deadline | None:
        """It goes stale as if it had been used here: one that was idle for long has by now."""
        if self._policy.stale_after is None or work.state != "active":
            return None
        return Deadline(at=work.active_at + round(self._policy.stale_after.total_seconds() * 1_000_000))

    async def _free(self, work: _Work, wanted: str) -> tuple[str, list[Change]]:
        """The name, or the next one that nobody at work has; and what takes it."""
        name, number = wanted, 2
        while True:
            key = rules.name_key(self._project, name)
            found = await self._unit.follow(self._project, key.namespace, key.key)
            epoch = 0 if found.alias is None else found.alias.epoch
            displaced = () if found.alias is None else await self._workspaces._starting.freeing(found.alias, None)
            if displaced is not None:
                break
            name, number = f"{wanted[: 31 - len(str(number))].rstrip('-')}-{number}", number + 1
        if name != wanted:
            self._tally.note(SESSIONS, work.row, f"somebody at work has the name {wanted}: imported as {name}")
        return name, [*displaced, Point(key, work.id, epoch)]

    # -- the pointer -----------------------------------------------------------------------------------------------

    async def point(self, file: Path) -> None:
        """Point the project at the session that tkt's pointer names, unless somebody is at work behind the pointer here."""
        try:
            with file.open("rb") as content:
                old = content.read(_POINTER_LIMIT).decode(errors="backslashreplace").strip()
        except FileNotFoundError:
            return
        except OSError as error:
            self._tally.note(POINTER, str(file), f"could not be read: {error.strerror}")
            return
        if not old:
            return
        if old not in self._ids:
            self._tally.note(POINTER, old[:64], "names no session of the source: nobody is pointed at")
            return
        await self._point(old, self._ids[old])

    async def _point(self, old: str, session: str) -> None:
        places = self._reader.places
        before = places.read("project")
        if self._dry_run or before == session:
            return
        found = None if before is None else await self._reader.find(before)
        if found is not None and found.session is not None and self._reader.is_live(found.session, found.now):
            name = rules.data_of(found.session)["name"]
            self._tally.note(POINTER, old, f"the project's pointer stays with {name}, who is at work")
        elif not places.swap("project", before, session):
            self._tally.note(POINTER, old, "the project's pointer was moved meanwhile, and is left as it is")


def _name(reading: Reading, value: Value, key: str) -> str:
    """A name that workspaces may have: what cannot be one is made one, and kept raw."""
    text = reading.text("name", value) or key
    plain = "".join(mark if mark.isascii() and mark.isalnum() else "-" for mark in text.lower())
    words = [word for word in plain.split("-") if word]
    clean = "-".join(words)[:32].strip("-") or f"imported-{key[-8:].lower() if is_id(key) else 'session'}"
    if clean != text:
        reading.raw.setdefault("name", text)
        reading.remarks.append(f"its name {text[:64]!r} is none here: imported as {clean}")
    return clean
