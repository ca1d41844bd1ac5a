"""What PostgreSQL does for each statement: no table is walked, by the plans the server itself reports while it runs them.

Plans are taken from auto_explain, which also sees the statements inside of functions, on a store of some thousand sessions
with statistics, and again and again, so that the plans that are kept (generic ones) are seen too.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from sojourn.core.batch import Batch, Create, Deadline, Delete, Guard, Lend, NewEntry, Point, Redact, Touch, Write
from sojourn.core.ids import new_id
from sojourn.core.query import EntryQuery, SearchQuery, SessionOrder, SessionQuery
from sojourn.core.session import AliasKey
from sojourn.core.times import MINUTE, SECOND
from sojourn.engines.postgres.engine import PostgresEngine
from sojourn.shell.bridge import run_sync
from sojourn.testing.servers import Server, postgres_server

TENANT, KIND = "t", "note"
PEOPLE, EACH = 60, 50
SMALL = {"sojourn_shard", "sojourn_indexed", "sojourn_meta"}
"""Sixteen rows, and few: to walk them is right."""
TIMES = 7
"""Each verb so often: after five, a statement's plan is one for all values."""

ORDERS: tuple[SessionOrder, ...] = ("activity", "idle", "created", "oldest")

WALK = re.compile(r"Seq Scan on (sojourn_\w+)")
SKIPPED = re.compile(r"Rows Removed by Filter: (\d+)")
INDEX = re.compile(r"(?:using|Index Scan on) (sojourn_\w+)")


class Store:
    """A filled store on a server that logs every plan."""

    def __init__(self, server: Server, engine: PostgresEngine) -> None:
        self.server = server
        self.engine = engine
        self.sessions: list[str] = []
        self.deleted: list[str] = []

    def commit(self, home: str, *changes: object, key: str | None = None) -> None:
        answer = run_sync(self.engine.commit(Batch(TENANT, home, changes, key)))  # type: ignore[arg-type]
        assert answer.refusal is None, answer.refusal

    def fill(self) -> None:
        """People with conversations: tags, entries, names, leases, deadlines, and some that are gone."""
        for number in range(PEOPLE):
            home = f"person {number}"
            made = [new_id(home, tenant=TENANT) for _ in range(EACH)]
            entries = tuple(
                NewEntry("line", author=home, text=f"word{number} common {place}", key=f"{place}") for place in range(4)
            )
            tags = (f"tag {number % 7}",)
            deadline = Deadline(after=SECOND if number % 9 == 0 else 1_000 * MINUTE)
            self.commit(
                home,
                *(
                    Create(session, KIND, home, tags=tags, entries=entries, deadline=deadline, bucket=MINUTE, search="deferred")
                    for session in made
                ),
                *(Point(AliasKey(home, "name", f"{home}/{place}"), session, None) for place, session in enumerate(made[:5])),
                Lend(f"lock {number}", "ann", SECOND),
                key=f"fill {number}",
            )
            rare = [Create(new_id(home, tenant=TENANT), f"rare {number}", home, "ended") for _ in range(2)]
            self.commit(home, *rare)
            self.commit(home, *(Delete(session) for session in made[:2]))
            self.sessions.extend(made[5:])
            self.deleted.extend(made[:2])
        while run_sync(self.engine.index(500)):
            pass
        with psycopg.connect(self.server.url, autocommit=True) as connection:
            connection.execute("vacuum analyze")

    @contextmanager
    def plans(self) -> Generator[list[str]]:
        """The lines of all plans that the server logs meanwhile."""
        start = self.server.log.stat().st_size
        found: list[str] = []
        yield found
        with self.server.log.open("rb") as log:
            log.seek(start)
            found.extend(log.read().decode(errors="replace").splitlines())


@pytest.fixture(scope="module")
def store(postgres: Server) -> Generator[Store]:
    assert postgres.running
    explained = {
        "session_preload_libraries": "auto_explain",
        "auto_explain.log_min_duration": 0,
        "auto_explain.log_nested_statements": True,
        "auto_explain.log_analyze": True,
        "auto_explain.log_timing": False,
        "auto_explain.log_format": "text",
        "autovacuum": False,  # it would look at what is planned for an empty store
    }
    with postgres_server(**explained) as server:  # type: ignore[arg-type]
        with psycopg.connect(server.url) as connection:
            found = connection.execute("select current_setting('auto_explain.log_min_duration', true)").fetchone()
        if found is None or found[0] != "0":
            pytest.skip("this PostgreSQL has no auto_explain")
        engine = run_sync(PostgresEngine.open(server.url, connections=1))
        made = Store(server, engine)
        made.fill()
        yield made
        run_sync(engine.close())


def seen(lines: list[str]) -> tuple[set[str], set[str]]:
    """The tables that were walked and the indexes that were used."""
    text = "\n".join(lines)
    return set(WALK.findall(text)) - SMALL, set(INDEX.findall(text))


def checked(store: Store, lines: list[str], *indexes: str) -> None:
    walked, used = seen(lines)
    assert not walked, "\n".join(lines)
    assert {f"sojourn_{index}" for index in indexes} <= used, (sorted(used), "\n".join(lines))
    assert store.engine is not None


def test_reads_of_one_session(store: Store) -> None:
    with store.plans() as lines:
        for session in store.sessions[:TIMES]:
            run_sync(store.engine.load(TENANT, session))
    checked(store, lines, "session_id", "data_pkey")
    with store.plans() as lines:
        for session in store.sessions[:TIMES]:
            run_sync(store.engine.load(TENANT, session, EntryQuery(last=2)))
            run_sync(store.engine.load(TENANT, session, EntryQuery(ranges=((1, 2),), types=("line",))))
    checked(store, lines, "session_id", "entry_pkey")
    for verb, indexes in (
        (lambda s: store.engine.tags(TENANT, s), ("session_id", "tag_pkey")),
        (lambda s: store.engine.history(TENANT, s, 10), ("session_id", "event_session")),
        (lambda s: store.engine.aliases(TENANT, target=s), ("alias_target",)),
        (lambda s: store.engine.follow(TENANT, AliasKey("person 3", "name", "person 3/4")), ("alias_pkey", "session_id")),
    ):
        with store.plans() as lines:
            for session in store.sessions[:TIMES]:
                run_sync(verb(session))
        checked(store, lines, *indexes)


def test_a_read_of_entries_is_planned_once(store: Store) -> None:
    """To plan it takes several times as long as to do it."""
    statement = "select sum(generic_plans)::int, sum(custom_plans)::int from pg_prepared_statements where statement like %s"

    def plans() -> tuple[int, int]:
        generic, custom = run_sync(store.engine._driver.fetch(statement, ("%sojourn_pieces%",)))[0]
        return generic or 0, custom or 0

    for query in (EntryQuery(last=2, types=("line",)), EntryQuery(ranges=((2, 3),), limit=2)):
        for session in store.sessions[:20]:  # until it is prepared, and until the server has seen what a plan gains
            run_sync(store.engine.load(TENANT, session, query))
        generic, custom = plans()
        for session in store.sessions[:30]:
            assert run_sync(store.engine.load(TENANT, session, query)).entries
        assert plans() == (generic + 30, custom)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    ("narrowed", "index"),
    [
        ({}, "session_{}"),
        ({"owner": "person 3"}, "session_owner_{}"),
        ({"owner": "person 3", "home": "person 3"}, "session_owner_{}"),
        ({"tag": "tag 3"}, "tag_{}"),
        ({"tag": "tag 3", "owner": "person 3"}, "tag_{}"),
    ],
)
def test_lists_walk_an_index_in_its_order(store: Store, order: SessionOrder, narrowed: dict[str, str], index: str) -> None:
    which = "activity" if order in ("activity", "idle") else "created"
    whole = SessionQuery(TENANT, (KIND,), order=order, limit=10, **narrowed)  # type: ignore[arg-type]
    with store.plans() as lines:
        for query in (whole, replace(whole, states=("active", "ended")), replace(whole, active_before=1 << 60)):
            page = run_sync(store.engine.list(query))
            after = replace(query, after=(page[-1].bucket, page[-1].id))
            for _ in range(TIMES):
                run_sync(store.engine.list(query))
                run_sync(store.engine.list(after))
    checked(store, lines, index.format(which))
    others = [name for name in seen(lines)[1] if name.startswith(("sojourn_session_", "sojourn_tag_")) and "pkey" not in name]
    assert others == [f"sojourn_{index.format(which)}"], "each order has one index"
    if "tag" not in narrowed:  # whose rows do not say the owner
        assert sum(int(count) for count in SKIPPED.findall("\n".join(lines))) == 0


def test_counts_dues_and_events(store: Store) -> None:
    cases: tuple[tuple[dict[str, Any], str], ...] = (({"owner": "person 3"}, "session_owner_"), ({"tag": "tag 3"}, "tag_"))
    for narrowed, index in cases:
        with store.plans() as lines:
            for _ in range(TIMES):
                run_sync(store.engine.count(TENANT, KIND, **narrowed))  # of a whole kind every row counts, whatever the plan
        walked, used = seen(lines)
        assert not walked
        assert any(name.startswith(f"sojourn_{index}") for name in used), used
    with store.plans() as lines:
        for _ in range(TIMES):
            run_sync(store.engine.due(TENANT, 20))
            run_sync(store.engine.due(None, 20))
    checked(store, lines, "session_due")
    with store.plans() as lines:
        tip = run_sync(store.engine.tip())
        for _ in range(TIMES):
            run_sync(store.engine.events(TENANT, tuple(max(0, number - 3) for number in tip), 20))
            run_sync(store.engine.events(TENANT, tip, 20, session=store.sessions[0]))
            run_sync(store.engine.changed(tip, 0))
    checked(store, lines, "event_pkey")


def test_a_count_of_the_active_looks_at_what_is_due_alone(store: Store) -> None:
    """And not at all that are active, for the few among them that are due (`count_recent_statement`)."""
    many = (Create(new_id("crowd", tenant=TENANT), "seen", deadline=Deadline(after=MINUTE)) for _ in range(2000))
    store.commit("crowd", *many)
    with psycopg.connect(store.server.url, autocommit=True) as connection:
        connection.execute("analyze sojourn_session")
    with store.plans() as lines:
        for _ in range(TIMES):
            assert run_sync(store.engine.count(TENANT, "seen", active_after=1)) == 2000
    assert "sojourn_session_due" in seen(lines)[1], "\n".join(lines)


def test_search_goes_by_the_words(store: Store) -> None:
    with store.plans() as lines:
        for number in range(TIMES):
            assert run_sync(store.engine.search(SearchQuery(TENANT, KIND, (f"word{number}", "com"), owner=f"person {number}")))
            assert run_sync(store.engine.search(SearchQuery(TENANT, KIND, (f"word{number}",))))
    checked(store, lines, "word_words", "entry_pkey")
    with store.plans() as lines:
        for number in range(TIMES):
            assert run_sync(store.engine.search(SearchQuery(TENANT, KIND, ("com",), owner=f"person {number}", limit=200)))
    passed_over = [int(count) for count in SKIPPED.findall("\n".join(lines))]
    assert max(passed_over, default=0) <= 4 * EACH, "what is found leads to its sessions, not all of them to it"


def test_a_search_that_was_planned_while_there_was_nothing_goes_by_number_ever_after(store: Store) -> None:
    """A connection keeps its plans. The newest come first and alone, without what else has the words being sorted."""
    with psycopg.connect(store.server.url, autocommit=True) as connection:
        connection.execute("create schema early")
    engine = run_sync(PostgresEngine.open(f"{store.server.url}?options=-csearch_path%3Dearly", connections=1))
    early = Store(store.server, engine)

    def search(word: str, owner: str | None = None) -> list[tuple[str, int]]:
        hits = run_sync(engine.search(SearchQuery(TENANT, KIND, (word,), owner=owner)))
        return [(hit.session, hit.entry.sequence) for hit in hits]

    for owner in (None, "somebody"):
        assert [search("common", owner) for _ in range(TIMES)] == [[]] * TIMES
    said = tuple(NewEntry("line", text=f"common {'rare' if place == 3 else 'word'}") for place in range(60))
    for number in range(80):
        home = f"person {number}"
        made = new_id(home, tenant=TENANT)
        early.commit(home, Create(made, KIND, home, entries=said, search="commit"))
        early.sessions.append(made)
    fork, parent = new_id("person 79", tenant=TENANT), early.sessions[-1]
    early.commit("person 79", Create(fork, KIND, "person 79", base=(parent, 30)))
    early.commit("person 79", Delete(parent))
    with early.plans() as lines:
        newest = search("common")
        assert newest == [(fork, 30 - place) for place in range(20)]
        assert search("common", "person 78") == [(early.sessions[78], 60 - place) for place in range(20)]
        assert search("rare") == [(fork, 4), *((early.sessions[78 - place], 4) for place in range(19))]
    walked, used = seen(lines)
    text = "\n".join(lines)
    assert not walked, text
    assert {name for name in used if name.startswith("sojourn_session")} == {"sojourn_session_pkey"}, text
    assert "sojourn_word_words" in used
    assert "never executed" in text, "the words were looked up in the index for nothing"
    run_sync(engine.close())


def test_an_owner_of_many_entries_and_one_of_few_find_the_same(store: Store) -> None:
    """One is looked up by the words and the owner together, the other alone (`sojourn_search`)."""
    said = tuple(f"said {place} {'rarely' if place == 1200 else 'often'}" for place in range(2100))
    for home, texts in (("talker", said), ("listener", said[1150:1250])):
        session = new_id(home, tenant=TENANT)
        store.commit(home, Create(session, "talk", home))
        for start in range(0, len(texts), 700):
            entries = tuple(NewEntry("line", author=home, text=text) for text in texts[start : start + 700])
            store.commit(home, Write(session, entries=entries, search="commit"))
        for words, count in ((("rar",), 1), (("said", "rar"), 1), (("1200", "often"), 0), (("nothing",), 0)):
            with store.plans() as lines:
                hits = run_sync(store.engine.search(SearchQuery(TENANT, "talk", words, owner=home)))
            assert [hit.entry.text for hit in hits] == ["said 1200 rarely"] * count
            checked(store, lines, "word_words")
        hits = run_sync(store.engine.search(SearchQuery(TENANT, "talk", ("oft",), owner=home, limit=3)))
        assert [hit.entry.text for hit in hits] == list(reversed(texts[-3:]))
    assert len(run_sync(store.engine.search(SearchQuery(TENANT, "talk", ("rar",))))) == 2


def test_commits_look_up_what_they_name(store: Store) -> None:
    """Every change and every guard, alone and in groups."""
    home = "person 7"
    mine = [session for place, session in enumerate(store.sessions) if place // (EACH - 5) == 7]
    with store.plans() as lines:
        for place, session in enumerate(mine[:TIMES]):
            append = Write(
                session,
                Guard(silent="nobody", timely=True),
                entries=(NewEntry("line", author="me", text="said", counted=True, key=f"new {place}"),),
                add=(("n", 1),),
                active=MINUTE,
                search="deferred",
            )
            store.commit("", append, key=f"append {place}")
            fork = new_id(home, tenant=TENANT)
            name = AliasKey(home, "name", f"new {place}")
            store.commit(
                home,
                Write(
                    session,
                    set=((("a",), place),),
                    tag=("fresh",),
                    untag=("tag 0",),
                    search="commit",
                    entries=(NewEntry("x", text="y"),),
                ),
                Touch(session, MINUTE),
                Create(fork, KIND, base=(session, 2)),
                Point(name, fork, 0),
                Lend(f"turn {place}", "me", SECOND),
                key=f"many {place}",
            )
            store.commit(home, Write(session, Guard(lease=(f"turn {place}", 1))), Redact(session, (1,)))
            store.commit(home, Delete(fork))
    checked(
        store, lines, "session_id", "entry_key", "entry_counted", "alias_pkey", "alias_target", "lease_pkey", "operation_pkey",
        "word_entry", "data_pkey", "tag_pkey",
    )  # fmt: skip


def test_sweeps_touch_nothing_but_what_they_take(store: Store) -> None:
    for verb, indexes in (
        (lambda: store.engine.index(5), ("event_deferred", "entry_pkey")),
        (lambda: store.engine.purge(400), ("session_deleted", "entry_pkey", "operation_at")),
        (lambda: store.engine.erase(TENANT, "person 11", 30), ("session_owner_activity|session_owner_created", "entry_pkey")),
    ):
        store.commit("", Write(store.sessions[-1], entries=(NewEntry("line", text="late"),), search="deferred"))
        with store.plans() as lines:
            for _ in range(TIMES):
                run_sync(verb())
        walked, used = seen(lines)
        assert not walked, "\n".join(lines)
        for index in indexes:
            assert used & {f"sojourn_{one}" for one in index.split("|")}, (index, sorted(used))
