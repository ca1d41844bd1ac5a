"""A recorded program: the same sequence of calls, by a seed, gives the same answers on every engine."""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, TypeAlias
from uuid import UUID

import pytest

import sojourn
from sojourn import AsyncStore, Store
from sojourn.compat import game_session as bot
from sojourn.compat import mud_sessions as mud
from sojourn.compat import tkt_session as tkt
from sojourn.compat.openjarvis_sessions import SessionStore
from sojourn.compat.tenets_sessions import SessionDB
from sojourn.errors import SojournError
from sojourn.testing.clocks import ManualClock
from sojourn.testing.engines import Place

Program: TypeAlias = Callable[[random.Random, Store, ManualClock, Path], Iterator[Callable[[], Any]]]

SEED: Final = 8
USERS: Final = ("ana", "ben", "cy", "dee")
NAMES: Final = ("auth", "parser", "release 2.4", "docs", "spike")


class Answers:
    """What calls gave, as text: ids by the order in which they appeared, since every run makes its own."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self._ids: dict[str, str] = {}

    def note(self, call: Callable[[], Any]) -> None:
        """Call, and keep the answer or the error."""
        try:
            self.keep(call())
        except (SojournError, mud.DatabaseError) as error:
            self.keep(f"{type(error).__name__}: {getattr(error, 'code', '')}")

    def keep(self, answer: Any) -> None:
        """Keep an answer."""
        text = json.dumps(answer, default=_plain, sort_keys=True, ensure_ascii=False)
        self.found.append(re.sub(r"\b(?:[0-9A-HJKMNP-TV-Z]{26}|[0-9a-f]{12})\b", self._numbered, text))

    def _numbered(self, match: re.Match[str]) -> str:
        return self._ids.setdefault(match[0], f"id {len(self._ids) + 1}")


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return vars(value) if hasattr(value, "__dict__") else repr(value)


# -- the programs ------------------------------------------------------------------------------------------------------


def of_the_mud(rng: random.Random, store: Store, clock: ManualClock, place: Path) -> Iterator[Callable[[], Any]]:
    del place
    mud.configure(store, ttl_minutes=60, allow_multiple_sessions=rng.random() < 0.5)
    ids = [store.directory.add_user(name) for name in USERS]
    store.directory.add_world("web", "The Web")
    held = [store.directory.add_character(user, "web", f"{name} of the Reeds") for user, name in zip(ids, USERS, strict=True)]
    tokens: list[str] = []

    def token() -> str:
        return rng.choice(tokens) if tokens and rng.random() < 0.9 else "nobody's"

    def create() -> bool:
        tokens.append(str(UUID(int=rng.getrandbits(128), version=4)))
        who: Any = rng.choice([*USERS, "stranger", *ids])
        character: Any = rng.choice([None, None, *held, "nobody"])
        return mud.create_session(who, tokens[-1], client_type=rng.choice(["", " TUI ", "web"]), character_id=character)

    calls: list[Callable[[], Any]] = [
        create,
        create,
        create,
        lambda: mud.get_session_by_id(token()),
        lambda: mud.update_session_activity(token()),
        lambda: mud.set_session_character(token(), rng.choice(held), world_id="web"),  # type: ignore[arg-type]  # text here
        lambda: mud.remove_session_by_id(token()),
        lambda: mud.get_active_session_count(),
        lambda: mud.get_active_characters(world_id="web"),
        lambda: clock.advance(timedelta(minutes=rng.randrange(1, 20))),
    ]
    rare: list[Callable[[], Any]] = [
        lambda: mud.remove_sessions_for_user(rng.choice(ids)),  # type: ignore[arg-type]
        lambda: mud.remove_sessions_for_character_count(rng.choice(held)),  # type: ignore[arg-type]
        lambda: mud.cleanup_expired_sessions(),
        lambda: mud.clear_all_sessions(),
        lambda: mud.create_session(rng.choice(USERS), token()),
    ]
    while True:
        yield rng.choice(calls if rng.random() < 0.95 else rare)


def of_tkt(rng: random.Random, store: Store, clock: ManualClock, place: Path) -> Iterator[Callable[[], Any]]:
    ids: list[str] = []
    roles = ("architect", "implementer", "monitor", "juggler")

    def create() -> Any:
        made = tkt.create(rng.choice(roles), rng.choice(("one", "two", "three", "Four", "-")), store, place)
        ids.append(made.id)
        return made

    calls: list[Callable[[], Any]] = [
        create,
        create,
        lambda: tkt.load_active(place, store),
        lambda: tkt.load_active(place, store),
        lambda: tkt.end(place, store),
        lambda: tkt.expire_by_id(rng.choice(ids) if ids else "nobody", store),
        lambda: tkt.count_active(store),
        lambda: tkt.create_system(rng.choice(roles), store).role,
        lambda: clock.advance(timedelta(minutes=rng.choice((1, 10, 300)))),
    ]
    while True:
        yield rng.choice(calls)


def of_openjarvis(rng: random.Random, store: Store, clock: ManualClock, place: Path) -> Iterator[Callable[[], Any]]:
    del place
    sessions = SessionStore(store, consolidation_threshold=6)
    ids: list[str] = []

    def find() -> Any:
        channel = rng.choice(("", "web", "sms"))
        found = sessions.get_or_create(rng.choice(USERS), channel=channel, channel_user_id=f"h{rng.randrange(6)}")
        ids.append(found.session_id)
        return found

    def known() -> str:
        return rng.choice(ids[-20:]) if ids and rng.random() < 0.95 else "unknown"

    count = iter(range(1 << 30))
    calls: list[Callable[[], Any]] = [
        find,
        lambda: sessions.save_message(known(), "user", f"message {next(count)}", channel="web", metadata={"n": next(count)}),
        lambda: sessions.save_message(known(), rng.choice(("user", "assistant")), f"message {next(count)}"),
        lambda: sessions.link_channel(known(), rng.choice(("web", "sms")), f"h{rng.randrange(6)}"),
        lambda: sorted(
            (item.created_at, item.last_activity) for item in sessions.list_sessions(active_only=rng.random() < 0.5)
        ),
        lambda: sessions.consolidate(known()),
        lambda: clock.advance(timedelta(hours=rng.choice((0.01, 0.1, 9)))),
    ]
    while True:
        yield rng.choice(calls) if rng.random() < 0.98 else lambda: sessions.decay(rng.choice((None, 0, 12)))


def of_tenets(rng: random.Random, store: Store, clock: ManualClock, place: Path) -> Iterator[Callable[[], Any]]:
    del place
    db = SessionDB(store)
    calls: list[Callable[[], Any]] = [
        lambda: db.create_session(rng.choice(NAMES), {"n": rng.randrange(9), "active": rng.random() < 0.2}),
        lambda: db.get_session(rng.choice(NAMES)),
        lambda: db.add_context(rng.choice(NAMES), rng.choice(("note", "context_result")), f"text {rng.randrange(99)}"),
        lambda: db.add_context(rng.choice(NAMES), "note", f"text {rng.randrange(99)}"),
        lambda: db.get_context(rng.choice(NAMES), rng.choice((None, "note"))),
        lambda: db.list_sessions(),
        lambda: db.get_active_session(),
        lambda: db.set_active(rng.choice(NAMES), rng.random() < 0.8),
        lambda: db.update_session_metadata(rng.choice(NAMES), {rng.choice("abc"): rng.randrange(9)}),
        lambda: clock.advance(timedelta(seconds=rng.randrange(1, 90))),
    ]
    rare: list[Callable[[], Any]] = [
        lambda: db.delete_session(rng.choice(NAMES), purge_context=rng.random() < 0.5),
        lambda: db.delete_all_sessions(purge_context=rng.random() < 0.5),
        lambda: db.update_session_metadata(rng.choice(NAMES), {"active": rng.random() < 0.5}),
    ]
    while True:
        yield rng.choice(calls if rng.random() < 0.93 else rare)


class Bot:
    """What the bot does, one call at a time."""

    def __init__(self, rng: random.Random, store: AsyncStore, clock: ManualClock) -> None:
        self._rng, self._store, self._clock = rng, store, clock
        self._sessions: list[bot.GameSession] = []
        self._calls = [
            self._submit,
            self._submit,
            self._wait,
            self._record,
            self._join,
            self._history,
            self._list,
            self._restore,
        ]
        self._rare = [self.boot, self.boot, self._exit]

    async def anything(self) -> Any:
        """Some call."""
        try:
            return await self._rng.choice(self._calls if self._rng.random() < 0.93 else self._rare)()
        except SojournError as error:
            return f"{type(error).__name__}: {error.code}"

    async def boot(self) -> Any:
        """Begin a game."""
        self._sessions.append(bot.GameSession(self._rng.choice(("c1", "c2"))))
        return await self._sessions[-1].boot(self._rng.choice(("Salt", "Moth")), self._store)

    def _one(self) -> bot.GameSession:
        return self._rng.choice(self._sessions[-3:])

    async def _submit(self) -> Any:
        return await self._one().submit_choice(self._rng.choice(USERS), "Somebody", self._rng.choice(("north", "south")))

    async def _wait(self) -> Any:
        self._clock.advance(timedelta(seconds=11))
        return await self._one().wait_for_countdown()

    async def _record(self) -> Any:
        return await self._one().record_turn({"ana": "north"}, self._rng.choice(("they went", "they stayed")), self._store)

    async def _join(self) -> Any:
        session, user = self._one(), self._rng.choice(USERS)
        session.register_player(user, user.title())
        session.set_crown(self._rng.choice((None, user)))
        await bot.persist_session(session.channel_id, session, self._store)
        return _shown(session)

    async def _history(self) -> Any:
        return await self._one().get_turn_history(self._store, count=self._rng.randrange(4))

    async def _list(self) -> Any:
        rows = await bot.list_all_games(self._store)
        return sorted((row["game_name"], row["turn_number"], row["active"]) for row in rows)

    async def _restore(self) -> Any:
        bot.remove_session("c1")
        return _shown(await bot.get_or_restore_session("c1", self._store))

    async def _exit(self) -> Any:
        return await self._one().exit_game(self._store)


def _shown(session: bot.GameSession | None) -> Any:
    if session is None:
        return None
    known = session.to_dict()
    for player in known["players"].values():
        player["last_active"] = None  # a clock of the process, where it was registered here
    return known, session.pending_choices, session.get_crown_holder_name()


PROGRAMS: Final[dict[str, Program]] = {
    "mud": of_the_mud,
    "tkt": of_tkt,
    "openjarvis": of_openjarvis,
    "tenets": of_tenets,
}


# -- running them ------------------------------------------------------------------------------------------------------


def answers(name: str, calls: int, url: str, options: Any, directory: Path) -> list[str]:
    """What the calls of a program gave."""
    rng, clock, kept = random.Random(SEED), ManualClock(), Answers()
    if name == "bot":
        asyncio.run(_played(rng, clock, kept, calls, url, options))
        return kept.found
    with sojourn.open(url, clock=clock, engine=options) as store:
        program = PROGRAMS[name](rng, store, clock, directory)
        for _ in range(calls):
            kept.note(next(program))
    return kept.found


async def _played(rng: random.Random, clock: ManualClock, kept: Answers, calls: int, url: str, options: Any) -> None:
    bot._sessions.clear()
    async with sojourn.aopen(url, clock=clock, engine=options) as store:
        program = Bot(rng, store, clock)
        kept.keep(await program.boot())
        for _ in range(calls - 1):
            kept.keep(await program.anything())
    bot._sessions.clear()


@cache
def recorded(name: str, calls: int) -> list[str]:
    """What they gave in memory."""
    with TemporaryDirectory() as directory:
        return answers(name, calls, "memory:", None, Path(directory))


def compare(name: str, calls: int, place: Place, directory: Path) -> None:
    """The same answers, call by call."""
    expected, found = recorded(name, calls), answers(name, calls, place.url, place.options, directory)
    for number, (wanted, got) in enumerate(zip(expected, found, strict=True), 1):
        assert got == wanted, f"call {number}"


@pytest.mark.parametrize("name", [*PROGRAMS, "bot"])
def test_a_program_gets_the_same_answers(name: str, place: Place, tmp_path: Path) -> None:
    compare(name, 80, place, tmp_path)


@pytest.mark.campaign
@pytest.mark.parametrize("name", [*PROGRAMS, "bot"])
def test_a_thousand_calls_get_the_same_answers(name: str, place: Place, tmp_path: Path) -> None:
    compare(name, 1000, place, tmp_path)


@pytest.mark.parametrize("name", [*PROGRAMS, "bot"])
def test_a_recording_is_of_a_program_that_works(name: str) -> None:
    found = recorded(name, 400)
    assert sum("Error" in text for text in found) < 200
    assert len(set(found)) > 40
