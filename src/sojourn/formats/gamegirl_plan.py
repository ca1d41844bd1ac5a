"""Which games the keys of GameGirl Color hold: put together per channel, without a store.

A channel has a JSON document, a hash that is newer where there is one, and a list of turns. The list goes on when the channel
gets another game, so it is cut where turn numbers start again, and each piece is given to the game it belongs to.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from sojourn.core.codec import Json
from sojourn.formats.gamegirl_source import Content, Key
from sojourn.formats.report import Tally
from sojourn.formats.source import Value
from sojourn.formats.values import Reading, moment_of

INDEX: Final = "game:index"
STATES: Final = "game:session"
TURNS: Final = "game:session:history"
LIVE: Final = "sg:game_session"
OTHER: Final = "other keys"
TABLES: Final = (INDEX, STATES, TURNS, LIVE, OTHER)

_STATE: Final = "game:session:"
_HISTORY: Final = ":history"
_HASH: Final = "sg:game_session:"
_LONGEST: Final = 128
_LONE: Final = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody in the roster; times in microseconds, None where the source has none."""

    user: str
    name: str
    joined: int
    at: int | None
    turn: int
    skips: int


@dataclass(frozen=True, slots=True)
class Played:
    """A turn of the list."""

    number: int
    choices: dict[str, str]
    told: str
    at: int | None
    row: str


@dataclass(slots=True)
class Found:
    """A game that is to be imported."""

    own: str
    """Its id in the source; empty where that is not known."""
    name: str
    channel: str
    shown: bool
    ended: bool = False
    turn: int = 0
    title: str = ""
    crown: str | None = None
    people: list[Person] = field(default_factory=list)
    played: list[Played] = field(default_factory=list)
    pending: dict[str, str] = field(default_factory=dict)
    raw: dict[str, Json] = field(default_factory=dict)
    rows: list[tuple[str, str]] = field(default_factory=list)
    """Table and name of each row that is in it."""
    notes: list[tuple[str, str, str]] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    """On the row that it was found by."""

    @property
    def source(self) -> str:
        """What tells it from every other game of the source, now and in a later import."""
        if self.own or not self.played:
            return f"{self.channel}/{self.own}"
        last = self.played[-1]  # the list loses its oldest turns
        return f"{self.channel}/turns to {last.number} {last.at} {last.choices}"

    @property
    def times(self) -> list[int]:
        """Every moment that the source knows of it."""
        people = [person.at for person in self.people if person.at is not None]
        return sorted([*people, *(turn.at for turn in self.played if turn.at is not None)])

    def note(self, text: str) -> None:
        """Say something about the row that it was found by."""
        self.remarks.append(text)

    def all_notes(self) -> list[tuple[str, str, str]]:
        """What is to be said of its rows."""
        table, row = self.rows[0] if self.rows else (TURNS, f"of channel {self.channel}")
        return [*((table, row, remark) for remark in self.remarks), *self.notes]


@dataclass(slots=True)
class _Channel:
    """What the keys say of one channel."""

    state: Found | None = None
    live: Found | None = None
    turns: list[Played] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Listed:
    """A row of the index."""

    own: str
    name: str
    channel: str
    turn: int
    title: str
    active: bool


def counts(keys: list[Key]) -> dict[str, int]:
    """How many rows each table has."""
    found: dict[str, int] = dict.fromkeys(TABLES, 0)
    for key in keys:
        table = _table(key)
        found[table] += len(key.content) if table in (INDEX, TURNS) and isinstance(key.content, (dict, list)) else 1
    return found


def _table(key: Key) -> str:
    if key.name == INDEX and key.type == "hash":
        return INDEX
    if key.name.startswith(_STATE) and key.name.endswith(_HISTORY):
        return TURNS if key.type == "list" else OTHER
    if key.name.startswith(_STATE) and key.type == "string":
        return STATES
    return LIVE if key.name.startswith(_HASH) and key.type == "hash" else OTHER


def plan(keys: list[Key], tally: Tally) -> list[Found]:
    """The games, and what of the keys is none, which is told to ``tally``."""
    channels: dict[str, _Channel] = {}
    listed: list[_Listed] = []
    for key in keys:
        table, content = _table(key), key.content
        if table == INDEX and isinstance(content, dict):
            listed = list(_index(content, tally))
        elif table == TURNS and isinstance(content, list):
            channel = key.name[len(_STATE) : -len(_HISTORY)]
            channels.setdefault(channel, _Channel()).turns = list(_turns(channel, content, tally))
        elif table == STATES:
            channel = key.name[len(_STATE) :]
            channels.setdefault(channel, _Channel()).state = _state(channel, key, tally)
        elif table == LIVE and isinstance(content, dict):
            channel = key.name[len(_HASH) :]
            channels.setdefault(channel, _Channel()).live = _live(channel, content)
        else:
            tally.skip(OTHER, key.name, f"not a key of GameGirl Color, or not of its type ({key.type})")
    for row in listed:
        channels.setdefault(row.channel, _Channel())
    return [game for name, channel in sorted(channels.items()) for game in _games(name, channel, listed, tally)]


# -- rows --------------------------------------------------------------------------------------------------------------


def _index(content: dict[str, Value], tally: Tally) -> Iterator[_Listed]:
    for own, value in content.items():
        reading = Reading()
        row = _object(reading, value)
        if row is None or not isinstance(row.get("channel_id"), (str, int)):
            tally.skip(INDEX, own, "malformed: it does not say which channel")
            continue
        yield _Listed(
            own,
            _line(reading, "game_name", row.get("game_name")),
            str(row["channel_id"]),
            _count(row.get("turn_number")),
            _url(row.get("title_screen_url")),
            _truth(row.get("active")),
        )


def _turns(channel: str, content: list[Value], tally: Tally) -> Iterator[Played]:
    for place, value in enumerate(content, 1):
        name = f"{channel}, entry {place}"
        reading = Reading()
        row = _object(reading, value) or {}
        number = row.get("turn")
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            tally.skip(TURNS, name, "malformed: no JSON object with a turn's number")
            continue
        choices = _choices(reading, "choices", row.get("choices"))
        at, _ = moment_of(row.get("timestamp"))
        told = reading.text("narrative_summary", row.get("narrative_summary"))
        for remark in reading.remarks:
            tally.note(TURNS, name, remark)
        yield Played(number, choices, told, at, name)


def _state(channel: str, key: Key, tally: Tally) -> Found | None:
    reading = Reading()
    row = _object(reading, key.content)
    if row is None:
        tally.skip(STATES, key.name, "malformed: no JSON object")
        return None
    return _found(channel, reading, row, (STATES, key.name))


def _live(channel: str, content: dict[str, Value]) -> Found:
    reading = Reading()
    row: dict[str, Any] = dict(content)
    for name in ("players", "pending_choices"):
        given = content.get(name)
        row[name] = _object(reading, given or "{}")
        if row[name] is None:
            reading.remarks.append(f"{name} was no JSON object: kept as raw text in metadata")
            reading.raw[name] = reading.text(name, given)
    found = _found(channel, reading, row, (LIVE, f"{_HASH}{channel}"))
    found.pending = _choices(reading, "pending_choices", row["pending_choices"])
    return found


def _object(reading: Reading, value: Content) -> dict[str, Any] | None:
    """The JSON object of a text, with what no engine stores replaced; None where it is none."""
    if not isinstance(value, (str, bytes)):
        return None
    try:
        found = json.loads(value)
        text = json.dumps(found, ensure_ascii=False)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    if "\\u0000" in text or _LONE.search(text):
        reading.remarks.append("it held NUL, or half of a surrogate pair: replaced by U+FFFD")
        cleaned: dict[str, Any] = _clean(found)
        return cleaned
    return found


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return _LONE.sub("\ufffd", value.replace("\0", "\ufffd"))
    if isinstance(value, list):
        return [_clean(item) for item in value]
    return {_clean(name): _clean(item) for name, item in value.items()} if isinstance(value, dict) else value


def _found(channel: str, reading: Reading, row: dict[str, Any], place: tuple[str, str]) -> Found:
    """A game of a document or of a hash."""
    own = reading.key("game_id", row.get("game_id"))
    people = list(_people(reading, row.get("players")))
    crown = reading.text("crown_holder", row.get("crown_holder")) or None
    if crown is not None and crown not in {person.user for person in people}:
        reading.remarks.append(f"the crown was on {crown}, who is not in the game: on nobody")
        crown = None
    active = _truth(row.get("active"))
    return Found(
        own,
        _line(reading, "game_name", row.get("game_name")),
        channel,
        active,
        ended=not active,
        turn=_count(row.get("turn_number")),
        title=_url(row.get("title_screen_url")),
        crown=crown,
        people=people,
        raw=reading.raw,
        rows=[place],
        remarks=reading.remarks,
    )


def _people(reading: Reading, given: Any) -> Iterator[Person]:
    if not isinstance(given, dict):
        if given is not None:
            reading.remarks.append("players was no JSON object: nobody is in the game")
        return
    for key, row in given.items():
        user = reading.key("a player's id", key)
        if not user or not isinstance(row, dict):
            reading.remarks.append(f"player {key!r} was malformed: left out, kept in metadata")
            reading.raw.setdefault("players", {})[key] = row
            continue
        at, _ = moment_of(row.get("last_active"))
        name = " ".join(reading.text("user_name", row.get("user_name")).split())[:_LONGEST]
        counted = (_count(row.get(name)) for name in ("joined_turn", "last_active_turn", "consecutive_skips"))
        joined, turn, skips = counted
        yield Person(user, name or user, joined, at, turn, skips)


def _choices(reading: Reading, name: str, given: Any) -> dict[str, str]:
    if not isinstance(given, dict):
        if given is not None:
            reading.remarks.append(f"{name} was no JSON object: taken as none")
        return {}
    found = {
        reading.key(f"a player's id in {name}", user): reading.text(f"a choice in {name}", text) for user, text in given.items()
    }
    return {user: text for user, text in found.items() if user}


def _line(reading: Reading, name: str, value: Value) -> str:
    text = " ".join(reading.text(name, value).split())
    if len(text) > _LONGEST:
        reading.remarks.append(f"{name} was longer than {_LONGEST} characters: cut, kept in metadata")
        reading.raw.setdefault(name, text)
    return text[:_LONGEST].strip() or "Untitled game"


def _url(value: Any) -> str:
    return value if isinstance(value, str) and "\0" not in value and len(value.encode(errors="replace")) <= 2048 else ""


def _count(value: Any) -> int:
    """A number of turns; 0 for what is none."""
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        return 0
    return number if 0 <= number < 1 << 31 else 0


def _truth(value: Any) -> bool:
    return value in (True, 1, "1", "true", "True")


# -- channels ----------------------------------------------------------------------------------------------------------


def _games(name: str, channel: _Channel, listed: list[_Listed], tally: Tally) -> list[Found]:
    """The games of one channel: the one it shows, those it has shown before."""
    current, former = _current(channel)
    found = [game for game in (current, former) if game is not None]
    known = {game.own: game for game in found}
    lost: list[_Listed] = []
    for row in listed:
        if row.channel == name and row.own in known:
            known[row.own].rows.append((INDEX, row.own))
        elif row.channel == name:
            lost.append(row)
    found += _given(name, _pieces(channel.turns), current, former, lost)
    for row in lost:
        holds = "holds no game" if current is None else f"holds game {current.own or current.name} now"
        tally.skip(INDEX, row.own, f"its state is lost in the source: its channel {holds}, and no turns of it are left")
    return found


def _current(channel: _Channel) -> tuple[Found | None, Found | None]:
    """The game that a channel holds, the hash being newer than the document; and the document's, where that is another."""
    state, live = channel.state, channel.live
    if state is None or live is None:
        return live or state, None
    if live.own != state.own:
        state.shown, state.ended = False, False
        state.note(f"the channel's live state is of another game ({live.own}): imported as shelved")
        return live, state
    live.rows += state.rows
    live.notes += state.all_notes()
    live.raw = {**state.raw, **live.raw}
    live.title = live.title or state.title
    if not live.people and state.people and "players" in live.raw:  # what the hash has is malformed
        live.people = state.people
    return live, None


def _pieces(turns: list[Played]) -> list[list[Played]]:
    """The list, cut where turn numbers start again."""
    found: list[list[Played]] = []
    for turn in turns:
        if found and turn.number > found[-1][-1].number:
            found[-1].append(turn)
        else:
            found.append([turn])
    return found


def _given(
    name: str, pieces: list[list[Played]], current: Found | None, former: Found | None, lost: list[_Listed]
) -> list[Found]:
    """Give each piece to its game; the games that only turns are left of, whose rows are taken out of ``lost``."""
    made = []
    while pieces:
        piece = pieces.pop()
        last = piece[-1].number
        row = next((row for row in lost if row.turn == last), None)
        owner = next((game for game in (current, former) if _fits(game, last, row)), None)
        if owner is not None:
            owner.played = piece
            if owner.turn < last:
                owner.note(f"its turn number was {owner.turn}, behind its history: {last}")
                owner.turn = last
        else:
            if row is None and len(lost) == 1 and not pieces:
                row = lost[0]
            made.append(_recovered(name, piece, row))
            if row is not None:
                lost.remove(row)
    if former is not None and not former.played and former.turn:
        former.note("no turns of it are left")
    return made


def _fits(game: Found | None, last: int, row: _Listed | None) -> bool:
    """Whether a piece that ends with this turn is the game's: it has none yet, and got so far."""
    if game is None or game.played:
        return False
    if game.turn == last:
        return True
    return row is None and game.turn > 0


def _recovered(channel: str, piece: list[Played], row: _Listed | None) -> Found:
    """A game of which the source has only turns: who chose is in it, on the shelf."""
    own = "" if row is None else row.own
    title = f"Recovered from channel {channel}"[:_LONGEST] if row is None else row.name
    users = dict.fromkeys(user for turn in piece for user in turn.choices)
    people = []
    for user in users:
        mine = [turn for turn in piece if user in turn.choices]
        at = [turn.at for turn in mine if turn.at is not None]
        people.append(Person(user, user, mine[0].number - 1, max(at, default=None), mine[-1].number, 0))
    found = Found(own, title, channel, shown=False, turn=piece[-1].number, people=people, played=piece)
    if row is not None:
        found.title = row.title
        found.rows.append((INDEX, own))
        text = "its state is lost in the source, another game has its channel: recovered from the channel's turns, as shelved"
    else:
        text = "turns of a game that the source has lost: recovered as a game of their own"
    found.note(text)
    return found
