"""One run of the command line: read the words, run the command, say what went wrong, answer with an exit code."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from io import TextIOWrapper
from typing import Final

from sojourn.cli import options
from sojourn.cli.call import Call
from sojourn.cli.exits import INTERRUPTED, OK, USAGE, Mistake, SystemFault, UsageError, exit_code
from sojourn.cli.output import Output
from sojourn.cli.parser import OTHER_WORDS, Fill, Parser
from sojourn.errors import SojournError

GROUPS: Final = (
    (
        "look and work",
        (
            ("conversation", "what people and an application have said to each other, over all channels"),
            ("context", "what was gathered for a task: files, results, notes, prompts, diffs"),
            ("game", "games that are played turn by turn, also here in the terminal"),
            ("workspace", "who is at work in a project, in which role, on what"),
            ("status", "who am I here (also: st)"),
            ("login", "who is signed in, on which devices"),
            ("session", "sessions of every kind: list, show, end, remove"),
            ("serve", "the HTTP service and its console"),
            ("key", "keys of the HTTP API: make, list, rotate, revoke"),
            ("demo", "a guided run through everything, in a throw-away store"),
        ),
    ),
    (
        "set up a project",
        (
            ("init", "make a project of a directory; --hooks tells a coding agent what others have claimed"),
            ("prompt", "show in the shell's prompt who you are"),
        ),
    ),
    (
        "bring and take data",
        (
            ("import", "take over another program's data"),
            ("export", "write sessions as JSON lines"),
            ("load", "read what export wrote"),
            ("copy", "copy everything from one store to another, on any engine"),
        ),
    ),
    (
        "look after a store",
        (
            ("doctor", "look for problems and name the fix of each"),
            ("sweep", "do what is due: fold, archive, index, purge"),
            ("backup", "copy the store to a file while it is in use"),
            ("restore", "put a backup in the store's place"),
            ("erase", "remove one person from everything, with a receipt"),
            ("migrate", "make a store, or bring its schema forward"),
            ("bench", "measure a store from here"),
            ("completion", "shell completion for bash or zsh"),
        ),
    ),
)
"""Every noun and command, as they are listed; each is filled by a module of its own when it is used."""

_MODULES: Final = {
    "export": "transfer",
    "load": "transfer",
    "copy": "copies",
    "bench": "benching",
    "import": "imports",
    "sweep": "store",
    "erase": "store",
    "migrate": "store",
    "backup": "backups",
    "restore": "backups",
    "demo": "extras",
    "completion": "extras",
}


FILE_NAMES: Final = frozenset({"global_store", "file", "source", "target", "backup", "output", "rest"})
"""Arguments that name files."""


class RootParser(Parser):
    """``sojourn`` itself; its help is written by hand, so that it needs none of its commands."""

    def format_help(self) -> str:
        """Every command in a line, by what one would do with it."""
        lines = ["usage: sojourn COMMAND ...", "", "Durable sessions for programs that talk with people.", ""]
        for title, commands in GROUPS:
            lines += [f"{title}:", *[f"  {name:<14}{summary}" for name, summary in commands], ""]
        lines += [options.IN_FULL, "", "examples:"]
        lines += [
            '  sojourn conversation append --user alice user "Hello"',
            "  sojourn conversation list",
            "  sojourn doctor --store sqlite:///app.db",
        ]
        return "\n".join(lines) + "\n"

    def nearest(self, word: str, known: Sequence[str]) -> str:
        """A command without its noun is a common slip."""
        if word in ("version", "help"):
            return f"'sojourn --{word}'"
        if OTHER_WORDS.get(word) in self.children():
            return f"'sojourn {OTHER_WORDS[word]}'"
        for noun in ("conversation", "session", "context", "workspace", "login", "game"):
            children = self.children()[noun].fill().children()
            meant = word if word in children else OTHER_WORDS.get(word, "")
            if meant in children:
                return f"'sojourn {noun} {meant}'"
        return super().nearest(word, known)


def build() -> RootParser:
    """The whole command line; its parts are filled when they are used."""
    root = RootParser(prog="sojourn")
    root.add_argument("-V", "--version", action="version", version=f"sojourn {sys.modules['sojourn'].__version__}")
    root.commands()
    for _, commands in GROUPS:
        for name, summary in commands:
            root.noun(name, summary, _filler(name))
    return root


def _filler(name: str) -> Fill:
    def fill(parser: Parser) -> None:
        import_module(f"sojourn.cli.{_MODULES.get(name, name)}").fill(name, parser)

    return fill


def run(words: Sequence[str], *, own_process: bool) -> int:
    """Run one command; in a process of its own, standard output is made to take any character."""
    if own_process:
        _prepare_streams()
    output = Output(options.mode_of(words), colour="--no-color" not in words)
    try:
        try:
            code = _run(list(words), output)
            sys.stdout.flush()
        except SystemExit as done:  # argparse, after --help and --version
            sys.stdout.flush()
            code = done.code if isinstance(done.code, int) else OK
    except SojournError as error:
        return _failed(output, error)
    except KeyboardInterrupt:
        output.interrupted()
        return INTERRUPTED
    except OSError as error:
        return output_failed(error, output)
    except Exception as error:
        return _failed(output, Mistake(error))
    return code


def output_failed(error: OSError, output: Output | None = None) -> int:
    """A reader that went away is no error; anything else that the system refuses is one."""
    if isinstance(error, BrokenPipeError):
        abandon_output()
        return OK
    where = f"{error.filename}: " if error.filename else ""
    return _failed(output or Output(), SystemFault(f"{where}{error.strerror or error}."))


def _run(words: list[str], output: Output) -> int:
    found = build().parse_args(words)
    chosen = options.of_namespace(found)
    output.mode = chosen.mode
    run_it: options.Run | None = getattr(found, "run", None)
    if run_it is None:
        sys.stderr.write(_help_for(words))
        return USAGE
    _check_text(found)
    if chosen.trust_root:
        os.environ["SOJOURN_TRUST_ROOT"] = "1"  # for what is run by this command too
    with Call(found, chosen, output) as call:
        try:
            return run_it(call) or OK
        except SojournError as error:
            from sojourn.cli.advice import advise

            raise advise(call, error) from error.__cause__


def _check_text(found: argparse.Namespace) -> None:
    """Only file names may have bytes that are not UTF-8: everything else is stored, or compared with what is."""
    for name, value in vars(found).items():
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and name not in FILE_NAMES and any("\ud800" <= mark <= "\udfff" for mark in text):
                raise UsageError(f"the argument {text!r} is not UTF-8 text.", hint="Convert it first, for example with iconv.")


def _help_for(words: Sequence[str]) -> str:
    """The help of the noun that was named without a command."""
    root = build()
    nouns = root.children()
    return next((nouns[word] for word in words if word in nouns), root).format_help()


def _failed(output: Output, error: SojournError) -> int:
    try:
        sys.stdout.flush()
    except OSError:
        abandon_output()
    output.failure(error)
    return exit_code(error)


def _prepare_streams() -> None:
    """Files and pipes get UTF-8, and a terminal of another encoding an escape instead of a crash."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(encoding=None if stream.isatty() else "utf-8", errors="backslashreplace")


def abandon_output() -> None:
    """The reader went away (``sojourn … | head``): nothing more is written, and the interpreter does not complain."""
    try:
        number = sys.stdout.fileno()
    except (OSError, ValueError, AttributeError):
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)
