"""What callers see of a context: frozen values, times as aware datetimes."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from sojourn.core.codec import Json, check_number
from sojourn.errors import InvalidValueError


@dataclass(frozen=True, slots=True)
class Context:
    """A named body of work as of one read."""

    id: str
    name: str
    scope: str
    """What its name is unique in: a project, a user, or ``default``."""
    created_at: datetime
    updated_at: datetime
    active: bool
    """It is the active one of its scope."""
    resumed_at: datetime | None
    """When it was made the active one, the last time."""
    ended_at: datetime | None
    """When it stopped being the active one, the last time."""
    artifact_count: int
    bytes: int
    """Of the contents of all its artifacts, in UTF-8."""
    metadata: dict[str, Json]
    branched_from: str | None = None
    """The id of the context that it shares its beginning with."""
    version: int = 0
    """Moved by every commit."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """One thing that was gathered."""

    sequence: int
    """Its number in the context, from 1; the only order there is."""
    kind: str
    """``file``, ``result``, ``note``, ``prompt``, ``diff`` or a kind of the application's own."""
    content: str
    digest: str
    """The SHA-256 of the content's UTF-8, in hexadecimal: equal for equal contents."""
    created_at: datetime
    metadata: dict[str, Json] = field(default_factory=dict)
    pinned: bool = False
    """An assembly takes it first."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An artifact that an assembly has not taken, and why."""

    sequence: int
    kind: str
    tokens: int
    reason: Literal["budget", "duplicate"]
    """``budget``: it does not fit in what was left. ``duplicate``: its content is in already."""


@dataclass(frozen=True, slots=True)
class Assembly:
    """The artifacts that fit a budget: pinned ones first, each group in order."""

    artifacts: tuple[Artifact, ...]
    tokens: int
    budget: int
    left_out: tuple[LeftOut, ...] = ()
    """In order."""

    def as_text(self) -> str:
        """All of it as a model can be given it: a heading ``[sequence kind]`` over each content."""
        return "\n\n".join(f"[{item.sequence} {item.kind}]\n{item.content}" for item in self.artifacts)


@dataclass(frozen=True, slots=True)
class ArtifactHit:
    """An artifact that a search found."""

    context_id: str
    name: str
    artifact: Artifact
    snippet: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ContextPolicy:
    """How contexts keep and search what they gather. None in a limit means there is none."""

    inline: int = 4096
    """Contents up to this many bytes are kept with their artifact; longer ones once for each scope, by digest."""
    search: Literal["off", "commit", "deferred"] = "deferred"
    """When artifacts are indexed: never, with the add, or in the background (a search looks through the rest)."""
    max_content: int | None = 16_000_000
    """Bytes of one artifact's content."""
    max_metadata: int | None = 256_000
    """Bytes of metadata, of an artifact or a context, as JSON."""

    def __post_init__(self) -> None:
        for limit in ("inline", "max_content", "max_metadata"):
            if limit == "inline" or getattr(self, limit) is not None:
                check_number(getattr(self, limit), limit)
        if self.search not in ("off", "commit", "deferred"):
            raise InvalidValueError(f"search must be one of off, commit, deferred, got {self.search!r}.")
