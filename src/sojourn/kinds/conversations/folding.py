"""Folding: one summary stands for a range of older messages, which stay stored; and its undoing."""

from __future__ import annotations

from typing import Final

from sojourn.core.batch import Guard, NewEntry, Refusal, Write
from sojourn.core.codec import encode
from sojourn.core.query import EntryQuery
from sojourn.core.session import Session
from sojourn.errors import ConflictError, NotFoundError, SojournError, SummariserError
from sojourn.kinds.conversations import rules
from sojourn.kinds.conversations.model import ConversationPolicy, Message, Messages, Summarise
from sojourn.kinds.conversations.reader import Listing, Reader
from sojourn.kinds.conversations.rules import KIND
from sojourn.kinds.conversations.summary import extractive
from sojourn.kinds.conversations.view import union
from sojourn.shell.bridge import settle
from sojourn.shell.unit import Unit, fingerprint, perform, refused

_ROUNDS: Final = 3
"""How often a summary is made again because the window was changed meanwhile."""


class Folding:
    """Folds and unfolds conversations of one store and tenant."""

    def __init__(self, unit: Unit, policy: ConversationPolicy, reader: Reader) -> None:
        self._unit = unit
        self._policy = policy
        self._reader = reader

    async def consolidate(
        self, id: str, keep: int | None, summarise: Summarise | None, operation: str | None
    ) -> Message | None:
        """Plan, summarise outside any commit, store if the window is still what was read; again when it is not."""
        mark = fingerprint("consolidate", id, keep)
        for _ in range(_ROUNDS):
            session = await self._reader.session(id)
            repeat = await self._unit.replayed(session, operation, mark, with_entry=True)
            if repeat is not None:
                return await self._reader.message(id, repeat.moved[0].first)
            if await self._unit.replayed(session, operation, mark) is not None:
                return None
            plan = await self._plan_fold(session, keep)
            if plan is None:
                await self._not_due(session)
                await self._unit.remember(session.home, operation, mark)
                return None
            text = await self._summarise(summarise, plan)
            if await self._redacted_meanwhile(id, plan):
                continue
            entry = rules.summary_entry(text, plan)
            write = rules.commit_fold(session, entry, plan, self._policy)
            answer = await self._unit.attempt(session.home, write, key=operation, fingerprint=mark)
            if answer.refusal is None:
                return await self._reader.message(id, answer.moved[0].first)
            if answer.refusal.reason != "phase":
                raise refused(answer.refusal, KIND)
            theirs = await self._folded_by_others(id, plan)
            if theirs is not None:
                return theirs
        raise ConflictError(
            f"conversation {id} was folded, hidden or rewound by others {_ROUNDS} times while it was summarised.",
            hint="Nothing was folded; try again.",
        )

    async def _redacted_meanwhile(self, id: str, plan: rules.FoldPlan) -> bool:
        """Whether a message that was summarised has been emptied since, perhaps by way of a fork that shares it."""
        kept = {message.sequence for message in plan.items if not message.redacted}
        ranges = union((sequence, sequence) for sequence in kept)
        entries = await self._reader.entries(id, EntryQuery(ranges)) if ranges else ()
        return any(entry.redacted for entry in entries if entry.sequence in kept)

    async def folded(self, session: Session) -> Session:
        """The session as a read goes on with it: a fold that is due comes first, if the built-in summariser makes it."""
        if session.deadline is None or session.state != "active" or self._policy.summarise is not extractive:
            return session
        if session.deadline > await self._unit.engine.now():
            return session
        try:
            await self.consolidate(session.id, None, None, None)
        except SojournError:  # it stays due; what can be read is read, also from a store that cannot be written
            return session
        return await self._reader.session(session.id)

    async def _summarise(self, summarise: Summarise | None, plan: rules.FoldPlan) -> object:
        chosen = self._policy.summarise if summarise is None else summarise
        try:
            return await settle(chosen(Messages(plan.items)))
        except Exception as error:
            raise SummariserError(f"the summariser failed: {error!r}.", hint="Nothing was folded.") from error

    async def _plan_fold(self, session: Session, keep: int | None) -> rules.FoldPlan | None:
        visible = await self._reader.listed(session, Listing(repairs=False))
        return rules.plan_fold(visible, rules.view_of(session), self._policy, keep)

    async def _not_due(self, session: Session) -> None:
        """Take back a due mark that has nothing behind it, unless something was committed meanwhile."""
        if session.deadline is not None and session.state == "active":
            await self._unit.attempt(session.home, rules.clear_due(session))

    async def _folded_by_others(self, id: str, plan: rules.FoldPlan) -> Message | None:
        """The summary that covers what was planned, when somebody else was first."""
        view = rules.view_of(await self._reader.session(id))
        for fold in view.folds:
            if fold.first <= plan.first and fold.last >= plan.last:
                return await self._reader.message(id, fold.summary)
        return None

    async def expand(self, id: str, sequence: int, operation: str | None) -> Messages:
        """Put back what a summary was built on; a caller who asks again gets the first answer."""
        mark = fingerprint("expand", id, sequence)

        async def step() -> tuple[int, int] | Refusal:
            session = await self._reader.session(id)
            repeat = await self._unit.replayed(session, operation, mark)
            if repeat is not None:
                return repeat.moved[0].counters["opened_first"], repeat.moved[0].counters["opened_last"]
            view = rules.view_of(session)
            old = next((fold for fold in view.folds if fold.summary == sequence), None)
            if old is None:
                raise await self._no_fold(session, sequence)
            (entry,) = await self._reader.at(id, (sequence,))
            opened = view.unfold(old, rules.inner_folds(entry))
            shown = opened.ranges(old.first, old.last)
            tallied = rules.tally(await self._reader.entries(id, EntryQuery(shown, rules.LISTED))) if shown else (0, 0, 0)
            write = rules.change_view(
                session, opened, tallied, "unfolded", put=(("opened_first", old.first), ("opened_last", old.last))
            )
            answer = await self._unit.attempt(session.home, write, key=operation, fingerprint=mark)
            return answer.refusal or (old.first, old.last)

        first, last = await perform(step, KIND)
        session = await self._reader.session(id)
        return Messages(await self._reader.listed(session, Listing(after=first - 1, before=last + 1)))

    async def _no_fold(self, session: Session, sequence: int) -> ConflictError | NotFoundError:
        known = sequence in range(1, session.last_sequence + 1)
        entries = await self._reader.at(session.id, (sequence,)) if known else ()
        if entries and entries[0].type == rules.SUMMARY:
            return ConflictError(
                f"summary {sequence} is not listed: a later fold has built on it, or it was unfolded.",
                hint="Expand the summary that is listed first.",
                version=session.version,
            )
        return NotFoundError(f"there is no summary {sequence!r} in conversation {session.id}.", hint="See messages().")

    async def repair(self, id: str, operation: str | None) -> int:
        """Answer every orphaned tool call with an entry that is placed behind it."""
        mark = fingerprint("repair", id)

        async def step() -> int | Refusal:
            session = await self._reader.session(id)
            repeat = await self._unit.replayed(session, operation, mark, with_entry=True)
            if repeat is not None:
                return repeat.moved[0].last - repeat.moved[0].first + 1
            if await self._unit.replayed(session, operation, mark) is not None:
                return 0
            orphans = rules.orphan_calls(await self._reader.listed(session, Listing(folded=True)))
            if not orphans:
                await self._unit.remember(session.home, operation, mark)
                return 0
            entries = tuple(
                NewEntry(
                    rules.REPAIR,
                    "tool",
                    text=rules.CLOSED_CALL,
                    data=encode({"tool_call_id": call}),
                    covers=(message.sequence, message.sequence),
                )
                for message, call in orphans
            )
            known = str(len(rules.data_of(session).get("repairs", {})))
            write = Write(
                session.id,
                Guard(version=session.version),
                entries,
                set=((("repairs", known, "count"), len(entries)),),
                mark=(("repairs", known, "first"),),
                change="repaired",
            )
            answer = await self._unit.attempt(session.home, write, key=operation, fingerprint=mark)
            return answer.refusal or len(entries)

        return await perform(step, KIND)
