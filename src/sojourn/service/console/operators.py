"""Signing in to the console: a one-time link that the server prints, then a login of Sojourn's own in a cookie."""

from __future__ import annotations

import contextlib
import secrets
import time
from datetime import timedelta
from hashlib import sha256
from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from sojourn.errors import EndedError, ExpiredError, InvalidValueError, NotFoundError
from sojourn.kinds.logins.model import LoginPolicy
from sojourn.service.console.forms import client_of, cookie_of, forget_secret, set_secret
from sojourn.service.console.pages import Operator
from sojourn.service.keys import service_logins
from sojourn.store import AsyncStore

COOKIE: Final = "sojourn_console"
CONSOLE: Final = "console"
_LINK_LIVES: Final = 600.0
_POLICY: Final = LoginPolicy(idle=timedelta(hours=8), absolute=timedelta(days=7))


class LinkOperators:
    """Operators of one server. A link signs in once, within ten minutes; the login lasts eight hours without use."""

    def __init__(self, store: AsyncStore) -> None:
        self._tenant = store.tenant
        self._logins = service_logins(store, _POLICY)
        self._links: dict[bytes, float] = {}

    def link(self) -> str:
        """The path and query of a new sign-in link."""
        now = time.monotonic()
        self._links = {digest: until for digest, until in self._links.items() if until > now}
        once = secrets.token_urlsafe(32)
        self._links[sha256(once.encode()).digest()] = now + _LINK_LIVES
        return f"/signin?once={once}"

    async def find(self, request: Request) -> Operator | None:
        """Who the cookie says is signed in."""
        token = cookie_of(request, COOKIE)
        if not token:
            return None
        try:
            login = await self._logins.authenticate(token)
        except (NotFoundError, ExpiredError, EndedError, InvalidValueError):
            return None
        return Operator(login.user_id, self._tenant, token) if login.client_type == CONSOLE else None

    async def sign_in(self, request: Request, back: str) -> Response | None:
        """Take a link and give a cookie; None for a link that is unknown, used or too old."""
        once = request.query_params.get("once", "")
        until = self._links.pop(sha256(once.encode("utf-8", "surrogatepass")).digest(), None)
        if until is None or until < time.monotonic():
            return None
        ip, agent = client_of(request)
        made = await self._logins.create("operator", client_type=CONSOLE, ip=ip, user_agent=agent)
        response = RedirectResponse(back, 303, headers={"cache-control": "no-store"})
        set_secret(request, response, COOKIE, str(made.token))
        return response

    async def sign_out(self, request: Request, back: str) -> Response:
        """End the login, and have the browser forget what it kept of the console."""
        token = cookie_of(request, COOKIE)
        if token:
            with contextlib.suppress(NotFoundError, ExpiredError, EndedError, InvalidValueError):
                await self._logins.revoke_token(token, reason="signed out")
        response = RedirectResponse(f"{back}signin", 303, headers={"cache-control": "no-store"})
        response.headers["clear-site-data"] = '"cache", "storage"'
        forget_secret(request, response, COOKIE)
        return response
