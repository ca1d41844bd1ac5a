"""The operations of logins, once, for both colours."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Final, Literal

from sojourn.core.batch import Guard, Refusal, Touch, Write
from sojourn.core.codec import Json, check_key
from sojourn.core.query import OPEN_STATES, READABLE_STATES, Page, SessionQuery, make_cursor, page_limit, read_cursor
from sojourn.core.session import Session, State
from sojourn.core.times import span, to_micros
from sojourn.errors import BindingError, InvalidValueError, StaleAuthenticationError
from sojourn.kinds.logins import rules
from sojourn.kinds.logins.lookup import AnyLookup, ForeignLookup, Lookup, OwnLookup
from sojourn.kinds.logins.model import (
    ON_CONFLICT,
    AuditEntry,
    DirectoryLike,
    Login,
    LoginPolicy,
    NewLogin,
    OnConflict,
    Presence,
)
from sojourn.kinds.logins.people import People
from sojourn.kinds.logins.reader import Reader, closed_error, unknown_token
from sojourn.kinds.logins.registry import Registry
from sojourn.kinds.logins.revocation import Revocation
from sojourn.kinds.logins.rules import KIND, Draft, Origin
from sojourn.kinds.logins.seats import Seats, Wanted, stale
from sojourn.kinds.logins.tokens import Token, check_own, mint
from sojourn.shell.unit import Unit, fingerprint, operation_key, perform, refused

_SWEPT: Final = 500
_NOBODY: Final = Origin()


class AsyncLogins:
    """Logins of one store and tenant: ``store.logins``. A login is one device of one user; its token signs the device in."""

    def __init__(
        self,
        unit: Unit,
        policy: LoginPolicy,
        directory: DirectoryLike | Literal[False] | None = None,
        *,
        origin: Origin = _NOBODY,
    ) -> None:
        self._unit = unit
        self._policy = policy
        self._directory: DirectoryLike | Literal[False] | None = directory
        self._origin = origin
        self._people = People(unit)
        self._reader = Reader(unit, policy, self._people)
        self._revocation = Revocation(unit, policy, self._people, self._reader)
        self._registry = Registry(unit, self._people, self._reader, self._revocation)
        self._lookup = _lookup(directory, self._registry)
        self._seats = Seats(unit, policy, self._people, self._reader, self._lookup)

    def acting(self, *, by: str | int | None = None, ip: str | None = None, user_agent: str | None = None) -> AsyncLogins:
        """The same logins, with every change noted in the history as done by somebody, from somewhere."""
        origin = rules.check_origin(by, ip, user_agent)
        return AsyncLogins(self._unit, self._policy, self._directory, origin=origin)

    # -- signing in ----------------------------------------------------------------------------------------------------

    async def create(
        self,
        user_id: str | int | None = None,
        *,
        username: str | None = None,
        client_type: str = "unknown",
        character_id: str | int | None = None,
        world_id: str | int | None = None,
        on_conflict: OnConflict = "refuse",
        token: str | Token | None = None,
        ip: str | None = None,
        user_agent: str | None = None,
        amr: Iterable[str] = (),
        metadata: Mapping[str, Json] | None = None,
        key: str | None = None,
    ) -> NewLogin:
        """A new login of a user (by id or by username) and its token, which is shown this once.

        With a character, the login is in the character's world. `BindingError`: somebody else's character, another world, a
        world without a character. `ConflictError`: another login holds it (``take_over``, ``share``). At the policy's
        limit others are ended, or `LimitError`. ``token`` brings a caller's own. Asking again with the same ``key`` gives
        the same login and a fresh token; the lost one answers for ``rotate_grace`` at most.
        """
        if (user_id is None) == (username is None):
            raise InvalidValueError("create takes a user_id or a username, one of them.")
        client, character = rules.check_client(client_type), _maybe(character_id, "character_id")
        world = _maybe(world_id, "world_id")
        if character is None and world is not None:
            raise BindingError(f"a world ({world!r}) without a character.", hint="Leave the world out, or name a character.")
        conflict = rules.check_choice(on_conflict, "on_conflict", ON_CONFLICT)
        own = None if token is None else check_own(token, self._policy.min_token_bits)
        origin = self._from(ip, user_agent)
        draft = Draft(client, None, origin, rules.check_amr(amr), rules.check_metadata(metadata, self._policy))
        operation = operation_key(key)
        user = await self._lookup.user_id(_text(username)) if user_id is None else check_key(user_id, "user_id")
        mark = fingerprint(
            "login.create", user, client, character, world, conflict, own is None, origin.document(), draft.amr, draft.metadata
        )
        made, secret = await self._seats.sign_in(Wanted(user, character, world, conflict), draft, own, operation, mark)
        return NewLogin(await self._login(made), secret)

    def _from(self, ip: str | None, user_agent: str | None) -> Origin:
        """From where a device signs in: as it is said, or as `acting` said."""
        given = rules.check_origin(None, ip, user_agent)
        return Origin(self._origin.by, given.ip or self._origin.ip, given.user_agent or self._origin.user_agent)

    # -- on every request ----------------------------------------------------------------------------------------------

    async def authenticate(self, token: str | Token) -> Login:
        """The login that a token signs in; one read, and a write at most every ``LoginPolicy.touch_every``.

        `NotFoundError`: nobody's token, whatever its shape. `ExpiredError`. `EndedError` with the reason: also when a token
        that was replaced is used after its grace, which ends the login (RFC 9700, 4.14.2).
        """
        session, now, place = await self._reader.presented(token)
        if session is None or place is None:
            raise unknown_token()
        if not rules.is_live(session, now):
            raise closed_error(session, now)
        if place and not rules.in_grace(session, place, now):
            raise await self._reused(session)
        if not rules.is_touch_due(session, now, self._policy):
            return rules.login_of(session, now)
        return await self._touched(session)

    async def _touched(self, session: Session) -> Login:
        """Note the activity; whoever ended it meanwhile has the last word."""
        answer = await self._unit.attempt(session.home, rules.touch(session, self._policy))
        found = await self._reader.session(session.id) if answer.refusal is not None else None
        if found is not None and found.session is not None:
            raise closed_error(found.session, answer.now)
        return rules.login_of(rules.active_at(session, answer.now, answer.moved[0].deadline), answer.now)

    async def _reused(self, session: Session) -> Exception:
        """A replaced token came back after its grace: somebody has a copy. Nobody goes on with this login."""
        await self._revocation.one(session.id, "reuse", self._origin, None)
        found = await self._reader.session(session.id)
        assert found.session is not None  # noqa: S101  # raised otherwise
        return closed_error(found.session, found.now)

    async def find(self, token: str | Token) -> Login | None:
        """The login of a token, without touching it; its ``state`` says expired or ended. None for nobody's token."""
        session, now, place = await self._reader.presented(token)
        if session is None or place is None:
            return None
        return rules.login_of(session, now) if rules.in_grace(session, place, now) else None

    async def get(self, id: str) -> Login | None:
        """A login by its id, without touching it; None when there is none."""
        found = await self._unit.find(id, KIND)
        return None if found.session is None else rules.login_of(found.session, found.now)

    async def touch(self, id: str, *, key: str | None = None) -> bool:
        """Note activity now, however recent the last; False when the login is not live (nothing is revived)."""
        operation, mark = operation_key(key), fingerprint("login.touch", id)
        found = await self._unit.find(id, KIND)
        if found.session is None:
            return False
        touch = rules.touch(found.session, self._policy)
        answer = await self._unit.attempt(found.session.home, touch, key=operation, fingerprint=mark)
        if answer.refusal is not None and answer.refusal.reason == "key":
            raise refused(answer.refusal, KIND)
        return answer.refusal is None

    # -- characters ----------------------------------------------------------------------------------------------------

    async def bind_character(
        self,
        id: str,
        character_id: str | int,
        *,
        world_id: str | int | None = None,
        on_conflict: OnConflict = "refuse",
        key: str | None = None,
    ) -> Login:
        """Have a login hold a character of its user, in the character's world; errors are those of `create`.

        ``take_over``: logins that hold it have the account only from that commit on, with an event ``unbound`` whose reason
        is ``taken_over``. ``share``: all go on holding it.
        """
        character, world = check_key(character_id, "character_id"), _maybe(world_id, "world_id")
        conflict = rules.check_choice(on_conflict, "on_conflict", ON_CONFLICT)
        mark = fingerprint("login.bind", id, character, world, conflict)
        await self._seats.bind(id, character, world, conflict, self._origin, operation_key(key), mark)
        return await self._login(id)

    async def unbind_character(self, id: str, *, key: str | None = None) -> Login:
        """Have a login hold no character any more. Idempotent."""
        mark = fingerprint("login.unbind", id)

        def change(session: Session, now: int) -> Write | None:
            del now
            if "character" not in rules.data_of(session):
                return None
            return rules.unbound(session, self._origin, guard=Guard(timely=True, version=session.version))

        return await self._changed(id, change, operation_key(key), mark, idempotent=True)

    # -- tokens and proofs ---------------------------------------------------------------------------------------------

    async def rotate(self, token: str | Token, *, reauthenticated: bool = False, key: str | None = None) -> NewLogin:
        """The same login under a new token; do it at every change of privilege.

        The token before answers for ``rotate_grace`` (with ``reauthenticated`` not at all); used later it ends the login.
        Asking again with the same ``key`` is no reuse: it gives another fresh token. ``reauthenticated``: the user has just
        proved who they are, so both timeouts begin anew.
        """
        anew, operation = bool(reauthenticated), operation_key(key)

        async def step() -> tuple[str, Token, str] | Refusal:
            session, now, place = await self._reader.presented(token)
            if session is None or place is None:
                raise unknown_token()
            mark = fingerprint("login.rotate", session.id, anew)
            again = await self._unit.replayed(session, operation, mark, with_entry=True)
            if not rules.is_live(session, now):
                raise closed_error(session, now)
            secret, given = mint(session.id), rules.kept_digests(session)[place]
            if again is not None:
                return session.id, secret, given
            if not rules.in_grace(session, place, now):
                raise await self._reused(session)
            digest = rules.hasher(self._policy).digest(str(secret))
            write = rules.rotated(session, now, digest, self._origin, self._policy, anew=anew)
            answer = await self._unit.attempt(session.home, write, key=operation, fingerprint=mark)
            if answer.refusal is not None:
                return stale(answer.refusal, session.id)
            return session.id, secret, given if answer.replayed else ""

        id, secret, again = await perform(step, KIND)
        if again:
            secret = await self._seats.reissue(id, self._origin, again)
        return NewLogin(await self._login(id), secret)

    async def step_up(self, id: str, amr: Iterable[str], *, key: str | None = None) -> Login:
        """Note that the user has proved who they are once more, by these methods; `rotate` the token then.

        The idle and the absolute deadline stay: only ``rotate(…, reauthenticated=True)`` renews them.
        """
        methods = rules.check_amr(amr)
        if not methods:
            raise InvalidValueError("step_up takes at least one method.", hint="For example ['otp'] (RFC 8176).")

        def change(session: Session, now: int) -> Write:
            del now
            return rules.stepped_up(session, methods, self._origin)

        return await self._changed(id, change, operation_key(key), fingerprint("login.step_up", id, methods))

    async def require_fresh(self, login: Login, max_age: timedelta) -> None:
        """`StaleAuthenticationError` unless the user proved who they are within ``max_age``."""
        if not isinstance(login, Login):
            raise InvalidValueError(f"require_fresh takes a Login, not {type(login).__name__}.")
        age = await self._unit.engine.now() - to_micros(login.authenticated_at)
        if age > span(max_age, "max_age"):
            raise StaleAuthenticationError(
                f"the user signed in {timedelta(microseconds=age)} ago; this wants it within {max_age}.",
                hint="Let them prove who they are again, then step_up() and rotate().",
                record=login,
            )

    # -- ending --------------------------------------------------------------------------------------------------------

    async def revoke(self, id: str, *, reason: str = "revoked", key: str | None = None) -> bool:
        """End a login for good; False when it was not live (or is not there). It never answers again."""
        return await self._revocation.one(id, rules.check_reason(reason), self._origin, operation_key(key))

    async def revoke_token(self, token: str | Token, *, reason: str = "revoked", key: str | None = None) -> bool:
        """End the login of a token, for example at sign-out; False for nobody's token."""
        why, operation = rules.check_reason(reason), operation_key(key)
        session, _, place = await self._reader.presented(token)
        if session is None or place is None:
            return False
        return await self._revocation.one(session.id, why, self._origin, operation)

    async def revoke_user(
        self, user_id: str | int, *, keep: str | None = None, reason: str = "revoked", key: str | None = None
    ) -> int:
        """End all logins that a user has now, but for the id ``keep``; how many were live.

        Up to 500 in one commit; more in several, and finished by a sweep if they are cut short.
        """
        user, why = check_key(user_id, "user_id"), rules.check_reason(reason)
        return await self._revocation.of_user(user, _maybe(keep, "keep"), why, self._origin, operation_key(key))

    async def revoke_character(self, character_id: str | int, *, reason: str = "revoked", key: str | None = None) -> int:
        """End all logins that hold a character; how many were live. Idempotent."""
        operation = operation_key(key)
        character, why = check_key(character_id, "character_id"), rules.check_reason(reason)

        async def end() -> int:
            return await self._revocation.of_character(character, why, self._origin)

        mark = fingerprint("login.revoke_character", character, why)
        return await self._unit.once(rules.character_tag(character), operation, mark, end, KIND)

    async def revoke_all(self, *, reason: str = "revoked", key: str | None = None) -> int:
        """End every login there is when this begins, in commits of at most 500; how many were live. Idempotent."""
        operation, why = operation_key(key), rules.check_reason(reason)

        async def end() -> int:
            return await self._revocation.all(why, self._origin)

        return await self._unit.once(KIND, operation, fingerprint("login.revoke_all", why), end, KIND)

    # -- who is there --------------------------------------------------------------------------------------------------

    async def list(
        self,
        *,
        user_id: str | int | None = None,
        character_id: str | int | None = None,
        world_id: str | int | None = None,
        active_only: bool = True,
        limit: int = 50,
        after: str | None = None,
    ) -> Page[Login]:
        """A page of logins, newest activity first (as exactly as ``touch_every``): the device list. Never a token."""
        owner, character = _maybe(user_id, "user_id"), _maybe(character_id, "character_id")
        world, limit = _maybe(world_id, "world_id"), page_limit(limit)
        tag = None if world is None else rules.world_tag(world)
        tag = tag if character is None else rules.character_tag(character)
        position = _position(after)
        states: tuple[State, ...] = OPEN_STATES if active_only else READABLE_STATES
        now = await self._unit.engine.now()
        found: builtins.list[Session] = []
        while len(found) <= limit:
            query = SessionQuery(self._unit.tenant, (KIND,), states, owner, tag, limit=limit + 1, after=position)
            rows = await self._unit.engine.list(query)
            found += [row for row in rows if _is_wanted(row, now, world, active_only=active_only)]
            if len(rows) <= limit:
                break
            position = (rows[-1].bucket, rows[-1].id)
        last = found[limit - 1] if len(found) > limit else None
        cursor = None if last is None else make_cursor(last.bucket, last.id)
        return Page([rules.login_of(row, max(now, row.mark)) for row in found[:limit]], cursor)

    async def count_active(self, *, world_id: str | int | None = None) -> int:
        """How many logins are live and were active within ``LoginPolicy.active_window``, in a world or at all."""
        world, since = _maybe(world_id, "world_id"), await self._reader.since()
        tag = None if world is None else rules.world_tag(world)
        return await self._unit.engine.count(self._unit.tenant, KIND, tag=tag, active_after=since)

    async def active_characters(self, *, world_id: str | int, within: timedelta | None = None) -> builtins.list[str]:
        """The names of the characters that live logins hold in a world, each once, sorted; ``within``: active so recently."""
        window = None if within is None else span(within, "within")
        held: dict[str, str] = {}
        async for session in self._reader.in_world(check_key(world_id, "world_id"), window):
            character = rules.data_of(session)["character"]
            held[character["id"]] = character["name"]
        return sorted(set((await self._lookup.names(held)).values()))

    async def online(self, user_id: str | int) -> Presence:
        """Whether a user is there, in which worlds, and when they last signed in."""
        return await self._reader.presence(check_key(user_id, "user_id"))

    # -- metadata and history ------------------------------------------------------------------------------------------

    async def update(
        self, id: str, set: Mapping[str, Json] | None = None, unset: Iterable[str] = (), *, key: str | None = None
    ) -> Login:
        """Patch the metadata key by key inside the commit: nothing is lost when others patch other keys."""
        gone = unset if isinstance(unset, (str, bytes)) or not isinstance(unset, Iterable) else builtins.list(unset)
        rules.check_patch(set, gone, {}, self._policy)

        def change(session: Session, now: int) -> Write:
            del now
            known = rules.data_of(session).get("metadata", {})
            put, out = rules.check_patch(set, gone, known, self._policy)
            entry = rules.audit("updated", self._origin, keys=sorted({path[-1] for path in (*(p for p, _ in put), *out)}))
            return Write(session.id, rules.OPEN, (entry,), set=put, unset=out)

        return await self._changed(id, change, operation_key(key), fingerprint("login.update", id, set, gone))

    async def history(self, id: str, *, limit: int = 50, after: str | None = None) -> Page[AuditEntry]:
        """A page of what happened to a login, oldest first: what, when, by whom, from where."""
        limit, start = page_limit(limit), 0 if after is None else int(read_cursor(after, int)[0])
        found = await self._reader.history(id, start, limit + 1)
        entries = [rules.audit_of(entry) for entry in found.entries]
        more = len(entries) > limit
        return Page(entries[:limit], make_cursor(entries[limit - 1].sequence) if more else None)

    # -- cleaning up -----------------------------------------------------------------------------------------------------

    async def delete_expired(self, *, key: str | None = None) -> int:
        """Delete every login that has expired, in bounded commits; how many."""

        async def delete() -> int:
            total = 0
            while done := await self._revocation.expired(_SWEPT):
                total += done
            return total

        return await self._unit.once(KIND, operation_key(key), fingerprint("login.delete_expired"), delete, KIND)

    async def clear(self, *, key: str | None = None) -> int:
        """Delete every login there is when this begins, with its history, in bounded commits; how many."""
        return await self._unit.once(KIND, operation_key(key), fingerprint("login.clear"), self._revocation.everything, KIND)

    # -- steps -----------------------------------------------------------------------------------------------------------

    async def _login(self, id: str) -> Login:
        found = await self._reader.session(id)
        assert found.session is not None  # noqa: S101  # raised otherwise
        return rules.login_of(found.session, found.now)

    async def _changed(
        self,
        id: str,
        change: Callable[[Session, int], Write | None],
        operation: str | None,
        mark: str,
        *,
        idempotent: bool = False,
    ) -> Login:
        """Change a live login by what a rule makes of it; None, of an ``idempotent`` one, changes nothing."""

        async def step() -> bool | Refusal:
            found = await self._reader.session(id)
            session = found.session
            assert session is not None  # noqa: S101  # raised otherwise
            if await self._unit.replayed(session, operation, mark, with_entry=True) is not None:
                return True
            if idempotent and await self._unit.asked(session.home, operation, mark, KIND) is not None:
                return True  # it had nothing to change
            if not rules.is_live(session, found.now):
                raise closed_error(session, found.now)
            write: Write | Touch | None = change(session, found.now)
            if write is None:
                if operation is None:
                    return True
                # Nothing moves but the activity; refused when it has ended meanwhile, as a call with the same id was told.
                write = Touch(session.id, rules.bucket_of(self._policy))
            answer = await self._unit.attempt(session.home, write, key=operation, fingerprint=mark)
            return stale(answer.refusal, id) if answer.refusal is not None else True

        await perform(step, KIND)
        return await self._login(id)


def _lookup(directory: DirectoryLike | Literal[False] | None, registry: Registry) -> Lookup:
    if directory is None:
        return OwnLookup(registry)
    return AnyLookup() if directory is False else ForeignLookup(directory)


def _maybe(value: str | int | None, name: str) -> str | None:
    return None if value is None else check_key(value, name)


def _text(username: str | None) -> str:
    return check_key(username, "username")


def _position(after: str | None) -> tuple[int, str] | None:
    if after is None:
        return None
    bucket, last = read_cursor(after, int, str)
    return int(bucket), str(last)


def _is_wanted(row: Session, now: int, world: str | None, *, active_only: bool) -> bool:
    if world is not None and row.data.get("world") != world:
        return False
    return not active_only or rules.is_live(row, max(now, row.mark))
