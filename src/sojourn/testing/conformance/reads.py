"""Reads: ranges of a log, lists paged by key, counts, what is due, and search."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sojourn.core.batch import Create, Deadline, Delete, Guard, NewEntry, Redact, Touch, Write
from sojourn.core.query import EntryQuery, SearchQuery, SessionOrder, SessionQuery
from sojourn.core.session import Session, State
from sojourn.core.times import MINUTE, SECOND, to_micros
from sojourn.errors import InvalidValueError, UnsupportedError
from sojourn.testing.clocks import START
from sojourn.testing.conformance.lab import HOME, INDEXING, KIND, TENANT, Lab, lines, needs

NOW = to_micros(START)
BUCKET = MINUTE

ORDERS: tuple[SessionOrder, ...] = ("activity", "idle", "created", "oldest")
STATES: tuple[tuple[State, ...], ...] = (("active",), ("ended",), ("active", "ended", "archived"))

ALL = SessionQuery(TENANT, (KIND,))


class Reads:
    """What reads promise."""

    # -- logs ------------------------------------------------------------------------------------------------------

    async def test_sequences_are_read_by_range(self, lab: Lab) -> None:
        """Ranges are inclusive, may be several, and may reach past the end."""
        made = await lab.create(*"abcdefgh")

        async def read(query: EntryQuery) -> str:
            return "".join(text or "" for text in await lab.texts(made, query))

        assert await read(EntryQuery()) == "abcdefgh"
        assert await read(EntryQuery(ranges=((3, 5),))) == "cde"
        assert await read(EntryQuery(ranges=((1, 1), (4, 5), (8, 99)))) == "adeh"
        assert await read(EntryQuery(ranges=())) == ""
        assert await read(EntryQuery(ranges=((9, 99),))) == ""
        assert await read(EntryQuery(limit=3)) == "abc"
        assert await read(EntryQuery(last=3)) == "fgh"
        assert await read(EntryQuery(last=0)) == ""
        assert await read(EntryQuery(ranges=((2, 3), (5, 6)), last=3)) == "cef"
        assert await read(EntryQuery(ranges=((2, 3), (5, 6)), limit=3)) == "bce"

    async def test_sequences_are_read_by_type_label_and_topic(self, lab: Lab) -> None:
        """Filters combine; limits count what passes them."""
        kinds = [("say", "x", "1"), ("do", "x", "2"), ("say", "y", "2"), ("do", "y", "1"), ("say", "x", "2")]
        made = await lab.create(entries=tuple(NewEntry(type_, label, topic) for type_, label, topic in kinds))

        async def read(query: EntryQuery) -> list[int]:
            return [entry.sequence for entry in await lab.entries(made, query)]

        assert await read(EntryQuery(types=("say",))) == [1, 3, 5]
        assert await read(EntryQuery(types=("say", "do"), labels=("y",))) == [3, 4]
        assert await read(EntryQuery(labels=("x",), topic="2")) == [2, 5]
        assert await read(EntryQuery(types=("say",), limit=2)) == [1, 3]
        assert await read(EntryQuery(types=("say",), last=2)) == [3, 5]
        assert await read(EntryQuery(types=())) == []

    async def test_sequences_are_read_with_all_that_was_given(self, lab: Lab) -> None:
        """An entry comes back with every field, and what the commit gave it."""
        entry = NewEntry("say", "x", "t", "ann", "hi", '{"a":1}', covers=(1, 2), key="k")
        made = await lab.create("a", "b")
        now = lab.later(seconds=1)
        await lab.done(Write(made, entries=(entry,), next_phase=True))
        stored = (await lab.entries(made, EntryQuery(last=1)))[0]
        assert (stored.type, stored.label, stored.topic, stored.author) == ("say", "x", "t", "ann")
        assert (stored.text, stored.data, stored.covers, stored.key) == ("hi", '{"a":1}', (1, 2), "k")
        assert (stored.sequence, stored.phase, stored.version, stored.created_at) == (3, 1, 2, now)
        assert not stored.redacted

    # -- lists -----------------------------------------------------------------------------------------------------

    async def test_lists(self, lab: Lab) -> None:
        """In each order every page size gives the same rows, without gaps or repeats."""
        made = [await _made(lab, place) for place in range(12)]
        await lab.done(Touch(made[2], bucket=BUCKET), Touch(made[9], bucket=BUCKET))
        sessions = [await lab.session(session) for session in made]
        by_activity = sorted(sessions, key=_place, reverse=True)
        expected: dict[SessionOrder, list[Session]] = {
            "activity": by_activity,
            "idle": by_activity[::-1],
            "created": sessions[::-1],
            "oldest": sessions,
        }
        for order, wanted in expected.items():
            query = replace(ALL, order=order)
            assert await lab.engine.list(query) == wanted
            for size in (1, 2, 5, 11, 12):
                pages = await _pages(lab, replace(query, limit=size))
                assert [len(page) for page in pages[:-2]] == [size] * (len(pages) - 2)
                assert [found for page in pages for found in page] == wanted

    async def test_lists_by_kind_state_owner_and_tag(self, lab: Lab) -> None:
        """Each filter alone and with others, on every page, in every order."""
        made: list[Session] = []
        tags: dict[str, tuple[str, ...]] = {}
        for place in range(24):
            session = lab.new_id()
            tags[session] = ("red",) if place % 3 else ("red", "blue")
            owner, kind = ("ann", "bob", None)[place % 3], ("note", "task")[place // 2 % 2]
            state: State = "ended" if place % 5 == 0 else "active"
            lab.later(seconds=20)
            await lab.done(Create(session, kind, owner, state, tags=tags[session], bucket=BUCKET))
            made.append(await lab.session(session))
        filters = [
            (kinds, states, owner, tag)
            for kinds in (("note",), ("note", "task"))
            for states in STATES
            for owner in (None, "ann")
            for tag in (None, "blue")
        ]
        for kinds, states, owner, tag in filters:
            wanted = sorted(
                (
                    found
                    for found in made
                    if found.kind in kinds
                    and found.state in states
                    and owner in (None, found.owner)
                    and (tag is None or tag in tags[found.id])
                ),
                key=_place,
                reverse=True,
            )
            query = SessionQuery(TENANT, kinds, states, owner, tag, limit=4)
            assert [found for page in await _pages(lab, query) for found in page] == wanted
            assert await lab.engine.list(replace(query, order="idle", limit=50)) == wanted[::-1]
            created = sorted(wanted, key=lambda found: found.id, reverse=True)
            assert await lab.engine.list(replace(query, order="created", limit=50)) == created

    async def test_lists_of_idle_sessions(self, lab: Lab) -> None:
        """Those that were not active since an instant, longest idle first; one at that instant is not among them."""
        made = [await _made(lab, place) for place in range(6)]
        sessions = [await lab.session(session) for session in made]
        for found in sessions:
            idle = [other for other in sessions if other.active_at < found.active_at]
            for order in ORDERS:
                listed = await lab.engine.list(replace(ALL, order=order, active_before=found.active_at))
                assert sorted(listed, key=_place) == sorted(idle, key=_place)

    async def test_lists_of_idle_sessions_go_by_activity_and_not_by_its_bucket(self, lab: Lab) -> None:
        """Of two sessions in one bucket, only the one that was active before the instant is idle since then."""
        early, late = [await lab.create(tags=("red",), owner="ann", bucket=MINUTE) for _ in range(2)]
        between = lab.later(seconds=20)
        lab.later(seconds=20)
        await lab.done(Touch(late, bucket=MINUTE))
        for order in ORDERS:
            for narrowed in (ALL, replace(ALL, tag="red"), replace(ALL, owner="ann")):
                listed = await lab.engine.list(replace(narrowed, order=order, active_before=between))
                assert [found.id for found in listed] == [early]

    async def test_lists_of_a_home(self, lab: Lab) -> None:
        """An owner's or a tag's sessions may be in several homes: those of one, on every page and counted."""
        homes = ("ann", "project", "ann", "project", "ann")
        made = [await lab.create(home=home, owner="ann", tags=("red",)) for home in homes]
        await lab.create(home="ann", owner="bob")
        for home in ("ann", "project", "nowhere"):
            wanted = [session for session, of in zip(made, homes, strict=True) if of == home]
            for narrowed in (SessionQuery(TENANT, (KIND,), owner="ann"), SessionQuery(TENANT, (KIND,), tag="red")):
                for order in ORDERS:
                    query = replace(narrowed, home=home, order=order, limit=1)
                    listed = [found.id for page in await _pages(lab, query) for found in page]
                    assert sorted(listed) == sorted(wanted)
            assert await lab.engine.count(TENANT, KIND, owner="ann", home=home) == len(wanted)
            assert await lab.engine.count(TENANT, KIND, tag="red", home=home) == len(wanted)
        with pytest.raises(InvalidValueError):
            SessionQuery(TENANT, (KIND,), home="ann")

    async def test_lists_follow_tags_and_states(self, lab: Lab) -> None:
        """A tag that was given or taken away, and a state that changed, move the session between lists at once."""
        made = await lab.create(tags=("red",))

        async def listed(**fields: Any) -> bool:
            found = await lab.engine.list(replace(ALL, **fields))
            return [session.id for session in found] == [made]

        await lab.done(Write(made, tag=("blue", "red"), untag=("green",)))
        assert (await listed(tag="red"), await listed(tag="blue")) == (True, True)
        await lab.done(Write(made, untag=("red",)))
        assert (await listed(tag="red"), await listed(tag="blue")) == (False, True)
        await lab.done(Write(made, state="ended"))
        assert (await listed(tag="blue"), await listed(tag="blue", states=("ended",))) == (False, True)
        await lab.done(Write(made, guard=_ANY, tag=("red",)))
        assert await listed(tag="red", states=("ended",))
        await lab.done(Write(made, guard=_ANY, state="active"))
        assert (await listed(tag="red"), await listed()) == (True, True)
        await lab.done(Delete(made))
        assert not await listed(tag="red", states=("active", "ended", "archived"))

    async def test_lists_by_tag_agree_with_the_tags_of_each_session(self, lab: Lab) -> None:
        """A session tells its tags, sorted; what has none, is deleted or of another tenant has none."""
        made = await lab.create(tags=("b", "a", "b"))
        assert await lab.engine.tags(TENANT, made) == ["a", "b"]
        await lab.done(Write(made, tag=("c", "a"), untag=("b", "x")))
        assert await lab.engine.tags(TENANT, made) == ["a", "c"]
        assert await lab.engine.tags("other", made) == []
        assert await lab.engine.tags(TENANT, await lab.create()) == []
        await lab.done(Delete(made))
        assert await lab.engine.tags(TENANT, made) == []

    async def test_lists_give_whole_sessions(self, lab: Lab) -> None:
        """What a list shows is what loading shows."""
        await lab.create("a", owner="ann", data={"x": [1]}, counters={"n": 2}, deadline=Deadline(after=SECOND))
        parent = await lab.create("a", "b")
        await lab.create(base=(parent, 1))
        listed = await lab.engine.list(ALL)
        assert listed == [await lab.session(found.id) for found in listed]
        assert len(listed) == 3

    async def test_lists_are_counted(self, lab: Lab) -> None:
        """How many are active: of a kind, with a tag, of an owner."""
        for place in range(6):
            await lab.create(owner="ann" if place % 2 else None, tags=("red",) if place % 3 else ())
        ended = await lab.create(owner="ann", tags=("red",), state="ended")
        await lab.create(kind="other", owner="ann", tags=("red",))

        async def counts() -> list[int]:
            count = lab.engine.count
            return [
                await count(TENANT, KIND),
                await count(TENANT, KIND, owner="ann"),
                await count(TENANT, KIND, tag="red"),
                await count(TENANT, KIND, tag="blue"),
                await count(TENANT, "none"),
            ]

        assert await counts() == [6, 3, 4, 0, 0]
        await lab.done(Write(ended, guard=_ANY, state="active"))
        assert await counts() == [7, 4, 5, 0, 0]
        await lab.done(Delete(ended))
        assert await counts() == [6, 3, 4, 0, 0]

    async def test_counts(self, lab: Lab) -> None:
        """Since an instant: of a kind, with a tag, of an owner; a touch brings one back, a passed deadline takes it out."""
        made = []
        for place in range(8):
            owner, tags = "ann" if place % 2 else None, ("red",) if place < 6 else ()
            deadline = Deadline(after=(10 + place) * MINUTE) if place % 4 == 0 else None
            made.append(await lab.create(owner=owner, tags=tags, deadline=deadline, bucket=BUCKET))
            lab.later(minutes=1)
        await lab.create(kind="other", owner="ann", tags=("red",), bucket=BUCKET)
        await lab.create(tenant="elsewhere", owner="ann", tags=("red",), deadline=Deadline(after=SECOND), bucket=BUCKET)
        ended = await lab.create(owner="ann", tags=("red",), bucket=BUCKET)
        await lab.done(Write(ended, state="ended"))

        async def counts(minutes: int) -> list[int]:
            since = NOW + minutes * MINUTE
            wanted: list[dict[str, str]] = [{}, {"tag": "red"}, {"owner": "ann"}, {"tag": "blue"}]
            return [await lab.engine.count(TENANT, KIND, active_after=since, **filters) for filters in wanted]

        assert await counts(0) == [8, 6, 4, 0]
        assert await counts(3) == [5, 3, 3, 0]
        assert await counts(8) == [0, 0, 0, 0]
        lab.later(minutes=2)
        await lab.done(Touch(made[1], bucket=BUCKET))
        assert await counts(3) == [6, 4, 4, 0], "session 1 is back"
        assert await counts(0) == [7, 5, 4, 0], "session 0 is past its deadline"
        lab.later(minutes=8)
        assert await counts(3) == [5, 3, 4, 0], "session 4 is past its deadline"
        assert await lab.engine.count(TENANT, KIND) == 8, "what is past its deadline is active until somebody closes it"
        assert await lab.engine.count("elsewhere", KIND, active_after=0) == 0
        for filters, count in (({}, 5), ({"tag": "red"}, 3), ({"owner": "ann"}, 4)):
            assert await lab.engine.count(TENANT, KIND, home=HOME, active_after=NOW + 3 * MINUTE, **filters) == count
            assert await lab.engine.count(TENANT, KIND, home="another", active_after=0, **filters) == 0

    # -- due -------------------------------------------------------------------------------------------------------

    async def test_due(self, lab: Lab) -> None:
        """From its deadline on, earliest first, as many as asked for, of one tenant or of all."""
        seconds = (3, 1, 2, 60)
        made = [await lab.create(deadline=Deadline(after=second * SECOND)) for second in seconds]
        lab.later(milliseconds=500)
        other = await lab.create(tenant="other", deadline=Deadline(after=SECOND))
        await lab.create()

        async def due(tenant: str | None, limit: int = 10) -> list[str]:
            return [found.id for found in await lab.engine.due(tenant, limit)]

        assert await due(None) == []
        lab.later(milliseconds=500, microseconds=-1)
        assert await due(None) == []
        lab.later(microseconds=1)
        assert await due(None) == [made[1]]
        lab.later(seconds=5)
        assert await due(TENANT) == [made[1], made[2], made[0]]
        assert await due(None) == [made[1], other, made[2], made[0]]
        assert await due("other") == [other]
        assert await due(TENANT, 2) == [made[1], made[2]]

    async def test_due_ahead(self, lab: Lab) -> None:
        """What comes next is told before its time; the last moment of the span is within it."""
        made = [await lab.create(deadline=Deadline(after=second * SECOND)) for second in (3, 1, 2)]
        other = await lab.create(tenant="other", deadline=Deadline(after=SECOND))

        async def due(ahead: int, limit: int = 10, tenant: str | None = TENANT) -> list[str]:
            return [found.id for found in await lab.engine.due(tenant, limit, ahead)]

        assert await due(SECOND - 1) == []
        assert await due(SECOND) == [made[1]]
        assert await due(9 * SECOND) == [made[1], made[2], made[0]]
        assert await due(9 * SECOND, 1) == [made[1]]
        assert sorted(await due(SECOND, tenant=None)) == sorted([made[1], other])
        lab.later(seconds=2)
        assert await due(0) == [made[1], made[2]]
        assert await due(SECOND) == [made[1], made[2], made[0]]

    async def test_due_is_what_is_still_open(self, lab: Lab) -> None:
        """What ended, was deleted, or got a later deadline is not due any more."""
        made = [await lab.create(deadline=Deadline(after=SECOND)) for _ in range(5)]
        lab.later(seconds=2)
        await lab.done(
            Write(made[0], state="ended"),
            Delete(made[1]),
            Write(made[2], deadline=Deadline(after=SECOND)),
            Write(made[3], deadline=Deadline()),
        )
        assert await lab.engine.due(TENANT, 10) == [await lab.session(made[4])]
        await lab.done(Write(made[0], guard=_ANY, state="active"))
        assert {found.id for found in await lab.engine.due(TENANT, 10)} == {made[0], made[4]}

    async def test_due_is_claimed_once(self, lab: Lab) -> None:
        """Many sweeps over the same sessions at the same time: each is closed by one of them."""
        made = [await lab.create(deadline=Deadline(after=SECOND)) for _ in range(12)]
        lab.later(seconds=1)

        async def sweep() -> list[str]:
            closed: list[str] = []
            while due := await lab.engine.due(TENANT, 4):
                for found in due:
                    answer = await lab.commit(Write(found.id, state="ended", deadline=Deadline()))
                    if answer.refusal is None:
                        closed.append(found.id)
            return closed

        claimed = [session for sweep_ in await lab.together(*[sweep] * 4) for session in sweep_]
        assert sorted(claimed) == sorted(made)

    # -- search ----------------------------------------------------------------------------------------------------

    @needs("search")
    async def test_search(self, lab: Lab) -> None:
        """All words must match, the last as a prefix; the newest come first; indexing changes no answer."""
        for search in INDEXING:
            kind = f"of {search}"
            one = await lab.create("red apples and pears", "green apples", kind=kind, search=search)
            two = await lab.create("Red APPLES", kind=kind, search=search)
            for _ in range(2):
                assert await _found(lab, kind, "apples") == [(two, 1), (one, 2), (one, 1)]
                assert await _found(lab, kind, "red", "apples") == [(two, 1), (one, 1)]
                assert await _found(lab, kind, "red", "app") == [(two, 1), (one, 1)]
                assert await _found(lab, kind, "app", "red") == []
                assert await _found(lab, kind, "app", prefix=False) == []
                assert await _found(lab, kind, "apples", limit=2) == [(two, 1), (one, 2)]
                assert await _found(lab, kind, "plums") == []
                await lab.index_all()

    @needs("search")
    async def test_search_by_owner_and_topic(self, lab: Lab) -> None:
        """Filters narrow what is found, whatever is indexed."""
        for search in INDEXING:
            kind = f"of {search}"
            entries = (NewEntry("say", topic="a", text="word"), NewEntry("say", topic="b", text="word"))
            ann = await lab.create(kind=kind, owner="ann", entries=entries, search=search)
            bob = await lab.create(kind=kind, owner="bob", entries=entries, search=search)
            for _ in range(2):
                assert await _found(lab, kind, "word", owner="ann") == [(ann, 2), (ann, 1)]
                assert await _found(lab, kind, "word", topic="a") == [(bob, 1), (ann, 1)]
                assert await _found(lab, kind, "word", owner="bob", topic="b") == [(bob, 2)]
                assert await _found(lab, "other kind", "word") == []
                await lab.index_all()

    @needs("search")
    async def test_search_of_forks(self, lab: Lab) -> None:
        """Shared entries are found once: in the parent, then in the oldest fork that has them, indexed before or after."""
        for search in INDEXING:
            for indexed in (True, False):
                kind = f"of {search} {indexed}"
                parent = await lab.create("word one", "word two", "word three", kind=kind, search=search)
                first, second = [
                    await lab.create("word of my own", kind=kind, search=search, base=(parent, base)) for base in (1, 2)
                ]
                if indexed:
                    await lab.index_all()
                found = [(second, 3), (first, 2), (parent, 3), (parent, 2), (parent, 1)]
                for session, now in (
                    (None, found),
                    (parent, [(second, 3), (first, 2), (second, 2), (first, 1)]),
                    (first, [(second, 3), (second, 2), (second, 1)]),
                    (second, []),
                ):
                    if session is not None:
                        await lab.done(Delete(session))
                    for _ in range(2):
                        assert await _found(lab, kind, "word") == now
                        await lab.purge_all()
                        if indexed:
                            await lab.index_all()

    @needs("search")
    async def test_search_of_forks_that_share_with_forks(self, lab: Lab) -> None:
        """A fork of a fork has what both were forked from; pages of what is found are as long as was asked for."""
        for search in INDEXING:
            kind = f"of {search}"
            parent = await lab.create("word", "word", kind=kind, search=search)
            middle = await lab.create("word", "word", kind=kind, search=search, base=(parent, 2))
            young = await lab.create(kind=kind, search=search, base=(middle, 3))
            await lab.done(Delete(parent), Delete(middle))
            for _ in range(2):
                assert await _found(lab, kind, "word") == [(young, 3), (young, 2), (young, 1)]
                assert await _found(lab, kind, "word", limit=2) == [(young, 3), (young, 2)]
                await lab.index_all()
                await lab.purge_all()
            await lab.done(Redact(young, (1, 3)))
            assert await _found(lab, kind, "word") == [(young, 2)]

    @needs("search")
    async def test_search_of_forks_by_owner_and_kind(self, lab: Lab) -> None:
        """Forks of another owner or kind, and those that are pending, are passed over."""
        for search in INDEXING:
            kind, other = f"of {search}", f"other {search}"
            parent = await lab.create("word", kind=kind, owner="ann", search=search)
            await lab.create(kind=other, owner="ann", base=(parent, 1))
            await lab.create(kind=kind, owner="ann", base=(parent, 1), state="pending")
            bob = await lab.create(kind=kind, owner="bob", base=(parent, 1))
            ann = await lab.create(kind=kind, owner="ann", base=(parent, 1))
            await lab.done(Delete(parent))
            for _ in range(2):
                assert await _found(lab, kind, "word", owner="ann") == [(ann, 1)]
                assert await _found(lab, kind, "word", owner="bob") == []
                assert await _found(lab, kind, "word") == [(bob, 1)]
                assert await _found(lab, other, "word") == []
                await lab.index_all()

    @needs("search")
    async def test_search_of_words_in_any_script(self, lab: Lab) -> None:
        """Words are case-folded runs of letters and digits, in every script."""
        text = "Die STRASSE, naïve Ελλάδα – 日本語 ｆｕｌｌ ﬁne x2 snake_case don't"
        for search in INDEXING:
            kind = f"of {search}"
            made = await lab.create(text, kind=kind, search=search)
            for _ in range(2):
                for word in ("strasse", "naïve", "ελλάδα", "日本語", "full", "fine", "x2", "snake", "case", "don", "t"):
                    assert await _found(lab, kind, word, prefix=False) == [(made, 1)]
                for word in ("naive", "and", "or", "not", "near", "日", "k", "o"):
                    assert await _found(lab, kind, word, prefix=False) == []
                await lab.index_all()

    @needs("search")
    async def test_search_is_complete_while_it_is_indexed(self, lab: Lab) -> None:
        """Whatever was committed is found, once, while others index and commit."""
        made = await lab.create(kind="deferred", search="deferred")

        async def write() -> None:
            for number in range(1, 31):
                await lab.append(made, f"word {number}", search="deferred")
                hits = await _found(lab, "deferred", "word", limit=100)
                assert hits == [(made, sequence) for sequence in range(number, 0, -1)]

        async def index() -> None:
            for _ in range(40):
                await lab.engine.index(1)

        await lab.together(write, index, index)

    @needs("search")
    async def test_search_forgets_what_was_deleted(self, lab: Lab) -> None:
        """Deleted and purged sessions are not found, and others are when their place is used again."""
        for search in INDEXING:
            kind = f"of {search}"
            for _ in range(3):
                made = await lab.create("word", "word", kind=kind, search=search)
                assert len(await _found(lab, kind, "word")) == 2
                await lab.done(Delete(made))
                assert await _found(lab, kind, "word") == []
                await lab.purge_all()
                assert await _found(lab, kind, "word") == []
            last = await lab.create("word", kind=kind, search=search)
            for _ in range(2):
                assert await _found(lab, kind, "word") == [(last, 1)]
                await lab.index_all()

    @needs("search")
    async def test_search_finds_what_was_written_while_pending(self, lab: Lab) -> None:
        """Entries of a pending session are found once it is activated, not before."""
        for search in INDEXING:
            kind = f"of {search}"
            made = await lab.create("word", kind=kind, state="pending", search=search)
            await lab.append(made, "word", search=search)
            assert await _found(lab, kind, "word") == []
            await lab.index_all()
            await lab.done(Write(made, state="active"))
            for _ in range(2):
                assert await _found(lab, kind, "word") == [(made, 2), (made, 1)]
                await lab.index_all()

    @needs("search")
    async def test_search_skips_what_is_not_searchable(self, lab: Lab) -> None:
        """Entries without text, those of a kind that is not searched, and redacted ones are not found."""
        for search in INDEXING:
            kind = f"of {search}"
            await lab.create("word", kind=kind, search="off")
            made = await lab.create(kind=kind, search=search, entries=(NewEntry("a", data='"word"'), *lines("word", "word")))
            await lab.done(Redact(made, (2,)))
            for _ in range(2):
                assert await _found(lab, kind, "word") == [(made, 3)]
                await lab.index_all()

    async def test_search_unsupported(self, lab: Lab) -> None:
        """An engine without search says so instead of finding nothing."""
        query = SearchQuery(TENANT, KIND, ("word",))
        try:
            assert await lab.engine.search(query) == []
        except UnsupportedError:
            assert not lab.engine.capabilities.search
        else:
            assert lab.engine.capabilities.search


_ANY = Guard(open=False)


def _place(session: Session) -> tuple[int, str]:
    """Where a session stands in a list by activity: its bucket, then its id."""
    return session.bucket, session.id


async def _made(lab: Lab, place: int) -> str:
    """A session; two or three share a bucket of activity."""
    made = await lab.create(data={"place": place}, bucket=BUCKET)
    lab.later(seconds=25)
    return made


async def _pages(lab: Lab, query: SessionQuery) -> list[list[Session]]:
    """Every page of a list, up to an empty one."""
    pages = [await lab.engine.list(query)]
    while pages[-1]:
        pages.append(await lab.engine.list(replace(query, after=_place(pages[-1][-1]))))
    return pages


async def _found(
    lab: Lab,
    kind: str,
    *words: str,
    prefix: bool = True,
    owner: str | None = None,
    topic: str | None = None,
    limit: int = 20,
) -> list[tuple[str, int]]:
    hits = await lab.engine.search(SearchQuery(TENANT, kind, words, prefix, owner, topic, limit))
    return [(hit.session, hit.entry.sequence) for hit in hits]
