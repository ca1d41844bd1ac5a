"""Which conversations an OpenJarvis database becomes: whose they are, in what order, with which channel handles."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

from sojourn.core.codec import Json
from sojourn.core.ids import derived_id, home_number
from sojourn.formats.openjarvis_source import (
    CHANNELS,
    CHECKPOINTS,
    LINKS,
    MESSAGES,
    SESSIONS,
    ChannelRow,
    CheckpointRow,
    SessionRow,
    Source,
    Stat,
    name_of,
)
from sojourn.formats.report import Tally
from sojourn.formats.source import Value
from sojourn.formats.values import Reading, beside, moment_of
from sojourn.kinds.conversations import rules

FORMAT: Final = "openjarvis"


@dataclass(frozen=True, slots=True)
class Link:
    """A person's handle in a channel; ``row`` names the row of ``channel_links`` it has of its own, in the Rust variant."""

    channel: str
    handle: str
    row: str = ""


@dataclass(slots=True)
class Talk:
    """A conversation that is to be."""

    table: str
    row: str
    id: str
    user: str
    created_at: int
    active_at: int
    reading: Reading
    about: dict[str, Json]
    """What OpenJarvis kept of it that Sojourn has no field for."""
    display_name: str = ""
    title: str = ""
    metadata: dict[str, Json] = field(default_factory=dict)
    links: list[Link] = field(default_factory=list)
    checkpoints: list[CheckpointRow] = field(default_factory=list)
    history: list[Json] = field(default_factory=list)
    current: bool = False
    previous: str | None = None

    def document(self, channels: dict[str, str]) -> dict[str, Json]:
        """The document of the conversation."""
        about = {**self.about, **self.reading.raw}
        metadata = beside(self.metadata, FORMAT, about)
        return rules.document(self.display_name, channels, title=self.title, metadata=metadata, previous_id=self.previous)


class Plan:
    """Every conversation of a source, before a message is read."""

    def __init__(self, source: Source, tally: Tally, tenant: str, now: int) -> None:
        self._tenant = tenant
        self._now = now
        self.stats: dict[object, Stat] = source.stats()
        self.talks: dict[object, Talk] = {}
        """By session id, as the source has it."""
        self.channels: list[Talk] = []
        """Those of ``channel_sessions``."""
        self.owners: dict[tuple[str, str], str] = {}
        """Who has a handle: the person whose conversation with it is the newest."""
        self.chosen: dict[tuple[str, str], str] = {}
        """Which handle of a channel is a person's: that of their newest conversation."""
        for row in source.sessions():
            self.talks[("row", row.number) if row.session_id is None else row.session_id] = self._session(row)
        for key, stat in self.stats.items():
            if key not in self.talks:
                self.talks[key] = self._orphans(name_of(key), stat)
        self._add_links(source, tally)
        for checkpoint in source.checkpoints():
            talk = self.talks.get(checkpoint.session_id)
            if talk is not None:
                talk.checkpoints.append(checkpoint)
            else:
                tally.skip(CHECKPOINTS, f"row {checkpoint.number}", "its session is not there")
        self._settle_handles(self.talks.values())
        self.channels = [self._channel(channel) for channel in source.channels()]
        self._settle_handles(self.channels)
        self._chain()

    def _id(self, user: str, source: str, created_at: int | None) -> str:
        return derived_id((created_at or 0) // 1000, home_number(self._tenant, user), f"{FORMAT}/{source}")

    # -- sessions --------------------------------------------------------------------------------------------------

    def _session(self, row: SessionRow) -> Talk:
        reading, stat = Reading(), self.stats.get(row.session_id, Stat())
        missing = row.session_id is None
        name = f"row {row.number}" if missing else name_of(row.session_id)
        user = reading.key("user_id", row.user_id)
        if not user:
            user = _someone(name)
            reading.remarks.append("user_id was empty: kept under a person of its own")
        stated = reading.moment("created_at", row.created_at)
        active_at = reading.moment("last_activity", row.last_activity) or moment_of(stat.last_at)[0]
        created_at = stated or moment_of(stat.first_at)[0] or active_at or self._now
        talk = Talk(
            SESSIONS,
            name,
            self._id(user, f"row/{row.number}" if missing else f"session/{name}", stated),
            user,
            created_at,
            active_at or created_at,
            reading,
            {"session_id": None if missing else name},
            display_name=_short(reading, row.display_name),
            metadata=reading.document("metadata", row.metadata),
        )
        for channel, handle in reading.document("channel_ids", row.channel_ids).items():
            _add_link(talk, channel, handle)
        return talk

    def _orphans(self, name: str, stat: Stat) -> Talk:
        """A conversation for messages whose session is gone; its id rests on nothing that the source may still change."""
        user = _someone(name)
        first, last = moment_of(stat.first_at)[0] or self._now, moment_of(stat.last_at)[0] or self._now
        return Talk(
            MESSAGES,
            name,
            self._id(user, f"session/{name}", None),
            user,
            min(first, last),
            max(first, last),
            Reading(),
            {"session_id": name, "recovered": True},
            title=f"Recovered from session {name}"[:200],
        )

    def _add_links(self, source: Source, tally: Tally) -> None:
        for row in source.links():
            talk, reading = self.talks.get(row.session_id), Reading()
            channel, handle = reading.key("channel", row.channel, 256), reading.key("channel_user_id", row.handle)
            if talk is None:
                tally.skip(LINKS, f"row {row.number}", "its session is not there")
            elif not channel or not handle:
                tally.skip(LINKS, f"row {row.number}", "it names no channel or no handle")
            else:
                talk.links.append(Link(channel, handle, f"row {row.number}"))
                for remark in reading.remarks:
                    tally.note(LINKS, f"row {row.number}", remark)

    # -- channel_sessions ------------------------------------------------------------------------------------------

    def _channel(self, row: ChannelRow) -> Talk:
        reading = Reading()
        channel, sender = reading.key("channel_type", row.channel_type, 256), reading.key("sender_id", row.sender_id)
        created_at = reading.moment("created_at", row.created_at)
        active_at = reading.moment("updated_at", row.updated_at) or created_at or self._now
        name = rules.handle_key(channel, sender)
        user = self.owners.get((channel, sender)) or self._id(name, f"person/{name}", created_at)
        more = {
            "sender_id": sender,
            "channel_type": channel,
            "preferred_notification_channel": _plain(reading, "preferred_notification_channel", row.preferred),
            "pending_response": _plain(reading, "pending_response", row.pending),
        }
        talk = Talk(
            CHANNELS,
            f"{channel} {sender}",
            self._id(user, f"channel/{name}", created_at),
            user,
            created_at or active_at,
            active_at,
            reading,
            {key: value for key, value in more.items() if value is not None},
            history=reading.rows("conversation_history", row.history),
        )
        if channel and sender:
            talk.links.append(Link(channel, sender))
        else:
            reading.remarks.append("it names no channel or no sender: nobody is found by it")
        return talk

    # -- all of them -----------------------------------------------------------------------------------------------

    def _settle_handles(self, talks: Iterable[Talk]) -> None:
        for talk in sorted(talks, key=_age, reverse=True):
            for link in reversed(talk.links):
                self.owners.setdefault((link.channel, link.handle), talk.user)
                self.chosen.setdefault((talk.user, link.channel), link.handle)

    def in_order(self) -> list[tuple[object, Talk]]:
        """Every conversation with its session id, the oldest activity first."""
        found: list[tuple[object, Talk]] = [*self.talks.items(), *((None, talk) for talk in self.channels)]
        return sorted(found, key=lambda item: _age(item[1]))

    def _chain(self) -> None:
        """The newest of a person is the current one; each leads back to the one before."""
        people: defaultdict[str, list[Talk]] = defaultdict(list)
        for talk in (*self.talks.values(), *self.channels):
            people[talk.user].append(talk)
        for talks in people.values():
            talks.sort(key=_age)
            talks[-1].current = True
            for older, newer in pairwise(talks):
                newer.previous = older.id


def _age(talk: Talk) -> tuple[int, int, str]:
    return talk.active_at, talk.created_at, talk.id


def _someone(name: str) -> str:
    """The person of a conversation whose person is not known."""
    return Reading().key("user", f"{FORMAT}-{name or 'unknown'}", 200)


def _short(reading: Reading, value: Value) -> str:
    text = reading.text("display_name", value)
    if len(text.encode()) <= 1024:
        return text
    reading.remarks.append("display_name was too long: cut, the whole kept in metadata")
    reading.raw.setdefault("display_name", text)
    return text.encode()[:1024].decode(errors="ignore")


def _plain(reading: Reading, name: str, value: Value) -> str | None:
    return None if value is None else reading.text(name, value)


def _add_link(talk: Talk, channel: str, handle: Any) -> None:
    """A handle of the JSON column; what is no handle is kept in metadata."""
    if isinstance(handle, (str, int)) and not isinstance(handle, bool) and channel and str(handle):
        clean = Link(talk.reading.key("channel", channel, 256), talk.reading.key("channel_user_id", handle))
        talk.links.append(clean)
        return
    talk.reading.remarks.append("channel_ids held something that is no handle: kept in metadata")
    talk.about.setdefault("unlinked", []).append([channel, handle])
