"""Fresh places for stores on every engine there is here, for tests of what runs on all of them.

    with EnginePlaces() as places:
        for name in places.available():
            place = places.fresh(name, directory)
            with sojourn.open(place.url, engine=place.options) as store:
                ...

A server is started when the first place on it is asked for, and stopped at the end. An engine whose server has no program
here (`sojourn.testing.servers`) is not available.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from sojourn.engines.locate import EngineOptions
from sojourn.testing.servers import Server, ServerMissingError, find_postgres, find_redis, postgres_server, redis_server


@dataclass(frozen=True, slots=True)
class Place:
    """Where an empty store can be opened. ``memory:`` is another place each time it is opened."""

    engine: str
    url: str
    numbers: int = 1
    """How many numbers a cursor of its events has."""
    options: EngineOptions = field(default_factory=EngineOptions)


class EnginePlaces:
    """Places on all engines, as a context manager."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._servers: dict[str, Server] = {}
        self._numbers: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Stop the servers."""
        self._stack.close()
        self._servers.clear()

    @staticmethod
    def available() -> list[str]:
        """The engines that can be had here."""
        return ["memory", "sqlite", *(name for name, find in _FINDERS.items() if _there(find))]

    def fresh(self, engine: str, directory: Path) -> Place:
        """An empty place. On a server it is emptied and given again after some others: use one at a time."""
        return _MAKERS[engine](self, directory)

    def _server(self, engine: str, start: Callable[[], Any]) -> Server:
        if engine not in self._servers:
            self._servers[engine] = self._stack.enter_context(start())
        return self._servers[engine]

    def _memory(self, directory: Path) -> Place:
        del directory
        return Place("memory", "memory:")

    def _sqlite(self, directory: Path) -> Place:
        return Place("sqlite", f"sqlite:///{directory / 'store.db'}")

    def _postgres(self, directory: Path) -> Place:
        """A schema of its own; used again, it need not be made again, which takes longer than most tests."""
        del directory
        server = self._server("postgres", postgres_server)
        number = self._numbers["postgres"] = self._numbers.get("postgres", -1) + 1
        schema = f"place_{number % _SCHEMAS}"
        if number >= _SCHEMAS:
            empty_postgres(server.url, schema)
        return Place("postgres", server.url, 17, EngineOptions(more={"schema": schema, "connections": 4}))

    def _redis(self, directory: Path) -> Place:
        """A prefix of its own; of what was before, as many stores as are in use at a time stay."""
        del directory
        server = self._server("redis", redis_server)
        number = self._numbers["redis"] = self._numbers.get("redis", -1) + 1
        if number % _SHARING == 0:
            _start_databases_anew(server.url, number // _SHARING)
        database = number // _SHARING % 2
        return Place("redis", f"{server.url.removesuffix('0')}{database}?prefix=place{number}", 65)


_SHARING: Final = 500
"""Places in one of two databases of Redis, before the other one is emptied and used."""

_SCHEMAS: Final = 4
"""Places on one server at a time."""

_EMPTY: Final = """
do $$
declare
  part text;
begin
  foreach part in array array[
    'session', 'data', 'tag', 'entry', 'share', 'alias', 'lease', 'operation', 'event', 'word'
  ] loop
    execute format('delete from {schema}.sojourn_%s', part);
  end loop;
  update {schema}.sojourn_shard set number = 0;
  update {schema}.sojourn_indexed set number = 0;
  delete from {schema}.sojourn_meta where name = 'watched';
end $$
"""


def empty_postgres(url: str, schema: str) -> None:
    """Remove everything from a store that nobody has open; much faster than to make a new one."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute("select to_regclass(%s) is not null", (f"{schema}.sojourn_meta",)).fetchone()
        if found is not None and found[0]:  # a test need not have opened its place
            connection.execute(_EMPTY.replace("{schema}", schema).encode())


def _start_databases_anew(url: str, turn: int) -> None:
    import redis

    with redis.Redis.from_url(f"{url.removesuffix('0')}{turn % 2}") as client:
        client.flushdb()


def _there(find: Callable[[], object]) -> bool:
    try:
        find()
    except ServerMissingError:
        return False
    return True


_FINDERS: Final[dict[str, Callable[[], object]]] = {"postgres": find_postgres, "redis": find_redis}

_MAKERS: Final[dict[str, Callable[[EnginePlaces, Path], Place]]] = {
    "memory": EnginePlaces._memory,
    "sqlite": EnginePlaces._sqlite,
    "postgres": EnginePlaces._postgres,
    "redis": EnginePlaces._redis,
}
