"""Talking to the server from an event loop: what waits at the same moment travels together.

Operations put their commands into a queue. One task sends whatever is there as one pipeline (no transaction: each command
stands for itself), another hands the replies out, and neither waits for the other, so the server works while replies are read.
A lone caller waits for nobody: its command leaves in the next turn of the loop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Final

from redis.asyncio.connection import Connection, SSLConnection
from redis.exceptions import RedisError, ResponseError

from sojourn.engines.redis.address import Address, Place
from sojourn.engines.redis.commands import Command
from sojourn.engines.redis.driver import HANGS_UP, IDLE, Driver, Reply, connection_options, forgotten, lost, unsent
from sojourn.errors import ClosedError

MOST: Final = 512
"""Commands in one pipeline."""


class _Waiter:
    """An operation that waits for its replies."""

    __slots__ = ("commands", "future", "replies", "sent")

    def __init__(self, commands: Sequence[Command], future: asyncio.Future[list[Reply]]) -> None:
        self.commands = commands
        self.future = future
        self.replies: list[Reply] = []
        self.sent = 0.0
        """When it left, by the loop's clock."""

    def settle(self, missing: Reply = None) -> None:
        """Hand the replies over; those that did not come are ``missing``."""
        self.replies += [missing] * (len(self.commands) - len(self.replies))
        if not self.future.done():
            self.future.set_result(self.replies)


class _Lane:
    """One connection and those who wait for it."""

    def __init__(self, connection: Any, timeout: float) -> None:
        self._connection: Any = connection
        self._timeout = timeout
        self._waiting: list[_Waiter] = []
        self._sent: deque[_Waiter] = deque()
        self._sender: asyncio.Task[None] | None = None
        self._reader: asyncio.Task[None] | None = None
        self._quiet_since = 0.0
        self.trips = 0

    async def ask(self, commands: Sequence[Command]) -> list[Reply]:
        """The reply to each command."""
        replies = await self._submit(commands)
        while again := forgotten(commands, replies):
            for place, reply in zip(again, await self._submit(list(again.values())), strict=True):
                replies[place] = reply
        return replies

    async def _submit(self, commands: Sequence[Command]) -> list[Reply]:
        loop = asyncio.get_running_loop()
        waiter = _Waiter(commands, loop.create_future())
        self._waiting.append(waiter)
        if self._sender is None:
            self._start_sender()
        try:
            return await waiter.future
        except asyncio.CancelledError:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
            elif len(waiter.replies) < len(commands):
                waiter.future = loop.create_future()  # what was sent is settled before its caller goes
                await asyncio.wait([waiter.future], timeout=self._timeout)
            raise

    # -- sending ---------------------------------------------------------------------------------------------------

    def _start_sender(self) -> None:
        self._sender = asyncio.get_running_loop().create_task(self._send_all())
        self._sender.add_done_callback(self._end_sender)

    def _end_sender(self, _: asyncio.Task[None]) -> None:
        """It has ended: maybe because somebody cancelled it, also before it began, and others still wait."""
        self._sender = None
        if self._waiting:
            self._start_sender()

    async def _send_all(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                if not await self._connect(loop):
                    continue
                group = self._next_group(loop.time())
                if self._reader is None:
                    self._start_reader()
                self.trips += 1
                packed = [command.packed for waiter in group for command in waiter.commands]
                await self._connection.send_packed_command(packed, check_health=False)
        except (RedisError, OSError) as error:
            await self._break(error)
        except BaseException as error:
            await self._break(error)
            raise

    async def _connect(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether there is a connection that looks alive; where there is none, nobody has to wait for one."""
        connection = self._connection
        try:
            if self._sent:
                return True
            async with asyncio.timeout(self._timeout):  # also of the greetings, which have no limit of their own
                if connection.is_connected and loop.time() - self._quiet_since > IDLE and await _has_input(connection):
                    await connection.disconnect(nowait=True)
                await connection.connect()
        except Exception as error:  # also what is no Redis at all
            await connection.disconnect(nowait=True)
            waiting, self._waiting = self._waiting, []
            for waiter in waiting:
                waiter.settle(unsent(error))
            return False
        return True

    def _next_group(self, now: float) -> list[_Waiter]:
        size, end = 0, 0
        for waiter in self._waiting:
            size += len(waiter.commands)
            if end and size > MOST:
                break
            waiter.sent = now
            end += 1
        group, self._waiting = self._waiting[:end], self._waiting[end:]
        self._sent.extend(group)
        return group

    # -- reading ---------------------------------------------------------------------------------------------------

    def _start_reader(self) -> None:
        self._reader = asyncio.get_running_loop().create_task(self._read_all())
        self._reader.add_done_callback(self._end_reader)

    def _end_reader(self, task: asyncio.Task[None]) -> None:
        """As `_end_sender`."""
        self._reader = None
        self._quiet_since = task.get_loop().time()
        if self._sent:
            self._start_reader()

    async def _read_all(self) -> None:
        read = self._connection.read_response
        try:
            async with asyncio.timeout(None) as limit:
                while self._sent:
                    waiter = self._sent[0]
                    limit.reschedule(waiter.sent + self._timeout)
                    for _ in waiter.commands:
                        try:
                            waiter.replies.append(await read(disable_decoding=True))
                        except ResponseError as error:
                            waiter.replies.append(error)
                        except HANGS_UP as error:
                            waiter.replies.append(error)
                            raise
                    self._sent.popleft()
                    waiter.settle()
        except (RedisError, OSError, TimeoutError) as error:
            await self._break(error)
        except BaseException as error:
            await self._break(error)
            raise

    async def _break(self, error: BaseException) -> None:
        """Give up the connection, and with it whatever was sent on it."""
        sent, self._sent = self._sent, deque()
        for waiter in sent:
            waiter.settle(lost(error))
        await self._connection.disconnect(nowait=True)

    async def abandon(self) -> None:
        """Hang up at once; whoever waits is told that there is no answer."""
        if tasks := [task for task in (self._sender, self._reader) if task is not None]:
            await self._break(ConnectionError("the store was closed"))
            await asyncio.wait(tasks)
        await self._connection.disconnect()

    async def close(self) -> None:
        """Wait for what is on its way, then hang up."""
        while tasks := [task for task in (self._sender, self._reader) if task is not None]:
            await asyncio.wait(tasks)
        await self._connection.disconnect()


async def _has_input(connection: Any) -> bool:
    """Whether something came, or the server hung up, though nothing was asked."""
    look = getattr(connection, "can_read", None) or connection.can_read_destructive  # its name before redis-py 8
    found: bool = await look()
    return found


class LoopDriver:
    """Three lanes: for commits and reads of one session, for what asks every shard, and for waiting until something happens."""

    divided = False
    shared = True

    def __init__(self, place: Place, address: Address, *, sentinel: bool = False) -> None:
        options = connection_options(place, address, sentinel=sentinel)
        options["socket_timeout"] = None  # the lane's own limit costs less than one per reply
        kind: Any = SSLConnection if place.tls else Connection
        self._make: Callable[[], Any] = partial(kind, **options)
        self._timeout = place.timeout
        self._loop: asyncio.AbstractEventLoop | None = None
        self._quick, self._wide, self._patient = self._lanes()
        self._blocked: asyncio.Future[list[Reply]] | None = None
        self._closed = False

    def _lanes(self) -> tuple[_Lane, _Lane, _Lane]:
        return _Lane(self._make(), self._timeout), _Lane(self._make(), self._timeout), _Lane(self._make(), self._timeout)

    @property
    def trips(self) -> int:
        """See `Driver.trips`."""
        return self._quick.trips + self._wide.trips + self._patient.trips

    async def ask(self, commands: Sequence[Command], *, wide: bool = False, again: bool = False) -> list[Reply]:
        """See `Driver.ask`."""
        del again
        self._enter()
        return await (self._wide if wide else self._quick).ask(commands)

    async def block(self, command: Command) -> Reply:
        """See `Driver.block`: one at a time, which everybody waits for."""
        task = asyncio.current_task()
        before = 0 if task is None else task.cancelling()
        while True:
            self._enter()
            if self._blocked is None or self._blocked.done():
                self._blocked = asyncio.ensure_future(self._patient.ask([command]))
            asked = self._blocked
            try:
                return (await asyncio.shield(asked))[0]
            except asyncio.CancelledError:
                if not asked.cancelled() or (task is not None and task.cancelling() > before):
                    raise  # else somebody has cancelled the asking, and not who waits for it

    def _enter(self) -> None:
        if self._closed:
            raise ClosedError("this store was closed.", hint="Open it again.")
        if self._loop is not asyncio.get_running_loop():  # the connections of a loop that has ended are of no use
            self._loop = asyncio.get_running_loop()
            self._quick, self._wide, self._patient = self._lanes()
            self._blocked = None

    async def sleep(self, seconds: float) -> None:
        """See `Driver.sleep`."""
        await asyncio.sleep(seconds)

    async def close(self) -> None:
        """See `Driver.close`; what was queued is carried out first, and nobody waits any more."""
        self._closed = True
        if self._loop is not asyncio.get_running_loop():
            return  # the loop that its connections were of has ended, and they with it
        await self._patient.abandon()
        if self._blocked is not None and not self._blocked.done():
            await asyncio.wait([self._blocked])
        await self._quick.close()
        await self._wide.close()


class LoopNodes:
    """Several servers at the same time."""

    def open(self, place: Place, address: Address, *, sentinel: bool = False) -> Driver:
        """See `Nodes.open`."""
        return LoopDriver(place, address, sentinel=sentinel)

    async def together(self, works: Sequence[Coroutine[Any, Any, list[Reply]]]) -> list[list[Reply]]:
        """See `Nodes.together`."""
        if len(works) == 1:
            return [await works[0]]
        return list(await asyncio.gather(*works))

    async def sleep(self, seconds: float) -> None:
        """See `Nodes.sleep`."""
        await asyncio.sleep(seconds)
