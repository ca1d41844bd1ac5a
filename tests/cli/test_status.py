"""``sojourn status``: short and long way say the same, and neither changes anything."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from sojourn.cli import exits, prompt, status
from sojourn.engines.sqlite import glance, schema
from sojourn.testing.clocks import ManualClock
from tests.cli.conftest import Result, User

HEAVY = {"asyncio", "msgspec", "argparse", "dataclasses", "inspect", "pathlib", "threading", "socket", "rich", "subprocess"}


@pytest.fixture
def at_work(user: User) -> User:
    user.fine("init")
    user.fine("workspace", "start", "--role", "implementer", "--name", "scout", "--metadata", '{"ticket":7}')
    return user


def long_way(user: User, *words: object, monkeypatch: pytest.MonkeyPatch) -> Result:
    with monkeypatch.context() as patch:
        patch.setattr(status, "answer_quickly", lambda words: None)
        return user("status", *words)


def both(user: User, *words: object, monkeypatch: pytest.MonkeyPatch) -> tuple[Result, Result]:
    """The answers of the two ways."""
    return user("status", *words), long_way(user, *words, monkeypatch=monkeypatch)


def bytes_of(directory: Path) -> dict[str, str]:
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in directory.rglob("*")
        if path.is_file()
    }


def case_agent(user: User, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("SOJOURN_AGENT", "one")
    user.fine("workspace", "start", "--role", "architect", "--name", "plan", "--actor", "alice")


def case_environment(user: User, patch: pytest.MonkeyPatch) -> None:
    made = user.fine("workspace", "start", "--role", "architect", "--pointer", "none", "-q").out.strip()
    patch.setenv("SOJOURN_SESSION", made)


def case_ended(user: User, patch: pytest.MonkeyPatch) -> None:
    user.fine("workspace", "end", "--reason", "merged \x1b[31m")


def case_expired(user: User, patch: pytest.MonkeyPatch) -> None:
    user.fine("workspace", "expire", "scout")


def case_stale(user: User, patch: pytest.MonkeyPatch) -> None:
    clock = ManualClock(datetime.fromisoformat("2020-01-01T00:00:00+00:00"))
    with user.store(clock=clock) as store:
        store.workspaces.start("monitor", "old", pointer="project", replace=True)


def case_plain(user: User, patch: pytest.MonkeyPatch) -> None:
    pass


def case_system(user: User, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("SOJOURN_SESSION", user.fine("workspace", "start", "--role", "monitor", "--system", "-q").out.strip())


CASES = [case_agent, case_environment, case_ended, case_expired, case_stale, case_plain, case_system]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("words", [(), ("--json",), ("-q",), ("--jsonl",)])
def test_the_short_way_says_what_the_long_one_says(
    at_work: User, monkeypatch: pytest.MonkeyPatch, case: Any, words: tuple[str, ...]
) -> None:
    case(at_work, monkeypatch)
    short, long = both(at_work, *words, monkeypatch=monkeypatch)
    assert short == long
    assert short.out


@pytest.mark.parametrize("case", CASES)
def test_these_cases_are_answered_the_short_way(at_work: User, monkeypatch: pytest.MonkeyPatch, case: Any) -> None:
    case(at_work, monkeypatch)
    assert status.quick_look() is not None


def test_a_held_and_a_lost_session_are_told_apart(at_work: User, monkeypatch: pytest.MonkeyPatch) -> None:
    identifier = at_work.fine("status", "-q").out.strip()
    code = (
        "import sys, sojourn\nwith sojourn.open() as s, s.workspaces.hold(sys.argv[1]):\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, identifier], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=at_work.project
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    short, long = both(at_work, "--json", monkeypatch=monkeypatch)
    assert short == long
    assert (short.data["state"], short.data["held"]) == ("active", True)
    holder.kill()
    holder.communicate()
    short, long = both(at_work, "--json", monkeypatch=monkeypatch)
    assert short == long
    assert (short.code, short.data["state"], short.data["held"]) == (0, "lost", False)
    assert "lost" in at_work.fine("status").out


def test_nobody_is_answered_with_3_and_a_next_step(user: User) -> None:
    result = user("status")
    assert result.code == 3
    assert "sojourn init" in result.err
    user.fine("init")
    for words in ([], ["--json"]):
        result = user("status", *words)
        assert result.code == 3
        assert "workspace start --role" in result.err
    user.append()
    assert user("status", "--json").error["code"] == "workspace.none"


def test_outside_of_a_project_it_is_said(user: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert user("status", "--json").error["code"] == "project.none"


def test_who_is_over_is_shown_and_answered_with_5(at_work: User) -> None:
    at_work.fine("workspace", "end", "--reason", "merged")
    result = at_work("status")
    assert result.code == 5
    assert "ended" in result.out
    assert "merged" in result.out


def test_a_pointer_to_nothing_is_said_with_how_to_go_on(at_work: User) -> None:
    (at_work.project / ".sojourn" / "session").write_text("0" * 26)
    result = at_work("status", "--json")
    assert (result.code, result.error["code"]) == (3, "pointer.orphan")
    assert str(at_work.project) in result.error["message"]
    assert "workspace use" in result.error["hint"]


@pytest.mark.parametrize("reference", ["nobody-of-that-name", "ZZZZ", "0" * 26, "a\nb"])
@pytest.mark.parametrize("how", ["option", "environment"])
def test_an_explicit_reference_that_fails_never_falls_through(
    at_work: User, monkeypatch: pytest.MonkeyPatch, reference: str, how: str
) -> None:
    words = ["--session", reference] if how == "option" else []
    if how == "environment":
        monkeypatch.setenv("SOJOURN_SESSION", reference)
    result = at_work("status", *words)
    assert (result.code, result.out) == (3, "")


def test_an_ambiguous_reference_is_answered_with_6_and_its_candidates(at_work: User) -> None:
    at_work.fine("workspace", "start", "--role", "architect", "--name", "scout-two", "--pointer", "none")
    at_work.fine("workspace", "end", "scout")
    at_work.fine("workspace", "start", "--role", "architect", "--name", "scout-three", "--pointer", "none")
    result = at_work("status", "--session", "scout-t")
    assert result.code == 6
    assert "scout-two" in result.err
    assert "scout-three" in result.err


@pytest.mark.parametrize("words", [[], ["--json"], ["-q"]])
def test_it_needs_no_loop_no_parser_and_no_kind(at_work: User, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import io, json, sys\nfrom contextlib import redirect_stdout\nbefore = set(sys.modules)\n"
        "from sojourn.cli import main\nwith redirect_stdout(io.StringIO()) as out: code = main(sys.argv[1:])\n"
        "print(json.dumps([code, out.getvalue(), sorted(set(sys.modules) - before)]))"
    )
    for command in (["status", *words], ["workspace", "status", *words], ["st", *words]):
        ran = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, check=True)
        answered, out, names = json.loads(ran.stdout)
        assert answered == 0
        assert out
        assert not set(names) & HEAVY
        ours = {name for name in names if name.startswith("sojourn.")}
        allowed = ("sojourn.cli", "sojourn.core", "sojourn.engines", "sojourn.errors", "sojourn.kinds", "sojourn.project")
        assert all(name.startswith(allowed) for name in ours)
        assert not [name for name in ours if name.startswith("sojourn.kinds.") and name not in STANDING]
        assert not [name for name in ours if name.startswith("sojourn.engines.") and name not in GLANCING]


STANDING = {"sojourn.kinds.workspaces", "sojourn.kinds.workspaces.standing"}
GLANCING = {"sojourn.engines.sqlite", "sojourn.engines.sqlite.glance", "sojourn.engines.sqlite.faults"}


@pytest.mark.parametrize("words", [["status"], ["status", "--json"], ["prompt", "--label"], ["prompt", "--files"]])
@pytest.mark.parametrize("open_elsewhere", [False, True])
def test_it_changes_no_byte_and_makes_no_file(at_work: User, words: list[str], open_elsewhere: bool) -> None:
    if not open_elsewhere:
        before = bytes_of(at_work.project)
        at_work.fine(*words)
        assert bytes_of(at_work.project) == before
        return
    with at_work.store() as store:
        store.conversations.create("alice")
        before = bytes_of(at_work.project)
        assert any(name.endswith("-wal") for name in before)
        at_work.fine(*words)
        after = bytes_of(at_work.project)
        assert {name for name, _ in after.items()} == set(before)
        assert {name: found for name, found in after.items() if not name.endswith("-shm")} == {
            name: found for name, found in before.items() if not name.endswith("-shm")
        }


def test_what_is_only_in_the_log_of_a_killed_program_is_seen(at_work: User, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import os, sojourn\nstore = sojourn.open()\n"
        "store.workspaces.start('architect', 'logged', pointer='project', replace=True)\nos._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=at_work.project)
    short, long = both(at_work, "--json", monkeypatch=monkeypatch)
    assert short.data["name"] == "logged"
    assert short == long


def test_a_store_of_another_schema_is_left_to_the_engine(at_work: User) -> None:
    import sqlite3

    connection = sqlite3.connect(at_work.path)
    with connection:
        connection.execute("update sojourn_meta set value = '99'")
    connection.close()
    assert status.quick_look() is None
    assert at_work("status").code == 78


def test_the_short_way_knows_the_schema_and_the_exit_code() -> None:
    assert str(schema.VERSION) == glance.KNOWN
    assert status._OVER_CODE == exits.OVER


def test_a_store_that_is_no_file_is_asked_the_long_way(at_work: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOJOURN_URL", "memory:")
    assert status.quick_look() is None
    assert at_work("status", "--json").error["code"] == "pointer.orphan"
    monkeypatch.setenv("SOJOURN_URL", f"sqlite:///{at_work.path}")
    assert status.quick_look() is not None
    assert at_work.fine("status", "--store", at_work.path).out


def test_a_database_of_another_program_is_no_harm(user: User) -> None:
    import sqlite3

    user.fine("init")
    connection = sqlite3.connect(user.path)
    connection.execute("create table theirs (a)")
    connection.commit()
    connection.close()
    (user.project / ".sojourn" / "session").write_text("0" * 26)
    assert user("status").code == 78
    user.path.write_bytes(b"\0\xff" * 4096)
    assert user("status").code in (1, 78)


def test_a_linked_worktree_is_somebody_else(at_work: User, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    alone = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "x"], ["worktree", "add", "-q", "../other"]):
        subprocess.run([*git, *words], cwd=at_work.project, check=True, capture_output=True, env=alone)
    monkeypatch.chdir(at_work.project.parent / "other")
    assert at_work("status").code == 3
    at_work.fine("workspace", "start", "--role", "architect", "--name", "elsewhere")
    assert at_work.fine("status", "--json").data["name"] == "elsewhere"
    assert {row["name"] for row in at_work.fine("workspace", "list", "--json").data} == {"scout", "elsewhere"}
    monkeypatch.chdir(at_work.project)
    assert at_work.fine("status", "--json").data["name"] == "scout"


# -- the prompt --------------------------------------------------------------------------------------------------------


def test_the_label_has_role_and_name_and_says_what_is_not_right(at_work: User) -> None:
    assert at_work.fine("prompt", "--label").out == "implementer:scout\n"
    at_work.fine("workspace", "end")
    assert at_work.fine("prompt", "--label").out == "implementer:scout (ended)\n"


def test_without_a_project_the_prompt_is_silent(user: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert user.fine("prompt", "--label").out == ""
    assert user.fine("prompt", "--files").out == ""


@pytest.mark.parametrize("words", [["--files"], ["--label"]])
def test_what_the_code_asks_is_the_same_with_options(at_work: User, words: list[str]) -> None:
    short = at_work.fine("prompt", *words).out
    assert at_work.fine("prompt", *words, "--no-color").out == short


def test_a_shell_must_be_named(user: User) -> None:
    assert user("prompt").code == 2
    assert user("prompt", "tcsh").code == 2
    assert user("prompt", "bash", "--label").code == 2
    for shell in prompt.SHELLS:
        assert "sojourn prompt --label" in user.fine("prompt", shell).out


def test_bash_shows_who_one_is_and_starts_nothing_while_nothing_changes(at_work: User, tmp_path: Path) -> None:
    """A real bash. The command is a script of ours that counts how often it is asked."""
    commands = tmp_path / "bin"
    commands.mkdir()
    counter = commands / "count"
    (commands / "sojourn").write_text(
        f'#!/bin/sh\necho x >> {counter}\nexec {sys.executable} -m sojourn "$@"\n', encoding="utf-8"
    )
    (commands / "sojourn").chmod(0o755)
    agent = "env SOJOURN_AGENT=shell"
    script = f"""
export PATH={commands}:$PATH SOJOURN_AGENT=shell
PS1='$ '
eval "$({sys.executable} -m sojourn prompt bash)"
eval "$({sys.executable} -m sojourn prompt bash)"
ask() {{
  false
  eval "$PROMPT_COMMAND"
  [ $? = 1 ] || echo "the exit code is gone"
  printf '%s|%s\\n' "${{PS1@P}}" "$(wc -l < {counter})"
}}
ask; ask; ask
{agent} {sys.executable} -m sojourn workspace start --role architect --name plan > /dev/null
ask; ask
cd /; ask; ask
cd - > /dev/null; ask
printf '%s' '$(touch {tmp_path}/ran)' > .sojourn/pointers/*[0-9a-f]
ask
export SOJOURN_SESSION=scout; ask; ask
"""
    ran = subprocess.run(["bash", "--norc", "-c", script], capture_output=True, text=True, cwd=at_work.project, check=True)
    assert ran.stderr == ""
    shown = [line.split("|") for line in ran.stdout.splitlines()]
    prompts = [left for left, _ in shown]
    counts = [int(right) for _, right in shown]
    mine, plan = "[implementer:scout] $ ", "[architect:plan] $ "
    assert prompts == [mine, mine, mine, plan, plan, "$ ", "$ ", plan, "$ ", mine, mine]
    steps = [later - earlier for earlier, later in pairwise(counts)]
    assert steps[:2] == [0, 0]
    assert steps[3] == 0
    assert steps[5] == 0
    assert steps[-1] == 0
    assert not (tmp_path / "ran").exists(), "nothing in a pointer is executed"
