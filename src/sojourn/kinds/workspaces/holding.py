"""Holding a session: a process says that it is at work, and everybody sees when it is not any more.

On its host by a lock that the system takes back with the process, however it ends; elsewhere by a lease that heartbeats renew.
The lease has a fencing number: what a holder that was stopped past its lease still tries to commit under it is refused.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Final, Protocol

from sojourn.core.batch import Answer, Lend, Yield
from sojourn.core.session import Session
from sojourn.core.times import span, to_datetime
from sojourn.errors import SojournError, UnavailableError
from sojourn.kinds.workspaces import rules
from sojourn.kinds.workspaces.model import Workspace, WorkspacePolicy
from sojourn.kinds.workspaces.places import Grip
from sojourn.kinds.workspaces.reader import Reader
from sojourn.shell.lease import Lease
from sojourn.shell.unit import Unit

_STEP: Final = 0.1
"""Seconds after which a hold that ends has stopped its heartbeats, at most."""


class Revive(Protocol):
    """Has a lost session count as live again, or says why it may not."""

    async def __call__(self, session: Session, now: int) -> None:
        """Do so; nothing for one that is not lost."""
        ...


class Held:
    """A session that this process holds: what `hold` gives."""

    def __init__(self, workspace: Workspace, lease: Lease) -> None:
        self.workspace: Workspace = workspace
        """The session, as it was when it was taken."""
        self.lease: Lease = lease
        """The lease as it was last renewed; pass it as ``lease=`` to what must not be stored when it is lost."""
        self.lost: bool = False
        """Whether it is not held any more: another process has it, or it is over."""
        self.error: Exception | None = None
        """Why the last heartbeat failed; None when it did not."""


class WorkspaceHold:
    """Holds a session from entry to exit, with heartbeats beside the caller. `LeaseHeldError` on entry while another does."""

    def __init__(self, unit: Unit, policy: WorkspacePolicy, reader: Reader, revive: Revive, id: str, project: object) -> None:
        self._unit = unit
        self._policy = policy
        self._reader = reader
        self._revive = revive
        self._id = id
        self._project = project
        self._name = rules.lease_name(id)
        self._grip: Grip | None = None
        self._held: Held | None = None
        self._home = ""
        self._stopping = False
        self._join: Callable[[], Awaitable[None]] | None = None

    async def __aenter__(self) -> Held:
        session, now = await self._reader.open(self._id, self._project)
        self._home = session.home
        await self._revive(session, now)
        self._grip = self._reader.places.hold(session.id)
        lease = None
        try:
            lease = await self._take()
            session, now = await self._reader.session(session.id)
            self._held = Held(self._reader.shown(session, now), lease)
            self._stopping = False
            self._join = self._unit.engine.spawn(self._beat).join
        except BaseException:
            try:
                if lease is not None:
                    await self._give_back(lease.fence)
            finally:
                self._grip.let_go()
            raise
        return self._held

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping = True
        try:
            if self._join is not None:
                await self._join()
            if self._held is not None and not self._held.lost:
                await self._give_back(self._held.lease.fence)
        finally:
            if self._grip is not None:
                self._grip.let_go()

    # -- the lease -------------------------------------------------------------------------------------------------

    async def _take(self) -> Lease:
        """The lease, with the mark that the session is held. This host's lock is ours, so its earlier holder here is gone."""
        answer = await self._attempt(None)
        held = answer.refusal.lease if answer.refusal is not None and answer.refusal.reason == "held" else None
        if held is not None and (held.holder or "").rpartition("/")[0] == self._reader.places.host():
            answer = await self._attempt(held.fence)
        if answer.refusal is not None:
            raise self._reader.refused(answer.refusal, answer.now)
        return self._lease(answer)

    async def _attempt(self, broken: int | None) -> Answer:
        host = self._reader.places.host()
        lend = Lend(self._name, f"{host}/{os.getpid()}", span(rules.patience(self._policy)))
        first = () if broken is None else (Yield(self._name, broken),)
        return await self._unit.attempt(self._home, *first, lend, rules.held_by(self._id, host, self._policy))

    def _lease(self, answer: Answer) -> Lease:
        holder, ttl = f"{self._reader.places.host()}/{os.getpid()}", rules.patience(self._policy)
        expires_at = to_datetime(answer.now + span(ttl))
        return Lease(self._name, holder, answer.fences[-1], expires_at, ttl, home=self._home)

    async def _give_back(self, fence: int) -> None:
        """Nobody holds it; nothing happens when somebody else does by now."""
        answer = await self._unit.attempt(self._home, rules.let_go(self._id, fence), Yield(self._name, fence))
        if answer.refusal is not None and answer.refusal.reason not in ("fence", "missing"):
            raise self._reader.refused(answer.refusal, answer.now)

    # -- heartbeats ------------------------------------------------------------------------------------------------

    async def _beat(self) -> None:
        """Renew until it is let go; in short steps, so that stopping is prompt."""
        held, every = self._held, self._policy.heartbeat_every.total_seconds()
        assert held is not None  # noqa: S101  # set before this began
        while True:
            waited = 0.0
            while not self._stopping and waited < every:
                step = min(_STEP, every - waited)
                await self._unit.engine.sleep(step)
                waited += step
            if self._stopping or held.lost:
                return
            try:
                held.error = await self._renew(held)
            except Exception as error:  # the engine may be back at the next; whoever holds it reads why
                held.error = error

    async def _renew(self, held: Held) -> SojournError | None:
        """One heartbeat. A lease that ran out meanwhile (the process was stopped) is taken anew, with a new number."""
        lend = Lend(self._name, held.lease.holder, span(held.lease.ttl), held.lease.fence)
        answer = await self._unit.attempt(self._home, lend, rules.touched(self._id, self._policy))
        if answer.refusal is None:
            held.lease = self._lease(answer)
            return None
        try:
            if answer.refusal.reason != "fence":
                raise self._reader.refused(answer.refusal, answer.now)
            session, now = await self._reader.open(self._id)
            await self._revive(session, now)
            held.lease = await self._take()
        except UnavailableError:
            raise
        except SojournError as error:
            held.lost = True
            return error
        return None
