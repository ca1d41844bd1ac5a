"""Reading workspaces: by id, by reference, of a project; and what state they are in."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Final

from sojourn.core.batch import Refusal
from sojourn.core.codec import told
from sojourn.core.ids import is_id
from sojourn.core.query import OPEN_STATES, READABLE_STATES, SessionQuery
from sojourn.core.session import Session, Snapshot, State
from sojourn.errors import AmbiguousError, EndedError, ExpiredError, NotFoundError, SojournError
from sojourn.kinds.workspaces import rules
from sojourn.kinds.workspaces.model import Workspace, WorkspacePolicy
from sojourn.kinds.workspaces.places import Places
from sojourn.kinds.workspaces.project import Project, record_key
from sojourn.kinds.workspaces.rules import KIND
from sojourn.shell.unit import Unit, refused

_PAGE: Final = 200
_SHOWN: Final = 8
"""How many candidates a message names."""


class Reader:
    """Reads workspaces of one store and tenant."""

    def __init__(self, unit: Unit, policy: WorkspacePolicy, places: Callable[[], Places]) -> None:
        self._unit = unit
        self._policy = policy
        self._make = places
        self._places: Places | None = None

    @property
    def places(self) -> Places:
        """Where the caller stands; made when it is first asked for."""
        if self._places is None:
            self._places = self._make()
        return self._places

    def project_id(self, given: object) -> str:
        """A project that was named, or that of the working directory."""
        return rules.check_project(self.places.project_id() if given is None else given)

    # -- states ----------------------------------------------------------------------------------------------------

    def gripped(self, session: Session) -> bool | None:
        """Whether a process of this host holds it; None when that is not for this host to say."""
        hold = rules.hold_of(session)
        if hold is None or session.state != "active" or hold["host"] != self.places.host():
            return None
        return self.places.held(session.id)

    def shown(self, session: Session, now: int) -> Workspace:
        """What callers see of a session."""
        return rules.workspace_of(session, now, self._policy, self.gripped(session))

    def is_live(self, session: Session, now: int) -> bool:
        """Whether it is active or idle."""
        return rules.is_open(session, now) and not rules.is_lost(session, now, self.gripped(session))

    def over(self, session: Session, now: int) -> SojournError:
        """The error of what needs a session that is not over."""
        workspace = self.shown(session, now)
        what = f"workspace {workspace.name} ({session.id[-8:]})"
        hint = f"Start another: sojourn workspace start --role {workspace.role}"
        when = "" if workspace.ended_at is None else f" at {workspace.ended_at:%Y-%m-%d %H:%M} UTC"
        if workspace.state == "ended":
            return EndedError(f"{what} was ended{when}.", hint=hint, record=workspace)
        return ExpiredError(f"{what} expired{when}, after nothing was done in it.", hint=hint, record=workspace)

    def refused(self, refusal: Refusal, now: int) -> SojournError:
        """The error that a refusal means; of a session that is over with the session as callers see it."""
        if refusal.session is not None and refusal.session.kind == KIND and refusal.reason in ("ended", "archived", "expired"):
            return self.over(refusal.session, now)
        return refused(refusal, KIND)

    # -- one -------------------------------------------------------------------------------------------------------

    async def session(self, id: str, project: object = None) -> tuple[Session, int]:
        """The session with this id, and the time; `NotFoundError` when there is none, or it is another project's."""
        found = await self._unit.load(id, KIND)
        assert found.session is not None  # noqa: S101  # load raised otherwise
        if project is not None and found.session.home != rules.check_project(project):
            raise NotFoundError(f"workspace {id} belongs to another project.", hint="Leave project_id out, or name that one.")
        return found.session, found.now

    async def open(self, id: str, project: object = None) -> tuple[Session, int]:
        """As `session`; `EndedError` and `ExpiredError` for one that is over."""
        session, now = await self.session(id, project)
        if not rules.is_open(session, now):
            raise self.over(session, now)
        return session, now

    async def find(self, id: str) -> Snapshot:
        """The session with this id; None in the snapshot when there is none."""
        return await self._unit.find(id, KIND)

    async def project(self, id: str) -> Project:
        """What is stored of a project."""
        key = record_key(id)
        found = await self._unit.follow(id, key.namespace, key.key)
        epoch = 0 if found.alias is None else found.alias.epoch
        return Project(id, found.session, found.now, epoch, self._unit.new_id(id))

    # -- many ------------------------------------------------------------------------------------------------------

    async def of_project(
        self, project: str, *, role: str | None = None, states: tuple[State, ...] = OPEN_STATES, after: str | None = None
    ) -> AsyncIterator[Session]:
        """Every session of a project (of a role), newest first, behind the one with this id."""
        tag = rules.project_tag(project) if role is None else rules.role_tag(project, role)
        async for session in self._tagged(project, tag, states, after):
            yield session

    async def live(self, project: str) -> list[Session]:
        """The live sessions of a project, system sessions left out."""
        now = await self._unit.engine.now()
        rows = [session async for session in self.of_project(project)]
        return [row for row in rows if not rules.data_of(row).get("system") and self.is_live(row, now)]

    async def counted(self, project: str, *, but: str = "") -> Counter[str]:
        """How many are live by role and, where that is another, by base."""
        counts: Counter[str] = Counter()
        for session in await self.live(project):
            data = rules.data_of(session)
            if session.id != but:
                counts.update({data["role"], data["base"]})
        return counts

    async def _tagged(
        self, project: str, tag: str, states: tuple[State, ...], after: str | None = None
    ) -> AsyncIterator[Session]:
        place = None if after is None else (0, after)
        while True:
            query = SessionQuery(
                self._unit.tenant, (KIND,), states, None, tag, "created", limit=_PAGE, after=place, home=project
            )
            rows = await self._unit.engine.list(query)
            for row in rows:
                yield row
            if len(rows) < _PAGE:
                return
            place = (0, rows[-1].id)

    # -- references ------------------------------------------------------------------------------------------------

    async def referred(self, reference: str, project: str | None) -> tuple[Session, int]:
        """The one session that a reference names, and the time: an id, a tail of an id, a name or the beginning of one.

        A name that somebody has goes before one that somebody had. `AmbiguousError` lists the candidates.
        """
        text = reference.strip()
        if is_id(text.upper()):
            return await self._by_id(text.upper(), project)
        if project is None:
            raise self.unknown(text)
        found = await self._by_name(text, project)
        if found is not None:
            return found
        now = await self._unit.engine.now()
        matches = {row.id: row for row in (*await self._by_tail(text, project), *await self._by_prefix(text, project, now))}
        if len(matches) > 1:
            raise self._ambiguous(text, matches.values(), now)
        if not matches:
            raise self.unknown(text)
        return next(iter(matches.values())), now

    async def _by_id(self, id: str, project: str | None) -> tuple[Session, int]:
        found = await self.find(id)
        if found.session is None:
            raise self.unknown(id)
        if project is not None and found.session.home != project:
            raise NotFoundError(
                f"workspace {id} belongs to another project ({found.session.home}).",
                hint="Change to that project's directory.",
            )
        return found.session, found.now

    async def _by_name(self, name: str, project: str) -> tuple[Session, int] | None:
        """Who has a name, or else had it last."""
        if not name or not name.isascii() or not name.isprintable():
            return None
        key = rules.name_key(project, name)
        found = await self._unit.follow(project, key.namespace, key.key)
        if found.session is not None and found.session.kind == KIND:
            return found.session, found.now
        async for past in self._tagged(project, rules.past_name_tag(project, name), READABLE_STATES):
            return past, found.now
        return None

    async def _by_tail(self, text: str, project: str) -> list[Session]:
        tail = text.upper()
        if not len(tail) >= rules.TAIL or not tail.isascii() or not tail.isalnum():
            return []
        rows = [row async for row in self._tagged(project, rules.tail_tag(project, tail), READABLE_STATES)]
        return [row for row in rows if row.id.endswith(tail)]

    async def _by_prefix(self, text: str, project: str, now: int) -> list[Session]:
        """Those at work whose name begins so."""
        if not text:
            return []
        rows = [row async for row in self.of_project(project)]
        return [row for row in rows if rules.data_of(row)["name"].startswith(text) and rules.is_open(row, now)]

    def _ambiguous(self, text: str, rows: Iterable[Session], now: int) -> AmbiguousError:
        candidates = tuple(sorted((self.shown(row, now) for row in rows), key=lambda one: (one.name, one.id)))
        names = ", ".join(f"{one.name} ({one.id[-8:]}, {one.state})" for one in candidates[:_SHOWN])
        more = f", and {len(candidates) - _SHOWN} more" if len(candidates) > _SHOWN else ""
        return AmbiguousError(
            f"{text!r} fits {len(candidates)} workspaces: {names}{more}.",
            hint="Give more of the name, or more of the id's end.",
            candidates=candidates,
        )

    @staticmethod
    def unknown(reference: str) -> NotFoundError:
        """No session is meant by a reference."""
        hint = f"'sojourn workspace list' shows those at work; an id's tail has at least {rules.TAIL} characters."
        return NotFoundError(f"there is no workspace {told(reference)} here.", hint=hint)
