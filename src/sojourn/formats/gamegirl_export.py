"""Export to GameGirl Color's Redis keys: to a server, or as a dump in a file.

That program holds one game in a channel: the one that is shown, else the last that was. Of the others it keeps a line in its
index, as after a swap of its own.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from sojourn.compat.game_link import own_id, read, turn_record
from sojourn.compat.game_session import GameSession
from sojourn.errors import InvalidValueError, UnavailableError, UnsupportedError
from sojourn.formats.exported import ExportReport, new_file, whole_file
from sojourn.formats.gamegirl import FORMAT
from sojourn.formats.gamegirl_plan import INDEX, LIVE, STATES, TURNS
from sojourn.formats.gamegirl_source import PATTERNS, is_url, shown
from sojourn.formats.report import Note, Progress
from sojourn.kinds.games.model import Game
from sojourn.shell.bridge import run_sync

if TYPE_CHECKING:
    from sojourn.store import AsyncStore
    from sojourn.sync.store import Store

_TTL: Final = 4 * 60 * 60
"""Seconds that the program's hashes live."""
_SECONDS: Final = 10.0
_KEPT: Final = 50

Value: TypeAlias = "str | list[str] | dict[str, str]"


@dataclass(frozen=True, slots=True)
class _Key:
    name: str
    type: str
    ttl: int
    value: Value

    def document(self) -> dict[str, Any]:
        """As a dump has it."""
        return {"key": self.name, "type": self.type, "ttl": self.ttl, "value": self.value}


def export_gamegirl(store: Store, target: str | os.PathLike[str], *, progress: Progress | None = None) -> ExportReport:
    """Write every game to a Redis server (``redis://…``) or to a dump (a new JSON file); what was written.

    The store is only read. All keys are written in one transaction. ``progress`` is told games done, and games there are.
    `InvalidValueError`: there is a file already, or games of that program on the server; `UnavailableError`: no answer.
    """
    return run_sync(aexport_gamegirl(store._aio, target, progress=progress))


async def aexport_gamegirl(
    store: AsyncStore, target: str | os.PathLike[str], *, progress: Progress | None = None
) -> ExportReport:
    """`export_gamegirl` for asynchronous stores. The target is written on the event loop, after all was read."""
    file = None if is_url(target) else new_file(target)
    notes: list[Note] = []
    keys = await _keys(store, notes, progress)
    if file is None:
        _to_server(os.fspath(target), keys)
    else:
        _to_dump(file, keys)
    tables = {INDEX: 0, STATES: 0, TURNS: 0, LIVE: 0}
    for key in keys:
        tables[_table(key)] += len(key.value) if key.type == "list" or key.name == INDEX else 1
    return ExportReport(FORMAT, shown(target), tables, notes)


def _table(key: _Key) -> str:
    return INDEX if key.name == INDEX else {"string": STATES, "list": TURNS, "hash": LIVE}[key.type]


# -- what is written ---------------------------------------------------------------------------------------------------


async def _keys(store: AsyncStore, notes: list[Note], progress: Progress | None) -> list[_Key]:
    games = await _all(store)
    held: dict[str, str] = {}
    for game in games:  # the newest activity first
        held.setdefault(_channel(game), game.id)
    held.update({game.channel_id: game.id for game in games if game.channel_id is not None})
    keys: list[_Key] = []
    index: dict[str, str] = {}
    for number, game in enumerate(reversed(games), 1):
        own, channel = await own_id(store, game), _channel(game)
        if held[channel] == game.id:
            keys += await _whole(store, game, own)
        else:
            notes.append(Note(STATES, f"{own} {game.name}", "its channel holds another game there: only its line in the index"))
        row = {
            "game_name": game.name,
            "channel_id": channel,
            "turn_number": game.turn,
            "active": game.channel_id is not None,
            "title_screen_url": game.title_screen_url,
        }
        index[own] = json.dumps(row, ensure_ascii=False)
        if progress is not None:
            progress(number, len(games))
    return [*keys, _Key(INDEX, "hash", -1, index)] if index else keys


async def _whole(store: AsyncStore, game: Game, own: str) -> list[_Key]:
    """The keys of a channel: its game's document and turns, and while it is shown the hash."""
    seen = await read(store, game.id)
    if seen is None:  # removed since it was listed
        return []
    session = GameSession.from_seen(seen, own)
    channel = session.channel_id
    keys = [_Key(f"{STATES}:{channel}", "string", -1, json.dumps(session.to_dict(), ensure_ascii=False))]
    turns = await store.games.history(None, count=_KEPT, game_id=game.id)
    if turns:
        told = [json.dumps(turn_record(turn).to_dict(), ensure_ascii=False) for turn in turns]
        keys.append(_Key(f"{STATES}:{channel}:history", "list", -1, told))
    if session.active:
        live = {**session.to_redis(), "countdown_started": "0.0"}  # a clock of that program's process
        keys.append(_Key(f"{LIVE}:{channel}", "hash", _TTL, live))
    return keys


def _channel(game: Game) -> str:
    return game.channel_id or game.last_channel_id


async def _all(store: AsyncStore) -> list[Game]:
    """Every game, the newest activity first."""
    found: list[Game] = []
    after: str | None = None
    while True:
        page = await store.games.list(order="activity", limit=200, after=after)
        found += (game for game in page.items if not game.damaged)
        if page.next is None:
            return found
        after = page.next


# -- where it is written -----------------------------------------------------------------------------------------------


def _to_dump(file: Path, keys: list[_Key]) -> None:
    with whole_file(file) as partial:
        partial.write_text(json.dumps([key.document() for key in keys], ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _to_server(url: str, keys: list[_Key]) -> None:
    try:
        import redis
    except ImportError as error:
        raise UnsupportedError("to write to Redis its client is needed.", hint="pip install 'sojourn[redis]'") from error
    try:
        client = redis.Redis.from_url(url, socket_timeout=_SECONDS, socket_connect_timeout=_SECONDS)
    except ValueError as error:
        raise InvalidValueError(f"{shown(url)} is no URL of a Redis server: {error}.") from error
    try:
        with client:
            _write(client, url, keys)
    except redis.RedisError as error:
        raise UnavailableError(
            f"{shown(url)} cannot be written: {error}.", hint="Is the server up, and the password right?"
        ) from error


def _write(client: Any, url: str, keys: list[_Key]) -> None:
    for pattern in PATTERNS:
        if next(client.scan_iter(match=pattern, count=1000), None) is not None:
            raise InvalidValueError(
                f"{shown(url)} has games of that program already.", hint="Name another database of the server: redis://host/1"
            )
    with client.pipeline(transaction=True) as pipe:
        for key in keys:
            if isinstance(key.value, str):
                pipe.set(key.name, key.value)
            elif isinstance(key.value, list):
                pipe.rpush(key.name, *key.value)
            else:
                pipe.hset(key.name, mapping=key.value)
            if key.ttl > 0:
                pipe.expire(key.name, key.ttl)
        pipe.execute()
