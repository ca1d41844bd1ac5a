"""Opening and closing: by URL, with every mistake named, and the same store again."""

from __future__ import annotations

import os
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import sojourn
from sojourn import (
    ClosedError,
    ConversationPolicy,
    CorruptError,
    InvalidValueError,
    ReadOnlyError,
    SchemaError,
    UnavailableError,
    UnsupportedError,
)

if TYPE_CHECKING:
    from tests.conversations.conftest import Lab


async def test_what_was_stored_is_there_when_the_store_is_opened_again(disk_lab: Lab) -> None:
    made = await disk_lab.talk("a", "b")
    await disk_lab.store.close()
    again = disk_lab.open()
    assert disk_lab.shown(await again.conversations.messages(made)) == ["a", "b"]


async def test_two_stores_on_one_file_see_each_other(disk_lab: Lab) -> None:
    made = await disk_lab.talk("a")
    other = disk_lab.open()
    await other.conversations.append(made, "user", "b")
    assert await disk_lab.texts(made) == ["a", "b"]


async def test_a_store_in_memory_is_empty_each_time(memory_lab: Lab) -> None:
    made = await memory_lab.talk("a")
    assert await memory_lab.open().conversations.get(made) is None


async def test_closing_twice_is_fine_and_what_comes_after_says_so(lab: Lab) -> None:
    made = await lab.talk("a")
    store = lab.store
    await store.close()
    await store.close()
    for operation in (store.conversations.get(made), store.conversations.append(made, "user", "x"), store.sweep()):
        with pytest.raises(ClosedError) as caught:
            await operation
        assert (caught.value.code, bool(caught.value.hint)) == ("engine.closed", True)


async def test_a_store_says_what_it_can(lab: Lab) -> None:
    capabilities = lab.store.capabilities
    assert (capabilities.engine, capabilities.search) == (lab.engine, lab.engine != "redis")
    assert capabilities.durable == capabilities.processes == (lab.engine != "memory")
    assert (await lab.store.facts())["engine"] == lab.engine
    assert await lab.store.check() == []


async def test_a_backup_is_a_store(disk_lab: Lab, tmp_path: Path) -> None:
    made = await disk_lab.talk("a", "b")
    assert await disk_lab.store.backup(tmp_path / "copy.db") > 0
    await disk_lab.talks.append(made, "user", "c")
    with sojourn.open(f"sqlite:///{tmp_path / 'copy.db'}") as copy:
        assert [message.text for message in copy.conversations.messages(made)] == ["a", "b"]


async def test_memory_makes_no_backups_and_says_so(memory_lab: Lab, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError):
        await memory_lab.store.backup(tmp_path / "copy.db")


async def test_a_read_only_store_reads_and_refuses_to_write(disk_lab: Lab) -> None:
    made = await disk_lab.long_talk(101)
    url = f"{disk_lab.url}?mode=ro"
    with sojourn.open(url, clock=disk_lab.clock) as store:
        assert len(store.conversations.messages(made)) == 101
        assert len(store.conversations.list()) == 1
        with pytest.raises(ReadOnlyError):
            store.conversations.append(made, "user", "x")


def test_a_path_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    for path in (tmp_path / "file" / "x.db", tmp_path / "file" / "deep" / "x.db"):
        with pytest.raises(UnavailableError) as caught:
            sojourn.open(f"sqlite:///{path}")
        assert str(path) in caught.value.message
        assert caught.value.hint


def test_a_read_only_store_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError):
        sojourn.open(f"sqlite:///{tmp_path / 'nothing.db'}?mode=ro")
    assert not (tmp_path / "nothing.db").exists()


def test_a_directory_or_a_file_of_something_else_is_no_store(tmp_path: Path) -> None:
    with pytest.raises((UnavailableError, CorruptError)):
        sojourn.open(f"sqlite:///{tmp_path}")
    (tmp_path / "notes.txt").write_text("these are my notes, and they are longer than a header of SQLite is. " * 40)
    with pytest.raises(CorruptError):
        sojourn.open(f"sqlite:///{tmp_path / 'notes.txt'}")


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    sojourn.open(f"sqlite:///{path}").close()
    with sqlite3.connect(path) as connection:
        connection.execute("update sojourn_meta set value = '99' where name in ('schema', 'serves')")
    connection.close()
    with pytest.raises(SchemaError) as caught:
        sojourn.open(f"sqlite:///{path}")
    assert caught.value.code == "engine.schema"


def test_without_migrating_a_new_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="does not exist"):
        sojourn.open(f"sqlite:///{tmp_path / 'x.db'}", migrate=False)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "url", ["", "x", "mysql://localhost/x", "sqlite:", "sqlite://", "sqlite:///", "sqlite://host/x.db", "sqlite:///x.db?mode=rw",
            "sqlite:///x.db?x=1", "sqlite:///a\0b", 5, b"memory:"]
)  # fmt: skip
def test_a_url_that_cannot_be_read_is_refused(url: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidValueError):
        sojourn.open(url)
    assert os.listdir(tmp_path) == []


def test_a_password_in_a_url_is_not_shown() -> None:
    with pytest.raises(InvalidValueError) as caught:
        sojourn.open("mysql://me:geheim@localhost/x")
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    "wrong", [{"durability": "never"}, {"tenant": ""}, {"conversations": 5}, {"ids": lambda: "x"}, {"clock": datetime.now}]
)
def test_settings_are_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidValueError):
        sojourn.open("memory:", **wrong).conversations.create("ann")


def test_times_and_ids_may_be_injected() -> None:
    made = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
    moment = datetime(2031, 5, 6, 7, 8, 9, 10, tzinfo=UTC)
    with sojourn.open("memory:", clock=lambda: moment, ids=lambda: made) as store:
        talk = store.conversations.create("ann")
        assert talk.created_at == moment
        assert talk.id[:10] + talk.id[12:] == made[:10] + made[12:]


def test_without_a_url_the_store_of_the_project_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / "project" / "src" / "deep"
    deep.mkdir(parents=True)
    (tmp_path / "project" / ".sojourn").mkdir()
    monkeypatch.chdir(deep)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with sojourn.open() as store:
        store.conversations.create("ann")
    assert (tmp_path / "project" / ".sojourn" / "sojourn.db").exists()
    monkeypatch.chdir(tmp_path)
    with sojourn.open() as store:
        assert len(store.conversations.list()) == 0
    assert list((tmp_path / "home").rglob("sojourn.db"))


def test_files_of_a_store_are_for_their_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "new" / "x.db"
    with sojourn.open(f"sqlite:///{path}") as store:
        store.conversations.create("ann")
        modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    assert set(modes.values()) == {0o600}
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_every_public_name_can_be_imported() -> None:
    for name in sojourn.__all__:
        assert getattr(sojourn, name) is not None
    with pytest.raises(AttributeError):
        sojourn.nothing  # noqa: B018
    assert set(sojourn.__all__) <= set(dir(sojourn))


def test_a_policy_is_given_when_the_store_is_opened() -> None:
    policy = ConversationPolicy(max_age=timedelta(minutes=1), fold_above=4, summarise=lambda messages: "short")
    with sojourn.open("memory:", conversations=policy) as store:
        talk = store.conversations.create("ann")
        for number in range(5):
            store.conversations.append(talk.id, "user", f"{number}")
        assert store.sweep()["folded"] == 1
        assert store.conversations.messages(talk.id)[0].text == "short"
