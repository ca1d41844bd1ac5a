"""Games as plain text for a chat."""

from __future__ import annotations

from sojourn.kinds.games.model import Game, Turn


def format_banner(game: Game) -> str:
    """A game as a chat announces it: its title screen, its name, and the id it is found by."""
    lines = [game.title_screen_url] if game.title_screen_url else []
    lines.append(game.name)
    state = {"lobby": "on the shelf", "active": f"turn {game.turn + 1}", "paused": "paused", "ended": "ended"}[game.state]
    lines.append(f"{state} · {len(game.players)} players · {game.id}")
    return "\n".join(lines)


def format_choices(turn: Turn, game: Game | None = None) -> str:
    """Who chose what, one line each, by name where ``game`` has them; line breaks in a choice become blanks."""
    if not turn.choices:
        return "Nobody chose."
    lines = []
    for user, choice in turn.choices.items():
        player = None if game is None else game.players.get(user)
        name = user if player is None else player.user_name
        mark = " (by default)" if user in turn.filled else ""
        lines.append(f"{name}: {' '.join(choice.split())}{mark}")
    return "\n".join(lines)
