"""``sojourn serve``: the HTTP service and its console."""

from __future__ import annotations

import argparse
import ipaddress
import os
from datetime import timedelta
from typing import TYPE_CHECKING

from sojourn.cli.call import Call
from sojourn.cli.exits import MissingPackageError, UnsafeError, UsageError
from sojourn.cli.options import duration, whole
from sojourn.cli.parser import Parser

if TYPE_CHECKING:
    from sojourn.kinds.conversations.model import ConversationPolicy

_PORT = 8765
_SHORTEST_SECRET = 24


def fill(name: str, parser: Parser) -> None:
    """Add what the command takes."""
    del name
    parser.description = (
        "Serve the store over HTTP: the API (/v1, described at /openapi.json), live events, and the console. Prints a\n"
        "link that signs in to the console once. Ctrl-C stops; requests under way are finished first.\n\n"
        "SOJOURN_ADMIN_SECRET is the key that may do everything; without it one is made up and printed. An address that\n"
        "others reach needs one of your own. Other keys: sojourn key create.\n\n"
        "How an application folds, archives and expires is not in its store. Here nothing is folded or archived unless you\n"
        "say so; windows of games and timeouts of logins, which are in the store, are kept."
    )
    parser.examples("sojourn serve\nsojourn serve --port 9000\nSOJOURN_ADMIN_SECRET=... sojourn serve --host 0.0.0.0")
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="where to listen (default: this machine only)")
    parser.add_argument(
        "--port", type=whole(0, 65535), default=_PORT, metavar="N", help=f"default: {_PORT}; 0 takes a free one"
    )
    parser.add_argument(
        "--max-age", type=_age, metavar="AGE", help="archive conversations that are idle for so long (default: none), e.g. 7d"
    )
    parser.add_argument(
        "--fold-above", type=whole(2, 1_000_000), metavar="N", help="fold conversations of more than N messages (default: none)"
    )
    parser.add_argument("--any-user", action="store_true", help="logins of users that the store's directory does not know")
    parser.add_argument("--log-requests", action="store_true", help="a line of JSON for each request, on standard error")
    parser.add_argument("--no-console", action="store_true", help="the API only")
    parser.set_defaults(run=serve)


def serve(call: Call) -> int:
    """``serve``."""
    try:
        from sojourn.service.serving import ListenError, Plan, run
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
    if not secret.isascii() or not secret.isprintable() or " " in secret:
        raise UnsafeError(
            "SOJOURN_ADMIN_SECRET has characters that a header cannot carry.",
            hint="Make one of letters and digits, for example: openssl rand -hex 32",
        )
    if secret and len(secret) < _SHORTEST_SECRET:
        raise UnsafeError(
            f"SOJOURN_ADMIN_SECRET has {len(secret)} characters; {_SHORTEST_SECRET} are the least.",
            hint="Make one, for example: openssl rand -hex 32",
        )
    plan = Plan(
        call.url,
        call.options.tenant,
        call.place,
        arguments.host,
        arguments.port,
        secret,
        console=not arguments.no_console,
        conversations=_policy(arguments.max_age, arguments.fold_above),
        any_user=arguments.any_user,
        log_requests=arguments.log_requests,
    )
    try:
        run(plan)
    except ListenError as error:
        raise UsageError(
            f"cannot listen on {arguments.host} port {arguments.port}: {error}.",
            hint="Is another server running there? --port 0 takes a free port.",
        ) from error
    return 0


def _age(text: str) -> timedelta:
    found = duration(text)
    if not found:
        raise argparse.ArgumentTypeError("must be a duration such as 12h or 7d")
    return found


def _policy(age: timedelta | None, above: int | None) -> ConversationPolicy:
    from sojourn.kinds.conversations.model import ConversationPolicy

    if age is None:
        return ConversationPolicy(max_age=None, reset="never", fold_above=above)
    return ConversationPolicy(max_age=age, fold_above=above)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
