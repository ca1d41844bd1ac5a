"""A chat bot with a memory, in blocking code: python chat_bot.py CHANNEL HANDLE, then one message a line.

What to look at: `Reply` is where a model goes, and `key=` makes a message that is delivered twice one message.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import TypeAlias

import sojourn

Reply: TypeAlias = Callable[[sojourn.Messages], str]
"""Gives the answer to the last of these messages."""

POLICY = sojourn.ConversationPolicy(max_age=timedelta(days=7), fold_above=40)


def echo(history: sojourn.Messages) -> str:
    """Answers without a model."""
    return f"You said: {history[-1].text} ({len(history)} messages so far)"


class Bot:
    """Answers people over one channel."""

    def __init__(self, store: sojourn.Store, channel: str, reply: Reply) -> None:
        self._talks = store.conversations
        self._channel = channel
        self._reply = reply

    def receive(self, handle: str, text: str, message_id: str) -> str:
        """Store a message and its answer; the answer. The same message id again stores nothing."""
        talk = self._talks.get_or_create(channel=self._channel, channel_user_id=handle, with_messages=False)
        asked, answered = f"{self._channel}:{message_id}", f"{self._channel}:{message_id}:answer"
        self._talks.append(talk.id, "user", text, channel=self._channel, key=asked)
        answer = self._reply(self._talks.window(talk.id, budget=4000))
        try:
            return self._talks.append(talk.id, "assistant", answer, channel=self._channel, key=answered).text
        except sojourn.KeyReusedError:  # answered before, in other words: that answer stands
            earlier = self._talks.messages(talk.id, roles=["assistant"], include_folded=True)
            return next(message.text for message in earlier if message.key == answered)


def main(channel: str, handle: str, lines: Iterable[str]) -> int:
    """Answer each line; how many there were."""
    count = 0
    with sojourn.open("sqlite:///chat_bot.db", conversations=POLICY) as store, store.runner():
        bot = Bot(store, channel, echo)
        for count, line in enumerate(lines, 1):
            print(bot.receive(handle, line.strip(), str(count)))
    return count


if __name__ == "__main__":
    arguments = sys.argv[1:] or ["console", "me"]
    main(arguments[0], arguments[1], sys.stdin)
