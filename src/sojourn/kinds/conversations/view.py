"""Which entries of a log a conversation shows: what is folded, what is hidden, and where summaries stand.

Entries are immutable and may be shared by forks, so what is visible is kept with the session, as sorted lists of inclusive
ranges. A fold that builds on earlier ones keeps those in its summary entry, so that this stays small however long the
conversation grows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TypeAlias

from sojourn.core.codec import Json

Range: TypeAlias = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Fold:
    """The summary at ``summary`` stands for everything from ``first`` to ``last``."""

    summary: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class View:
    """What is folded and what is hidden; folds never overlap."""

    folds: tuple[Fold, ...] = ()
    hidden: tuple[Range, ...] = ()
    rewinds: tuple[tuple[Range, ...], ...] = ()
    """What each rewind that can be undone hid, oldest first."""

    @property
    def plain(self) -> bool:
        """Nothing is folded and nothing hidden."""
        return not (self.folds or self.hidden or self.rewinds)

    @property
    def folded_through(self) -> int:
        """The last sequence that is folded."""
        return max((fold.last for fold in self.folds), default=0)

    def invisible(self) -> tuple[Range, ...]:
        """What was hidden, by whatever way."""
        return union((*self.hidden, *self.rewound()))

    def rewound(self) -> tuple[Range, ...]:
        """What rewinds hid."""
        return union(piece for rewind in self.rewinds for piece in rewind)

    def is_folded(self, sequence: int) -> bool:
        """Whether a summary stands for it."""
        return any(fold.first <= sequence <= fold.last for fold in self.folds)

    def is_hidden(self, sequence: int) -> bool:
        """Whether it was hidden; a summary that is listed is rewound by its place."""
        if contains(self.hidden, sequence):
            return True
        place = next((fold.first for fold in self.folds if fold.summary == sequence), sequence)
        return contains(self.rewound(), place)

    def ranges(self, first: int, last: int, *, folded: bool = False, hidden: bool = False) -> tuple[Range, ...]:
        """The sequences from ``first`` to ``last`` whose messages are listed."""
        out: list[Range] = []
        if not folded:
            out.extend((fold.first, fold.last) for fold in self.folds)
        if not hidden:
            out.extend(self.invisible())
        return subtract(((first, last),) if first <= last else (), union(out))

    def summaries(self, first: int, last: int) -> tuple[int, ...]:
        """The sequences of the summaries that are listed between these places."""
        return tuple(fold.summary for fold in self.folds if first <= fold.first <= last and not self.is_hidden(fold.summary))

    def fold(self, new: Fold) -> View:
        """With ``new`` in place of the folds it covers."""
        kept = tuple(fold for fold in self.folds if fold.last < new.first or fold.first > new.last)
        return replace(self, folds=tuple(sorted((*kept, new), key=lambda fold: fold.first)))

    def unfold(self, old: Fold, inner: Iterable[Fold]) -> View:
        """With the folds that ``old`` had built on in its place."""
        kept = [fold for fold in self.folds if fold != old]
        return replace(self, folds=tuple(sorted((*kept, *inner), key=lambda fold: fold.first)))

    def hide(self, first: int, last: int) -> View:
        """With these hidden."""
        return replace(self, hidden=union((*self.hidden, (first, last))))

    def unhide(self, sequence: int) -> View:
        """With this one shown again, whatever hid it."""
        place = next((fold.first for fold in self.folds if fold.summary == sequence), sequence)
        rewinds = tuple(left for old in self.rewinds if (left := subtract(old, ((place, place),))))
        return replace(self, hidden=subtract(self.hidden, ((sequence, sequence),)), rewinds=rewinds)

    def rewind(self, to: int, last: int) -> View:
        """With everything after ``to`` hidden, in one step that can be undone."""
        return replace(self, rewinds=(*self.rewinds, ((to + 1, last),)))

    def undo_rewind(self) -> View:
        """Without the last rewind."""
        return replace(self, rewinds=self.rewinds[:-1])

    def forked(self, folds: Iterable[Fold], at: int) -> View:
        """As a fork at ``at`` has it with these folds: what a rewind hid is hidden for good."""
        hidden = union((first, min(last, at)) for first, last in self.invisible() if first <= at)
        kept = tuple(sorted(folds, key=lambda fold: fold.first))
        for fold in kept:
            one = ((fold.summary, fold.summary),)
            out = contains(self.hidden, fold.summary) or contains(self.rewound(), fold.first)
            hidden = union((*hidden, *one)) if out else subtract(hidden, one)
        return View(kept, hidden)

    def document(self) -> dict[str, Json]:
        """As it is stored."""
        return {
            "folds": {str(fold.first): {"last": fold.last, "summary": fold.summary} for fold in self.folds},
            "hidden": [list(piece) for piece in self.hidden],
            "rewinds": [[list(piece) for piece in rewind] for rewind in self.rewinds],
        }


def read_view(document: Json) -> View:
    """The view of a stored document; nothing folded or hidden without one."""
    if not document:
        return View()
    return View(
        tuple(Fold(row["summary"], int(first), row["last"]) for first, row in document["folds"].items()),
        tuple((first, last) for first, last in document["hidden"]),
        tuple(tuple((first, last) for first, last in rewind) for rewind in document["rewinds"]),
    )


def union(ranges: Iterable[Range]) -> tuple[Range, ...]:
    """Sorted, with neighbours joined."""
    found: list[Range] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return tuple(found)


def subtract(ranges: Iterable[Range], out: Iterable[Range]) -> tuple[Range, ...]:
    """What is left of ``ranges`` without ``out``; both sorted, ``out`` without overlaps."""
    found: list[Range] = []
    holes = tuple(out)
    for first, last in ranges:
        start = first
        for low, high in holes:
            if high < start or low > last:
                continue
            if low > start:
                found.append((start, low - 1))
            start = high + 1
        if start <= last:
            found.append((start, last))
    return tuple(found)


def contains(ranges: Iterable[Range], sequence: int) -> bool:
    """Whether one of them has it."""
    return any(first <= sequence <= last for first, last in ranges)
