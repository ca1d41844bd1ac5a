"""Small charts as SVG, drawn on the server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from markupsafe import Markup, escape

from sojourn.kinds.games.model import Turn

_WIDTH: Final = 560
_LANE: Final = 24
_LEFT: Final = 112
_SLOTS: Final = 48
_STEP: Final = 26
_EACH: Final = 12
"""Turns that are all numbered; of more, every fifth."""
_square: Final = Markup('<rect class="bar" x="{:.1f}" y="{}" width="{:.1f}" height="12" rx="2"><title>{}</title></rect>')


def lanes(points: Sequence[tuple[str, datetime]], title: str) -> Markup:
    """When something happened, one lane a name, darker where more did; empty for fewer than two points."""
    if len(points) < 2:
        return Markup()
    begin, end = min(at for _, at in points), max(at for _, at in points)
    span = max(end - begin, timedelta(seconds=1))
    names = sorted({name for name, _ in points}, key=lambda name: (name == "", name))
    counts = Counter((name, min(_SLOTS - 1, int((at - begin) / span * _SLOTS))) for name, at in points)
    most = max(counts.values())
    height = _LANE * len(names) + 22
    step = (_WIDTH - _LEFT) / _SLOTS
    parts = [
        Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(_WIDTH, height, title),
    ]
    for lane, name in enumerate(names):
        y = lane * _LANE
        parts.append(Markup('<text x="0" y="{}">{}</text>').format(y + 15, (name or "none")[:14]))
        parts.append(
            Markup('<line class="axis" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(_LEFT, _WIDTH, y + _LANE - 2, y + _LANE - 2)
        )
        for slot in range(_SLOTS):
            count = counts.get((name, slot))
            if count:
                tall = 4 + round(14 * count / most)
                parts.append(
                    Markup('<rect class="bar" x="{:.1f}" y="{}" width="{:.1f}" height="{}"><title>{}</title></rect>').format(
                        _LEFT + slot * step, y + _LANE - 2 - tall, step * 0.8, tall, f"{name or 'none'}: {count}"
                    )
                )
    bottom = height - 6
    parts.append(Markup('<text x="{}" y="{}">{}</text>').format(_LEFT, bottom, _short(begin, span)))
    parts.append(Markup('<text x="{}" y="{}" text-anchor="end">{}</text></svg>').format(_WIDTH, bottom, _short(end, span)))
    return Markup().join(parts)


def _short(at: datetime, span: timedelta) -> str:
    return str(escape(at.strftime("%Y-%m-%d %H:%M" if span > timedelta(days=1) else "%H:%M:%S")))


def turns(closed: Sequence[Turn], names: Mapping[str, str], title: str) -> Markup:
    """Who chose in which turn: a row a player, a column a turn; empty without turns."""
    users = list(dict.fromkeys(user for turn in closed for user in turn.choices))
    if not closed or not users:
        return Markup()
    width, height = _LEFT + _STEP * len(closed), _LANE * len(users) + 24
    head = Markup('<svg class="chart natural" width="{0}" height="{1}" viewBox="0 0 {0} {1}" role="img" aria-label="{2}">')
    parts = [head.format(width, height, title)]
    for lane, user in enumerate(users):
        y = lane * _LANE
        parts.append(Markup('<text x="0" y="{}">{}</text>').format(y + 15, names.get(user, user)[:14]))
        for column, turn in enumerate(closed):
            if user in turn.choices:
                told = f"turn {turn.number}: {turn.choices[user][:80]}"
                parts.append(_square.format(_LEFT + column * _STEP, y + 5, _STEP - 5, told))
    parts.append(Markup('<text x="0" y="{}">turn</text>').format(height - 6))
    for column, turn in enumerate(closed):
        if len(closed) <= _EACH or turn.number % 5 == 0:
            middle = _LEFT + column * _STEP + (_STEP - 5) / 2
            parts.append(
                Markup('<text x="{:.1f}" y="{}" text-anchor="middle">{}</text>').format(middle, height - 6, turn.number)
            )
    return Markup().join([*parts, Markup("</svg>")])
