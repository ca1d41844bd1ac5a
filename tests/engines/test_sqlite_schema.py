"""The schema's version: made once, brought forward in place, and refused when it is not ours to write."""

from __future__ import annotations

import sqlite3
import threading
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType

import pytest

import sojourn
from sojourn.engines.sqlite import schema

ADD_NOTE = "alter table sojourn_alias add column note text not null default '';\n"


def version(path: Path) -> str:
    connection = sqlite3.connect(path)
    try:
        return str(connection.execute("select value from sojourn_meta where name = 'schema'").fetchone()[0])
    finally:
        connection.close()


@pytest.fixture
def old_store(tmp_path: Path) -> Path:
    """A store that today's release made, with something in it."""
    path = tmp_path / "store.db"
    with sojourn.open(f"sqlite:///{path}") as store:
        talk = store.conversations.get_or_create("alice", channel="web", channel_user_id="w1")
        store.conversations.append(talk.id, "user", "before the migration")
    return path


@pytest.fixture
def next_release(old_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on, a release whose schema is one step further, and on whose stores today's may still write."""
    monkeypatch.setattr(schema, "VERSION", schema.VERSION + 1)
    monkeypatch.setattr(schema, "MIGRATIONS", MappingProxyType({**schema.MIGRATIONS, schema.VERSION: ADD_NOTE}))


@pytest.mark.usefixtures("next_release")
def test_opening_brings_a_store_forward_in_place(old_store: Path) -> None:
    with sojourn.open(f"sqlite:///{old_store}") as store:
        talk = store.conversations.get_or_create("alice", channel="web", channel_user_id="w1")
        assert [message.content for message in talk.messages] == ["before the migration"]
        store.conversations.append(talk.id, "user", "after it")
    assert version(old_store) == str(schema.VERSION)


@pytest.mark.usefixtures("next_release")
def test_eight_who_open_at_once_bring_it_forward_once(old_store: Path) -> None:
    errors: list[BaseException] = []

    def work() -> None:
        try:
            sojourn.open(f"sqlite:///{old_store}").close()
        except BaseException as error:  # told to the test below
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert version(old_store) == str(schema.VERSION)


@pytest.mark.usefixtures("next_release")
def test_without_migrate_an_older_store_is_refused_and_left_alone(old_store: Path) -> None:
    before = version(old_store)
    with pytest.raises(
        sojourn.SchemaError, match=f"has schema {schema.VERSION - 1}, this release needs {schema.VERSION}"
    ) as caught:
        sojourn.open(f"sqlite:///{old_store}", migrate=False)
    assert "sojourn migrate" in str(caught.value)
    assert version(old_store) == before


@pytest.mark.usefixtures("next_release")
def test_a_migration_that_fails_leaves_the_store_as_it_was(old_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = MappingProxyType({schema.VERSION: ADD_NOTE + "insert into nowhere values (1);\n"})
    monkeypatch.setattr(schema, "MIGRATIONS", broken)
    with pytest.raises(sojourn.EngineError):
        sojourn.open(f"sqlite:///{old_store}")
    assert version(old_store) == str(schema.VERSION - 1)
    connection = sqlite3.connect(old_store)
    names = [row[1] for row in connection.execute("pragma table_info(sojourn_alias)")]
    connection.close()
    assert "note" not in names


def test_this_release_goes_on_writing_to_its_successors_store(old_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as later:
        later.setattr(schema, "VERSION", schema.VERSION + 1)
        later.setattr(schema, "MIGRATIONS", MappingProxyType({schema.VERSION: ADD_NOTE}))
        sojourn.open(f"sqlite:///{old_store}").close()
    with sojourn.open(f"sqlite:///{old_store}") as store:
        talk = store.conversations.get_or_create("alice")
        assert store.conversations.append(talk.id, "user", "by the older release").sequence == 2


def test_a_newer_store_that_does_not_serve_this_release_is_refused(old_store: Path) -> None:
    connection = sqlite3.connect(old_store)
    connection.execute("update sojourn_meta set value = '9' where name in ('schema', 'serves')")
    connection.commit()
    connection.close()
    with pytest.raises(
        sojourn.SchemaError, match=rf"has schema 9; this release knows up to {schema.VERSION}\. Upgrade Sojourn\."
    ):
        sojourn.open(f"sqlite:///{old_store}")


LEASES_BY_NAME = """
drop table sojourn_lease;
create table sojourn_lease (
  tenant text not null, name text not null, home text not null, holder text, fence integer not null,
  expires_at integer not null, primary key (tenant, name)
) without rowid;
create index sojourn_lease_home on sojourn_lease (tenant, home);
insert into sojourn_lease values ('default', 'store/lock', 'lease/lock', 'ann', 7, 9000000000000000);
update sojourn_meta set value = '1' where name in ('schema', 'serves');
"""


def shape(path: Path) -> set[tuple[object, ...]]:
    """Every column of every table, and every index, however the statements that made them were written."""
    connection = sqlite3.connect(path)
    columns = connection.execute(
        "select m.name, c.name, c.type, c.'notnull', c.dflt_value, c.pk from sqlite_master m, pragma_table_info(m.name) c "
        "where m.type = 'table'"
    ).fetchall()
    indexes = connection.execute("select name, tbl_name, replace(sql, char(10), ' ') from sqlite_master where type = 'index'")
    found: set[tuple[object, ...]] = {*columns, *indexes.fetchall()}
    connection.close()
    return found


def test_a_store_of_the_first_schema_keeps_its_leases_and_becomes_as_a_new_one(old_store: Path, tmp_path: Path) -> None:
    connection = sqlite3.connect(old_store)
    connection.executescript(LEASES_BY_NAME)
    connection.close()
    with sojourn.open(f"sqlite:///{old_store}") as store:
        with pytest.raises(sojourn.LeaseHeldError) as held:
            store.lease("lock", timedelta(seconds=5)).__enter__()
        assert held.value.holder == "ann"
    sojourn.open(f"sqlite:///{tmp_path / 'new.db'}").close()
    assert shape(old_store) == shape(tmp_path / "new.db")
    assert version(old_store) == str(schema.VERSION)


def test_the_printed_script_makes_the_same_tables(old_store: Path) -> None:
    by_hand = sqlite3.connect(":memory:")
    by_hand.executescript(schema.script(0))
    made = sqlite3.connect(old_store)
    query = "select type, name, sql from sqlite_master where name like 'sojourn_%' order by name"
    assert by_hand.execute(query).fetchall() == made.execute(query).fetchall()
    by_hand.close()
    made.close()


def test_an_application_keeps_its_own_tables_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    own = sqlite3.connect(path)
    own.execute("create table customer (name text)")
    own.execute("insert into customer values ('Ada')")
    own.commit()
    with sojourn.open(f"sqlite:///{path}") as store:
        store.conversations.get_or_create("alice")
        own.execute("insert into customer values ('Grace')")
        own.commit()
    assert own.execute("select count(*) from customer").fetchone() == (2,)
    own.close()
