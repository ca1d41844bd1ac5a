"""Server-sent events: committed changes with their cursors, resumable, honest about gaps."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Final

from starlette.requests import Request
from starlette.responses import StreamingResponse

from sojourn.service.calls import ENCODER
from sojourn.shell.feed import Event
from sojourn.store import AsyncStore

BEAT: Final = timedelta(seconds=15)
"""A comment is sent after so long without an event, so that proxies keep the stream and a dead client is noticed."""


class Streams:
    """The streams that are open. When the service stops they end, so that clients come again elsewhere."""

    def __init__(self) -> None:
        self.open = 0
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """End every stream after the event it is at."""
        self._stopping.set()

    async def pause(self, seconds: float) -> None:
        """Wait, or until the service stops."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    @property
    def stopping(self) -> bool:
        """Whether the service is on its way down."""
        return self._stopping.is_set()

    async def events(self, store: AsyncStore, kind: str | None, id: str | None, after: str) -> AsyncIterator[bytes]:
        """The bytes of one stream."""
        self.open += 1
        try:
            yield b"retry: 1000\n: " + after.encode() + b"\n\n"
            while not self.stopping:
                watching = store.watch(kind, id, after, timeout=BEAT)
                try:
                    while (event := await self._next(watching)) is not None:
                        after = event.cursor
                        yield _message(event)
                finally:
                    await watching.aclose()  # type: ignore[attr-defined]  # an asynchronous generator
                if not self.stopping:
                    yield b": still here\n\n"
        finally:
            self.open -= 1

    async def _next(self, watching: AsyncIterator[Event]) -> Event | None:
        """The next event; None after a while without one, or when the service stops."""
        step = asyncio.ensure_future(anext(watching, None))
        stop = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({step, stop}, return_when=asyncio.FIRST_COMPLETED)
            return step.result() if step.done() else None
        finally:
            for task in (step, stop):
                task.cancel()
            await asyncio.gather(step, stop, return_exceptions=True)


def _message(event: Event) -> bytes:
    return b"id: %s\nevent: %s\ndata: %s\n\n" % (event.cursor.encode(), event.change.encode(), ENCODER.encode(event))


async def stream(request: Request, streams: Streams, store: AsyncStore) -> StreamingResponse:
    """Answer ``GET /v1/events``: from now on, or behind the cursor ``after`` or ``Last-Event-ID``."""
    query = request.query_params
    after = request.headers.get("last-event-id") or query.get("after") or await store.tip()
    look = store.watch(query.get("kind"), query.get("id"), after, timeout=timedelta(0))
    await anext(look, None)  # a bad cursor or kind is told before the stream begins
    await look.aclose()  # type: ignore[attr-defined]  # an asynchronous generator
    body = streams.events(store, query.get("kind"), query.get("id"), after)
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(body, media_type="text/event-stream", headers=headers)
