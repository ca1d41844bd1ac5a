"""Where a drop-in keeps its sessions: in a store it was given, behind a URL, or beside the original's own database.

The original's file is never changed. Its data is imported once into ``<name>.sojourn.db`` beside it, so that going back is
a matter of changing the import again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.parse import quote

import sojourn.sync.opening as opening
from sojourn.core.batch import Point
from sojourn.core.session import AliasKey
from sojourn.errors import CorruptError, InvalidValueError, LeaseHeldError
from sojourn.formats.report import Progress
from sojourn.formats.source import columns, open_source
from sojourn.shell.bridge import run_sync
from sojourn.shell.lease import Lease
from sojourn.sync.store import Store

_MARK: Final = "compat.imported"
_BESIDE: Final = ".sojourn.db"
_TTL: Final = timedelta(seconds=30)
_PAUSE: Final = 0.05

Bring: TypeAlias = Callable[[Store, Path, Progress], object]
"""Imports a file into a store, and says how far it is."""


def opened(source: Any, *, table: str, column: str, bring: Bring, **options: Any) -> tuple[Store, bool]:
    """The store that ``source`` means, and whether it was opened here and is closed with the drop-in.

    ``source``: a `Store`, a URL, or the path of the original's database (told by ``table`` having ``column``), which
    ``bring`` imports the first time. ``options`` go to `sojourn.open` where a store is opened.
    """
    if isinstance(source, Store):
        return source, False
    if isinstance(source, str) and (":memory:" in source or "://" in source or source == "memory:"):
        return opening.open("memory:" if source == ":memory:" else source, **options), True
    if not isinstance(source, (str, os.PathLike)):
        raise InvalidValueError(
            f"a store, a URL or a path is needed, not {type(source).__name__}.", hint="Pass sojourn.open(url), a URL or a path."
        )
    file = Path(source).expanduser()
    original = file.is_file() and _has(file, table, column)
    if file.is_file() and not original:
        return opening.open(_url(file), **options), True
    beside = file if file.name.endswith(_BESIDE) else file.with_name(file.stem + _BESIDE)
    beside.parent.mkdir(parents=True, exist_ok=True)
    store = opening.open(_url(beside), **options)
    try:
        if original:
            _once(store, file, bring)
    except BaseException:
        store.close()
        raise
    return store, True


def _url(file: Path) -> str:
    return "sqlite:///" + quote(str(file.absolute()))


def _has(file: Path, table: str, column: str) -> bool:
    """Whether this is the original's database. An empty file, which the original makes first, is too."""
    if not file.stat().st_size:
        return True
    try:
        with open_source(file) as connection:
            return column in columns(connection, table)
    except CorruptError:  # no database: opening it as a store says what is wrong
        return False


def _once(store: Store, file: Path, bring: Bring) -> None:
    """Import unless a run before this one has finished: an import that was killed goes on, one that ended is not repeated.

    One process imports at a time; the others wait for it, or for the end of its lease.
    """
    mark = AliasKey(_MARK, _MARK, file.name)
    while file.stat().st_size and not _is_done(store, mark):
        try:
            with store.lease(f"{_MARK}/{file.name}", _TTL) as lease:
                if not _is_done(store, mark):
                    bring(store, file, _Renewed(store, lease))
                    unit = store._aio._unit
                    run_sync(unit.commit(_MARK, Point(mark, "done", None)))
        except LeaseHeldError:
            time.sleep(_PAUSE)


def _is_done(store: Store, mark: AliasKey) -> bool:
    unit = store._aio._unit
    found = run_sync(unit.engine.follow(unit.tenant, mark)).alias
    return found is not None and found.target is not None


class _Renewed:
    """Told how far an import is, keeps its lease."""

    def __init__(self, store: Store, lease: Lease) -> None:
        self._store = store
        self._lease = lease
        self._at = time.monotonic()

    def __call__(self, done: int, rows: int) -> None:
        """After every commit."""
        del done, rows
        if time.monotonic() - self._at > _TTL.total_seconds() / 4:
            self._lease, self._at = self._store.renew(self._lease), time.monotonic()
