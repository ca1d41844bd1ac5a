"""Exit codes: what they are, which error has which, and the errors that only a command line knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar, Final

from sojourn.errors import SojournError

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
NOTHING_THERE: Final = 3
SIGN_IN_NEEDED: Final = 4
OVER: Final = 5
AMBIGUOUS: Final = 6
CONFLICT: Final = 7
UNREACHABLE: Final = 69
UNSAFE: Final = 77
CONFIGURATION: Final = 78
INTERRUPTED: Final = 130

MEANINGS: Final[Mapping[int, str]] = MappingProxyType(
    {
        OK: "fine",
        FAILED: "error",
        USAGE: "the command was used wrongly",
        NOTHING_THERE: "nothing there",
        SIGN_IN_NEEDED: "sign-in needed",
        OVER: "expired or ended",
        AMBIGUOUS: "ambiguous",
        CONFLICT: "conflict",
        UNREACHABLE: "the engine cannot be reached",
        UNSAFE: "refused because it is unsafe",
        CONFIGURATION: "configuration",
        INTERRUPTED: "interrupted",
    }
)

EXIT_CODES: Final[Mapping[str, int]] = MappingProxyType(
    {
        # sojourn.errors
        "error": FAILED,
        "session.not_found": NOTHING_THERE,
        "session.expired": OVER,
        "session.ended": OVER,
        "conflict": CONFLICT,
        "name.taken": CONFLICT,
        "key.reused": CONFLICT,
        "lease.held": CONFLICT,
        "lease.lost": CONFLICT,
        "value.invalid": USAGE,
        "name.invalid": USAGE,
        "cursor.invalid": USAGE,
        "limit": FAILED,
        "engine": FAILED,
        "engine.unavailable": UNREACHABLE,
        "engine.outcome_unknown": FAILED,  # not 69: a script that simply tries again would do it twice
        "engine.full": FAILED,
        "engine.read_only": CONFIGURATION,
        "engine.corrupt": FAILED,
        "engine.schema": CONFIGURATION,
        "engine.unsupported": CONFIGURATION,
        "engine.closed": FAILED,
        "fold.summariser": FAILED,
        # workspaces and projects
        "session.ambiguous": AMBIGUOUS,
        "workspace.none": NOTHING_THERE,
        "pointer.orphan": NOTHING_THERE,
        "pointer.held": CONFLICT,
        "pointer.failed": FAILED,
        "role.unknown": USAGE,
        "role.in_use": CONFLICT,
        "project.none": NOTHING_THERE,
        "project.unsafe": UNSAFE,
        "project.copied": CONFIGURATION,
        "game.full": CONFLICT,
        "login.binding": CONFLICT,
        "login.stale": SIGN_IN_NEEDED,
        # the command line's own, below
        "usage": USAGE,
        "confirmation.needed": USAGE,
        "confirmation.declined": FAILED,
        "id.ambiguous": AMBIGUOUS,
        "engine.missing": NOTHING_THERE,
        "file.missing": NOTHING_THERE,
        "file.exists": CONFLICT,
        "engine.in_use": CONFLICT,
        "unsafe": UNSAFE,
        "package.missing": CONFIGURATION,
        "narrator": FAILED,
        "system": FAILED,
        "internal": FAILED,
        "interrupted": INTERRUPTED,
    }
)
"""Every code an error can have; a test sees that none is missing."""


class CommandError(SojournError):
    """What only the command line says."""


class UsageError(CommandError):
    """The command cannot be read as it was typed."""

    code: ClassVar[str] = "usage"


class UnconfirmedError(CommandError):
    """Something would be removed, nobody said yes, and there is nobody to ask."""

    code: ClassVar[str] = "confirmation.needed"


class DeclinedError(CommandError):
    """The answer to a question was no."""

    code: ClassVar[str] = "confirmation.declined"


class AmbiguousError(CommandError):
    """The end of an id fits several sessions, which ``candidates`` lists."""

    code: ClassVar[str] = "id.ambiguous"

    def __init__(self, message: str, *, hint: str = "", candidates: Sequence[str] = ()) -> None:
        super().__init__(message, hint=hint)
        self.candidates: list[str] = list(candidates)


class MissingStoreError(CommandError):
    """There is no store where this command looks for one."""

    code: ClassVar[str] = "engine.missing"


class MissingFileError(CommandError):
    """A file that was named does not exist."""

    code: ClassVar[str] = "file.missing"


class FileExistsAlreadyError(CommandError):
    """A file would be overwritten by itself."""

    code: ClassVar[str] = "file.exists"


class StoreInUseError(CommandError):
    """Another process has the store open."""

    code: ClassVar[str] = "engine.in_use"


class UnsafeError(CommandError):
    """It would be open to others without a secret that keeps them out."""

    code: ClassVar[str] = "unsafe"


class MissingPackageError(CommandError):
    """An optional package is needed for this."""

    code: ClassVar[str] = "package.missing"


class NarratorFault(CommandError):  # noqa: N818  # it is the narrator's
    """What tells the story of ``game play`` failed, or gave something else than a story."""

    code: ClassVar[str] = "narrator"


class SystemFault(CommandError):  # noqa: N818  # SystemError is Python's
    """The operating system refused something."""

    code: ClassVar[str] = "system"


class Mistake(CommandError):  # noqa: N818  # it is nobody's but ours
    """Something that the command line did not expect: where it happened is told with it."""

    code: ClassVar[str] = "internal"

    def __init__(self, error: Exception) -> None:
        from traceback import format_exception

        super().__init__(f"{type(error).__name__}: {error}", hint="This is a mistake in Sojourn; please report it, with this:")
        self.trace: str = "".join(format_exception(error))


def exit_code(error: SojournError) -> int:
    """What the process answers with after this error."""
    return EXIT_CODES.get(error.code, FAILED)
