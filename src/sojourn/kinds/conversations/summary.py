"""The built-in summariser: extractive, deterministic, bounded, and in need of no model.

Every message is mentioned with its role and its gist. What decides, counts, names or links comes first when room is short:
sentences are ranked by such marks, the best sentence of each message stands for it, and its length is what the budget leaves.
A summary that an earlier fold made is taken up whole where there is room, else with its lines shortened evenly, else with
those of them that say most.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from sojourn.kinds.conversations.model import Message

HEADING: Final = "Summary of the conversation so far:"
BUDGET: Final = 8_000
"""Characters of a summary, about 2,000 tokens."""

_SHORTEST: Final = 24
_LONGEST: Final = 240

_LEFT_OUT = re.compile(r"- \((\d+) earlier lines, kept in full in the history\)")
_SENTENCE = re.compile(r"(?<=[.!?…。！？])\s+|\n+")
_LINK = re.compile(r"https?://\S+|(?<![\w.+-])[\w.+-]+@[\w-]+\.\w+")
_NUMBER = re.compile(r"\d")
_NAME = re.compile(r"(?<!^)(?<![.!?]\s)\b[A-ZÀ-Þ][\w'-]+")
_DECISION = re.compile(
    r"\b(decid\w*|agree\w*|chose\w*|choose|will|must|should|never|always|prefer\w*|confirm\w*|cancel\w*|book\w*|"
    r"remember|deadline|because|instead|plan\w*|promis\w*|please)\b",
    re.IGNORECASE,
)


def extractive(messages: Sequence[Message]) -> str:
    """A summary of ``messages`` that mentions every one of them, about 8,000 characters and never more than 32,000.

    Of more messages than have room in that (well over a thousand in one fold) the newest are mentioned, and how many are not.
    """
    earlier, lines = _earlier(messages), [message for message in messages if not message.summary]
    room = BUDGET - len(HEADING)
    if earlier:
        room -= min(sum(len(line) + 1 for line in earlier), room // 2)
    share = max(_SHORTEST, min(_LONGEST, room // max(1, len(lines)) - 12))
    found = [HEADING, *_shortened(earlier, BUDGET // 2)]
    found.extend(f"- {_who(message)}: {gist(message.text, share)}" for message in lines)
    return _bounded(found)


def _earlier(messages: Sequence[Message]) -> list[str]:
    """The lines of the summaries among them, without their headings."""
    return [
        line
        for message in messages
        if message.summary
        for line in message.text.splitlines()
        if line.strip() and line != HEADING
    ]


def _who(message: Message) -> str:
    return f"{message.role} ({message.author})" if message.author else message.role


def gist(text: str, room: int) -> str:
    """The sentence of ``text`` that says most, cut at a word to ``room`` characters."""
    flat = text.strip()
    if not flat:
        return "(empty)"
    sentences = [" ".join(part.split()) for part in _SENTENCE.split(flat[:20_000]) if part.strip()]
    best = max(enumerate(sentences), key=lambda item: (_weight(item[1]), -item[0]))[1] if sentences else flat
    if len(best) <= room:
        return best
    focus = _LINK.search(best) or _DECISION.search(best) or _NUMBER.search(best)
    start = 0
    if focus is not None and focus.end() > room:
        start = best.rfind(" ", 0, max(1, focus.start() - room // 4)) + 1
    piece = best[start : start + room]
    cut = piece.rfind(" ")
    if cut > room * 2 // 3:
        piece = piece[:cut]
    return ("…" if start else "") + piece.rstrip() + "…"


def _weight(sentence: str) -> int:
    return (
        6 * bool(_DECISION.search(sentence))
        + 5 * bool(_LINK.search(sentence))
        + 4 * bool(_NUMBER.search(sentence))
        + 3 * bool(_NAME.search(sentence))
        + min(2, len(sentence) // 40)
    )


def _shortened(lines: list[str], room: int) -> list[str]:
    """Earlier lines within ``room`` characters: all of them, else all cut evenly, else those that say most, in order."""
    if sum(len(line) + 1 for line in lines) <= room:
        return lines
    share = max(_SHORTEST, room // max(1, len(lines)) - 1)
    cut = [line if len(line) <= share else line[: share - 1].rstrip() + "…" for line in lines]
    if sum(len(line) + 1 for line in cut) <= room:
        return cut
    left_out = sum(int(match[1]) for match in map(_LEFT_OUT.fullmatch, lines) if match)
    lines = [line for line in lines if not _LEFT_OUT.fullmatch(line)]
    room -= len(_left_out(left_out + len(lines))) + 1
    kept: set[int] = set()
    for place in sorted(range(len(lines)), key=lambda place: (_weight(lines[place]), place), reverse=True):
        room -= len(lines[place]) + 1
        if room < 0:
            break
        kept.add(place)
    return [_left_out(left_out + len(lines) - len(kept)), *(lines[place] for place in sorted(kept))]


def _left_out(count: int) -> str:
    return f"- ({count} earlier lines, kept in full in the history)"


def _bounded(lines: list[str]) -> str:
    """All lines where they have room; else the newest that have, and how many are left out."""
    room = BUDGET * 4 - len(HEADING) - 100
    kept: list[str] = []
    for line in reversed(lines[1:]):
        room -= len(line) + 1
        if room < 0:
            left = len(lines) - 1 - len(kept)
            kept.append(f"- ({left} earlier lines, kept in full in the history)")
            break
        kept.append(line)
    return "\n".join([lines[0], *reversed(kept)])
