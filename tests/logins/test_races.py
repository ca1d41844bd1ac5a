"""Races of logins, in every order that a seed finds and with a crash after every step; each is lost without its guard."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Final

import pytest

from sojourn import (
    AsyncStore,
    ConflictError,
    EndedError,
    Login,
    LoginPolicy,
    NameTakenError,
    NewLogin,
    NotFoundError,
    SojournError,
)
from sojourn.testing.simulation import Outcome, RaceLostError, Scenario, Simulation, explore, explore_crashes

pytestmark = pytest.mark.slow

OWN: Final = "a-secret-of-the-caller-0123456789-abcdefgh"
CAP: Final = LoginPolicy(max_per_user=1)


def results(outcomes: Iterable[Outcome[Any]], *expected: type[SojournError]) -> list[Any]:
    """What the operations gave that were not dropped and did not raise what they may."""
    found = []
    for outcome in outcomes:
        if outcome.done:
            found.append(outcome.value)
        elif outcome.error is not None and not isinstance(outcome.error, expected):
            raise outcome.error
    return found


async def everything(store: AsyncStore) -> list[Login]:
    return (await store.logins.list(active_only=False, limit=1000)).items


async def check(store: AsyncStore, characters: Iterable[str] = ()) -> None:
    """The invariants that hold between logins, characters and worlds, whatever has happened."""
    holders: dict[str, list[Login]] = {}
    for login in await everything(store):
        assert (login.character_id is None) == (login.world_id is None), "one has no world, the other has one"
        if login.character_id is None or login.state != "active":
            continue
        character = await store.directory.character(login.character_id)
        assert character is not None, "the character exists"
        assert character.user_id == login.user_id, "it belongs to the user"
        assert character.world_id == login.world_id, "and is in this world"
        holders.setdefault(character.id, []).append(login)
    for found in holders.values():
        assert len(found) == 1 or all(login.shared_character for login in found), "one holds it, unless it is shared"
    for id in characters:
        character = await store.directory.character(id)
        if character is not None:
            user = await store.directory.user(character.user_id)
            assert user is not None
            assert id in user.character_ids


async def a_cap_of_one(simulation: Simulation) -> None:
    logins = simulation.store(directory=False, logins=CAP).logins
    await logins.revoke((await logins.create("ann")).login.id)
    made: list[NewLogin] = results(await simulation.race(*[lambda: logins.create("ann") for _ in range(3)]))
    live = await logins.list(user_id="ann")
    assert len(live) == 1
    assert live.items[0].id in {one.login.id for one in made}


async def two_take_a_character(simulation: Simulation) -> None:
    store = simulation.store()
    ann, hero = await a_hero(store)
    devices = [(await store.logins.create(ann)).login.id for _ in range(2)]
    outcomes = await simulation.race(
        *[lambda id=id: store.logins.bind_character(id, hero) for id in devices],
        lambda: store.logins.create(ann, character_id=hero),
    )
    assert len(results(outcomes, ConflictError)) == 1
    await check(store)


async def one_takes_over_while_one_shares(simulation: Simulation) -> None:
    store = simulation.store()
    ann, hero = await a_hero(store)
    first = (await store.logins.create(ann, character_id=hero)).login.id
    other = (await store.logins.create(ann)).login.id
    results(
        await simulation.race(
            lambda: store.logins.create(ann, character_id=hero, on_conflict="take_over"),
            lambda: store.logins.bind_character(other, hero, on_conflict="share"),
            lambda: store.logins.unbind_character(first),
        )
    )
    await check(store)


async def a_character_is_removed_while_it_is_taken(simulation: Simulation) -> None:
    store = simulation.store()
    ann, hero = await a_hero(store)
    device = (await store.logins.create(ann)).login.id
    results(
        await simulation.race(
            lambda: store.logins.bind_character(device, hero),
            lambda: store.directory.remove_character(hero),
            lambda: store.logins.create(ann, character_id=hero, on_conflict="take_over"),
        ),
        NotFoundError,
        ConflictError,
    )
    await check(store, [hero])
    assert await store.directory.character(hero) is None


async def a_character_changes_hands_while_it_is_taken(simulation: Simulation) -> None:
    store = simulation.store()
    ann, hero = await a_hero(store)
    bob = await store.directory.add_user("bob")
    devices = [(await store.logins.create(user)).login.id for user in (ann, bob)]
    results(
        await simulation.race(
            lambda: store.directory.move_character(hero, bob),
            *[lambda id=id: store.logins.bind_character(id, hero, on_conflict="take_over") for id in devices],
            crash=0,
        ),
        SojournError,
    )
    await check(store, [hero])
    found = await store.directory.character(hero)
    assert found is not None
    if simulation.crash_after is None:
        assert found.user_id == bob
    owner = devices[found.user_id == bob]
    assert (await store.logins.bind_character(owner, hero, on_conflict="take_over")).character_id == hero
    await check(store, [hero])


async def a_character_goes_there_and_back(simulation: Simulation) -> None:
    store = simulation.store()
    ann, hero = await a_hero(store)
    bob, cat = await store.directory.add_user("bob"), await store.directory.add_user("cat")
    operations: list[Any] = [lambda to=to: store.directory.move_character(hero, to) for to in (bob, cat, ann)]
    operations.append(lambda: simulation.store().sweep())
    results(await simulation.race(*operations, crash=0))
    await check(store, [hero])
    simulation.clock.advance(timedelta(minutes=2))
    await store.sweep()
    found = await store.directory.character(hero)
    assert found is not None
    for user in (ann, bob, cat):
        known = await store.directory.user(user)
        assert known is not None
        assert (hero in known.character_ids) == (user == found.user_id), "exactly one has it"
        outcome = await simulation.alone(partial(store.logins.create, user, character_id=hero))
        assert outcome.done == (user == found.user_id)
    await check(store, [hero])


async def everything_is_revoked_while_one_signs_in(simulation: Simulation) -> None:
    """Whatever was there before ends; what a sign-in gives is either ended or came after."""
    logins = simulation.store(directory=False).logins
    old = await logins.create("ann")
    outcomes = await simulation.race(
        lambda: logins.revoke_user("ann"),
        lambda: logins.create("ann"),
        lambda: logins.update(old.login.id, {"saved": True}),
        lambda: logins.touch(old.login.id),
    )
    results(outcomes, EndedError)
    found = await logins.get(old.login.id)
    assert found is not None
    assert found.state == "ended"
    assert (await logins.history(old.login.id)).items[-1].change == "revoked", "and nothing came behind it"
    with pytest.raises(EndedError):
        await logins.authenticate(old.token)
    revoked = outcomes[0].result()
    live = len(await logins.list(user_id="ann"))
    assert (revoked, live) in ((1, 1), (2, 0)), "each login is counted or lives"


async def two_rotate_the_same_token(simulation: Simulation) -> None:
    """Two tabs: both go on, and nobody is logged out."""
    logins = simulation.store(directory=False).logins
    made = await logins.create("ann")
    fresh: list[NewLogin] = results(await simulation.race(*[lambda: logins.rotate(made.token) for _ in range(3)], crash=2))
    for one in fresh:
        assert (await logins.authenticate(one.token)).id == made.login.id


async def a_retried_rotate(simulation: Simulation) -> None:
    """Its answer is lost at any step; the client asks again with the same key, much later, and is not logged out."""
    logins = simulation.store(directory=False).logins
    made = await logins.create("ann")
    await simulation.alone(lambda: logins.rotate(made.token, key="r"), crash=True)
    simulation.clock.advance(timedelta(minutes=5))
    fresh = await logins.rotate(made.token, key="r")
    assert (await logins.authenticate(fresh.token)).state == "active"


async def a_retried_create(simulation: Simulation) -> None:
    """One login, whatever was lost; the token that arrives signs in."""
    logins = simulation.store(directory=False, logins=CAP).logins
    await simulation.alone(lambda: logins.create("ann", key="c"), crash=True)
    fresh = await logins.create("ann", key="c")
    assert (await logins.authenticate(fresh.token)).state == "active"
    assert len(await logins.list(user_id="ann", active_only=False)) == 1


async def a_token_of_their_own_twice(simulation: Simulation) -> None:
    """One of them gets it; no login is left that no token finds."""
    store = simulation.store(directory=False)
    outcomes = await simulation.race(
        *[lambda user=user: store.logins.create(user, token=OWN) for user in ("ann", "bob")], crash=0
    )
    made: list[NewLogin] = results(outcomes, ConflictError)
    live = await everything(store)
    found = await store.logins.find(OWN)
    assert [login.id for login in live] == ([] if found is None else [found.id])
    assert len(made) <= 1
    if simulation.crash_after is None:
        assert len(made) == 1
    if found is None:
        again = await store.logins.create("cat", token=OWN)
        assert (await store.logins.authenticate(OWN)).id == again.login.id


async def a_retried_create_with_a_token_of_their_own(simulation: Simulation) -> None:
    store = simulation.store(directory=False)
    await simulation.alone(lambda: store.logins.create("ann", token=OWN, key="c"), crash=True)
    made = await simulation.race(*[lambda: store.logins.create("ann", token=OWN, key="c") for _ in range(2)])
    assert {outcome.result().login.id for outcome in made} == {(await store.logins.authenticate(OWN)).id}
    assert len(await everything(store)) == 1


async def two_users_of_one_name(simulation: Simulation) -> None:
    directory = simulation.store().directory
    outcomes = await simulation.race(*[lambda: directory.add_user("ann") for _ in range(3)], crash=0)
    made = results(outcomes, NameTakenError)
    found = await directory.user_id("ann")
    if simulation.crash_after is None:
        assert made == [found]
    elif found is None:
        found = await directory.add_user("ann")
    assert len(made) <= 2
    assert found is not None
    assert set(made) <= {found}
    known = await directory.user(found)
    assert known is not None
    assert known.username == "ann"


async def a_user_is_removed_while_they_sign_in(simulation: Simulation) -> None:
    store = simulation.store()
    ann, hero = await a_hero(store)
    old = await store.logins.create(ann, character_id=hero)
    results(
        await simulation.race(
            lambda: store.directory.remove_user(ann),
            lambda: store.logins.create(ann),
            lambda: store.logins.bind_character(old.login.id, hero),
            crash=0,
        ),
        NotFoundError,
        EndedError,
    )
    simulation.clock.advance(timedelta(minutes=2))
    await store.sweep()
    if await store.directory.user(ann) is None:
        assert [login.state for login in await everything(store)] == ["ended"] * len(await everything(store))
        assert await store.directory.user_id("ann") is None
        assert await store.directory.character(hero) is None
        assert await store.directory.add_user("ann") != ann
    else:
        assert simulation.crash_after is not None
        assert (await store.logins.authenticate(old.token)).user_id == ann


async def a_thousand_are_revoked(simulation: Simulation) -> None:
    """More than one commit takes: cut short anywhere, a sweep goes on; who signs in meanwhile stays."""
    store = simulation.store(directory=False)
    many = [await store.logins.create("ann") for _ in range(5)]
    outcomes = await simulation.race(
        lambda: store.logins.revoke_user("ann", keep=many[0].login.id), lambda: store.logins.create("ann"), crash=0
    )
    new = outcomes[1].result().login.id
    simulation.clock.advance(timedelta(minutes=2))
    await store.sweep()
    live = {login.id for login in await store.logins.list(user_id="ann")}
    begun = simulation.crash_after is None or many[1].login.id not in live
    if begun:
        assert live <= {many[0].login.id, new}
        assert many[0].login.id in live
    else:
        assert live == {new, *(one.login.id for one in many)}, "all or, before the intent was stored, none"
    assert await store.logins.revoke_user("ann") == len(live)


async def a_hero(store: AsyncStore) -> tuple[str, str]:
    ann = await store.directory.add_user("ann")
    await store.directory.add_world("middle", "Middle")
    return ann, await store.directory.add_character(ann, "middle", "Elwing")


# -- one request sent twice, beside others, or again after a crash -------------------------------------------------------


async def a_move_is_asked_again_when_the_character_has_moved_on(simulation: Simulation) -> None:
    store = simulation.store()
    _, hero = await a_hero(store)
    bob, cat = await store.directory.add_user("bob"), await store.directory.add_user("cat")
    await simulation.alone(lambda: store.directory.move_character(hero, bob, key="k"), crash=True)
    if await owner_of(store, hero) != bob:
        return
    await store.directory.move_character(hero, cat)
    await store.directory.move_character(hero, bob, key="k")
    assert await owner_of(store, hero) == cat
    await check(store, [hero])


async def a_rename_is_asked_again_when_the_character_has_moved_on(simulation: Simulation) -> None:
    store = simulation.store()
    _, hero = await a_hero(store)
    bob = await store.directory.add_user("bob")
    await simulation.alone(lambda: store.directory.rename_character(hero, "Orc", key="k"), crash=True)
    found = await store.directory.character(hero)
    if found is None or found.name != "Orc":
        return
    await store.directory.rename_character(hero, "Elf", key="l")
    await store.directory.move_character(hero, bob)
    await store.directory.rename_character(hero, "Orc", key="k")
    found = await store.directory.character(hero)
    assert found is not None
    assert found.name == "Elf"


async def a_move_is_asked_again_while_the_character_moves_on(simulation: Simulation) -> None:
    """Whoever has it in the end has it from the last move, and every record agrees."""
    store = simulation.store()
    _, hero = await a_hero(store)
    bob, cat = await store.directory.add_user("bob"), await store.directory.add_user("cat")
    await simulation.alone(lambda: store.directory.move_character(hero, bob, key="k"), crash=True)
    arrived = await owner_of(store, hero) == bob
    results(
        await simulation.race(
            lambda: simulation.store().directory.move_character(hero, bob, key="k"),
            lambda: simulation.store().directory.move_character(hero, bob, key="k"),
            lambda: simulation.store().directory.move_character(hero, cat),
        )
    )
    assert await owner_of(store, hero) in ([cat] if arrived else [bob, cat])
    await check(store, [hero])
    assert (await store.logins.create(await owner_of(store, hero), character_id=hero)).login.character_id == hero


async def owner_of(store: AsyncStore, character: str) -> str:
    found = await store.directory.character(character)
    assert found is not None
    return found.user_id


async def a_user_is_added_twice_beside_another_of_the_name(simulation: Simulation) -> None:
    """Who has the name is found by it, and is the only one who was told so."""
    keys = ("k", "k", "l")
    outcomes = await simulation.race(*[lambda key=key: simulation.store().directory.add_user("ann", key=key) for key in keys])
    made = set(results(outcomes, NameTakenError))
    assert outcomes[0].value == outcomes[1].value
    assert made == {await simulation.store().directory.user_id("ann")}


async def nothing_is_unbound_twice_beside_a_revocation(simulation: Simulation) -> None:
    store = simulation.store(directory=False)
    id = (await store.logins.create("ann")).login.id
    one, two, _ = await simulation.race(
        *[lambda: simulation.store(directory=False).logins.unbind_character(id, key="k")] * 2, lambda: store.logins.revoke(id)
    )
    results([one, two], EndedError)
    assert one.done == two.done


@dataclass(frozen=True)
class Race:
    """A scenario, how many seeds, whether with crashes, and the guards without which it must be lost."""

    scenario: Scenario
    guards: tuple[str, ...] = ()
    crashes: bool = False
    seeds: int = 150

    def run(self, times: int = 1) -> None:
        explore(self.scenario, seeds=self.seeds * times)
        if self.crashes:
            assert explore_crashes(self.scenario, seeds=4 * times) > 0


RACES: Final = [
    Race(a_cap_of_one, ("version",)),
    Race(two_take_a_character, ("version",)),
    Race(one_takes_over_while_one_shares, ("version",)),
    Race(a_character_is_removed_while_it_is_taken, ("version",)),
    Race(a_character_changes_hands_while_it_is_taken, ("version",), crashes=True),
    Race(a_character_goes_there_and_back, ("version", "epoch"), crashes=True, seeds=40),
    Race(everything_is_revoked_while_one_signs_in, ("open",)),
    Race(two_rotate_the_same_token, ("version",), crashes=True),
    Race(a_retried_rotate, ("operation",), crashes=True, seeds=1),
    Race(a_retried_create, ("operation",), crashes=True, seeds=1),
    Race(a_token_of_their_own_twice, ("epoch",), crashes=True),
    Race(a_retried_create_with_a_token_of_their_own, (), crashes=True, seeds=50),
    Race(two_users_of_one_name, ("epoch",), crashes=True),
    Race(a_user_is_removed_while_they_sign_in, ("phase",), crashes=True, seeds=100),
    Race(a_thousand_are_revoked, (), crashes=True, seeds=100),
    Race(a_move_is_asked_again_when_the_character_has_moved_on, ("operation",), crashes=True, seeds=1),
    Race(a_rename_is_asked_again_when_the_character_has_moved_on, ("operation",), crashes=True, seeds=1),
    Race(a_move_is_asked_again_while_the_character_moves_on, ("operation",), crashes=True, seeds=50),
    Race(a_user_is_added_twice_beside_another_of_the_name, ("epoch",), seeds=300),
    Race(nothing_is_unbound_twice_beside_a_revocation, seeds=300),
]


@pytest.fixture(params=RACES, ids=lambda race: race.scenario.__name__)
def race(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Race:
    monkeypatch.setattr(
        "sojourn.kinds.logins.revocation.AT_ONCE", 2 if request.param.scenario is a_thousand_are_revoked else 500
    )
    found: Race = request.param
    return found


def test_every_race_is_won(race: Race) -> None:
    race.run()


@pytest.mark.campaign
def test_every_race_is_won_in_very_many_orders(race: Race) -> None:
    race.run(40)


@pytest.mark.parametrize(
    ("race", "guard"),
    [(race, guard) for race in RACES for guard in race.guards],
    ids=lambda value: getattr(value, "scenario", value),
)
def test_without_its_guard_a_race_is_lost(race: Race, guard: str) -> None:
    def try_hard() -> None:
        explore(race.scenario, seeds=3000, without=guard)
        explore_crashes(race.scenario, seeds=100, without=guard)

    with pytest.raises(RaceLostError):
        try_hard()
