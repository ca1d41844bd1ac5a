"""Real processes in a real project: twenty that start at once, and holders that are killed, stopped and woken up."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final

import pytest

import sojourn
from sojourn import LeaseHeldError, LeaseLostError, WorkspacePolicy
from sojourn.project import caller, identity

pytestmark = pytest.mark.slow

PROCESSES: Final = 20
PATIENCE: Final = 60.0

START: Final = """
import sys
import sojourn
store = sojourn.open()
print("ready", flush=True)
sys.stdin.readline()
made = store.workspaces.start("implementer", *sys.argv[1:])
found = store.workspaces.resolve()
print(made.id, found.workspace.id, found.source, made.pointer, flush=True)
"""

HOLD: Final = """
import json, os, signal, subprocess, sys
from datetime import timedelta
import sojourn
id, every, child = sys.argv[1], float(sys.argv[2]), sys.argv[3]
policy = sojourn.WorkspacePolicy(heartbeat_every=timedelta(seconds=every))
store = sojourn.open(workspaces=policy)
with store.workspaces.hold(id) as held:
    children = []
    if child == "fork":
        read, write = os.pipe()
        children.append(os.fork())
        if not children[0]:
            os.write(write, b".")
            while True:
                signal.pause()
        os.read(read, 1)
    elif child == "start":
        children.append(subprocess.Popen(["sleep", "60"], close_fds=False).pid)
    lease = held.lease
    print(json.dumps([lease.fence, children]), flush=True)
    for line in sys.stdin:
        if line == "end\\n":
            break
        try:
            store.workspaces.update(id, {"by": lease.fence}, lease=lease)
            print("stored", flush=True)
        except sojourn.SojournError as error:
            print(error.code, flush=True)
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory is a project's, and the caller an agent."""
    root = tmp_path / "project"
    root.mkdir()
    for name in [name for name in os.environ if name.startswith("SOJOURN_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SOJOURN_AGENT", "the test")
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    identity.make(str(root))
    monkeypatch.chdir(root)
    return root


def process(script: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """A Python process in the working directory."""
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )


def heard(running: subprocess.Popen[str]) -> str:
    """The next line of a process."""
    assert running.stdout is not None
    return running.stdout.readline().strip()


def told(running: subprocess.Popen[str], line: str) -> None:
    """Give a process a line."""
    assert running.stdin is not None
    running.stdin.write(line + "\n")
    running.stdin.flush()


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another process does."""
    began = monotonic()
    while not condition():
        assert monotonic() - began < PATIENCE, "it never came about"
        sleep(0.005)


@pytest.mark.parametrize(("count", "name"), [(PROCESSES, ()), (6, ("lead",))], ids=["generated names", "one name"])
def test_many_that_start_at_once(project: Path, count: int, name: tuple[str, ...]) -> None:
    running = [process(START, *name, SOJOURN_AGENT=f"agent {number}") for number in range(count)]
    assert [heard(one) for one in running] == ["ready"] * count
    for one in running:
        told(one, "go")
    lines = [one.communicate(timeout=PATIENCE)[0].split() for one in running]
    started = [line for line in lines if line]
    assert len(started) == (1 if name else count)
    for made, found, source, pointer in started:
        assert (made, source, pointer) == (found, "agent", "agent")
    with sojourn.open() as store:
        rows = store.workspaces.list(limit=100).items
        assert {row.id for row in rows} == {line[0] for line in started}
        assert len({row.name for row in rows}) == len(rows)


def test_of_many_without_a_key_one_has_the_projects_pointer(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOJOURN_AGENT")
    script = START.replace("found = store.workspaces.resolve()", "found = store.workspaces.resolve(made.id)")
    running = [subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
        env={name: value for name, value in os.environ.items() if not _is_key(name)},
    ) for _ in range(4)]  # fmt: skip
    assert [heard(one) for one in running] == ["ready"] * 4
    for one in running:
        told(one, "go")
    lines = [one.communicate(timeout=PATIENCE)[0].split() for one in running]
    assert sorted(line[3] for line in lines) == ["None"] * 3 + ["project"]
    pointed = next(line[0] for line in lines if line[3] == "project")
    assert (project / ".sojourn" / "session").read_text() == pointed


def _is_key(name: str) -> bool:
    """Whether a variable may name an agent or a terminal."""
    return name in caller.AGENT_VARIABLES or name.startswith(("SOJOURN_AGENT", "TMUX", "ZELLIJ", "STY", "WINDOW"))


# -- holders -----------------------------------------------------------------------------------------------------------


@contextmanager
def holder(id: str, *, every: float = 30, child: str = "none") -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process that holds a session, and its fencing number."""
    running = process(HOLD, id, str(every), child)
    fence, children = json.loads(heard(running))
    try:
        yield running, fence
    finally:
        for number in (running.pid, *children):
            try:
                os.kill(number, signal.SIGKILL)
            except ProcessLookupError:
                pass
        running.communicate()


@pytest.mark.parametrize("child", ["none", "fork", "start"])
def test_a_killed_holder_is_seen_as_lost_at_the_next_look_and_its_claims_are_free(project: Path, child: str) -> None:
    with sojourn.open() as store:
        kind = store.workspaces
        one, two = kind.start("implementer", "one"), kind.start("implementer", "two")
        with holder(one.id, child=child) as (running, _):
            kind.claim(one.id, "src/")
            with pytest.raises(LeaseHeldError):
                kind.claim(two.id, "src/a.py")
            assert state(kind, one.id) == "active"
            running.kill()
            running.wait(PATIENCE)
            assert state(kind, one.id) == "lost"
            assert kind.claim(two.id, "src/a.py").fence == 2
            assert kind.count_active() == {"implementer": 1}
            assert kind.heartbeat(one.id).state == "active"


def test_a_session_whose_command_has_ended_is_not_lost(project: Path) -> None:
    running = process(START)
    heard(running)
    made = running.communicate("go\n", timeout=PATIENCE)[0].split()[0]
    with sojourn.open() as store:
        assert state(store.workspaces, made) == "active"
        with holder(made) as (running, _):
            told(running, "end")
            running.wait(PATIENCE)
        assert state(store.workspaces, made) == "active"


def test_a_stopped_holder_cannot_commit_with_its_old_number(project: Path) -> None:
    with sojourn.open(workspaces=WorkspacePolicy(heartbeat_every=timedelta(seconds=1))) as store:
        kind = store.workspaces
        made = kind.start("implementer", "one")
        with holder(made.id, every=1) as (running, fence):
            told(running, "try")
            assert heard(running) == "stored"
            os.kill(running.pid, signal.SIGSTOP)
            until(lambda: state(kind, made.id) == "lost")
            other = kind.start("implementer", "two")
            kind.claim(other.id, "src")
            before = shown(kind, made.id)
            os.kill(running.pid, signal.SIGCONT)
            told(running, "try")
            assert heard(running) == LeaseLostError.code
            assert shown(kind, made.id).metadata == before.metadata == {"by": fence}
            until(lambda: shown(kind, made.id).held)  # and it comes back by its next heartbeat, under another number


def shown(kind: Any, id: str) -> sojourn.Workspace:
    found: sojourn.Workspace | None = kind.get(id)
    assert found is not None
    return found


def state(kind: Any, id: str) -> str:
    return shown(kind, id).state
