"""The player of the demo's game: makes a choice, says that it is acknowledged, and waits to be killed."""

from __future__ import annotations

import sys

from sojourn.sync.opening import open as open_store


def main(url: str, channel: str, user: str, choice: str) -> None:
    """Choose, and wait for the end of standard input, which does not come."""
    with open_store(url) as store:
        answer = store.games.submit_choice(channel, user, user.title(), choice, key=f"{user}'s choice")
        sys.stdout.write(f"{answer.turn}\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
