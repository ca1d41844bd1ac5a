"""Which server has what is asked for: the primary that sentinels name, or the node of a Cluster that has the slot.

Written once for both colours, on drivers of single servers. A command that certainly was not carried out (no connection, a
replica, a slot that is elsewhere or on its way) is asked again, until the operation's time is over; one that was sent and not
answered only if it may be (a read).
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

from redis.crc import key_slot
from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    ReadOnlyError,
    RedisError,
    TryAgainError,
)

from sojourn.engines.redis.address import Address, Place
from sojourn.engines.redis.commands import Command
from sojourn.engines.redis.driver import Driver, Nodes, Reply, unsent
from sojourn.engines.redis.faults import Unanswered, Unsent
from sojourn.errors import ClosedError

SLOTS: Final = 16384
FIRST_PAUSE, LONGEST_PAUSE = 0.02, 0.25
"""Seconds between tries while nobody has what is asked for."""

_ELSEWHERE: Final = (
    AskError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    ReadOnlyError,
    TryAgainError,
)


def is_undone(reply: Reply) -> bool:
    """Whether a command was certainly not carried out, and may be by another server or a little later."""
    if isinstance(reply, Unsent):
        return not isinstance(reply.__cause__, AuthenticationError)
    if isinstance(reply, _ELSEWHERE):
        return True
    # A script that finds no key of its own in a slot that is being moved; it has written nothing yet (see quick.lua).
    return isinstance(reply, RedisError) and ("non local key" in str(reply) or str(reply).startswith("TRYAGAIN"))


class Routed:
    """A driver that finds the server for each command."""

    divided: bool

    def __init__(self, place: Place, nodes: Nodes) -> None:
        self._place = place
        self._nodes = nodes
        self._open: dict[tuple[Address, bool], Driver] = {}
        self._closed = False

    @property
    def shared(self) -> bool:
        """See `Driver.shared`."""
        return any(driver.shared for driver in self._open.values())

    @property
    def trips(self) -> int:
        """See `Driver.trips`."""
        return sum(driver.trips for driver in self._open.values())

    async def ask(self, commands: Sequence[Command], *, wide: bool = False, again: bool = False) -> list[Reply]:
        """See `Driver.ask`."""
        if self._closed:
            raise ClosedError("this store was closed.", hint="Open it again.")
        replies: list[Reply] = [None] * len(commands)
        waiting, pause = list(range(len(commands))), FIRST_PAUSE
        limit = time.monotonic() + self._place.timeout
        while True:
            found = await self._round([commands[number] for number in waiting], wide=wide)
            for number, reply in zip(waiting, found, strict=True):
                replies[number] = reply
            waiting = _undone(commands, replies, waiting, again=again)
            if not waiting or time.monotonic() + pause > limit:
                return replies
            if not all(isinstance(replies[number], MovedError) for number in waiting if not commands[number].follows):
                await self._nodes.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            await self._look()

    @abstractmethod
    async def _round(self, commands: Sequence[Command], *, wide: bool) -> list[Reply]:
        """Ask each command once, wherever it belongs as far as is known."""

    @abstractmethod
    async def _look(self) -> None:
        """Find out who has what now."""

    @abstractmethod
    async def block(self, command: Command) -> Reply:
        """See `Driver.block`."""

    def _node(self, address: Address, *, sentinel: bool = False) -> Driver:
        driver = self._open.get((address, sentinel))
        if driver is None:
            driver = self._open.setdefault((address, sentinel), self._nodes.open(self._place, address, sentinel=sentinel))
        return driver

    async def sleep(self, seconds: float) -> None:
        """See `Driver.sleep`."""
        await self._nodes.sleep(seconds)

    async def close(self) -> None:
        """See `Driver.close`."""
        self._closed = True
        for driver in list(self._open.values()):
            await driver.close()


def _undone(commands: Sequence[Command], replies: Sequence[Reply], asked: Sequence[int], *, again: bool) -> list[int]:
    """The places of what is to be asked once more; what follows a command goes with it."""
    found: list[int] = []
    for number in asked:
        undone = is_undone(replies[number]) or (again and isinstance(replies[number], Unanswered))
        if undone or (commands[number].follows and found and found[-1] == number - 1):
            found.append(number)
    return found


class SentinelDriver(Routed):
    """The primary of a name, wherever the sentinels say it is."""

    divided = False

    def __init__(self, place: Place, nodes: Nodes) -> None:
        super().__init__(place, nodes)
        self._primary: Address | None = None
        self._fault: Exception = LookupError("no sentinel was asked yet")

    async def _round(self, commands: Sequence[Command], *, wide: bool) -> list[Reply]:
        if self._primary is None:
            await self._look()
        if self._primary is None:
            return [unsent(self._fault)] * len(commands)
        return await self._node(self._primary).ask(commands, wide=wide)

    async def block(self, command: Command) -> Reply:
        """See `Driver.block`."""
        return unsent(self._fault) if self._primary is None else await self._node(self._primary).block(command)

    async def _look(self) -> None:
        self._primary = None
        for sentinel in self._place.addresses:
            asked = Command(b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", self._place.master.encode())
            reply = (await self._node(sentinel, sentinel=True).ask([asked]))[0]
            if isinstance(reply, Exception):
                self._fault = reply
            elif reply is None:
                self._fault = LookupError(f"the sentinels watch nothing called {self._place.master!r}")
            elif await self._is_primary(address := (reply[0].decode(), int(reply[1]))):
                self._primary = address
                return

    async def _is_primary(self, address: Address) -> bool:
        """Whether a server knows that it is the primary: for a moment, sentinels may name one that is not any more."""
        reply = (await self._node(address).ask([Command(b"ROLE")]))[0]
        if isinstance(reply, Exception):
            self._fault = reply
            return False
        if reply[0] != b"master":
            self._fault = LookupError(f"{address[0]}:{address[1]} is not the primary any more, and no other is known yet")
            return False
        return True


class ClusterDriver(Routed):
    """The nodes of a Cluster; each shard of the store is in one slot."""

    divided = True

    def __init__(self, place: Place, nodes: Nodes) -> None:
        super().__init__(place, nodes)
        self._slots: list[Address | None] = []
        self._fault: Exception = LookupError("no node of the Cluster was asked yet")

    async def _round(self, commands: Sequence[Command], *, wide: bool) -> list[Reply]:
        if not self._slots:
            await self._look()
        replies: list[Reply] = [unsent(self._fault)] * len(commands)
        by_node: dict[Address, list[int]] = {}
        for number, command in enumerate(commands):
            address = self._address_of(command)
            if address is not None:
                by_node.setdefault(address, []).append(number)
        works = [
            self._node(address).ask([commands[number] for number in numbers], wide=wide) for address, numbers in by_node.items()
        ]
        for numbers, found in zip(by_node.values(), await self._nodes.together(works), strict=True):
            for number, reply in zip(numbers, found, strict=True):
                replies[number] = reply
        return replies

    def _address_of(self, command: Command) -> Address | None:
        if not self._slots:
            return None
        if command.key:
            return self._slots[_slot_of(command.key)]
        return next((address for address in self._slots if address is not None), None)

    async def block(self, command: Command) -> Reply:
        """See `Driver.block`: shards are on several nodes, so nobody could wait for all of them."""
        del command
        return unsent(LookupError("nobody waits for a whole Cluster"))

    async def _look(self) -> None:
        known = [address for address in dict.fromkeys(self._slots) if address is not None]
        for address in dict.fromkeys([*known, *self._place.addresses]):
            reply = (await self._node(address).ask([Command(b"CLUSTER", b"SLOTS", key=b"")]))[0]
            if isinstance(reply, Exception):
                self._fault = reply
            elif reply:
                self._slots = _read_slots(reply, address)
                self._fault = LookupError("no node of the Cluster has this slot")
                return
            else:
                self._fault = LookupError(f"{address[0]}:{address[1]} knows no node that has slots")


def _read_slots(rows: list[Any], asked: Address) -> list[Address | None]:
    """The primary of each slot; one that does not know its own address is where it was asked."""
    slots: list[Address | None] = [None] * SLOTS
    for first, last, primary, *_ in rows:
        host = (primary[0] or b"").decode()
        address = (host if host and host != "?" else asked[0], int(primary[1]))
        for slot in range(int(first), int(last) + 1):
            slots[slot] = address
    return slots


@lru_cache(2048)
def _slot_of_tag(tag: bytes) -> int:
    slot: int = key_slot(tag)
    return slot


def _slot_of(key: bytes) -> int:
    """The slot of a key of a store, which has its shard in braces; others have the slot of the whole key."""
    start = key.find(b"{")
    end = key.find(b"}", start + 2)
    return _slot_of_tag(key[start + 1 : end] if 0 <= start < end else key)
