"""``sojourn conversation``: what people and an application have said to each other.

Here is what the commands take; what they do is imported when one is run, so that help costs no kind and no engine.
"""

from __future__ import annotations

import argparse
from datetime import timedelta
from importlib import import_module
from typing import TYPE_CHECKING

from sojourn.cli.options import Run, duration, json_object, page_size, whole
from sojourn.cli.parser import Parser

if TYPE_CHECKING:
    from sojourn.cli.call import Call


def fill(_: str, parser: Parser) -> None:
    """Add the commands."""
    parser.description = (
        "A conversation is what one person and an application have said to each other, over all channels.\n"
        "It is named by its id, of which the last 4 or more characters will do."
    )
    parser.commands()
    for add in (_list, _show, _append, _search, _fork, _rewind, _link, _consolidate, _decay, _export, _tail):
        add(parser)


def _run(module: str, name: str) -> Run:
    def run(call: Call) -> int | None:
        command: Run = getattr(import_module(f"sojourn.cli.conversation.{module}"), name)
        return command(call)

    return run


def _list(parser: Parser) -> None:
    made = parser.command(
        "list",
        "list conversations, the latest activity first",
        _run("reading", "list_conversations"),
        examples="sojourn conversation list\nsojourn conversation list --user alice --all --json",
    )
    made.add_argument("--user", metavar="USER", help="only this person's")
    made.add_argument("--channel", metavar="NAME", help="only those with a link or messages in this channel")
    made.add_argument("--all", action="store_true", help="ended and archived ones too")
    made.add_argument(
        "--order", choices=("activity", "created"), default="activity", help="by latest activity (default) or by beginning"
    )
    page_size(made, "conversations")


def _show(parser: Parser) -> None:
    made = parser.command(
        "show",
        "show a conversation and its messages",
        _run("reading", "show"),
        examples="sojourn conversation show 7Q2M8XKD\nsojourn conversation show 7Q2M8XKD --last 5\n"
        "sojourn conversation show 7Q2M8XKD --unfold",
    )
    made.add_argument("id", metavar="ID", help="its id, or the end of it")
    made.add_argument("--last", type=whole(0), metavar="N", help="only the newest N messages")
    made.add_argument("--unfold", action="store_true", help="with the messages that a summary stands for (nothing is changed)")
    made.add_argument("--hidden", action="store_true", help="with the messages that were hidden or rewound")


def _append(parser: Parser) -> None:
    made = parser.command(
        "append",
        "add a message",
        _run("writing", "append"),
        examples='sojourn conversation append --user alice user "Hello"\n'
        "sojourn conversation append 7Q2M8XKD assistant - < reply.txt\n"
        'sojourn conversation append 7Q2M8XKD user "Hi" --channel telegram --key update-1017',
        more="With --user USER in place of ID: to the person's current conversation; a new one is begun when there is none,\n"
        "or when 24 hours have passed without a message. A store that does not exist yet is made.",
    )
    made.usage = "%(prog)s [options] (ID | --user USER) ROLE (TEXT | -)"
    made.add_argument("words", metavar="ID ROLE TEXT", nargs="*", help="where to; who speaks (user, assistant, system, "
                      "tool); what. TEXT - is read from standard input, without its last line end")  # fmt: skip
    made.add_argument("--user", metavar="USER", help="to this person's current conversation, in place of ID")
    made.add_argument("--channel", metavar="NAME", default="", help="the channel it came over, such as telegram")
    made.add_argument("--author", metavar="NAME", help="who wrote it, where the role does not say it")
    made.add_argument("--metadata", metavar="JSON", type=json_object, help='a JSON object kept with it, such as {"lang":"en"}')
    made.add_argument("--key", metavar="KEY", help="an id of this operation: the same again adds nothing a second time")


def _search(parser: Parser) -> None:
    made = parser.command(
        "search",
        "find messages that have all the given words, newest first",
        _run("reading", "search"),
        examples="sojourn conversation search invoice april\nsojourn conversation search refund --user alice --limit 5",
        more="Upper and lower case are the same; the last word may be the beginning of one. Folded messages are found too.",
    )
    made.add_argument("words", metavar="WORD", nargs="+", help="what to look for")
    made.add_argument("--user", metavar="USER", help="only in this person's conversations")
    made.add_argument("--channel", metavar="NAME", help="only messages over this channel")
    made.add_argument("--limit", type=whole(1, 1000), default=20, metavar="N", help="at most so many (default 20)")


def _fork(parser: Parser) -> None:
    made = parser.command(
        "fork",
        "begin a new conversation that shares what came before",
        _run("writing", "fork"),
        examples='sojourn conversation fork 7Q2M8XKD --at 12 --title "What if"',
        more="Nothing is copied. The new one belongs to the same person and does not become their current one.",
    )
    made.add_argument("id", metavar="ID", help="its id, or the end of it")
    made.add_argument("--at", type=whole(0), metavar="N", help="share up to message N (default: everything)")
    made.add_argument("--title", metavar="TITLE", help="a title for the new one")


def _rewind(parser: Parser) -> None:
    made = parser.command(
        "rewind",
        "hide everything after a message, or bring it back",
        _run("writing", "rewind"),
        examples="sojourn conversation rewind 7Q2M8XKD 12\nsojourn conversation rewind 7Q2M8XKD --undo",
    )
    made.add_argument("id", metavar="ID", help="its id, or the end of it")
    made.add_argument("to", metavar="N", nargs="?", help="the last message that stays, or a checkpoint's label; 0 hides all")
    made.add_argument("--undo", action="store_true", help="bring back what the last rewind hid")


def _link(parser: Parser) -> None:
    made = parser.command(
        "link",
        "tie a person to their handle in a channel",
        _run("writing", "link"),
        examples="sojourn conversation link 7Q2M8XKD telegram t123\nsojourn conversation link 7Q2M8XKD telegram --remove",
        more="Messages from the handle then reach the person's current conversation, whatever channel they come over.",
    )
    made.add_argument("id", metavar="ID", help="a conversation of the person: its id, or the end of it")
    made.add_argument("channel", metavar="CHANNEL", help="the channel, such as telegram")
    made.add_argument("handle", metavar="HANDLE", nargs="?", help="the person's own id there; replaces an earlier one")
    made.add_argument("--remove", action="store_true", help="untie the person's handle in that channel")


def _consolidate(parser: Parser) -> None:
    made = parser.command(
        "consolidate",
        "fold the older messages into one summary",
        _run("writing", "consolidate"),
        examples="sojourn conversation consolidate 7Q2M8XKD\nsojourn conversation consolidate 7Q2M8XKD --keep 20",
        more="The messages stay stored: show --unfold lists them. Without --keep, nothing is folded at 50 messages or fewer.",
    )
    made.add_argument("id", metavar="ID", help="its id, or the end of it")
    made.add_argument("--keep", type=whole(0), metavar="N", help="leave the newest N messages (default: the newer half)")


def _decay(parser: Parser) -> None:
    made = parser.command(
        "decay",
        "archive conversations in which nothing has been said for long",
        _run("writing", "decay"),
        examples="sojourn conversation decay --max-age 30d --dry-run\nsojourn conversation decay --max-age 30d --yes",
        more="An archived conversation can be read, searched and listed (list --all), but takes no more messages.",
    )
    made.add_argument(
        "--max-age", type=duration, default=timedelta(days=1), metavar="AGE",
        help="how long without a message: 90s, 5m, 24h, 7d (default 24h); 0 is every conversation",
    )  # fmt: skip


def _export(parser: Parser) -> None:
    made = parser.command(
        "export",
        "write a whole conversation, in a form to read or to give to a model",
        _run("reading", "export"),
        examples="sojourn conversation export 7Q2M8XKD --format md --output talk.md\n"
        "sojourn conversation export 7Q2M8XKD --format openai",
        more="To move conversations to another store, use: sojourn export",
    )
    made.add_argument("id", metavar="ID", help="its id, or the end of it")
    made.add_argument(
        "--format", choices=("jsonl", "md", "openai", "anthropic"), default="jsonl", help="default: jsonl, one message a line"
    )
    made.add_argument("--output", metavar="FILE", help="write it there (readable by you alone) instead of standard output")


def _tail(parser: Parser) -> None:
    made = parser.command(
        "tail",
        "show the newest messages, and then new ones as they come",
        _run("follow", "follow"),
        examples="sojourn conversation tail 7Q2M8XKD\nsojourn conversation tail --all --jsonl\n"
        "sojourn conversation tail 7Q2M8XKD --last 3 --no-follow",
        more="It goes on until Ctrl-C. With --jsonl each message carries a cursor; --after CURSOR goes on behind it.",
    )
    made.add_argument("id", metavar="ID", nargs="?", help="its id, or the end of it")
    made.add_argument("--all", action="store_true", help="every conversation of the store, in place of ID")
    made.add_argument(
        "--last", type=whole(0), default=10, metavar="N", help="begin with the newest N messages of ID (default 10)"
    )
    made.add_argument("--after", metavar="CURSOR", help="begin with what came behind this cursor")
    made.add_argument(
        "--follow", action=argparse.BooleanOptionalAction, default=True, help="go on as messages come (default), or end"
    )
