"""The operations of conversations, once, for both colours."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, Literal

from sojourn.core.batch import Answer, Change, Delete, Guard, NewEntry, Refusal, Write
from sojourn.core.codec import Json, check_key, check_number, check_text
from sojourn.core.query import (
    READABLE_STATES,
    EntryQuery,
    Page,
    SearchQuery,
    SessionQuery,
    make_cursor,
    page_limit,
    read_cursor,
)
from sojourn.core.session import Entry, Session
from sojourn.core.times import span, to_datetime
from sojourn.core.words import Count, approximate_tokens, snippet, words
from sojourn.errors import (
    InvalidValueError,
    UnsupportedError,
)
from sojourn.kinds.conversations import rules
from sojourn.kinds.conversations.export import ExportFormat, render
from sojourn.kinds.conversations.folding import Folding
from sojourn.kinds.conversations.model import (
    Checkpoint,
    Conversation,
    ConversationPolicy,
    Hit,
    Message,
    Messages,
    Summarise,
)
from sojourn.kinds.conversations.people import People
from sojourn.kinds.conversations.places import Places
from sojourn.kinds.conversations.reader import Listing, Reader
from sojourn.kinds.conversations.rules import CURRENT, KIND
from sojourn.kinds.conversations.view import View
from sojourn.kinds.conversations.window import fit
from sojourn.shell.lease import Holding, Lease
from sojourn.shell.unit import Unit, fingerprint, operation_key, perform, refused

_BATCH: Final = 200
_DECAY: Final = "conversation.decay"
"""Where the operation ids of decays are kept."""


class AsyncConversations:
    """Conversations of one store and tenant: ``store.conversations``."""

    def __init__(self, unit: Unit, policy: ConversationPolicy) -> None:
        self._unit = unit
        self._policy = policy
        self._reader = Reader(unit)
        self._people = People(unit, policy, self._reader)
        self._folding = Folding(unit, policy, self._reader)
        self._places = Places(unit, self._reader)

    # -- finding and making ----------------------------------------------------------------------------------------

    async def get_or_create(
        self,
        user_id: str | int | None = None,
        *,
        channel: str = "",
        channel_user_id: str | int = "",
        display_name: str = "",
        with_messages: bool = True,
        key: str | None = None,
    ) -> Conversation:
        """The person's current conversation, or a new one when there is none, it has ended, or it is past its age.

        By ``user_id``, or by a channel handle alone (an unknown handle creates a person for it). Both given: the handle is
        linked; a new handle in a channel replaces and frees the person's old one there; one that another person holds is a
        `ConflictError` and nothing changes. One conversation, however many processes ask at once: idempotent. The same
        ``key`` again gives the same conversation, also when it is past its age by then.
        """
        channel = rules.check_channel(channel)
        handle = "" if channel_user_id == "" else check_key(channel_user_id, "channel_user_id")
        name = check_text(display_name, "display_name", 1024)
        if bool(channel) != bool(handle) and (handle or user_id is None):
            raise InvalidValueError("a channel handle needs both channel and channel_user_id.", hint="Or give a user_id.")
        if user_id is None and not handle:
            raise InvalidValueError("get_or_create needs a user_id, or channel and channel_user_id.")
        user = await self._people.person(channel, handle) if user_id is None else check_key(user_id, "user_id")
        operation, mark = operation_key(key), fingerprint("get_or_create", user, channel, handle, name)
        asked = await self._unit.asked(user, operation, mark, KIND)
        if asked is not None:
            session = await self._reader.session(asked.moved[0].id)
            return await self._shown(session) if with_messages else rules.conversation_of(session)
        if user_id is not None and handle:
            await self._people.claim(user, channel, handle)
        channels = {channel: handle} if handle else {}
        session = await perform(lambda: self._people.current(user, name, channels), KIND)
        if operation is not None:
            session = await self._found(session, operation, mark)
        if handle and not await self._people.is_settled(session, user, channel, handle):
            session = await self._people.settle(session, user, channel, handle)
        return await self._shown(session) if with_messages else rules.conversation_of(session)

    async def _found(self, session: Session, operation: str, mark: str) -> Session:
        """Keep which conversation an operation id has led to; the first one when two ask at once."""
        found = Write(session.id, Guard(open=False), change="found")
        answer = await self._unit.commit(session.home, found, key=operation, fingerprint=mark, what=KIND)
        return await self._reader.session(answer.moved[0].id)

    async def create(
        self,
        user_id: str | int,
        *,
        title: str = "",
        display_name: str = "",
        channel: str = "",
        channel_user_id: str | int = "",
        metadata: Mapping[str, Json] | None = None,
        key: str | None = None,
    ) -> Conversation:
        """A new conversation, which becomes the person's current one; the former one stays as it is."""
        user = check_key(user_id, "user_id")
        channel = rules.check_channel(channel)
        handle = "" if channel_user_id == "" else check_key(channel_user_id, "channel_user_id")
        if bool(channel) != bool(handle):
            raise InvalidValueError("a channel handle needs both channel and channel_user_id.")
        title = check_text(title, "title", 1024)
        name = check_text(display_name, "display_name", 1024)
        more = rules.check_metadata({} if metadata is None else metadata, self._policy)
        operation = operation_key(key)
        mark = fingerprint("create", user, title, name, channel, handle, more)
        asked = await self._unit.asked(user, operation, mark, KIND)
        if asked is not None:
            return rules.conversation_of(await self._reader.session(asked.moved[0].id))
        if handle:
            await self._people.claim(user, channel, handle)

        async def step() -> str | Refusal:
            found = await self._unit.follow(user, CURRENT, user)
            old = found.session
            channels = await self._people.links(user, old)
            if handle:
                channels[channel] = handle
            data = rules.document(
                name or ("" if old is None else rules.identity_of(old).display_name),
                channels,
                title=title,
                metadata=more,
                previous_id=None if old is None else old.id,
            )
            made = rules.create(self._unit.new_id(user), user, data, None)
            answer = await self._unit.attempt(
                user,
                made,
                self._people.point_current(user, made.id, found),
                *self._people.left(old),
                key=operation,
                fingerprint=mark,
            )
            if answer.refusal is not None and answer.refusal.reason == "missing":  # the former one was deleted meanwhile
                return await step()
            return answer.refusal or answer.moved[0].id

        created = await perform(step, KIND)
        session = await self._reader.session(created)
        if handle:
            session = await self._people.settle(session, user, channel, handle)
        return rules.conversation_of(session)

    async def get(self, id: str, *, with_messages: bool = False) -> Conversation | None:
        """The conversation with this id, whatever its state; None when there is none."""
        session = (await self._unit.find(id, KIND)).session
        if session is None:
            return None
        return await self._shown(session) if with_messages else rules.conversation_of(session)

    async def _shown(self, session: Session) -> Conversation:
        session = await self._folding.folded(session)
        return rules.conversation_of(session, Messages(await self._reader.listed(session, Listing())))

    async def update(
        self,
        id: str,
        set: Mapping[str, Json] | None = None,
        unset: Iterable[str] = (),
        *,
        title: str | None = None,
        key: str | None = None,
    ) -> Conversation:
        """Patch the metadata key by key inside the commit (nothing is lost when others patch other keys), or the title."""
        session = await self._reader.session(id)
        given: Any = unset  # whatever it is: the rule says what is wrong with it
        gone = list(given) if isinstance(given, Iterable) and not isinstance(given, str) else given
        changes, removed = rules.patch(set, gone, rules.data_of(session).get("metadata", {}), self._policy)
        if title is not None:
            changes = (*changes, (("title",), check_text(title, "title", 1024)))
        write = Write(session.id, Guard(open=False), set=changes, unset=removed)
        mark = fingerprint("update", id, set, gone, title)
        await self._unit.commit(session.home, write, key=operation_key(key), fingerprint=mark, what=KIND)
        return rules.conversation_of(await self._reader.session(id))

    async def list(
        self,
        *,
        user_id: str | int | None = None,
        channel: str | None = None,
        active_only: bool = True,
        order: Literal["activity", "created"] = "activity",
        limit: int = 50,
        after: str | None = None,
    ) -> Page[Conversation]:
        """A page of conversations without their messages, newest activity (by the second) or newest first.

        ``channel``: those that are linked to it or have messages over it. ``active_only=False`` adds ended and archived ones.
        """
        if order not in ("activity", "created"):
            raise InvalidValueError(f"order must be 'activity' or 'created', got {order!r}.")
        limit = page_limit(limit)
        position = None
        if after is not None:
            bucket, last = read_cursor(after, int, str)
            position = (int(bucket), str(last))
        owner = None if user_id is None else check_key(user_id, "user_id")
        query = SessionQuery(
            self._unit.tenant,
            (KIND,),
            ("active",) if active_only else READABLE_STATES,
            owner,
            None if channel is None else f"channel:{rules.check_channel(channel, required=True)}",
            order,
            limit=limit + 1,
            after=position,
            home=owner,
        )
        rows = await self._unit.engine.list(query)
        more, rows = len(rows) > limit, rows[:limit]
        cursor = make_cursor(rows[-1].bucket, rows[-1].id) if more else None
        if order == "activity":
            rows.sort(key=lambda row: (row.active_at, row.id), reverse=True)
        return Page([rules.conversation_of(row) for row in rows], cursor)

    # -- writing ---------------------------------------------------------------------------------------------------

    async def append(
        self,
        id: str,
        role: str,
        content: str | builtins.list[Json],
        *,
        channel: str = "",
        author: str | int | None = None,
        metadata: Mapping[str, Json] | None = None,
        key: str | None = None,
        tool_calls: builtins.list[Json] | None = None,
        tool_call_id: str | None = None,
        tokens: int | None = None,
        turn: str | None = None,
        expected_version: int | None = None,
        lease: Lease | None = None,
    ) -> Message:
        """Append one message; durable when it returns. One round trip, no prior read.

        Idempotent by ``key``, as long as the message lives. Unknown id: `NotFoundError`; ended or archived: `EndedError`;
        another version than ``expected_version``: `ConflictError`; under a ``lease`` that is no longer held:
        `LeaseLostError`. It may mark a fold as due; it never folds and never waits for one.
        """
        entry = rules.new_message(
            self._policy,
            role,
            content,
            channel=channel,
            author=author,
            metadata=metadata,
            tool_calls=tool_calls,
            tool_call_id=tool_call_id,
            tokens=tokens,
            turn=turn,
        )
        operation = operation_key(key)
        mark = (
            "" if operation is None else fingerprint("append", entry.label, entry.topic, entry.author, entry.text, entry.data)
        )
        answer = await self._append(id, (entry,), operation, mark, expected_version, lease)
        if answer.replayed:
            return await self._reader.message(id, answer.moved[0].first)
        return _appended(entry, answer.moved[0].first, answer.now, operation)

    async def extend(
        self,
        id: str,
        messages: Iterable[Mapping[str, Any]],
        *,
        key: str | None = None,
        expected_version: int | None = None,
        lease: Lease | None = None,
    ) -> builtins.list[Message]:
        """Append several messages, all or none, in order. Each is an object with the parameters of `append`."""
        given: Any = messages
        if isinstance(given, str) or not isinstance(given, Iterable):
            raise InvalidValueError(f"messages must be a list of objects, not {type(given).__name__}.")
        entries = tuple(self._entry(item) for item in given)
        if not entries:
            await self._reader.session(id)
            return []
        operation = operation_key(key)
        mark = (
            "" if operation is None else fingerprint("extend", *[(e.label, e.topic, e.author, e.text, e.data) for e in entries])
        )
        answer = await self._append(id, entries, operation, mark, expected_version, lease)
        first = answer.moved[0].first
        if answer.replayed:
            return [await self._reader.message(id, first + place) for place in range(len(entries))]
        return [
            _appended(entry, first + place, answer.now, operation if place == 0 else None)
            for place, entry in enumerate(entries)
        ]

    def _entry(self, item: Mapping[str, Any]) -> NewEntry:
        if not isinstance(item, Mapping):
            raise InvalidValueError(f"a message must be an object with role and content, not {type(item).__name__}.")
        unknown = sorted(item.keys() - _MESSAGE_FIELDS)
        if unknown or "role" not in item or "content" not in item:
            wrong = f"unknown fields {', '.join(map(repr, unknown))}" if unknown else "role or content is missing"
            raise InvalidValueError(f"a message has {wrong}.", hint=f"Fields: {', '.join(sorted(_MESSAGE_FIELDS))}.")
        more = {name: value for name, value in item.items() if name not in ("role", "content")}
        return rules.new_message(self._policy, item["role"], item["content"], **more)

    async def _append(
        self,
        id: str,
        entries: tuple[NewEntry, ...],
        operation: str | None,
        mark: str,
        expected_version: int | None,
        lease: Lease | None,
    ) -> Answer:
        guard = _OPEN
        if expected_version is not None or lease is not None:
            _check_conditions(expected_version, lease)
            number = None if lease is None else (lease.name, lease.fence)
            free = lease is not None and lease.free
            guard = Guard(version=expected_version, lease=None if free else number, fence=number if free else None)
        write = rules.append(_whole(id), entries, self._policy, guard)
        home = "" if lease is None or lease.free else lease.home
        return await self._unit.commit(home, write, key=operation, fingerprint=mark, what=KIND)

    # -- reading ---------------------------------------------------------------------------------------------------

    async def messages(
        self,
        id: str,
        *,
        last: int | None = None,
        before: int | None = None,
        after: int | None = None,
        include_folded: bool = False,
        include_hidden: bool = False,
        roles: Sequence[str] | None = None,
        channel: str | None = None,
    ) -> Messages:
        """Every visible message in order; the newest ``last`` of them; those at places before or after a sequence.

        A summary stands where the range it covers was. ``include_folded`` lists the originals too, behind their summary.
        """
        for name, number in (("last", last), ("before", before), ("after", after)):
            if number is not None:
                check_number(number, name)
        only = None if roles is None else rules.check_roles(roles)
        if channel is not None:
            channel = rules.check_channel(channel)
        listing = Listing(last, before, after, include_folded, include_hidden, only, channel)
        if last is None or before is not None or after is not None:
            session = await self._folding.folded(await self._reader.session(id))
            return Messages(await self._reader.listed(session, listing))
        guess = EntryQuery(types=rules.LISTED, labels=listing.roles, topic=channel, last=last)
        snapshot = await self._unit.load(id, KIND, guess)
        assert snapshot.session is not None  # noqa: S101  # load raised otherwise
        session = await self._folding.folded(snapshot.session)
        if session is not snapshot.session:
            return Messages(await self._reader.listed(session, listing))
        return Messages(await self._reader.newest(snapshot, listing))

    async def window(self, id: str, *, budget: int, count: Count = approximate_tokens) -> Messages:
        """What a model should be given: summaries first, then the newest messages, within ``budget`` tokens.

        Never a tool's result without its call, never a call without its result. ``count`` gives the tokens of a text.
        A fold that is due is made first, when the policy's summariser is the built-in one (which waits for nobody).
        """
        check_number(budget, "budget", 1)
        session = await self._folding.folded(await self._reader.session(id))
        found = await self._reader.for_window(session, budget, count)
        return Messages(fit(found, budget, count))

    async def search(
        self, query: str, *, user_id: str | int | None = None, channel: str | None = None, limit: int = 20
    ) -> builtins.list[Hit]:
        """Messages with all these words (case-folded; the last may be the beginning of one), newest first, folded ones too.

        `UnsupportedError` where the engine cannot search or the policy says ``search="off"``.
        """
        if self._policy.search == "off":
            raise UnsupportedError("this store does not search conversations.", hint="See ConversationPolicy(search=…).")
        wanted = tuple(words(check_text(query, "query", 4096)))
        if not wanted:
            raise InvalidValueError("a search needs at least one word of letters or digits.")
        owner = None if user_id is None else check_key(user_id, "user_id")
        channel = None if channel is None else rules.check_channel(channel)
        prefix = not query[-1:].isspace()
        hits = await self._unit.engine.search(
            SearchQuery(self._unit.tenant, KIND, wanted, prefix, owner, channel, page_limit(limit), (rules.MESSAGE,))
        )
        views: dict[str, View] = {}
        found = []
        for hit in hits:
            if hit.session not in views:
                session = (await self._unit.find(hit.session, KIND)).session
                views[hit.session] = View() if session is None else rules.view_of(session)
            message = rules.message_of(hit.entry, views[hit.session])
            found.append(Hit(hit.session, message, snippet(message.text, wanted)))
        return found

    async def export(self, id: str, format: ExportFormat = "jsonl") -> str:
        """The whole conversation as text: every message, folded ones included, in one of four forms."""
        session = await self._reader.session(id)
        messages = Messages(await self._reader.listed(session, Listing(folded=format in ("jsonl", "md"))))
        return render(rules.conversation_of(session, messages), format)

    # -- folding ---------------------------------------------------------------------------------------------------

    async def consolidate(
        self, id: str, *, keep: int | None = None, summarise: Summarise | None = None, key: str | None = None
    ) -> Message | None:
        """Fold the older half of the visible messages (or all but ``keep``) into one summary; None when there is nothing to do.

        The originals stay stored. The summariser runs outside any commit; when it fails nothing changes
        (`SummariserError`). Two at once fold once: the loser gets what the winner stored, or None.
        """
        if keep is not None:
            check_number(keep, "keep")
        return await self._folding.consolidate(id, keep, summarise, operation_key(key))

    async def fold(
        self, id: str, *, keep: int | None = None, summarise: Summarise | None = None, key: str | None = None
    ) -> Message | None:
        """The same as `consolidate`."""
        return await AsyncConversations.consolidate(self, id, keep=keep, summarise=summarise, key=key)

    async def expand(self, id: str, sequence: int, *, key: str | None = None) -> Messages:
        """Undo a fold: the summary with this sequence leaves, what it stood for is visible again. Returns those messages."""
        return await self._folding.expand(id, sequence, operation_key(key))

    async def unfold(self, id: str, sequence: int, *, key: str | None = None) -> Messages:
        """The same as `expand`."""
        return await AsyncConversations.expand(self, id, sequence, key=key)

    async def repair(self, id: str, *, key: str | None = None) -> int:
        """Close tool calls that never got a result, for good, with a result that says so; how many were closed."""
        return await self._folding.repair(id, operation_key(key))

    # -- channels --------------------------------------------------------------------------------------------------

    async def link_channel(self, id: str, channel: str, channel_user_id: str | int, *, key: str | None = None) -> Conversation:
        """Tie a channel handle to the conversation's person: found by it from now on.

        A new handle in a channel replaces and frees the person's old one there. A handle that another person holds is a
        `ConflictError` and nothing changes. Idempotent; links in different channels never lose one another.
        """
        operation = operation_key(key)
        channel = rules.check_channel(channel, required=True)
        handle = check_key(channel_user_id, "channel_user_id")
        session, mark = await self._reader.session(id), fingerprint("link_channel", id, channel, handle)
        if await self._unit.replayed(session, operation, mark) is None:
            await self._people.claim(session.owner or "", channel, handle)
            session = await self._people.settle(session, session.owner or "", channel, handle)
            await self._unit.remember(session.home, operation, mark)
        return rules.conversation_of(session)

    async def unlink_channel(self, id: str, channel: str, *, key: str | None = None) -> Conversation:
        """Untie the person's handle in a channel; fine when there is none."""
        operation = operation_key(key)
        channel = rules.check_channel(channel, required=True)
        session, mark = await self._reader.session(id), fingerprint("unlink_channel", id, channel)
        if await self._unit.replayed(session, operation, mark) is None:
            session = await self._people.settle(session, session.owner or "", channel, None)
            await self._unit.remember(session.home, operation, mark)
        return rules.conversation_of(session)

    async def resolve(self, channel: str, channel_user_id: str | int) -> str | None:
        """The user a channel handle belongs to."""
        channel = rules.check_channel(channel, required=True)
        return await self._people.resolve(channel, check_key(channel_user_id, "channel_user_id"))

    # -- ageing ----------------------------------------------------------------------------------------------------

    async def decay(self, max_age: timedelta | None = None, *, limit: int | None = None, key: str | None = None) -> int:
        """Archive (or delete, by policy) conversations whose last message is at least ``max_age`` old; how many.

        Without ``max_age`` the policy's counts (nothing decays when it has none). ``timedelta(0)`` means everything. Age is
        looked at again inside each commit, so that what just got a message stays.
        """
        if limit is not None:
            check_number(limit, "limit")
        age = None if max_age is None else span(max_age, "max_age")
        operation, mark = operation_key(key), fingerprint("decay", age, limit)
        return await self._unit.once(_DECAY, operation, mark, lambda: self._decay(max_age, limit), KIND)

    async def _decay(self, max_age: timedelta | None, limit: int | None) -> int:
        now = await self._unit.engine.now()
        before = rules.decay_cutoff(now, self._policy) if max_age is None else rules.cutoff(now, max_age)
        if before is None:
            return 0
        everything = before > now  # also what was last spoken in at times that the clock has gone back behind
        done, position = 0, None
        while limit is None or done < limit:
            idle = None if everything else before
            query = SessionQuery(self._unit.tenant, (KIND,), order="idle", active_before=idle, limit=_BATCH, after=position)
            rows = await self._unit.engine.list(query)
            if not rows:
                break
            now = await self._unit.engine.now() if everything else now
            for row in rows:
                if done != limit and (rules.last_message_at(row) < before or (everything and row.mark > now)):
                    done += await self._archive(row)
            position = (rows[-1].bucket, rows[-1].id)
        return done

    async def _archive(self, session: Session) -> int:
        guard = Guard(version=session.version)
        change: Change = (
            Write(session.id, guard, state="archived", change="archived", reason="age")
            if self._policy.archive
            else Delete(session.id, guard)
        )
        answer = await self._unit.attempt(session.home, change)
        return answer.refusal is None

    async def end(self, id: str, *, reason: str = "", key: str | None = None) -> Conversation:
        """Close it: readable, listed with ``active_only=False``, no more appends. Idempotent; the first end time is kept."""
        operation, mark = operation_key(key), fingerprint("end", id, check_text(reason, "reason", 1024))
        session = await self._reader.session(id)
        write = Write(session.id, state="ended", change="ended", reason=reason, next_phase=True)
        answer = await self._unit.attempt(session.home, write, key=operation, fingerprint=mark)
        if answer.refusal is not None and answer.refusal.reason not in ("ended", "archived"):
            raise refused(answer.refusal, KIND)
        if answer.refusal is not None:
            await self._unit.remember(session.home, operation, mark)
        return rules.conversation_of(await self._reader.session(id))

    async def delete(self, id: str, *, key: str | None = None) -> bool:
        """Remove it for every reader at once, its rows soon after; False when there is none. What forks share stays theirs."""
        operation, mark = operation_key(key), fingerprint("delete", id)
        session = (await self._unit.find(id, KIND)).session
        if session is None:
            return await self._unit.asked(f"{KIND}/{id}", operation, mark, KIND) is not None
        # What is deleted has no home to ask, so the id is remembered in a home of its own, before anything is gone.
        await self._unit.remember(f"{KIND}/{id}", operation, mark)
        answer = await self._unit.attempt(session.home, Delete(session.id))
        if answer.refusal is not None and answer.refusal.reason != "missing":
            raise refused(answer.refusal, KIND)
        return answer.refusal is None or operation is not None

    # -- branches and places ---------------------------------------------------------------------------------------

    async def fork(self, id: str, *, at: int | None = None, title: str | None = None, key: str | None = None) -> Conversation:
        """A new conversation that shares everything up to ``at`` (all of it by default) and goes on separately.

        Nothing is copied; it belongs to the same person and does not become their current one.
        """
        made = await self._places.fork(id, at, title, operation_key(key))
        return rules.conversation_of(await self._reader.session(made))

    async def rewind(self, id: str, to: int | str, *, key: str | None = None) -> Conversation:
        """Hide everything after a sequence or a checkpoint's label; `undo_rewind` brings it back. A fold across it opens."""
        await self._places.rewind(id, to, operation_key(key))
        return rules.conversation_of(await self._reader.session(id))

    async def undo_rewind(self, id: str, *, key: str | None = None) -> Conversation:
        """Show again what the last rewind (or clear) hid; fine when there was none."""
        await self._places.undo_rewind(id, operation_key(key))
        return rules.conversation_of(await self._reader.session(id))

    async def checkpoint(self, id: str, label: str, *, key: str | None = None) -> Checkpoint:
        """Name the place after the last message; a label that exists is moved there. Use it with `rewind` and `fork`."""
        name = check_key(label, "label", 256)
        sequence, at = await self._places.checkpoint(id, name, operation_key(key))
        return Checkpoint(name, sequence, to_datetime(at))

    async def checkpoints(self, id: str) -> builtins.list[Checkpoint]:
        """The labelled places, earliest first."""
        known = rules.data_of(await self._reader.session(id)).get("checkpoints", {})
        found = [Checkpoint(label, sequence, to_datetime(at)) for label, (sequence, at) in known.items()]
        return sorted(found, key=lambda checkpoint: (checkpoint.sequence, checkpoint.created_at, checkpoint.label))

    # -- taking out ------------------------------------------------------------------------------------------------

    async def pop(self, id: str, *, key: str | None = None) -> Message | None:
        """Hide the last visible message and return it; None when there is none. Its sequence is never used again."""
        sequence = await self._places.pop(id, operation_key(key))
        return await self._reader.message(id, sequence) if sequence else None

    async def hide(self, id: str, sequence: int, *, key: str | None = None) -> Message:
        """Take one message out of the window; `unhide` brings it back. Idempotent."""
        await self._places.show(id, sequence, operation_key(key), hidden=True)
        return await self._reader.message(id, sequence)

    async def unhide(self, id: str, sequence: int, *, key: str | None = None) -> Message:
        """Show a hidden message again, whatever hid it. Idempotent."""
        await self._places.show(id, sequence, operation_key(key), hidden=False)
        return await self._reader.message(id, sequence)

    async def redact(self, id: str, sequence: int, *, key: str | None = None) -> Message:
        """Empty a message for good: its content, metadata and author, in every fork and in the search index.

        Its place stays. A summary that mentions it is not changed: redact that as well, or fold again.
        """
        await self._places.redact(id, sequence, operation_key(key))
        return await self._reader.message(id, sequence)

    async def clear(self, id: str, *, key: str | None = None) -> Conversation:
        """Hide every message; `undo_rewind` brings them back."""
        return await AsyncConversations.rewind(self, id, 0, key=key)

    # -- leases ----------------------------------------------------------------------------------------------------

    def run_lease(self, id: str, owner: str, *, ttl: timedelta = timedelta(minutes=5)) -> _RunLease:
        """One run of an agent at a time, as a context manager: ``with … as lease: append(…, lease=lease)``.

        The second is told who holds it (`LeaseHeldError`). When it runs out while its holder is still at work, what the
        holder appends under it is refused (`LeaseLostError`).
        """
        return _RunLease(self._unit, id, owner, ttl)

    def turn(self, id: str, owner: str, *, ttl: timedelta = timedelta(minutes=5)) -> _RunLease:
        """The same as `run_lease`."""
        return _RunLease(self._unit, id, owner, ttl)


_OPEN: Final = Guard()
_MESSAGE_FIELDS: Final = frozenset(
    {"role", "content", "channel", "author", "metadata", "tool_calls", "tool_call_id", "tokens", "turn"}
)


class _RunLease:
    """A conversation's lease, taken when it is entered."""

    def __init__(self, unit: Unit, id: str, owner: str, ttl: timedelta) -> None:
        span(ttl, "ttl")
        self._unit = unit
        self._id = id
        self._owner = owner
        self._ttl = ttl
        self._holding: Holding | None = None

    async def __aenter__(self) -> Lease:
        session = (await self._unit.load(self._id, KIND)).session
        assert session is not None  # noqa: S101  # load raised otherwise
        self._holding = Holding(self._unit, session.home, f"{KIND}/{session.id}", self._owner, self._ttl)
        return await self._holding.take()

    async def __aexit__(self, *error: object) -> None:
        if self._holding is not None:
            await self._holding.give_back()


def _check_conditions(expected_version: object, lease: object) -> None:
    if expected_version is not None:
        check_number(expected_version, "expected_version")
    if lease is not None and not isinstance(lease, Lease):
        raise InvalidValueError(
            f"lease must be a Lease, not {type(lease).__name__}.", hint="It is what 'run_lease' and 'store.lease' give."
        )


def _appended(entry: NewEntry, sequence: int, now: int, key: str | None) -> Message:
    return rules.message_of(
        Entry(sequence, entry.type, entry.label, entry.topic, entry.author, entry.text, entry.data, key, 0, 0, now, None, None)
    )


def _whole(id: object) -> str:
    """An id as it was given; what is not shaped like one is not found without asking the engine."""
    from sojourn.core.ids import is_id
    from sojourn.shell.unit import not_found

    if not is_id(id):
        raise not_found(id, KIND)
    return str(id)
