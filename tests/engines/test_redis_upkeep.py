"""Purging and erasing on Redis: nothing that anybody still reads goes, and nothing of what is gone stays."""

from __future__ import annotations

import random
from collections.abc import Generator
from itertools import count
from typing import Any

import pytest

from sojourn.core.batch import Batch, Create, Delete, NewEntry, Point, Write
from sojourn.core.ids import home_number, random_id
from sojourn.core.query import EntryQuery
from sojourn.core.session import AliasKey
from sojourn.core.times import DAY, SECOND
from sojourn.engines.memory import MemoryEngine
from sojourn.engines.redis.engine import RedisEngine
from sojourn.engines.redis.keys import SHARDS
from sojourn.shell.bridge import run_sync
from sojourn.testing.servers import Server, ServerMissingError, redis_server
from tests.engines.redis_audit import audit, left, text_of
from tests.engines.test_redis import HOME, NOW, TENANT, Clockwork, Dice, everything

_numbers = count(1)
USERS = ("ann", "bob:1", "é%")


@pytest.fixture(scope="module")
def server() -> Generator[Server]:
    try:
        with redis_server() as running:
            yield running
    except ServerMissingError as missing:
        pytest.skip(str(missing))


class Place:
    """One store on the server, and its clock."""

    def __init__(self, server: Server) -> None:
        self.url, self.prefix = server.url, f"u{next(_numbers)}"
        self.clock = Clockwork()
        self.engine = RedisEngine(f"{server.url}?prefix={self.prefix}", clock=self.clock)

    def commit(self, *changes: Any, home: str = HOME, key: str | None = None) -> None:
        assert run_sync(self.engine.commit(Batch(TENANT, home, changes, key))).refusal is None

    def purge_all(self, limit: int = 100) -> int:
        removed = 0
        while count := run_sync(self.engine.purge(limit)):
            assert count <= limit
            removed += count
        return removed

    def erase(self, owner: str, limit: int = 100) -> list[int]:
        total = [0, 0, 0, 0]
        for _ in range(500):
            rows = run_sync(self.engine.erase(TENANT, owner, limit))
            counts = (rows.sessions, rows.entries, rows.aliases, rows.leases)
            total = [before + more for before, more in zip(total, counts, strict=True)]
            if rows.complete:
                return total
        raise AssertionError("erasing never ends")


@pytest.fixture
def place(server: Server) -> Place:
    return Place(server)


def new_id(home: str = HOME) -> str:
    return random_id(NOW // 1000, home_number(TENANT, home))


def said(text: str, author: str | None = None, key: str | None = None) -> NewEntry:
    return NewEntry("message", author=author, text=text, key=key)


@pytest.mark.parametrize("seed", range(12))
def test_what_is_purged_and_erased_is_so_on_memory_too(server: Server, seed: int) -> None:
    """Random batches with purging and erasing in between: what can be read is the same, and every index is right."""
    place, dice = Place(server), Dice(1000 + seed)
    memory = MemoryEngine(place.clock)
    for number in range(60):
        place.clock.now += dice.random.choice((0, 1, 7 * SECOND, DAY // 3))
        batch = dice.batch()
        assert run_sync(place.engine.commit(batch)) == run_sync(memory.commit(batch)), f"batch {number}: {batch}"
        if number % 10 == 4:
            place.purge_all(dice.random.choice((1, 2, 50)))
            while run_sync(memory.purge(50)):
                continue
        if number % 20 == 13:
            owner = dice.random.choice(USERS)
            place.erase(owner, dice.random.choice((1, 3, 50)))
            run_sync(memory.erase(TENANT, owner, 1000))
        if number % 10 in (3, 4):
            audit(place.url, place.prefix)
            assert run_sync(everything(place.engine, dice)) == run_sync(everything(memory, dice))


@pytest.mark.parametrize("seed", range(6))
def test_nothing_is_left_when_all_is_erased(server: Server, seed: int) -> None:
    place, dice = Place(server), Dice(2000 + seed)
    for _ in range(60):
        place.clock.now += dice.random.choice((0, SECOND))
        run_sync(place.engine.commit(dice.batch()))
    place.commit(*(Delete(name) for name in dice.ids if run_sync(place.engine.load(TENANT, name)).session is not None))
    for owner in (*USERS, HOME, "somebody", *dice.ids):
        place.erase(owner, 7)
    place.clock.now += 30 * DAY
    place.purge_all()
    assert {name.partition(":")[2] or name for name in left(place.url, place.prefix)} <= {"#", "events", "trimmed", "kinds"}


def test_purging_an_empty_store_is_one_round_trip(place: Place) -> None:
    place.commit(Create(new_id(), "note"))
    run_sync(place.engine.purge(100))  # now the server knows the script
    before = place.engine.talk.driver.trips
    assert run_sync(place.engine.purge(100)) == 0
    assert place.engine.talk.driver.trips - before == 1


def test_a_long_log_is_purged_in_steps_and_its_id_is_free_at_last(place: Place) -> None:
    made = new_id()
    place.commit(Create(made, "note", entries=tuple(said(str(number), "mallory", f"k{number}") for number in range(1200))))
    place.commit(Delete(made))
    removed = [run_sync(place.engine.purge(100)) for _ in range(13)]
    assert removed == [100] * 12 + [1]
    audit(place.url, place.prefix)
    place.commit(Create(made, "note"))
    assert run_sync(place.engine.load(TENANT, made, EntryQuery())).entries == ()


def test_who_wrote_in_a_long_log_of_others_is_erased_in_steps(place: Place) -> None:
    made, dice = new_id(), random.Random(3)
    authors = [dice.choice(("ann", "mallory", None)) for _ in range(900)]
    place.commit(Create(made, "note", owner="bob", entries=tuple(said(f"of {author}", author) for author in authors)))
    total = place.erase("mallory", 50)
    entries = run_sync(place.engine.load(TENANT, made, EntryQuery())).entries
    assert [entry.author for entry in entries] == [author if author != "mallory" else None for author in authors]
    assert total == [0, authors.count("mallory"), 0, 0]
    assert "mallory" not in text_of(place.url, place.prefix)
    audit(place.url, place.prefix)


def test_no_byte_of_an_erased_person_is_left(place: Place) -> None:
    """Neither name nor text nor data nor tag, in no key of any type, once erased and purged; forks keep the places."""
    mine, theirs, fork = new_id(), new_id("elsewhere"), new_id()
    secret: dict[str, Any] = {"tags": ("topsecret",), "data": {"topsecret": {"x": "topsecret"}}, "counters": {"topsecret": 3}}
    place.commit(
        Create(
            mine, "note", owner="mallory", entries=(said("topsecret", "mallory", "topsecret"), said("b", "mallory")), **secret
        )
    )
    place.commit(Create(fork, "note", owner="bob", base=(mine, 1), entries=(said("his", "bob"),)))
    place.commit(Create(theirs, "note", owner="bob", entries=(said("topsecret", "mallory"),)), home="elsewhere")
    place.commit(Point(AliasKey("elsewhere", "name", "of-eve"), mine, 0), home="elsewhere")
    place.commit(Point(AliasKey("mallory", "topsecret", "x"), mine, 0), home="mallory", key="topsecret")
    place.commit(Write(mine, entries=(said("topsecret", "mallory"),), reason="topsecret"), key="topsecret2")
    place.erase("mallory", 3)
    place.purge_all()
    stored = text_of(place.url, place.prefix)
    assert "mallory" not in stored
    assert stored.count("topsecret") == 2  # the key of the entry that a fork shares, in the log and in its index
    assert [entry.text for entry in run_sync(place.engine.load(TENANT, fork, EntryQuery())).entries] == [None, "his"]
    place.commit(Delete(fork))
    place.purge_all()
    assert "topsecret" not in text_of(place.url, place.prefix)
    audit(place.url, place.prefix)


def test_erased_events_keep_their_numbers_and_are_trimmed_in_time(place: Place) -> None:
    mine, theirs = new_id(), new_id()
    place.commit(Create(mine, "note", owner="mallory"))
    place.commit(Create(theirs, "note", owner="bob"), Write(mine, reason="why"))
    place.commit(Write(mine, change="last"))
    place.erase("mallory")
    start = (0,) * (SHARDS + 1)
    found = run_sync(place.engine.events(TENANT, start, 100)).events
    assert [(row.number, row.session, row.change, row.reason) for row in found] == [
        (1, "", "erased", ""),
        (2, theirs, "created", ""),
        (3, "", "erased", ""),
        (4, "", "erased", ""),
    ]
    assert run_sync(place.engine.events("other", start, 100)).events == []
    pages = [run_sync(place.engine.events(TENANT, start, 1)).events[0].number]
    cursor = run_sync(place.engine.events(TENANT, start, 1)).cursor
    pages += [row.number for row in run_sync(place.engine.events(TENANT, cursor, 2)).events]
    assert pages == [1, 2, 3]
    place.clock.now += 8 * DAY
    place.purge_all(1)
    assert "erased" not in left(place.url, place.prefix)
    page = run_sync(place.engine.events(TENANT, start, 100))
    assert (page.gap, page.events, page.cursor) == (True, [], run_sync(place.engine.tip()))


def test_a_home_of_a_person_that_others_are_in_is_emptied(place: Place) -> None:
    """What was done under operation ids in somebody's home goes with them, and is not taken for done afterwards."""
    place.commit(Create(new_id("mallory"), "note", owner="bob"), home="mallory", key="k")
    place.erase("mallory")
    audit(place.url, place.prefix)
    answer = run_sync(place.engine.commit(Batch(TENANT, "mallory", (Create(new_id("mallory"), "note"),), "k")))
    assert not answer.replayed
