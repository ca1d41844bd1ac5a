"""``sojourn login``: who is signed in, on which devices.

Here is what the commands take; what they do is imported when one is run, so that help costs no kind and no engine.
"""

from __future__ import annotations

import argparse
from datetime import timedelta
from importlib import import_module
from typing import TYPE_CHECKING

from sojourn.cli.options import Run, duration, json_object, page_size
from sojourn.cli.parser import Parser

if TYPE_CHECKING:
    from sojourn.cli.call import Call

NEVER = timedelta(0)
"""What ``never`` is read as; no timeout is that short."""

_ON_CONFLICT = ("refuse", "take_over", "share")


def fill(_: str, parser: Parser) -> None:
    """Add the commands."""
    parser.description = (
        "A login is one device of one user: signed in to the account, or playing one character in one world.\n"
        "Tokens are read from standard input and shown once; no list, event or export has them."
    )
    parser.commands()
    for add in (_create, _list, _show, _bind, _unbind, _rotate, _revoke, _revoke_user, _online):
        add(parser)


def _run(module: str, name: str) -> Run:
    def run(call: Call) -> int | None:
        command: Run = getattr(import_module(f"sojourn.cli.login.{module}"), name)
        return command(call)

    return run


def _timeout(text: str) -> timedelta:
    if text == "never":
        return NEVER
    found = duration(text)
    if not found:
        raise argparse.ArgumentTypeError("must be a duration such as 30m, 8h or 30d, or never")
    return found


def _character(parser: Parser) -> None:
    parser.add_argument("--world", metavar="WORLD", help="the character's world, to make sure")
    parser.add_argument(
        "--on-conflict",
        choices=_ON_CONFLICT,
        default="refuse",
        metavar="WHAT",
        help="when another login holds the character: refuse (the default), take_over or share",
    )


def _key(parser: Parser) -> None:
    parser.add_argument("--key", metavar="KEY", help="an id of this operation: the same again does it once")


def _reason(parser: Parser) -> None:
    parser.add_argument("--reason", metavar="TEXT", default="revoked", help="why, for the history (default: revoked)")


def _create(parser: Parser) -> None:
    made = parser.command(
        "create",
        "sign a user in and print the token, this once",
        _run("signing", "create"),
        examples="sojourn login create --username alice --add-user\n"
        "sojourn login create 42 --any-user --client api --absolute 90d --idle never --json",
        more="The token is all there is on standard output, so TOKEN=$(sojourn login create ...) keeps it. With --json it is\n"
        "in the document; with -q it would be lost, which is refused. A store that does not exist yet is made.",
    )
    made.add_argument("user", metavar="USER", nargs="?", help="the user's id")
    made.add_argument("--username", metavar="NAME", help="the user's name, in place of USER")
    made.add_argument("--add-user", action="store_true", help="add the user of this name to the store's directory if need be")
    made.add_argument("--any-user", action="store_true", help="do not look for USER: the application keeps its own users")
    made.add_argument("--client", metavar="TYPE", default="unknown", help="what signs in: web, api, tui, ...")
    made.add_argument("--character", metavar="ID", help="the character it plays")
    _character(made)
    made.add_argument("--amr", metavar="METHOD", action="append", help="how the user proved who they are: pwd, otp, ...")
    made.add_argument("--metadata", metavar="JSON", type=json_object, help='a JSON object kept with it, such as {"ci":true}')
    made.add_argument(
        "--preset", metavar="NAME", help="timeouts of a standard: aal1, aal2, aal3, owasp-low, owasp-high (default: 8h and 30d)"
    )
    made.add_argument("--idle", metavar="AGE", type=_timeout, help="end it when it was idle so long: 30m, 8h, never")
    made.add_argument("--absolute", metavar="AGE", type=_timeout, help="end it after so long in any case: 12h, 30d, never")
    made.add_argument("--token", metavar="-", help="- reads a token of your own from standard input")
    _key(made)


def _list(parser: Parser) -> None:
    made = parser.command(
        "list",
        "list logins, newest activity first",
        _run("looking", "list_logins"),
        examples="sojourn login list --user 42\nsojourn login list --world pipeworks_web --json",
    )
    made.add_argument("--user", metavar="USER", help="only of the user of this id")
    made.add_argument("--username", metavar="NAME", help="only of the user of this name")
    made.add_argument("--character", metavar="ID", help="only those that play this character")
    made.add_argument("--world", metavar="WORLD", help="only those in this world")
    made.add_argument("--all", action="store_true", help="ended and expired ones too")
    page_size(made, "logins")


def _show(parser: Parser) -> None:
    made = parser.command(
        "show",
        "show a login and what has happened to it",
        _run("looking", "show"),
        examples="sojourn login show 7F3K9QZA\nsojourn login show - < token.txt",
        more="With -, the token on standard input says which; looking is not activity.",
    )
    made.add_argument("id", metavar="ID", help="its id or the end of it; - reads its token from standard input")


def _bind(parser: Parser) -> None:
    made = parser.command(
        "bind",
        "have a login play a character of its user",
        _run("changing", "bind"),
        examples="sojourn login bind 7F3K9QZA 17\nsojourn login bind 7F3K9QZA 17 --on-conflict take_over",
    )
    made.add_argument("id", metavar="ID", help="the login's id, or the end of it")
    made.add_argument("character", metavar="CHARACTER", help="the character's id")
    _character(made)
    _key(made)


def _unbind(parser: Parser) -> None:
    made = parser.command(
        "unbind",
        "have a login play no character",
        _run("changing", "unbind"),
        examples="sojourn login unbind 7F3K9QZA",
    )
    made.add_argument("id", metavar="ID", help="the login's id, or the end of it")
    _key(made)


def _rotate(parser: Parser) -> None:
    made = parser.command(
        "rotate",
        "replace the token on standard input, and print the new one, this once",
        _run("signing", "rotate"),
        examples="sojourn login rotate < token.txt > new.txt\nsojourn login rotate --reauthenticated --json < token.txt",
        more="The old one answers for ten seconds more (with --reauthenticated not at all); after that, it ends the login.",
    )
    made.add_argument("--reauthenticated", action="store_true", help="the user proved who they are: both timeouts begin anew")
    _key(made)


def _revoke(parser: Parser) -> None:
    made = parser.command(
        "revoke",
        "end a login for good",
        _run("changing", "revoke"),
        examples="sojourn login revoke 7F3K9QZA\nsojourn login revoke - < token.txt",
    )
    made.add_argument("id", metavar="ID", help="its id or the end of it; - reads its token from standard input")
    _reason(made)
    _key(made)


def _revoke_user(parser: Parser) -> None:
    made = parser.command(
        "revoke-user",
        "end all logins of a user",
        _run("changing", "revoke_user"),
        examples="sojourn login revoke-user 42 --reason 'password changed'\nsojourn login revoke-user 42 --keep 7F3K9QZA --yes",
    )
    made.add_argument("user", metavar="USER", nargs="?", help="the user's id")
    made.add_argument("--username", metavar="NAME", help="the user's name, in place of USER")
    made.add_argument("--keep", metavar="ID", help="but for this login")
    _reason(made)
    _key(made)


def _online(parser: Parser) -> None:
    made = parser.command(
        "online",
        "say who is there: a user, a world's characters, or how many",
        _run("looking", "online"),
        examples="sojourn login online\nsojourn login online 42\nsojourn login online --world pipeworks_web",
        more="There is who was active within 30 minutes (a world's characters: whose login is live).",
    )
    made.add_argument("user", metavar="USER", nargs="?", help="the user's id")
    made.add_argument("--username", metavar="NAME", help="the user's name, in place of USER")
    made.add_argument("--world", metavar="WORLD", help="a world, in place of USER")
