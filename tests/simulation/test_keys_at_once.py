"""One request sent several times at once under one key: it is done once, and everybody is given what it came to.

A client whose answer is late sends its request again while the first is still being worked on. Every operation that takes a
``key`` is raced against itself here, whatever its kind; the store then holds what one call alone leaves in it.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

import pytest

import sojourn
from sojourn import AsyncStore, Game, LoginPolicy, NewLogin, Swapped, WorkspacePolicy
from sojourn.kinds.logins import revocation
from sojourn.testing.places import Directory, MemoryPlaces
from sojourn.testing.simulation import RaceLostError, Simulation, explore, explore_crashes

pytestmark = pytest.mark.slow

SEEDS: Final = 8
MANY: Final = pytest.mark.parametrize("times", [1, pytest.param(40, marks=pytest.mark.campaign, id="campaign")])
MINUTE: Final = timedelta(minutes=1)
HERE: Final = "here"
THERE: Final = "there"
OWN: Final = "a-secret-of-the-caller-0123456789-abcdefgh"

Prepare = Callable[[AsyncStore], Awaitable[Any]]
Call = Callable[[AsyncStore, Any], Awaitable[Any]]


@pytest.fixture(autouse=True)
def _few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that seven logins are revoked in more than one commit."""
    monkeypatch.setattr(revocation, "AT_ONCE", 3)


async def nothing(_: AsyncStore) -> None:
    """Nothing has to be there."""


# -- conversations -----------------------------------------------------------------------------------------------------


async def talk(store: AsyncStore) -> str:
    """A conversation in which every operation has something to do."""
    talks = store.conversations
    made = (await talks.create("ann")).id
    await talks.extend(made, [{"role": "user", "content": f"{number}"} for number in range(60)])
    await talks.consolidate(made, keep=40)
    await talks.append(made, "assistant", "", tool_calls=[{"id": "c1"}])
    await talks.hide(made, 30)
    await talks.rewind(made, 58)
    await talks.append(made, "assistant", "", tool_calls=[{"id": "c2"}])
    await talks.link_channel(made, "discord", "d1")
    return made


async def old_talks(store: AsyncStore) -> None:
    for user in ("ann", "bob", "cem"):
        await store.conversations.create(user)


TALKS: Final[dict[str, tuple[Prepare, Call]]] = {
    "create": (nothing, lambda s, _: s.conversations.create("ann", title="Trip", key="k")),
    "create with a handle": (
        nothing,
        lambda s, _: s.conversations.create("ann", channel="telegram", channel_user_id="t1", key="k"),
    ),
    "get_or_create": (nothing, lambda s, _: s.conversations.get_or_create("ann", key="k")),
    "get_or_create by a handle": (
        nothing,
        lambda s, _: s.conversations.get_or_create(channel="telegram", channel_user_id="t1", key="k"),
    ),
    "decay": (old_talks, lambda s, _: s.conversations.decay(timedelta(0), key="k")),
    "update": (talk, lambda s, id: s.conversations.update(id, {"a": 1}, ["b"], key="k")),
    "append": (talk, lambda s, id: s.conversations.append(id, "user", "hello", key="k")),
    "append at a version": (
        talk,
        lambda s, id: s.conversations.append(id, "user", "hello", expected_version=8, key="k"),
    ),
    "extend": (talk, lambda s, id: s.conversations.extend(id, [{"role": "user", "content": c} for c in "abc"], key="k")),
    "consolidate": (talk, lambda s, id: s.conversations.consolidate(id, keep=20, key="k")),
    "fold": (talk, lambda s, id: s.conversations.fold(id, keep=20, key="k")),
    "expand": (talk, lambda s, id: s.conversations.expand(id, 61, key="k")),
    "unfold": (talk, lambda s, id: s.conversations.unfold(id, 61, key="k")),
    "repair": (talk, lambda s, id: s.conversations.repair(id, key="k")),
    "link_channel": (talk, lambda s, id: s.conversations.link_channel(id, "telegram", "t1", key="k")),
    "unlink_channel": (talk, lambda s, id: s.conversations.unlink_channel(id, "discord", key="k")),
    "end": (talk, lambda s, id: s.conversations.end(id, key="k")),
    "fork": (talk, lambda s, id: s.conversations.fork(id, key="k")),
    "fork at a place": (talk, lambda s, id: s.conversations.fork(id, at=5, key="k")),
    "rewind": (talk, lambda s, id: s.conversations.rewind(id, 50, key="k")),
    "undo_rewind": (talk, lambda s, id: s.conversations.undo_rewind(id, key="k")),
    "clear": (talk, lambda s, id: s.conversations.clear(id, key="k")),
    "checkpoint": (talk, lambda s, id: s.conversations.checkpoint(id, "here", key="k")),
    "pop": (talk, lambda s, id: s.conversations.pop(id, key="k")),
    "hide": (talk, lambda s, id: s.conversations.hide(id, 45, key="k")),
    "unhide": (talk, lambda s, id: s.conversations.unhide(id, 30, key="k")),
    "redact": (talk, lambda s, id: s.conversations.redact(id, 45, key="k")),
    "delete": (talk, lambda s, id: s.conversations.delete(id, key="k")),
}

# -- contexts ----------------------------------------------------------------------------------------------------------


async def gathered(store: AsyncStore) -> str:
    """A context with a small and a large artifact, and its id."""
    await store.contexts.add("a", "note", "one thing")
    await store.contexts.add("a", "note", "more" * 9000)
    found = await store.contexts.get("a")
    assert found is not None
    return found.id


async def active(store: AsyncStore) -> None:
    await gathered(store)
    await store.contexts.set_active("a")


async def removed(store: AsyncStore) -> str:
    """The id of a context whose artifacts were kept."""
    id = await gathered(store)
    await store.contexts.delete("a", purge=False)
    return id


CONTEXTS: Final[dict[str, tuple[Prepare, Call]]] = {
    "create": (nothing, lambda s, _: s.contexts.create("a", key="k")),
    "add": (gathered, lambda s, _: s.contexts.add("a", "note", "more", key="k")),
    "add to a new name": (nothing, lambda s, _: s.contexts.add("a", "note", "more", key="k")),
    "add what is large": (gathered, lambda s, _: s.contexts.add("a", "note", "other" * 9000, key="k")),
    "pin": (gathered, lambda s, _: s.contexts.pin("a", 1, key="k")),
    "update": (gathered, lambda s, _: s.contexts.update("a", {"b": 1}, key="k")),
    "update_metadata": (gathered, lambda s, _: s.contexts.update_metadata("a", {"b": 1}, key="k")),
    "rename": (gathered, lambda s, _: s.contexts.rename("a", "b", key="k")),
    "branch": (gathered, lambda s, _: s.contexts.branch("a", "b", key="k")),
    "set_active": (gathered, lambda s, _: s.contexts.set_active("a", key="k")),
    "set_active off": (active, lambda s, _: s.contexts.set_active("a", False, key="k")),
    "resume": (active, lambda s, _: s.contexts.resume(key="k")),
    "delete": (gathered, lambda s, _: s.contexts.delete("a", key="k")),
    "delete_all": (gathered, lambda s, _: s.contexts.delete_all(key="k")),
    "purge": (removed, lambda s, id: s.contexts.purge(id, key="k")),
}

# -- games -------------------------------------------------------------------------------------------------------------


async def booted(store: AsyncStore) -> Game:
    """A game with an id of its own, three people, a turn that was closed, and a choice in the next."""
    games = store.games
    made = await games.boot(HERE, "One", game_id="own")
    for person in ("ann", "bob", "cem"):
        await games.join(HERE, person, person.title())
    await games.submit_choice(HERE, "ann", "Ann", "north")
    await games.close(HERE)
    await games.submit_choice(HERE, "ann", "Ann", "south")
    return made


async def between_windows(store: AsyncStore) -> None:
    await booted(store)
    await store.games.close(HERE)


async def paused(store: AsyncStore) -> None:
    await booted(store)
    await store.games.pause(HERE)


async def shelved(store: AsyncStore) -> Game:
    made = await booted(store)
    await store.games.shelve(HERE)
    return made


async def saved(store: AsyncStore) -> Game:
    """A game on the shelf of a channel that shows another."""
    made = await booted(store)
    await store.games.swap(HERE, "Two")
    return made


async def elsewhere(store: AsyncStore) -> Game:
    """A channel that shows a game of another's home; and what that other shows, which is on the shelf."""
    made = await booted(store)
    await store.games.swap(HERE, "Two")
    await store.games.resume(made.id, THERE)
    return await store.games.shelve(HERE)


async def invited(store: AsyncStore) -> str:
    await booted(store)
    return await store.games.invite(HERE, uses=1)


async def narrating(store: AsyncStore) -> int:
    await between_windows(store)
    return (await store.games.narrate(HERE)).token


GAMES: Final[dict[str, tuple[Prepare, Call]]] = {
    "boot": (nothing, lambda s, _: s.games.boot(HERE, "One", key="k")),
    "boot with an own id": (nothing, lambda s, _: s.games.boot(HERE, "One", game_id="mine", key="k")),
    "swap": (booted, lambda s, _: s.games.swap(HERE, "Two", key="k")),
    "swap where nothing is shown": (nothing, lambda s, _: s.games.swap(HERE, "Two", key="k")),
    "swap for a saved game": (saved, lambda s, game: s.games.swap(HERE, game_id=game.id, key="k")),
    "swap between homes": (elsewhere, lambda s, _: s.games.swap(THERE, "Three", key="k")),
    "swap between homes for a saved game": (elsewhere, lambda s, game: s.games.swap(THERE, game_id=game.id, key="k")),
    "exit": (booted, lambda s, _: s.games.exit(HERE, key="k")),
    "exit between homes": (elsewhere, lambda s, _: s.games.exit(THERE, key="k")),
    "shelve": (booted, lambda s, _: s.games.shelve(HERE, key="k")),
    "shelve between homes": (elsewhere, lambda s, _: s.games.shelve(THERE, key="k")),
    "resume": (shelved, lambda s, game: s.games.resume(game.id, key="k")),
    "resume between homes": (shelved, lambda s, game: s.games.resume(game.id, THERE, key="k")),
    "update": (booted, lambda s, _: s.games.update(HERE, {"a": 1}, key="k")),
    "delete": (booted, lambda s, _: s.games.delete("own", key="k")),
    "join": (booted, lambda s, _: s.games.join(HERE, "zoe", "Zoe", key="k")),
    "join on a seat": (booted, lambda s, _: s.games.join(HERE, "zoe", "Zoe", seat=7, key="k")),
    "leave": (booted, lambda s, _: s.games.leave(HERE, "bob", key="k")),
    "leave as the last who is waited for": (booted, lambda s, _: s.games.leave(HERE, "ann", key="k")),
    "kick": (booted, lambda s, _: s.games.kick(HERE, "bob", key="k")),
    "substitute": (booted, lambda s, _: s.games.substitute(HERE, "bob", "zoe", "Zoe", key="k")),
    "set_crown": (booted, lambda s, _: s.games.set_crown(HERE, "bob", key="k")),
    "invite": (booted, lambda s, _: s.games.invite(HERE, uses=1, key="k")),
    "join_by_code": (invited, lambda s, code: s.games.join_by_code(code, "zoe", "Zoe", key="k")),
    "submit_choice": (booted, lambda s, _: s.games.submit_choice(HERE, "bob", "Bob", "x", key="k")),
    "open_window": (between_windows, lambda s, _: s.games.open_window(HERE, options=["x"], key="k")),
    "close": (booted, lambda s, _: s.games.close(HERE, key="k")),
    "extend": (booted, lambda s, _: s.games.extend(HERE, timedelta(seconds=1), key="k")),
    "pause": (booted, lambda s, _: s.games.pause(HERE, key="k")),
    "unpause": (paused, lambda s, _: s.games.unpause(HERE, key="k")),
    "narrate": (between_windows, lambda s, _: s.games.narrate(HERE, key="k")),
    "record_turn": (between_windows, lambda s, _: s.games.record_turn(HERE, 1, "Told.", key="k")),
    "record_turn by a claim": (narrating, lambda s, token: s.games.record_turn(HERE, 1, "Told.", token=token, key="k")),
    "save": (booted, lambda s, _: s.games.save(HERE, "slot", key="k")),
    "fork": (booted, lambda s, _: s.games.fork(HERE, at_turn=1, key="k")),
    "rewind": (booted, lambda s, _: s.games.rewind(HERE, 0, key="k")),
}

# -- workspaces --------------------------------------------------------------------------------------------------------


async def at_work(store: AsyncStore) -> str:
    return (await store.workspaces.start("implementer", "lead")).id


async def two_at_work(store: AsyncStore) -> None:
    await store.workspaces.start("implementer", "lead")
    await store.workspaces.start("implementer", "other")


async def freed(store: AsyncStore) -> str:
    old = await store.workspaces.start("implementer", "old", pointer=None)
    id = await at_work(store)
    await store.workspaces.end(old.id)
    return id


async def stale(store: AsyncStore) -> None:
    for name in ("lead", "other"):
        await store.workspaces.start("implementer", name, pointer=None)


async def claimed(store: AsyncStore) -> Any:
    return await store.workspaces.claim(await at_work(store), "src")


async def with_a_role(store: AsyncStore) -> None:
    await store.workspaces.add_role("tester", base="implementer")


WORKSPACES: Final[dict[str, tuple[Prepare, Call]]] = {
    "start": (nothing, lambda s, _: s.workspaces.start("implementer", "lead", key="k")),
    "start without a name": (nothing, lambda s, _: s.workspaces.start("implementer", key="k")),
    "start by the project's pointer": (
        nothing,
        lambda s, _: s.workspaces.start("implementer", "lead", pointer="project", key="k"),
    ),
    "use the one before": (two_at_work, lambda s, _: s.workspaces.use("-", key="k")),
    "resume the one before": (two_at_work, lambda s, _: s.workspaces.resume("-", key="k")),
    "rename to what it is called": (at_work, lambda s, id: s.workspaces.rename(id, "lead", key="k")),
    "rename to a name that was freed": (freed, lambda s, id: s.workspaces.rename(id, "old", key="k")),
    "end by the beginning of its name": (at_work, lambda s, _: s.workspaces.end("le", key="k")),
    "end by the pointer": (at_work, lambda s, _: s.workspaces.end(key="k")),
    "claim the last there may be": (at_work, lambda s, id: s.workspaces.claim(id, "src", key="k")),
    "start as the last of a role": (nothing, lambda s, _: s.workspaces.start("architect", "lead", key="k")),
    "start of a role of its own": (with_a_role, lambda s, _: s.workspaces.start("tester", "lead", key="k")),
    "start_system": (nothing, lambda s, _: s.workspaces.start_system("monitor", key="k")),
    "heartbeat": (at_work, lambda s, id: s.workspaces.heartbeat(id, key="k")),
    "resume": (at_work, lambda s, id: s.workspaces.resume(id, key="k")),
    "use": (at_work, lambda s, id: s.workspaces.use(id, key="k")),
    "rename": (at_work, lambda s, id: s.workspaces.rename(id, "other", key="k")),
    "update": (at_work, lambda s, id: s.workspaces.update(id, {"a": 1}, key="k")),
    "end": (at_work, lambda s, id: s.workspaces.end(id, key="k")),
    "expire": (at_work, lambda s, id: s.workspaces.expire(id, key="k")),
    "expire_stale of some": (stale, lambda s, _: s.workspaces.expire_stale(key="k")),
    "expire_stale": (stale, lambda s, _: s.workspaces.expire_stale(key="k")),
    "claim": (at_work, lambda s, id: s.workspaces.claim(id, "src", key="k")),
    "release": (claimed, lambda s, claim: s.workspaces.release(claim, key="k")),
    "add_role": (nothing, lambda s, _: s.workspaces.add_role("tester", base="implementer", key="k")),
    "remove_role": (with_a_role, lambda s, _: s.workspaces.remove_role("tester", key="k")),
}

# -- logins ------------------------------------------------------------------------------------------------------------


async def signed_in(store: AsyncStore) -> dict[str, Any]:
    """A user with a character in a world, one login that holds it, and another."""
    user = await store.directory.add_user("ann")
    await store.directory.add_world("w", "World")
    hero = await store.directory.add_character(user, "w", "Elf")
    made = await store.logins.create(user)
    holder = await store.logins.create(user)
    await store.logins.bind_character(holder.login.id, hero)
    return {"user": user, "hero": hero, "id": made.login.id, "token": made.token, "holder": holder.login.id}


async def many(store: AsyncStore) -> dict[str, Any]:
    found = await signed_in(store)
    for _ in range(6):
        await store.logins.create(found["user"])
    return found


LOGINS: Final[dict[str, tuple[Prepare, Call]]] = {
    "create": (signed_in, lambda s, on: s.logins.create(on["user"], key="k")),
    "create with a token of their own": (signed_in, lambda s, on: s.logins.create(on["user"], token=OWN, key="k")),
    "create the last that is allowed": (signed_in, lambda s, on: s.logins.create(on["user"], key="k")),
    "create in the place of another": (signed_in, lambda s, on: s.logins.create(on["user"], key="k")),
    "unbind_character of none": (signed_in, lambda s, on: s.logins.unbind_character(on["id"], key="k")),
    "revoke what has expired": (signed_in, lambda s, on: s.logins.revoke(on["id"], key="k")),
    "revoke_user whose logins have expired": (signed_in, lambda s, on: s.logins.revoke_user(on["user"], key="k")),
    "revoke_user of many": (many, lambda s, on: s.logins.revoke_user(on["user"], keep=on["id"], key="k")),
    "revoke_user of nobody": (signed_in, lambda s, _: s.logins.revoke_user("nobody", key="k")),
    "delete_expired of some": (signed_in, lambda s, _: s.logins.delete_expired(key="k")),
    "create with a character that is held": (
        signed_in,
        lambda s, on: s.logins.create(on["user"], character_id=on["hero"], on_conflict="take_over", key="k"),
    ),
    "touch": (signed_in, lambda s, on: s.logins.touch(on["id"], key="k")),
    "bind_character": (
        signed_in,
        lambda s, on: s.logins.bind_character(on["id"], on["hero"], on_conflict="take_over", key="k"),
    ),
    "unbind_character": (signed_in, lambda s, on: s.logins.unbind_character(on["holder"], key="k")),
    "rotate": (signed_in, lambda s, on: s.logins.rotate(on["token"], key="k")),
    "rotate with a new id": (signed_in, lambda s, on: s.logins.rotate(on["token"], reauthenticated=True, key="k")),
    "step_up": (signed_in, lambda s, on: s.logins.step_up(on["id"], ["otp"], key="k")),
    "revoke": (signed_in, lambda s, on: s.logins.revoke(on["id"], key="k")),
    "revoke_token": (signed_in, lambda s, on: s.logins.revoke_token(on["token"], key="k")),
    "revoke_user": (signed_in, lambda s, on: s.logins.revoke_user(on["user"], key="k")),
    "revoke_character": (signed_in, lambda s, on: s.logins.revoke_character(on["hero"], key="k")),
    "revoke_all": (signed_in, lambda s, _: s.logins.revoke_all(key="k")),
    "update": (signed_in, lambda s, on: s.logins.update(on["id"], {"a": 1}, key="k")),
    "delete_expired": (signed_in, lambda s, _: s.logins.delete_expired(key="k")),
    "clear": (signed_in, lambda s, _: s.logins.clear(key="k")),
}

DIRECTORY: Final[dict[str, tuple[Prepare, Call]]] = {
    "add_user": (nothing, lambda s, _: s.directory.add_user("ann", key="k")),
    "add_world": (nothing, lambda s, _: s.directory.add_world("w", "World", key="k")),
    "add_character": (signed_in, lambda s, on: s.directory.add_character(on["user"], "w", "Orc", key="k")),
    "rename_character": (signed_in, lambda s, on: s.directory.rename_character(on["hero"], "Orc", key="k")),
    "move_character": (
        lambda s: _moving(s),
        lambda s, on: s.directory.move_character(on["hero"], on["other"], key="k"),
    ),
    "remove_character": (signed_in, lambda s, on: s.directory.remove_character(on["hero"], key="k")),
    "add_character in no world": (signed_in, lambda s, on: s.directory.add_character(on["user"], None, "Nemo", key="k")),
    "remove_character of none": (signed_in, lambda s, _: s.directory.remove_character(sojourn.new_id(), key="k")),
    "remove_user of nobody": (signed_in, lambda s, _: s.directory.remove_user("nobody", key="k")),
    "remove_user": (signed_in, lambda s, on: s.directory.remove_user(on["user"], key="k")),
}


async def _moving(store: AsyncStore) -> dict[str, Any]:
    found = await signed_in(store)
    return {**found, "other": await store.directory.add_user("bob")}


SESSIONS: Final[dict[str, tuple[Prepare, Call]]] = {
    "end": (talk, lambda s, id: s.sessions.end(id, key="k")),
    "delete": (talk, lambda s, id: s.sessions.delete(id, key="k")),
}

CLASSES: Final = {
    sojourn.AsyncConversations: TALKS,
    sojourn.AsyncContexts: CONTEXTS,
    sojourn.AsyncGames: GAMES,
    sojourn.AsyncWorkspaces: WORKSPACES,
    sojourn.AsyncLogins: LOGINS,
    sojourn.AsyncDirectory: DIRECTORY,
    sojourn.AsyncSessions: SESSIONS,
}
CASES: Final = {
    f"{kind.__name__.removeprefix('Async')}.{name}": case for kind, cases in CLASSES.items() for name, case in cases.items()
}

DIFFERENT: Final = {"Games.invite"}
"""Each call has a code of its own: only its hash is kept, so that asking again replaces the one that was lost."""


RENEWED: Final = {
    "Games.invite",
    "Logins.create",
    "Logins.create in the place of another",
    "Logins.create the last that is allowed",
    "Logins.create with a token of their own",
    "Logins.create with a character that is held",
    "Logins.rotate",
    "Logins.rotate with a new id",
}
"""Asking again gives another code, or another token to the same login, for the same reason."""


LINKED: Final = {
    "Conversations.link_channel",
    "Conversations.unlink_channel",
    "Games.swap between homes",
    "Games.swap between homes for a saved game",
    "Games.resume between homes",
}
"""What lies in several homes is brought together by all who are at it: the same is written, maybe more than once."""


LATER: Final = {
    "Logins.revoke what has expired",
    "Logins.revoke_user whose logins have expired",
    "Logins.delete_expired of some",
    "Workspaces.expire_stale of some",
}
"""What is asked for a year after it was prepared."""

POLICIES: Final[dict[str, dict[str, Any]]] = {
    "Logins.create the last that is allowed": {"logins": LoginPolicy(max_per_user=3, at_limit="refuse")},
    "Logins.create in the place of another": {"logins": LoginPolicy(max_per_user=2, at_limit="evict_oldest")},
    "Workspaces.claim the last there may be": {"workspaces": WorkspacePolicy(max_claims=1)},
    "Workspaces.start as the last of a role": {"workspaces": WorkspacePolicy(max_active_per_role={"architect": 1})},
}

AGENT: Final = "ada"


class Room:
    """A simulation whose stores work in one project."""

    def __init__(self, simulation: Simulation, name: str) -> None:
        self.simulation = simulation
        self._name = name
        self._directory = Directory()

    def store(self) -> AsyncStore:
        """A store, as one of several processes opens it."""
        store = self.simulation.store()
        places = MemoryPlaces(directory=self._directory, agent=AGENT)
        settings = replace(store._settings, places=lambda: places, **POLICIES.get(self._name, {}))
        return AsyncStore(store._engine, settings)

    async def prepare(self) -> Any:
        """What the operation needs."""
        prepared = await CASES[self._name][0](self.store())
        if self._name in LATER:
            self.simulation.clock.advance(timedelta(days=365))
        return prepared

    async def call(self, prepared: Any) -> Any:
        """The operation, by a process of its own."""
        return await CASES[self._name][1](self.store(), prepared)


def identity(answer: Any) -> Any:
    """What is the same in every answer to one request: which record it is about, not what later changes show in it."""
    if isinstance(answer, Swapped):
        return identity(answer.shelved), answer.game.id
    if isinstance(answer, NewLogin):
        return answer.login.id
    if isinstance(answer, sojourn.Submitted):
        return answer.turn
    return getattr(answer, "id", answer)


async def left_in(store: AsyncStore) -> dict[tuple[str, str, int], list[tuple[int, int]]]:
    """What is in a store: versions and entries of its sessions, by kind, state and how many there are of these."""
    found: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for one in (await store.sessions.list("state:all", limit=1000)).items:
        found.setdefault((one.kind, one.state), []).append((one.version, one.entries))
    return {(*kind, len(those)): sorted(those) for kind, those in found.items()}


@MANY
@pytest.mark.parametrize("name", CASES)
def test_one_request_sent_three_times_at_once_is_done_once(name: str, times: int) -> None:
    explore(lambda simulation: done_once(simulation, name), seeds=times * SEEDS)


async def done_once(simulation: Simulation, name: str) -> None:
    alone, room = Room(Simulation(simulation.seed), name), Room(simulation, name)
    await alone.call(await alone.prepare())
    prepared = await room.prepare()
    outcomes = await simulation.race(*[lambda: room.call(prepared)] * 3)
    answers = [identity(outcome.result()) for outcome in outcomes]
    if name not in DIFFERENT:
        assert answers == answers[:1] * 3
    left, wanted = await left_in(room.store()), await left_in(alone.store())
    assert left.keys() == wanted.keys()
    if name not in (*RENEWED, *LINKED):
        assert left == wanted


@MANY
@pytest.mark.parametrize("name", CASES)
def test_one_of_two_that_are_sent_at_once_dies_and_is_sent_again(name: str, times: int) -> None:
    explore_crashes(lambda simulation: died_and_sent_again(simulation, name), seeds=times)


async def died_and_sent_again(simulation: Simulation, name: str) -> None:
    alone, room = Room(Simulation(simulation.seed), name), Room(simulation, name)
    await alone.call(await alone.prepare())
    prepared = await room.prepare()
    _, other = await simulation.race(*[lambda: room.call(prepared)] * 2, crash=0)
    answers = [identity(other.result()), identity(await room.call(prepared))]
    if name not in DIFFERENT:
        assert answers[0] == answers[1]
    assert (await left_in(room.store())).keys() == (await left_in(alone.store())).keys()


@pytest.mark.parametrize(
    "name", ["Conversations.append", "Contexts.rename", "Games.boot", "Games.exit", "Workspaces.start", "Logins.create"]
)
def test_it_is_done_once_only_because_its_key_is_remembered(name: str) -> None:
    with pytest.raises(RaceLostError):
        explore(lambda simulation: done_once(simulation, name), seeds=10 * SEEDS, without="operation")


def test_every_operation_with_a_key_is_raced() -> None:
    for kind, cases in CLASSES.items():
        keyed = {
            name
            for name, operation in vars(kind).items()
            if not name.startswith("_") and callable(operation) and "key" in inspect.signature(operation).parameters
        }
        assert keyed == {name.split()[0] for name in cases}
