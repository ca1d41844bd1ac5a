"""Which store a program means that was written for a Redis client: the store itself, a URL, or the client's server."""

from __future__ import annotations

import asyncio
from typing import Any, Final, TypeAlias
from urllib.parse import quote
from weakref import WeakKeyDictionary

from sojourn.errors import InvalidValueError
from sojourn.store import AsyncStore, aopen

Redis: TypeAlias = Any
"""A store for asynchronous code, a URL or a Redis client; None for none."""

_HINT: Final = "Pass await sojourn.aopen(url)."

_opened: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, asyncio.Task[AsyncStore]]] = WeakKeyDictionary()
"""What was opened here, by loop and URL: everybody who names the same server works in the same store."""


async def store_of(redis: Redis) -> AsyncStore:
    """The store that is meant; one that is named by a URL or a client is opened once for a loop."""
    if isinstance(redis, AsyncStore):
        return redis
    url = redis if isinstance(redis, str) else url_of(redis)
    here = _opened.setdefault(asyncio.get_running_loop(), {})
    task = here.get(url)
    if task is None:
        task = here[url] = asyncio.ensure_future(aopen(url))
    try:
        return await asyncio.shield(task)
    except BaseException:
        if task.done() and here.get(url) is task:
            del here[url]
        raise


async def close_stores() -> None:
    """Close what was opened in this loop for URLs and clients; a name that the original has not. May be repeated."""
    here = _opened.pop(asyncio.get_running_loop(), {})
    for task in here.values():
        await (await task).close()


def url_of(client: Any) -> str:
    """The URL of a Redis client's server: host, port, database, user, password, TLS."""
    pool = getattr(client, "connection_pool", None)
    settings = getattr(pool, "connection_kwargs", None)
    if settings is None:
        raise InvalidValueError(f"a store, a URL or a Redis client is needed, not {type(client).__name__}.", hint=_HINT)
    kind = getattr(pool, "connection_class", type(None)).__name__
    if kind not in ("Connection", "SSLConnection"):
        raise InvalidValueError(f"the server of a Redis client over {kind} cannot be told from the client.", hint=_HINT)
    own = {"ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_ca_path", "ssl_ca_data"} & settings.keys()
    if any(settings[name] for name in own):
        raise InvalidValueError("the Redis client has certificates of its own.", hint=_HINT)
    name, password = settings.get("username") or "", settings.get("password") or ""
    user = f"{quote(name, safe='')}:{quote(password, safe='')}@" if password or name else ""
    scheme = "rediss" if kind == "SSLConnection" else "redis"
    return f"{scheme}://{user}{settings.get('host', 'localhost')}:{settings.get('port', 6379)}/{settings.get('db') or 0}"
