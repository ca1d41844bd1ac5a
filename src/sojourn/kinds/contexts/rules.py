"""The rules of contexts: what is valid, and what a commit must change. Pure: no clock, no I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Final
from unicodedata import category

from sojourn.core.batch import Create, Deadline, Guard, NewEntry, Path, Point, Write
from sojourn.core.codec import Json, Schema, check_key, check_text, decode, encode
from sojourn.core.session import Alias, AliasKey, Entry, Session
from sojourn.core.times import SECOND, maybe_datetime, to_datetime
from sojourn.errors import InvalidNameError, InvalidValueError, LimitError, NameTakenError, NotFoundError
from sojourn.kinds.contexts.model import Artifact, Context, ContextPolicy

KIND: Final = "context"
CONTENT: Final = "content"
"""The kind of the hidden sessions that keep one large content each."""
SCHEMA: Final = Schema(1)
BUCKET: Final = SECOND

ARTIFACT: Final = "artifact"
"""An entry that has its content."""
STORED: Final = "stored"
"""An entry whose content is kept once for the scope: its label is the digest, its data names the session that has it."""
ENTRIES: Final = (ARTIFACT, STORED)

NAME: Final = "context.name"
ACTIVE: Final = "context.active"
BY_DIGEST: Final = "context.content"

DEFAULT_SCOPE: Final = "default"
LONGEST_NAME: Final = 128
_REFUSED: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Control characters, halves of surrogate pairs, line and paragraph separators."""


# -- what comes in -----------------------------------------------------------------------------------------------------


def check_scope(scope: object) -> str:
    """A scope; the default one for None."""
    return DEFAULT_SCOPE if scope is None else check_key(scope, "scope")


def check_name(name: object) -> str:
    """A context's name, without blanks around it."""
    if not isinstance(name, str):
        raise InvalidNameError(f"a context's name must be text, not {type(name).__name__}.")
    wrong = next((character for character in name if category(character) in _REFUSED), None)
    if wrong is not None:
        raise InvalidNameError(f"a context's name must not have the character {wrong!r}: {name[:200]!r}.")
    trimmed = name.strip()
    if not trimmed:
        raise InvalidNameError("a context's name must not be empty.", hint=f"Use 1 to {LONGEST_NAME} characters.")
    if len(trimmed) > LONGEST_NAME:
        raise InvalidNameError(f"a context's name has at most {LONGEST_NAME} characters, this one has {len(trimmed)}.")
    return trimmed


def check_kind(kind: object) -> str:
    """A kind of artifact: 1–64 printable characters."""
    if isinstance(kind, str) and 0 < len(kind) <= 64 and kind.isprintable() and kind.strip() == kind:
        return check_text(kind, "kind")
    raise InvalidValueError(
        f"kind must be text of 1 to 64 printable characters, got {kind!r}.",
        hint="Usual kinds: file, result, note, prompt, diff.",
    )


def check_kinds(kinds: object) -> tuple[str, ...]:
    """A list of kinds."""
    if isinstance(kinds, str) or not isinstance(kinds, Iterable):
        raise InvalidValueError(f"kinds must be a list of kinds, got {kinds!r}.", hint=f"Did you mean [{kinds!r}]?")
    return tuple(map(check_kind, kinds))


def check_metadata(metadata: object, policy: ContextPolicy) -> dict[str, Json]:
    """A JSON object within the policy's limit; none for None."""
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping):
        raise InvalidValueError(f"metadata must be a JSON object (dict), not {type(metadata).__name__}.")
    plain = dict(metadata)
    encode(plain, "metadata", policy.max_metadata)
    return plain


@dataclass(frozen=True, slots=True)
class NewArtifact:
    """An artifact that was asked for, checked."""

    kind: str
    content: str
    digest: str
    size: int
    metadata: dict[str, Json]
    large: bool

    def entry(self, stored_in: str | None = None, *, key: str | None = None, created_at: int | None = None) -> NewEntry:
        """As it goes into the log: with its content, or with the id of the session that keeps it."""
        more: dict[str, Json] = {"metadata": self.metadata} if self.metadata else {}
        if stored_in is None:
            data = encode(more, "artifact") if more else None
            return NewEntry(ARTIFACT, "", self.kind, None, self.content, data, key=key, created_at=created_at)
        data = encode({"content": stored_in, "bytes": self.size, **more}, "artifact")
        return NewEntry(STORED, self.digest, self.kind, None, None, data, key=key, created_at=created_at)

    @property
    def tags(self) -> tuple[str, ...]:
        """How its context is found from its content."""
        return (tag_of(self.digest),) if self.large else ()


def new_artifact(policy: ContextPolicy, kind: object, content: object, metadata: object) -> NewArtifact:
    """Check everything before anything is queued."""
    label = check_kind(kind)
    text = check_text(content, "content", policy.max_content)
    kept = check_metadata(metadata, policy)
    raw = text.encode()
    return NewArtifact(label, text, sha256(raw).hexdigest(), len(raw), kept, len(raw) > policy.inline)


def patch(
    changes: object, unset: object, current: Mapping[str, Json], policy: ContextPolicy
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


# -- what goes out -----------------------------------------------------------------------------------------------------


def data_of(session: Session) -> dict[str, Json]:
    """The document of a session at this release's version."""
    return SCHEMA.read(session.data)


def context_of(session: Session, active: str | None) -> Context:
    """What callers see of a session; ``active`` is the id of the active one of its scope."""
    data, counters = data_of(session), session.counters
    return Context(
        session.id,
        data["name"],
        session.home,
        to_datetime(session.created_at),
        to_datetime(session.active_at),
        session.id == active and session.state == "active",
        maybe_datetime(counters.get("resumed_at")),
        maybe_datetime(counters.get("ended_at")),
        counters.get("artifacts", 0),
        counters.get("bytes", 0),
        data.get("metadata", {}),
        data.get("branched_from"),
        session.version,
    )


def artifact_of(entry: Entry, content: str, pinned: Mapping[str, Json]) -> Artifact:
    """The artifact that an entry and its content make."""
    more = {} if entry.data is None else decode(entry.data, f"artifact {entry.sequence}")
    digest = entry.label or sha256(content.encode()).hexdigest()
    metadata = more.get("metadata", {})
    at = to_datetime(entry.created_at)
    return Artifact(entry.sequence, entry.topic, content, digest, at, metadata, str(entry.sequence) in pinned)


def pins_of(session: Session) -> Mapping[str, Json]:
    """The pinned sequences of a session, as text."""
    pinned: Mapping[str, Json] = data_of(session).get("pinned", {})
    return pinned


def stored_in(entry: Entry) -> str | None:
    """The session that keeps an entry's content; None when the entry has it."""
    if entry.type != STORED or entry.data is None:
        return None
    found: str = decode(entry.data, f"artifact {entry.sequence}")["content"]
    return found


def size_of(entry: Entry) -> int:
    """The bytes of an artifact's content."""
    if entry.type != STORED or entry.data is None:
        return len((entry.text or "").encode())
    return int(decode(entry.data, f"artifact {entry.sequence}")["bytes"])


def is_kept(session: Session) -> bool:
    """Whether it was deleted with ``purge=False``: it has no name, and its artifacts are read by its id."""
    return bool(session.counters.get("kept"))


# -- names -------------------------------------------------------------------------------------------------------------


def name_key(scope: str, name: str) -> AliasKey:
    """Where a name lives (JSON, so that no separator can be forged)."""
    return AliasKey(scope, NAME, encode([scope, name]))


def active_key(scope: str) -> AliasKey:
    """Where a scope's active one is named."""
    return AliasKey(scope, ACTIVE, scope)


def content_key(scope: str, digest: str) -> AliasKey:
    """Where a large content of a scope is found."""
    return AliasKey(scope, BY_DIGEST, encode([scope, digest]))


def tag_of(digest: str) -> str:
    """The tag of contexts that use a large content."""
    return f"content:{digest}"


def taken(name: str, alias: Alias) -> NameTakenError:
    """The name is another context's."""
    hint = "Choose another name, or pass exist_ok=True to create()."
    return NameTakenError(f"there is a context {name!r} already.", hint=hint, holder=alias.target)


def nameless(name: str, scope: str) -> NotFoundError:
    """There is no context of that name."""
    return NotFoundError(f"there is no context {name!r} in scope {scope!r}.", hint="Check the name and the scope.")


# -- changes -----------------------------------------------------------------------------------------------------------


def document(name: str, metadata: Mapping[str, Json], **more: Json) -> dict[str, Json]:
    """The document of a new context."""
    made: dict[str, Json] = {"v": SCHEMA.version, "name": name, **more}
    if metadata:
        made["metadata"] = dict(metadata)
    return made


def create(session: str, scope: str, data: dict[str, Json]) -> Create:
    """A new context without artifacts."""
    return Create(session, KIND, scope, data=data, counters={"artifacts": 0, "bytes": 0}, bucket=BUCKET)


def create_with(session: str, scope: str, name: str, new: NewArtifact, entry: NewEntry, policy: ContextPolicy) -> Create:
    """A new context with its first artifact."""
    return Create(
        session,
        KIND,
        scope,
        data=document(name, {}),
        counters={"artifacts": 1, "bytes": new.size},
        tags=new.tags,
        entries=(entry,),
        bucket=BUCKET,
        search=policy.search,
    )


def add(session: str, phase: int, new: NewArtifact, entry: NewEntry, policy: ContextPolicy) -> Write:
    """Append an artifact, if the name that led to the session is still its own (a rename or a delete moves the phase)."""
    return Write(
        session,
        Guard(phase=phase),
        (entry,),
        add=(("artifacts", 1), ("bytes", new.size)),
        tag=new.tags,
        active=BUCKET,
        search=policy.search,
        change="added",
    )


def activate(session: Session, alias: Alias, displaced: Session | None) -> tuple[Point | Write, ...]:
    """Make it the active one of its scope, in place of the one that is."""
    moved = Write(session.id, Guard(phase=session.phase), stamp=("resumed_at",), active=BUCKET, change="activated")
    point = Point(alias.key, session.id, alias.epoch)
    if displaced is None or displaced.id == session.id:
        return moved, point
    return moved, point, deactivated(displaced.id)


def deactivated(session: str) -> Write:
    """It is not the active one any more."""
    return Write(session, Guard(open=False), stamp=("ended_at",), active=BUCKET, change="deactivated")


def keep(session: Session, *, active: bool) -> Write:
    """Close a context that loses its name and keeps its artifacts; refused when it was made active since it was read."""
    return Write(
        session.id,
        Guard(open=False, version=session.version),
        state="ended",
        put=(("kept", 1),),
        stamp=("ended_at",) if active else (),
        next_phase=True,
        change="kept",
    )


def renamed(session: Session, new: str) -> Write:
    """Its name is another one; the phase moves, so that nothing that was sent to the old name arrives here."""
    return Write(
        session.id,
        Guard(open=False, phase=session.phase),
        set=((("name",), new),),
        next_phase=True,
        active=BUCKET,
        change="renamed",
    )


def updated(session: Session, put: tuple[tuple[Path, Json], ...], gone: tuple[Path, ...]) -> Write:
    """Patch the metadata."""
    return Write(session.id, Guard(open=False, phase=session.phase), set=put, unset=gone, active=BUCKET)


def pinned(session: Session, sequence: int, *, on: bool) -> Write:
    """Take an artifact first, or no more; pins of different artifacts never lose one another."""
    place = ("pinned", str(sequence))
    return Write(
        session.id,
        Guard(open=False, phase=session.phase),
        set=((place, True),) if on else (),
        unset=() if on else (place,),
        active=BUCKET,
        change="pinned" if on else "unpinned",
    )


def branch(session: Session, made: str, new: str, at: int, counters: dict[str, int], shared: Iterable[Entry]) -> Create:
    """A context that shares the log of another up to ``at``."""
    data = data_of(session)
    pins = {place: True for place in data.get("pinned", {}) if int(place) <= at}
    return Create(
        made,
        KIND,
        session.owner,
        data=document(new, data.get("metadata", {}), pinned=pins, branched_from=session.id),
        counters=counters,
        tags=tuple({tag_of(entry.label): None for entry in shared}),
        base=(session.id, at),
        bucket=BUCKET,
        change="branched",
    )


# -- large contents ----------------------------------------------------------------------------------------------------


def new_content(session: str, scope: str, new: NewArtifact, policy: ContextPolicy, uses: int = 1) -> Create:
    """Keep a content; counter ``free`` is the number of its uses below zero."""
    return Create(
        session,
        CONTENT,
        scope,
        data={"v": SCHEMA.version, "digest": new.digest, "bytes": new.size},
        counters={"free": -uses},
        entries=(NewEntry(CONTENT, text=new.content),),
        bucket=BUCKET,
        search=policy.search,
    )


def use_content(session: str, uses: int = 1) -> Write:
    """Count more uses; it is not due any more."""
    return Write(session, add=(("free", -uses),), deadline=Deadline())


def release_content(session: str, uses: int) -> Write:
    """Count fewer uses; without any it becomes due, so that a sweep removes what its last user could not."""
    return Write(session, Guard(open=False), add=(("free", uses),), due_above=("free", -1))


def uses_of(entries: Iterable[Entry]) -> Counter[str]:
    """How often these entries use each large content, by the session that keeps it."""
    return Counter(found for found in map(stored_in, entries) if found is not None)


def is_free(counters: Mapping[str, int]) -> bool:
    """Whether nobody uses a large content."""
    return counters.get("free", 0) >= 0


# -- places ------------------------------------------------------------------------------------------------------------


def check_sequence(session: Session, sequence: object) -> int:
    """A sequence that the context has."""
    if not isinstance(sequence, int) or isinstance(sequence, bool) or not 1 <= sequence <= session.last_sequence:
        raise NotFoundError(
            f"there is no artifact {sequence!r} in context {data_of(session)['name']!r}.",
            hint=f"It has 1 to {session.last_sequence}." if session.last_sequence else "It has none.",
        )
    return sequence
