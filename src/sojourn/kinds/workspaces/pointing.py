"""Pointers: what leads from a working directory to a session, and what a start leaves there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypeAlias, cast

from sojourn.core.codec import check_text
from sojourn.core.session import Session
from sojourn.errors import InvalidValueError, NoProjectError, NoSessionError, OrphanPointerError, PointerHeldError
from sojourn.kinds.workspaces.model import Pointed, Workspace
from sojourn.kinds.workspaces.places import Source, Spot
from sojourn.kinds.workspaces.reader import Reader

PointerChoice: TypeAlias = Literal["auto", "terminal", "project"]
_CHOICES: Final = ("auto", "terminal", "project", None)
_SPOTS: Final[tuple[Spot, ...]] = ("terminal", "project")
_SWAPS: Final = 16


@dataclass(frozen=True, slots=True)
class Plan:
    """Which pointer a session is to get, decided before there is one. ``why`` says why none."""

    spot: Spot | None
    replace: bool = False
    asked: bool = False
    """It was asked for by name, so a pointer that is held is an error."""
    why: str = ""
    may_ask: bool = True
    """False when no pointer was wanted."""


class Pointing:
    """Reads and moves the pointers of the working directory."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    # -- where it leads --------------------------------------------------------------------------------------------

    async def resolve(self, session: object, project: object) -> tuple[Session, int, Source]:
        """The session that is meant, the time, and what led to it: the argument, ``SOJOURN_SESSION``, a pointer.

        What was chosen explicitly and fails is an error; nothing else is tried. A project that is named by its id has no
        directory, so only the argument counts there.
        """
        if session is not None:
            return *await self._referred(check_text(session, "session", 512), project), "argument"
        if project is not None:
            raise NoSessionError("no session was named.", hint="Pass the session; a project's id alone names none.")
        chosen = self._reader.places.chosen()
        if chosen is not None:
            return *await self._referred(check_text(chosen, "SOJOURN_SESSION", 512), None), "environment"
        return await self._pointed()

    async def _referred(self, text: str, project: object) -> tuple[Session, int]:
        if not text.strip():
            raise NoSessionError("the session that was named is blank.", hint="Give an id, the tail of one, or a name.")
        if text.strip() == "-":
            return await self._previous(project)
        return await self._reader.referred(text, self.home(project))

    def home(self, project: object) -> str | None:
        """The project that references are looked up in; without one, whole ids still are."""
        try:
            return self._reader.project_id(project)
        except NoProjectError:
            return None

    async def _previous(self, project: object) -> tuple[Session, int]:
        if project is not None:
            raise NoSessionError("'-' is the previous session of a directory; a project's id has none.", hint="Name one.")
        previous = self._reader.places.previous()
        if previous is None:
            raise NoSessionError("there was no session here before the present one.", hint="Name one: sojourn workspace list")
        found = await self._reader.find(previous)
        if found.session is None:
            raise self._reader.unknown(previous)
        return found.session, found.now

    async def _pointed(self) -> tuple[Session, int, Source]:
        places = self._reader.places
        project, key = places.project_id(), places.keyed_by()
        for spot in _SPOTS:
            if spot == "terminal" and key is None:
                continue
            text = places.read(spot)
            if text is None:
                continue
            found = await self._reader.find(text)
            session = found.session
            if session is None or session.home != project:
                raise self._orphan(spot, text, session)
            return session, found.now, cast("Source", key if spot == "terminal" else "project")
        raise NoSessionError(
            "nobody is at work here: no session was named and no pointer names one.",
            hint="Start one: sojourn workspace start --role implementer; or set SOJOURN_SESSION.",
        )

    def _orphan(self, spot: Spot, text: str, session: Session | None) -> OrphanPointerError:
        where = self._reader.places.where(spot)
        what = "is not in this store" if session is None else "belongs to another project"
        return OrphanPointerError(
            f"the pointer {where} names {text[:64]!r}, which {what}.",
            hint="Point it elsewhere (sojourn workspace use NAME, or start), or remove the file.",
        )

    # -- what is left there ----------------------------------------------------------------------------------------

    async def plan(self, pointer: object, replace: object, project: object, session: str = "") -> Plan:
        """Decide where a session will be pointed at; `PointerHeldError` where that is known to be refused.

        ``session``: its id, when it is there already: the pointer that it has is no reason against it.
        """
        if pointer not in _CHOICES:
            raise InvalidValueError(
                f"pointer must be 'auto', 'terminal', 'project' or None, got {pointer!r}.",
                hint="None moves no pointer.",
            )
        if pointer is None:
            return Plan(None, why="No pointer was moved", may_ask=False)
        if project is not None:
            if pointer != "auto":
                raise InvalidValueError(
                    f"pointer={pointer!r} needs a working directory; a project named by its id has none.",
                    hint="Leave project_id out, or pass pointer=None.",
                )
            return Plan(None, why="A project named by its id has no pointer")
        key = self._reader.places.keyed_by()
        if pointer == "terminal" and key is None:
            raise InvalidValueError("there is neither an agent nor a terminal here.", hint="Set SOJOURN_AGENT to a name.")
        if pointer == "terminal" or (pointer == "auto" and key is not None):
            return Plan("terminal", asked=pointer == "terminal")
        return await self._project_plan(Plan("project", bool(replace), asked=pointer == "project"), session)

    async def _project_plan(self, plan: Plan, session: str) -> Plan:
        holder = None if plan.replace else await self._holder(but=session)
        if holder is None:
            return plan
        if plan.asked:
            raise _held(holder)
        return Plan(None, why=f"The project's pointer stays with {holder.name} ({holder.state})")

    async def _holder(self, but: str = "") -> Workspace | None:
        """The live session that the project's pointer names."""
        text = self._reader.places.read("project")
        found = None if text is None or text == but else await self._reader.find(text)
        if found is None or found.session is None or not self._reader.is_live(found.session, found.now):
            return None
        return self._reader.shown(found.session, found.now)

    async def insist(self, plan: Plan, workspace: Workspace, project: object) -> Plan:
        """The plan of whoever wants nothing but the pointer: an error where it would be none."""
        if plan.spot is not None:
            return replace(plan, asked=True)
        if project is not None or not plan.may_ask:
            raise InvalidValueError(
                "there is no pointer to move.", hint="Leave project_id out, and pass a pointer; or resume() it."
            )
        holder = await self._holder()
        if holder is None or holder.id == workspace.id:
            return replace(plan, spot="project", asked=True)
        raise _held(holder)

    async def point(self, workspace: Workspace, plan: Plan) -> Workspace:
        """Point at a session as planned; the answer says where, or how to go on."""
        places = self._reader.places if plan.spot is not None else None
        if places is None or plan.spot is None:
            return _unpointed(workspace, plan.why)
        if plan.spot == "terminal":
            places.write("terminal", workspace.id)
            return replace(workspace, pointer=cast("Pointed", places.keyed_by() or "terminal"))
        if plan.replace:
            places.write("project", workspace.id)
            return replace(workspace, pointer="project")
        return await self._take(workspace, plan)

    async def _take(self, workspace: Workspace, plan: Plan) -> Workspace:
        """The project's pointer, unless a live session is behind it when it moves."""
        places = self._reader.places
        for _ in range(_SWAPS):
            before = places.read("project")
            holder = await self._holder(but=workspace.id)
            if holder is not None and before == holder.id:
                if plan.asked:
                    raise _held(holder)
                return _unpointed(workspace, f"The project's pointer stays with {holder.name} ({holder.state})")
            if holder is None and places.swap("project", before, workspace.id):
                return replace(workspace, pointer="project")
        raise PointerHeldError(
            "the project's pointer is being moved by others.", hint="Try again, or pass replace=True.", record=None
        )


def _unpointed(workspace: Workspace, why: str) -> Workspace:
    return replace(workspace, hint=f"{why}; go on with SOJOURN_SESSION={workspace.id}")


def _held(holder: Workspace) -> PointerHeldError:
    record: Any = holder
    return PointerHeldError(
        f"the project's pointer names {holder.name} ({holder.role}, {holder.state}), who is at work.",
        hint="Pass replace=True (--replace) to displace it, or set SOJOURN_AGENT so that you have a pointer of your own.",
        record=record,
        holder=holder.id,
    )
