"""Redis and Valkey keep every promise but search, in both colours."""

from __future__ import annotations

from collections.abc import Generator
from itertools import count

import pytest

from sojourn.engines.contract import Capabilities, Clock, Engine
from sojourn.engines.redis.address import Place, read_url
from sojourn.engines.redis.engine import CAPABILITIES
from sojourn.engines.redis.opening import open_place
from sojourn.testing.conformance import EngineConformance, promised_tests
from sojourn.testing.conformance.lab import needed_by
from sojourn.testing.servers import RedisCluster, Server, ServerMissingError, redis_cluster, redis_server

_numbers = count(1)


@pytest.fixture(scope="module")
def server() -> Generator[Server]:
    try:
        with redis_server() as running:
            yield running
    except ServerMissingError as missing:
        pytest.skip(str(missing))


class TestRedis(EngineConformance):
    blocking = True
    capabilities = CAPABILITIES

    @pytest.fixture
    def place(self, server: Server) -> Place:
        return read_url(server.url, {"prefix": f"t{next(_numbers)}"})

    async def open_engine(self, place: Place, clock: Clock) -> Engine:
        return await open_place(place, blocking=self.blocking, clock=clock)


class TestAsyncRedis(TestRedis):
    blocking = False


@pytest.fixture(scope="module")
def cluster() -> Generator[RedisCluster]:
    try:
        with redis_cluster(masters=3, replicas=0, node_timeout_ms=20_000) as running:
            yield running
    except ServerMissingError as missing:
        pytest.skip(str(missing))


@pytest.mark.slow
class TestRedisCluster(TestRedis):
    """Three servers with a third of the slots each: the same tests."""

    @pytest.fixture
    def place(self, cluster: RedisCluster) -> Place:
        return read_url(cluster.store_url, {"prefix": f"t{next(_numbers)}"})


@pytest.mark.slow
class TestAsyncRedisCluster(TestRedisCluster):
    blocking = False


@pytest.mark.parametrize("suite", [TestRedis, TestAsyncRedis, TestRedisCluster, TestAsyncRedisCluster])
def test_only_search_is_missing(suite: type[EngineConformance]) -> None:
    everything = promised_tests(Capabilities(engine="all"))
    found = {name for name in dir(suite) if name.startswith("test_") and callable(getattr(suite, name))}
    missing = set(everything) - found
    assert missing
    assert {needed_by(getattr(EngineConformance, name)) for name in missing} == {("search",)}
