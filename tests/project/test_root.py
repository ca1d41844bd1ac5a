"""Where a project begins: the walk upwards, where it ends, git worktrees, and roots that are refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sojourn.errors import NoProjectError, UnsafeProjectError
from sojourn.project import here, identity, root
from sojourn.project.root import default_url


def git(*words: str, cwd: Path) -> None:
    alone = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, "GIT_CEILING_DIRECTORIES": str(cwd.parent)}
    subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", *words],
        cwd=cwd,
        check=True,
        capture_output=True,
        env={**os.environ, **alone},
    )


def found(start: Path) -> str:
    made = root.find(str(start))
    assert made is not None
    return made.directory


def test_the_nearest_one_upwards_is_the_project(project: Path) -> None:
    deep = project / "a" / "b"
    deep.mkdir(parents=True)
    assert found(deep) == str(project)
    identity.make(str(project / "a"))
    assert found(deep) == str(project / "a")
    assert found(project) == str(project)


def test_outside_there_is_none_and_the_error_says_what_to_do(
    tmp_path: Path, nobody: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert root.find() is None
    with pytest.raises(NoProjectError, match="sojourn init"):
        here().project_id()
    assert default_url() == f"sqlite:///{tmp_path}/home/.local/share/sojourn/sojourn.db"


def test_a_directory_that_was_never_set_up_has_a_store_and_no_id(
    tmp_path: Path, nobody: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".sojourn").mkdir(mode=0o700)
    monkeypatch.chdir(tmp_path)
    assert default_url() == f"sqlite:///{os.path.realpath(tmp_path)}/.sojourn/sojourn.db"
    with pytest.raises(NoProjectError, match="not set up"):
        here().project_id()


def test_the_url_of_a_store_keeps_strange_directories(tmp_path: Path, nobody: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from sojourn.engines.locate import sqlite_path

    strange = tmp_path / "a ?b#c%d é"
    strange.mkdir()
    identity.make(str(strange))
    monkeypatch.chdir(strange)
    assert sqlite_path(default_url())[0] == str(Path(os.path.realpath(strange)) / ".sojourn" / "sojourn.db")


def test_the_walk_ends_at_a_ceiling_and_begins_below_it(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = project / "a" / "b"
    deep.mkdir(parents=True)
    monkeypatch.setenv("SOJOURN_CEILING_DIRS", f"relative{os.pathsep}{project}")
    assert root.find(str(deep)) is None
    assert found(project) == str(project), "where it begins is always looked at"
    monkeypatch.setenv("SOJOURN_CEILING_DIRS", str(project / "a"))
    assert root.find(str(deep)) is None
    assert root.find(str(project / "a")) is None, "a walk that begins at a ceiling does not leave it"
    monkeypatch.setenv("SOJOURN_CEILING_DIRS", f"{project.parent}")
    assert found(deep) == str(project)


def test_the_walk_ends_at_the_border_of_a_file_system(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = project / "mounted" / "below"
    inside.mkdir(parents=True)
    real = root._device
    monkeypatch.setattr(root, "_device", lambda path: 99 if "mounted" in path else real(path))
    assert root.find(str(inside)) is None
    assert found(project) == str(project)


def test_a_file_of_that_name_is_no_project(project: Path) -> None:
    below = project / "a"
    below.mkdir()
    (below / ".sojourn").write_text("not a directory")
    assert found(below) == str(project)


def test_a_removed_working_directory_is_said(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = project / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(NoProjectError, match="removed"):
        default_url()


# -- git worktrees -----------------------------------------------------------------------------------------------------


@pytest.fixture
def repository(project: Path) -> Path:
    git("init", "-q", "-b", "main", cwd=project)
    git("commit", "-q", "--allow-empty", "-m", "first", cwd=project)
    return project


def test_a_linked_worktree_shares_the_store_and_has_its_own_pointer(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = repository.parent / "other"
    git("worktree", "add", "-q", str(other), cwd=repository)
    (other / "deep").mkdir()
    places = here()
    places.write("project", "MAIN")
    for directory in (other, other / "deep"):
        monkeypatch.chdir(directory)
        assert default_url() == f"sqlite:///{repository}/.sojourn/sojourn.db"
        assert places.project_id() == (repository / ".sojourn" / "project").read_text()
    assert places.read("project") is None
    places.write("project", "OTHER")
    monkeypatch.chdir(repository)
    assert places.read("project") == "MAIN"


def test_a_worktree_inside_the_repository_has_its_own_pointer_too(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git("worktree", "add", "-q", "trees/one", cwd=repository)
    here().write("project", "MAIN")
    monkeypatch.chdir(repository / "trees" / "one")
    assert here().read("project") is None
    assert found(repository / "trees" / "one") == str(repository)


def test_a_project_below_the_top_of_a_repository_is_shared(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = repository / "services" / "api"
    part.mkdir(parents=True)
    identity.make(str(part))
    other = repository.parent / "other"
    git("worktree", "add", "-q", str(other), cwd=repository)
    (other / "services" / "api" / "src").mkdir(parents=True)
    assert found(other / "services" / "api" / "src") == str(part)
    assert found(other / "services") == str(repository)


def test_a_worktree_that_was_made_again_under_its_name_has_a_new_pointer(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = repository.parent / "other"
    git("worktree", "add", "-q", str(other), cwd=repository)
    monkeypatch.chdir(other)
    here().write("project", "FIRST")
    monkeypatch.chdir(repository)
    git("worktree", "remove", "--force", str(other), cwd=repository)
    git("worktree", "add", "-q", "--force", str(other), "other", cwd=repository)
    monkeypatch.chdir(other)
    assert here().read("project") is None


def test_a_worktree_that_was_moved_keeps_its_pointer(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other, moved = repository.parent / "other", repository.parent / "moved"
    git("worktree", "add", "-q", str(other), cwd=repository)
    monkeypatch.chdir(other)
    here().write("project", "FIRST")
    monkeypatch.chdir(repository)
    git("worktree", "move", str(other), str(moved), cwd=repository)
    monkeypatch.chdir(moved)
    assert here().read("project") == "FIRST"


def test_worktrees_beside_a_bare_repository_share_the_project_that_holds_it(project: Path, repository: Path) -> None:
    home = project.parent / "bare"
    home.mkdir()
    git("clone", "-q", "--bare", str(repository), str(home / ".bare"), cwd=project)
    git("worktree", "add", "-q", str(project.parent / "elsewhere"), cwd=home / ".bare")
    identity.make(str(home))
    assert found(project.parent / "elsewhere") == str(home)


def test_a_git_file_that_does_not_point_back_is_not_followed(repository: Path) -> None:
    liar = repository.parent / "liar"
    liar.mkdir()
    other = repository.parent / "other"
    git("worktree", "add", "-q", str(other), cwd=repository)
    (liar / ".git").write_text((other / ".git").read_text())
    assert root.find(str(liar)) is None


@pytest.mark.parametrize(
    "content", [b"", b"gitdir: ", b"gitdir: /nowhere", b"gitdir: \xff\0", b"\0" * 9000, b"gitdir: " + b"a" * 5000]
)
def test_a_git_file_with_anything_in_it_is_no_harm(tmp_path: Path, nobody: None, content: bytes) -> None:
    (tmp_path / ".git").write_bytes(content)
    assert root.find(str(tmp_path)) is None


def test_a_pipe_in_the_place_of_a_git_file_is_not_waited_for(tmp_path: Path, nobody: None) -> None:
    os.mkfifo(tmp_path / ".git")
    assert root.find(str(tmp_path)) is None


# -- safety ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("below", ["", ".sojourn"])
def test_a_root_in_which_anybody_may_write_is_refused(project: Path, below: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / below).chmod(0o777)
    with pytest.raises(UnsafeProjectError, match="anybody may write"):
        here().project_id()
    with pytest.raises(UnsafeProjectError, match="--trust-root"):
        default_url()
    monkeypatch.setenv("SOJOURN_TRUST_ROOT", "1")
    assert here().project_id()
    monkeypatch.setenv("SOJOURN_TRUST_ROOT", "0")
    with pytest.raises(UnsafeProjectError):
        here().project_id()


@pytest.mark.parametrize("below", ["", ".sojourn"])
def test_a_root_of_somebody_else_is_refused(project: Path, below: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() == 0:
        os.chown(project / below, 12345, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(UnsafeProjectError, match="belongs to user"):
        here().project_id()
    monkeypatch.setenv("SOJOURN_TRUST_ROOT", "1")
    assert here().project_id()


def test_a_link_that_somebody_else_made_is_refused(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    below = project / "below"
    below.mkdir()
    (below / ".sojourn").symlink_to(project / ".sojourn")
    assert found(below) == str(below)
    real, link = os.lstat, str(below / ".sojourn")

    def owned(path: str) -> object:
        found = real(path)
        return os.stat_result([*found[:4], 12345, *found[5:]]) if path == link else found

    monkeypatch.setattr(os, "lstat", owned)
    with pytest.raises(UnsafeProjectError, match="user 12345"):
        root.find(str(below))


def test_a_project_is_not_made_where_anybody_may_write(tmp_path: Path, nobody: None) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(UnsafeProjectError):
        identity.make(str(tmp_path))
    assert not (tmp_path / ".sojourn").exists()


def test_nothing_in_a_project_is_executed(project: Path) -> None:
    state, ran = project / ".sojourn", project / "ran"
    for name in ("sitecustomize.py", "sqlite3.py", "project.py", "hook", "config"):
        (state / name).write_text(f"#!/bin/sh\ntouch {ran}\nopen({str(ran)!r}, 'w')\n")
        (state / name).chmod(0o755)
    code = "from sojourn.project import here; here().write('project', here().project_id()); print(here().read('project'))"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert not ran.exists()


# -- paths -------------------------------------------------------------------------------------------------------------

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=60).filter(
    lambda name: name not in (".", "..") and len(name.encode()) <= 120
)


@settings(max_examples=60, deadline=None)
@given(name=NAMES, below=st.lists(NAMES, max_size=3))
def test_any_directory_can_be_a_project(tmp_path_factory: pytest.TempPathFactory, name: str, below: list[str]) -> None:
    base = Path(os.path.realpath(tmp_path_factory.mktemp("names")))
    top = base / name
    deep = top.joinpath(*below)
    deep.mkdir(parents=True)
    made = identity.make(str(top))
    seen = root.find(str(deep))
    assert seen is not None
    assert seen.directory == str(top)
    assert identity.project_of(seen) == identity.id_of(made)
    moved = base / f"{name[:20]} moved"
    top.rename(moved)
    again = root.find(str(moved))
    assert again is not None
    assert identity.project_of(again) == identity.id_of(again)
    assert root.find(os.path.join(str(moved), "..", moved.name, ".")) is not None


@settings(max_examples=60, deadline=None)
@given(path=st.text(max_size=40))
def test_no_path_brings_the_walk_down(path: str) -> None:
    try:
        root.find(path)
    except (NoProjectError, UnsafeProjectError):
        pass


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=st.text(st.sampled_from("ab./\0 é~-"), max_size=12))
def test_a_path_is_seen_from_the_root_or_is_outside(project: Path, path: str) -> None:
    made = root.require()
    found = root.below(made, path)
    if found is not None:
        assert not os.path.isabs(found)
        assert ".." not in found.split("/")
        assert found == os.path.normpath(found)
        assert os.path.realpath(project / found) == os.path.realpath(project / path)
    else:
        assert "\0" in path or not os.path.normpath(project / path).startswith(f"{project}")


def test_links_on_the_way_are_followed_and_the_last_is_not(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "src").mkdir()
    (project / "inside").symlink_to(project / "src")
    (project / "outside").symlink_to("/etc")
    made = root.require()
    assert root.below(made, "inside/a.py") == "src/a.py"
    assert root.below(made, "inside") == "inside"
    assert root.below(made, "outside/passwd") is None
    assert root.below(made, ".") == "."
    monkeypatch.chdir(project / "src")
    assert root.below(made, "../inside/../x") == "x"


def test_a_path_in_a_linked_worktree_is_that_of_the_repository(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = repository.parent / "other"
    git("worktree", "add", "-q", str(other), cwd=repository)
    (other / "src").mkdir()
    monkeypatch.chdir(other / "src")
    assert root.below(root.require(), "a.py") == "src/a.py"
    assert root.below(root.require(), str(repository / "src" / "a.py")) is None
