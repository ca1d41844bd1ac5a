"""``sojourn game``: games that are played turn by turn where people talk.

Here is what the commands take; what they do is imported when one is run, so that help costs no kind and no engine.
"""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from datetime import timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Final

from sojourn.cli.options import Run, duration, page_size, whole
from sojourn.cli.parser import Parser
from sojourn.errors import SojournError

if TYPE_CHECKING:
    from sojourn.cli.call import Call

_STATES: Final = ("lobby", "active", "paused", "ended")


def fill(_: str, parser: Parser) -> None:
    """Add the commands."""
    parser.description = (
        "A game is played in a channel, turn by turn: while a window is open its players choose, it closes once for\n"
        "everybody, and somebody narrates what came of it. A channel shows one game at a time; all others are saved.\n"
        "Where a command takes CHANNEL it takes --game ID in its place: any game, by its id, the end of it, or your own id."
    )
    parser.commands()
    for add in (_list, _show, _boot, _join, _leave, _choose, _open, _close, _extend, _pause, _unpause, _narrate, _history):
        add(parser)
    for add in (_crown, _invite, _swap, _shelve, _exit, _resume, _fork, _rewind, _watch, _play, _delete):
        add(parser)


def _run(module: str, name: str) -> Run:
    def run(call: Call) -> int | None:
        command: Run = getattr(import_module(f"sojourn.cli.game.{module}"), name)
        try:
            return command(call)
        except SojournError as error:
            error.hint = _OPERATIONS.sub(_typed, error.hint).replace("by=None", "without --by one")
            raise

    return run


def _typed(match: re.Match[str]) -> str:
    """An operation that the library advises, as the command that does it."""
    return f"'sojourn game {_COMMANDS.get(match[1], match[1])}'"


_OPERATIONS: Final = re.compile(r"\b(swap|exit|resume|boot|list|history|open_window|set_crown)\(\)")
_COMMANDS: Final = {"open_window": "open", "set_crown": "crown"}


def _channel(parser: Parser, usage: str = "") -> None:
    parser.add_argument("channel", metavar="CHANNEL", nargs="?", help="where the game is shown")
    parser.add_argument("--game", metavar="ID", help="any game, by its id, in place of CHANNEL")
    parser.usage = f"%(prog)s [options] (CHANNEL | --game ID){usage}"


def _by(parser: Parser) -> None:
    parser.add_argument("--by", metavar="USER", help="who acts: the crown's holder or a game master (default: the house)")


def _countdown(parser: Parser) -> None:
    parser.add_argument(
        "--countdown", type=_duration, metavar="TIME", help="how long a window is open: 10s, 5m, ... (default 10s; 0: no end)"
    )
    parser.add_argument(
        "--close-when",
        choices=("deadline", "all"),
        help="deadline: when its time is over (default); all: or when all have chosen",
    )


_duration = duration


def _some_time(text: str) -> timedelta:
    """A duration that is longer than nothing."""
    found = duration(text)
    if not found:
        raise ArgumentTypeError("must be longer than nothing")
    return found


def _list(parser: Parser) -> None:
    made = parser.command(
        "list",
        "list all saved games, the last played first",
        _run("reading", "list_games"),
        examples="sojourn game list\nsojourn game list --channel table --state active\nsojourn game list --name Chess -q",
    )
    made.add_argument("--channel", metavar="CHANNEL", help="only games of this channel")
    made.add_argument("--state", choices=_STATES, help="only games that are on the shelf (lobby), active, paused or ended")
    made.add_argument("--name", metavar="NAME", help="only games of this name, in any case")
    made.add_argument("--order", choices=("activity", "name"), default="activity", help="default: activity")
    page_size(made, "games")


def _show(parser: Parser) -> None:
    made = parser.command(
        "show",
        "show a game, its open window and its players",
        _run("reading", "show"),
        examples="sojourn game show table\nsojourn game show --game 8VW2K1QD --json",
    )
    _channel(made)


def _boot(parser: Parser) -> None:
    made = parser.command(
        "boot",
        "begin a game in a channel that shows none",
        _run("placing", "boot"),
        examples="sojourn game boot table 'Night train'\nsojourn game boot table Chess --countdown 1h --close-when all",
        more="A store that does not exist yet is made.",
    )
    made.add_argument("channel", metavar="CHANNEL", help="where it is played: the id of a chat, or a word of your own")
    made.add_argument("name", metavar="NAME", help="its name")
    made.add_argument("--id", metavar="ID", help="an id of your own by which it is found, too")
    made.add_argument("--title-screen", metavar="URL", default="", help="an image for its banner")
    made.add_argument("--key", metavar="KEY", help="an id of this operation: the same again begins no second game")
    _countdown(made)


def _join(parser: Parser) -> None:
    made = parser.command(
        "join",
        "take a seat in a game, or be there again under another name",
        _run("playing", "join"),
        examples="sojourn game join table ana Ana\nsojourn game join --code 7F3K9QWX ben",
    )
    _channel(made, " USER [NAME]")
    made.usage = "%(prog)s [options] (CHANNEL | --game ID | --code CODE) USER [NAME]"
    made.add_argument("who", metavar="USER", nargs="+", help="the player's id, and the name that is shown (default: the id)")
    made.add_argument("--code", metavar="CODE", help="a join code, in place of CHANNEL")
    made.add_argument("--role", choices=("player", "gm", "spectator"), default="player", help="default: player")
    made.add_argument("--seat", type=whole(1), metavar="N", help="this seat (default: the lowest free one)")


def _leave(parser: Parser) -> None:
    made = parser.command(
        "leave",
        "take somebody out of a game; nobody waits for them any more",
        _run("playing", "leave"),
        examples="sojourn game leave table ana",
    )
    _channel(made, " USER")
    made.add_argument("user", metavar="USER", help="the player's id")


def _choose(parser: Parser) -> None:
    made = parser.command(
        "choose",
        "make a choice in the open turn; it counts once it is acknowledged, whatever dies",
        _run("playing", "choose"),
        examples='sojourn game choose table ana "Open the door"\nsojourn game choose table ana "Go north" --turn 7 --key a1b2',
        more="Who is not in the game joins it, and a window opens where none is open, as far as the game's policy says so.\n"
        "A choice that is not taken (too late, no seat, not offered) is answered with its reason and exit code 7.",
    )
    _channel(made, " USER CHOICE")
    made.add_argument("user", metavar="USER", help="the player's id")
    made.add_argument("choice", metavar="CHOICE", help="what they choose")
    made.add_argument("--name", metavar="NAME", help="the player's name as it is shown (default: as before, else the id)")
    made.add_argument("--turn", type=whole(1), metavar="N", help="the turn that is meant, so that it never counts in another")
    made.add_argument("--key", metavar="KEY", help="an id of this press: the same again counts once, and says where")


def _open(parser: Parser) -> None:
    made = parser.command(
        "open",
        "open a window, or say what may be chosen in the open one",
        _run("turns", "open_window"),
        examples="sojourn game open table\nsojourn game open table --option 'Go in' --option Wait --default Wait",
    )
    _channel(made)
    made.add_argument(
        "--option", metavar="TEXT", action="append", help="what may be chosen; again for each (default: any text)"
    )
    made.add_argument("--default", metavar="TEXT", help='for who does not choose, where the policy says on_timeout="default"')
    _by(made)


def _close(parser: Parser) -> None:
    made = parser.command(
        "close",
        "close the open window now, and show the turn",
        _run("turns", "close"),
        examples="sojourn game close table\nsojourn game close table --by ana",
    )
    _channel(made)
    _by(made)


def _extend(parser: Parser) -> None:
    made = parser.command(
        "extend",
        "make the countdown of the open window longer",
        _run("turns", "extend"),
        examples="sojourn game extend table 30s",
    )
    _channel(made, " TIME")
    made.add_argument("duration", metavar="TIME", type=_duration, help="how much longer: 30s, 5m, 24h, 7d")
    _by(made)


def _pause(parser: Parser) -> None:
    made = parser.command(
        "pause",
        "let a game stand still; what is left of its countdown is kept",
        _run("turns", "pause"),
        examples="sojourn game pause table",
    )
    _channel(made)
    _by(made)


def _unpause(parser: Parser) -> None:
    made = parser.command("unpause", "let a paused game go on", _run("turns", "unpause"), examples="sojourn game unpause table")
    _channel(made)
    _by(made)


def _narrate(parser: Parser) -> None:
    made = parser.command(
        "narrate",
        "show the oldest turn that nobody has narrated, or narrate it",
        _run("turns", "narrate"),
        examples='sojourn game narrate table\nsojourn game narrate table "The door opens."\n'
        "./my-narrator | sojourn game narrate table -",
        more="Without TEXT it only shows the turn. With it, the turn is claimed, so that of several narrators one is kept.",
    )
    made.add_argument("words", metavar="TEXT", nargs="*", help="what is told; - is read from standard input")
    made.add_argument("--game", metavar="ID", help="any game, by its id, in place of CHANNEL")
    made.usage = "%(prog)s [options] (CHANNEL | --game ID) [TEXT]"


def _history(parser: Parser) -> None:
    made = parser.command(
        "history",
        "show the last turns, oldest first: who chose what, and what was told",
        _run("reading", "history"),
        examples="sojourn game history table\nsojourn game history --game 8VW2K1QD --count 50 --before 200 --jsonl",
        more="A window that is past its deadline is closed first.",
    )
    _channel(made)
    made.add_argument("--count", type=whole(1, 10_000), default=10, metavar="N", help="so many turns (default 10)")
    made.add_argument("--before", type=whole(1), metavar="N", help="only turns before this one")


def _crown(parser: Parser) -> None:
    made = parser.command(
        "crown",
        "say who wears the crown, give it to a player, or take it away",
        _run("turns", "crown"),
        examples="sojourn game crown table\nsojourn game crown table ana\nsojourn game crown table --nobody",
        more="Whoever wears it may close, extend, pause and go on (--by).",
    )
    _channel(made, " [USER | --nobody]")
    made.add_argument("user", metavar="USER", nargs="?", help="the player's id")
    made.add_argument("--nobody", action="store_true", help="the house has it again")


def _invite(parser: Parser) -> None:
    made = parser.command(
        "invite",
        "make a join code for a game; it is printed once",
        _run("playing", "invite"),
        examples="sojourn game invite table\nsojourn game invite table --uses 1 --ttl 24h",
    )
    _channel(made)
    made.add_argument("--uses", type=whole(1), metavar="N", help="good for so many people (default: any number)")
    made.add_argument("--ttl", type=_some_time, metavar="TIME", help="good for so long: 10m, 24h, 7d (default: for ever)")


def _swap(parser: Parser) -> None:
    made = parser.command(
        "swap",
        "put a channel's game on the shelf as it is, and show another, new or saved",
        _run("placing", "swap"),
        examples="sojourn game swap table 'Another game'\nsojourn game swap table --game 8VW2K1QD",
    )
    made.usage = "%(prog)s [options] CHANNEL (NAME | --game ID)"
    made.add_argument("channel", metavar="CHANNEL", help="which channel")
    made.add_argument("name", metavar="NAME", nargs="?", help="the name of a new game")
    made.add_argument("--game", metavar="ID", help="a saved game, in place of NAME")
    _countdown(made)


def _shelve(parser: Parser) -> None:
    made = parser.command(
        "shelve",
        "take a game off its channel without ending it",
        _run("placing", "shelve"),
        examples="sojourn game shelve table",
    )
    made.add_argument("channel", metavar="CHANNEL", help="which channel")


def _exit(parser: Parser) -> None:
    made = parser.command(
        "exit",
        "end a channel's game; its open window is cancelled",
        _run("placing", "end"),
        examples="sojourn game exit table",
        more="It stays saved, and 'sojourn game resume' reopens it.",
    )
    made.add_argument("channel", metavar="CHANNEL", help="which channel")


def _resume(parser: Parser) -> None:
    made = parser.command(
        "resume",
        "show a shelved or ended game again, with players, turns and history",
        _run("placing", "resume"),
        examples="sojourn game resume 8VW2K1QD\nsojourn game resume 8VW2K1QD other-table",
    )
    made.add_argument("id", metavar="ID", help="the game's id, the end of it, or your own id")
    made.add_argument("channel", metavar="CHANNEL", nargs="?", help="where (default: where it was last)")


def _fork(parser: Parser) -> None:
    made = parser.command(
        "fork",
        "begin a game that shares what was played so far, on the shelf",
        _run("placing", "fork"),
        examples="sojourn game fork table --at 12\nsojourn game fork table --name 'What if'",
        more="Nothing is copied, and both go on separately.",
    )
    _channel(made)
    made.add_argument("--at", type=whole(0), metavar="N", help="share up to turn N (default: everything)")
    made.add_argument("--name", metavar="NAME", help="its name (default: the same)")


def _rewind(parser: Parser) -> None:
    made = parser.command(
        "rewind",
        "go on from an earlier turn; the later ones are in no history any more",
        _run("placing", "rewind"),
        examples="sojourn game rewind table 12",
    )
    _channel(made, " TURN")
    made.add_argument("turn", metavar="TURN", type=whole(0), help="the last turn that stays")


def _watch(parser: Parser) -> None:
    made = parser.command(
        "watch",
        "show what happens in a channel as it happens, across swaps",
        _run("watching", "watch"),
        examples="sojourn game watch table\nsojourn game watch table --jsonl",
        more="What somebody chose is shown when the turn is closed. Ctrl-C ends it.",
    )
    made.add_argument("channel", metavar="CHANNEL", help="which channel")
    made.add_argument("--after", metavar="CURSOR", help="go on behind an event: its cursor")
    made.add_argument("--no-follow", dest="follow", action="store_false", help="stop when there is nothing more")


def _play(parser: Parser) -> None:
    made = parser.command(
        "play",
        "play a story in this terminal, with whoever plays it in another one",
        _run("play", "play"),
        examples="sojourn game play table --user ana\nsojourn game play table --user ben --countdown 1m",
        more="Start it in as many terminals as there are players. Number keys choose, q leaves. Any of them may be killed at\n"
        "any moment: nothing that was acknowledged is lost, and the others play on. A channel that shows no game gets one,\n"
        "and a store that does not exist yet is made.",
    )
    made.add_argument("channel", metavar="CHANNEL", nargs="?", default="table", help="where (default: table)")
    made.add_argument("--user", metavar="USER", help="who you are: your id in the game (default: your login name)")
    made.add_argument("--name", metavar="NAME", help="your name as it is shown (default: the id)")
    made.add_argument("--narrator", metavar="MODULE:NAME", help="a callable of your own that tells the story")
    made.add_argument("--countdown", type=_duration, metavar="TIME", help="of a game that is begun here (default 30s)")


def _delete(parser: Parser) -> None:
    made = parser.command(
        "delete",
        "remove a game for good: turns, choices, codes, everything",
        _run("placing", "delete"),
        examples="sojourn game delete 8VW2K1QD",
    )
    made.add_argument("id", metavar="ID", help="the game's id, the end of it, or your own id")
