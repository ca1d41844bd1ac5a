"""How values are shown: filters of the templates. Whatever a user wrote is text, and is escaped by the templates."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode

from sojourn.sessions import SessionInfo, filter_term

_NAMES: Final = ("title", "name", "game_name", "role", "client_type")

VIEWS: Final = {"conversation": "/conversations/", "game": "/games/"}
"""Where a kind has a view of its own for one session."""


def moment(at: datetime | None) -> str:
    """A time to the second, in UTC."""
    return "" if at is None else at.strftime("%Y-%m-%d %H:%M:%S UTC")


def ago(at: datetime, now: datetime) -> str:
    """How long ago, or in how long, roughly; the date when it is far away."""
    past = now - at
    ahead = past < timedelta(0)
    span = -past if ahead else past
    if span < timedelta(seconds=10):
        return "now"
    for unit, name in ((timedelta(days=1), "d"), (timedelta(hours=1), "h"), (timedelta(minutes=1), "min"), (_SECOND, "s")):
        if span >= unit:
            count = span // unit
            if name == "d" and count > 13:
                return at.strftime("%Y-%m-%d")
            return f"in {count} {name}" if ahead else f"{count} {name} ago"
    return "now"


_SECOND: Final = timedelta(seconds=1)


def short(text: str | None, limit: int) -> str:
    """The beginning of a text, and how much is left out."""
    if text is None:
        return ""
    return text if len(text) <= limit else f"{text[:limit]}\n[{len(text) - limit:,} more characters]"


def pretty(value: Any) -> str:
    """JSON as people read it."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


def label(row: SessionInfo) -> str:
    """What a session is called, of whatever kind it is."""
    identity = row.data.get("identity")
    if isinstance(identity, dict) and not row.data.get("title"):
        return str(identity.get("display_name") or "")
    return next((str(row.data[name]) for name in _NAMES if row.data.get(name)), "")


def href(row: SessionInfo) -> str:
    """The view of a session, under the console's own path."""
    if row.kind == "context" and row.owner is not None and row.data.get("name"):
        return "/contexts/view?" + urlencode({"scope": row.owner, "name": row.data["name"]})
    return VIEWS.get(row.kind, "/sessions/") + row.id


FILTERS: Final[dict[str, Callable[..., str]]] = {
    "filter_term": filter_term,
    "moment": moment,
    "ago": ago,
    "short": short,
    "pretty": pretty,
    "label": label,
    "href": href,
}
