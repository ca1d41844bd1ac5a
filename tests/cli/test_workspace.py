"""``sojourn workspace`` and ``sojourn init`` as they are typed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sojourn.project import here, identity
from tests.cli.conftest import User


@pytest.fixture
def team(user: User, monkeypatch: pytest.MonkeyPatch) -> User:
    """A project in which two agents are at work; we are the first."""
    user.fine("init")
    for name, role in (("two", "architect"), ("one", "implementer")):
        monkeypatch.setenv("SOJOURN_AGENT", name)
        user.fine("workspace", "start", "--role", role, "--name", name)
    return user


def names(user: User, *words: str) -> set[str]:
    return {row["name"] for row in user.fine("workspace", "list", *words, "--json").data}


# -- at work -----------------------------------------------------------------------------------------------------------


def test_each_agent_is_itself(team: User, monkeypatch: pytest.MonkeyPatch) -> None:
    assert team.fine("status", "--json").data["name"] == "one"
    monkeypatch.setenv("SOJOURN_AGENT", "two")
    assert team.fine("status", "--json").data["name"] == "two"
    assert names(team) == {"one", "two"}


def test_start_says_which_pointer_leads_to_it(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    user.fine("init")
    assert "The project's pointer leads to it" in user.fine("workspace", "start", "--role", "implementer").out
    result = user.fine("workspace", "start", "--role", "implementer")
    assert "SOJOURN_SESSION=" in result.err
    monkeypatch.setenv("SOJOURN_AGENT", "one")
    assert "This agent's pointer leads to it" in user.fine("workspace", "start", "--role", "implementer").out
    made = user.fine("workspace", "start", "--role", "implementer", "--pointer", "none", "--json").data
    assert made["pointer"] is None
    assert made["hint"].endswith(f"SOJOURN_SESSION={made['id']}")


def test_who_is_at_work_is_not_displaced_unasked(user: User) -> None:
    user.fine("init")
    user.fine("workspace", "start", "--role", "implementer", "--name", "first")
    result = user("workspace", "start", "--role", "implementer", "--pointer", "project")
    assert result.code == 7
    assert "first" in result.err
    assert "--replace" in result.err
    user.fine("workspace", "start", "--role", "implementer", "--name", "second", "--pointer", "project", "--replace")
    assert user.fine("status", "--json").data["name"] == "second"
    user.fine("workspace", "use", "-", "--replace")
    assert user.fine("status", "--json").data["name"] == "first"


def test_an_unknown_role_says_how_to_add_one(team: User) -> None:
    result = team("workspace", "start", "--role", "tester")
    assert result.code == 2
    assert "sojourn workspace role add" in result.err
    team.fine("workspace", "role", "add", "tester", "--base", "implementer")
    team.fine("workspace", "start", "--role", "tester", "--name", "three")
    roles = {row["name"]: row["base"] for row in team.fine("workspace", "roles", "--json").data}
    assert roles["tester"] == "implementer"
    assert team("workspace", "role", "rm", "tester").code == 7
    team.fine("workspace", "end", "three")
    assert "is gone" in team.fine("workspace", "role", "rm", "tester").out
    assert "was not there" in team.fine("workspace", "role", "rm", "tester").out
    assert team("workspace", "role", "rm", "monitor").code == 2


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("", "made"),
        ("a" * 33, "at most 32"),
        ("-a", "begin with a hyphen"),
        ("a-", "end with a hyphen"),
        ("a--b", "two hyphens"),
        ("A", "only a-z"),
        ("a\n", "only a-z"),
        ("é", "only a-z"),
    ],
)
def test_each_broken_rule_of_a_name_is_named(team: User, name: str, rule: str) -> None:
    result = team("workspace", "start", "--role", "implementer", f"--name={name}")
    if rule == "made":
        assert result.code == 0
    else:
        assert result.code == 2
        assert rule in result.err


def test_a_name_that_ended_can_be_taken_at_once(team: User) -> None:
    assert team("workspace", "start", "--role", "monitor", "--name", "two").code == 7
    team.fine("workspace", "end", "two")
    team.fine("workspace", "start", "--role", "monitor", "--name", "two")
    assert [row["state"] for row in team.fine("workspace", "list", "--all", "--json").data if row["name"] == "two"] == [
        "active",
        "ended",
    ]


def test_ending_twice_keeps_the_first_time(team: User) -> None:
    first = team.fine("workspace", "end", "two", "--reason", "merged", "--json").data
    again = team.fine("workspace", "end", first["id"], "--reason", "other", "--json").data
    assert again == first
    assert first["end_reason"] == "merged"
    assert "was ended already" in team.fine("workspace", "end", first["id"]).out


def test_the_pointer_stays_so_that_one_is_told_that_it_ended(team: User) -> None:
    team.fine("workspace", "end")
    for words in (["status"], ["workspace", "load"], ["workspace", "heartbeat"], ["workspace", "claim", "x"]):
        assert team(*words).code == 5, words
    assert "start --role implementer" in team("workspace", "load").err


def test_a_session_is_named_in_every_way(team: User) -> None:
    whole = team.fine("status", "-q").out.strip()
    for reference in (whole, whole.lower(), whole[-8:], whole[-4:], "one", "on"):
        assert team.fine("workspace", "show", reference, "-q").out.strip() == whole
        assert team.fine("status", "-q", "--session", reference).out.strip() == whole
    assert team("workspace", "show", "one", "--session", "two").code == 2
    team.fine("workspace", "rename", "first")
    assert names(team) == {"first", "two"}
    assert team.fine("workspace", "show", "one", "-q").out.strip() == whole, "its former name still leads to it"
    assert team("workspace", "rename", "two").code == 7


def test_use_is_somebody_else_until_one_goes_back(team: User) -> None:
    team.fine("workspace", "use", "two")
    assert team.fine("status", "--json").data["name"] == "two"
    team.fine("workspace", "use", "-")
    assert team.fine("status", "--json").data["name"] == "one"
    team.fine("workspace", "end", "two")
    assert team("workspace", "use", "two").code == 5
    assert team("workspace", "resume", "two").code == 5
    assert "goes on" in team.fine("workspace", "resume", "one").out


def test_expired_is_over_and_frees_the_name(team: User) -> None:
    assert "has expired" in team.fine("workspace", "expire", "two").out
    assert names(team) == {"one"}
    team.fine("workspace", "start", "--role", "monitor", "--name", "two", "--pointer", "none")
    assert team.fine("workspace", "expire-stale", "--json").data == {"expired": 0, "pointers": 0}


def test_pointers_that_nobody_comes_back_to_are_removed(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    user.fine("init")
    pointers = user.project / ".sojourn" / "pointers"
    long_ago = datetime.now(UTC) - timedelta(days=30)
    for name, clock in (("old", lambda: long_ago), ("new", None)):
        monkeypatch.setenv("SOJOURN_AGENT", name)
        with user.store(clock=clock) as store:
            store.workspaces.start("monitor", name)
    monkeypatch.setenv("SOJOURN_AGENT", "orphan")
    here().write("terminal", "0" * 26)
    here().write("terminal", "1" * 26)
    monkeypatch.setenv("SOJOURN_AGENT", "fresh-orphan")
    here().write("terminal", "0" * 26)
    fresh = here().where("terminal")
    for path in pointers.iterdir():
        if str(path) != fresh:
            os.utime(path, (long_ago.timestamp(), long_ago.timestamp()))
    assert user.fine("workspace", "expire-stale", "--dry-run", "--json").data["pointers"] == 2
    assert len(list(pointers.iterdir())) == 5
    assert user.fine("workspace", "expire-stale", "--json").data == {"expired": 1, "pointers": 2}
    assert len(list(pointers.iterdir())) == 2
    assert user.fine("status", "--session", "new").out


def test_a_list_shows_who_is_at_work_for_people(team: User) -> None:
    lines = team.fine("workspace", "list").lines
    assert re.match(r"ID +NAME +ROLE +STATE +LAST ACTIVITY", lines[0])
    assert len(lines) == 3
    assert team.fine("workspace", "list", "--role", "architect", "--json").data[0]["name"] == "two"
    shown = team.fine("workspace", "show").out
    assert "one (implementer)" in shown


def test_a_system_session_has_no_pointer_and_is_not_counted(team: User) -> None:
    made = team.fine("workspace", "start", "--role", "monitor", "--system", "--json").data
    assert (made["system"], made["pointer"]) == (True, None)
    assert team.fine("status", "--json").data["name"] == "one"


# -- claims ------------------------------------------------------------------------------------------------------------


def test_a_claim_covers_what_is_below_and_is_typed_from_where_one_is(team: User, monkeypatch: pytest.MonkeyPatch) -> None:
    (team.project / "src" / "parser").mkdir(parents=True)
    monkeypatch.chdir(team.project / "src")
    assert team.fine("workspace", "claim", "parser/", "--json").data["resource"] == "src/parser"
    monkeypatch.setenv("SOJOURN_AGENT", "two")
    monkeypatch.chdir(team.project / "src" / "parser")
    result = team("workspace", "claim", "lexer.py")
    assert result.code == 7
    assert "one" in result.err
    result = team("workspace", "check", "lexer.py", "../other.py")
    assert (result.code, "src/parser is one's" in result.out) == (7, True)
    assert team("workspace", "check", "../other.py").code == 0
    assert [row["resource"] for row in team.fine("workspace", "claims", "lexer.py", "--json").data] == ["src/parser"]
    monkeypatch.setenv("SOJOURN_AGENT", "one")
    assert team("workspace", "check", "lexer.py").code == 0, "one's own"
    assert "is free" in team.fine("workspace", "release", ".").out
    assert "was not claimed" in team.fine("workspace", "release", ".").out
    monkeypatch.setenv("SOJOURN_AGENT", "two")
    team.fine("workspace", "claim", "lexer.py", "--ttl", "1h")


def test_a_path_outside_of_the_project_is_refused_and_a_name_may_be_anything(team: User) -> None:
    for path in ("..", "/etc/passwd", "../other"):
        result = team("workspace", "claim", path)
        assert (result.code, "outside" in result.err) == (2, True)
    assert (
        team.fine("workspace", "claim", "deploy to production", "--as-is", "--json").data["resource"] == "deploy to production"
    )
    assert team("workspace", "claim", "../x", "--as-is").code == 2
    inside = team.project / "link"
    inside.symlink_to("/etc")
    assert team.fine("workspace", "claim", "link", "--json").data["resource"] == "link", "the link itself is inside"
    assert team("workspace", "claim", "link/passwd").code == 2


def test_ending_frees_claims(team: User, monkeypatch: pytest.MonkeyPatch) -> None:
    team.fine("workspace", "claim", "src")
    assert "claims:" in team.fine("workspace", "show").out
    team.fine("workspace", "end")
    assert team.fine("workspace", "claims", "--json").data == []
    monkeypatch.setenv("SOJOURN_AGENT", "two")
    team.fine("workspace", "claim", "src/x.py")


def hook(tool: str, path: Path, session: str = "one-of-theirs") -> str:
    if tool == "claude":
        return json.dumps({"session_id": session, "tool_name": "Edit", "tool_input": {"file_path": str(path)}})
    patch = f"*** Begin Patch\n*** Update File: {path}\n@@\n-a\n+b\n*** End Patch\n"
    return json.dumps({"session_id": session, "turn_id": "1", "tool_name": "apply_patch", "tool_input": {"command": patch}})


@pytest.mark.parametrize("tool", ["claude", "codex"])
def test_a_coding_agent_is_told_who_holds_what_it_is_about_to_edit(
    team: User, monkeypatch: pytest.MonkeyPatch, tool: str
) -> None:
    team.fine("workspace", "claim", "src")
    monkeypatch.delenv("SOJOURN_AGENT")
    result = team("workspace", "check", "--hook", stdin=hook(tool, team.project / "src" / "a.py"))
    assert (result.code, result.out) == (2, "")
    assert "src is claimed by one" in result.err
    assert team("workspace", "check", "--hook", stdin=hook(tool, team.project / "docs" / "a.md")).code == 0
    assert team("workspace", "check", "--hook", stdin=hook(tool, Path("/etc/passwd"))).code == 0


def test_a_coding_agent_knows_itself_by_what_it_says_to_its_hook(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    user.fine("init")
    monkeypatch.setenv("CLAUDE_CODE_SESSION_ID", "theirs")
    user.fine("workspace", "start", "--role", "implementer", "--name", "claude")
    user.fine("workspace", "claim", "src")
    monkeypatch.delenv("CLAUDE_CODE_SESSION_ID")
    with monkeypatch.context() as patch:
        patch.setattr(os, "environ", dict(os.environ))
        assert user("workspace", "check", "--hook", stdin=hook("claude", user.project / "src" / "a", "theirs")).code == 0
    with monkeypatch.context() as patch:
        patch.setattr(os, "environ", dict(os.environ))
        assert user("workspace", "check", "--hook", stdin=hook("claude", user.project / "src" / "a", "another")).code == 2


@pytest.mark.parametrize("said", ["{}", "[]", '{"tool_input": 7}', '{"tool_input": {"file_path": "a\\u0000b"}}', "null"])
def test_a_hook_that_says_no_path_stops_nothing(team: User, said: str) -> None:
    assert team("workspace", "check", "--hook", stdin=said).code == 0


def test_a_hook_outside_of_a_project_stops_nothing(user: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert user("workspace", "check", "--hook", stdin=hook("claude", tmp_path / "a")).code == 0
    assert user("workspace", "check", "--hook", stdin="no json").code == 2
    assert user("workspace", "check").code == 2


# -- projects ----------------------------------------------------------------------------------------------------------


def test_init_is_repeated_without_harm_and_works_from_below(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    first = user.fine("init", "--json").data
    assert first["directory"] == str(user.project)
    below = user.project / "a" / "b"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert user.fine("init", "--json").data["project_id"] == first["project_id"]
    assert not (below / ".sojourn").exists()
    nested = user.fine("init", ".", "--json").data
    assert nested["directory"] == str(below)
    assert nested["project_id"] != first["project_id"]
    assert user("init", "--id", "other").code == 2
    assert user("init", "nowhere").code == 2


def test_init_goes_to_the_top_of_a_repository(user: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "repository" / "deep"
    place.mkdir(parents=True)
    subprocess.run(["git", "init", "-q", str(place.parent)], check=True, env={**os.environ, "GIT_CONFIG_GLOBAL": os.devnull})
    monkeypatch.chdir(place)
    assert user.fine("init", "--json").data["directory"] == str(place.parent)
    status = subprocess.run(["git", "status", "--porcelain"], cwd=place, capture_output=True, text=True, check=True)
    assert status.stdout == "", "nothing of it is for git"


def test_a_copy_is_noticed_and_told_what_it_may_be(team: User, monkeypatch: pytest.MonkeyPatch) -> None:
    copy, other = team.project.parent / "copy", team.project.parent / "other"
    shutil.copytree(team.project, copy)
    shutil.copytree(team.project, other)
    monkeypatch.chdir(copy)
    for words in (["status"], ["workspace", "list"], ["workspace", "start", "--role", "monitor"], ["init"]):
        result = team(*words)
        assert result.code == 78, words
        assert "sojourn init --renew" in result.err
        assert "sojourn init --keep" in result.err
    assert team("init", "--renew", "--keep").code == 2
    team.fine("init", "--renew")
    assert team("status").code == 3
    assert names(team, "--all") == set()
    monkeypatch.chdir(other)
    team.fine("init", "--keep")
    assert team.fine("status", "--json").data["name"] == "one"
    monkeypatch.chdir(team.project)
    assert team.fine("status", "--json").data["name"] == "one"


def test_a_copy_of_a_project_that_was_moved_is_noticed(team: User, monkeypatch: pytest.MonkeyPatch) -> None:
    moved, copy = team.project.parent / "moved", team.project.parent / "copy"
    monkeypatch.chdir(team.project.parent)
    team.project.rename(moved)
    monkeypatch.chdir(moved)
    team.fine("workspace", "heartbeat")
    shutil.copytree(moved, copy)
    assert team.fine("status", "--json").data["name"] == "one"
    monkeypatch.chdir(copy)
    assert team("status").code == 78


def test_a_project_that_is_no_copy_is_renewed_only_with_a_yes(team: User) -> None:
    before = identity.id_of(identity.make(str(team.project)))
    assert team("init", "--renew").code == 2
    assert identity.id_of(identity.make(str(team.project))) == before
    team.fine("init", "--renew", "--yes", "--id", "new-one")
    assert identity.id_of(identity.make(str(team.project))) == "new-one"


def test_an_unsafe_root_is_refused_with_77_and_may_be_trusted(team: User, monkeypatch: pytest.MonkeyPatch) -> None:
    team.project.chmod(0o777)
    for words in (["status"], ["workspace", "list"], ["conversation", "list"], ["init"]):
        result = team(*words)
        assert result.code == 77, words
        assert "--trust-root" in result.err
    monkeypatch.setenv("SOJOURN_TRUST_ROOT", "")
    for words in (["status", "--trust-root"], ["--trust-root", "workspace", "list"]):
        team.fine(*words)
        monkeypatch.setenv("SOJOURN_TRUST_ROOT", "")


def test_outside_of_a_project_nothing_is_made(user: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    for words in (["start", "--role", "monitor"], ["list"], ["end"], ["claims"], ["roles"], ["run", "a", "true"], ["load"]):
        result = user("workspace", *words)
        assert result.code == 3, words
        assert "sojourn init" in result.err
    assert not list(empty.iterdir())
    assert not list((tmp_path / "home").rglob("*.db"))


@pytest.mark.parametrize("tool", ["claude", "codex"])
def test_hooks_are_added_once_beside_what_is_there(user: User, tool: str) -> None:
    path = user.project / {"claude": ".claude/settings.local.json", "codex": ".codex/hooks.json"}[tool]
    path.parent.mkdir()
    mine = {"permissions": {"allow": ["Bash(ls)"]}, "hooks": {"PreToolUse": [{"matcher": "Bash", "hooks": []}], "Stop": []}}
    path.write_text(json.dumps(mine))
    path.chmod(0o640)
    user.fine("init", "--hooks", tool)
    made = json.loads(path.read_text())
    assert made["permissions"] == mine["permissions"]
    assert made["hooks"]["Stop"] == []
    first, second = made["hooks"]["PreToolUse"]
    assert first == {"matcher": "Bash", "hooks": []}
    assert second["hooks"][0]["command"] == "sojourn workspace check --hook"
    assert path.stat().st_mode & 0o777 == 0o640
    assert "already" in user.fine("init", "--hooks", tool).out
    assert json.loads(path.read_text()) == made


@pytest.mark.parametrize("content", ["{", "[]", '{"hooks": []}', '{"hooks": {"PreToolUse": {}}}'])
def test_settings_that_are_not_as_expected_are_left_alone(user: User, content: str) -> None:
    path = user.project / ".claude" / "settings.local.json"
    path.parent.mkdir()
    path.write_text(content)
    result = user("init", "--hooks", "claude")
    assert (result.code, "nothing was changed" in result.err) == (2, True)
    assert path.read_text() == content


def test_a_dry_run_of_hooks_changes_nothing(user: User) -> None:
    user.fine("init", "--hooks", "claude", "--dry-run")
    assert not (user.project / ".claude").exists()


def test_commands_work_through_python_m_too(team: User) -> None:
    ran = subprocess.run([sys.executable, "-m", "sojourn", "status", "-q"], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == team.fine("status", "-q").out.strip()
