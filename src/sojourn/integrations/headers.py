"""HTTP's headers as far as logins need them: cookies, bearer tokens, and where a request comes from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, TypeAlias
from unicodedata import category
from urllib.parse import urlsplit

RawHeaders: TypeAlias = Iterable[tuple[bytes, bytes]]
Came: TypeAlias = Literal["own", "other", "unsaid"]
"""Whether a request was begun by a page of this site, by another one, or does not say."""

SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""Methods that change nothing (RFC 9110, 9.2.1)."""

_CONTROLS: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_LONGEST_AGENT: Final = 1024
_PORTS: Final = {"http": ":80", "https": ":443", "ws": ":80", "wss": ":443"}


class RequestHeaders:
    """The headers of a request, by lower-case name."""

    def __init__(self, raw: RawHeaders) -> None:
        self._found: dict[str, list[str]] = {}
        for name, value in raw:
            self._found.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))

    def get(self, name: str) -> str | None:
        """The first value of a header."""
        values = self._found.get(name)
        return None if values is None else values[0].strip()

    def cookie(self, name: str) -> str | None:
        """A cookie's value, None when it is not there. Of several by one name none is believed: one was planted."""
        found: set[str] = set()
        for header in self._found.get("cookie", ()):
            for part in header.split(";"):
                key, equals, value = part.partition("=")
                if equals and key.strip() == name:
                    found.add(value.strip().strip('"'))
        return next(iter(found)) if len(found) == 1 else ("" if found else None)

    def bearer(self) -> str | None:
        """The token of ``Authorization: Bearer`` (RFC 6750, 2.1), None when there is no such header."""
        value = self.get("authorization")
        if value is None:
            return None
        scheme, _, token = value.partition(" ")
        return token.strip() if scheme.lower() == "bearer" else None

    def agent(self) -> str | None:
        """The user agent, without what steers terminals, and shortened: an odd one is no reason to refuse a sign-in."""
        value = self.get("user-agent")
        return None if value is None else plain(value, _LONGEST_AGENT)

    def came(self, trusted: frozenset[str]) -> Came:
        """Where the request was begun: by ``Sec-Fetch-Site`` (Fetch Metadata), else by ``Origin`` beside ``Host``."""
        origin = self.get("origin")
        if origin is not None and origin in trusted:
            return "own"
        site = self.get("sec-fetch-site")
        if site is not None:
            return "own" if site.lower() in ("same-origin", "none") else "other"
        if origin is None:
            return "unsaid"
        return "own" if _is_at(origin, self.get("host") or "") else "other"


def plain(text: str, limit: int) -> str | None:
    """Text without control characters, cut to ``limit``; None when nothing is left."""
    clean = text if text.isascii() and text.isprintable() else "".join(one for one in text if category(one) not in _CONTROLS)
    return clean[:limit].strip() or None


def _is_at(origin: str, host: str) -> bool:
    """Whether an origin is of this host. The scheme is not compared: a proxy may have ended TLS."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    port = _PORTS.get(parts.scheme, "")
    return bool(parts.netloc) and parts.netloc.lower().removesuffix(port) == host.lower().removesuffix(port)


def with_vary(headers: list[tuple[bytes, bytes]], name: bytes) -> None:
    """Add a name to ``Vary``, once."""
    named = b", ".join(value for key, value in headers if key.lower() == b"vary")
    known = {part.strip().lower() for part in named.split(b",")}
    if b"*" in known or name.lower() in known:
        return
    headers[:] = [pair for pair in headers if pair[0].lower() != b"vary"]
    headers.append((b"vary", named + b", " + name if named else name))


def replaced(headers: list[tuple[bytes, bytes]], name: bytes, value: bytes) -> None:
    """Set a header that is there once."""
    headers[:] = [pair for pair in headers if pair[0].lower() != name]
    headers.append((name, value))
