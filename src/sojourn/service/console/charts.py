"""Small charts as SVG, drawn on the server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from markupsafe import Markup, escape

from sojourn.kinds.games.model import Turn

_WIDTH: Final = 720
_LANE: Final = 22
_LEFT: Final = 96
_SLOTS: Final = 60
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
        parts.append(Markup('<text x="0" y="{}">{}</text>').format(y + 14, (name or "none")[:14]))
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
    height = _LANE * len(users) + 22
    step = min(28.0, (_WIDTH - _LEFT) / len(closed))
    parts = [Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(_WIDTH, height, title)]
    for lane, user in enumerate(users):
        y = lane * _LANE
        parts.append(Markup('<text x="0" y="{}">{}</text>').format(y + 14, names.get(user, user)[:14]))
        for column, turn in enumerate(closed):
            if user in turn.choices:
                told = f"turn {turn.number}: {turn.choices[user][:80]}"
                parts.append(
                    Markup(
                        '<rect class="bar" x="{:.1f}" y="{}" width="{:.1f}" height="12" rx="2"><title>{}</title></rect>'
                    ).format(_LEFT + column * step, y + 4, step * 0.8, told)
                )
    bottom = height - 6
    parts.append(Markup('<text x="{}" y="{}">turn {}</text>').format(_LEFT, bottom, closed[0].number))
    parts.append(
        Markup('<text x="{:.0f}" y="{}">{}</text></svg>').format(_LEFT + (len(closed) - 1) * step, bottom, closed[-1].number)
    )
    return Markup().join(parts)
