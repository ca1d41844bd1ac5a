"""Stores to import into, the sample that OpenJarvis wrote itself, and databases written by hand in its formats."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import pytest

import sojourn
from sojourn.testing.clocks import ManualClock

SAMPLE = Path(__file__).parent / "data" / "openjarvis"

AFTER_THE_SAMPLE = datetime(2026, 11, 15, tzinfo=UTC)
"""A day after the newest row of the sample."""

_TABLES = {
    "python": """
create table sessions (session_id text primary key, user_id text, display_name text default '', channel_ids text default '{}',
  created_at real, last_activity real, metadata text default '{}');
create table session_messages (id integer primary key, session_id text not null, role, content, channel default '',
  timestamp real, metadata default '{}');
create index idx_messages_session on session_messages (session_id);
""",
    "channels": """
create table channel_sessions (sender_id text not null, channel_type text not null,
  conversation_history text not null default '[]', preferred_notification_channel text, pending_response text,
  created_at timestamp default (datetime('now')), updated_at timestamp default (datetime('now')),
  primary key (sender_id, channel_type));
""",
    "rust": """
create table sessions (session_id text primary key, user_id text not null, display_name text default '',
  created_at real not null, last_activity real not null, metadata_json text default '{}');
create table session_messages (id integer primary key autoincrement, session_id text not null, role text not null,
  content text not null, channel text default '', timestamp real not null, metadata_json text default '{}');
create table channel_links (session_id text not null, channel text not null, channel_user_id text not null,
  primary key (channel, channel_user_id));
create table session_checkpoints (checkpoint_id text primary key, session_id text not null, label text not null,
  message_count integer not null, created_at real not null);
""",
}

Handwritten: TypeAlias = Callable[..., Path]


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    """A copy of the database that OpenJarvis's own SessionStore wrote, in a directory of its own."""
    directory = tmp_path / "openjarvis"
    directory.mkdir()
    return Path(shutil.copy(SAMPLE / "sessions.db", directory / "sessions.db"))


@pytest.fixture
def handwritten(tmp_path: Path) -> Handwritten:
    """Writes a database by hand, since the sample has none of these: ``handwritten("rust", sessions=[…], …)``.

    The tables are as OpenJarvis makes them (``python``, ``rust``, ``channels``); the rows are ours. A second call adds rows.
    """

    def write(*variants: str, **rows: Iterable[tuple[Any, ...]]) -> Path:
        path = tmp_path / "handwritten" / "sessions.db"
        path.parent.mkdir(exist_ok=True)
        connection = sqlite3.connect(path)
        with connection:
            for variant in variants:
                connection.executescript(_TABLES[variant])
            for table, values in rows.items():
                for row in values:
                    connection.execute(f"insert into {table} values ({', '.join('?' * len(row))})", row)
        connection.close()
        return path

    return write


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(AFTER_THE_SAMPLE)


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> Iterator[sojourn.Store]:
    """An empty store, in memory and in a file."""
    url = "memory:" if request.param == "memory" else f"sqlite:///{tmp_path / 'store' / 'store.db'}"
    with sojourn.open(url, clock=clock) as opened:
        yield opened
