"""The store's own directory: users, worlds and characters, where an application has no table of its own.

A user's characters are in the user's record, so that who holds a character is decided in one commit with whose it is. Two
aliases lie outside: a username names a user, and a character's id says in whose record it is. Each is moved by
compare-and-set, and the record says the last word.

A character that changes hands crosses homes. The intent is stored first, in the former owner's record, and from then on the
character is no longer theirs; any process that meets it, or a sweep, does what is left: enter it in the new owner's record,
move the alias, take the intent out. ``epoch`` counts a character's moves, one less than its alias's epoch once it has
arrived, and only from there may it move on. A record keeps the epoch of what it gave away. So a process that stopped
half-way and wakes up later changes nothing. (Simulated with a crash after every step.)
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from sojourn.core.batch import Answer, Change, Create, Deadline, Delete, Guard, Point, Refusal
from sojourn.core.codec import Json, check_text
from sojourn.core.ids import id_of, parts_of
from sojourn.core.session import Alias, AliasKey, Session
from sojourn.core.times import MINUTE, maybe_datetime
from sojourn.errors import ConflictError, InvalidNameError, NameTakenError, NotFoundError
from sojourn.kinds.logins import rules
from sojourn.kinds.logins.model import Character, User, World
from sojourn.kinds.logins.people import People, Person
from sojourn.kinds.logins.reader import Reader
from sojourn.kinds.logins.revocation import Revocation, has_moves
from sojourn.kinds.logins.rules import Origin
from sojourn.shell.unit import Unit, fingerprint, perform, refused

WORLD: Final = "world"
"""The kind of a world's record."""
USERNAME: Final = "directory.username"
CHARACTER: Final = "directory.character"
WORLD_KEY: Final = "directory.world"

AGAIN: Final = Refusal("version")
_STORE: Final = Origin()

Values: TypeAlias = tuple[tuple[tuple[str, ...], Json], ...]
"""Places in a record's data, and what they are set to."""

_NAME: Final = 128
_NEVER: Final = -1
"""An epoch that no alias has."""


def username_key(username: str) -> AliasKey:
    """Where a username is."""
    return AliasKey(f"{USERNAME}/{username}", USERNAME, username)


def character_key(character: str) -> AliasKey:
    """Where it says whose a character is."""
    return AliasKey(f"{CHARACTER}/{character}", CHARACTER, character)


def world_key(world: str) -> AliasKey:
    """Where a world is."""
    return AliasKey(f"{WORLD_KEY}/{world}", WORLD_KEY, world)


def check_label(name: object, what: str) -> str:
    """A name that people read: 1 to 128 printable characters, without blanks around them."""
    text = check_text(name, what, 4 * _NAME).strip()
    if not 0 < len(text) <= _NAME or not text.isprintable():
        raise InvalidNameError(f"{what} must have 1 to {_NAME} printable characters, got {text[:200]!r}.")
    return text


def is_held(row: dict[str, Json] | None) -> bool:
    """Whether a row of a user's characters is one the user has now."""
    return row is not None and not row.get("gone") and "moving" not in row


def no_character(character: str) -> NotFoundError:
    """There is no such character."""
    return NotFoundError(f"there is no character {character!r}.", hint="Check the id and the tenant.")


def exported(row: dict[str, Json]) -> dict[str, Json]:
    """A user's record as it leaves the store: aliases begin anew where it is loaded, and so do the epochs."""
    data = dict(row["data"])
    held = {id: {**one, "epoch": 0} for id, one in data.get("characters", {}).items() if not one.get("gone")}
    if "characters" in data:
        data["characters"] = held
    return {**row, "data": data}


def _left(person: Person, character: str) -> dict[str, Json]:
    """What a record keeps of a character that left it."""
    return {"gone": True, "epoch": person.data["characters"][character]["epoch"]}


def _asked_by(character: str, operation: str | None, mark: str) -> Values:
    """What a record keeps of the operation id that last changed a character; see `Registry._was_done`."""
    return () if operation is None else ((("characters", character, "asked_by"), [operation, mark]),)


def _remembering(note: str, id: str) -> tuple[Change, ...]:
    """What has a commit's operation id remember an id; ``note``: a fresh one, for a session that nobody ever sees."""
    return Create(note, "note", state="pending", counters=parts_of(id)), Delete(note)


def _remembered(before: Answer) -> str:
    """The id that a commit's operation id remembers."""
    moved = before.moved[0]
    return id_of(moved.counters) or moved.id


class Registry:
    """Users, worlds and characters of one store and tenant."""

    def __init__(self, unit: Unit, people: People, reader: Reader, revocation: Revocation) -> None:
        self._unit = unit
        self._people = people
        self._reader = reader
        self._revocation = revocation

    # -- users ---------------------------------------------------------------------------------------------------------

    async def user_named(self, username: str) -> str | None:
        """The user of a name, None when there is none."""
        key = username_key(username)
        alias = (await self._unit.follow(key.home, key.namespace, key.key)).alias
        if alias is None or alias.target is None:
            return None
        person = await self._people.person(alias.target)
        return alias.target if person.data.get("username") == username and not person.leaving else None

    async def known(self, user: str) -> Person:
        """A user of the directory; `NotFoundError` when there is none."""
        person = await self._people.person(user)
        if "username" not in person.data or person.leaving:
            raise NotFoundError(f"there is no user {user!r}.", hint="Check the id and the tenant.")
        return person

    async def user(self, user: str) -> User | None:
        """What callers see of a user."""
        person = await self._people.person(user)
        if person.session is None or "username" not in person.data or person.leaving:
            return None
        rows = person.data.get("characters", {})
        last = maybe_datetime(person.session.counters.get("last_login"))
        return User(person.user, person.data["username"], last, tuple(id for id, row in rows.items() if is_held(row)))

    async def add_user(self, username: str, operation: str | None, *, id: str | None = None) -> str:
        """A new user: the name first, then the record. A name whose record never came is taken over."""
        home, mark = username_key(username).home, fingerprint("directory.add_user", username)

        async def add() -> str:
            made_by = None if operation is None else mark + operation
            user = await perform(lambda: self._add_user(username, made_by, id), "user")
            if operation is None:
                return user
            kept = _remembering(self._unit.new_id(home), user)
            return await again(await self._unit.commit(home, *kept, key=operation, fingerprint=mark))

        async def again(before: Answer) -> str:
            return _remembered(before)

        return await self._unit.answered(home, operation, mark, add, again, "user")

    async def _add_user(self, username: str, made_by: str | None, id: str | None) -> str | Refusal:
        """Decide once, and commit."""
        key = username_key(username)
        alias = await self._alias(key)
        if alias.target is not None:
            person = await self._people.person(alias.target)
            if person.data.get("username") == username:
                if made_by is not None and person.data.get("made_by") == made_by:
                    return alias.target
                raise NameTakenError(f"the username {username!r} is taken.", holder=alias.target)
            if not await self._never(person):
                return AGAIN
        user = id or self._unit.new_id(key.home)
        person = await self._people.person(user)
        if "username" in person.data:
            raise ConflictError(f"there is a user {user!r} already.")
        point = await self._unit.attempt(key.home, Point(key, user, alias.epoch))
        if point.refusal is not None:
            return AGAIN
        values: Values = ((("username",), username),)
        if made_by is not None:
            values += ((("made_by",), made_by),)
        answer = await self._unit.attempt(user, *self._people.changed(person, "created", values=values))
        return AGAIN if answer.refusal is not None else user

    async def _never(self, person: Person) -> bool:
        """See to it that a record which has not come cannot come any more, whoever is about to store it."""
        if person.session is not None:
            answer = await self._unit.attempt(person.user, *self._people.changed(person, "updated"))
        else:
            answer = await self._unit.attempt(person.user, Point(person.alias.key, None, person.alias.epoch))
        return answer.refusal is None

    async def remove_user(self, user: str, operation: str | None) -> bool:
        """Remove a user: signed out everywhere, characters and name free again; False when there is none.

        The operation id is kept with the commit that begins it, and tells by what that has changed that there was one.
        """
        mark = fingerprint("directory.remove_user", user)

        async def step() -> bool | Refusal:
            person = await self._people.person(user)
            if person.leaving or "username" not in person.data:
                if operation is None:
                    return person.leaving
                note = self._unit.new_id(user)
                kept = _remembering(note, note) if person.leaving else ()
                return await again(await self._unit.commit(user, *kept, key=operation, fingerprint=mark))
            if has_moves(person):
                await self.resume(person)
                return AGAIN
            leave = self._people.changed(
                person, "leaving", values=((("leaving",), True),), revoking=True, deadline=Deadline(after=MINUTE)
            )
            answer = await self._unit.attempt(user, *leave, key=operation, fingerprint=mark)
            return AGAIN if self._moved(answer.refusal) else await again(answer)

        async def again(before: Answer) -> bool:
            return bool(before.moved)

        there = await self._unit.answered(user, operation, mark, lambda: perform(step, "user"), again, "user")
        if there:
            person = await self._people.person(user)
            if person.leaving:
                await self._leave(person)
        return there

    async def _leave(self, person: Person) -> None:
        """What is left of a removal; nobody can sign in as this user any more."""
        if person.session is None:
            return
        async for page in self._reader.pages(owner=person.user):
            await self._revocation.end(page, "user_removed", _STORE)
        for character in person.data.get("characters", {}):
            await self._free(character_key(character), person.user)
        await self._free(username_key(person.data["username"]), person.user)
        await self._unit.attempt(person.user, Delete(person.session.id, Guard(open=False)))

    async def _free(self, key: AliasKey, user: str) -> None:
        alias = await self._alias(key)
        if alias.target == user:
            await self._unit.attempt(key.home, Point(key, None, alias.epoch))

    async def _alias(self, key: AliasKey) -> Alias:
        found = (await self._unit.follow(key.home, key.namespace, key.key)).alias
        return found or Alias(key, None, 0)

    # -- worlds --------------------------------------------------------------------------------------------------------

    async def world(self, world: str) -> World | None:
        """A world."""
        key = world_key(world)
        found = (await self._unit.follow(key.home, key.namespace, key.key)).session
        return None if found is None else World(found.data["id"], found.data["name"])

    async def add_world(self, world: str, name: str, operation: str | None) -> None:
        """A new world; the same again is fine under the same operation id."""
        key, mark = world_key(world), fingerprint("directory.add_world", world, name)
        alias = await self._alias(key)
        made = Create(self._unit.new_id(key.home), WORLD, data={"v": 1, "id": world, "name": name})
        point = Point(key, made.id, alias.epoch if alias.target is None else _NEVER)
        answer = await self._unit.attempt(key.home, made, point, key=operation, fingerprint=mark)
        if answer.refusal is not None:
            if answer.refusal.reason == "key":
                raise refused(answer.refusal, WORLD)
            raise ConflictError(f"there is a world {world!r} already.")

    # -- characters ----------------------------------------------------------------------------------------------------

    def own(self, person: Person, character: str) -> Character | None:
        """A character that a user has, by the user's record alone."""
        row = person.data.get("characters", {}).get(character)
        return Character(character, person.user, row["world"], row["name"]) if is_held(row) else None

    async def character(self, character: str) -> Character | None:
        """A character, whoever has it; one that is on its way arrives first."""
        person = await self._whose(character)
        return None if person is None else self.own(person, character)

    async def _whose(self, character: str) -> Person | None:
        """The record that has a character, where its alias says so too; None when there is no such character."""

        async def step() -> Person | Refusal | None:
            alias = await self._alias(character_key(character))
            if alias.target is None:
                return None
            person = await self._people.person(alias.target)
            row = person.data.get("characters", {}).get(character)
            if row is not None and "moving" in row:
                await self._carry(person.user, character)
                return AGAIN
            if row is None or not is_held(row):
                return None if (await self._alias(alias.key)).epoch == alias.epoch else AGAIN
            if alias.epoch > row["epoch"] + 1:  # they came apart in another store, and were loaded here
                place = ("characters", character, "epoch")
                mended = self._people.changed(person, "updated", values=((place, alias.epoch - 1),))
                await self._unit.attempt(person.user, *mended)
            if alias.epoch != row["epoch"] + 1:
                return AGAIN
            return None if person.leaving else person

        return await perform(step, "character")

    async def add_character(
        self, user: str, world: str | None, name: str, operation: str | None, *, id: str | None = None
    ) -> str:
        """A new character of a user: where it is found first, then the record that has it."""
        mark = fingerprint("directory.add_character", user, world, name)
        made = id or self._unit.new_id(user)
        key, kept = character_key(made), () if operation is None else _remembering(self._unit.new_id(user), made)

        async def step() -> str | Refusal:
            if world is not None and await self.world(world) is None:
                raise NotFoundError(f"there is no world {world!r}.", hint="Add it with store.directory.add_world().")
            person = await self.known(user)
            alias = await self._alias(key)
            if alias.target not in (None, user):
                raise ConflictError(f"there is a character {made!r} already.", holder=alias.target)
            if self.own(person, made) is not None:
                raise ConflictError(f"there is a character {made!r} already.", holder=user)
            if alias.target is None:
                point = await self._unit.attempt(key.home, Point(key, user, alias.epoch))
                if point.refusal is not None:
                    return AGAIN
            epoch = alias.epoch if alias.target is None else alias.epoch - 1
            row: dict[str, Json] = {"world": world, "name": name, "epoch": epoch}
            record = self._people.changed(person, "updated", values=((("characters", made), row),))
            answer = await self._unit.attempt(user, *kept, *record, key=operation, fingerprint=mark)
            if self._moved(answer.refusal):
                return AGAIN
            first = await again(answer) if kept else made
            if first != made:  # a call with the same operation id was faster, and this one is nobody's
                await self._free(key, user)
            return first

        async def again(before: Answer) -> str:
            return _remembered(before)

        return await self._unit.answered(user, operation, mark, lambda: perform(step, "character"), again, "character")

    def _moved(self, refusal: Refusal | None) -> bool:
        if refusal is not None and refusal.reason == "key":
            raise refused(refusal, "user")
        return refusal is not None

    async def rename_character(self, character: str, name: str, operation: str | None) -> None:
        """Give a character another name, with the logins that repeat it."""
        mark = fingerprint("directory.rename_character", character, name)

        async def rename() -> None:
            changed = await self._change(
                character,
                lambda _: ((("characters", character, "name"), name), *_asked_by(character, operation, mark)),
                lambda row: rules.renamed(row, name),
                operation,
                mark,
            )
            if changed is None:  # or it was renamed under this operation id, which is asked once more then
                raise no_character(character)

        await self._unless_done(character, operation, mark, rename)

    async def remove_character(self, character: str, operation: str | None) -> bool:
        """Remove a character; those who hold it have the account only from that commit on. False when there is none."""
        home, mark = character_key(character).home, fingerprint("directory.remove_character", character)

        async def remove() -> bool:
            user = await self._change(
                character,
                lambda person: ((("characters", character), _left(person, character)),),
                lambda row: rules.unbound(row, _STORE, "character_removed", Guard()),
                operation,
                mark,
            )
            if user is None and operation is not None:
                user = await self._former(character, operation, mark)
            if user is not None:
                await self._free(character_key(character), user)
            return bool((await self._unit.note(home, operation, mark, there=int(user is not None)))["there"])

        async def again(before: Answer) -> bool:
            return bool(before.moved[0].counters["there"])

        return await self._unit.answered(home, operation, mark, remove, again, "character")

    async def _former(self, character: str, operation: str, mark: str) -> str | None:
        """Whose a character was when a call with this operation id took it away, whether it came to free its alias or not."""
        alias = await self._alias(character_key(character))
        for user in (alias.target, alias.previous):
            if user is not None and await self._unit.asked(user, operation, mark, "user") is not None:
                return user
        return None

    async def _unless_done(self, character: str, operation: str | None, mark: str, do: Callable[[], Awaitable[None]]) -> None:
        """Do something to a character unless that was done under this operation id, whoever had the character then."""
        home = character_key(character).home

        async def done() -> None:
            await do()
            await self._unit.remember(home, operation, mark)

        async def again(_: Answer) -> None:
            return None

        await self._unit.answered(home, operation, mark, done, again, "character")

    async def _was_done(self, person: Person, character: str, operation: str | None, mark: str) -> bool:
        """Whether an operation id was carried out on a character; asked after the look at its owner's record.

        The character's own home learns of an id last, so the record says which one it may not know of yet: it is told now,
        before another takes the place, and at the latest as the character arrives elsewhere.
        """
        if operation is None:
            return False
        home, last = character_key(character).home, person.data["characters"][character].get("asked_by")
        if last is not None:
            await self._unit.attempt(home, key=last[0], fingerprint=last[1])
        return await self._unit.asked(home, operation, mark, "character") is not None

    async def _change(
        self,
        character: str,
        values: Callable[[Person], Values],
        login: Callable[[Session], Change],
        operation: str | None,
        mark: str,
    ) -> str | None:
        """Change a character and the logins that hold it in one commit; whose it is, None when there is no such character.

        None also where the operation id was here before: its answer is with the character's home.
        """

        async def step() -> str | Refusal | None:
            person = await self._whose(character)
            if person is None or await self._was_done(person, character, operation, mark):
                return None
            holders = await self._reader.open(owner=person.user, tag=rules.character_tag(character))
            record = self._people.changed(person, "updated", values=values(person))
            answer = await self._unit.attempt(person.user, *map(login, holders), *record, key=operation, fingerprint=mark)
            return AGAIN if self._moved(answer.refusal) else person.user

        return await perform(step, "character")

    # -- changing hands ------------------------------------------------------------------------------------------------

    async def move_character(self, character: str, user: str, operation: str | None) -> None:
        """Give a character to another user; the former owner's logins have the account only from the first commit on."""
        mark = fingerprint("directory.move_character", character, user)

        async def step() -> str | Refusal | None:
            await self.known(user)
            person = await self._whose(character)
            if person is None:
                raise no_character(character)
            if person.user == user or await self._was_done(person, character, operation, mark):
                return None
            holders = await self._reader.open(owner=person.user, tag=rules.character_tag(character))
            gone = [rules.unbound(row, _STORE, "character_moved", Guard()) for row in holders]
            values: Values = ((("characters", character, "moving"), user), *_asked_by(character, operation, mark))
            record = self._people.changed(person, "giving", values=values, deadline=Deadline(after=MINUTE))
            answer = await self._unit.attempt(person.user, *gone, *record, key=operation, fingerprint=mark)
            return AGAIN if self._moved(answer.refusal) else person.user

        async def move() -> None:
            former = await perform(step, "character")
            if former is not None:
                await self._carry(former, character)

        await self._unless_done(character, operation, mark, move)

    async def _carry(self, former: str, character: str) -> None:
        """Do what is left of a move, from wherever it stopped."""

        async def step() -> bool | Refusal:
            person = await self._people.person(former)
            row = person.data.get("characters", {}).get(character)
            if row is None or "moving" not in row:
                return True
            new, epoch = await self._people.person(row["moving"]), row["epoch"]
            if not await self._entered(new, character, {"world": row["world"], "name": row["name"], "epoch": epoch + 1}):
                return AGAIN
            gone = new.session is None or new.leaving
            key = character_key(character)
            arrive = Point(key, None if gone else new.user, epoch + 1)  # unless it has moved on
            operation, mark = row.get("asked_by") or (None, "")
            answer = await self._unit.attempt(key.home, arrive, key=operation, fingerprint=mark)
            if operation is not None and (answer.replayed or answer.refusal is not None):  # known, without having arrived
                await self._unit.attempt(key.home, arrive)
            return True if await self._given(await self._people.person(former), character, epoch) else AGAIN

        await perform(step, "character")

    async def _entered(self, new: Person, character: str, row: dict[str, Json]) -> bool:
        """Enter a character in its new owner's record, unless it came through already; with a user who has gone it goes."""
        known = new.data.get("characters", {}).get(character)
        if new.session is None or new.leaving or (known is not None and known["epoch"] >= row["epoch"]):
            return True
        record = self._people.changed(new, "updated", values=((("characters", character), row),))
        return (await self._unit.attempt(new.user, *record)).refusal is None

    async def _given(self, person: Person, character: str, epoch: int) -> bool:
        """Take the intent out of the former owner's record; its epoch stays."""
        rows = person.data.get("characters", {})
        if rows.get(character, {}).get("epoch") != epoch or "moving" not in rows[character]:
            return True
        others = any("moving" in row for id, row in rows.items() if id != character)
        deadline = None if others or person.leaving or "revoke" in person.data else Deadline()
        values = ((("characters", character), _left(person, character)),)
        record = self._people.changed(person, "gave", values=values, deadline=deadline)
        return (await self._unit.attempt(person.user, *record)).refusal is None

    # -- what was cut short ----------------------------------------------------------------------------------------------

    async def resume(self, person: Person) -> int:
        """Go on with everything that a record says was begun; how much that was."""
        done = 0
        for character, row in person.data.get("characters", {}).items():
            if "moving" in row:
                await self._carry(person.user, character)
                done += 1
        if "revoke" in person.data:
            await self._revocation.go_on(await self._people.person(person.user))
            done += 1
        if person.leaving:
            await self._leave(await self._people.person(person.user))
            done += 1
        return done
