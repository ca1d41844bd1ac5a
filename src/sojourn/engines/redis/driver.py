"""Talking to the server from blocking code: one connection per call, taken from those that are idle."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Coroutine, Sequence
from typing import Any, Final, Protocol, TypeAlias

from redis.backoff import NoBackoff
from redis.connection import Connection, SSLConnection
from redis.exceptions import AuthenticationError, BusyLoadingError, NoScriptError, RedisError, ResponseError
from redis.retry import Retry

from sojourn.engines.redis.address import Address, Place
from sojourn.engines.redis.commands import Command, ScriptCall
from sojourn.engines.redis.faults import Unanswered, Unsent
from sojourn.errors import ClosedError

Reply: TypeAlias = Any
"""What the server answered to one command: bytes, a number, None or a list of these; or the exception it came to."""

HANGS_UP: Final = (BusyLoadingError, AuthenticationError)
"""Error replies after which the client library closes the connection, and with it drops the replies that follow."""


IDLE: Final = 0.05
"""Seconds without use after which a connection is looked at before something is sent on it."""


class Driver(Protocol):
    """A way to talk to a server, or to whichever server has what is asked for."""

    @property
    def divided(self) -> bool:
        """Whether shards may be on different servers, so that one command cannot have keys of several."""
        ...

    @property
    def shared(self) -> bool:
        """Whether all who `block` wait together, for the same."""
        ...

    @property
    def trips(self) -> int:
        """Round trips so far."""
        ...

    async def ask(self, commands: Sequence[Command], *, wide: bool = False, again: bool = False) -> list[Reply]:
        """The reply to each command.

        ``wide``: there are many, so that others should not have to wait for them. ``again``: they may be asked again when there
        was no reply, of another server.
        """
        ...

    async def block(self, command: Command) -> Reply:
        """The reply to a command that the server answers when something happens; nobody else waits for it."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...

    async def close(self) -> None:
        """Let go of all connections."""
        ...


class Nodes(Protocol):
    """How a colour talks to several servers."""

    def open(self, place: Place, address: Address, *, sentinel: bool = False) -> Driver:
        """A driver for one server."""
        ...

    async def together(self, works: Sequence[Coroutine[Any, Any, list[Reply]]]) -> list[list[Reply]]:
        """The results of these, at the same time where the colour can."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


def connection_options(place: Place, address: Address, *, sentinel: bool = False) -> dict[str, Any]:
    """Options of every connection. The client library never repeats a command: it cannot know which may be repeated."""
    secrets = place.sentinel if sentinel else place.connection
    tls = {name: value for name, value in place.connection.items() if name.startswith("ssl_")}
    return {
        "host": address[0],
        "port": address[1],
        "db": 0 if sentinel else place.database,
        **secrets,
        **tls,
        "protocol": 2,
        "decode_responses": False,
        "socket_timeout": place.timeout,
        "socket_connect_timeout": place.timeout,
        "retry": Retry(NoBackoff(), 0),
        "retry_on_error": [],
        "health_check_interval": 0,
    }


def forgotten(commands: Sequence[Command], replies: Sequence[Reply]) -> dict[int, Command]:
    """What to send again, by its place, because the server did not know the script; the first one brings its text.

    A command that failed so has done nothing, so repeating it is safe; and since a text that is sent is run, every round
    answers at least one command of each script.
    """
    again: dict[int, Command] = {}
    brought: set[bytes] = set()
    for place, reply in enumerate(replies):
        command = commands[place]
        if isinstance(reply, NoScriptError) and isinstance(command, ScriptCall):
            digest = command.script.digest
            again[place] = command if digest in brought else command.with_text()
            brought.add(digest)
        elif place - 1 in again and command.follows:
            again[place] = command
    return again


def lost(error: BaseException) -> Unanswered:
    """The reply that did not come."""
    reply = Unanswered(str(error))
    reply.__cause__ = error
    return reply


def unsent(error: BaseException) -> Unsent:
    """The connection that could not be had."""
    reply = Unsent(str(error))
    reply.__cause__ = error
    return reply


class BlockingDriver:
    """Coroutines that never suspend; any number of threads, and forked processes."""

    divided = False
    shared = False

    def __init__(self, place: Place, address: Address, *, sentinel: bool = False) -> None:
        # Not the client library's pool, which counts connections that have ended among those it may still make.
        self._kind: Any = SSLConnection if place.tls else Connection
        self._options = connection_options(place, address, sentinel=sentinel)
        self._place = place
        self._idle: list[tuple[Any, float]] = []
        self._process = os.getpid()
        self._room = threading.BoundedSemaphore(place.max_connections)
        self._closed = False
        self.trips: int = 0

    async def ask(self, commands: Sequence[Command], *, wide: bool = False, again: bool = False) -> list[Reply]:
        """See `Driver.ask`."""
        del wide, again
        if self._process != os.getpid():  # a forked child must not speak on its parent's connections
            self._process, self._idle = os.getpid(), []
            self._room = threading.BoundedSemaphore(self._place.max_connections)
        room = self._room
        if not room.acquire(timeout=self._place.timeout):
            return [unsent(TimeoutError(f"all {self._place.max_connections} connections are in use"))] * len(commands)
        try:
            return self._ask(commands)
        finally:
            room.release()

    def _ask(self, commands: Sequence[Command]) -> list[Reply]:
        try:
            connection = self._take()
        except ClosedError:
            raise
        except Exception as error:  # also of what is no Redis at all
            return [unsent(error)] * len(commands)
        replies = self._exchange(connection, commands)
        while again := forgotten(commands, replies):
            for place, reply in zip(again, self._exchange(connection, list(again.values())), strict=True):
                replies[place] = reply
        if not isinstance(replies[-1], Unanswered):
            self._idle.append((connection, time.monotonic()))
        return replies

    async def block(self, command: Command) -> Reply:
        """See `Driver.block`: every call has a connection of its own."""
        return (await self.ask([command]))[0]

    def _take(self) -> Any:
        if self._closed:
            raise ClosedError("this store was closed.", hint="Open it again.")
        try:
            connection, used = self._idle.pop()
        except IndexError:
            return _connected(self._kind(**self._options))
        if time.monotonic() - used > IDLE and not _is_alive(connection):
            connection.disconnect()
        return _connected(connection)

    def _exchange(self, connection: Any, commands: Sequence[Command]) -> list[Reply]:
        replies: list[Reply] = []
        self.trips += 1
        try:
            connection.send_packed_command([command.packed for command in commands], check_health=False)
            for _ in commands:
                try:
                    replies.append(connection.read_response(disable_decoding=True))
                except ResponseError as error:
                    replies.append(error)
                except HANGS_UP as error:
                    replies.append(error)
                    raise
        except RedisError as error:
            replies += [lost(error)] * (len(commands) - len(replies))
        except BaseException:
            connection.disconnect()
            raise
        return replies

    async def sleep(self, seconds: float) -> None:
        """See `Driver.sleep`."""
        time.sleep(seconds)

    async def close(self) -> None:
        """See `Driver.close`."""
        self._closed = True
        while self._idle:
            self._idle.pop()[0].disconnect()


def _connected(connection: Any) -> Any:
    try:
        connection.connect()
    except BaseException:
        connection.disconnect()
        raise
    return connection


def _is_alive(connection: Any) -> bool:
    """False when something came though nothing was asked: the server has hung up or is out of step."""
    try:
        return not connection.can_read()
    except RedisError:
        return False


class BlockingNodes:
    """Several servers, one after the other."""

    def open(self, place: Place, address: Address, *, sentinel: bool = False) -> Driver:
        """See `Nodes.open`."""
        return BlockingDriver(place, address, sentinel=sentinel)

    async def together(self, works: Sequence[Coroutine[Any, Any, list[Reply]]]) -> list[list[Reply]]:
        """See `Nodes.together`."""
        return [await work for work in works]

    async def sleep(self, seconds: float) -> None:
        """See `Nodes.sleep`."""
        time.sleep(seconds)
