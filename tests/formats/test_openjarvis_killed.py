"""An import that is killed leaves nothing half-visible, and the next one completes it."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import sojourn
from sojourn.formats.openjarvis import import_openjarvis

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from tests.formats.conftest import Handwritten

NOW = 1794300000.0
PEOPLE, LONG = 30, 3_000

CHILD = """
import sys, sojourn
from sojourn.formats import arrivals
from sojourn.formats.openjarvis import import_openjarvis
arrivals.PAGE = 200
with sojourn.open(sys.argv[1]) as store:
    import_openjarvis(store, sys.argv[2], progress=lambda done, total: print(done, flush=True))
"""
Source = tuple[Path, dict[str, int]]


@pytest.fixture
def source(handwritten: Handwritten) -> Source:
    """Thirty people with a few messages each, and one with many pages of them; how many messages each session has."""
    sessions: list[tuple[Any, ...]] = []
    messages: list[tuple[Any, ...]] = []
    counts: dict[str, int] = {}
    for person in range(PEOPLE):
        key = f"{person * 2654435761 % 2**32:016x}"
        counts[key] = LONG if person == PEOPLE // 2 else person + 1
        sessions.append((key, f"u{person}", "", json.dumps({"web": f"w{person}"}), NOW, NOW + person, "{}"))
        messages += [
            (None, key, "user", f"word{number} of {person}", "web", NOW + number, "{}") for number in range(counts[key])
        ]
    return handwritten("python", sessions=sessions, session_messages=messages), counts


def contents(store: sojourn.Store) -> dict[str, tuple[int, list[str], dict[str, str], str]]:
    """What a reader sees, by session id."""
    found = {}
    for talk in store.conversations.list(limit=1000, active_only=False):
        messages = store.conversations.messages(talk.id)
        key = talk.metadata["openjarvis"]["session_id"]
        assert store.conversations.get_or_create(talk.identity.user_id, with_messages=False).id == talk.id
        found[key] = (talk.message_count, [m.text for m in messages], talk.identity.channel_ids, talk.id)
    return found


@pytest.mark.parametrize("seed", range(8))
def test_a_killed_import_shows_whole_conversations_only_and_is_completed_by_the_next(
    source: Source, tmp_path: Path, seed: int
) -> None:
    path, counts = source
    before = path.read_bytes()
    url = f"sqlite:///{tmp_path / 'store.db'}"
    policy = sojourn.ConversationPolicy(reset="never")

    killed = _killed_after(random.Random(seed).randrange(2, 60), url, path)
    with sojourn.open(url, conversations=policy) as store:
        half = contents(store)
        assert killed is False or len(half) < PEOPLE
        assert all(count == len(texts) == counts[key] for key, (count, texts, _, _) in half.items())

        report = import_openjarvis(store, path)
        assert report.rows_read == report.imported + sum(item.rows for item in report.skipped)
        assert contents(store) == _uninterrupted(path, policy)
        assert import_openjarvis(store, path).imported == 0
        assert len(store.conversations.search("word0", limit=100)) == PEOPLE
    assert path.read_bytes() == before


def _killed_after(commits: int, url: str, path: Path) -> bool:
    """Run an import in a child and kill it right after it has told of so many commits; False when it was done before."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, url, str(path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    with child:
        assert child.stdout is not None
        for number, _ in enumerate(child.stdout, 1):
            if number == commits:
                child.kill()
                break
    return child.returncode != 0


def _uninterrupted(path: Path, policy: sojourn.ConversationPolicy) -> dict[str, Any]:
    with sojourn.open("memory:", conversations=policy) as store:
        import_openjarvis(store, path)
        return contents(store)


def test_a_child_that_is_not_killed_imports_everything(source: Source, tmp_path: Path) -> None:
    path, counts = source
    url = f"sqlite:///{tmp_path / 'store.db'}"
    subprocess.run([sys.executable, "-c", CHILD, url, str(path)], check=True, capture_output=True)
    with sojourn.open(url, conversations=sojourn.ConversationPolicy(reset="never")) as store:
        assert {key: count for key, (count, _, _, _) in contents(store).items()} == counts
