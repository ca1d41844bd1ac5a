"""What the verbs ask of a driver, in either colour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol, TypeAlias

from psycopg.conninfo import conninfo_to_dict

from sojourn.core.batch import Answer, Batch
from sojourn.engines.postgres.settings import Settings
from sojourn.errors import InvalidValueError

Rows: TypeAlias = list[tuple[Any, ...]]

PATIENCE: Final = 1.0
"""Seconds to wait for a connection before looking whether the pool has closed."""


class Driver(Protocol):
    """Statements and waiting. Each statement is one round trip, and a transaction of its own."""

    where: str
    """Server and database, for messages; no password."""

    settings: Settings

    async def open(self) -> None:
        """Connect; `UnavailableError` when that cannot be done in time."""
        ...

    async def fetch(self, statement: str, values: Sequence[Any] | dict[str, Any] = ()) -> Rows:
        """The rows of a statement that changes no session."""
        ...

    async def load(self, tenant: str, session: str) -> tuple[Any, ...]:
        """The row of one session; what others ask for at this moment may travel with it."""
        ...

    async def script(self, text: str) -> None:
        """Run statements without values in one transaction."""
        ...

    async def commit(self, batch: Batch) -> Answer:
        """Carry out a batch; what others commit at this moment may travel with it."""
        ...

    async def told(self, after: Sequence[int], shard: int | None, seconds: float) -> bool:
        """Whether there are events behind a cursor, or were within so many seconds."""
        ...

    async def wait(self, seconds: float) -> None:
        """Wait, in this colour."""
        ...

    async def close(self) -> None:
        """Let go of the connections."""
        ...


def place_of(url: str) -> str:
    """Server and database of a connection string, without user and password."""
    try:
        known = conninfo_to_dict(url)
    except Exception as error:
        raise InvalidValueError(
            "the URL of a PostgreSQL database cannot be read.",
            hint="Write postgresql://user@host:5432/database, and special characters of a password as %XX.",
        ) from error
    hosts = str(known.get("host") or known.get("hostaddr") or "localhost").split(",")
    ports = str(known.get("port") or "").split(",")
    if len(ports) == 1:
        ports *= len(hosts)
    places = [f"{host}:{port or 5432}" for host, port in zip(hosts, ports, strict=False)]
    return f"PostgreSQL at {','.join(places)}/{known.get('dbname') or ''}"
