"""Import of the PipeWorks MUD server's ``mud.db``: users, worlds and characters fill the directory, sessions become logins.

Clients that are signed in stay signed in: they go on presenting the token they have, which is found by its digest. The token
itself is not stored, and passwords are not even read. The source is read as of one moment and never changed. Ids of users,
characters and worlds are the source's own; those of logins are derived from it, so that a second run finds the first.
"""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from sojourn.core.codec import Json, check_key
from sojourn.core.ids import derived_id, home_number
from sojourn.errors import BindingError, ConflictError, CorruptError, NotFoundError, SojournError, UnsupportedError
from sojourn.formats.report import PRESENT, ImportReport, Progress, Tally
from sojourn.formats.source import Value, columns, foreign_file, open_source, tables
from sojourn.formats.values import Reading
from sojourn.kinds.logins import rules
from sojourn.kinds.logins.model import Character
from sojourn.kinds.logins.people import Person
from sojourn.kinds.logins.registry import character_key, check_label, username_key, world_key
from sojourn.kinds.logins.rules import Arrival, Origin
from sojourn.kinds.logins.tokens import check_own
from sojourn.shell.bridge import run_sync

if TYPE_CHECKING:
    from sojourn.store import AsyncStore
    from sojourn.sync.store import Store

FORMAT: Final = "mud"
FILE: Final = "mud.db"
WORLDS: Final = "worlds"
USERS: Final = "users"
CHARACTERS: Final = "characters"
SESSIONS: Final = "sessions"
UUID_BITS: Final = 122
"""Random bits of a version 4 UUID (RFC 9562, 5.4), which that server gives out; the least that an imported token must have."""

_COLUMNS: Final = {
    WORLDS: ("id", "name"),
    USERS: ("id", "username"),
    CHARACTERS: ("id", "user_id", "name", "world_id"),
    SESSIONS: (
        "id",
        "user_id",
        "character_id",
        "world_id",
        "session_id",
        "created_at",
        "last_activity",
        "expires_at",
        "client_type",
    ),
}
_ORIGIN: Final = Origin(by="import mud")
_REMOVED: Final = "it was removed here: not brought back"
_PLAYER: Final = "player"


def import_mud(
    store: Store, path: str | os.PathLike[str], *, dry_run: bool = False, progress: Progress | None = None
) -> ImportReport:
    """Import a MUD server's database (or the directory that holds its ``mud.db``); what became of every row.

    The source is never changed. May be repeated, also after it was killed: what is stored already is left as it is.
    `InvalidValueError`: there is no such file; `CorruptError`: it is no such database; `UnsupportedError`: the store keeps no
    users of its own.
    """
    return run_sync(aimport_mud(store._aio, path, dry_run=dry_run, progress=progress))


async def aimport_mud(
    store: AsyncStore, path: str | os.PathLike[str], *, dry_run: bool = False, progress: Progress | None = None
) -> ImportReport:
    """`import_mud` for asynchronous stores. The source is read on the event loop."""
    if store._settings.directory is not None:
        raise UnsupportedError(
            "the MUD server's users fill the store's own directory, and this store was opened with directory=…",
            hint="Open it without directory=.",
        )
    file = foreign_file(path, FILE, getattr(store._unit.engine, "path", None))
    with open_source(file) as connection:
        for table, needed in _COLUMNS.items():
            if not columns(connection, table).issuperset(needed):
                found = ", ".join(tables(connection)) or "none"
                raise CorruptError(
                    f"this is no database of the MUD server (its {table} lack what is needed); its tables: {found}.",
                    hint=f"Give the path of {FILE}.",
                )
        counts = {name: connection.execute(f"select count(*) from {name}").fetchone()[0] for name in _COLUMNS}  # noqa: S608
        tally = Tally(FORMAT, str(path), counts, dry_run=dry_run, progress=progress)
        await _Import(store, connection, tally, dry_run=dry_run).run()
        return tally.report()


class _Skip(Exception):  # noqa: N818  # it is no error: a row with the reason why it is left out
    """A row that is not imported, and why."""


class _Import:
    """One run. What is learnt of a table's rows is asked again by the tables that refer to them."""

    def __init__(self, store: AsyncStore, connection: sqlite3.Connection, tally: Tally, *, dry_run: bool) -> None:
        self._store = store
        self._registry = store.logins._registry
        self._people = store.logins._people
        self._seats = store.logins._seats
        self._unit = store._unit
        self._connection = connection
        self._tally = tally
        self._dry_run = dry_run
        self._worlds: set[str] = set()
        self._users: dict[str, dict[str, Json]] = {}
        self._closed: dict[str, str] = {}
        self._characters: dict[str, Character] = {}
        self._holders: Counter[str] = Counter()
        self._taken: set[str] = set()
        self._now = 0

    async def run(self) -> None:
        """Worlds, then users, then characters, then sessions: each row stands on those before."""
        self._now = await self._unit.engine.now()
        for name in tables(self._connection):
            if name not in _COLUMNS:
                self._tally.note("other tables", name, "no part of logins: left alone")
        await self._table(WORLDS, self._world)
        await self._table(USERS, self._user)
        await self._table(CHARACTERS, self._character)
        await self._table(SESSIONS, self._session)
        for character, number in self._holders.items():
            if number > 1 and character in self._taken:
                text = f"held by {number} live sessions: imported as shared"
                self._tally.note(CHARACTERS, f"{character} {self._characters[character].name}", text)

    async def _table(self, table: str, take: Callable[[dict[str, Value], Reading], Awaitable[bool]]) -> None:
        for row in self._rows(table):
            reading = Reading()
            id = row["id"]
            name = f"row {id if isinstance(id, int) else repr(id)[:60]}"
            try:
                taken = await take(row, reading)
            except _Skip as skip:
                self._tally.skip(table, name, str(skip))
            except SojournError as error:
                self._tally.skip(table, name, error.message)
            else:
                if taken:
                    self._tally.imported(table)
                    for remark in reading.remarks:
                        self._tally.note(table, name, remark)
                else:
                    self._tally.skip(table, name, PRESENT)
            self._tally.tell()

    def _rows(self, table: str) -> Iterator[dict[str, Value]]:
        """The rows by id, with the columns that are needed or known, and no other: password hashes stay where they are."""
        more = {USERS: ("role", "is_active", "is_guest", "tombstoned_at")}.get(table, ())
        there = columns(self._connection, table)
        chosen = [*_COLUMNS[table], *(name for name in more if name in there)]
        rows = self._connection.execute(f"select {', '.join(chosen)} from {table} order by id")  # noqa: S608
        for row in rows:
            yield dict(zip(chosen, row, strict=True))

    # -- the directory ---------------------------------------------------------------------------------------------------

    async def _world(self, row: dict[str, Value], reading: Reading) -> bool:
        world = _id(row["id"], "id")
        name = check_label(reading.text("name", row["name"]) or world, "name")
        alias = await self._registry._alias(world_key(world))
        self._worlds.add(world)
        if alias.target is not None:
            return False
        if alias.epoch:
            raise _Skip(_REMOVED)
        if not self._dry_run:
            await self._registry.add_world(world, name, None)
        return True

    async def _user(self, row: dict[str, Value], reading: Reading) -> bool:
        user = _id(row["id"], "id")
        self._closed[user] = "its user was not imported"
        if row.get("tombstoned_at") is not None:
            self._closed[user] = "its user was deleted there"
            raise _Skip("deleted there (tombstoned)")
        username = check_label(reading.text("username", row["username"]), "username")
        person = await self._people.person(user)
        present = "username" in person.data
        if present and person.data["username"] != username:
            raise _Skip(f"user {user!r} is another one here")
        if not present:
            await self._check_name(username, person)
            if not self._dry_run:
                await self._registry.add_user(username, None, id=user)
        self._known(user, row, reading)
        return not present

    async def _check_name(self, username: str, person: Person) -> None:
        """That a user can be entered under this name."""
        alias = await self._registry._alias(username_key(username))
        if alias.target == person.user:
            return  # an earlier run came so far
        if person.alias.previous is not None:
            self._closed[person.user] = "its user was removed here"
            raise _Skip(_REMOVED)
        if alias.target is not None and (await self._people.person(alias.target)).data.get("username") == username:
            raise _Skip(f"the username {username!r} is taken here")

    def _known(self, user: str, row: dict[str, Value], reading: Reading) -> None:
        """What is kept of a user beside the name: in the metadata of their logins."""
        role = reading.text("role", row.get("role"))
        self._users[user] = {"role": role} if role else {}
        if row.get("is_guest") in (1, "1"):
            self._users[user]["guest"] = True
        if role not in ("", _PLAYER):
            reading.remarks.append(f"role {role!r}: kept in the metadata of their logins")
        if row.get("is_active") in (0, "0"):
            self._closed[user] = "its user is not active there"
            reading.remarks.append("not active there: imported without logins")
        else:
            del self._closed[user]

    async def _character(self, row: dict[str, Value], reading: Reading) -> bool:
        id, user = _id(row["id"], "id"), self._owner(row["user_id"])
        world = None if row["world_id"] is None else _id(row["world_id"], "world_id")
        if world is not None and world not in self._worlds:
            raise _Skip(f"there is no world {world!r}")
        found = Character(id, user, world, check_label(reading.text("name", row["name"]), "name"))
        known = (await self._people.person(user)).data.get("characters", {}).get(id)
        alias = await self._registry._alias(character_key(id))
        never = alias.target is None and not alias.epoch
        if known is None and (never or alias.target == user):
            self._characters[id] = found
            if not self._dry_run:
                await self._registry.add_character(user, world, found.name, None, id=id)
            return True
        here = None if alias.target is None else self._registry.own(await self._people.person(alias.target), id)
        if here is None:
            raise _Skip(_REMOVED)
        self._characters[id] = here
        if here.user_id != user:
            reading.remarks.append("it belongs to another user here")
        return False

    def _owner(self, value: Value) -> str:
        """The user of a row, when it is one that can be signed in."""
        if value is None:
            raise _Skip("it belongs to nobody")
        user = _id(value, "user_id")
        if user not in self._users:
            raise _Skip(self._closed.get(user) or f"there is no user {user!r}")
        return user

    # -- logins ----------------------------------------------------------------------------------------------------------

    async def _session(self, row: dict[str, Value], reading: Reading) -> bool:
        user = self._owner(row["user_id"])
        if user in self._closed:
            raise _Skip(self._closed[user])
        arrival = self._arrival(row, user, reading)
        if self._dry_run:
            taken = (await self._unit.find(arrival.id, rules.KIND)).session is None
        else:
            taken = await self._arrive(arrival, reading)
        if arrival.is_over(self._now):
            reading.remarks.append("it had expired: imported as that")
        elif arrival.character is not None:
            self._holders[arrival.character.id] += 1
            if taken:
                self._taken.add(arrival.character.id)
        return taken

    async def _arrive(self, arrival: Arrival, reading: Reading) -> bool:
        try:
            done = await self._seats.arrive(arrival, _ORIGIN)
        except (BindingError, NotFoundError) as error:  # the character has changed hands here since
            reading.remarks.append(f"imported without its character: {error.message}")
            done = await self._seats.arrive(replace(arrival, character=None), _ORIGIN)
        except ConflictError as error:
            raise _Skip(error.message) from error
        if done == "removed":
            raise _Skip(_REMOVED)
        return done == "landed"

    def _arrival(self, row: dict[str, Value], user: str, reading: Reading) -> Arrival:
        token = self._token(row["session_id"])
        created = reading.moment("created_at", row["created_at"])
        active = reading.moment("last_activity", row["last_activity"]) or created
        if active is None:
            raise _Skip("it says neither when it began nor when it was used")
        created = min(created or active, active)
        expires = None if row["expires_at"] is None else reading.moment("expires_at", row["expires_at"])
        if expires is None and row["expires_at"] is not None:
            raise _Skip("its expires_at is no usable time, so it might have expired")
        source = f"{FORMAT}/{sha256(token.encode()).hexdigest()}"
        id = derived_id(created // 1000, home_number(self._unit.tenant, user), source)
        metadata: dict[str, Json] = {
            FORMAT: {"session": row["id"] if isinstance(row["id"], int) else None, **self._users[user]}
        }
        client = self._client(row["client_type"], reading)
        character = self._held(row, user, reading)
        return Arrival(id, user, client, token, created, active, expires, character, metadata)

    def _token(self, value: Value) -> str:
        """A token that can be kept by its digest; what is wrong with one is said without showing it."""
        if not isinstance(value, str):
            raise _Skip("its token is no text")
        try:
            return check_own(value, UUID_BITS)
        except SojournError as error:
            raise _Skip(f"its token cannot be kept: {error.message}") from None

    def _client(self, value: Value, reading: Reading) -> str:
        try:
            return rules.check_client(reading.text("client_type", value))
        except SojournError:
            reading.remarks.append("client_type was too long or had control characters: imported as unknown")
            return rules.UNKNOWN

    def _held(self, row: dict[str, Value], user: str, reading: Reading) -> Character | None:
        """The character a session holds, if it may: it exists, is this user's, and is in the session's world."""
        if row["character_id"] is None:
            if row["world_id"] is not None:
                reading.remarks.append("it was in a world without a character: imported for the account")
            return None
        found = self._characters.get(_id(row["character_id"], "character_id"))
        wrong = ""
        if found is None:
            wrong = "it was not imported"
        elif found.user_id != user:
            wrong = "it belongs to another user"
        elif found.world_id is None or found.world_id != row["world_id"]:
            wrong = "it is in another world"
        if wrong:
            reading.remarks.append(f"imported without its character: {wrong}")
            return None
        return found


def _id(value: Value, name: str) -> str:
    """An id as text."""
    if not isinstance(value, (str, int)):
        raise _Skip(f"its {name} is no usable id")
    return check_key(value, name)
