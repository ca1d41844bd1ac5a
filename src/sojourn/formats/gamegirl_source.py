"""The keys of GameGirl Color: from a live Redis, or from a dump of one. Nothing is written to either."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import urlsplit

from sojourn.errors import CorruptError, InvalidValueError, UnavailableError, UnsupportedError
from sojourn.formats.source import Value

if TYPE_CHECKING:
    from redis import Redis

Content: TypeAlias = Value | list[Value] | dict[str, Value]
"""A string, a list or a hash; text that is not UTF-8 is bytes. None for a type that the program does not use."""

SCHEMES: Final = ("redis", "rediss", "unix")
PATTERNS: Final = ("game:*", "sg:game_session:*")
_SCAN: Final = 500
_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Key:
    """One key with all it holds."""

    name: str
    type: str
    content: Content


def is_url(source: str | os.PathLike[str]) -> bool:
    """Whether a source is a server and not a file."""
    return isinstance(source, str) and urlsplit(source).scheme in SCHEMES


def shown(source: str | os.PathLike[str]) -> str:
    """The source as a report names it, without a password."""
    text = os.fspath(source)
    if not is_url(text):
        return text
    parts = urlsplit(text)
    place = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=place, query="").geturl()


def read_keys(source: str | os.PathLike[str]) -> list[Key]:
    """All keys of the source that may be the program's, by name."""
    found = _from_server(os.fspath(source)) if is_url(source) else _from_dump(Path(source).expanduser())
    return sorted(found, key=lambda key: key.name)


# -- a dump ------------------------------------------------------------------------------------------------------------


def _from_dump(path: Path) -> list[Key]:
    if not path.is_file():
        hint = "Give the path of the dump, or the URL of the Redis server: redis://localhost:6379/0"
        raise InvalidValueError(f"there is no file {path}.", hint=hint)
    try:
        rows = json.loads(path.read_bytes())
    except OSError as error:
        raise UnavailableError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise CorruptError(f"{path} is no JSON: {error}.", hint="A dump is a list of {key, type, ttl, value}.") from error
    if not isinstance(rows, list):
        raise CorruptError(f"{path} is no dump: it holds no list.", hint="A dump is a list of {key, type, ttl, value}.")
    return [_key(number, row) for number, row in enumerate(rows, 1)]


def _key(number: int, row: Any) -> Key:
    if not isinstance(row, dict) or not isinstance(row.get("key"), str) or "value" not in row:
        raise CorruptError(
            f"row {number} of the dump has no key and value.", hint="A dump is a list of {key, type, ttl, value}."
        )
    value = row["value"]
    if isinstance(value, dict):
        return Key(row["key"], "hash", {str(name): _plain(item) for name, item in value.items()})
    if isinstance(value, list):
        return Key(row["key"], "list", [_plain(item) for item in value])
    return Key(row["key"], "string", _plain(value))


def _plain(value: Any) -> Value:
    """A value of a dump as Redis would give it: text."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


# -- a server ----------------------------------------------------------------------------------------------------------


def _from_server(url: str) -> list[Key]:
    try:
        import redis
    except ImportError as error:
        raise UnsupportedError("to read from Redis its client is needed.", hint="pip install 'sojourn[redis]'") from error
    try:
        client = redis.Redis.from_url(url, socket_timeout=_SECONDS, socket_connect_timeout=_SECONDS)
    except ValueError as error:
        raise InvalidValueError(f"{shown(url)} is no URL of a Redis server: {error}.") from error
    try:
        with client:
            return list(_scanned(client))
    except redis.RedisError as error:
        raise UnavailableError(
            f"{shown(url)} cannot be read: {error}.", hint="Is the server up, and the password right?"
        ) from error


def _scanned(client: Redis) -> Iterable[Key]:
    """Only commands that read. What is written meanwhile may be seen or not, each key as of its own moment."""
    names: set[bytes] = set()
    for pattern in PATTERNS:
        names.update(client.scan_iter(match=pattern, count=_SCAN))
    for raw in sorted(names):
        name, type_ = _text(raw), _text(client.type(raw))
        match type_:
            case "string":
                yield Key(str(name), "string", _text(client.get(raw)))
            case "list":
                yield Key(str(name), "list", [_text(item) for item in client.lrange(raw, 0, -1)])
            case "hash":
                fields = client.hgetall(raw)
                yield Key(str(name), "hash", {str(_text(field)): _text(item) for field, item in fields.items()})
            case "none":  # it has expired since
                continue
            case _:
                yield Key(str(name), str(type_), None)


def _text(raw: Any) -> Value:
    if not isinstance(raw, bytes):
        return raw if raw is None or isinstance(raw, str) else str(raw)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw
