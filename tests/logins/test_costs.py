"""What operations of logins cost: round trips by verb, statements and rows written, and that every list goes by an index."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import sojourn
from sojourn import AsyncLogins, NewLogin
from sojourn.core.query import SessionQuery
from sojourn.engines.sqlite import reads
from sojourn.testing.simulation import Simulation

COSTS: dict[str, tuple[Callable[[AsyncLogins, NewLogin], Awaitable[Any]], list[str]]] = {
    "authenticate": (lambda logins, made: logins.authenticate(made.token), ["load"]),
    "an unknown token": (lambda logins, made: logins.find(f"sjl_{sojourn.new_id()}.{'A' * 43}"), ["load"]),
    "what is no token": (lambda logins, made: logins.find("nonsense and blanks"), []),
    "a token of their own": (lambda logins, made: logins.find("a-secret-of-the-caller-0123456789-abcdefgh"), ["follow"]),
    "get": (lambda logins, made: logins.get(made.login.id), ["load"]),
    "touch": (lambda logins, made: logins.touch(made.login.id), ["load", "commit (Touch)"]),
    "create": (
        lambda logins, made: logins.create("ann"),
        ["follow", "commit (Create created, Write signed_in)", "load"],
    ),
    "the first of a user": (
        lambda logins, made: logins.create("bob"),
        ["follow", "commit (Create created, Create signed_in, Point)", "load"],
    ),
    "rotate": (lambda logins, made: logins.rotate(made.token), ["load", "commit (Write rotated)", "load"]),
    "update": (lambda logins, made: logins.update(made.login.id, {"a": 1}), ["load", "commit (Write updated)", "load"]),
    "revoke": (lambda logins, made: logins.revoke(made.login.id), ["load", "commit (Write revoked)"]),
    "revoke_user": (
        lambda logins, made: logins.revoke_user("ann"),
        ["follow", "list", "commit (Write revoked, Write revoked)"],
    ),
    "list": (lambda logins, made: logins.list(user_id="ann"), ["now", "list"]),
    "count_active": (lambda logins, made: logins.count_active(), ["now", "count"]),
    "online": (lambda logins, made: logins.online("ann"), ["follow", "now", "list"]),
    "history": (lambda logins, made: logins.history(made.login.id), ["load"]),
    "require_fresh": (lambda logins, made: logins.require_fresh(made.login, timedelta(1)), ["now"]),
}


@pytest.mark.parametrize("name", COSTS)
def test_an_operation_makes_no_more_round_trips_than_it_says(name: str) -> None:
    operation, expected = COSTS[name]

    async def scenario(simulation: Simulation) -> None:
        logins = simulation.store(directory=False).logins
        made = await logins.create("ann")
        simulation.clock.advance(timedelta(seconds=1))
        (await simulation.alone(lambda: operation(logins, made))).result()
        assert [step.removeprefix("0: before ") for step in simulation.steps if step.startswith("0: before ")] == expected

    Simulation().run(scenario)


class Watched:
    """What a store's connections execute, and how many rows they change."""

    def __init__(self, store: sojourn.Store) -> None:
        self._engine: Any = store._aio._engine
        self.statements: list[str] = []

    def of(self, work: Callable[[], object]) -> list[str]:
        """The statements of ``work``, without what begins and ends transactions."""
        self.statements.clear()
        connections = self._connections()
        for connection in connections:
            connection.set_trace_callback(self.statements.append)
        work()
        for connection in connections:
            connection.set_trace_callback(None)
        outside = ("begin", "commit", "pragma", "rollback")
        return [text for text in self.statements if not text.lower().startswith(outside)]

    def _connections(self) -> list[sqlite3.Connection]:
        import gc

        gc.collect()  # those that tests before this one have closed
        return [found for found in gc.get_objects() if isinstance(found, sqlite3.Connection)]


@pytest.fixture
def store(tmp_path: Path) -> Any:
    with sojourn.open(f"sqlite:///{tmp_path}/a.db", directory=False) as opened:
        yield opened


def test_authenticate_is_one_statement_and_no_write(store: sojourn.Store) -> None:
    made = store.logins.create("ann")
    store.logins.authenticate(made.token)
    (statement,) = Watched(store).of(lambda: store.logins.authenticate(made.token))
    assert statement.lower().startswith("select")


def test_a_touch_changes_one_row(store: sojourn.Store) -> None:
    made = store.logins.create("ann")
    statements = Watched(store).of(lambda: store.logins.touch(made.login.id))
    writes = [text for text in statements if not text.lower().startswith("select")]
    assert len(writes) <= 2, writes  # the session's row; the tags' places, where the activity bucket moved
    assert all(text.startswith("update sojourn_") for text in writes)


def test_ending_a_thousand_costs_as_many_rows_and_not_more(store: sojourn.Store) -> None:
    for _ in range(20):
        store.logins.create("ann")
    watched = Watched(store)
    statements = watched.of(lambda: store.logins.revoke_user("ann"))
    assert len(statements) < 20 * 8 + 20


def plan(store: sojourn.Store, sql: str, values: Any) -> str:
    with sqlite3.connect(store.facts()["path"]) as connection:
        rows = connection.execute(f"explain query plan {sql}", values).fetchall()
    connection.close()
    return "\n".join(row[3] for row in rows)


@pytest.mark.parametrize("only", [{}, {"tag": "world:w"}, {"owner": "ann"}], ids=["all", "of a world", "of a user"])
def test_counting_the_active_walks_an_index(store: sojourn.Store, only: dict[str, str]) -> None:
    given = {"tag": None, "owner": None, "home": None, **only}
    sql, values = reads.count_recent_statement("default", "login", active_after=1, now=2, **given)
    found = plan(store, sql, values)
    assert "SCAN sojourn" not in found.replace("SCAN CONSTANT", "")
    assert "bucket>?" in found
    assert "sojourn_session_due" in found


@pytest.mark.parametrize("only", [{}, {"tag": "world:w"}, {"owner": "ann"}, {"owner": "ann", "tag": "character:c"}], ids=str)
def test_lists_walk_an_index(store: sojourn.Store, only: dict[str, str]) -> None:
    sql, values = reads.list_statement(SessionQuery("default", ("login",), **only))  # type: ignore[arg-type]
    found = plan(store, sql, values)
    assert "SCAN sojourn" not in found
