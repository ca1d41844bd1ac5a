"""What every engine promises, as tests: whoever writes an engine subclasses `EngineConformance` once for each colour.

    from sojourn.engines.contract import Capabilities, Clock, Engine
    from sojourn.testing.conformance import EngineConformance

    class TestMyEngine(EngineConformance):
        blocking = True
        capabilities = Capabilities(engine="mine", search=False)

        async def open_engine(self, place: Path, clock: Clock) -> Engine:
            return MyEngine(place / "sessions", clock)

    class TestMyAsyncEngine(EngineConformance):
        blocking = False
        capabilities = Capabilities(engine="mine", search=False)

        async def open_engine(self, place: Path, clock: Clock) -> Engine:
            return await MyAsyncEngine.open(place / "sessions", clock)

Each sentence of `sojourn.engines.contract.PROMISES` has a test of its name and often more, `test_<promise>_<case>`. Every test
is written once and runs in the engine's colour: a blocking engine's coroutines are stepped by `shell.bridge.run_sync` and
race in threads, an asynchronous engine's run under an event loop and race in tasks. No test sleeps; `open_engine` is given
the clock that the engine must use.
"""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest

from sojourn.engines.contract import PROMISES, Capabilities, Clock, Engine
from sojourn.testing.conformance.answers import Answers
from sojourn.testing.conformance.coalescing import Coalescing
from sojourn.testing.conformance.commits import Commits
from sojourn.testing.conformance.events import Events
from sojourn.testing.conformance.forks_and_deletion import ForksAndDeletion
from sojourn.testing.conformance.lab import Lab, Test, drive, needed_by
from sojourn.testing.conformance.leases import Leases
from sojourn.testing.conformance.names import Names
from sojourn.testing.conformance.reads import Reads
from sojourn.testing.conformance.times import Times

__all__ = ["EngineConformance", "Lab", "promise_of", "promised_tests"]


class EngineConformance(Commits, Answers, Names, Times, Leases, Reads, Events, ForksAndDeletion, Coalescing):
    """The whole suite for one engine in one colour. Subclass it as ``Test…`` and say the four things below."""

    blocking: ClassVar[bool]
    """Whether the engine's coroutines never suspend."""

    capabilities: ClassVar[Capabilities]
    """What the engine says it can do; tests of what it cannot are left out, and only those."""

    @pytest.fixture
    def place(self, tmp_path: Path) -> Any:
        """A fresh and empty place for the engine of one test: a directory, unless a subclass makes something else."""
        return tmp_path

    @abstractmethod
    async def open_engine(self, place: Any, clock: Clock) -> Engine:
        """An engine on ``place`` with this clock. Called again, another one that sees the same sessions."""

    async def destroy(self, place: Any) -> None:
        """Remove what an engine made at ``place``, after its engines were closed."""

    async def test_capabilities(self, lab: Lab) -> None:
        """The engine declares what its tests were chosen by."""
        assert lab.engine.capabilities == self.capabilities

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if not hasattr(cls, "capabilities"):
            return
        promised = promised_tests(cls.capabilities)
        for name in _all_tests():
            # None, and not a skip: a test that an engine need not pass is not one of its tests.
            setattr(cls, name, _driven(getattr(EngineConformance, name)) if name in promised else None)


def promised_tests(capabilities: Capabilities) -> list[str]:
    """The names of the tests that an engine with these capabilities must pass."""
    return [name for name, test in _all_tests().items() if all(getattr(capabilities, need) for need in needed_by(test))]


def promise_of(test: str) -> str | None:
    """The promise that a test is about: the longest one that its name begins with."""
    about = [promise for promise in PROMISES if test == f"test_{promise}" or test.startswith(f"test_{promise}_")]
    return max(about, key=len, default=None)


def _all_tests() -> dict[str, Test]:
    themes = reversed(EngineConformance.__mro__)
    return {
        name: member
        for theme in themes
        for name, member in vars(theme).items()
        if name.startswith("test_") and inspect.iscoroutinefunction(member)
    }


def _driven(test: Test) -> Callable[[EngineConformance, Any], None]:
    """The function that pytest calls for a test: it opens the engine, drives the test in its colour, and cleans up."""

    async def whole(suite: EngineConformance, place: Any) -> None:
        lab = Lab(partial(suite.open_engine, place), blocking=suite.blocking)
        try:
            await lab.open()
            await test(suite, lab)
        finally:
            await lab.close()
            await suite.destroy(place)

    def run(self: EngineConformance, place: Any) -> None:
        drive(whole(self, place), blocking=self.blocking)

    run.__name__, run.__qualname__, run.__doc__ = test.__name__, test.__qualname__, test.__doc__
    return run
