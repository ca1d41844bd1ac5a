"""Who holds a session: real processes, killed, stopped and forked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sojourn.core.ids import new_id
from sojourn.errors import InvalidValueError, LeaseHeldError
from sojourn.project import here, holds

HOLD = """
import os, subprocess, sys
from sojourn.project import here as places
grip = places().hold(sys.argv[1])
what = sys.argv[2]
children = []
if what == "fork":
    here, there = os.pipe()
    for _ in range(2):
        child = os.fork()
        if child == 0:
            os.write(there, b"1")
            os.read(int(sys.argv[3]), 1)
            os._exit(0)
        children.append(child)
        os.read(here, 1)  # it runs; a child that was never given the processor yet has closed nothing
elif what == "start":
    children.append(subprocess.Popen(["sleep", "60"], close_fds=False).pid)
print("held", *children, flush=True)
sys.stdin.read()
"""


@contextmanager
def holder(session: str, what: str = "alone") -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """A process that holds a session, and its children."""
    ours, theirs = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, session, what, str(ours)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        pass_fds=(ours,),
    )
    assert process.stdout is not None
    words = process.stdout.readline().split()
    assert words[:1] == ["held"]
    children = [int(word) for word in words[1:]]
    try:
        yield process, children
    finally:
        for number in (process.pid, *children):  # the children have the ends of its pipes too
            try:
                os.kill(number, signal.SIGKILL)
            except ProcessLookupError:
                pass
        process.communicate()
        os.close(ours)
        os.close(theirs)


@pytest.fixture(params=["in a project", "without one"])
def place(request: pytest.FixtureRequest, tmp_path: Path, nobody: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    if request.param == "in a project":
        return Path(request.getfixturevalue("project"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_nobody_ever_held_cannot_be_told(place: Path) -> None:
    assert here().held(new_id()) is None
    assert here().held("no id") is None


def test_a_session_is_held_until_it_is_let_go(place: Path) -> None:
    session = new_id()
    grip = here().hold(session)
    assert here().held(session) is True
    with pytest.raises(LeaseHeldError):
        here().hold(session)
    grip.let_go()
    grip.let_go()
    assert here().held(session) is None
    here().hold(session).let_go()


def test_another_process_sees_it_and_cannot_have_it(place: Path) -> None:
    session = new_id()
    with holder(session) as (process, _):
        assert here().held(session) is True
        with pytest.raises(LeaseHeldError, match="another process"):
            here().hold(session)
        process.kill()
        process.wait()
        assert here().held(session) is False
    grip = here().hold(session)
    assert here().held(session) is True
    grip.let_go()


@pytest.mark.parametrize("what", ["fork", "start"])
def test_children_that_outlive_a_killed_holder_hold_nothing(place: Path, what: str) -> None:
    session = new_id()
    with holder(session, what) as (process, children):
        assert here().held(session) is True
        process.kill()
        process.wait()
        for child in children:
            os.kill(child, 0)  # it is alive
        assert here().held(session) is False


def test_a_stopped_holder_still_holds(place: Path) -> None:
    session = new_id()
    with holder(session) as (process, _):
        process.send_signal(signal.SIGSTOP)
        assert here().held(session) is True
        process.send_signal(signal.SIGCONT)


def test_a_forked_child_that_lets_go_takes_nothing_from_its_parent(place: Path) -> None:
    session = new_id()
    grip = here().hold(session)
    child = os.fork()
    if child == 0:
        grip.let_go()
        os._exit(0 if here().held(session) is True else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert here().held(session) is True
    grip.let_go()


def test_looking_never_keeps_a_holder_out(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looks has the lock for a moment; who wants to hold waits that long."""
    monkeypatch.setattr(holds, "_GLANCE", 30)  # a busy machine may stop a process in such a moment
    session = new_id()
    with holder(session) as (process, _):
        process.kill()
    looking = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"from sojourn.project import here\nprint('looking', flush=True)\nwhile True: here().held({session!r})",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert looking.stdout is not None
        looking.stdout.readline()
        for _ in range(200):
            here().hold(session).let_go()
    finally:
        looking.kill()
        looking.communicate()


def test_of_many_processes_one_holds(place: Path) -> None:
    session = new_id()
    code = (
        "import sys\nfrom sojourn.project import here\nfrom sojourn.errors import LeaseHeldError\nsys.stdin.read(1)\n"
        f"try: here().hold({session!r}); print('yes', flush=True); sys.stdin.read()\n"
        "except LeaseHeldError: print('no', flush=True)"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    for process in running:
        assert process.stdin is not None
        process.stdin.write("g")
        process.stdin.flush()
    said = [process.stdout.readline().strip() for process in running if process.stdout is not None]
    for process in running:
        process.communicate()
    assert sorted(said) == ["no"] * 5 + ["yes"]


def test_a_holder_inside_the_project_and_one_outside_meet(
    project: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    session = new_id()
    for first, second in ((project, outside), (outside, project)):
        monkeypatch.chdir(first)
        grip = here().hold(session)
        monkeypatch.chdir(second)
        assert here().held(session) is True
        with pytest.raises(LeaseHeldError):
            here().hold(session)
        grip.let_go()
        assert here().held(session) is None


def test_a_project_needs_no_place_of_the_user(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(holds, "user_data_directory", lambda: str(tmp_path / "file"))
    session = new_id()
    grip = here().hold(session)
    assert here().held(session) is True
    grip.let_go()


def test_a_name_that_is_no_id_is_refused_before_a_file_is_made(place: Path) -> None:
    for name in ("", "../../x", "a/b", "x" * 26, "\0"):
        with pytest.raises(InvalidValueError):
            here().hold(name)
    assert not list(place.rglob("held"))


def test_a_host_is_another_one_after_a_restart(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = here().host()
    assert before == here().host()
    monkeypatch.setattr(holds, "_boot", lambda: "another start")
    assert here().host() != before
