"""The interface of the bot's game session module on games: `GameSession` and the functions around it.

What differs from the original on purpose: an exited game stays exited, also after a restart; a choice is in exactly one turn
and stored when `submit_choice` returns; a turn is counted once, whoever changes their mind; a game that is swapped out keeps
its own history; nothing expires after four hours; a lock is never given to two, also while it is cleaned up. The docs have
the whole table.

``redis`` is a Sojourn store for asynchronous code, a URL, or a Redis client (its server is opened as a store). Where it is
None nothing is persisted.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from sojourn.compat import game_link as link
from sojourn.compat.game_link import Seen, Told
from sojourn.compat.game_locks import GameSessionLockRegistry
from sojourn.compat.game_stores import Redis, close_stores, store_of
from sojourn.compat.game_values import ActivityTier, PlayerState, TurnRecord
from sojourn.errors import ConflictError, EndedError, InvalidValueError, NotFoundError
from sojourn.formats.gamegirl_plan import Found
from sojourn.kinds.games.model import Game, GamePolicy, Submitted, Turn
from sojourn.store import AsyncStore, aopen

__all__ = [
    "DEFAULT_TITLE_SCREEN",
    "ActivityTier",
    "GameSession",
    "GameSessionLockRegistry",
    "PlayerState",
    "TurnRecord",
    "close_stores",
    "get_or_restore_session",
    "get_session",
    "list_all_games",
    "load_by_game_id",
    "persist_session",
    "remove_session",
    "set_session",
]

DEFAULT_TITLE_SCREEN: Final = "[ press any choice to begin ]"
HOUSE: Final = "Stargazer"
STRANGER: Final = "Unknown"
_UNTITLED: Final = "Untitled"

_POLICY: Final = GamePolicy(
    countdown=timedelta(seconds=10), gm_name=HOUSE, max_players=None, max_choice_length=None, max_text=None
)
_ACTIVE: Final = 2, 15 * 60.0
_IDLE: Final = 5, 60 * 60.0
_TAKEN: Final = ("accepted", "replaced", "duplicate", "carried")
_LOOK: Final = 1.0
"""Seconds after which who waits looks whether the game is still shown."""
_SINCE_BOOT: Final = 1e9
"""A start that is smaller is the reading of a clock that no other process has, as the original wrote it."""


class GameSession:
    """One game of a channel. What is asked of it is committed; its attributes are what it was told last, and yours to set.

    What is set (names, title screen, players, crown, ``active`` to False) is committed with the next awaited call that has a
    store. ``turn_number`` and ``pending_choices`` follow the store.
    """

    def __init__(self, channel_id: str, game_name: str = "", game_id: str | None = None) -> None:
        self.channel_id: str = str(channel_id)
        self.game_name: str = game_name
        self.game_id: str = game_id or _mint()
        self.active: bool = False
        self.turn_number: int = 0
        self.title_screen_url: str = ""
        self.players: dict[str, PlayerState] = {}
        self.pending_choices: dict[str, str] = {}
        self.countdown_task: asyncio.Task[Any] | None = None
        self.crown_holder: str | None = None
        self._store: AsyncStore | None = None
        self._told: Told | None = None
        self._harvested: int | None = None
        self._started: float | None = None

    # -- beginning and ending --------------------------------------------------------------------------------------

    async def boot(self, game_name: str, redis: Redis = None) -> str:
        """Begin a fresh game in the channel, and shelve what it showed; the banner to post. A used id is minted anew."""
        store = await self._at(redis)
        if await link.read(store, self.game_id) is not None:
            self.game_id = _mint()
        await link.begin(store, self.channel_id, game_name or _UNTITLED, self.game_id, self.title_screen_url, _POLICY)
        self.players, self.pending_choices, self.crown_holder = {}, {}, None
        self._told = self._harvested = None
        await self._refresh(store)
        return banner(self)

    async def exit_game(self, redis: Redis = None) -> str:
        """End the game, for good; what to post. Cancels ``countdown_task``."""
        task, self.countdown_task = self.countdown_task, None
        if task is not None and task is not asyncio.current_task():
            task.cancel()
        store = await self._synced(redis)
        seen = await link.read(store, self.game_id)
        if seen is not None and seen.game.state != "ended":
            await link.finish(store, seen.game)
            await self._refresh(store)
        self.active = False
        return f"{self.game_name} has ended after {self.turn_number} turns with {len(self.players)} players."

    # -- turns -----------------------------------------------------------------------------------------------------

    async def submit_choice(self, user_id: str, user_name: str, choice: str) -> tuple[bool, float]:
        """Press a choice; whether it is the turn's first, and the seconds until the turn closes. Stored when it returns.

        What cannot be taken is an error: `InvalidValueError` for an empty choice, `EndedError` for a game that is over,
        `ConflictError` for one that is on the shelf, or paused.
        """
        store = await self._playing()
        answer = await self._pressed(store, user_id, user_name, choice)
        await self._refresh(store)
        return answer.first, 0.0 if answer.remaining is None else answer.remaining.total_seconds()

    async def wait_for_countdown(self) -> dict[str, str]:
        """The choices of the turn when it has closed, the same to whoever waits; {} when nobody pressed, or the game leaves.

        A turn is given again until it is told, so that a narrator who failed may try again.
        """
        store = await self._playing()
        turn = await self._closed(store)
        await self._refresh(store)
        if turn is None or turn.state == "resolved":
            return {}
        self._harvested = turn.number
        return dict(turn.choices)

    async def _closed(self, store: AsyncStore) -> Turn | None:
        """The turn, as soon as it is closed; None where none will be: nobody pressed, the game is over or on the shelf."""
        while True:
            seen = await link.read(store, self.game_id)
            if seen is None or seen.game.state == "lobby":
                return None
            try:
                async with asyncio.timeout(_LOOK):
                    return await store.games.wait_for_countdown(None, game_id=self.game_id)
            except (NotFoundError, EndedError):
                return None
            except TimeoutError:
                continue

    async def record_turn(self, choices: Mapping[str, str], narrative_summary: str, redis: Redis = None) -> None:
        """Tell the turn that this object harvested, or the last one when it has these choices and is not told yet.

        Otherwise a turn with these choices, and with what was pressed in the turn that is open, is stored and told. Once told,
        a turn keeps what it was told: another text is a `ConflictError`.
        """
        store = await self._playing(redis)
        given = {str(user): choice for user, choice in choices.items()}
        number = self._harvested or await self._untold(store, given) or await self._stored(store, given)
        await store.games.record_turn(None, number, narrative_summary, game_id=self.game_id)
        self._harvested = None
        await self._refresh(store)

    async def _untold(self, store: AsyncStore, choices: dict[str, str]) -> int | None:
        """The last turn, when these are its choices and nobody has told it: somebody else harvested it."""
        turns = await store.games.history(None, count=1, game_id=self.game_id)
        return turns[0].number if turns and turns[0].state != "resolved" and turns[0].choices == choices else None

    async def _stored(self, store: AsyncStore, choices: dict[str, str]) -> int:
        """A turn with these choices."""
        game = await store.games.load(self.game_id)
        if game.window is None and not choices:
            await store.games.open_window(None, game_id=self.game_id)
        for user, choice in choices.items():
            name = self.players[user].user_name if user in self.players else user
            await self._pressed(store, user, name, choice)
        return (await store.games.close(None, game_id=self.game_id)).number

    async def _pressed(self, store: AsyncStore, user_id: str, user_name: str, choice: str) -> Submitted:
        answer = await store.games.submit_choice(None, user_id, user_name, choice, game_id=self.game_id)
        if answer.status == "invalid":
            raise InvalidValueError("a choice is a text that is not empty.")
        if answer.status not in _TAKEN:
            raise ConflictError(f"game {self.game_id} takes no choice now ({answer.status}): it is on the shelf, or paused.")
        return answer

    async def get_turn_history(self, redis: Redis = None, count: int = 10) -> list[TurnRecord]:
        """The last turns, oldest first, 50 at most; none without a store."""
        if redis is None:
            return []
        store = await self._synced(redis)
        return await self._turns(store, count)

    async def _turns(self, store: AsyncStore, count: int) -> list[TurnRecord]:
        if count < 1 or await link.read(store, self.game_id) is None:
            return []
        turns = await store.games.history(None, count=min(count, link.SHOWN), game_id=self.game_id)
        return [link.turn_record(turn) for turn in turns]

    # -- players ---------------------------------------------------------------------------------------------------

    def register_player(self, user_id: str, user_name: str) -> PlayerState:
        """Know a player, refresh their name and activity; stored with the next awaited call."""
        key = str(user_id)
        known = self.players.get(key)
        if known is None:
            known = self.players[key] = PlayerState(key, user_name, joined_turn=self.turn_number)
        known.user_name, known.last_active, known.last_active_turn = user_name, time.time(), self.turn_number
        return known

    def get_all_players_tiered(self) -> list[tuple[PlayerState, ActivityTier]]:
        """Everybody with their tier, in the order they came."""
        return [(player, self._tier(player)) for player in self.players.values()]

    def get_active_players(self, inactive_hours: float = 2.0) -> dict[str, PlayerState]:
        """The active and idle ones. ``inactive_hours`` is taken, and not looked at."""
        del inactive_hours
        return {user: player for user, player in self.players.items() if self._tier(player) is not ActivityTier.DORMANT}

    def _tier(self, player: PlayerState) -> ActivityTier:
        turns, seconds = self.turn_number - player.last_active_turn, time.time() - player.last_active
        if turns <= _ACTIVE[0] or seconds <= _ACTIVE[1]:
            return ActivityTier.ACTIVE
        return ActivityTier.IDLE if turns <= _IDLE[0] or seconds <= _IDLE[1] else ActivityTier.DORMANT

    def set_crown(self, user_id: str | None) -> None:
        """Give a player the crown, or take it back; stored with the next awaited call."""
        self.crown_holder = None if user_id is None else str(user_id)

    def get_crown_holder_name(self) -> str:
        """Who has the crown; the house's name for nobody."""
        if self.crown_holder is None:
            return HOUSE
        holder = self.players.get(self.crown_holder)
        return STRANGER if holder is None else holder.user_name

    def is_crown_holder(self, user_id: str) -> bool:
        """Whether this is who has the crown."""
        return self.crown_holder is not None and self.crown_holder == str(user_id)

    # -- as values -------------------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """As the original's JSON has it."""
        return {
            "game_id": self.game_id,
            "game_name": self.game_name,
            "channel_id": self.channel_id,
            "active": self.active,
            "turn_number": self.turn_number,
            "title_screen_url": self.title_screen_url,
            "crown_holder": self.crown_holder,
            "players": {user: player.to_dict() for user, player in self.players.items()},
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> GameSession:
        """From what `to_dict` gave; unknown keys are ignored."""
        made = cls(str(data.get("channel_id", "")), data.get("game_name") or "", data.get("game_id"))
        made.active = bool(data.get("active", False))
        made.turn_number = int(data.get("turn_number") or 0)
        made.title_screen_url = data.get("title_screen_url") or ""
        made.crown_holder = data.get("crown_holder") or None
        made.players = {str(user): PlayerState.from_dict(kept) for user, kept in (data.get("players") or {}).items()}
        return made

    def to_redis(self) -> dict[str, str]:
        """As the original's hash has it: all text. ``countdown_started`` is seconds since 1970, "0.0" for none."""
        document = self.to_dict()
        return {
            "game_id": self.game_id,
            "game_name": self.game_name,
            "channel_id": self.channel_id,
            "active": "1" if self.active else "0",
            "turn_number": str(self.turn_number),
            "title_screen_url": self.title_screen_url,
            "crown_holder": self.crown_holder or "",
            "players": json.dumps(document["players"]),
            "pending_choices": json.dumps(self.pending_choices),
            "countdown_started": str(self._started or 0.0),
        }

    @classmethod
    def from_redis(cls, data: Mapping[Any, Any]) -> GameSession:
        """From what `to_redis` gave, with keys and values as text or bytes."""
        plain = {_text(key): _text(value) for key, value in data.items()}
        made = cls.from_dict(
            {
                **plain,
                "active": plain.get("active", "0") == "1",
                "turn_number": int(plain.get("turn_number") or 0),
                "players": json.loads(plain.get("players") or "{}"),
            }
        )
        started = float(plain.get("countdown_started") or 0.0)
        made._started = started if started > _SINCE_BOOT else None
        made.pending_choices = {str(user): str(text) for user, text in json.loads(plain.get("pending_choices") or "{}").items()}
        return made

    @classmethod
    async def load_from_redis(cls, channel_id: str, redis: Redis) -> GameSession | None:
        """The channel's last game, an inactive one included; None when it never had one, and without a store."""
        if redis is None:
            return None
        store = await store_of(redis)
        seen = await link.last_of(store, str(channel_id))
        return None if seen is None else await cls._of(store, seen)

    @classmethod
    async def delete_from_redis(cls, channel_id: str, redis: Redis) -> None:
        """Remove the channel's last game for good, its lobby entry too; nothing without one, or without a store."""
        if redis is None:
            return
        store = await store_of(redis)
        seen = await link.last_of(store, str(channel_id))
        if seen is not None:
            await store.games.delete(seen.game.id)

    # -- between this object and the store -------------------------------------------------------------------------

    @classmethod
    async def _of(cls, store: AsyncStore, seen: Seen) -> GameSession:
        made = cls.from_seen(seen, await link.own_id(store, seen.game))
        made._store = store
        return made

    @classmethod
    def from_seen(cls, seen: Seen, game_id: str) -> GameSession:
        """What a store says of a game, under its id; the object has no store yet."""
        made = cls(seen.game.channel_id or seen.game.last_channel_id, seen.game.name, game_id)
        made._take(seen)
        return made

    async def _at(self, redis: Redis) -> AsyncStore:
        """The store that was named now or before; a private one in memory where none ever was."""
        if redis is not None:
            self._store = await store_of(redis)
        elif self._store is None:
            self._store = await aopen("memory:")
        return self._store

    async def _playing(self, redis: Redis = None) -> AsyncStore:
        """The store, with this game in it, and with what was set."""
        before, store = self._store, await self._at(redis)
        if await link.read(store, self.game_id) is None:
            turns = [] if before is None or before is store else await self._turns(before, link.SHOWN)
            await self._adopted(store, turns)
        return await self._synced()

    async def _adopted(self, store: AsyncStore, turns: list[TurnRecord]) -> None:
        """Bring what this object says into a store that has not got it: it was never booted there."""
        crown = self.crown_holder if self.crown_holder in self.players else None
        started = not (self.turn_number or self.players or self.pending_choices)
        if started:
            await link.begin(store, self.channel_id, self.game_name or _UNTITLED, self.game_id, self.title_screen_url, _POLICY)
        else:
            found = Found(
                self.game_id,
                self.game_name or _UNTITLED,
                self.channel_id,
                shown=self.active or not self.turn_number,
                turn=self.turn_number,
                title=self.title_screen_url,
                crown=crown,
                people=[link.person(player) for player in self.players.values()],
                played=link.played(turns),
                pending=dict(self.pending_choices),
            )
            found.ended = not found.shown
            await link.adopt(store, found, _POLICY)
        self._told = None
        await self._refresh(store)

    async def _synced(self, redis: Redis = None) -> AsyncStore:
        """The store, after what was set on this object was committed there; a game that is over stays as it is."""
        store = await self._at(redis)
        seen = await link.read(store, self.game_id)
        if seen is None:
            return store
        if self._told is None:  # this object was made from values: what it has is what was set
            self._told = Told.of_values(seen.game, self.title_screen_url, self.players, active=self.active)
        if seen.game.state != "ended":
            await self._tell(store, self._told)
        await self._refresh(store)
        return store

    async def _tell(self, store: AsyncStore, told: Told) -> None:
        """Commit what was set since the store was read."""
        if (self.game_name or told.name, self.title_screen_url) != (told.name, told.title):
            await link.retitle(store, self.game_id, self.game_name or told.name, self.title_screen_url)
            told.name, told.title = self.game_name, self.title_screen_url
        for user, player in [*self.players.items()]:
            known = player.user_name, player.last_active
            if told.players.get(user) != known:
                await store.games.join(None, user, player.user_name, game_id=self.game_id)
                told.players[user] = known
        for user in [user for user in told.players if user not in self.players]:
            await store.games.leave(None, user, game_id=self.game_id)
            del told.players[user]
        crown = self.crown_holder
        if crown != told.crown and (crown is None or crown in self.players):
            await store.games.set_crown(None, crown, game_id=self.game_id)
            told.crown = crown
        if told.active and not self.active:
            told.active = False
            await link.finish(store, await store.games.load(self.game_id))

    async def _refresh(self, store: AsyncStore) -> None:
        seen = await link.read(store, self.game_id)
        if seen is None:
            raise NotFoundError(f"game {self.game_id} was deleted.")
        self._take(seen)

    def _take(self, seen: Seen) -> None:
        """What the store says of the game; what was set here meanwhile stays, for the next call to commit."""
        game, told, now = seen.game, self._told, Told.of(seen.game)
        if told is None or self.game_name == told.name:
            self.game_name = game.name
        if told is None or self.title_screen_url == told.title:
            self.title_screen_url = game.title_screen_url
        if told is None or self.crown_holder == told.crown:
            self.crown_holder = game.crown_holder
        if told is None or self.active == told.active or game.state == "ended":
            self.active = now.active
        before = {} if told is None else told.players
        for user, player in game.players.items():
            known = self.players.get(user)
            if known is None and user in before:  # taken out here, and not told yet
                continue
            if known is None or told is None or before.get(user) == (known.user_name, known.last_active):
                self.players[user] = link.refresh(known, player)
        for user in [user for user in before if user not in game.players and user in self.players]:
            if before[user] == (self.players[user].user_name, self.players[user].last_active):
                del self.players[user]
        self.turn_number, self.pending_choices, self._started = game.turn, seen.pending, seen.started
        self._told = now


def banner(session: GameSession) -> str:
    """What a channel is shown when a game begins."""
    return f"{session.title_screen_url or DEFAULT_TITLE_SCREEN}\n{session.game_name}\nsession {session.game_id}"


# -- the module's functions --------------------------------------------------------------------------------------------

_sessions: dict[str, GameSession] = {}


def get_session(channel_id: str) -> GameSession | None:
    """The very object that was set for a channel."""
    return _sessions.get(str(channel_id))


def set_session(channel_id: str, session: GameSession) -> None:
    """Keep a channel's object."""
    _sessions[str(channel_id)] = session


def remove_session(channel_id: str) -> None:
    """Keep it no more; nothing for a channel without one."""
    _sessions.pop(str(channel_id), None)


async def persist_session(channel_id: str, session: GameSession, redis: Redis) -> None:
    """Commit what was set on an object; nothing without a store."""
    if redis is None:
        return
    session.channel_id = str(channel_id)
    if session.active or session.turn_number or session.players:
        await session._playing(redis)
    else:
        await session._synced(redis)


async def get_or_restore_session(channel_id: str, redis: Redis) -> GameSession | None:
    """The channel's object; else its game from the store, if that is active. Without a store: the object, or None."""
    known = get_session(channel_id)
    if known is not None or redis is None:
        return known
    store = await store_of(redis)
    shown = await store.games.get(str(channel_id))
    seen = None if shown is None else await link.read(store, shown.id)
    if seen is None or not link.is_active(seen.game):
        return None
    made = await GameSession._of(store, seen)
    set_session(channel_id, made)
    return made


async def list_all_games(redis: Redis) -> list[dict[str, Any]]:
    """Every game, by name; none without a store."""
    if redis is None:
        return []
    store = await store_of(redis)
    found: list[Game] = []
    after: str | None = None
    while True:
        page = await store.games.list(limit=200, after=after)
        found += page.items
        if page.next is None:
            break
        after = page.next
    return [
        {
            "game_id": await link.own_id(store, game),
            "game_name": game.name,
            "channel_id": game.channel_id or game.last_channel_id,
            "turn_number": game.turn,
            "active": link.is_active(game),
            "title_screen_url": game.title_screen_url,
        }
        for game in sorted(found, key=lambda game: (game.name, game.id))
    ]


async def load_by_game_id(game_id: str, redis: Redis) -> GameSession | None:
    """Exactly this game, whatever its state; None when there is none, and without a store."""
    if redis is None:
        return None
    store = await store_of(redis)
    seen = await link.read(store, game_id)
    return None if seen is None else await GameSession._of(store, seen)


# -- steps -------------------------------------------------------------------------------------------------------------


def _mint() -> str:
    return secrets.token_hex(6)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
