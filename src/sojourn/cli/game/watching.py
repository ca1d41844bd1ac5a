"""``game watch``: what happens in a channel, as it happens."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Final

from sojourn.cli.call import Call
from sojourn.cli.exits import UsageError
from sojourn.cli.game.shown import document, told_lines, turn_head, window_line
from sojourn.cli.text import one_line
from sojourn.errors import NotFoundError
from sojourn.kinds.games.model import Game, Turn
from sojourn.shell.feed import Event
from sojourn.sync.store import Store

_LOOK: Final = timedelta(milliseconds=500)
_BEHIND: Final = 200
"""So many turns back the turn of an event is looked for."""

_SAID: Final = {
    "booted": "begun",
    "shown": "shown here again",
    "shelved": "put on the shelf",
    "ended": "ended",
    "opened": "a window is open",
    "offered": "what may be chosen has changed",
    "claimed": "somebody is narrating",
    "crowned": "the crown has moved",
    "gap": "events before this are no longer kept",
}


def watch(call: Call) -> None:
    """``game watch``."""
    given = call.arguments
    if given.follow and call.output.mode == "json":
        raise UsageError("--json is one document, and watch has no end.", hint="Use --jsonl, or --no-follow.")
    store = call.store()
    _Watch(call, store, given.channel).run()


class _Watch:
    """One watch at work."""

    def __init__(self, call: Call, store: Store, channel: str) -> None:
        self._call = call
        self._store = store
        self._channel = channel
        self._cursor: str | None = call.arguments.after
        self._untold: dict[str, list[int]] = {}
        """Of each game that was seen: its closed turns whose narration was not shown, oldest first."""
        self._people: dict[str, set[str]] = {}
        self._documents: list[Any] = []

    def run(self) -> None:
        """Say where the game stands, then what happens."""
        output, follow = self._call.output, self._call.arguments.follow
        tip = self._store.tip()
        game = self._store.games.get(self._channel)
        if game is not None:
            self._know(game)
        if output.human:
            output.note(self._stands(game))
        if self._cursor is None:
            self._cursor = tip
        for event in self._events(follow):
            self._cursor = event.cursor
            self._show(event)
            output.flush()
        if output.mode == "json":
            output.answer(self._documents, [], "")

    def _events(self, follow: bool) -> Iterator[Event]:
        while True:
            wait = _LOOK if follow else timedelta(0)
            yield from self._store.games.watch(self._channel, after=self._cursor, timeout=wait)
            if not follow:
                return

    def _stands(self, game: Game | None) -> str:
        end = "; Ctrl-C ends it." if self._call.arguments.follow else "."
        if game is None:
            return f"Channel {self._channel} shows no game yet{end}"
        window = "no window is open" if game.window is None else window_line(game.window)
        return f"Game {one_line(game.name)}, {window}{end}"

    def _know(self, game: Game) -> None:
        """What was there before the first event; behind a cursor that was given, nobody knows what was."""
        self._people[game.id] = set(game.players)
        if self._cursor is None:
            turns = self._store.games.history(None, count=_BEHIND, game_id=game.id)
            self._untold[game.id] = [turn.number for turn in turns if turn.state != "resolved"]

    def _show(self, event: Event) -> None:
        game = self._game(event)
        turn = None if game is None else self._turn(event, game)
        found: dict[str, Any] = {
            "cursor": event.cursor,
            "id": event.id,
            "change": event.change,
            "reason": event.reason,
            "at": event.at.isoformat(),
            "turn": document(turn),
        }
        output = self._call.output
        if output.mode == "json":
            self._documents.append(found)
        elif output.mode == "jsonl":
            output.item(found)
        elif output.mode == "quiet":
            output.line(event.id)
        else:
            output.write(output.paint(f"{event.at:%H:%M:%S} ", "dim") + one_line(self._sentence(event, game)) + "\n")
            if turn is not None and event.change == "closed":
                turn_head(output, turn, game)
            elif turn is not None:
                told_lines(output, turn)
        if game is not None:
            self._people[game.id] = set(game.players)

    def _game(self, event: Event) -> Game | None:
        try:
            return self._store.games.load(event.id) if event.id else None
        except NotFoundError:  # deleted since
            return None

    def _turn(self, event: Event, game: Game) -> Turn | None:
        """The turn that an event has closed, or has narrated."""
        if event.change not in ("closed", "narrated"):
            return None
        turns = self._store.games.history(None, count=_BEHIND, game_id=game.id)
        untold = self._untold.setdefault(game.id, [])
        if event.change == "closed":
            found = next((turn for turn in turns if turn.closed_at == event.at), None)
            untold += [] if found is None else [found.number]
            return found
        if untold:
            number = untold.pop(0)
            return next((turn for turn in turns if turn.number == number), None)
        return next((turn for turn in reversed(turns) if turn.state == "resolved"), None)

    def _sentence(self, event: Event, game: Game | None) -> str:
        words = _SAID.get(event.change, event.change)
        name = "" if game is None else game.name
        if event.change in ("booted", "shown", "shelved", "ended", "exited"):
            return f"game {name}: {words}"
        if game is None:
            return words
        known = self._people.get(game.id, set())
        come = [player.user_name for user, player in game.players.items() if user not in known]
        if event.change in ("joined", "chose") and come:
            words = f"{', '.join(come)} joined" + (", and somebody chose" if event.change == "chose" else "")
        if event.change in ("chose", "opened", "paused", "unpaused", "extended") and game.window is not None:
            words += f": {window_line(game.window)}"
        if event.change == "closed":
            words = "the window is closed"
        return words
