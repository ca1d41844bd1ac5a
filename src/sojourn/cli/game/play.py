"""``game play``: a story in a terminal, with others in theirs.

Nothing is kept here: what a turn needs next is read from the store (`sojourn.story.needed`), and whichever terminal comes
first does it. So a terminal may be killed at any moment, and the others play on.
"""

from __future__ import annotations

import getpass
import os
import socket
import textwrap
import time
import uuid
from datetime import timedelta
from importlib import import_module
from typing import Final

from sojourn.cli.call import Call
from sojourn.cli.exits import NarratorFault, UsageError
from sojourn.cli.game.keys import Keys, keys_of
from sojourn.cli.output import Output
from sojourn.cli.text import columns_wide, one_line, visible
from sojourn.errors import ConflictError, LeaseHeldError, LeaseLostError, NotFoundError
from sojourn.kinds.games.model import Game, GamePolicy, Turn
from sojourn.story import GREY_POINT, Moment, Narrator, Need, Told, moment_of, needed
from sojourn.sync.store import Store

_COUNTDOWN: Final = timedelta(seconds=30)
_TICK: Final = 0.1
"""Seconds between two looks at the keys and at the store's counter of events."""
_LOOK: Final = 1.0
"""Seconds after which the game is looked at though nothing has happened."""
_WIDTH: Final = 88

_REFUSED: Final = {
    "late": "Too late: the turn was closed.",
    "locked": "You have chosen already, and the first choice counts.",
    "paused": "The game stands still.",
    "not_seated": "You have no seat in this game.",
    "invalid": "That can no longer be chosen.",
    "rate_limited": "Not so fast.",
}


def play(call: Call) -> None:
    """``game play``."""
    given = call.arguments
    narrator, title = _narrator(given.narrator)
    user = given.user or getpass.getuser()
    if call.dry_run:
        call.output.would(f"play in channel {given.channel} as {user}")
        return
    if not call.output.human:
        raise UsageError("play is for people.", hint="For programs: sojourn game choose, and sojourn game watch --jsonl")
    store = call.store(create=True)
    policy = story_policy(_COUNTDOWN if given.countdown is None else given.countdown)
    table = Table(store, given.channel, user, narrator)
    table.sit(given.name, title, policy)
    with keys_of(call.output.terminal) as keys:
        Terminal(call.output, keys, table).run()


def story_policy(countdown: timedelta) -> GamePolicy:
    """How a story is played: a window closes when all have chosen or its time is over, and what is late counts nowhere."""
    return GamePolicy(countdown=countdown or None, open_on="manual", close_when="all", late="reject")


def _narrator(name: str | None) -> tuple[Narrator, str]:
    """The narrator, and the name of a game that is begun with it."""
    if name is None:
        return GREY_POINT.tell, GREY_POINT.title
    module, _, attribute = name.partition(":")
    try:
        found: Narrator = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"there is no narrator {name!r}: {error}.", hint="Name it as module:callable.") from error
    if not callable(found):
        raise UsageError(f"{name!r} cannot be called.", hint="A narrator takes a Moment and gives a Told: see sojourn.story.")
    return found, attribute


class Table:
    """One player at a game: looks, chooses, and does what the game needs."""

    def __init__(self, store: Store, channel: str, user: str, narrator: Narrator) -> None:
        self._games = store.games
        self._tip = store.tip
        self._channel = channel
        self.user = user
        self._narrator = narrator
        self._holder = f"{user} on {socket.gethostname()}:{os.getpid()}"

    def sit(self, name: str | None, title: str, policy: GamePolicy) -> None:
        """Join the channel's game; begin one where there is none."""
        game = self._games.get(self._channel)
        if game is None:
            try:
                game = self._games.boot(self._channel, title, policy=policy)
            except ConflictError:  # another terminal was first
                game = self.game()
        known = game.players.get(self.user)
        self._games.join(self._channel, self.user, name or (known.user_name if known else self.user))

    def leave(self) -> None:
        """Nobody waits for this player any more."""
        self._games.leave(self._channel, self.user)

    def tip(self) -> str:
        """Moves whenever something was committed."""
        return self._tip()

    def game(self) -> Game:
        """The channel's game as it is."""
        found = self._games.get(self._channel)
        if found is None:
            raise NotFoundError(f"the channel {self._channel!r} shows no game any more.", hint="See: sojourn game list")
        return found

    def look(self) -> tuple[Game, Turn | None]:
        """The game and its last closed turn; a window that is past its deadline is closed."""
        turns = self._games.history(self._channel, count=1)
        return self.game(), turns[-1] if turns else None

    def choose(self, game: Game, choice: str) -> str:
        """Choose in the open turn; what became of it, empty when it counts."""
        window = game.window
        if window is None:
            return _REFUSED["late"]
        name = game.players[self.user].user_name if self.user in game.players else self.user
        answer = self._games.submit_choice(
            self._channel, self.user, name, choice, expect_turn=window.turn, key=uuid.uuid4().hex
        )
        return _REFUSED.get(answer.status, "")

    def narrate(self) -> None:
        """Claim the oldest turn that is not narrated, and tell it; nothing where another one has it."""
        try:
            claim = self._games.narrate(self._channel, holder=self._holder)
        except (NotFoundError, LeaseHeldError):
            return
        told = self._tell(self._moment(claim.turn))
        try:
            self._games.record_turn(self._channel, claim.turn.number, told.text, token=claim.token)
        except (ConflictError, LeaseLostError):  # it took too long, and another one has told it
            return

    def offer(self, last: Turn | None) -> None:
        """Open the next window with what may be chosen in it, unless somebody has."""
        told = self._tell(self._moment(last))
        if self.game().window is None:
            try:
                self._games.open_window(self._channel, options=told.options)
            except ConflictError:  # it was paused, or taken off the channel meanwhile
                return

    def opening(self) -> str:
        """What is told before the first turn."""
        return self._tell(self._moment(None)).text

    def told(self, turn: Turn) -> str:
        """What was told of a turn, whole."""
        return self._games.narration(self._channel, turn.number)

    def _moment(self, turn: Turn | None) -> Moment:
        before = (
            ""
            if turn is None
            else next((one.narrative_summary for one in self._games.history(self._channel, count=1, before=turn.number)), "")
        )
        return moment_of(self.game(), turn, before)

    def _tell(self, moment: Moment) -> Told:
        try:
            told = self._narrator(moment)
        except Exception as error:
            raise NarratorFault(
                f"the narrator failed at turn {moment.turn}: {error!r}.", hint="The turn is kept; another narrator can tell it."
            ) from error
        if not isinstance(told, Told):
            raise NarratorFault(f"the narrator gave {type(told).__name__}, not sojourn.story.Told.", hint="See sojourn.story.")
        return told


class Terminal:
    """What a player sees and types."""

    def __init__(self, output: Output, keys: Keys, table: Table) -> None:
        self._output = output
        self._keys = keys
        self._table = table
        self._game: Game | None = None
        self._looked = 0.0
        self._tip = ""
        self._shown_game = ""
        self._shown_turn = -1
        self._asked_turn = 0
        self._mine: tuple[int, str] = (0, "")
        self._need: Need = "nothing"
        self._awake = False
        self._ahead: list[str] = []
        """Lines that came before there was anything to choose."""
        self._status = ""

    def run(self) -> None:
        """Until the player leaves, or the game does."""
        self._begin()
        try:
            while self._step():
                pass
        except KeyboardInterrupt:
            self._line("")
            self._line(
                "You are gone, and the others wait for you until your turn's time is over. Come back with the same command."
            )
        finally:
            self._clear()
            self._output.flush()

    def _begin(self) -> None:
        game, last = self._table.look()
        self._shown_game = game.id
        self._line(f"{game.name} · channel {game.channel_id} · you are {self._name(game)} · number keys choose, q leaves")
        if last is None:
            self._paragraphs(self._table.opening())
        elif last.state == "resolved":
            self._paragraphs(self._table.told(last))
        self._shown_turn = 0 if last is None else last.number if last.state == "resolved" else last.number - 1

    def _step(self) -> bool:
        """One look and one wait for a key; False at the end."""
        tip, now = self._table.tip(), time.monotonic()
        if self._game is None or tip != self._tip or now - self._looked > _LOOK or self._overdue(now):
            self._tip, self._looked = tip, now
            game, last = self._table.look()
            if game.id != self._shown_game or game.turn < self._shown_turn:
                self._another()
            self._game = game
            need = self._need = needed(game, last)
            self._show(last, need)
            if self._act(need, last):
                self._game = None
                return True
            if self._over(need):
                return False
        self._draw()
        if self._need == "choices" and self._ahead:
            words, self._ahead = self._ahead, []
        else:
            words = self._keys.wait(_TICK, hungry=self._hungry())
        return self._typed(words)

    def _another(self) -> None:
        """The channel shows another game, or an earlier turn of this one: it is told from where it stands."""
        self._mine, self._asked_turn, self._awake = (0, ""), 0, False
        self._line("")
        self._begin()

    def _act(self, need: Need, last: Turn | None) -> bool:
        """Do what the game needs; whether there was something."""
        if need == "narration":
            self._table.narrate()
            turn = self._table.look()[1]
            return turn is not None and turn.state == "resolved"
        if need == "window" or (need == "players" and self._awake):
            self._awake = False
            self._table.offer(last)
            return True
        return False

    def _over(self, need: Need) -> bool:
        """Whether nobody types any more, and the last choice is told."""
        return self._keys.ended and (need in ("choices", "players") and self._mine[0] <= self._shown_turn)

    def _overdue(self, now: float) -> bool:
        window = None if self._game is None else self._game.window
        if window is None or window.remaining is None or window.paused:
            return False
        return now - self._looked > window.remaining.total_seconds()

    # -- typing ------------------------------------------------------------------------------------------------------

    def _hungry(self) -> bool:
        """Whether a line of a program that types is wanted now."""
        window = None if self._game is None else self._game.window
        if self._need == "choices":
            return window is not None and self._mine[0] != window.turn
        return self._need == "players" and not self._awake

    def _typed(self, words: list[str]) -> bool:
        for word in words:
            if word in ("q", "\x04"):
                self._clear()
                self._table.leave()
                self._line("You have left the game.")
                return False
            self._word(word)
        return True

    def _word(self, word: str) -> None:
        game = self._game
        window = None if game is None else game.window
        if game is None or window is None:
            self._awake, self._game = True, None
            if not self._output.terminal:
                self._ahead.append(word)
            return
        options = window.options or ()
        choice = options[int(word) - 1] if word.isdecimal() and 0 < int(word) <= len(options) else word
        if options and choice not in options:
            self._line(f"There is no choice {one_line(word)!r}: type 1 to {len(options)}.")
            return
        refused = self._table.choose(game, choice)
        if refused:
            self._line(refused)
        else:
            self._mine = (window.turn, choice)
        self._game = None

    # -- showing -----------------------------------------------------------------------------------------------------

    def _show(self, last: Turn | None, need: Need) -> None:
        """What is new since the last look."""
        game = self._game
        if game is None:
            return
        if last is not None and last.state == "resolved" and last.number > self._shown_turn:
            self._shown_turn = last.number
            self._clear()
            self._line("")
            self._paragraphs(self._table.told(last))
        window = game.window
        if need == "choices" and window is not None and window.turn > self._asked_turn:
            self._asked_turn = window.turn
            self._clear()
            self._line("")
            for number, option in enumerate(window.options or (), 1):
                self._line(f"  {number}  {option}")

    def _draw(self) -> None:
        """The line at the bottom: the countdown from the stored deadline, who has chosen, what is needed."""
        if not self._output.terminal or self._game is None:
            return
        text = self._bottom(self._game)
        if text != self._status:
            gap = " " * max(0, columns_wide(self._status) - columns_wide(text))
            self._output.write("\r" + self._output.paint(text, "dim") + gap)
            self._output.flush()
            self._status = text

    def _bottom(self, game: Game) -> str:
        window = game.window
        if game.state == "paused":
            return "The game stands still."
        if window is None:
            return "Nobody chose. Press any key to go on." if not self._awake else "..."
        left = ""
        if window.remaining is not None:
            seconds = window.remaining.total_seconds() - (time.monotonic() - self._looked)
            left = f" · {max(0, round(seconds + 0.49))} s left"
        expected = max(len(window.expected), window.choices_made)
        mine = f" · you: {one_line(self._mine[1], 30)}" if self._mine[0] == window.turn else ""
        return f"Turn {window.turn}{left} · {window.choices_made} of {expected} have chosen{mine}"

    def _name(self, game: Game) -> str:
        player = game.players.get(self._table.user)
        return self._table.user if player is None else player.user_name

    def _clear(self) -> None:
        if self._status:
            self._output.write("\r" + " " * columns_wide(self._status) + "\r")
            self._status = ""

    def _line(self, text: str) -> None:
        self._clear()
        self._output.line(text)
        self._output.flush()

    def _paragraphs(self, text: str) -> None:
        self._clear()
        first, _, rest = visible(text).partition("\n")
        self._output.write(self._output.paint(first, "bold") + "\n")
        for paragraph in rest.strip("\n").split("\n"):
            self._output.write("\n".join(textwrap.wrap(paragraph, _WIDTH)) + "\n")
        self._output.flush()
