"""Sessions of every kind, as a person who runs an application looks at them."""

from __future__ import annotations

import builtins
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeAlias

from sojourn.core.batch import Delete, Guard, Write
from sojourn.core.codec import Json, check_text, told
from sojourn.core.ids import is_id
from sojourn.core.query import READABLE_STATES, Page, SessionQuery, make_cursor, page_limit, read_cursor
from sojourn.core.session import Session, State
from sojourn.core.times import DAY, HOUR, MINUTE, SECOND, maybe_datetime, to_datetime
from sojourn.errors import InvalidValueError
from sojourn.shell.feed import Event, event_of
from sojourn.shell.unit import Unit, fingerprint, not_found, operation_key, refused

KINDS: Final = ("conversation", "context", "game", "login", "workspace")
Remove: TypeAlias = Callable[[str], Awaitable[Session | None]]
"""How a kind removes a session that has more than its own rows; gives what there was."""
Show: TypeAlias = Callable[[Mapping[str, Json]], dict[str, Json]]
"""What a kind lets people see of a document."""

_UNITS: Final = {"s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY}
_LONGEST: Final = 10_000 * 365 * DAY
_TERM = re.compile(r"(kind|owner|state|tag):(.+)|idle>(\d+)([smhd])$", re.DOTALL)
_QUOTED: Final = r'"((?:[^"\\]|\\.)*)"'
_WORDS = re.compile(rf"[a-z]+:{_QUOTED}(?!\S)|\S+", re.DOTALL)


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """A session of any kind, as it is stored."""

    id: str
    kind: str
    owner: str | None
    state: State
    version: int
    phase: int
    created_at: datetime
    last_activity_at: datetime
    deadline: datetime | None
    ended_at: datetime | None
    entries: int
    counters: dict[str, int]
    data: dict[str, Json]


@dataclass(frozen=True, slots=True)
class _Filter:
    kinds: tuple[str, ...] = KINDS
    states: tuple[State, ...] = ("active",)
    owner: str | None = None
    tag: str | None = None
    idle: int | None = None


class AsyncSessions:
    """Sessions of all kinds: ``store.sessions``."""

    def __init__(
        self, unit: Unit, removers: Mapping[str, Remove] | None = None, shown: Mapping[str, Show] | None = None
    ) -> None:
        self._unit = unit
        self._removers = dict(removers or {})
        self._shown = dict(shown or {})

    async def list(self, filter: str = "", *, limit: int = 50, after: str | None = None) -> Page[SessionInfo]:
        """A page of sessions, newest activity first (longest idle first with ``idle>``).

        The filter has terms with blanks between them, all of which must hold: ``kind:conversation owner:alice
        state:active|ended|archived|all tag:… idle>90s|5m|1h|2d``. A value with blanks in it stands in quotes, as in
        ``owner:"Ann Lee"``. Without ``state:`` only active ones are listed.
        """
        wanted, limit = _parse(filter), page_limit(limit)
        position = None
        if after is not None:
            bucket, last = read_cursor(after, int, str)
            position = (int(bucket), str(last))
        before = None if wanted.idle is None else await self._unit.engine.now() - wanted.idle + 1
        query = SessionQuery(
            self._unit.tenant,
            wanted.kinds,
            wanted.states,
            wanted.owner,
            wanted.tag,
            "idle" if wanted.idle is not None else "activity",
            before,
            limit + 1,
            position,
        )
        rows = await self._unit.engine.list(query)
        more, rows = len(rows) > limit, rows[:limit]
        cursor = make_cursor(rows[-1].bucket, rows[-1].id) if more else None
        return Page([self._info(row) for row in rows], cursor)

    async def get(self, id: str) -> SessionInfo | None:
        """One session, whatever its kind and state; None when there is none."""
        session = await self._find(id)
        return None if session is None else self._info(session)

    async def events(self, id: str, *, limit: int = 100) -> builtins.list[Event]:
        """The newest events of one session that are still kept, oldest first."""
        if not is_id(id):
            return []
        rows = await self._unit.engine.history(self._unit.tenant, id, page_limit(limit))
        tip = await self._unit.engine.tip()
        return [event_of(row, (*tip[: row.shard], row.number, *tip[row.shard + 1 :])) for row in rows]

    async def end(self, id: str, *, reason: str = "", key: str | None = None) -> SessionInfo:
        """Close a session; idempotent, the first end time is kept."""
        reason = check_text(reason, "reason", 1024)
        operation, mark = operation_key(key), fingerprint("session.end", id, reason)
        session = await self._load(id)
        write = Write(session.id, state="ended", change="ended", reason=reason, next_phase=True)
        answer = await self._unit.attempt(session.home, write, key=operation, fingerprint=mark)
        if answer.refusal is not None:
            if answer.refusal.reason not in ("ended", "archived"):
                raise refused(answer.refusal)
            await self._unit.remember(session.home, operation, mark)
        return self._info(await self._load(id))

    async def delete(self, id: str, *, key: str | None = None) -> bool:
        """Remove a session for every reader at once; False when there is none."""
        operation, mark = operation_key(key), fingerprint("session.delete", id)
        session = await self._find(id)
        if session is None:
            return await self._unit.asked(f"session/{id}", operation, mark) is not None
        # What is deleted has no home to ask, so the id is remembered in a home of its own, before anything is gone.
        await self._unit.remember(f"session/{id}", operation, mark)
        remove = self._removers.get(session.kind)
        if remove is not None:
            return await remove(id) is not None or operation is not None
        answer = await self._unit.attempt(session.home, Delete(session.id, Guard(open=False)))
        return answer.refusal is None or operation is not None

    async def _find(self, id: str) -> Session | None:
        if not is_id(id):
            return None
        session = (await self._unit.engine.load(self._unit.tenant, id)).session
        hidden = session is None or session.state == "pending" or session.kind not in KINDS
        return None if hidden else session

    async def _load(self, id: str) -> Session:
        session = await self._find(id)
        if session is None:
            raise not_found(id, "session")
        return session

    def _info(self, session: Session) -> SessionInfo:
        show = self._shown.get(session.kind, dict)
        return SessionInfo(
            session.id,
            session.kind,
            session.owner,
            session.state,
            session.version,
            session.phase,
            to_datetime(session.created_at),
            to_datetime(session.active_at),
            maybe_datetime(session.deadline),
            maybe_datetime(session.ended_at),
            session.last_sequence,
            session.counters,
            show(session.data),
        )


def filter_term(name: str, value: str) -> str:
    """A term of a filter, with quotes where the value has blanks."""
    if not re.search(r'\s|^"', value):
        return f"{name}:{value}"
    inside = re.sub(r'(["\\])', r"\\\1", value)
    return f'{name}:"{inside}"'


def _parse(text: str) -> _Filter:
    found: dict[str, object] = {}
    for word in _WORDS.finditer(check_text(text, "filter", 4096)):
        term, quoted = word[0], word[1]
        match = _TERM.fullmatch(term)
        if match is None:
            raise InvalidValueError(
                f"cannot read {told(term)} in the filter.",
                hint="Terms: kind:NAME owner:ID state:active|ended|archived|all tag:NAME idle>1h",
            )
        name, value, amount, unit = match.groups()
        if quoted is not None:
            value = re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL)
        if amount is not None:
            found["idle"] = min(int(amount) * _UNITS[unit], _LONGEST)
        elif name == "kind":
            if value not in KINDS:
                raise InvalidValueError(f"there is no kind {value!r}.", hint=f"Kinds: {', '.join(KINDS)}.")
            found["kinds"] = (value,)
        elif name == "state":
            if value not in (*READABLE_STATES, "all"):
                raise InvalidValueError(f"there is no state {value!r}.", hint="States: active, ended, archived, all.")
            found["states"] = READABLE_STATES if value == "all" else (value,)
        else:
            found[name] = value
    return _Filter(**found)  # type: ignore[arg-type]  # names and types are those of the grammar above
