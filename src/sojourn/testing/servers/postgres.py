"""An empty PostgreSQL, and a standby that follows it."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path

from sojourn.testing.servers.process import (
    CALLER,
    Account,
    Server,
    ServerFailedError,
    Setting,
    free_ports,
    working_directory,
    written,
)
from sojourn.testing.servers.programs import ServerMissingError, Source, find_postgres

_PLAIN = {"LC_ALL": "C", "TZ": "UTC"}


@contextlib.contextmanager
def postgres_server(
    source: Source = "any", *, environment: Mapping[str, str] | None = None, **settings: Setting
) -> Generator[Server]:
    """An empty PostgreSQL: superuser ``postgres``, no password, UTF-8, byte order collation, time zone UTC.

    ``settings`` are those of postgresql.conf. ``fsync`` is off unless asked for. ``environment`` is added to that of
    the server, not to that of ``initdb``.
    """
    program = find_postgres(source)
    account = _unprivileged_account()
    with working_directory("postgres", account) as directory, free_ports(1) as (port,):
        binaries = _reachable(program.path.parent, directory, account)
        data = directory / "data"
        _run_once(
            [binaries / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"],
            data,
            account,
        )
        with _run_postgres(binaries, data, port, account, settings, environment) as server:
            yield server


@contextlib.contextmanager
def postgres_standby(
    primary: Server, source: Source = "any", *, name: str = "standby", port: int | None = None, **settings: Setting
) -> Generator[Server]:
    """A hot standby of ``primary``: a copy that streams what it commits, can be read, and takes over once it is promoted.

    ``name`` is what ``synchronous_standby_names`` of the primary knows it by. ``port`` is where it reaches the primary, when
    that is not the primary's own: a `FaultProxy` in between can hold back what is streamed. ``source`` must find the release
    of the primary. Returns when it is connected and answers; it may lag by what was committed since.
    """
    program = find_postgres(source)
    if not program.path.with_name("pg_basebackup").exists():
        raise ServerMissingError(f"There is no pg_basebackup beside {program.path}: a system package has it.")
    account = _unprivileged_account()
    with working_directory("standby", account) as directory, free_ports(1) as (own,):
        binaries = _reachable(program.path.parent, directory, account)
        data = directory / "data"
        origin = f"host=127.0.0.1 port={port or primary.port} user=postgres application_name={name}"
        _run_once(
            [binaries / "pg_basebackup", "-D", data, "-d", origin, "-R", "-X", "stream", "-c", "fast", "--no-sync"],
            data,
            account,
        )
        with _run_postgres(binaries, data, own, account, settings) as server:
            server.wait_until(lambda: "started streaming WAL from primary" in server.log.read_text(), "it follows the primary")
            yield server


@contextlib.contextmanager
def _run_postgres(
    binaries: Path,
    data: Path,
    port: int,
    account: Account,
    settings: Mapping[str, Setting],
    environment: Mapping[str, str] | None = None,
) -> Generator[Server]:
    wanted: dict[str, Setting] = {
        "fsync": False,
        "max_connections": 200,
        **settings,
        "port": port,
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",  # the path of a temporary directory can be too long for a socket
    }
    options = [word for name, value in wanted.items() for word in ("-c", f"{name}={written(value, 'on', 'off')}")]
    server = Server(
        [binaries / "postgres", "-D", data, *options],
        url=f"postgresql://postgres@127.0.0.1:{port}/postgres",
        port=port,
        directory=data.parent,
        ready=_postgres_is_ready,
        stop_signal=signal.SIGINT,  # "fast": ends the connections, then shuts down in order
        orphan_signal=signal.SIGQUIT,
        account=account,
        environment={**_PLAIN, **(environment or {})},
    )
    try:
        server.start()
        yield server
    finally:
        server.stop()


def _run_once(command: Sequence[str | Path], data: Path, account: Account) -> None:
    """Run a program that makes a data directory."""
    made = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        cwd=data.parent,
        env={**os.environ, **_PLAIN},
        user=account.uid,
        group=account.gid,
        extra_groups=account.groups,
    )
    if made.returncode:
        raise ServerFailedError(f"{command[0]} exited with {made.returncode}:\n{made.stdout}{made.stderr}")


def _postgres_is_ready(server: Server) -> bool:
    # The server keeps this file up to date: its process id first, its status last. After a crash the old one is left.
    lines = (server.directory / "data" / "postmaster.pid").read_text().splitlines()
    return len(lines) >= 8 and lines[0] == str(server.pid) and lines[7].strip() in ("ready", "standby")


def _unprivileged_account() -> Account:
    """The account PostgreSQL runs under: the caller's own, or when that is root, which it refuses, another."""
    if os.geteuid() != 0:
        return CALLER
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(entry.pw_uid, entry.pw_gid, ())
    raise ServerMissingError("PostgreSQL does not run as root, and there is no account postgres or nobody to run it.")


def _reachable(binaries: Path, directory: Path, account: Account) -> Path:
    """``binaries``, or a copy of the installation around it when ``account`` cannot run what is there.

    That is so for a virtual environment in root's home. The permissions of a home are not ours to change.
    """
    if account.uid is None or account.gid is None or _runs_as(account, binaries / "initdb", directory):
        return binaries
    installation = binaries.parent
    package = installation.parent
    copied = directory / "site" / package.name / installation.name
    shutil.copytree(installation, copied, symlinks=True)
    # Wheels keep the libraries of their programs in one of these and find them from where the program is.
    for libraries in (package / ".dylibs", package.with_name(f"{package.name}.libs")):
        if libraries.is_dir():
            shutil.copytree(libraries, directory / "site" / libraries.relative_to(package.parent), symlinks=True)
    for path in (directory / "site", *(directory / "site").rglob("*")):
        os.chown(path, account.uid, account.gid, follow_symlinks=False)
    return copied / binaries.name


def _runs_as(account: Account, program: Path, directory: Path) -> bool:
    try:
        subprocess.run(
            [program, "--version"],
            capture_output=True,
            check=True,
            cwd=directory,
            user=account.uid,
            group=account.gid,
            extra_groups=account.groups,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return True
