"""What a newcomer stumbled over: each is said clearly, and nothing is changed by a slip."""

import json
import os
import shlex
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from sojourn.cli.call import Call
from sojourn.cli.options import Options
from sojourn.cli.output import Output
from tests.cli.conftest import User

SAMPLE = Path(__file__).parents[2] / "src" / "sojourn" / "demo" / "openjarvis" / "sessions.db"
SOJOURN = Path(sys.executable).with_name("sojourn")


@pytest.fixture
def foreign(user: User) -> Path:
    """Another program's database."""
    path = user.project / "other.db"
    connection = sqlite3.connect(path)
    connection.execute("create table mine (x)")
    connection.close()
    path.chmod(0o644)
    return path


# -- import ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["same", "directory", "symbolic", "hard", "dry"])
def test_an_import_into_its_own_source_is_refused_before_anything_is_changed(user: User, how: str) -> None:
    source = user.project / "sessions.db"
    source.write_bytes(SAMPLE.read_bytes())
    store = user.project / "linked.db" if how in ("symbolic", "hard") else source
    if how == "symbolic":
        store.symlink_to(source)
    elif how == "hard":
        os.link(source, store)
    before = sorted(user.project.iterdir())
    named = "." if how == "directory" else "sessions.db"
    more = ["--dry-run"] if how == "dry" else ["--yes"]
    result = user("import", "openjarvis", named, "--store", f"./{store.name}", "--json", *more)
    assert (result.code, result.error["code"]) == (7, "file.exists")
    assert source.read_bytes() == SAMPLE.read_bytes()
    assert sorted(user.project.iterdir()) == before


def test_an_import_that_cannot_be_read_makes_no_store(user: User, foreign: Path) -> None:
    (user.project / "text.db").write_text("hello " * 500)
    (user.project / "cut.db").write_bytes(SAMPLE.read_bytes()[: len(SAMPLE.read_bytes()) // 4096 // 4 * 4096])
    (user.project / "empty").mkdir()
    for source, code in (("text.db", 1), ("cut.db", 1), (foreign.name, 1), ("none.db", 3), ("empty", 3)):
        result = user("import", "openjarvis", source, "--store", "new.db")
        assert result.code == code, result.err
        assert not (user.project / "new.db").exists(), source


# -- what is no store ------------------------------------------------------------------------------------------------


def test_a_doctor_leaves_a_directory_alone(user: User) -> None:
    place = user.project / "place"
    place.mkdir(mode=0o755)
    for words in (["doctor"], ["doctor", "--fix"]):
        result = user(*words, "--store", "./place")
        assert (result.code, "not a file" in result.out) == (1, True)
        assert "--fix" not in result.out + result.err
    assert place.stat().st_mode & 0o777 == 0o755


def test_a_doctor_leaves_another_program_s_file_alone(user: User, foreign: Path) -> None:
    before = foreign.read_bytes()
    for words in (["doctor"], ["doctor", "--fix"]):
        result = user(*words, "--store", "other.db")
        assert (result.code, "sojourn migrate --store other.db" in result.out) == (1, True)
        assert "doctor --fix" not in result.out + result.err
    assert (foreign.read_bytes(), foreign.stat().st_mode & 0o777) == (before, 0o644)
    text = user.project / "text.db"
    text.write_text("hello " * 500)
    text.chmod(0o644)
    assert user("doctor", "--fix", "--store", "text.db").code == 1
    assert text.stat().st_mode & 0o777 == 0o644


def test_another_program_s_database_becomes_a_store_only_by_a_yes(user: User, foreign: Path) -> None:
    before = foreign.read_bytes()
    words = ["conversation", "append", "--user", "alice", "user", "hi", "--store", "other.db"]
    result = user(*words)
    assert (result.code, "another program's database (tables: mine)" in result.err) == (2, True)
    assert "sojourn migrate --store other.db" in result.err
    assert user("import", "openjarvis", SAMPLE, "--store", "other.db").code == 2
    for more in (["session", "rm", "ABCD", "--yes"], ["sweep", "--apply", "--yes"], ["erase", "alice", "--yes"]):
        assert user(*more, "--store", "other.db").code == 78
    assert foreign.read_bytes() == before
    user.fine(*words, "--yes")
    user.fine(*words)


def test_migrate_adopts_another_program_s_database(user: User, foreign: Path) -> None:
    user.fine("migrate", "--store", "other.db")
    user.append("hi", "--store", "other.db")


@pytest.mark.parametrize("empty", ["", "  "])
def test_an_empty_store_is_an_error_not_the_user_s_own(user: User, monkeypatch: pytest.MonkeyPatch, empty: str) -> None:
    words = ["conversation", "append", "--user", "alice", "user", "hi"]
    assert user(*words, "--store", empty).code == 2
    monkeypatch.setenv("SOJOURN_URL", empty)
    result = user(*words)
    assert (result.code, "SOJOURN_URL is empty" in result.err) == (2, True)
    assert not user.path.exists()
    user.fine(*words, "--store", "app.db")


# -- what is to be typed next ----------------------------------------------------------------------------------------


def test_every_command_that_is_advised_carries_the_store(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "my own.db"
    talk = user.append("one", "--store", name)
    user.append("two", "--store", name)
    (user.project / name).chmod(0o644)
    said = []
    for words in (
        ["doctor"],
        ["sweep"],
        ["conversation", "rewind", talk, "1"],
        ["conversation", "show", talk],
        ["conversation", "show", "ZZZZ"],
        ["conversation", "show", "?"],
        ["session", "show", "ZZZZ"],
        ["conversation", "append", "user", "hi"],
        ["conversation", "list", "--user", "nobody", "--all"],
    ):
        result = user(*words, "--store", name)
        said += [line for line in (result.out + result.err).splitlines() if ": sojourn " in line]
    assert len(said) >= 8
    for line in said:
        assert shlex.split(line.split(": sojourn ")[-1])[-2:] == ["--store", name], line
    monkeypatch.setenv("SOJOURN_URL", f"sqlite:///{user.project}/env.db")
    assert f"--store sqlite:///{user.project}/env.db" in user("conversation", "list").err


def test_a_password_is_not_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    import argparse

    secret = "postgresql://me:geheim@host/db"
    call = Call(argparse.Namespace(), Options(store=secret, tenant="a b"), Output())
    assert call.command("doctor") == "sojourn doctor --store postgresql://me:…@host/db --tenant 'a b'".replace(
        "postgresql://me:…@host/db", "'postgresql://me:…@host/db'"
    )
    monkeypatch.setenv("SOJOURN_URL", secret)
    assert Call(argparse.Namespace(), Options(), Output()).command("doctor") == "sojourn doctor"


def test_advice_is_for_the_command_line_not_for_python(user: User, talk: str) -> None:
    (user.project / "other.db").write_bytes(SAMPLE.read_bytes())
    other = user("conversation", "list", "--store", "other.db")
    assert (other.code, "sojourn migrate --store other.db" in other.err, "migrate=True" in other.err) == (78, True, False)
    cursor = user("conversation", "list", "--after", "x").err
    assert ("--after" in cursor, "or None" in cursor) == (True, False)


# -- rewind, show, search --------------------------------------------------------------------------------------------


def test_rewind_says_what_happened(user: User, talk: str) -> None:
    assert "Nothing to undo" in user.fine("conversation", "rewind", talk, "--undo").out
    assert "do nothing" in user.fine("conversation", "rewind", talk, "--undo", "--dry-run").out
    assert "nothing to hide after message 99" in user.fine("conversation", "rewind", talk, "99").out
    assert "(2 messages)" in user.fine("conversation", "rewind", talk, "1").out
    assert "is back (2 messages)" in user.fine("conversation", "rewind", talk, "--undo").out
    assert "Nothing to undo" in user.fine("conversation", "rewind", talk, "--undo").out


def test_show_and_search_say_what_is_hidden(user: User, talk: str) -> None:
    assert "hidden" not in user.fine("conversation", "show", talk).out
    user.fine("conversation", "rewind", talk, "1")
    out = user.fine("conversation", "show", talk).out
    assert "2 messages are hidden. To see them: sojourn conversation show" in out
    assert "rewind" in out
    assert "are hidden" not in user.fine("conversation", "show", talk, "--hidden").out
    assert "[hidden] " in user.fine("conversation", "search", "invoice").out
    user.fine("conversation", "rewind", talk, "--undo")
    user.fine("conversation", "consolidate", talk, "--keep", "1")
    assert "[folded] " in user.fine("conversation", "search", "invoice").out
    with user.store() as store:
        store.conversations.hide(talk, 3)
    out = user.fine("conversation", "show", talk).out
    assert ("1 message is hidden" in out, "--undo" in out) == (True, False)


# -- lists -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("noun", ["conversation", "session"])
def test_a_pipe_gets_the_whole_list(user: User, many_talks: list[str], noun: str) -> None:
    whole = user.fine(noun, "list", "-q")
    assert (sorted(whole.lines), whole.err) == (sorted(many_talks), "")
    assert len(user.fine(noun, "list", "--jsonl").lines) == len(many_talks)
    for words in (["-q", "--limit", "7"], ["--jsonl", "--limit", "7"]):
        result = user.fine(noun, "list", *words)
        assert (len(result.lines), "--after" in result.err) == (7, True)
    for more in ([], ["-q"]):
        assert "There are more" in user.fine(noun, "list", *more, terminal=True).err


def test_search_says_that_there_are_more(user: User, talk: str) -> None:
    user.append("Hello again")
    assert "--limit 10" in user.fine("conversation", "search", "hello", "--limit", "1").err
    assert user.fine("conversation", "search", "hello", "--limit", "2").err == ""


def test_sweep_counts_what_waits_for_the_index(user: User, talk: str) -> None:
    result = user.fine("sweep", "--json")
    assert result.data["counts"]["indexed"] >= 1
    assert "would be made searchable" in user.fine("sweep").out
    user.fine("sweep", "--apply")
    assert user.fine("sweep").out == "Nothing is due.\n"


# -- wrong words -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["conversation", "append", "user", "hi there"], "append --user alice user 'hi there'"),
        (["conversation", "append", "--user", "alice", "hello"], "append --user alice user hello"),
        (["conversation", "append", "--user", "alice", "user"], "missing: TEXT"),
        (["conversation", "append"], "there was: nothing"),
        (["conversation", "show", "NOPE"], "ends in NOPE"),
        (["version"], "sojourn --version"),
        (["help"], "sojourn --help"),
        (["session", "remove", "ABCD"], "Did you mean rm?"),
        (["delete"], "sojourn session rm"),
    ],
)
def test_wrong_words_are_answered_with_the_right_ones(user: User, talk: str, words: list[str], said: str) -> None:
    result = user(*words)
    assert result.code in (2, 3)
    assert said in result.err


def test_what_has_ended_says_how_to_go_on(user: User, talk: str) -> None:
    user.fine("session", "end", talk)
    assert "append --user alice user TEXT" in user("conversation", "append", talk, "user", "x").err


# -- load ------------------------------------------------------------------------------------------------------------


def test_a_load_that_fails_names_the_file_and_says_what_is_stored(user: User, talk: str) -> None:
    user.append(user="bob")
    lines = user.fine("export").lines
    second = [number for number, line in enumerate(lines) if line.startswith('{"type":"session"')][1]
    (user.project / "broken.jsonl").write_text("\n".join([*lines[: second + 1], "{broken"]))
    result = user("load", "broken.jsonl", "--store", "copy.db")
    assert result.code == 1
    assert "broken.jsonl: " in result.err
    assert "1 session before it is in the store" in result.err
    assert len(user.fine("conversation", "list", "-q", "--store", "copy.db").lines) == 1


def test_links_are_channel_handles(user: User, talk: str) -> None:
    text = user.fine("export").out
    assert user.fine("load", "-", "--store", "a.db", "--json", stdin=text).data["links"] == 0
    user.fine("conversation", "link", talk, "telegram", "t1")
    text = user.fine("export").out
    assert user.fine("load", "-", "--store", "b.db", "--json", stdin=text).data["links"] == 1
    assert user.fine("load", "-", "--store", "b.db", "--json", stdin=text).data["links"] == 0


# -- closed streams, and what lies beside the code -------------------------------------------------------------------


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-", ">&- 2>&- <&-", "<&-"])
def test_closed_streams_are_no_crash(user: User, talk: str, closed: str) -> None:
    for words in ("--version", "--help", "conversation list", "conversation append --user bob user hi", "export"):
        command = f"{shlex.quote(str(SOJOURN))} {words} {closed}"
        done = subprocess.run(["/bin/sh", "-c", command], cwd=user.project, capture_output=True)
        assert (done.returncode, done.stderr) == (0, b""), words
    assert user.fine("conversation", "list", "--user", "bob", "--json").data[0]["message_count"] == 1
    with user.store() as store:
        assert store.check() == []


def test_the_demo_s_database_is_kept_and_nothing_else_of_it(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text((Path(__file__).parents[2] / ".gitignore").read_text())
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    names = ["src/sojourn/demo/__pycache__/tour.pyc", "src/sojourn/demo/openjarvis/sessions.db"]
    done = subprocess.run(["git", "check-ignore", *names], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.split() == names[:1]


def test_a_cursor_is_in_the_document_and_not_beside_it(user: User, talk: str) -> None:
    user.append(user="bob")
    result = user.fine("conversation", "list", "--limit", "1", "--json")
    assert (bool(json.loads(result.out)["next"]), result.err) == (True, "")
