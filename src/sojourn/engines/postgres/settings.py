"""How one store on PostgreSQL is opened."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote

from sojourn.engines.contract import Clock
from sojourn.engines.postgres.names import PREFIX, Names
from sojourn.errors import InvalidValueError

LOCKED_FOR: Final = 0.8
"""The part of the time limit that a commit may wait for locks in the server: then it is refused there, and surely not done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where the server is and how it is used. ``clock`` stands in for the server's (tests)."""

    url: str
    clock: Clock | None = None
    timeout: float = 10.0
    """Seconds that an operation waits for a connection, and then for its answer."""
    connections: int = 10
    """At most, in one process; watching takes one more."""
    prepare: bool = True
    """Keep statements prepared in the server. Not behind a pooler by transaction that does not know them (PgBouncer < 1.21)."""
    lazy: bool = False
    """Acknowledge commits before they are on disk (durability ``normal``): a crash of the server may lose the last ones."""
    names: Names = field(default_factory=Names)

    @property
    def patience(self) -> int:
        """Milliseconds that a commit waits for locks."""
        return max(1, round(self.timeout * LOCKED_FOR * 1000))


OPTIONS: Final = ("connections", "prefix", "prepare", "schema")


def settings_of(
    url: str, clock: Clock | None = None, timeout: float = 10.0, more: Mapping[str, Any] | None = None, *, lazy: bool = False
) -> Settings:
    """The settings that a URL and ``EngineOptions.more`` say: ``connections``, ``schema``, ``prefix``, ``prepare``.

    In the URL they stand among those of libpq: ``postgresql://host/db?schema=app&prepare=off``.
    """
    url, said = _parted(url)
    more = {**said, **(more or {})}
    unknown = sorted(set(more) - set(OPTIONS))
    if unknown:
        raise InvalidValueError(f"PostgreSQL has no option {unknown[0]!r}.", hint=f"There are {', '.join(OPTIONS)}.")
    connections, prepare = more.get("connections", 10), more.get("prepare", True)
    if not isinstance(connections, int) or isinstance(connections, bool) or connections < 1:
        raise InvalidValueError(f"connections must be a whole number from 1, got {connections!r}.")
    if not isinstance(prepare, bool):
        raise InvalidValueError(f"prepare must be True or False, got {prepare!r}.")
    names = Names(more.get("schema"), more.get("prefix", PREFIX))
    return Settings(url=url, clock=clock, timeout=timeout, connections=connections, prepare=prepare, lazy=lazy, names=names)


def _parted(url: str) -> tuple[str, dict[str, Any]]:
    """A URL without the options that are ours, and these."""
    head, mark, query = url.partition("?")
    kept: list[str] = []
    said: dict[str, Any] = {}
    for piece in query.split("&") if mark else ():
        name, _, value = piece.partition("=")
        if name in OPTIONS:
            said[name] = _READ.get(name, str)(unquote(value))
        else:
            kept.append(piece)
    return f"{head}?{'&'.join(kept)}" if kept else head, said


def _number(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def _switch(text: str) -> bool | str:
    return {"on": True, "true": True, "off": False, "false": False}.get(text.lower(), text)


_READ: Final[dict[str, Callable[[str], Any]]] = {"connections": _number, "prepare": _switch}
