"""The bars of games on SQLite: whole turns of ten players, beside the program it replaces and beside raw one-row commits."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import sojourn
from bench.conversations import ROUNDS, Raw, commit_all
from bench.measure import Row, in_turns, per_call, rate
from sojourn.core.batch import Batch, Point
from sojourn.kinds.games import places, record
from sojourn.kinds.games.model import GamePolicy
from sojourn.testing.servers import ServerMissingError, redis_server

PLAYERS: Final = 10
TURNS: Final = 150
COMMITS: Final = PLAYERS + 3
"""Durable steps of a turn: a choice each, the close, the claim, the narration."""
CHOICE: Final = "Open the cellar door and listen"
NARRATION: Final = "The door opens on a stair that nobody has swept in years. " * 8
POLICY: Final = GamePolicy(countdown=timedelta(hours=1), close_when="all")


def games(directory: Path, *, large: bool) -> Iterator[Row]:
    """Every bar, and what else is worth knowing."""
    raw = Raw(directory / "games-raw.db")
    yield from beside_the_original(directory)
    yield from on_full(directory, raw)
    yield from submits(directory, raw)
    yield from what_a_submit_costs(directory)
    yield from lateness(directory)
    yield from among_many(directory, 100_000 if large else 10_000)


class Played:
    """A game of ten, in a store of its own."""

    def __init__(self, url: str, durability: Any) -> None:
        self.store = sojourn.open(url, durability=durability)
        self.store.games.boot("table", "Bench", policy=POLICY)
        for number in range(PLAYERS):
            self.store.games.join("table", f"player {number}", f"Player {number}")

    def turns(self, count: int) -> float:
        """Whole turns per second: ten choices, the close, the claim, the narration."""

        def work() -> None:
            for _ in range(count):
                self.turn()

        return rate(count, work)

    def turn(self) -> None:
        played = self.store.games
        for number in range(PLAYERS):
            played.submit_choice("table", f"player {number}", f"Player {number}", CHOICE)
        claim = played.narrate("table")
        played.record_turn("table", claim.turn.number, NARRATION, token=claim.token)


# -- turns -------------------------------------------------------------------------------------------------------------


def beside_the_original(directory: Path) -> Iterator[Row]:
    """The commands that GameGirl Color sends at the end of a turn, in sequence, to a Redis on this machine."""
    name = "turn of 10, durability=normal, {}, against the original's on Redis"
    try:
        import redis

        running = redis_server()
        server = running.__enter__()
    except (ImportError, ServerMissingError) as missing:
        yield Row(name.format("one caller"), 0.0, "×", detail=f"not measured: {missing}")
        return
    try:
        with redis.Redis.from_url(server.url) as client:
            original = Original(client)
            ours = Played(f"sqlite:///{directory}/normal.db", "normal")
            ratio, one, other = in_turns(ROUNDS, lambda: original.turns(TURNS), lambda: ours.turns(TURNS))
            ours.store.close()
            detail = f"{other:,.0f}/s beside {one:,.0f}/s"
            yield Row(name.format("one caller"), ratio, "×", 1.2, detail=detail)
            url = f"sqlite:///{directory}/normal-tasks.db"
            ratio, one, other = in_turns(ROUNDS, lambda: original.turns(TURNS), lambda: asyncio.run(ten_tasks(url, "normal")))
        yield Row(name.format("ten tasks"), ratio, "×", detail=f"{other:,.0f}/s beside {one:,.0f}/s")
    finally:
        running.__exit__(None, None, None)


class Original:
    """What the original writes for a turn: its choices are in memory until then."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._players = {
            f"player {number}": {
                "user_id": f"player {number}",
                "user_name": f"Player {number}",
                "joined_turn": 0,
                "last_active": time.time(),
                "last_active_turn": 0,
                "consecutive_skips": 0,
            }
            for number in range(PLAYERS)
        }

    def turns(self, count: int) -> float:
        """Turns per second."""

        def work() -> None:
            for number in range(count):
                self._turn(number)

        return rate(count, work)

    def _turn(self, number: int) -> None:
        client, key = self._client, "game:session:table"
        state: dict[str, Any] = {
            "game_id": "126b09c71f10",
            "game_name": "Bench",
            "channel_id": "table",
            "active": True,
            "turn_number": number,
            "title_screen_url": "",
            "crown_holder": None,
        }
        choices = dict.fromkeys(self._players, CHOICE)
        turn = {"turn": number, "choices": choices, "narrative_summary": NARRATION[:500], "timestamp": time.time()}
        live = {name: str(value) for name, value in state.items()}
        client.set(key, json.dumps({**state, "players": self._players}))
        client.hset(f"sg:{key}", mapping={**live, "players": json.dumps(self._players), "pending_choices": "{}"})
        client.expire(f"sg:{key}", 14_400)
        client.hset("game:index", "126b09c71f10", json.dumps(state))
        client.rpush(f"{key}:history", json.dumps(turn))
        client.ltrim(f"{key}:history", -50, -1)


def on_full(directory: Path, raw: Raw) -> Iterator[Row]:
    """Against as many raw one-row commits as a turn has durable steps."""
    ours = Played(f"sqlite:///{directory}/full.db", "full")
    ratio, one, other = in_turns(ROUNDS, lambda: raw.inserts(1500) / COMMITS, lambda: ours.turns(TURNS))
    ours.store.close()
    yield Row("turn of 10, full, one caller, against raw ÷ 13", ratio, "×", 0.7, detail=f"{other:,.0f}/s beside {one:,.0f}/s")
    url = f"sqlite:///{directory}/tasks.db"
    ratio, one, other = in_turns(ROUNDS, lambda: raw.inserts(1500) / COMMITS, lambda: asyncio.run(ten_tasks(url, "full")))
    yield Row("turn of 10, full, ten tasks, against raw ÷ 13", ratio, "×", 2.0, detail=f"{other:,.0f}/s beside {one:,.0f}/s")


async def ten_tasks(url: str, durability: Any) -> float:
    """Turns per second where the ten choose at once."""
    async with sojourn.aopen(url, durability=durability) as store:
        played = store.games
        if await played.get("table") is None:
            await played.boot("table", "Bench", policy=POLICY)
            for number in range(PLAYERS):
                await played.join("table", f"player {number}", f"Player {number}")

        async def choose(number: int) -> None:
            await played.submit_choice("table", f"player {number}", f"Player {number}", CHOICE)

        start = time.perf_counter()
        for _ in range(TURNS):
            await asyncio.gather(*(choose(number) for number in range(PLAYERS)))
            claim = await played.narrate("table")
            await played.record_turn("table", claim.turn.number, NARRATION, token=claim.token)
        return TURNS / (time.perf_counter() - start)


# -- submits -----------------------------------------------------------------------------------------------------------


def submits(directory: Path, raw: Raw) -> Iterator[Row]:
    """Choices in one open window of a hundred players, who change their minds."""
    store = sojourn.open(f"sqlite:///{directory}/submits.db")
    store.games.boot("table", "Bench", policy=GamePolicy(countdown=timedelta(hours=9)))

    def ours() -> float:
        def work() -> None:
            for number in range(1500):
                store.games.submit_choice("table", f"player {number % 100}", f"Player {number % 100}", CHOICE)

        return rate(1500, work)

    ratio, one, other = in_turns(ROUNDS, lambda: raw.inserts(1500), ours)
    store.close()
    yield Row("submit, full, one caller", ratio, "× raw", detail=f"{other:,.0f}/s beside {one:,.0f}/s")


def what_a_submit_costs(directory: Path) -> Iterator[Row]:
    """Round trips (engine verbs), and bytes of the file."""
    path = directory / "cost.db"
    store = sojourn.open(f"sqlite:///{path}", durability="normal")
    store.games.boot("table", "Bench", policy=GamePolicy(countdown=timedelta(hours=9)))
    for number in range(100):
        store.games.submit_choice("table", f"player {number}", f"Player {number}", CHOICE)
    with _counted(store) as counts:
        store.games.submit_choice("table", "player 7", "Player 7", CHOICE)
    yield Row("round trips of a submit, game known", sum(counts.values()), "", 1, True, _named(counts))
    store.games.join("table", "late", "Late")
    with sojourn.open(f"sqlite:///{path}") as other, _counted(other) as counts:
        other.games.submit_choice("table", "late", "Late", CHOICE)
    yield Row("round trips of a submit, first of a process", sum(counts.values()), "", 2, True, _named(counts))
    before, count = _size(store), 20_000
    for number in range(count):
        store.games.submit_choice("table", f"player {number % 100}", f"Player {number % 100}", CHOICE)
    after = _size(store)
    store.close()
    yield Row("bytes on disk of a submit", (after - before) / count, "bytes", detail=f"of {len(CHOICE)} characters")


class _counted:  # noqa: N801  # used like a function
    """Counts the verbs that a store asks of its engine."""

    VERBS: Final = ("commit", "load", "follow", "list", "aliases", "due", "now")

    def __init__(self, store: sojourn.Store) -> None:
        self._engine: Any = store._aio._engine
        self._counts: Counter[str] = Counter()

    def __enter__(self) -> Counter[str]:
        for name in self.VERBS:
            setattr(self._engine, name, self._wrapped(name, getattr(self._engine, name)))
        return self._counts

    def __exit__(self, *error: object) -> None:
        for name in self.VERBS:
            delattr(self._engine, name)

    def _wrapped(self, name: str, verb: Any) -> Any:
        def counted(*given: Any, **more: Any) -> Any:
            self._counts[name] += 1
            return verb(*given, **more)

        return counted


def _named(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def _size(store: sojourn.Store) -> int:
    """Bytes of the store in use, once all that was deleted is gone."""
    while store.sweep().total:
        continue
    facts = store.facts()
    return int(facts["page_count"]) * int(facts["page_size"])


# -- deadlines ---------------------------------------------------------------------------------------------------------


def lateness(directory: Path) -> Iterator[Row]:
    """How late windows are closed that nobody but a runner closes."""
    for name, late in (("blocking", _late_blocking(directory)), ("asynchronous", asyncio.run(_late_async(directory)))):
        p50, p99 = late[len(late) // 2], late[int(len(late) * 0.99)]
        yield Row(f"deadline close with a runner, {name}, p99", p99, "ms", 50, True, f"p50 {p50:.2f} ms, {len(late)} windows")


_WINDOWS: Final = GamePolicy(countdown=timedelta(milliseconds=150))


def _late_blocking(directory: Path) -> list[float]:
    found: list[float] = []
    with sojourn.open(f"sqlite:///{directory}/late-1.db") as store, store.runner():
        for number in range(20):
            store.games.boot(f"channel {number}", "Bench", policy=_WINDOWS)
        for _ in range(15):
            for number in range(20):
                store.games.submit_choice(f"channel {number}", "ana", "Ana", CHOICE)
                time.sleep(0.003)
            time.sleep(0.4)
        for number in range(20):
            found += [_late(turn) for turn in store.games.history(f"channel {number}", count=50)]
    return sorted(found)


async def _late_async(directory: Path) -> list[float]:
    found: list[float] = []
    async with sojourn.aopen(f"sqlite:///{directory}/late-2.db") as store, store.runner():
        for number in range(20):
            await store.games.boot(f"channel {number}", "Bench", policy=_WINDOWS)
        for _ in range(15):
            for number in range(20):
                await store.games.submit_choice(f"channel {number}", "ana", "Ana", CHOICE)
                await asyncio.sleep(0.003)
            await asyncio.sleep(0.4)
        for number in range(20):
            found += [_late(turn) for turn in await store.games.history(f"channel {number}", count=50)]
    return sorted(found)


def _late(turn: sojourn.Turn) -> float:
    assert turn.deadline is not None
    return (turn.closed_at - turn.deadline) / timedelta(milliseconds=1)


# -- many games --------------------------------------------------------------------------------------------------------


def fill(store: sojourn.Store, count: int, first: int) -> None:
    """Boot games in bulk, through the engine, as ``boot`` does it."""
    unit = store._aio._unit
    batches = []
    for number in range(first, first + count):
        channel = f"channel {number}"
        made = places.create(unit.new_id(channel), f"Game {number}", channel, "", GamePolicy(), number, [])
        point = Point(record.shown_key(channel), made.id, 0)
        batches.append(Batch(unit.tenant, channel, (made, point)))
    commit_all(unit.engine, batches)


def among_many(directory: Path, many: int) -> Iterator[Row]:
    """A page of the lobby, a press, and what idle games cost a process that has a runner."""
    path, empty = directory / "lobby.db", directory / "empty.db"
    sojourn.open(f"sqlite:///{empty}").close()
    with sojourn.open(f"sqlite:///{path}", durability="normal") as store:
        fill(store, 1_000, 0)
        few = _page(store), _press(store, 7)
        fill(store, many - 1_000, 1_000)
        while store.sweep().total:
            continue
        lots = _page(store), _press(store, 8)
    among = f"among {many:,} games against 1,000"
    yield Row(f"lobby page of 50, {among}", lots[0] / few[0], "×", 1.3, True, f"{lots[0]:,.0f} µs")
    yield Row(f"submit, {among}", lots[1] / few[1], "×", 1.3, True, f"{lots[1]:,.0f} µs")
    idle, none = _idle(path), _idle(empty)
    detail = f"{idle['rss'] / 1e6:.1f} MB beside {none['rss'] / 1e6:.1f} MB of an empty store"
    yield Row(f"memory of {many:,} idle games", (idle["rss"] - none["rss"]) / 1e6, "MB", 8, True, detail)
    detail = f"beside {none['cpu']:.1f} ms/s of an empty store"
    yield Row(f"CPU of {many:,} idle games", idle["cpu"], "ms/s", None, False, detail)


def _page(store: sojourn.Store) -> float:
    return per_call(200, lambda: store.games.list(limit=50))


def _press(store: sojourn.Store, number: int) -> float:
    place = f"channel {number}"
    store.games.submit_choice(place, "ana", "Ana", CHOICE)
    return per_call(500, lambda: store.games.submit_choice(place, "ana", "Ana", CHOICE))


_IDLE: Final = """
import json, os, resource, sys, time
import sojourn

with sojourn.open(sys.argv[1]) as store, store.runner():
    time.sleep(1)
    before = time.process_time()
    time.sleep(4)
    cpu = (time.process_time() - before) / 4 * 1000
    rss = int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    print(json.dumps({"rss": rss, "cpu": cpu}))
"""


def _idle(path: Path) -> dict[str, float]:
    """Memory and processor time of a process that has the store open, with a runner, while nothing happens."""
    words = [sys.executable, "-c", _IDLE, f"sqlite:///{path}"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=dict(os.environ))
    found: dict[str, float] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        for row in games(Path(place), large="--large" in sys.argv):
            print(row.line(), flush=True)
