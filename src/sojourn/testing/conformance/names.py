"""Names and borders: aliases that point at one session, tenants that see nothing of each other, text that stays as it is."""

from __future__ import annotations

from itertools import count
from typing import Any, Final

import pytest

from sojourn.core.batch import Change, Create, Delete, Guard, Lend, NewEntry, Point, Touch, Write, Yield
from sojourn.core.codec import check_key
from sojourn.core.ids import home_number
from sojourn.core.query import SearchQuery, SessionQuery
from sojourn.core.session import Alias, AliasKey
from sojourn.core.times import SECOND, to_micros
from sojourn.errors import InvalidValueError, LimitError
from sojourn.testing.clocks import START
from sojourn.testing.conformance.lab import HOME, INDEXING, KIND, TENANT, Lab, alias, lines, needs

NOW = to_micros(START)
CALLERS = 8

TEXTS: Final = (
    "",
    " leading and trailing ",
    "two\nlines\r\nand\ttabs",
    "quotes ' \" ` and %s %% ? $1 {0} \\ \\n \\u0000",
    "; drop table sojourn_session; --",
    "naïve café – Straße – Ελλάδα – Россия",
    "e\u0301 is not \u00e9",
    "日本語 한국어 中文 ไทย",
    "עברית العربية \u202eright to left\u202c",
    "👩‍👩‍👧‍👦 🏳️‍🌈 \U0010ffff \ufeff \u2028 \ue000",
    "\x01\x02\x1b[31m\x7f\x85",
    "null",
    '{"json": [1, true]}',
    "0",
    "x" * 200_000,
)


def _may_be_a_key(text: str) -> bool:
    try:
        return check_key(text, "key") == text
    except (InvalidValueError, LimitError):
        return False


class Names:
    """What aliases promise, what lies between tenants, and what becomes of text."""

    # -- aliases ---------------------------------------------------------------------------------------------------

    async def test_aliases(self, lab: Lab) -> None:
        """An alias moves from the epoch it was seen at; a stale epoch is refused with what holds the name."""
        one, two = await lab.create(), await lab.create()
        assert (await lab.done(Point(alias("a"), one, 0))).epochs == (1,)
        later = lab.later(seconds=1)
        assert (await lab.done(Point(alias("a"), two, 1))).epochs == (2,)
        held = Alias(alias("a"), two, 2, one, later)
        followed = await lab.engine.follow(TENANT, alias("a"))
        assert (followed.alias, followed.session) == (held, await lab.session(two))
        for epoch in (0, 1, 3):
            refusal = await lab.refused(Point(alias("a"), one, epoch))
            assert (refusal.reason, refusal.alias) == ("epoch", held)

    async def test_aliases_raced(self, lab: Lab) -> None:
        """Of many who claim a name at the same time, one gets it, and the others learn who."""
        sessions = [await lab.create() for _ in range(CALLERS)]
        for epoch in range(10):

            async def claim(session: str, epoch: int = epoch) -> str | Alias:
                answer = await lab.commit(Point(alias("a"), session, epoch))
                if answer.refusal is None:
                    return session
                assert answer.refusal.reason == "epoch"
                assert answer.refusal.alias is not None
                return answer.refusal.alias

            claims = await lab.together(*(lambda s=session: claim(s) for session in sessions))
            winners = [session for session in claims if isinstance(session, str)]
            assert len(winners) == 1
            learned = {(held.target, held.epoch) for held in claims if isinstance(held, Alias)}
            assert learned == {(winners[0], epoch + 1)}
            followed = await lab.engine.follow(TENANT, alias("a"))
            assert followed.session is not None
            assert followed.session.id == winners[0]

    async def test_aliases_are_unique_by_namespace_and_key(self, lab: Lab) -> None:
        """The same key in another namespace, or another key, is another alias."""
        one, two, three = [await lab.create() for _ in range(3)]
        await lab.done(Point(alias("a", "x"), one, 0), Point(alias("a", "y"), two, 0), Point(alias("b", "x"), three, 0))
        for key, session in ((alias("a", "x"), one), (alias("a", "y"), two), (alias("b", "x"), three)):
            found = (await lab.engine.follow(TENANT, key)).session
            assert found is not None
            assert found.id == session

    async def test_aliases_that_were_freed_keep_counting(self, lab: Lab) -> None:
        """A freed name points nowhere, remembers where it pointed, and whoever saw it before cannot move it."""
        one = await lab.create()
        await lab.done(Point(alias("a"), one, 0), Point(alias("a"), None, 1))
        followed = await lab.engine.follow(TENANT, alias("a"))
        assert followed.session is None
        assert followed.alias == Alias(alias("a"), None, 2, one, NOW)
        assert (await lab.refused(Point(alias("a"), one, 0))).reason == "epoch"
        assert (await lab.done(Point(alias("a"), one, 2))).epochs == (3,)

    async def test_aliases_may_be_moved_unconditionally(self, lab: Lab) -> None:
        """Without an epoch a name is moved whatever it is."""
        one, two = await lab.create(), await lab.create()
        answer = await lab.done(Point(alias("a"), one, None), Point(alias("a"), two, None), Point(alias("a"), None, None))
        assert answer.epochs == (1, 2, 3)

    async def test_aliases_may_point_at_other_things(self, lab: Lab) -> None:
        """A handle may name a person: it is followed to no session."""
        await lab.done(Point(alias("@ann", "handle"), "ann", 0))
        followed = await lab.engine.follow(TENANT, alias("@ann", "handle"))
        assert followed.session is None
        assert followed.alias is not None
        assert followed.alias.target == "ann"

    async def test_aliases_are_found_by_target(self, lab: Lab) -> None:
        """All names of a session, in the order of namespace and key; those of one home where it is asked for."""
        one = await lab.create()
        far = alias("c", home="far")
        await lab.done(*(Point(key, one, 0) for key in (alias("b"), alias("a"), alias("z", "m"))))
        await lab.done(Point(far, one, 0), home="far")
        found = await lab.engine.aliases(TENANT, target=one)
        assert [(held.key.namespace, held.key.key) for held in found] == [
            ("m", "z"),
            ("name", "a"),
            ("name", "b"),
            ("name", "c"),
        ]
        assert [held.key for held in await lab.engine.aliases(TENANT, target=one, home="far")] == [far]
        assert await lab.engine.aliases(TENANT, target="nobody") == []

    async def test_aliases_freed(self, lab: Lab) -> None:
        """Names of the home that point at a deleted session are freed in the same commit, and keep counting."""
        one, two = await lab.create(), await lab.create()
        far = alias("far", home="far")
        await lab.done(Point(alias("a"), one, 0), Point(alias("b"), one, 0), Point(alias("c"), two, 0))
        await lab.done(Point(far, one, 0), home="far")
        later = lab.later(seconds=1)
        await lab.done(Delete(one))
        for key in (alias("a"), alias("b")):
            assert (await lab.engine.follow(TENANT, key)).alias == Alias(key, None, 2, one, later)
        assert (await lab.engine.follow(TENANT, alias("c"))).session == await lab.session(two)
        assert (await lab.engine.follow(TENANT, far)).session is None
        assert (await lab.refused(Point(alias("a"), two, 1))).reason == "epoch"
        assert (await lab.done(Point(alias("a"), two, 2))).epochs == (3,)

    async def test_aliases_freed_forget_who_was_erased(self, lab: Lab) -> None:
        """No name says any more that it pointed at who was erased, or at a session of theirs; others keep counting."""
        one = await lab.create(owner="ann")
        await lab.done(Point(alias("a"), one, 0), Point(alias("b"), "ann", 0), Point(alias("c"), "ann", 0))
        await lab.done(Point(alias("b"), None, 1), Point(alias("c"), "bob", 1), Point(alias("d"), "bob", 0))
        await lab.done(Delete(one), Point(alias("d"), None, 1))
        while not (await lab.engine.erase(TENANT, "ann", 4)).complete:
            continue
        found = [(await lab.engine.follow(TENANT, alias(key))).alias for key in "abcd"]
        assert found == [
            Alias(alias("a"), None, 0),
            Alias(alias("b"), None, 0),
            Alias(alias("c"), "bob", 2, None, NOW),
            Alias(alias("d"), None, 2, "bob", NOW),
        ]

    # -- homes -----------------------------------------------------------------------------------------------------

    async def test_home(self, lab: Lab) -> None:
        """A batch that names a session or an alias of another home is a mistake, and stores nothing."""
        one, far = await lab.create("a"), await lab.create("b", home="far")
        mistakes: tuple[tuple[Change, ...], ...] = (
            (Point(alias("a"), one, 0), Point(alias("far", home="far"), one, 0)),
            (Write(one, entries=lines("x")), Write(far)),
            (Write(one, entries=lines("x")), Delete(far)),
            (Create(lab.new_id(), KIND), Touch(far)),
            (Create(lab.new_id(), KIND, base=(far, 1)),),
        )
        for changes in mistakes:
            with pytest.raises(InvalidValueError):
                await lab.commit(*changes)
        assert await lab.engine.aliases(TENANT, target=one) == []
        assert await lab.texts(one) == ["a"]
        assert len(await lab.engine.list(SessionQuery(TENANT, (KIND,)))) == 2

    async def test_home_may_be_left_out(self, lab: Lab) -> None:
        """Who knows no more than an id appends without a home, and is remembered; nothing else is without one."""
        made = await lab.create("a")
        append = Write(made, entries=lines("b"))
        assert not (await lab.commit(append, home="", operation="k")).replayed
        assert (await lab.commit(append, home="", operation="k")).replayed
        await lab.done(Write(made, add=(("n", 1),)), Touch(made), home="")
        assert (await lab.session(made)).counters == {"n": 1}
        for changes in ((Write(made, add=(("n", 1),)),), (append, append), (Delete(made),), ()):
            with pytest.raises(InvalidValueError):
                await lab.commit(*changes, home="", operation="other")
        guarded = Write(made, guard=Guard(lease=("lock", 1)), entries=lines("c"))
        more = Delete(made), Point(alias("a", home=""), made, 0), Create(lab.new_id(""), KIND)
        for change in (Lend("lock", "ann", SECOND), Yield("lock", 1), guarded, *more):
            with pytest.raises(InvalidValueError):
                await lab.commit(change, home="")
        assert await lab.texts(made) == ["a", "b"]

    async def test_aliases_freed_in_the_batch_that_moves_them(self, lab: Lab) -> None:
        """A name that was moved away before is left alone; one that was moved to the session before is freed."""
        one, two = await lab.create(), await lab.create()
        await lab.done(Point(alias("a"), one, 0))
        await lab.done(Point(alias("a"), two, 1), Point(alias("b"), one, 0), Delete(one))
        moved = (await lab.engine.follow(TENANT, alias("a"))).alias
        freed = (await lab.engine.follow(TENANT, alias("b"))).alias
        assert moved == Alias(alias("a"), two, 2, one, NOW)
        assert freed == Alias(alias("b"), None, 2, one, NOW)

    # -- tenants ---------------------------------------------------------------------------------------------------

    async def test_tenants(self, lab: Lab) -> None:
        """The same ids, names and keys in two tenants are two of each, and no read crosses."""
        number = home_number("one", HOME)
        two = next(name for name in (f"two {place}" for place in count()) if home_number(name, HOME) == number)
        shared = lab.new_id(tenant="one")  # an id carries the bits of its home, which here is that of both
        key = AliasKey(HOME, "name", "a")
        for tenant in ("one", two):
            await lab.done(
                Create(shared, KIND, owner="ann", tags=("red",), entries=lines(f"of {tenant}")),
                Point(key, shared, 0),
                Lend("lock", tenant, SECOND),
                tenant=tenant,
            )
        await lab.done(Write(shared, set=((("by",), "one"),), state="ended"), tenant="one")
        for tenant, state in (("one", "ended"), (two, "active")):
            found = await lab.session(shared, tenant)
            assert (found.tenant, found.state) == (tenant, state)
            assert [entry.text for entry in await lab.entries(shared, tenant=tenant)] == [f"of {tenant}"]
            assert (await lab.engine.follow(tenant, key)).session == found
            assert {event.session for event in await lab.events(lab.start, tenant)} == {shared}
        assert len(await lab.events(lab.start, two)) == 1
        assert await lab.engine.count(two, KIND, tag="red") == 1
        assert await lab.engine.count("one", KIND, owner="ann") == 0

    async def test_tenants_that_are_empty_see_nothing(self, lab: Lab) -> None:
        """Whatever another tenant has, a read of this one finds nothing."""
        made = await lab.create(owner="ann", tags=("red",))
        await lab.done(Point(alias("a"), made, 0), Write(made, deadline=None))
        for tenant in ("", "T", "t\x1f", "t ", "tt"):
            assert await lab.gone(made, tenant)
            assert (await lab.engine.follow(tenant, alias("a"))).session is None
            assert await lab.engine.aliases(tenant, target=made) == []
            assert await lab.events(lab.start, tenant) == []
            assert await lab.engine.due(tenant, 10) == []
            for query in (SessionQuery(tenant, (KIND,)), SessionQuery(tenant, (KIND,), tag="red")):
                assert await lab.engine.list(query) == []

    async def test_tenants_do_not_write_each_other(self, lab: Lab) -> None:
        """A commit of another tenant finds no session and no lease, and deletes nothing."""
        made = await lab.create()
        await lab.done(Lend("lock", "ann", SECOND), Point(alias("a"), made, 0))
        for change in (Write(made), Delete(made)):
            assert (await lab.refused(change, tenant="other")).reason == "missing"
        assert (await lab.done(Lend("lock", "bob", SECOND), tenant="other")).fences == (1,)
        assert (await lab.done(Point(alias("a"), None, 0), tenant="other")).epochs == (1,)
        assert not await lab.gone(made)

    @needs("search")
    async def test_tenants_are_searched_apart(self, lab: Lab) -> None:
        """Search finds entries of its tenant only, indexed or not."""
        for search in INDEXING:
            one, two = [await lab.create("word", tenant=tenant, kind=search, search=search) for tenant in ("one", "two")]
            for _ in range(2):
                for tenant, made in (("one", one), ("two", two), ("three", None)):
                    hits = await lab.engine.search(SearchQuery(tenant, search, ("word",)))
                    assert [hit.session for hit in hits] == ([made] if made else [])
                await lab.index_all()

    # -- text ------------------------------------------------------------------------------------------------------

    async def test_text(self, lab: Lab) -> None:
        """Text of entries and data comes back unchanged."""
        made = await lab.create(*TEXTS, data={"texts": list(TEXTS)})
        assert await lab.texts(made) == list(TEXTS)
        assert (await lab.session(made)).data == {"texts": list(TEXTS)}

    async def test_text_that_nothing_stores_is_refused(self, lab: Lab) -> None:
        """NUL and lone surrogates anywhere in a batch are its caller's error, before it is queued; nothing is stored."""
        made = await lab.create("a")
        tip = await lab.engine.tip()
        for bad in ("a\0b", "\ud800", "ok \udfff"):
            changes: tuple[Change, ...] = (
                Write(made, entries=lines(bad)),
                Write(made, entries=(NewEntry("line", label=bad),)),
                Write(made, entries=(NewEntry("line", data=bad),)),
                Write(made, entries=(NewEntry("line", author=bad, key=bad),)),
                Write(made, set=((("place",), bad),)),
                Write(made, set=((("place",), {"deep": [bad]}),)),
                Write(made, set=((("place",), {bad: 1}),)),
                Write(made, tag=(bad,)),
                Write(made, add=((bad, 1),)),
                Write(made, reason=bad),
                Create(lab.new_id(), KIND, owner=bad),
                Create(lab.new_id(), KIND, data={"place": bad}),
                Create(lab.new_id(), KIND, counters={bad: 1}),
                Point(alias(bad), made, 0),
                Point(alias("a"), bad, 0),
                Lend(bad, "ann", SECOND),
                Lend("lock", bad, SECOND),
            )
            for change in changes:
                with pytest.raises(InvalidValueError):
                    await lab.commit(change)
            for operation, fingerprint in ((bad, ""), ("k", bad)):
                with pytest.raises(InvalidValueError):
                    await lab.commit(Write(made, entries=lines("b")), operation=operation, fingerprint=fingerprint)
        assert await lab.texts(made) == ["a"]
        assert (await lab.session(made)).version == 1
        assert await lab.engine.tip() == tip

    async def test_text_in_every_place(self, lab: Lab) -> None:
        """Also owners, tags, authors, labels, topics, keys, names, holders, homes and operation ids are just text."""
        for text in filter(_may_be_a_key, TEXTS):
            made = lab.new_id(text)
            entry = NewEntry("line", label=text, topic=text, author=text, text=text, data=text, key=text)
            key = AliasKey(text, text, text)
            changes = (
                Create(made, KIND, owner=text, tags=(text,), entries=(entry,), data={text: text}, counters={text: 1}),
                Point(key, made, 0),
                Lend(text, text, SECOND),
            )
            answer = await lab.commit(*changes, home=text, operation=text, fingerprint=text)
            assert answer.refusal is None
            again = await lab.commit(*changes, home=text, operation=text, fingerprint=text)
            assert (again.replayed, again.moved) == (True, answer.moved)
            session, entries = await lab.session(made), await lab.entries(made)
            assert (session.owner, session.home, session.data, session.counters) == (text, text, {text: text}, {text: 1})
            stored = entries[0]
            assert {stored.label, stored.topic, stored.author, stored.text, stored.data, stored.key} == {text}
            assert (await lab.engine.follow(TENANT, key)).session == session
            for query in (SessionQuery(TENANT, (KIND,), owner=text), SessionQuery(TENANT, (KIND,), tag=text)):
                assert [found.id for found in await lab.engine.list(query)] == [made]
            refusal = await lab.refused(Lend(text, "other", SECOND), home=text)
            assert refusal.lease is not None
            assert (refusal.lease.name, refusal.lease.holder) == (text, text)

    async def test_text_that_is_none_is_not_empty(self, lab: Lab) -> None:
        """No author, text, data or owner is another thing than an empty one."""
        made = await lab.create(entries=(NewEntry("line"), NewEntry("line", author="", text="", data="")), owner=None)
        none, empty = await lab.entries(made)
        assert (none.author, none.text, none.data) == (None, None, None)
        assert (empty.author, empty.text, empty.data) == ("", "", "")
        assert (await lab.session(made)).owner is None

    async def test_text_of_numbers_and_structures(self, lab: Lab) -> None:
        """Data is JSON: numbers keep their type and value, structures their shape and order."""
        data: dict[str, Any] = {
            "whole": [0, -1, 2**53, -(2**63), 2**63 - 1],
            "real": [0.1, -0.5, 1e300, 5e-324],
            "flags": [True, False, None],
            "deep": {"a": {"b": {"c": [[], {}, [[1]]]}}},
            "z": 1,
            "a": 2,
        }
        made = await lab.create(data=data)
        await lab.done(Write(made, set=((("deep", "a", "x"), 1), (("new", "path"), [1.0])), unset=(("z",), ("no", "no"))))
        stored = (await lab.session(made)).data
        data["deep"]["a"]["x"] = 1
        data["new"] = {"path": [1.0]}
        del data["z"]
        assert stored == data
        assert type(stored["new"]["path"][0]) is float
