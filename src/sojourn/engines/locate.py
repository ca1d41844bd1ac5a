"""From a store's URL to its engine."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from sojourn.engines.contract import Clock, Engine
from sojourn.errors import InvalidValueError, UnsupportedError

Durability: TypeAlias = Literal["full", "normal"]


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineOptions:
    """Settings that every engine understands in its own way."""

    timeout: float = 10.0
    """Seconds an operation may wait for the engine before it is `UnavailableError`."""
    more: Mapping[str, Any] = field(default_factory=dict)
    """Settings of one engine, by its documentation."""

    def __post_init__(self) -> None:
        if self.timeout <= 0:
            raise InvalidValueError(f"timeout must be more than 0 seconds, got {self.timeout!r}.")


@dataclass(frozen=True, slots=True)
class Opening:
    """All that opening an engine may need."""

    url: str
    blocking: bool
    clock: Clock | None
    """A test's clock; None: the engine's own time, which is the server's where there is one."""
    durability: Durability
    migrate: bool
    options: EngineOptions


async def open_engine(opening: Opening) -> Engine:
    """The engine a URL names: ``memory:``, ``sqlite:///relative.db``, ``sqlite:////absolute.db``, …

    A coroutine, because an engine behind a network connects and looks at its schema first; a blocking one never suspends.
    """
    scheme = opening.url.partition(":")[0].lower()
    opener = _OPENERS.get(scheme)
    if opener is None:
        known = ", ".join(sorted(_OPENERS))
        raise InvalidValueError(
            f"cannot open {shown_url(opening.url)!r}: the scheme must be one of {known}.",
            hint="For a file, write sqlite:///path.db (three slashes for a relative path, four for an absolute one).",
        )
    return await opener(opening)


async def _memory(opening: Opening) -> Engine:
    from sojourn.engines import memory
    from sojourn.engines.embedded import host_clock

    kind = memory.MemoryEngine if opening.blocking else memory.AsyncMemoryEngine
    return cast("Engine", kind(opening.clock or host_clock))


async def _sqlite(opening: Opening) -> Engine:
    from sojourn.engines.embedded import host_clock
    from sojourn.engines.sqlite import engine

    path, settings = sqlite_path(opening.url)
    kind = engine.SqliteEngine if opening.blocking else engine.AsyncSqliteEngine
    made = kind(
        path,
        opening.clock or host_clock,
        durability=opening.durability,
        timeout=opening.options.timeout,
        migrate=opening.migrate,
        read_only=settings.get("mode") == "ro",
    )
    return cast("Engine", made)


async def _redis(opening: Opening) -> Engine:
    try:
        from sojourn.engines.redis import opening as engine
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "redis":
            raise
        raise UnsupportedError(
            f"{shown_url(opening.url)} needs the client library redis-py.", hint="pip install 'sojourn[redis]'"
        ) from error
    return await engine.open_redis(opening)


def driver_of(url: str) -> Any:
    """The package of the PostgreSQL engine; `UnsupportedError` where its driver is not installed."""
    try:
        for part in ("aio", "engine", "schema", "settings"):  # attributes of the package from then on
            import_module(f"sojourn.engines.postgres.{part}")
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in ("psycopg", "psycopg_pool"):
            raise
        raise UnsupportedError(
            f"{shown_url(url)} needs psycopg, which is not installed.", hint="pip install 'sojourn[postgres]'"
        ) from error
    return import_module("sojourn.engines.postgres")


async def _postgres(opening: Opening) -> Engine:
    postgres = driver_of(opening.url)
    kind = postgres.engine.PostgresEngine if opening.blocking else postgres.aio.AsyncPostgresEngine
    options = opening.options
    chosen = postgres.settings.settings_of(
        opening.url, opening.clock, options.timeout, options.more, lazy=opening.durability == "normal"
    )
    return cast("Engine", await kind.opened(chosen, migrate=opening.migrate))


_OPENERS: dict[str, Callable[[Opening], Coroutine[Any, Any, Engine]]] = {
    "memory": _memory,
    "sqlite": _sqlite,
    **{scheme + way: _redis for scheme in ("redis", "rediss", "valkey", "valkeys") for way in ("", "+sentinel", "+cluster")},
    "postgres": _postgres,
    "postgresql": _postgres,
}


def sqlite_path(url: str) -> tuple[str, dict[str, str]]:
    """The path in a ``sqlite:`` URL, ``~`` expanded, and its settings (``?mode=ro``)."""
    parts = urlsplit(url)
    settings = dict(parse_qsl(parts.query))
    unknown = set(settings) - {"mode"}
    path = unquote(parts.path)
    if parts.netloc or not path.startswith("/") or len(path) < 2 or "\0" in path:
        raise InvalidValueError(
            f"cannot read a path in {url!r}.", hint="Write sqlite:///relative.db or sqlite:////absolute/path.db."
        )
    if unknown or settings.get("mode", "ro") != "ro":
        raise InvalidValueError(f"unknown settings in {url!r}.", hint="The only one is ?mode=ro.")
    return str(Path(path[1:]).expanduser()), settings


def shown_url(url: str) -> str:
    """A URL without its password."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url.partition(":")[0] + ":…"
    return url if parts.password is None else url.replace(f":{parts.password}@", ":…@")
