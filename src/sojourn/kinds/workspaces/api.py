"""The operations of workspaces, once, for both colours."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any, Final, Literal

from sojourn.core.batch import Answer, Create, Delete, Point, Refusal
from sojourn.core.codec import Json, check_text
from sojourn.core.ids import parts_of
from sojourn.core.names import validate_name
from sojourn.core.query import OPEN_STATES, READABLE_STATES, Page, make_cursor, page_limit, read_cursor
from sojourn.core.session import Session
from sojourn.core.times import span
from sojourn.errors import InvalidNameError, InvalidValueError, NameTakenError, RoleInUseError, UnknownRoleError
from sojourn.kinds.workspaces import rules
from sojourn.kinds.workspaces.claiming import Claiming, check_claim, nothing_to_do, was_done
from sojourn.kinds.workspaces.holding import WorkspaceHold
from sojourn.kinds.workspaces.model import Claim, Resolved, Role, Workspace, WorkspacePolicy
from sojourn.kinds.workspaces.places import Places
from sojourn.kinds.workspaces.pointing import Plan, PointerChoice, Pointing
from sojourn.kinds.workspaces.reader import Reader
from sojourn.kinds.workspaces.resources import check_resource
from sojourn.kinds.workspaces.rules import KIND
from sojourn.kinds.workspaces.starting import Starting
from sojourn.shell.lease import Lease
from sojourn.shell.unit import Unit, fingerprint, operation_key, perform

_AGAIN: Final = Refusal("version")


class AsyncWorkspaces:
    """Workspaces of one store and tenant: ``store.workspaces``. ``project_id=None``: the project of the working directory."""

    def __init__(self, unit: Unit, policy: WorkspacePolicy, places: Callable[[], Places]) -> None:
        self._unit = unit
        self._policy = policy
        self._reader = Reader(unit, policy, places)
        self._pointing = Pointing(self._reader)
        self._starting = Starting(unit, policy, self._reader)
        self._claiming = Claiming(unit, policy, self._reader)

    # -- starting --------------------------------------------------------------------------------------------------

    async def start(
        self,
        role: str,
        name: str = "",
        *,
        pointer: PointerChoice | None = "auto",
        replace: bool = False,
        actor: str | int | None = None,
        metadata: Mapping[str, Json] | None = None,
        project_id: str | None = None,
        key: str | None = None,
    ) -> Workspace:
        """A new session, under a generated name without ``name``, and a pointer to it.

        ``pointer="auto"``: the agent's or terminal's own; without one of these the project's, unless a live session is
        behind it; else none, and the answer's ``hint`` says how to go on. ``terminal`` and ``project`` ask for that one:
        `PointerHeldError` where a live session is behind the project's, unless ``replace``. None moves none.

        `UnknownRoleError`, `NameTakenError` (carries the session that has it), `LimitError` where the role has as many live
        sessions as it may. When the pointer cannot be written the error is raised and the session removed again; not with
        a ``key``, since asking again finishes the start.
        """
        new = rules.new_workspace(self._policy, role, name, actor, metadata, system=False)
        operation = operation_key(key)
        project, mark = self._reader.project_id(project_id), fingerprint("workspace.start", *new.asked, pointer, bool(replace))
        plan: Plan | None = None

        async def make() -> tuple[Workspace, bool]:
            nonlocal plan
            plan = await self._pointing.plan(pointer, replace, project_id)
            return await self._starting.make(project, new, operation, mark)

        made, again = await self._unit.answered(project, operation, mark, make, self._starting.again, KIND)
        if again and not made.live:
            return made
        if again or plan is None:  # what was planned for a new one may have met itself behind the pointer
            plan = await self._pointing.plan(pointer, replace, project_id, made.id)
        try:
            return await self._pointing.point(made, plan)
        except BaseException:
            if operation is None:
                await self._remove(made.id)
            raise

    async def start_system(self, role: str, *, project_id: str | None = None, key: str | None = None) -> Workspace:
        """A new session of a program, in any role; no pointer leads to it and no count has it."""
        new = rules.new_workspace(self._policy, role, system=True)
        project = self._reader.project_id(project_id)
        operation, mark = operation_key(key), fingerprint("workspace.start_system", *new.asked)

        async def make() -> tuple[Workspace, bool]:
            return await self._starting.make(project, new, operation, mark)

        return (await self._unit.answered(project, operation, mark, make, self._starting.again, KIND))[0]

    async def _remove(self, id: str) -> Session | None:
        """Take a session away with its name; as it was, None when there was none."""
        session = (await self._reader.find(id)).session
        if session is None:
            return None
        answer = await self._unit.attempt(session.home, Delete(id))
        return session if answer.refusal is None else None

    # -- finding ---------------------------------------------------------------------------------------------------

    async def resolve(self, session: str | None = None, *, project_id: str | None = None) -> Resolved:
        """The session that is meant, in whatever state, and what led to it. Reads only.

        The argument, else ``SOJOURN_SESSION``, else the agent's or terminal's pointer, else the project's, else
        `NoSessionError`. An explicit choice that fails is an error and never falls through. A reference is an id, a tail of
        one (4 characters or more), a name, the beginning of one, or ``-`` for the previous session; `AmbiguousError` lists
        the candidates. A pointer to nothing: `OrphanPointerError`.
        """
        found, now, source = await self._pointing.resolve(session, project_id)
        return Resolved(self._reader.shown(found, now), source)

    async def load_active(self, session: str | None = None, *, project_id: str | None = None) -> Workspace:
        """The session that is meant, marked as active at most every ``heartbeat_every``.

        As `resolve`; `EndedError` and `ExpiredError` (they carry the session) for one that is over. A lost one is back.
        """
        found, now, _ = await self._pointing.resolve(session, project_id)
        lost = rules.is_lost(found, now, self._reader.gripped(found))
        quiet = rules.time_of(found, now) - found.active_at >= span(self._policy.heartbeat_every)
        if rules.is_open(found, now) and not lost and not quiet:
            return self._reader.shown(found, now)
        return await self._touch((found, now))

    async def get(self, id: str, *, project_id: str | None = None) -> Workspace | None:
        """The session with this id, in whatever state; None when there is none (in that project)."""
        found = await self._reader.find(id)
        if found.session is None or (project_id is not None and found.session.home != rules.check_project(project_id)):
            return None
        return self._reader.shown(found.session, found.now)

    async def list(
        self,
        *,
        role: str | None = None,
        active_only: bool = True,
        project_id: str | None = None,
        limit: int = 50,
        after: str | None = None,
    ) -> Page[Workspace]:
        """A page of the project's sessions, newest first; those that are over only with ``active_only=False``."""
        project, limit = self._reader.project_id(project_id), page_limit(limit)
        wanted = None if role is None else rules.check_role(role)
        position = None if after is None else str(read_cursor(after, str)[0])
        now = await self._unit.engine.now()
        states = OPEN_STATES if active_only else READABLE_STATES
        found: builtins.list[Session] = []
        async for session in self._reader.of_project(project, role=wanted, states=states, after=position):
            if active_only and not rules.is_open(session, now):
                continue
            if len(found) == limit:
                return Page([self._reader.shown(row, now) for row in found], make_cursor(found[-1].id))
            found.append(session)
        return Page([self._reader.shown(row, now) for row in found])

    async def count_active(self, *, project_id: str | None = None) -> dict[str, int]:
        """How many live sessions there are by the built-in role they count under; system sessions are not counted."""
        counts: dict[str, int] = {}
        for session in await self._reader.live(self._reader.project_id(project_id)):
            base = rules.data_of(session)["base"]
            counts[base] = counts.get(base, 0) + 1
        return counts

    # -- going on --------------------------------------------------------------------------------------------------

    async def heartbeat(
        self, id: str, *, lease: Lease | None = None, project_id: str | None = None, key: str | None = None
    ) -> Workspace:
        """Something was done in it; a lost one is back, one that is over is not (`EndedError`, `ExpiredError`).

        Under a ``lease`` that is not current any more: `LeaseLostError`.
        """
        number, operation = _number(lease), operation_key(key)
        session, now = await self._reader.session(id, project_id)
        mark = fingerprint("workspace.heartbeat", id)

        async def touch() -> Workspace:
            return await self._touch((session, now), number, operation, mark)

        async def again(_: Answer) -> Workspace:
            return self._reader.shown(session, now)

        return await self._unit.answered(session.home, operation, mark, touch, again, KIND)

    async def resume(
        self,
        ref: str,
        *,
        pointer: PointerChoice | None = "auto",
        replace: bool = False,
        project_id: str | None = None,
        key: str | None = None,
    ) -> Workspace:
        """Take a session up again, an idle or lost one too, and point at it as `start` does."""
        return await self._taken_up("workspace.resume", ref, pointer, replace, project_id, key)

    async def use(
        self,
        ref: str,
        *,
        pointer: PointerChoice = "auto",
        replace: bool = False,
        project_id: str | None = None,
        key: str | None = None,
    ) -> Workspace:
        """As `resume`, for whoever wants the pointer moved and nothing less. ``-``: the session before.

        `PointerHeldError` where only the project's pointer is there and a live session is behind it, unless ``replace``.
        """
        return await self._taken_up("workspace.use", ref, pointer, replace, project_id, key, insist=True)

    async def _taken_up(
        self,
        operation: str,
        ref: str,
        pointer: PointerChoice | None,
        replace: bool,
        project: str | None,
        key: str | None,
        *,
        insist: bool = False,
    ) -> Workspace:
        """Touch a session and point at it. A key is remembered with the touch; asking again finishes the pointing."""
        asked_for, mark = operation_key(key), fingerprint(operation, ref, pointer, bool(replace))
        pointed = None if asked_for is None else fingerprint("workspace.pointed", asked_for)
        home = self._pointing.home(project) if asked_for is not None else None

        async def planned(workspace: Workspace) -> Plan:
            plan = await self._pointing.plan(pointer, replace, project, workspace.id)
            return await self._pointing.insist(plan, workspace, project) if insist else plan

        async def take_up() -> tuple[Workspace, Plan | None]:
            found, now, _ = await self._pointing.resolve(check_text(ref, "ref"), project)
            if not rules.is_open(found, now):
                raise self._reader.over(found, now)
            plan = await planned(self._reader.shown(found, now))
            made = await self._touch((found, now), operation=asked_for, mark=mark)
            return made, plan if made.id == found.id else None  # another: what "-" meant before the pointer was moved

        async def again(before: Answer) -> tuple[Workspace, Plan | None]:
            return await self._named(before), None

        taken = take_up() if home is None else self._unit.answered(home, asked_for, mark, take_up, again, KIND)
        made, plan = await taken
        if plan is None:
            if not made.live or await self._unit.asked(made.project_id, pointed, mark, KIND) is not None:
                return made
            plan = await planned(made)
        led_to = await self._pointing.point(made, plan)
        await self._unit.remember(made.project_id, pointed, mark)
        return led_to

    async def rename(self, id: str, name: str, *, project_id: str | None = None, key: str | None = None) -> Workspace:
        """Give it another name; the one before is free, and still leads to it in history. `NameTakenError`."""
        wanted = validate_name(name)
        operation, mark = operation_key(key), fingerprint("workspace.rename", id, wanted)
        found, now = await self._reader.session(id, project_id)
        first: Session | None = None
        epoch, displaced = 0, ()

        async def step() -> bool | Refusal:
            nonlocal first, epoch, displaced
            session = first or (await self._reader.open(id))[0]
            first = None
            if rules.data_of(session)["name"] == wanted:
                if operation is None:
                    return True
                # Not remembered alone: it may be over by now, and a call with the same id have been told so.
                touch = rules.touched(id, self._policy)
                return self._done(await self._unit.attempt(session.home, touch, key=operation, fingerprint=mark))
            point = Point(rules.name_key(session.home, wanted), id, epoch)
            write = rules.renamed(session, wanted, self._policy)
            answer = await self._unit.attempt(session.home, write, *displaced, point, key=operation, fingerprint=mark)
            displaced = ()
            if answer.refusal is not None and answer.refusal.alias is not None:
                displaced = await self._starting.freeing(answer.refusal.alias, wanted) or ()  # type: ignore[assignment]
                epoch = answer.refusal.alias.epoch
            return self._done(answer)

        async def rename() -> Workspace:
            nonlocal first
            first = await self._back(found, now)
            await perform(step, KIND)
            return await self._shown(id)

        async def again(_: Answer) -> Workspace:
            return await self._shown(id)

        return await self._unit.answered(found.home, operation, mark, rename, again, KIND)

    async def update(
        self,
        id: str,
        set: Mapping[str, Json] | None = None,
        unset: Iterable[str] = (),
        *,
        lease: Lease | None = None,
        project_id: str | None = None,
        key: str | None = None,
    ) -> Workspace:
        """Patch the metadata key by key inside the commit: nothing is lost when others patch other keys.

        Under a ``lease`` (of `hold`) that is not current any more: `LeaseLostError`.
        """
        given: Any = unset  # whatever it is: the rule says what is wrong with it
        gone = builtins.list(given) if isinstance(given, Iterable) and not isinstance(given, str) else given
        rules.patch(set, gone, {}, self._policy)
        number, operation = _number(lease), operation_key(key)
        mark = fingerprint("workspace.update", id, set, gone)
        found, now = await self._reader.session(id, project_id)

        async def update() -> Workspace:
            session = await self._back(found, now, number)
            known = rules.data_of(session).get("metadata", {})
            write = rules.updated(session, *rules.patch(set, gone, known, self._policy), self._policy, number)
            answer = await self._unit.attempt(session.home, write, key=operation, fingerprint=mark)
            if answer.refusal is not None:
                raise self._reader.refused(answer.refusal, answer.now)
            return await self._shown(id)

        async def again(_: Answer) -> Workspace:
            return await self._shown(id)

        return await self._unit.answered(found.home, operation, mark, update, again, KIND)

    def hold(self, id: str, *, project_id: str | None = None) -> WorkspaceHold:
        """Hold a session as this process, as a context manager that gives a `Held`; heartbeats go on beside the caller.

        When the process is gone, however it ended, the session is lost: at once for its own host, after three missed
        heartbeats elsewhere. `LeaseHeldError` while another process holds it. A holder that was stopped past its lease
        cannot commit under its old fencing number (``lease=``).
        """
        return WorkspaceHold(self._unit, self._policy, self._reader, self._revive, id, project_id)

    # -- ending ----------------------------------------------------------------------------------------------------

    async def end(
        self, session: str | None = None, *, reason: str = "", project_id: str | None = None, key: str | None = None
    ) -> Workspace:
        """End a session, and free its name and claims; idempotent, the first end time is kept.

        The pointer stays, so that who comes next is told that it ended. `NoSessionError` without a pointer,
        `OrphanPointerError` for one to nothing.
        """
        why = check_text(reason, "reason", rules.LONGEST_REASON)
        operation, mark = operation_key(key), fingerprint("workspace.end", session, why)
        home = self._pointing.home(project_id) if operation is not None else None

        async def end() -> Workspace:
            found, seen, _ = await self._pointing.resolve(session, project_id)
            last = [(found, seen)]

            async def step() -> str | Refusal:
                if not last and operation is not None:  # where it means nothing by now, a call with the same id was told so
                    await self._pointing.resolve(session, project_id)
                one, now = last.pop() if last else await self._reader.session(found.id)
                if one.state != "active":
                    return await self._noted(one, operation, mark)
                over = rules.ended(one, why) if rules.is_open(one, now) else rules.expired(one, due=True)
                answer = await self._unit.attempt(one.home, over, key=operation, fingerprint=mark)
                done = self._done(answer)
                return rules.noted(answer) if done is True else done

            return await self._shown(await perform(step, KIND))

        return await (end() if home is None else self._unit.answered(home, operation, mark, end, self._named, KIND))

    async def expire(self, id: str, *, project_id: str | None = None, key: str | None = None) -> bool:
        """Have a session go stale now; True when it is expired, by this or before. False for an unknown or ended one."""
        operation, mark = operation_key(key), fingerprint("workspace.expire", id)

        async def step() -> bool | Refusal:
            session = (await self._reader.find(id)).session
            if session is None or (project_id is not None and session.home != rules.check_project(project_id)):
                return False
            if session.state != "active":
                await self._unit.remember(session.home, operation, mark)
                return session.state == "archived"
            over = rules.expired(session, due=False)
            answer = await self._unit.attempt(session.home, over, key=operation, fingerprint=mark)
            return _AGAIN if answer.replayed and not answer.moved else self._done(answer)  # it was over already

        return await perform(step, KIND)

    async def expire_stale(self, *, dry_run: bool = False, project_id: str | None = None, key: str | None = None) -> int:
        """Expire the project's sessions that nothing was done in for ``stale_after``; how many.

        Looked at again inside the commit: one that is touched meanwhile stays. ``store.sweep()`` does it for all projects.
        """
        project = self._reader.project_id(project_id)
        operation, mark = None if dry_run else operation_key(key), fingerprint("workspace.expire_stale")

        async def expire() -> int:
            now = await self._unit.engine.now()
            due = [row async for row in self._reader.of_project(project) if not rules.is_open(row, now)]
            return len(due) if dry_run else sum([await self._expire_due(session) for session in due])

        return await self._unit.once(project, operation, mark, expire, KIND)

    async def _expire_due(self, session: Session) -> bool:
        """Expire a session that was seen past its deadline, unless somebody was there first."""
        answer = await self._unit.attempt(session.home, rules.expired(session, due=True))
        return answer.refusal is None

    # -- claims ----------------------------------------------------------------------------------------------------

    async def claim(
        self,
        id: str,
        resource: str,
        *,
        ttl: timedelta = timedelta(minutes=15),
        lease: Lease | None = None,
        project_id: str | None = None,
        key: str | None = None,
    ) -> Claim:
        """Claim a path of the project, or any other name, for a session; again to renew it under the same number.

        A path covers what is below it (``src/`` covers ``src/a.py``; ``.`` all). `LeaseHeldError`, with the claim, while one
        of another session overlaps. Free when ``ttl`` has passed, it is released, or its session is over or lost.
        """
        wanted, number, operation = check_resource(resource), _number(lease), operation_key(key)
        if span(ttl, "ttl") == 0:
            raise InvalidValueError("ttl must be longer than nothing.")
        mark = fingerprint("workspace.claim", id, wanted, span(ttl))
        found, now = await self._reader.session(id, project_id)

        async def claim() -> Claim:
            session = await self._back(found, now, number)
            return await self._claiming.claim(session, wanted, ttl, number, operation, mark)

        async def again(before: Answer) -> Claim:
            return self._claiming.asked(found, wanted, ttl, before)

        return await self._unit.answered(found.home, operation, mark, claim, again, KIND)

    async def release(self, claim: Claim, *, key: str | None = None) -> bool:
        """Give a claim back; False when it had run out or is somebody else's by now."""
        given, operation = check_claim(claim), operation_key(key)
        mark = fingerprint("workspace.release", given.resource, given.session_id, given.fence)

        async def release() -> bool:
            return await self._claiming.release(given, operation, mark)

        return await self._unit.answered(given.project_id, operation, mark, release, was_done, KIND)

    async def claims(self, resource: str | None = None, *, project_id: str | None = None) -> builtins.list[Claim]:
        """The project's claims by resource; with ``resource`` those that overlap it."""
        wanted = None if resource is None else check_resource(resource)
        return await self._claiming.of(self._reader.project_id(project_id), wanted)

    # -- roles -----------------------------------------------------------------------------------------------------

    async def add_role(self, name: str, *, base: str, project_id: str | None = None, key: str | None = None) -> Role:
        """A role of the project that counts under a built-in one; idempotent. `NameTakenError` for one with another base."""
        role = rules.check_role(name)
        project = self._reader.project_id(project_id)
        if base not in rules.BUILTIN:
            raise UnknownRoleError(f"{base!r} is not a built-in role.", hint=f"base is one of {', '.join(rules.BUILTIN)}.")
        operation, mark = operation_key(key), fingerprint("workspace.add_role", role, base)

        async def step() -> Role | Refusal:
            kept = await self._reader.project(project)
            there = next((known for known in kept.roles() if known.name == role), None)
            if there is not None:
                if there.builtin or there.base != base:
                    what = "is built in" if there.builtin else f"counts under {there.base}"
                    raise NameTakenError(f"there is a role {role!r} already; it {what}.", hint="Choose another name.")
                await self._unit.remember(project, operation, mark)
                return there
            answer = await self._unit.attempt(project, *kept.with_role(role, base), key=operation, fingerprint=mark)
            return answer.refusal or Role(role, base, builtin=False)

        async def again(_: Answer) -> Role:
            return Role(role, base, builtin=False)

        return await self._unit.answered(project, operation, mark, lambda: perform(step, "role"), again, KIND)

    async def remove_role(self, name: str, *, project_id: str | None = None, key: str | None = None) -> bool:
        """Take a role away; False when there is none. A built-in one is refused (`InvalidNameError`), as is one in use
        (`RoleInUseError`).
        """
        role, project = rules.check_role(name), self._reader.project_id(project_id)
        if role in rules.BUILTIN:
            raise InvalidNameError(f"the role {role!r} is built in and stays.")
        operation, mark = operation_key(key), fingerprint("workspace.remove_role", role)

        async def step() -> bool | Refusal:
            kept = await self._reader.project(project)
            if role not in kept.own_roles:
                return await nothing_to_do(self._unit, project, operation, mark)
            now = await self._unit.engine.now()
            async for session in self._reader.of_project(project, role=role):
                if rules.is_open(session, now):
                    user = self._reader.shown(session, now)
                    raise RoleInUseError(
                        f"the role {role!r} is in use by {user.name} ({user.state}).",
                        hint="End its sessions first: sojourn workspace list",
                        record=user,
                        holder=user.id,
                    )
            without = kept.without_role(role)
            answer = await self._unit.attempt(project, *without, key=operation, fingerprint=mark)
            return await was_done(answer) if answer.refusal is None else self._done(answer)

        return await self._unit.answered(project, operation, mark, lambda: perform(step, "role"), was_done, KIND)

    async def roles(self, *, project_id: str | None = None) -> builtins.list[Role]:
        """The project's roles: built-in ones first, then its own by name."""
        return (await self._reader.project(self._reader.project_id(project_id))).roles()

    # -- steps -----------------------------------------------------------------------------------------------------

    async def _shown(self, id: str) -> Workspace:
        return self._reader.shown(*await self._reader.session(id))

    async def _named(self, before: Answer) -> Workspace:
        """The session that an operation id has changed or noted."""
        return await self._shown(rules.noted(before))

    async def _noted(self, session: Session, operation: str | None, mark: str) -> str:
        """Keep which session an operation id was about; which it is, where another call with the same id was first."""
        if operation is None:
            return session.id
        note = Create(self._unit.new_id(session.home), "note", state="pending", counters=parts_of(session.id))
        return rules.noted(await self._unit.commit(session.home, note, Delete(note.id), key=operation, fingerprint=mark))

    async def _touch(
        self,
        seen: tuple[Session, int],
        lease: tuple[str, int] | None = None,
        operation: str | None = None,
        mark: str = "",
    ) -> Workspace:
        """Something was done in a session; ``seen``: it and the time, as they were just read."""
        id, last = seen[0].id, [seen]

        async def step() -> Workspace | Refusal:
            session, now = last.pop() if last else await self._reader.open(id)
            if not rules.is_open(session, now):
                raise self._reader.over(session, now)
            lost = lease is None and rules.is_lost(session, now, self._reader.gripped(session))
            if lost:
                answer = await self._bring_back(session, operation, mark)
            else:
                touch = rules.touched(id, self._policy, lease)
                answer = await self._unit.attempt(session.home, touch, key=operation, fingerprint=mark)
            done = self._done(answer)
            if done is not True:
                return done
            if lost or answer.replayed:
                return await self._named(answer)
            return self._reader.shown(rules.after_touch(session, answer), answer.now)

        return await perform(step, KIND)

    async def _back(self, session: Session, now: int, lease: tuple[str, int] | None = None) -> Session:
        """A session that is not over; a lost one is back, unless its holder says that it is not lost."""
        if not rules.is_open(session, now):
            raise self._reader.over(session, now)
        if lease is not None or not rules.is_lost(session, now, self._reader.gripped(session)):
            return session
        await self._touch((session, now))
        return (await self._reader.open(session.id))[0]

    async def _revive(self, session: Session, now: int) -> None:
        if rules.is_lost(session, now, self._reader.gripped(session)):
            await self._touch((session, now))

    async def _bring_back(self, session: Session, operation: str | None, mark: str) -> Answer:
        """A lost session counts as live again, if its role may have one more."""
        data = rules.data_of(session)
        _, admitted = await self._starting.admit(session.home, data["role"], system=bool(data.get("system")), but=session.id)
        revived = rules.revived(session, self._policy)
        return await self._unit.attempt(session.home, revived, *admitted, key=operation, fingerprint=mark)

    @staticmethod
    def _done(answer: Answer) -> Literal[True] | Refusal:
        """True; or another try, which finds out what is there now, where the session was changed or is over meanwhile."""
        if answer.refusal is None:
            return True
        final = answer.refusal.reason in ("key", "held", "fence")
        return answer.refusal if final else _AGAIN


def _number(lease: object) -> tuple[str, int] | None:
    """The name and number of a lease as `hold` gives it."""
    if lease is None:
        return None
    if not isinstance(lease, Lease) or lease.free:
        raise InvalidValueError(
            f"lease must be that of a hold, got {lease!r}.", hint="with workspaces.hold(id) as held: held.lease"
        )
    return lease.name, lease.fence
