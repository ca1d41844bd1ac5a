"""A batch: everything that one commit changes, in one home, as pure data that every engine can carry out.

A commit decides in this order: the operation id (asked before? then the first answer, and nothing is stored), then each
change with its guards in turn. The first guard that does not hold refuses the whole batch; nothing of it is stored.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from sojourn.core.codec import Json
from sojourn.core.session import Alias, AliasKey, LeaseState, Session, State

Path: TypeAlias = tuple[str, ...]
"""Keys into a JSON object, outermost first; missing objects on the way are made."""

Search: TypeAlias = Literal["off", "commit", "deferred"]

Reason: TypeAlias = Literal[
    "missing", "present", "ended", "archived", "expired", "early", "version", "phase", "spoken", "epoch", "held", "fence", "key"
]
"""Why a batch was refused: no such session, an id that exists, closed, closed by age, past its deadline, before its
deadline, another version, another phase, an author who spoke in this phase, an alias that moved, a lease somebody holds, a
fencing number that is not the current one, an operation id used for something else."""


@dataclass(frozen=True, slots=True)
class Guard:
    """What must hold of a session inside the commit. That it exists (and is not deleted) is always required."""

    open: bool = True
    """Neither ended nor archived."""
    timely: bool = False
    """Not past its deadline at the engine's time."""
    due: bool = False
    """Past its deadline at the engine's time."""
    version: int | None = None
    phase: int | None = None
    silent: str | None = None
    """An author who has no counted entry in the current phase."""
    lease: tuple[str, int] | None = None
    """Name and fencing number of a lease in the batch's home that must be current and not run out."""
    fence: tuple[str, int] | None = None
    """Name and fencing number of a lease kept elsewhere: refused when the session has seen a higher one, kept as its
    highest (counter ``fence:<name>``) otherwise."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """A new deadline: ``at`` an instant, or ``after`` microseconds from the engine's time; neither clears it."""

    at: int | None = None
    after: int | None = None
    cap: int | None = None
    """Never later than this instant."""
    if_none: bool = False
    """Only when the session has no deadline now."""


@dataclass(frozen=True, slots=True)
class NewEntry:
    """An entry to append; its sequence is given inside the commit."""

    type: str
    label: str = ""
    topic: str = ""
    author: str | None = None
    text: str | None = None
    data: str | None = None
    covers: tuple[int, int] | None = None
    counted: bool = False
    """Counts its author among the distinct authors of the phase (counter ``authors``, zeroed when the phase moves)."""
    created_at: int | None = None
    """When it was first recorded elsewhere (imports); the engine's time otherwise."""
    key: str | None = None
    """The key it had elsewhere (imports); a batch's operation id names the first entry otherwise."""


@dataclass(frozen=True, slots=True)
class Create:
    """A new session; refused as ``present`` when the id exists, deleted or not."""

    id: str
    kind: str
    owner: str | None = None
    state: State = "active"
    data: dict[str, Json] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    deadline: Deadline | None = None
    entries: tuple[NewEntry, ...] = ()
    base: tuple[str, int] | None = None
    """Fork: share the parent's entries up to this sequence; own entries continue after it."""
    bucket: int = 1
    created_at: int | None = None
    active_at: int | None = None
    ended_at: int | None = None
    """When it ended elsewhere (imports), kept once its state says that it has."""
    stamp: tuple[str, ...] = ()
    search: Search = "off"
    change: str = "created"


@dataclass(frozen=True, slots=True)
class Write:
    """Changes to one session: patch its data, move counters, append entries. Moves the version by one."""

    id: str
    guard: Guard = Guard()
    entries: tuple[NewEntry, ...] = ()
    set: tuple[tuple[Path, Json], ...] = ()
    unset: tuple[Path, ...] = ()
    mark: tuple[Path, ...] = ()
    """Places in the data that are set to the sequence of the first appended entry (after ``set``)."""
    add: tuple[tuple[str, int], ...] = ()
    put: tuple[tuple[str, int], ...] = ()
    stamp: tuple[str, ...] = ()
    """Counters that are set to the engine's time."""
    tag: tuple[str, ...] = ()
    untag: tuple[str, ...] = ()
    state: State | None = None
    deadline: Deadline | None = None
    due_above: tuple[str, int] | None = None
    """When this counter ends above this number, the session becomes due now (unless it has an earlier deadline)."""
    next_phase: bool = False
    active: int | None = None
    """Activity now, kept in buckets of this many microseconds; None leaves the activity alone."""
    search: Search = "off"
    change: str = "updated"
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Touch:
    """Activity and deadline forward, never back, of an open session that is not past its deadline. No version, no event."""

    id: str
    bucket: int = 1
    deadline: Deadline | None = None


@dataclass(frozen=True, slots=True)
class Redact:
    """Empty these entries for good, in every session that shares them; their places and sequences stay."""

    id: str
    sequences: tuple[int, ...]
    guard: Guard = Guard(open=False)


@dataclass(frozen=True, slots=True)
class Delete:
    """Make a session invisible at once; aliases of its home that point at it are freed; its rows are purged later."""

    id: str
    guard: Guard = Guard(open=False)


@dataclass(frozen=True, slots=True)
class Point:
    """Move an alias to ``target`` (None frees it) when its epoch is still ``epoch`` (None: whatever it is)."""

    alias: AliasKey
    target: str | None
    epoch: int | None


@dataclass(frozen=True, slots=True)
class Lend:
    """Take a lease (``fence`` None: refused as ``held`` while somebody has it) or renew the one with this fencing number."""

    name: str
    holder: str
    ttl: int
    fence: int | None = None


@dataclass(frozen=True, slots=True)
class Yield:
    """Give a lease back, if its fencing number is still this one; otherwise nothing happens."""

    name: str
    fence: int


Change: TypeAlias = Create | Write | Touch | Redact | Delete | Point | Lend | Yield


@dataclass(frozen=True, slots=True)
class Batch:
    """What one commit changes, in one home of one tenant.

    Every session, alias and lease it names lives in that home. ``home`` may be empty where each change names a session that is
    there by its id, because an id carries its home's bits; then the batch is one append, or has no operation id, deletes
    nothing and has no guard on a lease.

    ``operation`` is the operation id of a caller who may ask again; ``fingerprint`` tells the same request from another
    one under that id (no secrets in it). A batch whose only change appends entries to one session is remembered with its
    first entry, as long as the entry lives; any other with the home, for a day. So an id is known per session for appends
    and per home for everything else: one id used for both kinds of batch is two operations.
    """

    tenant: str
    home: str
    changes: tuple[Change, ...]
    operation: str | None = None
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class Moved:
    """What a commit did to one session; ``first`` and ``last`` are the sequences it appended (0, 0 for none)."""

    id: str
    version: int
    phase: int
    first: int
    last: int
    state: State
    deadline: int | None
    counters: dict[str, int]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why nothing was stored, with what the guard found."""

    reason: Reason
    id: str = ""
    session: Session | None = None
    alias: Alias | None = None
    lease: LeaseState | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of a commit, in the order of its changes."""

    now: int
    refusal: Refusal | None = None
    replayed: bool = False
    moved: tuple[Moved, ...] = ()
    epochs: tuple[int, ...] = ()
    fences: tuple[int, ...] = ()


def only_append(batch: Batch) -> Write | None:
    """The change of a batch that is remembered with its first entry, or None when it is remembered with the home."""
    if len(batch.changes) == 1:
        change = batch.changes[0]
        if type(change) is Write and change.entries:
            return change
    return None
