"""Starting a session: its name, which nobody else at work has, and its role, of which there may be no more than so many."""

from __future__ import annotations

from typing import Final

from sojourn.core.batch import Answer, Change, Point, Refusal
from sojourn.core.names import generate_name
from sojourn.core.session import Alias
from sojourn.errors import KeyReusedError, NameTakenError
from sojourn.kinds.workspaces import project as projects
from sojourn.kinds.workspaces import rules
from sojourn.kinds.workspaces.model import Workspace, WorkspacePolicy
from sojourn.kinds.workspaces.reader import Reader
from sojourn.kinds.workspaces.rules import KIND, NewWorkspace
from sojourn.shell.unit import Unit, perform

_AGAIN: Final = Refusal("version")
_PLAIN: Final = 3
"""How many generated names are tried before one gets a suffix."""


class Starting:
    """Makes sessions in the projects of one store and tenant."""

    def __init__(self, unit: Unit, policy: WorkspacePolicy, reader: Reader) -> None:
        self._unit = unit
        self._policy = policy
        self._reader = reader

    async def again(self, before: Answer) -> tuple[Workspace, bool]:
        """What an operation id has started already, and that it has."""
        return await self._first(before.moved[0].id), True

    async def make(self, project: str, new: NewWorkspace, operation: str | None, mark: str) -> tuple[Workspace, bool]:
        """A session and its name in one commit, and whether that was done before under this operation id.

        One round trip where nothing is in the way.
        """
        id, tries = self._unit.new_id(project), 0
        name, epoch = new.name or generate_name(), 0
        displaced: tuple[Change, ...] = ()

        async def step() -> tuple[Workspace, bool] | Refusal:
            nonlocal name, epoch, displaced, tries
            base, admitted = await self.admit(project, new.role, system=new.system)
            create = rules.create(id, project, new, base, name, rules.stale(self._policy))
            changes = (create, *displaced, Point(rules.name_key(project, name), id, epoch), *admitted)
            answer = await self._unit.attempt(project, *changes, key=operation, fingerprint=mark)
            refusal = answer.refusal
            if refusal is None:
                if answer.replayed:
                    return await self.again(answer)
                return self._reader.shown(rules.made(create, self._unit.tenant, project, answer), answer.now), False
            displaced = ()
            if refusal.alias is not None:
                free = await self.freeing(refusal.alias, name if new.name else None)
                if free is None:
                    tries += 1
                    name, epoch = generate_name(suffix=tries >= _PLAIN), 0
                else:
                    displaced, epoch = free, refusal.alias.epoch
            return refusal if refusal.reason == "key" else _AGAIN

        return await perform(step, KIND)

    async def _first(self, id: str) -> Workspace:
        """What an operation id has started."""
        found = await self._reader.find(id)
        if found.session is None:
            raise KeyReusedError(
                "the session that this key has started was removed again.", hint="Use a new key to start another."
            )
        return self._reader.shown(found.session, found.now)

    async def freeing(self, alias: Alias, wanted: str | None) -> tuple[Change, ...] | None:
        """What takes a name from a session that is over; None, or `NameTakenError` for a name that is ``wanted``, if not."""
        found = None if alias.target is None else await self._reader.find(alias.target)
        if found is None or found.session is None or not rules.has_name(found.session, alias.key):
            return ()
        if not rules.is_open(found.session, found.now):
            return (rules.expired(found.session, due=True),)
        if wanted is None:
            return None
        holder = self._reader.shown(found.session, found.now)
        raise NameTakenError(
            f"the name {wanted!r} is taken by a session that is {holder.state} ({holder.role}, {holder.id[-8:]}).",
            hint="Choose another, or leave it out to have one made.",
            record=holder,
            holder=holder.id,
        )

    async def admit(self, project: str, role: str, *, system: bool, but: str = "") -> tuple[str, tuple[Change, ...]]:
        """What a role counts under, and what must still hold in the commit that adds one more live session of it."""
        capped = self._policy.max_active_per_role and not system
        if role in rules.BUILTIN and not (capped and projects.limits(self._policy, role, role)):
            return role, ()
        kept = await self._reader.project(project)
        base = kept.base_of(role)
        found = {} if system else projects.limits(self._policy, role, base)
        if found:
            projects.check_limits(found, await self._reader.counted(project, but=but))
            return base, kept.unchanged()
        return base, () if role in rules.BUILTIN else (kept.same_roles(),)
