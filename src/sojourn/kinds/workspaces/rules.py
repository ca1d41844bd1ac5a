"""The rules of workspaces: what is valid, what state a session is in, and what a commit must change. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final, cast

from sojourn.core.batch import Answer, Create, Deadline, Guard, Path, Touch, Write
from sojourn.core.codec import Json, Schema, check_key, check_text, encode
from sojourn.core.ids import id_of
from sojourn.core.names import validate_name
from sojourn.core.session import AliasKey, Session, State
from sojourn.core.times import SECOND, maybe_datetime, span, to_datetime
from sojourn.errors import InvalidNameError, InvalidValueError, LimitError
from sojourn.kinds.workspaces import standing
from sojourn.kinds.workspaces.model import Workspace, WorkspacePolicy
from sojourn.kinds.workspaces.standing import WorkspaceState

KIND: Final = "workspace"
SCHEMA: Final = Schema(1)
BUCKET: Final = SECOND
NAME: Final = "workspace.name"

BUILTIN: Final = ("architect", "implementer", "monitor")
MISSED: Final = 3
"""A holder that has missed so many heartbeats is lost."""
TAIL: Final = 4
"""The shortest tail of an id that is a reference."""
LONGEST_REASON: Final = 1024
_ROLE: Final = re.compile(r"[a-z][a-z0-9_]*")


# -- what comes in -----------------------------------------------------------------------------------------------------


def check_project(project: object) -> str:
    """A project's id."""
    return check_key(project, "project_id", 128)


def check_role(role: object) -> str:
    """A role's name: 2–64 of a-z, 0-9 and underscores, beginning with a letter."""
    if not isinstance(role, str):
        raise InvalidNameError(f"a role must be text, not {type(role).__name__}.")
    if not 2 <= len(role) <= 64:
        raise InvalidNameError(f"a role has 2 to 64 characters, {role[:80]!r} has {len(role)}.")
    if not _ROLE.fullmatch(role):
        raise InvalidNameError(f"a role has a-z, 0-9 and underscores, and begins with a letter: {role!r}.")
    return role


def check_metadata(metadata: object, policy: WorkspacePolicy) -> dict[str, Json]:
    """A JSON object within the policy's limit; none for None."""
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping):
        raise InvalidValueError(f"metadata must be a JSON object (dict), not {type(metadata).__name__}.")
    plain = dict(metadata)
    encode(plain, "metadata", policy.max_metadata)
    return plain


def patch(
    changes: object, unset: object, current: Mapping[str, Json], policy: WorkspacePolicy
) -> tuple[tuple[tuple[Path, Json], ...], tuple[Path, ...]]:
    """Metadata changes per key, checked against the size the whole would have."""
    given = check_metadata(changes, policy)
    if isinstance(unset, str) or not isinstance(unset, Iterable):
        raise InvalidValueError(f"unset must be a list of keys, got {unset!r}.")
    gone = [check_text(key, "unset key") for key in unset]
    merged = {key: value for key, value in {**current, **given}.items() if key not in gone}
    size = len(encode(merged, "metadata").encode())
    if policy.max_metadata is not None and size > policy.max_metadata:
        raise LimitError(f"metadata would be {size:,} bytes; the limit is {policy.max_metadata:,}.")
    put = tuple((("metadata", key), value) for key, value in given.items() if key not in gone)
    return put, tuple(("metadata", key) for key in gone)


@dataclass(frozen=True, slots=True)
class NewWorkspace:
    """A session that was asked for, checked. ``name`` is empty when one is to be generated."""

    role: str
    name: str
    actor: str | None
    metadata: dict[str, Json]
    system: bool

    @property
    def asked(self) -> tuple[Json, ...]:
        """What tells one request from another under an operation id."""
        return self.role, self.name, self.actor, self.metadata, self.system


def new_workspace(
    policy: WorkspacePolicy, role: object, name: object = "", actor: object = None, metadata: object = None, *, system: bool
) -> NewWorkspace:
    """Check everything before anything is asked of the engine."""
    label = "" if name == "" or name is None else validate_name(name)
    by = None if actor is None else check_key(actor, "actor")
    return NewWorkspace(check_role(role), label, by, check_metadata(metadata, policy), system)


# -- what goes out -----------------------------------------------------------------------------------------------------


def data_of(session: Session) -> dict[str, Json]:
    """The document of a session at this release's version."""
    return SCHEMA.read(session.data)


def time_of(session: Session, now: int) -> int:
    """The session's own time: never behind what a commit to it has seen."""
    return max(now, session.mark)


def is_open(session: Session, now: int) -> bool:
    """Whether it is neither ended nor expired, swept or not."""
    return standing.is_open(session.state, session.deadline, time_of(session, now))


def hold_of(session: Session) -> Mapping[str, Json] | None:
    """Who holds a session: ``host`` and ``ttl``; None when nobody said so."""
    return cast("Mapping[str, Json] | None", data_of(session).get("hold"))


def hold_ttl(session: Session) -> int | None:
    """How long its holder may be silent; None when it has none."""
    hold = hold_of(session)
    return None if hold is None else int(hold["ttl"])


def is_lost(session: Session, now: int, gripped: bool | None) -> bool:
    """Whether the process that held it is gone. ``gripped``: what its host says, None elsewhere."""
    return standing.is_lost(session.active_at, hold_ttl(session), time_of(session, now), gripped)


def state_of(session: Session, now: int, policy: WorkspacePolicy, gripped: bool | None) -> WorkspaceState:
    """The state that the record and the time give."""
    return standing.state_of(
        session.state,
        session.active_at,
        session.deadline,
        time_of(session, now),
        hold_ttl=hold_ttl(session),
        gripped=gripped,
        idle_after=None if policy.idle_after is None else span(policy.idle_after),
    )


def workspace_of(session: Session, now: int, policy: WorkspacePolicy, gripped: bool | None) -> Workspace:
    """What callers see of a session."""
    data, state = data_of(session), state_of(session, now, policy, gripped)
    return Workspace(
        id=session.id,
        role=data["role"],
        base_role=data["base"],
        name=data["name"],
        system=bool(data.get("system")),
        project_id=session.home,
        state=state,
        created_at=to_datetime(session.created_at),
        last_activity_at=to_datetime(session.active_at),
        expires_at=maybe_datetime(session.deadline),
        ended_at=maybe_datetime(standing.over_at(state, session.deadline, session.ended_at)),
        end_reason=data.get("end_reason", ""),
        actor=data.get("actor"),
        held=state in ("active", "idle") and "hold" in data,
        metadata=data.get("metadata", {}),
        version=session.version,
    )


# -- where things are found --------------------------------------------------------------------------------------------


def name_key(project: str, name: str) -> AliasKey:
    """Where a name lives. It is taken while it leads to a session that is neither ended nor expired, and has it.

    So nothing has to free a name, and nobody can free another's: it moves only when somebody takes it.
    """
    return AliasKey(project, NAME, encode([project, name]))


def has_name(session: Session, key: AliasKey) -> bool:
    """Whether a session that was not ended still has the name that led to it."""
    return session.kind == KIND and session.state == "active" and name_key(session.home, data_of(session)["name"]) == key


def project_tag(project: str) -> str:
    """The tag of every session of a project."""
    return f"project:{project}"


def role_tag(project: str, role: str) -> str:
    """The tag of every session of a role."""
    return encode(["role", project, role])


def tail_tag(project: str, tail: str) -> str:
    """The tag by which a session is found from the tail of its id."""
    return encode(["tail", project, tail[-TAIL:]])


def past_name_tag(project: str, name: str) -> str:
    """The tag of every session that has or had a name."""
    return encode(["name", project, name])


# -- changes -----------------------------------------------------------------------------------------------------------


def document(new: NewWorkspace, base: str, name: str) -> dict[str, Json]:
    """The document of a new session."""
    made: dict[str, Json] = {"v": SCHEMA.version, "role": new.role, "base": base, "name": name}
    if new.system:
        made["system"] = True
    if new.actor is not None:
        made["actor"] = new.actor
    if new.metadata:
        made["metadata"] = new.metadata
    return made


def stale(policy: WorkspacePolicy) -> Deadline | None:
    """When a session that is used now goes stale."""
    return None if policy.stale_after is None else Deadline(after=span(policy.stale_after))


def create(
    session: str,
    project: str,
    new: NewWorkspace,
    base: str,
    name: str,
    deadline: Deadline | None,
    *,
    state: State = "active",
    created_at: int | None = None,
    active_at: int | None = None,
    ended_at: int | None = None,
) -> Create:
    """A new session; the times are those of an import."""
    return Create(
        session,
        KIND,
        new.actor,
        state=state,
        data=document(new, base, name),
        tags=(
            project_tag(project),
            role_tag(project, new.role),
            tail_tag(project, session),
            past_name_tag(project, name),
        ),
        deadline=deadline,
        bucket=BUCKET,
        created_at=created_at,
        active_at=active_at,
        ended_at=ended_at,
    )


def made(create: Create, tenant: str, project: str, answer: Answer) -> Session:
    """The session that a commit has made, as it would be read now."""
    (moved, *_), now = answer.moved, answer.now
    return Session(
        tenant=tenant,
        id=create.id,
        kind=KIND,
        home=project,
        owner=create.owner,
        state="active",
        version=moved.version,
        phase=moved.phase,
        created_at=now,
        mark=now,
        active_at=now,
        deadline=moved.deadline,
        ended_at=None,
        last_sequence=0,
        counters={},
        data=create.data,
    )


def after_touch(session: Session, answer: Answer) -> Session:
    """A session that a commit has touched, as it would be read now."""
    moved, now = next(moved for moved in answer.moved if moved.id == session.id), answer.now
    active_at = max(session.active_at, now)
    return replace(session, version=moved.version, mark=now, active_at=active_at, deadline=moved.deadline)


def touched(session: str, policy: WorkspacePolicy, lease: tuple[str, int] | None = None) -> Touch | Write:
    """Something was done in it; refused when it has ended or expired, and under a lease that is not current any more."""
    if lease is None:
        return Touch(session, BUCKET, stale(policy))
    return Write(session, Guard(timely=True, lease=lease), deadline=stale(policy), active=BUCKET, change="touched")


def revived(session: Session, policy: WorkspacePolicy) -> Write:
    """A lost session is back, held by nobody; refused when anybody else changed it."""
    return Write(
        session.id,
        Guard(timely=True, version=session.version),
        unset=(("hold",),),
        deadline=stale(policy),
        active=BUCKET,
        change="resumed",
    )


def ended(session: Session, reason: str) -> Write:
    """It is over, and its name is free."""
    return Write(
        session.id,
        Guard(timely=True, version=session.version),
        set=((("end_reason",), reason),) if reason else (),
        unset=(("hold",),),
        state="ended",
        next_phase=True,
        change="ended",
        reason=reason,
    )


def expired(session: Session, *, due: bool) -> Write:
    """It went stale, and its name is free; with ``due`` only if that is still so inside the commit."""
    return Write(
        session.id,
        Guard(due=due, version=session.version),
        unset=(("hold",),),
        state="archived",
        next_phase=True,
        change="expired",
    )


def renamed(session: Session, name: str, policy: WorkspacePolicy) -> Write:
    """It has another name; the one before stays findable."""
    return Write(
        session.id,
        Guard(timely=True, version=session.version),
        set=((("name",), name),),
        tag=(past_name_tag(session.home, name),),
        deadline=stale(policy),
        active=BUCKET,
        change="renamed",
    )


def updated(
    session: Session,
    put: tuple[tuple[Path, Json], ...],
    gone: tuple[Path, ...],
    policy: WorkspacePolicy,
    lease: tuple[str, int] | None,
) -> Write:
    """Patch the metadata; under a lease only while it is current."""
    guard = Guard(timely=True, lease=lease)
    return Write(session.id, guard, set=put, unset=gone, deadline=stale(policy), active=BUCKET)


def noted(answer: Answer) -> str:
    """The session that an operation id has changed or noted."""
    moved = answer.moved[0]
    return id_of(moved.counters) or moved.id


# -- holding -----------------------------------------------------------------------------------------------------------


def lease_name(session: str) -> str:
    """The lease of whoever holds a session."""
    return f"{KIND}/{session}"


def patience(policy: WorkspacePolicy) -> timedelta:
    """How long a holder that is not heard of counts as there."""
    return policy.heartbeat_every * MISSED


def held_by(session: str, host: str, policy: WorkspacePolicy) -> Write:
    """A process of this host holds it."""
    mark: dict[str, Json] = {"host": host, "ttl": span(patience(policy))}
    return Write(
        session,
        Guard(timely=True),
        set=((("hold",), mark),),
        deadline=stale(policy),
        active=BUCKET,
        change="held",
    )


def let_go(session: str, fence: int) -> Write:
    """Its holder holds it no more; refused when it was not the holder any more."""
    guard = Guard(open=False, lease=(lease_name(session), fence))
    return Write(session, guard, unset=(("hold",),), change="let_go")


# -- documents from elsewhere ------------------------------------------------------------------------------------------


def check_document(data: Mapping[str, Json], counters: Mapping[str, int]) -> None:
    """Refuse a document that this kind could not read back."""
    del counters
    read = SCHEMA.read(dict(data))
    check_role(read["role"])
    validate_name(read["name"])
    if read["base"] not in BUILTIN:
        raise InvalidValueError(f"{read['base']!r} is not a built-in role.")
    if not isinstance(read.get("metadata", {}), dict):
        raise InvalidValueError("the metadata is not a JSON object.")
