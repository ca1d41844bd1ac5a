"""What a project decides once for all its sessions: its own roles, its claims, and how many may be at work.

A hidden session of the project's home, found by an alias and made when it is first needed. A start that a limit concerns, a
claim and a change of roles are decided against its version, so that of two only one is the last.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from sojourn.core.batch import Change, Create, Guard, Point, Write
from sojourn.core.codec import Json, Schema
from sojourn.core.session import AliasKey, Session
from sojourn.core.times import span, to_datetime
from sojourn.errors import LimitError, UnknownRoleError
from sojourn.kinds.workspaces import resources, rules
from sojourn.kinds.workspaces.model import Claim, Role, WorkspacePolicy

PROJECT: Final = "project"
"""The kind of the hidden sessions."""
SCHEMA: Final = Schema(1)
FENCE: Final = "fence"
"""The counter that gives claims their fencing numbers."""
LAST: Final = "claim_fence"
UNTIL: Final = "claim_until"
"""Counters with the last claim's number and end, for whoever asks again with the same operation id."""


@dataclass(frozen=True, slots=True)
class Project:
    """What is stored of a project; ``session`` is None while nothing had to be."""

    id: str
    session: Session | None
    now: int
    epoch: int
    """Of the alias that leads to it."""
    new_id: str
    """The id that its session is given where it has none."""

    # -- roles -----------------------------------------------------------------------------------------------------

    @property
    def own_roles(self) -> Mapping[str, str]:
        """Its own roles and what they count under."""
        found: Mapping[str, str] = self._part("roles")
        return found

    def roles(self) -> list[Role]:
        """All roles: built-in ones first, then its own by name."""
        built_in = [Role(name, name, builtin=True) for name in rules.BUILTIN]
        return built_in + [Role(name, base, builtin=False) for name, base in sorted(self.own_roles.items())]

    def base_of(self, role: str) -> str:
        """The built-in role that a role counts under; `UnknownRoleError` when there is no such role."""
        if role in rules.BUILTIN:
            return role
        base = self.own_roles.get(role)
        if base is None:
            names = ", ".join(known.name for known in self.roles())
            raise UnknownRoleError(f"there is no role {role!r} in this project.", hint=f"Roles: {names}; add_role() adds one.")
        return base

    def with_role(self, role: str, base: str) -> tuple[Change, ...]:
        """It has this role, if nothing was decided meanwhile."""
        return self._decide(set=((("roles", role), base),), change="role_added")

    def without_role(self, role: str) -> tuple[Change, ...]:
        """It has not, if nothing was decided meanwhile."""
        return self._decide(unset=(("roles", role),), next_phase=True, change="role_removed")

    def same_roles(self) -> Change:
        """Refused when a role was removed meanwhile; starts do not refuse each other."""
        assert self.session is not None  # noqa: S101  # a role of its own is stored in it
        return Write(self.session.id, Guard(phase=self.session.phase), change="counted")

    def unchanged(self) -> tuple[Change, ...]:
        """Refused when anything was decided meanwhile."""
        return self._decide(change="counted")

    # -- claims ----------------------------------------------------------------------------------------------------

    def claims(self) -> list[Claim]:
        """The claims that have not run out, by resource; their sessions' names are with the sessions."""
        kept = [self._claim(resource, row) for resource, row in self._part("claims").items()]
        return sorted((claim for claim in kept if claim is not None), key=lambda claim: claim.resource)

    def claim_of(self, claim: Claim) -> Claim | None:
        """This claim as it is kept; None when it has run out or somebody else has it."""
        row = self._part("claims").get(claim.resource)
        kept = None if row is None else self._claim(claim.resource, row)
        same = kept is not None and (kept.session_id, kept.fence) == (claim.session_id, claim.fence)
        return kept if same else None

    def next_fence(self) -> int:
        """The fencing number of the next new claim."""
        return 1 if self.session is None else self.session.counters.get(FENCE, 0) + 1

    def with_claim(self, claim: Claim, expires_at: int, gone: list[str]) -> tuple[Change, ...]:
        """It has this claim and not those, if nothing was decided meanwhile."""
        row: Json = {
            "session": claim.session_id,
            "fence": claim.fence,
            "expires_at": expires_at,
            "ttl": span(claim.ttl),
        }
        fence = max(claim.fence, self.next_fence() - 1)
        places = tuple(("claims", resource) for resource in gone if resource != claim.resource)
        put = ((("claims", claim.resource), row),)
        counters = ((FENCE, fence), (LAST, claim.fence), (UNTIL, expires_at))
        return self._decide(set=put, unset=places, put=counters, change="claimed")

    def without_claim(self, resource: str) -> tuple[Change, ...]:
        """It has not this claim, if nothing was decided meanwhile."""
        return self._decide(unset=(("claims", resource),), change="released")

    def run_out(self) -> list[str]:
        """The resources of claims that have run out."""
        return [resource for resource, row in self._part("claims").items() if row["expires_at"] <= self._time]

    def _claim(self, resource: str, row: Mapping[str, Any]) -> Claim | None:
        if row["expires_at"] <= self._time:
            return None
        ttl = timedelta(microseconds=row["ttl"])
        return Claim(resource, row["session"], "", row["fence"], to_datetime(row["expires_at"]), ttl, self.id)

    # -- steps -----------------------------------------------------------------------------------------------------

    @property
    def _time(self) -> int:
        return self.now if self.session is None else max(self.now, self.session.mark)

    def _part(self, name: str) -> Any:
        return {} if self.session is None else SCHEMA.read(self.session.data).get(name, {})

    def _decide(self, *, change: str, **changes: Any) -> tuple[Change, ...]:
        """A change under its version, or its making."""
        if self.session is not None:
            return (Write(self.session.id, Guard(version=self.session.version), change=change, **changes),)
        data: dict[str, Json] = {"v": SCHEMA.version}
        for path, value in changes.get("set", ()):
            data.setdefault(path[0], {})[path[1]] = value
        create = Create(self.new_id, PROJECT, data=data, counters=dict(changes.get("put", ())), change=change)
        return create, Point(record_key(self.id), self.new_id, self.epoch)


def record_key(project: str) -> AliasKey:
    """Where what is stored of a project is found."""
    return AliasKey(project, PROJECT, project)


# -- limits ------------------------------------------------------------------------------------------------------------


def limits(policy: WorkspacePolicy, role: str, base: str) -> dict[str, int]:
    """The limits that a session of a role is counted for."""
    return {name: most for name, most in policy.max_active_per_role.items() if name in (role, base)}


def check_limits(found: Mapping[str, int], counts: Mapping[str, int]) -> None:
    """Refuse one more where there are as many as may be; ``counts`` are live sessions by role and by base."""
    for role, most in found.items():
        if counts.get(role, 0) >= most:
            raise LimitError(
                f"there are {counts.get(role, 0)} live sessions of role {role}; the limit is {most}.",
                hint="End one, or raise WorkspacePolicy(max_active_per_role=…).",
            )


def overlapping(claims: list[Claim], resource: str) -> list[Claim]:
    """Those of the claims that overlap a resource."""
    return [claim for claim in claims if resources.overlap(claim.resource, resource)]
