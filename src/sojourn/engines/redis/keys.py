"""Names of keys, and the shard that a home's keys are in.

``sojourn{07}:acme:s:01J…`` – the store's name, the shard in braces (a hash tag, so that a Cluster keeps everything of a
shard in one slot), the tenant, what it is, which one. Words are separated by colons; a colon inside a word is written %3A.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from sojourn.core.ids import HOME_BITS, home_number, home_of, is_id
from sojourn.errors import InvalidValueError

SHARDS = 64
"""Shards of a new store, unless it is opened with another number."""

_HOMES = 1 << HOME_BITS

_number_of = lru_cache(4096)(home_number)


def escape(word: str) -> str:
    """A word of a key."""
    if ":" in word or "%" in word:
        return word.replace("%", "%25").replace(":", "%3A")
    return word


def unescape(word: str) -> str:
    """The word that `escape` wrote."""
    return word.replace("%3A", ":").replace("%25", "%")


class Shard:
    """The keys of one shard of one store."""

    def __init__(self, store: str, number: int, width: int = 2) -> None:
        self.number = number
        self.start: str = f"{store}{{{number:0{width}}}}:"
        self.counter: bytes = f"{self.start}#".encode()
        self.events: bytes = f"{self.start}events".encode()
        self.erased: bytes = f"{self.start}erased".encode()
        """What is left of erased events, by their numbers."""
        self.trimmed: bytes = f"{self.start}trimmed".encode()
        """The number of the last event that was purged."""
        self.due: bytes = f"{self.start}due".encode()
        self.operations: bytes = f"{self.start}operations".encode()
        """Operations that are remembered with a home, by their age."""
        self.deleted: bytes = f"{self.start}deleted".encode()
        """Deleted sessions that wait to be purged, by their age."""

    def tenant(self, tenant: str) -> str:
        """What the keys of a tenant begin with."""
        return f"{self.start}{escape(tenant)}:"

    def key(self, tenant: str, kind: str, name: str) -> bytes:
        """The key of one thing of a tenant, by the letter of its kind."""
        return f"{self.start}{escape(tenant)}:{kind}:{escape(name)}".encode()

    def session(self, tenant: str, session: str) -> bytes:
        """A session's fields and data."""
        return f"{self.start}{escape(tenant)}:s:{session}".encode()

    def aliases(self, tenant: str, home: str) -> bytes:
        """What the aliases of a home point at."""
        return self.key(tenant, "n", home)

    def pointing(self, tenant: str, target: str) -> bytes:
        """The names of the aliases that point at a target, or did before they were moved last."""
        return self.key(tenant, "r", target)

    def owned(self, tenant: str, owner: str) -> list[bytes]:
        """Where to look for what somebody has: see ``owned.lua``."""
        kinds = f"{self.tenant(tenant)}kinds".encode()
        return [kinds, *(self.key(tenant, letter, owner) for letter in "urnlo")]

    def list(self, tenant: str, kind: str, state: str, *, owner: str | None = None, tag: str | None = None) -> bytes:
        """Ids, each by activity and by creation."""
        group = f":t:{escape(tag)}" if tag is not None else f":o:{escape(owner)}" if owner is not None else ""
        return f"{self.tenant(tenant)}i:{escape(kind)}:{state}{group}".encode()


class Shards:
    """All shards of a store: a power of two of them, from 1 to 1,024."""

    def __init__(self, store: str, count: int = SHARDS) -> None:
        if count not in COUNTS:
            raise InvalidValueError(f"a store has 1, 2, 4, … or {_HOMES} shards, not {count!r}.")
        width = max(2, len(str(count - 1)))
        self._shards = tuple(Shard(store, number, width) for number in range(count))
        self._shift = HOME_BITS - (count.bit_length() - 1)

    def __len__(self) -> int:
        return len(self._shards)

    def __iter__(self) -> Iterator[Shard]:
        return iter(self._shards)

    def __getitem__(self, number: int) -> Shard:
        return self._shards[number]

    def of_home(self, tenant: str, home: str) -> Shard:
        """The shard that a home's keys are in."""
        return self._shards[_number_of(tenant, home) >> self._shift]

    def of_id(self, session: str) -> Shard | None:
        """The shard of a session, by its id alone; None for what is no id."""
        return self._shards[home_of(session) >> self._shift] if is_id(session) else None


COUNTS = frozenset(1 << bits for bits in range(HOME_BITS + 1))
