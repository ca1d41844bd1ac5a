"""Event streams and writers at once: nothing is lost, nothing comes twice, memory stays; a stop loses nothing acknowledged."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import sojourn
from tests.service.loading import load


def _check_stored(url: str, acknowledged: dict[str, list[int]]) -> None:
    with sojourn.open(url) as store:
        for id, sequences in acknowledged.items():
            assert sequences == list(range(1, len(sequences) + 1)), "each append got the next sequence"
            talk = store.conversations.get(id)
            assert talk is not None
            assert len(sequences) <= talk.message_count <= len(sequences) + 1, "what was asked last may be stored unanswered"
        assert store.check() == []


@pytest.mark.slow
def test_streams_and_writers_for_a_moment(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/app.db"
    found = asyncio.run(load(url, streams=20, writers=5, seconds=3))
    print("\n".join(found.lines()))  # noqa: T201  # what was measured
    assert (found.lost, found.twice, found.refused) == (0, 0, 0)
    assert found.latencies
    _check_stored(url, found.acknowledged)


@pytest.mark.slow
def test_a_stop_under_load_loses_nothing_acknowledged(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/app.db"
    found = asyncio.run(load(url, streams=10, writers=8, seconds=20, stop_after=1.5))
    assert found.latencies
    assert found.twice == 0
    _check_stored(url, found.acknowledged)


@pytest.mark.campaign
def test_two_hundred_streams_and_fifty_writers_for_a_minute(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/app.db"
    found = asyncio.run(load(url, streams=200, writers=50, seconds=60))
    print("\n".join(found.lines()))  # noqa: T201  # what was measured
    assert (found.lost, found.twice, found.refused) == (0, 0, 0)
    half = len(found.memory) // 2
    assert max(found.memory[half:]) <= 1.25 * max(found.memory[:half]), "memory is flat"
    _check_stored(url, found.acknowledged)
