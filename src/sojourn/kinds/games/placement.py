"""Which game a channel shows: one alias in the channel's home, moved by compare-and-set.

Within a home whatever happens is one commit. With a game that lives in another home it is a sequence, and its intent is
stored first: the game that comes says where it is going, the one that goes says who takes its place; then the alias moves;
then what came begins. Whoever reads the channel after a crash finishes what was begun (`settle`), and a game is shown only
where alias and record agree, so at each moment a channel shows one game or none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from sojourn.core.batch import Answer, Change, Create, Delete, Guard, Point, Refusal, Write
from sojourn.core.ids import id_of, parts_of
from sojourn.core.session import Alias
from sojourn.errors import ConflictError, NotFoundError, UnavailableError
from sojourn.kinds.games import places, record
from sojourn.kinds.games.model import GamePolicy
from sojourn.kinds.games.reader import Reader
from sojourn.kinds.games.record import KIND, View, after, view_of
from sojourn.shell.unit import STALE, TRIES, Unit, fingerprint, refused

AGAIN: Final = Refusal("version")


@dataclass(frozen=True, slots=True)
class Spot:
    """A channel as of one read: its alias, and the game it shows, if any."""

    channel: str
    alias: Alias
    view: View | None
    now: int


@dataclass(frozen=True, slots=True)
class NewGame:
    """A game to be booted, checked."""

    id: str
    name: str
    title: str
    policy: GamePolicy
    seed: int


@dataclass(frozen=True, slots=True)
class Operation:
    """A caller's operation id with its fingerprint."""

    key: str | None = None
    mark: str = ""


_UNKEYED: Final = Operation()
_OUT: Final = "out"


class Placement:
    """Shows, shelves and ends the games of one store and tenant."""

    def __init__(self, unit: Unit, reader: Reader) -> None:
        self._unit = unit
        self._reader = reader

    # -- reading ---------------------------------------------------------------------------------------------------

    async def spot(self, channel: str) -> Spot:
        """What a channel shows; what a crash has left half done is finished first."""
        for _ in range(TRIES):
            found = await self._unit.follow(channel, record.SHOWN, channel)
            alias = found.alias
            assert alias is not None  # noqa: S101  # follow always gives one
            if alias.target is None:
                return Spot(channel, alias, None, found.now)
            if found.session is None:
                found = await self._unit.find(alias.target, KIND)
            if found.session is None or found.session.kind != KIND:
                return Spot(channel, alias, None, found.now)
            view = view_of(found.session, found.now)
            if view.data["channel"] == channel:
                over = view.place == "ended"  # closed by somebody who did not take it off its channel
                return Spot(channel, alias, None if over else view, found.now)
            if not await self._settled(channel, alias, view):
                return Spot(channel, alias, None, found.now)
        raise UnavailableError(f"the channel {channel!r} was changed by others {TRIES} times in a row.", hint="Try again.")

    async def current(self, channel: str) -> View:
        """The game that a channel shows; `NotFoundError` when it shows none."""
        view = (await self.spot(channel)).view
        if view is None:
            raise NotFoundError(f"the channel {channel!r} shows no game.", hint="boot() starts one, resume() brings one back.")
        return view

    async def last(self, channel: str) -> str:
        """The game that a channel showed before what it shows now, which may be nothing."""
        spot = await self.spot(channel)
        before = [] if spot.view is None else spot.view.data["before"]
        found: str | None = spot.alias.previous if spot.alias.target is None else before[0][0] if before else None
        if found is None:
            raise NotFoundError(f"the channel {channel!r} shows no game.", hint="list(channel_id=…) has those it has shown.")
        return found

    async def _settled(self, channel: str, alias: Alias, view: View) -> bool:
        """Finish what was begun with a channel; False when there is nothing to finish."""
        if view.data.get("coming") == channel:
            await self._begin(view, channel, None)
            return True
        goes = view.data.get("going")
        if goes is None or goes[0] != channel:
            return False
        following = await self._unit.find(goes[1], KIND)
        if following.session is None:
            return False
        comes = view_of(following.session, following.now)
        if comes.data.get("coming") != channel:
            return False
        await self._move(Spot(channel, alias, None, view.now), comes, None, Operation())
        return True

    # -- showing ---------------------------------------------------------------------------------------------------

    async def boot(self, spot: Spot, new: NewGame, operation: Operation) -> str | Refusal:
        """Make a game and show it where ``spot`` showed nothing, or in the place of what it showed."""
        out = spot.view
        if out is not None and out.id == new.id:  # this operation began it, and whoever came next has finished it
            return await self.finished(spot.channel, out, operation)
        if out is not None and out.session.home != spot.channel:
            create = places.create(new.id, new.name, spot.channel, new.title, new.policy, new.seed, [], shown=False)
            answer = await self._unit.attempt(spot.channel, create, key=_making(operation), fingerprint=operation.mark)
            if answer.refusal is not None and answer.refusal.reason != "present":
                return answer.refusal
            return await self.show(spot, await self._reader.load(made_by(answer) or new.id), operation)
        before = await self._before(spot, out)
        create = places.create(new.id, new.name, spot.channel, new.title, new.policy, new.seed, before)
        changes: list[Change] = [create, Point(spot.alias.key, new.id, spot.alias.epoch)]
        if out is not None:
            changes.append(places.shelved(out))
        answer = await self._commit(spot.channel, changes, operation, new.id, out)
        if answer.refusal is not None and answer.refusal.reason == "present":  # this call has made it in an earlier attempt
            return await self.show(spot, await self._reader.load(new.id), operation)
        return answer.refusal or placed(answer)[0] or new.id

    async def begun(self, channel: str, new: NewGame, operation: Operation) -> NewGame:
        """The game to boot: what a call with this operation id has made already, before it came to show it."""
        made = await self._unit.asked(channel, _making(operation), operation.mark, KIND)
        return new if made is None else replace(new, id=made.moved[0].id)

    async def discard(self, id: str) -> None:
        """Remove a game that was made to be shown, where a call like this one has shown another."""
        view = await self._reader.find(id)
        if view is not None and view.data.get("coming") is not None:  # it was never shown
            await self._unit.attempt(view.session.home, _gone(view))

    async def show(self, spot: Spot, game: View, operation: Operation) -> str | Refusal:
        """Show a saved game where ``spot`` showed nothing, or in the place of what it showed."""
        out, home = spot.view, game.session.home
        if game.data["channel"] == spot.channel and await self.is_shown(game):  # by a call like this one
            return AGAIN
        if home == spot.channel and (out is None or out.session.home == spot.channel):
            return await self._move(spot, game, out, operation)
        coming = places.coming(game, spot.channel, await self._before(spot, out))
        claim = await self._unit.attempt(home, coming)
        if claim.refusal is not None:
            return AGAIN
        game = after(game, coming, claim.moved[0], claim.now)
        if out is not None and out.session.home != spot.channel:
            gone = await self._unit.attempt(out.session.home, places.shelved(out, goes=(spot.channel, game.id)))
            if gone.refusal is not None:
                return AGAIN
            return await self._move(spot, game, None, operation, left=out)
        return await self._move(spot, game, out, operation)

    async def _move(
        self, spot: Spot, game: View, out: View | None, operation: Operation, *, left: View | None = None
    ) -> str | Refusal:
        """Move the alias, with what lives in the channel's home; then what came from another home begins.

        ``left`` lives in another home, and has left the channel already.
        """
        here = game.session.home == spot.channel
        before = await self._before(spot, out)
        changes: list[Change] = [Point(spot.alias.key, game.id, spot.alias.epoch)]
        if here:
            changes.append(places.shown(game, spot.channel, before))
        if out is not None:
            changes.append(places.shelved(out))
        answer = await self._commit(spot.channel, changes, operation, game.id, left or out)
        if answer.refusal is not None:
            return answer.refusal
        shown = placed(answer)[0] or game.id
        if not here and shown == game.id:
            await self._begin(game, spot.channel, before)
        return shown

    async def _before(self, spot: Spot, out: View | None) -> list[list[object]]:
        """Which games the channel has shown lately, for presses that are sent again."""
        name = spot.alias.target or spot.alias.previous
        if out is None and name is not None:
            out = await self._reader.find(name)
        return places.shown_before(spot.alias, out, spot.now)

    async def _begin(self, game: View, channel: str, before: list[list[object]] | None) -> None:
        """The last step of a move between homes; whoever finds it undone may take it."""
        for _ in range(TRIES):
            answer = await self._unit.attempt(game.session.home, places.shown(game, channel, before))
            if answer.refusal is None:
                return
            if answer.refusal.reason not in STALE:
                raise refused(answer.refusal, KIND)
            game = await self._reader.load(game.id)
            if game.data["channel"] == channel:
                return
            if game.data.get("coming") != channel:
                raise ConflictError(f"game {game.id} was taken elsewhere meanwhile.", holder=game.data["channel"])
        raise UnavailableError(f"game {game.id} was changed by others {TRIES} times in a row.", hint="Try again.")

    async def is_shown(self, game: View) -> bool:
        """Whether a channel shows the game: its record says so, and the channel's alias agrees."""
        channel = game.data["channel"]
        if channel is None or game.place == "ended":
            return False
        found = await self._unit.follow(channel, record.SHOWN, channel)
        return found.alias is not None and found.alias.target == game.id

    # -- taking away -----------------------------------------------------------------------------------------------

    async def take(self, spot: Spot, write: Write, operation: Operation) -> str | Refusal:
        """Take the game off its channel with this change of its own (`places.shelved`, `places.exited`)."""
        assert spot.view is not None  # noqa: S101  # the caller looked
        home = spot.view.session.home
        if home == spot.channel:
            free = Point(spot.alias.key, None, spot.alias.epoch)
            answer = await self._commit(home, [write, free], operation, spot.view.id)
            return answer.refusal or placed(answer)[0] or spot.view.id
        gone = await self._unit.attempt(home, write)
        if gone.refusal is not None:
            return AGAIN if gone.refusal.reason == "ended" else gone.refusal
        return await self.free(spot, spot.view, operation)

    async def left(self, spot: Spot) -> View | None:
        """The game that was taken off a channel by somebody who did not get so far as to free the channel."""
        return None if spot.alias.target is None else await self._reader.find(spot.alias.target)

    async def free(self, spot: Spot, game: View, operation: Operation) -> str | Refusal:
        """Free a channel whose game has left it."""
        answer = await self._commit(spot.channel, [Point(spot.alias.key, None, spot.alias.epoch)], operation, game.id)
        if answer.refusal is None:
            return placed(answer)[0] or game.id
        if answer.refusal.reason != "epoch":
            return answer.refusal
        return await self._note(spot.channel, operation, game.id)  # the place was given to another meanwhile

    async def _commit(
        self, home: str, changes: list[Change], operation: Operation, game: str, out: View | None = None
    ) -> Answer:
        """Carry out changes of a channel's home; an operation id keeps which game it was about, and which went for it."""
        if operation.key is not None:
            note = self._unit.new_id(home)
            counters = {**parts_of(game), **({} if out is None else parts_of(out.id, _OUT))}
            changes = [*changes, Create(note, "note", state="pending", counters=counters), Delete(note)]
        return await self._unit.attempt(home, *changes, key=operation.key, fingerprint=operation.mark)

    async def _note(self, home: str, operation: Operation, game: str, out: View | None = None) -> str | Refusal:
        """Keep which game an operation id was about, where somebody else has done the rest; what is kept."""
        if operation.key is None:
            return game
        answer = await self._commit(home, [], operation, game, out)
        return answer.refusal or placed(answer)[0] or game

    async def finished(self, channel: str, game: View, operation: Operation) -> str | Refusal:
        """What a call has begun, or another of its operation id, and whoever came next has finished."""
        return await self._note(channel, operation, game.id, await self._gone_for(game) if operation.key else None)

    async def _gone_for(self, game: View) -> View | None:
        """The game that went off the channel for this one, when it lives in another home."""
        before = game.data["before"]
        out = await self._reader.find(before[0][0]) if before else None
        return out if out is not None and out.data.get("going") == [game.data["channel"], game.id] else None

    # -- own ids ---------------------------------------------------------------------------------------------------

    async def reserve(self, own: str, id: str, operation: Operation = _UNKEYED) -> str:
        """Give a caller's own id to a game that is about to be; `ConflictError` when another game has it.

        Gives the id to make the game with: of calls with one operation id at once, all get the same.
        """
        key = record.own_key(own)
        found = await self._unit.follow(key.home, key.namespace, key.key)
        assert found.alias is not None  # noqa: S101  # follow always gives one
        target = found.alias.target
        if target is not None and (await self._unit.find(target, KIND)).session is not None:
            raise _used(own, target)
        change = Point(key, id, found.alias.epoch)
        answer = await self._unit.attempt(key.home, change, key=operation.key, fingerprint=operation.mark)
        if answer.refusal is not None:
            held = answer.refusal.alias
            raise _used(own, None if held is None else held.target)
        if operation.key is None:
            return id
        now = (await self._unit.follow(key.home, key.namespace, key.key)).alias
        assert now is not None  # noqa: S101  # follow always gives one
        if now.target is not None and (now.epoch,) == answer.epochs:
            return now.target
        if now.target is not None:  # moved since: confirmed by a call like this one, or somebody else's
            raise _used(own, now.target)
        return await self.reserve(own, id)  # an earlier call under this key was refused, and freed it

    async def confirm(self, own: str, id: str) -> None:
        """After a boot: the own id is still this game's; otherwise the game is taken back, and another has the id.

        The id is pointed at the game once more, which outdates what others read of it before the game was there: they
        saw an id of nothing, and would take it.
        """
        key = record.own_key(own)
        found = await self._unit.follow(key.home, key.namespace, key.key)
        assert found.alias is not None  # noqa: S101  # follow always gives one
        target = found.alias.target
        if target == id:
            answer = await self._unit.attempt(key.home, Point(key, id, found.alias.epoch))
            if answer.refusal is not None:
                target = None if answer.refusal.alias is None else answer.refusal.alias.target
        if target != id:
            view = await self._reader.load(id)
            await self._unit.attempt(view.session.home, _gone(view))
            raise _used(own, target)

    async def release(self, own: str, id: str) -> None:
        """A boot that came to nothing: its own id is free again."""
        key = record.own_key(own)
        found = await self._unit.follow(key.home, key.namespace, key.key)
        if found.alias is not None and found.alias.target == id:
            await self._unit.attempt(key.home, Point(key, None, found.alias.epoch))


def _gone(view: View) -> Change:
    return Delete(view.id, Guard(open=False, version=view.session.version))


def _used(own: str, holder: str | None) -> ConflictError:
    return ConflictError(f"the game id {own!r} is used by another game.", hint="resume() brings that one back.", holder=holder)


def made_by(answer: Answer) -> str | None:
    """The game that a remembered answer was about: the first session it moved."""
    return answer.moved[0].id if answer.moved else None


def placed(answer: Answer) -> tuple[str | None, str | None]:
    """Which game a remembered answer was about, and which went for it."""
    counters = answer.moved[-1].counters if answer.moved else {}
    return id_of(counters), id_of(counters, _OUT)


def _making(operation: Operation) -> str | None:
    """The operation id of the first of several commits, which makes the game."""
    return None if operation.key is None else fingerprint("game.made", operation.key)
