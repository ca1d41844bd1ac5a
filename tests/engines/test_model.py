"""Memory is the model of SQLite: whatever is asked of both, in whatever order and at whatever time, they answer the same.

SQLite also commits groups, some with an operation in them that fails; memory does one after the other. The clock that
both share goes back, too.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final, TypeVar, get_args

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from sojourn.core.batch import (
    Batch,
    Change,
    Create,
    Deadline,
    Delete,
    Guard,
    Lend,
    NewEntry,
    Point,
    Redact,
    Search,
    Touch,
    Write,
    Yield,
)
from sojourn.core.query import READABLE_STATES, EntryQuery, SearchQuery, SessionOrder, SessionQuery
from sojourn.core.session import AliasKey, Session, State
from sojourn.core.times import SECOND
from sojourn.engines.contract import Engine
from sojourn.engines.memory import MemoryEngine
from sojourn.engines.sqlite.commits import Slot
from sojourn.engines.sqlite.engine import SqliteEngine
from sojourn.errors import EngineError
from sojourn.shell.bridge import run_sync
from sojourn.testing.clocks import START, ManualClock

T = TypeVar("T")

PLACES: Final = range(6)
"""Few sessions, so that changes meet; each has a kind, and each kind a way of being searched."""
KINDS: Final[tuple[tuple[str, Search], ...]] = (("a", "commit"), ("b", "deferred"), ("c", "off"))
TENANTS: Final = ("t", "u")
HOMES: Final = ("h", "ann")
OWNERS: Final = ("ann", "bob")
TAGS: Final = ("red", "blue")
LEASES: Final = ("x", "y")
WORDS: Final = ("apple", "apply", "pear")
STATES: Final[tuple[State, ...]] = ("pending", "active", "ended", "archived")
ALIASES: Final = tuple(AliasKey(home, "name", key) for home, key in (("h", "p"), ("h", "q"), ("ann", "r")))
BUCKET: Final = 10 * SECOND
START_MICROS: Final = ManualClock(START).micros()

# -- what may be asked ---------------------------------------------------------------------------------------------------
# A session is written as its place, "#3"; the machine puts the id of the session that has this place now.

places = st.sampled_from([f"#{place}" for place in PLACES])
few = st.integers(0, 4)
spans = st.sampled_from([0, 1, 5 * SECOND, 60 * SECOND])
deadlines = st.none() | st.builds(
    Deadline,
    at=st.none() | st.just(START_MICROS + 30 * SECOND),
    after=st.none() | spans,
    cap=st.none() | st.just(START_MICROS + 20 * SECOND),
    if_none=st.booleans(),
)
entries = st.builds(
    NewEntry,
    type=st.sampled_from(["say", "do"]),
    label=st.sampled_from(["", "l"]),
    topic=st.sampled_from(["", "m"]),
    author=st.sampled_from([None, *OWNERS]),
    text=st.none() | st.lists(st.sampled_from(WORDS), max_size=2).map(" ".join),
    data=st.sampled_from([None, "[1]"]),
    covers=st.sampled_from([None, (1, 2)]),
    counted=st.booleans(),
    created_at=st.sampled_from([None, None, 7]),
    key=st.sampled_from([None, None, None, "k1", "k2"]),
)
logs = st.lists(entries, max_size=3).map(tuple)
guards = st.builds(
    Guard,
    open=st.booleans(),
    timely=st.sampled_from([False, False, True]),
    due=st.sampled_from([False, False, False, True]),
    version=st.sampled_from([None, None, None, 1, 2, 3]),
    phase=st.sampled_from([None, None, None, 0, 1]),
    silent=st.sampled_from([None, None, *OWNERS]),
    lease=st.sampled_from([None, None, None, ("x", 1), ("y", 2)]),
    fence=st.sampled_from([None, None, None, ("far", 1), ("far", 2)]),
)
mostly_open = guards | st.just(Guard()) | st.just(Guard(open=False))
paths = st.sampled_from([("a",), ("b",), ("b", "c"), ("b", "d", "e")])
tags = st.lists(st.sampled_from(TAGS), max_size=2).map(tuple)
counters = st.lists(st.tuples(st.sampled_from(["n", "m"]), st.integers(-2, 3)), max_size=2).map(tuple)


def subsets(strategy: st.SearchStrategy[T], most: int = 2) -> st.SearchStrategy[tuple[T, ...]]:
    return st.lists(strategy, max_size=most).map(tuple)


creates = st.builds(
    Create,
    id=places,
    kind=st.just(""),
    owner=st.sampled_from([None, *OWNERS]),
    state=st.sampled_from([*STATES, "active", "active"]),
    data=st.dictionaries(st.sampled_from(["a", "b"]), st.integers(0, 3), max_size=2),
    counters=st.dictionaries(st.sampled_from(["n", "authors"]), st.integers(0, 3), max_size=2),
    tags=tags,
    deadline=deadlines,
    entries=logs,
    base=st.none() | st.tuples(places, few),
    bucket=st.just(BUCKET),
    created_at=st.sampled_from([None, None, 5]),
    active_at=st.sampled_from([None, None, START_MICROS]),
    stamp=st.sampled_from([(), ("at",)]),
)
writes = st.builds(
    Write,
    id=places,
    guard=mostly_open,
    entries=logs,
    set=subsets(st.tuples(paths, st.integers(0, 9))),
    unset=subsets(paths, 1),
    mark=subsets(paths, 1),
    add=counters,
    put=counters,
    stamp=st.sampled_from([(), ("at",)]),
    tag=tags,
    untag=tags,
    state=st.sampled_from([None, None, None, *STATES[1:]]),
    deadline=deadlines,
    due_above=st.sampled_from([None, ("n", 2)]),
    next_phase=st.sampled_from([False, False, True]),
    active=st.sampled_from([None, BUCKET]),
    change=st.sampled_from(["updated", "said"]),
)
changes: st.SearchStrategy[Change] = st.one_of(
    creates,
    creates,
    writes,
    writes,
    writes,
    st.builds(Touch, places, st.just(BUCKET), deadlines),
    st.builds(Redact, places, st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple), mostly_open),
    st.builds(Delete, places, mostly_open),
    st.builds(Point, st.sampled_from(ALIASES), st.none() | places | st.just("ann"), st.none() | few),
    st.builds(Lend, st.sampled_from(LEASES), st.sampled_from(OWNERS), st.just(20 * SECOND), st.none() | few),
    st.builds(Yield, st.sampled_from(LEASES), few),
)
batches = st.builds(
    Batch,
    tenant=st.sampled_from([*TENANTS[:1] * 3, TENANTS[1]]),
    home=st.sampled_from(HOMES),
    changes=subsets(changes, 4).filter(len),
    operation=st.sampled_from([None, None, "o1", "o2", "o3"]),
    fingerprint=st.sampled_from(["f", "f", "g"]),
)
jumps = st.sampled_from([1, 5, 30, 3600, -1, -20, -3600])
long_jumps = st.sampled_from([86_400, 8 * 86_400, -86_400])


def fault(*_: object) -> None:
    raise sqlite3.OperationalError("no such luck")


# -- both, side by side --------------------------------------------------------------------------------------------------


class SideBySide(RuleBasedStateMachine):
    """One model and one file, asked the same."""

    @initialize()
    def open(self) -> None:
        self.clock = ManualClock()
        self.directory = tempfile.TemporaryDirectory()
        self.model = MemoryEngine(self.clock.micros)
        self.file = SqliteEngine(f"{self.directory.name}/sessions.db", self.clock.micros, durability="normal")
        self.lives = dict.fromkeys(PLACES, 0)

    def teardown(self) -> None:
        if hasattr(self, "file"):
            with self.directory:
                try:
                    self.compare()
                    assert run_sync(self.file.check()) == []
                finally:
                    run_sync(self.file.close())

    # -- asking ------------------------------------------------------------------------------------------------------

    @rule(batch=batches)
    def commit(self, batch: Batch) -> None:
        batch = self.placed(batch)
        assert run_sync(self.file.commit(batch)) == run_sync(self.model.commit(batch))

    @rule(group=st.lists(batches, min_size=2, max_size=4), failing=st.none() | few)
    def commit_a_group(self, group: list[Batch], failing: int | None) -> None:
        group = [self.placed(batch) for batch in group]
        slots = [Slot(batch) for batch in group]
        if failing is not None:
            slots.insert(failing, Slot(fault))
        self.file._committer.run(slots)
        if failing is not None:
            assert isinstance(slots.pop(min(failing, len(slots) - 1)).error, EngineError)
        for slot, batch in zip(slots, group, strict=True):
            if slot.error is not None:
                raise slot.error
            assert slot.result == run_sync(self.model.commit(batch))

    @rule(seconds=jumps)
    def move_the_clock(self, seconds: int) -> None:
        self.clock.advance(timedelta(seconds=seconds))

    @rule(limit=st.integers(1, 3))
    def index(self, limit: int) -> None:
        run_sync(self.file.index(limit))

    @rule(seconds=long_jumps)
    def purge_much_later(self, seconds: int) -> None:
        self.clock.advance(timedelta(seconds=seconds))
        while run_sync(self.file.index(100)):
            pass
        for engine in self.engines():
            while run_sync(engine.purge(3)):
                pass
        for place in PLACES:
            if all(run_sync(self.model.load(tenant, self.id_of(place))).session is None for tenant in TENANTS):
                self.lives[place] += 1  # a purged id may or may not be free: nobody makes the same id twice

    @rule(owner=st.sampled_from(OWNERS))
    def erase(self, owner: str) -> None:
        for engine in self.engines():
            while not run_sync(engine.erase(TENANTS[0], owner, 3)).complete:
                pass

    # -- comparing ---------------------------------------------------------------------------------------------------

    @rule()
    def compare(self) -> None:
        for tenant in TENANTS:
            self.compare_sessions(tenant)
            self.compare_lists(tenant)
            self.compare_events(tenant)
            self.compare_searches(tenant)
            for alias in ALIASES:
                self.same(lambda engine, alias=alias, tenant=tenant: engine.follow(tenant, alias))
        found = [sorted(run_sync(engine.due(None, 100)), key=_when) for engine in self.engines()]
        assert found[0] == found[1]

    def compare_sessions(self, tenant: str) -> None:
        for place in PLACES:
            session = self.id_of(place)
            for query in (
                None,
                EntryQuery(),
                EntryQuery(last=2),
                EntryQuery(ranges=((2, 3), (5, 9)), limit=2),
                EntryQuery(types=("say",), labels=("l",), topic="m"),
            ):
                self.same(lambda engine, query=query: engine.load(tenant, session, query))
            self.same(lambda engine: engine.tags(tenant, session))
            self.same(lambda engine: engine.history(tenant, session, 3))
            self.same(lambda engine: engine.aliases(tenant, target=session))

    def compare_lists(self, tenant: str) -> None:
        kinds = tuple(kind for kind, _ in KINDS)
        for owner, tag, before in ((None, None, None), ("ann", None, None), (None, "red", START_MICROS), ("bob", "blue", None)):
            for order in get_args(SessionOrder):
                query = SessionQuery(tenant, kinds, READABLE_STATES, owner, tag, order, before, 3)
                while page := self.same(lambda engine, query=query: engine.list(query)):
                    query = replace(query, after=(page[-1].bucket, page[-1].id))
            for kind in kinds:
                self.same(lambda engine, kind=kind, owner=owner, tag=tag: engine.count(tenant, kind, owner=owner, tag=tag))

    def compare_events(self, tenant: str) -> None:
        tip = self.same(lambda engine: engine.tip())
        for after in (0, tip[0] // 2, tip[0], tip[0] + 1):
            for only in ({}, {"kind": "a"}, {"session": self.id_of(0)}):
                self.same(lambda engine, after=after, only=only: engine.events(tenant, (after,), 1000, **only))

    def compare_searches(self, tenant: str) -> None:
        for kind, _ in KINDS:
            for words, prefix, owner, topic in (
                (("appl",), True, None, None),
                (("pear", "apple"), False, None, None),
                (("apply",), False, "ann", None),
                (("pear",), True, None, "m"),
            ):
                query = SearchQuery(tenant, kind, words, prefix, owner, topic, 1000)
                hits = [{(hit.session, hit.entry) for hit in run_sync(engine.search(query))} for engine in self.engines()]
                assert hits[0] == hits[1]

    # -- help --------------------------------------------------------------------------------------------------------

    def engines(self) -> tuple[Engine, Engine]:
        return self.model, self.file

    def same(self, ask: Any) -> Any:
        """What the model answers, which the file must answer too."""
        wanted, found = (run_sync(ask(engine)) for engine in self.engines())
        assert found == wanted
        return wanted

    def id_of(self, place: int) -> str:
        return f"{self.lives[place]:03d}{place:023d}"

    def placed(self, batch: Batch) -> Batch:
        return replace(batch, changes=tuple(map(self.placed_change, batch.changes)))

    def placed_change(self, change: Change) -> Change:
        if isinstance(change, Point):
            target = change.target
            return replace(change, target=self.id_of(int(target[1:])) if target and target[0] == "#" else target)
        if isinstance(change, Lend | Yield):
            return change
        place = int(change.id[1:])
        kind, search = KINDS[place % len(KINDS)]
        if isinstance(change, Create):
            base = None if change.base is None else (self.id_of(int(change.base[0][1:])), change.base[1])
            return replace(change, id=self.id_of(place), kind=kind, search=search, base=base)
        if isinstance(change, Write):
            return replace(change, id=self.id_of(place), search=search)
        return replace(change, id=self.id_of(place))


def _when(session: Session) -> tuple[int, str, str]:
    return session.deadline or 0, session.tenant, session.id


EVERYTHING: Iterable[HealthCheck] = tuple(HealthCheck)


def test_the_file_answers_as_the_model_does() -> None:
    short = settings(
        max_examples=60,
        stateful_step_count=25,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=EVERYTHING,
    )
    run_state_machine_as_test(SideBySide, settings=short)  # type: ignore[no-untyped-call]


@pytest.mark.campaign
@pytest.mark.timeout(0)
def test_the_file_answers_as_the_model_does_for_a_long_time() -> None:
    long = settings(
        max_examples=5000,
        stateful_step_count=60,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=EVERYTHING,
    )
    run_state_machine_as_test(SideBySide, settings=long)  # type: ignore[no-untyped-call]
