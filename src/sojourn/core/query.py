"""What can be asked of an engine, as values; each is answered from an index."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, Literal, TypeAlias, TypeVar

from sojourn.core.codec import told
from sojourn.core.session import State
from sojourn.errors import InvalidCursorError, InvalidValueError

Item = TypeVar("Item")

OPEN_STATES: tuple[State, ...] = ("active",)
CLOSED_STATES: tuple[State, ...] = ("ended", "archived")
READABLE_STATES: tuple[State, ...] = (*OPEN_STATES, *CLOSED_STATES)

SessionOrder: TypeAlias = Literal["activity", "created", "idle", "oldest"]
"""``activity``: newest activity bucket first, then id. ``created``: newest id first. ``idle`` and ``oldest``: their
reverses."""


@dataclass(frozen=True, slots=True)
class SessionQuery:
    """One page of sessions of one tenant. ``after`` is the (bucket, id) of the last row of the page before."""

    tenant: str
    kinds: tuple[str, ...]
    states: tuple[State, ...] = OPEN_STATES
    owner: str | None = None
    tag: str | None = None
    order: SessionOrder = "activity"
    active_before: int | None = None
    """Only sessions that were last active before this instant, whatever their bucket."""
    limit: int = 50
    after: tuple[int, str] | None = None
    home: str | None = None
    """Only sessions of this home: an engine with shards asks one of them instead of all. With an owner or a tag, by whose index
    the list is read."""

    def __post_init__(self) -> None:
        if self.home is not None and self.owner is None and self.tag is None:
            raise InvalidValueError("a list of a home needs an owner or a tag, too.", hint="No index has homes alone.")


@dataclass(frozen=True, slots=True)
class EntryQuery:
    """Entries of one session in the order of their sequences; with ``last``, only that many from the end.

    ``ranges`` are inclusive and ascending; None means all. A forked session's shared entries are read through.
    """

    ranges: tuple[tuple[int, int], ...] | None = None
    types: tuple[str, ...] | None = None
    labels: tuple[str, ...] | None = None
    topic: str | None = None
    last: int | None = None
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """Entries whose text has all the words (`core.words`), the last as a prefix when ``prefix``; newest first."""

    tenant: str
    kind: str
    words: tuple[str, ...]
    prefix: bool = True
    owner: str | None = None
    topic: str | None = None
    limit: int = 20
    types: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """One page of a list. ``next`` is the cursor to pass as ``after`` for the following page, None on the last one."""

    items: list[Item]
    next: str | None = None

    def __iter__(self) -> Iterator[Item]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


def page_limit(limit: object) -> int:
    """A page size between 1 and 1,000."""
    if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= 1000:
        raise InvalidValueError(f"limit must be a whole number from 1 to 1000, got {limit!r}.")
    return limit


def make_cursor(*values: str | int) -> str:
    """An opaque cursor of these values."""
    return base64.urlsafe_b64encode(json.dumps(values, separators=(",", ":")).encode()).rstrip(b"=").decode()


def read_cursor(cursor: str, *types: type) -> list[str | int]:
    """The values of a cursor that `make_cursor` made with these types."""
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        values = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (AttributeError, UnicodeEncodeError, binascii.Error, ValueError, RecursionError) as error:
        raise _invalid(cursor) from error
    if not isinstance(values, list) or [type(value) for value in values] != list(types):
        raise _invalid(cursor)
    if not all(_storable(value) for value in values):
        raise _invalid(cursor)
    return values


def _storable(value: str | int) -> bool:
    """Whether an engine can compare with it: 64 bits, or text without NUL and lone surrogates."""
    if isinstance(value, int):
        return -(1 << 63) <= value < 1 << 63
    return "\0" not in value and value.isprintable()


def _invalid(cursor: object) -> InvalidCursorError:
    return InvalidCursorError(
        f"not a cursor of this list: {told(cursor)}.", hint="Pass the 'next' of the page before, unchanged, or None."
    )
