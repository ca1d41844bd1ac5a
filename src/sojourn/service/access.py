"""Who asks: keys, what they allow, and whose sessions they reach.

A key comes as ``Authorization: Bearer …``. Scopes are ``read`` and ``write`` (of everything a tenant has), the same for one
kind (``conversations:read``), and ``admin`` (the store: sweep, erase, facts), which includes all.
"""

from __future__ import annotations

import hmac
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, Protocol

from starlette.requests import HTTPConnection

from sojourn.service.problems import ProblemError

ADMIN: Final = "admin"


@dataclass(frozen=True, slots=True)
class Credential:
    """Whose key it is, and what it allows."""

    name: str
    tenant: str
    scopes: frozenset[str] = field(default_factory=lambda: frozenset({"read", "write"}))

    def allows(self, kind: str, action: str) -> bool:
        """Whether ``action`` (``read``, ``write`` or ``admin``) on a kind is within its scopes."""
        return bool(self.scopes & {ADMIN, action, f"{kind}:{action}"} if action != ADMIN else self.scopes & {ADMIN})


class Keys(Protocol):
    """What tells a key from no key."""

    async def find(self, token: str) -> Credential | None:
        """The credential of a presented token; None when there is none. An empty token is nobody's."""
        ...


class OpenKeys:
    """Everybody may do everything in one tenant: for an address that only this machine reaches."""

    def __init__(self, tenant: str = "default") -> None:
        self._everybody = Credential("local", tenant, frozenset({ADMIN}))

    async def find(self, token: str) -> Credential | None:  # noqa: ARG002  # whatever it is
        """The same credential for whoever asks."""
        return self._everybody


class SecretKeys:
    """A fixed set of keys, kept as digests and compared in constant time."""

    def __init__(self, keys: dict[str, Credential]) -> None:
        self._known = [(sha256(token.encode()).digest(), credential) for token, credential in keys.items()]

    async def find(self, token: str) -> Credential | None:
        """The credential whose key this is."""
        digest = sha256(token.encode("utf-8", "surrogatepass")).digest()
        found = [credential for known, credential in self._known if hmac.compare_digest(known, digest)]
        return found[0] if found else None


class Rates:
    """How often somebody may ask: buckets of ten seconds, one a name, that fill by themselves. None: as often as they like."""

    def __init__(self, per_second: float | None, most: int = 10_000) -> None:
        self._rate = per_second
        self._most = most
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, name: str) -> None:
        """Count one request; 429 when there were too many."""
        rate = self._rate
        if rate is None:
            return
        now = time.monotonic()
        left, at = self._left.pop(name, (rate * 10, now))
        left = min(rate * 10, left + (now - at) * rate)
        self._left[name] = max(0.0, left - 1), now
        if len(self._left) > self._most:
            self._left.popitem(last=False)
        if left < 1:
            wait = {"retry-after": "1"}
            raise ProblemError(
                429, "service.rate", f"More than {rate:g} requests a second.", hint="Wait a little.", headers=wait
            )


def address_of(connection: HTTPConnection) -> str:
    """Where a request comes from, as far as the server knows."""
    return "" if connection.client is None else connection.client.host


def bearer(connection: HTTPConnection) -> str:
    """The token of the ``Authorization`` header; empty when there is none."""
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


async def credential_of(keys: Keys, connection: HTTPConnection) -> Credential:
    """Who asks; 401 when nobody that is known does."""
    found = await keys.find(bearer(connection))
    if found is None:
        raise ProblemError(
            401,
            "service.unauthorized",
            "A valid API key is needed.",
            hint="Send it as 'Authorization: Bearer <key>'.",
            headers={"www-authenticate": 'Bearer realm="sojourn"'},
        )
    return found


def demand(credential: Credential, kind: str, action: str) -> None:
    """Refuse what the key does not allow."""
    if not credential.allows(kind, action):
        needed = action if action == ADMIN else f"{kind}:{action}"
        raise ProblemError(
            403, "service.forbidden", f"This key does not allow {needed}.", hint="Ask for a key with that scope."
        )
