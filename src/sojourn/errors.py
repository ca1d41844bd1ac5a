"""The whole error family.

Every error has a stable ``code`` that the command line's exit code and the HTTP problem body reuse, says what was wrong
and what to do next, and keeps the driver's own error in ``__cause__``. Ended, expired and not found are three answers.
"""

from __future__ import annotations

from typing import Any, ClassVar


class SojournError(Exception):
    """Whatever Sojourn raises on purpose.

    ``code`` is stable and machine-readable, ``hint`` says what to do next (may be empty), ``record`` is the session the
    error is about where there is one.
    """

    code: ClassVar[str] = "error"

    def __init__(self, message: str, *, hint: str = "", record: Any = None) -> None:
        super().__init__(f"{message} {hint}".rstrip())
        self.message = message
        self.hint = hint
        self.record = record


class NotFoundError(SojournError, LookupError):
    """There is no such thing in this store and tenant."""

    code = "session.not_found"


class ExpiredError(SojournError):
    """The session's deadline has passed."""

    code = "session.expired"


class EndedError(SojournError):
    """The session was ended or archived: it can be read, not written."""

    code = "session.ended"


class ConflictError(SojournError):
    """Something else was committed first, or another holder has it; nothing of this operation was stored.

    ``version`` and ``phase`` are the session's current ones (None where the conflict is not about a session) and
    ``holder`` names who has the thing that was asked for.
    """

    code = "conflict"

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        record: Any = None,
        version: int | None = None,
        phase: int | None = None,
        holder: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint, record=record)
        self.version = version
        self.phase = phase
        self.holder = holder


class NameTakenError(ConflictError):
    """The name belongs to another session."""

    code = "name.taken"


class KeyReusedError(ConflictError):
    """The operation id (``key=``) was used before, for a different operation or with different arguments."""

    code = "key.reused"


class LeaseHeldError(ConflictError):
    """Somebody else holds the lease; ``holder`` says who."""

    code = "lease.held"


class LeaseLostError(ConflictError):
    """The lease ran out or was taken over: its fencing number is no longer accepted."""

    code = "lease.lost"


class InvalidValueError(SojournError, ValueError):
    """An argument has the wrong type, shape or range."""

    code = "value.invalid"


class InvalidNameError(InvalidValueError):
    """A name breaks one of the rules for names; the message says which."""

    code = "name.invalid"


class InvalidCursorError(InvalidValueError):
    """A page or event cursor that this store did not give out."""

    code = "cursor.invalid"


class LimitError(SojournError):
    """Something is larger, or more, than a policy allows; nothing was stored."""

    code = "limit"


class EngineError(SojournError):
    """The place where sessions are kept answered with a fault."""

    code = "engine"


class UnavailableError(EngineError):
    """The engine cannot be reached or is too busy. Nothing was done: the operation may be retried."""

    code = "engine.unavailable"


class OutcomeUnknownError(EngineError):
    """The commit may or may not have happened. Ask again with the same ``key`` to find out.

    ``key`` is the operation id to ask with (None when the operation carried none).
    """

    code = "engine.outcome_unknown"

    def __init__(self, message: str, *, hint: str = "", record: Any = None, key: str | None = None) -> None:
        super().__init__(message, hint=hint, record=record)
        self.key = key


class FullError(EngineError):
    """There is no room left on the disk, or a quota is exhausted. Nothing was done."""

    code = "engine.full"


class GameFullError(FullError):
    """Every seat of the game is taken. Nothing was done."""

    code = "game.full"


class ReadOnlyError(EngineError):
    """The store can be read but not written."""

    code = "engine.read_only"


class CorruptError(EngineError):
    """What is stored cannot be understood: not a store, or a damaged one."""

    code = "engine.corrupt"


class SchemaError(EngineError):
    """The store was written by another release: older (run ``sojourn migrate``) or newer (upgrade Sojourn)."""

    code = "engine.schema"


class UnsupportedError(EngineError):
    """This engine, or this store's settings, cannot do that; ``store.capabilities`` says what it can."""

    code = "engine.unsupported"


class ClosedError(EngineError):
    """The store was closed."""

    code = "engine.closed"


class SummariserError(SojournError):
    """The summariser failed or returned something unusable; nothing was folded. The cause is in ``__cause__``."""

    code = "fold.summariser"


class AmbiguousError(SojournError, LookupError):
    """A reference fits several sessions; ``candidates`` are those."""

    code = "session.ambiguous"

    def __init__(self, message: str, *, hint: str = "", record: Any = None, candidates: tuple[Any, ...] = ()) -> None:
        super().__init__(message, hint=hint, record=record)
        self.candidates = candidates


class NoSessionError(NotFoundError):
    """Nobody is at work here: no session was named, and no pointer names one."""

    code = "workspace.none"


class OrphanPointerError(NotFoundError):
    """A pointer names a session that this store does not have."""

    code = "pointer.orphan"


class PointerHeldError(ConflictError):
    """The project's pointer names somebody else's live session, which is not displaced unasked; ``record`` is that session."""

    code = "pointer.held"


class PointerError(SojournError):
    """A pointer file could not be read, written or removed. The system's error is in ``__cause__``."""

    code = "pointer.failed"


class UnknownRoleError(InvalidValueError):
    """The project has no such role."""

    code = "role.unknown"


class RoleInUseError(ConflictError):
    """Sessions have this role."""

    code = "role.in_use"


class NoProjectError(NotFoundError):
    """The working directory is in no project."""

    code = "project.none"


class UnsafeProjectError(SojournError):
    """The project's directory belongs to somebody else, or anybody may write in it."""

    code = "project.unsafe"


class CopiedProjectError(SojournError):
    """The working directory is a copy of another project: two directories say that they are the same one."""

    code = "project.copied"


class BindingError(SojournError):
    """A login, a character and a world that do not go together: somebody else's character, another world, or half of both."""

    code = "login.binding"


class StaleAuthenticationError(SojournError):
    """The user proved who they are too long ago for this: let them do it again, then ``step_up`` or ``rotate``."""

    code = "login.stale"
