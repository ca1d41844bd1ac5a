"""A conversation as text, in the forms people take it away in."""

from __future__ import annotations

from typing import Literal, TypeAlias

from sojourn.core.codec import Json, encode
from sojourn.errors import InvalidValueError
from sojourn.kinds.conversations.model import Conversation, Message

ExportFormat: TypeAlias = Literal["jsonl", "md", "openai", "anthropic"]


def render(conversation: Conversation, form: ExportFormat) -> str:
    """``jsonl``: a line for the conversation, then one a message. ``md``: to read. The others: what those APIs take."""
    match form:
        case "jsonl":
            lines = [conversation_document(conversation), *map(message_document, conversation.messages)]
            return "".join(encode(line) + "\n" for line in lines)
        case "md":
            return _markdown(conversation)
        case "openai":
            return encode(conversation.messages.as_openai())
        case "anthropic":
            return encode(conversation.messages.as_anthropic())
        case _:
            raise InvalidValueError(f"format must be jsonl, md, openai or anthropic, got {form!r}.")


def conversation_document(conversation: Conversation) -> dict[str, Json]:
    """A conversation as a JSON object, without its messages."""
    identity = conversation.identity
    return {
        "id": conversation.id,
        "identity": {
            "user_id": identity.user_id,
            "display_name": identity.display_name,
            "channel_ids": identity.channel_ids,
        },
        "title": conversation.title,
        "state": conversation.state,
        "created_at": conversation.created_at.isoformat(),
        "last_activity_at": conversation.last_activity_at.isoformat(),
        "last_interaction_at": None
        if conversation.last_interaction_at is None
        else conversation.last_interaction_at.isoformat(),
        "ended_at": None if conversation.ended_at is None else conversation.ended_at.isoformat(),
        "message_count": conversation.message_count,
        "folded_through": conversation.folded_through,
        "previous_id": conversation.previous_id,
        "forked_from": conversation.forked_from,
        "metadata": conversation.metadata,
        "version": conversation.version,
    }


def message_document(message: Message) -> dict[str, Json]:
    """A message as a JSON object; what is not set is left out."""
    row: dict[str, Json] = {
        "sequence": message.sequence,
        "role": message.role,
        "content": message.content,
        "channel": message.channel,
        "created_at": message.created_at.isoformat(),
    }
    for name in ("author", "tokens", "tool_calls", "tool_call_id", "turn", "key"):
        value = getattr(message, name)
        if value is not None:
            row[name] = value
    if message.metadata:
        row["metadata"] = message.metadata
    if message.covers is not None:
        row["covers"] = list(message.covers)
    for name in ("folded", "hidden", "redacted", "summary"):
        if getattr(message, name):
            row[name] = True
    return row


def _markdown(conversation: Conversation) -> str:
    identity = conversation.identity
    title = conversation.title or f"Conversation with {identity.display_name or identity.user_id}"
    parts = [f"# {title}", ""]
    for message in conversation.messages:
        when = message.created_at.strftime("%Y-%m-%d %H:%M:%S")
        where = f", {message.channel}" if message.channel else ""
        who = "summary" if message.summary else message.author or message.role
        folded = " (folded)" if message.folded else ""
        parts.extend([f"## {message.sequence} · {who}{folded}", "", f"*{when} UTC{where}*", "", message.text, ""])
    return "\n".join(parts)
