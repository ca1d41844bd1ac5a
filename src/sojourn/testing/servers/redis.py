"""An empty Redis or Valkey: one server, a Cluster, or a master with replicas and sentinels."""

from __future__ import annotations

import contextlib
import functools
import socket
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, TypeAlias

from sojourn.testing.servers.process import Server, Setting, free_ports, working_directory, written
from sojourn.testing.servers.programs import Program, Source, find_redis

_MEET_AGAIN: Final = 1.0
"""Seconds after which two nodes are introduced again: who was held up in the middle of it forgets the other for good."""


@dataclass(frozen=True, slots=True)
class RedisCluster:
    """The nodes of a Cluster; the first ``len(masters)`` of them were started as masters."""

    masters: tuple[Server, ...]
    replicas: tuple[Server, ...]

    @property
    def nodes(self) -> tuple[Server, ...]:
        """Masters, then replicas."""
        return self.masters + self.replicas

    @property
    def url(self) -> str:
        """The address of the first node; a client learns the others from it."""
        return self.masters[0].url

    @property
    def store_url(self) -> str:
        """All nodes, as `sojourn.open` takes them."""
        return f"redis+cluster://{','.join(f'127.0.0.1:{node.port}' for node in self.nodes)}"

    def settle(self) -> None:
        """Returns when all nodes run, say the same of who is whose master and has which slots, and suspect nobody.

        After a failover they tell each other, which takes a moment in which each answers as far as it knows. Raises
        `ServerFailedError` when they do not come to agree.
        """

        def agreed() -> bool:
            views = [_view(_text(node, "CLUSTER", "NODES")) for node in self.nodes]
            return all(view == views[0] for view in views) and not any("fail" in flags for flags, *_ in views[0].values())

        self.nodes[0].wait_until(agreed, "all nodes run and say the same")

    def set_node_timeout(self, milliseconds: int) -> None:
        """How long a node that runs may be silent before the others take it for dead, from now on."""
        for node in self.nodes:
            if node.running:
                _ask(node, "CONFIG", "SET", "cluster-node-timeout", milliseconds)


@dataclass(frozen=True, slots=True)
class RedisSentinel:
    """A master with replicas, and the sentinels that watch it under ``name``."""

    name: str
    master: Server
    replicas: tuple[Server, ...]
    sentinels: tuple[Server, ...]

    def set_down_after(self, milliseconds: int) -> None:
        """How long the master may be silent before a sentinel takes it for dead, from now on."""
        for sentinel in self.sentinels:
            _ask(sentinel, "SENTINEL", "SET", self.name, "down-after-milliseconds", milliseconds)

    @property
    def store_url(self) -> str:
        """All sentinels and the name, as `sojourn.open` takes them."""
        return f"redis+sentinel://{','.join(f'127.0.0.1:{one.port}' for one in self.sentinels)}/{self.name}"


@contextlib.contextmanager
def redis_server(
    source: Source = "any", *, environment: Mapping[str, str] | None = None, **settings: Setting
) -> Generator[Server]:
    """An empty Redis or Valkey that keeps nothing on disk unless asked, for example ``appendonly=True``.

    ``settings`` are those of redis.conf with underscores for dashes: ``appendfsync="always"``, ``maxmemory="64mb"``.
    """
    program = find_redis(source)
    with working_directory("redis") as directory, free_ports(1) as (port,), contextlib.ExitStack() as started:
        yield _start_redis(started, program, directory, port, settings, environment)


@contextlib.contextmanager
def redis_cluster(
    source: Source = "any", *, masters: int = 3, replicas: int = 1, node_timeout_ms: int = 2000, **settings: Setting
) -> Generator[RedisCluster]:
    """A Cluster with all slots assigned and ``replicas`` replicas for each master.

    Returns when every node knows all the others and who replicates whom, so that a failover can be asked for at once.
    """
    program = find_redis(source)
    count = masters * (1 + replicas)
    with working_directory("cluster") as directory, free_ports(count * 2) as ports, contextlib.ExitStack() as started:
        buses = ports[count:]  # named one by one: by default they are 10,000 above, among the outgoing ports
        wanted: dict[str, Setting] = {
            "cluster_enabled": True,
            "cluster_node_timeout": node_timeout_ms,
            "cluster_require_full_coverage": False,
            **settings,
        }
        nodes = [
            _start_redis(started, program, directory, port, {**wanted, "cluster_port": bus})
            for port, bus in zip(ports, buses, strict=False)
        ]
        cluster = RedisCluster(tuple(nodes[:masters]), tuple(nodes[masters:]))
        _join(cluster, buses[0])
        yield cluster


@contextlib.contextmanager
def redis_sentinel(
    source: Source = "any",
    *,
    name: str = "sojourn",
    replicas: int = 1,
    sentinels: int = 3,
    down_after_ms: int = 500,
    **settings: Setting,
) -> Generator[RedisSentinel]:
    """A master, its replicas and the sentinels; a majority of the sentinels decides that the master is down.

    Returns when the replicas are linked and every sentinel knows them and the other sentinels.
    """
    program = find_redis(source)
    count = 1 + replicas + sentinels
    with working_directory("sentinel") as directory, free_ports(count) as ports, contextlib.ExitStack() as started:
        master = _start_redis(started, program, directory, ports[0], settings)
        following: dict[str, Setting] = {**settings, "replicaof": f"127.0.0.1 {master.port}"}
        copies = [_start_redis(started, program, directory, port, following) for port in ports[1 : 1 + replicas]]
        master.wait_until(
            lambda: f"connected_slaves:{replicas}" in _text(master, "INFO", "replication"), "replicas are connected"
        )
        lines = [
            f"sentinel monitor {name} 127.0.0.1 {master.port} {sentinels // 2 + 1}",
            f"sentinel down-after-milliseconds {name} {down_after_ms}",
            f"sentinel failover-timeout {name} 5000",
        ]
        watchers = [_start_sentinel(started, program, directory, port, lines) for port in ports[1 + replicas :]]
        for watcher in watchers:
            watcher.wait_until(functools.partial(_sees, watcher, name, sentinels - 1, replicas), "sentinels know each other")
            # One whose clock jumps does nothing for half a minute; on a busy machine it is only late.
            _ask(watcher, "SENTINEL", "DEBUG", "TILT-TRIGGER", 60_000)
        yield RedisSentinel(name, master, tuple(copies), tuple(watchers))


def _start_redis(
    started: contextlib.ExitStack,
    program: Program,
    directory: Path,
    port: int,
    settings: Mapping[str, Setting],
    environment: Mapping[str, str] | None = None,
) -> Server:
    home = directory / str(port)
    home.mkdir()
    wanted: dict[str, Setting] = {
        "save": "",
        "appendonly": False,
        "repl_diskless_sync_delay": 0,  # else a replica waits 5 s for others that might want the same copy
        **settings,
        "port": port,
        "bind": "127.0.0.1",
        "dir": str(home),
    }
    options = [word for name, value in wanted.items() for word in (f"--{name.replace('_', '-')}", written(value, "yes", "no"))]
    return _run_redis(started, [program.path, *options], home, port, environment)


def _start_sentinel(
    started: contextlib.ExitStack, program: Program, directory: Path, port: int, lines: Sequence[str]
) -> Server:
    home = directory / str(port)
    home.mkdir()
    configuration = home / "sentinel.conf"  # a file, because a sentinel writes what it learns into it
    configuration.write_text("\n".join([f"port {port}", "bind 127.0.0.1", f'dir "{home}"', *lines, ""]))
    return _run_redis(started, [program.path, configuration, "--sentinel"], home, port)


def _run_redis(
    started: contextlib.ExitStack,
    command: Sequence[str | Path],
    home: Path,
    port: int,
    environment: Mapping[str, str] | None = None,
) -> Server:
    server = Server(
        command,
        url=f"redis://127.0.0.1:{port}/0",
        port=port,
        directory=home,
        ready=lambda server: _ask(server, "PING") == "PONG",
        environment=environment,
    )
    started.callback(server.stop)  # the last one started, a replica, stops first: a master waits for its replicas
    server.start()
    return server


def _join(cluster: RedisCluster, first_bus: int) -> None:
    first = cluster.nodes[0]
    ids = {node.port: _text(node, "CLUSTER", "MYID") for node in cluster.nodes}
    share = 16384 / len(cluster.masters)
    for number, master in enumerate(cluster.masters):
        slots = range(round(number * share), round((number + 1) * share))
        _ask(master, "CLUSTER", "ADDSLOTS", *slots)
    for number, node in enumerate(cluster.nodes):
        _ask(node, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
    again_at = 0.0

    def all_of(condition: Callable[[str], bool], *words: str, nodes: Sequence[Server] = cluster.nodes) -> bool:
        return all(condition(_text(node, *words)) for node in nodes)

    def all_met() -> bool:
        nonlocal again_at
        known = {node.port: _text(node, "CLUSTER", "NODES") for node in cluster.nodes}
        if time.monotonic() >= again_at:
            again_at = time.monotonic() + _MEET_AGAIN
            for node in cluster.nodes[1:]:
                if ids[first.port] not in known[node.port] or ids[node.port] not in known[first.port]:
                    _ask(node, "CLUSTER", "MEET", "127.0.0.1", first.port, first_bus)
        return all(identity in text for text in known.values() for identity in ids.values())

    first.wait_until(all_met, "all met")
    for number, replica in enumerate(cluster.replicas):
        its_master = ids[cluster.masters[number % len(cluster.masters)].port]
        replica.wait_until(functools.partial(_replicate, replica, its_master), "the replica accepts its master")
    first.wait_until(lambda: all_of(lambda text: "cluster_state:ok" in text, "CLUSTER", "INFO"), "the cluster is up")
    first.wait_until(
        lambda: all_of(lambda text: "master_link_status:up" in text, "INFO", "replication", nodes=cluster.replicas),
        "replicas have their copy",
    )
    # A failover that is asked for before every node lists the replicas is ignored.
    first.wait_until(
        lambda: all_of(lambda text: _replicas_listed(text) == len(cluster.replicas), "CLUSTER", "NODES"),
        "every node lists the replicas",
    )


def _replicate(replica: Server, master_id: str) -> bool:
    return _ask(replica, "CLUSTER", "REPLICATE", master_id) == "OK"


def _view(nodes: str) -> dict[str, tuple[frozenset[str], ...]]:
    """What ``CLUSTER NODES`` says of each node, without what changes all the time: its flags, its master, its slots."""
    lines = [line.split() for line in nodes.splitlines()]
    return {
        identity: (frozenset(flags.replace("?", "").split(",")) - {"myself"}, frozenset({master}), frozenset(slots))
        for identity, _, flags, master, _, _, _, _, *slots in lines
    }


def _replicas_listed(nodes: str) -> int:
    return sum("slave" in line.split()[2].split(",") for line in nodes.splitlines())


def _sees(sentinel: Server, name: str, others: int, replicas: int) -> bool:
    answers = (_ask(sentinel, "SENTINEL", word, name) for word in ("SENTINELS", "REPLICAS"))
    counts = [len(answer) if isinstance(answer, list) else -1 for answer in answers]
    return counts == [others, replicas]


# One command and its reply: enough to set up a server, with no client library.

_Reply: TypeAlias = "int | str | list[_Reply] | None"


class _ErrorReply(OSError):  # noqa: N818 - the name it has in the protocol
    """The server answered with an error: to whoever waits for it, as much as no connection yet."""


def _ask(server: Server, *words: object) -> _Reply:
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        encoded = [str(word).encode() for word in words]
        parts = [b"*%d\r\n" % len(encoded), *(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded)]
        connection.sendall(b"".join(parts))
        with connection.makefile("rb") as stream:
            return _read_reply(stream)


def _text(server: Server, *words: object) -> str:
    reply = _ask(server, *words)
    return reply if isinstance(reply, str) else ""


def _read_reply(stream: IO[bytes]) -> _Reply:
    line = stream.readline()
    if not line.endswith(b"\r\n"):
        raise ConnectionError("the server closed the connection in the middle of a reply")
    kind, rest = line[:1], line[1:-2].decode()
    if kind == b"+":
        return rest
    if kind == b"-":
        raise _ErrorReply(rest)
    if kind == b":":
        return int(rest)
    length = int(rest)
    if length < 0:
        return None
    if kind == b"$":
        return stream.read(length + 2)[:-2].decode()
    return [_read_reply(stream) for _ in range(length)]
