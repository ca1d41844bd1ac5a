"""What a file is before it is opened as a store: nothing is made, and no setting of it is changed."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

_SHOWN = 5


def is_store(path: Path) -> bool:
    """Whether the file has Sojourn's tables; False for what cannot be read."""
    return "sojourn_meta" in _tables(path)


def foreign_tables(path: Path) -> str:
    """The tables of another program's database that has none of Sojourn's; empty for anything else."""
    found = _tables(path)
    if "sojourn_meta" in found:
        return ""
    return ", ".join(found[:_SHOWN]) + (", …" if len(found) > _SHOWN else "")


def _tables(path: Path) -> list[str]:
    if not path.is_file() or not path.stat().st_size:
        return []
    import sqlite3

    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=1.0)) as connection:
            rows = connection.execute("select name from sqlite_master where type = 'table' order by name")
            return [str(row[0]) for row in rows if not str(row[0]).startswith("sqlite_")]
    except sqlite3.Error:
        return []
