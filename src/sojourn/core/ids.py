"""Identifiers: 26 characters of Crockford base 32, time-ordered, carrying the home's bits; never secrets.

Layout of the 128 bits, as in a ULID but for the home: 48 bits of milliseconds, 10 bits of the home's hash (characters 10
and 11), 70 random bits. So an id sorts by creation and, alone, finds its shard. People are shown the tail, because ids made
in the same minute share their head.
"""

from __future__ import annotations

import os
import time
from hashlib import blake2b

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
LENGTH = 26
HOME_BITS = 10
TAIL = 8

_PAIRS = tuple(a + b for a in ALPHABET for b in ALPHABET)
_PAIR_NUMBER = {pair: number for number, pair in enumerate(_PAIRS)}
_ALLOWED = frozenset(ALPHABET)
_RANDOM_MASK = (1 << 70) - 1


def home_number(tenant: str, home: str) -> int:
    """The 10 bits of a home that its sessions' ids carry."""
    digest = blake2b(f"{tenant}\0{home}".encode("utf-8", "surrogatepass"), digest_size=2).digest()
    return int.from_bytes(digest, "big") >> 6


def make_id(millis: int, home: int, random: int) -> str:
    """The id of a moment (milliseconds since 1970), a home number and 70 random bits."""
    pairs = _PAIRS
    return "".join(
        (
            pairs[millis >> 40 & 0x3FF],
            pairs[millis >> 30 & 0x3FF],
            pairs[millis >> 20 & 0x3FF],
            pairs[millis >> 10 & 0x3FF],
            pairs[millis & 0x3FF],
            pairs[home],
            pairs[random >> 60 & 0x3FF],
            pairs[random >> 50 & 0x3FF],
            pairs[random >> 40 & 0x3FF],
            pairs[random >> 30 & 0x3FF],
            pairs[random >> 20 & 0x3FF],
            pairs[random >> 10 & 0x3FF],
            pairs[random & 0x3FF],
        )
    )


def random_id(millis: int, home: int) -> str:
    """A fresh id; the random bits come from the operating system, so that forked processes never share them."""
    return make_id(millis, home, int.from_bytes(os.urandom(9), "big") & _RANDOM_MASK)


def derived_id(millis: int, home: int, source: str) -> str:
    """The id that ``source`` (a foreign system's own key) always gets: imports use it, so that a second run finds the first."""
    digest = blake2b(source.encode("utf-8", "surrogatepass"), digest_size=9).digest()
    return make_id(millis, home, int.from_bytes(digest, "big") & _RANDOM_MASK)


def with_home(identifier: str, home: int) -> str:
    """``identifier`` carrying the bits of ``home``."""
    return identifier[:10] + _PAIRS[home] + identifier[12:]


def home_of(identifier: str) -> int:
    """The home number inside an id."""
    return _PAIR_NUMBER[identifier[10:12]]


def millis_of(identifier: str) -> int:
    """The moment inside an id, in milliseconds since 1970."""
    number = 0
    for place in range(0, 10, 2):
        number = number << 10 | _PAIR_NUMBER[identifier[place : place + 2]]
    return number


def is_id(text: object) -> bool:
    """Whether ``text`` has the shape of an id; what has not is simply not found, without asking the engine."""
    return isinstance(text, str) and len(text) == LENGTH and _ALLOWED.issuperset(text)


def tail(identifier: str) -> str:
    """The last characters, as people are shown them."""
    return identifier[-TAIL:]


def new_id(home: str = "", *, tenant: str = "default") -> str:
    """A fresh id: 26 characters, time-ordered. ``home`` is the principal, project, channel or scope it will live with."""
    return random_id(time.time_ns() // 1_000_000, home_number(tenant, home))


def parts_of(id: str, name: str = "part") -> dict[str, int]:
    """An id as the counters of a note: what an operation id keeps beside what it has changed."""
    return {f"{name}_{place}": int.from_bytes(id[place : place + 6].encode()) for place in range(0, len(id), 6)}


def id_of(counters: dict[str, int], name: str = "part") -> str | None:
    """The id that a note keeps under this name."""
    parts = sorted((int(key.rpartition("_")[2]), part) for key, part in counters.items() if key.startswith(f"{name}_"))
    return b"".join(part.to_bytes((part.bit_length() + 7) // 8) for _, part in parts).decode() or None
