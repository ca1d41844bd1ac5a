"""The demo's other process: appends one message, says that it is stored, and waits to be killed."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from sojourn.sync.opening import open as open_store


def main(arguments: Sequence[str]) -> None:
    """Arguments: the store's URL, a conversation's id, the text."""
    url, conversation, text = arguments
    store = open_store(url)
    message = store.conversations.append(conversation, "user", text, channel="web")
    sys.stdout.write(f"{message.sequence}\n")
    sys.stdout.flush()
    sys.stdin.read()  # for ever, unless the parent dies first


if __name__ == "__main__":
    main(sys.argv[1:])
