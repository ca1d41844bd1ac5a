"""Between a game session object and its game in a store: reading it whole, changing what has no operation, adopting it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from sojourn.compat.game_values import PlayerState, TurnRecord
from sojourn.core.batch import Change, Guard, Point, Refusal, Write
from sojourn.errors import ConflictError, NotFoundError
from sojourn.formats.gamegirl import made_game
from sojourn.formats.gamegirl_plan import Found, Person, Played
from sojourn.kinds.games import places, record
from sojourn.kinds.games.model import Game, GamePolicy, Player, Turn
from sojourn.kinds.games.record import KIND, View
from sojourn.shell.unit import perform
from sojourn.store import AsyncStore

SUMMARY: Final = 500
SHOWN: Final = 50
"""Turns that a history shows."""
_TRIES: Final = 16


@dataclass(frozen=True, slots=True)
class Seen:
    """A game as of one read, with what was chosen in its open turn and when that began."""

    game: Game
    pending: dict[str, str]
    started: float | None


@dataclass(slots=True)
class Told:
    """What a store said last of a game, against which is seen what was set on the object since."""

    name: str
    title: str
    active: bool
    crown: str | None
    players: dict[str, tuple[str, float]]

    @classmethod
    def of(cls, game: Game) -> Told:
        """What this read says."""
        players = {user: face(player) for user, player in game.players.items()}
        return cls(game.name, game.title_screen_url, is_active(game), game.crown_holder, players)

    @classmethod
    def of_values(cls, game: Game, title: str, players: Mapping[str, PlayerState], *, active: bool) -> Told:
        """As if this had been said to an object that was made from values: what it has beyond is what was set on it."""
        known = {user: face(player) for user, player in game.players.items()}
        same = {
            user: (mine.user_name, mine.last_active)
            for user, mine in players.items()
            if user in known and known[user][0] == mine.user_name and mine.last_active <= known[user][1]
        }
        kept = title if title == game.title_screen_url else ""
        return cls(game.name, kept, is_active(game) and active, None, same)


def face(player: Player) -> tuple[str, float]:
    """What of a player a program may set: name and activity."""
    return player.user_name, player.last_active_at.timestamp()


def is_active(game: Game) -> bool:
    """Whether the original would say so: shown in a channel."""
    return game.state in ("active", "paused")


async def read(store: AsyncStore, game_id: str) -> Seen | None:
    """A game by its id; None when there is none."""
    view = await store.games._reader.find(game_id)
    return None if view is None else await _seen(store, view)


async def _seen(store: AsyncStore, view: View) -> Seen:
    view = await store.games._reader.with_activity(view)
    game = record.game_of(view)
    if game.window is None:
        return Seen(game, {}, None)
    pending = {entry.author: entry.text or "" for entry in view.choices if entry.author is not None}
    return Seen(game, pending, game.window.opened_at.timestamp())


async def last_of(store: AsyncStore, channel: str) -> Seen | None:
    """What a channel shows, or else the last that it has shown."""
    shown = await store.games.get(channel)
    if shown is None:
        page = await store.games.list(channel_id=channel, order="activity", limit=1)
        shown = page.items[0] if page.items else None
    return None if shown is None else await read(store, shown.id)


async def own_id(store: AsyncStore, game: Game) -> str:
    """The id a game has here: the caller's own one where it was given."""
    aliases = await store._unit.engine.aliases(store.tenant, target=game.id)
    return next((alias.key.key for alias in aliases if alias.key.namespace == record.OWN_ID), game.id)


async def retitle(store: AsyncStore, game_id: str, name: str, title: str) -> None:
    """Give a game another name and title screen."""
    name, title = places.check_name(name), places.check_title(title)

    def rule(view: View) -> Write:
        state, channel = record.state_of(view.session), view.data["last_channel"]
        before = record.tags_of(view.data["name"], channel, state, view.policy)
        then = record.tags_of(name, channel, state, view.policy)
        return Write(
            view.id,
            Guard(open=False, version=view.session.version),
            set=((("name",), name), (("title",), title)),
            tag=tuple(tag for tag in then if tag not in before),
            untag=tuple(tag for tag in before if tag not in then),
        )

    await store.games._access.changed(None, game_id, rule)


async def finish(store: AsyncStore, game: Game) -> None:
    """End a game wherever it is; what a channel shows in its place stays."""
    if game.channel_id is None:  # on the shelf
        await store.sessions.end(game.id, reason="exited")
        return
    shown = await store.games.get(game.channel_id)
    if shown is not None and shown.id == game.id:
        await store.games.exit(game.channel_id)


async def clear(store: AsyncStore, channel: str) -> None:
    """Put on the shelf what a channel shows."""
    try:
        await store.games.shelve(channel)
    except NotFoundError:  # somebody else just did
        return


async def adopt(store: AsyncStore, found: Found, policy: GamePolicy) -> None:
    """Store a game that has been played elsewhere under its own id; what its channel shows goes on the shelf."""
    placement, unit = store.games._placement, store._unit
    id = unit.new_id(found.channel)
    await placement.reserve(found.own, id)

    async def step() -> str | Refusal:
        changes: list[Change] = []
        if found.shown:
            spot = await placement.spot(found.channel)
            if spot.view is not None:
                raise ConflictError(f"the channel {found.channel!r} shows game {spot.view.id}.", holder=spot.view.id)
            changes.append(Point(spot.alias.key, id, spot.alias.epoch))
        made = made_game(found, id, policy, await unit.engine.now(), shown=found.shown)
        made = replace(made, change="booted")
        answer = await unit.attempt(found.channel, made, *changes)
        return answer.refusal or id

    try:
        for _ in range(_TRIES):
            try:
                await perform(step, KIND)
                break
            except ConflictError:
                await clear(store, found.channel)
        else:
            raise ConflictError(f"others begin games in channel {found.channel!r} all the time.", hint="Try again.")
    except BaseException:
        await placement.release(found.own, id)
        raise
    await placement.confirm(found.own, id)


async def begin(store: AsyncStore, channel: str, name: str, own: str, title: str, policy: GamePolicy) -> None:
    """A fresh game in its channel; what the channel showed is on the shelf, as it was."""
    for _ in range(_TRIES):
        try:
            await store.games.boot(channel, name, game_id=own, title_screen_url=title, policy=policy)
            return
        except ConflictError:
            if await store.games.get(channel) is None:
                raise
            await clear(store, channel)
    raise ConflictError(f"others begin games in channel {channel!r} all the time.", hint="Try again.")


def person(player: PlayerState) -> Person:
    """A player on the way into a store."""
    at = round(player.last_active * 1e6) if player.last_active > 0 else None
    return Person(
        str(player.user_id),
        player.user_name or str(player.user_id),
        player.joined_turn,
        at,
        player.last_active_turn,
        player.consecutive_skips,
    )


def played(turns: Iterable[TurnRecord]) -> list[Played]:
    """Turns on the way into a store."""
    return [
        Played(turn.turn, dict(turn.choices), turn.narrative_summary, round(turn.timestamp * 1e6), f"turn {turn.turn}")
        for turn in turns
    ]


def turn_record(turn: Turn) -> TurnRecord:
    """A closed turn as the original has it."""
    return TurnRecord(turn.number, dict(turn.choices), turn.narrative_summary[:SUMMARY], turn.closed_at.timestamp())


def refresh(known: PlayerState | None, player: Player) -> PlayerState:
    """A player as the store knows them, in the object that is known here."""
    kept = known or PlayerState(player.user_id, player.user_name)
    kept.user_name, kept.last_active = face(player)
    kept.joined_turn, kept.last_active_turn = player.joined_turn, player.last_active_turn
    kept.consecutive_skips = player.consecutive_skips
    return kept
