"""All saved games: pages of them, join codes, and what removes a game or a person for good."""

from __future__ import annotations

import builtins
import secrets
from dataclasses import dataclass, replace
from datetime import timedelta
from hashlib import sha256
from typing import Any, Final

from sojourn.core.batch import Delete, Guard, Path, Point, Refusal, Write
from sojourn.core.codec import Json, check_key, check_number
from sojourn.core.ids import ALPHABET
from sojourn.core.query import CLOSED_STATES, READABLE_STATES, Page, SessionQuery, make_cursor, page_limit, read_cursor
from sojourn.core.session import Session
from sojourn.core.times import span
from sojourn.errors import ConflictError, ExpiredError, InvalidValueError, LimitError, NotFoundError
from sojourn.kinds.games import places, record, roster
from sojourn.kinds.games.model import Game
from sojourn.kinds.games.placement import Operation
from sojourn.kinds.games.reader import Reader
from sojourn.kinds.games.record import KIND, View
from sojourn.shell.unit import Unit, perform

STATES: Final = ("lobby", "active", "paused", "ended")
CODE_LENGTH: Final = 8
CODES: Final = 100
"""Join codes that a game may have at once."""
_PAGE: Final = 200


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which games a list has, checked."""

    channel: str | None
    state: str | None
    name: str | None
    order: str

    def tag(self) -> str | None:
        """The one tag that an index answers by; what it does not say is looked at row by row."""
        if self.name is not None:
            return f"name:{self.name}"
        if self.channel is not None:
            return f"channel:{self.channel}" if self.state is None else f"in:{self.channel}/{self.state}"
        return None if self.state is None else f"state:{self.state}"

    def admits(self, game: Game) -> bool:
        """Whether a row that the tag has found is one of them."""
        if game.damaged:
            return True
        return self.state in (None, game.state) and self.channel in (None, game.channel_id or game.last_channel_id)


def check_wanted(channel: object, state: object, name: object, order: object) -> Wanted:
    """The filter of a list."""
    if state is not None and state not in STATES:
        raise InvalidValueError(f"there is no state {state!r}.", hint=f"States: {', '.join(STATES)}.")
    if order not in ("name", "activity"):
        raise InvalidValueError(f"order must be 'name' or 'activity', got {order!r}.")
    where = None if channel is None else check_key(channel, "channel_id")
    title = None if name is None else record.fold(places.check_name(name))
    return Wanted(where, None if state is None else str(state), title, str(order))


class Lobby:
    """Lists, invites to and removes the games of one store and tenant."""

    def __init__(self, unit: Unit, reader: Reader) -> None:
        self._unit = unit
        self._reader = reader

    # -- lists -----------------------------------------------------------------------------------------------------

    async def page(self, wanted: Wanted, limit: int, after: str | None) -> Page[Game]:
        """One page; a record that is damaged is one of its rows, and hides no other."""
        page_limit(limit)
        if wanted.order == "name":
            return await self._by_name(wanted, limit, after)
        position: tuple[int, str] | None = None
        if after is not None:
            bucket, last = read_cursor(after, int, str)
            position = (int(bucket), str(last))
        found: builtins.list[tuple[Session, Game]] = []
        while len(found) <= limit:
            rows = await self._rows(wanted, position, limit + 1)
            now = await self._unit.engine.now() if rows else 0
            games = [(row, record.shown_or_damaged(row, now)) for row in rows]
            found.extend(pair for pair in games if wanted.admits(pair[1]))
            if len(rows) <= limit:
                break
            position = (rows[-1].bucket, rows[-1].id)
        last_row = found[limit - 1][0] if len(found) > limit else None
        cursor = None if last_row is None else make_cursor(last_row.bucket, last_row.id)
        return Page([game for _, game in found[:limit]], cursor)

    async def _rows(self, wanted: Wanted, after: tuple[int, str] | None, limit: int) -> builtins.list[Session]:
        """The next rows; a game that was closed as a session has kept the tags it had, so those are looked for as well."""
        query = SessionQuery(
            self._unit.tenant, (KIND,), READABLE_STATES, tag=wanted.tag(), order="activity", limit=limit, after=after
        )
        rows = await self._unit.engine.list(query)
        if wanted.state != "ended":
            return rows
        closed = await self._unit.engine.list(replace(query, states=CLOSED_STATES, tag=replace(wanted, state=None).tag()))
        both = {row.id: row for row in (*rows, *closed)}
        return sorted(both.values(), key=lambda row: (row.bucket, row.id), reverse=True)[:limit]

    async def _by_name(self, wanted: Wanted, limit: int, after: str | None) -> Page[Game]:
        """By name every game is looked at: no index has names in order."""
        begin = ("", "") if after is None else tuple(str(value) for value in read_cursor(after, str, str))
        found: builtins.list[tuple[tuple[str, str], Game]] = []
        position: tuple[int, str] | None = None
        while True:
            rows = await self._rows(wanted, position, _PAGE)
            now = await self._unit.engine.now() if rows else 0
            for row in rows:
                game = record.shown_or_damaged(row, now)
                key = (record.fold(game.name), game.id)
                if wanted.admits(game) and key > begin:
                    found.append((key, game))
            found = sorted(found, key=lambda pair: pair[0])[: limit + 1]
            if len(rows) < _PAGE:
                break
            position = (rows[-1].bucket, rows[-1].id)
        cursor = make_cursor(*found[limit - 1][0]) if len(found) > limit else None
        return Page([game for _, game in found[:limit]], cursor)

    # -- join codes ------------------------------------------------------------------------------------------------

    async def invite(self, view: View, uses: int | None, ttl: timedelta | None, operation: str | None) -> str:
        """A new join code. Of the code only a digest is stored."""
        left = None if uses is None else check_number(uses, "uses", 1)
        life = None if ttl is None else span(ttl, "ttl")
        mark = None if operation is None else digest(operation)
        while True:
            code = "".join(secrets.choice(ALPHABET) for _ in range(CODE_LENGTH))
            key = record.code_key(digest(code))
            found = await self._unit.follow(key.home, key.namespace, key.key)
            if found.alias is not None and found.alias.target is None:
                break
        epoch = found.alias.epoch

        async def step() -> bool | Refusal:
            fresh = await self._reader.load(view.id)
            kept = {name: one for name, one in _live(fresh).items() if mark is None or one.get("mark") != mark}
            if len(kept) >= CODES:
                raise LimitError(f"game {view.id} has {CODES} join codes.", hint="They run out with their ttl.")
            kept[key.key] = {"uses": left, "until": None if life is None else fresh.now + life, "mark": mark}
            write = Write(fresh.id, Guard(version=fresh.session.version), set=((("invites",), kept),), change="invited")
            answer = await self._unit.attempt(fresh.session.home, write)
            return answer.refusal or True

        await perform(step, KIND)
        await self._unit.commit(key.home, Point(key, view.id, epoch))
        return code

    async def by_code(self, code: str) -> tuple[View, str]:
        """The game of a join code, and how the game knows the code."""
        given = check_key(code, "code").strip().upper().replace("O", "0").replace("I", "1").replace("L", "1")
        key = record.code_key(digest(given))
        found = await self._unit.follow(key.home, key.namespace, key.key)
        target = None if found.alias is None else found.alias.target
        view = None if target is None else await self._reader.find(target)
        if view is None or key.key not in view.data.get("invites", {}):
            raise NotFoundError("there is no such join code.", hint="Ask for a new one.")
        return view, key.key

    async def join(self, view: View, kept: str, who: roster.Joining, operation: Operation) -> View:
        """Join by a code: one of its uses is taken in the same commit, unless they are in the roster already."""

        async def step() -> View | Refusal:
            fresh = await self._reader.load(view.id)
            if who.role != "player":
                fresh = await self._reader.with_activity(fresh)
            write = roster.join(fresh, who)
            if who.user not in fresh.players:
                write = _used(fresh, kept, write)
            answer = await self._unit.attempt(fresh.session.home, write, key=operation.key, fingerprint=operation.mark)
            if answer.replayed:
                return await self._reader.load(view.id)
            return answer.refusal or record.after(fresh, write, answer.moved[0], answer.now)

        return await perform(step, KIND)

    # -- removing --------------------------------------------------------------------------------------------------

    async def remove(self, game_id: str) -> Session | None:
        """Remove a game with all that names it, in whatever home; as it was, or None when it was gone."""

        async def step() -> builtins.list[Session] | Refusal:
            session = (await self._unit.find(game_id, KIND)).session
            if session is None:
                return []
            gone = Delete(session.id, Guard(open=False, version=session.version))
            answer = await self._unit.attempt(session.home, gone)
            if answer.refusal is not None and answer.refusal.reason == "missing":  # somebody else has removed it since
                return []
            return answer.refusal or [session]

        found = await perform(step, KIND)
        for alias in await self._unit.engine.aliases(self._unit.tenant, target=game_id):
            await self._unit.attempt(alias.key.home, Point(alias.key, None, alias.epoch))
        return next(iter(found), None)

    async def forget(self, user: str) -> int:
        """Take a person out of every roster, the numbers of past ones included; how many games had them."""
        count = 0
        position: tuple[int, str] | None = None
        while True:
            query = SessionQuery(
                self._unit.tenant,
                (KIND,),
                READABLE_STATES,
                tag=roster.player_tag(user),
                order="created",
                limit=_PAGE,
                after=position,
            )
            rows = await self._unit.engine.list(query)
            for row in rows:
                await self._forget_in(row.id, user)
                count += 1
            if len(rows) < _PAGE:
                return count
            position = (0, rows[-1].id)

    async def _forget_in(self, id: str, user: str) -> None:
        async def step() -> bool | Refusal:
            view = await self._reader.find(id)
            if view is None:
                return True
            view = await self._reader.with_activity(view)
            write = _forgotten(view, user)
            answer = await self._unit.attempt(view.session.home, write)
            return answer.refusal or True

        await perform(step, KIND)


def digest(code: str) -> str:
    """How a join code is stored."""
    return sha256(code.encode()).hexdigest()[:32]


def _live(view: View) -> dict[str, Any]:
    """The join codes that are still good."""
    kept: dict[str, Any] = view.data.get("invites", {})
    return {name: code for name, code in kept.items() if _why_not(code, view.now) is None}


def _why_not(code: dict[str, Json], now: int) -> str | None:
    if code["until"] is not None and now >= code["until"]:
        return "expired"
    return "used" if code["uses"] is not None and code["uses"] < 1 else None


def _used(view: View, kept: str, write: Write) -> Write:
    code = view.data.get("invites", {}).get(kept)
    if code is None:
        raise NotFoundError("there is no such join code.", hint="Ask for a new one.")
    why = _why_not(code, view.now)
    if why == "expired":
        raise ExpiredError("the join code has run out.", hint="Ask for a new one.")
    if why == "used":
        raise ConflictError("the join code was used up.", hint="Ask for a new one.")
    if code["uses"] is None:
        return write
    path: Path = ("invites", kept, "uses")
    return replace(write, set=(*write.set, (path, code["uses"] - 1)))


def _forgotten(view: View, user: str) -> Write:
    """Out of the roster and its past; turns name players by numbers, which mean nothing then."""
    past = tuple(("past", number) for number, name in view.data["past"].items() if name == user)
    if user not in view.players:
        return Write(
            view.id,
            Guard(open=False, version=view.session.version),
            unset=past,
            untag=(roster.player_tag(user),),
            change="forgotten",
        )
    write = roster.leave(view, user, change="forgotten")
    kept = tuple(item for item in write.set if item[0][0] != "past")
    guard = Guard(open=False, version=view.session.version)
    return replace(write, guard=guard, set=kept, unset=(*write.unset, *past), untag=(roster.player_tag(user),))
