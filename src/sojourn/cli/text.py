"""Text as people read it on a terminal: nothing in it can steer the terminal."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from unicodedata import combining, east_asian_width

_STEERING = "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
"""Control characters but tab and newline, marks that turn the direction of writing, line separators, lone surrogates.

Compiled when a text has one: most have none, and commands in prompts should not pay for it."""

_JSON_UNSAFE = "[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"


def visible(text: str) -> str:
    """``text`` with everything that could steer a terminal written as an escape, such as ``\\x1b``; lines stay lines."""
    if text.isprintable():
        return text
    return re.sub(_STEERING, _escape, text.replace("\r\n", "\n"))


def _escape(match: re.Match[str]) -> str:
    number = ord(match.group())
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"


def json_safe(text: str) -> str:
    """JSON text that says the same without a character that could steer a terminal."""
    if text.isascii() and "\x7f" not in text:
        return text
    return re.sub(_JSON_UNSAFE, lambda match: f"\\u{ord(match.group()):04x}", text)


def one_line(text: str, limit: int = 0) -> str:
    """``text`` visible and on one line, cut to ``limit`` characters."""
    flat = visible(" ".join(text.split()))
    return flat[: limit - 1] + "…" if limit and len(flat) > limit else flat


def columns_wide(text: str) -> int:
    """How many columns of a terminal ``text`` takes."""
    if text.isascii():
        return len(text)
    return sum(0 if combining(character) else 2 if east_asian_width(character) in "WF" else 1 for character in text)


def moment(when: datetime | None) -> str:
    """A time as it is shown: UTC, to the second."""
    return "" if when is None else when.strftime("%Y-%m-%d %H:%M:%S UTC")


def ago(when: datetime, now: datetime) -> str:
    """How long ago, roughly; the date when it was long ago."""
    past = now - when
    if past < timedelta(minutes=-1):
        return moment(when)
    if past < timedelta(minutes=1):
        return "just now"
    if past < timedelta(hours=1):
        return f"{past // timedelta(minutes=1)} min ago"
    if past < timedelta(days=1):
        return f"{past // timedelta(hours=1)} h ago"
    if past < timedelta(days=14):
        return many(past // timedelta(days=1), "day") + " ago"
    return when.strftime("%Y-%m-%d")


def many(count: int, singular: str, plural: str = "") -> str:
    """``1 message``, ``1,200 messages``."""
    return f"{count:,} {singular if count == 1 else plural or singular + 's'}"


def size(count: int) -> str:
    """Bytes as people read them."""
    amount = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"
