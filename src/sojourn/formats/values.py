"""Values of other programs as Sojourn can keep them.

Whatever cannot be kept as it is gets a remark, and its raw form is kept beside it: nothing is dropped in silence.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import blake2b
from math import isfinite
from typing import Final, NoReturn

from sojourn.core.codec import Json, encode
from sojourn.core.times import to_micros
from sojourn.errors import SojournError
from sojourn.formats.source import Value

_RAW_LIMIT: Final = 1_000_000
"""Bytes of one raw value that are kept."""

_UNITS: Final = (("", 1e11, 1e6), ("milliseconds", 1e14, 1e3), ("microseconds", 1e17, 1.0), ("nanoseconds", 1e20, 1e-3))
"""What a number since 1970 counts, by its size: seconds up to the year 5138, then finer units."""

_LATEST: Final = to_micros(datetime(9999, 12, 31, tzinfo=UTC))


class Reading:
    """One row on its way: its values, remarks on what was changed, and the raw form of what was."""

    __slots__ = ("raw", "remarks")

    def __init__(self) -> None:
        self.raw: dict[str, Json] = {}
        self.remarks: list[str] = []

    def text(self, name: str, value: Value, *, needed: bool = False) -> str:
        """Text without NUL; nothing is empty text, which is remarked on where text is ``needed``."""
        if type(value) is str and "\0" not in value:
            return value
        if value is None:
            if needed:
                self.remarks.append(f"{name} was NULL: kept as empty text")
            return ""
        if isinstance(value, (int, float)):
            self.remarks.append(f"{name} was a number: kept as text")
            return str(value)
        return self._repaired(name, value.encode() if isinstance(value, str) else value)

    def _repaired(self, name: str, raw: bytes) -> str:
        text = raw.decode(errors="replace")
        clean = text.replace("\0", "\ufffd")
        if clean.encode() == raw:
            self.remarks.append(f"{name} was a blob: kept as the text it holds")
            return clean
        what = "NUL" if clean != text else "bytes that are not UTF-8"
        if len(raw) > _RAW_LIMIT:
            self.remarks.append(f"{name} held {what}: replaced by U+FFFD; too long to keep raw as well")
        else:
            self.remarks.append(f"{name} held {what}: replaced by U+FFFD, the raw bytes kept in metadata")
            self.raw[name] = {"base64": base64.b64encode(raw).decode()}
        return clean

    def key(self, name: str, value: Value, limit: int = 512) -> str:
        """A name without control characters, of at most ``limit`` bytes; empty when there is none."""
        if isinstance(value, int):
            return str(value)
        text = self.text(name, value)
        if text.isprintable() and len(text) * 4 <= limit:
            return text
        clean = "".join(" " if ord(character) < 32 or ord(character) == 127 else character for character in text)
        if len(clean.encode()) > limit:
            digest = blake2b(clean.encode(), digest_size=8).hexdigest()
            clean = clean.encode()[: limit - 20].decode(errors="ignore") + "..." + digest
        if clean != text:
            self.remarks.append(f"{name} held control characters or was too long: changed, the raw text kept in metadata")
            self.raw.setdefault(name, text)
        return clean

    def moment(self, name: str, value: Value) -> int | None:
        """Microseconds since 1970 of a number (its unit told by its size) or ISO text; None, remarked on, when unusable."""
        found, unit = moment_of(value)
        if found is None:
            self.remarks.append(f"{name} was {_shown(value)}: no usable time")
            if value is not None:
                self.raw[name] = _shown(value)
        elif unit:
            self.remarks.append(f"{name} was read as {unit}")
        return found

    def document(self, name: str, value: Value) -> dict[str, Json]:
        """A JSON object; what is not one is kept as raw text."""
        found = self.json(name, value, "{}")
        if isinstance(found, dict):
            return found
        if found is not None:
            self._keep(name, value, "was not a JSON object")
        return {}

    def rows(self, name: str, value: Value) -> list[Json]:
        """A JSON list; what is not one is kept as raw text."""
        found = self.json(name, value, "[]")
        if isinstance(found, list):
            return found
        if found is not None:
            self._keep(name, value, "was not a JSON list")
        return []

    def json(self, name: str, value: Value, default: str) -> Json:
        """What JSON text holds, ``default`` where there is no text; None, its raw text kept, when it cannot be stored."""
        if value is None or value in ("", default):
            return {} if default == "{}" else []
        try:
            found = json.loads(value if isinstance(value, (str, bytes)) else str(value), parse_constant=_refuse)
            encode(found)
        except (ValueError, RecursionError, SojournError):
            self._keep(name, value, "was malformed JSON")
            return None
        return found

    def _keep(self, name: str, value: Value, what: str) -> None:
        self.remarks.append(f"{name} {what}: kept as raw text in metadata")
        text = self.text(name, value)
        self.raw.setdefault(name, text)


def moment_of(value: Value) -> tuple[int | None, str]:
    """Microseconds since 1970, and the unit the number was in when it was not seconds; None when it says no time."""
    if isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            return _iso(value), ""
    elif isinstance(value, (int, float)):
        number = value
    else:
        return None, ""
    if not isfinite(number) or number <= 0:
        return None, ""
    for unit, limit, factor in _UNITS:
        if number < limit:
            micros = round(number * factor)
            return (micros, unit) if micros <= _LATEST else (None, "")
    return None, ""


def _iso(text: str) -> int | None:
    try:
        moment = datetime.fromisoformat(text.strip())
        micros = to_micros(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        return None
    return micros if 0 < micros <= _LATEST else None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _shown(value: Value) -> str:
    """A value in a few characters, for a remark."""
    if value is None:
        return "NULL"
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def beside(metadata: Mapping[str, Json], name: str, more: Mapping[str, Json]) -> dict[str, Json]:
    """``metadata`` with ``more`` under ``name``, or under the next free name where that is taken."""
    if not more:
        return dict(metadata)
    free, number = name, 2
    while free in metadata:
        free, number = f"{name}_{number}", number + 1
    return {**metadata, free: dict(more)}
