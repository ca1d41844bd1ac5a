"""How several processes take turns at SQLite's one write lock: SQLite's busy handler, our jittered retry, an flock gate.

    python -m bench.spike_gate

Each process commits one row at a time as fast as it can. Fairness is the least of the processes' counts by the most.
"""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import random
import sqlite3
import statistics
import tempfile
import time
from multiprocessing.queues import Queue
from pathlib import Path

SECONDS = 3.0


def busy_handler(connection: sqlite3.Connection, _: int) -> None:
    connection.execute("begin immediate")


def jitter(connection: sqlite3.Connection, _: int) -> None:
    while True:
        try:
            connection.execute("begin immediate")
            return
        except sqlite3.OperationalError:
            time.sleep(random.uniform(0.0002, 0.0004))


def flock(connection: sqlite3.Connection, gate: int) -> None:
    fcntl.flock(gate, fcntl.LOCK_EX)
    connection.execute("begin immediate")


WAYS = {"busy handler": busy_handler, "jitter": jitter, "flock": flock}


def work(path: str, way: str, start: float, out: Queue[tuple[int, list[float]]]) -> None:
    connection = sqlite3.connect(path, isolation_level=None, timeout=0 if way == "jitter" else 30)
    connection.execute("pragma synchronous = full")
    gate = os.open(path + ".gate", os.O_CREAT | os.O_RDWR, 0o600)
    begin, waits = WAYS[way], []
    while time.time() < start:
        time.sleep(0.001)
    while time.time() < start + SECONDS:
        before = time.perf_counter()
        begin(connection, gate)
        connection.execute("insert into t (b) values (?)", ("x" * 200,))
        connection.execute("commit")
        if way == "flock":
            fcntl.flock(gate, fcntl.LOCK_UN)
        waits.append(time.perf_counter() - before)
    out.put((len(waits), waits))


def race(directory: str, way: str, processes: int) -> str:
    path = str(Path(directory) / f"{way}-{processes}.db")
    connection = sqlite3.connect(path)
    connection.execute("pragma journal_mode = wal")
    connection.execute("create table t (i integer primary key, b text)")
    connection.close()
    out: Queue[tuple[int, list[float]]] = multiprocessing.Queue()
    start = time.time() + 0.3
    children = [multiprocessing.Process(target=work, args=(path, way, start, out)) for _ in range(processes)]
    for child in children:
        child.start()
    results = [out.get() for _ in children]
    for child in children:
        child.join()
    counts = [count for count, _ in results]
    waits = sorted(wait for _, some in results for wait in some)
    p99 = statistics.quantiles(waits, n=100)[98]
    return (
        f"{way:13} {processes} processes: {sum(counts) / SECONDS:7,.0f} commits/s  fairness {min(counts) / max(counts):.2f}  "
        f"p99 {p99 * 1000:7.2f} ms  worst {waits[-1] * 1000:8.1f} ms"
    )


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        for processes in (2, 8):
            for way in WAYS:
                print(race(directory, way, processes), flush=True)


if __name__ == "__main__":
    main()
