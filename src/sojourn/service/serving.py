"""Serving a store: a socket, the service on it, and what is printed about it."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import secrets
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType

import uvicorn
from starlette.applications import Starlette

from sojourn.kinds.conversations.model import ConversationPolicy
from sojourn.kinds.logins.model import LoginPolicy
from sojourn.service.application import application
from sojourn.service.console.operators import LinkOperators
from sojourn.service.keys import LoginKeys
from sojourn.service.live import Streams
from sojourn.service.logs import configure
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
    conversations: ConversationPolicy = field(
        default_factory=lambda: ConversationPolicy(max_age=None, reset="never", fold_above=None)
    )
    """The application's own policies are not in its store: unless told otherwise, nothing is archived or folded here."""
    log_requests: bool = False
    any_user: bool = False
    """Logins are made for users that the store's directory does not know."""


def run(plan: Plan) -> None:
    """Serve until a signal says to stop; requests under way are finished. `ListenError` when the address cannot be had."""
    asyncio.run(_run(plan))


async def _run(plan: Plan) -> None:
    configure(requests=plan.log_requests)
    made_up = "" if plan.secret else f"sja_{secrets.token_urlsafe(32)}"
    with listen(plan.host, plan.port) as listening:
        opened = aopen(
            plan.url,
            tenant=plan.tenant,
            conversations=plan.conversations,
            logins=LoginPolicy(keep_ended=None),
            directory=False if plan.any_user else None,
        )
        async with opened as store, store.runner():
            operators = LinkOperators(store) if plan.console else None
            keys = LoginKeys(store, admin_secret=plan.secret or made_up, admin_tenant=store.tenant)
            app = application(store, keys=keys, operators=operators)
            greeting = _Greeting(plan, address_of(listening, plan.host), made_up, operators)
            await serve(app, listening, greeting.say)


async def serve(app: Starlette, listening: socket.socket, started: Callable[[], None]) -> None:
    """Serve an `application` until a signal says to stop; ``started`` is called when it answers."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=20,
        timeout_keep_alive=20,
        server_header=False,
        ws="websockets-sansio",
        ws_max_size=LARGEST,
        h11_max_incomplete_event_size=64 * 1024,
    )
    try:
        await Server(config, app.state.service.streams, started).serve([listening])
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


def listen(host: str, port: int) -> socket.socket:
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


def address_of(listening: socket.socket, host: str) -> str:
    """The address that a browser is given: of a socket that takes what comes from anywhere, the name it was asked for."""
    found, port = listening.getsockname()[:2]
    name = host if _is_any(found) and host not in ("", found) else found
    return f"http://{f'[{name}]' if ':' in name else name}:{port}"


def _is_any(address: str) -> bool:
    """Whether an address means every address of this machine."""
    return ipaddress.ip_address(address.partition("%")[0]).is_unspecified


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
            operators = self._operators
            if on_enter(lambda: say([self._link(operators)])):
                stop = "Enter prints a new sign-in link, Ctrl-C stops."
        say([*lines, "", stop])

    def _link(self, operators: LinkOperators) -> str:
        return f"  Console  {self._address}{operators.link()}  (signs in once, within ten minutes)"


def on_enter(act: Callable[[], None]) -> bool:
    """Have something done whenever Enter is pressed; False where there is no terminal to press it on."""
    if not sys.stdin.isatty():
        return False
    loop = asyncio.get_running_loop()

    def entered() -> None:
        if sys.stdin.readline():
            act()
        else:  # the terminal went away
            loop.remove_reader(sys.stdin)

    loop.add_reader(sys.stdin, entered)
    return True


def say(lines: list[str]) -> None:
    """Print lines at once; nobody may be reading them."""
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write("\n".join([*lines, ""]))
        sys.stdout.flush()
