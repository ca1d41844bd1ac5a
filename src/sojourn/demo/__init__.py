"""The demo: a tour of what Sojourn does, in a throw-away store, that ends by itself and says what to try next."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str] = ()) -> int:
    """Run the tour; 0 when every step did what it says, 1 when one did not."""
    options = _options(arguments)
    if options.play:
        return _play(options)
    keep = None if options.keep is None else Path(options.keep).expanduser()
    if keep is not None and keep.exists():
        return _failed(f"{keep} exists already; give --keep the name of a new file.")
    from sojourn.demo.tour import StepError, Tour
    from sojourn.errors import SojournError

    with tempfile.TemporaryDirectory(prefix="sojourn-demo-") as directory:
        try:
            Tour(Path(directory), keep, _say).run()
        except BrokenPipeError:  # whoever reads has gone away: the command line's own business
            raise
        except (StepError, SojournError, OSError) as error:
            return _failed(str(error))
    return 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="sojourn demo", description="A tour in a throw-away store; it ends by itself.")
    parser.add_argument("--keep", metavar="PATH", help="keep the store in this new file, or with --play in this directory")
    parser.add_argument("--play", action="store_true", help="stay: the service, its console and live traffic, until Ctrl-C")
    parser.add_argument("--port", type=int, metavar="N", help="where --play listens (default: 8765, or any that is free)")
    return parser.parse_args(list(arguments))


def _play(options: argparse.Namespace) -> int:
    """The demo that stays."""
    try:
        from sojourn.demo.live import play
        from sojourn.service.serving import ListenError
    except ImportError as error:
        return _failed(f"the service needs the package {error.name}: pip install 'sojourn[service]'")
    from sojourn.errors import SojournError

    try:
        play(None if options.keep is None else Path(options.keep).expanduser(), options.port)
    except ListenError as error:
        return _failed(f"cannot listen on port {options.port}: {error}. --port 0 takes a free one.")
    except (SojournError, OSError) as error:
        return _failed(str(error))
    return 0


def _say(line: str) -> None:
    """Print a line; what the terminal has no characters for becomes question marks."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    sys.stdout.write(line.encode(encoding, "replace").decode(encoding) + "\n")
    sys.stdout.flush()


def _failed(text: str) -> int:
    sys.stderr.write(f"sojourn demo: {text}\n")
    return 1
