"""Pointers: whose they are, never torn, and what was there before."""

from __future__ import annotations

import multiprocessing
import os
import shlex
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sojourn.core.ids import is_id, new_id
from sojourn.errors import PointerError
from sojourn.project import caller, files, here, locks


def as_agent(name: str | None, monkeypatch: pytest.MonkeyPatch, variable: str = "SOJOURN_AGENT") -> None:
    if name is None:
        monkeypatch.delenv(variable, raising=False)
    else:
        monkeypatch.setenv(variable, name)


# -- whose -------------------------------------------------------------------------------------------------------------


def test_a_shell_without_agent_and_terminal_has_no_pointer_of_its_own(project: Path) -> None:
    places = here()
    assert places.keyed_by() is None
    assert places.read("terminal") is None
    with pytest.raises(PointerError, match="SOJOURN_AGENT"):
        places.write("terminal", "A")


def test_each_agent_has_its_own(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = here()
    for name in ("one", "two"):
        as_agent(name, monkeypatch)
        assert places.keyed_by() == "agent"
        places.write("terminal", f"SESSION-{name}")
    for name in ("one", "two"):
        as_agent(name, monkeypatch)
        assert places.read("terminal") == f"SESSION-{name}"
    as_agent("  ", monkeypatch)
    assert places.keyed_by() is None


def test_the_first_of_the_order_decides(nobody: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def key() -> str:
        found = caller.caller()
        assert found is not None
        return f"{found.kind} {found.key}"

    monkeypatch.setattr(caller, "_controlling", lambda: ("34816", "100 5"))
    terminal = key()
    monkeypatch.setenv("TMUX", "/tmp/tmux-0/default,77,0")
    monkeypatch.setenv("TMUX_PANE", "%3")
    pane = key()
    monkeypatch.setenv("CLAUDE_CODE_SESSION_ID", "abc")
    tool = key()
    monkeypatch.setenv("SOJOURN_AGENT", "abc")
    agent = key()
    assert len({terminal, pane, tool, agent}) == 4
    assert [found.split()[0] for found in (terminal, pane, tool, agent)] == ["terminal", "terminal", "agent", "agent"]


def test_a_pane_is_the_same_when_it_changes_sessions_and_another_on_another_server(
    nobody: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def key(place: str, pane: str) -> str:
        monkeypatch.setenv("TMUX", place)
        monkeypatch.setenv("TMUX_PANE", pane)
        found = caller.caller()
        assert found is not None
        return found.key

    assert key("/tmp/tmux-0/default,77,0", "%3") == key("/tmp/tmux-0/default,77,4", "%3")
    assert key("/tmp/tmux-0/default,77,0", "%3") != key("/tmp/tmux-0/default,78,0", "%3")
    assert key("/tmp/tmux-0/default,77,0", "%3") != key("/tmp/tmux-0/default,77,0", "%4")


def test_an_agent_inside_another_agent_is_somebody_else(nobody: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has inherited the outer one's variable, whichever of the two comes first in our list."""
    keys = set()
    monkeypatch.setenv("CLAUDE_CODE_SESSION_ID", "outer")
    keys.add(getattr(caller.caller(), "key", None))
    monkeypatch.setenv("CODEX_THREAD_ID", "inner")
    keys.add(getattr(caller.caller(), "key", None))
    monkeypatch.delenv("CLAUDE_CODE_SESSION_ID")
    keys.add(getattr(caller.caller(), "key", None))
    assert len(keys) == 3


def test_a_terminal_device_that_is_used_again_is_another_terminal(nobody: None, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = set()
    for leader in ("100 5", "100 6", "101 6"):
        monkeypatch.setattr(caller, "_controlling", lambda leader=leader: ("34816", leader))
        keys.add(getattr(caller.caller(), "key", None))
    assert len(keys) == 3


@pytest.mark.skipif(sys.platform != "linux", reason="asks script(1) of util-linux for a real terminal")
def test_real_terminals_differ_and_programs_in_one_agree(project: Path) -> None:
    code = "from sojourn.project.caller import caller; print(caller().kind, caller().key)"
    ask = f'{sys.executable} -c "{code}"'
    both = f"{ask}; {ask} < /dev/null 2>&1 | cat; sh -c {shlex.quote(ask)}"
    seen = []
    for _ in range(2):
        ran = subprocess.run(["script", "-qec", both, "/dev/null"], capture_output=True, text=True, stdin=subprocess.DEVNULL)
        keys = [line.split() for line in ran.stdout.splitlines()]
        assert len(keys) == 3, ran.stdout
        assert {kind for kind, _ in keys} == {"terminal"}
        assert len({key for _, key in keys}) == 1
        seen.append(keys[0][1])
    assert seen[0] != seen[1]


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=300))
def test_any_name_of_an_agent_is_a_safe_file_name(project: Path, name: str) -> None:
    if not name.strip():
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOJOURN_AGENT", name)
        here().write("terminal", "A")
        assert here().read("terminal") == "A"
        path = Path(here().where("terminal"))
    assert path.parent == project / ".sojourn" / "pointers"
    assert len(path.name) == 32
    assert path.name.isalnum()


# -- content -----------------------------------------------------------------------------------------------------------


def test_a_pointer_is_a_bare_id_that_only_its_user_can_read(project: Path) -> None:
    identifier = new_id()
    here().write("project", identifier)
    path = project / ".sojourn" / "session"
    assert path.read_bytes() == identifier.encode()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert here().where("project") == str(path)


@pytest.mark.parametrize("content", [b"", b"\n", b" \t\r\n"])
def test_a_blank_pointer_is_none(project: Path, content: bytes) -> None:
    (project / ".sojourn" / "session").write_bytes(content)
    assert here().read("project") is None


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a\0b", b"x" * 100_000, "é".encode()])
def test_anything_in_a_pointer_can_be_read_and_shown(project: Path, content: bytes) -> None:
    (project / ".sojourn" / "session").write_bytes(content)
    found = here().read("project")
    assert found is not None
    found.encode()
    assert len(found) <= 4 * files.LIMIT


def test_links_pipes_and_directories_in_its_place_are_refused_and_not_waited_for(project: Path) -> None:
    path = project / ".sojourn" / "session"
    path.symlink_to("/etc/passwd")
    with pytest.raises(PointerError, match="symbolic link"):
        here().read("project")
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(PointerError, match="no file"):
        here().read("project")
    path.unlink()
    path.mkdir()
    with pytest.raises(PointerError, match="no file"):
        here().read("project")
    with pytest.raises(PointerError):
        here().write("project", "A")


def test_the_one_before_is_kept(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = here()
    assert places.previous() is None
    for identifier in ("A", "B", "B"):
        places.write("project", identifier)
    assert places.previous() == "A", "pointing at the same one again is no change"
    monkeypatch.setenv("SOJOURN_AGENT", "one")
    assert places.previous() == "A", "this agent has no pointer of its own yet"
    places.write("terminal", "C")
    assert places.previous() is None
    places.write("terminal", "D")
    assert places.previous() == "C"
    monkeypatch.delenv("SOJOURN_AGENT")
    assert places.previous() == "A"


def test_a_swap_is_done_only_from_what_was_seen(project: Path) -> None:
    places = here()
    assert places.swap("project", None, "A")
    assert not places.swap("project", None, "B")
    assert not places.swap("project", "X", "B")
    assert places.read("project") == "A"
    assert places.swap("project", "A", "B")
    assert (places.read("project"), places.previous()) == ("B", "A")
    places.clear("project")
    places.clear("project")
    assert places.swap("project", None, "C")


def test_of_many_that_swap_at_once_one_wins(project: Path) -> None:
    won: list[int] = []
    together = threading.Barrier(16)

    def swap(number: int) -> None:
        together.wait()
        if here().swap("project", None, f"S{number}"):
            won.append(number)

    threads = [threading.Thread(target=swap, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert here().read("project") == f"S{won[0]}"


def test_whoever_stops_in_the_middle_is_named_after_a_while(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "PATIENCE", 0.05)
    with (
        locks.Alone(str(project / ".sojourn" / "pointers.lock")),
        pytest.raises(PointerError, match=r"pointers\.lock locked for 0\.05 s"),
    ):
        here().write("project", "A")
    here().write("project", "A")


def _write(path: str, writes: int, seconds: float, counts: multiprocessing.Queue[int]) -> None:
    os.chdir(path)
    places, end, done = here(), time.monotonic() + seconds, 0
    while done < writes or time.monotonic() < end:
        places.write("project", new_id())
        done += 1
    counts.put(done)


def _rewriting(project: Path, writes: int, seconds: float, enough: int) -> tuple[int, int, int]:
    """Read with three processes while two rewrite, at least so often and so long.

    How many writes and reads there were, and how many reads were empty or torn.
    """
    here().write("project", new_id())
    spawn = multiprocessing.get_context("spawn")
    stop, counts, written = spawn.Event(), spawn.Queue(), spawn.Queue()
    readers = [spawn.Process(target=_read, args=(str(project), stop, counts, enough)) for _ in range(3)]
    writers = [spawn.Process(target=_write, args=(str(project), writes, seconds, written)) for _ in range(2)]
    for process in (*readers, *writers):
        process.start()
    for process in writers:
        process.join()
        assert process.exitcode == 0
    stop.set()
    found = [counts.get() for _ in readers]
    for process in readers:
        process.join()
    return sum(written.get() for _ in writers), sum(reads for reads, _ in found), sum(bad for _, bad in found)


def _read(path: str, stop: threading.Event, counts: multiprocessing.Queue[tuple[int, int]], enough: int) -> None:
    os.chdir(path)
    places, pointer = here(), os.path.join(path, ".sojourn", "session")
    reads = bad = 0
    while reads < enough or not stop.is_set():
        with open(pointer, encoding="ascii") as file:
            bad += not is_id(file.read())
        bad += not is_id(places.read("project"))
        reads += 2
    counts.put((reads, bad))


@pytest.mark.slow
def test_a_pointer_is_never_read_empty_or_torn(project: Path) -> None:
    writes, reads, bad = _rewriting(project, 150, 0, 2000)
    assert writes == 300
    assert reads >= 6000
    assert bad == 0


@pytest.mark.campaign
def test_a_pointer_is_never_read_empty_or_torn_for_long(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """3 s of rewriting by two processes; prints how many reads there were."""
    writes, reads, bad = _rewriting(project, 0, 3, 0)
    with capsys.disabled():
        sys.stdout.write(f"\n{reads} reads by 3 processes beside {writes} rewrites by 2: {bad} empty or torn\n")
    assert bad == 0
