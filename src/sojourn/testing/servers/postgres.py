"""An empty PostgreSQL."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Generator, Mapping
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
        _initdb(binaries / "initdb", data, account)
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
            directory=directory,
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


def _initdb(program: Path, data: Path, account: Account) -> None:
    made = subprocess.run(
        [program, "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"],
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
        raise ServerFailedError(f"{program} exited with {made.returncode}:\n{made.stdout}{made.stderr}")


def _postgres_is_ready(server: Server) -> bool:
    # The server keeps this file up to date: its process id first, its status last. After a crash the old one is left.
    lines = (server.directory / "data" / "postmaster.pid").read_text().splitlines()
    return len(lines) >= 8 and lines[0] == str(server.pid) and lines[7].strip() == "ready"


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
