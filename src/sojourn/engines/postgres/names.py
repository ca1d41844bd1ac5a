"""What the tables and functions of a store are called in its database.

Statements name everything ``sojourn_…``. A store may keep to a schema of its own, and to another beginning of all names, so
that several live in one database. Names are written out in every statement, because a pooler between here and the server
(PgBouncer, by transaction) keeps no ``search_path``.

Functions and types carry a number besides, that of the calls this release makes. A later release that calls otherwise makes
new ones under the next number and leaves these, so that both run on one store while it is upgraded.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Final

from sojourn.engines.statements import read_script
from sojourn.errors import InvalidValueError

PREFIX: Final = "sojourn_"

CALLS: Final = 1
"""The number in the names of functions and their types."""

CALLED: Final = ("commit.sql", "upkeep.sql", "lists.sql")
"""Where functions and types are made."""

_NAME: Final = re.compile(r"(create (?:unique )?index )?\bsojourn_(\w*)")
_MADE: Final = re.compile(r"create (?:type|function) sojourn_(\w+)")
_ALLOWED: Final = re.compile(r"[a-z_][a-z0-9_]{0,39}")
_REMEMBERED: Final = 500


class Names:
    """The names of one store. ``schema`` None: whatever the connection's ``search_path`` finds."""

    def __init__(self, schema: str | None = None, prefix: str = PREFIX) -> None:
        for what, name in (("schema", schema), ("prefix", prefix)):
            if name is not None and not _ALLOWED.fullmatch(name):
                raise InvalidValueError(
                    f"{what} {name!r} is no plain name.", hint="Lower-case letters, digits and _, 40 at most, no digit first."
                )
        self.schema: str | None = schema
        self.prefix: str = prefix
        self._before = prefix if schema is None else f"{schema}.{prefix}"
        self._known: dict[str, str] = {}

    @property
    def channel(self) -> str:
        """Where watchers are told of commits."""
        return f"{self._before}changed"

    def text(self, statement: str) -> str:
        """A statement with this store's names."""
        known = self._known.get(statement)
        if known is None:
            known = _NAME.sub(self._named, statement)
            if len(self._known) < _REMEMBERED:
                self._known[statement] = known
        return known

    def _named(self, found: re.Match[str]) -> str:
        index, name = found.groups()
        if index is not None:
            return f"{index}{self.prefix}{name}"  # an index is always in the schema of its table
        return self._before + (f"{name}_{CALLS}" if name in called() else name)


@cache
def called() -> frozenset[str]:
    """The functions and types, whose names carry a number."""
    scripts = [read_script("sojourn.engines.postgres", script) for script in CALLED]
    return frozenset(name for script in scripts for name in _MADE.findall(script))
