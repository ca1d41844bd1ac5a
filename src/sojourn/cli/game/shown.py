"""How games and turns look to a person, and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sojourn.cli.call import Call
from sojourn.cli.exits import UsageError
from sojourn.cli.output import Output
from sojourn.cli.text import ago, many, moment, one_line, visible
from sojourn.core.ids import tail
from sojourn.errors import NotFoundError
from sojourn.kinds.games.model import Game, Turn, Window
from sojourn.sync.store import Store

KIND: Final = "game"
_REASONS: Final = {"deadline": "its time was over", "all": "all had chosen", "quorum": "enough had chosen", "gm": "by hand"}


def document(value: Any) -> Any:
    """A game, a turn or a part of one as JSON: times in ISO 8601, durations in seconds."""
    if is_dataclass(value):
        return {field.name: document(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Mapping):
        return {name: document(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [document(item) for item in value]
    return value


# -- which game --------------------------------------------------------------------------------------------------------


def where(call: Call, store: Store) -> tuple[str | None, str | None]:
    """The channel and the game's id that were given: one of them."""
    channel, given = call.arguments.channel, call.arguments.game
    if (channel is None) == (given is None):
        raise UsageError("the game is named either by CHANNEL or by --game ID.", hint="See: sojourn game --help")
    return channel, None if given is None else identify(call, store, given)


def identify(call: Call, store: Store, given: str) -> str:
    """The whole id of a game that was named by it, by its end, or by an id of the user's own."""
    try:
        return store.games.load(given).id
    except NotFoundError:
        pass
    try:
        return store.games.load(call.find(store, given, KIND)).id
    except (NotFoundError, UsageError) as error:
        raise NotFoundError(
            f"there is no game {given!r}: not by its id, by the end of it, or by an id of your own.",
            hint=f"See: {call.command('game list')}",
        ) from error


def existing(call: Call, store: Store) -> Game:
    """The game that was named; `NotFoundError` where there is none."""
    channel, game_id = where(call, store)
    if game_id is not None:
        return store.games.load(game_id)
    return shown_in(call, store, channel or "")


def shown_in(call: Call, store: Store, channel: str) -> Game:
    """The game that a channel shows; `NotFoundError` where it shows none."""
    found = store.games.get(channel)
    if found is None:
        raise NotFoundError(
            f"the channel {channel!r} shows no game.",
            hint=f"To begin one: {call.command(f'game boot {channel} NAME')}. All saved ones: {call.command('game list')}",
        )
    return found


# -- for people --------------------------------------------------------------------------------------------------------


def state_of(game: Game) -> str:
    """Where a game stands, in a word or two."""
    if game.damaged:
        return "damaged"
    return {"lobby": "on the shelf"}.get(game.state, game.state)


def heading(call: Call, game: Game) -> None:
    """The game and where it stands."""
    output, now = call.output, call.now
    output.write(output.paint(f"Game {game.name}", "bold") + "\n")
    crown = game.players.get(game.crown_holder or "")
    facts = {
        "id": game.id,
        "channel": game.channel_id or f"none (last {game.last_channel_id})",
        "state": state_of(game),
        "turns": f"{game.turn:,} closed",
        "window": "" if game.window is None else window_line(game.window),
        "options": "" if game.window is None or game.window.options is None else ", ".join(game.window.options),
        "crown": "" if crown is None else crown.user_name,
        "title screen": game.title_screen_url,
        "begun": moment(game.created_at),
        "last played": ago(game.last_activity_at, now),
        "damage": game.damaged,
    }
    for label, text in facts.items():
        if text:
            output.write(output.paint(f"{label + ':':<15}", "dim") + one_line(text) + "\n")


def window_line(window: Window) -> str:
    """The open turn in a line."""
    made = f"turn {window.turn}, {window.choices_made} of {max(len(window.expected), window.choices_made)} have chosen"
    if window.remaining is None:
        return f"{made}, no countdown"
    left = f"{max(0.0, window.remaining.total_seconds()):.0f} s"
    return f"{made}, stands still with {left} left" if window.paused else f"{made}, {left} left"


def turn_lines(output: Output, turn: Turn, game: Game | None) -> None:
    """A turn: when and why it was closed, the choices, what was told."""
    turn_head(output, turn, game)
    told_lines(output, turn)


def turn_head(output: Output, turn: Turn, game: Game | None) -> None:
    """When and why a turn was closed, and who chose what."""
    names = {} if game is None else {user: player.user_name for user, player in game.players.items()}
    by = "" if turn.closed_by is None else f" ({one_line(names.get(turn.closed_by, turn.closed_by))})"
    head = f"closed {moment(turn.closed_at)}, {_REASONS[turn.reason]}{by}"
    output.write(output.paint(f"Turn {turn.number} ", "bold") + output.paint(head, "dim") + "\n")
    for user, choice in turn.choices.items():
        mark = " (by default)" if user in turn.filled else ""
        output.write(f"  {output.paint(one_line(names.get(user, user)), 'cyan')}: {one_line(choice)}{mark}\n")
    if not turn.choices:
        output.write("  Nobody chose.\n")


def told_lines(output: Output, turn: Turn) -> None:
    """What was told of a turn."""
    state = {"closed": "(not narrated yet)", "narrating": "(somebody is narrating it)"}.get(turn.state)
    for line in visible(turn.narrative_summary).splitlines() if state is None else [state]:
        output.write(f"  {line}\n" if line else "\n")


def named(game: Game) -> str:
    """A game in a question or an answer."""
    return f"game {game.name} ({tail(game.id)}, {many(game.turn, 'turn')}, {many(len(game.players), 'player')})"
