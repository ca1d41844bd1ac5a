"""Logins for web applications: a middleware for Starlette, FastAPI, Litestar and whatever else speaks ASGI.

    app.add_middleware(LoginMiddleware, store=lambda _: app.state.store, secret_key=KEY)

``request.state.login`` is then who is signed in, or None, and `visit_of` gives what signs in and out. A request without a
token of ours costs nothing: no read, no record. One with a token is one read, and a write at most every
``LoginPolicy.touch_every``.

The token is in the cookie ``__Host-sid`` (Secure, HttpOnly, SameSite=Lax, Path=/: NIST SP 800-63B-4, 5.1.1) or behind
``Authorization: Bearer``; never in a URL. One that we did not give out signs nobody in and is never made into a login.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from datetime import timedelta
from typing import Any, Final, Literal, Protocol, TypeAlias
from urllib.parse import parse_qs

from sojourn.core.codec import Json
from sojourn.core.times import span
from sojourn.errors import ConflictError, EndedError, ExpiredError, InvalidValueError, LimitError, NotFoundError
from sojourn.integrations.headers import SAFE, Came, RequestHeaders, plain, replaced, with_vary
from sojourn.integrations.signing import Anonymous, Signing, new_nonce
from sojourn.kinds.logins.api import AsyncLogins
from sojourn.kinds.logins.model import Login, NewLogin, OnConflict
from sojourn.store import AsyncStore

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
Csrf: TypeAlias = Literal["auto", "token", "off"]

CSRF_HEADER: Final = "x-csrf-token"
CSRF_FIELD: Final = "csrf_token"

_FORM: Final = "application/x-www-form-urlencoded"
_LONGEST_FORM: Final = 1 << 20
_AGAIN: Final = "signed_in_again"
_FORGED: Final = (
    b'{"type":"about:blank","title":"Forbidden","status":403,"code":"csrf",'
    b'"detail":"This request was begun by another site, or does not prove that it was not: '
    b'send the header X-CSRF-Token or the form field csrf_token."}'
)

_log = logging.getLogger(__name__)
_log.addHandler(logging.NullHandler())  # heard where the application listens


class HasScope(Protocol):
    """A request or a WebSocket of any framework."""

    @property
    def scope(self) -> Any:
        """Its ASGI scope."""
        ...


def visit_of(connection: HasScope | Mapping[str, Any]) -> Visit:
    """The visit of a request, a WebSocket, or an ASGI scope; `InvalidValueError` where no middleware has been."""
    scope = connection if isinstance(connection, Mapping) else connection.scope
    visit = scope.get("state", {}).get("visit")
    if not isinstance(visit, Visit):
        raise InvalidValueError("there is no LoginMiddleware around this application.", hint="Add it to the application.")
    return visit


class Visit:
    """One request of one browser or client: who is signed in, and what is kept of somebody who is not."""

    def __init__(self, web: LoginMiddleware, scope: Scope, headers: RequestHeaders, store: AsyncStore) -> None:
        self._web = web
        self._state: dict[str, Any] = {**scope.get("state", {}), "visit": self, "login": None}
        client = scope.get("client")
        self.ip: str | None = plain(str(client[0]), 64) if client else None
        """From where, as the server says; behind a proxy that is for the server to find out."""
        self.user_agent: str | None = headers.agent()
        self.refusal: str | None = None
        """Why a token was presented and signs nobody in: ``session.not_found``, ``session.expired``, ``session.ended``."""
        self.store: AsyncStore = store
        """The store of this request."""
        self._logins: AsyncLogins = store.logins.acting(ip=self.ip, user_agent=self.user_agent)
        self._bearer = headers.bearer() if web.bearer else None
        self._cookie = headers.cookie(web.cookie)
        packed = headers.cookie(web.anonymous_cookie)
        self._packed = packed
        self._kept: Anonymous = (None if packed is None else web._signing.unpack(packed)) or Anonymous()
        self._token: str | None = self._bearer if self._bearer is not None else self._cookie
        self._set: str | None = None
        self._changed = packed is not None and not self._kept
        self._signed_out = False
        self._answered = False

    # -- who -------------------------------------------------------------------------------------------------------------

    @property
    def login(self) -> Login | None:
        """Who is signed in; the same as ``request.state.login``."""
        found: Login | None = self._state["login"]
        return found

    @property
    def by(self) -> Literal["cookie", "bearer"] | None:
        """How the token came, None when none did."""
        if self._bearer is not None:
            return "bearer"
        return None if self._cookie is None else "cookie"

    async def _identify(self) -> None:
        """Find out who it is: one read where there is a token, none where there is none."""
        if self._token is None:
            return
        try:
            self._state["login"] = await self._logins.authenticate(self._token)
        except (NotFoundError, ExpiredError, EndedError) as error:
            self.refusal = error.code
            self._token = None
            ended: Any = error.record
            if self.by == "cookie" and getattr(ended, "reason", "") != _AGAIN:
                self._set = ""  # but where the browser has signed in again it has another cookie by now, which this would take
            _log.info("a token was refused: %s, %s, from %s", error.code, self.by, self.ip)

    # -- signing in and out ----------------------------------------------------------------------------------------------

    async def sign_in(
        self,
        user_id: str | int | None = None,
        *,
        username: str | None = None,
        client_type: str = "web",
        character_id: str | int | None = None,
        world_id: str | int | None = None,
        on_conflict: OnConflict = "refuse",
        amr: Iterable[str] = (),
        metadata: Mapping[str, Json] | None = None,
        carry: Iterable[str] = (),
        cookie: bool | None = None,
        key: str | None = None,
    ) -> NewLogin:
        """Sign a user in, whose proof the application has just checked, and set the cookie; errors are those of `create`.

        Always under a fresh token, and whatever login the client had before ends (OWASP ASVS 5.0, 7.2.4). ``carry`` names
        anonymous data that becomes the login's metadata; the rest is dropped. ``cookie=False`` sets none, for clients that
        keep the token themselves (so it is by itself for a request that came with a bearer token).
        """
        self._must_not_have_begun()
        before, amr = self.login, [*amr]
        carried = {name: self._kept.data[name] for name in carry if name in self._kept.data}

        async def make() -> NewLogin:
            return await self._logins.create(
                user_id,
                username=username,
                client_type=client_type,
                character_id=character_id,
                world_id=world_id,
                on_conflict=on_conflict,
                amr=amr,
                metadata={**carried, **(metadata or {})},
                key=key,
            )

        try:
            made = await make()
        except (LimitError, ConflictError) as error:
            if before is None or (isinstance(error, ConflictError) and not _is_holder(before, error)):
                raise
            await self._end(before)  # which makes room, and gives its character up
            made = await make()
        if before is not None and before.id != made.login.id:
            await self._end(before)
        self._now(made, cookie)
        self._kept, self._changed = Anonymous(), self._packed is not None
        return made

    async def _end(self, login: Login) -> None:
        await self._logins.revoke(login.id, reason=_AGAIN)

    async def sign_out(self, *, everywhere: bool = False, key: str | None = None) -> int:
        """End the login, or with ``everywhere`` all of its user; how many were ended.

        The cookies go, and the browser is told to drop what it has cached and stored of the site.
        """
        self._must_not_have_begun()
        login, done = self.login, 0
        if login is not None and everywhere:
            done = await self._logins.revoke_user(login.user_id, reason="signed_out_everywhere", key=key)
        elif login is not None:
            done = int(await self._logins.revoke(login.id, reason="signed_out", key=key))
        self._state["login"], self._token, self._signed_out = None, None, True
        self._set = "" if self._cookie is not None else None
        self._kept, self._changed = Anonymous(), self._packed is not None
        return done

    async def rotate(self, *, reauthenticated: bool = False, key: str | None = None) -> NewLogin:
        """The same login under a fresh token, and the cookie with it: at every change of what the user may do.

        ``reauthenticated``: the user has just proved who they are once more. `NotFoundError` when nobody is signed in.
        """
        self._must_not_have_begun()
        if self._token is None:
            raise NotFoundError("nobody is signed in.", hint="Sign in first.")
        made = await self._logins.rotate(self._token, reauthenticated=reauthenticated, key=key)
        self._now(made, None)
        return made

    def _now(self, made: NewLogin, cookie: bool | None) -> None:
        self._state["login"], self._token, self.refusal = made.login, str(made.token), None
        if cookie if cookie is not None else self._bearer is None:
            self._set = self._token
        elif self._bearer is None and self._cookie is not None:
            self._set = ""

    # -- data ------------------------------------------------------------------------------------------------------------

    @property
    def data(self) -> Mapping[str, Json]:
        """The login's metadata; of somebody who is not signed in, what the signed cookie holds."""
        return dict(self._kept.data) if self.login is None else dict(self.login.metadata)

    async def update(self, set: Mapping[str, Json] | None = None, unset: Iterable[str] = (), *, key: str | None = None) -> None:
        """Patch `data`: the login's metadata in one commit, or the signed cookie, which the visitor can read.

        `LimitError` when it does not fit into a cookie: then it is time for a record (`sign_in`, as a guest for example).
        """
        if self.login is not None:
            self._state["login"] = await self._logins.update(self.login.id, set, unset, key=key)
            return
        self._must_not_have_begun()
        gone = {*unset}
        data = {name: value for name, value in {**self._kept.data, **(set or {})}.items() if name not in gone}
        kept = Anonymous(data, self._kept.nonce)
        self._web._signing.pack(kept)  # too long? then nothing has changed
        self._kept, self._changed = kept, True

    # -- forged requests -------------------------------------------------------------------------------------------------

    @property
    def csrf_token(self) -> str:
        """A token for a form's field ``csrf_token`` or the header ``X-CSRF-Token``; it is good for this login or browser."""
        if self.login is None and not self._kept.nonce:
            self._must_not_have_begun()
            self._kept, self._changed = Anonymous(self._kept.data, new_nonce()), True
        return self._web._signing.token(self._bound_to())

    def is_csrf_token(self, token: str) -> bool:
        """Whether a token was made for this login or browser."""
        return (self.login is not None or bool(self._kept.nonce)) and self._web._signing.is_token(token, self._bound_to())

    def _bound_to(self) -> str:
        return f"anonymous {self._kept.nonce}" if self.login is None else f"login {self.login.id}"

    @property
    def _has_cookies(self) -> bool:
        """Whether the browser sent something by itself that a forged request would live on."""
        return self._cookie is not None or self._packed is not None

    # -- the answer ------------------------------------------------------------------------------------------------------

    def _begin(self, headers: list[tuple[bytes, bytes]]) -> None:
        """What the answer must say: cookies that have changed, and what may be cached."""
        self._answered = True
        web = self._web
        with_vary(headers, b"Cookie")
        made: list[str] = []
        if self._set is not None:
            made.append(web._set_cookie(web.cookie, self._set, web.max_age))
        if self._changed:
            kept = web._signing.pack(self._kept) if self._kept else ""
            if kept or self._packed is not None:
                lasting = web.anonymous_max_age if self._kept.data else None  # a form's nonce alone may go with the browser
                made.append(web._set_cookie(web.anonymous_cookie, kept, lasting))
        headers += [(b"set-cookie", text.encode("ascii")) for text in made]
        if made or self._signed_out:
            replaced(headers, b"cache-control", b"no-store")
        elif self.login is not None and all(name.lower() != b"cache-control" for name, _ in headers):
            headers.append((b"cache-control", b"private, no-cache"))
        if self._signed_out and web.clear_site_data:
            replaced(headers, b"clear-site-data", ", ".join(f'"{what}"' for what in web.clear_site_data).encode("ascii"))

    def _must_not_have_begun(self) -> None:
        if self._answered:
            raise InvalidValueError(
                "the answer has begun, so its headers cannot say this any more.", hint="Do it before the response is made."
            )


class LoginMiddleware:
    """Finds who is signed in, keeps cookies, and refuses requests that other sites have forged.

    ``store``: a store from `sojourn.aopen`, or a function that gives it for an ASGI scope (an application opens its store
    when it starts; tenants are told apart here: ``lambda scope: store.for_tenant(…)``). A blocking store would stop the
    loop at every request and is refused. ``secret_key``: 32 bytes or more, or several (the first one signs), for anonymous
    data and tokens against forgery; logins do not depend on it.

    ``csrf``: what a request needs that changes something and came by cookie. ``auto``: that the browser says it was begun
    here (``Sec-Fetch-Site``, else ``Origin``), or a token where it says nothing. ``token``: a token as well (NIST SP
    800-63B-4, 5.1). ``off``: nothing. ``trusted_origins``, such as ``https://admin.example.com``, may always.

    ``max_age``: how long browsers keep the token; None (as OWASP advises) until they are closed. The deadlines of
    `LoginPolicy` hold in any case. ``secure=False`` is for trying things on plain HTTP: cookies ``sid`` and ``anon``,
    without the prefix ``__Host-``, which browsers take over HTTPS (and from localhost) only.
    """

    def __init__(
        self,
        app: App,
        *,
        store: AsyncStore | Callable[[Scope], AsyncStore],
        secret_key: str | bytes | Sequence[str | bytes],
        csrf: Csrf = "auto",
        trusted_origins: Iterable[str] = (),
        cookie: str = "sid",
        anonymous_cookie: str = "anon",
        secure: bool = True,
        same_site: Literal["lax", "strict"] = "lax",
        max_age: timedelta | None = None,
        anonymous_max_age: timedelta = timedelta(days=30),
        bearer: bool = True,
        clear_site_data: Iterable[str] = ("cache", "storage"),
    ) -> None:
        self._app = app
        self._store = store if not isinstance(store, AsyncStore) and callable(store) else _checked(store)
        for name, value, choices in (("csrf", csrf, ("auto", "token", "off")), ("same_site", same_site, ("lax", "strict"))):
            if value not in choices:
                raise InvalidValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}.")
        if isinstance(trusted_origins, str):
            raise InvalidValueError("trusted_origins must be a list of origins.", hint="For example ['https://example.com'].")
        prefix = "__Host-" if secure else ""
        self._signing: Signing = Signing(secret_key, anonymous_max_age)
        self.cookie: str = prefix + _check_cookie_name(cookie)
        self.anonymous_cookie: str = prefix + _check_cookie_name(anonymous_cookie)
        self.max_age: timedelta | None = max_age
        self.anonymous_max_age: timedelta = anonymous_max_age
        for name, age in (("max_age", max_age), ("anonymous_max_age", anonymous_max_age)):
            if age is not None:
                span(age, name)
        self.bearer: bool = bool(bearer)
        self.clear_site_data: tuple[str, ...] = tuple(clear_site_data)
        self._csrf: Csrf = csrf
        self._trusted = frozenset(origin.rstrip("/") for origin in trusted_origins)
        self._attributes = f"; Path=/; HttpOnly; SameSite={same_site.capitalize()}{'; Secure' if secure else ''}"

    def _set_cookie(self, name: str, value: str, max_age: timedelta | None) -> str:
        """A ``Set-Cookie`` header; an empty value takes the cookie away."""
        age = "" if max_age is None else f"; Max-Age={int(max_age.total_seconds())}"
        return f"{name}={value}{age if value else '; Max-Age=0'}{self._attributes}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or WebSocket."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = RequestHeaders(scope["headers"])
        store = self._store if isinstance(self._store, AsyncStore) else _checked(self._store(scope))
        visit = Visit(self, scope, headers, store)
        came = headers.came(self._trusted)
        if self._is_forged(scope, visit, came):
            await _refuse(scope, receive, send, visit)
            return
        await visit._identify()
        if self._needs_token(scope, visit, headers, came):
            given = headers.get(CSRF_HEADER)
            if given is None:
                given, receive = await _field(headers, receive)
            if given is None or not visit.is_csrf_token(given):
                await _refuse(scope, receive, send, visit)
                return
        scope["state"] = visit._state
        await self._app(scope, receive, _answering(visit, send) if scope["type"] == "http" else send)

    def _is_forged(self, scope: Scope, visit: Visit, came: Came) -> bool:
        """Whether another site has begun a request that changes something. A bearer token is sent by no browser by itself."""
        if self._csrf == "off" or visit.by == "bearer" or came != "other":
            return False
        return scope["type"] == "websocket" or scope["method"] not in SAFE

    def _needs_token(self, scope: Scope, visit: Visit, headers: RequestHeaders, came: Came) -> bool:
        if self._csrf == "off" or visit.by == "bearer" or scope["type"] == "websocket" or scope["method"] in SAFE:
            return False
        if headers.get("origin") in self._trusted:
            return False
        return self._csrf == "token" or (came == "unsaid" and visit._has_cookies)


def _is_holder(login: Login, error: ConflictError) -> bool:
    """Whether a login, and it alone, holds the character that somebody wanted."""
    return error.holder == login.id and not login.shared_character


def _checked(store: object) -> AsyncStore:
    if not isinstance(store, AsyncStore):
        raise InvalidValueError(
            f"LoginMiddleware takes a store from sojourn.aopen(), not {type(store).__name__}.",
            hint="A blocking store would stop the event loop at every request; every engine can be opened with aopen().",
        )
    return store


def _check_cookie_name(name: object) -> str:
    if not isinstance(name, str) or not name.isascii() or not name.replace("-", "").replace("_", "").isalnum():
        raise InvalidValueError(f"a cookie's name is of letters, digits, - and _, got {name!r}.")
    return name


def _answering(visit: Visit, send: Send) -> Send:
    async def answer(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [(bytes(name), bytes(value)) for name, value in message.get("headers", ())]
            visit._begin(headers)
            message = {**message, "headers": headers}
        await send(message)

    return answer


async def _refuse(scope: Scope, receive: Receive, send: Send, visit: Visit) -> None:
    """403 for a request, and a WebSocket that is closed before it is accepted (which servers answer with 403)."""
    _log.warning("a request was refused as forged: %s, from %s", scope.get("method", "WebSocket"), visit.ip)
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": "begun by another site"})
        return
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", str(len(_FORGED)).encode()),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": _FORGED if scope["method"] != "HEAD" else b""})


async def _field(headers: RequestHeaders, receive: Receive) -> tuple[str | None, Receive]:
    """The field of a form, and what gives the application the same body again. Only small forms are looked into."""
    kind = (headers.get("content-type") or "").partition(";")[0].strip().lower()
    length = headers.get("content-length") or "0"
    if kind != _FORM or not length.isdecimal() or int(length) > _LONGEST_FORM:
        return None, receive
    messages: list[Message] = []
    body = b""
    more = True
    while more and len(body) <= _LONGEST_FORM:
        message = await receive()
        messages.append(message)
        more = message["type"] == "http.request" and bool(message.get("more_body", False))
        body += message.get("body", b"")
    waiting = iter(messages)

    async def again() -> Message:
        message = next(waiting, None)
        return await receive() if message is None else message

    if more:
        return None, again
    try:
        fields = parse_qs(body.decode(), max_num_fields=1000)
    except ValueError:  # not UTF-8, or thousands of fields
        return None, again
    values = fields.get(CSRF_FIELD, [])
    return (values[0] if len(values) == 1 else None), again
