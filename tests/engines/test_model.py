"""Memory is the model of SQLite: whatever is asked of both, in whatever order and at whatever time, they answer the same.

SQLite also commits groups, some with an operation in them that fails; memory does one after the other. The clock that
both share goes back, too.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Coroutine
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final, TypeVar, get_args

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from sojourn.core.batch import (
    Answer,
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
from sojourn.errors import EngineError, InvalidValueError
from sojourn.shell.bridge import run_sync
from sojourn.testing.clocks import START, ManualClock

pytestmark = pytest.mark.slow

T = TypeVar("T")

PLACES: Final = range(6)
"""Few sessions, so that changes meet; each has a kind, and each kind a way of being searched."""
KINDS: Final[tuple[tuple[str, Search], ...]] = (("a", "commit"), ("b", "deferred"), ("c", "off"))
TENANTS: Final = ("t", "u")
HOMES: Final = {"h": (0, 1, 2, 3), "ann": (4, 5)}
"""Which places are in which home; one home is a person's own."""
OWNERS: Final = ("ann", "bob")
TAGS: Final = ("red", "blue")
LEASES: Final = ("x", "y")
WORDS: Final = ("apple", "apply", "pear")
STATES: Final[tuple[State, ...]] = ("pending", "active", "ended", "archived")
ALIASES: Final = tuple(AliasKey(home, "name", key) for home in HOMES for key in (f"{home}.p", f"{home}.q"))
BUCKET: Final = 10 * SECOND
START_MICROS: Final = ManualClock(START).micros()

# -- what may be asked ---------------------------------------------------------------------------------------------------
# A session is written as its place, "#3". The machine puts a place of the batch's home there, and the id of the session
# that has this place now; once in a while it does not care for homes.

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
mostly_open = st.sampled_from([Guard(), Guard(), Guard(open=False)]) | guards
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
touches = st.builds(Touch, places, st.just(BUCKET), deadlines)
redactions = st.builds(Redact, places, st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple), mostly_open)
deletions = st.builds(Delete, places, mostly_open)
points = st.builds(Point, st.sampled_from(ALIASES), st.none() | places | st.just("ann"), st.none() | few)
loans = st.builds(Lend, st.sampled_from(LEASES), st.sampled_from(OWNERS), st.just(20 * SECOND), st.none() | few)
returns = st.builds(Yield, st.sampled_from(LEASES), few)
weighted: list[tuple[int, st.SearchStrategy[Any]]] = [
    (1, creates),
    (6, writes),
    (1, touches),
    (1, redactions),
    (1, deletions),
    (2, points),
    (1, loans),
    (1, returns),
]
often = [strategy for weight, strategy in weighted for _ in range(weight)]


@st.composite
def changes(draw: st.DrawFn) -> Change:
    change: Change = draw(often[draw(st.integers(0, len(often) - 1))])
    return change


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    return Batch(
        draw(st.sampled_from([*TENANTS[:1] * 5, TENANTS[1]])),
        draw(st.sampled_from(["h", "h", "ann"])),
        tuple(draw(changes()) for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3, 4])))),
        draw(st.sampled_from([None, None, None, "o1", "o2", "o3"])),
        draw(st.sampled_from(["f", "f", "f", "g"])),
    )


@st.composite
def newcomers(draw: st.DrawFn) -> Create:
    return replace(draw(creates), base=draw(st.sampled_from([None, None, ("#0", 2), ("#1", 1)])))


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
        self.asked = 0
        for place in PLACES[:5]:
            self.arrive(place, Create(f"#{place}", "", "ann", entries=tuple(NewEntry("say", text=word) for word in WORDS)))

    def teardown(self) -> None:
        if hasattr(self, "file"):
            with self.directory:
                try:
                    self.compare()
                    assert run_sync(self.file.check()) == []
                finally:
                    run_sync(self.file.close())

    # -- asking ------------------------------------------------------------------------------------------------------

    @rule(batch=batches(), crossing=st.integers(0, 9))
    def commit(self, batch: Batch, crossing: int) -> None:
        self.commit_placed(self.placed(batch, keep_home=crossing > 0))

    @rule(place=st.sampled_from(PLACES), newcomer=newcomers())
    def arrive(self, place: int, newcomer: Create) -> None:
        """A new session takes a place, whatever was there."""
        self.lives[place] += 1
        home = next(home for home in HOMES if place in HOMES[home])
        for tenant in TENANTS:
            batch = Batch(tenant, home, (replace(newcomer, id=f"#{HOMES[home].index(place)}"),))
            self.commit_placed(self.placed(batch))

    def commit_placed(self, batch: Batch) -> None:
        self.asked += 1
        assert outcome_of(self.file.commit(batch)) == outcome_of(self.model.commit(batch))

    @rule(group=st.lists(batches(), min_size=2, max_size=4), failing=st.none() | few)
    def commit_a_group(self, group: list[Batch], failing: int | None) -> None:
        self.asked += len(group)
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
            assert slot.result == outcome_of(self.model.commit(batch))

    @rule(seconds=jumps, limit=st.integers(0, 2))
    def move_the_clock(self, seconds: int, limit: int) -> None:
        self.clock.advance(timedelta(seconds=seconds))
        run_sync(self.file.index(limit))

    @precondition(lambda self: self.asked >= 15)
    @rule(seconds=long_jumps, owner=st.sampled_from([None, None, *OWNERS]))
    def clean_up_much_later(self, seconds: int, owner: str | None) -> None:
        self.asked = 0
        self.clock.advance(timedelta(seconds=seconds))
        while run_sync(self.file.index(100)):
            pass
        for engine in self.engines():
            while owner and not run_sync(engine.erase(TENANTS[0], owner, 3)).complete:
                pass
            while run_sync(engine.purge(3)):
                pass
        for place in PLACES:
            if any(run_sync(self.model.load(tenant, self.id_of(place))).session is None for tenant in TENANTS):
                self.lives[place] += 1  # a purged id may or may not be free: nobody makes the same id twice

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
        for session in map(self.id_of, PLACES):
            for query in (
                None,
                EntryQuery(),
                EntryQuery(last=2),
                EntryQuery(ranges=((2, 3), (5, 9)), limit=2),
                EntryQuery(types=("say",), labels=("l",), topic="m"),
            ):
                self.same(lambda engine, session=session, query=query: engine.load(tenant, session, query))
            self.same(lambda engine, session=session: engine.tags(tenant, session))
            self.same(lambda engine, session=session: engine.history(tenant, session, 3))
            self.same(lambda engine, session=session: engine.aliases(tenant, target=session))

    def compare_lists(self, tenant: str) -> None:
        kinds = tuple(kind for kind, _ in KINDS)
        for owner, tag, before in ((None, None, None), ("ann", None, None), (None, "red", START_MICROS), ("bob", "blue", None)):
            for order in get_args(SessionOrder):
                query = SessionQuery(tenant, kinds, READABLE_STATES, owner, tag, order, before, 3)
                while page := self.same(lambda engine, query=query: engine.list(query)):
                    query = replace(query, after=(page[-1].bucket, page[-1].id))
            for kind in kinds:
                for since in (None, START_MICROS):
                    self.same(
                        lambda engine, kind=kind, owner=owner, tag=tag, since=since: engine.count(
                            tenant, kind, owner=owner, tag=tag, active_after=since
                        )
                    )

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

    def placed(self, batch: Batch, *, keep_home: bool = True) -> Batch:
        places = HOMES[batch.home] if keep_home else tuple(PLACES)
        aliases = [alias for alias in ALIASES if not keep_home or alias.home == batch.home]
        return replace(batch, changes=tuple(self.placed_change(change, places, aliases) for change in batch.changes))

    def placed_change(self, change: Change, places: tuple[int, ...], aliases: list[AliasKey]) -> Change:
        def id_at(place: str) -> str:
            return self.id_of(places[int(place[1:]) % len(places)])

        if isinstance(change, Point):
            target = None if change.target is None else id_at(change.target) if change.target[0] == "#" else change.target
            return replace(change, alias=aliases[ALIASES.index(change.alias) % len(aliases)], target=target)
        if isinstance(change, Lend | Yield):
            return replace(change, name=f"{aliases[0].home}.{change.name}")
        kind, search = KINDS[places[int(change.id[1:]) % len(places)] % len(KINDS)]
        if isinstance(change, Create):
            base = None if change.base is None else (id_at(change.base[0]), change.base[1])
            return replace(change, id=id_at(change.id), kind=kind, search=search, base=base)
        if isinstance(change, Write):
            lease = change.guard.lease
            guard = replace(change.guard, lease=None if lease is None else (f"{aliases[0].home}.{lease[0]}", lease[1]))
            return replace(change, id=id_at(change.id), guard=guard, search=search)
        return replace(change, id=id_at(change.id))


def outcome_of(asked: Coroutine[Any, Any, Answer]) -> Answer | type[Exception]:
    """The answer, or which error there was."""
    try:
        return run_sync(asked)
    except InvalidValueError as error:
        return type(error)


def _when(session: Session) -> tuple[int, str, str]:
    return session.deadline or 0, session.tenant, session.id


EVERYTHING: Final = tuple(HealthCheck)


def test_the_file_answers_as_the_model_does() -> None:
    short = settings(
        max_examples=40,
        stateful_step_count=25,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=EVERYTHING,
    )
    run_state_machine_as_test(SideBySide, settings=short)


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
    run_state_machine_as_test(SideBySide, settings=long)
