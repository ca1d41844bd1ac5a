"""Reading a conversation: its messages as the view shows them, summaries and repairs in their places."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sojourn.core.query import EntryQuery
from sojourn.core.session import Entry, Session, Snapshot
from sojourn.core.words import Count
from sojourn.errors import NotFoundError
from sojourn.kinds.conversations import rules
from sojourn.kinds.conversations.model import Message, message_text
from sojourn.kinds.conversations.rules import KIND
from sojourn.kinds.conversations.view import View, subtract
from sojourn.shell.unit import Unit

_BATCH = 200


@dataclass(frozen=True, slots=True)
class Listing:
    """What a list of messages was asked to show."""

    last: int | None = None
    before: int | None = None
    after: int | None = None
    folded: bool = False
    hidden: bool = False
    roles: tuple[str, ...] | None = None
    channel: str | None = None
    repairs: bool = True


class Reader:
    """Reads conversations of one store and tenant."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit

    async def session(self, id: str) -> Session:
        """The session of a conversation; `NotFoundError` when there is none."""
        session = (await self._unit.load(id, KIND)).session
        assert session is not None  # noqa: S101  # load raised otherwise
        return session

    async def entries(self, id: str, query: EntryQuery) -> tuple[Entry, ...]:
        """Entries of a conversation."""
        return (await self._unit.load(id, KIND, query)).entries

    async def at(self, id: str, sequences: Iterable[int]) -> tuple[Entry, ...]:
        """The entries with these sequences."""
        ranges = tuple(sorted((sequence, sequence) for sequence in sequences))
        return await self.entries(id, EntryQuery(ranges)) if ranges else ()

    async def message(self, id: str, sequence: int) -> Message:
        """One message with its flags."""
        snapshot = await self._unit.load(id, KIND, EntryQuery(((sequence, sequence),)))
        assert snapshot.session is not None  # noqa: S101  # load raised otherwise
        if not snapshot.entries:
            raise NotFoundError(f"there is no message {sequence} in conversation {id}.", hint="See messages().")
        return rules.message_of(snapshot.entries[0], rules.view_of(snapshot.session))

    async def newest(self, snapshot: Snapshot, listing: Listing) -> list[Message]:
        """The newest messages from one round trip where nothing is folded or hidden among them; from a second otherwise."""
        session = snapshot.session
        assert session is not None  # noqa: S101  # load raised otherwise
        view = rules.view_of(session)
        repaired = bool(rules.repairs_of(session))
        if view.plain and not repaired:
            return [rules.message_of(entry) for entry in snapshot.entries]
        shown = view.ranges(1, session.last_sequence, folded=listing.folded, hidden=listing.hidden)
        entries = rules.visible_only(snapshot.entries, shown)
        if len(entries) == listing.last and not repaired and not listing.folded:
            return [rules.message_of(entry, view) for entry in entries]
        return await self.listed(session, listing)

    async def listed(self, session: Session, listing: Listing) -> list[Message]:
        """What a listing shows of a session: its messages by ranges, with summaries and repairs put in their places."""
        view = rules.view_of(session)
        first = 1 if listing.after is None else listing.after + 1
        end = session.last_sequence if listing.before is None else min(listing.before - 1, session.last_sequence)
        shown = view.ranges(max(1, first), end, folded=listing.folded, hidden=listing.hidden)
        query = EntryQuery(shown, rules.LISTED, listing.roles, listing.channel, last=listing.last)
        entries = await self.entries(session.id, query) if shown else ()
        listed = [rules.message_of(entry, None if view.plain else view) for entry in entries]
        placed: list[tuple[int, Message]] = []
        if listing.channel in (None, "") and (listing.roles is None or "system" in listing.roles):
            for entry in await self.at(session.id, view.summaries(max(1, first), end)):
                message = rules.message_of(entry, view)
                placed.append((message.place, message))
        repairs_at = rules.repairs_of(session)
        if listing.repairs and repairs_at and (listing.roles is None or "tool" in listing.roles):
            calls = {message.sequence for message in listed}
            repairs = await self.entries(session.id, EntryQuery(repairs_at, (rules.REPAIR,)))
            placed.extend(
                (entry.covers[0], rules.message_of(entry, view))
                for entry in repairs
                if entry.covers is not None and entry.covers[0] in calls
            )
        found = rules.place_items(listed, placed)
        return found if listing.last is None else found[max(0, len(found) - listing.last) :]

    async def standing(self, session: Session, found: list[Message]) -> list[Message]:
        """The summaries that the newest messages do not reach back to."""
        view, have = rules.view_of(session), {message.sequence for message in found}
        carried = () if view.is_hidden(1) or view.is_folded(1) else (1,)
        entries = await self.at(session.id, (*carried, *view.summaries(1, session.last_sequence)))
        return [
            rules.message_of(entry, view)
            for entry in entries
            if entry.type in (rules.CARRIED, rules.SUMMARY) and entry.sequence not in have
        ]

    async def difference(self, session: Session, later: View) -> tuple[int, int, int]:
        """How the numbers of visible messages, tokens and turns change when ``later`` becomes the view."""
        now = rules.view_of(session).ranges(1, session.last_sequence)
        then = later.ranges(1, session.last_sequence)
        changes = [0, 0, 0]
        for sign, shown, other in ((1, then, now), (-1, now, then)):
            pieces = subtract(shown, other)
            if pieces:
                tallied = rules.tally(await self.entries(session.id, EntryQuery(pieces, rules.LISTED)))
                changes = [old + sign * new for old, new in zip(changes, tallied, strict=True)]
        return changes[0], changes[1], changes[2]

    async def for_window(self, session: Session, budget: int, count: Count) -> list[Message]:
        """The standing summaries and at least as many of the newest messages as ``budget`` tokens hold."""
        size = _BATCH
        while True:
            found = await self.listed(session, Listing(last=size))
            if len(found) < size:
                return found
            if sum(count(message_text(message)) for message in found) > 2 * budget:
                return [*await self.standing(session, found), *found]
            size *= 2
