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
from dataclasses import asdict, dataclass, field, fields
from datetime import timedelta
from enum import Enum
from typing import Any, Final, TypeAlias
from weakref import WeakKeyDictionary

from sojourn.errors import ConflictError, InvalidValueError, NotFoundError
from sojourn.kinds.games.model import Game, GamePolicy, Turn
from sojourn.kinds.games.record import OWN_ID
from sojourn.store import AsyncStore, aopen

__all__ = [
    "DEFAULT_TITLE_SCREEN",
    "ActivityTier",
    "GameSession",
    "GameSessionLockRegistry",
    "PlayerState",
    "TurnRecord",
    "get_or_restore_session",
    "get_session",
    "list_all_games",
    "load_by_game_id",
    "persist_session",
    "remove_session",
    "set_session",
]

Redis: TypeAlias = Any
"""A store, a URL or a Redis client; None for none."""

DEFAULT_TITLE_SCREEN: Final = "[ press any choice to begin ]"
HOUSE: Final = "Stargazer"
STRANGER: Final = "Unknown"

_POLICY: Final = GamePolicy(countdown=timedelta(seconds=10), gm_name=HOUSE)
_ACTIVE: Final = 2, 15 * 60.0
_IDLE: Final = 5, 60 * 60.0
_SUMMARY: Final = 500
_TRIES: Final = 16


class ActivityTier(Enum):
    """How present a player is."""

    ACTIVE = "active"
    IDLE = "idle"
    DORMANT = "dormant"


@dataclass
class PlayerState:
    """A player; ``last_active`` is seconds since 1970."""

    user_id: str
    user_name: str
    joined_turn: int = 0
    last_active: float = field(default_factory=time.time)
    last_active_turn: int = 0
    consecutive_skips: int = 0

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> PlayerState:
        """From what `to_dict` gave; unknown keys are ignored."""
        return cls(**_known(cls, data))


@dataclass
class TurnRecord:
    """A turn that is over; ``timestamp`` is seconds since 1970."""

    turn: int
    choices: dict[str, str]
    narrative_summary: str = ""
    timestamp: float = field(default_factory=time.time)

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TurnRecord:
        """From what `to_dict` gave; unknown keys are ignored."""
        return cls(**_known(cls, data))


class GameSession:
    """One game of a channel. What is asked of it is committed; its attributes are what it was told last, and yours to set."""

    def __init__(self, channel_id: str, game_name: str = "", game_id: str | None = None) -> None:
        self.channel_id = str(channel_id)
        self.game_name = game_name
        self.game_id = game_id or _mint()
        self.active = False
        self.turn_number = 0
        self.title_screen_url = ""
        self.players: dict[str, PlayerState] = {}
        self.pending_choices: dict[str, str] = {}
        self.countdown_task: asyncio.Task[Any] | None = None
        self.crown_holder: str | None = None
        self._store: AsyncStore | None = None
        self._kept: set[str] = set()
        self._kept_crown: str | None = None
        self._harvested: int | None = None
        self._deadline: float | None = None

    # -- beginning and ending --------------------------------------------------------------------------------------

    async def boot(self, game_name: str, redis: Redis = None) -> str:
        """Begin a fresh game in the channel, and shelve what it showed; the banner to post. A used id is minted anew."""
        store = await self._at(redis)
        if await _find(store, self.game_id) is not None:
            self.game_id = _mint()
        game = await self._begun(store, game_name)
        self.players, self.pending_choices, self.crown_holder = {}, {}, None
        self._take(game)
        return banner(self)

    async def _begun(self, store: AsyncStore, name: str) -> Game:
        """The game, new in its channel; what the channel showed is on the shelf, as it was."""
        for _ in range(_TRIES):
            try:
                return await store.games.boot(
                    self.channel_id, name, game_id=self.game_id, title_screen_url=self.title_screen_url, policy=_POLICY
                )
            except ConflictError:
                shown = await store.games.get(self.channel_id)
                if shown is not None:
                    await store.games.shelve(self.channel_id)
                elif await _find(store, self.game_id) is not None:
                    self.game_id = _mint()
        raise ConflictError(f"others begin games in channel {self.channel_id!r} all the time.", hint="Try again.")

    async def exit_game(self, redis: Redis = None) -> str:
        """End the game, for good; what to post. Cancels ``countdown_task``."""
        if self.countdown_task is not None:
            self.countdown_task.cancel()
            self.countdown_task = None
        store = await self._synced(redis)
        game = await _find(store, self.game_id)
        if game is not None and game.state != "ended":
            if game.channel_id is None:
                game = await store.games.resume(self.game_id, self.channel_id)
            self._take(await store.games.exit(game.channel_id or self.channel_id))
        self.active = False
        return f"{self.game_name} has ended after {self.turn_number} turns with {len(self.players)} players."

    # -- turns -----------------------------------------------------------------------------------------------------

    async def submit_choice(self, user_id: str, user_name: str, choice: str) -> tuple[bool, float]:
        """Press a choice; whether it is the turn's first, and the seconds until the turn closes. Stored when it returns."""
        store = await self._playing()
        answer = await store.games.submit_choice(None, user_id, user_name, choice, game_id=self.game_id)
        await self._refresh(store)
        self.pending_choices[str(user_id)] = choice
        remaining = 0.0 if answer.remaining is None else answer.remaining.total_seconds()
        self._deadline = time.time() + remaining
        return answer.first, remaining

    async def wait_for_countdown(self) -> dict[str, str]:
        """The choices of the turn when it has closed, the same to whoever waits; {} when nobody pressed."""
        store = await self._playing()
        try:
            turn = await store.games.wait_for_countdown(None, game_id=self.game_id)
        except NotFoundError:
            return {}
        if turn.state == "resolved":
            return {}
        self._harvested = turn.number
        await self._refresh(store)
        self.pending_choices = {}
        return dict(turn.choices)

    async def record_turn(self, choices: Mapping[str, str], narrative_summary: str, redis: Redis = None) -> None:
        """Tell the turn that this object harvested; without one, a turn with these choices is stored and told."""
        store = await self._playing(redis)
        number = self._harvested
        if number is None:
            number = await self._stored(store, choices)
        await store.games.record_turn(None, number, narrative_summary, game_id=self.game_id)
        self._harvested = None
        await self._refresh(store)

    async def _stored(self, store: AsyncStore, choices: Mapping[str, str]) -> int:
        """A turn with these choices and no others."""
        game = await store.games.load(self.game_id)
        if game.window is None and not choices:
            await store.games.open_window(None, game_id=self.game_id)
        for user, choice in choices.items():
            name = self.players[user].user_name if user in self.players else user
            await store.games.submit_choice(None, user, name, choice, game_id=self.game_id)
        return (await store.games.close(None, game_id=self.game_id)).number

    async def get_turn_history(self, redis: Redis = None, count: int = 10) -> list[TurnRecord]:
        """The last turns, oldest first; none without a store."""
        if redis is None:
            return []
        store = await self._synced(redis)
        if await _find(store, self.game_id) is None or count < 1:
            return []
        turns = await store.games.history(None, count=min(count, 50), game_id=self.game_id)
        return [_record(turn) for turn in turns]

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
        made = cls(str(data.get("channel_id", "")), data.get("game_name", ""), data.get("game_id"))
        made.active = bool(data.get("active", False))
        made.turn_number = int(data.get("turn_number", 0))
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
            "countdown_started": str(0.0 if self._deadline is None else self._deadline - 10.0),
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
        made.pending_choices = {str(user): str(text) for user, text in json.loads(plain.get("pending_choices") or "{}").items()}
        return made

    @classmethod
    async def load_from_redis(cls, channel_id: str, redis: Redis) -> GameSession | None:
        """The channel's last game, an inactive one included; None when it never had one."""
        store = await _store_of(redis)
        game = await _last_of(store, str(channel_id))
        return None if game is None else await cls._of(store, game)

    @classmethod
    async def delete_from_redis(cls, channel_id: str, redis: Redis) -> None:
        """Remove the channel's last game for good, its lobby entry too."""
        store = await _store_of(redis)
        game = await _last_of(store, str(channel_id))
        if game is not None:
            await store.games.delete(game.id)

    # -- between this object and the store -------------------------------------------------------------------------

    @classmethod
    async def _of(cls, store: AsyncStore, game: Game) -> GameSession:
        made = cls(game.channel_id or game.last_channel_id, game.name, await _own_id(store, game))
        made._store = store
        made._take(game)
        return made

    async def _at(self, redis: Redis) -> AsyncStore:
        """The store that was named now or before; a private one in memory where none ever was."""
        if redis is not None:
            self._store = await _store_of(redis)
        elif self._store is None:
            self._store = await aopen("memory:")
        return self._store

    async def _synced(self, redis: Redis = None) -> AsyncStore:
        """The store, after what was set on this object was committed there."""
        store = await self._at(redis)
        if await _find(store, self.game_id) is None:
            return store
        for user in [user for user in self.players if user not in self._kept]:
            await store.games.join(None, user, self.players[user].user_name, game_id=self.game_id)
        for user in self._kept - self.players.keys():
            await store.games.leave(None, user, game_id=self.game_id)
        if self.crown_holder != self._kept_crown and (self.crown_holder is None or self.crown_holder in self.players):
            await store.games.set_crown(None, self.crown_holder, game_id=self.game_id)
        self._kept, self._kept_crown = set(self.players), self.crown_holder
        return store

    async def _playing(self, redis: Redis = None) -> AsyncStore:
        """The store, with this game in it."""
        store = await self._at(redis)
        if await _find(store, self.game_id) is None:
            await self._begun(store, self.game_name or "Untitled")
            self._kept, self._kept_crown = set(), None
        return await self._synced()

    async def _refresh(self, store: AsyncStore) -> None:
        self._take(await store.games.load(self.game_id))

    def _take(self, game: Game) -> None:
        """What the store says of the game."""
        self.game_name, self.turn_number = game.name, game.turn
        self.active = game.state in ("active", "paused")
        self.title_screen_url = game.title_screen_url
        self.crown_holder = game.crown_holder
        self.players = {user: _player(self.players.get(user), player) for user, player in game.players.items()}
        self._kept, self._kept_crown = set(self.players), game.crown_holder


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
    if session.active:
        await session._playing(redis)
    else:
        await session._synced(redis)


async def get_or_restore_session(channel_id: str, redis: Redis) -> GameSession | None:
    """The channel's object; else its game from the store, if that is active. Without a store: the object, or None."""
    known = get_session(channel_id)
    if known is not None or redis is None:
        return known
    store = await _store_of(redis)
    game = await store.games.get(str(channel_id))
    if game is None or game.state not in ("active", "paused"):
        return None
    made = await GameSession._of(store, game)
    set_session(channel_id, made)
    return made


async def list_all_games(redis: Redis) -> list[dict[str, Any]]:
    """Every game, by name."""
    store = await _store_of(redis)
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
            "game_id": await _own_id(store, game),
            "game_name": game.name,
            "channel_id": game.channel_id or game.last_channel_id,
            "turn_number": game.turn,
            "active": game.state in ("active", "paused"),
            "title_screen_url": game.title_screen_url,
        }
        for game in sorted(found, key=lambda game: game.name)
    ]


async def load_by_game_id(game_id: str, redis: Redis) -> GameSession | None:
    """Exactly this game, whatever its state; None when there is none."""
    store = await _store_of(redis)
    game = await _find(store, game_id)
    return None if game is None else await GameSession._of(store, game)


class GameSessionLockRegistry:
    """Locks of this process, one for each session."""

    def __init__(self) -> None:
        self._locks: dict[str, asyncio.Lock] = {}

    async def get_session_lock(self, session_id: str) -> asyncio.Lock:
        """The lock of a session: the same object each time."""
        return self._locks.setdefault(session_id, asyncio.Lock())

    async def cleanup_session(self, session_id: str) -> None:
        """Forget a session's lock, so that the next is a new one; never while it is held. An unknown session: nothing."""
        lock = self._locks.get(session_id)
        if lock is not None and not lock.locked():
            del self._locks[session_id]


# -- steps -------------------------------------------------------------------------------------------------------------

_stores: dict[str, AsyncStore] = {}
_clients: WeakKeyDictionary[Any, AsyncStore] = WeakKeyDictionary()


async def _store_of(redis: Redis) -> AsyncStore:
    """The store that is meant."""
    if isinstance(redis, AsyncStore):
        return redis
    if isinstance(redis, str):
        if redis not in _stores:
            _stores[redis] = await aopen(redis)
        return _stores[redis]
    pool = getattr(redis, "connection_pool", None)
    if pool is None:
        raise InvalidValueError(
            f"a store, a URL or a Redis client is needed, not {type(redis).__name__}.", hint="Pass await sojourn.aopen(url)."
        )
    if redis not in _clients:
        _clients[redis] = await aopen(_url_of(pool.connection_kwargs))
    return _clients[redis]


def _url_of(settings: Mapping[str, Any]) -> str:
    """The URL of a client's server."""
    from urllib.parse import quote

    name, password = settings.get("username") or "", settings.get("password") or ""
    user = f"{quote(name, safe='')}:{quote(password, safe='')}@" if password else ""
    return f"redis://{user}{settings.get('host', 'localhost')}:{settings.get('port', 6379)}/{settings.get('db') or 0}"


async def _find(store: AsyncStore, game_id: str) -> Game | None:
    try:
        return await store.games.load(game_id)
    except NotFoundError:
        return None


async def _last_of(store: AsyncStore, channel: str) -> Game | None:
    """What a channel shows, or else the last that it has shown."""
    shown = await store.games.get(channel)
    if shown is not None:
        return shown
    page = await store.games.list(channel_id=channel, order="activity", limit=1)
    return page.items[0] if page.items else None


async def _own_id(store: AsyncStore, game: Game) -> str:
    """The id a game has here: the caller's own one where it was given."""
    aliases = await store._unit.engine.aliases(store.tenant, target=game.id)
    return next((alias.key.key for alias in aliases if alias.key.namespace == OWN_ID), game.id)


def _player(before: PlayerState | None, player: Any) -> PlayerState:
    """A player as the store knows them, in the object that is known here."""
    kept = before or PlayerState(player.user_id, player.user_name)
    kept.user_name, kept.joined_turn = player.user_name, player.joined_turn
    kept.last_active, kept.last_active_turn = player.last_active_at.timestamp(), player.last_active_turn
    kept.consecutive_skips = player.consecutive_skips
    return kept


def _record(turn: Turn) -> TurnRecord:
    return TurnRecord(turn.number, dict(turn.choices), turn.narrative_summary[:_SUMMARY], turn.closed_at.timestamp())


def _mint() -> str:
    return secrets.token_hex(6)


def _known(cls: type[Any], data: Mapping[str, Any]) -> dict[str, Any]:
    names = {item.name for item in fields(cls)}
    return {key: value for key, value in data.items() if key in names}


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
