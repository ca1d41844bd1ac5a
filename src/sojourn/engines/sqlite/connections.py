"""Connections to one SQLite file: how they are opened, lent to readers, and let go.

How they and forks go together is told in `forks`.
"""

from __future__ import annotations

import os
import random
import sqlite3
import threading
import time
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, TypeAlias

from sojourn.engines.sqlite.faults import is_busy, translate
from sojourn.engines.sqlite.forks import QUIET
from sojourn.errors import ClosedError, CorruptError, ReadOnlyError, UnavailableError, UnsupportedError

Durability: TypeAlias = Literal["full", "normal"]

_STATEMENTS: Final = 256
_NETWORK: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "afs", "ceph", "glusterfs"})

_EMPTIEST: Final = 512
"""No database is smaller, but for an empty file; SQLite would write over a shorter text."""

_inherited: dict[tuple[int, int], list[sqlite3.Connection]] = {}
"""Connections of a parent process by the file they are on, kept so that they are never closed here."""


class Connections:
    """Opens connections to ``path`` and lends readers."""

    def __init__(self, path: str, *, durability: Durability, timeout: float, read_only: bool) -> None:
        self.path = path
        self.timeout = timeout
        self.read_only = read_only
        self._synchronous = "full" if durability == "full" else "normal"
        self._idle: deque[sqlite3.Connection] = deque()
        self._open: list[sqlite3.Connection] = []
        self._pid = os.getpid()
        self._using: deque[None] = deque()
        """One for each read that is going on."""
        self._paused: threading.Event | None = None
        self._pauses = 0
        self._forking = threading.Lock()
        self._closed = False

    def prepare(self, *, create: bool) -> None:
        """Make the directory and the file (0700, 0600) when they are missing; refuse file systems that WAL cannot use."""
        path = Path(self.path)
        kind = _file_system(path)
        if kind in _NETWORK:
            raise UnsupportedError(
                f"{path} lies on a network file system ({kind}), where SQLite's write-ahead log is not safe.",
                hint="Use a local path, or postgresql:// or redis:// for several machines.",
            )
        try:
            if path.exists():
                if 0 < path.stat().st_size < _EMPTIEST:
                    raise CorruptError(f"{path} is not a Sojourn store.", hint="Check the path.")
                return
            if self.read_only or not create:
                raise UnavailableError(
                    f"{path} does not exist.", hint="A store that is only read, or not migrated, must exist already."
                )
            if not path.parent.exists():
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not path.exists():
                os.close(os.open(path, os.O_CREAT | os.O_RDWR | getattr(os, "O_CLOEXEC", 0), 0o600))
        except OSError as error:
            raise UnavailableError(
                f"{path} cannot be created: {error.strerror}.", hint="Check the path and its permissions."
            ) from error

    def connect(self) -> sqlite3.Connection:
        """A new connection with this store's settings."""
        if self._closed:
            raise ClosedError("this store was closed.", hint="Open it again.")
        if _inherited and _file(self.path) in _inherited:
            raise UnavailableError(
                f"{self.path} was in use when this process was forked, and cannot be opened in it.",
                hint="Fork before the store is used, or start the process anew (multiprocessing: 'spawn').",
            )
        mode = "ro" if self.read_only else "rw"
        uri = f"{Path(self.path).absolute().as_uri()}?mode={mode}"
        try:
            connection = sqlite3.connect(
                uri,
                uri=True,
                timeout=self.timeout,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=_STATEMENTS,
            )
        except sqlite3.Error as error:
            raise translate(error, self.path) from error
        try:
            connection.execute(f"pragma synchronous = {self._synchronous}")
            connection.execute("pragma secure_delete = on")
            connection.execute("pragma foreign_keys = off")
        except sqlite3.Error as error:
            connection.close()
            raise translate(error, self.path) from error
        self._open.append(connection)
        return connection

    def writer(self) -> sqlite3.Connection:
        """A connection for commits: it answers busy at once (the waiting is `begin`'s), and the file is in WAL mode."""
        connection = self.connect()
        try:
            self.to_wal(connection)
            connection.execute("pragma busy_timeout = 0")
        except BaseException as error:
            self.forget(connection)
            if not isinstance(error, sqlite3.Error):
                raise
            raise translate(error, self.path) from error
        return connection

    def to_wal(self, connection: sqlite3.Connection) -> None:
        """The busy timeout does not cover the switch, so it is retried."""
        limit = time.monotonic() + self.timeout
        while True:
            try:
                mode = connection.execute("pragma journal_mode = wal").fetchone()[0]
            except sqlite3.Error as error:
                if not is_busy(error) or time.monotonic() > limit:
                    raise
                time.sleep(random.uniform(0.001, 0.005))  # noqa: S311  # jitter, not a secret
                continue
            if mode != "wal":
                raise UnsupportedError(
                    f"{self.path} cannot use a write-ahead log (journal mode {mode!r}).", hint="Use a local disk."
                )
            return

    def reader(self) -> Lent:
        """A connection for one read, taken from those that are idle."""
        return Lent(self)

    def snapshot(self) -> Lent:
        """A connection for one read of several statements that all see the same moment."""
        return Lent(self, whole=True)

    def take(self) -> sqlite3.Connection:
        """An idle connection, or a new one."""
        self.check_process()
        self._using.append(None)
        while (paused := self._paused) is not None:  # a look after the word: either sees the other
            self._using.pop()
            paused.wait()
            self._using.append(None)
        try:
            return self._idle.pop()
        except IndexError:
            pass
        try:
            return self.connect()
        except BaseException:
            self._using.pop()
            raise

    def give_back(self, connection: sqlite3.Connection) -> None:
        """A connection that was taken is idle again."""
        self._idle.append(connection)
        if self._closed:  # meanwhile: whoever uses a connection closes it
            self._close_idle()
        self._using.pop()

    def begin(self, connection: sqlite3.Connection) -> None:
        """Start a write transaction; waits with jitter while another process has the lock, at most the time limit.

        The busy handler of SQLite backs off up to 100 ms and starves whoever waits behind a fast writer (ADR 004).
        """
        if self.read_only:
            raise ReadOnlyError(f"{self.path} was opened read-only.", hint="Open it without mode=ro to write.")
        try:
            connection.execute("begin immediate")
            return
        except sqlite3.Error as error:
            if not is_busy(error):
                raise translate(error, self.path) from error
        limit = time.monotonic() + self.timeout
        while True:
            time.sleep(random.uniform(0.0002, 0.0004))  # noqa: S311  # jitter, not a secret
            try:
                connection.execute("begin immediate")
                return
            except sqlite3.Error as error:
                if not is_busy(error):
                    raise translate(error, self.path) from error
                if time.monotonic() > limit:
                    raise UnavailableError(
                        f"{self.path} was busy for {self.timeout:g} s: another process holds its write lock.",
                        hint="Nothing was stored; try again.",
                    ) from error

    def forget(self, connection: sqlite3.Connection) -> None:
        """Close a connection for good."""
        if connection in self._open:
            self._open.remove(connection)
        connection.close()

    def check_process(self) -> bool:
        """Forget inherited connections after a fork; True when that happened."""
        if os.getpid() == self._pid:
            return False
        if self._open:
            _inherited.setdefault(_file(self.path), []).extend(self._open)
        self._open = []
        self._idle = deque()
        self._using = deque()
        self._paused = None
        self._pauses = 0
        self._forking = threading.Lock()
        self._pid = os.getpid()
        return True

    def pause(self) -> None:
        """Before a fork: nobody takes a connection any more, and all are closed; those in use when they are given back."""
        with self._forking:
            self._pauses += 1
            if self._paused is None:
                self._paused = threading.Event()
        limit = time.monotonic() + QUIET
        self._close_idle()
        while (self._using or self._open) and time.monotonic() < limit:
            time.sleep(0.0005)
            self._close_idle()

    def resume(self) -> None:
        """After a fork, in the parent; the last of several that overlap lets readers go on."""
        with self._forking:
            self._pauses -= 1
            if self._pauses:
                return
            paused, self._paused = self._paused, None
        if paused is not None:
            paused.set()

    def close(self) -> None:
        """Close what this process opened; what is in use at this moment is closed by whoever uses it."""
        self._closed = True
        if not self.check_process():
            self._close_idle()

    def _close_idle(self) -> None:
        while True:
            try:
                self.forget(self._idle.pop())
            except IndexError:
                return


class Lent:
    """A reader's connection while it is entered (a class: a generator costs three times as much, on every read)."""

    __slots__ = ("_connection", "_connections", "_whole")

    def __init__(self, connections: Connections, *, whole: bool = False) -> None:
        self._connections = connections
        self._whole = whole

    def __enter__(self) -> sqlite3.Connection:
        connection = self._connection = self._connections.take()
        if self._whole:
            connection.execute("begin")
        return connection

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._whole:
            self._connection.rollback()
        self._connections.give_back(self._connection)
        if isinstance(error, sqlite3.Error):
            raise translate(error, self._connections.path) from error


def facts(connection: sqlite3.Connection) -> dict[str, Any]:
    """The settings that durability rests on, as SQLite reports them."""
    names = ("journal_mode", "synchronous", "page_size", "page_count", "freelist_count", "wal_autocheckpoint")
    return {name: connection.execute(f"pragma {name}").fetchone()[0] for name in names}


def _file(path: str) -> tuple[int, int]:
    """Which file this is, under whatever name."""
    try:
        found = os.stat(path)
    except OSError:
        return (0, 0)
    return (found.st_dev, found.st_ino)


def _file_system(path: Path) -> str:
    """The type of the file system ``path`` is on, empty where the system does not say."""
    try:
        table = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    best, kind = "", ""
    real = str(path.absolute().parent.resolve())
    for line in table.splitlines():
        left, _, right = line.partition(" - ")
        mount = left.split(" ")[4].replace("\\040", " ")
        if len(mount) >= len(best) and (real == mount or real.startswith(mount.rstrip("/") + "/")):
            best, kind = mount, right.split(" ", 1)[0]
    return kind
