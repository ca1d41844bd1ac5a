"""The kill campaign: worker processes play, one of them is killed again and again, and a checker reads the history.

A program of its own, because its workers are forked from a process that has no threads and has imported everything:

    python -m tests.games.killing sqlite:////tmp/kills.db --kills 500

It prints a report as JSON. Each worker submits choices with keys and asks again with some of them, closes what is due, closes
by hand now and then, claims turns and narrates them, some of them too slowly. It writes down what it begins and what it was
answered; who takes the place of a killed worker first asks again with the key that its predecessor had no answer to.

The checker knows nothing but these journals and what the store exports. Every engine that is opened by a URL can be put to it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import sojourn
from sojourn.errors import ConflictError, LeaseHeldError, LeaseLostError, NotFoundError, UnavailableError
from sojourn.kinds.games.model import GamePolicy
from sojourn.sync.store import Store

WINDOW: Final = timedelta(milliseconds=50)
CLAIM: Final = timedelta(milliseconds=400)
SHORT_CLAIM: Final = timedelta(milliseconds=20)
TAKEN: Final = frozenset({"accepted", "replaced", "carried", "duplicate"})
"""Answers that say that a choice counts."""

Record = dict[str, Any]


@dataclass(frozen=True)
class Campaign:
    """What is to be done, and on which store."""

    url: str
    kills: int = 500
    seconds: float | None = None
    """Stop after so long, whatever number was killed."""
    workers: int = 5
    games: int = 4
    players: int = 6
    skew: float = 0.0
    """The workers' clocks are off by up to so many seconds, one way and the other."""
    between: tuple[float, float] = (0.060, 0.150)
    broken: str = ""
    """A negative control: the name of a guard to be taken out of the workers (`BREAKS`)."""
    seed: int = field(default_factory=lambda: random.SystemRandom().getrandbits(32))

    def channels(self) -> list[str]:
        """Where the games are played."""
        return [f"channel {number}" for number in range(self.games)]

    def policy(self, number: int) -> GamePolicy:
        """Half of the games close when all have chosen, some lock the first choice, some reject what comes late."""
        return GamePolicy(
            countdown=WINDOW,
            close_when="all" if number % 2 else "deadline",
            change="first_locks" if number % 4 == 3 else "last_wins",
            late="reject" if number % 4 == 2 else "next",
            history_limit=None,
        )


def clock(offset: float) -> Callable[[], datetime]:
    """A clock that is wrong by so many seconds."""
    wrong = timedelta(seconds=offset)
    return lambda: datetime.now(UTC) + wrong


# -- a worker ----------------------------------------------------------------------------------------------------------


class Worker:
    """Plays until it is killed."""

    def __init__(self, campaign: Campaign, number: int, journal: Path) -> None:
        self._campaign = campaign
        self._random = random.Random(f"{campaign.seed} {os.getpid()}")
        offset = campaign.skew * (2 * number / max(1, campaign.workers - 1) - 1)
        self._store = sojourn.open(campaign.url, durability="normal", clock=clock(offset) if campaign.skew else None)
        self._unanswered = unanswered(journal)
        self._journal = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(self, what: str, **facts: Any) -> None:
        """One line of the journal, in one write."""
        os.write(self._journal, (json.dumps({"what": what, **facts}) + "\n").encode())

    def play(self, until: Callable[[], bool]) -> None:
        """Do this and that."""
        if self._unanswered is not None:
            self.ask(self._unanswered)
        while not until():
            self.press()
            if self._random.random() < 0.4:
                self.close()
            if self._random.random() < 0.6:
                self.narrate()

    def press(self) -> None:
        campaign = self._campaign
        pressed = {
            "channel": self._random.choice(campaign.channels()),
            "player": f"player {self._random.randrange(campaign.players)}",
            "key": uuid.uuid4().hex,
        }
        self.ask(pressed)
        if self._random.random() < 0.1:
            self.ask(pressed)

    def ask(self, pressed: Record) -> None:
        """Submit; that it is begun is written down, and whatever happens."""
        self.note("press", **pressed)
        try:
            answer = self._store.games.submit_choice(
                pressed["channel"], pressed["player"], pressed["player"], pressed["key"], key=pressed["key"]
            )
        except UnavailableError as error:
            self.note("busy", error=str(error), **pressed)
            return
        except Exception as error:
            self.note("failed", error=repr(error), **pressed)
            return
        self.note("answer", status=answer.status, turn=answer.turn, first=answer.first, **pressed)

    def close(self) -> None:
        """Close what is due, in one of the ways there are; sometimes by hand."""
        channel = self._random.choice(self._campaign.channels())
        way = self._random.random()
        try:
            if way < 0.3:
                self._store.sweep()
            elif way < 0.9:
                self._store.games.history(channel, count=1)
            else:
                self._store.games.close(channel)
        except ConflictError:  # no window is open
            return
        except UnavailableError as error:
            self.note("busy", error=str(error))
        except Exception as error:
            self.note("failed", error=repr(error), channel=channel)

    def narrate(self) -> None:
        """Claim a turn and tell it; one in twenty is too slow for its claim."""
        channel, slow = self._random.choice(self._campaign.channels()), self._random.random() < 0.05
        try:
            claim = self._store.games.narrate(channel, ttl=SHORT_CLAIM if slow else CLAIM, holder=str(os.getpid()))
            text = f"turn {claim.turn.number} as {os.getpid()} tells it under {claim.token}"
            time.sleep(0.03 if slow else self._random.random() * 0.003)
            self.note("tell", channel=channel, turn=claim.turn.number, text=text)
            self._store.games.record_turn(channel, claim.turn.number, text, token=claim.token)
        except (NotFoundError, LeaseHeldError):
            return
        except (LeaseLostError, ConflictError):
            self.note("refused", channel=channel)
        except UnavailableError as error:
            self.note("busy", error=str(error))
        except Exception as error:
            self.note("failed", error=repr(error), channel=channel)
        else:
            self.note("told", channel=channel, turn=claim.turn.number, text=text)


def unanswered(journal: Path) -> Record | None:
    """The press that the last worker of this journal began and has no answer to."""
    last: Record | None = None
    for record in read_journal(journal) if journal.exists() else ():
        if record["what"] == "press":
            last = record
        elif record["what"] == "answer" and last is not None and record["key"] == last["key"]:
            last = None
    return None if last is None else {name: last[name] for name in ("channel", "player", "key")}


def read_journal(path: Path) -> Iterator[Record]:
    """The lines of a journal; the last one may be cut."""
    for line in path.read_text().splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            continue


# -- the guards that a negative control takes out ------------------------------------------------------------------------


def without_transactions() -> None:
    """Every statement of a commit is a transaction of its own."""
    from sojourn.engines.sqlite.commits import Committer, Slot
    from sojourn.engines.sqlite.transaction import Writing

    def together(self: Committer, slots: list[Slot]) -> None:
        self._held, self._begun, self._committing = [], True, False
        connection = self._writing()
        self._memory.forget()
        writing = Writing(connection, self._memory)
        now = self._clock()
        for slot in slots:
            self._held.append((slot, self._perform(slot.work, writing, connection, now)))
        writing.finish()
        self._answer_held()

    Committer._together = together  # type: ignore[method-assign]


def without_high_water_mark() -> None:
    """A game's time is whatever the clock of the process says that looks at it."""
    from sojourn.engines.sqlite import reads, transaction

    whole = transaction.draft_of

    def draft_of(*given: Any, **more: Any) -> Any:
        draft = whole(*given, **more)
        draft.mark = 0
        return draft

    transaction.draft_of = draft_of
    setattr(reads, "draft_of", draft_of)  # noqa: B010  # a name that it has from there


BREAKS: Final[dict[str, Callable[[], None]]] = {"transaction": without_transactions, "mark": without_high_water_mark}


# -- the campaign --------------------------------------------------------------------------------------------------------


def run(campaign: Campaign) -> Record:
    """Play, kill, finish what is open, check; the report."""
    chance = random.Random(campaign.seed)
    with sojourn.open(campaign.url) as store:
        for number, channel in enumerate(campaign.channels()):
            store.games.boot(channel, f"Game {number}", policy=campaign.policy(number))
            for player in range(campaign.players):
                store.games.join(channel, f"player {player}", f"player {player}")
    directory = Path(tempfile.mkdtemp(prefix="sojourn-kills-"))
    begun = time.monotonic()
    pids = [start(campaign, number, directory) for number in range(campaign.workers)]
    kills = failed = 0
    try:
        time.sleep(0.3)
        while kills < campaign.kills and (campaign.seconds is None or time.monotonic() - begun < campaign.seconds):
            time.sleep(chance.uniform(*campaign.between))
            number = chance.randrange(campaign.workers)
            kills += kill(pids[number])
            pids[number] = start(campaign, number, directory)
    finally:
        for pid in pids:
            kill(pid)
    seconds = time.monotonic() - begun
    left = finish(campaign)
    journals = [record for path in sorted(directory.iterdir()) for record in read_journal(path)]
    shutil.rmtree(directory)
    with sojourn.open(campaign.url) as store:
        checked = Check(journals, list(store.export(kinds=["game"])))
    report = checked.report()
    errors = [*left, *checked.errors]
    failed = sum(record["what"] == "failed" for record in journals)
    why = Counter(record["error"] for record in journals if record["what"] == "failed")
    return {
        "engine": campaign.url.partition(":")[0],
        "skew": campaign.skew,
        "seed": campaign.seed,
        "seconds": round(seconds, 1),
        "kills": kills,
        **report,
        "busy": sum(record["what"] == "busy" for record in journals),
        "failed": failed,
        "why": dict(why.most_common(5)),
        "errors": len(errors),
        "sample": errors[:8],
    }


def start(campaign: Campaign, number: int, directory: Path) -> int:
    """A new worker process."""
    pid = os.fork()
    if pid:
        return pid
    try:
        if campaign.broken:
            BREAKS[campaign.broken]()
        Worker(campaign, number, directory / f"{number}.jsonl").play(lambda: False)
    finally:
        os._exit(1)


def kill(pid: int) -> bool:
    """Whether it was alive and is not any more."""
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    return os.WIFSIGNALED(status)


def finish(campaign: Campaign) -> list[str]:
    """Close every window and narrate every turn, as the processes that live on would; what could not be."""
    with sojourn.open(campaign.url, clock=clock(campaign.skew + 2)) as store:
        for channel in campaign.channels():
            try:
                _finish(store, channel)
            except Exception as error:
                return [f"{channel} cannot be brought to an end: {error!r}"]
    return []


def _finish(store: Store, channel: str) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        store.sweep()
        game = store.games.get(channel)
        if game is None:
            raise LookupError("it shows no game")
        if game.window is None:
            break
        time.sleep(0.02)
    else:
        raise TimeoutError("its window does not close")
    while True:
        try:
            claim = store.games.narrate(channel, ttl=timedelta(minutes=1))
        except LeaseHeldError:  # of one who is dead
            time.sleep(0.05)
            continue
        except NotFoundError:
            return
        store.games.record_turn(channel, claim.turn.number, "told at the end", token=claim.token)


# -- the checker -----------------------------------------------------------------------------------------------------------


class Check:
    """Holds what the workers were told against what the store has."""

    def __init__(self, journals: list[Record], lines: list[str]) -> None:
        self.errors: list[str] = []
        self._journals = journals
        self._games: dict[str, Record] = {}
        self._entries: dict[str, list[Record]] = defaultdict(list)
        for line in lines[1:]:
            row = json.loads(line)
            if row["type"] == "session":
                self._games[row["id"]] = row
            elif row["type"] == "entry":
                self._entries[row["session"]].append(row)
        self._pressed = {record["key"]: record for record in journals if record["what"] == "press"}
        self._open: Counter[str] = Counter()
        """How often each key was asked with, less how often there was an answer: what nobody was told may have happened."""
        for record in journals:
            if "key" in record:
                self._open[record["key"]] += 1 if record["what"] == "press" else -1
        self._answers: dict[str, list[Record]] = defaultdict(list)
        for record in journals:
            if record["what"] == "answer":
                self._answers[record["key"]].append(record)
        self._turns = 0
        self._where: dict[str, tuple[str, str, int]] = {}
        """Of each key that is in a turn: channel, player, number."""
        for id, game in self._games.items():
            self._check_game(game["data"], self._entries[id])
        self._check_answers()
        self._check_narrations()

    def report(self) -> Record:
        """What there was."""
        statuses = Counter(record["status"] for group in self._answers.values() for record in group)
        acknowledged = [key for key, group in self._answers.items() if any(one["status"] in TAKEN for one in group)]
        never = [key for key in self._pressed if key not in self._answers]
        return {
            "pressed": len(self._pressed),
            "acknowledged": len(acknowledged),
            "answers": dict(statuses),
            "unanswered": len(never),
            "unanswered_but_taken": sum(key in self._where for key in never),
            "turns": self._turns,
            "closed_by": dict(Counter(reason for _, reason in self._reasons())),
        }

    def _wrong(self, text: str) -> None:
        self.errors.append(text)

    def _reasons(self) -> Iterator[tuple[str, str]]:
        for rows in self._entries.values():
            for row in rows:
                if row["entry"] == "turn":
                    yield row["label"], json.loads(row["data"])["reason"]

    # -- one game ----------------------------------------------------------------------------------------------------

    def _check_game(self, data: Record, rows: list[Record]) -> None:
        channel = data["last_channel"]
        if [row["sequence"] for row in rows] != list(range(1, len(rows) + 1)):
            self._wrong(f"{channel}: the log has gaps")
        times = [row["created_at"] for row in rows]
        back = sum(later < earlier for earlier, later in pairwise(times))
        if back:
            self._wrong(f"{channel}: time ran backwards {back} times")
        turns = [row for row in rows if row["entry"] == "turn"]
        choices = {row["sequence"]: row for row in rows if row["entry"] == "choice"}
        numbers = [int(row["label"]) for row in turns]
        if numbers != list(range(1, len(turns) + 1)) or data["turn"] != len(turns):
            self._wrong(f"{channel}: the turns are {numbers[:9]}..., the game says {data['turn']}")
        self._turns += len(turns)
        people = {player["n"]: user for user, player in data["players"].items()}
        closed_before = 0
        for row in turns:
            closed_before = self._check_turn(channel, row, choices, people, closed_before)
        for row in choices.values():  # what no turn has taken
            self._wrong(f"{channel}: the choice {row['key']} for turn {row['label']} is in no turn")
        told = Counter(int(row["label"]) for row in rows if row["entry"] == "narration")
        if told != Counter(numbers):
            wrong = {number: count for number, count in told.items() if count != 1}
            self._wrong(f"{channel}: narrations: {wrong or sorted(set(numbers) - set(told))[:5]}")

    def _check_turn(self, channel: str, row: Record, choices: dict[int, Record], people: dict[int, str], before: int) -> int:
        """One turn with its choices, which are taken out of ``choices``; when it was closed."""
        name, kept = f"{channel}, turn {row['label']}", json.loads(row["data"])
        first, last = row.get("covers") or (1, 0)
        mine = [choices.pop(number) for number in range(first, last + 1) if number in choices]
        if kept["deadline"] is None:
            self._wrong(f"{name}: its window had no deadline")
            kept["deadline"] = row["created_at"]
        if kept["opened"] < before:
            self._wrong(f"{name}: opened before the one before was closed")
        if kept["reason"] == "deadline" and row["created_at"] < kept["deadline"]:
            self._wrong(f"{name}: closed {kept['deadline'] - row['created_at']} µs before its deadline")
        if not mine:
            self._wrong(f"{name}: nobody chose in it")
        missing = {people.get(number, "?") for number in kept["expected"]} - {choice["author"] for choice in mine}
        if kept["reason"] == "all" and missing:
            self._wrong(f"{name}: closed as complete without {sorted(missing)}")
        for choice in mine:
            self._check_choice(name, channel, choice, row["label"], kept["deadline"])
        closed: int = row["created_at"]
        return closed

    def _check_choice(self, name: str, channel: str, choice: Record, number: str, deadline: int) -> None:
        if choice["label"] != number:
            self._wrong(f"{name}: has a choice for turn {choice['label']}")
        if choice["created_at"] >= deadline:
            self._wrong(f"{name}: has a choice made after the deadline")
        if choice["text"] != choice["key"] or choice["key"] not in self._pressed:
            self._wrong(f"{name}: has a choice that nobody made")
        if choice["key"] in self._where:
            self._wrong(f"{name}: the choice {choice['key']} is in {self._where[choice['key']]} too")
        self._where[choice["key"]] = (channel, choice["author"], int(number))

    # -- what was acknowledged ---------------------------------------------------------------------------------------------

    def _check_answers(self) -> None:
        firsts: Counter[tuple[str, int]] = Counter()
        for key, group in self._answers.items():
            taken = {(one["channel"], one["player"], one["turn"]) for one in group if one["status"] in TAKEN}
            found = self._where.get(key)
            if len(taken) > 1:
                self._wrong(f"the choice {key} was answered with {sorted(taken)}")
            elif taken and found != next(iter(taken)):
                self._wrong(f"the choice {key} was acknowledged for {taken}, and is in {found}")
            elif not taken and found is not None and not self._open[key]:
                self._wrong(f"the choice {key} was refused, and is in {found}")
            for one in group:
                firsts[one["channel"], one["turn"]] += one["first"]
        for place, count in firsts.items():
            if count > 1:
                self._wrong(f"{place}: {count} presses were the first")

    def _check_narrations(self) -> None:
        kept = {
            (self._games[id]["data"]["last_channel"], int(row["label"])): row.get("text", "")
            for id, rows in self._entries.items()
            for row in rows
            if row["entry"] == "narration"
        }
        for record in self._journals:
            place = (record.get("channel", ""), record.get("turn", 0))
            if record["what"] == "told" and kept.get(place) != record["text"]:
                self._wrong(f"{place}: {record['text']!r} was acknowledged, and {kept.get(place)!r} is kept")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.games.killing", description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--workers", type=int, default=5)
    parser.add_argument("--skew", type=float, default=0.0)
    parser.add_argument(
        "--between", type=float, nargs=2, metavar="SECONDS", help="from one kill to the next, at least and at most"
    )
    parser.add_argument("--broken", choices=sorted(BREAKS), default="")
    parser.add_argument("--seed", type=int)
    given = {name: value for name, value in vars(parser.parse_args()).items() if value is not None}
    report = run(Campaign(**given))
    sys.stdout.write(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
