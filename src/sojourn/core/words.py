"""The words of a text, the same on every engine (Unicode case-folded runs of letters and digits), and about how many tokens."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias
from unicodedata import normalize

Count: TypeAlias = Callable[[str], int]
"""Gives the tokens of a text."""

SEARCHED_BYTES = 256 * 1024
"""Only this much of an entry's beginning is searched."""

_WORD = re.compile(r"[^\W_]+")


def words(text: str) -> list[str]:
    """The case-folded words of ``text`` (compatibility-normalised, so that ligatures and full-width letters match)."""
    if text.isascii():
        return _WORD.findall(text[:SEARCHED_BYTES].lower())
    if len(text) > SEARCHED_BYTES // 4:
        text = text.encode()[:SEARCHED_BYTES].decode(errors="ignore")
    return _WORD.findall(normalize("NFKC", normalize("NFKC", text).casefold()))


def matches(found: list[str], wanted: tuple[str, ...], *, prefix: bool) -> bool:
    """Whether ``found`` has every wanted word; the last one may be the beginning of a word when ``prefix``."""
    have = set(found)
    whole = wanted[:-1] if prefix else wanted
    if not have.issuperset(whole):
        return False
    return not prefix or any(word.startswith(wanted[-1]) for word in have)


def snippet(text: str, wanted: tuple[str, ...], *, width: int = 120) -> str:
    """About ``width`` characters of ``text`` around the first wanted word, on one line."""
    flat = " ".join(text.split())
    folded = flat.casefold()
    places = [place for place in (folded.find(word) for word in wanted) if place >= 0]
    start = max(0, min(places, default=0) - width // 3)
    if start:
        start = flat.find(" ", start) + 1 or start
    piece = flat[start : start + width]
    return ("…" if start else "") + piece + ("…" if start + width < len(flat) else "")


def approximate_tokens(text: str) -> int:
    """About how many tokens ``text`` has: one for every four bytes of UTF-8, and at least one.

    Pass a tokenizer's own count as ``count=`` where it matters.
    """
    size = len(text) if text.isascii() else len(text.encode(errors="replace"))
    return max(1, (size + 3) // 4)
