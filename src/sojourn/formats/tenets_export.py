"""Export to Tenets' ``tenets.db``: the contexts of a scope as its named sessions, with what they gathered."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from datetime import datetime
from typing import TYPE_CHECKING, Final

from sojourn.compat.tenets_sessions import facts_of, number_of
from sojourn.formats.exported import ExportReport, new_database, new_file
from sojourn.formats.report import Note, Progress
from sojourn.formats.tenets import ARTIFACTS, FORMAT, SESSIONS
from sojourn.kinds.contexts.model import Artifact, Context
from sojourn.shell.bridge import run_sync

if TYPE_CHECKING:
    from sojourn.store import AsyncStore
    from sojourn.sync.store import Store

_SCHEMA: Final = """
create table sessions (id integer primary key autoincrement, name text unique not null, created_at timestamp not null,
  metadata text);
create table session_context (id integer primary key autoincrement, session_id integer not null, kind text not null,
  content text not null, created_at timestamp not null, foreign key(session_id) references sessions(id));
"""
_ROW: Final = "insert into sessions values (?, ?, ?, ?)"
_ARTIFACT: Final = "insert into session_context (session_id, kind, content, created_at) values (?, ?, ?, ?)"


def export_tenets(
    store: Store, path: str | os.PathLike[str], *, scope: str | int | None = None, progress: Progress | None = None
) -> ExportReport:
    """Write the contexts of a scope to a new database of Tenets'; what was written.

    The store is only read. ``progress`` is told contexts done, and contexts there are. `InvalidValueError`: there is a file
    already.
    """
    return run_sync(aexport_tenets(store._aio, path, scope=scope, progress=progress))


async def aexport_tenets(
    store: AsyncStore, path: str | os.PathLike[str], *, scope: str | int | None = None, progress: Progress | None = None
) -> ExportReport:
    """`export_tenets` for asynchronous stores. The file is written on the event loop, a page of artifacts at a time."""
    file = new_file(path)
    contexts = sorted([context async for context in _all(store, scope)], key=lambda context: (context.created_at, context.id))
    numbers = _numbers(contexts)
    tables, notes = {SESSIONS: 0, ARTIFACTS: 0}, list[Note]()
    with new_database(file, _SCHEMA) as connection:
        for context in contexts:
            number, where = numbers[context.id], number_of(context.metadata)[0]
            plain = {key: value for key, value in context.metadata.items() if key not in (where, FORMAT)}
            shown = json.dumps({**plain, **facts_of(context)}, ensure_ascii=False)
            connection.execute(_ROW, (number, context.name, _iso(context.created_at), shown))
            tables[SESSIONS] += 1
            async for item in _artifacts(store, context):
                connection.execute(_ARTIFACT, (number, item.kind, item.content, _iso(item.created_at)))
                tables[ARTIFACTS] += 1
                if item.pinned or item.metadata:
                    notes.append(Note(ARTIFACTS, f"of {context.name}", "what is pinned, and metadata of artifacts, stay here"))
            if progress is not None:
                progress(tables[SESSIONS], len(contexts))
    return ExportReport(FORMAT, str(path), tables, notes)


async def _all(store: AsyncStore, scope: str | int | None) -> AsyncIterator[Context]:
    after: str | None = None
    while True:
        page = await store.contexts.list(scope=scope, limit=200, after=after)
        for context in page.items:
            yield context
        if page.next is None:
            return
        after = page.next


async def _artifacts(store: AsyncStore, context: Context) -> AsyncIterator[Artifact]:
    after: str | None = None
    while True:
        page = await store.contexts.artifacts(id=context.id, limit=200, after=after)
        for item in page.items:
            yield item
        if page.next is None:
            return
        after = page.next


def _numbers(contexts: list[Context]) -> dict[str, int]:
    """The number of each context: that by which programs know it, or the next that is free."""
    found = {context.id: number_of(context.metadata)[1] for context in contexts}
    taken = {number for number in found.values() if number is not None}
    highest, given, seen = max(taken, default=0), dict[str, int](), set[int]()
    for id, number in found.items():
        if number is None or number in seen:
            highest += 1
            number = highest
        seen.add(number)
        given[id] = number
    return given


def _iso(at: datetime) -> str:
    return at.isoformat()
