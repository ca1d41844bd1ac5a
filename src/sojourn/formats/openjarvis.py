"""Import of OpenJarvis's ``sessions.db``: its conversations, its people's channel handles, its checkpoints.

The source is read as of one moment and never changed. Ids are derived from the source's, so that a second import finds what
the first one stored and adds only what has come since.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from sojourn.core.codec import Json
from sojourn.formats.arrivals import Arrival, Arrivals, Stage
from sojourn.formats.openjarvis_messages import Messages, history_items
from sojourn.formats.openjarvis_plan import FORMAT, Link, Plan, Talk
from sojourn.formats.openjarvis_source import (
    CHANNELS,
    CHECKPOINTS,
    LINKS,
    MESSAGES,
    SESSIONS,
    MessageRow,
    Source,
    Stat,
    known_tables,
)
from sojourn.formats.report import PRESENT, ImportReport, Progress, Tally
from sojourn.formats.source import foreign_file, open_source
from sojourn.formats.values import Reading
from sojourn.shell.bridge import run_sync

if TYPE_CHECKING:
    from sojourn.store import AsyncStore
    from sojourn.sync.store import Store

FILE: Final = "sessions.db"
"""How OpenJarvis calls it."""
_IMPORTED: Final = ""
_REASONS: Final = {"landed": _IMPORTED, "present": PRESENT, "deleted": "its conversation was deleted here"}
_CLOSED: Final = "it came after its conversation was closed here"
_NO_MESSAGES: Final = Stat()
_LONGEST_ID: Final = 128


def import_openjarvis(
    store: Store, path: str | os.PathLike[str], *, dry_run: bool = False, progress: Progress | None = None
) -> ImportReport:
    """Import an OpenJarvis database (or the directory that holds its ``sessions.db``); what became of every row.

    The source is never changed. May be repeated, also after it was killed: a conversation is seen whole or not at all, and
    what is stored already is left as it is. ``progress`` is told rows done and rows in all after each commit.
    `InvalidValueError`: there is no such file; `CorruptError`: it is no OpenJarvis database.
    """
    return run_sync(aimport_openjarvis(store._aio, path, dry_run=dry_run, progress=progress))


async def aimport_openjarvis(
    store: AsyncStore, path: str | os.PathLike[str], *, dry_run: bool = False, progress: Progress | None = None
) -> ImportReport:
    """`import_openjarvis` for asynchronous stores. The source is read on the event loop, a page of messages at a time."""
    file = foreign_file(path, FILE, getattr(store._unit.engine, "path", None))
    policy = store._settings.conversations
    with open_source(file) as connection:
        source = Source(connection)
        tally = Tally(FORMAT, str(path), source.counts(), dry_run=dry_run, progress=progress)
        plan = Plan(source, tally, store.tenant, await store._unit.engine.now())
        arrivals = Arrivals(store._unit, policy, dry_run=dry_run)
        await _Import(source, plan, arrivals, tally, policy.max_content).run()
        return tally.report()


def check_openjarvis(path: str | os.PathLike[str]) -> None:
    """Refuse what could not be imported, before a store is made for it; the errors of `import_openjarvis`."""
    with open_source(path, FILE) as connection:
        for table in known_tables(connection):
            connection.execute(f"select count(*) from {table}").fetchone()  # noqa: S608  # names of ours; a cut file fails


class _Import:
    """One run."""

    def __init__(self, source: Source, plan: Plan, arrivals: Arrivals, tally: Tally, max_content: int | None) -> None:
        self._source = source
        self._plan = plan
        self._arrivals = arrivals
        self._tally = tally
        self._max_content = max_content

    async def run(self) -> None:
        """Every conversation in turn, the oldest activity first, so that searches find the newest first."""
        for table, column in self._source.unread():
            self._tally.note(table, column or "all", "unknown to this import: left alone")
        for key, talk in self._plan.in_order():
            if talk.table == CHANNELS:
                await self._channel(talk)
            else:
                await self._session(key, talk)

    def _landed(self, rows: int) -> None:
        self._tally.imported(MESSAGES, rows)
        self._tally.tell()

    # -- sessions --------------------------------------------------------------------------------------------------

    async def _session(self, key: object, talk: Talk) -> None:
        stat = self._plan.stats.get(key, _NO_MESSAGES)
        rows = self._source.messages(key) if stat.count else iter(())
        stage = await self._arrivals.stage(talk.id)
        messages = Messages(self._tally, talk, stat, self._max_content)
        if stage is None:
            fate = await self._new(key, talk, messages, rows)
        else:
            fate = await self._known(talk, messages, stage, rows)
        if talk.table == SESSIONS:
            self._count(SESSIONS, talk.row, fate)
        for checkpoint in talk.checkpoints:
            self._count(CHECKPOINTS, f"row {checkpoint.number}", fate)
        self._tally.tell()

    async def _new(self, key: object, talk: Talk, messages: Messages, rows: Iterator[MessageRow]) -> str:
        stat = messages.stat
        places = self._places(key, talk, stat)
        data = talk.document(await self._handles(talk))
        if places:
            data["checkpoints"] = places
        lead = self._source.some_messages(stat.summaries)
        items = messages.items(messages.in_order(lead, rows))
        arrival = _arrival(talk, data, stat.top)
        outcome = await self._arrivals.store(arrival, None, items, self._landed)
        if outcome != "landed":
            self._tally.skip(MESSAGES, f"of session {talk.row}", _REASONS[outcome], stat.count - messages.unfit)
            return _REASONS[outcome]
        if talk.table == MESSAGES:
            self._tally.note(MESSAGES, f"of session {talk.row}", "their session is gone: kept as a recovered conversation")
        await self._tell_about(talk, arrival)
        return _IMPORTED

    async def _known(self, talk: Talk, messages: Messages, stage: Stage, rows: Iterator[MessageRow]) -> str:
        """Finish what an interrupted import began, or add what has come since the last one."""
        lacking = messages.lacking(stage, rows)
        row = f"of session {talk.row}"
        if stage.session.state in ("ended", "archived"):
            self._tally.skip(MESSAGES, row, _CLOSED, sum(1 for _ in lacking))
        else:
            await self._arrivals.store(_arrival(talk, {}, messages.stat.top), stage, messages.items(lacking), self._landed)
        self._tally.skip(MESSAGES, row, PRESENT, messages.present)
        for link in talk.links:
            if link.row:
                self._tally.skip(LINKS, link.row, PRESENT)
        return _IMPORTED if stage.pending else PRESENT

    def _count(self, table: str, row: str, fate: str) -> None:
        if fate == _IMPORTED:
            self._tally.imported(table)
        else:
            self._tally.skip(table, row, fate)

    async def _tell_about(self, talk: Talk, arrival: Arrival) -> None:
        for remark in talk.reading.remarks:
            self._tally.note(talk.table, talk.row, remark)
        if talk.current and await self._arrivals.newer(arrival) is not None:
            self._tally.note(talk.table, talk.row, f"{talk.user} has a newer conversation here, which stays the current one")

    # -- channel_sessions ------------------------------------------------------------------------------------------

    async def _channel(self, talk: Talk) -> None:
        stage = await self._arrivals.stage(talk.id)
        if stage is not None and not stage.pending:
            self._tally.skip(talk.table, talk.row, PRESENT)
            return
        data = {} if stage is not None else talk.document(await self._handles(talk))
        items = history_items(self._tally, talk)
        if stage is not None:
            items = [item for item in items if stage.lacks(item.number, summary=item.summary)]
        arrival = _arrival(talk, data, len(talk.history))
        outcome = await self._arrivals.store(arrival, stage, items, lambda _: None)
        self._count(talk.table, talk.row, _REASONS[outcome])
        if outcome == "landed":
            await self._tell_about(talk, arrival)
        self._tally.tell()

    # -- handles and checkpoints -----------------------------------------------------------------------------------

    async def _handles(self, talk: Talk) -> dict[str, str]:
        """Link the person's handles, but none that another person holds; what the conversation says of its channels."""
        held = await self._arrivals.held(talk.user)
        linked = {}
        for link in talk.links:
            reason, holder = await self._not_linked(talk, link, held)
            if not reason:
                linked[link.channel] = link.handle
                self._tally.imported(LINKS, bool(link.row))
                continue
            talk.about.setdefault("unlinked", []).append([link.channel, link.handle])
            row = f"{link.channel} {link.handle} of {talk.user}: {holder}"
            if link.row:
                self._tally.skip(LINKS, f"{link.row}, {row}", reason)
            else:
                self._tally.note(talk.table, row, f"{reason}, kept in metadata")
        return {**held, **linked} if talk.current else linked

    async def _not_linked(self, talk: Talk, link: Link, held: dict[str, str]) -> tuple[str, str]:
        """Why a handle is not linked, and who or what stands in its place; two empty texts when it is."""
        channel, handle = link.channel, link.handle
        owner, chosen = self._plan.owners[channel, handle], self._plan.chosen[talk.user, channel]
        if owner != talk.user:
            return "handle of somebody whose conversation is newer: not linked", owner
        if chosen != handle:
            return "the person has a newer handle in this channel: not linked", chosen
        if held.get(channel, handle) != handle:
            return "the person has another handle in this channel here: not linked", held[channel]
        holder = await self._arrivals.claim(talk.user, channel, handle)
        return ("", "") if holder == talk.user else ("handle held by somebody else here: not linked", holder)

    def _places(self, key: object, talk: Talk, stat: Stat) -> dict[str, Json]:
        """Checkpoints by label: each stands behind the messages it counts, wherever their summaries went."""
        found: dict[str, Json] = {}
        for row in talk.checkpoints:
            reading = Reading()
            label = reading.key("label", row.label, 240) or f"checkpoint {row.number}"
            while label in found:
                label += " (again)"
            at = reading.moment("created_at", row.created_at) or talk.active_at
            count = row.message_count if isinstance(row.message_count, int) else -1
            if not 0 <= count <= stat.count:
                reading.remarks.append("message_count was not a number of messages there are: put behind the last one")
                count = stat.count
            folded = self._source.summaries_among_first(key, count) if stat.summaries else 0
            found[label] = [len(stat.summaries) + count - folded if count > folded else folded, at]
            for remark in reading.remarks:
                self._tally.note(CHECKPOINTS, f"row {row.number}", remark)
        return found


def _arrival(talk: Talk, data: dict[str, Json], top: int) -> Arrival:
    name = talk.about.get("session_id")
    tags = (former_id(name),) if isinstance(name, str) and len(name) <= _LONGEST_ID else ()
    return Arrival(talk.id, talk.user, data, talk.created_at, talk.active_at, talk.current, top, tags)


def former_id(name: str) -> str:
    """The tag of the conversation that had this id in OpenJarvis."""
    return f"{FORMAT}:{name}"
