"""The console's routes: who is signed in, the page around a view, its JSON twin, its actions, its live signal."""

from __future__ import annotations

import hmac
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
from sojourn.service.calls import ENCODER
from sojourn.service.console import reading, views
from sojourn.service.console.forms import SECURITY, THEMES, back_to, base_of, form_of, here_of, is_own, notice_of, theme_of
from sojourn.service.console.play import PlayRoom
from sojourn.service.console.shown import FILTERS
from sojourn.service.house import House
from sojourn.service.live import Streams
from sojourn.service.problems import ProblemError
from sojourn.store import AsyncStore

_HERE: Final = Path(__file__).parent
_NEW_LINK: Final = "Each 'sojourn serve' prints a link when it starts, and a new one whenever Enter is pressed in its terminal."

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
        self, store: AsyncStore, of_tenant: Callable[[str], AsyncStore], operators: Operators, house: House, streams: Streams
    ) -> None:
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
        self._pages.filters.update(FILTERS)
        self._room = PlayRoom(store, house, streams, self._pages)

    def routes(self) -> list[BaseRoute]:
        """Every route; an action before the view that its path would fit."""
        return [
            *self._room.routes(),
            Mount("/static", _Static(directory=_HERE / "static")),
            Route("/signin", self._sign_in, methods=["GET", "POST"]),
            Route("/signout", self._sign_out, methods=["POST"]),
            Route("/theme", self._theme, methods=["POST"]),
            Route("/live", self._live, methods=["GET"]),
            *(Route(path, self._acting(action), methods=["POST"]) for path, action in ACTIONS),
            *(Route(f"{path.rstrip('/') or '/overview'}.json", self._twin(view), methods=["GET"]) for path, _, view in VIEWS),
            *(Route(path, self._page(path, name, view), methods=["GET"]) for path, name, view in VIEWS),
        ]

    # -- views -----------------------------------------------------------------------------------------------------

    def _page(self, path: str, name: str, view: View) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            operator = await self._operators.find(request)
            if operator is None:
                return self._to_sign_in(request)
            store = self._store(operator.tenant)
            try:
                shown = await view(request, store)
            except (SojournError, ProblemError) as error:
                return await self._failed(request, operator, error)
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
        }

    def _render(self, request: Request, name: str, shown: dict[str, Any], status: int = 200) -> Response:
        text = self._pages.get_template(name).render(shown)
        response = HTMLResponse(text, status, headers=SECURITY)
        if "notice" in request.cookies:
            response.delete_cookie("notice", path=base_of(request) or "/")
        return response

    async def _failed(self, request: Request, operator: Operator, error: SojournError | ProblemError) -> Response:
        status = error.status if isinstance(error, ProblemError) else problems.status_of(error)
        text = error.detail if isinstance(error, ProblemError) else error.message
        title = {404: "Not here", 422: "This cannot be read", 503: "The store does not answer"}.get(status, "That did not work")
        return self._message(request, status, title, text, error.hint, home=operator is not None)

    def _message(self, request: Request, status: int, title: str, text: str, hint: str = "", *, home: bool) -> Response:
        shown = {"title": title, "text": text, "hint": hint, "home": home, "form": "", "base": base_of(request)}
        return self._render(request, "message.html", {**shown, "theme": theme_of(request)}, status)

    def _to_sign_in(self, request: Request) -> Response:
        return self._message(
            request,
            401,
            "Sign in",
            "Nobody is signed in here.",
            _NEW_LINK,
            home=False,
        )

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
        answer = await self._operators.sign_in(request, base_of(request) + "/")
        if answer is not None:
            return answer
        if "once" not in request.query_params:
            return self._to_sign_in(request)
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
        store = self._store(operator.tenant)

        async def signals() -> AsyncIterator[bytes]:
            async for part in self._streams.events(store, None, None, await store.tip()):
                yield b"event: changed\ndata: 1\n\n" if part.startswith(b"id:") else b": still here\n\n"

        return StreamingResponse(signals(), media_type="text/event-stream", headers=SECURITY)


class _Static(StaticFiles):
    """Files of ours, with the headers that keep a browser from taking them for something else."""

    async def get_response(self, path: str, scope: Any) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update({"x-content-type-options": "nosniff", "cache-control": "no-cache"})
        return response
