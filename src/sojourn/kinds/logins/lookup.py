"""Whom a store knows: its own directory, the application's, or whoever comes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

from sojourn.core.codec import check_key, check_text
from sojourn.errors import BindingError, InvalidValueError, NotFoundError
from sojourn.kinds.logins.model import Character, DirectoryLike
from sojourn.kinds.logins.people import Person
from sojourn.kinds.logins.registry import Registry, no_character
from sojourn.shell.bridge import settle

_METHODS: Final = ("user_id", "user_exists", "character", "world_exists", "names")


class Lookup(Protocol):
    """What signing in and binding ask."""

    async def user_id(self, username: str) -> str:
        """The user of a name; `NotFoundError` when there is none."""
        ...

    async def check_user(self, person: Person) -> None:
        """`NotFoundError` when there is no such user."""
        ...

    async def character_of(self, person: Person, character: str, world: str | None) -> Character:
        """A character of this user in this world (None: in its own).

        `NotFoundError`: there is none, or it is in no world. `BindingError`: somebody else's, or in another world.
        """
        ...

    async def names(self, characters: Mapping[str, str]) -> Mapping[str, str]:
        """The names of characters by id, given with the names that their logins repeat."""
        ...


def no_user(user: str) -> NotFoundError:
    """There is no such user."""
    return NotFoundError(
        f"there is no user {user!r}.", hint="Add one with store.directory.add_user(), or open the store with directory=False."
    )


def check_place(found: Character, user: str, world: str | None) -> Character:
    """The character, if it is this user's, in a world, and in this one."""
    if found.user_id != user:
        raise BindingError(f"character {found.id!r} does not belong to user {user!r}.", hint="Bind one of the user's own.")
    if found.world_id is None:
        raise NotFoundError(f"character {found.id!r} is in no world.", hint="Place it in a world first.")
    if world not in (None, found.world_id):
        raise BindingError(
            f"character {found.id!r} is in world {found.world_id!r}, not in {world!r}.", hint="Leave the world out."
        )
    return found


class OwnLookup:
    """The store's own directory: what it says is in the user's record, so that it is decided in the commit."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def user_id(self, username: str) -> str:
        """See `Lookup.user_id`."""
        found = await self._registry.user_named(username)
        if found is None:
            raise NotFoundError(f"there is no user of the name {username!r}.", hint="Add one with store.directory.add_user().")
        return found

    async def check_user(self, person: Person) -> None:
        """See `Lookup.check_user`."""
        if "username" not in person.data or person.leaving:
            raise no_user(person.user)

    async def character_of(self, person: Person, character: str, world: str | None) -> Character:
        """See `Lookup.character_of`; no read for the user's own."""
        found = self._registry.own(person, character) or await self._registry.character(character)
        if found is None:
            raise no_character(character)
        return check_place(found, person.user, world)

    async def names(self, characters: Mapping[str, str]) -> Mapping[str, str]:
        """See `Lookup.names`: what logins repeat is renamed in the same commit."""
        return characters


class ForeignLookup:
    """The application's own tables, through the protocol."""

    def __init__(self, directory: DirectoryLike) -> None:
        missing = [name for name in _METHODS if not callable(getattr(directory, name, None))]
        if missing:
            raise InvalidValueError(
                f"directory= lacks {', '.join(missing)}.", hint="See sojourn.DirectoryLike; False accepts any user."
            )
        self._directory: Any = directory

    async def user_id(self, username: str) -> str:
        """See `Lookup.user_id`."""
        found = await settle(self._directory.user_id(username))
        if found is None:
            raise NotFoundError(f"there is no user of the name {username!r}.")
        return check_key(found, "user_id")

    async def check_user(self, person: Person) -> None:
        """See `Lookup.check_user`."""
        if not await settle(self._directory.user_exists(person.user)):
            raise NotFoundError(f"there is no user {person.user!r}.", hint="The application's directory does not know it.")

    async def character_of(self, person: Person, character: str, world: str | None) -> Character:
        """See `Lookup.character_of`."""
        row = await settle(self._directory.character(character))
        if row is None:
            raise no_character(character)
        place = None if row.world_id is None else check_key(row.world_id, "world_id")
        found = Character(
            check_key(row.id, "character_id"), check_key(row.user_id, "user_id"), place, check_text(row.name, "name", 512)
        )
        found = check_place(found, person.user, world)
        if not await settle(self._directory.world_exists(found.world_id)):
            raise NotFoundError(f"there is no world {found.world_id!r}.", hint="The application's directory does not know it.")
        return found

    async def names(self, characters: Mapping[str, str]) -> Mapping[str, str]:
        """See `Lookup.names`; asked in pieces of 500."""
        found: dict[str, str] = {}
        ids = list(characters)
        for start in range(0, len(ids), 500):
            answer = await settle(self._directory.names(ids[start : start + 500]))
            found.update({str(id): str(name) for id, name in answer.items()})
        return found


class AnyLookup:
    """Whoever comes: any user id, no names, no characters."""

    async def user_id(self, username: str) -> str:
        """See `Lookup.user_id`."""
        raise NotFoundError(
            f"there is no user of the name {username!r}: this store was opened with directory=False.", hint="Pass a user id."
        )

    async def check_user(self, person: Person) -> None:
        """See `Lookup.check_user`."""

    async def character_of(self, person: Person, character: str, world: str | None) -> Character:
        """See `Lookup.character_of`."""
        del person, world
        raise no_character(character)

    async def names(self, characters: Mapping[str, str]) -> Mapping[str, str]:
        """See `Lookup.names`."""
        return characters
