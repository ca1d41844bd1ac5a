"""Faults on command: a network that misbehaves, and a disk that does.

`FaultProxy` stands between a client and a server. `FaultShim` is loaded into a server or a program that is started with
its environment, and makes its writes and syncs fail (Linux, with a C compiler).

Killing a server on the loopback interface proves little, because the kernel has already taken what was sent; cut the
link instead.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Coroutine
from enum import StrEnum
from importlib.resources import as_file, files
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias, TypeVar
from urllib.parse import urlsplit, urlunsplit

Direction: TypeAlias = Literal["to_server", "to_client"]

_T = TypeVar("_T")

_DIRECTIONS: tuple[Direction, ...] = ("to_server", "to_client")
_CHUNK = 64 * 1024
_CHUNKS_ON_THE_WAY = 64
_CALL_WITHIN = 10.0
_TURNS_TO_ACCEPT = 4


# -------------------------------------------------------------------------------------------------------------- network


class FaultProxy:
    """A TCP proxy on 127.0.0.1 that carries bytes to ``host:port`` and back, and misbehaves on command.

    Runs in a thread of its own, so blocking and asynchronous tests use it alike. Every method may be called from any
    thread, has taken effect when it returns, and concerns all connections, present and future.
    """

    def __init__(self, host: str, port: int, *, seed: int = 0) -> None:
        self.port: int = 0
        self.cuts: int = 0
        """How many times `cut` has struck."""
        self.carried: dict[Direction, int] = dict.fromkeys(_DIRECTIONS, 0)
        """Bytes delivered so far in each direction."""
        self._upstream = (host, port)
        self._random = random.Random(seed)
        self._delay = self._jitter = 0.0
        self._rate: float | None = None
        self._cut_after: dict[Direction, int] = {}
        self._flowing = {direction: asyncio.Event() for direction in _DIRECTIONS}
        for event in self._flowing.values():
            event.set()
        self._links: set[_Link] = set()
        self._writers: list[asyncio.StreamWriter] = []
        """Both ends of every connection so far."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._listen())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._call(self._shut_down())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def url(self, upstream_url: str) -> str:
        """``upstream_url`` with the address of the proxy in place of the server's."""
        parts = urlsplit(upstream_url)
        user, at, _ = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{user}{at}127.0.0.1:{self.port}"))

    def delay(self, seconds: float, jitter: float = 0.0) -> None:
        """Delivers everything ``seconds`` late, and up to ``jitter`` more; order is kept, the flow is not narrowed."""

        async def change() -> None:
            self._delay, self._jitter = seconds, jitter

        self._call(change())

    def throttle(self, bytes_per_second: float | None) -> None:
        """Narrows each direction of each connection; None widens it again."""

        async def change() -> None:
            self._rate = bytes_per_second

        self._call(change())

    def stall(self, *directions: Direction) -> None:
        """Holds back what is sent in ``directions`` (none named: both), without closing anything, until `heal`."""

        async def change() -> None:
            for direction in directions or _DIRECTIONS:
                self._flowing[direction].clear()

        self._call(change())

    def cut(self, direction: Direction, after: int = 0) -> None:
        """Lets ``after`` more bytes through in ``direction``, then resets the connection that sends the next one. Once.

        ``cut("to_client")`` makes the next request happen and its answer get lost.
        """

        async def change() -> None:
            self._cut_after[direction] = after

        self._call(change())

    def heal(self) -> None:
        """Undoes `delay`, `throttle`, `stall`, `cut` and `refuse`; what was held back is delivered."""

        async def change() -> None:
            self._delay = self._jitter = 0.0
            self._rate = None
            self._cut_after.clear()
            for event in self._flowing.values():
                event.set()
            await self._listen()

        self._call(change())

    def reset(self) -> None:
        """Resets (RST) every open connection; new ones are welcome."""

        async def change() -> None:
            self._reset_links()

        self._call(change())

    def refuse(self) -> None:
        """Resets every open connection and refuses new ones until `heal`."""

        async def change() -> None:
            await self._stop_listening()
            self._reset_links()

        self._call(change())

    def _call(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_CALL_WITHIN)

    async def _listen(self) -> None:
        if self._listener is None:
            self._listener = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
            self.port = int(self._listener.sockets[0].getsockname()[1])

    async def _stop_listening(self) -> None:
        if self._listener is not None:
            for listening in self._listener.sockets:
                self._loop.remove_reader(listening)
            for _ in range(_TURNS_TO_ACCEPT):  # asyncio loses a connection that it accepts while it closes
                await asyncio.sleep(0)
            self._listener.close()
            self._listener = None

    def _reset_links(self) -> None:
        for link in self._links:
            link.reset()

    async def _shut_down(self) -> None:
        await self._stop_listening()
        self._reset_links()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:  # also of those who were cancelled before they began
            _reset(writer)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A plain function: of a coroutine here, asyncio would report the end by cancellation as an error.
        self._writers.append(writer)
        task = self._loop.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server_writer = await asyncio.open_connection(*self._upstream)
        except (OSError, asyncio.CancelledError) as failure:
            _reset(writer)
            if isinstance(failure, OSError):
                return
            raise
        self._writers.append(server_writer)
        link = _Link(writer, server_writer)
        self._links.add(link)
        try:
            async with asyncio.TaskGroup() as group:
                link.tasks += [
                    group.create_task(self._carry(reader, server_writer, "to_server")),
                    group.create_task(self._carry(server_reader, writer, "to_client")),
                ]
        except* (OSError, _Cut):
            link.reset()
        finally:
            self._links.discard(link)
            link.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: Direction) -> None:
        # Two tasks, so that a delay is a longer way and not a narrower one: bytes are read while others are under way.
        on_the_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_CHUNKS_ON_THE_WAY)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._receive(reader, on_the_way))
            group.create_task(self._deliver(on_the_way, writer, direction))

    async def _receive(self, reader: asyncio.StreamReader, on_the_way: asyncio.Queue[tuple[float, bytes]]) -> None:
        data = b"unread"
        while data:
            data = await reader.read(_CHUNK)
            due = self._loop.time() + self._delay + self._random.random() * self._jitter
            await on_the_way.put((due, data))

    async def _deliver(
        self, on_the_way: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter, direction: Direction
    ) -> None:
        while True:
            due, data = await on_the_way.get()
            await asyncio.sleep(max(0.0, due - self._loop.time()))
            if self._rate is not None:
                await asyncio.sleep(len(data) / self._rate)
            await self._flowing[direction].wait()
            if not data:
                writer.write_eof()
                return
            await self._write(writer, data, direction)

    async def _write(self, writer: asyncio.StreamWriter, data: bytes, direction: Direction) -> None:
        left = self._cut_after.get(direction)
        strikes = left is not None and left < len(data)
        if left is not None and strikes:
            data = data[:left]
            del self._cut_after[direction]
            self.cuts += 1
        elif left is not None:
            self._cut_after[direction] = left - len(data)
        writer.write(data)
        await writer.drain()
        self.carried[direction] += len(data)
        if strikes:
            raise _Cut


class _Cut(Exception):  # noqa: N818 - not an error: how a delivery ends its connection
    """The place where `FaultProxy.cut` strikes has been reached."""


class _Link:
    """One proxied connection: both its ends, and the tasks that carry between them."""

    def __init__(self, *writers: asyncio.StreamWriter) -> None:
        self.writers = writers
        self.tasks: list[asyncio.Task[None]] = []
        for writer in writers:
            writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            writer.transport.set_write_buffer_limits(0)  # a drained writer has handed all to the kernel

    def reset(self) -> None:
        for writer in self.writers:
            _reset(writer)
        for task in self.tasks:
            task.cancel()

    def close(self) -> None:
        for writer in self.writers:
            writer.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    if connection.fileno() >= 0:
        # Lingering for no time is how a socket is closed with RST.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


# ----------------------------------------------------------------------------------------------------------------- disk


class DiskFault(StrEnum):
    """What a disk can do to a program; the values are the words of the shim's control file."""

    SYNC_FAILS = "sync-fails"
    """fsync and fdatasync report EIO."""
    SYNC_IS_SLOW = "sync-is-slow"
    """fsync and fdatasync take a while longer."""
    SYNC_LIES = "sync-lies"
    """fsync and fdatasync do nothing and report success."""
    DISK_IS_FULL = "disk-is-full"
    """Writes and reservations of space report ENOSPC."""


class ShimUnavailableError(RuntimeError):
    """The disk shim cannot be built on this machine; the message says what is missing."""


class FaultShim:
    """A library that is loaded before the C library and makes the files of a program fail on command.

    Start the program with `environment` added to its own; it obeys at every call, so faults come and go while it runs.
    Only files whose path contains ``path_contains`` are concerned (default: all, except standard streams)::

        with FaultShim(path_contains="/data/") as shim, postgres_server(environment=shim.environment) as server:
            shim.set(DiskFault.DISK_IS_FULL)
    """

    def __init__(self, *, path_contains: str = "") -> None:
        compiler = find_compiler()
        # mkdtemp and not TemporaryDirectory: a server that runs as another user must be able to read what is here.
        self._directory = Path(tempfile.mkdtemp(prefix="sojourn-shim-"))
        self._directory.chmod(0o755)
        self._control = self._directory / "fault"
        library = self._directory / "faultshim.so"
        try:
            self.clear()
            _compile(compiler, library)
        except BaseException:
            self.close()
            raise
        self.environment: dict[str, str] = {
            "LD_PRELOAD": str(library),
            "SOJOURN_FAULT_FILE": str(self._control),
            "SOJOURN_FAULT_PATH": path_contains,
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def set(self, fault: DiskFault, *, seconds: float = 0.2) -> None:
        """Makes ``fault`` happen from now on; ``seconds`` is how slow a slow sync is."""
        self._write(f"{fault.value} {round(seconds * 1_000_000)}\n")

    def clear(self) -> None:
        """Ends the fault."""
        self._write("none 0\n")

    def close(self) -> None:
        """Removes the files of the shim; programs that have loaded it go on without faults."""
        shutil.rmtree(self._directory, ignore_errors=True)

    def _write(self, text: str) -> None:
        # Renamed into place: no program ever reads half a command.
        written = self._control.with_suffix(".new")
        written.write_text(text)
        written.chmod(0o644)
        os.replace(written, self._control)


def find_compiler() -> str:
    """The C compiler that `FaultShim` uses: ``$CC``, cc, gcc or clang."""
    if not sys.platform.startswith("linux"):
        raise ShimUnavailableError(f"Disk faults need Linux (this is {sys.platform}); network faults work here.")
    for name in (os.environ.get("CC"), "cc", "gcc", "clang"):
        if name and (found := shutil.which(name)):
            return found
    raise ShimUnavailableError("Disk faults need a C compiler: install gcc or clang, or name one in CC.")


def _compile(compiler: str, library: Path) -> None:
    with as_file(files("sojourn.testing") / "faultshim.c") as source:
        command = [compiler, "-shared", "-fPIC", "-O2", "-o", str(library), str(source), "-ldl"]
        made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        raise ShimUnavailableError(f"{compiler} could not build the disk shim:\n{made.stderr}")
    library.chmod(0o755)
