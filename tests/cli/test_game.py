"""``sojourn game``: what each command does, as its user sees it."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

import sojourn
from sojourn.cli.game.play import story_policy
from sojourn.story import GREY_POINT, Moment
from tests.cli.conftest import EVIL, User


@pytest.fixture
def table(user: User) -> User:
    """A user with a game of two players in channel ``table``."""
    user.fine("game", "boot", "table", "Night train", "--id", "mine", "--countdown", "9d", "--close-when", "all")
    user.fine("game", "join", "table", "ana", "Ana")
    user.fine("game", "join", "table", "ben")
    return user


def test_a_game_is_listed_and_shown(table: User) -> None:
    row = table.fine("game", "list").lines[1].split()
    assert row[1:7] == ["Night", "train", "table", "active", "0", "2"]
    assert table.fine("game", "list", "--state", "ended", "--json").data == []
    assert table.fine("game", "list", "--name", "night TRAIN", "-q").lines == table.fine("game", "list", "-q").lines
    out = table.fine("game", "show", "table").out
    assert out.startswith("Game Night train\n")
    assert re.search(r"1 +Ana +ana +active", out)
    found = table.fine("game", "show", "--game", "mine", "--json").data
    assert (found["name"], list(found["players"]), found["tiers"]) == (
        "Night train",
        ["ana", "ben"],
        {"ana": "active", "ben": "active"},
    )
    assert table.fine("game", "show", "--game", found["id"][-8:].lower(), "--json").data["id"] == found["id"]


def test_a_turn_is_played_narrated_and_in_the_history(table: User) -> None:
    assert table.fine("game", "choose", "table", "ana", "Open the door").out.startswith("Chosen for turn 1. 7776")
    assert table.fine("game", "choose", "table", "ana", "Wait", "--key", "k").out.startswith("Changed, for turn 1.")
    assert "has chosen" not in table.fine("game", "show", "table").out
    assert "1 of 2 have chosen" in table.fine("game", "show", "table").out
    table.fine("game", "choose", "table", "ben", "Go in", "--turn", "1")
    assert "taken before, for turn 1" in table.fine("game", "choose", "table", "ana", "Wait", "--key", "k").out
    assert table("game", "choose", "table", "ana", "Other", "--key", "k").code == 7
    shown = table.fine("game", "narrate", "table").out
    assert "all had chosen (ben)" in shown
    assert "Ana: Wait" in shown
    assert (
        table.fine("game", "narrate", "table", "-", stdin="The door\nopens.\n").out == "Turn 1 is narrated (15 characters).\n"
    )
    assert table("game", "narrate", "table").code == 3
    out = table.fine("game", "history", "table").out
    assert out.endswith("  Ana: Wait\n  ben: Go in\n  The door\n  opens.\n")
    (turn,) = [json.loads(line) for line in table.fine("game", "history", "table", "--jsonl").lines]
    assert (turn["number"], turn["choices"], turn["state"]) == (1, {"ana": "Wait", "ben": "Go in"}, "resolved")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["ana", "x", "--turn", "9"], "turn 9 is yet to come. This is turn 1."),
        (["ana", " "], "no choice of turn 1"),
        (["eve", "x"], "no player's seat"),
        (["ana", "left"], "no choice of turn 1"),
    ],
)
def test_a_choice_that_is_not_taken_says_why(table: User, words: list[str], text: str) -> None:
    table.fine("game", "join", "table", "eve", "--role", "spectator")
    table.fine("game", "open", "table", "--option", "right", "--option", "straight on")
    result = table("game", "choose", "table", *words)
    assert (result.code, text in result.out) == (7, True), result
    assert result.out.startswith("Not taken: ")


def test_who_leads_opens_closes_extends_and_stops(table: User) -> None:
    assert table("game", "close", "table").code == 7
    assert table.fine("game", "open", "table", "--option", "a").out.startswith("Open: turn 1, 0 of 2 have chosen")
    assert table("game", "close", "table", "--by", "ben").code == 7
    assert table.fine("game", "crown", "table").out == "Nobody wears the crown: the GM leads the game.\n"
    assert table.fine("game", "crown", "table", "ben").out == "ben wears the crown.\n"
    assert table("game", "crown", "table", "nobody-here").code == 3
    assert re.search(r"7776[456]\d s left", table.fine("game", "extend", "table", "1m", "--by", "ben").out)
    assert "stands still with" in table.fine("game", "pause", "table").out
    assert table("game", "choose", "table", "ana", "a").out.startswith("Not taken: the game stands still.")
    assert "goes on" in table.fine("game", "unpause", "table").out
    assert "by hand (ben)" in table.fine("game", "close", "table", "--by", "ben").out
    assert table.fine("game", "crown", "table", "--nobody", "--json").data["crown_holder"] is None
    assert table.fine("game", "crown", "--game", "mine", "ana").out == "Ana wears the crown.\n"


def test_a_channel_shows_one_game_and_the_others_come_back(table: User) -> None:
    assert table("game", "boot", "table", "Another").code == 7
    out = table.fine("game", "swap", "table", "Another").out
    resume = re.search(r"sojourn (game resume \w+)", out)
    assert resume
    assert table(*resume[1].split()).code == 7
    assert table.fine("game", "shelve", "table").out.startswith("On the shelf: game Another")
    assert table("game", "shelve", "table").code == 3
    assert table.fine(*resume[1].split()).out.startswith("Channel table shows game Night train")
    assert table.fine("game", "exit", "table").out.startswith("Ended game Night train")
    assert "boot table" in table("game", "show", "table").err
    assert table.fine("game", "resume", "mine", "elsewhere").out.startswith("Channel elsewhere shows game Night train")


def test_forks_and_rewinds(table: User) -> None:
    for choice in ("one", "two"):
        table.fine("game", "choose", "table", "ana", choice)
        table.fine("game", "close", "table")
    out = table.fine("game", "fork", "table", "--at", "1", "--name", "What if").out
    assert "shares 1 turn" in out
    asked = table("game", "rewind", "table", "1")
    assert (asked.code, "1 turn would be in its history no more" in asked.err) == (2, True)
    assert table.fine("game", "rewind", "table", "1", "-y").out == "Game Night train goes on after turn 1.\n"
    assert len(table.fine("game", "history", "table", "--json").data["turns"]) == 1


def test_join_by_a_code(table: User) -> None:
    made = table.fine("game", "invite", "table", "--uses", "1")
    code = made.out.strip()
    assert f"--code {code} USER" in made.err
    assert table.fine("game", "join", "--code", code.lower(), "cy", "Cy").out == "Cy is in the game, on seat 3.\n"
    assert table("game", "join", "--code", code, "dee").code == 7
    assert table("game", "join", "--code", "AAAAAAAA", "dee").code == 3
    assert table.fine("game", "join", "--game", "mine", "eve", "Eve", "--role", "spectator").out.endswith("as spectator.\n")
    assert table("game", "join", "table").code == 2
    assert table.fine("game", "leave", "table", "cy").out == "cy has left the game.\n"
    assert table.fine("game", "leave", "table", "cy").out == "cy was not in the game.\n"


def test_delete_asks_and_removes_all(table: User) -> None:
    assert table("game", "delete", "mine").code == 2
    table.fine("game", "delete", "mine", "-y")
    gone = table("game", "show", "--game", "mine")
    assert (gone.code, "sojourn game list" in gone.err) == (3, True)
    assert table.fine("game", "list", "--json").data == []


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["show", "nowhere"], 3, "sojourn game boot nowhere NAME"),
        (["show", "--game", "no such"], 3, "sojourn game list"),
        (["boot", "table", "Another"], 7, "'sojourn game swap' puts it on the shelf"),
        (["close", "table"], 7, "'sojourn game open', or a press, opens one"),
        (["open", "table", "--by", "ben"], 7, "'sojourn game crown' gives it; without --by one acts for the house"),
        (["rewind", "table", "7"], 3, "has no turn 7 yet"),
        (["invite", "table", "--ttl", "0"], 2, "must be longer than nothing"),
        (["join", "table", "a", "b", "c"], 2, "quotation marks"),
        (["narrate", "table", "two", "words"], 2, "quotation marks"),
        (["crown", "table", "ben", "--nobody"], 2, "not both"),
        (["watch", "table", "--json"], 2, "--jsonl"),
    ],
)
def test_an_error_says_what_to_type(table: User, words: list[str], code: int, text: str) -> None:
    result = table("game", *words)
    assert (result.code, text in result.err) == (code, True), result


def test_either_a_channel_or_a_game(table: User) -> None:
    for words in (["show"], ["show", "table", "--game", "mine"], ["choose", "ana"], ["swap", "table"]):
        assert table("game", *words).code == 2, words


def test_watch_shows_choices_only_when_the_turn_is_closed(table: User) -> None:
    table.fine("game", "choose", "table", "ana", "secret door")
    assert table.fine("game", "watch", "table", "--no-follow", "--json").data == []
    with table.store() as store:
        before = store.tip()
    table.fine("game", "choose", "table", "ana", "another door")
    watched = table.fine("game", "watch", "table", "--after", before, "--no-follow")
    assert "door" not in watched.out
    assert "1 of 2 have chosen" in watched.out
    table.fine("game", "choose", "table", "ben", "go")
    table.fine("game", "narrate", "table", "It opens.")
    out = table.fine("game", "watch", "table", "--after", before, "--no-follow").out
    assert "Ana: another door" in out
    assert "It opens." in out
    changes = [
        json.loads(line) for line in table.fine("game", "watch", "table", "--after", before, "--no-follow", "--jsonl").lines
    ]
    assert [row["change"] for row in changes] == ["chose", "chose", "closed", "claimed", "narrated"]
    assert changes[2]["turn"]["choices"] == {"ana": "another door", "ben": "go"}


def test_nothing_in_a_game_steers_the_terminal(user: User) -> None:
    user.fine("game", "boot", "table", EVIL, "--countdown", "9d")
    user.fine("game", "choose", "table", "ana", EVIL, "--name", EVIL)
    user.fine("game", "close", "table")
    user.fine("game", "narrate", "table", "--", EVIL)
    for words in (["list"], ["show", "table"], ["history", "table"], ["watch", "table", "--no-follow"]):
        out = user.fine("game", *words, terminal=True).out
        assert "\x1b]0" not in out
        assert "\x1b[31m title" not in out
        assert "\u202e" not in out


# -- play ----------------------------------------------------------------------------------------------------------------


class Player:
    """Somebody at a terminal of their own, who plays."""

    def __init__(self, store: Path, user: str, *more: str) -> None:
        self.seen = ""
        self._main, other = pty.openpty()
        words = [sys.executable, "-m", "sojourn", "game", "play", "table", "--user", user, "--store", f"sqlite:///{store}"]
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "NO_COLOR": "1"}
        self.process = subprocess.Popen([*words, *more], stdin=other, stdout=other, stderr=other, env=environment)
        os.close(other)

    def press(self, key: str) -> None:
        os.write(self._main, key.encode())

    def sees(self, text: str, seconds: float = 30.0) -> str:
        """Wait until a text is on the terminal; all that came since the last one."""
        limit = time.monotonic() + seconds
        while text not in self.seen:
            ready, _, _ = select.select([self._main], [], [], max(0.0, limit - time.monotonic()))
            assert ready, f"{text!r} did not come: {self.seen!r}"
            try:
                raw = os.read(self._main, 65536)
            except OSError:  # the other end is closed
                raw = b""
            assert raw, f"{text!r} did not come: {self.seen!r}"
            self.seen += raw.decode(errors="replace").replace("\r\n", "\n")
        before, _, self.seen = self.seen.partition(text)
        return before + text

    def end(self) -> int:
        """Its exit status."""
        return self.process.wait(30)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(30)
        os.close(self._main)


@pytest.fixture
def players(tmp_path: Path) -> Iterator[dict[str, Player]]:
    """Who plays in ``game.db``; all are gone at the end."""
    found: dict[str, Player] = {}
    yield found
    for player in found.values():
        player.close()


@pytest.mark.slow
def test_two_terminals_play_and_one_is_killed(tmp_path: Path, players: dict[str, Player]) -> None:
    store = tmp_path / "game.db"
    ana = players["ana"] = Player(store, "ana", "--name", "Ana", "--countdown", "8s")
    ana.sees("The causeway")
    ana.sees("Nobody chose. Press any key")  # nobody had to: the game waits, however long
    ben = players["ben"] = Player(store, "ben")
    ben.sees("Nobody chose. Press any key")
    ben.press("x")
    ana.sees("3  Go down to the boat")
    ben.sees("0 of 2 have chosen")
    ben.press("2")
    ben.sees("you: Look for the keeper")
    ana.sees("1 of 2 have chosen")
    ana.press("2")
    assert "ben and Ana: look for the keeper" in ben.sees("3  Call out")
    ana.sees("3  Call out")
    ana.press("1")
    ben.sees("1 of 2 have chosen")
    ana.process.send_signal(signal.SIGKILL)
    assert ana.end() == -9
    assert "Ana: take the chart" in ben.sees("3  Leave it dark")  # its time was over, and what Ana chose counts
    again = players["again"] = Player(store, "ana")
    assert "you are Ana" in again.sees("The lamp room")
    again.press("q")
    again.sees("You have left the game.")
    assert again.end() == 0
    ben.process.send_signal(signal.SIGINT)
    ben.sees("Come back with the same command.")
    assert ben.end() == 0


def piped(store: Path, lines: str, *more: str) -> subprocess.CompletedProcess[str]:
    """Play by lines from a pipe, in a process of its own."""
    words = [sys.executable, "-m", "sojourn", "game", "play", "--store", f"sqlite:///{store}", *more]
    return subprocess.run(words, input=lines, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.slow
def test_lines_of_a_pipe_are_choices_and_the_end_of_them_ends_the_game(tmp_path: Path) -> None:
    done = piped(tmp_path / "game.db", "9\n2\nSee what drips\n3\n", "--user", "ana")
    assert done.returncode == 0, done.stderr
    assert "There is no choice '9': type 1 to 3." in done.stdout
    told = [line for line in done.stdout.splitlines() if line in ("The kitchen", "The cellar", "The long night")]
    assert told == ["The kitchen", "The cellar", "The long night"]
    assert "\r" not in done.stdout


@pytest.mark.slow
def test_a_line_that_finds_everybody_asleep_counts_when_the_next_window_opens(tmp_path: Path) -> None:
    store = tmp_path / "game.db"
    with sojourn.open(f"sqlite:///{store}") as opened:
        opened.games.boot("table", GREY_POINT.title, policy=story_policy(timedelta(seconds=30)))
        opened.games.join("table", "ana", "ana")
        opened.games.open_window("table", options=tuple(GREY_POINT.start.ways))
        opened.games.close("table")
        opened.games.record_turn("table", 1, GREY_POINT.tell(Moment(1, {}, "")).text)
    done = piped(store, "2\n", "--user", "ana")
    assert done.returncode == 0, done.stderr
    assert "ana: look for the keeper" in done.stdout


NARRATOR = """
from sojourn.story import Told

def broken(moment):
    raise RuntimeError("no more words")

def silent(moment):
    return "text"

def short(moment):
    told = ", ".join(f"{name} {choice}" for name, choice in moment.choices.items())
    return Told(f"Turn {moment.turn}: {told}", ("on", "off"))
"""


@pytest.mark.slow
def test_a_narrator_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tales.py").write_text(NARRATOR)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    done = piped(tmp_path / "a.db", "2\n1\n", "--user", "ana", "--narrator", "tales:short")
    assert done.returncode == 0, done.stderr
    assert "Turn 1: ana off" in done.stdout
    assert "Turn 2: ana on" in done.stdout
    for name, code, text in (
        ("tales:broken", 1, "the narrator failed at turn 0: RuntimeError('no more words')"),
        ("tales:silent", 1, "gave str, not sojourn.story.Told"),
        ("tales:nobody", 2, "there is no narrator 'tales:nobody'"),
        ("nowhere:x", 2, "there is no narrator 'nowhere:x'"),
    ):
        failed = piped(tmp_path / "b.db", "1\n", "--user", "ana", "--narrator", name)
        assert (failed.returncode, text in failed.stderr) == (code, True), failed.stderr


def test_play_is_for_people_and_a_dry_run_plays_nothing(user: User) -> None:
    assert user("game", "play", "--json").code == 2
    assert user.fine("game", "play", "--user", "ana", "--dry-run").out == "Would play in channel table as ana.\n"
    assert not user.path.exists()


@pytest.mark.slow
def test_a_terminal_follows_the_channel_to_another_game(tmp_path: Path, players: dict[str, Player]) -> None:
    store = tmp_path / "game.db"
    ana = players["ana"] = Player(store, "ana")
    ana.sees("3  Go down to the boat")
    ana.press("2")
    ana.sees("3  Call out")
    with sojourn.open(f"sqlite:///{store}") as opened:
        opened.games.swap("table", "The other", policy=story_policy(timedelta(minutes=1)))
        assert "The other" in ana.sees("you are ana")
        ana.sees("3  Go down to the boat")
        ana.press("2")
        ana.sees("3  Call out")
        opened.games.rewind("table", 0)
        ana.sees("The causeway")
        ana.sees("3  Go down to the boat")
        opened.games.exit("table")
    assert ana.sees("shows no game").splitlines()[-1].startswith("sojourn: ")
    assert ana.end() == 3
