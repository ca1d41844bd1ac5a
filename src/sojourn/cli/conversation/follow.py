"""``conversation tail``: messages as they come."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from sojourn.cli.call import Call
from sojourn.cli.conversation.reading import KIND
from sojourn.cli.conversation.shown import show_message
from sojourn.cli.exits import UsageError
from sojourn.errors import NotFoundError
from sojourn.kinds.conversations.export import message_document
from sojourn.kinds.conversations.model import Message
from sojourn.shell.feed import Event
from sojourn.sync.store import Store

_LOOK: Final = timedelta(milliseconds=500)
"""How long one wait for an event lasts; then the conversation itself is looked at, so that nothing between is missed."""


def follow(call: Call) -> None:
    """``conversation tail``."""
    given = call.arguments
    if given.all == (given.id is not None):
        raise UsageError("tail needs either ID or --all.", hint="See: sojourn conversation tail --help")
    if given.follow and call.output.mode == "json":
        raise UsageError("--json is one document, and tail has no end.", hint="Use --jsonl, or --no-follow.")
    store = call.store()
    identifier = None if given.all else call.find(store, given.id, KIND)
    if identifier is not None and store.conversations.get(identifier) is None:
        raise call.nothing(KIND, given.id)
    _Tail(call, store, identifier).run()


def all_or_cursor(call: Call) -> bool:
    """Whether the events alone say what is shown."""
    return call.arguments.all or call.arguments.after is not None


class _Tail:
    """One tail at work."""

    def __init__(self, call: Call, store: Store, identifier: str | None) -> None:
        self._call = call
        self._store = store
        self._id = identifier
        self._cursor: str | None = call.arguments.after
        self._seen: int | None = None if all_or_cursor(call) else 0
        """The newest sequence that was shown of one conversation; None where only events say what is new."""
        self._documents: list[object] = []
        self._said = False

    def run(self) -> None:
        """Print what is there, and then what comes."""
        given, output = self._call.arguments, self._call.output
        if self._id is not None and self._cursor is None:
            self._show(self._id, list(self._store.conversations.messages(self._id, last=given.last)))
            if not given.last:
                session = self._store.sessions.get(self._id)
                self._seen = 0 if session is None else session.entries
        if given.all and self._cursor is None and not given.follow:
            output.note("Nothing to show: --all begins with what comes now. To see what came before, add --after CURSOR.")
        if given.follow and output.terminal:
            output.note("Waiting for messages; Ctrl-C ends it.")
        try:
            if self._cursor is not None or given.follow:
                for _ in self._passes(given.follow):
                    output.flush()
        finally:
            if self._said and self._cursor is not None and output.human:
                output.note(f"To go on from here, add: --after {self._cursor}")
        if output.mode == "json":
            output.answer(self._documents, [], "")

    def _passes(self, follow: bool) -> Iterator[None]:
        wait = _LOOK if follow else timedelta(0)
        while True:
            if follow and self._id is not None and self._seen is not None:
                self._show(self._id, list(self._store.conversations.messages(self._id, after=self._seen)))
            yield
            for event in self._store.watch(KIND, self._id, self._cursor, timeout=wait):
                self._take(event)
                yield
            if not follow:
                return

    def _take(self, event: Event) -> None:
        self._cursor = event.cursor
        if event.change == "gap":
            self._call.output.note("Events before this are no longer kept; there may be messages that are not shown here.")
        if event.sequences is None or not event.id:
            return
        first, last = event.sequences
        if self._seen is not None:
            first = self._seen + 1  # also what came before this event, and after the last look
        if first > last:
            return
        try:
            found = self._store.conversations.messages(event.id, after=first - 1, before=last + 1, include_folded=True)
        except NotFoundError:  # deleted since
            return
        self._show(event.id, [message for message in found if not message.summary and message.sequence >= first])

    def _show(self, identifier: str, messages: list[Message]) -> None:
        output = self._call.output
        for message in messages:
            if self._seen is not None:
                self._seen = max(self._seen, message.sequence)
            document = {"conversation_id": identifier, "cursor": self._cursor, **message_document(message)}
            if output.mode == "json":
                self._documents.append(document)
            elif output.mode == "jsonl":
                output.item(document)
            elif output.mode == "quiet":
                output.line(identifier)
            else:
                show_message(output, message, conversation="" if self._id is not None else identifier)
                self._said = True
