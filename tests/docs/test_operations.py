"""What tools/operations.toml says of each operation: its round trips are counted, its errors raised."""

from __future__ import annotations

import inspect
import json
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, cast
from unittest.mock import patch

import pytest

import sojourn
from sojourn import (
    Claim,
    ContextPolicy,
    Contexts,
    ConversationPolicy,
    Conversations,
    Games,
    Lease,
    Message,
    Messages,
    Runner,
    Sessions,
    Store,
    Swept,
    Workspace,
    WorkspacePolicy,
    Workspaces,
)
from sojourn.engines.contract import Engine
from sojourn.engines.sqlite.engine import SqliteEngine
from sojourn.shell.system import Ids
from sojourn.store import AsyncStore, Settings
from sojourn.testing.clocks import ManualClock
from sojourn.testing.places import Directory, MemoryPlaces
from tests.docs import game_operations

ROOT: Final = Path(__file__).resolve().parents[2]
FACTS: Final[dict[str, dict[str, Any]]] = tomllib.loads((ROOT / "tools" / "operations.toml").read_text(encoding="utf-8"))
CLASSES: Final = {
    "Store": Store,
    "Conversations": Conversations,
    "Contexts": Contexts,
    "Games": Games,
    "Workspaces": Workspaces,
    "Sessions": Sessions,
    "Runner": Runner,
    "Logins": sojourn.Logins,
    "Directory": sojourn.Directory,
}
MINUTE: Final = timedelta(minutes=1)
NOBODY: Final = sojourn.new_id()


class Counting:
    """An engine that counts how often it is asked."""

    def __init__(self, inner: Engine) -> None:
        self._inner = inner
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Any:
        verb = getattr(self._inner, name)
        if not inspect.iscoroutinefunction(verb) or name == "close":
            return verb

        async def counted(*arguments: Any, **named: Any) -> Any:
            self.asked.append(name)
            return await verb(*arguments, **named)

        return counted


class Ticking(ManualClock):
    """Goes on by itself, a microsecond each time it is asked: no two commits are of one moment."""

    def micros(self) -> int:
        self.advance(timedelta(microseconds=1))
        return super().micros()


class Lab:
    """A store that counts, with a conversation of alice in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = Ticking()
        self.places = MemoryPlaces(agent="ada")
        self.engine = Counting(cast("Engine", SqliteEngine(str(path / "lab.db"), self.clock.micros, durability="normal")))
        self.store = self.under()
        self.talks = self.store.conversations
        self.contexts = self.store.contexts
        self.games = self.store.games
        self.workspaces = self.store.workspaces
        self.id = self.talks.get_or_create("alice").id
        self.talks.extend(self.id, [{"role": "user", "content": f"message {number}"} for number in range(1, 11)])

    def under(self, **policy: Any) -> Store:
        """The same store under another policy."""
        settings = Settings("default", Ids(), ConversationPolicy(**policy), places=lambda: self.places)
        return Store(AsyncStore(cast("Engine", self.engine), settings))

    def closed(self) -> str:
        """The name of a context that was closed."""
        gathered(self)
        found = self.contexts.get("a")
        assert found is not None
        self.store.sessions.end(found.id)
        return "a"

    def ended(self) -> str:
        """A conversation that has ended, with a summary at 11, a hidden message, a rewind and an orphaned call."""
        self.talks.consolidate(self.id, keep=5)
        self.talks.hide(self.id, 8)
        self.talks.append(self.id, "assistant", "", tool_calls=[{"id": "c1"}])
        self.talks.append(self.id, "user", "message 13")
        self.talks.rewind(self.id, 12)
        self.talks.end(self.id)
        return self.id

    def raw(self, count: int) -> list[dict[str, str]]:
        """Messages to extend by."""
        return [{"role": "user", "content": "Hello"}] * count

    def lost_lease(self) -> Lease:
        """A lease that has run out."""
        with self.talks.run_lease(self.id, "me", ttl=MINUTE) as lease:
            self.clock.advance(2 * MINUTE)
        return lease


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path)
    yield made
    made.store.close()


def public(kind: type) -> set[str]:
    """The operations of a class."""
    return {name for name in vars(kind) if not name.startswith("_")}


def test_every_operation_is_described() -> None:
    said = {name for name in FACTS if not name.startswith("sojourn.")}
    operations = {f"{name}.{inner}" for name, kind in CLASSES.items() for inner in public(kind)}
    assert said <= operations
    plain = {
        "Store.capabilities",
        "Store.tenant",
        "Store.contexts",
        "Store.games",
        "Store.conversations",
        "Store.directory",
        "Store.logins",
        "Store.sessions",
        "Store.workspaces",
        "Runner.last_error",
        "Runner.passes",
    }
    assert operations - said <= plain


def test_every_argument_is_explained() -> None:
    text = (ROOT / "docs" / "reference" / "api.md").read_text(encoding="utf-8")
    table = text[text.index("| argument | what it is |") :].partition("\n\n")[0]
    common = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (.+?) \|", table, re.MULTILINE))))
    operations: dict[str, Any] = {"sojourn.open": sojourn.open}
    for name, kind in CLASSES.items():
        operations |= {f"{name}.{inner}": getattr(kind, inner) for inner in public(kind) if callable(getattr(kind, inner))}
    for name, operation in operations.items():
        parameters = set(inspect.signature(operation).parameters) - {"self"}
        explained = FACTS.get(name, {}).get("arguments", {}).keys()
        assert explained <= parameters, f"{name} has no argument {explained - parameters}"
        assert parameters <= explained | common, f"{name} does not explain {parameters - explained - common}"


# -- round trips -------------------------------------------------------------------------------------------------------


def nothing(_: Lab) -> None:
    """Nothing has to happen before."""


def linked(lab: Lab) -> None:
    lab.talks.link_channel(lab.id, "telegram", 7)


def orphaned(lab: Lab) -> None:
    lab.talks.append(lab.id, "assistant", "", tool_calls=[{"id": "c1"}])


def folded(lab: Lab) -> Message:
    summary = lab.talks.consolidate(lab.id, keep=5)
    assert summary is not None
    return summary


def rewound(lab: Lab) -> None:
    lab.talks.rewind(lab.id, 5)


def hidden(lab: Lab) -> None:
    lab.talks.hide(lab.id, 5)


def lent(lab: Lab) -> Lease:
    return lab.store.lease("nightly", MINUTE).__enter__()


def lend(lab: Lab, _: Any) -> None:
    with lab.store.lease("nightly", MINUTE):
        pass


def run(lab: Lab, _: Any) -> None:
    with lab.talks.run_lease(lab.id, "me"):
        pass


def said(lab: Lab, _: Any = None) -> Message:
    return lab.talks.append(lab.id, "user", "Hello", key="k")


def swept(lab: Lab, _: Any = None) -> Swept:
    return lab.store.sweep()


def gathered(lab: Lab) -> object:
    return lab.contexts.add("a", "note", "one thing")


def gathered_large(lab: Lab) -> None:
    lab.contexts.add("a", "note", "one thing " * 1000)


def activated(lab: Lab) -> None:
    gathered(lab)
    lab.contexts.set_active("a")


def at_work(lab: Lab, name: str = "lead") -> Workspace:
    return lab.workspaces.start("implementer", name)


def few(lab: Lab) -> Workspaces:
    """The same workspaces under limits that are reached soon."""
    inner = lab.store._aio
    policy = WorkspacePolicy(max_active_per_role={"implementer": 1}, max_claims=0)
    settings = replace(inner._settings, workspaces=policy)
    return Store(AsyncStore(inner._engine, settings)).workspaces


def in_a_shell(lab: Lab, directory: Directory | None = None) -> Workspaces:
    """The same workspaces from a shell that has only the project's pointer."""
    inner = lab.store._aio
    places = MemoryPlaces(directory or lab.places.directory)
    return Store(AsyncStore(inner._engine, replace(inner._settings, places=lambda: places))).workspaces


def claimed(lab: Lab) -> Claim:
    return lab.workspaces.claim(at_work(lab).id, "src")


def tested(lab: Lab) -> None:
    lab.workspaces.add_role("tester", base="implementer")


def quiet(lab: Lab) -> Workspace:
    made = at_work(lab)
    lab.clock.advance(MINUTE)
    return made


Case = tuple[Callable[[Lab], Any], Callable[[Lab, Any], object]]

TRIPS: Final[dict[tuple[str, str], Case]] = {
    ("Store.sweep", "nothing to do"): (swept, swept),
    ("Store.tip", "always"): (nothing, lambda lab, _: lab.store.tip()),
    ("Store.lease", "taken and given back"): (nothing, lend),
    ("Store.renew", "always"): (lent, lambda lab, lease: lab.store.renew(lease)),
    ("Store.backup", "always"): (nothing, lambda lab, _: lab.store.backup(lab.path / "copy.db")),
    ("Store.facts", "always"): (nothing, lambda lab, _: lab.store.facts()),
    ("Store.check", "always"): (nothing, lambda lab, _: lab.store.check()),
    ("Conversations.get_or_create", "known user"): (
        nothing,
        lambda lab, _: lab.talks.get_or_create("alice", with_messages=False),
    ),
    ("Conversations.get_or_create", "new user"): (nothing, lambda lab, _: lab.talks.get_or_create("bob")),
    ("Conversations.get_or_create", "known handle"): (
        linked,
        lambda lab, _: lab.talks.get_or_create(channel="telegram", channel_user_id=7, with_messages=False),
    ),
    ("Conversations.get_or_create", "unknown handle"): (
        nothing,
        lambda lab, _: lab.talks.get_or_create(channel="telegram", channel_user_id=8),
    ),
    ("Conversations.create", "always"): (nothing, lambda lab, _: lab.talks.create("bob")),
    ("Conversations.get", "without messages"): (nothing, lambda lab, _: lab.talks.get(lab.id)),
    ("Conversations.get", "with messages"): (nothing, lambda lab, _: lab.talks.get(lab.id, with_messages=True)),
    ("Conversations.update", "always"): (nothing, lambda lab, _: lab.talks.update(lab.id, {"mood": "good"})),
    ("Conversations.list", "always"): (nothing, lambda lab, _: lab.talks.list()),
    ("Conversations.append", "first time"): (nothing, said),
    ("Conversations.append", "a key again"): (said, said),
    ("Conversations.extend", "always"): (nothing, lambda lab, _: lab.talks.extend(lab.id, lab.raw(9))),
    ("Conversations.messages", "all"): (nothing, lambda lab, _: lab.talks.messages(lab.id)),
    ("Conversations.messages", "last=N"): (nothing, lambda lab, _: lab.talks.messages(lab.id, last=5)),
    ("Conversations.messages", "with summaries"): (folded, lambda lab, _: lab.talks.messages(lab.id)),
    ("Conversations.window", "nothing folded"): (nothing, lambda lab, _: lab.talks.window(lab.id, budget=100)),
    ("Conversations.window", "with summaries"): (folded, lambda lab, _: lab.talks.window(lab.id, budget=100)),
    ("Conversations.search", "hits in one conversation"): (nothing, lambda lab, _: lab.talks.search("message")),
    ("Conversations.export", "always"): (nothing, lambda lab, _: lab.talks.export(lab.id)),
    ("Conversations.consolidate", "always"): (nothing, lambda lab, _: lab.talks.consolidate(lab.id, keep=5)),
    ("Conversations.expand", "always"): (folded, lambda lab, summary: lab.talks.expand(lab.id, summary.sequence)),
    ("Conversations.repair", "one orphan"): (orphaned, lambda lab, _: lab.talks.repair(lab.id)),
    ("Conversations.link_channel", "a new link"): (nothing, lambda lab, _: lab.talks.link_channel(lab.id, "telegram", 7)),
    ("Conversations.unlink_channel", "always"): (linked, lambda lab, _: lab.talks.unlink_channel(lab.id, "telegram")),
    ("Conversations.resolve", "always"): (nothing, lambda lab, _: lab.talks.resolve("telegram", 7)),
    ("Conversations.decay", "nothing to do"): (nothing, lambda lab, _: lab.talks.decay()),
    ("Conversations.end", "always"): (nothing, lambda lab, _: lab.talks.end(lab.id)),
    ("Conversations.delete", "always"): (nothing, lambda lab, _: lab.talks.delete(lab.id)),
    ("Conversations.fork", "at the end"): (nothing, lambda lab, _: lab.talks.fork(lab.id)),
    ("Conversations.fork", "at a place"): (nothing, lambda lab, _: lab.talks.fork(lab.id, at=5)),
    ("Conversations.rewind", "always"): (nothing, lambda lab, _: lab.talks.rewind(lab.id, 5)),
    ("Conversations.undo_rewind", "always"): (rewound, lambda lab, _: lab.talks.undo_rewind(lab.id)),
    ("Conversations.checkpoint", "always"): (nothing, lambda lab, _: lab.talks.checkpoint(lab.id, "start")),
    ("Conversations.checkpoints", "always"): (nothing, lambda lab, _: lab.talks.checkpoints(lab.id)),
    ("Conversations.pop", "always"): (nothing, lambda lab, _: lab.talks.pop(lab.id)),
    ("Conversations.hide", "always"): (nothing, lambda lab, _: lab.talks.hide(lab.id, 5)),
    ("Conversations.unhide", "always"): (hidden, lambda lab, _: lab.talks.unhide(lab.id, 5)),
    ("Conversations.redact", "always"): (nothing, lambda lab, _: lab.talks.redact(lab.id, 5)),
    ("Conversations.clear", "always"): (nothing, lambda lab, _: lab.talks.clear(lab.id)),
    ("Conversations.run_lease", "taken and given back"): (nothing, run),
    ("Contexts.create", "a new name"): (nothing, lambda lab, _: lab.contexts.create("a")),
    ("Contexts.get", "always"): (gathered, lambda lab, _: lab.contexts.get("a")),
    ("Contexts.list", "always"): (gathered, lambda lab, _: lab.contexts.list()),
    ("Contexts.add", "a known name"): (gathered, lambda lab, _: lab.contexts.add("a", "note", "more")),
    ("Contexts.add", "a new name"): (nothing, lambda lab, _: lab.contexts.add("a", "note", "more")),
    ("Contexts.add", "large content"): (gathered, lambda lab, _: lab.contexts.add("a", "note", "more" * 9000)),
    ("Contexts.artifacts", "by name"): (gathered, lambda lab, _: lab.contexts.artifacts("a")),
    ("Contexts.artifacts", "a large content"): (gathered_large, lambda lab, _: lab.contexts.artifacts("a")),
    ("Contexts.artifact", "always"): (gathered, lambda lab, _: lab.contexts.artifact("a", 1)),
    ("Contexts.pin", "always"): (gathered, lambda lab, _: lab.contexts.pin("a", 1)),
    ("Contexts.assemble", "no large contents"): (gathered, lambda lab, _: lab.contexts.assemble("a", budget=100)),
    ("Contexts.search", "hits in one context"): (gathered, lambda lab, _: lab.contexts.search("thing")),
    ("Contexts.export", "no large contents"): (gathered, lambda lab, _: lab.contexts.export("a")),
    ("Contexts.update", "always"): (gathered, lambda lab, _: lab.contexts.update("a", {"mood": "good"})),
    ("Contexts.rename", "always"): (gathered, lambda lab, _: lab.contexts.rename("a", "b")),
    ("Contexts.branch", "without artifacts"): (
        lambda lab: lab.contexts.create("a"),
        lambda lab, _: lab.contexts.branch("a", "b"),
    ),
    ("Contexts.set_active", "to active"): (gathered, lambda lab, _: lab.contexts.set_active("a")),
    ("Contexts.set_active", "to inactive"): (activated, lambda lab, _: lab.contexts.set_active("a", False)),
    ("Contexts.active", "always"): (activated, lambda lab, _: lab.contexts.active()),
    ("Contexts.resume", "the active one"): (activated, lambda lab, _: lab.contexts.resume()),
    ("Contexts.delete", "no large contents"): (gathered, lambda lab, _: lab.contexts.delete("a")),
    ("Contexts.purge", "nothing to do"): (gathered, lambda lab, _: lab.contexts.purge(NOBODY)),
    ("Workspaces.start", "a built-in role"): (nothing, lambda lab, _: lab.workspaces.start("implementer")),
    ("Workspaces.start", "a role of the project's own"): (tested, lambda lab, _: lab.workspaces.start("tester")),
    ("Workspaces.start", "under a limit"): (few, lambda _, kind: kind.start("implementer")),
    ("Workspaces.start_system", "always"): (nothing, lambda lab, _: lab.workspaces.start_system("monitor")),
    ("Workspaces.resolve", "by pointer, id or name"): (at_work, lambda lab, _: lab.workspaces.resolve("lead")),
    ("Workspaces.resolve", "by a tail"): (at_work, lambda lab, made: lab.workspaces.resolve(made.id[-8:])),
    ("Workspaces.load_active", "nothing to mark"): (at_work, lambda lab, _: lab.workspaces.load_active()),
    ("Workspaces.load_active", "activity is marked"): (quiet, lambda lab, _: lab.workspaces.load_active()),
    ("Workspaces.get", "always"): (at_work, lambda lab, made: lab.workspaces.get(made.id)),
    ("Workspaces.list", "up to 200 sessions"): (at_work, lambda lab, _: lab.workspaces.list()),
    ("Workspaces.count_active", "up to 200 sessions"): (at_work, lambda lab, _: lab.workspaces.count_active()),
    ("Workspaces.heartbeat", "always"): (at_work, lambda lab, made: lab.workspaces.heartbeat(made.id)),
    ("Workspaces.resume", "by an id"): (at_work, lambda lab, made: lab.workspaces.resume(made.id)),
    ("Workspaces.use", "by an id"): (at_work, lambda lab, made: lab.workspaces.use(made.id)),
    ("Workspaces.rename", "always"): (at_work, lambda lab, made: lab.workspaces.rename(made.id, "other")),
    ("Workspaces.update", "always"): (at_work, lambda lab, made: lab.workspaces.update(made.id, {"mood": "good"})),
    ("Workspaces.end", "by an id"): (at_work, lambda lab, made: lab.workspaces.end(made.id)),
    ("Workspaces.expire", "always"): (at_work, lambda lab, made: lab.workspaces.expire(made.id)),
    ("Workspaces.expire_stale", "nothing to do"): (at_work, lambda lab, _: lab.workspaces.expire_stale()),
    ("Workspaces.claim", "nothing in the way"): (at_work, lambda lab, made: lab.workspaces.claim(made.id, "src")),
    ("Workspaces.release", "always"): (claimed, lambda lab, claim: lab.workspaces.release(claim)),
    ("Workspaces.claims", "of one session"): (claimed, lambda lab, _: lab.workspaces.claims()),
    ("Workspaces.add_role", "a new role"): (nothing, lambda lab, _: tested(lab)),
    ("Workspaces.remove_role", "not in use"): (tested, lambda lab, _: lab.workspaces.remove_role("tester")),
    ("Workspaces.roles", "always"): (nothing, lambda lab, _: lab.workspaces.roles()),
    ("Sessions.list", "always"): (nothing, lambda lab, _: lab.store.sessions.list()),
    ("Sessions.list", "with idle>"): (nothing, lambda lab, _: lab.store.sessions.list("idle>1h")),
    ("Sessions.get", "always"): (nothing, lambda lab, _: lab.store.sessions.get(lab.id)),
    ("Sessions.events", "always"): (nothing, lambda lab, _: lab.store.sessions.events(lab.id)),
    ("Sessions.end", "always"): (nothing, lambda lab, _: lab.store.sessions.end(lab.id)),
    ("Sessions.delete", "always"): (nothing, lambda lab, _: lab.store.sessions.delete(lab.id)),
}


class SignedIn:
    """A user with a character in a world, and two devices."""

    def __init__(self, lab: Lab, **policy: Any) -> None:
        settings = Settings("default", Ids(), ConversationPolicy(), logins=sojourn.LoginPolicy(**policy))
        self.store = Store(AsyncStore(cast("Engine", lab.engine), settings))
        self.logins, self.directory = self.store.logins, self.store.directory
        self.user = self.directory.add_user("ann")
        self.directory.add_world("w", "World")
        self.hero = self.directory.add_character(self.user, "w", "Elf")
        made = self.logins.create(self.user)
        self.token, self.id = made.token, made.login.id

    def ended(self) -> str:
        """The id of a login that has ended."""
        self.logins.revoke(self.id)
        return self.id


def signed_in(lab: Lab) -> SignedIn:
    return SignedIn(lab)


def signed_out(lab: Lab) -> SignedIn:
    one = SignedIn(lab)
    one.logins.clear()
    return one


def idle(lab: Lab) -> SignedIn:
    one = SignedIn(lab)
    lab.clock.advance(2 * MINUTE)
    return one


def held(lab: Lab) -> SignedIn:
    one = SignedIn(lab)
    one.logins.bind_character(one.id, one.hero)
    return one


OWN: Final = "a-secret-of-the-caller-0123456789-abcdefgh"

TRIPS.update(
    {
        ("Logins.create", "account only"): (signed_in, lambda lab, on: on.logins.create(on.user)),
        ("Logins.create", "with a character"): (signed_in, lambda lab, on: on.logins.create(on.user, character_id=on.hero)),
        ("Logins.create", "a token of your own"): (signed_in, lambda lab, on: on.logins.create(on.user, token=OWN)),
        ("Logins.authenticate", "inside the touch window"): (signed_in, lambda lab, on: on.logins.authenticate(on.token)),
        ("Logins.authenticate", "a touch is due"): (idle, lambda lab, on: on.logins.authenticate(on.token)),
        ("Logins.find", "always"): (signed_in, lambda lab, on: on.logins.find(on.token)),
        ("Logins.get", "always"): (signed_in, lambda lab, on: on.logins.get(on.id)),
        ("Logins.touch", "always"): (signed_in, lambda lab, on: on.logins.touch(on.id)),
        ("Logins.bind_character", "always"): (signed_in, lambda lab, on: on.logins.bind_character(on.id, on.hero)),
        ("Logins.unbind_character", "always"): (held, lambda lab, on: on.logins.unbind_character(on.id)),
        ("Logins.rotate", "always"): (signed_in, lambda lab, on: on.logins.rotate(on.token)),
        ("Logins.step_up", "always"): (signed_in, lambda lab, on: on.logins.step_up(on.id, ["otp"])),
        ("Logins.require_fresh", "always"): (
            lambda lab: [one := SignedIn(lab), one.logins.find(one.token)],
            lambda lab, on: on[0].logins.require_fresh(on[1], MINUTE),
        ),
        ("Logins.revoke", "always"): (signed_in, lambda lab, on: on.logins.revoke(on.id)),
        ("Logins.revoke_token", "always"): (signed_in, lambda lab, on: on.logins.revoke_token(on.token)),
        ("Logins.revoke_user", "up to 500 logins"): (signed_in, lambda lab, on: on.logins.revoke_user(on.user)),
        ("Logins.revoke_character", "nobody holds it"): (signed_in, lambda lab, on: on.logins.revoke_character(on.hero)),
        ("Logins.revoke_all", "nobody is signed in"): (signed_out, lambda lab, on: on.logins.revoke_all()),
        ("Logins.list", "one page"): (signed_in, lambda lab, on: on.logins.list()),
        ("Logins.count_active", "always"): (signed_in, lambda lab, on: on.logins.count_active()),
        ("Logins.active_characters", "up to 1,000 logins"): (held, lambda lab, on: on.logins.active_characters(world_id="w")),
        ("Logins.online", "always"): (signed_in, lambda lab, on: on.logins.online(on.user)),
        ("Logins.update", "always"): (signed_in, lambda lab, on: on.logins.update(on.id, {"a": 1})),
        ("Logins.history", "always"): (signed_in, lambda lab, on: on.logins.history(on.id)),
        ("Logins.delete_expired", "nothing expired"): (signed_in, lambda lab, on: on.logins.delete_expired()),
        ("Logins.clear", "nothing there"): (signed_out, lambda lab, on: on.logins.clear()),
        ("Directory.add_user", "always"): (nothing, lambda lab, _: lab.store.directory.add_user("bob")),
        ("Directory.add_world", "always"): (nothing, lambda lab, _: lab.store.directory.add_world("v", "V")),
        ("Directory.add_character", "always"): (signed_in, lambda lab, on: on.directory.add_character(on.user, "w", "Orc")),
        ("Directory.user_id", "always"): (signed_in, lambda lab, on: on.directory.user_id("ann")),
        ("Directory.user", "always"): (signed_in, lambda lab, on: on.directory.user(on.user)),
        ("Directory.character", "always"): (signed_in, lambda lab, on: on.directory.character(on.hero)),
        ("Directory.world", "always"): (signed_in, lambda lab, on: on.directory.world("w")),
        ("Directory.rename_character", "always"): (signed_in, lambda lab, on: on.directory.rename_character(on.hero, "X")),
        ("Directory.move_character", "always"): (
            lambda lab: [one := SignedIn(lab), one.directory.add_user("bob")],
            lambda lab, on: on[0].directory.move_character(on[0].hero, on[1]),
        ),
        ("Directory.remove_character", "always"): (signed_in, lambda lab, on: on.directory.remove_character(on.hero)),
        ("Directory.remove_user", "without logins or characters"): (
            lambda lab: lab.store.directory.add_user("bob"),
            lambda lab, bob: lab.store.directory.remove_user(bob),
        ),
    }
)


def described(part: str) -> dict[tuple[str, str], Any]:
    """What the descriptions say in one part: by operation, and case or error."""
    return {(name, case): text for name, known in FACTS.items() for case, text in known.get(part, {}).items()}


TRIPS.update(game_operations.TRIPS)


def test_every_number_of_round_trips_is_counted() -> None:
    assert TRIPS.keys() == described("trips").keys()


@pytest.mark.parametrize("case", TRIPS, ids=" ".join)
def test_round_trips(case: tuple[str, str], lab: Lab) -> None:
    prepare, call = TRIPS[case]
    prepared = prepare(lab)
    lab.engine.asked.clear()
    call(lab, prepared)
    asked = lab.engine.asked
    assert len(asked) == described("trips")[case], f"tools/operations.toml and the reference must follow: {', '.join(asked)}"


# -- errors ------------------------------------------------------------------------------------------------------------


def taken(lab: Lab) -> Conversations:
    """bob has the handle 9."""
    lab.talks.get_or_create("bob", channel="telegram", channel_user_id=9)
    return lab.talks


def disturbed(lab: Lab) -> object:
    """A fold during which somebody always hides a message."""
    numbers = iter(range(1, 11))

    def summarise(_: Messages) -> str:
        lab.talks.hide(lab.id, next(numbers))
        return "never stored"

    return lab.talks.consolidate(lab.id, keep=2, summarise=summarise)


def twice(lab: Lab) -> object:
    """Enter one lease within itself."""
    with lab.talks.run_lease(lab.id, "me"), lab.talks.run_lease(lab.id, "me"):
        return None


def lend_twice(lab: Lab) -> object:
    with lab.store.lease("nightly", MINUTE), lab.store.lease("nightly", MINUTE):
        return None


def renew_late(lab: Lab) -> object:
    with lab.store.lease("nightly", MINUTE) as lease:
        lab.clock.advance(2 * MINUTE)
        return lab.store.renew(lease)


def expand_twice(lab: Lab) -> object:
    summary = folded(lab)
    lab.talks.expand(lab.id, summary.sequence)
    return lab.talks.expand(lab.id, summary.sequence)


def many_checkpoints(lab: Lab) -> object:
    rows = [json.loads(line) for line in lab.store.export()]
    rows[1]["data"]["checkpoints"] = {f"place {number}": [number, 0] for number in range(1000)}
    with sojourn.open("memory:") as store:
        store.load(map(json.dumps, rows))
        return store.conversations.checkpoint(lab.id, "one too many")


def open_newer(lab: Lab) -> object:
    import sqlite3

    path = lab.path / "newer.db"
    sojourn.open(f"sqlite:///{path}").close()
    connection = sqlite3.connect(path)
    connection.execute("update sojourn_meta set value = '99'")
    connection.commit()
    connection.close()
    return sojourn.open(f"sqlite:///{path}")


def open_other(lab: Lab) -> object:
    path = lab.path / "other.db"
    path.write_text("This is a letter to my grandmother. " * 100, encoding="utf-8")
    return sojourn.open(f"sqlite:///{path}")


def backup_memory(lab: Lab) -> object:
    with sojourn.open("memory:") as store:
        return store.backup(lab.path / "copy.db")


def silent(lab: Lab) -> object:
    with sojourn.open("memory:", contexts=ContextPolicy(search="off")) as store:
        return store.contexts.search("thing")


def purge_with_a_used_key(lab: Lab) -> object:
    from sojourn.core.batch import Batch
    from sojourn.shell.bridge import run_sync

    run_sync(lab.engine.commit(Batch("default", f"context/{NOBODY}", (), "k", "something else")))
    return lab.contexts.purge(NOBODY, key="k")


def keyed(call: Callable[[Lab, dict[str, Any]], object], one: dict[str, Any], other: dict[str, Any]) -> Callable[[Lab], object]:
    """The same key for two different things."""

    def both(lab: Lab) -> object:
        call(lab, {**one, "key": "k"})
        return call(lab, {**other, "key": "k"})

    return both


def on_nobody(name: str, *arguments: object) -> Callable[[Lab], object]:
    """An operation on an id that nothing has."""
    return lambda lab: getattr(lab.talks, name)(NOBODY, *arguments)


def on_ended(name: str, *arguments: object) -> Callable[[Lab], object]:
    """An operation on a conversation that has ended."""
    return lambda lab: getattr(lab.talks, name)(lab.ended(), *arguments)


def over(lab: Lab, way: str = "end") -> str:
    """The id of a workspace that was ended, or expired."""
    made = at_work(lab)
    getattr(lab.workspaces, way)(made.id)
    return made.id


def orphan(lab: Lab) -> Workspaces:
    """A pointer to nothing."""
    lab.places.write("terminal", NOBODY)
    return lab.workspaces


def stopped(lab: Lab, name: str, *arguments: object) -> object:
    """An operation under the lease of a holder that was stopped until it had run out."""
    made = at_work(lab)
    with lab.workspaces.hold(made.id) as held:
        lab.clock.advance(2 * MINUTE)
        return getattr(lab.workspaces, name)(made.id, *arguments, lease=held.lease)


def key_of_another(call: Callable[[Workspaces, Workspace], object]) -> Callable[[Lab], object]:
    """An operation under a key that another one of the project has had."""

    def both(lab: Lab) -> object:
        lab.workspaces.add_role("tester", base="implementer", key="k")
        return call(lab.workspaces, at_work(lab))

    return both


def the_lead(lab: Lab) -> str:
    """The id of the one workspace, made when there is none."""
    found = list(lab.workspaces.list())
    return found[0].id if found else at_work(lab).id


def lost_among_others(lab: Lab) -> object:
    """Of a role that may have one, one is lost, one is live, and the lost one comes back."""
    made = at_work(lab)
    with lab.workspaces.hold(made.id):
        lab.places.host_of.kill(made.id)
        few(lab).start("implementer")
        return few(lab).heartbeat(made.id)


def hold_twice(lab: Lab) -> object:
    made = at_work(lab)
    with lab.workspaces.hold(made.id), lab.workspaces.hold(made.id):
        return None


def enter(lab: Lab, id: str) -> object:
    with lab.workspaces.hold(id):
        return None


def pointer_held(lab: Lab, name: str) -> object:
    """An operation that wants the project's pointer, which a live session has."""
    shell = in_a_shell(lab)
    one = shell.start("implementer")
    other = lab.workspaces.start("implementer")
    if name == "start":
        return shell.start(one.role, pointer="project")
    return getattr(shell, name)(other.id, pointer="project")


def not_writable(lab: Lab) -> object:
    lab.places.directory.writable = False
    return lab.workspaces.start("implementer")


def two_fit(lab: Lab) -> object:
    at_work(lab, "lead-one")
    at_work(lab, "lead-two")
    return lab.workspaces.resolve("lead")


def claim_twice(lab: Lab) -> object:
    claimed(lab)
    return lab.workspaces.claim(at_work(lab, "other").id, "src/a.py")


def used_role(lab: Lab) -> object:
    tested(lab)
    lab.workspaces.start("tester")
    return lab.workspaces.remove_role("tester")


LARGE: Final = {"note": "x" * 256_001}


def without_driver(lab: Lab) -> object:
    """A server's URL where its driver is not installed."""
    del lab
    with patch.dict(sys.modules, {"psycopg": None}):
        for name in [name for name in sys.modules if name.startswith("sojourn.engines.postgres")]:
            del sys.modules[name]
        return sojourn.open("postgresql://localhost/app")


RAISES: Final[dict[tuple[str, str], Callable[[Lab], object]]] = {
    ("sojourn.open", "InvalidValueError"): lambda lab: sojourn.open("app.db"),
    ("sojourn.open", "UnavailableError"): lambda lab: sojourn.open("sqlite:////dev/null/app.db"),
    ("sojourn.open", "CorruptError"): open_other,
    ("sojourn.open", "SchemaError"): open_newer,
    ("sojourn.open", "UnsupportedError"): without_driver,
    ("Store.for_tenant", "InvalidValueError"): lambda lab: lab.store.for_tenant(""),
    ("Store.watch", "InvalidValueError"): lambda lab: lab.store.watch("dialogue"),
    ("Store.watch", "InvalidCursorError"): lambda lab: next(iter(lab.store.watch(after="x"))),
    ("Store.sweep", "InvalidValueError"): lambda lab: lab.store.sweep(0),
    ("Store.runner", "InvalidValueError"): lambda lab: lab.store.runner(limit=0),
    ("Store.lease", "LeaseHeldError"): lend_twice,
    ("Store.renew", "LeaseLostError"): renew_late,
    ("Store.erase", "InvalidValueError"): lambda lab: lab.store.erase(""),
    ("Store.export", "InvalidValueError"): lambda lab: lab.store.export(kinds=["dialogue"]),
    ("Store.load", "CorruptError"): lambda lab: lab.store.load(["{}"]),
    ("Store.backup", "UnsupportedError"): backup_memory,
    ("Store.backup", "UnavailableError"): lambda lab: lab.store.backup(lab.path / "nowhere" / "copy.db"),
    ("Store.backup", "InvalidValueError"): lambda lab: lab.store.backup(lab.path),  # a directory is there
    ("Conversations.get_or_create", "InvalidValueError"): lambda lab: lab.talks.get_or_create(),
    ("Conversations.get_or_create", "ConflictError"): (
        lambda lab: taken(lab).get_or_create("alice", channel="telegram", channel_user_id=9)
    ),
    ("Conversations.create", "ConflictError"): (lambda lab: taken(lab).create("alice", channel="telegram", channel_user_id=9)),
    ("Conversations.create", "LimitError"): lambda lab: lab.talks.create("alice", metadata=LARGE),
    ("Conversations.create", "KeyReusedError"): (
        keyed(lambda lab, more: lab.talks.create("alice", **more), {"title": "one"}, {"title": "other"})
    ),
    ("Conversations.update", "NotFoundError"): on_nobody("update"),
    ("Conversations.update", "LimitError"): lambda lab: lab.talks.update(lab.id, LARGE),
    ("Conversations.update", "KeyReusedError"): (
        keyed(lambda lab, more: lab.talks.update(lab.id, **more), {"set": {"a": 1}}, {"set": {"a": 2}})
    ),
    ("Conversations.list", "InvalidValueError"): lambda lab: lab.talks.list(limit=0),
    ("Conversations.list", "InvalidCursorError"): lambda lab: lab.talks.list(after="x"),
    ("Conversations.append", "NotFoundError"): on_nobody("append", "user", "Hello"),
    ("Conversations.append", "EndedError"): on_ended("append", "user", "Hello"),
    ("Conversations.append", "ConflictError"): lambda lab: lab.talks.append(lab.id, "user", "Hello", expected_version=1),
    ("Conversations.append", "LeaseLostError"): lambda lab: lab.talks.append(lab.id, "user", "Hello", lease=lab.lost_lease()),
    ("Conversations.append", "KeyReusedError"): (
        keyed(lambda lab, more: lab.talks.append(lab.id, "user", **more), {"content": "one"}, {"content": "other"})
    ),
    ("Conversations.append", "LimitError"): lambda lab: lab.talks.append(lab.id, "user", "x" * 16_000_001),
    ("Conversations.append", "InvalidValueError"): lambda lab: lab.talks.append(lab.id, "user", "\0"),
    ("Conversations.extend", "NotFoundError"): lambda lab: lab.talks.extend(NOBODY, lab.raw(2)),
    ("Conversations.extend", "EndedError"): lambda lab: lab.talks.extend(lab.ended(), lab.raw(2)),
    ("Conversations.extend", "ConflictError"): lambda lab: lab.talks.extend(lab.id, lab.raw(2), expected_version=1),
    ("Conversations.extend", "LeaseLostError"): lambda lab: lab.talks.extend(lab.id, lab.raw(2), lease=lab.lost_lease()),
    ("Conversations.extend", "KeyReusedError"): (
        lambda lab: [lab.talks.extend(lab.id, lab.raw(count), key="k") for count in (1, 2)]
    ),
    ("Conversations.extend", "LimitError"): (
        lambda lab: lab.talks.extend(lab.id, [{"role": "user", "content": "", "metadata": LARGE}])
    ),
    ("Conversations.extend", "InvalidValueError"): lambda lab: lab.talks.extend(lab.id, [{"text": "Hello"}]),
    ("Conversations.messages", "NotFoundError"): on_nobody("messages"),
    ("Conversations.messages", "InvalidValueError"): lambda lab: lab.talks.messages(lab.id, last=-1),
    ("Conversations.window", "NotFoundError"): lambda lab: lab.talks.window(NOBODY, budget=100),
    ("Conversations.window", "InvalidValueError"): lambda lab: lab.talks.window(lab.id, budget=0),
    ("Conversations.search", "UnsupportedError"): lambda lab: lab.under(search="off").conversations.search("message"),
    ("Conversations.search", "InvalidValueError"): lambda lab: lab.talks.search("?!"),
    ("Conversations.export", "NotFoundError"): on_nobody("export"),
    ("Conversations.export", "InvalidValueError"): lambda lab: lab.talks.export(lab.id, cast("Any", "pdf")),
    ("Conversations.consolidate", "NotFoundError"): on_nobody("consolidate"),
    ("Conversations.consolidate", "SummariserError"): lambda lab: lab.talks.consolidate(lab.id, keep=5, summarise=lambda _: ""),
    ("Conversations.consolidate", "ConflictError"): disturbed,
    ("Conversations.consolidate", "EndedError"): lambda lab: lab.talks.consolidate(lab.ended(), keep=0),
    ("Conversations.expand", "NotFoundError"): lambda lab: lab.talks.expand(lab.id, 3),
    ("Conversations.expand", "ConflictError"): expand_twice,
    ("Conversations.expand", "EndedError"): on_ended("expand", 11),
    ("Conversations.repair", "NotFoundError"): on_nobody("repair"),
    ("Conversations.repair", "EndedError"): on_ended("repair"),
    ("Conversations.link_channel", "NotFoundError"): on_nobody("link_channel", "telegram", 7),
    ("Conversations.link_channel", "ConflictError"): lambda lab: taken(lab).link_channel(lab.id, "telegram", 9),
    ("Conversations.unlink_channel", "NotFoundError"): on_nobody("unlink_channel", "telegram"),
    ("Conversations.unlink_channel", "InvalidValueError"): lambda lab: lab.talks.unlink_channel(lab.id, ""),
    ("Conversations.resolve", "InvalidValueError"): lambda lab: lab.talks.resolve("", 7),
    ("Conversations.decay", "InvalidValueError"): lambda lab: lab.talks.decay(-MINUTE),
    ("Conversations.end", "NotFoundError"): on_nobody("end"),
    ("Conversations.fork", "NotFoundError"): on_nobody("fork"),
    ("Conversations.fork", "InvalidValueError"): lambda lab: lab.talks.fork(lab.id, at=99),
    ("Conversations.fork", "KeyReusedError"): (keyed(lambda lab, more: lab.talks.fork(lab.id, **more), {"at": 1}, {"at": 2})),
    ("Conversations.rewind", "NotFoundError"): lambda lab: lab.talks.rewind(lab.id, "no such checkpoint"),
    ("Conversations.rewind", "EndedError"): on_ended("rewind", 1),
    ("Conversations.undo_rewind", "NotFoundError"): on_nobody("undo_rewind"),
    ("Conversations.undo_rewind", "EndedError"): on_ended("undo_rewind"),
    ("Conversations.checkpoint", "NotFoundError"): on_nobody("checkpoint", "start"),
    ("Conversations.checkpoint", "EndedError"): on_ended("checkpoint", "start"),
    ("Conversations.checkpoint", "LimitError"): many_checkpoints,
    ("Conversations.checkpoint", "InvalidValueError"): lambda lab: lab.talks.checkpoint(lab.id, ""),
    ("Conversations.checkpoints", "NotFoundError"): on_nobody("checkpoints"),
    ("Conversations.pop", "NotFoundError"): on_nobody("pop"),
    ("Conversations.pop", "EndedError"): on_ended("pop"),
    ("Conversations.hide", "NotFoundError"): lambda lab: lab.talks.hide(lab.id, 99),
    ("Conversations.hide", "EndedError"): on_ended("hide", 7),
    ("Conversations.unhide", "NotFoundError"): lambda lab: lab.talks.unhide(lab.id, 99),
    ("Conversations.unhide", "EndedError"): on_ended("unhide", 8),
    ("Conversations.redact", "NotFoundError"): lambda lab: lab.talks.redact(lab.id, 99),
    ("Conversations.clear", "NotFoundError"): on_nobody("clear"),
    ("Conversations.clear", "EndedError"): on_ended("clear"),
    ("Conversations.run_lease", "NotFoundError"): lambda lab: lab.talks.run_lease(NOBODY, "me").__enter__(),
    ("Conversations.run_lease", "LeaseHeldError"): twice,
    ("Conversations.run_lease", "InvalidValueError"): (
        lambda lab: lab.talks.run_lease(lab.id, "me", ttl=timedelta()).__enter__()
    ),
    ("Contexts.create", "NameTakenError"): lambda lab: [lab.contexts.create("a") for _ in range(2)],
    ("Contexts.create", "InvalidNameError"): lambda lab: lab.contexts.create("a\n"),
    ("Contexts.create", "LimitError"): lambda lab: lab.contexts.create("a", metadata=LARGE),
    ("Contexts.create", "KeyReusedError"): (keyed(lambda lab, more: lab.contexts.create(**more), {"name": "a"}, {"name": "b"})),
    ("Contexts.get", "InvalidNameError"): lambda lab: lab.contexts.get(""),
    ("Contexts.list", "InvalidValueError"): lambda lab: lab.contexts.list(limit=0),
    ("Contexts.list", "InvalidCursorError"): lambda lab: lab.contexts.list(after="x"),
    ("Contexts.add", "EndedError"): lambda lab: lab.contexts.add(lab.closed(), "note", "more"),
    ("Contexts.add", "LimitError"): lambda lab: lab.contexts.add("a", "note", "x" * 16_000_001),
    ("Contexts.add", "InvalidValueError"): lambda lab: lab.contexts.add("a", "note", "\0"),
    ("Contexts.add", "InvalidNameError"): lambda lab: lab.contexts.add(" ", "note", "x"),
    ("Contexts.add", "KeyReusedError"): (
        keyed(lambda lab, more: lab.contexts.add("a", "note", **more), {"content": "one"}, {"content": "other"})
    ),
    ("Contexts.artifacts", "NotFoundError"): lambda lab: lab.contexts.artifacts(),
    ("Contexts.artifacts", "InvalidValueError"): lambda lab: lab.contexts.artifacts("a", id=NOBODY),
    ("Contexts.artifacts", "InvalidCursorError"): lambda lab: lab.contexts.artifacts("a", after="x"),
    ("Contexts.artifact", "NotFoundError"): lambda lab: lab.contexts.artifact("a", 1),
    ("Contexts.pin", "NotFoundError"): lambda lab: lab.contexts.pin("a", 1),
    ("Contexts.assemble", "NotFoundError"): lambda lab: lab.contexts.assemble("a", budget=1),
    ("Contexts.assemble", "InvalidValueError"): lambda lab: lab.contexts.assemble("a", budget=0),
    ("Contexts.search", "UnsupportedError"): silent,
    ("Contexts.search", "InvalidValueError"): lambda lab: lab.contexts.search("?!"),
    ("Contexts.export", "NotFoundError"): lambda lab: lab.contexts.export("a"),
    ("Contexts.export", "InvalidValueError"): lambda lab: [gathered(lab), lab.contexts.export("a", cast("Any", "pdf"))],
    ("Contexts.update", "NotFoundError"): lambda lab: lab.contexts.update("a"),
    ("Contexts.update", "InvalidValueError"): lambda lab: lab.contexts.update("a", {"x": object()}),
    ("Contexts.update", "LimitError"): lambda lab: lab.contexts.update("a", LARGE),
    ("Contexts.update", "KeyReusedError"): (
        keyed(lambda lab, more: [gathered(lab), lab.contexts.update("a", **more)], {"set": {"a": 1}}, {"set": {"a": 2}})
    ),
    ("Contexts.update_metadata", "NotFoundError"): lambda lab: lab.contexts.update_metadata("a", {}),
    ("Contexts.rename", "NotFoundError"): lambda lab: lab.contexts.rename("a", "b"),
    ("Contexts.rename", "NameTakenError"): lambda lab: [lab.contexts.create(n) for n in "ab"] + [lab.contexts.rename("a", "b")],
    ("Contexts.branch", "NotFoundError"): lambda lab: lab.contexts.branch("a", "b"),
    ("Contexts.branch", "NameTakenError"): lambda lab: [gathered(lab), lab.contexts.branch("a", "a")],
    ("Contexts.branch", "InvalidValueError"): lambda lab: [gathered(lab), lab.contexts.branch("a", "b", at=9)],
    ("Contexts.set_active", "NotFoundError"): lambda lab: lab.contexts.set_active("a"),
    ("Contexts.set_active", "EndedError"): lambda lab: lab.contexts.set_active(lab.closed()),
    ("Contexts.resume", "NotFoundError"): lambda lab: lab.contexts.resume(),
    ("Contexts.resume", "EndedError"): lambda lab: lab.contexts.resume(lab.closed()),
    ("Contexts.delete", "InvalidNameError"): lambda lab: lab.contexts.delete(""),
    ("Contexts.purge", "KeyReusedError"): purge_with_a_used_key,
    ("Workspaces.start", "UnknownRoleError"): lambda lab: lab.workspaces.start("tester"),
    ("Workspaces.start", "NameTakenError"): lambda lab: [at_work(lab) for _ in range(2)],
    ("Workspaces.start", "InvalidNameError"): lambda lab: at_work(lab, "a--b"),
    ("Workspaces.start", "PointerHeldError"): lambda lab: pointer_held(lab, "start"),
    ("Workspaces.start", "PointerError"): not_writable,
    ("Workspaces.start", "NoProjectError"): lambda lab: in_a_shell(lab, Directory(project=None)).start("implementer"),
    ("Workspaces.start", "LimitError"): lambda lab: [few(lab).start("implementer") for _ in range(2)],
    ("Workspaces.start", "KeyReusedError"): (
        keyed(lambda lab, more: lab.workspaces.start(**more), {"role": "implementer"}, {"role": "architect"})
    ),
    ("Workspaces.start", "InvalidValueError"): lambda lab: in_a_shell(lab).start("implementer", pointer="terminal"),
    ("Workspaces.start_system", "UnknownRoleError"): lambda lab: lab.workspaces.start_system("tester"),
    ("Workspaces.start_system", "KeyReusedError"): (
        keyed(lambda lab, more: lab.workspaces.start_system(**more), {"role": "monitor"}, {"role": "architect"})
    ),
    ("Workspaces.resolve", "NoSessionError"): lambda lab: lab.workspaces.resolve(),
    ("Workspaces.resolve", "NotFoundError"): lambda lab: lab.workspaces.resolve("nobody"),
    ("Workspaces.resolve", "AmbiguousError"): two_fit,
    ("Workspaces.resolve", "OrphanPointerError"): lambda lab: orphan(lab).resolve(),
    ("Workspaces.load_active", "NoSessionError"): lambda lab: lab.workspaces.load_active(),
    ("Workspaces.load_active", "EndedError"): lambda lab: lab.workspaces.load_active(over(lab)),
    ("Workspaces.load_active", "ExpiredError"): lambda lab: lab.workspaces.load_active(over(lab, "expire")),
    ("Workspaces.load_active", "OrphanPointerError"): lambda lab: orphan(lab).load_active(),
    ("Workspaces.list", "InvalidValueError"): lambda lab: lab.workspaces.list(limit=0),
    ("Workspaces.list", "InvalidCursorError"): lambda lab: lab.workspaces.list(after="x"),
    ("Workspaces.heartbeat", "NotFoundError"): lambda lab: lab.workspaces.heartbeat(NOBODY),
    ("Workspaces.heartbeat", "EndedError"): lambda lab: lab.workspaces.heartbeat(over(lab)),
    ("Workspaces.heartbeat", "ExpiredError"): lambda lab: lab.workspaces.heartbeat(over(lab, "expire")),
    ("Workspaces.heartbeat", "LeaseLostError"): lambda lab: stopped(lab, "heartbeat"),
    ("Workspaces.heartbeat", "LimitError"): lost_among_others,
    ("Workspaces.resume", "NotFoundError"): lambda lab: lab.workspaces.resume("nobody"),
    ("Workspaces.resume", "EndedError"): lambda lab: lab.workspaces.resume(over(lab)),
    ("Workspaces.resume", "ExpiredError"): lambda lab: lab.workspaces.resume(over(lab, "expire")),
    ("Workspaces.resume", "PointerHeldError"): lambda lab: pointer_held(lab, "resume"),
    ("Workspaces.use", "NotFoundError"): lambda lab: lab.workspaces.use("nobody"),
    ("Workspaces.use", "EndedError"): lambda lab: lab.workspaces.use(over(lab)),
    ("Workspaces.use", "ExpiredError"): lambda lab: lab.workspaces.use(over(lab, "expire")),
    ("Workspaces.use", "PointerHeldError"): lambda lab: pointer_held(lab, "use"),
    ("Workspaces.rename", "NotFoundError"): lambda lab: lab.workspaces.rename(NOBODY, "other"),
    ("Workspaces.rename", "NameTakenError"): lambda lab: lab.workspaces.rename(at_work(lab).id, at_work(lab, "other").name),
    ("Workspaces.rename", "InvalidNameError"): lambda lab: lab.workspaces.rename(NOBODY, "a\n"),
    ("Workspaces.rename", "EndedError"): lambda lab: lab.workspaces.rename(over(lab), "other"),
    ("Workspaces.rename", "ExpiredError"): lambda lab: lab.workspaces.rename(over(lab, "expire"), "other"),
    ("Workspaces.update", "NotFoundError"): lambda lab: lab.workspaces.update(NOBODY),
    ("Workspaces.update", "EndedError"): lambda lab: lab.workspaces.update(over(lab)),
    ("Workspaces.update", "ExpiredError"): lambda lab: lab.workspaces.update(over(lab, "expire")),
    ("Workspaces.update", "LeaseLostError"): lambda lab: stopped(lab, "update", {"a": 1}),
    ("Workspaces.update", "LimitError"): lambda lab: lab.workspaces.update(at_work(lab).id, LARGE),
    ("Workspaces.update", "InvalidValueError"): lambda lab: lab.workspaces.update(NOBODY, {"x": object()}),
    ("Workspaces.update", "KeyReusedError"): keyed(
        lambda lab, more: lab.workspaces.update(the_lead(lab), **more), {"set": {"a": 1}}, {"set": {"a": 2}}
    ),
    ("Workspaces.hold", "NotFoundError"): lambda lab: enter(lab, NOBODY),
    ("Workspaces.hold", "LeaseHeldError"): hold_twice,
    ("Workspaces.hold", "EndedError"): lambda lab: enter(lab, over(lab)),
    ("Workspaces.hold", "ExpiredError"): lambda lab: enter(lab, over(lab, "expire")),
    ("Workspaces.end", "NoSessionError"): lambda lab: lab.workspaces.end(),
    ("Workspaces.end", "NotFoundError"): lambda lab: lab.workspaces.end("nobody"),
    ("Workspaces.end", "OrphanPointerError"): lambda lab: orphan(lab).end(),
    ("Workspaces.claim", "LeaseHeldError"): claim_twice,
    ("Workspaces.claim", "InvalidValueError"): lambda lab: lab.workspaces.claim(NOBODY, "../x"),
    ("Workspaces.claim", "EndedError"): lambda lab: lab.workspaces.claim(over(lab), "src"),
    ("Workspaces.claim", "ExpiredError"): lambda lab: lab.workspaces.claim(over(lab, "expire"), "src"),
    ("Workspaces.claim", "LeaseLostError"): lambda lab: stopped(lab, "claim", "src"),
    ("Workspaces.claim", "LimitError"): lambda lab: few(lab).claim(at_work(lab).id, "src"),
    ("Workspaces.claim", "KeyReusedError"): keyed(
        lambda lab, more: lab.workspaces.claim(the_lead(lab), **more), {"resource": "a"}, {"resource": "b"}
    ),
    ("Workspaces.release", "InvalidValueError"): lambda lab: lab.workspaces.release(cast("Any", "src")),
    ("Workspaces.claims", "InvalidValueError"): lambda lab: lab.workspaces.claims("/etc"),
    ("Workspaces.add_role", "InvalidNameError"): lambda lab: lab.workspaces.add_role("a-b", base="architect"),
    ("Workspaces.add_role", "UnknownRoleError"): lambda lab: lab.workspaces.add_role("tester", base="writer"),
    ("Workspaces.add_role", "NameTakenError"): lambda lab: lab.workspaces.add_role("monitor", base="architect"),
    ("Workspaces.remove_role", "InvalidNameError"): lambda lab: lab.workspaces.remove_role("monitor"),
    ("Workspaces.remove_role", "RoleInUseError"): used_role,
    ("Workspaces.heartbeat", "KeyReusedError"): key_of_another(lambda kind, made: kind.heartbeat(made.id, key="k")),
    ("Workspaces.resume", "KeyReusedError"): key_of_another(lambda kind, made: kind.resume(made.id, key="k")),
    ("Workspaces.use", "KeyReusedError"): key_of_another(lambda kind, made: kind.use(made.id, key="k")),
    ("Workspaces.rename", "KeyReusedError"): key_of_another(lambda kind, made: kind.rename(made.id, "other", key="k")),
    ("Workspaces.end", "KeyReusedError"): key_of_another(lambda kind, made: kind.end(made.id, key="k")),
    ("Workspaces.expire", "KeyReusedError"): key_of_another(lambda kind, made: kind.expire(made.id, key="k")),
    ("Workspaces.expire_stale", "KeyReusedError"): key_of_another(lambda kind, made: kind.expire_stale(key="k")),
    ("Workspaces.release", "KeyReusedError"): key_of_another(
        lambda kind, made: kind.release(kind.claim(made.id, "src"), key="k")
    ),
    ("Workspaces.add_role", "KeyReusedError"): key_of_another(
        lambda kind, made: kind.add_role("writer", base="architect", key="k")
    ),
    ("Workspaces.remove_role", "KeyReusedError"): key_of_another(lambda kind, made: kind.remove_role("writer", key="k")),
    ("Sessions.list", "InvalidValueError"): lambda lab: lab.store.sessions.list("colour:red"),
    ("Sessions.list", "InvalidCursorError"): lambda lab: lab.store.sessions.list(after="x"),
    ("Sessions.events", "InvalidValueError"): lambda lab: lab.store.sessions.events(lab.id, limit=0),
    ("Sessions.end", "NotFoundError"): lambda lab: lab.store.sessions.end(NOBODY),
}


RAISES.update(game_operations.RAISES)


def late(lab: Lab) -> SignedIn:
    """A device whose timeout has passed."""
    one = SignedIn(lab)
    lab.clock.advance(timedelta(days=2))
    return one


def reused(lab: Lab, name: str, *arguments: Any) -> object:
    """The same key for two different things."""
    one = SignedIn(lab)
    one.logins.step_up(one.id, ["otp"], key="k")
    return getattr(one.logins, name)(*(one.id if argument is None else argument for argument in arguments), key="k")


def crowded(lab: Lab) -> object:
    one = SignedIn(lab, max_per_user=1, at_limit="refuse")
    return one.logins.create(one.user)


def another_hero(lab: Lab) -> object:
    one = held(lab)
    return one.logins.bind_character(one.logins.create(one.user).login.id, one.hero)


def not_theirs(lab: Lab) -> tuple[SignedIn, str]:
    one = SignedIn(lab)
    return one, one.directory.add_character(one.directory.add_user("bob"), "w", "Orc")


def foreign_directory(lab: Lab) -> object:
    with sojourn.open("memory:", directory=False) as store:
        return store.directory.add_user("ann")


def twice_a_world(lab: Lab) -> object:
    for _ in range(2):
        lab.store.directory.add_world("w", "W")
    return None


def stale_proof(lab: Lab) -> object:
    one = idle(lab)
    one.logins.require_fresh(one.logins.authenticate(one.token), MINUTE)
    return None


RAISES.update(
    {
        ("Logins.acting", "InvalidValueError"): lambda lab: SignedIn(lab).logins.acting(by="a\nb"),
        ("Logins.create", "NotFoundError"): lambda lab: SignedIn(lab).logins.create("stranger"),
        ("Logins.create", "BindingError"): lambda lab: SignedIn(lab).logins.create("ann", world_id="w"),
        ("Logins.create", "ConflictError"): (
            lambda lab: [one := held(lab), one.logins.create(one.user, character_id=one.hero)]
        ),
        ("Logins.create", "LimitError"): crowded,
        ("Logins.create", "InvalidValueError"): lambda lab: SignedIn(lab).logins.create(),
        ("Logins.create", "KeyReusedError"): (
            lambda lab: [one := SignedIn(lab), *(one.logins.create(one.user, ip=ip, key="k") for ip in ("::1", "::2"))]
        ),
        ("Logins.authenticate", "NotFoundError"): lambda lab: SignedIn(lab).logins.authenticate("nobody's"),
        ("Logins.authenticate", "ExpiredError"): lambda lab: [one := late(lab), one.logins.authenticate(one.token)],
        ("Logins.authenticate", "EndedError"): (
            lambda lab: [one := SignedIn(lab), one.ended(), one.logins.authenticate(one.token)]
        ),
        ("Logins.authenticate", "InvalidValueError"): lambda lab: lab.store.logins.authenticate(cast("Any", 7)),
        ("Logins.find", "InvalidValueError"): lambda lab: lab.store.logins.find(cast("Any", None)),
        ("Logins.bind_character", "NotFoundError"): lambda lab: lab.store.logins.bind_character(NOBODY, "c"),
        ("Logins.bind_character", "BindingError"): (
            lambda lab: [found := not_theirs(lab), found[0].logins.bind_character(found[0].id, found[1])]
        ),
        ("Logins.bind_character", "ConflictError"): another_hero,
        ("Logins.bind_character", "EndedError"): (
            lambda lab: [one := SignedIn(lab), one.logins.bind_character(one.ended(), one.hero)]
        ),
        ("Logins.bind_character", "ExpiredError"): lambda lab: [one := late(lab), one.logins.bind_character(one.id, one.hero)],
        ("Logins.bind_character", "KeyReusedError"): (
            lambda lab: [
                one := SignedIn(lab),
                one.logins.bind_character(one.id, one.hero, key="k"),
                one.logins.bind_character(one.id, one.hero, on_conflict="share", key="k"),
            ]
        ),
        ("Logins.unbind_character", "NotFoundError"): lambda lab: lab.store.logins.unbind_character(NOBODY),
        ("Logins.unbind_character", "EndedError"): (
            lambda lab: [one := SignedIn(lab), one.logins.unbind_character(one.ended())]
        ),
        ("Logins.rotate", "NotFoundError"): lambda lab: lab.store.logins.rotate("nobody's"),
        ("Logins.rotate", "EndedError"): lambda lab: [one := SignedIn(lab), one.ended(), one.logins.rotate(one.token)],
        ("Logins.rotate", "ExpiredError"): lambda lab: [one := late(lab), one.logins.rotate(one.token)],
        ("Logins.rotate", "KeyReusedError"): (
            lambda lab: [
                one := SignedIn(lab),
                *(one.logins.rotate(one.token, reauthenticated=anew, key="k") for anew in (False, True)),
            ]
        ),
        ("Logins.step_up", "NotFoundError"): lambda lab: lab.store.logins.step_up(NOBODY, ["otp"]),
        ("Logins.step_up", "EndedError"): lambda lab: [one := SignedIn(lab), one.logins.step_up(one.ended(), ["otp"])],
        ("Logins.step_up", "InvalidValueError"): lambda lab: lab.store.logins.step_up(NOBODY, []),
        ("Logins.require_fresh", "StaleAuthenticationError"): stale_proof,
        ("Logins.require_fresh", "InvalidValueError"): lambda lab: lab.store.logins.require_fresh(cast("Any", "id"), MINUTE),
        ("Logins.revoke", "InvalidValueError"): lambda lab: lab.store.logins.revoke(NOBODY, reason=""),
        ("Logins.revoke", "KeyReusedError"): lambda lab: reused(lab, "revoke", None),
        ("Logins.revoke_token", "InvalidValueError"): lambda lab: lab.store.logins.revoke_token(cast("Any", 7)),
        ("Logins.revoke_user", "KeyReusedError"): (
            lambda lab: [
                one := SignedIn(lab),
                *(one.logins.revoke_user(one.user, reason=why, key="k") for why in ("one", "other")),
            ]
        ),
        ("Logins.revoke_character", "InvalidValueError"): lambda lab: lab.store.logins.revoke_character(""),
        ("Logins.revoke_all", "InvalidValueError"): lambda lab: lab.store.logins.revoke_all(reason=""),
        ("Logins.list", "InvalidValueError"): lambda lab: lab.store.logins.list(limit=0),
        ("Logins.list", "InvalidCursorError"): lambda lab: lab.store.logins.list(after="x"),
        ("Logins.active_characters", "InvalidValueError"): (
            lambda lab: lab.store.logins.active_characters(world_id="w", within=-MINUTE)
        ),
        ("Logins.update", "NotFoundError"): lambda lab: lab.store.logins.update(NOBODY, {"a": 1}),
        ("Logins.update", "EndedError"): lambda lab: [one := SignedIn(lab), one.logins.update(one.ended(), {"a": 1})],
        ("Logins.update", "ExpiredError"): lambda lab: [one := late(lab), one.logins.update(one.id, {"a": 1})],
        ("Logins.update", "LimitError"): lambda lab: [one := SignedIn(lab), one.logins.update(one.id, LARGE)],
        ("Logins.update", "KeyReusedError"): lambda lab: reused(lab, "update", None, {"a": 1}),
        ("Logins.history", "NotFoundError"): lambda lab: lab.store.logins.history(NOBODY),
        ("Logins.history", "InvalidCursorError"): lambda lab: lab.store.logins.history(NOBODY, after="x"),
        ("Directory.add_user", "NameTakenError"): lambda lab: [lab.store.directory.add_user("ann") for _ in range(2)],
        ("Directory.add_user", "InvalidNameError"): lambda lab: lab.store.directory.add_user(" "),
        ("Directory.add_user", "UnsupportedError"): foreign_directory,
        ("Directory.add_world", "ConflictError"): twice_a_world,
        ("Directory.add_character", "NotFoundError"): lambda lab: lab.store.directory.add_character("stranger", None, "X"),
        ("Directory.rename_character", "NotFoundError"): lambda lab: lab.store.directory.rename_character("x", "X"),
        ("Directory.move_character", "NotFoundError"): lambda lab: lab.store.directory.move_character("x", "x"),
        ("Directory.remove_character", "InvalidValueError"): lambda lab: lab.store.directory.remove_character(""),
        ("Directory.remove_user", "InvalidValueError"): lambda lab: lab.store.directory.remove_user(""),
    }
)


def test_every_error_that_is_described_is_raised() -> None:
    assert RAISES.keys() == described("raises").keys()


@pytest.mark.parametrize("case", RAISES, ids=" ".join)
def test_errors(case: tuple[str, str], lab: Lab) -> None:
    with pytest.raises(sojourn.SojournError) as caught:
        RAISES[case](lab)
    assert type(caught.value).__name__ == case[1]
    assert str(caught.value).strip()
