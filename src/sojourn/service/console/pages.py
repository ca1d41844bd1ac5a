"""The console's routes: who is signed in, the page around a view, its JSON twin, its actions, its live signal."""

from __future__ import annotations

import hmac
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias
from urllib.parse import quote, unquote, urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from sojourn.core.times import to_datetime
from sojourn.errors import SojournError
from sojourn.service import problems
from sojourn.service.calls import ENCODER
from sojourn.service.console import reading, views
from sojourn.service.console.shown import FILTERS
from sojourn.service.live import Streams
from sojourn.service.problems import ProblemError
from sojourn.store import AsyncStore

_HERE: Final = Path(__file__).parent
_NEW_LINK: Final = "Each 'sojourn serve' prints a link when it starts, and a new one whenever Enter is pressed in its terminal."
_THEMES: Final = ("light", "dark")

SECURITY: Final = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}

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
    ("/store", "store.html", views.store_view),
)
ACTIONS: Final[tuple[tuple[str, Action], ...]] = (
    ("/sessions/end", views.end),
    ("/conversations/{id}/fork", views.fork),
    ("/conversations/{id}/unfold", views.unfold),
    ("/store/sweep", views.sweep),
)
NAVIGATION: Final = (
    ("Overview", "/", "o", None),
    ("Sessions", "/sessions", "s", None),
    ("Conversations", "/conversations", "c", "conversation"),
    ("Contexts", "/contexts", "x", "context"),
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

    def __init__(self, of_tenant: Callable[[str], AsyncStore], operators: Operators, streams: Streams) -> None:
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

    def routes(self) -> list[BaseRoute]:
        """Every route; an action before the view that its path would fit."""
        return [
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
        base = _base(request)
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
            "here": _here(request),
            "theme": _theme_of(request),
            "csrf": operator.csrf,
            "navigation": navigation,
            "notice": _notice(request),
            "live": f"{base}/live",
            "now": to_datetime(await store._unit.engine.now()),
            "filter": "",
        }

    def _render(self, request: Request, name: str, shown: dict[str, Any], status: int = 200) -> Response:
        text = self._pages.get_template(name).render(shown)
        response = HTMLResponse(text, status, headers=SECURITY)
        if "notice" in request.cookies:
            response.delete_cookie("notice", path=_base(request) or "/")
        return response

    async def _failed(self, request: Request, operator: Operator, error: SojournError | ProblemError) -> Response:
        status = error.status if isinstance(error, ProblemError) else problems.status_of(error)
        text = error.detail if isinstance(error, ProblemError) else error.message
        title = {404: "Not here", 422: "This cannot be read", 503: "The store does not answer"}.get(status, "That did not work")
        return self._message(request, status, title, text, error.hint, home=operator is not None)

    def _message(self, request: Request, status: int, title: str, text: str, hint: str = "", *, home: bool) -> Response:
        shown = {"title": title, "text": text, "hint": hint, "home": home, "form": "", "base": _base(request)}
        return self._render(request, "message.html", {**shown, "theme": _theme_of(request)}, status)

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
            form = await views.form_of(request)
            if not _is_own(request, operator, form):
                return self._message(
                    request, 403, "Refused", "This form did not come from the console.", "Go back and reload.", home=True
                )
            tone = "good"
            try:
                text = await action(request, self._store(operator.tenant), form)
            except (SojournError, ProblemError) as error:
                tone, text = "bad", str(error)
            return _back(request, form, f"{tone}:{text}")

        return answer

    async def _theme(self, request: Request) -> Response:
        form = await views.form_of(request)
        chosen = form.get("to", [""])[0]
        response = _back(request, form)
        if chosen in _THEMES:
            response.set_cookie("theme", chosen, max_age=31_536_000, path=_base(request) or "/", samesite="lax", httponly=True)
        return response

    async def _sign_in(self, request: Request) -> Response:
        answer = await self._operators.sign_in(request, _base(request) + "/")
        if answer is not None:
            return answer
        if "once" not in request.query_params:
            return self._to_sign_in(request)
        text = "This link was used before, or it is too old."
        return self._message(request, 401, "Sign in", text, _NEW_LINK, home=False)

    async def _sign_out(self, request: Request) -> Response:
        operator = await self._operators.find(request)
        form = await views.form_of(request)
        if operator is not None and not _is_own(request, operator, form):
            return self._message(request, 403, "Refused", "This form did not come from the console.", home=True)
        return await self._operators.sign_out(request, _base(request) + "/")

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


def client_of(request: Request) -> tuple[str | None, str | None]:
    """The address and the user agent of a request, as a login keeps them."""
    agent = "".join(character for character in request.headers.get("user-agent", "") if character.isprintable())
    return (None if request.client is None else request.client.host), agent[:200] or None


def _base(request: Request) -> str:
    return str(request.scope.get("root_path", "")).rstrip("/")


def _here(request: Request) -> str:
    """The path and query of this page, under the console's own."""
    path = request.url.path.removeprefix(_base(request)) or "/"
    return f"{path}?{request.url.query}" if request.url.query else path


def _theme_of(request: Request) -> str:
    chosen = request.cookies.get("theme", "")
    return chosen if chosen in _THEMES else ""


def _notice(request: Request) -> dict[str, str] | None:
    tone, _, text = request.cookies.get("notice", "").partition(":")
    return {"tone": tone, "text": unquote(text)} if text and tone in ("good", "bad") else None


def _is_own(request: Request, operator: Operator, form: dict[str, list[str]]) -> bool:
    """Whether a form is ours: its token, and where the browser says that it came from (OWASP CSRF cheat sheet)."""
    site = request.headers.get("sec-fetch-site", "same-origin")
    return site in ("same-origin", "none") and hmac.compare_digest(form.get("csrf", [""])[0], operator.csrf)


def _back(request: Request, form: dict[str, list[str]], notice: str = "") -> RedirectResponse:
    """To where the form was; only ever a path of the console."""
    wanted = form.get("back", ["/"])[0]
    parts = urlsplit(wanted)
    local = wanted.startswith("/") and not wanted.startswith(("//", "/\\")) and not parts.scheme and not parts.netloc
    response = RedirectResponse(_base(request) + (wanted if local else "/"), 303, headers={"cache-control": "no-store"})
    if notice:
        tone, _, text = notice.partition(":")
        response.set_cookie(
            "notice", f"{tone}:{quote(text[:300])}", max_age=60, path=_base(request) or "/", samesite="lax", httponly=True
        )
    return response
