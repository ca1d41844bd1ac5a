"""``sojourn demo`` and ``sojourn completion``."""

from __future__ import annotations

from sojourn.cli.call import Call
from sojourn.cli.exits import MissingPackageError
from sojourn.cli.options import reveal
from sojourn.cli.parser import Parser


def fill(name: str, parser: Parser) -> None:
    """Add what the command takes."""
    if name == "demo":
        parser.description = "A guided run through everything that exists, in a throw-away store. It ends by itself."
        parser.examples("sojourn demo")
        parser.takes_anything()
        parser.set_defaults(run=demo)
        return
    parser.description = "Print the completion script of a shell."
    parser.examples(
        'bash:  eval "$(sojourn completion bash)"      in ~/.bashrc\nzsh:   sojourn completion zsh > "${fpath[1]}/_sojourn"'
    )
    parser.add_argument("shell", metavar="SHELL", choices=("bash", "zsh"), help="bash or zsh")
    parser.set_defaults(run=completion)


def demo(call: Call) -> int:
    """``demo``: everything behind the word is its own; it has no colours."""
    from sojourn.demo import main

    return main([word for word in call.arguments.rest if word != "--no-color"])


def completion(call: Call) -> None:
    """``completion``."""
    try:
        import shtab
    except ImportError as error:
        raise MissingPackageError(
            "shell completion needs the package shtab.", hint="Install it: pip install 'sojourn[cli]'"
        ) from error
    from sojourn.cli.program import FILE_NAMES, build

    root = build().fill_all()
    for parser in root.whole():
        reveal(parser)
        for action in parser._actions:
            if action.dest in FILE_NAMES:
                action.complete = shtab.FILE  # type: ignore[attr-defined]  # shtab reads it there
    call.output.write(shtab.complete(root, shell=call.arguments.shell))
