"""One server process: its start, its end, its port and its directory."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple, TypeAlias

Setting: TypeAlias = str | int | bool
"""A server setting; a bool is written the way that server writes it."""

_READY_WITHIN = 90.0
"""Seconds, on a machine that is busy: servers that were held up suspect each other first, and take their time to agree."""
_STOPPED_WITHIN = 10.0
_LOOK_EVERY = 0.005

# Below the ports that Linux and macOS hand to outgoing connections, so that none of those can take one first.
_PORTS = range(20_000, 30_000)


class ServerFailedError(RuntimeError):
    """A server did not start, or went away while it was being set up; the message ends with its log."""


class Account(NamedTuple):
    """The account a server runs under."""

    uid: int | None = None
    gid: int | None = None
    groups: tuple[int, ...] | None = None


CALLER = Account()
"""The account this process runs under."""


class Server:
    """A running server process with a port, a directory and a log; only ever stopped by its own process id."""

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        url: str,
        port: int,
        directory: Path,
        ready: Callable[[Server], bool],
        stop_signal: signal.Signals = signal.SIGTERM,
        orphan_signal: signal.Signals = signal.SIGKILL,
        account: Account = CALLER,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.url = url
        self.port = port
        self.directory = directory
        self.log: Path = directory / "log"
        self._command = [*_dies_with_parent(orphan_signal), *map(str, command)]
        self._ready = ready
        self._stop_signal = stop_signal
        self._account = account
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    def __repr__(self) -> str:
        return f"<Server {self.url} {f'pid {self.pid}' if self.running else 'stopped'}>"

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process id of the server, kept after it has stopped; 0 before the first start."""
        return self._process.pid if self._process is not None else 0

    def start(self, within: float = _READY_WITHIN) -> None:
        """Starts the server, on the same port and files as before, and returns when it answers.

        Does nothing when it is running. Raises `ServerFailedError` when it is not ready after ``within`` seconds.
        """
        if self.running:
            return
        limit = time.monotonic() + within
        while True:
            self._spawn()
            try:
                self.wait_until(lambda: self._ready(self), "the server answers", limit - time.monotonic())
                return
            except ServerFailedError as error:
                self.kill()
                # After a kill the children of PostgreSQL hold its shared memory until they notice, a moment later.
                if "pre-existing shared memory block" not in str(error) or time.monotonic() > limit:
                    raise

    def stop(self, within: float = _STOPPED_WITHIN) -> None:
        """Asks the server to shut down and returns when it has; kills it when it is not gone in ``within`` seconds."""
        self._end(self._stop_signal, within)

    def kill(self) -> None:
        """Ends the process at once, the way a crash does; its files stay as they are."""
        self._end(signal.SIGKILL, _STOPPED_WITHIN)

    def wait_until(self, condition: Callable[[], bool], what: str, within: float = _READY_WITHIN) -> None:
        """Returns as soon as ``condition()`` is true; an `OSError` counts as false (a refused connection).

        Raises `ServerFailedError`, naming ``what`` was waited for, after ``within`` seconds or when the process ends.
        """
        if self._process is None:
            raise ServerFailedError(f"{self.url}: never started; waited for: {what}.")
        limit = time.monotonic() + within
        while True:
            with contextlib.suppress(OSError):
                if condition():
                    return
            if time.monotonic() > limit:
                raise ServerFailedError(f"{self.url}: after {within:.0f} s, still not: {what}.{self._log_tail()}")
            try:
                code = self._process.wait(_LOOK_EVERY)
            except subprocess.TimeoutExpired:
                continue
            raise ServerFailedError(f"{self.url}: exited with {code}; waited for: {what}.{self._log_tail()}")

    def _spawn(self) -> None:
        with open(self.log, "ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                env={**os.environ, **self._environment} if self._environment else None,
                start_new_session=True,  # Ctrl-C in the terminal is for the test run, which then stops its servers
                user=self._account.uid,
                group=self._account.gid,
                extra_groups=self._account.groups,
            )

    def _end(self, how: signal.Signals, within: float) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(how)
        try:
            self._process.wait(within)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _log_tail(self) -> str:
        """What this start of the server has logged, its last 2,000 characters."""
        try:
            with open(self.log, "rb") as log:
                log.seek(self._log_start)
                text = log.read().decode(errors="replace").strip()
        except OSError:
            return ""
        return f" Its log:\n{text[-2000:]}" if text else " Its log is empty."


def _dies_with_parent(orphan_signal: signal.Signals) -> list[str]:
    """The words before a command that make Linux send it a signal when the thread that started it ends."""
    setpriv = _setpriv()
    return [setpriv, "--pdeathsig", orphan_signal.name.removeprefix("SIG")] if setpriv else []


@functools.cache
def _setpriv() -> str | None:
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        return None
    # The setpriv of BusyBox lacks the option.
    usage = subprocess.run([setpriv, "--help"], capture_output=True, text=True, check=False)
    return setpriv if "--pdeathsig" in usage.stdout else None


@contextlib.contextmanager
def free_ports(count: int) -> Generator[list[int]]:
    """``count`` ports of 127.0.0.1 on which nobody listens, and which no other user of this function gets meanwhile.

    A port is taken by locking a file named after it, so test runs side by side share the range, and the system drops
    the lock of a process that dies.
    """
    locks = Path(tempfile.gettempdir(), f"sojourn-ports-{os.getuid()}")
    locks.mkdir(mode=0o700, exist_ok=True)
    with contextlib.ExitStack() as held:
        taken: list[int] = []
        for port in random.sample(_PORTS, len(_PORTS)):
            if len(taken) == count:
                break
            if (lock := _take_port(locks, port)) is not None:
                held.callback(lock.close)
                taken.append(port)
        yield taken


def _take_port(locks: Path, port: int) -> IO[bytes] | None:
    lock = open(locks / str(port), "wb")  # noqa: SIM115 - the caller keeps it open: an open file is the lock
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
    except OSError:
        lock.close()
        return None
    return lock


@contextlib.contextmanager
def working_directory(prefix: str, account: Account = CALLER) -> Generator[Path]:
    """A temporary directory that belongs to ``account`` and is removed at the end."""
    directory = Path(tempfile.mkdtemp(prefix=f"sojourn-{prefix}-"))
    try:
        if account.uid is not None and account.gid is not None:
            os.chown(directory, account.uid, account.gid)
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def written(value: Setting, yes: str, no: str) -> str:
    """A setting as the server reads it."""
    if isinstance(value, bool):
        return yes if value else no
    return str(value)
