"""``sojourn conversation tail``: messages as they come, none missed, none twice."""

import json
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.cli.conftest import User


@contextmanager
def tail(user: User, *words: str) -> Iterator[subprocess.Popen[str]]:
    """The command at work in a process of its own."""
    command = [sys.executable, "-m", "sojourn.cli", "conversation", "tail", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=user.project)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            assert stream is not None
            stream.close()


def read(process: subprocess.Popen[str], count: int) -> list[dict[str, object]]:
    assert process.stdout is not None
    return [json.loads(process.stdout.readline()) for _ in range(count)]


def test_it_shows_the_newest_and_ends(user: User, talk: str) -> None:
    out = user.fine("conversation", "tail", talk, "--last", "2", "--no-follow").out
    assert "Hello" not in out
    assert out.endswith("  Thank you\n")
    rows = user.fine("conversation", "tail", talk, "--no-follow", "--json").data
    assert [row["sequence"] for row in rows] == [1, 2, 3]
    assert user.fine("conversation", "tail", talk, "--no-follow", "--last", "0").out == ""


def test_it_follows_one_conversation_until_it_is_interrupted(user: User, talk: str) -> None:
    with tail(user, talk, "--last", "1", "--jsonl") as process:
        assert [row["content"] for row in read(process, 1)] == ["Thank you"]
        user.append("not this one", user="bob")
        with user.store() as store:
            store.conversations.extend(talk, [{"role": "user", "content": str(number)} for number in range(50)])
        user.fine("conversation", "consolidate", talk, "--keep", "10")
        user.append("after the fold")
        rows = read(process, 51)
        assert [row["content"] for row in rows] == [*map(str, range(50)), "after the fold"]
        assert {row["conversation_id"] for row in rows} == {talk}
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_it_goes_on_behind_a_cursor_with_nothing_missed_and_nothing_twice(user: User, talk: str) -> None:
    user.append("from bob", user="bob")
    with tail(user, "--all", "--jsonl") as process:
        assert process.stdout is not None
        while True:  # it follows from the moment it has started: say something until it hears
            user.append("are you there?")
            if select.select([process.stdout], [], [], 0.2)[0]:
                break
        seen = read(process, 1)
    cursor = str(seen[-1]["cursor"])
    user.append("one")
    user.append("two", user="bob")
    rows = [
        json.loads(line)
        for line in user.fine("conversation", "tail", "--all", "--after", cursor, "--no-follow", "--jsonl").lines
    ]
    assert [row["content"] for row in rows if row["content"] != "are you there?"] == ["one", "two"]
    again = user.fine("conversation", "tail", "--all", "--after", rows[-1]["cursor"], "--no-follow", "--json")
    assert again.data == []
    assert user.fine("conversation", "tail", talk, "--after", cursor, "--no-follow").out.endswith("  one\n")


def test_for_people_it_says_how_to_go_on(user: User, talk: str) -> None:
    events = user.fine("session", "events", talk, "--json").data
    result = user.fine("conversation", "tail", "--all", "--after", events[0]["cursor"], "--no-follow")
    assert f"{talk[-8:]} #" in result.out
    assert "--after " in result.err


def test_a_deleted_conversation_is_passed_over(user: User, talk: str) -> None:
    cursor = user.fine("session", "events", talk, "--limit", "1", "--json").data[0]["cursor"]
    bob = user.append("gone soon", user="bob")
    user.append("stays")
    user.fine("session", "rm", bob, "--yes")
    rows = user.fine("conversation", "tail", "--all", "--after", cursor, "--no-follow", "--json").data
    assert [row["content"] for row in rows] == ["stays"]


def test_a_cursor_of_something_else_is_refused(user: User, talk: str) -> None:
    assert user("conversation", "tail", "--all", "--after", "nonsense", "--no-follow").code == 2
