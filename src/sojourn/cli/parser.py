"""A parser that fills itself when it is used, takes options anywhere, and says what was wrong in a sentence."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias

from sojourn.cli import options
from sojourn.cli.exits import UsageError
from sojourn.cli.text import visible

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

Fill: TypeAlias = "Callable[[Parser], None]"

OTHER_WORDS: Final = {
    "remove": "rm",
    "delete": "rm",
    "del": "rm",
    "ls": "list",
    "get": "show",
    "cat": "show",
    "view": "show",
    "add": "append",
    "say": "append",
    "find": "search",
    "grep": "search",
    "close": "end",
    "stop": "end",
    "undo": "rewind",
    "follow": "tail",
    "watch": "tail",
    "fold": "consolidate",
    "archive": "decay",
    "whoami": "status",
    "who": "status",
}
"""What other programs call our commands."""


class Parser(argparse.ArgumentParser):
    """One command, or a noun with commands under it."""

    def __init__(self, prog: str, description: str | None = None, fill: Fill | None = None, examples: str = "") -> None:
        super().__init__(
            prog,
            description=description,
            epilog=_epilog(examples),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self._pending = fill
        self._nouns: Any = None
        self._raw = False
        options.add_to(self)

    def fill(self) -> Parser:
        """Add what this parser knows; once, when it is needed."""
        fill, self._pending = self._pending, None
        if fill is not None:
            fill(self)
        return self

    def commands(self, metavar: str = "COMMAND") -> None:
        """Say that commands follow; `command` adds them."""
        self._nouns = self.add_subparsers(
            title=f"{metavar.lower()}s", metavar=metavar, dest=argparse.SUPPRESS, parser_class=Parser
        )

    def command(self, name: str, summary: str, run: options.Run, *, examples: str, more: str = "") -> Parser:
        """A command under this one."""
        text = f"{summary[0].upper()}{summary[1:]}." + (f"\n\n{more}" if more else "")
        made: Parser = self._nouns.add_parser(name, help=summary, description=text, examples=examples)
        made.set_defaults(run=run)
        return made

    def noun(self, name: str, summary: str, fill: Fill) -> Parser:
        """A noun, or a command, that is filled when it is named."""
        made: Parser = self._nouns.add_parser(name, help=summary, fill=fill)
        return made

    def children(self) -> dict[str, Parser]:
        """The nouns or commands under this one."""
        found: dict[str, Parser] = {} if self._nouns is None else self._nouns.choices
        return found

    def fill_all(self) -> Parser:
        """Fill this and everything under it (shell completion needs it whole)."""
        self.fill()
        for child in self.children().values():
            child.fill_all()
        return self

    def whole(self) -> Iterator[Parser]:
        """This parser and all under it."""
        yield self
        for child in self.children().values():
            yield from child.whole()

    def examples(self, text: str) -> None:
        """Examples to print below the help."""
        self.epilog: str | None = _epilog(text)

    def takes_anything(self) -> None:
        """Give every word, options too, to the command as it is: ``rest``."""
        self._raw = True

    # -- argparse --------------------------------------------------------------------------------------------------

    def parse_known_args(  # type: ignore[override]  # argparse's own signature has more overloads than anybody calls
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """As argparse does it, once everything is known; options may stand among the words."""
        self.fill()
        words = list(args or ())
        if self._raw:
            found = argparse.Namespace() if namespace is None else namespace
            found.rest, found.run = words, self.get_default("run")
            return found, []
        ready = words if self._nouns is not None else self._options_first(words)
        return super().parse_known_args(ready, argparse.Namespace() if namespace is None else namespace)

    def _options_first(self, given: list[str]) -> list[str]:
        """The same words with the options in front, so that ``append ID user --channel telegram "Hello"`` can be read."""
        found: list[str] = []
        words: list[str] = []
        waiting = iter(given)
        for word in waiting:
            if word == "--":
                words.extend(waiting)
            elif word == "-" or not word.startswith("-") or " " in word or _is_number(word):
                words.append(word)
            else:
                found.append(self._option(word, waiting))
        return [*found, "--", *words] if words else found

    def _option(self, word: str, waiting: Iterable[str]) -> str:
        """An option with its value, which may begin with a hyphen as long as it is not an option itself."""
        name, equals, _ = word.partition("=")
        action = self._option_string_actions.get(name)
        if action is None:
            if not word.startswith("--") and all(f"-{letter}" in self._option_string_actions for letter in word[1:]):
                return word  # -qy
            raise UsageError(
                f"{self.prog} has no option {name}.",
                hint=f"Text that begins with a hyphen goes behind --. See: {self.prog} --help",
            )
        if equals or action.nargs == 0:
            return word
        value = next(iter(waiting), None)
        if value is None or value in self._option_string_actions:
            raise UsageError(f"{name} needs a value.", hint=f"See: {self.prog} --help")
        return f"{name}={value}" if name.startswith("--") else name + value

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        known = [str(choice) for choice in action.choices]
        what = str(action.metavar or action.dest).lower()
        near = self.nearest(str(value), known)
        hint = f"Did you mean {near}? " if near else ""
        raise UsageError(f"{self.prog} has no {what} {value!r}.", hint=f"{hint}There are: {', '.join(known)}.")

    def nearest(self, word: str, known: Sequence[str]) -> str:
        """What was probably meant; empty when nothing is like it."""
        from difflib import get_close_matches

        meant = OTHER_WORDS.get(word, "")
        return meant if meant in known else next(iter(get_close_matches(word, known, 1, 0.6)), "")

    def error(self, message: str) -> NoReturn:
        """argparse's complaint as an error of ours."""
        text = visible(message).replace("the following arguments are required: ", "missing: ").removeprefix("argument ")
        raise UsageError(f"{text}.", hint=f"See: {self.prog} --help")

    def _print_message(self, message: str, file: SupportsWrite[str] | None = None) -> None:
        """As it is, but a full disk is not passed over in silence."""
        (file or sys.stderr).write(message)

    def format_help(self) -> str:
        """Help needs everything that the parser knows."""
        self.fill()
        return super().format_help()


def _epilog(examples: str) -> str:
    lines = ["examples:", *[f"  {line}" for line in examples.splitlines()], ""] if examples else []
    return "\n".join([*lines, options.IN_SHORT])


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
