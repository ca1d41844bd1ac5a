"""``sojourn context``: what was gathered for a task.

Here is what the commands take; what they do is imported when one is run, so that help costs no kind and no engine.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from sojourn.cli.options import Run, json_object, page_size, whole
from sojourn.cli.parser import Parser

if TYPE_CHECKING:
    from sojourn.cli.call import Call


def fill(_: str, parser: Parser) -> None:
    """Add the commands."""
    parser.description = (
        "A context is a named body of work: files, results, notes, prompts and diffs that were gathered for a task.\n"
        "Names are unique in a scope (a project, a user), and one context of a scope is the active one."
    )
    parser.commands()
    for add in (_list, _show, _create, _add, _activate, _deactivate, _resume, _assemble, _branch, _export, _rm):
        add(parser)


def _run(module: str, name: str) -> Run:
    def run(call: Call) -> int | None:
        command: Run = getattr(import_module(f"sojourn.cli.context.{module}"), name)
        return command(call)

    return run


def _scope(parser: Parser) -> None:
    parser.add_argument("--scope", metavar="SCOPE", help="a project or a user (default: the scope 'default')")


def _name(parser: Parser, *, optional: str = "") -> None:
    if optional:
        parser.add_argument("name", metavar="NAME", nargs="?", help=f"its name; {optional}")
    else:
        parser.add_argument("name", metavar="NAME", help="its name")


def _list(parser: Parser) -> None:
    made = parser.command(
        "list",
        "list contexts, the newest first",
        _run("reading", "list_contexts"),
        examples="sojourn context list\nsojourn context list --scope my-project --json",
    )
    _scope(made)
    page_size(made, "contexts")


def _show(parser: Parser) -> None:
    made = parser.command(
        "show",
        "show a context and its artifacts",
        _run("reading", "show"),
        examples="sojourn context show auth-refactor --last 5\nsojourn context show --kind note",
    )
    _name(made, optional="the active one without it")
    made.add_argument("--id", metavar="ID", help="by id in place of NAME, also after rm --keep")
    made.add_argument("--kind", metavar="KIND", help="only artifacts of this kind")
    made.add_argument("--last", type=whole(0), metavar="N", help="only the newest N artifacts")
    _scope(made)


def _create(parser: Parser) -> None:
    made = parser.command(
        "create",
        "begin a context",
        _run("writing", "create"),
        examples="sojourn context create auth-refactor\nsojourn context create bug-7 --metadata '{\"ticket\":7}' --scope web",
        more="A store that does not exist yet is made.",
    )
    _name(made)
    made.add_argument("--metadata", metavar="JSON", type=json_object, help='a JSON object kept with it, such as {"ticket":7}')
    _scope(made)


def _add(parser: Parser) -> None:
    made = parser.command(
        "add",
        "add an artifact; the context is made when there is none of the name",
        _run("writing", "add"),
        examples='sojourn context add auth-refactor note "Tokens are checked twice"\n'
        "git diff | sojourn context add auth-refactor diff -",
        more="A store that does not exist yet is made.",
    )
    _name(made)
    made.add_argument("kind", metavar="KIND", help="what it is: file, result, note, prompt, diff or a word of your own")
    made.add_argument("text", metavar="TEXT", help="the content; - is read from standard input, without its last line end")
    made.add_argument(
        "--metadata", metavar="JSON", type=json_object, help='a JSON object kept with it, such as {"path":"a.py"}'
    )
    made.add_argument("--key", metavar="KEY", help="an id of this operation: the same again adds nothing a second time")
    _scope(made)


def _activate(parser: Parser) -> None:
    made = parser.command(
        "activate",
        "make a context the active one of its scope",
        _run("writing", "activate"),
        examples="sojourn context activate auth-refactor",
    )
    _name(made)
    _scope(made)


def _deactivate(parser: Parser) -> None:
    made = parser.command(
        "deactivate",
        "leave the active context; resume takes it up again",
        _run("writing", "deactivate"),
        examples="sojourn context deactivate",
    )
    _name(made, optional="the active one without it")
    _scope(made)


def _resume(parser: Parser) -> None:
    made = parser.command(
        "resume",
        "go on with the context that was active last, or with a named one",
        _run("writing", "resume"),
        examples="sojourn context resume\nsojourn context resume auth-refactor",
    )
    _name(made, optional="the last active one without it")
    _scope(made)


def _assemble(parser: Parser) -> None:
    made = parser.command(
        "assemble",
        "print the newest artifacts that fit a number of tokens",
        _run("reading", "assemble"),
        examples="sojourn context assemble auth-refactor --budget 4000\n"
        "sojourn context assemble --budget 800 --kind note --kind diff",
        more="Pinned artifacts come first, equal contents once. What was left out is said on standard error.",
    )
    _name(made, optional="the active one without it")
    made.add_argument("--budget", type=whole(1), default=8000, metavar="N", help="tokens, about 4 bytes each (default 8000)")
    made.add_argument("--kind", metavar="KIND", action="append", help="only artifacts of this kind; may be given again")
    _scope(made)


def _branch(parser: Parser) -> None:
    made = parser.command(
        "branch",
        "begin a context that shares what another has so far",
        _run("writing", "branch"),
        examples="sojourn context branch auth-refactor auth-other-way --at 12",
        more="Nothing is copied, and both go on separately.",
    )
    _name(made)
    made.add_argument("new", metavar="NEW", help="the name of the new one")
    made.add_argument("--at", type=whole(0), metavar="N", help="share up to artifact N (default: everything)")
    _scope(made)


def _export(parser: Parser) -> None:
    made = parser.command(
        "export",
        "write a whole context",
        _run("reading", "export"),
        examples="sojourn context export auth-refactor --format md\n"
        "sojourn context export auth-refactor --format zip --output auth.zip",
    )
    _name(made)
    made.add_argument("--format", choices=("json", "jsonl", "md", "zip"), default="json", help="default: json, one document")
    made.add_argument("--output", metavar="FILE", help="write it there (readable by you alone) instead of standard output")
    _scope(made)


def _rm(parser: Parser) -> None:
    made = parser.command(
        "rm",
        "remove a context, or all of a scope",
        _run("writing", "remove"),
        examples="sojourn context rm auth-refactor\nsojourn context rm --all --scope my-project --yes",
    )
    made.usage = "%(prog)s [options] (NAME | --all)"
    made.add_argument("name", metavar="NAME", nargs="?", help="its name")
    made.add_argument("--all", action="store_true", help="every context of the scope, in place of NAME")
    made.add_argument("--keep", action="store_true", help="only the name goes; the artifacts are shown by show --id ID")
    _scope(made)
