"""Where the tests of conversations work: each is written once, and runs on every engine, in both colours.

A test is an `async def` that takes a `lab`. In the asynchronous colour it runs under an event loop, on `sojourn.aopen`. In
the blocking colour it is stepped by `run_sync` on `sojourn.open`: the real generated classes, behind a face with the
asynchronous names that calls them when it is awaited, and never suspends.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TypeVar, cast
from zlib import crc32

import pytest

import sojourn
from sojourn import (
    AsyncContexts,
    AsyncConversations,
    AsyncDirectory,
    AsyncLogins,
    AsyncStore,
    AsyncWorkspaces,
    ContextPolicy,
    ConversationPolicy,
    Event,
    LoginPolicy,
    Message,
    Messages,
    NewLogin,
    WorkspacePolicy,
)
from sojourn.engines.background import TaskBackground
from sojourn.engines.contract import Capabilities, Engine
from sojourn.engines.locate import Opening, open_engine
from sojourn.shell.bridge import run_sync
from sojourn.store import Settings, make_async_store
from sojourn.testing.clocks import ManualClock
from sojourn.testing.engines import EnginePlaces
from sojourn.testing.places import MemoryPlaces

T = TypeVar("T")
V = TypeVar("V")

Work = Callable[[], Awaitable[T]]

COMBINATIONS: Final = [
    pytest.param(("memory", True), id="memory"),
    pytest.param(("memory", False), id="memory-async"),
    pytest.param(("sqlite", True), id="sqlite"),
    pytest.param(("sqlite", False), id="sqlite-async"),
]

SERVERS: Final = [name for name in EnginePlaces.available() if name not in ("memory", "sqlite")]
WITHOUT_SEARCH: Final = ("redis",)
EVERYTHING: Final = "SOJOURN_TEST_EVERYTHING"
"""Set in the environment: every test on every engine in both colours. Otherwise the engines behind a network have one colour
in each test, and none in tests with cases of their own: a place on a server takes longer than most tests do."""

HUNG: Final = 60.0
"""Seconds after which threads that run together count as hung."""


# ------------------------------------------------------------------------------------ blocking code with asynchronous names


class _Context:
    """A blocking context manager, entered with ``async with``."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    async def __aenter__(self) -> Any:
        return self._inner.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Any:
        return self._inner.__exit__(kind, error, trace)


class _Steps:
    """A blocking iterator, iterated with ``async for``."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __aiter__(self) -> _Steps:
        return self

    async def __anext__(self) -> Any:
        try:
            return next(self._inner)
        except StopIteration:
            raise StopAsyncIteration from None

    async def aclose(self) -> None:
        self._inner.close()


_KINDS: Final = (sojourn.Contexts, sojourn.Conversations, sojourn.Games, sojourn.Sessions, sojourn.Workspaces)
_CONTEXTS: Final = {"run_lease", "turn", "lease", "runner", "hold", "lock"}
_PLAIN: Final = {"format_banner", "format_choices"}
_STEPS: Final = {("Store", "watch"), ("Store", "export"), ("Games", "watch")}


class _Face:
    """A generated blocking object with the asynchronous names."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        if isinstance(value, _KINDS):
            return _Face(value)
        if isinstance(value, (sojourn.Logins, sojourn.Directory)):
            return _Face(value)
        if not inspect.ismethod(value) or name in _PLAIN:
            return value
        if name in _CONTEXTS:
            return lambda *args, **named: _Context(value(*args, **named))
        if (type(self._inner).__name__, name) in _STEPS:
            return lambda *args, **named: _Steps(value(*args, **named))
        if name in ("for_tenant", "acting"):
            return lambda *args, **named: _Face(value(*args, **named))

        async def call(*args: Any, **named: Any) -> Any:
            return value(*args, **named)

        return call


# --------------------------------------------------------------------------------------------------------- the laboratory


class Lab:
    """One store on a fresh place. ``clock`` is its time, and stands still unless it is moved."""

    def __init__(self, engine: str, path: Path, *, blocking: bool, places: EnginePlaces) -> None:
        self.engine = engine
        self.place = places.fresh(engine, path)
        self.blocking = blocking
        self.path = path / "store.db"
        self._places = places
        self.clock = ManualClock()
        self._opened: list[AsyncStore] = []
        self._opening = threading.RLock()
        self._store: AsyncStore | None = None
        self._workspaces: AsyncWorkspaces | None = None
        self.places: MemoryPlaces = MemoryPlaces(agent="ada")
        """A directory of a project, and an agent in it."""

    @property
    def url(self) -> str:
        """Of the place."""
        return f"sqlite:///{self.path}" if self.engine == "sqlite" else self.place.url

    def open(self, **options: Any) -> AsyncStore:
        """One more store on the place (in memory: on a place of its own), as another program would open it."""
        options = {"clock": self.clock, "engine": self.place.options, **options}
        store: Any
        if self.blocking:
            store = _Face(sojourn.open(self.url, **options))
        elif self.engine in SERVERS:
            store = _opened_later(self.url, options)
        else:
            store = run_sync(_opened(sojourn.aopen(self.url, **options)))
        self._opened.append(store)
        return cast("AsyncStore", store)

    def elsewhere(self) -> AsyncStore:
        """A store on another fresh place of the same engine."""
        here, path = self.place, self.path
        self.path = path.with_name("elsewhere.db")
        self.place = self._places.fresh(self.engine, path.parent)
        try:
            return self.open()
        finally:
            self.place, self.path = here, path

    @property
    def store(self) -> AsyncStore:
        """The store, with default policies: one, whichever threads ask for it first."""
        with self._opening:
            if self._store is None:
                self._store = self.open()
            return self._store

    @property
    def talks(self) -> AsyncConversations:
        """Its conversations."""
        return self.store.conversations

    @property
    def contexts(self) -> AsyncContexts:
        """Its contexts."""
        return self.store.contexts

    def gathering(self, **policy: Any) -> AsyncContexts:
        """The contexts of the same store under another policy."""
        return self._with(contexts=ContextPolicy(**policy)).contexts

    def under(self, **policy: Any) -> AsyncStore:
        """The same store under another policy for conversations."""
        return self._with(conversations=ConversationPolicy(**policy))

    @property
    def logins(self) -> AsyncLogins:
        """Its logins; users are those of `directory`."""
        return self.store.logins

    @property
    def directory(self) -> AsyncDirectory:
        """Its directory."""
        return self.store.directory

    def signing(self, **policy: Any) -> AsyncLogins:
        """The logins of the same store under another policy."""
        return self._with(logins=LoginPolicy(**policy)).logins

    def knowing(self, directory: Any, **policy: Any) -> AsyncLogins:
        """The logins of the same store with another directory."""
        return self._with(logins=LoginPolicy(**policy), directory=directory).logins

    async def user(self, name: str = "ann") -> str:
        """The id of a user of the directory, made when there is none of the name."""
        return await self.directory.user_id(name) or await self.directory.add_user(name)

    async def hero(self, user: str = "ann", name: str = "Elwing", world: str = "middle") -> str:
        """The id of a new character of a user."""
        if await self.directory.world(world) is None:
            await self.directory.add_world(world, world.title())
        return await self.directory.add_character(await self.user(user), world, name)

    async def device(self, user: str = "ann", *, logins: AsyncLogins | None = None, **more: Any) -> NewLogin:
        """A new login of a user."""
        return await (self.logins if logins is None else logins).create(await self.user(user), **more)

    def at_work(self, places: MemoryPlaces | None = None, **policy: Any) -> AsyncWorkspaces:
        """The workspaces of the same store as somebody in a place sees them, under another policy."""
        where = self.places if places is None else places
        return self._with(workspaces=WorkspacePolicy(**policy), places=lambda: where).workspaces

    @property
    def workspaces(self) -> AsyncWorkspaces:
        """The workspaces of that directory."""
        with self._opening:
            if self._workspaces is None:
                self._workspaces = self.at_work()
            return self._workspaces

    def _with(self, **policies: Any) -> AsyncStore:
        inner = cast("Any", self.store)
        aio = inner._inner._aio if self.blocking else inner
        settings: Settings = replace(aio._settings, **policies)
        made = AsyncStore(aio._engine, settings, owns_engine=False)
        return cast("AsyncStore", _Face(sojourn.Store(made))) if self.blocking else made

    async def close(self) -> None:
        """Close every store that was opened."""
        for store in self._opened:
            await store.close()

    # -- short ways to say things ----------------------------------------------------------------------------------

    def later(self, **duration: float) -> None:
        """Move the clock (``hours=5``, or backwards: ``hours=-5``)."""
        self.clock.advance(timedelta(**duration))

    async def talk(self, *texts: str, user: str | int = "ann", talks: AsyncConversations | None = None, **more: Any) -> str:
        """The id of a new conversation with these messages, of the user and the assistant in turn."""
        chosen = self.talks if talks is None else talks
        made = await chosen.create(user, **more)
        if texts:
            await chosen.extend(made.id, self.in_turn(texts))
        return made.id

    async def long_talk(self, count: int, *, user: str | int = "ann", talks: AsyncConversations | None = None) -> str:
        """The id of a new conversation of ``count`` messages: "message 1", "message 2", …"""
        return await self.talk(*self.numbered(count), user=user, talks=talks)

    async def texts(self, talk: str, **listing: Any) -> list[str]:
        """What a list of messages shows, as texts; summaries as ``[first-last]``."""
        return self.shown(await self.talks.messages(talk, **listing))

    async def events(self, **only: Any) -> list[Event]:
        """All events so far."""
        return [event async for event in self.store.watch(after=self.beginning, timeout=timedelta(0), **only)]

    @property
    def beginning(self) -> str:
        """The cursor before the first event."""
        from sojourn.shell.feed import cursor_text

        return cursor_text((0,) * self.place.numbers)

    def on_disk(self) -> bytes:
        """All bytes of the store's files, after the write-ahead log was folded into the database."""
        import sqlite3

        connection = sqlite3.connect(self.path)
        try:
            busy, _, _ = connection.execute("pragma wal_checkpoint(truncate)").fetchone()
            assert not busy
        finally:
            connection.close()
        return b"".join(file.read_bytes() for file in sorted(self.path.parent.glob(self.path.name + "*")))

    @staticmethod
    def numbered(count: int, start: int = 1) -> list[str]:
        """The texts of a long talk."""
        return [f"message {number}" for number in range(start, start + count)]

    @staticmethod
    def in_turn(texts: Iterable[str]) -> list[dict[str, Any]]:
        """Messages of the user and the assistant in turn."""
        return [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(texts)]

    @property
    def searches(self) -> bool:
        """Whether the engine searches; one that does not says so."""
        return self.engine not in WITHOUT_SEARCH

    @staticmethod
    def shown(messages: Iterable[Message]) -> list[str]:
        """Messages as texts; summaries of a fold as ``[first-last]``."""
        return [
            message.text if message.covers is None else f"[{message.covers[0]}-{message.covers[1]}]" for message in messages
        ]

    @staticmethod
    def brief(messages: Messages) -> str:
        """A summariser that says how much it was given."""
        return f"summary of {len(messages)}"

    # -- at the same time ------------------------------------------------------------------------------------------

    async def together(self, *works: Work[T]) -> list[T]:
        """Do these at the same time, in threads or in tasks; the results in order, or the first error."""
        results: list[T] = []
        for outcome in await self.outcomes(*works):
            if isinstance(outcome, BaseException):
                raise outcome
            results.append(outcome)
        return results

    @staticmethod
    def in_thread(work: Work[T]) -> T:
        """The result of blocking work in a thread of its own, as when somebody else does it meanwhile."""
        outcome = _in_threads((work,))[0]
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    async def each(self, values: Iterable[V], work: Callable[[V], Awaitable[T]]) -> list[T]:
        """Do one thing with each of these at the same time."""
        return await self.together(*[partial(work, value) for value in values])

    async def outcomes(self, *works: Work[T]) -> list[T | BaseException]:
        """As `together`, with each error in the place of its result."""
        if self.blocking:
            return _in_threads(works)
        return await asyncio.gather(*(work() for work in works), return_exceptions=True)


async def _opened(opening: Awaitable[AsyncStore]) -> AsyncStore:
    return await opening


def _opened_later(url: str, options: dict[str, Any]) -> AsyncStore:
    """A store on an engine that connects under the loop of the test, at its first step; tests say ``lab.store`` at once."""
    plain = {name: value for name, value in options.items() if name != "engine"}
    settings = run_sync(make_async_store("memory:", blocking=False, **plain))._settings
    clock, durability = options["clock"].micros, options.get("durability", "full")
    opening = Opening(url, False, clock, durability, options.get("migrate", True), options["engine"])
    return AsyncStore(cast("Engine", _Later(opening)), settings)


class _Later:
    """The verbs of an engine that is opened by the first of them."""

    def __init__(self, opening: Opening) -> None:
        self._opening = opening
        self._engine: Engine | None = None
        self._lock: asyncio.Lock | None = None

    @property
    def capabilities(self) -> Capabilities:
        engine = self._opening.url.partition(":")[0]
        return Capabilities(engine=engine, search=engine not in WITHOUT_SEARCH)

    def spawn(self, body: Callable[[], Coroutine[Any, Any, None]]) -> TaskBackground:
        return TaskBackground(body)

    async def close(self) -> None:
        if self._engine is not None:
            await self._engine.close()

    def __getattr__(self, name: str) -> Any:
        if name in ("check", "backup") and self.capabilities.engine == "redis":
            raise AttributeError(name)

        async def verb(*args: Any, **named: Any) -> Any:
            if self._lock is None:
                self._lock = asyncio.Lock()
            async with self._lock:
                if self._engine is None:
                    self._engine = await open_engine(self._opening)
            return await getattr(self._engine, name)(*args, **named)

        return verb


async def _awaiting(work: Work[T]) -> T:
    return await work()


def _in_threads(works: tuple[Work[T], ...]) -> list[T | BaseException]:
    """Run each in a thread of its own; they start at one moment and are switched often, so that races happen."""
    start = threading.Barrier(len(works))
    outcomes: dict[int, T | BaseException] = {}

    def run(place: int, work: Work[T]) -> None:
        try:
            start.wait(HUNG)
            outcomes[place] = run_sync(_awaiting(work))
        except BaseException as error:  # handed to the test
            outcomes[place] = error

    threads = [threading.Thread(target=run, args=item, daemon=True) for item in enumerate(works)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(HUNG)
    finally:
        sys.setswitchinterval(interval)
    assert len(outcomes) == len(works), "some of the threads hang"
    return [outcomes[place] for place in range(len(works))]


# ------------------------------------------------------------------------------------------------------------- for pytest


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test runs in all combinations; one with cases of its own in two of them, each engine and each colour once."""
    if "lab" in metafunc.fixturenames:
        cases = any(mark.name == "parametrize" for mark in metafunc.definition.iter_markers())
        everything = EVERYTHING in os.environ
        combinations = COMBINATIONS[::3] if cases and not everything else list(COMBINATIONS)
        if everything or not cases:
            searches = metafunc.definition.get_closest_marker("search") is not None
            combinations += on_servers(metafunc.definition.name, everything=everything, searches=searches)
        metafunc.parametrize("lab", combinations, indirect=True)


def on_servers(test: str, *, everything: bool, searches: bool) -> list[Any]:
    """The combinations behind a network: both colours of each engine, or the one that the test's name falls on.

    Tests that are about search alone are not for engines without it.
    """
    return [
        pytest.param((engine, blocking), id=engine if blocking else f"{engine}-async")
        for engine in SERVERS
        for blocking in (True, False)
        if not (searches and engine in WITHOUT_SEARCH)
        and (everything or blocking == bool(crc32(f"{engine} {test}".encode()) % 2))
    ]


@pytest.fixture(scope="session")
def engine_places() -> Generator[EnginePlaces]:
    """Fresh places on every engine, servers included."""
    with EnginePlaces() as places:
        yield places


@pytest.fixture
def lab(request: pytest.FixtureRequest, tmp_path: Path, engine_places: EnginePlaces) -> Lab:
    """A laboratory in each combination of engine and colour."""
    engine, blocking = request.param
    return Lab(engine, tmp_path, blocking=blocking, places=engine_places)


@pytest.fixture(params=COMBINATIONS[2:])
def disk_lab(request: pytest.FixtureRequest, tmp_path: Path, engine_places: EnginePlaces) -> Lab:
    """A laboratory whose store is a file."""
    engine, blocking = request.param
    return Lab(engine, tmp_path, blocking=blocking, places=engine_places)


@pytest.fixture
def memory_lab(tmp_path: Path, engine_places: EnginePlaces) -> Lab:
    """A laboratory for what does not depend on the engine or the colour."""
    return Lab("memory", tmp_path, blocking=True, places=engine_places)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Drive a test that is a coroutine in the colour of its laboratory, and close what it opened."""
    test = pyfuncitem.obj
    if not inspect.iscoroutinefunction(test):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    labs = [value for value in arguments.values() if isinstance(value, Lab)]
    assert len(labs) == 1, "a coroutine test takes one laboratory"
    drive(_closing(test, arguments, labs[0]), blocking=labs[0].blocking)
    return True


def drive(coroutine: Coroutine[Any, Any, T], *, blocking: bool) -> T:
    """Run a coroutine in a colour."""
    return run_sync(coroutine) if blocking else asyncio.run(coroutine)


async def _closing(test: Callable[..., Awaitable[None]], arguments: dict[str, Any], lab: Lab) -> None:
    try:
        await test(**arguments)
    finally:
        await lab.close()
