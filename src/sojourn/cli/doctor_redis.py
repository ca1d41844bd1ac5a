"""What ``sojourn doctor`` says about a Redis or Valkey server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Literal, TypeAlias

from sojourn.cli.text import many, size

Found: TypeAlias = tuple[str, Literal["ok", "warning", "problem"], str, str]
"""Name, status, text and fix of one thing that was looked at."""

_NEARLY_FULL: Final = 0.8
_FIX_CONFIG: Final = "in the server's configuration"


def look(facts: dict[str, Any]) -> Iterator[Found]:
    """One after the other. What the server does not tell this user is passed over."""
    yield _server(facts)
    yield _eviction(facts)
    yield from _persistence(facts)
    yield from _replicas(facts)
    yield from _memory(facts)


def _server(facts: dict[str, Any]) -> Found:
    name, version = ("Valkey", facts["valkey_version"]) if "valkey_version" in facts else ("Redis", facts.get("redis_version"))
    if facts.get("role") == "slave":
        return "redis", "problem", f"{name} {version} is a replica: it can be read only.", "name the primary in --store"
    return "redis", "ok", f"{name} {version or 'of an unknown version'}, {facts['shards']} shards.", ""


def _eviction(facts: dict[str, Any]) -> Found:
    policy, evicted = facts.get("maxmemory_policy", "noeviction"), facts.get("evicted_keys", 0)
    fix = f"maxmemory-policy noeviction {_FIX_CONFIG}"
    if evicted:
        text = f"the server has thrown {many(evicted, 'key')} away to make room ({policy}): sessions may be torn or gone."
        return "eviction", "problem", text, fix
    if policy == "noeviction":
        return "eviction", "ok", "the server throws nothing away; when it is full, commits are refused.", ""
    if facts.get("maxmemory"):
        return "eviction", "problem", f"when memory is full, the server throws parts of sessions away ({policy}).", fix
    return "eviction", "warning", f"with a maxmemory, the server would throw parts of sessions away ({policy}).", fix


def _persistence(facts: dict[str, Any]) -> Iterator[Found]:
    append_only, fsync, save = facts.get("aof_enabled"), facts.get("appendfsync"), facts.get("save")
    fix = f"appendonly yes and appendfsync always (or everysec) {_FIX_CONFIG}"
    if append_only and fsync == "always":
        yield "durability", "ok", "append-only file, every commit is on the server's disk before it is acknowledged.", ""
    elif append_only and fsync == "everysec":
        text = "append-only file, written every second: a crash of the server loses nothing, a power cut about a second."
        yield "durability", "warning", text, f"appendfsync always {_FIX_CONFIG}, if that is too much"
    elif append_only:
        yield "durability", "warning", "append-only file, written when the system likes (a power cut loses up to 30 s).", fix
    elif save:
        yield "durability", "problem", f"snapshots only ({save}): a crash loses what came after the last one.", fix
    elif save == "":
        yield "durability", "problem", "the server keeps nothing on disk: when it stops, every session is gone.", fix
    else:
        yield "durability", "warning", "no append-only file; whether there are snapshots, the server does not tell.", fix
    for name, what in (("aof_last_write_status", "append-only file"), ("rdb_last_bgsave_status", "snapshot")):
        if facts.get(name, "ok") != "ok":
            yield "disk", "problem", f"the last {what} could not be written.", "look into the server's log"


def _replicas(facts: dict[str, Any]) -> Iterator[Found]:
    have, wait = facts.get("connected_slaves", 0), facts.get("wait", 0)
    if wait > have:
        text = f"commits wait for {many(wait, 'replica')}, and the server has {have}: the outcome of each is unknown."
        yield "replicas", "problem", text, "connect the replicas, or open the store with a smaller wait"
    elif wait:
        yield "replicas", "ok", f"{have} connected, {wait} of which must have a commit before it is acknowledged.", ""
    elif have:
        text = f"{have} connected, which no commit waits for: a failover may lose the last moment's."
        yield "replicas", "warning", text, "open the store with ?wait=1, if that is too much"


def _memory(facts: dict[str, Any]) -> Iterator[Found]:
    used, most = facts.get("used_memory"), facts.get("maxmemory", 0)
    if used is None:
        return
    if most and used > _NEARLY_FULL * most:
        yield "memory", "warning", f"{size(used)} of {size(most)} are in use; when it is full, commits are refused.", "raise it"
        return
    yield "memory", "ok", f"{size(used)} in use{f' of {size(most)}' if most else ', without a limit'}.", ""
