"""A worker that follows all changes and resumes where it stopped: python follow_changes.py.

What to look at: the cursor is stored with the result, in one file that is replaced as a whole, so that each change is counted
once however often the worker is killed.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import TypedDict

import sojourn


class Progress(TypedDict):
    """What the worker knows, and how far it has read."""

    cursor: str | None
    counts: dict[str, int]


def load(path: Path) -> Progress:
    """The stored progress; none yet when there is no file."""
    if not path.exists():
        return {"cursor": None, "counts": {}}
    found: Progress = json.loads(path.read_text(encoding="utf-8"))
    return found


def save(path: Path, progress: Progress) -> None:
    """Replace the file in one step."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(progress), encoding="utf-8")
    os.replace(partial, path)


def follow(store: sojourn.Store, path: Path, patience: timedelta) -> Counter[str]:
    """Count changes until nothing has happened for a while; the counts so far, of all runs."""
    progress = load(path)
    counts = Counter(progress["counts"])
    for event in store.watch(after=progress["cursor"], timeout=patience):
        if event.change == "gap":
            counts.clear()  # older events are gone: begin anew
        else:
            counts[event.change] += 1
        save(path, {"cursor": event.cursor, "counts": dict(counts)})
    return counts


def main() -> None:
    """Follow, let something happen, and follow on."""
    progress = Path("follow_changes.json")
    with sojourn.open("sqlite:///follow_changes.db") as store:
        talk = store.conversations.get_or_create("alice")
        [first] = store.sessions.events(talk.id)
        save(progress, {"cursor": first.cursor, "counts": {}})
        for number in range(3):
            store.conversations.append(talk.id, "user", f"Message {number}")
            print(dict(follow(store, progress, timedelta(0))))


if __name__ == "__main__":
    main()
