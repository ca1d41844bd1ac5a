"""Tokens: what a client holds, what the store keeps of it, and how the two are compared.

An issued token is ``sjl_<id>.<secret>``: the id finds the login, the secret (256 random bits) proves that it was given out.
Kept is only ``sjh<version>_<digest>``: SHA-256 of the whole token, or HMAC-SHA-256 under a pepper of that version. A slow
hash would add nothing, since 256 random bits cannot be guessed; it would only let strangers keep the processor busy.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from binascii import b2a_base64
from collections.abc import Iterable, Mapping
from math import log2
from typing import Any, Final, NamedTuple, NoReturn

from sojourn.core.ids import ALPHABET
from sojourn.errors import InvalidValueError, LimitError

PREFIX: Final = "sjl_"
LONGEST: Final = 512
"""Characters of a token that is looked at."""
RETIRED: Final = 4
"""How many replaced tokens a login remembers."""

_ISSUED: Final = re.compile(rf"sjl_([{ALPHABET}]{{26}})\.[A-Za-z0-9_-]{{43}}", re.ASCII)
_FOREIGN: Final = re.compile(r"(?!sjl_)(?!sjh\d+_)[\x21-\x7e]{1,512}", re.ASCII)
_UUID4: Final = re.compile(r"[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?4[0-9a-fA-F]{3}-?[89abAB][0-9a-fA-F]{3}-?[0-9a-fA-F]{12}")
_NOTHING: Final = "sjh0_" + "-" * 43
"""Shaped like what is kept, and the digest of nothing (no digest ends in a hyphen's bits)."""


_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")
_FILLER: Final = (_NOTHING,) * (RETIRED + 1)


class Token:
    """A token that was just made. ``str(token)`` reveals it; its repr does not, and it is neither pickled nor copied."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def __str__(self) -> str:
        """The token itself, to be sent to the client and kept nowhere."""
        return self._text

    def __repr__(self) -> str:
        return "Token(…)"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Token):
            return NotImplemented
        return hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash((Token, self._text))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a token is not pickled or copied; send str(token) to the client")


def mint(login: str) -> Token:
    """A fresh token of a login, with 256 bits from the operating system."""
    return Token(f"{PREFIX}{login}.{secrets.token_urlsafe(32)}")


class Presented(NamedTuple):
    """A token as somebody presents it, already hashed (a tuple: one is made for every request)."""

    id: str | None
    """The login it names, for a token of the shape that is issued."""
    foreign: bool
    """It may be a caller's own, found by its digest."""
    digests: tuple[str, ...]
    """What would be kept of it: under the current pepper first, then under older ones and under none."""


class Hasher:
    """Turns tokens into what is kept of them, under the peppers of a policy."""

    def __init__(self, peppers: Mapping[int, bytes] | None) -> None:
        self._peppers = sorted((peppers or {}).items(), reverse=True)

    def digest(self, text: str) -> str:
        """What is kept of a token."""
        return self._digests(text)[0]

    def read(self, token: str | Token) -> Presented:
        """What was presented. Whatever its shape, the same is hashed: unusable text counts as a token of nobody."""
        if not isinstance(token, (str, Token)):
            raise InvalidValueError(f"a token is text, not {type(token).__name__}.")
        text = str(token)
        match = _ISSUED.fullmatch(text)
        if match is not None:
            return Presented(match[1], False, self._digests(text))
        foreign = _FOREIGN.fullmatch(text) is not None
        return Presented(None, foreign, self._digests(text if foreign else PREFIX))

    def _digests(self, text: str) -> tuple[str, ...]:
        raw = text.encode()
        if not self._peppers:
            return (f"sjh0_{_text(hashlib.sha256(raw).digest())}",)
        found = [f"sjh{version}_{_text(hmac.digest(pepper, raw, 'sha256'))}" for version, pepper in self._peppers]
        return (*found, f"sjh0_{_text(hashlib.sha256(raw).digest())}")


def match(presented: Presented, kept: Iterable[str]) -> int | None:
    """Which of the kept digests (the current one, then replaced ones) was presented, or None.

    Every place is compared, taken or not, and always as many of them, in constant time.
    """
    found: int | None = None
    places = [*kept, *_FILLER][: RETIRED + 1]
    for digest in presented.digests:
        for place, known in enumerate(places):
            if hmac.compare_digest(digest, known) and found is None:
                found = place
    return found


def check_own(token: object, bits: int | None) -> str:
    """A caller's own token, strong enough; one that looks like ours, or like what is kept of one, is refused."""
    if not isinstance(token, (str, Token)):
        raise InvalidValueError(f"a token is text, not {type(token).__name__}.")
    text = str(token)
    if text.startswith(PREFIX) or re.match(r"sjh\d+_", text):
        raise InvalidValueError("a token of your own must not begin as issued tokens or their digests do.")
    if len(text) > LONGEST:
        raise LimitError(f"a token has at most {LONGEST} characters, this one has {len(text):,}.")
    if not _FOREIGN.fullmatch(text):
        raise InvalidValueError("a token is 1 to 512 printable ASCII characters without blanks.")
    if bits is not None and (found := strength(text)) < bits:
        raise InvalidValueError(
            f"this token has at most {found} random bits; the policy wants {bits}.",
            hint="secrets.token_urlsafe(32) makes a good one; without token= one is made for you.",
        )
    return text


def strength(text: str) -> int:
    """The most random bits that a token of this shape can have; 0 for one that repeats itself."""
    if _UUID4.fullmatch(text):
        return 122
    if len(set(text)) < min(8, len(text)):
        return 0
    for alphabet in ("0123456789", "0123456789abcdef", "0123456789ABCDEF", "abcdefghijklmnopqrstuvwxyz0123456789"):
        if set(text) <= set(alphabet):
            return int(len(text) * log2(len(alphabet)))
    if re.fullmatch(r"[A-Za-z0-9+/_=-]+", text):
        return 6 * len(text.rstrip("="))
    return int(len(text) * log2(94))


def check_peppers(peppers: Any) -> None:
    """Versions from 1 up, each with at least 16 bytes."""
    if peppers is None:
        return
    if not isinstance(peppers, Mapping) or not peppers:
        raise InvalidValueError("peppers must be a mapping of version to bytes, or None.")
    for version, pepper in peppers.items():
        if not isinstance(version, int) or isinstance(version, bool) or not 1 <= version < 1 << 31:
            raise InvalidValueError(f"a pepper's version must be a whole number from 1, got {version!r}.")
        if not isinstance(pepper, bytes) or len(pepper) < 16:
            raise InvalidValueError(f"pepper {version} must be at least 16 bytes.", hint="os.urandom(32) makes a good one.")


def _text(digest: bytes) -> str:
    return b2a_base64(digest, newline=False).translate(_URL_SAFE, b"=").decode()
