"""Real processes on one file: nothing is lost, doubled or out of order, also when they are killed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest

import sojourn
from sojourn import ConversationPolicy, Store
from sojourn.testing.clocks import ManualClock

pytestmark = pytest.mark.slow

PATIENCE: Final = 100.0

WORKER: Final = """
import json, sys
import sojourn
from datetime import timedelta

url, work, *more = sys.argv[1:]
store = sojourn.open(url, conversations=sojourn.ConversationPolicy(fold_above=None, max_age=None))
talks = store.conversations


def say(*values):
    print(json.dumps(values), flush=True)


def link(talk, number, count):
    for place in range(int(count)):
        talks.link_channel(talk, f"channel {number}.{place}", f"handle {number}.{place}")


def get_or_create(user, channel, handle):
    say(talks.get_or_create(user or None, channel=channel, channel_user_id=handle).id)


def append(talk, name, first, count):
    for place in range(int(first), int(count)):
        say(place, talks.append(talk, "user", f"{name} {place}", key=f"{name} {place}").sequence)


def mixed(talk, name, count):
    for place in range(int(count)):
        talks.append(talk, "user", f"{name} {place}", channel=name)
        talks.update(talk, {name: place})
        if place % 10 == 0:
            talks.consolidate(talk, keep=20)


say("ready")
sys.stdin.readline()
globals()[work](*more)
store.close()
say("end")
"""


class Worker:
    """A process that does one work on a store, and says on its output what it has done."""

    def __init__(self, url: str, work: str, *more: object) -> None:
        self.said: list[Any] = []
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER, url, work, *map(str, more)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONWARNINGS": "error"},
        )

    def hear(self) -> Any:
        """The next thing it says; None when it has ended."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        return json.loads(line) if line.endswith("\n") else None

    def start(self) -> None:
        """Let it begin, once it has opened the store."""
        assert self.hear() == ["ready"]
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def listen(self) -> None:
        """Hear it to its end."""
        while (said := self.hear()) is not None:
            self.said.append(said)
        self.process.wait(PATIENCE)

    def close(self) -> None:
        """End it, if it has not."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE)
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            try:
                stream.close()
            except BrokenPipeError:
                continue


def together(workers: list[Worker]) -> list[list[Any]]:
    """Let all of them begin at one moment; what each said, when all have ended well."""
    threads = [threading.Thread(target=worker.listen) for worker in workers]
    try:
        for worker in workers:
            worker.start()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert [worker.process.returncode for worker in workers] == [0] * len(workers)
    finally:
        for worker in workers:
            worker.close()
    assert all(worker.said[-1] == ["end"] for worker in workers)
    return [worker.said[:-1] for worker in workers]


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Of a store in a file."""
    return f"sqlite:///{tmp_path / 'shared.db'}"


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    """That store, opened here."""
    with sojourn.open(url, conversations=ConversationPolicy(fold_above=None, max_age=None)) as opened:
        yield opened


def test_four_processes_link_fifty_channels_each_and_none_is_lost(url: str, store: Store) -> None:
    talk = store.conversations.create("ann").id
    together([Worker(url, "link", talk, number, 50) for number in range(4)])
    links = {f"channel {number}.{place}": f"handle {number}.{place}" for number in range(4) for place in range(50)}
    found = store.conversations.get(talk)
    assert found is not None
    assert found.identity.channel_ids == links
    assert all(store.conversations.resolve(channel, handle) == "ann" for channel, handle in links.items())


@pytest.mark.parametrize(
    ("processes", "way"), [(16, ("ann", "", "")), (4, ("", "telegram", "t1")), (4, ("ann", "telegram", "t1"))]
)
def test_many_processes_ask_for_one_new_person_and_get_one_conversation(
    url: str, store: Store, processes: int, way: tuple[str, ...]
) -> None:
    said = together([Worker(url, "get_or_create", *way) for _ in range(processes)])
    assert len({talk for ((talk,),) in said}) == 1
    assert len(store.conversations.list(active_only=False)) == 1


def appended(url: str, store: Store, processes: int, count: int) -> None:
    """That many processes append that many messages each, and all are there once, in one order."""
    talk = store.conversations.create("ann").id
    said = together([Worker(url, "append", talk, f"writer{number}", 0, count) for number in range(processes)])
    messages = store.conversations.messages(talk)
    assert [message.sequence for message in messages] == list(range(1, processes * count + 1))
    acknowledged = {sequence: f"writer{number} {place}" for number, rows in enumerate(said) for place, sequence in rows}
    assert {message.sequence: message.text for message in messages} == acknowledged
    for number in range(processes):
        own = [message.text for message in messages if message.text.startswith(f"writer{number} ")]
        assert own == [f"writer{number} {place}" for place in range(count)]
    found = store.conversations.get(talk)
    assert found is not None
    assert found.message_count == processes * count


def test_eight_processes_append_and_nothing_is_lost_or_doubled(url: str, store: Store) -> None:
    appended(url, store, 8, 60)


@pytest.mark.campaign
def test_eight_processes_append_five_hundred_each(url: str, store: Store) -> None:
    appended(url, store, 8, 500)


class Mortal:
    """A writer whose process is killed now and then, and begun again where it was last acknowledged."""

    def __init__(self, url: str, talk: str, number: int, count: int, deaths: list[int]) -> None:
        self.name = f"writer{number}"
        self.acknowledged: dict[int, int] = {}
        self._work = (url, "append", talk, self.name)
        self._count = count
        self._deaths = deaths

    def write(self) -> None:
        """To the end, however often it dies."""
        place = 0
        while place < self._count:
            worker = Worker(*self._work, place, self._count)
            try:
                worker.start()
                place = self._listen(worker, self._deaths.pop() if self._deaths else self._count)
                if place < self._count:
                    os.kill(worker.process.pid, signal.SIGKILL)
                    # What it said before it died is not listened to: the same is asked again, as when answers are lost.
            finally:
                worker.close()

    def _listen(self, worker: Worker, most: int) -> int:
        """Hear of at most so many messages; the place of the next one."""
        place = -1
        for _ in range(most):
            said = worker.hear()
            if said is None or said == ["end"]:
                break
            place = said[0]
            assert self.acknowledged.setdefault(place, said[1]) == said[1]
        return place + 1 if place >= 0 else max(self.acknowledged, default=-1) + 1


def killed(url: str, store: Store, processes: int, count: int, kills: int, seed: int) -> None:
    """Writers are killed at any moment; nothing that was acknowledged is lost, and nothing is doubled."""
    chance = random.Random(seed)
    talk = store.conversations.create("ann").id
    writers = [
        Mortal(url, talk, number, count, [chance.randrange(count // 2) for _ in range(kills)]) for number in range(processes)
    ]
    threads = [threading.Thread(target=writer.write) for writer in writers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    messages = store.conversations.messages(talk)
    assert [message.sequence for message in messages] == list(range(1, processes * count + 1))
    by_sequence = {message.sequence: message.text for message in messages}
    for writer in writers:
        assert {place: by_sequence[sequence] for place, sequence in writer.acknowledged.items()} == {
            place: f"{writer.name} {place}" for place in writer.acknowledged
        }
        own = [message.text for message in messages if message.text.startswith(f"{writer.name} ")]
        assert own == [f"{writer.name} {place}" for place in range(count)]
    assert store.check() == []


def test_killed_writers_lose_nothing_that_was_acknowledged_and_double_nothing(url: str, store: Store) -> None:
    killed(url, store, processes=3, count=40, kills=2, seed=1)


@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(5))
def test_killed_writers_for_a_long_time(url: str, store: Store, seed: int) -> None:
    killed(url, store, processes=8, count=500, kills=10, seed=seed)


def test_a_watcher_misses_nothing_that_other_processes_commit(url: str, store: Store) -> None:
    talk = store.conversations.create("ann").id
    watch = store.watch(id=talk, timeout=timedelta(seconds=PATIENCE))
    seen: list[int] = []
    ready = threading.Event()

    def follow() -> None:
        ready.set()
        for event in watch:
            if event.sequences is not None:
                seen.extend(range(event.sequences[0], event.sequences[1] + 1))
            if event.change == "ended":
                return

    after = list(store.watch(after=_beginning(), timeout=timedelta(0)))[-1].cursor
    watch = store.watch(id=talk, after=after, timeout=timedelta(seconds=PATIENCE))
    thread = threading.Thread(target=follow)
    thread.start()
    assert ready.wait(PATIENCE)
    together([Worker(url, "append", talk, f"writer{number}", 0, 50) for number in range(4)])
    store.conversations.end(talk)
    thread.join(PATIENCE)
    assert seen == list(range(1, 201))


def _beginning() -> str:
    from sojourn.shell.feed import cursor_text

    return cursor_text((0,))


def test_two_thousand_messages_under_the_default_policy_are_all_there(tmp_path: Path) -> None:
    """With a runner that sweeps, timestamps that are equal, and a clock that jumps back."""
    clock = ManualClock()
    with sojourn.open(f"sqlite:///{tmp_path / 'long.db'}", clock=clock) as store:
        talks = store.conversations
        talk = talks.create("ann").id
        cursor = list(store.watch(after=_beginning(), timeout=timedelta(0)))[-1].cursor
        with store.runner():
            for start in range(1, 2001, 100):
                texts = [f"message {number}" for number in range(start, start + 100)]
                talks.extend(talk, [{"role": "user", "content": text} for text in texts[:99]])
                talks.append(talk, "assistant", texts[99])
                if start % 300 == 1:
                    clock.advance(timedelta(hours=-3))
            for event in store.watch(id=talk, after=cursor, timeout=timedelta(seconds=PATIENCE)):
                session = store.sessions.get(talk)
                assert session is not None
                if event.change == "folded" and session.counters["unfolded"] <= 100:
                    break
        everything = talks.messages(talk, include_folded=True)
        originals = [message for message in everything if message.covers is None]
        assert [message.text for message in originals] == [f"message {number}" for number in range(1, 2001)]
        assert [message.sequence for message in originals] == sorted(message.sequence for message in originals)
        places = [message.place for message in everything]
        assert places == sorted(places)
        shown = talks.messages(talk)
        assert len(shown) <= 101
        summaries = [message for message in shown if message.covers is not None]
        assert [message.place for message in summaries] == [1]
        assert summaries[0].covers is not None
        assert summaries[0].covers[1] + 1 <= shown[1].sequence
        window = talks.window(talk, budget=4000)
        assert window[0].covers is not None
        assert window[-1].text == "message 2000"


def test_processes_that_fold_patch_and_append_lose_nothing(url: str, store: Store) -> None:
    talk = store.conversations.create("ann").id
    together([Worker(url, "mixed", talk, f"writer{number}", 30) for number in range(4)])
    everything = store.conversations.messages(talk, include_folded=True)
    originals = [message.text for message in everything if message.covers is None]
    assert sorted(originals) == sorted(f"writer{number} {place}" for number in range(4) for place in range(30))
    found = store.conversations.get(talk)
    assert found is not None
    assert found.metadata == {f"writer{number}": 29 for number in range(4)}
    session = store.sessions.get(talk)
    assert session is not None
    visible = [message for message in store.conversations.messages(talk) if message.covers is None]
    assert session.counters["unfolded"] == len(visible)


def test_a_store_may_be_used_after_a_fork(url: str, store: Store) -> None:
    talk = store.conversations.create("ann").id
    store.conversations.append(talk, "user", "parent before")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            store.conversations.append(talk, "user", "child")
            code = len(store.conversations.messages(talk)) - 2
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    store.conversations.append(talk, "user", "parent after")
    assert [message.text for message in store.conversations.messages(talk)] == ["parent before", "child", "parent after"]


def test_a_store_may_be_used_from_any_thread(store: Store) -> None:
    talk = store.conversations.create("ann").id

    def write(number: int) -> None:
        for place in range(25):
            store.conversations.append(talk, "user", f"{number} {place}")
            store.conversations.messages(talk, last=5)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [message.sequence for message in store.conversations.messages(talk)] == list(range(1, 201))
