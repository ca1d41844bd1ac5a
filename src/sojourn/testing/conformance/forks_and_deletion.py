"""Forks share history; redaction, deletion and erasure remove what must go and keep what others still need."""

from __future__ import annotations

from sojourn.core.batch import Create, Delete, Guard, NewEntry, Point, Redact, Write
from sojourn.core.query import READABLE_STATES, EntryQuery, SearchQuery, SessionQuery
from sojourn.testing.conformance.lab import INDEXING, KIND, TENANT, Lab, alias, at_version, lines, needs

ANY = Guard(open=False)


class ForksAndDeletion:
    """What forks, redaction and deletion promise."""

    # -- forks -----------------------------------------------------------------------------------------------------

    async def test_forks(self, lab: Lab) -> None:
        """A fork begins with the parent's entries up to its base; then each goes on by itself."""
        parent = await lab.create("a", "b", "c", data={"x": 1}, counters={"n": 1}, tags=("red",))
        fork = await lab.create(base=(parent, 2))
        assert await lab.texts(fork) == ["a", "b"]
        assert (await lab.append(fork, "d")).moved[0].first == 3
        assert (await lab.append(parent, "e")).moved[0].first == 4
        assert await lab.texts(fork) == ["a", "b", "d"]
        assert await lab.texts(parent) == ["a", "b", "c", "e"]
        found = await lab.session(fork)
        assert (found.base, found.last_sequence, found.data, found.counters) == ((parent, 2), 3, {}, {})
        assert (await lab.session(parent)).version == 2

    async def test_forks_may_begin_with_entries(self, lab: Lab) -> None:
        """Entries that a fork is created with continue behind its base."""
        parent = await lab.create("a", "b")
        fork = lab.new_id()
        answer = await lab.done(Create(fork, KIND, base=(parent, 1), entries=lines("x", "y")))
        assert (answer.moved[0].first, answer.moved[0].last) == (2, 3)
        assert await lab.texts(fork) == ["a", "x", "y"]

    async def test_forks_of_forks(self, lab: Lab) -> None:
        """History is read through every generation, by range, by filter and from the end."""
        eldest = await lab.create("a", "b", "c")
        middle = await lab.create("d", "e", base=(eldest, 2))
        late = await lab.create("f", base=(middle, 3))
        early = await lab.create("g", base=(middle, 1))
        await lab.append(eldest, "later")
        await lab.append(middle, "later")
        assert await lab.texts(late) == ["a", "b", "d", "f"]
        assert await lab.texts(early) == ["a", "g"]
        assert await lab.texts(late, EntryQuery(ranges=((2, 3),))) == ["b", "d"]
        assert await lab.texts(late, EntryQuery(ranges=((1, 1), (4, 9)))) == ["a", "f"]
        assert await lab.texts(late, EntryQuery(last=3)) == ["b", "d", "f"]
        assert await lab.texts(late, EntryQuery(limit=3)) == ["a", "b", "d"]
        assert await lab.texts(late, EntryQuery(last=3, labels=("",))) == ["b", "d", "f"]
        assert [entry.sequence for entry in await lab.entries(late)] == [1, 2, 3, 4]

    async def test_forks_at_either_end(self, lab: Lab) -> None:
        """A base of nothing shares nothing; a base behind the end shares all, and says where that was."""
        parent = await lab.create("a", "b")
        nothing, everything = await lab.create("x", base=(parent, 0)), await lab.create("x", base=(parent, 99))
        assert await lab.texts(nothing) == ["x"]
        assert await lab.texts(everything) == ["a", "b", "x"]
        assert (await lab.session(everything)).base == (parent, 2)

    async def test_forks_made_with_their_parent(self, lab: Lab) -> None:
        """Parent, fork and fork of the fork may be made in one commit."""
        parent, fork, last = lab.new_id(), lab.new_id(), lab.new_id()
        await lab.done(
            Create(parent, KIND, entries=lines("a")),
            Write(parent, entries=lines("b")),
            Create(fork, KIND, base=(parent, 2), entries=lines("c")),
            Create(last, KIND, base=(fork, 3), entries=lines("d")),
        )
        assert await lab.texts(last) == ["a", "b", "c", "d"]
        await lab.done(Delete(parent), Delete(fork))
        await lab.purge_all()
        assert await lab.texts(last) == ["a", "b", "c", "d"]

    async def test_forks_leave_the_parent_as_it_is(self, lab: Lab) -> None:
        """Forking is no change of the parent: no version, no event, also when it has ended."""
        parent = await lab.create("a", state="ended")
        before, tip = await lab.session(parent), await lab.engine.tip()
        fork = await lab.create(base=(parent, 1))
        assert await lab.session(parent) == before
        assert [event.session for event in await lab.events(tip)] == [fork]

    # -- redaction -------------------------------------------------------------------------------------------------

    async def test_redact(self, lab: Lab) -> None:
        """Text, data and author are gone, the place and all else stay; every session that shares it sees it so."""
        parent = await lab.create(
            entries=(NewEntry("say", "x", "t", "ann", "secret", '"secret"', key="k"), *lines("open", author="ann"))
        )
        fork = await lab.create("own", base=(parent, 2))
        await lab.done(Redact(parent, (1,)))
        for session in (parent, fork):
            gone, stays = (await lab.entries(session))[:2]
            assert (gone.text, gone.data, gone.author, bool(gone.redacted)) == (None, None, None, True)
            assert (gone.sequence, gone.type, gone.label, gone.topic, gone.key) == (1, "say", "x", "t", "k")
            assert (stays.text, stays.author, stays.redacted) == ("open", "ann", False)

    async def test_redact_through_a_fork(self, lab: Lab) -> None:
        """Redacting what a fork shares empties it in the parent too; its own entries are its own."""
        parent = await lab.create("a", "b", "c")
        fork = await lab.create("d", base=(parent, 2))
        await lab.done(Redact(fork, (2, 3)))
        assert await lab.texts(fork) == ["a", None, None]
        assert await lab.texts(parent) == ["a", None, "c"]

    async def test_redact_twice(self, lab: Lab) -> None:
        """What is redacted stays so; places that do not exist are passed over; each time the version moves."""
        made = await lab.create("a")
        await lab.done(Redact(made, (1, 7)))
        await lab.done(Redact(made, (1,)))
        assert await lab.texts(made) == [None]
        assert (await lab.session(made)).version == 3

    async def test_redact_is_guarded(self, lab: Lab) -> None:
        """Closed sessions may be redacted; other guards hold as they do for writing."""
        made = await lab.create("a", state="ended")
        assert (await lab.refused(Redact(made, (1,), at_version(2)))).reason == "ended"
        assert (await lab.refused(Redact(made, (1,), Guard(open=False, version=2)))).reason == "version"
        await lab.done(Redact(made, (1,)))
        assert await lab.texts(made) == [None]

    async def test_redact_forgets_who_spoke(self, lab: Lab) -> None:
        """Nothing remembers the author of a redacted entry, not even that they spoke in this phase."""
        made = await lab.create()
        spoken = lines("x", author="ann", counted=True)
        await lab.done(Write(made, entries=spoken))
        assert (await lab.refused(Write(made, guard=Guard(silent="ann")))).reason == "spoken"
        await lab.done(Redact(made, (1,)))
        await lab.done(Write(made, guard=Guard(silent="ann"), entries=(*spoken, *spoken)))
        await lab.done(Redact(made, (2,)))
        assert (await lab.refused(Write(made, guard=Guard(silent="ann")))).reason == "spoken"

    @needs("search")
    async def test_redact_is_not_found_by_search(self, lab: Lab) -> None:
        """Neither in the index nor in what waits for it, redacted through the parent or through a fork."""
        for search in INDEXING:
            for indexed in (True, False):
                parent = await lab.create("secret one", "secret two", "secret three", search=search)
                fork = await lab.create(base=(parent, 3))
                if indexed:
                    await lab.index_all()
                await lab.done(Redact(parent, (1,)))
                await lab.done(Redact(fork, (2,)))
                for _ in range(2):
                    hits = await lab.engine.search(SearchQuery(TENANT, KIND, ("secret",)))
                    assert [(hit.session, hit.entry.text) for hit in hits] == [(parent, "secret three")]
                    await lab.index_all()
                await lab.done(Delete(fork), Delete(parent))
                await lab.purge_all()

    # -- deletion --------------------------------------------------------------------------------------------------

    async def test_delete(self, lab: Lab) -> None:
        """From that commit on nothing finds the session, its id stays used, and nothing can be done to it."""
        made = await lab.create("a", owner="ann", tags=("red",))
        await lab.done(Delete(made))
        assert await lab.gone(made)
        query = SessionQuery(TENANT, (KIND,), READABLE_STATES)
        assert await lab.engine.list(query) == []
        assert await lab.engine.count(TENANT, KIND, owner="ann") == 0
        for change in (Write(made, guard=ANY), Delete(made), Redact(made, (1,)), Create(lab.new_id(), KIND, base=(made, 1))):
            refusal = await lab.refused(change)
            assert (refusal.reason, refusal.session) == ("missing", None)

    async def test_delete_is_guarded(self, lab: Lab) -> None:
        """Closed sessions may be deleted; a stale version deletes nothing."""
        made = await lab.create(state="ended")
        assert (await lab.refused(Delete(made, Guard(open=False, version=2)))).reason == "version"
        assert not await lab.gone(made)
        await lab.done(Delete(made))

    async def test_delete_raced(self, lab: Lab) -> None:
        """Deleted while others append: it is deleted once, and whoever came later finds nothing."""
        made = await lab.create()

        async def append() -> bool:
            for _ in range(20):
                answer = await lab.append(made, "x")
                if answer.refusal is not None:
                    return answer.refusal.reason == "missing"
            return True

        async def delete() -> bool:
            return (await lab.commit(Delete(made))).refusal is None

        results = await lab.together(append, append, delete, delete, append)
        assert (results[0], results[1], results[4]) == (True, True, True)
        assert results[2] != results[3]
        assert await lab.gone(made)

    async def test_delete_keeps_what_forks_share(self, lab: Lab) -> None:
        """After purging a deleted parent its forks read what they read before, down to the last generation."""
        parent = await lab.create("a", "b", "c", "d")
        fork = await lab.create("x", "y", base=(parent, 2))
        last = await lab.create("z", base=(fork, 3))
        await lab.done(Delete(parent), Delete(fork))
        for _ in range(2):
            assert await lab.texts(last) == ["a", "b", "x", "z"]
            await lab.purge_all()
        await lab.done(Redact(last, (1, 3)))
        assert await lab.texts(last) == [None, "b", None, "z"]

    async def test_delete_is_purged_to_the_end(self, lab: Lab) -> None:
        """Purging in small steps ends, however many sessions are kept for their forks; then nothing is left to do."""
        parents = [await lab.create("a", "b", "c") for _ in range(4)]
        forks = [await lab.create("d", base=(parent, 1)) for parent in parents]
        await lab.done(*(Delete(parent) for parent in parents))
        others = [await lab.create("x", "y") for _ in range(4)]
        await lab.done(*(Delete(other) for other in others))
        assert await _purged(lab) >= 4 * 2 + 4 * 3
        assert [await lab.texts(fork) for fork in forks] == [["a", "d"]] * 4
        await lab.done(*(Delete(fork) for fork in forks))
        assert await _purged(lab) >= 4 * 2 + 4 * 2
        for made in (*parents, *forks, *others):
            assert await lab.gone(made)

    async def test_delete_frees_the_id_when_purged_at_most(self, lab: Lab) -> None:
        """What is created anew under the id of a purged session has nothing of the old one."""
        made = await lab.create("old", data={"old": 1}, tags=("old",), counters={"old": 1})
        await lab.commit(Write(made, entries=lines("old")), operation="k")
        await lab.done(Delete(made))
        await lab.purge_all()
        answer = await lab.commit(Create(made, KIND, entries=lines("new")))
        if answer.refusal is None:
            found = await lab.session(made)
            assert (found.data, found.counters, found.version, await lab.texts(made)) == ({}, {}, 1, ["new"])
            assert await lab.engine.list(SessionQuery(TENANT, (KIND,), tag="old")) == []
            assert not (await lab.commit(Write(made, entries=lines("x")), operation="k")).replayed

    # -- erasure ---------------------------------------------------------------------------------------------------

    async def test_delete_all_of_an_owner(self, lab: Lab) -> None:
        """Erasing removes the owner's sessions and names, in steps, and empties what they wrote elsewhere."""
        mine = [await lab.create("a", "b", "c", owner="ann", data={"x": 1}, tags=("red",)) for _ in range(3)]
        await lab.done(Point(alias("a"), mine[0], 0), Point(alias("@ann"), "ann", 0))
        shared = await lab.create(entries=(*lines("hers", author="ann"), *lines("his", author="bob")), owner="bob")
        fork = await lab.create(base=(mine[0], 2), owner="bob")
        while not (await lab.engine.erase(TENANT, "ann", 4)).complete:
            pass
        assert [await lab.gone(session) for session in mine] == [True] * 3
        assert await lab.engine.list(SessionQuery(TENANT, (KIND,), READABLE_STATES, owner="ann")) == []
        assert await lab.texts(shared) == [None, "his"]
        assert await lab.texts(fork) == [None, None]
        assert await lab.engine.aliases(TENANT, target=mine[0]) == await lab.engine.aliases(TENANT, target="ann") == []
        assert not {event.session for event in await lab.events(lab.start)} & set(mine)

    async def test_delete_all_of_an_owner_leaves_the_others(self, lab: Lab) -> None:
        """What others have in the same home, and what the owner has in another tenant, stays."""
        mine, theirs = await lab.create("a", owner="ann"), await lab.create("a", owner="bob")
        elsewhere = await lab.create("a", owner="ann", tenant="other")
        await lab.done(Point(alias("a"), mine, 0), Point(alias("b"), theirs, 0))
        while not (await lab.engine.erase(TENANT, "ann", 100)).complete:
            pass
        assert await lab.gone(mine)
        assert (await lab.engine.follow(TENANT, alias("b"))).session == await lab.session(theirs)
        assert await lab.texts(theirs) == ["a"]
        assert [entry.text for entry in await lab.entries(elsewhere, tenant="other")] == ["a"]


async def _purged(lab: Lab) -> int:
    """Purge by two rows at a time until nothing is left; how many were removed."""
    total = 0
    for _ in range(200):
        removed = await lab.engine.purge(2)
        if removed == 0:
            return total
        total += removed
    raise AssertionError("purging never ends")
