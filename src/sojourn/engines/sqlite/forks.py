"""Forking while stores are open.

SQLite keeps tables, per process, of the locks that its connections hold. A forked child inherits the tables and not the
locks: it would go on in the belief that it keeps others from removing the write-ahead log, and its commits would be lost
with it. So a child must not inherit a single connection: before a fork every open store waits for what is going on and
closes its connections, and both processes open new ones when they need them.

Connections that cannot be closed in time (`QUIET`) are inherited. The child never uses or closes them (closing could write),
and refuses to open that file.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Final, Protocol

QUIET: Final = 1.0
"""Seconds that a fork waits for the commits and reads that are going on."""


class Forking(Protocol):
    """A store that wants to be told."""

    def before_fork(self) -> None:
        """Let go of everything."""

    def after_fork_in_parent(self) -> None:
        """Go on."""

    def after_fork_in_child(self) -> None:
        """Begin anew."""


_stores: weakref.WeakSet[Forking] = weakref.WeakSet()


def watch_forks(store: Forking) -> None:
    """Tell ``store`` of forks as long as it lives."""
    _stores.add(store)


class _Told(threading.local):
    """The stores that were told of the fork of this thread: one that was opened meanwhile was not."""

    stores: tuple[Forking, ...] = ()


_told: Final = _Told()


def _before() -> None:
    _told.stores = tuple(_stores)
    for store in _told.stores:
        store.before_fork()


def _after_in_parent() -> None:
    stores, _told.stores = _told.stores, ()
    for store in stores:
        store.after_fork_in_parent()


def _after_in_child() -> None:
    _told.stores = ()
    for store in list(_stores):
        store.after_fork_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
