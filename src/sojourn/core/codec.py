"""JSON in and out, with the checks that keep bad input from reaching an engine half-way.

Stored documents are plain JSON objects with a version ``v``; a kind's `Schema` brings older ones forward through upcasters
(one per step, pure) and refuses newer ones.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from sojourn.errors import CorruptError, InvalidValueError, LimitError

Json: TypeAlias = Any
"""A JSON value: None, bool, int, float, str, list or dict with str keys."""

_scan: Callable[[str, int], tuple[Any, int]] = json.JSONDecoder().scan_once  # type: ignore[attr-defined]  # typeshed lacks it
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


_TOKEN: Final = re.compile(r"sjl_[0-9A-Za-z]{26}\.[\w-]*", re.ASCII)


def told(value: object) -> str:
    """A value as an error may repeat it: short, and without the secret of a token that was given for something else."""
    text = _TOKEN.sub("sjl_…", repr(value))
    return text if len(text) <= 300 else f"{text[:300]}…"


def check_text(value: object, name: str, limit: int | None = None) -> str:
    """``value`` when it is text that every engine can store: no NUL, no lone surrogate, at most ``limit`` bytes of UTF-8."""
    if not isinstance(value, str):
        raise InvalidValueError(f"{name} must be text (str), not {type(value).__name__}.")
    if "\0" in value:
        raise InvalidValueError(f"{name} contains a NUL character.", hint="Remove it: no engine stores NUL in text.")
    if value.isascii():
        size = len(value)
    else:
        try:
            size = len(value.encode())
        except UnicodeEncodeError as error:
            raise InvalidValueError(
                f"{name} contains a lone surrogate at position {error.start}.",
                hint="The text was decoded wrongly; decode it again, for example with errors='replace'.",
            ) from error
    if limit is not None and size > limit:
        raise LimitError(f"{name} is {size:,} bytes; the limit is {limit:,}.")
    return value


def check_key(value: object, name: str, limit: int = 512) -> str:
    """A caller's own identifier (user, channel, key): ``str | int``, kept as text, not empty, no control characters."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    text = check_text(value, name, limit)
    if not text or not text.isprintable():
        if not text:
            raise InvalidValueError(f"{name} must not be empty.")
        for character in text:
            if ord(character) < 32 or ord(character) == 127:
                raise InvalidValueError(f"{name} contains the control character {character!r}.")
    return text


def check_number(value: object, name: str, least: int = 0, most: int | None = None) -> int:
    """A whole number in a range; True and False are none."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= least and (most is None or value <= most):
        return value
    span = f"from {least:,}" if most is None else f"from {least:,} to {most:,}"
    raise InvalidValueError(f"{name} must be a whole number {span}, got {value!r}.")


_NESTS: Final = (dict, list, tuple)


def encode(value: Json, name: str = "value", limit: int | None = None) -> str:
    """``value`` as compact JSON text; what JSON cannot say is refused with the place named."""
    try:
        text = _encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidValueError(f"{name} is not plain JSON: {error}.") from error
    if "\\u0000" in text or not _has_text_keys(value):
        try:
            _check_json(value, name)
        except RecursionError as error:
            raise InvalidValueError(f"{name} is nested too deeply.", hint="A few hundred levels are stored.") from error
    check_text(text, name, limit)
    return text


def _has_text_keys(value: Json) -> bool:
    """Whether every key is text; of what is not, an encoder would make text."""
    if isinstance(value, dict):
        for key, item in value.items():
            if type(key) is not str or (isinstance(item, _NESTS) and not _has_text_keys(item)):
                return False
    elif isinstance(value, _NESTS):
        for item in value:
            if isinstance(item, _NESTS) and not _has_text_keys(item):
                return False
    return True


def copied(value: Json) -> Json:
    """The same value, sharing nothing that can be changed."""
    if isinstance(value, dict):
        return {key: copied(item) if isinstance(item, _NESTS) else item for key, item in value.items()}
    if isinstance(value, _NESTS):
        return [copied(item) if isinstance(item, _NESTS) else item for item in value]
    return value


def _check_json(value: Json, place: str) -> None:
    """Name the place of what JSON cannot say."""
    if type(value) is str:
        if "\0" in value:
            raise InvalidValueError(f"{place} contains a NUL character.", hint="Remove it: no engine stores NUL.")
    elif isinstance(value, dict):
        for key, item in value.items():
            if type(key) is not str:
                raise InvalidValueError(f"{place} has the key {key!r}; JSON keys are text.")
            if "\0" in key:
                raise InvalidValueError(f"{place} has a key with a NUL character.")
            _check_json(item, f"{place}[{key!r}]")
    elif isinstance(value, _NESTS):
        for number, item in enumerate(value):
            _check_json(item, f"{place}[{number}]")


def decode(text: str, name: str = "stored JSON") -> Json:
    """The value of JSON text that a store kept."""
    try:  # what we wrote has no blanks around it, so the scanner alone reads it, at half the price of json.loads
        value, end = _scan(text, 0)
        if end == len(text):
            return value
    except (StopIteration, ValueError, RecursionError):
        pass  # said properly below
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CorruptError(f"{name} cannot be read: {error}.") from error


DAMAGED: Final = "!damaged"
"""In place of data that cannot be read, with the reason, so that one damaged record hides no other of a list."""


@dataclass(frozen=True, slots=True)
class Schema:
    """The version of one kind's documents and the steps that lead to it: ``upcasters[n]`` turns version n into n + 1."""

    version: int = 1
    upcasters: Mapping[int, Callable[[dict[str, Json]], dict[str, Json]]] = field(default_factory=dict)

    def read(self, document: dict[str, Json]) -> dict[str, Json]:
        """``document`` at this version; `CorruptError` for one that a list has found damaged."""
        if DAMAGED in document:
            raise CorruptError(str(document[DAMAGED]), hint="Restore a backup; see 'sojourn doctor'.")
        found = document.get("v", 1)
        if found == self.version:
            return document
        if found > self.version:
            raise CorruptError(
                f"a record of version {found}, and this release knows versions up to {self.version}.",
                hint="Upgrade Sojourn.",
            )
        for step in range(found, self.version):
            document = {**self.upcasters[step](document), "v": step + 1}
        return document
