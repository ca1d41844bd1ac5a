"""The commit of the embedded engines (memory, sqlite), decided in Python inside their one write transaction.

A commit has two halves. `decide` reads through the transaction's port and checks every guard on drafts; nothing is written,
so a refusal leaves nothing to undo and a coalesced group needs no savepoints. Only then are the drafts written, and an error
there (a full disk, a failing device) is an error of the whole transaction: the group is rolled back and each undecided
operation runs again alone (`sqlite.commits`).
"""

from __future__ import annotations

import time
from typing import Any, cast

from sojourn.core.batch import (
    Answer,
    Batch,
    Create,
    Deadline,
    Delete,
    Guard,
    Lend,
    Moved,
    NewEntry,
    Path,
    Point,
    Reason,
    Redact,
    Refusal,
    Search,
    Touch,
    Write,
    Yield,
    only_append,
)
from sojourn.core.codec import Json, copied, decode, encode
from sojourn.core.session import Alias, LeaseState
from sojourn.core.times import DAY
from sojourn.engines.checks import check_counter
from sojourn.engines.drafts import Appended, Draft, Noted, Transaction
from sojourn.errors import InvalidValueError

OPERATION_LIFE = DAY
EVENT_LIFE = 7 * DAY


def host_clock() -> int:
    """Microseconds since 1970 by this host's clock, which the embedded engines go by."""
    return time.time_ns() // 1000


def leases_of(session: str) -> tuple[str, ...]:
    """The leases that are named after a session, which go with it."""
    return f"fold/{session}", f"conversation/{session}", f"narration/{session}", f"workspace/{session}"


class Commit:
    """One batch on its way through a transaction."""

    __slots__ = (
        "_aliases",
        "_appended",
        "_batch",
        "_clock",
        "_drafts",
        "_epochs",
        "_fences",
        "_key",
        "_leases",
        "_moved",
        "_noted",
        "_now",
        "_redacted",
        "_tx",
    )

    def __init__(self, batch: Batch, tx: Transaction, now: int) -> None:
        self._batch = batch
        self._tx = tx
        self._clock = now
        self._now = now
        self._drafts: dict[str, Draft] = {}
        self._moved: list[Moved] = []
        self._epochs: list[int] = []
        self._fences: list[int] = []
        self._appended: list[Appended] = []
        self._redacted: list[tuple[Draft, tuple[int, ...]]] = []
        self._aliases: dict[tuple[str, str], Alias] = {}
        self._leases: dict[str, LeaseState] = {}
        self._noted: list[Noted] = []
        self._key: str | None = None

    def run(self) -> Answer:
        """Decide, then write what was decided."""
        batch = self._batch
        with_entry = only_append(batch)
        if batch.operation is not None:
            first = self._first_answer(batch.operation, with_entry)
            if first is not None:
                return first
            if with_entry is not None:
                self._key = batch.operation
        for change in batch.changes:
            refusal = _DECIDERS[type(change)](self, change)
            if refusal is not None:
                return Answer(self._now, refusal)
        answer = Answer(self._now, None, False, tuple(self._moved), tuple(self._epochs), tuple(self._fences))
        self._write(answer)
        return answer

    def _write(self, answer: Answer) -> None:
        tx, batch = self._tx, self._batch
        for draft in self._drafts.values():
            if draft.fresh or draft.data_changed:
                draft.text = encode(draft.data or {}, "data")  # all of it before the first write: this may be refused
        for event in self._noted:
            tx.note(event)
        self._write_sessions()
        if self._appended:
            tx.append(self._appended)
        for draft, sequences in self._redacted:
            tx.redact(draft, sequences)
        for alias in self._aliases.values():
            tx.point(batch.tenant, alias)
        for lease in self._leases.values():
            tx.lend(batch.tenant, batch.home, lease)
        if batch.operation is not None and self._key is None:
            tx.remember(batch.tenant, batch.home, batch.operation, batch.fingerprint, dump_answer(answer), self._now)

    def _write_sessions(self) -> None:
        for draft in self._drafts.values():
            if draft.fresh:
                draft.lineage = _lineage(draft)
                self._tx.insert(draft)
            elif draft.changed:
                self._tx.update(draft)

    # -- operation ids ---------------------------------------------------------------------------------------------

    def _first_answer(self, operation: str, with_entry: Write | None) -> Answer | None:
        batch = self._batch
        if with_entry is None:
            found = self._tx.operation(batch.tenant, batch.home, operation)
            if found is None:
                return None
            fingerprint, text = found
            if fingerprint != batch.fingerprint:
                return Answer(self._now, Refusal("key"))
            return load_answer(text, self._now)
        draft = self._tx.draft(batch.tenant, with_entry.id)
        keyed = None if draft is None else self._tx.keyed(draft, operation)
        if draft is None or keyed is None:
            return None
        if keyed.fingerprint and keyed.fingerprint != batch.fingerprint:  # a key that came with an import has none
            return Answer(self._now, self._refusal("key", draft))
        last = keyed.first + keyed.span - 1
        moved = Moved(
            draft.id, keyed.version, keyed.phase, keyed.first, last, draft.state, draft.deadline, dict(draft.counters)
        )
        return Answer(max(self._now, draft.mark), None, True, (moved,))

    # -- guards ----------------------------------------------------------------------------------------------------

    def _find(self, session: str) -> Draft | None:
        draft = self._drafts.get(session)
        if draft is None:
            draft = self._tx.draft(self._batch.tenant, session)
            if draft is not None:
                if draft.state != "deleted":  # an erased session has no home any more
                    self._check_home(draft)
                self._drafts[session] = draft
        return None if draft is None or draft.state == "deleted" else draft

    def _check_home(self, draft: Draft) -> None:
        """A batch that crosses homes is a mistake of whoever made it: no engine with shards could carry it out."""
        if self._batch.home not in ("", draft.home):
            raise InvalidValueError(
                f"a batch of home {self._batch.home!r} names session {draft.id} of home {draft.home!r}.",
                hint="What crosses homes is a sequence of commits.",
            )

    def _refusal(self, reason: Reason, draft: Draft) -> Refusal:
        if draft.state == "deleted":
            return Refusal(reason, draft.id)
        if draft.data is None:
            draft.data = self._tx.data(draft)
        return Refusal(reason, draft.id, draft.session())

    def _refused(self, draft: Draft, guard: Guard) -> Refusal | None:
        self._now = max(self._now, draft.mark)  # a refusal's time is the session's, too
        reason = self._broken(draft, guard)
        if reason is not None:
            return self._refusal(reason, draft)
        return None if guard.lease is None and guard.fence is None else self._fenced(draft, guard)

    def _broken(self, draft: Draft, guard: Guard) -> Reason | None:
        """The first guard on the session itself that does not hold."""
        if guard.open and draft.state not in ("active", "pending"):
            return "archived" if draft.state == "archived" else "ended"
        if guard.version is not None and draft.version != guard.version:
            return "version"
        if guard.phase is not None and draft.phase != guard.phase:
            return "phase"
        if guard.timely or guard.due:
            past = draft.deadline is not None and max(self._now, draft.mark) >= draft.deadline
            if past and guard.timely:
                return "expired"
            if guard.due and not past:
                return "early"
        if guard.silent is not None and self._heard(draft, guard.silent):
            return "spoken"
        return None

    def _fenced(self, draft: Draft, guard: Guard) -> Refusal | None:
        """A fencing number that is not current any more; leases go by the clock that gave them, not by a session's time."""
        if guard.lease is not None:
            name, fence = guard.lease
            lease = self._lease(name)
            if lease.fence != fence or lease.holder is None or self._clock >= lease.expires_at:
                return Refusal("fence", draft.id, lease=lease)
        if guard.fence is not None:
            name, fence = guard.fence
            seen = draft.counters.get(f"fence:{name}", 0)
            if seen > fence:
                return Refusal("fence", draft.id, lease=LeaseState(name, None, seen, 0))
            draft.counters[f"fence:{name}"] = fence
        return None

    # -- changes ---------------------------------------------------------------------------------------------------

    def _create(self, change: Create) -> Refusal | None:
        batch = self._batch
        existing = self._drafts.get(change.id) or self._tx.draft(batch.tenant, change.id)
        if existing is not None:
            return self._refusal("present", existing)
        if self._clash(None, change.entries):
            return Refusal("key", change.id)
        now = self._now if change.created_at is None else change.created_at
        active_at = now if change.active_at is None else change.active_at
        draft = Draft(
            row=0,
            tenant=batch.tenant,
            id=change.id,
            kind=change.kind,
            home=batch.home,
            owner=change.owner,
            state=change.state,
            version=1,
            phase=0,
            created_at=now,
            mark=self._now,
            active_at=active_at,
            bucket=active_at - active_at % change.bucket,
            deadline=None,
            ended_at=change.ended_at or (self._now if change.state in ("ended", "archived") else None),
            last_sequence=0,
            counters=dict(change.counters),
            base=change.base,
            data=change.data,
            fresh=True,
            tag=list(change.tags),
        )
        if change.base is not None:
            parent = self._find(change.base[0])
            if parent is None:
                return Refusal("missing", change.base[0])
            draft.parent, draft.last_sequence = parent, min(change.base[1], parent.last_sequence)
            draft.base = (parent.id, draft.last_sequence)
        for name in change.stamp:
            draft.counters[name] = self._now
        draft.deadline = _deadline(change.deadline, None, self._now)
        first, last = self._append(draft, change.entries, self._now, search=change.search)
        self._drafts[change.id] = draft
        self._moved.append(_moved(draft, first, last))
        if change.state != "pending":
            self._note(draft, change.change, first, last, self._now, "", deferred=change.search == "deferred")
        return None

    def _write_change(self, change: Write) -> Refusal | None:
        draft = self._find(change.id)
        if draft is None:
            return Refusal("missing", change.id)
        refusal = self._refused(draft, change.guard)
        if refusal is not None:
            return refusal
        if self._clash(draft, change.entries):
            return self._refusal("key", draft)
        now = self._advance(draft)
        born = draft.state == "pending"
        draft.version += 1
        if change.next_phase:
            draft.phase += 1
            if "authors" in draft.counters:
                draft.counters["authors"] = 0
        first, last = self._append(draft, change.entries, now, search=change.search)
        self._count(draft, change, now)
        if change.set or change.unset or change.mark:
            self._patch(draft, change, first)
        if change.tag or change.untag:
            draft.tag.extend(change.tag)
            draft.untag.extend(change.untag)
        self._place(draft, change, now)
        self._moved.append(_moved(draft, first, last))
        if draft.state != "pending":
            if born and draft.last_sequence:
                first, last = (draft.base[1] if draft.base else 0) + 1, draft.last_sequence
            name = "created" if born else change.change
            deferred = change.search == "deferred" and not born  # what came while it was pending is indexed already
            self._note(draft, name, first, last, now, change.reason, deferred=deferred)
        return None

    def _count(self, draft: Draft, change: Write, now: int) -> None:
        counters = draft.counters
        for name, amount in change.add:
            counters[name] = check_counter(name, counters.get(name, 0) + amount)
        for name, value in change.put:
            counters[name] = value
        for name in change.stamp:
            counters[name] = now

    def _place(self, draft: Draft, change: Write, now: int) -> None:
        """State, deadline and activity: where lists have the session."""
        if change.state is not None and change.state != draft.state:
            draft.state = change.state
            draft.placed = True
            draft.ended_at = (draft.ended_at or now) if change.state in ("ended", "archived") else None
        before = draft.deadline
        draft.deadline = _deadline(change.deadline, before, now)
        if change.due_above is not None and draft.counters.get(change.due_above[0], 0) > change.due_above[1]:
            # By the clock, which may have gone back behind the session's own time: "now" is when a sweep looks, not then.
            draft.deadline = self._clock if draft.deadline is None else min(draft.deadline, self._clock)
        draft.due_moved |= draft.deadline != before
        if change.active is not None:
            _activity(draft, now, change.active)

    def _touch(self, change: Touch) -> Refusal | None:
        draft = self._find(change.id)
        if draft is None:
            return Refusal("missing", change.id)
        refusal = self._refused(draft, _TOUCHABLE)
        if refusal is not None:
            return refusal
        now = self._advance(draft)
        _activity(draft, now, change.bucket)
        if change.deadline is not None and draft.deadline is not None:
            wanted = _deadline(change.deadline, draft.deadline, now)
            if wanted is not None and wanted > draft.deadline:
                draft.deadline = wanted
                draft.due_moved = True
        self._moved.append(_moved(draft, 0, 0))
        return None

    def _redact(self, change: Redact) -> Refusal | None:
        draft = self._find(change.id)
        if draft is None:
            return Refusal("missing", change.id)
        refusal = self._refused(draft, change.guard)
        if refusal is not None:
            return refusal
        now = self._advance(draft)
        draft.version += 1
        self._redacted.append((draft, change.sequences))
        self._moved.append(_moved(draft, 0, 0))
        if draft.state != "pending":
            self._note(draft, "redacted", min(change.sequences), max(change.sequences), now, "", deferred=False)
        return None

    def _delete(self, change: Delete) -> Refusal | None:
        draft = self._find(change.id)
        if draft is None:
            return Refusal("missing", change.id)
        refusal = self._refused(draft, change.guard)
        if refusal is not None:
            return refusal
        now = self._advance(draft)
        shown = draft.state != "pending"
        draft.version += 1
        draft.state = "deleted"
        draft.deadline = None
        draft.ended_at = draft.ended_at or now
        draft.placed = True
        held = self._tx.aliases_at(self._batch.tenant, self._batch.home, change.id)
        aliases = {(alias.key.namespace, alias.key.key): alias for alias in held} | self._aliases
        for name, alias in aliases.items():
            if alias.target == change.id and alias.key.home == self._batch.home:
                self._aliases[name] = Alias(alias.key, None, alias.epoch + 1, change.id, now)
        self._moved.append(_moved(draft, 0, 0))
        if shown:
            self._note(draft, "deleted", 0, 0, now, "", deferred=False)
        return None

    def _point(self, change: Point) -> Refusal | None:
        key = (change.alias.namespace, change.alias.key)
        alias = self._aliases.get(key) or self._tx.alias(self._batch.tenant, change.alias)
        if change.epoch is not None and alias.epoch != change.epoch:
            return Refusal("epoch", alias=alias)
        self._aliases[key] = Alias(change.alias, change.target, alias.epoch + 1, alias.target, self._now)
        self._epochs.append(alias.epoch + 1)
        return None

    def _lend(self, change: Lend) -> Refusal | None:
        lease = self._lease(change.name)
        current = lease.holder is not None and self._clock < lease.expires_at
        if change.fence is None:
            if current:
                return Refusal("held", lease=lease)
            fence = lease.fence + 1
        else:
            if not current or lease.fence != change.fence:
                return Refusal("fence", lease=lease)
            fence = change.fence
        self._leases[change.name] = LeaseState(change.name, change.holder, fence, self._clock + change.ttl)
        self._fences.append(fence)
        return None

    def _yield(self, change: Yield) -> Refusal | None:
        lease = self._lease(change.name)
        if lease.fence == change.fence and lease.holder is not None:
            self._leases[change.name] = LeaseState(change.name, None, lease.fence, self._clock)
        return None

    # -- steps -----------------------------------------------------------------------------------------------------

    def _lease(self, name: str) -> LeaseState:
        lease = self._leases.get(name) or self._tx.lease(self._batch.tenant, self._batch.home, name)
        return LeaseState(name, None, 0, 0) if lease is None else lease

    def _advance(self, draft: Draft) -> int:
        """The session's time: never behind what an earlier commit saw."""
        now = max(self._now, draft.mark)
        draft.mark = now
        draft.changed = True
        self._now = now
        return now

    def _clash(self, draft: Draft | None, entries: tuple[NewEntry, ...]) -> bool:
        """Whether an entry brings a key that another entry of its session has."""
        keys = [entry.key for entry in entries if entry.key is not None]
        if not keys:
            return False
        if draft is None:
            return len(set(keys)) < len(keys)
        keys.extend(item.key for item in self._appended if item.draft is draft and item.key is not None)
        if len(set(keys)) < len(keys):
            return True
        return not draft.fresh and any(self._tx.keyed(draft, key) is not None for key in keys)

    def _append(self, draft: Draft, entries: tuple[NewEntry, ...], now: int, *, search: Search) -> tuple[int, int]:
        if not entries:
            return 0, 0
        if search == "deferred" and draft.state == "pending":
            search = "commit"  # no event makes the index come back for them
        first = draft.last_sequence + 1
        for entry in entries:
            draft.last_sequence += 1
            operation = self._key if draft.last_sequence == first else None
            if entry.counted and entry.author is not None and not self._heard(draft, entry.author):
                draft.counters["authors"] = draft.counters.get("authors", 0) + 1
            self._appended.append(
                Appended(
                    draft,
                    draft.last_sequence,
                    entry,
                    operation or entry.key,
                    self._batch.fingerprint if operation else "",
                    len(entries) if operation else 1,
                    draft.version,
                    draft.phase,
                    now if entry.created_at is None else entry.created_at,
                    search,
                )
            )
        return first, draft.last_sequence

    def _heard(self, draft: Draft, author: str) -> bool:
        if any(
            item.draft is draft and item.entry.counted and item.entry.author == author and item.phase == draft.phase
            for item in self._appended
        ):
            return True
        return not draft.fresh and self._tx.spoken(draft, author)

    def _patch(self, draft: Draft, change: Write, first: int) -> None:
        data = draft.data
        if data is None:
            data = self._tx.data(draft)
        elif not draft.data_changed:
            data = cast("dict[str, Json]", copied(data))
        for path in change.unset:
            _unset(data, path)
        for path, value in change.set:
            _set(data, path, copied(value))  # the caller keeps theirs
        for path in change.mark:
            _set(data, path, first)
        draft.data, draft.data_changed = data, True

    def _note(self, draft: Draft, change: str, first: int, last: int, at: int, reason: str, *, deferred: bool) -> None:
        self._noted.append(Noted(draft, change, draft.version, first, last, at, reason, deferred and last > 0))


_TOUCHABLE = Guard(timely=True)

_DECIDERS: dict[type, Any] = {
    Create: Commit._create,
    Write: Commit._write_change,
    Touch: Commit._touch,
    Redact: Commit._redact,
    Delete: Commit._delete,
    Point: Commit._point,
    Lend: Commit._lend,
    Yield: Commit._yield,
}


def _moved(draft: Draft, first: int, last: int) -> Moved:
    return Moved(draft.id, draft.version, draft.phase, first, last, draft.state, draft.deadline, dict(draft.counters))


def _lineage(draft: Draft) -> tuple[tuple[int, int], ...]:
    """Where a new session's shared entries are read; its parent, if new, was stored just before."""
    if draft.parent is None or draft.base is None:
        return ()
    at = draft.base[1]
    return (*((log, min(through, at)) for log, through in draft.parent.lineage), (draft.parent.row, at))


def _activity(draft: Draft, now: int, bucket: int) -> None:
    """Forward only."""
    if now > draft.active_at:
        draft.active_at = now
        if now - now % bucket > draft.bucket:
            draft.bucket = now - now % bucket
            draft.placed = True


def _deadline(wanted: Deadline | None, current: int | None, now: int) -> int | None:
    if wanted is None or (wanted.if_none and current is not None):
        return current
    moment = wanted.at if wanted.after is None else now + wanted.after
    if moment is not None and wanted.cap is not None:
        moment = min(moment, wanted.cap)
    return moment


def _set(data: dict[str, Json], path: Path, value: Json) -> None:
    for step in path[:-1]:
        inner = data.get(step)
        if not isinstance(inner, dict):
            inner = data[step] = {}
        data = inner
    data[path[-1]] = value


def _unset(data: dict[str, Json], path: Path) -> None:
    for step in path[:-1]:
        inner = data.get(step)
        if not isinstance(inner, dict):
            return
        data = inner
    data.pop(path[-1], None)


def dump_answer(answer: Answer) -> str:
    """An answer as text, to be remembered with its operation id."""

    moved = [[m.id, m.version, m.phase, m.first, m.last, m.state, m.deadline, m.counters] for m in answer.moved]
    return encode({"moved": moved, "epochs": list(answer.epochs), "fences": list(answer.fences)})


def load_answer(text: str, now: int) -> Answer:
    """The remembered answer, marked as replayed."""
    kept = decode(text, "a remembered answer")
    moved = tuple(Moved(*cast("list[Any]", row)) for row in kept["moved"])
    return Answer(now, None, True, moved, tuple(kept["epochs"]), tuple(kept["fences"]))
