"""What callers see of a conversation: frozen values, times as aware datetimes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, make_dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, TypeAlias, overload

from sojourn.core.codec import Json, check_number, encode
from sojourn.core.times import span
from sojourn.errors import InvalidValueError
from sojourn.kinds.conversations.summary import extractive

State: TypeAlias = Literal["active", "ended", "archived"]
Content: TypeAlias = "str | list[Json]"
"""Text, or a JSON list of parts (as model APIs have them)."""

Summarise: TypeAlias = Callable[["Messages"], Any]
"""Gives the text that stands for these messages: a plain function, or a coroutine function for asynchronous stores."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a conversation is with: the user and, for each channel, the handle they have there."""

    user_id: str
    display_name: str = ""
    channel_ids: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Message:
    """One message, or the summary that stands for a range of older ones (``covers``)."""

    sequence: int
    """Its number in the conversation, from 1; the only order there is."""
    role: str
    """``user``, ``assistant``, ``system``, ``tool`` or a role of the application's own."""
    content: Content
    author: str | None
    """Who of several people wrote it, where the application says so."""
    channel: str
    """Over which channel it came; empty for none."""
    created_at: datetime
    tokens: int | None = None
    """How many tokens it has, where the application counted them."""
    tool_calls: list[Json] | None = None
    """The calls a model made in it."""
    tool_call_id: str | None = None
    """The call that it is the result of."""
    turn: str | None = None
    """The turn it belongs to, as the application names turns."""
    key: str | None = None
    """The operation id it was appended with."""
    metadata: dict[str, Json] = field(default_factory=dict)
    covers: tuple[int, int] | None = None
    """For a summary: the first and last sequence it stands for."""
    folded: bool = False
    """A summary stands for it."""
    hidden: bool = False
    """It was hidden, popped or rewound, and can be brought back."""
    redacted: bool = False
    """Its content is gone for good."""
    summary: bool = False
    """It is a summary: of a range of this conversation, or of the one before."""

    @property
    def place(self) -> int:
        """Where it is listed: its sequence, or for a summary the beginning of what it covers."""
        return self.sequence if self.covers is None else self.covers[0]

    @property
    def text(self) -> str:
        """The content as plain text; of a list of parts, their texts in order."""
        if isinstance(self.content, str):
            return self.content
        return parts_text(self.content)


_Unsealed = make_dataclass("_Unsealed", [(item.name, Any) for item in fields(Message)], slots=True)


def make_message(*values: Any) -> Message:
    """A `Message` of its fields in order, at a third of the cost.

    A frozen dataclass sets every field through ``object.__setattr__`` (1.2 µs a message, half of what reading a window
    costs). This fills a twin that is not frozen, with the same slots, and seals it by giving it its class.
    """
    made: Any = _Unsealed(*values)
    made.__class__ = Message  # the same slots: CPython checks that
    sealed: Message = made
    return sealed


def parts_text(parts: list[Json]) -> str:
    """The text in a list of content parts."""
    found = []
    for part in parts:
        if isinstance(part, str):
            found.append(part)
        elif isinstance(part, dict):
            text = part.get("text", part.get("content"))
            if isinstance(text, str):
                found.append(text)
    return "\n".join(found)


class Messages(Sequence[Message]):
    """Messages in order, with the shapes that model APIs take."""

    __slots__ = ("_items",)

    def __init__(self, items: Sequence[Message] = ()) -> None:
        self._items = tuple(items)

    @overload
    def __getitem__(self, place: int) -> Message: ...
    @overload
    def __getitem__(self, place: slice) -> Messages: ...
    def __getitem__(self, place: int | slice) -> Message | Messages:
        """The message there, or those of a slice."""
        if isinstance(place, slice):
            return Messages(self._items[place])
        return self._items[place]

    def __len__(self) -> int:
        return len(self._items)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Messages):
            return self._items == other._items
        return list(self._items) == other if isinstance(other, list) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(message.sequence for message in self._items))

    def __repr__(self) -> str:
        return f"Messages({list(self._items)!r})"

    def as_openai(self) -> list[dict[str, Json]]:
        """As OpenAI's chat API takes them: ``{"role", "content"}``, with ``tool_calls`` and ``tool_call_id`` where set."""
        found = []
        for message in self._items:
            row: dict[str, Json] = {"role": message.role, "content": message.content}
            if message.tool_calls:
                row["tool_calls"] = message.tool_calls
            if message.tool_call_id is not None:
                row["tool_call_id"] = message.tool_call_id
            found.append(row)
        return found

    def as_anthropic(self) -> dict[str, Json]:
        """As Anthropic's messages API takes them: ``{"system": text, "messages": [...]}``, roles alternating.

        System messages and summaries become the system text; tool calls and results become content blocks; neighbours of
        one role are joined.
        """
        system: list[str] = []
        rows: list[dict[str, Json]] = []
        for message in self._items:
            if message.role == "system":
                system.append(message.text)
                continue
            role = "assistant" if message.role == "assistant" else "user"
            blocks = _anthropic_blocks(message)
            if rows and rows[-1]["role"] == role:
                rows[-1]["content"].extend(blocks)
            else:
                rows.append({"role": role, "content": blocks})
        return {"system": "\n\n".join(system), "messages": rows}

    def as_text(self) -> str:
        """One paragraph a message: ``role: text``."""
        return "\n\n".join(f"{message.author or message.role}: {message.text}" for message in self._items)


def _anthropic_blocks(message: Message) -> list[Json]:
    if message.tool_call_id is not None:
        return [{"type": "tool_result", "tool_use_id": message.tool_call_id, "content": message.content}]
    blocks: list[Json] = []
    if isinstance(message.content, str):
        if message.content:
            blocks.append({"type": "text", "text": message.content})
    else:
        blocks.extend({"type": "text", "text": part} if isinstance(part, str) else part for part in message.content)
    return [*blocks, *map(_tool_use, message.tool_calls or ())]


def _tool_use(call: Json) -> Json:
    if not isinstance(call, dict):
        return {"type": "tool_use", "id": str(call), "name": "", "input": {}}
    function = call.get("function")
    if not isinstance(function, dict):
        return {**call, "type": "tool_use"}
    return {
        "type": "tool_use",
        "id": call.get("id", ""),
        "name": function.get("name", ""),
        "input": _arguments(function.get("arguments")),
    }


def _arguments(value: Json) -> Json:
    from sojourn.core.codec import decode
    from sojourn.errors import CorruptError

    if not isinstance(value, str):
        return {} if value is None else value
    try:
        return decode(value)
    except CorruptError:  # a model wrote arguments that are not JSON: pass them on as they are
        return {"arguments": value}


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation as of one read."""

    id: str
    identity: Identity
    title: str
    state: State
    created_at: datetime
    last_activity_at: datetime
    last_interaction_at: datetime | None
    """The last message of role ``user``."""
    message_count: int
    """Messages in it, folded and hidden ones included, summaries not."""
    folded_through: int
    """Everything up to this sequence is folded; 0 when nothing is."""
    previous_id: str | None
    """The conversation of the same person that this one superseded."""
    forked_from: str | None
    """The conversation that it shares its beginning with."""
    metadata: dict[str, Json]
    ended_at: datetime | None = None
    version: int = 0
    """Moved by every commit; what ``expected_version`` is compared with."""
    messages: Messages = field(default_factory=Messages)
    """Filled when asked for."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A message that a search found."""

    conversation_id: str
    message: Message
    snippet: str


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A labelled place in a conversation."""

    label: str
    sequence: int
    created_at: datetime


def message_text(message: Message) -> str:
    """All that a model reads of a message, for counting tokens."""
    if message.tool_calls:
        return message.text + encode(message.tool_calls)
    return message.text


@dataclass(frozen=True, kw_only=True, slots=True)
class ConversationPolicy:
    """How conversations age, fold and are searched. None in a limit means there is none."""

    max_age: timedelta | None = timedelta(hours=24)
    """A conversation whose last message is at least this old is superseded by the next ``get_or_create``."""
    reset: Literal["idle", "daily", "never"] = "idle"
    """``idle``: after ``max_age`` without a message. ``daily``: when the UTC day has changed. ``never``."""
    carry_summary: bool = True
    """A superseded conversation's summary opens the next one (made by the built-in summariser, which waits for nobody)."""
    fold_above: int | None = 100
    """A fold is due when there are more visible messages (tokens, turns: see ``fold_by``) than this."""
    fold_keep: float = 0.5
    """The share of them that stays visible."""
    fold_by: Literal["messages", "tokens", "turns"] = "messages"
    """What ``fold_above`` counts. A turn is a message of role ``user``; tokens are approximate."""
    summarise: Summarise = extractive
    """Makes the summaries of folds; the built-in one needs no model."""
    archive: bool = True
    """Decay archives; False: it deletes."""
    search: Literal["off", "commit", "deferred"] = "deferred"
    """When messages are indexed: never, with the append, or in the background (a search looks through the rest)."""
    max_content: int | None = 16_000_000
    """Bytes of one message."""
    max_metadata: int | None = 256_000
    """Bytes of metadata, of a message or a conversation, as JSON."""

    def __post_init__(self) -> None:
        if self.max_age is not None:
            span(self.max_age, "max_age")
        keep: Any = self.fold_keep
        if not isinstance(keep, (int, float)) or not 0 < keep < 1:
            raise InvalidValueError(f"fold_keep must lie between 0 and 1, got {keep!r}.")
        for limit, least in (("fold_above", 2), ("max_content", 0), ("max_metadata", 0)):
            if getattr(self, limit) is not None:
                check_number(getattr(self, limit), limit, least)
        if not callable(self.summarise):
            raise InvalidValueError(f"summarise must be callable, got {self.summarise!r}.")
        for name, allowed in (
            ("reset", ("idle", "daily", "never")),
            ("fold_by", ("messages", "tokens", "turns")),
            ("search", ("off", "commit", "deferred")),
        ):
            if getattr(self, name) not in allowed:
                raise InvalidValueError(f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}.")
