"""``workspace run``: real processes that hold a session, get signals, and are killed."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sojourn.cli.workspace.running import _wait
from sojourn.testing.engines import EnginePlaces
from tests.cli.conftest import User


@pytest.fixture
def team(user: User) -> User:
    user.fine("init")
    user.fine("workspace", "start", "--role", "implementer", "--name", "scout")
    return user


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "sojourn", *words]


@contextmanager
def running(team: User, *words: str) -> Iterator[subprocess.Popen[str]]:
    """``run`` with a command that says when it is there."""
    process = subprocess.Popen(
        command("workspace", "run", *words), cwd=team.project, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "there\n"
    try:
        yield process
    finally:
        process.kill()
        assert process.stdin is not None
        process.stdin.close()
        process.stdout.close()
        process.wait()


def state(team: User, name: str = "scout") -> tuple[str, bool]:
    found = team.fine("workspace", "show", name, "--json").data
    return found["state"], found["held"]


CAT = ("sh", "-c", "echo there; exec cat > /dev/null")


def test_the_session_is_held_while_the_command_lives(team: User) -> None:
    with running(team, "scout", "--", *CAT) as process:
        assert state(team) == ("active", True)
        second = subprocess.run(command("workspace", "run", "scout", "true"), cwd=team.project, capture_output=True, text=True)
        assert second.returncode == 7
        assert "held" in second.stderr
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait() == 0
    assert state(team) == ("active", False), "it was there before, and goes on"


def test_the_command_finds_its_session_and_gives_its_exit_code(team: User) -> None:
    whole = team.fine("workspace", "show", "scout", "-q").out
    script = 'printf "%s\\n" "$SOJOURN_SESSION"; exit 41'
    ran = subprocess.run(
        command("workspace", "run", "scout", "--", "sh", "-c", script), cwd=team.project, capture_output=True, text=True
    )
    assert (ran.returncode, ran.stdout) == (41, whole)
    status = f'"{sys.executable}" -m sojourn status --json'
    ran = subprocess.run(
        command("workspace", "run", "-q", "scout", "--", "sh", "-c", status), cwd=team.project, capture_output=True, text=True
    )
    assert '"source":"environment"' in ran.stdout
    assert '"held":true' in ran.stdout
    assert ran.stderr == ""


def test_a_session_that_is_begun_by_run_ends_with_it(team: User) -> None:
    ran = subprocess.run(
        command("workspace", "run", "--role", "monitor", "watch", "--", "false"),
        cwd=team.project,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 1
    found = team.fine("workspace", "show", "watch", "--json").data
    assert (found["state"], found["end_reason"]) == ("ended", "the command ended with 1")
    again = subprocess.run(command("workspace", "run", "--role", "monitor", "watch", "true"), cwd=team.project)
    assert again.returncode == 0, "its name is free"
    assert team.fine("status", "--json").data["name"] == "scout", "no pointer was moved"


def test_without_a_role_a_session_must_be_there(team: User) -> None:
    result = team("workspace", "run", "nobody", "true")
    assert (result.code, "--role" in result.err) == (2, True)
    team.fine("workspace", "end", "scout")
    result = team("workspace", "run", "scout", "true")
    assert (result.code, "has ended" in result.err) == (2, True)


@pytest.mark.parametrize(("program", "code"), [("no-such-program", 127), ("./plain", 126)])
def test_a_command_that_cannot_be_run_is_said_as_shells_say_it(team: User, program: str, code: int) -> None:
    (team.project / "plain").write_text("plain text")
    result = team("workspace", "run", "--role", "monitor", "fresh", "--", program)
    assert (result.code, program in result.err) == (code, True)
    assert "fresh" not in team.fine("workspace", "list", "--all").out, "no session was begun for it"


def test_a_session_that_was_begun_for_what_is_no_program_ends(team: User) -> None:
    file = team.project / "script"
    file.write_text("echo without a first line that says how\n")
    file.chmod(0o755)
    result = team("workspace", "run", "--role", "monitor", "fresh", "--", "./script")
    assert (result.code, "./script cannot be executed" in result.err) == (126, True)
    assert team.fine("workspace", "show", "fresh", "--json").data["state"] == "ended"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_signals_are_the_commands(team: User, number: signal.Signals) -> None:
    script = (
        "import signal, sys\n"
        f"signal.signal({int(number)}, lambda *_: sys.exit(9))\n"
        "print('there', flush=True)\n"
        "while True: signal.pause()"
    )
    with running(team, "scout", "--", sys.executable, "-c", script) as process:
        process.send_signal(number)
        assert process.wait() == 9
    assert state(team) == ("active", False)


def test_a_command_that_a_signal_killed_is_told_as_shells_tell_it(team: User) -> None:
    with running(team, "scout", "--", *CAT) as process:
        process.terminate()
        assert process.wait() == 128 + signal.SIGTERM


@pytest.mark.skipif(sys.platform != "linux", reason="reads a process's signals in /proc")
def test_the_command_has_no_signal_blocked_or_ignored_that_python_does(team: User) -> None:
    ran = subprocess.run(
        command("workspace", "run", "-q", "scout", "--", "grep", "-E", "Sig(Blk|Ign)", "/proc/self/status"),
        cwd=team.project,
        capture_output=True,
        text=True,
    )
    masks = [int(line.split()[1], 16) for line in ran.stdout.splitlines()]
    assert len(masks) == 2
    assert [mask & 0x7FFFFFFF for mask in masks] == [0, 0]  # the highest ones are the C library's own


def test_a_killed_run_is_lost_at_once_also_when_its_command_lives_on(team: User) -> None:
    script = "import os, time\nchild = os.fork()\nprint('there', flush=True) if child else None\nopen(0).read()"
    with running(team, "scout", "--", sys.executable, "-c", f"{script}") as process:
        assert state(team) == ("active", True)
        process.kill()
        process.wait()
        assert state(team) == ("lost", False)
        assert "lost" in team.fine("status").out
    assert team.fine("workspace", "heartbeat", "scout", "--json").data["state"] == "active", "a lost one comes back by touch"


def test_the_claims_of_a_killed_run_are_free(team: User, monkeypatch: pytest.MonkeyPatch) -> None:
    team.fine("workspace", "claim", "src", "--session", "scout")
    monkeypatch.setenv("SOJOURN_AGENT", "other")
    team.fine("workspace", "start", "--role", "implementer", "--name", "other")
    with running(team, "scout", "--", *CAT) as process:
        assert team("workspace", "claim", "src/a.py").code == 7
        process.kill()
        process.wait()
        assert team.fine("workspace", "claims", "--json").data == []
        team.fine("workspace", "claim", "src/a.py")


def test_a_session_whose_command_has_ended_is_not_lost(team: User) -> None:
    """Started by a process that is gone, as every session of a command line is."""
    subprocess.run(
        command("workspace", "start", "--role", "monitor", "--name", "plain", "--pointer", "none"),
        cwd=team.project,
        check=True,
        capture_output=True,
    )
    assert state(team, "plain") == ("active", False)


@pytest.mark.skipif(sys.platform != "linux", reason="asks script(1) of util-linux for a real terminal")
@pytest.mark.parametrize("engine", [name for name in EnginePlaces.available() if name != "memory"])
def test_ctrl_c_on_a_terminal_reaches_the_command_once(team: User, engine: str, tmp_path: Path) -> None:
    script = (
        "import signal, sys, time\nseen = []\n"
        "signal.signal(signal.SIGINT, lambda *_: seen.append(1))\n"
        "print('there', flush=True)\n"
        "while not seen:\n    signal.sigtimedwait([], 0.05)\n"
        "signal.sigtimedwait([], 0.2)\nprint('seen', len(seen), flush=True)\nsys.exit(5)"
    )
    (team.project / "catch.py").write_text(script)
    with EnginePlaces() as places:
        place = places.fresh(engine, tmp_path)
        url = place.url + "".join(f"?{name}={value}" for name, value in place.options.more.items() if name == "schema")
        run = command("workspace", "run", "-q", "scout", "--role", "implementer", "--store", url, "--")
        process = subprocess.Popen(
            # exec: a shell that stays between (dash) would die of the Ctrl-C of its own, and tell its own code
            ["script", "-qec", "exec " + shlex.join([*run, sys.executable, "catch.py"]), "/dev/null"],
            cwd=team.project,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stdin is not None
        assert b"there" in process.stdout.readline()
        process.stdin.write(b"\x03")
        process.stdin.flush()
        rest, _ = process.communicate()
    assert b"seen 1" in rest
    assert process.returncode == 5


def test_a_signal_of_a_command_that_has_ended_is_not_ours() -> None:
    """Where this process is slow, Ctrl-C and the command's end may both be there before it looks."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGCHLD})
    handler = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        child = os.posix_spawn("/bin/sh", ["sh", "-c", "exit 5"], os.environ)
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        signal.raise_signal(signal.SIGINT)
        assert _wait(child) == 5
        assert signal.SIGINT not in signal.sigpending()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        signal.signal(signal.SIGINT, handler)
