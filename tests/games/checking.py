"""What must be true of the games of a store, whatever has happened to them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sojourn import AsyncGames, Game, Submitted, Window
from sojourn.core.query import READABLE_STATES, EntryQuery, SessionQuery
from sojourn.core.session import Entry, Session
from sojourn.kinds.games import record
from sojourn.store import AsyncStore

TAKEN = frozenset({"accepted", "replaced", "carried"})


async def shown(games: AsyncGames, channel: str) -> Game:
    """The game that a channel shows, which shows one."""
    game = await games.get(channel)
    assert game is not None, f"{channel} shows no game"
    return game


def window_of(game: Game | None) -> Window:
    """The open window of a game, which has one."""
    assert game is not None, "there is no game"
    assert game.window is not None, "no window is open"
    return game.window


@dataclass
class Ledger:
    """What was answered: by key the user, the choice and the answers."""

    answers: dict[str, list[Submitted]] = field(default_factory=lambda: defaultdict(list))
    who: dict[str, tuple[str, str]] = field(default_factory=dict)

    def note(self, key: str, user: str, choice: str, answer: Submitted) -> Submitted:
        """Keep an answer."""
        self.answers[key].append(answer)
        self.who[key] = (user, choice)
        return answer


async def rows(store: AsyncStore) -> list[Session]:
    """All games, as they are stored."""
    unit = store._unit
    return await unit.engine.list(SessionQuery(unit.tenant, (record.KIND,), READABLE_STATES, order="created", limit=500))


async def log(store: AsyncStore, session: Session) -> list[Entry]:
    """Everything in a game's log."""
    unit = store._unit
    return list((await unit.engine.load(unit.tenant, session.id, EntryQuery())).entries)


async def check(store: AsyncStore, ledger: Ledger | None = None, *, channels: tuple[str, ...] = ()) -> None:
    """Every promise that can be read off the store."""
    places: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for session in await rows(store):
        entries = await log(store, session)
        _turns_are_whole(session, entries)
        for entry in entries:
            if entry.type == record.CHOICE and entry.key is not None:
                places[entry.key].append((session.id, int(entry.label)))
    if ledger is not None:
        _answers_are_kept(ledger, places)
    for channel in channels:
        await _shows_one_or_none(store, channel)


def _turns_are_whole(session: Session, entries: list[Entry]) -> None:
    """Turns are numbered from 1 without gaps, and each choice is in exactly the one it names, or cancelled, or open."""
    numbers = [int(entry.label) for entry in entries if entry.type == record.TURN]
    assert numbers == list(range(1, session.data["turn"] + 1)), f"turns {numbers} of {session.data['turn']}"
    spans = [(entry.type, entry.label, entry.covers) for entry in entries if entry.type in (record.TURN, record.CANCELLED)]
    window = session.data["window"]
    if window is not None:
        spans.append(("open", str(session.data["turn"] + 1), (window["first"], session.last_sequence)))
    for entry in entries:
        if entry.type == record.CHOICE:
            inside = [span for span in spans if span[2] is not None and span[2][0] <= entry.sequence <= span[2][1]]
            assert len(inside) == 1, f"choice {entry.sequence} is in {inside}"
            assert inside[0][1] == entry.label, f"choice {entry.sequence} of turn {entry.label} is in {inside}"
    for entry in entries:
        if entry.type == record.TURN:
            _closed_in_time(entry)
    _numbers_are_in_order(entries)


def _closed_in_time(entry: Entry) -> None:
    from sojourn.core.codec import decode

    kept = decode(entry.data or "{}")
    if kept["reason"] == "deadline":
        assert entry.created_at >= kept["deadline"], "closed before its deadline"
    filled = {int(number) for number in kept.get("filled", {})}
    assert filled <= set(kept["expected"])


def _numbers_are_in_order(entries: list[Entry]) -> None:
    times = [entry.created_at for entry in entries]
    assert times == sorted(times), "time ran backwards"


def _answers_are_kept(ledger: Ledger, places: dict[str, list[tuple[str, int]]]) -> None:
    for key, answers in ledger.answers.items():
        taken = [answer for answer in answers if answer.status in TAKEN]
        assert len(taken) <= 1, f"{key} was taken twice: {answers}"
        turns = {answer.turn for answer in answers if answer.status in TAKEN or answer.status == "duplicate"}
        assert len(turns) <= 1, f"the answers of {key} differ: {answers}"
        where = places.get(key, [])
        assert len(where) <= 1, f"{key} is in {where}"
        if turns:
            assert [turn for _, turn in where] == list(turns), f"{key} was answered {turns} and is in {where}"


async def _shows_one_or_none(store: AsyncStore, channel: str) -> None:
    game = await store.games.get(channel)
    unit = store._unit
    found = await unit.follow(channel, record.SHOWN, channel)
    for session in await rows(store):
        if session.data["channel"] == channel:
            assert game is not None, f"a game says it is shown in {channel}, which shows none"
            assert session.id == game.id, f"two games say they are shown in {channel}"
    if game is not None:
        assert found.alias is not None
        assert found.alias.target == game.id
        assert game.state in ("active", "paused")


async def every_window_can_close(store: AsyncStore, clock: Any) -> None:
    """Whatever window is left closes: of a shown game by a sweep, of a shelved one when it is shown again."""
    for session in await rows(store):
        if session.data["status"] == "lobby" and session.data["window"] is not None:
            await store.games.resume(session.id, f"elsewhere/{session.id}")
        if session.data["paused"]:
            await store.games.unpause(None, game_id=session.id)
    clock.advance(timedelta(days=1))
    while (await store.sweep()).counts.get("closed"):
        pass
    for session in await rows(store):
        window = session.data["window"]
        assert window is None or session.state != "active", f"the window of {session.id} never closes"
