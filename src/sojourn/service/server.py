"""Serving an application by uvicorn, and stopping without losing what was acknowledged."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn

from sojourn.service.live import Streams


class Server(uvicorn.Server):
    """Ends event streams when it is told to stop, so that requests under way can finish and nobody waits for a timeout."""

    def __init__(self, config: uvicorn.Config, streams: Streams, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._streams = streams
        self._started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)
        if self.started:
            self._started()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal: requests under way are finished first."""
        asyncio.get_event_loop_policy().get_event_loop().call_soon_threadsafe(self._streams.stop)
        super().handle_exit(sig, frame)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; `OSError` when it cannot be had. Port 0 takes a free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.set_inheritable(True)
    except OSError:
        listening.close()
        raise
    return listening


def server(app: Any, started: Callable[[], None]) -> Server:
    """A server of an application that `application` made."""
    config = uvicorn.Config(
        app,
        log_level="warning",
        lifespan="off",
        timeout_graceful_shutdown=20,
        timeout_keep_alive=20,
        server_header=False,
        h11_max_incomplete_event_size=64 * 1024,
    )
    return Server(config, app.state.service.streams, started)
