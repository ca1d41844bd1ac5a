"""What a batch must be like before any engine takes it, so that no engine finds out in the middle of somebody else's commit.

Checked by the caller's own thread or task, before the batch is queued: what is wrong with it is its caller's error alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from sojourn.core.batch import (
    Batch,
    Create,
    Delete,
    Guard,
    Lend,
    NewEntry,
    Point,
    Redact,
    Touch,
    Write,
    Yield,
    only_append,
)
from sojourn.core.codec import check_text
from sojourn.errors import InvalidCursorError, InvalidValueError, LimitError

LARGEST: Final = (1 << 53) - 1
"""The largest counter, and with a minus the smallest: whole numbers that every engine, and JSON everywhere, counts exactly."""


def check_batch(batch: Batch) -> None:
    """Refuse what no engine stores: text with NUL or lone surrogates, counters out of range, a missing home."""
    _check_home(batch)
    _check_texts((batch.tenant, batch.home, batch.operation or "", batch.fingerprint))
    for change in batch.changes:
        _CHECKS[type(change)](batch, change)


def check_counter(name: str, value: int) -> int:
    """A counter's value within its range; `LimitError` outside of it."""
    if -LARGEST <= value <= LARGEST:
        return value
    raise LimitError(f"counter {name!r} would be {value:,}.", hint="Counters count up to 2^53 - 1. Nothing was stored.")


def check_cursor(after: tuple[int, ...], shards: int) -> tuple[int, ...]:
    """A cursor of events with one number for each of this store's shards."""
    if len(after) == shards:
        return after
    raise InvalidCursorError(
        f"a cursor of this store has {shards} number(s), this one has {len(after)}.",
        hint="Begin with tip(), or go on with the cursor of the page before.",
    )


def _check_home(batch: Batch) -> None:
    if batch.home:
        return
    if batch.operation is not None and only_append(batch) is None:
        raise InvalidValueError(
            "a batch without a home has an operation id, which would be remembered with the home.",
            hint="Only an append to one session is remembered with the session.",
        )
    if any(type(change) in _OF_A_HOME for change in batch.changes):
        raise InvalidValueError("a batch without a home changes more than sessions that are there.", hint="Name the home.")


_OF_A_HOME: Final = frozenset({Create, Delete, Point, Lend, Yield})


def _check_texts(texts: Iterable[str]) -> None:
    """All at once, because nearly all are fine; one by one to say which is not."""
    together = "".join(texts)
    if "\0" not in together:
        if together.isascii():
            return
        try:
            together.encode()
        except UnicodeEncodeError:
            pass
        else:
            return
    for text in texts:
        check_text(text, "text")


def _entry_texts(entries: tuple[NewEntry, ...]) -> Iterator[str]:
    for entry in entries:
        yield entry.type
        yield entry.label
        yield entry.topic
        yield entry.author or ""
        yield entry.text or ""
        yield entry.data or ""
        yield entry.key or ""


def _check_create(_: Batch, change: Create) -> None:
    texts = [change.id, change.kind, change.owner or "", change.change, *change.tags, *change.counters, *change.stamp]
    _check_texts([*texts, *_entry_texts(change.entries)])
    for name, value in change.counters.items():
        check_counter(name, value)


def _check_write(batch: Batch, change: Write) -> None:
    texts = [change.id, change.change, change.reason, *_entry_texts(change.entries)]
    if change.tag or change.untag or change.stamp:
        texts += [*change.tag, *change.untag, *change.stamp]
    for name, value in (*change.add, *change.put):
        texts.append(name)
        check_counter(name, value)
    _check_texts(texts)
    _check_guard(batch, change.guard)


def _check_guard(batch: Batch, guard: Guard) -> None:
    if guard.lease is not None and not batch.home:
        raise InvalidValueError("a batch without a home is guarded by a lease, which lives in one.", hint="Name the home.")
    if guard.fence is not None:
        check_counter(f"fence:{guard.fence[0]}", guard.fence[1])
    names = [guard.silent or "", *(pair[0] for pair in (guard.lease, guard.fence) if pair is not None)]
    _check_texts(names)


def _check_touch(_: Batch, change: Touch) -> None:
    _check_texts((change.id,))


def _check_guarded(batch: Batch, change: Redact | Delete) -> None:
    _check_texts((change.id,))
    _check_guard(batch, change.guard)


def _check_point(batch: Batch, change: Point) -> None:
    key = change.alias
    if key.home != batch.home:
        raise InvalidValueError(
            f"a batch of home {batch.home!r} names an alias of home {key.home!r}.", hint="What crosses homes is two commits."
        )
    _check_texts((key.home, key.namespace, key.key, change.target or ""))


def _check_lend(_: Batch, change: Lend) -> None:
    _check_texts((change.name, change.holder))


def _check_yield(_: Batch, change: Yield) -> None:
    _check_texts((change.name,))


_CHECKS: Final[dict[type, Any]] = {
    Create: _check_create,
    Write: _check_write,
    Touch: _check_touch,
    Redact: _check_guarded,
    Delete: _check_guarded,
    Point: _check_point,
    Lend: _check_lend,
    Yield: _check_yield,
}
