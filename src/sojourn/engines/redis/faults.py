"""What went wrong between here and the server, as Sojourn's errors."""

from __future__ import annotations

from redis import exceptions as driver

from sojourn.errors import (
    CorruptError,
    EngineError,
    FullError,
    InvalidValueError,
    LimitError,
    OutcomeUnknownError,
    ReadOnlyError,
    SojournError,
    UnavailableError,
)


class Unsent(Exception):  # noqa: N818 - a value between driver and engine, never seen outside
    """No connection could be had: the server has not seen the command."""


class Unanswered(Exception):  # noqa: N818
    """The connection broke after the command was sent."""


def translate(error: Exception, where: str, *, writing: bool, key: str | None = None) -> SojournError:
    """The Sojourn error for ``error``; the caller raises it from the driver's."""
    if isinstance(error, Unsent) and isinstance(error.__cause__, driver.AuthenticationError | driver.BusyLoadingError):
        error = error.__cause__  # the server was reached, and said why it would not have us
    match error:
        case Unanswered() if writing:
            return OutcomeUnknownError(
                f"{where} did not answer: {_reason(error)}.",
                hint="It may have been stored or not: ask again with the same key.",
                key=key,
            )
        case Unsent() | Unanswered():
            return UnavailableError(f"{where} cannot be reached: {_reason(error)}.", hint="Try again.")
        case driver.TryAgainError() | driver.AskError() | driver.MovedError():
            return UnavailableError(f"{where}: the slot is being moved ({error}).", hint="Nothing was done; try again.")
        case driver.BusyLoadingError() | driver.MasterDownError() | driver.ClusterDownError():
            return UnavailableError(f"{where} is not ready: {error}.", hint="Nothing was done; try again.")
        case driver.AuthenticationError() | driver.NoPermissionError():
            return _not_let_in(where, error)
        case driver.OutOfMemoryError():
            return FullError(f"{where} has no memory left: {error}.", hint="Nothing was stored. Raise maxmemory.")
        case driver.ReadOnlyError():
            return ReadOnlyError(f"{where} is a replica: {error}.", hint="Nothing was stored. Use the primary's address.")
        case _:
            return _reply(str(error), where)


def _reason(error: Exception) -> str:
    """What is behind ``error``, in words; that time was over comes without any."""
    cause = error.__cause__ or error
    without_words = "no reply within the timeout" if isinstance(cause, TimeoutError) else type(cause).__name__
    return str(cause).rstrip(".") or without_words


def too_few_replicas(where: str, have: int, wanted: int, key: str | None) -> OutcomeUnknownError:
    """What a commit comes to that the primary has, but fewer replicas than were asked for."""
    return OutcomeUnknownError(
        f"{where}: {have} of {wanted} replicas have the commit, which a failover may therefore lose.",
        hint="It is stored on the primary: ask again with the same key, which waits for the replicas again.",
        key=key,
    )


def _not_let_in(where: str, error: object) -> EngineError:
    return EngineError(f"{where} does not let this user in: {error}.", hint="Check the name and password in the URL.")


def _reply(text: str, where: str) -> SojournError:
    """The error for an error reply that has no class of its own."""
    code = text.partition(" ")[0]
    if code == "HOME":
        return InvalidValueError(f"{text[5:]}.", hint="What crosses homes is a sequence of commits.")
    if code == "LIMIT":
        return LimitError(f"{text[6:]}.", hint="Counters count up to 2^53 - 1. Nothing was stored.")
    if code == "TORN":
        return CorruptError(
            f"{where} failed in the middle of a commit, part of which may be stored: {text[5:]}.",
            hint="A key of the store has a type it should not have; 'sojourn doctor' looks closer.",
        )
    if text.startswith("Protocol error: unauthenticated"):  # to a request that is longer than a stranger's may be
        return _not_let_in(where, text)
    if code in ("BUSY", "TRYAGAIN", "MISCONF", "NOREPLICAS", "UNBLOCKED"):
        return UnavailableError(f"{where} refuses to work: {text}.", hint="Nothing was done; try again.")
    return EngineError(f"{where} answered with an error: {text}.")
