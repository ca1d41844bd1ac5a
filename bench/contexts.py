"""The bars of contexts on SQLite with full durability, beside conversations and beside themselves among few."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import sojourn
from bench.conversations import NO_FOLD, ROUNDS, TEXT, commit_all
from bench.measure import Row, in_turns, per_call, rate
from sojourn.core.batch import Batch, Point
from sojourn.kinds.contexts import rules
from sojourn.kinds.contexts.model import ContextPolicy

POLICY = ContextPolicy()


def contexts(directory: Path) -> Iterator[Row]:
    """Every bar, and what else is worth knowing."""
    yield adding(directory)
    yield from among_many(directory)


def adding(directory: Path) -> Row:
    """One blocking caller, adding artifacts and appending messages of the same text in turn."""
    store = sojourn.open(f"sqlite:///{directory}/adding.db", conversations=NO_FOLD)
    talk = store.conversations.create("u")
    store.contexts.create("work")

    def messages() -> float:
        def work() -> None:
            for _ in range(1500):
                store.conversations.append(talk.id, "user", TEXT)

        return rate(1500, work)

    def artifacts() -> float:
        def work() -> None:
            for _ in range(1500):
                store.contexts.add("work", "note", TEXT)

        return rate(1500, work)

    ratio, one, other = in_turns(ROUNDS, messages, artifacts)
    store.close()
    return Row("context add, against a conversation's append", ratio, "×", 0.9, detail=f"{other:,.0f}/s beside {one:,.0f}/s")


def fill(store: sojourn.Store, count: int, artifacts: int, first: int) -> None:
    """Make contexts in bulk, through the engine, each with so many artifacts."""
    unit, scope = store._aio._unit, rules.DEFAULT_SCOPE
    batches = []
    for number in range(first, first + count):
        name = f"context {number}"
        made = rules.create(unit.new_id(scope), scope, rules.document(name, {}))
        batches.append(Batch(unit.tenant, scope, (made, Point(rules.name_key(scope, name), made.id, 0))))
        new = rules.new_artifact(POLICY, "note", f"{TEXT} {number}", None)
        batches += [Batch(unit.tenant, scope, (rules.add(made.id, 0, new, new.entry(), POLICY),)) for _ in range(artifacts)]
    commit_all(unit.engine, batches)


def among_many(directory: Path) -> Iterator[Row]:
    """What must not depend on how much there is: the active one, an add, deleting a context of ten artifacts."""
    store = sojourn.open(f"sqlite:///{directory}/many.db", durability="normal")  # the work, not the disk
    fill(store, 100, 10, 0)
    small = _active(store), _add(store, 1), _delete(store, 20)
    fill(store, 9_900, 10, 100)
    large = _active(store), _add(store, 2), _delete(store, 40)
    store.close()
    yield Row("active(): among 10,000 contexts against 100", large[0] / small[0], "×", 1.3, True, f"{large[0]:.0f} µs")
    yield Row("context add: among 100,000 artifacts against 1,000", large[1] / small[1], "×", 1.3, True, f"{large[1]:.0f} µs")
    name = "delete of 10 artifacts: among 100,000 against 1,000"
    yield Row(name, large[2] / small[2], "×", 1.5, True, f"{large[2]:.0f} µs")


def _active(store: sojourn.Store) -> float:
    store.contexts.set_active("context 7")
    return per_call(500, lambda: store.contexts.active())


def _add(store: sojourn.Store, number: int) -> float:
    return per_call(500, lambda: store.contexts.add(f"context {number}", "note", TEXT))


def _delete(store: sojourn.Store, first: int) -> float:
    """Median microseconds of a delete, without the purge that follows in the background."""
    took = []
    for number in range(first, first + 20):
        start = time.perf_counter()
        store.contexts.delete(f"context {number}")
        took.append(time.perf_counter() - start)
    return sorted(took)[10] * 1e6
