"""The command as it is installed: pipes, signals, terminals, encodings."""

import os
import pty
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import User

SOJOURN = Path(sys.executable).with_name("sojourn")


def run(user: User, *words: object, **more: object) -> subprocess.CompletedProcess[bytes]:
    command = [os.fsencode(str(word)) for word in (SOJOURN, *words)]
    return subprocess.run(command, cwd=user.project, capture_output=True, **more)  # type: ignore[call-overload,no-any-return]


@pytest.fixture
def long_talk(user: User) -> str:
    """A conversation that fills any pipe."""
    with user.store(durability="normal") as store:
        talk = store.conversations.create("talker")
        store.conversations.extend(talk.id, [{"role": "user", "content": "x" * 2000}] * 500)
    return talk.id


def test_the_installed_command_works_and_says_its_version(user: User) -> None:
    assert run(user, "--version").stdout.startswith(b"sojourn 0.")
    done = run(user, "conversation", "append", "--user", "zoë", "user", "-", input="héllo\n".encode())
    assert (done.returncode, done.stderr) == (0, b"")
    assert "zoë" in run(user, "conversation", "list").stdout.decode()
    assert run(user, "conversation", "show", "ZZZZ").returncode == 3


def test_a_server_that_is_not_there_is_told_once_in_our_words(user: User) -> None:
    for url in ("postgresql://127.0.0.1:1/db", "redis://127.0.0.1:1/0"):
        done = run(user, "conversation", "list", "--store", url)
        said, *hint = done.stderr.decode().splitlines()
        assert (done.returncode, len(hint)) == (69, 1), done.stderr
        assert said.startswith("sojourn: ")
        assert said.endswith("Connection refused.")


@pytest.mark.parametrize(
    "words", [["conversation", "show"], ["conversation", "export"], ["export"], ["conversation", "show", "--json"]]
)
def test_a_closed_pipe_is_no_error(user: User, long_talk: str, words: list[str]) -> None:
    command = [str(SOJOURN), *words, *([] if words == ["export"] else [long_talk])]
    with subprocess.Popen(command, cwd=user.project, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0


def test_a_pipe_that_was_closed_before_is_no_error(user: User, long_talk: str) -> None:
    for words in ("--version", "--help", "conversation list"):
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run([SOJOURN, *words.split()], cwd=user.project, stdout=writer, stderr=subprocess.PIPE)
        os.close(writer)
        assert (done.returncode, done.stderr) == (0, b""), words


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_output_that_cannot_be_written_is_an_error(user: User, long_talk: str) -> None:
    for words in ("--version", "--help", "conversation list", "export"):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([SOJOURN, *words.split()], cwd=user.project, stdout=full, stderr=subprocess.PIPE)
        assert done.returncode == 1, words
        assert b"No space left" in done.stderr
        assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    "settings", [{"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"PYTHONIOENCODING": "latin-1"}]
)
def test_pipes_get_utf_8_whatever_the_locale(user: User, settings: dict[str, str]) -> None:
    talk = user.append("zoë → 日本")
    done = run(user, "conversation", "show", talk, env={**os.environ, **settings})
    assert "zoë → 日本" in done.stdout.decode()
    done = run(user, "conversation", "append", talk, "user", "-", input="日本".encode(), env={**os.environ, **settings})
    assert done.returncode == 0
    assert '"日本"' in run(user, "conversation", "show", talk, "--json", env={**os.environ, **settings}).stdout.decode()


def test_arguments_that_are_no_text_are_refused(user: User) -> None:
    done = run(user, "conversation", "append", "--user", "alice", "user", "caf\udce9")
    assert (done.returncode, b"not UTF-8" in done.stderr) == (2, True)


def typed(user: User, keys: bytes, *words: str, until: bytes) -> tuple[int, bytes]:
    """Run on a real terminal; ``keys`` are pressed when ``until`` is on the screen."""
    process, screen = pty.fork()
    if process == 0:
        os.chdir(user.project)
        os.execv(SOJOURN, [str(SOJOURN), *words])
    shown = b""
    while select.select([screen], [], [], 30)[0]:
        try:
            shown += os.read(screen, 65536)
        except OSError:  # its end was closed
            break
        if until in shown and keys:
            os.write(screen, keys)
            keys = b""
    os.close(screen)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), shown


@pytest.mark.parametrize(("keys", "code", "left"), [(b"y\n", 0, 0), (b"n\n", 1, 1), (b"\x03", 130, 1), (b"\x04", 1, 1)])
def test_a_question_on_a_real_terminal(user: User, talk: str, keys: bytes, code: int, left: int) -> None:
    answered, shown = typed(user, keys, "session", "rm", talk, until=b"[y/N]")
    assert answered == code, shown
    assert b"Traceback" not in shown
    assert len(user.fine("conversation", "list", "-q").lines) == left


def test_ctrl_c_ends_a_tail_with_130_and_says_how_to_go_on(user: User, talk: str) -> None:
    code, shown = typed(user, b"\x03", "conversation", "tail", talk, until=b"Ctrl-C ends it")
    assert code == 130
    assert b"Thank you" in shown
    assert b"Traceback" not in shown


def test_a_table_fits_the_terminal(user: User, talk: str) -> None:
    code, shown = typed(user, b"", "conversation", "list", until=b"\0")
    assert code == 0
    assert talk[-8:].encode() in shown


def test_it_also_runs_as_a_module(user: User) -> None:
    done = subprocess.run([sys.executable, "-m", "sojourn.cli", "--version"], capture_output=True, check=True)
    assert done.stdout == run(user, "--version").stdout


def test_a_signal_while_it_writes_leaves_a_sound_store(user: User, talk: str) -> None:
    text = user.fine("export").out
    with subprocess.Popen([SOJOURN, "load", "-", "--store", "copy.db"], cwd=user.project, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write("".join(text.splitlines(keepends=True)[:2]).encode())
        process.stdin.flush()
        while user("conversation", "list", "--store", "copy.db").err.startswith(("There is no store", "sojourn:")):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
    assert user.fine("conversation", "list", "--all", "--store", "copy.db", "--json").data == []
    user.fine("load", "-", "--store", "copy.db", stdin=text)
    assert user.fine("doctor", "--store", "copy.db").code == 0
