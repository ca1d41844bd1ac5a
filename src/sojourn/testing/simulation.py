"""Races on command: operations on one store are stepped by hand, in an order that a seed decides.

All that Sojourn waits for is an engine verb, so a scheduler that suspends before and after every verb can bring about each
order in which processes might have reached the store, thousands of times a second, and the same one again from its seed. It
can also drop an operation between any two steps, as the death of its process would.

    from sojourn.testing.simulation import Simulation, explore

    async def two_ask_at_once(simulation: Simulation) -> None:
        talks = simulation.store().conversations
        one, two = await simulation.race(lambda: talks.get_or_create("ann"), lambda: talks.get_or_create("ann"))
        assert one.result().id == two.result().id

    def test_there_is_one_conversation() -> None:
        explore(two_ask_at_once, seeds=1000)

A scenario is a coroutine function that takes a `Simulation`, prepares, lets operations race, and asserts. Operations may be
code of your own that uses the store; `pause` lets the others run where it waits for something else. What waits for an event
loop (a socket, a timer) cannot be simulated.

A race that is won because of a guard must be lost without it, or the scenario proves nothing: ``explore(…,
without="version")`` runs it on an engine that forgets that guard (one of `GUARDS`) and must raise `RaceLostError`.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final, Generic, TypeAlias, TypeVar, cast

from sojourn.core.batch import Answer, Batch, Change, Delete, Point, Redact, Write
from sojourn.core.ids import make_id
from sojourn.core.session import Alias, AliasKey, Snapshot
from sojourn.engines.contract import Engine
from sojourn.errors import UnsupportedError
from sojourn.shell.bridge import run_sync
from sojourn.store import AsyncStore, make_async_store
from sojourn.testing.clocks import ManualClock

__all__ = ["GUARDS", "RaceLostError", "Outcome", "Simulation", "explore", "explore_crashes", "interleaved", "pause"]

T = TypeVar("T")

Operation: TypeAlias = Callable[[], Awaitable[T]]
"""Something to do at the same time as other things: a function that makes a coroutine."""

Scenario: TypeAlias = Callable[["Simulation"], Coroutine[Any, Any, None]]

GUARDS: Final = {
    "atomicity": "the changes of a batch are carried out one by one",
    "epoch": "an alias moves from whatever epoch it has",
    "unique": "an alias may have several targets: each operation sees its own",
    "version": "the version is not looked at",
    "phase": "the phase is not looked at",
    "open": "what ended or was archived is written to",
    "operation": "operation ids are not remembered",
    "lease": "fencing numbers are not looked at",
    "timely": "what is past its deadline is written to",
    "due": "what is not due is taken for due",
}
"""What can be taken from an engine, to see that a scenario then fails."""

_MOST_STEPS: Final = 100_000

_PATIENCE: Final = (0.0, 0.5, 0.9, 0.97)
"""How likely an operation goes on rather than another: some races are lost in the thick of things, others only when one
operation does much while another is about to commit."""


_SLEEP: Final = "sleep "
_WAKING: Final = 0.05
"""How likely an operation that rests goes on while others are awake: whoever waits gives them time."""


class RaceLostError(AssertionError):
    """A scenario failed; ``seed`` (and ``crash_after``) bring the same run about again, ``steps`` say what happened."""

    def __init__(self, simulation: Simulation, error: BaseException) -> None:
        crash = "" if simulation.crash_after is None else f", crash_after={simulation.crash_after}"
        super().__init__(f"seed={simulation.seed}{crash}: {error!r}\n" + "\n".join(f"  {step}" for step in simulation.steps))
        self.seed: int = simulation.seed
        self.crash_after: int | None = simulation.crash_after
        self.steps: tuple[str, ...] = tuple(simulation.steps)


class _Crashed(BaseException):
    """Thrown into an operation that is dropped. It unwinds like a dead process: no engine verb works any more."""


@dataclass(slots=True)
class Outcome(Generic[T]):
    """How an operation of a race ended."""

    value: T | None = None
    error: BaseException | None = None
    crashed: bool = False

    @property
    def done(self) -> bool:
        """It returned."""
        return self.error is None and not self.crashed

    def result(self) -> T:
        """What it returned; raises what it raised."""
        if self.error is not None:
            raise self.error
        assert not self.crashed, "the operation was dropped"
        return cast("T", self.value)


@dataclass(slots=True)
class _Task:
    """One operation of a race on its way."""

    number: int
    coroutine: Coroutine[Any, Any, Any]
    outcome: Outcome[Any] = field(default_factory=Outcome)
    steps: int = 0
    ended: bool = False
    dead: bool = False
    asleep: bool = False


_running: ContextVar[_Task | None] = ContextVar("_running", default=None)


class _Pause:
    def __init__(self, label: str) -> None:
        self._label = label

    def __await__(self) -> Generator[str, None, None]:
        yield self._label


async def pause(label: str = "pause") -> None:
    """Let the other operations run; ``label`` is shown among the steps of a failure."""
    await _Pause(label)


class Simulation:
    """One run: a store in memory under a clock that stands still, and an order that ``seed`` decides."""

    def __init__(self, seed: int = 0, *, crash_after: int | None = None, without: str | None = None) -> None:
        self.seed = seed
        self.random: random.Random = random.Random(seed)
        """For choices of the scenario, so that they too come from the seed."""
        self.clock: ManualClock = ManualClock()
        self.crash_after = crash_after
        self.crashed: bool = False
        """Whether an operation was dropped."""
        self.steps: list[str] = []
        """What happened, in order."""
        self._without = without
        self._engine: Engine | None = None

    @property
    def engine(self) -> Engine:
        """The engine of the stores, for what is tested on its verbs; it suspends before and after each."""
        if self._engine is None:
            self.store()
        return cast("Engine", self._engine)

    def store(self, **options: Any) -> AsyncStore:
        """A store; with ``options`` as `sojourn.aopen` has them, on the same sessions each time."""
        made = run_sync(make_async_store("memory:", blocking=True, clock=self.clock, ids=self._new_id, **options))
        if self._engine is None:
            self._engine = interleaved(made._engine, without=self._without)
        return AsyncStore(self._engine, made._settings)

    def _new_id(self) -> str:
        return make_id(self.clock.micros() // 1000, 0, self.random.getrandbits(70))

    async def race(self, *operations: Operation[Any], crash: int | None = None) -> list[Outcome[Any]]:
        """Do these at the same time; how each ended. The one with the number ``crash`` is dropped when this run drops one."""
        tasks = [_Task(number, _awaiting(operation)) for number, operation in enumerate(operations)]
        patience = self.random.choice(_PATIENCE)
        task: _Task | None = None
        while waiting := [task for task in tasks if not task.ended]:
            awake = [task for task in waiting if not task.asleep or self.random.random() < _WAKING] or waiting
            if task not in awake or self.random.random() >= patience:
                task = self.random.choice(awake)
            if task.number == crash and task.steps == self.crash_after:
                self._drop(task)
            else:
                self._step(task)
            if len(self.steps) > _MOST_STEPS:
                raise AssertionError("the operations of a race never end")
        return [task.outcome for task in tasks]

    async def alone(self, operation: Operation[T], *, crash: bool = False) -> Outcome[T]:
        """Do one thing, which may be dropped."""
        (outcome,) = await self.race(operation, crash=0 if crash else None)
        return outcome

    def _step(self, task: _Task) -> None:
        task.steps += 1
        token = _running.set(task)
        try:
            label = task.coroutine.send(None)
        except StopIteration as stop:
            task.outcome.value, task.ended = stop.value, True
            self.steps.append(f"{task.number}: returned")
        except Exception as error:  # handed to the scenario
            task.outcome.error, task.ended = error, True
            self.steps.append(f"{task.number}: raised {error!r}")
        else:
            self.steps.append(f"{task.number}: {_labelled(label)}")
            task.asleep = label.startswith(_SLEEP)
        finally:
            _running.reset(token)

    def _drop(self, task: _Task) -> None:
        self.steps.append(f"{task.number}: dropped")
        task.dead = task.ended = task.outcome.crashed = True
        self.crashed = True
        token = _running.set(task)
        try:
            while True:  # whatever it does on its way out reaches no engine
                task.coroutine.throw(_Crashed())
        except (_Crashed, StopIteration):
            pass
        finally:
            _running.reset(token)

    def run(self, scenario: Scenario) -> None:
        """Run a scenario; `RaceLostError` says with which steps it failed."""
        coroutine = scenario(self)
        try:
            for _ in range(_MOST_STEPS):
                _labelled(coroutine.send(None))
            raise RaceLostError(self, AssertionError("the scenario never ends"))
        except StopIteration:
            return
        except RaceLostError:
            raise
        except Exception as error:
            raise RaceLostError(self, error) from error
        finally:
            coroutine.close()


def explore(scenario: Scenario, *, seeds: int | Iterable[int] = 1000, without: str | None = None) -> None:
    """Run a scenario under each of the seeds (a number: that many); raises `RaceLostError` for the first that fails."""
    for seed in range(seeds) if isinstance(seeds, int) else seeds:
        Simulation(seed, without=without).run(scenario)


def explore_crashes(scenario: Scenario, *, seeds: int | Iterable[int] = 20, without: str | None = None) -> int:
    """As `explore`, with the operation that may crash dropped after each of its steps in turn; how often that was."""
    crashes = 0
    for seed in range(seeds) if isinstance(seeds, int) else seeds:
        for place in range(_MOST_STEPS):
            simulation = Simulation(seed, crash_after=place, without=without)
            simulation.run(scenario)
            if not simulation.crashed:
                break
            crashes += 1
    return crashes


def _labelled(label: object) -> str:
    if not isinstance(label, str):
        raise RuntimeError(f"something waits for {label!r}, which cannot be simulated: await pause() or a store's operations")
    return label


async def _awaiting(operation: Operation[T]) -> T:
    return await operation()


# --------------------------------------------------------------------------------------------------------------- the engine


def interleaved(engine: Engine, *, without: str | None = None) -> Engine:
    """A blocking ``engine`` whose verbs suspend before and after they act; ``without`` one of the `GUARDS`."""
    if without is not None and without not in GUARDS:
        raise ValueError(f"there is no guard {without!r}; there are {', '.join(GUARDS)}")
    kind = {None: _Interleaved, "atomicity": _NotAtomic, "unique": _NotUnique}.get(without, _Unguarded)
    return cast("Engine", kind(engine, without or ""))


class _Interleaved:
    """Every verb of an engine, between two suspensions."""

    def __init__(self, engine: Engine, without: str) -> None:
        self._engine = engine
        self._without = without

    @property
    def capabilities(self) -> Any:
        return self._engine.capabilities

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        verb = getattr(self._engine, name)

        async def call(*args: Any, **named: Any) -> Any:
            return await self._between(name, lambda: verb(*args, **named))

        return call

    async def _between(self, name: str, act: Callable[[], Awaitable[T]]) -> T:
        await self._alive(f"before {name}")
        result = await act()
        await self._alive(f"after {name}")
        return result

    async def _alive(self, label: str) -> None:
        task = _running.get()
        if task is not None and task.dead:
            raise _Crashed
        await pause(label)

    async def commit(self, batch: Batch) -> Answer:
        changes = ", ".join(f"{type(change).__name__} {getattr(change, 'change', '')}".strip() for change in batch.changes)
        return await self._between(f"commit ({changes})", lambda: self._commit(batch))

    async def _commit(self, batch: Batch) -> Answer:
        return await self._engine.commit(batch)

    async def changed(self, after: tuple[int, ...], timeout: float, *, session: str | None = None) -> str:
        del timeout, session
        await self._alive("before changed")
        return "now" if await self._engine.tip() != after else "timeout"

    async def sleep(self, seconds: float) -> None:
        await self._alive(f"{_SLEEP}{timedelta(seconds=seconds)}")

    def spawn(self, body: object) -> Any:
        del body
        raise UnsupportedError("nothing runs beside a simulation.", hint="Make it an operation of the race.")


class _Unguarded(_Interleaved):
    """Forgets one guard."""

    async def _commit(self, batch: Batch) -> Answer:
        if self._without == "operation":
            return await self._engine.commit(replace(batch, operation=None, fingerprint=""))
        return await self._engine.commit(replace(batch, changes=tuple(map(self._weakened, batch.changes))))

    def _weakened(self, change: Change) -> Change:
        # -1 never holds: what asks only whether an operation id has been answered stays a question.
        if isinstance(change, Point):
            return replace(change, epoch=None) if self._without == "epoch" and change.epoch != -1 else change
        if not isinstance(change, Write | Redact | Delete) or change.guard.version == -1:
            return change
        return replace(change, guard=replace(change.guard, **_FORGOTTEN.get(self._without, {})))


_FORGOTTEN: Final[dict[str, dict[str, Any]]] = {
    "version": {"version": None},
    "phase": {"phase": None},
    "open": {"open": False},
    "lease": {"lease": None, "fence": None},
    "timely": {"timely": False},
    "due": {"due": False},
}


class _NotAtomic(_Interleaved):
    """Carries out the changes of a batch one by one."""

    async def _commit(self, batch: Batch) -> Answer:
        if len(batch.changes) < 2:
            return await self._engine.commit(batch)
        answers: list[Answer] = []
        for change in batch.changes:
            answers.append(await self._engine.commit(replace(batch, changes=(change,), operation=None)))
            if answers[-1].refusal is not None:
                return answers[-1]
            await self._alive("between two changes")
        return replace(
            answers[-1],
            moved=sum((answer.moved for answer in answers), ()),
            epochs=sum((answer.epochs for answer in answers), ()),
            fences=sum((answer.fences for answer in answers), ()),
        )


class _NotUnique(_Interleaved):
    """Keeps an alias once for each operation that moves it."""

    def __init__(self, engine: Engine, without: str) -> None:
        super().__init__(engine, without)
        self._kept: dict[tuple[str, str, str], dict[int, AliasKey]] = {}

    async def _commit(self, batch: Batch) -> Answer:
        changes = [self._own(batch.tenant, change) if isinstance(change, Point) else change for change in batch.changes]
        return await self._engine.commit(replace(batch, changes=tuple(changes)))

    def _own(self, tenant: str, change: Point) -> Point:
        key, number = change.alias, _number()
        own = AliasKey(key.home, key.namespace, f"{key.key}#{number}")
        self._kept.setdefault((tenant, key.namespace, key.key), {})[number] = own
        return Point(own, change.target, None)

    async def follow(self, tenant: str, alias: AliasKey) -> Snapshot:
        kept = self._kept.get((tenant, alias.namespace, alias.key), {})
        seen = kept.get(_number()) or kept.get(-1) or (next(iter(kept.values()), alias) if _number() < 0 else alias)
        snapshot = await self._between("follow", lambda: self._engine.follow(tenant, seen))
        return replace(snapshot, alias=_under(alias.key, snapshot.alias))

    async def aliases(self, tenant: str, **only: Any) -> list[Alias]:
        found = await self._between("aliases", lambda: self._engine.aliases(tenant, **only))
        return [cast("Alias", _under(alias.key.key.rpartition("#")[0] or alias.key.key, alias)) for alias in found]


def _number() -> int:
    """Of the operation that runs; -1 outside of races."""
    task = _running.get()
    return -1 if task is None else task.number


def _under(key: str, alias: Alias | None) -> Alias | None:
    return None if alias is None else replace(alias, key=replace(alias.key, key=key))
