"""On a real Cluster that loses its servers: never two where there may be one, and nothing half made that anybody sees."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Generator
from functools import partial
from itertools import count
from typing import Any

import pytest
import redis

import sojourn
from sojourn import LoginPolicy, OutcomeUnknownError, UnavailableError
from sojourn.core.query import SessionQuery
from sojourn.engines.locate import EngineOptions
from sojourn.shell.bridge import run_sync
from sojourn.testing.servers import RedisCluster, Server, ServerMissingError, redis_cluster

pytestmark = pytest.mark.slow
WORKERS = 8
IMPATIENT, PATIENT = 1_000, 20_000
"""Milliseconds after which a silent node is dead: where one is killed, and where one may only be slow."""
OPTIONS = EngineOptions(timeout=40)

_numbers = count(1)


@pytest.fixture(scope="module")
def cluster() -> Generator[RedisCluster]:
    """With two replicas each, so that there is still one to wait for when a primary is gone."""
    try:
        with redis_cluster(masters=3, replicas=2, node_timeout_ms=IMPATIENT) as running:
            running.set_node_timeout(PATIENT)
            yield running
    except ServerMissingError as missing:
        pytest.skip(str(missing))


@pytest.fixture
def url(cluster: RedisCluster) -> str:
    return f"{cluster.store_url}?prefix=x{next(_numbers)}&wait=1&wait_timeout=5"


def command(server: Server, *words: Any) -> Any:
    with redis.Redis(port=server.port, decode_responses=True) as client:
        return client.execute_command(*words)


def is_primary(node: Server) -> bool:
    return node.running and bool(command(node, "ROLE")[0] == "master")


def kill_a_primary(cluster: RedisCluster, dice: random.Random) -> None:
    """One that has two replicas; it is started again when one of them has taken over."""
    victim = dice.choice([node for node in cluster.nodes if is_primary(node) and len(command(node, "ROLE")[2]) == 2])
    others = [node for node in cluster.nodes if node is not victim]
    victim.kill()
    cluster.set_node_timeout(IMPATIENT)
    others[0].wait_until(lambda: sum(map(is_primary, others)) == 3, "a replica takes over")
    victim.start()
    cluster.set_node_timeout(PATIENT)
    victim.wait_until(lambda: command(victim, "ROLE")[0] == "slave" and command(victim, "ROLE")[3] == "connected", "it follows")


def again(work: Callable[[], Any]) -> Any:
    """The result, asked for until it comes, as a program would: it must not matter how often."""
    while True:
        try:
            return work()
        except (UnavailableError, OutcomeUnknownError):
            continue


def at_once(work: Callable[[int], None], disturb: Callable[[], None]) -> None:
    errors: list[BaseException] = []

    def guarded(body: Callable[[], None]) -> None:
        try:
            body()
        except BaseException as error:  # raised below
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(partial(work, number),)) for number in range(WORKERS)]
    for thread in threads:
        thread.start()
    guarded(disturb)  # in this thread: a server dies with the one that started it
    for thread in threads:
        thread.join(110)
    if errors:
        raise errors[0]


@pytest.mark.timeout(240)
def test_a_cap_of_one_is_never_two(cluster: RedisCluster, url: str) -> None:
    """200 sign-ins of one user by eight workers; each ends the one before, whatever server dies meanwhile."""
    policy = LoginPolicy(max_per_user=1)
    done = Counter[int]()
    sojourn.open(url, engine=OPTIONS, directory=False).close()  # makes the store: the workers find it

    def sign_in(worker: int) -> None:
        with sojourn.open(url, engine=OPTIONS, directory=False, logins=policy) as store:
            for number in range(25):
                again(partial(store.logins.create, "ann", key=f"{worker} {number}"))
                done[worker] += 1

    def disturb() -> None:
        dice = random.Random(1)
        for part in (40, 120):
            while sum(done.values()) < part:
                threading.Event().wait(0.002)
            kill_a_primary(cluster, dice)

    at_once(sign_in, disturb)
    with sojourn.open(url, engine=OPTIONS, directory=False, logins=policy) as store:
        engine: Any = store._aio._engine
        events = run_sync(engine.events("default", (0,) * 128, 10_000, kind="login")).events
        active: set[str] = set()
        made = 0
        for event, following in zip(events, [*events[1:], None], strict=True):
            if event.change == "created":
                made += 1
                active.add(event.session)
            elif event.change == "evicted":
                active.remove(event.session)
            if following is None or following.at != event.at:  # one commit has one time
                assert len(active) == 1, f"two at once: {active}"
        assert made == 200
        assert len(store.logins.list(user_id="ann")) == 1
        assert {login.id for login in store.logins.list(user_id="ann")} == active


@pytest.mark.timeout(240)
def test_a_handle_of_nobody_makes_one_person_with_one_conversation(cluster: RedisCluster, url: str) -> None:
    """An alias in one home and a conversation in another: all who ask get the same, and what lost the race is in no list."""
    handles = [f"handle {number}" for number in range(16)]
    seen: dict[str, set[str]] = {handle: set() for handle in handles}
    done = Counter[int]()

    def ask(worker: int) -> None:
        order = handles[:]
        random.Random(worker).shuffle(order)
        with sojourn.open(url, engine=OPTIONS) as store:
            for handle in order:
                found = again(partial(store.conversations.get_or_create, channel="telegram", channel_user_id=handle))
                seen[handle].add(found.id)
                done[worker] += 1

    def disturb() -> None:
        while sum(done.values()) < 30:
            threading.Event().wait(0.002)
        kill_a_primary(cluster, random.Random(2))

    at_once(ask, disturb)
    assert {len(found) for found in seen.values()} == {1}
    with sojourn.open(url, engine=OPTIONS) as store:
        listed = [found.id for found in store.conversations.list(active_only=False, limit=1000)]
        assert sorted(listed) == sorted(found for ids in seen.values() for found in ids)
        people = {store.conversations.resolve("telegram", handle) for handle in handles}
        assert len(people) == len(handles)
        assert None not in people
        store.sweep()
        engine: Any = store._aio._engine
        kinds = ("conversation", "content", "login")
        assert run_sync(engine.list(SessionQuery("default", kinds, ("pending",), limit=1000))) == []
