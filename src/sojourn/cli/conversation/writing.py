"""Commands that change conversations."""

from __future__ import annotations

import shlex
from datetime import timedelta
from typing import Final

from sojourn.cli.call import Call
from sojourn.cli.conversation.reading import KIND, hidden_messages
from sojourn.cli.exits import UsageError
from sojourn.cli.output import standard_text
from sojourn.cli.text import many, moment
from sojourn.core.ids import tail
from sojourn.errors import EndedError, NotFoundError
from sojourn.kinds.conversations.export import conversation_document, message_document
from sojourn.kinds.conversations.model import Conversation
from sojourn.kinds.conversations.view import read_view
from sojourn.sync.store import Store

_ROLES: Final = ("user", "assistant", "system", "tool")


def append(call: Call) -> None:
    """``conversation append``."""
    given = call.arguments
    where, role, text = _words(call)
    if text == "-":
        text = standard_text()
    if call.dry_run:
        whom = f"the current conversation of {given.user}"
        if given.user is None:
            store = call.store()
            whom = f"conversation {tail(_existing(store, call.find(store, where, KIND)).id)}"
        call.output.would(f"add a message of {many(len(text), 'character')} as {role} to {whom}")
        return
    store = call.store(create=given.user is not None, write=True)
    if given.user is not None:
        where = store.conversations.get_or_create(given.user, with_messages=False).id
    else:
        where = call.find(store, where, KIND)
    try:
        message = store.conversations.append(
            where, role, text, channel=given.channel, author=given.author, metadata=given.metadata, key=given.key
        )
    except EndedError as error:
        talk = store.conversations.get(where)
        if talk is not None:
            words = f"conversation append --user {shlex.quote(talk.identity.user_id)} {shlex.quote(role)} TEXT"
            error.hint = f"To go on with {talk.identity.user_id}, in a new one where none is open: {call.command(words)}"
        raise
    call.output.answer(
        {"conversation_id": where, **message_document(message)},
        [where],
        f"Message #{message.sequence} in conversation {tail(where)}.",
    )


def _words(call: Call) -> tuple[str, str, str]:
    """Where to (empty with ``--user``), the role and the text."""
    words: list[str] = call.arguments.words
    wanted = ["ROLE", "TEXT"] if call.arguments.user is not None else ["ID", "ROLE", "TEXT"]
    if len(words) < len(wanted):
        raise _too_few(call, words, wanted)
    if len(words) > len(wanted):
        extra = " or leave ID away, since --user says where to" if call.arguments.user is not None else ""
        raise UsageError(
            f"{len(words)} words where {' '.join(wanted)} was expected.", hint=f"Put quotes around the text{extra}."
        )
    where, role, text = words if len(words) == 3 else ("", *words)
    return where, role, text


def _too_few(call: Call, words: list[str], wanted: list[str]) -> UsageError:
    """What is needed, what there was, and what was probably meant."""
    user: str | None = call.arguments.user
    needed = "ROLE and TEXT behind --user" if user is not None else "ID, ROLE and TEXT (or --user USER in place of ID)"
    got = " ".join(map(shlex.quote, words)) or "nothing"
    if user is not None and len(words) == 1 and words[0] not in _ROLES:
        meant = f"--user {shlex.quote(user)} user {got}"
    elif user is None and len(words) == 2 and words[0] in _ROLES:
        meant = f"--user alice {got}"
    else:
        meant = ""
    hint = f"Did you mean: {call.command(f'conversation append {meant}')}" if meant else ""
    if not meant:
        how = "TEXT - is read from standard input." if words else "Without an id, name the person with --user."
        hint = f"{how} See: sojourn conversation append --help"
    missing = " and ".join(wanted[len(words) :])
    return UsageError(f"missing: {missing}. append needs {needed}; there was: {got}.", hint=hint)


def fork(call: Call) -> None:
    """``conversation fork``."""
    given = call.arguments
    store = call.store(write=not call.dry_run)
    identifier = call.find(store, given.id, KIND)
    if call.dry_run:
        place = "" if given.at is None else f" at message {given.at}"
        call.output.would(f"fork conversation {tail(_existing(store, identifier).id)}{place}")
        return
    made = store.conversations.fork(identifier, at=given.at, title=given.title)
    text = f"Conversation {tail(made.id)} shares {many(made.message_count, 'message')} with {tail(identifier)}."
    call.output.answer(conversation_document(made), [made.id], text)


def _existing(store: Store, identifier: str) -> Conversation:
    """The conversation, so that a dry run says what is not there."""
    from sojourn.shell.unit import not_found

    found = store.conversations.get(identifier)
    if found is None:
        raise not_found(identifier, KIND)
    return found


def rewind(call: Call) -> None:
    """``conversation rewind``."""
    given = call.arguments
    if given.undo == (given.to is not None):
        raise UsageError("rewind needs either N or --undo.", hint="See: sojourn conversation rewind --help")
    store = call.store(write=not call.dry_run)
    identifier = _existing(store, call.find(store, given.id, KIND)).id
    if given.undo:
        _undo_rewind(call, store, identifier)
    else:
        place: int | str = int(given.to) if given.to.isascii() and given.to.isdigit() else str(given.to)
        _rewind(call, store, identifier, place)


def _rewind(call: Call, store: Store, identifier: str, place: int | str) -> None:
    name = tail(identifier)
    if isinstance(place, str):
        _check_label(store, identifier, place)
    where = f"after {_place(place)} in conversation {name}"
    if call.dry_run:
        call.output.would(f"hide everything {where}")
        return
    before = hidden_messages(store, identifier)
    found = store.conversations.rewind(identifier, place)
    hidden = hidden_messages(store, identifier) - before
    undo = call.command(f"conversation rewind {name} --undo")
    if hidden > 0:
        text = f"Everything {where} is hidden ({many(hidden, 'message')}). To bring it back: {undo}"
    else:
        text = f"There was nothing to hide {where}; nothing was changed."
    call.output.answer(conversation_document(found), [identifier], text)


def _undo_rewind(call: Call, store: Store, identifier: str) -> None:
    name = tail(identifier)
    session = store.sessions.get(identifier)
    rewound = session is not None and read_view(session.data.get("view")).rewinds
    if call.dry_run:
        what = f"bring back what the last rewind hid in conversation {name}"
        call.output.would(what if rewound else f"do nothing: conversation {name} is not rewound")
        return
    if not rewound:
        found = _existing(store, identifier)
        call.output.answer(conversation_document(found), [identifier], f"Nothing to undo: conversation {name} is not rewound.")
        return
    before = hidden_messages(store, identifier)
    found = store.conversations.undo_rewind(identifier)
    back = many(before - hidden_messages(store, identifier), "message")
    text = f"What the last rewind of conversation {name} hid is back ({back})."
    call.output.answer(conversation_document(found), [identifier], text)


def _check_label(store: Store, identifier: str, label: str) -> None:
    labels = [checkpoint.label for checkpoint in store.conversations.checkpoints(identifier)]
    if label not in labels:
        known = f"Its checkpoints: {', '.join(labels)}." if labels else "It has no checkpoints; give the number of a message."
        raise NotFoundError(f"there is no checkpoint {label!r} in conversation {tail(identifier)}.", hint=known)


def _place(place: int | str) -> str:
    return f"message {place}" if isinstance(place, int) else f"checkpoint {place!r}"


def link(call: Call) -> None:
    """``conversation link``."""
    given = call.arguments
    if given.remove == (given.handle is not None):
        raise UsageError("link needs either HANDLE or --remove.", hint="See: sojourn conversation link --help")
    store = call.store(write=not call.dry_run)
    identifier = call.find(store, given.id, KIND)
    if call.dry_run:
        user = _existing(store, identifier).identity.user_id
        what = f"untie {user} from their handle" if given.remove else f"tie {user} to {given.handle}"
        call.output.would(f"{what} in {given.channel}")
        return
    if given.remove:
        found = store.conversations.unlink_channel(identifier, given.channel)
        text = f"{found.identity.user_id} has no handle in {given.channel} any more."
    else:
        found = store.conversations.link_channel(identifier, given.channel, given.handle)
        text = f"{found.identity.user_id} is {given.handle} in {given.channel}."
    call.output.answer(conversation_document(found), [identifier], text)


def consolidate(call: Call) -> None:
    """``conversation consolidate``."""
    given = call.arguments
    store = call.store(write=not call.dry_run)
    identifier = call.find(store, given.id, KIND)
    name = tail(identifier)
    if call.dry_run:
        _existing(store, identifier)
        visible = len(store.conversations.messages(identifier))
        kept = "the newer half" if given.keep is None else many(given.keep, "message")
        call.output.would(f"fold what is older than {kept} of the {many(visible, 'message')} shown in {name}")
        return
    message = store.conversations.consolidate(identifier, keep=given.keep)
    if message is None or message.covers is None:
        text = f"Nothing to fold in conversation {name}. With --keep N, all but the newest N messages are folded."
        call.output.answer(None, [], text)
        return
    first, last = message.covers
    text = f"Messages #{first} to #{last} of conversation {name} are folded into summary #{message.sequence}."
    call.output.answer({"conversation_id": identifier, **message_document(message)}, [identifier], text)


def decay(call: Call) -> None:
    """``conversation decay``."""
    age: timedelta = call.arguments.max_age
    store = call.store_if_any() if call.dry_run else call.store(write=True)
    due = 0 if store is None else _idle(store, age)
    since = f" in which nothing has been said since {moment(call.now - age)}" if age else ""
    what = many(due, "active conversation")
    if call.dry_run:
        call.output.would(f"archive {what}{since}", conversations=due)
        return
    if due:
        call.output.confirm(f"Archive {what}{since}? They take no more messages then.", yes=call.options.yes)
    done = 0 if store is None else store.conversations.decay(age)
    call.output.answer({"archived": done}, [], f"Archived {many(done, 'conversation')}{since}.")


def _idle(store: Store, age: timedelta) -> int:
    """How many conversations have been idle for so long, at most; a commit looks at each again."""
    count, cursor = 0, None
    while True:
        page = store.sessions.list(f"kind:{KIND} idle>{int(age.total_seconds())}s", limit=1000, after=cursor)
        count, cursor = count + len(page), page.next
        if cursor is None:
            return count
