"""What every page of the console shares: its security headers, where it is mounted, its forms and its cookies."""

from __future__ import annotations

import hmac
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from sojourn.service.problems import ProblemError

THEMES: Final = ("light", "dark")

SECURITY: Final = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}


def client_of(request: Request) -> tuple[str | None, str | None]:
    """The address and the user agent of a request, as a login keeps them."""
    agent = "".join(character for character in request.headers.get("user-agent", "") if character.isprintable())
    return (None if request.client is None else request.client.host), agent[:200] or None


def base_of(request: Request) -> str:
    """Where the service is mounted; empty at the top."""
    return str(request.scope.get("root_path", "")).rstrip("/")


def here_of(request: Request) -> str:
    """The path and query of this page, under the console's own."""
    path = request.url.path.removeprefix(base_of(request)) or "/"
    return f"{path}?{request.url.query}" if request.url.query else path


def theme_of(request: Request) -> str:
    """The theme that was chosen; empty for the browser's own."""
    chosen = request.cookies.get("theme", "")
    return chosen if chosen in THEMES else ""


def notice_of(request: Request) -> dict[str, str] | None:
    """What the action before this page came to."""
    tone, _, text = request.cookies.get("notice", "").partition(":")
    return {"tone": tone, "text": unquote(text)} if text and tone in ("good", "bad") else None


def is_own(request: Request, csrf: str, form: dict[str, list[str]]) -> bool:
    """Whether a form is ours: its token, and where the browser says that it came from (OWASP CSRF cheat sheet)."""
    site = request.headers.get("sec-fetch-site", "same-origin")
    return site in ("same-origin", "none") and hmac.compare_digest(field_of(form, "csrf").encode(), csrf.encode())


def back_to(request: Request, form: dict[str, list[str]], notice: str = "") -> RedirectResponse:
    """To where the form was; only ever a path of the console."""
    wanted = field_of(form, "back") or "/"
    parts = urlsplit(wanted)
    local = wanted.startswith("/") and not wanted.startswith(("//", "/\\")) and not parts.scheme and not parts.netloc
    response = RedirectResponse(base_of(request) + (wanted if local else "/"), 303, headers={"cache-control": "no-store"})
    if notice:
        tone, _, text = notice.partition(":")
        response.set_cookie(
            "notice", f"{tone}:{quote(text[:300])}", max_age=60, path=base_of(request) or "/", samesite="lax", httponly=True
        )
    return response


async def form_of(request: Request, limit: int = 100_000) -> dict[str, list[str]]:
    """The fields of a posted form."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > limit:
            raise ProblemError(413, "service.body", "The form is too large.")
    found: dict[str, list[str]] = {}
    try:
        fields = parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=2000)
    except ValueError as error:
        raise ProblemError(413, "service.body", "The form has too many fields.") from error
    for name, value in fields:
        found.setdefault(name, []).append(value)
    return found


def field_of(form: dict[str, list[str]], name: str) -> str:
    """The first value of a field; empty when there is none."""
    return form.get(name, [""])[0]


def cookie_of(request: Request, name: str) -> str:
    """A cookie's value; empty when there is none."""
    return request.cookies.get(_cookie_name(request, name), "")


def set_secret(request: Request, response: Response, name: str, value: str) -> None:
    """Give a cookie that signs somebody in. Over TLS its name says so (RFC 6265bis, 4.1.3)."""
    response.set_cookie(
        _cookie_name(request, name),
        value,
        path=base_of(request) or "/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )


def forget_secret(request: Request, response: Response, name: str) -> None:
    """Take a cookie back."""
    secure = request.url.scheme == "https"
    response.delete_cookie(
        _cookie_name(request, name), path=base_of(request) or "/", secure=secure, httponly=True, samesite="lax"
    )


def _cookie_name(request: Request, name: str) -> str:
    if request.url.scheme != "https":
        return name
    return f"__Secure-{name}" if base_of(request) else f"__Host-{name}"
