"""Claims: what a session works on, so that others leave it alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from sojourn.core.batch import Answer, Refusal
from sojourn.core.session import Session
from sojourn.core.times import span, to_datetime
from sojourn.errors import InvalidValueError, LeaseHeldError, LimitError
from sojourn.kinds.workspaces import rules
from sojourn.kinds.workspaces.model import Claim, WorkspacePolicy
from sojourn.kinds.workspaces.project import LAST, UNTIL, Project, overlapping
from sojourn.kinds.workspaces.reader import Reader
from sojourn.shell.unit import Unit, perform

_OVER: Final = ("ended", "archived", "expired")


class Claiming:
    """Claims in the projects of one store and tenant; each is decided against the version of what the project has."""

    def __init__(self, unit: Unit, policy: WorkspacePolicy, reader: Reader) -> None:
        self._unit = unit
        self._policy = policy
        self._reader = reader

    async def claim(
        self, session: Session, resource: str, ttl: timedelta, lease: tuple[str, int] | None, operation: str | None, mark: str
    ) -> Claim:
        """This claim, or its renewal under its number; `LeaseHeldError` while another's overlaps."""

        async def step() -> Claim | Refusal:
            project = await self._reader.project(session.home)
            others, gone = await self._standing(overlapping(project.claims(), resource), session.id)
            _check(resource, others)
            mine = next((one for one in project.claims() if (one.session_id, one.resource) == (session.id, resource)), None)
            if mine is None:
                gone += await self._room(project, gone)
            fence = project.next_fence() if mine is None else mine.fence
            expires_at = max(project.now, session.mark) + span(ttl)
            claim = self._made(session, resource, ttl, fence, expires_at)
            kept = project.with_claim(claim, expires_at, [*gone, *project.run_out()])
            touch = rules.touched(session.id, self._policy, lease)
            # The session first: the project's time may be ahead of the clock, and the session would be as late behind it.
            answer = await self._unit.attempt(session.home, touch, *kept, key=operation, fingerprint=mark)
            if answer.refusal is not None:
                if answer.refusal.id == session.id and answer.refusal.reason in _OVER:
                    raise self._reader.refused(answer.refusal, answer.now)
                return answer.refusal
            return self.asked(session, resource, ttl, answer) if answer.replayed else claim

        return await perform(step, "claim")

    def asked(self, session: Session, resource: str, ttl: timedelta, answer: Answer) -> Claim:
        """The claim that an operation id has made."""
        given = next(moved.counters for moved in answer.moved if UNTIL in moved.counters)
        return self._made(session, resource, ttl, given[LAST], given[UNTIL])

    @staticmethod
    def _made(session: Session, resource: str, ttl: timedelta, fence: int, expires_at: int) -> Claim:
        name: str = rules.data_of(session)["name"]
        return Claim(resource, session.id, name, fence, to_datetime(expires_at), ttl, session.home)

    async def _room(self, project: Project, gone: list[str]) -> list[str]:
        """Where the project has as many claims as it may, those that do not count any more; `LimitError` if all do."""
        most, count = self._policy.max_claims, len(project.claims()) - len(gone)
        if most is None or count < most:
            return []
        _, more = await self._standing(project.claims())
        if len(project.claims()) - len({*gone, *more}) >= most:
            raise LimitError(
                f"the project has {count} claims; the limit is {most}.",
                hint="Release some, claim a directory instead of its files, or raise WorkspacePolicy(max_claims=…).",
            )
        return more

    async def release(self, claim: Claim, operation: str | None, mark: str) -> bool:
        """Give it back; False when it had run out or somebody else has it."""

        async def step() -> bool | Refusal:
            project = await self._reader.project(claim.project_id)
            if project.claim_of(claim) is None:
                return await nothing_to_do(self._unit, project.id, operation, mark)
            without = project.without_claim(claim.resource)
            answer = await self._unit.attempt(project.id, *without, key=operation, fingerprint=mark)
            return answer.refusal or await was_done(answer)

        return await perform(step, "claim")

    async def of(self, project: str, resource: str | None) -> list[Claim]:
        """The claims of sessions that are at work; those that overlap a resource."""
        kept = (await self._reader.project(project)).claims()
        standing, _ = await self._standing(kept if resource is None else overlapping(kept, resource))
        return standing

    async def _standing(self, claims: list[Claim], but: str = "") -> tuple[list[Claim], list[str]]:
        """Those of other sessions that are live, and the resources of those whose session is over or lost."""
        names: dict[str, str] = {}
        standing, gone = [], []
        for claim in claims:
            id = claim.session_id
            if id == but:
                continue
            if id not in names:
                found = await self._reader.find(id)
                live = found.session is not None and self._reader.is_live(found.session, found.now)
                names[id] = rules.data_of(found.session)["name"] if live and found.session is not None else ""
            if names[id]:
                standing.append(replace(claim, name=names[id]))
            else:
                gone.append(claim.resource)
        return standing, gone


def _check(resource: str, others: list[Claim]) -> None:
    """Refuse what somebody else has claimed."""
    for claim in others:
        record: Any = claim
        what = repr(resource) if claim.resource == resource else f"{resource!r} overlaps {claim.resource!r}, which"
        raise LeaseHeldError(
            f"{what} is claimed by {claim.name} ({claim.session_id[-8:]}) until {claim.expires_at:%H:%M:%S} UTC.",
            hint="Work on something else, or wait until it is released.",
            record=record,
            holder=claim.session_id,
        )


def check_claim(claim: object) -> Claim:
    """A claim as `claim` gives it."""
    if not isinstance(claim, Claim):
        raise InvalidValueError(f"claim must be a Claim, not {type(claim).__name__}.", hint="It is what 'claim' gives.")
    return claim


async def nothing_to_do(unit: Unit, home: str, operation: str | None, mark: str) -> bool:
    """Remember that there is nothing to take away; whether a call with the same operation id has just taken it."""
    return operation is not None and await was_done(await unit.commit(home, key=operation, fingerprint=mark))


async def was_done(before: Answer) -> bool:
    """Whether the call that an operation id has answered had something to take away."""
    return bool(before.moved)
