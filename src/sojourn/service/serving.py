"""Serving a store: a socket, the service on it, and what is printed about it."""

from __future__ import annotations

import asyncio
import secrets
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any

import uvicorn

from sojourn.service.application import application
from sojourn.service.console.operators import LinkOperators
from sojourn.service.keys import LoginKeys
from sojourn.service.live import Streams
from sojourn.service.sockets import LARGEST
from sojourn.store import aopen


class ListenError(Exception):
    """The address cannot be had; the message says why."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to serve, and where."""

    url: str
    tenant: str
    place: str
    """The store, as people are told."""
    host: str
    port: int
    """0 takes a free one."""
    secret: str
    """The admin's; one is made up, and printed, for an empty one."""
    console: bool = True


def run(plan: Plan) -> None:
    """Serve until a signal says to stop; requests under way are finished. `ListenError` when the address cannot be had."""
    asyncio.run(_run(plan))


async def _run(plan: Plan) -> None:
    made_up = "" if plan.secret else f"sja_{secrets.token_urlsafe(32)}"
    with _listen(plan.host, plan.port) as listening:
        async with aopen(plan.url, tenant=plan.tenant) as store, store.runner():
            operators = LinkOperators(store) if plan.console else None
            keys = LoginKeys(store, admin_secret=plan.secret or made_up, admin_tenant=store.tenant)
            app = application(store, keys=keys, operators=operators)
            host, port = listening.getsockname()[:2]
            address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
            config = uvicorn.Config(
                app,
                log_level="warning",
                lifespan="off",
                timeout_graceful_shutdown=20,
                timeout_keep_alive=20,
                server_header=False,
                ws="websockets-sansio",
                ws_max_size=LARGEST,
                h11_max_incomplete_event_size=64 * 1024,
            )
            greeting = _Greeting(plan, address, made_up, operators)
            try:
                await Server(config, app.state.service.streams, greeting.say).serve([listening])
            finally:
                await app.state.service.close()


class Server(uvicorn.Server):
    """Ends event streams when it is told to stop, so that requests under way can finish and nobody waits for a timeout."""

    def __init__(self, config: uvicorn.Config, streams: Streams, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._streams = streams
        self._started = started
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        if self.started:
            self._started()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal: requests under way are finished first; a second Ctrl-C waits for nothing."""
        del frame
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._streams.stop)
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True


def _listen(host: str, port: int) -> socket.socket:
    """A socket that can be had at once."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ListenError(error.strerror or str(error)) from error
    family, kind, protocol, _, address = found[0]
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except OSError as error:
        listening.close()
        raise ListenError(error.strerror or str(error)) from error
    return listening


class _Greeting:
    """What is printed when the service is there, and the links that Enter asks for."""

    def __init__(self, plan: Plan, address: str, secret: str, operators: LinkOperators | None) -> None:
        self._plan = plan
        self._address = address
        self._secret = secret
        self._operators = operators

    def say(self) -> None:
        """Print where everything is."""
        lines = [f"Sojourn serves {self._plan.place}", ""]
        lines.append(f"  API      {self._address}/v1  (described at {self._address}/openapi.json)")
        if self._secret:
            lines.append(f"  API key  {self._secret}  (until this stops; SOJOURN_ADMIN_SECRET sets one)")
        stop = "Ctrl-C stops."
        if self._operators is not None:
            lines.append(self._link(self._operators))
            if sys.stdin.isatty():
                stop = "Enter prints a new sign-in link, Ctrl-C stops."
                asyncio.get_running_loop().add_reader(sys.stdin, self._entered, self._operators)
        _print([*lines, "", stop])

    def _link(self, operators: LinkOperators) -> str:
        return f"  Console  {self._address}{operators.link()}  (signs in once, within ten minutes)"

    def _entered(self, operators: LinkOperators) -> None:
        if sys.stdin.readline():
            _print([self._link(operators)])
        else:  # the terminal went away
            asyncio.get_running_loop().remove_reader(sys.stdin)


def _print(lines: list[Any]) -> None:
    sys.stdout.write("\n".join([*lines, ""]))
    sys.stdout.flush()
