"""``sojourn bench``: a standard workload against a user's own store, in a tenant of its own that is removed at the end."""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from secrets import token_hex
from typing import TYPE_CHECKING, Any, Final

from sojourn.cli.call import Call
from sojourn.cli.exits import UsageError
from sojourn.cli.output import Listing
from sojourn.cli.parser import Parser

if TYPE_CHECKING:
    from sojourn.store import AsyncStore
    from sojourn.sync.store import Store

_PEOPLE: Final = 50
_MESSAGE: Final = "Where is the invoice of last month, and why has nobody answered me since Tuesday?"


@dataclass(frozen=True)
class Measured:
    """One row: a piece of work, done by so many callers at once."""

    work: str
    callers: int
    colour: str
    per_second: float
    median_ms: float
    p99_ms: float
    operations: int


def fill(_: str, parser: Parser) -> None:
    """Add what the command takes."""
    parser.description = (
        "Measure this store from here: what one caller and many at once get, in blocking and asynchronous code. It works in\n"
        "a tenant of its own (bench-...), which is erased at the end; others who use the store meanwhile will notice."
    )
    parser.examples("sojourn bench --store postgresql://user@host/app\nsojourn bench --store app.db --seconds 5 --json")
    parser.add_argument("--seconds", metavar="S", type=float, default=2.0, help="how long each row takes (default: 2)")
    parser.add_argument("--callers", metavar="N", type=int, default=50, help="how many at once, where it is many (default: 50)")
    parser.set_defaults(run=bench)


def bench(call: Call) -> None:
    """``bench``."""
    given = call.arguments
    if not 0.05 <= given.seconds <= 600 or not 2 <= given.callers <= 1000:
        raise UsageError("--seconds must be from 0.05 to 600, and --callers from 2 to 1000.")
    if call.dry_run:
        call.output.would(f"measure {call.place} for about {12 * given.seconds:.0f} s")
        return
    tenant = f"bench-{token_hex(6)}"
    rows = list(_rows(call, tenant, given.seconds, given.callers))
    cells = [
        [row.work, f"{row.callers}", row.colour, f"{row.per_second:,.0f}", f"{row.median_ms:.2f}", f"{row.p99_ms:.2f}"]
        for row in rows
    ]
    columns = ("WORK", "CALLERS", "COLOUR", "PER SECOND", "MEDIAN MS", "99 % WITHIN MS")
    documents = [asdict(row) for row in rows]

    def human() -> None:
        call.output.listing(Listing(documents, columns, cells, [], numbers=frozenset(columns[3:])))

    call.output.answer({"store": call.place, "rows": documents}, [], human)


def _rows(call: Call, tenant: str, seconds: float, callers: int) -> list[Measured]:
    from sojourn.kinds.conversations.model import ConversationPolicy
    from sojourn.store import aopen
    from sojourn.sync.opening import open as open_store

    policy = ConversationPolicy(fold_above=None)
    found: list[Measured] = []
    with open_store(call.url, tenant=tenant, conversations=policy) as store:
        try:
            talks = [store.conversations.create(f"person {number}").id for number in range(_PEOPLE)]
            for talk in talks:
                store.conversations.extend(talk, [{"role": "user", "content": _MESSAGE}] * 20)
            with call.output.progress("rows measured") as progress:
                for name, work in _BLOCKING.items():
                    for number in (1, min(callers, 32)):
                        found.append(_in_threads(name, number, seconds, work, store, talks))
                        progress(len(found))

                async def asynchronous() -> None:
                    async with aopen(call.url, tenant=tenant, conversations=policy) as opened:
                        for name, work in _ASYNC.items():
                            found.append(await _in_tasks(name, callers, seconds, work, opened, talks))
                            progress(len(found))

                asyncio.run(asynchronous())
        finally:
            for number in range(_PEOPLE):
                store.erase(f"person {number}")
    return found


_BLOCKING: Final[dict[str, Callable[[Store, str], object]]] = {
    "append a message": lambda store, talk: store.conversations.append(talk, "user", _MESSAGE),
    "read a conversation": lambda store, talk: store.conversations.get(talk),
    "read its last 20 messages": lambda store, talk: store.conversations.messages(talk, last=20),
    "list a person's": lambda store, _: store.conversations.list(user_id="person 7"),
}

_ASYNC: Final[dict[str, Callable[[AsyncStore, str], Awaitable[object]]]] = {
    "append a message": lambda store, talk: store.conversations.append(talk, "user", _MESSAGE),
    "read a conversation": lambda store, talk: store.conversations.get(talk),
    "read its last 20 messages": lambda store, talk: store.conversations.messages(talk, last=20),
}


def _in_threads(name: str, callers: int, seconds: float, work: Any, store: Store, talks: list[str]) -> Measured:
    took: list[list[float]] = [[] for _ in range(callers)]
    failed: list[BaseException] = []
    end = time.perf_counter() + seconds

    def run(place: int) -> None:
        try:
            turn = place
            while turn == place or time.perf_counter() < end:  # once also where the time was over before it began
                started = time.perf_counter()
                work(store, talks[turn % _PEOPLE])
                took[place].append(time.perf_counter() - started)
                turn += callers
        except BaseException as error:  # raised below, where somebody hears it
            failed.append(error)

    threads = [threading.Thread(target=run, args=(place,)) for place in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return _measured(name, callers, "blocking", seconds, [one for mine in took for one in mine])


async def _in_tasks(name: str, callers: int, seconds: float, work: Any, store: AsyncStore, talks: list[str]) -> Measured:
    took: list[float] = []
    end = time.perf_counter() + seconds

    async def run(place: int) -> None:
        turn = place
        while turn == place or time.perf_counter() < end:
            started = time.perf_counter()
            await work(store, talks[turn % _PEOPLE])
            took.append(time.perf_counter() - started)
            turn += callers
            await asyncio.sleep(0)  # what never waits would let nobody else begin

    await asyncio.gather(*map(run, range(callers)))
    return _measured(name, callers, "async", seconds, took)


def _measured(name: str, callers: int, colour: str, seconds: float, took: list[float]) -> Measured:
    took.sort()
    worst = took[min(len(took) - 1, int(len(took) * 0.99))]
    return Measured(
        name,
        callers,
        colour,
        round(len(took) / seconds, 1),
        round(statistics.median(took) * 1000, 3),
        round(worst * 1000, 3),
        len(took),
    )
