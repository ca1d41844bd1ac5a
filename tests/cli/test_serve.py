"""`sojourn serve` as a process: what it refuses, what it says, how it stops."""

import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

import sojourn
from tests.cli.conftest import User

PATIENCE = 60
"""Seconds for an answer, of a server that may be the slowest thing on a busy machine."""

SECRET = "a-secret-of-the-test-that-is-long-enough"
pytestmark = pytest.mark.slow


@contextmanager
def _serving(
    url: str, *words: str, secret: str = SECRET, stdin: int = subprocess.DEVNULL
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server and what it said when it was there."""
    environment = {**os.environ, "SOJOURN_ADMIN_SECRET": secret, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "sojourn", "serve", "--store", url, "--port", "0", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=stdin,
        text=True,
        env=environment,
    )
    assert process.stdout is not None
    said = ""
    while "stops." not in said:
        line = process.stdout.readline()
        assert line, process.stderr.read() if process.stderr else said
        said += line
    try:
        yield process, said
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def _address(said: str) -> str:
    found = re.search(r"API +(http://\S+)/v1", said)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_it_says_where_it_is_and_stops_when_told(tmp_path: Path, sign: signal.Signals) -> None:
    with _serving(f"sqlite:///{tmp_path}/app.db") as (process, said):
        address = _address(said)
        assert str(tmp_path) in said
        assert SECRET not in said
        assert address.startswith("http://127.0.0.1:")
        assert (
            httpx.get(f"{address}/v1/contexts", headers={"authorization": f"Bearer {SECRET}"}, timeout=PATIENCE).status_code
            == 200
        )
        assert httpx.get(f"{address}/", timeout=PATIENCE).status_code == 401
        link = re.search(r"Console +(http://\S+)", said)
        assert link is not None
        with httpx.Client(timeout=PATIENCE) as client:
            assert client.get(link[1], follow_redirects=True).status_code == 200
            with client.stream("GET", f"{address}/live") as streaming:
                assert streaming.status_code == 200
                process.send_signal(sign)
                for _ in streaming.iter_lines():
                    pass
        out, err = process.communicate(timeout=30)
        assert (process.returncode, err) == (0, ""), out


def test_a_made_up_key_is_printed_and_good_until_it_stops(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/app.db"
    with _serving(url, "--no-console", secret="") as (_, said):
        key = re.search(r"API key +(sja_\S+)", said)
        assert key is not None
        assert "Console" not in said
        assert (
            httpx.get(
                f"{_address(said)}/v1/contexts", headers={"authorization": f"Bearer {key[1]}"}, timeout=PATIENCE
            ).status_code
            == 200
        )
        assert httpx.get(f"{_address(said)}/signin", timeout=PATIENCE).status_code == 404
    with _serving(url, secret="") as (_, said):
        assert (
            httpx.get(
                f"{_address(said)}/v1/contexts", headers={"authorization": f"Bearer {key[1]}"}, timeout=PATIENCE
            ).status_code
            == 401
        )


def test_enter_prints_a_new_link_on_a_terminal(tmp_path: Path) -> None:
    main, other = pty.openpty()
    with _serving(f"sqlite:///{tmp_path}/app.db", stdin=other) as (process, said):
        os.close(other)
        assert "Enter prints a new sign-in link" in said
        os.write(main, b"\n")
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], 20)
        assert ready
        link = re.search(r"Console +(http://\S+)", process.stdout.readline())
        assert link is not None
        assert link[1] not in said
        assert httpx.get(link[1], timeout=PATIENCE).status_code == 303
        os.close(main)  # the terminal goes away, the server stays
        assert httpx.get(f"{_address(said)}/healthz", timeout=PATIENCE).status_code == 200
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
        assert process.returncode == 0


def test_what_was_acknowledged_is_there_after_a_stop_in_the_middle(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/app.db"
    with _serving(url) as (process, said):
        headers = {"authorization": f"Bearer {SECRET}"}
        acknowledged = 0
        with httpx.Client(base_url=_address(said), headers=headers, timeout=30) as client:
            id = client.post("/v1/conversations", json={"user_id": "ann"}).json()["id"]
            began = time.monotonic()
            while time.monotonic() - began < 20:
                if acknowledged == 30:
                    process.send_signal(signal.SIGTERM)
                try:
                    answer = client.post(
                        f"/v1/conversations/{id}/messages", json={"role": "user", "content": f"{acknowledged}"}
                    )
                except httpx.TransportError:
                    break
                assert answer.status_code == 201
                acknowledged += 1
        process.communicate(timeout=30)
        assert process.returncode == 0
    with sojourn.open(url) as store:
        stored = [message.content for message in store.conversations.messages(id)]
    assert stored[:acknowledged] == [str(number) for number in range(acknowledged)]
    assert acknowledged <= len(stored) <= acknowledged + 1


# -- refusals, in this process ---------------------------------------------------------------------------------------------


def test_a_port_that_is_taken(user: User) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused = user("serve", "--port", port)
    assert refused.code == 2
    assert str(port) in refused.err
    assert "--port 0" in refused.err


@pytest.mark.parametrize(
    ("words", "secret", "says"),
    [
        (["--host", "0.0.0.0"], "", "can be reached by others"),
        (["--host", "::"], "", "can be reached by others"),
        (["--host", "example.invalid"], "", "can be reached by others"),
        ([], "short", "5 characters"),
        ([], "with a blank in the middle of it", "header"),
        ([], "\u00fcber-long-secret-of-the-operator", "header"),
    ],
)
def test_what_is_not_safe_is_refused(
    user: User, monkeypatch: pytest.MonkeyPatch, words: list[str], secret: str, says: str
) -> None:
    monkeypatch.setenv("SOJOURN_ADMIN_SECRET", secret)
    refused = user("serve", "--port", 0, *words)
    assert refused.code == 77
    assert says in refused.err
    assert not secret or secret not in refused.err
    assert json.loads(user("serve", "--port", 0, *words, "--json").err)["error"]["code"]


def test_a_name_that_is_none(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOJOURN_ADMIN_SECRET", SECRET)
    refused = user("serve", "--host", "nowhere.invalid", "--port", 0)
    assert refused.code == 2
    assert "nowhere.invalid" in refused.err


def test_the_service_has_to_be_installed(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("sojourn.service")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    refused = user("serve")
    assert refused.code == 78
    assert "pip install 'sojourn[service]'" in refused.err
