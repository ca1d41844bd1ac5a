"""Load: event streams and writers against a real server, in a process beside it. Run by hand:

python -m tests.service.loading --streams 200 --writers 50 --seconds 60
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

SECRET = "a-secret-of-the-test-that-is-long-enough"


@dataclass
class Found:
    """What a load came to."""

    acknowledged: dict[str, list[int]] = field(default_factory=dict)
    """By conversation, the sequences that were acknowledged."""
    seen: list[Counter[tuple[str, int]]] = field(default_factory=list)
    """By stream, the sequences of each conversation."""
    latencies: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    refused: int = 0
    lost: int = 0
    twice: int = 0
    delivered: int = 0

    def percentile(self, share: float) -> float:
        """Of the latencies, in milliseconds."""
        ordered = sorted(self.latencies)
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0

    def lines(self) -> list[str]:
        """What is printed."""
        count = sum(map(len, self.acknowledged.values()))
        percentiles = ", ".join(f"p{round(share * 100)} {self.percentile(share):,.1f} ms" for share in (0.5, 0.95, 0.99))
        megabytes = [round(size / 2**20) for size in self.memory]
        return [
            f"{count:,} appends acknowledged, {self.delivered:,} events delivered, {self.lost} lost, {self.twice} twice",
            f"latency of an append: {percentiles}, most {self.percentile(1):,.1f} ms",
            f"memory of the server: {', '.join(map(str, megabytes))} MB",
        ]


class Wire:
    """A keep-alive HTTP/1.1 connection of a few lines, so that the load is the server's and not the client's."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter

    async def open(self) -> Wire:
        self.reader, self.writer = await asyncio.open_connection(self.host, self.port, limit=2**20)
        return self

    async def send(self, method: str, path: str, body: bytes = b"", headers: str = "") -> int:
        """The status; the body is left to be read."""
        head = (
            f"{method} {path} HTTP/1.1\r\nhost: {self.host}\r\nauthorization: Bearer {SECRET}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n{headers}\r\n"
        )
        self.writer.write(head.encode() + body)
        line = await self.reader.readline()
        if not line:
            raise ConnectionResetError
        return int(line.split()[1])

    async def head(self) -> dict[str, str]:
        found = {}
        while (line := (await self.reader.readline()).decode().strip()) != "":
            name, _, value = line.partition(":")
            found[name.lower()] = value.strip()
        return found

    async def json(self, method: str, path: str, document: Any, headers: str = "") -> tuple[int, Any]:
        status = await self.send(method, path, json.dumps(document).encode(), headers)
        length = int((await self.head()).get("content-length", "0"))
        return status, json.loads(await self.reader.readexactly(length) or b"null")

    def close(self) -> None:
        self.writer.close()


class Load:
    """One run."""

    def __init__(self, address: tuple[str, int], process: psutil.Process, found: Found) -> None:
        self._address = address
        self._process = process
        self._found = found
        self._written = asyncio.Event()

    async def run(self, streams: int, writers: int, seconds: float, stop_after: float | None) -> None:
        """All of it; with ``stop_after`` the server is told to stop in the middle."""
        ids = []
        wire = await Wire(*self._address).open()
        for number in range(writers):
            _, made = await wire.json("POST", "/v1/conversations", {"user_id": f"user {number}"})
            ids.append(made["id"])
        wire.close()
        self._found.acknowledged = {id: [] for id in ids}
        listening = [asyncio.create_task(self._listen(number)) for number in range(streams)]
        while len(self._found.seen) < streams:  # noqa: ASYNC110  # streams open at the server, which has no event for it
            await asyncio.sleep(0.02)
        watching = asyncio.create_task(self._remember())
        if stop_after is not None:
            asyncio.get_running_loop().call_later(stop_after, self._process.send_signal, signal.SIGTERM)
        until = time.monotonic() + seconds
        await asyncio.gather(*(self._write(id, until) for id in ids))
        self._written.set()
        watching.cancel()
        if stop_after is None:
            async with asyncio.timeout(60 + seconds):
                await asyncio.gather(*listening)
        for task in listening:
            task.cancel()
        await asyncio.gather(*listening, watching, return_exceptions=True)
        self._count()

    async def _write(self, id: str, until: float) -> None:
        found, wire, number = self._found, await Wire(*self._address).open(), 0
        body = {"role": "user", "content": "x" * 200}
        try:
            while time.monotonic() < until:
                number += 1
                began = time.monotonic()
                status, said = await wire.json(
                    "POST", f"/v1/conversations/{id}/messages", body, f"idempotency-key: {id}-{number}\r\n"
                )
                if status != 201:
                    found.refused += 1
                    return
                found.latencies.append(time.monotonic() - began)
                found.acknowledged[id].append(said["sequence"])
        except (ConnectionError, asyncio.IncompleteReadError, OSError):
            found.refused += 1
        finally:
            wire.close()

    def _complete(self, seen: Counter[tuple[str, int]]) -> bool:
        return self._written.is_set() and len(seen) >= sum(map(len, self._found.acknowledged.values()))

    async def _listen(self, number: int) -> None:
        """One stream, which breaks now and then and comes again with its cursor."""
        seen: Counter[tuple[str, int]] = Counter()
        cursor = here = ""
        first = True
        while first or not self._complete(seen):
            wire = await Wire(*self._address).open()
            await wire.send("GET", "/v1/events?kind=conversation", headers=f"last-event-id: {cursor}\r\n" if cursor else "")
            await wire.head()
            if first:
                self._found.seen.append(seen)
                first = False
            breaks = 400 + 37 * number
            try:
                async with asyncio.timeout(None) as patience:
                    while not self._complete(seen) and breaks:
                        patience.reschedule(asyncio.get_running_loop().time() + 1)
                        line = await wire.reader.readline()
                        if not line:
                            break
                        if line.startswith(b"id: "):
                            here = line[4:].decode().strip()
                        elif line.startswith(b"data: "):
                            event, cursor = (
                                json.loads(line[6:]),
                                here,
                            )  # what was counted: a wire may break between the two lines
                            if event["sequences"]:
                                breaks -= 1
                                for sequence in range(event["sequences"][0], event["sequences"][1] + 1):
                                    seen[event["id"], sequence] += 1
            except TimeoutError:
                pass
            finally:
                wire.close()

    async def _remember(self) -> None:
        while True:
            self._found.memory.append(self._process.memory_info().rss)
            await asyncio.sleep(2)

    def _count(self) -> None:
        found = self._found
        wanted = {(id, sequence) for id, sequences in found.acknowledged.items() for sequence in sequences}
        for seen in found.seen:
            found.delivered += seen.total()
            found.lost += len(wanted - set(seen))
            found.twice += sum(count - 1 for count in seen.values())


async def load(url: str, *, streams: int, writers: int, seconds: float, stop_after: float | None = None) -> Found:
    """Serve a store in a process of its own, and load it."""
    environment = {**os.environ, "SOJOURN_ADMIN_SECRET": SECRET, "PYTHONUNBUFFERED": "1"}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.service.serving_freely",
        url,
        stdout=asyncio.subprocess.PIPE,
        env=environment,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    line = (await process.stdout.readline()).decode()
    address = re.search(r"http://([0-9.]+):(\d+)", line)
    assert address is not None, line
    found = Found()
    try:
        work = Load((address[1], int(address[2])), psutil.Process(process.pid), found)
        await work.run(streams, writers, seconds, stop_after)
    finally:
        if process.returncode is None and stop_after is None:
            process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), 40)
        finally:
            if process.returncode is None:
                process.kill()
    assert process.returncode == 0
    return found


def main() -> None:
    """From the command line."""
    parser = argparse.ArgumentParser()
    for name, default in (("streams", 200), ("writers", 50), ("seconds", 60)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        url = f"sqlite:///{directory}/app.db"
        found = asyncio.run(load(url, streams=given.streams, writers=given.writers, seconds=given.seconds))
    print("\n".join(found.lines()))  # noqa: T201  # what was measured


if __name__ == "__main__":
    main()
