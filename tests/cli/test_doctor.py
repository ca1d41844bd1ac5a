"""``sojourn doctor``: each problem with its fix, and the fix works."""

import os
import shutil
import sqlite3
from datetime import UTC, datetime, timedelta

import pytest

import sojourn
from tests.cli.conftest import User


def checks(user: User, *more: str) -> dict[str, dict[str, object]]:
    data = __import__("json").loads(user("doctor", "--json", *more).out)["data"]
    return {check["name"]: check for check in data["checks"]}


def test_a_sound_store_has_no_problem(user: User, talk: str) -> None:
    result = user.fine("doctor")
    assert "problem" not in result.out.replace("no problem", "")
    assert set(checks(user)) == {
        "file modes", "schema", "sqlite", "durability", "size", "integrity", "folds", "search index", "clock"
    }  # fmt: skip


def test_a_doctor_that_only_looks_folds_nothing(user: User) -> None:
    with user.store(conversations=sojourn.ConversationPolicy(fold_above=10)) as store:
        talk = store.conversations.get_or_create("talker").id
        for number in range(120):
            store.conversations.append(talk, "user", f"message {number}")
    for words in (["doctor"], ["conversation", "show", talk], ["conversation", "export", talk], ["export"]):
        user.fine(*words)
    user.fine("conversation", "tail", talk, "--no-follow", "--last", "200")
    assert user.fine("sweep", "--json").data["counts"]["due"] == 1


@pytest.mark.parametrize(
    ("version", "status"), [("3.40.1", "warning"), ("3.51.2", "warning"), ("3.51.3", "ok"), ("3.53.0", "ok")]
)
def test_an_sqlite_that_can_damage_files_is_named(
    user: User, talk: str, monkeypatch: pytest.MonkeyPatch, version: str, status: str
) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version", version)
    found = checks(user)["sqlite"]
    assert found["status"] == status
    assert ("3.51.3" in str(found["fix"])) == (status == "warning")


def test_files_that_others_can_read_are_a_problem_and_fixed(user: User, talk: str) -> None:
    user.path.chmod(0o644)
    result = user("doctor")
    assert (result.code, "sojourn.db (644)" in result.out) == (1, True)
    assert "sojourn doctor --fix" in result.err
    assert "fixed" in user.fine("doctor", "--fix").out
    assert user.path.stat().st_mode & 0o777 == 0o600
    assert checks(user)["file modes"]["status"] == "ok"


def test_a_directory_that_others_can_write_is_a_problem_when_it_is_the_store_s_own(user: User, talk: str) -> None:
    user.path.parent.chmod(0o777)
    assert user("doctor").code == 1
    user.fine("doctor", "--fix")
    assert user.path.parent.stat().st_mode & 0o777 == 0o700
    user.project.chmod(0o777)
    shutil.copy(user.path, user.project / "app.db")
    user.fine("doctor", "--store", "app.db")


def test_a_dry_run_fixes_nothing(user: User, talk: str) -> None:
    user.path.chmod(0o644)
    assert user("doctor", "--fix", "--dry-run").code == 1
    assert user.path.stat().st_mode & 0o777 == 0o644


def test_damage_is_found(user: User, talk: str) -> None:
    with user.store(durability="normal") as store:
        for number in range(300):
            store.conversations.append(talk, "user", f"message {number} " * 20)
    with user.path.open("r+b") as file:
        last = file.seek(0, os.SEEK_END) // 4096 - 1
        for page in range(last - 8, last):  # entries: the newest pages
            file.seek(4096 * page + 8)
            file.write(b"\xff" * 64)
    result = user("doctor")
    assert result.code == 1
    assert "sojourn restore BACKUP" in result.out
    assert "integrity" in result.out
    assert "Traceback" not in result.err


def test_what_is_no_store_at_all_is_a_problem_not_a_crash(user: User) -> None:
    user.path.write_text("hello " * 500)
    result = user("doctor")
    assert result.code == 1
    assert "sojourn restore BACKUP" in result.out


def test_folds_that_are_due_are_named_and_done_but_nothing_is_archived(user: User) -> None:
    then = datetime.now(UTC) - timedelta(days=9)
    with user.store(clock=lambda: then, conversations=sojourn.ConversationPolicy(fold_above=10)) as store:
        talk = store.conversations.get_or_create("talker").id
        for number in range(120):
            store.conversations.append(talk, "user", f"message {number}")
    found = checks(user)["folds"]
    assert (found["status"], "1 session is due" in str(found["text"])) == ("warning", True)
    assert checks(user, "--fix")["folds"]["fixed"] is True
    assert checks(user)["folds"]["status"] == "ok"
    assert user.fine("conversation", "list", "-q").lines == [talk]


def test_a_search_index_that_lags_is_named_and_brought_up(user: User, talk: str) -> None:
    with user.store(durability="normal", conversations=sojourn.ConversationPolicy(fold_above=None)) as store:
        for _ in range(1_100):
            store.conversations.append(talk, "user", "word")
    found = checks(user)["search index"]
    assert (found["status"], "wait to be indexed" in str(found["text"])) == ("warning", True)
    user.fine("doctor", "--fix")
    assert checks(user)["search index"]["text"] == "up to date."


def test_a_clock_that_went_back_is_a_problem(user: User) -> None:
    ahead = datetime.now(UTC) + timedelta(days=2)
    with user.store(clock=lambda: ahead) as store:
        store.conversations.create("traveller")
    found = checks(user)["clock"]
    assert found["status"] == "problem"


def test_a_journal_that_is_no_write_ahead_log_is_named_and_its_fix_works(user: User, talk: str) -> None:
    connection = sqlite3.connect(user.path)
    connection.execute("pragma journal_mode = delete")
    connection.close()
    found = checks(user)["durability"]
    assert found["status"] == "warning"
    user.fine("migrate")
    assert checks(user)["durability"]["status"] == "ok"


def test_a_network_file_system_is_named(user: User, talk: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from sojourn.engines.sqlite import connections

    monkeypatch.setattr(connections, "_file_system", lambda path: "nfs4")
    result = user("doctor")
    assert result.code == 1
    assert "nfs4" in result.out
    assert "Use a local path" in result.out


def test_a_store_of_an_older_or_newer_schema_is_named(user: User, talk: str) -> None:
    connection = sqlite3.connect(user.path)
    with connection:
        connection.execute("update sojourn_meta set value = '99'")
    connection.close()
    found = checks(user, "--fix")
    assert found["schema"]["status"] == "problem"
    assert "Upgrade" in str(found["schema"]["fix"])


def test_memory_has_a_doctor_too(user: User) -> None:
    user.fine("doctor", "--store", "memory:")
