"""Words as the index keeps them, and as they are looked for; what a word is, `core.words` says for every engine."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

from sojourn.core import words
from sojourn.core.query import SearchQuery
from sojourn.core.session import Entry
from sojourn.engines.contract import Hit

LONGEST: Final = 500
"""Characters of a word that are indexed (PostgreSQL takes 2,046 bytes); words that begin alike are told apart by the text."""

MOST: Final = 900_000
"""Bytes of words of one entry (PostgreSQL takes a megabyte)."""

TAIL: Final = 2_000
"""Entries waiting for the index that one search looks at; when there are more, it asks again for all of them."""


def indexed(text: str) -> list[str]:
    """The words of a text, each once, as the index keeps them."""
    found: list[str] = []
    left = MOST
    for word in dict.fromkeys(word[:LONGEST] for word in words.words(text)):
        left -= len(word) if word.isascii() else len(word.encode())
        if left < 0:
            break
        found.append(word)
    return found


def wanted(query: SearchQuery) -> str:
    """A query in PostgreSQL's syntax; every word is quoted, so nothing in it is read as syntax."""
    terms = [_quoted(word[:LONGEST]) for word in query.words]
    if query.prefix or len(query.words[-1]) > LONGEST:
        terms[-1] += ":*"
    return " & ".join(terms)


def _quoted(word: str) -> str:
    return "'" + word.replace("\\", "\\\\").replace("'", "''") + "'"


def hits_of(rows: Sequence[tuple[Any, ...]], query: SearchQuery) -> list[Hit]:
    """The newest of what was found: of the index, and of what waits for it and has the words."""
    long = any(len(word) > LONGEST for word in query.words)
    matching = [row for row in rows if not (row[0] or long) or _matches(row[8], query)]
    matching.sort(key=lambda row: row[1], reverse=True)
    return [Hit(row[2], Entry(*row[3:])) for row in matching[: query.limit]]


def _matches(text: str, query: SearchQuery) -> bool:
    return words.matches(words.words(text), query.words, prefix=query.prefix)


def through(rows: Iterable[tuple[Any, ...]]) -> tuple[str, list[int], list[int], int]:
    """What ``sojourn_index`` stores for rows of ``unindexed``: words, shards and their events; and how many commits."""
    given: list[dict[str, Any]] = []
    reached: dict[int, int] = {}
    commits: set[tuple[int, int]] = set()
    for shard, number, log, sequence, text in rows:
        reached[shard] = max(reached.get(shard, 0), number)
        commits.add((shard, number))
        if log is not None:
            given.append({"log": log, "sequence": sequence, "words": indexed(text)})
    return json.dumps(given, ensure_ascii=False), list(reached), list(reached.values()), len(commits)
