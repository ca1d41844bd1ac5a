"""The operations of the store's own directory, once, for both colours."""

from __future__ import annotations

from sojourn.core.codec import check_key
from sojourn.errors import UnsupportedError
from sojourn.kinds.logins.model import Character, User, World
from sojourn.kinds.logins.registry import Registry, check_label
from sojourn.shell.unit import operation_key


class AsyncDirectory:
    """Users, characters and worlds of one store and tenant: ``store.directory``, for applications without tables of their own.

    Of a store that was opened with ``directory=`` every operation raises `UnsupportedError`.
    """

    def __init__(self, registry: Registry, *, own: bool) -> None:
        self._known = registry
        self._own = own

    @property
    def _registry(self) -> Registry:
        if not self._own:
            raise UnsupportedError(
                "this store was opened with directory=…, so it keeps no users of its own.", hint="Ask the application's tables."
            )
        return self._known

    async def add_user(self, username: str, *, key: str | None = None) -> str:
        """The id of a new user; `NameTakenError` when there is one of this name (names are compared as they are given)."""
        return await self._registry.add_user(check_label(username, "username"), operation_key(key))

    async def add_world(self, world_id: str | int, name: str, *, key: str | None = None) -> None:
        """Make a world; `ConflictError` when there is one of this id."""
        await self._registry.add_world(check_key(world_id, "world_id"), check_label(name, "name"), operation_key(key))

    async def add_character(self, user_id: str | int, world_id: str | int | None, name: str, *, key: str | None = None) -> str:
        """The id of a new character of a user, in a world or (None) in none; `NotFoundError` for an unknown user or world."""
        world = None if world_id is None else check_key(world_id, "world_id")
        return await self._registry.add_character(
            check_key(user_id, "user_id"), world, check_label(name, "name"), operation_key(key)
        )

    async def user_id(self, username: str) -> str | None:
        """The id of the user of this name; None when there is none."""
        return await self._registry.user_named(check_label(username, "username"))

    async def user(self, user_id: str | int) -> User | None:
        """A user with the ids of their characters; None when there is none."""
        return await self._registry.user(check_key(user_id, "user_id"))

    async def character(self, character_id: str | int) -> Character | None:
        """A character; None when there is none."""
        return await self._registry.character(check_key(character_id, "character_id"))

    async def world(self, world_id: str | int) -> World | None:
        """A world; None when there is none."""
        return await self._registry.world(check_key(world_id, "world_id"))

    async def rename_character(self, character_id: str | int, name: str, *, key: str | None = None) -> None:
        """Give a character another name; the logins that hold it show it from the same commit on."""
        place = check_key(character_id, "character_id")
        await self._registry.rename_character(place, check_label(name, "name"), operation_key(key))

    async def move_character(self, character_id: str | int, user_id: str | int, *, key: str | None = None) -> None:
        """Give a character to another user; logins of the former owner that hold it become account-only. Idempotent.

        Cut short, the next operation on the character or a sweep does the rest; at no moment may both users take it.
        """
        place = check_key(character_id, "character_id")
        await self._registry.move_character(place, check_key(user_id, "user_id"), operation_key(key))

    async def remove_character(self, character_id: str | int, *, key: str | None = None) -> bool:
        """Remove a character; logins that hold it become account-only in the same commit. False when there was none."""
        return await self._registry.remove_character(check_key(character_id, "character_id"), operation_key(key))

    async def remove_user(self, user_id: str | int, *, key: str | None = None) -> bool:
        """Remove a user with name and characters, signed out everywhere; False when there was none. Idempotent.

        What the logins were stays readable until it is purged; ``store.erase`` removes that too.
        """
        return await self._registry.remove_user(check_key(user_id, "user_id"), operation_key(key))
