"""Users, worlds and characters: the store's own, the application's, and what holds between them and logins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pytest

import sojourn
from sojourn import (
    BindingError,
    Character,
    ConflictError,
    EndedError,
    InvalidNameError,
    InvalidValueError,
    NameTakenError,
    NotFoundError,
    UnsupportedError,
    User,
    World,
)

if TYPE_CHECKING:
    from tests.conversations.conftest import Lab


# -- users and worlds --------------------------------------------------------------------------------------------------


async def test_users(lab: Lab) -> None:
    ann = await lab.directory.add_user(" ann ")
    assert await lab.directory.user_id("ann") == ann
    assert await lab.directory.user(ann) == User(ann, "ann", None, ())
    assert await lab.directory.user("stranger") is None
    assert await lab.directory.user_id("stranger") is None
    with pytest.raises(NameTakenError) as taken:
        await lab.directory.add_user("ann")
    assert taken.value.holder == ann
    assert await lab.directory.user_id("Ann") is None, "names are compared as they are given"
    assert await lab.directory.add_user("bob", key="k") == await lab.directory.add_user("bob", key="k")
    for bad in ("", "   ", "a\nb", "x" * 129, "\u200b\0", 7):
        with pytest.raises((InvalidNameError, InvalidValueError, sojourn.LimitError)):
            await lab.directory.add_user(bad)  # type: ignore[arg-type]


async def test_the_last_login_is_recorded(lab: Lab) -> None:
    ann = await lab.user()
    await lab.device()
    lab.later(minutes=1)
    await lab.device()
    user = await lab.directory.user(ann)
    assert user is not None
    assert user.last_login_at == lab.clock()


async def test_worlds(lab: Lab) -> None:
    await lab.directory.add_world(7, "Seven", key="k")
    await lab.directory.add_world(7, "Seven", key="k")
    assert await lab.directory.world("7") == World("7", "Seven")
    assert await lab.directory.world("8") is None
    with pytest.raises(ConflictError):
        await lab.directory.add_world("7", "Another")


async def test_a_user_is_removed(lab: Lab) -> None:
    ann, hero = await lab.user(), await lab.hero()
    made = await lab.device(character_id=hero)
    assert await lab.directory.remove_user(ann)
    assert not await lab.directory.remove_user(ann)
    assert await lab.directory.user(ann) is None
    assert await lab.directory.user_id("ann") is None
    assert await lab.directory.character(hero) is None
    with pytest.raises(EndedError, match="user_removed"):
        await lab.logins.authenticate(made.token)
    with pytest.raises(NotFoundError):
        await lab.logins.create(ann)
    assert [login.state for login in await lab.logins.list(user_id=ann, active_only=False)] == ["ended"]
    assert await lab.user() != ann, "the name is free again, for somebody else"


# -- characters --------------------------------------------------------------------------------------------------------


async def test_characters(lab: Lab) -> None:
    hero = await lab.hero()
    ann = await lab.user()
    assert await lab.directory.character(hero) == Character(hero, ann, "middle", "Elwing")
    drifter = await lab.directory.add_character(ann, None, "Nemo", key="k")
    assert await lab.directory.add_character(ann, None, "Nemo", key="k") == drifter
    user = await lab.directory.user(ann)
    assert user is not None
    assert set(user.character_ids) == {hero, drifter}
    for user_id, world in (("stranger", "middle"), (ann, "nowhere")):
        with pytest.raises(NotFoundError):
            await lab.directory.add_character(user_id, world, "X")
    assert await lab.directory.character("stranger") is None
    with pytest.raises(NotFoundError):
        await lab.directory.rename_character("stranger", "X")
    for character, new in (("stranger", ann), (hero, "stranger")):
        with pytest.raises(NotFoundError):
            await lab.directory.move_character(character, new)


async def test_a_character_gets_another_name(lab: Lab) -> None:
    hero = await lab.hero()
    await lab.device(character_id=hero)
    await lab.directory.rename_character(hero, "Tinuviel")
    assert await lab.logins.active_characters(world_id="middle") == ["Tinuviel"]
    found = await lab.directory.character(hero)
    assert found is not None
    assert found.name == "Tinuviel"


async def test_a_character_changes_hands(lab: Lab) -> None:
    hero, bob = await lab.hero(), await lab.user("bob")
    made, his = await lab.device(character_id=hero), await lab.device("bob")
    for _ in range(2):
        await lab.directory.move_character(hero, bob)
    mine = await lab.logins.get(made.login.id)
    assert mine is not None
    assert (mine.character_id, mine.world_id, mine.state) == (None, None, "active")
    assert (await lab.logins.history(made.login.id)).items[-1].reason == "character_moved"
    with pytest.raises(BindingError):
        await lab.logins.bind_character(made.login.id, hero)
    assert (await lab.logins.bind_character(his.login.id, hero)).world_id == "middle"
    await lab.directory.move_character(hero, await lab.user())
    await lab.directory.move_character(hero, bob)
    await lab.directory.move_character(hero, await lab.user())
    assert (await lab.logins.bind_character(made.login.id, hero)).character_id == hero
    assert (await lab.logins.get(his.login.id)).character_id is None  # type: ignore[union-attr]


async def test_a_character_is_removed_twice_under_one_key(lab: Lab) -> None:
    hero = await lab.hero()
    assert await lab.directory.remove_character(hero, key="k")
    assert await lab.directory.remove_character(hero, key="k")
    assert not await lab.directory.remove_character(hero)


# -- the five invariants, on create and on bind ------------------------------------------------------------------------


async def both_ways(lab: Lab, error: type[Exception], character: Any, world: Any = None) -> None:
    ann = await lab.user()
    made = await lab.device()
    with pytest.raises(error):
        await lab.logins.create(ann, character_id=character, world_id=world)
    with pytest.raises(error):
        await lab.logins.bind_character(made.login.id, character, world_id=world)
    assert (await lab.logins.get(made.login.id)).character_id is None  # type: ignore[union-attr]


async def test_an_account_session_has_no_world(lab: Lab) -> None:
    await lab.hero()
    with pytest.raises(BindingError, match="without a character"):
        await lab.logins.create(await lab.user(), world_id="middle")


async def test_a_character_session_has_one(lab: Lab) -> None:
    hero = await lab.hero()
    assert (await lab.device(character_id=hero)).login.world_id == "middle"
    drifter = await lab.directory.add_character(await lab.user(), None, "Nemo")
    await both_ways(lab, NotFoundError, drifter)


async def test_the_character_exists(lab: Lab) -> None:
    await both_ways(lab, NotFoundError, "no-such-character")


async def test_it_belongs_to_the_user(lab: Lab) -> None:
    await both_ways(lab, BindingError, await lab.hero("bob"))


async def test_the_world_matches(lab: Lab) -> None:
    hero = await lab.hero()
    await lab.hero("bob", world="mordor")
    await both_ways(lab, BindingError, hero, "mordor")
    assert (await lab.device(character_id=hero, world_id="middle")).login.world_id == "middle"


# -- conflicts ---------------------------------------------------------------------------------------------------------


async def test_take_over(lab: Lab) -> None:
    hero = await lab.hero()
    first, second = await lab.device(character_id=hero), await lab.device()
    with pytest.raises(ConflictError) as conflict:
        await lab.logins.bind_character(second.login.id, hero)
    assert conflict.value.holder == first.login.id
    await lab.logins.bind_character(second.login.id, hero, on_conflict="take_over", key="k")
    lost = await lab.logins.authenticate(first.token)
    assert (lost.character_id, lost.state) == (None, "active")
    third = await lab.device(character_id=hero, on_conflict="take_over")
    await lab.logins.bind_character(second.login.id, hero, on_conflict="take_over", key="k")
    assert [login.id for login in await lab.logins.list(character_id=hero)] == [third.login.id], "the same call does nothing"


async def test_share(lab: Lab) -> None:
    hero = await lab.hero()
    first = await lab.device(character_id=hero)
    second = await lab.device(character_id=hero, on_conflict="share")
    assert second.login.shared_character
    assert (await lab.logins.get(first.login.id)).shared_character  # type: ignore[union-attr]
    assert len(await lab.logins.list(character_id=hero, world_id="middle")) == 2
    assert len(await lab.logins.list(character_id=hero, world_id="mordor")) == 0
    assert await lab.logins.revoke_character(hero) == 2
    assert await lab.logins.revoke_character(hero) == 0
    assert (await lab.device(character_id=hero)).login.shared_character is False


async def test_a_holder_that_expired_holds_nothing(lab: Lab) -> None:
    hero = await lab.hero()
    old = await lab.device(character_id=hero)
    lab.later(days=1)
    new = await lab.device()
    assert (await lab.logins.bind_character(new.login.id, hero)).character_id == hero
    lab.later(days=-1)
    with pytest.raises(sojourn.ExpiredError):
        await lab.logins.authenticate(old.token)


async def test_binding_again_and_another(lab: Lab) -> None:
    elf, orc = await lab.hero(), await lab.hero("ann", "Ugluk", "mordor")
    made = await lab.device(character_id=elf)
    assert (await lab.logins.bind_character(made.login.id, elf)).character_id == elf
    assert (await lab.logins.bind_character(made.login.id, orc)).world_id == "mordor"
    assert len(await lab.logins.list(world_id="middle")) == len(await lab.logins.list(character_id=elf)) == 0
    assert len(await lab.logins.list(world_id="mordor")) == 1
    for _ in range(2):
        assert (await lab.logins.unbind_character(made.login.id, key="k")).world_id is None
    assert len(await lab.logins.list(world_id="mordor")) == 0
    await lab.logins.bind_character(made.login.id, orc)
    assert (await lab.logins.unbind_character(made.login.id, key="k")).character_id == orc, "the same call does nothing"
    with pytest.raises(NotFoundError):
        await lab.logins.bind_character(sojourn.new_id(), elf)
    with pytest.raises(NotFoundError):
        await lab.logins.unbind_character("nonsense")


class Half:
    def user_id(self, username: str) -> str:
        return username


# -- the application's own ---------------------------------------------------------------------------------------------


class Tables:
    """An application's tables, plain methods."""

    def __init__(self) -> None:
        self.users = {"ann": 1, "bob": 2}
        self.characters = {"10": Character("10", "1", "w", "Elf"), "20": Character("20", "2", None, "Nemo")}
        self.worlds = {"w"}

    def user_id(self, username: str) -> int | None:
        return self.users.get(username)

    def user_exists(self, user_id: str) -> bool:
        return int(user_id) in self.users.values()

    def character(self, character_id: str) -> Character | None:
        return self.characters.get(character_id)

    def world_exists(self, world_id: str) -> bool:
        return world_id in self.worlds

    def names(self, character_ids: list[str]) -> Mapping[str, str]:
        return {id: self.characters[id].name for id in character_ids if id in self.characters}


class AsyncTables:
    """The same, as coroutine functions."""

    def __init__(self, inner: Tables) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)

        async def call(*arguments: Any) -> Any:
            return method(*arguments)

        return call


async def test_an_applications_own_tables(lab: Lab) -> None:
    tables = Tables()
    logins = lab.knowing(tables if lab.blocking else AsyncTables(tables))
    made = await logins.create(username="ann", character_id=10)
    assert (made.login.user_id, made.login.character_id, made.login.world_id) == ("1", "10", "w")
    assert await logins.active_characters(world_id="w") == ["Elf"]
    tables.characters["10"] = Character("10", "1", "w", "Tinuviel")
    assert await logins.active_characters(world_id="w") == ["Tinuviel"]
    for user, error in ((3, NotFoundError), (1, None)):
        if error is None:
            await logins.create(user)
        else:
            with pytest.raises(error):
                await logins.create(user)
    with pytest.raises(NotFoundError):
        await logins.create(username="cat")
    with pytest.raises(BindingError):
        await logins.create(2, character_id=10)
    with pytest.raises(NotFoundError, match="in no world"):
        await logins.create(2, character_id=20)
    with pytest.raises(NotFoundError):
        await logins.create(2, character_id=30)
    tables.worlds.clear()
    with pytest.raises(NotFoundError, match="no world"):
        await logins.bind_character((await logins.create(1)).login.id, 10)


async def test_a_store_with_tables_of_an_application_keeps_none(lab: Lab) -> None:
    for directory in (False, Tables()):
        store = lab.open(directory=directory)
        for operation in (
            lambda: store.directory.add_user("ann"),  # noqa: B023  # called at once
            lambda: store.directory.user_id("ann"),  # noqa: B023
            lambda: store.directory.remove_user("ann"),  # noqa: B023
        ):
            with pytest.raises(UnsupportedError, match="directory="):
                await operation()


def test_a_directory_that_lacks_something() -> None:
    with pytest.raises(InvalidValueError, match="user_exists, character, world_exists, names"):
        sojourn.open("memory:", directory=Half())  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError):
        sojourn.open("memory:", directory=True)  # type: ignore[arg-type]
