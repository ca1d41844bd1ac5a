"""The demo as a newcomer meets it: a real process, the commands it prints pasted into a shell."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

import sojourn
from sojourn.demo import main, tour

PROGRAM = Path(sys.executable).with_name("sojourn")
SAMPLE = Path(__file__).parent.parent / "formats" / "data" / "openjarvis" / "sessions.db"


def demo(tmp_path: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """``sojourn demo`` in an empty directory, with temporary files and a home of its own."""
    for name in ("tmp", "home", "here"):
        (tmp_path / name).mkdir(exist_ok=True)
    return subprocess.run(
        [PROGRAM, "demo", *arguments],
        cwd=tmp_path / "here",
        env={**os.environ, "TMPDIR": str(tmp_path / "tmp"), "HOME": str(tmp_path / "home"), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_demo_shows_every_step_and_ends_well(tmp_path: Path) -> None:
    run = demo(tmp_path)

    assert (run.returncode, run.stderr) == (0, "")
    lines = run.stdout.splitlines()
    assert [line.partition(".")[0] for line in lines if line[:1].isdigit()] == [str(number) for number in range(1, 11)]
    assert len(lines) <= 96
    assert max(map(len, lines[: lines.index("Try next:")])) <= 120
    assert "\x1b" not in run.stdout
    for shown in (
        "1,351 imported",
        "0 new rows",
        "Zoë",
        "summary of 1 to 49",
        "garden sensor",
        "it survived",
        "duplicate, turn 1",
        "reuse",
        "All steps",
    ):
        assert shown in run.stdout


def test_the_demo_leaves_nothing_behind(tmp_path: Path) -> None:
    demo(tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_every_command_it_prints_works_when_it_is_pasted(tmp_path: Path) -> None:
    home = tmp_path / "home" / ".openjarvis"
    home.mkdir(parents=True)
    shutil.copy(SAMPLE, home)
    run = demo(tmp_path)
    after = run.stdout[run.stdout.index("Try next:") :]
    commands = [line.strip() for line in after.splitlines()[1:] if not line.strip().startswith("#")]
    assert sum(command.endswith(" demo --play") for command in commands) == 1  # it does not end by itself: test_play
    commands = [command for command in commands if not command.endswith(" --play")]
    assert len(commands) == 6

    answers = []
    for command in commands:
        pasted = subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=tmp_path / "here",
            env={**os.environ, "HOME": str(tmp_path / "home")},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        notes = [line for line in pasted.stderr.splitlines() if not line.startswith("There are more: ")]
        assert (pasted.returncode, notes) == (0, []), command
        answers.append(pasted.stdout)
    kept, listed, found, python, played, imported = answers
    assert "The store is kept: demo.db" in kept
    assert "Alice" in listed
    assert "garden sensor" in found
    assert "garden sensor" in python
    assert "1  Climb to the lamp" in played
    assert "to import" in imported


def test_a_kept_store_has_what_the_demo_showed(tmp_path: Path) -> None:
    path = tmp_path / "kept & more.db"
    assert demo(tmp_path, "--keep", str(path)).returncode == 0
    with sojourn.open(tour.url_of(path)) as store:
        assert len(store.conversations.list(limit=100)) == 28
        assert len(store.conversations.search("survived")) == 1


def test_a_file_that_exists_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.db"
    path.write_text("mine")
    assert main(["--keep", str(path)]) == 1
    assert path.read_text() == "mine"
    assert "exists already" in capsys.readouterr().err


def test_a_step_that_does_not_hold_fails_the_demo(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(tour, "_WORDS", "nobody said this")
    assert main([]) == 1
    assert capsys.readouterr().err == "sojourn demo: step 4 failed: nothing was found.\n"


def test_a_process_that_stores_nothing_fails_the_demo(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("true"))
    assert main([]) == 1
    assert "step 5 failed: the other process did not store anything" in capsys.readouterr().err


def test_a_terminal_without_the_characters_shows_others() -> None:
    run = subprocess.run(
        [sys.executable, "-c", "import sys; from sojourn.demo import main; sys.exit(main())"],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert "Zo?" in run.stdout


def test_the_data_in_the_package_is_the_sample_that_openjarvis_wrote() -> None:
    assert files("sojourn.demo").joinpath("openjarvis", "sessions.db").read_bytes() == SAMPLE.read_bytes()


def test_a_python_of_another_environment_is_not_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "python").symlink_to(Path(sys.executable).resolve())
    monkeypatch.setenv("PATH", str(tmp_path))
    assert tour._program()[1] not in ("python", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    assert tour._program()[1] == "python"
