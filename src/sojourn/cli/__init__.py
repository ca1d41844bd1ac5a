"""The command line: ``sojourn``. One file per noun; everything is imported when its command is used."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; nothing is raised for what a user may do wrong."""
    if arguments is None and None in (sys.stdin, sys.stdout, sys.stderr):
        _open_missing_streams()
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if words in (["--version"], ["-V"]):
            return _version()
        code = _quickly(words)
        if code is not None:
            return code
        from sojourn.cli.program import run

        return run(words, own_process=arguments is None)
    except KeyboardInterrupt:
        return 130


def _open_missing_streams() -> None:
    """A stream that was closed (``>&-``) leads nowhere: otherwise the next file, the store, would get its number."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115  # for as long as the process lives
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


def _quickly(words: list[str]) -> int | None:
    """What prompts and hooks ask, answered without a parser where that is possible."""
    if words[:1] == ["st"]:
        words[0] = "status"
    about = 2 if words[:2] == ["workspace", "status"] else int(words[:1] in (["status"], ["prompt"]))
    if not about:
        return None
    if words[0] == "prompt":
        from sojourn.cli.prompt import answer_quickly
    else:
        from sojourn.cli.status import answer_quickly

    try:
        return answer_quickly(words[about:])
    except OSError as error:
        from sojourn.cli.program import output_failed

        return output_failed(error)


def _version() -> int:
    """Apart, because it sits in prompts and scripts: it needs not even a parser."""
    from sojourn import __version__

    try:
        sys.stdout.write(f"sojourn {__version__}\n")
        sys.stdout.flush()
    except OSError as error:
        from sojourn.cli.program import output_failed

        return output_failed(error)
    return 0
