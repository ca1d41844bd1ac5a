"""An engine whose driver is not installed says what to install."""

from __future__ import annotations

import subprocess
import sys

HIDDEN = """
import sys
sys.modules["psycopg"] = None
import sojourn
try:
    sojourn.open("postgresql://user:hunter2@host/db")
except sojourn.UnsupportedError as error:
    print(error)
"""


def test_postgres_without_psycopg_says_what_to_install() -> None:
    said = subprocess.run([sys.executable, "-c", HIDDEN], capture_output=True, text=True, check=True).stdout
    assert "needs psycopg, which is not installed. pip install 'sojourn[postgres]'" in said
    assert "hunter2" not in said


def test_redis_without_redis_py_says_what_to_install() -> None:
    hidden = HIDDEN.replace("psycopg", "redis").replace("postgresql://user:hunter2@host/db", "redis+cluster://:hunter2@host")
    said = subprocess.run([sys.executable, "-c", hidden], capture_output=True, text=True, check=True).stdout
    assert "needs the client library redis-py. pip install 'sojourn[redis]'" in said
    assert "hunter2" not in said
