"""The bars of workspaces on SQLite with full durability, beside conversations and beside themselves among few."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import sojourn
from bench.conversations import NO_FOLD, ROUNDS, TEXT, commit_all
from bench.measure import Row, in_turns, per_call, rate
from sojourn.core.batch import Batch, Point
from sojourn.kinds.workspaces import rules
from sojourn.kinds.workspaces.model import WorkspacePolicy
from sojourn.testing.places import MemoryPlaces, standing

POLICY = WorkspacePolicy()
PROJECT = "project-1"


def workspaces(directory: Path) -> Iterator[Row]:
    """Every bar, and what else is worth knowing."""
    yield starting(directory)
    yield resolving(directory)
    yield from among_many(directory)


def opened(path: Path, **options: object) -> sojourn.Store:
    """A store in which somebody stands in a project's directory, so that no files are measured."""
    store = sojourn.open(f"sqlite:///{path}", **options)  # type: ignore[arg-type]
    return standing(store, MemoryPlaces(agent="ada"))


def starting(directory: Path) -> Row:
    """One blocking caller, starting workspaces and appending messages in turn: a start makes a session and takes a name."""
    store = opened(directory / "starting.db", conversations=NO_FOLD)
    talk = store.conversations.create("u")

    def messages() -> float:
        def work() -> None:
            for _ in range(500):
                store.conversations.append(talk.id, "user", TEXT)

        return rate(500, work)

    def starts() -> float:
        def work() -> None:
            for _ in range(500):
                store.workspaces.start("implementer")

        return rate(500, work)

    ratio, one, other = in_turns(ROUNDS, messages, starts)
    store.close()
    return Row(
        "workspace start, against a conversation's append", ratio, "×", 0.4, detail=f"{other:,.0f}/s beside {one:,.0f}/s"
    )


def resolving(directory: Path) -> Row:
    """Finding one's session by its pointer, beside reading one row by its id with a bare connection."""
    path = directory / "resolving.db"
    store = opened(path)
    made = store.workspaces.start("implementer")
    connection = sqlite3.connect(path)
    query = "select * from sojourn_session where tenant = ? and id = ?"

    def bare() -> float:
        return rate(2000, lambda: [connection.execute(query, ("default", made.id)).fetchone() for _ in range(2000)])

    def resolve() -> float:
        return rate(2000, lambda: [store.workspaces.resolve() for _ in range(2000)])

    ratio, one, other = in_turns(ROUNDS, bare, resolve)
    connection.close()
    store.close()
    return Row("resolve() by pointer, against one bare row", ratio, "× raw", detail=f"{other:,.0f}/s beside {one:,.0f}/s")


def fill(store: sojourn.Store, count: int, first: int, *, over: bool) -> list[str]:
    """Make sessions in bulk, through the engine; their ids."""
    unit = store._aio._unit
    made, batches = [], []
    for number in range(first, first + count):
        new = rules.new_workspace(POLICY, "implementer", f"worker-{number}", system=False)
        create = rules.create(unit.new_id(PROJECT), PROJECT, new, "implementer", new.name, rules.stale(POLICY))
        if over:
            batches.append(Batch(unit.tenant, PROJECT, (replace(create, state="ended"),)))
        else:
            point = Point(rules.name_key(PROJECT, new.name), create.id, 0)
            batches.append(Batch(unit.tenant, PROJECT, (create, point)))
        made.append(create.id)
    commit_all(unit.engine, batches)
    return made


def among_many(directory: Path) -> Iterator[Row]:
    """What must not depend on how many there were: finding by name and by tail, a start, a claim, the list of those at work."""
    store = opened(directory / "workers.db", durability="normal")  # the work, not the disk
    kind = store.workspaces
    ids = fill(store, 20, 0, over=False)
    works: dict[str, Callable[[], object]] = {
        "resolve by name": lambda: kind.resolve("worker-7"),
        "resolve by a tail": lambda: kind.resolve(ids[7][-8:]),
        "heartbeat": lambda: kind.heartbeat(ids[7]),
        "claim": lambda: kind.claim(ids[7], "src/"),
        "list of those at work": kind.list,
    }
    few = {name: per_call(300, work) for name, work in works.items()}
    fill(store, 50_000, 100, over=True)
    for name, work in works.items():
        took = per_call(300, work)
        detail = f"{took:.0f} µs"
        yield Row(f"{name}: after 50,000 others", took / few[name], "×", 1.5, True, detail)
    store.close()
