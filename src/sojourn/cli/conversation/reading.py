"""Commands that look at conversations and change nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sojourn.cli.call import Call
from sojourn.cli.conversation.shown import marks, show_heading, show_message, who
from sojourn.cli.files import write_file
from sojourn.cli.output import Listing
from sojourn.cli.text import ago, many, size
from sojourn.core.ids import tail
from sojourn.kinds.conversations.export import conversation_document, message_document
from sojourn.kinds.conversations.model import Conversation, Hit
from sojourn.kinds.conversations.view import read_view
from sojourn.sync.store import Store

KIND = "conversation"
_MOST_HITS = 1000


def list_conversations(call: Call) -> None:
    """``conversation list``."""
    given = call.arguments
    store = call.store_if_any()
    items: list[Conversation] = []
    cursor = None
    if store is not None:
        talks = store.conversations
        items, cursor = call.pages(
            lambda limit, after: talks.list(
                user_id=given.user,
                channel=given.channel,
                active_only=not given.all,
                order=given.order,
                limit=limit,
                after=after,
            )
        )
        if not items:
            call.output.note(_nothing_listed(call))
    now = call.now
    columns = ["ID", "USER", "MESSAGES", "LAST ACTIVITY", *(["STATE"] if given.all else []), "CHANNELS", "TITLE"]
    rows = []
    for item in items:
        state = [item.state] if given.all else []
        channels = ", ".join(item.identity.channel_ids)
        age = ago(item.last_activity_at, now)
        rows.append([tail(item.id), who(item), f"{item.message_count:,}", age, *state, channels, item.title])
    documents = [conversation_document(item) for item in items]
    ids = [item.id for item in items]
    call.output.listing(Listing(documents, columns, rows, ids, cursor, paged=True, numbers=frozenset({"MESSAGES"})))
    call.more(cursor)


def _nothing_listed(call: Call) -> str:
    given = call.arguments
    if given.user or given.channel or given.after:
        return "No such conversations." + ("" if given.all else " With --all, ended and archived ones are looked at too.")
    if given.all:
        return f"No conversations at {call.place}. To begin one: {call.first_step}"
    return f"No active conversations at {call.place}. With --all, ended and archived ones too. To begin one: {call.first_step}"


def show(call: Call) -> None:
    """``conversation show``."""
    given = call.arguments
    store = call.store()
    identifier = call.find(store, given.id, KIND)
    conversation = store.conversations.get(identifier)
    if conversation is None:
        raise call.nothing(KIND, given.id)
    messages = store.conversations.messages(
        identifier, last=given.last, include_folded=given.unfold, include_hidden=given.hidden
    )
    documents = [message_document(message) for message in messages]
    output = call.output
    hidden = 0 if given.hidden else hidden_messages(store, identifier)
    if output.mode == "jsonl":
        for document in documents:
            output.item(document)
        return

    def human() -> None:
        show_heading(output, conversation)
        for message in messages:
            output.write("\n")
            show_message(output, message)
        if hidden:
            output.line()
            output.line(_hidden_line(call, store, identifier, hidden))

    output.answer({**conversation_document(conversation), "messages": documents}, [identifier], human)


def hidden_messages(store: Store, identifier: str) -> int:
    """How many messages of a conversation are hidden, by a rewind or one by one."""
    session = store.sessions.get(identifier)
    if session is None or not read_view(session.data.get("view")).invisible():
        return 0
    found = store.conversations.messages(identifier, include_folded=True, include_hidden=True)
    return sum(message.hidden and not message.summary for message in found)


def _hidden_line(call: Call, store: Store, identifier: str, hidden: int) -> str:
    name = tail(identifier)
    text = f"{many(hidden, 'message')} {'is' if hidden == 1 else 'are'} hidden. "
    text += f"To see {'it' if hidden == 1 else 'them'}: {call.command(f'conversation show {name} --hidden')}"
    session = store.sessions.get(identifier)
    if session is not None and read_view(session.data.get("view")).rewinds:
        text += f"\nTo bring back what the last rewind hid: {call.command(f'conversation rewind {name} --undo')}"
    return text


def search(call: Call) -> None:
    """``conversation search``."""
    given = call.arguments
    store = call.store_if_any()
    words = " ".join(given.words)
    hits: list[Hit] = []
    more = False
    if store is not None:
        most = min(given.limit + 1, _MOST_HITS)
        hits = store.conversations.search(words, user_id=given.user, channel=given.channel, limit=most)
        more, hits = len(hits) > given.limit or len(hits) == _MOST_HITS, hits[: given.limit]
        if not hits:
            call.output.note("Nothing found.")
    now = call.now
    rows = [
        [
            tail(hit.conversation_id),
            f"#{hit.message.sequence}",
            hit.message.role,
            ago(hit.message.created_at, now),
            " ".join([*(f"[{mark}]" for mark in marks(hit.message)), hit.snippet]),
        ]
        for hit in hits
    ]
    documents: list[dict[str, Any]] = [
        {"conversation_id": hit.conversation_id, "snippet": hit.snippet, "message": message_document(hit.message)}
        for hit in hits
    ]
    ids = list(dict.fromkeys(hit.conversation_id for hit in hits))
    columns = ["ID", "MESSAGE", "ROLE", "WHEN", "TEXT"]
    call.output.listing(Listing(documents, columns, rows, ids, numbers=frozenset({"MESSAGE"})))
    if more:
        how = f"--limit {min(10 * given.limit, _MOST_HITS)}, or" if given.limit < _MOST_HITS else ""
        may = "are" if given.limit < _MOST_HITS else "may be"
        text = f"There {may} more: repeat the command with {how} --user, --channel or another word."
        call.output.remark(" ".join(text.split()))


def export(call: Call) -> None:
    """``conversation export``."""
    given = call.arguments
    store = call.store()
    identifier = call.find(store, given.id, KIND)
    text = store.conversations.export(identifier, given.format)
    if given.output is None:
        call.output.raw(text if text.endswith("\n") else text + "\n", json=given.format != "md")
        return
    target = Path(given.output)
    if call.dry_run:
        call.output.would(f"write conversation {tail(identifier)} to {target} ({size(len(text.encode()))})")
        return
    written = write_file(call, target, [text])
    call.output.answer(
        {"id": identifier, "path": str(target), "bytes": written},
        [identifier],
        f"Conversation {tail(identifier)} is in {target} ({size(written)}).",
    )
