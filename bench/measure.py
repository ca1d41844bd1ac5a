"""Measuring in rounds: yardstick and subject take turns, so that a noisy moment hits both, and the median ratio counts."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: a ratio, the bar it must reach (None: a figure to know), and what it was made of."""

    name: str
    value: float
    unit: str
    bar: float | None = None
    at_most: bool = False
    detail: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the bar is reached; None without one."""
        if self.bar is None:
            return None
        return self.value <= self.bar if self.at_most else self.value >= self.bar

    def line(self) -> str:
        """The row as text."""
        verdict = {None: "", True: "met", False: "MISSED"}[self.met]
        bar = "" if self.bar is None else f"{'≤' if self.at_most else '≥'} {self.bar:g}"
        return f"{self.name:58} {self.value:10.2f} {self.unit:8} {bar:8} {verdict:7} {self.detail}".rstrip()


def rate(count: int, work: Callable[[], object]) -> float:
    """Operations per second of ``work``, which does ``count`` of them."""
    start = time.perf_counter()
    work()
    return count / (time.perf_counter() - start)


def in_turns(rounds: int, yardstick: Callable[[], float], subject: Callable[[], float]) -> tuple[float, float, float]:
    """Median ratio subject ÷ yardstick of neighbouring rounds, and both median rates."""
    ratios, ones, others = [], [], []
    for _ in range(rounds):
        one, other = yardstick(), subject()
        ones.append(one)
        others.append(other)
        ratios.append(other / one)
    return statistics.median(ratios), statistics.median(ones), statistics.median(others)


def versus(name: str, bar: float | None, outcome: tuple[float, float, float]) -> Row:
    """A row for a rate beside its yardstick's."""
    ratio, one, other = outcome
    return Row(name, ratio, "× raw", bar, detail=f"{other:,.0f}/s beside {one:,.0f}/s")


def per_call(calls: int, work: Callable[[], object]) -> float:
    """Median microseconds of one call, over ``calls`` of them."""
    took = []
    for _ in range(calls):
        start = time.perf_counter()
        work()
        took.append(time.perf_counter() - start)
    return statistics.median(took) * 1e6
