"""What ``sojourn doctor`` says about a Redis server, as its settings are, and about those that cannot be had here."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest
import redis

import sojourn
from sojourn.cli.doctor_redis import look
from sojourn.testing.servers import Server, ServerMissingError, redis_server

SOUND: dict[str, Any] = {
    "shards": 64,
    "redis_version": "7.0.15",
    "role": "master",
    "maxmemory": 0,
    "maxmemory_policy": "noeviction",
    "evicted_keys": 0,
    "aof_enabled": 1,
    "appendfsync": "always",
    "save": "",
    "connected_slaves": 0,
    "wait": 0,
    "used_memory": 1_000_000,
}


@pytest.fixture(scope="module")
def server() -> Generator[Server]:
    try:
        with redis_server() as running:
            yield running
    except ServerMissingError as missing:
        pytest.skip(str(missing))


def status(name: str, **facts: Any) -> str:
    found = {one[0]: one for one in look({**SOUND, **facts})}
    assert all(fix for _, how, _, fix in found.values() if how != "ok"), "whatever is wrong has a fix"
    return found[name][1]


def test_a_sound_server_has_nothing_wrong() -> None:
    assert {found[1] for found in look(SOUND)} == {"ok"}


@pytest.mark.parametrize(
    ("name", "wanted", "facts"),
    [
        ("redis", "problem", {"role": "slave"}),
        ("eviction", "warning", {"maxmemory_policy": "allkeys-lru"}),
        ("eviction", "problem", {"maxmemory_policy": "volatile-ttl", "maxmemory": 5_000_000}),
        ("eviction", "problem", {"evicted_keys": 3, "maxmemory_policy": "allkeys-lru"}),
        ("durability", "warning", {"appendfsync": "everysec"}),
        ("durability", "warning", {"appendfsync": "no"}),
        ("durability", "problem", {"aof_enabled": 0}),
        ("durability", "problem", {"aof_enabled": 0, "save": "3600 1"}),
        ("durability", "warning", {"aof_enabled": 0, "save": None}),
        ("disk", "problem", {"aof_last_write_status": "err"}),
        ("disk", "problem", {"rdb_last_bgsave_status": "err"}),
        ("replicas", "problem", {"wait": 2, "connected_slaves": 1}),
        ("replicas", "ok", {"wait": 1, "connected_slaves": 1}),
        ("replicas", "warning", {"connected_slaves": 1}),
        ("memory", "warning", {"maxmemory": 1_100_000}),
    ],
)
def test_what_is_wrong_is_said(name: str, wanted: str, facts: dict[str, Any]) -> None:
    assert status(name, **facts) == wanted


def test_what_a_server_does_not_tell_is_passed_over() -> None:
    assert [found[0] for found in look({"shards": 64})] == ["redis", "eviction", "durability"]


def test_the_command_looks_at_a_real_server(server: Server, user: Any) -> None:
    """As a user would: make the store, look, mend the settings, look again."""
    url = f"{server.url}?prefix=doctor"
    assert "no Sojourn store yet" in user("doctor", "--store", url).out
    assert "is ready, with schema 1" in user.fine("migrate", "--store", url).out
    assert "has schema 1 already" in user.fine("migrate", "--store", url).out
    shown = user("doctor", "--store", url).out
    assert "keeps nothing on disk" in shown
    assert "none: this engine does not search" in shown
    with redis.Redis.from_url(server.url) as client:
        client.config_set("appendonly", "yes")
        client.config_set("appendfsync", "always")
    shown = user.fine("doctor", "--store", url).out
    assert "all is well" in shown
    with sojourn.open(url) as store:
        store.conversations.create("ann")
    assert "ann" in user.fine("conversation", "list", "--store", url).out
