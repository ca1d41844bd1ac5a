"""Server-sent events: committed changes with their cursors, resumable, honest about gaps."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator
from datetime import timedelta
from typing import Any, Final, Literal, TypeAlias, TypeVar

from starlette.requests import Request
from starlette.responses import StreamingResponse

from sojourn.service.calls import ENCODER
from sojourn.service.hub import Hub
from sojourn.service.problems import ProblemError
from sojourn.shell.feed import Event
from sojourn.store import AsyncStore

BEAT: Final = timedelta(seconds=15)
"""A comment is sent after so long without an event, so that proxies keep the stream and a dead client is noticed."""
STREAMING: Final = {"cache-control": "no-store", "x-accel-buffering": "no"}

T = TypeVar("T")

Watch: TypeAlias = Callable[[str, timedelta], AsyncIterator[Event]]
"""Events behind a cursor; ends after so long without one."""


class Streams:
    """The streams that are open. When the service stops they end, so that clients come again elsewhere."""

    def __init__(self, most: int = 2_000) -> None:
        self.open: int = 0
        self._most = most
        self._stopping = asyncio.Event()
        self._hubs: dict[str, Hub] = {}

    def stop(self) -> None:
        """End every stream after the event it is at, and every request that waits for others."""
        self._stopping.set()
        for hub in self._hubs.values():
            hub.stop()

    async def close(self) -> None:
        """Stop, and read no events any more."""
        self.stop()
        await asyncio.gather(*(hub.close() for hub in self._hubs.values()))

    def follow(self, store: AsyncStore, kind: str | None, id: str | None, after: str) -> AsyncGenerator[list[Event], None]:
        """Events of a tenant behind a cursor, as many as there are, until the service stops or the caller goes.

        None of them after a while without one.
        """
        hub = self._hubs.get(store.tenant)
        if hub is None:
            hub = self._hubs[store.tenant] = Hub(store)
        return hub.follow(kind, id, after, BEAT.total_seconds())

    @property
    def stopping(self) -> bool:
        """Whether the service is on its way down."""
        return self._stopping.is_set()

    @contextlib.contextmanager
    def counted(self) -> Generator[None, None, None]:
        """One more is open."""
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1

    def check_room(self) -> None:
        """Refuse one that is too many, or comes while the service stops."""
        wait = {"retry-after": "1"}
        if self.stopping:
            raise stopping()
        if self.open >= self._most:
            raise ProblemError(503, "service.streams", f"{self._most:,} streams are open already.", headers=wait)

    async def pause(self, seconds: float) -> None:
        """Wait, or until the service stops."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    async def unless_stopped(self, work: Awaitable[T]) -> T:
        """What ``work`` gives; 503 when the service stops first."""
        step = asyncio.ensure_future(work)
        stop = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({step, stop}, return_when=asyncio.FIRST_COMPLETED)
            if step.done():
                return step.result()
            raise stopping()
        finally:
            for task in (step, stop):
                task.cancel()
            await asyncio.gather(step, stop, return_exceptions=True)

    async def events(self, watch: Watch, after: str) -> AsyncGenerator[Event | None, None]:
        """Events behind a cursor until the service stops, or the caller goes; None after a while without one."""
        stop = asyncio.ensure_future(self._stopping.wait())
        try:
            while not self.stopping:
                watching = watch(after, BEAT)
                try:
                    while (event := await _next(watching, stop)) is not None:
                        after = event.cursor
                        yield event
                finally:
                    await watching.aclose()  # type: ignore[attr-defined]  # an asynchronous generator
                if not self.stopping:
                    yield None
        finally:
            stop.cancel()


async def _next(watching: AsyncIterator[Event], stop: asyncio.Future[Literal[True]]) -> Event | None:
    """The next event; None after a while without one, or when the service stops."""
    step: asyncio.Future[Any] = asyncio.ensure_future(anext(watching, None))
    waiting: set[asyncio.Future[Any]] = {step, stop}
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        found: Event | None = step.result() if step.done() else None
        return found
    finally:
        if not step.done():
            step.cancel()
            await asyncio.gather(step, return_exceptions=True)


def stopping() -> ProblemError:
    """The answer to who comes, or still waits, while the service stops."""
    return ProblemError(
        503, "service.stopping", "The service is stopping.", hint="Ask again in a moment.", headers={"retry-after": "1"}
    )


def _message(event: Event) -> bytes:
    return b"id: %s\nevent: %s\ndata: %s\n\n" % (event.cursor.encode(), event.change.encode(), ENCODER.encode(event))


async def check_cursor(watch: Watch, after: str) -> None:
    """Raise what is wrong with a cursor, before anything is answered."""
    look = watch(after, timedelta(0))
    await anext(look, None)
    await look.aclose()  # type: ignore[attr-defined]  # an asynchronous generator


async def stream(
    request: Request, streams: Streams, store: AsyncStore, allowed: Callable[[], Awaitable[bool]]
) -> StreamingResponse:
    """Answer ``GET /v1/events``: from now on, or behind the cursor ``after`` or ``Last-Event-ID``; as long as it is allowed."""
    streams.check_room()
    query = request.query_params
    after = request.headers.get("last-event-id") or query.get("after") or await store.tip()

    def watch(after: str, timeout: timedelta) -> AsyncIterator[Event]:
        return store.watch(query.get("kind"), query.get("id"), after, timeout=timeout)

    await check_cursor(watch, after)

    async def body() -> AsyncIterator[bytes]:
        with streams.counted():
            yield b"retry: 1000\n: " + after.encode() + b"\n\n"
            asked = time.monotonic()
            async with contextlib.aclosing(streams.follow(store, query.get("kind"), query.get("id"), after)) as events:
                async for found in events:
                    yield b"".join(map(_message, found)) or b": still here\n\n"
                    if time.monotonic() - asked > BEAT.total_seconds():
                        if not await allowed():
                            return
                        asked = time.monotonic()

    return StreamingResponse(body(), media_type="text/event-stream", headers=STREAMING)
