"""What of a context a model is given: the newest artifacts that fit a budget. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sojourn.core.words import Count
from sojourn.kinds.contexts.model import Artifact, Assembly, LeftOut


def assemble(artifacts: Sequence[Artifact], budget: int, count: Count) -> Assembly:
    """Pinned artifacts, newest first, then the others, newest first, as long as they fit; equal contents once.

    One that does not fit makes room for nobody: older and smaller ones are still tried. What is taken is given in order,
    pinned ones before the others.
    """
    taken: list[Artifact] = []
    left: list[LeftOut] = []
    seen: set[str] = set()
    spent = 0
    for item in _by_worth(artifacts):
        tokens = count(item.content)
        if item.digest in seen:
            left.append(LeftOut(item.sequence, item.kind, tokens, "duplicate"))
        elif spent + tokens > budget:
            left.append(LeftOut(item.sequence, item.kind, tokens, "budget"))
        else:
            seen.add(item.digest)
            taken.append(item)
            spent += tokens
    taken.sort(key=lambda item: (not item.pinned, item.sequence))
    left.sort(key=lambda item: item.sequence)
    return Assembly(tuple(taken), spent, budget, tuple(left))


def _by_worth(artifacts: Iterable[Artifact]) -> list[Artifact]:
    return sorted(artifacts, key=lambda item: (item.pinned, item.sequence), reverse=True)
