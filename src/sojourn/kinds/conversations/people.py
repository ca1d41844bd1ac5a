"""Who a conversation is with: channel handles, and the one conversation that is a person's current one."""

from __future__ import annotations

from typing import Final

from sojourn.core.batch import Guard, NewEntry, Point, Refusal, Write
from sojourn.core.codec import encode
from sojourn.core.query import EntryQuery
from sojourn.core.session import Alias, AliasKey, Session, Snapshot
from sojourn.errors import ConflictError, UnavailableError
from sojourn.kinds.conversations import rules
from sojourn.kinds.conversations.model import ConversationPolicy
from sojourn.kinds.conversations.reader import Listing, Reader
from sojourn.kinds.conversations.rules import CURRENT, HANDLE, KIND
from sojourn.kinds.conversations.summary import extractive
from sojourn.shell.unit import Unit, perform, refused

_CARRIED_FROM: Final = 200
_ROUNDS: Final = 64
_ANY: Final = Guard(open=False)


class People:
    """Handles and current conversations of one store and tenant."""

    def __init__(self, unit: Unit, policy: ConversationPolicy, reader: Reader) -> None:
        self._unit = unit
        self._policy = policy
        self._reader = reader

    async def resolve(self, channel: str, handle: str) -> str | None:
        """The user a handle belongs to."""
        name = rules.handle_key(channel, handle)
        alias = (await self._unit.follow(name, HANDLE, name)).alias
        return None if alias is None else alias.target

    async def person(self, channel: str, handle: str) -> str:
        """The user behind a handle; a new one, with an id of its own, when nobody holds it.

        The new user's id is never made of the handle: handles are given to other people later, threads are not.
        """
        name = rules.handle_key(channel, handle)

        async def step() -> str | Refusal:
            found = await self._unit.follow(name, HANDLE, name)
            assert found.alias is not None  # noqa: S101  # follow always gives one
            if found.alias.target is not None:
                return found.alias.target
            user = self._unit.new_id(name)
            answer = await self._unit.attempt(name, Point(found.alias.key, user, found.alias.epoch))
            return answer.refusal or user

        return await perform(step, "channel handle")

    async def claim(self, user: str, channel: str, handle: str, *, anew: bool = False) -> None:
        """Point a handle at ``user``, unless another person holds it; ``anew`` also when it points there already."""
        name = rules.handle_key(channel, handle)

        async def step() -> bool | Refusal:
            alias = (await self._unit.follow(name, HANDLE, name)).alias
            assert alias is not None  # noqa: S101  # follow always gives one
            if alias.target == user and not anew:
                return True
            if alias.target not in (None, user):
                raise ConflictError(
                    f"the {channel} handle {handle!r} belongs to user {alias.target!r}.",
                    hint="Unlink it there first.",
                    holder=alias.target,
                )
            answer = await self._unit.attempt(name, Point(alias.key, user, alias.epoch))
            return answer.refusal or True

        await perform(step, "channel handle")

    async def is_settled(self, session: Session, user: str, channel: str, handle: str) -> bool:
        """Whether the current conversation names the handle and the person has no other in the channel: one read."""
        return rules.handle_in(session, channel) == handle and set(await self._held(user, channel)) == {handle}

    async def settle(self, session: Session, user: str, channel: str, handle: str | None) -> Session:
        """Bring records and handles of a person's channel together: ``handle`` (None: none) and no other.

        Handles and records lie in different homes. Whoever writes a record moves the handle's epoch *afterwards*; whoever
        frees a handle has read its epoch *before* the record. So a handle that was linked meanwhile is not freed, and of two
        who link different ones the later record stands. (Simulated with a crash after every step.)
        """
        written: set[str] = set()
        confirmed, lost = True, None
        for _ in range(_ROUNDS):
            held = await self._held(user, channel)
            records = await self._records(session, user)
            named = rules.handle_in(records[-1], channel)
            if records[-1].id in written:
                handle = named
            if any(rules.handle_in(record, channel) != handle for record in records):
                await self._name(user, records, channel, handle)
                written.update(record.id for record in records)
                confirmed = handle is None
            elif handle is not None and (handle not in held or not confirmed):
                try:
                    await self.claim(user, channel, handle, anew=True)
                    confirmed = True
                except ConflictError as error:  # it was freed meanwhile, and somebody else was faster
                    lost, handle = error, min(held.keys() - {handle}, default=None)
                    written.clear()
            else:
                for other, alias in held.items():
                    if other != handle:
                        await self._unit.attempt(alias.key.home, Point(alias.key, None, alias.epoch))
                if lost is not None:
                    raise lost
                return await self._reader.session(session.id)
        raise UnavailableError(f"the {channel} handle of user {user!r} was changed by others {_ROUNDS} times in a row.")

    async def _held(self, user: str, channel: str) -> dict[str, Alias]:
        """The handles that point at a person in a channel."""
        aliases = await self._unit.engine.aliases(self._unit.tenant, target=user)
        found = {rules.handle_of(alias.key.key): alias for alias in aliases if alias.key.namespace == HANDLE}
        return {handle: alias for (where, handle), alias in found.items() if where == channel}

    async def _records(self, session: Session, user: str) -> list[Session]:
        """The records that repeat a person's links: this conversation, and last the current one, which counts."""
        current = (await self._unit.follow(user, CURRENT, user)).session
        own = await self._reader.session(session.id)
        return [own] if current is None or current.id == own.id else [own, current]

    async def _name(self, user: str, records: list[Session], channel: str, handle: str | None) -> None:
        """Write a handle, or that there is none, where records say something else."""
        place, tag = ("identity", "channels", channel), f"channel:{channel}"
        changes = []
        for record in records:
            if rules.handle_in(record, channel) == handle:
                continue
            if handle is not None:
                changes.append(Write(record.id, _ANY, set=((place, handle),), tag=(tag,), change="linked"))
                continue
            used = await self._reader.entries(record.id, EntryQuery(types=(rules.MESSAGE,), topic=channel, limit=1))
            changes.append(Write(record.id, _ANY, unset=(place,), untag=() if used else (tag,), change="unlinked"))
        answer = await self._unit.attempt(user, *changes)
        if answer.refusal is not None and answer.refusal.reason != "missing":
            raise refused(answer.refusal, KIND)

    async def current(self, user: str, name: str, channels: dict[str, str]) -> Session | Refusal:
        """The current conversation as it is, refreshed, or superseded by a new one; one commit at most."""
        found = await self._unit.follow(user, CURRENT, user)
        session = found.session
        if session is not None and session.state == "active" and not rules.is_past_age(session, found.now, self._policy):
            if not name or rules.identity_of(session).display_name == name:
                return session
            answer = await self._unit.attempt(user, Write(session.id, set=((("identity", "display_name"), name),)))
            if answer.refusal is None:
                return await self._reader.session(session.id)
            if answer.refusal.reason in ("ended", "archived", "missing"):  # closed or deleted meanwhile
                return await self.current(user, name, channels)
            return answer.refusal
        data = rules.document(
            name or ("" if session is None else rules.identity_of(session).display_name),
            {**await self.links(user, session), **channels},
            previous_id=None if session is None else session.id,
        )
        carried = None if session is None else await self._carried(session)
        made = rules.create(self._unit.new_id(user), user, data, carried)
        answer = await self._unit.attempt(user, *self.left(session), made, self.point_current(user, made.id, found))
        if answer.refusal is not None and answer.refusal.reason == "missing":  # deleted meanwhile
            return await self.current(user, name, channels)
        return answer.refusal or await self._reader.session(made.id)

    async def links(self, user: str, session: Session | None) -> dict[str, str]:
        """What a person's next conversation is linked to: what the last one was, or without one what points at them."""
        if session is not None:
            return dict(rules.identity_of(session).channel_ids)
        aliases = await self._unit.engine.aliases(self._unit.tenant, target=user)
        return dict(rules.handle_of(alias.key.key) for alias in aliases if alias.key.namespace == HANDLE)

    def left(self, session: Session | None) -> tuple[Write, ...]:
        """What guards that the conversation which is left is still what the next one was made from."""
        if session is None:
            return ()
        return (Write(session.id, Guard(open=False, version=session.version), change="superseded"),)

    def point_current(self, user: str, session: str, found: Snapshot) -> Point:
        """Make a session the current one, if the alias is where it was seen."""
        epoch = 0 if found.alias is None else found.alias.epoch
        return Point(AliasKey(user, CURRENT, user), session, epoch)

    async def _carried(self, session: Session) -> NewEntry | None:
        """What a superseded conversation leaves to the next one."""
        if not self._policy.carry_summary:
            return None
        newest = await self._reader.listed(session, Listing(last=_CARRIED_FROM))
        found = [*await self._reader.standing(session, newest), *newest]
        if not found:
            return None
        return NewEntry(
            rules.CARRIED, "system", text=extractive(found), data=encode({"metadata": {"carried_from": session.id}})
        )
