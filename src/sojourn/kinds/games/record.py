"""A game as it is stored, and as it is shown: the document of its session, its entries, and the view that rules decide on.

The log has ``choice`` entries (label: the turn; author: the player; counted, so that the engine counts distinct players of a
phase), one ``turn`` entry for each closed turn (it covers the sequences of its choices), ``narration`` entries (label: the
turn) and ``cancelled`` ones. In turn entries players are numbers of the roster, so that erasing a person leaves nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sojourn.core.batch import Moved, Write
from sojourn.core.codec import Json, Schema, check_number, decode, encode
from sojourn.core.session import AliasKey, Entry, Session
from sojourn.core.times import DAY, MINUTE, maybe_datetime, to_datetime
from sojourn.errors import CorruptError, InvalidValueError, NotFoundError, SojournError
from sojourn.kinds.games.model import CloseReason, Game, GamePolicy, GameState, Player, Turn, Window
from sojourn.kinds.games.transitions import Place

KIND: Final = "game"
SCHEMA: Final = Schema(1)
BUCKET: Final = MINUTE
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

CHOICE: Final = "choice"
TURN: Final = "turn"
NARRATION: Final = "narration"
FULL: Final = "narration.full"
CANCELLED: Final = "cancelled"

SHOWN: Final = "game.shown"
OWN_ID: Final = "game.id"
CODE: Final = "game.code"
SLOT: Final = "game.slot"

RULES: Final = "rules"
"""The fence that moves with whatever a press must have seen: pause, shelf, who is expected, what is offered."""
RULES_COUNTER: Final = f"fence:{RULES}"
NEED: Final = "need"
"""Counter: with so many distinct authors the window is complete; 0 for never."""
OPENED: Final = "opened"
SHELF_TAG: Final = "ages"
"""Shown games that leave their channel when nobody plays them."""
STRIDE: Final = 64
"""Every so many turns the sequence of a turn is noted, so that any turn is found without a walk through the log."""
RETRY: Final = DAY
"""How long after a change of games a key is looked for in the one before."""


def shown_key(channel: str) -> AliasKey:
    """The alias that says which game a channel shows."""
    return AliasKey(channel, SHOWN, channel)


def own_key(game_id: str) -> AliasKey:
    """The alias of a caller's own id, in a home of its own."""
    return AliasKey(f"{OWN_ID}/{game_id}", OWN_ID, game_id)


def code_key(code: str) -> AliasKey:
    """The alias of a join code, in a home of its own."""
    return AliasKey(f"{CODE}/{code}", CODE, code)


def slot_key(home: str, game: str, slot: str) -> AliasKey:
    """The alias of a save slot of a game."""
    return AliasKey(home, SLOT, f"{game}/{slot}")


def tags_of(name: str, channel: str, state: GameState, policy: GamePolicy) -> tuple[str, ...]:
    """How the lobby, and the sweep, find a game."""
    ages = policy.shelve_after is not None and state in ("active", "paused")
    lobby = (f"name:{fold(name)}", f"channel:{channel}", f"state:{state}", f"in:{channel}/{state}")
    return (*lobby, SHELF_TAG) if ages else lobby


def fold(name: str) -> str:
    """A name as it is compared."""
    return " ".join(name.casefold().split())


def document(name: str, channel: str, title: str, policy: GamePolicy, seed: int, metadata: dict[str, Json]) -> dict[str, Json]:
    """A new game's document: shown in its channel, turn 0, nobody there."""
    return {
        "v": SCHEMA.version,
        "name": name,
        "status": "active",
        "channel": channel,
        "last_channel": channel,
        "title": title,
        "crown": None,
        "seed": seed,
        "turn": 0,
        "people": 0,
        "players": {},
        "past": {},
        "paused": False,
        "window": None,
        "told": {},
        "through": [],
        "marks": {},
        "stood": 0,
        "before": [],
        "still": None,
        "metadata": metadata,
        "policy": pack(policy),
    }


# -- policies ----------------------------------------------------------------------------------------------------------


def pack(policy: GamePolicy) -> dict[str, Json]:
    """A policy as JSON: what differs from the default."""
    plain = GamePolicy()
    kept = {}
    for field in fields(GamePolicy):
        value = getattr(policy, field.name)
        if value != getattr(plain, field.name):
            kept[field.name] = _packed(value)
    return kept


def _packed(value: Any) -> Json:
    if isinstance(value, timedelta):
        return {"us": value // timedelta(microseconds=1)}
    if isinstance(value, tuple):
        return [_packed(item) for item in value]
    return value


def _unpacked(value: Json) -> Any:
    if isinstance(value, dict):
        return timedelta(microseconds=value["us"])
    if isinstance(value, list):
        return tuple(_unpacked(item) for item in value)
    return value


_policies: dict[str, GamePolicy] = {}


def policy_of(data: dict[str, Json]) -> GamePolicy:
    """The policy that a game was booted with."""
    kept = data["policy"]
    text = encode(kept)
    known = _policies.get(text)
    if known is None:
        if len(_policies) > 256:
            _policies.clear()
        known = _policies[text] = GamePolicy(**{name: _unpacked(value) for name, value in kept.items()})
    return known


# -- the view ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class View:
    """What a rule is shown of a game: the session, the engine's time, and the open window's choices where they were read."""

    session: Session
    now: int
    policy: GamePolicy
    choices: tuple[Entry, ...] = ()

    @property
    def id(self) -> str:
        """The game's id."""
        return self.session.id

    @property
    def data(self) -> dict[str, Json]:
        """The document."""
        return self.session.data

    @property
    def closed(self) -> int:
        """Closed turns."""
        turn: int = self.session.data["turn"]
        return turn

    @property
    def window(self) -> dict[str, Json] | None:
        """The window, open or held, as it is stored."""
        window: dict[str, Json] | None = self.session.data["window"]
        return window

    @property
    def players(self) -> dict[str, dict[str, Json]]:
        """The roster, as it is stored."""
        players: dict[str, dict[str, Json]] = self.session.data["players"]
        return players

    @property
    def authors(self) -> int:
        """Distinct players who have chosen in this window."""
        return self.session.counters.get("authors", 0)

    @property
    def place(self) -> Place:
        """The state of the transition table."""
        return place_of(self.session)

    @property
    def overdue(self) -> bool:
        """The window's time has passed."""
        deadline = self.session.deadline
        return deadline is not None and max(self.now, self.session.mark) >= deadline and self.place == "open"

    @property
    def complete(self) -> CloseReason | None:
        """Why the window may close before its deadline, if it may."""
        need = self.session.counters.get(NEED, 0)
        if self.place != "open" or need <= 0 or self.authors < need:
            return None
        return "quorum" if self.policy.close_when == "quorum" else "all"


def view_of(session: Session, now: int, choices: tuple[Entry, ...] = ()) -> View:
    """A session as rules are shown it; `CorruptError` for one that cannot be understood."""
    try:
        data = SCHEMA.read(session.data)
        shown = session if data is session.data else replace(session, data=data)
        return View(shown, max(now, session.mark), policy_of(data), choices)
    except SojournError as error:
        raise _corrupt(session, error) from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _corrupt(session, error) from error


def _corrupt(session: Session, error: Exception) -> CorruptError:
    return CorruptError(f"the record of game {session.id} cannot be understood: {error!r}.", hint="See 'sojourn doctor'.")


def place_of(session: Session) -> Place:
    """Where a game is in the transition table."""
    data = session.data
    if session.state != "active" or data["status"] == "ended":
        return "ended"
    if data["status"] != "active":
        return "shelved"
    window = data["window"]
    if data["paused"]:
        return "paused" if window is None else "held"
    if window is None:
        return "between"
    return "held" if window["left"] is not None or window.get("hold") else "open"


def after(view: View, write: Write, moved: Moved, now: int) -> View:
    """The view that a commit guarded by the view's own version has made; saves reading it again."""
    data = view.data
    if write.set or write.unset or write.mark:
        data = dict(data)
        for path, value in (
            *((path, None) for path in write.unset),
            *write.set,
            *((path, moved.first) for path in write.mark),
        ):
            _patch(data, path, value, gone=path in write.unset and (path, value) not in write.set)
    changed = replace(
        view.session,
        version=moved.version,
        phase=moved.phase,
        state=moved.state,
        deadline=moved.deadline,
        counters=moved.counters,
        mark=max(now, view.session.mark),
        last_sequence=moved.last or view.session.last_sequence,
        data=data,
    )
    return View(changed, now, view.policy)


def _patch(data: dict[str, Json], path: tuple[str, ...], value: Json, *, gone: bool) -> None:
    for name in path[:-1]:
        inner = dict(data.get(name) or {})
        data[name] = inner
        data = inner
    if gone:
        data.pop(path[-1], None)
    else:
        data[path[-1]] = value


# -- showing -----------------------------------------------------------------------------------------------------------


def game_of(view: View) -> Game:
    """What callers see. With the open window's choices in the view, activity in it is included."""
    session, data = view.session, view.data
    return Game(
        id=session.id,
        name=data["name"],
        channel_id=None if view.place == "ended" else data["channel"],
        last_channel_id=data["last_channel"],
        state=state_of(session),
        turn=data["turn"],
        players=players_of(view),
        crown_holder=data["crown"],
        title_screen_url=data["title"],
        window=window_of(view),
        seed=data["seed"],
        metadata=data["metadata"],
        created_at=to_datetime(session.created_at),
        last_activity_at=to_datetime(session.active_at),
        version=session.version,
    )


def shown_or_damaged(session: Session, now: int) -> Game:
    """A game of a list: one whose record cannot be understood is listed as such, and hides nothing."""
    try:
        return game_of(view_of(session, now))
    except (SojournError, KeyError, TypeError, ValueError, AttributeError) as error:
        name = session.data.get("name")
        return Game(
            id=session.id,
            name=name if isinstance(name, str) else "",
            channel_id=None,
            last_channel_id=session.home,
            state="ended" if session.state != "active" else "lobby",
            turn=0,
            players={},
            crown_holder=None,
            title_screen_url="",
            window=None,
            seed=0,
            metadata={},
            created_at=to_datetime(session.created_at),
            last_activity_at=to_datetime(session.active_at),
            version=session.version,
            damaged=str(error) or repr(error),
        )


def state_of(session: Session) -> GameState:
    """The state as callers see it."""
    place = place_of(session)
    if place == "ended":
        return "ended"
    if place == "shelved":
        return "lobby"
    return "paused" if session.data["paused"] else "active"


def window_of(view: View) -> Window | None:
    """The open or paused window; None when there is none, or the game is over."""
    stored, session = view.window, view.session
    if stored is None or view.place == "ended":
        return None
    runs = view.place == "open"
    grace = span_of(view.policy.grace)
    deadline = session.deadline - grace if runs and session.deadline is not None else None
    left = max(0, deadline - view.now) if deadline is not None else stored["left"]
    return Window(
        turn=view.closed + 1,
        opened_at=to_datetime(session.counters.get(OPENED, session.created_at)),
        deadline=maybe_datetime(deadline),
        remaining=None if left is None or (runs and deadline is None) else timedelta(microseconds=left),
        choices_made=view.authors,
        expected=tuple(stored["expected"]),
        paused=not runs,
        options=None if stored["options"] is None else tuple(stored["options"]),
        default=stored["default"],
    )


def retagged(write: Write, view: View, channel: str, state: GameState) -> Write:
    """A write that also moves the tags, so that the lobby finds the game where it is."""
    name = view.data["name"]
    before = tags_of(name, view.data["last_channel"], state_of(view.session), view.policy)
    then = tags_of(name, channel, state, view.policy)
    gone = tuple(tag for tag in before if tag not in then)
    return replace(write, tag=tuple(tag for tag in then if tag not in before), untag=gone)


def span_of(duration: timedelta) -> int:
    """Microseconds."""
    return duration // timedelta(microseconds=1)


def players_of(view: View) -> dict[str, Player]:
    """The roster, in join order; skips and activity as the log has them."""
    latest = {entry.author: entry for entry in view.choices if entry.author is not None}
    found = {}
    for user, kept in sorted(view.players.items(), key=lambda item: item[1]["n"]):
        pressed = latest.get(user)
        turn, at = kept["turn"], kept["at"]
        skips = kept["skips"] + missed_since(view, user, kept["chose"])
        if pressed is not None:
            turn, at, skips = view.closed + 1, max(at, pressed.created_at), 0
        found[user] = Player(user, kept["name"], kept["joined"], to_datetime(at), turn, skips, kept["role"], kept["seat"])
    return found


def player_of(view: View, user: str) -> Player:
    """Somebody in the roster; `NotFoundError` when they have gone since."""
    found = players_of(view).get(user)
    if found is None:
        raise NotFoundError(f"{user!r} is not in game {view.id} any more.")
    return found


def missed_since(view: View, user: str, turn: int) -> int:
    """Narrated turns behind ``turn`` that a player was expected in and missed, as far as no close has folded them in."""
    number = view.players[user]["n"]
    told: dict[str, Json] = view.data["told"]
    return sum(int(name) > turn and number in missed for name, missed in told.items())


def turn_of(entry: Entry, choices: Iterable[Entry], people: dict[int, str], told: str | None, *, telling: bool) -> Turn:
    """A closed turn from its entry, its choices and its narration."""
    kept = decode(entry.data or "{}", "a turn")
    chosen = {choice.author: choice.text or "" for choice in choices if choice.author is not None}
    filled = {people[int(number)]: text for number, text in kept.get("filled", {}).items() if int(number) in people}
    return Turn(
        number=int(entry.label),
        choices={**chosen, **filled},
        narrative_summary=told or "",
        opened_at=to_datetime(kept["opened"]),
        closed_at=to_datetime(entry.created_at),
        closed_by=people.get(kept.get("by")),
        reason=kept["reason"],
        state="resolved" if told is not None else "narrating" if telling else "closed",
        deadline=maybe_datetime(kept["deadline"]),
        filled=tuple(filled),
    )


def people_of(data: dict[str, Json]) -> dict[int, str]:
    """Who has which number in the roster, those who left included."""
    left = {int(number): user for number, user in data["past"].items()}
    return left | {kept["n"]: user for user, kept in data["players"].items()}


def expected_in(entry: Entry) -> list[int]:
    """The numbers of who was expected in a closed turn."""
    found: list[int] = decode(entry.data or "{}", "a turn").get("expected", [])
    return found


def is_told(data: dict[str, Json], turn: int) -> bool:
    """Whether a turn is narrated."""
    return str(turn) in data["told"] or any(first <= turn <= last for first, last in data["through"])


def oldest_untold(data: dict[str, Json]) -> int | None:
    """The first closed turn without narration."""
    return next((turn for turn in _gaps(data) if not is_told(data, turn)), None)


def _gaps(data: dict[str, Json]) -> Iterable[int]:
    """Turns that no range of narrated ones has, oldest first."""
    turn = 1
    for first, last in data["through"]:
        yield from range(turn, first)
        turn = last + 1
    yield from range(turn, data["turn"] + 1)


def merged(ranges: list[list[int]], turns: Iterable[int]) -> list[list[int]]:
    """Ranges of narrated turns with these in them."""
    found: list[list[int]] = []
    for first, last in sorted([*ranges, *([turn, turn] for turn in turns)]):
        if found and first <= found[-1][1] + 1:
            found[-1] = [found[-1][0], max(found[-1][1], last)]
        else:
            found.append([first, last])
    return found


def is_hidden(data: dict[str, Json], sequence: int, turn: int) -> bool:
    """Whether a fork or a rewind has cut an entry of this turn off."""
    return any(sequence <= through and turn > kept for through, kept in data.get("cuts", []))


def is_counted(data: dict[str, Json], entry: str, sequence: int) -> bool:
    """Whether an entry counts its author in the open window (for a store that is loaded from an export)."""
    window = data.get("window")
    return entry == CHOICE and window is not None and sequence >= window["first"]


def check_document(data: dict[str, Json], counters: Mapping[str, int]) -> None:
    """A document that was exported: what every reading of it relies on; `InvalidValueError` names what is wrong."""
    session = Session("", "", KIND, "", None, "active", 1, 0, 0, 0, 0, None, None, 0, dict(counters), data)
    try:
        view = view_of(session, 0)
        game_of(view)
        for name in ("turn", "people", "stood", "seed"):
            check_number(data[name], name)
        is_told(view.data, view.closed)
        people_of(view.data)
    except (CorruptError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidValueError(f"not the document of a game: {error}") from error


def narration_lease(game: str) -> str:
    """The lease of who narrates."""
    return f"narration/{game}"


def public_data(data: Mapping[str, Json]) -> dict[str, Json]:
    """A game's document without what is kept of its join codes."""
    return {name: value for name, value in data.items() if name != "invites"}
