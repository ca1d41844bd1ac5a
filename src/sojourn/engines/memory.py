"""Sessions in this process's memory: the model in the tests, and the fastest engine. Nothing survives the process."""

from __future__ import annotations

import builtins
import threading
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from heapq import merge
from itertools import islice
from time import sleep as block
from typing import Any, Final

from sojourn.core import words
from sojourn.core.batch import Answer, Batch
from sojourn.core.codec import Json, decode
from sojourn.core.query import EntryQuery, SearchQuery, SessionQuery
from sojourn.core.session import Alias, AliasKey, Entry, EventRow, LeaseState, Session, Snapshot
from sojourn.engines.background import TaskBackground, ThreadBackground
from sojourn.engines.bell import Bell
from sojourn.engines.checks import check_batch, check_cursor
from sojourn.engines.contract import Background, Capabilities, Changed, Clock, ErasedRows, EventPage, Hit
from sojourn.engines.drafts import Appended, Draft, Keyed, Noted, spans
from sojourn.engines.embedded import EVENT_LIFE, OPERATION_LIFE, Commit, leases_of
from sojourn.engines.sqlite.forks import QUIET, watch_forks
from sojourn.errors import ClosedError

_LAST: Final = "\U0010ffff"


CAPABILITIES: Final = Capabilities(engine="memory", durable=False, processes=False)


@dataclass(slots=True)
class _Kept:
    """A session as it is stored; its data as text, so that nobody shares a dictionary with the store."""

    draft: Draft
    data: str
    tags: set[str]


@dataclass(slots=True)
class _Line:
    """An entry as it is stored; ``number`` counts the entries of the store."""

    number: int
    entry: Entry
    fingerprint: str
    span: int
    counted: bool
    searchable: bool


@dataclass(slots=True)
class _Index:
    """Sorted keys under named lists, so that no list is made by a scan."""

    lists: defaultdict[tuple[str, ...], list[tuple[int, str]]] = field(default_factory=lambda: defaultdict(list))

    def add(self, name: tuple[str, ...], key: tuple[int, str]) -> None:
        rows = self.lists[name]
        place = bisect_left(rows, key)
        if place == len(rows) or rows[place] != key:
            rows.insert(place, key)

    def remove(self, name: tuple[str, ...], key: tuple[int, str]) -> None:
        rows = self.lists[name]
        place = bisect_left(rows, key)
        if place < len(rows) and rows[place] == key:
            del rows[place]
        if not rows:
            del self.lists[name]

    def ascending(self, name: tuple[str, ...], after: tuple[int, str] | None) -> Iterator[tuple[int, str]]:
        rows = self.lists.get(name, [])
        return islice(rows, 0 if after is None else bisect_right(rows, after), None)

    def descending(self, name: tuple[str, ...], after: tuple[int, str] | None) -> Iterator[tuple[int, str]]:
        rows = self.lists.get(name, [])
        start = len(rows) if after is None else bisect_left(rows, after)
        return (rows[place] for place in range(start - 1, -1, -1))


class MemoryState:
    """What one memory store holds; engines of both colours may share it.

    A forked child has a copy of it, and forks wait for what is going on: the child must not inherit half of a commit.
    """

    def __init__(self) -> None:
        self.lock: threading.RLock = threading.RLock()
        self._forking: set[int] = set()
        self.bell: Bell = Bell()
        self.rows = 0
        self.sessions: dict[tuple[str, str], _Kept] = {}
        self.by_row: dict[int, _Kept] = {}
        self.logs: defaultdict[int, dict[int, _Line]] = defaultdict(dict)
        self.keys: dict[tuple[int, str], int] = {}
        self.spoken: dict[tuple[int, int, str], int] = {}
        """How many counted entries an author has in a phase of a log."""
        self.aliases: dict[tuple[str, str, str], Alias] = {}
        self.targets: dict[tuple[str, str], dict[tuple[str, str, str], None]] = {}
        """Which aliases point at a target."""
        self.leases: dict[tuple[str, str, str], LeaseState] = {}
        """By tenant, home and name."""
        self.operations: dict[tuple[str, str, str], tuple[str, str, int]] = {}
        self.lines = 0
        self.events: list[tuple[str, EventRow]] = []
        self.event_number = 0
        self.index: _Index = _Index()
        watch_forks(self)

    def point(self, key: tuple[str, str, str], alias: Alias | None) -> None:
        """Set an alias, or remove it."""
        before = self.aliases.get(key)
        if before is not None and before.target is not None:
            self.targets.get((key[0], before.target), {}).pop(key, None)
        if alias is None:
            self.aliases.pop(key, None)
            return
        self.aliases[key] = alias
        if alias.target is not None:
            self.targets.setdefault((key[0], alias.target), {})[key] = None

    def pointing(self, tenant: str, target: str) -> list[Alias]:
        """The aliases that point at a target."""
        return [self.aliases[key] for key in self.targets.get((tenant, target), ())]

    def before_fork(self) -> None:
        """See `sqlite.forks`: let what is going on end."""
        if self.lock.acquire(timeout=QUIET):
            self._forking.add(threading.get_ident())

    def after_fork_in_parent(self) -> None:
        """Go on."""
        if threading.get_ident() in self._forking:
            self._forking.discard(threading.get_ident())
            self.lock.release()

    def after_fork_in_child(self) -> None:
        """Whoever held the lock, or waited, is not here."""
        self.lock = threading.RLock()
        self._forking = set()
        self.bell = Bell()


class _Transaction:
    """The transaction port on a `MemoryState`, under its lock.

    Before anything is changed it is noted how to undo that, because an interrupt may strike at any line.
    """

    def __init__(self, state: MemoryState) -> None:
        self._state = state
        self._undo: list[Callable[[], object]] = []
        self._number, self._events = state.event_number, len(state.events)

    def roll_back(self) -> None:
        """Undo everything; each step may be done twice, so one that is interrupted too is done again."""
        interrupt: BaseException | None = None
        while True:
            try:
                del self._state.events[self._events :]
                self._state.event_number = self._number
                while self._undo:
                    self._undo[-1]()
                    self._undo.pop()
            except KeyboardInterrupt as error:
                interrupt = error
                continue
            break
        if interrupt is not None:
            raise interrupt

    def _set(self, table: dict[Any, Any], key: Any, value: Any) -> None:
        self._undo.append(partial(table.__setitem__, key, table[key]) if key in table else partial(table.pop, key, None))
        table[key] = value

    def draft(self, tenant: str, session: str) -> Draft | None:
        kept = self._state.sessions.get((tenant, session))
        if kept is None:
            return None
        return replace(kept.draft, counters=dict(kept.draft.counters), tag=[], untag=[])

    def data(self, draft: Draft) -> dict[str, Json]:
        data: dict[str, Json] = decode(self._state.by_row[draft.row].data)
        return data

    def keyed(self, draft: Draft, key: str) -> Keyed | None:
        sequence = self._state.keys.get((draft.row, key))
        line = None if sequence is None else self._state.logs[draft.row].get(sequence)
        if line is None:
            return None
        entry = line.entry
        return Keyed(entry.sequence, line.span, entry.version, entry.phase, line.fingerprint)

    def spoken(self, draft: Draft, author: str) -> bool:
        return bool(self._state.spoken.get((draft.row, draft.phase, author)))

    def alias(self, tenant: str, alias: AliasKey) -> Alias:
        return self._state.aliases.get((tenant, alias.namespace, alias.key)) or Alias(alias, None, 0)

    def aliases_at(self, tenant: str, home: str, target: str) -> builtins.list[Alias]:
        return [alias for alias in self._state.pointing(tenant, target) if alias.key.home == home]

    def lease(self, tenant: str, home: str, name: str) -> LeaseState | None:
        return self._state.leases.get((tenant, home, name))

    def operation(self, tenant: str, home: str, operation: str) -> tuple[str, str] | None:
        found = self._state.operations.get((tenant, home, operation))
        return None if found is None else (found[0], found[1])

    def insert(self, draft: Draft) -> None:
        state = self._state
        state.rows += 1
        draft.row = state.rows
        self._keep(None, _Kept(self._plain(draft), draft.text, set(draft.tag) - set(draft.untag)))

    def update(self, draft: Draft) -> None:
        state = self._state
        kept = state.sessions[draft.tenant, draft.id]
        data = draft.text if draft.data_changed else kept.data
        self._keep(kept, _Kept(self._plain(draft), data, (kept.tags | set(draft.tag)) - set(draft.untag)))

    def _keep(self, before: _Kept | None, after: _Kept) -> None:
        state, draft = self._state, after.draft
        self._undo.append(partial(_displace, state.index, after, before))
        _displace(state.index, before, after)
        self._set(state.sessions, (draft.tenant, draft.id), after)
        self._set(state.by_row, draft.row, after)

    def _plain(self, draft: Draft) -> Draft:
        return replace(
            draft,
            data=None,
            fresh=False,
            text="",
            parent=None,
            changed=False,
            data_changed=False,
            placed=False,
            due_moved=False,
            tag=[],
            untag=[],
        )

    def append(self, entries: list[Appended]) -> None:
        for item in entries:
            new = item.entry
            row = item.draft.row
            entry = Entry(
                item.sequence,
                new.type,
                new.label,
                new.topic,
                new.author,
                new.text,
                new.data,
                item.key,
                item.phase,
                item.version,
                item.created_at,
                *(new.covers or (None, None)),
            )
            self._state.lines += 1
            line = _Line(self._state.lines, entry, item.fingerprint, item.span, new.counted, item.search != "off")
            self._set(self._state.logs[row], item.sequence, line)
            if item.key is not None:
                self._set(self._state.keys, (row, item.key), item.sequence)
            if new.counted and new.author is not None:
                author = (row, item.phase, new.author)
                self._set(self._state.spoken, author, self._state.spoken.get(author, 0) + 1)

    def redact(self, draft: Draft, sequences: tuple[int, ...]) -> None:
        for sequence in sequences:
            for log, first, last in spans(draft.row, draft.lineage, draft.last_sequence, ((sequence, sequence),)):
                for number in range(first, last + 1):
                    line = self._state.logs[log].get(number)
                    if line is not None:
                        spoken = (log, line.entry.phase, line.entry.author or "")
                        if spoken in self._state.spoken:
                            self._undo.append(partial(self._state.spoken.__setitem__, spoken, self._state.spoken[spoken]))
                        self._undo.append(partial(setattr, line, "entry", line.entry))
                        _empty(self._state, log, line)

    def point(self, tenant: str, alias: Alias) -> None:
        key = (tenant, alias.key.namespace, alias.key.key)
        self._undo.append(partial(self._state.point, key, self._state.aliases.get(key)))
        self._state.point(key, alias)

    def lend(self, tenant: str, home: str, lease: LeaseState) -> None:
        self._set(self._state.leases, (tenant, home, lease.name), lease)

    def remember(self, tenant: str, home: str, operation: str, fingerprint: str, answer: str, at: int) -> None:
        self._set(self._state.operations, (tenant, home, operation), (fingerprint, answer, at))

    def note(self, event: Noted) -> None:
        state = self._state
        state.event_number += 1
        row = EventRow(
            0,
            state.event_number,
            event.draft.id,
            event.draft.kind,
            event.change,
            event.version,
            event.first,
            event.last,
            event.at,
            event.reason,
        )
        state.events.append((event.draft.tenant, row))


def _recent(draft: Draft, since: int, now: int) -> bool:
    """Active since an instant, and not past its deadline."""
    return draft.bucket >= since and (draft.deadline is None or draft.deadline > now)


def _places(kept: _Kept, tags: set[str]) -> Iterator[tuple[tuple[str, ...], tuple[int, str]]]:
    draft = kept.draft
    where = (draft.tenant, draft.kind, draft.state)
    active, made = (draft.bucket, draft.id), (0, draft.id)
    groups = [("", ""), *(("tag", tag) for tag in tags)]
    if draft.owner is not None:
        groups.append(("owner", draft.owner))
    for group in groups:
        yield ("activity", *where, *group), active
        yield ("created", *where, *group), made
    if draft.deadline is not None and draft.state == "active":
        yield ("due", draft.tenant), (draft.deadline, draft.id)


def _place(index: _Index, kept: _Kept, tags: set[str]) -> None:
    for name, key in _places(kept, tags):
        index.add(name, key)


def _unplace(index: _Index, kept: _Kept, tags: set[str]) -> None:
    for name, key in _places(kept, tags):
        index.remove(name, key)


def _displace(index: _Index, before: _Kept | None, after: _Kept | None) -> None:
    """Put one version of a session into the lists in place of another; may be repeated, and begun from anywhere."""
    if before is not None:
        _unplace(index, before, before.tags)
    if after is not None:
        _place(index, after, after.tags)


class MemoryEngine:
    """The engine on a `MemoryState`, for blocking code."""

    def __init__(self, clock: Clock, state: MemoryState | None = None) -> None:
        self._clock = clock
        self._state = MemoryState() if state is None else state
        self._closed = False

    @property
    def capabilities(self) -> Capabilities:
        """Everything but surviving the process."""
        return CAPABILITIES

    def _open(self) -> MemoryState:
        if self._closed:
            raise ClosedError("this store was closed.", hint="Open it again.")
        return self._state

    async def commit(self, batch: Batch) -> Answer:
        """See `contract.Engine.commit`."""
        state = self._open()
        check_batch(batch)
        with state.lock:
            before = state.event_number
            transaction = _Transaction(state)
            try:
                answer = Commit(batch, transaction, self._clock()).run()
            except BaseException:
                transaction.roll_back()
                raise
            moved = state.event_number != before
        if moved:
            state.bell.ring()
        return answer

    async def load(self, tenant: str, session: str, entries: EntryQuery | None = None) -> Snapshot:
        """See `contract.Engine.load`."""
        state = self._open()
        with state.lock:
            kept = state.sessions.get((tenant, session))
            now = self._clock()
            if kept is None or kept.draft.state == "deleted":
                return Snapshot(now, None)
            found = () if entries is None else tuple(self._entries(kept.draft, entries))
            return Snapshot(max(now, kept.draft.mark), self._session(kept), found)

    def _session(self, kept: _Kept) -> Session:
        return replace(kept.draft, data=decode(kept.data)).session()

    def _entries(self, draft: Draft, query: EntryQuery) -> list[Entry]:
        found: list[Entry] = []
        pieces = spans(draft.row, draft.lineage, draft.last_sequence, query.ranges)
        most = query.limit if query.last is None else query.last
        for log, first, last in reversed(pieces) if query.last is not None else pieces:
            numbers = range(last, first - 1, -1) if query.last is not None else range(first, last + 1)
            lines = self._state.logs[log]
            for number in numbers:
                if most is not None and len(found) >= most:
                    break
                line = lines.get(number)
                if line is not None and _wanted(line.entry, query):
                    found.append(line.entry)
        return found[::-1] if query.last is not None else found

    async def follow(self, tenant: str, alias: AliasKey) -> Snapshot:
        """See `contract.Engine.follow`."""
        state = self._open()
        with state.lock:
            found = _Transaction(state).alias(tenant, alias)
            kept = None if found.target is None else state.sessions.get((tenant, found.target))
            if kept is None or kept.draft.state == "deleted":
                return Snapshot(self._clock(), None, alias=found)
            return Snapshot(max(self._clock(), kept.draft.mark), self._session(kept), alias=found)

    async def aliases(self, tenant: str, *, target: str, home: str | None = None) -> builtins.list[Alias]:
        """See `contract.Engine.aliases`."""
        state = self._open()
        with state.lock:
            found = [alias for alias in state.pointing(tenant, target) if home in (None, alias.key.home)]
        return sorted(found, key=lambda alias: (alias.key.namespace, alias.key.key))

    async def tags(self, tenant: str, session: str) -> builtins.list[str]:
        """See `contract.Engine.tags`."""
        state = self._open()
        with state.lock:
            kept = state.sessions.get((tenant, session))
            return [] if kept is None or kept.draft.state == "deleted" else sorted(kept.tags)

    async def list(self, query: SessionQuery) -> builtins.list[Session]:
        """See `contract.Engine.list`."""
        state = self._open()
        group = ("", "")
        if query.tag is not None:
            group = ("tag", query.tag)
        elif query.owner is not None:
            group = ("owner", query.owner)
        by_id = query.order in ("created", "oldest")
        ascending = query.order in ("idle", "oldest")
        name = "created" if by_id else "activity"
        with state.lock:
            index = state.index
            after = (0, query.after[1]) if by_id and query.after is not None else query.after
            walk = index.ascending if ascending else index.descending
            walks = [walk((name, query.tenant, kind, which, *group), after) for kind in query.kinds for which in query.states]
            found: list[Session] = []
            for _, identifier in merge(*walks, reverse=not ascending):
                if len(found) >= query.limit:
                    break
                kept = state.sessions[query.tenant, identifier]
                if query.active_before is not None and kept.draft.active_at >= query.active_before:
                    if query.order == "idle" and kept.draft.bucket >= query.active_before:
                        break
                    continue
                if query.owner in (None, kept.draft.owner) and query.home in (None, kept.draft.home):
                    found.append(self._session(kept))
        return found

    async def count(
        self,
        tenant: str,
        kind: str,
        *,
        tag: str | None = None,
        owner: str | None = None,
        home: str | None = None,
        active_after: int | None = None,
    ) -> int:
        """See `contract.Engine.count`."""
        state = self._open()
        group = ("tag", tag) if tag is not None else ("owner", owner) if owner is not None else ("", "")
        with state.lock:
            found = state.index.lists.get(("created", tenant, kind, "active", *group), ())
            if home is None and active_after is None:
                return len(found)
            now = self._clock()
            if home is None:
                return self._recent(state, ("activity", tenant, kind, "active", *group), active_after or 0, now)
            drafts = [state.sessions[tenant, identifier].draft for _, identifier in found]
            return sum(draft.home == home and (active_after is None or _recent(draft, active_after, now)) for draft in drafts)

    def _recent(self, state: MemoryState, name: tuple[str, ...], since: int, now: int) -> int:
        """Those in a list since an instant, less the few among the due ones that are as recent."""
        rows, due = state.index.lists.get(name, []), state.index.lists.get(("due", name[1]), [])
        late = [state.sessions[name[1], identifier].draft for _, identifier in due[: bisect_right(due, (now, _LAST))]]
        first = bisect_left(rows, (since, ""))
        places = [(bisect_left(rows, key, first), key) for key in ((draft.bucket, draft.id) for draft in late)]
        return len(rows) - first - sum(place < len(rows) and rows[place] == key for place, key in places)

    async def due(self, tenant: str | None, limit: int, ahead: int = 0) -> builtins.list[Session]:
        """See `contract.Engine.due`."""
        state = self._open()
        with state.lock:
            now = self._clock() + ahead
            names = [name for name in state.index.lists if name[0] == "due" and tenant in (None, name[1])]
            rows = sorted(
                (deadline, name[1], identifier)
                for name in names
                for deadline, identifier in state.index.lists[name][: bisect_right(state.index.lists[name], (now, _LAST))][
                    :limit
                ]
            )
            return [self._session(state.sessions[owner, identifier]) for _, owner, identifier in rows[:limit]]

    async def tip(self) -> tuple[int, ...]:
        """See `contract.Engine.tip`."""
        return (self._open().event_number,)

    async def events(
        self, tenant: str, after: tuple[int, ...], limit: int, *, kind: str | None = None, session: str | None = None
    ) -> EventPage:
        """See `contract.Engine.events`."""
        state = self._open()
        check_cursor(after, 1)
        with state.lock:
            oldest = state.event_number - len(state.events)
            gap = after[0] < oldest or after[0] > state.event_number
            found: list[EventRow] = []
            cursor = max(after[0], oldest) if after[0] <= state.event_number else oldest
            for owner, row in state.events[cursor - oldest :]:
                if len(found) >= limit:
                    break
                cursor = row.number
                if owner == tenant and kind in (None, row.kind) and session in (None, row.session):
                    found.append(row)
        return EventPage(found, (cursor,), gap)

    async def history(self, tenant: str, session: str, limit: int) -> builtins.list[EventRow]:
        """See `contract.Engine.history`."""
        state = self._open()
        with state.lock:
            kept = state.sessions.get((tenant, session))
            if kept is None or kept.draft.state == "deleted":
                return []
            found = [row for owner, row in state.events if owner == tenant and row.session == session]
        return found[-limit:]

    async def changed(self, after: tuple[int, ...], timeout: float, *, session: str | None = None) -> Changed:  # noqa: ARG002  # one shard
        """See `contract.Engine.changed`."""
        state = self._open()
        check_cursor(after, 1)
        seen = state.bell.rings
        if state.event_number > after[0] or state.bell.wait(seen, timeout):
            return "now"
        return "timeout"

    async def search(self, query: SearchQuery) -> builtins.list[Hit]:
        """See `contract.Engine.search`; every entry is looked at, since nothing here is big."""
        state = self._open()
        found: list[tuple[int, Hit]] = []
        with state.lock:
            heirs = self._heirs(query)
            for kept in state.sessions.values():
                draft = kept.draft
                if not _is_sought(draft, query) or draft.state == "pending":
                    continue
                holders = [(draft.last_sequence, draft.id)] if draft.state != "deleted" else heirs.get(draft.row, [])
                for line in state.logs[draft.row].values():
                    entry = line.entry
                    holder = next((session for through, session in holders if entry.sequence <= through), None)
                    if holder is None:
                        continue
                    if not line.searchable or entry.text is None or query.topic not in (None, entry.topic):
                        continue
                    if query.types is not None and entry.type not in query.types:
                        continue
                    if words.matches(words.words(entry.text), query.words, prefix=query.prefix):
                        found.append((line.number, Hit(holder, entry)))
        found.sort(key=lambda item: item[0], reverse=True)
        return [hit for _, hit in found[: query.limit]]

    def _heirs(self, query: SearchQuery) -> dict[int, builtins.list[tuple[int, str]]]:
        """By log, for those whose session is deleted: through which sequence forks share it, and which, the oldest first."""
        found: dict[int, builtins.list[tuple[int, str]]] = {}
        for _, kept in sorted(self._state.by_row.items()):
            fork = kept.draft
            if fork.lineage and fork.state not in ("deleted", "pending") and _is_sought(fork, query):
                for log, through in fork.lineage:
                    found.setdefault(log, []).append((through, fork.id))
        return found

    async def index(self, limit: int) -> int:
        """Nothing to do: search reads the entries themselves."""
        del limit
        return 0

    async def purge(self, limit: int) -> int:
        """See `contract.Engine.purge`."""
        state = self._open()
        removed = 0
        with state.lock:
            now = self._clock()
            shared: dict[int, int] = {}
            for kept in state.by_row.values():
                for log, through in kept.draft.lineage:
                    shared[log] = max(shared.get(log, 0), through)
            for kept in [kept for kept in state.by_row.values() if kept.draft.state == "deleted"]:
                removed += self._purge_session(kept, shared.get(kept.draft.row, 0), limit - removed)
                if removed >= limit:
                    return removed
            for key in [key for key, value in state.operations.items() if value[2] < now - OPERATION_LIFE]:
                del state.operations[key]
                removed += 1
            old = 0  # the newest is kept, and with it the number that the next one follows
            while old < len(state.events) - 1 and state.events[old][1].at < now - EVENT_LIFE:
                old += 1
            del state.events[:old]
            return removed + old

    def _purge_session(self, kept: _Kept, shared: int, limit: int) -> int:
        state, draft = self._state, kept.draft
        lines = state.logs[draft.row]
        gone = [number for number in lines if number > shared][:limit]
        for number in gone:
            key = lines.pop(number).entry.key
            if key is not None:
                state.keys.pop((draft.row, key), None)
        if not lines:
            _unplace(state.index, kept, kept.tags)
            del state.sessions[draft.tenant, draft.id]
            del state.by_row[draft.row]
            state.logs.pop(draft.row, None)
            state.spoken = {item: count for item, count in state.spoken.items() if item[0] != draft.row}
            for name in leases_of(draft.id):
                state.leases.pop((draft.tenant, draft.home, name), None)
            return len(gone) + 1
        return len(gone)

    async def erase(self, tenant: str, owner: str, limit: int) -> ErasedRows:
        """See `contract.Engine.erase`; done whole, whatever the limit."""
        del limit
        state = self._open()
        with state.lock:
            mine = [kept for kept in state.by_row.values() if kept.draft.tenant == tenant and kept.draft.owner == owner]
            names = {kept.draft.id for kept in mine}
            entries = 0
            for kept in mine:
                for line in state.logs[kept.draft.row].values():
                    _empty(state, kept.draft.row, line)
                    entries += 1
                _unplace(state.index, kept, kept.tags)
                kept.data, kept.tags = "{}", set()
                kept.draft = replace(
                    kept.draft, state="deleted", owner=None, deadline=None, version=kept.draft.version + 1, counters={}
                )
                _place(state.index, kept, kept.tags)
            for other in state.by_row.values():
                if other.draft.tenant == tenant:
                    for line in state.logs[other.draft.row].values():
                        if line.entry.author == owner:
                            _empty(state, other.draft.row, line)
                            entries += 1
            aliases = _erase_aliases(state, tenant, owner, {owner, *names})
            theirs = {(tenant, kept.draft.home, name) for kept in mine for name in leases_of(kept.draft.id)}
            leases = [key for key in state.leases if key[:2] == (tenant, owner) or key in theirs]
            for lease in leases:
                del state.leases[lease]
            for operation in [key for key in state.operations if key[0] == tenant and key[1] == owner]:
                del state.operations[operation]
            state.events = [
                (who, replace(row, session="", change="erased", reason="") if who == tenant and row.session in names else row)
                for who, row in state.events
            ]
            return ErasedRows(len(mine), entries, aliases, len(leases), complete=True)

    async def now(self) -> int:
        """See `contract.Engine.now`."""
        return self._clock()

    async def sleep(self, seconds: float) -> None:
        """See `contract.Engine.sleep`."""
        block(seconds)

    def spawn(self, body: Callable[[], Coroutine[Any, Any, None]]) -> Background:
        """See `contract.Engine.spawn`."""
        return ThreadBackground(body)

    async def facts(self) -> dict[str, Any]:
        """See `contract.Engine.facts`."""
        state = self._open()
        with state.lock:
            return {
                "engine": "memory",
                "sessions": len(state.sessions),
                "entries": sum(map(len, state.logs.values())),
                "events": len(state.events),
            }

    async def close(self) -> None:
        """See `contract.Engine.close`; who waits is woken."""
        self._closed = True
        self._state.bell.ring()


class AsyncMemoryEngine(MemoryEngine):
    """The same for event loops: only waiting differs."""

    async def changed(self, after: tuple[int, ...], timeout: float, *, session: str | None = None) -> Changed:  # noqa: ARG002  # one shard
        """See `contract.Engine.changed`."""
        state = self._open()
        check_cursor(after, 1)
        seen = state.bell.rings
        if state.event_number > after[0] or await state.bell.wait_async(seen, timeout):
            return "now"
        return "timeout"

    async def sleep(self, seconds: float) -> None:
        """See `contract.Engine.sleep`."""
        import asyncio

        await asyncio.sleep(seconds)

    def spawn(self, body: Callable[[], Coroutine[Any, Any, None]]) -> Background:
        """See `contract.Engine.spawn`."""
        return TaskBackground(body)


def _erase_aliases(state: MemoryState, tenant: str, owner: str, gone: set[str]) -> int:
    """Remove the aliases of a home, and those that point at what is gone or did until they were freed; how many.

    One that points elsewhere by now forgets where it did.
    """
    removed = 0
    for key, alias in [item for item in state.aliases.items() if item[0][0] == tenant]:
        at = alias.previous if alias.target is None else alias.target
        if alias.key.home == owner or at in gone:
            state.point(key, None)
            removed += 1
        elif alias.previous in gone:
            state.point(key, replace(alias, previous=None))
    return removed


def _empty(state: MemoryState, log: int, line: _Line) -> None:
    """Redact an entry; that its author spoke is forgotten too, unless another entry of the phase says so."""
    entry = line.entry
    line.entry = entry._replace(text=None, data=None, author=None, redacted=True)
    if line.counted and entry.author is not None:
        author = (log, entry.phase, entry.author)
        left = state.spoken.pop(author, 1) - 1
        if left:
            state.spoken[author] = left


def _is_sought(draft: Draft, query: SearchQuery) -> bool:
    """Whether a search is for sessions like this one."""
    return (draft.tenant, draft.kind) == (query.tenant, query.kind) and query.owner in (None, draft.owner)


def _wanted(entry: Entry, query: EntryQuery) -> bool:
    return (
        (query.types is None or entry.type in query.types)
        and (query.labels is None or entry.label in query.labels)
        and query.topic in (None, entry.topic)
    )
