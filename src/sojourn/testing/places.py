"""A working directory in memory, for tests of what uses ``store.workspaces``: a project, pointers, and what processes hold.

with sojourn.open("memory:") as opened:
store = standing(opened, MemoryPlaces(agent="ada"))
store.workspaces.start("implementer")
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, overload

from sojourn.errors import InvalidValueError, LeaseHeldError, NoProjectError, PointerError
from sojourn.kinds.workspaces.places import Spot
from sojourn.store import AsyncStore
from sojourn.sync.store import Store

__all__ = ["Directory", "Host", "MemoryPlaces", "standing"]


@dataclass
class Host:
    """A machine: which sessions its living processes hold. `kill` takes one away as the death of its process would."""

    name: str = "here"
    holding: dict[str, object] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    """What was ever held here."""

    def kill(self, session: str) -> None:
        """The process that holds a session is gone."""
        self.holding.pop(session, None)


@dataclass
class Directory:
    """A project's directory: its id, and the pointers in it by spot and key."""

    project: str | None = "project-1"
    pointers: dict[tuple[str, str], str] = field(default_factory=dict)
    before: dict[tuple[str, str], str] = field(default_factory=dict)
    """What a pointer said before."""
    writable: bool = True


@dataclass
class MemoryPlaces:
    """One caller in a directory on a host: an agent (``agent="…"``), a terminal, or a fresh shell that is neither."""

    directory: Directory = field(default_factory=Directory)
    host_of: Host = field(default_factory=Host)
    agent: str = ""
    terminal: str = ""
    session: str = ""
    """What ``SOJOURN_SESSION`` says."""

    def project_id(self) -> str:
        """See `Places`, here and below."""
        if self.directory.project is None:
            raise NoProjectError("this directory is in no project.", hint="Make it one: sojourn init")
        return self.directory.project

    def chosen(self) -> str | None:
        """What ``SOJOURN_SESSION`` says."""
        return self.session.strip() or None

    def keyed_by(self) -> Literal["agent", "terminal"] | None:
        """An agent's name goes before a terminal."""
        return "agent" if self.agent else "terminal" if self.terminal else None

    def read(self, spot: Spot) -> str | None:
        """What a pointer says."""
        return self.directory.pointers.get(self._place(spot), "").strip() or None

    def write(self, spot: Spot, session: str) -> None:
        """Point at a session."""
        if not self.directory.writable:
            raise PointerError(f"cannot write {self.where(spot)}.", hint="Make the directory writable.")
        place, now = self._place(spot), self.read(spot)
        if now is not None and now != session:
            self.directory.before[place] = now
        self.directory.pointers[place] = session

    def swap(self, spot: Spot, before: str | None, session: str) -> bool:
        """Point at a session, if the pointer still says what it said."""
        if self.read(spot) != before:
            return False
        self.write(spot, session)
        return True

    def clear(self, spot: Spot) -> None:
        """Remove a pointer."""
        self.directory.pointers.pop(self._place(spot), None)

    def previous(self) -> str | None:
        """What was pointed at before."""
        return self.directory.before.get(self._place("project" if self.keyed_by() is None else "terminal"))

    def where(self, spot: Spot) -> str:
        """For messages."""
        return ".sojourn/session" if spot == "project" else ".sojourn/pointers/1f0c"

    def host(self) -> str:
        """This host."""
        return self.host_of.name

    def hold(self, session: str) -> MemoryGrip:
        """Hold a session."""
        if session in self.host_of.holding:
            raise LeaseHeldError("another process of this host holds the session.", hint="Wait until it is free.")
        grip = MemoryGrip(self.host_of, session)
        self.host_of.holding[session] = grip
        self.host_of.seen.add(session)
        return grip

    def held(self, session: str) -> bool | None:
        """Whether a process of this host holds a session."""
        return session in self.host_of.holding if session in self.host_of.seen else None

    def _place(self, spot: Spot) -> tuple[str, str]:
        key = "" if spot == "project" else self.agent or self.terminal
        if spot == "terminal" and not key:
            raise InvalidValueError("there is neither an agent nor a terminal here.")
        return spot, key


@dataclass
class MemoryGrip:
    """A session that a process holds."""

    host: Host
    session: str

    def let_go(self) -> None:
        """Hold it no more."""
        if self.host.holding.get(self.session) is self:
            self.host.kill(self.session)


@overload
def standing(store: Store, places: MemoryPlaces) -> Store: ...


@overload
def standing(store: AsyncStore, places: MemoryPlaces) -> AsyncStore: ...


def standing(store: Store | AsyncStore, places: MemoryPlaces) -> Store | AsyncStore:
    """The same store as somebody in a place sees it; shares the connections, and closing it closes nothing."""
    aio = store._aio if isinstance(store, Store) else store
    moved = AsyncStore(aio._engine, replace(aio._settings, places=lambda: places), owns_engine=False)
    return Store(moved) if isinstance(store, Store) else moved
