"""The nightly job of a small installation: one process at a time backs up, sweeps and checks.

What to look at: the lease lets one process in, and everything may be repeated, so that a job that died can simply run again.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import sojourn


@dataclass(frozen=True)
class Report:
    """What one night did."""

    backup: Path
    swept: dict[str, int]
    problems: list[str]


def nightly(store: sojourn.Store, folder: Path) -> Report:
    """Do it all; `LeaseHeldError` when another process is at it."""
    with store.lease("nightly", timedelta(minutes=30)) as lease:
        folder.mkdir(mode=0o700, exist_ok=True)
        target = folder / f"{lease.expires_at:%Y-%m-%d}.db"
        store.backup(target)
        counts: dict[str, int] = {}
        while (swept := store.sweep()).total:
            lease = store.renew(lease)
            for name, count in swept.counts.items():
                counts[name] = counts.get(name, 0) + count
        return Report(target, counts, store.check())


def main() -> int:
    """An exit code: 0 when all is well, 1 when the store has a problem, 75 when somebody else does it."""
    with sojourn.open("sqlite:///nightly.db") as store:
        talk = store.conversations.get_or_create("alice")
        store.conversations.append(talk.id, "user", "Keep this.")
        try:
            report = nightly(store, Path("backups"))
        except sojourn.LeaseHeldError as error:
            print(f"{error.holder} is at it", file=sys.stderr)
            return 75
        print(f"backup: {report.backup.exists()}, swept: {report.swept}, problems: {report.problems}")
        return 1 if report.problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
