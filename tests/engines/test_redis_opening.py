"""A store on Redis is opened by its URL alone, and knows what it was made with."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator
from itertools import count
from typing import Any

import pytest
import redis

import sojourn
from sojourn.core.batch import Batch, Create, NewEntry
from sojourn.core.ids import home_number, random_id
from sojourn.core.query import EntryQuery
from sojourn.engines.contract import Engine
from sojourn.engines.locate import EngineOptions, Opening, open_engine
from sojourn.engines.redis.address import Place, read_url
from sojourn.engines.redis.engine import RedisEngine
from sojourn.errors import (
    CorruptError,
    EngineError,
    InvalidValueError,
    SchemaError,
    UnavailableError,
    UnsupportedError,
)
from sojourn.shell.bridge import run_sync
from sojourn.testing.servers import Server, ServerMissingError, redis_server

_numbers = count(1)


@pytest.fixture(scope="module")
def server() -> Generator[Server]:
    try:
        with redis_server() as running:
            yield running
    except ServerMissingError as missing:
        pytest.skip(str(missing))


@pytest.fixture
def url(server: Server) -> str:
    return f"{server.url}?prefix=o{next(_numbers)}"


@pytest.fixture
def client(server: Server) -> Generator[redis.Redis]:
    with redis.Redis.from_url(server.url, decode_responses=True) as connected:
        yield connected


def opened(url: str, *, migrate: bool = True, **more: Any) -> Engine:
    return run_sync(open_engine(Opening(url, True, None, "full", migrate, EngineOptions(more=more))))


def prefix_of(url: str) -> str:
    return url.partition("prefix=")[2]


def test_a_store_is_opened_by_url_in_both_colours(url: str) -> None:
    with sojourn.open(url) as store:
        made = store.conversations.create("ann")
        store.conversations.append(made.id, "user", "hello")
        with pytest.raises(UnsupportedError, match="no search on Redis"):
            store.conversations.search("hello")
        assert store.capabilities.search is False

    async def again() -> int:
        async with sojourn.aopen(url.replace("redis://", "valkey://")) as other:
            return len(await other.conversations.messages(made.id))

    assert asyncio.run(again()) == 1


def test_what_is_erased_is_gone_and_what_is_not_ours_is_named(url: str) -> None:
    with sojourn.open(url) as store:
        made = store.conversations.create("ann")
        store.conversations.append(made.id, "user", "secret")
        receipt = store.erase("ann")
        assert (receipt.sessions, receipt.entries) == (1, 1)
        assert any("append-only file" in line for line in receipt.outside)
        assert store.conversations.get(made.id) is None


def test_a_new_store_says_what_it_is(url: str, client: redis.Redis) -> None:
    opened(url)
    found: Any = client.hgetall(f"{prefix_of(url)}:store")
    assert (found["schema"], found["shards"]) == ("1", "64")


def test_a_store_keeps_its_number_of_shards(url: str) -> None:
    few = opened(url, shards=4)
    assert len(run_sync(few.tip())) == 5
    assert len(run_sync(opened(url).tip())) == 5
    with pytest.raises(InvalidValueError, match="has 4 shards, not 8"):
        opened(url, shards="8")


@pytest.mark.parametrize("shards", [1, 1024])
def test_few_shards_and_many_keep_everything(url: str, shards: int) -> None:
    with sojourn.open(f"{url}&shards={shards}") as store:
        made = [store.conversations.create(f"u{number}").id for number in range(20)]
        assert {found.id for found in store.conversations.list(limit=50)} == set(made)
        assert [found.id for found in store.conversations.list(user_id="u7")] == [made[7]]
        assert store.erase("u7").sessions == 1
        assert len(store.conversations.list(limit=50)) == 19


def test_an_export_goes_to_the_same_tenant_only(url: str) -> None:
    """An id carries the shard of its tenant and home, so another tenant's cannot be kept."""
    with sojourn.open(url) as store:
        made = [store.conversations.create(f"u{number}") for number in range(8)]
        lines = list(store.export())
        other = store.for_tenant("other")
        with pytest.raises(InvalidValueError, match="does not belong to home"):
            other.load(lines)
        with sojourn.open(f"{url}copy") as copy:
            assert copy.load(lines).sessions == len(made)
            assert list(copy.export()) == lines


def test_many_who_open_a_new_store_at_once_open_the_same(server: Server) -> None:
    """Nobody sees a part of what says that it is one."""
    for turn in range(20):
        url = f"{server.url}?prefix=at-once{turn}&shards={2 << turn % 4}"
        start = threading.Barrier(8)
        found: list[int] = []

        def work(url: str = url, start: threading.Barrier = start, found: list[int] = found) -> None:
            start.wait(30)
            found.append(len(run_sync(opened(url).tip())))

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert found == [(2 << turn % 4) + 1] * 8


def test_a_store_that_is_not_there_is_not_made_by_reading(url: str, client: redis.Redis) -> None:
    with pytest.raises(SchemaError, match="no Sojourn store yet"):
        opened(url, migrate=False)
    assert not client.exists(f"{prefix_of(url)}:store")
    opened(url)
    opened(url, migrate=False)


def test_a_newer_store_is_refused_unless_it_serves_this_release(url: str, client: redis.Redis) -> None:
    opened(url)
    client.hset(f"{prefix_of(url)}:store", "schema", "2")
    with pytest.raises(SchemaError, match="has schema 2; this release knows up to 1"):
        opened(url)
    client.hset(f"{prefix_of(url)}:store", "serves", "1")
    opened(url)


@pytest.mark.parametrize("foreign", ["text", "hash", "shards"])
def test_what_another_program_wrote_there_is_no_store(url: str, client: redis.Redis, foreign: str) -> None:
    key = f"{prefix_of(url)}:store"
    if foreign == "text":
        client.set(key, "x")
    else:
        client.hset(key, mapping={"name": "shop"} if foreign == "hash" else {"schema": 1, "shards": 3})
    with pytest.raises(CorruptError, match="is not what Sojourn wrote"):
        opened(url)


def test_a_server_that_is_not_there_is_unavailable() -> None:
    for address in ("redis://127.0.0.1:1", "redis+sentinel://127.0.0.1:1/main", "redis+cluster://127.0.0.1:1"):
        with pytest.raises(UnavailableError):
            run_sync(open_engine(Opening(address, True, None, "full", True, EngineOptions(timeout=0.1))))


def test_what_is_no_redis_is_said_to_be_none(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    from sojourn.engines.redis import opening

    engine = RedisEngine(url)
    with pytest.raises(UnsupportedError, match=r"is Redis 6\.2"):
        opening._check_server(engine.talk, b"redis_version:6.2.14\r\nredis_mode:standalone\r\n")
    opening._check_server(engine.talk, b"redis_version:7.0.0\r\n")


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("redis://h", Place(addresses=(("h", 6379),), shown="redis://h")),
        ("valkey://h:1/3", Place(addresses=(("h", 1),), shown="valkey://h:1/3", database=3)),
        (
            "rediss://us%40er:p%2Fw@[::1]:7?ssl_check_hostname=false",
            Place(
                addresses=(("::1", 7),),
                shown="rediss://[::1]:7",
                tls=True,
                connection={"username": "us@er", "password": "p/w", "ssl_check_hostname": False},
            ),
        ),
        (
            "redis+sentinel://:pw@a,b:2/main/1?sentinel_password=x",
            Place(
                addresses=(("a", 26379), ("b", 2)),
                shown="redis+sentinel://a,b:2/main/1",
                kind="sentinel",
                master="main",
                database=1,
                connection={"password": "pw"},
                sentinel={"password": "x"},
            ),
        ),
        (
            "VALKEYS+CLUSTER://a:1,b:2?prefix=p&shards=16&wait=1&wait_timeout=0.5&max_connections=9",
            Place(
                addresses=(("a", 1), ("b", 2)),
                shown="VALKEYS+CLUSTER://a:1,b:2",
                kind="cluster",
                tls=True,
                prefix="p",
                shards=16,
                wait=1,
                wait_timeout=0.5,
                max_connections=9,
            ),
        ),
    ],
)
def test_urls_are_read(url: str, wanted: Place) -> None:
    assert read_url(url) == wanted


@pytest.mark.parametrize(
    "url",
    [
        "redis://",
        "redis:h",
        "redis+proxy://h",
        "redis://h:port",
        "redis://h/db",
        "redis://h/0/1",
        "redis+sentinel://h",
        "redis+cluster://h/3",
        "redis://h?colour=red",
        "redis://h?shards=3",
        "redis://h?shards=many",
        "redis://h?prefix=",
        "redis://h?prefix={a}",
        "redis://h?wait=-1",
        "redis://h?wait_timeout=10",
        "redis://h?max_connections=0",
        "redis://h?ssl_ca_certs=x",
        "rediss://h?ssl_cert_reqs=maybe",
    ],
)
def test_urls_that_cannot_be_read_are_refused_without_their_secrets(url: str) -> None:
    with_secret = url.replace("//h", "//user:hunter2@h")
    with pytest.raises(InvalidValueError) as caught:
        read_url(with_secret)
    assert "hunter2" not in f"{caught.value} {caught.value.hint}"


def test_options_win_over_the_url() -> None:
    assert read_url("redis://h?prefix=a&wait=1", {"prefix": "b"}).prefix == "b"
    with pytest.raises(InvalidValueError, match="there is no setting 'colour'"):
        read_url("redis://h", {"colour": 1})


def test_a_wrong_password_is_said(url: str) -> None:
    with redis_server() as locked:
        with redis.Redis.from_url(locked.url) as client:
            client.config_set("requirepass", "secret")
        with pytest.raises(EngineError, match="does not let this user in"):
            opened(locked.url)
        opened(locked.url.replace("//", "//:secret@"))


# -- long logs -----------------------------------------------------------------------------------------------------------


def test_a_long_log_is_read_in_several_replies(url: str) -> None:
    """2,500 entries, also through a fork, from either end, filtered: all there, in order, whatever the replies' size."""
    engine = RedisEngine(url)
    made, fork = (random_id(1, home_number("t", "h")) for _ in range(2))
    entries = tuple(NewEntry("odd" if number % 2 else "even", text=str(number)) for number in range(1, 2501))
    for changes in (
        (Create(made, "note", entries=entries),),
        (Create(fork, "note", base=(made, 2400), entries=entries[:100]),),
    ):
        assert run_sync(engine.commit(Batch("t", "h", changes))).refusal is None

    def read(query: EntryQuery, session: str = made) -> list[int]:
        before = engine.talk.driver.trips
        found = run_sync(engine.load("t", session, query)).entries
        trips.append(engine.talk.driver.trips - before)
        return [int(entry.text or 0) for entry in found]

    trips: list[int] = []
    every = list(range(1, 2501))
    read(EntryQuery(limit=1))
    assert read(EntryQuery()) == every
    assert trips[-1] == 3
    assert read(EntryQuery(last=2300)) == every[200:]
    assert read(EntryQuery(limit=1500)) == every[:1500]
    assert trips[-1] == 2
    assert read(EntryQuery(limit=50)) == every[:50]
    assert trips[-1] == 1
    assert read(EntryQuery(types=("odd",))) == every[::2]
    assert read(EntryQuery(types=("odd",), last=1100)) == every[::2][-1100:]
    assert read(EntryQuery(ranges=((5, 7), (1000, 2400), (2450, 9999)))) == [5, 6, 7, *every[999:2400], *every[2449:]]
    assert read(EntryQuery(ranges=((5, 7), (1000, 2400)), last=1402)) == [7, *every[999:2400]]
    assert read(EntryQuery(), fork) == [*every[:2400], *every[:100]]
    assert read(EntryQuery(last=1600), fork) == [*every[900:2400], *every[:100]]
    assert read(EntryQuery(types=("none",))) == []
    run_sync(engine.close())


def test_long_entries_are_read_in_several_replies(url: str) -> None:
    engine = RedisEngine(url)
    made = random_id(1, home_number("t", "h"))
    entries = tuple(NewEntry("x", text=str(number) * 5_000) for number in range(1000))
    run_sync(engine.commit(Batch("t", "h", (Create(made, "note", entries=entries),))))
    run_sync(engine.load("t", made))
    before = engine.talk.driver.trips
    found = run_sync(engine.load("t", made, EntryQuery())).entries
    assert [entry.text for entry in found] == [entry.text for entry in entries]
    assert engine.talk.driver.trips - before == 5
    run_sync(engine.close())
