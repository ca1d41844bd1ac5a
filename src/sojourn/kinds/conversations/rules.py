"""The rules of conversations: what is valid, what is visible, what a commit must change. Pure: no clock, no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, cast

from sojourn.core.batch import Create, Deadline, Guard, NewEntry, Path, Write
from sojourn.core.codec import Json, Schema, check_key, check_number, check_text, decode, encode
from sojourn.core.session import Entry, Session
from sojourn.core.times import DAY, SECOND, maybe_datetime, span, to_datetime
from sojourn.core.words import approximate_tokens
from sojourn.errors import InvalidValueError, LimitError, NotFoundError, SummariserError
from sojourn.kinds.conversations.model import (
    Conversation,
    ConversationPolicy,
    Identity,
    Message,
    Messages,
    State,
    make_message,
    parts_text,
)
from sojourn.kinds.conversations.view import Fold, Range, View, contains, read_view

KIND: Final = "conversation"
SCHEMA: Final = Schema(1)
BUCKET: Final = SECOND
"""Lists are ordered by activity in buckets of this length, so that a busy conversation moves no index."""

MESSAGE: Final = "message"
CARRIED: Final = "carried"
SUMMARY: Final = "summary"
REPAIR: Final = "repair"
LISTED: Final = (MESSAGE, CARRIED)
"""Entries that are listed at their own place; summaries and repairs are placed by what they cover."""

CURRENT: Final = "conversation.current"
HANDLE: Final = "conversation.handle"

CLOSED_CALL: Final = "No result was recorded for this call."


# -- what comes in -----------------------------------------------------------------------------------------------------


def check_role(role: object) -> str:
    """A role: 1–64 printable characters."""
    if isinstance(role, str) and 0 < len(role) <= 64 and role.isprintable() and role.strip() == role:
        return check_text(role, "role")
    raise InvalidValueError(
        f"role must be text of 1 to 64 printable characters, got {role!r}.",
        hint="Usual roles: user, assistant, system, tool.",
    )


def check_roles(roles: object) -> tuple[str, ...]:
    """A list of roles."""
    if isinstance(roles, str) or not isinstance(roles, Iterable):
        raise InvalidValueError(f"roles must be a list of roles, got {roles!r}.", hint=f"Did you mean [{roles!r}]?")
    return tuple(map(check_role, roles))


def check_channel(channel: object, *, required: bool = False) -> str:
    """A channel's name: up to 256 bytes without control characters, empty for none."""
    if channel == "" and not required:
        return ""
    return check_key(channel, "channel", 256)


def check_metadata(metadata: object, policy: ConversationPolicy) -> dict[str, Json]:
    """A JSON object within the policy's limit."""
    if not isinstance(metadata, Mapping):
        raise InvalidValueError(f"metadata must be a JSON object (dict), not {type(metadata).__name__}.")
    plain = dict(metadata)
    encode(plain, "metadata", policy.max_metadata)
    return plain


def new_message(
    policy: ConversationPolicy,
    role: object,
    content: object,
    *,
    channel: object = "",
    author: object = None,
    metadata: object = None,
    tool_calls: object = None,
    tool_call_id: object = None,
    tokens: object = None,
    turn: object = None,
) -> NewEntry:
    """The entry of a message; every field is checked before anything is queued."""
    label = check_role(role)
    more: dict[str, Json] = {}
    if isinstance(content, str):
        text = check_text(content, "content", policy.max_content)
    elif isinstance(content, list):
        encode(content, "content", policy.max_content)
        more["parts"] = content
        text = parts_text(content)
    else:
        raise InvalidValueError(
            f"content must be text or a list of parts, not {type(content).__name__}.",
            hint="Pass None as '' where a message has only tool calls.",
        )
    if metadata is not None and (kept := check_metadata(metadata, policy)):
        more["metadata"] = kept
    if tool_calls is not None:
        if not isinstance(tool_calls, list):
            raise InvalidValueError(f"tool_calls must be a list, not {type(tool_calls).__name__}.")
        more["tool_calls"] = tool_calls
    if tool_call_id is not None:
        more["tool_call_id"] = check_key(tool_call_id, "tool_call_id")
    if tokens is not None:
        more["tokens"] = check_number(tokens, "tokens")
    if turn is not None:
        more["turn"] = check_key(turn, "turn")
    return NewEntry(
        MESSAGE,
        label,
        check_channel(channel),
        None if author is None else check_key(author, "author"),
        text,
        encode(more, "message", policy.max_content) if more else None,
    )


def message_of(entry: Entry, view: View | None = None) -> Message:
    """The message an entry holds, with its flags when the view is given."""
    sequence, kind, label, topic, author, text, data, key, _, _, created_at, first, last, redacted = entry
    folded = hidden = False
    if view is not None:
        folded = first is None and view.is_folded(sequence)
        hidden = view.is_hidden(sequence)
    summary = kind != MESSAGE and kind in (SUMMARY, CARRIED)
    covers = (first, last) if kind == SUMMARY else None
    at = to_datetime(created_at)
    if data is None:
        return make_message(
            sequence, label, text or "", author, topic, at, None, None, None, None, key, {}, covers, folded, hidden,
            redacted == 1, summary,
        )  # fmt: skip
    get = decode(data, f"entry {sequence}").get
    return make_message(
        sequence,
        label,
        get("parts", text or ""),
        author,
        topic,
        at,
        get("tokens"),
        get("tool_calls"),
        get("tool_call_id"),
        get("turn"),
        key,
        get("metadata", {}),
        covers,
        folded,
        hidden,
        redacted == 1,
        summary,
    )


# -- appending ---------------------------------------------------------------------------------------------------------


def tally(entries: Iterable[NewEntry | Entry]) -> tuple[int, int, int]:
    """How many messages, approximate tokens and turns (messages of users) these are."""
    messages = tokens = turns = 0
    for entry in entries:
        if entry.type in LISTED:
            messages += 1
            tokens += approximate_tokens(entry.text) if entry.text else 1
            turns += entry.label == "user"
    return messages, tokens, turns


def append(
    session: str, entries: tuple[NewEntry, ...], policy: ConversationPolicy, guard: Guard, *, change: str = "appended"
) -> Write:
    """Append messages: no prior read; the commit finds out whether a fold is due."""
    messages, tokens, turns = tally(entries)
    channels = tuple({f"channel:{entry.topic}": None for entry in entries if entry.topic})
    return Write(
        session,
        guard,
        entries,
        add=(("messages", messages), ("unfolded", messages), ("tokens", tokens), ("turns", turns)),
        stamp=("message_at", "interaction_at") if turns else ("message_at",),
        tag=channels,
        due_above=fold_threshold(policy),
        active=BUCKET,
        search=policy.search,
        change=change,
    )


_MEASURES: Final = {"messages": "unfolded", "tokens": "tokens", "turns": "turns"}


def fold_threshold(policy: ConversationPolicy) -> tuple[str, int] | None:
    """The counter and the number above which a fold is due."""
    if policy.fold_above is None:
        return None
    return _MEASURES[policy.fold_by], policy.fold_above


# -- sessions ----------------------------------------------------------------------------------------------------------


def data_of(session: Session) -> dict[str, Json]:
    """The document of a session at this release's version."""
    return SCHEMA.read(session.data)


def view_of(session: Session) -> View:
    """What of its log a session shows."""
    return read_view(session.data.get("view"))


def repairs_of(session: Session) -> tuple[Range, ...]:
    """Where in the log the results lie that `repair` gave."""
    kept = session.data.get("repairs", {})
    return tuple(sorted((row["first"], row["first"] + row["count"] - 1) for row in kept.values()))


def identity_of(session: Session) -> Identity:
    """Who a session is with."""
    kept = data_of(session)["identity"]
    return Identity(session.owner or "", kept["display_name"], dict(kept["channels"]))


def conversation_of(session: Session, messages: Messages | None = None) -> Conversation:
    """What callers see of a session."""
    data = data_of(session)
    return Conversation(
        session.id,
        identity_of(session),
        data.get("title", ""),
        cast("State", session.state),
        to_datetime(session.created_at),
        to_datetime(session.active_at),
        maybe_datetime(session.counters.get("interaction_at")),
        session.counters.get("messages", 0),
        view_of(session).folded_through,
        data.get("previous_id"),
        data.get("forked_from"),
        data.get("metadata", {}),
        maybe_datetime(session.ended_at),
        session.version,
        Messages() if messages is None else messages,
    )


def document(
    display_name: str = "",
    channels: Mapping[str, str] | None = None,
    *,
    title: str = "",
    metadata: dict[str, Json] | None = None,
    previous_id: str | None = None,
) -> dict[str, Json]:
    """The document of a new conversation."""
    made: dict[str, Json] = {"v": SCHEMA.version, "identity": {"display_name": display_name, "channels": dict(channels or {})}}
    if title:
        made["title"] = title
    if metadata:
        made["metadata"] = metadata
    if previous_id is not None:
        made["previous_id"] = previous_id
    return made


def create(session: str, owner: str, data: dict[str, Json], carried: NewEntry | None) -> Create:
    """A new conversation, opened by what an earlier one left behind."""
    entries = () if carried is None else (carried,)
    messages, tokens, turns = tally(entries)
    return Create(
        session,
        KIND,
        owner,
        data=data,
        counters={"messages": 0, "unfolded": messages, "tokens": tokens, "turns": turns},
        tags=tuple(f"channel:{channel}" for channel in data["identity"]["channels"]),
        entries=entries,
        bucket=BUCKET,
        search="off",
    )


def last_message_at(session: Session) -> int:
    """When its last message came (summaries do not count); its creation when it has none."""
    return session.counters.get("message_at", session.created_at)


def is_past_age(session: Session, now: int, policy: ConversationPolicy) -> bool:
    """Whether the next ``get_or_create`` supersedes it."""
    last = last_message_at(session)
    if policy.reset == "never":
        return False
    if policy.reset == "daily":
        return now // DAY != last // DAY
    return policy.max_age is not None and now - last >= span(policy.max_age)


def cutoff(now: int, max_age: timedelta) -> int:
    """Conversations whose last message came before this instant are older than ``max_age``."""
    return max(now - span(max_age, "max_age"), 0) + 1


def decay_cutoff(now: int, policy: ConversationPolicy) -> int | None:
    """Conversations whose last message came before this instant are past the policy's age; None when none ever is."""
    if policy.reset == "daily":
        return now - now % DAY
    if policy.reset == "never" or policy.max_age is None:
        return None
    return cutoff(now, policy.max_age)


def handle_in(session: Session, channel: str) -> str | None:
    """The handle that a record names in a channel."""
    return identity_of(session).channel_ids.get(channel)


def handle_key(channel: str, handle: str) -> str:
    """A channel handle as an alias key (JSON, so that no separator can be forged)."""
    return encode([channel, handle])


def handle_of(key: str) -> tuple[str, str]:
    """Channel and handle of an alias key."""
    channel, handle = decode(key)
    return channel, handle


# -- folding -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FoldPlan:
    """What a fold will cover: the items to summarise in order, the range, and the folds it builds on."""

    items: tuple[Message, ...]
    first: int
    last: int
    inner: tuple[Fold, ...]
    removed: tuple[int, int, int]
    """Messages, tokens and turns that leave the window."""


def plan_fold(visible: Sequence[Message], view: View, policy: ConversationPolicy, keep: int | None) -> FoldPlan | None:
    """The older part of the visible messages; None when there is nothing worth folding.

    At or under half of ``fold_above`` nothing is folded, unless ``keep`` says how many messages to keep. A tool's result
    goes with its call: the boundary moves past results whose call is folded. A call that never got a result holds up nobody.
    """
    messages = [message for message in visible if message.covers is None]
    count = len(messages)
    if keep is None:
        size = _measure(messages, policy)
        if policy.fold_above is not None and size * 2 <= policy.fold_above:
            return None
        boundary = _boundary(messages, policy)
    else:
        boundary = count - keep
    boundary = _with_results(messages, max(0, min(boundary, count)))
    if boundary <= 0:
        return None
    older = messages[:boundary]
    last = older[-1].sequence
    first = min(older[0].sequence, *(item.place for item in visible))
    inner = tuple(fold for fold in view.folds if first <= fold.first <= last)
    items = tuple(item for item in visible if item.place <= last)
    removed = (
        len(older),
        sum(approximate_tokens(message.text) for message in older),
        sum(message.role == "user" for message in older),
    )
    return FoldPlan(items, first, last, inner, removed)


def _measure(messages: Sequence[Message], policy: ConversationPolicy) -> int:
    if policy.fold_by == "tokens":
        return sum(approximate_tokens(message.text) for message in messages)
    if policy.fold_by == "turns":
        return sum(message.role == "user" for message in messages)
    return len(messages)


def _boundary(messages: Sequence[Message], policy: ConversationPolicy) -> int:
    """How many messages, from the oldest, make up the share that does not stay."""
    share = 1 - policy.fold_keep
    if policy.fold_by == "messages":
        return int(len(messages) * share + 1e-9)  # 10 × (1 - 0.9) is a little less than 1
    target, seen = _measure(messages, policy) * share, 0.0
    for place, message in enumerate(messages):
        seen += approximate_tokens(message.text) if policy.fold_by == "tokens" else message.role == "user"
        if seen > target:
            return place
    return 0


def _with_results(messages: Sequence[Message], boundary: int) -> int:
    called = {call for message in messages[:boundary] for call in call_ids(message)}
    while boundary < len(messages):
        following = messages[boundary]
        if following.tool_call_id is None or following.tool_call_id not in called:
            break
        boundary += 1
    return boundary


def summary_entry(text: object, plan: FoldPlan) -> NewEntry:
    """The entry that stands for a fold; a summariser's answer that is not text folds nothing."""
    if not isinstance(text, str) or not text.strip():
        raise SummariserError(f"the summariser gave {type(text).__name__} where text was expected.", hint="Nothing was folded.")
    try:
        check_text(text, "summary")
    except InvalidValueError as error:
        raise SummariserError(f"the summariser gave text that cannot be stored: {error}", hint="Nothing was folded.") from error
    inner = [[fold.summary, fold.first, fold.last] for fold in plan.inner]
    return NewEntry(
        SUMMARY,
        "system",
        "",
        None,
        text,
        encode({"inner": inner}) if inner else None,
        covers=(plan.first, plan.last),
    )


def inner_folds(entry: Entry) -> tuple[Fold, ...]:
    """The folds that a summary was built on."""
    if entry.data is None:
        return ()
    return tuple(Fold(*row) for row in decode(entry.data).get("inner", ()))


def commit_fold(session: Session, entry: NewEntry, plan: FoldPlan, policy: ConversationPolicy) -> Write:
    """Store the summary, if the window is still the one that was read (phase); appends in between do not matter."""
    view = view_of(session).fold(Fold(0, plan.first, plan.last))
    messages, tokens, turns = plan.removed
    return Write(
        session.id,
        Guard(phase=session.phase),
        (entry,),
        set=((("view",), view.document()),),
        mark=(("view", "folds", str(plan.first), "summary"),),
        add=(("unfolded", -messages), ("tokens", -tokens), ("turns", -turns)),
        deadline=Deadline(),
        due_above=fold_threshold(policy),
        next_phase=True,
        change="folded",
    )


def change_view(
    session: Session, view: View, tallied: tuple[int, int, int], change: str, *, exact: bool = False, **more: Any
) -> Write:
    """Store another view, if it is still the one that was read (phase) or, ``exact``, if nothing was committed since.

    ``tallied`` is what becomes visible, or negative what leaves.
    """
    messages, tokens, turns = tallied
    return Write(
        session.id,
        Guard(version=session.version) if exact else Guard(phase=session.phase),
        set=((("view",), view.document()),),
        add=(("unfolded", messages), ("tokens", tokens), ("turns", turns)),
        next_phase=True,
        change=change,
        **more,
    )


# -- tools -------------------------------------------------------------------------------------------------------------


def call_ids(message: Message) -> tuple[str, ...]:
    """The ids of the tool calls in a message."""
    names = map(call_id, message.tool_calls or ())
    return tuple(name for name in names if name)


def call_id(call: Json) -> str:
    """The id of a tool call, empty when it has none."""
    name = call.get("id", call.get("call_id")) if isinstance(call, dict) else None
    return name if isinstance(name, str) else ""


def answers(messages: Iterable[Message]) -> dict[int, dict[str, Message]]:
    """Which results answer the calls of a message, by its sequence and the call's id.

    Ids need be unique only among the calls that are open: a result answers the last message before it that made its call.
    """
    found: dict[int, dict[str, Message]] = {}
    waiting: dict[str, int] = {}
    for message in messages:
        if message.tool_call_id is None:
            waiting.update(dict.fromkeys(call_ids(message), message.sequence))
        elif message.tool_call_id in waiting:
            found.setdefault(waiting.pop(message.tool_call_id), {})[message.tool_call_id] = message
    return found


def orphan_calls(messages: Sequence[Message]) -> list[tuple[Message, str]]:
    """Tool calls without a result, with the message that made them."""
    found = answers(messages)
    return [
        (message, call)
        for message in messages
        if message.tool_call_id is None
        for call in dict.fromkeys(call_ids(message))
        if call not in found.get(message.sequence, {})
    ]


def place_items(listed: Sequence[Message], placed: Sequence[tuple[int, Message]]) -> list[Message]:
    """Listed messages with others put where they belong: before the message at a place (summaries) or just after it."""
    if not placed:
        return list(listed)
    rows = [((message.sequence, 1, 0), message) for message in listed]
    for place, message in placed:
        rows.append(((place, 0 if message.summary else 2, message.sequence), message))
    rows.sort(key=lambda row: row[0])
    return [message for _, message in rows]


# -- updates -----------------------------------------------------------------------------------------------------------


def patch(
    set_: object, unset: object, current: Mapping[str, Json], policy: ConversationPolicy
) -> tuple[tuple[tuple[Path, Json], ...], tuple[Path, ...]]:
    """Metadata changes per key, checked against the size the whole would have."""
    changes = check_metadata({} if set_ is None else set_, policy)
    if isinstance(unset, str) or not isinstance(unset, Iterable):
        raise InvalidValueError(f"unset must be a list of keys, got {unset!r}.")
    gone = [check_text(key, "unset key") for key in unset]
    merged = {key: value for key, value in {**current, **changes}.items() if key not in gone}
    if policy.max_metadata is not None:
        size = len(encode(merged, "metadata").encode())
        if size > policy.max_metadata:
            raise LimitError(f"metadata would be {size:,} bytes; the limit is {policy.max_metadata:,}.")
    return (
        tuple((("metadata", key), value) for key, value in changes.items() if key not in gone),
        tuple(("metadata", key) for key in gone),
    )


def visible_only(entries: Iterable[Entry], ranges: Iterable[Range]) -> list[Entry]:
    """The entries that lie in these ranges."""
    pieces = tuple(ranges)
    return [entry for entry in entries if contains(pieces, entry.sequence)]


def clear_due(session: Session) -> Write:
    """Take back a due mark, unless something was committed since it was read."""
    return Write(session.id, Guard(version=session.version), deadline=Deadline(), change="fold_checked")


def check_sequence(session: Session, sequence: object) -> None:
    """A sequence that the conversation has."""
    if not isinstance(sequence, int) or isinstance(sequence, bool) or not 1 <= sequence <= session.last_sequence:
        raise NotFoundError(
            f"there is no message {sequence!r} in conversation {session.id}.", hint=f"It has 1 to {session.last_sequence}."
        )


def place_of(session: Session, to: object) -> int:
    """The sequence that a rewind names: a number, or a checkpoint's label."""
    if isinstance(to, str):
        known = data_of(session).get("checkpoints", {})
        if to not in known:
            raise NotFoundError(f"there is no checkpoint {to!r} in conversation {session.id}.", hint="See checkpoints().")
        return int(known[to][0])
    return check_number(to, "to (a sequence, or a checkpoint's label)")


def check_document(data: dict[str, Json], counters: Mapping[str, int]) -> None:
    """A document that was exported: what every reading of it relies on; `InvalidValueError` names what is wrong."""
    try:
        identity = SCHEMA.read(data)["identity"]
        check_text(identity["display_name"], "display_name")
        for channel, handle in identity["channels"].items():
            check_channel(channel, required=True)
            check_key(handle, "channel_user_id")
        read_view(data.get("view")).invisible()
        for row in data.get("repairs", {}).values():
            check_number(row["first"], "repairs")
            check_number(row["count"], "repairs")
        for label, (sequence, at) in data.get("checkpoints", {}).items():
            check_text(label, "checkpoint")
            check_number(sequence, "checkpoint")
            check_number(at, "checkpoint")
        for name, value in counters.items():
            check_number(value, f"counter {name}", -(1 << 62), 1 << 62)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InvalidValueError(
            f"not a conversation's record: {error!r}.", hint="Load what 'export' wrote, unchanged."
        ) from error
