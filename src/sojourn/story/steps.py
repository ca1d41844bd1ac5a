"""What a game that is played with a narrator needs next. Pure: decided from what is stored, so that anybody may do it."""

from __future__ import annotations

from typing import Literal, TypeAlias

from sojourn.kinds.games.model import Game, Turn
from sojourn.story.scenes import Moment

Need: TypeAlias = Literal["choices", "narration", "window", "players", "nothing"]
"""``choices``: a window is open. ``narration``: a closed turn is to be told. ``window``: the next one is to be opened.
``players``: nobody chose in the last turn, so the game waits until somebody shows up. ``nothing``: it is paused or over."""


def needed(game: Game, last: Turn | None) -> Need:
    """What to do, from the game and its last closed turn.

    A process that dies between two of these steps leaves a game that needs the next one, and another does it.
    """
    if game.state != "active":
        return "nothing"
    if last is not None and last.state != "resolved":
        return "narration"
    if game.window is not None:
        return "choices"
    if last is not None and not last.choices:
        return "players"
    return "window"


def moment_of(game: Game, turn: Turn | None, before: str) -> Moment:
    """What the narrator is asked: this closed turn (None: the beginning), and what was told before it."""
    if turn is None:
        return Moment(0, {}, "", game.seed)
    choices: dict[str, str] = {}
    for user, choice in turn.choices.items():
        player = game.players.get(user)
        name = user if player is None else player.user_name
        choices[name if name not in choices else f"{name} ({user})"] = choice
    return Moment(turn.number, choices, before, game.seed)
