"""What a browser is given to keep, signed: anonymous data, and tokens against forged requests.

Signed is not secret: whoever has the cookie can read it, and nobody can change it. Keys come from the application; several
let a key be replaced (the first one signs, all are accepted).
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

try:
    from itsdangerous import BadData, Signer, URLSafeTimedSerializer
except ImportError as _error:
    raise ImportError("sojourn.integrations.asgi needs the package itsdangerous: pip install 'sojourn[web]'") from _error

from sojourn.core.codec import Json
from sojourn.errors import InvalidValueError, LimitError

LEAST_KEY: Final = 32
"""Bytes of a key."""
LONGEST_COOKIE: Final = 3800
"""Bytes of a cookie's value; browsers keep 4,096 for name, value and attributes (RFC 6265, 6.1)."""


class Anonymous:
    """What is kept in the browser of somebody who is not signed in."""

    __slots__ = ("data", "nonce")

    def __init__(self, data: dict[str, Json] | None = None, nonce: str = "") -> None:
        self.data: dict[str, Json] = {} if data is None else data
        self.nonce: str = nonce

    def __bool__(self) -> bool:
        return bool(self.data or self.nonce)


class Signing:
    """Signs and checks, under the keys of one application."""

    def __init__(self, keys: str | bytes | Sequence[str | bytes], max_age: timedelta) -> None:
        oldest_first = [*reversed(check_keys(keys))]
        options: dict[str, Any] = {"key_derivation": "hmac", "digest_method": hashlib.sha256}
        self._max_age = int(max_age.total_seconds())
        self._cookies = URLSafeTimedSerializer(oldest_first, salt=b"sojourn.anonymous", signer_kwargs=options)
        self._forgery = Signer(oldest_first, salt=b"sojourn.csrf", sep=b".", **options)

    # -- anonymous data --------------------------------------------------------------------------------------------------

    def pack(self, kept: Anonymous) -> str:
        """A cookie's value; `LimitError` when it would be longer than browsers keep."""
        text = self._cookies.dumps({"d": kept.data, "n": kept.nonce})
        if len(text) > LONGEST_COOKIE:
            raise LimitError(
                f"anonymous data of {len(text):,} bytes does not fit into a cookie ({LONGEST_COOKIE:,}).",
                hint="Sign the visitor in, as a guest for example, and keep it in the login's metadata or your own tables.",
            )
        return text

    def unpack(self, text: str) -> Anonymous | None:
        """What a cookie holds; None for one that is not ours, was changed or is too old."""
        try:
            found = self._cookies.loads(text, max_age=self._max_age)
        except BadData:
            return None
        if not isinstance(found, dict) or not isinstance(found.get("d"), dict) or not isinstance(found.get("n"), str):
            return None
        return Anonymous(found["d"], found["n"])

    # -- forged requests -------------------------------------------------------------------------------------------------

    def token(self, bound_to: str) -> str:
        """A token for forms, good for one login or one anonymous browser; another one at each call (against BREACH)."""
        salt = secrets.token_urlsafe(12)
        return f"{salt}.{self._forgery.get_signature(f'{salt}.{bound_to}').decode()}"

    def is_token(self, text: str, bound_to: str) -> bool:
        """Whether a token was made for this login or browser; compared in constant time."""
        salt, dot, signature = text.partition(".")
        if not dot or not text.isascii():
            return False
        return self._forgery.verify_signature(f"{salt}.{bound_to}".encode(), signature.encode())


def new_nonce() -> str:
    """What tokens of an anonymous browser are bound to."""
    return secrets.token_urlsafe(16)


def check_keys(keys: Any) -> list[bytes]:
    """One key or several, each of at least 32 bytes."""
    given: Any = [keys] if isinstance(keys, (str, bytes)) else keys
    if not isinstance(given, Sequence) or not given:
        raise InvalidValueError("secret_key must be text or bytes, or a list of them.")
    found: list[bytes] = []
    for key in given:
        if not isinstance(key, (str, bytes)):
            raise InvalidValueError(f"secret_key must be text or bytes, not {type(key).__name__}.")
        raw = key.encode() if isinstance(key, str) else key
        if len(raw) < LEAST_KEY:
            raise InvalidValueError(
                f"a secret_key must have at least {LEAST_KEY} bytes, this one has {len(raw)}.",
                hint="secrets.token_urlsafe(32) makes a good one; keep it outside the source.",
            )
        found.append(raw)
    return found
