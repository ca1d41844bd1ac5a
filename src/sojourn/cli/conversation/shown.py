"""How conversations and messages look to a person."""

from __future__ import annotations

import json

from sojourn.cli.output import Output
from sojourn.cli.text import moment, one_line, visible
from sojourn.core.ids import tail
from sojourn.kinds.conversations.model import Conversation, Message

_ROLE_STYLES = {"user": "green", "assistant": "cyan", "system": "yellow"}
_CALL_WIDTH = 200


def show_heading(output: Output, conversation: Conversation) -> None:
    """Who it is with, and where it stands."""
    output.write(output.paint(f"Conversation {tail(conversation.id)} with {who(conversation)}", "bold") + "\n")
    facts = {
        "title": conversation.title,
        "state": conversation.state
        if conversation.ended_at is None
        else f"{conversation.state} {moment(conversation.ended_at)}",
        "begun": moment(conversation.created_at),
        "last activity": moment(conversation.last_activity_at),
        "messages": f"{conversation.message_count:,}{_folded(conversation)}",
        "channels": ", ".join(f"{channel} {handle}" for channel, handle in conversation.identity.channel_ids.items()),
        "before it": "" if conversation.previous_id is None else tail(conversation.previous_id),
        "forked from": "" if conversation.forked_from is None else tail(conversation.forked_from),
        "metadata": json.dumps(conversation.metadata, ensure_ascii=False) if conversation.metadata else "",
    }
    for label, text in facts.items():
        if text:
            output.write(output.paint(f"{label + ':':<15}", "dim") + one_line(text) + "\n")


def who(conversation: Conversation) -> str:
    """The person: the id that ``--user`` takes, and the name that is shown where there is one."""
    identity = conversation.identity
    return f"{identity.user_id} ({identity.display_name})" if identity.display_name else identity.user_id


def _folded(conversation: Conversation) -> str:
    return f", folded up to #{conversation.folded_through:,}" if conversation.folded_through else ""


def show_message(output: Output, message: Message, *, conversation: str = "") -> None:
    """One message: a line that says whose, and its text below."""
    place = f"{tail(conversation)} " if conversation else ""
    parts = [_who(message), message.channel, moment(message.created_at), *marks(message)]
    head = output.paint(" · ".join(part for part in parts if part), _ROLE_STYLES.get(message.role, "dim"))
    output.write(output.paint(f"{place}#{message.sequence} ", "bold") + head + "\n")
    for line in message_text(message).splitlines():
        output.write(f"  {line}\n" if line else "\n")


def _who(message: Message) -> str:
    if message.summary and message.covers is not None:
        first, last = message.covers
        return f"summary of #{first} to #{last}"
    if message.summary:
        return "summary of an earlier conversation"
    return f"{message.role} {message.author}" if message.author else message.role


def marks(message: Message) -> list[str]:
    """What became of a message."""
    return [name for name in ("folded", "hidden", "redacted") if getattr(message, name)]


def message_text(message: Message) -> str:
    """All of a message that can be shown, and nothing that could steer a terminal."""
    text = visible(message.text)
    if not text and not isinstance(message.content, str):
        text = one_line(json.dumps(message.content, ensure_ascii=False), _CALL_WIDTH)
    lines = [text] if text else []
    if message.tool_call_id is not None:
        lines.insert(0, f"[result of {one_line(message.tool_call_id)}]")
    calls = (json.dumps(call, ensure_ascii=False) for call in message.tool_calls or ())
    return "\n".join([*lines, *(f"[calls {one_line(call, _CALL_WIDTH)}]" for call in calls)])
