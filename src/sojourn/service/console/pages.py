"""The console's routes: who is signed in, the page around a view, its JSON twin, its actions, its live signal."""

from __future__ import annotations

import contextlib
import hmac
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from sojourn.core.times import to_datetime
from sojourn.errors import SojournError
from sojourn.service import problems
from sojourn.service.access import Rates
from sojourn.service.calls import ENCODER
from sojourn.service.console import reading, views
from sojourn.service.console.forms import SECURITY, THEMES, back_to, base_of, form_of, here_of, is_own, notice_of, theme_of
from sojourn.service.console.play import PlayRoom, play_path
from sojourn.service.console.shown import FILTERS
from sojourn.service.house import House
from sojourn.service.live import STREAMING, Streams
from sojourn.service.problems import ProblemError
from sojourn.store import AsyncStore

_log = logging.getLogger("sojourn.service")

_HERE: Final = Path(__file__).parent
_NEW_LINK: Final = "Each 'sojourn serve' prints a link when it starts, and a new one whenever Enter is pressed in its terminal."

_TITLES: Final = {
    403: "Refused",
    404: "Not here",
    413: "Too much",
    422: "This cannot be read",
    429: "Too often",
    503: "The store does not answer",
}

Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]
View: TypeAlias = Callable[[Request, AsyncStore], Awaitable[dict[str, Any]]]
Action: TypeAlias = Callable[[Request, AsyncStore, dict[str, list[str]]], Awaitable[str]]

VIEWS: Final[tuple[tuple[str, str, View], ...]] = (
    ("/", "overview.html", views.overview),
    ("/sessions", "sessions.html", views.sessions),
    ("/sessions/{id}", "session.html", views.session),
    ("/conversations", "conversations.html", views.conversations),
    ("/conversations/{id}", "conversation.html", views.conversation),
    ("/contexts", "contexts.html", views.contexts),
    ("/contexts/view", "context.html", views.context),
    ("/games", "games.html", views.games),
    ("/games/{id}", "game.html", views.game),
    ("/logins", "logins.html", views.logins),
    ("/workspaces", "workspaces.html", views.workspaces),
    ("/store", "store.html", views.store_view),
)
ACTIONS: Final[tuple[tuple[str, Action], ...]] = (
    ("/sessions/end", views.end),
    ("/conversations/{id}/fork", views.fork),
    ("/conversations/{id}/unfold", views.unfold),
    ("/games/boot", views.boot),
    ("/games/{id}/{name}", views.game_action),
    ("/logins/revoke", views.revoke),
    ("/store/sweep", views.sweep),
)
NAVIGATION: Final = (
    ("Overview", "/", "o", None),
    ("Sessions", "/sessions", "s", None),
    ("Conversations", "/conversations", "c", "conversation"),
    ("Contexts", "/contexts", "x", "context"),
    ("Games", "/games", "g", "game"),
    ("Logins", "/logins", "l", "login"),
    ("Workspaces", "/workspaces", "w", "workspace"),
    ("Store", "/store", "e", None),
)


@dataclass(frozen=True, slots=True)
class Operator:
    """Who is signed in to the console."""

    name: str
    tenant: str
    secret: str
    """Of this sign-in; forms carry a token that is derived from it."""

    @property
    def csrf(self) -> str:
        """The token that every form of this sign-in carries."""
        return hmac.new(self.secret.encode(), b"console form", sha256).hexdigest()


class Operators(Protocol):
    """Signs operators in and out."""

    async def find(self, request: Request) -> Operator | None:
        """Who is signed in; None for nobody."""
        ...

    async def sign_in(self, request: Request, back: str) -> Response | None:
        """The answer to somebody who comes with a sign-in link; None for a link that is none, or not any more."""
        ...

    async def sign_out(self, request: Request, back: str) -> Response:
        """End the sign-in."""
        ...


class Console:
    """The pages of one service."""

    def __init__(
        self,
        own: AsyncStore,
        of_tenant: Callable[[str], AsyncStore],
        operators: Operators,
        house: House,
        streams: Streams,
        strangers: Rates,
    ) -> None:
        self._own = own
        self._store = of_tenant
        self._operators = operators
        self._streams = streams
        self._pages = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        for name, filter in FILTERS.items():
            self._pages.filters[name] = filter
        self._room = PlayRoom(of_tenant, own, house, streams, strangers, self._pages)

    def routes(self) -> list[BaseRoute]:
        """Every route; an action before the view that its path would fit."""
        pages: list[tuple[str, str, Endpoint]] = [
            ("GET", "/signin", self._sign_in),
            ("POST", "/signout", self._sign_out),
            ("POST", "/theme", self._theme),
            ("GET", "/live", self._live),
            *(("POST", path, self._acting(action)) for path, action in ACTIONS),
            *(("GET", f"{path.rstrip('/') or '/overview'}.json", self._twin(view)) for path, _, view in VIEWS),
            *(("GET", path, self._page(path, name, view)) for path, name, view in VIEWS),
        ]
        return [
            Mount("/static", _Static(directory=_HERE / "static")),
            *(Route(path, self._safe(page), methods=[method]) for method, path, page in (*self._room.pages(), *pages)),
        ]

    def _safe(self, page: Endpoint) -> Endpoint:
        """A page whose faults are pages."""

        async def answer(request: Request) -> Response:
            try:
                return await page(request)
            except (SojournError, ProblemError) as error:
                if problems.status_of(error) >= 500:
                    _log.error("%s: %s", _route(request), error.code, exc_info=error)
                return self._failed(request, error)
            except Exception:
                _log.exception("%s failed", _route(request))
                text, hint = "This page failed, and nothing was changed by it.", "What went wrong is in the server's log."
                return self._message(request, 500, "That did not work", text, hint, home=True)

        return answer

    # -- views -----------------------------------------------------------------------------------------------------

    def _page(self, path: str, name: str, view: View) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            operator = await self._operators.find(request)
            if operator is None:
                return self._to_sign_in(request)
            store = self._store(operator.tenant)
            shown = await view(request, store)
            return self._render(request, name, {**await self._around(request, operator, store, path), **shown})

        return answer

    def _twin(self, view: View) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            operator = await self._operators.find(request)
            if operator is None:
                return problems.answer(ProblemError(401, "service.unauthorized", "Sign in to the console first."))
            try:
                shown = await view(request, self._store(operator.tenant))
            except (SojournError, ProblemError) as error:
                return problems.answer(error)
            shown.pop("chart", None)
            return Response(ENCODER.encode(shown), headers=SECURITY, media_type="application/json")

        return answer

    async def _around(self, request: Request, operator: Operator, store: AsyncStore, path: str) -> dict[str, Any]:
        """What every page has around its view."""
        base = base_of(request)
        counted = await reading.counts(store)
        navigation = [
            {
                "name": name,
                "path": place,
                "letter": letter,
                "count": None if kind is None else counted[kind],
                "current": path == place or (place != "/" and path.startswith(place + "/")),
            }
            for name, place, letter, kind in NAVIGATION
        ]
        return {
            "base": base,
            "here": here_of(request),
            "theme": theme_of(request),
            "csrf": operator.csrf,
            "navigation": navigation,
            "notice": notice_of(request),
            "live": f"{base}/live",
            "now": to_datetime(await store._unit.engine.now()),
            "filter": "",
            "origin": f"{request.url.scheme}://{request.url.netloc}",
            "play": base + play_path(operator.tenant, self._own.tenant, ""),
        }

    def _render(self, request: Request, name: str, shown: dict[str, Any], status: int = 200) -> Response:
        text = self._pages.get_template(name).render(shown)
        response = HTMLResponse(text, status, headers=SECURITY)
        if "notice" in request.cookies:
            response.delete_cookie("notice", path=base_of(request) or "/")
        return response

    def _failed(self, request: Request, error: SojournError | ProblemError) -> Response:
        status = problems.status_of(error)
        text = error.detail if isinstance(error, ProblemError) else error.message
        title = _TITLES.get(status, "That did not work")
        response = self._message(request, status, title, text, error.hint, home=not request.url.path.startswith("/play/"))
        response.headers.update(error.headers if isinstance(error, ProblemError) else {})
        return response

    def _message(self, request: Request, status: int, title: str, text: str, hint: str = "", *, home: bool) -> Response:
        shown = {"title": title, "text": text, "hint": hint, "home": home, "form": "", "base": base_of(request)}
        return self._render(request, "message.html", {**shown, "theme": theme_of(request)}, status)

    def _to_sign_in(self, request: Request) -> Response:
        return self._message(request, 401, "Sign in", "Nobody is signed in here.", _NEW_LINK, home=False)

    # -- acting ----------------------------------------------------------------------------------------------------

    def _acting(self, action: Action) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            operator = await self._operators.find(request)
            if operator is None:
                return self._to_sign_in(request)
            form = await form_of(request)
            if not is_own(request, operator.csrf, form):
                return self._message(
                    request, 403, "Refused", "This form did not come from the console.", "Go back and reload.", home=True
                )
            tone = "good"
            try:
                text = await action(request, self._store(operator.tenant), form)
            except (SojournError, ProblemError) as error:
                tone, text = "bad", str(error)
            return back_to(request, form, f"{tone}:{text}")

        return answer

    async def _theme(self, request: Request) -> Response:
        form = await form_of(request)
        chosen = form.get("to", [""])[0]
        response = back_to(request, form)
        if chosen in THEMES:
            response.set_cookie(
                "theme", chosen, max_age=31_536_000, path=base_of(request) or "/", samesite="lax", httponly=True
            )
        return response

    async def _sign_in(self, request: Request) -> Response:
        if "once" not in request.query_params or request.method != "GET":  # who only looks at a link does not use it up
            return self._to_sign_in(request)
        answer = await self._operators.sign_in(request, base_of(request) + "/")
        if answer is not None:
            return answer
        text = "This link was used before, or it is too old."
        return self._message(request, 401, "Sign in", text, _NEW_LINK, home=False)

    async def _sign_out(self, request: Request) -> Response:
        operator = await self._operators.find(request)
        form = await form_of(request)
        if operator is not None and not is_own(request, operator.csrf, form):
            return self._message(request, 403, "Refused", "This form did not come from the console.", home=True)
        return await self._operators.sign_out(request, base_of(request) + "/")

    # -- live ------------------------------------------------------------------------------------------------------

    async def _live(self, request: Request) -> Response:
        """Says that something changed, never what: the page fetches its view again."""
        operator = await self._operators.find(request)
        if operator is None:
            return problems.answer(ProblemError(401, "service.unauthorized", "Sign in to the console first."))
        self._streams.check_room()
        store = self._store(operator.tenant)
        after = await store.tip()

        async def signals() -> AsyncIterator[bytes]:
            with self._streams.counted():
                yield b"retry: 1000\n\n"
                async with contextlib.aclosing(self._streams.follow(store, None, None, after)) as events:
                    async for found in events:
                        yield b"event: changed\ndata: 1\n\n" if found else b": still here\n\n"
                        if not found and await self._operators.find(request) is None:
                            return  # signed out, here or elsewhere

        return StreamingResponse(signals(), media_type="text/event-stream", headers={**SECURITY, **STREAMING})


class _Static(StaticFiles):
    """Files of ours, with the headers that keep a browser from taking them for something else."""

    async def get_response(self, path: str, scope: Any) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update({"x-content-type-options": "nosniff", "cache-control": "no-cache"})
        return response


def _route(request: Request) -> str:
    """A request as logs name it: without ids, and without what its query says."""
    return f"{request.method} {getattr(request.scope.get('route'), 'path', '')}"
