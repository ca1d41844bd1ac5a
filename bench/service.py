"""The bars of the HTTP service: an append over HTTP beside the library's own call and an empty route, each in turn."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import sojourn
from bench.conversations import NO_FOLD, ROUNDS, TEXT
from bench.measure import Row, in_turns, rate
from sojourn.service import Credential, SecretKeys, ServiceOptions, application

_ASKED = 400


class Server:
    """An ASGI application in a thread of its own, and one keep-alive connection to it."""

    def __init__(self, app: Starlette) -> None:
        listening = socket.socket(proto=socket.IPPROTO_TCP)  # as asyncio wants it named, or small answers wait 40 ms
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        config = uvicorn.Config(app, log_level="error", lifespan="off", access_log=False, timeout_keep_alive=600)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._server.serve([listening])), daemon=True)
        self._thread.start()
        self._wire = socket.create_connection(listening.getsockname())
        self._wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._answers = self._wire.makefile("rb")

    def post(self, path: str, body: bytes) -> int:
        """The status of an answer, read to its end."""
        head = f"POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer key\r\ncontent-length: {len(body)}\r\n\r\n"
        self._wire.sendall(head.encode() + body)
        status, length = int(self._answers.readline().split()[1]), 0
        while (line := self._answers.readline()) != b"\r\n":
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        self._answers.read(length)
        return status

    def close(self) -> None:
        """Stop it."""
        self._answers.close()
        self._wire.close()
        self._server.should_exit = True
        self._thread.join(20)


def service(directory: Path) -> Iterator[Row]:
    """One client, one request after another, on SQLite without waiting for the disk: what HTTP costs, not the disk."""
    url = f"sqlite:///{directory}/service.db"
    store = sojourn.open(url, conversations=NO_FOLD, durability="normal")
    talk = store.conversations.create("u")
    keys = SecretKeys({"key": Credential("bench", "default")})
    opened = asyncio.run(_opened(url))
    served = Server(application(opened, keys=keys, options=ServiceOptions(per_second=None)))
    empty = Server(Starlette(routes=[Route("/", _nothing, methods=["POST"])]))
    body = json.dumps({"role": "user", "content": TEXT}).encode()

    def over_http() -> float:
        return _rate(lambda: _check(served.post(f"/v1/conversations/{talk.id}/messages", body), 201))

    def nothing() -> float:
        return _rate(lambda: _check(empty.post("/", body), 200))

    def called() -> float:
        return _rate(lambda: store.conversations.append(talk.id, "user", TEXT))

    beside_empty, first, asked = in_turns(ROUNDS, nothing, over_http)
    detail = f"{asked:,.0f}/s beside {first:,.0f}/s"
    yield Row("append over HTTP, against an empty Starlette route", beside_empty, "×", detail=detail)
    beside_call, direct, asked = in_turns(ROUNDS, called, over_http)
    detail = f"{asked:,.0f}/s beside {direct:,.0f}/s"
    yield Row("append over HTTP, against the library's call", beside_call, "×", detail=detail)
    served.close()
    empty.close()
    store.close()


def _rate(once: Callable[[], object]) -> float:
    def work() -> None:
        for _ in range(_ASKED):
            once()

    return rate(_ASKED, work)


def _check(status: int, wanted: int) -> None:
    if status != wanted:
        raise AssertionError(f"a request was answered with {status}")


async def _opened(url: str) -> sojourn.AsyncStore:
    return await sojourn.aopen(url, conversations=NO_FOLD, durability="normal")


async def _nothing(request: Request) -> Response:
    await request.body()
    return Response(b"{}", media_type="application/json")
