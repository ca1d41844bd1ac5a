"""Reading logins: by token, by id, lists and counts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from sojourn.core.query import EntryQuery, SessionOrder, SessionQuery
from sojourn.core.session import Session, Snapshot, State
from sojourn.core.times import maybe_datetime, span
from sojourn.errors import EndedError, ExpiredError, NotFoundError, SojournError
from sojourn.kinds.logins import rules
from sojourn.kinds.logins.model import LoginPolicy, Presence
from sojourn.kinds.logins.people import People
from sojourn.kinds.logins.rules import KIND
from sojourn.kinds.logins.tokens import Hasher, Presented, Token, match
from sojourn.shell.unit import Unit

PAGE: Final = 500


def unknown_token() -> NotFoundError:
    """Nobody's token. It is not repeated: an error ends in logs."""
    return NotFoundError("no login answers to this token.", hint="Sign in.")


def missing(id: object) -> NotFoundError:
    """There is no such login. What is not shaped like an id may be a token, and is not repeated either."""
    name = repr(id) if isinstance(id, str) and len(id) == 26 else "of this id (an id has 26 characters; a token is none)"
    return NotFoundError(f"there is no login {name}.", hint="Check the id and the tenant.")


def closed_error(session: Session, now: int) -> SojournError:
    """Why a login that is there does not answer."""
    login = rules.login_of(session, now)
    if login.state == "expired":
        return ExpiredError(f"login {session.id} has expired.", hint="Sign in again.", record=login)
    return EndedError(f"login {session.id} has ended: {login.reason}.", hint="Sign in again.", record=login)


class Reader:
    """Reads logins of one store and tenant."""

    def __init__(self, unit: Unit, policy: LoginPolicy, people: People) -> None:
        self._unit = unit
        self._policy = policy
        self._people = people
        self._hasher: Hasher = rules.hasher(policy)

    # -- one ---------------------------------------------------------------------------------------------------------

    async def session(self, id: str) -> Snapshot:
        """A login by its id; `NotFoundError` when there is none."""
        found = await self._unit.find(id, KIND)
        if found.session is None:
            raise missing(id)
        return found

    async def live(self, id: str) -> tuple[Session, int]:
        """A login that is neither ended nor expired, and the time."""
        found = await self.session(id)
        session = found.session
        assert session is not None  # noqa: S101  # raised otherwise
        if not rules.is_live(session, found.now):
            raise closed_error(session, found.now)
        return session, found.now

    async def presented(self, token: str | Token) -> tuple[Session | None, int, int | None]:
        """The login of a token, the time, and which of its tokens it is (0: the current one); (None, …) for nobody's.

        One read for an issued token. Known or unknown, the same is hashed and compared.
        """
        shown = self._hasher.read(token)
        unit = self._unit
        found = await (self._foreign(shown) if shown.id is None else unit.engine.load(unit.tenant, shown.id))
        session = found.session
        if session is not None and (session.kind != KIND or session.state == "pending"):
            session = None
        place = match(shown, rules.kept_digests(session))
        return (None if place is None else session), found.now, place

    async def _foreign(self, shown: Presented) -> Snapshot:
        """The login of a caller's own token."""
        if shown.foreign:
            for digest in shown.digests:
                key = rules.token_key(digest)
                found = await self._unit.follow(key.home, key.namespace, key.key)
                if found.session is not None and found.session.kind == KIND and found.session.state != "pending":
                    return found
        return Snapshot(0, None)

    # -- several -----------------------------------------------------------------------------------------------------

    async def pages(
        self,
        *,
        owner: str | None = None,
        tag: str | None = None,
        states: tuple[State, ...] = ("active",),
        order: SessionOrder = "created",
        size: int = PAGE,
    ) -> AsyncIterator[list[Session]]:
        """Logins, page by page; in the order of their making what is changed on the way is neither missed nor met again."""
        after: tuple[int, str] | None = None
        while True:
            query = SessionQuery(self._unit.tenant, (KIND,), states, owner, tag, order, limit=size, after=after)
            rows = await self._unit.engine.list(query)
            if rows:
                yield rows
            if len(rows) < size:
                return
            after = (rows[-1].bucket, rows[-1].id)

    async def open(self, *, owner: str | None = None, tag: str | None = None) -> list[Session]:
        """All logins that nobody has ended, expired ones included."""
        return [row async for page in self.pages(owner=owner, tag=tag) for row in page]

    async def history(self, id: str, after: int, limit: int) -> Snapshot:
        """A login with some of its audit entries."""
        found = await self._unit.find(id, KIND, EntryQuery(((after + 1, after + limit),), (rules.AUDIT,)))
        if found.session is None:
            raise missing(id)
        return found

    # -- who is there --------------------------------------------------------------------------------------------------

    async def since(self) -> int:
        """Where the active window begins, as exactly as activity is known."""
        start = await self._unit.engine.now() - span(self._policy.active_window)
        return start - start % rules.bucket_of(self._policy)

    async def presence(self, user: str) -> Presence:
        """Where a user is."""
        person, since = await self._people.person(user), await self.since()
        rows = [row for row in await self.open(owner=user) if rules.is_live(row, person.now) and row.bucket >= since]
        worlds = {rules.data_of(row)["world"] for row in rows if "world" in row.data}
        last = None if person.session is None else person.session.counters.get("last_login")
        return Presence(bool(rows), bool(worlds), tuple(sorted(worlds)), maybe_datetime(last))

    async def in_world(self, world: str, within: int | None) -> AsyncIterator[Session]:
        """Live logins in a world, newest activity first; ``within`` so many microseconds."""
        now = await self._unit.engine.now()
        since = 0 if within is None else now - within
        since -= since % rules.bucket_of(self._policy)
        seen: set[str] = set()
        async for page in self.pages(tag=rules.world_tag(world), order="activity", size=1000):
            for row in page:
                if row.bucket < since:
                    return
                if rules.is_live(row, now) and row.id not in seen:  # touched meanwhile, it may be met again
                    seen.add(row.id)
                    yield row
