"""The ASGI application: the API, its document, events, health and metrics over one open store."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, TypeAlias
from urllib.parse import quote, unquote

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Match, Route, WebSocketRoute
from starlette.types import Receive, Scope, Send

from sojourn.errors import InvalidValueError, SojournError, UnsupportedError
from sojourn.kinds.contexts.api import AsyncContexts
from sojourn.kinds.conversations.api import AsyncConversations
from sojourn.kinds.games.api import AsyncGames
from sojourn.kinds.logins.api import AsyncLogins
from sojourn.kinds.logins.directory import AsyncDirectory
from sojourn.kinds.workspaces.api import AsyncWorkspaces
from sojourn.service import problems
from sojourn.service.access import ADMIN, Credential, Keys, Rates, address_of, bearer, credential_of, demand
from sojourn.service.calls import MATCH, Call, respond
from sojourn.service.console.pages import Console, Operators
from sojourn.service.house import AnyNarrator, House
from sojourn.service.keys import LoginKeys
from sojourn.service.live import Streams, stream
from sojourn.service.logs import log_request
from sojourn.service.metrics import Metrics
from sojourn.service.openapi import document
from sojourn.service.operations import OPERATIONS
from sojourn.service.problems import ProblemError
from sojourn.service.sockets import Sockets
from sojourn.service.tracing import request_span
from sojourn.sessions import KINDS, AsyncSessions
from sojourn.store import AsyncStore
from sojourn.story import GREY_POINT

_log = logging.getLogger("sojourn.service")

OWNERS: Final[dict[str, type[Any]]] = {
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

_WHO: Final = "sojourn.credential"
"""Where a request's scope has whose key it came with."""

Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceOptions:
    """Limits of a service. None in a limit means there is none."""

    max_body: int = 20_000_000
    """Bytes of one request's body."""
    timeout: timedelta | None = timedelta(seconds=30)
    """Of one request. What has begun to write finishes; who asks again with the same key learns what became of it."""
    long_poll: timedelta = timedelta(minutes=2)
    """Of a request that waits for a turn to close; 504 then, and the client asks again."""
    max_streams: int = 2_000
    """Event streams and WebSockets that are open at once."""
    per_second: float | None = 200.0
    """Requests of one key, averaged over ten seconds."""
    strangers_per_second: float | None = 10.0
    """Requests of one address without a valid key, and of one address to games that are played in the browser."""

    def __post_init__(self) -> None:
        for name in ("max_body", "max_streams", "timeout", "long_poll", "per_second", "strangers_per_second"):
            value = getattr(self, name)
            if value is not None and not (value > timedelta(0) if isinstance(value, timedelta) else value > 0):
                raise InvalidValueError(f"{name} must be more than nothing, got {value!r}.")


class Service:
    """One application's parts."""

    def __init__(self, store: AsyncStore, keys: Keys, options: ServiceOptions) -> None:
        self._store = store
        self._keys = keys
        self._options = options
        self._tenants: dict[str, AsyncStore] = {store.tenant: store}
        self._rates = Rates(options.per_second)
        self.strangers: Rates = Rates(options.strangers_per_second)
        self.streams: Streams = Streams(options.max_streams)
        self.house: House | None = None
        self.metrics: Metrics = Metrics(self.streams)
        self.calls: tuple[Call, ...] = tuple(Call(operation, OWNERS[operation.kind]) for operation in OPERATIONS)
        said = {(call.operation.name, call.operation.by_id): call for call in self.calls if call.operation.of_a_game}
        self._sockets = Sockets(keys, self._rates, self.streams, self.of_tenant, said)

    async def close(self) -> None:
        """End what stays open. The store stays the caller's."""
        await self.streams.close()
        if self.house is not None:
            await self.house.close()

    def routes(self) -> list[BaseRoute]:
        """Every route."""
        found = [
            Route(f"/v1{call.operation.path}", self._guarded(self._api(call)), methods=[call.operation.method])
            for call in sorted(self.calls, key=lambda call: call.operation.path.count("{"))
        ]
        return [
            Route("/v1/events", self._guarded(self._events), methods=["GET"]),
            *(
                WebSocketRoute(f"/v1/games/{place}/live", self._sockets.answer)
                for place in ("channels/{channel_id}", "{game_id}")
            ),
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
            route = getattr(request.scope.get("route"), "path", "")
            with request_span(request.method, route, request.headers) as span:
                response = await self._answer(endpoint, request)
                who: Credential | None = request.scope.get(_WHO)
                span.finish(response.status_code, tenant="" if who is None else who.tenant)
            seconds = time.perf_counter() - began
            self.metrics.answered(route, request.method, response.status_code, seconds)
            name, tenant = ("", "") if who is None else (who.name, who.tenant)
            log_request(request.method, route, response.status_code, seconds, key=name, tenant=tenant)
            return response

        return answer

    @staticmethod
    async def _answer(endpoint: Endpoint, request: Request) -> Response:
        """What an endpoint answers; its errors are problems."""
        route = getattr(request.scope.get("route"), "path", "")
        try:
            return await endpoint(request)
        except (SojournError, ProblemError) as error:
            if problems.status_of(error) >= 500 and not isinstance(error, UnsupportedError):  # which is no fault of ours
                _log.error("%s %s: %s", request.method, route, error.code, exc_info=error)
            return problems.answer(error, conditional=MATCH in request.headers)
        except TimeoutError:
            return problems.answer(
                ProblemError(504, "service.timeout", "It took too long.", hint="Ask again with the same key.")
            )
        except Exception as error:
            _log.exception("%s %s failed", request.method, route)
            return problems.answer(error)

    async def _credential(self, request: Request) -> Credential:
        try:
            found = await credential_of(self._keys, request)
        except ProblemError:
            self.strangers.take(address_of(request))
            raise
        request.scope[_WHO] = found
        self._rates.take(f"{found.tenant}\0{found.name}")
        return found

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
            store = self.of_tenant(credential.tenant)
            async with asyncio.timeout(self._patience(call)):
                arguments = await call.arguments(request, await self._body(request))
                run = call.run(store, arguments)
                return respond(call, await (self.streams.unless_stopped(run) if call.operation.waits else run))

        return answer

    def _patience(self, call: Call) -> float | None:
        limit = self._options.long_poll if call.operation.waits else self._options.timeout
        return None if limit is None else limit.total_seconds()

    async def _events(self, request: Request) -> Response:
        credential = await self._credential(request)
        kind = request.query_params.get("kind")
        demand(credential, f"{kind}s" if kind in KINDS else "sessions", "read")

        async def allowed() -> bool:
            return await self._keys.find(bearer(request)) == credential

        return await stream(request, self.streams, self.of_tenant(credential.tenant), allowed)

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
            async with asyncio.timeout(5):
                await self._store.tip()
        except (SojournError, TimeoutError) as error:
            return JSONResponse({"status": "unavailable", "code": getattr(error, "code", "timeout")}, 503)
        return JSONResponse({"status": "ready"})


def application(
    store: AsyncStore,
    *,
    keys: Keys | None = None,
    operators: Operators | None = None,
    narrator: AnyNarrator | None = None,
    options: ServiceOptions | None = None,
) -> Starlette:
    """An ASGI application over an open store, to be served or mounted under any path; the store stays the caller's.

    ``keys`` tells who asks and what they may; by default the API keys that ``sojourn key create`` made in the store.
    ``operators`` signs people in to the console; without it there is none. ``narrator`` tells the games that are played in
    the browser (the built-in story by default); it may be a coroutine function.
    """
    service = Service(store, keys or LoginKeys(store), options or ServiceOptions())

    async def missing(request: Request, error: Exception) -> Response:
        if getattr(error, "status_code", 404) != 405:
            text = f"{request.method} {request.url.path}: no such path."
            return problems.answer(ProblemError(404, "service.path", text, hint="See /openapi.json."))
        allowed = {"allow": ", ".join(_methods(made, request.scope))}
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=allowed)
        text = f"{request.method} {request.url.path}: not for this path."
        return problems.answer(ProblemError(405, "service.method", text, hint="See /openapi.json.", headers=allowed))

    routes: list[BaseRoute] = [*service.routes()]
    if operators is not None:
        house = House(narrator or GREY_POINT.tell)
        service.house = house
        routes += Console(store, service.of_tenant, operators, house, service.streams, service.strangers).routes()
    made = _Application(routes=routes, exception_handlers={404: missing, 405: missing})
    made.state.service = service
    return made


def _methods(app: Starlette, scope: Scope) -> list[str]:
    """Every method that a path is for."""
    found = {"OPTIONS"}
    for route in app.routes:
        if isinstance(route, Route) and route.matches(scope)[0] is not Match.NONE:
            found |= route.methods or set()
    return sorted(found)


class _Application(Starlette):
    """Routes by the path as it was sent: an escaped slash is part of a name and separates nothing."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raw = scope.get("raw_path")
        if raw and scope["type"] in ("http", "websocket"):
            parts = raw.decode("ascii", "replace").partition("?")[0].split("/")
            scope = {**scope, "path": "/".join(quote(unquote(part), safe=_KEPT) for part in parts)}
        await super().__call__(scope, receive, send)
