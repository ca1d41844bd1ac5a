"""The embedded engines keep every promise, in both colours."""

from __future__ import annotations

from pathlib import Path

import pytest

from sojourn.engines.contract import PROMISES, Capabilities, Clock, Engine
from sojourn.engines.memory import AsyncMemoryEngine, MemoryEngine, MemoryState
from sojourn.engines.sqlite.engine import AsyncSqliteEngine, SqliteEngine
from sojourn.testing.conformance import EngineConformance, promise_of, promised_tests


class TestMemory(EngineConformance):
    blocking = True
    capabilities = Capabilities(engine="memory", durable=False, processes=False)

    @pytest.fixture
    def place(self) -> MemoryState:
        return MemoryState()

    async def open_engine(self, place: MemoryState, clock: Clock) -> Engine:
        return MemoryEngine(clock, place)


class TestAsyncMemory(TestMemory):
    blocking = False

    async def open_engine(self, place: MemoryState, clock: Clock) -> Engine:
        return AsyncMemoryEngine(clock, place)


class TestSqlite(EngineConformance):
    blocking = True
    capabilities = Capabilities(engine="sqlite", backup=True)

    async def open_engine(self, place: Path, clock: Clock) -> Engine:
        return SqliteEngine(str(place / "sessions.db"), clock)


class TestAsyncSqlite(TestSqlite):
    blocking = False

    async def open_engine(self, place: Path, clock: Clock) -> Engine:
        return AsyncSqliteEngine(str(place / "sessions.db"), clock)


SUITES = (TestMemory, TestAsyncMemory, TestSqlite, TestAsyncSqlite)


def names_of(suite: type) -> list[str]:
    """The tests that pytest finds in a suite."""
    return [name for name in dir(suite) if name.startswith("test_") and callable(getattr(suite, name))]


def test_every_promise_has_a_test_of_its_name_and_every_test_a_promise() -> None:
    everything = promised_tests(Capabilities(engine="all"))
    assert {f"test_{promise}" for promise in PROMISES} <= set(everything)
    assert [test for test in everything if promise_of(test) is None] == ["test_capabilities"]


@pytest.mark.parametrize("suite", SUITES)
def test_only_what_an_engine_declares_excuses_a_missing_test(suite: type[EngineConformance]) -> None:
    assert sorted(names_of(suite)) == sorted(promised_tests(suite.capabilities))


def test_both_colours_run_the_same_tests() -> None:
    assert names_of(TestMemory) == names_of(TestAsyncMemory)
    assert names_of(TestSqlite) == names_of(TestAsyncSqlite)


def test_memory_lacks_the_tests_of_durability_only() -> None:
    missing = set(names_of(TestSqlite)) - set(names_of(TestMemory))
    assert {promise_of(test) for test in missing} == {"durable"}
