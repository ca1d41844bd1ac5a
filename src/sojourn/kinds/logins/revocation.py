"""Ending logins: one, a user's, a character's, all; and deleting what has ended."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Final

from sojourn.core.batch import Answer, Change, Deadline, Delete, Guard, Point, Refusal, Write
from sojourn.core.query import CLOSED_STATES, READABLE_STATES, SessionQuery
from sojourn.core.session import Session, State
from sojourn.core.times import MINUTE, span
from sojourn.kinds.logins import rules
from sojourn.kinds.logins.model import LoginPolicy
from sojourn.kinds.logins.people import People, Person
from sojourn.kinds.logins.reader import Reader
from sojourn.kinds.logins.rules import KIND, Origin
from sojourn.shell.unit import Unit, fingerprint, perform, refused

AT_ONCE: Final = 500
"""How many logins one commit ends at most; another writer waits for as many."""

REVOKED: Final = "revoked"
"""A counter of the user's record: how many logins the last revocation of all has ended in its own commit."""
_BY_PIECES: Final = -1
"""What that counter says where they are ended in commits of their own."""

AGAIN: Final = Refusal("version")


class Revocation:
    """Ends and deletes logins of one store and tenant."""

    def __init__(self, unit: Unit, policy: LoginPolicy, people: People, reader: Reader) -> None:
        self._unit = unit
        self._policy = policy
        self._people = people
        self._reader = reader

    # -- one -----------------------------------------------------------------------------------------------------------

    async def one(self, id: str, reason: str, origin: Origin, operation: str | None, *, change: str = "revoked") -> bool:
        """End a login; whether it was live."""
        mark = fingerprint("login.revoke", id, reason)

        async def step() -> bool | Refusal:
            found = await self._unit.find(id, KIND)
            session = found.session
            if session is None or session.state != "active":
                if session is None or operation is None:
                    return False
                before = await self._unit.replayed(session, operation, mark, with_entry=True)
                return before is not None and session.state == "ended"
            write = rules.closed(session, found.now, reason, origin, change=change)
            answer = await self._unit.attempt(session.home, write, key=operation, fingerprint=mark)
            return AGAIN if self._moved(answer.refusal) else answer.moved[0].state == "ended"  # not as one that had expired

        return await perform(step, KIND)

    def _moved(self, refusal: Refusal | None) -> bool:
        """Whether it is to be looked at anew."""
        if refusal is not None and refusal.reason == "key":
            raise refused(refusal, KIND)
        return refusal is not None

    # -- a user's ------------------------------------------------------------------------------------------------------

    async def of_user(self, user: str, keep: str | None, reason: str, origin: Origin, operation: str | None) -> int:
        """End every login of a user that there is now, but for ``keep``; how many were live.

        Up to `AT_ONCE` of them in one commit. More: the intent is stored first, then they are ended piece by piece, and a
        sweep goes on where that is cut short. The record's phase moves with the first commit: a sign-in that was decided
        before it is decided again, and one that comes after it is not ended.
        """
        mark = fingerprint("login.revoke_user", user, keep, reason)

        async def step() -> int | Refusal:
            person = await self._people.person(user)
            first = [] if person.session is None else await self._first(user)
            rows = [row for row in first if row.id != keep]
            if not rows:  # or a call with the same operation id has just ended them
                return 0 if operation is None else _live(await self._unit.commit(user, key=operation, fingerprint=mark))
            if len(first) > AT_ONCE:
                intent = {"keep": keep, "reason": reason, "generation": person.generation + 1, **origin.document()}
                record = self._people.changed(
                    person, "revoking", values=((("revoke",), intent),), revoking=True, deadline=Deadline(after=MINUTE)
                )
                answer = await self._unit.attempt(user, *_noting(record, _BY_PIECES), key=operation, fingerprint=mark)
                return AGAIN if self._moved(answer.refusal) else _live(answer)
            ended = [rules.closed(row, person.now, reason, origin) for row in rows]
            live = sum(rules.is_live(row, person.now) for row in rows)
            record = _noting(self._people.changed(person, "revoked", revoking=True), live)
            answer = await self._unit.attempt(user, *record, *ended, key=operation, fingerprint=mark)
            return AGAIN if self._moved(answer.refusal) else _live(answer)

        async def pieces() -> int:
            return await self.go_on(await self._people.person(user))

        before = await self._unit.asked(user, operation, mark, KIND)
        done = await perform(step, KIND) if before is None else _live(before)
        if done != _BY_PIECES:
            return done
        rest = None if operation is None else fingerprint("login.revoke_user.pieces", operation)
        return await self._unit.once(user, rest, mark, pieces, KIND)

    async def _first(self, user: str) -> list[Session]:
        """One more than are ended at once."""
        query = SessionQuery(self._unit.tenant, (KIND,), owner=user, order="created", limit=AT_ONCE + 1)
        return await self._unit.engine.list(query)

    async def go_on(self, person: Person) -> int:
        """End what an intent in the user's record says, then take the intent out; how many were live."""
        intent = person.data.get("revoke")
        if person.session is None or intent is None:
            return 0
        origin = Origin(intent.get("by"), intent.get("ip"), intent.get("user_agent"))
        ended = 0
        async for page in self._reader.pages(owner=person.user, size=AT_ONCE):
            older = [row for row in page if row.counters["generation"] < intent["generation"] and row.id != intent["keep"]]
            ended += await self.end(older, intent["reason"], origin)

        async def step() -> bool | Refusal:
            now = await self._people.person(person.user)
            if now.session is None or now.data.get("revoke", {}).get("generation") != intent["generation"]:
                return True
            deadline = None if now.data.get("leaving") or has_moves(now) else Deadline()
            record = self._people.changed(now, "revoked", unset=(("revoke",),), deadline=deadline)
            answer = await self._unit.attempt(person.user, *record)
            return AGAIN if answer.refusal is not None else True

        await perform(step, KIND)
        return ended

    # -- others --------------------------------------------------------------------------------------------------------

    async def of_character(self, character: str, reason: str, origin: Origin) -> int:
        """End every login that holds a character; how many were live. Whoever is about to take it decides again."""
        total = 0
        rows = await self._reader.open(tag=rules.character_tag(character))
        for user in sorted({row.home for row in rows}):
            total += await self._of_character(user, character, reason, origin)
        return total

    async def _of_character(self, user: str, character: str, reason: str, origin: Origin) -> int:
        async def step() -> int | Refusal:
            person = await self._people.person(user)
            rows = await self._reader.open(owner=user, tag=rules.character_tag(character))
            if not rows:
                return 0
            ended = [rules.closed(row, person.now, reason, origin) for row in rows]
            answer = await self._unit.attempt(user, *self._people.changed(person, "revoked"), *ended)
            return AGAIN if answer.refusal is not None else sum(rules.is_live(row, person.now) for row in rows)

        return await perform(step, KIND)

    async def all(self, reason: str, origin: Origin) -> int:
        """End every login that there is when this begins, in bounded commits; how many were live."""
        total = 0
        async for page in self._reader.pages(size=AT_ONCE):
            total += await self.end(page, reason, origin)
        return total

    async def end(self, rows: Sequence[Session], reason: str, origin: Origin) -> int:
        """End these, one commit for each user; one that has changed meanwhile is looked at anew."""
        total = 0
        now = await self._unit.engine.now()
        for home, group in _by_home(rows).items():
            ended = [rules.closed(row, max(now, row.mark), reason, origin) for row in group]
            answer = await self._unit.attempt(home, *ended)
            if answer.refusal is None:
                total += sum(rules.is_live(row, max(now, row.mark)) for row in group)
                continue
            for row in group:
                total += await self.one(row.id, reason, origin, None)
        return total

    # -- expiry and deletion ---------------------------------------------------------------------------------------------

    async def expire(self, session: Session) -> bool:
        """Close a login that is past its deadline; False when it is not, or somebody else was faster."""
        write = rules.closed(session, session.deadline or 0, "expired", Origin(), change="expired")
        answer = await self._unit.attempt(session.home, replace(write, guard=Guard(due=True)))
        return answer.refusal is None

    async def delete(self, rows: Sequence[Session], guard: Guard) -> int:
        """Delete these, the aliases of callers' own tokens first, so that none is left behind; how many went."""
        total = 0
        for home, group in _by_home(rows).items():
            for row in group:
                await self._free(row)
            answer = await self._unit.attempt(home, *(Delete(row.id, guard) for row in group))
            if answer.refusal is None:
                total += len(group)
                continue
            for row in group:
                answer = await self._unit.attempt(home, Delete(row.id, guard))
                total += answer.refusal is None
        return total

    async def _free(self, row: Session) -> None:
        digest = row.data.get("foreign")
        if digest is None:
            return
        key = rules.token_key(digest)
        alias = (await self._unit.follow(key.home, key.namespace, key.key)).alias
        if alias is not None and alias.target == row.id:
            user = rules.token_user_key(digest)
            await self._unit.attempt(key.home, Point(key, None, alias.epoch), Point(user, None, None))

    async def remove(self, id: str) -> Session | None:
        """Delete one, in whatever state; as it was, or None."""
        session = (await self._unit.find(id, KIND)).session
        if session is None or not await self.delete([session], Guard(open=False)):
            return None
        return session

    async def expired(self, limit: int) -> int:
        """Delete what has expired, closed by a sweep or not yet, at most so many; how many."""
        rows = await self._query(("archived",), None, limit)
        done = await self.delete(rows, Guard(open=False))
        due = [row for row in await self._due(limit - done) if row.kind == KIND][: limit - done]
        plain = [row for row in due if "foreign" not in row.data]
        named = [row for row in due if "foreign" in row.data and await self.expire(row)]  # their aliases go first
        return done + await self.delete(plain, Guard(due=True)) + await self.delete(named, Guard(open=False))

    async def _due(self, limit: int) -> list[Session]:
        """Due sessions of all kinds, among them at least ``limit`` logins if there are so many."""
        most = max(1, limit)
        while True:
            rows = await self._unit.engine.due(self._unit.tenant, most)
            if len(rows) < most or sum(row.kind == KIND for row in rows) >= limit:
                return rows
            most *= 4

    async def aged(self, limit: int, *, dry_run: bool = False) -> int:
        """Delete what ended longer ago than the policy keeps it; how many, at most ``limit``."""
        kept = self._policy.keep_ended
        if kept is None:
            return 0
        before = await self._unit.engine.now() - span(kept)
        rows = await self._query(CLOSED_STATES, before, limit)
        return len(rows) if dry_run else await self.delete(rows, Guard(open=False))

    async def _query(self, states: tuple[State, ...], before: int | None, limit: int) -> list[Session]:
        query = SessionQuery(self._unit.tenant, (KIND,), states, order="idle", active_before=before, limit=limit)
        return await self._unit.engine.list(query)

    async def everything(self) -> int:
        """Delete every login there is when this begins; how many."""
        total = 0
        async for page in self._everything():
            total += await self.delete(page, Guard(open=False))
        return total

    def _everything(self) -> AsyncIterator[list[Session]]:
        return self._reader.pages(states=READABLE_STATES, size=AT_ONCE)


def has_moves(person: Person) -> bool:
    """Whether a character of the user is on its way to another."""
    return any("moving" in row for row in person.data.get("characters", {}).values())


def _noting(record: Sequence[Change], live: int) -> tuple[Change, ...]:
    """A change of a user's record that also says how many were live, for whoever asks again with the same operation id."""
    return tuple(replace(change, put=((REVOKED, live),)) if isinstance(change, Write) else change for change in record)


def _live(answer: Answer) -> int:
    """How many were live when an operation id ended them; `_BY_PIECES` where that is only begun in its commit."""
    return sum(moved.counters.get(REVOKED, 0) for moved in answer.moved[:1])


def _by_home(rows: Sequence[Session]) -> dict[str, list[Session]]:
    found: defaultdict[str, list[Session]] = defaultdict(list)
    for row in rows:
        found[row.home].append(row)
    return found
