"""The ASGI application: the API, its document, events, health and metrics over one open store."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, TypeAlias
from urllib.parse import quote, unquote

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from sojourn.errors import SojournError
from sojourn.kinds.contexts.api import AsyncContexts
from sojourn.kinds.conversations.api import AsyncConversations
from sojourn.kinds.games.api import AsyncGames
from sojourn.kinds.logins.api import AsyncLogins
from sojourn.kinds.logins.directory import AsyncDirectory
from sojourn.kinds.workspaces.api import AsyncWorkspaces
from sojourn.service import problems
from sojourn.service.access import ADMIN, Credential, Keys, OpenKeys, credential_of, demand
from sojourn.service.calls import MATCH, Call, respond
from sojourn.service.console.pages import Console, Operators
from sojourn.service.house import House
from sojourn.service.live import Streams, stream
from sojourn.service.metrics import Metrics
from sojourn.service.openapi import document
from sojourn.service.operations import OPERATIONS
from sojourn.service.problems import ProblemError
from sojourn.sessions import AsyncSessions
from sojourn.store import AsyncStore
from sojourn.story import GREY_POINT, Narrator

_log = logging.getLogger("sojourn.service")

OWNERS: Final = {
    "conversations": AsyncConversations,
    "contexts": AsyncContexts,
    "directory": AsyncDirectory,
    "logins": AsyncLogins,
    "workspaces": AsyncWorkspaces,
    "games": AsyncGames,
    "sessions": AsyncSessions,
    "store": AsyncStore,
}

_KEPT: Final = "".join(chr(code) for code in range(33, 127) if chr(code) not in "/%")
"""Characters of a path that stay as they are; a name's own slashes and percent signs are told apart by their escapes."""

Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceOptions:
    """Limits of a service. None in a limit means there is none."""

    max_body: int = 20_000_000
    """Bytes of one request's body."""
    timeout: timedelta | None = timedelta(seconds=30)
    """Of one request, event streams excepted. What has begun to write finishes."""
    per_second: float | None = 200.0
    """Requests of one key, averaged over ten seconds."""


class Service:
    """One application's parts."""

    def __init__(self, store: AsyncStore, keys: Keys, options: ServiceOptions) -> None:
        self._store = store
        self._keys = keys
        self._options = options
        self._tenants: dict[str, AsyncStore] = {store.tenant: store}
        self._rates: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self.streams = Streams()
        self.metrics = Metrics(self.streams)
        self.calls = tuple(Call(operation, OWNERS[operation.kind]) for operation in OPERATIONS)

    def routes(self) -> list[Route]:
        """Every route."""
        found = [
            Route(f"/v1{call.operation.path}", self._guarded(self._api(call)), methods=[call.operation.method])
            for call in sorted(self.calls, key=lambda call: call.operation.path.count("{"))
        ]
        return [
            Route("/v1/events", self._guarded(self._events), methods=["GET"]),
            *found,
            Route("/openapi.json", self._guarded(self._document), methods=["GET"]),
            Route("/healthz", self._healthz, methods=["GET"]),
            Route("/readyz", self._readyz, methods=["GET"]),
            Route("/metrics", self._guarded(self._metrics), methods=["GET"]),
        ]

    # -- around every request --------------------------------------------------------------------------------------

    def _guarded(self, endpoint: Endpoint) -> Endpoint:
        """An endpoint whose errors are problems, and which is counted."""

        async def answer(request: Request) -> Response:
            began = time.perf_counter()
            try:
                response = await endpoint(request)
            except (SojournError, ProblemError) as error:
                response = problems.answer(error, conditional=MATCH in request.headers)
                if response.status_code >= 500:
                    _log.error("%s %s: %s", request.method, request.url.path, getattr(error, "code", ""), exc_info=error)
            except TimeoutError:
                late = ProblemError(504, "service.timeout", "It took too long.", hint="Ask again with the same key.")
                response = problems.answer(late)
            except Exception as error:
                _log.exception("%s %s failed", request.method, request.url.path)
                response = problems.answer(error)
            path = getattr(request.scope.get("route"), "path", "")
            self.metrics.answered(path, request.method, response.status_code, time.perf_counter() - began)
            return response

        return answer

    async def _credential(self, request: Request) -> Credential:
        found = await credential_of(self._keys, request)
        self._take_turn(found)
        return found

    def _take_turn(self, credential: Credential) -> None:
        """Count a request against its key's rate: a bucket of ten seconds that fills by itself."""
        rate = self._options.per_second
        if rate is None:
            return
        name, now = f"{credential.tenant}\0{credential.name}", time.monotonic()
        left, at = self._rates.pop(name, (rate * 10, now))
        left = min(rate * 10, left + (now - at) * rate)
        self._rates[name] = max(0.0, left - 1), now
        if len(self._rates) > 10_000:
            self._rates.popitem(last=False)
        if left < 1:
            headers = {"retry-after": "1"}
            raise ProblemError(429, "service.rate", f"More than {rate:g} requests a second.", headers=headers)

    def of_tenant(self, tenant: str) -> AsyncStore:
        """The store of a tenant."""
        found = self._tenants.get(tenant)
        if found is None:
            found = self._tenants[tenant] = self._store.for_tenant(tenant)
        return found

    async def _body(self, request: Request) -> bytes:
        parts, size = [], 0
        async for part in request.stream():
            size += len(part)
            if size > self._options.max_body:
                raise ProblemError(413, "service.body", f"The body has more than {self._options.max_body:,} bytes.")
            parts.append(part)
        return b"".join(parts)

    # -- endpoints -------------------------------------------------------------------------------------------------

    def _api(self, call: Call) -> Endpoint:
        async def answer(request: Request) -> Response:
            credential = await self._credential(request)
            demand(credential, call.operation.scope, call.operation.action)
            limit = self._options.timeout
            async with asyncio.timeout(None if limit is None else limit.total_seconds()):
                arguments = await call.arguments(request, await self._body(request))
                return respond(call, await call.run(self.of_tenant(credential.tenant), arguments))

        return answer

    async def _events(self, request: Request) -> Response:
        credential = await self._credential(request)
        demand(credential, "sessions", "read")
        return await stream(request, self.streams, self.of_tenant(credential.tenant))

    async def _document(self, request: Request) -> Response:
        await self._credential(request)
        return JSONResponse(document(self.calls, request.scope.get("root_path", "")))

    async def _metrics(self, request: Request) -> Response:
        demand(await self._credential(request), "store", ADMIN)
        return self.metrics.page()

    async def _healthz(self, _: Request) -> Response:
        """The process answers."""
        return JSONResponse({"status": "ok"})

    async def _readyz(self, _: Request) -> Response:
        """The store answers, and the service is not on its way down."""
        if self.streams.stopping:
            return JSONResponse({"status": "stopping"}, 503)
        try:
            await asyncio.wait_for(self._store.tip(), 5)
        except (SojournError, TimeoutError) as error:
            return JSONResponse({"status": "unavailable", "code": getattr(error, "code", "timeout")}, 503)
        return JSONResponse({"status": "ready"})


def application(
    store: AsyncStore,
    *,
    keys: Keys | None = None,
    operators: Operators | None = None,
    narrator: Narrator | None = None,
    options: ServiceOptions | None = None,
) -> Starlette:
    """An ASGI application over an open store, to be served or mounted under any path; the store stays the caller's.

    ``keys`` tells who asks and what they may (`OpenKeys`, everybody, by default: only for an address that nobody else
    reaches). ``operators`` signs people in to the console; without it there is none.
    ``narrator`` tells the games that are played in the browser (the built-in story by default).
    """
    service = Service(store, keys or OpenKeys(store.tenant), options or ServiceOptions())

    async def missing(request: Request, error: Exception) -> Response:
        status: Any = getattr(error, "status_code", 404)
        code, text = ("service.method", "not for this path") if status == 405 else ("service.path", "no such path")
        refusal = ProblemError(status, code, f"{request.method} {request.url.path}: {text}.", hint="See /openapi.json.")
        refusal.headers = dict(getattr(error, "headers", None) or {})
        return problems.answer(refusal)

    routes: list[BaseRoute] = [*service.routes()]
    if operators is not None:
        house = House(store, narrator or GREY_POINT.tell)
        routes += Console(store, service.of_tenant, operators, house, service.streams).routes()
    made = _Application(routes=routes, exception_handlers={404: missing, 405: missing})
    made.state.service = service
    return made


class _Application(Starlette):
    """Routes by the path as it was sent: an escaped slash is part of a name and separates nothing."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raw = scope.get("raw_path")
        if raw and scope["type"] in ("http", "websocket"):
            parts = raw.decode("ascii", "replace").partition("?")[0].split("/")
            scope = {**scope, "path": "/".join(quote(unquote(part), safe=_KEPT) for part in parts)}
        await super().__call__(scope, receive, send)
