"""Servers of another generation than the one that all tests run on keep every promise too: on a machine with PostgreSQL 15 and
Redis 7 of its own, these are PostgreSQL 18 and Valkey 9 of the wheels."""

from __future__ import annotations

from collections.abc import Generator
from itertools import count

import psycopg
import pytest

from sojourn.engines.contract import Capabilities, Clock, Engine
from sojourn.engines.postgres.aio import AsyncPostgresEngine
from sojourn.engines.postgres.engine import PostgresEngine
from sojourn.engines.redis.address import Place, read_url
from sojourn.engines.redis.engine import CAPABILITIES
from sojourn.engines.redis.opening import open_place
from sojourn.testing.conformance import EngineConformance
from sojourn.testing.engines import empty_postgres
from sojourn.testing.needed import needed
from sojourn.testing.servers import Server, find_other_postgres, find_other_redis, postgres_server, redis_server

SCHEMA = "other"

_numbers = count(1)


@pytest.fixture(scope="module")
def other_postgres() -> Generator[Server]:
    with postgres_server(needed(find_other_postgres).origin) as running:
        with psycopg.connect(running.url, autocommit=True) as connection:
            connection.execute(f"create schema {SCHEMA}".encode())
        yield running


@pytest.fixture(scope="module")
def other_redis() -> Generator[Server]:
    with redis_server(needed(find_other_redis).origin) as running:
        yield running


@pytest.mark.slow
class TestOtherPostgres(EngineConformance):
    blocking = True
    capabilities = Capabilities(engine="postgres")

    @pytest.fixture
    def place(self, other_postgres: Server) -> str:
        empty_postgres(other_postgres.url, SCHEMA)
        return f"{other_postgres.url}?options=-csearch_path%3D{SCHEMA}"

    async def open_engine(self, place: str, clock: Clock) -> Engine:
        return await PostgresEngine.open(place, clock)


@pytest.mark.slow
class TestOtherAsyncPostgres(TestOtherPostgres):
    blocking = False

    async def open_engine(self, place: str, clock: Clock) -> Engine:
        return await AsyncPostgresEngine.open(place, clock)


@pytest.mark.slow
class TestOtherRedis(EngineConformance):
    blocking = True
    capabilities = CAPABILITIES

    @pytest.fixture
    def place(self, other_redis: Server) -> Place:
        return read_url(other_redis.url, {"prefix": f"t{next(_numbers)}"})

    async def open_engine(self, place: Place, clock: Clock) -> Engine:
        return await open_place(place, blocking=self.blocking, clock=clock)


@pytest.mark.slow
class TestOtherAsyncRedis(TestOtherRedis):
    blocking = False
