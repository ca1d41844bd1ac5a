"""``sojourn serve``: the HTTP service and its console."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import secrets
import sys
from typing import TYPE_CHECKING

from sojourn.cli.call import Call
from sojourn.cli.exits import MissingPackageError, UnsafeError, UsageError
from sojourn.cli.options import whole
from sojourn.cli.parser import Parser

if TYPE_CHECKING:
    from sojourn.service.console.operators import LinkOperators

_PORT = 8765
_SHORTEST_SECRET = 24


def fill(name: str, parser: Parser) -> None:
    """Add what the command takes."""
    del name
    parser.description = (
        "Serve the store over HTTP: the API (/v1, described at /openapi.json), live events, and the console. Prints a\n"
        "link that signs in to the console once. Ctrl-C stops; requests under way are finished first.\n\n"
        "SOJOURN_ADMIN_SECRET is the key that may do everything; without it one is made up and printed. An address that\n"
        "others reach needs one of your own."
    )
    parser.examples("sojourn serve\nsojourn serve --port 9000\nSOJOURN_ADMIN_SECRET=... sojourn serve --host 0.0.0.0")
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="where to listen (default: this machine only)")
    parser.add_argument(
        "--port", type=whole(0, 65535), default=_PORT, metavar="N", help=f"default: {_PORT}; 0 takes a free one"
    )
    parser.add_argument("--no-console", action="store_true", help="the API only")
    parser.set_defaults(run=serve)


def serve(call: Call) -> int:
    """``serve``."""
    try:
        import sojourn.service.server  # noqa: F401  # is it all there?
    except ImportError as error:
        raise MissingPackageError(
            f"the service needs the package {error.name}.", hint="Install it: pip install 'sojourn[service]'"
        ) from error
    arguments = call.arguments
    secret = os.environ.get("SOJOURN_ADMIN_SECRET", "")
    if not secret and not _is_loopback(arguments.host):
        raise UnsafeError(
            f"{arguments.host} can be reached by others, and SOJOURN_ADMIN_SECRET is not set.",
            hint="Set it to a long random text, for example: openssl rand -hex 32",
        )
    if secret and len(secret) < _SHORTEST_SECRET:
        raise UnsafeError(
            f"SOJOURN_ADMIN_SECRET has {len(secret)} characters; {_SHORTEST_SECRET} are the least.",
            hint="Make one, for example: openssl rand -hex 32",
        )
    asyncio.run(_serve(call, secret or f"sja_{secrets.token_urlsafe(32)}", given=bool(secret)))
    return 0


async def _serve(call: Call, secret: str, *, given: bool) -> None:
    import sojourn
    from sojourn.service.application import application
    from sojourn.service.console.operators import LinkOperators
    from sojourn.service.keys import LoginKeys
    from sojourn.service.server import listen, server

    arguments = call.arguments
    try:
        listening = listen(arguments.host, arguments.port)
    except OSError as error:
        raise UsageError(
            f"cannot listen on {arguments.host} port {arguments.port}: {error.strerror or error}.",
            hint="Is another server running there? --port 0 takes a free port.",
        ) from error
    with listening:
        async with sojourn.aopen(call.url, tenant=call.options.tenant) as store, store.runner():
            operators = None if arguments.no_console else LinkOperators(store)
            keys = LoginKeys(store, admin_secret=secret, admin_tenant=store.tenant)
            app = application(store, keys=keys, operators=operators)
            host, port = listening.getsockname()[:2]
            address = f"http://{f'[{host}]' if ':' in host else host}:{port}"

            def started() -> None:
                _say(call, address, operators, "" if given else secret)

            await server(app, started).serve([listening])


def _say(call: Call, address: str, operators: LinkOperators | None, secret: str) -> None:
    lines = [f"Sojourn serves {call.place}", "", f"  API      {address}/v1  (described at {address}/openapi.json)"]
    if secret:
        lines.append(f"  API key  {secret}  (until this stops; SOJOURN_ADMIN_SECRET sets one)")
    if operators is not None:
        lines.append(f"  Console  {address}{operators.link()}  (signs in once, within ten minutes)")
    stop = "Ctrl-C stops."
    if operators is not None and sys.stdin.isatty():
        stop = "Enter prints a new sign-in link, Ctrl-C stops."
        asyncio.get_running_loop().add_reader(sys.stdin, _print_link, address, operators)
    sys.stdout.write("\n".join([*lines, "", stop, ""]))
    sys.stdout.flush()


def _print_link(address: str, operators: LinkOperators) -> None:
    if not sys.stdin.readline():
        asyncio.get_running_loop().remove_reader(sys.stdin)
        return
    sys.stdout.write(f"  Console  {address}{operators.link()}\n")
    sys.stdout.flush()


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
