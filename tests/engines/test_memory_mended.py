"""Faults of the memory engine that a review found, each with what must hold instead."""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from types import FrameType
from typing import Any

import pytest

from sojourn.core.batch import Batch, Create, Delete, Lend, NewEntry, Point, Redact, Write
from sojourn.core.query import EntryQuery, SessionQuery
from sojourn.core.session import AliasKey
from sojourn.core.times import SECOND
from sojourn.engines import memory
from sojourn.engines.memory import MemoryEngine
from sojourn.shell.bridge import run_sync
from sojourn.testing.clocks import ManualClock
from sojourn.testing.conformance.lab import HOME, KIND, TENANT, lines

ONE = "1" * 26
TWO = "2" * 26
NAME = AliasKey(HOME, "name", "a")
FIRST = NewEntry("line", author="ann", text="first", counted=True)


@pytest.fixture
def engine() -> MemoryEngine:
    engine = MemoryEngine(ManualClock().micros)
    commit(engine, Create(ONE, KIND, owner="ann", tags=("red",), entries=(FIRST,)), Point(NAME, ONE, 0))
    return engine


def commit(engine: MemoryEngine, *changes: Any, operation: str | None = None) -> Any:
    return run_sync(engine.commit(Batch(TENANT, HOME, changes, operation)))


def everything(engine: MemoryEngine) -> Any:
    """All that can be seen of a store, and what it keeps for itself."""
    state = engine._state
    return (
        [run_sync(engine.load(TENANT, session, EntryQuery())) for session in (ONE, TWO)],
        [run_sync(engine.tags(TENANT, session)) for session in (ONE, TWO)],
        run_sync(engine.events(TENANT, (0,), 100)),
        run_sync(engine.follow(TENANT, NAME)),
        [run_sync(engine.aliases(TENANT, target=session)) for session in (ONE, TWO)],
        run_sync(engine.list(SessionQuery(TENANT, (KIND,)))),
        {name: list(keys) for name, keys in state.index.lists.items() if keys},
        dict(state.keys),
        dict(state.spoken),
        dict(state.leases),
        dict(state.operations),
    )


def test_a_value_that_cannot_be_stored_leaves_nothing(engine: MemoryEngine) -> None:
    before = everything(engine)
    with pytest.raises(Exception, match="data"):
        commit(engine, Write(ONE, entries=lines("x"), set=((("x",), float("nan")),)))
    assert everything(engine) == before


BATCHES = [
    (
        Create(TWO, KIND, owner="bob", tags=("blue",), entries=lines("new")),
        Write(
            ONE,
            entries=(NewEntry("line", author="ann", text="second", key="k", counted=True),),
            set=((("x",), 1),),
            tag=("green",),
            untag=("red",),
            active=1,
        ),
        Point(NAME, TWO, None),
        Lend("lock", "ann", SECOND),
    ),
    (Redact(ONE, (1,)),),
    (Delete(ONE),),
]


class Interrupter:
    """Raises KeyboardInterrupt at the n-th line that is run in the memory engine."""

    def __init__(self, place: int) -> None:
        self.left = place

    def __call__(self, frame: FrameType, event: str, argument: object) -> Any:
        if frame.f_code.co_filename != memory.__file__ or frame.f_code.co_name == "roll_back":
            return None
        if event == "line":
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
        return self


@pytest.mark.parametrize("changes", BATCHES)
def test_an_interrupt_at_any_line_leaves_all_of_a_commit_or_nothing(changes: tuple[Any, ...]) -> None:
    clock = ManualClock().micros
    interrupted, place, outcomes = True, 0, set()
    while interrupted:
        place += 1
        engine = MemoryEngine(clock)
        commit(engine, Create(ONE, KIND, owner="ann", tags=("red",), entries=(FIRST,)), Point(NAME, ONE, 0))
        before = everything(engine)
        coroutine = engine.commit(Batch(TENANT, HOME, changes, "operation"))
        interrupted = False
        tracing = sys.gettrace()
        sys.settrace(Interrupter(place))
        try:
            run_sync(coroutine)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            sys.settrace(tracing)
        outcome = everything(engine)
        after = outcome if outcome != before else None
        commit(engine, *changes, operation="operation")
        if after is None:
            after = everything(engine)
        assert outcome in (before, after)
        outcomes.add(outcome == before)
        assert len(run_sync(engine.events(TENANT, (0,), 100)).events) == len(after[2].events)
        assert after[2].cursor == everything(engine)[2].cursor
    assert outcomes == {True, False}
    assert place > 20


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_of_a_busy_store_goes_on(engine: MemoryEngine) -> None:
    held, go = threading.Event(), threading.Event()

    def busy() -> None:
        with engine._state.lock:
            held.set()
            go.wait(0.2)

    thread = threading.Thread(target=busy)
    thread.start()
    assert held.wait(10)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        signal.alarm(30)
        code = 1
        try:
            commit(engine, Write(ONE, entries=lines("child")))
            code = 0
        finally:
            os._exit(code)
    go.set()
    thread.join(10)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert commit(engine, Write(ONE, entries=lines("parent"))).moved[0].first == 2


def test_leases_named_after_a_session_are_purged_with_it(engine: MemoryEngine) -> None:
    for name in (f"fold/{ONE}", f"conversation/{ONE}", "mine"):
        commit(engine, Lend(name, "ann", SECOND))
    commit(engine, Delete(ONE))
    while run_sync(engine.purge(100)):
        continue
    assert [name for _, _, name in engine._state.leases] == ["mine"]


def test_aliases_at_a_target_are_looked_up_and_follow_every_move(engine: MemoryEngine) -> None:
    commit(engine, Create(TWO, KIND), Point(NAME, TWO, None))
    assert run_sync(engine.aliases(TENANT, target=ONE)) == []
    assert [found.key for found in run_sync(engine.aliases(TENANT, target=TWO))] == [NAME]
    commit(engine, Delete(TWO))
    assert run_sync(engine.aliases(TENANT, target=TWO)) == []
    assert not any(engine._state.targets.values())
