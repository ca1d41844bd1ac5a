"""Opening a store on a PostgreSQL that is not there, lets nobody in, or has no room yet: who waits, and what is said."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator

import psycopg
import pytest

from sojourn.engines.postgres import attempts as attempts_module
from sojourn.engines.postgres.aio import AsyncPostgresEngine
from sojourn.engines.postgres.attempts import Attempts, advice
from sojourn.engines.postgres.engine import PostgresEngine
from sojourn.errors import UnavailableError
from sojourn.shell.bridge import run_sync
from sojourn.testing.servers import Server, postgres_server

LONG = 600.0
"""Seconds to wait for: where a test does not, nobody has waited."""


@pytest.fixture(scope="module")
def small() -> Generator[Server]:
    """A server with room for three."""
    with postgres_server(max_connections=3, superuser_reserved_connections=0, max_wal_senders=0) as server:
        yield server


@pytest.fixture(params=["blocking", "async"])
def blocking(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "blocking")


def reach(url: str, timeout: float, *, blocking: bool) -> None:
    """Open, and close."""

    async def story() -> None:
        engine = await (PostgresEngine if blocking else AsyncPostgresEngine).open(url, timeout=timeout)
        await engine.close()

    if blocking:
        run_sync(story())
    else:
        asyncio.run(story())


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://127.0.0.1:1/db", "cannot be reached: .* Connection refused"),
        ("postgresql://no.such.host.invalid/db", "cannot be reached: .*no.such.host.invalid"),
    ],
)
def test_a_server_that_is_not_there_is_told_at_once(url: str, said: str, blocking: bool) -> None:
    with pytest.raises(UnavailableError, match=said) as caught:
        reach(url, LONG, blocking=blocking)
    assert "Is the server up, and this its address?" in str(caught.value)


def test_who_is_not_let_in_is_told_at_once_and_why(small: Server, blocking: bool) -> None:
    with pytest.raises(UnavailableError, match='FATAL:  database "postgresx" does not exist') as caught:
        reach(f"{small.url}x", LONG, blocking=blocking)
    assert "Check user, password and database." in str(caught.value)


def test_of_several_servers_one_may_take_over_so_there_is_something_to_wait_for(blocking: bool) -> None:
    with pytest.raises(UnavailableError, match=r"cannot be reached: .* Connection refused"):
        reach("postgresql://127.0.0.1:1,127.0.0.1:2/db", 2, blocking=blocking)


def test_a_server_that_is_full_is_waited_for(small: Server, blocking: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    held = [psycopg.connect(small.url) for _ in range(3)]
    with pytest.raises(UnavailableError, match=r"FATAL:  .*(too many clients|connection slots).* Try again"):
        reach(small.url, 2, blocking=blocking)

    def freed(text: str) -> str | None:
        """Those before it go as soon as an attempt has failed, when it is asked whether to wait."""
        while held:
            held.pop().close()
        return advice(text)

    monkeypatch.setattr(attempts_module, "advice", freed)
    reach(small.url, LONG, blocking=blocking)
    assert not held


def test_an_attempt_that_was_made_says_so_and_a_good_one_clears_the_bad() -> None:
    made = threading.Event()
    attempts = Attempts("postgresql://host/db", made)
    assert not attempts.hopeless
    with pytest.raises(psycopg.OperationalError), attempts.one():
        raise psycopg.OperationalError("Connection refused")
    assert made.is_set()
    assert [attempts.hopeless] == [True]
    with pytest.raises(psycopg.OperationalError, match="Connection refused"):
        attempts.check()
    with attempts.one():
        pass
    attempts.check()
    assert attempts.failure is None


@pytest.mark.parametrize(
    "said",
    [
        "FATAL:  the database system is starting up",
        "FATAL:  sorry, too many clients already",
        "FATAL:  no more connections allowed (max_client_conn)",
        "FATAL:  server login has been failing, try again later (server_login_retry)",
        "FATAL:  das Datenbanksystem startet",
        "server closed the connection unexpectedly",
    ],
)
def test_what_passes_is_waited_for(said: str) -> None:
    assert advice(f'connection to server at "connection refused", port 5432 failed: {said}') is None


@pytest.mark.parametrize(
    ("said", "what"),
    [
        ('FATAL:  password authentication failed for user "starting up"', "Check user"),
        ('FATAL:  no pg_hba.conf entry for host "127.0.0.1", user "x", database "y", no encryption', "Check user"),
        ("No such file or directory", "Is the server up"),
        ("server does not support SSL, but SSL was required", "Check the URL"),
    ],
)
def test_what_does_not_pass_is_told_with_what_to_do(said: str, what: str) -> None:
    assert what in (advice(f'connection to server on socket "/recovery/.s.PGSQL.5432" failed: {said}') or "")


@pytest.mark.parametrize(
    ("url", "several"),
    [
        ("postgresql://a,b/db", True),
        ("postgresql:///db?hostaddr=127.0.0.1,127.0.0.2", True),
        ("postgresql:///db?service=theirs", True),
        ("postgresql://a/db", False),
    ],
)
def test_several_servers_are_waited_for(url: str, several: bool) -> None:
    attempts = Attempts(url, threading.Event())
    attempts.failure = psycopg.OperationalError("Connection refused")
    assert attempts.hopeless is not several
