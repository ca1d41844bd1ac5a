"""Stores on PostgreSQL as their users see them: names, schemas, administrators, poolers, watchers, and the next release."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

import sojourn
from sojourn.cli import main
from sojourn.core.batch import Batch, Create, NewEntry, Redact, Write
from sojourn.core.ids import new_id
from sojourn.core.query import EntryQuery, SearchQuery
from sojourn.engines.contract import Capabilities, Clock, Engine
from sojourn.engines.locate import Durability, EngineOptions
from sojourn.engines.postgres import search, watching
from sojourn.engines.postgres.aio import AsyncPostgresEngine
from sojourn.engines.postgres.driver import place_of
from sojourn.engines.postgres.engine import PostgresEngine
from sojourn.engines.postgres.names import CALLED, Names, called
from sojourn.engines.postgres.settings import Settings, settings_of
from sojourn.engines.statements import read_script
from sojourn.errors import SchemaError
from sojourn.shell.bridge import run_sync
from sojourn.testing.conformance import EngineConformance
from sojourn.testing.engines import empty_postgres
from sojourn.testing.needed import needed
from sojourn.testing.servers import Server, find_pgbouncer
from sojourn.testing.servers.postgres import _unprivileged_account
from sojourn.testing.servers.process import free_ports, working_directory

TENANT, HOME = "t", "home"


def tables(url: str) -> set[str]:
    """Everything there is by a name of ours or of a test's."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "select n.nspname || '.' || c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace "
            "where c.relkind = 'r' and n.nspname not in ('pg_catalog', 'information_schema')"
        )
        return {row[0] for row in rows}


# -- names -----------------------------------------------------------------------------------------------------------


def test_several_stores_live_in_one_database(store_url: str, schema_name: str) -> None:
    """By schema, by prefix, or both; what one has the others have not, events and locks included."""
    places = [{}, {"prefix": "chat_"}, {"schema": f"{schema_name}_b"}, {"schema": f"{schema_name}_b", "prefix": "chat_"}]
    stores = [sojourn.open(store_url, engine=EngineOptions(more=more)) for more in places]
    for number, store in enumerate(stores):
        talk = store.conversations.create("ann")
        store.conversations.append(talk.id, "user", f"pears {number}")
        store.sweep()
        assert [hit.message.text for hit in store.conversations.search("pears", user_id="ann")] == [f"pears {number}"]
    for number, store in enumerate(stores):
        talks = store.conversations.list(user_id="ann").items
        assert [store.conversations.messages(talk.id)[0].text for talk in talks] == [f"pears {number}"]
        store.close()
    found = tables(store_url)
    for start in (f"{schema_name}.sojourn_", f"{schema_name}.chat_", f"{schema_name}_b.sojourn_", f"{schema_name}_b.chat_"):
        assert f"{start}session" in found
    with psycopg.connect(store_url, autocommit=True) as connection:
        connection.execute(f"drop schema {schema_name}_b cascade".encode())


@pytest.mark.parametrize(
    ("url", "where"),
    [
        ("postgresql://u:secret@one:1,two:2/db?target_session_attrs=read-write", "PostgreSQL at one:1,two:2/db"),
        ("postgresql://one,two/db", "PostgreSQL at one:5432,two:5432/db"),
        ("postgresql:///db?host=one,two&port=7", "PostgreSQL at one:7,two:7/db"),
        ("postgresql:///db", "PostgreSQL at localhost:5432/db"),
    ],
)
def test_messages_name_every_server_with_its_port(url: str, where: str) -> None:
    assert place_of(url) == where


def test_a_url_says_options_among_those_of_libpq() -> None:
    said = settings_of("postgresql://u@h:5/db?schema=app&application_name=x%20y&connections=3&prepare=off&prefix=p_")
    assert said.url == "postgresql://u@h:5/db?application_name=x%20y"
    assert (said.names.schema, said.names.prefix, said.connections, said.prepare) == ("app", "p_", 3, False)
    assert settings_of("postgresql://h/db", more={"connections": 7}).connections == 7
    assert settings_of("postgresql://h/db?connections=2", more={"connections": 7}).connections == 7


def test_every_name_is_written_out() -> None:
    """No statement and no function relies on the connection's search_path once a schema is named."""
    names = Names("app", "x_")
    text = names.text("\n".join(read_script("sojourn.engines.postgres", file) for file in ("schema.sql", *CALLED)))
    for bare in re.finditer(r"(?<![\w.])x_\w+", text):
        assert text[: bare.start()].endswith("index "), bare
    assert "sojourn_" not in text
    assert {"commit", "time", "purge", "erase", "index", "draft"} <= called()
    assert "app.x_commit_1(" in text


# -- schemas ---------------------------------------------------------------------------------------------------------


def test_an_administrator_runs_what_migrate_prints(
    store_url: str, schema_name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    store = f"{store_url}&schema={schema_name}_sql"
    with pytest.raises(SchemaError, match="has no Sojourn tables yet"):
        sojourn.open(store, migrate=False)
    assert main(["migrate", "--sql", "--store", store]) == 0
    printed = capsys.readouterr().out
    assert f"create schema if not exists {schema_name}_sql;" in printed
    with psycopg.connect(store_url, autocommit=True) as administrator:
        administrator.execute(printed.encode())
    with sojourn.open(store, migrate=False) as opened:
        opened.conversations.append(opened.conversations.create("ann").id, "user", "hello")
    assert main(["migrate", "--sql", "--store", store]) == 0
    assert capsys.readouterr().out == ""
    assert main(["migrate", "--store", store, "--json"]) == 0
    assert '"from":1,"to":1' in capsys.readouterr().out
    assert main(["doctor", "--store", store]) == 1  # the tests' server does not sync
    shown = capsys.readouterr().out
    assert "fsync is off" in shown
    assert "version" in shown
    with psycopg.connect(store_url, autocommit=True) as connection:
        connection.execute(f"drop schema {schema_name}_sql cascade".encode())


WIDER = """
alter table sojourn_session add column note text not null default '';
alter table sojourn_data add column note text;
alter table sojourn_tag add column note text;
alter table sojourn_entry add column note text;
alter table sojourn_share add column note text;
alter table sojourn_alias add column note text;
alter table sojourn_lease add column note text;
alter table sojourn_operation add column note text;
alter table sojourn_shard add column note text;
alter table sojourn_event add column note text;
alter table sojourn_indexed add column note text;
alter table sojourn_word add column note text;
"""


@pytest.fixture(scope="session")
def successors_schema(postgres: Server) -> str:
    """A store that a later release has brought forward."""
    name = "of_a_successor"
    names = Names(name)
    run_sync(run_sync(PostgresEngine.opened(Settings(url=postgres.url, names=names), migrate=True)).close())
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute(names.text(WIDER).encode())
        connection.execute(names.text("update sojourn_meta set value = '2' where name = 'schema'").encode())
    return name


@pytest.fixture
def successors_store(postgres: Server, successors_schema: str) -> str:
    """The same, empty."""
    empty_postgres(postgres.url, successors_schema)
    return f"{postgres.url}?options=-csearch_path%3D{successors_schema}"


class TestOnASuccessorsSchema(EngineConformance):
    """This release keeps every promise on the store of a later one, which has more columns and functions of its own."""

    blocking = True
    capabilities = Capabilities(engine="postgres")

    @pytest.fixture
    def place(self, successors_store: str) -> str:
        return successors_store

    async def open_engine(self, place: str, clock: Clock) -> Engine:
        return await PostgresEngine.open(place, clock)


def test_a_store_that_does_not_serve_this_release_is_refused(store_url: str) -> None:
    run_sync(run_sync(PostgresEngine.open(store_url)).close())
    with psycopg.connect(store_url, autocommit=True) as connection:
        connection.execute("update sojourn_meta set value = '9' where name in ('schema', 'serves')")
    with pytest.raises(SchemaError, match="has schema 9; this release knows up to 1"):
        sojourn.open(store_url)


def test_commits_may_go_without_waiting_for_the_disk(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """durability="normal": the server is asked not to wait, for this commit and nothing else."""
    seen: list[object] = []
    real = psycopg.Connection.execute

    def noticed(self: Any, query: Any, params: Any = None, **more: Any) -> Any:
        if params and "commit_1" in str(query):
            seen.append(params[-1])
        return real(self, query, params, **more)

    monkeypatch.setattr(psycopg.Connection, "execute", noticed)
    chosen: tuple[Durability, ...] = ("full", "normal")
    for durability in chosen:
        with sojourn.open(store_url, durability=durability) as store:
            store.conversations.create("ann")
    assert seen == [False, True]


# -- watchers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("blocking", [True, False], ids=["blocking", "async"])
def test_a_watcher_that_heard_a_notification_looks_less_often(
    store_url: str, blocking: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the first one nobody polls: with looks a minute apart, a commit still wakes the watcher."""
    kind = PostgresEngine if blocking else AsyncPostgresEngine

    async def story() -> None:
        watcher, writer = await kind.open(store_url), await kind.open(store_url)

        async def write() -> None:
            batch = Batch(TENANT, HOME, (Create(new_id(HOME, tenant=TENANT), "note"),))
            assert (await writer.commit(batch)).refusal is None

        seen: list[str] = []
        while not watcher._driver._watching.heard:  # type: ignore[attr-defined]
            tip = await watcher.tip()
            beside = watcher.spawn(partial(_heard, seen, watcher, tip))
            while await watcher.changed(tip, 0.02) == "timeout":
                await write()
            await beside.join()
            await watcher.changed(await watcher.tip(), 0.05)
        monkeypatch.setattr(watching, "REST", 60.0)
        beside = watcher.spawn(partial(_heard, seen, watcher, await watcher.tip()))
        await watcher.sleep(0.2)
        await write()
        await beside.join()
        assert set(seen) == {"now"}
        await watcher.close()
        await writer.close()

    if blocking:
        run_sync(story())
    else:
        asyncio.run(story())


async def _heard(seen: list[str], watcher: Engine, tip: tuple[int, ...]) -> None:
    seen.append(await watcher.changed(tip, 50))


def test_commits_notify_nobody_while_nobody_watches(store_url: str) -> None:
    engine = run_sync(PostgresEngine.open(store_url))
    with psycopg.connect(store_url, autocommit=True) as listener:
        listener.execute('listen "sojourn_changed"')
        batch = Batch(TENANT, HOME, (Create(new_id(HOME, tenant=TENANT), "note"),))
        assert run_sync(engine.commit(batch)).refusal is None
        assert list(listener.notifies(timeout=0)) == []
        watching = engine._driver._watching  # type: ignore[attr-defined]  # it says so in its first pause
        while watching._marked is None:
            assert run_sync(engine.changed(run_sync(engine.tip()), 0.05)) == "timeout"
        batch = Batch(TENANT, HOME, (Create(new_id(HOME, tenant=TENANT), "note"),))
        assert run_sync(engine.commit(batch)).refusal is None
        assert len(list(listener.notifies(timeout=30, stop_after=1))) == 1
    run_sync(engine.close())


def test_who_may_only_read_watches_all_the_same(store_url: str, schema_name: str, postgres: Server) -> None:
    """Saying that somebody watches is a write: a user who may not simply looks more often."""
    writer = run_sync(PostgresEngine.open(store_url))
    strict = f"{store_url}%20-cdefault_transaction_read_only%3Don"
    reader = run_sync(PostgresEngine.open(strict, migrate=False))
    tip = run_sync(reader.tip())
    assert run_sync(reader.changed(tip, 0.01)) == "timeout"
    run_sync(writer.commit(Batch(TENANT, HOME, (Create(new_id(HOME, tenant=TENANT), "note"),))))
    assert run_sync(reader.changed(tip, 5)) == "now"
    with pytest.raises(sojourn.ReadOnlyError):
        run_sync(reader.commit(Batch(TENANT, HOME, (Create(new_id(HOME, tenant=TENANT), "note"),))))
    for engine in (reader, writer):
        run_sync(engine.close())


# -- search ----------------------------------------------------------------------------------------------------------


def test_words_longer_than_the_index_takes_are_told_apart(store_url: str) -> None:
    engine = run_sync(PostgresEngine.open(store_url))
    session = new_id(HOME, tenant=TENANT)
    words = ["x" * 3000 + tail for tail in ("a", "b")]
    entries = tuple(NewEntry("line", text=f"{word} common") for word in words)
    run_sync(engine.commit(Batch(TENANT, HOME, (Create(session, "note", entries=entries, search="deferred"),))))
    for _ in range(2):
        for place, word in enumerate(words, 1):
            found = run_sync(engine.search(SearchQuery(TENANT, "note", (word,), prefix=False)))
            assert [hit.entry.sequence for hit in found] == [place]
        both = run_sync(engine.search(SearchQuery(TENANT, "note", ("x" * 2000,))))
        assert [hit.entry.sequence for hit in both] == [2, 1]
        assert len(run_sync(engine.search(SearchQuery(TENANT, "note", ("common", "x" * 2000))))) == 2
        assert run_sync(engine.search(SearchQuery(TENANT, "note", ("x" * 2000,), prefix=False))) == []
        run_sync(engine.index(10))
    run_sync(engine.close())


def test_what_the_index_reads_while_it_is_redacted_is_not_indexed(store_url: str) -> None:
    """Between the reading and the storing of words the entry is emptied: its words must not come back."""
    engine = run_sync(PostgresEngine.open(store_url))
    session = new_id(HOME, tenant=TENANT)
    entries = (NewEntry("line", text="secret"), NewEntry("line", text="harmless"))
    run_sync(engine.commit(Batch(TENANT, HOME, (Create(session, "note", entries=entries, search="deferred"),))))
    real = search.through

    def late(rows: Any) -> Any:
        run_sync(engine.commit(Batch(TENANT, HOME, (Redact(session, (1,)),))))
        return real(rows)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "through", late)
        assert run_sync(engine.index(10)) == 1
    with psycopg.connect(store_url) as connection:
        kept = connection.execute("select words::text from sojourn_word").fetchall()
    assert len(kept) == 1
    assert "harmless" in kept[0][0]
    assert "secret" not in kept[0][0]
    run_sync(engine.close())


def test_a_long_tail_is_searched_whole(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "TAIL", 5)
    engine = run_sync(PostgresEngine.open(store_url))
    session = new_id(HOME, tenant=TENANT)
    run_sync(engine.commit(Batch(TENANT, HOME, (Create(session, "note"),))))
    for number in range(40):
        entry = NewEntry("line", text="first word" if number == 0 else "word")
        run_sync(engine.commit(Batch(TENANT, "", (Write(session, entries=(entry,), search="deferred"),))))
    found = run_sync(engine.search(SearchQuery(TENANT, "note", ("first",))))
    assert [hit.entry.sequence for hit in found] == [1]
    run_sync(engine.close())


# -- poolers ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def bouncer(postgres: Server) -> Generator[str]:
    """A PgBouncer in transaction mode before the server."""
    program = needed(find_pgbouncer).path
    account = _unprivileged_account()  # it refuses to run as root, as PostgreSQL does
    with working_directory("bouncer", account) as directory, free_ports(1) as (port,):
        (directory / "users").write_text('"postgres" ""\n')
        (directory / "ini").write_text(BOUNCER.format(server=postgres.port, port=port, users=directory / "users"))
        url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
        running = Server(
            [program, directory / "ini"],
            url=url,
            port=port,
            directory=directory,
            ready=lambda _: _answers(url),
            stop_signal=signal.SIGTERM,
            orphan_signal=signal.SIGTERM,
            account=account,
        )
        try:
            running.start()
            yield url
        finally:
            running.stop()


@pytest.fixture(scope="session")
def pooled_schema(postgres: Server) -> str:
    """One whose functions name it: those of `reused_schema` are found by a search path, which a pooler does not keep."""
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("create schema pooled")
    return "pooled"


BOUNCER = """\
[databases]
* = host=127.0.0.1 port={server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
auth_type = trust
auth_file = {users}
pool_mode = transaction
default_pool_size = 3
unix_socket_dir =
max_client_conn = 500
"""


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True


class TestBehindPgBouncer(EngineConformance):
    """Every promise through PgBouncer in transaction mode, with fewer connections than callers; statements are not prepared."""

    blocking = True
    capabilities = Capabilities(engine="postgres")

    @pytest.fixture
    def place(self, bouncer: str, postgres: Server, pooled_schema: str) -> Settings:
        empty_postgres(postgres.url, pooled_schema)
        return Settings(url=bouncer, prepare=False, names=Names(pooled_schema))

    async def open_engine(self, place: Settings, clock: Clock) -> Engine:
        settings = Settings(url=place.url, clock=clock, prepare=False, names=place.names)
        return await PostgresEngine.opened(settings, migrate=True)


def test_the_command_line_works_on_a_server(store_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As it is typed: make a store, talk, look, sweep, export, load."""
    assert main(["migrate", "--store", store_url]) == 0
    assert main(["conversation", "append", "--user", "alice", "user", "Hello", "--store", store_url]) == 0
    assert main(["sweep", "--apply", "--store", store_url]) == 0
    capsys.readouterr()
    assert main(["conversation", "search", "hello", "--store", store_url]) == 0
    assert "Hello" in capsys.readouterr().out
    assert main(["session", "list", "--store", store_url, "--json"]) == 0
    assert '"alice"' in capsys.readouterr().out
    copy = tmp_path / "copy.jsonl"
    assert main(["export", "--store", store_url]) == 0
    copy.write_text(capsys.readouterr().out)
    assert main(["load", str(copy), "--store", f"sqlite:///{tmp_path / 'copy.db'}"]) == 0


def test_the_index_waits_for_nobody_who_redacts(store_url: str) -> None:
    """An entry that somebody holds at this moment is indexed by the next pass; other faults are not taken for that."""
    engine = run_sync(PostgresEngine.open(store_url))
    session = new_id(HOME, tenant=TENANT)
    entries = (NewEntry("line", text="word"),)
    run_sync(engine.commit(Batch(TENANT, HOME, (Create(session, "note", entries=entries, search="deferred"),))))
    with psycopg.connect(store_url) as other:
        other.execute("select 1 from sojourn_entry for update")
        assert run_sync(engine.index(10)) == 0
        other.rollback()
    assert run_sync(engine.index(10)) == 1
    assert len(run_sync(engine.search(SearchQuery(TENANT, "note", ("word",))))) == 1
    run_sync(engine.close())


@pytest.mark.parametrize("tasks", [1, 5])
def test_a_forked_child_of_asynchronous_code_opens_connections_of_its_own(store_url: str, tasks: int) -> None:
    session = new_id(HOME, tenant=TENANT)

    async def make() -> AsyncPostgresEngine:
        engine = await AsyncPostgresEngine.open(store_url)
        await engine.commit(Batch(TENANT, HOME, (Create(session, "note"),)))
        return engine

    async def work(engine: Engine) -> None:
        await asyncio.gather(*(engine.load(TENANT, session) for _ in range(tasks)))
        await engine.commit(Batch(TENANT, "", (Write(session, entries=(NewEntry("line", text="child"),)),)))
        await engine.close()

    async def parent() -> None:
        engine = await make()
        child = os.fork()
        if child == 0:
            code = subprocess_of(work(engine))
            os._exit(code)
        _, status = await asyncio.get_running_loop().run_in_executor(None, os.waitpid, child, 0)
        assert status == 0
        found = await engine.load(TENANT, session, EntryQuery())
        assert [entry.text for entry in found.entries] == ["child"]
        await engine.close()

    asyncio.run(parent())


def subprocess_of(work: Any) -> int:
    """Run in a forked child, in a loop of its own; its exit code."""
    asyncio.events._set_running_loop(None)
    try:
        asyncio.run(work)
    except BaseException:
        return 1
    return 0
