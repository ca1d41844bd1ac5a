"""What is special about SQLite: plans and statement counts, files, forks, threads and loops, full disks and interrupts."""

from __future__ import annotations

import asyncio
import linecache
import os
import re
import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from itertools import count, product
from pathlib import Path
from types import FrameType
from typing import Any, Protocol, get_args

import pytest

import sojourn
from sojourn.core.batch import Batch, Change, Create, Delete, Point, Touch, Write
from sojourn.core.query import OPEN_STATES, READABLE_STATES, EntryQuery, SearchQuery, SessionOrder, SessionQuery
from sojourn.engines.sqlite import commits as commits_module
from sojourn.engines.sqlite import connections as connections_module
from sojourn.engines.sqlite import reads, schema
from sojourn.engines.sqlite.commits import Job, LoopCommits, ThreadCommits
from sojourn.engines.sqlite.engine import AsyncSqliteEngine, SqliteEngine
from sojourn.engines.sqlite.transaction import SQL, Writing
from sojourn.errors import (
    ClosedError,
    CorruptError,
    EngineError,
    FullError,
    OutcomeUnknownError,
    ReadOnlyError,
    SchemaError,
    UnavailableError,
    UnsupportedError,
)
from sojourn.shell.bridge import run_sync
from sojourn.testing.clocks import ManualClock
from sojourn.testing.conformance.lab import HOME, KIND, TENANT, Lab, alias, at_version, lines

SOON = 10.0
"""Seconds within which what must happen has happened, or the test fails."""


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "sessions.db")


@pytest.fixture
def lab(path: str) -> Iterator[Lab]:
    """A blocking engine on a fresh file."""

    async def open_engine(clock: Callable[[], int]) -> Any:
        return SqliteEngine(path, clock)

    lab = Lab(open_engine, blocking=True)
    run_sync(lab.open())
    yield lab
    run_sync(lab.close())


@pytest.fixture
def engine(lab: Lab) -> SqliteEngine:
    assert isinstance(lab.engine, SqliteEngine)
    return lab.engine


@contextmanager
def opened(path: str, **settings: Any) -> Iterator[SqliteEngine]:
    engine = SqliteEngine(path, ManualClock().micros, **settings)
    try:
        yield engine
    finally:
        run_sync(engine.close())


def batch(*changes: Change, operation: str | None = None) -> Batch:
    return Batch(TENANT, HOME, changes, operation)


def append(session: str, *texts: str, operation: str | None = None) -> Batch:
    return batch(Write(session, entries=lines(*texts)), operation=operation)


def texts_of(engine: SqliteEngine, session: str) -> list[str | None]:
    return [entry.text for entry in run_sync(engine.load(TENANT, session, EntryQuery())).entries]


# -- groups, in both colours ---------------------------------------------------------------------------------------------


class Group(Protocol):
    """Commits works as one group, in their order, behind a busy writer; the answer or the error of each."""

    def __call__(self, engine: SqliteEngine, *works: Batch | Job) -> list[Any]: ...


def group_of_threads(engine: SqliteEngine, *works: Batch | Job, first: Interrupter | None = None) -> list[Any]:
    commits = engine._commits
    assert isinstance(commits, ThreadCommits)
    go, busy = threading.Event(), threading.Event()

    def gate(writing: Writing, connection: sqlite3.Connection) -> None:
        busy.set()
        assert go.wait(SOON)

    def arrived() -> int:
        return len(commits._waiting) - 1 + (first is not None and first.left <= 0)  # the gate is still in the queue

    with ThreadPoolExecutor(len(works) + 1) as pool:
        held = pool.submit(run_sync, commits.submit(gate))
        assert busy.wait(SOON)
        asked: list[Future[Any]] = []
        for work in works:
            run = first if first is not None and not asked else run_sync
            asked.append(pool.submit(run, commits.submit(work)))
            until(lambda: arrived() >= len(asked))
        go.set()
        outcomes = [future.exception(SOON) or future.result() for future in asked]
        held.result(SOON)
    return outcomes


def group_of_tasks(engine: SqliteEngine, *works: Batch | Job) -> list[Any]:
    go = threading.Event()

    def gate(writing: Writing, connection: sqlite3.Connection) -> None:
        assert go.wait(SOON)

    async def whole() -> list[Any]:
        asked = [asyncio.ensure_future(engine._commits.submit(work)) for work in (gate, *works)]
        await asyncio.sleep(0)
        go.set()
        return (await asyncio.gather(*asked, return_exceptions=True))[1:]

    return asyncio.run(whole())


def until(condition: Callable[[], bool]) -> None:
    """Wait for another thread to get somewhere that it tells nobody."""
    limit = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < limit
        os.sched_yield() if hasattr(os, "sched_yield") else None


@pytest.fixture(params=[group_of_threads, group_of_tasks])
def group(request: pytest.FixtureRequest) -> Group:
    chosen: Group = request.param
    return chosen


@pytest.fixture
def grouping(group: Group, path: str, lab: Lab) -> Iterator[SqliteEngine]:
    """An engine of the group's colour on the file of ``lab``."""
    kind = SqliteEngine if group is group_of_threads else AsyncSqliteEngine
    engine = kind(path, lab.clock.micros)
    yield engine
    close(engine)


def close(engine: SqliteEngine) -> None:
    if isinstance(engine, AsyncSqliteEngine):
        asyncio.run(engine.close())
    else:
        run_sync(engine.close())


# -- plans ---------------------------------------------------------------------------------------------------------------


def plan(path: str, sql: str) -> list[tuple[int, str]]:
    """The steps of a statement's plan, each with its parent (0: outermost)."""
    with closing(sqlite3.connect(path)) as connection:
        unbound = [None] * (sql.count("?") if "?1" not in sql else int(max(re.findall(r"\?(\d)", sql))))
        return [(row[1], row[3]) for row in connection.execute(f"explain query plan {sql}", unbound)]


def walks_in(steps: list[tuple[int, str]]) -> list[str]:
    """The steps that read more than they must: scans of tables, indexes made for the statement, sorting."""
    return [step for _, step in steps if re.match(r"SCAN (?!p\b|\(?subquery|CONSTANT|\d)|.*AUTOMATIC|USE TEMP", step)]


LISTS = [
    SessionQuery(TENANT, kinds, states, owner, tag, order, before, 50, after)
    for kinds, states in product((("a",), ("a", "b")), (OPEN_STATES, READABLE_STATES))
    for order in get_args(SessionOrder)
    for owner, tag, before, after in product((None, "ann"), (None, "red"), (None, 5), (None, (5, "x")))
]


def test_every_list_is_walked_along_an_index_and_sorted_in_the_outer_merge_only(path: str, lab: Lab) -> None:
    """Each kind and state is one walk of an index, in order and limited; only the pages of the walks are merged."""
    for query in LISTS:
        sql, values = reads.list_statement(query)
        steps = plan(path, sql)
        assert len(values) == sql.count("?")
        walks = [step for _, step in steps if re.match(r"SEARCH sojourn_(session|tag) USING", step)]
        assert len(walks) == len(query.kinds) * len(query.states)
        narrowed = "tag" if query.tag else "session_owner" if query.owner else "session"
        ordered = "activity" if query.order in ("activity", "idle") else "created"
        assert all(f"INDEX sojourn_{narrowed}_{ordered} (tenant=?" in step and "state=?" in step for step in walks)
        assert set(walks_in(steps)) <= {"USE TEMP B-TREE FOR ORDER BY"}
        assert [parent for parent, step in steps if "TEMP B-TREE" in step] in ([], [0])
        if query.after is not None:
            bound = "(bucket,id)" if ordered == "activity" else "id"
            assert all(f"{bound}<" in step or f"{bound}>" in step for step in walks)


@pytest.mark.parametrize(("tag", "owner"), [(None, None), ("red", None), (None, "ann")])
def test_every_count_is_answered_from_an_index_alone(path: str, lab: Lab, tag: str | None, owner: str | None) -> None:
    steps = plan(path, reads.count_statement(TENANT, KIND, tag, owner)[0])
    assert [step.partition(" USING COVERING INDEX ")[0] for _, step in steps] in (
        ["SEARCH sojourn_session"],
        ["SEARCH sojourn_tag"],
    )


NEVER_WALKS = sorted(set(SQL) - {"match", "purgeable", "tail"})


@pytest.mark.parametrize("name", NEVER_WALKS)
def test_no_statement_scans_or_sorts(path: str, lab: Lab, name: str) -> None:
    """Due, alias, keyed, spoken and all the others find what they want by an index."""
    assert walks_in(plan(path, SQL[name])) == []


def test_search_walks_the_words_and_what_waits_for_the_index_only(path: str, lab: Lab) -> None:
    match = [step for step in walks_in(plan(path, SQL["match"])) if "VIRTUAL TABLE" not in step and "json_each" not in step]
    assert [step for step in match if "sojourn_" in step] == []
    tail = plan(path, SQL["tail"])
    assert any("sojourn_event" in step or " v " in step for _, step in tail)
    assert [step for step in walks_in(tail) if "SCAN" in step and "json_each" not in step] == []


def test_purging_looks_at_deleted_sessions_only(path: str, lab: Lab) -> None:
    steps = plan(path, SQL["purgeable"])
    assert [step for step in walks_in(steps) if "INDEX sojourn_session_deleted" not in step] == []


# -- statements counted --------------------------------------------------------------------------------------------------


@contextmanager
def traced(engine: SqliteEngine) -> Iterator[list[str]]:
    """The beginnings of the statements that the writing connection runs."""
    seen: list[str] = []
    connection = engine._committer._writing()
    connection.set_trace_callback(lambda sql: seen.append(" ".join(sql.split()[:3]).lower()))
    try:
        yield seen
    finally:
        connection.set_trace_callback(None)


def writes_in(seen: list[str]) -> list[str]:
    return [sql for sql in seen if not sql.startswith(("select", "pragma", "begin", "commit"))]


def test_an_append_is_three_writes_and_at_most_three_reads(engine: SqliteEngine, lab: Lab) -> None:
    session = run_sync(lab.create())
    for operation, reads_at_most in ((None, 3), ("key", 4)):
        with traced(engine) as seen:
            run_sync(engine.commit(append(session, "hello", operation=operation)))
        assert (seen[0], seen[-1]) == ("begin immediate", "commit")
        assert sorted(writes_in(seen)) == [
            "insert into sojourn_entry",
            "insert into sojourn_event",
            "update sojourn_session set",
        ]
        assert len(seen) - 2 - 3 <= reads_at_most


def test_a_group_of_appends_is_one_transaction(engine: SqliteEngine, lab: Lab) -> None:
    sessions = [run_sync(lab.create()) for _ in range(10)]
    with traced(engine) as seen:
        group_of_threads(engine, *(append(session, "hello") for session in sessions))
    assert seen.count("begin immediate") == seen.count("commit") == 2  # one of them is the gate's
    assert len(writes_in(seen)) == 30
    assert len(seen) <= 4 + 30 + 10 + 3


def test_a_touch_inside_its_bucket_moves_no_index(engine: SqliteEngine, lab: Lab) -> None:
    session = run_sync(lab.create(bucket=60_000_000, tags=("red",)))
    lab.later(seconds=1)
    with traced(engine) as seen:
        run_sync(engine.commit(batch(Touch(session, bucket=60_000_000))))
    assert writes_in(seen) == ["update sojourn_session set"]
    assert "bucket" not in SQL["advance"]


def test_what_is_refused_writes_nothing(engine: SqliteEngine, lab: Lab) -> None:
    session = run_sync(lab.create())
    with traced(engine) as seen:
        run_sync(engine.commit(batch(Write(session, entries=lines("a")), Write(session, guard=at_version(9)))))
    assert writes_in(seen) == []


# -- processes -----------------------------------------------------------------------------------------------------------


def forked(work: Callable[[], None]) -> int:
    """Run ``work`` in a forked child; its process id."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking beside threads is what is tested
        child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return child


def joined(*children: int) -> None:
    for child in children:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
class TestForks:
    def test_a_forked_child_and_its_parent_go_on_separately(self, engine: SqliteEngine, lab: Lab) -> None:
        session = run_sync(lab.create("parent"))

        def work() -> None:
            for _ in range(20):
                run_sync(engine.commit(append(session, "child")))
            assert "parent" in texts_of(engine, session)

        child = forked(work)
        for _ in range(20):
            run_sync(engine.commit(append(session, "parent")))
        joined(child)
        texts = texts_of(engine, session)
        assert (texts.count("parent"), texts.count("child")) == (21, 20)
        assert run_sync(engine.check()) == []

    def test_a_child_loses_nothing_when_its_parent_closes_the_store(self, engine: SqliteEngine, lab: Lab) -> None:
        """The last one to close a file removes its log; a parent must know that its child has the file open."""
        session = run_sync(lab.create())
        closed, started = os.pipe(), os.pipe()

        def work() -> None:
            run_sync(engine.commit(append(session, "before")))
            os.write(started[1], b"x")
            os.read(closed[0], 1)
            for _ in range(3):
                run_sync(engine.commit(append(session, "after")))

        child = forked(work)
        os.read(started[0], 1)
        run_sync(engine.close())
        with opened(engine.path) as other:
            run_sync(other.commit(append(session, "other")))
        os.write(closed[1], b"x")
        joined(child)
        for end in (*closed, *started):
            os.close(end)
        with opened(engine.path) as other:
            assert texts_of(other, session) == ["before", "other", "after", "after", "after"]

    def test_a_fork_waits_for_those_who_commit_and_read(
        self, engine: SqliteEngine, lab: Lab, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        session = run_sync(lab.create())
        for module in (commits_module, connections_module):
            monkeypatch.setattr(module, "QUIET", 30.0)
        stop = threading.Event()

        def use() -> None:
            while not stop.is_set():
                run_sync(engine.commit(append(session, "parent")))
                run_sync(engine.load(TENANT, session, EntryQuery(last=5)))

        def work() -> None:
            run_sync(engine.commit(append(session, "child")))
            assert run_sync(engine.check()) == []

        with ThreadPoolExecutor(3) as pool:
            users = [pool.submit(use) for _ in range(3)]
            joined(*[forked(work) for _ in range(5)])
            stop.set()
            for user in users:
                user.result(SOON)
        assert texts_of(engine, session).count("child") == 5
        assert run_sync(engine.check()) == []

    def test_a_child_forked_inside_a_commit_is_told(
        self, engine: SqliteEngine, lab: Lab, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What cannot be let go of before the fork must not be used after it; the parent goes on."""
        session = run_sync(lab.create())
        for module in (commits_module, connections_module):
            monkeypatch.setattr(module, "QUIET", 0.01)

        def work() -> None:
            for use in (lambda: run_sync(engine.load(TENANT, session)), lambda: SqliteEngine(engine.path, int)):
                with pytest.raises(UnavailableError, match="forked"):
                    use()

        def fork_inside(writing: Writing, connection: sqlite3.Connection) -> None:
            children.append(forked(work))

        children: list[int] = []
        run_sync(engine._commits.submit(fork_inside))
        run_sync(engine.commit(append(session, "parent")))
        joined(*children)
        assert texts_of(engine, session) == ["parent"]

    def test_an_asynchronous_engine_forks_too(self, path: str, lab: Lab) -> None:
        session = run_sync(lab.create())
        shared = AsyncSqliteEngine(path, lab.clock.micros)

        async def write(text: str) -> None:
            for _ in range(10):
                await shared.commit(append(session, text))
            assert text in [entry.text for entry in (await shared.load(TENANT, session, EntryQuery())).entries]

        asyncio.run(write("before"))
        child = forked(lambda: asyncio.run(write("child")))
        asyncio.run(write("parent"))
        joined(child)
        close(shared)
        texts = run_sync(lab.texts(session))
        assert [texts.count(text) for text in ("before", "child", "parent")] == [10, 10, 10]

    def test_several_processes_keep_one_guard(self, path: str, lab: Lab) -> None:
        session = run_sync(lab.create(data={"sum": 0}))

        def work() -> None:
            with opened(path) as engine:
                done = 0
                while done < 30:
                    seen = run_sync(engine.load(TENANT, session)).session
                    assert seen is not None
                    change = Write(session, guard=at_version(seen.version), set=((("sum",), seen.data["sum"] + 1),))
                    done += run_sync(engine.commit(batch(change))).refusal is None

        joined(*[forked(work) for _ in range(3)])
        assert run_sync(lab.session(session)).data == {"sum": 90}
        assert len(run_sync(lab.events(lab.start))) == 91

    def test_what_was_acknowledged_survives_a_kill(self, path: str, lab: Lab) -> None:
        """Killed while it commits in groups: every number it was told is stored, none twice."""
        session = run_sync(lab.create())
        receive, send = os.pipe()

        def work() -> None:
            with opened(path) as engine, ThreadPoolExecutor(4) as pool:
                for thread in range(4):
                    pool.submit(write, engine, thread)

        def write(engine: SqliteEngine, thread: int) -> None:
            for number in count(thread, 4):
                run_sync(engine.commit(append(session, str(number))))
                os.write(send, f"{number}\n".encode())

        child = forked(work)
        os.close(send)
        told = b""
        while told.count(b"\n") < 200:
            told += os.read(receive, 65536)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        while more := os.read(receive, 65536):
            told += more
        os.close(receive)
        with opened(path) as engine:
            stored = texts_of(engine, session)
            assert run_sync(engine.check()) == []
        acknowledged = told.decode().split("\n")[:-1]
        assert set(acknowledged) <= set(map(str, stored))
        assert len(set(stored)) == len(stored)


def test_a_store_that_was_not_closed_ends_without_a_word(path: str) -> None:
    """No warning, no hanging thread, when a program just ends."""
    program = f"""
        import asyncio
        from sojourn.engines.sqlite.engine import AsyncSqliteEngine, SqliteEngine
        from sojourn.testing.conformance.lab import Lab
        from sojourn.shell.bridge import run_sync
        blocking = Lab(lambda clock: opened(SqliteEngine, clock), blocking=True)
        waiting = Lab(lambda clock: opened(AsyncSqliteEngine, clock), blocking=False)
        async def opened(kind, clock):
            return kind({path!r}, clock)
        async def use(lab):
            await lab.open()
            await lab.create("hello")
        run_sync(use(blocking))
        asyncio.run(use(waiting))
        print("done")
    """
    environment = {**os.environ, "PYTHONPATH": str(Path(sojourn.__file__).parents[1])}
    # An unclosed connection may be told to whoever asks for it (-W default), and only to them.
    command = [sys.executable, "-W", "error", "-W", "ignore::ResourceWarning", "-c", textwrap.dedent(program)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.stdout, ended.stderr, ended.returncode) == ("done\n", "", 0)


# -- threads and loops ---------------------------------------------------------------------------------------------------


def test_many_threads_share_one_store(engine: SqliteEngine, lab: Lab) -> None:
    async def work(name: str) -> None:
        session = await lab.create(owner=name)
        for turn in range(15):
            await lab.append(session, f"{turn}")
            assert await lab.texts(session) == [f"{number}" for number in range(turn + 1)]
        assert [found.id for found in await engine.list(SessionQuery(TENANT, (KIND,), owner=name))] == [session]

    run_sync(lab.together(*(lambda n=str(n): work(n) for n in range(32))))
    assert run_sync(engine.count(TENANT, KIND)) == 32
    assert [event.number for event in run_sync(lab.events(lab.start))] == list(range(1, 32 * 16 + 1))


def test_several_event_loops_share_one_engine(path: str, lab: Lab) -> None:
    shared = AsyncSqliteEngine(path, lab.clock.micros)
    session = run_sync(lab.create())

    async def write(name: str) -> None:
        await asyncio.gather(*(shared.commit(append(session, f"{name}.{turn}")) for turn in range(40)))
        assert await shared.count(TENANT, KIND) == 1

    async def watch() -> None:
        cursor = lab.start
        while cursor != (161,):
            assert await shared.changed(cursor, SOON) == "now"
            cursor = (await shared.events(TENANT, cursor, 50)).cursor

    with ThreadPoolExecutor(6) as pool:
        loops = [pool.submit(asyncio.run, work) for work in (watch(), watch(), *(write(str(n)) for n in range(4)))]
        for loop in loops:
            loop.result(SOON * 2)
    close(shared)
    assert set(run_sync(lab.texts(session))) == {f"{name}.{turn}" for name in range(4) for turn in range(40)}


def test_a_loop_that_ended_does_not_hold_up_the_others(path: str, lab: Lab) -> None:
    """A task that was abandoned with its loop is committed or not; whoever is left is served."""
    shared = AsyncSqliteEngine(path, lab.clock.micros)
    session = run_sync(lab.create())
    go = threading.Event()

    def gate(writing: Writing, connection: sqlite3.Connection) -> None:
        assert go.wait(SOON)

    loop = asyncio.new_event_loop()
    asked: list[Coroutine[Any, Any, Any]] = [shared._commits.submit(gate), shared.commit(append(session, "abandoned"))]
    for coroutine in asked:
        loop.call_soon(coroutine.send, None)
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    for coroutine in asked:
        coroutine.close()
    go.set()
    asyncio.run(shared.commit(append(session, "served")))
    close(shared)
    assert run_sync(lab.texts(session)) == ["abandoned", "served"]


def test_many_open_a_new_file_at_once(path: str) -> None:
    """The file is made and brought to its schema once, whoever comes at the same time."""
    barrier = threading.Barrier(12)

    def work(number: int) -> None:
        barrier.wait(SOON)
        with opened(path) as engine:
            run_sync(engine.commit(batch(Create(f"{number:026d}", KIND))))

    with ThreadPoolExecutor(12) as pool:
        for done in [pool.submit(work, number) for number in range(12)]:
            done.result(6 * SOON)
    with opened(path) as engine:
        assert run_sync(engine.count(TENANT, KIND)) == 12


def test_closing_waits_for_those_who_commit(group: Group, grouping: SqliteEngine, lab: Lab) -> None:
    session = run_sync(lab.create())
    outcomes = group(grouping, *(append(session, str(number)) for number in range(5)))
    assert [outcome.moved[0].first for outcome in outcomes] == [1, 2, 3, 4, 5]
    close(grouping)
    close(grouping)
    with pytest.raises(ClosedError):
        close_then_ask(grouping, append(session, "late"))


def close_then_ask(engine: SqliteEngine, work: Batch) -> None:
    """Ask the committer itself, as one does who passed the engine's own look just before it was closed."""
    if isinstance(engine._commits, LoopCommits):
        asyncio.run(engine._commits.submit(work))
    else:
        run_sync(engine._commits.submit(work))


# -- schema (how it is brought forward is in test_sqlite_schema.py) ------------------------------------------------------


def set_schema(path: str, version: int, serves: object) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("update sojourn_meta set value = ? where name = 'schema'", (version,))
        connection.execute("update sojourn_meta set value = ? where name = 'serves'", (serves,))


@pytest.mark.parametrize("serves", [schema.VERSION + 1, "soon"])
def test_a_newer_schema_is_refused(path: str, serves: object) -> None:
    with opened(path):
        pass
    set_schema(path, schema.VERSION + 1, serves)
    with pytest.raises(SchemaError, match="Upgrade"):
        SqliteEngine(path, int)


def test_without_migration_a_new_file_is_refused(path: str) -> None:
    with pytest.raises(UnavailableError, match="does not exist"):
        SqliteEngine(path, int, migrate=False)
    assert not Path(path).exists()
    Path(path).touch()
    with pytest.raises(SchemaError, match="migrate"):
        SqliteEngine(path, int, migrate=False)


# -- files ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"not a database, but a text that is long enough to be one" * 20, b"x"])
def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(CorruptError, match=r"notes\.txt"):
        SqliteEngine(str(path), int)
    assert path.read_bytes() == content


def test_a_damaged_file_is_told_as_such(path: str) -> None:
    with opened(path) as engine:
        for number in range(50):
            run_sync(engine.commit(batch(Create(f"{number:026d}", KIND, data={"text": "x" * 500}))))
    with open(path, "r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (os.path.getsize(path) - 4096))
    with pytest.raises(CorruptError), opened(path) as engine:
        run_sync(engine.load(TENANT, f"{7:026d}"))


def test_missing_directories_are_made_for_the_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "new" / "sessions.db"
    with opened(str(path)) as engine:
        run_sync(engine.commit(batch(Create("0" * 26, KIND))))
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert modes == {"sessions.db": 0o600, "sessions.db-wal": 0o600, "sessions.db-shm": 0o600}


def test_a_path_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UnavailableError, match="cannot be created"):
        SqliteEngine(str(tmp_path / "file" / "sessions.db"), int)
    with pytest.raises(EngineError):
        SqliteEngine(str(tmp_path), int)


def test_a_read_only_store_reads_and_refuses_every_write(path: str, lab: Lab) -> None:
    session = run_sync(lab.create("a", search="deferred"))
    with opened(path, read_only=True) as engine:
        assert texts_of(engine, session) == ["a"]
        run_sync(lab.append(session, "b"))
        assert texts_of(engine, session) == ["a", "b"]
        verbs: list[Callable[[], Coroutine[Any, Any, object]]] = [
            lambda: engine.commit(append(session, "c")),
            lambda: engine.index(1),
            lambda: engine.erase(TENANT, "ann", 1),
        ]
        for verb in verbs:
            with pytest.raises(ReadOnlyError):
                run_sync(verb())
        assert texts_of(engine, session) == ["a", "b"]


def test_a_read_only_store_must_exist(path: str) -> None:
    with pytest.raises(UnavailableError, match="does not exist"):
        SqliteEngine(path, int, read_only=True)
    assert not os.path.exists(path)


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs"])
def test_network_file_systems_are_refused(path: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections_module, "_file_system", lambda path: kind)
    with pytest.raises(UnsupportedError, match=kind):
        SqliteEngine(path, int)
    assert not os.path.exists(path)


def test_the_file_system_of_a_path_is_that_of_the_nearest_mount(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def mount(point: str, kind: str) -> str:
        return f"36 35 98:0 / {point} rw,noatime shared:1 - {kind} device rw\n"

    inside = str(tmp_path / "with space").replace(" ", "\\040")
    table = mount("/", "ext4") + mount(str(tmp_path), "nfs4") + mount(inside, "xfs") + mount(f"{tmp_path}/a", "cifs")
    (tmp_path / "with space").mkdir()
    monkeypatch.setattr(Path, "read_text", lambda self, **options: table)
    assert connections_module._file_system(tmp_path / "x.db") == "nfs4"
    assert connections_module._file_system(tmp_path / "with space" / "x.db") == "xfs"
    assert connections_module._file_system(tmp_path / "ab" / "x.db") == "nfs4"
    assert connections_module._file_system(Path("/x.db")) == "ext4"


# -- faults --------------------------------------------------------------------------------------------------------------


@contextmanager
def locked(path: str) -> Iterator[None]:
    """Another program holds the write lock."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("begin immediate")
        yield
        other.execute("rollback")


def test_a_busy_file_is_unavailable_within_the_time_limit(
    group: Group, grouping: SqliteEngine, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everybody in the group is told at once: they do not wait one after the other. Reading goes on meanwhile."""
    session = run_sync(lab.create())
    begin, waits = grouping._connections.begin, []

    def counted(connection: sqlite3.Connection) -> None:
        waits.append(connection)
        begin(connection)

    with locked(grouping.path):
        monkeypatch.setattr(grouping._connections, "begin", counted)
        with monkeypatch.context() as hasty:
            for part in (grouping._connections, grouping._commits):
                hasty.setattr(part, "timeout" if hasattr(part, "timeout") else "_timeout", 0.05)
            outcomes = group_while_locked(group, grouping, *(append(session, str(n)) for n in range(20)))
        assert len(waits) < 20, "each waited for itself"
        assert [type(outcome) for outcome in outcomes] == [UnavailableError] * 20
        assert len({id(outcome) for outcome in outcomes}) == 20
        assert texts_of(grouping, session) == []
    assert group(grouping, append(session, "free"))[0].moved[0].first == 1


def group_while_locked(group: Group, engine: SqliteEngine, *works: Batch) -> list[Any]:
    """As a group, but nobody can be busy before it."""
    if group is group_of_tasks:

        async def whole() -> list[Any]:
            return await asyncio.gather(*map(engine.commit, works), return_exceptions=True)

        return asyncio.run(whole())
    with ThreadPoolExecutor(len(works)) as pool:
        asked = [pool.submit(run_sync, engine.commit(work)) for work in works]
        return [future.exception(SOON) or future.result() for future in asked]


def fail(writing: Writing, connection: sqlite3.Connection) -> None:
    connection.execute("insert into sojourn_meta (name, value) values ('half', 'written')")
    connection.execute("insert into sojourn_meta (name, value) values ('half', null)")


def fail_and_roll_back(writing: Writing, connection: sqlite3.Connection) -> None:
    """As a full disk may: the whole transaction is gone, and what follows would commit by itself."""
    connection.execute("rollback")
    raise sqlite3.OperationalError("the disk is gone")


@pytest.mark.parametrize("fault", [fail, fail_and_roll_back])
@pytest.mark.parametrize("place", [0, 2, 4])
def test_one_that_fails_in_a_group_fails_alone(group: Group, grouping: SqliteEngine, lab: Lab, fault: Job, place: int) -> None:
    session = run_sync(lab.create())
    works: list[Batch | Job] = [append(session, str(number)) for number in range(4)]
    works.insert(place, fault)
    outcomes = group(grouping, *works)
    assert isinstance(outcomes.pop(place), EngineError)
    assert [outcome.moved[0].first for outcome in outcomes] == [1, 2, 3, 4]
    assert texts_of(grouping, session) == ["0", "1", "2", "3"]
    with closing(sqlite3.connect(grouping.path)) as connection:
        assert connection.execute("select 1 from sojourn_meta where name = 'half'").fetchall() == []


def test_a_full_disk_fails_those_who_need_room_and_nobody_else(group: Group, grouping: SqliteEngine, lab: Lab) -> None:
    session = run_sync(lab.create())
    connection = grouping._committer._writing()
    pages = connection.execute("pragma page_count").fetchone()[0]
    connection.execute(f"pragma max_page_count = {pages + 20}")
    big = "x" * 200_000
    outcomes = group(
        grouping,
        append(session, "small"),
        batch(Create("0" * 26, KIND), Write(session, entries=lines("with", big)), Point(alias("a"), session, 0)),
        append(session, "also small"),
        append(session, big),
    )
    assert [type(outcome).__name__ for outcome in outcomes] == ["Answer", "FullError", "Answer", "FullError"]
    assert isinstance(outcomes[1], FullError)
    assert texts_of(grouping, session) == ["small", "also small"]
    assert run_sync(lab.gone("0" * 26))
    assert run_sync(lab.engine.follow(TENANT, alias("a"))).session is None
    connection.execute("pragma max_page_count = 1000000")
    assert group(grouping, append(session, big))[0].moved[0].first == 3
    assert [event.version for event in run_sync(lab.events(lab.start, session=session))] == [1, 2, 3, 4]


class Faulty(sqlite3.Connection):
    """A connection whose commit after the next one fails as the disk may: done, or not done, and nobody knows."""

    armed = ""
    passing = False

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        if sql == "commit" and self.passing:
            self.passing = False
        elif sql == "commit" and self.armed:
            done, self.armed = self.armed, ""
            super().execute("commit" if done == "done" else "rollback")
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
            raise error
        return super().execute(sql, *values)


@pytest.mark.parametrize("outcome", ["done", "lost"])
def test_a_commit_that_may_have_happened_is_unknown_until_asked_again(
    group: Group, grouping: SqliteEngine, lab: Lab, outcome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **options: connect(*args, **options, factory=Faulty))
    session = run_sync(lab.create())
    works = [append(session, key, operation=key) for key in ("a", "b")] + [append(session, "c")]
    errors = group_behind_a_fault(group, grouping, outcome, works)
    assert [type(error) for error in errors] == [OutcomeUnknownError] * 3
    assert [error.key for error in errors] == ["a", "b", None]
    again = group(grouping, *works[:2])
    assert [(answer.moved[0].first, answer.replayed) for answer in again] == [
        (1, outcome == "done"),
        (2, outcome == "done"),
    ]
    assert texts_of(grouping, session) == ["a", "b"] + ["c"] * (outcome == "done")


def group_behind_a_fault(group: Group, engine: SqliteEngine, outcome: str, works: list[Batch]) -> list[Any]:
    def arm(writing: Writing, connection: sqlite3.Connection) -> None:
        assert isinstance(connection, Faulty)
        connection.armed, connection.passing = outcome, True

    return group(engine, arm, *works)[1:]


def test_an_interrupted_leader_neither_loses_nor_sinks_the_others(engine: SqliteEngine, lab: Lab) -> None:
    """KeyboardInterrupt inside one operation, wherever it stands: who leads gets it, all others are stored once.

    What the leader itself asked for was committed, unless it is what was interrupted: what is no batch goes alone.
    """

    def interrupt(writing: Writing, connection: sqlite3.Connection) -> None:
        if not struck:
            struck.append(True)
            connection.execute("insert into sojourn_meta (name, value) values ('half', 'written')")
            raise KeyboardInterrupt

    for place in range(4):
        struck: list[bool] = []
        session = run_sync(lab.create())
        works: list[Batch | Job] = [append(session, str(number)) for number in range(3)]
        works.insert(place, interrupt)
        leader, *others = group_of_threads(engine, *works)
        assert isinstance(leader, KeyboardInterrupt)
        assert not [outcome for outcome in others if isinstance(outcome, BaseException)]
        kept = [outcome.moved[0].first for outcome in others if outcome is not None]
        stored = [entry.sequence for entry in run_sync(lab.entries(session))]
        assert stored == [1, 2, 3]
        assert kept == stored[place > 0 :]
        assert run_sync(engine.commit(append(session, "after"))).refusal is None
    with closing(sqlite3.connect(engine.path)) as connection:
        assert connection.execute("select 1 from sojourn_meta where name = 'half'").fetchall() == []


class Interrupter:
    """Raises KeyboardInterrupt at one line of the module that leads and commits, counted from the start of a commit.

    A line of a ``with`` is passed over: no signal is delivered between taking a lock and entering the block, nor between
    leaving the block and giving the lock back, but a tracer would be.
    """

    def __init__(self, line: int) -> None:
        self.left = line

    def __call__(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        sys.settrace(self.trace)
        try:
            return run_sync(coroutine)
        finally:
            sys.settrace(None)

    def trace(self, frame: FrameType, event: str, argument: object) -> Any:
        if frame.f_code.co_filename != commits_module.__file__:
            return None
        if event == "line" and not linecache.getline(commits_module.__file__, frame.f_lineno).strip().startswith("with "):
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
        return self.trace


@pytest.mark.parametrize("others", [0, 2])
def test_an_interrupt_at_any_line_loses_nothing_and_stops_nobody(engine: SqliteEngine, lab: Lab, others: int) -> None:
    session = run_sync(lab.create())
    wanted: set[str] = set()
    for line in count(1):
        interrupter = Interrupter(line)
        names = [f"{line}.{number}" for number in range(others + 1)]
        if others:
            own, *answers = group_of_threads(engine, *(append(session, name) for name in names), first=interrupter)
            assert not [answer for answer in answers if isinstance(answer, BaseException)]
        else:
            own = outcome_of(interrupter, engine.commit(append(session, names[0])))
        assert run_sync(engine.commit(append(session, f"{line}.after"))).refusal is None
        wanted |= {*names[1:], f"{line}.after"}
        if not isinstance(own, KeyboardInterrupt):
            assert interrupter.left > 0
            break
        stored = texts_of(engine, session)
        assert len(stored) == len(set(stored))
        assert wanted <= set(map(str, stored))
    assert line > 40


def outcome_of(run: Interrupter, coroutine: Coroutine[Any, Any, Any]) -> Any:
    try:
        return run(coroutine)
    except KeyboardInterrupt as interrupt:
        return interrupt


def test_an_interrupt_in_the_writer_thread_is_answered_as_unknown(path: str, lab: Lab) -> None:
    """Nothing interrupts a writer thread but what an operation raises itself; nobody is left waiting even so."""
    shared = AsyncSqliteEngine(path, lab.clock.micros)
    session = run_sync(lab.create())

    def interrupt(writing: Writing, connection: sqlite3.Connection) -> None:
        raise KeyboardInterrupt

    outcomes = group_of_tasks(shared, append(session, "a"), interrupt, append(session, "b"))
    for text, outcome in (("a", outcomes[0]), ("b", outcomes[2])):
        stored = text in texts_of(shared, session)
        assert stored if not isinstance(outcome, Exception) else isinstance(outcome, OutcomeUnknownError)
    assert asyncio.run(shared.commit(append(session, "after"))).refusal is None
    close(shared)


def test_an_error_of_the_group_is_not_shared_between_threads(group: Group, grouping: SqliteEngine, lab: Lab) -> None:
    session = run_sync(lab.create())
    first, second = (outcome for outcome in group(grouping, fail, append(session, "x"), fail) if isinstance(outcome, Exception))
    assert first is not second
    assert isinstance(first.__cause__, sqlite3.IntegrityError)


# -- search rows, backups ------------------------------------------------------------------------------------------------


def test_purging_and_redacting_leave_no_words_behind(engine: SqliteEngine, lab: Lab) -> None:
    for search in ("commit", "deferred"):
        session = run_sync(lab.create("secret one", "secret two", search=search))
        run_sync(lab.index_all())
        run_sync(lab.done(Delete(session)))
        run_sync(lab.purge_all())
    with closing(sqlite3.connect(engine.path)) as connection:
        for table in ("sojourn_word", "sojourn_entry", "sojourn_session", "sojourn_data", "sojourn_tag", "sojourn_share"):
            assert connection.execute(f"select count(*) from {table}").fetchone() == (0,), table
        connection.execute("insert into sojourn_words (sojourn_words) values ('integrity-check')")
        found = connection.execute("select count(*) from sojourn_words where sojourn_words match 'secret'").fetchone()
        assert found == (0,)


def test_search_reads_nothing_as_syntax(engine: SqliteEngine, lab: Lab) -> None:
    session = run_sync(lab.create("and or not near x", search="commit"))
    for word in ("and", "or", "not", "near", "x"):
        hits = run_sync(engine.search(SearchQuery(TENANT, KIND, (word,), prefix=False)))
        assert [hit.session for hit in hits] == [session]


@pytest.mark.parametrize("kind", [SqliteEngine, AsyncSqliteEngine])
def test_a_backup_taken_while_others_write_is_whole(tmp_path: Path, path: str, lab: Lab, kind: type[SqliteEngine]) -> None:
    """A copy is the store as of one moment: it opens, it checks, and it has the first n commits and no others."""
    session = run_sync(lab.create("x" * 300_000))
    shared = kind(path, lab.clock.micros)
    stop = threading.Event()

    def write() -> int:
        number = 0
        while not stop.is_set():
            number += 1
            assert run_sync(lab.append(session, str(number))).refusal is None
        return number

    with ThreadPoolExecutor(2) as pool:
        writers = [pool.submit(write) for _ in range(2)]
        for number in range(3):
            size = drive(shared, shared.backup(str(tmp_path / f"{number}.db")))
            assert size == (tmp_path / f"{number}.db").stat().st_size
        stop.set()
        total = sum(writer.result(SOON) for writer in writers)
    close(shared)
    original = run_sync(lab.entries(session))
    assert len(original) == total + 1
    for number in range(3):
        copy = tmp_path / f"{number}.db"
        assert stat.S_IMODE(copy.stat().st_mode) == 0o600
        with opened(str(copy)) as engine:
            assert run_sync(engine.check()) == []
            snapshot = run_sync(engine.load(TENANT, session, EntryQuery()))
            assert snapshot.session is not None
            assert snapshot.entries == original[: snapshot.session.last_sequence]
            assert run_sync(engine.tip()) == (snapshot.session.version,)
    assert sorted(file.name for file in tmp_path.iterdir() if "partial" in file.name) == []


def drive(engine: SqliteEngine, coroutine: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(coroutine) if isinstance(engine, AsyncSqliteEngine) else run_sync(coroutine)


def test_a_backup_that_cannot_be_written_says_so_and_leaves_nothing(tmp_path: Path, engine: SqliteEngine) -> None:
    with pytest.raises(UnavailableError):
        run_sync(engine.backup(str(tmp_path / "missing" / "copy.db")))
    (tmp_path / "old.db").write_text("an older copy")
    engine_facts = run_sync(engine.facts())
    assert engine_facts["journal_mode"] == "wal"
    assert engine_facts["synchronous"] == 2
    assert (tmp_path / "old.db").read_text() == "an older copy"
