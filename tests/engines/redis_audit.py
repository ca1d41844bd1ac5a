"""All that a store has on a server, looked at from outside: whether each index says what the sessions say, and no more."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from typing import Any

import redis

from sojourn.engines.redis.keys import escape, unescape

KNOWN = {"#", "events", "erased", "trimmed", "due", "operations", "deleted"}
"""Keys of a shard that are of no tenant."""


def audit(url: str, prefix: str) -> None:
    """Assert that the indexes of a store are right."""
    client = redis.Redis.from_url(url, decode_responses=True)
    for start, names in _shards(client, prefix).items():
        _Shard(client, start, names).check()
    client.close()


def left(url: str, prefix: str) -> set[str]:
    """The names of the keys of a store without their beginning, but what is only numbers."""
    client = redis.Redis.from_url(url, decode_responses=True)
    found = {name for names in _shards(client, prefix).values() for name in names}
    client.close()
    return found


def text_of(url: str, prefix: str) -> str:
    """All that is stored, as one text: keys and values."""
    client = redis.Redis.from_url(url, decode_responses=True)
    found = []
    for start, names in _shards(client, prefix).items():
        found += [start + name + repr(_value(client, start + name)) for name in sorted(names)]
    client.close()
    return "\n".join(found)


def _value(client: Any, key: str) -> Any:
    kind = client.type(key)
    if kind == "hash":
        return client.hgetall(key)
    if kind == "list":
        return client.lrange(key, 0, -1)
    if kind == "set":
        return client.smembers(key)
    if kind == "zset":
        return client.zrange(key, 0, -1, withscores=True)
    return client.xrange(key) if kind == "stream" else client.get(key)


def _shards(client: Any, prefix: str) -> dict[str, list[str]]:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for key in client.scan_iter(f"{prefix}{{*", count=10_000):
        start, _, name = key.partition("}:")
        found[start + "}:"].append(name)
    return found


class _Shard:
    def __init__(self, client: Any, start: str, names: list[str]) -> None:
        self.client, self.start, self.names = client, start, names
        self.tenants = {name.split(":")[0] for name in names if name not in KNOWN}

    def check(self) -> None:
        wanted_due: dict[str, float] = {}
        waiting = set(self.client.zrange(self.start + "deleted", 0, -1))
        operations: set[str] = set()
        for tenant in self.tenants:
            one = _Tenant(self.client, f"{self.start}{tenant}:", [n for n in self.names if n.startswith(f"{tenant}:")])
            one.check()
            wanted_due |= {f"{tenant}:{name}": due for name, due in one.due.items()}
            operations |= {f"{tenant}:{name}" for name in one.operations}
            for name in one.deleted:
                assert one.shared(name) or f"{tenant}:{name}" in waiting, f"nobody purges {name}"
        assert dict(self.client.zrange(self.start + "due", 0, -1, withscores=True)) == wanted_due
        assert set(self.client.zrange(self.start + "operations", 0, -1)) == operations
        self._check_events()

    def _check_events(self) -> None:
        tip, trimmed = (int(self.client.get(self.start + name) or 0) for name in ("#", "trimmed"))
        numbers = [int(number.partition("-")[0]) for number, _ in self.client.xrange(self.start + "events")]
        numbers += map(int, self.client.hkeys(self.start + "erased"))
        assert sorted(numbers) == list(range(trimmed + 1, tip + 1))


class _Tenant:
    def __init__(self, client: Any, start: str, names: list[str]) -> None:
        self.client, self.start = client, start
        self.names = {name.partition(":")[2] for name in names}
        self.sessions = {name[2:]: client.hgetall(f"{start}{name}") for name in self.names if name.startswith("s:")}
        self.due = {name: float(row["d"]) for name, row in self.sessions.items() if row["s"] == "active" and "d" in row}
        self.deleted = [name for name, row in self.sessions.items() if row["s"] == "deleted"]
        self.operations: set[str] = set()

    def of(self, letter: str) -> list[str]:
        return [name for name in self.names if name.startswith(f"{letter}:")]

    def get(self, name: str) -> Any:
        return _value(self.client, self.start + name)

    def shared(self, name: str) -> bool:
        return bool(self.client.exists(f"{self.start}f:{name}"))

    def check(self) -> None:
        for name in self.of("o"):
            self.operations |= {f"{name[2:]}:{field}" for field in self.get(name)}
        self._check_lists()
        self._check_logs()
        self._check_names()
        assert self.names - {"kinds"} <= {n for letter in "sekpinlrouwf" for n in self.of(letter)}
        assert not self.of("w")

    def _check_lists(self) -> None:
        wanted: defaultdict[str, dict[str, float]] = defaultdict(dict)
        for name, row in self.sessions.items():
            head = f"{escape(row['k'])}:{row['s']}"
            owner = [f":o:{escape(row['o'])}"] if "o" in row else []
            if row["s"] == "deleted":
                for group in owner:
                    wanted[f"i:{head}{group}"][f"c{name}"] = 0
                continue
            for group in ["", *owner, *(f":t:{escape(tag)}" for tag in json.loads(row.get("t", "[]")))]:
                wanted[f"i:{head}{group}"][f"c{name}"] = 0
                wanted[f"i:{head}{group}"][f"a{int(row['b']):016}{name}"] = 0
        assert {name: dict(self.get(name)) for name in self.of("i")} == wanted
        kinds = {row["k"] for row in self.sessions.values()}
        assert kinds <= set(self.get("kinds") if "kinds" in self.names else ())

    def _check_logs(self) -> None:
        written: defaultdict[str, dict[str, str]] = defaultdict(dict)
        forks: defaultdict[str, dict[str, float]] = defaultdict(dict)
        for name, row in self.sessions.items():
            lineage = json.loads(row.get("l", "[]"))
            for log, through in lineage:
                forks[f"f:{log}"][name] = through
            lines = [json.loads(line) for line in self.get(f"e:{name}") or ()]
            if row["s"] != "deleted":
                assert len(lines) == int(row["q"]) - max([through for _, through in lineage], default=0)
            authors = Counter(line[3] for line in lines if line[3] is not None and line[3] != row.get("o"))
            for author, count in authors.items():
                written[f"u:{escape(author)}"][name] = str(count)
            keys = self.get(f"k:{name}") or {}
            assert set(keys) == {line[7] for line in lines if line[7] is not None}
        assert {name: self.get(name) for name in self.of("u")} == written
        assert {name: dict(self.get(name)) for name in self.of("f")} == forks
        assert {name[2:] for letter in "ekp" for name in self.of(letter)} <= set(self.sessions)

    def _check_names(self) -> None:
        wanted: defaultdict[str, set[str]] = defaultdict(set)
        for name in self.of("n"):
            for field, text in self.get(name).items():
                namespace, key = map(unescape, field.split(":"))
                target, _, previous, _ = json.loads(text)
                for one in {target, previous} - {None}:
                    words = json.dumps([unescape(name[2:]), namespace, key], ensure_ascii=False, separators=(",", ":"))
                    wanted[f"r:{escape(one)}"].add(words)
        found = {name: set(self.get(name)) for name in self.of("r")}
        gone = {name for name in wanted if name not in found}  # those of a session that was purged went with it
        assert all(name[2:] not in self.sessions for name in gone if len(name) == 28)
        assert found == {name: names for name, names in wanted.items() if name not in gone}
