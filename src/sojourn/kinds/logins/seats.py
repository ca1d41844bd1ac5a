"""Signing in and taking a character: what is decided from a list of the user's other logins.

The user's record is read first, then the list, and the commit names the record's version: whoever signs in or takes a
character moves it, so of two that decided from the same list one decides again. It comes last in the commit: its time may be
ahead of the clock, when that was set back, and what comes behind it would be as late.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

from sojourn.core.batch import Answer, Change, Create, Delete, Guard, Point, Refusal, Write
from sojourn.core.ids import home_number, home_of
from sojourn.core.session import Alias, Session
from sojourn.errors import ConflictError, KeyReusedError
from sojourn.kinds.logins import rules
from sojourn.kinds.logins.lookup import Lookup
from sojourn.kinds.logins.model import Character, LoginPolicy, OnConflict
from sojourn.kinds.logins.people import People, Person
from sojourn.kinds.logins.reader import Reader, closed_error, missing
from sojourn.kinds.logins.rules import KIND, Arrival, Draft, Origin
from sojourn.kinds.logins.tokens import Token, mint
from sojourn.shell.unit import Unit, perform, refused

AGAIN: Final = Refusal("version")
Arrived: TypeAlias = Literal["landed", "present", "removed"]
"""What became of a login that another program has kept; ``removed``: it was here, and was deleted here."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Who signs in, and as which character."""

    user: str
    character: str | None
    world: str | None
    conflict: OnConflict


class Seats:
    """Logins of one store and tenant as they are made, bound and given new tokens."""

    def __init__(self, unit: Unit, policy: LoginPolicy, people: People, reader: Reader, lookup: Lookup) -> None:
        self._unit = unit
        self._policy = policy
        self._people = people
        self._reader = reader
        self._lookup = lookup
        self._hasher = rules.hasher(policy)

    # -- signing in ----------------------------------------------------------------------------------------------------

    async def sign_in(
        self, wanted: Wanted, draft: Draft, own: str | None, operation: str | None, mark: str
    ) -> tuple[str, Token]:
        """A new login, and its token."""

        async def sign_in() -> tuple[str, Token]:
            claim = None if own is None else _Claim(self._unit, wanted.user, self._hasher.read(own).digests)

            async def step() -> tuple[str, Token, Answer] | Refusal:
                return await self._sign_in(wanted, draft, own, claim, operation, mark)

            try:
                made, token, answer = await perform(step, KIND)
            except BaseException:
                if claim is not None:
                    await claim.release()
                raise
            return await again(answer) if answer.replayed else (made, token)

        async def again(before: Answer) -> tuple[str, Token]:
            return await self._again(before.moved[0].id, own)

        return await self._unit.answered(wanted.user, operation, mark, sign_in, again, KIND)

    async def _sign_in(
        self, wanted: Wanted, draft: Draft, own: str | None, claim: _Claim | None, operation: str | None, mark: str
    ) -> tuple[str, Token, Answer] | Refusal:
        """Decide once, and commit."""
        user = wanted.user
        person = await self._people.person(user)
        await self._lookup.check_user(person)
        place = None
        if wanted.character is not None:
            place = await self._lookup.character_of(person, wanted.character, wanted.world)
        chosen, others = await self._room(person, replace(draft, character=place), wanted.conflict)
        made = self._unit.new_id(user) if claim is None else await claim.take(lambda: self._unit.new_id(user))
        if made is None:
            return AGAIN
        token = mint(made) if own is None else Token(own)
        data = chosen.document(self._hasher.digest(str(token)), foreign=None if claim is None else claim.digest)
        create = rules.create(made, user, chosen, data, self._policy, person.generation)
        exact = place is not None or self._policy.max_per_user is not None
        record = self._people.changed(person, "signed_in", exact=exact, stamp=("last_login",))
        answer = await self._unit.attempt(user, create, *others, *record, key=operation, fingerprint=mark)
        if answer.refusal is None:
            return answer.moved[0].id, token, answer
        if claim is not None and answer.refusal.reason == "present":
            claim.lost()
        return stale(answer.refusal)

    async def _room(self, person: Person, draft: Draft, conflict: OnConflict) -> tuple[Draft, list[Change]]:
        """What else changes when this login is made: others give way, or share."""
        if draft.character is None and self._policy.max_per_user is None:
            return draft, []
        live, dead = _parted(await self._reader.open(owner=person.user), person.now)
        evicted = rules.over_limit(live, self._policy)
        changes: list[Change] = [rules.closed(one, person.now, "evicted", draft.origin, change="evicted") for one in evicted]
        if draft.character is None:
            return draft, changes
        gone = {one.id for one in evicted}
        holders = [one for one in live if one.id not in gone and _holds(one, draft.character.id)]
        shared, more = _make_way(holders, draft.character, conflict, draft.origin)
        changes += [rules.closed(one, person.now, "expired", draft.origin) for one in dead if _holds(one, draft.character.id)]
        return replace(draft, shared=shared), [*changes, *more]

    async def _again(self, id: str, own: str | None) -> tuple[str, Token]:
        """The token of a login that was made by a call whose answer was lost."""
        if own is None:
            return id, await self.reissue(id, Origin())
        session, _ = await self._reader.live(id)
        if session.data["secret"] not in self._hasher.read(own).digests:
            raise KeyReusedError("this key was used with another token.", hint="Use a new key for a new operation.")
        return id, Token(own)

    async def reissue(self, id: str, origin: Origin, presented: str = "") -> Token:
        """Another token for the same login, since nobody knows whether the last one arrived; that one has its grace.

        ``presented``: the digest of the one that was asked with, which goes on to be known however often that is.
        """

        async def step() -> Token | Refusal:
            session, now = await self._reader.live(id)
            token = mint(id)
            digest = self._hasher.digest(str(token))
            write = rules.rotated(session, now, digest, origin, self._policy, anew=False, change="reissued", keep=presented)
            answer = await self._unit.attempt(session.home, write)
            return stale(answer.refusal) if answer.refusal is not None else token

        return await perform(step, KIND)

    async def arrive(self, arrival: Arrival, origin: Origin) -> Arrived:
        """Keep a login that another program has kept, found by its own token.

        The id is the import's, so a second run finds the first, and goes on where it was cut short: first the alias of the
        token's digest, then the login. What was deleted here does not come back. `ConflictError` when the token is another
        login's; `NotFoundError` when there is no such user, or no such character; `BindingError` when it is not this user's.
        """
        digests = self._hasher.read(arrival.token).digests

        async def step() -> Arrived | Refusal:
            before = await self._placed(arrival, digests)
            if before is not None:
                return before
            person = await self._people.person(arrival.user)
            await self._lookup.check_user(person)
            shared, others = await self._beside(person, arrival, origin)
            create = rules.arrived(arrival, digests[0], person.generation, origin, self._policy, shared=shared)
            record = [_signed_in(change, person, arrival.created_at) for change in self._people.changed(person, "imported")]
            answer = await self._unit.attempt(arrival.user, create, *others, *record)
            refusal = answer.refusal
            if refusal is None:
                return "landed"
            if refusal.reason == "present" and refusal.id == arrival.id:
                return "removed" if (await self._unit.find(arrival.id, KIND)).session is None else "present"
            return AGAIN

        return await perform(step, KIND)

    async def _placed(self, arrival: Arrival, digests: tuple[str, ...]) -> Arrived | Refusal | None:
        """See to it that the token's alias points at the login that is to come; None when it does."""
        first: Alias | None = None
        for digest in reversed(digests):
            key = rules.token_key(digest)
            found = await self._unit.follow(key.home, key.namespace, key.key)
            if found.session is not None:
                if found.session.id == arrival.id:
                    return "present"
                raise ConflictError("this token is another login's.", holder=found.session.id)
            first = found.alias
        assert first is not None  # noqa: S101  # follow always gives one
        if first.target == arrival.id:
            return None  # another run came so far
        if first.target is not None:
            raise ConflictError("this token is on its way to be another login's.", hint="Import again later.")
        if first.epoch:
            return "removed"
        user = rules.token_user_key(digests[0])
        answer = await self._unit.attempt(
            first.key.home, Point(first.key, arrival.id, first.epoch), Point(user, arrival.user, None)
        )
        return None if answer.refusal is None else AGAIN

    async def _beside(self, person: Person, arrival: Arrival, origin: Origin) -> tuple[bool, list[Change]]:
        """Whether others hold the character already, and that they share it from now on."""
        if arrival.character is None:
            return False, []
        await self._lookup.character_of(person, arrival.character.id, arrival.character.world_id)
        if arrival.is_over(person.now):
            return False, []
        rows = await self._reader.open(owner=person.user, tag=rules.character_tag(arrival.character.id))
        return _make_way(_parted(rows, person.now)[0], arrival.character, "share", origin)

    # -- characters ----------------------------------------------------------------------------------------------------

    async def bind(
        self, id: str, character: str, world: str | None, conflict: OnConflict, origin: Origin, operation: str | None, mark: str
    ) -> None:
        """Have a login hold a character."""

        first = await self._reader.session(id)
        assert first.session is not None  # noqa: S101  # raised otherwise
        user, seen = first.session.home, [first]

        async def step() -> bool | Refusal:
            found = seen.pop() if seen else await self._reader.session(id)
            session = found.session
            assert session is not None  # noqa: S101  # raised otherwise
            if not rules.is_live(session, found.now):
                raise closed_error(session, found.now)
            person = await self._people.person(user)
            await self._lookup.check_user(person)
            place = await self._lookup.character_of(person, character, world)
            rows = await self._reader.open(owner=user, tag=rules.character_tag(character))
            live, dead = _parted([row for row in rows if row.id != id], person.now)
            shared, others = _make_way(live, place, conflict, origin)
            others += [rules.closed(one, person.now, "expired", origin) for one in dead]
            bind = rules.bound(session, place, origin, shared=shared)
            record = self._people.changed(person, "seated")
            answer = await self._unit.attempt(user, bind, *others, *record, key=operation, fingerprint=mark)
            return stale(answer.refusal, id) if answer.refusal is not None else True

        async def again(_: Answer) -> bool:
            return True

        await self._unit.answered(user, operation, mark, lambda: perform(step, KIND), again, KIND)


def _parted(rows: list[Session], now: int) -> tuple[list[Session], list[Session]]:
    """Live ones, and those that have expired, each by its own time."""
    live = [row for row in rows if rules.is_live(row, max(now, row.mark))]
    return live, [row for row in rows if row not in live]


def _signed_in(change: Change, person: Person, at: int) -> Change:
    """A change of the user's record that also says when they last signed in."""
    last = 0 if person.session is None else person.session.counters.get("last_login", 0)
    return replace(change, put=(("last_login", max(at, last)),)) if isinstance(change, Write) else change


def _holds(session: Session, character: str) -> bool:
    held = rules.data_of(session).get("character")
    return held is not None and held["id"] == character


def _make_way(holders: list[Session], character: Character, conflict: OnConflict, origin: Origin) -> tuple[bool, list[Change]]:
    """Whether the character is shared from now on, and what happens to those who hold it."""
    if not holders:
        return False, []
    if conflict == "refuse":
        raise ConflictError(
            f"character {character.name!r} is held by login {holders[0].id}.",
            hint="Pass on_conflict='take_over' or 'share'.",
            holder=holders[0].id,
        )
    if conflict == "take_over":
        return False, [rules.unbound(one, origin, "taken_over", guard=Guard()) for one in holders]
    return True, [rules.sharing(one) for one in holders if not rules.data_of(one).get("shared")]


def stale(refusal: Refusal, id: str = "") -> Refusal:
    """A refusal of what was decided from a list: whatever moved meanwhile, it is decided again."""
    if refusal.reason == "key":
        raise refused(refusal, KIND)
    if refusal.reason == "missing" and refusal.id == id:
        raise missing(id)
    return AGAIN


class _Claim:
    """A caller's own token on its way: the alias of its digest first, then the login it points at.

    The alias lies in a home of its own, so the two are two commits. Cut short between them it points at a login that never
    came; whoever brings the same token next sees to it that this login cannot come any more, and takes the alias over.
    """

    def __init__(self, unit: Unit, user: str, digests: tuple[str, ...]) -> None:
        self._unit = unit
        self._user = user
        self.digest = digests[0]
        self._digests = digests
        self._login: str | None = None
        self._epoch = 0

    async def take(self, new_id: Callable[[], str]) -> str | None:
        """The id of the login to be made; None to try again. `ConflictError` when the token is some login's already."""
        if self._login is not None:
            return self._login
        alias: Alias | None = None
        for digest in self._digests:
            key = rules.token_key(digest)
            found = await self._unit.follow(key.home, key.namespace, key.key)
            if found.session is not None and found.session.state != "pending":
                raise ConflictError("this token is in use, or was.", hint="Make another one; tokens are used once.")
            if digest == self.digest:
                alias = found.alias
        assert alias is not None  # noqa: S101  # the current digest is one of them
        user = rules.token_user_key(self.digest)
        if alias.target is not None:
            owner = (await self._unit.follow(user.home, user.namespace, user.key)).alias
            if owner is None or owner.target is None:
                return None
            if home_number(self._unit.tenant, owner.target) != home_of(alias.target):
                return None  # somebody else has just taken it over
            if not await self._burnt(owner.target, alias.target):
                return None
        login = new_id()
        point = Point(alias.key, login, alias.epoch)
        answer = await self._unit.attempt(alias.key.home, point, Point(user, self._user, None))
        if answer.refusal is not None:
            return None
        self._login, self._epoch = login, answer.epochs[0]
        return login

    async def _burnt(self, user: str, login: str) -> bool:
        """See to it that a login which has not come cannot come any more; False when it just has."""
        answer = await self._unit.attempt(user, Create(login, KIND, state="pending"), Delete(login))
        refusal = answer.refusal
        return refusal is None or refusal.session is None  # present, and deleted

    def lost(self) -> None:
        """Somebody else has taken it over."""
        self._login = None

    async def release(self) -> None:
        """Give the alias back, if it is still ours; for a login that was refused."""
        if self._login is not None:
            key = rules.token_key(self.digest)
            if await self._burnt(self._user, self._login):
                user = rules.token_user_key(self.digest)
                await self._unit.attempt(key.home, Point(key, None, self._epoch), Point(user, None, None))
