"""What an operation costs in round trips, counted: the table in docs/explanation/redis.md says the same."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

import sojourn
from sojourn.core.query import READABLE_STATES, SessionQuery
from sojourn.core.session import AliasKey
from sojourn.shell.bridge import run_sync
from sojourn.testing.servers import Server, ServerMissingError, redis_server

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "redis.md"
_numbers = count(1)


@pytest.fixture(scope="module")
def server() -> Generator[Server]:
    try:
        with redis_server() as running:
            yield running
    except ServerMissingError as missing:
        pytest.skip(str(missing))


def promised() -> dict[str, int]:
    """The rows of the page's table of round trips."""
    _, _, rest = PAGE.read_text(encoding="utf-8").partition("| operation | round trips |")
    table, _, _ = rest.partition("\n\n")
    rows = re.findall(r"^\| `([^`]+)`[^|]*\| (\d+) \|$", table, re.MULTILINE)
    return {name: int(trips) for name, trips in rows}


def operations(store: sojourn.Store) -> dict[str, Callable[[], Any]]:
    """Each operation of the table, on a store that has something of everything."""
    talks, tenant = store.conversations, store.tenant
    engine: Any = store._aio._engine
    made = talks.create("ann").id
    talks.append(made, "user", "x")
    talks.link_channel(made, "telegram", "t1")
    login = store.logins.create("ann")
    token = login.token
    alias = AliasKey("ann", "none", "none")
    tip = run_sync(engine.tip())
    return {
        "commit": lambda: talks.append(made, "user", "x"),
        "load": lambda: engine.load(tenant, made),
        "follow": lambda: engine.follow(tenant, alias),
        "aliases": lambda: engine.aliases(tenant, target=made),
        "tags": lambda: engine.tags(tenant, made),
        "list": lambda: engine.list(SessionQuery(tenant, ("conversation",), READABLE_STATES)),
        "count": lambda: engine.count(tenant, "conversation"),
        "due": lambda: engine.due(tenant, 10),
        "tip": lambda: engine.tip(),
        "events": lambda: engine.events(tenant, tip, 10),
        "history": lambda: engine.history(tenant, made, 10),
        "purge": lambda: engine.purge(100),
        "erase": lambda: engine.erase(tenant, "nobody", 100),
        "conversations.append": lambda: talks.append(made, "user", "x"),
        "conversations.get": lambda: talks.get(made),
        "conversations.window": lambda: talks.window(made, budget=1000),
        "conversations.create": lambda: talks.create("bob"),
        "conversations.list": lambda: talks.list(),
        "logins.authenticate": lambda: store.logins.authenticate(token),
        "logins.create": lambda: store.logins.create(f"user {next(_numbers)}"),
    }


def test_every_operation_costs_as_many_round_trips_as_the_page_says(server: Server) -> None:
    with sojourn.open(f"{server.url}?prefix=trips", directory=False) as store:
        driver = store._aio._engine.talk.driver  # type: ignore[attr-defined]
        found = {}
        for name, work in operations(store).items():
            for measured in (False, True):  # the first time, the server may have to be given the script
                before = driver.trips
                outcome = work()
                if hasattr(outcome, "send"):
                    run_sync(outcome)
                if measured:
                    found[name] = driver.trips - before
    assert found == promised()
