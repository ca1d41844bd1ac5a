"""One body, two colours.

Operations are written once, as coroutines, and so are engine verbs. A *blocking* engine's coroutines never suspend: they do
their work and return. Driving such a coroutine needs no event loop at all, one ``send`` carries it from its first line to its
last, and what that costs is 0.2 µs. The classes for blocking code are generated one-liners that do this
(``tools/facade.py``). If something in the chain suspends by mistake there is no loop to resume it, so it fails at once and
loudly instead of hanging (ADR 001).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager
from inspect import isawaitable
from types import TracebackType
from typing import Any, Generic, TypeVar, cast

T = TypeVar("T")


def run_sync(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run ``coroutine`` here and now; it must never wait for an event loop."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    coroutine.close()
    raise RuntimeError(
        "a coroutine suspended in blocking code: a callback given to a blocking store must be a plain function, "
        "and a store from aopen() must be awaited"
    )


async def settle(value: T | Awaitable[T]) -> T:
    """The value of a user's callback: itself, or awaited when it is a coroutine (asynchronous stores only)."""
    if isawaitable(value):
        return await cast("Awaitable[T]", value)
    return value


class SyncIterator(Generic[T]):
    """A blocking iterator over an asynchronous one whose steps never suspend."""

    def __init__(self, steps: AsyncIterator[T]) -> None:
        self._steps = steps

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        try:
            return run_sync(cast("Coroutine[Any, Any, T]", self._steps.__anext__()))
        except StopAsyncIteration:
            raise StopIteration from None

    def close(self) -> None:
        """Stop early."""
        closing: Callable[[], Coroutine[Any, Any, None]] | None = getattr(self._steps, "aclose", None)
        if closing is not None:
            run_sync(closing())


class SyncContext(Generic[T]):
    """A blocking context manager around an asynchronous one whose steps never suspend."""

    def __init__(self, context: AbstractAsyncContextManager[T]) -> None:
        self._context = context

    def __enter__(self) -> T:
        return run_sync(self._context.__aenter__())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return run_sync(self._context.__aexit__(kind, error, trace))
