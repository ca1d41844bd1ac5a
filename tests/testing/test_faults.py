"""The fault tools do what they say: a tool that does nothing would let every test of a fault pass."""

from __future__ import annotations

import contextlib
import errno
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from pathlib import Path

import psycopg
import pytest

from sojourn.testing.faults import DiskFault, FaultProxy, FaultShim, ShimUnavailableError, find_compiler
from sojourn.testing.servers import ServerMissingError, find_postgres, postgres_server

RESET = (ConnectionResetError, BrokenPipeError)


class Echo:
    """A server that sends back what it gets, and remembers it."""

    def __init__(self) -> None:
        self.got = b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._echo, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _echo(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while data := connection.recv(65536):
                self.got += data
                connection.sendall(data)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts; macOS wakes it on close
        self._listener.close()
        for thread in self._threads:
            thread.join(5)
            assert not thread.is_alive()


@pytest.fixture
def echo() -> Generator[Echo]:
    server = Echo()
    yield server
    server.close()


@pytest.fixture
def proxy(echo: Echo) -> Generator[FaultProxy]:
    with FaultProxy("127.0.0.1", echo.port) as proxy:
        yield proxy


def connect(proxy: FaultProxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=5)


def receive(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := connection.recv(size - len(data))):
        data += more
    return data


def round_trip(connection: socket.socket, data: bytes = b"ping") -> bytes:
    connection.sendall(data)
    return receive(connection, len(data))


# Network


def test_without_a_fault_the_proxy_carries_everything_both_ways(proxy: FaultProxy) -> None:
    data = bytes(range(256)) * 4096
    with connect(proxy) as connection:
        sender = threading.Thread(target=connection.sendall, args=(data,))
        sender.start()
        assert receive(connection, len(data)) == data
        sender.join()
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""
    assert proxy.carried == {"to_server": len(data), "to_client": len(data)}


def test_a_delay_makes_a_longer_way_and_not_a_narrower_one(proxy: FaultProxy) -> None:
    with connect(proxy) as connection:
        round_trip(connection)
        proxy.delay(0.25)
        started = time.monotonic()
        for number in range(20):
            connection.sendall(b"%02d" % number)
        answer = receive(connection, 40)
        took = time.monotonic() - started
    assert answer == b"".join(b"%02d" % number for number in range(20))
    assert took >= 0.5  # there and back
    assert took < 10.0  # what the 20 take one after the other, there and back


def test_a_throttle_takes_as_long_as_its_rate_says(proxy: FaultProxy) -> None:
    with connect(proxy) as connection:
        proxy.throttle(10_000)
        started = time.monotonic()
        assert round_trip(connection, b"x" * 1_000) == b"x" * 1_000
        assert time.monotonic() - started >= 0.2
        proxy.heal()
        assert round_trip(connection, b"x" * 100_000)


@pytest.mark.parametrize("direction", ["to_server", "to_client"])
def test_a_stall_holds_one_direction_back_until_it_is_healed(proxy: FaultProxy, echo: Echo, direction: str) -> None:
    with connect(proxy) as connection:
        round_trip(connection, b"first")
        proxy.stall("to_server" if direction == "to_server" else "to_client")
        connection.sendall(b"second")
        limit = time.monotonic() + 30
        while direction == "to_client" and echo.got != b"firstsecond":
            assert time.monotonic() < limit
            time.sleep(0.001)
        connection.settimeout(0.1)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        assert echo.got == (b"first" if direction == "to_server" else b"firstsecond")
        proxy.heal()
        connection.settimeout(30)
        assert receive(connection, 6) == b"second"


def test_a_cut_answer_was_a_request_that_happened(proxy: FaultProxy, echo: Echo) -> None:
    with connect(proxy) as connection:
        proxy.cut("to_client")
        connection.sendall(b"done")
        with pytest.raises(RESET):
            connection.recv(4)
    assert echo.got == b"done"
    assert proxy.cuts == 1
    with connect(proxy) as connection:
        assert round_trip(connection) == b"ping", "a cut strikes once"


def test_a_cut_request_never_happened(proxy: FaultProxy, echo: Echo) -> None:
    with connect(proxy) as connection:
        proxy.cut("to_server")
        connection.sendall(b"lost")
        with pytest.raises(RESET):
            connection.recv(4)
    assert echo.got == b""


def test_a_cut_lets_through_as_many_bytes_as_it_was_told(proxy: FaultProxy) -> None:
    with connect(proxy) as connection:
        proxy.cut("to_client", after=6)
        assert round_trip(connection, b"four") == b"four"
        connection.sendall(b"more")
        assert receive(connection, 2) == b"mo"
        with pytest.raises(RESET):
            connection.recv(1)
    assert proxy.carried["to_client"] == 6


def test_a_reset_ends_open_connections_and_welcomes_new_ones(proxy: FaultProxy) -> None:
    with connect(proxy) as connection:
        round_trip(connection)
        proxy.reset()
        with pytest.raises(RESET):
            connection.recv(1)
    with connect(proxy) as connection:
        assert round_trip(connection) == b"ping"


def test_a_reset_reaches_a_stalled_connection(proxy: FaultProxy) -> None:
    with connect(proxy) as connection:
        round_trip(connection)
        proxy.stall()
        connection.sendall(b"held back")
        proxy.reset()
        with pytest.raises(RESET):
            connection.recv(1)


def test_refused_connections_are_accepted_again_after_heal(proxy: FaultProxy) -> None:
    with connect(proxy) as connection:
        round_trip(connection)
        proxy.refuse()
        with pytest.raises(RESET):
            connection.recv(1)
    with pytest.raises(ConnectionRefusedError):
        connect(proxy)
    proxy.heal()
    with connect(proxy) as connection:
        assert round_trip(connection) == b"ping"


def test_a_server_that_is_down_resets_the_client(echo: Echo) -> None:
    with FaultProxy("127.0.0.1", echo.port) as proxy:
        echo.close()
        with pytest.raises(RESET), connect(proxy) as connection:  # at the earliest, in connect itself
            connection.recv(1)


def test_leaving_ends_every_connection_and_the_thread(echo: Echo) -> None:
    with FaultProxy("127.0.0.1", echo.port) as proxy:
        connection = connect(proxy)
        round_trip(connection)
        proxy.stall()
        connection.sendall(b"held back")
    with connection, pytest.raises(RESET):
        connection.recv(1)
    assert "fault-proxy" not in {thread.name for thread in threading.enumerate()}


def test_the_proxy_rewrites_a_url(proxy: FaultProxy) -> None:
    assert proxy.url("redis://:secret@10.0.0.1:6379/2?x=1") == f"redis://:secret@127.0.0.1:{proxy.port}/2?x=1"
    assert proxy.url("redis://db/0") == f"redis://127.0.0.1:{proxy.port}/0"


# Disk


@pytest.fixture
def shim(tmp_path: Path) -> Generator[FaultShim]:
    try:
        find_compiler()
    except ShimUnavailableError as missing:
        pytest.skip(str(missing))
    with FaultShim(path_contains=str(tmp_path / "data")) as shim:
        yield shim


class Writer:
    """A program under the shim that does one thing to one file each time it is told, and reports the error number."""

    script = """
import os, sys, time
files = {name: os.open(name, os.O_RDWR | os.O_CREAT) for name in sys.argv[1:]}
verbs = {
    "write": lambda fd: os.write(fd, b"x"),
    "pwrite": lambda fd: os.pwrite(fd, b"x", 0),
    "writev": lambda fd: os.writev(fd, [b"x"]),
    "pwritev": lambda fd: os.pwritev(fd, [b"x"], 0),
    "reserve": lambda fd: os.posix_fallocate(fd, 0, 4096),
    "fsync": os.fsync,
    "fdatasync": os.fdatasync,
}
for line in sys.stdin:
    verb, name = line.split()
    code, started = 0, time.monotonic()
    try:
        verbs[verb](files[name])
    except OSError as error:
        code = error.errno
    print(code, time.monotonic() - started, flush=True)
"""

    def __init__(self, shim: FaultShim, directory: Path) -> None:
        self._run = subprocess.Popen(
            [sys.executable, "-c", self.script, "data", "other"],
            cwd=directory,
            env=shim.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def does(self, verb: str, name: str = "data") -> tuple[int, float]:
        assert self._run.stdin is not None
        assert self._run.stdout is not None
        self._run.stdin.write(f"{verb} {name}\n")
        self._run.stdin.flush()
        code, seconds = self._run.stdout.readline().split()
        return int(code), float(seconds)

    def close(self) -> None:
        self._run.communicate(timeout=5)
        assert self._run.returncode == 0


@pytest.fixture
def writer(shim: FaultShim, tmp_path: Path) -> Generator[Writer]:
    writer = Writer(shim, tmp_path)
    yield writer
    writer.close()


WRITES = ["write", "pwrite", "writev", "pwritev", "reserve"]
SYNCS = ["fsync", "fdatasync"]


@pytest.mark.parametrize(
    ("fault", "verbs", "code"),
    [(DiskFault.DISK_IS_FULL, WRITES, errno.ENOSPC), (DiskFault.SYNC_FAILS, SYNCS, errno.EIO)],
)
def test_a_disk_fault_comes_and_goes_while_the_program_runs(
    shim: FaultShim, writer: Writer, fault: DiskFault, verbs: list[str], code: int
) -> None:
    for verb in WRITES + SYNCS:
        assert writer.does(verb)[0] == 0
    shim.set(fault)
    for verb in WRITES + SYNCS:
        assert writer.does(verb)[0] == (code if verb in verbs else 0), verb
        assert writer.does(verb, "other")[0] == 0, "this file is not concerned"
    shim.clear()
    for verb in WRITES + SYNCS:
        assert writer.does(verb)[0] == 0


@pytest.mark.parametrize("verb", SYNCS)
def test_a_slow_sync_takes_as_long_as_it_was_told(shim: FaultShim, writer: Writer, verb: str) -> None:
    shim.set(DiskFault.SYNC_IS_SLOW, seconds=0.05)
    code, seconds = writer.does(verb)
    assert code == 0
    assert seconds >= 0.05


@pytest.mark.parametrize("verb", SYNCS)
def test_a_lying_sync_reports_success(shim: FaultShim, writer: Writer, verb: str) -> None:
    shim.set(DiskFault.SYNC_LIES)
    assert writer.does(verb)[0] == 0


def test_a_real_server_meets_a_full_disk_and_recovers() -> None:
    try:
        find_postgres()
        find_compiler()
    except (ServerMissingError, ShimUnavailableError) as missing:
        pytest.skip(str(missing))
    with (
        FaultShim(path_contains="/data/base/") as shim,
        postgres_server(environment=shim.environment) as server,
        psycopg.connect(server.url, autocommit=True) as connection,
    ):
        connection.execute("create table growing (filler text)")
        grow = "insert into growing select repeat('x', 100) from generate_series(1, 1000)"
        connection.execute(grow)
        shim.set(DiskFault.DISK_IS_FULL)
        with pytest.raises(psycopg.errors.DiskFull):
            connection.execute(grow)
        shim.clear()
        connection.execute(grow)
        row = connection.execute("select count(*) from growing").fetchone()
        assert row == (2000,)


def test_a_machine_without_a_compiler_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ShimUnavailableError, match="install gcc or clang"):
        FaultShim()


def test_other_systems_are_told_that_there_are_no_disk_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(ShimUnavailableError, match="need Linux"):
        FaultShim()
