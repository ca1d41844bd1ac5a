"""A project's id: it goes with a directory that is moved, and a copy is noticed."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sojourn.core.ids import is_id
from sojourn.errors import CopiedProjectError, InvalidValueError, NoProjectError, PointerError
from sojourn.project import here, identity, root


def project_of(directory: Path) -> str:
    made = root.find(str(directory))
    assert made is not None
    return identity.project_of(made)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_is_made_is_private_and_kept_out_of_git(project: Path) -> None:
    state = project / ".sojourn"
    assert mode(state) == 0o700
    assert (state / ".gitignore").read_text() == "*\n"
    assert is_id((state / "project").read_text())
    assert {mode(path) for path in state.iterdir()} == {0o600}


def test_making_it_again_changes_nothing(project: Path) -> None:
    before = {path.name: path.read_text() for path in (project / ".sojourn").iterdir()}
    identity.make(str(project))
    assert {path.name: path.read_text() for path in (project / ".sojourn").iterdir()} == before


def test_an_id_may_be_given_and_another_one_is_refused(tmp_path: Path, nobody: None) -> None:
    identity.make(str(tmp_path), "team-app")
    assert project_of(tmp_path) == "team-app"
    identity.make(str(tmp_path), "team-app")
    with pytest.raises(InvalidValueError, match="is project team-app already"):
        identity.make(str(tmp_path), "other")


def test_twenty_processes_that_make_it_at_once_agree(tmp_path: Path, nobody: None) -> None:
    code = "import sys; sys.stdin.read(1); from sojourn.project import identity; print(identity.id_of(identity.make('.')))"
    running = [
        subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(20)
    ]
    for process in running:
        assert process.stdin is not None
        process.stdin.write("g")
        process.stdin.flush()
    assert len({process.communicate()[0] for process in running}) == 1
    assert sorted(path.name for path in (tmp_path / ".sojourn").iterdir()) == [".gitignore", "place", "project"]


def test_a_directory_that_is_moved_is_the_same_project(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = project_of(project)
    moved = project.parent / "moved"
    project.rename(moved)
    assert project_of(moved) == before
    monkeypatch.chdir(moved)
    here().write("project", "A")
    assert str(moved) in (moved / ".sojourn" / "place").read_text(), "a change writes down where it is now"


def test_a_directory_that_was_moved_to_another_disk_is_the_same_project(project: Path) -> None:
    before = project_of(project)
    moved = project.parent / "moved"
    shutil.copytree(project, moved)
    shutil.rmtree(project)
    assert project_of(moved) == before


def test_a_backup_that_is_put_back_is_the_same_project(project: Path) -> None:
    before = project_of(project)
    backup = project.parent / "backup"
    shutil.copytree(project, backup)
    shutil.rmtree(project)
    shutil.copytree(backup, project)
    assert project_of(project) == before


def test_a_copy_is_noticed_and_the_original_is_not_disturbed(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here().write("project", "A")
    copy = project.parent / "copy"
    shutil.copytree(project, copy)
    before = project_of(project)
    with pytest.raises(CopiedProjectError) as caught:
        project_of(copy)
    assert str(project) in caught.value.message
    assert "sojourn init --renew" in caught.value.hint
    monkeypatch.chdir(copy)
    with pytest.raises(CopiedProjectError):
        here().write("project", "B")
    assert (copy / ".sojourn" / "session").read_text() == "A"
    assert project_of(project) == before


def test_a_copy_becomes_a_project_of_its_own(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOJOURN_AGENT", "one")
    here().write("project", "A")
    here().write("terminal", "B")
    copy = project.parent / "copy"
    shutil.copytree(project, copy)
    identity.renew(root.Root(str(copy)))
    assert project_of(copy) != project_of(project)
    monkeypatch.chdir(copy)
    assert (here().read("project"), here().read("terminal"), here().previous()) == (None, None, None)
    monkeypatch.chdir(project)
    assert (here().read("project"), here().read("terminal")) == ("A", "B")


def test_a_copy_may_stay_the_same_project(project: Path) -> None:
    copy = project.parent / "copy"
    shutil.copytree(project, copy)
    identity.adopt(root.Root(str(copy)))
    assert project_of(copy) == project_of(project)


def test_the_same_directory_under_another_path_is_no_copy(project: Path) -> None:
    """As a bind mount or a container shows it."""
    other = project.parent / "mounted"
    other.mkdir()
    (other / ".sojourn").symlink_to(project / ".sojourn")
    assert project_of(other) == project_of(project)


def test_a_copy_of_a_copy_is_noticed_too(project: Path) -> None:
    first, second = project.parent / "first", project.parent / "second"
    shutil.copytree(project, first)
    identity.renew(root.Root(str(first)))
    shutil.copytree(first, second)
    with pytest.raises(CopiedProjectError, match="first"):
        project_of(second)


@pytest.mark.parametrize("content", ["", "\n", "a b", "x" * 129, "../../etc", "id\nid", "\x1b[31m"])
def test_an_id_that_was_damaged_is_said(project: Path, content: str) -> None:
    (project / ".sojourn" / "project").write_text(content)
    with pytest.raises(NoProjectError, match="does not hold an id"):
        here().project_id()


def test_an_id_that_is_a_link_is_refused(project: Path) -> None:
    path = project / ".sojourn" / "project"
    path.unlink()
    path.symlink_to("/etc/hostname")
    with pytest.raises(PointerError, match="symbolic link"):
        here().project_id()


@pytest.mark.parametrize("place", ["", "1 2", "x y z", "1 2 %00", "1 2 /nowhere", "9" * 400 + " 1 /x"])
def test_a_place_that_was_damaged_does_no_harm(project: Path, place: str) -> None:
    before = project_of(project)
    (project / ".sojourn" / "place").write_text(place)
    assert project_of(project) == before
    here().write("project", "A")
    assert str(project) in (project / ".sojourn" / "place").read_text()


def test_a_project_needs_a_directory(tmp_path: Path, nobody: None) -> None:
    with pytest.raises(InvalidValueError, match="no directory"):
        identity.make(str(tmp_path / "nothing"))
    (tmp_path / ".sojourn").write_text("")
    with pytest.raises(InvalidValueError, match="is no directory"):
        identity.make(str(tmp_path))


@given(text=st.text(max_size=140))
def test_an_id_has_only_plain_characters(text: str) -> None:
    plain = all(mark.isascii() and (mark.isalnum() or mark in "._-") for mark in text)
    assert identity.is_project_id(text) == (0 < len(text) <= 128 and plain)


def test_a_directory_that_cannot_be_written_is_said(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*words: object, **more: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(PointerError, match="cannot be written: Permission denied"):
        here().write("project", "A")
    assert here().read("project") is None
    assert not [path for path in (project / ".sojourn").iterdir() if path.name.endswith(".tmp")]
