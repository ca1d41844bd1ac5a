"""OpenTelemetry spans, where its API is installed; nothing otherwise."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Protocol

_trace: Any
_propagate: Any
try:
    _trace = import_module("opentelemetry.trace")
    _propagate = import_module("opentelemetry.propagate")
except ImportError:  # it is no dependency
    _trace = _propagate = None


class Span(Protocol):
    """What is said about one request."""

    def finish(self, status: int, *, tenant: str = "") -> None:
        """How it was answered."""
        ...


class _NoSpan:
    def finish(self, status: int, *, tenant: str = "") -> None:
        del status, tenant


class _RealSpan:
    def __init__(self, span: Any) -> None:
        self._span = span

    def finish(self, status: int, *, tenant: str = "") -> None:
        self._span.set_attribute("http.response.status_code", status)
        if tenant:
            self._span.set_attribute("sojourn.tenant", tenant)
        if status >= 500:
            self._span.set_status(_trace.StatusCode.ERROR)


@contextmanager
def request_span(method: str, route: str, headers: Any) -> Generator[Span, None, None]:
    """A server span named by the semantic conventions for HTTP; a child of the caller's, whom ``traceparent`` names."""
    if _trace is None:
        yield _NoSpan()
        return
    tracer = _trace.get_tracer("sojourn.service")
    facts = {"http.request.method": method, "http.route": route}
    parent = _propagate.extract(dict(headers))
    with tracer.start_as_current_span(
        f"{method} {route}", context=parent, kind=_trace.SpanKind.SERVER, attributes=facts
    ) as span:
        yield _RealSpan(span)
