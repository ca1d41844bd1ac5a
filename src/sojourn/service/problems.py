"""Errors as RFC 9457 problems: one table from the error family to HTTP statuses."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from starlette.responses import Response

from sojourn import errors

MEDIA_TYPE: Final = "application/problem+json"

STATUSES: Final[dict[type[Exception], int]] = {
    errors.NotFoundError: 404,
    errors.ExpiredError: 409,
    errors.EndedError: 409,
    errors.KeyReusedError: 422,
    errors.ConflictError: 409,
    errors.LimitError: 413,
    errors.InvalidValueError: 422,
    errors.OutcomeUnknownError: 503,
    errors.UnavailableError: 503,
    errors.ReadOnlyError: 503,
    errors.ClosedError: 503,
    errors.SchemaError: 503,
    errors.FullError: 507,
    errors.GameFullError: 409,
    errors.UnsupportedError: 501,
    errors.SummariserError: 502,
}
"""By class, the nearest in an error's ancestry counts; whatever is not here is 500."""


class ProblemError(Exception):
    """A refusal of the service itself, before a store was asked."""

    def __init__(self, status: int, code: str, detail: str, *, hint: str = "", headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status: int = status
        self.code: str = code
        self.detail: str = detail
        self.hint: str = hint
        self.headers: dict[str, str] = headers or {}


class Problem(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """An RFC 9457 problem. ``code`` is stable and machine-readable; ``hint`` says what to do next."""

    type: str
    title: str
    status: int
    detail: str = ""
    code: str = ""
    hint: str = ""
    version: int | None = None
    phase: int | None = None
    holder: str | None = None
    key: str | None = None


def status_of(error: Exception) -> int:
    """The HTTP status of an error."""
    if isinstance(error, ProblemError):
        return error.status
    return next((STATUSES[parent] for parent in type(error).__mro__ if parent in STATUSES), 500)


def document(error: Exception, *, conditional: bool = False) -> Problem:
    """An error as a problem. ``conditional``: the request had ``If-Match``, so that a conflict of versions is a 412."""
    status = status_of(error)
    if isinstance(error, ProblemError):
        return _problem(status, error.code, error.code, error.detail, error.hint, {})
    if not isinstance(error, errors.SojournError):
        return _problem(500, "service.fault", "The service failed", "", "The fault was logged.", {})
    if conditional and type(error) is errors.ConflictError:
        status = 412
    more = {name: getattr(error, name, None) for name in ("version", "phase", "holder", "key")}
    title = (type(error).__doc__ or "").partition("\n")[0].rstrip(".")
    return _problem(status, error.code, title, error.message, error.hint, more)


def answer(error: Exception, *, conditional: bool = False) -> Response:
    """The response for an error; see `document`."""
    problem = document(error, conditional=conditional)
    headers = dict(error.headers) if isinstance(error, ProblemError) else {"retry-after": "1"} if problem.status == 503 else {}
    headers["cache-control"] = "no-store"
    return Response(msgspec.json.encode(problem), problem.status, headers=headers, media_type=MEDIA_TYPE)


def _problem(status: int, code: str, title: str, detail: str, hint: str, more: dict[str, Any]) -> Problem:
    return Problem(type=f"urn:sojourn:{code}", title=title, status=status, detail=detail, code=code, hint=hint, **more)
