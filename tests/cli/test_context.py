"""``sojourn context``: what each command does, as its user sees it."""

import json
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.cli.conftest import EVIL, User


@pytest.fixture
def work(user: User) -> User:
    """A user with a context of three artifacts."""
    user.fine("context", "create", "work", "--metadata", '{"ticket":7}')
    user.fine("context", "add", "work", "note", "Look at the parser")
    user.fine("context", "add", "work", "diff", "-", stdin=b"+ a line\n")
    user.fine("context", "add", "work", "file", "x" * 9000, "--key", "k")
    return user


def names(user: User, *more: str) -> list[tuple[str, bool]]:
    return [(row["name"], row["active"]) for row in user.fine("context", "list", "--json", *more).data]


def test_a_context_is_listed_and_shown(work: User) -> None:
    assert names(work) == [("work", False)]
    row = work.fine("context", "list").lines[1].split()
    assert row[1:4] == ["work", "3", "9.0"]
    found = work.fine("context", "show", "work", "--json").data
    assert (found["metadata"], [row["content"][:8] for row in found["artifacts"]]) == (
        {"ticket": 7},
        ["Look at ", "+ a line", "xxxxxxxx"],
    )
    out = work.fine("context", "show", "work", "--last", "2", "--kind", "note").out
    assert out.startswith("Context work\n")
    assert out.endswith("\n  Look at the parser\n")
    assert [json.loads(line)["sequence"] for line in work.fine("context", "show", "work", "--jsonl").lines] == [1, 2, 3]


def test_add_makes_the_context_and_a_key_adds_once(user: User) -> None:
    for _ in range(2):
        assert user.fine("context", "add", "new", "note", "once", "--key", "k").out == "Artifact #1 in context new.\n"
    assert user("context", "add", "new", "note", "other", "--key", "k").code == 7


def test_one_is_active_until_it_is_left(work: User) -> None:
    assert work("context", "show").code == 3
    work.fine("context", "create", "other")
    work.fine("context", "activate", "work")
    work.fine("context", "activate", "other")
    assert names(work) == [("other", True), ("work", False)]
    assert "resume" in work.fine("context", "deactivate").out
    assert work("context", "deactivate").code == 3
    assert work.fine("context", "resume").out.startswith("Context other is active")
    assert "3 artifacts" in work.fine("context", "resume", "work").out
    assert work("context", "activate", "nobody").code == 3
    assert names(work)[1] == ("work", True)


def test_assemble_prints_what_fits_and_says_what_does_not(work: User) -> None:
    result = work.fine("context", "assemble", "work", "--budget", "20")
    assert result.out == "[1 note]\nLook at the parser\n\n[2 diff]\n+ a line\n"
    assert "1 artifact did not fit" in result.err
    found = work.fine("context", "assemble", "work", "--kind", "diff", "--json").data
    assert ([row["kind"] for row in found["artifacts"]], found["left_out"]) == (["diff"], [])


def test_branch_shares(work: User) -> None:
    assert "shares 2 artifacts" in work.fine("context", "branch", "work", "b", "--at", "2").out
    assert work("context", "branch", "work", "b").code == 7


def test_export_writes_every_form(work: User, tmp_path: Path) -> None:
    assert work.fine("context", "export", "work", "--format", "md").out.startswith("# work\n")
    assert json.loads(work.fine("context", "export", "work").out)["context"]["name"] == "work"
    target = tmp_path / "work.zip"
    work.fine("context", "export", "work", "--format", "zip", "--output", target)
    assert target.stat().st_mode & 0o777 == 0o600
    with ZipFile(BytesIO(target.read_bytes())) as archive:
        assert len(archive.namelist()) == 4
    assert work("context", "export", "work", "--format", "zip", terminal=True).code == 2


def test_rm_asks_and_keeps_what_it_is_told_to(work: User) -> None:
    made = work.fine("context", "list", "-q").out.strip()
    assert work("context", "rm", "work").code == 2
    assert work("context", "rm").code == 2
    work.fine("context", "rm", "work", "--keep", "-y")
    assert names(work) == []
    assert len(work.fine("context", "show", "--id", made, "--json").data["artifacts"]) == 3
    work.fine("context", "create", "a", "--scope", "p")
    assert work.fine("context", "rm", "--all", "-y", "--json").data["removed"] == 0
    assert work("context", "show", "--id", made).code == 3
    assert names(work, "--scope", "p") == [("a", False)]


def test_nothing_in_a_context_steers_the_terminal(user: User) -> None:
    user.fine("context", "add", "work", "note", EVIL)
    for words in (["show", "work"], ["assemble", "work"], ["export", "work", "--format", "md"]):
        out = user.fine("context", *words, terminal=True).out
        assert "\x1b]0" not in out
        assert "\x1b[31m title" not in out


def test_a_bad_name_is_a_usage_error(user: User) -> None:
    assert user("context", "create", "a\nb").code == 2
    assert user("context", "add", " ", "note", "x").code == 2
