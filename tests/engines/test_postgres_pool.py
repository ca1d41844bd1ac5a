"""Connections for the tasks of a loop: never more than allowed, nobody forgotten, whoever is cancelled and whatever breaks."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Coroutine
from typing import Any

import psycopg
import pytest
from psycopg_pool import PoolClosed, PoolTimeout

from sojourn.engines.postgres import pool as pool_module
from sojourn.engines.postgres.aio import AsyncDriver
from sojourn.engines.postgres.limits import AsyncTimedConnection
from sojourn.engines.postgres.pool import LoopPool
from sojourn.engines.postgres.settings import settings_of
from sojourn.testing.faults import FaultProxy
from sojourn.testing.servers import Server

MOST = 3


def pool_of(url: str, *, timeout: float = 60.0) -> LoopPool:
    settings = settings_of(f"{url}{'&' if '?' in url else '?'}connections={MOST}", timeout=timeout)
    return AsyncDriver(settings)._pool


def told(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(story)


class Evening:
    """Somebody who uses a pool now and then, and breaks what they were given."""

    def __init__(self, pool: LoopPool, seed: int) -> None:
        self.pool = pool
        self.dice = random.Random(seed)
        self.out = self.most = 0

    async def use(self) -> None:
        connection = await self.pool.take()
        self.out += 1
        self.most = max(self.most, self.out)
        try:
            await self._work(connection)
        finally:
            self.out -= 1
            self.pool.put(connection)

    async def _work(self, connection: AsyncTimedConnection) -> None:
        chance = self.dice.random()
        if chance < 0.15:
            connection.pgconn.finish()
        elif chance < 0.25:
            await connection.execute("begin")
        elif chance < 0.8:
            assert await (await connection.execute("select 1")).fetchall() == [(1,)]

    async def go_on(self, uses: int) -> list[asyncio.Task[None]]:
        """Use it so often at once, and cancel some."""
        tasks = []
        for _ in range(uses):
            tasks.append(asyncio.create_task(self.use()))
            if self.dice.random() < 0.3:
                await asyncio.sleep(0.005 if self.dice.random() < 0.1 else 0)
            if self.dice.random() < 0.25:
                self.dice.choice(tasks).cancel()
        return tasks


@pytest.mark.parametrize("seed", range(6))
def test_whatever_is_cancelled_and_breaks_nobody_is_forgotten(postgres: Server, seed: int) -> None:
    async def story() -> None:
        pool = pool_of(postgres.url)
        evening = Evening(pool, seed)
        tasks = await evening.go_on(250)
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            assert outcome is None or isinstance(outcome, asyncio.CancelledError), repr(outcome)
        assert evening.most <= MOST
        assert not pool._waiting
        assert pool._places == len(pool._idle) == len(pool._made) <= MOST
        held = [await pool.take() for _ in range(MOST)]
        assert len({connection.info.backend_pid for connection in held}) == MOST
        for connection in held:
            pool.put(connection)
        pool.close()
        assert pool._places == 0

    told(story())


def test_whoever_waits_is_told_when_its_time_is_over_or_the_pool_closes(postgres: Server) -> None:
    async def story() -> None:
        hasty, patient = pool_of(postgres.url, timeout=0.5), pool_of(postgres.url)
        for pool, error in ((hasty, PoolTimeout), (patient, PoolClosed)):
            held = [await pool.take() for _ in range(MOST)] if pool is patient else await _all_of(pool)
            waiting = asyncio.create_task(pool.take())
            while not pool._waiting:  # noqa: ASYNC110  # of a pool that has no event for it
                await asyncio.sleep(0)
            if pool is patient:
                pool.close()
            with pytest.raises(error):
                await waiting
            for connection in held:
                pool.put(connection)
            pool.close()
            with pytest.raises(PoolClosed):
                await pool.take()
            assert all(connection.closed for connection in held)
            assert pool._places == 0

    told(story())


async def _all_of(pool: LoopPool) -> list[Any]:
    """All connections of a pool that gives each try little time."""
    held: list[Any] = []
    limit = time.monotonic() + 30
    while len(held) < MOST:
        try:
            held.append(await pool.take())
        except psycopg.OperationalError:
            assert time.monotonic() < limit
    return held


def test_one_who_makes_a_connection_while_the_pool_closes_has_none(postgres: Server) -> None:
    async def story() -> None:
        pool = pool_of(postgres.url)
        making = asyncio.create_task(pool.take())
        await asyncio.sleep(0)
        pool.close()
        with pytest.raises(PoolClosed):
            await making
        assert (pool._places, pool._made) == (0, {})

    told(story())


def test_the_place_of_one_who_could_not_connect_is_another_ones(postgres: Server) -> None:
    """All places are taken by those who try in vain; whoever waits for one of them has a connection when the link is back."""

    async def story() -> None:
        with FaultProxy("127.0.0.1", postgres.port) as proxy:
            pool = pool_of(proxy.url(postgres.url))
            proxy.refuse()
            tasks = [asyncio.create_task(pool.take()) for _ in range(3 * MOST)]
            while not pool._attempts.failure:  # noqa: ASYNC110  # it has no event for it
                await asyncio.sleep(0.001)
            for task in tasks[:MOST]:
                task.cancel()
            proxy.heal()
            for done in asyncio.as_completed(tasks[MOST:]):
                pool.put(await done)
            assert pool._places == len(pool._idle) <= MOST
            pool.close()

    told(story())


def test_connections_that_are_old_or_not_needed_are_given_up(postgres: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        pool = pool_of(postgres.url)
        held = [await pool.take() for _ in range(MOST)]
        monkeypatch.setattr(pool_module, "UNUSED", -1.0)
        for connection in held:
            pool.put(connection)
        assert (pool._places, len(pool._idle)) == (1, 1)
        monkeypatch.setattr(pool_module, "LIFETIME", -1.0)
        pool.put(await pool.take())
        assert (pool._places, len(pool._idle)) == (0, 0)
        pool.close()

    told(story())


def test_who_cannot_make_a_connection_gets_one_that_is_given_back(postgres: Server) -> None:
    """A server may have less room than the pool."""

    async def story() -> None:
        with psycopg.connect(postgres.url, autocommit=True) as server:
            server.execute("create role narrow login connection limit 1")
        try:
            pool = pool_of(postgres.url.replace("postgres@", "narrow@"))
            held = await pool.take()
            tasks = [asyncio.create_task(pool.take()) for _ in range(2 * MOST)]
            while not pool._attempts.failure:  # noqa: ASYNC110  # it has no event for it
                await asyncio.sleep(0.001)
            pool.put(held)
            for done in asyncio.as_completed(tasks):
                pool.put(await done)
            assert pool._places == len(pool._idle) == len(pool._made) == 1
            pool.close()
        finally:
            with psycopg.connect(postgres.url, autocommit=True) as server:
                server.execute("drop role narrow")

    told(story())


def test_a_silent_server_leaves_time_for_the_next_one(postgres: Server) -> None:
    async def story() -> None:
        with FaultProxy("127.0.0.1", postgres.port) as silent:
            silent.stall()
            both = postgres.url.replace(f"127.0.0.1:{postgres.port}", f"127.0.0.1:{silent.port},127.0.0.1:{postgres.port}")
            pool = pool_of(both, timeout=6)
            connection = await pool.take()
            assert connection.info.port == postgres.port
            pool.put(connection)
            pool.close()

    told(story())


def test_a_place_is_given_to_who_has_the_most_time_left(postgres: Server) -> None:
    """After an outage there are many who wait, and most of them have hardly any time left."""

    async def story() -> None:
        pool = pool_of(postgres.url)
        held = [await pool.take() for _ in range(MOST)]
        first, last = (asyncio.create_task(pool.take()) for _ in range(2))
        while len(pool._waiting) < 2:  # noqa: ASYNC110  # it has no event for it
            await asyncio.sleep(0)
        held[0].pgconn.finish()
        pool.put(held[0])
        made = await last
        assert not first.done()
        pool.put(made)
        assert await first is made
        for connection in (*held[1:], made):
            pool.put(connection)
        pool.close()

    told(story())
