"""What the verbs ask of a driver, in either colour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

from psycopg.conninfo import conninfo_to_dict

from sojourn.core.batch import Answer, Batch

Rows: TypeAlias = list[tuple[Any, ...]]


class Driver(Protocol):
    """Statements and waiting. Each statement is one round trip, and a transaction of its own."""

    where: str
    """Server and database, for messages; no password."""

    async def open(self) -> None:
        """Connect; `UnavailableError` when that cannot be done in time."""
        ...

    async def fetch(self, statement: str, values: Sequence[Any] | dict[str, Any] = ()) -> Rows:
        """The rows of a statement that changes nothing."""
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

    async def wait(self, seconds: float) -> None:
        """Wait, in this colour."""
        ...

    async def close(self) -> None:
        """Let go of the connections."""
        ...


def place_of(url: str) -> str:
    """Server and database of a connection string, without user and password."""
    known = conninfo_to_dict(url)
    host, port, name = known.get("host") or "localhost", known.get("port") or 5432, known.get("dbname") or ""
    return f"PostgreSQL at {host}:{port}/{name}"
