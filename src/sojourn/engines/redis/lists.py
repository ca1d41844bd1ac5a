"""Lists, counts and what is due, over all shards: their first rows in one round trip, the sessions in another."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Final

from sojourn.core.query import SessionQuery
from sojourn.core.session import Session
from sojourn.engines.redis import wire
from sojourn.engines.redis.commands import Command
from sojourn.engines.redis.keys import Shard, escape, unescape
from sojourn.engines.redis.talk import Talk

_STAMP: Final = 16
"""Digits of an activity bucket, which stands before the id in a list by activity."""

_SPARE: Final = 4
"""Rows that a shard is asked for beyond twice its share of a page."""


class Lists:
    """The lists of a store."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk

    async def page(self, query: SessionQuery) -> list[Session]:
        """See `contract.Engine.list`.

        Of many shards, each is asked for its share of the page and a little more; those that may have further rows of it are
        asked once more for all of them.
        """
        asked = self._talk.asked(query.tenant, query.home)
        share = query.limit
        if query.owner is None:  # whose sessions are mostly of one home, and so of one shard
            share = min(query.limit, 2 * -(-query.limit // len(asked)) + _SPARE)
        rows = dict(zip(asked, await self._rows(query, asked, share), strict=True))
        descending = query.order in ("activity", "created")

        def first() -> list[str]:
            return sorted((row for found in rows.values() for row in found), reverse=descending)[: query.limit]

        taken = set(first())
        more = [shard for shard, found in rows.items() if len(found) == share < query.limit and found[-1] in taken]
        if more:
            rows.update(zip(more, await self._rows(query, more, query.limit), strict=True))
        found = await self._show((query.tenant, row[-wire.ID :]) for row in first())
        return [session for session in found if session.state in query.states]

    async def _rows(self, query: SessionQuery, shards: Sequence[Shard], limit: int) -> list[list[str]]:
        """The first members of the query's lists in each of these shards."""
        talk = self._talk
        arguments = (
            b"1" if query.order in ("activity", "created") else b"",
            _start_of(query).encode(),
            b"%d" % limit,
            (query.owner or "").encode() if query.tag is not None else b"",
            b"" if query.active_before is None else b"%d" % query.active_before,
            (query.home or "").encode(),
            b"c" if query.order in ("created", "oldest") else b"a",
        )
        replies = await talk.ask_all(
            [
                talk.scripts.page.call(_lists(shard, query), b"", shard.tenant(query.tenant).encode(), *arguments)
                for shard in shards
            ],
            wide=len(shards) > 1,
        )
        width = wire.ID if query.order in ("created", "oldest") else _STAMP + wire.ID
        return [_cut(reply.decode(), width) for reply in replies]

    async def _show(self, wanted: Iterable[tuple[str, str]]) -> list[Session]:
        """Sessions by tenant and id, in this order; what is gone is left out."""
        talk, names = self._talk, list(wanted)
        by_shard: dict[int, list[tuple[Shard, str, str]]] = {}
        for tenant, identifier in names:
            shard = talk.shards.of_id(identifier)
            if shard is not None:
                by_shard.setdefault(shard.number, []).append((shard, tenant, identifier))
        replies = await talk.ask_all(
            [
                talk.scripts.show.call([shard.session(tenant, one) for shard, tenant, one in group], b"", b"")
                for group in by_shard.values()
            ]
        )
        found: dict[tuple[str, str], Session] = {}
        for group, reply in zip(by_shard.values(), replies, strict=True):
            for (_, tenant, one), row in zip(group, json.loads(reply), strict=True):
                if row is not None:
                    found[tenant, one] = wire.read_session(tenant, one, row)
        return [found[name] for name in names if name in found]

    async def count(self, tenant: str, kind: str, tag: str | None, owner: str | None, home: str | None) -> int:
        """See `contract.Engine.count`; of a home, its sessions are looked at, since several homes share a shard."""
        talk = self._talk
        if home is not None:
            query = SessionQuery(tenant, (kind,), owner=owner, tag=tag, order="oldest", home=home)
            shard = talk.shards.of_home(tenant, home)
            named = shard.tenant(tenant).encode()
            return int(await talk.ask(talk.scripts.counted.call(_lists(shard, query), b"", named, home.encode())))
        replies = await talk.ask_all(
            [Command(b"ZCARD", shard.list(tenant, kind, "active", owner=owner, tag=tag)) for shard in talk.shards]
        )
        return sum(replies) // 2  # a list has each session twice

    async def recent(
        self, tenant: str, kind: str, tag: str | None, owner: str | None, home: str | None, active_after: int
    ) -> int:
        """See `contract.Engine.count`, with ``active_after``."""
        talk = self._talk
        since, only = f"{max(0, active_after):0{_STAMP}}".encode(), escape(tenant).encode()
        commands = []
        for shard in talk.asked(tenant, home):
            keys = shard.list(tenant, kind, "active", owner=owner, tag=tag), shard.due
            own = shard.tenant(tenant).encode()
            commands.append(talk.scripts.recent.call(keys, talk.time(), own, since, only, (home or "").encode()))
        return sum(int(reply) for reply in await talk.ask_all(commands))

    async def due(self, tenant: str | None, limit: int, ahead: int = 0) -> list[Session]:
        """See `contract.Engine.due`."""
        talk = self._talk
        only = b"" if tenant is None else escape(tenant).encode()
        replies = await talk.ask_all(
            [talk.scripts.due.call((shard.due,), talk.time(), b"", b"%d" % limit, only, b"%d" % ahead) for shard in talk.shards]
        )
        rows = sorted((deadline, member) for reply in replies for deadline, member in json.loads(reply))
        return await self._show(_member(member) for _, member in rows[:limit])


def _lists(shard: Shard, query: SessionQuery) -> list[bytes]:
    return [
        shard.list(query.tenant, kind, state, owner=query.owner if query.tag is None else None, tag=query.tag)
        for kind in query.kinds
        for state in query.states
    ]


def _start_of(query: SessionQuery) -> str:
    """The member of a list that a page starts behind."""
    if query.order in ("created", "oldest"):
        return "" if query.after is None else query.after[1]
    start = "" if query.after is None else f"{query.after[0]:0{_STAMP}}{query.after[1]}"
    if query.order == "activity" and query.active_before is not None:
        # Buckets are never later than the activity they stand for, so nothing before this one is wanted.
        edge = f"{query.active_before:0{_STAMP}}"
        return min(start, edge) if start else edge
    return start


def _cut(text: str, width: int) -> list[str]:
    return [text[start : start + width] for start in range(0, len(text), width)]


def _member(member: str) -> tuple[str, str]:
    """Tenant and id of a member of the due index."""
    tenant, _, identifier = member.rpartition(":")
    return unescape(tenant), identifier
