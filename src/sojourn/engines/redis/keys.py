"""Names of keys, and the shard that a home's keys are in.

``sojourn{07}:acme:s:01J…`` – the store's name, the shard in braces (a hash tag, so that a Cluster keeps everything of a
shard in one slot), the tenant, what it is, which one. Words are separated by colons; a colon inside a word is written %3A.
"""

from __future__ import annotations

from functools import lru_cache

from sojourn.core.ids import HOME_BITS, home_number, home_of, is_id

SHARD_BITS = 6
SHARDS = 1 << SHARD_BITS
_SHIFT = HOME_BITS - SHARD_BITS


def escape(word: str) -> str:
    """A word of a key."""
    if ":" in word or "%" in word:
        return word.replace("%", "%25").replace(":", "%3A")
    return word


@lru_cache(4096)
def shard_of_home(tenant: str, home: str) -> int:
    """The shard that a home's keys are in."""
    return home_number(tenant, home) >> _SHIFT


def shard_of_id(session: str) -> int | None:
    """The shard of a session, by its id alone; None for what is no id."""
    return home_of(session) >> _SHIFT if is_id(session) else None


class Shard:
    """The keys of one shard of one store."""

    def __init__(self, store: str, number: int) -> None:
        self.number = number
        self.start: str = f"{store}{{{number:02}}}:"
        self.counter: bytes = f"{self.start}#".encode()
        self.events: bytes = f"{self.start}events".encode()
        self.due: bytes = f"{self.start}due".encode()

    def tenant(self, tenant: str) -> str:
        """What the keys of a tenant begin with."""
        return f"{self.start}{escape(tenant)}:"

    def session(self, tenant: str, session: str) -> bytes:
        """A session's fields and data."""
        return f"{self.tenant(tenant)}s:{session}".encode()

    def alias(self, tenant: str, namespace: str, key: str) -> bytes:
        """What an alias points at."""
        return f"{self.tenant(tenant)}n:{escape(namespace)}:{escape(key)}".encode()

    def pointing(self, tenant: str, target: str) -> bytes:
        """The names of the aliases that point at a target."""
        return f"{self.tenant(tenant)}r:{escape(target)}".encode()

    def list(
        self, tenant: str, kind: str, state: str, *, created: bool, owner: str | None = None, tag: str | None = None
    ) -> bytes:
        """Ids in the order of creation, or of activity."""
        group = f":t:{escape(tag)}" if tag is not None else f":o:{escape(owner)}" if owner is not None else ""
        return f"{self.tenant(tenant)}{'c' if created else 'a'}:{escape(kind)}:{state}{group}".encode()


def shards_of(store: str) -> tuple[Shard, ...]:
    """All shards of a store."""
    return tuple(Shard(store, number) for number in range(SHARDS))
